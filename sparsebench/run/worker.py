"""Blocks to rows, in a worker: instances are drawn and solved, and what fails becomes a row."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

from sparsebench import solvers as solvers  # registers the algorithms
from sparsebench.kernels.turns import in_turns
from sparsebench.problems import DrawError, draw_dictionary, draw_signal, is_fixed, is_ordered
from sparsebench.registry import (
    Algorithm,
    Choice,
    Known,
    ProblemChoice,
    forget_plugins,
    load_plugin,
    plugin_fingerprint,
    plugin_folder,
)
from sparsebench.run import pool
from sparsebench.run.guard import attempt, failed_row, measured, with_near
from sparsebench.run.rows import Block, Outcome
from sparsebench.types import Dictionary, InputError, Instance, Status


class Allowed(NamedTuple):
    """Seconds that something may take at least, whatever the limit of a solve.

    The first call of a plug-in, on a tiny problem: it may compile. Drawing; and drawing a
    dictionary that all trials share, which may be learnt from images.
    """

    first_call: float = 60.0
    drawing: float = 60.0
    learning: float = 3600.0


# In a worker, what its parent says.
ALLOWED = Allowed()
# What the message of a row begins with that has no instance, and so says nothing of its algorithm.
NO_INSTANCE = "no instance: "
# The variable that names the algorithms of a run, whose kernels `template` loads for all workers.
KERNELS = "SPARSEBENCH_KERNELS"
# Bytes of a process that has compiled kernels and no problem yet.
_PROCESS = 300 * 2**20
# Plug-in files, with what each was when the run began, and the working directory it was run in.
Versions = tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Solved:
    """The outcomes of a block, in the order of its pairs, and where the seconds went.

    `environment` is that of another machine that has computed them.
    """

    outcomes: list[Outcome]
    drawing: float
    deriving: float
    solving: float
    environment: Any = None


def solve_one(
    block: Block,
    plugins: Versions,
    slow: frozenset[Choice] = frozenset(),
    allowed: Allowed = ALLOWED,
) -> Solved:
    """Solve a block in a worker, which loads the plug-ins in the versions of the run.

    Those that are known to be too `slow` for a first call get none.
    """
    global ALLOWED
    ALLOWED = allowed
    _load(plugins)
    return solve_block(block, slow)


def compile_for_all(chosen: Choice, plugins: Versions, complex_numbers: bool) -> float:
    """Compile the kernels of a choice unless another worker has, or does; return the seconds."""
    _load(plugins)
    start = time.perf_counter()
    with in_turns() if pool.serving else nullcontext():
        compile_one(chosen, complex_numbers)
    return time.perf_counter() - start


def _load(plugins: Versions) -> None:
    if pool.serving:
        # Those of the run that it worked for before.
        forget_plugins(but=[path for path, *_ in plugins])
    for path, version, folder in plugins:
        if plugin_fingerprint(path) != version:
            raise InputError(
                f"{path}, or what it imports or reads, changed during the run; run the same "
                "command again (what it writes counts as read, unless it ends in .log)"
            )
        if pool.serving and folder and not plugin_folder(path):
            with suppress(OSError):  # another machine may not have it
                os.chdir(folder)
        load_plugin(path)


@cache
def compile_one(chosen: Choice, complex_numbers: bool = False) -> None:
    """Load the compiled kernels into this process before anything is timed."""
    if chosen.device == "cpu":
        if chosen.plain:
            attempt(partial(chosen.compile, complex_numbers), ALLOWED.first_call)
        else:
            chosen.compile(complex_numbers)


def memory_needed(m: int, n: int, algorithms: Iterable[Algorithm | Choice]) -> int:
    """Return about how many bytes a process takes that solves problems of m x n, itself included.

    A dictionary and what it was drawn as, and the quantities that the algorithms share.
    """
    p = min(m, n)
    sizes = {
        "gram": n * n,
        "squared_spectral_norm": 0 if n <= m else 2 * p * p,
        "pseudo_inverse": m * n + p * p,
        "svd": (m + n + 4 * p) * p,
    }
    shared = {name for algorithm in algorithms for name in algorithm.shares}
    return _PROCESS + 8 * (2 * m * n + sum(sizes.get(name, 0) for name in shared))


def solve_block(block: Block, slow: frozenset[Choice] = frozenset()) -> Solved:
    """Draw the dictionary of a block once and solve all of its pairs on it."""
    start = time.perf_counter()
    ordered = is_ordered(block.problem)
    algorithms = dict.fromkeys(chosen for chosen, _ in block.pairs)
    for chosen in algorithms:
        chosen.registered()  # a plug-in may have changed since
    instances = draw(block, ordered)
    pool.note()
    drawn = time.perf_counter()
    dictionaries = {
        id(i.dictionary): i.dictionary for i in instances.values() if isinstance(i, Instance)
    }
    for dictionary in dictionaries.values():  # one, unless none could be drawn
        for quantity in sorted({name for chosen in algorithms for name in chosen.shares}):
            with suppress(Exception):  # it fails again where it is a row with its message
                getattr(dictionary, quantity)
    complex_numbers = any(dictionary.is_complex for dictionary in dictionaries.values())
    for place, chosen in enumerate(algorithms):
        if chosen.plain and chosen not in slow:
            pool.note("first call", place, ALLOWED.first_call)
        if chosen not in slow:
            compile_one(chosen, complex_numbers)
        pool.note()
    derived = time.perf_counter()
    outcomes = []
    known: dict[int, Known] = defaultdict(dict)
    for step, (chosen, k) in enumerate(block.pairs):
        pool.note("solve", step, block.time_limit)
        outcomes.append(_outcome(chosen, instances[k], k, block.time_limit, ordered, known[k]))
    pool.note()
    solved = time.perf_counter()
    return Solved(outcomes, drawn - start, derived - drawn, solved - derived)


def draw(block: Block, ordered: bool) -> dict[int, Instance | Outcome]:
    """Draw the instance of every k of a block, or say in a failed row why there is none."""
    ks = sorted({k for _, k in block.pairs})
    recipe = block.trial, block.seed
    limit = _drawing_limit(block.problem, block.time_limit)
    pool.note("dictionary", 0, limit)
    dictionary = _dictionary(block.problem, block.m, block.n, *recipe, block.time_limit)
    if isinstance(dictionary, Outcome):
        return dict.fromkeys(ks, _undrawn(dictionary, ordered))
    drawn = {}
    for place, k in enumerate(ks):
        pool.note("signal", place, limit)
        drawing = partial(draw_signal, block.problem, dictionary, k, *recipe)
        drawn[k] = attempt(drawing, limit, _not_its_own)
    return {k: _undrawn(i, ordered) if isinstance(i, Outcome) else i for k, i in drawn.items()}


def _dictionary(
    problem: ProblemChoice, m: int, n: int, trial: int, seed: int, time_limit: float
) -> Dictionary | Outcome:
    """Draw the dictionary of a trial, or say in a failed row why there is none."""
    draw = partial(draw_dictionary, problem, m, n, trial, seed)
    found = attempt(draw, _drawing_limit(problem, time_limit), _not_its_own)
    if isinstance(found, Outcome) and is_fixed(problem):
        raise InputError(f"{problem.label} has no dictionary: {found.message}")
    return found


def _drawing_limit(problem: ProblemChoice, time_limit: float) -> float:
    """Return the seconds that drawing a dictionary or a signal may take."""
    return max(ALLOWED.learning if is_fixed(problem) else ALLOWED.drawing, time_limit)


def _not_its_own(error: BaseException) -> bool:
    """Whether a draw was refused, for sizes that cannot be, or memory was short: the run ends."""
    return isinstance(error, InputError | MemoryError) and not isinstance(error, DrawError)


def first_coherence(problem: ProblemChoice, m: int, n: int, seed: int, time_limit: float) -> float:
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


def _outcome(
    chosen: Choice,
    instance: Instance | Outcome,
    k: int,
    time_limit: float,
    ordered: bool,
    known: Known,
) -> Outcome:
    """Solve one instance; whatever goes wrong becomes a failed row with its message.

    What is `known` of the first links of a chain is used, at the price that it had.
    """
    if isinstance(instance, Outcome):
        return instance
    given = chosen.told_of(instance)

    def solve(known: Known) -> Outcome:
        result = chosen.solve(instance.dictionary, instance.y, k, known=known, **given)
        return measured(instance, result, ordered)

    left = time_limit - chosen.seconds_known(known)
    found = attempt(partial(solve, known), left) if left > 0 else None
    if found is None or (left < time_limit and found.status == Status.TIME_OUT):
        found = attempt(partial(solve, {}), time_limit)  # a row that tells the whole of it
    return with_near(found, ordered)


def overdue(block: Block, late: pool.Overdue) -> tuple[list[tuple[Choice, int]], Outcome]:
    """Return the pairs of a block that its worker was ended in a step for, and their row.

    Raises
    ------
    InputError
        If it drew the dictionary that all trials share.
    """
    ordered, drawing = is_ordered(block.problem), late.stage != "solve"
    seconds = _drawing_limit(block.problem, block.time_limit) if drawing else block.time_limit
    what = "in which it computed nothing" if late.waited else "of CPU time"
    failed = failed_row(
        Status.TIME_OUT, f"ended with its process after more than {seconds:g} s {what}", None
    )
    if not drawing:
        return [block.pairs[late.place]], with_near(failed, ordered)
    if late.stage == "dictionary":
        if is_fixed(block.problem):
            raise InputError(f"{block.problem.label} has no dictionary: {failed.message}")
        return list(block.pairs), _undrawn(failed, ordered)
    k = sorted({k for _, k in block.pairs})[late.place]
    return [pair for pair in block.pairs if pair[1] == k], _undrawn(failed, ordered)
