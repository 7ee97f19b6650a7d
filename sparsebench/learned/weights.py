"""Training by recipe, and the cache of trained weights."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from sparsebench.environment import cache_folder
from sparsebench.learned.catalogue import Blueprint, blueprint
from sparsebench.learned.networks import Unrolled
from sparsebench.learned.training import Batch, Phase, Training, layer_wise, squared_error, train
from sparsebench.problems import check_seed, draw_batch, draw_dictionary
from sparsebench.registry import Choice, get_problem
from sparsebench.seeding import canonical, digest
from sparsebench.types import Dictionary, InputError

_FORMAT = 1
_SHORT = 12


@dataclass(frozen=True)
class Plan:
    """How long and how fast a network is trained.

    Attributes
    ----------
    batch, validation : int
        Signals a step, and in the validation set.
    steps : int
        Most steps of a phase; for the simplex search, most looks at a batch.
    patience, check_every : int
        Checks without a better loss that end a phase, and steps between two.
    """

    batch: int = 64
    validation: int = 500
    steps: int = 200
    patience: int = 5
    check_every: int = 25


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a network's weights.

    Attributes
    ----------
    network : str
        A name of `NETWORKS`.
    options : tuple of (str, value)
        All of its options.
    problem : Choice
        What it is trained on; it offers ``codes(rng, n, count)``.
    m, n, depth : int
    plan : Plan
    seed : int
    """

    network: str
    options: tuple[tuple[str, Any], ...]
    problem: Choice
    m: int
    n: int
    depth: int
    plan: Plan
    seed: int

    def data(self) -> dict[str, Any]:
        """Return the recipe as JSON data."""
        return {
            "network": self.network,
            "version": blueprint(self.network).version,
            "options": dict(self.options),
            "rate": blueprint(self.network).rate,
            "problem": self.problem.recipe,
            "m": self.m,
            "n": self.n,
            "depth": self.depth,
            "plan": vars(self.plan),
            "seed": self.seed,
        }

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
        ``seconds``, ``steps``, ``best`` (validation loss), ``diverged``, ``losses``, ``threads``.
    """

    network: Unrolled
    recipe: dict[str, Any]
    record: dict[str, Any]


def path_of(name: str) -> Path:
    """Return the file that holds the weights of this name, whether it exists or not."""
    return cache_folder() / "weights" / f"{name}.pt"


def fit(
    recipe: Recipe, report: Callable[[int, int, int, float], None] = lambda *_: None
) -> Trained:
    """Return the trained network of a recipe, from the cache or by training it.

    A training that was stopped continues from its last checkpoint.

    Parameters
    ----------
    recipe : Recipe
    report : callable
        Told (phase, phases, step, validation loss) now and then.

    Raises
    ------
    InputError
        If the problem cannot be trained on, or the cache holds something else.
    """
    path = path_of(recipe.name)
    if path.exists():
        return load(recipe.name)
    dictionary = draw_dictionary(recipe.problem, recipe.m, recipe.n, 0, recipe.seed)
    kind = blueprint(recipe.network)
    torch.manual_seed(recipe.seed)
    A = torch.tensor(dictionary.A)
    network = kind.build(A, recipe.depth, dict(recipe.options)).float()
    begin = time.perf_counter()
    if kind.training == "search":
        training = _search(network, recipe, dictionary)
    else:
        plan = recipe.plan
        phases = _phases(kind, plan, recipe.depth)
        training = train(
            network,
            phases,
            lambda step: _draw(recipe, dictionary, "training", step, plan.batch),
            _draw(recipe, dictionary, "validation", 0, plan.validation),
            seed=recipe.seed,
            check_every=plan.check_every,
            checkpoint=path.with_suffix(".training.pt"),
            report=lambda phase, step, loss: report(phase, len(phases), step, loss),
        )
    record = {**vars(training), "seconds": time.perf_counter() - begin}
    record["threads"] = torch.get_num_threads()
    _save(path, network, recipe, record)
    path.with_suffix(".training.pt").unlink(missing_ok=True)
    return Trained(network.eval(), recipe.data(), record)


def _phases(kind: Blueprint, plan: Plan, depth: int) -> list[Phase]:
    if kind.training == "layer-wise":
        return layer_wise(depth, kind.rate, plan.steps, plan.patience)
    # As many steps in all, in three phases.
    return [
        Phase(depth, 0, share * kind.rate, depth * plan.steps, 2 * plan.patience)
        for share in (1.0, 0.2, 0.02)
    ]


def _draw(recipe: Recipe, dictionary: Dictionary, use: str, step: int, count: int) -> Batch:
    """Return signals and codes of a step, a pure function of the recipe's seed, use and step."""
    key = {"seed": recipe.seed, "use": use, "step": step, "problem": recipe.problem.recipe}
    signals, codes = draw_batch(recipe.problem, dictionary, count, key)
    return torch.tensor(signals, dtype=torch.float32), torch.tensor(codes, dtype=torch.float32)


def _search(network: Unrolled, recipe: Recipe, dictionary: Dictionary) -> Training:
    """Minimise the validation loss over the few constants of a network, by their logarithms."""
    signals, codes = _draw(recipe, dictionary, "validation", 0, recipe.plan.validation)
    (constants,) = network.parameters()
    losses: list[tuple[int, int, float]] = []

    def loss(logarithms: Any) -> float:
        with torch.no_grad():
            constants.copy_(torch.tensor(np.exp(logarithms)))
            now = float(squared_error(network(signals), codes))
        losses.append((0, len(losses) + 1, now))
        return now if np.isfinite(now) else 1e300

    start = np.log(constants.detach().numpy())
    simplex = np.vstack([start, start + np.eye(start.size)])
    options = {"maxfev": recipe.plan.steps, "xatol": 1e-3, "initial_simplex": simplex}
    found = minimize(loss, start, method="Nelder-Mead", options=options)
    with torch.no_grad():
        constants.copy_(torch.tensor(np.exp(found.x)))
    return Training(losses, float(found.fun), "", len(losses))


def _save(path: Path, network: Unrolled, recipe: Recipe, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    content = {
        "format": _FORMAT,
        "recipe": canonical(recipe.data()),
        "record": json.dumps(record),
        "weights": network.state_dict(),
    }
    torch.save(content, part)
    part.replace(path)


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
    problem: Choice,
    m: int,
    n: int,
    depth: int,
    plan: Plan,
    seed: int = 0,
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
    if not hasattr(get_problem(problem.name).factory, "codes"):
        raise InputError(f"{problem.name} has no law of codes to train on; lista has one")
    filled = tuple(sorted({**known, **options}.items()))
    return Recipe(network, filled, problem, m, n, depth, plan, seed)
