"""Seconds and peak memory of one solve: every classical algorithm, two sizes, two problems."""

import numpy as np

import sparsebench
import sparsebench.solvers  # once, not in every process

# Literal, so that a commit that lacks one is measured on the others.
NAMES = [
    "omp",
    "ols",
    "cosamp",
    "sp",
    "iht",
    "iht-l0",
    "niht",
    "cgiht",
    "htp",
    "nhtp",
    "ompr",
    "els",
    "sbr",
    "splicing",
    "sea",
    "htp-restarts",
    "ista",
    "fista",
    "homotopy",
    "bp",
    "amp",
    "sbl",
    "thresholding",
    "pinv",
    "ridge",
]
PROBLEMS = {
    "gaussian-500": {"problem": "gaussian", "m": 250, "n": 500, "k": 40},
    "gaussian-2000": {"problem": "gaussian", "m": 1000, "n": 2000, "k": 100},
    "deconvolution-500": {"problem": "deconvolution", "m": 500, "n": 500, "k": 20},
    "deconvolution-2000": {"problem": "deconvolution", "m": 2000, "n": 2000, "k": 20},
}
# Minutes a solve; what they would say of speed the other sizes say as well.
TOO_DEAR = {
    ("bp", "deconvolution-500"),
    ("bp", "deconvolution-2000"),
    ("sbl", "gaussian-2000"),
    ("sbl", "deconvolution-2000"),
    ("htp-restarts", "deconvolution-2000"),
}


def _solve(name, dictionary, y, k):
    try:
        sparsebench.solve(name, dictionary, y, k)
    except sparsebench.InputError as error:
        raise NotImplementedError(f"not in this commit: {error}") from None


class _Solver:
    params = [NAMES, list(PROBLEMS)]
    param_names = ["algorithm", "problem"]

    def setup(self, name, problem):
        if (name, problem) in TOO_DEAR:
            raise NotImplementedError
        sizes = PROBLEMS[problem]
        self.name, self.k = name, sizes["k"]
        instance = sparsebench.draw(**sizes, trial=0, seed=0)
        self.dictionary, self.y = instance.dictionary, instance.y
        _ = self.dictionary.gram  # with it at hand, some solve otherwise
        _solve(name, self.dictionary, self.y, self.k)  # computes all else that is kept


class Solve(_Solver):
    """Seconds with the Gram matrix at hand; an instance that most algorithms solve."""

    version = "1"
    rounds = 2
    repeat = (3, 8, 1.0)
    sample_time = 0.02
    warmup_time = 0.02
    timeout = 120

    def time_solve(self, name, problem):
        sparsebench.solve(self.name, self.dictionary, self.y, self.k)


class Memory(_Solver):
    """Peak memory of the process, the dictionary and its Gram matrix in it."""

    version = "1"
    timeout = 120

    def setup_cache(self):
        # Compiles every kernel into the cache on disk, so that no process that is measured does.
        instance = sparsebench.draw("gaussian", m=20, n=40, k=2)
        for name in NAMES:
            try:
                _solve(name, instance.dictionary, instance.y, 2)
            except NotImplementedError as error:
                print(name, error)

    setup_cache.timeout = 600

    def peakmem_solve(self, name, problem):
        sparsebench.solve(self.name, self.dictionary, self.y, self.k)


class Large:
    """One signal on an array of 2,000 x 20,000: seconds, and the peak memory with A in it."""

    params = [["omp", "sp", "cosamp", "htp", "iht", "sea", "homotopy", "amp", "fista"]]
    param_names = ["algorithm"]
    version = "1"
    number, repeat, rounds, warmup_time = 1, 3, 1, 0
    timeout = 300

    def setup(self, name):
        draw = np.random.default_rng(0)
        self.A = draw.standard_normal((2000, 20_000))
        self.A /= np.sqrt(np.einsum("ij,ij->j", self.A, self.A))
        self.k = 50
        support = draw.choice(20_000, self.k, replace=False)
        self.y = self.A[:, support] @ (draw.uniform(1, 2, self.k) * draw.choice([-1, 1], self.k))
        for m, n in ((40, 100), (64, 2400)):  # compiles
            small = draw.standard_normal((m, n))
            sparsebench.solve(name, small, small[:, 3] - small[:, 7], 2)

    def time_solve(self, name):
        sparsebench.solve(name, self.A, self.y, self.k)

    def peakmem_solve(self, name):
        sparsebench.solve(name, self.A, self.y, self.k)


class Complex:
    """Seconds of a solve of complex numbers: m random rows of the Fourier transform."""

    params = [["omp", "sp", "htp", "iht", "els", "sea", "fista", "amp", "sbl"]]
    param_names = ["algorithm"]
    version = "1"
    rounds = 2
    repeat = (3, 8, 1.0)
    sample_time = 0.02
    warmup_time = 0.02
    timeout = 120

    def setup(self, name):
        try:
            instance = sparsebench.draw("fourier", m=250, n=500, k=40)
        except sparsebench.InputError as error:
            raise NotImplementedError(f"not in this commit: {error}") from None
        self.dictionary, self.y = instance.dictionary, instance.y
        _solve(name, self.dictionary, self.y, 40)

    def time_solve(self, name):
        sparsebench.solve(name, self.dictionary, self.y, 40)
