"""What every peer is given and has to answer, and how it is registered.

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
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from sparsebench.kernels.selection import largest
from sparsebench.registry import algorithm, get_algorithm
from sparsebench.solvers.endings import fitted_alone
from sparsebench.types import Dictionary, FloatArray, InputError, Result, Status

_Call = TypeVar("_Call", bound=Callable[..., Any])

#: Names of our algorithms with the peers that solve the same problem.
PEERS: dict[str, list[str]] = {}
#: What Lasso peers are told beyond A and y, and our algorithms for their problem.
LASSO: dict[str, Any] = {"told": ("k", "lambda"), "like": ("ista", "fista", "homotopy", "bp")}
# What counts as zero against ||y||: correlations of what is left with atoms of norm 1, as least
# squares by normal equations on coherent atoms leave them.
_NO_CORRELATION = 1e-6


class Answer(NamedTuple):
    """What a peer's own call gave: coefficients, shape (n, B), seconds, and B statuses.

    `n_iter` holds B iteration counts, if the peer tells them.
    """

    x: FloatArray
    seconds: float
    status: tuple[Status, ...]
    n_iter: NDArray[np.int64] | None = None


#: The peers that take a matrix of signals and gain by it.
TOGETHER: dict[str, Callable[..., Answer]] = {}


def peer(
    name: str, *, like: Iterable[str], together: bool = False, **stated: Any
) -> Callable[[_Call], _Call]:
    """Register ``call(dictionary, y, k, **options) -> Answer`` of a package as an algorithm.

    Its y has shape (m, B), with B = 1 but where it takes signals together. Options that several
    have: `lam`, lambda as a fraction of ||Aᵀy||∞, as in `ista`; `max_iter`; and `tol`, the duality
    gap relative to the objective.

    Parameters
    ----------
    name : str
    like : iterable of str
        Our algorithms that solve the same problem.
    together : bool
        Whether it takes a matrix of signals and gains by it.
    **stated
        As `algorithm` takes them.
    """

    def register(call: _Call) -> _Call:
        @algorithm(name, family="peer", **stated)
        @functools.wraps(call)
        def alone(dictionary: Dictionary, y: FloatArray, k: int, **options: Any) -> Result:
            if not 0 < options.get("lam", 0.5) < 1:
                raise InputError(f"lam is a fraction of ||Aᵀy||∞ in (0, 1), not {options['lam']}")
            with warnings.catch_warnings(action="ignore"):  # its status says it, or its residual
                answer = call(dictionary, y[:, None], k, **options)
            x = _estimate(dictionary, y, answer.x[:, 0], k)
            n_iter = None if answer.n_iter is None else int(answer.n_iter[0])
            return Result(x, n_iter, answer.status[0], answer.seconds)

        for ours in like:
            PEERS.setdefault(ours, []).append(name)
        if together:
            TOGETHER[name] = call
        return call

    return register


def solve_together(
    name: str, dictionary: Dictionary, signals: FloatArray, k: int, **options: Any
) -> Result:
    """Solve for all columns of `signals`, shape (m, B), in one call of a peer in `TOGETHER`."""
    with warnings.catch_warnings(action="ignore"):  # its status says it, or its residual
        every = {**get_algorithm(name).options, **options}
        answer = TOGETHER[name](dictionary, signals, k, **every)
    pairs = zip(signals.T, answer.x.T, strict=True)
    x = [_estimate(dictionary, y, values, k) for y, values in pairs]
    return Result(np.stack(x, axis=1), answer.n_iter, answer.status, answer.seconds)


def ended(certified: bool, spent: bool = False) -> Status:
    """Return how a peer ended: verified, or else with or without iterations left."""
    if certified:
        return Status.CONVERGED
    return Status.ITERATION_LIMIT if spent else Status.NOT_CONVERGED


def lasso_answer(
    atoms: FloatArray,
    signals: FloatArray,
    x: FloatArray,
    seconds: float,
    lam: float,
    tol: float,
    n_iter: int | None = None,
    max_iter: int = 0,
    dual: FloatArray | None = None,
) -> Answer:
    """Return the answer of a Lasso peer, x of shape (n, B): converged where the gap is within tol.

    `n_iter`, if the peer tells it, and `dual` are those of one signal.
    """
    pairs = zip(signals.T, x.T, strict=True)
    gaps = [gap(atoms, y, values, lam, dual) for y, values in pairs]
    spent = n_iter is not None and n_iter >= max_iter
    counts = None if n_iter is None else np.array([n_iter], dtype=np.int64)
    return Answer(x, seconds, tuple(ended(each <= tol, spent) for each in gaps), counts)


def gap(
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


def pursued(
    atoms: FloatArray, signals: FloatArray, coefficients: FloatArray, k: int
) -> tuple[Status, ...]:
    """Return for each signal whether least squares on k atoms, or all there is, was found."""
    correlations = np.abs(atoms.T @ (signals - atoms @ coefficients))
    chosen = coefficients != 0
    # Where there are fewer than k atoms, none outside may have anything to add.
    settled = np.where(chosen | (chosen.sum(axis=0) < k), correlations, 0.0).max(axis=0)
    return tuple(
        ended(bool(left <= _NO_CORRELATION * size))
        for left, size in zip(settled, np.linalg.norm(signals, axis=0), strict=True)
    )


def timed(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """Return what a call returns, and its seconds."""
    begin = time.perf_counter()
    value = function(*arguments, **options)
    return value, time.perf_counter() - begin


def _estimate(dictionary: Dictionary, y: FloatArray, values: FloatArray, k: int) -> FloatArray:
    """Return least squares on the k largest of a peer's coefficients, shape (n,)."""
    support = largest(np.ascontiguousarray(values), k)
    support = support[values[support] != 0]
    return fitted_alone(dictionary, np.ascontiguousarray(y), support)


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
def even_atoms(dictionary: Dictionary) -> FloatArray:
    """A with a mean squared column norm of 1, shape (m, n), Fortran order, writable for celer."""
    return (dictionary.atoms / np.sqrt(dictionary.mean_squared_norm)).T


@_once_a_dictionary
def even_gram(dictionary: Dictionary) -> FloatArray:
    """The Gram matrix of `even_atoms`, shape (n, n), Fortran order."""
    return (dictionary.gram / dictionary.mean_squared_norm).T


@_once_a_dictionary
def unit_atoms(dictionary: Dictionary) -> FloatArray:
    """A with columns of norm 1, or 0, shape (m, n), Fortran order."""
    norms = np.sqrt(dictionary.squared_norms)
    return (dictionary.atoms / np.where(norms > 0, norms, 1.0)[:, None]).T


def of_norm(signals: FloatArray, norm: float) -> FloatArray:
    """Return signals of this norm, shape (m, B)."""
    largest_entries = np.abs(signals).max(axis=0)
    signals = signals / np.where(largest_entries > 0, largest_entries, 1.0)
    norms = np.linalg.norm(signals, axis=0)
    return signals * (norm / np.where(norms > 0, norms, 1.0))


def handed(dictionary: Dictionary, signals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return `even_atoms` and signals of largest correlation 1: lambda is then `lam` for all."""
    atoms = even_atoms(dictionary)
    correlations = np.abs(atoms.T @ signals).max(axis=0)
    return atoms, np.asfortranarray(signals / np.where(correlations > 0, correlations, 1.0))
