"""What a folder of results holds, as columns that a page can draw, sort and compare."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sparsebench.errors import InputError
from sparsebench.report import figures, style
from sparsebench.report.picture import has_l1_limit, is_complex, worded
from sparsebench.run.store import FILE_NAME, Store
from sparsebench.statistics import mcnemar, mean_interval
from sparsebench.theory import l1_limit

Columns = dict[str, Any]
_DIAGRAM = (
    "level",
    "m",
    "estimate",
    "lower",
    "upper",
    "trials",
    "time_outs",
    "stopped",
    "coverage",
)
_DISTANCES = ("k", "estimate", "lower", "upper", "trials", "failures", "time_outs")
_TIMES = (
    "workload",
    "seconds",
    "lower_quartile",
    "upper_quartile",
    "exact",
    "distance",
    "iterations",
)
_CELL = ["problem_label", "problem_recipe", "seed", "n", "m"]
_ROWS = ["algorithm_recipe", *_CELL, "k", "trial", "exact", "support_distance"]
_FAILED = ("error", "time-out", "diverged")
# Messages of one algorithm and status that are quoted.
_MOST_MESSAGES = 5


def of_folders(folders: list[Path]) -> Columns:
    """Return all that a page shows of some folders, and of whose algorithms.

    Parameters
    ----------
    folders : list of Path
        Each with CSVs of ``phase-transition``, ``support-distance`` or ``timing``, or a store.

    Raises
    ------
    InputError
        If one of them holds nothing to report, or a file is damaged.
    """
    algorithms: dict[str, Columns] = {}
    parts = [_of_folder(folder, algorithms) for folder in folders]
    for place, one in enumerate(algorithms.values()):
        one["colour"], one["dash"], one["marker"] = style.by_place(place)
    return {"algorithms": list(algorithms.values()), "folders": parts}


def _of_folder(folder: Path, algorithms: dict[str, Columns]) -> Columns:
    """Return the contents of a folder; `algorithms` gains those that it names."""
    part: Columns = {"name": str(folder)}
    for stem, read in (("thresholds", _diagram), ("distances", _distances)):
        path = folder / f"{stem}.csv"
        if path.is_file():
            part[stem] = read(figures.read(path), algorithms, path)
    if (folder / "timing.csv").is_file():
        part["times"] = _times(folder / "timing.csv", algorithms)
    if (folder / FILE_NAME).is_file():
        with Store(folder, writable=False) as store:
            part |= _of_store(store, part, algorithms)
    if len(part) == 1:
        raise InputError(
            f"nothing to report in {folder}: phase-transition, support-distance and timing write "
            "what a report shows"
        )
    return part


def _place(algorithms: dict[str, Columns], label: str, told: str = "", family: str = "") -> int:
    """Return the place of an algorithm among all of the page, which it joins if it is new."""
    known = algorithms.setdefault(
        label, {"label": label, "told": told, "family": family, "place": len(algorithms)}
    )
    known["told"], known["family"] = known["told"] or told, known["family"] or family
    return int(known["place"])


def _curves(
    frame: pd.DataFrame, names: tuple[str, ...], key: list[str], algorithms: Any, path: Path
) -> Columns:
    """Return the columns of points, and what is said of all of them."""
    twice = frame.duplicated(["algorithm", *key])
    if twice.any():
        raise InputError(
            f"{path} has two points of {frame['algorithm'][twice].iloc[0]} at one place: rows of "
            "several runs, or two algorithms of one label"
        )
    labels = frame[["algorithm", "told", "family"]].itertuples(index=False)
    places = [_place(algorithms, *row) for row in labels]
    first = frame.iloc[0]
    about: Columns = {
        name: str(first[name]) for name in ("recipe", "version", "command") if name in frame
    }
    options = [worded(*one) for one in json.loads(first["problem_options"]).items()]
    about |= {"problem": str(first["problem"]), "options": options, "seed": int(first["seed"])}
    columns = {name: _plain(frame[name]) for name in names if name in frame}
    return {"about": about, "columns": {"algorithm": places, **columns}}


def _diagram(frame: pd.DataFrame, algorithms: dict[str, Columns], path: Path) -> Columns:
    frame = frame.sort_values(["level", "m"], kind="stable")
    found = _curves(frame, _DIAGRAM, ["level", "m"], algorithms, path)
    field, n = is_complex(frame), int(frame["n"].iloc[0])
    deltas = np.linspace(0.01, 0.99, 99)
    success = str(frame["success"].iloc[0]) if "success" in frame else "the exact support"
    found["about"] |= {"n": n, "success": success}
    if has_l1_limit(frame):
        found["limit"] = {
            "x": [round(float(delta), 4) for delta in deltas],
            "y": [round(l1_limit(float(delta), field), 5) for delta in deltas],
        }
    return found


def _distances(frame: pd.DataFrame, algorithms: dict[str, Columns], path: Path) -> Columns:
    found = _curves(frame.sort_values("k", kind="stable"), _DISTANCES, ["k"], algorithms, path)
    found["about"] |= {name: int(frame[name].iloc[0]) for name in ("n", "m")}
    return found


def _times(path: Path, algorithms: dict[str, Columns]) -> Columns:
    frame = pd.read_csv(path)
    if "processor" in frame and frame["processor"].nunique() > 1:
        several = ", ".join(sorted(frame["processor"].dropna().unique()))
        raise InputError(
            f"{path} has seconds of several processors ({several}), which do not compare: keep "
            "those of one"
        )
    names = zip(frame["algorithm"], frame["family"], strict=True)
    places = [_place(algorithms, label, "", family) for label, family in names]
    return {"columns": {"algorithm": places} | {name: _plain(frame[name]) for name in _TIMES}}


def _of_store(store: Store, part: Columns, algorithms: dict[str, Columns]) -> Columns:
    """Return runs, failures and paired comparisons of the rows of a store."""
    runs = store.runs()
    made = [
        {
            "started": run["started"],
            "finished": run["finished"] or "did not finish",
            "command": run["command"],
            "environment": json.loads(run["environment"]),
        }
        for run in runs.astype(object).where(runs.notna(), None).to_dict("records")
    ]
    rows = store.frame([*_ROWS, "status", "message"])
    rows["algorithm"] = rows["algorithm_recipe"].map(_labels(store))
    return {
        "runs": made,
        "failures": _failures(rows, algorithms),
        "pairs": list(_pairs(rows, part, algorithms)),
    }


def _labels(store: Store) -> dict[str, str]:
    """Return a label of each algorithm's recipe: with its version and limit where two share one."""
    known = store.execute("SELECT recipe, label FROM algorithms").fetchall()
    many = Counter(label for _, label in known)
    labels = {}
    for text, label in known:
        recipe = json.loads(text)
        more = f" (version {recipe['version']}, limit {recipe['time_limit']:g} s)"
        labels[text] = label + more * (many[label] > 1)
    return labels


