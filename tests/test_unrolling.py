"""Trained networks: their problem, their weights, their place among the algorithms, the figure."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pages import check_columns
from scipy.io import loadmat
from typer.testing import CliRunner

import sparsebench
from sparsebench import problems
from sparsebench.cli import training
from sparsebench.cli.application import app
from sparsebench.experiments import presets
from sparsebench.experiments.learned import unrolling
from sparsebench.learned import weights
from sparsebench.learned.catalogue import analytic_weight, blueprint
from sparsebench.problems import lista
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.report import figures, style
from sparsebench.statistics import decibel_intervals
from sparsebench.types import Dictionary, InputError

SIZES = (20, 40, 3)
PLAN = weights.Plan(batch=32, validation=100, steps=40, rounds=1, patience=2, check_every=20)
PUBLISHED = Path(os.environ.get("SPARSEBENCH_DATA", "")) / "unrolling" / "alista"
needs_published = pytest.mark.skipif(
    not (os.environ.get("SPARSEBENCH_DATA") and (PUBLISHED / "D.mat").is_file()),
    reason="ALISTA's published files are not in $SPARSEBENCH_DATA/unrolling/alista",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Weights go to a folder of each test's own."""
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def recipe(network="alista", problem="lista[snr=40]", sizes=SIZES, **options):
    return weights.default_recipe(network, choose_problem(problem), *sizes, PLAN, **options)


def command(*words):
    result = CliRunner().invoke(app, list(words))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


# The problem


def test_the_dictionary_is_that_of_its_number_whatever_the_signals():
    one = sparsebench.draw("lista", m=20, n=40, k=3).A
    for other in ("lista[snr=20]", "lista[rate=0.3,amplitudes=signs]"):
        assert np.array_equal(one, sparsebench.draw(other, m=20, n=40, k=3, trial=5).A)
    assert not np.array_equal(one, sparsebench.draw("lista[draw=1]", m=20, n=40, k=3).A)
    assert np.allclose(np.linalg.norm(one, axis=0), 1, atol=1e-12)
    spread = sparsebench.draw("lista[condition=50]", m=20, n=40, k=3).A
    assert 40 < np.linalg.cond(spread) < 80
    assert np.allclose(np.linalg.norm(spread, axis=0), 1, atol=1e-12)


def test_codes_follow_their_law_and_meet_the_noise():
    chosen = choose_problem("lista[snr=20,rate=0.2]")
    dictionary = problems.draw_dictionary(chosen, 50, 100, 0, 0)
    signals, codes = problems.draw_batch(chosen, dictionary, 2000, {"a": 1})
    assert abs((codes != 0).mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / codes.size)
    assert abs(codes[codes != 0].std() - 1) < 0.02
    noise = signals - codes @ dictionary.A.T
    snr = np.square(codes @ dictionary.A.T).sum(1) / np.square(noise).sum(1)
    assert np.allclose(10 * np.log10(snr), 20, atol=1e-9)
    again, _ = problems.draw_batch(chosen, dictionary, 2000, {"a": 1})
    other, _ = problems.draw_batch(chosen, dictionary, 2000, {"a": 2})
    assert np.array_equal(signals, again)
    assert not np.array_equal(signals, other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lista[condition=0.5]", "condition"),
        ("lista[rate=0]", "rate"),
        ("lista[dictionary_of=bernoulli]", "dictionary_of"),
        ("lista[snr=nan]", "snr"),
    ],
)
def test_bad_options_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        sparsebench.draw(text, m=10, n=20, k=2)


def test_missing_published_files_are_one_line_that_says_where_to_get_them(monkeypatch, tmp_path):
    for folder in (None, str(tmp_path)):
        if folder is None:
            monkeypatch.delenv("SPARSEBENCH_DATA", raising=False)
        else:
            monkeypatch.setenv("SPARSEBENCH_DATA", folder)
        with pytest.raises(InputError, match=r"D\.mat is missing: get it from https://.* put it"):
            sparsebench.draw("lista[dictionary_of=alista]", m=250, n=500, k=5)


