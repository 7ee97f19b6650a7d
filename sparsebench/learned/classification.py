"""Classification by encoders tuned end to end, with the methods they are compared with.

References
----------
Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016; Mairal, Bach and Ponce, Task-driven
dictionary learning, IEEE TPAMI 34, 2012, arXiv:1009.5358.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from sparsebench.learned import task_driven
from sparsebench.learned.encoders import timed
from sparsebench.learned.task_driven import Descent, Model, elastic_net_codes
from sparsebench.learned.tasks import (
    ENCODERS,
    Method,
    Prepared,
    Schedule,
    Task,
    Tuned,
    constant,
    encoder,
    fit,
    outputs,
    prepared,
    regress,
)
from sparsebench.learned.training import epochs

Floats = NDArray[np.float64]

#: What the encoders are compared with; the first three have no p or no training of codes.
CONTROLS = (
    "linear on pixels",
    "linear on l1 codes",
    "linear on l0 codes",
    "untrained deep l0",
    "untrained deep M-sparse",
    "dense",
)
# Penalties ½ ridge ||weight||² among which the validation part chooses, and evaluations of each;
# the one with which an end-to-end training starts, and its evaluations.
_RIDGES, _EVALUATIONS = (1e-2, 1e-3, 1e-4, 1e-5), 100
_FIRST_RIDGE, _FIRST_EVALUATIONS = 1e-3, 40
# Samples of the validation part on which the epochs of TDSC are judged, at most.
_JUDGED = 2000
_TIMED = 200


@dataclass(frozen=True)
class Teaching:
    """How each kind is trained.

    Attributes
    ----------
    schedule : Schedule
        Of encoders and the dense network.
    dense_rate : float
        The dense network's own rate.
    pretraining : int
        Epochs in which LISTA is trained as a regressor of l1 codes.
    regress_all : bool
        Whether the other encoders are trained so, too, on the codes of their own problems.
    descent : Descent
        Of TDSC.
    l2 : float
        TDSC's quadratic penalty; its l1 penalty is the task's.
    """

    schedule: Schedule = field(default_factory=Schedule)
    dense_rate: float = 1e-3
    pretraining: int = 10
    regress_all: bool = False
    descent: Descent = field(default_factory=Descent)
    l2: float = 1e-3


def classify(
    task: Task, method: Method, teaching: Teaching, checkpoint: Path | None = None
) -> dict[str, NDArray[Any]]:
    """Train one method and return what it is worth on the test part.

    Returns
    -------
    dict
        ``correct`` (which test samples got their label), ``losses`` (validation loss before the
        first epoch of each phase and after every epoch; none of fixed features), and numbers:
        ``error`` and ``validation`` (errors in %), ``judged`` (test samples), ``collapsed`` (1 if
        all of them get one label), ``diverged``, ``training_seconds`` (of the processor),
        ``parameters``; ``seconds`` of 1,000 samples at once and ``seconds_single`` of 1,000 one by
        one; of TDSC also ``encoder_seconds`` and ``encoder_seconds_single``, those of the deep l0
        encoder of two stages, measured beside it.
    """
    ready = prepared(task)
    torch.manual_seed(task.seed)
    begun = time.process_time()
    if method.kind == "tdsc":
        found = _tdsc(task, ready, teaching)
    elif method.kind in CONTROLS[:5]:
        network, inputs = _linear(task, ready, method)
        found = _judged(network, inputs, ready) | {"losses": np.zeros(0)}
    else:
        network, training = _network(task, ready, method, teaching, checkpoint)
        found = _judged(network, ready.X, ready) | {
            "losses": np.array([loss for _, _, loss in training.losses]),
            "diverged": np.array(float(bool(training.diverged))),
        }
    return {
        "diverged": np.array(0.0),
        "training_seconds": np.array(time.process_time() - begun),
        **found,
    }


def _network(
    task: Task, ready: Prepared, method: Method, teaching: Teaching, checkpoint: Path | None
) -> tuple[nn.Module, Any]:
    """Train an encoder with its linear layer, or the dense network, from end to end."""
    parts, schedule = ready.parts, teaching.schedule
    if method.kind == "dense":
        schedule = replace(schedule, rate=teaching.dense_rate)
    network = Tuned(_inside(task, ready, method), task.p, ready.classes)
    X, labels = torch.from_numpy(ready.X), torch.from_numpy(ready.labels)
    steps = -(-len(parts.training) // schedule.batch)
    if method.kind == "tuned lista" or (method.kind in ENCODERS and teaching.regress_all):
        first = replace(schedule, epochs=teaching.pretraining)
        regress(network.encoder, task, ready, method, first, checkpoint)  # type: ignore[arg-type]
    if method.kind in ENCODERS:
        features = outputs(network.encoder, ready.X)
        _end_in(network.omega, *linear_layer(features, ready, (_FIRST_RIDGE,), _FIRST_EVALUATIONS))
    batch = epochs(X[parts.training], labels[parts.training], schedule.batch, task.seed)
    held = X[parts.validation], labels[parts.validation]
    training = fit(network, batch, steps, held, schedule, cross_entropy, task.seed, checkpoint)
    return network, training


def _inside(task: Task, ready: Prepared, method: Method) -> nn.Module:
    """Return what comes before the linear layer, as it starts."""
    if method.kind in ENCODERS:
        return encoder(task, ready, method)
    m, p = ready.D.shape  # as many weights as an encoder: n m + n² and thresholds
    return nn.Sequential(nn.Linear(m, p), nn.ReLU(), nn.Linear(p, p), nn.ReLU())


def _linear(task: Task, ready: Prepared, method: Method) -> tuple[nn.Module, NDArray[np.float32]]:
    """Fit a linear layer to features that are not tuned; return the network and its inputs.

    Fixed codes are inputs themselves: what they cost is not the network's.
    """
    network: nn.Module
    if method.kind.startswith("untrained"):
        inside = encoder(task, ready, method)
        network, inputs = Tuned(inside, task.p, ready.classes), ready.X
        features, layer = outputs(inside, ready.X), network.omega
    else:
        name = method.kind.removeprefix("linear on ").removesuffix(" codes")
        inputs = features = ready.X if name == "pixels" else ready.codes[name]
        network = layer = nn.Linear(features.shape[1], ready.classes)
    _end_in(layer, *linear_layer(features, ready))
    return network, inputs


def _end_in(layer: nn.Linear, weight: Floats, bias: Floats, losses: list[float]) -> None:
    """Give a layer its weights."""
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))


def linear_layer(
    features: NDArray[np.float32],
    ready: Prepared,
    ridges: tuple[float, ...] = _RIDGES,
    evaluations: int = _EVALUATIONS,
) -> tuple[Floats, Floats, list[float]]:
    """Return weight and bias of the softmax regression whose ridge the validation part chooses.

    From the largest ridge down, each starting where the last one ended (L-BFGS).

    Returns
    -------
    weight, bias : ndarray, shapes (C, p) and (C,)
    losses : list of float
        Mean cross-entropy of the validation part, for each ridge.
    """
    parts, classes = ready.parts, ready.classes
    X = features[parts.training]
    loss = task_driven.cross_entropy(ready.labels)
    width = X.shape[1]

    def objective(flat: Floats, ridge: float) -> tuple[float, Floats]:
        weight, bias = _unpacked(flat, classes)
        logits = X @ weight.T.astype(np.float32) + bias
        value, slope = loss(logits, parts.training)
        to_weight = slope.T.astype(np.float32) @ X + ridge * weight
        both = np.hstack([to_weight, slope.sum(axis=0)[:, None]])
        return value + 0.5 * ridge * float((weight**2).sum()), both.ravel().astype(float)

    flat, best = np.zeros(classes * (width + 1)), np.zeros(0)
    losses: list[float] = []
    for ridge in ridges:
        found = scipy.optimize.minimize(
            objective, flat, (ridge,), "L-BFGS-B", jac=True, options={"maxfun": evaluations}
        )
        flat = found.x
        weight, bias = _unpacked(flat, classes)
        held = loss(features[parts.validation] @ weight.T + bias, parts.validation)[0]
        if not losses or held < min(losses):
            best = flat
        losses.append(held)
    weight, bias = _unpacked(best, classes)
    return weight, bias, losses


def _unpacked(flat: Floats, classes: int) -> tuple[Floats, Floats]:
    both = flat.reshape(classes, -1)
    return both[:, :-1], both[:, -1]


def _judged(
    network: nn.Module, inputs: NDArray[np.float32], ready: Prepared
) -> dict[str, NDArray[Any]]:
    """Return predictions, errors and seconds of a network."""
    parts = ready.parts
    test, held = (
        outputs(network, inputs[places]).argmax(axis=1) for places in (parts.test, parts.validation)
    )
    with torch.no_grad():
        seconds = timed(network, torch.from_numpy(inputs[parts.test]))
    weights = sum(weight.numel() for weight in network.parameters())
    return {
        **_errors(test, held, ready),
        "parameters": np.array(float(weights)),
        **{name: np.array(value) for name, value in seconds.items()},
    }


def _errors(
    test: NDArray[np.int64], held: NDArray[np.int64], ready: Prepared
) -> dict[str, NDArray[Any]]:
    """Return what the labels given to the test and validation parts are worth."""
    correct = test == ready.labels[ready.parts.test]
    validated = held == ready.labels[ready.parts.validation]
    return {
        "correct": correct.astype(np.uint8),
        "error": np.array(100 * np.mean(~correct)),
        "validation": np.array(100 * np.mean(~validated)),
        "judged": np.array(float(len(correct))),
        "collapsed": np.array(float(constant(test))),
    }


def _tdsc(task: Task, ready: Prepared, teaching: Teaching) -> dict[str, NDArray[Any]]:
    """Train TDSC from the dictionary, and the linear layer on its l1 codes."""
    parts = ready.parts
    weight, bias, _ = linear_layer(ready.codes["l1"], ready)
    start = Model(ready.D, weight, bias, task.l1_weight, teaching.l2)
    own = ready.labels[parts.training]
    held = parts.validation[:_JUDGED]

    def judge(model: Model) -> float:
        codes = elastic_net_codes(model.D, ready.X[held], model.l1, model.l2)
        return task_driven.cross_entropy(ready.labels[held])(
            model.logits(codes), np.arange(len(held))
        )[0]

    model, losses, diverged = task_driven.descend(
        start,
        ready.X[parts.training].astype(float),
        task_driven.cross_entropy(own),
        teaching.descent,
        task.seed,
        judge,
    )

    def answers(places: NDArray[np.int64]) -> NDArray[np.int64]:
        codes = elastic_net_codes(model.D, ready.X[places], model.l1, model.l2)
        return model.logits(codes).argmax(axis=1)

    errors = _errors(answers(parts.test), answers(parts.validation), ready)
    several = ready.X[parts.test[:_TIMED]]
    begun = time.perf_counter()
    for _ in range(3):
        elastic_net_codes(model.D, several, model.l1, model.l2)
    seconds = (time.perf_counter() - begun) / 3 * 1000 / len(several)
    beside = Tuned(encoder(task, ready, Method("deep l0", 0, 2)), task.p, ready.classes).eval()
    with torch.no_grad():
        encoders = timed(beside, torch.from_numpy(ready.X[parts.test]))
    return {
        **errors,
        "parameters": np.array(float(model.D.size + weight.size + bias.size)),
        "losses": np.array(losses),
        "diverged": np.array(float(bool(diverged))),
        "seconds": np.array(seconds),
        "seconds_single": np.array(seconds),
        **{f"encoder_{name}": np.array(value) for name, value in encoders.items()},
    }
