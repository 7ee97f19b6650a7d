"""Our loops beside published packages and plain NumPy loops, side by side, as ratios.

    python tests/studies/speed.py [--rounds 15]

One thread; medians over interleaved rounds, each on another instance, of the fastest of up to five
calls in a row while they take less than 20 ms; every contender has a round before. "with G": our
dictionary has its Gram matrix at hand, and so has the rival, if it can use one. "alone":
everything is computed from A. Rivals that are not installed are passed over.
"""

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
sys.path.insert(0, str(Path(__file__).parent.parent))
warnings.simplefilter("ignore")

import numpy as np
import references
from sklearn.linear_model import orthogonal_mp, orthogonal_mp_gram

import sparsebench
from sparsebench.solvers.ista import lasso
from sparsebench.types import Dictionary


def timed(function):
    begin = time.perf_counter()
    value = function()
    return time.perf_counter() - begin, value


def race(title, contenders, instances, rounds):
    """Print the median of each contender, the first of which is ours, and the others' ratios."""
    seconds = {name: [] for name in contenders}
    for turn in range(-1, rounds):
        instance = instances[turn % len(instances)]
        for name, contender in contenders.items():
            calls = []
            while not calls or (len(calls) < 5 and sum(calls) < 0.02):
                took, _ = timed(lambda contender=contender, instance=instance: contender(instance))
                calls.append(took)
            if turn >= 0:
                seconds[name].append(min(calls))
    (ours, first), *rest = ((name, np.median(took)) for name, took in seconds.items())
    low, high = np.percentile(seconds[ours], [25, 75])
    print(f"{title}: {ours} {first * 1e6:.0f} µs [{low * 1e6:.0f}, {high * 1e6:.0f}]")
    for name, median in rest:
        print(f"    {median / first:6.1f} times faster than {name} ({median * 1e6:.0f} µs)")


def prepared(problem, m, k, count=5, **options):
    found = []
    for trial in range(count):
        instance = sparsebench.draw(problem, m=m, n=500, k=k, trial=trial, **options)
        for quantity in ("gram", "squared_norms", "squared_spectral_norm", "A"):
            getattr(instance.dictionary, quantity)
        found.append(instance)
    return found


def solver(name, k, **options):
    return lambda i: sparsebench.solve(name, i.dictionary, i.y, k, **options)


def alone(name, k):
    return lambda i: sparsebench.solve(name, Dictionary(i.A), i.y, k)


