"""One instance: y, then every estimate over the true spikes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sparsebench.report import picture, style
from sparsebench.report.picture import Picture

# The estimate of one instance: indices that are in the true support, and those that are not.
_RIGHT, _WRONG = style.BLUE, style.RED
_FAILED = ("error", "time-out", "diverged")


@style.ours()
def instance(solutions: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw one instance: y, then every estimate over the true spikes; whole, and crowded region.

    Parameters
    ----------
    solutions : DataFrame
        Columns series ("truth", "y" or an algorithm), position, value, in_support,
        support_distance, relative_residual, status, ordered, window_start, window_end.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    series = dict(list(solutions.groupby("series", sort=False)))
    truth, y = series.pop("truth"), series.pop("y")
    top = 1.2 * float(truth["value"].abs().max())
    rows = 1 + len(series)
    figure, grid = style.panels(rows, 2, 0.85 * rows + 0.8, width_ratios=(1.6, 1))
    for axes in grid[0]:
        axes.plot(y["position"], y["value"], color="black", lw=0.8)
        axes.set_ylabel("|y|" if "phase" in solutions else "y")
        if "phase" in solutions:
            axes.set_ylim(0, None)
        axes.grid(False)
    grid[0, 0].set_title("signal", loc="left", fontsize=7.5)
    grid[0, 1].set_title("crowded region", loc="right", fontsize=7)
    for (left, right), (label, found) in zip(grid[1:], series.items(), strict=True):
        for axes in (left, right):
            _spikes(axes, truth, found, top)
            axes.set_ylabel("|x|" if "phase" in solutions else "x")
            if "phase" in solutions:  # moduli
                axes.set_ylim(-0.1 * top, 1.1 * top)
        first = found.iloc[0]
        left.set_title(style.plain(str(label)), loc="left", fontsize=7.5)
        left.set_title(
            f"distance {first['support_distance']:.2f}, "
            f"relative residual {first['relative_residual']:.1g}"
            if first["status"] not in _FAILED
            else f"failed: {first['status']}",
            loc="right",
            fontsize=7,
        )
    _share_positions(grid, solutions.iloc[0])
    return style.finish(figure, footer, folder, name, _legend())


def _share_positions(grid: Any, facts: pd.Series) -> None:
    """Align the panels of a column; the samples of y have an axis of their own if unordered."""
    left, right = facts["window_start"], facts["window_end"]
    for column in (0, 1):
        rows = grid[:, column] if facts["ordered"] else grid[1:, column]
        for axes in rows[:-1]:
            axes.sharex(rows[-1])
            axes.tick_params(labelbottom=False)
        rows[-1].set_xlabel("position (samples)" if facts["ordered"] else "atom")
        style.whole_ticks(rows[-1])
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
        style.whole_ticks(grid[0, 0])
        grid[0, 1].remove()


def _legend() -> dict[str, Artist]:
    return {
        "true spike of x*": Line2D(
            [], [], marker="o", mfc="none", mec="0.45", color="0.7", ms=4.6, mew=0.7, lw=0.8
        ),
        "estimate, right index": Line2D([], [], marker="o", color=_RIGHT, ms=2.6, mew=0, lw=0.9),
        "wrong index": Line2D([], [], marker="o", color=_WRONG, ms=2.6, mew=0, lw=0.9),
        "beyond the panel": Line2D([], [], marker="^", color="0.3", ms=3.2, mew=0, lw=0),
    }


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


def _draw_instance(rows: pd.DataFrame, folder: Path) -> list[Path]:
    small = picture.footer(rows, f"trial {rows['trial'].iloc[0]}", sizes="nmk")
    return instance(rows, small, folder, "instance")


INSTANCE = Picture(
    _draw_instance,
    ("k", "trial", "window_start", "window_end"),
    ("series", "position", "value", "in_support", "support_distance", "ordered"),
)
