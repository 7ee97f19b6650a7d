"""What a run has left in a folder, as an object that a notebook shows."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from sparsebench.errors import InputError
from sparsebench.experiments.presets import TIME_LIMIT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# By the name of a figure, the CSV of its points.
_POINTS = {"phase-transition": "thresholds.csv", "support-distance": "distances.csv"}


@dataclass(frozen=True)
class Results:
    """The points of a figure and the rows behind them.

    Attributes
    ----------
    folder : Path
        Where all of it is.
    figure : str
        ``phase-transition`` or ``support-distance``.
    """

    folder: Path
    figure: str

    @property
    def points(self) -> pd.DataFrame:
        """A row a point, with its interval: what the CSV of the figure holds."""
        from sparsebench.report.figures import read

        return read(self.folder / _POINTS[self.figure])

    @property
    def frame(self) -> pd.DataFrame:
        """A row a trial of this problem and these sizes, as `export` writes them."""
        from sparsebench.run.frames import plain_columns
        from sparsebench.run.store import Store

        points = self.points
        with Store(self.folder, writable=False) as store:
            rows = store.frame()
        first = points.iloc[0]
        same = (rows["problem_label"] == first["problem"]) & (rows["seed"] == first["seed"])
        same &= rows["m"].isin(points["m"].unique()) & (rows["n"] == first["n"])
        return plain_columns(rows[same].reset_index(drop=True))

    def plot(self, level: float | None = None) -> Figure:
        """Draw the figure; of a diagram at one of its success rates, by default the highest.

        Raises
        ------
        InputError
            If the diagram has no such rate.
        """
        from sparsebench.report import diagrams

        points = self.points
        if self.figure == "support-distance":
            return diagrams.of_distances(points)
        levels = sorted(points["level"].unique(), reverse=True)
        if level is not None and level not in levels:
            raise InputError(f"there are points at {', '.join(map(str, levels))}, not at {level}")
        return diagrams.of_thresholds(points, levels[0] if level is None else level)

    def compare(self, first: str, other: str, time_limit: float = TIME_LIMIT) -> pd.DataFrame:
        """Return the paired differences of two algorithms, a row a point, as `compare` does.

        Raises
        ------
        InputError
            If one is unknown, or has no rows here.
        """
        from sparsebench import solvers as solvers  # registers them
        from sparsebench.experiments.comparison import compare
        from sparsebench.registry import choose_algorithm
        from sparsebench.run.store import Store

        one, two = (choose_algorithm(text) for text in (first, other))
        with Store(self.folder, writable=False) as store:
            rows = store.frame()
        by = "threshold" if self.figure == "phase-transition" else "distance"
        return compare(rows, one, [two], by, time_limit)

    def _repr_html_(self) -> str:
        held = io.BytesIO()
        self.plot().savefig(held, format="png", dpi=110, bbox_inches="tight")
        data = base64.b64encode(held.getvalue()).decode()
        points = self.points
        about = (
            f"{self.figure} of {points['problem'].iloc[0]}: {len(points)} points in {self.folder}"
        )
        return (
            f'<figure><img alt="{html.escape(about)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{html.escape(about)}</figcaption></figure>"
        )


def read(folder: str | Path, figure: str | None = None) -> Results:
    """Return the results of a folder that a run has written.

    Parameters
    ----------
    folder : str or Path
    figure : {"phase-transition", "support-distance"}, optional
        By default the first of these that is there.

    Raises
    ------
    InputError
        If there is none.
    """
    folder = Path(folder)
    if figure is not None and figure not in _POINTS:
        raise InputError(f"figure is {' or '.join(_POINTS)}, not {figure!r}")
    for name in _POINTS if figure is None else [figure]:
        if (folder / _POINTS[name]).is_file():
            return Results(folder, name)
    raise InputError(f"no points of {figure or ' or '.join(_POINTS)} in {folder}: run it first")
