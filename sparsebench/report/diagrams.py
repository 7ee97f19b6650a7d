"""A curve an algorithm, many in a panel a family: phase transitions, support distances, history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from sparsebench.report import picture, style
from sparsebench.report.picture import POINTS, Picture
from sparsebench.report.words import percent
from sparsebench.theory import minimax_l1_risk

# More algorithms than there are colours get a panel a family, and a larger family several.
_MOST_IN_ONE = len(style.COLOURS)
_HEIGHT = 4.1  # inches, of one panel
_MINIMAX = "minimax of ℓ1 (Donoho et al.)"
_AXES = {"snr": "signal-to-noise ratio in dB", "k": "sparsity k", "m": "measurements m"}
_EXACTLY = "of supports recovered exactly"
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

# Panels by what is told, where that differs.
_KNOWLEDGE = ("told k", "told the noise level", "told neither", "told more")


def diagram_names(levels: Sequence[float]) -> list[str]:
    """Return the pictures of a diagram, the highest level first; 95 % goes without saying."""
    names = [f"-{percent(level)[:-1]}" if level != 0.95 else "" for level in levels]
    return [f"phase-transition{name}" for name in names]


@style.ours()
def phase_transition(thresholds: pd.DataFrame, level: float, footer: str) -> Figure:
    """Draw rho = k/m against delta = m/n: a curve and band an algorithm, and the limit of l1.

    That limit is of exact recovery without noise, and is drawn of nothing else.

    Parameters
    ----------
    thresholds : DataFrame
        Columns algorithm, family, told, m, n, level, estimate, lower, upper, problem_options.
    level : float
        Which success rate.
    footer : str
        The small print.
    """
    points = thresholds[thresholds["level"] == level]
    ratios = points.assign(
        x=points["m"] / points["n"],
        **{column: points[column] / points["m"] for column in ("estimate", "lower", "upper")},
    )
    labels = "undersampling ratio m/n", "sparsity ratio k/m"
    figure = _drawn(ratios, labels, limit=picture.has_l1_limit(points))
    top = max(0.35, min(1.05 * float(ratios["upper"].max()), 1.0))
    for axes in figure.axes:
        axes.set_xlim(0, 1)
        axes.set_ylim(0, top)
    what = f"of solves have {points['success'].iloc[0]}" if "success" in points else _EXACTLY
    return _finish(figure, f"{percent(level)} {what}", footer)


@style.ours()
def support_distance(distances: pd.DataFrame, footer: str) -> Figure:
    """Draw the mean support distance against k, a curve and band an algorithm.

    Parameters
    ----------
    distances : DataFrame
        Columns algorithm, family, told, k, estimate, lower, upper.
    footer : str
        The small print.
    """
    labels = "sparsity k", "mean support distance"
    figure = _drawn(distances.assign(x=distances["k"]), labels)
    top = min(1.0, 1.05 * float(distances["upper"].max()))
    for axes in figure.axes:
        axes.set_xlim(0, None)
        axes.set_ylim(0, top)
        style.whole_ticks(axes)
    return _finish(figure, "", footer)


@style.ours()
def curves(points: pd.DataFrame, footer: str) -> Figure:
    """Draw a metric against an axis, a curve and band an algorithm; of errors the minimax of l1.

    Parameters
    ----------
    points : DataFrame
        Columns axis, x, metric, problem, problem_options, m, n, k, algorithm, family, told,
        estimate, lower, upper, of one metric.
    footer : str
        The small print.
    """
    axis, metric = str(points["axis"].iloc[0]), str(points["metric"].iloc[0])
    shares = metric != "nmse"
    what = "supports recovered" if metric == "exact" else f"solves with {metric}"
    label = style.plain(f"share of {what}" if shares else "NMSE in dB")
    figure = _drawn(points, (_AXES[axis], label))
    for axes in figure.axes:
        if shares:
            axes.set_ylim(-0.02, 1.02)
        else:
            _draw_minimax(axes, points)
        if axis != "snr":
            style.whole_ticks(axes)
    return _finish(figure, "", footer)


def _draw_minimax(axes: Axes, points: pd.DataFrame) -> None:
    """Draw the minimax risk of the Lasso, of Gaussian dictionaries with noise, if finite."""
    line = []
    row: Any
    for row in points.drop_duplicates("x").sort_values("x").itertuples():
        snr = float(json.loads(row.problem_options).get("snr", np.inf))
        if row.problem.partition("[")[0] != "gaussian" or not row.k < row.m < row.n:
            continue
        risk = minimax_l1_risk(row.m / row.n, row.k / row.m)
        if np.isfinite(risk) and np.isfinite(snr):
            line.append((row.x, 10 * np.log10(risk * row.n / row.m) - snr))
    if line:
        xs, levels = zip(*line, strict=True)
        axes.plot(xs, levels, color="0.45", lw=1.0, ls=(0, (1, 1)), label=_MINIMAX, zorder=1)


@style.ours()
def history(times: pd.DataFrame, footer: str) -> Figure:
    """Draw the seconds of a solve against the commits in their order, a panel a family.

    Parameters
    ----------
    times : DataFrame
        Columns commit, date, algorithm, family, told, estimate, lower, upper of one problem.
    footer : str
        The small print.
    """
    commits = list(times.sort_values("date")["commit"].unique())
    figure = _drawn(times.assign(x=times["commit"].map(commits.index)), ("commit", "time"))
    for axes in figure.axes:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(EngFormatter(unit="s"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xticks(range(len(commits)), commits, rotation=90, fontsize=5)
    return _finish(figure, f"time of a solve by commit: {times['panel'].iloc[0]}", footer)


def _drawn(points: pd.DataFrame, labels: tuple[str, str], limit: bool = False) -> Figure:
    """Draw few algorithms in one picture, many in a panel a family, the rest of them in grey."""
    deltas = np.linspace(0.005, 0.995, 199)
    if points["algorithm"].nunique() <= _MOST_IN_ONE:
        figure, grid = style.panels(1, 1, _HEIGHT, style.ONE_COLUMN)
        if limit:
            style.l1_limit(grid[0, 0], deltas, deltas, picture.is_complex(points))
        _curves(grid[0, 0], points)
        style.label_panels(grid, labels[0], [labels[1]])
        return figure
    panel = _panels_of(points)
    titles = list(panel.cat.categories)
    points = points.assign(
        told=[_beyond(*pair) for pair in zip(points["told"], panel, strict=True)]
    )
    rows = -(-len(titles) // style.across())
    height = 2.35 * rows + (1.15 if rows == 1 else 0.3)
    figure, grid = style.panels(rows, style.across(), height, sharex=True, sharey=True)
    for axes, title in zip(grid.flat, titles, strict=False):
        if limit:
            style.l1_limit(axes, deltas, deltas, picture.is_complex(points))
        if title != titles[0]:  # named once
            for line in axes.lines:
                line.set_label("_nolegend_")
        for _, rows_of in points[panel != title].groupby("algorithm", sort=False):
            ordered = rows_of.sort_values("x")
            axes.plot(ordered["x"], ordered["estimate"], color="0.85", lw=0.6, zorder=0)
        _curves(axes, points[panel == title])
        axes.set_title(style.plain(title), fontsize=7.5)
    style.label_panels(grid, labels[0], [labels[1]] * len(titles))
    return figure


def _panels_of(points: pd.DataFrame) -> pd.Series:
    """Return the title of each row's panel, in their order, cut where one is large.

    A panel is what is told, where some are told the noise level or nothing, or else a family.
    """
    kinds, order = points["told"].map(_knowledge), list(_KNOWLEDGE)
    if set(kinds) <= {"told k", "told more"}:
        kinds = points["family"].map(_PANELS).fillna("others")
        order = [*dict.fromkeys(_PANELS.values()), "others"]
    titles = pd.Series("", points.index)
    ordered: list[str] = []
    for title in order:
        names = points["algorithm"][kinds == title].unique()
        cuts = [names[i : i + _MOST_IN_ONE] for i in range(0, len(names), _MOST_IN_ONE)]
        for number, part in enumerate(cuts, 1):
            full = title if len(cuts) == 1 else f"{title} ({number} of {len(cuts)})"
            titles[(kinds == title) & points["algorithm"].isin(part)] = full
            ordered.append(full)
    return titles.astype(pd.CategoricalDtype(ordered, ordered=True))


def _knowledge(told: str) -> str:
    """Return the panel of what is told so: of k first, then of the noise level."""
    items = set(filter(None, told.split(","))) - {"prior family"}
    if "k" in items or not items:
        return "told k" if items else "told neither"
    return "told the noise level" if items == {"noise"} else "told more"


def _beyond(told: str, title: str) -> str:
    """Return what a legend still says of what is told, where the panel's title says the rest."""
    if not title.startswith(_KNOWLEDGE[1:3]):
        return told
    return ",".join(["k", *(item for item in told.split(",") if item not in ("", "noise"))])


