"""The rows of a run beside other work, and of one that is stopped, against those of a run alone.

    python tests/studies/busy_host.py [--busy 8] [--stop 10] [--jobs 2]

A plug-in uses 1.0 s of CPU time a solve, the limit is 2.5 s, and there are 20 solves: once alone,
once beside so many processes that only compute (for a minute at most), and once with the whole run
stopped for so many seconds in the middle. Ends with status 1 unless all three have the same rows.
"""

import argparse
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

PLUGIN = """
import time
import numpy as np
def second(A, y, k):
    until = time.process_time() + 1.0
    while time.process_time() < until:
        pass
    return np.where(np.arange(A.shape[1]) < k, 1.0, 0.0)
"""
BUSY = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


def rows_of(folder):
    """Return what is stored so far, but for the seconds."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(folder / "results.db")) as db:
        columns = "trial, k, support_distance, exact, relative_error, status, message"
        return db.execute(f"SELECT {columns} FROM rows ORDER BY trial, k").fetchall()
    return []


def solve(folder, jobs, stop=0.0):
    """Run the 20 solves in `folder`, stopped for `stop` seconds half-way; return the seconds."""
    (folder / "second.py").write_text(PLUGIN)
    command = [sys.executable, "-m", "sparsebench", "support-distance", "-a", "second"]
    command += ["--plugin", str(folder / "second.py"), "-o", str(folder), "-j", str(jobs)]
    command += ["--n", "32", "--m", "16", "--ks", "2", "--trials", "20", "-p", "gaussian"]
    begin = time.perf_counter()
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [*command, "--time-limit", "2.5"], stdout=log, stderr=log, start_new_session=True
        )
        while stop and process.poll() is None and len(rows_of(folder)) < 10:
            time.sleep(0.2)
        if stop:
            os.killpg(process.pid, signal.SIGSTOP)
            time.sleep(stop)
            os.killpg(process.pid, signal.SIGCONT)
        if process.wait() != 0:
            raise SystemExit((folder / "log").read_text())
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, default=8)
    parser.add_argument("--stop", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=2)
    settings = parser.parse_args()
    found = {}
    for how in ("alone", "busy", "stopped"):
        folder = Path(tempfile.mkdtemp())
        count = settings.busy if how == "busy" else 0
        others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
        try:
            seconds = solve(folder, settings.jobs, settings.stop if how == "stopped" else 0.0)
            found[how] = rows_of(folder)
        finally:
            for other in others:
                other.kill()
            shutil.rmtree(folder)
        statuses = [row[5] for row in found[how]]
        counts = ", ".join(f"{statuses.count(one)} {one}" for one in sorted(set(statuses)))
        distance = sum(row[2] for row in found[how]) / len(found[how])
        print(f"{how}: {counts}; mean distance {distance:.3f}; {seconds:.0f} s", flush=True)
    same = found["alone"] == found["busy"] == found["stopped"] and len(found["alone"]) == 20
    print("the same 20 rows" if same else "the rows differ")
    return not same


if __name__ == "__main__":
    sys.exit(main())
