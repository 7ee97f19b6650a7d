"""What a study runs, and the table of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsebench import problems as problems  # registers them
from sparsebench import solvers as solvers  # and the algorithms
from sparsebench.experiments.isometry import IsometryStudy
from sparsebench.experiments.levels import LEVELS
from sparsebench.experiments.phase_transition import PhaseTransition
from sparsebench.experiments.studies.kinds import STUDIES, FullGrid, Isometry, Sweep, size_named
from sparsebench.experiments.study import Point, Study
from sparsebench.registry import choose_algorithm, choose_algorithms, choose_problem
from sparsebench.statistics import COLUMNS


def experiments(name: str, preset: str, seed: int, time_limit: float) -> list[Any]:
    """Return what a study runs: one `Study` or `IsometryStudy`, or one `PhaseTransition` a size n.

    Raises
    ------
    InputError
        If there is no such study or preset (the nearest match is named).
    """
    size, study = size_named(name, preset), STUDIES[name]
    if isinstance(study, Sweep):
        return [Study(name, _points(study, **size), seed, time_limit)]
    if isinstance(study, Isometry):
        return [IsometryStudy(name, **size, seed=seed)]

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
            problem = choose_problem(panel.problem.format(x=f"{value:g}", snr=snr))
            chosen = {
                label: choose_algorithm(text.format(x=f"{value:g}"))
                for label, text in study.curves.items()
            }
            curves = {
                label: one
                for label, one in chosen.items()
                if one.complex_numbers or not problems.is_complex(problem)
            }
            points.append(
                Point(
                    panel=panel.title.format(k=k),
                    x=value,
                    problem=problem,
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
    if isinstance(study, (Sweep, Isometry)):
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
