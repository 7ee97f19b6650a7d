"""The algorithms, one family a file, and `solve`: the one way from (A, y, k) to a result."""

from __future__ import annotations

import contextlib
import operator
import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sparsebench.registry import Algorithm, algorithms, choice, get_algorithm, parse_choice
from sparsebench.solvers import htp as htp
from sparsebench.solvers import iht as iht
from sparsebench.solvers import ista as ista
from sparsebench.solvers import omp as omp
from sparsebench.solvers import sea as sea
from sparsebench.types import (
    Dictionary,
    FloatArray,
    InputError,
    Result,
    Status,
    as_floats,
    exponent_to_order_one,
)

__all__ = ["algorithms", "compile_kernels", "solve", "solve_checked"]


def solve(name: str, A: ArrayLike | Dictionary, y: ArrayLike, k: int, **options: Any) -> Result:
    """Recover a k-sparse x from y = A x + noise.

    Parameters
    ----------
    name : str
        Registry name, with options in brackets if wanted: ``htp[step=1.8/L]``.
    A : array_like, shape (m, n), or Dictionary
        A `Dictionary` keeps its Gram matrix and norms between calls.
    y : array_like, shape (m,) or (m, B)
        One signal, or B signals on one dictionary.
    k : int
        Sparsity, 1 <= k <= min(m, n).
    **options
        The algorithm's options.

    Returns
    -------
    Result
        ``x`` of shape (n,), or (n, B) with one iteration count and one status a signal.

    Raises
    ------
    InputError
        If a name or an option is unknown, or A, y or k cannot be used.
    """
    base, inline = parse_choice(name)
    entry = get_algorithm(base)
    chosen = dict(choice(entry, {**inline, **options}).options)
    dictionary = A if isinstance(A, Dictionary) else Dictionary(A)
    m, n = dictionary.shape
    signals = as_floats(y, "y")
    if signals.ndim not in (1, 2) or signals.shape[0] != m:
        raise InputError(f"y must have shape ({m},) or ({m}, B) to match A, not {signals.shape}")
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise InputError(f"k must be a whole number, not {k!r}")
    if not 1 <= k <= min(m, n):
        raise InputError(f"k must lie in 1 .. min(m, n) = {min(m, n)}, not {k}")
    if signals.ndim == 1:
        return solve_checked(entry, chosen, dictionary, signals, int(k))
    results = [
        solve_checked(entry, chosen, dictionary, np.ascontiguousarray(signal), int(k))
        for signal in signals.T
    ]
    return Result(
        np.stack([r.x for r in results], axis=1) if results else np.empty((n, 0)),
        np.array([r.n_iter for r in results], dtype=np.int64),
        tuple(r.status for r in results if isinstance(r.status, Status)),
        sum(r.seconds for r in results),
    )


def solve_checked(
    entry: Algorithm, options: dict[str, Any], dictionary: Dictionary, y: FloatArray, k: int
) -> Result:
    """Solve for one signal whose inputs have been checked; extreme scales of y are removed.

    Raises
    ------
    InputError
        If the algorithm returns something else than a finite x, shape (n,), with at most k
        non-zeros.
    """
    n = dictionary.shape[1]
    exponent = exponent_to_order_one(y)
    scaled = np.ldexp(y, -exponent)
    if not (dictionary.atoms @ scaled).any():
        return Result(np.zeros(n), 0, Status.CONVERGED, 0.0)
    # A plain function sees the array as it was given; each gets its own copy of the signal.
    seen: Any = dictionary.A if entry.plain else dictionary
    signal = y.copy() if entry.plain else scaled
    start = time.perf_counter()
    answer = entry.function(seen, signal, k, **options)
    seconds = time.perf_counter() - start
    x, n_iter, status = _read_answer(entry.name, answer)
    if status != Status.DIVERGED:
        _check_estimate(entry.name, x, n, k)
    if not entry.plain and (exponent or dictionary.exponent):
        x = np.ldexp(x, exponent - dictionary.exponent)
    return Result(x, n_iter, status, seconds)


def compile_kernels(entry: Algorithm, options: dict[str, Any]) -> None:
    """Run one of our algorithms on a tiny problem, so that its kernels are compiled and cached."""
    if not entry.plain:
        atoms = np.vander(np.linspace(-1.0, 1.0, 4), 8)
        # What goes wrong here goes wrong there, where it is a row with its message.
        with contextlib.suppress(Exception, SystemExit):
            solve_checked(entry, options, Dictionary(atoms), atoms[:, 1] + atoms[:, 6], 2)


def _read_answer(name: str, answer: Any) -> tuple[Any, int, Status]:
    """Return (x, iterations, status) of what an algorithm returned: a `Result`, or x alone."""
    if not isinstance(answer, Result):
        return answer, 0, Status.CONVERGED
    try:
        return answer.x, operator.index(answer.n_iter), Status(answer.status)  # type: ignore
    except (TypeError, ValueError):
        raise InputError(
            f"{name} returned n_iter = {answer.n_iter!r} and status = {answer.status!r}, "
            "not an integer and a Status"
        ) from None


def _check_estimate(name: str, x: Any, n: int, k: int) -> None:
    shape = np.shape(x)
    if shape != (n,):
        raise InputError(f"{name} returned shape {shape}, not ({n},)")
    if not (isinstance(x, np.ndarray) and x.dtype.kind in "biuf"):
        raise InputError(f"{name} did not return an array of real numbers")
    if not np.isfinite(x).all():
        raise InputError(f"{name} returned NaN or infinite entries")
    if np.count_nonzero(x) > k:
        raise InputError(f"{name} returned {np.count_nonzero(x)} non-zeros, more than k = {k}")
