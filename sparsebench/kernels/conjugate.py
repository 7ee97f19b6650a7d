"""Least squares on a support by conjugate gradients, from products with A and its adjoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsebench.operators import Operator
from sparsebench.types import FloatArray, IntArray

# A gradient below this fraction of ||A|| ||residual|| is none, for what a loop goes on with ...
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

    CGLS (Björck 1996, "Numerical Methods for Least Squares Problems", section 7.4), ended where
    ||A_Sᴴ r|| <= ||A_S|| (tolerance ||r|| + rounding ||y||), with ||A_S|| as the steps have seen
    it. From zero it tends to the coefficients of least norm where they are not unique.
    """
    first = operator.products
    tolerance = max(tolerance, _ROUNDING * operator.epsilon)
    rounding = _ROUNDING * operator.epsilon * float(np.linalg.norm(y))
    x, residual = start.copy(), y.copy()
    if x.any():
        residual -= spread(operator, support, x)
        if not residual @ residual < y @ y:
            x[:], residual = 0.0, y.copy()
    gradient = operator.correlate(residual)
    slope = gradient[support]
    direction, squared, norm = slope.copy(), float(slope @ slope), 0.0
    settled = squared == 0.0
    while not settled and operator.products - first + 2 <= most:
        image = spread(operator, support, direction)
        curvature = float(image @ image)
        if curvature == 0.0:  # the direction is a rounding error
            settled = True
            break
        norm = max(norm, curvature / float(direction @ direction))
        step = squared / curvature
        x += step * direction
        residual -= step * image
        gradient = operator.correlate(residual)
        slope = gradient[support]
        before, squared = squared, float(slope @ slope)
        limit = tolerance * float(np.linalg.norm(residual)) + rounding
        settled = squared <= norm * limit * limit
        direction *= squared / before
        direction += slope
    return Fit(support, x, residual, gradient, y, settled)


def normal_equations(
    operator: Operator, support: IntArray, rhs: FloatArray, most: int
) -> FloatArray | None:
    """Return the solution of A_SᴴA_S x = rhs, None where that many products do not suffice."""
    x, left = np.zeros(support.size), rhs.copy()
    direction, squared = left.copy(), float(left @ left)
    limit = max(TIGHT, _ROUNDING * operator.epsilon) ** 2 * squared
    for _ in range(most // 2):
        image = spread(operator, support, direction)
        curvature = float(image @ image)
        if not curvature > 0.0:
            return None
        step = squared / curvature
        x += step * direction
        left -= step * operator.correlate(image)[support]
        before, squared = squared, float(left @ left)
        if squared <= limit:
            return x
        direction *= squared / before
        direction += left
    return None


def spread(operator: Operator, support: IntArray, coefficients: FloatArray) -> FloatArray:
    """Return A_S v, by a product with a vector of zeros elsewhere."""
    x = np.zeros(operator.shape[1])
    x[support] = coefficients
    return operator.image(x)
