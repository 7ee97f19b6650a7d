"""The Lasso's path and basis pursuit: optimality conditions, certificates, HiGHS, scikit-learn."""

import numpy as np
import pytest
import references
import structured
from scipy.linalg import hadamard
from scipy.optimize import linprog
from sklearn.linear_model import Lasso

import sparsebench
from sparsebench.kernels.homotopy import lasso_path
from sparsebench.solvers.basis_pursuit import basis_pursuit
from sparsebench.solvers.endings import CONVERGED
from sparsebench.solvers.ista import lasso
from sparsebench.types import Dictionary

LASSO = [
    ("gaussian", {"m": 60, "n": 128, "k": 10, "columns": "unit"}),
    ("gaussian", {"m": 60, "n": 128, "k": 40}),
    ("gaussian", {"m": 60, "n": 128, "k": 10, "snr": 10.0}),
    ("gaussian", {"m": 250, "n": 500, "k": 100}),
    ("deconvolution", {"m": 100, "n": 100, "k": 8, "width": 1.0, "snr": 20.0}),
    ("deconvolution", {"m": 200, "n": 200, "k": 20, "width": 5.0}),
]
LEVELS = (0.3, 1e-2, 1e-4, 1e-8)


def path(instance, lam, orthogonal=False):
    A, y = instance.A, instance.y
    dictionary = Dictionary(A)
    level = lam * np.abs(A.T @ y).max()
    x, signs, _, last = lasso_path(dictionary.atoms, dictionary.gram, y, level, orthogonal, 10_000)
    assert last == level
    return x, signs, level


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize("problem", LASSO)
def test_the_path_satisfies_the_optimality_conditions(problem, orthogonal):
    name, recipe = problem
    instance = sparsebench.draw(name, **recipe)
    for lam in LEVELS:
        x, signs, level = path(instance, lam, orthogonal)
        gradient = instance.A.T @ (instance.y - instance.A @ x)
        rounding = 1e-12 / lam
        assert np.abs(gradient).max() <= level * (1 + rounding)
        on = signs != 0
        np.testing.assert_allclose(gradient[on], level * signs[on], rtol=rounding)
        assert np.all(x[~on] == 0)
        assert np.all(x * signs >= 0)


def test_almost_equal_atoms_are_told_apart_without_the_gram_matrix():
    """Their Gram block has condition number 1e11: the path goes on with an orthonormal basis."""
    rng = np.random.default_rng(2)
    A = rng.standard_normal((40, 20))
    difference = rng.standard_normal(40)
    A[:, 1] = A[:, 0] + 4e-6 * difference
    y = A[:, 0] + difference + A[:, 10]
    dictionary = Dictionary(A)
    level = 1e-7 * np.abs(A.T @ y).max()
    x, signs, _, _ = lasso_path(dictionary.atoms, dictionary.gram, y, level, False, 1000)
    assert signs[0] * signs[1] == -1
    on = signs != 0
    gradient = A.T @ (y - A @ x)
    np.testing.assert_allclose(gradient[on], level * signs[on], rtol=1e-3)
    # The minimiser that has these signs, by an orthogonal factorisation.
    q, r = np.linalg.qr(A[:, on])
    expected = np.linalg.solve(r, q.T @ y - level * np.linalg.solve(r.T, signs[on]))
    np.testing.assert_allclose(x[on], expected, rtol=1e-7)


@pytest.mark.parametrize("problem", [LASSO[0], LASSO[2], LASSO[4]])
def test_the_path_ends_where_scikit_learn_and_fista_do(problem):
    name, recipe = problem
    instance = sparsebench.draw(name, **recipe)
    A, y = instance.A, instance.y
    x, _, level = path(instance, 0.05)
    peer = Lasso(alpha=level / y.size, fit_intercept=False, tol=1e-14, max_iter=1_000_000)
    np.testing.assert_allclose(x, peer.fit(A, y).coef_, atol=1e-6)
    dictionary = Dictionary(A)
    step = 1 / dictionary.squared_spectral_norm
    fista, _, _ = lasso(dictionary, y, level, step, True, 200_000, 1e-12)
    np.testing.assert_allclose(x, fista, atol=1e-6)


