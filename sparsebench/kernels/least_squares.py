"""Least squares on a support: Cholesky of the Gram block, checked, with an orthogonal fallback.

Normal equations square the condition number, so three things guard them: a pivot test that
hands a nearly dependent support to an orthogonal factorisation; residuals that decide anything
are computed from A and y, not from the Gram matrix; and what is returned to a caller has been
refined with such residuals until it no longer moves.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import overload

from sparsebench.kernels.conjugates import conjugate
from sparsebench.kernels.gram import copy, dot, inner, squared_norm, subtract
from sparsebench.kernels.imaged import imaged

# A pivot below this fraction of its diagonal entry means that an atom is within 1e-5 of the span
# of the others: the normal equations are not trusted there.
SMALLEST_PIVOT = 1e-10
# Refinement stops when a correction is below this fraction of the coefficients.
SETTLED = 1e-15
MOST_CORRECTIONS = 6
# With it singular values are cut off exactly where numpy.linalg.lstsq does.
EPSILON = 2.220446049250313e-16

# LAPACK's gelsd as numba's own np.linalg.lstsq calls it, which takes 5 s more to compile: it is
# given (kind, m, n, columns of b, a, m, b, rows of b, singular values, cut-off, rank).
_sizes, _floats = types.intp, types.CPointer(types.float64)


def _external_gelsd(numbers: types.Type) -> types.ExternalFunction:
    return types.ExternalFunction(
        "numba_ez_gelsd",
        types.intc(
            types.char,
            *(_sizes, _sizes, _sizes),
            *(types.CPointer(numbers), _sizes, types.CPointer(numbers), _sizes, _floats),
            *(types.float64, types.CPointer(types.intp)),
        ),
    )


_dgelsd, _zgelsd = _external_gelsd(types.float64), _external_gelsd(types.complex128)
_DOUBLE, _COMPLEX = ord("d"), ord("z")


def _gelsd(m, k, data, right, longest, sizes, cut, rank):
    """Stand for LAPACK's of the type that the arrays have, in compiled code alone."""
    raise NotImplementedError


@overload(_gelsd)
def _gelsd_of_type(m, k, data, right, longest, sizes, cut, rank):
    def of_floats(m, k, data, right, longest, sizes, cut, rank):
        return _dgelsd(_DOUBLE, m, k, 1, data, m, right, longest, sizes, cut, rank)

    def of_complex(m, k, data, right, longest, sizes, cut, rank):
        return _zgelsd(_COMPLEX, m, k, 1, data, m, right, longest, sizes, cut, rank)

    return of_complex if isinstance(data.dtype, types.Complex) else of_floats


@imaged(fastmath={"reassoc", "contract"})
def cholesky(gram, support, k, factor):
    """Factor A_Sᴴ A_S = L Lᴴ into the lower triangle of ``factor[:k, :k]``.

    Four rows at a time, so that an entry of an earlier row is read once for four products: about
    twice as fast as row by row, and faster than LAPACK up to k = 200 at least.

    Returns
    -------
    bool
        False as soon as a pivot is below ``SMALLEST_PIVOT`` times its diagonal entry.
    """
    for i in range(k):
        row = gram[support[i]]
        for j in range(i + 1):
            factor[i, j] = row[support[j]].conjugate()
    first = 0
    while first < k:
        last = min(first + 4, k)
        if last == first + 4:
            a, b, c, d = factor[first], factor[first + 1], factor[first + 2], factor[first + 3]
            for j in range(first):
                other = factor[j]
                ta, tb, tc, td = 0.0, 0.0, 0.0, 0.0
                for p in range(j):
                    value = other[p].conjugate()
                    ta += a[p] * value
                    tb += b[p] * value
                    tc += c[p] * value
                    td += d[p] * value
                pivot = other[j].real
                a[j] = (a[j] - ta) / pivot
                b[j] = (b[j] - tb) / pivot
                c[j] = (c[j] - tc) / pivot
                d[j] = (d[j] - td) / pivot
        for i in range(first, last):
            own = factor[i]
            for j in range(first if last == first + 4 else 0, i):
                other = factor[j]
                own[j] = (own[j] - dot(other[:j], own[:j])) / other[j].real
            diagonal = own[i].real
            pivot = diagonal - squared_norm(own[:i])
            if not pivot > SMALLEST_PIVOT * diagonal:
                return False
            own[i] = np.sqrt(pivot)
        first = last
    return True


