"""One signal on a large dictionary: seconds and peak memory of each algorithm, one process each.

    python tests/studies/large.py [--m 2000 --n 20000 --k 50] [--against FOLDER] [--rounds 3]
    python tests/studies/large.py --ways --signals 100 --m 1000 --n 8000 --k 30 --algorithms htp,iht

A Gaussian dictionary with unit columns, drawn by NumPy; `solve` is given the array itself. With
--against, another checkout is measured beside this one, round by round. The kernels are compiled,
and two tiny problems solved, before the clock starts; memory is the peak of the process beyond what
it held with A and these kernels in it. One thread. With --ways the rule that chooses between
images through A and the Gram matrix is measured beside either of them alone.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

NAMES = (
    "omp,ols,sp,cosamp,htp,nhtp,iht,niht,cgiht,iht-l0,sea,homotopy,bp,fista,ista,amp,sbl,"
    "thresholding,splicing,ompr,els,sbr,htp-restarts,iht-restarts,pinv,ridge"
)
HERE = Path(__file__).resolve().parent.parent.parent

PROCESS = """
import json, resource, sys, time
import numpy as np
import sparsebench

name, m, n, k, signals, order = sys.argv[1], *map(int, sys.argv[2:6]), sys.argv[6]
way = sys.argv[7]
if way == "never":
    from sparsebench.kernels.rental import Rental
    Rental.whole_pays = lambda self, more, signals: False
if name == "scikit-learn":
    from sklearn.linear_model import orthogonal_mp

    def solve(A, Y, k):
        return orthogonal_mp(A, Y, n_nonzero_coefs=k)
else:
    def solve(A, Y, k):
        if way == "always":
            A = sparsebench.Dictionary(A)
            A.gram
        return sparsebench.solve(name, A, Y, k)

def instance(m, n, k, count):
    draw = np.random.default_rng(0)
    A = draw.standard_normal((n, m)) if order == "F" else draw.standard_normal((m, n))
    A = A.T if order == "F" else A
    for first in range(0, n, 256):
        part = A[:, first : first + 256]
        part /= np.sqrt(np.einsum("ij,ij->j", part, part))
    Y, supports = np.empty((m, count)), []
    for b in range(count):
        support = np.sort(draw.choice(n, k, replace=False))
        values = draw.uniform(1, 2, k) * draw.choice([-1.0, 1.0], k)
        Y[:, b] = A[:, support] @ values
        supports.append(support)
    return A, Y[:, 0] if count == 1 else Y, supports

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

# Two tiny problems: what is compiled for small dictionaries, and for large ones.
for sizes in ((40, 100), (64, 2400)):
    A, Y, _ = instance(*sizes, 2, signals)
    solve(A, Y, 2)
A, Y, supports = instance(m, n, k, signals)
before, begin = peak(), time.perf_counter()
try:
    answer = solve(A, Y, k)
except Exception as error:
    print(json.dumps({"error": " ".join(str(error).split())[:300]}))
    raise SystemExit
seconds = time.perf_counter() - begin
x = answer if name == "scikit-learn" else answer.x
columns = x.reshape(n, -1).T
right = sum(np.array_equal(np.flatnonzero(c), s) for c, s in zip(columns, supports))
count = None if name == "scikit-learn" or answer.n_iter is None else np.max(answer.n_iter)
print(json.dumps({"seconds": seconds, "bytes": peak() - before,
                  "iterations": count if count is None else int(count), "right": right}))
"""


def measure(folder, *arguments):
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "PYTHONPATH": str(folder)}
    process = subprocess.run(
        [sys.executable, "-c", PROCESS, *map(str, arguments)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    try:
        return json.loads(process.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {
            "error": (process.stderr.strip().splitlines() or [f"status {process.returncode}"])[-1]
        }


def told(found):
    """Return the median of some rounds in words."""
    bad = [one["error"] for one in found if "error" in one]
    if bad:
        return bad[0][:60]
    middle = sorted(found, key=lambda one: one["seconds"])[len(found) // 2]
    return (
        f"{middle['seconds']:8.2f} s {middle['bytes'] / 2**20:7.0f} MiB "
        f"{middle['iterations']!s:>5} iterations, {middle['right']} right"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--algorithms", default=NAMES)
    for size, usual in (("m", 2000), ("n", 20_000), ("k", 50), ("signals", 1), ("rounds", 3)):
        parser.add_argument(f"--{size}", type=int, default=usual)
    parser.add_argument("--order", choices="CF", default="C")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--ways", action="store_true")
    given = parser.parse_args()
    sizes = given.m, given.n, given.k, given.signals, given.order
    folders = {"here": (HERE, "rule")}
    if given.against:
        folders["there"] = given.against.resolve(), "rule"
    if given.ways:
        folders |= {"always": (HERE, "always"), "never": (HERE, "never")}
    print(
        f"m = {given.m}, n = {given.n}, k = {given.k}, signals = {given.signals}, A in order "
        f"{given.order}: {8 * given.m * given.n / 2**20:.0f} MiB"
    )
    for name in given.algorithms.split(","):
        found = {where: [] for where in folders}
        for _ in range(given.rounds):
            for where, (folder, way) in folders.items():
                found[where].append(measure(folder, name, *sizes, way))
        for where in folders:
            print(f"{name:14} {where:6} {told(found[where])}", flush=True)


if __name__ == "__main__":
    main()