def test_homotopy_and_fista_read_off_the_same_support():
    same = 0
    for trial in range(10):
        instance = sparsebench.draw("gaussian", m=100, n=200, k=25, trial=trial)
        found = sparsebench.solve("homotopy", instance.A, instance.y, 25)
        slow = sparsebench.solve("fista", instance.A, instance.y, 25, tol=1e-10, max_iter=100_000)
        same += np.array_equal(found.support, slow.support)
        best = references.on_support(instance.A, instance.y, found.support)
        np.testing.assert_allclose(found.x, best, atol=1e-10)
    assert same == 10


def test_the_path_stops_at_its_limit_and_says_so():
    instance = sparsebench.draw("gaussian", m=60, n=128, k=30)
    result = sparsebench.solve("homotopy", instance.A, instance.y, 30, max_iter=5)
    assert (result.status, result.n_iter) == ("iteration limit", 5)
    with pytest.raises(sparsebench.InputError, match="fraction"):
        sparsebench.solve("homotopy", instance.A, instance.y, 30, lam=1.0)


def linear_program(A, y):
    n = A.shape[1]
    tolerances = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    answer = linprog(
        np.ones(2 * n), A_eq=np.hstack([A, -A]), b_eq=y, bounds=(0, None), options=tolerances
    )
    assert answer.status == 0
    return answer.fun


def sparse_signs(rng, n, k):
    x = np.zeros(n)
    x[rng.choice(n, k, replace=False)] = rng.choice([-1.0, 1.0], k)
    return x


