"""The algorithms, one family a file, and `solve`: the one way from (A, y, k) to a result."""

from __future__ import annotations

import contextlib
import operator
import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsebench import devices
from sparsebench.registry import Algorithm, algorithms, choose_algorithm, stage_options
from sparsebench.solvers import amp as amp
from sparsebench.solvers import baselines as baselines
from sparsebench.solvers import basis_pursuit as basis_pursuit
from sparsebench.solvers import cgiht as cgiht
from sparsebench.solvers import htp as htp
from sparsebench.solvers import iht as iht
from sparsebench.solvers import ista as ista
from sparsebench.solvers import l0_penalty as l0_penalty
from sparsebench.solvers import local_search as local_search
from sparsebench.solvers import omp as omp
from sparsebench.solvers import peers as peers
from sparsebench.solvers import pursuit as pursuit
from sparsebench.solvers import restarts as restarts
from sparsebench.solvers import sbl as sbl
from sparsebench.solvers import sbr as sbr
from sparsebench.solvers import sea as sea
from sparsebench.solvers import splicing as splicing
from sparsebench.solvers import unrolled as unrolled
from sparsebench.solvers.endings import BEYOND_DOUBLE, TOO_LARGE_START
from sparsebench.system import interruption
from sparsebench.types import (
    LARGEST_EXPONENT,
    Dictionary,
    FloatArray,
    InputError,
    Result,
    Stage,
    Status,
    all_finite,
    as_array,
    as_floats,
    as_reals,
    exponent_to_order_one,
)

__all__ = ["algorithms", "compile_kernels", "solve", "solve_checked"]


def solve(
    name: str,
    A: ArrayLike | Dictionary,
    y: ArrayLike,
    k: int,
    *,
    start: ArrayLike | None = None,
    support: ArrayLike | None = None,
    history: bool = False,
    device: str = "cpu",
    precision: str = "float64",
    **options: Any,
) -> Result:
    """Recover a k-sparse x from y = A x + noise.

    Parameters
    ----------
    name : str
        Registry name, with options in brackets if wanted: ``htp[step=1.8/L]``; or a chain, in
        which each algorithm starts from the estimate before it: ``els+sea[step=18/L]``.
    A : array_like, shape (m, n), or Dictionary
        A `Dictionary` keeps its Gram matrix and norms between calls.
    y : array_like, shape (m,) or (m, B)
        One signal, or B signals on one dictionary.
    k : int
        Sparsity, 1 <= k <= min(m, n).
    start : array_like, shape (n,), optional
        An estimate with at most k non-zeros to start from, where the algorithm can.
    support : array_like of int, optional
        The true support, for the algorithms that are told it (``oracle``).
    history : bool
        Whether to record diagnostics an iteration, where the algorithm can.
    device : str
        ``cpu``, or ``torch-cpu``, ``cuda``, ``cuda:1`` for the torch twin of an algorithm that has
        one (`sparsebench.batched.solve` takes problems with a dictionary each); ``auto`` is the
        faster one of what is there.
    precision : str
        ``float64``; or, on a device other than ``cpu``, ``float32``.
    **options
        The algorithm's options; those of a chain are ``**{"sea.step": "18/L"}``.

    Returns
    -------
    Result
        ``x`` of shape (n,), or (n, B) with one iteration count and one status a signal. ``n_iter``
        is None where the algorithm does not tell it.

    Raises
    ------
    InputError
        If a name or an option is unknown, or A, y, k or what else is given cannot be used.
    """
    entry, chosen = choose_algorithm(name, options)
    dictionary = A if isinstance(A, Dictionary) else Dictionary(A)
    m, n = dictionary.shape
    signals = as_floats(y, "y")
    if signals.ndim not in (1, 2) or signals.shape[0] != m:
        raise InputError(f"y must have shape ({m},) or ({m}, B) to match A, not {signals.shape}")
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise InputError(f"k must be a whole number, not {k!r}")
    if not 1 <= k <= min(m, n):
        raise InputError(f"k must lie in 1 .. min(m, n) = {min(m, n)}, not {k}")
    given = _checked_given(entry, n, int(k), start, support, history)
    place = devices.resolve(device)
    if device == "auto" and (history or not devices.has_twin(entry.name)):
        place = "cpu"
    if place != "cpu":
        return _solve_on(place, precision, entry, chosen, dictionary, signals, int(k), given)
    devices.check_precision("cpu", precision)
    if signals.ndim == 1:
        return solve_checked(entry, chosen, dictionary, signals, int(k), **given)
    if given:
        raise InputError(f"{', '.join(given)} can be given for one signal y, shape ({m},), only")
    rows = np.ascontiguousarray(signals.T)
    if entry.several is not None and rows.size:
        return _solve_together(entry, chosen, dictionary, rows, int(k))
    results = [solve_checked(entry, chosen, dictionary, row, int(k)) for row in rows]
    counts = [r.n_iter for r in results]
    return Result(
        np.stack([r.x for r in results], axis=1) if results else np.empty((n, 0)),
        None if None in counts else np.array(counts, dtype=np.int64),
        tuple(r.status for r in results if isinstance(r.status, Status)),
        sum(r.seconds for r in results),
    )


