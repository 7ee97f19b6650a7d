"""Handwritten digits: a dictionary learnt from images, and the sparse codes of other images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sparsebench.learned.optimal_codes import Rule, hard_codes, l1_codes, squared_norm
from sparsebench.problems import images
from sparsebench.problems.signals import check_choice, check_snr
from sparsebench.registry import problem
from sparsebench.types import FloatArray, InputError

_PIXELS = {"digits": 64, "mnist": 256}
# The l1 penalty of the dictionary's learning and of the codes that start; its seed.
_WEIGHT, _SEED = 0.5, 0


@problem(
    "digits",
    source="images and preprocessing of Wang, Ling and Huang, AAAI 2016; the dictionary's learning "
    "(Mairal, Bach, Ponce and Sapiro, JMLR 11, 2010) and the codes' sparsity are ours",
    version="2",
)
@dataclass(frozen=True)
class Digits:
    """Codes of handwritten digits on a dictionary learnt from such images; one fixed dictionary.

    The dictionary has unit-norm atoms and is learnt on training images. x is the code with k
    non-zeros of a random test image: the end of hard thresholding from an l1 start, so that
    supports and amplitudes are those of images, not uniform; and y = A x, not the image itself.
    Algorithms that threshold meet codes of their own making here.

    Parameters
    ----------
    images : {"digits", "mnist"}
        scikit-learn's embedded 8 x 8 digits (m = 64), or MNIST at 16 x 16 (m = 256).
    snr : float
        Signal-to-noise ratio ||A x||² / ||noise||² in dB, met exactly; inf is no noise.
    """

    images: str = "digits"
    snr: float = float("inf")

    fixed_dictionary = True

    def __post_init__(self) -> None:
        check_choice("digits", "images", self.images, images.NAMES)
        check_snr("digits", self.snr)

    def measurements(self, n: int) -> int:
        """Return the number of pixels, whatever n."""
        return _PIXELS[self.images]

    def dictionary(self, rng: np.random.Generator, m: int, n: int) -> FloatArray:
        """Return A, shape (m, n); `rng` is not used."""
        if m != _PIXELS[self.images]:
            raise InputError(
                f"digits[images={self.images}] needs m = {_PIXELS[self.images]}, not m = {m}"
            )
        return _dictionary(self.images, n)[0]

    def signal(self, rng: np.random.Generator, n: int, k: int) -> FloatArray:
        """Return the code x, shape (n,), of a random test image."""
        D, norm = _dictionary(self.images, n)
        test = images.load(self.images).test
        image = test[rng.integers(len(test)), None]
        start, _ = l1_codes(D, image, _WEIGHT)
        x = hard_codes(D, image, Rule(size=k), 1 / norm, start).codes[0]
        return x.astype(np.float64)


@lru_cache(maxsize=4)
def _dictionary(name: str, n: int) -> tuple[FloatArray, float]:
    D = images.learnt_dictionary(images.load(name), n, _SEED, _WEIGHT)["D"]
    return D, squared_norm(D)
