"""How far an estimate is from the planted solution: pure functions of arrays."""

from __future__ import annotations

import numpy as np

from sparsebench.types import FloatArray, InputError


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
    true, found = x_true != 0, x != 0
    k = int(true.sum())
    if k == 0:
        raise InputError("the support distance to x = 0 is undefined")
    if int(found.sum()) > k:
        raise InputError(f"the estimate has {int(found.sum())} non-zeros, more than k = {k}")
    return float((k - np.sum(true & found)) / k)


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
