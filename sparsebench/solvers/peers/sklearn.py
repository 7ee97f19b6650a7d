"""Orthogonal matching pursuit of scikit-learn."""

from __future__ import annotations

import numpy as np

from sparsebench.solvers.peers.answers import (
    Answer,
    even_atoms,
    even_gram,
    of_norm,
    peer,
    pursued,
    timed,
)
from sparsebench.types import Dictionary, FloatArray

_SOURCE = (
    "Pati, Rezaiifar and Krishnaprasad, Asilomar 1993, doi:10.1109/ACSSC.1993.342465; "
    "scikit-learn: Pedregosa et al., JMLR 12, 2011, arXiv:1201.0490"
)


@peer("sklearn-omp", requires="sklearn", like=("omp",), source=_SOURCE, version="2", together=True)
def sklearn_omp(dictionary: Dictionary, y: FloatArray, k: int) -> Answer:
    """Orthogonal matching pursuit of scikit-learn: `orthogonal_mp`, from A and y."""
    from sklearn.linear_model import orthogonal_mp

    atoms, scaled = even_atoms(dictionary), of_norm(y, 100.0)
    (x, n_iter), seconds = timed(
        orthogonal_mp, atoms, scaled, n_nonzero_coefs=k, return_n_iter=True
    )
    x = x.reshape(-1, y.shape[1])
    return Answer(x, seconds, pursued(atoms, scaled, x, k), np.ravel(n_iter))


@peer(
    "sklearn-omp-gram",
    requires="sklearn",
    like=("omp",),
    shares=("gram",),
    source=_SOURCE,
    version="2",
    together=True,
)
def sklearn_omp_gram(dictionary: Dictionary, y: FloatArray, k: int) -> Answer:
    """Orthogonal matching pursuit of scikit-learn: `orthogonal_mp_gram`, from AᵀA and Aᵀy.

    It copies the Gram matrix for every signal, to reorder it.
    """
    from sklearn.linear_model import orthogonal_mp_gram

    _, given = timed(lambda: dictionary.gram)
    atoms, gram, scaled = even_atoms(dictionary), even_gram(dictionary), of_norm(y, 100.0)
    (x, n_iter), seconds = timed(
        lambda: orthogonal_mp_gram(gram, atoms.T @ scaled, n_nonzero_coefs=k, return_n_iter=True)
    )
    x = x.reshape(-1, y.shape[1])
    return Answer(x, given + seconds, pursued(atoms, scaled, x, k), np.ravel(n_iter))
