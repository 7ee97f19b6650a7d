"""Studies: their rows against a plain loop, their figures from the CSV alone."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import check_columns
from scipy.stats import t

import sparsebench
from sparsebench import cli, registry
from sparsebench.experiments import studies
from sparsebench.experiments.levels import NOT_MONOTONE
from sparsebench.experiments.studies import running
from sparsebench.experiments.study import Point, Study
from sparsebench.registry import Link, choose_algorithms, choose_problem, flops
from sparsebench.report import diagrams, figures, multiples, style
from sparsebench.run import engine
from sparsebench.run.rows import Outcome
from sparsebench.run.store import Store
from sparsebench.types import InputError

CURVES = {"omp": "omp", "htp, short": "htp[max_iter=2]", "chain": "omp+sea[max_iter=5]"}


def tiny(curves=CURVES, metrics=("support_distance", "exact"), trials=4, panels=("a", "b")):
    problems = {"a": "deconvolution[width=1]", "b": "deconvolution[width=1,snr=20]"}
    chosen = {label: choose_algorithms(text)[0] for label, text in curves.items()}
    points = [
        Point(panel, k, choose_problem(problems[panel]), 30, 30, k, trials, chosen, metrics)
        for panel in panels
        for k in (2, 6)
    ]
    return Study("tiny", points, seed=3, time_limit=60.0)


def finished(study, folder):
    with Store(folder) as store:
        report = engine.run(study, store, workers=1, command="", environment={})
    return study.estimates(), report


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["sparsebench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.run()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call


def test_rows_are_those_of_a_plain_loop(tmp_path):
    rows, report = finished(tiny(), tmp_path)
    assert len(rows) == 2 * 2 * 3 * 2
    assert report.computed == 2 * 2 * 3 * 4
    rows = rows.set_index(["panel", "curve", "x", "metric"])
    for panel, problem in (("a", "deconvolution[width=1]"), ("b", "deconvolution[width=1,snr=20]")):
        for k in (2, 6):
            instances = [
                sparsebench.draw(problem, m=30, n=30, k=k, trial=trial, seed=3)
                for trial in range(4)
            ]
            for label, text in CURVES.items():
                results = [sparsebench.solve(text, i.A, i.y, k) for i in instances]
                pairs = list(zip(instances, results, strict=True))
                missed = [len(set(i.support) - set(r.support)) / k for i, r in pairs]
                row = rows.loc[(panel, label, k, "support_distance")]
                assert row["estimate"] == pytest.approx(np.mean(missed))
                if np.ptp(missed):
                    half = t.ppf(0.975, 3) * np.std(missed, ddof=1) / 2
                    assert row["upper"] == pytest.approx(min(np.mean(missed) + half, 1))
                exact = rows.loc[(panel, label, k, "exact")]
                assert exact["estimate"] == np.mean([share == 0 for share in missed])
                assert 0 <= exact["lower"] < exact["upper"] <= 1
                assert exact["iterations"] == np.mean([r.n_iter for r in results])


def test_flops_are_iterations_times_the_stated_cost_summed_over_a_chain(tmp_path):
    rows, _ = finished(tiny(), tmp_path)
    rows = rows[(rows["metric"] == "exact") & (rows["panel"] == "a")].set_index(["curve", "x"])
    for k in (2, 6):
        assert rows.loc[("htp, short", k), "flops"] == pytest.approx(
            rows.loc[("htp, short", k), "iterations"] * (2 * 30 * k + k**3 / 3)
        )
        stages = [
            sparsebench.solve("omp+sea[max_iter=5]", i.A, i.y, k).stages
            for i in (
                sparsebench.draw("deconvolution[width=1]", m=30, n=30, k=k, trial=trial, seed=3)
                for trial in range(4)
            )
        ]
        costs = [a.n_iter * 30 * k + b.n_iter * (2 * 30 * k + k**3 / 3) for a, b in stages]
        assert rows.loc[("chain", k), "flops"] == pytest.approx(np.mean(costs))
    assert np.isnan(flops(sparsebench.registry.get_algorithm("sklearn-omp"), 30, 30, 2))


def test_iterations_that_are_not_told_have_no_mean():
    study = tiny({"omp": "omp", "htp": "htp", "chain": "omp+htp"}, panels=("a",))
    stages = {"omp+htp": '[["omp", null, null], ["htp", 2, 0.1]]'}
    rows = [
        (
            block,
            {
                (chosen, k): Outcome(
                    *(0.0, True, 0.0, 0.0, 2 if chosen.name == "htp" else None),
                    *("converged", "", None, stages.get(chosen.name, "")),
                )
                for chosen, k in block.pairs
            },
        )
        for block in study.wanted()
    ]
    study.take(rows, lambda function, tasks: ())
    assert study.wanted() == []
    found = study.estimates().query("metric == 'exact'").set_index(["curve", "x"])
    assert (found["estimate"] == 1).all()
    for k in (2, 6):
        assert found.loc[("htp", k), "iterations"] == 2
        assert found.loc[("htp", k), "flops"] == pytest.approx(2 * (2 * 30 * k + k**3 / 3))
        assert found.loc[["omp", "chain"]][["iterations", "flops"]].isna().all(axis=None)


def test_every_algorithm_meets_the_same_instances_and_none_is_solved_twice(tmp_path, monkeypatch):
    met = []
    real = Link.solve

    def spy(link, dictionary, y, k, **given):
        met.append((link.algorithm.name, k, y.tobytes()))
        return real(link, dictionary, y, k, **given)

    monkeypatch.setattr(Link, "solve", spy)
    # Two panels with the same points: one set of solves.
    study = tiny({"omp": "omp", "again": "omp", "htp": "htp"}, panels=("a",))
    study.points += [
        Point("copy", p.x, p.problem, p.m, p.n, p.k, p.trials, p.curves) for p in study.points
    ]
    rows, _ = finished(study, tmp_path)
    assert len(met) == len(set(met)) == 2 * 2 * 4
    signals = {name: {(k, y) for one, k, y in met if one == name} for name in ("omp", "htp")}
    assert signals["omp"] == signals["htp"]
    distances = rows[rows["metric"] == "support_distance"]
    first = distances[(distances["panel"] == "a") & (distances["curve"] == "omp")]
    copy = distances[(distances["panel"] == "copy") & (distances["curve"] == "again")]
    assert list(first["estimate"]) == list(copy["estimate"])


def test_failures_are_counted_and_count_as_failed(tmp_path):
    def broken(A, y, k):
        if y[0] < np.inf:
            raise ValueError("no")
        return y

    registry.algorithm("broken")(broken)
    try:
        rows, _ = finished(tiny({"omp": "omp", "broken": "broken"}), tmp_path)
    finally:
        del registry.ALGORITHMS["broken"]
    failed = rows[rows["curve"] == "broken"]
    assert (failed["failures"] == 4).all()
    assert (failed["trials"] == 4).all()
    assert (failed[failed["metric"] == "support_distance"]["estimate"] == 1).all()
    assert (failed[failed["metric"] == "exact"]["estimate"] == 0).all()
    assert failed["flops"].isna().all()
    assert (rows[rows["curve"] == "omp"]["failures"] == 0).all()


def test_a_metric_that_rows_lack_is_one_line(tmp_path):
    chosen = {"omp": choose_algorithms("omp")[0]}
    point = Point("p", 2, choose_problem("gaussian"), 10, 20, 2, 2, chosen, ("near_1",))
    with pytest.raises(InputError, match="gaussian without near_1"):
        finished(Study("one", [point], 0, 60.0), tmp_path)


def test_forgiving_distances_fall_with_the_tolerance(tmp_path):
    metrics = ("support_distance", "near_1", "near_2")
    rows, _ = finished(tiny(metrics=metrics), tmp_path)
    wide = rows.pivot(index=["panel", "curve", "x"], columns="metric", values="estimate")
    assert (wide["support_distance"] >= wide["near_1"]).all()
    assert (wide["near_1"] >= wide["near_2"]).all()


def test_every_study_is_whole():
    for name, study in studies.STUDIES.items():
        assert set(study.sizes) == {"quick", "paper"}
        for preset in study.sizes:
            for experiment in running.experiments(name, preset, 0, 60.0):
                json.dumps(experiment.recipe())
                for point in getattr(experiment, "points", ()):
                    assert 1 <= point.k <= point.m
                    assert (point.m == point.n) == (point.problem.name == "deconvolution")
    assert set(studies.STUDIES) <= set(figures._PICTURES)
    x = {
        p.x: dict(p.problem.options)["snr"]
        for p in running.experiments("noise-level", "paper", 0, 60.0)[0].points
    }
    assert x[0] == np.inf
    assert all(10 ** (-snr / 20) == pytest.approx(level) for level, snr in x.items() if level)


def test_a_study_is_run_once_and_redrawn_without_a_store(command, tmp_path, monkeypatch):
    size = {"n": 40, "x": (0.18, 18), "trials": 2}
    monkeypatch.setitem(studies.STUDIES["eta"].sizes, "quick", size)
    arguments = ("study", "eta", "--preset", "quick", "-j", 1, "--out", tmp_path)
    code, out, err = command(*arguments)
    assert code == 0, err
    assert f"{2 * 2 * (2 * 2 + 3)} rows computed" in out  # three curves are level
    check_columns(tmp_path / "eta.csv")
    rows = pd.read_csv(tmp_path / "eta.csv")
    assert len(rows) == 2 * 2 * 5
    assert set(rows["recipe"].str.len()) == {64}
    assert rows["command"].iloc[0].startswith("sparsebench study eta --preset quick")
    assert "nothing to compute" in command(*arguments)[1]
    first = (tmp_path / "eta.png").read_bytes()
    bare = tmp_path / "bare"
    bare.mkdir()
    (tmp_path / "eta.csv").rename(bare / "eta.csv")
    code, out, err = command("figures", "--data", bare)
    assert code == 0, err
    assert {p.name for p in bare.iterdir()} == {"eta.csv", "eta.png", "eta.pdf"}
    assert (bare / "eta.png").read_bytes() == first


@pytest.mark.parametrize("name", ["steps", "finite-size"])
def test_studies_of_thresholds(command, tmp_path, monkeypatch, name):
    study = studies.STUDIES[name]
    size = {"ns": (30, 40), "ratios": (0.5, 0.7), "half_width": 0.2, "max_trials": 60}
    if name == "steps":
        size["ns"] = (30,)
    monkeypatch.setitem(study.sizes, "quick", size)
    code, _, err = command("study", name, "--preset", "quick", "-j", 1, "--out", tmp_path)
    assert code == 0, err
    check_columns(tmp_path / f"{name}.csv")
    rows = pd.read_csv(tmp_path / f"{name}.csv")
    curves = [label for group in study.groups.values() for label in group]
    assert len(rows) == len(curves) * 2 * 2 * len(size["ns"])
    assert set(rows["curve"]) == set(curves)
    expected = rows["n"] if name == "finite-size" else rows["m"] / rows["n"]
    np.testing.assert_allclose(rows["x"], expected, rtol=1e-5)
    assert ((rows["lower"] <= rows["estimate"]) & (rows["estimate"] <= rows["upper"])).all()
    # k/m, as the diagram draws it for the same recipe
    thresholds = running.experiments(name, "quick", 0, 60.0)[0]
    with Store(tmp_path) as store:
        engine.run(thresholds, store, workers=1, command="", environment={})
    table = thresholds.thresholds().set_index(["algorithm", "m", "level"])
    one = rows[(rows["n"] == thresholds.n)].iloc[0]
    found = table.loc[(one["algorithm"], one["m"], one["level"]), "estimate"] / one["m"]
    assert one["estimate"] == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("name", ["thresholds", "steps", "full-grid"])
def test_no_figure_draws_a_threshold_where_there_is_none(name, tmp_path, monkeypatch):
    rows = pd.read_csv(Path(__file__).parent.parent / "figures" / f"{name}.csv")
    level, m = rows["level"] == 0.5, rows["m"] == rows["m"].iloc[0]
    rows["stopped"] = np.where(m & level, NOT_MONOTONE, "half-width")
    rows.to_csv(tmp_path / f"{name}.csv", index=False)
    drawn = []

    def keep(frame, *arguments, **_):
        drawn.append((frame, arguments))
        return []

    monkeypatch.setattr(diagrams, "phase_transition", keep)
    monkeypatch.setattr(style, "save", lambda *_: [])
    monkeypatch.setattr(multiples, "small_multiples", keep)
    monkeypatch.setattr(multiples, "full_grid", keep)
    figures.draw(tmp_path / f"{name}.csv", tmp_path)
    for frame, arguments in drawn:
        without = frame["stopped"] == NOT_MONOTONE
        assert without.sum() == (m & level).sum()
        assert (frame[["estimate", "lower", "upper"]].isna().all(axis=1) == without).all()
        footer = next(text for text in arguments if "seed" in str(text))
        assert "no single point" in footer and f"m = {rows['m'].iloc[0]}" in footer


def test_both_main_figures_are_redrawn_as_they_were(command, tmp_path):
    small = ["-a", "omp,htp", "-j", "1", "--out", tmp_path]
    assert (
        command("phase-transition", "--n", 20, "--ratios", "0.5", "--max-trials", 50, *small)[0]
        == 0
    )
    assert command("support-distance", "--n", 30, "--ks", "2,4", "--trials", 3, *small)[0] == 0
    names = ["phase-transition", "phase-transition-50", "support-distance"]
    first = {name: (tmp_path / f"{name}.png").read_bytes() for name in names}
    for name in names:
        (tmp_path / f"{name}.png").unlink()
    code, _, err = command("figures", *names[::2], "--data", tmp_path)
    assert code == 0, err
    assert all((tmp_path / f"{name}.png").read_bytes() == first[name] for name in names)


def test_wrong_names_and_damaged_files_are_one_line(command, tmp_path):
    def line(*arguments):
        code, _, err = command(*arguments)
        assert code == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    assert "did you mean 'noise'?" in line("study", "noize", "--out", tmp_path)
    assert "did you mean 'quick'?" in line("study", "noise", "--preset", "quik", "--out", tmp_path)
    assert "did you mean 'support-distance'?" in line("figures", "support-distanc")
    assert "no CSV of a figure" in line("figures", "--data", tmp_path)
    assert "no file" in line("figures", "noise", "--data", tmp_path)
    file = tmp_path / "noise.csv"
    good = pd.DataFrame(
        {
            "panel": "a", "curve": "omp", "x": 1, "metric": "exact", "algorithm": "omp",
            "estimate": 0.5, "lower": 0.25, "upper": 0.75, "trials": 3, "told": "k", "m": 10,
            "n": 20, "seed": 0, "problem": "gaussian", "problem_options": "{}",
        },
        index=[0],
    ).to_csv(index=False)  # fmt: skip
    for text, what in (
        ("", "damaged"),
        (good.splitlines()[0], "no rows"),
        (good.replace("0.25", "x"), "damaged"),
        (good.replace("0.25", ""), "without numbers"),
        (good.replace("{}", "{"), "damaged"),
        (good.replace("lower", "low"), "no column 'lower'"),
        (good.replace("metric", "metre"), "no column 'metric'"),
        (good.replace("exact", "charm"), "metric"),
        (good[:150] + "\x00\x01", "damaged"),
    ):
        file.write_text(text)
        assert what in line("figures", "noise", "--data", tmp_path), text
    file.write_text(good)
    assert command("figures", "noise", "--data", tmp_path)[0] == 0


def test_the_full_grid_agrees_with_adaptive_sampling_and_is_drawn(command, tmp_path, monkeypatch):
    study = studies.STUDIES["full-grid"]
    size = {**study.sizes["quick"], "n": 30, "ratios": (0.5,), "grid": 40}
    monkeypatch.setitem(study.sizes, "quick", size)
    code, _, err = command("study", "full-grid", "--preset", "quick", "-j", 1, "--out", tmp_path)
    assert code == 0, err
    check_columns(tmp_path / "full-grid.csv")
    rows = pd.read_csv(tmp_path / "full-grid.csv")
    assert (tmp_path / "full-grid.png").exists()
    points = rows.pivot_table(
        index=["algorithm", "level"], columns="quantity", values=["lower", "upper", "seed"]
    )
    assert len(points) == 6
    assert (points["lower"]["adaptive"] <= points["upper"]["full grid"]).all()
    assert (points["lower"]["full grid"] <= points["upper"]["adaptive"]).all()
    # Other instances, and as many at every k.
    assert (points["seed"]["full grid"] == points["seed"]["adaptive"] + 1).all()
    rates = rows[rows["quantity"] == "rate"]
    assert (rates["trials"] == 40).all()
    assert (rates.groupby("algorithm")["k"].min() == 1).all()


@pytest.mark.parametrize("folder", ["figures", "figures/family"])
def test_the_committed_figures_can_be_redrawn(folder):
    """Every CSV of a picture in the repository is readable by the code beside it."""
    path = Path(__file__).parent.parent / folder
    found = figures.sources(None, path)
    for source in found:
        rows = figures.read(source)
        assert not rows.empty
        stem = {"thresholds": "phase-transition", "distances": "support-distance"}
        stem = stem.get(source.stem, source.stem)
        panels = rows["panel"].unique() if stem == "history" else [None]
        for panel in panels:
            assert (path / f"{stem}{f'-{panel}' if panel else ''}.png").exists()
