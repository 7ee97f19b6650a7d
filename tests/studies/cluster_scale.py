"""What a block costs on a cluster, by who spends it, and how many blocks a head handles.

    python tests/studies/cluster_scale.py [--blocks 1000] [--csv figures/cluster-scale.csv]

`dask`: blocks without work on 1, 2, 4 and 8 workers that were started from the command line, all on
this machine. CPU time a block is what each part spends; blocks a second are those of this machine,
with whatever else it does.

`simulated`: a run on 16 to 1,024 workers that only exist in this process. Each lets a block rest,
0.2 s in the median, and answers with rows. All that the head does is done, its store included, and
nothing that dask does.
"""

import argparse
import heapq
import itertools
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pandas as pd
from rich.console import Console

from sparsebench import problems as problems
from sparsebench import solvers as solvers
from sparsebench.environment import describe
from sparsebench.experiments.provenance import stated
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.run import cluster, engine
from sparsebench.run.remote import Files
from sparsebench.run.rows import Block, Experiment, Outcome
from sparsebench.run.store import Store
from sparsebench.run.worker import Solved

QUIET = Console(stderr=True, quiet=True)
TICK = os.sysconf("SC_CLK_TCK")
OUTCOME = Outcome(0.0, True, 1e-15, 1e-15, 5, "converged", "", 0.01, "", None, None, 0, 0, 1e-15)


def cpu(pids):
    """Return the CPU seconds of processes and of all that they have started."""
    parents, spent = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(place.name)] = int(words[1])
        spent[int(place.name)] = (int(words[11]) + int(words[12])) / TICK
    wanted = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in wanted} - wanted:
        wanted |= more
    return sum(spent.get(pid, 0.0) for pid in wanted)


def on_dask(workers, blocks, folder):
    """Return blocks a second, and the CPU milliseconds of a block by who spends them."""
    file = folder / f"scheduler-{workers}.json"
    words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    dask_command = [sys.executable, "-m", "dask"]
    scheduler = subprocess.Popen(
        [*dask_command, "scheduler", *words, "--scheduler-file", str(file)], **quiet
    )
    words = ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--scheduler-file", str(file)]
    every = [
        subprocess.Popen(
            [*dask_command, "worker", *words, "--local-directory", str(folder / str(place))],
            **quiet,
        )
        for place in range(workers)
    ]
    try:
        while not file.exists():
            time.sleep(0.1)
        address = file.read_text().split('"address": "')[1].partition('"')[0]
        with cluster.workers_of(address, Files.read([], []), QUIET) as each:
            each.gather(workers)
            list(each(abs, [(1,)] * 20 * workers))
            pids = [one.pid for one in every]
            before = time.process_time(), cpu([scheduler.pid]), cpu(pids), time.perf_counter()
            list(each(abs, [(1,)] * blocks))
            after = time.process_time(), cpu([scheduler.pid]), cpu(pids), time.perf_counter()
    finally:
        for one in (*every, scheduler):
            one.kill()
            one.wait()
    head, own, theirs, wall = (b - a for a, b in zip(before, after, strict=True))
    return blocks / wall, [1e3 * part / blocks for part in (head, own, theirs)]


class Future:
    """One that a simulated worker finishes."""

    def __init__(self, key, answer):
        self.key, self.answer, self.status = key, answer, "finished"

    def result(self, timeout=None):
        return self.answer


