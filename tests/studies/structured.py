"""Every algorithm, twin and peer on sixteen structured dictionaries, dtypes and layouts.

    python tests/studies/structured.py [--trials 10] [-a NAMES] [--markdown]

Three non-zeros uniform in ±[1, 2], no noise. Prints the supports recovered in so many trials (of
repeated columns, either copy will do), the statuses, and every fault:

raised      anything but an answer
missed      a miss where no stated reason (`REASONS`) lets it, or where the three largest |aᵀy|
            are the support
claimed     "converged" of message passing, although the residual is not zero
layout      another support for the same numbers in another dtype, order, stride or byte order

Ends with status 1 if there is one.
"""

import argparse
import collections
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from structured import DICTIONARIES, draw

import sparsebench
from sparsebench import batched

K = 3
#: Where a method may miss, and why.
REASONS = {
    "three bases": "192 atoms in 64 dimensions; the constant is an atom of two of the bases",
    "pulses": "neighbours correlate at .94 to .97",
    "repeated": "every column comes twice: no gradient tells the two apart",
    "scaled": "norms from 1e-6 to 1e6: the small ones are below the rounding of the large ones",
    "non-negative": "two columns correlate at .75 in the mean",
    "rank deficient": "64 atoms in 24 dimensions: coherence up to .8",
    "partial circulant": "48 of 96 rows of random signs: coherence up to .6",
}
#: Message passing is derived for i.i.d. entries of mean zero; of two columns that overlap, one step
#: of thresholding takes the one beside a large entry for a smaller entry.
UNSUITED = {("amp", "sparse binary"), ("thresholding", "sparse binary")}


def right(dictionary, found, x):
    """Whether a support is that of x; of repeated columns, either copy."""
    found, true = np.flatnonzero(found), np.flatnonzero(x)
    if dictionary == "repeated":
        return set(found // 2) == set(true // 2)
    return np.array_equal(found, true)


def solvers(names):
    """Yield (label, name, solve) with solve(As, ys) -> results or exceptions."""
    for entry in sparsebench.algorithms():
        if not entry.ready or not entry.takes_k or entry.name in ("oracle", "exhaustive"):
            continue
        if names and entry.name not in names:
            continue
        yield (
            entry.name,
            entry.name,
            lambda As, ys, name=entry.name: [
                attempt(sparsebench.solve, name, A, y, K) for A, y in zip(As, ys, strict=True)
            ],
        )
        for precision in ("float64", "float32") if entry.twin else ():
            label = f"{entry.name} ({precision} twin)"
            yield (
                label,
                entry.name,
                lambda As, ys, name=entry.name, precision=precision: [
                    *(
                        attempt(
                            batched.solve, name, np.stack(As), np.stack(ys), K, precision=precision
                        )
                    )
                ],
            )


def attempt(function, *arguments, **options):
    try:
        return function(*arguments, **options)
    except Exception as error:
        return error


def layouts(A, y):
    """Yield (name, A, y) with the same numbers."""
    A, y = A.astype(np.float32).astype(float), y.astype(np.float32).astype(float)
    yield "plain", A, y
    yield "float32", A.astype(np.float32), y.astype(np.float32)
    yield "Fortran", np.asfortranarray(A), y
    wide = np.zeros((2 * len(A), A.shape[1] * 3))
    wide[::2, ::3] = A
    yield "strided", wide[::2, ::3], np.repeat(y, 2)[::2]
    yield "reversed", A[::-1, ::-1][::-1, ::-1].copy()[::-1][::-1], y[::-1][::-1]
    yield "big-endian", A.astype(">f8"), y.astype(">f8")
    yield "list", A.tolist(), y.tolist()
    frozen = A.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen, y
    if (A == np.rint(A)).all():
        yield "int16", A.astype(np.int16), y


def sweep(names, trials):
    """Return (recovered, statuses, faults) of every (label, dictionary)."""
    recovered, statuses, faults = {}, collections.defaultdict(collections.Counter), []
    for label, name, solve in solvers(names):
        for dictionary in DICTIONARIES:
            drawn = [draw(dictionary, trial, K) for trial in range(trials)]
            results = solve([A for A, _, _ in drawn], [y for _, _, y in drawn])
            count = 0
            for trial, ((A, x, y), result) in enumerate(zip(drawn, results, strict=True)):
                where = f"{label} on {dictionary}, trial {trial}"
                if isinstance(result, Exception):
                    faults.append(f"raised: {where}: {type(result).__name__}: {result}")
                    continue
                statuses[label][str(result.status)] += 1
                hit = right(dictionary, result.x, x)
                count += hit
                left = np.linalg.norm(y - A @ result.x) / np.linalg.norm(y)
                largest = np.argsort(-np.abs(A.T @ y), kind="stable")[:K]
                easy = set(largest) == set(np.flatnonzero(x))
                excused = dictionary in REASONS or (name, dictionary) in UNSUITED
                if not hit and (not excused or (easy and (name, dictionary) not in UNSUITED)):
                    faults.append(f"missed: {where}: {result.status}, residual {left:.1e}")
                if name == "amp" and result.status == "converged" and left > 1e-4:
                    faults.append(f"claimed: {where}: residual {left:.1e}")
            recovered[label, dictionary] = count
            if label == name:
                faults += different(label, dictionary)
    return recovered, statuses, faults


def different(name, dictionary):
    A, _, y = draw(dictionary, 0, K)
    first, faults = None, []
    for layout, other_A, other_y in layouts(A, y):
        result = attempt(sparsebench.solve, name, other_A, other_y, K)
        if isinstance(result, Exception):
            faults.append(f"raised: {name} on {dictionary}, {layout}: {result}")
        elif first is None:
            first = result.x
        elif not np.array_equal(result.x, first):
            faults.append(f"layout: {name} on {dictionary}, {layout}: other numbers")
    return faults


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("-a", "--algorithms", default="")
    parser.add_argument("--markdown", action="store_true")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    names = set(filter(None, chosen.algorithms.split(",")))
    recovered, statuses, faults = sweep(names, chosen.trials)
    labels = list(dict.fromkeys(label for label, _ in recovered))
    if chosen.markdown:
        print("| |", " | ".join(DICTIONARIES), "|")
        print("|---" * (len(DICTIONARIES) + 1) + "|")
    for label in labels:
        cells = [recovered[label, dictionary] for dictionary in DICTIONARIES]
        if chosen.markdown:
            kernel = label.partition(" (")[0]
            if label != kernel and cells == [recovered[kernel, d] for d in DICTIONARIES]:
                continue  # a twin that does as its kernel
            print(f"| {label} |", " | ".join(str(c) for c in cells), "|")
        else:
            said = ", ".join(f"{n} {s}" for s, n in statuses[label].most_common())
            print(f"{label:26s}", *(f"{c:3d}" for c in cells), f"  {said}")
    print(f"{chosen.trials} trials each; {len(faults)} faults", file=sys.stderr)
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
