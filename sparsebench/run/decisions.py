"""The decisions that a store keeps: a row a curve, used again only with every row it rests on.

So that a run which goes on, or has ended, need not fit its way to what was decided before.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.registry import Choice
from sparsebench.run.rows import Curve, Decision
from sparsebench.run.store import Store, algorithm_recipe, problem_recipe
from sparsebench.seeding import canonical, digest

# Told of the rows of a decision that is taken up: how often each (status, message) is among them.
Told = Callable[[Choice, Counter[tuple[str, str]]], None]
# Of the rows of one algorithm at one size: trial and k as one number, ascending; the third column
# of `Decision.rows`; whether they count as missing; status and message.
_Rows = tuple[NDArray[Any], NDArray[Any], NDArray[Any], list[tuple[str, str]]]


class Decisions:
    """The decisions of a store, as one run sees them.

    Parameters
    ----------
    store : Store
    retried : sequence of str
        Statuses whose rows count as missing, where they are of a run before `before`.
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
                sizes[problem, curve.n, curve.m][algorithm] = curve, decision
        found = {}
        for size, wanted in sizes.items():
            for algorithm, rows in self._rows(size).items():
                if algorithm in wanted:
                    curve, decision = wanted[algorithm]
                    places = _places(decision, rows)
                    if places is not None:
                        found[curve] = decision
                        self._told(curve.algorithm, Counter(rows[3][place] for place in places))
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

    def _rows(self, size: tuple[Any, ...]) -> dict[int, _Rows]:
        """Return the rows at one size, by algorithm."""
        table = self._store.execute(
            "SELECT algorithm, trial, k, exact + 2 * (status = 'time-out'), run, status, message "
            "FROM rows WHERE problem = ? AND n = ? AND m = ? ORDER BY algorithm, trial, k",
            size,
        ).fetchall()
        if not table:
            return {}
        *numbers, statuses, messages = zip(*table, strict=True)
        algorithm, trial, k, flags, run = np.array(numbers, dtype=np.int64)
        codes = trial << 32 | k
        missing = np.isin(statuses, self._retried) & (run < self._before)
        said = list(zip(statuses, messages, strict=True))
        names, starts = np.unique(algorithm, return_index=True)
        parts = [
            slice(start, end)
            for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(table)], strict=True)
        ]
        return {
            name: (codes[part], flags[part], missing[part], said[part])
            for name, part in zip(names.tolist(), parts, strict=True)
        }


def _places(decision: Decision, rows: _Rows) -> list[int] | None:
    """Return where the rows of a decision are, None unless all are there as they were."""
    codes, flags, missing, _ = rows
    trial, k, flag = decision.rows.T.astype(np.int64)
    wanted = trial << 32 | k
    places = np.minimum(np.searchsorted(codes, wanted), codes.size - 1)
    same = (codes[places] == wanted) & (flags[places] == flag) & ~missing[places]
    return places.tolist() if same.all() else None


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
