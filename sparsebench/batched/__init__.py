"""The algorithms on many problems at once, in torch: the same names, options and answers.

Imported only when a device is asked for. On a processor the twins are a check of each other and of
the kernels; they are made for a graphics card.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sparsebench import devices
from sparsebench.batched import amp, htp, iht, ista, local_search, omp, pursuit, sea
from sparsebench.batched.batch import Batch, Ending, Stack
from sparsebench.batched.least_squares import polished
from sparsebench.batched.selection import support_of
from sparsebench.registry import Algorithm, choose_algorithm, stage_options
from sparsebench.resources import available_memory
from sparsebench.solvers.endings import _STATUS, BEYOND_DOUBLE, DIVERGED, TOO_LARGE_START
from sparsebench.types import (
    LARGEST_EXPONENT,
    Dictionary,
    FloatArray,
    InputError,
    Result,
    Stage,
    Status,
    as_array,
    as_floats,
)

#: The twin of each algorithm that has one.
TWINS: dict[str, Callable[..., Ending]] = {
    "amp": amp.amp,
    "cosamp": pursuit.cosamp,
    "els": local_search.els,
    "fista": ista.fista,
    "htp": htp.htp,
    "iht": iht.iht,
    "ista": ista.ista,
    "nhtp": htp.nhtp,
    "niht": iht.niht,
    "ols": omp.ols,
    "omp": omp.omp,
    "ompr": local_search.ompr,
    "sea": sea.sea,
    "sp": pursuit.sp,
}
# Exponent of the largest start, where y and A are of order 1, whose square does not overflow.
_LARGEST_START = {torch.float64: 2 * LARGEST_EXPONENT, torch.float32: 40}
_DTYPES = {"float64": torch.float64, "float32": torch.float32}
# Of the memory at hand, the part that a batch may take, and the copies of (k, n) that one problem
# takes at most (exhaustive local search; OMP takes one).
_SHARE = 0.5
_COPIES = 10


def torch_device(name: str) -> torch.device:
    """Return the device that ``torch-cpu``, ``cuda`` or ``cuda:1`` means."""
    found = devices.resolve(name)
    if found == "cpu":
        raise InputError("the twins run on torch-cpu or cuda; on the cpu: sparsebench.solve")
    return torch.device("cpu" if found == "torch-cpu" else found)


def stack(dictionaries: Sequence[Dictionary], device: str, precision: str) -> Stack:
    """Return dictionaries of one shape on a device."""
    return Stack(dictionaries, torch_device(device), _DTYPES[precision])


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
    """Recover B sparse vectors at once.

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
    entry, chosen = choose_algorithm(name, options)
    dictionaries = _dictionaries(A)
    m, n = dictionaries[0].shape
    signals = as_floats(y, "y")
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
        starts = as_floats(start, "start")
        if starts.shape != (count, n) or (np.count_nonzero(starts, axis=1) > ks).any():
            raise InputError(f"start must have shape ({count}, {n}) with at most k non-zeros a row")
        if not entry.accepts("start"):
            raise InputError(f"{entry.name} takes no start")
    owner = np.arange(count) if len(dictionaries) > 1 else np.zeros(count, dtype=np.int64)
    results = solve_problems(
        entry, chosen, dictionaries, owner, signals, ks, device, precision, starts
    )
    if None in results:
        raise MemoryError(f"{entry.name}: one problem of this size does not fit on {device}")
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


