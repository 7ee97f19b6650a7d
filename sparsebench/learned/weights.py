"""Training by recipe, and the cache of trained weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsebench.errors import InputError, check_seed
from sparsebench.learned.catalogue import blueprint
from sparsebench.learned.networks import Unrolled
from sparsebench.learned.training import (
    Examples,
    Losses,
    Phase,
    Training,
    layer_wise,
    search,
    train,
)
from sparsebench.problems import draw_batch, draw_dictionary
from sparsebench.registry import ProblemChoice
from sparsebench.seeding import canonical, digest
from sparsebench.system.folders import cache_folder, check_cache, written_whole
from sparsebench.types import Dictionary

_FORMAT = 2
_SHORT = 12
# A training has converged when a whole round more leaves the validation error as it is, up to this.
GAIN = 0.1  # dB
_ROUND = (1.0, 0.2, 0.02)
_Report = Callable[[int, int, int, float, float], None]


@dataclass(frozen=True)
class Plan:
    """How long and how fast a network is trained.

    Attributes
    ----------
    batch, validation : int
        Signals a step, and in the validation set.
    steps : int
        Most steps of a phase; for the simplex search, most looks at a batch.
    rounds : int
        Most rounds of training all stages, after the layer-wise phases where there are some: each
        of `depth * steps` steps at the first rate, and as many at most at .2 and at .02 of it. They
        end with the first that leaves the validation error as it is, up to `GAIN`.
    patience, check_every : int
        Checks without a better loss that end a phase, and steps between two.
    rate : float
        First learning rate; 0 for the network's own.
    """

    batch: int = 64
    validation: int = 500
    steps: int = 200
    rounds: int = 2
    patience: int = 5
    check_every: int = 25
    rate: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a network's weights.

    Attributes
    ----------
    network : str
        A name of `NETWORKS`.
    options : tuple of (str, value)
        All of its options.
    problem : ProblemChoice
        What it is trained on; it offers ``codes(rng, n, count)``.
    m, n, depth : int
    plan : Plan
    seed : int
    start : Recipe, optional
        Of the network, of learnt or analytic weights, as which it begins; it is then trained in
        rounds only. By default it begins as an iteration.
    """

    network: str
    options: tuple[tuple[str, Any], ...]
    problem: ProblemChoice
    m: int
    n: int
    depth: int
    plan: Plan
    seed: int
    start: Recipe | None = None

    def data(self) -> dict[str, Any]:
        """Return the recipe as JSON data."""
        return vars(self) | {
            "version": blueprint(self.network).version,
            "options": dict(self.options),
            "rate": self.rate,
            "problem": self.problem.recipe,
            "plan": vars(self.plan),
            "start": self.start.data() if self.start else None,
        }

    @property
    def rate(self) -> float:
        """The first learning rate."""
        return self.plan.rate or blueprint(self.network).rate

    @property
    def name(self) -> str:
        """The name of the weights: a hash of the recipe."""
        return digest(self.data())[:_SHORT]


