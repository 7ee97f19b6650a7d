"""Spike deconvolution: a coherent dictionary of shifted Gaussian filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sparsebench.problems.signals import AMPLITUDES, check_choice, check_snr, sparse_signal
from sparsebench.registry import problem
from sparsebench.types import FloatArray, InputError

if TYPE_CHECKING:
    from sparsebench.transforms import Toeplitz


@problem(
    "deconvolution",
    source="Mohamed, Malgouyres, Emiya and Chaux, ICML 2024, arXiv:2301.13584; "
    "the width, the boundary and the noise levels are ours",
)
@dataclass(frozen=True)
class Deconvolution:
    """Spikes seen through a Gaussian filter, m = n, unit-norm columns; one fixed dictionary.

    Entry (i, j) is proportional to exp(-(i - j)² / (2 width²)) over the whole grid: the filter
    is nowhere cut off. Neighbouring columns correlate at exp(-1 / (4 width²)): .7788, .9394,
    .9726 at widths 1, 2, 3.

    Parameters
    ----------
    width : float
        Standard deviation of the filter in samples.
    boundary : {"zero", "circulant"}
        Spikes near an end lose a part of their filter, or the grid wraps around.
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros: uniform on [-2, -1] ∪ [1, 2]; ±1; N(0, 1); ±1, ±1/2, ..., ±1/k;
        ±i^(-3/2), compressible; uniform on [1, 2].
    snr : float
        Signal-to-noise ratio ||A x||² / ||noise||² in dB, met exactly; inf is no noise.
    """

    width: float = 3.0
    boundary: str = "zero"
    amplitudes: str = "uniform"
    snr: float = float("inf")

    fixed_dictionary = True

    @property
    def ordered(self) -> bool:
        """Whether the atoms lie along a line; those of a circulant dictionary lie on a circle."""
        return self.boundary == "zero"

    def __post_init__(self) -> None:
        if not 0 < self.width < np.inf:
            raise InputError(f"deconvolution[width=...] is a positive number, not {self.width}")
        check_choice("deconvolution", "boundary", self.boundary, ("zero", "circulant"))
        check_choice("deconvolution", "amplitudes", self.amplitudes, tuple(AMPLITUDES))
        check_snr("deconvolution", self.snr)

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Return A, shape (n, n); `rng` is not used."""
        if m != n:
            raise InputError(f"deconvolution needs m = n, not m = {m}, n = {n}")
        filters = self._filter(np.abs(np.subtract.outer(np.arange(n), np.arange(n))))
        return filters / np.linalg.norm(filters, axis=0)

    def operator(self, rng: np.random.Generator, m: int, n: int) -> Toeplitz:
        """Return the same A, in its fast form."""
        from sparsebench.transforms import Toeplitz

        if m != n:
            raise InputError(f"deconvolution needs m = n, not m = {m}, n = {n}")
        column = self._filter(np.arange(n))
        return Toeplitz(column, column, unit=True)

    def _filter(self, shifts: NDArray[np.intp]) -> FloatArray:
        """Return the filter so many samples from its middle, on a grid of as many."""
        if self.boundary == "circulant":
            shifts = np.minimum(shifts, len(shifts) - shifts)
        with np.errstate(over="ignore"):  # a filter may be narrower than any sample
            return np.exp(-0.5 * (shifts / self.width) ** 2)

    def signal(self, rng: np.random.Generator, n: int, k: int) -> FloatArray:
        """Draw x, shape (n,), with k non-zeros."""
        return sparse_signal(rng, n, k, self.amplitudes)