def _curves(axes: Axes, points: pd.DataFrame) -> None:
    several = points["algorithm"].nunique()
    for index, (label, rows) in enumerate(points.groupby("algorithm", sort=False)):
        style.curve(
            axes,
            rows.sort_values("x", kind="stable"),
            style.by_place(index),
            several,
            lw=1.1,
            markevery=-(-len(rows) // style.MOST_MARKERS),
            ms=3.2,
            label=style.legend_text(str(label), str(rows["told"].iloc[0])),
        )


def _finish(figure: Figure, title: str, footer: str) -> Figure:
    """Place the title, the legends and the small print."""
    style.scale_axes(figure)
    panels = figure.axes
    if len(panels) == 1:
        axes = panels[0]
        axes.set_title(style.plain(title), fontsize=8)
        handles, texts = axes.get_legend_handles_labels()
        legend = figure.legend(
            handles,
            texts,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.025),
            ncol=2 if max(map(len, texts)) > 16 else 3,
            frameon=False,
            handlelength=2.6,
            columnspacing=1.2,
        )
        below = legend.get_window_extent().height / figure.dpi
        inch = _HEIGHT / style.room_below(figure, below)  # what is stated here is stated for that
        legend.set_bbox_to_anchor((0.5, 0.025 * inch), figure.transSubfigure)
        lines = style.small_print(figure, 0.03 * inch, footer, 5)
        more = 0.023 * (lines - len(footer.splitlines()))
        figure.tight_layout(rect=(0, (0.08 + more) * inch, 1, 1))
    else:
        one_row = len({axes.get_position().y0 for axes in panels}) == 1
        for axes in panels:
            where: dict[str, Any] = {"loc": "best"}
            if one_row:  # beneath them, so far as the labels need
                beneath = axes.transAxes + ScaledTranslation(0, -0.36, figure.dpi_scale_trans)
                where = {
                    "loc": "upper center",
                    "bbox_to_anchor": (0.5, 0.0),
                    "bbox_transform": beneath,
                }
            legend = axes.legend(
                **where,
                fontsize=5.5,
                handlelength=2.2,
                borderpad=0.3,
                labelspacing=0.25,
                framealpha=0.85,
                edgecolor="none",
            )
            legend.set_zorder(1.5)  # over what is grey, and under the curves: it hides no point
        figure.suptitle(style.plain(title), fontsize=8)
        more = style.small_print(figure, 0.0, footer, 5.5) - len(footer.splitlines())
        figure.tight_layout(rect=(0, 0.045 * (1 + more / 2), 1, 1))
    return figure


