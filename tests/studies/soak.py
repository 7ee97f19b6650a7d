"""Faults, hundreds of them, against the rows of an undisturbed run on one machine.

    python tests/studies/soak.py [--only worker,disk] [--csv figures/soak.csv]

Runs of a small design are disturbed: as one process, with two workers, and with a dask cluster of
two workers that were started from the command line. After every fault what is stored must be
whole, and among the rows of the undisturbed run; then the same command must end, with all of them.
Disks are small file systems of their own, so that this needs the rights of root, on Linux. The
clock of a run jumps as that run sees it, since the machine's is everybody's.

Ends with status 1 unless no row was lost, none is different, and every command ended.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pandas as pd
from rich.console import Console

from sparsebench import problems as problems
from sparsebench import solvers as solvers
from sparsebench.environment import describe
from sparsebench.experiments.provenance import stated
from sparsebench.experiments.support_distance import SupportDistance
from sparsebench.registry import choose_algorithms, choose_problem, load_plugin
from sparsebench.run import cluster, engine, pool
from sparsebench.run.merge import merge
from sparsebench.run.shards import Shard, Share
from sparsebench.run.store import Store
from sparsebench.run.worker import compile_one

PLUGIN = """
import time
import numpy as np
def filtered(A, y, k, *, rest: float = 0.0):
    time.sleep(rest)
    support = np.argsort(-np.abs(A.T @ y))[:k]
    x = np.zeros(A.shape[1])
    x[support] = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    return x
"""
QUIET = Console(stderr=True, quiet=True)
OWN = "omp,omp+htp,els"
COLUMNS = (
    "m, trial, algorithms.label, k, support_distance, exact, relative_error, relative_residual, "
    "n_iter, status, message, missed_indices, false_indices, prediction_error"
)
# Seconds after which a command is said to hang.
HANG = 240
cluster.ANSWER, cluster.PATIENCE = 3.0, 20.0


def design(plugin, trials=20):
    """Return the experiment: with a plug-in that rests, for runs that take long enough."""
    names = OWN if plugin is None else f"{OWN},filtered[rest=0.02]"
    return SupportDistance(
        choose_algorithms(names),
        choose_problem("gaussian"),
        n=48,
        m=24,
        ks=[2, 5, 8],
        trials=trials,
        seed=0,
        time_limit=30.0,
    )


def head(folder, plugin, how, share=None, before=None):
    """Run the design to its end; a process of its own."""
    if before:
        before()
    log = Path(f"{folder}.log").open("w")
    os.dup2(log.fileno(), 2)
    try:
        with Store(folder) as store:
            experiment = design(plugin)
            engine.run(
                Shard(experiment, share) if share else experiment,
                store,
                workers=how if isinstance(how, int) else 1,
                command="soak",
                environment=describe(),
                plugins=[str(plugin)] if plugin else [],
                console=QUIET,
                cluster=None if isinstance(how, int) else how,
            )
    finally:
        pool.dismiss()  # such a process waits for its own before `atexit`


def rows_of(folder):
    """Return the rows of a store, after a look at whether it is whole; None if it is not."""
    file = folder / "results.db"
    if not file.exists() or not file.stat().st_size:
        return set()
    with closing(sqlite3.connect(file, timeout=30)) as db:
        if db.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            return None
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'rows'").fetchone():
            return set()
        join = "FROM rows JOIN algorithms ON algorithms.id = rows.algorithm"
        return set(db.execute(f"SELECT {COLUMNS} {join}").fetchall())


class Farm:
    """A scheduler and workers from the command line, which come again when they are killed."""

    def __init__(self, folder, plugin):
        self.folder, self.plugin = folder, plugin
        self.port = None
        self.scheduler = None
        self.workers = []
        self.start()

    def start(self):
        """Start what is not there."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            file = self.folder / "scheduler.json"
            file.unlink(missing_ok=True)
            words = ["--host", "127.0.0.1", "--port", str(self.port or 0), "--no-dashboard"]
            self.scheduler = self._dask("scheduler", *words, "--scheduler-file", str(file))
            until = time.monotonic() + 60
            while not file.exists() and time.monotonic() < until:
                time.sleep(0.1)
            self.address = file.read_text().split('"address": "')[1].partition('"')[0]
            self.port = int(self.address.rpartition(":")[2])
        self.workers = [one for one in self.workers if one.poll() is None]
        while len(self.workers) < 2:
            self.add()
        return self.address

    def add(self, **variables):
        words = ["--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder)]
        self.workers.append(self._dask("worker", self.address, *words, **variables))
        return self.workers[-1]

    def _dask(self, *words, **variables):
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *words],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | variables,
        )

    def processes(self):
        """Return (nannies, workers, children of workers that compute), by what they are."""
        parents = {}
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError, IndexError):
                parents[int(place.name)] = int(
                    (place / "stat").read_text().rpartition(")")[2].split()[1]
                )

        def below(ids):
            found = [pid for pid, parent in parents.items() if parent in ids]
            return found + below(found) if found else []

        nannies = [one.pid for one in self.workers if one.poll() is None]
        every = below(nannies)
        lines = {}
        for pid in every:
            with suppress(OSError):
                lines[pid] = Path(f"/proc/{pid}/cmdline").read_text()
        own = [
            pid for pid in every if parents[pid] in nannies and "spawn_main" in lines.get(pid, "")
        ]
        servers = [pid for pid in every if parents[pid] in own]
        return nannies, own, [pid for pid in every if parents[pid] in servers]

    def end(self):
        for one in (*self.workers, self.scheduler):
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()


