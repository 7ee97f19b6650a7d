"""A store as data frames: its rows with their names and recipes, its runs, and a summary.

Apart from the store, which needs no pandas to run.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsebench.run.pages import read_columns

_KEY = ("problem", "n", "m", "trial", "algorithm", "k")
_OUTCOME = (
    *("support_distance", "exact", "relative_error", "relative_residual", "n_iter", "status"),
    *("message", "seconds", "stages", "near_1", "near_2"),
    *("missed_indices", "false_indices", "prediction_error", "run"),
)
# Integers that may be NULL.
_COUNTS = ("n_iter", "missed_indices", "false_indices")
#: The columns of a frame: from which table, and what it is called there.
COLUMNS = {
    "algorithm": ("algorithms", "name"),
    "algorithm_recipe": ("algorithms", "recipe"),
    "problem": ("problems", "name"),
    "problem_label": ("problems", "label"),
    "problem_recipe": ("problems", "recipe"),
    "seed": ("problems", "seed"),
    **{name: ("rows", name) for name in ("m", "n", "k", "trial", *_OUTCOME)},
}


def read_frame(
    connection: sqlite3.Connection,
    columns: Sequence[str] | None = None,
    algorithms: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the rows, with the names and recipes of their problem and algorithm.

    They are sorted by problem recipe, n, m, algorithm recipe, k and trial.

    Parameters
    ----------
    connection : Connection
        To the file of a store.
    columns : sequence of str, optional
        Those that are read; all by default.
    algorithms : sequence of str, optional
        Recipes, of which alone rows are read; all by default.

    Returns
    -------
    DataFrame
        Texts are categories, which are sorted and may have no row; `exact` is bool, `n_iter`,
        `missed_indices` and `false_indices` are Int64 with NA where they are not known, other
        numbers are int64 or float64 with NaN.
    """
    columns = list(COLUMNS if columns is None else columns)
    needed = {*_KEY, *(name for name in columns if COLUMNS[name][0] == "rows")}
    kept = None
    if algorithms is not None:
        ids = {recipe: i for i, recipe in connection.execute("SELECT id, recipe FROM algorithms")}
        kept = [ids.get(recipe) for recipe in algorithms]
    read = read_columns(connection, "rows", needed, "algorithm", kept)
    ranks = {table: _named(connection, table, "recipe") for table in ("algorithms", "problems")}
    order = _order(
        [
            read["trial"].values,
            read["k"].values,
            ranks["algorithms"][0][read["algorithm"].values],
            read["m"].values,
            read["n"].values,
            ranks["problems"][0][read["problem"].values],
        ]
    )
    places = {table: read.pop(table[:-1]).values[order] for table in ranks}
    made: dict[str, Any] = {}
    for name in columns:
        table, source = COLUMNS[name]
        if table != "rows":
            codes, known = _named(connection, table, source)
            if name == "seed":
                made[name] = np.array(known, np.int64)[codes[places[table]]]
            else:
                made[name] = _category(codes[places[table]], known)
            continue
        found = read.pop(name)
        values = found.values[order]
        if found.texts is not None:
            made[name] = _category(values, found.texts)
        elif name in _COUNTS and found.missing is not None:
            made[name] = pd.arrays.IntegerArray(values, found.missing[order])
        else:
            made[name] = values.astype(bool) if name == "exact" else values
    return pd.DataFrame(made, copy=False)


def runs(connection: sqlite3.Connection) -> pd.DataFrame:
    """Return the runs: when, which command, which recipe, on what."""
    return pd.read_sql_query("SELECT * FROM runs ORDER BY id", connection)


def summary(connection: sqlite3.Connection) -> pd.DataFrame:
    """Return rows, failures and seconds by recipes and processors; NaN where none are known."""
    frame = pd.read_sql_query(
        "SELECT p.label AS problem, p.recipe AS problem_recipe, p.seed, a.label AS algorithm, "
        "a.recipe AS algorithm_recipe, count(*) AS rows, "
        "sum(r.exact) AS exact, "
        "sum(r.status IN ('error', 'time-out', 'diverged')) AS failures, "
        "sum(r.status = 'time-out') AS time_outs, "
        "sum(r.seconds) AS seconds, "
        "coalesce(json_extract(runs.environment, '$.processor'), '') AS processor "
        "FROM rows r JOIN algorithms a ON a.id = r.algorithm JOIN problems p ON p.id = r.problem "
        "JOIN runs ON runs.id = r.run GROUP BY r.problem, r.algorithm, processor "
        "ORDER BY p.label, p.recipe, a.label, a.recipe, processor",
        connection,
    )
    return plain_columns(frame.astype({"seconds": "float64"}))


def _named(
    connection: sqlite3.Connection, table: str, source: str
) -> tuple[NDArray[Any], list[Any]]:
    """Return a column of the algorithms or problems: a place in its sorted values by id."""
    rows = connection.execute(f"SELECT id, {source} FROM {table}").fetchall()
    values = sorted({value for _, value in rows})
    rank = {value: code for code, value in enumerate(values)}
    codes = np.zeros(max((number for number, _ in rows), default=0) + 1, _code_type(values))
    for number, value in rows:
        codes[number] = rank[value]
    return codes, values


def _category(codes: NDArray[Any], texts: Sequence[str]) -> Any:
    return pd.Categorical.from_codes(
        codes.astype(_code_type(texts), copy=False), pd.Index(texts, dtype=str)
    )


def _code_type(values: Sequence[Any]) -> Any:
    return np.min_scalar_type(-len(values) - 1)


def _order(keys: Sequence[NDArray[Any]]) -> NDArray[np.intp]:
    """Return the order of rows by these keys, the last one first."""
    total, span = np.zeros(len(keys[0]), np.int64), 1
    for key in keys:
        if not len(key):
            break
        low, width = int(key.min()), int(key.max()) - int(key.min()) + 1
        if span * width >= 2**63:
            return np.lexsort(keys)
        total += (key.astype(np.int64) - low) * span
        span *= width
    return np.argsort(total)  # no two rows have one key


def plain_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with recipes spelled out as options, versions and time limit."""
    for kind in ("algorithm", "problem"):
        texts = pd.Categorical(frame.pop(f"{kind}_recipe"))
        recipes = [json.loads(text) for text in texts.categories]
        spelled = {
            f"{kind}_options": [json.dumps(recipe["options"]) for recipe in recipes],
            f"{kind}_version": [recipe["version"] for recipe in recipes],
        }
        for name, values in spelled.items():
            known = sorted(set(values))
            codes = np.array([known.index(value) for value in values], np.int32)
            frame[name] = _category(codes[texts.codes], known)
        if kind == "algorithm":
            frame["time_limit"] = np.array([one["time_limit"] for one in recipes])[texts.codes]
    return frame
