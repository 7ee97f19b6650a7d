"""The history of timings: from asv's result files to the table and its figure."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import check_columns

from sparsebench.report import figures

ROOT = Path(__file__).parent.parent
pytest.importorskip("asv", reason="asv is not installed: pip install -e '.[dev]'")


def commits():
    """The last two commits, the older one first."""
    git = ["git", "-C", str(ROOT), "rev-list", "--first-parent", "HEAD", "-n", "2"]
    ended = subprocess.run(git, capture_output=True, text=True)
    if len(ended.stdout.split()) < 2:
        pytest.skip("no history here: not a clone with two commits")
    return ended.stdout.split()[::-1]


@pytest.fixture
def results(tmp_path):
    """Result files as asv writes them: one algorithm of two, two problems; one commit elsewhere."""
    from asv.results import Results
    from asv.runner import BenchmarkResult

    folder = tmp_path / "results"
    (folder / "m").mkdir(parents=True)
    (folder / "m" / "machine.json").write_text('{"machine": "m", "version": 1}')
    params = [["'omp'", "'sea'"], ["'gaussian-500'", "'deconvolution-500'"]]
    for day, commit in enumerate((*commits(), "b" * 40)):
        samples = [[(1 + day) * second] * 8 for second in (1e-3, 2e-3)] + [None, None]
        result = BenchmarkResult(
            result=[s and s[0] for s in samples[:2]] + [np.nan, None],
            samples=samples,
            number=[10, 10, None, None],
            errcode=0,
            stderr="",
            profile=None,
        )
        kept = Results(
            {"machine": "m", "cpu": "a processor"}, {}, commit, day * 86_400_000, "3.11", "env", {}
        )
        benchmark = {
            "name": "solvers.Solve.time_solve",
            "params": params,
            "version": "1",
            "type": "time",
            "unit": "seconds",
        }
        kept.add_result(benchmark, result, record_samples=False)
        kept.save(str(folder))
    return folder


def test_the_table_holds_every_time_and_is_drawn(results, tmp_path):
    script = [sys.executable, ROOT / "figures" / "history.py"]
    table = tmp_path / "history.csv"
    subprocess.run([*script, results, "-o", table], check=True)
    check_columns(table)
    rows = pd.read_csv(table)
    older, newer = (commit[:8] for commit in commits())
    assert list(rows["commit"]) == [older, newer] * 2
    assert set(rows["algorithm"]) == {"omp"}
    seconds = rows.set_index(["panel", "commit"])["estimate"]
    assert seconds["gaussian-500", newer] == 2e-3
    assert seconds["deconvolution-500", older] == 2e-3
    drawn = figures.draw(table, tmp_path)
    assert {path.name for path in drawn if path.suffix == ".png"} == {
        "history-gaussian-500.png",
        "history-deconvolution-500.png",
    }
    assert all(path.stat().st_size > 10_000 for path in drawn)


def test_no_results_is_one_line(tmp_path):
    script = [sys.executable, ROOT / "figures" / "history.py", tmp_path / "none"]
    ended = subprocess.run(script, capture_output=True, text=True)
    assert ended.returncode != 0
    assert ended.stderr.startswith("error: no times of solves")
    assert "Traceback" not in ended.stderr
