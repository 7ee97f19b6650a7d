"""Which is best at what price: success against the time and the flops of a solve run alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from threadpoolctl import threadpool_limits

from sparsebench.problems import draw_dictionary, draw_signal, is_ordered
from sparsebench.registry import Choice, ProblemChoice
from sparsebench.run.guard import attempt, measured
from sparsebench.run.progress import Doing
from sparsebench.run.rows import Outcome
from sparsebench.run.successes import successes
from sparsebench.seeding import generator
from sparsebench.statistics import median_interval, wilson
from sparsebench.statistics.measures import Success
from sparsebench.types import FloatArray, Instance, Result

# Solves of an instance, of which the fastest counts: two, as the first finds the caches cold, and
# up to this many while they take less than this.
_SOLVES, _SECONDS = 5, 0.02
#: What one estimate costs.
PRICES = ("seconds", "flops")
_CELL = ["problem", "m", "n", "k", "algorithm"]


@dataclass(frozen=True)
class Place:
    """A problem at one size."""

    problem: ProblemChoice
    m: int
    n: int
    k: int


def run(
    algorithms: Sequence[Choice],
    places: Sequence[Place],
    success: Success,
    *,
    trials: int,
    time_limit: float,
    seed: int = 0,
    console: Console | None = None,
) -> pd.DataFrame:
    """Solve with every algorithm alone, one thread, interleaved, and return a row each solve.

    Of each instance all algorithms have a turn, in random order, with what they share at hand; of
    a short solve the fastest of five counts, of a long one that of two.

    Parameters
    ----------
    algorithms : sequence of Choice
    places : sequence of Place
    success : Success
    trials : int
        Instances of each place.
    time_limit : float
        Seconds a solve may take.
    seed : int
        Root seed.
    console : rich.console.Console, optional
        Where progress is shown.

    Returns
    -------
    DataFrame
        ``won`` (0 or 1), ``seconds`` and ``flops`` (iterations times the stated flops of one; NaN
        where an algorithm does not tell) by problem, algorithm and ``trial``.
    """
    rows: list[dict[str, Any]] = []
    rng = generator({"seed": seed, "front": trials})
    with threadpool_limits(1), Doing(console or Console(stderr=True), "compiling kernels") as doing:
        for chosen in algorithms:
            chosen.compile()
        for place in places:
            for trial in range(trials):
                doing.update(f"{place.problem.label}: instance {trial + 1} of {trials}")
                dictionary = draw_dictionary(place.problem, place.m, place.n, trial, seed)
                instance = draw_signal(place.problem, dictionary, place.k, trial, seed)
                for index in rng.permutation(len(algorithms)):
                    chosen = algorithms[index]
                    outcome = _alone(chosen, instance, place, time_limit)
                    won = successes(success, place.problem, [(place.k, outcome)])[0]
                    rows.append(_row(chosen, place, trial, outcome, won))
    order = {chosen.label: index for index, chosen in enumerate(algorithms)}
    frame = pd.DataFrame(rows).assign(seed=seed, success=success.text)
    return frame.sort_values("algorithm", key=lambda names: names.map(order), kind="stable")


def _alone(chosen: Choice, instance: Instance, place: Place, time_limit: float) -> Outcome:
    """Solve an instance, a short solve a few times, and return what was found in the least time."""
    for quantity in chosen.shares:
        getattr(instance.dictionary, quantity)
    given = chosen.told_of(instance)
    solve_once = partial(chosen.solve, instance.dictionary, instance.y, place.k, **given)
    best: Result | None = None
    spent = 0.0
    for count in range(1, _SOLVES + 1):
        found = attempt(solve_once, time_limit)
        if isinstance(found, Outcome):
            return found
        spent += found.seconds
        if best is None or found.seconds < best.seconds:
            best = found
        if count > 1 and spent >= _SECONDS:
            break
    assert best is not None
    return measured(instance, best, is_ordered(place.problem))


def _row(chosen: Choice, place: Place, trial: int, outcome: Outcome, won: bool) -> dict[str, Any]:
    counts = [outcome.n_iter]
    if len(chosen.links) > 1:
        counts = [n_iter for _, n_iter, _ in json.loads(outcome.stages or "[]")]
    return {
        "algorithm": chosen.label,
        "options": json.dumps(chosen.recipe["options"]),
        "told": ",".join(chosen.told),
        "family": chosen.family,
        "name": chosen.name,
        "problem": place.problem.label,
        "problem_options": json.dumps(place.problem.recipe["options"]),
        "m": place.m,
        "n": place.n,
        "k": place.k,
        "trial": trial,
        "won": int(won),
        "seconds": outcome.seconds,
        "flops": chosen.flops(place.m, place.n, place.k, counts),
        "status": outcome.status,
    }


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, of each problem and algorithm, the success rate and the median of each price.

    Columns ``estimate``, ``lower``, ``upper`` of the rate (Wilson's interval); of each of `PRICES`
    its median with the ends of its interval as ``seconds_lower``, and so on; and ``seconds_front``,
    ``flops_front``: whether no other has at least the rate at no more of the price.
    """
    found = []
    for cell, part in rows.groupby(_CELL, sort=False):
        won = int(part["won"].sum())
        lower, upper = wilson(won, len(part))
        row: dict[str, Any] = dict(zip(_CELL, cell, strict=True))
        row |= {"name": part["name"].iloc[0], "told": part["told"].iloc[0]}
        row |= {"estimate": won / len(part), "lower": float(lower), "upper": float(upper)}
        for price in PRICES:
            values = part[price].to_numpy(float)
            told = bool((values > 0).all())  # what ends before its first iteration tells no flops
            points = median_interval(values) if told else [np.array(np.nan)] * 3
            names = (price, f"{price}_lower", f"{price}_upper")
            row |= {name: float(point) for name, point in zip(names, points, strict=True)}
        found.append(row | {"trials": len(part)})
    frame = pd.DataFrame(found)
    for _, part in frame.groupby(_CELL[:-1], sort=False):
        for price in PRICES:
            best = _on_front(part["estimate"].to_numpy(float), part[price].to_numpy(float))
            frame.loc[part.index, f"{price}_front"] = best
    return frame


