"""From asv's result files to `figures/history.csv`, a row an algorithm, problem and commit.

    python figures/history.py [.asv/results] [-o figures/history.csv]

`python -m sparsebench figures history` draws it.
"""

import argparse
import ast
import datetime
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
from asv.results import iter_results

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.solvers import PROBLEMS
from sparsebench import problems, solvers  # noqa: F401  (registers them)
from sparsebench.experiments.provenance import stated
from sparsebench.registry import choose_problem, get_algorithm

SOLVE = "solvers.Solve.time_solve"


def rows(folder):
    """Yield the times of a solve by commit before HEAD: median, and asv's 99 % interval of it."""
    found = [one for one in iter_results(str(folder)) if SOLVE in one.get_all_result_keys()]
    if not found:
        return
    git = ["git", "-C", str(Path(__file__).parent), "rev-list", "--first-parent", "HEAD"]
    try:
        known = set(subprocess.run(git, capture_output=True, text=True, check=True).stdout.split())
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit("error: no git history here: a clone has it") from None
    for result in found:
        if result.commit_hash not in known:
            continue
        params = result.get_result_params(SOLVE)
        values = result.get_result_value(SOLVE, params)
        stats = result.get_result_stats(SOLVE, params)
        date = datetime.datetime.fromtimestamp(result.date / 1000, datetime.UTC)
        for (name, problem), value, stat in zip(
            itertools.product(*params), values, stats, strict=True
        ):
            if value is None or value != value:  # not in this commit
                continue
            sizes = PROBLEMS[ast.literal_eval(problem)]
            yield {
                "commit": result.commit_hash[:8],
                "date": date.isoformat(),
                "algorithm": ast.literal_eval(name),
                "family": get_algorithm(ast.literal_eval(name)).family,
                "told": "k",
                "panel": ast.literal_eval(problem),
                "problem": sizes["problem"],
                "problem_options": json.dumps(dict(choose_problem(sizes["problem"]).options)),
                "m": sizes["m"],
                "n": sizes["n"],
                "k": sizes["k"],
                "seed": 0,
                "estimate": value,
                "lower": stat["ci_99_a"],
                "upper": stat["ci_99_b"],
                "trials": stat["number"] * stat["repeat"],
                "machine": result.params.get("cpu", ""),
            }


def main():
    """Read a folder of results and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", nargs="?", default=".asv/results", type=Path)
    parser.add_argument("-o", "--out", default=Path("figures/history.csv"), type=Path)
    chosen = parser.parse_args()
    frame = pd.DataFrame(rows(chosen.results))
    if frame.empty:
        raise SystemExit(f"error: no times of solves in {chosen.results}: run asv first")
    # One time is no history.
    frame = frame[frame.groupby(["panel", "algorithm"])["commit"].transform("nunique") > 1]
    if frame.empty:
        raise SystemExit("error: the results hold one commit only: run asv on another one")
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    order = ["panel", "algorithm", "date"]
    recipe = {
        "experiment": "history",
        "benchmark": SOLVE,
        "problems": PROBLEMS,
        "commits": sorted(frame["commit"].unique()),
        "algorithms": sorted(frame["algorithm"].unique()),
    }
    frame = stated(frame.sort_values(order), recipe, "python figures/history.py")
    frame.to_csv(chosen.out, index=False, float_format="%.6g")
    print(f"wrote {chosen.out}: {frame['commit'].nunique()} commits")


if __name__ == "__main__":
    main()
