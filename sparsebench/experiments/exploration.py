"""How far an exploration gets: distinct supports and best residual against iterations."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsebench import solvers as solvers  # registers the algorithms, in a worker too
from sparsebench.problems import draw_dictionary, draw_signal
from sparsebench.registry import Choice, choose_problem, load_plugin
from sparsebench.run.pool import pool
from sparsebench.statistics import COLUMNS, FEWEST_FOR_A_MEDIAN, median_interval
from sparsebench.types import FloatArray, InputError, Instance, IntArray

#: What is recorded, by its name in a history.
QUANTITIES = {
    "supports_explored": "distinct supports explored",
    "best_residual": "best relative residual",
}
_POINTS = 60
_REFUSAL = "{} records no supports it explored; choose sea, or a chain that ends in it"

_History = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class SizedProblem:
    """A problem with its sizes."""

    problem: str
    n: int
    m: int
    k: int


def explore(
    algorithms: list[Choice],
    workloads: list[SizedProblem],
    *,
    trials: int,
    seed: int,
    workers: int,
    plugins: Sequence[str] = (),
    report: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Return one row a (workload, algorithm, quantity, iteration): the median over trials.

    A solve that ends early keeps its last values; one that fails counts with no support explored
    and a residual of 1, as an estimate of zero has.

    Parameters
    ----------
    algorithms : list of Choice
        Such as ``sea`` or ``omp+sea``; of a chain the last link is recorded, from the estimate
        of those before it.
    workloads : list of SizedProblem
    trials : int
        Instances a workload.
    seed : int
        Root seed.
    workers : int
        Processes.
    plugins : sequence of str
        Files that every process loads.
    report : callable
        Told how many instances are done, and of how many.

    Returns
    -------
    DataFrame
        Columns algorithm, problem, m, n, k, quantity, iteration, estimate, lower, upper (95 %
        interval of the median), lower_quartile, upper_quartile, trials, failures and the recipe.

    Raises
    ------
    InputError
        If an algorithm does not record its exploration, or trials are too few for an interval.
    """
    check_explorations(algorithms, trials)
    tasks = [
        (algorithms, workload, trial, seed, plugins)
        for workload in workloads
        for trial in range(trials)
    ]
    solved: list[Any] = [None] * len(tasks)
    with pool(workers) as each:
        for done, (place, found) in enumerate(each(_explored, tasks), 1):
            solved[place] = found
            report(done, len(tasks))
    frames = []
    for index, workload in enumerate(workloads):
        here = solved[index * trials : (index + 1) * trials]
        for chosen in algorithms:
            frames += _curves(chosen, workload, [histories[chosen] for histories in here], seed)
    return pd.concat(frames, ignore_index=True)


def check_explorations(algorithms: list[Choice], trials: int) -> None:
    """Refuse what `explore` cannot record or summarise.

    Raises
    ------
    InputError
        If an algorithm does not record its exploration, or trials are too few for an interval.
    """
    for chosen in algorithms:
        last = chosen.links[-1].algorithm
        if not last.accepts("history"):
            raise InputError(_REFUSAL.format(last.name))
    if trials < FEWEST_FOR_A_MEDIAN:
        raise InputError(
            f"the interval of a median takes {FEWEST_FOR_A_MEDIAN} trials, not {trials}"
        )


def _explored(
    algorithms: list[Choice], workload: SizedProblem, trial: int, seed: int, plugins: Sequence[str]
) -> dict[Choice, _History | None]:
    """Return what each algorithm recorded on one instance; nothing where it failed."""
    for path in plugins:
        load_plugin(path)
    problem = choose_problem(workload.problem)
    dictionary = draw_dictionary(problem, workload.m, workload.n, trial, seed)
    instance = draw_signal(problem, dictionary, workload.k, trial, seed)
    return {chosen: _history(chosen, instance, workload.k) for chosen in algorithms}


def _history(chosen: Choice, instance: Instance, k: int) -> _History | None:
    """Return what the last link recorded, from the estimate of those before it."""
    *before, last = chosen.links
    problem = instance.dictionary, instance.y, k
    given: dict[str, Any] = {}
    try:
        for link in before:
            given = {"start": link.solve(*problem, **given).x}
        found = last.solve(*problem, **given, history=True).history
    except (Exception, SystemExit):
        return None
    if found is None or not set(QUANTITIES) <= set(found):
        raise InputError(_REFUSAL.format(last.algorithm.name))
    return found


def _curves(
    chosen: Choice, workload: SizedProblem, found: list[_History | None], seed: int
) -> list[pd.DataFrame]:
    """Return what an algorithm recorded on all instances of a workload, a frame a quantity."""
    problem = choose_problem(workload.problem)
    budget = int(chosen.links[-1].options.get("max_iter", 1))
    return [
        _summary(found, quantity, budget).assign(
            algorithm=chosen.label,
            options=json.dumps(chosen.recipe["options"]),
            problem=problem.label,
            m=workload.m,
            n=workload.n,
            k=workload.k,
            quantity=name,
            trials=len(found),
            failures=sum(history is None for history in found),
            problem_options=json.dumps(problem.recipe["options"]),
            seed=seed,
        )
        for quantity, name in QUANTITIES.items()
    ]


def _summary(found: list[_History | None], quantity: str, budget: int) -> pd.DataFrame:
    """Return the median and the quartiles at some iterations, evenly spread by ratio."""
    iterations = np.unique(np.geomspace(1, budget, _POINTS).round().astype(int))
    values = np.array([_at(history, quantity, iterations) for history in found])
    lower_quartile, upper_quartile = np.quantile(values, [0.25, 0.75], axis=0)
    return pd.DataFrame(
        {
            "iteration": iterations,
            **dict(zip(COLUMNS, median_interval(values), strict=True)),
            "lower_quartile": lower_quartile,
            "upper_quartile": upper_quartile,
        }
    )


def _at(history: _History | None, quantity: str, iterations: IntArray) -> FloatArray:
    """Return what was recorded at some iterations; a solve that has ended keeps its last value."""
    if history is None or not history[quantity].size:
        return np.full(iterations.size, float(quantity == "best_residual"))
    recorded = history[quantity]
    return recorded[np.minimum(iterations, recorded.size) - 1].astype(float)
