"""Pictures, from data frames: nothing is computed here, and nothing runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from sparsebench.folders import written_whole
from sparsebench.theory import donoho_tanner_curve

_BLUE, _RED, _GREEN, _PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
_ORANGE, _SKY, _BLACK, _WINE = "#E69F00", "#56B4E9", "#000000", "#882255"
# Okabe and Ito's colours, with the wine of Paul Tol's in place of yellow, which is too light for a
# line: eight that the colour-blind tell apart.
_COLOURS = (_BLUE, _RED, _GREEN, _PINK, _ORANGE, _SKY, _BLACK, _WINE)
_DASHES = ("-", "--", ":", "-.")
_MARKERS = "osD^vPX*<>hd"
_Style = tuple[str, str, str]  # colour, dash, marker
# Opacity of a band's inside, at most and of all in a panel together, and of its outline.
_FILL, _FILLS, _EDGE = 0.12, 0.6, 0.5
_ONE_COLUMN, _TWO_COLUMNS = 3.5, 7.0  # inches
# More algorithms than there are colours get a panel a family, and a larger family several.
_MOST_IN_ONE = len(_COLOURS)
_ACROSS = 3
# Markers a curve: of many points, every so many.
_MOST_MARKERS = 20
_LEGEND_ACROSS = 6
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
_RIGHT, _WRONG = _BLUE, _RED
_FAILED = ("error", "time-out", "diverged")
# Residuals of at most this relative size count as zero, and are drawn on the lower edge.
_ZERO_RESIDUAL = 1e-10


def _tone(colour: str, share: float) -> str:
    """Mix a colour with white, or with black where the share is negative."""
    end = 1.0 if share > 0 else 0.0
    red, green, blue = (part + (end - part) * abs(share) for part in to_rgb(colour))
    return to_hex((red, green, blue))


# In the studies a hue is a kind of algorithm, its tone with a marker and a dash one of them: always
# the same, whatever else is in the picture.
_KINDS: dict[str, dict[str, float]] = {
    _BLUE: {"omp": 0, "sp": 0.5, "cosamp": -0.5, "ols": 0.25},
    _GREEN: {"iht": -0.25, "niht": 0.25, "htp": -0.65, "nhtp": 0.55},
    _WINE: {"ompr": 0, "sbr": -0.5},
    _PINK: {"els": 0, "splicing": 0.5},
    _RED: {"sea": 0, "omp+sea": -0.5, "els+sea": 0.45},
    _SKY: {"htp-restarts": 0, "iht-restarts": -0.5},
    _ORANGE: {"homotopy": 0, "bp": -0.4, "fista": 0.5, "sbl": -0.65},
    _BLACK: {"ridge": 0, "pinv": 0.5, "thresholding": 0.3},
}
_FIXED = {
    name: (_tone(hue, tone), _DASHES[index], _MARKERS[index + 3 * (kind % 3)])
    for kind, (hue, tones) in enumerate(_KINDS.items())
    for index, (name, tone) in enumerate(tones.items())
}
# A bound that nothing reaches: a line without points.
_FIXED |= {"oracle": (_tone(_BLACK, 0.7), "-.", "")}
_FIXED |= {
    "iht[step=1.8/L]": _FIXED["iht"],
    "htp[step=1]": _FIXED["htp"],
    "iht[step=1/L]": (_BLUE, "-", "s"),
    "htp[step=1/L]": (_BLUE, "--", "D"),
    "iht[step=1]": (_ORANGE, "-", "^"),
    "htp[step=1.8/L]": (_ORANGE, "--", "v"),
}
# Those trained, and the iterations they unroll beside them.
_UNROLLED = {
    "lista": (_BLUE, "-", "o"),
    "lista-cp": (_SKY, "-", "s"),
    "lista-cpss": (_PINK, "-", "D"),
    "alista": (_RED, "-", "^"),
    "hyperlista": (_WINE, "-", "v"),
    "na-alista": (_BLACK, "-", "P"),
    "liht": (_ORANGE, "-", "X"),
    "deep-l0": (_tone(_PINK, 0.5), "-", "<"),
    "deep-m-sparse": (_GREEN, "-", ">"),
    "ista": (_tone(_SKY, -0.5), ":", "s"),
    "fista": (_tone(_BLUE, -0.55), ":", "o"),
    "amp": (_tone(_ORANGE, -0.45), ":", "v"),
    "niht": (_FIXED["niht"][0], "--", "h"),
    "htp": (_FIXED["htp"][0], "--", "d"),
    "sea": (_FIXED["omp+sea"][0], "--", "*"),
    "oracle": _FIXED["oracle"],
}
#: Metrics of a study: the label of the y axis, and what to add to the title of a panel.
METRICS = {
    "support_distance": ("mean support distance", "exact index"),
    "near_1": ("mean support distance", "within 1 index"),
    "near_2": ("mean support distance", "within 2 indices"),
    "exact": ("share of supports recovered", "exact support"),
    "ratio": ("sparsity ratio k/m", ""),
    "nmse": ("NMSE in dB", "ratio of sums"),
}
_ENCODED = {"penalty": "ℓ0-regularised", "size": "M-sparse"}
_ENCODER_STYLES = {
    ("iterative", "zero"): (_BLUE, "-", "o"),
    ("iterative", "l1"): (_SKY, "--", "s"),
    ("encoder", "zero"): (_RED, "-", "D"),
    ("encoder", "l1"): (_ORANGE, "--", "^"),
    ("baseline", "zero"): ("0.35", ":", ""),
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


@contextmanager
def _own_style() -> Iterator[None]:
    """Draw in our style alone, whatever a matplotlibrc says, and leave the user's as it was."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


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

    with _own_style():
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
    with _own_style():
        figure, panels = _draw(distances.assign(x=distances["k"]), lambda axes: None)
        top = min(1.0, 1.05 * float(distances["upper"].max()))
        for axes in panels:
            axes.set_xlim(0, None)
            axes.set_ylim(0, top)
            _whole_ticks(axes)
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
    with _own_style():
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
            row[0].set_title(_plain(str(label)), loc="left", fontsize=7.5)
            row[0].set_title(
                f"distance {first['support_distance']:.2f}, "
                f"relative residual {first['relative_residual']:.1g}"
                if first["status"] not in _FAILED
                else f"failed: {first['status']}",
                loc="right",
                fontsize=7,
            )
        _share_positions(grid, facts)
        _beneath(figure, *_spike_legend(), footer)
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
        _whole_ticks(rows[-1])
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
        _whole_ticks(grid[0, 0])
        grid[0, 1].remove()


