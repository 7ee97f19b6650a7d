"""Sparse vectors: a uniform support and a law of the non-zeros."""

from __future__ import annotations

import numpy as np

from sparsebench.types import FloatArray, InputError

# Compressible signals are in weak l_p for p = 2/3.
_DECAY = 1.5


def _uniform(rng: np.random.Generator, k: int) -> FloatArray:
    return rng.uniform(1.0, 2.0, k) * rng.choice([-1.0, 1.0], k)


def _signs(rng: np.random.Generator, k: int) -> FloatArray:
    return rng.choice([-1.0, 1.0], k)


def _decaying(rng: np.random.Generator, k: int) -> FloatArray:
    return rng.permutation(1.0 / np.arange(1, k + 1)) * rng.choice([-1.0, 1.0], k)


def _compressible(rng: np.random.Generator, k: int) -> FloatArray:
    return rng.permutation(np.arange(1, k + 1) ** -_DECAY) * rng.choice([-1.0, 1.0], k)


def _positive(rng: np.random.Generator, k: int) -> FloatArray:
    return rng.uniform(1.0, 2.0, k)


def _normal(rng: np.random.Generator, k: int) -> FloatArray:
    return rng.standard_normal(k)


AMPLITUDES = {
    "uniform": _uniform,
    "signs": _signs,
    "normal": _normal,
    "decaying": _decaying,
    "compressible": _compressible,
    "positive": _positive,
}


def sparse_signal(
    rng: np.random.Generator, n: int, k: int, amplitudes: str, complex_numbers: bool = False
) -> FloatArray:
    """Draw x with exactly k non-zeros on a support uniform among all of size k.

    Parameters
    ----------
    rng : numpy.random.Generator
    n, k : int
        Length and number of non-zeros, 1 <= k <= n.
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros: uniform on [-2, -1] ∪ [1, 2]; ±1; standard normal; ±1, ±1/2, ..., ±1/k
        in random order; ±i^(-3/2), i = 1, ..., k, where `tail` has the rest; uniform on [1, 2].
    complex_numbers : bool
        Whether these are moduli, with uniform phases; of "normal" standard complex ones. "positive"
        stays as it is.

    Returns
    -------
    ndarray, shape (n,)
    """
    values = AMPLITUDES[amplitudes](rng, k)
    if complex_numbers:
        values = values.astype(np.complex128)
        if amplitudes == "normal":
            values = (values + 1j * _normal(rng, k)) / np.sqrt(2)
        elif amplitudes != "positive":
            values *= np.exp(2j * np.pi * rng.random(k))
    x = np.zeros(n, values.dtype)
    x[rng.choice(n, size=k, replace=False)] = values
    return x


def tail(rng: np.random.Generator, x: FloatArray) -> FloatArray:
    """Draw what a compressible signal has beside its k largest entries x, shape (n,).

    ±i^(-3/2), i = k + 1, ..., n, in random places; with uniform phases where x is complex.
    """
    rest = np.flatnonzero(x == 0)
    values = rng.permutation(np.arange(x.size - rest.size + 1, x.size + 1) ** -_DECAY)
    signs: FloatArray = rng.choice([-1.0, 1.0], rest.size)
    if x.dtype.kind == "c":
        signs = np.exp(2j * np.pi * rng.random(rest.size))
    found = np.zeros_like(x)
    found[rest] = values * signs
    return found


def amplitudes_given(owner: str, text: str) -> FloatArray | None:
    """Return the magnitudes that a text such as ``2.1;0.7;0.4`` lists, None where it names a law.

    Raises
    ------
    InputError
        If it is neither.
    """
    if text in AMPLITUDES:
        return None
    try:
        values = np.abs([float(part) for part in text.split(";")])
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError
    except ValueError:
        raise InputError(
            f"{owner}[amplitudes=...] is one of {', '.join(AMPLITUDES)}, or magnitudes as "
            f"2.1;0.7;0.4, not {text!r}"
        ) from None
    return values


def check_choice(owner: str, option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value outside `allowed` with one line."""
    if value not in allowed:
        raise InputError(f"{owner}[{option}=...] is one of {', '.join(allowed)}, not {value!r}")


def check_snr(owner: str, snr: float) -> None:
    """Refuse a signal-to-noise ratio that no noise in double precision can have."""
    if not (abs(snr) <= 300 or snr == np.inf):
        raise InputError(
            f"{owner}[snr=...] is a number of dB in -300 .. 300, or inf for no noise, not {snr}"
        )
