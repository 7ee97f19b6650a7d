"""The sparsity at which a success rate is met, and whether that rate falls with k.

The threshold estimator, in ten lines. For one algorithm at one m, each row is (k, trial, success).
Near the level q, success is modelled as P(k) = F((theta - k) / s + F^-1(q)), so that theta is where
P = q. F is one of four shapes that are averaged over: logistic, the two Gumbel laws (an abrupt
fall or an abrupt start of it) and a logistic with 2 % of failures everywhere (of q above .95, with
two fifths of the failures at q). The prior is flat for theta in [0, min(m, n)], for log s and over
shapes. A first fit finds the window of k in which P lies between two rates around q, widened until
it holds 20 successes below theta and 20 failures above; rows outside are not used, so the curve
elsewhere does no harm. Rows of one trial share a
dictionary: the log-likelihood is divided by the design effect, the ratio of theta's variance
clustered by trial (a sandwich estimate) to that with independent rows, where it exceeds 1. The
estimate is the posterior mean of theta on a grid, the interval the central 95 % of its posterior.
At levels below .8, shapes that the rows cannot tell apart disagree on theta: there the interval
reaches over those of every shape that keeps a tenth of the posterior. Where the fall is so steep
that nothing but the shape places theta between two whole k, the interval is extended to whole k,
and covers more often than it says.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from sparsebench.statistics.intervals import CONFIDENCE, as_outcomes, probability, tail
from sparsebench.statistics.posterior import Posterior, posterior_of, quantiles, shapes_at
from sparsebench.types import APPROXIMATE, AT_LEAST, NOMINAL, FloatArray, check_whole

if TYPE_CHECKING:
    import pandas as pd

# Rates that bound the window of the final fit, by level; between these levels, on their logits, and
# beyond them as far from the level, in logits, as at the last.
_WINDOWS = {0.05: (0.002, 0.8), 0.5: (0.04, 0.96), 0.95: (0.2, 0.998)}
# From this level on rows at the level itself are sampled, on which the shapes agree.
_SHAPES_AGREE = 0.8
# Scales (in k) below this are those of a steep fall.
_STEEP = 0.5
_FEWEST_WITNESSES = 20
_FEWEST_CLUSTERS = 30
# Simulated draws of the test of a falling rate, and how many above the observed one end it.
_MOST_DRAWS, _ENOUGH_ABOVE = 1999, 20


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
        The success rate, between 0 and 1.
    largest : int
        min(m, n), the largest possible sparsity.

    Raises
    ------
    InputError
        If the level is none.
    """
    ks, wins, trials = as_outcomes(k, success, trial)
    level = probability("level", level)
    check_whole("largest", largest, 1, sys.maxsize)
    tails = tail(confidence), 1 - tail(confidence)
    logistic = posterior_of(ks, wins, level, largest)
    inside = _window(ks, wins, level, logistic)
    if not inside.all():
        ks, trials, wins = ks[inside], trials[inside], wins[inside]
        logistic = posterior_of(ks, wins, level, largest)
    effect = _design_effect(ks, trials, wins, level, logistic)
    known = logistic if effect == 1 else None
    posterior = posterior_of(ks, wins, level, largest, effect, shapes_at(level), known)
    lower, upper = quantiles(posterior.thetas, posterior.mass, tails)
    if level < _SHAPES_AGREE:
        ends = [(lower, upper)] + [quantiles(*shape, tails) for shape in posterior.plausible]
        lower, upper = min(low for low, _ in ends), max(high for _, high in ends)
    several = int((np.unique(trials, return_counts=True)[1] > 1).sum())
    coverage = APPROXIMATE if 0 < several < _FEWEST_CLUSTERS else NOMINAL
    if posterior.scale < _STEEP:
        lower, upper, coverage = float(np.floor(lower)), float(np.ceil(upper)), AT_LEAST
    # No problem has k < 1, so nothing is known of a theta below it.
    lower = 0.0 if lower < 1 else lower
    return Threshold(level, posterior.theta, lower, upper, posterior.scale, effect, coverage)


