"""Products with atoms and with the Gram matrix.

Numbers are float64 or complex128, and each is compiled for itself. The row j of ``atoms`` is the
atom a_j, that of ``gram`` is Aᴴ a_j. On real numbers ``.conjugate()`` and ``.real`` are the number
itself, and leave nothing behind in compiled code.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sparsebench.kernels.conjugates import conjugate, conjugate_in_place
from sparsebench.kernels.imaged import imaged


@njit(cache=True, fastmath={"reassoc", "contract"})
def dot(a, b):
    """Return aᴴb."""
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i].conjugate() * b[i]
    return total


@njit(cache=True, fastmath={"reassoc", "contract"})
def squared_norm(v):
    """Return ||v||², a real number."""
    total = 0.0
    for i in range(v.shape[0]):
        total += (v[i].conjugate() * v[i]).real
    return total


@njit(cache=True, fastmath={"reassoc", "contract"})
def inner(a, b):
    """Return the real part of aᴴb."""
    total = 0.0
    for i in range(a.shape[0]):
        total += (a[i].conjugate() * b[i]).real
    return total


@njit(cache=True, fastmath={"reassoc", "contract"})
def weighted(a, b):
    """Return aᵀb, without a conjugate."""
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
        out[j] = gram[j, j].real


@imaged(fastmath={"reassoc", "contract"})
def correlate_on(atoms, support, k, v, out):
    """Write A_Sᴴv to `out`."""
    for j in range(k):
        out[j] = dot(atoms[support[j]], v)


@imaged()
def correlate_basis(atoms, basis, out):
    """Write Qᴴ A, conjugated, to `out`, shape (k, n), with the columns of Q in `basis`."""
    np.dot(conjugate(basis), atoms.T, out)
    conjugate_in_place(out)


@imaged()
def gram_rows(gram, indices):
    """Return a copy of some rows of the Gram matrix, shape (k, n)."""
    return gram[indices]


@imaged()
def gram_row(atoms, j, out):
    """Write row j of the Gram matrix to `out`."""
    np.dot(atoms, conjugate(atoms[j]), out)
    conjugate_in_place(out)


@imaged()
def diagonal(gram, i):
    """Return the squared norm of an atom."""
    return gram[i, i].real


@njit(cache=True, fastmath={"contract"})
def subtract(factor, v, out):
    """Subtract factor · v from `out`."""
    for i in range(out.shape[0]):
        out[i] -= factor * v[i]


@imaged()
def correlate(atoms, v):
    """Return Aᴴv, shape (n,)."""
    correlations = np.dot(atoms, conjugate(v))
    conjugate_in_place(correlations)
    return correlations


@imaged(fastmath={"reassoc", "contract"})
def negative_gradient(gram, correlations, support, coefficients, k, out):
    """Write Aᴴ(y - A x) = Aᴴy - G x to `out`, shape (n,), for x with k non-zeros.

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
    """Return ||A_S v||² = vᴴ G_SS v."""
    total = 0.0
    for i in range(k):
        row = gram[support[i]]
        partial = 0.0
        for j in range(i):
            partial += row[support[j]].conjugate() * coefficients[j]
        value = coefficients[i]
        total += (value.conjugate() * (2.0 * partial + row[support[i]] * value)).real
    return total
