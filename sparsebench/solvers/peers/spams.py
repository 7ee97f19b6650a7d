"""OLS, LARS and FISTA of SPAMS."""

from __future__ import annotations

import numpy as np

from sparsebench.solvers.peers.answers import (
    LASSO,
    Answer,
    even_gram,
    handed,
    lasso_answer,
    of_norm,
    peer,
    pursued,
    timed,
    unit_atoms,
)
from sparsebench.types import Dictionary, FloatArray

_SOURCE = "; SPAMS: Mairal, Bach, Ponce and Sapiro, JMLR 11, 2010, arXiv:0908.0050"
# The gap, relative to the objective, of a path that has no tolerance: as our Lasso's.
_PATH_GAP = 3e-3


@peer(
    "spams-ols",
    requires="spams",
    like=("ols",),
    source="Chen, Billings and Luo, Int. J. Control 50, 1989, doi:10.1080/00207178908953472"
    + _SOURCE,
    version="3",
    together=True,
)
def spams_ols(dictionary: Dictionary, y: FloatArray, k: int) -> Answer:
    """Orthogonal least squares of SPAMS: its `omp`, which adds the atom of smallest new residual.

    That is OLS (order recursive matching pursuit) in spite of its name. Atoms of norm 1.
    """
    import spams

    # Without eps it compares with a number that nobody has set, and may return nothing.
    atoms, scaled = unit_atoms(dictionary), np.asfortranarray(of_norm(y, 1.0))
    found, seconds = timed(spams.omp, scaled, atoms, L=k, eps=0.0, numThreads=1)
    x = found.toarray()
    return Answer(x, seconds, pursued(atoms, scaled, x, k))


@peer(
    "spams-lars",
    requires="spams",
    shares=("gram",),
    source="Efron, Hastie, Johnstone and Tibshirani, Ann. Statist. 32, 2004, "
    "doi:10.1214/009053604000000067" + _SOURCE,
    version="2",
    together=True,
    **LASSO,
)
def spams_lars(dictionary: Dictionary, y: FloatArray, k: int, *, lam: float = 1e-3) -> Answer:
    """Lasso path of SPAMS: `lasso` by LARS from AᵀA and Aᵀy, then the k largest entries."""
    import spams

    _, given = timed(lambda: dictionary.gram)
    (atoms, scaled), gram = handed(dictionary, y), even_gram(dictionary)
    options = {"lambda1": lam, "mode": 2, "numThreads": 1}
    found, seconds = timed(
        lambda: spams.lasso(scaled, Q=gram, q=np.asfortranarray(atoms.T @ scaled), **options)
    )
    return lasso_answer(atoms, scaled, found.toarray(), given + seconds, lam, _PATH_GAP)


@peer(
    "spams-fista",
    requires="spams",
    shares=("squared_spectral_norm",),
    source="Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009, doi:10.1137/080716542" + _SOURCE,
    version="2",
    **LASSO,
)
def spams_fista(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    lam: float = 1e-3,
    max_iter: int = 2000,
    tol: float = 3e-3,
) -> Answer:
    """Accelerated proximal gradients of SPAMS: `fistaFlat` at step 1/||A||², then the k largest."""
    import spams

    norm, given = timed(lambda: dictionary.squared_spectral_norm)
    atoms, scaled = handed(dictionary, y)
    (x, info), seconds = timed(
        spams.fistaFlat,
        scaled,
        atoms,
        np.zeros((atoms.shape[1], 1), order="F"),
        return_optim_info=True,
        numThreads=1,
        loss="square",
        regul="l1",
        lambda1=lam,
        max_it=max_iter,
        tol=tol,
        it0=10,
        L0=norm / dictionary.mean_squared_norm,
        fixed_step=True,
    )
    n_iter = min(int(info[3, 0]), max_iter)  # one more where it ends without the gap
    return lasso_answer(atoms, scaled, x, given + seconds, lam, tol, n_iter, max_iter)
