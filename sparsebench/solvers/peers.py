"""Published packages behind our interface, to measure ourselves against; `sparsebench[peers]`.

A peer is given what serves it best: atoms at its own scale and order in memory, converted once a
dictionary, and a signal of norm 1 or so, because some of their thresholds are absolute. It is
charged for its own call alone. Its k largest entries and least squares on them make its estimate
comparable with ours; that, and every conversion, is charged to nobody. A Gram matrix or a norm
of A that a peer is handed counts as ours do: computed beforehand, or else part of its time.

"converged" is not a peer's word but ours, verified from its answer and charged to nobody: the
duality gap of a Lasso; for OMP and OLS least squares on k atoms, or nothing left to add; for abess
that none of its exchanges lowers the residual. A row without it is at its "iteration limit" where
the peer used up its iterations, else "not converged".
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from sparsebench.kernels.least_squares import polished
from sparsebench.kernels.selection import largest
from sparsebench.registry import algorithm, get_algorithm
from sparsebench.types import Dictionary, FloatArray, InputError, Result, Status

_SKLEARN = "; scikit-learn: Pedregosa et al., JMLR 12, 2011, arXiv:1201.0490"
_SPAMS = "SPAMS: Mairal, Bach, Ponce and Sapiro, JMLR 11, 2010, arXiv:0908.0050"
_OMP = "Pati, Rezaiifar and Krishnaprasad, Asilomar 1993, doi:10.1109/ACSSC.1993.342465"


# The gap, relative to the objective, of a path that has no tolerance: as our Lasso's.
_PATH_GAP = 3e-3
# What counts as zero against ||y||: correlations of what is left with atoms of norm 1, as least
# squares by normal equations on coherent atoms leave them; and the squared fall of an exchange.
_NO_CORRELATION = 1e-6
_NO_FALL = 1e-9
_EXCHANGED = 5


class Answer(NamedTuple):
    """What a peer's own call gave: coefficients, shape (n, B), seconds, and B statuses.

    `n_iter` holds B iteration counts, if the peer tells them.
    """

    x: FloatArray
    seconds: float
    status: tuple[Status, ...]
    n_iter: NDArray[np.int64] | None = None


@algorithm("sklearn-omp", requires="sklearn", family="peer", source=_OMP + _SKLEARN, version="2")
def sklearn_omp(dictionary: Dictionary, y: FloatArray, k: int) -> Result:
    """Orthogonal matching pursuit of scikit-learn: `orthogonal_mp`, from A and y."""
    return _alone(_sklearn_omp, dictionary, y, k)


@algorithm(
    "sklearn-omp-gram",
    requires="sklearn",
    family="peer",
    shares=("gram",),
    source=_OMP + _SKLEARN,
    version="2",
)
def sklearn_omp_gram(dictionary: Dictionary, y: FloatArray, k: int) -> Result:
    """Orthogonal matching pursuit of scikit-learn: `orthogonal_mp_gram`, from AᵀA and Aᵀy.

    It copies the Gram matrix for every signal, to reorder it.
    """
    return _alone(_sklearn_omp_gram, dictionary, y, k)


@algorithm(
    "spams-ols",
    requires="spams",
    family="peer",
    source=f"Chen, Billings and Luo, Int. J. Control 50, 1989, doi:10.1080/00207178908953472; "
    f"{_SPAMS}",
    version="2",
)
def spams_ols(dictionary: Dictionary, y: FloatArray, k: int) -> Result:
    """Orthogonal least squares of SPAMS: its `omp`, which adds the atom of smallest new residual.

    That is OLS (order recursive matching pursuit) in spite of its name. Atoms of norm 1.
    """
    return _alone(_spams_ols, dictionary, y, k)


@algorithm(
    "spams-lars",
    told=("k", "lambda"),
    requires="spams",
    family="peer",
    shares=("gram",),
    source=f"Efron, Hastie, Johnstone and Tibshirani, Ann. Statist. 32, 2004, "
    f"doi:10.1214/009053604000000067; {_SPAMS}",
    version="2",
)
def spams_lars(dictionary: Dictionary, y: FloatArray, k: int, *, lam: float = 1e-3) -> Result:
    """Lasso path of SPAMS: `lasso` by LARS from AᵀA and Aᵀy, then the k largest entries.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    lam : float
        lambda as a fraction of ||Aᵀy||∞, as in `ista`.
    """
    return _alone(_spams_lars, dictionary, y, k, lam=lam)


@algorithm(
    "spams-fista",
    told=("k", "lambda"),
    requires="spams",
    family="peer",
    shares=("squared_spectral_norm",),
    source=f"Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009, doi:10.1137/080716542; {_SPAMS}",
    version="2",
)
def spams_fista(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    lam: float = 1e-3,
    max_iter: int = 2000,
    tol: float = 3e-3,
) -> Result:
    """Accelerated proximal gradients of SPAMS: `fistaFlat` at step 1/||A||², then the k largest.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    lam : float
        lambda as a fraction of ||Aᵀy||∞, as in `ista`.
    max_iter : int
    tol : float
        Duality gap, relative to the objective.
    """
    return _alone(_spams_fista, dictionary, y, k, lam=lam, max_iter=max_iter, tol=tol)


@algorithm(
    "celer-lasso",
    told=("k", "lambda"),
    requires="celer",
    family="peer",
    source="Massias, Gramfort and Salmon, ICML 2018, arXiv:1802.07481",
    version="2",
)
def celer_lasso(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    lam: float = 1e-3,
    max_iter: int = 20,
    tol: float = 3e-3,
) -> Result:
    """Lasso of celer: coordinate descent on working sets, then the k largest entries.

    Its own tolerance is relative to ||y||², of which the objective may be as small a part as lam.
    It is handed tol · lam (1 - lam / 2): no more than tol times the objective, since y times lam is
    a dual point.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    lam : float
        lambda as a fraction of ||Aᵀy||∞, as in `ista`.
    max_iter : int
        Working sets.
    tol : float
        Duality gap, relative to the objective.
    """
    return _alone(_celer, dictionary, y, k, lam=lam, max_iter=max_iter, tol=tol)


@algorithm(
    "skglm-lasso",
    told=("k", "lambda"),
    requires="skglm",
    family="peer",
    source="Bertrand, Klopfenstein, Bannier, Gidel and Massias, NeurIPS 2022, arXiv:2204.07826",
    version="2",
)
def skglm_lasso(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    lam: float = 1e-3,
    max_iter: int = 50,
    tol: float = 3e-3,
) -> Result:
    """Lasso of skglm: Anderson-accelerated coordinate descent on working sets, then the k largest.

    It is handed tol / 2 as the violation of the optimality conditions, relative to lambda, which
    bounds the gap by tol.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    lam : float
        lambda as a fraction of ||Aᵀy||∞, as in `ista`.
    max_iter : int
        Working sets.
    tol : float
        Duality gap, relative to the objective.
    """
    return _alone(_skglm, dictionary, y, k, lam=lam, max_iter=max_iter, tol=tol)


@algorithm(
    "pylops-fista",
    told=("k", "lambda"),
    requires="pylops",
    family="peer",
    shares=("squared_spectral_norm",),
    source="Beck and Teboulle, SIAM J. Imaging Sci. 2, 2009, doi:10.1137/080716542; "
    "PyLops: Ravasi and Vasconcelos, SoftwareX 11, 2020, doi:10.1016/j.softx.2019.100361",
    version="2",
)
def pylops_fista(
    dictionary: Dictionary,
    y: FloatArray,
    k: int,
    *,
    lam: float = 1e-3,
    max_iter: int = 2000,
    tol: float = 3e-3,
) -> Result:
    """Accelerated proximal gradients of PyLops: `fista` at step 1/||A||², then the k largest.

    It ends by the norm of an update. On atoms of norm 1, where lambda is lam, a tenth of
    tol · lam has mostly brought the gap to tol.

    Parameters
    ----------
    dictionary : Dictionary
        Shape (m, n).
    y : ndarray, shape (m,)
    k : int
    lam : float
        lambda as a fraction of ||Aᵀy||∞, as in `ista`.
    max_iter : int
    tol : float
        Duality gap, relative to the objective.
    """
    return _alone(_pylops_fista, dictionary, y, k, lam=lam, max_iter=max_iter, tol=tol)


@algorithm(
    "abess",
    requires="abess",
    family="peer",
    source="Zhu, Wen, Zhu, Zhang and Wang, PNAS 117, 2020, doi:10.1073/pnas.2014241117",
    version="2",
)
def abess(dictionary: Dictionary, y: FloatArray, k: int) -> Result:
    """Splicing of abess: exchange up to five atoms at a time while that lowers the residual.

    `LinearRegression` at support size k, on atoms of norm 1. Its threshold for an exchange is
    absolute: y is scaled so far up that it does not matter. Its `max_iter` changes nothing where
    all atoms are candidates, as here.
    """
    return _alone(_abess, dictionary, y, k)


def solve_together(
    name: str, dictionary: Dictionary, signals: FloatArray, k: int, **options: Any
) -> Result:
    """Solve for all columns of `signals`, shape (m, B), in one call of a peer in `TOGETHER`."""
    with _quiet():
        every = {**get_algorithm(name).options, **options}
        answer = TOGETHER[name](dictionary, signals, k, **every)
        x = [
            _estimate(dictionary, y, values, k)
            for y, values in zip(signals.T, answer.x.T, strict=True)
        ]
    return Result(np.stack(x, axis=1), answer.n_iter, answer.status, answer.seconds)


def _alone(
    peer: Callable[..., Answer], dictionary: Dictionary, y: FloatArray, k: int, **options: Any
) -> Result:
    if not 0 < options.get("lam", 0.5) < 1:
        raise InputError(f"lam is a fraction of ||Aᵀy||∞ in (0, 1), not {options['lam']}")
    with _quiet():
        answer = peer(dictionary, y[:, None], k, **options)
    x = _estimate(dictionary, y, answer.x[:, 0], k)
    n_iter = None if answer.n_iter is None else int(answer.n_iter[0])
    return Result(x, n_iter, answer.status[0], answer.seconds)


def _sklearn_omp(dictionary: Dictionary, signals: FloatArray, k: int) -> Answer:
    from sklearn.linear_model import orthogonal_mp

    atoms, scaled = _even_atoms(dictionary), _of_norm(signals, 100.0)
    (x, n_iter), seconds = _timed(
        orthogonal_mp, atoms, scaled, n_nonzero_coefs=k, return_n_iter=True
    )
    x = x.reshape(-1, signals.shape[1])
    return Answer(x, seconds, _pursued(atoms, scaled, x, k), np.ravel(n_iter))


def _sklearn_omp_gram(dictionary: Dictionary, signals: FloatArray, k: int) -> Answer:
    from sklearn.linear_model import orthogonal_mp_gram

    _, given = _timed(lambda: dictionary.gram)
    atoms, gram = _even_atoms(dictionary), _even_gram(dictionary)
    scaled = _of_norm(signals, 100.0)

    def call() -> Any:
        return orthogonal_mp_gram(gram, atoms.T @ scaled, n_nonzero_coefs=k, return_n_iter=True)

    (x, n_iter), seconds = _timed(call)
    x = x.reshape(-1, signals.shape[1])
    return Answer(x, given + seconds, _pursued(atoms, scaled, x, k), np.ravel(n_iter))


def _spams_ols(dictionary: Dictionary, signals: FloatArray, k: int) -> Answer:
    import spams

    atoms, scaled = _unit_atoms(dictionary), np.asfortranarray(_of_norm(signals, 1.0))
    found, seconds = _timed(spams.omp, scaled, atoms, L=k, numThreads=1)
    x = found.toarray()
    return Answer(x, seconds, _pursued(atoms, scaled, x, k))


def _spams_lars(dictionary: Dictionary, signals: FloatArray, k: int, *, lam: float) -> Answer:
    import spams

    _, given = _timed(lambda: dictionary.gram)
    atoms, gram = _even_atoms(dictionary), _even_gram(dictionary)
    scaled = np.asfortranarray(_of_correlation_one(dictionary, signals))

    def call() -> Any:
        correlations = np.asfortranarray(atoms.T @ scaled)
        return spams.lasso(scaled, Q=gram, q=correlations, lambda1=lam, mode=2, numThreads=1)

    found, seconds = _timed(call)
    x = found.toarray()
    status = tuple(
        _ended(_gap(atoms, y, values, lam) <= _PATH_GAP)
        for y, values in zip(scaled.T, x.T, strict=True)
    )
    return Answer(x, given + seconds, status)


def _spams_fista(
    dictionary: Dictionary, signals: FloatArray, k: int, *, lam: float, max_iter: int, tol: float
) -> Answer:
    import spams

    norm, given = _timed(lambda: dictionary.squared_spectral_norm)
    atoms = _even_atoms(dictionary)
    scaled = np.asfortranarray(_of_correlation_one(dictionary, signals))
    zero = np.zeros((atoms.shape[1], signals.shape[1]), order="F")
    (x, info), seconds = _timed(
        spams.fistaFlat,
        scaled,
        atoms,
        zero,
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
    certified = _gap(atoms, scaled[:, 0], x[:, 0], lam) <= tol
    return Answer(x, given + seconds, (_ended(certified, n_iter >= max_iter),), _one(n_iter))


def _celer(
    dictionary: Dictionary, signals: FloatArray, k: int, *, lam: float, max_iter: int, tol: float
) -> Answer:
    from celer import celer_path

    atoms, scaled = _even_atoms(dictionary), _of_correlation_one(dictionary, signals)
    (_, x, _, dual, counts), seconds = _timed(
        celer_path,
        atoms,
        scaled[:, 0],
        "lasso",
        alphas=[lam / scaled.shape[0]],
        max_iter=max_iter,
        tol=tol * lam * (1 - lam / 2),
        return_thetas=True,
        return_n_iter=True,
    )
    n_iter = int(counts[0])
    certified = _gap(atoms, scaled[:, 0], x[:, 0], lam, dual[0]) <= tol
    return Answer(x, seconds, (_ended(certified, n_iter >= max_iter),), _one(n_iter))


def _skglm(
    dictionary: Dictionary, signals: FloatArray, k: int, *, lam: float, max_iter: int, tol: float
) -> Answer:
    from skglm.datafits import Quadratic
    from skglm.penalties import L1
    from skglm.solvers import AndersonCD
    from skglm.utils.jit_compilation import compiled_clone

    atoms, scaled = _even_atoms(dictionary), _of_correlation_one(dictionary, signals)[:, 0]
    level = lam / scaled.shape[0]
    datafit, penalty = compiled_clone(Quadratic()), compiled_clone(L1(level))
    solver = AndersonCD(max_iter=max_iter, tol=0.5 * tol * level, fit_intercept=False)
    (x, history, _), seconds = _timed(solver.solve, atoms, scaled, datafit, penalty)
    n_iter, certified = len(history), _gap(atoms, scaled, x, lam) <= tol
    return Answer(x[:, None], seconds, (_ended(certified, n_iter >= max_iter),), _one(n_iter))


def _pylops_fista(
    dictionary: Dictionary, signals: FloatArray, k: int, *, lam: float, max_iter: int, tol: float
) -> Answer:
    from pylops import MatrixMult
    from pylops.optimization.sparsity import fista

    norm, given = _timed(lambda: dictionary.squared_spectral_norm)
    step = dictionary.mean_squared_norm / norm
    atoms, scaled = _even_atoms(dictionary), _of_correlation_one(dictionary, signals)[:, 0]
    # It minimises ||y - A x||² + eps ||x||₁.
    (x, n_iter, _), seconds = _timed(
        fista,
        MatrixMult(atoms),
        scaled,
        niter=max_iter,
        eps=2 * lam,
        alpha=step,
        tol=0.1 * tol * lam,
    )
    status = _ended(_gap(atoms, scaled, x, lam) <= tol, n_iter >= max_iter)
    return Answer(x[:, None], given + seconds, (status,), _one(n_iter))


def _abess(dictionary: Dictionary, signals: FloatArray, k: int) -> Answer:
    from abess import LinearRegression

    m, n = dictionary.shape
    if m < 3 or n < 2:  # it returns nothing, or never
        raise InputError(f"abess needs three measurements and two atoms, not {m} and {n}")
    atoms, scaled = _unit_atoms(dictionary), _of_norm(signals, 1e6 * np.sqrt(m))[:, 0]
    model = LinearRegression(
        support_size=k,
        fit_intercept=False,
        thread=1,
        ic_type="loss",
        exchange_num=_EXCHANGED,
        important_search=0,
    )
    fitted, seconds = _timed(model.fit, atoms, scaled, is_normal=False)
    x = fitted.coef_
    return Answer(x[:, None], seconds, (_ended(_spliced(atoms, scaled, x)),))


#: The peers that take a matrix of signals and gain by it.
TOGETHER: dict[str, Callable[..., Answer]] = {
    "sklearn-omp": _sklearn_omp,
    "sklearn-omp-gram": _sklearn_omp_gram,
    "spams-ols": _spams_ols,
    "spams-lars": _spams_lars,
}


def _one(n_iter: int) -> NDArray[np.int64]:
    return np.array([n_iter], dtype=np.int64)


def _ended(certified: bool, spent: bool = False) -> Status:
    """Return how a peer ended: verified, or else with or without iterations left."""
    if certified:
        return Status.CONVERGED
    return Status.ITERATION_LIMIT if spent else Status.NOT_CONVERGED


def _gap(
    atoms: FloatArray, y: FloatArray, x: FloatArray, lam: float, dual: FloatArray | None = None
) -> float:
    """Return the duality gap of the Lasso over its objective, at the residual or `dual`, scaled.

    Scaled as is best among the feasible: any such point bounds the objective from below.
    """
    residual = y - atoms @ x
    objective = 0.5 * float(residual @ residual) + lam * float(np.abs(x).sum())
    if objective == 0.0:
        return 0.0
    bounds = [0.0]
    for point in (residual,) if dual is None else (residual, dual):
        squared, largest_correlation = float(point @ point), float(np.abs(atoms.T @ point).max())
        if squared > 0.0:
            scale = float(point @ y) / squared
            if largest_correlation > 0.0:
                scale = min(scale, lam / largest_correlation)
            bounds.append(scale * float(point @ y) - 0.5 * scale * scale * squared)
    return (objective - max(bounds)) / objective


def _pursued(
    atoms: FloatArray, signals: FloatArray, coefficients: FloatArray, k: int
) -> tuple[Status, ...]:
    """Return for each signal whether least squares on k atoms, or all there is, was found."""
    correlations = np.abs(atoms.T @ (signals - atoms @ coefficients))
    chosen = coefficients != 0
    # Where there are fewer than k atoms, none outside may have anything to add.
    settled = np.where(chosen | (chosen.sum(axis=0) < k), correlations, 0.0).max(axis=0)
    return tuple(
        _ended(bool(left <= _NO_CORRELATION * size))
        for left, size in zip(settled, np.linalg.norm(signals, axis=0), strict=True)
    )


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


def _timed(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """Return what a call returns, and its seconds."""
    begin = time.perf_counter()
    value = function(*arguments, **options)
    return value, time.perf_counter() - begin


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep a peer's warnings from the user: they are in its status, or seen in its residual."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _estimate(dictionary: Dictionary, y: FloatArray, values: FloatArray, k: int) -> FloatArray:
    """Return least squares on the k largest of a peer's coefficients, shape (n,)."""
    x = np.zeros(dictionary.shape[1])
    support = largest(np.ascontiguousarray(values), k)
    support = support[values[support] != 0]
    block = dictionary.atoms[support]
    size = support.size
    x[support] = polished(
        block, block @ block.T, np.ascontiguousarray(y), np.arange(size), size, size
    )
    return x


