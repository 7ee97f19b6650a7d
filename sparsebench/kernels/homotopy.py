"""The Lasso's solution path, from the largest lambda down, one breakpoint at a time.

Of real numbers: in complex ones it is no polygon.

`lasso_path` is one long loop: in parts that hand each other its dozen arrays it takes 3 % longer.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sparsebench.kernels.gram import advance, atom_of, copy, correlate, dot, negative_gradient
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.least_squares import SMALLEST_PIVOT, residual

# With an orthonormal basis, an atom this close to the span of the active ones lies in it.
_DEPENDENT = 1e-14
# A correlation that gains on lambda more slowly than this, relative to lambda, never meets it.
_PARALLEL = 1e-11
# Below this fraction of the first lambda the correlations have no digit left.
_EXHAUSTED = 1e-14
# Relative residual that counts as zero.
_ZERO = 1e-10


@imaged()
def lasso_path(atoms, gram, y, level, orthogonal, max_iter, lambdas=None, path=None):
    """Follow argmin ½||y - A x||² + lambda ||x||₁ from lambda = ||Aᵀy||∞ down to `level`.

    Between two breakpoints x moves along d = (A_SᵀA_S)⁻¹ s, with S the active atoms and s their
    signs, and the correlations c = Aᵀ(y - A x) along -AᵀA_S d. An atom enters where its |c|
    meets lambda, and leaves where its coefficient reaches zero.

    A_SᵀA_S = L Lᵀ comes from the Gram matrix, O(n s + s²) a step, until an atom is too close to
    the span of the active ones for that; from there on L comes from an orthonormal basis of the
    active atoms and the correlations from A, O(m n) a step.

    Parameters
    ----------
    atoms, gram, y : float64 arrays, shapes (n, m), (n, n), (m,)
    level : float
        The last lambda, >= 0.
    orthogonal : bool
        Whether to use the orthonormal basis from the beginning.
    max_iter : int
    lambdas, path : float64 arrays, shapes (any,), (any, n), optional
        Receive lambda and x after each of the first breakpoints.

    Returns
    -------
    (x, signs, steps, last)
        The last solution, the signs of the active atoms, both of shape (n,), the number of
        breakpoints, and the last lambda.
    """
    n, m = atoms.shape
    most = min(m, n)
    factor = np.empty((most, most))
    basis = np.empty((most if orthogonal else 0, m))
    support = np.empty(most, dtype=np.intp)
    x, signs = np.zeros(n), np.zeros(n)
    image, along = np.empty(most), np.empty(most)  # L⁻¹ s and d = L⁻ᵀ L⁻¹ s
    values, remainder, nothing, slope = np.empty(most), np.empty(m), np.zeros(n), np.empty(n)
    dependent = np.zeros(n, dtype=np.bool_)
    energy = dot(y, y)
    correlation = correlate(atoms, y)
    entering = np.argmax(np.abs(correlation))
    current = start = abs(correlation[entering])
    size, leaving, left = np.intp(0), np.intp(-1), 0.0
    for step in range(1, max_iter + 1):
        if interrupted():
            break
        if entering >= 0:
            if not orthogonal and not _append(gram, support, entering, factor, size):
                orthogonal, basis = True, np.empty((most, m))
                for i in range(size):
                    _append_orthogonal(atoms, support[i], factor, basis, i)
                    values[i] = x[support[i]]
                _forward(factor, 0, size, support, signs, image)
                residual(atoms, y, support, size, values, remainder)
                copy(correlate(atoms, remainder), correlation)
            if orthogonal and not _append_orthogonal(atoms, entering, factor, basis, size):
                dependent[entering] = True
            else:
                support[size] = entering
                signs[entering] = np.sign(correlation[entering])
                size += 1
                _forward(factor, size - 1, size, support, signs, image)
        _backward(factor, size, image, along)
        if orthogonal:
            remainder[:] = 0.0
            for i in range(size):
                remainder += image[i] * basis[i]  # A_S d
            copy(correlate(atoms, remainder), slope)
        else:
            negative_gradient(gram, nothing, support, along, size, slope)
            slope *= -1.0
        length, first = _first_to_leave(x, signs, support, along, size, current - level)
        entering = -1
        if size < most:
            length, entering = _first_to_enter(
                correlation, slope, signs, dependent, leaving, left, current, length
            )
        # With a zero residual at lambda = 0 every atom meets lambda there, but for rounding.
        if level == 0.0 and length > current * (1.0 - 1e-6):
            for i in range(size):
                values[i] = x[support[i]] + current * along[i]
            if residual(atoms, y, support, size, values, remainder) <= _ZERO * _ZERO * energy:
                length, entering, first = current, -1, -1
        for i in range(size):
            x[support[i]] += length * along[i]
        advance(-length, slope, correlation)
        current -= length
        if path is not None and step <= path.shape[0]:
            lambdas[step - 1] = current
            copy(x, path[step - 1])
        leaving = -1
        if entering < 0:
            if first < 0:
                return x, signs, step, level
            leaving = support[first]
            left = signs[leaving]
            x[leaving] = signs[leaving] = 0.0
            if path is not None and step <= path.shape[0]:
                path[step - 1, leaving] = 0.0
            size -= 1
            _remove(factor, basis, support, first, size)
            _forward(factor, first, size, support, signs, image)
            dependent[:] = False
        if current <= _EXHAUSTED * start:
            return x, signs, step, current
    return x, signs, max_iter, current


@njit(cache=True)
def _first_to_leave(x, signs, support, along, size, length):
    """Return (length, place): where the first coefficient reaches zero, if before `length`."""
    first = -1
    for i in range(size):
        j = support[i]
        gain = signs[j] * along[i]
        if gain < 0.0 and abs(x[j]) < -gain * length:
            length, first = -abs(x[j]) / gain, i
    return length, first


@njit(cache=True)
def _first_to_enter(correlation, slope, signs, dependent, leaving, left, current, length):
    """Return (length, atom): where the first |c| meets lambda, if before `length`."""
    entering = -1
    for j in range(correlation.shape[0]):
        if signs[j] == 0.0 and not dependent[j]:
            for side in (-1.0, 1.0):
                if j == leaving and side == left:
                    continue  # it moves away from there
                gap = current - side * correlation[j]
                gain = 1.0 - side * slope[j]
                if gain > _PARALLEL and gap < gain * length:
                    length, entering = max(gap / gain, 0.0), j
    return length, entering


@imaged(fastmath={"reassoc", "contract"})
def _append(gram, support, entering, factor, size):
    """Add the row of an atom to L, from the Gram matrix; False if its pivot is too small."""
    row, own = gram[entering], factor[size]
    pivot = row[entering]
    for i in range(size):
        other = factor[i]
        total = 0.0
        for p in range(i):
            total += own[p] * other[p]
        own[i] = (row[support[i]] - total) / other[i]
        pivot -= own[i] * own[i]
    if not pivot > SMALLEST_PIVOT * row[entering]:
        return False
    own[size] = np.sqrt(pivot)
    return True


@imaged()
def _append_orthogonal(atoms, entering, factor, basis, size):
    """Add the row of an atom to L and its direction to the basis; False if it is dependent."""
    own, direction = factor[size], basis[size]
    copy(atom_of(atoms, entering), direction)
    before = np.sqrt(dot(direction, direction))
    own[:size] = 0.0
    for _ in range(2):
        for i in range(size):
            component = dot(basis[i], direction)
            own[i] += component
            direction -= component * basis[i]
    after = np.sqrt(dot(direction, direction))
    if not after > _DEPENDENT * before:
        return False
    own[size] = after
    direction /= after
    return True


@njit(cache=True)
def _remove(factor, basis, support, first, size):
    """Take atom `first` out of the factor and the basis, leaving `size`, by plane rotations."""
    for i in range(first, size):
        support[i] = support[i + 1]
        copy(factor[i + 1, : i + 2], factor[i])
    cosines, sines = np.empty(size), np.empty(size)
    for i in range(first, size):
        own = factor[i]
        for p in range(first, i):
            a, b = own[p], own[p + 1]
            own[p] = cosines[p] * a + sines[p] * b
            own[p + 1] = cosines[p] * b - sines[p] * a
        length = np.hypot(own[i], own[i + 1])
        cosines[i], sines[i] = own[i] / length, own[i + 1] / length
        own[i] = length
    if basis.shape[0] > 0:
        for p in range(first, size):
            a, b = basis[p], basis[p + 1]
            for q in range(a.shape[0]):
                u, v = a[q], b[q]
                a[q] = cosines[p] * u + sines[p] * v
                b[q] = cosines[p] * v - sines[p] * u


@njit(cache=True, fastmath={"reassoc", "contract"})
def _forward(factor, first, size, support, signs, image):
    """Write L⁻¹ s to `image`, whose entries before `first` stand already."""
    for i in range(first, size):
        own = factor[i]
        total = signs[support[i]]
        for p in range(i):
            total -= own[p] * image[p]
        image[i] = total / own[i]


@njit(cache=True, fastmath={"reassoc", "contract"})
def _backward(factor, size, image, along):
    """Write L⁻ᵀ `image` to `along`."""
    copy(image[:size], along)
    for i in range(size - 1, -1, -1):
        own = factor[i]
        value = along[i] / own[i]
        along[i] = value
        for p in range(i):
            along[p] -= value * own[p]
