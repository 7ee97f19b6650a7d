"""Error against the number of matrix products: trained networks beside the iterations they unroll.

All methods meet the same test signals, which no training has seen. A stage or an iteration is
charged the products of an m x n matrix with a vector that it needs; sorting and least squares on a
support are not charged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from sparsebench.kernels.least_squares import polished
from sparsebench.learned.networks import PairNetwork
from sparsebench.learned.weights import Plan, Recipe, Trained, default_recipe
from sparsebench.problems import add_noise, draw_batch, draw_dictionary
from sparsebench.problems.lista import published_codes
from sparsebench.registry import ProblemChoice, choose_problem
from sparsebench.seeding import generator
from sparsebench.solvers import solve
from sparsebench.solvers.amp import message_passing
from sparsebench.statistics import COLUMNS, decibel_intervals
from sparsebench.theory import minimax_threshold
from sparsebench.types import Dictionary, FloatArray

# (iteration, products so far, codes of shape (B, n))
_Iterates = list[tuple[int, float, FloatArray]]

# Of algorithms that are told k: products an iteration, with A, Aᵀ and for a step size.
_TOLD_K = {"niht": 3.0, "htp": 2.0, "sea": 2.0}
_ITERATIONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# Lambdas among which those of ISTA and FISTA are chosen on the validation set.
_LAMBDAS = np.geomspace(0.005, 0.5, 9)


@dataclass(frozen=True)
class Shift:
    """What differs from the training in one panel.

    Attributes
    ----------
    title : str
    options : dict
        Options of the problem.
    perturbation : float
        ||E||_F / ||A||_F, where signals come from A + E and all methods know A alone.
    """

    title: str
    options: dict[str, Any]
    perturbation: float = 0.0


@dataclass(frozen=True)
class Unrolling:
    """Train networks on a problem and follow their error stage by stage, there and elsewhere.

    Attributes
    ----------
    networks : list of str
    problem : ProblemChoice
        One with a fixed dictionary and a law of codes.
    m, n, depth : int
    plan : Plan
    shifts : list of Shift
        The panels.
    tests : int
        Signals a panel.
    seed : int
    """

    networks: list[str]
    problem: ProblemChoice
    m: int
    n: int
    depth: int
    plan: Plan
    shifts: list[Shift]
    tests: int
    seed: int

    def recipes(self) -> list[Recipe]:
        """Return the recipes of the networks."""
        return [
            default_recipe(name, self.problem, self.m, self.n, self.depth, self.plan, self.seed)
            for name in self.networks
        ]

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON data."""
        return {
            "experiment": "unrolling",
            "networks": [recipe.data() for recipe in self.recipes()],
            "shifts": [vars(shift) for shift in self.shifts],
            "tests": self.tests,
        }

    def run(
        self,
        trained: dict[str, Trained],
        panel: Callable[[str, str], None] = lambda title, method: None,
    ) -> pd.DataFrame:
        """Return one row a panel, method and iteration.

        Columns: panel, curve, told, iteration, x (products), estimate, lower, upper (NMSE in dB, a
        ratio of sums), mean, mean_lower, mean_upper (mean over signals of their NMSE in dB),
        trials, failures, weights and the problem; of networks validation (the least NMSE on the
        validation set), steps and converged, all three of their training. A code that is not finite
        counts as zero, whose NMSE is 0 dB, and as a failure.

        Parameters
        ----------
        trained : dict of str to Trained
            The networks of `recipes`, by name.
        panel : callable
            Told (title, method) before each evaluation.
        """
        dictionary = draw_dictionary(self.problem, self.m, self.n, 0, self.seed)
        lambdas = self._tuned(dictionary)
        frames = []
        for shift in self.shifts:
            problem, signals, codes = self._signals(shift, dictionary)
            methods = self._methods(trained, dictionary, signals, codes, lambdas)
            for label, told, weights, iterates in methods:
                panel(shift.title, label)
                frames.append(
                    _summary(iterates(), codes).assign(
                        panel=shift.title,
                        curve=label,
                        algorithm=label,
                        told=told,
                        metric="nmse",
                        weights=weights,
                        **(_training(trained[label]) if weights else {}),
                        perturbation=shift.perturbation,
                        problem=problem.label,
                        problem_options=json.dumps(dict(problem.options)),
                        m=self.m,
                        n=self.n,
                        seed=self.seed,
                    )
                )
        return pd.concat(frames, ignore_index=True)

    def _signals(
        self, shift: Shift, dictionary: Dictionary
    ) -> tuple[ProblemChoice, FloatArray, FloatArray]:
        """Return the problem of a panel with its test signals and codes."""
        options = dict(self.problem.options) | shift.options
        problem = choose_problem(self.problem.name, options)
        key = {"seed": self.seed, "use": "test", "problem": problem.recipe}
        published = options.get("dictionary_of") == "alista" and not (
            {"rate", "amplitudes"} & set(shift.options)
        )
        drawn, codes = draw_batch(problem, dictionary, self.tests, key)
        if not published and not shift.perturbation:
            return problem, drawn, codes
        codes = published_codes()[: self.tests] if published else codes
        rng, A = generator({**key, "perturbation": shift.perturbation}), dictionary.A
        error = rng.standard_normal(A.shape)
        error *= shift.perturbation * np.linalg.norm(A) / np.linalg.norm(error)
        return problem, add_noise(codes @ (A + error).T, float(options["snr"]), rng), codes

    def _tuned(self, dictionary: Dictionary) -> dict[str, float]:
        """Return the lambdas with the least error after `depth` iterations, off the test set."""
        key = {"seed": self.seed, "use": "lambda", "problem": self.problem.recipe}
        signals, codes = draw_batch(self.problem, dictionary, self.tests, key)
        tuned = {}
        for name, run in _ITERATIVE.items():
            last = [run(dictionary, signals, lam, self.depth)[-1][2] for lam in _LAMBDAS]
            tuned[name] = _LAMBDAS[int(np.argmin([np.square(z - codes).sum() for z in last]))]
        return tuned

    def _methods(
        self,
        trained: dict[str, Trained],
        dictionary: Dictionary,
        signals: FloatArray,
        codes: FloatArray,
        lambdas: dict[str, float],
    ) -> Iterator[tuple[str, str, str, Callable[[], _Iterates]]]:
        """Yield each method's label, what it is told, its weights, and its iterates."""
        products = (1 + self.n / self.m) * self.depth
        pairs = int(products / 2)
        for recipe in self.recipes():
            network = trained[recipe.network]
            yield recipe.network, "training", recipe.name, partial(_stages, network, signals)
        for name, run in _ITERATIVE.items():
            yield name, "lambda", "", partial(run, dictionary, signals, lambdas[name], pairs)
        yield "amp", "", "", partial(_amp, dictionary, signals, pairs)
        for name, each in _TOLD_K.items():
            yield name, "k", "", partial(_solved, name, each, dictionary, signals, codes, products)
        yield "oracle", "support", "", partial(_oracle, dictionary, signals, codes, products)


