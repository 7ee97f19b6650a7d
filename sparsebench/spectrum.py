"""The largest singular value of a large matrix, from above, by the Lanczos process."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # whose parts are loaded when they are first used
from numpy.typing import NDArray

# The bound is at most this multiple of the largest Ritz value, where the iterations suffice for it.
_CLOSE = 1.2
_MOST_ITERATIONS = 200
# Vectors that there is room for at first.
_ROOM = 64
# Steps between two looks at whether the largest Ritz value has settled.
_LOOK = 8
# Entries of A that are used twice while they are in the cache.
_BLOCK = 2**18
# The logarithm of one over the component of the start along the top singular vector that is relied
# on: what rounding errors alone have of it.
_HIDDEN = math.log(1e19)


def largest_squared_singular_value(matrix: NDArray[Any]) -> float:
    """Return an upper bound of ||A||², at most a fifth too large; the same one at every call.

    With S = A or Aᵀ, the smaller side first, the Lanczos vectors of S Sᴴ (those of the
    bidiagonalisation of S) from a random u_1 (of a fixed seed; reorthogonalised) are
    u_(i+1) = p_i(S Sᴴ) u_1, with p_i the orthonormal polynomials of the measure with the weight
    |u_1ᴴv|² at each eigenvalue, v being its eigenvector. So |u_1ᴴv|² p_i(lambda)² <= ||u_(i+1)||²
    = 1 for every eigenvalue lambda and every i. Beyond the Ritz values p_i grows: where it exceeds
    1 / |u_1ᴴv|, no eigenvalue is. The bound is the smallest number above the Ritz values where some
    p_i exceeds 1e19. It holds if the start has more than 1e-19 of the top singular vector. A random
    one of 1e6 entries has less with a chance of 1e-16, and where it is orthogonal to it, rounding
    errors take its place.

    An invariant subspace ends nothing: the next vector is then the rounding errors', or a new
    random one, and p_i grows all the faster.
    """
    rows, columns = matrix.shape
    short = matrix if rows <= columns else matrix.T
    everything = sum(
        float(np.einsum("ij,ij->", part, part))
        for part in ((matrix.real, matrix.imag) if matrix.dtype.kind == "c" else (matrix,))
    )
    if everything == 0.0:
        return 0.0
    return bounded(lambda v: _twice(short, v), short.shape[0], everything, dtype=matrix.dtype)


def bounded(
    twice: Callable[[NDArray[Any]], NDArray[Any]],
    size: int,
    everything: float = math.inf,
    settled: float = 0.0,
    dtype: Any = np.float64,
) -> float:
    """Return that bound from products v -> S Sᴴ v alone, vectors of this size and type.

    It is never more than `everything`, a bound that is known. With `settled`, the process goes on
    until the residual of the largest Ritz value, too, is below this fraction of it, and returns
    that value: ||A||² to the square of the fraction over the relative gap to the next one.
    """
    most = size if settled else min(_MOST_ITERATIONS, size)
    rng = np.random.default_rng(0)
    basis = np.empty((min(_ROOM, most + 1), size), dtype)
    basis[0] = _unit(rng.standard_normal((size,)))
    diagonal: list[float] = []
    beside: list[float] = []
    for i in range(most):
        if i + 1 == len(basis):
            more = np.empty((min(len(basis), most - i), size), dtype)
            basis = np.concatenate([basis, more])
        left = twice(basis[i])
        if i == 0 and not left.any():
            return 0.0  # zero, as seen by a random vector
        diagonal.append(float((basis[i].conj() @ left).real))
        negligible = np.finfo(float).eps * everything / size
        if everything == math.inf:  # below it, what is left may be of no direction of its own
            negligible = 4.0 * np.finfo(float).eps * float(np.linalg.norm(left))
        left = _orthogonal(left, basis[: i + 1])
        after = float(np.linalg.norm(left))
        beside.append(max(after, negligible, np.finfo(float).tiny))
        if not after > negligible:  # what follows begins anew, as good as uncoupled
            left = _orthogonal(rng.standard_normal((size,)), basis[: i + 1])
        basis[i + 1] = _unit(left)
        if settled and (i % _LOOK or not _converged(diagonal, beside, settled)):
            continue
        if _excluded(_CLOSE * _largest_ritz(diagonal, beside), diagonal, beside):
            break
    low, high = _largest_ritz(diagonal, beside), everything
    if settled or len(diagonal) == size:
        return low * (1.0 + 1e-9)
    if high == math.inf:
        high = low
        while not _excluded(high, diagonal, beside) and high > 0.0:
            high *= 2.0
    while high - low > 1e-9 * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _excluded(middle, diagonal, beside) else (middle, high)
    return min(high * (1.0 + 1e-9), everything)


def _twice(short: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Return S Sᴴ v; every column of S is read once, some at a time, and is in the cache then."""
    total = np.zeros_like(v)
    width = max(_BLOCK // v.size, 1)
    for first in range(0, short.shape[1], width):
        part = short[:, first : first + width]
        total += part @ (part.conj().T @ v)
    return total


def _orthogonal(v: NDArray[Any], basis: NDArray[Any]) -> NDArray[Any]:
    for _ in range(2):
        v = v - (basis.conj() @ v) @ basis
    return v


def _unit(v: NDArray[Any]) -> NDArray[Any]:
    return v / (float(np.linalg.norm(v)) or 1.0)


def _largest_ritz(diagonal: list[float], beside: list[float]) -> float:
    inner = np.array(beside[:-1])
    matrix = np.diag(np.array(diagonal)) + np.diag(inner, 1) + np.diag(inner, -1)
    return float(np.linalg.eigvalsh(matrix)[-1])


def _converged(diagonal: list[float], beside: list[float], settled: float) -> bool:
    """Whether the residual of the largest Ritz value is below a fraction of it."""
    last = len(diagonal) - 1
    values, vectors = scipy.linalg.eigh_tridiagonal(
        np.array(diagonal), np.array(beside[:-1]), select="i", select_range=(last, last)
    )
    return bool(beside[-1] * abs(vectors[-1, 0]) <= settled * values[0])


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
