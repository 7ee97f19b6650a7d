"""The nouns of the package: `Dictionary`, `Instance`, `Result` and `Status`.

A long file, since the checks of the arrays that a caller passed stand below them: a `Dictionary` is
made with these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy  # whose parts are loaded when they are first used
from numpy.typing import ArrayLike, NDArray

from sparsebench.errors import InputError as InputError
from sparsebench.errors import check_whole as check_whole
from sparsebench.spectrum import largest_squared_singular_value
from sparsebench.system.resources import available_memory

# float64; where A or y is complex, also complex128.
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# Entries are brought inside 2**(-100) .. 2**100 so that no square overflows or vanishes.
LARGEST_EXPONENT = 100
# Entries of a block of the Gram matrix that is looked at and forgotten: 16 MiB.
_BLOCK = 2**21
# Entries from which on an array is used as it is, if it need not be copied: 32 MiB.
_LARGE = 2**22
# Up to so many atoms the Gram matrix, 32 MiB, is formed at once: its price is that of a few images.
FEW_ATOMS = 2048
# Atoms that are copied at once.
_AT_ONCE = 64
# Measurements up to which, of any number of atoms, ||A||² is an eigenvalue of a Gram matrix.
_DENSE_NORM = 1024
# Entries of a vector whose squares are summed in less time than numpy is told to be silent.
_SMALL = 2**10


class Status(StrEnum):
    """How a solve ended."""

    CONVERGED = "converged"
    ITERATION_LIMIT = "iteration limit"
    NOT_CONVERGED = "not converged"
    CYCLED = "cycle"
    DIVERGED = "diverged"
    ERROR = "error"
    TIME_OUT = "time-out"

    @property
    def failed(self) -> bool:
        """Whether no estimate was returned at all."""
        return self in (Status.DIVERGED, Status.ERROR, Status.TIME_OUT)


#: What is said of the coverage of an interval.
NOMINAL, AT_LEAST, APPROXIMATE = "nominal", "at least", "approximate"


class Dictionary:
    """A dictionary A with its derived quantities, each computed at most once.

    Parameters
    ----------
    A : array_like, shape (m, n)
        The dictionary; its columns are the atoms.
    copy : bool
        Whether later writes to `A` change nothing. If not, a large array of float64 or complex128
        without gaps is used as it is, in either order, and must not be written to.

    Raises
    ------
    InputError
        If `A` is not a finite matrix of real or complex numbers with at least one row and one
        column.
    """

    def __init__(self, A: ArrayLike, *, copy: bool = True) -> None:
        if isinstance(A, Dictionary):
            raise InputError("A is a Dictionary already")
        matrix = as_array(A, "A")
        as_it_is = not copy and _is_plain(matrix)
        if as_it_is:
            matrix = _frozen(matrix.view())
            energy = _energy(matrix)
            if not (math.isfinite(energy) or np.isfinite(matrix).all()):
                _refuse_infinite("A")
        else:
            matrix = as_numbers(matrix, "A", "F")
            energy = None
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise InputError(f"A must have shape (m, n) with m, n >= 1, not {np.shape(matrix)}")
        self.exponent = exponent_to_order_one(matrix, energy)
        if self.exponent:
            matrix = times_power_of_two(matrix, -self.exponent)
        #: (m, n), scaled by 2**(-exponent): without gaps, in either order
        self.matrix: FloatArray = matrix if as_it_is else np.asfortranarray(matrix)
        self.matrix.flags.writeable = False
        #: Whether A holds complex numbers.
        self.is_complex = self.matrix.dtype.kind == "c"
        #: Signals that have been begun on it, and with those that are foreseen.
        self.begun = self.foreseen = 0
        #: Its ways to an image (`kernels.images`), where the Gram matrix is not the only one, by
        #: the number of the thread that uses them.
        self.images: dict[int, Any] = {}

    #: Whether the least squares of the last estimate have converged: an `Operator`'s may not have.
    settled = True

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): measurements and atoms."""
        return self.matrix.shape

    def image(self, x: FloatArray) -> FloatArray:
        """Return A x of the scaled dictionary, shape (m,)."""
        return self.matrix @ x

    def is_orthogonal_to(self, y: FloatArray) -> bool:
        """Whether y is orthogonal to every atom; nearly always the first one settles it."""
        v = y.conj() if self.is_complex else y
        return bool(np.dot(self.matrix[:, 0], v) == 0.0 and not (self.matrix.T @ v).any())

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 or complex128."""
        return self.matrix.dtype

    @cached_property
    def complexified(self) -> Dictionary:
        """The same dictionary in complex numbers, for complex signals."""
        return self if self.is_complex else Dictionary(self.A.astype(np.complex128), copy=False)

    @property
    def signals_ahead(self) -> float:
        """Foreseen signals as a multiple of those that have been begun; at least 1."""
        begun = max(self.begun, 1)
        return max(self.foreseen, begun) / begun

    @cached_property
    def atoms(self) -> FloatArray:
        """Shape (n, m), C order: row j is atom j, scaled by 2**(-exponent)."""
        return _frozen(np.ascontiguousarray(self.matrix.T))

    def some_atoms(self, indices: IntArray) -> FloatArray:
        """Return a copy of some atoms, shape (k, m), C order."""
        atoms = np.empty((indices.size, self.shape[0]), self.dtype)
        for first in range(0, indices.size, _AT_ONCE):  # numpy makes another copy between
            part = slice(first, first + _AT_ONCE)
            atoms[part] = self.matrix.T[indices[part]]
        return atoms

    def gram_rows(self, indices: IntArray, out: FloatArray | None = None) -> FloatArray:
        """Return some rows of the Gram matrix, shape (k, n), or write them to `out`."""
        rows: FloatArray = np.matmul(self.some_atoms(indices).conj(), self.matrix, out=out)
        if self.is_complex:
            np.conjugate(rows, out=rows)
        return rows

    @cached_property
    def A(self) -> FloatArray:
        """The dictionary as given, shape (m, n), read-only."""
        if not self.exponent:
            return self.matrix
        return _frozen(times_power_of_two(self.matrix, self.exponent))

    def knows(self, quantity: str) -> bool:
        """Whether a derived quantity has been computed already."""
        return quantity in self.__dict__

    @cached_property
    def gram(self) -> FloatArray:
        """AᵀA of the scaled dictionary, shape (n, n), exactly symmetric; row j is Aᴴ a_j."""
        n = self.shape[1]
        if n > FEW_ATOMS:
            instead = "what sparsebench.solve runs of its own needs none, such as omp, htp or fista"
            check_memory(self.dtype.itemsize * n * n, f"the Gram matrix of {n:,} atoms", instead)
        if self.is_complex:
            above = scipy.linalg.blas.zherk(1.0, self.matrix, trans=2)  # of AᴴA
            return _frozen(np.ascontiguousarray((above + np.triu(above, 1).conj().T).T))
        # numpy calls syrk and mirrors it
        return _frozen(np.matmul(self.matrix.T, self.matrix, out=aligned_empty((n, n))))

    @cached_property
    def squared_norms(self) -> FloatArray:
        """Squared Euclidean norm of every (scaled) atom, shape (n,)."""
        parts = (self.matrix.real, self.matrix.imag) if self.is_complex else (self.matrix,)
        return _frozen(sum(np.einsum("ij,ij->i", part.T, part.T) for part in parts))

    @cached_property
    def mean_squared_norm(self) -> float:
        """Mean of the squared atom norms; 1 for unit-norm columns."""
        return float(self.squared_norms.mean())

    @cached_property
    def squared_spectral_norm(self) -> float:
        """The largest eigenvalue of AᴴA, written L or ||A||² in step rules."""
        m, n = self.shape
        if min(m, n) > _DENSE_NORM and max(m, n) > FEW_ATOMS:
            return largest_squared_singular_value(self.matrix)
        small = self.gram if n <= m else self.matrix @ self.matrix.conj().T
        last = small.shape[0] - 1
        try:
            top = scipy.linalg.eigvalsh(small, subset_by_index=[last, last], check_finite=False)
        except np.linalg.LinAlgError:  # so on equal eigenvalues: orthonormal bases, tight frames
            top = scipy.linalg.eigvalsh(small, driver="evd", check_finite=False)
        return float(top[-1])

    @cached_property
    def svd(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """U, s, Vᴴ of the scaled dictionary, thin: shapes (m, p), (p,), (p, n), p = min(m, n)."""
        if self.matrix.size >= _LARGE:
            check_memory(3 * self.matrix.nbytes, "the singular value decomposition of A")
        try:
            left, values, right = scipy.linalg.svd(
                self.matrix, full_matrices=False, check_finite=False
            )
        except np.linalg.LinAlgError:  # divide and conquer gave up; QR iteration does not
            left, values, right = scipy.linalg.svd(
                self.matrix, full_matrices=False, check_finite=False, lapack_driver="gesvd"
            )
        return _frozen(left), _frozen(values), _frozen(right)

    @cached_property
    def outer_factor(self) -> FloatArray | None:
        """L of L Lᴴ = AAᴴ, below its diagonal, where that has a condition number below 1e8."""
        outer = self.matrix @ self.matrix.conj().T
        potrf, pocon = scipy.linalg.get_lapack_funcs(("potrf", "pocon"), (outer,))
        factor, failed = potrf(outer, lower=1)
        if failed:
            return None
        norm = np.abs(outer).sum(axis=0).max()
        reciprocal, _ = pocon(factor, norm, uplo="L")
        return _frozen(factor) if reciprocal > 1e-8 else None

    @cached_property
    def outer_spectrum(self) -> tuple[FloatArray, FloatArray] | None:
        """U and s of the singular value decomposition from AAᴴ, where their ratio is below 1e4."""
        outer = self.matrix @ self.matrix.conj().T
        squares, left = scipy.linalg.eigh(outer, check_finite=False)
        if not squares[0] > 1e-8 * squares[-1]:
            return None
        return _frozen(left[:, ::-1]), _frozen(np.sqrt(squares[::-1]))

    @cached_property
    def pseudo_inverse(self) -> FloatArray:
        """A⁺ of the scaled dictionary, shape (n, m), least-norm.

        By Cholesky of AAᴴ where its condition number is below 1e8, so that half of the digits are
        left in the worst case; by the singular values otherwise.
        """
        factor = self.outer_factor
        if factor is not None:
            solved = scipy.linalg.cho_solve((factor, True), self.matrix, check_finite=False)
            return _frozen(solved.conj().T)
        left, values, right = self.svd
        kept = values > np.finfo(float).eps * max(self.shape) * values[0]
        return _frozen((right[kept].conj().T / values[kept]) @ left[:, kept].conj().T)

    @cached_property
    def coherence(self) -> float:
        """Mutual coherence: the largest |cosine| between two different non-zero atoms, in 0..1."""
        norms = np.sqrt(self.squared_norms)
        norms[norms == 0] = 1.0  # their products are zero
        n = norms.size
        rows = max(_BLOCK // n, 1)
        largest = 0.0
        for first in range(0, n, rows):  # in blocks, since a large Gram matrix is gigabytes
            part = slice(first, min(first + rows, n))
            cosines = self.matrix[:, part].conj().T @ self.matrix[:, first:]
            if self.is_complex:
                cosines = np.abs(cosines)
            np.fill_diagonal(cosines, 0.0)
            cosines /= norms[part, np.newaxis]
            cosines /= norms[first:]
            largest = max(largest, float(cosines.max()), -float(cosines.min()))
        return min(largest, 1.0)


@dataclass(frozen=True)
class Instance:
    """One sparse-recovery problem with its planted solution: y = A x + noise.

    Attributes
    ----------
    dictionary : Dictionary
        Wraps A, shape (m, n).
    x : ndarray, shape (n,)
        The planted k-sparse vector.
    y : ndarray, shape (m,)
        The measurements.
    recipe : dict
        Problem, options, sizes, trial and root seed that determine this instance.
    noise : float, optional
        The standard deviation of an entry of the noise in y's units, of complex numbers that of its
        modulus; 0 without noise, None where it is not known.
    """

    dictionary: Dictionary
    x: FloatArray
    y: FloatArray
    recipe: dict[str, Any] = field(default_factory=dict)
    noise: float | None = None

    def __post_init__(self) -> None:
        """Keep x and y as read-only arrays of A's type, refusing what does not fit A.

        Raises
        ------
        InputError
            If the shapes differ from those of A, or an entry is no finite number, or x or y is
            complex and A is not.
        """
        if not isinstance(self.dictionary, Dictionary):
            raise InputError("an instance needs a Dictionary: Dictionary(A)")
        for name, size in zip("yx", self.dictionary.shape, strict=True):
            given = as_array(getattr(self, name), name)
            values = (
                as_numbers(given, name).astype(self.dictionary.dtype, copy=False)
                if (self.dictionary.is_complex)
                else as_floats(given, name)
            )
            if values.shape != (size,):
                raise InputError(f"{name} must have shape ({size},), not {values.shape}")
            object.__setattr__(self, name, _frozen(values))

    @property
    def A(self) -> FloatArray:
        """The dictionary as a read-only array, shape (m, n)."""
        return self.dictionary.A

    @property
    def support(self) -> IntArray:
        """Sorted indices of the non-zeros of `x`, shape (k,)."""
        return np.flatnonzero(self.x)


@dataclass(frozen=True)
class Stage:
    """What one link of a chain used: its name, iterations (None if unknown) and seconds."""

    name: str
    n_iter: int | None
    seconds: float


@dataclass(frozen=True)
class Result:
    """What a solve returned.

    Attributes
    ----------
    x : ndarray, shape (n,) or (n, B)
        The estimate; of an algorithm that is told k with at most k non-zeros a column.
    n_iter : int or ndarray of int, shape (B,), or None
        Iterations used; None where an algorithm does not tell them, of a signal or of several.
    status : Status or tuple of Status
        How each solve ended.
    seconds : float
        Wall time of the solve, without input checks.
    stages : tuple of Stage
        The links of a chain, in order; empty for a single algorithm.
    history : dict of str to ndarray, optional
        What was asked for with ``history=True``: one entry an iteration in each array.
    message : str
        What went wrong, where the status is "error".
    """

    x: FloatArray
    n_iter: int | NDArray[np.int64] | None
    status: Status | tuple[Status, ...]
    seconds: float = float("nan")
    stages: tuple[Stage, ...] = ()
    history: dict[str, NDArray[Any]] | None = None
    message: str = ""

    @property
    def support(self) -> IntArray:
        """Sorted indices of the non-zeros of a single-signal estimate."""
        if self.x.ndim != 1:
            raise InputError("support is defined for one signal; take np.flatnonzero(x[:, b])")
        return np.flatnonzero(self.x)


def as_array(values: ArrayLike, name: str) -> NDArray[Any]:
    """Return what was given as a plain array, refusing what would lose a mask or cannot be read.

    Raises
    ------
    InputError
        If entries are masked, or numpy cannot read the values.
    """
    if type(values) is np.ndarray:
        return values
    if _has_masked(values):
        raise InputError(f"{name} has masked entries: fill or drop them first")
    if hasattr(values, "toarray"):
        raise InputError(f"{name} is sparse and must be a dense array: pass its .toarray()")
    try:
        return np.asarray(values)
    except MemoryError:
        raise
    except Exception as error:  # of whatever library the values come from
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{name} must be a dense array of real numbers: {reason}") from None


def _has_masked(values: Any, depth: int = 0) -> bool:
    """Whether entries of a masked array, or of one in a nested sequence, are masked."""
    mask = getattr(values, "mask", None)
    if isinstance(mask, np.ndarray | np.bool_) and mask.dtype == bool:
        return bool(mask.any())
    if not isinstance(values, list | tuple) or depth == 64:
        return False
    # One pass over the types leaves out a long row of numbers.
    kinds = tuple(kind for kind in set(map(type, values)) if kind not in (float, int))
    return bool(kinds) and any(
        _has_masked(value, depth + 1) for value in values if isinstance(value, kinds)
    )


# By numpy's letter; all else is a Python object in one way or another.
_KINDS = {
    "c": "complex ones",
    "U": "text",
    "S": "text",
    "M": "dates",
    "m": "time differences",
    "V": "a structured array: pass one of its fields",
}


def as_reals(values: ArrayLike, name: str, order: Literal["C", "F"] = "C") -> FloatArray:
    """Return a fresh float64 copy of real numbers, refusing anything else; in order F aligned.

    Raises
    ------
    InputError
        If the values are not real numbers, or one of them is masked.
    """
    array = as_array(values, name)
    kind = array.dtype.kind
    if kind not in "biuf":
        found = _KINDS.get(kind, "Python objects: convert them, as .astype(float) does")
        raise InputError(f"{name} must be a dense array of real numbers, not {found}")
    if array.dtype.itemsize > 8:  # what does not fit into double precision is infinite there
        with np.errstate(over="ignore"):
            array = array.astype(np.float64)
    return _copied(array, name, np.dtype(np.float64), order)


def _copied(array: NDArray[Any], name: str, dtype: Any, order: Literal["C", "F"]) -> FloatArray:
    """Return a copy of a type and an order, the latter F aligned."""
    if array.size >= _LARGE:
        check_memory(dtype.itemsize * array.size, f"a copy of {name}")
    if order == "F":
        given, array = array, aligned_empty(array.shape[::-1], dtype).T
        array[...] = given
        return array
    return np.array(array, dtype=dtype, order="C")


def as_floats(values: ArrayLike, name: str, order: Literal["C", "F"] = "C") -> FloatArray:
    """Return a fresh float64 copy of finite real numbers, as `as_reals` does.

    Raises
    ------
    InputError
        If the values are not real numbers, or one of them is masked, NaN or infinite.
    """
    given = as_array(values, name)
    array = as_reals(given, name, order)
    if given.dtype.kind == "f" and not all_finite(array):
        _refuse_infinite(name)
    return array


def as_numbers(values: ArrayLike, name: str, order: Literal["C", "F"] = "C") -> FloatArray:
    """Return a fresh copy of finite real or complex numbers, as float64 or complex128.

    Raises
    ------
    InputError
        If the values are no numbers, or one of them is masked, NaN or infinite.
    """
    given = as_array(values, name)
    if given.dtype.kind != "c":
        return as_floats(given, name, order)
    with np.errstate(over="ignore"):
        array = _copied(given, name, np.dtype(np.complex128), order)
    if not all_finite(array):
        _refuse_infinite(name)
    return array


def _refuse_infinite(name: str) -> None:
    raise InputError(f"{name} holds NaN or infinite entries: remove them first")


def _is_plain(array: NDArray[Any]) -> bool:
    """Whether an array is a large matrix of float64 or complex128 without gaps."""
    flags = array.flags
    whole = flags.aligned and (flags.c_contiguous or flags.f_contiguous)
    double = array.dtype in (np.float64, np.complex128)
    return whole and double and array.ndim == 2 and array.size >= _LARGE


def check_memory(needed: int, what: str, instead: str = "") -> None:
    """Refuse what does not fit into the memory at hand, before it is begun; say what does.

    Raises
    ------
    InputError
        With the bytes that it takes and those that are free.
    """
    free = available_memory()
    if free is not None and needed > free:
        raise InputError(
            f"{what} takes {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
            + (f"; {instead}" if instead else "")
        )


def aligned_empty(shape: tuple[int, ...], dtype: Any = np.dtype(np.float64)) -> FloatArray:
    """Return an uninitialised array in C order that begins where a cache line does.

    numpy's begin at a multiple of 16 bytes; vectors that straddle cache lines made OMP's loop over
    rows half as fast again.
    """
    size = math.prod(shape) * (dtype.itemsize // 8)
    room = np.empty(size + 7)
    first = -room.ctypes.data % 64 // 8
    room = room[first : first + size]
    return (room if dtype == np.float64 else room.view(dtype)).reshape(shape)


def all_finite(values: NDArray[Any]) -> bool:
    """Whether no entry is NaN or infinite; one pass over them nearly always."""
    return math.isfinite(_energy(values)) or bool(np.isfinite(values).all())


def _energy(values: NDArray[Any]) -> float:
    """Return the sum of the squares, infinite or NaN where an entry is."""
    flat = values.ravel(order="K")
    if flat.dtype.kind == "c":
        flat = flat.view(np.float64)
    if flat.dtype == np.float64 and 0 < flat.size < _SMALL:
        # Overflows in silence, in a fifth of the time below.
        return float(scipy.linalg.blas.ddot(flat, flat))
    with np.errstate(over="ignore"):
        return float(np.dot(flat, flat))


def exponent_to_order_one(values: FloatArray, energy: float | None = None) -> int:
    """Return e such that values * 2**(-e) is safe to square; 0 unless the scale is extreme."""
    # The largest entry lies between the root of the mean square and that of the sum.
    energy = _energy(values) if energy is None else energy
    if 2.0**-150 <= energy <= 2.0**150 and values.size < 2.0**40:
        return 0
    if values.dtype.kind == "c":
        values = values.ravel(order="K").view(np.float64)
    largest = max(float(values.max()), -float(values.min())) if values.size else 0.0
    exponent = math.frexp(largest)[1]
    return exponent if abs(exponent) > LARGEST_EXPONENT else 0


def times_power_of_two(values: FloatArray, exponent: Any) -> FloatArray:
    """Return values * 2**exponent, exactly; of complex numbers part by part."""
    if values.dtype.kind != "c":
        return np.ldexp(values, exponent)
    scaled = np.empty_like(values)
    scaled.real, scaled.imag = np.ldexp(values.real, exponent), np.ldexp(values.imag, exponent)
    return scaled


def _frozen(array: FloatArray) -> FloatArray:
    """Make an array read-only: it is shared by every algorithm that meets it."""
    array.flags.writeable = False
    return array
