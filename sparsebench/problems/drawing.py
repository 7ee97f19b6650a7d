"""`draw`: the one way from a recipe to an instance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import numpy as np
import scipy

from sparsebench.errors import LARGEST_INTEGER, InputError, check_seed, check_sizes, check_whole
from sparsebench.operators import Operator
from sparsebench.problems.signals import sparse_signal, tail
from sparsebench.registry import ProblemChoice, choose_problem, problems
from sparsebench.seeding import generator
from sparsebench.types import (
    Dictionary,
    FloatArray,
    Instance,
    all_finite,
    as_floats,
    as_numbers,
    check_memory,
)

# Entries of a dictionary from which on the memory at hand is looked at.
_LARGE = 2**24
# Atoms of a fast form.
_MOST_ATOMS = 2**27


class DrawError(InputError):
    """A problem's own code failed on one instance, or drew what cannot be used."""


def draw(
    problem: str,
    *,
    m: int,
    n: int,
    k: int,
    trial: int = 0,
    seed: int = 0,
    matrix_free: bool = False,
    **options: Any,
) -> Instance:
    """Return the instance that a run would use.

    Parameters
    ----------
    problem : str
        Registry name, with options in brackets if wanted: ``deconvolution[width=3]``.
    m, n, k : int
        Measurements, atoms, non-zeros; 1 <= k <= m.
    trial, seed : int
        Trial number >= 0 and root seed.
    matrix_free : bool
        Whether ``dictionary`` is to be an `Operator`, the fast form of the same dictionary, of a
        problem that has one: `fourier`, `dct`, `hadamard` and `deconvolution`, with up to 2^27
        atoms.
    **options
        The problem's options.

    Returns
    -------
    Instance
        With ``A`` (m, n), ``x`` (n,), ``y`` (m,), ``support`` (k,) and ``dictionary``.

    Raises
    ------
    InputError
        If a name, an option or a size cannot be used, or the problem fails (`DrawError`).
    """
    chosen = choose_problem(problem, options)
    check_sizes(m, n, k, **({"most": _MOST_ATOMS} if matrix_free else {}))
    trial = check_whole("trial", trial, 0, LARGEST_INTEGER)
    check_seed(seed)
    m, n, k, seed = int(m), int(n), int(k), int(seed)
    drawn = draw_operator if matrix_free else draw_dictionary
    dictionary = drawn(chosen, m, n, trial, seed)
    return draw_signal(chosen, dictionary, k, trial, seed)


def draw_dictionary(chosen: ProblemChoice, m: int, n: int, trial: int, seed: int) -> Dictionary:
    """Return the dictionary of a trial; a fixed one is built once a process and shared."""
    chosen.check_contents()
    if m * n >= _LARGE:
        check_memory(16 * m * n, f"drawing a dictionary of {m:,} x {n:,}")
    if is_fixed(chosen):
        return _fixed_dictionary(chosen, m, n)
    return _dictionary(chosen, _recipe(chosen, m, n, trial, seed), m, n)


def draw_operator(chosen: ProblemChoice, m: int, n: int, trial: int, seed: int) -> Operator:
    """Return the dictionary of a trial in its fast form.

    Raises
    ------
    InputError
        If the problem has none.
    """
    source = _generator(chosen)
    if not hasattr(source, "operator"):
        able = ", ".join(one.name for one in problems() if hasattr(one.factory, "operator"))
        raise InputError(f"{chosen.name} has no fast form; these have one: {able}")
    recipe = chosen.recipe if is_fixed(chosen) else _recipe(chosen, m, n, trial, seed)
    with _running(chosen, "draw an operator"):
        drawn = source.operator(generator(recipe), m, n)
    with _checking(chosen, "an operator"):
        return Operator(drawn)


def draw_signal(
    chosen: ProblemChoice, dictionary: Dictionary, k: int, trial: int, seed: int
) -> Instance:
    """Return the instance of sparsity k on a trial's dictionary."""
    m, n = dictionary.shape
    chosen.check_contents()
    source = _generator(chosen)
    recipe = _recipe(chosen, m, n, trial, seed) | {"k": k}
    rng = generator(recipe)
    with _running(chosen, "draw a signal"):
        signal = getattr(source, "signal", None) or partial(
            sparse_signal, amplitudes="uniform", complex_numbers=dictionary.is_complex
        )
        drawn = signal(rng, n, k)
        snr = float(getattr(source, "snr", np.inf))
        compressible = getattr(source, "amplitudes", "") == "compressible"
    with _checking(chosen, "a signal"):
        x = as_numbers(drawn, "x") if dictionary.is_complex else as_floats(drawn, "x")
        if x.shape != (n,):
            raise InputError(f"x has shape {x.shape}, not ({n},)")
        if np.count_nonzero(x) != k:
            raise InputError(f"x has {np.count_nonzero(x)} non-zeros, not k = {k}")
        with np.errstate(over="ignore", invalid="ignore"):
            whole = x + tail(rng, x) if compressible else x
            clean = dictionary.A @ whole
            y = add_noise(clean, snr, rng)
        if not all_finite(y):
            raise InputError("y holds NaN or infinite entries")
    y.flags.writeable = False
    return Instance(dictionary, x, y, recipe, noise_level(clean, snr))


