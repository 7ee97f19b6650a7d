"""All that surrounds a solve: instances, blocks of the runner, the store, figures, the start."""

import io
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

import sparsebench


def _found(name, *homes):
    """Return what has this name in the first of these modules that is there: older commits, too."""
    for home in homes:
        try:
            return getattr(import_module(f"sparsebench.{home}"), name)
        except ModuleNotFoundError:
            continue
    raise ImportError(name)


class Draw:
    """Seconds to draw a fresh instance."""

    params = [["gaussian", "deconvolution"], [500, 2000]]
    param_names = ["problem", "n"]
    version = "1"

    def setup(self, problem, n):
        self.m = n if problem == "deconvolution" else n // 2
        self.trial = 0
        self.time_draw(problem, n)

    def time_draw(self, problem, n):
        self.trial += 1
        sparsebench.draw(problem, m=self.m, n=n, k=20, trial=self.trial)


class Runner:
    """A block of the runner: one dictionary, two algorithms, ten sparsities."""

    version = "1"

    def setup(self):
        from sparsebench.registry import choose_algorithms, choose_problem

        solve_block = _found("solve_block", "run.worker", "worker", "runner")
        Block = _found("Block", "run.rows", "store")

        problem = choose_problem("gaussian")
        pairs = tuple((a, k) for a in choose_algorithms(["omp,htp"]) for k in range(5, 55, 5))
        self.solve, self.trial = solve_block, 0
        self.block = lambda trial: Block(problem, 0, 500, 250, trial, pairs, 60.0)
        self.solve(self.block(0))

    def time_block(self):
        self.trial += 1
        self.solve(self.block(self.trial))


class Run:
    """A whole run: plan, instances, solves, store; 20,000 rows of two fast algorithms."""

    version = "1"
    unit = "s / 1,000 rows"
    timeout = 120

    def setup(self):
        from rich.console import Console

        from sparsebench.experiments.support_distance import SupportDistance
        from sparsebench.registry import choose_algorithms, choose_problem

        run = _found("run", "run.engine", "runner")
        self.run, self.console = run, Console(file=io.StringIO())
        self.experiment = lambda trials: SupportDistance(
            algorithms=choose_algorithms(["thresholding,omp"]),
            problem=choose_problem("gaussian"),
            n=100,
            m=50,
            ks=list(range(1, 21)),
            trials=trials,
            seed=0,
            time_limit=60.0,
        )
        self._run(1)

    def _run(self, trials):
        Store = _found("Store", "run.store", "store")

        with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as store:
            self.run(
                self.experiment(trials),
                store,
                workers=1,
                command="asv",
                environment={},
                console=self.console,
            )

    def track_seconds(self):
        start = time.perf_counter()
        self._run(500)
        return (time.perf_counter() - start) / 20


class Reading:
    """Reading a store of a million rows, and the whole command that writes them to a file."""

    version = "1"
    timeout = 600
    number, repeat, rounds, warmup_time = 1, 2, 1, 0

    def setup_cache(self):
        from sparsebench.registry import choose_algorithms, choose_problem

        solve_block = _found("solve_block", "run.worker", "worker", "runner")
        Block, Store = _found("Block", "run.rows", "store"), _found("Store", "run.store", "store")

        problem = choose_problem("gaussian")
        pairs = tuple((a, k) for a in choose_algorithms(["omp,htp"]) for k in range(1, 51))
        some = solve_block(Block(problem, 0, 100, 50, 0, pairs, 60.0)).outcomes
        folder = Path(tempfile.mkdtemp())
        with Store(folder) as store:
            run = store.start_run("asv", {}, {})
            for trial in range(10_000):
                store.add(run, Block(problem, 0, 100, 50, trial, pairs, 60.0), some)
        return folder

    def time_frame(self, folder):
        Store = _found("Store", "run.store", "store")

        with Store(folder, writable=False) as store:
            store.frame()

    def peakmem_frame(self, folder):
        self.time_frame(folder)

    def _export(self, folder, name):
        command = [sys.executable, "-m", "sparsebench", "export", name, "--out", "."]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    def time_export_csv(self, folder):
        self._export(folder, "rows.csv")

    def time_export_parquet(self, folder):
        self._export(folder, "rows.parquet")


