"""Best-subset selection by splicing."""

from __future__ import annotations

import numpy as np
from numba import njit

from sparsebench.kernels.conjugates import conjugate
from sparsebench.kernels.exchange import fallen
from sparsebench.kernels.gram import correlate, negative_gradient, squared_norm
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.images import images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.least_squares import least_squares, residual
from sparsebench.kernels.selection import largest, sort
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, ITERATION_LIMIT, ended_on
from sparsebench.types import Dictionary, FloatArray, InputError, Result


@algorithm(
    "splicing",
    told=("k",),
    shares=("gram", "squared_norms"),
    family="local search",
    complex_numbers=True,
    cost="2*n*k + 5*(k**3/3 + 2*m*k)",
    path="each",
    source="Zhu, Wen, Zhu, Zhang and Wang, PNAS 117, 2020, doi:10.1073/pnas.2014241117",
)
def splicing(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    start: FloatArray | None = None,
    c_max: int = 5,
    max_iter: int = 1000,
    tol: float = 1e-10,
) -> Result:
    """Splicing: the C least useful atoms of S leave for the C most promising, C = 1 .. c_max.

    Atom i of S is worth ||a_i||² x_i² / 2, atom j outside (a_jᵀr)² / (2 ||a_j||²). Each exchange is
    solved by least squares; the best one is made if the residual falls by more than 1e-12 ||y||,
    and the search ends where none does.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    start : ndarray, shape (n,), optional
        An estimate with at most k non-zeros, of which the support counts, filled up by the atoms
        of largest |aᵀy| / ||a||; without one the support is these.
    c_max : int
        Most atoms that leave at once; 0 is k, the paper's bound. 5 recovers as many supports at a
        tenth of the time.
    max_iter : int
        Most exchanges.
    tol : float
        Relative residual that counts as zero.
    """
    if c_max < 0:
        raise InputError(f"c_max must be at least 0, not {c_max}")
    atoms, gram = images_of(dictionary)
    norms = dictionary.squared_norms
    scores = np.abs(atoms @ y.conj()) / np.sqrt(np.maximum(norms, np.finfo(float).tiny))
    if start is not None:
        scores[start != 0] = np.inf
    support, n_iter, code = _splicing(
        atoms, gram, norms, y, largest(scores, k), c_max or k, max_iter, tol
    )
    return ended_on(dictionary, y, support, n_iter, code)


@njit(cache=True)
def _promise(gradient, norms, promise):
    """Write the fall of the squared residual that each atom offers by itself."""
    for j in range(norms.shape[0]):
        size = (gradient[j].conjugate() * gradient[j]).real
        promise[j] = size / norms[j] if norms[j] > 0.0 else 0.0


@imaged()
def _splicing(atoms, gram, norms, y, support, c_max, max_iter, tol):
    """Return (support, exchanges, code)."""
    n, k = atoms.shape[0], support.size
    correlations = correlate(atoms, y)
    energy = squared_norm(y)
    coefficients, trial_coefficients = np.empty(k, y.dtype), np.empty(k, y.dtype)
    factor, remainder = np.empty((k, k), y.dtype), np.empty_like(y)
    gradient = np.empty_like(correlations)
    promise = np.empty(n)
    least_squares(atoms, gram, correlations, y, support, k, factor, coefficients)
    squared = residual(atoms, y, support, k, coefficients, remainder)
    for iteration in range(max_iter):
        if interrupted():
            break
        if squared <= tol * tol * energy:
            return support, iteration, CONVERGED
        negative_gradient(gram, correlations, support, coefficients, k, gradient)
        _promise(gradient, norms, promise)
        promise[support] = -1.0
        entering = np.argsort(-promise, kind="mergesort")
        squares = (conjugate(coefficients) * coefficients).real
        leaving = np.argsort(norms[support] * squares, kind="mergesort")
        best, best_support, best_coefficients = squared, support, coefficients
        for count in range(1, min(c_max, k, n - k) + 1):
            trial = support.copy()
            trial[leaving[:count]] = entering[:count]
            sort(trial, k)
            least_squares(atoms, gram, correlations, y, trial, k, factor, trial_coefficients)
            trial_squared = residual(atoms, y, trial, k, trial_coefficients, remainder)
            if trial_squared < best:
                best, best_support = trial_squared, trial
                best_coefficients = trial_coefficients.copy()
        if not fallen(best, squared, energy):
            return support, iteration, CONVERGED
        squared, support, coefficients = best, best_support, best_coefficients
    return support, max_iter, ITERATION_LIMIT
