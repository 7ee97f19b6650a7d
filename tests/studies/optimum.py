"""How often each algorithm reaches the global optimum of a tiny problem.

    python tests/studies/optimum.py [--draws 300] [-o optimum.csv]

n = 14, m = 8, k = 3, noise of standard deviation .1; Gaussian atoms, and the same with a common
component 1.5 times as large (mean coherence about .7). The optimum is that of all 364 supports.
Wilson's 95 % intervals. Also counts warm starts that end above their start, which none may.
"""

import argparse

import numpy as np
import pandas as pd

import sparsebench
from sparsebench.experiments.provenance import stated
from sparsebench.registry import choose_algorithm
from sparsebench.statistics import wilson
from sparsebench.types import Dictionary

M, N, K = 8, 14, 3
CHAINS = ["omp+sea", "els+sea", "omp+htp", "omp+els", "thresholding+els", "thresholding+sbr"]


def draw(trial, coherent):
    rng = np.random.default_rng(trial)
    A = rng.standard_normal((M, N))
    if coherent:
        A += 1.5 * rng.standard_normal((M, 1))
    support = rng.choice(N, K, replace=False)
    y = A[:, support] @ (rng.uniform(1, 2, K) * rng.choice([-1, 1], K))
    return Dictionary(A), y + 0.1 * rng.standard_normal(M), np.sort(support)


def residual(dictionary, y, x):
    return np.linalg.norm(y - dictionary.A @ x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("-o", "--out", default="")
    chosen = parser.parse_args()
    names = [e.name for e in sparsebench.algorithms() if e.ready and e.takes_k] + CHAINS
    starts = [e.name for e in sparsebench.algorithms() if e.ready and e.accepts("start")]
    rows, worse = [], dict.fromkeys(starts, 0)
    for coherent in (False, True):
        reached = dict.fromkeys(names, 0)
        for trial in range(chosen.draws):
            dictionary, y, support = draw(trial, coherent)
            best = residual(dictionary, y, sparsebench.solve("exhaustive", dictionary, y, K).x)
            for name in names:
                told = {"support": support} if name == "oracle" else {}
                x = sparsebench.solve(name, dictionary, y, K, **told).x
                found = residual(dictionary, y, x)
                assert found >= best * (1 - 1e-10), (name, trial)
                reached[name] += found <= best * (1 + 1e-9)
            start = sparsebench.solve("thresholding", dictionary, y, K).x
            limit = residual(dictionary, y, start) * (1 + 1e-12)
            for name in starts:
                x = sparsebench.solve(name, dictionary, y, K, start=start).x
                worse[name] += residual(dictionary, y, x) > limit
        for name, count in reached.items():
            lower, upper = wilson(count, chosen.draws)
            kind = "coherent" if coherent else "gaussian"
            rows.append((name, kind, count / chosen.draws, float(lower), float(upper)))
    table = pd.DataFrame(rows, columns=["algorithm", "atoms", "reached", "lower", "upper"])
    if chosen.out:
        recipe = {
            "experiment": "optimum",
            "sizes": [M, N, K],
            "draws": chosen.draws,
            "algorithms": [choose_algorithm(name).recipe for name in names],
        }
        command = f"python tests/studies/optimum.py --draws {chosen.draws}"
        stated(table, recipe, command).to_csv(chosen.out, index=False, float_format="%.4g")
    wide = table.pivot(index="algorithm", columns="atoms", values=["reached", "lower", "upper"])
    print(wide.sort_values(("reached", "gaussian"), ascending=False).round(3).to_string())
    print("ended above their start:", worse)


if __name__ == "__main__":
    main()
