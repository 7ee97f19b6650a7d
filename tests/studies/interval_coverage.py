"""Coverage of the 95 % intervals: sampling rule and estimator together, on simulated curves.

    python tests/studies/interval_coverage.py [--runs 400] [--levels .8,.9,.99] [-j WORKERS]
        [-o coverage.csv]

For each curve of `CURVES` in `test_statistics.py` and target half-widths of 1 and 2, at most 1000
trials a run, the interval of each level is compared with the k at which the curve crosses it; for
each of `PAIRS`, the paired interval of the difference of two algorithms with the true one. With
`--levels` each of these is looked for instead, beside .5, at a half-width of 2, on `CURVES` and on
`SUPPORTS`, where success is an F1 of at least .9:

coverage    the share of runs whose interval holds the truth, with Wilson's 95 % interval
above       the share of runs whose interval lies above it
bias, sd    mean and standard deviation of the estimate less the truth
solves      mean number of solves a run
reached     the share of runs that met the target within the trials
unpaired    for a difference, the half-width it would have were the instances not the same
"""

import argparse
import os
import sys
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
sys.path.insert(0, str(Path(__file__).parent.parent))

import joblib
import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import binom, norm
from test_statistics import CURVES, level_of, sample

from sparsebench.experiments.levels import HALF, LEVELS
from sparsebench.experiments.sampling import ThresholdSampler
from sparsebench.statistics import threshold_difference, wilson
from sparsebench.statistics.measures import read_success

HALF_WIDTHS = (1.0, 2.0)
TRIALS = 1000
# Two curves by name, each centre and scale; trials share an effect of standard deviation 2.
PAIRS = {
    "difference: none": ((60, 3), (60, 3)),
    "difference: of five": ((60, 3), (55, 3)),
    "difference: steep and flat": ((40, 0.5), (50, 5)),
}
EFFECT, LARGEST = 2.0, 200
# Shares of the support that a solve misses, each index for itself, where it goes well and where
# not; it goes well as "usual" succeeds. Estimates have k indices, so that F1 is the share found.
SUPPORTS = {"f1>=.9, all or much": (0.0, 0.4), "f1>=.9, few or much": (0.01, 0.3)}


def f1_rate(well, ill):
    """Return the probability by k that F1 is at least .9: a saw, as k passes multiples of ten."""
    met = read_success("f1>=.9")
    k = np.arange(1.0, LARGEST + 1)
    each, missed = np.meshgrid(k, np.arange(LARGEST + 1.0))
    lost = np.minimum(missed, each)
    counts = {"k": each, "missed_indices": lost, "false_indices": lost}
    won = met.of(counts, np.zeros(each.shape, bool))
    most, goes_well = np.where(won == 1, missed, -1).max(axis=0), expit((60 - k) / 3)
    rates = goes_well * binom.cdf(most, k, well) + (1 - goes_well) * binom.cdf(most, k, ill)
    return lambda at: np.interp(at, k, rates)


def measured(levels, runs, pool):
    """Yield the rows of curves at some levels."""
    curves = {**CURVES, **{name: (f1_rate(*p), LARGEST, 0.0) for name, p in SUPPORTS.items()}}
    for level in levels:
        for name, (rate, largest, effect) in curves.items():
            truth = level_of(rate, level, largest, effect)
            met = rate(np.arange(1, largest)) >= level
            if not met.any() or (np.diff(met.astype(int)) > 0).any():
                print(f"{name}: no one point at {level}")
                continue
            found = pool(joblib.delayed(simulated_at)(name, level, run) for run in range(runs))
            intervals, solves, reached = zip(*found, strict=True)
            yield summarised(name, 2.0, level, truth, np.array(intervals).T, solves, reached)


def simulated_at(name, level, run):
    """One run: estimate, interval and no unpaired half-width of a level; solves; target met."""
    rng = np.random.default_rng([run, *name.encode()])
    if name in SUPPORTS:
        rate, largest, trial_effect = f1_rate(*SUPPORTS[name]), LARGEST, 0.0
    else:
        rate, largest, trial_effect = CURVES[name]
    sampler = ThresholdSampler(largest, dict.fromkeys((level, HALF), 2.0), TRIALS)
    sample(sampler, rate, rng, trial_effect)
    found = sampler.estimate(level)
    interval = found.estimate, found.lower, found.upper, np.nan
    return interval, len(sampler.k), sampler.stopped == "half-width"


def crossings(rate, largest, trial_effect):
    """Return the k at which a curve crosses each level."""
    return np.array([level_of(rate, level, largest, trial_effect) for level in LEVELS])


