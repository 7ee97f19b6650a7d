"""Orthogonal matching pursuit and orthogonal least squares, for one signal or several."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numba import njit

from sparsebench.kernels.conjugates import conjugate, conjugate_in_place
from sparsebench.kernels.gram import (
    atom_of,
    copy,
    correlate,
    dot,
    gram_row,
    negative_gradient,
    squared_norm,
    subtract,
)
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.images import FEW_ATOMS, images_of, rows_suffice
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.least_squares import SMALLEST_PIVOT, least_squares, refined, residual
from sparsebench.kernels.selection import largest, largest_magnitude, sort
from sparsebench.operators import Operator
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import fitted, fitted_alone, in_blocks, looser_than
from sparsebench.types import Dictionary, FloatArray, IntArray, Result, Status, aligned_empty

# Orthogonal least squares divides by the squared distance of an atom to the span of the chosen
# ones: below this fraction of its squared norm, the difference of two large numbers is not it.
_SMALLEST_DISTANCE = 1e-7
# In place of a number of atoms: one is too close to the span of the others for the Gram matrix, or
# the loop was interrupted.
_DEPENDENT, _INTERRUPTED = -1, -2


def _several(
    dictionary: Dictionary, signals: FloatArray, k: int, *, tol: float, normalise: bool
) -> tuple[FloatArray, IntArray]:
    """Return (estimates, iterations) of signals, shape (B, m): estimates have shape (B, n)."""
    if rows_suffice(dictionary, k, len(signals)):
        results = [_single(dictionary, y.copy(), k, tol, normalise) for y in signals]
        return np.stack([r.x for r in results]), np.array([r.n_iter for r in results])
    squared_norms = dictionary.squared_norms if normalise else np.empty(0)
    images = aligned_empty((k, dictionary.shape[1]), dictionary.dtype)
    return _select_several(
        dictionary.atoms, dictionary.gram, signals, k, tol, squared_norms, images
    )


def _path(
    dictionary: Dictionary, y: FloatArray, most: int, *, tol: float, normalise: bool
) -> Iterator[IntArray]:
    """Yield the supports of 1, 2, ... atoms: each is the one before it with another atom."""

    def run(size: int) -> list[IntArray]:
        support = _ordered(dictionary, y, size, tol, normalise)
        return [support[:j] for j in range(1, support.size + 1)]

    return in_blocks(run, most)


@algorithm(
    "omp",
    family="greedy",
    complex_numbers=True,
    shares=("gram",),
    cost="n*k",
    several=partial(_several, normalise=False),
    twin="sparsebench.batched.omp:omp",
    path=partial(_path, normalise=False),
    source="Pati, Rezaiifar and Krishnaprasad, Asilomar 1993, doi:10.1109/ACSSC.1993.342465; "
    "with the Gram matrix: Rubinstein, Zibulevsky and Elad, Technion CS-2008-08",
    matrix_free=True,
    revised=looser_than(1e-6),
)
def omp(dictionary: Dictionary, y: FloatArray, k: int, *, tol: float = 1e-10) -> Result:
    """Orthogonal matching pursuit: add the atom of largest |aᵀr|, solve least squares, repeat.

    Atoms are compared as they are, not normalised. Stops at k atoms or at a relative residual
    of `tol`.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    tol : float
        Relative residual that counts as zero.
    """
    return _single(dictionary, y, k, tol, False)


@algorithm(
    "ols",
    family="greedy",
    complex_numbers=True,
    shares=("gram", "squared_norms"),
    cost="n*k",
    several=partial(_several, normalise=True),
    twin="sparsebench.batched.omp:ols",
    path=partial(_path, normalise=True),
    source="Chen, Billings and Luo, Int. J. Control 50, 1989, doi:10.1080/00207178908953472",
    revised=looser_than(1e-6),
)
def ols(dictionary: Dictionary, y: FloatArray, k: int, *, tol: float = 1e-10) -> Result:
    """Orthogonal least squares: add the atom whose least squares leaves the smallest residual.

    That is the atom of largest |aᵀr| / ||P a||, where P projects out the atoms chosen before.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    tol : float
        Relative residual that counts as zero.
    """
    return _single(dictionary, y, k, tol, True)


def _ordered(
    dictionary: Dictionary, y: FloatArray, k: int, tol: float, normalise: bool
) -> IntArray:
    """Return the chosen atoms in the order in which they were chosen."""
    n = dictionary.shape[1]
    atoms: Any
    if n > FEW_ATOMS:
        atoms, rows, places = images_of(dictionary)[0], np.empty((0, n), y.dtype), np.full(n, -1)
        rows.flags.writeable = False
    else:
        atoms, rows, places = dictionary.atoms, dictionary.gram, _each(n)
    squared_norms = dictionary.squared_norms if normalise else np.empty(0)
    images, support = aligned_empty((k, n), dictionary.dtype), np.empty(k, dtype=np.intp)
    correlation, factor = correlate(atoms, y), np.empty((k, k), y.dtype)
    given = (atoms, rows, places, y, correlation, tol, squared_norms, images, support, factor)
    size = _select(*given)
    if size == _DEPENDENT:
        size = select_orthogonal(atoms, y, tol, normalise, support)
    return support[: max(size, 0)]


@lru_cache
def _each(n: int) -> IntArray:
    """Return 0 .. n - 1: every row of the Gram matrix is in its place."""
    return np.arange(n)


def _single(dictionary: Dictionary, y: FloatArray, k: int, tol: float, normalise: bool) -> Result:
    n = dictionary.shape[1]
    if isinstance(dictionary, Operator):
        return _by_products(dictionary, y, k, tol)
    shared = not rows_suffice(dictionary, k)
    atoms: Any
    if shared:
        atoms, rows, places = dictionary.atoms, dictionary.gram, _each(n)
        correlation = correlate(atoms, y)
    else:
        large = n > FEW_ATOMS
        atoms = images_of(dictionary)[0] if large else dictionary.atoms
        correlation = correlate(atoms, y)
        # A row of the Gram matrix costs 2mn flops, and in one product a quarter of the time: those
        # of the k first candidates together, then of what else is chosen.
        first, places = largest(correlation, k), np.full(n, -1)
        if large and k <= atoms.rental.most_rows:
            atoms.add_rows(first, first)  # which it keeps, and finds the others with
            rows = np.empty((0, n), y.dtype)
        else:
            rows = dictionary.gram_rows(first)
            places[first] = np.arange(k)
        rows.flags.writeable = False  # as those of a dictionary are: one type for the compiler
    squared_norms = dictionary.squared_norms if normalise else np.empty(0)
    images, support = aligned_empty((k, n), dictionary.dtype), np.empty(k, dtype=np.intp)
    factor = np.empty((k, k), y.dtype)
    size, held = _choose(
        atoms, rows, places, y, correlation, tol, squared_norms, images, support, factor
    )
    if shared:
        x = refined(atoms, rows, y, support, size, n, factor, held)
    else:
        x = fitted_alone(dictionary, y, np.sort(support[:size]))
    return Result(x, size, Status.CONVERGED)


def _by_products(operator: Operator, y: FloatArray, k: int, tol: float) -> Result:
    """Choose as `select_orthogonal` does, at a product Aᴴr a step, and fit the atoms chosen.

    By explicit projections where the atoms fit, by conjugate gradients otherwise.
    """
    images = images_of(operator)[0]
    limit, fits = tol * np.sqrt(squared_norm(y)), images.rent.fit(k)
    basis = np.empty((k if fits else 0, y.size), y.dtype)
    correlations, remainder = correlate(images, y), y.copy()
    correlation, coefficients = correlations.copy(), np.zeros(k, y.dtype)
    factor = images.factor_room(k)
    support, size, barred = np.empty(k, dtype=np.intp), 0, np.zeros(operator.shape[1], dtype=bool)
    while size < k and np.sqrt(squared_norm(remainder)) > limit:
        correlation[barred] = 0.0
        best = largest_magnitude(correlation)
        if correlation[best] == 0.0:
            break
        barred[best] = True
        if fits:
            direction, atom = basis[size], atom_of(images, best)
            copy(atom, direction)
            for _ in range(2):
                direction -= (basis[:size].conj() @ direction) @ basis[:size]
            after = np.sqrt(squared_norm(direction))
            if after <= 1e-14 * np.sqrt(squared_norm(atom)):
                continue  # dependent on the chosen atoms: it cannot lower the residual
            direction /= after
            remainder -= dot(direction, remainder) * direction
        support[size] = best
        size += 1
        if not fits:
            least_squares(images, images, correlations, y, support, size, factor, coefficients)
            residual(images, y, support, size, coefficients, remainder)
            negative_gradient(images, correlations, support, coefficients, size, correlation)
        elif size < k:
            correlation = correlate(images, remainder)
    return Result(fitted(operator, y, np.sort(support[:size])), size, Status.CONVERGED)


@njit(cache=True)
def _select_several(atoms, gram, signals, k, tol, squared_norms, images):
    count, n = signals.shape[0], atoms.shape[0]
    correlations, places = np.dot(conjugate(signals), atoms.T), np.arange(n)
    conjugate_in_place(correlations)
    support, factor = np.empty(k, dtype=np.intp), np.empty((k, k), atoms.dtype)
    estimates, sizes = np.zeros((count, n), atoms.dtype), np.empty(count, dtype=np.int64)
    for b in range(count):
        y = signals[b]
        size, held = _choose(
            atoms, gram, places, y, correlations[b], tol, squared_norms, images, support, factor
        )
        if size == _INTERRUPTED:
            break
        copy(refined(atoms, gram, y, support, size, n, factor, held), estimates[b])
        sizes[b] = size
    return estimates, sizes


@imaged()
def _choose(atoms, rows, places, y, correlation, tol, squared_norms, images, support, factor):
    """Write the chosen atoms to `support`; return their number, and whether `factor` is theirs.

    By explicit projections, and in order, where an atom is too close to the span of the others.
    """
    size = _select(atoms, rows, places, y, correlation, tol, squared_norms, images, support, factor)
    if size != _DEPENDENT:
        return size, True
    size = select_orthogonal(atoms, y, tol, squared_norms.shape[0] > 0, support)
    sort(support, size)
    return size, False


@imaged()
def _residual_norm(atoms, y, support, size):
    """Return ||y - A_S x|| at the least-squares x, by Gram-Schmidt, twice."""
    basis, remainder = np.empty((size, y.shape[0]), y.dtype), y.copy()
    for j in range(size):
        direction = basis[j]
        copy(atom_of(atoms, support[j]), direction)
        for _ in range(2):
            for p in range(j):
                subtract(dot(basis[p], direction), basis[p], direction)
        subtract(1.0 - 1.0 / np.sqrt(squared_norm(direction)), direction, direction)
        subtract(dot(direction, remainder), direction, remainder)
    return np.sqrt(squared_norm(remainder))


@imaged(fastmath={"reassoc", "contract"})
def _select(atoms, rows, places, y, correlation, tol, squared_norms, images, support, factor):
    """Write the chosen atoms to `support`, their Cholesky factor, and return their number.

    With p_1, p_2, ... the chosen atoms made orthogonal one after the other, row i of `images` is
    Aᴴp_i: the correlations Aᴴr lose their component along it, and the squared distances to the
    span (needed by OLS: `squared_norms` is not empty) lose its square over ||p_i||², the pivot of
    the Cholesky factorisation. ``rows[places[p]]`` is row p of the Gram matrix, where that is not
    negative; other rows are formed one by one.
    """
    k, n = images.shape
    normalise = squared_norms.shape[0] > 0
    distances, scores = squared_norms.copy(), np.empty(n if normalise else 0)
    formed, shares = np.empty(n, y.dtype), np.empty(k, y.dtype)
    inverse_pivots = np.empty(k)
    squared = energy = squared_norm(y)
    zero, doubtful = tol * np.sqrt(energy), max(1e-12, 1.01 * tol * tol) * energy
    for i in range(k):
        if interrupted():
            return _INTERRUPTED
        # Below 1e-6 the running residual has lost its digits to cancellation, and beside the
        # tolerance each of them counts: take it from A.
        if squared <= doubtful and _residual_norm(atoms, y, support, i) <= zero:
            return i
        if normalise and not _score(correlation, distances, squared_norms, support, i, scores):
            return _DEPENDENT
        best = largest_magnitude(scores) if normalise else largest_magnitude(correlation)
        if correlation[best] == 0.0:
            return i
        if places[best] >= 0:
            row = rows[places[best]]
        else:
            gram_row(atoms, best, formed)
            row = formed
        pivot = row[best].real
        for j in range(i):
            value = images[j, best]
            shares[j] = value.conjugate() * inverse_pivots[j]
            pivot -= (value * shares[j]).real
            factor[i, j] = (shares[j] * factor[j, j]).conjugate()
        if not pivot > SMALLEST_PIVOT * row[best].real:
            return _DEPENDENT
        support[i], factor[i, i] = best, np.sqrt(pivot)
        if i == k - 1:
            return k
        inverse = inverse_pivots[i] = 1.0 / pivot
        image = images[i]
        _project_out(row, images, i, shares, image)
        step = correlation[best] * inverse
        squared -= (step * correlation[best].conjugate()).real
        subtract(step, image, correlation)
        if normalise:
            _approach(inverse, image, distances)
        for j in range(i + 1):
            correlation[support[j]] = 0.0
    return k


@njit(cache=True, fastmath={"reassoc", "contract"})
def _approach(inverse, image, distances):
    """Subtract inverse · |image|², entry by entry, from `distances`."""
    for p in range(distances.shape[0]):
        distances[p] -= (inverse * image[p] * image[p].conjugate()).real


@njit(cache=True, fastmath={"reassoc", "contract"})
def _project_out(row, images, count, shares, out):
    """Write row - Σ_j shares_j images_j over the first `count` rows, eight at a time."""
    n = out.shape[0]
    copy(row, out)
    j = 0
    while j + 8 <= count:
        a, b, c, d = images[j], images[j + 1], images[j + 2], images[j + 3]
        e, f, g, h = images[j + 4], images[j + 5], images[j + 6], images[j + 7]
        va, vb, vc, vd = shares[j], shares[j + 1], shares[j + 2], shares[j + 3]
        ve, vf, vg, vh = shares[j + 4], shares[j + 5], shares[j + 6], shares[j + 7]
        for p in range(n):
            out[p] -= (va * a[p] + vb * b[p] + vc * c[p] + vd * d[p]) + (
                ve * e[p] + vf * f[p] + vg * g[p] + vh * h[p]
            )
        j += 8
    while j + 2 <= count:
        a, b = images[j], images[j + 1]
        va, vb = shares[j], shares[j + 1]
        for p in range(n):
            out[p] -= va * a[p] + vb * b[p]
        j += 2
    if j < count:
        subtract(shares[j], images[j], out)


@njit(cache=True)
def _score(correlation, distances, squared_norms, support, count, scores):
    """Write the fall of the squared residual that each atom offers; False near dependence."""
    for j in range(count):
        distances[support[j]] = np.inf
    for p in range(scores.shape[0]):
        scores[p] = 0.0
        if squared_norms[p] == 0.0:
            continue
        if distances[p] < _SMALLEST_DISTANCE * squared_norms[p]:
            return False
        if correlation[p] != 0.0:
            scores[p] = (correlation[p] * correlation[p].conjugate()).real / distances[p]
    return True


@imaged()
def select_orthogonal(atoms, y, tol, normalise, support):
    """Write the chosen atoms to `support` and return their number, with explicit projections.

    Gram-Schmidt, twice, on the chosen atoms; for OLS every atom is projected at every step.
    """
    n, m = atoms.shape
    k = support.shape[0]
    basis = np.empty((k, m), y.dtype)
    projected = atoms.copy()
    chosen = np.zeros(n, dtype=np.bool_)
    remainder = y.copy()
    limit = tol * np.sqrt(squared_norm(y))
    size = 0
    while size < k and np.sqrt(squared_norm(remainder)) > limit:
        if interrupted():
            return _INTERRUPTED
        correlation = correlate(projected, remainder)
        best, most = -1, 0.0
        for p in range(n):
            if not chosen[p] and correlation[p] != 0.0:
                score = abs(correlation[p])
                if normalise:
                    length = np.sqrt(squared_norm(projected[p]))
                    score = score / length if length > 0.0 else 0.0
                if score > most:
                    best, most = p, score
        if best < 0:
            break
        chosen[best] = True
        direction = basis[size]
        copy(projected[best], direction)
        for _ in range(2):
            for j in range(size):
                subtract(dot(basis[j], direction), basis[j], direction)
        after = np.sqrt(squared_norm(direction))
        atom = atom_of(atoms, best)
        if after <= 1e-14 * np.sqrt(squared_norm(atom)):
            continue  # dependent on the chosen atoms: it cannot lower the residual
        subtract(1.0 - 1.0 / after, direction, direction)
        subtract(dot(direction, remainder), direction, remainder)
        support[size] = best
        size += 1
        if normalise:
            for p in range(n):
                if not chosen[p]:
                    subtract(dot(projected[p], direction), direction, projected[p])
                    atom = atom_of(atoms, p)
                    if squared_norm(projected[p]) <= 1e-28 * squared_norm(atom):
                        chosen[p] = True
    return size
