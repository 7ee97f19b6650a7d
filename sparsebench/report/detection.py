"""What is detected against false alarms, as a method's tunable goes from one end to the other."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from sparsebench.report import picture, style
from sparsebench.report.picture import POINTS, Picture
from sparsebench.report.style import Look

_AS_TOLD = 1.0  # the factor at which the noise level counts as it is


@style.ours()
def detection(rows: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the share of the support found against the share of the estimate that is false.

    Parameters
    ----------
    rows : DataFrame
        Columns panel, curve, x (the factor), metric ("recall" or "false_discovery"), algorithm,
        estimate, lower, upper. A curve of one algorithm at every x is a point.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    parts = list(rows.groupby("panel", sort=False))
    figure, grid = style.panels(1, len(parts), 3.1, sharex=True, sharey=True)
    looks = {str(curve): style.by_place(i) for i, curve in enumerate(rows["curve"].unique())}
    for axes, (panel, part) in zip(grid.flat, parts, strict=True):
        for curve, own in part.groupby("curve", sort=False):
            _draw_curve(axes, str(curve), own, looks[str(curve)])
        axes.set_title(style.plain(str(panel)), fontsize=7.5)
        axes.set_xlabel("share of the estimate that is false")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.03)
    grid[0, 0].set_ylabel("share of the support found")
    return style.finish(figure, footer, folder, name)


def _draw_curve(axes: Axes, curve: str, rows: pd.DataFrame, look: Look) -> None:
    """Draw the points in the order of x, with the intervals of both; ringed as it is told."""
    rows = rows.drop_duplicates(["metric", "algorithm"])
    found = rows[rows["metric"] == "recall"].sort_values("x")
    false = rows[rows["metric"] == "false_discovery"].sort_values("x")
    colour, dash, marker = look
    tuned = len(found) > 1
    axes.errorbar(
        false["estimate"],
        found["estimate"],
        xerr=(false["estimate"] - false["lower"], false["upper"] - false["estimate"]),
        yerr=(found["estimate"] - found["lower"], found["upper"] - found["estimate"]),
        color=colour,
        ls=dash if tuned else "",
        marker=marker,
        ms=2.6 if tuned else 4.5,
        mew=0,
        lw=0.9,
        elinewidth=0.5,
        label=style.plain(curve),
    )
    at = found["x"].to_numpy() == _AS_TOLD
    if tuned:
        axes.plot(
            false["estimate"].to_numpy()[at],
            found["estimate"].to_numpy()[at],
            "o",
            mfc="none",
            mec="black",
            ms=6.0,
            mew=0.8,
            zorder=3,
            label="the noise level as it is",
        )


def _draw(rows: pd.DataFrame, folder: Path) -> list[Path]:
    once = rows[rows["metric"] == "recall"].drop_duplicates(["panel", "algorithm"])
    small = picture.footer(rows, *picture.counted(once), sizes="n")
    return detection(rows, small, folder, "detection")


DETECTION = Picture(_draw, (*POINTS, "k", "x"), ("panel", "curve", "metric", "algorithm"))