@njit(cache=True, fastmath={"reassoc", "contract"})
def solve_factored(factor, k, rhs):
    """Overwrite ``rhs[:k]`` with the solution of L Lᴴ x = rhs."""
    for i in range(k):
        own = factor[i]
        total = 0.0
        for p in range(i):
            total += own[p] * rhs[p]
        rhs[i] = (rhs[i] - total) / own[i].real
    for i in range(k - 1, -1, -1):
        own = factor[i]
        value = rhs[i] / own[i].real
        rhs[i] = value
        for p in range(i):
            rhs[p] -= value * own[p].conjugate()


@imaged()
def solve_normal(gram, support, k, rhs):
    """Overwrite ``rhs[:k]`` with the solution of A_SᴴA_S x = rhs; False where that is not sound."""
    factor = np.empty((k, k), rhs.dtype)
    if not cholesky(gram, support, k, factor):
        return False
    solve_factored(factor, k, rhs)
    return True


@imaged()
def factor_room(gram, k):
    """Return an array for the Cholesky factor of k atoms."""
    return np.empty((k, k), gram.dtype)


@njit(cache=True)
def orthogonal_least_squares(atoms, y, support, k, coefficients):
    """Write the least-norm least-squares coefficients on `support`, by the singular values of A_S.

    Slow and always right: also for dependent atoms and for more atoms than measurements.
    """
    m = y.shape[0]
    longest = max(m, k)
    block, solution = np.empty((k, m), y.dtype), np.empty(longest, y.dtype)
    for j in range(k):
        copy(atoms[support[j]], block[j])
    copy(y, solution)
    singular, rank = np.empty(min(m, k)), np.empty(1, dtype=np.intp)
    cut, data, right, sizes = EPSILON * longest, block.ctypes, solution.ctypes, singular.ctypes
    failed = _gelsd(m, k, data, right, longest, sizes, cut, rank.ctypes)
    # Arrays live until they are named for the last time, which a pointer to their data is not.
    if failed or min(block.size, singular.size, rank.size) == 0:
        raise ValueError("no singular values: the iteration did not converge")
    copy(solution[:k], coefficients)


@imaged()
def least_squares(atoms, gram, correlations, y, support, k, factor, coefficients):
    """Write argmin ||y - A_S x|| to ``coefficients[:k]``, of least norm where it is not unique.

    Parameters
    ----------
    atoms : array, shape (n, m)
    gram : array, shape (n, n)
    correlations : array, shape (n,)
        Aᴴy.
    y : array, shape (m,)
    support : intp array, shape (>= k,)
    factor : array, shape (>= k, >= k)
        Receives the Cholesky factor.
    coefficients : array, shape (>= k,)

    Returns
    -------
    bool
        Whether the normal equations were good enough; False after the orthogonal fallback.
    """
    if k <= y.shape[0] and cholesky(gram, support, k, factor):
        for j in range(k):
            coefficients[j] = correlations[support[j]]
        solve_factored(factor, k, coefficients)
        if _harmless(gram, y, support, k, factor, coefficients):
            return True
    if k > y.shape[0] and _least_norm(atoms, y, support, k, coefficients):
        return True
    orthogonal_least_squares(atoms, y, support, k, coefficients)
    return False


