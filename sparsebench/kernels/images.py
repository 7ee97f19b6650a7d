"""Images of one dictionary: by its Gram matrix, by some rows of that, or through A itself."""

from __future__ import annotations

from threading import get_ident
from typing import Any

import numpy as np

from sparsebench.kernels import gram as whole
from sparsebench.kernels import homotopy, least_squares
from sparsebench.kernels.conjugates import conjugate_in_place
from sparsebench.kernels.rental import VECTOR, Rental, Way
from sparsebench.types import FEW_ATOMS as FEW_ATOMS
from sparsebench.types import Dictionary, FloatArray, IntArray, check_memory

# The bytes of A that rows of the Gram matrix may take, as a fraction.
_ROWS = 0.125
# x with more non-zeros than this fraction of n is multiplied as a dense vector.
_DENSE = 0.0625


class Images:
    """What loops ask of a dictionary, at the least price: see `Rental`.

    It stands for the atoms and for the Gram matrix in the functions marked `imaged`, and each of
    its methods is what the function of that name computes. It is kept with the dictionary, one for
    each thread.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    """

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        m, n = dictionary.shape
        #: That of the atoms.
        self.shape, self.dtype = (n, m), dictionary.dtype
        # At least as many as cost no more than one image.
        self.rental = Rental(m, n, max(int(_ROWS * m), 8), self.dtype.itemsize)
        #: The signal during which the Gram matrix was formed, by its number; 0 for none.
        self.formed = 0
        self._rows = np.empty((0, n), self.dtype)
        self._places = np.full(n, -1, dtype=np.intp)
        # What `correlate` returned last, as the loop has changed it since: it tells of which atoms
        # the rows are likely to be asked for.
        self._correlations = np.zeros(n)
        self._support = np.empty(0, dtype=np.intp)
        self._atoms, self._block = np.empty((0, m), self.dtype), np.empty((0, 0), self.dtype)

    def __matmul__(self, v: FloatArray) -> FloatArray:
        """Return Aᴴv."""
        return self.correlate(v)

    def correlate(self, v: FloatArray) -> FloatArray:
        """Return Aᴴv."""
        self._correlations = self._adjoint(v)
        return self._correlations

    def _adjoint(self, v: FloatArray) -> FloatArray:
        """Return Aᴴv, without another A."""
        image: FloatArray = self.dictionary.matrix.T @ v.conj()
        conjugate_in_place(image)
        return image

    def atom_of(self, j: int) -> FloatArray:
        """Return atom j."""
        return np.ascontiguousarray(self.dictionary.matrix[:, j])

    def copy(self) -> FloatArray:
        """Return all atoms, shape (n, m), to be written to."""
        matrix = self.dictionary.matrix
        check_memory(matrix.nbytes, "another copy of A")
        return np.array(matrix.T, order="C")

    def atoms_of(self, indices: IntArray) -> FloatArray:
        """Return a copy of some atoms, shape (k, m)."""
        return self.dictionary.some_atoms(indices)

    def squared_norms(self, out: FloatArray) -> None:
        """Write the squared norms of all atoms to `out`."""
        out[:] = self.dictionary.squared_norms

    def correlate_on(self, support: IntArray, k: int, v: FloatArray, out: FloatArray) -> None:
        """Write A_Sᴴv to `out`."""
        np.dot(self.atoms(support[:k]), v.conj(), out=out[:k])
        conjugate_in_place(out[:k])

    def correlate_basis(self, basis: FloatArray, out: FloatArray) -> None:
        """Write (AᴴQ)ᵀ to `out`, shape (k, n), with the columns of Q in `basis`."""
        np.matmul(basis.conj(), self.dictionary.matrix, out=out)
        conjugate_in_place(out)

    def gram_rows(self, indices: IntArray) -> FloatArray:
        """Return a copy of some rows of the Gram matrix, shape (k, n)."""
        if indices.size > self.rental.most_rows:
            return self.dictionary.gram_rows(indices)
        missing = indices[self._places[indices] < 0]
        if missing.size:
            self.add_rows(missing, indices)
        return self._rows[self._places[indices]]

    def project(
        self, support: IntArray, k: int, entering: int, shares: FloatArray, out: FloatArray
    ) -> None:
        """Write Aᴴ P a_j to `out` for the atom `entering`, with P off the span of the support."""
        out[:] = self._adjoint(self.atom_of(entering) - self._image(support[:k], shares))

    def harmless(
        self, y: FloatArray, support: IntArray, k: int, factor: FloatArray, coefficients: FloatArray
    ) -> bool:
        """Whether rounding errors of the Gram block are harmless: see the compiled function."""
        block = self.block(support[:k])
        return bool(least_squares._harmless(block, y, np.arange(k), k, factor, coefficients))

    def gram_row(self, j: int, out: FloatArray) -> None:
        """Write row j of the Gram matrix to `out`."""
        if self._places[j] < 0:
            self.add_rows(np.array([j]), np.empty(0, dtype=np.intp))
        out[:] = self._rows[self._places[j]]

    def diagonal(self, i: int) -> float:
        """Return the squared norm of atom i."""
        return float(self.dictionary.squared_norms[i])

    def negative_gradient(
        self,
        correlations: FloatArray,
        support: IntArray,
        coefficients: FloatArray,
        k: int,
        out: FloatArray,
    ) -> None:
        """Write Aᴴ(y - A x) to `out`."""
        chosen = support[:k]
        known = self.dictionary.knows("gram")
        if not known:
            missing = chosen[self._places[chosen] < 0]
            way, wanted = self.rental.next(missing, k, self.dictionary.signals_ahead)
            if wanted.size:
                self.add_rows(wanted, chosen)
            if way == Way.THROUGH:
                image = self._image(chosen, coefficients[:k])
                np.subtract(correlations, self._adjoint(image), out=out)
                return
            known = way == Way.WHOLE
            if known:
                self.formed = self.dictionary.begun
        rows, places = (self.dictionary.gram, chosen) if known else self._held(chosen)
        whole.negative_gradient(rows, correlations, places, coefficients, k, out)

    def gram_quadratic(self, support: IntArray, coefficients: FloatArray, k: int) -> float:
        """Return ||A_S v||²."""
        image = self._image(support[:k], coefficients[:k])
        return float((image.conj() @ image).real)

    def residual(
        self, y: FloatArray, support: IntArray, k: int, coefficients: FloatArray, out: FloatArray
    ) -> float:
        """Write y - A_S x to `out` and return its squared norm."""
        np.subtract(y, self._image(support[:k], coefficients[:k]), out=out)
        return float((out.conj() @ out).real)

    def cholesky(self, support: IntArray, k: int, factor: FloatArray) -> bool:
        """Factor the Gram block of a support; more than m atoms are dependent."""
        if k > self.shape[1]:
            return False
        return bool(least_squares.cholesky(self.block(support[:k]), np.arange(k), k, factor))

    def least_squares(
        self,
        _: Images,
        correlations: FloatArray,
        y: FloatArray,
        support: IntArray,
        k: int,
        factor: FloatArray,
        coefficients: FloatArray,
    ) -> bool:
        """Write argmin ||y - A_S x||, as the compiled function does, on the support alone."""
        chosen = support[:k]
        atoms, block = self.atoms(chosen), self.block(chosen)
        return bool(
            least_squares.least_squares(
                atoms, block, correlations[chosen], y, np.arange(k), k, factor, coefficients
            )
        )

    def refined(
        self,
        _: Images,
        y: FloatArray,
        support: IntArray,
        k: int,
        n: int,
        factor: FloatArray,
        held: bool,
    ) -> FloatArray:
        """Return x on the support, to the accuracy of an orthogonal solve."""
        chosen = support[:k]
        x = np.zeros(n, self.dtype)
        x[chosen] = least_squares.refined(
            self.atoms(chosen), self.block(chosen), y, np.arange(k), k, k, factor, np.bool_(held)
        )
        return x

    def append(self, support: IntArray, entering: int, factor: FloatArray, size: int) -> bool:
        """Add the row of an atom to a Cholesky factor; False if its pivot is too small."""
        row = np.empty((1, size + 1))
        atom = self.atom_of(entering)
        row[0, 0], row[0, 1:] = self.diagonal(entering), self.atoms(support[:size]) @ atom
        row.flags.writeable = False
        return bool(homotopy._append(row, np.arange(1, size + 1), 0, factor, size))

    def products(
        self, _: Images, support: IntArray, v: FloatArray, w: FloatArray, k: int, image: FloatArray
    ) -> tuple[float, complex]:
        """Return ||A_T v||² and (A_T v)ᴴ(A_T w)."""
        atoms = self.atoms(support[:k])
        np.dot(v[:k], atoms, out=image)
        return float((image.conj() @ image).real), (image.conj() @ (w[:k] @ atoms)).item()

    def atoms(self, support: IntArray) -> FloatArray:
        """Return the atoms of a support, shape (k, m), read-only; the last ones are kept."""
        if not np.array_equal(support, self._support):
            self._atoms = self._block = np.empty((0, 0), self.dtype)
            self._support, self._atoms = support.copy(), self.dictionary.some_atoms(support)
            self._atoms.flags.writeable = False
        return self._atoms

    def block(self, support: IntArray) -> FloatArray:
        """Return the Gram block of a support, shape (k, k), read-only; the last one is kept."""
        atoms = self.atoms(support)
        if self._block.shape[0] != support.size:
            self._block = atoms @ atoms.conj().T
            self._block.flags.writeable = False
        return self._block

    def _image(self, support: IntArray, coefficients: FloatArray) -> FloatArray:
        """Return A_S v."""
        n = self.shape[0]
        if support.size <= _DENSE * n:
            return coefficients @ self.atoms(support)
        x = np.zeros(n, self.dtype)
        x[support] = coefficients
        return self.dictionary.matrix @ x

    def _held(self, support: IntArray) -> tuple[FloatArray, IntArray]:
        """Return the rows of the Gram matrix that are at hand, and where those of a support are."""
        rows = self._rows.view()
        rows.flags.writeable = False  # as a Gram matrix is: one type for the compiler
        return rows, self._places[support]

    def add_rows(self, wanted: IntArray, support: IntArray) -> None:
        """Form rows of the Gram matrix, and of likely atoms as many as cost nothing more.

        Where there is no room, all but those of a support are dropped.
        """
        spare = int(VECTOR) - wanted.size
        if spare > 0:
            likely = np.abs(self._correlations)
            likely[self._places >= 0] = likely[wanted] = 0.0
            others = np.argpartition(likely, -spare)[-spare:]
            wanted = np.concatenate([wanted, others[likely[others] > 0.0]])
        most, held = self.rental.most_rows, np.flatnonzero(self._places >= 0)
        if self._rows.size == 0:
            self._rows = np.empty((most, self.shape[0]), self.dtype)
        if held.size + wanted.size > most:
            kept = np.intersect1d(held, support)
            wanted = wanted[: most - kept.size]
            kept = kept[np.argsort(self._places[kept])]
            for place, atom in enumerate(kept):  # one by one, and upwards: without a copy
                self._rows[place] = self._rows[self._places[atom]]
            self._places[:] = -1
            self._places[kept] = np.arange(kept.size)
            held = kept
        new = slice(held.size, held.size + wanted.size)
        self.dictionary.gram_rows(wanted, self._rows[new])
        self._places[wanted] = np.arange(new.start, new.stop)


