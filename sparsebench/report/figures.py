"""From the CSV of a run to its pictures: what `figures` redraws, and what every run draws with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from sparsebench.errors import InputError, nearest_name
from sparsebench.experiments.levels import NOT_MONOTONE
from sparsebench.experiments.studies import STUDIES
from sparsebench.report import (
    appearance,
    detection,
    diagrams,
    exploration,
    front,
    isometry,
    learned,
    multiples,
    recovery,
    spikes,
    surface,
    tasks,
)
from sparsebench.report.appearance import Appearance
from sparsebench.report.picture import Picture
from sparsebench.types import APPROXIMATE, AT_LEAST


def _encoder_summary(rows: pd.DataFrame) -> pd.DataFrame:
    from sparsebench.experiments.learned.encoders import summary  # a picture needs no workers

    return summary(rows)


def _task_errors(rows: pd.DataFrame) -> pd.DataFrame:
    from sparsebench.experiments.learned.tasks import labelled_errors

    return labelled_errors(rows)


def _prices(rows: pd.DataFrame) -> pd.DataFrame:
    from sparsebench.experiments.front import summary

    return summary(rows)


def _profiles(rows: pd.DataFrame) -> pd.DataFrame:
    from sparsebench.experiments.front import profile

    return profile(rows)


_PRODUCTS = ("products with an m × n matrix", {"scale": "whole"})
_STUDIES = {name: multiples.study(study.axes) for name, study in STUDIES.items() if study.axes}
_STUDIES["unrolling"] = multiples.study({"unrolling": _PRODUCTS})
# By the stem of their CSV.
_PICTURES: dict[str, Picture] = {
    "thresholds": diagrams.THRESHOLDS,
    "cells": surface.SURFACE,
    "distances": diagrams.DISTANCES,
    "curves": diagrams.CURVES,
    "instance": spikes.INSTANCE,
    "recover": recovery.RECOVER,
    "exploration": exploration.EXPLORATION,
    "detection": detection.DETECTION,
    "full-grid": multiples.FULL_GRID,
    "rip": isometry.RIP,
    **learned.pictures(_encoder_summary),
    **tasks.pictures(_task_errors),
    **front.pictures(_prices, _profiles),
    "history": diagrams.HISTORY,
    **_STUDIES,
}
# What is a name, even where it looks like a number.
_TEXTS = ("algorithm", "series", "curve", "problem", "recipe", "version")


def draw(data: Path, folder: Path, wanted: Appearance = Appearance()) -> list[Path]:
    """Draw every picture of a CSV into a folder, from that file alone.

    Parameters
    ----------
    data : Path
        ``thresholds.csv``, ``distances.csv``, ``instance.csv``, ``exploration.csv``, or
        ``NAME.csv`` of a study.
    folder : Path
    wanted : Appearance
        What is asked of the picture; by default the committed look.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another kind, or cannot be drawn as it is asked.
    """
    if data.stem not in _PICTURES:
        raise InputError(nearest_name(data.stem, _PICTURES, "CSV"))
    rows = read(data)
    with appearance.asked(wanted):
        if wanted.curves or wanted.order or wanted.labels:
            rows = appearance.chosen(rows, wanted)
        return _PICTURES[data.stem].draw(rows, folder)


def sources(names: list[str] | None, folder: Path) -> list[Path]:
    """Return the CSVs of the named figures, or of all that the folder holds.

    Raises
    ------
    InputError
        If a name is unknown (the nearest match is named), or there is nothing to draw.
    """
    known = {picture.name or stem: stem for stem, picture in _PICTURES.items()}
    for name in names or ():
        if name not in known:
            raise InputError(nearest_name(name, known, "figure"))
    if names:
        return [folder / f"{known[name]}.csv" for name in dict.fromkeys(names)]
    found = [folder / f"{stem}.csv" for stem in _PICTURES if (folder / f"{stem}.csv").exists()]
    if not (folder / "thresholds.csv").exists():  # of which a surface has its contour
        found = [path for path in found if path.stem != "cells"]
    if not found:
        raise InputError(f"no CSV of a figure in {folder}")
    return found


def _with_thresholds(cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the rows of cells and those of the thresholds of the same run, told apart."""
    thresholds = read(path).drop(columns="coverage", errors="ignore")
    told = ["problem_options", "seed", "recipe", "version"]
    shared: Any = {name: thresholds[name].iloc[0] for name in told if name in thresholds}
    if not set(zip(cells["algorithm"], cells["m"], strict=True)) <= set(
        zip(thresholds["algorithm"], thresholds["m"], strict=True)
    ):
        raise ValueError(f"its rows are of another run than those of {path.name}")
    both = [cells.assign(quantity="rate", **shared), thresholds.assign(quantity="threshold")]
    return pd.concat(both, ignore_index=True)


def read(path: Path) -> pd.DataFrame:
    """Return the rows of a CSV, without points that are none; refuse what no run has written."""
    picture = _PICTURES[path.stem]
    whole = ["m", "n", "seed", *picture.whole]
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(_TEXTS, str))
        if path.stem == "cells":
            frame = _with_thresholds(frame, path.with_name("thresholds.csv"))
        for column in ("problem", "problem_options", *whole, *picture.others):
            if column not in frame:
                raise ValueError(f"it has no column {column!r}")
        whole += {"time_outs"} & set(frame)  # not in files of earlier versions
        frame[whole] = frame[whole].apply(pd.to_numeric)
        if frame.empty or frame[whole].isna().any(axis=None):
            raise ValueError("it has no rows, or rows without numbers")
        frame["problem_options"].map(json.loads)
        if path.stem in _STUDIES and not set(frame["metric"]) <= set(multiples.METRICS):
            raise ValueError("it has a metric that is none of ours")
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged: {' '.join(str(error).split())}") from None
    if "stopped" in frame:  # success rates that rise again with k have no single threshold
        none = frame["stopped"] == NOT_MONOTONE
        points = ("estimate", "lower", "upper")
        frame = frame.assign(**{name: frame[name].mask(none) for name in points})
    if "coverage" in frame:  # what is nominal needs no word
        kinds = [AT_LEAST, APPROXIMATE]
        told = frame["coverage"].where(frame["coverage"].isin(kinds))
        frame["coverage"] = pd.Categorical(told, kinds)
    return frame.fillna({"told": ""})
