"""Which way to an image pays: the one place where that is decided."""

from __future__ import annotations

from enum import Enum

import numpy as np

from sparsebench.system.resources import available_memory
from sparsebench.types import IntArray

# A flop of a product with a vector, which waits for memory, in flops of one with a matrix.
VECTOR = 8.0
# The part of the free memory that a Gram matrix may take.
_SHARE = 0.75
# What is spent at most on rows bought by their credit, as a fraction of the Gram matrix's price.
_ROWS = 0.125
# Bytes of the atoms of a support of an operator that may be formed: 64 MiB.
_ATOMS = 2**26
# Atoms that are formed without a second thought where they take no product.
_FREE = 64
# Products with an operator in which conjugate gradients settle, or never.
_MOST_PRODUCTS = 2000


class Way(Enum):
    """A way to Aᵀ(y - A x)."""

    THROUGH = "two products with A"
    ROWS = "rows of the Gram matrix"
    WHOLE = "the Gram matrix"


class Rental:
    """What images have cost so far, in flops of a matrix product, and which way the next one pays.

    An image through A costs p = 2mn VECTOR flops (the k columns of A x apart), b rows of the Gram
    matrix at once max(2mnb, p), and all of it G = mn². With the rows of the support at hand, or all
    rows, an image is as good as free. How many images there will be is not known, so that
    this is the ski-rental problem: rent until the rent paid is the price of buying.

    - Where the missing rows of the support cost no more than the image, they are formed for it.
    - Otherwise the image goes through A, and its rent p is put to the credit of the missing rows in
      equal parts. Rows whose credit has reached their own price 2mn are formed, 8 or more at once,
      until G / 8 was spent on such rows.
    - Where P, what was paid for single images in the first two ways, or what it grows to if all
      signals foreseen take what those begun have taken so far, reaches G, all of the Gram matrix
      is formed.

    One signal after another, with T what all images so far would have cost through A, this costs at
    most 2 T, and at most 2 1/8 G: twice, and an eighth for what rows may save, the better of all
    images through A and of the Gram matrix at the beginning. Proof: P grows by at most p an
    image, so P <= T; rows bought by their credit cost no more than the rents that gave it, at most
    P, nor more than G / 8. So while P < G all that was spent is at most P + min(P, G / 8). At P = G
    also T >= G, the other choice is the better one from then on, G is paid once, and nothing
    after that. No rule that does not know the future is better than twice: images may end as soon
    as G is paid.

    Where the Gram matrix does not fit into three quarters of the free memory, it is not formed.

    Parameters
    ----------
    m, n : int
        Measurements and atoms.
    most_rows : int
        Rows of the Gram matrix that may be held.
    bytes_of_entry : int
    """

    def __init__(self, m: int, n: int, most_rows: int, bytes_of_entry: int = 8) -> None:
        self.most_rows = most_rows
        self.row = 2.0 * m * n
        self.image = VECTOR * self.row
        self.whole = float(m) * n * n
        self._bytes = bytes_of_entry * n * n
        self._credit = np.zeros(n)
        self._rows_bought = 0.0
        self._fits: bool | None = None
        #: What was paid for single images, and in all.
        self.rent = self.spent = 0.0

    def whole_pays(self, more: float, signals: float) -> bool:
        """Whether to form the Gram matrix, if so much more were spent without.

        There are `signals` times as many signals as have been begun.
        """
        if (self.rent + more) * signals < self.whole:
            return False
        if self._fits is None:
            free = available_memory()
            self._fits = free is None or self._bytes <= _SHARE * free
        return self._fits

    def next(self, missing: IntArray, k: int, signals: float) -> tuple[Way, IntArray]:
        """Decide on an image of a support of k atoms whose rows `missing` are not at hand.

        There are `signals` times as many signals as have been begun.

        Returns
        -------
        (way, rows)
            How to compute it, and which rows to form, for it or for others.
        """
        nothing = missing[:0]
        if missing.size == 0:
            return Way.ROWS, nothing
        if self.whole_pays(self.image, signals):
            self.spent += self.whole
            return Way.WHOLE, nothing
        self.rent += self.image
        self.spent += self.image
        if k > self.most_rows:
            return Way.THROUGH, nothing
        if missing.size <= VECTOR:
            return Way.ROWS, missing
        waiting = missing[self._credit[missing] < self.row]
        self._credit[waiting] += self.image / max(waiting.size, 1)
        ripe = missing[self._credit[missing] >= self.row]
        price = self.row * ripe.size
        if ripe.size < VECTOR or self._rows_bought + price > _ROWS * self.whole:
            return Way.THROUGH, nothing
        self._credit[ripe] = 0.0
        self._rows_bought += price
        self.spent += price
        return Way.THROUGH, ripe


class Products:
    """What least squares on supports have cost in products with an operator, and which way pays.

    An atom is a product with a unit vector. With the atoms of a support at hand, least squares on
    it takes none; without them, conjugate gradients take two a step, and nobody knows how many.
    So they are taken until the rent, all products spent on them so far, is the price of the atoms
    that are missing; then these are formed: at most twice what the better way would have cost for
    one support. Of atoms that take no product 64 are formed at once, and each one more counts as a
    product, for the work with them. A support whose atoms take more than 64 MiB is solved by
    conjugate gradients alone.

    Parameters
    ----------
    m : int
        Measurements.
    free : bool
        Whether atoms take no product.
    """

    def __init__(self, m: int, free: bool) -> None:
        self._most_atoms = _ATOMS // (8 * m)
        self._free = free
        #: Products that conjugate gradients have taken.
        self.rent = 0

    def fit(self, k: int) -> bool:
        """Whether the atoms of a support of k fit."""
        return k <= self._most_atoms

    def allowance(self, k: int, missing: int) -> int:
        """Return the products to spend on conjugate gradients; 0 to form the missing of k atoms."""
        if not self.fit(k):
            return _MOST_PRODUCTS
        return max(missing - (_FREE if self._free else 0) - self.rent, 0)
