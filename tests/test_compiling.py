"""The first run: kernels are compiled in the workers, each once, and only those that are wanted."""

import io
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
from rich.console import Console

from sparsebench.kernels.least_squares import EPSILON, orthogonal_least_squares
from sparsebench.kernels.selection import sort
from sparsebench.registry import choose_algorithms
from sparsebench.run import engine, progress

# Says in a file which process compiles which of our kernels for which arguments.
WITNESS = """
import os
import numpy as np
from numba import njit
from numba.core import event
import sparsebench

class Witness(event.Listener):
    def on_start(self, seen):
        function = seen.data["dispatcher"].py_func
        if function.__module__.startswith("sparsebench."):
            with open({log!r}, "a") as file:
                what = function.__module__, function.__name__, str(seen.data["args"])
                file.write(repr((os.getpid(), what)) + "\\n")

    def on_end(self, seen):
        pass

event.register("numba:compile", Witness())

@njit
def wrong(x):
    return x + "one"

@sparsebench.algorithm("untypable")
def _untypable(dictionary, y, k):
    return wrong(y)
"""


def start(folder, names):
    """Start a run of two workers with an empty cache of kernels."""
    (folder / "numba").mkdir(exist_ok=True)
    (folder / "witness.py").write_text(WITNESS.format(log=str(folder / "log")))
    words = [*("-m", "sparsebench", "support-distance", "-p", "gaussian", "--n", "24")]
    words += ["--m", "12", "--ks", "2,3", "--trials", "4", "-a", names, "-j", "2"]
    words += ["--plugin", str(folder / "witness.py"), "-o", str(folder / "out")]
    return subprocess.Popen(
        [sys.executable, *words],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder / "numba")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def compiled(folder):
    """Return the (process, kernel with its arguments) of each time that one was compiled."""
    return [eval(line) for line in (folder / "log").read_text().splitlines()]


@pytest.mark.skipif(os.name != "posix", reason="one process compiles where there are no locks")
def test_workers_compile_each_kernel_once(tmp_path):
    """Of two algorithms that share kernels; a plug-in that cannot be compiled gives rows, too."""
    run = start(tmp_path, "niht,sp,untypable")
    said, _ = run.communicate()
    assert run.returncode == 0, said
    seen = compiled(tmp_path)
    # What numba puts in the place of an overload, a lambda of one call, takes no time.
    kernels = [kernel for _, kernel in seen if kernel[1] != "<lambda>"]
    assert sorted(kernels) == sorted(set(kernels))
    names = {name for _, name, _ in kernels}
    assert {"_niht", "_sp", "least_squares", "correlate"} <= names
    assert not names & {"_cosamp", "threshold", "pursue", "lasso_path", "_select_several"}
    assert len({pid for pid, _ in seen}) == 2
    assert run.pid not in {pid for pid, _ in seen}
    with closing(sqlite3.connect(tmp_path / "out" / "results.db")) as store:
        messages = store.execute("SELECT status, message FROM rows WHERE message != ''").fetchall()
    assert len(messages) == 8
    assert all(status == "error" and "Typing" in message for status, message in messages)
    again = start(tmp_path, "niht,sp")
    assert again.communicate() and again.returncode == 0
    assert compiled(tmp_path) == seen


@pytest.mark.skipif(os.name != "posix", reason="asks by signals")
def test_compiling_can_be_interrupted(tmp_path):
    """No worker is left, and what the killed ones held locked is free for the next run."""
    run = start(tmp_path, "niht,sp")
    while not (tmp_path / "log").exists():
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.02)
    run.send_signal(2)
    run.communicate(timeout=60)  # workers hold its pipe: it closes when they are gone
    assert run.returncode == 130
    again = start(tmp_path, "niht")
    said, _ = again.communicate()
    assert again.returncode == 0, said


def test_what_is_compiled_is_said_by_name(monkeypatch):
    """In plain lines, where no line can be redrawn."""
    monkeypatch.setattr(progress, "_FIRST", 0.0)
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    told = io.StringIO()
    chosen = choose_algorithms("thresholding,pinv")
    engine.compile_all(chosen, 1, (), Console(file=told, width=200))
    assert "pinv (1 of 2 done)" in told.getvalue()


def test_the_orthogonal_solve_is_that_of_numpy():
    """Bits of a singular value apart, for more atoms than measurements and for equal atoms, too."""
    rng = np.random.default_rng(0)
    for trial in range(200):
        m, n = int(rng.integers(1, 20)), 30
        k = int(rng.integers(1, n + 1))
        atoms = rng.standard_normal((n, m))
        if trial % 2:
            atoms[::2] = atoms[0]
        y, found = rng.standard_normal(m), np.empty(k)
        support = rng.permutation(n)[:k]
        orthogonal_least_squares(atoms, y, support, k, found)
        expected = np.linalg.lstsq(atoms[support].T, y, rcond=EPSILON * max(m, k))[0]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_sort_sorts_the_beginning():
    rng = np.random.default_rng(0)
    for size in range(30):
        indices = rng.integers(0, 20, 30)
        expected = np.r_[np.sort(indices[:size]), indices[size:]]
        sort(indices, size)
        assert (indices == expected).all()
