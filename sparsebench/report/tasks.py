"""Encoders at classification and clustering: errors by method, and by what was changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from sparsebench.report import picture, style
from sparsebench.report.picture import Picture

_COLUMNS = ("size", "stages", "value"), ("variant", "method", "metric")
# Of the row's height, the room that its markers share.
_SPREAD = 0.5


@style.ours()
def errors(found: pd.DataFrame, series: str, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw errors with their intervals: a panel a data set, a row a label, a colour a series.

    Parameters
    ----------
    found : DataFrame
        Columns problem, label, the series', estimate, lower, upper, published; in %.
    series : str
        The column of the colours.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    labels, problems = list(found["label"].unique()), list(found["problem"].unique())
    height = 0.21 * len(labels) + 1.1
    figure, grid = style.panels(1, len(problems), height, sharey=True)
    for axes, problem in zip(grid[0], problems, strict=True):
        _draw(
            axes, found[found["problem"] == problem], labels, series, list(found[series].unique())
        )
        axes.set_title(str(problem), fontsize=7.5)
        axes.set_xlabel("error (%)")
    grid[0, 0].set_yticks(range(len(labels)), labels)
    grid[0, 0].invert_yaxis()
    return style.finish(figure, footer, folder, name)


def _draw(axes: Axes, rows: pd.DataFrame, labels: list[str], series: str, order: list[str]) -> None:
    for index, one in enumerate(order):
        part = rows[rows[series] == one]
        colour, _, marker = style.by_place(index)
        shift = _SPREAD * ((index + 0.5) / len(order) - 0.5)
        places = [labels.index(label) + shift for label in part["label"]]
        spread = (part["estimate"] - part["lower"], part["upper"] - part["estimate"])
        how: Any = {"color": colour, "ms": 3.0, "lw": 0.8}
        axes.errorbar(part["estimate"], places, xerr=spread, fmt=marker, label=str(one), **how)
        if part["published"].notna().any():
            how |= {"mfc": "none", "mew": 0.8}
            label = f"published, {one}"
            axes.plot(part["published"], places, ls="", marker=marker, label=label, **how)


def _small_print(frame: pd.DataFrame) -> str:
    seeds = frame.groupby("problem", sort=False)["seed"].nunique()
    facts = [f"{name}: {count} seeds" for name, count in seeds.items()]
    facts += [picture.values(frame, "n").replace("n =", "p ="), "95 % intervals over seeds"]
    return " · ".join([*facts, *picture.origin(frame)])


def pictures(summary: Callable[[pd.DataFrame], pd.DataFrame]) -> dict[str, Picture]:
    """Return the pictures of classification and clustering, by the stem of their CSV.

    `summary` takes means over the seeds, with what each row is called and its published figure.
    """

    def picture_of(name: str) -> Picture:
        def draw(frame: pd.DataFrame, folder: Path) -> list[Path]:
            found = summary(frame).assign(p=lambda rows: [f"p = {n}" for n in rows["n"]])
            series = "p"
            if name.endswith("sensitivity"):
                found = found.assign(method=found["label"], label=found["variant"])
                series = "method"
            return errors(found, series, _small_print(frame), folder, name)

        return Picture(draw, *_COLUMNS)

    tasks = ("classification", "clustering")
    names = [f"{task}{ending}" for task in tasks for ending in ("", "-sensitivity")]
    return {name: picture_of(name) for name in names}
