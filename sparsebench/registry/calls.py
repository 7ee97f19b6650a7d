"""One call of one algorithm: scales are removed, and what it answers is checked."""

from __future__ import annotations

import contextlib
import math
import operator
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.registry.declaring import ALGORITHMS
from sparsebench.registry.records import Algorithm
from sparsebench.system.limits import interruption
from sparsebench.types import (
    LARGEST_EXPONENT,
    Dictionary,
    FloatArray,
    InputError,
    Result,
    Status,
    all_finite,
    as_reals,
    exponent_to_order_one,
    times_power_of_two,
)

# The smallest noise level that an algorithm is handed, in units of the root mean square of y: below
# it is rounding, and a residual of this size counts as zero elsewhere, too.
_LEAST_NOISE = 1e-10
#: What is said of an estimate that overflows at the scale of A and y.
BEYOND_DOUBLE = "x does not fit into double precision: A is too small for this y"
#: What is said of a start whose image would overflow when it is squared.
TOO_LARGE_START = "start is too large for this A and y: its image exceeds y beyond measure"


def call(
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
        non-zeros if it is told k, or knows real numbers only where these are complex, or is told
        the noise level and ``noise`` is not given.
    """
    n = dictionary.shape[1]
    if dictionary.is_complex and not entry.complex_numbers:
        raise InputError(real_only(entry))
    exponent = exponent_to_order_one(y)
    scaled = times_power_of_two(y, -exponent) if exponent else y.copy()
    if dictionary.is_orthogonal_to(scaled):
        return Result(np.zeros(n, y.dtype), 0, Status.CONVERGED, 0.0)
    # A plain function sees the array as it was given; each gets its own copy of the signal.
    seen: Any = dictionary.A if entry.plain else dictionary
    signal = y.copy() if entry.plain else scaled
    shift = 0 if entry.plain else exponent - dictionary.exponent
    if "start" in given:
        given["start"] = _scaled_start(given["start"], -shift)
    if entry.takes_noise:
        if "noise" not in given:
            raise InputError(untold(entry.name))
        level = _scaled_noise(given["noise"], scaled, exponent)
        given["noise"] = math.ldexp(level, exponent) if entry.plain else level
    told = (seen, signal, k) if entry.takes_k else (seen, signal)
    dictionary.begun += 1
    begin = time.perf_counter()
    try:
        answer = entry.function(*told, **options, **given)
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
    most = k if entry.takes_k else n
    x = _checked_estimate(entry.name, x, (n,), most, dictionary.is_complex, status)
    if not dictionary.settled and not status.failed:
        status = Status.NOT_CONVERGED
    if shift:
        x = _rescaled(x, shift, diverged=status == Status.DIVERGED)
    history = answer.history if isinstance(answer, Result) else None
    return Result(x, n_iter, status, seconds, history=history)


def real_only(entry: Algorithm) -> str:
    """Say that an algorithm is for real numbers, and which are not."""
    able = ", ".join(e.name for e in ALGORITHMS.values() if e.complex_numbers)
    return f"{entry.name} is for real numbers; for complex A or y: {able}"


def untold(name: str) -> str:
    """Say that an algorithm is told the noise level and was not."""
    return (
        f"{name} must be told the noise level: noise=..., the standard deviation of an entry of "
        "the noise in y's units (of complex numbers, of its modulus)"
    )


def _scaled_noise(noise: float, scaled: FloatArray, exponent: int) -> float:
    """Return noise * 2**(-exponent), at least 1e-10 of the root mean square of the scaled y."""
    size = float(np.linalg.norm(scaled)) / scaled.size**0.5
    mantissa, own = math.frexp(noise)
    # No algorithm finds anything in noise that large, and none may overflow when it squares it.
    level = math.ldexp(mantissa, min(own - exponent, 2 * LARGEST_EXPONENT))
    return max(level, _LEAST_NOISE * size)


def _rescaled(
    x: FloatArray, exponent: int | NDArray[np.intc], diverged: bool = False
) -> FloatArray:
    """Return x * 2**exponent, refusing what overflows unless x has diverged anyway."""
    with np.errstate(over="ignore"):
        x = times_power_of_two(x, exponent)
    if not diverged and not all_finite(x):
        raise InputError(BEYOND_DOUBLE)
    return x


def _scaled_start(start: FloatArray, exponent: int) -> FloatArray:
    """Return start * 2**exponent, refusing what would overflow when it is squared."""
    largest = float(np.abs(start).max(initial=0.0))
    if largest and np.frexp(largest)[1] + exponent > 2 * LARGEST_EXPONENT:
        raise InputError(TOO_LARGE_START)
    return times_power_of_two(start, exponent)


def call_together(
    entry: Algorithm, options: dict[str, Any], dictionary: Dictionary, signals: FloatArray, k: int
) -> Result:
    """Solve for signals, shape (B, m), in one call; extreme scales of each are removed."""
    assert entry.several is not None
    if dictionary.is_complex:
        if not entry.complex_numbers:
            raise InputError(real_only(entry))
        largest = np.abs(signals.view(np.float64)).max(axis=1)
    else:
        largest = np.maximum(signals.max(axis=1), -signals.min(axis=1))
    exponents = np.frexp(largest)[1]
    exponents = np.where(np.abs(exponents) > LARGEST_EXPONENT, exponents, 0)
    scaled = times_power_of_two(signals, -exponents[:, None]) if exponents.any() else signals
    begin = time.perf_counter()
    estimates, n_iter = entry.several(dictionary, scaled, k, **options)
    seconds = time.perf_counter() - begin
    shape = len(signals), dictionary.shape[1]
    estimates = _checked_estimate(entry.name, estimates, shape, k, dictionary.is_complex)
    shifts = exponents - dictionary.exponent
    x = _rescaled(estimates, shifts[:, None]) if shifts.any() else estimates
    return Result(x.T, n_iter, (Status.CONVERGED,) * len(signals), seconds)


def compile_kernels(
    entry: Algorithm, options: dict[str, Any], complex_numbers: bool = False
) -> None:
    """Run an algorithm on a tiny problem, so that what it compiles is compiled."""
    atoms = np.vander(np.linspace(-1.0, 1.0, 4), 8)
    if complex_numbers:
        atoms = atoms * np.exp(1j * np.arange(8.0))
    # What goes wrong here goes wrong there, where it is a row with its message.
    with contextlib.suppress(Exception, SystemExit):
        given: dict[str, Any] = {"noise": 1e-3} if entry.takes_noise else {}
        if entry.accepts("support"):
            given["support"] = np.array([1, 6])
        call(entry, options, Dictionary(atoms), atoms[:, 1] + atoms[:, 6], 2, **given)


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
    name: str,
    x: Any,
    shape: tuple[int, ...],
    k: int,
    complex_numbers: bool,
    status: Status = Status.CONVERGED,
) -> FloatArray:
    """Return estimates as a fresh array of doubles; one that has diverged need not be finite."""
    if not isinstance(x, np.ndarray) or x.shape != shape:
        found = f"shape {x.shape}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
        raise InputError(f"{name} returned {found}, not an array of shape {shape}")
    if complex_numbers and x.dtype.kind in "biufc":
        x = x.astype(np.complex128)
    else:
        x = as_reals(x, f"the x that {name} returned")
    if status == Status.DIVERGED:
        return x
    if not all_finite(x):
        raise InputError(f"{name} returned NaN or infinite entries")
    size = np.count_nonzero(x) if x.ndim == 1 else np.count_nonzero(x, axis=1).max()
    if size > k:
        raise InputError(f"{name} returned {size} non-zeros, more than k = {k}")
    return x
