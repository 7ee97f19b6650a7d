"""The look that all pictures share: colours, sizes, bands, words, legends; and their files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from sparsebench.errors import InputError
from sparsebench.report import ENDINGS, appearance
from sparsebench.system.folders import written_whole
from sparsebench.theory import complex_l1_limit, donoho_tanner_curve

BLUE, RED, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, WINE = "#E69F00", "#56B4E9", "#000000", "#882255"
# Okabe and Ito's colours, with the wine of Paul Tol's in place of yellow, which is too light for a
# line: eight that the colour-blind tell apart.
COLOURS = (BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK, WINE)
_DASHES = ("-", "--", ":", "-.")
_MARKERS = "osD^vPX*<>hd"
Look = tuple[str, str, str]  # colour, dash, marker


def _tone(colour: str, share: float) -> str:
    """Mix a colour with white, or with black where the share is negative."""
    end = 1.0 if share > 0 else 0.0
    red, green, blue = (part + (end - part) * abs(share) for part in to_rgb(colour))
    return to_hex((red, green, blue))


# In the studies a hue is a kind of algorithm, its tone with a marker and a dash one of them: always
# the same, whatever else is in the picture.
_KINDS: dict[str, dict[str, float]] = {
    BLUE: {"omp": 0, "sp": 0.5, "cosamp": -0.5, "ols": 0.25},
    GREEN: {"iht": -0.25, "niht": 0.25, "htp": -0.65, "nhtp": 0.55},
    WINE: {"ompr": 0, "sbr": -0.5},
    PINK: {"els": 0, "splicing": 0.5},
    RED: {"sea": 0, "omp+sea": -0.5, "els+sea": 0.45},
    SKY: {"htp-restarts": 0, "iht-restarts": -0.5},
    ORANGE: {"homotopy": 0, "bp": -0.4, "fista": 0.5, "sbl": -0.65},
    BLACK: {"ridge": 0, "pinv": 0.5, "thresholding": 0.3},
}
FIXED: dict[str, Look] = {
    name: (_tone(hue, tone), _DASHES[index], _MARKERS[index + 3 * (kind % 3)])
    for kind, (hue, tones) in enumerate(_KINDS.items())
    for index, (name, tone) in enumerate(tones.items())
}
FIXED |= {
    "oracle": (_tone(BLACK, 0.7), "-.", ""),  # a bound that nothing reaches: a line without points
    "iht[step=1.8/L]": FIXED["iht"],
    "htp[step=1]": FIXED["htp"],
    "iht[step=1/L]": (BLUE, "-", "s"),
    "htp[step=1/L]": (BLUE, "--", "D"),
    "iht[step=1]": (ORANGE, "-", "^"),
    "htp[step=1.8/L]": (ORANGE, "--", "v"),
}
# Those trained, and the iterations they unroll beside them.
UNROLLED: dict[str, Look] = {
    "lista": (BLUE, "-", "o"),
    "lista-cp": (SKY, "-", "s"),
    "lista-cpss": (PINK, "-", "D"),
    "alista": (RED, "-", "^"),
    "hyperlista": (WINE, "-", "v"),
    "na-alista": (BLACK, "-", "P"),
    "liht": (ORANGE, "-", "X"),
    "deep-l0": (_tone(PINK, 0.5), "-", "<"),
    "deep-m-sparse": (GREEN, "-", ">"),
    "ista": (_tone(SKY, -0.5), ":", "s"),
    "fista": (_tone(BLUE, -0.55), ":", "o"),
    "amp": (_tone(ORANGE, -0.45), ":", "v"),
    "niht": (FIXED["niht"][0], "--", "h"),
    "htp": (FIXED["htp"][0], "--", "d"),
    "sea": (FIXED["omp+sea"][0], "--", "*"),
    "oracle": FIXED["oracle"],
}
ONE_COLUMN, TWO_COLUMNS = 3.5, 7.0  # inches
# Panels side by side, where there are many.
ACROSS = 3
# Markers a curve: of many points, every so many.
MOST_MARKERS = 20
# Opacity of a band's inside, at most and of all in a panel together, and of its outline.
FILL, _FILLS, EDGE = 0.12, 0.6, 0.5
_LEGEND_ACROSS = 6
_OURS: dict[Any, Any] = {
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
}


def by_place(index: int) -> Look:
    """Return the look of a curve by its place: eight colours, then darker and lighter ones."""
    turn, place = divmod(index, len(COLOURS))
    colour = _tone(COLOURS[place], (0.0, -0.45, 0.45)[turn % 3])
    return colour, _DASHES[turn % len(_DASHES)], _MARKERS[index % len(_MARKERS)]


def by_name(curves: Iterable[str], known: dict[str, Look]) -> dict[str, Look]:
    """Return the looks of curves: those that are known, by kind, then others in other colours."""
    names = set(curves)
    found = {curve: known[curve] for curve in known if curve in names}
    taken = {colour for colour, _, _ in found.values()}
    tones = (by_place(index) for index in itertools.count())
    free = (look for look in tones if look[0] not in taken)
    found |= {curve: next(free) for curve in sorted(names - set(known))}
    first = [curve for curve in appearance.current().order if curve in found]
    return {curve: found[curve] for curve in [*first, *found]}


@contextmanager
def ours() -> Iterator[None]:
    """Draw in our style, or one that is asked for, whatever a matplotlibrc says; leave that."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_OURS)
        appearance.apply(appearance.current())
        matplotlib.rcParams.update(appearance.EDITABLE)
        yield


