"""Workers of a dask cluster: the rows of one machine, whatever workers, scheduler and head do."""

import io
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_cli import no_plugins_left  # noqa: F401
from test_limits import NEVER
from test_runner import QUIET, rows_of

import sparsebench
from sparsebench.registry import choose_algorithms
from sparsebench.run.remote import Call, Files, _Unpickler, packed
from sparsebench.run.store import Store
from sparsebench.types import InputError

pytest.importorskip("distributed", reason="needs sparsebench[cluster]")
from sparsebench.run import cluster, engine

PACKAGE = Path(sparsebench.__file__).parent
# A plug-in of two files and one of data; how long it takes is an option of its own.
PLUGIN = """
import time
from pathlib import Path

import numpy as np
from scores import scores

FACTOR = float((Path(__file__).parent / "factor.txt").read_text())


def filtered(A, y, k, *, rest: float = 0.0):
    time.sleep(rest)
    support = np.argsort(-FACTOR * scores(A, y))[:k]
    x = np.zeros(A.shape[1])
    x[support] = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    return x
"""
SCORES = """
import numpy as np


def scores(A, y):
    return np.abs(A.T @ y)
"""


def start(*words, folder, before=(), **variables):
    """Start a process as if from a terminal, in a folder that it makes."""
    folder.mkdir(parents=True, exist_ok=True)
    code = (
        "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"sys.argv = {[str(word) for word in words]!r}; "
        f"runpy.run_module({words[0]!r}, run_name='__main__', alter_sys=True)"
    )
    return subprocess.Popen(
        [*before, sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process):
    """Kill a process with all of its session, unless that was done."""
    if process.stdout.closed:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


class Farm:
    """A scheduler and workers that were started from the command line, each in its own folder."""

    def __init__(self, folder, host="127.0.0.1"):
        self.folder = folder
        words = ("--host", host, "--port", "0", "--no-dashboard", "--no-show")
        file = folder / "scheduler.json"
        self.scheduler = start(
            *("dask", "scheduler", *words, "--scheduler-file", file), folder=folder / "scheduler"
        )
        until = time.monotonic() + 60
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.1)
        self.address = re.search(r"tcp://[0-9.:]+", file.read_text())[0]
        self.workers = []

    def add(self, *words, **more):
        """Start a worker."""
        own = self.folder / f"worker-{len(self.workers)}"
        words = ("--nthreads", 1, "--no-dashboard", "--local-directory", own / "own", *words)
        self.workers.append(start("dask", "worker", self.address, *words, folder=own, **more))
        return self.workers[-1]

    def end(self):
        for process in (*self.workers, self.scheduler):
            end(process)


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    """Two workers, one with a nanny."""
    farm = Farm(tmp_path_factory.mktemp("farm"))
    farm.add()
    farm.add("--no-nanny")
    yield farm
    farm.end()


@pytest.fixture
def own_farm(tmp_path):
    farm = Farm(tmp_path / "farm")
    yield farm
    farm.end()


@pytest.fixture
def here(tmp_path):
    """A folder with a plug-in, another with a matrix, which is where commands are given."""
    folder = tmp_path / "plug-ins"
    folder.mkdir()
    (folder / "filtered.py").write_text(PLUGIN)
    (folder / "scores.py").write_text(SCORES)
    (folder / "factor.txt").write_text("2.0")
    place = tmp_path / "here"
    place.mkdir()
    np.save(place / "A.npy", np.random.default_rng(0).standard_normal((20, 40)))
    return place


def command(place, *words, algorithms="omp,omp+htp,filtered", trials=6, **variables):
    """Start a small run."""
    return start(
        *("sparsebench", "support-distance", "-p", "matrix[file=A.npy,subsample=rows]"),
        *("--m", 16, "--ks", "2,3,5", "--trials", trials, "-a", algorithms, "-q"),
        *("--plugin", "../plug-ins/filtered.py", *words),
        folder=place,
        **variables,
    )


def ended(process, timeout=120):
    try:
        out, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()  # where it has not ended
    return process.returncode, out


def computed(folder):
    """Return how many rows a run that goes on has stored."""
    with suppress(InputError), Store(folder, writable=False) as store:
        return store.execute("SELECT count(*) FROM rows").fetchone()[0]
    return 0


def wait_for_rows(process, folder, count=1):
    until = time.monotonic() + 120
    while computed(folder) < count and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def test_names_of_what_travels_are_those_of_the_place_it_travels_to(tmp_path):
    file = tmp_path / "data" / "A.npy"
    file.parent.mkdir()
    file.write_bytes(b"content")
    files = Files.read([file], [str(tmp_path)])
    there = tmp_path / "there"
    files.place(there)
    call = packed(Call(len, (str(file), str(tmp_path), "other", {"file": str(file)})), files)
    _, found = _Unpickler(io.BytesIO(call), there).load()
    placed = there.joinpath(*file.parts[1:])
    assert found[0] == found[3]["file"] == str(placed)
    assert found[1] == str(there.joinpath(*tmp_path.parts[1:])) and found[2] == "other"
    assert placed.read_bytes() == b"content"
    before = files.digest
    file.write_bytes(b"another")
    assert Files.read([file], [str(tmp_path)]).digest != before
    assert pickle.loads(pickle.dumps(files)).digest == before


