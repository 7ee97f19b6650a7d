"""How soon support exploration meets the true support, beside what theory promises of A."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsebench import solvers as solvers  # registers the algorithms, in a worker too
from sparsebench.problems import add_noise, draw_dictionary
from sparsebench.problems.signals import sparse_signal
from sparsebench.registry import choose_problem
from sparsebench.run.pool import pool
from sparsebench.seeding import generator
from sparsebench.statistics import wilson
from sparsebench.theory import (
    babel,
    exact_recovery_coefficient,
    exploration_bound,
    guaranteed_sparsity,
    restricted_isometry,
)
from sparsebench.types import Dictionary, FloatArray

_Truths = NDArray[np.bool_]  # (B, n): where each signal is non-zero

#: The algorithms that guarantees are about, and support exploration.
ALGORITHMS = ("omp", "bp", "htp", "sea")
#: Columns of A.
N = 20
# Iterations of support exploration, as by default.
_MOST_ITERATIONS = 1000
_SNRS = (math.inf, 40.0, 20.0)
_AMPLITUDES = ("uniform", "signs")
# Of (k + 1) error, which the premise wants below 1: four intervals a decade, from 1 up and down.
_EDGES = 10.0 ** (np.arange(-8, 9) / 4)


@dataclass(frozen=True)
class Atoms:
    """Dictionaries of a kind, with a number that is drawn for each: evenly on a logarithmic scale.

    Attributes
    ----------
    m : int
        Measurements.
    draw : callable
        Takes a generator, m, n and the number; returns A, whose columns are then scaled to norm 1.
    lowest, highest : float
        The number's range.
    """

    m: int
    draw: Callable[[np.random.Generator, int, int, float], FloatArray]
    lowest: float = 1.0
    highest: float = 1.0


def _gaussian(rng: np.random.Generator, m: int, n: int, _: float) -> FloatArray:
    return rng.standard_normal((m, n))


def _basis(rng: np.random.Generator, m: int, n: int, size: float) -> FloatArray:
    """Return an orthonormal basis (m = n) with noise of a relative size."""
    noise = rng.standard_normal((m, n)) / math.sqrt(m)
    return np.asarray(np.linalg.qr(rng.standard_normal((m, n)))[0] + size * noise)


def _simplex(rng: np.random.Generator, m: int, n: int, size: float) -> FloatArray:
    """Return n = m + 1 atoms at equal angles, which no n are less coherent than, with noise."""
    turn = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, m))]))[0]
    atoms = turn[:, 1:].T  # the basis without its part along (1, ..., 1)
    noise = rng.standard_normal((m, n)) / math.sqrt(m)
    return np.asarray(atoms / np.linalg.norm(atoms, axis=0) + size * noise)


def _filters(_: np.random.Generator, m: int, n: int, width: float) -> FloatArray:
    return draw_dictionary(choose_problem(f"deconvolution[width={width!r}]"), m, n, 0, 0).A


#: What A is drawn as.
ATOMS = {
    "near a basis, m = 20": Atoms(20, _basis, 0.002, 0.5),
    "near a simplex, m = 19": Atoms(19, _simplex, 0.001, 0.5),
    "Gaussian, m = 1000": Atoms(1000, _gaussian),
    "Gaussian, m = 10": Atoms(10, _gaussian),
    "Gaussian, m = 6": Atoms(6, _gaussian),
    "shifted filters, m = 20": Atoms(20, _filters, 0.2, 3.0),
}


@dataclass
class IsometryStudy:
    """Solve instances on dictionaries whose restricted isometry constants are known exactly.

    Parameters
    ----------
    name : str
    ks : tuple of int
        Sparsities; every subset of 2k + 1 atoms is looked at.
    dictionaries, signals : int
        Of each kind of atoms; of each dictionary, k and noise level.
    seed : int
        Root seed.
    """

    name: str
    ks: tuple[int, ...]
    dictionaries: int
    signals: int
    seed: int
    _rows: pd.DataFrame = field(default_factory=pd.DataFrame, init=False, repr=False)

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON data."""
        kinds = {name: [kind.m, kind.lowest, kind.highest] for name, kind in ATOMS.items()}
        sizes = {key: getattr(self, key) for key in ("ks", "dictionaries", "signals", "seed")}
        return {"experiment": "isometry", **sizes, "n": N, "atoms": kinds}

    def run(
        self, workers: int, report: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        """Draw and solve all instances; `report` is told how many dictionaries are done, of all."""
        tasks = [
            (self.ks, self.signals, self.seed, name, i)
            for i in range(self.dictionaries)
            for name in ATOMS
        ]
        found: list[Any] = [None] * len(tasks)
        with pool(workers) as each:
            for done, (place, frame) in enumerate(each(instances, tasks), 1):
                found[place] = frame
                report(done, len(tasks))
        self._rows = pd.concat(found, ignore_index=True)

    def estimates(self) -> pd.DataFrame:
        """Return one row a k, noise level, kind of atoms and interval of the premise's number."""
        rows = self._rows.copy()
        rows["place"] = np.clip(np.digitize(rows["x"], _EDGES) - 1, 0, _EDGES.size - 2)
        rows["kind"] = pd.Categorical(rows["curve"], list(ATOMS))
        rows["noise"] = pd.Categorical(rows["snr"], _SNRS)
        groups: Any = rows.groupby(["k", "noise", "kind", "place"], observed=True)
        return pd.DataFrame(
            [self._row(k, snr, name, place, part) for (k, snr, name, place), part in groups]
        )

    def _row(self, k: int, snr: float, name: str, place: int, rows: pd.DataFrame) -> dict[str, Any]:
        """Return the row of the instances of one interval."""
        met, holds = np.isfinite(rows["first"]), np.isfinite(rows["bound"])
        lower, upper = wilson(met.sum(), len(rows))
        within = rows[holds]
        noiseless = snr == math.inf
        return {
            "panel": f"k = {k}, {f'{snr:g} dB' if snr < math.inf else 'no noise'}",
            "curve": name,
            "x": math.sqrt(_EDGES[place] * _EDGES[place + 1]),
            "estimate": met.mean(),
            "lower": float(lower),
            "upper": float(upper),
            "trials": len(rows),
            "delta": rows["delta"].mean(),
            "first_median": rows["first"].median(),
            "first_largest": rows["first"][met].max(),
            "premise": holds.mean(),
            "bound_largest": within["bound"].max(),
            "slack_median": (within["bound"] / within["first"]).median(),
            "slack_least": (within["bound"] / within["first"]).min(),
            "broken": int((within["first"] > within["bound"]).sum()),
            **{name: rows[name].mean() if noiseless else math.nan for name in _NOISELESS},
            "contradicted": int(rows["contradicted"].sum()),
            "problem": "isometry",
            "problem_options": json.dumps({"atoms": name, "snr": snr}),
            "m": ATOMS[name].m,
            "n": N,
            "k": k,
            "seed": self.seed,
        }


_GUARANTEES = ("by_coherence", "by_babel", "by_babel_htp", "by_support")
_NOISELESS = (*_GUARANTEES, *ALGORITHMS)


def instances(ks: tuple[int, ...], signals: int, seed: int, name: str, index: int) -> pd.DataFrame:
    """Return one row an instance on one dictionary: what is promised of it, and what happens."""
    kind = ATOMS[name]
    rng = generator({"experiment": "isometry", "atoms": name, "index": index, "seed": seed})
    number = float(np.exp(rng.uniform(math.log(kind.lowest), math.log(kind.highest))))
    A = kind.draw(rng, kind.m, N, number)
    A = A / np.linalg.norm(A, axis=0)
    frames = []
    for k in ks:
        delta = restricted_isometry(A, 2 * k + 1)
        for snr in _SNRS:
            laws = [_AMPLITUDES[i % len(_AMPLITUDES)] for i in range(signals)]
            x = np.array([sparse_signal(rng, N, k, law) for law in laws])
            clean = x @ A.T
            y = add_noise(clean, snr, rng)
            smallest = np.where(x != 0, np.abs(x), np.inf).min(axis=1)
            gains = delta * np.linalg.norm(x, axis=1) + largest_noise(A, y - clean, k)
            frame = pd.DataFrame({"x": (k + 1) * gains / smallest, "delta": delta})
            frame["bound"] = exploration_bound(gains / smallest, k)
            frame["first"] = first_iterations(A, y, x != 0, k, _MOST_ITERATIONS)
            frame["contradicted"] = 0
            if snr == math.inf:
                frame = frame.assign(**_guarantees(A, x != 0, k), **_recovered(A, x, y, k))
                frame["contradicted"] = contradictions(frame)
            frames.append(frame.assign(curve=name, snr=snr, k=k))
    return pd.concat(frames, ignore_index=True)


def contradictions(rows: pd.DataFrame) -> pd.Series:
    """Return how many guarantees each noiseless instance has that its algorithm does not keep."""
    pairs = [(way, a) for way in ("by_coherence", "by_babel", "by_support") for a in ("omp", "bp")]
    broken = [rows[way] & ~rows[name] for way, name in [*pairs, ("by_babel_htp", "htp")]]
    return pd.concat(broken, axis=1).sum(axis=1)


def _guarantees(A: FloatArray, truths: _Truths, k: int) -> dict[str, Any]:
    """Return whether OMP, l1 and HTP are guaranteed to recover each signal, by what tells so."""
    sparsity = guaranteed_sparsity(A)
    coefficients = [exact_recovery_coefficient(A, np.flatnonzero(truth)) for truth in truths]
    return {
        "by_coherence": (2 * k - 1) * babel(A)[1] < 1,
        "by_babel": k <= sparsity["omp"],
        "by_babel_htp": k <= sparsity["htp"],
        "by_support": np.array(coefficients) < 1,
    }


def _recovered(A: FloatArray, x: FloatArray, y: FloatArray, k: int) -> dict[str, Any]:
    """Return whether each algorithm finds the support of each signal."""
    dictionary = Dictionary(A)
    found = {name: solvers.solve(name, dictionary, y.T, k).x.T != 0 for name in ALGORITHMS}
    return {name: (support == (x != 0)).all(axis=1) for name, support in found.items()}


def largest_noise(A: FloatArray, noise: FloatArray, k: int) -> FloatArray:
    """Return the largest |a_iᵀ P e| of each noise e, P taking away any k atoms other than a_i.

    Parameters
    ----------
    A : ndarray, shape (m, n)
    noise : ndarray, shape (B, m)
    k : int
        Atoms that are projected away; every subset of them is looked at.

    Returns
    -------
    ndarray, shape (B,)
    """
    gram, correlations = A.T @ A, noise @ A
    sets = np.array(list(combinations(range(A.shape[1]), k)))
    inside = gram[sets[:, :, np.newaxis], sets[:, np.newaxis, :]]
    weights = np.linalg.solve(inside, gram[sets])  # (sets, k, n)
    taken = np.einsum("bsk,skn->bsn", correlations[:, sets], weights)
    return np.asarray(np.abs(correlations[:, np.newaxis] - taken).max(axis=(1, 2)))


def first_iterations(
    A: FloatArray, y: FloatArray, truths: _Truths, k: int, most: int
) -> FloatArray:
    """Return the first iteration of SEA from zero whose support contains the true one.

    Iterations are counted from 1, and go on when the residual is zero. All signals are explored
    together.

    Parameters
    ----------
    A : ndarray, shape (m, n)
        Any k columns are independent.
    y : ndarray, shape (B, m)
    truths : ndarray of bool, shape (B, n)
        The true supports.
    k : int
        What SEA is told.
    most : int
        Iterations.

    Returns
    -------
    ndarray, shape (B,)
        Infinite where the true support is not met.
    """
    gram, correlations = A.T @ A, y @ A
    exploration = np.zeros_like(correlations)
    first, left = np.full(len(y), np.inf), np.arange(len(y))
    for iteration in range(1, most + 1):
        # Among equals the lowest index is taken first.
        supports = np.argsort(-np.abs(exploration), axis=1, kind="stable")[:, :k]
        missed = truths[left].sum(axis=1) > np.take_along_axis(truths[left], supports, 1).sum(
            axis=1
        )
        first[left[~missed]] = iteration
        left, supports = left[missed], supports[missed]
        if not left.size:
            break
        rows = gram[supports]  # (B, k, n)
        inside = np.take_along_axis(rows, supports[:, np.newaxis, :], axis=2)
        own = np.take_along_axis(correlations[left], supports, axis=1)
        coefficients = np.linalg.solve(inside, own[:, :, np.newaxis])
        gradients = correlations[left] - (coefficients * rows).sum(axis=1)
        exploration = exploration[missed] + gradients
    return first