def _training(trained: Trained) -> dict[str, Any]:
    record = trained.record
    return {"validation": record["nmse"], **{key: record[key] for key in ("steps", "converged")}}


def learning_curves(trained: Iterable[Trained]) -> pd.DataFrame:
    """Return one row a look at the validation set, in the order of each training.

    Columns: network, start (the network as which it began; empty for an iteration), weights, phase,
    depth and rate of the phase, step (over all phases), validation (NMSE in dB), converged.
    """
    rows = []
    for one in trained:
        record, recipe = one.record, one.recipe
        before = at = 0
        for phase, step, loss in record["losses"]:
            if step == 0 and phase:
                before = at
            at = before + step
            depth, rate = record["phases"][phase]
            rows.append(
                {
                    "network": recipe["network"],
                    "start": recipe["start"]["network"] if recipe["start"] else "",
                    "weights": one.name,
                    "phase": phase + 1,
                    "depth": depth,
                    "rate": rate,
                    "step": at,
                    "validation": 10 * np.log10(loss / record["power"]),
                    "converged": record["converged"],
                }
            )
    return pd.DataFrame(rows)


def _stages(trained: Trained, signals: FloatArray) -> _Iterates:
    network = trained.network
    with torch.no_grad():
        codes = network.codes(torch.tensor(signals, dtype=torch.float32))
    return [(t, t * network.products(), z.double().numpy()) for t, z in enumerate(codes, 1)]


