"""Pictures, from data frames: nothing is computed here, and nothing runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
    paths = [folder / f"{name}.{ending}" for ending in ("png", "pdf")]
    for path in paths:
        figure.savefig(path, dpi=300, bbox_inches="tight", pad_inches=0.04)
    plt.close(figure)
    return paths