@needs_published
def test_ista_and_fista_reach_their_published_error():
    """On ALISTA's dictionary and test codes, no noise, 16 iterations, lambda = .4."""
    codes = lista.published_codes()
    dictionary = Dictionary(loadmat(lista.published("D.mat"))["D"])
    signals = codes @ dictionary.A.T
    power = np.square(codes).sum(1)
    for run, published in ((unrolling.ista_iterates, -5.76), (unrolling.fista_iterates, -7.57)):
        last = run(dictionary, signals, 0.4, 16)[-1][2]
        quoted, _ = decibel_intervals(np.square(last - codes).sum(1), power)
        assert abs(quoted[0] - published) < 0.02


@needs_published
def test_the_analytic_weight_is_no_worse_than_the_published_one():
    """Theirs meets the constraint to .003 only; scaled to meet it, ours has the smaller norm."""
    A = loadmat(lista.published("D.mat"))["D"]
    theirs = np.load(lista.published("W.npy"))
    theirs = theirs / (theirs * A).sum(0)
    ours = analytic_weight(torch.tensor(A)).numpy().T
    assert np.linalg.norm(ours.T @ A) <= np.linalg.norm(theirs.T @ A) * (1 + 1e-9)
    assert np.abs(ours - theirs).max() < 0.01 * np.abs(ours).max()


# Statistics


def test_the_interval_of_the_error_covers_the_truth():
    """Errors of a chi-square law times that of the powers: the ratio of means is known."""
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(1000):
        power = rng.gamma(5.0, 1.0, 200)
        error = power * rng.gamma(0.5, 0.02, 200)
        (quoted, lower, upper), (mean, low, high) = decibel_intervals(error, power)
        assert lower < quoted < upper and low < mean < high
        hits.append(lower <= 10 * np.log10(0.01) <= upper)
    assert 0.92 <= np.mean(hits) <= 0.97
    quoted, mean = decibel_intervals(np.zeros(5), np.ones(5))
    assert quoted[0] == mean[0] == -300


# Weights


def test_weights_are_trained_once_and_the_same_again(cache):
    first = weights.fit(recipe())
    stamp = weights.path_of(recipe().name).stat().st_mtime_ns
    kept = weights.fit(recipe())
    assert weights.path_of(recipe().name).stat().st_mtime_ns == stamp
    weights.path_of(recipe().name).unlink()
    again = weights.fit(recipe())
    for one, two, three in zip(
        *(t.network.parameters() for t in (first, kept, again)), strict=True
    ):
        assert torch.equal(one, two)
        assert torch.equal(one, three)
    assert recipe(seed=1).name != recipe().name != recipe(problem="lista[snr=20]").name


def test_a_network_that_begins_as_another_has_its_error_and_ends_no_higher():
    cp = weights.fit(recipe("lista-cp"))
    chosen = recipe("lista", start=recipe("lista-cp"))
    lista = weights.fit(chosen)
    assert lista.record["losses"][0][:2] == (0, 0)
    assert lista.record["losses"][0][2] == pytest.approx(cp.record["best"], rel=1e-4)
    assert lista.record["nmse"] <= cp.record["nmse"] + 1e-3
    assert {depth for depth, _ in lista.record["phases"]} == {3}
    assert weights.load(chosen.name).recipe == lista.recipe
    assert chosen.name == lista.name != recipe("lista").name
    cpss = weights.fit(recipe("lista-cp", start=recipe("lista-cpss")))
    assert cpss.recipe["start"]["network"] == "lista-cpss"
    with pytest.raises(InputError, match="same dictionary and depth"):
        weights.fit(recipe("lista", start=recipe("lista-cp", sizes=(20, 40, 2))))


