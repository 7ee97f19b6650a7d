"""A run: waves of blocks to the workers or a device, their rows to the store."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sparsebench.errors import InputError
from sparsebench.kernels import CACHE
from sparsebench.problems import is_complex
from sparsebench.registry import (
    Algorithm,
    Choice,
    ProblemChoice,
    ProblemGenerator,
    is_found_anew,
    is_ours,
    plugin_files,
    plugin_fingerprint,
    plugin_folder,
)
from sparsebench.registry.contents import named_file
from sparsebench.run import worker
from sparsebench.run.decisions import Decisions
from sparsebench.run.pool import Each, Overdue, pool
from sparsebench.run.progress import Bar, Doing
from sparsebench.run.remote import Files
from sparsebench.run.rows import Block, Experiment, Outcomes
from sparsebench.run.store import Store
from sparsebench.run.worker import (
    KERNELS,
    NO_INSTANCE,
    Solved,
    Versions,
    compile_for_all,
    memory_needed,
)
from sparsebench.seeding import canonical
from sparsebench.system.locks import LOCKS
from sparsebench.system.resources import available_memory
from sparsebench.system.stopping import check_stopped

if TYPE_CHECKING:
    from sparsebench.run.cluster import Workers

# Bytes from which it is said what a worker needs.
_LARGE = 2**30


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

    def count_found(self, rows: Sequence[Outcomes]) -> None:
        """Add rows that were in the store."""
        for known in rows:
            self.found += len(known)
            for (algorithm, _), outcome in known.items():
                self._count(algorithm, outcome.status, outcome.message)

    def count_decided(self, algorithm: Choice, rows: Counter[tuple[str, str]]) -> None:
        """Add the rows, by status and message, on which a decision rests that is taken up."""
        self.found += rows.total()
        for (status, message), times in rows.items():
            self._count(algorithm, status, message, times)

    def count_solved(self, block: Block, done: Solved) -> None:
        """Add the rows of a block that has been computed, and where their time went."""
        self.computed += len(done.outcomes)
        self.drawing += done.drawing
        self.deriving += done.deriving
        self.solving += done.solving
        for (algorithm, _), outcome in zip(block.pairs, done.outcomes, strict=True):
            self._count(algorithm, outcome.status, outcome.message)

    def _count(self, algorithm: Choice, status: str, message: str, times: int = 1) -> None:
        self.statuses[algorithm.label][status] += times
        self.undrawn += times * message.startswith(NO_INSTANCE)
        if message:
            self.messages[algorithm.label][message] += times

    def summary(self) -> dict[str, float]:
        """Return what the store keeps of it."""
        names = ("computed", "found", "wall", "drawing", "deriving", "solving", "overhead")
        return {name: getattr(self, name) for name in (*names, "compiling", "workers")}

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
    cluster: str | None = None,
) -> Report:
    """Run an experiment to its end, computing only those rows that the store does not hold.

    Parameters
    ----------
    experiment : Experiment
    store : Store
    workers : int
        Processes; 1 solves in this process, but for the code of others, which may not end: that is
        solved in a child of it, as all is where this is not the main thread.
    command : str
        Recorded with the run.
    environment : dict
        Recorded with the run.
    plugins : sequence of str
        Files that every worker loads.
    console : rich.console.Console, optional
        Where progress is shown.
    device : str
        Where those algorithms run whose choice says that it runs on a device (`on_device`).
    retry : sequence of str
        Statuses whose rows are computed anew, each once: a run that is stopped goes on with those
        that it had not come to.
    cluster : str, optional
        Whose workers solve, instead of processes of this machine: ``local:N``, ``slurm:N`` or the
        address of a scheduler.

    Raises
    ------
    ClusterError
        If the cluster is gone. Finished blocks are in the store.
    DeviceError
        If the device stops answering. Finished blocks are in the store.
    InputError
        If the problem refuses the sizes, the dictionary that all trials share cannot be drawn, or a
        plug-in has changed since its algorithms were chosen.
    """
    console = console or Console(stderr=True)
    report = Report(workers=workers)
    versions = versions_of(plugins)
    recipe = experiment.recipe() | ({"retry": sorted(retry)} if retry else {})
    retried_before = store.first_of_unfinished(recipe) if retry else 0
    decisions = Decisions(store, retry, retried_before, report.count_decided)
    records = _Records(store, command, recipe, environment)
    experiment.take_up(decisions)
    wanted = experiment.wanted()
    for block in wanted:
        if is_complex(block.problem):
            for chosen, _ in block.pairs:
                chosen.check_complex()
    if not cluster:
        report.workers = workers = affordable(wanted, workers, console)
    if retry:  # recorded even if nothing is left to compute: it ends those that were stopped
        records.run()
    compiled = False
    apart = _needs_a_child(experiment.algorithms, wanted, plugins)
    slow: set[Choice] = set()
    lent: AbstractContextManager[Any] = pool(workers, apart)
    if cluster:
        from sparsebench.run.cluster import workers_of

        if not cluster.startswith("local:"):
            _check_travels(experiment.algorithms)
        lent = workers_of(cluster, _travelling(experiment.algorithms, wanted, versions), console)
    with lent as each, Bar(experiment, console) as bar:
        start = time.perf_counter()  # when workers are there
        while wanted:
            rows = [store.find(block, retry, retried_before) for block in wanted]
            report.count_found(rows)
            missing = _missing(wanted, rows)
            if missing:
                records.run()
            if missing and not compiled:
                kinds = {is_complex(block.problem) for _, block in missing}
                for kind in sorted(kinds):
                    remote = each if cluster else None
                    report.compiling += compile_all(
                        experiment.algorithms, workers, versions, console, kind, apart, remote
                    )
                compiled = True
            bar.start_wave([block for _, block in missing])
            for index, block, done in _solve_everywhere(missing, each, versions, device, slow):
                check_stopped()  # a row that an interruption has spoilt is not stored
                store.add(records.run(done.environment), block, done.outcomes, retry)
                rows[index].update(zip(block.pairs, done.outcomes, strict=True))
                report.count_solved(block, done)
                bar.finish(block, done)
            experiment.take(list(zip(wanted, rows, strict=True)), each)
            decisions.keep(experiment.decided())
            wanted = experiment.wanted()
    report.wall = time.perf_counter() - start
    if cluster:
        report.workers = max(each.most, 1)
    records.finish(report.summary())
    return report


class _Records:
    """The runs of one command in a store: one for each environment in which rows are computed."""

    def __init__(self, store: Store, command: str, recipe: Any, environment: Any) -> None:
        self._store = store
        self._what = command, recipe
        self._environment = environment
        self._ids: dict[str, int] = {}

    def run(self, environment: Any = None) -> int:
        """Return the run of an environment, by default this process's; it begins if it has not."""
        found = self._environment if environment is None else environment
        # Of BLAS it names what has been loaded so far.
        key = canonical({name: what for name, what in found.items() if name != "blas"})
        if key not in self._ids:
            self._ids[key] = self._store.start_run(*self._what, found)
        return self._ids[key]

    def finish(self, summary: Any) -> None:
        """Record how they ended."""
        for run in self._ids.values():
            self._store.finish_run(run, summary)


