"""The Lasso by proximal gradients: ISTA and FISTA, read off as a support of size k."""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import overload

from sparsebench.kernels.gram import copy, correlate, inner, negative_gradient
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.images import images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.least_squares import residual, solve_normal
from sparsebench.kernels.selection import fingerprint, soft_threshold
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, DIVERGED, ITERATION_LIMIT, ended, read_off
from sparsebench.solvers.steps import step_size
from sparsebench.types import Dictionary, FloatArray, InputError, Result

# Continuation: lambda falls by this factor once the gap is below this fraction of the objective.
PATH_FACTOR = 0.3
PATH_GAP = 0.05
CHECK_EVERY = 10


@algorithm(
    "ista",
    told=("k", "lambda"),
    family="convex",
    complex_numbers=True,
    cost="2*n*k",
    shares=("gram", "squared_spectral_norm"),
    twin="sparsebench.batched.ista:ista",
    source="Daubechies, Defrise and De Mol, Comm. Pure Appl. Math. 57, 2004, "
    "doi:10.1002/cpa.20042; continuation: Hale, Yin and Zhang, SIAM J. Optim. 19, 2008, "
    "doi:10.1137/070698920",
    matrix_free=True,
)
def ista(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    lam: float = 1e-3,
    step: str = "1.9/L",
    max_iter: int = 1000,
    tol: float = 3e-3,
) -> Result:
    """Iterative soft thresholding for the Lasso, then the k largest entries and least squares.

    Minimises ½||y - A x||² + lambda ||x||₁ with lambda = lam · ||Aᵀy||∞, approached from above
    by factors of .3. Ends at the stated duality gap, or when the minimiser with the current signs
    satisfies the optimality conditions. The support is that of the k largest |x|, and the
    estimate returned is least squares on it.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    lam : float
        lambda as a fraction of the smallest one whose solution is zero, 0 < lam < 1.
    step : str
        ``c/L`` with c < 2, where L = ||A||².
    max_iter : int
        Over all values of lambda.
    tol : float
        Duality gap, relative to the objective.
    """
    return _read_off(dictionary, y, k, lam, step_size(step, dictionary), False, max_iter, tol)


@algorithm(
    "fista",
    told=("k", "lambda"),
    family="convex",
    complex_numbers=True,
    cost="2*n*k",
    shares=("gram", "squared_spectral_norm"),
    twin="sparsebench.batched.ista:fista",
    source="Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009, doi:10.1137/080716542; restart: "
    "O'Donoghue and Candès, Found. Comput. Math. 15, 2015, doi:10.1007/s10208-013-9150-3",
    matrix_free=True,
)
def fista(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    lam: float = 1e-3,
    max_iter: int = 2000,
    tol: float = 3e-3,
) -> Result:
    """Accelerated proximal gradients for the Lasso, then the k largest and least squares.

    As `ista` with step 1 / ||A||² and Nesterov's momentum, restarted whenever it points uphill.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    lam : float
        lambda as a fraction of the smallest one whose solution is zero, 0 < lam < 1.
    max_iter : int
        Over all values of lambda.
    tol : float
        Duality gap, relative to the objective.
    """
    return _read_off(dictionary, y, k, lam, step_size("1/L", dictionary), True, max_iter, tol)


def lasso(
    dictionary: Dictionary,
    y: FloatArray,
    level: float,
    step: float,
    accelerate: bool,
    max_iter: int,
    tol: float,
) -> tuple[FloatArray, int, int]:
    """Return (x, iterations, ending) for min ½||y - A x||² + level ||x||₁."""
    return _proximal_gradient(*images_of(dictionary), y, level, step, accelerate, max_iter, tol)


def _read_off(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    lam: float,
    step: float,
    accelerate: bool,
    max_iter: int,
    tol: float,
) -> Result:
    if not 0 < lam < 1:
        raise InputError(f"lam is a fraction of ||Aᵀy||∞ in (0, 1), not {lam}")
    level = lam * float(np.abs(correlate(images_of(dictionary)[0], y)).max())
    x, n_iter, code = lasso(dictionary, y, level, step, accelerate, max_iter, tol)
    return ended(x if code == DIVERGED else read_off(dictionary, y, k, x), n_iter, code)


