"""Trivial baselines, the oracle and the exhaustive search against their definitions."""

from itertools import combinations

import mpmath
import numpy as np
import pytest
import references

import sparsebench
from sparsebench.types import Dictionary


def small(trial, m=8, n=14, k=3, noise=0.1):
    rng = np.random.default_rng(trial)
    A = rng.standard_normal((m, n))
    y = A[:, rng.choice(n, k, replace=False)] @ rng.uniform(1, 2, k)
    return A, y + noise * rng.standard_normal(m)


def test_exhaustive_is_the_best_of_all_supports():
    for trial in range(10):
        A, y = small(trial)
        every = {
            S: np.linalg.norm(y - A @ references.on_support(A, y, list(S)))
            for S in combinations(range(14), 3)
        }
        result = sparsebench.solve("exhaustive", A, y, 3)
        assert tuple(result.support) == min(every, key=every.get)
        assert result.n_iter == len(every)


def test_exhaustive_refuses_what_would_take_for_ever():
    A, y = small(0, m=40, n=80, k=10)
    with pytest.raises(sparsebench.InputError, match="tiny problems"):
        sparsebench.solve("exhaustive", A, y, 10)


def test_exhaustive_with_a_singular_support_and_with_k_equal_to_n():
    A, y = small(1, m=8, n=6)
    A[:, 3] = A[:, 2]
    x = sparsebench.solve("exhaustive", A, y, 6).x
    once = np.delete(A, 3, axis=1)
    best = np.linalg.norm(y - once @ np.linalg.lstsq(once, y, rcond=None)[0])
    assert np.linalg.norm(y - A @ x) <= best + 1e-12


def test_the_oracle_is_least_squares_on_the_support_it_is_told():
    instance = sparsebench.draw("gaussian", m=60, n=128, k=20, snr=10.0)
    told = sparsebench.solve("oracle", instance.A, instance.y, 20, support=instance.support)
    expected = references.on_support(instance.A, instance.y, instance.support)
    np.testing.assert_allclose(told.x, expected, rtol=1e-9)


def test_the_oracle_must_be_told_and_no_one_else_may_be():
    A, y = small(2)
    with pytest.raises(sparsebench.InputError, match="must be told the true support"):
        sparsebench.solve("oracle", A, y, 3)
    with pytest.raises(sparsebench.InputError, match="takes no support; these do: oracle"):
        sparsebench.solve("omp", A, y, 3, support=[0, 1, 2])
    for wrong in ([0, 0, 1], [0, 1, 2, 3], [0, 99], [0.5], [[1]]):
        with pytest.raises(sparsebench.InputError, match="support must"):
            sparsebench.solve("oracle", A, y, 3, support=wrong)


def test_thresholding_takes_the_largest_correlations():
    A, y = small(3, m=30, n=60)
    chosen = np.sort(np.argsort(-np.abs(A.T @ y))[:5])
    expected = references.on_support(A, y, chosen)
    np.testing.assert_allclose(sparsebench.solve("thresholding", A, y, 5).x, expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(20, 40), (40, 20), (30, 30)])
def test_the_pseudo_inverse_is_the_one_of_penrose(shape):
    """By his four conditions, which one matrix meets; a pseudo-inverse of numpy has a cut-off."""
    rng = np.random.default_rng(4)
    A = rng.standard_normal(shape)
    once = A.copy()
    A[:, 1] = A[:, 0]
    A[1] = A[0]
    for matrix in (once, A):
        inverse = Dictionary(matrix).pseudo_inverse
        left, right = inverse @ matrix, matrix @ inverse
        np.testing.assert_allclose(matrix @ left, matrix, atol=1e-10)
        np.testing.assert_allclose(inverse @ right, inverse, atol=1e-10)
        np.testing.assert_allclose(left, left.T, atol=1e-10)
        np.testing.assert_allclose(right, right.T, atol=1e-10)


