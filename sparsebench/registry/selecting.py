"""``omp[k=ebic]``: an algorithm that is told k becomes one that finds it along its path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import scipy

from sparsebench.criteria import CRITERIA, ROUNDING, information
from sparsebench.registry.calls import call
from sparsebench.registry.declaring import ALGORITHMS
from sparsebench.registry.grammar import Option
from sparsebench.registry.records import Algorithm
from sparsebench.types import Dictionary, FloatArray, InputError, IntArray, Result, Status

#: What may stand after ``k=``.
RULES = (*CRITERIA, "cv", "noise", "white")
# Raise it whenever what is chosen may change.
_VERSION = "1"
# Of ||a||²: an atom closer to the span of those before it adds nothing.
_DEPENDENT = 1e-24
# The options that each rule adds, with their defaults; 0 atoms stand for as many as make sense.
_OPTIONS: dict[str, dict[str, Option]] = {
    "ebic": {"gamma": 1.0},
    "cv": {"folds": 5},
    "noise": {"factor": 1.0},
}


def selected(entry: Algorithm, rule: Any) -> Algorithm:
    """Return an algorithm that chooses the size of its support by a rule: it is not told k.

    Along the sizes 0, 1, ..., `max_k` of its path, by default half of m: the size of least
    ``aic``, ``bic``, ``ebic`` or ``mdl`` (`criteria.information`), or of least squared error on
    the measurements left out (``cv``; row i is in fold i modulo `folds`, and the path is followed
    anew on the others). With ``noise``, which is told the noise level, the first support whose
    residual norm ||y - A x|| is at most `factor` · noise · sqrt(m), by default of any size; with
    ``white`` the first whose residual r looks like noise of its own energy to every atom: no
    |aᴴr| / ||a|| exceeds ||r|| sqrt(2 log n / m), of complex numbers ||r|| sqrt(log n / m). The
    estimate is least squares on the support.

    Raises
    ------
    InputError
        If there is no such rule, or the algorithm has no path in k.
    """
    if rule not in RULES:
        raise InputError(
            f"{entry.name}[k={rule}]: k in brackets names a rule, one of {', '.join(RULES)}; a "
            "number of non-zeros is given with the signal"
        )
    if not entry.path:
        able = ", ".join(sorted(e.name for e in ALGORITHMS.values() if e.path))
        raise InputError(f"{entry.name} has no path in k; these have one: {able}")
    own: dict[str, Option] = {"k": "", "max_k": 0, **_OPTIONS.get(rule, {})}
    clash = set(own) & set(entry.options)
    if clash:
        raise InputError(
            f"{entry.name} has an option {min(clash)!r} of its own: it takes no k={rule}"
        )

    def choose(dictionary: Dictionary, y: FloatArray, noise: float | None, **given: Any) -> Result:
        settings = {key: given.pop(key) for key in own}
        return _chosen(entry, dictionary, y, rule, settings, given, noise)

    def told_nothing(dictionary: Dictionary, y: FloatArray, **options: Any) -> Result:
        return choose(dictionary, y, None, **options)

    def told_noise(
        dictionary: Dictionary, y: FloatArray, *, noise: float, **options: Any
    ) -> Result:
        return choose(dictionary, y, noise, **options)

    # A path over all lambda needs none.
    told = tuple(item for item in entry.told if item not in ("k", "lambda"))
    return replace(
        entry,
        function=told_noise if rule == "noise" else told_nothing,
        options={**entry.options, **own},
        told=(*told, "noise") if rule == "noise" else told,
        version=f"{entry.version}.{_VERSION}",
        cost="",
        several=None,
        twin="",
        matrix_free=False,
        path="",
    )


def _chosen(
    entry: Algorithm,
    dictionary: Dictionary,
    y: FloatArray,
    rule: str,
    settings: dict[str, Any],
    options: dict[str, Any],
    noise: float | None,
) -> Result:
    """Return least squares on the support that a rule chooses among those of the path."""
    m, n = dictionary.shape
    most, gamma = _most(settings["max_k"], rule, m, n), settings.get("gamma", 1.0)
    if not 0 <= gamma <= 1:
        raise InputError(f"gamma must lie in [0, 1], not {gamma}")
    factor = settings.get("factor", 1.0)
    if not factor > 0:
        raise InputError(f"factor is what the noise level is multiplied by, above 0, not {factor}")
    energy = float((y.conj() @ y).real)
    fit = _Fit(dictionary, y, most)
    supports, squared = [], []
    stops = rule in ("noise", "white")
    status = Status.NOT_CONVERGED if stops else Status.CONVERGED
    limit = ROUNDING * energy if noise is None else m * (factor * noise) ** 2
    for support in _path(entry, dictionary, y, most, options):
        supports.append(support)
        squared.append(fit.to(support))
        white = rule == "white" and _is_white(dictionary, fit.remainder)
        if stops and (white or squared[-1] <= limit):
            status = Status.CONVERGED
            break
    sizes = np.array([support.size for support in supports])
    if stops:
        best = len(supports) - 1 if status == Status.CONVERGED else int(np.argmin(squared))
    elif rule == "cv":
        errors = _left_out(entry, dictionary, y, most, settings["folds"], options)
        size = int(np.argmin(np.maximum(errors, ROUNDING * energy)))
        best = int(np.argmax(np.where(sizes <= size, sizes, -1)))  # the first of that size
    else:
        values = information(
            rule,
            np.array(squared),
            sizes,
            m,
            n,
            energy,
            gamma=gamma,
            complex_numbers=dictionary.is_complex,
        )
        best = int(np.argmin(values))
    fit.to(supports[best])
    x = np.zeros(n, y.dtype)
    x[fit.support] = fit.coefficients()
    return Result(x, len(supports) - 1, status)


def _is_white(dictionary: Dictionary, remainder: FloatArray) -> bool:
    """Whether no atom sees more in a residual than the largest of n does in noise of its energy."""
    m, n = dictionary.shape
    norms = np.sqrt(dictionary.squared_norms)
    heights = np.abs(dictionary.matrix.conj().T @ remainder)
    energy = float(np.linalg.norm(remainder))
    level = energy * np.sqrt((1 if dictionary.is_complex else 2) * np.log(max(n, 2)) / m)
    return bool((heights <= level * norms).all())


def _most(max_k: int, rule: str, m: int, n: int) -> int:
    """Return the largest size to consider."""
    if rule == "noise":
        largest, usual = m, m
    else:
        largest, usual = m - 1, m // 2
    if not 0 <= max_k <= largest:
        raise InputError(
            f"max_k must lie in 0 .. {largest}, not {max_k}: as many atoms as measurements leave "
            "no residual to judge"
            if rule != "noise"
            else f"max_k must lie in 0 .. m = {m}, not {max_k}"
        )
    return min(max_k or usual, n)


def _path(
    entry: Algorithm, dictionary: Dictionary, y: FloatArray, most: int, options: dict[str, Any]
) -> Iterator[IntArray]:
    """Yield the empty support and those of the path, of at most `most` atoms."""
    yield np.empty(0, dtype=np.intp)
    if most == 0 or dictionary.is_orthogonal_to(y):
        return
    if entry.path != "each":
        yield from entry.path(dictionary, y, most, **options)  # type: ignore[operator]
        return
    for k in range(1, most + 1):
        found = call(entry, options, dictionary, y, k)
        if not found.status.failed:  # type: ignore[union-attr]
            yield np.flatnonzero(found.x)


def _left_out(
    entry: Algorithm,
    dictionary: Dictionary,
    y: FloatArray,
    most: int,
    folds: int,
    options: dict[str, Any],
) -> FloatArray:
    """Return the squared error on the rows left out, of each size up to `most`, over all folds.

    A size that a path lacks has the support of the next smaller one.
    """
    m = y.size
    if folds < 2:
        raise InputError(f"folds must be at least 2, not {folds}")
    errors = np.zeros(most + 1)
    for fold in range(min(folds, m) if m > 1 else 0):
        left = np.arange(m) % folds == fold
        rest = Dictionary(dictionary.matrix[~left])
        fit = _Fit(rest, y[~left], most)
        own = np.full(most + 1, np.nan)
        room = min(most, int(np.count_nonzero(~left)) - 1)
        for support in _path(entry, rest, y[~left], room, options):
            if np.isnan(own[support.size]):
                fit.to(support)
                image = dictionary.matrix[np.ix_(left, fit.support)] @ fit.coefficients()
                misfit = y[left] - np.ldexp(1.0, -rest.exponent) * image
                own[support.size] = (misfit.conj() @ misfit).real
        known = np.maximum.accumulate(np.where(np.isnan(own), 0, np.arange(most + 1)))
        errors += own[known]
    return errors


class _Fit:
    """Least squares on one support after the other: atoms that stay are not projected again."""

    def __init__(self, dictionary: Dictionary, y: FloatArray, most: int) -> None:
        self._dictionary, self._y = dictionary, y
        self._order: list[int] = []  # the atoms, those without a direction of their own as well
        self._own: list[bool] = []
        self._basis = np.empty((most, y.size), y.dtype)
        self._factor = np.zeros((most, most), y.dtype)  # column j: atom j in the basis
        self._shares = np.zeros(most, y.dtype)
        self._size = 0
        self.remainder = y  # y - A x

    def to(self, support: IntArray) -> float:
        """Fit on a support and return ||y - A x||²."""
        wanted = set(support.tolist())
        stays = next(
            (i for i, atom in enumerate(self._order) if atom not in wanted), len(self._order)
        )
        self._size = sum(self._own[:stays])
        del self._order[stays:], self._own[stays:]
        held = set(self._order)
        new = [atom for atom in support.tolist() if atom not in held]
        for atom, values in zip(new, self._dictionary.some_atoms(np.array(new, int)), strict=True):
            self._order.append(atom)
            self._own.append(self._append(values))
        self.remainder = self._y - self._shares[: self._size] @ self._basis[: self._size]
        return float((self.remainder.conj() @ self.remainder).real)

    def _append(self, atom: FloatArray) -> bool:
        """Add the direction of an atom to the basis, unless it lies in its span."""
        size, before = self._size, float((atom.conj() @ atom).real)
        basis = self._basis[:size]
        own = np.zeros(size, atom.dtype)
        for _ in range(2):
            part = basis.conj() @ atom
            own += part
            atom = atom - part @ basis
        after = float((atom.conj() @ atom).real)
        if after <= _DEPENDENT * before:
            return False
        self._factor[:size, size], self._factor[size, size] = own, after**0.5
        self._basis[size] = atom / after**0.5
        self._shares[size] = self._basis[size].conj() @ self._y
        self._size += 1
        return True

    @property
    def support(self) -> IntArray:
        """The atoms that span the fit, in the order of `coefficients`."""
        pairs = zip(self._order, self._own, strict=True)
        return np.array([atom for atom, own in pairs if own], dtype=np.intp)

    def coefficients(self) -> FloatArray:
        """Return x on `support`."""
        size = self._size
        if not size:
            return self._shares[:0]
        found: FloatArray = scipy.linalg.solve_triangular(
            self._factor[:size, :size], self._shares[:size], check_finite=False
        )
        return found
