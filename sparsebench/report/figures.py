"""From the CSV of a run to its pictures: what `figures` redraws, and what every run draws with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sparsebench.experiments import encoders
from sparsebench.experiments.sampling import NOT_MONOTONE
from sparsebench.registry import nearest_name
from sparsebench.report import plots
from sparsebench.statistics import APPROXIMATE, AT_LEAST
from sparsebench.types import InputError

# The columns of numbers without gaps, and the others that a picture needs, by the stem of the CSV.
_ALWAYS = ("m", "n", "seed")
_POINTS = ("estimate", "lower", "upper", "trials")
_WHOLE = {
    "thresholds": (*_POINTS, "level"),
    "distances": (*_POINTS, "k"),
    "instance": ("k", "trial", "window_start", "window_end"),
    "exploration": (*_POINTS, "k", "iteration", "lower_quartile", "upper_quartile"),
    "full-grid": _POINTS,
    "encoders": ("stages", "value"),
    "encoders-sensitivity": ("stages", "value"),
    "history": (*_POINTS, "k"),
}
_ENCODERS = ("images", "variant", "start", "method", "metric")
_OTHERS = {
    "thresholds": ("algorithm", "told", "family", "stopped"),
    "distances": ("algorithm", "told", "family"),
    "instance": ("series", "position", "value", "in_support", "support_distance", "ordered"),
    "exploration": ("algorithm", "quantity"),
    "full-grid": ("algorithm", "quantity", "level", "k"),
    "encoders": _ENCODERS,
    "encoders-sensitivity": _ENCODERS,
    "history": ("algorithm", "told", "family", "panel", "commit", "date", "machine"),
}


# What is a name, even where it looks like a number.
_TEXTS = ("algorithm", "series", "curve", "problem", "recipe", "version")


@dataclass(frozen=True)
class _Axis:
    """The x axis of a study: its label, its scale, and the column it shows."""

    label: str
    scale: str = "linear"
    column: str = "x"
    limit: bool = False


_SPARSITY = _Axis("sparsity k", "whole")
_BUDGET = _Axis("iteration budget of the last stage", "log")
# Options whose value says that something is not there.
_NOTHING = {("snr", float("inf")): "no noise", ("condition", 0.0): "singular values as drawn"}
# The pictures of each study, by file name.
_STUDIES: dict[str, dict[str, _Axis]] = {
    "noise": {"noise": _SPARSITY},
    "tolerance": {"tolerance": _SPARSITY},
    "widths": {"widths": _SPARSITY},
    "noise-level": {"noise-level": _Axis("relative noise ‖e‖ / ‖Ax‖", "log with zero")},
    "super-resolution": {"super-resolution": _SPARSITY},
    "budget": {
        "budget": _BUDGET,
        "budget-flops": _Axis("mean flops of a solve", "log", column="flops"),
    },
    "eta": {"eta": _Axis("step of SEA, in units of 1/‖A‖²", "log")},
    "steps": {"steps": _Axis("undersampling ratio m/n", limit=True)},
    "unrolling": {"unrolling": _Axis("products with an m × n matrix", "whole")},
    "finite-size": {"finite-size": _Axis("number of atoms n", "log with sizes", limit=True)},
}


def draw(data: Path, folder: Path) -> list[Path]:
    """Draw every picture of a CSV into a folder, from that file alone.

    Parameters
    ----------
    data : Path
        ``thresholds.csv``, ``distances.csv``, ``instance.csv``, ``exploration.csv``, or
        ``NAME.csv`` of a study.
    folder : Path

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another kind.
    """
    if data.stem not in _PICTURES:
        raise InputError(nearest_name(data.stem, _PICTURES, "CSV"))
    return _PICTURES[data.stem](_read(data), folder)


def sources(names: list[str] | None, folder: Path) -> list[Path]:
    """Return the CSVs of the named figures, or of all that the folder holds.

    Raises
    ------
    InputError
        If a name is unknown (the nearest match is named), or there is nothing to draw.
    """
    known = {_NAMES.get(stem, stem): stem for stem in _PICTURES}
    for name in names or ():
        if name not in known:
            raise InputError(nearest_name(name, known, "figure"))
    if names:
        return [folder / f"{known[name]}.csv" for name in dict.fromkeys(names)]
    found = [folder / f"{stem}.csv" for stem in _PICTURES if (folder / f"{stem}.csv").exists()]
    if not found:
        raise InputError(f"no CSV of a figure in {folder}")
    return found


def _read(path: Path) -> pd.DataFrame:
    """Return the rows of a CSV, refusing what no run can have written."""
    whole = [*_ALWAYS, *_WHOLE.get(path.stem, _POINTS)]
    columns = ["problem", "problem_options", *whole, *_OTHERS.get(path.stem, ())]
    if path.stem in _STUDIES:
        columns += ["panel", "curve", "metric", "algorithm", "told"]
        columns += [axis.column for axis in _STUDIES[path.stem].values()]
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(_TEXTS, str))
        for column in columns:
            if column not in frame:
                raise ValueError(f"it has no column {column!r}")
        whole += {"time_outs"} & set(frame)  # not in files of earlier versions
        frame[whole] = frame[whole].apply(pd.to_numeric)
        if frame.empty or frame[whole].isna().any(axis=None):
            raise ValueError("it has no rows, or rows without numbers")
        frame["problem_options"].map(json.loads)
        if path.stem in _STUDIES and not set(frame["metric"]) <= set(plots.METRICS):
            raise ValueError("it has a metric that is none of ours")
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged: {' '.join(str(error).split())}") from None
    return frame.fillna({"told": ""})


def _footer(frame: pd.DataFrame, *parts: str) -> str:
    """Return the small print: the problem with its options, `parts`, seed, recipe, version.

    Options that differ between rows are left to the titles of the panels.
    """
    problems = []
    for name, rows in frame.groupby(frame["problem"].str.partition("[")[0], sort=False):
        options = [json.loads(text) for text in rows["problem_options"].unique()]
        same = {k: v for k, v in options[0].items() if all(o.get(k) == v for o in options)}
        problems.append(f"{name}: {', '.join(_worded(key, value) for key, value in same.items())}")
    made = frame.iloc[0]
    end = [*parts, f"seed {made['seed']}"]
    if "recipe" in frame:  # not in files of earlier versions
        end += [f"recipe {made['recipe'][:8]}", f"sparsebench {made['version']}"]
    return "\n".join([*problems, " · ".join(end)])


def _worded(key: str, value: Any) -> str:
    """Write an option for readers, who need not know which value means that there is nothing."""
    if (key, value) in _NOTHING:
        return _NOTHING[key, value]
    return f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"


def _counted(rows: pd.DataFrame) -> list[str]:
    """Say for the small print how many trials there are, and how many of them are time-outs."""
    return [f"{int(rows['trials'].sum()):,} trials", *_time_outs(rows), "95 % intervals"]


def _time_outs(rows: pd.DataFrame) -> list[str]:
    """Say how many solves are failures for having run out of time, which a machine may decide."""
    count = int(rows["time_outs"].sum()) if "time_outs" in rows else 0  # not in earlier files
    return [f"{count:,} time-out{'s' * (count > 1)}, counted as failures"] if count else []


def _values(frame: pd.DataFrame, column: str) -> str:
    """Write the values of a column as ``n = 250, 500``."""
    return f"{column} = {', '.join(map(str, sorted(frame[column].unique())))}"


def _without_points(frame: pd.DataFrame, curve: str) -> tuple[pd.DataFrame, str]:
    """Blank the thresholds of success rates that rise again with k; return a line that says so."""
    if "stopped" not in frame or not (several := frame["stopped"] == NOT_MONOTONE).any():
        return frame, ""
    where = frame[several].groupby(curve, sort=False)["m"].unique()
    line = "\nno single point, as success falls and rises again with k: " + "; ".join(
        f"{name} at m = {', '.join(map(str, ms))}" for name, ms in where.items()
    )
    blanked = {name: frame[name].mask(several) for name in ("estimate", "lower", "upper")}
    return frame.assign(**blanked), line


def _coverage(frame: pd.DataFrame) -> list[str]:
    """Say for the small print how many intervals of thresholds are not just what they claim."""
    if "coverage" not in frame:  # not in files of earlier versions
        return []
    counts = frame["coverage"].value_counts()
    return [f"{counts[kind]} {kind}" for kind in (AT_LEAST, APPROXIMATE) if kind in counts]


def _phase_transition(frame: pd.DataFrame, folder: Path) -> list[Path]:
    counted = _counted(frame[frame["level"] == 0.95])
    footer = _footer(frame, _values(frame, "n"), *counted, *_coverage(frame))
    frame, without = _without_points(frame, "algorithm")
    footer += without
    return [
        path
        for level, name in ((0.95, "phase-transition"), (0.5, "phase-transition-50"))
        for path in plots.phase_transition(frame, level, footer, folder, name)
    ]


def _support_distance(frame: pd.DataFrame, folder: Path) -> list[Path]:
    sizes = _values(frame, "n"), _values(frame, "m")
    footer = _footer(frame, *sizes, *_counted(frame))
    return plots.support_distance(frame, footer, folder, "support-distance")


def _instance(frame: pd.DataFrame, folder: Path) -> list[Path]:
    sizes = [_values(frame, name) for name in "nmk"]
    footer = _footer(frame, *sizes, f"trial {frame['trial'].iloc[0]}")
    return plots.instance(frame, footer, folder, "instance")


def _exploration(frame: pd.DataFrame, folder: Path) -> list[Path]:
    footer = _footer(frame, f"{frame['trials'].iloc[0]} instances each")
    return plots.exploration(frame, footer, folder, "exploration")


def _study(name: str) -> Callable[[pd.DataFrame, Path], list[Path]]:
    def pictures(frame: pd.DataFrame, folder: Path) -> list[Path]:
        cell = [c for c in ("problem", "m", "n", "k", "algorithm") if c in frame]
        once = frame.drop_duplicates(cell)  # several metrics or levels of the same solves
        sizes = [_values(frame, "n")]
        if frame["m"].nunique() == 1:
            sizes.append(_values(frame, "m"))
        footer = _footer(frame, *sizes, *_counted(once), *_coverage(frame))
        frame, without = _without_points(frame, "curve")
        footer += without
        return [
            path
            for file, axis in _STUDIES[name].items()
            for path in plots.small_multiples(
                frame,
                axis.label,
                footer,
                folder,
                file,
                x=axis.column,
                scale=axis.scale,
                limit=axis.limit,
            )
        ]

    return pictures


def _full_grid(frame: pd.DataFrame, folder: Path) -> list[Path]:
    once = frame[frame["level"] != 0.5]
    solves = once.groupby("quantity")["trials"].sum()
    counted = f"{solves['adaptive']:,} solves adaptively, {solves['rate']:,} on the grid"
    late = _time_outs(once[once["quantity"] != "full grid"])  # whose solves are those of the rates
    footer = _footer(frame, _values(frame, "n"), counted, *late, "95 % intervals")
    frame, without = _without_points(frame, "algorithm")
    return plots.full_grid(frame, footer + without, folder, "full-grid")


def _encoders(name: str) -> Callable[[pd.DataFrame, Path], list[Path]]:
    def pictures(frame: pd.DataFrame, folder: Path) -> list[Path]:
        found = encoders.summary(frame)
        found = found[
            (found["metric"] == "prediction") & found["problem"].isin(("penalty", "size"))
        ]
        made, options = frame.iloc[0], json.loads(frame["problem_options"].iloc[0])
        facts = [f"{made['images']}, m = {made['m']}, lambda = {options['penalty']:g}"]
        facts.append(f"M = {options['size']}, l1 weight {options['l1_weight']:g}")
        if name == "encoders":
            picture = plots.encoders
            data = frame[frame["method"] == "data"].groupby(["metric", "n"])["value"].mean()
            facts += [
                f"p = {n}: coherence {data['coherence', n]:.2f}, ||D||² {data['spectral', n]:.1f}"
                for n in sorted(frame["n"].unique())
            ]
        else:
            picture, found = plots.encoder_variants, found[found["method"] == "encoder"]
            facts.append(_values(frame, "n"))
        end = [f"95 % intervals over {frame['seed'].nunique()} seeds"]
        if "recipe" in frame:
            end += [f"recipe {made['recipe'][:8]}", f"sparsebench {made['version']}"]
        return picture(found, " · ".join(facts) + "\n" + " · ".join(end), folder, name)

    return pictures


def _history(frame: pd.DataFrame, folder: Path) -> list[Path]:
    return [
        path
        for panel, rows in frame.groupby("panel", sort=False)
        for path in plots.history(
            rows,
            _footer(rows, *(_values(rows, name) for name in "nmk"), str(rows["machine"].iloc[0])),
            folder,
            f"history-{panel}",
        )
    ]


# By the stem of their CSV.
_PICTURES: dict[str, Callable[[pd.DataFrame, Path], list[Path]]] = {
    "thresholds": _phase_transition,
    "distances": _support_distance,
    "instance": _instance,
    "exploration": _exploration,
    "full-grid": _full_grid,
    "encoders": _encoders("encoders"),
    "encoders-sensitivity": _encoders("encoders-sensitivity"),
    "history": _history,
    **{name: _study(name) for name in _STUDIES},
}
_NAMES = {"thresholds": "phase-transition", "distances": "support-distance"}
