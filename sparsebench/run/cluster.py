"""Workers of a dask cluster, here or elsewhere, which offer what `pool` does.

`remote` has what is done there.
"""

from __future__ import annotations

import logging
import math
import pickle
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import dask
from distributed import Client, LocalCluster, as_completed
from rich.console import Console

from sparsebench.environment import describe
from sparsebench.errors import InputError
from sparsebench.run.pool import Overdue, WorkerDied
from sparsebench.run.progress import Doing
from sparsebench.run.remote import Call, Files, own_version, packed, welcome, work
from sparsebench.run.worker import Solved
from sparsebench.system.stopping import check_stopped
from sparsebench.system.watching import EVERY

# Seconds in which a scheduler has to answer, and in which a worker has to come. Jobs wait in the
# queue of a batch system for as long as that takes.
ANSWER, PATIENCE = 10.0, 60.0
# Seconds between two looks at who is there.
_LOOK = 1.0
# How often a task may be lost with its worker.
_MOST_LOST = 3
# A task that is out this many times as long as others are on average, and so many seconds at least,
# is given to another worker, too, if one has nothing to do: its own may be slow, or stopped.
_SLOW, _SLOW_AT_LEAST = 10.0, 5.0
# Seconds for which a worker has tasks in hand, so that it need not wait for the next, and how many
# tasks these may be.
_IN_HAND, _MOST_IN_HAND = 0.2, 16
_KEPT = "finished blocks are kept, and the same command continues"


class ClusterError(OSError):
    """A cluster is gone, or its workers are; the message is one line."""


@dataclass(eq=False)
class _Task:
    """A call, its place among those of which it is one, and how it fares.

    `first` is one that its worker does before others; `out` counts the workers that have it.
    """

    place: int
    call: Call
    first: bool = False
    since: float = 0.0
    out: int = 0
    lost: int = 0
    done: bool = False


@dataclass(eq=False)
class _Worker:
    """A dask worker: what it is to do first, the futures it has, its environment."""

    address: str
    threads: int
    first: deque[_Task]
    welcomed: bool = False
    environment: Any = None
    futures: set[Any] = field(default_factory=set)
    tasks: int = 0

    @property
    def is_ready(self) -> bool:
        """Whether it may have tasks, having done what comes first."""
        return self.welcomed and not self.first and self.environment is not None


