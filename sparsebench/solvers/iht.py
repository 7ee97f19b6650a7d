"""Iterative hard thresholding with a fixed step, and normalised."""

from __future__ import annotations

import numpy as np
from numba import njit

from sparsebench.kernels.gram import (
    correlate,
    gram_quadratic,
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
from sparsebench.solvers.endings import CONVERGED, DIVERGED, ITERATION_LIMIT, ended_on, looser_than
from sparsebench.solvers.steps import safe_step, step_size
from sparsebench.types import Dictionary, FloatArray, InputError, Result

# A residual or an objective rises where it does by more than this fraction of ||y||², its rounding.
RISE = 1e-12


@algorithm(
    "iht",
    family="thresholding",
    complex_numbers=True,
    shares=("gram", "squared_spectral_norm"),
    cost="2*n*k",
    twin="sparsebench.batched.iht:iht",
    path="each",
    source="Blumensath and Davies, Appl. Comput. Harmon. Anal. 27, 2009, "
    "doi:10.1016/j.acha.2009.04.002",
    version="2",
    matrix_free=True,
    revised=looser_than(1e-4),
)
def iht(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    step: str = "1.8/L",
    max_iter: int = 1000,
    tol: float = 1e-10,
    settled: float = 1e-8,
    start: FloatArray | None = None,
) -> Result:
    """Iterative hard thresholding: x ← H_k(x + step · Aᵀ(y - A x)) from x = 0.

    Ends with least squares on the last support, so that estimates are compared by their supports
    and not by the digits that a linear convergence had still to gain. A step beyond 1/||A||² may
    raise the residual, and cycle (on an orthonormal basis, 1.8/L does): where it would, that
    iteration is made again with 1/||A||², which cannot. Steps from 2/||A||² on may diverge.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    step : str
        ``c/L`` for c / ||A||², or a multiple of one over the mean squared column norm.
    max_iter : int
    tol : float
        Relative residual that counts as zero.
    settled : float
        Relative change of x that counts as a fixed point.
    start : ndarray, shape (n,), optional
        Where to begin instead of zero.
    """
    atoms, gram = images_of(dictionary)
    size = step_size(step, dictionary)
    x = np.zeros(atoms.shape[0], y.dtype) if start is None else start.copy()
    safe = safe_step(size, dictionary)
    support, n_iter, code = threshold(atoms, gram, y, k, size, safe, max_iter, tol, settled, x)
    return ended_on(dictionary, y, support, n_iter, code)


@algorithm(
    "niht",
    family="thresholding",
    complex_numbers=True,
    shares=("gram",),
    cost="2*n*k + 2*k**2",
    twin="sparsebench.batched.iht:niht",
    source="Blumensath and Davies, IEEE J. Sel. Top. Signal Process. 4, 2010, "
    "doi:10.1109/JSTSP.2010.2042411",
    matrix_free=True,
    revised=looser_than(1e-4),
)
def niht(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    max_iter: int = 1000,
    tol: float = 1e-10,
    settled: float = 1e-8,
    c: float = 0.01,
    kappa: float = 2.0,
) -> Result:
    """Normalised iterative hard thresholding: the step is exact on the current support.

    The step is ||g_S||² / ||A g_S||² with g the negative gradient; when the support changes, it
    is divided by kappa (1 - c) until it is at most (1 - c) ||d||² / ||A d||² for the move d.
    Ends with least squares on the last support.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    max_iter : int
    tol : float
        Relative residual that counts as zero.
    settled : float
        Relative change of x that counts as a fixed point.
    c, kappa : float
        Line-search constants, 0 < c < 1 and kappa > 1 / (1 - c).
    """
    if not (0 < c < 1 and kappa * (1 - c) > 1):
        raise InputError(f"niht needs 0 < c < 1 and kappa > 1 / (1 - c), not c = {c}, {kappa=}")
    support, n_iter, code = _niht(*images_of(dictionary), y, k, max_iter, tol, settled, c, kappa)
    return ended_on(dictionary, y, support, n_iter, code)


@imaged()
def threshold(atoms, gram, y, k, step, safe, max_iter, tol, settled, x):
    """Return (last support, iterations, code) from x, which it overwrites.

    Where a step longer than `safe` raises the residual, that iteration is made again with `safe`.
    """
    n = atoms.shape[0]
    correlations = correlate(atoms, y)
    energy = squared_norm(y)
    support, old_support = np.empty(k, dtype=np.intp), np.zeros(k, dtype=np.intp)
    coefficients, old_coefficients = np.zeros(k, y.dtype), np.zeros(k, y.dtype)
    gradient, new_gradient = correlations.copy(), np.empty_like(correlations)
    scratch, remainder = np.empty(n), np.empty_like(y)
    level, squared, pace = 0.0, energy, step
    if x.any():
        top_k(x, k, 0.0, scratch, old_support)
        for j in range(k):
            old_coefficients[j] = x[old_support[j]]
        negative_gradient(gram, correlations, old_support, old_coefficients, k, gradient)
        squared = squared_residual(correlations, gradient, energy, old_support, old_coefficients, k)
    for iteration in range(1, max_iter + 1):
        if interrupted():
            break
        multiply(pace, gradient, x)
        for j in range(k):
            x[old_support[j]] += old_coefficients[j]
        if not np.isfinite(squared_norm(x)):
            return old_support, iteration, DIVERGED
        level = top_k(x, k, 0.9 * level, scratch, support)
        for j in range(k):
            coefficients[j] = x[support[j]]
        negative_gradient(gram, correlations, support, coefficients, k, new_gradient)
        new_squared = squared_residual(correlations, new_gradient, energy, support, coefficients, k)
        if pace > safe and new_squared - squared > RISE * energy:
            pace = safe
            continue
        pace, squared = step, new_squared
        gradient, new_gradient = new_gradient, gradient
        if solves(atoms, y, squared, energy, support, coefficients, k, tol, remainder):
            return support, iteration, CONVERGED
        if _relative_change(support, coefficients, old_support, old_coefficients, k) <= settled:
            return support, iteration, CONVERGED
        support, old_support = old_support, support
        coefficients, old_coefficients = old_coefficients, coefficients
    return old_support, max_iter, ITERATION_LIMIT


@imaged()
def _niht(atoms, gram, y, k, max_iter, tol, settled, c, kappa):
    n = atoms.shape[0]
    correlations = correlate(atoms, y)
    energy = squared_norm(y)
    support, old_support = np.empty(k, dtype=np.intp), np.empty(k, dtype=np.intp)
    coefficients, old_coefficients = np.zeros(k, y.dtype), np.zeros(k, y.dtype)
    gradient, x, ascent = correlations.copy(), np.zeros(n, y.dtype), np.empty(k, y.dtype)
    scratch, remainder = np.empty(n), np.empty_like(y)
    move, moved = np.empty(2 * k, y.dtype), np.empty(2 * k, dtype=np.intp)
    top_k(correlations, k, 0.0, scratch, old_support)
    for iteration in range(1, max_iter + 1):
        if interrupted():
            break
        for j in range(k):
            ascent[j] = gradient[old_support[j]]
        curvature = gram_quadratic(gram, old_support, ascent, k)
        if not curvature > 0.0:
            return old_support, iteration, CONVERGED  # the gradient vanishes on the support
        step = squared_norm(ascent) / curvature
        while True:
            multiply(step, gradient, x)
            for j in range(k):
                x[old_support[j]] += old_coefficients[j]
            if not np.isfinite(squared_norm(x)):
                return old_support, iteration, DIVERGED
            top_k(x, k, 0.0, scratch, support)
            for j in range(k):
                coefficients[j] = x[support[j]]
            if np.array_equal(support, old_support):
                break
            count = _difference(
                support, coefficients, old_support, old_coefficients, k, moved, move
            )
            curvature = gram_quadratic(gram, moved, move, count)
            length = squared_norm(move[:count])
            if step * curvature <= (1.0 - c) * length:
                break
            step /= kappa * (1.0 - c)
        negative_gradient(gram, correlations, support, coefficients, k, gradient)
        squared = squared_residual(correlations, gradient, energy, support, coefficients, k)
        if solves(atoms, y, squared, energy, support, coefficients, k, tol, remainder):
            return support, iteration, CONVERGED
        if _relative_change(support, coefficients, old_support, old_coefficients, k) <= settled:
            return support, iteration, CONVERGED
        support, old_support = old_support, support
        coefficients, old_coefficients = old_coefficients, coefficients
    return old_support, max_iter, ITERATION_LIMIT


@njit(cache=True)
def squared_residual(correlations, gradient, energy, support, coefficients, k):
    """Return ||y - A x||² = yᴴy - xᴴAᴴy - xᴴg, real parts, with g the negative gradient at x."""
    squared = energy
    for j in range(k):
        value = coefficients[j].conjugate()
        squared -= (value * (correlations[support[j]] + gradient[support[j]])).real
    return squared


@imaged()
def solves(atoms, y, squared, energy, support, coefficients, k, tol, remainder):
    """Whether ||y - A x|| <= tol ||y||; the residual itself is computed only where it may be so.

    Otherwise `squared`, that of `squared_residual`, is exact enough.
    """
    if squared > max(1e-8, 1.01 * tol * tol) * energy:
        return False
    return residual(atoms, y, support, k, coefficients, remainder) <= tol * tol * energy


@njit(cache=True)
def _relative_change(support, coefficients, old_support, old_coefficients, k):
    """Return ||x - x_old|| / ||x||, infinite where the supports differ."""
    change, size = 0.0, 0.0
    for j in range(k):
        if support[j] != old_support[j]:
            return np.inf
        moved = coefficients[j] - old_coefficients[j]
        change += (moved.conjugate() * moved).real
        size += (coefficients[j].conjugate() * coefficients[j]).real
    return np.sqrt(change / size) if size > 0.0 else 0.0


@njit(cache=True)
def _difference(support, coefficients, old_support, old_coefficients, k, indices, values):
    """Write the entries of x - x_old and return their number; both supports are sorted."""
    i, j, count = 0, 0, 0
    while i < k or j < k:
        if j == k or (i < k and support[i] < old_support[j]):
            indices[count], values[count] = support[i], coefficients[i]
            i += 1
        elif i == k or support[i] > old_support[j]:
            indices[count], values[count] = old_support[j], -old_coefficients[j]
            j += 1
        else:
            indices[count] = support[i]
            values[count] = coefficients[i] - old_coefficients[j]
            i += 1
            j += 1
        count += 1
    return count
