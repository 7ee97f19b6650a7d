"""The progress bar of a run, and its forecast."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from sparsebench.registry import Choice
from sparsebench.rows import Block, Experiment
from sparsebench.worker import Solved


class Bar:
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

    def __enter__(self) -> Bar:
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

    def finish(self, block: Block, solved: Solved) -> None:
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
