"""Twins of hard thresholding pursuit with a fixed step, and normalised.

Floor of an iteration of one problem, K = k: 2nk + k³/3 flops; 8nk bytes of the Gram matrix, 8k² of
its block, 8mk of the atoms of the residual; about 40 launches, whatever the number of problems.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsebench.batched.batch import Batch, Ending, end, running
from sparsebench.batched.least_squares import least_squares
from sparsebench.batched.moduli import inner, squared_norm
from sparsebench.batched.selection import fingerprint, spread, take, top_k
from sparsebench.solvers.endings import CONVERGED, CYCLED, DIVERGED, ITERATION_LIMIT


def htp(
    batch: Batch, start: Tensor | None = None, *, step: str, max_iter: int, tol: float
) -> Ending:
    """Hard thresholding pursuit, as `solvers.htp.htp`."""
    return _pursue(batch, start, step, max_iter, tol)


def nhtp(batch: Batch, start: Tensor | None = None, *, max_iter: int, tol: float) -> Ending:
    """Normalised hard thresholding pursuit, as `solvers.htp.nhtp`."""
    return _pursue(batch, start, None, max_iter, tol)


def _pursue(
    batch: Batch, start: Tensor | None, rule: str | None, max_iter: int, tol: float
) -> Ending:
    """Return the best supports, from the dense estimates `start`, shape (B, n)."""
    ending, n = Ending.of_supports(batch), batch.n
    x = torch.zeros_like(batch.correlations) if start is None else start
    gradient = batch.correlations
    best = torch.full_like(batch.energy, torch.inf)
    best_support = torch.full_like(ending.answers, n)
    visited = batch.rows.new_zeros(len(batch), 0)
    step = best[:, None] if rule is None else batch.stack.steps(rule)[batch.owner, None]
    if start is not None:
        best_support = top_k(x, batch.k, batch.most)
        gradient = batch.gradient(best_support, take(x, best_support))
        coefficients = least_squares(batch, best_support)
        best = torch.where(x.any(1), batch.residual(best_support, coefficients), best)
        code = end(running(batch), best <= batch.zero(tol), CONVERGED)
        keep = ending.record(batch, code, best_support, 0)
        if keep is not None:
            batch, x, gradient = batch.only(keep), x[keep], gradient[keep]
            best, best_support = best[keep], best_support[keep]
            step, visited = step[keep], visited[keep]
    for iteration in range(1, max_iter + 1):
        if not len(batch):
            return ending
        code = running(batch)
        if rule is None:
            step, curvature = normalised_step(batch, gradient)
            code = end(code, ~(curvature > 0), CONVERGED)  # the gradient is zero
        x = x + step * gradient
        code = end(code, ~squared_norm(x).isfinite(), DIVERGED)
        support = top_k(x, batch.k, batch.most)
        mark = fingerprint(support, n)[:, None]
        seen = visited == mark
        code = end(code, seen[:, -1:].any(1), CONVERGED)
        code = end(code, seen.any(1), CYCLED)
        visited = torch.cat([visited, mark], dim=1)
        coefficients = least_squares(batch, support)
        squared = batch.residual(support, coefficients)
        better = (code < 0) & (squared < best)
        best = torch.where(better, squared, best)
        best_support = torch.where(better[:, None], support, best_support)
        code = end(code, better & (squared <= batch.zero(tol)), CONVERGED)
        gradient = batch.gradient(support, coefficients)
        x = spread(coefficients, support, n)
        keep = ending.record(batch, code, best_support, iteration)
        if keep is not None:
            batch, x, gradient = batch.only(keep), x[keep], gradient[keep]
            best, best_support = best[keep], best_support[keep]
            step, visited = step[keep], visited[keep]
    return ending.rest(batch, ITERATION_LIMIT, best_support, max_iter)


def normalised_step(batch: Batch, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return ||g_T||² / ||A g_T||², shape (B, 1), on the k largest |g|, and its denominator."""
    candidate = top_k(gradient, batch.k, batch.most)
    ascent = take(gradient, candidate)
    curvature = quadratic(batch, candidate, ascent)
    return (squared_norm(ascent) / curvature)[:, None], curvature


def quadratic(batch: Batch, support: Tensor, coefficients: Tensor) -> Tensor:
    """Return ||A_S v||² = vᴴA_Sᴴ A_S v, shape (B,)."""
    product = (batch.gram_block(support) @ coefficients[:, :, None])[:, :, 0]
    return inner(product, coefficients)
