"""One source of a loop for a Gram matrix, where it is compiled, and for all that stands for one.

A loop reads A through a few functions: Aᵀr, Aᵀ(y - A x), least squares on a support, and such. Its
argument `gram` is the Gram matrix, and everything is compiled to one piece; or an object that knows
other ways to the same numbers (`Images`), and the loop is run by Python, each of these functions
being the object's own method. Such a method takes milliseconds, and Python some microseconds more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types


class Imaged:
    """A compiled function whose first argument is an array, or an object with methods instead.

    In compiled code it is the compiled function. Called by Python with an array it is that, too;
    with an object, that one's method of its name without underscores in front, or else its source.
    """

    def __init__(self, function: Callable[..., Any], fastmath: set[str] | bool) -> None:
        self.compiled = njit(cache=True, fastmath=fastmath)(function)
        self.source = function
        self._numba_type_ = types.Dispatcher(self.compiled)  # what numba takes it for
        self._name = function.__name__.lstrip("_")

    def __call__(self, first: Any, *rest: Any) -> Any:
        """Return what the function returns."""
        if isinstance(first, np.ndarray):
            return self.compiled(first, *rest)
        method = getattr(first, self._name, None)
        if method is not None:
            return method(*rest)
        with np.errstate(all="ignore"):  # as compiled code does
            return self.source(first, *rest)


def imaged(fastmath: set[str] | bool = False) -> Callable[[Callable[..., Any]], Imaged]:
    """Compile a function of (atoms, ...) or (gram, ...), and run it by Python for other images."""
    return lambda function: Imaged(function, fastmath)