def basis_pursuit_cases():
    """(name, A, y): recovered and not, noisy, and full of ties."""
    rng = np.random.default_rng(0)
    eye = np.eye(12)
    yield "equal entries", eye, np.ones(12)
    yield "duplicates", np.hstack([eye, eye]), np.ones(12)
    yield "opposites", np.hstack([eye, -eye]), np.ones(12)
    yield "cumulative", np.tril(np.ones((30, 30))), rng.choice([-1.0, 0.0, 1.0], 30)
    for k in (3, 10, 20):
        signs = rng.choice([-1.0, 1.0], (24, 48))
        yield f"signs {k}", signs, signs @ sparse_signs(rng, 48, k)
        whole = rng.integers(-2, 3, (20, 40)).astype(float)
        yield f"whole {k}", whole, whole @ sparse_signs(rng, 40, k)
        rows = hadamard(32)[rng.permutation(32)[:22]].astype(float)
        both = np.hstack([rows, np.sqrt(22) * np.eye(22)])
        yield f"two bases {k}", both, both @ sparse_signs(rng, 54, k)
        low = rng.choice([-1.0, 1.0], (30, 12)) @ rng.choice([-1.0, 0.0, 1.0], (12, 60))
        yield f"rank 12, {k}", low, low @ sparse_signs(rng, 60, k)
    for k in (5, 15, 30):
        instance = sparsebench.draw("gaussian", m=40, n=80, k=k)
        yield f"gaussian {k}", instance.A, instance.y
        instance = sparsebench.draw("gaussian", m=40, n=80, k=k, snr=10.0)
        yield f"noisy {k}", instance.A, instance.y
        instance = sparsebench.draw("deconvolution", m=60, n=60, k=k // 3, width=1.0)
        yield f"spikes {k // 3}", instance.A, instance.y
        instance = sparsebench.draw("deconvolution", m=60, n=60, k=k // 3, width=1.0, snr=20.0)
        yield f"noisy spikes {k // 3}", instance.A, instance.y


CASES = list(basis_pursuit_cases())


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("max_iter", [10_000, 3])  # 3: HiGHS takes over
def test_basis_pursuit_is_certified_and_agrees_with_highs(case, max_iter):
    _, A, y = case
    x, _, code = basis_pursuit(Dictionary(A), y, max_iter)
    assert code == 0
    assert np.linalg.norm(y - A @ x) <= 1e-8 * np.linalg.norm(y)
    np.testing.assert_allclose(np.abs(x).sum(), linear_program(A, y), rtol=1e-8)


def test_basis_pursuit_fits_the_projection_of_what_it_cannot_fit():
    """Of all least-squares solutions the one of smallest l1 norm, here with duplicate atoms."""
    rng = np.random.default_rng(1)
    A = rng.standard_normal((30, 10))
    y = rng.standard_normal(30)
    best = np.linalg.lstsq(A, y, rcond=None)[0]
    for scale in (1.0, 2.0):  # the longer copy of an atom is the cheaper one
        x, _, code = basis_pursuit(Dictionary(np.hstack([A, scale * A])), y)
        assert code == 0
        np.testing.assert_allclose(x[:10] + scale * x[10:], best, atol=1e-10)
        np.testing.assert_allclose(np.abs(x).sum(), np.abs(best).sum() / scale, rtol=1e-10)


def test_basis_pursuit_certifies_coherent_spikes():
    for trial in (0, 2, 3):
        instance = sparsebench.draw("deconvolution", m=500, n=500, k=10, trial=trial, width=3.0)
        result = sparsebench.solve("bp", instance.dictionary, instance.y, 10)
        assert np.array_equal(result.support, instance.support)
        assert result.status == "converged"


def test_what_cannot_be_certified_is_not_called_converged():
    """Condition number 1e17 and noise: no x in double precision fits y to 1e-8."""
    instance = sparsebench.draw("deconvolution", m=150, n=150, k=5, width=5.0, snr=40.0)
    result = sparsebench.solve("bp", instance.dictionary, instance.y, 5)
    assert result.status == "iteration limit"
    assert np.isfinite(result.x).all()


def test_basis_pursuit_succeeds_and_fails_around_its_threshold():
    """n = 250, m = 125: the Donoho-Tanner threshold is k = 48."""
    won = {30: 0, 68: 0}
    for k in won:
        for trial in range(20):
            instance = sparsebench.draw("gaussian", m=125, n=250, k=k, trial=trial)
            result = sparsebench.solve("bp", instance.A, instance.y, k)
            assert result.status == "converged"
            won[k] += np.array_equal(result.support, instance.support)
    assert won[30] >= 19
    assert won[68] <= 1


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_the_linear_program_of_basis_pursuit_finds_spikes_on_coherent_pulses(scale):
    """Ten breakpoints force the fallback; HiGHS at tolerances of 1e-10 was wrong in each."""
    places = np.arange(200)
    A = np.exp(-0.5 * ((places[:, None] - places) / 3.0) ** 2)
    A /= np.linalg.norm(A, axis=0)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = np.zeros(200)
        x[rng.choice(200, 8, replace=False)] = rng.uniform(1, 2, 8) * rng.choice([-1, 1], 8)
        result = sparsebench.solve("bp", A, scale * (A @ x), 8, max_iter=10)
        np.testing.assert_allclose(result.x, scale * x, rtol=1e-6, atol=1e-9 * scale)


def test_basis_pursuit_that_falls_back_projects_what_it_cannot_reach():
    rng = np.random.default_rng(0)
    A, y = rng.standard_normal((30, 10)), rng.standard_normal(30)
    x, _, code = basis_pursuit(Dictionary(A), y, max_iter=1)
    assert code == CONVERGED
    np.testing.assert_allclose(x, np.linalg.lstsq(A, y)[0], atol=1e-8)


@pytest.mark.parametrize("name", structured.DICTIONARIES)
def test_the_end_of_the_path_is_optimal_on_structured_dictionaries(name):
    """By the duality gap, relative to the objective."""
    for noise in (0.0, 0.05):
        A, _, y = structured.draw(name, 0, k=6)
        y = y + noise * np.linalg.norm(y) * np.sin(np.arange(y.size)) / np.sqrt(y.size)
        for lam in (0.1, 1e-3, 1e-5):
            level = lam * np.abs(A.T @ y).max()
            dictionary = Dictionary(A)
            x, _, _, last = lasso_path(dictionary.atoms, dictionary.gram, y, level, False, 10_000)
            assert last <= level
            r = y - A @ x
            objective = 0.5 * r @ r + level * np.abs(x).sum()
            scale = min(1.0, level / np.abs(A.T @ r).max())
            assert objective - (scale * r @ y - 0.5 * scale**2 * r @ r) <= 1e-9 * objective
