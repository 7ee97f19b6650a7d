"""Deep l0 encoders: their data, the networks of the comparison, their training and its errors.

One file, though long: it is one published experiment, and all of it changes with `VERSION`.

References
----------
Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsebench.learned.dictionary_learning import l1_objective
from sparsebench.learned.networks import DenseEncoder, PairNetwork
from sparsebench.learned.optimal_codes import Rule, hard_codes, l1_codes, squared_norm
from sparsebench.learned.training import Phase, Training, epochs, train
from sparsebench.problems import images
from sparsebench.seeding import generator
from sparsebench.types import Dictionary, InputError, check_whole

# ||D|| after the scaling "spectral"; the step is then 1, and 0.98 / ||D||² for unit-norm atoms.
_NORM = 0.99
_VALIDATION = 10  # one training image in so many is kept for validation
_TIMED = 1000

#: Changes whenever results may change; part of what they are kept under.
VERSION = 2
DICTIONARIES = ("learnt", "patches", "gaussian")
SCALINGS = ("unit", "spectral")


@dataclass(frozen=True)
class Data:
    """What the codes of a comparison are made from; every value that is not given is our choice.

    Attributes
    ----------
    images : str
        "digits" or "mnist".
    p : int
        Atoms.
    seed : int
        Of the dictionary.
    penalty : float
        lambda of the l0-regularised problem; .5 is given.
    size : int
        M of the M-sparse one; 32 is given for 256 pixels.
    l1_weight : float
        Penalty of the l1 solutions, and of the learning of the dictionary: lambda, our choice.
    dictionary : str
        "learnt", "patches" (random training images) or "gaussian"; atoms of norm 1.
    scaling : str
        "unit": atoms of norm 1 and step .98 / ||D||²; "spectral": ||D|| = .99 and step 1. The
        iterations are the same, up to the scale of the codes; the training is not.
    proximal : bool
        Threshold sqrt(2 lambda step), or the published lambda^½; see `Rule`.
    training, test : int
        Most images to use; 0 for all.
    """

    images: str = "digits"
    p: int = 128
    seed: int = 0
    penalty: float = 0.5
    size: int = 8
    l1_weight: float = 0.5
    dictionary: str = "learnt"
    scaling: str = "unit"
    proximal: bool = True
    training: int = 0
    test: int = 0

    def __post_init__(self) -> None:
        for name, known in (("dictionary", DICTIONARIES), ("scaling", SCALINGS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is one of {', '.join(known)}")
        check_whole("p", self.p, 2, 100_000)
        check_whole("seed", self.seed, 0, 2**32 - 1)  # scikit-learn takes no others
        check_whole("M", self.size, 1, self.p)

    def rule(self, problem: str) -> Rule:
        """Return the rule of a problem, "penalty" or "size"."""
        if problem == "penalty":
            return Rule(penalty=self.penalty, proximal=self.proximal)
        return Rule(size=self.size)


@dataclass(frozen=True)
class Teaching:
    """How an encoder is trained; our choices, except for the batch and the first sigma.

    Attributes
    ----------
    optimiser : str
        "adam" or "sgd".
    rate : float
        Learning rate.
    epochs : int
        Passes over the training images, divided among the phases.
    phases : tuple of (float, float, float)
        Share of the epochs, factor of the rate, and sigma, of each phase.
    batch : int
    unit : bool
        Signals and codes are divided by sqrt(m), so that signals have norm 1, as the published
        rate diverges on signals of norm 16.
    """

    optimiser: Literal["adam", "sgd"] = "adam"
    rate: float = 1e-3
    epochs: int = 30
    phases: tuple[tuple[float, float, float], ...] = (
        (0.6, 1.0, 0.2),
        (0.2, 0.1, 0.2),
        (0.2, 0.1, 0.02),
    )
    batch: int = 128
    unit: bool = True


@dataclass(frozen=True)
class Method:
    """A row of the comparison.

    Attributes
    ----------
    kind : str
        "iterative", "encoder" or "baseline".
    problem : str
        "penalty" or "size".
    stages : int
        Iterations, or stages K; 0 for the baseline.
    start : str
        "zero" or "l1".
    """

    kind: str
    problem: str
    stages: int = 0
    start: str = "zero"


@lru_cache(maxsize=1)
def codes(data: Data) -> dict[str, NDArray[Any]]:
    """Return dictionary and optimal codes, from the cache if they are there.

    Returns
    -------
    dict of ndarray
        D, shape (m, p), as scaled; ``l1``, ``penalty`` and ``size`` for the training images and
        ``l1_test``, ... for the test images, shapes (N, p); and facts: ``coherence``,
        ``spectral`` (||D||² for unit-norm atoms), ``condition`` (of the non-zero singular values),
        ``learning_steps`` (0 if it is not learnt), ``l1_objective``, ``l1_gap``, and for each
        problem ``settled``, ``iterations``, ``rise`` and ``non-zeros``.
    """
    return images.cached({"codes": VERSION, **asdict(data)}, lambda: _codes(data))


def signals(data: Data) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the training and test images of a comparison."""
    found = images.load(data.images)
    return found.train[: data.training or None], found.test[: data.test or None]


