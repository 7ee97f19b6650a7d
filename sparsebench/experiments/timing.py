"""How long a solve takes: beside its floor, beside the peers, and beside what it found."""

from __future__ import annotations

import operator
import time
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from threadpoolctl import threadpool_limits

from sparsebench.experiments.study import mean_count
from sparsebench.experiments.workloads import Workload
from sparsebench.metrics import exact_recovery, relative_residual, support_distance
from sparsebench.problems import draw_dictionary, draw_signal
from sparsebench.registry import Choice, algorithms, choose_problem
from sparsebench.run.guard import attempt
from sparsebench.run.progress import Doing
from sparsebench.run.rows import Outcome
from sparsebench.seeding import generator
from sparsebench.solvers import solve
from sparsebench.solvers.peers import PEERS, TOGETHER, solve_together
from sparsebench.system.resources import processor
from sparsebench.types import Dictionary, FloatArray, Result, Status

# Solves a turn, of which the fastest counts: up to this many, while they take less than this.
_SOLVES_A_TURN = 5
_TURN_SECONDS = 0.02
# Left out unless named: its time is no matter of implementation.
_LEFT_OUT = ("exhaustive",)


def usual_algorithms() -> list[str]:
    """Return the names timed by default: all that are told k and no more than A, y and lambda."""
    return [
        entry.name
        for entry in algorithms()
        if entry.installed
        and entry.function.__module__.startswith("sparsebench.")
        and entry.name not in _LEFT_OUT
        and set(entry.told) in ({"k"}, {"k", "lambda"})
    ]


def run(
    chosen: Sequence[Choice],
    workloads: Sequence[Workload],
    *,
    repeats: int = 10,
    budget: float = 10.0,
    seed: int = 0,
    console: Console | None = None,
) -> pd.DataFrame:
    """Time algorithms on workloads, one thread, interleaved, and return a row for each pair.

    In every round each algorithm has a turn, in random order, on the same instance. The median
    over its turns is its time. A turn is one solve, or the fastest of a few short ones, with the
    shared quantities of the dictionary at hand; and the same on fresh dictionaries, whose Gram
    matrix and norms count as far as the algorithm reads them ("alone"). Several signals are solved
    together, and their time is divided by their number.

    Parameters
    ----------
    chosen : sequence of Choice
        The algorithms.
    workloads : sequence of Workload
    repeats : int
        Rounds.
    budget : float
        Seconds that an algorithm may spend on a workload: then it has no more turns. One solve
        that takes longer is stopped, and its row says so.
    seed : int
        Root seed of the instances and of the order of turns.
    console : rich.console.Console, optional
        Where progress is shown.

    Returns
    -------
    DataFrame
        ``seconds`` with its quartiles, ``alone``, ``iterations`` (NaN where they are not told),
        ``floor`` (seconds that the stated flops take at this machine's rate of matrix products),
        the ratios to the floor and to the fastest peer (at hand, and alone), and what was found:
        the share of ``exact`` supports, the mean support ``distance``, the median relative
        ``residual``.

    Raises
    ------
    InputError
        If the stated cost of an algorithm cannot be evaluated.
    """
    for choice in chosen:
        choice.flops(2, 2, 1, [1.0] * len(choice.links))
    rows: list[dict[str, Any]] = []
    with threadpool_limits(1), Doing(console or Console(stderr=True), "compiling kernels") as doing:
        for choice in chosen:
            choice.compile()
            doing.update("compiling kernels")
        rate = dgemm_rate()
        for workload in workloads:
            tallies = [_Tally(workload, choice, budget) for choice in chosen]
            _take_turns(workload, tallies, repeats, seed, doing)
            rows += _against_peers([tally.row(rate) for tally in tallies])
    return pd.DataFrame(rows).assign(processor=processor())


