"""Asked to end: at once, whole rows, a status that says by what, on any system; and the pool."""

import ast
import math
import os
import platform
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

import sparsebench
from sparsebench import cli
from sparsebench.experiments import studies
from sparsebench.report import figures
from sparsebench.run import pool
from sparsebench.run.pool import WorkerDied
from sparsebench.seeding import digest
from sparsebench.system import processes, resources

POSIX = pytest.mark.skipif(os.name != "posix", reason="asks by signals")
STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}  # 128 + n, as a shell says it
HOLD = """
import os, subprocess, time
import numpy as np
import sparsebench

MARK = {mark!r}


def quick(A, y, k):
    return np.zeros(A.shape[1])


def holds(A, y, k):
    if A.shape[1] == 24:  # of the run, not the one that is compiled with
        open(MARK, "w").close()
        subprocess.run(["/bin/sleep", "300"])
    return np.zeros(A.shape[1])


def waits(A, y, k):
    while A.shape[1] == 24 and not os.path.exists(MARK + ".go"):
        open(MARK, "w").close()
        time.sleep(0.02)
    return np.zeros(A.shape[1])


def swallow(seconds):
    try:
        open(MARK, "w").close()  # where what comes next is swallowed already
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.1)
    except BaseException:  # as a callback of a compiler does
        return


@sparsebench.algorithm("swallows_once")
def _swallows_once(dictionary, y, k):
    swallow(300)
    return np.zeros(dictionary.shape[1])


@sparsebench.algorithm("swallows")
def _swallows(dictionary, y, k):
    while True:
        swallow(300)
"""


# As a function that a program has registered, a plug-in is called by the run itself.
IN_THE_RUN = "from sparsebench.run import engine\nengine._needs_a_child = lambda *_: False"