def _once_a_dictionary(
    make: Callable[[Dictionary], FloatArray],
) -> Callable[[Dictionary], FloatArray]:
    """Keep what is made from a dictionary for as long as the dictionary lives."""
    kept: WeakKeyDictionary[Dictionary, FloatArray] = WeakKeyDictionary()

    @functools.wraps(make)
    def get(dictionary: Dictionary) -> FloatArray:
        if dictionary not in kept:
            kept[dictionary] = make(dictionary)
        return kept[dictionary]

    return get


@_once_a_dictionary
def _even_atoms(dictionary: Dictionary) -> FloatArray:
    """A with a mean squared column norm of 1, shape (m, n), Fortran order, writable for celer."""
    return (dictionary.atoms / np.sqrt(dictionary.mean_squared_norm)).T


@_once_a_dictionary
def _even_gram(dictionary: Dictionary) -> FloatArray:
    """The Gram matrix of `_even_atoms`, shape (n, n), Fortran order."""
    return (dictionary.gram / dictionary.mean_squared_norm).T


@_once_a_dictionary
def _unit_atoms(dictionary: Dictionary) -> FloatArray:
    """A with columns of norm 1, or 0, shape (m, n), Fortran order."""
    norms = np.sqrt(dictionary.squared_norms)
    return (dictionary.atoms / np.where(norms > 0, norms, 1.0)[:, None]).T


def _of_norm(signals: FloatArray, norm: float) -> FloatArray:
    """Return signals of this norm, shape (m, B)."""
    largest_entries = np.abs(signals).max(axis=0)
    signals = signals / np.where(largest_entries > 0, largest_entries, 1.0)
    norms = np.linalg.norm(signals, axis=0)
    return signals * (norm / np.where(norms > 0, norms, 1.0))


def _of_correlation_one(dictionary: Dictionary, signals: FloatArray) -> FloatArray:
    """Return signals of largest correlation 1 with `_even_atoms`: lambda is then `lam` for all."""
    correlations = np.abs(_even_atoms(dictionary).T @ signals).max(axis=0)
    return signals / np.where(correlations > 0, correlations, 1.0)
