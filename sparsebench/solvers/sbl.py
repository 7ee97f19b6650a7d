"""Sparse Bayesian learning."""

from __future__ import annotations

import numpy as np
import scipy

from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, ITERATION_LIMIT, ended, read_off
from sparsebench.types import Dictionary, FloatArray, InputError, IntArray, Result

# In units of the mean square of y. Below the smallest a factorisation loses its digits.
_FIRST_NOISE = 1e-4
_SMALLEST_NOISE = 1e-10


@algorithm(
    "sbl",
    told=("k",),
    shares=("gram", "squared_norms"),
    family="Bayesian",
    cost="2*m**2*n + m**3/3",
    source="Tipping, J. Mach. Learn. Res. 1, 2001, doi:10.1162/15324430152748236; Wipf and Rao, "
    "IEEE Trans. Signal Process. 52, 2004, doi:10.1109/TSP.2004.831016",
)
def sbl(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    max_iter: int = 500,
    tol: float = 1e-4,
    prune: float = 1e-5,
) -> Result:
    """Sparse Bayesian learning: x ~ N(0, diag(gamma)), gamma and the noise by EM on the evidence.

    gamma_i ← mu_i² + Sigma_ii with mu, Sigma the posterior mean and covariance of x; likewise
    noise ← E||y - A x||² / m, from 1e-4 down to at least 1e-10 of the mean square of y. Atoms
    whose gamma falls below `prune` times the largest are dropped. Returns least squares on the
    k largest |mu|.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    max_iter : int
    tol : float
        Largest change of a gamma, relative to the largest gamma, that counts as converged.
    prune : float
        A fraction of the largest gamma: the square of the smallest |x| that can be found,
        relative to the largest.
    """
    if not 0 <= prune < 1:
        raise InputError(f"prune is a fraction in [0, 1), not {prune}")
    means, _, _, n_iter, code = maximise_evidence(dictionary, y, max_iter, tol, prune)
    return ended(read_off(dictionary, y, k, means), n_iter, code)


def maximise_evidence(
    dictionary: Dictionary, y: FloatArray, max_iter: int, tol: float, prune: float
) -> tuple[FloatArray, FloatArray, float, int, int]:
    """Return (means, variances, noise variance, iterations, ending) of the EM iteration."""
    m, n = dictionary.shape
    power = float(y @ y) / m
    noise = _FIRST_NOISE * power
    active = np.flatnonzero(dictionary.squared_norms)
    variances = np.full(active.size, m * power / dictionary.squared_norms.sum())
    n_iter, code = 0, ITERATION_LIMIT
    while n_iter < max_iter and code == ITERATION_LIMIT:
        n_iter += 1
        atoms = dictionary.atoms[active]
        means, shares = _posterior(dictionary, atoms, y, active, variances, noise)
        misfit = y - means @ atoms
        new = means**2 + variances * shares
        noise = (float(misfit @ misfit) + noise * float((1.0 - shares).sum())) / m
        noise = max(noise, _SMALLEST_NOISE * power)
        change = np.abs(new - variances).max() / new.max()
        kept = new >= prune * new.max()
        active, variances, means = active[kept], new[kept], means[kept]
        if change <= tol:
            code = CONVERGED
    everything, spread = np.zeros(n), np.zeros(n)
    everything[active], spread[active] = means, variances
    return everything, spread, noise, n_iter, code


def _posterior(
    dictionary: Dictionary,
    atoms: FloatArray,
    y: FloatArray,
    active: IntArray,
    variances: FloatArray,
    noise: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the means of the active coefficients and Sigma_ii / gamma_i.

    By the smaller of two matrices, with D = diag(gamma)^½: D AᵀA D + noise I, or A D² Aᵀ + noise I.
    """
    scales = np.sqrt(variances)
    scaled = scales[:, None] * atoms
    if active.size < y.size:
        block = scales[:, None] * dictionary.gram[np.ix_(active, active)] * scales
        inverse = scipy.linalg.lapack.dtrtri(_factor(block, noise), lower=1)[0]
        means = scales * (inverse.T @ (inverse @ (scaled @ y)))
        shares = noise * np.einsum("ij,ij->j", inverse, inverse)
    else:
        factor = _factor(scaled.T @ scaled, noise)
        images = scipy.linalg.blas.dtrsm(1.0, factor, scaled.T, lower=1)
        means = scales * (scipy.linalg.blas.dtrsv(factor, y, lower=1) @ images)
        shares = 1.0 - np.einsum("ij,ij->j", images, images)
    return means, np.clip(shares, 0.0, 1.0)


def _factor(matrix: FloatArray, noise: float) -> FloatArray:
    """Return L of L Lᵀ = matrix + noise I."""
    while True:
        matrix[np.diag_indices_from(matrix)] += noise
        factor, info = scipy.linalg.lapack.dpotrf(matrix.T, lower=1, clean=1)
        if not info:
            return factor
        noise *= 10.0  # rounding made it indefinite
