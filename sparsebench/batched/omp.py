"""Twins of orthogonal matching pursuit and orthogonal least squares.

Floor of one problem: n k² flops and as many multiply-adds' bytes, 4nk², of the images, which are
read once a step (8nk bytes a problem, so that they leave every cache); 8nk of the Gram matrix;
about 20 launches a step, whatever the number of problems.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sparsebench.batched.batch import RUNNING, Batch, Ending, end, running
from sparsebench.batched.least_squares import LIMITS, refined
from sparsebench.batched.moduli import in_double, inner, squared_norm, squares
from sparsebench.solvers.endings import CONVERGED
from sparsebench.solvers.omp import select_orthogonal
from sparsebench.types import IntArray

# The Gram matrix does not separate an atom from the span of the others: another way is needed.
_DEPENDENT = 99


def omp(batch: Batch, *, tol: float) -> Ending:
    """Orthogonal matching pursuit, as `solvers.omp.omp`."""
    return _select(batch, tol, False)


def ols(batch: Batch, *, tol: float) -> Ending:
    """Orthogonal least squares, as `solvers.omp.ols`."""
    return _select(batch, tol, True)


def _select(batch: Batch, tol: float, normalise: bool) -> Ending:
    """As `_select` of `solvers.omp`: with p_1, p_2, ... the chosen atoms made orthogonal one after
    the other, row i of `images` is Aᴴp_i.
    """
    ending, n, limits = Ending.of_supports(batch), batch.n, LIMITS[batch.y.dtype.to_real()]
    whole, gram = batch, batch.stack.gram
    squared_norms = gram.diagonal(dim1=1, dim2=2).real
    correlation, squared = batch.correlations.clone(), batch.energy.clone()
    distances = squared_norms[batch.owner]
    support = torch.full_like(ending.answers, n)
    images = batch.y.new_empty(len(batch), batch.most, n)
    inverse_pivots = batch.energy.new_empty(len(batch), batch.most)
    # Below this the running residual has lost its digits to cancellation, or is beside the
    # tolerance: take it from A.
    doubtful = max(limits.lost, 1.01 * tol * tol)
    for i in range(batch.most):
        code = running(batch)
        small = torch.nonzero(squared <= doubtful * batch.energy)[:, 0]
        if len(small):
            code[small] = _solved(batch.only(small), support[small], i, tol)
        scores = correlation
        if normalise:
            scores, close = _scores(batch, correlation, distances, support[:, :i], limits.distance)
            code = end(code, close, _DEPENDENT)
        best = scores.abs().argmax(1, keepdim=True)
        value = correlation.gather(1, best)[:, 0]
        code = end(code, value == 0, CONVERGED)
        row = gram[batch.owner, best[:, 0]]
        diagonal = row.gather(1, best)[:, 0].real
        chosen = images[:, :i].gather(2, best[:, None].expand(-1, i, 1))[:, :, 0]
        shares = chosen.conj() * inverse_pivots[:, :i]
        pivot = diagonal - inner(chosen.conj(), shares)
        code = end(code, ~(pivot > limits.pivot * diagonal), _DEPENDENT)
        support[:, i] = torch.where(code == RUNNING, best[:, 0], n)
        code = end(code, batch.k == i + 1, CONVERGED)
        if i + 1 < batch.most:
            image = images[:, i]
            torch.baddbmm(row[:, None], shares[:, None], images[:, :i], alpha=-1, out=row[:, None])
            image.copy_(row)
            inverse_pivots[:, i] = 1.0 / pivot
            step = value * inverse_pivots[:, i]
            squared = squared - inner(step[:, None], value[:, None])
            correlation = correlation - step[:, None] * image
            if normalise:
                distances = distances - inverse_pivots[:, i, None] * squares(image)
            places = support[:, : i + 1].clamp(max=n - 1)
            correlation.scatter_(1, places, 0.0)
        keep = ending.record(batch, code, support, i + 1)
        if keep is not None:
            batch, support, images = batch.only(keep), support[keep], images[keep]
            correlation, squared, distances = correlation[keep], squared[keep], distances[keep]
            inverse_pivots = inverse_pivots[keep]
            if not len(batch):
                break
    return _finished(ending, whole, tol, normalise)


def _finished(ending: Ending, batch: Batch, tol: float, normalise: bool) -> Ending:
    """Sort the supports; solve anew those that the Gram matrix could not, and count the atoms."""
    sizes = (ending.answers < batch.n).sum(1)
    ending.answers = ending.answers.sort(dim=1).values
    for row in torch.nonzero(ending.code == _DEPENDENT)[:, 0].tolist():
        found = _orthogonally(batch, row, tol, normalise)
        ending.answers[row] = batch.n
        ending.answers[row, : len(found)] = torch.from_numpy(found).to(ending.answers)
        sizes[row], ending.code[row] = len(found), CONVERGED
    ending.n_iter = sizes
    return ending


def _solved(batch: Batch, support: Tensor, size: int, tol: float) -> Tensor:
    """Return the codes of problems: whether the residual on their first `size` atoms is zero."""
    support = support[:, : max(size, 1)]
    coefficients = refined(batch, support)
    remainder = in_double(batch.y) - (coefficients[:, None, :] @ batch.columns(support))[:, 0]
    return end(running(batch), squared_norm(remainder) <= batch.zero(tol), CONVERGED)


def _scores(
    batch: Batch, correlation: Tensor, distances: Tensor, support: Tensor, smallest: float
) -> tuple[Tensor, Tensor]:
    """Return the fall of the squared residual that each atom offers, and which problems have an
    atom too close to the span.
    """
    norms = batch.stack.gram.diagonal(dim1=1, dim2=2).real[batch.owner]
    distances.scatter_(1, support, torch.inf)
    close = ((distances < smallest * norms) & (norms > 0)).any(1)
    usable = (correlation != 0) & (norms > 0)
    return torch.where(usable, squares(correlation) / distances, 0.0), close


def _orthogonally(batch: Batch, row: int, tol: float, normalise: bool) -> IntArray:
    """Return the support of one problem, sorted, by the explicit projections of the kernel."""
    dictionary = batch.stack.dictionaries[int(batch.owner[row])]
    y = in_double(batch.y[row]).cpu().numpy()
    support = np.empty(int(batch.k[row]), dtype=np.intp)
    size = select_orthogonal(dictionary.atoms, y, tol, normalise, support)
    return np.sort(support[:size])
