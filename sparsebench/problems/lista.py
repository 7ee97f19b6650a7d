"""The standard problem of learned sparse recovery: one fixed Gaussian dictionary."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparsebench.problems.signals import AMPLITUDES, check_choice, check_snr, sparse_signal
from sparsebench.registry import problem
from sparsebench.seeding import generator
from sparsebench.types import FloatArray, InputError

#: Where published dictionaries and data sets are looked for.
DATA_VARIABLE = "SPARSEBENCH_DATA"
_ALISTA = "unrolling/alista"
_ALISTA_ORIGIN = "https://github.com/VITA-Group/ALISTA"


# Codes have no k of their own to be compressible with.
_LAWS = tuple(law for law in AMPLITUDES if law != "compressible")


@problem(
    "lista",
    source="Chen, Liu, Wang and Yin, NeurIPS 2018, arXiv:1808.10038; Liu, Chen, Wang and Yin, "
    "ALISTA, ICLR 2019",
)
@dataclass(frozen=True)
class Lista:
    """One fixed dictionary with N(0, 1/m) entries and unit-norm columns, as LISTA is tested on.

    The dictionary depends on (m, n, condition, draw) alone, so that a network which is trained on
    one law of signals can be tried on another. Networks are trained on codes whose entries are
    non-zero with probability `rate`, independently; an instance has exactly k non-zeros.

    Parameters
    ----------
    dictionary_of : {"gaussian", "alista"}
        Drawn here, or the published 250 x 500 one of ALISTA, read from ``unrolling/alista`` in the
        folder that the environment variable ``SPARSEBENCH_DATA`` names.
    condition : float
        Condition number to which the singular values are spread, geometrically, before the columns
        are scaled to norm 1; 0 leaves them as drawn.
    rate : float
        Probability of a non-zero in a code for training.
    amplitudes : {"uniform", "signs", "normal", "decaying", "positive"}
        Law of the non-zeros: uniform on [-2, -1] ∪ [1, 2]; ±1; N(0, 1); ±1, ±1/2, ..., ±1/k;
        uniform on [1, 2].
    snr : float
        Signal-to-noise ratio ||A x||² / ||noise||² in dB, met exactly; inf is no noise.
    draw : int
        Number of the dictionary.
    """

    dictionary_of: str = "gaussian"
    condition: float = 0.0
    rate: float = 0.1
    amplitudes: str = "normal"
    snr: float = float("inf")
    draw: int = 0

    fixed_dictionary = True

    def __post_init__(self) -> None:
        check_choice("lista", "dictionary_of", self.dictionary_of, ("gaussian", "alista"))
        check_choice("lista", "amplitudes", self.amplitudes, _LAWS)
        check_snr("lista", self.snr)
        if not (self.condition == 0 or 1 <= self.condition <= 1e12):
            raise InputError(
                f"lista[condition=...] is 0, or a number in 1 .. 1e12, not {self.condition}"
            )
        if not 0 < self.rate <= 1:
            raise InputError(f"lista[rate=...] is a probability in (0, 1], not {self.rate}")

    def measurements(self, n: int) -> int:
        """Return the m that belongs to n atoms: half of them."""
        return max(n // 2, 1)

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Return A, shape (m, n); `rng` is not used."""
        if self.dictionary_of == "alista":
            from scipy.io import loadmat

            A: FloatArray = loadmat(published("D.mat"))["D"].astype(float)
            if A.shape != (m, n):
                raise InputError(
                    f"lista[dictionary_of=alista] has m = {A.shape[0]}, n = {A.shape[1]}, "
                    f"not m = {m}, n = {n}"
                )
        else:
            own = generator({"problem": "lista", "draw": self.draw, "m": m, "n": n})
            A = own.standard_normal((m, n))
        if self.condition:
            left, values, right = np.linalg.svd(A, full_matrices=False)
            spread = np.geomspace(1.0, 1.0 / self.condition, values.size)
            A = (left * spread) @ right
        return A / np.linalg.norm(A, axis=0)

    def signal(self, rng: np.random.Generator, n: int, k: int) -> FloatArray:
        """Draw x, shape (n,), with k non-zeros."""
        return sparse_signal(rng, n, k, self.amplitudes)

    def codes(self, rng: np.random.Generator, n: int, count: int) -> FloatArray:
        """Draw codes, shape (count, n), whose entries are non-zero with probability `rate`."""
        values = AMPLITUDES[self.amplitudes](rng, count * n).reshape(count, n)
        return values * (rng.random((count, n)) < self.rate)


def published(name: str) -> Path:
    """Return the path of one of ALISTA's published files.

    Raises
    ------
    InputError
        If it is not there, saying where to get it and where to put it.
    """
    folder = os.environ.get(DATA_VARIABLE)
    path = Path(folder or ".") / _ALISTA / name
    if not folder or not path.is_file():
        where = f"{path}" if folder else f"<folder>/{_ALISTA}/{name} with {DATA_VARIABLE}=<folder>"
        raise InputError(f"{name} is missing: get it from {_ALISTA_ORIGIN} and put it at {where}")
    return path


def published_codes() -> FloatArray:
    """Return ALISTA's published test codes, shape (1000, 500); raises as `published` does."""
    codes: FloatArray = np.load(published("xtest_n500_p10.npy"), allow_pickle=False).T.astype(float)
    return codes