def across() -> int:
    """Return how many panels stand side by side, where there are many."""
    return appearance.current().across or ACROSS


def panels(
    rows: int, columns: int, height: float, width: float = TWO_COLUMNS, **shared: Any
) -> tuple[Figure, Any]:
    """Return a figure of a size in inches, and the array of its panels.

    Without pyplot, which would change how a notebook shows the figures of others.
    """
    wide, high = appearance.current().inches
    figure = Figure(figsize=(wide or width, high or height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def curve(
    axes: Axes, rows: pd.DataFrame, look: Look, curves: int, x: str = "x", **line: Any
) -> None:
    """Draw one of some curves over its intervals: pale, outlined so that overlaps are readable."""
    colour, dash, marker = look
    inside, outline = (colour, min(FILL, _FILLS / curves)), (colour, EDGE)
    axes.fill_between(rows[x], rows["lower"], rows["upper"], fc=inside, ec=outline, lw=0.5)
    axes.plot(rows[x], rows["estimate"], color=colour, ls=dash, marker=marker, mew=0, **line)


def l1_limit(
    axes: Axes, xs: NDArray[np.float64], deltas: NDArray[np.float64], complex_numbers: bool
) -> None:
    """Draw the limit of l1 minimisation at ratios m/n."""
    limit, name = donoho_tanner_curve(deltas), "ℓ1 limit (Donoho-Tanner)"
    if complex_numbers:
        limit = np.array([complex_l1_limit(float(delta)) for delta in deltas])
        name = "complex ℓ1 limit (Maleki et al.)"
    axes.plot(xs, limit, color="0.45", lw=1.0, ls=(0, (1, 1)), label=name, zorder=1)


def whole_ticks(axes: Axes) -> None:
    """Put the ticks of a linear x axis on whole numbers."""
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def label_panels(grid: Any, label: str, metrics: list[str]) -> None:
    """Label the outer axes, and y axes that differ from their left neighbours'; remove the rest."""
    across = grid.shape[1]
    for index, axes in enumerate(grid.flat):
        if index >= len(metrics):
            axes.remove()
            continue
        if index % across == 0 or metrics[index] != metrics[index - 1]:
            axes.set_ylabel(metrics[index])
            axes.tick_params(labelleft=True)
        if index + across >= len(metrics):  # nothing below it
            axes.set_xlabel(label)
            axes.tick_params(labelbottom=True)


def legend_text(label: str, told: str) -> str:
    """Name an algorithm, and say what it is told but k, and if it is not told k."""
    items = [item for item in told.split(",") if item]
    others = " and ".join(item for item in items if item not in ("k", "training"))
    marks = ["trained"] if "training" in items else []
    if "k" in items:
        marks += [f"also told {others}"] if others else []
    else:
        marks.append(f"told {others}, not k" if others else "not told k")
    label = plain(appearance.current().labels.get(label, label))
    return f"{label} ({', '.join(marks)})" if marks else label


def plain(text: str) -> str:
    """Return text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")


def finish(
    figure: Figure, footer: str, folder: Path, name: str, extra: Mapping[str, Artist] = {}
) -> list[Path]:
    """Place one legend of all panels, with what is `extra`, and the small print below; save."""
    scale_axes(figure)
    named: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        named |= dict(zip(names, handles, strict=True))
    named |= extra
    width, height = figure.get_size_inches()
    below = 0.12 * small_print(figure, 0.0, footer, 6) + 0.05  # inches
    for rows in range(-(-len(named) // _LEGEND_ACROSS), len(named) + 1):
        legend = figure.legend(
            list(named.values()),
            list(named),
            loc="lower center",
            bbox_to_anchor=(0.5, below / height),
            ncol=-(-len(named) // rows),
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
    return save(figure, folder, name)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF, and as SVG where that is asked for."""
    wanted = appearance.current()
    edge: Any = "tight"
    width, height = wanted.inches
    if width:  # what lies below the figure belongs to it
        top = figure.get_figheight()
        bottom = top - height if height else figure.get_tightbbox().y0 - 0.04
        edge = Bbox([(0.0, bottom), (width, top)])
    endings = (*ENDINGS, "svg") if wanted.svg else ENDINGS
    paths = [folder / f"{name}.{ending}" for ending in endings]
    for path in paths:
        with written_whole(path) as part:
            figure.savefig(part, dpi=wanted.dots, bbox_inches=edge, pad_inches=0.04)
    return paths


def room_below(figure: Figure, below: float) -> float:
    """Shrink a figure of a size that is asked for by what lies below it; return its height."""
    width, height = appearance.current().inches
    if height:
        figure.set_size_inches(width or figure.get_figwidth(), max(height - below, 0.5))
    return float(figure.get_size_inches()[1])


def small_print(figure: Figure, y: float, text: str, size: float) -> int:
    """Place the small print, in lines that a stated width has room for; return how many."""
    shown = figure.text(0.5, y, plain(text), ha="center", va="bottom", fontsize=size, color="0.35")
    room = 0.94 * figure.bbox.width if appearance.current().inches[0] else np.inf
    lines = []
    for line in text.splitlines():
        parts = re.split(r"(?<=[·,]) ", line)
        kept = parts.pop(0)
        for part in parts:
            shown.set_text(plain(f"{kept} {part}"))
            if shown.get_window_extent().width > room:
                lines.append(kept)
                kept = part
            else:
                kept = f"{kept} {part}"
        lines.append(kept)
    shown.set_text(plain("\n".join(lines)))
    return len(lines)


def scale_axes(figure: Figure) -> None:
    """Give axes the logarithmic scale that is asked for, down to the least number above 0.

    Raises
    ------
    InputError
        If a curve has numbers below 0.
    """
    for letter in appearance.current().log:
        number = "xy".index(letter)
        drawn = [np.ravel(line.get_data()[number]) for a in figure.axes for line in a.lines]
        values = np.concatenate(drawn).astype(float)
        if (values < 0).any():
            raise InputError(f"--log {letter}: a curve has numbers below 0, without logarithms")
        least = float(values[values > 0].min(initial=np.inf))
        for axes in figure.axes:
            top = getattr(axes, f"get_{letter}lim")()[1]
            getattr(axes, f"set_{letter}scale")("log")
            getattr(axes, f"set_{letter}lim")(min(0.9 * least, 0.1 * top), top)
