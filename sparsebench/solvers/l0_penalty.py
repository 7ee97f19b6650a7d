"""Iterative hard thresholding for the l0-penalised problem, read off as a support of size k."""

from __future__ import annotations

import numpy as np
from numba import njit

from sparsebench.criteria import ROUNDING
from sparsebench.kernels.gram import copy, correlate, negative_gradient, squared_norm
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.images import images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.registry import algorithm
from sparsebench.solvers.denoising import scaled, universal
from sparsebench.solvers.endings import (
    CONVERGED,
    DIVERGED,
    ITERATION_LIMIT,
    ended,
    fitted,
    looser_than,
    read_off,
)
from sparsebench.solvers.iht import RISE, solves, squared_residual
from sparsebench.solvers.steps import safe_step, step_size
from sparsebench.types import Dictionary, FloatArray, InputError, Result

# Continuation: lambda falls by this factor once x moves by less than this fraction of itself.
_PATH_FACTOR = 0.5
_PATH_SETTLED = 1e-2


@algorithm(
    "iht-l0",
    told=("k", "lambda"),
    shares=("gram", "squared_spectral_norm"),
    family="thresholding",
    complex_numbers=True,
    cost="2*n*k",
    source="Blumensath and Davies, J. Fourier Anal. Appl. 14, 2008, doi:10.1007/s00041-008-9035-z",
    version="2",
    matrix_free=True,
    revised=looser_than(1e-4),
)
def iht_l0(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    start: FloatArray | None = None,
    lam: float = 3e-3,
    step: str = "1.8/L",
    max_iter: int = 1000,
    tol: float = 1e-10,
    settled: float = 1e-8,
) -> Result:
    """Iterative hard thresholding for a penalty: x ← H(x + step · Aᵀ(y - A x)), H fixed in height.

    For ½||y - A x||² + lambda ||x||_0. H keeps what exceeds sqrt(2 lambda step), so that from
    x = 0 nothing is kept at lambda >= ½ step ||Aᵀy||∞². lambda is the fraction `lam` of that,
    approached from above by factors of a half: without these stages the first x is dense and few
    supports are found. The objective falls for steps up to 1 / ||A||²; the default, longer one
    finds as many in half the iterations, and where it would raise the objective, that iteration
    is made again with 1 / ||A||²: no x is worse than the one before. The support is that of the k
    largest |x|, and the estimate returned is least squares on it.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    start : ndarray, shape (n,), optional
        The first x; lambda then has its last value at once, unless the start is zero.
    lam : float
        lambda as a fraction of ½ step ||Aᵀy||∞², 0 < lam < 1.
    step : str
        ``c/L`` with c < 2 for c / ||A||², or a multiple of one over the mean squared column norm.
    max_iter : int
        Over all values of lambda.
    tol : float
        Relative residual that counts as zero.
    settled : float
        Relative change of x that counts as a fixed point.
    """
    if not 0 < lam < 1:
        raise InputError(f"lam is a fraction of ½ step ||Aᵀy||∞² in (0, 1), not {lam}")
    size = step_size(step, dictionary)
    top = 0.5 * size * float(np.abs(correlate(images_of(dictionary)[0], y)).max()) ** 2
    x, n_iter, code = l0_penalised(dictionary, y, lam * top, size, max_iter, tol, settled, start)
    return ended(x if code == DIVERGED else read_off(dictionary, y, k, x), n_iter, code)


@algorithm(
    "iht-universal",
    shares=("gram", "squared_norms", "squared_spectral_norm"),
    family="thresholding",
    complex_numbers=True,
    cost="2*n*k",
    source="Blumensath and Davies, J. Fourier Anal. Appl. 14, 2008, doi:10.1007/s00041-008-9035-z; "
    "its penalty: Foster and George, Ann. Statist. 22, 1994, doi:10.1214/aos/1176325766",
    revised=looser_than(1e-4),
)
def iht_universal(
    dictionary: Dictionary,
    y: FloatArray,
    *,
    noise: float,
    factor: float = 1.0,
    step: str = "1.8/L",
    max_iter: int = 1000,
    tol: float = 1e-10,
    settled: float = 1e-8,
) -> Result:
    """Iterative hard thresholding for the penalty that the noise sets: an atom must beat chance.

    As `iht-l0`, with ½||y - A x||² + lambda ||x||_0 and 2 lambda the square of the universal
    threshold noise · sqrt(2 log n): what an atom takes from ||y - A x||² must exceed that. The
    estimate is least squares on the support.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    noise : float
        Standard deviation of an entry of the noise; of complex numbers, of its modulus.
    factor : float
        As for `bpdn`.
    step : str
        As for `iht-l0`.
    max_iter : int
        Over all values of lambda.
    tol : float
        Relative residual that counts as zero.
    settled : float
        Relative change of x that counts as a fixed point.
    """
    n, field = dictionary.shape[1], dictionary.is_complex
    noise = scaled(noise, factor)
    if y.size * noise * noise <= 4 * ROUNDING * squared_norm(y):
        raise InputError(
            "iht-universal keeps every atom where there is no noise, since its threshold is 0: use "
            "lasso-universal, sbl-noise, or a rule such as omp[k=noise]"
        )
    level = 0.5 * universal(noise, n, field) ** 2
    size = step_size(step, dictionary)
    x, n_iter, code = l0_penalised(dictionary, y, level, size, max_iter, tol, settled)
    return ended(x if code == DIVERGED else fitted(dictionary, y, np.flatnonzero(x)), n_iter, code)


