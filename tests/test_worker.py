"""A worker is light: it has loaded nothing that it does not need."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparsebench.experiments.presets import PHASE_TRANSITION
from sparsebench.run.pool import _end, pool

NEEDLESS = {
    "click",
    "IPython",
    "matplotlib",
    "pandas",
    "PIL",
    "pydantic",
    "rich",
    "scipy.io",
    "scipy.optimize",
    "scipy.stats",
    "sklearn",
    "sqlite3",
    "torch",
    "typer",
}
# An algorithm that notes what is loaded where it is called, one file a process.
SPY = """
import os
import sys
from pathlib import Path

import numpy as np


def spy(A, y, k):
    (Path({folder!r}) / str(os.getpid())).write_text("\\n".join(sys.modules))
    return np.zeros(A.shape[1])
"""


def test_the_module_of_workers_loads_nothing_needless():
    code = "import sys, sparsebench.run.worker; print(*sys.modules, sep='\\n')"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = ended.stdout.splitlines()
    assert "sparsebench.solvers.sea" in loaded
    assert not NEEDLESS & set(loaded)


def test_a_worker_that_has_solved_has_loaded_nothing_needless(tmp_path):
    (tmp_path / "seen").mkdir()
    (tmp_path / "plugin.py").write_text(SPY.format(folder=str(tmp_path / "seen")))
    names = PHASE_TRANSITION["quick"]["algorithms"] + ",spy"
    command = [sys.executable, "-m", "sparsebench", "phase-transition", "--preset", "quick"]
    command += ["--plugin", "plugin.py", "--algorithms", names, "--n", "32", "--grid", "1"]
    with subprocess.Popen(
        [*command, "--ratios", ".5", "-j", "2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        said = run.communicate()[0]
    assert run.returncode == 0, said
    workers = [path for path in (tmp_path / "seen").iterdir() if path.name != str(run.pid)]
    assert workers
    for path in workers:
        loaded = path.read_text().splitlines()
        assert "sparsebench.run.worker" in loaded
        assert not NEEDLESS & set(loaded)


def state(name, _):
    """Return what a worker was started with, and a number of its own."""
    loaded = "sparsebench.solvers.sea" in sys.modules
    return os.getpid(), os.getppid(), loaded, os.environ.get(name), float(np.random.rand())


def states(name, workers=3):
    found = {}
    with pool(workers) as each:
        while len(found) < workers:
            for _, (pid, *rest) in each(state, [(name, i) for i in range(4 * workers)]):
                found.setdefault(pid, rest)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="workers are fresh interpreters elsewhere")
def test_workers_are_copies_of_one_process_without_threads():
    found = states("HOME")
    parents, loaded, _, numbers = zip(*found.values(), strict=True)
    (parent,) = set(parents)
    assert parent not in (os.getpid(), *found)
    assert len(list(Path(f"/proc/{parent}/task").iterdir())) == 1
    assert all(loaded)
    assert len(set(numbers)) == len(numbers)


def test_a_worker_that_is_used_again_has_the_environment_of_now(monkeypatch):
    for value in ("one", "other"):
        monkeypatch.setenv("SPARSEBENCH_CACHE", value)
        with pool(2) as each:
            found = [answer for _, answer in each(os.getenv, [("SPARSEBENCH_CACHE",)] * 6)]
        assert found == [value] * 6
        with pool(2) as each:
            assert {answer for _, answer in each(os.getenv, [("OMP_NUM_THREADS",)] * 4)} == {"1"}


@pytest.mark.parametrize("value", ["one", "another"])
def test_a_worker_has_the_environment_of_its_start(monkeypatch, value):
    monkeypatch.setenv("SPARSEBENCH_TEST", value)
    _end()  # those of the test before
    assert {variable for _, _, variable, _ in states("SPARSEBENCH_TEST").values()} == {value}


UNGUARDED = """
from sparsebench.run.pool import pool

print("ran")
with pool(2) as each:
    print(sorted(result for _, result in each(divmod, [(7, 3), (8, 3)])))
"""


def test_a_script_that_guards_nothing_is_run_once(tmp_path):
    """What `multiprocessing` asks of a script, `if __name__ == "__main__"`, we do not ask."""
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300
    )
    assert ended.stdout == "ran\n[(2, 1), (2, 2)]\n", ended.stderr


# Says which compiled loops an algorithm loads after the tiny problem, each in a process of its own.
LATE = """
import contextlib, os, sys
import numpy as np
import sparsebench
from sparsebench.registry import choose_algorithms
from sparsebench.run.worker import compile_one
from sparsebench.types import Dictionary

def loaded():
    modules = [module for name, module in sys.modules.items() if name.startswith("sparsebench.")]
    found = [value for module in modules for value in vars(module).values()]
    return {(f.__name__, str(s)) for f in found if hasattr(f, "signatures") for s in f.signatures}

rng = np.random.default_rng(0)
twice = np.repeat(rng.standard_normal((10, 8)), 2, axis=1)
twice[:, 1::2] += 1e-9 * rng.standard_normal((10, 8))  # atoms too near for a Gram matrix
problems = [(A, y) for A in (rng.standard_normal((10, 16)), twice) for y in
            (A[:, 1] - 2 * A[:, 6], A[:, :5] @ np.arange(2.0, 7.0), rng.standard_normal(10))]
for entry in sparsebench.algorithms():
    if entry.family in ("peer", "learned"):
        continue
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        continue
    (chosen,) = choose_algorithms(entry.name)
    compile_one(chosen)
    first = loaded()
    for A, y in problems:
        dictionary = Dictionary(A)
        shared = [getattr(dictionary, quantity) for quantity in entry.shares]  # as in a run
        for k in (1, 2, 5, 10):
            given = {"support": np.arange(k)} if entry.accepts("support") else {}
            given |= {"noise": 1e-3} if entry.takes_noise else {}
            with contextlib.suppress(sparsebench.InputError):
                chosen.solve(dictionary, y, k, **given)
    print(entry.name, *sorted(name for name, _ in loaded() - first), flush=True)
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs copies of a process")
def test_no_solve_waits_for_a_compiled_loop():
    """All that an algorithm calls is loaded by its first call, whatever ways a solve may take."""
    ended = subprocess.run([sys.executable, "-c", LATE], check=True, capture_output=True, text=True)
    said = [line.split() for line in ended.stdout.splitlines()]
    assert {name for name, *_ in said} >= {"omp", "ols", "htp", "nhtp", "sea", "fista", "sbl"}
    assert [line for line in said if len(line) > 1] == []