def _codes(data: Data) -> dict[str, NDArray[Any]]:
    parts = signals(data)
    D, steps = _dictionary(data)
    facts = Dictionary(D)
    singular = facts.svd[1]
    step = 0.98 / squared_norm(D)
    answer: dict[str, NDArray[Any]] = {
        "coherence": np.array(facts.coherence),
        "spectral": np.array(singular[0] ** 2),
        "condition": np.array(singular[0] / singular[singular > 1e-6 * singular[0]][-1]),
        "learning_steps": np.array(steps),
    }
    # Scaling by c divides codes by c, and leaves all else as it is.
    scale = np.float32(np.sqrt(1 / step) if data.scaling == "spectral" else 1.0)
    for name, X in zip(("", "_test"), parts, strict=True):
        start, gap = l1_codes(D, X, data.l1_weight)
        answer |= {
            f"l1{name}": start * scale,
            f"l1_gap{name}": np.array(gap),
            f"l1_objective{name}": np.array(l1_objective(D, X, start, data.l1_weight)),
        }
        for problem in ("penalty", "size"):
            end = hard_codes(D, X, data.rule(problem), step, start)
            answer |= {
                f"{problem}{name}": end.codes * scale,
                f"{problem}_settled{name}": np.array(end.settled),
                f"{problem}_iterations{name}": np.array(end.iterations),
                f"{problem}_rise{name}": np.array(end.rise),
                f"{problem}_non-zeros{name}": np.array(np.count_nonzero(end.codes) / len(X)),
            }
    return answer | {"D": D / scale, "step": np.array(step * float(scale) ** 2)}


def _dictionary(data: Data) -> tuple[NDArray[np.float64], int]:
    """Return unit-norm atoms, shape (m, p), and the steps of their learning."""
    found = images.load(data.images)
    if data.dictionary == "learnt":
        learnt = images.learnt_dictionary(found, data.p, data.seed, data.l1_weight)
        return learnt["D"], int(learnt["steps"])
    rng = generator({"dictionary": data.dictionary, "p": data.p, "seed": data.seed})
    if data.dictionary == "gaussian":
        atoms = rng.standard_normal((data.p, found.size))
    else:
        if data.p > len(found.train):
            raise InputError(f"{data.images} has {len(found.train):,} images, p is {data.p}")
        atoms = found.train[rng.choice(len(found.train), data.p, replace=False)].astype(float)
    return np.ascontiguousarray((atoms / np.linalg.norm(atoms, axis=1, keepdims=True)).T), 0


class Started(PairNetwork):
    """A `PairNetwork` whose rows are signals with the codes to start from behind them."""

    def codes(
        self, y: Tensor, start: Tensor | None = None, depth: int | None = None, first: int = 0
    ) -> list[Tensor]:
        """Return the code after every stage; see `Unrolled.codes`."""
        m = self.A.shape[0]
        return super().codes(y[:, :m], y[:, m:], depth, first)


def network(data: Data, method: Method, found: dict[str, NDArray[Any]], unit: float) -> nn.Module:
    """Return the network of a method as it starts: untrained, an encoder is the iteration.

    Parameters
    ----------
    data : Data
    method : Method
    found : dict
        Of `codes`.
    unit : float
        What signals and codes are divided by.
    """
    m, p = found["D"].shape
    if method.kind == "baseline":
        return DenseEncoder(m, p)
    rule, step = data.rule(method.problem), float(found["step"])
    shape = PairNetwork if method.start == "zero" else Started
    return shape(
        torch.tensor(found["D"], dtype=torch.float32),
        method.stages,
        "largest" if rule.size else "helu",
        threshold=rule.threshold(step) / unit,
        step=step,
        size=rule.size,
        tied=True,
    )


