"""The figure of an exploration: medians of what solves record, held after they end."""

import multiprocessing
import sys

import numpy as np
import pandas as pd
import pytest
from pages import check_columns

import sparsebench
from sparsebench import cli, registry
from sparsebench.experiments import presets
from sparsebench.experiments.exploration import SizedProblem, explore
from sparsebench.registry import choose_algorithms
from sparsebench.report.exploration import exploration
from sparsebench.run import pool
from sparsebench.system import processes
from sparsebench.types import InputError, Result, Status

TRIALS = 7
# The first is not solved within the budget, the second is, by nearly all.
WORKLOADS = [SizedProblem("deconvolution", 60, 60, 8), SizedProblem("gaussian", 60, 40, 6)]


def explored(names, workers=1):
    return explore(choose_algorithms(names), WORKLOADS, trials=TRIALS, seed=3, workers=workers)


def recorded(workload, name, trial, budget):
    """Histories from the public `solve`, the chain by hand; the last value is held."""
    sizes = {"m": workload.m, "n": workload.n, "k": workload.k}
    instance = sparsebench.draw(workload.problem, **sizes, trial=trial, seed=3)
    A, y, k = instance.A, instance.y, workload.k
    start = sparsebench.solve("omp", A, y, k).x if name.startswith("omp+") else None
    history = sparsebench.solve("sea", A, y, k, start=start, max_iter=budget, history=True).history
    return [
        np.pad(values, (0, budget - len(values)), mode="edge").astype(float)
        for values in (history["supports_explored"], history["best_residual"])
    ]


def test_medians_and_quartiles_of_the_histories():
    frame = explored("sea[max_iter=90],omp+sea[max_iter=90]")
    for workload in WORKLOADS:
        for name in ("sea[max_iter=90]", "omp+sea[max_iter=90]"):
            each = [recorded(workload, name, trial, 90) for trial in range(TRIALS)]
            here = frame[(frame["problem"] == workload.problem) & (frame["algorithm"] == name)]
            for index, quantity in enumerate(
                ("distinct supports explored", "best relative residual")
            ):
                rows = here[here["quantity"] == quantity]
                steps = rows["iteration"].to_numpy()
                assert (steps[0], steps[-1]) == (1, 90)
                values = np.array([histories[index] for histories in each])[:, steps - 1]
                np.testing.assert_allclose(rows["estimate"], np.median(values, axis=0), atol=1e-14)
                for column, part in (("lower_quartile", 0.25), ("upper_quartile", 0.75)):
                    expected = np.quantile(values, part, axis=0)
                    np.testing.assert_allclose(rows[column], expected, atol=1e-14)
                # Of seven values only the whole range holds the median 95 times in 100.
                np.testing.assert_allclose(rows["lower"], values.min(axis=0), atol=1e-14)
                np.testing.assert_allclose(rows["upper"], values.max(axis=0), atol=1e-14)


@pytest.mark.parametrize("copied", [True, False])
def test_two_workers_give_the_rows_of_one(copied, monkeypatch):
    """Copies of one process, or fresh interpreters, as where there are no safe copies."""
    pool._end()  # those that another test has left
    if not copied:
        fresh = multiprocessing.get_context("spawn")
        monkeypatch.setattr(processes, "_way_to_start", lambda: fresh)
    names = "sea[max_iter=30],omp+sea[max_iter=30]"
    assert explored(names).equals(explored(names, workers=2))
    pool._end()


def test_a_failed_solve_explored_nothing():
    @registry.algorithm("halts")
    def halts(A, y, k, *, history=False):
        raise RuntimeError

    try:
        frame = explored("halts")
    finally:
        del registry.ALGORITHMS["halts"]
    assert (frame["failures"] == TRIALS).all()
    assert set(frame.groupby("quantity")["estimate"].max()) == {0.0, 1.0}


def test_what_cannot_be_recorded_is_refused():
    @registry.algorithm("counts")
    def counts(dictionary, y, k, *, history=False):
        x = np.zeros(dictionary.shape[1])
        return Result(x, 1, Status.CONVERGED, history={"count": np.ones(1)})

    try:
        for name in ("omp", "sea+htp", "counts"):
            with pytest.raises(InputError, match="records no supports"):
                explored(name)
    finally:
        del registry.ALGORITHMS["counts"]
    with pytest.raises(InputError, match="takes 6 trials, not 5"):
        explore(choose_algorithms("sea"), WORKLOADS, trials=5, seed=0, workers=1)


def test_the_command_writes_rows_that_draw_the_same_picture(tmp_path, monkeypatch):
    small = [("deconvolution", 60, 60, 8), ("gaussian", 60, 40, 6)]
    monkeypatch.setitem(presets.EXPLORATION, "workloads", small)
    arguments = "exploration --trials 6 -j 1 -a sea[max_iter=40]"
    monkeypatch.setattr(sys, "argv", ["sparsebench", *arguments.split(), "-o", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    assert not ended.value.code
    frame = pd.read_csv(tmp_path / "exploration.csv")
    check_columns(tmp_path / "exploration.csv")
    assert set(frame["problem"]) == {"deconvolution", "gaussian"}
    drawn = (tmp_path / "exploration.png").stat().st_size
    (tmp_path / "again").mkdir()
    png, pdf = exploration(frame, "", tmp_path / "again", "exploration")
    assert 0.5 < png.stat().st_size / drawn < 2
    assert pdf.exists()
