"""Folders of results made one: their rows, each with its run, in one transaction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sparsebench.run.rows import Outcome
from sparsebench.run.store import Store
from sparsebench.types import InputError

_ROWS_AT_ONCE = 10_000
# What two machines may say differently of one row: how long it took, and free text on a failure.
_MAY_DIFFER = ("seconds", "stages", "message")
_COMPARED = [field.name for field in fields(Outcome) if field.name not in _MAY_DIFFER]
# Errors and residuals differ by rounding from one processor to another.
_ROUNDING = {"rel_tol": 1e-6, "abs_tol": 1e-9}
_RUN = "started, command, recipe, environment"


@dataclass(frozen=True)
class Merged:
    """What was taken from a folder: the rows it holds, and those of them that were new."""

    folder: Path
    rows: int
    new: int


def merge(folders: Sequence[Path], out: Path) -> list[Merged]:
    """Add the rows of some folders to those of another, all or none.

    Algorithms and problems are the same where their recipes are. A row keeps its run, with the host
    and the processor that this names. What is there already is passed over, so that a merge that
    was stopped, or done, can be done again.

    Raises
    ------
    InputError
        If a folder holds no results, or of another format, if two share no root seed, or if two
        have different outcomes of one solve. Nothing has then been merged.
    """
    for folder in folders:
        if folder.resolve() == out.resolve():
            raise InputError(
                f"{folder} is the folder that the others are merged into: leave it out"
            )
    with ExitStack() as opened:
        sources = [(one, opened.enter_context(Store(one, writable=False))) for one in folders]
        for _, source in sources:
            source.execute("BEGIN")  # what is read of it is of one moment
        seeds = [(folder, _seeds(source)) for folder, source in sources]
        _check_seeds(seeds)
        target = opened.enter_context(Store(out))
        # What is to be merged has been compared already: only the first can differ.
        _check_seeds([(out, _seeds(target)), *seeds[:1]] if seeds else [])
        with target.transaction() as connection:
            connection.execute("BEGIN IMMEDIATE")
            merging = _Merging(target, out)
            return [merging.take(*source) for source in sources]


class _Merging:
    """A target, and which folder each of its runs has come from."""

    def __init__(self, target: Store, out: Path) -> None:
        self._target = target
        self._out = out
        self._origin: dict[int, Path] = {}
        described = target.execute("PRAGMA table_info(rows)").fetchall()
        keys = sorted((place, name) for _, name, *_, place in described if place)
        self._key = [name for _, name in keys]
        self._names = self._key + [name for _, name, *_ in described if name not in self._key]

    def take(self, folder: Path, source: Store) -> Merged:
        """Add what is new of a folder."""
        runs = self._runs(folder, source)
        ids = {name: self._ids(name, source) for name in ("problems", "algorithms")}
        maps = {"problem": ids["problems"], "algorithm": ids["algorithms"], "run": runs}
        places = [(self._names.index(name), found) for name, found in maps.items()]
        read = source.execute(f"SELECT {', '.join(self._names)} FROM rows")
        rows = new = 0
        while chunk := [list(row) for row in read.fetchmany(_ROWS_AT_ONCE)]:
            for row in chunk:
                for place, found in places:
                    row[place] = found[row[place]]
            added = self._insert(
                "rows", self._names, chunk, f"ON CONFLICT ({self._keys}) DO NOTHING"
            )
            if added < len(chunk):
                self._check(chunk, folder)
            rows, new = rows + len(chunk), new + added
        self._take_decisions(source)
        return Merged(folder, rows, new)

    @property
    def _keys(self) -> str:
        return ", ".join(self._key)

    def _insert(
        self, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]], otherwise: str = ""
    ) -> int:
        """Insert rows, and return how many of them were new."""
        marks = ", ".join("?" * len(names))
        statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) {otherwise}"
        return int(self._target.executemany(statement, rows))

    def _runs(self, folder: Path, source: Store) -> dict[int, int]:
        """Enter the runs of a folder that are new, and return the ids of all by their own."""
        found = {}
        for run, finished, report, *what in source.execute(
            f"SELECT id, finished, report, {_RUN} FROM runs ORDER BY id"
        ).fetchall():
            known = self._target.execute(
                f"SELECT id, finished FROM runs WHERE ({_RUN}) = (?, ?, ?, ?)", what
            ).fetchone()
            if known is None:
                names = ["finished", "report", *_RUN.split(", ")]
                self._insert("runs", names, [[finished, report, *what]])
                known = self._target.execute("SELECT max(id), NULL FROM runs").fetchone()
                self._origin[known[0]] = folder
            elif known[1] is None and finished is not None:
                self._target.execute(
                    "UPDATE runs SET finished = ?, report = ? WHERE id = ?",
                    (finished, report, known[0]),
                )
            found[run] = known[0]
        return found

    def _ids(self, table: str, source: Store) -> dict[int, int]:
        """Enter the recipes of a folder that are new, and return the ids of all by their own."""
        names = [name for _, name, *_ in self._target.execute(f"PRAGMA table_info({table})")][1:]
        found = source.execute(f"SELECT id, {', '.join(names)} FROM {table}").fetchall()
        self._insert(table, names, [row[1:] for row in found], "ON CONFLICT (recipe) DO NOTHING")
        ids = {
            recipe: one for one, recipe in self._target.execute(f"SELECT id, recipe FROM {table}")
        }
        place = 1 + names.index("recipe")
        return {row[0]: ids[row[place]] for row in found}

    def _check(self, chunk: Sequence[Sequence[Any]], folder: Path) -> None:
        """Refuse rows whose outcome is another than that of the row which is there."""
        wanted = ", ".join([*_COMPARED, "run"])
        there = (
            f"SELECT {wanted} FROM rows WHERE ({self._keys}) = ({', '.join('?' * len(self._key))})"
        )
        places = [self._names.index(name) for name in _COMPARED]
        for row in chunk:
            key = row[: len(self._key)]
            *known, run = self._target.execute(there, key).fetchone()
            ours = [row[place] for place in places]
            differing = [
                (name, one, other)
                for name, one, other in zip(_COMPARED, known, ours, strict=True)
                if not _alike(one, other)
            ]
            if differing:
                self._refuse(key, differing, self._origin.get(run, self._out), folder)

    def _refuse(
        self, key: Sequence[Any], differing: list[tuple[str, Any, Any]], one: Path, other: Path
    ) -> None:
        """Raise the error that names two folders and what they say of one solve."""
        cell = dict(zip(self._key, key, strict=True))
        (algorithm,) = self._label("algorithms", cell["algorithm"])
        (problem,) = self._label("problems", cell["problem"])
        sizes = ", ".join(f"{name} = {cell[name]}" for name in ("n", "m", "k", "trial"))
        name, mine, theirs = next((d for d in differing if d[0] == "status"), differing[0])
        raise InputError(
            f"{one} and {other} have different outcomes of {algorithm} on {problem} at {sizes}: "
            f"{name} {mine} and {theirs}; nothing was merged: leave one of the two out, or compute "
            "such rows anew in one of them"
        )

    def _label(self, table: str, number: int) -> Any:
        return self._target.execute(f"SELECT label FROM {table} WHERE id = ?", (number,)).fetchone()

    def _take_decisions(self, source: Store) -> None:
        """Add what is kept of decisions; of two on one curve that which rests on more rows."""
        if not source.execute("SELECT 1 FROM sqlite_master WHERE name = 'decisions'").fetchone():
            return
        found = source.execute("SELECT curve, rows, state FROM decisions").fetchall()
        self._insert(
            "decisions",
            ("curve", "rows", "state"),
            found,
            "ON CONFLICT (curve) DO UPDATE SET rows = excluded.rows, state = excluded.state "
            "WHERE length(excluded.rows) > length(decisions.rows)",
        )


def _seeds(store: Store) -> set[int]:
    """Return the root seeds of a store's rows."""
    return {seed for (seed,) in store.execute("SELECT DISTINCT seed FROM problems")}


def _check_seeds(seeds: Sequence[tuple[Path, set[int]]]) -> None:
    """Refuse folders that share no root seed: they are parts of different runs."""
    with_rows = [(folder, found) for folder, found in seeds if found]
    for folder, found in with_rows[1:]:
        first, known = with_rows[0]
        if not found & known:
            raise InputError(
                f"{first} has root seed {min(known)} and {folder} has {min(found)}: they are parts "
                "of different runs"
            )


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, **_ROUNDING)
    return bool(one == other)
