"""One instance looked at closely: the planted spikes, the signal, and what each algorithm found."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from sparsebench.metrics import relative_residual, support_distance
from sparsebench.problems import draw_dictionary, draw_signal, is_ordered
from sparsebench.registry import Choice, ProblemChoice
from sparsebench.types import FloatArray, Instance, IntArray, Status


def solutions(
    problem: ProblemChoice,
    algorithms: list[Choice],
    *,
    n: int,
    m: int,
    k: int,
    trial: int,
    seed: int,
    window: int,
) -> pd.DataFrame:
    """Return one row a non-zero of x* and of every estimate, and one a sample of y.

    Columns: series ("truth", "y" or an algorithm's label), index, position, value, in_support
    (whether x* is non-zero there); support_distance, relative_residual, status and message of a
    whole series; ordered, window_start, window_end and the recipe of all. A failed solve counts as
    x = 0, which is one row without an index. Of complex numbers value is the modulus, and phase is
    in radians. Positions are in samples where atoms are ordered along
    a line, taken to be spread evenly over the m samples, and indices otherwise.

    Parameters
    ----------
    problem : ProblemChoice
    algorithms : list of Choice
    n, m, k, trial, seed : int
        The instance.
    window : int
        Length of the crowded region, in atoms.
    """
    instance = draw_signal(problem, draw_dictionary(problem, m, n, trial, seed), k, trial, seed)
    spacing = m / n if is_ordered(problem) else 1.0
    samples = np.arange(m)
    y = {"series": "y", "index": samples, "position": samples.astype(float)}
    y |= values_of(instance.y)
    frames = [_spikes("truth", instance.x, {}, instance, spacing), pd.DataFrame(y)]
    for chosen in algorithms:
        x, facts = _estimate(chosen, instance, k)
        frames.append(_spikes(chosen.label, x, facts, instance, spacing))
    start = crowded_region(instance.support, window, n)
    joined = pd.concat(frames, ignore_index=True)
    return joined.astype({"index": "Int64"}).assign(
        ordered=is_ordered(problem),
        window_start=(start - 0.5) * spacing,
        window_end=(start + window - 0.5) * spacing,
        problem=problem.label,
        problem_options=json.dumps(problem.recipe["options"]),
        m=m,
        n=n,
        k=k,
        trial=trial,
        seed=seed,
    )


def _spikes(
    series: str, x: FloatArray, facts: dict[str, Any], instance: Instance, spacing: float
) -> pd.DataFrame:
    """Return one row a non-zero of x, or one without an index where there is none."""
    support = np.flatnonzero(x)
    rows = pd.DataFrame(
        {
            "series": series,
            "index": support,
            "position": support * spacing,
            **values_of(x[support]),
            "in_support": instance.x[support] != 0,
        }
    ).assign(**facts)
    return rows if len(rows) else pd.DataFrame([{"series": series, **facts}])


def values_of(numbers: FloatArray) -> dict[str, FloatArray]:
    """Return the columns that hold numbers: value, or of complex ones its modulus, and phase."""
    if numbers.dtype.kind != "c":
        return {"value": numbers}
    return {"value": np.abs(numbers), "phase": np.angle(numbers)}


def crowded_region(support: IntArray, window: int, n: int) -> int:
    """Return the first index of the `window` indices with most spikes.

    Among windows that begin at a spike the first with most of them, moved so that its outer
    spikes are equally far from both ends, and inside of 0 .. n - 1.
    """
    held = np.searchsorted(support, support + window) - np.arange(support.size)
    first = int(held.argmax())
    outer = support[first] + support[first + held[first] - 1]
    return int(np.clip((outer - window + 1) // 2, 0, max(n - window, 0)))


def _estimate(chosen: Choice, instance: Instance, k: int) -> tuple[FloatArray, dict[str, Any]]:
    """Return an algorithm's x and what is said about it; whatever goes wrong is a failure."""
    message = ""
    try:
        result = chosen.solve(instance.dictionary, instance.y, k, **chosen.told_of(instance))
        status, x = Status(str(result.status)), result.x
    except (Exception, SystemExit) as error:
        status = Status.ERROR
        message = " ".join(f"{type(error).__name__}: {error}".split())
    if status.failed:
        x = np.zeros_like(instance.x)
    return x, {
        "support_distance": support_distance(instance.x, x),
        "relative_residual": relative_residual(instance.A, instance.y, x),
        "status": str(status),
        "message": message,
    }