def versions_of(plugins: Sequence[str]) -> Versions:
    """Return what each plug-in file is now, and where it was run."""
    return tuple((path, plugin_fingerprint(path), plugin_folder(path)) for path in plugins)


def _needs_a_child(
    algorithms: Sequence[Choice], blocks: Sequence[Block], plugins: Sequence[str]
) -> bool:
    """Whether limits hold in another process only: for code of others, and off the main thread.

    What exists in this process alone, a function that a program has registered, is solved here.
    """
    entries: list[Algorithm | ProblemGenerator] = [
        *(entry for chosen in algorithms for entry in chosen.registered()),
        *(problem.record for problem in {block.problem for block in blocks}),
    ]
    main = threading.current_thread() is threading.main_thread()
    found = all(is_found_anew(entry, plugins) for entry in entries)
    return found and not (main and all(is_ours(entry) for entry in entries))


def _check_travels(algorithms: Sequence[Choice]) -> None:
    """Refuse trained networks: their weights are in a cache of this machine."""
    for chosen in algorithms:
        if "weights" in dict(chosen.options):
            raise InputError(
                f"{chosen.label} has weights that were trained here, which do not travel: run it "
                "with -j, or --cluster local:N"
            )


def _travelling(algorithms: Sequence[Choice], blocks: Sequence[Block], plugins: Versions) -> Files:
    """Read what workers elsewhere need: plug-ins, and the files that options name."""
    chosen: list[Choice | ProblemChoice] = [*algorithms, *{block.problem for block in blocks}]
    named = [named_file(value) for one in chosen for _, value in one.options]
    own = [file for path, *_ in plugins for file in plugin_files(path)]
    return Files.read([*own, *(file for file in named if file)], [folder for *_, folder in plugins])


