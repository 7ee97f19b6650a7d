"""Closed-form limits that measured curves are drawn against."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from sparsebench.errors import InputError


@cache
def donoho_tanner(delta: float) -> float:
    """Return the weak threshold rho = k/m of l1 minimisation at undersampling delta = m/n.

    The n -> infinity limit of the 50 % point of basis pursuit for signed coefficients and
    Gaussian dictionaries. It bounds no other algorithm.

    Parameters
    ----------
    delta : float
        Undersampling ratio m/n, 0 < delta < 1.

    Raises
    ------
    InputError
        If delta is outside (0, 1).

    References
    ----------
    Donoho and Tanner, "Counting faces of randomly projected polytopes when the projection
    radically lowers dimension", J. AMS 22, 2009. Parametric form: Donoho, Maleki and Montanari,
    PNAS 106, 2009, doi:10.1073/pnas.0909892106.
    """
    z = minimax_threshold(delta)
    return 1 - z * _tail(z) / _density(z)


def donoho_tanner_curve(deltas: np.ndarray) -> np.ndarray:
    """Return `donoho_tanner` at each of `deltas`, same shape."""
    return np.array([donoho_tanner(float(delta)) for delta in deltas])


@cache
def minimax_threshold(delta: float) -> float:
    """Return the minimax soft threshold, in units of the noise level, at undersampling delta = m/n.

    The parameter z of the Donoho-Tanner curve. No other threshold lets approximate message
    passing succeed, whatever the amplitudes, up to a larger k/m.

    Parameters
    ----------
    delta : float
        Undersampling ratio m/n, 0 < delta < 1.

    Raises
    ------
    InputError
        If delta is outside (0, 1).

    References
    ----------
    Donoho, Maleki and Montanari, PNAS 106, 2009, doi:10.1073/pnas.0909892106.
    """
    if not 0 < delta < 1:
        raise InputError(f"the undersampling ratio must lie in (0, 1), not {delta}")

    from scipy.optimize import brentq

    def excess(z: float) -> float:
        return 2 * _density(z) / (z + 2 * (_density(z) - z * _tail(z))) - delta

    return float(brentq(excess, 1e-12, 30.0, xtol=1e-14))


def state_evolution(delta: float, rho: float, threshold: float, iterations: int) -> np.ndarray:
    """Return the mean squared error ||x_t - x||² / n of approximate message passing, t = 0, 1, ...

    In the limit n -> infinity, without noise, x_t + Aᵀz_t is distributed as x plus Gaussian noise
    of variance E(x_t - x)² / delta, of which the next x_t is the soft thresholding. Here x is
    zero with probability 1 - rho delta and else uniform on [-2, -1] ∪ [1, 2].

    Parameters
    ----------
    delta, rho : float
        Undersampling ratio m/n > 0 and sparsity k/m.
    threshold : float
        In units of the noise's standard deviation.
    iterations : int

    Returns
    -------
    ndarray, shape (iterations + 1,)
        The first entry is that of x_0 = 0.

    References
    ----------
    Donoho, Maleki and Montanari, PNAS 106, 2009, doi:10.1073/pnas.0909892106.
    """
    density = rho * delta
    nodes, weights = np.polynomial.legendre.leggauss(60)
    amplitudes, weights = 1.5 + 0.5 * nodes, 0.5 * weights
    error = density * float(weights @ amplitudes**2)
    errors = [error]
    for _ in range(iterations):
        sigma = np.sqrt(error / delta)
        at_zero = _soft_threshold_risk(np.zeros(1), threshold)[0]
        elsewhere = float(weights @ _soft_threshold_risk(amplitudes / sigma, threshold))
        error = sigma**2 * float((1 - density) * at_zero + density * elsewhere)
        errors.append(error)
    return np.array(errors)


def _density(z: float) -> float:
    """Return the standard normal density."""
    return math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _tail(z: float) -> float:
    """Return the standard normal probability of more than z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def _soft_threshold_risk(means: np.ndarray, threshold: float) -> np.ndarray:
    """Return E(soft(mu + Z) - mu)² for standard normal Z, by mean mu >= 0."""
    from scipy.special import ndtr

    over, under = threshold - means, threshold + means
    inside = ndtr(over) - ndtr(-under)
    risk = 1 + threshold**2 + (means**2 - 1 - threshold**2) * inside
    densities = np.exp(-0.5 * np.stack([under, over]) ** 2) / math.sqrt(2 * math.pi)
    return np.asarray(risk - over * densities[0] - under * densities[1])
