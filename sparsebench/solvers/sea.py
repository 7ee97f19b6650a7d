"""The support exploration algorithm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sparsebench.kernels.gram import (
    advance,
    copy,
    correlate,
    diagonal,
    negative_gradient,
    squared_norm,
)
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.images import images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.least_squares import factor_room, least_squares, residual
from sparsebench.kernels.selection import fingerprint, top_k
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, DIVERGED, ITERATION_LIMIT, ended_on
from sparsebench.solvers.steps import step_size
from sparsebench.types import Dictionary, FloatArray, Result


@algorithm(
    "sea",
    family="exploration",
    complex_numbers=True,
    shares=("gram",),
    cost="2*n*k + k**3/3",
    twin="sparsebench.batched.sea:sea",
    source="Mohamed, Malgouyres, Emiya and Chaux, ICML 2024, arXiv:2301.13584",
    matrix_free=True,
)
def sea(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    step: str = "1",
    max_iter: int = 1000,
    tol: float = 1e-10,
    start: FloatArray | None = None,
    history: bool = False,
) -> Result:
    """Support exploration (SEA_0 from zero): a dense vector X gathers the gradients on its support.

    S = k largest of |X|, x = least squares on S, X ← X + step · Aᵀ(y - A x). X is never
    thresholded. Returns the x of smallest residual. From X = 0 the step changes nothing; the
    first support is then {0, ..., k-1} by the tie rule. From another algorithm's estimate
    (``omp+sea``, ``els+sea``) the step decides how soon its support is left, and the residual
    is never above the start's.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    step : str
        A multiple of one over the mean squared column norm, or ``c/L`` for c / ||A||².
    max_iter : int
    tol : float
        Relative residual that counts as zero.
    start : ndarray, shape (n,), optional
        X to begin with instead of zero.
    history : bool
        Return in ``history``, at each iteration, "best_residual" (relative to ||y||) and
        "supports_explored" (distinct supports so far).
    """
    atoms, gram = images_of(dictionary)
    size = step_size(step, dictionary)
    exploration = np.zeros(atoms.shape[0], y.dtype) if start is None else start.copy()
    steps = max_iter if history else 0
    residuals, prints = np.empty(steps), np.empty(steps, dtype=np.uint64)
    support, n_iter, code = _sea(
        atoms, gram, y, k, size, max_iter, tol, exploration, residuals, prints
    )
    result = ended_on(dictionary, y, support, n_iter, code)
    if not history:
        return result
    new = np.zeros(n_iter, dtype=np.int64)
    new[np.unique(prints[:n_iter], return_index=True)[1]] = 1
    relative = np.sqrt(residuals[:n_iter]) / np.linalg.norm(y)
    diagnostics = {"best_residual": relative, "supports_explored": np.cumsum(new)}
    return replace(result, history=diagnostics)


@imaged()
def _sea(atoms, gram, y, k, step, max_iter, tol, exploration, residuals, prints):
    """Return (best support, iterations, code) from X, the `exploration`, which it overwrites."""
    n = atoms.shape[0]
    correlations = correlate(atoms, y)
    energy = squared_norm(y)
    support, best_support = np.empty(k, dtype=np.intp), np.zeros(k, dtype=np.intp)
    coefficients, factor = np.empty(k, y.dtype), factor_room(gram, k)
    gradient, scratch, remainder = np.empty_like(correlations), np.empty(n), np.empty_like(y)
    threshold, best = 0.0, np.inf
    for iteration in range(1, max_iter + 1):
        if interrupted():
            break
        threshold = top_k(exploration, k, 0.9 * threshold, scratch, support)
        least_squares(atoms, gram, correlations, y, support, k, factor, coefficients)
        if _may_improve(gram, correlations, energy, support, coefficients, k, best):
            squared = residual(atoms, y, support, k, coefficients, remainder)
            if squared < best:
                best = squared
                copy(support, best_support)
        if residuals.size:
            residuals[iteration - 1] = best
            prints[iteration - 1] = fingerprint(support, k)
        if best <= tol * tol * energy:
            return best_support, iteration, CONVERGED
        negative_gradient(gram, correlations, support, coefficients, k, gradient)
        advance(step, gradient, exploration)
        if not np.isfinite(squared_norm(exploration)):
            return best_support, iteration, DIVERGED
    return best_support, max_iter, ITERATION_LIMIT


@imaged()
def _may_improve(gram, correlations, energy, support, coefficients, k, best):
    """Whether the residual may be below `best`, by yᴴy - xᴴAᴴy less its largest rounding error.

    Most supports are far from the best one, so that the residual itself is rarely computed.
    """
    estimate, rounding = energy, 1e-10 * energy
    for j in range(k):
        value = coefficients[j]
        estimate -= (value.conjugate() * correlations[support[j]]).real
        rounding += (1e-14 * k * value * value.conjugate() * diagonal(gram, support[j])).real
    return estimate - rounding < best
