"""The Gaussian problem of every phase-transition diagram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsebench.problems.signals import AMPLITUDES, check_choice, check_snr, sparse_signal
from sparsebench.registry import problem
from sparsebench.types import FloatArray, InputError


@problem(
    "gaussian",
    source="Donoho and Tsaig, IEEE Trans. Inf. Theory 54, 2008, doi:10.1109/TIT.2008.929958; "
    "settings of Mohamed, Malgouyres, Emiya and Chaux, ICML 2024, arXiv:2301.13584",
)
@dataclass(frozen=True)
class Gaussian:
    """I.i.d. N(0, 1) dictionary, a fresh one a trial; uniform support.

    Parameters
    ----------
    columns : {"raw", "unit"}
        Leave the columns as drawn (norms about sqrt(m)) or scale each to norm 1.
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros: uniform on [-2, -1] ∪ [1, 2]; ±1; N(0, 1); ±1, ±1/2, ..., ±1/k;
        ±i^(-3/2), compressible; uniform on [1, 2].
    snr : float
        Signal-to-noise ratio ||A x||² / ||noise||² in dB, met exactly; inf is no noise.
    """

    columns: str = "raw"
    amplitudes: str = "uniform"
    snr: float = float("inf")

    fixed_dictionary = False

    def __post_init__(self) -> None:
        check_choice("gaussian", "columns", self.columns, ("raw", "unit"))
        check_choice("gaussian", "amplitudes", self.amplitudes, tuple(AMPLITUDES))
        check_snr("gaussian", self.snr)

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Draw A, shape (m, n)."""
        if m > n:
            raise InputError(f"gaussian needs m <= n, not m = {m} > n = {n}")
        atoms = rng.standard_normal((n, m))
        if self.columns == "unit":
            atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
        return atoms.T

    def signal(self, rng: np.random.Generator, n: int, k: int) -> FloatArray:
        """Draw x, shape (n,), with k non-zeros."""
        return sparse_signal(rng, n, k, self.amplitudes)
