"""Twin of approximate message passing.

Floor of an iteration of one problem: 4mn flops of two dense products; 16mn bytes of A, or that
over the number of problems that share it; about 25 launches.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparsebench.batched.batch import Batch, Ending, end, running
from sparsebench.batched.least_squares import refined
from sparsebench.batched.moduli import soft_slopes, soft_threshold, squared_norm
from sparsebench.batched.selection import support_of
from sparsebench.solvers.amp import EXPLAINED, MOST_SAMPLED, RUNAWAY
from sparsebench.solvers.endings import CONVERGED, DIVERGED, ITERATION_LIMIT
from sparsebench.theory import l1_limit, minimax_threshold


def amp(batch: Batch, *, max_iter: int, tol: float) -> Ending:
    """Approximate message passing, as `solvers.amp.amp`: the scores are x."""
    taus = torch.zeros_like(batch.energy)
    ending = _pass_messages(batch, max_iter, tol, taus)
    claimed = torch.nonzero(ending.code == CONVERGED)[:, 0]
    if len(claimed):
        found = _explained(batch.only(claimed), ending.answers[claimed], tol, taus[claimed])
        ending.code[claimed[~found]] = ITERATION_LIMIT
    return ending


def _explained(batch: Batch, scores: Tensor, tol: float, taus: Tensor) -> Tensor:
    """Whether least squares on the support found leaves no more than a converged run may."""
    support = support_of(scores, batch.k)
    left = batch.residual(support, refined(batch, support).to(scores.dtype))
    sampled = min(batch.m / batch.n, MOST_SAMPLED)
    promised = batch.k < batch.m * l1_limit(sampled, scores.is_complex())
    noise = EXPLAINED**2 * batch.m * taus.square()
    zero = batch.zero(tol)
    return left <= torch.where(promised, torch.maximum(zero, noise), zero)


def _pass_messages(batch: Batch, max_iter: int, tol: float, taus: Tensor) -> Ending:
    """Run the iteration; `taus` receives the last noise level that each problem assumed."""
    ending, m, n = Ending.of_scores(batch), batch.m, batch.n
    alpha = minimax_threshold(min(m / n, MOST_SAMPLED), batch.y.is_complex())
    norms = batch.stack.norms[batch.owner]
    scale = torch.where(norms > 0, 1.0 / norms, 0.0)
    x, z = torch.zeros_like(batch.correlations), batch.y
    first = batch.energy.sqrt() / math.sqrt(m)
    for t in range(max_iter + 1):
        tau = squared_norm(z).sqrt() / math.sqrt(m)
        code = end(running(batch), tau <= tol * first, CONVERGED)
        code = end(code, ~(tau <= RUNAWAY * first), DIVERGED)
        if t == max_iter:
            code = running(batch)
        keep = ending.record(batch, code, x, t)
        if keep is not None:
            batch, x, z, scale = batch.only(keep), x[keep], z[keep], scale[keep]
            first, tau = first[keep], tau[keep]
            if not len(batch):
                return ending
            batch = batch.packed()
        if t == max_iter:
            break
        taus[batch.rows] = tau
        old = torch.where(scale > 0, x / scale, 0.0)  # the coefficients of unit-norm columns
        moved = old + scale * batch.correlate(z)
        level = (alpha * tau)[:, None]
        shrunk = soft_threshold(moved, level)
        change, size = squared_norm(shrunk - old), squared_norm(shrunk)
        x = scale * shrunk
        slope = soft_slopes(shrunk, level)
        code = end(running(batch), change <= tol * tol * size, CONVERGED)
        keep = ending.record(batch, code, x, t + 1)
        if keep is not None:
            batch, x, z, scale = batch.only(keep), x[keep], z[keep], scale[keep]
            first, slope = first[keep], slope[keep]
            if not len(batch):
                return ending
            batch = batch.packed()
        z = batch.y - batch.image(x) + z * slope / m
    return ending.rest(batch, ITERATION_LIMIT, x, max_iter)
