"""``tol`` at any size: a loop ends at the residual that ends the plain loop, or a package."""

import numpy as np
import pytest
import references
from sklearn.linear_model import orthogonal_mp

import sparsebench
from sparsebench.registry import choose_algorithm
from sparsebench.solvers.steps import step_size

TOLERANCES = (0.9, 0.5, 0.2, 0.05, 1e-2, 1e-3, 1e-4, 1e-5, 1e-7, 1e-10)
DRAWS = {
    "gaussian": {"m": 60, "n": 128, "snr": 30.0},
    "deconvolution": {"m": 70, "n": 70, "width": 1.0, "snr": 50.0},
    "fourier": {"m": 40, "n": 80},
}
K = 12


def instances(problem):
    return [sparsebench.draw(problem, k=8, trial=trial, **DRAWS[problem]) for trial in range(4)]


def distance(instance, x):
    return np.linalg.norm(instance.y - instance.A @ x) / np.linalg.norm(instance.y)


@pytest.mark.parametrize("device", ["cpu", "torch-cpu"])
@pytest.mark.parametrize("problem", DRAWS)
@pytest.mark.parametrize("name", ["omp", "ols"])
def test_a_pursuit_ends_where_the_plain_loop_does(name, problem, device):
    if device != "cpu":
        pytest.importorskip("torch")
    sizes = set()
    for instance in instances(problem):
        for tol in TOLERANCES:
            expected = getattr(references, name)(instance.A, instance.y, K, tol=tol)
            given = instance.dictionary, instance.y, K
            found = sparsebench.solve(name, *given, tol=tol, device=device)
            assert np.array_equal(found.x != 0, expected != 0), tol
            sizes.add(found.support.size)
            assert found.support.size == K or distance(instance, found.x) <= tol
    assert len(sizes) >= 4


@pytest.mark.parametrize("name", ["omp", "ols"])
def test_several_signals_and_few_rows_end_there_too(name):
    """The other ways to the same loop: signals together, and one on a large dictionary."""
    signals = instances("gaussian")[:1] * 3
    A, y = signals[0].A, np.stack([2.0**i * one.y for i, one in enumerate(signals)], axis=1)
    wide = np.concatenate([A, np.random.default_rng(0).standard_normal((60, 2000))], axis=1)
    for tol in TOLERANCES[:7]:
        expected = getattr(references, name)(A, y[:, 0], K, tol=tol) != 0
        found = sparsebench.solve(name, A, y, K, tol=tol).x != 0
        assert np.array_equal(found, np.stack([expected] * 3, axis=1))
        expected = getattr(references, name)(wide, y[:, 0], K, tol=tol) != 0
        assert np.array_equal(sparsebench.solve(name, wide, y[:, 0], K, tol=tol).x != 0, expected)


@pytest.mark.filterwarnings("ignore:Orthogonal matching pursuit ended prematurely")
def test_omp_ends_where_that_of_scikit_learn_does_by_its_squared_residual():
    for instance in instances("gaussian"):
        A, y = instance.A, instance.y
        for tol in TOLERANCES[:-3]:  # beyond, its running residual has lost its digits
            expected = orthogonal_mp(A, y, tol=tol**2 * (y @ y))  # a squared norm, absolute
            found = sparsebench.solve("omp", A, y, min(A.shape), tol=tol).x
            np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("device", ["cpu", "torch-cpu"])
@pytest.mark.parametrize("name", ["iht", "niht"])
def test_thresholding_ends_where_the_plain_loop_does(name, device):
    if device != "cpu":
        pytest.importorskip("torch")
    counts = set()
    for instance in instances("gaussian"):
        A, y = instance.A, instance.y
        step = {"step": step_size("1.8/L", instance.dictionary)} if name == "iht" else {}
        for tol in TOLERANCES[1:7]:
            expected = getattr(references, name)(A, y, 8, tol=tol, **step)
            found = sparsebench.solve(name, instance.dictionary, y, 8, tol=tol, device=device)
            assert np.array_equal(found.x != 0, expected != 0), tol
            counts.add(found.n_iter)
    assert len(counts) > 5


@pytest.mark.parametrize("name", ["sbr", "htp", "nhtp", "cosamp", "sp", "cgiht", "sea", "iht-l0"])
def test_what_a_loop_calls_converged_by_its_residual_is_that_small(name):
    """A tolerance that it can reach is reached in fewer iterations, or by fewer atoms."""
    sooner = 0
    for instance in instances("gaussian"):
        whole = sparsebench.solve(name, instance.A, instance.y, 8)
        for tol in (1.5 * distance(instance, whole.x), 3 * distance(instance, whole.x)):
            found = sparsebench.solve(name, instance.A, instance.y, 8, tol=tol)
            assert found.status == "converged"
            assert distance(instance, found.x) <= tol
            fewer = found.support.size < whole.support.size
            assert found.n_iter <= whole.n_iter
            sooner += fewer or found.n_iter < whole.n_iter
    assert sooner


def test_a_search_from_omp_takes_what_reached_the_tolerance():
    for instance in instances("gaussian"):
        first = sparsebench.solve("omp", instance.A, instance.y, 8, tol=0.5)
        assert first.support.size < 8
        for name in ("els", "ompr"):
            found = sparsebench.solve(name, instance.A, instance.y, 8, tol=0.5)
            assert np.array_equal(found.support, first.support) and found.n_iter == 0


def test_rows_have_another_version_only_where_the_tolerance_was_passed_over():
    for name, level in (("omp", 1e-6), ("ols", 1e-6), ("els", 1e-6), ("ompr", 1e-6), ("iht", 1e-4)):
        usual = choose_algorithm(name).version
        assert choose_algorithm(f"{name}[tol={level}]").version == usual
        assert choose_algorithm(f"{name}[tol={2 * level}]").version == f"{usual}b"
    assert choose_algorithm("omp[tol=.1]+sea").version == "1b+1"
    assert choose_algorithm("omp[k=ebic,tol=.1]").version == "1.1b"
