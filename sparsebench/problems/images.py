"""Handwritten digits as signals: reading, checking and preprocessing the image sets."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.environment import need
from sparsebench.errors import InputError, nearest_name
from sparsebench.learned import dictionary_learning as learning
from sparsebench.seeding import digest, generator
from sparsebench.system.folders import cache_folder, check_cache, written_whole

Floats = NDArray[Any]

#: The image sets: scikit-learn's embedded 8 x 8 digits, and MNIST.
NAMES = ("digits", "mnist")

# SHA-256 of the four files of Y. LeCun, C. Cortes and C. Burges; the first two are needed here.
_MNIST = {
    f"{name}-ubyte.gz": checksum
    for name, checksum in (
        ("train-images-idx3", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("t10k-images-idx3", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("train-labels-idx1", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-labels-idx1", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    )
}
_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# Our choices, where the paper states none: the threshold below which an image is discarded (in
# units of the largest pixel value), and the split of the embedded digits.
LOW_DEVIATION = 0.05
_EMBEDDED_TRAINING, _EMBEDDED_SEED = 1500, 0
_SIDE = 16
_BYTE = 8  # the type code of unsigned bytes in an idx file


@dataclass(frozen=True)
class Images:
    """Preprocessed images, one a row: mean 0 and variance 1.

    Attributes
    ----------
    name : str
        One of `NAMES`.
    train, test : ndarray of float32, shapes (N, m) and (T, m)
    discarded : int
        Images of low deviation that were left out.
    origin : str
        Where they come from and what was done, in words.
    """

    name: str
    train: Floats
    test: Floats
    discarded: int
    origin: str

    @property
    def size(self) -> int:
        """Pixels m of an image."""
        return int(self.train.shape[1])


@cache
def load(name: str) -> Images:
    """Return an image set, preprocessed.

    ``digits``: the 1,797 images of 8 x 8 pixels that scikit-learn embeds (UCI, optical recognition
    of handwritten digits), 1,500 for training by a fixed permutation. ``mnist``: 70,000 images,
    resized from 28 x 28 to 16 x 16 by area, the first 60,000 for training; from
    ``$SPARSEBENCH_DATA/mnist/`` or downloaded once.

    Raises
    ------
    InputError
        If the name is unknown, or the data cannot be had.

    References
    ----------
    Preprocessing: Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016; the filter of the
    resizing and the threshold of low deviation are ours.
    """
    if name == "digits":
        datasets = need("sklearn.datasets", "scikit-learn")
        pixels = datasets.load_digits().images / 16.0
        order = generator({"split of": "digits", "seed": _EMBEDDED_SEED}).permutation(len(pixels))
        parts = pixels[order[:_EMBEDDED_TRAINING]], pixels[order[_EMBEDDED_TRAINING:]]
        origin = "8 x 8 digits embedded in scikit-learn (UCI)"
    elif name == "mnist":
        first, second = (read_idx(mnist_file(file)) for file in list(_MNIST)[:2])
        if first.shape != (60000, 28, 28) or second.shape != (10000, 28, 28):
            raise InputError(f"MNIST has 60,000 and 10,000 images, not {first.shape[0]:,}")
        parts = resize(first / np.float32(255), _SIDE), resize(second / np.float32(255), _SIDE)
        origin = "MNIST, resized to 16 x 16 by area"
    else:
        raise InputError(nearest_name(name, NAMES, "image set"))
    train, test = (normalise(part) for part in parts)
    discarded = sum(map(len, parts)) - len(train) - len(test)
    return Images(name, train, test, discarded, origin)


def normalise(pixels: Floats) -> Floats:
    """Return images as rows of mean 0 and variance 1, without those of low deviation.

    Parameters
    ----------
    pixels : ndarray, shape (N, side, side)
        In 0 .. 1; images whose standard deviation is below `LOW_DEVIATION` are discarded.
    """
    rows = pixels.reshape(len(pixels), -1).astype(np.float64)
    rows -= rows.mean(axis=1, keepdims=True)
    deviation = rows.std(axis=1, keepdims=True)
    kept = deviation[:, 0] >= LOW_DEVIATION
    return (rows[kept] / deviation[kept]).astype(np.float32)


def resize(pixels: Floats, side: int) -> Floats:
    """Return images (N, s, s) at (N, side, side): each new pixel is the mean over its area."""
    old = pixels.shape[1]
    edges = np.linspace(0, old, side + 1)
    cells = np.arange(old)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    weights = (np.clip(overlap, 0, None) * side / old).astype(pixels.dtype)
    resized: Floats = weights @ pixels @ weights.T
    return resized


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of a gzipped idx file of unsigned bytes, the format of MNIST.

    Raises
    ------
    InputError
        If the file is missing, truncated or of another kind.
    """
    again = f"delete it and get it again from {_MIRROR}{path.name}"
    try:
        with gzip.open(path) as stream:
            content = stream.read()
        zeros, kind, rank = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
    except FileNotFoundError:
        raise InputError(f"no file {path}; {_where(path.name)}") from None
    except (OSError, EOFError, struct.error, zlib.error):
        raise InputError(f"{path} is damaged or no gzipped idx file: {again}") from None
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
    if zeros or kind != _BYTE:
        raise InputError(f"{path} is no idx file of unsigned bytes: {again}")
    if data.size != np.prod(shape, dtype=np.int64):
        raise InputError(f"{path} is truncated: {again}")
    return data.reshape(shape)


