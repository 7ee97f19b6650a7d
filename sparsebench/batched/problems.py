"""Many problems of one size at once, through the twins of an algorithm or of a chain's links."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.batched.batch import Batch, Ending, Stack
from sparsebench.batched.least_squares import polished
from sparsebench.batched.memory import memory_at_hand, out_of_memory, torch_device
from sparsebench.batched.selection import support_of
from sparsebench.registry import Algorithm, Choice
from sparsebench.registry.calls import BEYOND_DOUBLE, TOO_LARGE_START
from sparsebench.solvers.endings import DIVERGED, STATUS
from sparsebench.types import (
    LARGEST_EXPONENT,
    Dictionary,
    FloatArray,
    InputError,
    Result,
    Stage,
    Status,
    times_power_of_two,
)

# Exponent of the largest start, where y and A are of order 1, whose square does not overflow.
_LARGEST_START = {torch.float64: 2 * LARGEST_EXPONENT, torch.float32: 40}
_DTYPES = {"float64": torch.float64, "float32": torch.float32}
_COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}
# Of the memory at hand, the part that a batch may take, and the copies of (k, n) that one problem
# takes at most (exhaustive local search; OMP takes one).
_SHARE = 0.5
_COPIES = 10


def stack(dictionaries: Sequence[Dictionary], device: str, precision: str) -> Stack:
    """Return dictionaries of one shape on a device; all complex, or none."""
    dtype = _DTYPES[precision]
    if dictionaries[0].is_complex:
        dtype = _COMPLEX[dtype]
    return Stack(dictionaries, torch_device(device), dtype)


def solve_problems(
    chosen: Choice,
    dictionaries: Sequence[Dictionary] | Stack,
    owner: NDArray[np.int64],
    signals: FloatArray,
    ks: NDArray[np.int64],
    device: str,
    starts: FloatArray | None = None,
) -> list[Result | None]:
    """Return the results of problems whose inputs have been checked.

    In parts that fit into the memory at hand; a part that does not after all is halved. None
    stands for a single problem that does not fit.

    Parameters
    ----------
    chosen : Choice
        One whose links have twins.
    dictionaries : sequence of Dictionary, or Stack
        D of them, of one shape; or already on the device.
    owner : ndarray of int, shape (B,)
        Which dictionary each problem has.
    signals : ndarray, shape (B, m)
        A problem whose signal is not finite, or whose x does not fit into double precision, has
        status "error", x = 0 and a message.
    ks : ndarray of int, shape (B,)
    device : str
    starts : ndarray, shape (B, n), optional

    Raises
    ------
    InputError
        If there is no such device.
    """
    place = torch_device(device)
    if not len(signals):
        return []
    with torch.inference_mode():
        if isinstance(dictionaries, Stack):
            held = dictionaries
        else:
            held = stack(dictionaries, device, chosen.precision)
        # Problems of like sparsity go together, so that little of a batch is padding.
        order = np.argsort(ks, kind="stable")
        results: list[Result | None] = [None] * len(signals)
        parts = _parts(order, ks, held, place)
        while parts:
            part = parts.pop(0)
            begin = time.perf_counter()
            try:
                given = None if starts is None else starts[part]
                found = _solve(chosen, held, owner[part], signals[part], ks[part], given)
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


def _parts(
    order: NDArray[np.int64], ks: NDArray[np.int64], stack: Stack, device: torch.device
) -> list[NDArray[np.int64]]:
    """Split the problems, sorted by k, where memory ends or k has grown by half."""
    _, n, m = stack.atoms.shape
    free, size = _SHARE * memory_at_hand(device), 16 if stack.atoms.is_complex() else 8
    parts, first = [], 0
    for i in range(1, len(order) + 1):
        if i < len(order):
            k = int(ks[order[i]])
            need = (i - first) * size * (_COPIES * k * n + k * (m + 3 * k) + 20 * n)
            if need < free and k <= 1.5 * ks[order[first]] + 8:
                continue
        parts.append(order[first:i])
        first = i
    return parts


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
    chosen: Choice,
    stack: Stack,
    owner: NDArray[np.int64],
    signals: FloatArray,
    ks: NDArray[np.int64],
    starts: FloatArray | None,
) -> list[Result]:
    """Solve one part, all at once; extreme scales are removed."""
    device, dtype = stack.atoms.device, stack.atoms.dtype
    finite = np.logical_and.reduce(np.isfinite(signals), axis=1)
    largest = np.where(finite, np.abs(signals).max(axis=1), 0.0)
    shifts = np.frexp(largest)[1]
    scaled = times_power_of_two(np.where(finite[:, None], signals, 0.0), -shifts[:, None])
    # x of the scaled problem, times 2**back, is that of the problem as it was given.
    exponents = np.array([d.exponent for d in stack.dictionaries]) + stack.exponents
    back = shifts - exponents[owner]
    batch = Batch.start(
        stack,
        torch.from_numpy(np.asarray(owner, dtype=np.int64)).to(device),
        torch.from_numpy(scaled).to(device, dtype),
        torch.from_numpy(np.asarray(ks, dtype=np.int64)).to(device),
    )
    # A signal orthogonal to every atom has the answer zero.
    batch = batch.only(batch.correlations.any(1))
    begin = None
    if starts is not None:
        sizes = np.frexp(np.abs(starts).max(axis=1))[1] - back
        if (starts.any(axis=1) & (sizes > _LARGEST_START[dtype.to_real()])).any():
            raise InputError(TOO_LARGE_START)
        begin = torch.from_numpy(times_power_of_two(starts, -back[:, None]))
        begin = begin.to(device, dtype)[batch.rows]
    found = _Found.none(len(signals), stack.atoms.shape[1], stack.dictionaries[0].dtype)
    _run_links(chosen, batch, begin, found)
    return found.results(device, finite, back)


@dataclass
class _Found:
    """What the links of a chain have found so far: estimates, endings, iterations and stages."""

    x: FloatArray
    codes: NDArray[np.int64]
    n_iters: NDArray[np.int64]
    stages: list[list[Stage]]

    @classmethod
    def none(cls, count: int, n: int, dtype: np.dtype[Any]) -> _Found:
        """Return nothing found for so many problems of n atoms: x = 0, converged."""
        codes, n_iters = np.zeros((2, count), dtype=np.int64)
        return cls(np.zeros((count, n), dtype), codes, n_iters, [[] for _ in range(count)])

    def results(
        self, device: torch.device, finite: NDArray[np.bool_], back: NDArray[np.intp]
    ) -> list[Result]:
        """Return the results at the scale of the problems as given; an error where one has none."""
        sound = finite & np.logical_and.reduce(np.isfinite(self.x), axis=1)
        with np.errstate(over="ignore"):
            x = times_power_of_two(self.x, back[:, None])
        fits = np.logical_and.reduce(np.isfinite(x), axis=1)
        results = []
        for row in range(len(x)):
            status, used = STATUS[self.codes[row]], int(self.n_iters[row])
            if finite[row] and (fits[row] or status == Status.DIVERGED):
                results.append(Result(x[row], used, status, stages=tuple(self.stages[row])))
            else:
                place = "torch-cpu" if device.type == "cpu" else device
                said = BEYOND_DOUBLE if sound[row] else f"NaN or infinite entries on {place}"
                empty = np.zeros_like(x[row])
                results.append(Result(empty, used, Status.ERROR, message=said))
        return results


def _run_links(chosen: Choice, batch: Batch, begin: Tensor | None, found: _Found) -> None:
    """Run the twin of each link from the estimates before it, as long as one is left."""
    for link in chosen.links:
        if not len(batch):
            break
        ending = load_twin(link.algorithm)(*_given(batch, begin), **link.options)
        estimates = _estimates(batch, ending)
        rows, code = batch.rows.cpu().numpy(), ending.code.cpu().numpy()
        found.x[rows], found.codes[rows] = estimates.cpu().numpy(), code
        n_iter = ending.n_iter.cpu().numpy()
        found.n_iters[rows] += n_iter
        if len(chosen.links) > 1:
            for row, used in zip(rows, n_iter, strict=True):
                found.stages[row].append(Stage(link.algorithm.name, int(used), 0.0))
        goes_on = torch.nonzero(ending.code != DIVERGED)[:, 0]
        begin = estimates[goes_on].to(batch.y.dtype)
        batch = batch.only(goes_on)


def load_twin(entry: Algorithm) -> Callable[..., Ending]:
    """Return the twin that an algorithm names, or raise `InputError` if there is none."""
    module, _, function = entry.twin.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the twin {entry.twin!r} of {entry.name} is not there ({error}): write module:function"
        ) from None


def _given(batch: Batch, start: Tensor | None) -> tuple[Any, ...]:
    """Return the arguments of a twin, renumbering the rows of its batch."""
    rows = torch.arange(len(batch), device=batch.y.device)
    own = replace(batch, rows=rows, most=int(batch.k.max()))
    return (own,) if start is None else (own, start)


def _estimates(batch: Batch, ending: Ending) -> Tensor:
    """Return x in double, shape (B, n): least squares on the support, or on the k largest."""
    support = ending.answers
    if support.is_floating_point() or support.is_complex():
        support = support_of(support, batch.k)
    return polished(batch, support)
