"""The kinds of studies around the two main figures: what one runs, and its table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from sparsebench.experiments.phase_transition import PhaseTransition
from sparsebench.experiments.sampling import LEVELS
from sparsebench.experiments.study import Point, Study
from sparsebench.registry import choose_algorithm, choose_algorithms, choose_problem, nearest_name
from sparsebench.statistics import COLUMNS
from sparsebench.types import InputError

# Of a picture: the label of its x axis, and what `report.multiples` is told of it beside.
Axis = tuple[str, dict[str, Any]]
#: What is studied, by name; each file of this room adds its own.
STUDIES: dict[str, Sweep | Thresholds | FullGrid] = {}


@dataclass(frozen=True)
class Panel:
    """One panel of a sweep.

    ``{x}`` in the problem stands for the value on the x axis and ``{snr}`` for -20 log10 of it;
    ``{k}`` in the title for the sparsity.

    Attributes
    ----------
    title, problem : str
    m : float
        Measurements, in units of n.
    k : float
        Non-zeros, in units of n; 0: the value on the x axis is k.
    metrics : tuple of str
    """

    title: str
    problem: str
    m: float = 1.0
    k: float = 0.0
    metrics: tuple[str, ...] = ("support_distance",)


@dataclass(frozen=True)
class Sweep:
    """Curves over values of x in several panels, a stated number of trials at each point.

    Attributes
    ----------
    what : str
        One line.
    panels : tuple of Panel
    curves : dict of str to str
        Label and algorithm; ``{x}`` in the algorithm stands for the value on the x axis.
    sizes : dict of str to dict
        ``n``, ``x`` (values on the x axis) and ``trials``, by preset.
    axes : dict of str to Axis
        The pictures, by name.
    """

    what: str
    panels: tuple[Panel, ...]
    curves: dict[str, str]
    sizes: dict[str, dict[str, Any]]
    axes: dict[str, Axis]


@dataclass(frozen=True)
class Thresholds:
    """Sparsity ratios k/m at which 95 % and 50 % of supports are recovered, with i.i.d. atoms.

    Attributes
    ----------
    what : str
        One line.
    x : str
        On the x axis: "n", with a panel a ratio and level, or "m/n", with one a group and level.
    groups : dict of str to dict
        The curves, label and algorithm, by the panel they belong to.
    sizes : dict of str to dict
        ``ns``, ``ratios`` (m/n), ``half_width`` in units of n and ``max_trials``, by preset.
    axes : dict of str to Axis
        The pictures, by name.
    """

    what: str
    x: str
    groups: dict[str, dict[str, str]]
    sizes: dict[str, dict[str, Any]]
    axes: dict[str, Axis]


@dataclass(frozen=True)
class FullGrid:
    """Thresholds by adaptive sampling, and by a full grid of other instances.

    Attributes
    ----------
    what : str
        One line.
    algorithms : str
    sizes : dict of str to dict
        ``n``, ``ratios`` (m/n), ``half_widths`` by level, ``max_trials`` and ``grid`` (trials at
        every k), by preset.
    """

    what: str
    algorithms: str
    sizes: dict[str, dict[str, Any]]
    axes: ClassVar[dict[str, Axis]] = {}  # a picture of its own


def named(names: str) -> dict[str, str]:
    """Return curves that are labelled with the name of their algorithm."""
    return {name: name for name in names.split(",")}


def experiments(name: str, preset: str, seed: int, time_limit: float) -> list[Any]:
    """Return what a study runs: one `Study`, or one `PhaseTransition` a size n.

    Raises
    ------
    InputError
        If there is no such study or preset (the nearest match is named).
    """
    if name not in STUDIES:
        raise InputError(nearest_name(name, STUDIES, "study"))
    study = STUDIES[name]
    if preset not in study.sizes:
        raise InputError(nearest_name(preset, study.sizes, "preset"))
    size = study.sizes[preset]
    if isinstance(study, Sweep):
        return [Study(name, _points(study, **size), seed, time_limit)]

    def diagram(
        n: int, algorithms: str | list[str], half_widths: dict[float, float], grid: int, what: str
    ) -> PhaseTransition:
        return PhaseTransition(
            algorithms=choose_algorithms(algorithms),
            problem=choose_problem("gaussian"),
            n=n,
            ms=[round(ratio * n) for ratio in size["ratios"]],
            half_widths=half_widths,
            max_trials=size["max_trials"],
            grid=grid,
            # Instances of its own: those of a grid come from the next root seed.
            seed=seed + (grid > 0),
            time_limit=time_limit,
            name=f"{name}, {what}",
        )

    if isinstance(study, FullGrid):
        return [
            diagram(size["n"], study.algorithms, size["half_widths"], grid, what)
            for grid, what in ((0, "adaptive"), (size["grid"], "every k"))
        ]
    curves = [text for group in study.groups.values() for text in group.values()]
    return [
        diagram(n, curves, dict.fromkeys(LEVELS, size["half_width"] * n), 0, f"n = {n}")
        for n in size["ns"]
    ]


def _points(study: Sweep, n: int, x: Sequence[float], trials: int) -> list[Point]:
    points = []
    for panel in study.panels:
        for value in x:
            k = round(panel.k * n) if panel.k else int(value)
            snr = f"{-20 * math.log10(value):g}" if value else "inf"
            curves = {
                label: choose_algorithm(text.format(x=f"{value:g}"))
                for label, text in study.curves.items()
            }
            points.append(
                Point(
                    panel=panel.title.format(k=k),
                    x=value,
                    problem=choose_problem(panel.problem.format(x=f"{value:g}", snr=snr)),
                    m=round(panel.m * n),
                    n=n,
                    k=k,
                    trials=trials,
                    curves=curves,
                    metrics=panel.metrics,
                )
            )
    return points


def estimates(name: str, ran: Sequence[Any]) -> pd.DataFrame:
    """Return one row a point of a study whose experiments ran, with its interval."""
    study = STUDIES[name]
    if isinstance(study, Sweep):
        return ran[0].estimates()
    if isinstance(study, FullGrid):
        return _both_designs(*ran)
    frame = pd.concat([experiment.thresholds() for experiment in ran], ignore_index=True)
    curves = {
        choose_algorithm(text).label: (title, label)
        for title, group in study.groups.items()
        for label, text in group.items()
    }
    groups, labels = zip(*frame["algorithm"].map(curves), strict=True)
    ratios = frame["m"] / frame["n"]
    shares = frame["level"].map("{:.0%} of supports".format)
    where = ratios.map("m/n = {:g}".format) if study.x == "n" else pd.Series(groups)
    frame = frame.assign(
        panel=where + ", " + shares,
        curve=labels,
        x=frame["n"] if study.x == "n" else ratios,
        metric="ratio",
        **{column: frame[column] / frame["m"] for column in COLUMNS},
    )
    first = ["panel", "curve", "x", "metric"]
    ordered = frame.sort_values("level", ascending=False, kind="stable")
    told = [",".join(choose_algorithm(text).told) for text in ordered["algorithm"]]
    return ordered[first + [c for c in frame if c not in first]].assign(told=told)


def _both_designs(adaptive: PhaseTransition, grid: PhaseTransition) -> pd.DataFrame:
    """Return the thresholds of both designs, and the success rate at every k of the grid."""
    thresholds = grid.thresholds()
    options = thresholds["problem_options"].iloc[0]
    frames = [
        adaptive.thresholds().assign(quantity="adaptive"),
        thresholds.assign(quantity="full grid"),
        grid.cells().assign(quantity="rate", seed=grid.seed, problem_options=options),
    ]
    kept = ["quantity", "algorithm", "problem", "m", "n", "level", "k"]
    kept += ["estimate", "lower", "upper", "trials", "time_outs"]
    kept += ["seed", "problem_options", "stopped"]
    return pd.concat(frames, ignore_index=True)[kept]
