"""A dictionary learnt from signals: l1 codes of a batch, then a pass over the atoms, in turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.learned.optimal_codes import Floats, l1_codes
from sparsebench.seeding import generator

# Signals of a step; steps that the running means remember; steps between two looks at the signals
# held out, and by which share their objective has to fall from look to look.
_BATCH, _MEMORY, _PERIOD, _FALL = 256, 10, 200, 2e-3
# One signal in so many is held out, and at most so many.
_HELD_OUT, _MOST_HELD_OUT = 10, 2000
# Accuracy and most iterations of the codes learnt from.
_TOL, _ITERATIONS = 1e-2, 50
# An atom is in use when the mean square of its coefficients is above this.
_USED = 1e-8


@dataclass(frozen=True)
class Learnt:
    """A dictionary and how its learning went.

    Attributes
    ----------
    D : ndarray, shape (m, p)
        Atoms of norm 1.
    steps : int
        Batches learnt from.
    objectives : list of float
        Mean objective of the signals held out: at the start, and after every 200 steps.
    """

    D: NDArray[np.float64]
    steps: int
    objectives: list[float]


def l1_objective(D: NDArray[np.float64], X: Floats, codes: Floats, weight: float) -> float:
    """Return the mean over signals of ½||x - D a||² + weight ||a||₁."""
    rest = X - codes @ D.T.astype(np.float32)
    return float((0.5 * np.square(rest).sum(1) + weight * np.abs(codes).sum(1)).mean())


def learn_dictionary(X: Floats, atoms: int, seed: int, weight: float) -> Learnt:
    """Learn a dictionary online until the objective of signals held out has settled.

    The atoms begin as random signals. A step codes 256 signals, mixes their moments into means
    that remember about ten steps, and minimises the fit of these over one atom after the other. It
    ends when 200 steps have lowered the mean objective of the signals held out, one in ten and at
    most 2,000, by less than .2 %. An atom that no code uses becomes a signal of the batch.

    Parameters
    ----------
    X : ndarray of float32, shape (N, m)
    atoms : int
        At most `most_atoms(N)`.
    seed : int
        Of the first atoms, the signals held out and the order of the others.
    weight : float
        Of the l1 norm, with the objective ½||x - D a||² + weight ||a||₁.

    References
    ----------
    Mairal, Bach, Ponce and Sapiro, J. Mach. Learn. Res. 11, 2010, arXiv:0908.0050.
    """
    rng = generator({"dictionary learning": atoms, "seed": seed})
    order = rng.permutation(len(X))
    used, held_out = order[: most_atoms(len(X))], X[order[most_atoms(len(X)) :]]
    D = _unit(X[used[:atoms]].astype(np.float64))
    squares, products = np.zeros((atoms, atoms)), np.zeros((atoms, X.shape[1]))
    objectives, steps = [_objective(D, held_out, weight)], 0
    while True:
        for _ in range(_PERIOD):
            rows = X[rng.choice(used, min(_BATCH, len(used)), replace=False)]
            codes, _ = l1_codes(D.T, rows, weight, tol=_TOL, most=_ITERATIONS)
            steps += 1
            new = 1 / min(steps, _MEMORY)
            squares += new * (codes.T @ codes / len(rows) - squares)
            products += new * (codes.T @ rows / len(rows) - products)
            for j in range(atoms):
                if squares[j, j] > _USED:
                    D[j] = _unit(D[j] + (products[j] - squares[j] @ D) / squares[j, j])
                else:
                    D[j] = _unit(rng.choice(rows).astype(np.float64))
        objectives.append(_objective(D, held_out, weight))
        if objectives[-1] > (1 - _FALL) * objectives[-2]:
            return Learnt(np.ascontiguousarray(D.T), steps, objectives)


def most_atoms(signals: int) -> int:
    """Return how many of so many signals are learnt from, which is the most atoms to begin with."""
    return signals - min(signals // _HELD_OUT, _MOST_HELD_OUT)


def _objective(D: NDArray[np.float64], X: Floats, weight: float) -> float:
    return l1_objective(D.T, X, l1_codes(D.T, X, weight)[0], weight)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return unit
