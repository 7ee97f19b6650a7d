"""Where kernels and weights are kept on machines that let us write nearly nowhere."""

import ctypes
import gc
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sparsebench
from sparsebench import cli, registry, seeding
from sparsebench.cli import application, results
from sparsebench.problems import images
from sparsebench.report import style
from sparsebench.run import store
from sparsebench.run.rows import Block, Outcome
from sparsebench.system import folders

# Read, write and search by the modes of files, the administrator too: what Linux lets one give up.
_CAP_DAC_OVERRIDE, _PR_CAPBSET_DROP = 1, 24

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gives up a capability of Linux")


def obey_modes():
    if os.getuid() == 0:
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


class Machine:
    """A read-only copy of the package, a home and a temporary folder, each open or not."""

    def __init__(self, root):
        self.root, self.home, self.temporary = root, root / "home", root / "tmp"
        self.home.mkdir()
        self.temporary.mkdir()
        source = Path(sparsebench.__file__).parent
        shutil.copytree(source, root / "sparsebench", ignore=shutil.ignore_patterns("__pycache__"))
        self.close(root / "sparsebench" / "kernels", root / "sparsebench" / "solvers")

    def close(self, *folders):
        for folder in folders:
            folder.chmod(0o555)

    def run(self, *words, **variables):
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH")}
        fixed = {
            "PYTHONPATH": str(self.root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
        }
        return subprocess.run(
            [sys.executable, *words],
            env=kept | fixed | {name: str(value) for name, value in variables.items()},
            cwd=self.root,
            preexec_fn=obey_modes,
            capture_output=True,
            text=True,
        )

    def cache(self, **variables):
        """Return where kernels are kept, "" for beside their sources."""
        ended = self.run("-c", "import sparsebench.kernels as k; print(k.CACHE)", **variables)
        assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
        return ended.stdout.strip()

    @property
    def private(self):
        return self.temporary / f"sparsebench-{os.getuid()}"


@pytest.fixture
def machine():
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    yield Machine(root)
    for folder in (root, *root.rglob("*")):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o755)
    shutil.rmtree(root)


def test_without_a_folder_to_write_the_first_command_runs(machine):
    machine.close(machine.home)
    ended = machine.run("-m", "sparsebench", "list", "algorithms")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "homotopy" in ended.stdout
    assert stat.S_IMODE(machine.private.stat().st_mode) == 0o700


def test_kernels_go_to_the_first_folder_that_can_be_written(machine):
    users = machine.home / ".cache" / "sparsebench"
    elsewhere = machine.root / "elsewhere"
    assert machine.cache() == str(users / "numba")
    assert machine.cache(XDG_CACHE_HOME=elsewhere) == str(elsewhere / "sparsebench" / "numba")
    assert machine.cache(SPARSEBENCH_CACHE=elsewhere) == str(elsewhere / "numba")
    assert machine.cache(NUMBA_CACHE_DIR=elsewhere, SPARSEBENCH_CACHE="x") == str(elsewhere)
    shutil.rmtree(machine.home / ".cache")
    machine.close(machine.home)
    assert machine.cache() == str(machine.private / "numba")
    for name in ("kernels", "solvers"):
        (machine.root / "sparsebench" / name).chmod(0o755)
    assert machine.cache() == ""


def test_a_home_that_is_a_file_is_no_home(machine):
    file = machine.root / "file"
    file.write_text("")
    assert machine.cache(HOME=file) == str(machine.private / "numba")


def test_what_others_may_write_holds_no_code_of_ours(machine):
    caches = machine.home / ".cache"
    caches.mkdir()
    caches.chmod(0o777)
    assert machine.cache() == str(machine.private / "numba")
    caches.chmod(0o1777)  # as the temporary folder: entries stay their owner's
    assert machine.cache() == str(caches / "sparsebench" / "numba")
    (caches / "sparsebench" / "numba").chmod(0o1777)
    assert machine.cache() == str(machine.private / "numba")