@njit(cache=True)
def _least_norm(atoms, y, support, k, coefficients):
    """Write the least-norm solution of A_S x = y for k > m: x = A_Sᴴz with A_S A_Sᴴ z = y.

    Returns
    -------
    bool
        False where the rows of A_S are too close to dependent for the normal equations.
    """
    m = y.shape[0]
    block = np.empty((k, m), y.dtype)
    for j in range(k):
        copy(atoms[support[j]], block[j])
    factor = np.empty((m, m), y.dtype)
    if not cholesky(np.dot(conjugate(block.T.copy()), block), np.arange(m), m, factor):
        return False
    solution, remainder = np.zeros(k, y.dtype), y.copy()
    for _ in range(2):
        solve_factored(factor, m, remainder)
        for j in range(k):
            solution[j] += dot(block[j], remainder)
        copy(y, remainder)
        for j in range(k):
            subtract(solution[j], block[j], remainder)
    copy(solution, coefficients)
    return squared_norm(remainder) <= 1e-24 * squared_norm(y)


@imaged(fastmath={"reassoc", "contract"})
def _harmless(gram, y, support, k, factor, coefficients):
    """Whether rounding errors of the Gram block move the residual by less than 1e-9 of ||y||.

    An error of k eps in G, met by coefficients c, moves the residual by about
    k eps ||c|| / sqrt(smallest pivot), everything in units of the atoms' norms. One small pivot
    spoils the digits of the next ones, which may then look sound: the size of c gives it away.
    """
    size, smallest = 0.0, 1.0
    for j in range(k):
        diagonal = gram[support[j], support[j]].real
        size += (coefficients[j].conjugate() * coefficients[j]).real * diagonal
        smallest = min(smallest, factor[j, j].real * factor[j, j].real / diagonal)
    moved = k * 2.2e-16
    return moved * moved * size <= 1e-18 * smallest * squared_norm(y)


@imaged(fastmath={"reassoc", "contract"})
def residual(atoms, y, support, k, coefficients, out):
    """Write y - A_S x to `out`, shape (m,), and return its squared norm."""
    copy(y, out)
    for j in range(k):
        value = coefficients[j]
        if value != 0.0:
            atom = atoms[support[j]]
            for i in range(out.shape[0]):
                out[i] -= value * atom[i]
    return squared_norm(out)


@imaged()
def polished(atoms, gram, y, support, k, n):
    """Return x, shape (n,): least squares on `support` to the accuracy of an orthogonal solve.

    Cholesky of the Gram block, then refinement; the orthogonal solve where the pivot test fails
    or the refinement does not settle.
    """
    return refined(atoms, gram, y, support, k, n, np.empty((k, k), y.dtype), np.bool_(False))


@imaged()
def refined(atoms, gram, y, support, k, n, factor, held):
    """Return x as `polished` does, from the Cholesky factor if that is `held`, or else made there.

    Refinement is with residuals computed from A (Björck 1996, "Numerical Methods for Least
    Squares Problems", section 2.9.3).
    """
    coefficients = np.zeros(k, y.dtype)
    settled = False
    if held or (k <= y.shape[0] and cholesky(gram, support, k, factor)):
        remainder = y.copy()
        slope, step = np.empty(k, y.dtype), np.empty(k, y.dtype)
        previous = np.inf
        for _ in range(MOST_CORRECTIONS):
            for j in range(k):
                slope[j] = dot(atoms[support[j]], remainder)
            copy(slope, step)
            solve_factored(factor, k, step)
            for j in range(k):
                coefficients[j] += step[j]
            if previous == np.inf and not _harmless(gram, y, support, k, factor, coefficients):
                break
            size = np.sqrt(squared_norm(step) / max(squared_norm(coefficients), 1e-300))
            # Corrections shrink by size / previous each: is the next one below the last digit?
            quick = previous < np.inf and size * size <= SETTLED * previous
            if quick or size > 0.5 * previous:
                # slopeᴴ step is the fall of the squared residual that this correction promised.
                settled = quick or (size <= 1e-11 and inner(slope, step) <= 1e-24 * squared_norm(y))
                break
            previous = size
            residual(atoms, y, support, k, coefficients, remainder)
    if not settled:
        orthogonal_least_squares(atoms, y, support, k, coefficients)
    x = np.zeros(n, y.dtype)
    for j in range(k):
        x[support[j]] = coefficients[j]
    return x