def compare(
    data: Data, method: Method, teaching: Teaching, checkpoint: Path | None = None
) -> dict[str, float]:
    """Train one method, unless it is iterative, and return its errors on the test images.

    Returns
    -------
    dict
        See `errors`; ``seconds``, of 1,000 signals at once, and ``seconds_single``, of 1,000
        signals one after the other; of a trained one ``validation``, the mean squared error at
        its end, ``steps``, ``diverged`` (0 or 1) and ``training_seconds``.
    """
    found, (train_set, test_set) = codes(data), signals(data)
    unit = float(np.sqrt(train_set.shape[1])) if teaching.unit else 1.0
    torch.manual_seed(data.seed)
    built = network(data, method, found, unit)

    def tensors(X: NDArray[Any], name: str) -> tuple[Tensor, Tensor]:
        target = torch.from_numpy(found[method.problem + name] / np.float32(unit))
        rows = np.hstack([X, found["l1" + name]]) if method.start == "l1" else X
        return torch.from_numpy(rows / np.float32(unit)), target

    measured: dict[str, float] = {}
    if method.kind != "iterative":
        inputs, targets = tensors(train_set, "")
        begun = time.perf_counter()
        training = _teach(built, inputs, targets, method, teaching, data.seed, checkpoint)
        measured = {
            "validation": training.best * unit**2,
            "steps": float(training.steps),
            "diverged": float(bool(training.diverged)),
            "training_seconds": time.perf_counter() - begun,
        }
    inputs, targets = tensors(test_set, "_test")
    built.eval()
    with torch.no_grad():
        estimates = torch.cat([built(part) for part in inputs.split(_TIMED)])
        measured |= errors(estimates.numpy(), targets.numpy())
        measured |= timed(built, inputs)
    return measured


def errors(estimates: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    """Return the errors of codes, shape (N, p).

    Returns
    -------
    dict
        ``prediction`` in %: 100 Σ||a - a*||² / Σ||a*||², sums over signals; ``prediction_mean``:
        the mean over signals of that ratio, where a* is not zero; ``support``: the mean number of
        places where just one of a and a* is zero.
    """
    squares = np.square(estimates - targets, dtype=np.float64).sum(axis=1)
    energies = np.square(targets, dtype=np.float64).sum(axis=1)
    whole = energies > 0
    return {
        "prediction": float(100 * squares.sum() / energies.sum()),
        "prediction_mean": float(100 * np.mean(squares[whole] / energies[whole])),
        "support": float(np.mean(((estimates != 0) != (targets != 0)).sum(axis=1))),
    }


def _teach(
    built: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    method: Method,
    teaching: Teaching,
    seed: int,
    checkpoint: Path | None,
) -> Training:
    """Train on all but the last tenth of the images, which validates."""
    count = len(inputs) - len(inputs) // _VALIDATION
    epoch = -(-count // teaching.batch)

    phases = [
        Phase(
            method.stages,
            0,
            factor * teaching.rate,
            max(1, round(share * teaching.epochs * epoch)),
            patience=10**9,
            sigma=sigma,
        )
        for share, factor, sigma in teaching.phases
    ]
    return train(
        built,
        phases,
        epochs(inputs[:count], targets[:count], teaching.batch, seed),
        (inputs[count:], targets[count:]),
        seed=seed,
        optimiser=teaching.optimiser,
        check_every=epoch,
        checkpoint=checkpoint,
    )


def timed(built: nn.Module, inputs: Tensor) -> dict[str, float]:
    """Return the seconds of 1,000 codes at once, and one after the other: best of three."""
    several, one, few = inputs[:_TIMED], inputs[:1], 50
    return {
        "seconds": _best(lambda: built(several)) * _TIMED / len(several),
        "seconds_single": _best(lambda: [built(one) for _ in range(few)]) * _TIMED / few,
    }


def _best(task: Callable[[], Any]) -> float:
    return min(timeit.repeat(task, number=1, repeat=4)[1:])  # the first one warms up
