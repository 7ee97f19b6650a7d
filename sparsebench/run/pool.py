"""A pool of worker processes, which are kept from one use to the next and end with the parent."""

from __future__ import annotations

import atexit
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import wait
from multiprocessing.sharedctypes import RawArray
from typing import Any

from threadpoolctl import threadpool_limits

from sparsebench.system.processes import THREADS, end_worker, end_workers, start_worker
from sparsebench.system.stopping import check_stopped
from sparsebench.system.watching import EVERY, Use

_GONE = (EOFError, ConnectionError)
# Seconds beyond its limit that a step has to end by itself.
_GRACE = 1.0


class WorkerDied(RuntimeError):
    """A worker process was killed, for want of memory perhaps."""


@dataclass(frozen=True)
class Overdue:
    """Stands for the result of a task whose worker was ended within a step that took too long.

    `waited` says that it computed next to nothing; `environment` is that of another machine.
    """

    stage: str
    place: int
    waited: bool
    environment: Any = None


@dataclass
class _Worker:
    """A process, this end of the pipe to it, the step that it is at, and what that has used."""

    process: Any
    connection: Any
    step: Any
    seen: float = -1.0
    use: Use | None = None

    def is_late(self) -> bool:
        """Look at what the step in progress has used; whether that is more than it may."""
        serial, stage, _, seconds = self.step
        if stage < 0:
            self.use = None
        elif self.use is None or serial != self.seen:
            self.seen, self.use = serial, Use(self.process.pid)
        else:
            return self.use.look() > seconds + _GRACE
        return False

    def end(self) -> Overdue | None:
        """End the process within a step that is late, unless that has just come to its end."""
        assert self.use is not None
        if not end_worker(self.process, lambda: self.step[0] == self.seen and self.step[1] >= 0):
            return None
        _, stage, place, _ = self.step
        return Overdue(_STAGES[int(stage)], int(place), self.use.waited > self.use.computed)


# Calls a function of a module on every task, and yields (place of the task, result).
Each = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[tuple[int, Any]]]
# The processes that wait for work, and whether this one is a worker itself.
_idle: list[_Worker] = []
_lending = threading.Lock()
serving = False
# The stages of a task that has limits.
_STAGES = ("dictionary", "signal", "first call", "solve")
# In a worker, seen by its parent: which step it is at (its number, its stage, its place, and the
# seconds that it may use).
_step: Any = None


@contextmanager
def pool(workers: int, apart: bool = False) -> Iterator[Each]:
    """Lend processes that have one BLAS thread each; they are killed where the body fails.

    Results come as they are done. With one worker, this process does the work, in order, unless it
    is to be done `apart` from it.

    Raises
    ------
    WorkerDied
        If a worker process is killed.
    """
    if workers == 1 and not apart:
        with threadpool_limits(1):
            yield _one_by_one
        return
    try:
        yield partial(_spread, workers=workers)
    except BaseException:
        _end()
        raise


def _one_by_one(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[int, Any]]:
    for place, task in enumerate(tasks):
        check_stopped()
        yield place, function(*task)


def _spread(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int
) -> Iterator[tuple[int, Any]]:
    """Give every free worker the next task, before what is done is yielded."""
    ahead = iter(enumerate(tasks))
    busy: dict[Any, tuple[int, _Worker]] = {}

    def send_next(worker: _Worker) -> None:
        place, task = next(ahead, (-1, None))
        if task is None:
            _idle.append(worker)
            return
        busy[worker.connection] = place, worker
        with suppress(*_GONE):  # seen when its answer is awaited
            worker.connection.send((function, task))

    for _ in range(min(workers, len(tasks))):
        send_next(_free_worker())
    due = time.monotonic() + EVERY
    while busy:
        done = []
        for connection in wait(list(busy), max(due - time.monotonic(), 0.0)):
            place, worker = busy.pop(connection)
            try:
                good, result = worker.connection.recv()
            except _GONE:
                check_stopped()
                worker.process.join()
                raise WorkerDied("a worker process died (out of memory?)") from None
            check_stopped()
            if not good:
                raise result
            send_next(worker)
            done.append((place, result))
        if time.monotonic() >= due:
            for place, worker in list(busy.values()):
                late = worker.end() if worker.is_late() else None
                if late:
                    del busy[worker.connection]
                    worker.connection.close()
                    send_next(_free_worker())
                    done.append((place, late))
            due = time.monotonic() + EVERY
        yield from done


def alone(function: Callable[..., Any], task: tuple[Any, ...], check: Callable[[], None]) -> Any:
    """Do one task in a worker, from any thread; return its result, or what stands for it.

    `check` is called while it lasts: where that raises, the worker is ended.

    Raises
    ------
    WorkerDied
        If the worker is killed.
    """
    with _lending:
        worker = _free_worker()
    try:
        worker.connection.send((function, task))
        while not worker.connection.poll(EVERY):
            check()
            late = worker.end() if worker.is_late() else None
            if late:
                return late
        good, result = worker.connection.recv()
    except _GONE:
        raise WorkerDied("a worker process died (out of memory?)") from None
    except BaseException:
        end_worker(worker.process, lambda: True)
        raise
    _idle.append(worker)
    if not good:
        raise result
    return result


def note(stage: str = "", place: int = 0, seconds: float = 0.0) -> None:
    """Tell the parent of a worker which step of its task begins, and the seconds that it may use.

    The parent ends the worker where that uses a second more, computing or waiting: nothing else
    ends what looks for no signal. No stage ends the task.
    """
    if _step is not None:
        _step[1] = -1.0  # what the others say is no step while they change
        _step[2], _step[3] = place, seconds
        _step[0] += 1.0
        _step[1] = _STAGES.index(stage) if stage else -1.0


def _free_worker() -> _Worker:
    """Return a worker that waits, or start one; in the environment of now."""
    while _idle:
        worker = _idle.pop()
        if worker.process.is_alive():
            with suppress(*_GONE):  # seen when its first answer is awaited
                worker.connection.send(dict(os.environ))
            return worker
    check_stopped()
    ours, theirs = Pipe()
    step = RawArray("d", [0.0, -1.0, 0.0, 0.0])
    process = start_worker(_serve, theirs, step)
    theirs.close()  # so that its end is seen
    return _Worker(process, ours, step)


def _serve(connection: Any, step: Any) -> None:
    """Do tasks until the parent closes the connection."""
    global serving, _step
    serving, _step = True, step
    with suppress(*_GONE):
        while True:
            message = connection.recv_bytes()
            try:  # what cannot be imported here, or its result not be pickled, is told as well
                asked = pickle.loads(message)
                if isinstance(asked, dict):
                    os.environ.clear()
                    os.environ.update(asked | THREADS)
                    continue
                function, task = asked
                answer = pickle.dumps((True, function(*task)))
            except BaseException as error:
                answer = pickle.dumps((False, told(error)))
            connection.send_bytes(answer)


def told(error: BaseException) -> BaseException:
    """Return an error that can be sent, with its traceback as a note."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end() -> None:
    """Kill the workers."""
    _idle.clear()
    end_workers()


@atexit.register
def dismiss() -> None:
    """Let the workers that wait end by themselves, and kill those that do not."""
    for worker in _idle:
        worker.connection.close()
    for worker in _idle:
        worker.process.join(timeout=2.0)
    _end()
