"""How a solve ends: the small integers that stand for a `Status`, and the fit on a support."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sparsebench.kernels.images import images_of
from sparsebench.kernels.least_squares import polished
from sparsebench.kernels.selection import largest
from sparsebench.registry.grammar import Option
from sparsebench.types import Dictionary, FloatArray, IntArray, Result, Status

CONVERGED, ITERATION_LIMIT, CYCLED, DIVERGED = range(4)
# Atoms of the first run along a path.
_FIRST_BLOCK = 32
#: What each of them stands for.
STATUS = (Status.CONVERGED, Status.ITERATION_LIMIT, Status.CYCLED, Status.DIVERGED)


def looser_than(tol: float) -> Callable[[dict[str, Option]], bool]:
    """Return whether options have a larger ``tol``, for `revised` of an algorithm."""
    return lambda options: options["tol"] > tol  # type: ignore[operator]


def ended(x: FloatArray, n_iter: int, code: int) -> Result:
    """Return the `Result` of a compiled loop."""
    return Result(x, int(n_iter), STATUS[code])


def ended_on(
    dictionary: Dictionary, y: FloatArray, support: IntArray, n_iter: int, code: int
) -> Result:
    """Return the `Result` of a compiled loop that found a sorted support: least squares on it."""
    return ended(fitted(dictionary, y, support), n_iter, code)


def fitted(dictionary: Dictionary, y: FloatArray, support: IntArray) -> FloatArray:
    """Return x, shape (n,): least squares on a sorted support."""
    atoms, gram = images_of(dictionary)
    return polished(atoms, gram, y, support, support.size, atoms.shape[0])


def fitted_alone(dictionary: Dictionary, y: FloatArray, support: IntArray) -> FloatArray:
    """Return x as `fitted` does, from the support's own block of the Gram matrix."""
    chosen, size = dictionary.some_atoms(support), support.size
    block = chosen @ chosen.conj().T
    # Read-only as those of a dictionary are, so that they are of one type for the compiler.
    chosen.flags.writeable = block.flags.writeable = False
    x = np.zeros(dictionary.shape[1], y.dtype)
    x[support] = polished(chosen, block, y, np.arange(size), size, size)
    return x


def read_off(dictionary: Dictionary, y: FloatArray, k: int, scores: FloatArray) -> FloatArray:
    """Return x, shape (n,): least squares on the k largest |scores|, zeros left out."""
    support = largest(scores, k)
    return fitted(dictionary, y, support[scores[support] != 0])


def in_blocks(run: Callable[[int], list[IntArray]], most: int) -> Iterator[IntArray]:
    """Yield the supports of a path that a run to any size gives, larger ones as they are wanted.

    ``run(size)`` returns those of growing sizes up to `size`. Runs again for four times as many
    atoms cost a third more than one for all.
    """
    done, size = 0, min(_FIRST_BLOCK, most)
    while True:
        supports = run(size)
        yield from (support for support in supports if support.size > done)
        reached = supports[-1].size if supports else 0
        if size == most or reached < size:
            return
        done, size = reached, min(4 * size, most)
