"""The codes that encoders learn to predict: l1 solutions, then hard thresholding to its end.

Codes of many signals at once: signals X of shape (N, m), codes of shape (N, p), one a row. The two
problems of a dictionary D of shape (m, p) are

    penalty:  min ½||x - D a||² + lambda ||a||_0,     size:  min ½||x - D a||² s.t. ||a||_0 <= M.

Iterations run in float32, least squares and the check of the ends in float64.

References
----------
Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016; Blumensath and Davies, J. Fourier Anal.
Appl. 14, 2008, doi:10.1007/s00041-008-9035-z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.types import InputError

Floats = NDArray[np.float32]

# A support that did not change in so many iterations is solved for.
_BURST = 20
_CHUNK = 10_000
# The largest rise of an objective that is rounding, in units of ½||x||² of float32 sums.
_ROUNDING = 2e-5
# Room, relative to the threshold, for float64 rounding in the check of an end.
_SLACK = 1e-7


@dataclass(frozen=True)
class Rule:
    """Which problem: exactly one of penalty (lambda) and size (M) is positive.

    Attributes
    ----------
    penalty : float
    size : int
    proximal : bool
        The threshold is that of the proximal map, sqrt(2 lambda step); otherwise sqrt(lambda step),
        the published lambda^½ at step 1, which descends the problem of lambda / 2.
    """

    penalty: float = 0.0
    size: int = 0
    proximal: bool = True

    def threshold(self, step: float) -> float:
        """Return theta of an iteration with this step; 0 for the M largest."""
        if self.size:
            return 0.0
        return float(np.sqrt((2 if self.proximal else 1) * self.penalty * step))

    @property
    def price(self) -> float:
        """What a non-zero costs in the objective that the iteration descends."""
        return self.penalty if self.proximal else self.penalty / 2


@dataclass(frozen=True)
class Ends:
    """How an iteration ended.

    Attributes
    ----------
    codes : ndarray of float32, shape (N, p)
    iterations : int
        Of the signal that took longest.
    settled : float
        Share of signals whose code was verified to be a fixed point, to float64 rounding.
    rise : float
        Largest rise of an objective in any iteration, relative to ½||x||²; rounding only.
    """

    codes: Floats
    iterations: int
    settled: float
    rise: float


def squared_norm(D: NDArray[np.float64]) -> float:
    """Return ||D||², the largest eigenvalue of DᵀD."""
    return float(np.linalg.norm(D, 2) ** 2)


def l1_codes(
    D: NDArray[np.float64], X: Floats, weight: float, *, tol: float = 1e-3, most: int = 500
) -> tuple[Floats, float]:
    """Return argmin ½||x - D a||² + weight ||a||₁ by accelerated proximal gradients (FISTA).

    A chunk of signals ends when no entry moved by more than `tol` times the largest one in an
    iteration, or after `most` iterations.

    Returns
    -------
    codes : ndarray, shape (N, p)
    gap : float
        Mean over signals of the largest violation of the optimality condition |Dᵀ(x - D a)| <=
        weight, relative to `weight`.
    """
    A, gram = D.astype(np.float32), (D.T @ D).astype(np.float32)
    step = np.float32(1 / squared_norm(D))
    codes = np.empty((len(X), D.shape[1]), np.float32)
    gaps = np.empty(len(X))
    for rows in _chunks(len(X)):
        b = X[rows] @ A
        z = np.zeros_like(b)
        ahead, momentum = z, 1.0
        for _ in range(most):
            u = ahead + step * (b - ahead @ gram)
            new = np.sign(u) * np.maximum(np.abs(u) - step * np.float32(weight), 0)
            moved = new - z
            after = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + np.float32((momentum - 1) / after) * moved
            z, momentum = new, after
            if np.abs(moved).max() <= tol * np.abs(z).max():
                break
        codes[rows] = z
        excess = np.abs(b - z @ gram).max(axis=1) / weight - 1
        gaps[rows] = np.maximum(excess, 0)
    return codes, float(gaps.mean())


def shrink(u: NDArray[np.floating], rule: Rule, step: float) -> NDArray[np.floating]:
    """Return h(u): entries of at least theta, or the M largest magnitudes of each row.

    Of equal magnitudes the lowest index is kept.
    """
    if not rule.size:
        return np.where(np.abs(u) >= rule.threshold(step), u, u.dtype.type(0))
    magnitudes = np.abs(u)
    threshold = np.partition(magnitudes, -rule.size, axis=1)[:, -rule.size, None]
    kept = magnitudes >= threshold
    rows = np.flatnonzero(kept.sum(axis=1) > rule.size)  # with ties
    ties = magnitudes[rows] == threshold[rows]
    left = rule.size - (magnitudes[rows] > threshold[rows]).sum(axis=1, keepdims=True)
    kept[rows] &= ~ties | (ties.cumsum(axis=1) <= left)
    return np.where(kept, u, u.dtype.type(0))


def hard_codes(
    D: NDArray[np.float64], X: Floats, rule: Rule, step: float, start: Floats, *, most: int = 2000
) -> Ends:
    """Iterate hard thresholding to its end, from a start, for every signal.

    When the support of a signal has not changed in 20 iterations, least squares on it take the code
    where the iteration tends to on that support. If one more step, in float64, then leaves the
    support as it is, the code is a fixed point; otherwise the iteration goes on from there. Both
    kinds of step descend, and the objective of every signal is looked at in every iteration.

    Parameters
    ----------
    D : ndarray, shape (m, p)
    X : ndarray, shape (N, m)
    rule : Rule
    step : float
        At most 1 / ||D||², which is when the objective descends.
    start : ndarray, shape (N, p)
    most : int
        Iterations after which a signal is left where it is, and counted as not settled.

    Raises
    ------
    InputError
        If an objective rises.
    """
    codes = np.empty((len(X), D.shape[1]), np.float32)
    gram = D.T @ D
    single = gram.astype(np.float32)
    settled, longest, rise = 0, 0, 0.0
    for rows in _chunks(len(X)):
        x, active = X[rows], np.arange(len(X[rows]))
        products = x @ D.astype(np.float32)
        energy = 0.5 * np.einsum("ij,ij->i", x, x)
        found = np.array(start[rows])
        for spent in range(_BURST, most + 1, _BURST):
            z, same, worst = _burst(
                single, products[active], energy[active], rule, step, found[active]
            )
            rise, longest = max(rise, worst), max(longest, spent)
            found[active] = z
            still = active[same]
            solved, fixed = _ends(gram, x[still] @ D, rule, step, z[same])
            found[still] = solved
            active = np.setdiff1d(active, still[fixed], assume_unique=True)
            if not active.size:
                break
        codes[rows] = found
        settled += len(x) - active.size
    return Ends(codes, longest, settled / max(len(X), 1), rise)


def _chunks(count: int) -> list[slice]:
    return [slice(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]


def _burst(
    gram: Floats, b: Floats, energy: Floats, rule: Rule, step: float, z: Floats
) -> tuple[Floats, NDArray[np.bool_], float]:
    """Take some iterations; return codes, whose support stayed the same, and the largest rise."""
    price = rule.price
    support = z != 0
    same = np.ones(len(z), bool)
    before = np.full(len(z), np.inf)
    rise = 0.0
    for t in range(_BURST):
        product = z @ gram
        objective = np.einsum("ij,ij->i", z, 0.5 * product - b) + price * support.sum(1)
        if t or not rule.size:  # a start may have more than M non-zeros
            rise = max(rise, float(((objective - before) / energy).max(initial=0.0)))
            before = objective.astype(np.float64)
        if rise > _ROUNDING:
            raise InputError(
                f"the objective rose by {rise:.1g} of ½||x||² in an iteration: the step, "
                f"{step:.3g}, must not exceed 1/||D||²"
            )
        z = shrink(z + np.float32(step) * (b - product), rule, step)
        new = z != 0
        same &= (new == support).all(axis=1)
        support = new
    return z, same, rise


def _ends(
    gram: NDArray[np.float64], b: NDArray[np.float64], rule: Rule, step: float, z: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Solve least squares on each support; return the codes, and which are fixed points."""
    solved = np.zeros(z.shape, np.float32)
    fixed = np.zeros(len(z), bool)
    theta = rule.threshold(step)
    for part in np.array_split(np.arange(len(z)), max(len(z) // 1000, 1)):
        if not part.size:
            continue
        support = z[part] != 0
        a = least_squares(gram, b[part], support)
        u = np.abs(a + step * (b[part] - a @ gram))
        inside = np.where(support, u, np.inf).min(axis=1)
        outside = np.where(support, 0.0, u).max(axis=1)
        if rule.size:
            fixed[part] = inside >= outside * (1 - _SLACK)
        else:
            fixed[part] = (inside >= theta * (1 - _SLACK)) & (outside <= theta * (1 + _SLACK))
        solved[part] = a
    return solved, fixed


def least_squares(
    gram: NDArray[np.float64], b: NDArray[np.float64], support: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the codes, shape (N, p), of least squares on supports, from DᵀD and Dᵀx.

    Supports of different sizes are filled up with rows of the identity.
    """
    size = int(support.sum(axis=1).max(initial=0))
    places = np.argsort(~support, axis=1, kind="stable")[:, :size]
    real = np.take_along_axis(support, places, 1)
    block = gram[places[:, :, None], places[:, None, :]] * (real[:, :, None] & real[:, None, :])
    block[:, np.arange(size), np.arange(size)] += ~real
    right = np.where(real, np.take_along_axis(b, places, 1), 0.0)[:, :, None]
    try:
        values = np.linalg.solve(block, right)[:, :, 0]
    except np.linalg.LinAlgError:  # atoms of a support are dependent
        values = (np.linalg.pinv(block, hermitian=True) @ right)[:, :, 0]
    codes = np.zeros_like(b)
    np.put_along_axis(codes, places, np.where(real, values, 0.0), 1)
    return codes
