"""Conjugate gradient iterative hard thresholding."""

from __future__ import annotations

import numpy as np

from sparsebench.kernels.gram import (
    advance,
    correlate,
    diagonal,
    dot,
    multiply,
    negative_gradient,
    squared_norm,
)
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.images import images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.least_squares import residual
from sparsebench.kernels.selection import top_k
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, DIVERGED, ITERATION_LIMIT, ended_on
from sparsebench.solvers.iht import _relative_change
from sparsebench.types import Dictionary, FloatArray, Result

# Below this fraction of sum v_j² ||a_j||², ||A_T v||² has lost digits in the Gram matrix.
_CANCELLED = 1e-4


@algorithm(
    "cgiht",
    shares=("gram", "mean_squared_norm"),
    family="thresholding",
    complex_numbers=True,
    cost="2*n*k + 4*k**2",
    source="Blanchard, Tanner and Wei, Inf. Inference 4, 2015, doi:10.1093/imaiai/iav011",
    matrix_free=True,
)
def cgiht(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    start: FloatArray | None = None,
    restart: bool = False,
    max_iter: int = 1000,
    tol: float = 1e-10,
    settled: float = 1e-8,
) -> Result:
    """Conjugate gradient iterative hard thresholding: x ← H_k(x + alpha p), p ← r + beta p.

    r = Aᵀ(y - A x), and T is the support of x. beta makes p_T conjugate to the last direction
    there, -<A r_T, A p_T> / ||A p_T||² (zero at first), and alpha = <r_T, p_T> / ||A p_T||² is
    exact on T. The first x is H_k(Aᵀy) over the mean squared column norm: the published one on
    unit-norm columns, and free of scale. On coherent dictionaries alpha may be negative and x
    wander off, so the x of smallest residual is kept; ends with least squares on its support.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    start : ndarray, shape (n,), optional
        The first x; T is filled up with the largest of |r| where it has fewer than k non-zeros.
    restart : bool
        Whether beta is zero whenever T has changed: the paper's "CGIHT restarted".
    max_iter : int
    tol : float
        Relative residual that counts as zero.
    settled : float
        Relative change of x that counts as a fixed point.
    """
    atoms, gram = images_of(dictionary)
    x = np.zeros(atoms.shape[0], y.dtype) if start is None else start.copy()
    scale = 1 / dictionary.mean_squared_norm
    support, n_iter, code = _cgiht(atoms, gram, y, k, x, scale, restart, max_iter, tol, settled)
    return ended_on(dictionary, y, support, n_iter, code)


@imaged()
def _cgiht(atoms, gram, y, k, x, scale, restart, max_iter, tol, settled):
    """Return (best support, iterations, code) from x, which it overwrites."""
    n = atoms.shape[0]
    correlations = correlate(atoms, y)
    energy = squared_norm(y)
    support, old_support = np.empty(k, dtype=np.intp), np.empty(k, dtype=np.intp)
    coefficients, old_coefficients = np.empty(k, y.dtype), np.empty(k, y.dtype)
    gradient, direction = np.empty_like(correlations), np.zeros_like(correlations)
    ascent, conjugate, scratch = np.empty(k, y.dtype), np.empty(k, y.dtype), np.empty(n)
    image = np.empty_like(y)
    if x.any():
        _first_support(gram, correlations, x, k, scratch, gradient, support)
    else:
        top_k(correlations, k, 0.0, scratch, support)
        for j in range(k):
            x[support[j]] = scale * correlations[support[j]]
    level, best, best_support = 0.0, np.inf, support.copy()
    for iteration in range(max_iter + 1):
        if interrupted():
            break
        for j in range(k):
            coefficients[j] = x[support[j]]
        negative_gradient(gram, correlations, support, coefficients, k, gradient)
        if _may_improve(gram, correlations, gradient, energy, support, coefficients, k, best):
            squared = residual(atoms, y, support, k, coefficients, image)
            if squared < best:
                best, best_support = squared, support.copy()
                if squared <= tol * tol * energy:
                    return best_support, iteration, CONVERGED
        if iteration > 0:
            change = _relative_change(support, coefficients, old_support, old_coefficients, k)
            if change <= settled:
                return best_support, iteration, CONVERGED
        if iteration == max_iter:
            break
        beta = 0.0
        for j in range(k):
            ascent[j], conjugate[j] = gradient[support[j]], direction[support[j]]
        if not restart or np.array_equal(support, old_support):
            bottom, cross = _products(atoms, gram, support, conjugate, ascent, k, image)
            if bottom > 0.0:
                beta = -cross / bottom
        multiply(beta, direction, direction)
        advance(1.0, gradient, direction)
        for j in range(k):
            conjugate[j] = direction[support[j]]
        bottom, _ = _products(atoms, gram, support, conjugate, ascent, k, image)
        if not bottom > 0.0:
            return best_support, iteration, CONVERGED  # the gradient vanishes on the support
        alpha = dot(conjugate, ascent) / bottom
        multiply(alpha, direction, x)
        for j in range(k):
            x[support[j]] += coefficients[j]
        if not np.isfinite(squared_norm(x)):
            return best_support, iteration, DIVERGED
        support, old_support = old_support, support
        coefficients, old_coefficients = old_coefficients, coefficients
        level = top_k(x, k, 0.9 * level, scratch, support)
    return best_support, max_iter, ITERATION_LIMIT


@imaged()
def _may_improve(gram, correlations, gradient, energy, support, coefficients, k, best):
    """Whether ||y - A x||² = yᴴy - xᴴ(Aᴴy + gradient), less its rounding error, is below `best`."""
    estimate, rounding = energy, 1e-10 * energy
    for j in range(k):
        value = coefficients[j]
        fall = value.conjugate() * (correlations[support[j]] + gradient[support[j]])
        estimate -= fall.real
        rounding += (1e-14 * k * value * value.conjugate() * diagonal(gram, support[j])).real
    return estimate - rounding < best


@imaged()
def _first_support(gram, correlations, x, k, scratch, gradient, support):
    """Write the support of a start, filled up to k with the largest of its gradient."""
    first = np.flatnonzero(x)
    negative_gradient(gram, correlations, first, x[first], first.size, gradient)
    gradient[first] = np.inf
    top_k(gradient, k, 0.0, scratch, support)


@imaged(fastmath={"reassoc", "contract"})
def _products(atoms, gram, support, v, w, k, image):
    """Return ||A_T v||² and (A_T v)ᴴ(A_T w), from A where the Gram matrix would cancel."""
    own, cross, size = 0.0, 0.0, 0.0
    for i in range(k):
        row = gram[support[i]]
        total = 0.0
        for j in range(k):
            total += row[support[j]].conjugate() * v[j]
        own += (v[i].conjugate() * total).real
        cross += w[i] * total.conjugate()
        size += (v[i].conjugate() * v[i] * row[support[i]]).real
    if size > 0.0 and own <= _CANCELLED * size:
        image[:] = 0.0
        for j in range(k):
            image += v[j] * atoms[support[j]]
        own, cross = squared_norm(image), 0.0
        for j in range(k):
            cross += w[j] * dot(image, atoms[support[j]])
    return own, cross
