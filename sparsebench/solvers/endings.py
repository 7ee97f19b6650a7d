"""How a solve ends: the small integers that stand for a `Status`, and reading off a support."""

from __future__ import annotations

from sparsebench.kernels.least_squares import polished
from sparsebench.kernels.selection import largest
from sparsebench.types import Dictionary, FloatArray, Result, Status

CONVERGED, ITERATION_LIMIT, CYCLED, DIVERGED = range(4)
#: What each of them stands for.
STATUS = (Status.CONVERGED, Status.ITERATION_LIMIT, Status.CYCLED, Status.DIVERGED)


def ended(x: FloatArray, n_iter: int, code: int) -> Result:
    """Return the `Result` of a compiled loop."""
    return Result(x, int(n_iter), STATUS[code])


def read_off(dictionary: Dictionary, y: FloatArray, k: int, scores: FloatArray) -> FloatArray:
    """Return x, shape (n,): least squares on the k largest |scores|, zeros left out."""
    support = largest(scores, k)
    support = support[scores[support] != 0]
    n = dictionary.shape[1]
    return polished(dictionary.atoms, dictionary.gram, y, support, support.size, n)
