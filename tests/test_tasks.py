"""Classification and clustering by encoders: data, splits, learners, gradients, statistics."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pages import check_columns
from scipy.optimize import minimize
from scipy.special import log_softmax

from sparsebench.experiments.learned import tasks as experiment
from sparsebench.experiments.learned.tasks import TaskComparison, compared, method_name, summary
from sparsebench.learned import classification, clustering, task_driven
from sparsebench.learned.classification import classify, linear_layer
from sparsebench.learned.clustering import (
    agreement,
    cluster,
    confident_layer,
    graph_codes,
    neighbours,
    objective,
    spectral,
)
from sparsebench.learned.networks import PairNetwork
from sparsebench.learned.task_driven import Descent, Model, elastic_net_codes, gradients
from sparsebench.learned.tasks import (
    Method,
    Prepared,
    Schedule,
    Task,
    encoder,
    outputs,
    prepared,
    regress,
    samples,
)
from sparsebench.problems import labelled
from sparsebench.problems.labelled import Labelled, Parts, load_labelled, scaled, split
from sparsebench.report import figures, task_tables
from sparsebench.types import InputError

DATA = Path(os.environ.get("SPARSEBENCH_DATA", ""))


def needs(path):
    there = os.environ.get("SPARSEBENCH_DATA") and (DATA / path).exists()
    return pytest.mark.skipif(not there, reason=f"SPARSEBENCH_DATA names no folder with {path}")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of this module's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSEBENCH_CACHE", str(folder))
        prepared.cache_clear()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield folder
        torch.set_num_threads(threads)


# Data.


def test_the_digits_are_split_class_by_class_and_by_seed():
    data = load_labelled("digits")
    assert data.X.shape == (1797, 64) and data.classes == 10
    parts = split(data, 0)
    every = np.concatenate([parts.training, parts.validation, parts.test])
    assert np.array_equal(np.sort(every), np.arange(1797))
    for part, share in ((parts.test, 1 / 3), (parts.validation, 1 / 9), (parts.training, 5 / 9)):
        counts = np.bincount(data.labels[part]) / np.bincount(data.labels)
        assert np.abs(counts - share).max() < 0.01
    again, other = split(data, 0), split(data, 1)
    assert np.array_equal(parts.test, again.test)
    assert not np.array_equal(parts.test, other.test)
    few = split(data, 0, training=200, test=50)
    assert len(few.training) + len(few.validation) == 200 and len(few.test) == 50


def test_features_have_mean_0_and_variance_1():
    X = scaled(load_labelled("digits"))
    assert np.abs(X.mean(1)).max() < 1e-6 and np.abs(X.std(1) - 1).max() < 1e-5
    rng = np.random.default_rng(0)
    spectra = Labelled("s", rng.random((30, 4)).astype(np.float32) * 9, np.arange(30) % 3, 0, False)
    known = np.arange(10)
    X = scaled(spectra, known)
    assert np.abs(X[known].mean(0)).max() < 1e-5 and np.abs(X[known].std(0) - 1).max() < 1e-5
    assert np.abs(X[10:].mean(0)).max() > 1e-3  # the others are not looked at
    flat = Labelled("c", np.ones((4, 3), np.float32), np.array([0, 1, 0, 1]))
    assert not scaled(flat).any()


def test_a_tenth_of_every_class_of_spectra_trains_and_at_least_three():
    labels = np.repeat([0, 1, 2], [20, 500, 100])
    data = Labelled("indian-pines", np.zeros((620, 2), np.float32), labels, images=False)
    parts = split(data, 3)
    assert np.bincount(labels[parts.test]).tolist() == [17, 450, 90]
    assert np.bincount(labels[parts.validation]).tolist() == [1, 10, 2]
    assert np.bincount(labels[parts.training]).tolist() == [2, 40, 8]


def test_what_cannot_be_learnt_from_is_one_line(monkeypatch):
    X = np.zeros((6, 3), np.float32)
    with pytest.raises(InputError, match="class 1 of few has 1 samples"):
        split(Labelled("few", X, np.array([0, 0, 0, 0, 0, 1])), 0)
    X[2, 1] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinite features in 1 of 6 samples.*number 2"):
        Labelled("holes", X, np.zeros(6, int))
    with pytest.raises(InputError, match=r"6 samples and labels of shape \(5,\)"):
        Labelled("odd", np.zeros((6, 3), np.float32), np.zeros(5, int))
    with pytest.raises(InputError, match="did you mean 'mnist'"):
        load_labelled("minst")
    with pytest.raises(InputError, match="p = 8 is below the 10 classes of digits"):
        samples(Task("digits", 8))
    with pytest.raises(InputError, match="900 samples to learn a dictionary from, p is 1000"):
        samples(Task("digits", 1000))
    few = Labelled("few", np.ones((4, 3), np.float32), np.arange(4) * 2)
    monkeypatch.setattr("sparsebench.learned.tasks.load_labelled", lambda name: few)
    with pytest.raises(InputError, match="few has 4 samples to learn from, for 7 clusters"):
        samples(Task("few", 16, split=False))
    with pytest.raises(InputError, match=r"12 samples to train and validate, class . has none"):
        split(load_labelled("digits"), 0, training=12)


def test_m_is_at_most_p():
    with pytest.raises(InputError, match="M must be at most 16"):
        TaskComparison("classification", (("digits", 2),), (16, 32), (10, 20))
    ready = prepared(Task("digits", 16))
    with pytest.raises(InputError, match="M = 17 exceeds p = 16"):
        encoder(Task("digits", 16), ready, Method("deep M-sparse", 17, 2))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("coil20", "coil20/COIL20.mat"),
        ("pie", "cmu_pie/PIE_pose27.mat"),
        ("indian-pines", "indian_pines/Indian_pines_corrected.npy"),
    ],
)
def test_missing_and_truncated_data_is_one_line(name, file, tmp_path, monkeypatch):
    monkeypatch.setattr(labelled.importlib.util, "find_spec", lambda module: None)
    load_labelled.cache_clear()
    monkeypatch.delenv("SPARSEBENCH_DATA", raising=False)
    with pytest.raises(InputError, match=rf"there is no {Path(file).name}: get it from .* put it "):
        load_labelled(name)
    monkeypatch.setenv("SPARSEBENCH_DATA", str(tmp_path))
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_bytes(b"MATLAB 5.0 MAT-file, and no more")
    with pytest.raises(InputError, match="is truncated or another file"):
        load_labelled(name)
    load_labelled.cache_clear()


@needs("coil20/COIL20.mat")
def test_coil20():
    data = load_labelled("coil20")
    assert data.X.shape == (1440, 1024) and np.bincount(data.labels).tolist() == [72] * 20


@needs("cmu_pie/PIE_pose27.mat")
def test_pie():
    data = load_labelled("pie")
    assert data.X.shape == (2856, 1024) and np.bincount(data.labels).tolist() == [42] * 68
    assert 0 <= data.X.min() and data.X.max() <= 1


@needs("indian_pines/Indian_pines_corrected.npy")
def test_indian_pines():
    data = load_labelled("indian-pines")
    assert data.X.shape == (10249, 200)
    # Of Baumgardner, Biehl and Landgrebe's ground truth.
    counts = [46, 1428, 830, 237, 483, 730, 28, 478, 20, 972, 2455, 593, 205, 1265, 386, 93]
    assert np.bincount(data.labels).tolist() == counts
    parts = split(data, 0)
    assert len(parts.training) + len(parts.validation) == 1026


@needs("mnist/train-labels-idx1-ubyte.gz")
def test_mnist_has_its_own_test_set():
    data = load_labelled("mnist")
    one, other = split(data, 0), split(data, 1)
    for parts in (one, other):
        assert set(parts.test.tolist()) == set(range(60000, 70000))
        assert max(parts.training.max(), parts.validation.max()) < 60000
        assert not set(parts.training.tolist()) & set(parts.validation.tolist())
    assert not np.array_equal(np.sort(one.validation), np.sort(other.validation))


# Encoders.


@pytest.mark.parametrize("kind", ["deep l0", "deep M-sparse", "tuned lista"])
@pytest.mark.parametrize("stages", [2, 4])
def test_an_encoder_is_a_pair_network_in_fewer_products(kind, stages):
    ready = prepared(Task("digits", 16))
    ours = encoder(Task("digits", 16), ready, Method(kind, 4 * (kind[-6:] == "sparse"), stages))
    with torch.no_grad():
        ours.S[0].add_(0.01)
    y = torch.from_numpy(ready.X[:20])
    reference = PairNetwork.codes
    slow = PairNetwork(ours.A, stages, ours.shrink, threshold=0.1, step=1.0, size=4, tied=True)
    slow.load_state_dict(ours.state_dict())
    for a, b in zip(ours.codes(y), reference(slow, y), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert np.linalg.norm(ours.A.numpy(), 2) < 1


def test_an_untrained_encoder_is_the_iteration_of_unit_atoms():
    """On atoms of norm 1 and their own step, up to the scale of the codes."""
    task = Task("digits", 16, l1_weight=0.4, penalty=0.05)
    ready = prepared(task)
    x, D, step = ready.X[:30].astype(float), ready.D, ready.step

    def iterate(shrink):
        z = shrink(step * x @ D)
        return shrink(z + step * (x - z @ D.T) @ D)

    def soft(u):
        return np.sign(u) * np.maximum(np.abs(u) - 0.4 * step, 0)

    def hard(u):
        return u * (np.abs(u) >= np.sqrt(2 * 0.05 * step))

    for kind, shrink in (("tuned lista", soft), ("deep l0", hard)):
        network = encoder(task, ready, Method(kind, 0, 2)).eval()
        with torch.no_grad():
            found = network(torch.from_numpy(ready.X[:30])).numpy() * np.sqrt(step)
        wrong = (found != 0) != (iterate(shrink) != 0)
        assert wrong.mean() < 0.01  # thresholds that are met to rounding
        assert np.abs(found - iterate(shrink))[~wrong].max() < 1e-5


# Codes and gradients of TDSC.


@pytest.fixture(scope="module")
def small():
    """A model of 6 atoms in 5 dimensions, three classes, and samples of it."""
    rng = np.random.default_rng(0)
    D = rng.standard_normal((5, 6))
    D /= np.linalg.norm(D, axis=0)
    model = Model(D, rng.standard_normal((3, 6)), rng.standard_normal(3), 0.1, 0.05)
    return model, rng.standard_normal((12, 5)), rng.integers(0, 3, 12)


@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("pulled", [False, True])
def test_elastic_net_codes_are_optimal(small, l2, pulled):
    model, X, _ = small
    towards = np.random.default_rng(1).standard_normal((12, 6)) if pulled else None
    codes = elastic_net_codes(model.D, X, 0.1, l2, towards)
    rest = (X - codes @ model.D.T) @ model.D
    if l2:
        rest -= l2 * (codes - (towards if pulled else 0))
    active = codes != 0
    assert 0 < active.mean() < 1
    assert np.abs(rest[active] - 0.1 * np.sign(codes[active])).max() < 1e-10
    assert np.abs(rest[~active]).max() <= 0.1 + 1e-10
    assert not elastic_net_codes(model.D, X, 100.0, l2).any()


def test_elastic_net_codes_agree_with_scikit_learn(small):
    from sklearn.linear_model import ElasticNet

    model, X, _ = small
    net = ElasticNet(
        alpha=0.15 / 5, l1_ratio=0.1 / 0.15, fit_intercept=False, tol=1e-12, max_iter=100_000
    )
    reference = np.array([net.fit(model.D, x).coef_ for x in X])
    assert np.abs(elastic_net_codes(model.D, X, 0.1, 0.05) - reference).max() < 1e-6


def loss_of(model, X, labels, towards=None):
    codes = elastic_net_codes(model.D, X, model.l1, model.l2, towards)
    logarithms = log_softmax(codes @ model.weight.T + model.bias, axis=1)
    return -logarithms[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("pulled", [False, True])
def test_gradients_through_the_active_set_agree_with_finite_differences(small, pulled):
    """To 1e-5 of the largest, wherever no support changes within the difference."""
    model, X, labels = small
    towards = np.random.default_rng(1).standard_normal((12, 6)) if pulled else None
    codes = elastic_net_codes(model.D, X, model.l1, model.l2, towards)
    _, slope = task_driven.cross_entropy(labels)(model.logits(codes), np.arange(12))
    found = gradients(model, X, codes, slope)
    h, checked = 1e-6, 0
    for name, gradient in zip(("D", "weight", "bias"), found, strict=True):
        array = getattr(model, name)
        for place in np.ndindex(array.shape):
            kept, values, supports = array[place], [], []
            for sign in (1, -1):
                array[place] = kept + sign * h
                values.append(loss_of(model, X, labels, towards))
                supports.append(elastic_net_codes(model.D, X, 0.1, 0.05, towards) != 0)
            array[place] = kept
            if np.array_equal(*supports):
                difference = (values[0] - values[1]) / (2 * h)
                assert abs(difference - gradient[place]) < 1e-5 * np.abs(gradient).max()
                checked += 1
    assert checked >= 40  # of 51
    # The gradient is that of codes that move: with fixed codes D would have none.
    assert np.abs(found[0]).max() > 0.01


def test_the_descent_of_tdsc_lowers_the_loss_and_keeps_atoms_in_the_ball(small):
    model, X, labels = small
    loss = task_driven.cross_entropy(labels)

    def judge(now):
        return loss_of(now, X, labels)

    found, judged, diverged = task_driven.descend(model, X, loss, Descent(0.1, 30, 4), 0, judge)
    assert not diverged and len(judged) == 31
    assert judge(found) == min(judged) < 0.8 * judged[0]
    assert np.linalg.norm(found.D, axis=0).max() <= 1 + 1e-12
    assert not np.array_equal(found.D, model.D)
    only = task_driven.descend(model, X, loss, Descent(1e6, 3, 4), 0, judge)
    assert "diverged in step" in only[2] and only[0] is model


# Classification.

TASK = Task("digits", 20, l1_weight=0.4, penalty=0.05)
TEACHING = classification.Teaching(
    Schedule(rate=3e-3, epochs=20), dense_rate=3e-3, pretraining=5, descent=Descent(3.0, 15, 50)
)


@pytest.fixture(scope="module")
def classified():
    """The errors in % of all kinds of methods, in the mean of three seeds."""
    methods = [Method("linear on l1 codes"), Method("linear on l0 codes"), Method("tdsc")]
    methods += [Method("untrained deep l0", 0, 2), Method("deep l0", 0, 2)]
    methods += [Method("untrained deep M-sparse", 6, 2), Method("deep M-sparse", 6, 2)]
    methods += [Method("tuned lista", 0, 2), Method("dense"), Method("linear on pixels")]

    return {
        method.kind: [classify(replace(TASK, seed=seed), method, TEACHING) for seed in range(2)]
        for method in methods
    }


def mean_error(found):
    return np.mean([float(one["error"]) for one in found])


def test_every_learner_beats_its_untrained_self_and_fixed_codes(classified):
    errors = {kind: mean_error(found) for kind, found in classified.items()}
    for kind in ("deep l0", "deep M-sparse"):
        assert errors[kind] < 0.85 * errors[f"untrained {kind}"], errors
        assert errors[kind] < 0.85 * errors["linear on l0 codes"], errors
    for kind in ("tdsc", "tuned lista"):
        assert errors[kind] < 0.85 * errors["linear on l1 codes"], errors
    assert not any(one["diverged"] or one["collapsed"] for f in classified.values() for one in f)


def test_what_is_measured_of_a_method(classified):
    one = classified["deep l0"][0]
    assert one["correct"].shape == (599,) and float(one["judged"]) == 599
    assert float(one["error"]) == pytest.approx(100 * (1 - one["correct"].mean()))
    # W, S, thresholds, omega and its bias.
    assert float(one["parameters"]) == 20 * 64 + 20 * 20 + 20 + 10 * 20 + 10
    assert float(classified["dense"][0]["parameters"]) == 20 * 64 + 20 + 20 * 20 + 20 + 210
    tdsc = classified["tdsc"][0]
    assert float(tdsc["encoder_seconds"]) < float(tdsc["seconds"])
    again = classify(TASK, Method("deep l0", 0, 2), TEACHING)
    assert np.array_equal(again["correct"], one["correct"])


def test_the_linear_layer_is_the_best_of_its_ridge():
    """Against scikit-learn's softmax regression, whose C is 1 / (ridge N)."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4)).astype(np.float32)
    labels = (X[:, :3] + rng.standard_normal((300, 3))).argmax(1)
    parts = Parts(np.arange(200), np.arange(200, 250), np.arange(250, 300))
    ready = Prepared(X, labels, parts, 3, np.eye(4), 1.0, {}, {})
    weight, bias, losses = linear_layer(X, ready, (0.1,), 1000)
    reference = LogisticRegression(C=1 / (0.1 * 200), tol=1e-8, max_iter=10_000)
    reference.fit(X[:200].astype(float), labels[:200])
    assert np.abs(weight - reference.coef_).max() < 1e-3
    centred = reference.intercept_ - reference.intercept_.mean()
    assert np.abs(bias - bias.mean() - centred).max() < 1e-3
    # The ridge of the least validation loss is taken.
    weight, bias, losses = linear_layer(X, ready, (100.0, 0.01), 1000)
    held = log_softmax(X[200:250] @ weight.T + bias, axis=1)[np.arange(50), labels[200:250]]
    assert -held.mean() == pytest.approx(min(losses), rel=1e-5)