class Figure:
    """Drawing a diagram of sixteen algorithms at nineteen ratios."""

    version = "1"
    timeout = 120

    def setup(self):
        families = ["greedy", "thresholding", "local search", "convex"]
        ms = np.arange(25, 500, 25)
        curves = [
            pd.DataFrame({"m": ms, "estimate": (0.1 + 0.02 * i) * ms}).assign(
                algorithm=f"algorithm {i}", family=families[i % 4]
            )
            for i in range(16)
        ]
        points = pd.concat(curves).assign(n=500, told="k", level=0.95)
        self.points = points.assign(lower=points.estimate - 2, upper=points.estimate + 2)
        self.folder = Path(tempfile.mkdtemp())

    def time_phase_transition(self):
        phase_transition = _found("phase_transition", "report.diagrams", "report.plots", "plots")

        phase_transition(self.points, 0.95, "footer", self.folder, "figure")


# `python -m sparsebench`, without its output.
_COMMAND = """
import contextlib, io, runpy, sys
sys.argv = ["sparsebench", *{words!r}]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    runpy.run_module("sparsebench", run_name="__main__", alter_sys=True)
"""


class Import:
    """Seconds of `import sparsebench` in a fresh process, and of a help, with what that imports."""

    version = "1"

    def timeraw_import(self):
        return "import sparsebench"

    def timeraw_import_solvers(self):
        return "import sparsebench.solvers"

    def timeraw_help(self):
        return _COMMAND.format(words=["--help"])

    def timeraw_help_of_a_command(self):
        return _COMMAND.format(words=["phase-transition", "--help"])

    def timeraw_list(self):
        return _COMMAND.format(words=["list"])


class Rerun:
    """The command of a quick diagram that is finished: nothing is left to compute."""

    version = "1"
    timeout = 600
    number, repeat, rounds, warmup_time = 1, 3, 1, 0

    def setup_cache(self):
        folder = tempfile.mkdtemp()
        self.time_command(folder)
        return folder

    def time_command(self, folder):
        words = "-m", "sparsebench", "phase-transition", "--preset", "quick", "-o", folder
        subprocess.run([sys.executable, *words], check=True, capture_output=True)


class FirstCompile:
    """Compiling the kernels of the quick preset, as its first run does."""

    version = "1"
    unit = "s"
    timeout = 600
    number = repeat = rounds = 1

    def track_seconds(self):
        """Of a fresh process with an empty cache."""
        code = (
            "from inspect import signature\n"
            "from importlib import import_module\n"
            "from rich.console import Console\n"
            "def found(name, *homes):\n"
            "    for home in homes:\n"
            "        try:\n"
            "            return getattr(import_module('sparsebench.' + home), name)\n"
            "        except (ModuleNotFoundError, AttributeError):\n"
            "            pass\n"
            "import sparsebench.solvers\n"
            "from sparsebench.registry import choose_algorithms\n"
            "compile_all = found('compile_all', 'run.engine', 'runner')\n"
            "compile_all = compile_all or found('_compile_all', 'runner')\n"
            "chosen = choose_algorithms('omp,iht,niht,htp,nhtp,sea,omp+sea,homotopy')\n"
            "more = (2, ()) if 'workers' in signature(compile_all).parameters else ()\n"
            "print(compile_all(chosen, *more, Console(quiet=True)))\n"
        )
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run(
                [sys.executable, "-c", code],
                env=os.environ | {"NUMBA_CACHE_DIR": folder},
                capture_output=True,
                text=True,
                check=True,
            )
        return float(ended.stdout)