def mnist_file(name: str) -> Path:
    """Return a file of MNIST with the right checksum, downloading it if it is nowhere.

    Raises
    ------
    InputError
        If it is damaged, or neither in ``$SPARSEBENCH_DATA/mnist/`` nor to be had by network.
    """
    folder = os.environ.get("SPARSEBENCH_DATA")
    if folder and (path := Path(folder) / "mnist" / name).exists():
        if hashlib.sha256(path.read_bytes()).hexdigest() != _MNIST[name]:
            raise InputError(
                f"{path} has a wrong checksum: delete it and get it again from {_MIRROR}{name}"
            )
        return path
    pooch = need("pooch", "pooch")
    pooch.get_logger().setLevel("ERROR")
    check_cache()
    try:
        found = pooch.retrieve(_MIRROR + name, _MNIST[name], name, cache_folder() / "mnist")
    except (OSError, ValueError) as error:  # no network; a wrong checksum
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"cannot download {name} ({reason}); {_where(name)}") from None
    return Path(found)


def _where(name: str) -> str:
    return (
        f"get it from {_MIRROR}{name} and put it into $SPARSEBENCH_DATA/mnist/, "
        "with SPARSEBENCH_DATA the folder of your data sets"
    )


def cached(recipe: Any, make: Callable[[], dict[str, Floats]]) -> dict[str, Floats]:
    """Return the arrays of a recipe from the cache, or make them and put them there.

    A file is whole at any moment; one that cannot be read is made again.
    """
    path = cache_folder() / f"{digest(recipe)[:24]}.npz"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        pass
    check_cache()
    arrays = make()
    with written_whole(path) as part, part.open("wb") as target:
        np.savez_compressed(target, **arrays)  # type: ignore[arg-type]
    return arrays


def learnt_dictionary(images: Images, atoms: int, seed: int, weight: float) -> dict[str, Floats]:
    """Return a dictionary learnt on the training images, from the cache if it is there.

    Returns
    -------
    dict of ndarray
        ``D``, shape (m, atoms), with atoms of norm 1; ``steps`` and ``objectives`` as in
        `dictionary_learning.Learnt`.

    Raises
    ------
    InputError
        If there are fewer images to learn from than atoms.
    """
    most = learning.most_atoms(len(images.train))
    if not 1 <= atoms <= most:
        raise InputError(f"{images.name} has {most:,} images to learn from, p is {atoms}")
    recipe = {"dictionary": 2, "images": images.name, "p": atoms, "seed": seed, "weight": weight}

    def make() -> dict[str, Floats]:
        found = learning.learn_dictionary(images.train, atoms, seed, weight)
        return {name: np.array(value) for name, value in vars(found).items()}

    return cached(recipe, make)