def test_inversion_nearly_solves_noiseless_spikes_and_noise_ends_that():
    missed = {}
    for snr in (np.inf, 60.0):
        for name in ("pinv", "ridge"):
            distances = []
            for trial in range(10):
                instance = sparsebench.draw(
                    "deconvolution", m=200, n=200, k=8, trial=trial, snr=snr
                )
                found = sparsebench.solve(name, instance.A, instance.y, 8).support
                distances.append(1 - np.intersect1d(found, instance.support).size / 8)
            missed[name, snr] = np.mean(distances)
    assert missed["pinv", np.inf] <= 0.02
    assert missed["ridge", np.inf] <= 0.1
    assert missed["pinv", 60.0] >= 0.8
    assert missed["ridge", 60.0] <= 0.5


def test_ridge_takes_the_lambda_of_generalised_cross_validation():
    for trial in range(10):
        A, y = small(trial, m=40, n=30, k=6, noise=1.0)

        def ridge(level, A=A, y=y):
            gram = A.T @ A
            inverse = np.linalg.inv(gram + level * np.eye(30))
            left_out = 40 - np.trace(A @ inverse @ A.T)
            x = inverse @ A.T @ y
            return np.sum((y - A @ x) ** 2) / left_out**2, x

        levels = np.linalg.norm(A, 2) ** 2 * np.logspace(-8, 0, 4000)
        _, x = min((ridge(level) for level in levels), key=lambda pair: pair[0])
        expected = np.sort(np.argsort(-np.abs(x))[:6])
        assert np.array_equal(sparsebench.solve("ridge", A, y, 6).support, expected)


def test_warm_starts_and_chains_never_end_above_their_start():
    for problem, recipe in (
        ("gaussian", {"m": 60, "n": 128, "k": 25}),
        ("deconvolution", {"m": 100, "n": 100, "k": 10}),
    ):
        for trial in range(5):
            instance = sparsebench.draw(problem, trial=trial, **recipe)
            A, y, k = instance.A, instance.y, recipe["k"]
            start = sparsebench.solve("omp", A, y, k).x
            before = np.linalg.norm(y - A @ start)
            for name in ("sea", "sea[step=18/L]", "htp", "nhtp"):
                after = sparsebench.solve(name, A, y, k, start=start)
                assert np.linalg.norm(y - A @ after.x) <= before * (1 + 1e-12)
                chained = sparsebench.solve(f"omp+{name}", A, y, k)
                assert np.array_equal(chained.x, after.x)
                assert [stage.name for stage in chained.stages] == ["omp", name.split("[")[0]]
                assert chained.n_iter == sum(stage.n_iter for stage in chained.stages)


def test_a_warm_start_is_checked():
    instance = sparsebench.draw("gaussian", m=20, n=40, k=3)
    A, y = instance.A, instance.y
    for start, message in (
        (np.ones(40), "start has 40 non-zeros, more than k = 3"),
        (np.ones(39), r"start must have shape \(40,\)"),
        (np.full(40, np.nan), "start holds NaN"),
        (1e200 * np.eye(40)[3], "start is too large"),
    ):
        with pytest.raises(sparsebench.InputError, match=message):
            sparsebench.solve("sea", A, y, 3, start=start)
    with pytest.raises(sparsebench.InputError, match="omp takes no start"):
        sparsebench.solve("omp", A, y, 3, start=np.zeros(40))
    with pytest.raises(sparsebench.InputError, match="omp cannot continue another algorithm"):
        sparsebench.solve("sea+omp", A, y, 3)
    few = np.zeros(40)
    few[7] = 1.0  # fewer than k are welcome
    assert sparsebench.solve("sea", A, y, 3, start=few).x.any()


def test_a_warm_start_is_scaled_with_the_problem():
    instance = sparsebench.draw("gaussian", m=40, n=80, k=12, trial=2)
    start = sparsebench.solve("omp", instance.A, instance.y, 12).x
    plain = sparsebench.solve("sea", instance.A, instance.y, 12, start=start, max_iter=20)
    for scale_A, scale_y in ((1e-150, 1e150), (1e150, 1e-150), (1e120, 1e120)):
        scaled = sparsebench.solve(
            "sea",
            scale_A * instance.A,
            scale_y * instance.y,
            12,
            start=start * (scale_y / scale_A),
            max_iter=20,
        )
        assert np.array_equal(scaled.support, plain.support)


