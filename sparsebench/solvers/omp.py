"""Orthogonal matching pursuit."""

from __future__ import annotations

import numpy as np
from numba import njit

from sparsebench.kernels.gram import correlate, dot
from sparsebench.kernels.least_squares import SMALLEST_PIVOT, polished
from sparsebench.registry import algorithm
from sparsebench.types import Dictionary, FloatArray, Result, Status


@algorithm(
    "omp",
    told=("k",),
    shares=("gram",),
    source="Pati, Rezaiifar and Krishnaprasad, Asilomar 1993, doi:10.1109/ACSSC.1993.342465; "
    "with the Gram matrix: Rubinstein, Zibulevsky and Elad, Technion CS-2008-08",
)
def omp(dictionary: Dictionary, y: FloatArray, k: int, *, tol: float = 1e-10) -> Result:
    """Orthogonal matching pursuit: add the atom of largest |aᵀr|, solve least squares, repeat.

    Atoms are compared as they are, not normalised. Stops at k atoms or at a relative residual
    of `tol`.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    tol : float
        Relative residual that counts as zero.
    """
    atoms, gram = dictionary.atoms, dictionary.gram
    support, size = _omp_gram(atoms, gram, y, k, tol)
    if size < 0:
        support, size = _omp_orthogonal(atoms, y, k, tol)
    x = polished(atoms, gram, y, np.sort(support[:size]), size, atoms.shape[0])
    return Result(x, int(size), Status.CONVERGED)


@njit(cache=True)
def _best_atom(correlation, chosen):
    """Return the unchosen atom of largest |correlation|, the lowest index among equals."""
    best, largest = -1, 0.0
    for i in range(correlation.shape[0]):
        if abs(correlation[i]) > largest and not chosen[i]:
            best, largest = i, abs(correlation[i])
    return best


@njit(cache=True, fastmath={"reassoc", "contract"})
def _omp_gram(atoms, gram, y, k, tol):
    """Return (support, size); size -1 where an atom is too close to the span of the others.

    With q_1, q_2, ... the chosen atoms orthonormalised one after the other, row i of `images` is
    Aᵀq_i: the correlations Aᵀr lose their component along it, and the Cholesky factor of the
    Gram block is read off the rows of `images` at the chosen atoms.
    """
    n = atoms.shape[0]
    images = np.empty((k, n))
    support = np.empty(k, dtype=np.intp)
    chosen = np.zeros(n, dtype=np.bool_)
    correlation = correlate(atoms, y)
    energy = dot(y, y)
    squared = energy
    for i in range(k):
        # Below 1e-6 the running residual has lost its digits to cancellation: take it from A.
        if squared <= 1e-12 * energy:
            x = polished(atoms, gram, y, support, i, n)
            remainder = y.copy()
            for j in range(i):
                remainder -= x[support[j]] * atoms[support[j]]
            if np.sqrt(dot(remainder, remainder)) <= tol * np.sqrt(energy):
                return support, i
        best = _best_atom(correlation, chosen)
        if best < 0:
            return support, i
        image = images[i]
        image[:] = gram[best]
        j = 0
        while j + 4 <= i:
            a, b, c, d = images[j], images[j + 1], images[j + 2], images[j + 3]
            va, vb, vc, vd = a[best], b[best], c[best], d[best]
            for p in range(n):
                image[p] -= va * a[p] + vb * b[p] + vc * c[p] + vd * d[p]
            j += 4
        while j < i:
            a = images[j]
            va = a[best]
            for p in range(n):
                image[p] -= va * a[p]
            j += 1
        pivot = image[best]
        if not pivot > SMALLEST_PIVOT * gram[best, best]:
            return support, -1
        scale = 1.0 / np.sqrt(pivot)
        projection = correlation[best] * scale
        for p in range(n):
            image[p] *= scale
            correlation[p] -= projection * image[p]
        squared -= projection * projection
        support[i] = best
        chosen[best] = True
    return support, k


@njit(cache=True)
def _omp_orthogonal(atoms, y, k, tol):
    """Return (support, size) by Gram-Schmidt on the atoms, twice, and explicit residuals."""
    n, m = atoms.shape
    basis = np.empty((k, m))
    support = np.empty(k, dtype=np.intp)
    chosen = np.zeros(n, dtype=np.bool_)
    remainder = y.copy()
    limit = tol * np.sqrt(dot(y, y))
    size = 0
    while size < k and np.sqrt(dot(remainder, remainder)) > limit:
        best = _best_atom(correlate(atoms, remainder), chosen)
        if best < 0:
            break
        chosen[best] = True
        direction = basis[size]
        direction[:] = atoms[best]
        before = np.sqrt(dot(direction, direction))
        for _ in range(2):
            for j in range(size):
                direction -= dot(basis[j], direction) * basis[j]
        after = np.sqrt(dot(direction, direction))
        if after <= 1e-14 * before:
            continue  # dependent on the chosen atoms: it cannot lower the residual
        direction /= after
        remainder -= dot(direction, remainder) * direction
        support[size] = best
        size += 1
    return support, size
