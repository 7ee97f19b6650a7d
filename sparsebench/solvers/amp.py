"""Approximate message passing."""

from __future__ import annotations

import dataclasses

import numpy as np
from numba import njit

from sparsebench.kernels.gram import correlate, squared_norm
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.images import images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.least_squares import residual
from sparsebench.kernels.selection import soft_slope, soft_threshold
from sparsebench.registry import algorithm
from sparsebench.solvers.denoising import scaled, universal
from sparsebench.solvers.endings import CONVERGED, DIVERGED, ITERATION_LIMIT, ended, read_off
from sparsebench.theory import l1_limit, minimax_threshold
from sparsebench.types import Dictionary, FloatArray, Result

# The threshold depends on m/n; from here on it is that of here, as it vanishes at m = n.
MOST_SAMPLED = 0.9
# A residual that has grown to this multiple of the first does not come back.
RUNAWAY = 1e3
# Least squares on the support found leaves at most the noise that was assumed, give or take.
EXPLAINED = 2.0


@algorithm(
    "amp",
    told=("k",),
    shares=("gram", "squared_norms"),
    family="message passing",
    complex_numbers=True,
    cost="2*m*n + 2*m*k",
    twin="sparsebench.batched.amp:amp",
    source="Donoho, Maleki and Montanari, PNAS 106, 2009, doi:10.1073/pnas.0909892106",
    version="2",
    matrix_free=True,
)
def amp(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    max_iter: int = 1000,
    tol: float = 1e-5,
    history: bool = False,
) -> Result:
    """Approximate message passing: x ← soft(x + Aᴴz; alpha tau), z ← y - A x + z ||x||₀ / m.

    On unit-norm columns (the others are scaled to it inside), with tau = ||z|| / sqrt(m) and the
    minimax alpha of m/n, or of m/n = .9 where m/n is larger. It reaches where basis pursuit does,
    on i.i.d. dictionaries; on coherent ones it diverges. In complex numbers soft shrinks moduli,
    and an entry of x counts as the mean derivative of soft along both axes, 1 - alpha tau / 2|u|
    at u (Maleki, Anitori, Yang and Baraniuk, IEEE Trans. Inf. Theory 59, 2013,
    doi:10.1109/TIT.2013.2252232). Ends when ||z|| has fallen to `tol`
    times ||y|| or x moves by less than `tol`, relatively, on unit-norm columns; the estimate is
    least squares on the k largest entries.

    Converged if that estimate fits y to `tol`, or leaves at most twice the noise ||z|| that the
    iteration ended with and k/m is below the Donoho-Tanner threshold, beyond which the theory has
    no fixed point to promise; a fixed point that is neither counts as the iteration limit.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    max_iter : int
    tol : float
        Relative residual, and relative change of x.
    history : bool
        Whether to return ``{"tau": array}``, the noise level that each iteration assumed.
    """
    m, n = dictionary.shape
    alpha = minimax_threshold(min(m / n, MOST_SAMPLED), dictionary.is_complex)
    norms = np.sqrt(dictionary.squared_norms)
    inverse_norms = np.divide(1.0, norms, out=np.zeros(n), where=norms > 0)
    x, taus, n_iter, code = message_passing(
        images_of(dictionary)[0], y, inverse_norms, alpha, max_iter, tol, np.empty((0, n), y.dtype)
    )
    x = read_off(dictionary, y, k, x)
    if code == CONVERGED:
        left = float(np.linalg.norm(y - dictionary.image(x)))
        zero, field = tol * float(np.linalg.norm(y)), dictionary.is_complex
        if left > explained(m, n, k, zero, float(taus[-1]), field):
            code = ITERATION_LIMIT
    result = ended(x, n_iter, code)
    return dataclasses.replace(result, history={"tau": taus}) if history else result


@algorithm(
    "amp-universal",
    shares=("gram", "squared_norms"),
    family="message passing",
    complex_numbers=True,
    cost="2*m*n + 2*m*k",
    source="Donoho, Maleki and Montanari, IEEE Inf. Theory Workshop 2010, "
    "doi:10.1109/ITWKSPS.2010.5503193, arXiv:0911.4219",
)
def amp_universal(
    dictionary: Dictionary,
    y: FloatArray,
    *,
    noise: float,
    factor: float = 1.0,
    max_iter: int = 1000,
    tol: float = 1e-8,
) -> Result:
    """Approximate message passing for the Lasso that the noise sets: theta ← lambda + theta d.

    As `amp`, with the threshold theta in place of alpha tau, d the sum of the slopes of soft over m
    (||x||₀ / m for real numbers), and lambda = noise · sqrt(2 log n), the universal threshold. This
    is how state evolution calibrates the threshold, and a fixed point is the Lasso's minimiser
    at lambda on unit-norm columns; x is returned as it is. On coherent dictionaries it diverges.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    noise : float
        Standard deviation of an entry of the noise; of complex numbers, of its modulus.
    factor : float
        As for `bpdn`.
    max_iter : int
    tol : float
        Relative change of x, on unit-norm columns, that counts as a fixed point.
    """
    n = dictionary.shape[1]
    level = universal(scaled(noise, factor), n, dictionary.is_complex)
    norms = np.sqrt(dictionary.squared_norms)
    inverse_norms = np.divide(1.0, norms, out=np.zeros(n), where=norms > 0)
    atoms = images_of(dictionary)[0]
    return ended(*_calibrated(atoms, y, inverse_norms, level, max_iter, tol))


