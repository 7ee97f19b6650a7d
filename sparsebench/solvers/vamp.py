"""Message passing that knows the family of the prior: Bernoulli-Gaussian, its parameters learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsebench.registry import algorithm
from sparsebench.solvers.amp import MOST_SAMPLED, RUNAWAY
from sparsebench.solvers.endings import CONVERGED, DIVERGED, ITERATION_LIMIT, ended, fitted
from sparsebench.theory import l1_limit
from sparsebench.types import Dictionary, FloatArray, Result

# The first guess of ||A x||² / ||noise||², and the least noise variance in units of ||y||² / m.
_FIRST_RATIO, _LEAST_NOISE = 100.0, 1e-10
# Mean slopes of a step are kept from 0 and 1, where precisions are infinite.
_LEAST_SLOPE = 1e-11
_EM = (
    "its EM: Vila and Schniter, IEEE Trans. Signal Process. 61, 2013, doi:10.1109/TSP.2013.2272287"
)


@dataclass
class Prior:
    """x_i is N(0, variance) at a rate and zero otherwise, and the noise N(0, noise)."""

    rate: float
    variance: float
    noise: float

    @classmethod
    def first(cls, y: FloatArray, m: int, n: int, squared_norm: float) -> Prior:
        """Guess from y and ||A||_F²: the rate at which l1 is at its limit, and 20 dB."""
        delta = min(m / n, MOST_SAMPLED)
        rate = min(delta * l1_limit(delta, False), 0.5)
        energy = float(y @ y)
        noise = energy / (m * (_FIRST_RATIO + 1.0))
        return cls(rate, (energy - m * noise) / (squared_norm * rate), noise)

    def estimate(self, r: FloatArray, tau: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return mean and variance of x given r = x + N(0, tau), and how probably x is not zero."""
        total = self.variance + tau
        # The logarithm of the odds of zero.
        odds = np.log1p(-self.rate) - np.log(self.rate) + 0.5 * np.log(total / tau)
        with np.errstate(over="ignore", invalid="ignore"):  # of an iteration that diverges
            odds = odds - 0.5 * r * r * (self.variance / total / tau)
        active = 1.0 / (1.0 + np.exp(np.clip(odds, -700.0, 700.0)))
        mean, spread = self.variance / total * r, self.variance * tau / total
        return active * mean, active * (spread + (1.0 - active) * mean**2), active

    def learn(self, r: FloatArray, tau: float) -> None:
        """Set rate and variance to their values expected under the posterior: a step of EM."""
        _, _, active = self.estimate(r, tau)
        total = self.variance + tau
        squares = (self.variance / total * r) ** 2 + self.variance * tau / total
        self.rate = float(np.clip(active.mean(), 1.0 / (2 * r.size), 1.0 - 1e-6))
        self.variance = float((active @ squares) / max(float(active.sum()), 1e-300))


@algorithm(
    "em-vamp",
    told=("prior family",),
    shares=("gram", "svd"),
    family="message passing",
    cost="4*m*n",
    source="Rangan, Schniter and Fletcher, IEEE Trans. Inf. Theory 65, 2019, "
    f"doi:10.1109/TIT.2019.2916359, arXiv:1610.03082; {_EM}",
)
def em_vamp(
    dictionary: Dictionary, y: FloatArray, *, max_iter: int = 200, tol: float = 1e-6
) -> Result:
    """Vector approximate message passing for a Bernoulli-Gaussian x, all parameters learnt by EM.

    Linear estimates by the singular values of A and estimates entry by entry in turn, each freed
    of what it had from the other. State evolution describes it on dictionaries whose right singular
    vectors are uniform, whatever their singular values; on coherent ones it diverges. The estimate
    is least squares on the entries that are more probably non-zero than zero.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    max_iter : int
    tol : float
        Relative change of x that counts as a fixed point.
    """
    m, n = dictionary.shape
    prior = Prior.first(y, m, n, float(dictionary.squared_norms.sum()))
    _, active, n_iter, code = vector_message_passing(dictionary, y, prior, True, max_iter, tol)
    return _read_off(dictionary, y, active, n_iter, code)


