"""Least squares on a support over a batch: Cholesky of Gram blocks, checked, with a fallback.

The checks are those of `kernels.least_squares`, problem by problem; those that fail one are
solved by the singular values of their atoms, in double.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparsebench.batched.batch import Batch
from sparsebench.batched.moduli import in_double, inner, squared_norm, squares
from sparsebench.batched.selection import spread, take
from sparsebench.kernels.least_squares import EPSILON, MOST_CORRECTIONS, SETTLED, SMALLEST_PIVOT

# Bytes that the gathered atoms of one round of refinement may take.
_ROUND = 2**28


@dataclass(frozen=True)
class Limits:
    """What normal equations may be trusted with, in one precision.

    Attributes
    ----------
    pivot : float
        Smallest pivot, as a fraction of its diagonal entry.
    moved : float
        How far rounding of the Gram block may move the residual, as a fraction of ||y||.
    lost : float
        Below this fraction of ||y||² a running squared residual has lost its digits.
    distance : float
        Smallest squared distance of an atom from a span that is known by a difference.
    """

    pivot: float
    moved: float
    lost: float
    distance: float


LIMITS = {
    torch.float64: Limits(SMALLEST_PIVOT, 1e-9, 1e-12, 1e-7),
    torch.float32: Limits(1e-4, 1e-3, 5e-4, 1e-3),
}


def least_squares(batch: Batch, support: Tensor) -> Tensor:
    """Return argmin ||y - A_S x||, shape of `support`, of least norm where it is not unique."""
    block = batch.gram_block(support)
    factor, info = torch.linalg.cholesky_ex(block)
    right = take(batch.correlations, support)
    coefficients = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
    sound = _harmless(batch, block, factor, coefficients, support) & (info == 0)
    if not bool(sound.all()):
        lost = torch.nonzero(~sound)[:, 0]
        found = orthogonal_least_squares(batch.only(lost), support[lost])
        coefficients[lost] = found.to(coefficients.dtype)
    return coefficients


def _harmless(
    batch: Batch, block: Tensor, factor: Tensor, coefficients: Tensor, support: Tensor
) -> Tensor:
    """Whether pivots are sound and rounding moves the residual little, shape (B,)."""
    limits = LIMITS[batch.y.dtype.to_real()]
    diagonal = block.diagonal(dim1=1, dim2=2).real
    pivots = squares(factor.diagonal(dim1=1, dim2=2)) / diagonal
    smallest = pivots.amin(1)
    size = (squares(coefficients) * diagonal).sum(1)
    atoms = (support < batch.n).sum(1)
    moved = atoms * (torch.finfo(block.dtype).eps / limits.moved)
    harmless = moved.square() * size <= smallest * batch.energy
    return harmless & (pivots > limits.pivot).all(1) & (atoms <= batch.m)


def orthogonal_least_squares(batch: Batch, support: Tensor) -> Tensor:
    """Return least-norm coefficients by the singular values of A_S, in double.

    Slow and always right: also for dependent atoms and for more atoms than measurements.
    """
    columns = batch.columns(support)
    left, values, right = torch.linalg.svd(columns.mT, full_matrices=False)
    atoms = (support < batch.n).sum(1, keepdim=True).clamp(min=batch.m)
    kept = values > EPSILON * atoms * values[:, :1]
    shares = torch.einsum("bmp,bm->bp", left.conj(), in_double(batch.y))
    shares = torch.where(kept, shares / torch.where(kept, values, 1.0), 0.0)
    return torch.einsum("bpk,bp->bk", right.conj(), shares).masked_fill_(support == batch.n, 0.0)


def polished(batch: Batch, support: Tensor) -> Tensor:
    """Return x in double, shape (B, n): least squares on the support, refined."""
    return spread(refined(batch, support), support, batch.n)


def refined(batch: Batch, support: Tensor) -> Tensor:
    """Return least squares on the support to the accuracy of an orthogonal solve, in double.

    Cholesky of the Gram block, then refinement with residuals computed from A, as `polished` of
    `kernels.least_squares`; the orthogonal solve where it does not settle.
    """
    size = max(1, int(_ROUND // (8 * support.shape[1] * batch.m + 1)))
    if len(batch) <= size:
        return _refined(batch, support)
    rows = torch.arange(len(batch), device=support.device).split(size)
    return torch.cat([_refined(batch.only(part), support[part]) for part in rows])


def _refined(batch: Batch, support: Tensor) -> Tensor:
    columns, y = batch.columns(support), in_double(batch.y)
    if batch.y.dtype == y.dtype:
        block = batch.gram_block(support)
    else:
        block = columns.conj() @ columns.mT
        block.diagonal(dim1=1, dim2=2).masked_fill_(support == batch.n, 1.0)
    factor, info = torch.linalg.cholesky_ex(block)
    exact = batch if batch.y.dtype == y.dtype else replace(batch, y=y)  # for its limits
    coefficients = torch.zeros_like(support, dtype=y.dtype)
    remainder, energy = y, squared_norm(y)
    going, settled = info == 0, torch.zeros_like(info, dtype=torch.bool)
    previous = torch.full_like(energy, torch.inf)
    for correction in range(MOST_CORRECTIONS):
        slope = (columns.conj() @ remainder[:, :, None])[:, :, 0]
        step = torch.cholesky_solve(slope[:, :, None], factor)[:, :, 0]
        coefficients = torch.where(going[:, None], coefficients + step, coefficients)
        if correction == 0:
            going = going & _harmless(exact, block, factor, coefficients, support)
        size = squared_norm(step) / squared_norm(coefficients).clamp(min=1e-300)
        size = size.sqrt()
        quick = previous.isfinite() & (size.square() <= SETTLED * previous)
        stop = going & (quick | (size > 0.5 * previous))
        small = (size <= 1e-11) & (inner(slope, step) <= 1e-24 * energy)
        settled = settled | (stop & (quick | small))
        going = going & ~stop
        if not bool(going.any()):
            break
        previous = size
        remainder = y - (coefficients[:, None, :] @ columns)[:, 0]
    if not bool(settled.all()):
        lost = torch.nonzero(~settled)[:, 0]
        coefficients[lost] = orthogonal_least_squares(batch.only(lost), support[lost])
    return coefficients