def _spike_legend() -> tuple[list[Artist], list[str]]:
    names = ["true spike of x*", "estimate, right index", "wrong index", "beyond the panel"]
    return [
        Line2D([], [], marker="o", mfc="none", mec="0.45", color="0.7", ms=4.6, mew=0.7, lw=0.8),
        Line2D([], [], marker="o", color=_RIGHT, ms=2.6, mew=0, lw=0.9),
        Line2D([], [], marker="o", color=_WRONG, ms=2.6, mew=0, lw=0.9),
        Line2D([], [], marker="^", color="0.3", ms=3.2, mew=0, lw=0),
    ], names


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
    with _own_style():
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
                axes.set_title(f"{_plain(str(problem))}, m = {m}, n = {n}, k = {k}", fontsize=7.5)
        for axes in grid[-1]:
            axes.set_xlabel("iteration (after the start, for a+b)")
        named: dict[str, Artist] = {}
        for axes in grid.flat:
            lines, names = axes.get_legend_handles_labels()
            named |= dict(zip(names, lines, strict=True))
        named["95 % interval of the median"] = Patch(fc=("0.5", 0.15), ec=("0.5", 0.6), lw=0.5)
        named["quartiles"] = Line2D([], [], color="0.5", lw=0.5, ls=":")
        _beneath(figure, list(named.values()), list(named), footer)
        return _save(figure, folder, name)


