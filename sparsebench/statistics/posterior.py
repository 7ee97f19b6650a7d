"""The posterior of the sparsity at a success rate, on a grid, averaged over shapes of the curve."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy

from sparsebench.types import FloatArray

# The distinct k, and their successes and failures.
_Counts = tuple[FloatArray, FloatArray, FloatArray]
# Points of theta and of log s, and the log posterior on their grid.
_Grid = tuple[list[FloatArray], FloatArray]
_Shape = tuple[Callable[[FloatArray], tuple[FloatArray, FloatArray]], Callable[[float], float]]
# The least posterior weight of a shape whose interval counts.
_PLAUSIBLE = 0.1
_SMALLEST_SCALE = 0.1
# Failures everywhere; as a share of those at the level at most this, or it would never be met.
_CEILING_FAILURES, _CEILING_SHARE = 0.02, 0.4
# Sizes of the grid of theta and log s, and of the first one near and far from the logistic fit.
_GRID, _NEAR, _FAR = (37, 19), 15, (40, 12)
_SCORING_STEPS, _REFINEMENTS = 12, 2
# The ends of what is not negligible, as parts of the mass; and equal steps from 0 to 1.
_ENDS = np.array([1e-4, 1 - 1e-4])
_PARTS = {size: np.linspace(0, 1, size) for size in _GRID}


@dataclass(frozen=True)
class Posterior:
    """Marginal posterior of theta, as the masses of cells around its points; the mean of s.

    `plausible` holds the points and masses of each shape that keeps some of the posterior; `start`
    and `grids` what it was computed on: where it began, and the fitted grid of each shape.
    """

    thetas: FloatArray
    mass: FloatArray
    scale: float
    plausible: list[tuple[FloatArray, FloatArray]]
    start: list[FloatArray]
    grids: list[_Grid]

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


def _widths(points: FloatArray) -> FloatArray:
    """Return the widths of cells around points."""
    edges = _edges(points)
    widths: FloatArray = edges[1:] - edges[:-1]
    return widths


def _logistic(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    won = np.minimum(z, 0.0) - np.log1p(np.exp(-np.abs(z)))  # numpy's vector instructions
    return won, won - z


def _abrupt_fall(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gumbel: 1 - F decays as slowly as the logistic, F doubly exponentially."""
    tail = np.exp(np.clip(-z, -40.0, 6.5))
    return -tail, np.log(-np.expm1(-tail))


