"""How far an estimate is from the planted solution: pure functions of arrays."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsebench.types import InputError, IntArray, as_array, check_whole


def support_distance(x_true: ArrayLike, x: ArrayLike) -> float:
    """Return (max(|S*|, |S|) - |S* ∩ S|) / max(|S*|, |S|) for the supports S* and S of both.

    0 means that the supports are equal, 1 that they share nothing. An estimate with at most
    k = |S*| non-zeros has the share of true indices that it misses; one with more, as what is not
    told k may have, that of its own indices that are false, so that extra indices do not come free
    (Elad, "Sparse and Redundant Representations", 2010, section 5.2.1).

    Parameters
    ----------
    x_true, x : array_like, shape (n,)
        The planted vector with k >= 1 non-zeros, and an estimate.

    Raises
    ------
    InputError
        If `x_true` is zero.
    """
    true, found = _supports(x_true, x)
    shared = np.intersect1d(true, found, assume_unique=True).size
    most = max(true.size, found.size)
    return float((most - shared) / most)


def near_distance(x_true: ArrayLike, x: ArrayLike, tolerance: int) -> float:
    """Return the share of indices without a partner at most `tolerance` indices away.

    Of true indices, or where `x` has more non-zeros, of these, as in `support_distance`, which
    tolerance 0 is. Partners come from the other support, each serves one index, and the matching
    leaves as few indices alone as any: walking both sorted supports, whichever index is too far
    behind the other is passed over. Meant for atoms that are ordered along a line.

    Parameters
    ----------
    x_true, x : array_like, shape (n,)
        The planted vector with k >= 1 non-zeros, and an estimate.
    tolerance : int
        How far apart partners may be, in indices.

    Raises
    ------
    InputError
        If `x_true` is zero, or `tolerance` is negative.
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
    most = max(true.size, found.size)
    return (most - matched) / most


def index_errors(x_true: ArrayLike, x: ArrayLike) -> tuple[int, int]:
    """Return how many non-zeros of `x_true` are zero in `x`, and how many of `x` in `x_true`."""
    true, found = (values != 0 for values in _vectors(x_true, x))
    return int((true & ~found).sum()), int((found & ~true).sum())


def _supports(x_true: ArrayLike, x: ArrayLike) -> tuple[IntArray, IntArray]:
    """Return the sorted supports of both, refusing those between which there is no distance."""
    true, found = (np.flatnonzero(values) for values in _vectors(x_true, x))
    if true.size == 0:
        raise InputError("the support distance to x = 0 is undefined")
    return true, found


def _vectors(x_true: ArrayLike, x: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return two vectors of one length as they are, refusing anything else."""
    true, found = as_array(x_true, "x_true"), as_array(x, "x")
    if true.ndim != 1 or true.shape != found.shape:
        raise InputError(
            f"x_true and x must have one shape (n,), not {true.shape} and {found.shape}"
        )
    if true.dtype.kind not in "biufc" or found.dtype.kind not in "biufc":
        raise InputError("x_true and x must hold numbers")
    return true, found


def exact_recovery(x_true: ArrayLike, x: ArrayLike) -> bool:
    """Return whether the supports are equal, non-zero by non-zero."""
    true, found = _vectors(x_true, x)
    return bool(np.array_equal(true != 0, found != 0))


def relative_error(x_true: ArrayLike, x: ArrayLike) -> float:
    """Return ||x - x_true|| / ||x_true|| in the Euclidean norm; NaN where infinities meet.

    Raises
    ------
    InputError
        If `x_true` is zero.
    """
    true, found = _vectors(x_true, x)
    if not true.any():
        raise InputError("the relative error to x = 0 is undefined")
    with np.errstate(invalid="ignore"):
        gap = np.subtract(found, true, dtype=np.result_type(found, true, np.float64))
    return _ratio(gap, true)


def relative_residual(A: ArrayLike, y: ArrayLike, x: ArrayLike) -> float:
    """Return ||y - A x|| / ||y||; where y = 0, it is 0 if A x = 0 and infinite if not."""
    matrix, signal, estimate = as_array(A, "A"), as_array(y, "y"), as_array(x, "x")
    if (matrix.ndim, signal.ndim) != (2, 1) or (*signal.shape, *estimate.shape) != matrix.shape:
        raise InputError(
            f"A (m, n), y (m,) and x (n,) do not fit together: their shapes are {matrix.shape}, "
            f"{signal.shape} and {estimate.shape}"
        )
    if any(array.dtype.kind not in "biufc" for array in (matrix, signal, estimate)):
        raise InputError("A, y and x must hold numbers")
    with np.errstate(invalid="ignore"):
        image = matrix @ estimate
        residual = np.subtract(signal, image, dtype=np.result_type(signal, image, np.float64))
    if not residual.any():
        return 0.0
    return _ratio(residual, signal) if signal.any() else math.inf


def prediction_error(A: ArrayLike, x_true: ArrayLike, x: ArrayLike) -> float:
    """Return ||A(x - x_true)|| / ||A x_true||; where A x_true = 0, 0 if A x = 0 and else infinite.

    Without noise it is `relative_residual`.
    """
    matrix = as_array(A, "A")
    true, found = _vectors(x_true, x)
    error = np.subtract(found, true, dtype=np.result_type(found, true, np.float64))
    # In one product, for which A is read once.
    missed, whole = (matrix @ np.stack([error, true], axis=1)).T
    if not missed.any():
        return 0.0
    return _ratio(missed, whole) if whole.any() else math.inf


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> float:
    """Return ||part|| / ||whole||, of which the latter is not zero; no square overflows."""
    with np.errstate(over="ignore"):
        above, below = float(np.linalg.norm(part)), float(np.linalg.norm(whole))
    if above < 1e150 and 1e-150 < below < 1e150:
        return above / below
    if not part.any():
        return 0.0
    part, whole = (v.astype(np.result_type(v, np.float64)) for v in (part, whole))
    tops = float(np.abs(part).max()), float(np.abs(whole).max())
    with np.errstate(invalid="ignore"):
        part, whole = part / tops[0], whole / tops[1]
    above, below = float(np.linalg.norm(part)), float(np.linalg.norm(whole))
    return above / below * (tops[0] / tops[1])
