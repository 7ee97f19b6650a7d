"""Restarts from random supports: what an exploration budget alone is worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sparsebench.kernels.images import images_of
from sparsebench.registry import algorithm
from sparsebench.solvers.endings import CONVERGED, ITERATION_LIMIT, ended, fitted, looser_than
from sparsebench.solvers.htp import pursue
from sparsebench.solvers.iht import threshold
from sparsebench.solvers.steps import safe_step, step_size
from sparsebench.types import Dictionary, FloatArray, IntArray, Result, check_whole

# (iterations it may use, starting point) -> (support, iterations used)
_Run = Callable[[int, FloatArray], tuple[IntArray, int]]


@algorithm(
    "htp-restarts",
    family="exploration",
    complex_numbers=True,
    shares=("gram",),
    cost="2*n*k + k**3/3",
    source="this package: HTP (doi:10.1137/100806278) restarted, a control for exploration",
)
def htp_restarts(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    step: str = "1",
    max_iter: int = 1000,
    tol: float = 1e-10,
    seed: int = 0,
) -> Result:
    """HTP from zero, then from least squares on random supports, until the iterations are spent.

    An iteration costs what one of `sea` does, so that the same `max_iter` is the same budget.
    Returns the estimate of smallest residual over all runs.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    step : str
        As for `htp`.
    max_iter : int
        Over all runs.
    tol : float
        Relative residual that counts as zero.
    seed : int
        Of the random supports.
    """
    size = step_size(step, dictionary)
    (atoms, gram), factor = images_of(dictionary), np.empty((k, k), y.dtype)

    def run(budget: int, x: FloatArray) -> tuple[IntArray, int]:
        return pursue(atoms, gram, y, k, size, budget, tol, x, factor)[:2]

    return _restarted(run, dictionary, y, k, max_iter, tol, seed)


@algorithm(
    "iht-restarts",
    family="exploration",
    complex_numbers=True,
    shares=("gram", "squared_spectral_norm"),
    cost="2*n*k",
    source="this package: IHT (doi:10.1016/j.acha.2009.04.002) restarted, a control for "
    "exploration",
    version="2",
    revised=looser_than(1e-4),
)
def iht_restarts(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    step: str = "1.8/L",
    max_iter: int = 1000,
    tol: float = 1e-10,
    settled: float = 1e-8,
    seed: int = 0,
) -> Result:
    """IHT from zero, then from least squares on random supports, at the flops of `max_iter` of SEA.

    An iteration of `sea` takes 2nk + k³/3 flops and one of IHT 2nk: the runs share
    max_iter · (1 + k² / 6n) iterations. Returns the estimate of smallest residual over all runs.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    step : str
        As for `iht`.
    max_iter : int
        The budget over all runs, in iterations of `sea`.
    tol : float
        Relative residual that counts as zero.
    settled : float
        Relative change of x that counts as a fixed point.
    seed : int
        Of the random supports.
    """
    size = step_size(step, dictionary)
    safe = safe_step(size, dictionary)
    budget = int(max_iter * (1 + k**2 / (6 * dictionary.shape[1])))
    atoms, gram = images_of(dictionary)

    def run(budget: int, x: FloatArray) -> tuple[IntArray, int]:
        return threshold(atoms, gram, y, k, size, safe, budget, tol, settled, x)[:2]

    return _restarted(run, dictionary, y, k, budget, tol, seed)


def _restarted(
    run: _Run, dictionary: Dictionary, y: FloatArray, k: int, budget: int, tol: float, seed: int
) -> Result:
    """Repeat `run` from other starting points and return the estimate of smallest residual."""
    n = dictionary.shape[1]
    rng = np.random.default_rng(check_whole("seed", seed, 0, 2**63 - 1))
    best, best_x = np.inf, np.zeros(n, y.dtype)
    start, used = np.zeros(n, y.dtype), 0
    while used < budget:
        support, n_iter = run(budget - used, start)
        used += max(n_iter, 1)
        x = fitted(dictionary, y, support)
        residual = float(np.linalg.norm(y - x[support] @ dictionary.some_atoms(support)))
        if residual < best:
            best, best_x = residual, x
            if residual <= tol * np.linalg.norm(y):
                return ended(best_x, used, CONVERGED)
        start = fitted(dictionary, y, np.sort(rng.choice(n, k, replace=False)))
    return ended(best_x, used, ITERATION_LIMIT)
