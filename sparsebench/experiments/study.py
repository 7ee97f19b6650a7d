"""Studies: the same algorithms over chosen points, panel by panel, in one fixed wave."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsebench.registry import Choice, ProblemChoice
from sparsebench.run.pool import Each
from sparsebench.run.rows import Block, Experiment, Outcome, Wave
from sparsebench.run.successes import measured, successes
from sparsebench.statistics import COLUMNS, decibel_intervals, mean_interval, wilson
from sparsebench.statistics.measures import read_success
from sparsebench.types import InputError, Status

#: Measures of the support of which means over trials are taken.
SHARES = ("f1", "precision", "recall", "false_discovery")
_FIELDS = {field.name for field in fields(Outcome)}


@dataclass(frozen=True)
class Point:
    """One value on the x axis of one panel, with the algorithms compared there.

    Attributes
    ----------
    panel : str
    x : float
    problem : ProblemChoice
    m, n, k : int
        Measurements, atoms, non-zeros.
    trials : int
    curves : dict of str to Choice
        The algorithm of each curve here; an option of it may change along the curve.
    metrics : tuple of str
        Fields of `Outcome`, or `SHARES`, of which means over trials are taken; "nmse", the
        normalised mean square error in dB; or what counts as a success, as `read_success` reads it.
    """

    panel: str
    x: float
    problem: ProblemChoice
    m: int
    n: int
    k: int
    trials: int
    curves: dict[str, Choice]
    metrics: tuple[str, ...] = ("support_distance",)


@dataclass
class Study(Experiment):
    """Find the mean of each metric for every curve at each of some points.

    Points that share problem, sizes and trial share the dictionary, and the signal where k is the
    same too: all curves of a panel meet the same instances.

    Parameters
    ----------
    name : str
    points : list of Point
    seed : int
        Root seed.
    time_limit : float
        Seconds a solve may take.
    """

    name: str
    points: list[Point]
    seed: int
    time_limit: float
    algorithms: list[Choice] = field(init=False)
    _outcomes: dict[tuple[Any, ...], Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        every = (chosen for point in self.points for chosen in point.curves.values())
        self.algorithms = list(dict.fromkeys(every))

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON data."""
        return {
            "experiment": "study",
            "points": [
                vars(point)
                | {
                    "problem": point.problem.recipe,
                    "curves": {label: a.recipe for label, a in point.curves.items()},
                }
                for point in self.points
            ],
            "seed": self.seed,
            "time_limit": self.time_limit,
        }

    def wanted(self) -> list[Block]:
        """Return every block at once: the points are fixed."""
        if self._outcomes:
            return []
        wanted: dict[tuple[ProblemChoice, int, int, int], dict[tuple[Choice, int], None]] = (
            defaultdict(dict)
        )
        for point in self.points:
            for trial in range(point.trials):
                pairs = wanted[point.problem, point.m, point.n, trial]
                pairs.update(((a, point.k), None) for a in point.curves.values())
        return [
            Block(problem, self.seed, n, m, trial, tuple(pairs), self.time_limit)
            for (problem, m, n, trial), pairs in wanted.items()
        ]

    def take(self, rows: Wave, each: Each) -> None:
        """Take the rows."""
        for block, outcomes in rows:
            for pair, outcome in outcomes.items():
                self._outcomes[block.problem, block.m, block.n, block.trial, *pair] = outcome

    def estimates(self) -> pd.DataFrame:
        """Return one row a panel, curve, x and metric: the mean with its interval.

        A failed solve counts as distance 1 and as not recovered; ``iterations`` and ``flops``
        (iterations times the stated flops of one, summed over the links of a chain) are means
        over those that returned an estimate, NaN where one of them does not tell.

        Raises
        ------
        InputError
            If a row lacks one of the metrics.
        """
        rows = []
        for point in self.points:
            for label, chosen in point.curves.items():
                outcomes = [
                    self._outcomes[point.problem, point.m, point.n, trial, chosen, point.k]
                    for trial in range(point.trials)
                ]
                returned = [o for o in outcomes if not Status(o.status).failed]
                for metric in point.metrics:
                    estimate = _estimate(metric, outcomes, point)
                    rows.append(
                        {
                            "panel": point.panel,
                            "curve": label,
                            "x": point.x,
                            "metric": metric,
                            **dict(zip(COLUMNS, estimate, strict=True)),
                            "trials": len(outcomes),
                            "failures": len(outcomes) - len(returned),
                            "time_outs": sum(o.status == Status.TIME_OUT for o in outcomes),
                            "iterations": _mean([mean_count(o.n_iter) for o in returned]),
                            "flops": _mean([_flops(chosen, o, point) for o in returned]),
                            "algorithm": chosen.label,
                            "options": json.dumps(chosen.recipe["options"]),
                            "told": ",".join(chosen.told),
                            "problem": point.problem.label,
                            "problem_options": json.dumps(point.problem.recipe["options"]),
                            "m": point.m,
                            "n": point.n,
                            "k": point.k,
                            "seed": self.seed,
                        }
                    )
        return pd.DataFrame(rows)


def _estimate(metric: str, outcomes: Sequence[Outcome], point: Point) -> tuple[float, float, float]:
    """Return the mean of a metric with its interval: Wilson's for shares, Student's for others.

    That of errors in dB is of the mean of ||x̂ - x||² / ||x||², of which a failure counts as 1.
    """
    problem = point.problem
    if metric == "nmse":
        errors = [1.0 if o.relative_error is None else o.relative_error for o in outcomes]
        return decibel_intervals(np.square(errors), np.ones(len(errors)))[0]
    if metric in SHARES:
        return mean_interval(measured(metric, problem, [(point.k, o) for o in outcomes]))
    if metric not in _FIELDS:
        won = successes(read_success(metric), problem, [(point.k, o) for o in outcomes])
        lower, upper = wilson(sum(won), len(won))
        return sum(won) / len(won), float(lower), float(upper)
    values = [getattr(outcome, metric) for outcome in outcomes]
    if None in values:
        raise InputError(
            f"there are rows of {problem.label} without {metric}: its atoms are not ordered, or "
            "the rows are older than this metric; choose another --out"
        )
    sample = np.array(values, dtype=float)
    if metric == "exact":
        lower, upper = wilson(sample.sum(), sample.size)
        return float(sample.mean()), float(lower), float(upper)
    return mean_interval(sample)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def mean_count(n_iter: int | NDArray[np.int64] | None) -> float:
    """Return the mean of iteration counts, NaN if they are unknown."""
    return float("nan") if n_iter is None else float(np.mean(n_iter))


def _flops(chosen: Choice, outcome: Outcome, point: Point) -> float:
    """Return the stated flops of a solve, NaN where none are stated."""
    counts = [outcome.n_iter]
    if len(chosen.links) > 1:  # not known in rows of the oldest stores
        counts = [n_iter for _, n_iter, _ in json.loads(outcome.stages or "[]")]
    return chosen.flops(point.m, point.n, point.k, counts)