def _take_turns(
    workload: Workload, tallies: Sequence[_Tally], repeats: int, seed: int, doing: Doing
) -> None:
    """Give each a turn in every round, in random order, while its budget lasts."""
    doing.update(f"{workload.name}: drawing")
    data = [_draw(workload, trial, seed) for trial in range(workload.instances)]
    rng = generator({"seed": seed, "timing": workload.name})
    for turn in range(repeats):
        for index in rng.permutation(len(tallies)):
            doing.update(f"{workload.name}: round {turn + 1} of {repeats}")
            if tallies[index].spent < tallies[index].budget:
                tallies[index].take_turn(data[turn % workload.instances])


def dgemm_rate() -> float:
    """Return the flops a second of this machine in a product of two matrices, one thread."""
    size = 768
    left, right = np.ones((2, size, size))
    return 2.0 * size**3 / min(timeit.repeat(lambda: left @ right, number=1, repeat=8))


@dataclass(frozen=True)
class _Data:
    """One dictionary with planted signals `x`, shape (n, B), and measurements `y`, (m, B)."""

    dictionary: Dictionary
    x: FloatArray
    y: FloatArray
    noise: float  # the level, of several signals the mean one


def _draw(workload: Workload, trial: int, seed: int) -> _Data:
    problem = choose_problem(workload.problem)
    dictionary = draw_dictionary(problem, workload.m, workload.n, trial, seed)
    several = range(workload.signals) if workload.signals > 1 else (trial,)
    instances = [draw_signal(problem, dictionary, workload.k, one, seed) for one in several]
    return _Data(
        dictionary,
        np.stack([instance.x for instance in instances], axis=1),
        np.stack([instance.y for instance in instances], axis=1),
        float(np.mean([instance.noise for instance in instances])),
    )


