"""Checks that run on every registered algorithm: a new one is tested by existing."""

import numpy as np
import pytest
import structured

import sparsebench
from sparsebench.registry import FAMILIES, flops
from sparsebench.types import Status

# The oracle must be told the support and the exhaustive search takes tiny problems only: both have
# tests of their own. Peers are tested where their packages are, networks where they are trained,
# and what is not told k in `test_told.py`.
NAMES = [
    entry.name
    for entry in sparsebench.algorithms()
    if entry.name not in ("oracle", "exhaustive") and entry.ready and entry.takes_k
]
EASY = {"m": 100, "n": 128, "k": 3}


def check_shapes_and_sparsity(name):
    for problem, recipe in (
        ("gaussian", {"m": 40, "n": 64, "k": 12}),
        ("deconvolution", {"m": 64, "n": 64, "k": 6}),
        ("gaussian", {"m": 9, "n": 30, "k": 9}),
        ("gaussian", {"m": 1, "n": 3, "k": 1}),
    ):
        if name == "abess" and recipe["m"] < 3:
            continue  # refused: it returns nothing
        instance = sparsebench.draw(problem, **recipe)
        result = sparsebench.solve(name, instance.A, instance.y, recipe["k"])
        assert result.x.shape == (recipe["n"],)
        assert result.x.dtype == np.float64
        assert np.isfinite(result.x).all()
        assert np.count_nonzero(result.x) <= recipe["k"]
        assert isinstance(result.status, Status)
        assert result.seconds >= 0


def check_inputs_not_written(name):
    instance = sparsebench.draw("gaussian", **EASY)
    A, y = np.array(instance.A), instance.y.copy()
    A.flags.writeable = y.flags.writeable = False
    kept = A.copy(), y.copy()
    sparsebench.solve(name, A, y, 3)
    assert np.array_equal(A, kept[0])
    assert np.array_equal(y, kept[1])


def check_deterministic(name):
    instance = sparsebench.draw("gaussian", m=60, n=128, k=15)
    first = sparsebench.solve(name, instance.A, instance.y, 15)
    second = sparsebench.solve(name, instance.A, instance.y, 15)
    assert np.array_equal(first.x, second.x)
    assert first.n_iter == second.n_iter


def check_easy_cells_recovered(name):
    recovered = 0
    for columns in ("raw", "unit"):
        for trial in range(10):
            instance = sparsebench.draw("gaussian", columns=columns, trial=trial, **EASY)
            result = sparsebench.solve(name, instance.A, instance.y, 3)
            recovered += np.array_equal(result.support, instance.support)
            if np.array_equal(result.support, instance.support):
                np.testing.assert_allclose(result.x, instance.x, atol=1e-9)
    # One step of thresholding misses where a large entry drowns a small one.
    assert recovered >= (12 if name == "thresholding" else 20)


def check_permutation_equivariant(name):
    instance = sparsebench.draw("gaussian", **EASY)
    rng = np.random.default_rng(0)
    columns, rows = rng.permutation(128), rng.permutation(100)
    plain = sparsebench.solve(name, instance.A, instance.y, 3).x
    shuffled = sparsebench.solve(name, instance.A[rows][:, columns], instance.y[rows], 3).x
    np.testing.assert_allclose(shuffled, plain[columns], atol=1e-9)


def check_scaling_equivariant(name):
    for k in (4, 30):
        instance = sparsebench.draw("gaussian", m=80, n=128, k=k)
        first = sparsebench.solve(name, instance.A, instance.y, k)
        plain = first.x
        for scale_A, scale_y in (
            (1.0, 1000.0),
            (1.0, 1e-8),
            (10.0, 10.0),
            (1e-3, 1.0),
            (1.0, -1.0),
            (2.0**-500, 2.0**400),
            (1e140, 1e140),
            (1e150, 1e-150),
            (1e-150, 1e150),
        ):
            other = sparsebench.solve(name, scale_A * instance.A, scale_y * instance.y, k)
            scaled = other.x
            assert other.status == first.status, (scale_A, scale_y)
            assert np.array_equal(scaled != 0, plain != 0), (scale_A, scale_y)
            np.testing.assert_allclose(scaled * (scale_A / scale_y), plain, rtol=1e-7)


