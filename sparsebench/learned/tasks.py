"""An encoder that ends in a linear layer: what classification and clustering have in common.

References
----------
Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsebench.errors import InputError, check_whole
from sparsebench.learned.dictionary_learning import learn_dictionary, most_atoms
from sparsebench.learned.networks import PairNetwork
from sparsebench.learned.optimal_codes import Rule, hard_codes, l1_codes, squared_norm
from sparsebench.learned.training import (
    Examples,
    Loss,
    Phase,
    Training,
    epochs,
    squared_error,
    train,
)
from sparsebench.problems import images
from sparsebench.problems.labelled import (
    Labelled,
    Parts,
    check_finite,
    load_labelled,
    scaled,
    split,
)
from sparsebench.types import Dictionary

Floats = NDArray[np.float32]

#: Changes whenever results may change; part of what they are kept under.
VERSION = 1
ENCODERS = ("deep l0", "deep M-sparse", "tuned lista")
# The shrinkage of each, and of the untrained ones.
_SHRINKS = {"deep l0": "helu", "deep M-sparse": "largest", "tuned lista": "soft"}


@dataclass(frozen=True)
class Task:
    """A data set with a dictionary learnt on it.

    Attributes
    ----------
    data : str
        A name of `labelled.SIZES`.
    p : int
        Atoms.
    seed : int
        Of the dictionary, of the split and of all training.
    l1_weight : float
        Penalty of the l1 codes, and of the learning of the dictionary.
    penalty : float
        lambda of the l0-regularised problem.
    proximal : bool
        Threshold sqrt(2 lambda), or the published lambda^½; see `optimal_codes.Rule`.
    split : bool
        Whether there are parts that validate and test; otherwise all samples are used for all.
    training, test : int
        Most samples to train and validate on, and to test on; 0 for all.
    """

    data: str = "digits"
    p: int = 128
    seed: int = 0
    l1_weight: float = 0.5
    penalty: float = 0.5
    proximal: bool = True
    split: bool = True
    training: int = 0
    test: int = 0

    def __post_init__(self) -> None:
        check_whole("p", self.p, 2, 100_000)
        check_whole("seed", self.seed, 0, 2**32 - 1)


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    Attributes
    ----------
    kind : str
        One of `ENCODERS`, or what the task adds.
    size : int
        M; 0 where there is none.
    stages : int
        K; 0 where there is none.
    """

    kind: str
    size: int = 0
    stages: int = 0


@dataclass(frozen=True)
class Schedule:
    """How a network is trained; as in `encoders.Teaching`.

    Attributes
    ----------
    optimiser : str
    rate : float
    epochs : int
        Divided among the phases.
    phases : tuple of (float, float, float)
        Share of the epochs, factor of the rate, and sigma, of each phase.
    batch : int
    """

    optimiser: Literal["adam", "sgd"] = "adam"
    rate: float = 1e-3
    epochs: int = 30
    phases: tuple[tuple[float, float, float], ...] = (
        (0.5, 1.0, 0.2),
        (0.25, 0.3, 0.2),
        (0.25, 0.1, 0.02),
    )
    batch: int = 128


class Encoder(PairNetwork):
    """A tied `PairNetwork` that forms W y once, not in every stage, and spares S times zero."""

    def codes(
        self, y: Tensor, start: Tensor | None = None, depth: int | None = None, first: int = 0
    ) -> list[Tensor]:
        """Return the code after every stage; see `Unrolled.codes`."""
        if start is not None or first:
            return super().codes(y, start, depth, first)
        correlations = y @ self.W[0].T
        found = [self.shrunk(correlations)]
        for _ in range(1, self.depth if depth is None else depth):
            found.append(self.shrunk(correlations + self.mixed(found[-1])))
        return found

    def mixed(self, z: Tensor) -> Tensor:
        """Return S z."""
        return z @ self.S[0].T


