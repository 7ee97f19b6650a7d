"""A diagram with -j 2 and with --cluster local:2, in turns: wall and CPU time of the whole command.

    python tests/studies/cluster_overhead.py [--rounds 3] [--csv figures/cluster-overhead.csv]

A part of the default diagram at its size, of a few thousand rows. CPU time is that of all processes
of the command, starting them included: other work on the machine lengthens only the wall time. The
rows are compared.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pandas as pd

from sparsebench.experiments.provenance import stated

TICK = os.sysconf("SC_CLK_TCK")
WORDS = ["--algorithms", "omp,htp,sp,els+sea,niht", "--ratios", "0.2,0.4,0.6", "--max-trials", "60"]


def whole(how, folder):
    """Return the rows, and the seconds on the wall and of all processes of one command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sparsebench", "phase-transition", *WORDS, *how, "-o", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    begin, spent = time.perf_counter(), {}
    while process.poll() is None:
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[3]) == process.pid:  # its session
                spent[place.name] = (int(words[11]) + int(words[12])) / TICK
        time.sleep(0.1)
    wall = time.perf_counter() - begin
    with closing(sqlite3.connect(folder / "results.db")) as db:
        columns = "m, trial, algorithms.label, k, support_distance, exact, relative_error, status"
        join = "rows JOIN algorithms ON algorithms.id = rows.algorithm"
        rows = set(db.execute(f"SELECT {columns} FROM {join}").fetchall())
    return rows, wall, sum(spent.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as place:
        for number in range(given.rounds):
            made = []
            for name, how in (("-j 2", ["-j", "2"]), ("local:2", ["--cluster", "local:2"])):
                rows, wall, spent = whole(how, Path(place, f"{number}-{name}"))
                made.append(rows)
                found.append([number, name, len(rows), f"{wall:.1f}", f"{spent:.1f}"])
                print(*found[-1], flush=True)
            if made[0] != made[1]:
                raise SystemExit("rows differ")
    if given.csv:
        table = pd.DataFrame(found, columns=["round", "how", "rows", "wall", "cpu"])
        recipe = {"experiment": "cluster overhead", "words": WORDS, "rounds": given.rounds}
        command = f"python tests/studies/cluster_overhead.py --rounds {given.rounds}"
        stated(table, recipe, command).to_csv(given.csv, index=False)


if __name__ == "__main__":
    main()