def solve_problems(
    entry: Algorithm,
    options: dict[str, Any],
    dictionaries: Sequence[Dictionary] | Stack,
    owner: NDArray[np.int64],
    signals: FloatArray,
    ks: NDArray[np.int64],
    device: str,
    precision: str = "float64",
    starts: FloatArray | None = None,
) -> list[Result | None]:
    """Return the results of problems whose inputs have been checked.

    In parts that fit into the memory at hand; a part that does not after all is halved. None
    stands for a single problem that does not fit.

    Parameters
    ----------
    entry : Algorithm
    options : dict
        All of them.
    dictionaries : sequence of Dictionary, or Stack
        D of them, of one shape; or already on the device.
    owner : ndarray of int, shape (B,)
        Which dictionary each problem has.
    signals : ndarray, shape (B, m)
        A problem whose signal is not finite, or whose x does not fit into double precision, has
        status "error", x = 0 and a message.
    ks : ndarray of int, shape (B,)
    device, precision : str
    starts : ndarray, shape (B, n), optional

    Raises
    ------
    InputError
        If there is no such device, precision or twin.
    """
    devices.check_twins(entry.name.split("+"))
    devices.check_precision(device, precision)
    place, dtype = torch_device(device), _DTYPES[precision]
    if not len(signals):
        return []
    with torch.inference_mode():
        held = (
            dictionaries if isinstance(dictionaries, Stack) else Stack(dictionaries, place, dtype)
        )
        # Problems of like sparsity go together, so that little of a batch is padding.
        order = np.argsort(ks, kind="stable")
        results: list[Result | None] = [None] * len(signals)
        parts = _parts(order, ks, held, place)
        while parts:
            part = parts.pop(0)
            begin = time.perf_counter()
            try:
                found = _solve(
                    entry,
                    options,
                    held,
                    owner[part],
                    signals[part],
                    ks[part],
                    None if starts is None else starts[part],
                )
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if len(part) > 1:
                    parts[:0] = np.array_split(part, 2)
                continue
            seconds = (time.perf_counter() - begin) / len(part)
            for row, result in zip(part, found, strict=True):
                results[row] = _timed(result, seconds)
    return results


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the processor, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "DefaultCPUAllocator" in str(error)
    )


def lost(error: BaseException) -> bool:
    """Whether an error says that the device itself does not answer any more."""
    text = str(error)
    accelerator = getattr(torch, "AcceleratorError", ())
    return not out_of_memory(error) and (
        isinstance(error, accelerator)
        or (isinstance(error, RuntimeError) and ("CUDA error" in text or "CUDA driver" in text))
    )


def _parts(
    order: NDArray[np.int64], ks: NDArray[np.int64], stack: Stack, device: torch.device
) -> list[NDArray[np.int64]]:
    """Split the problems, sorted by k, where memory ends or k has grown by half."""
    _, n, m = stack.atoms.shape
    free = _SHARE * memory_at_hand(device)
    parts, first = [], 0
    for i in range(1, len(order) + 1):
        if i < len(order):
            k = int(ks[order[i]])
            need = (i - first) * 8 * (_COPIES * k * n + k * (m + 3 * k) + 20 * n)
            if need < free and k <= 1.5 * ks[order[first]] + 8:
                continue
        parts.append(order[first:i])
        first = i
    return parts


def memory_at_hand(device: torch.device) -> float:
    """Return the free bytes of a device; 2 GiB where the system does not tell."""
    if device.type == "cuda":
        # What torch holds for later use is at hand too.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + idle)
    free = available_memory()
    return 2.0**31 if free is None else float(free)


def _timed(result: Result, seconds: float) -> Result:
    """Return the result with its share of the seconds, which a chain divides by iterations."""
    used = [stage.n_iter or 0 for stage in result.stages]  # a twin tells its iterations
    total = sum(used)
    stages = tuple(
        replace(stage, seconds=seconds * count / total if total else 0.0)
        for stage, count in zip(result.stages, used, strict=True)
    )
    return replace(result, seconds=seconds, stages=stages)