def _failures(rows: pd.DataFrame, algorithms: dict[str, Columns]) -> Columns:
    """Return how many solves of each algorithm failed how, with the commonest messages."""
    failed = rows[rows["status"].isin(_FAILED)]
    keys = [failed[name].astype(str) for name in ("algorithm", "status", "message")]
    counts = failed.groupby(keys, sort=False).size().sort_values(ascending=False, kind="stable")
    kept = counts.groupby(level=[0, 1], sort=False).head(_MOST_MESSAGES)
    solved = rows["algorithm"].astype(str).value_counts()
    return {
        "algorithm": [_place(algorithms, name) for name, _, _ in kept.index],
        "status": [status for _, status, _ in kept.index],
        "message": [message for _, _, message in kept.index],
        "count": [int(count) for count in kept],
        "of": [int(solved[name]) for name, _, _ in kept.index],
    }


def _pairs(rows: pd.DataFrame, part: Columns, algorithms: dict[str, Columns]) -> Iterator[Columns]:
    """Yield what all pairs of algorithms found on the instances that both have solved.

    A cell of a diagram counts the instances of all its k; one of a distance curve also has the
    mean difference of the distance at each k.
    """
    by_k = part.get("distances", {"about": {}})["about"]
    cell: Any
    for cell, own in rows.groupby(_CELL, observed=True, sort=True):
        label, _, seed, n, m = cell
        names = sorted(own["algorithm"].astype(str).unique())
        places = [_place(algorithms, name) for name in names]
        instances = pd.MultiIndex.from_frame(own[["k", "trial"]])
        exact = _table(instances, own["algorithm"], own["exact"].astype(float), names)
        one = {"problem": label, "seed": int(seed), "n": int(n), "m": int(m), "algorithms": places}
        yield one | {"k": None} | _discordant(exact)
        if (by_k.get("problem"), by_k.get("m"), by_k.get("n")) != (label, m, n):
            continue
        k: Any
        for k, same in own.groupby("k", sort=True):
            exact = _table(same["trial"], same["algorithm"], same["exact"].astype(float), names)
            distance = _table(same["trial"], same["algorithm"], same["support_distance"], names)
            yield one | {"k": int(k)} | _discordant(exact) | _differences(distance)


def _table(index: Any, names: Any, values: Any, order: list[str]) -> np.ndarray[Any, Any]:
    """Return values, shape (instances, algorithms), NaN where one has not solved an instance."""
    frame = pd.DataFrame({"name": names.astype(str).to_numpy(), "value": values.to_numpy()}, index)
    table = frame.set_index("name", append=True)["value"]
    return table[~table.index.duplicated()].unstack("name").reindex(columns=order).to_numpy()


def _discordant(exact: np.ndarray[Any, Any]) -> Columns:
    """Count for each pair the shared instances, and those that one alone solved."""
    solved = ~np.isnan(exact)
    right, wrong = np.nan_to_num(exact), solved & (exact == 0)
    both, alone = solved.T.astype(float) @ solved, right.T @ wrong
    pairs = list(itertools.combinations(range(exact.shape[1]), 2))
    first = [int(alone[i, j]) for i, j in pairs]
    other = [int(alone[j, i]) for i, j in pairs]
    return {
        "shared": [int(both[i, j]) for i, j in pairs],
        "only_first": first,
        "only_other": other,
        "p_mcnemar": [_short(mcnemar(a, b)) for a, b in zip(first, other, strict=True)],
    }


def _differences(distance: np.ndarray[Any, Any]) -> Columns:
    """Return for each pair the mean difference of distances with its interval."""
    found: list[tuple[float | None, ...]] = []
    for i, j in itertools.combinations(range(distance.shape[1]), 2):
        difference = distance[:, i] - distance[:, j]
        difference = difference[~np.isnan(difference)]
        if len(difference) < 2:
            found.append((None, None, None))
            continue
        # In [-1, 1]; the interval is of values in [0, 1].
        found.append(tuple(_short(2 * x - 1) for x in mean_interval((difference + 1) / 2)))
    names = ("difference", "lower", "upper")
    return {name: [row[i] for row in found] for i, name in enumerate(names)}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _plain(column: pd.Series) -> list[Any]:
    """Return the values of a column as JSON knows them; None where there is none."""
    values = column.astype(object).where(column.notna(), None)
    return [value.item() if isinstance(value, np.generic) else value for value in values]
