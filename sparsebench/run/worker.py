"""Blocks to rows, in a worker: instances are drawn and solved, and what fails becomes a row."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np

from sparsebench.devices import place
from sparsebench.metrics import (
    exact_recovery,
    near_distance,
    relative_error,
    relative_residual,
    support_distance,
)
from sparsebench.problems import DrawError, draw_dictionary, draw_signal, is_fixed, is_ordered
from sparsebench.registry import (
    Algorithm,
    Choice,
    algorithm_of,
    forget_plugins,
    load_plugin,
    plugin_fingerprint,
)
from sparsebench.run import pool
from sparsebench.run.rows import Block, Outcome
from sparsebench.solvers import compile_kernels, solve_checked
from sparsebench.system import TimeOut, time_limited
from sparsebench.types import Dictionary, InputError, Instance, Result, Status

# Seconds of CPU time that the first call of a plug-in may take, on a tiny problem: it may compile.
_FIRST_CALL = 60.0
# Those that drawing may take at least, whatever the limit of a solve: a dictionary that all trials
# share may be learnt from images.
_DRAWING, _LEARNING = 60.0, 3600.0
# What the message of a row begins with that has no instance, and so says nothing of its algorithm.
NO_INSTANCE = "no instance: "
# The variable that names the algorithms of a run, whose kernels `template` loads for all workers.
KERNELS = "SPARSEBENCH_KERNELS"
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")
# Bytes of a process that has compiled kernels and no problem yet.
_PROCESS = 300 * 2**20
_Solution = TypeVar("_Solution")
# Plug-in files, with what each of them was when the run began.
Versions = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Solved:
    """The outcomes of a block, in the order of its pairs, and where the seconds went."""

    outcomes: list[Outcome]
    drawing: float
    deriving: float
    solving: float


def solve_one(block: Block, plugins: Versions) -> Solved:
    """Solve a block in a worker, which loads the plug-ins in the versions of the run."""
    if pool.serving:
        forget_plugins(but=[path for path, _ in plugins])  # those of the run it worked for before
    for path, version in plugins:
        if plugin_fingerprint(path) != version:
            raise InputError(f"{path} changed during the run; run the same command again")
        load_plugin(path)
    return solve_block(block)


@cache
def compile_one(chosen: Choice) -> None:
    """Load the compiled kernels into this process before anything is timed."""
    if place(chosen)[0] == "cpu":
        entry, options = algorithm_of(chosen), dict(chosen.options)
        if is_plain(entry):
            attempt(lambda: compile_kernels(entry, options), _FIRST_CALL)
        else:
            compile_kernels(entry, options)


def is_plain(entry: Algorithm) -> bool:
    """Whether it, or a link of it, is a function of the array, which keeps what it compiles."""
    return any(stage.plain for stage in entry.stages or (entry,))


def memory_needed(m: int, n: int, entries: Iterable[Algorithm]) -> int:
    """Return about how many bytes a process takes that solves problems of m x n, itself included.

    A dictionary and what it was drawn as, and the quantities that the algorithms share.
    """
    p = min(m, n)
    entries = list(entries)
    sizes = {
        "gram": n * n,
        "squared_spectral_norm": 0 if n <= m else 2 * p * p,
        "pseudo_inverse": m * n + p * p,
        "svd": (m + n + 4 * p) * p,
    }
    shared = {name for entry in entries for name in entry.shares}
    return _PROCESS + 8 * (2 * m * n + sum(sizes.get(name, 0) for name in shared))


def solve_block(block: Block) -> Solved:
    """Draw the dictionary of a block once and solve all of its pairs on it."""
    start = time.perf_counter()
    ordered = is_ordered(block.problem)
    entries = {chosen: algorithm_of(chosen) for chosen, _ in block.pairs}
    instances = draw(block, ordered)
    drawn = time.perf_counter()
    dictionaries = {
        id(i.dictionary): i.dictionary for i in instances.values() if isinstance(i, Instance)
    }
    for dictionary in dictionaries.values():  # one, unless none could be drawn
        for quantity in sorted({name for entry in entries.values() for name in entry.shares}):
            with suppress(Exception):  # it fails again where it is a row with its message
                getattr(dictionary, quantity)
    for chosen in entries:
        compile_one(chosen)
    derived = time.perf_counter()
    outcomes = []
    for step, (chosen, k) in enumerate(block.pairs):
        pool.note(step, block.time_limit)
        outcomes.append(
            _outcome(chosen, entries[chosen], instances[k], k, block.time_limit, ordered)
        )
    pool.note(-1, 0.0)
    solved = time.perf_counter()
    return Solved(outcomes, drawn - start, derived - drawn, solved - derived)


def draw(block: Block, ordered: bool) -> dict[int, Instance | Outcome]:
    """Draw the instance of every k of a block, or say in a failed row why there is none."""
    ks = sorted({k for _, k in block.pairs})
    recipe = block.trial, block.seed
    dictionary = _dictionary(block.problem, block.m, block.n, *recipe, block.time_limit)
    if isinstance(dictionary, Outcome):
        return dict.fromkeys(ks, _undrawn(dictionary, ordered))
    limit = _drawing_limit(block.problem, block.time_limit)
    drawn = {
        k: attempt(partial(draw_signal, block.problem, dictionary, k, *recipe), limit, _not_its_own)
        for k in ks
    }
    return {k: _undrawn(i, ordered) if isinstance(i, Outcome) else i for k, i in drawn.items()}


def _dictionary(
    problem: Choice, m: int, n: int, trial: int, seed: int, time_limit: float
) -> Dictionary | Outcome:
    """Draw the dictionary of a trial, or say in a failed row why there is none."""
    draw = partial(draw_dictionary, problem, m, n, trial, seed)
    found = attempt(draw, _drawing_limit(problem, time_limit), _not_its_own)
    if isinstance(found, Outcome) and is_fixed(problem):
        raise InputError(f"{problem.label} has no dictionary: {found.message}")
    return found


def _drawing_limit(problem: Choice, time_limit: float) -> float:
    """Return the seconds that drawing a dictionary or a signal may take."""
    return max(_LEARNING if is_fixed(problem) else _DRAWING, time_limit)


def _not_its_own(error: BaseException) -> bool:
    """Whether a draw was refused, for sizes that cannot be, or memory was short: the run ends."""
    return isinstance(error, InputError | MemoryError) and not isinstance(error, DrawError)


def first_coherence(problem: Choice, m: int, n: int, seed: int, time_limit: float) -> float:
    """Return the mutual coherence of the first dictionary, NaN where that one cannot be drawn.

    Raises
    ------
    InputError
        If the problem refuses the sizes, or the dictionary that all trials share cannot be drawn.
    """
    dictionary = _dictionary(problem, m, n, 0, seed, time_limit)
    return float("nan") if isinstance(dictionary, Outcome) else dictionary.coherence


def _undrawn(failure: Outcome, ordered: bool) -> Outcome:
    """Return the row of an instance that could not be drawn: no solve began."""
    return with_near(replace(failure, seconds=None, message=NO_INSTANCE + failure.message), ordered)


def with_near(outcome: Outcome, ordered: bool) -> Outcome:
    """Return a row with the distances that forgive of a failure, where atoms are ordered."""
    failed = ordered and Status(outcome.status).failed
    return replace(outcome, near_1=1.0, near_2=1.0) if failed else outcome


def _outcome(
    chosen: Choice,
    entry: Algorithm,
    instance: Instance | Outcome,
    k: int,
    time_limit: float,
    ordered: bool,
) -> Outcome:
    """Solve one instance; whatever goes wrong becomes a failed row with its message."""
    if isinstance(instance, Outcome):
        return instance
    given = {"support": instance.support} if entry.accepts("support") else {}

    def solve() -> Outcome:
        result = solve_checked(
            entry, dict(chosen.options), instance.dictionary, instance.y, k, **given
        )
        return measured(instance, result, ordered)

    return with_near(attempt(solve, time_limit), ordered)


def attempt(
    solve: Callable[[], _Solution],
    time_limit: float,
    passing: Callable[[BaseException], bool] = lambda error: False,
) -> _Solution | Outcome:
    """Return what a solve returns, or the failed row that whatever went wrong becomes.

    An error that is `passing` is raised.
    """
    start = time.perf_counter()
    try:
        # What one algorithm does to numpy's handling of errors is not seen by the next.
        with time_limited(time_limit), np.errstate():
            return solve()
    except TimeOut as error:
        return failed_row(Status.TIME_OUT, str(error), time.perf_counter() - start)
    except (Exception, SystemExit) as error:
        if passing(error):
            raise
        if isinstance(error, MemoryError):
            return failed_row(Status.ERROR, "out of memory", time.perf_counter() - start)
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        # Messages are counted, and an address differs from run to run.
        message = _ADDRESS.sub("0x...", " ".join(f"{kind}{error}".split()))[:300]
        return failed_row(Status.ERROR, message, time.perf_counter() - start)


def overdue(block: Block) -> Outcome:
    """Return the row of a solve that its worker was ended with."""
    message = f"ended after more than {block.time_limit:g} s of CPU time within compiled code"
    return with_near(failed_row(Status.TIME_OUT, message, None), is_ordered(block.problem))


def measured(instance: Instance, result: Result, ordered: bool) -> Outcome:
    """Compare an estimate with the planted solution."""
    if result.status == Status.DIVERGED:
        return failed_row(Status.DIVERGED, "", _known(result.seconds), _count(result.n_iter))
    stages = [(stage.name, _count(stage.n_iter), _known(stage.seconds)) for stage in result.stages]
    return Outcome(
        support_distance(instance.x, result.x),
        exact_recovery(instance.x, result.x),
        relative_error(instance.x, result.x),
        relative_residual(instance.A, instance.y, result.x),
        _count(result.n_iter),
        str(result.status),
        "",
        _known(result.seconds),
        json.dumps(stages) if stages else "",
        near_distance(instance.x, result.x, 1) if ordered else None,
        near_distance(instance.x, result.x, 2) if ordered else None,
    )


def _known(seconds: Any) -> float | None:
    """Return the seconds that a result states, None where it states none."""
    return None if seconds is None or np.isnan(seconds) else float(seconds)


def _count(n_iter: Any) -> int | None:
    """Return the iterations that a result states, None where it states none."""
    return None if n_iter is None or np.isnan(n_iter) else int(n_iter)


def failed_row(
    status: Status, message: str, seconds: float | None, n_iter: int | None = None
) -> Outcome:
    """Return the row of a solve that failed."""
    return Outcome(1.0, False, None, None, n_iter, str(status), message, seconds)