def truth_of(name):
    """Return what the intervals of a curve should hold, or those of a difference, by level."""
    if name in CURVES:
        return crossings(*CURVES[name])
    one, two = (
        crossings(lambda k, c=centre, s=scale: expit((c - k) / s), LARGEST, EFFECT)
        for centre, scale in PAIRS[name]
    )
    return one - two


def simulated(name, half_width, run):
    """One run: by level, estimate, interval and its unpaired half-width; solves; target met."""
    rng = np.random.default_rng([run, *name.encode()])
    if name in PAIRS:
        return simulated_pair(PAIRS[name], half_width, rng)
    rate, largest, trial_effect = CURVES[name]
    sampler = ThresholdSampler(largest, dict.fromkeys(LEVELS, half_width), TRIALS)
    sample(sampler, rate, rng, trial_effect)
    rows = []
    for level in LEVELS:
        found = sampler.estimate(level)
        rows.append((found.estimate, found.lower, found.upper, np.nan))
    return rows, len(sampler.k), sampler.stopped == "half-width"


def simulated_pair(curves, half_width, rng):
    """Both algorithms sampled for themselves, on dictionaries and signals that are hard for both.

    At one k of a trial their normal scores, which decide on success, correlate at one half.
    """
    # Numbers of trials have gaps, where a wave needs few.
    effects = EFFECT * rng.standard_normal(3 * TRIALS)
    scores = rng.standard_normal((3 * TRIALS, LARGEST + 1))
    samplers, fits, rows = [], [], []
    for centre, scale in curves:
        sampler = ThresholdSampler(LARGEST, dict.fromkeys(LEVELS, half_width), TRIALS)
        while requests := sampler.requests():
            trial, k = np.array(requests).T
            score = (scores[trial, k] + rng.standard_normal(k.size)) / np.sqrt(2)
            won = norm.cdf(score) < expit((centre - k - effects[trial]) / scale)
            sampler.record([(*pair, bool(w)) for pair, w in zip(requests, won, strict=True)])
        samplers.append(sampler)
        fits.append((sampler.k, sampler.trial, sampler.success))
    for level in LEVELS:
        one, two = (sampler.estimate(level) for sampler in samplers)
        found = threshold_difference(one, two, *fits)
        apart = np.hypot(one.half_width, two.half_width)
        rows.append((found.estimate, found.lower, found.upper, apart))
    reached = all(sampler.stopped == "half-width" for sampler in samplers)
    return rows, sum(len(sampler.k) for sampler in samplers), reached


def summary(name, half_width, runs):
    """One row a level of what the runs of a curve found."""
    intervals, solves, reached = zip(*runs, strict=True)
    rows = []
    by_level = np.array(intervals).transpose(1, 2, 0)
    for level, truth, values in zip(LEVELS, truth_of(name), by_level, strict=True):
        rows.append(summarised(name, half_width, level, truth, values, solves, reached))
    return rows


def summarised(name, half_width, level, truth, values, solves, reached):
    """What the runs of a curve found at one level."""
    estimate, lower, upper, apart = values
    covered = (lower <= truth) & (truth <= upper)
    least, most = wilson(covered.sum(), covered.size)
    return {
        "curve": name,
        "target": half_width,
        "level": level,
        "truth": truth,
        "runs": covered.size,
        "coverage": covered.mean(),
        "lower": float(least),
        "upper": float(most),
        "above": np.mean(lower > truth),
        "bias": np.mean(estimate - truth),
        "sd": np.std(estimate),
        "half_width": np.mean(upper - lower) / 2,
        "unpaired": np.mean(apart),
        "solves": np.mean(solves),
        "reached": np.mean(reached),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--levels", default="")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("-o", "--out", default="")
    chosen = parser.parse_args()
    rows = []
    with joblib.Parallel(n_jobs=chosen.jobs) as pool:
        levels = [float(text) for text in chosen.levels.split(",") if text]
        for row in measured(levels, chosen.runs, pool):
            rows.append(row)
            print(pd.DataFrame(rows[-1:]).round(3).to_string(header=len(rows) == 1), flush=True)
            if chosen.out:
                pd.DataFrame(rows).to_csv(chosen.out, index=False, float_format="%.4g")
        for half_width in () if levels else HALF_WIDTHS:
            for name in (*CURVES, *PAIRS):
                runs = pool(
                    joblib.delayed(simulated)(name, half_width, run) for run in range(chosen.runs)
                )
                rows += summary(name, half_width, runs)
                print(pd.DataFrame(rows[-2:]).round(3).to_string(header=len(rows) == 2), flush=True)
                if chosen.out:
                    pd.DataFrame(rows).to_csv(chosen.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
