"""Hard thresholding pursuit with a fixed step, and normalised."""

from __future__ import annotations

import numpy as np

from sparsebench.kernels.gram import (
    advance,
    copy,
    correlate,
    gram_quadratic,
    negative_gradient,
    squared_norm,
)
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.images import images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.least_squares import factor_room, least_squares, refined, residual
from sparsebench.kernels.selection import fingerprint, top_k
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, CYCLED, DIVERGED, ITERATION_LIMIT, ended
from sparsebench.solvers.steps import step_size
from sparsebench.types import Dictionary, FloatArray, Result

_SOURCE = "Foucart, SIAM J. Numer. Anal. 49, 2011, doi:10.1137/100806278"
_COST = "2*n*k + k**3/3"


@algorithm(
    "htp",
    family="thresholding",
    complex_numbers=True,
    shares=("gram",),
    cost=_COST,
    twin="sparsebench.batched.htp:htp",
    path="each",
    source=_SOURCE,
    matrix_free=True,
)
def htp(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    step: str = "1",
    max_iter: int = 1000,
    tol: float = 1e-10,
    start: FloatArray | None = None,
) -> Result:
    """Hard thresholding pursuit: S ← k largest of x + step · Aᵀ(y - A x), least squares on S.

    Ends when a support follows itself (converged) or comes back (a cycle: the next support
    depends on the last one only), and returns the iterate of smallest residual.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    step : str
        A multiple of one over the mean squared column norm, 1 on unit-norm columns; or ``c/L``
        for c / ||A||². The published 1.8/L reaches two thirds of the sparsity of the default.
    max_iter : int
    tol : float
        Relative residual that counts as zero.
    start : ndarray, shape (n,), optional
        Where to begin instead of zero; the residual returned is never above that of least squares
        on its support.
    """
    return _pursue(dictionary, y, k, step_size(step, dictionary), max_iter, tol, start)


@algorithm(
    "nhtp",
    family="thresholding",
    complex_numbers=True,
    shares=("gram",),
    cost=_COST,
    twin="sparsebench.batched.htp:nhtp",
    source=_SOURCE,
    matrix_free=True,
)
def nhtp(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    max_iter: int = 1000,
    tol: float = 1e-10,
    start: FloatArray | None = None,
) -> Result:
    """Normalised hard thresholding pursuit: the step is exact on a candidate support.

    The step is ||g_T||² / ||A g_T||² with g the negative gradient and T its k largest entries.
    (On the current support g is zero after least squares, and the ratio there is 0/0.) Ends as
    `htp` does.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    max_iter : int
    tol : float
        Relative residual that counts as zero.
    start : ndarray, shape (n,), optional
        As for `htp`.
    """
    return _pursue(dictionary, y, k, 0.0, max_iter, tol, start)


def _pursue(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    step: float,
    max_iter: int,
    tol: float,
    start: FloatArray | None,
) -> Result:
    atoms, gram = images_of(dictionary)
    x = np.zeros(atoms.shape[0], y.dtype) if start is None else start.copy()
    factor = factor_room(gram, k)
    support, n_iter, code, held = pursue(atoms, gram, y, k, step, max_iter, tol, x, factor)
    x = refined(atoms, gram, y, support, k, atoms.shape[0], factor, held)
    return ended(x, n_iter, code)


@imaged()
def pursue(atoms, gram, y, k, fixed_step, max_iter, tol, x, factor):
    """Return (best support, iterations, code, held) from x, which it overwrites.

    A `fixed_step` of 0 asks for the normalised one. `held` says whether `factor` ends as the
    Cholesky factor of the best support.
    """
    n = atoms.shape[0]
    correlations = correlate(atoms, y)
    energy = squared_norm(y)
    support, best_support = np.empty(k, dtype=np.intp), np.zeros(k, dtype=np.intp)
    candidate, ascent = np.empty(k, dtype=np.intp), np.empty(k, y.dtype)
    coefficients = np.empty(k, y.dtype)
    gradient, scratch, remainder = correlations.copy(), np.empty(n), np.empty_like(y)
    visited = np.empty(max_iter, dtype=np.uint64)
    best, held = np.inf, False
    if x.any():
        top_k(x, k, 0.0, scratch, best_support)
        for j in range(k):
            coefficients[j] = x[best_support[j]]
        negative_gradient(gram, correlations, best_support, coefficients, k, gradient)
        held = least_squares(atoms, gram, correlations, y, best_support, k, factor, coefficients)
        best = residual(atoms, y, best_support, k, coefficients, remainder)
        if best <= tol * tol * energy:
            return best_support, 0, CONVERGED, held
    for iteration in range(1, max_iter + 1):
        if interrupted():
            break
        step = fixed_step
        if step == 0.0:
            top_k(gradient, k, 0.0, scratch, candidate)
            for j in range(k):
                ascent[j] = gradient[candidate[j]]
            curvature = gram_quadratic(gram, candidate, ascent, k)
            if not curvature > 0.0:
                return best_support, iteration, CONVERGED, held  # the gradient is zero
            step = squared_norm(ascent) / curvature
        advance(step, gradient, x)
        if not np.isfinite(squared_norm(x)):
            return best_support, iteration, DIVERGED, held
        top_k(x, k, 0.0, scratch, support)
        visited[iteration - 1] = fingerprint(support, k)
        for last in range(iteration - 2, -1, -1):
            if visited[last] == visited[iteration - 1]:
                code = CONVERGED if last == iteration - 2 else CYCLED
                return best_support, iteration, code, held
        sound = least_squares(atoms, gram, correlations, y, support, k, factor, coefficients)
        squared = residual(atoms, y, support, k, coefficients, remainder)
        held = sound and squared < best
        if squared < best:
            best = squared
            copy(support, best_support)
            if squared <= tol * tol * energy:
                return best_support, iteration, CONVERGED, held
        negative_gradient(gram, correlations, support, coefficients, k, gradient)
        x[:] = 0.0
        for j in range(k):
            x[support[j]] = coefficients[j]
    return best_support, max_iter, ITERATION_LIMIT, held
