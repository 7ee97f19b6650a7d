"""The tables of deep l0 encoders: those of the paper, of the open choices, and of the data."""

from __future__ import annotations

from itertools import product
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table

from sparsebench.experiments.learned.encoders import (
    PUBLISHED,
    PUBLISHED_SIZES,
    EncoderComparison,
    method_names,
)
from sparsebench.report import console
from sparsebench.report.tables import duration

_TITLES = {
    (
        "penalty",
        "prediction",
    ): "Table 1: prediction error in %, l0-regularised, lambda = {penalty:g}",
    ("size", "prediction"): "Table 2: prediction error in %, M-sparse, M = {size}",
    ("size", "support"): "Table 3: support errors (mean number of places), M-sparse, M = {size}",
    ("penalty", "support"): "Support errors, l0-regularised (not in the paper)",
}
# What is said of the data: the metric of each column, and its form.
_DATA = {
    "coherence": ("coherence", ".3f"),
    "||D||²": ("spectral", ".1f"),
    "condition": ("condition", ".3g"),
    "steps": ("learning_steps", ".0f"),
    "l1 objective": ("l1_objective_test", ".2f"),
    "non-zeros, l0": ("penalty_non-zeros", ".1f"),
    "settled, l0": ("penalty_settled", ".4f"),
    "settled, M": ("size_settled", ".4f"),
    "l1 gap": ("l1_gap", ".3f"),
}


def print_encoders(found: pd.DataFrame, plan: EncoderComparison) -> None:
    """Print a plan's tables, what its images and dictionaries are, and what the numbers mean."""
    if len(plan.variants) > 1:
        _print_variants(found, plan)
    else:
        for (problem, metric), title in _TITLES.items():
            _print_comparison(found, plan, problem, metric, title)
    _print_data(found, plan)


def _cell(row: pd.Series) -> str:
    """Write a mean with the half-width of its interval."""
    return f"{row['estimate']:.2f} ±{row['upper'] - row['estimate']:.2f}"


def _print_comparison(
    found: pd.DataFrame, plan: EncoderComparison, problem: str, metric: str, title: str
) -> None:
    """Print one of the paper's tables, with its figures beside ours where the images are its."""
    part = found[(found["problem"] == problem) & (found["method"] != "data")]
    published = PUBLISHED.get((problem, metric), {}) if plan.images == "mnist" else {}
    table = Table("start", "method", box=box.ROUNDED, title=title.format(**vars(plan)))
    for p in plan.ps:
        table.add_column(f"p = {p}", justify="right", no_wrap=True)
        if published and p in PUBLISHED_SIZES:
            table.add_column("paper", justify="right", no_wrap=True)
    table.add_column("1,000 codes", justify="right", no_wrap=True)
    table.add_column("one by one", justify="right", no_wrap=True)
    part = part.assign(name=method_names(part))
    for (start, name), rows in part.groupby(["start", "name"], sort=False):
        if name in ("1 iteration", "3 iterations", "4 iterations"):
            continue
        if metric == "support" and name == "baseline":
            continue  # its codes have no zeros
        cells = [str(start), str(name)]
        for p in plan.ps:
            own = rows[(rows["n"] == p) & (rows["metric"] == metric)].iloc[0]
            cells.append(_cell(own))
            if published and p in PUBLISHED_SIZES:
                figures = published.get(str(name))
                cells.append(f"{figures[PUBLISHED_SIZES.index(p)]:g}" if figures else "")
        largest = rows[rows["n"] == max(plan.ps)].set_index("metric")["estimate"]
        cells += [duration(largest["seconds"]), duration(largest["seconds_single"])]
        table.add_row(*cells)
    console.print_whole(table)


def _print_variants(found: pd.DataFrame, plan: EncoderComparison) -> None:
    """Print what each open choice does to the encoder of the first depth."""
    keys = ["n", "variant", "problem", "start", "metric"]
    cells = found[found["method"] == "encoder"].set_index(keys).apply(_cell, axis=1)
    columns = list(product(("penalty", "size"), ("zero", "l1"), ("prediction", "support")))
    for p in plan.ps:
        title = f"encoder, {plan.stages[0]} stages, p = {p}"
        table = Table("variant", box=box.ROUNDED, title=title)
        for problem, start, metric in columns:
            unit = "%" if metric == "prediction" else "places"
            table.add_column(f"{problem}, {start}, {unit}", justify="right")
        for variant in plan.variants:
            table.add_row(variant, *(cells[p, variant, *column] for column in columns))
        console.print_whole(table)


def _print_data(found: pd.DataFrame, plan: EncoderComparison) -> None:
    """Say which images, and what the dictionaries and their codes are like."""
    data = found[found["method"] == "data"]
    table = Table("variant", "p", *_DATA, box=box.ROUNDED, title="dictionaries and optimal codes")
    for (variant, p), rows in data.groupby(["variant", "n"], sort=False):
        values = rows.set_index("metric")["estimate"]
        cells = [format(values[metric], form) for metric, form in _DATA.values()]
        table.add_row(str(variant), str(p), *cells)
    console.print_whole(table)
    diverged = found[(found["metric"] == "diverged") & (found["estimate"] > 0)]
    row: Any
    for row in diverged.itertuples():
        console.out.print(
            f"diverged: {row.variant}, p = {row.n}, {row.method}, {row.problem}, "
            f"{row.stages} stages from {row.start}, in {row.estimate:.0%} of the seeds"
        )
    images = "MNIST, 16 x 16"
    if plan.images == "digits":
        images = "the 8 x 8 digits embedded in scikit-learn, not on MNIST (--preset paper)"
    console.say(
        f"ran on {images}; prediction error is 100 Σ||a - a*||² / Σ||a*||² over the test images; "
        f"± is the half-width of the 95 % interval over {len(plan.seeds)} seeds (of dictionary and "
        "training); start l1: the l1 solution is given, and its cost is not counted"
    )
