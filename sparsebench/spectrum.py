"""The largest singular value of a large matrix, from above, by Lanczos bidiagonalisation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# The bound is at most this multiple of the largest Ritz value, where the iterations suffice for it.
_CLOSE = 1.125
_MOST_ITERATIONS = 200
# The logarithm of one over the component of the start along the top singular vector that is relied
# on: what rounding errors alone have of it.
_HIDDEN = math.log(1e19)


def largest_squared_singular_value(matrix: NDArray[np.float64]) -> float:
    """Return an upper bound of ||A||², at most an eighth too large; the same one at every call.

    With S = A or Aᵀ, the smaller side first, the vectors u_1, u_2, ... of the bidiagonalisation
    from a random u_1 (of a fixed seed; reorthogonalised) are u_(i+1) = p_i(S Sᵀ) u_1, with p_i the
    orthonormal polynomials of the measure with the weight (u_1ᵀv)² at each eigenvalue, v being
    its eigenvector. So (u_1ᵀv)² p_i(lambda)² <= ||u_(i+1)||² = 1 for every eigenvalue lambda and
    every i. Beyond the Ritz values p_i grows: where it exceeds 1 / |u_1ᵀv|, no eigenvalue is.
    The bound is the smallest number above the Ritz values where some p_i exceeds 1e19. It holds if
    the start has more than 1e-19 of the top singular vector. A random one of 1e6 entries has less
    with a chance of 1e-16, and where it is orthogonal to it, rounding errors take its place.

    An invariant subspace ends nothing: the next vector is then the rounding errors', or a new
    random one, and p_i grows all the faster.
    """
    rows, columns = matrix.shape
    short = matrix if rows <= columns else matrix.T
    size = short.shape[0]
    rng = np.random.default_rng(0)
    everything = float(np.einsum("ij,ij->", matrix, matrix))
    if everything == 0.0:
        return 0.0
    basis = np.empty((min(_MOST_ITERATIONS, size) + 1, size))
    basis[0] = _unit(rng.standard_normal((size,)))
    right, beta = np.zeros(short.shape[1]), 0.0
    diagonal: list[float] = []
    beside: list[float] = []
    negligible = np.finfo(float).eps * math.sqrt(everything) / size
    for i in range(basis.shape[0] - 1):
        right = short.T @ basis[i] - beta * right
        alpha = float(np.linalg.norm(right))
        right /= alpha or 1.0
        left = short @ right
        known = basis[: i + 1]
        for _ in range(2):
            left -= (known @ left) @ known
        after = float(np.linalg.norm(left))
        diagonal.append(alpha * alpha + beta * beta)
        beta = max(after, negligible)
        beside.append(max(alpha, negligible) * beta)
        if not after > negligible:  # what follows begins anew, as good as uncoupled
            left = rng.standard_normal((size,))
            for _ in range(2):
                left -= (known @ left) @ known
            right = np.zeros_like(right)
        basis[i + 1] = _unit(left)
        ritz = _largest_ritz(diagonal, beside)
        if _excluded(_CLOSE * ritz, diagonal, beside):
            break
    low, high = _largest_ritz(diagonal, beside), everything
    while high - low > 1e-9 * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _excluded(middle, diagonal, beside) else (middle, high)
    return min(high * (1.0 + 1e-9), everything)


def _unit(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return v / (float(np.linalg.norm(v)) or 1.0)


def _largest_ritz(diagonal: list[float], beside: list[float]) -> float:
    inner = np.array(beside[:-1])
    matrix = np.diag(np.array(diagonal)) + np.diag(inner, 1) + np.diag(inner, -1)
    return float(np.linalg.eigvalsh(matrix)[-1])


def _excluded(value: float, diagonal: list[float], beside: list[float]) -> bool:
    """Whether some orthonormal polynomial exceeds 1e19 at a value above all Ritz values."""
    logarithm, largest, coupled = 0.0, 0.0, 0.0
    for a, b in zip(diagonal, beside, strict=True):
        pivot = value - a - coupled  # of value I - T: positive above the Ritz values
        if not pivot > 0.0:
            return False
        logarithm += math.log(pivot / b)
        largest = max(largest, logarithm)
        coupled = b * b / pivot
    return largest > _HIDDEN