def _solve_on(
    device: str,
    precision: str,
    entry: Algorithm,
    options: dict[str, Any],
    dictionary: Dictionary,
    signals: FloatArray,
    k: int,
    given: dict[str, Any],
) -> Result:
    """Solve for one signal or several by the torch twin."""
    if set(given) - {"start"}:
        raise InputError(f"{', '.join(given)} can be given on the device cpu only")
    rows = np.atleast_2d(signals.T)
    if "start" in given and signals.ndim > 1:
        raise InputError("start can be given for one signal y only")
    from sparsebench import batched

    start = given["start"][None] if "start" in given else None
    results = batched.solve(
        entry.name, dictionary, rows, k, start=start, device=device, precision=precision, **options
    )
    for result in results:
        if result.status == Status.ERROR:
            raise InputError(f"{entry.name}: {result.message}")
    if signals.ndim == 1:
        return results[0]
    return Result(
        np.stack([r.x for r in results], axis=1) if results else np.empty((dictionary.shape[1], 0)),
        np.array([r.n_iter for r in results], dtype=np.int64),
        tuple(r.status for r in results if isinstance(r.status, Status)),
        sum(r.seconds for r in results),
    )


def _solve_together(
    entry: Algorithm, options: dict[str, Any], dictionary: Dictionary, signals: FloatArray, k: int
) -> Result:
    """Solve for signals, shape (B, m), in one call; extreme scales of each are removed."""
    assert entry.several is not None
    exponents = np.frexp(np.maximum(signals.max(axis=1), -signals.min(axis=1)))[1]
    exponents = np.where(np.abs(exponents) > LARGEST_EXPONENT, exponents, 0)
    scaled = np.ldexp(signals, -exponents[:, None]) if exponents.any() else signals
    begin = time.perf_counter()
    estimates, n_iter = entry.several(dictionary, scaled, k, **options)
    seconds = time.perf_counter() - begin
    estimates = _checked_estimate(entry.name, estimates, (len(signals), dictionary.shape[1]), k)
    shifts = exponents - dictionary.exponent
    x = _rescaled(estimates, shifts[:, None]) if shifts.any() else estimates
    return Result(x.T, n_iter, (Status.CONVERGED,) * len(signals), seconds)


def _checked_given(
    entry: Algorithm,
    n: int,
    k: int,
    start: ArrayLike | None,
    support: ArrayLike | None,
    history: bool,
) -> dict[str, Any]:
    """Return what a call gives beyond y and k, each checked."""
    given: dict[str, Any] = {}
    if start is not None:
        given["start"] = as_floats(start, "start")
        if given["start"].shape != (n,):
            raise InputError(f"start must have shape ({n},), not {given['start'].shape}")
        if np.count_nonzero(given["start"]) > k:
            raise InputError(
                f"start has {np.count_nonzero(given['start'])} non-zeros, more than k = {k}: "
                "keep its k largest"
            )
    if support is not None:
        indices = as_array(support, "support")
        if indices.shape == (0,):
            indices = indices.astype(np.intp)
        whole = indices.ndim == 1 and indices.dtype.kind in "iu"
        if not whole or not indices.size <= k or len(set(indices)) != indices.size:
            raise InputError(f"support must be at most k = {k} distinct indices")
        if indices.size and not (indices.min() >= 0 and indices.max() < n):
            raise InputError(f"support must hold indices in 0 .. {n - 1}")
        given["support"] = np.sort(indices).astype(np.intp)
    if history:
        given["history"] = True
    for item in given:
        if not entry.accepts(item):
            able = ", ".join(e.name for e in algorithms() if e.accepts(item))
            raise InputError(f"{entry.name} takes no {item}; these do: {able}")
    if support is None and entry.accepts("support"):
        raise InputError(f"{entry.name} must be told the true support: support=[...]")
    return given


