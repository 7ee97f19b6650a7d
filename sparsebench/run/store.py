"""One SQLite file a folder of results: a row a trial, its key the recipe.

Only the parent process writes. A block of rows is one transaction, in WAL mode but on network file
systems, so that a run killed at any moment loses the blocks in flight and nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import takewhile
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.registry import Choice, ProblemChoice
from sparsebench.run.rows import OLDER, Block, Curve, Outcome
from sparsebench.seeding import canonical
from sparsebench.system.filesystems import network_file_system
from sparsebench.types import InputError, Status

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 5
FILE_NAME = "results.db"
_OTHER = "choose another folder with --out"

# `seconds` and `n_iter` are NULL where they are unknown: some peers do not tell, and no solve began
# where no instance could be drawn.
_ROWS_4 = """
CREATE TABLE rows (
    problem INTEGER NOT NULL REFERENCES problems, n INTEGER NOT NULL, m INTEGER NOT NULL,
    trial INTEGER NOT NULL, algorithm INTEGER NOT NULL REFERENCES algorithms, k INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    support_distance REAL NOT NULL, exact INTEGER NOT NULL, relative_error REAL,
    relative_residual REAL, n_iter INTEGER, status TEXT NOT NULL, message TEXT NOT NULL,
    seconds REAL, stages TEXT NOT NULL DEFAULT '',
    near_1 REAL, near_2 REAL,
    PRIMARY KEY (problem, n, m, trial, algorithm, k)
) WITHOUT ROWID;
"""
# Since format 5. Of older rows, which never had more than k indices, those missed are known, and
# that none is false where none is missed; of others with an estimate it is not known.
_ADDED_5 = (
    "ALTER TABLE rows ADD COLUMN missed_indices INTEGER;"
    "ALTER TABLE rows ADD COLUMN false_indices INTEGER;"
    "ALTER TABLE rows ADD COLUMN prediction_error REAL"
)
_FAILED = ", ".join(f"'{status}'" for status in Status if status.failed)
_DERIVED_5 = (
    "UPDATE rows SET missed_indices = CAST(round(support_distance * k) AS INTEGER), "
    "false_indices = CASE WHEN exact THEN 0 END "
    f"WHERE status NOT IN ({_FAILED})"
)
_OUTCOME_4 = (
    "support_distance, exact, relative_error, relative_residual, n_iter, status, message, seconds, "
    "stages, near_1, near_2"
)
_COLUMNS_4 = f"problem, n, m, trial, algorithm, k, run, {_OUTCOME_4}"
_OUTCOME = f"{_OUTCOME_4}, missed_indices, false_indices, prediction_error"
_COLUMNS = f"problem, n, m, trial, algorithm, k, run, {_OUTCOME}".split(", ")
#: In SQL, what `Outcome.is_of` says of rows that are `OLDER`.
IS_OLDER = f"(rows.prediction_error IS NULL AND rows.status NOT IN ({_FAILED}))"
# Not `astuple`, which copies every value.
_values = attrgetter(*(field.name for field in fields(Outcome)))
# What a row that is computed anew takes from the new one: all but its key.
_NEW = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[6:])
_SCHEMA = (
    """
