"""What a picture is beside its drawing: the columns that its CSV must hold, and its small print."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

#: The numbers of a point of a curve.
POINTS = ("estimate", "lower", "upper", "trials")
# Options whose value says that something is not there.
_NOTHING = {("snr", float("inf")): "no noise", ("condition", 0.0): "singular values as drawn"}


@dataclass(frozen=True)
class Picture:
    """How a CSV is drawn.

    Attributes
    ----------
    draw : callable
        Takes the rows and a folder, returns what it wrote there.
    whole, others : tuple of str
        The columns that it needs beside those of every CSV: of numbers without gaps, and others.
    name : str
        On the command line, where it is not the CSV's.
    """

    draw: Callable[[pd.DataFrame, Path], list[Path]]
    whole: tuple[str, ...] = POINTS
    others: tuple[str, ...] = ()
    name: str = ""


def is_complex(rows: pd.DataFrame) -> bool:
    """Whether the rows say that their problem is one of complex numbers."""
    return "numbers" in rows and bool((rows["numbers"] == "complex").any())


def has_l1_limit(rows: pd.DataFrame) -> bool:
    """Whether the limit of l1 minimisation, exact recovery without noise, is one of these rows."""
    options = [json.loads(text) for text in rows["problem_options"].unique()]
    noisy = any(given.get("snr", math.inf) < math.inf for given in options)
    if noisy or any(given.get("amplitudes") == "compressible" for given in options):
        return False
    success = str(rows["success"].iloc[0]) if "success" in rows else "exact"
    return success.startswith(("exact", "relative_error", "nmse")) and "noise" not in success


def footer(frame: pd.DataFrame, *parts: str, sizes: str = "") -> str:
    """Return the small print: the problem with its options, `sizes`, `parts`, seed, origin, gaps.

    Options that differ between rows are left to the titles of the panels.
    """
    problems = []
    for name, rows in frame.groupby(frame["problem"].str.partition("[")[0], sort=False):
        options = [json.loads(text) for text in rows["problem_options"].unique()]
        same = {k: v for k, v in options[0].items() if all(o.get(k) == v for o in options)}
        problems.append(f"{name}: {', '.join(worded(key, value) for key, value in same.items())}")
    facts = [*(values(frame, size) for size in sizes), *parts, *_coverage(frame)]
    facts += [f"seed {frame['seed'].iloc[0]}", *origin(frame)]
    return "\n".join([*problems, " · ".join(facts), *_gaps(frame)])


def origin(frame: pd.DataFrame) -> list[str]:
    """Name the recipe and the version that made the rows."""
    if "recipe" not in frame:  # not in files of earlier versions
        return []
    made = frame.iloc[0]
    return [f"recipe {made['recipe'][:8]}", f"sparsebench {made['version']}"]


def worded(key: str, value: Any) -> str:
    """Write an option for readers, who need not know which value means that there is nothing."""
    if (key, value) in _NOTHING:
        return _NOTHING[key, value]
    return f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"


def values(frame: pd.DataFrame, column: str) -> str:
    """Write the values of a column as ``n = 250, 500``."""
    return f"{column} = {', '.join(map(str, sorted(frame[column].unique())))}"


def counted(rows: pd.DataFrame) -> list[str]:
    """Say how many trials there are, and how many of them are time-outs."""
    return [f"{int(rows['trials'].sum()):,} trials", *time_outs(rows), "95 % intervals"]


def time_outs(rows: pd.DataFrame) -> list[str]:
    """Say how many solves are failures for having run out of time, which a machine may decide."""
    count = int(rows["time_outs"].sum()) if "time_outs" in rows else 0  # not in earlier files
    return [f"{count:,} time-out{'s' * (count > 1)}, counted as failures"] if count else []


def _coverage(frame: pd.DataFrame) -> list[str]:
    """Say how many intervals of thresholds are not just what they claim."""
    if "coverage" not in frame:  # not in files of earlier versions
        return []
    counts = frame["coverage"].value_counts(sort=False)
    return [f"{count} {kind}" for kind, count in counts.items() if count]


def _gaps(frame: pd.DataFrame) -> list[str]:
    """Say where a curve has no threshold, if there is such a place."""
    if "stopped" not in frame or not (none := frame["estimate"].isna()).any():
        return []
    curve = "curve" if "curve" in frame else "algorithm"
    where = "; ".join(
        f"{name} at m = {', '.join(map(str, ms))}"
        for name, ms in frame[none].groupby(curve, sort=False)["m"].unique().items()
    )
    return [f"no single point, as success falls and rises again with k: {where}"]
