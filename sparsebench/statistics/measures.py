"""Measures of estimates, as vectors over rows of a store, and success by a level of one.

S* is the support of the planted x, |S*| = k, and S that of its estimate x̂. A failed solve counts as
an estimate of zero does, and never as a success.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsebench.errors import InputError, nearest_name
from sparsebench.types import FloatArray

#: The least normalised mean square error that is told apart from none, in dB.
LEAST_DECIBELS = -300.0


class Measure(NamedTuple):
    """What it is of, as text; the columns that it needs, which `of` takes; the values it can have.

    One of no values is a condition, which is met or not.
    """

    formula: str
    columns: tuple[str, ...]
    of: Callable[..., Any]
    values: tuple[float, float] | None = (0.0, 1.0)


_COUNTS = ("missed_indices", "false_indices")
_FROM_0 = (0.0, math.inf)


def _decibels(error: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        return np.maximum(20 * np.log10(error), LEAST_DECIBELS)


def _precision(k: FloatArray, missed: FloatArray, false: FloatArray) -> FloatArray:
    return (k - missed) / np.maximum(k - missed + false, 1)


def _false_share(k: FloatArray, missed: FloatArray, false: FloatArray) -> FloatArray:
    return false / np.maximum(k - missed + false, 1)


#: By name.
MEASURES = {
    "exact": Measure("S = S*", ("exact",), lambda exact: exact != 0, None),
    "no_false": Measure("S ⊆ S*", ("false_indices",), lambda false: false == 0, None),
    "no_missed": Measure("S* ⊆ S", ("missed_indices",), lambda missed: missed == 0, None),
    "f1": Measure(
        "2 |S ∩ S*| / (|S| + k)",
        ("k", *_COUNTS),
        lambda k, missed, false: 2 * (k - missed) / (2 * k - missed + false),
    ),
    "precision": Measure("|S ∩ S*| / |S|, 0 where S is empty", ("k", *_COUNTS), _precision),
    "false_discovery": Measure(
        "|S \\ S*| / |S|, 0 where S is empty", ("k", *_COUNTS), _false_share
    ),
    "recall": Measure("|S ∩ S*| / k", ("k", "missed_indices"), lambda k, missed: (k - missed) / k),
    "missed": Measure("|S* \\ S|", ("missed_indices",), lambda missed: missed, _FROM_0),
    "false": Measure("|S \\ S*|", ("false_indices",), lambda false: false, _FROM_0),
    "size_error": Measure(
        "| |S| - k |", _COUNTS, lambda missed, false: np.abs(false - missed), _FROM_0
    ),
    "support_distance": Measure(
        "1 - |S ∩ S*| / max(|S|, k)", ("support_distance",), lambda distance: distance
    ),
    "near_1": Measure("support distance, one index forgiven", ("near_1",), lambda near: near),
    "near_2": Measure("support distance, two indices forgiven", ("near_2",), lambda near: near),
    "relative_error": Measure("‖x̂ - x‖ / ‖x‖", ("relative_error",), lambda error: error, _FROM_0),
    "nmse": Measure(
        "20 log10(‖x̂ - x‖ / ‖x‖), in dB", ("relative_error",), _decibels, (-math.inf, math.inf)
    ),
    "prediction_error": Measure(
        "‖A(x̂ - x)‖ / ‖A x‖", ("prediction_error",), lambda error: error, _FROM_0
    ),
}
# What an estimate of zero has, as which a failure counts; k indices are missed.
_OF_ZERO = {
    **dict.fromkeys(("exact", "false_indices"), 0.0),
    **dict.fromkeys(("support_distance", "near_1", "near_2"), 1.0),
    **dict.fromkeys(("relative_error", "prediction_error"), 1.0),
}
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_WRITTEN = re.compile(r"(\w+)\s*(?:(<=|>=|<|>)\s*([^\s*]+)\s*(\*\s*noise)?)?")


@dataclass(frozen=True)
class Success:
    """When an estimate counts as a success.

    Attributes
    ----------
    measure : str
        One of `MEASURES`.
    compared : str
        "<", "<=", ">" or ">=", or nothing for a condition.
    level : float
        What the measure is compared with.
    by_noise : bool
        Whether the level is in units of ‖noise‖ / ‖A x‖.
    """

    measure: str = "exact"
    compared: str = ""
    level: float = 0.0
    by_noise: bool = False

    @property
    def text(self) -> str:
        """As `read_success` reads it."""
        level = f"{self.compared}{self.level!r}" if self.compared else ""
        return self.measure + level + ("*noise" if self.by_noise else "")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of rows that it looks at."""
        own = MEASURES[self.measure].columns
        return tuple(dict.fromkeys((*own, *(_COUNTS if "false_indices" in own else ()))))

    def of(
        self, columns: Mapping[str, ArrayLike], failed: ArrayLike, noise: float = math.nan
    ) -> FloatArray:
        """Return 1 for each row that is a success, 0 for one that is none, NaN where it is unknown.

        An older row, of which no false indices were counted, had at most as many as it missed: it
        is known where that decides nothing.

        Parameters
        ----------
        columns : mapping of str to array_like
            Those of `columns`, NaN where a row has none.
        failed : array_like of bool
            Which solves failed.
        noise : float
            The ratio ‖noise‖ / ‖A x‖.
        """
        given = {name: np.asarray(columns[name], np.float64) for name in self.columns}
        lost, false = np.asarray(failed, bool), given.get("false_indices")
        if false is None or not np.isnan(false).any():
            return np.where(lost, 0.0, self._met(given, noise))
        few, many = (
            self._met(given | {"false_indices": np.where(np.isnan(false), most, false)}, noise)
            for most in (0.0, given["missed_indices"])
        )
        return np.where(lost, 0.0, np.where(few == many, few, np.nan))

    def _met(self, given: Mapping[str, FloatArray], noise: float) -> FloatArray:
        measure = MEASURES[self.measure]
        values = measure.of(*(given[name] for name in measure.columns))
        unknown = np.any([np.isnan(given[name]) for name in measure.columns], axis=0)
        if self.compared:
            level = self.level * noise if self.by_noise else self.level
            values = _COMPARED[self.compared](values, level)
        return np.where(unknown, np.nan, values)


