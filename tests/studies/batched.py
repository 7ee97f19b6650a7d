"""The torch twins against the compiled kernels: problems a second, and agreement of supports.

    python tests/studies/batched.py speed [--n 500] [--m 250] [--k 25] [--device torch-cpu]
        [--precision float64] [-a NAMES] [--most 100000] [--seconds 20] [--own] [--profile]
    python tests/studies/batched.py agreement [--gaussian 1000] [--spikes 200] [-a NAMES]
        [--device torch-cpu] [--precision float64]

`speed` solves B = 1, 10, 100, ... Gaussian problems at once, up to `--most`, to the memory at hand
or until one batch takes `--seconds`. Derived quantities (Gram matrix, norms) are made before, for
both. The kernel runs on one core; seconds of a processor are those of this process, so that other
work on the machine counts little. With `--own` every problem has a dictionary of its own.
`--profile` says where the time went: the largest operations of the last batch.

`agreement` compares supports on Gaussian instances (n = 500, m = 250, k = 10 .. 70) and on
deconvolution (m = n = 500, k = 20), and lists each difference with both relative residuals:

same residual   the residuals agree to 1e-9
unstable        the kernel itself leaves its support when y moves by 1e-13 (float32: by 1e-7) and
                the rows change places
DIFFERENT       neither

A table follows of how often supports differ by the condition number of the kernel's support.
"""

import argparse
import os
import sys
import time
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import pandas as pd
import torch

import sparsebench
from sparsebench.batched.problems import solve_problems, stack
from sparsebench.registry import choose_algorithms

torch.set_num_threads(1)
CONDITIONS = (1e1, 1e2, 1e4, 1e8, np.inf)


def stopwatch(device):
    """Return a function that tells the seconds since: wall time on a card, otherwise this process's
    own, so that other work on the machine counts little.
    """
    if not device.startswith("cuda"):
        begin = time.process_time()
        return lambda: time.process_time() - begin
    torch.cuda.synchronize()
    begin = time.perf_counter()

    def seconds():
        torch.cuda.synchronize()
        return time.perf_counter() - begin

    return seconds


def twin(chosen, held, owner, signals, ks, args):
    """Return results and seconds."""
    placed = chosen.on(args.device, args.precision)
    clock = stopwatch(args.device)
    found = solve_problems(placed, held, owner, signals, ks, args.device)
    return found, clock()


def kernel(chosen, dictionaries, owner, signals, ks, seconds=np.inf):
    """Return results and seconds of as many problems as fit into `seconds`."""
    chosen.solve(dictionaries[0], signals[0], int(ks[0]))  # compiles
    clock, found = stopwatch("cpu"), []
    for which, y, k in zip(owner, signals, ks, strict=True):
        found.append(chosen.solve(dictionaries[which], y, int(k)))
        if clock() > seconds:
            break
    return found, clock()


def problems(count, n, m, k, own):
    """Return (dictionaries, owner, signals) of Gaussian problems."""
    rng = np.random.default_rng(0)
    dictionaries = []
    for _ in range(count if own else 1):
        A = rng.standard_normal((m, n))
        dictionaries.append(sparsebench.Dictionary(A / np.linalg.norm(A, axis=0)))
    owner = np.arange(count) if own else np.zeros(count, dtype=int)
    signals = np.empty((count, m))
    for b in range(count):
        support = rng.choice(n, k, replace=False)
        x = rng.uniform(1, 2, k) * rng.choice([-1, 1], k)
        signals[b] = x @ dictionaries[owner[b]].atoms[support]
    return dictionaries, owner, signals


def speed(args):
    for chosen in choose_algorithms(args.algorithms):
        shares = chosen.shares
        count = 1
        while count <= args.most:
            dictionaries, owner, signals = problems(count, args.n, args.m, args.k, args.own)
            ks = np.full(count, args.k)
            for dictionary in dictionaries:
                for quantity in shares:
                    getattr(dictionary, quantity)
            held = stack(dictionaries, args.device, args.precision)
            if "gram" in shares:
                _ = held.gram
            if count == 1:
                twin(chosen, held, owner, signals, ks, args)  # warms up
            found, seconds = twin(chosen, held, owner, signals, ks, args)
            theirs, kernel_seconds = kernel(
                chosen, dictionaries, owner, signals, ks, min(args.seconds, 5.0)
            )
            # The best of as many rounds as half a second allows: other work only slows down.
            for _ in range(min(int(0.5 / seconds), 20)):
                seconds = min(seconds, twin(chosen, held, owner, signals, ks, args)[1])
            for _ in range(min(int(0.5 / kernel_seconds), 20)):
                again = kernel(chosen, dictionaries, owner, signals, ks)[1]
                kernel_seconds = min(kernel_seconds, again)
            rate, kernel_rate = count / seconds, len(theirs) / kernel_seconds
            same = sum(
                np.array_equal(a.support, b.support) for a, b in zip(found, theirs, strict=False)
            )
            print(
                f"{chosen.label:12} n {args.n:5} m {args.m:5} k {args.k:4} B {count:7}: "
                f"{args.device} {rate:10,.1f}/s, kernel {kernel_rate:10,.1f}/s, ratio "
                f"{rate / kernel_rate:6.2f}, same support {same} of {len(theirs)}",
                flush=True,
            )
            if seconds > args.seconds:
                break
            count *= 10
        if args.profile:
            profile(chosen, held, owner, signals, ks, args)


