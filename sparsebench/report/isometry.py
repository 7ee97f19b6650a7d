"""What restricted isometry promises of support exploration, and what happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from sparsebench.report import picture, style
from sparsebench.report.picture import POINTS, Picture
from sparsebench.theory import exploration_bound

# Of the x axis, where the premise holds.
_WITHIN, _GREY = (0.008, 1.0), "0.93"
# Instances behind a point that is drawn.
_FEWEST = 10
_THIN: dict[str, Any] = {"lw": 1.0, "ms": 3.0}
# Of all panels: one non-zero is always found soon, and 40 dB are like no noise.
_SHOWN = ("k = 1, no noise", "k = 2, no noise", "k = 2, 20 dB")


@style.ours()
def isometry(rows: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw how often the true support is met, and when at the latest, against the premise.

    Parameters
    ----------
    rows : DataFrame
        Columns panel, curve, k, x, estimate, lower, upper, first_largest.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    parts = [rows[rows["panel"] == panel] for panel in _SHOWN]
    looks = {curve: style.by_place(i) for i, curve in enumerate(rows["curve"].unique())}
    figure, grid = style.panels(2, len(parts), 4.6, sharex=True, sharey="row")
    for (share, latest), part in zip(grid.T, parts, strict=True):
        for curve, own in part[part["trials"] >= _FEWEST].groupby("curve", sort=False):
            look = looks[str(curve)]
            style.curve(share, own, look, len(looks), **_THIN, label=str(curve))
            colour, dash, marker = look
            latest.plot(own["x"], own["first_largest"], dash, color=colour, marker=marker, **_THIN)
        share.set_title(str(part["panel"].iloc[0]), fontsize=7.5)
        _draw_bound(latest, int(part["k"].iloc[0]))
        for axes in (share, latest):
            axes.axvspan(*_WITHIN, color=_GREY, lw=0, zorder=0)
            axes.set_xscale("log")
            axes.set_xlim(_WITHIN[0], 60)
        latest.set_yscale("log")
        latest.set_ylim(1, 1300)
        latest.set_xlabel("(k + 1) (δ‖x*‖ + ε) / min |x*|")
    grid[0, 0].set_ylabel("true supports met\nin 1000 iterations")
    grid[0, 0].set_ylim(-0.02, 1.03)
    grid[1, 0].set_ylabel("iteration at which\nthe last of these is met")
    extra = {"where its premise holds": Patch(color=_GREY)}
    return style.finish(figure, footer, folder, name, extra)


def _draw_bound(axes: Axes, k: int) -> None:
    """Draw the iterations that suffice, where the premise holds."""
    xs = np.append(np.geomspace(_WITHIN[0], 0.9999, 2000), 0.99999)
    axes.plot(xs, exploration_bound(xs / (k + 1), k), color="black", lw=1.4, label="our bound")


def _draw_isometry(rows: pd.DataFrame, folder: Path) -> list[Path]:
    shown = rows[rows["panel"].isin(_SHOWN)]
    facts = [
        f"n = {rows['n'].iloc[0]}",
        f"{int(shown['trials'].sum()):,} of {int(rows['trials'].sum()):,} instances",
        f"95 % intervals of points with at least {_FEWEST}",
        f"seed {rows['seed'].iloc[0]}",
        *picture.origin(rows),
    ]
    return isometry(rows, " · ".join(facts), folder, "rip")


RIP = Picture(
    _draw_isometry, (*POINTS, "k", "x", "broken"), ("panel", "curve", "first_largest", "premise")
)
