"""Where to sample next: the fixed rule by which one algorithm's thresholds at one m are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from sparsebench.experiments import levels
from sparsebench.experiments.levels import HALF, LEVELS, NEARLY_ALL, NOT_MONOTONE
from sparsebench.seeding import digest
from sparsebench.statistics import (
    Threshold,
    fit_threshold,
    intervals,
    monotone_p_value,
    posterior,
    thresholds,
)

#: Fewer solves than this say nothing of a threshold.
FEWEST_SOLVES = 40
#: Changes whenever the rule below does; part of the recipe of a run.
RULE_VERSION = 8
# Trials a wave; the last size repeats. Fixed, so that all algorithms meet the same dictionaries.
_WAVES = (2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64)
_PILOT = (0.05, 0.12, 0.25, 0.45)
# Distinct sparsities a trial and level, in units of the logistic scale around the estimate. At
# the 95 % point the variance is flat between theta - s and theta + s; successes cost less. At the
# 50 % point, and between `_MIDDLE`, rows nearer than this leave the scale, and so the interval, to
# chance.
_OFFSETS = {NEARLY_ALL: (-0.6, 0.6, -0.2, 0.2), HALF: (0.8, -0.8)}
_MIDDLE = 0.2, 0.8
# The look below: sparsities spread below the point of the highest level, and trials at each; below
# this p-value the success rate does not fall steadily with k, and there is no one point.
_CHECKED, _CHECKS = 16, 4
_RISING = 1e-3
# Sparsities a wave of the uniform grid, so that a dictionary is not drawn anew for each.
_GRID_WAVE = 10


def wave_trials(wave: int) -> range:
    """Return the trial numbers of a wave, the same for every algorithm and m."""
    start = sum(_WAVES[:wave]) + max(wave - len(_WAVES), 0) * _WAVES[-1]
    return range(start, start + _WAVES[min(wave, len(_WAVES) - 1)])


@dataclass
class ThresholdSampler:
    """Sequential sampling of one success curve until its thresholds are known.

    Waves of trials: first sparsities spread over 0..m/2, then around the current estimates of
    the points, at most six a trial, until both intervals are short enough or the trials are
    spent. Before it ends, one wave looks at sparsities far below: an algorithm whose success falls,
    rises and falls again has no one point, and is said to be "not monotone"; where that wave leaves
    an interval too wide, sampling goes on. Every choice depends on this curve's own rows only.

    Parameters
    ----------
    largest : int
        min(m, n), the largest sparsity.
    half_widths : dict of float to float
        Target half-width of the interval of each level that is looked for, in units of k.
    max_trials : int
        Most trials, and so most runs at any one sparsity.
    """

    largest: int
    half_widths: dict[float, float]
    max_trials: int
    k: list[int] = field(default_factory=list)
    trial: list[int] = field(default_factory=list)
    success: list[bool] = field(default_factory=list)
    wave: int = 0
    stopped: str = ""
    _looking: bool = False
    _looked: bool = False
    _estimates: dict[float, Threshold] = field(default_factory=dict)

    def requests(self) -> list[tuple[int, int]]:
        """Return the (trial, k) pairs of the next wave; none when finished."""
        if self.stopped:
            return []
        if self._looking:
            return self._checks()
        trials = wave_trials(self.wave)[: self._trials_left()]
        pairs: list[tuple[int, int]] = []
        if self.wave == 0:
            ks = {max(1, round(part * self.largest)) for part in _PILOT}
            pairs = [(trial, k) for trial in trials for k in sorted(ks)]
        else:
            for level in self.half_widths:
                points = self._points(level)
                few = -(-self._solves_wanted(level) // len(points))
                pairs += [(trial, k) for trial in trials[:few] for k in points]
        return sorted(set(pairs))

    def record(self, rows: list[tuple[int, int, bool]]) -> None:
        """Take the (trial, k, success) rows of the wave, and decide whether to go on."""
        for trial, k, success in rows:
            self.trial.append(trial)
            self.k.append(k)
            self.success.append(success)
        self._estimates = {level: self._fit(level) for level in self.half_widths}
        self.wave += 1
        looked, self._looking = self._looking, False
        reason = self._reason()
        if reason and not self._looked:
            self._looked = True
            self._looking = bool(self._checks())
        if not self._looking and (reason or looked):
            self.stopped = _unless_not_monotone(reason, self.k, self.success)

    def state(self) -> dict[str, Any]:
        """Return what has been decided, as JSON data; `restore` takes it back."""
        return {
            "wave": self.wave,
            "stopped": self.stopped,
            "looking": self._looking,
            "looked": self._looked,
            "estimates": _as_json(self._estimates),
        }

    def restore(self, rows: Sequence[tuple[int, int, bool]], state: dict[str, Any]) -> None:
        """Go on from a state and the (trial, k, success) rows on which it rests, in their order."""
        self.trial, self.k, self.success = (list(column) for column in zip(*rows, strict=True))
        self.wave, self.stopped = state["wave"], state["stopped"]
        self._looking, self._looked = state["looking"], state["looked"]
        self._estimates = _from_json(state["estimates"])

    def estimate(self, level: float) -> Threshold:
        """Return the current estimate of a level."""
        return self._estimates[level]

    def solves_to_go(self) -> int:
        """Return a forecast of the solves that are still needed."""
        if self.stopped or self._looking:
            return 0
        if self.wave < 4:
            # Measured curves at n = 500 fall over about 2 % of m, and 20 s² solves give a
            # half-width of 1.96.
            scale = 0.5 + 0.018 * self.largest
            target = min(self.half_widths.values())
            needed = max(60.0, 20 * (1.96 * scale / target) ** 2) - len(self.k)
        else:
            needed = sum(self._missing(level) for level in self.half_widths)
        most = self._trials_left() * sum(len(_offsets(level)) for level in self.half_widths)
        return int(np.clip(needed, 1, most))

    def _reason(self) -> str:
        """Return why sampling may end here, if it may."""
        if len(self.k) >= FEWEST_SOLVES and not any(map(self._missing, self.half_widths)):
            return "half-width"
        return "" if self._trials_left() else "trial limit"

    def _checks(self) -> list[tuple[int, int]]:
        """Return pairs of the first trials and sparsities below the lowest point, without rows."""
        lowest = self._estimates[max(self.half_widths)].estimate
        below = np.linspace(0, lowest, _CHECKED + 1)[1:-1]
        ks = {max(1, round(k)) for k in below}
        wanted = {(trial, k) for trial in range(min(_CHECKS, self.max_trials)) for k in ks}
        return sorted(wanted - set(zip(self.trial, self.k, strict=True)))

    def _trials_left(self) -> int:
        return self.max_trials - len(set(self.trial))

    def _fit(self, level: float) -> Threshold:
        return fit_threshold(self.k, self.trial, self.success, level, self.largest)

    def _missing(self, level: float) -> float:
        """Solves missing for the target at a level: the variance falls as their number grows."""
        excess = (self._estimates[level].half_width / self.half_widths[level]) ** 2 - 1
        near = 0.6 * len(self.k)
        return max(0.0, near * excess)

    def _solves_wanted(self, level: float) -> int:
        size = len(wave_trials(self.wave)) * len(_offsets(level))
        if self.wave < 4 or len(self.k) < FEWEST_SOLVES:
            return size
        missing = self._missing(level)
        return 0 if missing == 0 else int(np.clip(missing * 1.1, 4, size))

    def _points(self, level: float) -> list[int]:
        found = self._estimates[level]
        points = {
            int(np.clip(round(found.estimate + offset * found.scale), 1, self.largest))
            for offset in _offsets(level)
        }
        return sorted(points)


@dataclass
class GridSampler:
    """A uniform grid over k = 1, 2, ...: a stated number of trials at each, for checking.

    Waves of ten sparsities, on the same dictionaries. Ends with the wave in which three sparsities
    in a row had no success, or at the largest.

    Parameters
    ----------
    largest : int
        min(m, n), the largest sparsity.
    trials : int
        Trials at each k.
    levels : sequence of float
        The success rates that are looked for.
    """

    largest: int
    trials: int
    levels: Sequence[float] = LEVELS
    k: list[int] = field(default_factory=list)
    trial: list[int] = field(default_factory=list)
    success: list[bool] = field(default_factory=list)
    stopped: str = ""
    _failed_in_a_row: int = 0
    _estimates: dict[float, Threshold] = field(default_factory=dict)

    def requests(self) -> list[tuple[int, int]]:
        """Return the (trial, k) pairs of the next ten sparsities; none when finished."""
        if self.stopped:
            return []
        following = self._reached() + 1
        ks = range(following, min(following + _GRID_WAVE, self.largest + 1))
        return [(trial, k) for trial in range(self.trials) for k in ks]

    def record(self, rows: list[tuple[int, int, bool]]) -> None:
        """Take the (trial, k, success) rows of the wave, and decide whether to go on."""
        for trial, k, success in rows:
            self.trial.append(trial)
            self.k.append(k)
            self.success.append(success)
        solved = {k for _, k, success in rows if success}
        for k in sorted({k for _, k, _ in rows}):
            self._failed_in_a_row = 0 if k in solved else self._failed_in_a_row + 1
            if self._failed_in_a_row == 3 or k == self.largest:
                self.stopped = _unless_not_monotone("grid", self.k, self.success)
        if self.stopped:
            self._estimates = {
                level: fit_threshold(self.k, self.trial, self.success, level, self.largest)
                for level in self.levels
            }

    def state(self) -> dict[str, Any]:
        """Return what has been decided, as JSON data; `restore` takes it back."""
        return {
            "stopped": self.stopped,
            "failed_in_a_row": self._failed_in_a_row,
            "estimates": _as_json(self._estimates),
        }

    def restore(self, rows: Sequence[tuple[int, int, bool]], state: dict[str, Any]) -> None:
        """Go on from a state and the (trial, k, success) rows on which it rests, in their order."""
        self.trial, self.k, self.success = (list(column) for column in zip(*rows, strict=True))
        self.stopped, self._failed_in_a_row = state["stopped"], state["failed_in_a_row"]
        self._estimates = _from_json(state["estimates"])

    def estimate(self, level: float) -> Threshold:
        """Return the estimate of a level from all rows, once it has stopped."""
        return self._estimates[level]

    def solves_to_go(self) -> int:
        """Return a forecast of the solves that are still needed."""
        ahead = max(self.largest // 2 - self._reached(), 1)
        return 0 if self.stopped else self.trials * ahead

    def _reached(self) -> int:
        return max(self.k, default=0)


Sampler = TypeVar("Sampler", ThresholdSampler, GridSampler)


def recorded(sampler: Sampler, rows: list[tuple[int, int, bool]]) -> Sampler:
    """Return a sampler that has taken its rows: what a worker is asked for."""
    sampler.record(rows)
    return sampler


@cache
def code_digest() -> str:
    """Return the hash of the code that decides: decisions of other code are not taken up."""
    modules = levels, intervals, posterior, thresholds
    files = *(str(module.__file__) for module in modules), __file__
    return digest([Path(file).read_text("utf-8") for file in files])


def _offsets(level: float) -> tuple[float, ...]:
    return _OFFSETS[HALF if _MIDDLE[0] < level < _MIDDLE[1] else NEARLY_ALL]


def _as_json(estimates: dict[float, Threshold]) -> list[tuple[Any, ...]]:
    return [astuple(found) for found in estimates.values()]


def _from_json(estimates: list[list[Any]]) -> dict[float, Threshold]:
    return {level: Threshold(level, *rest) for level, *rest in estimates}


def _unless_not_monotone(reason: str, ks: ArrayLike, success: ArrayLike) -> str:
    return NOT_MONOTONE if monotone_p_value(ks, success) < _RISING else reason


def why_no_point(
    k: ArrayLike, success: ArrayLike, found: dict[float, Threshold]
) -> dict[float, str]:
    """Return, by level, why rows of whatever design have no threshold there; "" if they have.

    What sampling says of the rows it asked for, and that no threshold lies beyond the rows.
    """
    if _unless_not_monotone("", k, success):
        return dict.fromkeys(found, NOT_MONOTONE)
    least, most = int(np.min(k)), int(np.max(k))
    return {
        level: ""
        if (least == 1 or least <= threshold.estimate) and threshold.estimate <= most
        else f"beyond its rows, k = {least} to {most}"
        for level, threshold in found.items()
    }