def _missing(wanted: list[Block], rows: list[Outcomes]) -> list[tuple[int, Block]]:
    """Return what of each block is not known, with its place."""
    rest = [
        replace(block, pairs=tuple(pair for pair in block.pairs if pair not in known))
        for block, known in zip(wanted, rows, strict=True)
    ]
    return [(index, block) for index, block in enumerate(rest) if block.pairs]


def affordable(blocks: Sequence[Block], workers: int, console: Console) -> int:
    """Return how many workers the memory at hand is enough for, at most those wanted; say it."""
    sizes: dict[tuple[int, int], set[Choice]] = {}
    for block in blocks:
        ours = {chosen for chosen, _ in block.pairs if chosen.device == "cpu"}
        if ours:
            sizes.setdefault((block.m, block.n), set()).update(ours)
    needs = {size: memory_needed(*size, chosen) for size, chosen in sizes.items()}
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


def compile_all(
    algorithms: Sequence[Choice],
    workers: int,
    plugins: Versions,
    console: Console,
    complex_numbers: bool = False,
    apart: bool = False,
    remote: Workers | None = None,
) -> float:
    """Compile the kernels in the workers, which share them by numba's cache; return the seconds.

    In those of a cluster, `remote`, each kernel is compiled once a machine.
    """
    start = time.perf_counter()
    ahead = [chosen for chosen in algorithms if not chosen.plain and chosen.device == "cpu"]
    os.environ[KERNELS] = ",".join(chosen.label for chosen in ahead)
    ahead.sort(key=lambda chosen: len(chosen.links))  # what the links of a chain share comes first
    count, spent = len(ahead), 0.0

    def now() -> str:
        names = ", ".join(chosen.label for chosen in ahead[:workers])
        done = f"{count - len(ahead)} of {count} done"
        return f"compiling kernels (once; cached from then on): {names} ({done})"

    workers = min(workers, count) if LOCKS else 1
    lent = nullcontext(remote.everywhere) if remote else pool(max(workers, 1), apart)
    with Doing(console, now()) as doing, lent as each:
        tasks = list(ahead)
        doing.update(now())
        todo = [(chosen, plugins, complex_numbers) for chosen in tasks]
        for place, seconds in each(compile_for_all, todo):
            ahead.remove(tasks[place])
            spent += seconds
            if ahead:
                doing.update(now())
    seconds = time.perf_counter() - start
    if spent > 3:
        where = f"in {CACHE}, or the folder that NUMBA_CACHE_DIR names" if CACHE else "from now on"
        console.print(f"compiled kernels in {seconds:.0f} s; cached {where}", soft_wrap=True)
    return seconds


def _solve_everywhere(
    missing: list[tuple[int, Block]], each: Each, plugins: Versions, device: str, slow: set[Choice]
) -> Iterator[tuple[int, Block, Solved]]:
    """Yield each block, or its part for the workers and its part for the device, as it is done."""
    ours: list[tuple[int, Block]] = []
    theirs: list[tuple[int, Block]] = []
    for index, block in missing:
        for on_device, part in ((False, theirs), (True, ours)):
            pairs = tuple(p for p in block.pairs if (p[0].device != "cpu") == on_device)
            if pairs:
                part.append((index, replace(block, pairs=pairs)))
    if theirs:
        yield from _solve_all(theirs, each, plugins, slow)
    if ours:
        from sparsebench.run.device import solve_together

        yield from solve_together(ours, device)


def _solve_all(
    missing: list[tuple[int, Block]], each: Each, plugins: Versions, slow: set[Choice]
) -> Iterator[tuple[int, Block, Solved]]:
    """Yield each block as it is done; large ones first, so that none is left over at the end.

    `slow` gets those plug-ins whose first call did not end: they get no other.
    """
    ordered = sorted(missing, key=lambda item: -sum(k * item[1].m for _, k in item[1].pairs))
    while ordered:
        again: list[tuple[int, Block]] = []
        known = frozenset(slow), worker.ALLOWED
        for position, done in each(
            worker.solve_one, [(block, plugins, *known) for _, block in ordered]
        ):
            index, block = ordered[position]
            if not isinstance(done, Overdue):
                yield index, block, done
                continue
            rest = block.pairs
            if done.stage == "first call":
                slow.add(list(dict.fromkeys(chosen for chosen, _ in block.pairs))[done.place])
            else:
                late, outcome = worker.overdue(block, done)
                rest = tuple(pair for pair in block.pairs if pair not in late)
                failed = Solved([outcome] * len(late), 0.0, 0.0, 0.0, done.environment)
                yield index, replace(block, pairs=tuple(late)), failed
            again += [(index, replace(block, pairs=rest))] if rest else []
        ordered = again
