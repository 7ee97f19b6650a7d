"""Small multiples: the studies, a panel a setting with the same axes, and the full grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from sparsebench.report import picture, style
from sparsebench.report.picture import Picture

Axis = tuple[str, dict[str, Any]]  # the label of an x axis, and how `small_multiples` draws it
#: Metrics of a study: the label of the y axis, and what to add to the title of a panel.
METRICS = {
    "support_distance": ("mean support distance", "exact index"),
    "near_1": ("mean support distance", "within 1 index"),
    "near_2": ("mean support distance", "within 2 indices"),
    "exact": ("share of supports recovered", "exact support"),
    "ratio": ("sparsity ratio k/m", ""),
    "nmse": ("NMSE in dB", "ratio of sums"),
}


@style.ours()
def small_multiples(
    points: pd.DataFrame,
    label: str,
    footer: str,
    folder: Path,
    name: str,
    *,
    x: str = "x",
    scale: str = "linear",
    limit: bool = False,
) -> list[Path]:
    """Draw a panel a (panel, metric), with the same axes, styles and one legend for all.

    Parameters
    ----------
    points : DataFrame
        Columns panel, metric, curve, told, estimate, lower, upper and `x`; with `limit`, m and n.
        Where there is a column converged, a curve of which it is False says so.
    label : str
        Of the x axis.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    x : str
        The column on the x axis; points without it are left out.
    scale : {"linear", "whole", "log", "log with sizes", "log with zero"}
        Of the x axis; "whole" is linear with whole numbers, sizes are few and each is labelled.
    limit : bool
        Draw the Donoho-Tanner limit of l1 minimisation, where the x axis is m/n or n.
    """
    points = points.assign(x=points[x]).dropna(subset=["x"])
    points["curve"] = points["curve"].astype(str)
    parts = [
        (str(panel), str(metric), part)
        for (panel, metric), part in points.groupby(["panel", "metric"], sort=False)
    ]
    several = points.groupby("panel")["metric"].nunique().max() > 1
    decibels = set(points["metric"]) == {"nmse"}
    looks = style.by_name(points["curve"].unique(), style.UNROLLED if decibels else style.FIXED)
    across = min({1: 1, 2: 2, 4: 2}.get(len(parts), style.ACROSS), style.across())
    rows = -(-len(parts) // across)
    figure, grid = style.panels(rows, across, 2.15 * rows + 0.8, sharex=True, sharey=True)
    for axes, (panel, metric, part) in zip(grid.flat, parts, strict=False):
        if limit and picture.has_l1_limit(part):
            _draw_limit(axes, part)
        for curve, look in looks.items():
            _draw_curve(axes, curve, part[part["curve"] == curve], look, len(looks))
        title = f"{panel}, {METRICS[metric][1]}" if several else panel
        axes.set_title(style.plain(title), fontsize=7.5)
    _scale_x(grid, points["x"], scale)
    if decibels:
        grid[0, 0].set_ylim(top=min(3.0, float(points["estimate"].max()) + 1.0))
    else:
        top = min(1.02, 1.05 * float(points["upper"].max()))
        grid[0, 0].set_ylim(-0.02 * top, top)
    style.label_panels(grid, label, [METRICS[metric][0] for _, metric, _ in parts])
    return style.finish(figure, footer, folder, name)


def _draw_curve(axes: Axes, curve: str, rows: pd.DataFrame, look: style.Look, curves: int) -> None:
    """Draw one of some curves with its band; if it is not converged, its end and name say so."""
    if rows.empty:
        return
    rows = rows.sort_values("x", kind="stable")
    name, last = style.legend_text(curve, str(rows["told"].iloc[0])), rows.iloc[-1]
    if last.get("converged") in (False, "False"):  # it is empty for what is not trained
        name += ", not converged"
        axes.annotate(
            "not converged",
            (last["x"], last["estimate"]),
            (0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=5,
            color=look[0],
        )
    style.curve(axes, rows, look, curves, lw=1.0, ms=3.0, label=name)


def _draw_limit(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the limit of l1 minimisation: a curve over m/n, a level line where m/n is the same."""
    deltas = (rows["m"] / rows["n"]).unique()
    xs = np.linspace(0.005, 0.995, 199) if len(deltas) > 1 else np.sort(rows["x"].unique())
    at = xs if len(deltas) > 1 else np.full(len(xs), deltas[0])
    style.l1_limit(axes, xs, at, picture.is_complex(rows))


