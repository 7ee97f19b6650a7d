"""Twins of the pursuits that merge candidates with the support and prune: CoSaMP and SP.

Floor of an iteration of one problem: 2nk + 9k³ (CoSaMP) or 2nk + 3k³ (SP) flops; 8nk bytes of the
Gram matrix, 72k² and 32k² of its blocks, 8m(3k) and 8m(2k) of the atoms with which the merged fit
is refined, twice; about 90 launches, whatever the number of problems.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsebench.batched.batch import Batch, Ending, end, running
from sparsebench.batched.least_squares import least_squares, refined
from sparsebench.batched.selection import fingerprint, indices_of, join, take, top_k, top_magnitudes
from sparsebench.solvers.endings import CONVERGED, CYCLED, ITERATION_LIMIT


def cosamp(batch: Batch, start: Tensor | None = None, *, max_iter: int, tol: float) -> Ending:
    """CoSaMP, as `solvers.pursuit.cosamp`."""
    ending, n = Ending.of_supports(batch), batch.n
    support = torch.full_like(ending.answers, n)
    values = batch.y.new_zeros(support.shape)
    best, best_support = batch.energy, support
    if start is not None:
        support = indices_of(start != 0, batch.most)
        values = take(start, support)
        best_support = support
        best = batch.residual(support, least_squares(batch, support))
    visited = batch.rows.new_zeros(len(batch), 0)
    code = end(running(batch), best <= batch.zero(tol), CONVERGED)
    for iteration in range(max_iter + 1):
        if iteration:
            code = running(batch)
            gradient = batch.gradient(support, values)
            wide = (2 * batch.k).clamp(max=n)
            candidates = top_k(gradient, wide, min(2 * batch.most, n))
            merged = join(support, candidates, n)
            mark = fingerprint(merged, n)[:, None]
            seen = visited == mark
            code = end(code, seen[:, -1:].any(1), CONVERGED)
            code = end(code, seen.any(1), CYCLED)
            visited = torch.cat([visited, mark], dim=1)
            support, values = _prune(batch, merged)
            squared = batch.residual(support, least_squares(batch, support))
            better = (code < 0) & (squared < best)
            best = torch.where(better, squared, best)
            best_support = torch.where(better[:, None], support, best_support)
            code = end(code, better & (squared <= batch.zero(tol)), CONVERGED)
        keep = ending.record(batch, code, best_support, iteration)
        if keep is not None:
            batch, support, values = batch.only(keep), support[keep], values[keep]
            best, best_support, visited = best[keep], best_support[keep], visited[keep]
            if not len(batch):
                return ending
    return ending.rest(batch, ITERATION_LIMIT, best_support, max_iter)


def sp(batch: Batch, start: Tensor | None = None, *, max_iter: int, tol: float) -> Ending:
    """Subspace pursuit, as `solvers.pursuit.sp`."""
    ending, n = Ending.of_supports(batch), batch.n
    support = top_k(batch.correlations, batch.k, batch.most)
    if start is not None:
        given = indices_of(start != 0, batch.most)
        support = torch.where(start.any(1)[:, None], given, support)
    last_support = support
    last = torch.full_like(batch.energy, torch.inf)
    for iteration in range(max_iter + 1):
        values = least_squares(batch, support)
        squared = batch.residual(support, values)
        better = squared < last
        last = torch.where(better, squared, last)
        last_support = torch.where(better[:, None], support, last_support)
        code = end(running(batch), ~better | (squared <= batch.zero(tol)), CONVERGED)
        keep = ending.record(batch, code, last_support, iteration)
        if keep is not None:
            batch, support, values = batch.only(keep), support[keep], values[keep]
            last, last_support = last[keep], last_support[keep]
            if not len(batch):
                return ending
        if iteration == max_iter:
            break
        candidates = top_k(batch.gradient(support, values), batch.k, batch.most)
        support, _ = _prune(batch, join(support, candidates, n))
    return ending.rest(batch, ITERATION_LIMIT, last_support, max_iter)


def _prune(batch: Batch, merged: Tensor) -> tuple[Tensor, Tensor]:
    """Return the k largest of refined least squares on the merged set, with their indices."""
    coefficients = refined(batch, merged).to(batch.y.dtype)
    inside = merged < batch.n
    size = torch.minimum(batch.k, inside.sum(1))
    width = merged.shape[1]
    kept = top_magnitudes(coefficients.abs().masked_fill(~inside, -1.0), size, batch.most)
    support = merged.gather(1, kept.clamp(max=width - 1)).masked_fill_(kept == width, batch.n)
    return support, take(coefficients, kept)