def _explorations(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the median of each algorithm with its interval, and its quartiles as thin lines."""
    for index, (label, part) in enumerate(rows.groupby("algorithm", sort=False)):
        colour, dash, marker = _style(index)
        x = part["iteration"]
        height = part.set_index("iteration")[
            ["estimate", "lower", "upper", "lower_quartile", "upper_quartile"]
        ].clip(lower=_ZERO_RESIDUAL / 10)
        _band(axes, x, height, colour, rows["algorithm"].nunique())
        for quartile in ("lower_quartile", "upper_quartile"):
            axes.plot(x, height[quartile], color=colour, lw=0.5, ls=":")
        axes.plot(
            x,
            height["estimate"],
            color=colour,
            ls=dash,
            lw=1.2,
            marker=marker,
            markevery=-(-len(x) // _MOST_MARKERS),
            ms=3.0,
            mew=0,
            label=_plain(str(label)),
        )
    if rows["estimate"].min() < _ZERO_RESIDUAL:
        axes.axhline(_ZERO_RESIDUAL, color="0.45", lw=0.8, ls="--", label="counts as zero")


def small_multiples(
    points: pd.DataFrame,
    label: str,
    footer: str,
    folder: Path,
    name: str,
    *,
    x: str = "x",
    scale: str = "linear",
    limit: bool = False,
) -> list[Path]:
    """Draw a panel a (panel, metric), with the same axes, styles and one legend for all.

    Parameters
    ----------
    points : DataFrame
        Columns panel, metric, curve, told, estimate, lower, upper and `x`; with `limit`, m and n.
        Where there is a column converged, a curve of which it is False says so.
    label : str
        Of the x axis.
    footer : str
        Small print under the picture.
    folder, name
        Where to write ``name.png`` and ``name.pdf``.
    x : str
        The column on the x axis; points without it are left out.
    scale : {"linear", "whole", "log", "log with sizes", "log with zero"}
        Of the x axis; "whole" is linear with whole numbers, sizes are few and each is labelled.
    limit : bool
        Draw the Donoho-Tanner limit of l1 minimisation, where the x axis is m/n or n.
    """
    points = points.assign(x=points[x]).dropna(subset=["x"])
    points["curve"] = points["curve"].astype(str)
    parts = [
        (str(panel), str(metric), part)
        for (panel, metric), part in points.groupby(["panel", "metric"], sort=False)
    ]
    several = points.groupby("panel")["metric"].nunique().max() > 1
    rows = -(-len(parts) // _across(len(parts)))
    known = _UNROLLED if set(points["metric"]) == {"nmse"} else _FIXED
    styles = _styles(points["curve"].unique(), known)
    with _own_style():
        figure, grid = plt.subplots(
            rows,
            _across(len(parts)),
            figsize=(_TWO_COLUMNS, 2.15 * rows + 0.8),
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        panels: list[Axes] = list(grid.flat)
        handles: dict[str, Artist] = {}
        for axes, (panel, metric, part) in zip(panels, parts, strict=False):
            if limit:
                _draw_limit(axes, part)
            for curve, style in styles.items():
                _styled_curve(axes, curve, part[part["curve"] == curve], style, len(styles))
            title = f"{panel}, {METRICS[metric][1]}" if several else panel
            axes.set_title(_plain(title), fontsize=7.5)
            found, texts = axes.get_legend_handles_labels()
            handles |= dict(zip(texts, found, strict=True))
        _scale_x(panels, points["x"], scale)
        if set(points["metric"]) == {"nmse"}:
            panels[0].set_ylim(top=min(3.0, float(points["estimate"].max()) + 1.0))
        else:
            top = min(1.02, 1.05 * float(points["upper"].max()))
            panels[0].set_ylim(-0.02 * top, top)
        _label_panels(panels, label, [METRICS[metric][0] for _, metric, _ in parts])
        _beneath(figure, list(handles.values()), list(handles), footer)
        return _save(figure, folder, name)


def _across(panels: int) -> int:
    """Return how many panels stand side by side."""
    return {1: 1, 2: 2, 4: 2}.get(panels, _ACROSS)


def _styles(curves: Iterable[str], known: dict[str, _Style]) -> dict[str, _Style]:
    """Return the styles of curves: those that are known, by kind, then others in other colours."""
    names = set(curves)
    found = {curve: known[curve] for curve in known if curve in names}
    taken = {colour for colour, _, _ in found.values()}
    tones = (_style(index) for index in itertools.count())
    free = (style for style in tones if style[0] not in taken)
    return found | {curve: next(free) for curve in sorted(names - set(known))}


def _styled_curve(axes: Axes, curve: str, rows: pd.DataFrame, style: _Style, curves: int) -> None:
    """Draw one of some curves with its band."""
    if rows.empty:
        return
    colour, dash, marker = style
    rows = rows.sort_values("x", kind="stable")
    _band(axes, rows["x"], rows, colour, curves)
    name, last = _legend_text(curve, str(rows["told"].iloc[0])), rows.iloc[-1]
    if last.get("converged") in (False, "False"):  # it is empty for what is not trained
        name += ", not converged"
        axes.annotate(
            "not converged",
            (last["x"], last["estimate"]),
            (0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=5,
            color=colour,
        )
    axes.plot(
        rows["x"],
        rows["estimate"],
        color=colour,
        ls=dash,
        lw=1.0,
        marker=marker,
        ms=3.0,
        mew=0,
        label=name,
    )


def _draw_limit(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the Donoho-Tanner limit: a curve over m/n, a level line where m/n is the same."""
    deltas = (rows["m"] / rows["n"]).unique()
    xs = np.linspace(0.005, 0.995, 199) if len(deltas) > 1 else np.sort(rows["x"].unique())
    limit = donoho_tanner_curve(xs if len(deltas) > 1 else np.full(len(xs), deltas[0]))
    name = "ℓ1 limit (Donoho-Tanner)"
    axes.plot(xs, limit, color="0.45", lw=1.0, ls=(0, (1, 1)), label=name, zorder=1)


def _scale_x(panels: list[Axes], xs: pd.Series, scale: str) -> None:
    """Scale the x axis; "log with zero" has 0 at its left end, set apart by a break."""
    axes = panels[0]
    if scale == "whole":
        axes.set_xlim(0, None)
        _whole_ticks(axes)
        return
    if scale == "linear":
        axes.set_xlim(0, 1 if xs.max() <= 1 else None)
        return
    if scale in ("log", "log with sizes"):
        axes.set_xscale("log")
        if scale == "log with sizes":
            sizes = sorted(xs.unique())
            axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
            axes.xaxis.set_minor_locator(NullLocator())
        return
    smallest = float(xs[xs > 0].min())
    axes.set_xscale("symlog", linthresh=smallest, linscale=1.0)
    decades = np.arange(round(np.log10(smallest)), round(np.log10(xs.max())) + 1)
    shown = [int(d) for d in decades if (d - decades[-1]) % 2 == 0]
    labelled = {d for d in shown if (d - shown[-1]) % 4 == 0}
    axes.set_xticks(
        [0.0, *(10.0**d for d in shown)],
        ["0", *(f"$10^{{{d}}}$" if d in labelled else "" for d in shown)],
    )
    axes.xaxis.set_minor_locator(NullLocator())
    for axes in panels:
        axes.axvspan(0.3 * smallest, 0.6 * smallest, color="white", lw=0, zorder=5)


def _label_panels(panels: list[Axes], label: str, metrics: list[str]) -> None:
    """Label the outer axes, and every y axis that differs from its left neighbour's."""
    across = _across(len(metrics))
    for index, axes in enumerate(panels):
        if index >= len(metrics):
            axes.remove()
            continue
        if index % across == 0 or metrics[index] != metrics[index - 1]:
            axes.set_ylabel(metrics[index])
            axes.tick_params(labelleft=True)
        if index + across >= len(metrics):  # nothing below it
            axes.set_xlabel(label)
            axes.tick_params(labelbottom=True)


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
    panel = _panels_of(points)
    titles = list(panel.cat.categories)
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
        axes.set_title(_plain(title), fontsize=7.5)
    for axes in grid.flat[len(titles) :]:
        axes.remove()
    return figure, grid.flat[: len(titles)]


def _panels_of(points: pd.DataFrame) -> pd.Series:
    """Return the title of each row's panel, in their order: a family, cut where it is large."""
    family = points["family"].map(_PANELS).fillna("others")
    titles = pd.Series("", points.index)
    ordered: list[str] = []
    for title in (*dict.fromkeys(_PANELS.values()), "others"):
        names = points["algorithm"][family == title].unique()
        cuts = [names[i : i + _MOST_IN_ONE] for i in range(0, len(names), _MOST_IN_ONE)]
        for number, part in enumerate(cuts, 1):
            full = title if len(cuts) == 1 else f"{title} ({number} of {len(cuts)})"
            titles[(family == title) & points["algorithm"].isin(part)] = full
            ordered.append(full)
    return titles.astype(pd.CategoricalDtype(ordered, ordered=True))


def _style(index: int) -> _Style:
    """Return the style of a curve by its place: eight colours, then darker and lighter ones."""
    turn, place = divmod(index, len(_COLOURS))
    colour = _tone(_COLOURS[place], (0.0, -0.45, 0.45)[turn % 3])
    return colour, _DASHES[turn % len(_DASHES)], _MARKERS[index % len(_MARKERS)]


def _band(axes: Axes, x: pd.Series, rows: pd.DataFrame, colour: str, curves: int) -> None:
    """Draw the intervals of one of some curves: pale, outlined so that overlaps are readable."""
    fill = min(_FILL, _FILLS / curves)
    axes.fill_between(
        x, rows["lower"], rows["upper"], fc=(colour, fill), ec=(colour, _EDGE), lw=0.5
    )


def _whole_ticks(axes: Axes) -> None:
    """Put the ticks of a linear x axis on whole numbers."""
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def _curves(axes: Axes, points: pd.DataFrame) -> None:
    for index, (label, rows) in enumerate(points.groupby("algorithm", sort=False)):
        colour, dash, marker = _style(index)
        ordered = rows.sort_values("x", kind="stable")
        _band(axes, ordered["x"], ordered, colour, points["algorithm"].nunique())
        axes.plot(
            ordered["x"],
            ordered["estimate"],
            color=colour,
            ls=dash,
            lw=1.1,
            marker=marker,
            markevery=-(-len(ordered) // _MOST_MARKERS),
            ms=3.2,
            mew=0,
            label=_legend_text(str(label), str(rows["told"].iloc[0])),
        )


def _legend_text(label: str, told: str) -> str:
    """Name an algorithm, and say what it is told but k, and if it is not told k."""
    items = [item for item in told.split(",") if item]
    others = " and ".join(item for item in items if item not in ("k", "training"))
    marks = ["trained"] if "training" in items else []
    if "k" in items:
        marks += [f"also told {others}"] if others else []
    else:
        marks.append(f"told {others}, not k" if others else "not told k")
    label = _plain(label)
    return f"{label} ({', '.join(marks)})" if marks else label


def _plain(text: str) -> str:
    """Return text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")


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
        axes.set_title(_plain(title), fontsize=8)
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
        figure.text(0.5, 0.03, _plain(footer), ha="center", va="bottom", fontsize=5, color="0.35")
        figure.tight_layout(rect=(0, 0.08, 1, 1))
    else:
        for index, axes in enumerate(panels):
            if index % _ACROSS == 0:
                axes.set_ylabel(labels[1])
            if index + _ACROSS >= len(panels):  # nothing below it
                axes.set_xlabel(labels[0])
                axes.tick_params(labelbottom=True)
            legend = axes.legend(
                loc="best",
                fontsize=5.5,
                handlelength=2.2,
                borderpad=0.3,
                labelspacing=0.25,
                framealpha=0.85,
                edgecolor="none",
            )
            legend.set_zorder(1.5)  # over what is grey, and under the curves: it hides no point
        figure.suptitle(_plain(title), fontsize=8)
        figure.text(0.5, 0.0, _plain(footer), ha="center", va="bottom", fontsize=5.5, color="0.35")
        figure.tight_layout(rect=(0, 0.045, 1, 1))
    return _save(figure, folder, name)


def history(times: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the seconds of a solve against the commits in their order, a panel a family.

    Parameters
    ----------
    times : DataFrame
        Columns commit, date, algorithm, family, told, estimate, lower, upper of one problem.
    footer : str
        Small print under the picture.
    folder, name
        Where to write ``name.png`` and ``name.pdf``.
    """
    commits = list(times.sort_values("date")["commit"].unique())
    points = times.assign(x=times["commit"].map(commits.index))
    with _own_style():
        figure, panels = _draw(points, lambda axes: None)
        for axes in panels:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(EngFormatter(unit="s"))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_xticks(range(len(commits)), commits, rotation=90, fontsize=5)
        title = f"time of a solve by commit: {times['panel'].iloc[0]}"
        labels = ("commit", "time")
        return _finish(figure, panels, labels, title, footer, folder, name)


def full_grid(rows: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the success rate at every k, and the thresholds found with and without the grid.

    Parameters
    ----------
    rows : DataFrame
        Columns quantity ("rate", "full grid" or "adaptive"), algorithm, m, n, k (of rates), level
        (of thresholds), estimate, lower, upper.
    footer : str
        Small print under the picture.
    folder, name
        Where to write ``name.png`` and ``name.pdf``.
    """
    cells = list(rows.groupby("m"))
    styles = _styles(rows["algorithm"].unique(), _FIXED)
    with _own_style():
        figure, grid = plt.subplots(
            1, len(cells), figsize=(_TWO_COLUMNS, 2.6), sharey=True, squeeze=False
        )
        handles: dict[str, Artist] = {}
        for axes, (m, part) in zip(grid.flat, cells, strict=True):
            for curve, own in part.groupby("algorithm", sort=False):
                colour, dash, _ = styles[str(curve)]
                rate = own[own["quantity"] == "rate"].sort_values("k")
                _band(axes, rate["k"], rate, colour, len(styles))
                axes.plot(
                    rate["k"],
                    rate["estimate"],
                    color=colour,
                    ls=dash,
                    lw=0.8,
                    label=_plain(str(curve)),
                )
                for quantity, marker, shift in (
                    ("full grid", "|", 0.012),
                    ("adaptive", "o", -0.012),
                ):
                    points = own[own["quantity"] == quantity]
                    axes.errorbar(
                        points["estimate"],
                        points["level"] + shift,
                        xerr=(
                            points["estimate"] - points["lower"],
                            points["upper"] - points["estimate"],
                        ),
                        fmt=marker,
                        color=colour if quantity == "adaptive" else "black",
                        ms=3.0,
                        lw=0.9,
                        zorder=3,
                        label=f"{quantity}, 95 % and 50 % points",
                    )
            axes.set_title(f"m = {m}, n = {part['n'].iloc[0]}", fontsize=7.5)
            axes.set_xlabel("sparsity k")
            axes.set_xlim(0, None)
            _whole_ticks(axes)
            found, texts = axes.get_legend_handles_labels()
            handles |= dict(zip(texts, found, strict=True))
        grid.flat[0].set_ylabel("share of supports recovered")
        _beneath(figure, list(handles.values()), list(handles), footer)
        return _save(figure, folder, name)


def encoders(found: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the prediction error against iterations or stages: a row a problem, a column a p.

    Parameters
    ----------
    found : DataFrame
        Columns problem, n, method, start, stages, estimate, lower, upper; in %.
    footer : str
        Small print under the picture.
    folder, name
        Where to write ``name.png`` and ``name.pdf``.
    """
    problems, sizes = list(_ENCODED), sorted(found["n"].unique())
    with _own_style():
        figure, grid = plt.subplots(
            len(problems),
            len(sizes),
            figsize=(_TWO_COLUMNS, 2.3 * len(problems) + 0.6),
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        handles: dict[str, Artist] = {}
        for row, problem in zip(grid, problems, strict=True):
            for axes, size in zip(row, sizes, strict=True):
                part = found[(found["problem"] == problem) & (found["n"] == size)]
                _encoder_curves(axes, part)
                axes.set_title(f"{_ENCODED[problem]}, p = {size}", fontsize=7.5)
                lines, names = axes.get_legend_handles_labels()
                handles |= dict(zip(names, lines, strict=True))
            row[0].set_ylabel("prediction error (%)")
        grid[0, 0].set_yscale("log")
        for axes in grid[-1]:
            axes.set_xlabel("iterations, or stages")
            _whole_ticks(axes)
        _beneath(figure, list(handles.values()), list(handles), footer)
        return _save(figure, folder, name)


def _encoder_curves(axes: Axes, part: pd.DataFrame) -> None:
    """Draw iterations as lines with bands, encoders with error bars, the baseline as a level."""
    for (method, start), rows in part.groupby(["method", "start"], sort=False):
        rows = rows.sort_values("stages")
        colour, dash, marker = _ENCODER_STYLES[str(method), str(start)]
        label = str(method) if method == "baseline" else f"{method}, from {start}"
        if method == "baseline":
            level = rows.iloc[0]
            edges = level["lower"], level["upper"]
            axes.axhspan(*edges, fc=(colour, _FILL), ec=(colour, _EDGE), lw=0.5)
            axes.axhline(level["estimate"], color=colour, ls=dash, lw=1.0, label=label)
            continue
        x, y = rows["stages"], rows["estimate"]
        style: Any = {"color": colour, "ls": dash, "marker": marker, "ms": 3.4, "lw": 1.0, "mew": 0}
        if method == "encoder":
            spread = (y - rows["lower"], rows["upper"] - y)
            axes.errorbar(x, y, yerr=spread, elinewidth=0.7, capsize=1.5, **style)
        else:
            _band(axes, x, rows, colour, len(_ENCODER_STYLES))
        axes.plot(x, y, label=label, **style)


def encoder_variants(found: pd.DataFrame, footer: str, folder: Path, name: str) -> list[Path]:
    """Draw the prediction error of encoders by what was changed: a panel a (problem, start).

    Parameters
    ----------
    found : DataFrame
        Columns variant, problem, start, estimate, lower, upper; in %.
    footer : str
        Small print under the picture.
    folder, name
        Where to write ``name.png`` and ``name.pdf``.
    """
    variants = list(found["variant"].unique())
    with _own_style():
        figure, grid = plt.subplots(
            1, 2, figsize=(_TWO_COLUMNS, 0.19 * len(variants) + 1.0), sharey=True, squeeze=False
        )
        for axes, problem in zip(grid[0], _ENCODED, strict=True):
            for start in ("zero", "l1"):
                rows = found[(found["problem"] == problem) & (found["start"] == start)]
                colour, _, marker = _ENCODER_STYLES["encoder", start]
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
            axes.set_title(_ENCODED[problem], fontsize=7.5)
            axes.set_xlabel("prediction error (%)")
        grid[0, 0].set_yticks(range(len(variants)), variants)
        grid[0, 0].invert_yaxis()
        handles, names = grid[0, 0].get_legend_handles_labels()
        _beneath(figure, handles, names, footer)
        return _save(figure, folder, name)


def _beneath(figure: Figure, handles: Sequence[Artist], names: Sequence[str], footer: str) -> None:
    """Place one legend and the small print below all panels."""
    width, height = figure.get_size_inches()
    below = 0.12 * len(footer.splitlines()) + 0.05  # inches
    figure.text(0.5, 0.0, _plain(footer), ha="center", va="bottom", fontsize=6, color="0.35")
    for rows in range(-(-len(names) // _LEGEND_ACROSS), len(names) + 1):
        legend = figure.legend(
            handles,
            names,
            loc="lower center",
            bbox_to_anchor=(0.5, below / height),
            ncol=-(-len(names) // rows),
            frameon=False,
            handlelength=3.0,
            columnspacing=1.4,
            labelspacing=0.3,
        )
        if legend.get_window_extent().width <= width * figure.dpi:
            break
        legend.remove()
    rect = (0, (below + 0.15 * rows + 0.05) / height, 1, 1)
    figure.tight_layout(rect=rect, pad=0.3, w_pad=1.2, h_pad=0.8)


def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF, and close it."""
    paths = [folder / f"{name}.{ending}" for ending in ("png", "pdf")]
    for path in paths:
        with written_whole(path) as part:
            figure.savefig(part, dpi=200, bbox_inches="tight", pad_inches=0.04)
    plt.close(figure)
    return paths
