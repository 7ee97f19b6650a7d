"""Least squares on a support by conjugate gradients, from products with A and its adjoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsebench.kernels.gram import squared_norm
from sparsebench.operators import Operator
from sparsebench.types import FloatArray, IntArray

# A gradient below this fraction of what it is compared with is none, where a loop goes on ...
LOOSE = 1e-8
# ... and for an estimate that is returned.
TIGHT = 1e-12
# Below so many times the products' own accuracy, of ||A|| ||y||, a gradient is their rounding.
_ROUNDING = 50.0


@dataclass(frozen=True)
class Fit:
    """Least squares on a support.

    Attributes
    ----------
    support, coefficients : ndarray, shape (k,)
    residual : ndarray, shape (m,)
        y - A x.
    gradient : ndarray, shape (n,)
        Aᴴ(y - A x).
    y : ndarray, shape (m,)
    settled : bool
        Whether the gradient on the support has vanished.
    """

    support: IntArray
    coefficients: FloatArray
    residual: FloatArray
    gradient: FloatArray
    y: FloatArray
    settled: bool


def least_squares(
    operator: Operator,
    y: FloatArray,
    support: IntArray,
    start: FloatArray,
    tolerance: float,
    most: int,
) -> Fit:
    """Return argmin ||y - A_S x|| after at most so many products, from a start.

    CGLS (Björck 1996, "Numerical Methods for Least Squares Problems", section 7.4). Ended where the
    gradient A_Sᴴ r is below `tolerance` of what ||r||, and of what ||x||, gives: ||A_S|| ||r|| and
    mu ||x||, with ||A_S|| and the smallest singular value mu^(1/2) as the steps have seen them, so
    that the coefficients too are known to that fraction; or where it is a rounding error. From zero
    they tend to those of least norm where they are not unique.
    """
    first = operator.products
    tolerance = max(tolerance, _ROUNDING * operator.epsilon)
    rounding = _ROUNDING * operator.epsilon * float(np.linalg.norm(y))
    x, residual = start.copy(), y.copy()
    if x.any():
        residual -= spread(operator, support, x)
        if not squared_norm(residual) < squared_norm(y):
            x[:], residual = 0.0, y.copy()
    gradient = operator.correlate(residual)
    slope = gradient[support]
    direction, squared = slope.copy(), squared_norm(slope)
    largest, smallest = 0.0, np.inf
    settled = squared == 0.0
    while not settled and operator.products - first + 2 <= most:
        image = spread(operator, support, direction)
        curvature, length = squared_norm(image), squared_norm(direction)
        if curvature <= operator.epsilon**2 * largest * length:  # a rounding error
            settled = True
            break
        largest, smallest = max(largest, curvature / length), min(smallest, curvature / length)
        step = squared / curvature
        x += step * direction
        residual -= step * image
        gradient = operator.correlate(residual)
        slope = gradient[support]
        before, squared = squared, squared_norm(slope)
        norm = np.sqrt(largest)
        by_residual = tolerance * norm * float(np.linalg.norm(residual))
        by_size = tolerance * smallest * float(np.linalg.norm(x))
        settled = np.sqrt(squared) <= max(min(by_residual, by_size), rounding * norm)
        direction *= squared / before
        direction += slope
    return Fit(support, x, residual, gradient, y, settled)


def normal_equations(
    operator: Operator, support: IntArray, rhs: FloatArray, most: int
) -> FloatArray | None:
    """Return the solution of A_SᴴA_S x = rhs, None where that many products do not suffice."""
    x, left = np.zeros_like(rhs), rhs.copy()
    direction, squared = left.copy(), squared_norm(left)
    limit = max(TIGHT, _ROUNDING * operator.epsilon) ** 2 * squared
    for _ in range(most // 2):
        image = spread(operator, support, direction)
        curvature = squared_norm(image)
        if not curvature > 0.0:
            return None
        step = squared / curvature
        x += step * direction
        left -= step * operator.correlate(image)[support]
        before, squared = squared, squared_norm(left)
        if squared <= limit:
            return x
        direction *= squared / before
        direction += left
    return None


def spread(operator: Operator, support: IntArray, coefficients: FloatArray) -> FloatArray:
    """Return A_S v, by a product with a vector of zeros elsewhere."""
    x = np.zeros(operator.shape[1], operator.dtype)
    x[support] = coefficients
    return operator.image(x)