@imaged()
def _proximal_gradient(atoms, gram, y, level, step, accelerate, max_iter, tol):
    n = atoms.shape[0]
    correlations = correlate(atoms, y)
    x, point = np.zeros_like(correlations), np.zeros_like(correlations)
    gradient = np.empty_like(correlations)
    support, values = np.empty(n, dtype=np.intp), np.empty(n, y.dtype)
    remainder = np.empty_like(y)
    current = max(level, PATH_FACTOR * np.abs(correlations).max())
    momentum, tried, last = 1.0, np.uint64(0), np.uint64(0)
    for iteration in range(1, max_iter + 1):
        if interrupted():
            break
        size, norm1 = _entries(point, support, values)
        negative_gradient(gram, correlations, support, values, size, gradient)
        if iteration % CHECK_EVERY == 0:
            squared = residual(atoms, y, support, size, values, remainder)
            if not np.isfinite(squared):
                return x, iteration, DIVERGED
            objective, gap = _duality_gap(
                squared, inner(y, remainder), np.abs(gradient).max(), norm1, current
            )
            if current == level and gap <= tol * objective:
                return point, iteration, CONVERGED
            pattern = _sign_pattern(support, values, size)
            may_be_it = size <= y.shape[0] and pattern == last and pattern != tried
            if current == level and may_be_it:
                tried = pattern
                if _solve_on_signs(gram, correlations, support, values, size, level, x):
                    return x, iteration, CONVERGED
            last = pattern
            if current > level and gap <= PATH_GAP * objective:
                current = max(level, PATH_FACTOR * current)
                momentum = 1.0
        following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum * momentum))
        weight = (momentum - 1.0) / following if accelerate else 0.0
        uphill = _move(point, x, gradient, step, step * current, weight)
        momentum = following
        if accelerate and uphill > 0.0:
            momentum = 1.0
            copy(x, point)
    return x, max_iter, ITERATION_LIMIT


@njit(cache=True)
def _entries(point, support, values):
    """Write the non-zeros of a vector, and return their number and the sum of their magnitudes."""
    size, norm1 = 0, 0.0
    for i in range(point.shape[0]):
        if point[i] != 0.0:
            support[size], values[size] = i, point[i]
            norm1 += abs(point[i])
            size += 1
    return size, norm1


@njit(cache=True)
def _move(point, x, gradient, step, shrink, weight):
    """Make a proximal step from `point` to the new x, and write the next point beyond it.

    Returns
    -------
    float
        Re (point - x_new)ᴴ(x_new - x): positive where the momentum points uphill.
    """
    uphill = 0.0
    for i in range(x.shape[0]):
        new = soft_threshold(point[i] + step * gradient[i], shrink)
        uphill += ((point[i] - new).conjugate() * (new - x[i])).real
        point[i] = new + weight * (new - x[i])
        x[i] = new
    return uphill


def _sign_pattern(support, values, size):
    """Return a 64-bit hash of a support with its signs; of complex numbers, that have none, 0."""
    return np.uint64(0) if values.dtype.kind == "c" else _real_pattern(support, values, size)


@overload(_sign_pattern)
def _pattern_of_type(support, values, size):
    if isinstance(values.dtype, types.Complex):
        return lambda support, values, size: np.uint64(0)
    return lambda support, values, size: _real_pattern(support, values, size)


@njit(cache=True)
def _real_pattern(support, values, size):
    signed = np.empty(size, dtype=np.intp)
    for j in range(size):
        signed[j] = 2 * support[j] + (values[j] > 0.0)
    return fingerprint(signed, size)


@imaged()
def _solve_on_signs(gram, correlations, support, values, size, level, x):
    """Write the minimiser that has these signs to `x` and say whether it is the minimiser.

    It is if its signs are the assumed ones and no other correlation exceeds lambda: the
    optimality conditions of the Lasso, which are sufficient.
    """
    solution = np.empty(size, values.dtype)
    for j in range(size):
        solution[j] = correlations[support[j]] - level * (values[j] / abs(values[j]))
    if not solve_normal(gram, support, size, solution):
        return False
    for j in range(size):
        if (solution[j].conjugate() * values[j]).real <= 0.0:
            return False
    gradient = np.empty_like(correlations)
    negative_gradient(gram, correlations, support, solution, size, gradient)
    if np.abs(gradient).max() > level * (1.0 + 1e-9):
        return False
    x[:] = 0.0
    for j in range(size):
        x[support[j]] = solution[j]
    return True


@njit(cache=True)
def _duality_gap(squared, projection, largest_correlation, norm1, level):
    """Return (objective, gap) from r'r, y'r, max|Aᵀr| and ||x||₁; the dual point is r scaled."""
    objective = 0.5 * squared + level * norm1
    scale = min(1.0, level / largest_correlation) if largest_correlation > 0.0 else 1.0
    return objective, objective - (scale * projection - 0.5 * scale * scale * squared)
