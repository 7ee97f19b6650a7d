"""Twins of iterative hard thresholding with a fixed step, and normalised.

Floor of an iteration of one problem: 2nk flops (NIHT: and 2k² a trial step); 8nk bytes of the Gram
matrix and 24n of x, its order and the gradient; about 25 launches (NIHT: 60), whatever the number
of problems.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsebench.batched.batch import Batch, Ending, end, running
from sparsebench.batched.htp import quadratic
from sparsebench.batched.moduli import inner, squared_norm
from sparsebench.batched.selection import join, spread, take, top_k
from sparsebench.solvers.endings import CONVERGED, DIVERGED, ITERATION_LIMIT
from sparsebench.solvers.iht import RISE
from sparsebench.types import InputError


def iht(
    batch: Batch,
    start: Tensor | None = None,
    *,
    step: str,
    max_iter: int,
    tol: float,
    settled: float,
) -> Ending:
    """Iterative hard thresholding, as `solvers.iht.iht`."""
    ending, n = Ending.of_supports(batch), batch.n
    step_sizes = batch.stack.steps(step)[batch.owner, None]
    shortest = batch.stack.steps("1/L")[batch.owner, None]
    bounded = (shortest < step_sizes) & (step_sizes < 2.0 * shortest)
    safe = torch.where(bounded, shortest, step_sizes)
    rounding = max(RISE, 1e2 * torch.finfo(batch.y.dtype).eps)
    places = torch.arange(batch.most, device=batch.k.device)
    support = torch.where(places < batch.k[:, None], 0, n)
    coefficients = batch.y.new_zeros(support.shape)
    gradient = batch.correlations
    if start is not None:
        support = torch.where(start.any(1)[:, None], top_k(start, batch.k, batch.most), support)
        coefficients = take(start, support)
        gradient = batch.gradient(support, coefficients)
    x = spread(coefficients, support, n)
    squared, pace = _squared_residual(batch, gradient, support, coefficients), step_sizes
    for iteration in range(1, max_iter + 1):
        moved = x + pace * gradient
        code = end(running(batch), ~squared_norm(moved).isfinite(), DIVERGED)
        new = top_k(moved, batch.k, batch.most)
        coefficients = take(moved, new)
        new_gradient = batch.gradient(new, coefficients)
        new_squared = _squared_residual(batch, new_gradient, new, coefficients)
        rises = new_squared - squared > rounding * batch.energy
        again = ((pace > safe) & rises[:, None] & (code < 0)[:, None])[:, 0]
        done = _solves(batch, new_squared, new, coefficients, tol)
        new_x = spread(coefficients, new, n)
        done |= _settles(new_x, x, new, support, settled)
        support = torch.where(((code < 0) & ~again)[:, None], new, support)
        code = end(code, done & ~again, CONVERGED)
        x = torch.where(again[:, None], x, new_x)
        gradient = torch.where(again[:, None], gradient, new_gradient)
        squared = torch.where(again, squared, new_squared)
        pace = torch.where(again[:, None], safe, step_sizes)
        keep = ending.record(batch, code, support, iteration)
        if keep is not None:
            batch, x, gradient = batch.only(keep), x[keep], gradient[keep]
            support, step_sizes = support[keep], step_sizes[keep]
            squared, pace, safe = squared[keep], pace[keep], safe[keep]
            if not len(batch):
                return ending
    return ending.rest(batch, ITERATION_LIMIT, support, max_iter)


def niht(
    batch: Batch, *, max_iter: int, tol: float, settled: float, c: float, kappa: float
) -> Ending:
    """Normalised iterative hard thresholding, as `solvers.iht.niht`."""
    if not (0 < c < 1 and kappa * (1 - c) > 1):
        raise InputError(f"niht needs 0 < c < 1 and kappa > 1 / (1 - c), not c = {c}, {kappa=}")
    ending, n = Ending.of_supports(batch), batch.n
    gradient = batch.correlations
    x = torch.zeros_like(gradient)
    support = top_k(gradient, batch.k, batch.most)
    for iteration in range(1, max_iter + 1):
        ascent = take(gradient, support)
        curvature = quadratic(batch, support, ascent)
        # Where it is zero, the gradient vanishes on the support.
        code = end(running(batch), ~(curvature > 0), CONVERGED)
        step = squared_norm(ascent) / curvature
        moved = x + step[:, None] * gradient
        code = end(code, ~squared_norm(moved).isfinite(), DIVERGED)
        new = top_k(moved, batch.k, batch.most)
        trying = torch.nonzero((code < 0) & (new != support).any(1))[:, 0]
        while len(trying):
            part = batch.only(trying)
            candidate = take(moved[trying], new[trying])
            difference = spread(candidate, new[trying], n) - x[trying]
            both = join(new[trying], support[trying], n)
            move = take(difference, both)
            bound = (1.0 - c) * squared_norm(move)
            long = ~(step[trying] * quadratic(part, both, move) <= bound)
            trying = trying[long]
            step[trying] /= kappa * (1.0 - c)
            moved[trying] = x[trying] + step[trying, None] * gradient[trying]
            new[trying] = top_k(moved[trying], batch.k[trying], batch.most)
            trying = trying[(new[trying] != support[trying]).any(1)]
        coefficients = take(moved, new)
        gradient = batch.gradient(new, coefficients)
        new_x = spread(coefficients, new, n)
        squared = _squared_residual(batch, gradient, new, coefficients)
        done = _solves(batch, squared, new, coefficients, tol)
        done |= _settles(new_x, x, new, support, settled)
        support = torch.where((code < 0)[:, None], new, support)
        code, x = end(code, done, CONVERGED), new_x
        keep = ending.record(batch, code, support, iteration)
        if keep is not None:
            batch, x = batch.only(keep), x[keep]
            gradient, support = gradient[keep], support[keep]
            if not len(batch):
                return ending
    return ending.rest(batch, ITERATION_LIMIT, support, max_iter)


def _squared_residual(
    batch: Batch, gradient: Tensor, support: Tensor, coefficients: Tensor
) -> Tensor:
    """Return ||y - A x||² = yᴴy - Re xᴴAᴴy - Re xᴴg, with g the negative gradient at x."""
    both = take(batch.correlations, support) + take(gradient, support)
    return batch.energy - inner(coefficients, both)


def _solves(
    batch: Batch, squared: Tensor, support: Tensor, coefficients: Tensor, tol: float
) -> Tensor:
    """Whether ||y - A x|| <= tol ||y||; the residual itself is computed only where it may be so.

    Otherwise `squared`, that of `_squared_residual`, is exact enough.
    """
    doubtful = max(1e-8, 1e3 * torch.finfo(squared.dtype).eps, 1.01 * tol * tol)
    small = torch.nonzero(squared <= doubtful * batch.energy)[:, 0]
    found = torch.zeros_like(squared, dtype=torch.bool)
    if len(small):
        part = batch.only(small)
        found[small] = part.residual(support[small], coefficients[small]) <= part.zero(tol)
    return found


def _settles(x: Tensor, old: Tensor, support: Tensor, old_support: Tensor, limit: float) -> Tensor:
    """Whether ||x - x_old|| <= limit ||x|| on the same support."""
    limit = max(limit, 4 * torch.finfo(x.dtype).eps)
    change, size = squared_norm(x - old), squared_norm(x)
    return (support == old_support).all(1) & (change <= limit * limit * size)
