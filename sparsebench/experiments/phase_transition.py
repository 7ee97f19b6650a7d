"""The phase-transition diagram: up to which sparsity does an algorithm recover the support?"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from sparsebench.experiments.levels import GRID_TRIALS, HALF, LEVELS
from sparsebench.experiments.sampling import RULE_VERSION, GridSampler, ThresholdSampler
from sparsebench.registry import Choice, ProblemChoice
from sparsebench.run.rows import Block, Waves
from sparsebench.statistics import wilson
from sparsebench.types import Status

# The full grid that a diagram is compared with ends where the fitted success rate is below this.
_NEARLY_ALL_FAIL = 0.001


@dataclass
class PhaseTransition:
    """Find the sparsity at which each algorithm recovers 95 % and 50 % of supports, at each m.

    Parameters
    ----------
    algorithms : list of Choice
    problem : ProblemChoice
    n : int
        Atoms.
    ms : list of int
        Measurements.
    half_widths : dict of float to float
        Target half-width of the interval of each level (.95 and .5), in units of k, or of m.
    max_trials : int
        Most trials (dictionaries) an algorithm and m: most runs at any one k.
    grid : int
        Trials at every k instead, if not 0: a uniform grid, for checking.
    seed : int
        Root seed.
    time_limit : float
        Seconds a solve may take.
    share_of_m : bool
        Whether the half-widths are in units of m.
    """

    algorithms: list[Choice]
    problem: ProblemChoice
    n: int
    ms: list[int]
    half_widths: dict[float, float]
    max_trials: int
    grid: int
    seed: int
    time_limit: float
    name: str = "phase transition"
    share_of_m: bool = False
    _samplers: dict[tuple[Choice, int], ThresholdSampler | GridSampler] = field(
        default_factory=dict
    )
    _time_outs: Counter[tuple[Choice, int, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for chosen in self.algorithms:
            for m in self.ms:
                largest = min(m, self.n)
                self._samplers[chosen, m] = (
                    GridSampler(largest, self.grid)
                    if self.grid
                    else ThresholdSampler(largest, self.targets(m), self.max_trials)
                )

    def targets(self, m: int) -> dict[float, float]:
        """Return the target half-width of each level at one m, in units of k."""
        unit = m if self.share_of_m else 1
        return {level: width * unit for level, width in self.half_widths.items()}

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON data."""
        rule: dict[str, Any] = (
            {"grid": self.grid}
            if self.grid
            else {
                "half_widths": [self.half_widths[level] for level in LEVELS],
                "max_trials": self.max_trials,
                "rule": RULE_VERSION,
            }
            | ({"half_widths_of": "m"} if self.share_of_m else {})
        )
        return {
            "experiment": "phase-transition",
            "problem": self.problem.recipe,
            "algorithms": [chosen.recipe for chosen in self.algorithms],
            "n": self.n,
            "ms": self.ms,
            "seed": self.seed,
            "time_limit": self.time_limit,
        } | rule

    def waves(self) -> Waves:
        """Yield the blocks that the samplers ask for and hand them the rows, until all stop."""
        while True:
            wanted: dict[tuple[int, int], list[tuple[Choice, int]]] = defaultdict(list)
            for (chosen, m), sampler in self._samplers.items():
                for trial, k in sampler.requests():
                    wanted[m, trial].append((chosen, k))
            if not wanted:
                return
            rows = yield [
                Block(self.problem, self.seed, self.n, m, trial, tuple(pairs), self.time_limit)
                for (m, trial), pairs in sorted(wanted.items(), key=lambda item: item[0])
            ]
            found: dict[tuple[Choice, int], list[tuple[int, int, bool]]] = defaultdict(list)
            for block, outcomes in rows:
                for (chosen, k), outcome in outcomes.items():
                    found[chosen, block.m].append((block.trial, k, outcome.exact))
                    self._time_outs[chosen, block.m, k] += outcome.status == Status.TIME_OUT
            for cell, triples in found.items():
                self._samplers[cell].record(sorted(triples))

    def solves_to_go(self) -> dict[tuple[Choice, int], int]:
        """Forecast the solves beyond the wave in progress, by (algorithm, m)."""
        return {cell: sampler.solves_to_go() for cell, sampler in self._samplers.items()}

    @staticmethod
    def _grid_solves(sampler: ThresholdSampler | GridSampler) -> int:
        """Return the solves of `GRID_TRIALS` at every k up to where nearly all fail."""
        half = sampler.estimate(HALF)
        last = half.estimate + half.scale * logit(1 - _NEARLY_ALL_FAIL)
        return GRID_TRIALS * min(max(math.ceil(last), 1), sampler.largest)

    def thresholds(self) -> pd.DataFrame:
        """Return one row a point: the sparsity k at each level, with its interval."""
        rows = []
        for (chosen, m), sampler in self._samplers.items():
            for level in LEVELS:
                found = sampler.estimate(level)
                rows.append(
                    {
                        "algorithm": chosen.label,
                        "options": json.dumps(chosen.recipe["options"]),
                        "problem": self.problem.label,
                        "m": m,
                        "n": self.n,
                        "level": level,
                        "estimate": found.estimate,
                        "lower": found.lower,
                        "upper": found.upper,
                        "trials": len(sampler.k),
                        "time_outs": sum(
                            self._time_outs[chosen, m, k] for k in np.unique(sampler.k)
                        ),
                        "half_width": found.half_width,
                        "coverage": found.coverage,
                        "scale": found.scale,
                        "design_effect": found.design_effect,
                        "stopped": sampler.stopped,
                        "grid_solves": self._grid_solves(sampler),
                        "problem_options": json.dumps(dict(self.problem.options)),
                        "seed": self.seed,
                    }
                )
        return pd.DataFrame(rows)

    def cells(self) -> pd.DataFrame:
        """Return one row a sampled cell (algorithm, m, k): the success rate, Wilson's interval."""
        rows = []
        for (chosen, m), sampler in self._samplers.items():
            ks, wins = np.array(sampler.k), np.array(sampler.success, dtype=bool)
            for k in np.unique(ks):
                here = wins[ks == k]
                lower, upper = wilson(here.sum(), here.size)
                rows.append(
                    {
                        "algorithm": chosen.label,
                        "problem": self.problem.label,
                        "m": m,
                        "n": self.n,
                        "k": int(k),
                        "estimate": here.mean(),
                        "lower": float(lower),
                        "upper": float(upper),
                        "trials": here.size,
                        "time_outs": self._time_outs[chosen, m, int(k)],
                    }
                )
        return pd.DataFrame(rows)
