"""Learned encoders: their errors by iterations or stages, and by what was changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from sparsebench.report import picture, style
from sparsebench.report.picture import Picture

_PROBLEMS = {"penalty": "ℓ0-regularised", "size": "M-sparse"}
_LOOKS: dict[tuple[str, str], style.Look] = {
    ("iterative", "zero"): (style.BLUE, "-", "o"),
    ("iterative", "l1"): (style.SKY, "--", "s"),
    ("encoder", "zero"): (style.RED, "-", "D"),
    ("encoder", "l1"): (style.ORANGE, "--", "^"),
    ("baseline", "zero"): ("0.35", ":", ""),
}


@style.ours()
def encoders(found: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the prediction error against iterations or stages: a row a problem, a column a p.

    Parameters
    ----------
    found : DataFrame
        Columns problem, n, method, start, stages, estimate, lower, upper; in %.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    sizes, height = sorted(found["n"].unique()), 2.3 * len(_PROBLEMS) + 0.6
    figure, grid = style.panels(len(_PROBLEMS), len(sizes), height, sharex=True, sharey=True)
    for row, (problem, title) in zip(grid, _PROBLEMS.items(), strict=True):
        for axes, size in zip(row, sizes, strict=True):
            _draw_methods(axes, found[(found["problem"] == problem) & (found["n"] == size)])
            axes.set_title(f"{title}, p = {size}", fontsize=7.5)
        row[0].set_ylabel("prediction error (%)")
    grid[0, 0].set_yscale("log")
    for axes in grid[-1]:
        axes.set_xlabel("iterations, or stages")
        style.whole_ticks(axes)
    return style.finish(figure, footer, folder, name)


def _draw_methods(axes: Axes, part: pd.DataFrame) -> None:
    """Draw iterations as lines with bands, encoders with error bars, the baseline as a level."""
    for (method, start), rows in part.groupby(["method", "start"], sort=False):
        rows = rows.sort_values("stages")
        colour, dash, marker = look = _LOOKS[str(method), str(start)]
        label = str(method) if method == "baseline" else f"{method}, from {start}"
        if method == "baseline":
            level = rows.iloc[0]
            edges = level["lower"], level["upper"]
            axes.axhspan(*edges, fc=(colour, style.FILL), ec=(colour, style.EDGE), lw=0.5)
            axes.axhline(level["estimate"], color=colour, ls=dash, lw=1.0, label=label)
        elif method == "encoder":
            x, y = rows["stages"], rows["estimate"]
            line: Any = {"color": colour, "ls": dash, "marker": marker}
            line |= {"ms": 3.4, "lw": 1.0, "mew": 0}
            spread = (y - rows["lower"], rows["upper"] - y)
            axes.errorbar(x, y, yerr=spread, elinewidth=0.7, capsize=1.5, **line)
            axes.plot(x, y, label=label, **line)
        else:
            style.curve(axes, rows, look, len(_LOOKS), x="stages", lw=1.0, ms=3.4, label=label)


@style.ours()
def encoder_variants(found: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the prediction error of encoders by what was changed: a panel a (problem, start).

    Parameters
    ----------
    found : DataFrame
        Columns variant, problem, start, estimate, lower, upper; in %.
    footer, folder, name : str, Path, str
        The small print, and where to write ``name.png`` and ``name.pdf``.
    """
    variants = list(found["variant"].unique())
    figure, grid = style.panels(1, 2, 0.19 * len(variants) + 1.0, sharey=True)
    for axes, (problem, title) in zip(grid[0], _PROBLEMS.items(), strict=True):
        for start in ("zero", "l1"):
            rows = found[(found["problem"] == problem) & (found["start"] == start)]
            colour, _, marker = _LOOKS["encoder", start]
            axes.errorbar(
                rows["estimate"],
                [variants.index(variant) for variant in rows["variant"]],
                xerr=(rows["estimate"] - rows["lower"], rows["upper"] - rows["estimate"]),
                fmt=marker,
                color=colour,
                ms=3.4,
                lw=0.9,
                label=f"encoder, from {start}",
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(title, fontsize=7.5)
        axes.set_xlabel("prediction error (%)")
    grid[0, 0].set_yticks(range(len(variants)), variants)
    grid[0, 0].invert_yaxis()
    return style.finish(figure, footer, folder, name)


def pictures(summary: Callable[[pd.DataFrame], pd.DataFrame]) -> dict[str, Picture]:
    """Return the pictures of encoders; `summary` takes means over the seeds of their rows."""

    def errors(frame: pd.DataFrame) -> pd.DataFrame:
        found = summary(frame)
        return found[(found["metric"] == "prediction") & found["problem"].isin(_PROBLEMS)]

    def compared(frame: pd.DataFrame, folder: Path) -> list[Path]:
        data = frame[frame["method"] == "data"].groupby(["metric", "n"])["value"].mean()
        facts = (
            f"p = {n}: coherence {data['coherence', n]:.2f}, ||D||² {data['spectral', n]:.1f}"
            for n in sorted(frame["n"].unique())
        )
        return encoders(errors(frame), _small_print(frame, *facts), folder, "encoders")

    def varied(frame: pd.DataFrame, folder: Path) -> list[Path]:
        found, small = errors(frame), _small_print(frame, picture.values(frame, "n"))
        own = found[found["method"] == "encoder"]
        return encoder_variants(own, small, folder, "encoders-sensitivity")

    columns = ("stages", "value"), ("images", "variant", "start", "method", "metric")
    return {
        "encoders": Picture(compared, *columns),
        "encoders-sensitivity": Picture(varied, *columns),
    }


def _small_print(frame: pd.DataFrame, *parts: str) -> str:
    made, options = frame.iloc[0], json.loads(frame["problem_options"].iloc[0])
    facts = [
        f"{made['images']}, m = {made['m']}, lambda = {options['penalty']:g}",
        f"M = {options['size']}, l1 weight {options['l1_weight']:g}",
        *parts,
    ]
    end = [f"95 % intervals over {frame['seed'].nunique()} seeds", *picture.origin(frame)]
    return " · ".join(facts) + "\n" + " · ".join(end)