class Simulated:
    """A client with workers that rest, and the queue of what they have done."""

    def __init__(self, workers, rests):
        self.status, self.id, self.loop = "running", f"{workers}", None
        self.scheduler = SimpleNamespace(ncores=None, address="simulated")
        self.there = {f"tcp://10.0.{place // 256}.{place % 256}:1": 1 for place in range(workers)}
        self.free = dict.fromkeys(self.there, 0.0)
        self.rests = itertools.cycle(rests)
        self.thread_condition = threading.Condition()
        self.waiting, self.done, self.numbers = [], [], itertools.count()
        rows = pickle.dumps(Solved([OUTCOME] * 3, 0.0, 0.0, 0.01))
        self.answers = {
            b"describe": ("done", pickle.dumps(describe()), 0.0),
            b"compile_for_all": ("done", pickle.dumps(0.0), 0.0),
        }
        self.rows = "done", rows, 0.2
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self):
        while True:
            now, due = time.monotonic(), []
            with self.thread_condition:
                while self.waiting and self.waiting[0][0] <= now:
                    due.append(heapq.heappop(self.waiting)[2])
                if due:
                    self.done += due
                    self.thread_condition.notify()
            time.sleep(0.002)

    def sync(self, *_, **__):
        return self.there

    def subscribe_topic(self, *_):
        pass

    def submit(self, *_, workers, pure):
        return self._finish(Future("welcome", None), time.monotonic())

    def map(self, _, calls, key, topic, files):
        where = dask.get_annotations()["workers"]
        now, found = time.monotonic(), []
        for call, name in zip(calls, key, strict=True):
            answer = next((a for mark, a in self.answers.items() if mark in call), self.rows)
            worker = where(name)
            rest = next(self.rests) if answer is self.rows else 0.0
            self.free[worker] = max(self.free[worker], now) + rest
            found.append(self._finish(Future(name, answer), self.free[worker]))
        return found

    def _finish(self, future, at):
        with self.thread_condition:
            heapq.heappush(self.waiting, (at, next(self.numbers), future))
        return future

    def has_ready(self):
        return bool(self.done)

    def next_batch(self, block):
        with self.thread_condition:
            done, self.done = self.done, []
        return done

    def add(self, future):
        pass

    update = add


class Blocks(Experiment):
    """So many blocks of three rows each."""

    name = "blocks"

    def __init__(self, count):
        self.algorithms = choose_algorithms("omp,htp,sp")
        pairs = tuple((chosen, 5) for chosen in self.algorithms)
        problem = choose_problem("gaussian")
        self._blocks = [Block(problem, 0, 128, 64, trial, pairs, 60.0) for trial in range(count)]

    def wanted(self):
        return self._blocks

    def take(self, rows, each):
        self._blocks = []

    def recipe(self):
        return {"experiment": "blocks"}


def simulated(workers, rests, seconds, folder):
    """Return blocks a second, and the CPU milliseconds of the head a block."""
    client = Simulated(workers, rests)

    @contextmanager
    def lent(_, files, console):
        found = cluster.Workers(client, files, console, 60.0)
        found.gather(workers)
        yield found

    before, cluster.as_completed = cluster.as_completed, lambda loop: client
    usual, cluster.workers_of = cluster.workers_of, lent
    blocks = int(min(seconds * workers / np.mean(rests), 1500 * seconds))
    try:
        with Store(folder / f"simulated-{workers}") as store:
            report_begin = time.process_time()
            report = engine.run(
                Blocks(blocks),
                store,
                workers=1,
                command="",
                environment=describe(),
                console=QUIET,
                cluster="simulated",
            )
            spent = time.process_time() - report_begin
    finally:
        cluster.as_completed, cluster.workers_of = before, usual
    return blocks / (report.wall - report.compiling), [1e3 * spent / blocks, np.nan, np.nan]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=8.0, help="of a simulated run, about")
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    rests = np.random.default_rng(0).lognormal(np.log(0.2), 0.8, 997)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for workers in (1, 2, 4, 8):
            rows.append(["dask", workers, np.nan, *on_dask(workers, given.blocks, folder)])
            print(*rows[-1], flush=True)
        for workers in (16, 64, 256, 1024):
            found = simulated(workers, rests, given.seconds, folder)
            rows.append(["simulated", workers, workers / rests.mean(), *found])
            print(*rows[-1], flush=True)
    if given.csv:
        names = "kind workers offered blocks_a_second head_ms scheduler_ms worker_ms"
        flat = [(kind, workers, *numbers, *parts) for kind, workers, *numbers, parts in rows]
        table = pd.DataFrame(flat, columns=names.split())
        recipe = {"experiment": "cluster scale", "blocks": given.blocks, "seconds": given.seconds}
        command = f"python tests/studies/cluster_scale.py --blocks {given.blocks}"
        stated(table, recipe, command).to_csv(given.csv, index=False, float_format="%.3g")


if __name__ == "__main__":
    main()