def test_a_training_has_settled_when_a_whole_round_leaves_its_error():
    """Within .1 dB, a factor of 1.0233, of the least loss before the round, at its last rate."""
    layers = [(0, 0, 9.0), (0, 5, 5.0), (1, 0, 5.0), (1, 5, 4.0)]
    assert not weights.settled(layers, 2)
    begun = [*layers, (2, 0, 4.0), (2, 5, 7.0), (3, 0, 7.0), (3, 5, 4.1)]
    assert not weights.settled(begun, 2)
    for end, settled in ((3.88, False), (3.92, True), (4.0, True), (4.08, True), (4.12, False)):
        assert weights.settled([*begun, (4, 0, 4.1), (4, 5, end), (4, 10, 9.0)], 2) == settled
    # The second round is compared with the least of the first, wherever that was.
    one = [*layers, (2, 0, 4.0), (2, 5, 2.0), (3, 0, 4.0), (3, 5, 3.1), (4, 0, 3.1), (4, 5, 3.0)]
    two = [*one, (5, 0, 3.0), (5, 5, 3.5), (6, 0, 3.5), (6, 5, 3.1), (7, 0, 3.1)]
    assert not weights.settled([*two, (7, 5, 3.0)], 2)
    assert weights.settled([*two, (7, 5, 2.02)], 2)
    assert not weights.settled(two[:-1], 2)
    alone = [(0, 0, 2.0), (0, 5, 3.0), (1, 0, 3.0), (1, 5, 2.5), (2, 0, 2.5), (2, 5, 2.01)]
    assert weights.settled(alone, 0)


def test_what_has_converged_is_near_the_least_error_and_what_is_not_says_so():
    """One stage of ALISTA has two numbers: the least validation error is found on a grid."""
    long = weights.Plan(batch=128, validation=300, steps=600, rounds=4, patience=10, check_every=20)
    short = weights.Plan(batch=32, validation=300, steps=20, rounds=1, patience=10, check_every=10)
    made = {
        plan: weights.fit(
            weights.default_recipe("alista", choose_problem("lista[snr=40]"), 20, 40, 1, plan)
        )
        for plan in (long, short)
    }
    chosen = recipe(sizes=(20, 40, 1))
    dictionary = problems.draw_dictionary(chosen.problem, 20, 40, 0, 0)
    signals, codes = (x.numpy() for x in weights._draw(chosen, dictionary, "validation", 0, 300))
    correlations = signals @ analytic_weight(torch.tensor(dictionary.A)).numpy().T
    least = min(
        np.square(
            np.sign(correlations) * np.maximum(np.abs(gamma * correlations) - theta, 0) - codes
        ).sum()
        for gamma in np.linspace(0.2, 2, 46)
        for theta in np.linspace(0.0, 1, 41)
    )
    least = 10 * np.log10(least / np.square(codes).sum())
    assert made[long].record["converged"]
    assert least - 0.02 < made[long].record["nmse"] < least + weights.GAIN
    assert not made[short].record["converged"]
    assert made[short].record["nmse"] > least + weights.GAIN


def test_a_search_converges_when_its_simplex_has_shrunk():
    few = weights.Plan(validation=100, steps=10)
    many = weights.Plan(validation=100, steps=400)
    found = [
        weights.fit(
            weights.default_recipe("hyperlista", choose_problem("lista"), *SIZES, plan)
        ).record
        for plan in (few, many)
    ]
    assert [record["converged"] for record in found] == [False, True]
    assert found[1]["nmse"] < found[0]["nmse"]


def test_weights_that_cannot_be_used_are_refused():
    name = weights.fit(recipe()).recipe and recipe().name
    path = weights.path_of(name)
    instance = sparsebench.draw("lista[snr=40]", m=20, n=40, k=3)
    algorithm = f"alista[weights={name}]"
    assert np.count_nonzero(sparsebench.solve(algorithm, instance.A, instance.y, 3).x) == 3
    with pytest.raises(InputError, match="trained for another dictionary"):
        sparsebench.solve(algorithm, instance.A[:, ::-1], instance.y, 3)
    with pytest.raises(InputError, match="trained for m = 20, n = 40, not for m = 20, n = 30"):
        sparsebench.solve(algorithm, instance.A[:, :30], instance.y, 3)
    with pytest.raises(InputError, match="are of alista, not of lista"):
        sparsebench.solve(f"lista[weights={name}]", instance.A, instance.y, 3)
    with pytest.raises(InputError, match="no trained weights 'nothing'"):
        sparsebench.solve("alista[weights=nothing]", instance.A, instance.y, 3)
    with pytest.raises(InputError, match="must be trained first"):
        sparsebench.solve("alista", instance.A, instance.y, 3)
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "format": 99}, path)
    weights._load.cache_clear()
    with pytest.raises(InputError, match="from another version of sparsebench"):
        weights.load(name)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read as weights"):
        weights.load(name)


