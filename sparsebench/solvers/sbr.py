"""Single best replacement, along a decreasing sequence of penalties."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sparsebench.kernels.exchange import (
    best_addition,
    best_removal,
    exchange,
    independent,
    refresh,
    room,
)
from sparsebench.kernels.gram import correlate, squared_norm
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.images import images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.selection import fingerprint
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, ITERATION_LIMIT, ended_on, in_blocks
from sparsebench.types import Dictionary, FloatArray, IntArray, Result

# Moves that lower the penalised residual by less than this fraction of the penalty are ties.
_TIE = 1e-9
# A tie that rounding hides is left behind by lowering the penalty by this factor.
_PAST_A_TIE = 1 - 1e-6


def _path(
    dictionary: Dictionary, y: FloatArray, most: int, *, max_iter: int, tol: float
) -> Iterator[IntArray]:
    """Yield, of each size, the visited support of smallest residual."""

    def run(size: int) -> list[IntArray]:
        table, least = np.zeros((size + 1, size), dtype=np.intp), np.full(size + 1, np.inf)
        first, images = np.empty(0, dtype=np.intp), images_of(dictionary)
        _sbr(*images, y, size, first, max_iter, tol, table, least)
        return [np.sort(table[j, :j]) for j in range(1, size + 1) if least[j] < np.inf]

    return in_blocks(run, most)


@algorithm(
    "sbr",
    told=("k",),
    shares=("gram",),
    family="local search",
    complex_numbers=True,
    path=_path,
    cost="4*n*k + 6*m*k",
    source="Soussen, Idier, Brie and Duan, IEEE Trans. Signal Process. 59, 2011, "
    "doi:10.1109/TSP.2011.2160633; the penalties: Soussen, Idier, Duan and Brie, "
    "IEEE Trans. Signal Process. 63, 2015, arXiv:1406.4802",
)
def sbr(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    start: FloatArray | None = None,
    max_iter: int = 10_000,
    tol: float = 1e-10,
) -> Result:
    """Single best replacement: the insertion or removal that most lowers ||y - A x||² + λ||x||_0.

    Where none lowers it, λ falls to the largest fall of ||y - A x||² that an insertion would
    give, and that insertion is made. Ends when the search has come to rest at a λ with more than
    k atoms, or the residual is zero. Returns the support of at most k atoms of smallest residual
    that was visited.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    start : ndarray, shape (n,), optional
        An estimate with at most k non-zeros, of which the support counts; zero without one.
    max_iter : int
        Most insertions and removals.
    tol : float
        Relative residual that counts as zero.
    """
    first = np.empty(0, dtype=np.intp) if start is None else np.flatnonzero(start)
    nothing = np.empty((0, 0), dtype=np.intp)
    images = images_of(dictionary)
    support, n_iter, code = _sbr(*images, y, k, first, max_iter, tol, nothing, np.empty(0))
    return ended_on(dictionary, y, np.sort(support), n_iter, code)


@imaged()
def _sbr(atoms, gram, y, k, first, max_iter, tol, table, least):
    """Return (best support of at most k atoms, insertions and removals, code).

    Also writes the best support of each size up to k to the rows of `table`, shape (k + 1, k), and
    its squared residual to `least`, shape (k + 1,), unless these are empty.
    """
    n, m = atoms.shape
    correlations = correlate(atoms, y)
    zero = tol * tol * squared_norm(y)
    most = min(m, n)
    support, terms = np.zeros(most, dtype=np.intp), room(y, n, most)
    size = independent(atoms, gram, first, support)
    squared, age = refresh(atoms, gram, correlations, y, support, size, terms, np.bool_(False))
    best, best_support = squared, support[:size].copy()
    penalty = best_addition(terms)[1]
    visited, since = np.empty(max_iter, dtype=np.uint64), 0
    for iteration in range(max_iter):
        if interrupted():
            break
        mark = fingerprint(np.sort(support[:size]), size)
        for earlier in range(since, iteration):
            if visited[earlier] == mark:  # rounding made both a move and its reverse look good
                penalty *= _PAST_A_TIE
                since = iteration
        visited[iteration] = mark
        if squared <= zero:
            return best_support, iteration, CONVERGED
        entering, fall = best_addition(terms)
        out, rise = best_removal(size, terms)
        removal, insertion = penalty - rise, fall - penalty
        if max(removal, insertion) <= _TIE * penalty:  # at rest at this penalty
            if size > k or entering < 0 or size == most:
                return best_support, iteration, CONVERGED
            if fall < penalty:
                penalty, since = fall, iteration
            out = -1
        elif removal > insertion:
            entering = -1
        else:
            out = -1
        squared, age = exchange(
            atoms, gram, correlations, y, support, size, out, entering, terms, age
        )
        size += 1 if out < 0 else -1
        if size <= k and squared < best:
            best, best_support = squared, support[:size].copy()
        if size < least.shape[0] and squared < least[size]:
            least[size] = squared
            table[size, :size] = support[:size]
    return best_support, max_iter, ITERATION_LIMIT
