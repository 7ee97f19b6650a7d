"""Which is best at what price: the front of success against seconds and flops, and profiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sparsebench.report import picture, style
from sparsebench.report.picture import Picture

_PRICES = {"seconds": "seconds of a solve", "flops": "flops of a solve"}
_FRONT: dict[str, Any] = {
    "color": "black",
    "ls": ":",
    "lw": 1.0,
    "marker": "o",
    "mfc": "none",
    "ms": 6.5,
    "mew": 0.8,
}
_Made = Callable[[pd.DataFrame], pd.DataFrame]


@style.ours()
def front(points: pd.DataFrame, what: str, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw a row of panels a problem: success against each price, and who is beaten by none.

    Parameters
    ----------
    points : DataFrame
        Columns problem, m, n, k, algorithm, name, estimate, lower, upper; of each price its
        median, its ends as ``seconds_lower`` and so on, and ``seconds_front``.
    what : str
        What counts as a success.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    cells = list(points.groupby(["problem", "m", "n", "k"], sort=False))
    figure, grid = style.panels(len(cells), 2, 2.3 * len(cells) + 1.0, sharey=True)
    looks = {str(each): style.by_place(i) for i, each in enumerate(points["name"].unique())}
    for row, ((problem, m, n, k), part) in zip(grid, cells, strict=True):
        for axes, (price, label) in zip(row, _PRICES.items(), strict=True):
            for algorithm, own in part.groupby("name", sort=False):
                _draw_swept(axes, own.sort_values(price), price, looks[str(algorithm)])
            best = part[part[f"{price}_front"] == 1].sort_values(price)
            axes.step(best[price], best["estimate"], **_FRONT, where="post", zorder=3)
            axes.set_xscale("log")
            axes.set_xlabel(label)
            axes.set_ylim(-0.03, 1.05)
            axes.set_title(style.plain(f"{problem}, m = {m}, n = {n}, k = {k}"), fontsize=7.5)
        row[0].set_ylabel(style.plain(f"share of {what}"))
    beaten_by_none = {"beaten by none": Line2D([], [], **_FRONT)}
    return style.finish(figure, footer, folder, name, beaten_by_none)


def _draw_swept(axes: Axes, rows: pd.DataFrame, price: str, look: style.Look) -> None:
    """Draw one algorithm, at all of its options, with the intervals of both."""
    rows = rows.dropna(subset=[price])
    if rows.empty:
        return
    colour, dash, marker = look
    axes.errorbar(
        rows[price],
        rows["estimate"],
        xerr=_arms(rows, price, f"{price}_lower", f"{price}_upper"),
        yerr=_arms(rows, "estimate", "lower", "upper"),
        color=colour,
        ls=dash,
        marker=marker,
        ms=3.2,
        mew=0,
        lw=0.8,
        elinewidth=0.6,
        label=style.legend_text(str(rows["name"].iloc[0]), str(rows["told"].iloc[0])),
    )


def _arms(rows: pd.DataFrame, point: str, lower: str, upper: str) -> tuple[pd.Series, pd.Series]:
    """Return how far intervals reach to both sides, rounding apart."""
    down, up = rows[point] - rows[lower], rows[upper] - rows[point]
    return down.clip(lower=0.0), up.clip(lower=0.0)


@style.ours()
def profile(steps: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the share of instances solved within a multiple of the least seconds.

    Of each algorithm at those of its options with which it solves most, the quicker of equals.

    Parameters
    ----------
    steps : DataFrame
        Columns name, algorithm, ratio, estimate, lower, upper.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    figure, grid = style.panels(1, 1, 4.3, style.TWO_COLUMNS)
    axes = grid[0, 0]
    last = 1.2 * float(steps["ratio"].max())
    ends = steps.groupby("algorithm", sort=False).last()
    best = ends.sort_values(["estimate", "ratio"], ascending=[False, True]).groupby("name").head(1)
    names = [name for name in ends.index if name in best.index]
    for index, algorithm in enumerate(names):
        own = steps[steps["algorithm"] == algorithm]
        end = own.iloc[[-1]].assign(ratio=last)
        whole = pd.concat([own, end])
        colour, dash, _ = style.by_place(index)
        label = style.plain(str(algorithm))
        axes.step(whole["ratio"], whole["estimate"], dash, color=colour, where="post", label=label)
        arms = _arms(end, "estimate", "lower", "upper")
        at = last * 1.04 ** (index + 1)
        axes.errorbar([at], end["estimate"], yerr=arms, fmt="o", ms=2.5, lw=0.8, color=colour)
    axes.set_xscale("log")
    axes.set_xlim(1.0, last * 1.04 ** (len(names) + 2))
    axes.set_ylim(-0.02, 1.03)
    axes.set_xlabel("seconds, over those of the fastest that solves the instance")
    axes.set_ylabel("share of instances solved")
    return style.finish(figure, footer, folder, name)


def pictures(summary: _Made, profiles: _Made) -> dict[str, Picture]:
    """Return the pictures of ``front.csv``, whose rows are single solves."""

    def draw(rows: pd.DataFrame, folder: Path) -> list[Path]:
        solves = f"{len(rows):,} solves, each alone on one thread"
        small = picture.footer(rows, solves, "95 % intervals")
        success = str(rows["success"].iloc[0])
        what = "supports recovered" if success == "exact" else f"solves with {success}"
        written = front(summary(rows), what, small, folder, "front")
        return written + profile(profiles(rows), small, folder, "profile")

    others = ("algorithm", "told", "name", "seconds", "flops", "success")
    return {"front": Picture(draw, ("k", "trial", "won"), others)}
