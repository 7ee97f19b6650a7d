"""`solve`: the one way from (A, y, k) to a result."""

from __future__ import annotations

import numbers
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sparsebench.operators import Operator, dictionary_of
from sparsebench.registry import devices
from sparsebench.registry.calls import call_together, untold
from sparsebench.registry.catalogue import algorithms
from sparsebench.registry.choices import Choice
from sparsebench.registry.choosing import choose_algorithm
from sparsebench.types import Dictionary, FloatArray, InputError, Result, as_array, as_numbers


def solve(
    name: str,
    A: Any,
    y: ArrayLike,
    k: int | str | None = None,
    *,
    start: ArrayLike | None = None,
    support: ArrayLike | None = None,
    noise: float | None = None,
    history: bool = False,
    device: str = "cpu",
    precision: str = "float64",
    **options: Any,
) -> Result:
    """Recover a k-sparse x from y = A x + noise; where A or y is complex, a complex x.

    Parameters
    ----------
    name : str
        Registry name, with options in brackets if wanted: ``htp[step=1.8/L]``; or a chain, in
        which each algorithm starts from the estimate before it: ``els+sea[step=18/L]``.
    A : array_like, shape (m, n), sparse matrix, operator, Dictionary or Operator
        A `Dictionary` keeps its Gram matrix and norms between calls. A matrix of `scipy.sparse`, a
        SciPy `LinearOperator`, a PyLops operator, or what else has `shape`, `matvec` and `rmatvec`,
        is used by products alone, by the algorithms that `list` says take an operator; an
        `Operator` keeps its norms between calls, and counts its products.
    y : array_like, shape (m,) or (m, B)
        One signal, or B signals on one dictionary.
    k : int
        Sparsity, 1 <= k <= min(m, n). What is not told k needs none, and is not handed one. A
        rule that finds k instead, as in ``omp[k=ebic]``: aic, bic, ebic, mdl, cv, noise, white.
    start : array_like, shape (n,), optional
        An estimate with at most k non-zeros to start from, where the algorithm can.
    support : array_like of int, optional
        The true support, for the algorithms that are told it (``oracle``).
    noise : float
        The noise level, for the algorithms that are told it: the standard deviation of an entry
        of the noise in y's units, of complex numbers that of its modulus. At least 1e-10 of the
        root mean square of y counts, so that 0 is noise at the size of rounding.
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
    if isinstance(k, str):
        options["k"], k = k, None
    chosen = choose_algorithm(name, options)
    dictionary = dictionary_of(A)
    if isinstance(dictionary, Operator):
        _check_takes_operator(chosen, device)
    m, n = dictionary.shape
    signals = as_numbers(y, "y")
    if signals.ndim not in (1, 2) or signals.shape[0] != m:
        raise InputError(f"y must have shape ({m},) or ({m}, B) to match A, not {signals.shape}")
    if k is None:
        if chosen.takes_k:
            raise InputError(f"{chosen.name} must be told k, the number of non-zeros")
        k = min(m, n)
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise InputError(f"k must be a whole number, not {k!r}")
    if not 1 <= k <= min(m, n):
        raise InputError(f"k must lie in 1 .. min(m, n) = {min(m, n)}, not {k}")
    given = _checked_given(chosen, n, int(k), start, support, noise, history)
    if signals.dtype.kind == "c" or dictionary.is_complex:
        chosen.check_complex()
        dictionary, signals = dictionary.complexified, signals.astype(np.complex128)
        if "start" in given:
            given["start"] = given["start"].astype(np.complex128)
    elif "start" in given and given["start"].dtype.kind == "c":
        raise InputError("start is complex, and A and y are real")
    place = devices.resolve(device)
    if device == "auto" and (history or not chosen.has_twin or isinstance(dictionary, Operator)):
        place = "cpu"
    devices.check_precision(place, precision)
    if place != "cpu":
        return _solve_on(chosen.on(place, precision), place, dictionary, signals, int(k), given)
    if signals.ndim == 1:
        return chosen.solve(dictionary, signals, int(k), **given)
    single = [item for item in given if item != "noise"]
    if single:
        raise InputError(f"{', '.join(single)} can be given for one signal y, shape ({m},), only")
    return _solve_each(chosen, dictionary, np.ascontiguousarray(signals.T), int(k), given)


def _check_takes_operator(chosen: Choice, device: str) -> None:
    """Refuse algorithms that need more of A than products, and devices."""
    for link in chosen.links:
        if not link.algorithm.matrix_free:
            able = ", ".join(entry.name for entry in algorithms() if entry.matrix_free)
            raise InputError(
                f"{link.algorithm.name} needs the matrix A or its Gram matrix as an array, not a "
                f"sparse matrix or an operator; these take one: {able}"
            )
    if device not in ("cpu", "auto"):
        raise InputError(f"sparse matrices and operators are solved on cpu, not on {device!r}")


def _solve_each(
    chosen: Choice, dictionary: Dictionary, rows: FloatArray, k: int, given: dict[str, Any]
) -> Result:
    """Solve for signals, shape (B, m), on the processor."""
    first = chosen.links[0]
    if len(chosen.links) == 1 and first.algorithm.several is not None and rows.size:
        return call_together(first.algorithm, first.options, dictionary, rows, k)
    dictionary.foreseen = dictionary.begun + len(rows) * len(chosen.links)
    results = [chosen.solve(dictionary, row, k, **given) for row in rows]
    return _joined(results, dictionary.shape[1], dictionary.dtype)


def _solve_on(
    chosen: Choice,
    device: str,
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
    from sparsebench.batched.solving import solve_choice

    start = given["start"][None] if "start" in given else None
    ks = np.full(len(rows), k)
    results = solve_choice(chosen, device, [dictionary], rows, ks, start)
    for result in results:
        if result.message:
            raise InputError(f"{chosen.name}: {result.message}")
    if signals.ndim == 1:
        return results[0]
    return _joined(results, dictionary.shape[1], dictionary.dtype)


def _joined(results: list[Result], n: int, dtype: Any = np.float64) -> Result:
    """Return the results of several signals as one."""
    counts = [r.n_iter for r in results]
    return Result(
        np.stack([r.x for r in results], axis=1) if results else np.empty((n, 0), dtype),
        None if None in counts else np.array(counts, dtype=np.int64),
        tuple(r.status for r in results if not isinstance(r.status, tuple)),
        sum(r.seconds for r in results),
    )


def _checked_given(
    chosen: Choice,
    n: int,
    k: int,
    start: ArrayLike | None,
    support: ArrayLike | None,
    noise: float | None,
    history: bool,
) -> dict[str, Any]:
    """Return what a call gives beyond y and k, each checked."""
    given: dict[str, Any] = {}
    if start is not None:
        given["start"] = as_numbers(start, "start")
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
    if noise is not None:
        given["noise"] = _checked_noise(noise)
    if history:
        given["history"] = True
    for item in given:
        if not chosen.accepts(item):
            able = ", ".join(e.name for e in algorithms() if e.accepts(item))
            raise InputError(f"{chosen.name} takes no {item}; these do: {able}")
    if support is None and chosen.accepts("support"):
        raise InputError(f"{chosen.name} must be told the true support: support=[...]")
    if noise is None and chosen.accepts("noise"):
        raise InputError(untold(chosen.name))
    return given


def _checked_noise(noise: Any) -> float:
    """Return a noise level as a float, refusing what is no finite number >= 0."""
    real = isinstance(noise, numbers.Real) and not isinstance(noise, bool | np.bool_)
    if not real or not 0 <= noise <= sys.float_info.max:
        raise InputError(f"noise must be a number >= 0, the standard deviation, not {noise!r}")
    return float(noise)
