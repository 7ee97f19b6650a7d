"""Instances: what they are made of, and that nothing but their recipe decides them."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

import sparsebench
from sparsebench import problems, registry
from sparsebench.metrics import (
    exact_recovery,
    near_distance,
    relative_error,
    relative_residual,
    support_distance,
)
from sparsebench.problems import default_measurements
from sparsebench.registry import choose_problem
from sparsebench.types import InputError


def fingerprint(instance):
    return instance.A.tobytes(), instance.y.tobytes()


def test_every_cell_of_a_grid_is_another_instance():
    instances = [
        sparsebench.draw("gaussian", m=m, n=n, k=k, trial=trial, seed=seed)
        for seed in (0, 1)
        for n in (20, 21)
        for m in (9, 10)
        for trial in range(5)
        for k in (1, 2, 3)
    ]
    assert len({i.y.tobytes() for i in instances}) == len(instances)
    # One dictionary a (seed, n, m, trial), shared by its sparsities.
    assert len({i.A.tobytes() for i in instances}) == len(instances) // 3


def test_an_instance_does_not_depend_on_what_was_drawn_before():
    recipe = {"m": 30, "n": 50, "k": 4, "trial": 7, "seed": 3}
    first = fingerprint(sparsebench.draw("gaussian", **recipe))
    for k in (1, 9, 30):
        sparsebench.draw("gaussian", **(recipe | {"k": k}))
    np.random.seed(0)
    assert fingerprint(sparsebench.draw("gaussian", **recipe)) == first


def test_instances_are_those_of_the_first_release():
    """Rows are kept for years: a change of the streams must not pass unnoticed."""
    instance = sparsebench.draw("gaussian", m=3, n=5, k=2, trial=1, seed=2)
    np.testing.assert_allclose(
        instance.A[0, :2], [-1.4358345955930103, 0.05251214805974694], rtol=1e-12
    )
    assert instance.support.tolist() == [1, 3]


@pytest.mark.parametrize("k", [1, 7, 40])
@pytest.mark.parametrize("amplitudes", ["uniform", "signs", "normal"])
def test_exactly_k_nonzeros_of_the_stated_law(k, amplitudes):
    values = []
    for trial in range(20):
        x = sparsebench.draw("gaussian", m=40, n=60, k=k, trial=trial, amplitudes=amplitudes).x
        assert np.count_nonzero(x) == k
        values.append(x[x != 0])
    values = np.concatenate(values)
    if amplitudes == "uniform":
        assert np.abs(values).min() >= 1
        assert np.abs(values).max() <= 2
    elif amplitudes == "signs":
        assert set(values) <= {-1.0, 1.0}
    assert 0.2 < np.mean(values > 0) < 0.8


def test_supports_are_uniform():
    counts = np.zeros(20)
    for trial in range(600):
        counts[sparsebench.draw("gaussian", m=10, n=20, k=5, trial=trial).support] += 1
    # 600 draws of 5 out of 20: 150 each, standard deviation about 10.6.
    assert np.abs(counts - 150).max() < 45


def test_gaussian_columns():
    raw = sparsebench.draw("gaussian", m=200, n=300, k=1).A
    assert abs(raw.mean()) < 0.02
    assert abs(raw.std() - 1) < 0.02
    unit = sparsebench.draw("gaussian", m=200, n=300, k=1, columns="unit").A
    np.testing.assert_allclose(np.linalg.norm(unit, axis=0), 1, rtol=1e-14)


@pytest.mark.parametrize(("width", "neighbours"), [(1.0, 0.7788), (2.0, 0.9394), (3.0, 0.9726)])
@pytest.mark.parametrize("boundary", ["zero", "circulant"])
def test_deconvolution_dictionary(width, neighbours, boundary):
    instance = sparsebench.draw("deconvolution", m=200, n=200, k=3, width=width, boundary=boundary)
    A = instance.A
    np.testing.assert_allclose(np.linalg.norm(A, axis=0), 1)
    assert abs(A[:, 100] @ A[:, 101] - neighbours) < 3e-4
    # The formula itself, at one entry.
    ratio = A[104, 100] / A[100, 100]
    np.testing.assert_allclose(ratio, np.exp(-16 / (2 * width**2)), rtol=1e-12)
    if boundary == "circulant":
        assert abs(instance.dictionary.coherence - neighbours) < 3e-4
        np.testing.assert_allclose(A[0], np.roll(A[1], -1), atol=1e-15)
    else:
        # At an end, where half of the filter is cut off, neighbours are more alike.
        assert instance.dictionary.coherence >= neighbours - 3e-4


def test_the_filter_is_not_cut_off():
    narrow = sparsebench.draw("deconvolution", m=200, n=200, k=1, width=3.0).A
    assert np.linalg.cond(narrow) > 1e15


def test_super_resolution_on_the_grid_of_the_samples_is_deconvolution():
    for width in (1.0, 3.0):
        fine = sparsebench.draw("super-resolution", m=60, n=60, k=3, factor=1, width=width)
        same = sparsebench.draw("deconvolution", m=60, n=60, k=3, width=width)
        np.testing.assert_array_equal(fine.A, same.A)


@pytest.mark.parametrize(("factor", "neighbours"), [(2, 0.9931), (4, 0.9983)])
def test_super_resolution_dictionary(factor, neighbours):
    A = sparsebench.draw("super-resolution", m=80, n=80 * factor, k=3, factor=factor).A
    assert A.shape == (80, 80 * factor)
    np.testing.assert_allclose(np.linalg.norm(A, axis=0), 1)
    # Every factor-th atom is an atom of deconvolution; sums over samples hardly see the grid.
    np.testing.assert_array_equal(
        A[:, ::factor], sparsebench.draw("deconvolution", m=80, n=80, k=1).A
    )
    middle = 40 * factor
    assert abs(A[:, middle] @ A[:, middle + 1] - neighbours) < 1e-4
    ratio = A[43, middle + 1] / A[40, middle + 1]
    expected = np.exp(((1 / factor) ** 2 - (3 - 1 / factor) ** 2) / 18)
    np.testing.assert_allclose(ratio, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "n", "m"),
    [
        ("gaussian", 500, 250),
        ("gaussian", 1, 1),
        ("deconvolution", 500, 500),
        ("super-resolution", 500, 250),
        ("super-resolution[factor=4]", 500, 125),
    ],
)
def test_default_measurements(name, n, m):
    assert default_measurements(choose_problem(name), n) == m


def test_noise_has_the_stated_ratio():
    for snr in (60.0, 20.0, 0.0):
        instance = sparsebench.draw("gaussian", m=50, n=80, k=5, snr=snr)
        clean = instance.A @ instance.x
        noise = instance.y - clean
        found = 20 * np.log10(np.linalg.norm(clean) / np.linalg.norm(noise))
        assert abs(found - snr) < 1e-9
    quiet = sparsebench.draw("gaussian", m=50, n=80, k=5)
    np.testing.assert_array_equal(quiet.y, quiet.A @ quiet.x)


@pytest.mark.parametrize(
    ("name", "recipe", "words"),
    [
        ("gausian", {"m": 5, "n": 9, "k": 1}, "did you mean 'gaussian'"),
        ("gaussian", {"m": 5, "n": 9, "k": 0}, "k must be at least 1"),
        ("gaussian", {"m": 5, "n": 9, "k": 6}, "k = 6 exceeds min(m, n) = 5"),
        ("gaussian", {"m": 9, "n": 5, "k": 1}, "m <= n"),
        ("gaussian", {"m": 5.0, "n": 9, "k": 1}, "m must be a whole number"),
        ("gaussian", {"m": 5, "n": 9, "k": 1, "trial": -1}, "trial"),
        ("gaussian", {"m": 5, "n": 9, "k": 1, "colums": "unit"}, "did you mean 'columns'"),
        ("gaussian", {"m": 5, "n": 9, "k": 1, "columns": "units"}, "raw, unit"),
        ("gaussian", {"m": 5, "n": 9, "k": 1, "snr": float("nan")}, "dB"),
        ("deconvolution", {"m": 5, "n": 9, "k": 1}, "m = n"),
        ("super-resolution", {"m": 9, "n": 9, "k": 1}, "needs n = 2 m"),
        ("super-resolution[factor=0]", {"m": 9, "n": 9, "k": 1}, "at least 1"),
        ("super-resolution[factor=1.5]", {"m": 6, "n": 9, "k": 1}, "type int"),
        ("super-resolution[width=0.01]", {"m": 9, "n": 18, "k": 1}, "at least 0.1"),
        ("deconvolution[width=0]", {"m": 9, "n": 9, "k": 1}, "positive"),
        ("deconvolution[width=three]", {"m": 9, "n": 9, "k": 1}, "type float"),
    ],
)
def test_bad_recipes_are_one_clear_line(name, recipe, words):
    with pytest.raises(InputError) as caught:
        sparsebench.draw(name, **recipe)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metrics_by_hand():
    true = np.array([1.0, -2.0, 0.0, 0.0])
    assert support_distance(true, true) == 0.0
    assert support_distance(true, np.array([0.5, 0, 3.0, 0])) == 0.5
    assert support_distance(true, np.zeros(4)) == 1.0
    assert exact_recovery(true, np.array([9.0, 1.0, 0, 0]))
    assert not exact_recovery(true, np.array([9.0, 0, 0, 0]))
    assert relative_error(true, np.zeros(4)) == 1.0
    assert relative_residual(np.eye(4), true, np.zeros(4)) == 1.0
    assert relative_residual(np.eye(4), np.zeros(4), np.zeros(4)) == 0.0
    # More indices than k: the share of these that are false.
    assert support_distance(true, np.array([1.0, 1, 1, 0])) == 1 / 3
    assert support_distance(true, np.array([1.0, 0, 1, 1])) == 2 / 3
    assert support_distance(true, np.ones(4)) == 0.5
    with pytest.raises(InputError):
        support_distance(np.zeros(4), true)


@pytest.mark.parametrize("tolerance", [0, 1, 2, 5])
def test_near_distance_is_that_of_the_largest_matching(tolerance):
    rng = np.random.default_rng(tolerance)
    for _ in range(200):
        n = int(rng.integers(4, 40))
        k = int(rng.integers(1, n + 1))
        true, estimate = np.zeros(n), np.zeros(n)
        true[rng.choice(n, k, replace=False)] = -1.0
        size = int(rng.integers(0, n + 1))
        estimate[rng.choice(n, size, replace=False)] = 1.0
        gaps = np.subtract.outer(np.flatnonzero(true), np.flatnonzero(estimate))
        pairs = csr_array((np.abs(gaps) <= tolerance).astype(np.int8))
        matched = np.sum(maximum_bipartite_matching(pairs, perm_type="column") >= 0)
        found = near_distance(true, estimate, tolerance)
        assert found == pytest.approx((max(k, size) - matched) / max(k, size), abs=1e-15)
        if tolerance == 0:
            assert found == support_distance(true, estimate)


def test_near_distance_by_hand():
    true, estimate = np.zeros(12), np.zeros(12)
    true[[2, 3, 8]] = 1.0
    estimate[[1, 2, 11]] = 1.0
    assert [near_distance(true, estimate, t) for t in range(4)] == [2 / 3, 1 / 3, 1 / 3, 0.0]
    assert near_distance(true, np.zeros(12), 2) == 1.0
    assert near_distance(true, true + np.eye(12)[0], 1) == 0.25
    with pytest.raises(InputError, match="x = 0"):
        near_distance(np.zeros(12), true, 1)
    with pytest.raises(InputError, match="tolerance"):
        near_distance(true, estimate, -1)


@pytest.mark.parametrize(("snr", "finite"), [(10.0, True), (np.inf, True), (np.nan, False)])
def test_noise_of_no_ratio_is_refused(monkeypatch, snr, finite):
    @dataclass(frozen=True)
    class Noisy:
        snr: float = 0.0

        def dictionary(self, rng, m, n):
            return np.eye(m, n)

        def signal(self, rng, n, k):
            return np.arange(n) < k

    monkeypatch.setitem(registry.PROBLEMS, "noisy", None)
    del registry.PROBLEMS["noisy"]
    registry.problem("noisy")(Noisy)
    if finite:
        instance = sparsebench.draw("noisy", m=4, n=6, k=2, snr=snr)
        assert instance.x.dtype == float
        noise = instance.y - [1, 1, 0, 0]
        np.testing.assert_allclose(noise @ noise, 2 * 10 ** (-snr / 10), rtol=1e-12)
    else:
        with pytest.raises(InputError, match=r"problem 'noisy' drew a signal .* y holds NaN"):
            sparsebench.draw("noisy", m=4, n=6, k=2, snr=snr)


@pytest.mark.parametrize(
    ("method", "value", "words"),
    [
        ("dictionary", np.ma.array(np.eye(3), mask=np.eye(3) > 0), "masked entries"),
        ("dictionary", csr_array(np.eye(3)), ".toarray()"),
        ("signal", [1j, 0.0, 0.0], "not complex"),
        ("dictionary", np.eye(4), "shape (4, 4), not (3, 3)"),
        ("signal", np.ma.array([1.0, 0.0, 0.0], mask=[1, 0, 0]), "masked entries"),
        ("signal", csr_array([[1.0, 0.0, 0.0]]), ".toarray()"),
        ("signal", [np.nan, 0.0, 0.0], "NaN"),
        ("signal", ["1", "0", "0"], "not text"),
        ("signal", [[1.0, 0.0, 0.0]], "shape (1, 3), not (3,)"),
        ("signal", [1.0, 2.0, 0.0], "2 non-zeros, not k = 1"),
    ],
)
@pytest.mark.parametrize("fixed", [True, False])
def test_what_a_problem_draws_is_checked(method, value, words, fixed):
    drawn = {"dictionary": np.eye(3), "signal": [0.0, 2.0, 0.0], method: value}

    @sparsebench.problem("odd")
    @dataclass(frozen=True)
    class Odd:
        fixed_dictionary = fixed

        def dictionary(self, rng, m, n):
            return drawn["dictionary"]

        def signal(self, rng, n, k):
            return drawn["signal"]

    problems.drawing._generator.cache_clear()
    problems.drawing._fixed_dictionary.cache_clear()
    try:
        with pytest.raises(InputError) as caught:
            sparsebench.draw("odd", m=3, n=3, k=1)
        assert words in str(caught.value)
        drawn |= {"dictionary": np.eye(3, dtype=int), "signal": [0, 2, 0]}
        problems.drawing._fixed_dictionary.cache_clear()
        assert sparsebench.draw("odd", m=3, n=3, k=1).y.tolist() == [0.0, 2.0, 0.0]
    finally:
        del registry.PROBLEMS["odd"]
        problems.drawing._generator.cache_clear()
        problems.drawing._fixed_dictionary.cache_clear()


def test_metrics_take_lists_and_any_scale():
    assert exact_recovery([1, 0], [2, 0]) and not exact_recovery([1, 0], [0, 1])
    assert support_distance([1, 0, 2], [1, 1, 0]) == 0.5
    assert relative_error([3e200, 4e200], [3e200, 0.0]) == pytest.approx(0.8)
    assert relative_error([3e-200, 4e-200], [3e-200, 0.0]) == pytest.approx(0.8)
    assert relative_residual(np.eye(2), [0.0, 0.0], [1.0, 0.0]) == np.inf
    for metric in (support_distance, exact_recovery, relative_error):
        for wrong in ([1.0], [[1.0, 2.0]], np.ma.array([1.0, 2.0], mask=[0, 1]), ["a", "b"]):
            with pytest.raises(InputError):
                metric([1.0, 2.0], wrong)
    with pytest.raises(InputError, match="undefined"):
        relative_error([0.0, 0.0], [1.0, 0.0])


@pytest.mark.parametrize("name", ["gaussian", "fourier", "deconvolution"])
def test_a_compressible_signal_is_a_power_law_of_which_the_largest_are_sought(name):
    m, n, k = (80, 80, 8) if name == "deconvolution" else (40, 80, 8)
    recipe = {"m": m, "n": n, "k": k, "trial": 3}
    one = sparsebench.draw(name, amplitudes="compressible", **recipe)
    np.testing.assert_allclose(np.sort(np.abs(one.x[one.support]))[::-1], np.arange(1, 9) ** -1.5)
    outside = np.setdiff1d(np.arange(n), one.support)
    rest = np.linalg.norm(np.arange(9, n + 1) ** -1.5)
    left = np.linalg.norm(one.y - one.A @ one.x)
    assert left > 0
    # What is left of y is A times numbers of the rest of the law, outside of the support.
    if name == "deconvolution":
        assert left <= np.linalg.norm(one.A[:, outside], 2) * rest
    else:
        found = np.mean(
            [
                np.linalg.norm(d.y - d.A @ d.x) ** 2 / np.mean(np.linalg.norm(d.A, axis=0) ** 2)
                for t in range(60)
                for d in [sparsebench.draw(name, amplitudes="compressible", m=m, n=n, k=k, trial=t)]
            ]
        )
        assert found == pytest.approx(rest**2, rel=0.15)


def test_codes_are_not_compressible():
    with pytest.raises(InputError, match="one of uniform, signs, normal, decaying, positive"):
        sparsebench.draw("lista", m=20, n=40, k=3, amplitudes="compressible")
