"""Basis pursuit and the Lasso by following the Lasso's solution path."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy

from sparsebench.kernels.homotopy import lasso_path
from sparsebench.kernels.images import images_of
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, ITERATION_LIMIT, ended, read_off
from sparsebench.types import Dictionary, FloatArray, InputError, IntArray, Result, check_memory

# A solution is certified if nothing that optimality asks for is violated by more than this.
_CERTIFIED = 1e-8
# A path that has not come down to this fraction of its first lambda is not near its end.
_NEAR = 1e-8

_SOURCE = (
    "path: Osborne, Presnell and Turlach, IMA J. Numer. Anal. 20, 2000, "
    "doi:10.1093/imanum/20.3.389; Efron, Hastie, Johnstone and Tibshirani, Ann. Statist. 32, "
    "2004, doi:10.1214/009053604000000067"
)


@algorithm(
    "bp",
    told=("k",),
    shares=("gram",),
    family="convex",
    cost="2*n*k + 2*k**2",
    source=f"Chen, Donoho and Saunders, SIAM J. Sci. Comput. 20, 1998, "
    f"doi:10.1137/S1064827596304010; {_SOURCE}",
    version="2",
)
def bp(dictionary: Dictionary, y: FloatArray, k: int, *, max_iter: int = 10_000) -> Result:
    """Basis pursuit: min ||x||₁ subject to A x = y, then the k largest |x| and least squares.

    Converged means certified to 1e-8: see `basis_pursuit`. A path that ends at the iteration
    limit, or whose end double precision cannot certify, is read off all the same. On coherent
    dictionaries with noise the one x that fits y can be 1e9 times too large: basis pursuit is no
    denoiser; see `homotopy`.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    max_iter : int
        Breakpoints of the path.
    """
    x, n_iter, code = basis_pursuit(dictionary, y, max_iter)
    return ended(read_off(dictionary, y, k, x), n_iter, code)


def _path(
    dictionary: Dictionary, y: FloatArray, most: int, *, lam: float, max_iter: int
) -> Iterator[IntArray]:
    """Yield the supports along the Lasso's path, down to lam · ||Aᵀy||∞."""
    _, estimates = recorded_path(dictionary, y, _checked_level(dictionary, y, lam), max_iter)
    for x in estimates:
        support = np.flatnonzero(x)
        if support.size <= most:
            yield support


@algorithm(
    "homotopy",
    told=("k", "lambda"),
    shares=("gram",),
    path=_path,
    family="convex",
    cost="2*n*k + 2*k**2",
    source=_SOURCE.removeprefix("path: "),
)
def homotopy(
    dictionary: Dictionary, y: FloatArray, k: int, *, lam: float = 1e-3, max_iter: int = 10_000
) -> Result:
    """Lasso by its path: argmin ½||y - A x||² + lambda ||x||₁, the k largest, least squares.

    The problem of `fista`, solved to rounding: lambda falls from ||Aᵀy||∞, where x = 0, to
    lam · ||Aᵀy||∞; between its breakpoints x is linear.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    lam : float
        lambda as a fraction of the smallest one whose solution is zero, 0 < lam < 1.
    max_iter : int
        Breakpoints of the path.
    """
    level = _checked_level(dictionary, y, lam)
    x, _, n_iter, last = lasso_path(*images_of(dictionary), y, level, False, max_iter)
    code = CONVERGED if last <= level else ITERATION_LIMIT
    return ended(read_off(dictionary, y, k, x), n_iter, code)


def _checked_level(dictionary: Dictionary, y: FloatArray, lam: float) -> float:
    """Return lam · ||Aᵀy||∞."""
    if not 0 < lam < 1:
        raise InputError(f"lam is a fraction of ||Aᵀy||∞ in (0, 1), not {lam}")
    return lam * float(np.abs(dictionary.matrix.T @ y).max())


def recorded_path(
    dictionary: Dictionary, y: FloatArray, level: float, max_iter: int
) -> tuple[FloatArray, FloatArray]:
    """Return lambda, shape (steps,), and x, shape (steps, n), at the breakpoints down to `level`.

    At most four times as many as an x may have non-zeros: a path that has more ends there.
    """
    n = dictionary.shape[1]
    rows = min(max_iter, 4 * min(dictionary.shape) + 16)
    check_memory(8 * rows * n, "the Lasso's path")
    lambdas, path = np.empty(rows), np.empty((rows, n))
    images = images_of(dictionary)
    steps = lasso_path(*images, y, level, False, rows, lambdas, path)[2]
    return lambdas[:steps], path[:steps]


