"""Differences of two algorithms that met the same instances."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sparsebench.statistics.intervals import CONFIDENCE, as_sample, tail
from sparsebench.statistics.thresholds import Threshold, trial_influences
from sparsebench.types import FloatArray, as_reals, check_whole


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
    import pandas as pd  # not for a worker, which fits but does not compare

    influences = pd.DataFrame(
        {"first": trial_influences(first, *rows), "second": trial_influences(second, *other_rows)}
    ).fillna(0.0)
    a, b = influences.to_numpy().T
    together = float(a @ b)
    correlation = together / float(np.sqrt((a @ a) * (b @ b))) if together else 0.0
    width = -scipy.special.ndtri(tail(confidence))
    errors = np.array([first.half_width, second.half_width]) / width
    variance = errors @ errors - 2 * correlation * errors.prod()
    error = float(np.sqrt(max(variance, 0.0)))
    estimate = first.estimate - second.estimate
    p_value = float(2 * scipy.special.ndtr(-abs(estimate) / error)) if error > 0 else 1.0
    return Difference(
        estimate, estimate - width * error, estimate + width * error, p_value, correlation
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value that either alone succeeds equally often.

    References
    ----------
    McNemar, Psychometrika 12, 1947, doi:10.1007/BF02295996.
    """
    both = check_whole("only_first", only_first, 0, sys.maxsize)
    both += check_whole("only_second", only_second, 0, sys.maxsize)
    return float(scipy.stats.binomtest(only_first, both).pvalue) if both else 1.0


def holm(p_values: ArrayLike) -> FloatArray:
    """Return p-values adjusted for their number, whatever their dependence; NaN stays and is none.

    References
    ----------
    Holm, Scand. J. Statist. 6, 1979, 65-70.
    """
    given = as_reals(p_values, "p_values")
    adjusted = np.full(given.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * given[order]), 1.0)
    return adjusted


def merged_p_value(p_values: ArrayLike) -> float:
    """Return one p-value of several, whatever their dependence: twice their median, at most 1.

    References
    ----------
    Rüger, Metrika 25, 1978, doi:10.1007/BF02204362; Vovk and Wang, Biometrika 107, 2020,
    doi:10.1093/biomet/asaa027.
    """
    return min(1.0, 2 * float(np.median(as_sample(p_values, 1))))