def test_the_history_of_an_exploration():
    instance = sparsebench.draw("deconvolution", m=100, n=100, k=8, trial=1)
    result = sparsebench.solve("sea", instance.A, instance.y, 8, history=True, max_iter=300)
    best, explored = result.history["best_residual"], result.history["supports_explored"]
    assert best.size == explored.size == result.n_iter
    assert np.all(np.diff(best) <= 0)
    assert explored[0] == 1
    assert np.all((np.diff(explored) == 0) | (np.diff(explored) == 1))
    relative = np.linalg.norm(instance.y - instance.A @ result.x) / np.linalg.norm(instance.y)
    np.testing.assert_allclose(best[-1], relative, rtol=1e-6)
    # The same supports, found again by smaller budgets.
    for budget in (1, 10, 50):
        early = sparsebench.solve("sea", instance.A, instance.y, 8, max_iter=budget)
        missed = np.linalg.norm(instance.y - instance.A @ early.x) / np.linalg.norm(instance.y)
        np.testing.assert_allclose(best[budget - 1], missed, rtol=1e-6)
    chain = sparsebench.solve(
        "sea+htp", instance.A, instance.y, 8, history=True, **{"sea.max_iter": 9}
    )
    np.testing.assert_array_equal(chain.history["best_residual"], best[:9])
    with pytest.raises(sparsebench.InputError, match="omp takes no history"):
        sparsebench.solve("omp", instance.A, instance.y, 8, history=True)


def exact_ridge(A, y, k):
    """Ridge at the lambda of least generalised cross-validation score, with 60 digits."""
    with mpmath.workdps(60):
        matrix, signal = mpmath.matrix(A.tolist()), mpmath.matrix(y.tolist())
        outer = matrix * matrix.T
        values, vectors = mpmath.eigsy(outer)
        top = max(values)
        shares = [max(value / top, mpmath.mpf(0)) for value in values]
        projections = vectors.T * signal

        def score(log_level):
            level = mpmath.mpf(10) ** log_level
            lost = [level / (share + level) for share in shares]
            missed = sum((a * b) ** 2 for a, b in zip(lost, projections, strict=True))
            return mpmath.log(missed) - 2 * mpmath.log(sum(lost))

        grid = [mpmath.mpf(-28) + mpmath.mpf(i) / 2 for i in range(57)]
        best = min(grid, key=score)
        low, high = max(best - 0.5, grid[0]), min(best + 0.5, grid[-1])
        golden = (mpmath.sqrt(5) - 1) / 2
        for _ in range(50):
            left, right = high - golden * (high - low), low + golden * (high - low)
            low, high = (low, right) if score(left) < score(right) else (left, high)
        level = top * mpmath.mpf(10) ** ((low + high) / 2)
        x = matrix.T * mpmath.lu_solve(outer + level * mpmath.eye(len(A)), signal)
        return references.largest(np.array([float(value) for value in x]), k)


@pytest.mark.parametrize(("m", "n"), [(4, 6), (6, 4)])
def test_ridge_is_that_of_exact_cross_validation_in_any_order_of_columns(m, n):
    for seed in (92, *range(30)):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((m, n))
        y = 2 * A[:, 0] - A[:, 1] + 0.01 * rng.standard_normal(m)
        found = sparsebench.solve("ridge", A, y, 2).support
        backwards = sparsebench.solve("ridge", A[:, ::-1], y, 2).support
        assert set(n - 1 - backwards) == set(found)
        assert set(found) == set(exact_ridge(A, y, 2)), seed


def test_restarts_never_end_above_the_algorithm_they_restart():
    won = 0
    for trial in range(8):
        instance = sparsebench.draw("deconvolution", m=100, n=100, k=8, trial=trial)
        A, y = instance.A, instance.y
        for name in ("htp", "iht"):
            once = sparsebench.solve(name, A, y, 8)
            again = sparsebench.solve(f"{name}-restarts", A, y, 8)
            assert again.n_iter <= 1000 * (1 + 64 / 600) + 1
            if once.status != "iteration limit":
                before, after = (np.linalg.norm(y - A @ r.x) for r in (once, again))
                assert after <= before * (1 + 1e-9)
                won += after < before * 0.999
    assert won > 0
