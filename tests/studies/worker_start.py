"""What a worker costs, in seconds of CPU and in memory: after its start, a block and a run.

    python tests/studies/worker_start.py [CHECKOUT ...] [--rounds 5]

A pool of one worker is started as a run does, in each checkout of the repository (by default this
one), which take turns. Three moments are looked at: the worker has done a block without a solve,
so that all is imported; one block of the quick preset, so that its kernels are loaded; as many
solves as that preset has (5,760). Memory in MB: resident (RSS), its own (private), and with each
shared page divided among those that share it (PSS). Medians of the rounds; Linux only.
"""

import argparse
import inspect
import json
import multiprocessing
import os
import subprocess
import sys
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from statistics import median

MOMENTS = ("start", "block", "run")
ALGORITHMS = "omp,iht,niht,htp,nhtp,sea,omp+sea,homotopy"  # of the quick preset


def used(pid):
    """Return the seconds of CPU and the megabytes that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    size = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {
        "cpu": (int(fields[11]) + int(fields[12])) / ticks,
        "rss": size["Rss"],
        "private": size["Private_Clean"] + size["Private_Dirty"],
        "pss": size["Pss"],
    }


@contextmanager
def one_worker(runner):
    """Give a function that solves blocks in a worker, started as a run does, and tells its id."""
    try:
        try:
            from sparsebench.run.pool import _spread
        except ImportError:  # commits before it had a room
            from sparsebench.pool import _spread
    except ImportError:  # those before there was a pool
        from joblib.executor import get_memmapping_executor

        solve = getattr(runner, "solve_one", None) or runner._solve_one
        names = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMBA", "NUMEXPR")
        pool = get_memmapping_executor(1, env={f"{name}_NUM_THREADS": "1" for name in names})

        def solve_all(blocks):
            for call in [pool.submit(solve, 0, block, (), os.getpid()) for block in blocks]:
                call.result()
            (pid,) = pool._processes
            return pid
    else:

        def solve_all(blocks):
            deque(_spread(runner.solve_one, [(block, ()) for block in blocks], 1), 0)
            (worker,) = multiprocessing.active_children()
            return worker.pid

    yield solve_all


def look():
    """Start a worker in this process's checkout and print what it has used at each moment."""
    from rich.console import Console

    try:
        from sparsebench.run import engine as runner
    except ImportError:  # commits before it had a room
        from sparsebench import runner
    from sparsebench.registry import choose_algorithms, choose_problem

    problem, algorithms = choose_problem("gaussian"), choose_algorithms([ALGORITHMS])
    compile_all = getattr(runner, "compile_all", None) or runner._compile_all
    in_workers = "workers" in inspect.signature(compile_all).parameters
    compile_all(algorithms, *((1, ()) if in_workers else ()), Console(quiet=True))

    def block(n, m, trial, ks):
        pairs = tuple((chosen, k) for chosen in algorithms for k in ks)
        return runner.Block(problem, 0, n, m, trial, pairs, 60.0)

    run = [
        block(128, m, trial, (m // 8, m // 5, m // 4, m // 3))
        for m in (26, 45, 64, 83, 102)
        for trial in range(36)
    ]
    moments = ([block(8, 4, 0, ())], [block(128, 64, 0, (5,))], run)
    found = {}
    with one_worker(runner) as solve_all:
        for moment, blocks in zip(MOMENTS, moments, strict=True):
            found[moment] = used(solve_all(blocks))
    print(json.dumps(found))


def main():
    """Print a table: checkouts, moments, medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkouts", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--look", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.look:
        look()
        return
    checkouts = given.checkouts or [Path(__file__).parents[2]]
    seen = {checkout: [] for checkout in checkouts}
    for _ in range(given.rounds):
        for checkout in checkouts:
            environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as when installed
            command = [sys.executable, str(Path(__file__).resolve()), "--look"]
            answer = subprocess.run(
                command, env=environment, cwd=checkout, check=True, stdout=subprocess.PIPE
            )
            seen[checkout].append(json.loads(answer.stdout))
    for checkout, rounds in seen.items():
        for moment in MOMENTS:
            values = {
                name: median(answer[moment][name] for answer in rounds)
                for name in rounds[0][moment]
            }
            cells = [f"{name} {value:7.2f}" for name, value in values.items()]
            print(f"{checkout.resolve().name:12} {moment:6}", *cells, sep="  ")


if __name__ == "__main__":
    main()
