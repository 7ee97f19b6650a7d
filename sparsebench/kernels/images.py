"""Images of one dictionary: by its Gram matrix, by some rows of that, or through A itself."""

from __future__ import annotations

from threading import get_ident
from typing import Any

import numpy as np

from sparsebench.kernels import conjugate_gradients, homotopy, least_squares
from sparsebench.kernels import gram as whole
from sparsebench.kernels.conjugate_gradients import LOOSE, TIGHT, Fit
from sparsebench.kernels.conjugates import conjugate_in_place
from sparsebench.kernels.rental import VECTOR, Products, Rental, Way
from sparsebench.operators import Operator
from sparsebench.types import FEW_ATOMS as FEW_ATOMS
from sparsebench.types import Dictionary, FloatArray, IntArray, check_memory

# The bytes of A that rows of the Gram matrix may take, as a fraction.
_ROWS = 0.125
# x with more non-zeros than this fraction of n is multiplied as a dense vector.
_DENSE = 0.0625
# Images of an operator, and fits, that are kept: of an estimate, of a direction, of a move.
_KEPT = 3


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

        Where there is no room, all but those of a support are dropped; those at hand are not formed
        again.
        """
        wanted = wanted[self._places[wanted] < 0]
        if wanted.size == 0:
            return
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


class OperatorImages(Images):
    """What loops ask of an operator: products, and least squares by the cheaper of two ways.

    Least squares on a support are by conjugate gradients, or by its atoms where these are few and
    cheap (`rental.Products`). What has been computed for an estimate, its image and its gradient,
    is kept, so that a loop which asks for it again has it without a product.

    Parameters
    ----------
    operator : Operator
        Shape (m, n).
    """

    dictionary: Operator

    def __init__(self, operator: Operator) -> None:
        super().__init__(operator)
        self.rent = Products(operator.shape[0], operator.has_atoms)
        self._known: list[tuple[IntArray, FloatArray, FloatArray]] = []
        # The last fits by conjugate gradients, and Aᴴy of the last one if a loop has told it.
        self._fits: list[Fit] = []
        self._fitted_to: FloatArray | None = None
        # Atoms that have taken a product each, and which they are.
        self._formed = np.empty((0, operator.shape[0]), self.dtype)
        self._indices = np.empty(0, dtype=np.intp)

    def correlate(self, v: FloatArray) -> FloatArray:
        """Return Aᴴv."""
        return self.dictionary.correlate(v).copy()

    def atom_of(self, j: int) -> FloatArray:
        """Return atom j."""
        return self._some_atoms(np.array([j]))[0]

    def correlate_on(self, support: IntArray, k: int, v: FloatArray, out: FloatArray) -> None:
        """Write A_Sᴴv to `out`."""
        out[:k] = self.dictionary.correlate(v)[support[:k]]

    def negative_gradient(
        self,
        correlations: FloatArray,
        support: IntArray,
        coefficients: FloatArray,
        k: int,
        out: FloatArray,
    ) -> None:
        """Write Aᴴ(y - A x) to `out`."""
        chosen, values = support[:k], coefficients[:k]
        fit = self._fits[0] if self._fits else None
        if not values.any():
            out[:] = correlations
        elif (
            fit is not None
            and _same(fit.support, fit.coefficients, chosen, values)
            and self._fitted_to is not None
            and np.array_equal(self._fitted_to, correlations)
        ):
            out[:] = fit.gradient
        else:
            image = self._image(chosen, values)
            np.subtract(correlations, self.dictionary.correlate(image), out=out)

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
        """Write argmin ||y - A_S x||; never by the factor of the caller."""
        chosen = support[:k]
        fit = self._by_gradients(y, chosen, LOOSE, correlations)
        if fit is not None:
            coefficients[:k] = fit.coefficients
        else:
            super().least_squares(self, correlations, y, chosen, k, self._room(k), coefficients)
        return False

    def polished(self, _: Images, y: FloatArray, support: IntArray, k: int, n: int) -> FloatArray:
        """Return x, shape (n,): least squares on a support, as `refined` does."""
        return self.refined(self, y, support, k, n, self.factor_room(k), False)

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
        """Return x on the support; says on the operator whether it has settled."""
        chosen = support[:k]
        self.dictionary.settled = True
        fit = self._by_gradients(y, chosen, TIGHT)
        if fit is None:
            return super().refined(self, y, chosen, k, n, self._room(k), False)
        self.dictionary.settled = fit.settled
        x = np.zeros(n, self.dtype)
        x[chosen] = fit.coefficients
        return x

    def fit_merged(
        self,
        _: Images,
        correlations: FloatArray,
        y: FloatArray,
        merged: IntArray,
        total: int,
        factor: FloatArray,
        coefficients: FloatArray,
    ) -> None:
        """Write least squares on a merged set, refined where it is by its atoms."""
        chosen = merged[:total]
        if total > self.shape[1]:
            self.least_squares(self, correlations, y, merged, total, factor, coefficients)
            return
        fit = self._by_gradients(y, chosen, LOOSE, correlations)
        if fit is not None:
            coefficients[:total] = fit.coefficients
        else:
            room = self._room(total)
            x = super().refined(self, y, chosen, total, self.shape[0], room, False)
            coefficients[:total] = x[chosen]

    def solve_normal(self, support: IntArray, k: int, rhs: FloatArray) -> bool:
        """Overwrite `rhs` with the solution of A_SᴴA_S x = rhs; False where that is not sound."""
        chosen = support[:k]
        most = self.rent.allowance(k, self._missing(chosen).size)
        if most:
            before = self.dictionary.products
            found = conjugate_gradients.normal_equations(self.dictionary, chosen, rhs, most)
            self.rent.rent += self.dictionary.products - before
            if found is not None:
                rhs[:] = found
            if found is not None or not self.rent.fit(k):
                return found is not None
        return bool(least_squares.solve_normal(self.block(chosen), np.arange(k), k, rhs))

    def factor_room(self, k: int) -> FloatArray:
        """Return no room for a factor: what needs one makes it."""
        return self._room(0)

    def _room(self, k: int) -> FloatArray:
        return np.empty((k, k), self.dtype)

    def products(
        self, _: Images, support: IntArray, v: FloatArray, w: FloatArray, k: int, image: FloatArray
    ) -> tuple[float, complex]:
        """Return ||A_T v||² and (A_T v)ᴴ(A_T w)."""
        first, second = self._image(support[:k], v[:k]), self._image(support[:k], w[:k])
        return float(np.vdot(first, first).real), np.vdot(first, second).item()

    def may_improve(self, *_: object) -> bool:
        """Whether a residual is to be computed: always, since its image is at hand."""
        return True

    def atoms(self, support: IntArray) -> FloatArray:
        """Return the atoms of a support, shape (k, m), read-only; the last ones are kept."""
        if not np.array_equal(support, self._support):
            self._atoms = self._block = self._room(0)
            self._support, self._atoms = support.copy(), self._some_atoms(support)
            self._atoms.flags.writeable = False
        return self._atoms

    def _by_gradients(
        self,
        y: FloatArray,
        support: IntArray,
        tolerance: float,
        correlations: FloatArray | None = None,
    ) -> Fit | None:
        """Return least squares by conjugate gradients; None where the atoms are the way."""
        same = [fit for fit in self._fits if np.array_equal(fit.y, y)]
        on_it = [fit for fit in same if np.array_equal(fit.support, support)]
        if on_it and tolerance == LOOSE:  # to the last digit what it was before
            fit = on_it[0]
        else:
            most = self.rent.allowance(support.size, self._missing(support).size)
            if not most:
                return None
            before, start = self.dictionary.products, np.zeros(support.size, self.dtype)
            if same and support.size <= y.size:  # where it is unique, begin with the last one
                near = (on_it or same)[0]
                x = np.zeros(self.shape[0], self.dtype)
                x[near.support] = near.coefficients
                start = x[support]
            fit = conjugate_gradients.least_squares(
                self.dictionary, y.copy(), support.copy(), start, tolerance, most
            )
            self.rent.rent += self.dictionary.products - before
            if not fit.settled and self.rent.fit(support.size):
                return None
        self._fits = [fit, *(one for one in self._fits if one is not fit)][:_KEPT]
        self._fitted_to = correlations
        self._keep(fit.support, fit.coefficients, fit.y - fit.residual)
        return fit

    def _missing(self, support: IntArray) -> IntArray:
        """Return those of a support whose atoms are not at hand."""
        if np.array_equal(support, self._support):
            return support[:0]
        return np.setdiff1d(support, self._indices)

    def _some_atoms(self, support: IntArray) -> FloatArray:
        """Return atoms, shape (k, m), each formed by a product once while there is room."""
        if self.dictionary.has_atoms:
            return self.dictionary.some_atoms(support)
        missing = self._missing(support)
        if missing.size:
            new = self.dictionary.some_atoms(missing)
            kept = np.arange(self._indices.size)
            if not self.rent.fit(self._indices.size + missing.size):
                kept = np.flatnonzero(np.isin(self._indices, support))
            self._formed = np.concatenate([self._formed[kept], new])
            self._indices = np.concatenate([self._indices[kept], missing])
        order = np.argsort(self._indices)
        return self._formed[order[np.searchsorted(self._indices, support, sorter=order)]]

    def _image(self, support: IntArray, coefficients: FloatArray) -> FloatArray:
        """Return A_S v; the last ones are kept."""
        if not coefficients.any():
            return np.zeros(self.shape[1], self.dtype)
        for chosen, values, image in self._known:
            if _same(chosen, values, support, coefficients):
                return image
        if np.array_equal(support, self._support):
            image = coefficients @ self._atoms
        else:
            image = conjugate_gradients.spread(self.dictionary, support, coefficients)
        self._keep(support.copy(), coefficients.copy(), image)
        return image

    def _keep(self, support: IntArray, coefficients: FloatArray, image: FloatArray) -> None:
        self._known = [(support, coefficients, image), *self._known[: _KEPT - 1]]


def _same(
    support: IntArray, values: FloatArray, other_support: IntArray, other_values: FloatArray
) -> bool:
    """Whether two sparse vectors are the same."""
    return np.array_equal(values, other_values) and np.array_equal(support, other_support)


def rows_suffice(dictionary: Dictionary, k: int, signals: int = 1) -> bool:
    """Whether signals that each need k rows of the Gram matrix are solved without all of it.

    Besides those of k candidates a signal needs others one by one: 3k rows in all, at the price of
    a row in a product. From k = n / 6 on the Gram matrix costs less.
    """
    n = dictionary.shape[1]
    if isinstance(dictionary, Operator):
        return True
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
    if isinstance(dictionary, Operator):
        if images is None:
            images = dictionary.images[get_ident()] = OperatorImages(dictionary)
        return images, images
    if dictionary.shape[1] <= FEW_ATOMS or (
        dictionary.knows("gram") and (images is None or dictionary.begun > images.formed)
    ):
        return dictionary.atoms, dictionary.gram
    if images is None:
        images = dictionary.images[get_ident()] = Images(dictionary)
    return images, images
