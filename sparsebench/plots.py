"""Pictures, from data frames: nothing is computed here, and nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from sparsebench.theory import donoho_tanner_curve

# Okabe and Ito's colours without yellow, which is too light for a line; then again, dashed.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":", "-.")
_MARKERS = "osD^vPX*<>hd"
_ONE_COLUMN, _TWO_COLUMNS = 3.5, 7.0  # inches
# More algorithms than this get a panel a family.
_MOST_IN_ONE = 8
_ACROSS = 3
_PANELS = {
    "greedy": "greedy pursuits",
    "thresholding": "iterative thresholding",
    "local search": "local search",
    "exploration": "exploration and restarts",
    "convex": "convex, message passing, Bayesian",
    "message passing": "convex, message passing, Bayesian",
    "Bayesian": "convex, message passing, Bayesian",
    "baseline": "baselines",
    "peer": "other packages",
}
# The estimate of one instance: indices that are in the true support, and those that are not.
_RIGHT, _WRONG = "#0072B2", "#D55E00"
_SPIKE_LEGEND = [
    Line2D([], [], marker="o", mfc="none", mec="0.45", color="0.7", ms=4.6, mew=0.7, lw=0.8),
    Line2D([], [], marker="o", color=_RIGHT, ms=2.6, mew=0, lw=0.9),
    Line2D([], [], marker="o", color=_WRONG, ms=2.6, mew=0, lw=0.9),
    Line2D([], [], marker="^", color="0.3", ms=3.2, mew=0, lw=0),
]
_SPIKE_NAMES = ("true spike of x*", "estimate, right index", "wrong index", "beyond the panel")
_SPREAD_LEGEND: dict[str, Artist] = {
    "95 % interval of the median": Patch(color="0.5", alpha=0.25, lw=0),
    "quartiles": Line2D([], [], color="0.5", lw=0.5, ls=":"),
}
_FAILED = ("error", "time-out", "diverged")
# Residuals of at most this relative size count as zero, and are drawn on the lower edge.
_ZERO_RESIDUAL = 1e-10
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 6.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "figure.dpi": 100,
    "pdf.fonttype": 42,
}


def phase_transition(
    thresholds: pd.DataFrame, level: float, footer: str, folder: Path, name: str
) -> list[Path]:
    """Draw rho = k/m against delta = m/n: a curve and band an algorithm, and Donoho-Tanner's.

    Parameters
    ----------
    thresholds : DataFrame
        Columns algorithm, family, told, m, n, level, estimate, lower, upper.
    level : float
        Which success rate.
    footer : str
        Small print under the picture.
    folder, name
        Where to write ``name.png`` and ``name.pdf``.
    """
    points = thresholds[thresholds["level"] == level]
    ratios = points.assign(
        x=points["m"] / points["n"],
        **{column: points[column] / points["m"] for column in ("estimate", "lower", "upper")},
    )
    deltas = np.linspace(0.005, 0.995, 199)
    limit = donoho_tanner_curve(deltas)

    def reference(axes: Axes) -> None:
        axes.plot(
            deltas,
            limit,
            color="0.45",
            lw=1.0,
            ls=(0, (1, 1)),
            label="ℓ1 limit (Donoho-Tanner)",
            zorder=1,
        )

    with plt.rc_context(_STYLE):
        figure, panels = _draw(ratios, reference)
        top = max(0.35, min(1.05 * float(ratios["upper"].max()), 1.0))
        for axes in panels:
            axes.set_xlim(0, 1)
            axes.set_ylim(0, top)
        title = f"{level:.0%} of supports recovered exactly"
        labels = ("undersampling ratio m/n", "sparsity ratio k/m")
        return _finish(figure, panels, labels, title, footer, folder, name)


def support_distance(distances: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the mean support distance against k, a curve and band an algorithm.

    Parameters
    ----------
    distances : DataFrame
        Columns algorithm, family, told, k, estimate, lower, upper.
    footer : str
        Small print under the picture.
    folder, name
        Where to write ``name.png`` and ``name.pdf``.
    """
    with plt.rc_context(_STYLE):
        figure, panels = _draw(distances.assign(x=distances["k"]), lambda axes: None)
        top = min(1.0, 1.05 * float(distances["upper"].max()))
        for axes in panels:
            axes.set_xlim(0, None)
            axes.set_ylim(0, top)
        labels = ("sparsity k", "mean support distance")
        return _finish(figure, panels, labels, "", footer, folder, name)


