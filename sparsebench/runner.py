"""Blocks to rows: joblib workers, time limits, the store, and the progress bar."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, Protocol, TypeVar

import joblib
import numpy as np
from joblib.externals.loky import get_reusable_executor
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from threadpoolctl import threadpool_limits

from sparsebench.devices import own_options, place
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
from sparsebench.solvers import compile_kernels, solve_checked
from sparsebench.store import Block, Outcome, Store
from sparsebench.types import Dictionary, InputError, Instance, Result, Status

# Of the memory of a device, the part that the dictionaries of a group of blocks may take, and most
# blocks of a group: what a run that is stopped computes again.
_DICTIONARIES = 0.25
_MOST_BLOCKS = 1024
# Seconds that the first call of a plug-in may take, on a tiny problem: it may compile itself.
_FIRST_CALL = 60.0
# Seconds that drawing may take at least, whatever the limit of a solve: a dictionary that all
# trials share may be learnt from images.
_DRAWING, _LEARNING = 60.0, 3600.0
# What the message of a row begins with that has no instance, and so says nothing of its algorithm.
_NO_INSTANCE = "no instance: "
_Solution = TypeVar("_Solution")
Outcomes = dict[tuple[Choice, int], Outcome]
# Rows of one wave: a block and its outcomes by (algorithm, k).
Wave = list[tuple[Block, Outcomes]]
# Plug-in files, with what each of them was when the run began.
_Versions = tuple[tuple[str, str], ...]


class Experiment(Protocol):
    """Decides which rows are worth having; knows algorithms by name only."""

    name: str
    algorithms: list[Choice]

    def waves(self) -> Generator[list[Block], Wave, None]:
        """Yield blocks, receive their rows, until enough is known. A pure function of rows."""
        ...

    def solves_to_go(self) -> dict[tuple[Choice, int], int]:
        """Forecast the solves beyond the wave in progress, by (algorithm, m)."""
        ...

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON data."""
        ...


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
        self.undrawn += outcome.message.startswith(_NO_INSTANCE)
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
        Where progress is shown, if it is a terminal.
    device : str
        Where those algorithms run whose choice says that it runs on a device (`devices.placed`).

    Raises
    ------
    DeviceError
        If the device stops answering. Finished blocks are in the store.
    InputError
        If the problem refuses the sizes, the dictionary that all trials share cannot be drawn, or a
        plug-in has changed since its algorithms were chosen.
    """
    console = console or Console(stderr=True)
    report = Report(workers=workers)
    versions = tuple((path, plugin_fingerprint(path)) for path in plugins)
    run_id = 0
    waves = experiment.waves()
    start = time.perf_counter()
    with _Bar(experiment, console) as bar, _pool(workers) as pool:
        try:
            wanted = next(waves)
            while True:
                rows: list[Outcomes] = []
                missing: list[tuple[int, Block]] = []
                for index, block in enumerate(wanted):
                    known = store.find(block)
                    rows.append(known)
                    report.found += len(known)
                    for (algorithm, _), outcome in known.items():
                        report.count(algorithm, outcome)
                    rest = tuple(pair for pair in block.pairs if pair not in known)
                    if rest:
                        missing.append((index, _only(block, rest)))
                if missing and not run_id:
                    run_id = store.start_run(command, experiment.recipe(), environment)
                    report.compiling = compile_all(experiment.algorithms, console)
                bar.start_wave([block for _, block in missing])
                for index, block, done in _solve_everywhere(missing, pool, versions, device):
                    store.add(run_id, block, done.outcomes)
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


def compile_all(algorithms: Sequence[Choice], console: Console) -> float:
    """Compile the kernels here, so that workers load them from disk; return the seconds."""
    start = time.perf_counter()
    with console.status("compiling kernels (once; cached from then on)"):
        for chosen in algorithms:
            if not _is_plain(algorithm_of(chosen)):
                _compile(chosen)
    seconds = time.perf_counter() - start
    if seconds > 3:
        console.print(f"compiled kernels in {seconds:.0f} s; cached from now on")
    return seconds


@dataclass(frozen=True)
class _Solved:
    """The outcomes of a block, in the order of its pairs, and where the seconds went."""

    outcomes: list[Outcome]
    drawing: float
    deriving: float
    solving: float


def _only(block: Block, pairs: tuple[tuple[Choice, int], ...]) -> Block:
    return Block(block.problem, block.seed, block.n, block.m, block.trial, pairs, block.time_limit)


@contextmanager
def _pool(workers: int) -> Iterator[joblib.Parallel]:
    """A pool whose processes have one BLAS thread each; killed at once on an interruption."""
    if workers == 1:
        with threadpool_limits(1), joblib.Parallel(n_jobs=1, return_as="generator") as pool:
            yield pool
        return
    # When the workers are killed, the executor's own thread trips over work it had queued.
    loud = threading.excepthook
    threading.excepthook = lambda _: None
    with (
        joblib.parallel_config(backend="loky", inner_max_num_threads=1),
        joblib.Parallel(
            n_jobs=workers, return_as="generator_unordered", pre_dispatch="3*n_jobs"
        ) as pool,
    ):
        try:
            yield pool
        except BaseException:
            warnings.filterwarnings("ignore", module="joblib")
            get_reusable_executor().shutdown(wait=False, kill_workers=True)
            raise
    threading.excepthook = loud


def _solve_everywhere(
    missing: list[tuple[int, Block]], pool: joblib.Parallel, plugins: _Versions, device: str
) -> Iterator[tuple[int, Block, _Solved]]:
    """Yield each block, or its part for the workers and its part for the device, as it is done."""
    ours: list[tuple[int, Block]] = []
    theirs: list[tuple[int, Block]] = []
    for index, block in missing:
        for on_device, part in ((False, theirs), (True, ours)):
            pairs = tuple(p for p in block.pairs if (place(p[0])[0] != "cpu") == on_device)
            if pairs:
                part.append((index, _only(block, pairs)))
    if theirs:
        yield from _solve_all(theirs, pool, plugins)
    if ours:
        yield from _solve_together(ours, device)


def _solve_together(
    missing: list[tuple[int, Block]], device: str
) -> Iterator[tuple[int, Block, _Solved]]:
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
                    failed = _failure(Status.ERROR, f"out of memory on {device}", 0.0)
                    yield index, block, _Solved([failed] * len(block.pairs), 0.0, 0.0, 0.0)
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


def solve_blocks(blocks: Sequence[Block], device: str) -> list[_Solved]:
    """Solve blocks of one problem and size on a device: an algorithm's pairs all at once.

    A time limit holds for a batch as a whole, that of one solve times their number: the problems
    of a batch advance together. Seconds are shares of a batch's.
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
        for k, drawn_one in _draw(block, ordered).items():
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
            outcomes[index][chosen, k] = _with_near(outcome, ordered)
    share = 1 / len(blocks)
    total = time.perf_counter() - drawn
    return [
        _Solved(
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
        return _failure(Status.ERROR, f"out of memory on {device}", 0.0)
    if result.status == Status.ERROR:
        return _failure(Status.ERROR, result.message, result.seconds)
    return _measured(instance, result, ordered)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


def _solve_all(
    missing: list[tuple[int, Block]], pool: joblib.Parallel, plugins: _Versions
) -> Iterator[tuple[int, Block, _Solved]]:
    """Yield each block as it is done; large ones first, so that none is left over at the end."""
    ordered = sorted(missing, key=lambda item: -sum(k * item[1].m for _, k in item[1].pairs))
    parent = os.getpid()
    yield from pool(
        joblib.delayed(_solve_one)(index, block, plugins, parent) for index, block in ordered
    )


def _solve_one(
    index: int, block: Block, plugins: _Versions, parent: int
) -> tuple[int, Block, _Solved]:
    if os.getpid() != parent:
        _die_with(parent)
        forget_plugins(but=[path for path, _ in plugins])  # those of the run it worked for before
    for path, version in plugins:
        if plugin_fingerprint(path) != version:
            raise InputError(f"{path} changed during the run; run the same command again")
        load_plugin(path)
    return index, block, solve_block(block)


@cache
def _die_with(parent: int) -> None:
    """End this worker when its parent is gone, killed perhaps."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@cache
def _compile(chosen: Choice) -> None:
    """Load the compiled kernels into this process before anything is timed."""
    if place(chosen)[0] == "cpu":
        entry, options = algorithm_of(chosen), dict(chosen.options)
        if _is_plain(entry):
            attempt(lambda: compile_kernels(entry, options), _FIRST_CALL)
        else:
            compile_kernels(entry, options)


def _is_plain(entry: Algorithm) -> bool:
    """Whether it, or a link of it, is a function of the array, which keeps what it compiles."""
    return any(stage.plain for stage in entry.stages or (entry,))


def solve_block(block: Block) -> _Solved:
    """Draw the dictionary of a block once and solve all of its pairs on it."""
    start = time.perf_counter()
    ordered = is_ordered(block.problem)
    entries = {chosen: algorithm_of(chosen) for chosen, _ in block.pairs}
    instances = _draw(block, ordered)
    drawn = time.perf_counter()
    dictionaries = {
        id(i.dictionary): i.dictionary for i in instances.values() if isinstance(i, Instance)
    }
    for dictionary in dictionaries.values():  # one, unless none could be drawn
        for quantity in sorted({name for entry in entries.values() for name in entry.shares}):
            with suppress(Exception):  # it fails again where it is a row with its message
                getattr(dictionary, quantity)
    for chosen in entries:
        _compile(chosen)
    derived = time.perf_counter()
    outcomes = [
        _outcome(chosen, entries[chosen], instances[k], k, block.time_limit, ordered)
        for chosen, k in block.pairs
    ]
    solved = time.perf_counter()
    return _Solved(outcomes, drawn - start, derived - drawn, solved - derived)


def _draw(block: Block, ordered: bool) -> dict[int, Instance | Outcome]:
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
    return _with_near(
        replace(failure, seconds=None, message=_NO_INSTANCE + failure.message), ordered
    )


def _with_near(outcome: Outcome, ordered: bool) -> Outcome:
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
        return _measured(instance, result, ordered)

    return _with_near(attempt(solve, time_limit), ordered)


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
        with _time_limit(time_limit), np.errstate():
            return solve()
    except _TimeOut:
        seconds = time.perf_counter() - start
        return _failure(Status.TIME_OUT, f"stopped after {time_limit:g} s", seconds)
    except (Exception, SystemExit) as error:
        if passing(error):
            raise
        if isinstance(error, MemoryError):
            return _failure(Status.ERROR, "out of memory", time.perf_counter() - start)
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        message = f"{kind}{error}"
        return _failure(Status.ERROR, " ".join(message.split())[:300], time.perf_counter() - start)


def _measured(instance: Instance, result: Result, ordered: bool) -> Outcome:
    """Compare an estimate with the planted solution."""
    if result.status == Status.DIVERGED:
        return _failure(Status.DIVERGED, "", _known(result.seconds), _count(result.n_iter))
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


def _failure(
    status: Status, message: str, seconds: float | None, n_iter: int | None = None
) -> Outcome:
    return Outcome(1.0, False, None, None, n_iter, str(status), message, seconds)


class _TimeOut(BaseException):
    """Raised inside a solve that runs too long; no `except Exception` can swallow it."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the body after `seconds`, where the system and the thread allow it.

    The interruption arrives between Python instructions: a single long call into compiled code
    is interrupted when it returns.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not (
        threading.main_thread()
    ):
        with nullcontext():
            yield
        return

    def expire(*_: Any) -> None:
        raise _TimeOut

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


class _Bar:
    """A progress bar in units of predicted work: every cell weighs what its solves cost.

    The cost of a solve of an algorithm at an m is the mean of those seen lately; before any is
    seen, all cost the same. Nothing is shown unless the console is a terminal.
    """

    def __init__(self, experiment: Experiment, console: Console) -> None:
        self._experiment = experiment
        self._spent: dict[tuple[Choice, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._waiting: Counter[tuple[Choice, int]] = Counter()
        self._done = 0.0
        self._rows = 0
        self._start = time.perf_counter()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> _Bar:
        self._progress.start()
        self._task = self._progress.add_task(self._experiment.name, total=None, left="")
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start_wave(self, blocks: list[Block]) -> None:
        """Take note of the solves of a wave; costs seen in earlier ones, at other k, fade."""
        for cell in self._spent.values():
            cell[:] = [0.25 * cell[0], 0.25 * cell[1]]
        self._waiting = Counter(
            (algorithm, block.m) for block in blocks for algorithm, _ in block.pairs
        )
        self._show()

    def finish(self, block: Block, solved: _Solved) -> None:
        """Take note of a finished block."""
        shared = (solved.drawing + solved.deriving) / len(block.pairs)
        for (algorithm, _), outcome in zip(block.pairs, solved.outcomes, strict=True):
            cell = self._spent[algorithm, block.m]
            cell[0] += 1
            cell[1] += (outcome.seconds or 0.0) + shared
            self._done += (outcome.seconds or 0.0) + shared
            self._waiting[algorithm, block.m] -= 1
        self._rows += len(block.pairs)
        self._show()

    def _show(self) -> None:
        if self._progress.disable:
            return
        ahead = Counter(self._waiting)
        ahead.update(self._experiment.solves_to_go())
        left = sum(count * self._cost(*cell) for cell, count in ahead.items())
        elapsed = time.perf_counter() - self._start
        text = f"{self._rows:,} solves"
        if self._done > 0:
            seconds = elapsed * left / self._done
            text += f", about {seconds // 60:.0f}:{seconds % 60:02.0f} left"
        self._progress.update(
            self._task, total=self._done + left or None, completed=self._done, left=text
        )

    def _cost(self, algorithm: Choice, m: int) -> float:
        count, seconds = self._spent.get((algorithm, m), (0.0, 0.0))
        if count:
            return seconds / count
        rows = sum(cell[0] for cell in self._spent.values())
        return sum(cell[1] for cell in self._spent.values()) / rows if rows else 0.0


def default_workers() -> int:
    """Return the number of usable cores."""
    return int(joblib.cpu_count())