def test_patterns_pass_over_networks_without_weights():
    names = {choice.name for choice in choose_algorithms("*")}
    assert "omp" in names
    assert not {"alista", "lista"} & names
    with pytest.raises(InputError, match="python -m sparsebench train alista"):
        choose_algorithms("alista")


def test_a_root_seed_past_64_bits_is_refused():
    for seed in (2**63, -(2**64), 0.5):
        with pytest.raises(InputError, match="seed must be"):
            weights.default_recipe(
                "alista", choose_problem("lista"), 8, 16, 2, weights.Plan(), seed=seed
            )


def test_only_a_problem_with_a_law_of_codes_can_be_trained_on():
    with pytest.raises(InputError, match="no law of codes"):
        recipe(problem="deconvolution", sizes=(20, 20, 3))
    with pytest.raises(InputError, match="did you mean 'alista'"):
        recipe("alistaa")
    with pytest.raises(InputError, match="has no option"):
        recipe(lambada=1)


@pytest.mark.parametrize("network", ["hyperlista", "na-alista", "liht", "deep-l0"])
def test_every_kind_of_training_improves_its_network(network):
    """`alista`, `lista` are tested with their layers; here a search and trainings end to end."""
    options = {"size": 4} if network == "liht" else {}
    chosen = recipe(network, **options)
    trained = weights.fit(chosen)
    dictionary = problems.draw_dictionary(chosen.problem, 20, 40, 0, 0)
    A = torch.tensor(dictionary.A)
    kind = blueprint(network)
    torch.manual_seed(0)
    untrained = kind.build(A, 3, dict(chosen.options)).float().eval()
    signals, codes = problems.draw_batch(chosen.problem, dictionary, 1000, {"use": "test"})
    error = [
        float((net(torch.tensor(signals).float()).detach().numpy() - codes).__pow__(2).sum())
        for net in (untrained, trained.network)
    ]
    assert error[1] < 0.9 * error[0]


# Commands


def test_a_trained_network_stands_in_support_distance(tmp_path):
    sizes = ("--m", "20", "--n", "40", "--depth", "4")
    told = command("train", "alista", "-p", "lista", *sizes, "--steps", "100", "-j", "1")
    label = next(word for word in told.split() if word.startswith("alista[weights="))
    out = command(
        *("support-distance", "-a", f"{label},thresholding", "-p", "lista", "--m", "20"),
        *("--n", "40", "--ks", "2,4", "--trials", "60", "-j", "1", "-o", str(tmp_path / "r")),
    )
    assert label in out
    rows = pd.read_csv(tmp_path / "r" / "distances.csv").set_index(["algorithm", "k"])
    assert rows.loc[(label, 2), "told"] == "k,training"
    assert rows.loc[(label, 2), "estimate"] < rows.loc[("thresholding", 2), "estimate"] - 0.1


def test_patience_is_in_the_recipe():
    given = (None, None, None, None, 30, 7, 0)
    plan = training._settings(presets.UNROLLING, "default", *given)["plan"]
    assert (plan["steps"], plan["patience"]) == (30, 7)
    weights.Plan(**plan)
    with pytest.raises(InputError, match="--patience must be at least 1"):
        training._settings(presets.UNROLLING, "default", *given[:5], 0, 0)
    for settings in presets.UNROLLING.values():
        weights.Plan(**settings["plan"])