def solve_checked(
    entry: Algorithm,
    options: dict[str, Any],
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    **given: Any,
) -> Result:
    """Solve for one signal whose inputs have been checked; extreme scales of y are removed.

    Raises
    ------
    InputError
        If the algorithm returns something else than a finite x, shape (n,), with at most k
        non-zeros.
    """
    if entry.stages:
        return _solve_chain(entry, options, dictionary, y, k, given)
    n = dictionary.shape[1]
    exponent = exponent_to_order_one(y)
    scaled = np.ldexp(y, -exponent) if exponent else y.copy()
    # Nearly always the first atom settles it.
    if np.dot(dictionary.atoms[0], scaled) == 0.0 and not (dictionary.atoms @ scaled).any():
        return Result(np.zeros(n), 0, Status.CONVERGED, 0.0)
    # A plain function sees the array as it was given; each gets its own copy of the signal.
    seen: Any = dictionary.A if entry.plain else dictionary
    signal = y.copy() if entry.plain else scaled
    shift = 0 if entry.plain else exponent - dictionary.exponent
    if "start" in given:
        given["start"] = _scaled_start(given["start"], -shift)
    begin = time.perf_counter()
    try:
        answer = entry.function(seen, signal, k, **options, **given)
    except np.linalg.LinAlgError as error:
        if entry.plain:
            raise
        raise InputError(
            f"{entry.name} cannot factor this dictionary: LAPACK says {error}"
        ) from error
    except SystemError as error:
        raise interruption(error)  # noqa: B904
    seconds = time.perf_counter() - begin
    # What makes a peer's estimate comparable with ours is not its doing.
    if entry.family == "peer" and isinstance(answer, Result):
        seconds = answer.seconds
    x, n_iter, status = _read_answer(entry.name, answer)
    x = _checked_estimate(entry.name, x, (n,), k, status)
    if shift:
        x = _rescaled(x, shift, diverged=status == Status.DIVERGED)
    history = answer.history if isinstance(answer, Result) else None
    return Result(x, n_iter, status, seconds, history=history)


def _rescaled(
    x: FloatArray, exponent: int | NDArray[np.intc], diverged: bool = False
) -> FloatArray:
    """Return x * 2**exponent, refusing what overflows unless x has diverged anyway."""
    with np.errstate(over="ignore"):
        x = np.ldexp(x, exponent)
    if not diverged and not all_finite(x):
        raise InputError(BEYOND_DOUBLE)
    return x


def _scaled_start(start: FloatArray, exponent: int) -> FloatArray:
    """Return start * 2**exponent, refusing what would overflow when it is squared."""
    largest = float(np.abs(start).max(initial=0.0))
    if largest and np.frexp(largest)[1] + exponent > 2 * LARGEST_EXPONENT:
        raise InputError(TOO_LARGE_START)
    return np.ldexp(start, exponent)


def _solve_chain(
    entry: Algorithm,
    options: dict[str, Any],
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    given: dict[str, Any],
) -> Result:
    """Run the stages of a chain, each from the estimate before it; their costs add up."""
    stages: list[Stage] = []
    history = None
    for stage, own in zip(entry.stages, stage_options(entry, options), strict=True):
        result = solve_checked(stage, own, dictionary, y, k, **given)
        n_iter = None if result.n_iter is None else int(result.n_iter)
        stages.append(Stage(stage.name, n_iter, result.seconds))
        history = history or result.history
        given = {"start": result.x}
        if result.status == Status.DIVERGED:
            break
    counts = [stage.n_iter for stage in stages]
    total = None if None in counts else sum(counts)  # type: ignore[arg-type]
    seconds = sum(stage.seconds for stage in stages)
    return Result(result.x, total, result.status, seconds, tuple(stages), history)


def compile_kernels(entry: Algorithm, options: dict[str, Any]) -> None:
    """Run an algorithm on a tiny problem, so that what it compiles is compiled."""
    if entry.stages:
        for stage, own in zip(entry.stages, stage_options(entry, options), strict=True):
            compile_kernels(stage, own)
    else:
        atoms = np.vander(np.linspace(-1.0, 1.0, 4), 8)
        # What goes wrong here goes wrong there, where it is a row with its message.
        with contextlib.suppress(Exception, SystemExit):
            if entry.several is not None:
                entry.several(Dictionary(atoms), atoms.T[:2].copy(), 2, **options)
            given = {"support": np.array([1, 6])} if entry.accepts("support") else {}
            solve_checked(entry, options, Dictionary(atoms), atoms[:, 1] + atoms[:, 6], 2, **given)


def _read_answer(name: str, answer: Any) -> tuple[Any, int | None, Status]:
    """Return (x, iterations, status) of what an algorithm returned: a `Result`, or x alone."""
    if not isinstance(answer, Result):
        return answer, None, Status.CONVERGED
    try:
        n_iter = None if answer.n_iter is None else operator.index(answer.n_iter)
        return answer.x, n_iter, Status(answer.status)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(
            f"{name} returned n_iter = {answer.n_iter!r} and status = {answer.status!r}, "
            "not an integer (None if unknown) and a Status"
        ) from None


def _checked_estimate(
    name: str, x: Any, shape: tuple[int, ...], k: int, status: Status = Status.CONVERGED
) -> FloatArray:
    """Return estimates as a fresh float64 array; one that has diverged need not be finite."""
    if not isinstance(x, np.ndarray) or x.shape != shape:
        found = f"shape {x.shape}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
        raise InputError(f"{name} returned {found}, not an array of shape {shape}")
    x = as_reals(x, f"the x that {name} returned")
    if status == Status.DIVERGED:
        return x
    if not all_finite(x):
        raise InputError(f"{name} returned NaN or infinite entries")
    size = np.count_nonzero(x) if x.ndim == 1 else np.count_nonzero(x, axis=1).max()
    if size > k:
        raise InputError(f"{name} returned {size} non-zeros, more than k = {k}")
    return x