def _on_front(rate: FloatArray, price: FloatArray) -> FloatArray:
    """Return 1 where no other has a rate as high for less, nor a higher one for no more."""
    higher, cheaper = rate[:, None] > rate, price[:, None] < price
    no_lower, no_dearer = rate[:, None] >= rate, price[:, None] <= price
    beaten = ((no_lower & cheaper) | (higher & no_dearer)).any(axis=0)
    return (~beaten & ~np.isnan(price) & (rate > 0)).astype(float)


def profile(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the performance profiles of the algorithms over all instances of all problems.

    ``estimate``, with Wilson's interval, is the share of instances that an algorithm solves within
    ``ratio`` times the seconds of the fastest that solves them; a failure takes for ever.

    References
    ----------
    Dolan and Moré, Math. Program. 91, 2002, doi:10.1007/s101070100263
    """
    seconds = rows["seconds"].where(rows["won"] == 1, np.inf)
    table = rows.assign(seconds=seconds).pivot_table(
        index=[*_CELL[:-1], "trial"], columns="algorithm", values="seconds", sort=False
    )
    best = table.min(axis=1)
    ratios = table[np.isfinite(best)].div(best[np.isfinite(best)], axis=0)
    found = []
    for name, algorithm in rows[["name", "algorithm"]].drop_duplicates().itertuples(index=False):
        own = np.sort(ratios[algorithm].to_numpy(float))
        own = own[np.isfinite(own)]
        steps, counts = np.unique(np.concatenate([[1.0], own]), return_counts=True)
        solved = np.cumsum(counts) - 1
        lower, upper = wilson(solved, np.full(len(solved), len(table)))
        found.append(
            pd.DataFrame(
                {
                    "name": name,
                    "algorithm": algorithm,
                    "ratio": steps,
                    "estimate": solved / len(table),
                    "lower": lower,
                    "upper": upper,
                    "trials": len(table),
                }
            )
        )
    return pd.concat(found, ignore_index=True)
