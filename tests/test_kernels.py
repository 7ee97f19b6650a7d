"""Selection and least squares: ties, planted coefficients, dependent supports."""

import numpy as np
import pytest
import references

from sparsebench.kernels.gram import gram_quadratic, negative_gradient
from sparsebench.kernels.least_squares import least_squares, polished
from sparsebench.kernels.selection import largest, soft_threshold, top_k
from sparsebench.types import Dictionary


@pytest.mark.parametrize(
    ("values", "k", "expected"),
    [
        ([2.0, 1, 1, 1, 0], 2, [0, 1]),
        ([0.0, 0, 0, 0], 3, [0, 1, 2]),
        ([-5.0, 5, 5, -5], 2, [0, 1]),
        ([1.0, 1, 1, 3, 1], 2, [0, 3]),
        ([1.0, 3, 1, 3, 1], 5, [0, 1, 2, 3, 4]),
        ([0.0, 0, 0, -7], 1, [3]),
    ],
)
def test_ties_go_to_larger_entries_then_to_the_lowest_index(values, k, expected):
    assert largest(np.array(values), k).tolist() == expected


@pytest.mark.parametrize("guess", [0.0, 0.4, 0.8, 3.0, np.inf])
def test_top_k_equals_a_stable_sort_whatever_the_guess(guess):
    rng = np.random.default_rng(0)
    for draw in range(200):
        n = int(rng.integers(1, 60))
        values = rng.standard_normal(n)
        if draw % 2:
            values = np.round(2 * values)  # many ties
        k = int(rng.integers(1, n + 1))
        support = np.empty(k, dtype=np.intp)
        threshold = top_k(values, k, guess, np.empty(n), support)
        expected = np.sort(np.argsort(-np.abs(values), kind="stable")[:k])
        assert np.array_equal(support, expected)
        assert threshold == np.sort(np.abs(values))[-k]


def test_soft_threshold():
    assert [soft_threshold(v, 1.0) for v in (3.0, -3.0, 0.5, -1.0)] == [2.0, -2.0, 0.0, 0.0]


def spikes(n=200, width=3.0):
    shifts = np.subtract.outer(np.arange(n), np.arange(n))
    A = np.exp(-0.5 * (shifts / width) ** 2)
    return A / np.linalg.norm(A, axis=0)


@pytest.mark.parametrize("adjacent", [1, 5, 10, 12, 14])
def test_planted_coefficients_on_adjacent_atoms(adjacent):
    """Their Gram matrix has condition numbers up to 1e15: normal equations lose every digit."""
    A = spikes()
    rng = np.random.default_rng(adjacent)
    support = np.arange(80, 80 + adjacent)
    planted = rng.uniform(1, 2, adjacent) * rng.choice([-1, 1], adjacent)
    y = A[:, support] @ planted
    dictionary = Dictionary(A)
    x = polished(dictionary.atoms, dictionary.gram, y, support, adjacent, 200)
    np.testing.assert_allclose(x[support], planted, atol=1e-8)
    assert np.count_nonzero(x) == adjacent


@pytest.mark.parametrize("width", [1.0, 2.0, 3.0, 5.0])
def test_least_squares_residual_is_optimal_on_random_coherent_supports(width):
    A = spikes(width=width)
    dictionary = Dictionary(A)
    rng = np.random.default_rng(1)
    for _ in range(30):
        k = int(rng.integers(1, 30))
        support = np.sort(rng.choice(120, k, replace=False)) + 40
        y = A @ rng.standard_normal(200) + 0.01 * rng.standard_normal(200)
        coefficients, factor = np.empty(k), np.empty((k, k))
        least_squares(
            dictionary.atoms, dictionary.gram, A.T @ y, y, support, k, factor, coefficients
        )
        best = np.linalg.norm(y - A[:, support] @ np.linalg.lstsq(A[:, support], y)[0])
        found = np.linalg.norm(y - A[:, support] @ coefficients)
        assert found <= best + 1e-8 * np.linalg.norm(y)
        x = polished(dictionary.atoms, dictionary.gram, y, support, k, 200)
        assert np.linalg.norm(y - A @ x) <= best + 1e-10 * np.linalg.norm(y)


def test_singular_and_wide_supports_get_a_finite_least_norm_answer():
    rng = np.random.default_rng(2)
    A = rng.standard_normal((6, 20))
    A[:, 1] = A[:, 0]
    A[:, 2] = 0.0
    y = rng.standard_normal(6)
    half = A[:, 0] @ y / (2 * A[:, 0] @ A[:, 0])  # for each of two equal atoms
    for support, expected in (
        (np.arange(3), [half, half, 0.0]),
        (np.arange(12), references.least_norm(A[:, :12], y)),
    ):
        dictionary = Dictionary(A)
        x = polished(dictionary.atoms, dictionary.gram, y, support, support.size, 20)
        np.testing.assert_allclose(x[support], expected, atol=1e-12)


def test_products_with_gram_rows():
    rng = np.random.default_rng(3)
    A, y = rng.standard_normal((15, 30)), rng.standard_normal(15)
    for k in (1, 3, 4, 7, 11):
        support = np.sort(rng.choice(30, k, replace=False))
        x = np.zeros(30)
        x[support] = rng.standard_normal(k)
        out = np.empty(30)
        negative_gradient(A.T @ A, A.T @ y, support, x[support], k, out)
        np.testing.assert_allclose(out, A.T @ (y - A @ x), atol=1e-12)
        np.testing.assert_allclose(
            gram_quadratic(A.T @ A, support, x[support], k), np.sum((A @ x) ** 2)
        )
