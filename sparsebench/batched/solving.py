"""`solve` for many problems: the way from arrays to a list of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsebench.batched.problems import solve_problems
from sparsebench.registry import Choice, choose_algorithm, devices
from sparsebench.types import Dictionary, FloatArray, InputError, Result, as_array, as_numbers


def solve(
    name: str,
    A: ArrayLike | Dictionary | Sequence[Dictionary],
    y: ArrayLike,
    k: int | ArrayLike,
    *,
    start: ArrayLike | None = None,
    device: str = "torch-cpu",
    precision: str = "float64",
    **options: Any,
) -> list[Result]:
    """Recover B sparse vectors at once; where an A or y is complex, all are.

    Parameters
    ----------
    name : str
        As for `sparsebench.solve`: an algorithm that has a twin, or a chain of such.
    A : array_like, shape (m, n) or (B, m, n), or Dictionary, or sequence of B of them
        One dictionary for all problems, or one each.
    y : array_like, shape (B, m)
    k : int or array_like of int, shape (B,)
    start : array_like, shape (B, n), optional
        Estimates to start from, where the algorithm can.
    device : str
        ``torch-cpu``, ``cuda`` or ``cuda:i``.
    precision : str
        ``float64``, or ``float32`` for all but the last least squares.
    **options
        As for `sparsebench.solve`.

    Returns
    -------
    list of Result
        One a problem; each has its share of the seconds.

    Raises
    ------
    InputError
        If something given cannot be used, or there is no such device or twin.
    MemoryError
        If a single problem does not fit on the device.
    """
    chosen = choose_algorithm(name, options)
    dictionaries = _dictionaries(A)
    m, n = dictionaries[0].shape
    signals = as_numbers(y, "y")
    count = len(signals) if signals.ndim == 2 else 0
    if signals.shape != (count, m) or len(dictionaries) not in (1, count):
        raise InputError(f"y must have shape (B, {m}) and A be one or B dictionaries")
    ks = as_array(k, "k")
    if ks.dtype.kind not in "iu" or ks.shape not in ((), (count,)):
        raise InputError(f"k must be a whole number, or {count} of them")
    ks = np.broadcast_to(ks, (count,)).astype(np.int64)
    if count and not (ks.min() >= 1 and ks.max() <= min(m, n)):
        raise InputError(f"k must lie in 1 .. min(m, n) = {min(m, n)}")
    starts = None
    if start is not None:
        starts = as_numbers(start, "start")
        if starts.shape != (count, n) or (np.count_nonzero(starts, axis=1) > ks).any():
            raise InputError(f"start must have shape ({count}, {n}) with at most k non-zeros a row")
        if not chosen.accepts("start"):
            raise InputError(f"{chosen.name} takes no start")
    if signals.dtype.kind == "c" or any(one.is_complex for one in dictionaries):
        chosen.check_complex()
        dictionaries = [one.complexified for one in dictionaries]
        signals = signals.astype(np.complex128)
        starts = None if starts is None else starts.astype(np.complex128)
    elif starts is not None and starts.dtype.kind == "c":
        raise InputError("start is complex, and A and y are real")
    placed = chosen.on(str(devices.resolve(device)), precision)
    return solve_choice(placed, device, dictionaries, signals, ks, starts)


def solve_choice(
    chosen: Choice,
    device: str,
    dictionaries: Sequence[Dictionary],
    signals: FloatArray,
    ks: NDArray[np.int64],
    starts: FloatArray | None,
) -> list[Result]:
    """Solve what has been checked, on one dictionary or one each; or raise `MemoryError`."""
    count = len(signals)
    owner = np.arange(count) if len(dictionaries) > 1 else np.zeros(count, dtype=np.int64)
    results = solve_problems(chosen, dictionaries, owner, signals, ks, device, starts)
    if None in results:
        raise MemoryError(f"{chosen.name}: one problem of this size does not fit on {device}")
    return [result for result in results if result is not None]


def _dictionaries(A: Any) -> list[Dictionary]:
    if isinstance(A, Dictionary):
        return [A]
    if isinstance(A, Sequence) and A and all(isinstance(one, Dictionary) for one in A):
        if len({one.shape for one in A}) > 1:
            raise InputError("the dictionaries must have one shape")
        return list(A)
    array = as_array(A, "A")
    if array.ndim != 3:
        return [Dictionary(array)]
    if not len(array):
        raise InputError("A must have shape (m, n) or (B, m, n) with B >= 1")
    return [Dictionary(one) for one in array]