def profile(chosen, held, owner, signals, ks, args):
    """Print the operations that took most of the time."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if args.device.startswith("cuda"):
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as recorded:
        twin(chosen, held, owner, signals, ks, args)
    averages = recorded.key_averages()
    spent = {
        e.key: e.self_device_time_total if len(kinds) > 1 else e.self_cpu_time_total
        for e in averages
    }
    total = sum(spent.values())
    calls = sum(e.count for e in averages if e.key.startswith("aten::"))
    largest = sorted(spent, key=spent.__getitem__, reverse=True)[:8]
    shares = ", ".join(f"{key} {100 * spent[key] / total:.0f} %" for key in largest)
    print(f"{'':12} {calls:,} operations: {shares}", flush=True)


def residual(instance, x):
    return float(np.linalg.norm(instance.y - instance.A @ x) / np.linalg.norm(instance.y))


def leaves(chosen, instance, k, support, amount):
    """Whether the kernel leaves its support when y moves a little and the rows change places."""
    rng = np.random.default_rng(0)
    for _ in range(8):
        noise = rng.standard_normal(instance.y.shape)
        moved = instance.y + amount * np.linalg.norm(instance.y) * noise / np.linalg.norm(noise)
        order = rng.permutation(moved.size)
        dictionary = sparsebench.Dictionary(instance.A[order])
        other = chosen.solve(dictionary, moved[order], k)
        if not np.array_equal(other.support, support):
            return True
    return False


def agreement(args):
    rows = []
    amount = 1e-13 if args.precision == "float64" else 1e-7
    for problem, trials, n, m, ks in (
        ("gaussian", args.gaussian, 500, 250, range(10, 71, 10)),
        ("deconvolution", args.spikes, 500, 500, (20,)),
        ("fourier", args.fourier, 500, 250, range(10, 71, 10)),
        ("steering", args.steering, 256, 64, range(2, 11, 2)),
    ):
        for first in range(0, trials, 50):
            instances = [
                sparsebench.draw(problem, n=n, m=m, k=ks[t % len(ks)], trial=t, seed=1)
                for t in range(first, min(first + 50, trials))
            ]
            fixed = instances[0].dictionary is instances[-1].dictionary
            dictionaries = [i.dictionary for i in (instances[:1] if fixed else instances)]
            owner = np.zeros(len(instances), int) if fixed else np.arange(len(instances))
            signals = np.stack([i.y for i in instances])
            sizes = np.array([i.support.size for i in instances])
            held = stack(dictionaries, args.device, args.precision)
            for chosen in choose_algorithms(args.algorithms):
                found, _ = twin(chosen, held, owner, signals, sizes, args)
                theirs, _ = kernel(chosen, dictionaries, owner, signals, sizes)
                for instance, k, a, b in zip(instances, sizes, found, theirs, strict=True):
                    same = np.array_equal(a.support, b.support) or (
                        a.status == b.status == "diverged"
                    )
                    atoms = instance.A[:, b.support] if np.isfinite(b.x).all() else np.ones((1, 1))
                    row = {
                        "problem": problem,
                        "algorithm": chosen.label,
                        "condition": np.linalg.cond(atoms) if b.support.size else 1.0,
                        "verdict": "equal",
                        "status": f"{b.status}",
                    }
                    if not same:
                        ours, kernels = residual(instance, a.x), residual(instance, b.x)
                        if abs(ours - kernels) <= 1e-9:
                            row["verdict"] = "same residual"
                        elif leaves(chosen, instance, int(k), b.support, amount):
                            row["verdict"] = "unstable"
                        else:
                            row["verdict"] = "DIFFERENT"
                        print(
                            f"{problem} trial {instance.recipe.get('trial')} k {k} "
                            f"{chosen.label}: twin {ours:.3e}, kernel {kernels:.3e}, condition "
                            f"{row['condition']:.1e}, {b.status}: {row['verdict']}",
                            flush=True,
                        )
                    rows.append(row)
            print(f"{problem}: {first + len(instances)} of {trials}", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    print(
        table.pivot_table(
            index=["problem", "algorithm"], columns="verdict", aggfunc="size", fill_value=0
        ).to_string()
    )
    table["condition up to"] = [
        next(limit for limit in CONDITIONS if value <= limit) for value in table["condition"]
    ]
    table["differs"] = table["verdict"] != "equal"
    print(f"\nShare of different supports, {args.precision}, by the condition of the support:")
    grouped = table.groupby(["problem", "condition up to"])["differs"]
    print(grouped.agg(["size", "sum", "mean"]).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    twins = ",".join(entry.name for entry in sparsebench.algorithms() if entry.twin)
    for function in (speed, agreement):
        command = commands.add_parser(function.__name__)
        command.set_defaults(run=function)
        command.add_argument(
            "-a",
            "--algorithms",
            default=",".join(entry.name for entry in sparsebench.algorithms() if entry.twin),
        )
        command.add_argument("--device", default="torch-cpu")
        command.add_argument("--precision", default="float64")
        if function is agreement:
            command.add_argument("--gaussian", type=int, default=1000)
            command.add_argument("--spikes", type=int, default=200)
            command.add_argument("--fourier", type=int, default=200)
            command.add_argument("--steering", type=int, default=200)
            continue
        command.add_argument("--n", type=int, default=500)
        command.add_argument("--m", type=int, default=250)
        command.add_argument("--k", type=int, default=25)
        command.add_argument("--most", type=int, default=100_000)
        command.add_argument("--seconds", type=float, default=20.0)
        command.add_argument("--own", action="store_true")
        command.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    given.run(given)
