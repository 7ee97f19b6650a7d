"""The Lasso of celer."""

from __future__ import annotations

from sparsebench.solvers.peers.answers import LASSO, Answer, handed, lasso_answer, peer, timed
from sparsebench.types import Dictionary, FloatArray


@peer(
    "celer-lasso",
    requires="celer",
    source="Massias, Gramfort and Salmon, ICML 2018, arXiv:1802.07481",
    version="2",
    **LASSO,
)
def celer_lasso(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    lam: float = 1e-3,
    max_iter: int = 20,
    tol: float = 3e-3,
) -> Answer:
    """Lasso of celer: coordinate descent on working sets, then the k largest entries.

    `max_iter` counts working sets. Its own tolerance is relative to ||y||², of which the objective
    may be as small a part as lam. It is handed tol · lam (1 - lam / 2): no more than tol times the
    objective, since y times lam is a dual point.
    """
    from celer import celer_path

    atoms, scaled = handed(dictionary, y)
    (_, x, _, dual, counts), seconds = timed(
        celer_path,
        atoms,
        scaled[:, 0],
        "lasso",
        alphas=[lam / len(scaled)],
        max_iter=max_iter,
        tol=tol * lam * (1 - lam / 2),
        return_thetas=True,
        return_n_iter=True,
    )
    return lasso_answer(atoms, scaled, x, seconds, lam, tol, int(counts[0]), max_iter, dual[0])
