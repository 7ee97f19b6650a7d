"""Many problems on a device: their dictionaries, their signals, and the products of the two.

Shapes: D dictionaries, B problems, m measurements, n atoms, K the largest sparsity of the batch. A
support is an int64 tensor of shape (B, any), its indices in increasing order, filled up with n
where a problem has fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from sparsebench.batched.moduli import in_double, squared_norm, squares
from sparsebench.solvers.steps import step_size
from sparsebench.types import Dictionary, times_power_of_two

# The fields of a `Batch` that have a row for each problem.
_OF_EACH = ("owner", "y", "k", "rows", "correlations")
# A problem that goes on; the other codes are those of `solvers.endings`.
RUNNING = -1


class Stack:
    """Dictionaries of one shape on a device, each scaled by a power of two to entries of order 1.

    Parameters
    ----------
    dictionaries : sequence of Dictionary
        D of them, each of shape (m, n).
    device : torch.device
    dtype : torch.dtype
        float64 or float32, or the complex numbers of two such.
    """

    def __init__(
        self, dictionaries: Sequence[Dictionary], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.dictionaries = list(dictionaries)
        tops = [float(np.abs(d.atoms).max()) for d in dictionaries]
        #: powers of two that were taken out of each dictionary, shape (D,)
        self.exponents = np.frexp(tops)[1]
        pairs = zip(dictionaries, self.exponents, strict=True)
        scaled = np.stack([times_power_of_two(d.atoms, -e) for d, e in pairs])
        #: (D, n, m): row j of each is atom j
        self.atoms = torch.from_numpy(scaled).to(device, dtype)

    @cached_property
    def gram(self) -> Tensor:
        """Shape (D, n, n): row j of each is Aᴴ a_j, which is column j of AᴴA."""
        return self.atoms @ self.atoms.mH

    @cached_property
    def norms(self) -> Tensor:
        """Euclidean norm of every atom, shape (D, n)."""
        return squares(self.atoms).sum(2).sqrt()

    def steps(self, rule: str) -> Tensor:
        """Return the step that `rule` means on each (scaled) dictionary, shape (D,)."""
        sizes = [step_size(rule, dictionary) for dictionary in self.dictionaries]
        scaled = torch.from_numpy(np.ldexp(sizes, 2 * self.exponents))
        return scaled.to(self.atoms.device, self.atoms.dtype.to_real())

    def subset(self, kept: Tensor) -> Stack:
        """Return the stack of those dictionaries, in this order."""
        part = object.__new__(Stack)
        part.dictionaries = [self.dictionaries[i] for i in kept.tolist()]
        part.exponents = self.exponents[kept.cpu().numpy()]
        part.atoms = self.atoms[kept]
        if "gram" in self.__dict__:
            part.__dict__["gram"] = self.gram[kept]
        return part


@dataclass
class Batch:
    """Problems that are being solved; those that are finished leave it.

    Attributes
    ----------
    stack : Stack
    owner : Tensor of int64, shape (B,)
        The dictionary of each problem.
    y : Tensor, shape (B, m)
    k : Tensor of int64, shape (B,)
    most : int
        K: the largest of `k` at the start.
    rows : Tensor of int64, shape (B,)
        Which of the problems at the start each is.
    correlations : Tensor, shape (B, n)
        Aᴴy.
    """

    stack: Stack
    owner: Tensor
    y: Tensor
    k: Tensor
    most: int
    rows: Tensor
    correlations: Tensor

    @classmethod
    def start(cls, stack: Stack, owner: Tensor, y: Tensor, k: Tensor) -> Batch:
        """Return the batch of all problems."""
        rows = torch.arange(len(y), device=y.device)
        batch = cls(stack, owner, y, k, int(k.max()), rows, y)
        batch.correlations = batch.correlate(y)
        return batch

    def __len__(self) -> int:
        return len(self.y)

    @property
    def m(self) -> int:
        """Measurements."""
        return self.stack.atoms.shape[2]

    @property
    def n(self) -> int:
        """Atoms."""
        return self.stack.atoms.shape[1]

    @cached_property
    def energy(self) -> Tensor:
        """||y||², shape (B,)."""
        return squared_norm(self.y)

    def zero(self, tol: float) -> Tensor:
        """Return the squared residual that counts as zero, shape (B,).

        A relative residual below 32 rounding errors of the precision cannot be asked for.
        """
        tol = max(tol, 32 * torch.finfo(self.y.dtype).eps)
        return tol * tol * self.energy

    def only(self, keep: Tensor) -> Batch:
        """Return the problems where `keep`, shape (B,), says so; also takes indices."""
        kept = {name: getattr(self, name)[keep] for name in _OF_EACH}
        return replace(self, **kept)

    def gradient(self, support: Tensor, coefficients: Tensor) -> Tensor:
        """Return Aᴴ(y - A_S c) = Aᴴy - AᴴA c from k rows of the Gram matrix, shape (B, n)."""
        return self.correlations - self._combine(self.stack.gram, support, coefficients)

    def _combine(self, tables: Tensor, support: Tensor, coefficients: Tensor) -> Tensor:
        """Return Σ_j c_j row_j of each problem's own table; every row is read once, none copied.

        Padding must come with coefficients of zero.
        """
        flat = self.owner[:, None] * self.n + support.clamp(max=self.n - 1)
        rows = tables.flatten(0, 1)
        if not rows.is_complex():
            return embedding_bag(flat, rows, mode="sum", per_sample_weights=coefficients)
        # A table of real and imaginary parts in turn, summed with the two parts of the weights.
        parts = torch.view_as_real(rows).flatten(1)
        real, imaginary = (
            embedding_bag(flat, parts, mode="sum", per_sample_weights=weights.contiguous())
            for weights in (coefficients.real, coefficients.imag)
        )
        turned = torch.view_as_complex(imaginary.unflatten(1, (-1, 2))) * 1j
        return torch.view_as_complex(real.unflatten(1, (-1, 2))) + turned

    def residual(self, support: Tensor, coefficients: Tensor) -> Tensor:
        """Return ||y - A_S c||² from A and y, shape (B,)."""
        return squared_norm(self.y - self._combine(self.stack.atoms, support, coefficients))

    def gram_block(self, support: Tensor) -> Tensor:
        """Return A_Sᴴ A_S, shape (B, any, any), with the identity on the padding."""
        padding = support == self.n
        inside = support.clamp(max=self.n - 1)
        rows, columns = inside[:, :, None], inside[:, None, :]
        block = self.stack.gram[self.owner[:, None, None], rows, columns].conj().resolve_conj()
        block.masked_fill_(padding[:, :, None] | padding[:, None, :], 0.0)
        block.diagonal(dim1=1, dim2=2).masked_fill_(padding, 1.0)
        return block

    def columns(self, support: Tensor) -> Tensor:
        """Return the atoms of a support in double, shape (B, any, m), zero on the padding."""
        inside = support.clamp(max=self.n - 1)
        atoms = in_double(self.stack.atoms[self.owner[:, None], inside])
        return atoms.masked_fill_((support == self.n)[:, :, None], 0.0)

    def correlate(self, v: Tensor) -> Tensor:
        """Return Aᴴv, shape (B, n), for any v, shape (B, m)."""
        return self._multiply(v, self.stack.atoms.mH)

    def image(self, x: Tensor) -> Tensor:
        """Return A x, shape (B, m), for a dense x, shape (B, n)."""
        return self._multiply(x, self.stack.atoms)

    def gram_times(self, x: Tensor) -> Tensor:
        """Return AᴴA x, shape (B, n), for a dense x, shape (B, n)."""
        return self._multiply(x, self.stack.gram)

    def _multiply(self, v: Tensor, matrices: Tensor) -> Tensor:
        """Return each row of `v` times its own matrix: one product for all that share it."""
        if len(matrices) == 1:
            return v @ matrices[0]
        slot, most = self._slots
        grouped = v.new_zeros(len(matrices), most, v.shape[1])
        grouped[self.owner, slot] = v
        return (grouped @ matrices)[self.owner, slot]

    @cached_property
    def _slots(self) -> tuple[Tensor, int]:
        """The position of each problem among those of its dictionary, and the largest number."""
        counts = torch.bincount(self.owner, minlength=len(self.stack.atoms))
        order = torch.argsort(self.owner, stable=True)
        first = counts.cumsum(0) - counts
        slot = torch.empty_like(order)
        slot[order] = torch.arange(len(order), device=order.device) - first[self.owner[order]]
        return slot, int(counts.max())

    def packed(self) -> Batch:
        """Return the batch without the dictionaries that no problem has any more.

        For loops with products by whole dictionaries. Copies, and so only when half are idle.
        """
        used = torch.unique(self.owner)
        if 2 * len(used) > len(self.stack.atoms):
            return self
        owner = torch.searchsorted(used, self.owner)
        return replace(self, stack=self.stack.subset(used), owner=owner)


class Ending:
    """What a loop returns: for each problem of the batch at the start how, when and where it ended.

    Parameters
    ----------
    batch : Batch
    answer : Tensor
        Shape (any,) and value of the answer of a problem that has none.
    """

    def __init__(self, batch: Batch, answer: Tensor) -> None:
        count, device = len(batch), batch.y.device
        #: supports, shape (B, K), or scores, shape (B, n)
        self.answers = answer.expand(count, -1).clone()
        self.n_iter = torch.zeros(count, dtype=torch.int64, device=device)
        self.code = torch.full((count,), RUNNING, dtype=torch.int64, device=device)

    @classmethod
    def of_supports(cls, batch: Batch) -> Ending:
        """Return one whose answers are supports, empty so far."""
        return cls(batch, torch.full((batch.most,), batch.n, device=batch.y.device))

    @classmethod
    def of_scores(cls, batch: Batch) -> Ending:
        """Return one whose answers are scores of all atoms, zero so far."""
        return cls(batch, batch.y.new_zeros(batch.n))

    def record(self, batch: Batch, code: Tensor, answers: Tensor, n_iter: int) -> Tensor | None:
        """Write down the problems whose code is not `RUNNING`.

        Returns
        -------
        Tensor of bool or None
            Which problems go on; None where all do.
        """
        keep = code == RUNNING
        if bool(keep.all()):
            return None
        done = ~keep
        rows = batch.rows[done]
        self.answers[rows, : answers.shape[1]] = answers[done].to(self.answers.dtype)
        self.n_iter[rows] = n_iter
        self.code[rows] = code[done]
        return keep

    def rest(self, batch: Batch, code: int, answers: Tensor, n_iter: int) -> Ending:
        """Write down all problems that are left, and return itself."""
        self.record(batch, torch.full_like(batch.rows, code), answers, n_iter)
        return self


def running(batch: Batch) -> Tensor:
    """Return codes that say that every problem goes on."""
    return torch.full_like(batch.rows, RUNNING)


def end(code: Tensor, where: Tensor, how: int) -> Tensor:
    """Return the codes with `how` for the running problems `where`."""
    return torch.where((code == RUNNING) & where, how, code)