def of_thresholds(rows: pd.DataFrame, level: float) -> Figure:
    """Return the diagram of what ``thresholds.csv`` holds, at one success rate."""
    counted = picture.counted(rows[rows["level"] == level])
    return phase_transition(rows, level, picture.footer(rows, *counted, sizes="n"))


def of_distances(rows: pd.DataFrame) -> Figure:
    """Return the curves of what ``distances.csv`` holds."""
    return support_distance(rows, picture.footer(rows, *picture.counted(rows), sizes="nm"))


@style.ours()
def _draw_thresholds(rows: pd.DataFrame, folder: Path) -> list[Path]:
    levels = sorted(rows["level"].unique(), reverse=True)
    return [
        path
        for level, name in zip(levels, diagram_names(levels), strict=True)
        for path in style.save(of_thresholds(rows, level), folder, name)
    ]


@style.ours()
def _draw_distances(rows: pd.DataFrame, folder: Path) -> list[Path]:
    return style.save(of_distances(rows), folder, "support-distance")


@style.ours()
def _draw_over(rows: pd.DataFrame, folder: Path) -> list[Path]:
    written = []
    for metric, part in rows.groupby("metric", sort=False):
        sizes = "".join(size for size in "nmk" if part[size].nunique() == 1)
        small = picture.footer(part, *picture.counted(part), sizes=sizes)
        name = "curves-nmse" if metric == "nmse" else "curves-success"
        written += style.save(curves(part, small), folder, name)
    return written


@style.ours()
def _draw_history(frame: pd.DataFrame, folder: Path) -> list[Path]:
    written = []
    for panel, rows in frame.groupby("panel", sort=False):
        small = picture.footer(rows, str(rows["machine"].iloc[0]), sizes="nmk")
        written += style.save(history(rows, small), folder, f"history-{panel}")
    return written


_ALGORITHM = ("algorithm", "told", "family")
THRESHOLDS = Picture(
    _draw_thresholds, (*POINTS, "level"), (*_ALGORITHM, "stopped"), "phase-transition"
)
DISTANCES = Picture(_draw_distances, (*POINTS, "k"), _ALGORITHM, "support-distance")
CURVES = Picture(_draw_over, (*POINTS, "k"), (*_ALGORITHM, "axis", "x", "metric"), "curves")
HISTORY = Picture(
    _draw_history, (*POINTS, "k"), (*_ALGORITHM, "panel", "commit", "date", "machine")
)
