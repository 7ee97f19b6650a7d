"""Operators: that their answers are those of arrays, and what a million atoms cost.

    python tests/studies/operators.py agreement [--n 10000] [--algorithms htp,sp]
    python tests/studies/operators.py large [--n 20 --m 18 --k 12]      # powers of two
        [--problem dct|fourier]

`agreement` solves one signal on arrays of n atoms and by products alone: for each algorithm that
takes an operator, on Gaussian, sparse and cosine dictionaries, noiseless and at 20 dB, with least
squares by conjugate gradients alone and by the atoms where these are the cheaper. It ends with
status 1 where a support differs, or a residual by more than 1e-10 of ||y||.

`large` recovers k non-zeros from m rows of a cosine or a Fourier transform, each solver in a
process of its own: products with A and its adjoint, seconds, and the peak of the process. For
PyLops' FISTA and SPGL1 (numpy < 2.5; pip install pylops spgl1) an operator watches what it is
given: it says after how many products the k largest entries were first the planted ones. Their
answers are then fitted on these by LSQR, so that all end at the same accuracy. One thread.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator, lsqr

import sparsebench
from sparsebench.kernels import rental
from sparsebench.operators import Operator

NAMES = [
    e.name for e in sparsebench.algorithms() if e.matrix_free and e.takes_k and e.name != "oracle"
]
OURS = ("htp", "sp", "cosamp", "nhtp", "sea", "iht", "niht", "cgiht", "amp", "fista")
PEERS = ("pylops-fista", "pylops-spgl1", "spgl1", "spgl1-lasso")
USUAL = rental._ATOMS


# ---- Agreement.


def dictionaries(n, snr):
    """Yield (name, instance, operators by name) of n atoms, or a power of two near it."""
    m, k = n // 4, n // 50
    instance = sparsebench.draw("gaussian", m=m, n=n, k=k, columns="unit", snr=snr)
    yield (
        "gaussian",
        instance,
        {"LinearOperator": Operator(aslinearoperator(instance.A), norms=1.0)},
    )
    instance = sparsebench.draw("sparse-binary", m=m, n=n, k=k, snr=snr)
    yield "sparse-binary", instance, {"scipy.sparse": Operator(scipy.sparse.csr_array(instance.A))}
    for name, size in (("dct", n), ("fourier", n), ("hadamard", 2 ** int(np.log2(n)))):
        recipe = {"m": size // 4, "n": size, "k": size // 50, "snr": snr}
        fast = sparsebench.draw(name, matrix_free=True, **recipe)
        yield name, sparsebench.draw(name, **recipe), {"fast form": fast.dictionary}


def agreement(given):
    names = given.algorithms.split(",") if given.algorithms else NAMES
    wrong = 0
    for name in names:  # compiles
        small = sparsebench.draw("dct", m=550, n=2200, k=5)
        sparsebench.solve(name, small.dictionary, small.y, 5)
        sparsebench.solve(name, scipy.sparse.csr_array(small.A), small.y, 5)
    print(f"{'algorithm':13} {'dictionary':14} {'snr':>4} {'way':9} supports residuals  iterations")
    for snr in (np.inf, 20.0):
        for problem, instance, made in dictionaries(given.n, snr):
            y, k = instance.y, int(np.count_nonzero(instance.x))
            energy = np.linalg.norm(y)
            for name in names:
                fewer = {"max_iter": 200} if name == "sea" else {}  # it never ends with noise
                begin = time.perf_counter()
                dense = sparsebench.solve(name, instance.dictionary, y, k, **fewer)
                seconds = time.perf_counter() - begin
                left = np.linalg.norm(y - instance.A @ dense.x) / energy
                for kind, operator in made.items():
                    for way, size in (("gradients", 0), ("cheaper", USUAL)):
                        rental._ATOMS = size
                        fresh = Operator(operator.A, norms=np.sqrt(operator.squared_norms))
                        begin, before = time.perf_counter(), fresh.products
                        found = sparsebench.solve(name, fresh, y, k, **fewer)
                        spent = time.perf_counter() - begin
                        same = np.array_equal(found.support, dense.support)
                        own = np.linalg.norm(y - instance.A @ found.x) / energy
                        wrong += not same or abs(own - left) > 1e-10
                        counts = f"{found.n_iter}/{dense.n_iter}"
                        planted = np.array_equal(found.support, instance.support)
                        print(
                            f"{name:13} {problem:14} {snr:4g} {way:9} "
                            f"{'same' if same else 'OTHER':8} {abs(own - left):8.0e} {counts:>11} "
                            f"{fresh.products - before:6} products {spent:7.2f} s, array "
                            f"{seconds:7.2f} s {kind} {found.status}/{dense.status}"
                            f"{' planted' if planted else ''}",
                            flush=True,
                        )
    print(f"{wrong} differ")
    return int(wrong > 0)


# ---- A million atoms.


class Watched(LinearOperator):
    """An operator that counts its products, and sees when the k largest entries are right."""

    def __init__(self, form, support):
        super().__init__(form.dtype, form.shape)
        self.form, self.support = form, support
        self.products = self.first = 0
        self.looking = 0.0

    def _matvec(self, x):
        self.products += 1
        if not self.first and self.support is not None:
            begin = time.perf_counter()
            k = self.support.size
            if np.array_equal(np.sort(np.argpartition(np.abs(x), -k)[-k:]), self.support):
                self.first = self.products
            self.looking += time.perf_counter() - begin
        return self.form.matvec(x)

    def _rmatvec(self, v):
        self.products += 1
        return self.form.rmatvec(v)


def solved_by(name, A, y, k, norm):
    """Return the answer of a peer."""
    if name == "pylops-fista":
        import pylops
        from pylops.optimization.sparsity import fista

        level = 1e-3 * np.abs(A.rmatvec(y)).max()
        wrapped = pylops.aslinearoperator(A)
        return fista(wrapped, y, niter=2000, eps=2 * level, alpha=1 / norm, tol=1e-7)[0]
    if name == "pylops-spgl1":
        import pylops
        from pylops.optimization.sparsity import spgl1

        return spgl1(pylops.aslinearoperator(A), y, sigma=0.0, iter_lim=2000)[0]
    from spgl1 import spg_bp, spg_bpdn

    if name == "spgl1":
        return spg_bp(A, y, iter_lim=2000)[0]
    return spg_bpdn(A, y, sigma=1e-6 * np.linalg.norm(y), iter_lim=2000)[0]


def one(given):
    """Solve by one solver, and print what it took as JSON."""
    n, m, k = 2**given.n, 2**given.m, 2**given.k
    instance = sparsebench.draw(given.problem, m=m, n=n, k=k, matrix_free=True)
    y, form = instance.y, instance.A
    small = sparsebench.draw(given.problem, m=32, n=128, k=2, matrix_free=True)
    told = {}
    if given.one in PEERS:
        watched = Watched(form, instance.support)
        solved_by(given.one, Watched(small.A, None), small.y, 2, 4.0)
        before, begin = peak(), time.perf_counter()
        x = np.array(solved_by(given.one, watched, y, k, form.squared_spectral_norm))
        told["own"] = time.perf_counter() - begin - watched.looking, watched.products
        told["own error"] = error(x, instance.x)
        told["first"] = watched.first
        support = np.sort(np.argpartition(np.abs(x), -k)[-k:])

        def spread(values):
            whole = np.zeros(n, y.dtype)
            whole[support] = values
            return watched.matvec(whole)

        restricted = LinearOperator(
            (m, k), matvec=spread, rmatvec=lambda v: watched.rmatvec(v)[support], dtype=y.dtype
        )
        fitted = lsqr(restricted, y, atol=1e-14, btol=1e-14, iter_lim=500)[0]
        x = np.zeros(n, y.dtype)
        x[support] = fitted
        seconds, products = time.perf_counter() - begin - watched.looking, watched.products
    else:
        name, _, plain = given.one.partition("/")
        for warm in (small.A, Watched(small.A, None)):
            sparsebench.solve(name, warm, small.y, 2)
        before, begin = peak(), time.perf_counter()
        operator = Operator(Watched(form, None) if plain else form)
        result = sparsebench.solve(name, operator, y, k)
        seconds, products, x = time.perf_counter() - begin, operator.products, result.x
        told["status"], told["iterations"] = str(result.status), result.n_iter
    told |= {"seconds": seconds, "products": products, "error": error(x, instance.x)}
    told["right"] = bool(np.array_equal(np.flatnonzero(x), instance.support))
    told |= {"before": before, "peak": peak()}
    begin = time.perf_counter()
    form.rmatvec(form.matvec(instance.x))
    told["product"] = (time.perf_counter() - begin) / 2
    print(json.dumps(told))


def error(x, planted):
    return float(np.linalg.norm(x - planted) / np.linalg.norm(planted))


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def large(given):
    print(f"n = 2^{given.n}, m = 2^{given.m}, k = 2^{given.k}: rows of {given.problem}")
    names = [*OURS, *(f"{name}/LinearOperator" for name in ("htp", "sp", "fista")), *PEERS]
    for name in given.algorithms.split(",") if given.algorithms else names:
        sizes = [f"--{size}={getattr(given, size)}" for size in ("n", "m", "k", "problem")]
        process = subprocess.run(
            [sys.executable, __file__, "large", f"--one={name}", *sizes],
            capture_output=True,
            text=True,
        )
        try:
            found = json.loads(process.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            print(f"{name:20} {(process.stderr.strip().splitlines() or ['?'])[-1][:100]}")
            continue
        line = (
            f"{name:20} {found['products']:6} products {found['seconds']:8.2f} s "
            f"{found['peak'] / 2**30:6.2f} GiB "
            f"(solving {(found['peak'] - found['before']) / 2**30:.2f}) "
            f"error {found['error']:.0e} {'right' if found['right'] else 'WRONG'}; "
            f"a product {1e3 * found['product']:.0f} ms"
        )
        if "own" in found:
            line += (
                f"; before LSQR {found['own'][1]} products {found['own'][0]:.2f} s error "
                f"{found['own error']:.0e}; support first right after {found['first']}"
            )
        else:
            line += f"; {found['iterations']} iterations, {found['status']}"
        print(line, flush=True)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("agreement", "large"))
    parser.add_argument("--n", type=int)
    parser.add_argument("--m", type=int, default=18)
    parser.add_argument("--k", type=int, default=12)
    parser.add_argument("--problem", choices=("dct", "fourier"), default="dct")
    parser.add_argument("--algorithms", default="")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.n = given.n or {"agreement": 10_000, "large": 20}[given.what]
    if given.one:
        one(given)
        return 0
    return agreement(given) if given.what == "agreement" else large(given)


if __name__ == "__main__":
    raise SystemExit(main())
