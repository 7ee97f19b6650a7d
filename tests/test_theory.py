"""What a dictionary guarantees, against brute force over subsets and against the algorithms."""

import math
from itertools import combinations

import numpy as np
import pytest

import sparsebench
from sparsebench import InputError, theory
from sparsebench.theory import (
    babel,
    exact_recovery_coefficient,
    exploration_bound,
    guaranteed_sparsity,
    restricted_isometry,
)


def unit(A):
    return A / np.linalg.norm(A, axis=0)


def simplex(n):
    """Return n atoms of norm 1 in n - 1 dimensions, all inner products -1 / (n - 1)."""
    centred = np.eye(n) - 1 / n
    return unit(np.linalg.svd(centred)[2][:-1] @ centred)


def dictionaries(seed, count=12):
    """Yield random atoms, from nearly orthonormal to coherent, with columns of any norm."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        n = 7
        noise, shared = rng.standard_normal((n, n)), rng.standard_normal((n, 1))
        mixed = np.eye(n) + (0.02, 0.1, 0.5)[i % 3] * noise + (i % 4 == 3) * shared
        yield mixed[: n - i % 2] * rng.uniform(0.1, 10, n)


def test_the_babel_function_is_the_largest_sum_over_all_subsets():
    for A in dictionaries(0):
        cosines, n = np.abs(unit(A).T @ unit(A)), A.shape[1]
        expected = [
            max(
                cosines[list(chosen), j].sum()
                for chosen in combinations(range(n), s)
                for j in set(range(n)) - set(chosen)
            )
            for s in range(n)
        ]
        np.testing.assert_allclose(babel(A), expected, atol=1e-14)
        assert babel(A)[1] == pytest.approx(sparsebench.Dictionary(A).coherence, rel=1e-12)


def test_guarantees_of_atoms_at_equal_angles_are_known():
    n, a = 9, 1 / 8
    np.testing.assert_allclose(babel(simplex(n)), np.arange(n) * a, atol=1e-14)
    for k in range(1, n - 1):  # any n - 1 atoms are independent
        coefficient = exact_recovery_coefficient(simplex(n), range(k))
        assert coefficient == pytest.approx(k * a / (1 - (k - 1) * a), rel=1e-10)
        assert restricted_isometry(simplex(n), k) == pytest.approx(max(k - 1, k > 1) * a, abs=1e-14)
    # (2k - 1) / 8 < 1, and (3k - 1) / 8 < 1, which rounding may decide at k = 3
    assert guaranteed_sparsity(simplex(n))["omp"] == guaranteed_sparsity(simplex(n))["bp"] == 4
    assert guaranteed_sparsity(simplex(n))["htp"] in (2, 3)
    assert guaranteed_sparsity(simplex(8)) == {"omp": 3, "bp": 3, "htp": 2}
    assert guaranteed_sparsity(np.eye(5)) == {"omp": 4, "bp": 4, "htp": 4}
    assert exact_recovery_coefficient(np.eye(3), [0, 1, 2]) == 0
    assert restricted_isometry(np.eye(6), 3) == 0


def test_the_exact_recovery_coefficient_is_that_of_least_squares():
    for A in dictionaries(1):
        U, n = unit(A), A.shape[1]
        for k in (1, 2, 3):
            for S in combinations(range(n), k):
                rest = np.delete(U, S, axis=1)
                weights = np.linalg.lstsq(U[:, S], rest, rcond=None)[0]
                expected = np.abs(weights).sum(axis=0).max()
                assert exact_recovery_coefficient(A, S) == pytest.approx(expected, rel=1e-9)


def test_the_babel_condition_implies_the_exact_recovery_condition_of_every_support():
    held = 0
    for A in dictionaries(2, 24):
        sums, n = babel(A), A.shape[1]
        for k in (1, 2, 3):
            largest = max(exact_recovery_coefficient(A, S) for S in combinations(range(n), k))
            if sums[k - 1] < 1:
                assert largest <= sums[k] / (1 - sums[k - 1]) + 1e-12
            if sums[k] + sums[k - 1] < 1:
                held += 1
                assert largest < 1
            assert (sums[k] + sums[k - 1] < 1) == (k <= guaranteed_sparsity(A)["omp"])
            assert (2 * sums[k] + sums[k - 1] < 1) == (k <= guaranteed_sparsity(A)["htp"])
            if (2 * k - 1) * sums[1] < 1:  # coherence promises no more
                assert k <= guaranteed_sparsity(A)["omp"]
            if (3 * k - 1) * sums[1] < 1:
                assert k <= guaranteed_sparsity(A)["htp"]
    assert held >= 12


def amplitudes(rng, k):
    """Return non-zeros of one size, or of very different ones."""
    return rng.choice([-1.0, 1.0], k) * 10.0 ** rng.choice([0, rng.uniform(-2, 2)], k)


def found(name, A, x, k):
    result = sparsebench.solve(name, A, A @ x, k)
    return np.array_equal(np.flatnonzero(result.x), np.flatnonzero(x)), result.n_iter


def test_omp_and_l1_recover_where_the_exact_recovery_condition_holds():
    rng, held = np.random.default_rng(3), 0
    for A in dictionaries(3, 24):
        A = unit(A)
        for S in combinations(range(A.shape[1]), 3):
            if exact_recovery_coefficient(A, S) < 0.999:
                held += 1
                x = np.zeros(A.shape[1])
                x[list(S)] = amplitudes(rng, 3)
                assert found("omp", A, x, 3) == (True, 3)
                assert found("bp", A, x, 3)[0]
    assert held >= 200


def test_omp_fails_on_some_x_where_the_exact_recovery_condition_does_not_hold():
    """The worst x of a support: all its atoms correlate equally with A x, and one outside more."""
    failed = 0
    for A in dictionaries(4, 24):
        A = unit(A)
        for S in combinations(range(A.shape[1]), 2):
            if exact_recovery_coefficient(A, S) > 1.001:
                inside = A[:, S]
                weights = np.linalg.pinv(inside) @ A
                weights[:, S] = 0
                worst = np.sign(weights[:, np.abs(weights).sum(axis=0).argmax()])
                x = np.zeros(A.shape[1])
                x[list(S)] = np.linalg.solve(inside.T @ inside, worst)
                failed += 1
                assert np.count_nonzero(x) == 2
                assert np.abs(A.T @ A @ x).argmax() not in S
    assert failed >= 20


def test_htp_recovers_in_k_iterations_where_the_babel_function_says_so():
    rng, held = np.random.default_rng(5), set()
    for size in np.geomspace(0.002, 0.1, 60):
        A = unit(np.eye(12) + size * rng.standard_normal((12, 12)))
        for k in range(1, min(guaranteed_sparsity(A)["htp"], 8) + 1):
            x = np.zeros(12)
            x[rng.choice(12, k, replace=False)] = amplitudes(rng, k)
            right, iterations = found("htp", A, x, k)
            assert right
            assert iterations <= k
            held.add(k)
    assert held == set(range(1, 9))


def test_the_restricted_isometry_constant_is_that_of_all_singular_values():
    rng = np.random.default_rng(6)
    for A in [*dictionaries(6, 6), *(unit(A) for A in dictionaries(7, 6))]:
        n, before = A.shape[1], 0.0
        for order in range(1, n + 1):
            squares = [
                np.linalg.svd(A[:, S], compute_uv=False)[: len(S)] ** 2
                for S in combinations(range(n), order)
            ]
            lowest = 0.0 if order > A.shape[0] else min(s[-1] for s in squares)
            expected = max(max(s[0] for s in squares) - 1, 1 - lowest)
            delta = restricted_isometry(A, order)
            assert delta == pytest.approx(expected, rel=1e-9, abs=1e-12)
            assert delta >= before - 1e-12
            before = delta
            x = np.zeros(n)
            x[rng.choice(n, order, replace=False)] = rng.standard_normal(order)
            ratio = np.sum((A @ x) ** 2) / np.sum(x**2)
            assert abs(ratio - 1) <= delta + 1e-12
            assert restricted_isometry(unit(A), order) <= babel(A)[order - 1] + 1e-12


def test_algorithms_recover_where_the_restricted_isometry_constant_says_so():
    """Of order k + 1 below 1/sqrt(k + 1) for OMP, 2k and 1/sqrt(2) for l1, 3k and 1/sqrt(3)."""
    rng, held = np.random.default_rng(8), dict.fromkeys(("omp", "bp", "htp"), 0)
    conditions = {"omp": lambda k: (k + 1, k + 1), "bp": lambda k: (2 * k, 2)}
    conditions["htp"] = lambda k: (3 * k, 3)
    for size in np.geomspace(0.02, 0.3, 60):
        A = unit(np.eye(9) + size * rng.standard_normal((9, 9)))
        for k in (1, 2, 3):
            x = np.zeros(9)
            x[rng.choice(9, k, replace=False)] = amplitudes(rng, k)
            for name, sizes in conditions.items():
                order, square = sizes(k)
                if restricted_isometry(A, order) < 0.999 / math.sqrt(square):
                    held[name] += 1
                    assert found(name, A, x, k)[0]
    assert min(held.values()) >= 60


def test_subsets_are_counted_before_they_are_looked_at():
    assert math.comb(20, 3) == 1140
    assert math.comb(20, 5) == 15504
    with pytest.raises(InputError, match=r"75,287,520 subsets of 5 of 100 atoms.*babel\(A\)\[4\]"):
        restricted_isometry(np.ones((3, 100)), 5)


def test_the_bound_is_the_last_number_of_iterations_that_counting_leaves():
    """T iterations may fail while T <= k (1 + (T - 1) r), r = error / (1 - error)."""
    for k in (1, 2, 3, 5):
        for error in np.linspace(0, 1 / (k + 1) - 0.004, 57):
            r = error / (1 - error)
            failing = 0
            while failing + 1 <= k * (1 + failing * r) + 1e-10:
                failing += 1
            assert exploration_bound(error, k) == failing + 1
        assert exploration_bound(1 / (k + 1), k) == np.inf
        np.testing.assert_array_equal(
            exploration_bound([0.0, 0.7, np.inf], k), [k + 1, *2 * [np.inf]]
        )
    # 2 (1 - .4) / (1 - .6) = 3, whatever .2 is in binary
    assert exploration_bound(0.2, 2) == 4


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: babel([1.0, 2.0]), r"A must have shape \(m, n\)"),
        (lambda: babel([[1.0, 0.0], [2.0, 0.0]]), "atom 1 of A is zero"),
        (lambda: guaranteed_sparsity([[np.nan]]), "NaN"),
        (lambda: exact_recovery_coefficient(np.eye(3), []), "at least one index"),
        (lambda: exact_recovery_coefficient(np.eye(3), [0.0]), "at least one index"),
        (lambda: exact_recovery_coefficient(np.eye(3), [1, 1]), r"different indices in 0 \.\. 2"),
        (lambda: exact_recovery_coefficient(np.eye(3), [3]), r"different indices in 0 \.\. 2"),
        (lambda: exact_recovery_coefficient(np.eye(3), [-1]), r"different indices in 0 \.\. 2"),
        (lambda: exact_recovery_coefficient(np.eye(3), [[0], [1, 2]]), "support"),
        (lambda: exploration_bound("x", 1), "error must be"),
        (lambda: exploration_bound([[0.1], [0.2, 0.3]], 1), "error"),
        (lambda: restricted_isometry(np.eye(3), 4), "order must be at most 3"),
        (lambda: restricted_isometry(np.eye(3), 0), "order must be at least 1"),
        (lambda: exploration_bound(-0.1, 1), "error must be"),
        (lambda: exploration_bound(np.nan, 1), "error must be"),
        (lambda: exploration_bound(0.1, 0), "k must be at least 1"),
    ],
)
def test_what_cannot_be_used_is_one_line(call, what):
    with pytest.raises(InputError, match=what):
        call()


def test_dependent_atoms_and_extreme_scales():
    A = np.array([[1.0, 2.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    assert exact_recovery_coefficient(A, [0, 1]) == math.inf
    assert exact_recovery_coefficient(A, [0, 2, 3]) == math.inf  # more atoms than measurements
    assert babel(A)[1] == 1
    B = np.array([[1.0, 0.6], [0.0, 0.8]])
    for scale in (1e-200, 1e200, 1e-310):
        np.testing.assert_allclose(babel(B * [scale, 1.0]), [0, 0.6], rtol=1e-9)


def test_the_minimax_risk_of_l1_is_that_of_the_paper():
    """M by brute force over thresholds and quadrature; infinite from the limit of l1 on."""
    z = np.linspace(0, 5, 2001)
    nodes = np.linspace(-12, 12, 20001)
    weights = np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi) * (nodes[1] - nodes[0])
    at_zero = np.array([weights @ np.maximum(np.abs(nodes) - one, 0) ** 2 for one in z])
    for delta, rho in ((0.5, 0.2), (0.25, 0.1), (0.1, 0.15)):
        density = rho * delta
        least = np.min(density * (1 + z**2) + (1 - density) * at_zero)
        expected = least / (1 - least / delta)
        assert theory.minimax_l1_risk(delta, rho) == pytest.approx(expected, rel=1e-4)
        limit = theory.donoho_tanner(delta)
        assert theory.minimax_l1_risk(delta, limit * (1 + 1e-6)) == np.inf
        assert 1e3 < theory.minimax_l1_risk(delta, limit * (1 - 1e-6)) < np.inf
    with pytest.raises(InputError, match="must lie in"):
        theory.minimax_l1_risk(1.0, 0.5)
