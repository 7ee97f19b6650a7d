"""How a compiled loop says that it ended: small integers that stand for a `Status`."""

from __future__ import annotations

from sparsebench.types import FloatArray, Result, Status

CONVERGED, ITERATION_LIMIT, CYCLED, DIVERGED = range(4)
_STATUS = (Status.CONVERGED, Status.ITERATION_LIMIT, Status.CYCLED, Status.DIVERGED)


def ended(x: FloatArray, n_iter: int, code: int) -> Result:
    """Return the `Result` of a compiled loop."""
    return Result(x, int(n_iter), _STATUS[code])
