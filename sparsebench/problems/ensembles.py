"""Random matrices with a structure: signs, rows of orthonormal bases, correlated, sparse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparsebench.problems.signals import AMPLITUDES, check_choice, check_snr, sparse_signal
from sparsebench.registry import problem
from sparsebench.types import FloatArray, InputError, IntArray

if TYPE_CHECKING:
    from sparsebench.transforms import Cosines, Fourier, Hadamard


@dataclass(frozen=True)
class _Planted:
    """What the problems of this file share: a law of the non-zeros and noise."""

    amplitudes: str = "uniform"
    snr: float = float("inf")

    fixed_dictionary = False
    complex_numbers = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_choice(name, "amplitudes", self.amplitudes, tuple(AMPLITUDES))
        check_snr(name, self.snr)

    def signal(self, rng: np.random.Generator, n: int, k: int) -> FloatArray:
        """Draw x, shape (n,), with k non-zeros."""
        return sparse_signal(rng, n, k, self.amplitudes, self.complex_numbers)


@problem(
    "bernoulli",
    source="Donoho and Tanner, Phil. Trans. R. Soc. A 367, 2009, doi:10.1098/rsta.2009.0152",
)
@dataclass(frozen=True)
class Bernoulli(_Planted):
    """Signs ±1/√m, independent and equally likely; a fresh dictionary a trial.

    Parameters
    ----------
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros, as of `gaussian`.
    snr : float
        Signal-to-noise ratio in dB; inf is no noise.
    """

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Draw A, shape (m, n), m <= n."""
        _check_wide("bernoulli", m, n)
        return rng.choice([-1.0, 1.0], (m, n)) / np.sqrt(m)


@problem(
    "fourier",
    source="Candès, Romberg and Tao, IEEE Trans. Inf. Theory 52, 2006, doi:10.1109/TIT.2005.862083",
)
@dataclass(frozen=True)
class RandomFourier(_Planted):
    """m random rows of the discrete Fourier transform, divided by √m: complex, columns of norm 1.

    Entry (r, j) is exp(-2πi f_r j / n) / √m, with f_r the r-th of m frequencies drawn without
    replacement, in increasing order. Rows are orthogonal.

    Parameters
    ----------
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros, as of `gaussian`: of their moduli, with uniform phases; of "normal"
        standard complex ones, and of "positive" real ones.
    snr : float
        Signal-to-noise ratio in dB; inf is no noise.
    """

    complex_numbers = True

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Draw A, shape (m, n), m <= n."""
        rows = _random_rows("fourier", rng, m, n)
        turns = rows[:, np.newaxis] * np.arange(n) % n  # exact, whatever the product
        return np.exp(-2j * np.pi / n * turns) / np.sqrt(m)

    def operator(self, rng: np.random.Generator, m: int, n: int) -> Fourier:
        """Draw the same A, in its fast form."""
        from sparsebench.transforms import Fourier

        return Fourier(n, _random_rows("fourier", rng, m, n))


@problem(
    "dct",
    source="Candès and Tao, IEEE Trans. Inf. Theory 52, 2006, doi:10.1109/TIT.2006.885507; "
    "Donoho and Tanner, Phil. Trans. R. Soc. A 367, 2009, doi:10.1098/rsta.2009.0152",
)
@dataclass(frozen=True)
class RandomCosines(_Planted):
    """m random rows of the orthonormal cosine transform (DCT-II), times √(n/m).

    Rows are orthogonal, columns of norm about 1.

    Parameters
    ----------
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros, as of `gaussian`.
    snr : float
        Signal-to-noise ratio in dB; inf is no noise.
    """

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Draw A, shape (m, n), m <= n."""
        from scipy.fft import dct

        rows = _random_rows("dct", rng, m, n)
        return dct(np.eye(n), norm="ortho", axis=0)[rows] * np.sqrt(n / m)

    def operator(self, rng: np.random.Generator, m: int, n: int) -> Cosines:
        """Draw the same A, in its fast form."""
        from sparsebench.transforms import Cosines

        return Cosines(n, _random_rows("dct", rng, m, n))


