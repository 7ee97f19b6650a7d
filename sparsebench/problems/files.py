"""Matrices in files: what people keep them in, read in one way and refused in one line."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.environment import need
from sparsebench.types import FloatArray, InputError, as_numbers


@dataclass(frozen=True)
class Matrix:
    """A matrix read from a file, shape (m, n), and the labels of its columns, if it has any."""

    values: FloatArray
    labels: tuple[str, ...] = ()


def read_matrix(path: str | Path, variable: str = "") -> Matrix:
    """Return the matrix of a file, real or complex; one that is sparse is returned dense.

    Parameters
    ----------
    path : str or Path
        ``.npy``; ``.npz`` (of numpy or of scipy.sparse); ``.csv``, ``.tsv``, ``.txt`` with a line
        of labels or without; ``.mtx`` (Matrix Market); ``.mat`` of MATLAB, since version 7.3 with
        `h5py`; ``.parquet`` with `pyarrow`.
    variable : str
        Which of several matrices in a ``.npz`` or ``.mat``.

    Raises
    ------
    InputError
        If the file cannot be read, is not one matrix of finite numbers, or needs a package that is
        not there.
    """
    values, labels = _read(Path(path), variable)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{path} holds an array of shape {values.shape}, not a matrix (m, n)")
    return Matrix(values, labels)


def read_signals(path: str | Path, rows: int, variable: str = "") -> FloatArray:
    """Return the signals of a file, shape (m, B), one a column.

    Parameters
    ----------
    path : str or Path
        Of a format of `read_matrix`. A vector is one signal, along either axis.
    rows : int
        m, the rows of the dictionary.
    variable : str
        Which array of a ``.npz`` or ``.mat``: "y" where none is named.

    Raises
    ------
    InputError
        If it cannot be read, or does not have m rows.
    """
    file = Path(path)
    archive = file.suffix.lower() in (".npz", ".mat")
    values, _ = _read(file, variable or ("y" if archive else ""))
    if values.ndim == 1 or (values.ndim == 2 and 1 in values.shape and values.size == rows):
        values = values.reshape(-1, 1)
    if values.ndim != 2 or values.shape[0] != rows or not values.shape[1]:
        raise InputError(
            f"{path} has shape {values.shape}: a signal must have as many rows as A, {rows}"
        )
    if not values.any(axis=0).all():
        zero = int(np.flatnonzero(~values.any(axis=0))[0])
        raise InputError(f"{path}: signal {zero} is zero: there is nothing to find")
    return values


def _read(file: Path, variable: str) -> tuple[FloatArray, tuple[str, ...]]:
    """Return the array of a file and the labels of its columns."""
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise InputError(f"{file}: a matrix is read from {', '.join(_READERS)}")
    if variable and file.suffix.lower() not in (".npz", ".mat"):
        raise InputError(f"{file} holds one matrix: it has no variable {variable!r}")
    try:
        with warnings.catch_warnings():
            # Of which kind a sparse matrix is: it is made dense.
            warnings.filterwarnings("ignore", "The default value for `spmatrix`")
            found, labels = reader(file, variable)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # of whatever library reads it
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{file} cannot be read as {file.suffix.lower()}: {reason}") from None
    if hasattr(found, "toarray"):
        found = found.toarray()
    return as_numbers(found, str(file)) + 0.0, labels  # there is no -0.0 in a sparse file


_Read = tuple[Any, tuple[str, ...]]


def _npy(file: Path, variable: str) -> _Read:
    with open(file, "rb") as stream:
        return np.load(stream, allow_pickle=False), ()


def _npz(file: Path, variable: str) -> _Read:
    with open(file, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
        names = list(archive.files)
        if {"format", "shape", "data"} <= set(names) and not variable:
            import scipy.sparse

            return scipy.sparse.load_npz(file), ()
        arrays = {name: archive[name] for name in names if not variable or name == variable}
    return _one_of(file, arrays, variable, names), ()


def _text(file: Path, variable: str) -> _Read:
    """Read numbers in columns; a first line of texts, or of 0, 1, 2, ..., is their labels."""
    with open(file, newline="", encoding="utf-8-sig") as stream:
        first = stream.readline()
        mark = next((mark for mark in ",;\t" if mark in first), None)
        cells = next(csv.reader([first], delimiter=mark)) if mark else first.split()
        counted = [str(i) for i in range(len(cells))]  # as pandas names columns without a name
        named = not all(_is_number(cell) for cell in cells) or (len(cells) > 1 and cells == counted)
        if not named:
            stream.seek(0)
        if not cells:
            raise InputError(f"{file} is empty")
        unnamed = named and not cells[0].strip()  # as pandas writes an index
        columns = range(1, len(cells)) if unnamed else None
        values = np.loadtxt(stream, delimiter=mark, ndmin=2, usecols=columns, encoding="utf-8")
    labels = tuple(cell.strip() for cell in cells[unnamed:]) if named else ()
    if labels and len(labels) != values.shape[1]:
        raise InputError(f"{file} has {len(labels)} labels over {values.shape[1]} columns")
    return values, labels


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _mtx(file: Path, variable: str) -> _Read:
    import scipy.io

    return scipy.io.mmread(file), ()


def _mat(file: Path, variable: str) -> _Read:
    import scipy.io

    try:
        held = scipy.io.loadmat(file)
    except NotImplementedError:  # MATLAB 7.3
        return _mat_in_hdf5(file, variable), ()
    arrays = {name: value for name, value in held.items() if not name.startswith("__")}
    return _one_of(file, arrays, variable, list(arrays)), ()


def _mat_in_hdf5(file: Path, variable: str) -> Any:
    """Read MATLAB 7.3: its axes are the other way round, its sparse matrices three vectors."""
    h5py = need("h5py", "the package h5py for MATLAB 7.3 files", "hdf5")
    import scipy.sparse

    with h5py.File(file, "r") as held:
        arrays: dict[str, Any] = {}
        for name, item in held.items():
            if "MATLAB_sparse" in item.attrs:
                rows, starts = int(item.attrs["MATLAB_sparse"]), item["jc"][:].astype(np.int64)
                inner = item["ir"][:] if "ir" in item else np.empty(0, dtype=np.int64)
                data = _complex(item["data"][:]) if "data" in item else np.empty(0)
                shape = rows, len(starts) - 1
                arrays[name] = scipy.sparse.csc_matrix((data, inner, starts), shape=shape)
            elif isinstance(item, h5py.Dataset) and not name.startswith("#"):
                arrays[name] = _complex(item[()]).T
    return _one_of(file, arrays, variable, list(arrays))


def _complex(values: Any) -> Any:
    """Return complex numbers as numpy has them: MATLAB's are pairs (real, imag)."""
    if getattr(values.dtype, "names", None) == ("real", "imag"):
        return values["real"] + 1j * values["imag"]
    return values


def _one_of(file: Path, arrays: dict[str, Any], variable: str, names: list[str]) -> Any:
    """Return the array of a name, or the only matrix of more than one row and column."""
    if variable:
        if variable not in arrays:
            raise InputError(f"{file} has no variable {variable!r}; it has {', '.join(names)}")
        return arrays[variable]
    matrices = {name: a for name, a in arrays.items() if a.ndim == 2 and min(a.shape) > 1}
    if len(matrices) != 1:
        shapes = ", ".join(f"{name} {arrays[name].shape}" for name in names) or "nothing"
        wanted = "variable=... says which" if matrices else "none is a matrix"
        raise InputError(f"{file} holds {shapes}: {wanted}")
    return next(iter(matrices.values()))


def _parquet(file: Path, variable: str) -> _Read:
    need("pyarrow", "the package pyarrow", "parquet")
    import pandas as pd

    frame = pd.read_parquet(file)
    values: NDArray[Any] = frame.to_numpy()
    return values, tuple(str(name) for name in frame.columns)


_READERS: dict[str, Callable[[Path, str], _Read]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _text,
    ".tsv": _text,
    ".txt": _text,
    ".mtx": _mtx,
    ".mat": _mat,
    ".parquet": _parquet,
}
