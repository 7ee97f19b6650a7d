"""Operators with a fast product: rows of Fourier, cosine, Hadamard transforms, and convolutions.

Each is a SciPy `LinearOperator`, which `Operator` takes, and knows the norms of its atoms.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator

from sparsebench.types import FloatArray, InputError, IntArray, as_array, as_floats

# The side of the Hadamard matrices that larger ones are a product of.
_SIDE = 32
# Squared norms below this, of a mean of one, have lost digits in a sum.
_CANCELLED = 1e-6


class _Form(LinearOperator):
    """What the forms share: a product with one vector is that with a matrix of one column."""

    def __init__(self, shape: tuple[int, int], dtype: type = np.float64) -> None:
        super().__init__(np.dtype(dtype), shape)

    def _matvec(self, x: FloatArray) -> FloatArray:
        return self._matmat(x.reshape(-1, 1))[:, 0]

    def _rmatvec(self, v: FloatArray) -> FloatArray:
        return self._rmatmat(v.reshape(-1, 1))[:, 0]


class Fourier(_Form):
    """Rows of the discrete Fourier transform of n samples, divided by √m: complex, atoms of norm 1.

    Products take O(n log n). The rows of `fourier` of a draw are those of its dictionary.

    Parameters
    ----------
    n : int
        Atoms.
    rows : array_like of int, shape (m,)
        Distinct frequencies, in 0 .. n - 1.
    """

    def __init__(self, n: int, rows: ArrayLike) -> None:
        self.rows = _checked_rows(n, rows)
        super().__init__((self.rows.size, n), np.complex128)
        #: ||A||²: the rows are orthogonal.
        self.squared_spectral_norm = n / self.rows.size

    def _matmat(self, X: FloatArray) -> FloatArray:
        whole = scipy.fft.fft(np.asarray(X, dtype=np.complex128), axis=0)
        return whole[self.rows] / math.sqrt(self.rows.size)

    def _rmatmat(self, V: FloatArray) -> FloatArray:
        whole = np.zeros((self.shape[1], V.shape[1]), np.complex128)
        whole[self.rows] = V / math.sqrt(self.rows.size)
        return scipy.fft.ifft(whole, norm="forward", axis=0)

    def atoms(self, indices: IntArray) -> FloatArray:
        """Return some atoms, shape (k, m)."""
        m, n = self.shape
        turns = indices[:, None] * self.rows % n
        return np.exp(-2j * np.pi / n * turns) / math.sqrt(m)

    @property
    def norms(self) -> FloatArray:
        """Norms of the atoms, shape (n,)."""
        return np.ones(self.shape[1])


class Cosines(_Form):
    """Rows of the orthonormal cosine transform (DCT-II) of n samples, times √(n/m).

    Products take O(n log n). The rows of `dct` of a draw are those of its dictionary.

    Parameters
    ----------
    n : int
        Atoms.
    rows : array_like of int, shape (m,)
        Distinct frequencies, in 0 .. n - 1.
    """

    def __init__(self, n: int, rows: ArrayLike) -> None:
        self.rows = _checked_rows(n, rows)
        super().__init__((self.rows.size, n))
        #: ||A||²: the rows are orthogonal.
        self.squared_spectral_norm = n / self.rows.size

    def _matmat(self, X: FloatArray) -> FloatArray:
        whole = scipy.fft.dct(np.asarray(X, dtype=np.float64), norm="ortho", axis=0)
        return whole[self.rows] * math.sqrt(self.squared_spectral_norm)

    def _rmatmat(self, V: FloatArray) -> FloatArray:
        whole = np.zeros((self.shape[1], V.shape[1]))
        whole[self.rows] = V * math.sqrt(self.squared_spectral_norm)
        return scipy.fft.idct(whole, norm="ortho", axis=0)

    def atoms(self, indices: IntArray) -> FloatArray:
        """Return some atoms, shape (k, m)."""
        m, n = self.shape
        # cos(π r (2j + 1) / 2n) has the period 4n in r (2j + 1).
        phases = (2 * indices[:, None] + 1) * self.rows % (4 * n)
        found = np.cos(phases * (math.pi / (2 * n))) * math.sqrt(2 / m)
        found[phases % (2 * n) == n] = 0.0
        found[:, self.rows == 0] = 1 / math.sqrt(m)
        return found

    @cached_property
    def norms(self) -> FloatArray:
        """Norms of the atoms, shape (n,)."""
        # cos² is (1 + cos) / 2 at twice the frequency, and a frequency 2r > n is -(2n - 2r).
        m, n = self.shape
        rows = self.rows[self.rows > 0]
        doubled = np.zeros(n)
        np.add.at(doubled, 2 * rows[2 * rows < n], 1.0)
        np.add.at(doubled, 2 * n - 2 * rows[2 * rows > n], -1.0)
        # What a DCT-III of these frequencies is, without its weights.
        waves = 0.5 * scipy.fft.dct(doubled, type=3)
        squares = (m + waves) / m
        lost = np.flatnonzero(squares < _CANCELLED)
        if lost.size:
            squares[lost] = np.square(self.atoms(lost)).sum(axis=1)
        return np.sqrt(squares)


class Hadamard(_Form):
    """Rows of Sylvester's Hadamard matrix of n = 2^p, divided by √m: atoms of norm 1.

    Products take O(n log n). The rows of `hadamard` of a draw are those of its dictionary.

    Parameters
    ----------
    n : int
        Atoms, a power of two.
    rows : array_like of int, shape (m,)
        Distinct rows, in 0 .. n - 1.
    """

    def __init__(self, n: int, rows: ArrayLike) -> None:
        self.rows = _checked_rows(n, rows)
        check_power_of_two(n)
        super().__init__((self.rows.size, n))
        #: ||A||²: the rows are orthogonal.
        self.squared_spectral_norm = n / self.rows.size

    def _matmat(self, X: FloatArray) -> FloatArray:
        return _hadamard(np.asarray(X, dtype=np.float64))[self.rows] / math.sqrt(self.rows.size)

    def _rmatmat(self, V: FloatArray) -> FloatArray:
        whole = np.zeros((self.shape[1], V.shape[1]))
        whole[self.rows] = V / math.sqrt(self.rows.size)
        return _hadamard(whole)

    def atoms(self, indices: IntArray) -> FloatArray:
        """Return some atoms, shape (k, m)."""
        odd = np.bitwise_count(indices[:, None] & self.rows) & 1
        return (1.0 - 2.0 * odd) / math.sqrt(self.rows.size)

    @property
    def norms(self) -> FloatArray:
        """Norms of the atoms, shape (n,)."""
        return np.ones(self.shape[1])


class Toeplitz(_Form):
    """A Toeplitz matrix, constant along its diagonals: a convolution, by FFT.

    Products take O((m + n) log(m + n)), and are accurate to the last digits of the largest entries.
    That of `deconvolution` in a draw is its dictionary.

    Parameters
    ----------
    column : array_like, shape (m,)
        Its first column.
    row : array_like, shape (n,)
        Its first row, whose first entry is not looked at.
    unit : bool
        Whether to scale each column to norm 1.
    """

    def __init__(self, column: ArrayLike, row: ArrayLike, *, unit: bool = False) -> None:
        first, across = as_floats(column, "column"), as_floats(row, "row")
        if first.ndim != 1 or across.ndim != 1 or 0 in (first.size, across.size):
            raise InputError("a Toeplitz matrix is made of its first column and its first row")
        super().__init__((first.size, across.size))
        # Entry (i, j) is the entry i - j + n - 1 of these.
        self._diagonals = np.concatenate([across[:0:-1], first])
        self._size = scipy.fft.next_fast_len(self._diagonals.size, real=True)
        self._spectrum = scipy.fft.rfft(self._diagonals, self._size)
        raw = self._raw_norms()
        self._scales = np.divide(1.0, raw, out=np.ones(raw.size), where=raw > 0) if unit else None
        #: Norms of the atoms, shape (n,).
        self.norms = raw if self._scales is None else (raw > 0).astype(float)

    def _raw_norms(self) -> FloatArray:
        m, n = self.shape
        last = np.arange(n - 1, -1, -1)  # where the column j begins among the diagonals
        running = np.concatenate([[0.0], np.cumsum(self._diagonals**2)])
        return np.sqrt(np.maximum(running[last + m] - running[last], 0.0))

    def _matmat(self, X: FloatArray) -> FloatArray:
        m, n = self.shape
        X = np.asarray(X, dtype=np.float64)
        if self._scales is not None:
            X = self._scales[:, None] * X
        # A cyclic convolution; what is wanted begins at n - 1 and does not wrap around.
        spectra = scipy.fft.rfft(X, self._size, axis=0) * self._spectrum[:, None]
        return scipy.fft.irfft(spectra, self._size, axis=0)[n - 1 : n - 1 + m]

    def _rmatmat(self, V: FloatArray) -> FloatArray:
        n = self.shape[1]
        spectra = scipy.fft.rfft(np.asarray(V, dtype=np.float64), self._size, axis=0)
        spectra *= self._spectrum.conj()[:, None]
        # Column j begins at the entry n - 1 - j of the diagonals: at that lag, negative here.
        found = scipy.fft.irfft(spectra, self._size, axis=0)[-np.arange(n - 1, -1, -1)]
        return found if self._scales is None else self._scales[:, None] * found

    def atoms(self, indices: IntArray) -> FloatArray:
        """Return some atoms, shape (k, m)."""
        m, n = self.shape
        found = self._diagonals[(n - 1 - indices)[:, None] + np.arange(m)]
        return found if self._scales is None else found * self._scales[indices][:, None]


def check_power_of_two(n: int) -> None:
    """Refuse sizes that no Hadamard matrix of Sylvester's has."""
    if n & (n - 1):
        below = 1 << (n.bit_length() - 1)
        raise InputError(f"hadamard needs n a power of two, as {below} or {2 * below}, not {n}")


def _checked_rows(n: int, rows: ArrayLike) -> IntArray:
    found = as_array(rows, "rows")
    if found.ndim != 1 or found.dtype.kind not in "iu" or not found.size:
        raise InputError("rows must be a list of whole numbers")
    found = found.astype(np.intp)
    if found.min() < 0 or found.max() >= n or np.unique(found).size < found.size:
        raise InputError(f"rows must be distinct and lie in 0 .. {n - 1}")
    return found


def _hadamard(X: FloatArray) -> FloatArray:
    """Return H X for Sylvester's H, by the Kronecker product of small ones that it is."""
    n, left = X.shape[0], X.shape[0]
    X = X.T.copy()  # a vector a row
    while left > 1:
        side = min(_SIDE, left)
        left //= side
        small = scipy.linalg.hadamard(side, dtype=np.float64)
        # The digit in front is transformed, and goes to the end; after all of them it is in place.
        X = (X.reshape(-1, side, n // side).transpose(0, 2, 1) @ small).reshape(-1, n)
    return X.T
