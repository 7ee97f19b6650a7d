"""Twins of exhaustive local search and of OMP with replacement.

Floor of an iteration of one problem. ELS: the terms of a support are computed anew after each swap,
4nk² + k³ flops (the kernel sweeps them, 15nk), and 24nk bytes of them, three times; about 60
launches. OMPR: 2nk + 2mk + k³/3 flops, 8nk + 8mk bytes, about 45 launches.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sparsebench.batched.batch import Batch, Ending, end, running
from sparsebench.batched.least_squares import _harmless, least_squares, polished
from sparsebench.batched.moduli import in_double, squared_norm, squares
from sparsebench.batched.omp import omp
from sparsebench.batched.selection import fingerprint, indices_of, members, take
from sparsebench.kernels.exchange import DEPENDENT, EXPLICIT, FALL
from sparsebench.solvers.endings import CONVERGED, CYCLED, ITERATION_LIMIT
from sparsebench.solvers.local_search import exchange_locally

# A problem that needs an orthogonal factorisation, and is finished by the kernel.
_HANDED_OVER = 99
# Bytes that the terms of one part of the batch may take.
_ROUND = 2**28


def ompr(
    batch: Batch, start: Tensor | None = None, *, step: str, max_iter: int, tol: float
) -> Ending:
    """OMP with replacement, as `solvers.local_search.ompr`."""
    ending, n = Ending.of_supports(batch), batch.n
    support = _first(batch, start, tol)
    sizes = batch.stack.steps(step)[batch.owner]
    best = torch.full_like(batch.energy, torch.inf)
    best_support = support
    visited = batch.rows.new_zeros(len(batch), 0)
    for iteration in range(max_iter + 1):
        coefficients = least_squares(batch, support)
        squared = batch.residual(support, coefficients)
        better = squared < best
        best = torch.where(better, squared, best)
        best_support = torch.where(better[:, None], support, best_support)
        code = end(running(batch), better & (squared <= batch.zero(tol)), CONVERGED)
        if iteration < max_iter:
            visited = torch.cat([visited, fingerprint(support, n)[:, None]], dim=1)
            gradient = batch.gradient(support, coefficients).masked_fill(members(support, n), 0.0)
            entering = gradient.abs().argmax(1, keepdim=True)
            value = gradient.gather(1, entering)[:, 0].abs()
            code = end(code, value == 0, CONVERGED)
            inside = support < n
            full = inside.sum(1) == batch.k
            magnitudes = coefficients.abs().masked_fill(~inside, torch.inf)
            smallest = magnitudes.amin(1)
            out = torch.where(full, magnitudes.argmin(1), inside.sum(1).clamp(max=batch.most - 1))
            code = end(code, full & (sizes * value <= smallest), CONVERGED)
        keep = ending.record(batch, code, best_support, iteration)
        if keep is not None:
            batch, support, best = batch.only(keep), support[keep], best[keep]
            best_support, visited, sizes = best_support[keep], visited[keep], sizes[keep]
            if not len(batch):
                return ending
        if iteration == max_iter:
            break
        if keep is not None:
            entering, out = entering[keep], out[keep]
        support = support.scatter(1, out[:, None], entering).sort(dim=1).values
        back = (visited == fingerprint(support, n)[:, None]).any(1)
        keep = ending.record(batch, end(running(batch), back, CYCLED), best_support, iteration + 1)
        if keep is not None:
            batch, support, best = batch.only(keep), support[keep], best[keep]
            best_support, visited, sizes = best_support[keep], visited[keep], sizes[keep]
            if not len(batch):
                return ending
    return ending.rest(batch, ITERATION_LIMIT, best_support, max_iter)


def els(batch: Batch, start: Tensor | None = None, *, max_iter: int, tol: float) -> Ending:
    """Exhaustive local search, as `solvers.local_search.els`.

    A problem whose support needs an orthogonal factorisation, or has fewer than k atoms and a
    residual, is finished by the kernel on the processor, from where it stands.
    """
    ending = Ending.of_supports(batch)
    whole, support = batch, _first(batch, start, tol)
    swaps = torch.zeros_like(batch.rows)
    squared, change, swapped, sound = _look(batch, support)
    short = (support < batch.n).sum(1) < batch.k
    code = end(running(batch), ~sound | (short & (squared > batch.zero(tol))), _HANDED_OVER)
    while True:
        code = end(code, squared <= batch.zero(tol), CONVERGED)
        code = end(code, swaps >= max_iter, ITERATION_LIMIT)
        promised = (squared + change).clamp(min=0.0)
        code = end(code, ~_fallen(promised, squared, batch.energy), CONVERGED)
        rows = batch.rows
        keep = ending.record(batch, code, support, 0)
        if keep is not None:
            ending.n_iter[rows[~keep]] = swaps[~keep]
            batch, support, swapped = batch.only(keep), support[keep], swapped[keep]
            squared, swaps = squared[keep], swaps[keep]
            if not len(batch):
                break
        new, change, following, sound = _look(batch, swapped)
        # Where the residual does not keep what the terms promised, the support stays.
        fell = sound & _fallen(new, squared, batch.energy)
        code = end(running(batch), ~fell, _HANDED_OVER)
        support = torch.where(fell[:, None], swapped, support)
        squared, swapped = torch.where(fell, new, squared), following
        swaps = swaps + fell.long()
    for row in torch.nonzero(ending.code == _HANDED_OVER)[:, 0].tolist():
        _finish(whole, row, ending, max_iter, tol)
    return ending


def _first(batch: Batch, start: Tensor | None, tol: float) -> Tensor:
    """Return the support of the start, or that of OMP."""
    if start is None:
        start = polished(batch, omp(batch, tol=tol).answers)
    return indices_of(start != 0, batch.most)


def _fallen(squared: Tensor, before: Tensor, energy: Tensor) -> Tensor:
    """Whether the squared residual is below the one before by more than rounding."""
    fall = max(FALL, 4 * torch.finfo(squared.dtype).eps)
    return squared.sqrt() < before.sqrt() - fall * energy.sqrt()


def _look(batch: Batch, support: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return of each support (||r||², change of the best swap, its support, soundness)."""
    size = max(1, int(_ROUND // (64 * support.shape[1] * batch.n + 1)))
    parts = torch.arange(len(batch), device=support.device).split(size)
    found = [_look_at(batch.only(part), support[part]) for part in parts]
    squared, change, swapped, sound = (torch.cat(each) for each in zip(*found, strict=True))
    return squared, change, swapped, sound


def _look_at(batch: Batch, support: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """With the terms of `kernels.exchange`, from a factorisation of the Gram block."""
    n, inside = batch.n, support < batch.n
    block = batch.gram_block(support)
    factor, info = torch.linalg.cholesky_ex(block)
    eye = torch.eye(support.shape[1], dtype=block.dtype, device=block.device).expand_as(block)
    inverse = torch.linalg.solve_triangular(factor, eye, upper=False)
    right = take(batch.correlations, support)
    x = (inverse.mH @ (inverse @ right[:, :, None]))[:, :, 0]
    sound = (info == 0) & _harmless(batch, block, factor, x, support)
    square = (inverse.mH @ inverse).diagonal(dim1=1, dim2=2).real
    rows = batch.stack.gram[batch.owner[:, None], support.clamp(max=n - 1)]
    rows = rows.masked_fill_(~inside[:, :, None], 0.0)
    images = inverse @ rows.conj()
    atoms = batch.columns(support).to(block.dtype)
    # One correction by H A_Sᴴ r, as the kernel makes.
    remainder = batch.y - (x[:, None] @ atoms)[:, 0]
    slope = atoms.conj() @ remainder[:, :, None]
    x = x + (inverse.mH @ (inverse @ slope))[:, :, 0]
    remainder = batch.y - (x[:, None] @ atoms)[:, 0]
    squared = squared_norm(remainder)
    gradient = batch.correlate(remainder)
    norms = batch.stack.gram.diagonal(dim1=1, dim2=2).real[batch.owner]
    distances = norms - squared_norm(images)
    close = ~(distances > EXPLICIT * norms) & ~members(support, n) & sound[:, None]
    if bool(close.any()):
        _measure(batch, atoms, inverse, images, remainder, close, distances, gradient)
    closed = members(support, n) | ~(distances > 0)
    distances = distances.masked_fill(closed, 1e300 if norms.dtype == torch.float64 else 1e30)
    gradient = gradient.masked_fill(closed, 0.0)
    duals = inverse.mH @ images
    share = (1.0 / square)[:, :, None]
    moved = gradient[:, None] + 2.0 * x[:, :, None] * share * duals.conj()
    gain = (gradient[:, None].conj() * moved).real
    loss = squares(x)[:, :, None] * share
    change = (loss * distances[:, None] - gain) / (distances[:, None] + share * squares(duals))
    change = change.masked_fill_(~inside[:, :, None] | closed[:, None], torch.inf).flatten(1)
    least, place = change.amin(1), change.argmin(1)
    out = torch.div(place, n, rounding_mode="floor")
    swapped = support.scatter(1, out[:, None], (place % n)[:, None]).sort(dim=1).values
    return squared, least, swapped, sound


def _measure(
    batch: Batch,
    atoms: Tensor,
    inverse: Tensor,
    images: Tensor,
    remainder: Tensor,
    close: Tensor,
    distances: Tensor,
    gradient: Tensor,
) -> None:
    """Project the atoms `close` to the span explicitly, three times: their d, g and images."""
    n = batch.n
    chosen = torch.nonzero(close.any(1))[:, 0]
    near = indices_of(close[chosen], int(close.sum(1).max()))
    basis = inverse[chosen].conj() @ atoms[chosen]
    projected = batch.only(chosen).columns(near).to(atoms.dtype)
    total = torch.zeros_like(projected @ basis.mH)
    for _ in range(3):
        shares = projected @ basis.mH
        projected = projected - shares @ basis
        total = total + shares
    length = squares(projected).sum(2)
    inside = near.clamp(max=n - 1)
    norms = batch.stack.gram.diagonal(dim1=1, dim2=2).real[batch.owner[chosen][:, None], inside]
    smallest = max(DEPENDENT, torch.finfo(atoms.dtype).eps ** 2)
    length = torch.where(length > smallest * norms, length, 0.0)
    slope = (projected.conj() @ remainder[chosen][:, :, None])[:, :, 0]
    p, j = torch.nonzero(near < n, as_tuple=True)
    row, atom = chosen[p], near[p, j]
    distances[row, atom] = length[p, j]
    gradient[row, atom] = slope[p, j]
    images[row, :, atom] = total[p, j]


def _finish(batch: Batch, row: int, ending: Ending, max_iter: int, tol: float) -> None:
    """Let the kernel go on with one problem from its support."""
    dictionary = batch.stack.dictionaries[int(batch.owner[row])]
    y = in_double(batch.y[row]).cpu().numpy()
    support = ending.answers[row]
    first = support[support < batch.n].cpu().numpy().astype(np.intp)
    done, k = int(ending.n_iter[row]), int(batch.k[row])
    tol = max(tol, 32 * torch.finfo(batch.y.dtype).eps)
    found, size, swaps, code = exchange_locally(
        dictionary.atoms, dictionary.gram, y, k, first, max(max_iter - done, 0), tol
    )
    ending.answers[row] = batch.n
    ending.answers[row, :size] = torch.from_numpy(np.sort(found[:size])).to(ending.answers)
    ending.n_iter[row] = done + swaps
    ending.code[row] = code
