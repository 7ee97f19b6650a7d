"""Estimates with intervals: proportions, bounded means, and the sparsity at a success rate.

The threshold estimator, in ten lines. For one algorithm at one m, each row is (k, trial, success).
Near the level q, success is modelled as P(k) = F((theta - k) / s + F^-1(q)), so that theta is where
P = q. F is one of four shapes that are averaged over: logistic, the two Gumbel laws (an abrupt
fall or an abrupt start of it) and a logistic with 2 % of failures everywhere. The prior is flat for
theta in [0, min(m, n)], for log s and over shapes. A first fit finds the window of k in which P
lies between two rates around q, widened until it holds 20 successes below theta and 20 failures
above; rows outside are not used, so the curve elsewhere does no harm. Rows of one trial share a
dictionary: the log-likelihood is divided by the design effect, the ratio of theta's variance
clustered by trial (a sandwich estimate) to that with independent rows, where it exceeds 1. The
estimate is the posterior mean of theta on a grid, the interval the central 95 % of its posterior.
At levels below .95, shapes that the rows cannot tell apart disagree on theta: there the interval
reaches over those of every shape that keeps a tenth of the posterior. Where the fall is so steep
that nothing but the shape places theta between two whole k, the interval is extended to whole k,
and covers more often than it says.
"""

from __future__ import annotations

import numbers
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.special import expit, log_expit, logit, xlogy
from scipy.stats import binom, binomtest, norm, t

from sparsebench.types import FloatArray, InputError, as_array, as_floats, check_whole

CONFIDENCE = 0.95
#: What is said of the coverage of an interval.
NOMINAL, AT_LEAST, APPROXIMATE = "nominal", "at least", "approximate"
#: Fewer values than this have no interval of their median at that confidence.
FEWEST_FOR_A_MEDIAN = 6
# Rates that bound the window of the final fit, by level; between these levels, on their logits.
_WINDOWS = {0.05: (0.002, 0.8), 0.5: (0.04, 0.96), 0.95: (0.2, 0.998)}
# The least posterior weight of a shape whose interval counts; scales (in k) of a steep fall.
_PLAUSIBLE, _STEEP = 0.1, 0.5
_FEWEST_WITNESSES = 20
_FEWEST_CLUSTERS = 30
_SMALLEST_SCALE = 0.1
_CEILING_FAILURES = 0.02
# Simulated draws of the test of a falling rate, and how many above the observed one end it.
_MOST_DRAWS, _ENOUGH_ABOVE = 1999, 20
# Sizes of the grid of theta and log s, and of the first one near and far from the logistic fit.
_GRID, _NEAR, _FAR = (37, 19), 15, (40, 12)
_SCORING_STEPS, _REFINEMENTS, _NEGLIGIBLE = 12, 2, 1e-4