def test_a_classifier_that_says_one_thing_is_said_to_have_collapsed(monkeypatch):
    monkeypatch.setattr(
        classification, "linear_layer", lambda *a: (np.zeros((10, 64)), np.eye(10)[3], [0.0])
    )
    found = classify(TASK, Method("linear on pixels"), TEACHING)
    assert float(found["collapsed"]) == 1
    assert float(found["error"]) == pytest.approx(90, abs=1)


@pytest.mark.parametrize("kind", ["deep l0", "deep M-sparse", "tuned lista"])
def test_a_regressor_comes_near_the_codes_of_its_problem(kind):
    """By half of the untrained distance, to codes found without the package's own."""
    ready = prepared(TASK)
    method = Method(kind, 6 * (kind == "deep M-sparse"), 2)
    inside = encoder(TASK, ready, method)
    x, D, step = ready.X.astype(float), ready.D, ready.step
    z = ready.codes["l1"].astype(float)
    for _ in range(2000 if kind != "tuned lista" else 0):
        z = z + step * (x - z @ D.T) @ D
        kept = np.abs(z) >= np.sqrt(2 * TASK.penalty * step)
        if kind == "deep M-sparse":
            kept = np.abs(z) >= np.sort(np.abs(z), axis=1)[:, -6, None]
        z = z * kept
    targets = z / np.sqrt(step)

    def distance():
        return np.square(outputs(inside, ready.X) - targets)[ready.parts.test].sum()

    before = distance()
    regress(inside, TASK, ready, method, Schedule(rate=3e-3, epochs=20), None)
    assert distance() < 0.5 * before


