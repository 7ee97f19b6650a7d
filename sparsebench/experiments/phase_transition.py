"""The phase-transition diagram: up to which sparsity does an algorithm succeed?"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sparsebench.experiments.levels import GRID_TRIALS, LEVELS
from sparsebench.experiments.sampling import (
    RULE_VERSION,
    GridSampler,
    ThresholdSampler,
    code_digest,
    recorded,
)
from sparsebench.problems import is_complex
from sparsebench.registry import Choice, ProblemChoice
from sparsebench.run.pool import Each
from sparsebench.run.rows import Block, Curve, Decision, Experiment, Kept, Wave
from sparsebench.run.successes import successes
from sparsebench.seeding import canonical
from sparsebench.statistics import wilson
from sparsebench.statistics.measures import EXACT, Success
from sparsebench.types import Status

# The full grid that a diagram is compared with ends where the fitted success rate is below this.
_NEARLY_ALL_FAIL = 0.001


@dataclass
class PhaseTransition(Experiment):
    """Find the sparsity at which each algorithm succeeds in 95 % and 50 % of trials, at each m.

    Parameters
    ----------
    algorithms : list of Choice
    problem : ProblemChoice
    n : int
        Atoms.
    ms : list of int
        Measurements.
    half_widths : dict of float to float
        Target half-width of the interval of each level that is looked for (usually .95 and .5), in
        units of k, or of m.
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
    success : Success
        What counts as one: the exact support by default.
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
    success: Success = EXACT
    _samplers: dict[tuple[Choice, int], ThresholdSampler | GridSampler] = field(
        default_factory=dict
    )
    _timed_out: dict[tuple[Choice, int], list[bool]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _decided: list[tuple[Choice, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for chosen in self.algorithms:
            for m in self.ms:
                largest = min(m, self.n)
                self._samplers[chosen, m] = (
                    GridSampler(largest, self.grid, self.levels)
                    if self.grid
                    else ThresholdSampler(largest, self.targets(m), self.max_trials)
                )

    @property
    def levels(self) -> tuple[float, ...]:
        """The success rates that are looked for, the highest first."""
        return tuple(sorted(self.half_widths, reverse=True))

    def targets(self, m: int) -> dict[float, float]:
        """Return the target half-width of each level at one m, in units of k."""
        unit = m if self.share_of_m else 1
        return {level: self.half_widths[level] * unit for level in self.levels}

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON data."""
        return {
            "experiment": "phase-transition",
            "problem": self.problem.recipe,
            "algorithms": [chosen.recipe for chosen in self.algorithms],
            "n": self.n,
            "ms": self.ms,
            "seed": self.seed,
            "time_limit": self.time_limit,
        } | self._rule()

    def _rule(self) -> dict[str, Any]:
        """Return what decides beside the problem and the algorithm."""
        special: dict[str, Any] = {} if self.success == EXACT else {"success": self.success.text}
        special |= {} if self.levels == LEVELS else {"levels": self.levels}
        if self.grid:
            return {"grid": self.grid} | special
        rule = special | {
            "half_widths": [self.half_widths[level] for level in self.levels],
            "max_trials": self.max_trials,
            "rule": RULE_VERSION,
        }
        return rule | ({"half_widths_of": "m"} if self.share_of_m else {})

    def take_up(self, kept: Kept) -> None:
        """Go on from what was decided on rows that are all there."""
        curves = {self._curve(*cell): cell for cell in self._samplers}
        for curve, decision in kept.find(curves).items():
            trials, ks, flags = decision.rows.T.tolist()
            won = [flag & 1 == 1 for flag in flags]
            self._samplers[curves[curve]].restore(
                list(zip(trials, ks, won, strict=True)), decision.state
            )
            self._timed_out[curves[curve]] = [flag & 2 == 2 for flag in flags]

    def decided(self) -> dict[Curve, Decision]:
        """Return what the last wave decided."""
        found = {}
        for cell in self._decided:
            sampler = self._samplers[cell]
            flags = np.array(sampler.success) + 2 * np.array(self._timed_out[cell])
            rows = np.array([sampler.trial, sampler.k, flags], dtype=np.int32).T
            found[self._curve(*cell)] = Decision(rows, sampler.state())
        return found

    def _curve(self, chosen: Choice, m: int) -> Curve:
        rule = canonical(self._rule() | {"code": code_digest()})
        recipe = self.problem, self.seed, self.n, m, chosen, self.time_limit
        return Curve(*recipe, rule, self.success)

    def wanted(self) -> list[Block]:
        """Return the blocks that the samplers ask for, none when all have stopped."""
        wanted: dict[tuple[int, int], list[tuple[Choice, int]]] = defaultdict(list)
        for (chosen, m), sampler in self._samplers.items():
            for trial, k in sampler.requests():
                wanted[m, trial].append((chosen, k))
        return [
            Block(self.problem, self.seed, self.n, m, trial, tuple(pairs), self.time_limit)
            for (m, trial), pairs in sorted(wanted.items(), key=lambda item: item[0])
        ]

    def take(self, rows: Wave, each: Each) -> None:
        """Hand the samplers their rows, and let them decide in the workers."""
        every = [(block, *pair, o) for block, outcomes in rows for pair, o in outcomes.items()]
        won = successes(self.success, self.problem, [(k, outcome) for _, _, k, outcome in every])
        found: dict[tuple[Choice, int], list[tuple[int, int, bool, bool]]] = defaultdict(list)
        for (block, chosen, k, outcome), success in zip(every, won, strict=True):
            late = outcome.status == Status.TIME_OUT
            found[chosen, block.m].append((block.trial, k, success, late))
        self._decided = list(found)
        tasks = []
        for cell, solved in found.items():
            solved.sort()
            self._timed_out[cell] += [late for *_, late in solved]
            tasks.append((self._samplers[cell], [(trial, k, won) for trial, k, won, _ in solved]))
        for place, sampler in each(recorded, tasks):
            self._samplers[self._decided[place]] = sampler

    def solves_to_go(self) -> dict[tuple[Choice, int], int]:
        """Forecast the solves beyond the wave in progress, by (algorithm, m)."""
        return {cell: sampler.solves_to_go() for cell, sampler in self._samplers.items()}

    def places(self, block: Block) -> list[int]:
        """Return the place of each pair's curve: m by m, so that every part has some of each."""
        row, width = self.ms.index(block.m), len(self.algorithms)
        columns = {chosen: column for column, chosen in enumerate(self.algorithms)}
        # Turned from one m to the next, so that no part has the same algorithms at all of them.
        return [row * width + (columns[chosen] + row) % width for chosen, _ in block.pairs]

    def _grid_solves(self, sampler: ThresholdSampler | GridSampler) -> int:
        """Return the solves of `GRID_TRIALS` at every k up to where nearly all fail."""
        level = min(self.half_widths)
        found, odds = sampler.estimate(level), level / (1 - level)
        last = found.estimate + found.scale * math.log(odds * (1 / _NEARLY_ALL_FAIL - 1))
        return GRID_TRIALS * min(max(math.ceil(last), 1), sampler.largest)

    def thresholds(self) -> pd.DataFrame:
        """Return one row a point: the sparsity k at each level, with its interval."""
        rows = []
        for (chosen, m), sampler in self._samplers.items():
            for level in self.levels:
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
                        "time_outs": sum(self._timed_out[chosen, m]),
                        "half_width": found.half_width,
                        "coverage": found.coverage,
                        "scale": found.scale,
                        "design_effect": found.design_effect,
                        "stopped": sampler.stopped,
                        "grid_solves": self._grid_solves(sampler),
                        "problem_options": json.dumps(self.problem.recipe["options"]),
                        "seed": self.seed,
                    }
                )
        frame = pd.DataFrame(rows).assign(**self._said())
        return frame.assign(numbers="complex") if is_complex(self.problem) else frame

    def _said(self) -> dict[str, str]:
        """Return what is added to rows of another success than the exact support."""
        return {} if self.success == EXACT else {"success": self.success.text}

    def cells(self) -> pd.DataFrame:
        """Return one row a sampled cell (algorithm, m, k): the success rate, Wilson's interval."""
        columns: dict[str, list[Any]] = defaultdict(list)
        for (chosen, m), sampler in self._samplers.items():
            ks, index = np.unique(sampler.k, return_inverse=True)
            columns["algorithm"] += [chosen.label] * ks.size
            columns["m"] += [m] * ks.size
            columns["k"] += ks.tolist()
            columns["trials"] += np.bincount(index).tolist()
            flags = {"won": sampler.success, "time_outs": self._timed_out[chosen, m]}
            for name, values in flags.items():
                columns[name] += np.bincount(index, weights=values).astype(int).tolist()
        won, trials = np.array(columns.pop("won")), np.array(columns["trials"])
        lower, upper = wilson(won, trials)
        intervals = {"estimate": won / trials, "lower": lower, "upper": upper}
        frame = pd.DataFrame(columns | intervals).assign(problem=self.problem.label, n=self.n)
        names = "algorithm", "problem", "m", "n", "k", *intervals, "trials", "time_outs"
        return frame[list(names)].assign(**self._said())