@dataclass
class _Tally:
    """What one algorithm needed and found on one workload, turn by turn."""

    workload: Workload
    choice: Choice
    budget: float
    signals: int = 0
    spent: float = 0.0
    errors: int = 0
    message: str = ""
    seconds: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    iterations: list[float] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)
    exact: list[bool] = field(default_factory=list)
    distance: list[float] = field(default_factory=list)
    residual: list[float] = field(default_factory=list)

    def take_turn(self, data: _Data) -> None:
        """Solve with the shared quantities at hand, and alone; whatever goes wrong is counted."""
        begin = time.perf_counter()
        for quantity in self.choice.shares:
            getattr(data.dictionary, quantity)
        if not self.signals:
            self.signals = self._affordable(data)
        results = self._fastest_of_a_few(data, self.seconds, lambda: data.dictionary)
        if results:
            self._compare(data, results[0])
        else:
            self.exact += [False] * self.signals
            self.distance += [1.0] * self.signals
        if results and self.choice.shares:
            self._fastest_of_a_few(data, self.alone, lambda: Dictionary(data.dictionary.A))
        self.spent += time.perf_counter() - begin

    def _fastest_of_a_few(
        self, data: _Data, times: list[float], dictionary: Callable[[], Dictionary]
    ) -> list[Result]:
        """Solve once, or a few times if short, and add the least seconds a signal to `times`."""
        results: list[Result] = []
        while not results or (
            len(results) < _SOLVES_A_TURN and sum(r.seconds for r in results) < _TURN_SECONDS
        ):
            solve_once = partial(self._solve, dictionary(), data, self.signals)
            answer = attempt(solve_once, self.budget)
            if isinstance(answer, Outcome):
                self.errors += 1
                self.message = self.message or answer.message
                break
            results.append(answer)
        if results:
            times.append(min(r.seconds for r in results) / self.signals)
        return results

    def _affordable(self, data: _Data) -> int:
        """Return how many of the signals half the budget pays for, by the time of the first."""
        count = data.y.shape[1]
        if count > 1:
            first = attempt(lambda: self._solve(data.dictionary, data, 1), self.budget)
            if isinstance(first, Result):
                return int(np.clip(0.5 * self.budget / max(first.seconds, 1e-9), 1, count))
        return 1

    def _solve(self, dictionary: Dictionary, data: _Data, count: int) -> Result:
        """Solve for the first `count` signals."""
        k = self.workload.k
        given: dict[str, Any] = {"noise": data.noise} if self.choice.accepts("noise") else {}
        if data.y.shape[1] > 1:
            together = solve_together if self.choice.name in TOGETHER else solve
            options: dict[str, Any] = dict(self.choice.options)
            return together(self.choice.name, dictionary, data.y[:, :count], k, **options, **given)
        if self.choice.accepts("support"):
            given["support"] = np.flatnonzero(data.x[:, 0])
        return self.choice.solve(dictionary, data.y[:, 0], k, **given)

    def _compare(self, data: _Data, result: Result) -> None:
        """Take note of what was found, against what was planted."""
        A, found = data.dictionary.A, result.x.reshape(self.workload.n, -1)
        statuses = result.status if isinstance(result.status, tuple) else (result.status,)
        for x, estimate, y, status in zip(data.x.T, found.T, data.y.T, statuses, strict=False):
            failed = status == Status.DIVERGED
            self.exact.append(not failed and exact_recovery(x, estimate))
            self.distance.append(1.0 if failed else support_distance(x, estimate))
            self.residual.append(np.nan if failed else relative_residual(A, y, estimate))
        self.iterations.append(mean_count(result.n_iter))
        sizes = self.workload.m, self.workload.n, self.workload.k
        counts = [result.n_iter]
        if len(self.choice.links) > 1:
            counts = [stage.n_iter for stage in result.stages]
        self.flops.append(self.choice.flops(*sizes, [mean_count(count) for count in counts]))

    def row(self, rate: float) -> dict[str, Any]:
        """Return the row of the table, at `rate` flops a second."""
        seconds, floor = _median(self.seconds), _median(self.flops) / rate
        lower, upper = np.percentile(self.seconds, [25, 75]) if self.seconds else (np.nan, np.nan)
        return {
            "workload": self.workload.name,
            "problem": self.workload.problem,
            "m": self.workload.m,
            "n": self.workload.n,
            "k": self.workload.k,
            "algorithm": self.choice.label,
            "name": self.choice.name,
            "family": self.choice.family,
            "turns": len(self.seconds),
            "signals": self.signals,
            "seconds": seconds,
            "lower_quartile": lower,
            "upper_quartile": upper,
            "alone": _median(self.alone) if self.choice.shares else seconds,
            "iterations": _median(self.iterations),
            "floor": floor if floor > 0 else np.nan,
            "over_floor": seconds / floor if floor > 0 else np.nan,
            "peer": "",
            "over_peer": np.nan,
            "alone_peer": "",
            "alone_over_peer": np.nan,
            "exact": float(np.mean(self.exact)) if self.exact else np.nan,
            "distance": float(np.mean(self.distance)) if self.distance else np.nan,
            "residual": _median([r for r in self.residual if np.isfinite(r)]),
            "errors": self.errors,
            "message": self.message,
            "dgemm_rate": rate,
        }


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _against_peers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fill in the fastest peer of the same problem on the same workload, and the ratio to it.

    Once with the shared quantities at hand, and once alone: some peers make no use of a Gram
    matrix, and it would be no merit to have been handed one.
    """
    for row in rows:
        for charge, peer, ratio in (
            ("seconds", "peer", "over_peer"),
            ("alone", "alone_peer", "alone_over_peer"),
        ):
            rivals = [
                other
                for other in rows
                if other["name"] in PEERS.get(row["name"], ()) and np.isfinite(other[charge])
            ]
            if rivals:
                best = min(rivals, key=operator.itemgetter(charge))
                row |= {peer: best["algorithm"], ratio: row[charge] / best[charge]}
    return sorted(rows, key=lambda row: (not np.isfinite(row["seconds"]), row["seconds"]))
