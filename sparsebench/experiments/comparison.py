"""Two algorithms on the same instances: paired differences, from rows that are in a store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy.stats import ttest_rel

from sparsebench.experiments.sampling import LEVELS
from sparsebench.registry import Choice
from sparsebench.statistics import fit_threshold, mcnemar, mean_interval, threshold_difference
from sparsebench.types import InputError

_CELL = ["problem_recipe", "seed", "n", "m"]
# Fewer solves than this say nothing of a threshold.
_FEWEST_SOLVES = 40


def compare(rows: pd.DataFrame, first: Choice, others: Sequence[Choice], by: str) -> pd.DataFrame:
    """Return the paired differences of one algorithm with others, a row each with its interval.

    Parameters
    ----------
    rows : DataFrame
        As `Store.frame` returns them.
    first : Choice
    others : sequence of Choice
    by : {"threshold", "distance"}
        The sparsity at which 95 % and 50 % of supports are recovered, at each m; or the mean
        support distance at each k.

    Returns
    -------
    DataFrame
        ``difference`` (first less other), ``lower``, ``upper``, ``p_value``; and of the instances
        that both have solved, those on which ``only_first`` or ``only_other`` found the support,
        with McNemar's ``p_mcnemar``.

    Raises
    ------
    InputError
        If there are no rows of an algorithm, or none that both have.
    """
    recipes = rows["algorithm_recipe"].map(_without_time_limit)
    mine = rows[recipes == _text(first)]
    _check(mine, first)
    found = []
    for other in others:
        theirs = rows[recipes == _text(other)]
        _check(theirs, other)
        if by == "threshold":
            found += _thresholds(mine, theirs, first, other)
        else:
            found += _distances(mine, theirs, first, other)
    if not found:
        raise InputError(
            f"{first.label} and the others have no m with {_FEWEST_SOLVES} solves each"
            if by == "threshold"
            else f"{first.label} and the others have solved no two instances at the same k"
        )
    return pd.DataFrame(found)


def _thresholds(
    mine: pd.DataFrame, theirs: pd.DataFrame, first: Choice, other: Choice
) -> list[dict[str, Any]]:
    found = []
    cells = dict(list(theirs.groupby(_CELL)))
    cell: Any
    for cell, a in mine.groupby(_CELL):
        b = cells.get(cell)
        if b is None or min(len(a), len(b)) < _FEWEST_SOLVES:
            continue
        largest = min(cell[2:])
        ours = a["k"], a["trial"], a["exact"]
        others = b["k"], b["trial"], b["exact"]
        for level in LEVELS:
            one = fit_threshold(*ours, level, largest)
            two = fit_threshold(*others, level, largest)
            paired = threshold_difference(one, two, ours, others)
            found.append(
                _named(cell, first, other)
                | {
                    "level": level,
                    "first_estimate": one.estimate,
                    "other_estimate": two.estimate,
                    "difference": paired.estimate,
                    "lower": paired.lower,
                    "upper": paired.upper,
                    "p_value": paired.p_value,
                    "correlation": paired.correlation,
                }
                | _discordant(a, b)
            )
    return found


def _distances(
    mine: pd.DataFrame, theirs: pd.DataFrame, first: Choice, other: Choice
) -> list[dict[str, Any]]:
    found = []
    sparsities = dict(list(theirs.groupby([*_CELL, "k"])))
    cell: Any
    for cell, a in mine.groupby([*_CELL, "k"]):
        b = sparsities.get(cell)
        both = None if b is None else a.merge(b, on="trial", suffixes=("", "_other"))
        if b is None or both is None or len(both) < 2:
            continue
        one, two = both["support_distance"], both["support_distance_other"]
        # In [-1, 1]; the interval of values in [0, 1] has no point even where all are equal.
        mean, lower, upper = (2 * x - 1 for x in mean_interval((one - two + 1) / 2))
        varied = (one - two).nunique() > 1
        found.append(
            _named(cell[:-1], first, other)
            | {
                "k": cell[-1],
                "first_estimate": one.mean(),
                "other_estimate": two.mean(),
                "difference": mean,
                "lower": lower,
                "upper": upper,
                "p_value": float(ttest_rel(one, two).pvalue) if varied else 1.0,
            }
            | _discordant(a, b)
        )
    return found


def _discordant(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Any]:
    """Count the instances that both have solved, and those on which one alone succeeded."""
    both = a[["k", "trial", "exact"]].merge(b[["k", "trial", "exact"]], on=["k", "trial"])
    only_first = int((both["exact_x"] & ~both["exact_y"]).sum())
    only_other = int((~both["exact_x"] & both["exact_y"]).sum())
    return {
        "shared": len(both),
        "only_first": only_first,
        "only_other": only_other,
        "p_mcnemar": mcnemar(only_first, only_other),
    }


def _named(cell: tuple[Any, ...], first: Choice, other: Choice) -> dict[str, Any]:
    recipe, seed, n, m = cell
    problem = json.loads(recipe)
    return {
        "first": first.label,
        "other": other.label,
        "problem": problem["name"],
        "problem_options": json.dumps(problem["options"]),
        "seed": seed,
        "n": n,
        "m": m,
    }


def _text(chosen: Choice) -> str:
    return json.dumps(chosen.recipe, sort_keys=True)


def _without_time_limit(recipe: str) -> str:
    data = json.loads(recipe)
    data.pop("time_limit", None)
    return json.dumps(data, sort_keys=True)


def _check(rows: pd.DataFrame, chosen: Choice) -> None:
    if rows.empty:
        raise InputError(
            f"there are no rows of {chosen.label} in this folder: 'sparsebench status' shows "
            "which algorithms and options it has"
        )