def instance(solutions: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw one instance: y, then every estimate over the true spikes; whole, and crowded region.

    Parameters
    ----------
    solutions : DataFrame
        Columns series ("truth", "y" or an algorithm), position, value, in_support,
        support_distance, relative_residual, status, ordered, window_start, window_end.
    footer : str
        Small print under the picture.
    folder, name
        Where to write ``name.png`` and ``name.pdf``.
    """
    series = dict(list(solutions.groupby("series", sort=False)))
    truth, y = series.pop("truth"), series.pop("y")
    facts = solutions.iloc[0]
    top = 1.2 * float(truth["value"].abs().max())
    with plt.rc_context(_STYLE):
        figure, grid = plt.subplots(
            1 + len(series),
            2,
            figsize=(_TWO_COLUMNS, 0.85 * (1 + len(series)) + 0.8),
            width_ratios=(1.6, 1),
        )
        for axes in grid[0]:
            axes.plot(y["position"], y["value"], color="black", lw=0.8)
            axes.set_ylabel("y")
            axes.grid(False)
        grid[0, 0].set_title("signal", loc="left", fontsize=7.5)
        grid[0, 1].set_title("crowded region", loc="right", fontsize=7)
        for row, (label, rows) in zip(grid[1:], series.items(), strict=True):
            for axes in row:
                _spikes(axes, truth, rows, top)
                axes.set_ylabel("x")
            first = rows.iloc[0]
            row[0].set_title(str(label), loc="left", fontsize=7.5)
            row[0].set_title(
                f"distance {first['support_distance']:.2f}, "
                f"relative residual {first['relative_residual']:.1g}"
                if first["status"] not in _FAILED
                else f"failed: {first['status']}",
                loc="right",
                fontsize=7,
            )
        _share_positions(grid, facts)
        _beneath(figure, _SPIKE_LEGEND, _SPIKE_NAMES, footer)
        return _save(figure, folder, name)


def _share_positions(grid: NDArray[np.object_], facts: pd.Series) -> None:
    """Align the panels of a column; the samples of y have an axis of their own if unordered."""
    left, right = facts["window_start"], facts["window_end"]
    for column in (0, 1):
        rows = grid[:, column] if facts["ordered"] else grid[1:, column]
        for axes in rows[:-1]:
            axes.sharex(rows[-1])
            axes.tick_params(labelbottom=False)
        rows[-1].set_xlabel("position (samples)" if facts["ordered"] else "atom")
        if column == 1:
            margin = 0.03 * (right - left)
            rows[-1].set_xlim(left - margin, right + margin)
        else:
            end = facts["m"] if facts["ordered"] else facts["n"]
            rows[-1].set_xlim(-0.01 * end, 1.01 * end)
            for axes in rows:
                axes.axvspan(left, right, color="0.93", lw=0, zorder=0)
    if not facts["ordered"]:
        grid[0, 0].set_xlabel("measurement")
        grid[0, 1].remove()


def _spikes(axes: Axes, truth: pd.DataFrame, rows: pd.DataFrame, top: float) -> None:
    """Draw the true spikes and an estimate; triangles at the edge are larger than the panel."""
    axes.vlines(truth["position"], 0, truth["value"], color="0.7", lw=0.8)
    axes.plot(truth["position"], truth["value"], "o", mfc="none", mec="0.45", ms=4.6, mew=0.7)
    found = rows.dropna(subset="position")
    for right, colour in ((True, _RIGHT), (False, _WRONG)):
        part = found[found["in_support"].astype(bool) == right]
        heights = part["value"].clip(-top, top)
        axes.vlines(part["position"], 0, heights, color=colour, lw=0.9)
        for shown, marker in (
            (part["value"].abs() <= top, "o"),
            (part["value"] > top, "^"),
            (part["value"] < -top, "v"),
        ):
            axes.plot(part["position"][shown], heights[shown], marker, color=colour, ms=2.8, mew=0)
    axes.axhline(0, color="0.4", lw=0.5)
    axes.set_ylim(-1.1 * top, 1.1 * top)
    axes.grid(False)


def exploration(summary: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw distinct supports and best residual against iterations: a row of panels a workload.

    Parameters
    ----------
    summary : DataFrame
        Columns problem, m, n, k, algorithm, quantity, iteration, estimate, lower, upper,
        lower_quartile, upper_quartile.
    footer : str
        Small print under the picture.
    folder, name
        Where to write ``name.png`` and ``name.pdf``.
    """
    workloads = list(summary.groupby(["problem", "m", "n", "k"], sort=False))
    quantities = list(summary["quantity"].unique())
    with plt.rc_context(_STYLE):
        figure, grid = plt.subplots(
            len(workloads),
            len(quantities),
            figsize=(_TWO_COLUMNS, 2.3 * len(workloads) + 0.6),
            sharex=True,
            squeeze=False,
        )
        for row, ((problem, m, n, k), rows) in zip(grid, workloads, strict=True):
            for axes, quantity in zip(row, quantities, strict=True):
                axes.set_xscale("log")
                axes.set_yscale("log")
                _explorations(axes, rows[rows["quantity"] == quantity])
                axes.set_ylabel(quantity)
                axes.set_title(f"{problem}, m = {m}, n = {n}, k = {k}", fontsize=7.5)
        for axes in grid[-1]:
            axes.set_xlabel("iteration (after the start, for a+b)")
        named: dict[str, Artist] = {}
        for axes in grid.flat:
            lines, names = axes.get_legend_handles_labels()
            named |= dict(zip(names, lines, strict=True))
        named |= _SPREAD_LEGEND
        _beneath(figure, list(named.values()), list(named), footer)
        return _save(figure, folder, name)


def _explorations(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the median of each algorithm with its interval, and its quartiles as thin lines."""
    for index, (label, part) in enumerate(rows.groupby("algorithm", sort=False)):
        colour, x = _COLOURS[index % len(_COLOURS)], part["iteration"]
        height = part.set_index("iteration")[
            ["estimate", "lower", "upper", "lower_quartile", "upper_quartile"]
        ].clip(lower=_ZERO_RESIDUAL / 10)
        axes.fill_between(x, height["lower"], height["upper"], color=colour, alpha=0.25, lw=0)
        for quartile in ("lower_quartile", "upper_quartile"):
            axes.plot(x, height[quartile], color=colour, lw=0.5, ls=":")
        axes.plot(x, height["estimate"], color=colour, lw=1.2, label=str(label))
    if rows["estimate"].min() < _ZERO_RESIDUAL:
        axes.axhline(_ZERO_RESIDUAL, color="0.45", lw=0.8, ls="--", label="counts as zero")


def _draw(
    points: pd.DataFrame, reference: Callable[[Axes], None]
) -> tuple[Figure, NDArray[np.object_]]:
    """Draw few algorithms in one picture, many in a panel a family, the rest of them in grey."""
    names = points["algorithm"].unique()
    if len(names) <= _MOST_IN_ONE:
        figure, axes = plt.subplots(figsize=(_ONE_COLUMN, 4.1))
        reference(axes)
        _curves(axes, points)
        return figure, np.array([axes])
    panel = points["family"].map(_PANELS).fillna("others")
    titles = [
        title for title in (*dict.fromkeys(_PANELS.values()), "others") if title in set(panel)
    ]
    rows = -(-len(titles) // _ACROSS)
    figure, grid = plt.subplots(
        rows,
        _ACROSS,
        figsize=(_TWO_COLUMNS, 2.35 * rows + 0.3),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axes, title in zip(grid.flat, titles, strict=False):
        reference(axes)
        if title != titles[0]:  # named once
            for line in axes.lines:
                line.set_label("_nolegend_")
        for _, rows_of in points[panel != title].groupby("algorithm", sort=False):
            ordered = rows_of.sort_values("x")
            axes.plot(ordered["x"], ordered["estimate"], color="0.85", lw=0.6, zorder=0)
        _curves(axes, points[panel == title])
        axes.set_title(title, fontsize=7.5)
    for axes in grid.flat[len(titles) :]:
        axes.remove()
    return figure, grid.flat[: len(titles)]


def _curves(axes: Axes, points: pd.DataFrame) -> None:
    for index, (label, rows) in enumerate(points.groupby("algorithm", sort=False)):
        colour = _COLOURS[index % len(_COLOURS)]
        ordered = rows.sort_values("x", kind="stable")
        axes.fill_between(
            ordered["x"], ordered["lower"], ordered["upper"], color=colour, alpha=0.2, lw=0
        )
        axes.plot(
            ordered["x"],
            ordered["estimate"],
            color=colour,
            ls=_DASHES[index // len(_COLOURS) % len(_DASHES)],
            lw=1.1,
            marker=_MARKERS[index % len(_MARKERS)],
            ms=3.2,
            mew=0,
            label=_legend_text(str(label), str(rows["told"].iloc[0])),
        )


def _legend_text(label: str, told: str) -> str:
    """Name an algorithm, with what it is told beyond k."""
    extra = [item for item in told.split(",") if item and item != "k"]
    if "k" not in told.split(","):
        extra.append("not k")
    return f"{label} (+{', '.join(extra)})" if extra else label


def _finish(
    figure: Figure,
    panels: NDArray[np.object_],
    labels: tuple[str, str],
    title: str,
    footer: str,
    folder: Path,
    name: str,
) -> list[Path]:
    """Label the axes, place the legends and the small print, and write both files."""
    if len(panels) == 1:
        axes = panels[0]
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.set_title(title, fontsize=8)
        handles, texts = axes.get_legend_handles_labels()
        columns = 2 if max(map(len, texts)) > 16 else 3
        figure.legend(
            handles,
            texts,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.025),
            ncol=columns,
            frameon=False,
            handlelength=2.6,
            columnspacing=1.2,
        )
        figure.text(0.5, 0.03, footer, ha="center", va="bottom", fontsize=5, color="0.35")
        figure.tight_layout(rect=(0, 0.08, 1, 1))
    else:
        for index, axes in enumerate(panels):
            if index % _ACROSS == 0:
                axes.set_ylabel(labels[1])
            if index + _ACROSS >= len(panels):  # nothing below it
                axes.set_xlabel(labels[0])
                axes.tick_params(labelbottom=True)
            axes.legend(
                loc="best",
                fontsize=5.5,
                handlelength=2.2,
                borderpad=0.3,
                labelspacing=0.25,
                framealpha=0.85,
                edgecolor="none",
            )
        figure.suptitle(title, fontsize=8)
        figure.text(0.5, 0.0, footer, ha="center", va="bottom", fontsize=5.5, color="0.35")
        figure.tight_layout(rect=(0, 0.045, 1, 1))
    return _save(figure, folder, name)


def _beneath(figure: Figure, handles: Sequence[Artist], names: Sequence[str], footer: str) -> None:
    """Place one legend and the small print below all panels."""
    height = figure.get_size_inches()[1]
    below = 0.12 * len(footer.splitlines()) + 0.05
    figure.text(0.5, 0.0, footer, ha="center", va="bottom", fontsize=6, color="0.35")
    figure.legend(
        handles,
        names,
        loc="lower center",
        bbox_to_anchor=(0.5, below / height),
        ncol=len(names),
        frameon=False,
        columnspacing=1.4,
    )
    figure.tight_layout(rect=(0, (below + 0.2) / height, 1, 1))


def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF, and close it."""
    paths = [folder / f"{name}.{ending}" for ending in ("png", "pdf")]
    for path in paths:
        figure.savefig(path, dpi=200, bbox_inches="tight", pad_inches=0.04)
    plt.close(figure)
    return paths
