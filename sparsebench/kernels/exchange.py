"""What it changes to remove an atom from a support, to add one, or to swap two.

For a support S with H = (A_Sᴴ A_S)⁻¹, x = least squares on S and r = y - A x, write
B = Aᴴ A_S H (its column l is Aᴴ times the l-th dual vector), g = Aᴴ r and d_j = the squared
distance of atom j from the span of S. With z² for |z|², the squared residual changes by

    x_i² / H_ii                                                     when i leaves,
    -g_j² / d_j                                                     when j enters,
    (x_i² d_j - 2 x_i B_ji g_j - H_ii g_j²) / (H_ii d_j + B_ji²)    when j takes the place of i,

where of complex numbers x_i B_ji g_j is the real part of x_i B_ji and the conjugate of g_j. The
last one is x_i² / H_ii - (g_j + x_i B_ji / H_ii)² / (d_j + B_ji² / H_ii) without its
cancellation: between neighbours of a coherent dictionary both terms exceed it by far.

One file, though long: numba sees a change in the file of a function, and not in those it calls.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from sparsebench.kernels.conjugates import conjugate, conjugate_in_place
from sparsebench.kernels.gram import (
    atom_of,
    atoms_of,
    copy,
    correlate,
    correlate_basis,
    correlate_on,
    diagonal,
    dot,
    gram_rows,
    negative_gradient,
    squared_norm,
    squared_norms,
    weighted,
)
from sparsebench.kernels.imaged import imaged
from sparsebench.kernels.least_squares import _harmless, cholesky, residual
from sparsebench.types import FloatArray

# Squared distance from the span, as a fraction of the squared norm of an atom.
DEPENDENT = 1e-24  # at most this: in the span
EXPLICIT = 1e-6  # below this: computed from the projected atom, not as a difference
_LOST = 1e-8  # below this after a sweep: digits are gone
# Sweeps between two factorisations, and the smallest pivot that a sweep may have.
_MOST_SWEEPS = 30
_SMALLEST_SWEPT = 1e-4
#: A residual norm has fallen if it did so by this fraction of ||y||; rounding is below it.
FALL = 1e-12


class Terms(NamedTuple):
    """x, H, Bᵀ, d, g and r of a support, with room for a larger one.

    d_j = 0 says that atom j is in the span of the support or a member of it.
    """

    coefficients: FloatArray  # x, shape (most,)
    inverse: FloatArray  # H, shape (most, most)
    duals: FloatArray  # Bᵀ, shape (most, n)
    distances: FloatArray  # d, shape (n,)
    gradient: FloatArray  # g, shape (n,)
    remainder: FloatArray  # r, shape (m,)
    norms: FloatArray  # ||a_j||², shape (n,)


@njit(cache=True)
def room(y, n, most):
    """Return empty `Terms` for a signal of the type of y and supports of up to `most` atoms."""
    inverse, duals = np.empty((most, most), y.dtype), np.empty((most, n), y.dtype)
    distances, gradient, norms = np.empty(n), np.empty(n, y.dtype), np.empty(n)
    x = np.empty(most, y.dtype)
    return Terms(x, inverse, duals, distances, gradient, np.empty_like(y), norms)


@njit(cache=True)
def fallen(squared, before, energy):
    """Whether the squared residual `squared` is below `before` by more than rounding."""
    return np.sqrt(squared) < np.sqrt(before) - FALL * np.sqrt(energy)


@imaged()
def independent(atoms, gram, indices, support):
    """Write to `support` those of `indices` that are not in the span of the ones before them.

    Returns
    -------
    int
        How many they are.
    """
    k = indices.shape[0]
    factor = np.empty((k, k), atoms.dtype)
    if k <= atoms.shape[1] and cholesky(gram, indices, k, factor):
        copy(indices, support)
        return k
    basis = np.empty((k, atoms.shape[1]), atoms.dtype)
    size = 0
    for p in range(k):
        index, direction = indices[p], basis[size]
        copy(atom_of(atoms, index), direction)
        for _ in range(2):
            shares = np.dot(conjugate(basis[:size]), direction)
            direction -= np.dot(shares, basis[:size])
        length = np.sqrt(squared_norm(direction))
        if length > np.sqrt(DEPENDENT * diagonal(gram, index)):
            direction /= length
            support[size] = index
            size += 1
    return size


@imaged()
def refresh(atoms, gram, correlations, y, support, k, terms, orthogonal):
    """Compute the terms of ``support[:k]`` from a factorisation.

    With L Lᴴ = A_Sᴴ A_S, from the Gram block or from A_S = Q Lᴴ, and Q = A_S L⁻ᴴ.

    Parameters
    ----------
    atoms, gram, correlations, y
        As for `least_squares`.
    support : intp array, shape (>= k,)
        Linearly independent atoms.
    terms : Terms
    orthogonal : bool
        Whether to use A_S itself even where its Gram block would do.

    Returns
    -------
    squared : float
        ||r||².
    age : int
        0, or -1 after an orthogonal factorisation: `exchange` then does not sweep.
    """
    n = atoms.shape[0]
    chosen = support[:k].copy()
    inverse, images = np.empty((k, k), y.dtype), np.empty((k, n), y.dtype)
    x, basis, orthogonal = _factorise(
        atoms, gram, correlations, y, chosen, orthogonal, inverse, images
    )
    copy(x, terms.coefficients)
    if k > 0:
        square = np.dot(conjugate(inverse.T), inverse)
        for i in range(k):
            copy(square[i], terms.inverse[i])
    if orthogonal:
        remainder = y - np.dot(np.dot(conjugate(basis), y), basis)
        remainder = remainder - np.dot(np.dot(conjugate(basis), remainder), basis)
        copy(remainder, terms.remainder)
        squared = squared_norm(terms.remainder)
    else:
        squared = _settle(atoms, y, support, k, terms)[0]
    copy(correlate(atoms, terms.remainder), terms.gradient)
    squared_norms(gram, terms.norms)
    _distances(terms.norms, images, terms.distances)
    close = _close(terms.norms, chosen, terms.distances)
    if close.shape[0] > 0 and k > 0:
        if not orthogonal:
            basis = np.dot(conjugate(inverse), atoms_of(atoms, chosen))
        _measure(atoms_of(atoms, close), basis, images, close, terms)
    _close_members(support, k, terms)
    if k > 0:
        np.dot(inverse.T, images, terms.duals[:k])
    return squared, -1 if orthogonal else 0


@imaged()
def _factorise(atoms, gram, correlations, y, chosen, orthogonal, inverse, images):
    """Write L⁻¹ and (AᴴQ)ᵀ; return (x, Qᵀ, whether by A_S itself), Qᵀ being empty if not."""
    k, basis = chosen.shape[0], np.empty((0, atoms.shape[1]), y.dtype)
    factor, x = np.empty((k, k), y.dtype), np.zeros(k, y.dtype)
    if k == 0:
        return x, basis, False
    if not orthogonal:
        orthogonal = not cholesky(gram, chosen, k, factor)
        if not orthogonal:
            _invert_lower(factor, k, inverse)
            x = np.dot(conjugate(inverse.T), np.dot(inverse, correlations[chosen]))
            orthogonal = not _harmless(gram, y, chosen, k, factor, x)
    if orthogonal:
        q, r = np.linalg.qr(atoms_of(atoms, chosen).T)
        _invert_lower(conjugate(r.T).copy(), k, inverse)
        basis = q.T.copy()
        correlate_basis(atoms, basis, images)
        x = np.dot(conjugate(inverse.T), np.dot(conjugate(basis), y))
    else:
        np.dot(conjugate(inverse), gram_rows(gram, chosen), images)
    return x, basis, orthogonal


@imaged()
def exchange(atoms, gram, correlations, y, support, k, out, entering, terms, age):
    """Remove the atom at position `out`, add atom `entering` (-1: none), update the terms.

    By sweeps, O(nk), where the pivots are sound and little has been lost since the last
    factorisation; by a new one otherwise. The order of the support changes.

    Returns
    -------
    squared : float
        ||r||² on the new support, from A and y.
    age : int
        Sweeps since the factorisation, or -1; pass it to the next call.
    """
    sweep = 0 <= age < _MOST_SWEEPS and _may_sweep(support, out, entering, terms)
    if out >= 0:
        if sweep:
            _sweep_out(k, out, terms)
        k -= 1
        support[out] = support[k]
    if entering >= 0:
        if sweep:
            shares = conjugate(terms.duals[:k, entering].copy())
            _project(gram, support, k, entering, shares, terms.duals[k])
            _sweep_in(k, entering, shares, terms)
        support[k] = entering
        k += 1
    if sweep and _sound(support, k, terms):
        squared, drift = _settle(atoms, y, support, k, terms)
        if drift <= 1e-20 * squared:
            return squared, age + 1
    return refresh(atoms, gram, correlations, y, support, k, terms, np.bool_(False))


@njit(cache=True, fastmath={"reassoc", "contract"})
def best_swap(k, terms):
    """Return (position that leaves, atom that enters, change of the squared residual).

    (-1, -1, 0.0) where no swap lowers it.
    """
    n = terms.distances.shape[0]
    distances, gradient = np.empty(n), np.empty_like(terms.gradient)
    for j in range(n):
        eligible = terms.distances[j] > 0.0
        distances[j] = terms.distances[j] if eligible else 1e300
        gradient[j] = terms.gradient[j] if eligible else 0.0
    out, entering, best = -1, -1, 0.0
    for i in range(k):
        dual, x = terms.duals[i], terms.coefficients[i]
        share = 1.0 / terms.inverse[i, i].real
        loss = (x.conjugate() * x).real * share
        pull = 2.0 * x * share
        # Without a division, and in full vectors: does anything in this row beat the best so far?
        beaten = 0
        for j in range(n):
            gain = (gradient[j].conjugate() * (gradient[j] + pull * dual[j])).real
            bottom = distances[j] + (share * dual[j].conjugate() * dual[j]).real
            beaten += loss * distances[j] - gain < best * bottom
        if beaten == 0:
            continue
        for j in range(n):
            gain = (gradient[j].conjugate() * (gradient[j] + pull * dual[j])).real
            bottom = distances[j] + (share * dual[j].conjugate() * dual[j]).real
            change = (loss * distances[j] - gain) / bottom
            if change < best:
                out, entering, best = i, j, change
    return out, entering, best


@njit(cache=True)
def best_addition(terms):
    """Return (atom, fall of the squared residual); (-1, 0.0) where none lowers it."""
    entering, best = -1, 0.0
    for j in range(terms.distances.shape[0]):
        if terms.distances[j] > 0.0:
            gradient = terms.gradient[j]
            fall = (gradient.conjugate() * gradient).real / terms.distances[j]
            if fall > best:
                entering, best = j, fall
    return entering, best


@njit(cache=True)
def best_removal(k, terms):
    """Return (position, rise of the squared residual); (-1, inf) of an empty support."""
    out, best = -1, np.inf
    for i in range(k):
        x = terms.coefficients[i]
        rise = (x.conjugate() * x).real / terms.inverse[i, i].real
        if rise < best:
            out, best = i, rise
    return out, best


@njit(cache=True, fastmath={"reassoc", "contract"})
def _invert_lower(factor, k, inverse):
    inverse[:] = 0.0
    for i in range(k):
        own = inverse[i]
        for p in range(i):
            other, value = inverse[p], factor[i, p]
            for j in range(p + 1):
                own[j] -= value * other[j]
        scale = 1.0 / factor[i, i]
        for j in range(i):
            own[j] *= scale
        own[i] = scale


@imaged(fastmath={"reassoc", "contract"})
def _settle(atoms, y, support, k, terms):
    """Correct x once by H A_Sᴴ r and set r; return ||r||² and what the correction took off it."""
    x, remainder = terms.coefficients, terms.remainder
    squared = residual(atoms, y, support, k, x, remainder)
    slope, drift = np.empty(k, y.dtype), 0.0
    correlate_on(atoms, support, k, remainder, slope)
    for j in range(k):
        step = weighted(terms.inverse[j, :k], slope)
        x[j] += step
        drift += (step.conjugate() * slope[j]).real
    if drift > 0.0:
        squared = residual(atoms, y, support, k, x, remainder)
    return squared, drift


@njit(cache=True, fastmath={"reassoc", "contract"})
def _distances(norms, images, distances):
    """d_j = ||a_j||² - ||Qᴴ a_j||²."""
    n = distances.shape[0]
    for j in range(n):
        distances[j] = norms[j]
    for row in images:
        for j in range(n):
            distances[j] -= (row[j].conjugate() * row[j]).real


@njit(cache=True)
def _close(norms, chosen, distances):
    """Return the atoms outside the support whose d_j cannot be had as a difference."""
    near = np.zeros(distances.shape[0], dtype=np.bool_)
    for j in range(distances.shape[0]):
        near[j] = not distances[j] > EXPLICIT * norms[j]
    near[chosen] = False
    return np.flatnonzero(near)


@njit(cache=True)
def _measure(projected, basis, images, close, terms):
    """Project the atoms `close` explicitly, three times: their d, g and columns of (AᴴQ)ᵀ.

    `projected` is a copy of these atoms, and is overwritten.
    """
    for repeat in range(3):
        shares = np.dot(projected, conjugate(basis.T))
        projected -= np.dot(shares, basis)
        conjugate_in_place(shares)
        for p in range(close.shape[0]):
            column = images[:, close[p]]
            if repeat == 0:
                copy(shares[p], column)
            else:
                column += shares[p]
    for p in range(close.shape[0]):
        j = close[p]
        length = squared_norm(projected[p])
        terms.distances[j] = length if length > DEPENDENT * terms.norms[j] else 0.0
        terms.gradient[j] = dot(projected[p], terms.remainder)


@njit(cache=True)
def _close_members(support, k, terms):
    for p in range(k):
        terms.distances[support[p]] = 0.0
        terms.gradient[support[p]] = 0.0


@njit(cache=True)
def _may_sweep(support, out, entering, terms):
    """Whether both pivots are far from zero."""
    left = terms.distances[entering] if entering >= 0 else 0.0
    if out >= 0:
        pivot = terms.inverse[out, out].real
        if not 1.0 / pivot > _SMALLEST_SWEPT * terms.norms[support[out]]:
            return False
        if entering >= 0:
            dual = terms.duals[out, entering]
            left += (dual.conjugate() * dual).real / pivot
    return entering < 0 or left > _SMALLEST_SWEPT * terms.norms[entering]


@njit(cache=True, fastmath={"reassoc", "contract"})
def _sweep_out(k, out, terms):
    """Remove the atom at position `out`; the last atom takes its position."""
    x, inverse, duals = terms.coefficients, terms.inverse, terms.duals
    distances, gradient = terms.distances, terms.gradient
    n = distances.shape[0]
    share = 1.0 / inverse[out, out].real
    value, row = x[out] * share, duals[out]
    for j in range(n):
        distances[j] += (share * row[j].conjugate() * row[j]).real
        gradient[j] += value * row[j]
    for i in range(k):
        if i != out:
            ratio, other = share * inverse[i, out], duals[i]
            x[i] -= ratio * x[out]
            for j in range(n):
                other[j] -= ratio.conjugate() * row[j]
            for j in range(k):
                inverse[i, j] -= ratio * inverse[out, j]
    last = k - 1
    if out != last:
        x[out] = x[last]
        copy(duals[last], row)
        for i in range(k):
            inverse[out, i] = inverse[last, i]
        for i in range(k):
            inverse[i, out] = inverse[i, last]


@imaged()
def _project(gram, support, k, entering, shares, out):
    """Write Aᴴ P a_j to `out` for the atom `entering`, with P off the span of the support."""
    negative_gradient(gram, gram[entering], support, shares, k, out)


@njit(cache=True, fastmath={"reassoc", "contract"})
def _sweep_in(k, entering, shares, terms):
    """Add atom `entering`, of which `_project` has told the shares, at position k of k atoms."""
    x, inverse, duals = terms.coefficients, terms.inverse, terms.duals
    distances, gradient = terms.distances, terms.gradient
    n = distances.shape[0]
    row = duals[k]
    scale = 1.0 / distances[entering]
    value = gradient[entering] * scale
    for j in range(n):
        distances[j] -= (scale * row[j].conjugate() * row[j]).real
        gradient[j] -= value * row[j]
        row[j] *= scale
    for i in range(k):
        share, other = shares[i], duals[i]
        x[i] -= share * value
        for j in range(n):
            other[j] -= share.conjugate() * row[j]
        for j in range(k):
            inverse[i, j] += scale * share * shares[j].conjugate()
        inverse[i, k], inverse[k, i] = -scale * share, -scale * share.conjugate()
    x[k], inverse[k, k] = value, scale


@njit(cache=True)
def _sound(support, k, terms):
    """Close the members; whether the distances of all other atoms kept their digits."""
    _close_members(support, k, terms)
    for j in range(terms.distances.shape[0]):
        distance = terms.distances[j]
        if distance != 0.0:
            if abs(distance) <= DEPENDENT * terms.norms[j]:
                terms.distances[j] = terms.gradient[j] = 0.0
            elif distance < _LOST * terms.norms[j]:
                return False
    return True