def ista_iterates(dictionary: Dictionary, signals: FloatArray, lam: float, count: int) -> _Iterates:
    """Return the iterates of ISTA with step 1 / L: a network that is not trained."""
    A = torch.tensor(dictionary.A)
    step = 1 / dictionary.squared_spectral_norm
    network = PairNetwork(A, count, "soft", threshold=lam * step, step=step, tied=True)
    with torch.no_grad():
        codes = network.codes(torch.tensor(signals))
    return [(t, 2.0 * t, z.numpy()) for t, z in enumerate(codes, 1)]


def fista_iterates(
    dictionary: Dictionary, signals: FloatArray, lam: float, count: int
) -> _Iterates:
    """Return the iterates of FISTA with step 1 / L.

    References
    ----------
    Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009, doi:10.1137/080716542.
    """
    A, step = dictionary.A, 1 / dictionary.squared_spectral_norm
    x = point = np.zeros((len(signals), A.shape[1]))
    momentum, found = 1.0, []
    for t in range(1, count + 1):
        u = point + step * (signals - point @ A.T) @ A
        new = np.sign(u) * np.maximum(np.abs(u) - lam * step, 0.0)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        point = new + (momentum - 1) / following * (new - x)
        x, momentum = new, following
        found.append((t, 2.0 * t, x))
    return found


_ITERATIVE = {"ista": ista_iterates, "fista": fista_iterates}


def _amp(dictionary: Dictionary, signals: FloatArray, count: int) -> _Iterates:
    m, n = dictionary.shape
    inverse_norms = 1 / np.sqrt(dictionary.squared_norms)
    alpha = minimax_threshold(min(m / n, 0.9))
    every = np.zeros((count, len(signals), n))
    for i, y in enumerate(signals):
        iterates = np.zeros((count, n))
        last, _, n_iter, _ = message_passing(
            dictionary.atoms, y.copy(), inverse_norms, alpha, count, 0.0, iterates
        )
        iterates[n_iter:] = last
        every[:, i] = iterates
    return [(t + 1, 2.0 * (t + 1), every[t]) for t in range(count)]


def _solved(
    name: str,
    each: float,
    dictionary: Dictionary,
    signals: FloatArray,
    codes: FloatArray,
    products: float,
) -> _Iterates:
    """Return the estimates of an algorithm that is told the number of non-zeros, by budget."""
    found: _Iterates = []
    for t in _ITERATIONS:
        if t * each > products:
            break
        estimates = np.zeros_like(codes)
        for i, (y, code) in enumerate(zip(signals, codes, strict=True)):
            k = min(max(int(np.count_nonzero(code)), 1), dictionary.shape[0])
            estimates[i] = solve(name, dictionary, y, k, max_iter=t).x
        found.append((t, t * each, estimates))
    return found


def _oracle(
    dictionary: Dictionary, signals: FloatArray, codes: FloatArray, products: float
) -> _Iterates:
    """Return least squares on the true support, as a level line."""
    estimates = np.zeros_like(codes)
    for i, (y, code) in enumerate(zip(signals, codes, strict=True)):
        support = np.flatnonzero(code)
        estimates[i] = polished(
            dictionary.atoms, dictionary.gram, y.copy(), support, support.size, code.size
        )
    return [(0, 0.0, estimates), (0, products, estimates)]


def _summary(iterates: _Iterates, codes: FloatArray) -> pd.DataFrame:
    power = np.square(codes).sum(1)
    rows = []
    for iteration, products, estimates in iterates:
        with np.errstate(over="ignore"):
            failed = ~np.isfinite(np.square(estimates, dtype=np.float64).sum(1))
        kept = np.where(failed[:, None], 0.0, estimates)
        error = np.square(kept - codes).sum(1)
        quoted, mean = decibel_intervals(error, power)
        rows.append(
            {
                "iteration": iteration,
                "x": products,
                **dict(zip(COLUMNS, quoted, strict=True)),
                **dict(zip(("mean", "mean_lower", "mean_upper"), mean, strict=True)),
                "trials": len(codes),
                "failures": int(failed.sum()),
            }
        )
    return pd.DataFrame(rows)
