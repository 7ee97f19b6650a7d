"""Training in phases, with early stopping, checkpoints that resume, and a guard of divergence.

Networks of a few constants are trained by a simplex search instead.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from sparsebench.learned.networks import Unrolled
from sparsebench.learned.optimisers import Adam, GradientDescent
from sparsebench.seeding import digest
from sparsebench.system.folders import written_whole
from sparsebench.types import InputError

#: Signals (B, m) with their codes (B, n), or whatever else the loss compares an output with.
Examples = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
Losses = list[tuple[int, int, float]]

# Training has diverged when the validation loss exceeds the best one by this factor.
_DIVERGED = 1e3
_FORMAT = 3
_SECONDS_BETWEEN = 20.0
_OPTIMISERS = {"adam": Adam, "sgd": GradientDescent}
_STEPS_APART = 10_000_019


@dataclass(frozen=True)
class Phase:
    """A part of a training with one learning rate.

    Attributes
    ----------
    depth : int
        Stages that are run; the loss is that of the code after the last of them.
    first : int
        First stage that is trained.
    rate : float
        Learning rate.
    steps : int
        Most steps.
    patience : int
        Checks on the validation set without a better loss that end the phase early.
    sigma : float
        Width of the ramp of HELU; 0 where there is none.
    explores : bool
        Take all steps whatever the validation loss, which a large rate keeps high by its noise, and
        hand on the last weights, not the best.
    """

    depth: int
    first: int
    rate: float
    steps: int
    patience: int
    sigma: float = 0.0
    explores: bool = False


def layer_wise(depth: int, rate: float, steps: int, patience: int) -> list[Phase]:
    """Return the phases of layer-wise training: each new stage alone, then all at .2 and .02.

    References
    ----------
    Chen, Liu, Wang and Yin, NeurIPS 2018, arXiv:1808.10038.
    """
    phases = []
    for t in range(depth):
        phases.append(Phase(t + 1, t, rate, steps, patience))
        phases += [Phase(t + 1, 0, share * rate, steps, patience) for share in (0.2, 0.02)]
    return phases


@dataclass(frozen=True)
class Training:
    """What a training did.

    Attributes
    ----------
    losses : list of tuple
        (phase, step in it, validation loss) before the first step of a phase and at every check.
    best : float
        The validation loss of the weights that were kept.
    diverged : str
        Empty, or what happened and which weights were kept.
    steps : int
        Steps taken, those before an interruption included.
    """

    losses: Losses
    best: float
    diverged: str
    steps: int


def squared_error(codes: Tensor, target: Tensor) -> Tensor:
    """Return the mean over signals of the squared distance between codes."""
    return (codes - target).square().sum(-1).mean()


def epochs(signals: Tensor, targets: Tensor, batch: int, seed: int) -> Callable[[int], Examples]:
    """Return the batch of every step: all examples in turn, in a new order each time."""
    steps = -(-len(signals) // batch)

    @lru_cache(maxsize=1)
    def order(turn: int) -> NDArray[np.int64]:
        return np.random.default_rng((seed, turn)).permutation(len(signals))

    def examples(step: int) -> Examples:
        turn, place = divmod(step, steps)
        rows = torch.from_numpy(order(turn)[place * batch : (place + 1) * batch])
        return signals[rows], targets[rows]

    return examples


def train(
    network: nn.Module,
    phases: Sequence[Phase],
    batch: Callable[[int], Examples],
    validation: Examples,
    *,
    seed: int = 0,
    optimiser: Literal["adam", "sgd"] = "adam",
    loss: Loss = squared_error,
    check_every: int = 50,
    checkpoint: Path | None = None,
    enough: Callable[[Losses], bool] = lambda losses: False,
    report: Callable[[int, int, float], None] = lambda phase, step, loss: None,
) -> Training:
    """Train a network in place; it ends in evaluation mode with its best weights of the last depth.

    Everything random is a function of `seed` and the number of the step, so that a run that was
    interrupted and continued from its checkpoint gives the weights of one that was not.

    Parameters
    ----------
    network : Module
    phases : sequence of Phase
    batch : callable
        Signals (B, m) and targets of a step, counted over all phases; a pure function.
    validation : tuple of Tensor
        Signals and targets on which phases end and weights are chosen.
    seed : int
        Of dropout.
    optimiser : {"adam", "sgd"}
    loss : callable
        Of outputs and targets; the squared error of codes by default.
    check_every : int
        Steps between two looks at the validation set.
    checkpoint : Path, optional
        File that is written at every check and continued from where it exists.
    enough : callable
        Asked after every phase, with the losses so far, whether the others can be spared.
    report : callable
        Told (phase, step in it, validation loss) at every check.

    Raises
    ------
    InputError
        If the checkpoint cannot be read or belongs to another training.
    """
    state = _State(network)
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint, network)
    for phase in phases[state.phase :]:
        how = seed, check_every, optimiser, loss
        for now in _steps(network, phase, state, batch, validation, how):
            report(state.phase, state.step, now)
            if checkpoint is not None:
                state.save(checkpoint, network)
        if not phase.explores:
            network.load_state_dict(state.best_weights)
        if state.diverged or enough(state.losses):
            break
        state.next_phase()
    network.load_state_dict(state.least_weights)
    network.eval()
    return Training(state.losses, state.least, state.diverged, state.total)


def search(network: Unrolled, looks: int, validation: Examples) -> tuple[Training, bool]:
    """Minimise the validation loss over the few constants of a network, by their logarithms.

    Returns also whether the simplex shrank to a point before it had had all its looks.
    """
    signals, codes = validation
    (constants,) = network.parameters()
    losses: Losses = []

    def loss(logarithms: NDArray[np.float64]) -> float:
        with torch.no_grad():
            constants.copy_(torch.tensor(np.exp(logarithms)))
            now = float(squared_error(network(signals), codes))
        losses.append((0, len(losses) + 1, now))
        return now if np.isfinite(now) else 1e300

    start = np.log(constants.detach().numpy())
    simplex = np.vstack([start, start + np.eye(start.size)])
    options = {"maxfev": looks, "xatol": 1e-3, "initial_simplex": simplex}
    found = minimize(loss, start, method="Nelder-Mead", options=options)
    with torch.no_grad():
        constants.copy_(torch.tensor(np.exp(found.x)))
    return Training(losses, float(found.fun), "", len(losses)), bool(found.success)


def _steps(
    network: nn.Module,
    phase: Phase,
    state: _State,
    batch: Callable[[int], Examples],
    validation: Examples,
    how: tuple[int, int, str, Loss],
) -> Iterator[float]:
    """Take the steps of a phase; yield the validation loss at every check."""
    seed, check_every, optimiser, loss_of = how
    # What a loss does not depend on has no gradient and is left as it is.
    stepper = _OPTIMISERS[optimiser](network.parameters(), phase.rate)
    if state.optimiser is not None:
        stepper.state = state.optimiser
    else:
        state.best = _validate(network, phase, validation, loss_of)
        state.losses.append((state.phase, 0, state.best))
        state.best_weights = copy.deepcopy(network.state_dict())
        if phase.depth != state.depth or state.best < state.least:
            state.depth, state.least = phase.depth, state.best
            state.least_weights = state.best_weights
    while state.step < phase.steps and (phase.explores or state.stale < phase.patience):
        # `torch.manual_seed` writes down the stack of its caller for every kind of device.
        torch.default_generator.manual_seed(_seed_of_step(seed, state.total))
        network.train()
        for part in network.modules():
            if isinstance(part, Unrolled):
                part.sigma = phase.sigma
        signals, target = batch(state.total)
        loss = loss_of(_codes(network, phase, signals), target)
        loss.backward()
        stepper.step()
        state.step, state.total = state.step + 1, state.total + 1
        if state.step % check_every and state.step < phase.steps and bool(loss.isfinite()):
            continue
        now = _validate(network, phase, validation, loss_of)
        state.losses.append((state.phase, state.step, now))
        state.optimiser = stepper.state
        if not now <= _DIVERGED * state.best:
            state.diverged = (
                f"diverged in step {state.step} of phase {state.phase + 1}: the weights kept are "
                f"those of validation loss {state.best:.3g}"
            )
            state.step = phase.steps
        elif now < state.best:
            state.best, state.stale = now, 0
            state.best_weights = copy.deepcopy(network.state_dict())
            if now < state.least:
                state.least, state.least_weights = now, state.best_weights
        else:
            state.stale += 1
        yield now


def _seed_of_step(seed: int, step: int) -> int:
    """Return what torch is seeded with at a step: 64 bits, by a hash where the sum has more."""
    number = seed * _STEPS_APART + step
    if -(2**63) <= number < 2**64:
        return number
    return int(digest({"seed": seed, "step": step})[:16], 16)


def _codes(network: nn.Module, phase: Phase, signals: Tensor) -> Tensor:
    if isinstance(network, Unrolled):
        return network.codes(signals, depth=phase.depth, first=phase.first)[-1]
    codes: Tensor = network(signals)
    return codes


def _validate(network: nn.Module, phase: Phase, validation: Examples, loss: Loss) -> float:
    """Return the loss on the validation set as the network is used: with hard thresholds."""
    network.eval()
    with torch.no_grad():
        return float(loss(_codes(network, phase, validation[0]), validation[1]))


class _State:
    """Where a training stands: all that a checkpoint holds."""

    def __init__(self, network: nn.Module) -> None:
        self.phase = self.step = self.total = self.stale = 0
        # Of the phase, and of all phases since the depth was another.
        self.best = self.least = math.inf
        self.best_weights = self.least_weights = copy.deepcopy(network.state_dict())
        self.depth = 0
        self.losses: Losses = []
        self.optimiser: list[Any] | None = None
        self.diverged = ""
        self.saved = time.monotonic()

    def next_phase(self) -> None:
        self.phase, self.step, self.stale = self.phase + 1, 0, 0
        self.optimiser = None

    def save(self, path: Path, network: nn.Module) -> None:
        """Write a checkpoint, unless one was written just now; the file is whole at any moment."""
        if time.monotonic() - self.saved < _SECONDS_BETWEEN and not self.diverged:
            return
        self.saved = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        held = {key: value for key, value in vars(self).items() if key != "saved"}
        with written_whole(path) as part:
            torch.save({"format": _FORMAT, "weights": network.state_dict(), **held}, part)

    def load(self, path: Path, network: nn.Module) -> None:
        try:
            saved = torch.load(path, weights_only=True)
            if saved.pop("format") != _FORMAT:
                raise ValueError
            network.load_state_dict(saved.pop("weights"))
        except Exception:
            raise InputError(
                f"{path} is no checkpoint of this training: delete it to start again"
            ) from None
        vars(self).update(saved)
