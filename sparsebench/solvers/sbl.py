"""Sparse Bayesian learning."""

from __future__ import annotations

import numpy as np
import scipy

from sparsebench.kernels.images import FEW_ATOMS
from sparsebench.registry import algorithm
from sparsebench.solvers.denoising import scaled, universal
from sparsebench.solvers.endings import CONVERGED, ITERATION_LIMIT, ended, fitted, read_off
from sparsebench.types import Dictionary, FloatArray, InputError, IntArray, Result

# In units of the mean square of y. Below the smallest a factorisation loses its digits.
_FIRST_NOISE = 1e-4
_SMALLEST_NOISE = 1e-10
# Entries of the active atoms from which on they are looked at in parts, and those of a part.
_MANY, _PART = 2**22, 2**20


@algorithm(
    "sbl",
    told=("k",),
    shares=("gram", "squared_norms"),
    family="Bayesian",
    complex_numbers=True,
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


_UNTOLD_SOURCE = (
    "Tipping, J. Mach. Learn. Res. 1, 2001, doi:10.1162/15324430152748236; what is kept: Tipping "
    "and Faul, AISTATS 2003, PMLR R4:276-283"
)


@algorithm(
    "sbl-noise",
    shares=("gram", "squared_norms"),
    family="Bayesian",
    complex_numbers=True,
    cost="2*m**2*n + m**3/3",
    source=_UNTOLD_SOURCE,
)
def sbl_noise(
    dictionary: Dictionary,
    y: FloatArray,
    *,
    noise: float,
    factor: float = 1.0,
    max_iter: int = 500,
    tol: float = 1e-4,
    prune: float = 1e-5,
) -> Result:
    """Sparse Bayesian learning with the noise it is told: gamma alone by EM on the evidence.

    As `sbl` with noise fixed. An atom is kept where the evidence for it exceeds what chance gives
    one of n, q² > 2 s log n in the terms of Tipping and Faul; the estimate is least squares on
    what is kept.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    noise : float
        Standard deviation of an entry of the noise; of complex numbers, of its modulus.
    factor : float
        As for `bpdn`.
    max_iter, tol, prune
        As for `sbl`.
    """
    return _kept(dictionary, y, scaled(noise, factor) ** 2, max_iter, tol, prune)


@algorithm(
    "sbl-learnt",
    shares=("gram", "squared_norms"),
    family="Bayesian",
    complex_numbers=True,
    cost="2*m**2*n + m**3/3",
    source=_UNTOLD_SOURCE,
)
def sbl_learnt(
    dictionary: Dictionary,
    y: FloatArray,
    *,
    max_iter: int = 500,
    tol: float = 1e-4,
    prune: float = 1e-5,
) -> Result:
    """Sparse Bayesian learning with the noise it learns, by EM on the evidence.

    As `sbl`, and what is kept is as in `sbl-noise`. Where m < n and all atoms differ, the noise
    that it learns is far too small, and it keeps too many.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    max_iter, tol, prune
        As for `sbl`.
    """
    return _kept(dictionary, y, None, max_iter, tol, prune)


def _kept(
    dictionary: Dictionary,
    y: FloatArray,
    level: float | None,
    max_iter: int,
    tol: float,
    prune: float,
) -> Result:
    """Return least squares on the atoms whose evidence exceeds what chance gives one of n."""
    if not 0 <= prune < 1:
        raise InputError(f"prune is a fraction in [0, 1), not {prune}")
    _, variances, noise, n_iter, code = maximise_evidence(
        dictionary, y, max_iter, tol, prune, level
    )
    active = np.flatnonzero(variances)
    spread = variances[active]
    means, shares = _posterior(dictionary, _Active(dictionary, active), y, active, spread, noise)
    # q² / s = |mu|² / (gamma (1 - c) c) with c = Sigma_ii / gamma.
    chance = spread * shares * (1.0 - shares)
    wanted = universal(1.0, dictionary.shape[1], dictionary.is_complex) ** 2
    found = active[np.abs(means) ** 2 > wanted * chance]
    return ended(fitted(dictionary, y, found), n_iter, code)


def maximise_evidence(
    dictionary: Dictionary,
    y: FloatArray,
    max_iter: int,
    tol: float,
    prune: float,
    level: float | None = None,
) -> tuple[FloatArray, FloatArray, float, int, int]:
    """Return (means, variances, noise variance, iterations, ending) of the EM iteration.

    With `level` the noise variance is that.
    """
    m, n = dictionary.shape
    power = float((y.conj() @ y).real) / m
    noise = _FIRST_NOISE * power if level is None else max(level, _SMALLEST_NOISE * power)
    active = np.flatnonzero(dictionary.squared_norms)
    variances = np.full(active.size, m * power / dictionary.squared_norms.sum())
    n_iter, code = 0, ITERATION_LIMIT
    while n_iter < max_iter and code == ITERATION_LIMIT:
        n_iter += 1
        atoms = _Active(dictionary, active)
        means, shares = _posterior(dictionary, atoms, y, active, variances, noise)
        misfit = y - atoms.image(means)
        new = np.abs(means) ** 2 + variances * shares
        if level is None:
            noise = (float((misfit.conj() @ misfit).real) + noise * float((1.0 - shares).sum())) / m
            noise = max(noise, _SMALLEST_NOISE * power)
        change = np.abs(new - variances).max() / new.max()
        kept = new >= prune * new.max()
        active, variances, means = active[kept], new[kept], means[kept]
        if change <= tol:
            code = CONVERGED
    everything, spread = np.zeros(n, y.dtype), np.zeros(n)
    everything[active], spread[active] = means, variances
    return everything, spread, noise, n_iter, code


class _Active:
    """The active atoms, (any, m), as they are asked for: in parts where they are many."""

    def __init__(self, dictionary: Dictionary, active: IntArray) -> None:
        m, size = dictionary.shape[0], active.size
        self._dictionary, self._active = dictionary, active
        self._all = dictionary.some_atoms(active) if m * size <= _MANY else None
        width = size if self._all is not None else max(_PART // m, 1)
        self.parts = [slice(i, min(i + width, size)) for i in range(0, size, width)]

    def __getitem__(self, part: slice) -> FloatArray:
        """Return one of the parts."""
        if self._all is not None:
            return self._all[part]
        return self._dictionary.some_atoms(self._active[part])

    def image(self, means: FloatArray) -> FloatArray:
        """Return A x."""
        image: FloatArray = means[self.parts[0]] @ self[self.parts[0]]
        for part in self.parts[1:]:
            image += means[part] @ self[part]
        return image


def _posterior(
    dictionary: Dictionary,
    atoms: _Active,
    y: FloatArray,
    active: IntArray,
    variances: FloatArray,
    noise: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the means of the active coefficients and Sigma_ii / gamma_i.

    By the smaller of two matrices, with D = diag(gamma)^½: D AᴴA D + noise I, or A D² Aᴴ + noise I.
    """
    scales = np.sqrt(variances)
    if active.size < y.size:
        chosen = atoms[slice(0, active.size)]
        if dictionary.shape[1] <= FEW_ATOMS or dictionary.knows("gram"):
            products = dictionary.gram[np.ix_(active, active)].conj()
        else:
            products = chosen.conj() @ chosen.T
        block = scales[:, None] * products * scales
        (trtri,) = scipy.linalg.get_lapack_funcs(("trtri",), (block,))
        inverse = trtri(_factor(block, noise), lower=1)[0]
        correlations = (scales[:, None] * chosen.conj()) @ y
        means = scales * (inverse.conj().T @ (inverse @ correlations))
        shares = noise * _squared_norms(inverse)
    else:
        outer, scaled = np.zeros((y.size, y.size), y.dtype), np.empty(0)
        for part in atoms.parts:
            scaled = scales[part, None] * atoms[part]
            outer += scaled.T @ scaled.conj()
        factor = _factor(outer, noise)
        trsv, trsm = scipy.linalg.get_blas_funcs(("trsv", "trsm"), (factor,))
        solved = trsv(factor, y, lower=1)
        means, shares = np.empty(active.size, y.dtype), np.empty(active.size)
        for part in atoms.parts:
            if len(atoms.parts) > 1:
                scaled = scales[part, None] * atoms[part]
            images = trsm(1.0, factor, scaled.T, lower=1)
            means[part] = scales[part] * (solved.conj() @ images).conj()
            shares[part] = 1.0 - _squared_norms(images)
    return means, np.clip(shares, 0.0, 1.0)


def _squared_norms(columns: FloatArray) -> FloatArray:
    parts = (columns.real, columns.imag) if columns.dtype.kind == "c" else (columns,)
    return sum(np.einsum("ij,ij->j", part, part) for part in parts)


def _factor(matrix: FloatArray, noise: float) -> FloatArray:
    """Return L of L Lᴴ = matrix + noise I."""
    (potrf,) = scipy.linalg.get_lapack_funcs(("potrf",), (matrix,))
    while True:
        matrix[np.diag_indices_from(matrix)] += noise
        factor, info = potrf(matrix.conj().T, lower=1, clean=1)
        if not info:
            return factor
        noise *= 10.0  # rounding made it indefinite