def greedy(rounds):
    k, instances = 50, prepared("gaussian", 250, 50)
    rivals = {
        "sklearn orthogonal_mp_gram": lambda i: orthogonal_mp_gram(
            i.dictionary.gram, i.A.T @ i.y, n_nonzero_coefs=k
        )
    }
    race("OMP 250 x 500, k = 50, with G", {"omp": solver("omp", k)} | rivals, instances, rounds)
    fortran = {id(i): np.asfortranarray(i.A / np.linalg.norm(i.A, axis=0)) for i in instances}
    rivals = {"sklearn orthogonal_mp": lambda i: orthogonal_mp(i.A, i.y, n_nonzero_coefs=k)}
    try:
        import spams

        rivals["spams.omp (which is OLS)"] = lambda i: spams.omp(
            np.asfortranarray(i.y[:, None]), fortran[id(i)], L=k, eps=0.0, numThreads=1
        )
    except ImportError:
        spams = None
    race("OMP 250 x 500, k = 50, alone", {"omp": alone("omp", k)} | rivals, instances, rounds)
    race("OLS 250 x 500, k = 50, alone", {"ols": alone("ols", k)} | rivals, instances, rounds)
    # A thousand signals on one dictionary.
    rng = np.random.default_rng(0)
    A = rng.standard_normal((256, 512))
    A /= np.linalg.norm(A, axis=0)
    X = np.zeros((512, 1000))
    for b in range(1000):
        X[rng.choice(512, 32, replace=False), b] = rng.uniform(1, 2, 32) * rng.choice([-1, 1], 32)
    Y, F = np.asfortranarray(A @ X), np.asfortranarray(A)
    dictionary = Dictionary(A)
    rivals = {"sklearn orthogonal_mp": lambda _: orthogonal_mp(A, Y, n_nonzero_coefs=32)}
    if spams is not None:
        rivals["spams.omp (which is OLS)"] = lambda _: spams.omp(Y, F, L=32, eps=0.0, numThreads=1)
    for name in ("omp", "ols"):
        ours = {name: lambda _, name=name: sparsebench.solve(name, dictionary, Y, 32)}
        title = f"{name.upper()} of 1000 signals, 256 x 512, k = 32 (all of them)"
        race(title, ours | rivals, [None], max(3, rounds // 5))


def loops(rounds):
    gaussian, spikes = prepared("gaussian", 250, 50), prepared("deconvolution", 500, 20)
    few = max(2, rounds // 5)
    for title, instances, k in (
        ("250 x 500, k = 50", gaussian, 50),
        ("spikes, k = 20", spikes, 20),
    ):
        race(
            f"SEA_0, 1000 iterations, {title}, with G",
            {
                "sea": solver("sea", k, tol=0.0),
                "the plain loop": lambda i, k=k: references.sea(i.A, i.y, k, tol=-1.0),
            },
            instances,
            few,
        )
        for instance in instances[:few]:
            ours = sparsebench.solve("sea", instance.dictionary, instance.y, k, tol=0.0).x
            plain = references.sea(instance.A, instance.y, k, tol=-1.0)
            gap = np.linalg.norm(instance.y - instance.A @ ours)
            gap -= np.linalg.norm(instance.y - instance.A @ plain)
            print(f"    best residuals differ by {gap / np.linalg.norm(instance.y):.0e} of ||y||")
    ks = {"htp": 50, "cosamp": 50, "sp": 50}
    plain = {
        "htp": lambda i: references.htp(i.A, i.y, 50, references.unit_step(i.A)),
        "cosamp": lambda i: references.cosamp(i.A, i.y, 50),
        "sp": lambda i: references.sp(i.A, i.y, 50),
    }
    for name, k in ks.items():
        contenders = {name: solver(name, k), "the plain loop": plain[name]}
        race(f"{name} 250 x 500, k = 50, with G", contenders, gaussian, rounds)


def relative_gap(instance, x, level):
    """Return the duality gap of the Lasso over its objective."""
    r = instance.y - instance.A @ x
    objective = 0.5 * r @ r + level * np.abs(x).sum()
    scale = min(1.0, level / np.abs(instance.A.T @ r).max())
    return (objective - (scale * r @ instance.y - 0.5 * scale**2 * r @ r)) / objective


def convex(rounds):
    instances = prepared("gaussian", 250, 50)
    level = {id(i): 1e-3 * np.abs(i.A.T @ i.y).max() for i in instances}
    rivals, reached = {}, {}
    try:
        import spams

        rivals["spams LARS from A"] = lambda i: spams.lasso(
            np.asfortranarray(i.y[:, None]), i.A, lambda1=level[id(i)], numThreads=1
        )
        rivals["spams LARS with G"] = lambda i: spams.lasso(
            np.asfortranarray(i.y[:, None]),
            i.A,
            Q=np.asfortranarray(i.dictionary.gram),
            q=np.asfortranarray((i.A.T @ i.y)[:, None]),
            lambda1=level[id(i)],
            numThreads=1,
        )
    except ImportError:
        spams = None
    try:
        from celer import Lasso

        rivals["celer"] = lambda i: Lasso(
            alpha=level[id(i)] / i.y.size, fit_intercept=False, tol=1e-6
        ).fit(np.asfortranarray(i.A), i.y)
    except ImportError:
        pass
    race("Lasso path, lambda = .001, with G", {"homotopy": solver("homotopy", 50)} | rivals,
         instances, rounds)  # fmt: skip
    race("Lasso path, alone", {"homotopy": alone("homotopy", 50)} | rivals, instances, rounds)

    level = {id(i): 0.1 * np.abs(i.A.T @ i.y).max() for i in instances}

    def ours(accelerate, gap):
        def run(i):
            scale = 1.0 if accelerate else 1.9
            step = scale / i.dictionary.squared_spectral_norm
            return lasso(i.dictionary, i.y, level[id(i)], step, accelerate, 100_000, gap)

        return run

    first = {}
    if spams is not None:
        first["spams fistaFlat"] = lambda i: spams.fistaFlat(
            np.asfortranarray(i.y[:, None]),
            i.A,
            np.zeros((500, 1), order="F"),
            numThreads=1,
            loss="square",
            regul="l1",
            lambda1=level[id(i)],
            it0=10,
            max_it=1000,
            tol=1e-6,
            L0=i.dictionary.squared_spectral_norm,
            compute_gram=False,
            intercept=False,
            verbose=False,
        )[:, 0]
    try:
        import pylops
        from pylops.optimization.sparsity import fista

        first["pylops fista, 200 iterations"] = lambda i: fista(
            pylops.MatrixMult(i.A),
            i.y,
            x0=np.zeros(500),
            niter=200,
            eps=2 * level[id(i)],
            alpha=1 / i.dictionary.squared_spectral_norm,
            tol=0.0,
        )[0]
    except ImportError:
        pass
    for name, rival in first.items():
        reached[name] = max(
            float(np.median([relative_gap(i, rival(i), level[id(i)]) for i in instances])), 1e-13
        )
        print(f"{name} ends at a duality gap of {reached[name]:.0e} of the objective; to the same:")
        for accelerate, own in ((True, "fista"), (False, "ista")):
            contenders = {own: ours(accelerate, reached[name]), name: rival}
            race("Lasso, lambda = .1", contenders, instances, rounds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    greedy(rounds)
    convex(rounds)
    loops(rounds)


if __name__ == "__main__":
    main()
