"""Exact top-k selection with a stated tie rule, and soft thresholding."""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import overload


@njit(cache=True)
def kth_largest(values, size, k):
    """Return the k-th largest of ``values[:size]``, which it reorders (Hoare's selection)."""
    low, high, target = 0, size - 1, k - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if target <= j:
            high = j
        elif target >= i:
            low = i
        else:
            break
    return values[target]


@njit(cache=True)
def top_k(values, k, guess, scratch, support):
    """Write the indices of the k largest ``|values|`` to `support`, in increasing order.

    Ties: strictly larger entries first, then the lowest index; always exactly k distinct indices.

    Parameters
    ----------
    values : array, shape (n,)
        Real or complex, without NaN.
    k : int
        1 <= k <= n.
    guess : float
        A lower bound that is likely to hold for the k-th largest (the last one found, somewhat
        reduced): only entries above it are sorted out. Any value gives the same answer.
    scratch : float64 array, shape (n,)
    support : intp array, shape (>= k,)

    Returns
    -------
    float
        The k-th largest ``|values|``.
    """
    n = values.shape[0]
    count = 0
    for i in range(n):
        magnitude = abs(values[i])
        scratch[count] = magnitude
        if magnitude >= guess:
            count += 1
    if count < k:
        for i in range(n):
            scratch[i] = abs(values[i])
        count = n
    threshold = kth_largest(scratch, count, k)
    ties = k
    for i in range(count):
        if scratch[i] > threshold:
            ties -= 1
    taken = 0
    for i in range(n):
        magnitude = abs(values[i])
        if magnitude > threshold:
            support[taken] = i
            taken += 1
        elif magnitude == threshold and ties > 0:
            support[taken] = i
            taken += 1
            ties -= 1
        if taken == k:
            break
    return threshold


@njit(cache=True)
def sort(indices, size):
    """Sort ``indices[:size]`` in place by insertion: few, or nearly sorted.

    numba takes 2 s to compile its own.
    """
    for i in range(1, size):
        index, j = indices[i], i
        while j > 0 and indices[j - 1] > index:
            indices[j] = indices[j - 1]
            j -= 1
        indices[j] = index


def largest_magnitude(values):
    """Return the index of the largest ``|values|``, without NaN; the lowest one among equals."""
    return (_largest_modulus if values.dtype.kind == "c" else _largest_double)(values)


@overload(largest_magnitude)
def _largest_magnitude(values):
    if isinstance(values.dtype, types.Complex):
        return lambda values: _largest_modulus(values)
    return lambda values: _largest_double(values)


@njit(cache=True)
def _largest_modulus(values):
    best, most = 0, -1.0
    for i in range(values.shape[0]):
        modulus = abs(values[i])
        if modulus > most:
            best, most = i, modulus
    return best


@njit(cache=True)
def _largest_double(values):
    """Return the index as an integer maximum finds it.

    Doubles of one sign are ordered as their bits are, and the maximum of integers is compiled to
    vector instructions, where that of doubles is not.
    """
    bits, unsigned = values.view(np.int64), np.int64(0x7FFFFFFFFFFFFFFF)
    largest = np.int64(0)
    for i in range(bits.shape[0]):
        largest = max(largest, bits[i] & unsigned)
    for i in range(bits.shape[0]):
        if bits[i] & unsigned == largest:
            return i
    return 0


def soft_threshold(value, level):
    """Soft-thresholding at `level` >= 0: of a complex number its modulus, which keeps its phase."""
    return (_soft_complex if isinstance(value, complex) else _soft_real)(value, level)


@overload(soft_threshold)
def _soft_threshold(value, level):
    if isinstance(value, types.Complex):
        return lambda value, level: _soft_complex(value, level)
    return lambda value, level: _soft_real(value, level)


@njit(cache=True)
def _soft_real(value, level):
    """Return it without a branch."""
    return max(value - level, 0.0) - max(-value - level, 0.0)


@njit(cache=True)
def _soft_complex(value, level):
    modulus = abs(value)
    return value * ((modulus - level) / modulus) if modulus > level else 0.0j


def soft_slope(shrunk, level):
    """Return the derivative of soft-thresholding where it leaves `shrunk`, which is not zero.

    Of a complex number u the mean of those along both axes, 1 - level / (2 |u|).
    """
    return 1.0 - 0.5 * level / (abs(shrunk) + level) if isinstance(shrunk, complex) else 1.0


@overload(soft_slope)
def _soft_slope(shrunk, level):
    if isinstance(shrunk, types.Complex):
        return lambda shrunk, level: 1.0 - 0.5 * level / (abs(shrunk) + level)
    return lambda shrunk, level: 1.0


@njit(cache=True)
def fingerprint(support, k):
    """Return a 64-bit hash of an index set in order (splitmix64 of its indices, chained)."""
    state = np.uint64(0)
    for j in range(k):
        state += np.uint64(support[j]) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return state


def largest(values, k):
    """Return the sorted indices of the k largest ``|values|``, by the rule of `top_k`."""
    support = np.empty(k, dtype=np.intp)
    top_k(values, k, 0.0, np.empty(values.shape[0]), support)
    return support