@imaged()
def _calibrated(atoms, y, inverse_norms, level, max_iter, tol):
    """Return (x, iterations, ending) with thresholds level + (threshold before) · slope / m."""
    n, m = atoms.shape
    x, z, remainder = np.zeros(n, y.dtype), y.copy(), np.empty_like(y)
    support, values = np.empty(n, dtype=np.intp), np.empty(n, y.dtype)
    first = np.sqrt(squared_norm(y) / m)
    # The level of y seen as noise: from above, where the first x is zero or sparse.
    height = max(level, first * np.sqrt(2.0 * np.log(n + 1.0)))
    for t in range(max_iter):
        if interrupted():
            break
        if not np.sqrt(squared_norm(z) / m) <= RUNAWAY * first:
            return x, t, DIVERGED
        size, slope, moved, length = _denoise(
            x, correlate(atoms, z), inverse_norms, height, support, values
        )
        following = level + height * slope / m
        still = abs(following - height) <= tol * height
        if still and moved <= tol * tol * length:
            return x, t + 1, CONVERGED
        residual(atoms, y, support, size, values, remainder)
        for i in range(m):
            z[i] = remainder[i] + z[i] * slope / m
        height = following
    return x, max_iter, ITERATION_LIMIT


def explained(
    m: int, n: int, k: int, zero: float, tau: float, complex_numbers: bool = False
) -> float:
    """Return the largest residual norm of a converged estimate: `zero`, or the noise assumed."""
    promised = k < m * l1_limit(min(m / n, MOST_SAMPLED), complex_numbers)
    return max(zero, EXPLAINED * tau * m**0.5) if promised else zero


@imaged()
def message_passing(atoms, y, inverse_norms, alpha, max_iter, tol, iterates):
    """Return (x, tau of each iteration, iterations, ending).

    Also writes the first x_1, x_2, ... to the rows of `iterates`, shape (any, n).
    """
    n, m = atoms.shape
    x, z, taus = np.zeros(n, y.dtype), y.copy(), np.empty(max_iter)
    support, values = np.empty(n, dtype=np.intp), np.empty(n, y.dtype)
    remainder = np.empty_like(y)
    first = np.sqrt(squared_norm(y) / m)
    for t in range(max_iter):
        if interrupted():
            break
        tau = np.sqrt(squared_norm(z) / m)
        if tau <= tol * first:
            return x, taus[:t], t, CONVERGED
        if not tau <= RUNAWAY * first:
            return x, taus[:t], t, DIVERGED
        taus[t] = tau
        correlation = correlate(atoms, z)
        size, slope, moved, length = _denoise(
            x, correlation, inverse_norms, alpha * tau, support, values
        )
        if t < iterates.shape[0]:
            iterates[t] = x
        if moved <= tol * tol * length:
            return x, taus[: t + 1], t + 1, CONVERGED
        residual(atoms, y, support, size, values, remainder)
        for i in range(m):
            z[i] = remainder[i] + z[i] * slope / m
    return x, taus, max_iter, ITERATION_LIMIT


@njit(cache=True)
def _denoise(x, correlation, inverse_norms, height, support, values):
    """Soft-threshold x + its correlations, and write the entries that are left.

    Returns
    -------
    (size, slope, moved, length)
        Their number, the sum of the derivatives, and the squared norms of the change of x and of
        the new x.
    """
    size, slope, moved, length = 0, 0.0, 0.0, 0.0
    for j in range(x.shape[0]):
        scale = inverse_norms[j]  # x scale⁻¹ are the coefficients of the unit-norm columns
        if scale == 0.0:
            continue
        new = scale * soft_threshold(x[j] / scale + scale * correlation[j], height)
        change, unit = (new - x[j]) / scale, new / scale
        moved += (change * change.conjugate()).real
        length += (unit * unit.conjugate()).real
        x[j] = new
        if new != 0.0:
            support[size], values[size] = j, new
            slope += soft_slope(unit, height)
            size += 1
    return size, slope, moved, length
