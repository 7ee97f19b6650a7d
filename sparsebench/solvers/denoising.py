"""The Lasso at a level that the noise sets: told, or estimated by the fit itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from sparsebench.kernels.homotopy import lasso_path
from sparsebench.kernels.images import images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, ITERATION_LIMIT, ended
from sparsebench.types import Dictionary, FloatArray, InputError, IntArray, Result

# (||y - A x||² at lambda = 0 on the active atoms, its growth in lambda²) -> lambda² wanted.
_Root = Callable[[float, float], float]
# The last lambda that is tried, as a fraction of the first one.
_LAST = 1e-12
# Paths to different lambda, of which ten mostly do.
_MOST_PATHS = 200
# Of the level at which the square-root Lasso's penalty exceeds the noise, as its authors propose.
_FACTOR, _MISSED = 1.1, 0.05


def scaled(noise: float, factor: float) -> float:
    """Return the level that the noise counts as.

    Raises
    ------
    InputError
        If the factor is not positive.
    """
    if not factor > 0:
        raise InputError(f"factor is what the noise level is multiplied by, above 0, not {factor}")
    return noise * factor


def universal(noise: float, n: int, complex_numbers: bool = False) -> float:
    """Return what the largest of n inner products of noise with unit vectors hardly exceeds.

    That is noise · sqrt(2 log n), of complex numbers noise · sqrt(log n) (Donoho and Johnstone,
    Biometrika 81, 1994, doi:10.1093/biomet/81.3.425); of one atom that of two.
    """
    return float(noise * np.sqrt((1 if complex_numbers else 2) * np.log(max(n, 2))))


@algorithm(
    "bpdn",
    shares=("gram",),
    family="convex",
    cost="2*n*k + 2*k**2",
    source="Chen, Donoho and Saunders, SIAM J. Sci. Comput. 20, 1998, "
    "doi:10.1137/S1064827596304010; van den Berg and Friedlander, SIAM J. Sci. Comput. 31, 2008, "
    "doi:10.1137/080714488",
)
def bpdn(
    dictionary: Dictionary,
    y: FloatArray,
    *,
    noise: float,
    factor: float = 1.0,
    max_iter: int = 10_000,
) -> Result:
    """Basis pursuit denoising: min ||x||₁ subject to ||y - A x|| <= noise · sqrt(m), by the path.

    The point of the Lasso's path at which the residual has the norm of the noise, which is the
    discrepancy principle; x is returned as it is. x = 0 where y is no longer than that.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    noise : float
        Standard deviation of an entry of the noise.
    factor : float
        What the noise level counts as, in units of the one that is told: what is detected, against
        false alarms.
    max_iter : int
        Breakpoints of a path.
    """
    noise = scaled(noise, factor)
    limit = y.size * noise * noise
    first = universal(noise, dictionary.shape[1]) * _longest(dictionary)
    x, n_iter, reached = _where(
        dictionary,
        y,
        first,
        lambda level, squared: squared > limit,
        lambda least, growth: (limit - least) / growth,
        max_iter,
    )
    return ended(x, n_iter, CONVERGED if reached else ITERATION_LIMIT)


@algorithm(
    "lasso-universal",
    shares=("gram", "squared_norms"),
    family="convex",
    cost="2*n*k + 2*k**2",
    source="Chen, Donoho and Saunders, SIAM J. Sci. Comput. 20, 1998, "
    "doi:10.1137/S1064827596304010; Bickel, Ritov and Tsybakov, Ann. Statist. 37, 2009, "
    "doi:10.1214/08-AOS620",
)
def lasso_universal(
    dictionary: Dictionary,
    y: FloatArray,
    *,
    noise: float,
    factor: float = 1.0,
    max_iter: int = 10_000,
) -> Result:
    """Lasso at the universal threshold: lambda = noise · sqrt(2 log n) · the longest atom's norm.

    argmin ½||y - A x||² + lambda ||x||₁ by its path, returned as it is.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    noise : float
        Standard deviation of an entry of the noise.
    factor : float
        As for `bpdn`.
    max_iter : int
        Breakpoints of the path.
    """
    level = universal(scaled(noise, factor), dictionary.shape[1]) * _longest(dictionary)
    if level >= float(np.abs(dictionary.matrix.T @ y).max()):
        return ended(np.zeros(dictionary.shape[1]), 0, CONVERGED)
    x, _, n_iter, last = lasso_path(*images_of(dictionary), y, level, False, max_iter)
    return ended(x, n_iter, CONVERGED if last <= level else ITERATION_LIMIT)


@algorithm(
    "sqrt-lasso",
    shares=("gram", "squared_norms"),
    family="convex",
    cost="2*n*k + 2*k**2",
    source="Belloni, Chernozhukov and Wang, Biometrika 98, 2011, doi:10.1093/biomet/asr043",
)
def sqrt_lasso(dictionary: Dictionary, y: FloatArray, *, max_iter: int = 10_000) -> Result:
    """Square-root Lasso: argmin ||y - A x|| + t ||x||₁, whose t needs no noise level.

    t = 1.1 Phi⁻¹(1 - .05 / 2n) / sqrt(m) · the longest atom's norm. It is the point of the Lasso's
    path at which lambda = t ||y - A x||; x is returned as it is.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    max_iter : int
        Breakpoints of a path.
    """
    from scipy.special import ndtri

    m, n = dictionary.shape
    t = _FACTOR * float(ndtri(1.0 - _MISSED / (2 * n))) / m**0.5 * _longest(dictionary)

    def root(least: float, growth: float) -> float:
        rest = 1.0 - t * t * growth
        return t * t * least / rest if rest > 0.0 else np.nan

    x, n_iter, reached = _where(
        dictionary,
        y,
        t * float(np.linalg.norm(y)) / 2,
        lambda level, squared: t * t * squared < level * level,
        root,
        max_iter,
    )
    return ended(x, n_iter, CONVERGED if reached else ITERATION_LIMIT)


def _longest(dictionary: Dictionary) -> float:
    return float(dictionary.squared_norms.max()) ** 0.5


def _where(
    dictionary: Dictionary,
    y: FloatArray,
    first: float,
    too_large: Callable[[float, float], bool],
    root: _Root,
    max_iter: int,
) -> tuple[FloatArray, int, bool]:
    """Return (x, breakpoints, whether it was reached) at a point of the Lasso's path.

    With S the active atoms, s their signs and d = (A_SᵀA_S)⁻¹s, x = x_S - lambda d and
    ||y - A x||² = ||y - A x_S||² + lambda² sᵀd between two breakpoints: so a lambda there gives the
    wanted one, if both lie between the same two. Otherwise it is between those that were too
    large and too small.
    """
    top = float(np.abs(dictionary.matrix.T @ y).max())
    x, n_iter = np.zeros(dictionary.shape[1]), 0
    if not too_large(top, float(y @ y)):
        return x, n_iter, True
    low, high, last = 0.0, top, _LAST * top
    level = min(max(first, last), 0.5 * top)
    seen: dict[bytes, FloatArray] = {}
    for _ in range(_MOST_PATHS):
        if interrupted():
            break
        x, signs, steps, reached = lasso_path(*images_of(dictionary), y, level, False, max_iter)
        n_iter += int(steps)
        if reached > level:
            return x, n_iter, False
        support = np.flatnonzero(signs)
        fit, along, least = _segment(dictionary, y, support, signs[support])
        growth = float(signs[support] @ along)
        if too_large(level, least + level * level * growth):
            high = level
        else:
            low = level
        squared_level = root(least, growth) if growth > 0.0 else np.nan
        wanted = squared_level**0.5 if squared_level > 0.0 else 0.0
        x = np.zeros(dictionary.shape[1])
        x[support] = fit - wanted * along
        key = np.sign(signs).tobytes()
        if key in seen or abs(wanted - level) <= 1e-12 * level:
            if (x * signs >= 0.0).all() and low <= wanted <= high:
                return x, n_iter, True
        seen[key] = x
        if high <= max(last, low * (1 + 1e-12)):
            x[support] = fit - level * along
            return x, n_iter, low > 0.0
        level = wanted if low < wanted < high else (low * high) ** 0.5 if low else 0.1 * high
    return x, n_iter, False


def _segment(
    dictionary: Dictionary, y: FloatArray, support: IntArray, signs: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Return (x_S, d, ||y - A x_S||²): least squares on the active atoms, and (A_SᵀA_S)⁻¹s."""
    chosen = dictionary.some_atoms(support).T
    q, r = np.linalg.qr(chosen)
    shares = q.T @ y
    fit = scipy.linalg.solve_triangular(r, shares, check_finite=False)
    half = scipy.linalg.solve_triangular(r, signs, trans="T", check_finite=False)
    along = scipy.linalg.solve_triangular(r, half, check_finite=False)
    misfit = y - q @ shares
    return fit, along, float(misfit @ misfit)
