"""FISTA of PyLops."""

from __future__ import annotations

from sparsebench.solvers.peers.answers import LASSO, Answer, handed, lasso_answer, peer, timed
from sparsebench.types import Dictionary, FloatArray


@peer(
    "pylops-fista",
    requires="pylops",
    shares=("squared_spectral_norm",),
    source="Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009, doi:10.1137/080716542; "
    "PyLops: Ravasi and Vasconcelos, SoftwareX 11, 2020, doi:10.1016/j.softx.2019.100361",
    version="2",
    **LASSO,
)
def pylops_fista(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    lam: float = 1e-3,
    max_iter: int = 2000,
    tol: float = 3e-3,
) -> Answer:
    """Accelerated proximal gradients of PyLops: `fista` at step 1/||A||², then the k largest.

    It ends by the norm of an update. On atoms of norm 1, where lambda is lam, a tenth of
    tol · lam has mostly brought the gap to tol.
    """
    from pylops import MatrixMult
    from pylops.optimization.sparsity import fista

    norm, given = timed(lambda: dictionary.squared_spectral_norm)
    step = dictionary.mean_squared_norm / norm
    atoms, scaled = handed(dictionary, y)
    # It minimises ||y - A x||² + eps ||x||₁.
    (x, n_iter, _), seconds = timed(
        fista,
        MatrixMult(atoms),
        scaled[:, 0],
        niter=max_iter,
        eps=2 * lam,
        alpha=step,
        tol=0.1 * tol * lam,
    )
    return lasso_answer(atoms, scaled, x[:, None], given + seconds, lam, tol, n_iter, max_iter)
