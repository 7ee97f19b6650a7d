"""Super-resolution: the filters of deconvolution, with spikes on a finer grid than the samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsebench.problems.signals import AMPLITUDES, check_choice, check_snr, sparse_signal
from sparsebench.registry import problem
from sparsebench.types import FloatArray, InputError


@problem(
    "super-resolution",
    source="named as in Candès and Fernandez-Granda, Comm. Pure Appl. Math. 67, 2014, "
    "doi:10.1002/cpa.21455; the filter, the grid and the amplitudes are ours",
)
@dataclass(frozen=True)
class SuperResolution:
    """Spikes on a grid `factor` times finer than the samples of a Gaussian filter, n = factor m.

    Entry (i, j) is proportional to exp(-(i - j / factor)² / (2 width²)): atom j is a filter
    centred at j / factor samples, scaled to norm 1, nowhere cut off; outside of the m samples
    nothing is seen. Neighbouring atoms correlate at exp(-1 / (4 factor² width²)): .9931, .9983 at
    width 3 and factors 2, 4. One fixed dictionary; factor 1 is that of `deconvolution`.

    Parameters
    ----------
    factor : int
        Grid points a sample.
    width : float
        Standard deviation of the filter in samples, at least .1 so that atoms between two
        samples are seen.
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros: uniform on [-2, -1] ∪ [1, 2]; ±1; N(0, 1); ±1, ±1/2, ..., ±1/k;
        ±i^(-3/2), compressible; uniform on [1, 2].
    snr : float
        Signal-to-noise ratio ||A x||² / ||noise||² in dB, met exactly; inf is no noise.
    """

    factor: int = 2
    width: float = 3.0
    amplitudes: str = "uniform"
    snr: float = float("inf")

    fixed_dictionary = True
    ordered = True

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise InputError(f"super-resolution[factor=...] is at least 1, not {self.factor}")
        if not 0.1 <= self.width < np.inf:
            raise InputError(
                f"super-resolution[width=...] is a number of at least 0.1, not {self.width}"
            )
        check_choice("super-resolution", "amplitudes", self.amplitudes, tuple(AMPLITUDES))
        check_snr("super-resolution", self.snr)

    def measurements(self, n: int) -> int:
        """Return the m that belongs to n atoms."""
        return max(n // self.factor, 1)

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Return A, shape (m, n); `rng` is not used."""
        if n != self.factor * m:
            raise InputError(
                f"super-resolution[factor={self.factor}] needs n = {self.factor} m, "
                f"not m = {m}, n = {n}"
            )
        shifts = np.subtract.outer(np.arange(m), np.arange(n) / self.factor)
        filters = np.exp(-0.5 * (shifts / self.width) ** 2)
        return filters / np.linalg.norm(filters, axis=0)

    def signal(self, rng: np.random.Generator, n: int, k: int) -> FloatArray:
        """Draw x, shape (n,), with k non-zeros."""
        return sparse_signal(rng, n, k, self.amplitudes)
