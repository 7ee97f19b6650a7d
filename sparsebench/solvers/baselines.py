"""What any algorithm must beat, and what none can: one step, plain inversion, the optimum."""

from __future__ import annotations

from math import comb

import numpy as np
import scipy
from numba import njit

from sparsebench.kernels.gram import copy, correlate
from sparsebench.kernels.images import FEW_ATOMS, images_of
from sparsebench.kernels.interruption import interrupted
from sparsebench.kernels.least_squares import least_squares, residual
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, ended, ended_on, read_off
from sparsebench.types import Dictionary, FloatArray, InputError, IntArray, Result

_MOST_SUPPORTS = 2_000_000


@algorithm(
    "thresholding",
    family="baseline",
    complex_numbers=True,
    shares=("gram",),
    cost="2*m*n",
    source="one step of matching; Donoho and Elad, PNAS 100, 2003, doi:10.1073/pnas.0437847100",
    matrix_free=True,
)
def thresholding(dictionary: Dictionary, y: FloatArray, k: int) -> Result:
    """One-step thresholding: the k largest |aᵀy|, least squares on them.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    """
    return ended(read_off(dictionary, y, k, correlate(images_of(dictionary)[0], y)), 1, CONVERGED)


@algorithm(
    "pinv",
    family="baseline",
    complex_numbers=True,
    shares=("gram", "pseudo_inverse"),
    cost="2*m*n",
    source="Penrose, Math. Proc. Camb. Philos. Soc. 51, 1955, doi:10.1017/S0305004100030401",
)
def pinv(dictionary: Dictionary, y: FloatArray, k: int) -> Result:
    """Pseudo-inverse: the k largest |A⁺y|, least squares on them.

    Singular values below machine precision times max(m, n) of the largest count as zero. Knows
    nothing of sparsity until the end, and still nearly solves noiseless square problems.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    """
    if dictionary.shape[1] <= FEW_ATOMS or dictionary.knows("pseudo_inverse"):
        x = dictionary.pseudo_inverse @ y
    else:
        x = _least_norm(dictionary, y)
    return ended(read_off(dictionary, y, k, x), 1, CONVERGED)


def _least_norm(dictionary: Dictionary, y: FloatArray) -> FloatArray:
    """Return A⁺y, shape (n,), without an A⁺ where the factor of AAᵀ does."""
    factor, A = dictionary.outer_factor, dictionary.matrix
    if factor is None:
        return dictionary.pseudo_inverse @ y
    x, remainder = np.zeros(A.shape[1], y.dtype), y
    for _ in range(2):  # the second time for the digits
        solved = scipy.linalg.cho_solve((factor, True), remainder, check_finite=False)
        x = x + (A.T @ solved.conj()).conj()
        remainder = y - A @ x
    return x


@algorithm(
    "ridge",
    family="baseline",
    complex_numbers=True,
    shares=("gram", "svd"),
    cost="2*m*n",
    source="Golub, Heath and Wahba (generalised cross-validation), Technometrics 21, 1979, "
    "doi:10.1080/00401706.1979.10489751",
    version="2",
)
def ridge(dictionary: Dictionary, y: FloatArray, k: int) -> Result:
    """Ridge regression: the k largest |(AᵀA + lambda)⁻¹Aᵀy|, least squares on them.

    lambda minimises the generalised cross-validation score between 1e-28 and 1 of ||A||²; it is
    not told the noise level.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    """
    from scipy.optimize import minimize_scalar

    outer = dictionary.outer_spectrum if _by_outer(dictionary) else None
    left, values, right = dictionary.svd if outer is None else (*outer, None)
    squares = (values / values[0]) ** 2
    projections = left.conj().T @ y
    beyond = y - left @ projections if y.size > values.size else np.zeros(1)
    outside = float((beyond.conj() @ beyond).real)

    def score(log_level: float) -> float:
        # Neither 1 - kept nor m - Σ kept, which cancel where lambda is small.
        lost = 10.0**log_level / (squares + 10.0**log_level)
        missed = float(np.sum((lost * np.abs(projections)) ** 2)) + outside
        freedom = (y.size - values.size) + float(lost.sum())
        return np.log(max(missed, 1e-300)) - 2 * np.log(max(freedom, 1e-300))

    grid = np.linspace(-28.0, 0.0, 57)
    best = grid[int(np.argmin([score(level) for level in grid]))]
    low, high = max(best - 0.5, grid[0]), min(best + 0.5, grid[-1])
    level = 10.0 ** minimize_scalar(score, bounds=(low, high), method="bounded").x
    if right is None:
        solved = left @ (projections / (squares + level))
        x = (dictionary.matrix.T @ solved.conj()).conj()
    else:
        x = right.conj().T @ (np.sqrt(squares) / (squares + level) * projections)
    return ended(read_off(dictionary, y, k, x), 1, CONVERGED)


