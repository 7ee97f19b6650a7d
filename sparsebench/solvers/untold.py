"""The Lasso by cross-validation, and thresholding of what it leaves: told neither k nor noise."""

from __future__ import annotations

import numpy as np

from sparsebench.kernels.homotopy import lasso_path
from sparsebench.kernels.images import images_of
from sparsebench.registry import algorithm
from sparsebench.solvers.basis_pursuit import recorded_path
from sparsebench.solvers.denoising import universal
from sparsebench.solvers.endings import CONVERGED, ITERATION_LIMIT, ended, ended_on
from sparsebench.types import Dictionary, FloatArray, InputError, Result

# lambda is looked for between ||Aᵀy||∞ and this fraction of it, at so many values.
_SMALLEST, _VALUES = 1e-3, 100
# The median of |z| for z ~ N(0, 1).
_MEDIAN = 0.6744897501960817


@algorithm(
    "lasso-cv",
    shares=("gram",),
    family="convex",
    cost="2*n*k + 2*k**2",
    source="Stone, J. R. Stat. Soc. B 36, 1974, doi:10.1111/j.2517-6161.1974.tb00994.x; for the "
    "Lasso: Tibshirani, J. R. Stat. Soc. B 58, 1996, doi:10.1111/j.2517-6161.1996.tb02080.x",
)
def lasso_cv(
    dictionary: Dictionary, y: FloatArray, *, folds: int = 5, max_iter: int = 10_000
) -> Result:
    """Lasso by cross-validation: the lambda of least squared error on the rows left out.

    Row i is left out in fold i modulo `folds`; the path of the others is exact, and lambda, in
    proportion to the rows that are there, has 100 values from ||Aᵀy||∞ to a thousandth of it, in
    even steps of its logarithm. x is the minimiser for all rows, returned as it is.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    folds : int
        At least 2; at most m are made.
    max_iter : int
        Breakpoints of a path.
    """
    x, n_iter, reached = cross_validated_lasso(dictionary, y, folds, max_iter)
    return ended(x, n_iter, CONVERGED if reached else ITERATION_LIMIT)


def cross_validated_lasso(
    dictionary: Dictionary, y: FloatArray, folds: int, max_iter: int
) -> tuple[FloatArray, int, bool]:
    """Return (x, breakpoints, whether its path reached it) of the Lasso by cross-validation."""
    if folds < 2:
        raise InputError(f"folds must be at least 2, not {folds}")
    m, n = dictionary.shape
    if m == 1:
        return np.zeros(n), 0, True
    top = float(np.abs(dictionary.matrix.T @ y).max())
    levels = top * np.geomspace(1.0, _SMALLEST, _VALUES)
    errors, n_iter = np.zeros(levels.size), 0
    for fold in range(min(folds, m)):
        left = np.arange(m) % min(folds, m) == fold
        rest = Dictionary(dictionary.matrix[~left])
        own = levels * (1.0 - left.mean()) * np.ldexp(1.0, -rest.exponent)
        if rest.is_orthogonal_to(y[~left]):
            errors += float(y[left] @ y[left])
            continue
        lambdas, estimates = recorded_path(rest, y[~left], own[-1], max_iter)
        n_iter += lambdas.size
        start = float(np.abs(rest.matrix.T @ y[~left]).max())
        predicted = estimates @ dictionary.matrix[left].T * np.ldexp(1.0, -rest.exponent)
        # Between two breakpoints x is linear in lambda; where the path has ended it stays.
        places = np.append(start, lambdas)[::-1]
        images = np.vstack([np.zeros(int(left.sum())), predicted])[::-1]
        for j in range(images.shape[1]):
            errors += (y[left][j] - np.interp(own, places, images[:, j])) ** 2
    level = float(levels[np.argmin(errors)])
    if level >= top:
        return np.zeros(n), n_iter, True
    x, _, steps, last = lasso_path(*images_of(dictionary), y, level, False, max_iter)
    return x, n_iter + int(steps), bool(last <= level)


@algorithm(
    "debiased",
    shares=("gram", "squared_norms"),
    family="thresholding",
    cost="2*n*k + 2*k**2",
    source="Javanmard and Montanari, IEEE Trans. Inf. Theory 60, 2014, "
    "doi:10.1109/TIT.2014.2343629",
)
def debiased(
    dictionary: Dictionary, y: FloatArray, *, folds: int = 5, max_iter: int = 10_000
) -> Result:
    """Debiased thresholding: x + Aᵀ(y - A x) / (1 - ||x||₀ / m) of a Lasso, then a threshold.

    In units of unit-norm columns, with the x of `lasso-cv`. On i.i.d. dictionaries this is x* and
    noise of one level, which is that of its median modulus; what exceeds it by a factor of
    sqrt(2 log n) is kept, and fitted by least squares.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    folds : int
        As for `lasso-cv`.
    max_iter : int
        Breakpoints of a path.
    """
    m, n = dictionary.shape
    x, n_iter, reached = cross_validated_lasso(dictionary, y, folds, max_iter)
    norms = np.sqrt(dictionary.squared_norms)
    inverse = np.divide(1.0, norms, out=np.zeros(n), where=norms > 0)
    size = min(int(np.count_nonzero(x)), m - 1)
    step = inverse * (dictionary.matrix.T @ (y - dictionary.matrix @ x)) / (1.0 - size / m)
    unbiased: FloatArray = norms * x + step
    level = float(np.median(np.abs(unbiased))) / _MEDIAN
    kept = np.flatnonzero(np.abs(unbiased) > universal(level, n))
    if kept.size > m:
        kept = np.sort(np.argsort(-np.abs(unbiased), kind="stable")[:m])
    return ended_on(dictionary, y, kept, n_iter, CONVERGED if reached else ITERATION_LIMIT)
