"""How many atoms to keep, where nobody says: criteria of the fit and of what it took."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsebench.types import FloatArray, IntArray

#: What each criterion is, by its name; the least value of it is wanted.
CRITERIA = {
    "aic": "Akaike, IEEE Trans. Autom. Control 19, 1974, doi:10.1109/TAC.1974.1100705",
    "bic": "Schwarz, Ann. Statist. 6, 1978, doi:10.1214/aos/1176344136",
    "ebic": "Chen and Chen, Biometrika 95, 2008, doi:10.1093/biomet/asn034",
    "mdl": "Hansen and Yu, J. Amer. Statist. Assoc. 96, 2001, doi:10.1198/016214501753168398",
}
#: Squared residuals count as at least this fraction of ||y||²: below it is rounding.
ROUNDING = 1e-20


def information(
    name: str,
    squared: FloatArray,
    sizes: IntArray,
    m: int,
    n: int,
    energy: float,
    *,
    gamma: float = 1.0,
    complex_numbers: bool = False,
) -> FloatArray:
    """Return a criterion of supports of `sizes` whose squared residuals are `squared`.

    With N = m measurements, p = size coefficients (both twice as many of complex numbers) and
    R = ||y - A x||² of least squares, for noise of unknown level:

    - ``aic``: N log(R / N) + 2 p
    - ``bic``: N log(R / N) + p log N
    - ``ebic``: that of bic + 2 gamma log C(n, size), the number of supports of that size among
      all n atoms; gamma = 1 is the choice that is consistent for any n that is a power of m
    - ``mdl``: the code length N/2 log S + p/2 log F + log N with S = R / (N - p) and
      F = (||y||² - R) / (p S), or N/2 log(||y||² / N) + ½ log N where F < 1 or p = 0; and the
      code length of the support, log C(n, size)

    R counts as at least 1e-20 of ||y||², so that without noise the smallest support that leaves
    nothing is chosen.

    Parameters
    ----------
    name : {"aic", "bic", "ebic", "mdl"}
    squared : ndarray, shape (any,)
    sizes : ndarray of int, shape (any,)
        Each below m.
    m, n : int
        Measurements and atoms.
    energy : float
        ||y||² > 0.
    gamma : float
        In [0, 1]; of ``ebic`` alone.
    complex_numbers : bool
    """
    each = 2 if complex_numbers else 1
    count, p = each * m, each * np.asarray(sizes)
    residual = np.maximum(squared, ROUNDING * energy)
    supports = log_supports(n, sizes)
    if name == "mdl":
        return _code_length(residual, p, count, energy) + supports
    price = {"aic": 2.0 * p, "bic": p * np.log(count), "ebic": p * np.log(count)}[name]
    extra = 2.0 * gamma * supports if name == "ebic" else 0.0
    return count * np.log(residual / count) + price + extra


def log_supports(n: int, sizes: IntArray) -> FloatArray:
    """Return log C(n, size), the logarithm of the number of supports of each size."""
    sizes = np.asarray(sizes)
    chosen = np.arange(sizes.max(initial=0))
    steps = np.log((n - chosen) / (chosen + 1.0))
    return np.concatenate([[0.0], np.cumsum(steps)])[sizes]


def _code_length(
    residual: FloatArray, p: NDArray[np.intp], count: int, energy: float
) -> FloatArray:
    """Return gMDL, the code length of a linear regression with a mixture of g-priors."""
    nothing = 0.5 * count * np.log(energy / count) + 0.5 * np.log(count)
    taken = np.maximum(p, 1)
    variance = residual / (count - p)
    ratio = (energy - residual) / (taken * variance)
    fitted = (p > 0) & (ratio >= 1.0)
    length = (
        0.5 * count * np.log(variance)
        + 0.5 * p * np.log(np.where(fitted, ratio, 1.0))
        + np.log(count)
    )
    return np.where(fitted, length, nothing)