def basis_pursuit(
    dictionary: Dictionary, y: FloatArray, max_iter: int = 10_000
) -> tuple[FloatArray, int, int]:
    """Return (x, iterations, ending) for min ||x||₁ subject to A x = y.

    Where y is not in the range of A, A x is its projection. The ending is CONVERGED if x comes
    with a certificate nu: ||y - A x|| <= 1e-8 ||y||, ||Aᵀnu||∞ <= 1 + 1e-8 and
    ||x||₁ - yᵀnu <= 1e-8 ||x||₁. The path's last support is solved anew by an orthogonal
    factorisation. Where the path ends early, the linear program goes to HiGHS. What is returned is
    the candidate that violates optimality least.
    """
    x, signs, n_iter, last = lasso_path(*images_of(dictionary), y, 0.0, False, max_iter)
    candidates = [_vertex(dictionary, y, signs)]
    if last > 0.0:
        candidates.append((x, (y - dictionary.matrix @ x) / last))
    if last > _NEAR * np.abs(dictionary.matrix.T @ y).max():
        x, nu, more = _linear_program(dictionary, y)
        candidates += [(x, nu), _vertex(dictionary, y, np.sign(x))]
        n_iter += more
    best, violation = x, np.inf
    for x, nu in candidates:
        found = _violation(dictionary, y, x, nu)
        if found < violation:
            best, violation = x, found
    return best, n_iter, CONVERGED if violation <= _CERTIFIED else ITERATION_LIMIT


def _vertex(
    dictionary: Dictionary, y: FloatArray, signs: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return x, least squares on the active atoms, and the shortest nu with A_Sᵀnu = signs."""
    support = np.flatnonzero(signs)
    x = np.zeros(signs.size)
    q, r = np.linalg.qr(dictionary.matrix[:, support])
    if not np.diag(r).all():
        return x, np.zeros(y.size)
    x[support] = scipy.linalg.solve_triangular(r, q.T @ y, check_finite=False)
    nu = q @ scipy.linalg.solve_triangular(r, signs[support], trans="T", check_finite=False)
    return x, nu


def _violation(dictionary: Dictionary, y: FloatArray, x: FloatArray, nu: FloatArray) -> float:
    """Return the largest violation of feasibility, dual feasibility and equal objectives."""
    A = dictionary.matrix
    misfit = y - A @ x
    size = float(np.linalg.norm(y))
    if np.linalg.norm(misfit) > _CERTIFIED * size:
        misfit = A @ (np.linalg.lstsq(A, y)[0] - x)
    norm1 = float(np.abs(x).sum())
    outside = float(np.abs(A.T @ nu).max()) - 1.0
    gap = abs(norm1 - float(nu @ y)) / norm1 if norm1 else np.inf
    return max(float(np.linalg.norm(misfit)) / size, outside, gap)


def _linear_program(dictionary: Dictionary, y: FloatArray) -> tuple[FloatArray, FloatArray, int]:
    """Return (x, nu, iterations) by the dual simplex method of HiGHS; zeros if it fails.

    Its tolerances are absolute, so y is brought to entries of at most 1. They stay at 1e-7: on
    coherent dictionaries, 1e-10 made it call vertices optimal whose l1 norm was 2 to 30 times the
    least.
    """
    from scipy.optimize import linprog

    m, n = dictionary.shape
    A = dictionary.matrix
    check_memory(4 * A.nbytes, "a linear program of this size")
    size = float(np.abs(y).max())
    reached = A @ np.linalg.lstsq(A, y / size)[0]
    answer = linprog(
        np.ones(2 * n), A_eq=np.hstack([A, -A]), b_eq=reached, bounds=(0, None), method="highs-ds"
    )
    if answer.x is None:
        return np.zeros(n), np.zeros(m), 0
    return size * (answer.x[:n] - answer.x[n:]), answer.eqlin.marginals, int(answer.nit)