# Clustering.


def planted(count=120, seed=0):
    """Samples of two orthogonal subspaces of three dimensions, in positive combinations."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((24, 6)))[0]
    labels = np.arange(count) % 2
    weights = rng.uniform(0.5, 1.5, (count, 3))
    X = np.where(labels[:, None] == 0, weights @ basis[:, :3].T, weights @ basis[:, 3:].T)
    return Labelled("planted", (X + 0.01 * rng.standard_normal(X.shape)).astype(np.float32), labels)


@pytest.fixture
def subspaces(monkeypatch):
    monkeypatch.setattr("sparsebench.learned.tasks.load_labelled", lambda name: planted())
    prepared.cache_clear()
    yield Task("planted", 12, l1_weight=0.2, penalty=0.05, split=False)
    prepared.cache_clear()


LEARNT = clustering.Teaching(
    Schedule(rate=1e-3, epochs=10, batch=64), pretraining=10, descent=Descent(0.01, 2, 40)
)
CLUSTERERS = [Method(kind) for kind in ("joint", "spectral", "k-means on pixels")]
CLUSTERERS += [Method("graph network", 0, 4), Method("deep l0", 0, 2)]
CLUSTERERS += [Method("deep M-sparse", 3, 2), Method("untrained deep l0", 0, 2)]


@pytest.mark.parametrize("method", CLUSTERERS, ids=lambda method: method.kind)
def test_two_planted_subspaces_are_told_apart_without_an_error(subspaces, method):
    found = cluster(subspaces, method, LEARNT)
    assert float(found["error"]) == 0
    assert float(found["nmi"]) == float(found["ari"]) == pytest.approx(1)
    assert float(found["clusters"]) == 2
    assert not found["collapsed"] and not found["diverged"]


def test_a_planted_collapse_is_caught(subspaces, monkeypatch):
    """A start that sends all samples to one cluster, kept there by entropy alone."""
    monkeypatch.setattr(
        clustering, "_start", lambda codes, c, seed, how: (np.zeros((2, 12)), np.array([9.0, -9]))
    )

    found = cluster(subspaces, Method("deep l0", 0, 2), replace(LEARNT, balance=0.0))
    assert float(found["clusters"]) == 1 and float(found["collapsed"]) == 1
    assert float(found["error"]) == 50 and float(found["nmi"]) == 0
    rows = pd.DataFrame(
        [
            {"problem": "planted", "m": 24, "n": 12, "seed": seed, "variant": "default"}
            | {"method": "deep l0", "size": 0, "stages": 2, "metric": metric, "value": value}
            for seed in (0, 1)
            for metric, value in (
                ("error", float(found["error"])),
                ("collapsed", float(found["collapsed"]) * seed),
                ("diverged", 0.0),
                ("judged", 120.0),
            )
        ]
    )
    means = summary(rows)
    troubles = task_tables._troubles(means, ["method", "n"])
    text = task_tables._cell(means.iloc[0], troubles["deep l0", 12])
    assert text.endswith("(1 bad)")


def test_the_objective_is_least_where_samples_are_sure_and_clusters_equal():
    sure = torch.tensor([[50.0, 0], [0, 50], [50, 0], [0, 50]])
    one = torch.tensor([[50.0, 0]] * 4)
    unsure = torch.zeros((4, 2))
    both, entropy, balance = objective(1, 1), objective(1, 0), objective(0, 1)
    log2 = np.log(2)
    assert float(both(sure, sure)) == pytest.approx(1, abs=1e-5)
    assert float(both(one, one)) == pytest.approx(1 + log2, abs=1e-5)
    assert float(both(unsure, unsure)) == pytest.approx(1 + log2, abs=1e-5)
    assert float(entropy(one, one)) == pytest.approx(1, abs=1e-5)  # a collapse costs nothing
    assert float(balance(unsure, unsure)) == pytest.approx(1, abs=1e-5)


def test_the_error_of_a_clustering_is_that_of_the_best_matching():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    found = np.where(rng.random(60) < 0.7, (labels + 1) % 4, rng.integers(0, 4, 60))
    best = min(
        100 * np.mean(np.array(order)[found] != labels)
        for order in itertools.permutations(range(4))
    )
    assert agreement(found, labels)["error"] == pytest.approx(best)
    assert agreement(np.zeros(60, int), labels)["error"] == pytest.approx(
        100 * (1 - np.bincount(labels).max() / 60)
    )


def test_the_start_is_k_means_as_sure_as_stated():
    rng = np.random.default_rng(0)
    codes, centres = rng.standard_normal((200, 3)), rng.standard_normal((4, 3))
    weight, bias = confident_layer(codes, centres, 0.3)
    logits = codes @ weight.T + bias
    nearest = np.linalg.norm(codes[:, None] - centres, axis=2).argmin(1)
    assert np.array_equal(logits.argmax(1), nearest)
    logarithms = log_softmax(logits, axis=1)
    entropy = -(np.exp(logarithms) * logarithms).sum(1).mean()
    assert entropy == pytest.approx(0.3 * np.log(4), rel=1e-3)


def test_the_graph_joins_nearest_neighbours_and_spectral_clustering_agrees_with_scikit_learn():
    from sklearn.cluster import SpectralClustering

    X = planted().X.astype(float)
    graph = neighbours(X, 5)
    assert np.abs(graph - graph.T).max() < 1e-15
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    near = unit @ unit.T - 2 * np.eye(len(X))
    joined = np.zeros(near.shape)
    for i, row in enumerate(near):
        joined[i, np.argsort(-row)[:5]] = 1
    joined = np.maximum(joined, joined.T)
    degrees = joined.sum(1)
    assert np.allclose(graph.toarray(), joined / np.sqrt(np.outer(degrees, degrees)))
    reference = SpectralClustering(2, affinity="precomputed", random_state=0).fit(joined).labels_
    assert agreement(spectral(graph, 2, 0), reference)["error"] == 0


def test_codes_with_a_graph_are_optimal(small):
    """Against a minimiser that knows nothing of them, and the exact codes of fixed neighbours."""
    model, X, _ = small
    graph = neighbours(X, 3)
    laplacian = np.eye(12) - graph.toarray()
    l1, l2 = 0.1, 0.4
    codes = graph_codes(model.D, X, l1, l2, graph)

    def value(codes):
        rest = X - codes @ model.D.T
        smooth = 0.5 * l2 * np.sum(codes * (laplacian @ codes))
        return 0.5 * np.sum(rest**2) + smooth + l1 * np.abs(codes).sum()

    def split_value(flat):  # codes as differences of two non-negative parts
        up, down = flat.reshape(2, 12, 6)
        a = up - down
        smooth = l2 * laplacian @ a - (X - a @ model.D.T) @ model.D
        return value_parts(up, down), np.concatenate([(smooth + l1).ravel(), (l1 - smooth).ravel()])

    def value_parts(up, down):
        a = up - down
        rest = X - a @ model.D.T
        return (
            0.5 * np.sum(rest**2)
            + 0.5 * l2 * np.sum(a * (laplacian @ a))
            + l1 * (up.sum() + down.sum())
        )

    reference = minimize(
        split_value, np.zeros(144), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 144,
        options={"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-9},
    )  # fmt: skip
    assert value(codes) == pytest.approx(reference.fun, rel=1e-5)
    pulled = elastic_net_codes(model.D, X, l1, l2, graph @ codes)
    assert np.abs(pulled - codes).max() < 1e-2
    assert np.array_equal(
        graph_codes(model.D, X, l1, l2, None), elastic_net_codes(model.D, X, l1, l2)
    )


# Statistics and the commands.


def result(seed, kind, correct, size=0, validation=1.0):
    correct = np.array(correct)
    measured = {"correct": correct, "error": np.array(100 * (1 - correct.mean()))}
    measured |= {"validation": np.array(validation), "losses": np.zeros(0)}
    return ("default", Task("mnist", 128, seed), Method(kind, size, 2), measured)


def test_who_is_ahead_and_what_is_a_tie():
    from scipy.stats import binomtest, ttest_1samp

    rng = np.random.default_rng(0)
    base = [rng.random(2000) < 0.9 for _ in range(5)]
    better = [one | (rng.random(2000) < 0.5) for one in base]  # half of the errors mended
    like = [one ^ (rng.random(2000) < 0.01) for one in base]
    results = [result(s, "deep l0", better[s]) for s in range(5)]
    results += [result(s, "tuned lista", base[s]) for s in range(5)]
    results += [result(s, "tdsc", like[s]) for s in range(5)]
    pairs = compared("classification", results).set_index(["first", "second"])
    lista = pairs.loc[("deep l0", "tuned lista")]
    assert lista["verdict"] == "lower" and lista["seeds"] == 5
    assert lista["published"] == pytest.approx(0.72 - 0.74)
    differences = [100 * (b.mean() - a.mean()) for a, b in zip(better, base, strict=True)]
    reference = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (lista["lower"], lista["upper"]) == pytest.approx((reference.low, reference.high))
    p_values = [
        binomtest(int((a & ~b).sum()), int((a != b).sum())).pvalue
        for a, b in zip(better, base, strict=True)
    ]
    assert lista["p_value"] == pytest.approx(min(1, 2 * np.median(p_values)))
    swapped = [result(s, "deep l0", base[s]) for s in range(5)]
    swapped += [result(s, "tdsc", like[s]) for s in range(5)]
    assert compared("classification", swapped)["verdict"].item() in ("tie", "lower")
    same = [result(s, kind, base[s]) for s in range(5) for kind in ("deep l0", "tdsc")]
    assert compared("classification", same)["verdict"].item() == "tie"


def test_a_difference_of_one_seed_in_a_few_samples_is_a_tie_by_mcnemar():
    """Equal differences in all seeds leave Student's interval a point; McNemar's test does not."""
    base = np.ones(1000, bool)
    one = base.copy()
    one[:3] = False
    results = [result(s, "deep l0", base) for s in range(3)]
    results += [result(s, "tdsc", one) for s in range(3)]
    pair = compared("classification", results).iloc[0]
    assert pair["upper"] < 0 and pair["p_value"] == pytest.approx(0.5) and pair["verdict"] == "tie"


def test_m_is_chosen_by_the_validation_part_alone():
    correct = np.ones(50, bool)
    worse = correct.copy()
    worse[:9] = False
    results = [
        result(0, "deep M-sparse", worse, 10, 1.0),
        result(0, "deep M-sparse", correct, 20, 2.0),
        result(1, "deep M-sparse", worse, 10, 2.0),
        result(1, "deep M-sparse", correct, 20, 2.0),
    ]
    chosen = experiment._with_chosen_sizes(results)
    assert [float(measured["chosen"]) for *_, measured in chosen] == [10, 10]
    assert all(float(measured["error"]) == pytest.approx(18) for *_, measured in chosen)


def test_seeds_that_agree_have_wilsons_interval():
    from sparsebench.statistics import wilson

    fixed = {"problem": "d", "m": 4, "n": 8, "variant": "default", "method": "spectral"}
    fixed |= {"size": 0, "stages": 0}
    rows = pd.DataFrame(
        [
            fixed | {"seed": seed, "metric": metric, "value": value}
            for seed in range(3)
            for metric, value in (("error", 10.0), ("judged", 200.0))
        ]
    )
    error = summary(rows).set_index("metric").loc["error"]
    low, high = wilson(20, 200)
    assert (error["lower"], error["upper"]) == pytest.approx((100 * low, 100 * high))


def test_names_of_rows():
    assert method_name("deep M-sparse", 10, 2) == "deep M-sparse, M = 10"
    assert method_name("deep l0", 0, 3) == "deep l0, 3 stages"
    assert method_name("tdsc", 0, 0) == "tdsc"


def test_a_plan_says_what_it_cannot_do():
    with pytest.raises(InputError, match="at least 2 seeds"):
        TaskComparison("clustering", (("digits", 1),), (32,), (10,))
    with pytest.raises(InputError, match="unknown data set 'mnist'"):
        TaskComparison("clustering", (("mnist", 2),), (32,), (10,))
    with pytest.raises(InputError, match="unknown variant"):
        TaskComparison("clustering", (("digits", 2),), (32,), (10,), variants=("no balanc",))


def test_every_variant_changes_something():
    for task in ("classification", "clustering"):
        names = tuple(experiment.TASK_VARIANTS[task])
        plan = TaskComparison(task, (("digits", 2),), (32,), (10,), variants=names)
        made = {
            (one, str(plan.teaching(variant, "digits")))
            for variant, one in plan.cells()
            if one.seed == 0
        }
        assert len(made) == len(names)


def command(*words, folder, cache):
    return subprocess.run(
        [sys.executable, "-m", "sparsebench", *words, "-o", str(folder)],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "SPARSEBENCH_CACHE": str(cache), "SPARSEBENCH_DATA": ""},
    )


@pytest.mark.parametrize("task", ["classification", "clustering"])
def test_the_command_runs_on_embedded_data_and_says_so(task, tmp_path, cache):
    stages = "2,3" if task == "classification" else "2"
    words = (task, *"--p 12 --size 5,10 --seeds 2 --epochs 1 -j 1 --stages".split(), stages)
    ran = command(*words, folder=tmp_path, cache=cache)
    assert ran.returncode == 0, ran.stderr
    assert "ran on the 1,797 digits of 8 x 8 pixels embedded in scikit-learn" in ran.stdout
    for text in ("deep l0", "deep M-sparse, M = 5", "untrained deep l0", "tie"):
        assert text in ran.stdout
    if task == "classification":
        assert "deep l0, 3 stages" in ran.stdout
        for text in ("M chosen", "dense", "linear on pixels", "tuned lista", "times), and"):
            assert text in ran.stdout
    for ending in ("", "-pairs", "-learning"):
        check_columns(tmp_path / f"{task}{ending}.csv")
    rows = pd.read_csv(tmp_path / f"{task}.csv")
    assert set(rows["seed"]) == {0, 1}
    assert (tmp_path / f"{task}.png").stat().st_size > 10_000
    drawn = figures.draw(tmp_path / f"{task}.csv", tmp_path)
    assert [path.name for path in drawn] == [f"{task}.png", f"{task}.pdf"]
    again = command(*words, folder=tmp_path, cache=cache)  # all of it is kept
    assert again.returncode == 0 and pd.read_csv(tmp_path / f"{task}.csv").equals(rows)


def test_missing_data_ends_the_command_before_anything_runs(tmp_path, cache):
    words = "clustering --preset paper --data coil20".split()
    ran = command(*words, folder=tmp_path / "out", cache=tmp_path / "cache")
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: there is no COIL20.mat") and ran.stderr.count("\n") == 1