@dataclass(frozen=True)
class Trained:
    """A trained network with what is known of its training.

    Attributes
    ----------
    network : Unrolled
        In evaluation mode, float32.
    recipe : dict
        As `Recipe.data` gave it.
    record : dict
        ``seconds``, ``steps``, ``best`` (validation loss), ``nmse`` (the same in dB),
        ``converged``, ``diverged``, ``losses``, ``phases`` (depth and rate of each), ``power``
        (the loss of a code of zeros), ``threads``.
    """

    network: Unrolled
    recipe: dict[str, Any]
    record: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the weights."""
        return digest(self.recipe)[:_SHORT]


def path_of(name: str) -> Path:
    """Return the file that holds the weights of this name, whether it exists or not."""
    return cache_folder() / "weights" / f"{name}.pt"


def fit(recipe: Recipe, report: _Report = lambda *_: None) -> Trained:
    """Return the trained network of a recipe, from the cache or by training it.

    A training that was stopped continues from its last checkpoint.

    Parameters
    ----------
    recipe : Recipe
    report : callable
        Told (phase, phases, step, validation loss, share of the work done) now and then.

    Raises
    ------
    InputError
        If the problem cannot be trained on, or the cache holds something else or cannot be
        written.
    """
    path = path_of(recipe.name)
    if path.exists():
        return load(recipe.name)
    check_cache()
    dictionary = draw_dictionary(recipe.problem, recipe.m, recipe.n, 0, recipe.seed)
    torch.manual_seed(recipe.seed)
    A = torch.tensor(dictionary.A)
    network = blueprint(recipe.network).build(A, recipe.depth, dict(recipe.options)).float()
    if recipe.start is not None:
        network.begin_as(fit(recipe.start, report).network)
    begin = time.perf_counter()
    validation = _draw(recipe, dictionary, "validation", 0, recipe.plan.validation)
    checkpoint = path.with_suffix(".training.pt")
    training, phases, converged = _train(
        recipe, network, dictionary, validation, checkpoint, report
    )
    power = float(validation[1].square().sum(-1).mean())
    record = {
        **vars(training),
        "nmse": 10 * math.log10(training.best / power),
        "converged": converged,
        "phases": [(phase.depth, phase.rate) for phase in phases],
        "power": power,
        "seconds": time.perf_counter() - begin,
        "threads": torch.get_num_threads(),
    }
    _save(path, network, recipe, record)
    checkpoint.unlink(missing_ok=True)
    return Trained(network.eval(), recipe.data(), record)


def _train(
    recipe: Recipe,
    network: Unrolled,
    dictionary: Dictionary,
    validation: Examples,
    checkpoint: Path,
    report: _Report,
) -> tuple[Training, list[Phase], bool]:
    """Train a network by its recipe; return also the phases and whether it converged."""
    plan = recipe.plan
    if blueprint(recipe.network).training == "search":
        training, converged = search(network, plan.steps, validation)
        return training, [Phase(recipe.depth, 0, math.nan, plan.steps, plan.steps)], converged
    layers, rounds = phases_of(recipe)
    phases = layers + rounds
    work = np.cumsum([0] + [phase.depth * phase.steps for phase in phases])

    def told(phase: int, step: int, loss: float) -> None:
        done = (work[phase] + phases[phase].depth * step) / work[-1]
        report(phase, len(phases), step, loss, float(done))

    training = train(
        network,
        phases,
        lambda step: _draw(recipe, dictionary, "training", step, plan.batch),
        validation,
        seed=recipe.seed,
        check_every=plan.check_every,
        checkpoint=checkpoint,
        enough=lambda losses: settled(losses, len(layers)),
        report=told,
    )
    return training, phases, not training.diverged and settled(training.losses, len(layers))


def phases_of(recipe: Recipe) -> tuple[list[Phase], list[Phase]]:
    """Return the layer-wise phases, and those of the rounds that follow them."""
    plan, depth = recipe.plan, recipe.depth
    by_layers = blueprint(recipe.network).training == "layer-wise" and recipe.start is None
    layers = layer_wise(depth, recipe.rate, plan.steps, plan.patience) if by_layers else []
    steps, patience = depth * plan.steps, 2 * plan.patience
    one = [
        Phase(depth, 0, share * recipe.rate, steps, patience, explores=share == _ROUND[0])
        for share in _ROUND
    ]
    return layers, plan.rounds * one


def settled(losses: Losses, layers: int) -> bool:
    """Say whether the last round is whole and left the least validation loss as it was.

    Where a round ends above the loss before it, it was too short to tell.

    Parameters
    ----------
    losses : list of tuple
        (phase, step, validation loss), up to the end of a phase.
    layers : int
        Phases before the first round.
    """
    last = losses[-1][0]
    if last < layers or (last - layers) % len(_ROUND) < len(_ROUND) - 1:
        return False
    first = last - len(_ROUND) + 1
    before = min(loss for *at, loss in losses if [layers, 0] <= at <= [first, 0])
    after = min(loss for phase, _, loss in losses if phase == last)
    return abs(10 * math.log10(before / after)) < GAIN


def _draw(recipe: Recipe, dictionary: Dictionary, use: str, step: int, count: int) -> Examples:
    """Return signals and codes of a step, a pure function of the recipe's seed, use and step."""
    key = {"seed": recipe.seed, "use": use, "step": step, "problem": recipe.problem.recipe}
    signals, codes = draw_batch(recipe.problem, dictionary, count, key)
    return torch.tensor(signals, dtype=torch.float32), torch.tensor(codes, dtype=torch.float32)


def _save(path: Path, network: Unrolled, recipe: Recipe, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": _FORMAT,
        "recipe": canonical(recipe.data()),
        "record": json.dumps(record),
        "weights": network.state_dict(),
    }
    with written_whole(path) as part:
        torch.save(content, part)


def load(name: str) -> Trained:
    """Return a trained network by the name of its weights.

    Raises
    ------
    InputError
        If there are no such weights, or they come from another version or are damaged.
    """
    path = path_of(name)
    if not path.is_file():
        raise InputError(
            f"there are no trained weights {name!r} in {path.parent}; "
            "'python -m sparsebench train' makes them and prints their name"
        )
    return _load(path)


@lru_cache(maxsize=8)
def _load(path: Path) -> Trained:
    try:
        saved = torch.load(path, weights_only=True)
        form, recipe = saved["format"], json.loads(saved["recipe"])
        record, weights = json.loads(saved["record"]), saved["weights"]
    except Exception:
        raise InputError(f"{path} cannot be read as weights: delete it and train again") from None
    kind = blueprint(recipe["network"])
    if form != _FORMAT or recipe["version"] != kind.version:
        raise InputError(f"{path} is from another version of sparsebench: delete it, train again")
    network = kind.build(weights["A"].double(), recipe["depth"], recipe["options"]).float()
    network.load_state_dict(weights)
    return Trained(network.eval(), recipe, record)


def default_recipe(
    network: str,
    problem: ProblemChoice,
    m: int,
    n: int,
    depth: int,
    plan: Plan,
    seed: int = 0,
    start: Recipe | None = None,
    **options: Any,
) -> Recipe:
    """Return a recipe with a network's default options where none are given.

    Raises
    ------
    InputError
        If the network or an option is unknown, or the problem offers no codes to train on.
    """
    check_seed(seed)
    known = blueprint(network).options
    for key in options:
        if key not in known:
            raise InputError(f"{network} has no option {key!r}; it has {', '.join(known)}")
    if not hasattr(problem.record.factory, "codes"):
        raise InputError(f"{problem.name} has no law of codes to train on; lista has one")
    filled = tuple(sorted({**known, **options}.items()))
    return Recipe(network, filled, problem, m, n, depth, plan, seed, start)
