"""Encoders at classification and clustering: which tables, over which seeds, and who is ahead.

References
----------
Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsebench.environment import need
from sparsebench.errors import InputError, check_whole, nearest_name
from sparsebench.experiments.learned.encoders import over_seeds
from sparsebench.experiments.presets import TASK_DATA, TASK_VARIANTS
from sparsebench.problems import images
from sparsebench.run.pool import pool
from sparsebench.seeding import digest
from sparsebench.statistics import mcnemar, merged_p_value, student_interval, wilson
from sparsebench.system.folders import cache_folder

if TYPE_CHECKING:  # torch is loaded when something runs
    from sparsebench.learned.tasks import Method, Task

#: Figures of the published tables, errors in %: p = 128, 256, 512 by (task, data set) and row.
PUBLISHED_SIZES = (128, 256, 512)
_NONE = math.nan
PUBLISHED: dict[tuple[str, str], dict[str, tuple[float, float, float]]] = {
    ("classification", "mnist"): {
        "tdsc": (0.71, 0.55, 0.53),
        "tuned lista": (0.74, 0.62, 0.57),
        "deep l0": (0.72, 0.58, 0.52),
        "deep M-sparse, M = 10": (_NONE, _NONE, 0.53),
        "deep M-sparse, M = 20": (_NONE, _NONE, 0.51),
        "deep M-sparse, M = 30": (_NONE, _NONE, 0.52),
    },
    ("classification", "indian-pines"): {
        "tdsc": (15.55, 15.27, 15.21),
        "tuned lista": (16.12, 16.05, 15.97),
        "deep l0": (15.20, 15.07, 15.01),
        "deep M-sparse, M = 10": (_NONE, _NONE, 13.52),
        "deep M-sparse, M = 20": (_NONE, _NONE, 14.07),
        "deep M-sparse, M = 30": (_NONE, _NONE, 15.00),
    },
    ("clustering", "coil20"): {
        "joint": (17.75, 17.14, 17.15),
        "graph network": (14.47, 14.17, 14.08),
        "deep l0": (14.52, 14.27, 14.06),
        "deep M-sparse, M = 10": (14.59, 14.25, 14.03),
    },
    ("clustering", "pie"): {
        "joint": (17.50, 17.26, 17.20),
        "graph network": (16.14, 15.58, 15.09),
        "deep l0": (16.08, 15.72, 15.41),
        "deep M-sparse, M = 10": (16.77, 16.46, 16.02),
    },
}
#: The data sets of each task.
DATA = {
    "classification": ("digits", "mnist", "indian-pines"),
    "clustering": ("digits", "coil20", "pie"),
}
CHOSEN = "deep M-sparse, M chosen"
#: Who is compared with whom, seed by seed.
_COMPARED = {
    "classification": [
        (CHOSEN, "deep l0"),
        ("deep l0", "tuned lista"),
        ("deep l0", "tdsc"),
        (CHOSEN, "tuned lista"),
        (CHOSEN, "tdsc"),
        ("deep l0", "untrained deep l0"),
        ("deep l0", "linear on l0 codes"),
        ("deep l0", "dense"),
    ],
    "clustering": [
        ("deep M-sparse", "deep l0"),
        ("deep l0", "joint"),
        ("deep l0", "graph network"),
        ("deep l0", "untrained deep l0"),
        ("deep l0", "k-means on pixels"),
        ("deep l0", "spectral"),
    ],
}
# What no dictionary and so no p matters to: computed for the first p alone.
WITHOUT_ATOMS = ("linear on pixels", "k-means on pixels", "spectral")
# Below it a p-value counts as a difference.
_LEVEL = 0.05
_NAMES = ["problem", "m", "n", "variant", "method", "size", "stages", "metric"]
_GRAPH_STAGES = 4
# What a method costs, in networks; the others are cheap.
_COSTS = {"tdsc": 3.0, "joint": 5.0, "graph network": 2.0, "tuned lista": 1.5}


@dataclass(frozen=True)
class TaskComparison:
    """A comparison at one task: everything that decides its rows.

    Attributes
    ----------
    task : str
        "classification" or "clustering".
    seeds : tuple of (str, int)
        Data sets, each with a number of seeds: at least two of dictionary, split and training.
    ps : tuple of int
        Dictionary sizes.
    sizes : tuple of int
        M of the M-sparse encoders.
    stages : tuple of int
        K: of all encoders the first, of two of them also the others.
    epochs : int
        0 for what the presets state for each data set.
    training, test : int
        Most samples to train and validate on, and to test on; 0 for all.
    variants : tuple of str
        Of the task's in `presets.TASK_VARIANTS`.
    """

    task: str
    seeds: tuple[tuple[str, int], ...]
    ps: tuple[int, ...]
    sizes: tuple[int, ...]
    stages: tuple[int, ...] = (2,)
    epochs: int = 0
    training: int = 0
    test: int = 0
    variants: tuple[str, ...] = ("default",)

    def __post_init__(self) -> None:
        for data, count in self.seeds:
            if data not in DATA[self.task]:
                raise InputError(nearest_name(data, DATA[self.task], "data set"))
            if count < 2:
                raise InputError("an interval needs at least 2 seeds")
        for variant in self.variants:
            if variant not in TASK_VARIANTS[self.task]:
                raise InputError(nearest_name(variant, TASK_VARIANTS[self.task], "variant"))
        for size in self.sizes:
            check_whole("M", size, 1, min(self.ps))

    def recipe(self) -> dict[str, Any]:
        """Return what determines the rows, as JSON data."""
        from sparsebench.learned.tasks import VERSION

        names = [data for data, _ in self.seeds]
        teachings = [
            asdict(self.teaching(variant, data)) for variant in self.variants for data in names
        ]
        return {
            "experiment": self.task,
            "version": VERSION,
            **asdict(self),
            "settings": [TASK_DATA[data] for data in names],
            "teachings": teachings,
        }

    def cells(self) -> list[tuple[str, Task]]:
        """Return the (variant, task) of the plan."""
        from sparsebench.learned.tasks import Task

        answer = []
        for (data, count), p, variant in product(self.seeds, self.ps, self.variants):
            changed = dict(TASK_VARIANTS[self.task][variant][0])
            options: dict[str, Any] = {"training": self.training, "test": self.test}
            if self.task == "clustering":
                options = {"split": False}
            for name in ("l1_weight", "penalty"):
                options[name] = TASK_DATA[data][name] * changed.pop(name, 1.0)
            answer += [(variant, Task(data, p, s, **options, **changed)) for s in range(count)]
        return answer

    def methods(self, p: int) -> list[Method]:
        """Return the rows of a cell; of several variants those that something can move."""
        from sparsebench.learned import classification, clustering
        from sparsebench.learned.tasks import Method

        first, middle = self.stages[0], self.sizes[len(self.sizes) // 2]
        several = len(self.variants) > 1
        sizes = (middle,) if several else self.sizes
        trained = [Method("deep l0", 0, first)]
        trained += [Method("deep M-sparse", size, first) for size in sizes]
        for depth in () if several else self.stages[1:]:
            trained += [Method("deep l0", 0, depth), Method("deep M-sparse", middle, depth)]
        own = [Method("joint"), Method("graph network", 0, _GRAPH_STAGES)]
        controls = clustering.CONTROLS
        if self.task == "classification":
            own = [Method("tdsc"), Method("tuned lista", 0, first)]
            controls = classification.CONTROLS
        fixed = [
            Method(kind, middle * kind.endswith("M-sparse"), first * kind.startswith("untrained"))
            for kind in (() if several else controls)
            if p == self.ps[0] or kind not in WITHOUT_ATOMS
        ]
        return fixed + own + trained

    def teaching(self, variant: str, data: str) -> Any:
        """Return how the methods of a variant are trained on a data set."""
        from sparsebench.learned import classification, clustering

        settings = dict(TASK_DATA[data][self.task])
        settings |= {"epochs": self.epochs} if self.epochs else {}
        changed = dict(TASK_VARIANTS[self.task][variant][1])
        module: Any = classification if self.task == "classification" else clustering
        usual = module.Teaching()
        descent = {
            name: changed.pop(f"descent_{name}", settings.pop(f"descent_{name}"))
            for name in ("rate", "epochs", "batch")
        }
        if self.epochs:
            descent["epochs"] = min(descent["epochs"], self.epochs)
        if self.task == "classification":
            settings["pretraining"] = max(settings["epochs"] // 2, 1)
        elif self.epochs:
            settings["pretraining"] = self.epochs
        schedule_fields = ("optimiser", "rate", "epochs", "phases", "batch")
        both = settings | changed
        schedule = {name: both.pop(name) for name in schedule_fields if name in both}
        return replace(
            usual,
            schedule=replace(usual.schedule, **schedule),
            descent=replace(usual.descent, **descent),
            **both,
        )


@dataclass(frozen=True)
class Found:
    """What a comparison has found.

    Attributes
    ----------
    rows : DataFrame
        One row a (data set, p, variant, seed, method, M, K, metric), its value in ``value``.
    pairs : DataFrame
        One row a pair of methods, data set and p; see `compared`.
    curves : DataFrame
        The validation loss (of clusterings the objective) after each epoch.
    """

    rows: pd.DataFrame
    pairs: pd.DataFrame
    curves: pd.DataFrame


def run(
    plan: TaskComparison,
    workers: int,
    report: Callable[[str, float], None] = lambda what, share: None,
) -> Found:
    """Run a plan: first the dictionaries of all cells, then each method, all kept in the cache.

    Parameters
    ----------
    plan : TaskComparison
    workers : int
        Processes; 1 runs in this one.
    report : callable
        Told what was done, and the share of the work that is done by now.
    """
    need("torch", "torch")
    need("sklearn", "scikit-learn")
    from sparsebench.learned.tasks import samples

    cells = plan.cells()
    for _, task in cells:  # what is missing or too small is said before anything runs
        samples(task)
    jobs = [(v, task, m) for v, task in cells for m in plan.methods(task.p)]
    # In units that are near enough: a dictionary and its codes cost about two networks.
    work = [2.0 * task.p for _, task in cells]
    work += [
        task.p * _COSTS.get(m.kind, 1.0 if m.kind.startswith("deep") else 0.2)
        for _, task, m in jobs
    ]
    done, found = 0.0, {}
    facts: list[dict[str, Any]] = []
    with pool(workers) as each:
        for index, known in each(_prepare, [(task,) for _, task in cells]):
            variant, task = cells[index]
            facts += [_row(variant, task, None, name, value) for name, value in known.items()]
            done += work[index]
            report(f"codes of {task.data}, p = {task.p}", done / sum(work))
        tasks = [(plan.task, task, m, plan.teaching(v, task.data)) for v, task, m in jobs]
        for index, measured in each(_measure, tasks):
            variant, task, method = jobs[index]
            found[index] = measured
            done += work[len(cells) + index]
            report(
                f"{method_name(*astuple(method))} on {task.data}, p = {task.p}", done / sum(work)
            )
    results = [(*jobs[index], found[index]) for index in range(len(jobs))]
    if plan.task == "classification":
        results += _with_chosen_sizes(results)
    rows, curves = list(facts), []
    for variant, task, method, measured in results:
        numbers = {name: float(value) for name, value in measured.items() if value.ndim == 0}
        rows += [_row(variant, task, method, name, value) for name, value in numbers.items()]
        if method.kind != CHOSEN and len(measured["losses"]):
            curves += [
                _row(variant, task, method, "loss", float(value)) | {"epoch": epoch}
                for epoch, value in enumerate(measured["losses"])
            ]
    return Found(pd.DataFrame(rows), compared(plan.task, results), _curves(curves))


def _curves(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return (
        pd.DataFrame(rows)
        .rename(columns={"value": "loss"})
        .drop(columns=["metric", "problem_options"])
    )


def _with_chosen_sizes(results: list[Any]) -> list[Any]:
    """Return, for each cell, the M-sparse encoder whose M the validation part chooses.

    The least validation error, of equal ones the smallest M.
    """
    by_cell: dict[Any, list[Any]] = {}
    for variant, task, method, measured in results:
        if method.kind == "deep M-sparse":
            by_cell.setdefault((variant, task), []).append((method, measured))
    answer = []
    for (variant, task), ones in by_cell.items():
        depth = min(method.stages for method, _ in ones)
        own = [one for one in ones if one[0].stages == depth]
        if len(own) > 1:
            method, measured = min(own, key=lambda one: (float(one[1]["validation"]), one[0].size))
            chosen = measured | {"chosen": np.array(float(method.size))}
            answer.append((variant, task, replace(method, kind=CHOSEN, size=0), chosen))
    return answer


def method_name(kind: str, size: int, stages: int) -> str:
    """Return what tables and pictures call a row."""
    name = f"{kind}, M = {size}" if size else kind
    return f"{name}, {stages} stages" if stages not in (0, 2) else name


def compared(task: str, results: list[Any]) -> pd.DataFrame:
    """Return the paired differences of the errors of methods that met the same seeds.

    Columns: problem, n, variant, first, second, estimate, lower, upper (error of the first less
    that of the second in points, Student's interval over seeds), seeds, p_value (of
    classifications: McNemar's test of each seed on the same test samples, merged), verdict
    ("lower" or "higher", where interval and p-value both tell the two apart, "tie" elsewhere),
    published.
    """
    cells: dict[Any, dict[tuple[str, int, int], dict[int, Any]]] = {}
    for variant, one, method, measured in results:
        key = (one.data, one.p, variant)
        kind = (method.kind, method.size, method.stages)
        cells.setdefault(key, {}).setdefault(kind, {})[one.seed] = measured
    rows = []
    for (data, p, variant), methods in cells.items():
        for first, second in _COMPARED[task]:
            a, b = _named(methods, first), _named(methods, second)
            if a is None or b is None:
                continue
            rows.append(
                {
                    "problem": data,
                    "n": p,
                    "variant": variant,
                    "first": first if first != "deep M-sparse" else _name(methods, first),
                    "second": second,
                    **_difference(a, b),
                    "published": _published_difference(task, data, p, first, second),
                }
            )
    return pd.DataFrame(rows)


def _name(methods: dict[tuple[str, int, int], Any], kind: str) -> str:
    size = next(key[1] for key in methods if key[0] == kind)
    return f"{kind}, M = {size}"


def _named(methods: dict[tuple[str, int, int], Any], kind: str) -> dict[int, Any] | None:
    """Return the seeds of the first method of a kind, of the fewest stages."""
    found = [key for key in methods if key[0] == kind]
    return methods[found[0]] if found else None


def _difference(first: dict[int, Any], second: dict[int, Any]) -> dict[str, Any]:
    seeds = sorted(set(first) & set(second))
    differences = [float(first[s]["error"] - second[s]["error"]) for s in seeds]
    estimate, lower, upper = student_interval(differences)
    p_value = _NONE
    if "correct" in first[seeds[0]]:
        p_values = []
        for s in seeds:
            one, other = first[s]["correct"].astype(bool), second[s]["correct"].astype(bool)
            p_values.append(mcnemar(int((one & ~other).sum()), int((other & ~one).sum())))
        p_value = merged_p_value(p_values)
    apart = (lower > 0 or upper < 0) and not p_value > _LEVEL
    verdict = ("lower" if estimate < 0 else "higher") if apart else "tie"
    return {
        "estimate": estimate,
        "lower": lower,
        "upper": upper,
        "seeds": len(seeds),
        "p_value": p_value,
        "verdict": verdict,
    }


def _published_difference(task: str, data: str, p: int, first: str, second: str) -> float:
    """Return the published difference in points; NaN where there is none."""
    table = PUBLISHED.get((task, data), {})
    if p not in PUBLISHED_SIZES:
        return _NONE
    place = PUBLISHED_SIZES.index(p)

    def figure(kind: str) -> float:
        own = [row[place] for name, row in table.items() if name.partition(",")[0] == kind]
        return float(np.nanmin(own)) if own and not np.isnan(own).all() else _NONE

    return figure(first.partition(",")[0]) - figure(second.partition(",")[0])


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean and Student's 95 % interval over seeds of every metric.

    Errors are clipped to 0 .. 100; where all seeds have the same one, which leaves Student's
    interval a point, it is Wilson's of as many samples as were judged.
    """
    found = over_seeds(rows, _NAMES)
    error = found["metric"] == "error"
    found.loc[error, ["lower", "upper"]] = found.loc[error, ["lower", "upper"]].clip(0.0, 100.0)
    judged = found[found["metric"] == "judged"].set_index(_NAMES[:-1])["estimate"]
    for place in found.index[error & (found["upper"] == found["lower"])]:
        one = found.loc[place]
        count = judged[tuple(one[name] for name in _NAMES[:-1])]
        low, high = wilson(one["estimate"] / 100 * count, count)
        found.loc[place, ["lower", "upper"]] = 100 * float(low), 100 * float(high)
    return found


def labelled_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the errors over seeds, with what tables call a row and its published figure."""
    found = summary(rows[rows["metric"].isin(("error", "judged"))])
    found = found[found["metric"] == "error"].reset_index(drop=True)
    kinds = zip(found["method"], found["size"], found["stages"], strict=True)
    labels = [method_name(*one) for one in kinds]
    places = zip(found["problem"], found["n"], labels, strict=True)
    return found.assign(label=labels, published=[published(*place) for place in places])


def published(data: str, p: int, label: str) -> float:
    """Return the published error of a row in %; NaN where there is none."""
    for (_, name), table in PUBLISHED.items():
        if name == data and label in table and p in PUBLISHED_SIZES:
            return table[label][PUBLISHED_SIZES.index(p)]
    return _NONE


def _prepare(task: Task) -> dict[str, float]:
    from sparsebench.learned.tasks import prepared

    return prepared(task).facts


def _measure(task: str, cell: Task, method: Method, teaching: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays of a method, from the cache if they are there."""
    import torch

    from sparsebench.learned import classification, clustering
    from sparsebench.learned.tasks import VERSION

    torch.set_num_threads(1)
    run_one = classification.classify if task == "classification" else clustering.cluster
    recipe = {
        task: VERSION,
        "data": asdict(cell),
        "method": asdict(method),
        "teaching": asdict(teaching),
    }
    checkpoint = cache_folder() / f"{digest(recipe)[:24]}.pt"
    kept = images.cached(recipe, lambda: run_one(cell, method, teaching, checkpoint))
    for path in (checkpoint, checkpoint.with_suffix(".regressor.pt")):
        path.unlink(missing_ok=True)
    return kept


def _row(
    variant: str, task: Task, method: Method | None, metric: str, value: float
) -> dict[str, Any]:
    from sparsebench.problems.labelled import SIZES

    options = {k: v for k, v in asdict(task).items() if k not in ("seed", "p", "data")}
    return {
        "problem": task.data,
        "m": SIZES[task.data][0],
        "n": task.p,
        "seed": task.seed,
        "variant": variant,
        "problem_options": json.dumps(options),
        "method": method.kind if method else "data",
        "size": method.size if method else 0,
        "stages": method.stages if method else 0,
        "metric": metric,
        "value": value,
    }