@pytest.mark.parametrize("trick", ["link", "open", "file", "nowhere", "somebody"])
def test_a_private_folder_whose_name_is_taken_is_left_alone(machine, trick):
    machine.close(machine.home)
    trap = machine.root / "trap"
    trap.mkdir(mode=0o700)
    if trick == "link":
        machine.private.symlink_to(trap)
    elif trick == "nowhere":
        machine.private.symlink_to(machine.root / "missing")
    elif trick == "file":
        machine.private.write_text("")
    else:
        machine.private.mkdir(mode=0o700)
        if trick == "open":
            machine.private.chmod(0o770)
        elif os.getuid() == 0:
            os.chown(machine.private, 65534, 65534)
        else:
            pytest.skip("only the administrator can give a folder away")
    chosen = Path(machine.cache())
    assert chosen.parent.parent == machine.temporary
    assert chosen.parent != machine.private
    assert not list(trap.iterdir())
    assert not chosen.exists(), "a folder for one process is left behind"


def test_workers_use_the_folder_of_their_parent(machine):
    machine.close(machine.home)
    machine.private.write_text("")  # so that a fresh name is drawn, which a worker cannot guess
    (machine.root / "ask.py").write_text(
        "def where():\n"
        "    import sparsebench.system.folders, sparsebench.kernels, numba\n"
        "    return (sparsebench.kernels.CACHE, numba.config.CACHE_DIR,\n"
        "            str(sparsebench.system.folders.cache_folder()))\n"
    )
    ended = machine.run(
        "-c",
        "import joblib, ask; here = ask.where()\n"
        "(there,) = joblib.Parallel(2)([joblib.delayed(ask.where)()])\n"
        "assert here == there, (here, there)\n"
        "assert here[0] == here[1] and here[0] == here[2] + '/numba', here",
        PYTHONPATH=f"{machine.root}",
    )
    assert ended.returncode == 0, ended.stderr