def l0_penalised(
    dictionary: Dictionary,
    y: FloatArray,
    level: float,
    step: float,
    max_iter: int,
    tol: float,
    settled: float,
    start: FloatArray | None = None,
) -> tuple[FloatArray, int, int]:
    """Return (x, iterations, ending) for min ½||y - A x||² + level ||x||_0."""
    x = np.zeros(dictionary.shape[1], y.dtype) if start is None else start.copy()
    safe = safe_step(step, dictionary)
    return _penalised(*images_of(dictionary), y, level, step, safe, max_iter, tol, settled, x)


@imaged()
def _penalised(atoms, gram, y, level, step, safe, max_iter, tol, settled, x):
    """Return (x, iterations, code) from x, which it overwrites.

    Where a step longer than `safe` raises the objective, that iteration is made again with `safe`.
    """
    n = atoms.shape[0]
    correlations = correlate(atoms, y)
    energy = squared_norm(y)
    gradient, new_gradient = np.empty_like(correlations), np.empty_like(correlations)
    remainder = np.empty_like(y)
    current = level
    if not x.any():
        current = max(level, _PATH_FACTOR * 0.5 * step * np.abs(correlations).max() ** 2)
    first = np.flatnonzero(x)
    support, values, size = np.empty(n, dtype=np.intp), np.empty(n, y.dtype), first.size
    copy(first, support)
    copy(x[first], values)
    negative_gradient(gram, correlations, support, values, size, gradient)
    squared = squared_residual(correlations, gradient, energy, support, values, size)
    old_size, pace = size, step
    for iteration in range(1, max_iter + 1):
        if interrupted():
            break
        height = np.sqrt(2.0 * current * pace)
        size, same, change, length = _kept(x, pace, gradient, height, support, values)
        if not np.isfinite(length):
            return x, iteration, DIVERGED
        negative_gradient(gram, correlations, support, values, size, new_gradient)
        new_squared = squared_residual(correlations, new_gradient, energy, support, values, size)
        rise = 0.5 * (new_squared - squared) + current * (size - old_size)
        if pace > safe and rise > RISE * energy:
            pace = safe
            continue
        pace, squared, old_size = step, new_squared, size
        gradient, new_gradient = new_gradient, gradient
        x[:] = 0.0
        for j in range(size):
            x[support[j]] = values[j]
        if solves(atoms, y, squared, energy, support, values, size, tol, remainder):
            return x, iteration, CONVERGED
        if current == level and same and change <= settled * settled * length:
            return x, iteration, CONVERGED
        if same and change <= _PATH_SETTLED * _PATH_SETTLED * length:
            current = max(level, _PATH_FACTOR * current)
    return x, max_iter, ITERATION_LIMIT


@njit(cache=True)
def _kept(x, pace, gradient, height, support, values):
    """Write the entries of x + pace · gradient above `height`, and where they are.

    Returns
    -------
    (size, same, change, length)
        Their number, whether they are where x has its own, and the squared norms of the change of x
        and of the new x.
    """
    change, length, same, size = 0.0, 0.0, True, 0
    for i in range(x.shape[0]):
        old = x[i]
        new = old + pace * gradient[i]
        if abs(new) <= height:
            new = 0.0
        else:
            support[size], values[size] = i, new
            size += 1
        same &= (old != 0.0) == (new != 0.0)
        change += ((new - old).conjugate() * (new - old)).real
        length += (new.conjugate() * new).real
    return size, same, change, length
