"""A run: waves of blocks to the workers or a device, their rows to the store."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console

from sparsebench.devices import own_options, place
from sparsebench.kernels import CACHE
from sparsebench.problems import is_ordered
from sparsebench.registry import Choice, algorithm_of, plugin_fingerprint
from sparsebench.resources import available_memory
from sparsebench.run.pool import Each, Overdue, pool
from sparsebench.run.progress import Bar, Doing
from sparsebench.run.rows import Block, Experiment, Outcome, Outcomes
from sparsebench.run.store import Store
from sparsebench.run.worker import (
    KERNELS,
    NO_INSTANCE,
    Solved,
    Versions,
    attempt,
    compile_one,
    draw,
    failed_row,
    is_plain,
    measured,
    memory_needed,
    overdue,
    solve_one,
    with_near,
)
from sparsebench.system import check_stopped
from sparsebench.types import Dictionary, Instance, Result, Status

# Of the memory of a device, the part that the dictionaries of a group of blocks may take, and most
# blocks of a group: what a run that is stopped computes again.
_DICTIONARIES = 0.25
_MOST_BLOCKS = 1024
# Bytes from which it is said what a worker needs.
_LARGE = 2**30


class DeviceError(OSError):
    """A device stopped answering; the message is one line that says what is kept and what to do."""


@dataclass
class Report:
    """What a run did: rows computed and found, failures, and where its time went (seconds).

    `undrawn` are those rows, computed or found, whose instance could not be drawn.
    """

    computed: int = 0
    found: int = 0
    undrawn: int = 0
    wall: float = 0.0
    drawing: float = 0.0
    deriving: float = 0.0
    solving: float = 0.0
    compiling: float = 0.0
    workers: int = 1
    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    messages: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def count(self, algorithm: Choice, outcome: Outcome) -> None:
        """Add one row's status and message."""
        self.statuses[algorithm.label][outcome.status] += 1
        self.undrawn += outcome.message.startswith(NO_INSTANCE)
        if outcome.message:
            self.messages[algorithm.label][outcome.message] += 1

    @property
    def overhead(self) -> float:
        """Core seconds that went neither into instances, derived quantities nor solving."""
        accounted = self.drawing + self.deriving + self.solving
        return max((self.wall - self.compiling) * self.workers - accounted, 0.0)


def run(
    experiment: Experiment,
    store: Store,
    *,
    workers: int,
    command: str,
    environment: Any,
    plugins: Sequence[str] = (),
    console: Console | None = None,
    device: str = "cpu",
    retry: Sequence[str] = (),
) -> Report:
    """Run an experiment to its end, computing only those rows that the store does not hold.

    Parameters
    ----------
    experiment : Experiment
    store : Store
    workers : int
        Processes; 1 solves in this process.
    command : str
        Recorded with the run.
    environment : dict
        Recorded with the run.
    plugins : sequence of str
        Files that every worker loads.
    console : rich.console.Console, optional
        Where progress is shown.
    device : str
        Where those algorithms run whose choice says that it runs on a device (`devices.placed`).
    retry : sequence of str
        Statuses whose rows are computed anew, each once: a run that is stopped goes on with those
        that it had not come to.

    Raises
    ------
    DeviceError
        If the device stops answering. Finished blocks are in the store.
    InputError
        If the problem refuses the sizes, the dictionary that all trials share cannot be drawn, or a
        plug-in has changed since its algorithms were chosen.
    """
    console = console or Console(stderr=True)
    waves = experiment.waves()
    wanted = next(waves, [])
    workers = affordable(wanted, workers, console)
    report = Report(workers=workers)
    versions = tuple((path, plugin_fingerprint(path)) for path in plugins)
    run_id = 0
    recipe = experiment.recipe() | ({"retry": sorted(retry)} if retry else {})
    retried_before = store.first_of_unfinished(recipe) if retry else 0
    if retry:  # recorded even if nothing is left to compute: it ends those that were stopped
        run_id = store.start_run(command, recipe, environment)
    compiled = False
    start = time.perf_counter()
    with Bar(experiment, console) as bar, pool(workers) as each:
        try:
            while True:
                rows: list[Outcomes] = []
                missing: list[tuple[int, Block]] = []
                for index, block in enumerate(wanted):
                    known = store.find(block, retry, retried_before)
                    rows.append(known)
                    report.found += len(known)
                    for (algorithm, _), outcome in known.items():
                        report.count(algorithm, outcome)
                    rest = tuple(pair for pair in block.pairs if pair not in known)
                    if rest:
                        missing.append((index, _only(block, rest)))
                if missing and not run_id:
                    run_id = store.start_run(command, recipe, environment)
                if missing and not compiled:
                    report.compiling, compiled = compile_all(experiment.algorithms, console), True
                bar.start_wave([block for _, block in missing])
                for index, block, done in _solve_everywhere(missing, each, versions, device):
                    check_stopped()  # a row that an interruption has spoilt is not stored
                    store.add(run_id, block, done.outcomes, retry)
                    rows[index].update(zip(block.pairs, done.outcomes, strict=True))
                    report.computed += len(done.outcomes)
                    report.drawing += done.drawing
                    report.deriving += done.deriving
                    report.solving += done.solving
                    for (algorithm, _), outcome in zip(block.pairs, done.outcomes, strict=True):
                        report.count(algorithm, outcome)
                    bar.finish(block, done)
                wanted = waves.send(list(zip(wanted, rows, strict=True)))
        except StopIteration:
            pass
    report.wall = time.perf_counter() - start
    if run_id:
        store.finish_run(
            run_id,
            {
                "computed": report.computed,
                "found": report.found,
                "wall": report.wall,
                "drawing": report.drawing,
                "deriving": report.deriving,
                "solving": report.solving,
                "overhead": report.overhead,
                "compiling": report.compiling,
                "workers": workers,
            },
        )
    return report