def _abrupt_start(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    won, lost = _abrupt_fall(-z)
    return lost, won


def _ceiling(failures: float, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    rate = (1 - failures) * scipy.special.expit(z)
    return np.log(np.maximum(rate, 1e-300)), np.log1p(-rate)


# Each shape: (z -> log F and log(1 - F), q -> the z where F = q).
LOGISTIC: tuple[_Shape, ...] = ((_logistic, lambda q: scipy.special.logit(q)),)
_GUMBEL: tuple[_Shape, ...] = (
    (_abrupt_fall, lambda q: -np.log(-np.log(q))),
    (_abrupt_start, lambda q: np.log(-np.log1p(-q))),
)


def shapes_at(level: float) -> tuple[_Shape, ...]:
    """Return the shapes that are averaged over at a level."""
    failures = min(_CEILING_FAILURES, _CEILING_SHARE * (1 - level))
    ceiling = partial(_ceiling, failures), lambda q: scipy.special.logit(q / (1 - failures))
    return (*LOGISTIC, *_GUMBEL, ceiling)


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
    shapes: tuple[_Shape, ...] = LOGISTIC,
    known: Posterior | None = None,
) -> Posterior:
    """Return the posterior averaged over shapes, each on a grid of its own that fits its mass.

    `known` is the posterior of the same rows and effect over the first of the shapes.
    """
    counts = _counts(ks, wins, effect)
    smallest = np.log(_SMALLEST_SCALE)
    # The support of the prior: bounds of theta and of log s.
    limits = [(0.0, float(largest)), (smallest, max(np.log(largest / 3.0), smallest + 0.7))]
    start = known.start if known else _start(counts, level, limits)
    grids = list(known.grids) if known else []
    grids += [_fitted_grid(counts, level, shape, start) for shape in shapes[len(grids) :]]
    top = max(joint.max() for _, joint in grids)
    thetas = np.unique(np.concatenate([axes[0] for axes, _ in grids]))
    density, log_scale = np.zeros(thetas.size), 0.0
    by_shape = []
    for axes, joint in grids:
        mass = np.exp(joint - top) * _widths(axes[1])
        density += np.interp(thetas, axes[0], mass.sum(axis=1), left=0.0, right=0.0)
        cells = _widths(axes[0])
        log_scale += float(cells @ mass @ axes[1])
        by_shape.append((axes[0], cells * mass.sum(axis=1)))
    mass = density * _widths(thetas)
    total = sum(float(own.sum()) for _, own in by_shape)
    plausible = [shape for shape in by_shape if shape[1].sum() >= _PLAUSIBLE * total]
    scale = float(np.exp(log_scale / total))
    return Posterior(thetas, mass / mass.sum(), scale, plausible, start, grids)


def _start(counts: _Counts, level: float, limits: list[tuple[float, float]]) -> list[FloatArray]:
    """Return points of theta and of log s, dense around the logistic fit by Fisher's scoring."""
    values, won, lost = counts
    total = won + lost
    # A prior as wide as the limits, so that what the rows say nothing of has a variance too.
    priors = [(most - least) ** -2.0 for least, most in limits]
    centre = float(values @ total / total.sum()), math.log(0.03 * limits[0][1])
    theta, log_scale = centre
    shift = float(scipy.special.logit(level))
    for _ in range(_SCORING_STEPS):
        scale = math.exp(log_scale)
        distance = (theta - values) / scale
        rate = scipy.special.expit(distance + shift)
        weights, excess = rate * (1 - rate) * total, won - total * rate
        # The information and the gradient; theta's slope is 1 / scale, that of log s -distance.
        weighted = weights * distance
        first = float(weights.sum()) / scale**2 + priors[0]
        cross = -float(weighted.sum()) / scale
        second = float(weighted @ distance) + priors[1]
        up = float(excess.sum()) / scale - priors[0] * (theta - centre[0])
        wider = -float(excess @ distance) - priors[1] * (log_scale - centre[1])
        determinant = first * second - cross * cross
        step = (second * up - cross * wider) / determinant
        theta = _within(theta + _within(step, -3 * scale, 3 * scale), *limits[0])
        step = (first * wider - cross * up) / determinant
        log_scale = _within(log_scale + _within(step, -1.0, 1.0), *limits[1])
    spreads = 6 * math.sqrt(second / determinant), 6 * math.sqrt(first / determinant)
    axes = []
    for point, spread, ends, size in zip((theta, log_scale), spreads, limits, _FAR, strict=True):
        near = np.linspace(point - spread, point + spread, _NEAR).clip(*ends)
        axes.append(np.unique(np.concatenate([near, np.linspace(*ends, size)])))
    return axes


def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)


def _fitted_grid(counts: _Counts, level: float, shape: _Shape, axes: list[FloatArray]) -> _Grid:
    """Return theta and log s, dense where the mass is, and the log posterior on their grid."""
    joint = _log_posterior(axes, counts, level, shape)
    for _ in range(_REFINEMENTS):
        density, widths = np.exp(joint - joint.max()), [_widths(axis) for axis in axes]
        masses = widths[0] * (density @ widths[1]), widths[1] * (widths[0] @ density)
        axes = [
            _denser(axis, mass, width, size)
            for axis, mass, width, size in zip(axes, masses, widths, _GRID, strict=True)
        ]
        joint = _log_posterior(axes, counts, level, shape)
    return axes, joint


def _denser(points: FloatArray, mass: FloatArray, widths: FloatArray, size: int) -> FloatArray:
    """Return points that lie as densely as the cube root of the density, where the mass is.

    For that spacing, sums over cells err least.
    """
    edges = _edges(points)
    cumulative, part = np.zeros(edges.size), np.zeros(edges.size)
    np.cumsum(mass, out=cumulative[1:])
    np.cumsum(np.cbrt(mass * widths**2), out=part[1:])
    ends = np.interp(_ENDS * cumulative[-1], cumulative, edges)
    first, last = np.interp(ends, edges, part)
    denser: FloatArray = np.interp(first + (last - first) * _PARTS[size], part, edges)
    return denser


def _log_posterior(
    axes: list[FloatArray], counts: _Counts, level: float, shape: _Shape
) -> FloatArray:
    (thetas, log_scales), (values, won, lost), (log_rates, inverse) = axes, counts, shape
    distance = (thetas[:, None, None] - values) * np.exp(-log_scales)[:, None]
    distance += inverse(level)
    log_rate, log_complement = log_rates(distance.reshape(-1, values.size))
    joint: FloatArray = log_rate @ won
    joint += log_complement @ lost
    return joint.reshape(thetas.size, log_scales.size)
