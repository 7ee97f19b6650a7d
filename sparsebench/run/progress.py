"""The progress of a run with its forecast: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from sparsebench.registry import Choice
from sparsebench.run.rows import Block, Experiment
from sparsebench.run.worker import Solved
from sparsebench.types import Status

# Seconds until the first plain line, and between two.
_FIRST, _EVERY = 10.0, 60.0


def is_live(console: Console) -> bool:
    """Whether lines can be redrawn: a terminal that moves its cursor, whatever asks for colours."""
    plain = console.quiet or console.is_dumb_terminal
    return console.is_interactive and console.file.isatty() and not plain


def time_left(elapsed: float, done: float, left: float) -> str:
    """Return the forecast ", about m:ss left" of work that goes on as so far, "" before any."""
    if done <= 0:
        return ""
    minutes, seconds = divmod(round(elapsed * left / done), 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f", about {clock} left"


class Lines:
    """Plain lines where no bar can move, the first after ten seconds and at most one a minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = time.monotonic() + _FIRST

    def say(self, text: Callable[[], str]) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        if now >= self._next and not is_live(self._console):
            self._next = now + _EVERY
            self._console.print(text(), soft_wrap=True)


class Doing:
    """What is being done: beside a spinner, or in plain lines where none can turn."""

    def __init__(self, console: Console, what: str) -> None:
        self._lines = Lines(console)
        self._spinner = console.status(what) if is_live(console) else None

    def __enter__(self) -> Doing:
        if self._spinner:
            self._spinner.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._spinner:
            self._spinner.stop()

    def update(self, what: str) -> None:
        """Say what is being done now."""
        if self._spinner:
            self._spinner.update(what)
        self._lines.say(lambda: what)


@contextmanager
def moving_bar(console: Console, *columns: ProgressColumn) -> Iterator[Progress]:
    """Lend a progress bar, which is shown where one can move."""
    live = is_live(console)
    bar = Progress(*columns, console=console, transient=True, disable=not live)
    with bar if live else nullcontext():  # before rich 14 it ends with an empty line none the less
        yield bar


class Bar:
    """A progress bar in units of predicted work: every cell weighs what its solves cost.

    The cost of a solve of an algorithm at an m is the mean of those seen lately; before any is
    seen, all cost the same. Where the console is no terminal, plain lines say the same.
    """

    def __init__(self, experiment: Experiment, console: Console) -> None:
        self._experiment = experiment
        self._spent: dict[tuple[Choice, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._waiting: Counter[tuple[Choice, int]] = Counter()
        self._done = 0.0
        self._rows = 0
        self._failed = 0
        self._lines = Lines(console)
        self._start = time.perf_counter()
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
        left = TextColumn("{task.fields[left]}")
        self._moving = moving_bar(console, *columns, TimeElapsedColumn(), left)

    def __enter__(self) -> Bar:
        self._progress = self._moving.__enter__()
        self._task = self._progress.add_task(self._experiment.name, total=None, left="")
        return self

    def __exit__(self, *_: object) -> None:
        self._moving.__exit__(None, None, None)

    def start_wave(self, blocks: list[Block]) -> None:
        """Take note of the solves of a wave; costs seen in earlier ones, at other k, fade."""
        for cell in self._spent.values():
            cell[:] = [0.25 * cell[0], 0.25 * cell[1]]
        self._waiting = Counter(
            (algorithm, block.m) for block in blocks for algorithm, _ in block.pairs
        )
        self._show()

    def finish(self, block: Block, solved: Solved) -> None:
        """Take note of a finished block."""
        shared = (solved.drawing + solved.deriving) / len(block.pairs)
        for (algorithm, _), outcome in zip(block.pairs, solved.outcomes, strict=True):
            cell = self._spent[algorithm, block.m]
            cell[0] += 1
            cell[1] += (outcome.seconds or 0.0) + shared
            self._done += (outcome.seconds or 0.0) + shared
            self._waiting[algorithm, block.m] -= 1
            self._failed += Status(outcome.status).failed
        self._rows += len(block.pairs)
        self._show()

    def _show(self) -> None:
        if self._progress.disable:
            self._lines.say(self._line)
            return
        left = self._left()
        text = f"{self._rows:,} solves" + self._forecast(left)
        self._progress.update(
            self._task, total=self._done + left or None, completed=self._done, left=text
        )

    def _line(self) -> str:
        left = self._left()
        share = self._done / (self._done + left) if self._done else 0.0
        return (
            f"{self._experiment.name}: {self._rows:,} rows, {share:.0%} done"
            f"{self._forecast(left)}, {self._failed:,} failed"
        )

    def _left(self) -> float:
        """Return the predicted work ahead."""
        ahead = Counter(self._waiting)
        ahead.update(self._experiment.solves_to_go())
        return sum(count * self._cost(*cell) for cell, count in ahead.items())

    def _forecast(self, left: float) -> str:
        return time_left(time.perf_counter() - self._start, self._done, left)

    def _cost(self, algorithm: Choice, m: int) -> float:
        count, seconds = self._spent.get((algorithm, m), (0.0, 0.0))
        if count:
            return seconds / count
        rows = sum(cell[0] for cell in self._spent.values())
        return sum(cell[1] for cell in self._spent.values()) / rows if rows else 0.0