class Soak:
    """What is counted, by fault."""

    def __init__(self, folder, plugin):
        self.folder, self.plugin = folder, plugin
        self.counts = {}
        self.number = 0
        self.whole = {}
        for name, used in (("own", None), ("plugin", plugin)):
            self.run(folder / name, used, 1)
            self.whole[used] = rows_of(folder / name)
            assert len(self.whole[used]) == 20 * 3 * len(design(used).algorithms)

    def fresh(self):
        self.number += 1
        return self.folder / f"run-{self.number}"

    def begin(self, folder, plugin, how, **more):
        process = multiprocessing.get_context("fork").Process(
            target=head, args=(folder, plugin, how), kwargs=more
        )
        process.start()
        return process

    def run(self, folder, plugin, how, **more):
        """Run to the end; return whether it ended with status 0, None if it did not end."""
        process = self.begin(folder, plugin, how, **more)
        process.join(HANG)
        if process.exitcode is None:
            process.kill()
            process.join()
            return None
        return process.exitcode == 0

    def fault(self, name, before, folder, plugin):
        """Take note of a fault, and of the rows that were there before it and are not any more."""
        count = self.counts.setdefault(name, Counter())
        count["faults"] += 1
        found = rows_of(folder)
        if found is None:
            count["broken"] += 1
            return
        count["lost"] += len(before - found)
        count["different"] += len(found - self.whole[plugin])

    def finish(self, name, folder, plugin, how, tries=3):
        """Have the same command end, again where the fault has ended it, and compare the rows."""
        count = self.counts[name]
        for _ in range(tries):
            ended = self.run(folder, plugin, how)
            if ended is not False:
                break
        count["runs"] += 1
        count["hangs"] += ended is None
        count["failed"] += ended is False
        self.fault_free(name, folder, plugin)

    def fault_free(self, name, folder, plugin):
        """Compare the rows of a run that has ended with those of the undisturbed one."""
        found = rows_of(folder) or set()
        self.counts[name]["lost"] += len(self.whole[plugin] - found)
        self.counts[name]["different"] += len(found - self.whole[plugin])
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(process, folder, rows=1):
    until = time.monotonic() + 60
    while process.is_alive() and time.monotonic() < until:
        with suppress(sqlite3.Error):
            if len(rows_of(folder) or ()) >= rows:
                return
        time.sleep(0.02)


def heads_killed(soak, farm, how, name, times):
    """A run is killed at random moments until it has ended."""
    done = 0
    plugin = None if how == 1 else soak.plugin
    while done < times:
        folder, before = soak.fresh(), set()
        for _ in range(min(5, times - done)):
            process = soak.begin(folder, plugin, how if isinstance(how, int) else farm.start())
            process.join(random.uniform(0.0, 1.0) * (0.4 if how == 1 else 3.0))
            process.kill()
            process.join()
            soak.fault(name, before, folder, plugin)
            before = rows_of(folder) or set()
            done += 1
        soak.finish(name, folder, plugin, how if isinstance(how, int) else farm.start())


def during(soak, farm, name, times, do, every=(0.05, 0.4)):
    """Runs on the cluster, in each of which something is done at random moments."""
    done = 0
    while done < times:
        folder = soak.fresh()
        process = soak.begin(folder, soak.plugin, farm.start())
        wait_for(process, folder)
        here = 0
        while process.is_alive() and done < times and here < 5:
            before = rows_of(folder) or set()
            if do(farm):
                soak.fault(name, before, folder, soak.plugin)
                done, here = done + 1, here + 1
            process.join(random.uniform(*every))
            farm.start()
        process.join(HANG)
        count = soak.counts.setdefault(name, Counter())
        if process.exitcode is None:
            count["hangs"] += 1
            process.kill()
            process.join()
        soak.finish(name, folder, soak.plugin, farm.start())


