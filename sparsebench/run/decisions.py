"""The decisions that a store keeps: a row a curve, used again only with every row it rests on.

So that a run which goes on, or has ended, need not fit its way to what was decided before.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsebench.registry import Choice
from sparsebench.run.rows import OLDER, Curve, Decision
from sparsebench.run.store import IS_OLDER, Store, algorithm_recipe, problem_recipe
from sparsebench.run.successes import noise_ratio
from sparsebench.seeding import canonical, digest
from sparsebench.statistics.measures import EXACT, Success
from sparsebench.types import Status

# Told of the rows of a decision that is taken up: how often each (status, message) is among them.
Told = Callable[[Choice, Counter[tuple[str, str]]], None]
_FAILED = {str(status) for status in Status if status.failed}
# A row of each status without a message, and in SQL its place among these; -1 for others.
_PLAIN = {(str(status), ""): place for place, status in enumerate(Status)}
_CODE = (
    "CASE WHEN message = '' THEN CASE status "
    + " ".join(f"WHEN '{status}' THEN {place}" for (status, _), place in _PLAIN.items())
    + " ELSE -1 END ELSE -1 END"
)


class _Rows(NamedTuple):
    """The rows of one algorithm at one size.

    Trial and k as one number, ascending; the third column of `Decision.rows`; whether they count as
    missing; the place of their status and message in `pairs`.
    """

    codes: NDArray[Any]
    flags: NDArray[Any]
    missing: NDArray[Any]
    said: NDArray[Any]
    pairs: dict[tuple[str, str], int]


class Decisions:
    """The decisions of a store, as one run sees them.

    Parameters
    ----------
    store : Store
    retried : sequence of str
        Statuses, or `OLDER`, whose rows count as missing, where they are of a run before
        `before`.
    before : int
    told : callable
        Told which rows the decisions that are taken up rest on.
    """

    def __init__(self, store: Store, retried: Sequence[str], before: int, told: Told) -> None:
        self._store = store
        self._retried = retried
        self._before = before
        self._told = told

    def find(self, curves: Iterable[Curve]) -> dict[Curve, Decision]:
        """Return the kept decisions of curves, if every row they rest on is there unchanged."""
        sizes: dict[tuple[Any, ...], dict[int | None, tuple[Curve, Decision]]] = defaultdict(dict)
        for curve in curves:
            decision = self._load(curve)
            if decision:
                problem = self._store.id_of("problems", problem_recipe(curve))
                recipe = algorithm_recipe(curve.algorithm, curve.time_limit)
                algorithm = self._store.id_of("algorithms", recipe)
                sizes[problem, curve.n, curve.m, curve.success][algorithm] = curve, decision
        found = {}
        for (*size, success), wanted in sizes.items():
            noise = noise_ratio(dict(next(iter(wanted.values()))[0].problem.options))
            for algorithm, rows in self._rows(size, success, noise).items():
                if algorithm in wanted:
                    curve, decision = wanted[algorithm]
                    places = _places(decision, rows)
                    if places is not None:
                        found[curve] = decision
                        times = np.bincount(rows.said[places], minlength=len(rows.pairs)).tolist()
                        counts = Counter(dict(zip(rows.pairs, times, strict=True)))
                        self._told(curve.algorithm, +counts)  # those that are there
        return found

    def keep(self, decided: dict[Curve, Decision]) -> None:
        """Keep decisions, all or none, in the place of earlier ones of their curves."""
        if not decided:
            return
        with self._store.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO decisions (curve, rows, state) VALUES (?, ?, ?)",
                [
                    (_key(curve), decision.rows.astype("<i4").tobytes(), canonical(decision.state))
                    for curve, decision in decided.items()
                ],
            )

    def _load(self, curve: Curve) -> Decision | None:
        """Return what is kept of a curve, whatever rows are there."""
        kept = self._store.execute(
            "SELECT rows, state FROM decisions WHERE curve = ?", (_key(curve),)
        ).fetchone()
        if kept is None:
            return None
        rows = np.frombuffer(kept[0], dtype="<i4").reshape(-1, 3)
        return Decision(rows, json.loads(kept[1]))

    def _rows(self, size: Sequence[Any], success: Success, noise: float) -> dict[int, _Rows]:
        """Return the rows at one size, by algorithm: nearly all of them as numbers."""
        chosen = "FROM rows WHERE problem = ? AND n = ? AND m = ?"
        order = "ORDER BY algorithm, trial, k"
        columns = f"algorithm, trial, k, exact, status = 'time-out', run, {IS_OLDER}, {_CODE}"
        table = self._store.execute(f"SELECT {columns} {chosen} {order}", size)
        numbers = np.fromiter(chain.from_iterable(table), dtype=np.int64).reshape(-1, 8).T
        algorithm, trial, k, exact, late, run, older, said = numbers
        pairs = dict(_PLAIN)
        others = self._store.execute(
            f"SELECT status, message {chosen} AND {_CODE} < 0 {order}", size
        ).fetchall()
        said[said < 0] = [pairs.setdefault(pair, len(pairs)) for pair in others]
        retried = [place for (status, _), place in pairs.items() if status in self._retried]
        missing = np.isin(said, retried) | (older == 1 if OLDER in self._retried else False)
        missing &= run < self._before
        if success != EXACT:
            columns = ", ".join(success.columns)
            measured = self._store.execute(f"SELECT {columns} {chosen} {order}", size).fetchall()
            values = np.array(measured, np.float64).reshape(-1, len(success.columns)).T
            lost = [place for (status, _), place in pairs.items() if status in _FAILED]
            given = dict(zip(success.columns, values, strict=True))
            won = success.of(given, np.isin(said, lost), noise)
            exact = np.nan_to_num(won, nan=-4).astype(np.int64)  # no decision rests on it
        codes, flags = trial << 32 | k, exact + 2 * late
        names, starts = np.unique(algorithm, return_index=True)
        found = {}
        for name, first, end in zip(
            names.tolist(), starts.tolist(), [*starts[1:].tolist(), algorithm.size], strict=True
        ):
            own = slice(first, end)
            found[name] = _Rows(codes[own], flags[own], missing[own], said[own], pairs)
        return found


def _places(decision: Decision, rows: _Rows) -> NDArray[Any] | None:
    """Return where the rows of a decision are, None unless all are there as they were."""
    trial, k, flag = decision.rows.T.astype(np.int64)
    wanted = trial << 32 | k
    places = np.minimum(np.searchsorted(rows.codes, wanted), rows.codes.size - 1)
    same = (rows.codes[places] == wanted) & (rows.flags[places] == flag) & ~rows.missing[places]
    return places if same.all() else None


def _key(curve: Curve) -> bytes:
    """Return what a curve is kept by: the hash of all that decides, the rows apart."""
    recipe = {
        "problem": problem_recipe(curve),
        "algorithm": algorithm_recipe(curve.algorithm, curve.time_limit),
        "n": curve.n,
        "m": curve.m,
        "rule": curve.rule,
    }
    return bytes.fromhex(digest(recipe))
