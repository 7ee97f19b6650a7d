"""The splicing of abess."""

from __future__ import annotations

import numpy as np

from sparsebench.solvers.peers.answers import Answer, ended, of_norm, peer, timed, unit_atoms
from sparsebench.types import Dictionary, FloatArray, InputError

# What counts as zero against ||y||²: the fall of the squared residual by an exchange.
_NO_FALL = 1e-9
_EXCHANGED = 5


@peer(
    "abess",
    requires="abess",
    like=("splicing",),
    source="Zhu, Wen, Zhu, Zhang and Wang, PNAS 117, 2020, doi:10.1073/pnas.2014241117",
    version="2",
)
def abess(dictionary: Dictionary, y: FloatArray, k: int) -> Answer:
    """Splicing of abess: exchange up to five atoms at a time while that lowers the residual.

    `LinearRegression` at support size k, on atoms of norm 1. Its threshold for an exchange is
    absolute: y is scaled so far up that it does not matter. Its `max_iter` changes nothing where
    all atoms are candidates, as here.
    """
    from abess import LinearRegression

    m, n = dictionary.shape
    if m < 3 or n < 2:  # it returns nothing, or never
        raise InputError(f"abess needs three measurements and two atoms, not {m} and {n}")
    atoms, scaled = unit_atoms(dictionary), of_norm(y, 1e6 * np.sqrt(m))[:, 0]
    model = LinearRegression(
        support_size=k,
        fit_intercept=False,
        thread=1,
        ic_type="loss",
        exchange_num=_EXCHANGED,
        important_search=0,
    )
    fitted, seconds = timed(model.fit, atoms, scaled, is_normal=False)
    x = fitted.coef_
    return Answer(x[:, None], seconds, (ended(_spliced(atoms, scaled, x)),))


def _spliced(atoms: FloatArray, y: FloatArray, x: FloatArray) -> bool:
    """Whether no exchange of abess lowers the residual: of 5, 2 and 1 atoms, the least worth ones.

    They leave for those most correlated with the residual. Atoms of norm 1.
    """
    inside, outside = np.flatnonzero(x), np.flatnonzero(x == 0)
    residual = y - atoms @ x
    leaving = inside[np.argsort(np.abs(x[inside]))]
    entering = outside[np.argsort(-np.abs(atoms[:, outside].T @ residual))]
    count = min(_EXCHANGED, inside.size, outside.size)
    while count:
        trial = atoms[:, np.concatenate([leaving[count:], entering[:count]])]
        left = y - trial @ np.linalg.lstsq(trial, y)[0]
        if residual @ residual - left @ left > _NO_FALL * (y @ y):
            return False
        count //= 2
    return True
