"""Support-distance curves: how much of the support is missed, as the sparsity grows?"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sparsebench.registry import Choice, ProblemChoice
from sparsebench.run.pool import Each
from sparsebench.run.rows import Block, Experiment, Outcome, Wave
from sparsebench.statistics import COLUMNS, mean_interval
from sparsebench.types import Status


@dataclass
class SupportDistance(Experiment):
    """Find the mean support distance of each algorithm at each k.

    Parameters
    ----------
    algorithms : list of Choice
    problem : ProblemChoice
    n, m : int
        Atoms and measurements.
    ks : list of int
        Sparsities.
    trials : int
        Trials a cell.
    seed : int
        Root seed.
    time_limit : float
        Seconds a solve may take.
    """

    algorithms: list[Choice]
    problem: ProblemChoice
    n: int
    m: int
    ks: list[int]
    trials: int
    seed: int
    time_limit: float
    name: str = "support distance"
    _outcomes: dict[tuple[Choice, int], list[Outcome]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON data."""
        return {
            "experiment": "support-distance",
            "problem": self.problem.recipe,
            "algorithms": [chosen.recipe for chosen in self.algorithms],
            "n": self.n,
            "m": self.m,
            "ks": self.ks,
            "trials": self.trials,
            "seed": self.seed,
            "time_limit": self.time_limit,
        }

    def wanted(self) -> list[Block]:
        """Return every block at once: the grid is fixed."""
        if self._outcomes:
            return []
        pairs = tuple((chosen, k) for chosen in self.algorithms for k in self.ks)
        return [
            Block(self.problem, self.seed, self.n, self.m, trial, pairs, self.time_limit)
            for trial in range(self.trials)
        ]

    def take(self, rows: Wave, each: Each) -> None:
        """Take the rows."""
        for _, outcomes in rows:
            for pair, outcome in outcomes.items():
                self._outcomes[pair].append(outcome)

    def distances(self) -> pd.DataFrame:
        """Return one row a point: the mean support distance with its interval.

        A failed solve counts as distance 1.
        """
        rows = []
        for chosen in self.algorithms:
            for k in self.ks:
                outcomes = self._outcomes[chosen, k]
                estimate = mean_interval([o.support_distance for o in outcomes])
                rows.append(
                    {
                        "algorithm": chosen.label,
                        "options": json.dumps(chosen.recipe["options"]),
                        "problem": self.problem.label,
                        "m": self.m,
                        "n": self.n,
                        "k": k,
                        **dict(zip(COLUMNS, estimate, strict=True)),
                        "trials": len(outcomes),
                        "exact": sum(o.exact for o in outcomes),
                        "failures": sum(Status(o.status).failed for o in outcomes),
                        "time_outs": sum(o.status == Status.TIME_OUT for o in outcomes),
                        "problem_options": json.dumps(self.problem.recipe["options"]),
                        "seed": self.seed,
                    }
                )
        return pd.DataFrame(rows)
