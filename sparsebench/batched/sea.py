"""Twin of the support exploration algorithm.

Floor of an iteration of one problem: 2nk + k³/3 flops; 8nk bytes of the Gram matrix, 8k² of its
block and 24n of X, its order and the gradient; about 35 launches, whatever the number of problems.
The residual, 2mk flops, is computed only where it may be the best one so far.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsebench.batched.batch import Batch, Ending, end, running
from sparsebench.batched.least_squares import least_squares
from sparsebench.batched.moduli import inner, squared_norm, squares
from sparsebench.batched.selection import take, top_k
from sparsebench.solvers.endings import CONVERGED, DIVERGED, ITERATION_LIMIT


def sea(
    batch: Batch, start: Tensor | None = None, *, step: str, max_iter: int, tol: float
) -> Ending:
    """Support exploration, as `solvers.sea.sea`."""
    ending = Ending.of_supports(batch)
    exploration = torch.zeros_like(batch.correlations) if start is None else start
    step_sizes = batch.stack.steps(step)[batch.owner, None]
    best = torch.full_like(batch.energy, torch.inf)
    best_support = torch.full_like(ending.answers, batch.n)
    for iteration in range(1, max_iter + 1):
        support = top_k(exploration, batch.k, batch.most)
        coefficients = least_squares(batch, support)
        hopeful = torch.nonzero(_may_improve(batch, support, coefficients, best))[:, 0]
        if len(hopeful):
            part = batch.only(hopeful)
            squared = part.residual(support[hopeful], coefficients[hopeful])
            better = squared < best[hopeful]
            hopeful = hopeful[better]
            best[hopeful] = squared[better]
            best_support[hopeful] = support[hopeful]
        code = end(running(batch), best <= batch.zero(tol), CONVERGED)
        exploration = exploration + step_sizes * batch.gradient(support, coefficients)
        code = end(code, ~squared_norm(exploration).isfinite(), DIVERGED)
        keep = ending.record(batch, code, best_support, iteration)
        if keep is not None:
            batch, exploration, step_sizes = batch.only(keep), exploration[keep], step_sizes[keep]
            best, best_support = best[keep], best_support[keep]
            if not len(batch):
                return ending
    return ending.rest(batch, ITERATION_LIMIT, best_support, max_iter)


def _may_improve(batch: Batch, support: Tensor, coefficients: Tensor, best: Tensor) -> Tensor:
    """Whether the residual may be below `best`, by yᴴy - xᴴAᴴy less its largest rounding error."""
    eps = torch.finfo(best.dtype).eps
    projection = inner(coefficients, take(batch.correlations, support))
    norms = batch.stack.gram.diagonal(dim1=1, dim2=2).real[
        batch.owner[:, None], support.clamp(max=batch.n - 1)
    ]
    rounding = 45 * eps * batch.k * (squares(coefficients) * norms).sum(1)
    return batch.energy - projection - rounding - 5e5 * eps * batch.energy < best
