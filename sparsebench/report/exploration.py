"""How many supports an exploration meets, and its best residual, as iterations pass."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sparsebench.report import picture, style
from sparsebench.report.picture import POINTS, Picture

# Residuals of at most this relative size count as zero, and are drawn on the lower edge.
_ZERO_RESIDUAL = 1e-10


@style.ours()
def exploration(summary: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw distinct supports and best residual against iterations: a row of panels a workload.

    Parameters
    ----------
    summary : DataFrame
        Columns problem, m, n, k, algorithm, quantity, iteration, estimate, lower, upper,
        lower_quartile, upper_quartile.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    workloads = list(summary.groupby(["problem", "m", "n", "k"], sort=False))
    quantities = list(summary["quantity"].unique())
    height = 2.3 * len(workloads) + 0.6
    figure, grid = style.panels(len(workloads), len(quantities), height, sharex=True)
    for row, ((problem, m, n, k), rows) in zip(grid, workloads, strict=True):
        for axes, quantity in zip(row, quantities, strict=True):
            axes.set_xscale("log")
            axes.set_yscale("log")
            _medians(axes, rows[rows["quantity"] == quantity])
            axes.set_ylabel(quantity)
            title = f"{style.plain(str(problem))}, m = {m}, n = {n}, k = {k}"
            axes.set_title(title, fontsize=7.5)
    for axes in grid[-1]:
        axes.set_xlabel("iteration (after the start, for a+b)")
    spreads = {
        "95 % interval of the median": Patch(fc=("0.5", 0.15), ec=("0.5", 0.6), lw=0.5),
        "quartiles": Line2D([], [], color="0.5", lw=0.5, ls=":"),
    }
    return style.finish(figure, footer, folder, name, spreads)


def _medians(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the median of each algorithm with its interval, and its quartiles as thin lines."""
    quartiles = ["lower_quartile", "upper_quartile"]
    heights = ["estimate", "lower", "upper", *quartiles]
    shown = rows.assign(**rows[heights].clip(lower=_ZERO_RESIDUAL / 10))
    for index, (label, part) in enumerate(shown.groupby("algorithm", sort=False)):
        look = style.by_place(index)
        for quartile in quartiles:
            axes.plot(part["iteration"], part[quartile], color=look[0], lw=0.5, ls=":")
        style.curve(
            axes,
            part,
            look,
            rows["algorithm"].nunique(),
            x="iteration",
            lw=1.2,
            markevery=-(-len(part) // style.MOST_MARKERS),
            ms=3.0,
            label=style.plain(str(label)),
        )
    if rows["estimate"].min() < _ZERO_RESIDUAL:
        axes.axhline(_ZERO_RESIDUAL, color="0.45", lw=0.8, ls="--", label="counts as zero")


def _draw_exploration(rows: pd.DataFrame, folder: Path) -> list[Path]:
    small = picture.footer(rows, f"{rows['trials'].iloc[0]} instances each")
    return exploration(rows, small, folder, "exploration")


EXPLORATION = Picture(
    _draw_exploration,
    (*POINTS, "k", "iteration", "lower_quartile", "upper_quartile"),
    ("algorithm", "quantity"),
)