def _by_outer(dictionary: Dictionary) -> bool:
    """Whether a large dictionary is wide, and nobody has asked for its singular vectors yet."""
    m, n = dictionary.shape
    return FEW_ATOMS < n and m < n and not dictionary.knows("svd")


@algorithm(
    "oracle",
    told=("support",),
    family="baseline",
    complex_numbers=True,
    shares=("gram",),
    cost="2*m*k**2",
    source="least squares, the bound of every estimate; Candès and Tao, Ann. Stat. 35, 2007, "
    "doi:10.1214/009053606000001523",
    matrix_free=True,
)
def oracle(
    dictionary: Dictionary, y: FloatArray, k: int, *, support: IntArray | None = None
) -> Result:
    """Oracle: least squares on the true support, which it is told.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    support : ndarray of int, shape (<= k,)
        The true support, sorted.
    """
    if support is None:
        raise InputError("oracle must be told the true support")
    return ended_on(dictionary, y, support, 1, CONVERGED)


@algorithm(
    "exhaustive",
    family="baseline",
    complex_numbers=True,
    shares=("gram",),
    cost="k**3/3 + 2*m*k",
    source="all subsets; Miller, Subset Selection in Regression, 2002, doi:10.1201/9781420035933",
)
def exhaustive(dictionary: Dictionary, y: FloatArray, k: int) -> Result:
    """Exhaustive search: least squares on every support of k atoms; the global optimum.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int

    Raises
    ------
    InputError
        If there are more than two million supports.
    """
    n = dictionary.shape[1]
    supports = comb(n, k)
    if supports > _MOST_SUPPORTS:
        raise InputError(
            f"exhaustive search would try every support of {k} among {n} atoms, more than "
            f"{_MOST_SUPPORTS:,}: it is meant for tiny problems, such as n = 14, k = 3"
        )
    best, tried = _search(dictionary.atoms, dictionary.gram, y, k)
    return ended_on(dictionary, y, best, tried, CONVERGED)


@njit(cache=True)
def _search(atoms, gram, y, k):
    """Return (best support, supports tried), in lexicographic order; ties to the first."""
    n = atoms.shape[0]
    correlations = correlate(atoms, y)
    support, best_support = np.arange(k), np.arange(k)
    coefficients, factor = np.empty(k, y.dtype), np.empty((k, k), y.dtype)
    remainder = np.empty_like(y)
    best, tried = np.inf, 0
    while not interrupted():
        tried += 1
        least_squares(atoms, gram, correlations, y, support, k, factor, coefficients)
        squared = residual(atoms, y, support, k, coefficients, remainder)
        if squared < best:
            best = squared
            copy(support, best_support)
        # The next combination: raise the last index that can be raised.
        place = k - 1
        while place >= 0 and support[place] == n - k + place:
            place -= 1
        if place < 0:
            return best_support, tried
        support[place] += 1
        for later in range(place + 1, k):
            support[later] = support[later - 1] + 1
    return best_support, tried
