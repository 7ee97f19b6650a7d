"""Labelled samples for classification and clustering: reading, checking, splitting and scaling."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from sparsebench.environment import need
from sparsebench.errors import InputError, nearest_name
from sparsebench.problems.images import mnist_file, read_idx
from sparsebench.seeding import generator

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

#: Data sets with the number of their features and classes, which need no file to be known.
SIZES = {
    "digits": (64, 10),
    "mnist": (784, 10),
    "indian-pines": (200, 16),
    "coil20": (1024, 20),
    "pie": (1024, 68),
}
_DENG_CAI = "http://www.cad.zju.edu.cn/home/dengcai/Data/MLData.html"
# Of each file: its folder below $SPARSEBENCH_DATA, where to get it, its SHA-256.
_FILES = {
    "COIL20.mat": (
        "coil20",
        _DENG_CAI,
        "2a35c105dbb327492b90389e55612bcbf39187bc7c408252239903e4ce7d6958",
    ),
    "PIE_pose27.mat": (
        "cmu_pie",
        _DENG_CAI,
        "035fdd73d5f4234d958b3c88f20bd8aae3871080246139896a23e61487134680",
    ),
    "Indian_pines_corrected.npy": (
        "indian_pines",
        "the wheel of tensorly 0.10.0 (pip install tensorly==0.10.0)",
        "8f038e4d81569e38ebfc72a15c9984c150de42580ab260be10a13442e912e451",
    ),
    "Indian_pines_gt.npy": (
        "indian_pines",
        "the wheel of tensorly 0.10.0 (pip install tensorly==0.10.0)",
        "44610d21625b311b05b8e0c4ba9a6cc755c2fbb9df48e4d89419024aa6ad3f9d",
    ),
}
# Of every class of Indian Pines a tenth, and at least three, for training: our choice.
_PINES_SHARE, _PINES_LEAST = 0.1, 3
_DIGITS_TEST = 1 / 3
# Of the training samples, those that validate.
_VALIDATION = {"indian-pines": 1 / 5}
_USUAL_VALIDATION = 1 / 6
_MNIST_PARTS = ("train", "t10k")


@dataclass(frozen=True)
class Labelled:
    """Samples, one a row, with their classes.

    Attributes
    ----------
    name : str
    X : ndarray of float32, shape (N, m)
        As they are in the file, images divided by their largest possible value.
    labels : ndarray of int, shape (N,)
        0 .. classes - 1.
    fixed_test : int
        So many of the last samples are the test set, by custom; 0 where it is drawn.
    images : bool
        Whether rows are images, scaled one by one, or spectra, scaled by feature.

    Raises
    ------
    InputError
        If a feature is not finite, or labels and samples are not as many.
    """

    name: str
    X: Floats
    labels: Places
    fixed_test: int = 0
    images: bool = True

    def __post_init__(self) -> None:
        check_finite(self.name, self.X)
        if self.labels.shape != (len(self.X),):
            raise InputError(
                f"{self.name} has {len(self.X):,} samples and labels of shape {self.labels.shape}"
            )

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class Parts:
    """Places of the samples that train, validate and test; no two parts share one.

    Attributes
    ----------
    training, validation, test : ndarray of int
    """

    training: Places
    validation: Places
    test: Places


def check_finite(name: str, X: NDArray[Any]) -> None:
    """Refuse samples with features that are no numbers."""
    bad = ~np.isfinite(X).all(axis=1)
    if bad.any():
        raise InputError(
            f"{name} has NaN or infinite features in {int(bad.sum()):,} of {len(X):,} samples, "
            f"the first is number {int(bad.argmax())}: leave them out or fill them in"
        )


@cache
def load_labelled(name: str) -> Labelled:
    """Return a data set.

    ``digits``: 1,797 of 8 x 8 pixels, embedded in scikit-learn. ``mnist``: 70,000 of 28 x 28, the
    last 10,000 for tests. ``indian-pines``: the 10,249 labelled pixels of an image of 200 spectral
    bands, 16 classes, from an installed tensorly 0.9.0 or 0.10.0 or the data folder. ``coil20``:
    1,440 images of 20 objects, 32 x 32; ``pie``: 2,856 images of 68 persons (CMU PIE, pose 27), 32
    x 32, for research only; both as prepared by Deng Cai, from the data folder.

    Raises
    ------
    InputError
        If the name is unknown, or the data is missing or damaged.
    """
    if name == "digits":
        found = need("sklearn.datasets", "scikit-learn").load_digits()
        X = np.asarray(found.data / 16, np.float32)
        return Labelled(name, X, found.target.astype(np.int64))
    if name == "mnist":
        files = ("images-idx3", "labels-idx1")
        X, labels = (
            np.concatenate([read_idx(mnist_file(f"{part}-{f}-ubyte.gz")) for part in _MNIST_PARTS])
            for f in files
        )
        X = X.reshape(len(X), -1) / np.float32(255)
        return Labelled(name, X, labels.astype(np.int64), fixed_test=10_000)
    if name == "indian-pines":
        cube = np.load(_found("Indian_pines_corrected.npy"))
        truth = np.load(_found("Indian_pines_gt.npy")).astype(np.int64).ravel()
        X = cube.reshape(truth.size, -1)[truth > 0].astype(np.float32)
        return Labelled(name, X, truth[truth > 0] - 1, images=False)
    if name in ("coil20", "pie"):
        file, largest = ("COIL20.mat", 1.0) if name == "coil20" else ("PIE_pose27.mat", 255.0)
        held = scipy.io.loadmat(_found(file))
        X = (held["fea"] / largest).astype(np.float32)
        return Labelled(name, X, held["gnd"].ravel().astype(np.int64) - 1)
    raise InputError(nearest_name(name, SIZES, "data set"))


def _found(file: str) -> Path:
    """Return a file of the data folder, or of an installed tensorly, with the right checksum."""
    folder, origin, checksum = _FILES[file]
    root = os.environ.get("SPARSEBENCH_DATA")
    places = [Path(root, folder, file)] if root else []
    if folder == "indian_pines" and (module := importlib.util.find_spec("tensorly")):
        for location in module.submodule_search_locations or ():
            places.append(Path(location, "datasets", "data", file))
    for path in places:
        if path.is_file():
            if hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
                raise InputError(
                    f"{path} is truncated or another file (its checksum is wrong): get it again "
                    f"from {origin}"
                )
            return path
    raise InputError(
        f"there is no {file}: get it from {origin} and put it into $SPARSEBENCH_DATA/{folder}/, "
        "with SPARSEBENCH_DATA the folder of your data sets"
    )


def split(data: Labelled, seed: int, training: int = 0, test: int = 0) -> Parts:
    """Return the parts of a data set: a pure function of its name, its labels and the arguments.

    The test set is the customary one where there is one (MNIST). Otherwise it is drawn, class by
    class: a third (digits), or all but a tenth of each class and at least three (Indian Pines). Of
    the others a sixth (Indian Pines: a fifth) of each class, and at least one, validate.

    Parameters
    ----------
    data : Labelled
    seed : int
    training, test : int
        Most samples that train and validate, and that test; 0 for all.

    Raises
    ------
    InputError
        If a class has too few samples for three parts.
    """
    counts = np.bincount(data.labels, minlength=data.classes)
    if counts.min() < 3:
        raise InputError(
            f"class {int(counts.argmin())} of {data.name} has {int(counts.min())} samples: to "
            "train, validate and test needs at least 3"
        )
    rng = generator({"split of": data.name, "seed": seed})
    order = rng.permutation(len(data.X))
    if data.fixed_test:
        tested = order >= len(order) - data.fixed_test
    elif data.images:
        tested = _share(data.labels[order], _DIGITS_TEST, 1)
    else:
        tested = ~_share(data.labels[order], _PINES_SHARE, min(_PINES_LEAST, counts.min() - 1))
    used, tests = order[~tested][: training or None], order[tested][: test or None]
    share = _VALIDATION.get(data.name, _USUAL_VALIDATION)
    validates = _share(data.labels[used], share, 1)
    parts = Parts(used[~validates], used[validates], tests)
    left = set(range(data.classes)) - set(data.labels[parts.training].tolist())
    if left:
        raise InputError(
            f"of {data.name} with {len(used):,} samples to train and validate, class {min(left)} "
            "has none to train: take more"
        )
    return parts


def _share(labels: Places, share: float, least: int) -> NDArray[np.bool_]:
    """Say which samples belong to the first `share` of their class, at least `least` of them."""
    taken = np.zeros(len(labels), bool)
    for one in np.unique(labels):
        places = np.flatnonzero(labels == one)
        taken[places[: max(round(share * len(places)), least)]] = True
    return taken


def scaled(data: Labelled, fitted_on: Places | None = None) -> Floats:
    """Return samples as encoders take them: features of mean 0 and variance 1.

    Those of an image by itself, over its pixels; a constant one stays 0. Those of spectra band by
    band, over the samples `fitted_on` (all by default).
    """
    X = data.X
    known, axis = (X, 1) if data.images else (X if fitted_on is None else X[fitted_on], 0)
    mean = known.mean(axis=axis, keepdims=True, dtype=np.float64)
    deviation = known.std(axis=axis, keepdims=True, dtype=np.float64)
    answer = X - mean.astype(np.float32)
    answer /= np.where(deviation > 0, deviation, 1.0).astype(np.float32)
    return answer
