"""The figure of one instance: its rows are what was planted and what was found."""

import sys

import numpy as np
import pandas as pd
import pytest
from pages import check_columns

import sparsebench
from sparsebench import cli, registry
from sparsebench.experiments.instance import crowded_region, solutions
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.report import spikes

SIZES = {"n": 60, "m": 30, "k": 5, "trial": 2, "seed": 1}


def found(names, problem="super-resolution", **sizes):
    return solutions(
        choose_problem(problem), choose_algorithms(names), **(SIZES | {"window": 12} | sizes)
    )


def dense(rows, n):
    x = np.zeros(n)
    x[rows["index"].astype(int)] = rows["value"]
    return x


def test_rows_are_the_instance_and_its_solutions():
    frame = found("omp,sea[max_iter=50],oracle")
    instance = sparsebench.draw("super-resolution", **SIZES)
    series = dict(list(frame.groupby("series", sort=False)))
    assert list(series) == ["truth", "y", "omp", "sea[max_iter=50]", "oracle"]
    np.testing.assert_array_equal(dense(series["truth"], 60), instance.x)
    np.testing.assert_array_equal(series["y"]["value"], instance.y)
    for label in ("omp", "sea[max_iter=50]"):
        x = sparsebench.solve(label, instance.A, instance.y, 5).x
        np.testing.assert_allclose(dense(series[label], 60), x, rtol=1e-9)
        true = set(instance.support)
        assert list(series[label]["in_support"]) == [i in true for i in series[label]["index"]]
        (distance,) = set(series[label]["support_distance"])
        assert distance == pytest.approx(1 - len(true & set(np.flatnonzero(x))) / 5)
        (residual,) = set(series[label]["relative_residual"])
        misfit = np.linalg.norm(instance.y - instance.A @ x) / np.linalg.norm(instance.y)
        assert residual == pytest.approx(misfit, rel=1e-6)
    assert series["oracle"]["support_distance"].eq(0).all()
    # Atoms lie every half sample; y at every sample.
    np.testing.assert_array_equal(series["omp"]["position"], series["omp"]["index"] / 2)
    np.testing.assert_array_equal(series["y"]["position"], np.arange(30))


def test_atoms_without_an_order_are_where_their_index_is():
    frame = found("omp", "gaussian")
    rows = frame[frame["series"] == "omp"]
    np.testing.assert_array_equal(rows["position"], rows["index"])
    assert not frame["ordered"].any()


def test_a_failed_solve_is_one_row_that_missed_everything(tmp_path):
    @registry.algorithm("bursts")
    def bursts(A, y, k):
        raise RuntimeError("the moon\nis full")

    try:
        frame = found("bursts,omp")
    finally:
        del registry.ALGORITHMS["bursts"]
    (row,) = frame[frame["series"] == "bursts"].itertuples()
    assert (row.support_distance, row.relative_residual, row.status) == (1.0, 1.0, "error")
    assert row.message == "RuntimeError: the moon is full"
    assert len(spikes.instance(frame, "", tmp_path, "instance")) == 2


@pytest.mark.parametrize("window", [1, 4, 11, 30])
def test_the_crowded_region_holds_most_spikes(window):
    rng = np.random.default_rng(window)
    for _ in range(50):
        support = np.sort(rng.choice(30, int(rng.integers(1, 12)), replace=False))
        start = crowded_region(support, window, 30)
        assert 0 <= start <= 30 - window
        held = [np.sum((support >= s) & (support < s + window)) for s in range(30 - window + 1)]
        assert held[start] == max(held)


def test_the_crowded_region_is_centred_on_its_spikes():
    assert crowded_region(np.array([2, 40, 44, 46]), 11, 100) == 38
    assert crowded_region(np.array([0, 3]), 11, 100) == 0
    assert crowded_region(np.array([97, 99]), 11, 100) == 89


def test_the_command_writes_rows_that_draw_the_same_picture(tmp_path, monkeypatch):
    arguments = "instance -p deconvolution --n 64 --k 6 -a omp,pinv --window 16 --trial 1"
    monkeypatch.setattr(sys, "argv", ["sparsebench", *arguments.split(), "-o", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    assert not ended.value.code
    frame = pd.read_csv(tmp_path / "instance.csv")
    check_columns(tmp_path / "instance.csv")
    assert set(frame["trial"]) == {1}
    assert set(frame["series"]) == {"truth", "y", "omp", "pinv"}
    drawn = (tmp_path / "instance.png").stat().st_size
    (tmp_path / "again").mkdir()
    png, pdf = spikes.instance(frame, "", tmp_path / "again", "instance")
    assert 0.5 < png.stat().st_size / drawn < 2
    assert pdf.exists()


def test_few_atoms_are_all_enlarged_unless_a_window_is_wanted(tmp_path, monkeypatch):
    arguments = "instance -p gaussian --n 30 --m 20 --k 3 -a omp"
    monkeypatch.setattr(sys, "argv", ["sparsebench", *arguments.split(), "-o", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    assert not ended.value.code
    frame = pd.read_csv(tmp_path / "instance.csv")
    assert set(frame["window_end"] - frame["window_start"]) == {30}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--k", "600"], "k = 600 exceeds min(m, n) = 500"),
        (["--window", "501"], "--window must be at most 500"),
        (["--trial", "-1"], "--trial must be at least 0"),
        (["-p", "super-resolution[factor=3]"], "needs n = 3 m"),
        (["-a", "sae"], "did you mean 'sea'?"),
    ],
)
def test_bad_input_is_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sparsebench", "instance", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
