"""How a picture is to look where it is drawn for a paper or a talk: style, size, curves, names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import matplotlib.style
import pandas as pd
from matplotlib import font_manager

from sparsebench.errors import InputError, nearest_name

# Of our own styles: width and height in inches (None: as the picture has it), panels side by side,
# dots an inch.
_OWN: dict[str, tuple[tuple[float, float | None], int, int]] = {
    "column": ((3.5, None), 1, 300),
    "slide": ((7.0, 3.94), 4, 400),  # 16 to 9; shown larger, so that its text is
}
# Families that stand for lists of fonts.
_GENERIC = ("serif", "sans-serif", "cursive", "fantasy", "monospace")
#: Whatever a style says: text that stays text, without TeX.
EDITABLE: dict[Any, Any] = {
    "text.usetex": False,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Appearance:
    """What is asked of a picture; by default nothing: the committed look.

    Attributes
    ----------
    style : str
        A style of matplotlib, a file of one, "column" or "slide".
    size : tuple of float, optional
        Width and height in inches.
    curves, order : tuple of str
        Which curves are drawn, by default all, and which of them come first.
    labels : dict of str to str
        What curves are called in the legend.
    log : str
        Axes with a logarithmic scale: "x", "y" or "xy".
    svg : bool
        Whether an SVG is written, too.
    """

    style: str = ""
    size: tuple[float, float] | None = None
    curves: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    log: str = ""
    svg: bool = False

    @property
    def inches(self) -> tuple[float | None, float | None]:
        """Width and height, None as the picture has them."""
        if self.size:
            return self.size
        return _OWN[self.style][0] if self.style in _OWN else (None, None)

    @property
    def across(self) -> int | None:
        """Most panels side by side, None as the picture has them."""
        return _OWN[self.style][1] if self.style in _OWN else None

    @property
    def dots(self) -> int:
        """Dots an inch of a PNG."""
        return _OWN[self.style][2] if self.style in _OWN else 200


_current: ContextVar[Appearance] = ContextVar("appearance", default=Appearance())  # noqa: B039


def current() -> Appearance:
    """Return what is asked of the pictures that are being drawn."""
    return _current.get()


@contextmanager
def asked(appearance: Appearance) -> Iterator[None]:
    """Draw as it is asked; refuse a style that is not there, or one whose fonts are not.

    Raises
    ------
    InputError
        If there is no such style, or none of its fonts is installed.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        apply(appearance)
        _check_fonts(appearance.style)
    token = _current.set(appearance)
    try:
        yield
    finally:
        _current.reset(token)


def apply(appearance: Appearance) -> None:
    """Set what a style of matplotlib says."""
    if not appearance.style or appearance.style in _OWN:
        return
    try:
        matplotlib.style.use(appearance.style)
    except (OSError, ValueError) as error:
        known = [*_OWN, *matplotlib.style.available]
        why = " ".join(str(error).split())
        if not appearance.style.endswith(".mplstyle"):
            why = nearest_name(appearance.style, known, "style")
        raise InputError(f"cannot use --style {appearance.style}: {why}") from None


def _check_fonts(style: str) -> None:
    """Refuse a family none of whose fonts is installed: another would be drawn in its place."""
    known: Any = matplotlib.rcParams
    for family in known["font.family"]:
        fonts = known[f"font.{family}"] if family in _GENERIC else [family]
        if not any(_is_installed(font) for font in fonts):
            names = ", ".join(fonts)
            raise InputError(
                f"the font of --style {style} is not installed: {names}; install it, or name "
                "another in font.family of a style of your own"
            )


def _is_installed(font: str) -> bool:
    try:
        font_manager.findfont(font, fallback_to_default=False)
    except ValueError:
        return False
    return True


def chosen(rows: pd.DataFrame, appearance: Appearance) -> pd.DataFrame:
    """Return the rows of the curves that are asked for, those first that are to come first.

    Raises
    ------
    InputError
        If a curve is named that the rows have not, or two would have one name.
    """
    column = next(name for name in ("curve", "series", "algorithm") if name in rows)
    known = list(dict.fromkeys(rows[column].astype(str)))
    for name in (*appearance.curves, *appearance.order, *appearance.labels):
        if name not in known:
            raise InputError(nearest_name(name, known, "curve"))
    kept = [name for name in known if name in appearance.curves] or known
    shown = [appearance.labels.get(name, name) for name in kept]
    for name in shown:
        if shown.count(name) > 1:
            raise InputError(f"two curves would be called {name!r}: give them different labels")
    first = [name for name in appearance.order if name in kept]
    places = {name: place for place, name in enumerate(dict.fromkeys([*first, *kept]))}
    rows = rows[rows[column].astype(str).isin(kept)]
    return rows.sort_values(column, key=lambda names: names.astype(str).map(places), kind="stable")


def read_labels(texts: Sequence[str]) -> dict[str, str]:
    """Read ``sea=SEA (ours)``, several times; options in brackets belong to the curve's name."""
    labels: dict[str, str] = {}
    for text in texts:
        found = re.fullmatch(r"((?:[^=\[]|\[[^\]]*\])+)=(.+)", text)
        if not found:
            raise InputError(f"--label takes CURVE=NAME, as 'sea=SEA (ours)', not {text!r}")
        curve, name = (part.strip() for part in found.groups())
        if curve in labels:
            raise InputError(f"--label names {curve!r} twice")
        labels[curve] = name
    return labels


def read_size(text: str) -> tuple[float, float]:
    """Read ``3.5,2.6``, inches."""
    try:
        width, height = (float(part) for part in text.split(","))
        if not (1 <= width <= 50 and 1 <= height <= 50):
            raise ValueError
    except ValueError:
        raise InputError(
            f"--size takes the width and height in inches from 1 to 50, as 3.5,2.6, not {text!r}"
        ) from None
    return width, height