def rows_suffice(dictionary: Dictionary, k: int, signals: int = 1) -> bool:
    """Whether signals that each need k rows of the Gram matrix are solved without all of it.

    Besides those of k candidates a signal needs others one by one: 3k rows in all, at the price of
    a row in a product. From k = n / 6 on the Gram matrix costs less.
    """
    n = dictionary.shape[1]
    if dictionary.knows("gram"):
        return False
    if n <= FEW_ATOMS:
        return signals == 1 and 6 * k <= n
    rental = images_of(dictionary)[0].rental
    price = 3 * k * rental.row * signals
    if rental.whole_pays(price, dictionary.signals_ahead):
        return False
    rental.rent += price
    return True


def images_of(dictionary: Dictionary) -> tuple[Any, Any]:
    """Return the atoms and the Gram matrix where that is to be used, or else its `Images` twice.

    The signal that has had the Gram matrix formed goes on with these: the compiled loops need the
    atoms one after the other, which may take another copy of A.
    """
    images = dictionary.images.get(get_ident())
    if dictionary.shape[1] <= FEW_ATOMS or (
        dictionary.knows("gram") and (images is None or dictionary.begun > images.formed)
    ):
        return dictionary.atoms, dictionary.gram
    if images is None:
        images = dictionary.images[get_ident()] = Images(dictionary)
    return images, images
