"""Dictionaries known by their products alone: sparse matrices, and operators of any library."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsebench.spectrum import bounded
from sparsebench.types import (
    LARGEST_EXPONENT,
    Dictionary,
    FloatArray,
    InputError,
    IntArray,
    all_finite,
    as_floats,
)

# Up to so many atoms their norms are computed exactly, at a product each.
_FEW_ATOMS = 2048
# Where one side is no longer than this, or none than that, ||A||² is computed to its digits, as
# that of a `Dictionary` is.
_DENSE_NORM = 1024
_SETTLED = 1e-8
# Random signs that estimate the norm of every atom, and their mean.
_PROBES, _MEAN_PROBES = 128, 16
# Atoms whose cosines with all others are looked at for a lower bound of the coherence.
_SAMPLED = 32
# Entries of a block of vectors: 16 MiB.
_BLOCK = 2**21
# How far an adjoint may be off, by whether products are in double precision.
_TOLERANCE = {True: 1e-8, False: 2e-3}


def is_operator(A: Any) -> bool:
    """Whether A is a sparse matrix of SciPy, or offers products: a method `matvec`."""
    return not isinstance(A, np.ndarray) and (hasattr(A, "tocsc") or hasattr(A, "matvec"))


def dictionary_of(A: Any) -> Dictionary:
    """Return A as a dictionary, which keeps what it learns from call to call."""
    if isinstance(A, Dictionary):
        return A
    return Operator(A) if is_operator(A) else Dictionary(A, copy=False)


def check_adjoint(A: Any, *, pairs: int = 8) -> float:
    """Return how far A and its adjoint are from <A u, v> = <u, Aᴴ v>, over random pairs.

    The largest difference, as a multiple of what such an inner product is in the mean: some 1e-16
    for a right pair in double precision, 1 for two unrelated operators.

    Parameters
    ----------
    A : operator, shape (m, n)
        A SciPy `LinearOperator`, a PyLops operator, or what has `shape`, `matvec` and `rmatvec`.
    pairs : int
        Two products each. The same pairs at every call.

    Raises
    ------
    InputError
        If the difference exceeds 1e-8 (2e-3 where products come in single precision), or if a
        product fails, has a wrong shape, or holds NaN, infinite or complex numbers.
    """
    return Operator(A).check_adjoint(pairs)


class Operator(Dictionary):
    """A dictionary known by products with A and its adjoint; no m x n array is ever formed.

    What else is known of it is computed from products, once, when it is asked for. Beyond 2,048
    atoms the norms of an operator's atoms are estimates (`norm_error`) unless `norms` gives them;
    those of a sparse matrix and of `sparsebench.transforms` are exact.

    Parameters
    ----------
    A : sparse matrix or operator, shape (m, n)
        A matrix or array of `scipy.sparse`; or a SciPy `LinearOperator`, a PyLops operator, or
        whatever has `shape`, `matvec` and `rmatvec`, the product with the adjoint. Real.
    norms : float or array_like, shape (n,), optional
        The norms of the atoms, where they are known: 1.0 for unit columns.

    Raises
    ------
    InputError
        If `A` is no real operator, if its adjoint is wrong (one pair is tried, two products), or
        if `norms` are not those of two of its atoms.
    """

    def __init__(self, A: Any, *, norms: ArrayLike | None = None) -> None:
        if isinstance(A, Dictionary) or not is_operator(A):
            raise InputError(
                "an Operator is made of a sparse matrix, or of an object with shape, matvec and "
                f"rmatvec, not of {type(A).__name__}"
            )
        self._given = A
        self._form: Any = _Sparse(A) if hasattr(A, "tocsc") else A
        self._shape = _checked_shape(self._form)
        if not callable(getattr(self._form, "rmatvec", None)):
            raise InputError("A has no rmatvec: products with its adjoint are needed too")
        #: Products with A and with its adjoint so far; one with b vectors counts as b.
        self.products = 0
        self.exponent = 0
        #: Relative accuracy of a product: that of double, or of single precision.
        self.epsilon = _epsilon(getattr(self._form, "dtype", None))
        self.begun = self.foreseen = 0
        self.images: dict[int, Any] = {}
        self._last: tuple[FloatArray, FloatArray] | None = None
        self._check_adjoint(1)
        self._norms = None if norms is None else self._checked_norms(norms)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): measurements and atoms."""
        return self._shape

    @property
    def A(self) -> Any:
        """The sparse matrix or operator as given."""
        return self._given

    @property
    def matrix(self) -> FloatArray:  # type: ignore[override]
        """Not there: what asks for it cannot be had from products."""
        raise InputError(
            "this needs the matrix A or its Gram matrix, and A is known by its products alone"
        )

    # ---- Products.

    def image(self, x: FloatArray) -> FloatArray:
        """Return A x of the scaled operator, shape (m,)."""
        return self._product("matvec", x, self._shape[0])

    def correlate(self, v: FloatArray) -> FloatArray:
        """Return Aᴴv of the scaled operator, shape (n,), read-only; the last one is kept."""
        last = self._last
        if last is None or not np.array_equal(last[0], v):
            found = self._product("rmatvec", v, self._shape[1])
            found.flags.writeable = False
            last = self._last = v.copy(), found
        return last[1]

    def is_orthogonal_to(self, y: FloatArray) -> bool:
        """Whether y is orthogonal to every atom."""
        return not self.correlate(y).any()

    def some_atoms(self, indices: IntArray) -> FloatArray:
        """Return some atoms, shape (k, m), C order."""
        m, n = self._shape
        if self.has_atoms:
            found = np.ascontiguousarray(self._form.atoms(indices))
            return np.ldexp(found, -self.exponent) if self.exponent else found
        atoms = np.empty((indices.size, m))
        for first in range(0, indices.size, self._at_once):
            part = indices[first : first + self._at_once]
            units = np.zeros((n, part.size))
            units[part, np.arange(part.size)] = 1.0
            atoms[first : first + part.size] = self._several("matvec", "matmat", units, m).T
        return atoms

    @property
    def _at_once(self) -> int:
        """Atoms that are formed at once: few, and never more than an eighth of them."""
        return max(min(_BLOCK // max(self._shape), self._shape[1] // 8), 1)

    @property
    def has_atoms(self) -> bool:
        """Whether atoms are had without a product."""
        return hasattr(self._form, "atoms") and self._own

    @property
    def _own(self) -> bool:
        """Whether what the form says of itself is ours, and can be relied on."""
        return type(self._form).__module__.startswith("sparsebench.")

    def _several(self, one: str, many: str, vectors: FloatArray, size: int) -> FloatArray:
        """Return products with the columns of an array."""
        if vectors.shape[1] > 1 and callable(getattr(self._form, many, None)):
            return self._product(many, vectors, size)
        return np.stack([self._product(one, v, size) for v in vectors.T.copy()], axis=1)

    def _product(self, name: str, v: FloatArray, size: int) -> FloatArray:
        """Return one product as a fresh array, or several, refusing what is none."""
        # An array of its own, to which an operator may write.
        v = np.ldexp(v, -self.exponent) if self.exponent > 0 else v.copy()
        found = np.asarray(getattr(self._form, name)(v))
        self.products += v.shape[1] if v.ndim == 2 else 1
        expected = (size, *v.shape[1:])
        if found.shape != expected:
            raise InputError(f"A.{name} returned shape {found.shape}, not {expected}")
        if found.dtype.kind == "c":
            raise InputError(f"A.{name} returned complex numbers; A must be real")
        if found.dtype.kind not in "biuf":
            raise InputError(f"A.{name} returned {found.dtype} values, not real numbers")
        if not all_finite(found):
            raise InputError(f"A.{name} returned NaN or infinite entries")
        self.epsilon = max(self.epsilon, _epsilon(found.dtype))
        product = np.array(found, dtype=np.float64, order="C")
        return np.ldexp(product, -self.exponent) if self.exponent < 0 else product

    # ---- The adjoint.

    def check_adjoint(self, pairs: int = 8) -> float:
        """Return how far the adjoint is off, as the function of this name does."""
        return self._check_adjoint(pairs)

    def _check_adjoint(self, pairs: int) -> float:
        m, n = self._shape
        worst = 0.0
        rng = np.random.default_rng(0)
        for _ in range(pairs):
            u, v = rng.standard_normal(n), rng.standard_normal(m)
            forward = self._tried("matvec", u, m)
            if self.products == 1:
                self.exponent = _extreme(forward)
                forward = np.ldexp(forward, -self.exponent)
            backward = self._tried("rmatvec", v, n)
            # What <A u, v> and <u, Aᴴ v> are in the mean, of independent vectors.
            size = max(
                np.linalg.norm(forward) * np.linalg.norm(v) / math.sqrt(m),
                np.linalg.norm(u) * np.linalg.norm(backward) / math.sqrt(n),
            )
            if size > 0.0:
                worst = max(worst, float(abs(np.vdot(forward, v) - np.vdot(u, backward)) / size))
        if worst > _TOLERANCE[self.epsilon < 1e-12]:
            raise InputError(
                f"A.rmatvec is not the adjoint of A.matvec: <A u, v> and <u, Aᴴ v> differ by "
                f"{worst:.1e} of their size for random u, v"
            )
        return worst

    def _tried(self, name: str, v: FloatArray, size: int) -> FloatArray:
        """Return a product, saying in one line what it raised."""
        try:
            return self._product(name, v, size)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # of whatever library the operator comes from
            raised = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise InputError(f"A.{name} failed on a vector of {v.size} floats: {raised}") from error

    # ---- Norms and coherence.

    def _checked_norms(self, norms: ArrayLike) -> FloatArray:
        """Return the norms that were given, as two of the atoms have them."""
        n = self._shape[1]
        given = as_floats(norms, "norms")
        if given.shape not in ((), (n,)) or (given < 0).any():
            raise InputError(f"norms must be a number, or {n} of them, none negative")
        given = np.broadcast_to(given, (n,))
        some = np.unique([0, int(np.random.default_rng(0).integers(n))])
        true = np.ldexp(np.linalg.norm(self.some_atoms(some), axis=1), self.exponent)
        for j, norm in zip(some, true, strict=True):
            if abs(norm - given[j]) > _TOLERANCE[self.epsilon < 1e-12] * max(norm, given[j]):
                raise InputError(f"norms say {given[j]:.6g} of atom {j}, whose norm is {norm:.6g}")
        return np.ldexp(given, -self.exponent)

    @property
    def norm_error(self) -> float:
        """The largest relative standard error of `squared_norms`; 0 where they are exact."""
        exact = self._norms is not None or self._own or self._shape[1] <= _FEW_ATOMS
        return 0.0 if exact else math.sqrt(2 / _PROBES)

    @cached_property
    def squared_norms(self) -> FloatArray:
        """Squared Euclidean norm of every (scaled) atom, shape (n,): exact, or with `norm_error`.

        Up to 2,048 atoms of an operator are formed, some at a time, at a product each. Of more, it
        is the mean of (Aᴴw)², entry by entry, over 128 vectors w of random signs (of a fixed seed):
        unbiased (Bekas, Kokiopoulou and Saad, Appl. Numer. Math. 57, 2007), with a relative
        standard error of at most sqrt(2/128) = 1/8, the same at every call.
        """
        n = self._shape[1]
        if self._norms is not None:
            found = self._norms**2
        elif self._own:
            found = np.ldexp(self._form.norms, -self.exponent) ** 2
        elif n <= _FEW_ATOMS:
            found = np.empty(n)
            for first in range(0, n, self._at_once):
                atoms = self.some_atoms(np.arange(first, min(first + self._at_once, n)))
                found[first : first + self._at_once] = np.einsum("ij,ij->i", atoms, atoms)
        else:
            found = self._mean_of_squares(_PROBES)
        found.flags.writeable = False
        return found

    @cached_property
    def mean_squared_norm(self) -> float:
        """Mean of the squared atom norms; 1 for unit-norm columns.

        Where the norms are no more than estimates, by 16 products: with a relative standard error
        of at most sqrt(2 / (16 r)), where r = ||A||_F⁴ / ||AAᴴ||_F², m for a tight frame.
        """
        if self.norm_error and not self.knows("squared_norms"):
            return float(self._mean_of_squares(_MEAN_PROBES).mean())
        return float(self.squared_norms.mean())

    def _mean_of_squares(self, probes: int) -> FloatArray:
        """Return the mean of (Aᴴw)² over random signs w, shape (n,)."""
        m, n = self._shape
        rng, total = np.random.default_rng(0), np.zeros(n)
        for _ in range(probes):
            total += self._product("rmatvec", rng.choice([-1.0, 1.0], m), n) ** 2
        return total / probes

    @cached_property
    def squared_spectral_norm(self) -> float:
        """The largest eigenvalue of AᵀA, by the Lanczos process, two products a step.

        To about ten digits, from above, where min(m, n) <= 1,024 or max(m, n) <= 2,048; of larger
        operators an upper bound, at most a fifth too large. So it is of a `Dictionary` (see
        `spectrum.bounded`). Known where a form of `sparsebench.transforms` knows it.
        """
        m, n = self._shape
        known = getattr(self._form, "squared_spectral_norm", None) if self._own else None
        if known is not None:
            return math.ldexp(float(known), -2 * self.exponent)

        def outer(v: FloatArray) -> FloatArray:
            return self.image(self._product("rmatvec", v, n))

        def inner(v: FloatArray) -> FloatArray:
            return self._product("rmatvec", self.image(v), n)

        small = min(m, n) <= _DENSE_NORM or max(m, n) <= _FEW_ATOMS
        settled = max(_SETTLED, 10 * self.epsilon) if small else 0.0
        return bounded(outer if m <= n else inner, min(m, n), settled=settled)

    @cached_property
    def coherence(self) -> float:
        """A lower bound of the mutual coherence, in 0..1.

        The largest |cosine| between one of 32 atoms (random ones, of a fixed seed) and the atom
        that looks the nearest to it by all its products and `squared_norms`. At most three products
        an atom beside the norms; the coherence itself where there are no more than 32 atoms.
        """
        n = self._shape[1]
        norms = np.sqrt(self.squared_norms)
        norms[norms == 0.0] = np.inf  # their products are zero
        largest = 0.0
        for j in np.random.default_rng(0).permutation(n)[:_SAMPLED]:
            atom = self.some_atoms(np.array([j]))[0]
            length = float(np.linalg.norm(atom))
            if length == 0.0:
                continue
            cosines = np.abs(self._product("rmatvec", atom, n)) / norms
            cosines[j] = 0.0
            nearest = int(cosines.argmax())
            other = self.some_atoms(np.array([nearest]))[0]
            size = length * float(np.linalg.norm(other))
            if nearest != j and size > 0.0:
                largest = max(largest, abs(float(atom @ other)) / size)
        return min(largest, 1.0)


class _Sparse:
    """Products with a sparse matrix, some of its columns, and their norms."""

    def __init__(self, A: Any) -> None:
        from scipy.sparse import csc_array

        kind = np.dtype(A.dtype).kind
        if kind not in "biuf":
            found = "complex ones" if kind == "c" else f"{A.dtype} values"
            raise InputError(f"A must be a sparse matrix of real numbers, not {found}")
        _checked_shape(A)
        self.matrix = csc_array(A, dtype=np.float64)
        self.matrix.sum_duplicates()
        if not all_finite(self.matrix.data):
            raise InputError("A holds NaN or infinite entries: remove them first")
        self.adjoint = self.matrix.T
        self.shape, self.dtype = self.matrix.shape, self.matrix.dtype

    def matvec(self, x: FloatArray) -> FloatArray:
        return self.matrix @ x

    def rmatvec(self, v: FloatArray) -> FloatArray:
        return self.adjoint @ v

    def atoms(self, indices: IntArray) -> FloatArray:
        return self.matrix[:, indices].T.toarray()

    @property
    def norms(self) -> FloatArray:
        squares = self.matrix.copy()
        exponent = _extreme(squares.data)  # so that no square overflows or vanishes
        squares.data = np.ldexp(squares.data, -exponent) ** 2
        return np.ldexp(np.sqrt(np.asarray(squares.sum(axis=0)).ravel()), exponent)


def _checked_shape(A: Any) -> tuple[int, int]:
    """Return the shape of an operator, refusing what is none."""
    shape: Any = getattr(A, "shape", None)
    try:
        m, n = (int(size) for size in shape)
    except (TypeError, ValueError):
        raise InputError(f"A must have shape (m, n), not {shape}") from None
    if m < 1 or n < 1:
        raise InputError(f"A must have shape (m, n) with m, n >= 1, not {(m, n)}")
    kind = np.dtype(getattr(A, "dtype", None) or np.float64).kind
    if kind == "c":
        raise InputError("A is a complex operator; A must be real")
    return m, n


def _epsilon(dtype: Any) -> float:
    """Return the relative accuracy of numbers of a type: integers are exact."""
    if dtype is None or np.dtype(dtype).kind != "f":
        return float(np.finfo(np.float64).eps)
    return float(max(np.finfo(dtype).eps, np.finfo(np.float64).eps))


def _extreme(values: NDArray[np.float64]) -> int:
    """Return the binary exponent of the largest entry where that is extreme, or else 0."""
    exponent = math.frexp(float(np.abs(values).max(initial=0.0)))[1]
    return exponent if abs(exponent) > LARGEST_EXPONENT else 0
