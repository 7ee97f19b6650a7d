"""A dictionary of one's own, from a file, with planted signals."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import parent_process

import numpy as np

from sparsebench.problems.files import Matrix, read_matrix
from sparsebench.problems.signals import amplitudes_given, check_choice, check_snr, sparse_signal
from sparsebench.registry import problem
from sparsebench.registry.contents import file_hash, hash_of
from sparsebench.types import FloatArray, InputError

# Decimals to which unit columns that are one atom agree.
_DECIMALS = 12


@problem("matrix", source="the user's file; the planted signals are those of the other problems")
@dataclass(frozen=True)
class OwnMatrix:
    """The matrix of a file, m and n are its own; uniform support.

    What counts is what the matrix holds: the same numbers in another file, of another format, have
    the same rows.

    Parameters
    ----------
    file : str
        A .npy, .npz, .csv, .mtx, .mat or .parquet file, as `problems.files.read_matrix` says.
    variable : str
        Which of several matrices in the file.
    columns : {"raw", "unit"}
        Leave the columns as they are or scale each to norm 1.
    subsample : {"none", "rows"}
        All rows in every trial, or m of them, a fresh choice a trial.
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros: uniform on [-2, -1] ∪ [1, 2]; ±1; N(0, 1); ±1, ±1/2, ..., ±1/k;
        ±i^(-3/2), compressible; uniform on [1, 2]. Or
        their k magnitudes, as ``2.1;0.7;0.4``: in random order, with random signs.
    snr : float
        Signal-to-noise ratio ||A x||² / ||noise||² in dB, met exactly; inf is no noise.
    """

    file: str = ""
    variable: str = ""
    columns: str = "raw"
    subsample: str = "none"
    amplitudes: str = "uniform"
    snr: float = float("inf")

    def __post_init__(self) -> None:
        if not self.file:
            raise InputError("matrix needs a file, as in -p 'matrix[file=A.npy]'")
        check_choice("matrix", "columns", self.columns, ("raw", "unit"))
        check_choice("matrix", "subsample", self.subsample, ("none", "rows"))
        amplitudes_given("matrix", self.amplitudes)
        check_snr("matrix", self.snr)

    @property
    def fixed_dictionary(self) -> bool:
        """Whether all trials share one dictionary: unless rows are drawn."""
        return self.subsample == "none"

    @property
    def complex_numbers(self) -> bool:
        """Whether the file holds complex numbers."""
        return self._matrix().values.dtype.kind == "c"

    @property
    def atoms(self) -> int:
        """The number of columns."""
        return self._matrix().values.shape[1]

    @property
    def values(self) -> FloatArray:
        """The matrix as it is in the file, shape (m, n)."""
        return self._matrix().values

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the columns, if the file has any."""
        return self._matrix().labels

    def measurements(self, n: int) -> int:
        """Return the number of rows, whatever n."""
        return self._matrix().values.shape[0]

    def contents(self) -> dict[str, str]:
        """Return what stands for the file in the key of a row: the hash of the numbers."""
        return {"file": self._held().digest, "variable": ""}

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Return A, shape (m, n): the matrix, or m of its rows."""
        values = self._matrix().values
        rows, atoms = values.shape
        if n != atoms or m > rows or (m < rows and self.subsample == "none"):
            several = "subsample=rows draws fewer rows" if m < rows else "no more are there"
            raise InputError(
                f"{self.file} has m = {rows}, n = {atoms}, not m = {m}, n = {n}"
                + (f": {several}" if n == atoms else "")
            )
        if self.subsample == "rows":
            values = values[np.sort(rng.choice(rows, m, replace=False))]
        if self.columns == "unit":
            norms = np.linalg.norm(values, axis=0)
            values = values / np.where(norms > 0, norms, 1.0)
        return values

    def signal(self, rng: np.random.Generator, n: int, k: int) -> FloatArray:
        """Draw x, shape (n,), with k non-zeros."""
        values = amplitudes_given("matrix", self.amplitudes)
        if values is None:
            return sparse_signal(rng, n, k, self.amplitudes, self.complex_numbers)
        if len(values) != k:
            raise InputError(f"matrix has {len(values)} amplitudes, not one for each of k = {k}")
        values, signs = rng.permutation(values), np.empty(0)
        if self.complex_numbers:
            signs = np.exp(2j * np.pi * rng.random(k))
        else:
            signs = rng.choice([-1.0, 1.0], k)
        x = np.zeros(n, self.values.dtype)
        x[rng.choice(n, k, replace=False)] = values * signs
        return x

    def _matrix(self) -> Matrix:
        return self._held().matrix

    def _held(self) -> _Held:
        return _read(self.file, self.variable, file_hash(self.file))


@dataclass(frozen=True)
class _Held:
    """What has been read, and the hash of its numbers."""

    matrix: Matrix
    digest: str


@lru_cache(maxsize=4)
def _read(file: str, variable: str, content: str) -> _Held:
    """Return the matrix of a file with this content; refuse, or name, what no one can find."""
    found = read_matrix(file, variable)
    norms = np.linalg.norm(found.values, axis=0)
    zero = np.flatnonzero(norms == 0)
    if len(zero):
        raise InputError(f"{file}: {_named(found, zero)} zero: drop what cannot be seen")
    unit = found.values / norms
    first = np.argmax(unit != 0, axis=0)
    leading = unit[first, np.arange(len(norms))]
    unit *= leading.conj() / np.abs(leading)
    _, original, inverse = np.unique(
        unit.T.round(_DECIMALS), axis=0, return_index=True, return_inverse=True
    )
    copies = np.flatnonzero(original[inverse.ravel()] != np.arange(len(norms)))
    if len(copies) and parent_process() is None:  # said once, not by every worker
        warnings.warn(
            f"{file}: {_named(found, copies)} the same atom as another: no algorithm can tell them "
            "apart, and a trial is lost where it takes the other",
            stacklevel=2,
        )
    found.values.flags.writeable = False
    shape = f"{found.values.shape}".encode()
    return _Held(found, hash_of(shape + np.ascontiguousarray(found.values).tobytes()))


def _named(found: Matrix, columns: np.ndarray) -> str:
    """Say which columns, by label and number from 0, in a few words."""
    names = [f"{found.labels[j]!r} ({j})" if found.labels else str(j) for j in columns[:5]]
    if len(columns) == 1:
        return f"column {names[0]} is"
    more = f" and {len(columns) - 5} more" if len(columns) > 5 else ""
    return f"columns {', '.join(names)}{more} are"
