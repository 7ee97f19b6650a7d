"""What a solve becomes: its row, or the failed row that whatever went wrong becomes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from sparsebench.metrics import (
    exact_recovery,
    index_errors,
    near_distance,
    prediction_error,
    relative_error,
    relative_residual,
    support_distance,
)
from sparsebench.run.rows import Outcome
from sparsebench.system.limits import TimeOut, time_limited
from sparsebench.types import InputError, Instance, Result, Status

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")
_Solution = TypeVar("_Solution")


def attempt(
    solve: Callable[[], _Solution],
    time_limit: float,
    passing: Callable[[BaseException], bool] = lambda error: False,
) -> _Solution | Outcome:
    """Return what a solve returns, or the failed row that whatever went wrong becomes.

    An error that is `passing` is raised.
    """
    start = time.perf_counter()
    try:
        # What one algorithm does to numpy's handling of errors is not seen by the next.
        with time_limited(time_limit), np.errstate():
            return solve()
    except TimeOut as error:
        return failed_row(Status.TIME_OUT, str(error), time.perf_counter() - start)
    except (Exception, SystemExit) as error:
        if passing(error):
            raise
        if isinstance(error, MemoryError):
            return failed_row(Status.ERROR, "out of memory", time.perf_counter() - start)
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        # Messages are counted, and an address differs from run to run.
        message = _ADDRESS.sub("0x...", " ".join(f"{kind}{error}".split()))[:300]
        return failed_row(Status.ERROR, message, time.perf_counter() - start)


def measured(instance: Instance, result: Result, ordered: bool) -> Outcome:
    """Compare an estimate with the planted solution."""
    if result.status == Status.DIVERGED:
        return failed_row(Status.DIVERGED, "", _known(result.seconds), _count(result.n_iter))
    stages = [(stage.name, _count(stage.n_iter), _known(stage.seconds)) for stage in result.stages]
    return Outcome(
        support_distance(instance.x, result.x),
        exact_recovery(instance.x, result.x),
        relative_error(instance.x, result.x),
        relative_residual(instance.A, instance.y, result.x),
        _count(result.n_iter),
        str(result.status),
        "",
        _known(result.seconds),
        json.dumps(stages) if stages else "",
        near_distance(instance.x, result.x, 1) if ordered else None,
        near_distance(instance.x, result.x, 2) if ordered else None,
        *index_errors(instance.x, result.x),
        prediction_error(instance.A, instance.x, result.x),
    )


def _known(seconds: Any) -> float | None:
    """Return the seconds that a result states, None where it states none."""
    return None if seconds is None or np.isnan(seconds) else float(seconds)


def _count(n_iter: Any) -> int | None:
    """Return the iterations that a result states, None where it states none."""
    return None if n_iter is None or np.isnan(n_iter) else int(n_iter)


def failed_row(
    status: Status, message: str, seconds: float | None, n_iter: int | None = None
) -> Outcome:
    """Return the row of a solve that failed."""
    return Outcome(1.0, False, None, None, n_iter, str(status), message, seconds)


def with_near(outcome: Outcome, ordered: bool) -> Outcome:
    """Return a row with the distances that forgive of a failure, where atoms are ordered."""
    failed = ordered and Status(outcome.status).failed
    return replace(outcome, near_1=1.0, near_2=1.0) if failed else outcome