class Run:
    """A command with a plug-in of `HOLD`, in a session of its own, without psutil and pgrep."""

    def __init__(self, folder, names, jobs=2, before="", words=()):
        self.mark, self.out = folder / "mark", folder / "out"
        (folder / "plugin.py").write_text(HOLD.format(mark=str(self.mark)))
        (folder / "bare").mkdir(exist_ok=True)
        (folder / "bare" / "psutil.py").write_text("raise ImportError")
        words = words or (
            *("support-distance", "-p", "gaussian", "--n", "24", "--m", "12", "--ks", "2,3"),
            *("--trials", "6", "-a", names, "-j", str(jobs), "--time-limit", "1000"),
            *("--plugin", str(folder / "plugin.py"), "-o", str(self.out)),
        )
        code = (
            "import signal, sys\n"
            # What runs tests in the background may ignore these.
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "if hasattr(signal, 'SIGHUP'):\n    signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
            f"{before}\n"
            "from sparsebench.__main__ import main\n"
            f"sys.argv[1:] = {list(words)!r}\n"
            "main()\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {
                "PATH": str(folder / "bare"),
                "PYTHONPATH": os.pathsep.join([str(folder / "bare"), *sys.path]),
            },
        )

    def holding(self):
        """Wait until it is where it stays."""
        self._until(lambda: self.mark.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()[1]
        return self

    def ask(self, name, group=False):
        (os.killpg if group else os.kill)(self.process.pid, getattr(signal, name))

    def end(self):
        """Return its status and what it said, when no process of its session is left."""
        try:
            _, err = self.process.communicate(timeout=300)
            self._until(self.gone)
        finally:
            if not self.gone():
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.returncode, err

    def gone(self):
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def rows(self):
        with closing(sqlite3.connect(self.out / "results.db")) as store:
            assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return store.execute(
                "SELECT a.name, k, trial FROM rows r JOIN algorithms a ON a.id = r.algorithm"
            ).fetchall()

    @staticmethod
    def _until(true):
        until = time.monotonic() + 300
        while not true():
            assert time.monotonic() < until, "nothing happens"
            time.sleep(0.02)


@POSIX
@pytest.mark.parametrize("name", STATUS)
def test_a_run_that_is_asked_to_end_leaves_whole_rows_and_no_process(tmp_path, name):
    """While workers solve, and with what a plug-in has started in them."""
    run = Run(tmp_path, "quick,holds").holding()
    run.ask(name, group=name == "SIGINT")  # as a terminal does
    status, err = run.end()
    assert status == STATUS[name]
    assert err == (
        f"stopped; finished blocks are kept in {run.out / 'results.db'}; "
        "the same command continues\n"
    )
    # A block is all or none; each has both sparsities of both algorithms.
    trials = {trial for _, _, trial in run.rows()}
    assert len(run.rows()) == 4 * len(trials) < 4 * 6


@POSIX
@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize(
    ("name", "jobs", "plugin"),
    [("SIGTERM", 2, "swallows_once"), ("SIGHUP", 2, "swallows"), ("SIGINT", 1, "swallows_once")],
)
def test_an_interruption_that_somebody_swallows_is_none_the_less_one(
    tmp_path, name, jobs, plugin, here
):
    """While algorithms are compiled, in a worker or in this process."""
    run = Run(tmp_path, f"{plugin},quick", jobs, IN_THE_RUN if here else "").holding()
    run.ask(name)
    status, err = run.end()
    assert status == STATUS[name]
    assert err.count("\n") == 1
    assert err.startswith("stopped; ")
    assert run.rows() == []


@POSIX
def test_the_second_time_it_ends_at_once(tmp_path):
    before = "from sparsebench.system import stopping\nstopping._GRACE = 1e6\n" + IN_THE_RUN
    run = Run(tmp_path, "swallows,quick", before=before).holding()
    run.mark.unlink()
    run.ask("SIGINT")
    run.holding()  # it has swallowed that one
    run.ask("SIGINT")
    status, err = run.end()
    assert status == 130
    assert err.count("\n") == 1


@POSIX
def test_what_is_ignored_from_the_start_stays_ignored(tmp_path):
    """As `nohup` does."""
    before = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    run = Run(tmp_path, "waits", before=before).holding()
    run.ask("SIGHUP", group=True)  # as a terminal that closes: the workers, too
    (tmp_path / "mark.go").touch()
    status, err = run.end()
    assert status == 0, err
    assert len(run.rows()) == 2 * 6


TAKEN_AWAY = """
import os, signal
for module, names in (
    (signal, "SIGHUP SIGALRM SIGPROF setitimer pthread_sigmask siginterrupt sigwait"),
    (os, "getppid killpg getpgid setsid fork"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
"""


@POSIX
@pytest.mark.parametrize("asked", [True, False])
def test_a_system_that_lacks_what_linux_has(tmp_path, asked):
    """No timers, groups, masks and parents, in the parent and in the workers."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(TAKEN_AWAY)
    run = Run(tmp_path, "quick,waits").holding()
    if asked:
        run.ask("SIGINT")
    else:
        (tmp_path / "mark.go").touch()
    status, err = run.end()
    assert status == (130 if asked else 0), err
    assert len(run.rows()) == (0 if asked else 4 * 6)


def test_without_proc_the_workers_themselves_are_ended(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "Path", lambda _: tmp_path)
    assert processes._descendants([os.getpid()]) == []
    with pool.pool(2) as each:
        pids = {pid for _, pid in each(os.getpid, [()] * 8)}
    workers = [process for process in processes._workers if process.pid in pids]
    pool._end()
    for process in workers:
        process.join(timeout=60)
        assert not process.is_alive()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_descendants_are_those_of_those(tmp_path):
    inner = "import time, sys; print(flush=True); time.sleep(300)"
    outer = (
        "import subprocess, sys; "
        f"p = subprocess.Popen([sys.executable, '-c', {inner!r}]); print(p.pid, flush=True); "
        "p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True) as one:
        two = int(one.stdout.readline())
        try:
            assert processes._descendants([one.pid]) == [two]
            assert {one.pid, two} <= set(processes._descendants([os.getpid()]))
        finally:
            os.kill(two, signal.SIGKILL)


LONELY = """
import ctypes, os, time

def stay():
    if {portable}:
        ctypes.CDLL(None).prctl(1, 0)  # as on a system that does not kill it
    open({mark!r}, "w").write(str(os.getpid()))
    time.sleep(300)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes away what Linux has")
@pytest.mark.parametrize("portable", [True, False])
def test_a_worker_ends_when_its_parent_is_killed(tmp_path, portable):
    mark = tmp_path / "pid"
    (tmp_path / "lonely.py").write_text(LONELY.format(mark=str(mark), portable=portable))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    code = "import lonely, time; from sparsebench.system.processes import start_worker"
    code += "; start_worker(lonely.stay); time.sleep(300)"
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    Run._until(lambda: mark.exists() and mark.read_text())
    process.kill()
    process.wait()

    def gone():
        try:
            return Path(f"/proc/{mark.read_text()}/stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True

    Run._until(gone)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no masks of signals")
def test_a_worker_that_starts_as_the_end_is_asked_for_is_ended_with_the_others(monkeypatch):
    """The signal waits until the worker runs, and raises before `start_worker` has returned."""
    started = SimpleNamespace(start=lambda: os.kill(os.getpid(), signal.SIGINT))
    way = SimpleNamespace(Process=lambda **_: started)
    monkeypatch.setattr(processes, "_way_to_start", lambda: way)
    monkeypatch.setattr(processes, "_workers", [])
    script = sys.modules["__main__"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            processes.start_worker(print)
    finally:
        signal.signal(signal.SIGINT, before)
    assert processes._workers == [started]
    assert sys.modules["__main__"] is script


def test_a_pool_computes_what_one_process_does():
    numbers = [(n,) for n in range(40)]
    expected = {n: math.factorial(n) for n in range(40)}
    for workers in (1, 2):
        with pool.pool(workers) as each:
            assert dict(each(math.factorial, numbers)) == expected
            assert list(each(math.factorial, [])) == []


def test_workers_are_kept_and_replaced_where_they_died():
    with pool.pool(2) as each:
        first = {pid for _, pid in each(os.getpid, [()] * 8)}
    with pool.pool(2) as each:
        assert {pid for _, pid in each(os.getpid, [()] * 8)} <= first
    for process in [worker.process for worker in pool._idle]:
        process.kill()
        process.join()
    with pool.pool(2) as each:
        assert not {pid for _, pid in each(os.getpid, [()] * 8)} & first
    assert os.getpid() not in first


def test_what_goes_wrong_in_a_worker_is_raised_here():
    with pytest.raises(ZeroDivisionError) as raised, pool.pool(2) as each:
        list(each(divmod, [(1, 1), (1, 0)]))
    assert "_serve" in raised.value.__notes__[0]
    with pytest.raises(TypeError, match="pickle"), pool.pool(2) as each:
        list(each(open, [(os.devnull,)]))
    with pytest.raises(WorkerDied, match="a worker process died"), pool.pool(2) as each:
        list(each(os._exit, [(3,)]))
    assert not pool._idle


@pytest.mark.parametrize("command", ["exploration", "support-distance"])
def test_a_worker_that_is_killed_is_one_line(tmp_path, command):
    (tmp_path / "dies.py").write_text(
        "import os, sparsebench\n"
        "@sparsebench.algorithm('dies')\n"
        "def dies(dictionary, y, k, *, max_iter=10, history=False):\n"
        "    if dictionary.shape[1] > 20:\n        os._exit(9)\n"
        "    return dictionary.A[0] * 0.0\n"
    )
    words = ("--trials", "6", "-j", "2", "--plugin", "dies.py", "-a", "dies", "-o", "r")
    if command == "support-distance":
        words += ("-p", "gaussian", "--n", "24", "--m", "12", "--ks", "2")
    ended = subprocess.run(
        [sys.executable, "-m", "sparsebench", command, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: a worker process died (out of memory?); ")
    assert ended.stderr.count("\n") == 1


def test_one_room_asks_the_system_and_starts_workers():
    """So that all commands end theirs alike, and another system is another reading of one room."""
    others = {"Parallel", "ProcessPoolExecutor", "Process", "get_context", "get_reusable_executor"}
    others |= {"setitimer", "SIGALRM", "SIGKILL", "sysconf", "getppid", "killpg", "fork", "prctl"}
    for path in Path(sparsebench.__file__).parent.rglob("*.py"):
        if path.parent.name == "system" and path.name != "folders.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            assert getattr(node, "attr", getattr(node, "id", "")) not in others, path
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.startswith(("/proc", "/dev", "/tmp")), path


def test_what_the_system_does_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_PROC", tmp_path / "none")
    assert resources.processor() == (platform.processor() or platform.machine())


def test_names_of_files_are_portable(monkeypatch, tmp_path, capsys):
    """Whatever the labels: letters, digits, dots and dashes, and none that Windows reserves."""
    words = "support-distance -p deconvolution[width=2] -a thresholding,iht[step=1/L] -j 1"
    words += f" --n 32 --ks 2 --trials 2 -o {tmp_path}"
    monkeypatch.setattr(sys, "argv", ["sparsebench", *words.split()])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    assert ended.value.code == 0, capsys.readouterr().err
    written = [path.name for path in tmp_path.rglob("*")]
    assert len(written) > 3
    reserved = {"con", "prn", "aux", "nul"} | {f"{p}{i}" for p in ("com", "lpt") for i in range(10)}
    for name in (*written, *figures._PICTURES, *studies.STUDIES, digest({"a": "b[c=1/L]:*"})):
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name)
        assert name.partition(".")[0] not in reserved
