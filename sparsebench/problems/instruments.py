"""Dictionaries of instruments, in small: beams through pixels, spectra, an array of sensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsebench.problems.signals import AMPLITUDES, check_choice, check_snr, sparse_signal
from sparsebench.registry import problem
from sparsebench.seeding import generator
from sparsebench.types import FloatArray, InputError


@problem(
    "steering",
    source="sparse direction finding: Malioutov, Çetin and Willsky, IEEE Trans. Signal Process. "
    "53, 2005, doi:10.1109/TSP.2005.850882",
)
@dataclass(frozen=True)
class Steering:
    """Far-field sources seen by a uniform linear array, on a grid finer than its resolution.

    m sensors half a wavelength apart, n directions spread evenly over the sine of the angle,
    u_j = -1 + 2j / n: entry (l, j) is exp(πi l u_j) / √m. The array resolves 2 / m in u, that is
    n / m neighbours on the grid, whose atoms are very coherent. Complex; one fixed dictionary.

    Parameters
    ----------
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros, as of `fourier`: one snapshot, uniform phases.
    snr : float
        Signal-to-noise ratio in dB; inf is no noise.
    """

    amplitudes: str = "uniform"
    snr: float = float("inf")

    fixed_dictionary = True
    ordered = True
    complex_numbers = True

    def __post_init__(self) -> None:
        check_choice("steering", "amplitudes", self.amplitudes, tuple(AMPLITUDES))
        check_snr("steering", self.snr)

    def measurements(self, n: int) -> int:
        """Return the sensors of an array whose resolution is four steps of the grid."""
        return max(n // 4, 1)

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Return A, shape (m, n); `rng` is not used."""
        directions = 2 * np.arange(n) - n  # n u_j
        turns = np.arange(m)[:, np.newaxis] * directions % (2 * n)
        return np.exp(1j * np.pi / n * turns) / np.sqrt(m)

    def signal(self, rng: np.random.Generator, n: int, k: int) -> FloatArray:
        """Draw x, shape (n,), with k non-zeros."""
        return sparse_signal(rng, n, k, self.amplitudes, complex_numbers=True)