@contextmanager
def _running(chosen: ProblemChoice, doing: str) -> Iterator[None]:
    """Say in one line what a problem's own code raised; what it refuses it has said itself."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raised = " ".join(f"{type(error).__name__}: {error}".split())
        raise DrawError(f"problem {chosen.name!r} failed to {doing}: {raised}") from error


@contextmanager
def _checking(chosen: ProblemChoice, what: str) -> Iterator[None]:
    """Say whose `what` it is that cannot be used."""
    try:
        yield
    except InputError as error:
        raise DrawError(f"problem {chosen.name!r} drew {what} that is no use: {error}") from None


def draw_batch(
    chosen: ProblemChoice, dictionary: Dictionary, count: int, recipe: dict[str, Any]
) -> tuple[FloatArray, FloatArray]:
    """Return signals (count, m) and codes (count, n) of a problem that has a law of codes.

    Parameters
    ----------
    chosen : Choice
        A problem that offers ``codes(rng, n, count)``.
    dictionary : Dictionary
        Shape (m, n).
    count : int
    recipe : dict
        What the draw is a pure function of.
    """
    source = _generator(chosen)
    rng = generator(recipe)
    with _running(chosen, "draw codes"):
        drawn = source.codes(rng, dictionary.shape[1], count)
    with _checking(chosen, "codes"):
        codes = as_floats(drawn, "x")
        if codes.shape != (count, dictionary.shape[1]):
            raise InputError(f"x has shape {codes.shape}, not ({count}, {dictionary.shape[1]})")
    return add_noise(codes @ dictionary.A.T, getattr(source, "snr", np.inf), rng), codes


def add_noise(signals: FloatArray, snr: float, rng: np.random.Generator) -> FloatArray:
    """Return signals, shape (m,) or (B, m), with noise of a ratio in dB that each meets exactly."""
    if snr == np.inf:
        return signals
    noise = rng.standard_normal(signals.shape)
    if signals.dtype.kind == "c":
        noise = noise + 1j * rng.standard_normal(signals.shape)
    axis = None if signals.ndim == 1 else -1  # of one signal by BLAS, whose last digit may differ
    power = np.linalg.norm(signals, axis=axis, keepdims=True)
    scale = power / np.linalg.norm(noise, axis=axis, keepdims=True) * 10 ** (-snr / 20)
    noisy: FloatArray = signals + noise * scale
    return noisy


def noise_level(clean: FloatArray, snr: float) -> float:
    """Return the root mean square of the noise that `add_noise` adds to a signal, shape (m,)."""
    if snr == np.inf:
        return 0.0
    return float(scipy.linalg.norm(clean)) / clean.size**0.5 * 10.0 ** (-snr / 20)


def stated_atoms(chosen: ProblemChoice) -> int | None:
    """Return the number of atoms of a problem that has one of its own, as `matrix` has."""
    source = _generator(chosen)
    with _running(chosen, "say how many atoms"):
        return int(source.atoms) if hasattr(source, "atoms") else None


def is_fixed(chosen: ProblemChoice) -> bool:
    """Return whether all trials of a problem share one dictionary."""
    return bool(getattr(_generator(chosen), "fixed_dictionary", False))


def is_complex(chosen: ProblemChoice) -> bool:
    """Return whether a problem says that its A is complex."""
    return bool(getattr(_generator(chosen), "complex_numbers", False))


def is_ordered(chosen: ProblemChoice) -> bool:
    """Return whether neighbouring atoms of a problem are neighbours along a line."""
    return bool(getattr(_generator(chosen), "ordered", False))


def default_measurements(chosen: ProblemChoice, n: int) -> int:
    """Return the m of n atoms where none is stated.

    A problem may say it in a method ``measurements(n)``; otherwise it is n for a fixed dictionary
    and n / 2 for a random one.
    """
    source = _generator(chosen)
    if hasattr(source, "measurements"):
        with _running(chosen, "say how many measurements"):
            return int(source.measurements(n))
    return n if is_fixed(chosen) else max(1, n // 2)


def _recipe(chosen: ProblemChoice, m: int, n: int, trial: int, seed: int) -> dict[str, Any]:
    return {"seed": seed, "problem": chosen.recipe, "m": m, "n": n, "trial": trial}


def _dictionary(chosen: ProblemChoice, recipe: dict[str, Any], m: int, n: int) -> Dictionary:
    with _running(chosen, "draw a dictionary"):
        A = _generator(chosen).dictionary(generator(recipe), m, n)
    with _checking(chosen, "a dictionary"):
        dictionary = Dictionary(A)
        if dictionary.shape != (m, n):
            raise InputError(f"A has shape {dictionary.shape}, not ({m}, {n})")
    return dictionary


@lru_cache(maxsize=64)
def _generator(chosen: ProblemChoice) -> Any:
    factory = chosen.record.factory
    with _running(chosen, "take its options"):
        return factory(**dict(chosen.options))


@lru_cache(maxsize=4)
def _fixed_dictionary(chosen: ProblemChoice, m: int, n: int) -> Dictionary:
    return _dictionary(chosen, chosen.recipe, m, n)
