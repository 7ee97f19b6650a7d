"""Local search over supports of k atoms: the best swap of all, or the likeliest."""

from __future__ import annotations

import numpy as np

from sparsebench.kernels.exchange import (
    best_addition,
    best_swap,
    exchange,
    fallen,
    independent,
    refresh,
    room,
)
from sparsebench.kernels.gram import copy, correlate, negative_gradient, squared_norm
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.images import images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.least_squares import factor_room, least_squares, residual
from sparsebench.kernels.selection import fingerprint, sort
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, CYCLED, ITERATION_LIMIT, ended_on, looser_than
from sparsebench.solvers.omp import omp
from sparsebench.solvers.steps import step_size
from sparsebench.types import Dictionary, FloatArray, Result


@algorithm(
    "els",
    told=("k",),
    shares=("gram",),
    family="local search",
    complex_numbers=True,
    cost="15*n*k + 6*m*k",
    twin="sparsebench.batched.local_search:els",
    path="each",
    source="Axiotis and Sviridenko, 2020, arXiv:2006.14571",
    revised=looser_than(1e-6),
)
def els(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    start: FloatArray | None = None,
    max_iter: int = 1000,
    tol: float = 1e-10,
) -> Result:
    """Exhaustive local search: the best swap of one atom in S for one outside, until none helps.

    A swap is made if the residual, computed from A and y, falls by more than 1e-12 ||y||. A start
    with fewer than k atoms is first filled with the best additions, one by one.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    start : ndarray, shape (n,), optional
        An estimate with at most k non-zeros, of which the support counts. The paper leaves the
        start open; without one it is that of orthogonal matching pursuit.
    max_iter : int
        Most swaps.
    tol : float
        Relative residual that counts as zero.
    """
    first = omp(dictionary, y, k, tol=tol).x if start is None else start
    support, size, n_iter, code = exchange_locally(
        *images_of(dictionary), y, k, np.flatnonzero(first), max_iter, tol
    )
    return ended_on(dictionary, y, np.sort(support[:size]), n_iter, code)


@imaged()
def exchange_locally(atoms, gram, y, k, first, max_iter, tol):
    """Return (support, its size, swaps, code)."""
    n = atoms.shape[0]
    correlations = correlate(atoms, y)
    energy = squared_norm(y)
    zero = tol * tol * energy
    support, terms = np.zeros(k, dtype=np.intp), room(y, n, k)
    size = independent(atoms, gram, first, support)
    squared, age = refresh(atoms, gram, correlations, y, support, size, terms, np.bool_(False))
    while size < k and squared > zero:
        if interrupted():
            return support, size, 0, ITERATION_LIMIT
        entering = best_addition(terms)[0]
        if entering < 0:
            break
        squared, age = exchange(
            atoms, gram, correlations, y, support, size, np.int64(-1), entering, terms, age
        )
        size += 1
    swaps = 0
    while swaps < max_iter and squared > zero and not interrupted():
        out, entering, change = best_swap(size, terms)
        if out >= 0 and fallen(max(squared + change, 0.0), squared, energy):
            kept = support[:size].copy()
            new, new_age = exchange(
                atoms, gram, correlations, y, support, size, out, entering, terms, age
            )
            if fallen(new, squared, energy):
                squared, age = new, new_age
                swaps += 1
                continue
            copy(kept, support)  # the residual did not keep what the terms promised
            if age < 0:
                return support, size, swaps, CONVERGED
        elif age <= 0:
            return support, size, swaps, CONVERGED
        # Look again: after sweeps with fresh terms, otherwise with an orthogonal factorisation.
        squared, age = refresh(atoms, gram, correlations, y, support, size, terms, age == 0)
    return support, size, swaps, CONVERGED if squared <= zero else ITERATION_LIMIT


@algorithm(
    "ompr",
    told=("k",),
    shares=("gram",),
    family="local search",
    complex_numbers=True,
    cost="2*n*k + 2*m*k + k**3/3",
    twin="sparsebench.batched.local_search:ompr",
    path="each",
    source="Jain, Tewari and Dhillon, NeurIPS 2011, arXiv:1106.2774",
    matrix_free=True,
    revised=looser_than(1e-6),
)
def ompr(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    start: FloatArray | None = None,
    step: str = "2",
    max_iter: int = 1000,
    tol: float = 1e-10,
) -> Result:
    """OMP with replacement: the atom of largest |z| outside S enters, the smallest one leaves.

    z = x + step · Aᵀ(y - A x) with x least squares on S; S ← the k largest |z| on S and the atom
    that enters; until S stays (converged) or comes back (a cycle: the next support depends on the
    last one only). Returns the iterate of smallest residual.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    start : ndarray, shape (n,), optional
        An estimate with at most k non-zeros, of which the support counts; where it has fewer,
        atoms enter and none leaves. The paper starts from any support; without a start it is
        that of orthogonal matching pursuit.
    step : str
        A multiple of one over the mean squared column norm, 1 on unit-norm columns; or ``c/L``
        for c / ||A||². The smaller, the sooner S stays. The default is ours: 1 and 1/L recover
        fewer supports, and beyond 2 little changes.
    max_iter : int
    tol : float
        Relative residual that counts as zero.
    """
    first = omp(dictionary, y, k, tol=tol).x if start is None else start
    atoms, gram = images_of(dictionary)
    size = step_size(step, dictionary)
    support, n_iter, code = _ompr(atoms, gram, y, k, np.flatnonzero(first), size, max_iter, tol)
    return ended_on(dictionary, y, support, n_iter, code)


@imaged()
def _ompr(atoms, gram, y, k, first, step, max_iter, tol):
    """Return (best support, iterations, code)."""
    correlations = correlate(atoms, y)
    energy = squared_norm(y)
    support, best_support = first, first
    coefficients, factor = np.empty(k, y.dtype), factor_room(gram, k)
    gradient, remainder = np.empty_like(correlations), np.empty_like(y)
    visited = np.empty(max_iter, dtype=np.uint64)
    best = np.inf
    for iteration in range(max_iter + 1):
        if interrupted():
            break
        size = support.size
        least_squares(atoms, gram, correlations, y, support, size, factor, coefficients)
        squared = residual(atoms, y, support, size, coefficients, remainder)
        if squared < best:
            best, best_support = squared, support
            if squared <= tol * tol * energy:
                return best_support, iteration, CONVERGED
        if iteration == max_iter:
            break
        visited[iteration] = fingerprint(support, size)
        negative_gradient(gram, correlations, support, coefficients, size, gradient)
        gradient[support] = 0.0
        entering = np.argmax(np.abs(gradient))
        if gradient[entering] == 0.0:
            return best_support, iteration, CONVERGED
        if size < k:
            support = np.append(support, entering)
        else:
            out = np.argmin(np.abs(coefficients))
            if step * abs(gradient[entering]) <= abs(coefficients[out]):
                return best_support, iteration, CONVERGED
            support = support.copy()
            support[out] = entering
        sort(support, support.size)
        mark = fingerprint(support, support.size)
        for last in range(iteration):
            if visited[last] == mark:
                return best_support, iteration + 1, CYCLED
    return best_support, max_iter, ITERATION_LIMIT
