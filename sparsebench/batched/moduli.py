"""Moduli, inner products and precisions of real and of complex tensors, by one text.

`conj` and `mH` of torch are the tensor itself and the transpose where it is real.
"""

from __future__ import annotations

import torch
from torch import Tensor


def squares(v: Tensor) -> Tensor:
    """Return ``|v|²``, entry by entry, real."""
    return v.square() if not v.is_complex() else v.real.square() + v.imag.square()


def squared_norm(v: Tensor) -> Tensor:
    """Return ||v||² of each row, real, shape (B,)."""
    return squares(v).sum(1)


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Return Re aᴴb of each pair of rows, shape (B,)."""
    return (a.conj() * b).sum(1).real if a.is_complex() else (a * b).sum(1)


def in_double(v: Tensor) -> Tensor:
    """Return the tensor in float64, or in complex128 where it is complex."""
    return v.to(torch.complex128 if v.is_complex() else torch.float64)


def soft_threshold(v: Tensor, height: Tensor) -> Tensor:
    """Return the entries with their moduli smaller by `height`, those below it zero."""
    if not v.is_complex():
        return (v - height).clamp(min=0.0) - (-v - height).clamp(min=0.0)
    size = v.abs()
    kept = torch.where(size > height, size, 1.0)
    return v * torch.where(size > height, (size - height) / kept, 0.0)


def soft_slopes(shrunk: Tensor, height: Tensor) -> Tensor:
    """Return the sum of the derivatives of `soft_threshold` in each row, shape (B, 1).

    Of a complex number u the mean of those along both axes, 1 - height / (2 |u|), where it is left.
    """
    left = shrunk != 0
    if not shrunk.is_complex():
        return left.sum(1, keepdim=True)
    return torch.where(left, 1.0 - 0.5 * height / (shrunk.abs() + height), 0.0).sum(1, keepdim=True)
