"""Pictures, from data frames: nothing is computed here, and nothing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.theory import donoho_tanner_curve

# Okabe and Ito's colours without yellow, which is too light for a line; then again, dashed.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":", "-.")
_MARKERS = "osD^vPX*<>hd"
_ONE_COLUMN = 3.5  # inches
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
        Columns algorithm, told, m, n, level, estimate, lower, upper.
    level : float
        Which success rate.
    footer : str
        Small print under the picture.
    folder, name
        Where to write ``name.png`` and ``name.pdf``.
    """
    points = thresholds[thresholds["level"] == level]
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(_ONE_COLUMN, 4.1))
        deltas = np.linspace(0.005, 0.995, 199)
        axes.plot(
            deltas,
            donoho_tanner_curve(deltas),
            color="0.45",
            lw=1.0,
            ls=(0, (1, 1)),
            label="limit of ℓ1, 50 % (Donoho-Tanner)",
            zorder=1,
        )
        _curves(axes, points, x=points["m"] / points["n"], scale=1 / points["m"])
        axes.set_xlabel("undersampling ratio m/n")
        axes.set_ylabel("sparsity ratio k/m")
        axes.set_xlim(0, 1)
        top = float((points["upper"] / points["m"]).max())
        axes.set_ylim(0, max(0.35, min(1.05 * top, 1.0)))
        axes.set_title(f"{level:.0%} of supports recovered exactly", fontsize=8)
        return _finish(figure, axes, footer, folder, name)


def support_distance(distances: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the mean support distance against k, a curve and band an algorithm.

    Parameters
    ----------
    distances : DataFrame
        Columns algorithm, told, k, estimate, lower, upper.
    footer : str
        Small print under the picture.
    folder, name
        Where to write ``name.png`` and ``name.pdf``.
    """
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(_ONE_COLUMN, 3.9))
        _curves(axes, distances, x=distances["k"], scale=pd.Series(1.0, distances.index))
        axes.set_xlabel("sparsity k")
        axes.set_ylabel("mean support distance")
        axes.set_xlim(0, None)
        axes.set_ylim(0, min(1.0, 1.05 * float(distances["upper"].max())))
        return _finish(figure, axes, footer, folder, name)


def _curves(axes: Axes, points: pd.DataFrame, x: pd.Series, scale: pd.Series) -> None:
    for index, (label, rows) in enumerate(points.groupby("algorithm", sort=False)):
        colour = _COLOURS[index % len(_COLOURS)]
        dash = _DASHES[index // len(_COLOURS) % len(_DASHES)]
        order = rows.index[np.argsort(x[rows.index].to_numpy(), kind="stable")]
        at, factor = x[order], scale[order]
        axes.fill_between(
            at,
            rows.loc[order, "lower"] * factor,
            rows.loc[order, "upper"] * factor,
            color=colour,
            alpha=0.2,
            lw=0,
        )
        axes.plot(
            at,
            rows.loc[order, "estimate"] * factor,
            color=colour,
            ls=dash,
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


def _finish(figure: Figure, axes: Axes, footer: str, folder: Path, name: str) -> list[Path]:
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if max(map(len, labels)) > 16 else 3
    figure.legend(
        handles,
        labels,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.025),
        ncol=columns,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.2,
    )
    figure.text(0.5, 0.03, footer, ha="center", va="bottom", fontsize=5, color="0.35")
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    paths = [folder / f"{name}.{ending}" for ending in ("png", "pdf")]
    for path in paths:
        figure.savefig(path, dpi=300, bbox_inches="tight", pad_inches=0.04)
    plt.close(figure)
    return paths