def test_numba_imported_before_follows(machine):
    machine.close(machine.home)
    ended = machine.run(
        "-c",
        "import numba, sparsebench.solvers.omp as omp\nprint(omp._select_several.stats.cache_path)",
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(str(machine.private / "numba" / "solvers_"))


def test_kernels_of_other_sources_are_dropped_wherever_they_are(machine):
    from numba.core.caching import _CacheLocator

    package = machine.root / "sparsebench"
    root = Path(machine.cache())
    held = {}
    for name in ("kernels", "solvers"):
        place = root / _CacheLocator.get_suitable_cache_subpath(str(package / name / "x.py"))
        place.mkdir(exist_ok=True)
        held[name] = place / "x.x-1.py311.nbi"
        held[name].write_text("")
    machine.cache()
    assert all(file.exists() for file in held.values())
    with (package / "kernels" / "gram.py").open("a") as source:
        source.write("# changed\n")
    machine.cache()
    assert not any(file.exists() for file in held.values())


def test_a_folder_that_is_named_and_cannot_be_written_is_one_line(machine):
    closed = machine.root / "closed"
    closed.mkdir()
    machine.close(closed)
    ended = machine.run("-m", "sparsebench", "list", "algorithms", NUMBA_CACHE_DIR=closed)
    assert ended.returncode == 2
    assert ended.stderr == (
        f"error: NUMBA_CACHE_DIR names {closed}, which cannot be written: name another folder\n"
    )
    ended = machine.run(
        "-c",
        "import sparsebench; sparsebench.draw('digits', m=64, n=80, k=3, trial=0, seed=0)",
        SPARSEBENCH_CACHE=closed,
    )
    assert ended.stderr.splitlines()[-1] == (
        f"sparsebench.errors.InputError: cannot write to {closed} (Permission denied): "
        "set SPARSEBENCH_CACHE to another folder"
    )


def test_no_folder_at_all_is_one_line_that_names_the_variable(machine):
    machine.close(machine.home)
    script = (
        "import sys, tempfile\n"
        "tempfile._candidate_tempdir_list = lambda: [sys.argv.pop()]\n"
        "from sparsebench.__main__ import main\n"
        "main()"
    )
    ended = machine.run("-c", script, "list", machine.home)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: no folder for compiled kernels can be written")
    assert "NUMBA_CACHE_DIR" in ended.stderr


def test_matplotlib_is_quiet_without_a_home(machine):
    machine.close(machine.home)
    ended = machine.run(
        "-c",
        "from sparsebench.system.folders import settle_matplotlib; settle_matplotlib()\n"
        "import matplotlib; print(matplotlib.get_cachedir(), matplotlib.get_configdir())",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split() == [str(machine.private / "matplotlib")] * 2
    machine.home.chmod(0o755)
    script = "from sparsebench.system.folders import settle_matplotlib; settle_matplotlib()"
    ended = machine.run("-c", f"{script}\nimport os; print('MPLCONFIGDIR' in os.environ)")
    assert ended.stdout == "False\n"


def test_matplotlib_is_settled_before_a_figure_is_drawn(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sparsebench", "list", "problems"])
    called = []
    monkeypatch.setattr(application, "settle_matplotlib", lambda: called.append(1))
    with pytest.raises(SystemExit):
        cli.run()
    assert called


@pytest.fixture
def full_disk(monkeypatch):
    """Let every file that is written through Python's own functions end after 2,000 bytes."""
    import resource
    import signal

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def write_table(path):
    results.write_csv(pd.DataFrame({"a": range(5000)}), {"experiment": "comparison"}, path)


def write_figure(path):
    style.save(style.panels(1, 1, 2.0)[0], path.parent, path.stem)


def write_arrays(path):
    recipe = {"images": path.stem}
    images.cached(recipe, lambda: {"a": np.random.default_rng(0).standard_normal(2000)})


def write_weights(path):
    torch = pytest.importorskip("torch")
    with folders.written_whole(path) as part:
        torch.save({"a": torch.zeros(5000)}, part)


# What torch 2.6 and numpy 2.0 do not close they trip over when that is collected: here, and not in
# whatever test comes then.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_table, "rows.csv"),
        (write_figure, "diagram.png"),
        (write_arrays, None),
        (write_weights, "net.pt"),
    ],
)
def test_a_full_disk_is_one_line_and_what_was_there_stays(
    write, name, tmp_path, full_disk, monkeypatch
):
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    path = tmp_path / (name or f"{seeding.digest({'images': 'x'})[:24]}.npz")
    path.write_text("older")
    with pytest.raises(OSError, match=r"^cannot write ") as caught:
        write(path if name else tmp_path / "x")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_text() == "older"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    del caught
    gc.collect()


def test_a_full_store_keeps_its_rows_and_names_its_file(tmp_path):
    (omp,) = registry.choose_algorithms(["omp"])
    problem = registry.choose_problem("gaussian")
    row = Outcome(0.5, False, None, None, None, "error", "x" * 300, None)

    def block(trial):
        return Block(problem, 0, 8, 4, trial, tuple((omp, k) for k in range(1, 4)), 60.0)

    with store.Store(tmp_path) as held:
        held._connection.execute("PRAGMA max_page_count = 40")
        run = held.start_run("sparsebench x", {}, {})
        stored = 0
        with pytest.raises(sqlite3.OperationalError) as caught:
            for trial in range(10**4):
                held.add(run, block(trial), [row] * 3)
                stored += 1
    assert f"cannot write to {tmp_path / 'results.db'}: " in str(caught.value)
    with store.Store(tmp_path) as held:
        assert len(held.frame()) == 3 * stored > 0
        assert len(held.find(block(stored))) == 0
        held.add(run, block(stored), [row] * 3)
        assert len(held.find(block(stored))) == 3


@pytest.mark.parametrize(
    "words",
    [
        "support-distance -a omp --n 16 --ks 1 --trials 2 -j 1",
        "exploration -a sea[max_iter=5] --trials 6 -j 1",
        "timing -w gaussian -a omp",
        "instance -a omp",
    ],
)
def test_results_that_cannot_be_written_are_refused_before_any_work(machine, words):
    closed = machine.root / "closed"
    closed.mkdir()
    machine.close(closed)
    ended = machine.run("-m", "sparsebench", *words.split(), "--out", closed)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"error: cannot write to {closed}")
    assert "--out" in ended.stderr