def _solve(
    entry: Algorithm,
    options: dict[str, Any],
    stack: Stack,
    owner: NDArray[np.int64],
    signals: FloatArray,
    ks: NDArray[np.int64],
    starts: FloatArray | None,
) -> list[Result]:
    """Solve one part, all at once."""
    device, dtype = stack.atoms.device, stack.atoms.dtype
    n = stack.atoms.shape[1]
    finite = np.logical_and.reduce(np.isfinite(signals), axis=1)
    largest = np.where(finite, np.abs(signals).max(axis=1), 0.0)
    shifts = np.frexp(largest)[1]
    scaled = np.ldexp(np.where(finite[:, None], signals, 0.0), -shifts[:, None])
    # x of the scaled problem, times 2**back, is that of the problem as it was given.
    exponents = np.array([d.exponent for d in stack.dictionaries]) + stack.exponents
    back = shifts - exponents[owner]
    batch = Batch.start(
        stack,
        torch.from_numpy(np.asarray(owner, dtype=np.int64)).to(device),
        torch.from_numpy(scaled).to(device, dtype),
        torch.from_numpy(np.asarray(ks, dtype=np.int64)).to(device),
    )
    whole = len(signals)
    # A signal orthogonal to every atom has the answer zero.
    batch = batch.only(batch.correlations.any(1))
    x = np.zeros((whole, n))
    codes, n_iters = np.zeros(whole, dtype=np.int64), np.zeros(whole, dtype=np.int64)
    stages: list[list[Stage]] = [[] for _ in range(whole)]
    begin = None
    if starts is not None:
        sizes = np.frexp(np.abs(starts).max(axis=1))[1] - back
        if (starts.any(axis=1) & (sizes > _LARGEST_START[dtype])).any():
            raise InputError(TOO_LARGE_START)
        begin = torch.from_numpy(np.ldexp(starts, -back[:, None])).to(device, dtype)[batch.rows]
    links = entry.stages or (entry,)
    each = stage_options(entry, options) if entry.stages else [options]
    for link, own in zip(links, each, strict=True):
        if not len(batch):
            break
        ending = TWINS[link.name](*_given(batch, begin), **own)
        estimates = _estimates(batch, ending)
        rows, code = batch.rows.cpu().numpy(), ending.code.cpu().numpy()
        x[rows], codes[rows] = estimates.cpu().numpy(), code
        n_iter = ending.n_iter.cpu().numpy()
        n_iters[rows] += n_iter
        if entry.stages:
            for row, used in zip(rows, n_iter, strict=True):
                stages[row].append(Stage(link.name, int(used), 0.0))
        goes_on = torch.nonzero(ending.code != DIVERGED)[:, 0]
        begin = estimates[goes_on].to(dtype)
        batch = batch.only(goes_on)
    sound = finite & np.logical_and.reduce(np.isfinite(x), axis=1)
    with np.errstate(over="ignore"):
        x = np.ldexp(x, back[:, None])
    fits = np.logical_and.reduce(np.isfinite(x), axis=1)
    results = []
    for row in range(whole):
        status, used = _STATUS[codes[row]], int(n_iters[row])
        if finite[row] and (fits[row] or status == Status.DIVERGED):
            results.append(Result(x[row], used, status, stages=tuple(stages[row])))
        else:
            place = "torch-cpu" if device.type == "cpu" else device
            said = BEYOND_DOUBLE if sound[row] else f"NaN or infinite entries on {place}"
            results.append(Result(np.zeros(n), used, Status.ERROR, message=said))
    return results


def _given(batch: Batch, start: Tensor | None) -> tuple[Any, ...]:
    """Return the arguments of a twin, renumbering the rows of its batch."""
    own = batch.only(torch.arange(len(batch), device=batch.y.device))
    own.rows = torch.arange(len(batch), device=batch.y.device)
    own.most = int(own.k.max())
    return (own,) if start is None else (own, start)


def _estimates(batch: Batch, ending: Ending) -> Tensor:
    """Return x, float64 of shape (B, n): least squares on the support, or on the k largest."""
    support = ending.answers
    if support.is_floating_point():
        support = support_of(support, batch.k)
    return polished(batch, support)
