"""Pursuits that merge candidate atoms with the support and prune: CoSaMP and subspace pursuit."""

from __future__ import annotations

import numpy as np
from numba import njit

from sparsebench.kernels.gram import copy, correlate, negative_gradient, squared_norm
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.images import images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.least_squares import factor_room, least_squares, polished, residual
from sparsebench.kernels.selection import fingerprint, top_k
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, CYCLED, ITERATION_LIMIT, ended_on
from sparsebench.types import Dictionary, FloatArray, Result


@algorithm(
    "cosamp",
    shares=("gram",),
    family="greedy",
    complex_numbers=True,
    cost="2*n*k + 9*k**3",
    twin="sparsebench.batched.pursuit:cosamp",
    source="Needell and Tropp, Appl. Comput. Harmon. Anal. 26, 2009, "
    "doi:10.1016/j.acha.2008.07.002",
    matrix_free=True,
)
def cosamp(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    start: FloatArray | None = None,
    max_iter: int = 1000,
    tol: float = 1e-10,
) -> Result:
    """CoSaMP: T ← supp(x) ∪ 2k largest of Aᵀ(y - A x), x ← k largest of least squares on T.

    The pruned x is not fitted again inside the loop, and is of least norm where T has more atoms
    than y has measurements. Ends when the merged set T follows itself (converged) or comes back
    (a cycle: x depends on T only). Of all pruned supports, the one whose least-squares residual is
    smallest is returned, with least squares on it; such a residual of zero ends the loop.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    start : ndarray, shape (n,), optional
        The first x, instead of zero.
    max_iter : int
    tol : float
        Relative residual that counts as zero.
    """
    x = np.zeros(dictionary.shape[1], y.dtype) if start is None else start
    support, n_iter, code = _cosamp(*images_of(dictionary), y, k, x, max_iter, tol)
    return ended_on(dictionary, y, support, n_iter, code)


@algorithm(
    "sp",
    shares=("gram",),
    family="greedy",
    complex_numbers=True,
    cost="2*n*k + 3*k**3",
    twin="sparsebench.batched.pursuit:sp",
    path="each",
    source="Dai and Milenkovic, IEEE Trans. Inf. Theory 55, 2009, doi:10.1109/TIT.2009.2016006",
    matrix_free=True,
)
def sp(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    start: FloatArray | None = None,
    max_iter: int = 1000,
    tol: float = 1e-10,
) -> Result:
    """Subspace pursuit: T ← S ∪ k largest of Aᵀr, S ← k largest of least squares on T.

    The residual r is that of least squares on S; S is first the k largest of Aᵀy. Ends when r
    does not become smaller, and returns least squares on the support before.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    start : ndarray, shape (n,), optional
        Its support is the first S, unless it is zero.
    max_iter : int
    tol : float
        Relative residual that counts as zero.
    """
    first = np.empty(0, dtype=np.intp) if start is None else np.flatnonzero(start)
    support, n_iter, code = _sp(*images_of(dictionary), y, k, first, max_iter, tol)
    return ended_on(dictionary, y, support, n_iter, code)


@imaged()
def _cosamp(atoms, gram, y, k, x, max_iter, tol):
    """Return (best support, iterations, code) from x."""
    n = atoms.shape[0]
    wide = min(2 * k, n)
    correlations = correlate(atoms, y)
    energy = squared_norm(y)
    first = np.flatnonzero(x)
    support, values, size = np.empty(k, dtype=np.intp), np.empty(k, y.dtype), first.size
    copy(first, support)
    copy(x[first], values)
    candidates, merged = np.empty(wide, dtype=np.intp), np.empty(k + wide, dtype=np.intp)
    coefficients, fitted = np.empty(k + wide, y.dtype), np.empty(k, y.dtype)
    factor, kept = factor_room(gram, k + wide), np.empty(k, dtype=np.intp)
    gradient, scratch, remainder = np.empty_like(correlations), np.empty(n), np.empty_like(y)
    visited = np.empty(max_iter, dtype=np.uint64)
    best_support, best = first, energy
    if size:
        least_squares(atoms, gram, correlations, y, first, size, factor, fitted)
        best = residual(atoms, y, first, size, fitted, remainder)
        if best <= tol * tol * energy:
            return best_support, 0, CONVERGED
    for iteration in range(1, max_iter + 1):
        if interrupted():
            break
        negative_gradient(gram, correlations, support, values, size, gradient)
        top_k(gradient, wide, 0.0, scratch, candidates)
        total = _merge(support, size, candidates, wide, merged)
        visited[iteration - 1] = fingerprint(merged, total)
        for last in range(iteration - 2, -1, -1):
            if visited[last] == visited[iteration - 1]:
                code = CONVERGED if last == iteration - 2 else CYCLED
                return best_support, iteration, code
        _fit_merged(atoms, gram, correlations, y, merged, total, factor, coefficients)
        size = _prune(merged, total, coefficients, k, scratch, kept, support, values)
        least_squares(atoms, gram, correlations, y, support, size, factor, fitted)
        squared = residual(atoms, y, support, size, fitted, remainder)
        if squared < best:
            best, best_support = squared, support[:size].copy()
            if squared <= tol * tol * energy:
                return best_support, iteration, CONVERGED
    return best_support, max_iter, ITERATION_LIMIT