def kill(place):
    """Return what kills one of the processes of a farm: of its nannies, workers, or children."""

    def do(farm):
        found = farm.processes()[place]
        if found:
            with suppress(ProcessLookupError):
                os.kill(random.choice(found), signal.SIGKILL)
        return bool(found)

    return do


def scheduler_killed(farm):
    farm.scheduler.kill()
    farm.scheduler.wait()
    time.sleep(random.choice([0.0, 6.0]))  # it may come again while the run still waits
    return True


def worker_stopped(farm):
    """Stop a worker for seconds, or for ever: it is killed with the next."""
    _, own, _ = farm.processes()
    if not own:
        return False
    pid = random.choice(own)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(random.uniform(0.1, 1.0))
        if random.random() < 0.7:
            os.kill(pid, signal.SIGCONT)
    return True


def worker_slow(farm):
    """Let a worker and its child run for a 30th of the time, for three seconds."""
    _, own, children = farm.processes()
    if not own:
        return False
    until = time.monotonic() + 3
    while time.monotonic() < until:
        for what, seconds in ((signal.SIGSTOP, 0.29), (signal.SIGCONT, 0.01)):
            for pid in (own[0], *children[:1]):
                with suppress(ProcessLookupError):
                    os.kill(pid, what)
            time.sleep(seconds)
    return True


def other_version(folder):
    """Return what adds a worker with another sparsebench, which is to get no work."""
    place = folder / "other"
    package = Path(engine.__file__).parent.parent
    shutil.copytree(package, place / "sparsebench", ignore=shutil.ignore_patterns("__pycache__"))
    with (place / "sparsebench" / "metrics.py").open("a") as file:
        file.write("# another\n")

    def do(farm):
        farm.add(PYTHONPATH=str(place))
        time.sleep(3)
        farm.workers.pop().kill()
        return True

    return do


@contextmanager
def small_disk(folder, size):
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def disk_full(soak, times):
    """The disk is full after some rows; then there is room again."""
    for _ in range(times):
        with small_disk(soak.fresh(), f"{random.randint(120, 200)}k") as disk:
            folder = disk / "out"
            assert soak.run(folder, None, 1) is False, "there was room"
            soak.fault("disk full", set(), folder, None)
            subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
            soak.finish("disk full", folder, None, 1)


def unmount(disk):
    """Take a disk out, once the processes that end have let go of it."""
    until = time.monotonic() + 20
    while subprocess.run(["umount", disk], stderr=subprocess.DEVNULL).returncode:
        assert time.monotonic() < until, f"{disk} is in use"
        time.sleep(0.1)


def read_only(soak, times):
    """The disk can only be read from some moment on, as after an error of it; then it is mended."""
    for _ in range(times):
        disk = soak.fresh()
        disk.mkdir()
        image = disk.with_suffix(".image")
        with image.open("wb") as file:
            file.truncate(2**23)
        mount = ["mount", "-o", "loop", image, disk]
        subprocess.run(["mkfs.ext4", "-q", image], check=True, stderr=subprocess.DEVNULL)
        subprocess.run(mount, check=True)
        folder = disk / "out"
        process = soak.begin(folder, soak.plugin, 1)
        wait_for(process, folder, 8)
        before = rows_of(folder)
        subprocess.run(["mount", "-o", "remount,abort", disk], check=True)
        process.join(HANG)
        assert process.exitcode, "it did not notice"
        unmount(disk)
        subprocess.run(["e2fsck", "-fy", image], stdout=subprocess.DEVNULL)
        subprocess.run(mount, check=True)
        soak.fault("read-only", before, folder, soak.plugin)
        soak.finish("read-only", folder, soak.plugin, 1)
        unmount(disk)
        image.unlink()


def jumping():
    """Have the clocks of this process jump by up to an hour, to and fro for the one on the wall."""
    import threading

    monotonic, wall, offsets = time.monotonic, time.time, [0.0, 0.0]

    def jump():
        while True:
            time.sleep(random.uniform(0.1, 0.5))
            offsets[0] += random.uniform(0, 3600)
            offsets[1] = random.uniform(-3600, 3600)

    time.monotonic = lambda: monotonic() + offsets[0]
    time.time = lambda: wall() + offsets[1]
    threading.Thread(target=jump, daemon=True).start()


def clock_jumps(soak, farm, times):
    for turn in range(times):
        folder = soak.fresh()
        how = (1, 2, farm.start())[turn % 3]
        soak.counts.setdefault("clock jumps", Counter())["runs"] += 1
        ended = soak.run(folder, soak.plugin, how, before=jumping)
        soak.counts["clock jumps"]["hangs"] += ended is None
        soak.fault("clock jumps", set(), folder, soak.plugin)
        if ended is False:
            soak.finish("clock jumps", folder, soak.plugin, how)
        else:
            soak.fault_free("clock jumps", folder, soak.plugin)


