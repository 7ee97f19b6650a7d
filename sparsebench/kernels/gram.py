"""Products with the rows of A and of its Gram matrix."""

from __future__ import annotations

import numpy as np
from numba import njit

from sparsebench.kernels.imaged import imaged


@njit(cache=True, fastmath={"reassoc", "contract"})
def dot(a, b):
    """Return aᵀb."""
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@njit(cache=True)
def copy(source, out):
    """Write `source` to the beginning of `out`: numba takes seconds to compile ``out[:] = ``."""
    for i in range(source.shape[0]):
        out[i] = source[i]


@njit(cache=True)
def advance(step, direction, x):
    """Add step · direction to `x`."""
    for i in range(x.shape[0]):
        x[i] += step * direction[i]


@njit(cache=True)
def multiply(factor, v, out):
    """Write factor · v to `out`."""
    for i in range(out.shape[0]):
        out[i] = factor * v[i]


@imaged()
def atom_of(atoms, j):
    """Return atom j, shape (m,)."""
    return atoms[j]


@imaged()
def atoms_of(atoms, indices):
    """Return a copy of some atoms, shape (k, m)."""
    return atoms[indices]


@imaged()
def squared_norms(gram, out):
    """Write the squared norms of all atoms to `out`."""
    for j in range(out.shape[0]):
        out[j] = gram[j, j]


@imaged(fastmath={"reassoc", "contract"})
def correlate_on(atoms, support, k, v, out):
    """Write A_Sᵀv to `out`."""
    for j in range(k):
        out[j] = dot(atoms[support[j]], v)


@imaged()
def correlate_basis(atoms, basis, out):
    """Write Qᵀ A to `out`, shape (k, n), with the rows of Qᵀ in `basis`."""
    np.dot(basis, atoms.T, out)


@imaged()
def gram_rows(gram, indices):
    """Return a copy of some rows of the Gram matrix, shape (k, n)."""
    return gram[indices]


@imaged()
def gram_row(atoms, j, out):
    """Write row j of the Gram matrix to `out`."""
    np.dot(atoms, atoms[j], out)


@imaged()
def diagonal(gram, i):
    """Return the squared norm of an atom."""
    return gram[i, i]


@njit(cache=True, fastmath={"contract"})
def subtract(factor, v, out):
    """Subtract factor · v from `out`."""
    for i in range(out.shape[0]):
        out[i] -= factor * v[i]


@imaged()
def correlate(atoms, v):
    """Return Aᵀv, shape (n,)."""
    return np.dot(atoms, v)


@imaged(fastmath={"reassoc", "contract"})
def negative_gradient(gram, correlations, support, coefficients, k, out):
    """Write Aᵀ(y - A x) = Aᵀy - G x to `out`, shape (n,), for x with k non-zeros.

    Four rows of G at a time: the output is then read and written k / 4 times.
    """
    n = out.shape[0]
    copy(correlations, out)
    j = 0
    while j + 4 <= k:
        a, b = gram[support[j]], gram[support[j + 1]]
        c, d = gram[support[j + 2]], gram[support[j + 3]]
        va, vb = coefficients[j], coefficients[j + 1]
        vc, vd = coefficients[j + 2], coefficients[j + 3]
        for i in range(n):
            out[i] -= va * a[i] + vb * b[i] + vc * c[i] + vd * d[i]
        j += 4
    while j < k:
        a = gram[support[j]]
        va = coefficients[j]
        for i in range(n):
            out[i] -= va * a[i]
        j += 1


@imaged(fastmath={"reassoc", "contract"})
def gram_quadratic(gram, support, coefficients, k):
    """Return ||A_S v||² = vᵀ G_SS v."""
    total = 0.0
    for i in range(k):
        row = gram[support[i]]
        partial = 0.0
        for j in range(i):
            partial += row[support[j]] * coefficients[j]
        total += coefficients[i] * (2.0 * partial + row[support[i]] * coefficients[i])
    return total