@imaged()
def _sp(atoms, gram, y, k, first, max_iter, tol):
    """Return (support, iterations, code)."""
    n = atoms.shape[0]
    correlations = correlate(atoms, y)
    energy = squared_norm(y)
    support, size = np.empty(k, dtype=np.intp), first.size
    copy(first, support)
    candidates, merged = np.empty(k, dtype=np.intp), np.empty(2 * k, dtype=np.intp)
    coefficients, values = np.empty(2 * k, y.dtype), np.empty(k, y.dtype)
    factor, kept = factor_room(gram, 2 * k), np.empty(k, dtype=np.intp)
    gradient, scratch, remainder = np.empty_like(correlations), np.empty(n), np.empty_like(y)
    if size == 0:
        top_k(correlations, k, 0.0, scratch, support)
        size = k
    last_support, last = support[:size].copy(), np.inf
    for iteration in range(max_iter + 1):
        if interrupted():
            break
        least_squares(atoms, gram, correlations, y, support, size, factor, values)
        squared = residual(atoms, y, support, size, values, remainder)
        if not squared < last:
            return last_support, iteration, CONVERGED
        last, last_support = squared, support[:size].copy()
        if squared <= tol * tol * energy:
            return last_support, iteration, CONVERGED
        if iteration == max_iter:
            break
        negative_gradient(gram, correlations, support, values, size, gradient)
        top_k(gradient, k, 0.0, scratch, candidates)
        total = _merge(support, size, candidates, k, merged)
        _fit_merged(atoms, gram, correlations, y, merged, total, factor, coefficients)
        size = _prune(merged, total, coefficients, k, scratch, kept, support, values)
    return last_support, max_iter, ITERATION_LIMIT


@imaged()
def _fit_merged(atoms, gram, correlations, y, merged, total, factor, coefficients):
    """Write least squares on the merged set, refined: it is pruned by the size of its entries.

    On coherent atoms the normal equations may fit y and still have no digit of the coefficients.
    """
    if total > y.shape[0]:
        least_squares(atoms, gram, correlations, y, merged, total, factor, coefficients)
        return
    x = polished(atoms, gram, y, merged, total, atoms.shape[0])
    for j in range(total):
        coefficients[j] = x[merged[j]]


@njit(cache=True)
def _merge(a, size_a, b, size_b, merged):
    """Write the union of two sorted index sets to `merged`, sorted, and return its size."""
    i, j, count = 0, 0, 0
    while i < size_a or j < size_b:
        if j == size_b or (i < size_a and a[i] <= b[j]):
            if j < size_b and a[i] == b[j]:
                j += 1
            merged[count] = a[i]
            i += 1
        else:
            merged[count] = b[j]
            j += 1
        count += 1
    return count


@njit(cache=True)
def _prune(merged, total, coefficients, k, scratch, kept, support, values):
    """Write the k largest of `coefficients` with their indices, in order, and return how many."""
    size = min(k, total)
    top_k(coefficients[:total], size, 0.0, scratch, kept)
    for j in range(size):
        support[j] = merged[kept[j]]
        values[j] = coefficients[kept[j]]
    return size
