"""A pool of worker processes, which are kept from one use to the next and end with the parent."""

from __future__ import annotations

import atexit
import pickle
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import wait
from multiprocessing.sharedctypes import RawValue
from typing import Any, NamedTuple

from threadpoolctl import threadpool_limits

from sparsebench.system.limits import OVERDUE, end_after
from sparsebench.system.processes import end_workers, start_worker
from sparsebench.system.stopping import check_stopped

_GONE = (EOFError, ConnectionError)


class WorkerDied(RuntimeError):
    """A worker process was killed, for want of memory perhaps."""


@dataclass(frozen=True)
class Overdue:
    """Stands for the result of a task whose worker was ended within a step that took too long."""

    step: int


class _Worker(NamedTuple):
    """A process, this end of the pipe to it, and the step that it is at."""

    process: Any
    connection: Any
    step: Any


# Calls a function of a module on every task, and yields (place of the task, result).
Each = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[tuple[int, Any]]]
# The processes that wait for work, and whether this one is a worker itself.
_idle: list[_Worker] = []
serving = False
# In a worker: the step that it is at, which its parent sees, and when its end was last put off.
_step: Any = None
_put_off = -float("inf")


@contextmanager
def pool(workers: int) -> Iterator[Each]:
    """Lend processes that have one BLAS thread each; they are killed where the body fails.

    Results come as they are done. With one worker, this process does the work, in order.

    Raises
    ------
    WorkerDied
        If a worker process is killed.
    """
    if workers == 1:
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
    while busy:
        done = []
        for connection in wait(list(busy)):
            place, worker = busy.pop(connection)
            try:
                good, result = worker.connection.recv()
            except _GONE:
                check_stopped()
                worker.process.join()
                if worker.process.exitcode != OVERDUE or worker.step.value < 0:
                    raise WorkerDied("a worker process died (out of memory?)") from None
                good, result, worker = True, Overdue(worker.step.value), _free_worker()
            check_stopped()
            if not good:
                raise result
            send_next(worker)
            done.append((place, result))
        yield from done


def note(step: int, seconds: float) -> None:
    """Tell the parent of a worker which step of its task begins, and end the worker if it is long.

    The end comes from the system, when the step has used its `seconds` of CPU time, a quarter more
    and 2 or 3: for compiled code, which nothing else ends. A step of -1 ends with the task.
    """
    global _put_off
    if _step is None:
        return
    _step.value = step
    now = time.perf_counter()
    if step < 0:
        end_after(float("inf"))
        _put_off = -float("inf")
    elif now - _put_off > 1.0:  # not at every step, which may take microseconds
        end_after(1.25 * seconds + 3.0)
        _put_off = now


def _free_worker() -> _Worker:
    """Return a worker that waits, or start one."""
    while _idle:
        worker = _idle.pop()
        if worker.process.is_alive():
            return worker
    check_stopped()
    ours, theirs = Pipe()
    step = RawValue("q", -1)
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
                function, task = pickle.loads(message)
                answer = pickle.dumps((True, function(*task)))
            except BaseException as error:
                answer = pickle.dumps((False, _told(error)))
            connection.send_bytes(answer)


def _told(error: BaseException) -> BaseException:
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
def _dismiss() -> None:
    """Let the workers that wait end by themselves, and kill those that do not."""
    for worker in _idle:
        worker.connection.close()
    for worker in _idle:
        worker.process.join(timeout=2.0)
    _end()