class Tuned(nn.Module):
    """An encoder that ends in a linear layer omega, which starts at zero.

    Parameters
    ----------
    encoder : Module
        From signals to codes of `p` entries.
    p, classes : int
    """

    def __init__(self, encoder: nn.Module, p: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.omega = nn.Linear(p, classes)
        nn.init.zeros_(self.omega.weight)
        nn.init.zeros_(self.omega.bias)

    def forward(self, y: Tensor) -> Tensor:
        """Return the logits, shape (B, classes), of signals, shape (B, m)."""
        answer: Tensor = self.omega(self.encoder(y))
        return answer


@dataclass(frozen=True)
class Prepared:
    """What a task's methods start from.

    Attributes
    ----------
    X : ndarray of float32, shape (N, m)
        All samples that are used, scaled: those that train, then those that validate and test.
    labels : ndarray of int, shape (N,)
    parts : Parts
        Places in X.
    classes : int
    D : ndarray, shape (m, p)
        Atoms of norm 1.
    step : float
        .98 / ||D||².
    codes : dict of ndarray, shapes (N, p)
        "l1" and "l0".
    facts : dict of float
    """

    X: Floats
    labels: NDArray[np.int64]
    parts: Parts
    classes: int
    D: NDArray[np.float64]
    step: float
    codes: dict[str, Floats]
    facts: dict[str, float]


def samples(task: Task) -> tuple[Labelled, Parts]:
    """Return a task's data set and its parts, as places in it; refuse what cannot be learnt."""
    data = load_labelled(task.data)
    everything = np.arange(len(data.X))
    parts = Parts(everything, everything, everything)
    if task.split:
        parts = split(data, task.seed, task.training, task.test)
    check_learnable(task.data, len(parts.training), data.classes, task.p)
    return data, parts


def check_learnable(name: str, count: int, classes: int, p: int) -> None:
    """Refuse fewer samples than classes or atoms, and fewer atoms than classes.

    Raises
    ------
    InputError
    """
    if count < classes:
        raise InputError(f"{name} has {count:,} samples to learn from, for {classes} clusters")
    if p < classes:
        raise InputError(f"p = {p} is below the {classes} classes of {name}: take more atoms")
    if p > most_atoms(count):
        raise InputError(
            f"{name} has {most_atoms(count):,} samples to learn a dictionary from, p is {p}"
        )


@lru_cache(maxsize=1)
def prepared(task: Task) -> Prepared:
    """Return samples, dictionary and fixed codes of a task, from the cache if they are there."""
    data, parts = samples(task)
    whole = scaled(data, parts.training)
    if task.split:
        order = np.concatenate([parts.training, parts.validation, parts.test])
        edges = np.cumsum([0, len(parts.training), len(parts.validation), len(parts.test)])
        parts = Parts(*(np.arange(first, end) for first, end in pairwise(edges)))
    else:
        order = parts.training
    X = whole[order]
    check_finite(task.data, X)
    recipe = {"task": VERSION, **vars(task)}
    found = images.cached(recipe, lambda: _codes(X, parts, task))
    facts = {name: float(value) for name, value in found.items() if value.ndim == 0}
    codes = {name: found[name] for name in ("l1", "l0")}
    step = facts.pop("step")
    labels = data.labels[order]
    return Prepared(X, labels, parts, data.classes, found["D"], step, codes, facts)


def _codes(X: Floats, parts: Parts, task: Task) -> dict[str, NDArray[Any]]:
    learnt = learn_dictionary(X[parts.training], task.p, task.seed, task.l1_weight)
    D = learnt.D
    singular = Dictionary(D).svd[1]
    step = 0.98 / squared_norm(D)
    start, gap = l1_codes(D, X, task.l1_weight)
    rule = Rule(penalty=task.penalty, proximal=task.proximal)
    end = hard_codes(D, X, rule, step, start)
    return {
        "D": D,
        "step": np.array(step),
        "l1": start,
        "l0": end.codes,
        "coherence": np.array(Dictionary(D).coherence),
        "spectral": np.array(singular[0] ** 2),
        "learning_steps": np.array(learnt.steps),
        "l1_gap": np.array(gap),
        "l1_non-zeros": np.array(np.count_nonzero(start) / len(X)),
        "l0_non-zeros": np.array(np.count_nonzero(end.codes) / len(X)),
        "l0_settled": np.array(end.settled),
    }


def encoder(
    task: Task, ready: Prepared, method: Method, step: float = 0.0, **shape: Any
) -> Encoder:
    """Return the encoder of a method as it starts: the iteration that it unrolls.

    The dictionary is scaled so that its norm is below 1 and the step is 1, as published; a code is
    then 1 / sqrt(step) times that of atoms of norm 1, with the step of `ready` where none is given.
    """
    kind = method.kind.removeprefix("untrained ")
    if method.size > task.p:
        raise InputError(f"M = {method.size} exceeds p = {task.p}: take a smaller M")
    root = float(np.sqrt(step or ready.step))
    threshold = {
        "deep l0": Rule(penalty=task.penalty, proximal=task.proximal).threshold(1.0),
        "tuned lista": task.l1_weight * root,
    }
    return shape.pop("of", Encoder)(
        torch.tensor(ready.D * root, dtype=torch.float32),
        method.stages,
        _SHRINKS[kind],
        threshold=threshold.get(kind, 0.0),
        step=1.0,
        size=method.size,
        tied=True,
        **shape,
    )


def fit(
    network: nn.Module,
    batch: Callable[[int], Examples],
    steps_an_epoch: int,
    validation: Examples,
    schedule: Schedule,
    loss: Loss,
    seed: int,
    checkpoint: Path | None = None,
) -> Training:
    """Train by a schedule; the weights kept are those of the least validation loss."""
    depth = network.depth if isinstance(network, Encoder) else 0
    phases = [
        Phase(
            depth,
            0,
            factor * schedule.rate,
            max(1, round(share * schedule.epochs)) * steps_an_epoch,
            patience=10**9,
            sigma=sigma,
        )
        for share, factor, sigma in schedule.phases
    ]
    return train(
        network,
        phases,
        batch,
        validation,
        seed=seed,
        optimiser=schedule.optimiser,
        loss=loss,
        check_every=steps_an_epoch,
        checkpoint=checkpoint,
    )


def regress(
    inside: Encoder,
    task: Task,
    ready: Prepared,
    method: Method,
    schedule: Schedule,
    checkpoint: Path | None,
) -> None:
    """Train an encoder to predict the codes of its problem, those of the dictionary it starts from.

    LISTA the l1 codes; the others where hard thresholding ends that starts there.
    """
    codes = ready.codes["l0" if method.kind == "deep l0" else "l1"]
    if method.size:
        codes = hard_codes(ready.D, ready.X, Rule(size=method.size), ready.step, codes).codes
    parts, X = ready.parts, torch.from_numpy(ready.X)
    targets = torch.from_numpy(codes / np.float32(np.sqrt(ready.step)))
    fit(
        inside,
        epochs(X[parts.training], targets[parts.training], schedule.batch, task.seed),
        -(-len(parts.training) // schedule.batch),
        (X[parts.validation], targets[parts.validation]),
        schedule,
        squared_error,
        task.seed,
        checkpoint and checkpoint.with_suffix(".regressor.pt"),
    )


def outputs(network: nn.Module, X: Floats) -> NDArray[np.float32]:
    """Return what a network says of samples, in evaluation: with hard thresholds."""
    network.eval()
    with torch.no_grad():
        parts = [network(part).numpy() for part in torch.from_numpy(X).split(2000)]
    return np.concatenate(parts)


def constant(labels: NDArray[Any]) -> bool:
    """Whether all samples were given the same label."""
    return bool(np.all(labels == labels[0]))
