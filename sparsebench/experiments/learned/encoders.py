"""Deep l0 encoders beside the iterations they unroll: which tables, over which seeds.

References
----------
Wang, Ling and Huang, Learning Deep l0 Encoders, AAAI 2016.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sparsebench.environment import need
from sparsebench.errors import InputError, nearest_name
from sparsebench.experiments.presets import VARIANTS
from sparsebench.problems import images
from sparsebench.run.pool import pool
from sparsebench.seeding import digest
from sparsebench.statistics import COLUMNS, student_interval
from sparsebench.system.folders import cache_folder

if TYPE_CHECKING:  # torch is loaded when something runs
    from sparsebench.learned.encoders import Data, Method, Teaching

#: Figures of the published tables, for p = 128, 256, 512 on MNIST: (problem, metric) by row.
PUBLISHED: dict[tuple[str, str], dict[str, tuple[float, float, float]]] = {
    ("penalty", "prediction"): {
        "2 iterations": (17.52, 18.73, 22.40),
        "5 iterations": (8.14, 6.75, 9.37),
        "10 iterations": (3.55, 4.33, 4.08),
        "baseline": (8.94, 8.76, 10.17),
        "encoder, 2 stages": (0.92, 0.91, 0.81),
    },
    ("size", "prediction"): {
        "2 iterations": (17.23, 19.27, 19.31),
        "5 iterations": (10.84, 12.52, 12.40),
        "10 iterations": (5.67, 5.44, 5.20),
        "baseline": (14.04, 16.76, 12.86),
        "encoder, 2 stages": (2.94, 2.87, 3.29),
    },
    ("size", "support"): {
        "2 iterations": (10.8, 13.4, 13.2),
        "5 iterations": (6.1, 8.0, 8.8),
        "10 iterations": (4.6, 5.6, 5.3),
        "encoder, 2 stages": (2.2, 2.7, 2.7),
    },
}
PUBLISHED_SIZES = (128, 256, 512)
_ITERATIONS = (1, 2, 3, 4, 5, 10)
# Places in the tables.
_PLACES = {
    name: place
    for names in (tuple(VARIANTS), ("zero", "l1"), ("data", "iterative", "baseline", "encoder"))
    for place, name in enumerate(names)
}
# Below it a ramp is a jump, in single precision.
_SMALLEST_SIGMA = 1e-8


@dataclass(frozen=True)
class EncoderComparison:
    """A comparison: everything that decides its rows.

    Attributes
    ----------
    images : str
    ps : tuple of int
        Dictionary sizes.
    size : int
        M.
    penalty : float
        lambda.
    seeds : tuple of int
        At least two, each with a dictionary, a training order and dropout of its own.
    stages : tuple of int
        Depths of the encoders from zero; from the l1 start the first one only.
    epochs : int
    training, test : int
        Most images; 0 for all.
    variants : tuple of str
        Of `VARIANTS`.
    """

    images: str
    ps: tuple[int, ...]
    size: int
    penalty: float
    seeds: tuple[int, ...]
    stages: tuple[int, ...]
    epochs: int
    training: int = 0
    test: int = 0
    variants: tuple[str, ...] = ("default",)

    def __post_init__(self) -> None:
        if len(self.seeds) < 2:
            raise InputError("an interval needs at least 2 seeds")
        for variant in self.variants:
            if variant not in VARIANTS:
                raise InputError(nearest_name(variant, VARIANTS, "variant"))

    def recipe(self) -> dict[str, Any]:
        """Return what determines the rows, as JSON data."""
        from sparsebench.learned.encoders import VERSION

        teachings = [asdict(self.teaching(variant)) for variant in self.variants]
        return {
            "experiment": "encoders",
            "version": VERSION,
            **asdict(self),
            "teachings": teachings,
        }

    def cells(self) -> list[tuple[str, Data]]:
        """Return the (variant, data) of the plan."""
        from sparsebench.learned.encoders import Data

        shared = {f: getattr(self, f) for f in ("images", "penalty", "size", "training", "test")}
        return [
            (variant, Data(p=p, seed=seed, **shared, **VARIANTS[variant][0]))
            for p in self.ps
            for variant in self.variants
            for seed in self.seeds
        ]

    def parts(self) -> list[tuple[Method, ...]]:
        """Return the methods of a cell by what is run at once: all iterations, then each network.

        Several variants are compared by encoders of the first depth alone.
        """
        from sparsebench.learned.encoders import Method

        kinds = ("penalty", "size")
        iterations = tuple(
            Method("iterative", problem, count, start)
            for problem in kinds
            for start in ("zero", "l1")
            for count in _ITERATIONS
        )
        trained = []
        for problem in kinds:
            depths = self.stages if len(self.variants) == 1 else self.stages[:1]
            trained += [Method("encoder", problem, depth) for depth in depths]
            trained.append(Method("encoder", problem, self.stages[0], "l1"))
            if len(self.variants) == 1:
                trained.append(Method("baseline", problem))
        return [iterations, *((method,) for method in trained)]

    def teaching(self, variant: str) -> Teaching:
        """Return how the encoders of a variant are trained."""
        from sparsebench.learned.encoders import Teaching

        changed = dict(VARIANTS[variant][1])
        if changed.get("phases") == "per epoch":
            changed["phases"] = tuple(
                (1 / self.epochs, 1.0, max(0.2 * 10.0**-epoch, _SMALLEST_SIGMA))
                for epoch in range(self.epochs)
            )
        return Teaching(epochs=self.epochs, **changed)


def run(
    plan: EncoderComparison,
    workers: int,
    report: Callable[[str, float], None] = lambda what, share: None,
) -> pd.DataFrame:
    """Run a plan: first the codes of every cell, then its networks, each kept in the cache.

    Parameters
    ----------
    plan : EncoderComparison
    workers : int
        Processes; 1 runs in this one.
    report : callable
        Told what was done, and the share of the work that is done by now.

    Returns
    -------
    DataFrame
        One row a (p, variant, seed, problem, start, method, stages, metric), its value in the
        column ``value``; facts of a dictionary and its codes are rows of the method "data".
    """
    need("torch", "torch")
    images.load(plan.images)  # what is missing is said before anything runs
    cells, parts = plan.cells(), plan.parts()
    jobs = [(variant, data, part) for variant, data in cells for part in parts]
    # In units that are near enough: a dictionary and its codes cost about two networks.
    work = [2.0 * data.p for _, data in cells]
    work += [data.p * (1 + part[0].stages) * (len(part) == 1) for _, data, part in jobs]
    done, rows = 0.0, []
    tasks = [(data, part, plan.teaching(variant)) for variant, data, part in jobs]
    with pool(workers) as each:
        for index, facts in each(_prepare, [(data,) for _, data in cells]):
            variant, data = cells[index]
            rows += [_row(variant, data, None, name, value) for name, value in facts.items()]
            done += work[index]
            report(f"codes, p = {data.p}", done / sum(work))
        for index, found in each(_measure, tasks):
            variant, data, part = jobs[index]
            for method, metrics in zip(part, found, strict=True):
                rows += [_row(variant, data, method, name, v) for name, v in metrics.items()]
            done += work[len(cells) + index]
            report(f"{part[0].kind}, p = {data.p}", done / sum(work))
    order = ["n", "variant", "problem", "start", "method", "stages", "metric", "seed"]
    return pd.DataFrame(rows).sort_values(
        order,
        kind="stable",
        ignore_index=True,
        key=lambda column: column.map(lambda value: _PLACES.get(value, value)),
    )


def method_names(rows: pd.DataFrame) -> list[str]:
    """Return what the tables and pictures call each row: "10 iterations", "encoder, 2 stages"."""
    names = []
    for method, stages in zip(rows["method"], rows["stages"], strict=True):
        if method == "iterative":
            names.append(f"{stages} iteration{'s' if stages > 1 else ''}")
        else:
            names.append(f"encoder, {stages} stages" if method == "encoder" else str(method))
    return names


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean and Student's 95 % interval over seeds, clipped at 0, of every metric."""
    names = ["images", "m", "n", "variant", "problem", "start", "method", "stages", "metric"]
    found = over_seeds(rows, names)
    return found.assign(lower=found["lower"].clip(lower=0.0))