def affordable(blocks: Sequence[Block], workers: int, console: Console) -> int:
    """Return how many workers the memory at hand is enough for, at most those wanted; say it."""
    sizes: dict[tuple[int, int], set[Choice]] = defaultdict(set)
    for block in blocks:
        sizes[block.m, block.n].update(
            chosen for chosen, _ in block.pairs if place(chosen)[0] == "cpu"
        )
    needs = {
        size: memory_needed(*size, map(algorithm_of, chosen))
        for size, chosen in sizes.items()
        if chosen
    }
    if not needs:
        return workers
    (m, n), need = max(needs.items(), key=lambda item: item[1])
    free = available_memory()
    fewer = workers if free is None else min(workers, max(free // need, 1))
    if fewer < workers or need > _LARGE or (free is not None and need > free):
        had = "" if free is None else f"; {free / 2**30:.1f} GiB are free"
        console.print(
            f"a worker needs about {need / 2**30:.1f} GiB at m = {m}, n = {n}{had}: "
            f"{fewer} at once" + (f" instead of {workers}" if fewer < workers else ""),
            soft_wrap=True,
        )
    return fewer


def compile_all(algorithms: Sequence[Choice], console: Console) -> float:
    """Compile the kernels here, so that workers load them from disk; return the seconds."""
    start = time.perf_counter()
    what = "compiling kernels (once; cached from then on)"
    with Doing(console, what) as doing:
        for chosen in algorithms:
            check_stopped()
            if not is_plain(algorithm_of(chosen)):
                compile_one(chosen)
                doing.update(what)
    os.environ[KERNELS] = ",".join(
        chosen.label for chosen in algorithms if not is_plain(algorithm_of(chosen))
    )
    seconds = time.perf_counter() - start
    if seconds > 3:
        where = f"in {CACHE}, or the folder that NUMBA_CACHE_DIR names" if CACHE else "from now on"
        console.print(f"compiled kernels in {seconds:.0f} s; cached {where}", soft_wrap=True)
    return seconds


def _only(block: Block, pairs: tuple[tuple[Choice, int], ...]) -> Block:
    return Block(block.problem, block.seed, block.n, block.m, block.trial, pairs, block.time_limit)


def _solve_everywhere(
    missing: list[tuple[int, Block]], each: Each, plugins: Versions, device: str
) -> Iterator[tuple[int, Block, Solved]]:
    """Yield each block, or its part for the workers and its part for the device, as it is done."""
    ours: list[tuple[int, Block]] = []
    theirs: list[tuple[int, Block]] = []
    for index, block in missing:
        for on_device, part in ((False, theirs), (True, ours)):
            pairs = tuple(p for p in block.pairs if (place(p[0])[0] != "cpu") == on_device)
            if pairs:
                part.append((index, _only(block, pairs)))
    if theirs:
        yield from _solve_all(theirs, each, plugins)
    if ours:
        yield from _solve_together(ours, device)


def _solve_together(
    missing: list[tuple[int, Block]], device: str
) -> Iterator[tuple[int, Block, Solved]]:
    """Yield each block as it is done on a device: as many at once as their dictionaries fit."""
    from sparsebench import batched

    alike: dict[tuple[Any, ...], list[tuple[int, Block]]] = defaultdict(list)
    for index, block in missing:
        alike[block.problem, block.seed, block.n, block.m].append((index, block))
    for (_, _, n, m), same in alike.items():
        free = _DICTIONARIES * batched.memory_at_hand(batched.torch_device(device))
        size = int(min(max(free / (16 * n * (m + n)), 1), _MOST_BLOCKS))
        groups = [same[i : i + size] for i in range(0, len(same), size)]
        while groups:
            group = groups.pop(0)
            try:
                solved = solve_blocks([block for _, block in group], device)
            except (RuntimeError, MemoryError) as error:
                if batched.out_of_memory(error) and len(group) > 1:
                    half = len(group) // 2
                    groups[:0] = [group[:half], group[half:]]
                    continue
                if batched.out_of_memory(error):
                    ((index, block),) = group
                    failed = failed_row(Status.ERROR, f"out of memory on {device}", 0.0)
                    yield index, block, Solved([failed] * len(block.pairs), 0.0, 0.0, 0.0)
                    continue
                if batched.lost(error):
                    raise DeviceError(
                        f"the device {device} does not answer any more ({_first_line(error)}); "
                        "finished blocks are kept, and the same command continues; with "
                        "--device cpu the kernels compute rows of their own"
                    ) from error
                raise
            for (index, block), done in zip(group, solved, strict=True):
                yield index, block, done


def solve_blocks(blocks: Sequence[Block], device: str) -> list[Solved]:
    """Solve blocks of one problem and size on a device: an algorithm's pairs all at once.

    A time limit holds for a batch as a whole, that of one solve times their number: the problems
    of a batch advance together. It counts the CPU time of all threads of this process, that of
    waiting for a card included as far as torch waits by looking. Seconds are shares of a batch's.
    """
    from sparsebench import batched

    start = time.perf_counter()
    ordered = is_ordered(blocks[0].problem)
    dictionaries: list[Dictionary] = []
    instances: dict[tuple[int, int], Instance] = {}
    outcomes: list[Outcomes] = [{} for _ in blocks]
    owners: dict[int, int] = {}
    known: dict[int, int] = {}
    for index, block in enumerate(blocks):
        for k, drawn_one in draw(block, ordered).items():
            if isinstance(drawn_one, Outcome):
                outcomes[index].update((pair, drawn_one) for pair in block.pairs if pair[1] == k)
                continue
            instances[index, k] = drawn_one
            shared = drawn_one.dictionary  # a fixed dictionary is one for all blocks
            if id(shared) not in known:
                known[id(shared)] = len(dictionaries)
                dictionaries.append(shared)
            owners[index] = known[id(shared)]
    drawn = time.perf_counter()
    stacks: dict[str, Any] = {}
    spent = 0.0
    for chosen in dict.fromkeys(chosen for block in blocks for chosen, _ in block.pairs):
        wanted = [
            (index, k)
            for index, block in enumerate(blocks)
            for other, k in block.pairs
            if other == chosen and (index, k) in instances
        ]
        if not wanted:
            continue
        _, precision = place(chosen)
        if precision not in stacks:
            stacks[precision] = batched.stack(dictionaries, device, precision)
        limit = blocks[0].time_limit * len(wanted)

        solve = partial(
            batched.solve_problems,
            algorithm_of(chosen),
            own_options(chosen),
            stacks[precision],
            np.array([owners[index] for index, _ in wanted]),
            np.stack([instances[pair].y for pair in wanted]),
            np.array([k for _, k in wanted]),
            device,
            precision,
        )
        begin = time.perf_counter()
        found = attempt(solve, limit, passing=batched.lost)
        spent += time.perf_counter() - begin
        for position, (index, k) in enumerate(wanted):
            if isinstance(found, Outcome):
                outcome = replace(found, seconds=(found.seconds or 0.0) / len(wanted))
            else:
                outcome = _read(instances[index, k], found[position], device, ordered)
            outcomes[index][chosen, k] = with_near(outcome, ordered)
    share = 1 / len(blocks)
    total = time.perf_counter() - drawn
    return [
        Solved(
            [outcomes[index][pair] for pair in block.pairs],
            (drawn - start) * share,
            (total - spent) * share,
            spent * share,
        )
        for index, block in enumerate(blocks)
    ]


def _read(instance: Instance, result: Result | None, device: str, ordered: bool) -> Outcome:
    """Return the row of one result of a device."""
    if result is None:
        return failed_row(Status.ERROR, f"out of memory on {device}", 0.0)
    if result.status == Status.ERROR:
        return failed_row(Status.ERROR, result.message, result.seconds)
    return measured(instance, result, ordered)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


def _solve_all(
    missing: list[tuple[int, Block]], each: Each, plugins: Versions
) -> Iterator[tuple[int, Block, Solved]]:
    """Yield each block as it is done; large ones first, so that none is left over at the end."""
    ordered = sorted(missing, key=lambda item: -sum(k * item[1].m for _, k in item[1].pairs))
    while ordered:
        again: list[tuple[int, Block]] = []
        for position, done in each(solve_one, [(block, plugins) for _, block in ordered]):
            index, block = ordered[position]
            if isinstance(done, Overdue):
                late = block.pairs[done.step]
                rest = tuple(pair for pair in block.pairs if pair != late)
                again += [(index, _only(block, rest))] if rest else []
                yield index, _only(block, (late,)), Solved([overdue(block)], 0.0, 0.0, 0.0)
            else:
                yield index, block, done
        ordered = again