def wilson(
    successes: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[FloatArray, FloatArray]:
    """Return Wilson's score interval of a proportion, elementwise; [0, 1] for no trials.

    References
    ----------
    Wilson, J. Amer. Statist. Assoc. 22, 1927, doi:10.1080/01621459.1927.10502953.
    """
    count, total = as_floats(successes, "successes"), as_floats(trials, "trials")
    try:
        count, total = np.broadcast_arrays(count, total)
    except ValueError:
        raise InputError(f"no trials of {count.shape} for successes of {total.shape}") from None
    if (count < 0).any() or (count > total * (1 + 1e-12)).any():
        raise InputError("successes must lie between 0 and the number of trials")
    z2 = norm.isf(_tail(confidence)) ** 2
    rate = count / np.maximum(total, 1)
    centre = (count + z2 / 2) / (total + z2)
    half = np.sqrt(z2 * (total * rate * np.maximum(1 - rate, 0) + z2 / 4)) / (total + z2)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return (mean, lower, upper) of independent values in [0, 1].

    Student's interval, clipped to [0, 1]; where all values are equal, which leaves Student's a
    point, Wilson's interval for that mean, which holds for any law on [0, 1].
    """
    sample = _sample(values, 1)
    if sample.min() < 0 or sample.max() > 1:
        raise InputError("values must lie in [0, 1]")
    size, mean = sample.size, float(sample.mean())
    spread = float(sample.std(ddof=1)) if size > 1 else 0.0
    if spread == 0.0:
        lower, upper = wilson(mean * size, size, confidence)
        return mean, float(lower), float(upper)
    half = float(t.isf(_tail(confidence), size - 1)) * spread / np.sqrt(size)
    return mean, max(mean - half, 0.0), min(mean + half, 1.0)


def median_interval(
    values: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (median, lower, upper) of independent values along the first axis.

    The interval lies between two of the sorted values, by the binomial law of how many of them
    are below the median, so that it holds for any law; infinite for fewer than six values at 95 %.

    References
    ----------
    Conover, Practical Nonparametric Statistics, 3rd edition, Wiley 1999, section 3.2.
    """
    ordered = np.sort(_sample(values), axis=0)
    size = ordered.shape[0]
    rank = int(binom.ppf(_tail(confidence), size, 0.5))
    median = np.asarray(np.median(ordered, axis=0))
    if rank == 0:
        return median, np.full_like(median, -np.inf), np.full_like(median, np.inf)
    return median, ordered[rank - 1], ordered[size - rank]


def decibel_intervals(
    errors: ArrayLike, powers: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return the normalised mean square error in dB by both definitions, each with its interval.

    The ratio of sums, 10 log10(Σ errors / Σ powers), with an interval by the delta method for the
    logarithm of a ratio of means; and the mean over signals of their own ratio in dB, with
    Student's. A ratio below -300 dB counts as that; a signal of no power is left out of the mean.

    Parameters
    ----------
    errors, powers : array_like, shape (signals,)
        ||x̂ - x||² and ||x||² of each signal.
    """
    error, power = _sample(errors, 1), _sample(powers, 1)
    if error.shape != power.shape or min(error.min(), power.min()) < 0 or not power.any():
        raise InputError("errors and powers must be as many, none negative, some power positive")
    quantile = float(t.isf(_tail(confidence), max(error.size - 1, 1)))
    least = 1e-30
    ratio = max(error.sum() / power.sum(), least)
    influence = error / max(error.mean(), least * power.mean()) - power / power.mean()
    half = 10 / np.log(10) * quantile * float(np.sqrt(np.square(influence).sum())) / error.size
    quoted = 10 * float(np.log10(ratio))
    own = 10 * np.log10(np.maximum(error[power > 0] / power[power > 0], least))
    mean = float(own.mean())
    spread = float(own.std(ddof=1)) if own.size > 1 else 0.0
    half_mean = quantile * spread / np.sqrt(own.size)
    return (quoted, quoted - half, quoted + half), (mean, mean - half_mean, mean + half_mean)


def _tail(confidence: float) -> float:
    """Return the probability on each side of an interval."""
    return (1 - _probability("confidence", confidence)) / 2


def _probability(name: str, value: float) -> float:
    if not isinstance(value, numbers.Real) or not 0 < value < 1:
        raise InputError(f"the {name} lies between 0 and 1, not at {value!r}")
    return float(value)


def _sample(values: ArrayLike, ndim: int | None = None) -> FloatArray:
    """Return at least one finite value, as an array of `ndim` dimensions, or of one and more."""
    sample = as_floats(values, "the sample")
    if sample.ndim != (ndim or max(sample.ndim, 1)) or not sample.size:
        raise InputError(f"a sample needs values along its first axis, not shape {sample.shape}")
    return sample


def _outcomes(
    k: ArrayLike, success: ArrayLike, trial: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray, NDArray[Any]]:
    """Return sparsities, successes as 0 and 1, and trials of as many rows."""
    ks, wins = _sample(k, 1), _sample(success, 1)
    trials = ks if trial is None else as_array(trial, "trial")
    if not ks.shape == wins.shape == trials.shape:
        raise InputError(
            f"k, success and trial must be as many, not {ks.shape}, {wins.shape}, {trials.shape}"
        )
    if not ((wins == 0) | (wins == 1)).all() or ks.min() < 0:
        raise InputError("k must not be negative and success be 0 or 1")
    return ks, wins, trials


@dataclass(frozen=True)
class Threshold:
    """The sparsity at which a success rate is met, in units of k.

    Attributes
    ----------
    level : float
        The success rate.
    estimate, lower, upper : float
        Posterior mean and interval.
    scale : float
        Posterior mean of the logistic scale s.
    design_effect : float
        Variance inflation by shared dictionaries, at least 1.
    coverage : str
        Of the interval: `NOMINAL`; `AT_LEAST` that, where the fall is steep; or `APPROXIMATE`,
        where too few trials have several rows to see what these share.
    """

    level: float
    estimate: float
    lower: float
    upper: float
    scale: float
    design_effect: float
    coverage: str

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.upper - self.lower) / 2


def fit_threshold(
    k: ArrayLike,
    trial: ArrayLike,
    success: ArrayLike,
    level: float,
    largest: int,
    confidence: float = CONFIDENCE,
) -> Threshold:
    """Fit the sparsity at which the success rate is `level`; see the head of this module.

    Parameters
    ----------
    k, trial, success : array_like, shape (rows,)
        Sparsity, trial number (rows of one trial share a dictionary) and whether it succeeded.
    level : float
        The success rate, from .05 to .95: beyond, shapes with failures everywhere never come to it.
    largest : int
        min(m, n), the largest possible sparsity.

    Raises
    ------
    InputError
        If the level is another.
    """
    ks, wins, trials = _outcomes(k, success, trial)
    level = _probability("level", level)
    if not min(_WINDOWS) <= level <= max(_WINDOWS):
        raise InputError(
            f"no threshold is fitted at the level {level}: choose one from {min(_WINDOWS)} to "
            f"{max(_WINDOWS)}"
        )
    check_whole("largest", largest, 1, sys.maxsize)
    tail = _tail(confidence)
    logistic = _posterior(ks, wins, level, largest, shapes=_SHAPES[:1])
    inside = _window(ks, wins, level, logistic)
    if not inside.all():
        ks, trials, wins = ks[inside], trials[inside], wins[inside]
        logistic = _posterior(ks, wins, level, largest, shapes=_SHAPES[:1])
    effect = _design_effect(ks, trials, wins, level, logistic)
    posterior = _posterior(ks, wins, level, largest, effect)
    tails = tail, 1 - tail
    lower, upper = _quantiles(posterior.thetas, posterior.mass, tails)
    if level < max(_WINDOWS):
        ends = [(lower, upper)] + [_quantiles(*shape, tails) for shape in posterior.plausible]
        lower, upper = min(low for low, _ in ends), max(high for _, high in ends)
    several = int((np.unique(trials, return_counts=True)[1] > 1).sum())
    coverage = APPROXIMATE if 0 < several < _FEWEST_CLUSTERS else NOMINAL
    if posterior.scale < _STEEP:
        lower, upper, coverage = float(np.floor(lower)), float(np.ceil(upper)), AT_LEAST
    # No problem has k < 1, so nothing is known of a theta below it.
    lower = 0.0 if lower < 1 else lower
    return Threshold(level, posterior.theta, lower, upper, posterior.scale, effect, coverage)


@dataclass(frozen=True)
class _Posterior:
    """Marginal posterior of theta, as the masses of cells around its points; the mean of s.

    `plausible` holds the points and masses of each shape that keeps some of the posterior.
    """

    thetas: FloatArray
    mass: FloatArray
    scale: float
    plausible: list[tuple[FloatArray, FloatArray]]

    @property
    def theta(self) -> float:
        return float(self.mass @ self.thetas)


def _quantiles(
    thetas: FloatArray, mass: FloatArray, probabilities: tuple[float, float]
) -> tuple[float, float]:
    """Invert the distribution of theta, whose mass is spread evenly over each cell."""
    cumulative = np.concatenate([[0.0], np.cumsum(mass)])
    low, high = np.interp(probabilities, cumulative / cumulative[-1], _edges(thetas))
    return float(low), float(high)


def _edges(points: FloatArray) -> FloatArray:
    """Return the edges of cells around points; the first and last points are edges themselves."""
    return np.concatenate([points[:1], (points[1:] + points[:-1]) / 2, points[-1:]])


def _window(
    ks: FloatArray, wins: FloatArray, level: float, posterior: _Posterior
) -> NDArray[np.bool_]:
    """Return which rows the final fit uses."""
    bounds = logit(np.array(list(_WINDOWS.values())))
    rates = np.array([np.interp(logit(level), logit(list(_WINDOWS)), bound) for bound in bounds.T])
    high, low = posterior.theta - posterior.scale * (rates - logit(level))
    failures_above = np.sort(ks[(ks >= posterior.theta) & (wins == 0)])
    successes_below = np.sort(ks[(ks <= posterior.theta) & (wins == 1)])
    if failures_above.size:
        high = max(high, failures_above[:_FEWEST_WITNESSES][-1])
    if successes_below.size:
        low = min(low, successes_below[-_FEWEST_WITNESSES:][0])
    return (ks >= low) & (ks <= high)


def _logistic(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    won = log_expit(z)
    return won, won - z


def _abrupt_fall(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gumbel: 1 - F decays as slowly as the logistic, F doubly exponentially."""
    tail = np.exp(np.clip(-z, -40.0, 6.5))
    return -tail, np.log(-np.expm1(-tail))


def _abrupt_start(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    won, lost = _abrupt_fall(-z)
    return lost, won


def _ceiling(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    rate = (1 - _CEILING_FAILURES) * expit(z)
    return np.log(np.maximum(rate, 1e-300)), np.log1p(-rate)


# Each shape: (z -> log F and log(1 - F), q -> the z where F = q).
_SHAPES = (
    (_logistic, logit),
    (_abrupt_fall, lambda q: -np.log(-np.log(q))),
    (_abrupt_start, lambda q: np.log(-np.log1p(-q))),
    (_ceiling, lambda q: logit(q / (1 - _CEILING_FAILURES))),
)


def _counts(
    ks: FloatArray, wins: FloatArray, effect: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the distinct k with their successes and failures, both divided by `effect`."""
    values, index = np.unique(ks, return_inverse=True)
    won = np.bincount(index, weights=wins) / effect
    return values, won, np.bincount(index) / effect - won


def _limits(largest: int) -> list[tuple[float, float]]:
    """Return the support of the prior: bounds of theta and of log s."""
    smallest = np.log(_SMALLEST_SCALE)
    return [(0.0, float(largest)), (smallest, max(np.log(largest / 3.0), smallest + 0.7))]


def _posterior(
    ks: FloatArray,
    wins: FloatArray,
    level: float,
    largest: int,
    effect: float = 1.0,
    shapes: tuple = _SHAPES,
) -> _Posterior:
    """Return the posterior averaged over shapes, each on a grid of its own that fits its mass."""
    counts = _counts(ks, wins, effect)
    start = _start(*counts, level, _limits(largest))
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
    return _Posterior(thetas, mass / mass.sum(), float(np.exp(log_scale / total)), plausible)


def _start(
    values: FloatArray,
    won: FloatArray,
    lost: FloatArray,
    level: float,
    limits: list[tuple[float, float]],
) -> list[FloatArray]:
    """Return points of theta and of log s, dense around the logistic fit by Fisher's scoring."""
    least, most = np.array(limits).T
    total = won + lost
    # A prior as wide as the limits, so that what the rows say nothing of has a variance too.
    prior = np.diag((most - least) ** -2.0)
    point = centre = np.array([values @ total / total.sum(), np.log(0.03 * most[0])])
    for _ in range(_SCORING_STEPS):
        scale = np.exp(point[1])
        distance = (point[0] - values) / scale
        rate = expit(distance + logit(level))
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
    counts: tuple[FloatArray, FloatArray, FloatArray],
    level: float,
    shape: tuple,
    axes: list[FloatArray],
) -> tuple[list[FloatArray], FloatArray]:
    """Return theta and log s, dense where the mass is, and the log posterior on their grid."""
    joint = _log_posterior(axes[0], axes[1], *counts, level, shape)
    for _ in range(_REFINEMENTS):
        cells = np.outer(np.diff(_edges(axes[0])), np.diff(_edges(axes[1])))
        mass = np.exp(joint - joint.max()) * cells
        axes = [
            _denser(axis, mass.sum(axis=1 - i), size)
            for i, (axis, size) in enumerate(zip(axes, _GRID, strict=True))
        ]
        joint = _log_posterior(axes[0], axes[1], *counts, level, shape)
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
    thetas: FloatArray,
    log_scales: FloatArray,
    values: FloatArray,
    won: FloatArray,
    lost: FloatArray,
    level: float,
    shape: tuple,
) -> FloatArray:
    log_rates, inverse = shape
    distance = (thetas[:, None, None] - values) * np.exp(-log_scales)[:, None]
    log_rate, log_complement = log_rates(distance + inverse(level))
    joint: FloatArray = log_rate @ won + log_complement @ lost
    return joint


def _design_effect(
    ks: FloatArray,
    trials: NDArray[np.generic],
    wins: FloatArray,
    level: float,
    posterior: _Posterior,
) -> float:
    """Return var(theta) clustered by trial over var(theta) with independent rows, at least 1."""
    _, cluster, sizes = np.unique(trials, return_inverse=True, return_counts=True)
    if (sizes > 1).sum() < _FEWEST_CLUSTERS:
        return 1.0
    theta, scale = posterior.theta, posterior.scale
    distance = (ks - theta) / scale
    rate = expit(logit(level) - distance)
    slopes = np.stack([np.full(ks.size, 1 / scale), distance], axis=1)
    scores = (wins - rate)[:, None] * slopes
    information = slopes.T @ (slopes * (rate * (1 - rate))[:, None])
    clustered = np.zeros((sizes.size, 2))
    np.add.at(clustered, cluster, scores)
    try:
        influence = np.linalg.solve(information, np.array([1.0, 0.0]))
    except np.linalg.LinAlgError:
        return 1.0
    together = float(((clustered @ influence) ** 2).sum())
    apart = float(((scores @ influence) ** 2).sum())
    return max(together / apart, 1.0) if apart > 0 else 1.0


@dataclass(frozen=True)
class Difference:
    """A difference of two estimates from the same instances.

    Attributes
    ----------
    estimate, lower, upper : float
        The difference with its paired interval.
    p_value : float
        Two-sided, of no difference.
    correlation : float
        Of the two estimates; 0 where they share no trial.
    """

    estimate: float
    lower: float
    upper: float
    p_value: float
    correlation: float


def threshold_difference(
    first: Threshold,
    second: Threshold,
    rows: tuple[ArrayLike, ArrayLike, ArrayLike],
    other_rows: tuple[ArrayLike, ArrayLike, ArrayLike],
    confidence: float = CONFIDENCE,
) -> Difference:
    """Return theta of the first less that of the second, paired by trial.

    The standard errors are those of the two intervals; their correlation is that of the
    influences which each trial has on the two estimates (the infinitesimal jackknife, clustered
    by trial), so that a dictionary which is hard for both does not count against either.

    Parameters
    ----------
    first, second : Threshold
        Fits of one level.
    rows, other_rows : tuple of array_like
        Sparsity, trial and success of the rows of each, as `fit_threshold` took them.

    References
    ----------
    Jaeckel, The infinitesimal jackknife, Bell Laboratories memorandum, 1972; Efron, The jackknife,
    the bootstrap and other resampling plans, SIAM 1982, doi:10.1137/1.9781611970319.
    """
    influences = pd.DataFrame(
        {"first": _influence(first, *rows), "second": _influence(second, *other_rows)}
    ).fillna(0.0)
    a, b = influences.to_numpy().T
    together = float(a @ b)
    correlation = together / float(np.sqrt((a @ a) * (b @ b))) if together else 0.0
    width = norm.isf(_tail(confidence))
    errors = np.array([first.half_width, second.half_width]) / width
    variance = errors @ errors - 2 * correlation * errors.prod()
    error = float(np.sqrt(max(variance, 0.0)))
    estimate = first.estimate - second.estimate
    p_value = float(2 * norm.sf(abs(estimate) / error)) if error > 0 else 1.0
    return Difference(
        estimate, estimate - width * error, estimate + width * error, p_value, correlation
    )


def _influence(
    fitted: Threshold, k: ArrayLike, trial: ArrayLike, success: ArrayLike
) -> pd.Series[float]:
    """Return what each trial adds to theta, to first order, under the fitted logistic curve."""
    ks, wins, trials = _outcomes(k, success, trial)
    distance = (ks - fitted.estimate) / fitted.scale
    rate = expit(logit(fitted.level) - distance)
    slopes = np.stack([np.full(ks.size, 1 / fitted.scale), distance], axis=1)
    information = slopes.T @ (slopes * (rate * (1 - rate))[:, None])
    scores = (wins - rate)[:, None] * slopes
    return pd.Series(scores @ np.linalg.pinv(information)[0]).groupby(trials).sum()


def monotone_p_value(k: ArrayLike, success: ArrayLike) -> float:
    """Return the p-value that the success rate nowhere rises with k.

    The likelihood ratio of separate rates at every k to the isotonic fit, against its law under
    that fit: by simulation from a fixed seed, which ends early where the p-value is large.

    References
    ----------
    Robertson, Wright and Dykstra, Order Restricted Statistical Inference, Wiley 1988; Besag and
    Clifford, Biometrika 78, 1991, doi:10.1093/biomet/78.2.301.
    """
    ks, wins, _ = _outcomes(k, success)
    _, index = np.unique(ks, return_inverse=True)
    total = np.bincount(index)
    won = np.bincount(index, weights=wins)
    observed, fitted = _rise(won, total)
    rng = np.random.default_rng(0)
    above = 0
    for draws in range(1, _MOST_DRAWS + 1):
        above += _rise(rng.binomial(total, fitted), total)[0] >= observed - 1e-9
        if above == _ENOUGH_ABOVE:
            return above / draws
    return (above + 1) / (_MOST_DRAWS + 1)


def _rise(won: NDArray[Any], total: NDArray[Any]) -> tuple[float, FloatArray]:
    """Return the log likelihood ratio of separate rates to falling ones, and the latter."""
    rates = won / total
    fitted = np.clip(isotonic_regression(rates, weights=total, increasing=False).x, 0, 1)
    lost = total - won
    ratio = (
        xlogy(won, rates) - xlogy(won, fitted) + xlogy(lost, 1 - rates) - xlogy(lost, 1 - fitted)
    )
    return float(ratio.sum()), fitted


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value that either alone succeeds equally often.

    References
    ----------
    McNemar, Psychometrika 12, 1947, doi:10.1007/BF02295996.
    """
    both = check_whole("only_first", only_first, 0, sys.maxsize)
    both += check_whole("only_second", only_second, 0, sys.maxsize)
    return float(binomtest(only_first, both).pvalue) if both else 1.0
