"""Algorithms that are told the noise level, or nothing: not the number of non-zeros."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Lasso, LassoCV
from sklearn.model_selection import PredefinedSplit

import sparsebench
from sparsebench.types import InputError

ENTRIES = {
    entry.name: entry
    for entry in sparsebench.algorithms()
    if not entry.takes_k and entry.ready and entry.family != "plug-in"
}
# Of a problem without noise these have no answer, which they say.
NO_ANSWER = ("iht-universal",)
REAL = [
    ("gaussian", {"m": 60, "n": 128, "k": 6, "trial": 0, "snr": 20.0}),
    ("gaussian", {"m": 60, "n": 128, "k": 25, "trial": 1, "snr": 10.0, "columns": "unit"}),
    ("gaussian", {"m": 100, "n": 120, "k": 10, "trial": 2, "snr": 40.0}),
    ("deconvolution", {"m": 80, "n": 80, "k": 5, "trial": 0, "width": 1.0, "snr": 25.0}),
]


def told(name, noise):
    return {"noise": noise} if ENTRIES[name].takes_noise else {}


def solve(name, instance, **options):
    return sparsebench.solve(name, instance.A, instance.y, **told(name, instance.noise), **options)


def longest(A):
    return np.linalg.norm(A, axis=0).max()


@pytest.mark.parametrize("name", ENTRIES)
def test_shapes_types_and_repetition(name):
    for problem, recipe in REAL:
        instance = sparsebench.draw(problem, **recipe)
        first, second = solve(name, instance), solve(name, instance)
        assert first.x.shape == (recipe["n"],) and first.x.dtype == np.float64
        assert np.array_equal(first.x, second.x) and first.n_iter == second.n_iter
        assert np.isfinite(first.x).all() or first.status == "diverged"


@pytest.mark.parametrize("name", ENTRIES)
def test_an_easy_problem_is_solved(name):
    for trial in range(5):
        instance = sparsebench.draw("gaussian", m=100, n=128, k=3, snr=40.0, trial=trial)
        result = solve(name, instance)
        assert set(instance.support) <= set(np.flatnonzero(result.x))
        assert np.linalg.norm(result.x - instance.x) <= 0.05 * np.linalg.norm(instance.x)
        assert result.status == "converged"


@pytest.mark.parametrize("name", ENTRIES)
def test_units_order_and_signs_change_nothing_else(name):
    instance = sparsebench.draw("gaussian", m=80, n=100, k=4, snr=25.0)
    A, y, noise = instance.A, instance.y, instance.noise
    plain = solve(name, instance).x
    for a, b in ((1.0, 1e3), (10.0, -1.0), (2.0**-500, 2.0**400), (1e150, 1e-150), (1e-150, 1e100)):
        found = sparsebench.solve(name, a * A, b * y, **told(name, abs(b) * noise)).x
        np.testing.assert_allclose(found * (a / b), plain, rtol=1e-5, atol=1e-7)
    columns = np.random.default_rng(0).permutation(100)
    found = sparsebench.solve(name, A[:, columns], y, **told(name, noise)).x
    np.testing.assert_allclose(found, plain[columns], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ENTRIES)
def test_odd_dictionaries_have_an_answer(name):
    rng = np.random.default_rng(5)
    A = rng.standard_normal((30, 40))
    A[:, 3] = 0.0
    A[:, 7] = A[:, 6]
    A[:, 9] = A[:, 10] + A[:, 11]
    y = A[:, 20] - 2 * A[:, 30] + 0.01 * rng.standard_normal(30)
    result = sparsebench.solve(name, A, y, **told(name, 0.01))
    assert np.isfinite(result.x).all() and result.x[3] == 0.0
    if name != "sqrt-lasso":  # of so few measurements its penalty leaves nothing
        np.testing.assert_allclose(result.x[[20, 30]], [1.0, -2.0], atol=0.1)
    for m, n in ((1, 1), (1, 5), (2, 3), (5, 2), (40, 10)):
        A = rng.standard_normal((m, n))
        x = sparsebench.solve(name, A, rng.standard_normal(m), **told(name, 0.5)).x
        assert np.isfinite(x).all()
        assert not sparsebench.solve(name, A, np.zeros(m), **told(name, 0.5)).x.any()
    together = np.stack([y, -y], axis=1)
    A = rng.standard_normal((30, 40))
    found = sparsebench.solve(name, A, together, **told(name, 0.01))
    np.testing.assert_array_equal(found.x[:, 0], -found.x[:, 1])


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.takes_noise])
def test_no_noise_is_refused_with_the_reason_or_recovers(name):
    instance = sparsebench.draw("gaussian", m=80, n=128, k=5)
    if name in NO_ANSWER:
        with pytest.raises(InputError, match="keeps every atom where there is no noise"):
            sparsebench.solve(name, instance.A, instance.y, noise=0)
        return
    found = sparsebench.solve(name, instance.A, instance.y, noise=0)
    np.testing.assert_allclose(found.x, instance.x, atol=1e-5)
    # What is as large as y may be all noise.
    level = np.linalg.norm(instance.y)
    assert not sparsebench.solve(name, instance.A, instance.y, noise=level).x.any()


def optimal(A, y, x, level):
    """How far x is from argmin ½||y - A x||² + level ||x||₁, as a fraction of the level."""
    gradient, on = A.conj().T @ (y - A @ x), x != 0
    outside = np.abs(gradient).max() / level - 1
    at = np.abs(gradient[on] - level * x[on] / np.abs(x[on])).max(initial=0.0) / level
    return max(outside, at)


@pytest.mark.parametrize(
    "name",
    [
        *("bpdn", "lasso-universal", "iht-universal", "amp-universal", "sbl-noise"),
        *("omp[k=noise]", "sbr[k=noise]"),
    ],
)
def test_a_factor_is_another_noise_level(name):
    instance = sparsebench.draw("gaussian", m=60, n=100, k=5, snr=20.0)
    A, y, noise = instance.A, instance.y, instance.noise
    found = {
        factor: sparsebench.solve(name, A, y, noise=noise, factor=factor).x
        for factor in (0.5, 1.0, 2.0)
    }
    assert np.array_equal(found[1.0], sparsebench.solve(name, A, y, noise=noise).x)
    for factor in (0.5, 2.0):
        expected = sparsebench.solve(name, A, y, noise=factor * noise).x
        np.testing.assert_allclose(found[factor], expected, rtol=1e-9)
    assert np.count_nonzero(found[0.5]) > np.count_nonzero(found[2.0])
    with pytest.raises(InputError, match="factor is what the noise level is multiplied by"):
        sparsebench.solve(name, A, y, noise=noise, factor=0.0)


def test_basis_pursuit_denoising_is_optimal():
    for problem, recipe in REAL:
        instance = sparsebench.draw(problem, **recipe)
        x = solve("bpdn", instance).x
        misfit = instance.y - instance.A @ x
        limit = instance.noise * np.sqrt(misfit.size)
        assert np.linalg.norm(misfit) == pytest.approx(limit, rel=1e-9)
        assert optimal(instance.A, instance.y, x, np.abs(instance.A.T @ misfit).max()) <= 1e-9


def test_the_square_root_lasso_is_optimal():
    for problem, recipe in REAL:
        instance = sparsebench.draw(problem, **recipe)
        A, y, (m, n) = instance.A, instance.y, instance.A.shape
        x = solve("sqrt-lasso", instance).x
        t = 1.1 * norm.ppf(1 - 0.05 / (2 * n)) / np.sqrt(m) * longest(A)
        misfit = y - A @ x
        level = t * np.linalg.norm(misfit)
        if not x.any():
            assert np.abs(A.T @ y).max() <= level
        else:
            assert optimal(A, y, x, level) <= 1e-9


def conic(A, y, bound=None, weight=None):
    """min ||x||₁ with ||y - A x|| <= bound, or ||y - A x|| + weight ||x||₁, by Clarabel."""
    clarabel = pytest.importorskip("clarabel")
    from scipy import sparse

    m, n = A.shape
    # Variables x, u >= |x|, r >= ||y - A x||.
    costs = np.concatenate(
        [np.zeros(n), np.full(n, weight or 1.0), [0.0 if weight is None else 1.0]]
    )
    eye = np.eye(n)
    signs = np.block([[eye, -eye, np.zeros((n, 1))], [-eye, -eye, np.zeros((n, 1))]])
    cone = np.zeros((m + 1, 2 * n + 1))
    cone[0, -1], cone[1:, :n] = -1.0, A
    rows, right = [signs, cone], [np.zeros(2 * n), np.concatenate([[0.0], y])]
    cones = [clarabel.NonnegativeConeT(2 * n), clarabel.SecondOrderConeT(m + 1)]
    if bound is not None:
        rows.append(np.eye(2 * n + 1)[-1:])
        right.append([bound])
        cones.append(clarabel.NonnegativeConeT(1))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-13
    solver = clarabel.DefaultSolver(
        sparse.csc_matrix((2 * n + 1, 2 * n + 1)),
        costs,
        sparse.csc_matrix(np.vstack(rows)),
        np.concatenate(right),
        cones,
        settings,
    )
    return np.array(solver.solve().x[:n])


@pytest.mark.parametrize("problem", REAL)
def test_both_are_those_of_a_conic_solver(problem):
    name, recipe = problem
    instance = sparsebench.draw(name, **recipe)
    A, y, (m, n) = np.array(instance.A), instance.y, instance.A.shape
    size = np.linalg.norm(instance.x)
    expected = conic(A, y, bound=instance.noise * np.sqrt(m))
    assert np.linalg.norm(solve("bpdn", instance).x - expected) <= 1e-6 * size
    t = 1.1 * norm.ppf(1 - 0.05 / (2 * n)) / np.sqrt(m) * longest(A)
    expected = conic(A, y, weight=t)
    assert np.linalg.norm(solve("sqrt-lasso", instance).x - expected) <= 1e-6 * size


def test_the_lasso_at_the_universal_threshold_is_that_of_scikit_learn():
    for problem, recipe in REAL:
        instance = sparsebench.draw(problem, **recipe)
        A, y, (m, n) = instance.A, instance.y, instance.A.shape
        level = instance.noise * np.sqrt(2 * np.log(n)) * longest(A)
        x = solve("lasso-universal", instance).x
        assert optimal(A, y, x, level) <= 1e-9 or not x.any()
        expected = Lasso(alpha=level / m, fit_intercept=False, tol=1e-14, max_iter=10**6).fit(A, y)
        np.testing.assert_allclose(x, expected.coef_, atol=1e-6 * np.abs(instance.x).max())


@pytest.mark.filterwarnings("ignore:Objective did not converge")
def test_the_lasso_by_cross_validation_is_that_of_scikit_learn():
    """Where m is a multiple of the folds, whose errors it averages."""
    for trial in range(4):
        instance = sparsebench.draw("gaussian", m=60, n=100, k=6, snr=15.0, trial=trial)
        A, y = np.array(instance.A), instance.y
        alphas = np.abs(A.T @ y).max() / 60 * np.geomspace(1.0, 1e-3, 100)
        theirs = LassoCV(
            alphas=alphas,
            fit_intercept=False,
            cv=PredefinedSplit(np.arange(60) % 5),
            tol=1e-8,
            max_iter=10**5,
        ).fit(A, y)
        found = sparsebench.solve("lasso-cv", A, y)
        assert optimal(A, y, found.x, 60 * theirs.alpha_) <= 1e-9
        np.testing.assert_allclose(found.x, theirs.coef_, atol=1e-4)
    with pytest.raises(InputError, match="folds must be at least 2"):
        sparsebench.solve("lasso-cv", A, y, folds=1)


def test_debiased_thresholding_by_its_formula():
    for problem, recipe in REAL[:3]:
        instance = sparsebench.draw(problem, **recipe)
        A, y, (m, n) = instance.A, instance.y, instance.A.shape
        x = sparsebench.solve("lasso-cv", A, y).x
        norms = np.linalg.norm(A, axis=0)
        unit = A / norms
        u = norms * x + unit.T @ (y - A @ x) * m / (m - np.count_nonzero(x))
        kept = np.abs(u) > np.sqrt(2 * np.log(n)) * np.median(np.abs(u)) / norm.ppf(0.75)
        expected = np.zeros(n)
        expected[kept] = np.linalg.lstsq(A[:, kept], y, rcond=None)[0]
        np.testing.assert_allclose(solve("debiased", instance).x, expected, atol=1e-10)


def test_hard_thresholding_by_the_noise_ends_at_a_fixed_point():
    for problem, recipe in REAL[:3]:
        instance = sparsebench.draw(problem, **recipe)
        A, y, n = instance.A, instance.y, instance.A.shape[1]
        result = solve("iht-universal", instance, step="1/L", max_iter=100_000, settled=1e-12)
        assert result.status == "converged"
        x, step = result.x, 1 / np.linalg.norm(A, 2) ** 2
        height = instance.noise * np.sqrt(2 * np.log(n) * step)
        gradient = A.T @ (y - A @ x)
        np.testing.assert_allclose(gradient[x != 0], 0.0, atol=1e-8 * np.linalg.norm(A, 2) ** 2)
        assert np.abs(x[x != 0]).min(initial=np.inf) > height
        assert step * np.abs(gradient[x == 0]).max() <= height * (1 + 1e-6)


def test_bayesian_learning_with_the_noise_it_is_told_is_dense_em_and_its_evidence():
    for problem, recipe in (REAL[0], REAL[3]):
        instance = sparsebench.draw(problem, **recipe)
        A, y, (m, n), noise = instance.A, instance.y, instance.A.shape, instance.noise**2
        gamma = np.full(n, np.sum(y**2) / np.sum(A**2))
        for _ in range(30):
            outer = np.linalg.inv((A * gamma) @ A.T + noise * np.eye(m))
            mu = gamma * (A.T @ outer @ y)
            spread = gamma - gamma**2 * np.einsum("ij,ij->j", A, outer @ A)
            gamma = mu**2 + spread
        kept = []
        for i in range(n):  # with every other atom
            others = gamma * (np.arange(n) != i)
            outer = np.linalg.inv((A * others) @ A.T + noise * np.eye(m))
            q, s = A[:, i] @ outer @ y, A[:, i] @ outer @ A[:, i]
            if q**2 > 2 * np.log(n) * s:
                kept.append(i)
        found = solve("sbl-noise", instance, max_iter=30, tol=0.0, prune=0.0).x
        assert np.array_equal(np.flatnonzero(found), kept)
        expected = np.linalg.lstsq(A[:, kept], y, rcond=None)[0]
        np.testing.assert_allclose(found[kept], expected, atol=1e-9)


def test_the_noise_is_learnt_where_nothing_is_told():
    """Where signals fill a part of the space, what is learnt keeps what is told."""
    same = 0
    for trial in range(10):
        instance = sparsebench.draw("deconvolution", m=150, n=150, k=4, snr=20.0, trial=trial)
        first, second = (
            np.flatnonzero(solve(f"sbl-{by}", instance).x) for by in ("noise", "learnt")
        )
        same += np.array_equal(first, second)
    assert same >= 7


@pytest.mark.parametrize("complex_numbers", [False, True])
def test_message_passing_by_the_noise_ends_at_the_lasso(complex_numbers):
    for trial in range(3):
        rng = np.random.default_rng(trial)
        A = rng.standard_normal((200, 400))
        noise = 0.1 * rng.standard_normal(200)
        x = np.zeros(400)
        x[:20] = rng.standard_normal(20) * 2
        if complex_numbers:
            A = (A + 1j * rng.standard_normal((200, 400))) / np.sqrt(2)
            noise = (noise + 0.1j * rng.standard_normal(200)) / np.sqrt(2)
        y = A @ x + noise
        found = sparsebench.solve("amp-universal", A, y, noise=0.1)
        assert found.status == "converged"
        norms = np.linalg.norm(A, axis=0)
        level = 0.1 * np.sqrt((1 if complex_numbers else 2) * np.log(400))
        assert optimal(A / norms, y, found.x * norms, level) <= 1e-6