def vector_message_passing(
    dictionary: Dictionary, y: FloatArray, prior: Prior, learn: bool, max_iter: int, tol: float
) -> tuple[FloatArray, FloatArray, int, int]:
    """Return (x, probabilities of non-zeros, iterations, ending); it may learn the prior."""
    m, n = dictionary.shape
    left, values, right = dictionary.svd
    kept = values > np.finfo(float).eps * max(m, n) * values[0]
    left, values, right = left[:, kept], values[kept], right[kept]
    projected, squares = left.T @ y, values**2
    outside = max(float(y @ y - projected @ projected), 0.0)
    least = _LEAST_NOISE * float(y @ y) / m
    r, precision = np.zeros(n), 1.0 / (prior.rate * prior.variance)
    x, active = np.zeros(n), np.zeros(n)
    for t in range(max_iter):
        misfit = projected - values * (right @ r)
        weights = 1.0 / (squares + precision * prior.noise)
        linear = r + right.T @ (weights * values * misfit)
        slope = 1.0 - float((weights * squares).sum()) / n
        if learn:
            rest = precision * prior.noise * weights * misfit
            spread = prior.noise * float((squares * weights).sum())
            prior.noise = max((float(rest @ rest) + outside + spread) / m, least)
        r, precision = _freed(linear, r, slope, precision)
        if not np.isfinite(precision) or not np.isfinite(r).all():
            return x, active, t, DIVERGED
        before = x
        if learn:
            prior.learn(r, 1.0 / precision)
        x, variances, active = prior.estimate(r, 1.0 / precision)
        if np.linalg.norm(x - before) <= tol * np.linalg.norm(x):
            return x, active, t + 1, CONVERGED
        r, precision = _freed(x, r, precision * float(variances.mean()), precision)
    return x, active, max_iter, ITERATION_LIMIT


def _freed(
    estimate: FloatArray, given: FloatArray, slope: float, precision: float
) -> tuple[FloatArray, float]:
    """Return what an estimate says beyond what it was given, and its precision."""
    slope = min(max(slope, _LEAST_SLOPE), 1.0 - _LEAST_SLOPE)
    return (estimate - slope * given) / (1.0 - slope), precision * (1.0 - slope) / slope


@algorithm(
    "em-bg-amp",
    told=("prior family",),
    shares=("gram", "squared_norms"),
    family="message passing",
    cost="4*m*n",
    source="Vila and Schniter, IEEE Trans. Signal Process. 61, 2013, doi:10.1109/TSP.2013.2272287, "
    "arXiv:1207.3107",
)
def em_bg_amp(
    dictionary: Dictionary, y: FloatArray, *, max_iter: int = 200, tol: float = 1e-6
) -> Result:
    """Approximate message passing for a Bernoulli-Gaussian x, whose rate and variance EM learns.

    As `amp` on unit-norm columns, with the posterior mean given x + N(0, ||z||² / m) in place of
    soft thresholding. It needs an i.i.d. dictionary. The estimate is as that of `em-vamp`.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    max_iter : int
    tol : float
        Relative change of x that counts as a fixed point.
    """
    m, n = dictionary.shape
    prior = Prior.first(y, m, n, float(np.count_nonzero(dictionary.squared_norms)))
    _, active, n_iter, code = message_passing_with(dictionary, y, prior, max_iter, tol)
    return _read_off(dictionary, y, active, n_iter, code)


def message_passing_with(
    dictionary: Dictionary, y: FloatArray, prior: Prior, max_iter: int, tol: float
) -> tuple[FloatArray, FloatArray, int, int]:
    """Return (z, probabilities of non-zeros, iterations, ending) of AMP that learns the prior.

    The variance of the prior is that of x on unit-norm columns, and ||z||² / m the noise on them.
    """
    m, n = dictionary.shape
    norms = np.sqrt(dictionary.squared_norms)
    inverse = np.divide(1.0, norms, out=np.zeros(n), where=norms > 0)
    x, z, active = np.zeros(n), y.copy(), np.zeros(n)
    first = float(y @ y) / m
    for t in range(max_iter):
        tau = max(float(z @ z) / m, _LEAST_NOISE * first)
        if not tau <= RUNAWAY**2 * first:
            return z, active, t, DIVERGED
        r, before = x + inverse * (dictionary.matrix.T @ z), x
        prior.learn(r, tau)
        x, variances, active = prior.estimate(r, tau)
        if np.linalg.norm(x - before) <= tol * np.linalg.norm(x):
            return z, active, t + 1, CONVERGED
        z = y - dictionary.matrix @ (inverse * x) + z * (float(variances.sum()) / (tau * m))
    return z, active, max_iter, ITERATION_LIMIT


def _read_off(
    dictionary: Dictionary, y: FloatArray, active: FloatArray, n_iter: int, code: int
) -> Result:
    """Return least squares on the entries that are probably not zero, at most m of them."""
    support = np.flatnonzero((active > 0.5) & (dictionary.squared_norms > 0))
    if support.size > y.size:
        support = np.sort(np.argsort(-active, kind="stable")[: y.size])
    return ended(fitted(dictionary, y, support), n_iter, code)
