"""The success rate as a surface over m/n and k/m, with the fitted contours and their bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from sparsebench.report import picture, style
from sparsebench.report.picture import POINTS, Picture
from sparsebench.report.words import percent

_COLOURS = "cividis"
_DASHES = ("-", "--", ":")


@style.ours()
def phase_surface(rows: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw a panel an algorithm: each place in the colour of the nearest k sampled at its m.

    Parameters
    ----------
    rows : DataFrame
        Columns quantity ("rate" or "threshold"), algorithm, m, n, k (of rates), level (of
        thresholds), estimate, lower, upper.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    parts = list(rows.groupby("algorithm", sort=False))
    across = min(len(parts), style.across())
    down = -(-len(parts) // across)
    width = style.ONE_COLUMN if across == 1 else style.TWO_COLUMNS
    figure, grid = style.panels(down, across, 2.35 * down + 1.0, width, sharex=True, sharey=True)
    levels = sorted(rows["level"].dropna().unique(), reverse=True)
    for axes, (algorithm, part) in zip(grid.flat, parts, strict=False):
        _draw_cells(axes, part[part["quantity"] == "rate"])
        for level, dash in zip(levels, _DASHES, strict=False):
            _draw_contour(axes, part[part["level"] == level], level, dash)
        axes.set_title(style.legend_text(str(algorithm), "k"), fontsize=7.5)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, _top(rows))
        axes.grid(visible=False)
    labels = "undersampling ratio m/n", "sparsity ratio k/m"
    style.label_panels(grid, labels[0], [labels[1]] * len(parts))
    what = (
        style.plain(f"of solves with {rows['success'].iloc[0]}")
        if "success" in rows
        else "of supports recovered"
    )
    key: dict[str, Artist] = {
        f"{rate:g}{f' ({what})' if rate == 1 else ''}": Patch(
            fc=matplotlib.colormaps[_COLOURS](rate)
        )
        for rate in (0.0, 0.25, 0.5, 0.75, 1.0)
    }
    return style.finish(figure, footer, folder, name, key)


def _top(rows: pd.DataFrame) -> float:
    """Return up to which k/m there is something to see."""
    thresholds = rows[rows["quantity"] == "threshold"]
    return float(min(1.0, 1.4 * (thresholds["upper"] / thresholds["m"]).max()))


def _draw_cells(axes: Axes, rates: pd.DataFrame) -> None:
    """Fill the column of each m, from k to k as far as half the way to the next one sampled."""
    ms = np.sort(rates["m"].unique())
    edges = _halfway(ms.astype(float))
    colours = matplotlib.colormaps[_COLOURS]
    for left, right, m in zip(edges, edges[1:], ms, strict=False):
        own = rates[rates["m"] == m].sort_values("k")
        sides = _halfway(own["k"].to_numpy(float))
        n = float(own["n"].iloc[0])
        axes.bar(
            (left + right) / 2 / n,
            np.diff(sides) / m,
            (right - left) / n,
            sides[:-1] / m,
            color=colours(own["estimate"].to_numpy()),
            linewidth=0,
        )


def _halfway(values: Any) -> Any:
    """Return the edges of cells around sorted values: between them, and as far beyond the ends."""
    if len(values) == 1:
        return np.array([values[0] - 0.5, values[0] + 0.5])
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])


def _draw_contour(axes: Axes, points: pd.DataFrame, level: float, dash: str) -> None:
    """Draw where the fitted success rate is a level, between the ends of its intervals."""
    points = points.sort_values("m")
    x = points["m"] / points["n"]
    for column in ("lower", "upper"):
        axes.plot(x, points[column] / points["m"], color="white", lw=0.5, ls=dash)
    lower, upper = points["lower"] / points["m"], points["upper"] / points["m"]
    axes.fill_between(x, lower, upper, color="white", alpha=0.3, lw=0)
    axes.plot(
        x,
        points["estimate"] / points["m"],
        color=style.RED,
        ls=dash,
        marker="o",
        ms=2.5,
        lw=1.1,
        label=f"{percent(level)} point and its interval",
    )


def _draw(rows: pd.DataFrame, folder: Path) -> list[Path]:
    rates = rows[rows["quantity"] == "rate"]
    solves = f"{int(rates['trials'].sum()):,} solves"
    small = picture.footer(rows, solves, *picture.time_outs(rates), sizes="n")
    return phase_surface(rows, small, folder, "phase-surface")


SURFACE = Picture(_draw, POINTS, ("algorithm", "k"), "phase-surface")
