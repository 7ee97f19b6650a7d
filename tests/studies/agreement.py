"""Every algorithm with an exact definition against its plain `lstsq` loop, at full size.

    python tests/studies/agreement.py [--gaussian 500] [--spikes 200] [--fourier 0] [--steering 0]
        [-a NAMES] [-j WORKERS]

Takes the better part of an hour; the test suite runs a small part of it. For each algorithm:

equal       the same support
solved      another support, but both residuals are below 1e-9 of ||y||
tie         another support, and the plain loop itself leaves its support when y moves by 1e-13
            and the rows are rotated
DIFFERENT   none of these: an error, or a tie that forty rotations did not reveal
excess      the largest residual beyond that of least squares by singular values on the same
            support, over ||y||
gap         the largest difference of the residuals over ||y||, ties left out
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
import references
from test_references import RULES, residual, stable

import sparsebench

# CoSaMP wanders for its 1000 iterations where it fails, at seconds a plain loop.
RULES["cosamp[max_iter=50]"] = lambda A, y, k: references.cosamp(A, y, k, max_iter=50)


def gaussian(trial):
    """Sizes spread over n <= 500 and k <= 100; columns raw or unit; every fifth with noise."""
    rng = np.random.default_rng(trial)
    n = int(rng.integers(50, 501))
    m = int(rng.integers(n // 5, n))
    k = int(rng.integers(1, min(100, max(2, int(0.45 * m))) + 1))
    columns = "unit" if trial % 2 else "raw"
    snr = 30.0 if trial % 5 == 0 else float("inf")
    return "gaussian", {"m": m, "n": n, "k": k, "trial": trial, "columns": columns, "snr": snr}


def spikes(trial):
    """m = n = 500, widths 1, 2, 3, 5, k up to 50; every fifth with noise."""
    k = int(np.random.default_rng(trial).integers(1, 51))
    width = (1.0, 2.0, 3.0, 5.0)[trial % 4]
    snr = 40.0 if trial % 5 == 0 else float("inf")
    return "deconvolution", {"m": 500, "n": 500, "k": k, "trial": trial, "width": width, "snr": snr}


def fourier(trial):
    """Complex: sizes spread over n <= 400, k <= 80; every fifth with noise."""
    rng = np.random.default_rng(trial)
    n = int(rng.integers(50, 401))
    m = int(rng.integers(n // 5, n))
    k = int(rng.integers(1, min(80, max(2, int(0.5 * m))) + 1))
    snr = 30.0 if trial % 5 == 0 else float("inf")
    return "fourier", {"m": m, "n": n, "k": k, "trial": trial, "snr": snr}


def steering(trial):
    """Complex: 16 to 64 sensors, a grid 2 to 6 times finer, up to a quarter as many sources."""
    rng = np.random.default_rng(trial)
    m = int(rng.integers(16, 65))
    n = m * int(rng.integers(2, 7))
    k = int(rng.integers(1, m // 4 + 1))
    snr = 30.0 if trial % 5 == 0 else float("inf")
    return "steering", {"m": m, "n": n, "k": k, "trial": trial, "snr": snr}


def compare(name, problem, recipe):
    instance = sparsebench.draw(problem, **recipe)
    k = recipe["k"]
    found = sparsebench.solve(name, instance.A, instance.y, k).x
    rule = RULES[name]
    if name == "omp" and np.iscomplexobj(instance.A):  # scikit-learn's is for real numbers
        rule = references.omp
    expected = rule(instance.A, instance.y, k)
    fitted = references.on_support(instance.A, instance.y, np.flatnonzero(found))
    ours, theirs = residual(instance, found), residual(instance, expected)
    if np.array_equal(found != 0, expected != 0):
        verdict = "equal"
    elif ours < 1e-9 and theirs < 1e-9:
        verdict = "solved"
    elif not stable(rule, instance, k, expected, shakes=40):
        verdict = "tie"
    else:
        verdict = "DIFFERENT"
    recovered = [np.array_equal(x != 0, instance.x != 0) for x in (found, expected)]
    return {
        "algorithm": name,
        "problem": problem,
        "verdict": verdict,
        "excess": ours - residual(instance, fitted),
        "gap": abs(ours - theirs) if verdict in ("equal", "solved") else np.nan,
        "recovered": recovered[0],
        "reference_recovered": recovered[1],
        "recipe": str(recipe),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gaussian", type=int, default=500)
    parser.add_argument("--spikes", type=int, default=200)
    parser.add_argument("--fourier", type=int, default=0)
    parser.add_argument("--steering", type=int, default=0)
    parser.add_argument("-a", "--algorithms", default=",".join(RULES))
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("-o", "--out", default="")
    chosen = parser.parse_args()
    cases = [gaussian(t) for t in range(chosen.gaussian)]
    cases += [spikes(t) for t in range(chosen.spikes)]
    cases += [fourier(t) for t in range(chosen.fourier)]
    cases += [steering(t) for t in range(chosen.steering)]
    rows = pd.DataFrame(
        joblib.Parallel(chosen.jobs)(
            joblib.delayed(compare)(name, *case)
            for name in chosen.algorithms.split(",")
            for case in cases
        )
    )
    if chosen.out:
        rows.to_csv(chosen.out, index=False)
    counts = rows.groupby(["algorithm", "problem"])["verdict"].value_counts().unstack(fill_value=0)
    others = rows.groupby(["algorithm", "problem"]).agg(
        recovered=("recovered", "sum"),
        reference=("reference_recovered", "sum"),
        excess=("excess", "max"),
        gap=("gap", "max"),
    )
    print(counts.join(others).to_string())
    for row in rows[rows["verdict"] == "DIFFERENT"].itertuples():
        print("different:", row.algorithm, row.problem, row.recipe)


if __name__ == "__main__":
    main()