def two_heads(soak, farm, times):
    for turn in range(times):
        folder, how = soak.fresh(), (1, farm.start())[turn % 2]
        both = [soak.begin(folder, soak.plugin, how) for _ in range(2)]
        for one in both:
            one.join(HANG)
        count = soak.counts.setdefault("two heads on one folder", Counter())
        count["hangs"] += sum(one.exitcode is None for one in both)
        count["failed"] += sum(bool(one.exitcode) for one in both)
        soak.fault("two heads on one folder", set(), folder, soak.plugin)
        soak.finish("two heads on one folder", folder, soak.plugin, how)


def merges_killed(soak, times):
    parts = []
    for number in (1, 2, 3):
        parts.append(soak.fresh())
        soak.run(parts[-1], None, 1, share=Share(number, 3))
    name = "merge killed"
    for _ in range(times // 5):
        folder, before = soak.fresh(), set()
        for _ in range(5):
            process = multiprocessing.get_context("fork").Process(
                target=merge, args=(parts, folder)
            )
            process.start()
            process.join(random.uniform(0, 0.1))
            process.kill()
            process.join()
            soak.fault(name, before, folder, None)
            before = rows_of(folder) or set()
            if before not in (set(), soak.whole[None]):
                soak.counts[name]["broken"] += 1  # all or none
        merge(parts, folder)
        soak.finish(name, folder, None, 1)


def write(file, header, rows, order):
    """Write what was counted; what there is of other faults stays."""
    made = {}
    if file.exists():
        old = pd.read_csv(file, usecols=header)[header]
        made = {row[0]: row for row in old.itertuples(index=False)}
    made |= {row[0]: row for row in rows}
    table = pd.DataFrame([made[name] for name in order if name in made], columns=header)
    recipe = {"experiment": "soak", "faults": {name: times for name, (times, _) in order.items()}}
    stated(table, recipe, "python tests/studies/soak.py").to_csv(file, index=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of faults")
    parser.add_argument("--only", default="", help="faults with one of these in their names")
    parser.add_argument("--csv", type=Path, help="what it has of other faults stays")
    given = parser.parse_args()
    random.seed(0)
    place = Path(tempfile.mkdtemp(prefix="soak-"))
    plugin = place / "filtered.py"
    plugin.write_text(PLUGIN)
    load_plugin(plugin)
    for chosen in design(plugin).algorithms:
        compile_one(chosen)
    soak = Soak(place, plugin)
    (place / "farm").mkdir()
    farm = Farm(place / "farm", plugin)
    plan = {
        "parent killed, 1 process": (60, lambda n, name: heads_killed(soak, farm, 1, name, n)),
        "parent killed, 2 workers": (20, lambda n, name: heads_killed(soak, farm, 2, name, n)),
        "parent killed, cluster": (30, lambda n, name: heads_killed(soak, farm, "", name, n)),
        "child of a worker killed": (40, lambda n, name: during(soak, farm, name, n, kill(2))),
        "worker killed": (40, lambda n, name: during(soak, farm, name, n, kill(1))),
        "nanny killed": (15, lambda n, name: during(soak, farm, name, n, kill(0), (0.5, 2))),
        "scheduler killed": (10, lambda n, name: during(soak, farm, name, n, scheduler_killed)),
        "worker stopped": (20, lambda n, name: during(soak, farm, name, n, worker_stopped)),
        "worker 30 times slower": (6, lambda n, name: during(soak, farm, name, n, worker_slow)),
        "worker of another version": (
            6,
            lambda n, name: during(soak, farm, name, n, other_version(place / name)),
        ),
        "disk full": (15, lambda n, _: disk_full(soak, n)),
        "read-only": (10, lambda n, _: read_only(soak, n)),
        "clock jumps": (15, lambda n, _: clock_jumps(soak, farm, n)),
        "two heads on one folder": (10, lambda n, _: two_heads(soak, farm, n)),
        "merge killed": (40, lambda n, _: merges_killed(soak, n)),
    }
    names = ["faults", "runs", "broken", "lost", "different", "hangs", "failed"]
    rows = []
    try:
        for name, (times, act) in plan.items():
            if any(part in name for part in given.only.split(",")):
                begin = time.monotonic()
                act(max(round(times * given.scale), 1), name)
                count = soak.counts[name]
                rows.append([name, *(count[column] for column in names)])
                spent = time.monotonic() - begin
                print(f"{name}: {dict(count)} in {spent:.0f} s", flush=True)
                if given.csv:
                    write(given.csv, ["fault", *names], rows, plan)
    finally:
        farm.end()
        shutil.rmtree(place, ignore_errors=True)
    print(f"{sum(row[1] for row in rows)} faults")
    raise SystemExit(any(any(row[3:]) for row in rows))


if __name__ == "__main__":
    main()
