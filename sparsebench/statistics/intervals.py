"""Estimates with intervals, and what a sample has to be: proportions, means and medians."""

from __future__ import annotations

import numbers
from statistics import NormalDist
from typing import Any

import numpy as np
import scipy  # whose parts are loaded when they are first used
from numpy.typing import ArrayLike, NDArray

from sparsebench.types import FloatArray, InputError, as_array, as_floats

CONFIDENCE = 0.95
#: The columns of an estimate with its interval.
COLUMNS = ("estimate", "lower", "upper")
#: Fewer values than this have no interval of their median at that confidence.
FEWEST_FOR_A_MEDIAN = 6


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
    z2 = NormalDist().inv_cdf(tail(confidence)) ** 2
    rate = count / np.maximum(total, 1)
    centre = (count + z2 / 2) / (total + z2)
    half = np.sqrt(z2 * (total * rate * np.maximum(1 - rate, 0) + z2 / 4)) / (total + z2)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return (mean, lower, upper) of independent values in [0, 1].

    Student's interval, clipped to [0, 1]; where all values are equal, which leaves Student's a
    point, Wilson's interval for that mean, which holds for any law on [0, 1].
    """
    sample = as_sample(values, 1)
    if sample.min() < 0 or sample.max() > 1:
        raise InputError("values must lie in [0, 1]")
    size, mean = sample.size, float(sample.mean())
    spread = float(sample.std(ddof=1)) if size > 1 else 0.0
    if spread == 0.0:
        lower, upper = wilson(mean * size, size, confidence)
        return mean, float(lower), float(upper)
    half = -float(scipy.special.stdtrit(size - 1, tail(confidence))) * spread / np.sqrt(size)
    return mean, max(mean - half, 0.0), min(mean + half, 1.0)


def student_interval(
    values: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """Return (mean, lower, upper) of independent values by Student's t; infinite for one value."""
    sample = as_sample(values, 1)
    mean, half = float(sample.mean()), np.inf
    if sample.size > 1:
        quantile = -float(scipy.special.stdtrit(sample.size - 1, tail(confidence)))
        half = quantile * float(sample.std(ddof=1)) / np.sqrt(sample.size)
    return mean, mean - half, mean + half


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
    ordered = np.sort(as_sample(values), axis=0)
    size = ordered.shape[0]
    rank = int(scipy.stats.binom.ppf(tail(confidence), size, 0.5))
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
    error, power = as_sample(errors, 1), as_sample(powers, 1)
    if error.shape != power.shape or min(error.min(), power.min()) < 0 or not power.any():
        raise InputError("errors and powers must be as many, none negative, some power positive")
    quantile = -float(scipy.special.stdtrit(max(error.size - 1, 1), tail(confidence)))
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


def tail(confidence: float) -> float:
    """Return the probability on each side of an interval."""
    return (1 - probability("confidence", confidence)) / 2


def probability(name: str, value: float) -> float:
    """Return a probability that is neither 0 nor 1."""
    if not isinstance(value, numbers.Real) or not 0 < value < 1:
        raise InputError(f"the {name} lies between 0 and 1, not at {value!r}")
    return float(value)


def as_sample(values: ArrayLike, ndim: int | None = None) -> FloatArray:
    """Return at least one finite value, as an array of `ndim` dimensions, or of one and more."""
    sample = as_floats(values, "the sample")
    if sample.ndim != (ndim or max(sample.ndim, 1)) or not sample.size:
        raise InputError(f"a sample needs values along its first axis, not shape {sample.shape}")
    return sample


def as_outcomes(
    k: ArrayLike, success: ArrayLike, trial: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray, NDArray[Any]]:
    """Return sparsities, successes as 0 and 1, and trials of as many rows."""
    ks, wins = as_sample(k, 1), as_sample(success, 1)
    trials = ks if trial is None else as_array(trial, "trial")
    if not ks.shape == wins.shape == trials.shape:
        raise InputError(
            f"k, success and trial must be as many, not {ks.shape}, {wins.shape}, {trials.shape}"
        )
    if not ((wins == 0) | (wins == 1)).all() or ks.min() < 0:
        raise InputError("k must not be negative and success be 0 or 1")
    return ks, wins, trials
