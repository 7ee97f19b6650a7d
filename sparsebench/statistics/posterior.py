"""The posterior of the sparsity at a success rate, on a grid, averaged over shapes of the curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from sparsebench.types import FloatArray

# The distinct k, and their successes and failures.
_Counts = tuple[FloatArray, FloatArray, FloatArray]
# The least posterior weight of a shape whose interval counts.
_PLAUSIBLE = 0.1
_SMALLEST_SCALE = 0.1
_CEILING_FAILURES = 0.02
# Sizes of the grid of theta and log s, and of the first one near and far from the logistic fit.
_GRID, _NEAR, _FAR = (37, 19), 15, (40, 12)
_SCORING_STEPS, _REFINEMENTS, _NEGLIGIBLE = 12, 2, 1e-4


@dataclass(frozen=True)
class Posterior:
    """Marginal posterior of theta, as the masses of cells around its points; the mean of s.

    `plausible` holds the points and masses of each shape that keeps some of the posterior.
    """

    thetas: FloatArray
    mass: FloatArray
    scale: float
    plausible: list[tuple[FloatArray, FloatArray]]

    @property
    def theta(self) -> float:
        """Mean of theta."""
        return float(self.mass @ self.thetas)


def quantiles(
    thetas: FloatArray, mass: FloatArray, probabilities: tuple[float, float]
) -> tuple[float, float]:
    """Invert the distribution of theta, whose mass is spread evenly over each cell."""
    cumulative = np.concatenate([[0.0], np.cumsum(mass)])
    low, high = np.interp(probabilities, cumulative / cumulative[-1], _edges(thetas))
    return float(low), float(high)


def _edges(points: FloatArray) -> FloatArray:
    """Return the edges of cells around points; the first and last points are edges themselves."""
    return np.concatenate([points[:1], (points[1:] + points[:-1]) / 2, points[-1:]])


def _logistic(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    won = scipy.special.log_expit(z)
    return won, won - z


def _abrupt_fall(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gumbel: 1 - F decays as slowly as the logistic, F doubly exponentially."""
    tail = np.exp(np.clip(-z, -40.0, 6.5))
    return -tail, np.log(-np.expm1(-tail))


