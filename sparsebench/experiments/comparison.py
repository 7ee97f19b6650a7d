"""Two algorithms on the same instances: paired differences, from rows that are in a store."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import pandas as pd
import scipy

from sparsebench.experiments.levels import HALF, NEARLY_ALL
from sparsebench.experiments.sampling import FEWEST_SOLVES, why_no_point
from sparsebench.registry import Choice
from sparsebench.run.store import algorithm_recipe
from sparsebench.run.successes import noise_ratio, refuse_unknown
from sparsebench.statistics import (
    Threshold,
    fit_threshold,
    holm,
    mcnemar,
    mean_interval,
    threshold_difference,
)
from sparsebench.statistics.measures import EXACT, Success
from sparsebench.types import APPROXIMATE, NOMINAL, InputError, Status

_CELL = ["problem_recipe", "problem_label", "seed", "n", "m"]
_COMPARED = ("algorithm_recipe", *_CELL, "k", "trial", "exact", "support_distance", "status")


def columns_for(success: Success) -> list[str]:
    """Return the columns of rows that `compare` looks at."""
    return list(dict.fromkeys((*_COMPARED, *success.columns)))


def compare(
    rows: pd.DataFrame,
    first: Choice,
    others: Sequence[Choice],
    by: str,
    time_limit: float,
    success: Success = EXACT,
    level: float = NEARLY_ALL,
) -> pd.DataFrame:
    """Return the paired differences of one algorithm with others, a row each with its interval.

    Rows of the stated time limit count, as in a run with that limit: an instance once.

    Parameters
    ----------
    rows : DataFrame
        As `Store.frame` returns them: those of `columns_for`, of these algorithms at least.
    first : Choice
    others : sequence of Choice
    by : {"threshold", "distance"}
        The sparsity at which the success rate is `level`, and 50 %, at each m; or the mean support
        distance at each k.
    time_limit : float
        Seconds a solve might take.
    success : Success
        What counts as one, by default the exact support.
    level : float

    Returns
    -------
    DataFrame
        ``difference`` (first less other), ``lower``, ``upper``, ``p_value``, and ``p_holm``, which
        is adjusted for the number of rows; and of the instances
        that both have solved, those on which ``only_first`` or ``only_other`` succeeded, with
        McNemar's ``p_mcnemar``. Where an algorithm has no threshold, ``first_without`` or
        ``other_without`` says why, and there is no difference.

    Raises
    ------
    InputError
        If there are no rows of an algorithm, or none that both have, or some do not tell whether
        they are successes.
    """
    levels = tuple(dict.fromkeys((level, HALF)))
    mine = _with_success(_rows_of(rows, first, time_limit), success)
    found = []
    fits: dict[Any, dict[float, tuple[Threshold, str]]] = {}
    for other in others:
        theirs = _with_success(_rows_of(rows, other, time_limit), success)
        if by == "threshold":
            found += _thresholds(mine, theirs, first, other, fits, levels)
        else:
            found += _distances(mine, theirs, first, other)
    if not found:
        raise InputError(
            f"{first.label} and the others have no m with {FEWEST_SOLVES} solves each"
            if by == "threshold"
            else f"{first.label} and the others have solved no two instances at the same k"
        )
    said = {} if success == EXACT else {"success": success.text}
    adjusted = holm(np.array([row["p_value"] for row in found], float))
    return pd.DataFrame(found).assign(p_holm=adjusted, **said)


def _with_success(rows: pd.DataFrame, success: Success) -> pd.DataFrame:
    """Return rows with a column ``won``: whether each is a success.

    Raises
    ------
    InputError
        If some do not tell.
    """
    failed = rows["status"].map(lambda status: Status(status).failed).to_numpy(bool)
    won = np.empty(len(rows))
    for recipe, places in rows.groupby("problem_recipe", observed=True).indices.items():
        noise = noise_ratio(json.loads(str(recipe))["options"])
        part, label = rows.iloc[places], str(rows["problem_label"].iloc[places[0]])
        if success.by_noise and not noise:
            raise InputError(f"{success.text} is in units of the noise, and {label} has none")
        columns = {
            name: part[name].astype(float).to_numpy(na_value=np.nan)
            for name in (*success.columns, "k")
        }
        won[places] = success.of(columns, failed[places], noise)
        refuse_unknown(success, int(np.isnan(won[places]).sum()), label)
    return rows.assign(won=won == 1)


def _thresholds(
    mine: pd.DataFrame,
    theirs: pd.DataFrame,
    first: Choice,
    other: Choice,
    fits: dict[Any, dict[float, tuple[Threshold, str]]],
    levels: Sequence[float],
) -> list[dict[str, Any]]:
    """Compare the thresholds of every cell; `fits` keeps those of the first algorithm."""
    found = []
    cells = dict(list(theirs.groupby(_CELL, observed=True)))
    cell: Any
    for cell, a in mine.groupby(_CELL, observed=True):
        b = cells.get(cell)
        if b is None or min(len(a), len(b)) < FEWEST_SOLVES:
            continue
        largest = min(cell[-2:])
        if cell not in fits:
            fits[cell] = _fits(a, largest, levels)
        their_fits = _fits(b, largest, levels)
        for level in levels:
            one, why_not_one = fits[cell][level]
            two, why_not_two = their_fits[level]
            row = {
                "level": level,
                "first_estimate": math.nan if why_not_one else one.estimate,
                "other_estimate": math.nan if why_not_two else two.estimate,
                "first_without": why_not_one,
                "other_without": why_not_two,
            }
            names = ("difference", "lower", "upper", "p_value", "correlation")
            row |= dict.fromkeys(names, math.nan) | {"coverage": ""}
            if not (why_not_one or why_not_two):
                ours, others = ((c["k"], c["trial"], c["won"]) for c in (a, b))
                paired = astuple(threshold_difference(one, two, ours, others))
                row |= zip(names, paired, strict=True)
                kinds = {one.coverage, two.coverage}
                row["coverage"] = APPROXIMATE if APPROXIMATE in kinds else NOMINAL
            found.append(_named(cell, first, other) | row | _discordant(a, b))
    return found


def _fits(
    rows: pd.DataFrame, largest: int, levels: Sequence[float]
) -> dict[float, tuple[Threshold, str]]:
    """Return the threshold at each level, and why it is none if so."""
    k, won = rows["k"], rows["won"]
    found = {level: fit_threshold(k, rows["trial"], won, level, largest) for level in levels}
    reasons = why_no_point(k, won, found)
    return {level: (found[level], reasons[level]) for level in levels}


def _distances(
    mine: pd.DataFrame, theirs: pd.DataFrame, first: Choice, other: Choice
) -> list[dict[str, Any]]:
    found = []
    sparsities = dict(list(theirs.groupby([*_CELL, "k"], observed=True)))
    cell: Any
    for cell, a in mine.groupby([*_CELL, "k"], observed=True):
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
                "p_value": float(scipy.stats.ttest_rel(one, two).pvalue) if varied else 1.0,
            }
            | _discordant(a, b)
        )
    return found


def _discordant(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Any]:
    """Count the instances that both have solved, and those on which one alone succeeded."""
    both = a[["k", "trial", "won"]].merge(b[["k", "trial", "won"]], on=["k", "trial"])
    only_first = int((both["won_x"] & ~both["won_y"]).sum())
    only_other = int((~both["won_x"] & both["won_y"]).sum())
    return {
        "shared": len(both),
        "only_first": only_first,
        "only_other": only_other,
        "p_mcnemar": mcnemar(only_first, only_other),
    }


def _named(cell: tuple[Any, ...], first: Choice, other: Choice) -> dict[str, Any]:
    recipe, label, seed, n, m = cell
    problem = json.loads(recipe)
    return {
        "first": first.label,
        "other": other.label,
        "problem": label,
        "problem_options": json.dumps(problem["options"]),
        "problem_version": problem["version"],
        "seed": seed,
        "n": n,
        "m": m,
    }


def _rows_of(rows: pd.DataFrame, chosen: Choice, time_limit: float) -> pd.DataFrame:
    """Return the rows that a run with this choice and time limit would find.

    Raises
    ------
    InputError
        If there are none: it says which time limits or versions there are.
    """
    wanted = {**chosen.recipe, "time_limit": time_limit}
    found = rows[rows["algorithm_recipe"] == algorithm_recipe(chosen, time_limit)]
    if not found.empty:
        return found
    # The categories name all that are stored, be their rows read or not.
    known = [
        json.loads(text) for text in rows["algorithm_recipe"].astype("category").cat.categories
    ]
    limits = {r["time_limit"] for r in known if {**r, "time_limit": time_limit} == wanted}
    if limits:
        there = ", ".join(f"{limit:g}" for limit in sorted(limits))
        raise InputError(
            f"the rows of {chosen.label} in this folder are of --time-limit {there}, "
            f"not {time_limit:g}: choose one of those"
        )
    versions = {r["version"] for r in known if {**r, "version": chosen.version} == wanted}
    if versions:
        raise InputError(
            f"the rows of {chosen.label} in this folder are of version "
            f"{', '.join(sorted(versions))}, it has version {chosen.version} now: run it again"
        )
    raise InputError(
        f"there are no rows of {chosen.label} in this folder: 'sparsebench status' shows "
        "which algorithms and options it has"
    )