def _window(
    ks: FloatArray, wins: FloatArray, level: float, posterior: Posterior
) -> NDArray[np.bool_]:
    """Return which rows the final fit uses."""
    bounds = scipy.special.logit(np.array(list(_WINDOWS.values())))
    at, levels = scipy.special.logit(level), scipy.special.logit(list(_WINDOWS))
    beyond = at - np.clip(at, levels[0], levels[-1])
    rates = np.array([np.interp(at, levels, bound) for bound in bounds.T]) + beyond
    high, low = posterior.theta - posterior.scale * (rates - at)
    failures_above = np.sort(ks[(ks >= posterior.theta) & (wins == 0)])
    successes_below = np.sort(ks[(ks <= posterior.theta) & (wins == 1)])
    if failures_above.size:
        high = max(high, failures_above[:_FEWEST_WITNESSES][-1])
    if successes_below.size:
        low = min(low, successes_below[-_FEWEST_WITNESSES:][0])
    return (ks >= low) & (ks <= high)


def _design_effect(
    ks: FloatArray,
    trials: NDArray[np.generic],
    wins: FloatArray,
    level: float,
    posterior: Posterior,
) -> float:
    """Return var(theta) clustered by trial over var(theta) with independent rows, at least 1."""
    _, cluster, sizes = np.unique(trials, return_inverse=True, return_counts=True)
    if (sizes > 1).sum() < _FEWEST_CLUSTERS:
        return 1.0
    scores, information = _scores(ks, wins, level, posterior.theta, posterior.scale)
    clustered = np.zeros((sizes.size, 2))
    np.add.at(clustered, cluster, scores)
    try:
        influence = np.linalg.solve(information, np.array([1.0, 0.0]))
    except np.linalg.LinAlgError:
        return 1.0
    together = float(((clustered @ influence) ** 2).sum())
    apart = float(((scores @ influence) ** 2).sum())
    return max(together / apart, 1.0) if apart > 0 else 1.0


def trial_influences(
    fitted: Threshold, k: ArrayLike, trial: ArrayLike, success: ArrayLike
) -> pd.Series[float]:
    """Return what each trial adds to theta, to first order, under the fitted logistic curve."""
    import pandas as pd  # not for a worker, which fits but does not compare

    ks, wins, trials = as_outcomes(k, success, trial)
    scores, information = _scores(ks, wins, fitted.level, fitted.estimate, fitted.scale)
    return pd.Series(scores @ np.linalg.pinv(information)[0]).groupby(trials).sum()


def _scores(
    ks: FloatArray, wins: FloatArray, level: float, theta: float, scale: float
) -> tuple[FloatArray, FloatArray]:
    """Return each row's score in (theta, log s) under the logistic curve, and the information."""
    distance = (ks - theta) / scale
    rate = scipy.special.expit(scipy.special.logit(level) - distance)
    slopes = np.stack([np.full(ks.size, 1 / scale), distance], axis=1)
    return (wins - rate)[:, None] * slopes, slopes.T @ (slopes * (rate * (1 - rate))[:, None])


def monotone_p_value(k: ArrayLike, success: ArrayLike) -> float:
    """Return the p-value that the success rate nowhere rises with k.

    The likelihood ratio of separate rates at every k to the isotonic fit, against its law under
    that fit: by simulation from a fixed seed, which ends early where the p-value is large.

    References
    ----------
    Robertson, Wright and Dykstra, Order Restricted Statistical Inference, Wiley 1988; Besag and
    Clifford, Biometrika 78, 1991, doi:10.1093/biomet/78.2.301.
    """
    ks, wins, _ = as_outcomes(k, success)
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
    fitted = _falling(won, total)
    lost = total - won
    ratio = (
        scipy.special.xlogy(won, rates)
        - scipy.special.xlogy(won, fitted)
        + scipy.special.xlogy(lost, 1 - rates)
        - scipy.special.xlogy(lost, 1 - fitted)
    )
    return float(ratio.sum()), fitted


def _falling(won: NDArray[Any], total: NDArray[Any]) -> FloatArray:
    """Return the rates that nowhere rise and fit best: neighbours that do are pooled.

    As `scipy.optimize.isotonic_regression`, which every worker would load scipy.optimize for.
    """
    pools: list[tuple[float, float, int]] = []
    for wins, size in zip(won.tolist(), total.tolist(), strict=True):
        count = 1
        while pools and pools[-1][0] * size <= wins * pools[-1][1]:
            before = pools.pop()
            wins, size, count = wins + before[0], size + before[1], count + before[2]
        pools.append((wins, size, count))
    sums, sizes, counts = np.array(pools).T
    fitted: FloatArray = np.repeat(sums / sizes, counts.astype(int))
    return fitted