class Workers:
    """The workers of a cluster, as many as are there; called as what `pool` lends.

    Parameters
    ----------
    client : distributed.Client
    files : Files
    console : rich.console.Console
    patience : float
        Seconds for which there may be no worker.
    """

    def __init__(self, client: Any, files: Files, console: Console, patience: float) -> None:
        self._client = client
        self._address = str(client.scheduler.address)
        self._files = files
        self._console = console
        self._patience = patience
        self._finished = as_completed(loop=client.loop)
        self._topic = f"sparsebench-{client.id}"
        self._answers: dict[str, Any] = {}
        client.subscribe_topic(self._topic, self._hear)
        self._out: dict[Any, tuple[_Worker, _Task | None]] = {}
        self._sending: list[tuple[_Worker, _Task]] = []
        self._sent = 0
        self._workers: dict[str, _Worker] = {}
        self._refused: dict[str, str] = {}
        self._first = [Call(describe, ())]
        self._ahead: deque[_Task] = deque()
        self._looked = 0.0
        self._had_workers = self._reached = time.monotonic()
        self._count, self._mean = 0, 0.0  # tasks done, and the seconds of one on average
        self.most = 0  # tasks that could be done at once, at most

    def gather(self, count: int) -> None:
        """Wait until so many workers are ready, and for others that are there, but not for long."""
        until = None
        with Doing(self._console, "waiting for workers") as doing:
            while until is None or time.monotonic() < until:
                self._turn()
                ready = sum(worker.is_ready for worker in self._workers.values())
                if ready >= count:
                    until = until or time.monotonic() + _SLOW_AT_LEAST
                    if ready == len(self._workers):
                        return
                doing.update(f"waiting for workers: {ready} of {count}")

    def everywhere(
        self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Do tasks in every worker, and in those that come later before anything else.

        Yields the place and the result of each when the first worker has done it.
        """
        begin = len(self._first)
        self._first += [Call(function, task) for task in tasks]
        workers = list(self._workers.values())
        for number, worker in enumerate(workers):
            worker.first += self._own(begin, number)
        left = set(range(begin, len(self._first)))
        news = time.monotonic()
        while any(not worker.is_ready for worker in workers if self._has(worker)):
            for task, result in self._turn():
                news = time.monotonic()
                if task.place in left:
                    left.remove(task.place)
                    yield task.place - begin, result
            if not left and time.monotonic() > news + self._slow:
                break  # one that is stopped, perhaps; it gets nothing else before it has done these

    def __call__(
        self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Do tasks, and yield the place and the result of each as it is done."""
        self._ahead = deque(_Task(place, Call(function, task)) for place, task in enumerate(tasks))
        self._count, self._mean = 0, _IN_HAND
        left = len(tasks)
        while left:
            for task, result in self._turn():
                if not task.first:
                    left -= 1
                    yield task.place, result

    @property
    def _slow(self) -> float:
        """Seconds after which a task is given to another worker, too."""
        return max(_SLOW_AT_LEAST, _SLOW * self._mean)

    def _has(self, worker: _Worker) -> bool:
        return self._workers.get(worker.address) is worker

    def _own(self, begin: int, turn: int) -> list[_Task]:
        """Return what a worker is to do first, in its turn: each begins with another kernel."""
        calls = list(enumerate(self._first))[begin:]
        turn = turn % len(calls) if begin and calls else 0
        return [_Task(place, call, first=True) for place, call in calls[turn:] + calls[:turn]]

    def _turn(self) -> list[tuple[_Task, Any]]:
        """Hand out what there is, wait a moment, and return what was done."""
        check_stopped()
        if time.monotonic() - self._looked >= _LOOK:
            self._look()
        self._hand_out()
        with self._finished.thread_condition:
            if not self._finished.has_ready():
                self._finished.thread_condition.wait(EVERY)
        check_stopped()
        found = []
        for future in self._finished.next_batch(block=False):
            heard = self._answers.pop(future.key, None)
            worker, task = self._out.pop(future, (None, None))
            if worker is not None:
                worker.futures.discard(future)
                found += self._take(worker, task, *_answer(future, heard))
        self._hand_out()  # before what was done is looked at
        return found

    def _look(self) -> None:
        """See which workers have come and gone, and whether anything is left to wait for."""
        now = self._looked = time.monotonic()
        try:
            there = self._client.sync(self._client.scheduler.ncores, callback_timeout=ANSWER)
        except Exception:  # it is reconnecting, has given up, or gets no answer
            if self._client.status == "closed" or now - self._reached > ANSWER + PATIENCE:
                raise ClusterError(
                    f"the scheduler at {self._address} does not answer any more; {_KEPT}"
                ) from None
            return
        self._reached = now
        for address in self._workers.keys() - there.keys():
            self._lose(self._workers.pop(address))
        for address, threads in there.items():
            if address not in self._workers and address not in self._refused:
                own = deque(self._own(0, 0))
                worker = self._workers[address] = _Worker(address, threads, own)
                self._welcome(worker)
        self.most = max(self.most, sum(worker.threads for worker in self._workers.values()))
        if self._workers:
            self._had_workers = now
        elif self._refused.keys() & there.keys():
            raise InputError(next(iter(self._refused.values())))
        elif now - self._had_workers > self._patience:
            self._give_up()

    def _give_up(self) -> None:
        """Say that there is no worker."""
        if not self.most:
            raise InputError(
                f"no worker has come to {self._address} in {self._patience:g} s: "
                f"start some, as `dask worker {self._address}`"
            )
        raise ClusterError(
            f"{self._address} has had no worker for {self._patience:g} s; {_KEPT} once it has"
        )

    def _hand_out(self) -> None:
        """Give every worker what it is to do first, and tasks: some more than it can begin with."""
        if self._client.status != "running":
            return
        ready = []
        for worker in self._workers.values():
            if worker.is_ready:
                ready.append(worker)
            elif worker.welcomed and worker.first and not worker.futures:
                self._give(worker, worker.first.popleft())
        in_hand = math.ceil(min(_IN_HAND / max(self._mean, 1e-6), _MOST_IN_HAND))
        for more in range(in_hand + 1):
            if not self._ahead:
                break
            for worker in ready:
                while self._ahead and worker.tasks < worker.threads + more:
                    task = self._ahead.popleft()
                    if not task.done:
                        self._give(worker, task)
        if not self._ahead:
            self._copy([worker for worker in ready if worker.tasks < worker.threads])
        self._send()

    def _copy(self, idle: list[_Worker]) -> None:
        """Give those tasks that are out for long to workers that have nothing to do, too."""
        if not idle:
            return
        late = time.monotonic() - self._slow
        slow = [
            (worker, task)
            for worker, task in self._out.values()
            if task and not (task.first or task.done) and task.since < late
        ]
        for worker, task in slow:
            if task.since < late and idle and idle[-1] is not worker:
                self._give(idle.pop(), task)

    def _welcome(self, worker: _Worker) -> None:
        """Send a worker what travels."""
        future = self._client.submit(
            welcome, own_version(), self._files, workers=[worker.address], pure=False
        )
        worker.futures.add(future)
        self._out[future] = worker, None
        self._finished.add(future)

    def _give(self, worker: _Worker, task: _Task) -> None:
        """Have a task sent to a worker."""
        task.out += 1
        task.since = time.monotonic()
        worker.tasks += 1
        self._sending.append((worker, task))

    def _send(self) -> None:
        """Send what is to be sent, all at once: that takes hardly longer than one."""
        sending, self._sending = self._sending, []
        if not sending:
            return
        calls = [packed(task.call, self._files) for _, task in sending]
        numbers = range(self._sent, self._sent + len(sending))
        self._sent += len(sending)
        keys = [f"{self._topic}-{number}" for number in numbers]
        where = {key: worker.address for key, (worker, _) in zip(keys, sending, strict=True)}
        with dask.annotate(workers=where.get):
            futures = self._client.map(
                work, calls, key=keys, topic=self._topic, files=self._files.digest
            )
        for future, (worker, task) in zip(futures, sending, strict=True):
            worker.futures.add(future)
            self._out[future] = worker, task
        self._finished.update(futures)

    def _hear(self, event: tuple[float, Any]) -> None:
        """Take note of what became of a task, before its future is finished."""
        key, answer = event[1]
        self._answers[key] = answer

    def _lose(self, worker: _Worker) -> None:
        """Take back the tasks of a worker that is gone; it had begun as many as it has threads."""
        begun = worker.threads
        for future in [one for one, (other, _) in self._out.items() if other is worker]:
            _, task = self._out.pop(future)
            if task is not None:
                self._again(worker, task, "its worker is gone" if begun > 0 else "")
                begun -= 1

    def _again(self, worker: _Worker, task: _Task, reason: str = "") -> None:
        """Have a task done again; with a `reason` it counts as lost."""
        task.out -= 1
        if task.first:
            worker.first.appendleft(task)
        elif not task.done and not task.out:
            self._ahead.appendleft(task)
        task.lost += bool(reason)
        if task.lost >= _MOST_LOST and not task.done:
            raise WorkerDied(f"a task was lost {task.lost} times ({reason})")

    def _refuse(self, worker: _Worker, reason: str) -> None:
        """Give no work to a worker, and say so."""
        line = f"the worker {worker.address} is refused: {reason}"
        self._refused[worker.address] = line
        del self._workers[worker.address]
        self._lose(worker)
        self._console.print(line, soft_wrap=True)

    def _take(
        self, worker: _Worker, task: _Task | None, status: str, answer: Any
    ) -> list[tuple[_Task, Any]]:
        """Take the answer of a worker; return the task with its result, if it is done."""
        said = ""
        if status == "error":  # dask's own: what a task raises is an answer
            said = " ".join(f"{type(answer).__name__}: {answer}".split())[:300]
        if task is None:
            if status == "error":
                self._refuse(worker, f"it cannot run {own_version()} of sparsebench: {said}")
            elif status == "finished" and answer is not None:
                self._refuse(
                    worker,
                    f"it has sparsebench {answer}, not {own_version()}: install the same on every "
                    "machine",
                )
            elif status == "finished":
                worker.welcomed = True
            elif self._has(worker):
                self._welcome(worker)
            return []
        worker.tasks -= 1
        kind, result, seconds = answer if status == "finished" else (status, b"", 0.0)
        if kind == "error":
            self._again(worker, task, said)
        elif kind == "lost":
            self._again(worker, task, result.decode())
        elif kind in ("done", "failed", "late"):
            return self._settle(worker, task, kind, result, seconds)
        else:
            if kind == "strange":  # another worker has its address by now
                worker.first = deque(self._own(0, 0))
                worker.welcomed, worker.environment = False, None
                self._welcome(worker)
            self._again(worker, task)
        return []

    def _settle(
        self, worker: _Worker, task: _Task, kind: str, result: Any, seconds: float
    ) -> list[tuple[_Task, Any]]:
        """Return a task with its result, unless another worker was first."""
        task.out -= 1
        if task.done:
            return []
        task.done = True
        result = pickle.loads(result)
        if kind == "failed":
            if isinstance(result, InputError):
                raise InputError(f"{result} (in the worker {worker.address})")
            raise result
        if task.first:
            if task.place == 0:
                worker.environment = result
            return [(task, result)]
        self._count += 1
        self._mean += (seconds - self._mean) / self._count
        if isinstance(result, Solved | Overdue):
            result = replace(result, environment=worker.environment)
        return [(task, result)]


def _answer(future: Any, heard: Any) -> tuple[str, Any]:
    """Return the status of a future, with its result, or the error that dask has of it."""
    status = str(future.status)
    if status == "finished" and heard is None:
        try:
            return status, future.result(timeout=ANSWER)
        except Exception:  # its worker is gone by now
            return "cancelled", None
    return status, future.exception() if status == "error" else heard


@contextmanager
def workers_of(address: str, files: Files, console: Console) -> Iterator[Workers]:
    """Lend the workers of a cluster; at the end, whatever it is, they are given nothing more.

    Parameters
    ----------
    address : str
        ``local:N``, ``slurm:N`` or the address of a scheduler.
    files : Files
        What travels to the workers.
    console : rich.console.Console

    Raises
    ------
    InputError
        If no scheduler answers, no worker comes, or all have another version of sparsebench.
    ClusterError
        If the scheduler is gone, or all workers are.
    WorkerDied
        If a task is lost with its worker again and again.
    """
    with ExitStack() as opened:
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)  # dask's words on what is told here
        opened.callback(logging.disable, before)
        kind, _, count = address.partition(":")
        mine = {"local": _local, "slurm": _slurm}.get(kind)
        target = opened.enter_context(mine(int(count))) if mine else address
        try:
            with warnings.catch_warnings():
                # of packages that differ: runs record them
                warnings.simplefilter("ignore")
                client = opened.enter_context(Client(target, timeout=ANSWER, set_as_default=False))
        except (OSError, ValueError) as error:
            raise InputError(
                f"no scheduler answers at {address} within {ANSWER:g} s: is it running, and can "
                f"it be reached from here? ({type(error).__name__})"
            ) from None
        patience = float("inf") if kind == "slurm" else PATIENCE
        workers = Workers(client, files, console, patience)
        workers.gather(int(count) if kind == "local" else 1)
        yield workers


def _local(count: int) -> Any:
    """Return a cluster of processes of this machine."""
    return LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    )


def _slurm(count: int) -> Any:
    """Return a cluster of jobs, as dask-jobqueue's own configuration says."""
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster()
    cluster.scale(count)
    return cluster
