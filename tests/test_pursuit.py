"""Pursuits, CGIHT and the l0 penalty: what their definitions promise, and their starts."""

import numpy as np
import pytest
import references
import structured

import sparsebench
from sparsebench.kernels.least_squares import least_squares
from sparsebench.solvers.cgiht import _products
from sparsebench.solvers.l0_penalty import l0_penalised
from sparsebench.solvers.steps import step_size
from sparsebench.types import Dictionary

PURSUITS = ["cosamp", "sp", "cgiht", "iht-l0"]
GAUSSIAN = [
    ("gaussian", {"m": 60, "n": 128, "k": k, "trial": t}) for k in (15, 22) for t in range(6)
]
SPIKES = [("deconvolution", {"m": 100, "n": 100, "k": 6, "trial": t}) for t in range(6)]


def draw(case):
    instance = sparsebench.draw(case[0], **case[1])
    return instance, case[1]["k"]


def distance(instance, x):
    return np.linalg.norm(instance.y - instance.A @ x) / np.linalg.norm(instance.y)


def perturbed_start(instance, k, rng):
    """A start of at most k entries, half of them on the planted support."""
    start = np.zeros(instance.x.size)
    chosen = instance.support[: k // 2]
    start[chosen] = instance.x[chosen]
    start[rng.choice(instance.x.size, k // 3, replace=False)] = 0.5
    return start


@pytest.mark.parametrize("name", PURSUITS)
def test_a_start_is_where_the_published_loop_would_start(name):
    rule = getattr(references, name.replace("-", "_"))
    rng = np.random.default_rng(1)
    equal = 0
    for case in GAUSSIAN:
        instance, k = draw(case)
        start = np.zeros(instance.x.size)
        chosen = rng.choice(start.size, k, replace=False)
        start[chosen] = rng.standard_normal(k)
        expected = rule(instance.A, instance.y, k, x=start)
        found = sparsebench.solve(name, instance.A, instance.y, k, start=start).x
        assert distance(instance, found) <= distance(instance, expected) + 1e-9
        equal += np.array_equal(found != 0, expected != 0)
    assert equal == len(GAUSSIAN)


@pytest.mark.parametrize("name", ["cosamp", "sp", "cgiht"])
def test_the_residual_of_a_start_never_grows(name):
    rng = np.random.default_rng(2)
    for case in GAUSSIAN + SPIKES:
        instance, k = draw(case)
        for start in (
            perturbed_start(instance, k, rng),
            references.on_support(instance.A, instance.y, rng.choice(instance.x.size, k, False)),
            sparsebench.solve("omp", instance.A, instance.y, k).x,
        ):
            found = sparsebench.solve(name, instance.A, instance.y, k, start=start).x
            assert distance(instance, found) <= distance(instance, start) + 1e-12


@pytest.mark.parametrize("name", PURSUITS)
def test_the_solution_as_a_start_is_kept_and_zero_is_no_start(name):
    instance, k = draw(GAUSSIAN[0])
    kept = sparsebench.solve(name, instance.A, instance.y, k, start=instance.x)
    np.testing.assert_allclose(kept.x, instance.x, atol=1e-9)
    assert kept.n_iter <= 1
    plain = sparsebench.solve(name, instance.A, instance.y, k)
    zero = sparsebench.solve(name, instance.A, instance.y, k, start=np.zeros(128))
    assert np.array_equal(plain.x, zero.x)
    assert plain.n_iter == zero.n_iter


def test_cosamp_returns_the_best_of_its_history():
    fell = 0
    for case in GAUSSIAN[6:] + SPIKES:
        instance, k = draw(case)
        residuals = [
            distance(instance, sparsebench.solve("cosamp", instance.A, instance.y, k, max_iter=i).x)
            for i in (1, 2, 3, 5, 20, 100)
        ]
        assert np.diff(residuals).max() <= 1e-12
        fell += residuals[-1] < residuals[0]
    assert fell >= 4


def test_sp_lowers_the_residual_in_every_iteration():
    for case in GAUSSIAN + SPIKES:
        instance, k = draw(case)
        end = sparsebench.solve("sp", instance.A, instance.y, k)
        residuals = [
            distance(instance, sparsebench.solve("sp", instance.A, instance.y, k, max_iter=i).x)
            for i in range(1, end.n_iter + 1)
        ]
        assert np.all(np.diff(residuals) <= 1e-12)
        assert distance(instance, end.x) <= residuals[-1] + 1e-12


def test_cosamp_ends_on_cycles_and_fixed_points_and_says_which():
    statuses = []
    for trial in range(40):
        instance = sparsebench.draw("gaussian", m=20, n=40, k=5, trial=trial, snr=15.0)
        result = sparsebench.solve("cosamp", instance.A, instance.y, 5)
        statuses.append(result.status)
        if result.status == "cycle":
            longer = sparsebench.solve("cosamp", instance.A, instance.y, 5, max_iter=20_000)
            assert np.array_equal(longer.x, result.x)
    assert {"cycle", "converged"} <= set(statuses)


def test_cosamp_reaches_beyond_a_third_of_the_measurements():
    """Published tables often refuse 3k > m, where the merged atoms outnumber the measurements."""
    won = 0
    for trial in range(5):
        instance = sparsebench.draw("gaussian", m=160, n=200, k=56, trial=trial)
        found = sparsebench.solve("cosamp", instance.A, instance.y, 56)
        won += np.array_equal(found.support, instance.support)
    assert won >= 4


@pytest.mark.parametrize("dependent", [False, True])
def test_more_atoms_than_measurements_give_the_least_norm_solution(dependent):
    rng = np.random.default_rng(4)
    atoms = rng.standard_normal((90, 30))
    if dependent:
        atoms[:, 1] = atoms[:, 0]
    y = atoms[:60].T @ rng.standard_normal(60)
    support = np.sort(rng.choice(90, 45, replace=False))
    coefficients = np.empty(45)
    fast = least_squares(
        atoms, atoms @ atoms.T, atoms @ y, y, support, 45, np.empty((45, 45)), coefficients
    )
    assert fast != dependent
    # The second equation is the first one again.
    rows = np.delete(np.arange(30), 1) if dependent else np.arange(30)
    expected = references.least_norm(atoms[support].T[rows], y[rows])
    np.testing.assert_allclose(coefficients, expected, atol=1e-11)


def test_cgiht_is_conjugate_gradients_once_the_support_stays():
    """On a dictionary with k = n nothing is thresholded: at most n steps solve the system."""
    rng = np.random.default_rng(5)
    A = rng.standard_normal((40, 12))
    y = rng.standard_normal(40)
    exact = np.linalg.lstsq(A, y, rcond=None)[0]
    for name in ("cgiht", "cgiht[restart=true]"):
        result = sparsebench.solve(name, A, y, 12)
        assert result.n_iter <= 13
        np.testing.assert_allclose(result.x, exact, atol=1e-10)


def test_products_do_not_lose_their_digits_to_the_gram_matrix():
    instance = sparsebench.draw("deconvolution", m=80, n=80, k=4, width=3.0)
    atoms = np.ascontiguousarray(instance.A.T)
    support = np.arange(30, 39)
    rough = np.linalg.svd(atoms[support].T)[2][-1]
    w = np.linspace(1.0, 2.0, 9)
    own, cross = _products(atoms, atoms @ atoms.T, support, rough, w, 9, np.empty(80))
    exact = atoms[support].T.astype(np.longdouble)
    image = exact @ rough
    np.testing.assert_allclose(own, float(image @ image), rtol=1e-7)
    np.testing.assert_allclose(cross, float(image @ (exact @ w)), atol=1e-15)


@pytest.mark.parametrize("name", ["cgiht", "cgiht[restart=true]"])
def test_cgiht_stays_finite_where_it_wanders(name):
    for trial in range(6):
        instance = sparsebench.draw("deconvolution", m=150, n=150, k=12, trial=trial, width=5.0)
        result = sparsebench.solve(name, instance.A, instance.y, 12, max_iter=3000)
        assert np.isfinite(result.x).all()
        assert distance(instance, result.x) < 1
        assert result.status in ("converged", "iteration limit")


@pytest.mark.parametrize("step", ["1/L", "1.8/L"])
@pytest.mark.parametrize("case", [GAUSSIAN[0], GAUSSIAN[6], ("noisy", {})])
def test_iht_l0_ends_at_a_fixed_point_of_the_penalised_problem(case, step):
    """|x_j| >= sqrt(2 lambda step) and no gradient on the support; |g_j| <= sqrt(2 lambda/step)."""
    if case[0] == "noisy":
        case = ("gaussian", {"m": 60, "n": 128, "k": 10, "snr": 15.0})
    instance, _ = draw(case)
    dictionary, y = Dictionary(instance.A), instance.y
    size = float(step.split("/")[0]) / dictionary.squared_spectral_norm
    for fraction in (0.3, 0.05, 0.01):
        level = fraction * 0.5 * size * np.abs(instance.A.T @ y).max() ** 2
        x, n_iter, _ = l0_penalised(dictionary, y, level, size, 200_000, 1e-10, 1e-12)
        assert n_iter < 200_000
        gradient = instance.A.T @ (y - instance.A @ x)
        bound = np.sqrt(2 * level / size)
        assert x.any()
        assert np.abs(x[x != 0]).min() >= np.sqrt(2 * level * size) * (1 - 1e-6)
        assert np.abs(gradient[x != 0]).max() <= 1e-6 * bound
        assert np.abs(gradient[x == 0]).max() <= bound * (1 + 1e-6)


def test_iht_l0_lowers_its_objective_at_one_over_L():
    instance, _ = draw(("gaussian", {"m": 60, "n": 128, "k": 10, "snr": 10.0}))
    dictionary, y = Dictionary(instance.A), instance.y
    size = 1 / dictionary.squared_spectral_norm
    level = 0.05 * 0.5 * size * np.abs(instance.A.T @ y).max() ** 2
    x = sparsebench.solve("omp", instance.A, y, 10).x
    objectives = []
    for _ in range(60):
        objectives.append(0.5 * np.sum((y - instance.A @ x) ** 2) + level * np.count_nonzero(x))
        x, _, _ = l0_penalised(dictionary, y, level, size, 1, 0.0, 0.0, x)
    assert np.all(np.diff(objectives) <= 1e-12 * objectives[0])
    assert objectives[-1] < objectives[0]


def test_iht_l0_of_an_orthogonal_dictionary_is_one_hard_threshold():
    """With AᵀA = I and step 1 the minimiser is Aᵀy where it exceeds sqrt(2 lambda)."""
    rng = np.random.default_rng(6)
    A = np.linalg.qr(rng.standard_normal((50, 50)))[0]
    y = A @ rng.standard_normal(50)
    level = 0.02 * 0.5 * np.abs(A.T @ y).max() ** 2
    x, _, _ = l0_penalised(Dictionary(A), y, level, 1.0, 1000, 1e-10, 1e-8)
    expected = A.T @ y
    expected[np.abs(expected) <= np.sqrt(2 * level)] = 0
    assert 5 < np.count_nonzero(expected) < 50
    np.testing.assert_allclose(x, expected, atol=1e-12)


@pytest.mark.parametrize("step", ["1/L", "1.8/L", "1.99/L"])
def test_iht_l0_never_raises_its_objective(step):
    instance, _ = draw(GAUSSIAN[0])
    dictionary, y = Dictionary(instance.A), instance.y + np.sin(np.arange(instance.y.size))
    size = step_size(step, dictionary)
    level = 0.05 * 0.5 * size * np.abs(instance.A.T @ y).max() ** 2
    objectives = []
    for budget in range(1, 60):
        x, _, _ = l0_penalised(dictionary, y, level, size, budget, 0.0, 0.0, instance.x[::-1])
        objectives.append(0.5 * np.sum((y - instance.A @ x) ** 2) + level * np.count_nonzero(x))
    assert np.all(np.diff(objectives) <= 1e-10 * objectives[0])
    assert objectives[-1] < objectives[0]


@pytest.mark.parametrize("max_iter", [1000, 1001])
@pytest.mark.parametrize("name", ["identity", "cosines", "hadamard", "orthonormal", "1 x 1"])
def test_iht_l0_of_an_orthonormal_basis_beats_zero(name, max_iter):
    """The minimiser is Aᵀy where it exceeds sqrt(2 lambda); zero, at ½||y||², is far worse."""
    for trial in range(10):
        A, x, y = (
            (np.eye(1), np.ones(1), np.ones(1)) if name == "1 x 1" else structured.draw(name, trial)
        )
        found = sparsebench.solve("iht-l0", A, y, min(3, y.size), max_iter=max_iter)
        assert found.status == "converged"
        np.testing.assert_allclose(found.x, x, atol=1e-12)


@pytest.mark.parametrize("name", ["cosines", "orthonormal"])
def test_iht_of_a_noisy_orthonormal_basis_is_one_threshold(name):
    """The best k-sparse fit keeps the k largest |aᵀy|; at 1.8/L the plain loop cycles."""
    for trial in range(10):
        A, _, y = structured.draw(name, trial)
        y = y + 0.3 * np.random.default_rng(trial).standard_normal(y.size)
        best = references.largest(A.T @ y, 10)
        result = sparsebench.solve("iht", A, y, 10)
        assert result.status == "converged"
        assert np.array_equal(result.support, np.sort(best))


def test_no_residual_of_iht_rises_from_any_start():
    for trial in range(5):
        instance = sparsebench.draw("deconvolution", m=100, n=100, k=8, trial=trial)
        start = sparsebench.solve("omp", instance.A, instance.y, 8).x
        left = [
            np.linalg.norm(
                instance.y
                - instance.A
                @ sparsebench.solve(
                    "iht", instance.A, instance.y, 8, start=start, max_iter=budget
                ).x
            )
            for budget in (1, 3, 10, 100, 1000)
        ]
        assert max(left) <= np.linalg.norm(instance.y - instance.A @ start) * (1 + 1e-9)


def test_iht_l0_says_when_it_diverges_and_refuses_a_lambda_without_meaning():
    instance, k = draw(GAUSSIAN[0])
    assert sparsebench.solve("iht-l0", instance.A, instance.y, k, step="8/L").status == "diverged"
    for lam in (0.0, 1.0, -0.5):
        with pytest.raises(sparsebench.InputError, match="fraction"):
            sparsebench.solve("iht-l0", instance.A, instance.y, k, lam=lam)


@pytest.mark.parametrize("name", ["sp", "cosamp"])
def test_what_is_pruned_has_correct_digits(name):
    """The merged atoms have condition number 3e8: normal equations fit y and prune at random."""
    instance = sparsebench.draw("deconvolution", m=500, n=500, k=16, trial=154)
    result = sparsebench.solve(name, instance.A, instance.y, 16)
    reference = {"sp": references.sp, "cosamp": references.cosamp}[name]
    expected = reference(instance.A, instance.y, 16)
    assert np.array_equal(result.support, np.flatnonzero(expected))