def test_rows_of_workers_in_other_folders_are_those_of_one_process(farm, here):
    code, out = ended(command(here, "-j", 1, "-o", "one"))
    assert code == 0, out
    code, out = ended(command(here, "--cluster", farm.address, "-o", "farm"))
    assert code == 0, out
    assert rows_of(here / "farm") == rows_of(here / "one")
    csvs = [here / name / "distances.csv" for name in ("farm", "one")]
    assert csvs[0].read_bytes() == csvs[1].read_bytes()
    with Store(here / "farm", writable=False) as store:
        runs = store.runs()
    assert runs["finished"].notna().all()
    code, out = ended(command(here, "-j", 1, "-o", "farm"))
    assert code == 0 and "nothing to compute" in out


def test_rows_of_local_workers_are_those_of_one_process(tmp_path):
    words = ("--preset", "quick", "-a", "omp,omp+htp", "--max-trials", 12, "--ratios", "0.3,0.6")
    for how, out in ((("-j", 1), "one"), (("--cluster", "local:2"), "local")):
        process = start("sparsebench", "phase-transition", *words, *how, "-o", out, folder=tmp_path)
        code, said = ended(process)
        assert code == 0, said
    assert rows_of(tmp_path / "local") == rows_of(tmp_path / "one")
    assert "with 2 workers" in said and "distributed" not in said
    for name in ("thresholds.csv", "cells.csv"):
        assert (tmp_path / "local" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_what_never_returns_in_a_worker_costs_its_own_row(farm, tmp_path):
    (tmp_path / "never.py").write_text(NEVER)
    for how, out in ((("-j", 2), "here"), (("--cluster", farm.address), "farm")):
        process = start(
            *("sparsebench", "support-distance", "-p", "gaussian", "--n", 32, "--m", 16, "--ks"),
            *("2,3", "--trials", 1, "-a", "omp,spins,waits,htp", "--time-limit", 0.3, "-q"),
            *("--plugin", "never.py", *how, "-o", out),
            folder=tmp_path,
        )
        code, said = ended(process)
        assert code == 0, said
    assert rows_of(tmp_path / "farm") == rows_of(tmp_path / "here")
    with Store(tmp_path / "farm", writable=False) as store:
        rows = store.frame()
    assert set(rows[rows["status"] == "time-out"]["algorithm"]) == {"spins", "waits"}


SLOW = {"algorithms": "omp,omp+htp,filtered[rest=0.1]", "trials": 12}


HOLD = """
import os
from pathlib import Path

import numpy as np


def holds(A, y, k):
    if A.shape[1] == 32:
        Path({mark!r}, str(os.getpid())).touch()
        while True:
            pass
    return np.zeros(A.shape[1])
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_what_the_workers_do(farm, here, name, status):
    mark = here / "mark"
    mark.mkdir()
    (here / "holds.py").write_text(HOLD.format(mark=str(mark)))
    process = start(
        *("sparsebench", "support-distance", "-p", "gaussian", "--n", 32, "--m", 16, "--ks", "2,3"),
        *("--trials", 4, "-a", "omp,holds", "--time-limit", 1000, "--plugin", "holds.py"),
        *("--cluster", farm.address, "-o", "out", "-q"),
        folder=here,
    )
    until = time.monotonic() + 120
    while not list(mark.iterdir()) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(getattr(signal, name))
    code, out = ended(process)
    assert code == status, out
    assert out.splitlines()[-1].startswith("stopped; finished blocks are kept in ")
    until = time.monotonic() + 30
    while any(is_alive(one.name) for one in mark.iterdir()) and time.monotonic() < until:
        time.sleep(0.1)
    assert mark.iterdir() and not any(is_alive(one.name) for one in mark.iterdir())


def is_alive(pid):
    with suppress(OSError):
        return "Z" not in (Path("/proc") / pid / "stat").read_text().rpartition(")")[2].split()[0]
    return False


def test_a_worker_that_is_killed_loses_no_row_and_another_takes_its_place(farm, here):
    code, out = ended(command(here, "-j", 2, "-o", "one", **SLOW))
    assert code == 0, out
    extra = farm.add("--no-nanny")
    process = command(here, "--cluster", farm.address, "-o", "farm", **SLOW)
    wait_for_rows(process, here / "farm")
    end(extra)
    farm.add("--no-nanny")
    code, out = ended(process)
    assert code == 0, out
    assert rows_of(here / "farm") == rows_of(here / "one")


def test_a_scheduler_that_goes_away_is_one_line_and_the_same_command_goes_on(own_farm, here):
    own_farm.add("--no-nanny")
    process = command(here, "--cluster", own_farm.address, "-o", "out", **SLOW)
    wait_for_rows(process, here / "out")
    end(own_farm.scheduler)
    code, out = ended(process)
    assert code == 1 and len(out.splitlines()) == 1, out
    assert out.startswith(f"error: the scheduler at {own_farm.address} does not answer any more; ")
    code, out = ended(command(here, "-j", 2, "-o", "out", **SLOW))
    assert code == 0, out
    code, out = ended(command(here, "-j", 2, "-o", "one", **SLOW))
    assert rows_of(here / "out") == rows_of(here / "one")


def test_a_worker_of_another_version_is_refused(own_farm, here, monkeypatch):
    other = own_farm.folder / "other"
    shutil.copytree(PACKAGE, other / "sparsebench", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "sparsebench" / "metrics.py").open("a") as file:
        file.write("# another\n")
    monkeypatch.setattr(cluster, "PATIENCE", 1.0)
    files = Files.read([], [])
    with pytest.raises(InputError, match=r"no worker has come to tcp.* in 1 s: start some, as"):
        with cluster.workers_of(own_farm.address, files, QUIET):
            pass
    own_farm.add("--no-nanny", PYTHONPATH=str(other))
    code, out = ended(command(here, "--cluster", own_farm.address, "-o", "out"))
    lines = out.splitlines()
    assert code == 2 and len(lines) == 1, out
    version = re.escape(sparsebench.__version__)
    assert re.match(
        rf"error: the worker tcp://\S+ is refused: it has sparsebench {version} \(\w+\), not "
        rf"{version} \(\w+\): install the same on every machine",
        lines[0],
    )


def test_a_scheduler_that_is_not_there_is_one_line(here, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER", 0.5)
    with pytest.raises(InputError, match=r"no scheduler answers at tcp://127.0.0.1:9 within 0.5 s"):
        with cluster.workers_of("tcp://127.0.0.1:9", Files.read([], []), QUIET):
            pass


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cluster", "local"), "--cluster takes local:N, slurm:N or the address of a scheduler"),
        (("--cluster", "local:2", "-j", "2"), "say --jobs or --cluster, not both"),
    ],
)
def test_what_names_no_cluster_is_one_line(here, words, said):
    code, out = ended(command(here, *words))
    assert code == 2 and out.startswith(f"error: {said}"), out


@pytest.fixture
def network():
    """A network of its own: what a command begins with that runs there, and the way here."""
    name, here = f"bench{os.getpid() % 100_000}", "10.213.7.1"
    made = (
        f"netns add {name}",
        f"link add {name} type veth peer name {name}p",
        f"link set {name}p netns {name}",
        f"addr add {here}/24 dev {name}",
        f"link set {name} up",
        f"-n {name} addr add 10.213.7.2/24 dev {name}p",
        f"-n {name} link set {name}p up",
        f"-n {name} link set lo up",
    )
    try:
        for words in made:
            subprocess.run(["ip", *words.split()], check=True, capture_output=True)
        yield ("ip", "netns", "exec", name), here
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network can be made: {error}")
    finally:
        with suppress(OSError):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_rows_of_workers_in_another_network_are_those_of_one_process(network, tmp_path, here):
    before, address = network
    farm = Farm(tmp_path / "farm", host=address)
    try:
        farm.add(before=before)
        code, out = ended(command(here, "--cluster", farm.address, "-o", "farm"))
    finally:
        farm.end()
    assert code == 0, out
    code, out = ended(command(here, "-j", 1, "-o", "one"))
    assert rows_of(here / "farm") == rows_of(here / "one")


SBATCH = """#!/bin/sh
for script; do :; done
cp "$script" {log}.sh # which is gone when this has ended
setsid sh {log}.sh > {log} 2>&1 &
echo $! >> {pids}
echo "Submitted batch job $!"
"""


def test_jobs_of_a_batch_system_are_workers(here, tmp_path):
    """Of a batch system that starts each job at once."""
    pytest.importorskip("dask_jobqueue", reason="needs sparsebench[cluster]")
    bin_, pids = tmp_path / "bin", tmp_path / "pids"
    bin_.mkdir()
    (bin_ / "sbatch").write_text(SBATCH.format(log=tmp_path / "log", pids=pids))
    (bin_ / "scancel").write_text("#!/bin/sh\nexit 0\n")
    for file in bin_.iterdir():
        file.chmod(0o755)
    settings = {"CORES": "1", "PROCESSES": "1", "MEMORY": "1GB", "INTERFACE": "lo"}
    process = command(
        here,
        *("--cluster", "slurm:1", "-o", "jobs"),
        PATH=f"{bin_}{os.pathsep}{os.environ['PATH']}",
        **{f"DASK_JOBQUEUE__SLURM__{name}": value for name, value in settings.items()},
    )
    try:
        code, out = ended(process)
    finally:
        for pid in pids.read_text().split():
            with suppress(ProcessLookupError):
                os.killpg(int(pid), signal.SIGKILL)
    assert code == 0, out
    code, out = ended(command(here, "-j", 1, "-o", "one"))
    assert rows_of(here / "jobs") == rows_of(here / "one")


def test_trained_weights_do_not_travel():
    chosen = replace(choose_algorithms("omp")[0], options=(("weights", "abc"),))
    with pytest.raises(InputError, match="omp has weights that were trained here, which do not"):
        engine._check_travels([chosen])