EXACT = Success()


def read_success(text: str) -> Success:
    """Read ``exact``, ``f1>=.9``, ``relative_error<1e-3`` or ``relative_error<=2*noise``.

    Raises
    ------
    InputError
        If it names no measure, or its level is none that the measure can have.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if not found:
        raise InputError(
            f"success is a measure and its level, as exact, f1>=.9 or relative_error<1e-3, "
            f"not {text!r}"
        )
    name, compared, number, noise = found.groups()
    if name not in MEASURES:
        raise InputError(nearest_name(name, MEASURES, "measure"))
    values = MEASURES[name].values
    if values is None:
        if compared:
            raise InputError(f"{name} is met or not, and has no level: say --success {name}")
        return Success(name)
    if not compared:
        raise InputError(f"{name} takes a level, as {name}{_example(name)}")
    try:
        level = float(number)
    except ValueError:
        level = math.nan
    least, most = values
    if not (math.isfinite(level) and least <= level <= most):
        raise InputError(f"{name} is {_range(values)}: no level {number!r}")
    if noise and name not in ("relative_error", "prediction_error"):
        raise InputError(f"{name} is not in units of the noise: leave out '*noise'")
    return Success(name, compared, level, bool(noise))


def _example(name: str) -> str:
    return ">=.9" if name in ("f1", "precision", "recall") else "<=1" if name != "nmse" else "<-40"


def _range(values: tuple[float, float]) -> str:
    least, most = values
    if math.isinf(least):
        return "a number of dB"
    return "at least 0" if math.isinf(most) else "from 0 to 1"


def values_of(
    measure: str, columns: Mapping[str, ArrayLike], failed: ArrayLike
) -> NDArray[np.float64]:
    """Return a measure of each row, NaN where it is unknown; a failure counts as x̂ = 0."""
    entry, lost = MEASURES[measure], np.asarray(failed, bool)
    filled = []
    for name in entry.columns:
        column = np.asarray(columns[name], np.float64)
        of_zero = columns["k"] if name == "missed_indices" else _OF_ZERO.get(name, column)
        filled.append(np.where(lost, of_zero, column))
    unknown = np.any([np.isnan(column) for column in filled], axis=0)
    return np.where(unknown, np.nan, entry.of(*filled))