def _scale_x(grid: Any, xs: pd.Series, scale: str) -> None:
    """Scale the x axis, which the panels share."""
    axes = grid[0, 0]
    if scale == "whole":
        axes.set_xlim(0, None)
        style.whole_ticks(axes)
    elif scale == "linear":
        axes.set_xlim(0, 1 if xs.max() <= 1 else None)
    elif scale == "log with zero":
        _log_with_zero(grid, xs)
    else:
        axes.set_xscale("log")
        if scale == "log with sizes":
            sizes = sorted(xs.unique())
            axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
            axes.xaxis.set_minor_locator(NullLocator())


def _log_with_zero(grid: Any, xs: pd.Series) -> None:
    """Scale the x axis by logarithms, with 0 at its left end, set apart by a break."""
    axes = grid[0, 0]
    smallest = float(xs[xs > 0].min())
    axes.set_xscale("symlog", linthresh=smallest, linscale=1.0)
    decades = np.arange(round(np.log10(smallest)), round(np.log10(xs.max())) + 1)
    shown = [int(d) for d in decades if (d - decades[-1]) % 2 == 0]
    labelled = {d for d in shown if (d - shown[-1]) % 4 == 0}
    axes.set_xticks(
        [0.0, *(10.0**d for d in shown)],
        ["0", *(f"$10^{{{d}}}$" if d in labelled else "" for d in shown)],
    )
    axes.xaxis.set_minor_locator(NullLocator())
    for axes in grid.flat:
        axes.axvspan(0.3 * smallest, 0.6 * smallest, color="white", lw=0, zorder=5)


@style.ours()
def full_grid(rows: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the success rate at every k, and the thresholds found with and without the grid.

    Parameters
    ----------
    rows : DataFrame
        Columns quantity ("rate", "full grid" or "adaptive"), algorithm, m, n, k (of rates), level
        (of thresholds), estimate, lower, upper.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    cells = list(rows.groupby("m"))
    looks = style.by_name(rows["algorithm"].unique(), style.FIXED)
    figure, grid = style.panels(1, len(cells), 2.6, sharey=True)
    for axes, (m, part) in zip(grid.flat, cells, strict=True):
        for curve, own in part.groupby("algorithm", sort=False):
            colour, dash, _ = looks[str(curve)]
            rate, label = own[own["quantity"] == "rate"].sort_values("k"), style.plain(str(curve))
            style.curve(axes, rate, (colour, dash, ""), len(looks), x="k", lw=0.8, label=label)
            _draw_thresholds(axes, own, "full grid", "|", "black", 0.012)
            _draw_thresholds(axes, own, "adaptive", "o", colour, -0.012)
        axes.set_title(f"m = {m}, n = {part['n'].iloc[0]}", fontsize=7.5)
        axes.set_xlabel("sparsity k")
        axes.set_xlim(0, None)
        style.whole_ticks(axes)
    grid[0, 0].set_ylabel("share of supports recovered")
    return style.finish(figure, footer, folder, name)


def _draw_thresholds(
    axes: Axes, rows: pd.DataFrame, quantity: str, marker: str, colour: str, shift: float
) -> None:
    """Draw thresholds with their intervals, beside their levels: both kinds are to be seen."""
    points = rows[rows["quantity"] == quantity]
    axes.errorbar(
        points["estimate"],
        points["level"] + shift,
        xerr=(points["estimate"] - points["lower"], points["upper"] - points["estimate"]),
        fmt=marker,
        color=colour,
        ms=3.0,
        lw=0.9,
        zorder=3,
        label=f"{quantity}, 95 % and 50 % points",
    )


def _draw_full_grid(rows: pd.DataFrame, folder: Path) -> list[Path]:
    once = rows[rows["level"] != 0.5]
    solves = once.groupby("quantity")["trials"].sum()
    counts = f"{solves['adaptive']:,} solves adaptively, {solves['rate']:,} on the grid"
    own = once[once["quantity"] != "full grid"]  # whose solves are those of the rates
    small = picture.footer(rows, counts, *picture.time_outs(own), "95 % intervals", sizes="n")
    return full_grid(rows, small, folder, "full-grid")


FULL_GRID = Picture(_draw_full_grid, others=("algorithm", "quantity", "level", "k"))


def study(axes: dict[str, Axis]) -> Picture:
    """Return the pictures of a study: their x axes, by the names of their files."""

    def draw(rows: pd.DataFrame, folder: Path) -> list[Path]:
        cell = [c for c in ("problem", "m", "n", "k", "algorithm") if c in rows]
        once = rows.drop_duplicates(cell)  # several metrics or levels of the same solves
        sizes = "nm" if rows["m"].nunique() == 1 else "n"
        small = picture.footer(rows, *picture.counted(once), sizes=sizes)
        return [
            path
            for name, (label, how) in axes.items()
            for path in small_multiples(rows, label, small, folder, name, **how)
        ]

    columns = [how.get("x", "x") for _, how in axes.values()]
    return Picture(draw, others=("panel", "curve", "metric", "algorithm", "told", *columns))
