"""Coverage of the 95 % intervals: sampling rule and estimator together, on simulated curves.

    python tests/studies/coverage.py [--runs 400] [-j WORKERS] [-o coverage.csv]

For each curve of `CURVES` in `test_statistics.py` and target half-widths of 1 and 2, at most 1000
trials a run, the interval of each level is compared with the k at which the curve crosses it:

coverage    the share of runs whose interval holds the truth, with Wilson's 95 % interval
above       the share of runs whose interval lies above it
bias, sd    mean and standard deviation of the estimate less the truth
reached     the share of runs that met the target within the trials
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
from test_statistics import CURVES, level_of, sample

from sparsebench.experiments.sampling import LEVELS, ThresholdSampler
from sparsebench.statistics import wilson

HALF_WIDTHS = (1.0, 2.0)
TRIALS = 1000


def simulated(name, half_width, run):
    """One run: by level, the estimate and its interval; then the solves and why it stopped."""
    rate, largest, trial_effect = CURVES[name]
    sampler = ThresholdSampler(largest, dict.fromkeys(LEVELS, half_width), TRIALS)
    sample(sampler, rate, np.random.default_rng([run, *name.encode()]), trial_effect)
    found = [sampler.estimate(level) for level in LEVELS]
    return [(f.estimate, f.lower, f.upper) for f in found], len(sampler.k), sampler.stopped


def summary(name, half_width, runs):
    """One row a level of what the runs of a curve found."""
    rate, largest, trial_effect = CURVES[name]
    intervals, solves, stopped = zip(*runs, strict=True)
    rows = []
    for level, (estimate, lower, upper) in zip(
        LEVELS, np.array(intervals).transpose(1, 2, 0), strict=True
    ):
        truth = level_of(rate, level, largest, trial_effect)
        covered = (lower <= truth) & (truth <= upper)
        least, most = wilson(covered.sum(), covered.size)
        rows.append(
            {
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
                "solves": np.mean(solves),
                "reached": np.mean([reason == "half-width" for reason in stopped]),
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("-o", "--out", default="")
    chosen = parser.parse_args()
    rows = []
    with joblib.Parallel(n_jobs=chosen.jobs) as pool:
        for half_width in HALF_WIDTHS:
            for name in CURVES:
                runs = pool(
                    joblib.delayed(simulated)(name, half_width, run) for run in range(chosen.runs)
                )
                rows += summary(name, half_width, runs)
                print(pd.DataFrame(rows[-2:]).round(3).to_string(header=len(rows) == 2), flush=True)
                if chosen.out:
                    pd.DataFrame(rows).to_csv(chosen.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
