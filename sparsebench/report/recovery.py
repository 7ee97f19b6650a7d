"""A user's signal: the atoms that each algorithm found, and what to believe of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.lines import Line2D

from sparsebench.report import picture, style
from sparsebench.report.picture import Picture

# Areas of the largest and of the smallest atom, in square points.
_LARGEST, _SMALLEST = 42.0, 4.0


@style.ours()
def recovered(rows: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the first signal's atoms, an algorithm a line; beside them, how it does when planted.

    Parameters
    ----------
    rows : DataFrame
        As `experiments.recovery.table` returns them.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    first = rows[rows["signal"] == rows["signal"].iloc[0]]
    whole = first.drop_duplicates("algorithm").sort_values("estimate", kind="stable")
    labels = list(whole["algorithm"])
    places = {label: place for place, label in enumerate(labels)}
    figure, grid = style.panels(1, 2, 0.24 * len(labels) + 1.35, sharey=True, width_ratios=(2.2, 1))
    atoms, trust = grid[0]
    found = first.dropna(subset="index")
    largest = float(found["value"].abs().max()) if len(found) else 1.0
    for positive, colour in ((True, style.BLUE), (False, style.RED)):
        part = found[(found["value"] > 0) == positive]
        share = part["value"].abs() / largest
        atoms.scatter(
            part["index"].astype(float),
            part["algorithm"].map(places),
            s=_SMALLEST + (_LARGEST - _SMALLEST) * share,
            color=colour,
            alpha=0.75,
            linewidths=0,
        )
    atoms.set_yticks(range(len(labels)), [style.plain(label) for label in labels])
    atoms.set_ylim(-0.6, len(labels) - 0.4)
    end = int(rows["n"].iloc[0])
    atoms.set_xlim(-0.02 * end, 1.02 * end)
    atoms.set_xlabel("atom")
    atoms.set_title("atoms found in the signal", loc="left", fontsize=7.5)
    for names, marker, colour, shift in (
        (("estimate", "lower", "upper"), "o", style.BLACK, -0.14),
        (("stability", "stability_lower", "stability_upper"), "D", style.ORANGE, 0.14),
    ):
        middle, low, high = (whole[name].to_numpy(dtype=float) for name in names)
        trust.errorbar(
            middle,
            np.arange(len(labels)) + shift,
            xerr=np.maximum([middle - low, high - middle], 0),
            fmt=marker,
            color=colour,
            ms=3,
            lw=1.0,
        )
    trust.set_xlim(-0.03, 1.03)
    trust.set_xlabel("share")
    trust.set_title("what to believe", loc="left", fontsize=7.5)
    return style.finish(figure, footer, folder, name, _legend("phase" in rows))


def _legend(complex_numbers: bool) -> dict[str, Artist]:
    signs = {"positive": ("o", style.BLUE), "negative": ("o", style.RED)}
    kinds = {
        **({"atom": ("o", style.BLUE)} if complex_numbers else signs),
        "planted signals whose support is found": ("o", style.BLACK),
        "atoms found again with other noise": ("D", style.ORANGE),
    }
    return {
        word: Line2D([], [], marker=marker, color=colour, ls="", ms=4, mew=0)
        for word, (marker, colour) in kinds.items()
    }


def _draw(rows: pd.DataFrame, folder: Path) -> list[Path]:
    options = json.loads(rows["problem_options"].iloc[0])
    snr = options["snr"]
    noise = "no noise" if snr == float("inf") else f"noise at {snr:g} dB"
    parts = (
        f"{rows['trials'].iloc[0]:,} planted signals, {noise}",
        "area: |x|",
        "95 % intervals",
        f"seed {rows['seed'].iloc[0]}",
        *picture.origin(rows),
    )
    sizes = (picture.values(rows, size) for size in "mnk")
    return recovered(rows, " · ".join((*sizes, *parts)), folder, "recover")


RECOVER = Picture(
    _draw,
    ("k", "trials", "estimate", "lower", "upper", "signal"),
    ("algorithm", "index", "value", "stability", "stability_lower", "stability_upper"),
)