def over_seeds(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return mean, Student's 95 % interval and number of the values of equal names."""
    answer = []
    for key, part in rows.groupby(names, sort=False):
        estimates = dict(zip(COLUMNS, student_interval(part["value"]), strict=True))
        answer.append(dict(zip(names, key, strict=True)) | estimates | {"trials": len(part)})
    return pd.DataFrame(answer)


def _prepare(data: Data) -> dict[str, float]:
    from sparsebench.learned.encoders import codes

    return {name: float(value) for name, value in codes(data).items() if value.ndim == 0}


def _measure(data: Data, part: tuple[Method, ...], teaching: Teaching) -> list[dict[str, float]]:
    """Return the metrics of some methods, from the cache if they are there."""
    import torch

    from sparsebench.learned.encoders import VERSION, compare

    torch.set_num_threads(1)
    iterative = part[0].kind == "iterative"
    recipe = {
        "encoders": VERSION,
        "data": asdict(data),
        "methods": [asdict(method) for method in part],
        "teaching": None if iterative else asdict(teaching),
    }
    checkpoint = cache_folder() / f"{digest(recipe)[:24]}.pt"

    def make() -> dict[str, Any]:
        found = [compare(data, method, teaching, checkpoint) for method in part]
        return {name: np.array([one[name] for one in found]) for name in found[0]}

    kept = images.cached(recipe, make)
    checkpoint.unlink(missing_ok=True)
    return [{name: float(values[i]) for name, values in kept.items()} for i in range(len(part))]


def _row(
    variant: str, data: Data, method: Method | None, metric: str, value: float
) -> dict[str, Any]:
    options = {k: v for k, v in asdict(data).items() if k not in ("seed", "p", "images")}
    return {
        "images": data.images,
        "m": images.load(data.images).size,
        "n": data.p,
        "seed": data.seed,
        "variant": variant,
        "problem": method.problem if method else "both",
        "problem_options": json.dumps(options),
        "start": method.start if method else "l1",
        "method": method.kind if method else "data",
        "stages": method.stages if method else 0,
        "metric": metric,
        "value": value,
    }
