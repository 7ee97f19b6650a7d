"""Conjugates of arrays: nothing to do where they are real, and nothing compiled for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload


def conjugate(v: Any) -> Any:
    """Return the conjugate of an array, which is itself where it is real."""
    return v.conj()


def conjugate_in_place(v: Any) -> None:
    """Conjugate the entries of an array."""
    if v.dtype.kind == "c":
        np.conjugate(v, out=v)


@overload(conjugate)
def _conjugate(v):
    if isinstance(v.dtype, types.Complex):
        return lambda v: np.conj(v)
    return lambda v: v


@overload(conjugate_in_place)
def _conjugate_in_place(v):
    def entry_by_entry(v):
        for index in np.ndindex(v.shape):
            v[index] = v[index].conjugate()

    return entry_by_entry if isinstance(v.dtype, types.Complex) else lambda v: None