@problem(
    "tomography",
    source="parallel beams through square pixels: Siddon, Med. Phys. 12, 1985, "
    "doi:10.1118/1.595715",
)
@dataclass(frozen=True)
class Tomography:
    """Lengths of parallel beams in the pixels of a square grid; one fixed dictionary.

    n = s² pixels of side 1, row by row; s beams through each of m / s directions, spread evenly
    over the half circle from 0 on, at distances .., -1/2, 1/2, .. from the centre. Columns are
    scaled to norm 1. A pixel in a corner that no beam meets would be lost: there must be a beam in
    direction 0, which meets all.

    Parameters
    ----------
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros, as of `gaussian`; bright spots on nothing by default.
    snr : float
        Signal-to-noise ratio in dB; inf is no noise.
    """

    amplitudes: str = "positive"
    snr: float = float("inf")

    fixed_dictionary = True

    def __post_init__(self) -> None:
        check_choice("tomography", "amplitudes", self.amplitudes, tuple(AMPLITUDES))
        check_snr("tomography", self.snr)

    def measurements(self, n: int) -> int:
        """Return the beams of half as many directions as there are pixels along a side."""
        side = _side(n)
        return side * max(side // 2, 1)

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Return A, shape (m, n); `rng` is not used."""
        side = _side(n)
        if m % side:
            raise InputError(
                f"tomography of {side} x {side} pixels needs m = {side} directions, "
                f"a multiple of {side}, not m = {m}"
            )
        A = np.concatenate([beams(side, np.pi * i * side / m) for i in range(m // side)])
        return A / np.linalg.norm(A, axis=0)

    def signal(self, rng: np.random.Generator, n: int, k: int) -> FloatArray:
        """Draw x, shape (n,), with k non-zeros."""
        return sparse_signal(rng, n, k, self.amplitudes)


def _side(n: int) -> int:
    side = int(np.sqrt(n))
    if side * side != n:
        raise InputError(f"tomography needs n a square, as {side**2} or {(side + 1) ** 2}, not {n}")
    return side


def beams(side: int, angle: float) -> FloatArray:
    """Return the lengths of parallel beams in the pixels of a square grid.

    Parameters
    ----------
    side : int
        Pixels along a side, and beams.
    angle : float
        Of the beams' direction to the columns of the grid, in radians.

    Returns
    -------
    ndarray, shape (side, side²)
        Row i is the beam at distance i - (side - 1) / 2 from the centre, pixels row by row.
    """
    half = side / 2
    along, across = (-np.sin(angle), np.cos(angle)), (np.cos(angle), np.sin(angle))
    lines = np.arange(side + 1) - half
    A = np.zeros((side, side * side))
    for i, distance in enumerate(np.arange(side) - (side - 1) / 2):
        start = np.array(across) * distance
        cuts = [(lines - s) / d for s, d in zip(start, along, strict=True) if abs(d) > 1e-12]
        steps = np.unique(np.concatenate(cuts))
        middles = (steps[1:] + steps[:-1]) / 2
        columns, rows = (
            np.floor(s + middles * d + half).astype(int) for s, d in zip(start, along, strict=True)
        )
        inside = (columns >= 0) & (columns < side) & (rows >= 0) & (rows < side)
        np.add.at(A[i], rows[inside] * side + columns[inside], np.diff(steps)[inside])
    return A


@problem(
    "unmixing",
    source="sparse unmixing: Iordache, Bioucas-Dias and Plaza, IEEE Trans. Geosci. Remote Sens. "
    "49, 2011, doi:10.1109/TGRS.2010.2098413; the law of the spectra is ours",
)
@dataclass(frozen=True)
class Unmixing:
    """A library of smooth reflectances in [0, 1], a measurement a wavelength; one fixed dictionary.

    Reflectance j at wavelength t in [0, 1] is h Π_b (1 - d_b exp(-(t - c_b)² / (2 w_b²))), with h
    uniform on [.3, 1] and five absorption bands: depths d_b uniform on [.1, .6], centres c_b on
    [0, 1], widths w_b log-uniform on [.01, .2]. All entries are positive, so that atoms are nearly
    parallel; columns are left as they are.

    Parameters
    ----------
    draw : int
        Which of the libraries of this law.
    amplitudes : {"uniform", "signs", "normal", "decaying", "compressible", "positive"}
        Law of the non-zeros, as of `gaussian`; abundances are positive by default.
    snr : float
        Signal-to-noise ratio in dB; inf is no noise.
    """

    draw: int = 0
    amplitudes: str = "positive"
    snr: float = float("inf")

    fixed_dictionary = True

    def __post_init__(self) -> None:
        check_choice("unmixing", "amplitudes", self.amplitudes, tuple(AMPLITUDES))
        check_snr("unmixing", self.snr)

    def measurements(self, n: int) -> int:
        """Return the number of wavelengths: as many as materials."""
        return n

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Return A, shape (m, n); `rng` is not used. Fewer wavelengths are spread as evenly."""
        own = generator({"problem": "unmixing", "draw": self.draw, "n": n})
        heights = own.uniform(0.3, 1.0, n)
        depths, centres = own.uniform(0.1, 0.6, (5, n)), own.uniform(0.0, 1.0, (5, n))
        widths = np.exp(own.uniform(np.log(0.01), np.log(0.2), (5, n)))
        t = np.linspace(0.0, 1.0, m)[:, None, None]
        bands = 1.0 - depths * np.exp(-0.5 * ((t - centres) / widths) ** 2)
        spectra: FloatArray = heights * bands.prod(axis=1)
        return spectra

    def signal(self, rng: np.random.Generator, n: int, k: int) -> FloatArray:
        """Draw x, shape (n,), with k non-zeros."""
        return sparse_signal(rng, n, k, self.amplitudes)
