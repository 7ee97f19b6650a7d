"""Twins of ISTA and FISTA for the Lasso.

Floor of an iteration of one problem: 2n² flops of the dense product with the Gram matrix (a sparse
one has no place in a product shared by problems); 8n² bytes of it, or 8n² over the number of
problems that share A; about 20 launches, and 60 more in every tenth iteration.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsebench.batched.batch import RUNNING, Batch, Ending, end, running
from sparsebench.batched.least_squares import LIMITS
from sparsebench.batched.moduli import inner, soft_threshold, squared_norm
from sparsebench.batched.selection import fingerprint, indices_of, spread, take
from sparsebench.solvers.endings import CONVERGED, DIVERGED, ITERATION_LIMIT
from sparsebench.solvers.ista import CHECK_EVERY, PATH_FACTOR, PATH_GAP
from sparsebench.types import InputError


def ista(batch: Batch, *, lam: float, step: str, max_iter: int, tol: float) -> Ending:
    """ISTA, as `solvers.ista.ista`: the scores are the minimisers x."""
    return _proximal_gradient(batch, lam, step, False, max_iter, tol)


def fista(batch: Batch, *, lam: float, max_iter: int, tol: float) -> Ending:
    """FISTA, as `solvers.ista.fista`."""
    return _proximal_gradient(batch, lam, "1/L", True, max_iter, tol)


def _proximal_gradient(
    batch: Batch, lam: float, rule: str, accelerate: bool, max_iter: int, tol: float
) -> Ending:
    if not 0 < lam < 1:
        raise InputError(f"lam is a fraction of ||Aᴴy||∞ in (0, 1), not {lam}")
    ending = Ending.of_scores(batch)
    largest = batch.correlations.abs().amax(1)
    level = lam * largest
    current = torch.maximum(level, PATH_FACTOR * largest)
    step = batch.stack.steps(rule)[batch.owner, None]
    x = point = torch.zeros_like(batch.correlations)
    momentum = torch.ones_like(level)
    tried = last = torch.zeros_like(batch.rows)
    for iteration in range(1, max_iter + 1):
        gradient = batch.correlations - batch.gram_times(point)
        code, answer = running(batch), x
        if iteration % CHECK_EVERY == 0:
            remainder = batch.y - batch.image(point)
            squared = squared_norm(remainder)
            code = end(code, ~squared.isfinite(), DIVERGED)
            objective, gap = _duality_gap(batch.y, point, remainder, squared, gradient, current)
            final = current == level
            reached = (code == RUNNING) & final & (gap <= tol * objective)
            answer = torch.where(reached[:, None], point, x)
            code = end(code, reached, CONVERGED)
            if not point.is_complex():  # whose phases would be unknowns, too
                pattern = _sign_pattern(point)
                trying = (code == RUNNING) & final & (pattern == last) & (pattern != tried)
                tried = torch.where(trying, pattern, tried)
                answer, code = _finish_on_signs(batch, trying, point, level, answer, code)
                last = pattern
            further = (current > level) & (gap <= PATH_GAP * objective)
            current = torch.where(further, torch.maximum(level, PATH_FACTOR * current), current)
            momentum = torch.where(further, 1.0, momentum)
        following = 0.5 * (1.0 + (1.0 + 4.0 * momentum.square()).sqrt())
        new = soft_threshold(point + step * gradient, step * current[:, None])
        if accelerate:
            uphill = inner(point - new, new - x) > 0
            weight = torch.where(uphill, 0.0, (momentum - 1.0) / following)[:, None]
            momentum = torch.where(uphill, 1.0, following)
            point, x = torch.lerp(x, new, (1.0 + weight).to(x.dtype)), new
        else:
            momentum, point, x = following, new, new
        keep = ending.record(batch, code, answer, iteration)
        if keep is not None:
            batch, x, point, momentum = batch.only(keep), x[keep], point[keep], momentum[keep]
            level, current, step = level[keep], current[keep], step[keep]
            tried, last = tried[keep], last[keep]
            if not len(batch):
                return ending
            batch = batch.packed()
    return ending.rest(batch, ITERATION_LIMIT, x, max_iter)


def _finish_on_signs(
    batch: Batch, trying: Tensor, point: Tensor, level: Tensor, answer: Tensor, code: Tensor
) -> tuple[Tensor, Tensor]:
    """Return answers and codes, of those `trying` the minimiser where it has the signs of x."""
    chosen = torch.nonzero(trying)[:, 0]
    if len(chosen):
        found, right = _solve_on_signs(batch.only(chosen), point[chosen], level[chosen])
        chosen = chosen[right]
        answer = answer.clone()
        answer[chosen] = found[right]
        code[chosen] = CONVERGED
    return answer, code


def _sign_pattern(point: Tensor) -> Tensor:
    """Return a 64-bit hash of each support with its signs."""
    count, n = point.shape
    places = torch.arange(n, device=point.device).expand(count, n)
    signed = torch.where(point > 0, 2 * places + 1, 2 * places)
    return fingerprint(torch.where(point != 0, signed, 2 * n), 2 * n)


def _solve_on_signs(batch: Batch, point: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return the minimisers that have these signs, and which of them are the minimisers."""
    n, inside = batch.n, point != 0
    sizes = inside.sum(1)
    fits = sizes <= batch.m
    most = int(torch.where(fits, sizes, 1).max())
    support = indices_of(inside & fits[:, None], max(most, 1))
    block = batch.gram_block(support)
    factor, info = torch.linalg.cholesky_ex(block)
    pivots = factor.diagonal(dim1=1, dim2=2).square() / block.diagonal(dim1=1, dim2=2)
    signs = take(point, support).sign()
    right = take(batch.correlations, support) - level[:, None] * signs
    solution = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
    same = ((solution * signs > 0) | (support == n)).all(1)
    slack = 1e-9 if level.dtype == torch.float64 else 1e-4
    gradient = batch.gradient(support, torch.where(same[:, None], solution, 0.0))
    optimal = gradient.abs().amax(1) <= level * (1.0 + slack)
    sound = (info == 0) & (pivots > LIMITS[level.dtype].pivot).all(1)
    return spread(solution, support, n), fits & sound & same & optimal


def _duality_gap(
    y: Tensor, x: Tensor, remainder: Tensor, squared: Tensor, gradient: Tensor, level: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (objective, gap) at x from its residual r, rᴴr and Aᴴr; the dual point is r scaled."""
    projection, correlation = inner(y, remainder), gradient.abs().amax(1)
    objective = 0.5 * squared + level * x.abs().sum(1)
    scale = torch.where(correlation > 0, level / correlation, 1.0).clamp(max=1.0)
    return objective, objective - (scale * projection - 0.5 * scale.square() * squared)
