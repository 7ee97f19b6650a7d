"""Problem generators, and `draw`: the one way from a recipe to an instance."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from sparsebench.problems import deconvolution as deconvolution
from sparsebench.problems import digits as digits
from sparsebench.problems import gaussian as gaussian
from sparsebench.problems import lista as lista
from sparsebench.problems import super_resolution as super_resolution
from sparsebench.registry import Choice, choice, get_problem, parse_choice, problems
from sparsebench.seeding import generator
from sparsebench.types import Dictionary, FloatArray, InputError, Instance, check_whole

# A store keeps whole numbers in 64 bits; larger dictionaries than this do not fit into memory.
_LARGEST_INTEGER = 2**63 - 1
_MOST_ATOMS = 1_000_000

__all__ = [
    "add_noise",
    "check_seed",
    "check_sizes",
    "default_measurements",
    "draw",
    "draw_batch",
    "draw_dictionary",
    "draw_signal",
    "is_fixed",
    "is_ordered",
    "problems",
]


def draw(
    problem: str, *, m: int, n: int, k: int, trial: int = 0, seed: int = 0, **options: Any
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
    **options
        The problem's options.

    Returns
    -------
    Instance
        With ``A`` (m, n), ``x`` (n,), ``y`` (m,), ``support`` (k,) and ``dictionary``.

    Raises
    ------
    InputError
        If a name, an option or a size cannot be used.
    """
    name, inline = parse_choice(problem)
    chosen = choice(get_problem(name), {**inline, **options})
    check_sizes(m, n, k)
    trial = check_whole("trial", trial, 0, _LARGEST_INTEGER)
    check_seed(seed)
    m, n, k, seed = int(m), int(n), int(k), int(seed)
    dictionary = draw_dictionary(chosen, m, n, trial, seed)
    return draw_signal(chosen, dictionary, k, trial, seed)


def draw_dictionary(chosen: Choice, m: int, n: int, trial: int, seed: int) -> Dictionary:
    """Return the dictionary of a trial; a fixed one is built once a process and shared."""
    if is_fixed(chosen):
        return _fixed_dictionary(chosen, m, n)
    recipe = _recipe(chosen, m, n, trial, seed)
    return Dictionary(_generator(chosen).dictionary(generator(recipe), m, n))


def draw_signal(chosen: Choice, dictionary: Dictionary, k: int, trial: int, seed: int) -> Instance:
    """Return the instance of sparsity k on a trial's dictionary."""
    m, n = dictionary.shape
    source = _generator(chosen)
    recipe = _recipe(chosen, m, n, trial, seed) | {"k": k}
    rng = generator(recipe)
    x = source.signal(rng, n, k)
    if np.shape(x) != (n,) or np.count_nonzero(x) != k:
        raise InputError(f"problem {chosen.name!r} drew a signal without exactly k = {k} non-zeros")
    y = dictionary.A @ x
    snr = getattr(source, "snr", np.inf)
    if snr < np.inf:
        noise = rng.standard_normal(m)
        y = y + noise * (np.linalg.norm(y) / np.linalg.norm(noise) * 10 ** (-snr / 20))
    y.flags.writeable = False
    return Instance(dictionary, x, y, recipe)


def draw_batch(
    chosen: Choice, dictionary: Dictionary, count: int, recipe: dict[str, Any]
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
    codes = source.codes(rng, dictionary.shape[1], count)
    return add_noise(codes @ dictionary.A.T, getattr(source, "snr", np.inf), rng), codes


def add_noise(signals: FloatArray, snr: float, rng: np.random.Generator) -> FloatArray:
    """Return signals, shape (B, m), with noise of a ratio in dB that each of them meets exactly."""
    if snr == np.inf:
        return signals
    noise = rng.standard_normal(signals.shape)
    power = np.linalg.norm(signals, axis=-1, keepdims=True)
    scale = power / np.linalg.norm(noise, axis=-1, keepdims=True) * 10 ** (-snr / 20)
    noisy: FloatArray = signals + noise * scale
    return noisy


def is_fixed(chosen: Choice) -> bool:
    """Return whether all trials of a problem share one dictionary."""
    return bool(getattr(_generator(chosen), "fixed_dictionary", False))


def is_ordered(chosen: Choice) -> bool:
    """Return whether neighbouring atoms of a problem are neighbours along a line."""
    return bool(getattr(_generator(chosen), "ordered", False))


def default_measurements(chosen: Choice, n: int) -> int:
    """Return the m of n atoms where none is stated.

    A problem may say it in a method ``measurements(n)``; otherwise it is n for a fixed dictionary
    and n / 2 for a random one.
    """
    source = _generator(chosen)
    if hasattr(source, "measurements"):
        return int(source.measurements(n))
    return n if is_fixed(chosen) else max(1, n // 2)


def check_sizes(m: int, n: int, k: int) -> None:
    """Refuse sizes that no instance can have.

    Raises
    ------
    InputError
        Unless m, n, k are whole numbers with n >= 1 and 1 <= k <= min(m, n).
    """
    for name, value in (("m", m), ("n", n), ("k", k)):
        check_whole(name, value, 1, _MOST_ATOMS)
    if k > min(m, n):
        raise InputError(f"k = {k} exceeds min(m, n) = {min(m, n)}")


def check_seed(seed: int) -> None:
    """Refuse a root seed that is not a whole number of 64 bits."""
    check_whole("seed", seed, -_LARGEST_INTEGER, _LARGEST_INTEGER)


def _recipe(chosen: Choice, m: int, n: int, trial: int, seed: int) -> dict[str, Any]:
    return {"seed": seed, "problem": chosen.recipe, "m": m, "n": n, "trial": trial}


@lru_cache(maxsize=64)
def _generator(chosen: Choice) -> Any:
    return get_problem(chosen.name).factory(**dict(chosen.options))


@lru_cache(maxsize=4)
def _fixed_dictionary(chosen: Choice, m: int, n: int) -> Dictionary:
    unused: FloatArray = _generator(chosen).dictionary(generator(chosen.recipe), m, n)
    return Dictionary(unused)
