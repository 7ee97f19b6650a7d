"""How far an estimate is from the planted solution: pure functions of arrays."""

from __future__ import annotations

import sys

import numpy as np

from sparsebench.types import FloatArray, InputError, IntArray, check_whole


def support_distance(x_true: FloatArray, x: FloatArray) -> float:
    """Return (k - |S* ∩ S|) / k, where S* and S are the supports of `x_true` and `x`.

    0 means that every true index was found, 1 that none was.

    Parameters
    ----------
    x_true, x : ndarray, shape (n,)
        The planted vector with k >= 1 non-zeros, and an estimate with at most k.

    Raises
    ------
    InputError
        If `x_true` is zero or `x` has more non-zeros than it (extra indices would come free).
    """
    true, found = _supports(x_true, x)
    shared = np.intersect1d(true, found, assume_unique=True).size
    return float((true.size - shared) / true.size)


def near_distance(x_true: FloatArray, x: FloatArray, tolerance: int) -> float:
    """Return the share of true indices without a partner at most `tolerance` indices away.

    Partners come from the support of `x`, each serves one true index, and the matching leaves as
    few true indices alone as any: walking both sorted supports, whichever index is too far behind
    the other is passed over. Meant for atoms that are ordered along a line. Tolerance 0 is
    `support_distance`.

    Parameters
    ----------
    x_true, x : ndarray, shape (n,)
        The planted vector with k >= 1 non-zeros, and an estimate with at most k.
    tolerance : int
        How far apart partners may be, in indices.

    Raises
    ------
    InputError
        If `x_true` is zero, `x` has more non-zeros than it, or `tolerance` is negative.
    """
    true, found = _supports(x_true, x)
    check_whole("tolerance", tolerance, 0, sys.maxsize)
    i = j = matched = 0
    while i < true.size and j < found.size:
        gap = int(found[j] - true[i])
        if abs(gap) <= tolerance:
            matched += 1
        i += gap >= -tolerance
        j += gap <= tolerance
    return (true.size - matched) / true.size


def _supports(x_true: FloatArray, x: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the sorted supports of both, refusing those between which there is no distance."""
    true, found = np.flatnonzero(x_true), np.flatnonzero(x)
    if true.size == 0:
        raise InputError("the support distance to x = 0 is undefined")
    if found.size > true.size:
        raise InputError(f"the estimate has {found.size} non-zeros, more than k = {true.size}")
    return true, found


def exact_recovery(x_true: FloatArray, x: FloatArray) -> bool:
    """Return whether the supports are equal, non-zero by non-zero."""
    return bool(np.array_equal(x_true != 0, x != 0))


def relative_error(x_true: FloatArray, x: FloatArray) -> float:
    """Return ||x - x_true|| / ||x_true|| in the Euclidean norm."""
    return float(np.linalg.norm(x - x_true) / np.linalg.norm(x_true))


def relative_residual(A: FloatArray, y: FloatArray, x: FloatArray) -> float:
    """Return ||y - A x|| / ||y||, or 0 where y = 0 and A x = 0."""
    residual = float(np.linalg.norm(y - A @ x))
    return residual / float(np.linalg.norm(y)) if residual else 0.0