def check_zero_signal(name):
    instance = sparsebench.draw("gaussian", **EASY)
    result = sparsebench.solve(name, instance.A, np.zeros(100), 3)
    assert not result.x.any()
    assert result.status == "converged"


def check_several_signals(name):
    instances = [sparsebench.draw("deconvolution", m=64, n=64, k=3, trial=t) for t in range(3)]
    A = instances[0].A
    together = sparsebench.solve(name, A, np.stack([i.y for i in instances], axis=1), 3)
    assert together.x.shape == (64, 3)
    alone = [sparsebench.solve(name, A, instance.y, 3) for instance in instances]
    counts = [one.n_iter for one in alone]
    if None in counts:
        assert counts == [None] * 3 and together.n_iter is None
    else:
        assert together.n_iter.tolist() == counts
    assert together.status == tuple(one.status for one in alone)
    for column, one in zip(together.x.T, alone, strict=True):
        np.testing.assert_allclose(column, one.x, rtol=1e-9)


def check_zero_duplicate_and_dependent_columns(name):
    rng = np.random.default_rng(5)
    A = rng.standard_normal((30, 40))
    A[:, 3] = 0.0
    A[:, 7] = A[:, 6]
    A[:, 9] = A[:, 10] + A[:, 11]
    y = A[:, 20] - 2 * A[:, 30]
    for k in (2, 12, 30):
        result = sparsebench.solve(name, A, y, k)
        assert np.isfinite(result.x).all()
        assert np.count_nonzero(result.x) <= k
        assert result.x[3] == 0.0
    x = sparsebench.solve(name, A, y, 2).x
    np.testing.assert_allclose(x[[20, 30]], [1.0, -2.0], atol=1e-8)


def check_more_measurements_than_atoms(name):
    rng = np.random.default_rng(6)
    A = rng.standard_normal((60, 20))
    x = np.zeros(20)
    x[[2, 5, 11]] = 1.0, -1.5, 2.0
    np.testing.assert_allclose(sparsebench.solve(name, A, A @ x, 3).x, x, atol=1e-9)


def check_orders_and_types(name):
    rng = np.random.default_rng(7)
    A = rng.integers(-9, 10, (40, 60))
    x = np.zeros(60)
    x[[1, 50]] = 3, -2
    y = (A @ x).astype(int)
    expected = sparsebench.solve(name, A.astype(float), y.astype(float), 2).x
    np.testing.assert_allclose(expected, x, atol=1e-9)
    for other in (
        A,
        np.asfortranarray(A, dtype=float),
        A.astype(np.float32),
        A[:, ::-1][:, ::-1],
        A.tolist(),
        sparsebench.Dictionary(A),
    ):
        assert np.array_equal(sparsebench.solve(name, other, y, 2).x, expected)


def check_structured_dictionaries(name):
    """What one step of thresholding finds, everything finds; AMP on i.i.d. dictionaries only."""
    for dictionary in structured.DICTIONARIES:
        for trial in range(2):
            A, x, y = structured.draw(dictionary, trial)
            result = sparsebench.solve(name, A, y, 3)
            assert np.isfinite(result.x).all()
            assert np.count_nonzero(result.x) <= 3
            largest = np.argsort(-np.abs(A.T @ y), kind="stable")[:3]
            if set(largest) == set(np.flatnonzero(x)) and (name, dictionary) != UNSUITED:
                np.testing.assert_allclose(result.x, x, atol=1e-8, err_msg=dictionary)


UNSUITED = ("amp", "sparse binary")
CHECKS = [value for key, value in sorted(globals().items()) if key.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_check(name, check):
    check(name)


def test_the_registry_holds_what_it_promises():
    promised = (
        "omp ols cosamp sp iht iht-l0 niht cgiht htp nhtp ompr els sbr splicing sea ista fista "
        "homotopy bp amp sbl oracle exhaustive thresholding pinv ridge"
    )
    assert {entry.name for entry in sparsebench.algorithms()} >= set(promised.split())
    for entry in sparsebench.algorithms():
        assert entry.family in FAMILIES
        assert flops(entry, 250, 500, 50) > 0 or entry.family == "peer"
        assert entry.summary
        assert "doi:" in entry.source or "arXiv:" in entry.source or entry.family == "peer"
        assert set(entry.told) <= {"k", "lambda", "noise", "support", "training", "prior family"}
