"""The Lasso of skglm."""

from __future__ import annotations

from sparsebench.solvers.peers.answers import LASSO, Answer, handed, lasso_answer, peer, timed
from sparsebench.types import Dictionary, FloatArray


@peer(
    "skglm-lasso",
    requires="skglm",
    source="Bertrand, Klopfenstein, Bannier, Gidel and Massias, NeurIPS 2022, arXiv:2204.07826",
    version="2",
    **LASSO,
)
def skglm_lasso(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    lam: float = 1e-3,
    max_iter: int = 50,
    tol: float = 3e-3,
) -> Answer:
    """Lasso of skglm: Anderson-accelerated coordinate descent on working sets, then the k largest.

    `max_iter` counts working sets. It is handed tol / 2 as the violation of the optimality
    conditions, relative to lambda, which bounds the gap by tol.
    """
    from skglm.datafits import Quadratic
    from skglm.penalties import L1
    from skglm.solvers import AndersonCD
    from skglm.utils.jit_compilation import compiled_clone

    atoms, scaled = handed(dictionary, y)
    level = lam / len(scaled)
    datafit, penalty = compiled_clone(Quadratic()), compiled_clone(L1(level))
    solver = AndersonCD(max_iter=max_iter, tol=0.5 * tol * level, fit_intercept=False)
    (x, history, _), seconds = timed(solver.solve, atoms, scaled[:, 0], datafit, penalty)
    return lasso_answer(atoms, scaled, x[:, None], seconds, lam, tol, len(history), max_iter)