def test_the_figure_of_unrolling(tmp_path, monkeypatch):
    small = {
        "networks": "lista,alista",
        "problem": "lista[snr=40]",
        "m": 20,
        "n": 40,
        "depth": 3,
        "plan": {"batch": 32, "validation": 100, "steps": 40, "patience": 2, "check_every": 20},
        "shifts": [("as trained", {}, 0.0), ("A off", {}, 0.1)],
        "tests": 100,
    }
    monkeypatch.setitem(presets.UNROLLING, "quick", small)
    out = command("unrolling", "--preset", "quick", "-j", "1", "-o", str(tmp_path))
    assert "alista" in out
    assert (tmp_path / "unrolling.png").stat().st_size > 10_000
    for name in ("unrolling.csv", "learning.csv"):
        check_columns(tmp_path / name)
    rows = pd.read_csv(tmp_path / "unrolling.csv")
    assert set(rows["panel"]) == {"as trained", "A off"}
    first = rows[rows["panel"] == "as trained"]
    last = first.groupby("curve").last()["estimate"]
    assert last["alista"] < last["ista"] - 1
    assert last["oracle"] < -35
    # ISTA's error after t iterations depends on nothing but lambda: its own network, untrained.
    assert (first["lower"] <= first["estimate"]).all()
    assert json.loads(rows["problem_options"].iloc[0])["snr"] == 40
    off = rows[rows["panel"] == "A off"].groupby("curve").last()["estimate"]
    assert off["oracle"] > last["oracle"] + 3
    assert rows["converged"].notna().equals(rows["weights"].notna())
    assert not rows["converged"].dropna().any()  # after 40 steps
    curves = pd.read_csv(tmp_path / "learning.csv")
    best = rows.dropna(subset="weights").groupby("weights")["validation"].first()
    assert np.allclose(curves.groupby("weights")["validation"].min(), best, atol=1e-4)
    steps = rows.dropna(subset="weights").groupby("weights")["steps"].first()
    assert curves.groupby("weights")["step"].last().equals(steps.rename("step").astype(int))
    assert (curves.groupby("weights")["step"].diff().dropna() >= 0).all()
    # The same command again trains nothing and gives the same rows.
    command("unrolling", "--preset", "quick", "-j", "1", "-o", str(tmp_path / "again"))
    again = pd.read_csv(tmp_path / "again" / "unrolling.csv")
    pd.testing.assert_frame_equal(
        rows.drop(columns="command"), again.drop(columns="command"), check_exact=True
    )


def test_a_figure_says_which_training_has_not_converged(tmp_path, monkeypatch):
    """Beside the curve and in the legend, from a CSV; one without the column says nothing."""
    drawn = []
    monkeypatch.setattr(style, "save", lambda figure, *_: drawn.append(figure) or [])
    states = {"lista": False, "lista-cp": True, "ista": None}
    rows = pd.DataFrame(
        [
            {
                "curve": name,
                "x": x,
                "estimate": -x,
                "lower": -x - 1,
                "upper": -x + 1,
                "told": "k,training",
            }
            | {"converged": state}
            for name, state in states.items()
            for x in (2, 4)
        ]
    )
    rows = rows.assign(panel="as trained", metric="nmse", problem="lista", problem_options="{}")
    rows = rows.assign(algorithm=rows["curve"], m=20, n=40, seed=0, trials=100)
    rows.to_csv(tmp_path / "unrolling.csv", index=False)
    figures.draw(tmp_path / "unrolling.csv", tmp_path)
    rows.drop(columns="converged").to_csv(tmp_path / "unrolling.csv", index=False)
    figures.draw(tmp_path / "unrolling.csv", tmp_path)
    (now, before) = drawn
    texts = [text.get_text() for text in now.legends[0].get_texts()]
    assert texts[0] == "lista (trained), not converged"
    assert sum("not converged" in text for text in texts) == 1
    (axes,) = now.axes
    (beside,) = [text for text in axes.texts if text.get_text() == "not converged"]
    assert tuple(beside.xy) == (4, -4)
    assert not any("converged" in text.get_text() for text in before.legends[0].get_texts())
    assert not before.axes[0].texts
