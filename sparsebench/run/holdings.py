"""What a store holds, in few numbers: rows by algorithm and status, its runs, what is missing."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

from sparsebench.run.store import Store
from sparsebench.seeding import canonical, digest
from sparsebench.system.processes import is_alive


def holdings(store: Store) -> dict[str, Any]:
    """Return what a store holds, as JSON data.

    Returns
    -------
    dict
        ``file``, its ``bytes``, when it was last ``written`` (UTC), ``rows``, and rows by the label
        of their algorithm, of their problem and by status. ``experiments``, the last one begun
        first, each with the ``experiment``, ``recipe`` (as the CSVs have it), ``version`` and
        ``command`` of its last run, when that ``started`` and ``finished``, its ``state``
        ("finished", "running" or "stopped"), the ``rows`` that its runs have computed, and, where
        the design is fixed beforehand, how many rows it has ``wanted`` and how many of them are
        ``missing``, else None.
    """
    about = store.path.stat()
    written = datetime.datetime.fromtimestamp(about.st_mtime, datetime.UTC)
    groups = {
        "algorithms": "JOIN algorithms a ON a.id = r.algorithm GROUP BY a.label",
        "problems": "JOIN problems a ON a.id = r.problem GROUP BY a.label",
        "statuses": "JOIN (SELECT DISTINCT status AS label FROM rows) a ON a.label = r.status "
        "GROUP BY a.label",
    }
    counts = {
        name: dict(
            store.execute(
                f"SELECT a.label, count(*) FROM rows r {joined} ORDER BY count(*) DESC, a.label"
            ).fetchall()
        )
        for name, joined in groups.items()
    }
    found = {"file": str(store.path), "bytes": about.st_size, "written": f"{written:%F %T}"}
    rows = sum(counts["statuses"].values())
    return found | {"rows": rows} | counts | {"experiments": list(_experiments(store))}


def _experiments(store: Store) -> Iterator[dict[str, Any]]:
    """Yield the experiments of a store, the one that was begun last first."""
    runs = store.execute(
        "SELECT id, started, finished, command, recipe, environment FROM runs ORDER BY id DESC"
    ).fetchall()
    rows = dict(store.execute("SELECT run, count(*) FROM rows GROUP BY run").fetchall())
    last: dict[str, dict[str, Any]] = {}
    for run, started, finished, command, text, environment in runs:
        recipe, made = json.loads(text), json.loads(environment)
        recipe.pop("retry", None)  # which rows are computed anew, not what they are
        key = digest(recipe)
        if key not in last:
            alive = not finished and is_alive(made.get("process", ""))
            last[key] = {
                "experiment": recipe.get("experiment", "unknown"),
                "recipe": key,
                "version": made.get("sparsebench"),
                "command": command,
                "started": started,
                "finished": finished,
                "state": "finished" if finished else "running" if alive else "stopped",
                "rows": 0,
                **_missing(store, recipe),
            }
        last[key]["rows"] += rows.get(run, 0)
    yield from last.values()


def _missing(store: Store, recipe: dict[str, Any]) -> dict[str, int | None]:
    """Return how many rows an experiment wants, and lacks, where its recipe alone decides that."""
    if "shard" in recipe or recipe.get("experiment") not in _FIXED:
        return {"wanted": None, "missing": None}
    cells = _FIXED[recipe["experiment"]](recipe)
    wanted = sum(cells.values())
    there = 0
    for trials in set(cells.values()):
        counted = store.execute(
            "SELECT p.recipe, r.n, r.m, a.recipe, r.k, count(*) FROM rows r "
            "JOIN problems p ON p.id = r.problem JOIN algorithms a ON a.id = r.algorithm "
            "WHERE r.trial < ? GROUP BY r.problem, r.n, r.m, r.algorithm, r.k",
            (trials,),
        )
        there += sum(count for *cell, count in counted if cells.get(tuple(cell)) == trials)
    return {"wanted": wanted, "missing": wanted - there}


# Trials by (problem, n, m, algorithm, k), recipes as the store has them.
_Cells = dict[tuple[Any, ...], int]


def _curves(recipe: dict[str, Any]) -> _Cells:
    problem = canonical(recipe["problem"] | {"seed": recipe["seed"]})
    return {
        (problem, recipe["n"], recipe["m"], _limited(algorithm, recipe), k): recipe["trials"]
        for algorithm in recipe["algorithms"]
        for k in recipe["ks"]
    }


def _points(recipe: dict[str, Any]) -> _Cells:
    cells: _Cells = {}
    for point in recipe["points"]:
        problem = canonical(point["problem"] | {"seed": recipe["seed"]})
        for algorithm in point["curves"].values():
            key = problem, point["n"], point["m"], _limited(algorithm, recipe), point["k"]
            cells[key] = max(point["trials"], cells.get(key, 0))
    return cells


def _limited(algorithm: dict[str, Any], recipe: dict[str, Any]) -> str:
    return canonical(algorithm | {"time_limit": recipe["time_limit"]})


_FIXED = {"support-distance": _curves, "study": _points}