def _abrupt_start(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    won, lost = _abrupt_fall(-z)
    return lost, won


def _ceiling(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    rate = (1 - _CEILING_FAILURES) * scipy.special.expit(z)
    return np.log(np.maximum(rate, 1e-300)), np.log1p(-rate)


# Each shape: (z -> log F and log(1 - F), q -> the z where F = q).
SHAPES = (
    (_logistic, lambda q: scipy.special.logit(q)),
    (_abrupt_fall, lambda q: -np.log(-np.log(q))),
    (_abrupt_start, lambda q: np.log(-np.log1p(-q))),
    (_ceiling, lambda q: scipy.special.logit(q / (1 - _CEILING_FAILURES))),
)


def _counts(ks: FloatArray, wins: FloatArray, effect: float) -> _Counts:
    """Return the distinct k with their successes and failures, both divided by `effect`."""
    values, index = np.unique(ks, return_inverse=True)
    won = np.bincount(index, weights=wins) / effect
    return values, won, np.bincount(index) / effect - won


def posterior_of(
    ks: FloatArray,
    wins: FloatArray,
    level: float,
    largest: int,
    effect: float = 1.0,
    shapes: tuple = SHAPES,
) -> Posterior:
    """Return the posterior averaged over shapes, each on a grid of its own that fits its mass."""
    counts = _counts(ks, wins, effect)
    smallest = np.log(_SMALLEST_SCALE)
    # The support of the prior: bounds of theta and of log s.
    limits = [(0.0, float(largest)), (smallest, max(np.log(largest / 3.0), smallest + 0.7))]
    start = _start(counts, level, limits)
    grids = [_fitted_grid(counts, level, shape, start) for shape in shapes]
    top = max(joint.max() for _, joint in grids)
    thetas = np.unique(np.concatenate([axes[0] for axes, _ in grids]))
    density, log_scale = np.zeros(thetas.size), 0.0
    by_shape = []
    for axes, joint in grids:
        mass = np.exp(joint - top) * np.diff(_edges(axes[1]))
        density += np.interp(thetas, axes[0], mass.sum(axis=1), left=0.0, right=0.0)
        cells = np.diff(_edges(axes[0]))
        log_scale += float(cells @ mass @ axes[1])
        by_shape.append((axes[0], cells * mass.sum(axis=1)))
    mass = density * np.diff(_edges(thetas))
    total = sum(float(own.sum()) for _, own in by_shape)
    plausible = [shape for shape in by_shape if shape[1].sum() >= _PLAUSIBLE * total]
    return Posterior(thetas, mass / mass.sum(), float(np.exp(log_scale / total)), plausible)


def _start(counts: _Counts, level: float, limits: list[tuple[float, float]]) -> list[FloatArray]:
    """Return points of theta and of log s, dense around the logistic fit by Fisher's scoring."""
    values, won, lost = counts
    least, most = np.array(limits).T
    total = won + lost
    # A prior as wide as the limits, so that what the rows say nothing of has a variance too.
    prior = np.diag((most - least) ** -2.0)
    point = centre = np.array([values @ total / total.sum(), np.log(0.03 * most[0])])
    for _ in range(_SCORING_STEPS):
        scale = np.exp(point[1])
        distance = (point[0] - values) / scale
        rate = scipy.special.expit(distance + scipy.special.logit(level))
        slopes = np.stack([np.full(values.size, 1 / scale), -distance])
        covariance = np.linalg.inv(slopes * (rate * (1 - rate) * total) @ slopes.T + prior)
        step = covariance @ (slopes @ (won - total * rate) - prior @ (point - centre))
        farthest = np.array([3 * scale, 1.0])
        point = np.clip(point + np.clip(step, -farthest, farthest), least, most)
    spread = 6 * np.sqrt(np.diag(covariance))
    near = np.clip(np.linspace(point - spread, point + spread, _NEAR), least, most)
    return [
        np.unique(np.concatenate([near[:, axis], np.linspace(*limits[axis], size)]))
        for axis, size in enumerate(_FAR)
    ]


def _fitted_grid(
    counts: _Counts, level: float, shape: tuple, axes: list[FloatArray]
) -> tuple[list[FloatArray], FloatArray]:
    """Return theta and log s, dense where the mass is, and the log posterior on their grid."""
    joint = _log_posterior(axes, counts, level, shape)
    for _ in range(_REFINEMENTS):
        cells = np.outer(np.diff(_edges(axes[0])), np.diff(_edges(axes[1])))
        mass = np.exp(joint - joint.max()) * cells
        axes = [
            _denser(axis, mass.sum(axis=1 - i), size)
            for i, (axis, size) in enumerate(zip(axes, _GRID, strict=True))
        ]
        joint = _log_posterior(axes, counts, level, shape)
    return axes, joint


def _denser(points: FloatArray, mass: FloatArray, size: int) -> FloatArray:
    """Return points that lie as densely as the cube root of the density, where the mass is.

    For that spacing, sums over cells err least.
    """
    edges = _edges(points)
    cumulative = np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum()
    ends = np.interp([_NEGLIGIBLE, 1 - _NEGLIGIBLE], cumulative, edges)
    part = np.concatenate([[0.0], np.cumsum(np.cbrt(mass * np.diff(edges) ** 2))])
    first, last = np.interp(ends, edges, part)
    denser: FloatArray = np.interp(np.linspace(first, last, size), part, edges)
    return denser


def _log_posterior(
    axes: list[FloatArray], counts: _Counts, level: float, shape: tuple
) -> FloatArray:
    (thetas, log_scales), (values, won, lost), (log_rates, inverse) = axes, counts, shape
    distance = (thetas[:, None, None] - values) * np.exp(-log_scales)[:, None]
    log_rate, log_complement = log_rates(distance + inverse(level))
    joint: FloatArray = log_rate @ won + log_complement @ lost
    return joint
