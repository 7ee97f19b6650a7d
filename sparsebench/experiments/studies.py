"""The studies around the two main figures, as data: what each varies, in two sizes.

It is long for that data, one entry a study, which nothing else can read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sparsebench.experiments.phase_transition import PhaseTransition
from sparsebench.experiments.sampling import GRID_TRIALS, HALF, LEVELS, MOST_TRIALS, NEARLY_ALL
from sparsebench.experiments.study import Point, Study
from sparsebench.registry import choose_algorithm, choose_algorithms, choose_problem, nearest_name
from sparsebench.types import InputError


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
    """

    what: str
    panels: tuple[Panel, ...]
    curves: dict[str, str]
    sizes: dict[str, dict[str, Any]]


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
    """

    what: str
    x: str
    groups: dict[str, dict[str, str]]
    sizes: dict[str, dict[str, Any]]


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


def _sizes(quick: tuple[float, ...], paper: tuple[float, ...], trials: int) -> dict[str, Any]:
    """Return the sizes of a sweep: values on the x axis by preset, and the trials of a paper."""
    return {
        "quick": {"n": 100, "x": quick, "trials": 5},
        "paper": {"n": 500, "x": paper, "trials": trials},
    }


def _named(names: str) -> dict[str, str]:
    """Return curves that are labelled with the name of their algorithm."""
    return {name: name for name in names.split(",")}


# Without CoSaMP, which takes longest and comes last on coherent atoms.
_USUAL = _named("omp,ompr,els,iht,niht,htp,nhtp,sp,sea,omp+sea,els+sea,homotopy,ridge,pinv")
_DECONVOLUTION = "deconvolution[width=3]"
_NOISE = (
    ("no noise", _DECONVOLUTION),
    *((f"{snr} dB", f"deconvolution[width=3,snr={snr}]") for snr in (60, 40, 30, 20)),
)
_SPARSITIES = (2, 5, 10), (5, 10, 20, 30, 40, 50)
# The two problems of the explorations: hard for every algorithm, one for each of the figures.
_HARD = (
    Panel("Gaussian, m = n/2, k = {k}", "gaussian", m=0.5, k=0.09, metrics=("exact",)),
    Panel("deconvolution, k = {k}", _DECONVOLUTION, k=0.04),
)

STUDIES: dict[str, Sweep | Thresholds | FullGrid] = {
    "noise": Sweep(
        "deconvolution with noise at five levels",
        tuple(Panel(title, problem) for title, problem in _NOISE),
        _USUAL,
        _sizes(*_SPARSITIES, 100),
    ),
    "tolerance": Sweep(
        "deconvolution scored by distances that forgive an error of one or two indices",
        tuple(
            Panel(title, problem, metrics=("support_distance", "near_1", "near_2"))
            for title, problem in (_NOISE[0], _NOISE[2])
        ),
        _USUAL,
        _sizes(*_SPARSITIES, 100),
    ),
    "widths": Sweep(
        "deconvolution with filters of four widths",
        tuple(
            Panel(f"filter width {width}", f"deconvolution[width={width}]")
            for width in (1, 2, 3, 5)
        ),
        _USUAL,
        _sizes(*_SPARSITIES, 100),
    ),
    "noise-level": Sweep(
        "deconvolution against the noise level: from where on does sparsity help?",
        tuple(Panel("k = {k}", "deconvolution[width=3,snr={snr}]", k=k) for k in (0.01, 0.04, 0.1)),
        {**_USUAL, "oracle": "oracle"},
        _sizes((0, 1e-12, 1e-6, 1e-2), (0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2), 100),
    ),
    "super-resolution": Sweep(
        "spikes on a grid finer than the samples, where no inverse exists",
        tuple(
            Panel(
                f"{factor} times finer, {noise}",
                f"super-resolution[factor={factor},width=3,snr={snr}]",
                m=1 / factor,
            )
            for factor in (2, 4)
            for noise, snr in (("no noise", "inf"), ("40 dB", "40"))
        ),
        _USUAL,
        # Fewer trials: without an inverse nearly all loops spend their 1000 iterations.
        _sizes(*_SPARSITIES, 40),
    ),
    "budget": Sweep(
        "what more iterations buy, beside restarts at equal cost",
        _HARD,
        {
            name: f"{name}[max_iter={{x}}]"
            for name in "sea,omp+sea,els+sea,htp,iht,htp-restarts,iht-restarts,els".split(",")
        },
        _sizes((1, 10, 100), (1, 3, 10, 30, 100, 300, 1000, 3000, 10000), 50),
    ),
    "eta": Sweep(
        "the step of support exploration from a warm start, beside the starts themselves",
        _HARD,
        {
            "omp+sea": "omp+sea[step={x}/L]",
            "els+sea": "els+sea[step={x}/L]",
            **_named("sea,omp,els"),
        },
        _sizes(
            (0.018, 1.8, 180), (0.018, 0.056, 0.18, 0.56, 1.8, 5.6, 18, 56, 180, 560, 1800), 100
        ),
    ),
    "steps": Thresholds(
        "the step of iterative hard thresholding and of hard thresholding pursuit",
        "m/n",
        {
            "IHT": _named("iht[step=1/L],iht[step=1.8/L],iht[step=1],niht"),
            "HTP": _named("htp[step=1/L],htp[step=1.8/L],htp[step=1],nhtp"),
        },
        {
            "quick": {"ns": (100,), "ratios": (0.3, 0.7), "half_width": 0.03, "max_trials": 40},
            "paper": {
                "ns": (500,),
                "ratios": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
                "half_width": 0.004,
                "max_trials": MOST_TRIALS,
            },
        },
    ),
    "finite-size": Thresholds(
        "thresholds as the size grows",
        "n",
        {"": _named("omp,htp,sp,homotopy")},
        {
            "quick": {"ns": (50, 100), "ratios": (0.5,), "half_width": 0.03, "max_trials": 40},
            "paper": {
                "ns": (250, 500, 1000, 2000),
                "ratios": (0.2, 0.5),
                "half_width": 0.004,
                "max_trials": MOST_TRIALS,
            },
        },
    ),
    "full-grid": FullGrid(
        "thresholds by adaptive sampling beside those of a full grid of other instances",
        "omp,htp,sea",
        {
            "quick": {
                "n": 60,
                "ratios": (0.3, 0.5),
                "half_widths": dict.fromkeys(LEVELS, 1.0),
                "max_trials": 60,
                "grid": 60,
            },
            "paper": {
                "n": 500,
                "ratios": (0.1, 0.3, 0.5),
                "half_widths": {NEARLY_ALL: 1.0, HALF: 2.0},
                "max_trials": GRID_TRIALS,
                "grid": GRID_TRIALS,
            },
        },
    ),
}


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
        **{column: frame[column] / frame["m"] for column in ("estimate", "lower", "upper")},
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