CREATE TABLE format (version INTEGER NOT NULL);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, finished TEXT, command TEXT NOT NULL,
    recipe TEXT NOT NULL, environment TEXT NOT NULL, report TEXT
);
CREATE TABLE algorithms (
    id INTEGER PRIMARY KEY, recipe TEXT UNIQUE NOT NULL, name TEXT NOT NULL, label TEXT NOT NULL
);
CREATE TABLE problems (
    id INTEGER PRIMARY KEY, recipe TEXT UNIQUE NOT NULL, name TEXT NOT NULL, label TEXT NOT NULL,
    seed INTEGER NOT NULL
);
"""
    + _ROWS_4
    + _ADDED_5
)
# Beside the rows, and never needed: earlier versions pass over it.
_DECISIONS = """
CREATE TABLE IF NOT EXISTS decisions (
    curve BLOB PRIMARY KEY, rows BLOB NOT NULL, state TEXT NOT NULL
) WITHOUT ROWID
"""
# What brings a file of an older format up to the next one.
_MIGRATIONS = {
    1: "ALTER TABLE rows ADD COLUMN stages TEXT NOT NULL DEFAULT ''",
    2: "ALTER TABLE rows ADD COLUMN near_1 REAL; ALTER TABLE rows ADD COLUMN near_2 REAL",
    # A column cannot lose its NOT NULL in place.
    3: f"ALTER TABLE rows RENAME TO older; {_ROWS_4}"
    f"INSERT INTO rows ({_COLUMNS_4}) SELECT {_COLUMNS_4} FROM older; DROP TABLE older",
    4: f"{_ADDED_5}; {_DERIVED_5}",
}


class Store:
    """The results of a folder.

    `network` is the name of the network file system that the folder lies on, None if it is local.
    There the journal is one without shared memory, which such systems lack.

    Parameters
    ----------
    folder : Path
        Created if it does not exist.
    writable : bool
        Whether rows will be added; otherwise the file must exist.

    Raises
    ------
    InputError
        If the folder cannot be written, or the file is missing, damaged, of another version or
        no store at all.
    """

    def __init__(self, folder: Path, *, writable: bool = True) -> None:
        self.path = folder / FILE_NAME
        use = "write to" if writable else "read"
        try:
            fresh = not self.path.exists() or self.path.stat().st_size == 0
        except OSError as error:
            raise InputError(f"cannot {use} {self.path}: {error}; {_OTHER}") from None
        if fresh and not writable:
            raise InputError(f"no results in {folder}: {self.path} does not exist")
        self._ids: dict[tuple[str, str], int] = {}
        self.network = network_file_system(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=30.0)
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"cannot write to {self.path}: {error}; {_OTHER}") from None
        try:
            self._open(writable)
        except sqlite3.OperationalError as error:
            self._connection.close()
            raise InputError(f"cannot {use} {self.path}: {error}; {_OTHER}") from None
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise InputError(
                f"{self.path} is damaged or no store ({str(error).splitlines()[0]}): "
                "move it away, or choose another --out"
            ) from None
        except InputError:
            self._connection.close()
            raise

    def _open(self, writable: bool) -> None:
        """Create the tables, or check that the file is whole and of this version."""
        execute = self._connection.execute
        if writable:
            # Under the write lock, so that of two first runs only one creates the tables.
            execute("BEGIN IMMEDIATE")
        tables = set(execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall())
        if writable and not tables:
            for statement in _SCHEMA.split(";"):
                execute(statement)
            execute("INSERT INTO format VALUES (?)", (FORMAT,))
        elif not {("format",), ("rows",)} <= tables:
            raise InputError(f"{self.path} is a database, but no store of sparsebench")
        self._connection.commit()
        version = execute("SELECT version FROM format").fetchone()
        if version is None:
            raise sqlite3.DatabaseError("it has no version")
        if version[0] not in (*_MIGRATIONS, FORMAT):
            raise InputError(
                f"{self.path} has format {version[0]}, this version of sparsebench reads "
                f"{FORMAT}: choose another --out, or export it with the version that wrote it"
            )
        found = execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        if version[0] != FORMAT:
            self._migrate()
        if writable:
            execute(_DECISIONS)
            execute(f"PRAGMA journal_mode = {'DELETE' if self.network else 'WAL'}")

    def _migrate(self) -> None:
        """Bring the file up to this format, in one transaction; no row changes."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            # Another process may have been first.
            found = self._connection.execute("SELECT version FROM format").fetchone()[0]
            for old in range(found, FORMAT):
                for statement in _MIGRATIONS[old].split(";"):
                    self._connection.execute(statement)
            self._connection.execute("UPDATE format SET version = ?", (FORMAT,))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Store all of the body's changes or none; a full disk is said with the file's name."""
        try:
            with self._connection:
                yield self._connection
        except sqlite3.Error as error:
            raise type(error)(f"cannot write to {self.path}: {error}") from error

    def execute(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Return what a query finds."""
        return self._connection.execute(query, values)

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> int:
        """Execute a statement for each of some rows; return how many rows it has changed."""
        return self._connection.executemany(statement, rows).rowcount

    def start_run(self, command: str, recipe: Any, environment: Any) -> int:
        """Record a run and return its id."""
        with self.transaction():
            cursor = self._connection.execute(
                "INSERT INTO runs (started, command, recipe, environment) "
                "VALUES (datetime('now'), ?, ?, ?)",
                (
                    command.encode("utf-8", "replace").decode(),
                    canonical(recipe),
                    canonical(environment),
                ),
            )
        return int(cursor.lastrowid or 0)

    def finish_run(self, run: int, report: Any) -> None:
        """Record how a run ended."""
        with self.transaction():
            self._connection.execute(
                "UPDATE runs SET finished = datetime('now'), report = ? WHERE id = ?",
                (canonical(report), run),
            )

    def first_of_unfinished(self, recipe: Any) -> int:
        """Return the first of the last runs of a recipe that did not finish, or the next run."""
        runs = self._connection.execute(
            "SELECT id, finished FROM runs WHERE recipe = ? ORDER BY id DESC", (canonical(recipe),)
        ).fetchall()
        unfinished = [run for run, finished in takewhile(lambda one: one[1] is None, runs)]
        if unfinished:
            return int(unfinished[-1])
        (last,) = self._connection.execute("SELECT ifnull(max(id), 0) FROM runs").fetchone()
        return int(last) + 1

    def add(
        self, run: int, block: Block, outcomes: Sequence[Outcome], retried: Sequence[str] = ()
    ) -> None:
        """Append the rows of a finished block, all or none.

        Rows that are there stay, unless they are of those `retried`.
        """
        older = " OR " + IS_OLDER if OLDER in retried else ""
        try:
            with self.transaction():
                problem = self._enter(
                    "problems", problem_recipe(block), block.problem, seed=block.seed
                )
                keys = [
                    (
                        problem,
                        block.n,
                        block.m,
                        block.trial,
                        self._enter(
                            "algorithms", algorithm_recipe(chosen, block.time_limit), chosen
                        ),
                        k,
                        run,
                    )
                    for chosen, k in block.pairs
                ]
                # Another run may have been first; nothing else is passed over.
                self._connection.executemany(
                    f"INSERT INTO rows ({', '.join(_COLUMNS)}) "
                    f"VALUES ({','.join('?' * len(_COLUMNS))}) "
                    f"ON CONFLICT (problem, n, m, trial, algorithm, k) DO UPDATE SET {_NEW} "
                    f"WHERE rows.status IN ({','.join('?' * len(retried))}){older}",
                    [key + _values(o) + (*retried,) for key, o in zip(keys, outcomes, strict=True)],
                )
        except BaseException:
            self._ids.clear()  # those entered here have been taken back
            raise

    def find(
        self, block: Block, retried: Sequence[str] = (), before: int = 0
    ) -> dict[tuple[Choice, int], Outcome]:
        """Return those outcomes of a block that are stored.

        Rows that are `retried` count as missing, where they are of a run `before` that one.
        """
        problem = self.id_of("problems", problem_recipe(block))
        by_id = {
            self.id_of("algorithms", algorithm_recipe(chosen, block.time_limit)): chosen
            for chosen in {chosen for chosen, _ in block.pairs}
        }
        wanted = set(block.pairs)
        found = {}
        for algorithm, k, run, *values in self._connection.execute(
            f"SELECT algorithm, k, run, {_OUTCOME} FROM rows "
            "WHERE problem = ? AND n = ? AND m = ? AND trial = ?",
            (problem, block.n, block.m, block.trial),
        ):
            if algorithm in by_id and (by_id[algorithm], k) in wanted:
                values[1] = bool(values[1])
                outcome = Outcome(*values)
                if run >= before or not outcome.is_of(retried):
                    found[by_id[algorithm], k] = outcome
        return found

    def id_of(self, table: str, recipe: str) -> int | None:
        """Return the id of a recipe, if it is known."""
        if (table, recipe) not in self._ids:
            row = self._connection.execute(
                f"SELECT id FROM {table} WHERE recipe = ?", (recipe,)
            ).fetchone()
            if row is None:
                return None
            self._ids[table, recipe] = row[0]
        return self._ids[table, recipe]

    def _enter(self, table: str, recipe: str, chosen: Choice | ProblemChoice, **more: int) -> int:
        """Return the id of a recipe, which is entered if it is new."""
        known = self.id_of(table, recipe)
        if known is not None:
            return known
        columns = {"recipe": recipe, "name": chosen.name, "label": chosen.label, **more}
        self._connection.execute(
            f"INSERT INTO {table} ({','.join(columns)}) VALUES ({','.join('?' * len(columns))}) "
            "ON CONFLICT (recipe) DO NOTHING",  # another run may have been first
            tuple(columns.values()),
        )
        return self._enter(table, recipe, chosen, **more)

    def frame(
        self, columns: Sequence[str] | None = None, algorithms: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return the rows, or some columns of those of some algorithms: see `frames.read_frame`."""
        from sparsebench.run.frames import read_frame  # with pandas, which a run does not need

        return read_frame(self._connection, columns, algorithms)

    def runs(self) -> pd.DataFrame:
        """Return the runs: when, which command, which recipe, on what."""
        from sparsebench.run.frames import runs

        return runs(self._connection)

    def summary(self) -> pd.DataFrame:
        """Return rows, failures and seconds by recipes and processors: see `frames.summary`."""
        from sparsebench.run.frames import summary

        return summary(self._connection)


def problem_recipe(block: Block | Curve) -> str:
    """Return the recipe that a problem is stored by."""
    return canonical({**block.problem.recipe, "seed": block.seed})


def algorithm_recipe(chosen: Choice, time_limit: float) -> str:
    """Return the recipe that an algorithm is stored by."""
    return canonical({**chosen.recipe, "time_limit": time_limit})