@problem(
    "hadamard",
    source="Donoho and Tanner, Phil. Trans. R. Soc. A 367, 2009, doi:10.1098/rsta.2009.0152",
)
@dataclass(frozen=True)
class RandomHadamard(_Planted):
    """m random rows of Sylvester's Hadamard matrix, divided by √m: columns of norm 1.

    Parameters
    ----------
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros, as of `gaussian`.
    snr : float
        Signal-to-noise ratio in dB; inf is no noise.
    """

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Draw A, shape (m, n), m <= n, n a power of two."""
        from scipy.linalg import hadamard

        from sparsebench.transforms import check_power_of_two

        check_power_of_two(n)
        rows = _random_rows("hadamard", rng, m, n)
        return hadamard(n, dtype=np.int8)[rows] / np.sqrt(m)

    def operator(self, rng: np.random.Generator, m: int, n: int) -> Hadamard:
        """Draw the same A, in its fast form."""
        from sparsebench.transforms import Hadamard, check_power_of_two

        check_power_of_two(n)
        return Hadamard(n, _random_rows("hadamard", rng, m, n))


@problem(
    "toeplitz",
    source="Gaussian rows of covariance ρ^|i-j|, a standard of sparse regression: Zou and Hastie, "
    "J. R. Stat. Soc. B 67, 2005, doi:10.1111/j.1467-9868.2005.00503.x",
)
@dataclass(frozen=True)
class CorrelatedGaussian(_Planted):
    """Independent Gaussian rows in which atoms i and j correlate at ρ^|i-j|.

    Parameters
    ----------
    rho : float
        Correlation of neighbouring atoms, in (-1, 1); 0 is `gaussian`.
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros, as of `gaussian`.
    snr : float
        Signal-to-noise ratio in dB; inf is no noise.
    """

    rho: float = 0.9

    ordered = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -1 < self.rho < 1:
            raise InputError(f"toeplitz[rho=...] is a correlation in (-1, 1), not {self.rho}")

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Draw A, shape (m, n), m <= n: an autoregression along the atoms."""
        from scipy.signal import lfilter

        _check_wide("toeplitz", m, n)
        shocks = rng.standard_normal((m, n))
        shocks[:, 1:] *= np.sqrt(1 - self.rho**2)
        A: FloatArray = lfilter([1.0], [1.0, -self.rho], shocks, axis=1)
        return A


@problem(
    "sparse-binary",
    source="Berinde, Gilbert, Indyk, Karloff and Strauss, Allerton 2008, arXiv:0804.4666",
)
@dataclass(frozen=True)
class SparseBinary(_Planted):
    """`ones` entries 1/√ones a column, in random rows: the adjacency of an expander graph.

    Parameters
    ----------
    ones : int
        Non-zeros of a column, d.
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros, as of `gaussian`.
    snr : float
        Signal-to-noise ratio in dB; inf is no noise.
    """

    ones: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ones < 1:
            raise InputError(f"sparse-binary[ones=...] is at least 1, not {self.ones}")

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Draw A, shape (m, n), ones <= m <= n."""
        _check_wide("sparse-binary", m, n)
        if m < self.ones:
            raise InputError(f"sparse-binary[ones={self.ones}] needs m >= {self.ones}, not m = {m}")
        rows = np.argsort(rng.random((m, n)), axis=0)[: self.ones]
        A = np.zeros((m, n))
        A[rows, np.arange(n)] = 1 / np.sqrt(self.ones)
        return A


def _random_rows(name: str, rng: np.random.Generator, m: int, n: int) -> IntArray:
    _check_wide(name, m, n)
    return np.sort(rng.choice(n, m, replace=False))


def _check_wide(name: str, m: int, n: int) -> None:
    if m > n:
        raise InputError(f"{name} needs m <= n, not m = {m} > n = {n}")
