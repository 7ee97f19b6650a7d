"""Closed-form limits that measured curves are drawn against."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from sparsebench.types import InputError


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
    if not 0 < delta < 1:
        raise InputError(f"the undersampling ratio must lie in (0, 1), not {delta}")

    def excess(z: float) -> float:
        tail = norm.pdf(z) - z * norm.sf(z)
        return float(2 * norm.pdf(z) / (z + 2 * tail)) - delta

    z = brentq(excess, 1e-12, 30.0, xtol=1e-14)
    return float(1 - z * norm.sf(z) / norm.pdf(z))


def donoho_tanner_curve(deltas: np.ndarray) -> np.ndarray:
    """Return `donoho_tanner` at each of `deltas`, same shape."""
    return np.array([donoho_tanner(float(delta)) for delta in deltas])
