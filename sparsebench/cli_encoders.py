"""The command that trains deep l0 encoders and prints their tables."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich import box
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sparsebench.cli import (
    Out,
    Quiet,
    Workers,
    _at_least_one,
    _check_out,
    _duration,
    _news,
    _out,
    _preset,
    _print_whole,
    _traced,
    _whole_numbers,
    _write_csv,
    app,
)
from sparsebench.experiments import presets
from sparsebench.experiments.encoders import (
    PUBLISHED,
    PUBLISHED_SIZES,
    Plan,
    method_names,
    run,
    summary,
)
from sparsebench.run.progress import Lines, is_live, time_left
from sparsebench.system.resources import default_workers
from sparsebench.system.stopping import when_stopped
from sparsebench.types import check_whole

_TITLES = {
    (
        "penalty",
        "prediction",
    ): "Table 1: prediction error in %, l0-regularised, lambda = {penalty:g}",
    ("size", "prediction"): "Table 2: prediction error in %, M-sparse, M = {size}",
    ("size", "support"): "Table 3: support errors (mean number of places), M-sparse, M = {size}",
    ("penalty", "support"): "Support errors, l0-regularised (not in the paper)",
}


@app.command(
    "encoders",
    epilog="""
**Examples**

`python -m sparsebench encoders`

`python -m sparsebench encoders --preset sensitivity`

`SPARSEBENCH_DATA=~/data python -m sparsebench encoders --preset paper`

`python -m sparsebench encoders --preset paper --p 128 --training 10000 --test 2000 --epochs 15`
""",
)
def encoders(
    preset: Annotated[
        str, typer.Option("--preset", help="quick, paper, or sensitivity (to open choices).")
    ] = "quick",
    images: Annotated[
        str | None, typer.Option("--images", help="digits (embedded) or mnist.")
    ] = None,
    p: Annotated[str | None, typer.Option("--p", help="Dictionary sizes, e.g. 128,256.")] = None,
    size: Annotated[int | None, typer.Option("--size", help="M of the M-sparse problem.")] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Dictionaries and trainings, at least 2.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the images.")] = None,
    training: Annotated[
        int | None, typer.Option("--training", help="Most training images; 0 for all.")
    ] = None,
    test: Annotated[int | None, typer.Option("--test", help="Most test images; 0 for all.")] = None,
    jobs: Workers = None,
    out: Out = Path("results"),
    quiet: Quiet = False,
) -> None:
    """Train deep l0 encoders on images, beside the iterations they unroll: three tables."""
    chosen = _preset(presets.ENCODERS, preset)
    changes: dict[str, Any] = {
        "images": images,
        "ps": tuple(_whole_numbers("--p", p)) if p else None,
        "size": size,
        "seeds": None if seeds is None else tuple(range(check_whole("--seeds", seeds, 2, 1000))),
        "epochs": None if epochs is None else _at_least_one("--epochs", epochs),
        "training": None if training is None else check_whole("--training", training, 0, 10**9),
        "test": None if test is None else check_whole("--test", test, 0, 10**9),
    }
    if images is not None and images != chosen["images"] and size is None:
        changes["size"] = presets.ENCODER_SIZES.get(images)
    plan = Plan(**chosen | {key: value for key, value in changes.items() if value is not None})
    workers = default_workers() if jobs is None else _at_least_one("--jobs", jobs)
    _check_out(out)  # what stands in the way is said before anything runs
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=_news,
        transient=True,
        disable=not is_live(_news),
    )
    lines, begin = Lines(_news), time.perf_counter()

    def report(what: str, share: float) -> None:
        progress.update(task, description=what, completed=share)
        left = time_left(time.perf_counter() - begin, share, 1 - share)
        lines.say(lambda: f"encoders: {what}, {share:.0%} done{left}")

    when_stopped("stopped; what was computed is kept, and the same command continues")
    with progress if is_live(_news) else nullcontext():
        task = progress.add_task("images", total=1.0)
        rows = run(plan, workers, report)
    stem = "encoders-sensitivity" if len(plan.variants) > 1 else "encoders"
    _write_csv(_traced(rows, plan.recipe()), out / f"{stem}.csv")
    found = summary(rows)
    if len(plan.variants) > 1:
        _print_variants(found, plan)
    else:
        for (problem, metric), title in _TITLES.items():
            _print_comparison(found, plan, problem, metric, title)
    _print_data(found, plan)
    from sparsebench.report import figures

    written = [*figures.draw(out / f"{stem}.csv", out), out / f"{stem}.csv"]
    _out.print("wrote " + ", ".join(str(path) for path in written), soft_wrap=True)


def _cell(row: pd.Series) -> str:
    """Write a mean with the half-width of its interval."""
    return f"{row['estimate']:.2f} ±{row['upper'] - row['estimate']:.2f}"


def _print_comparison(
    found: pd.DataFrame, plan: Plan, problem: str, metric: str, title: str
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
        cells += [_duration(largest["seconds"]), _duration(largest["seconds_single"])]
        table.add_row(*cells)
    _print_whole(table)


def _print_variants(found: pd.DataFrame, plan: Plan) -> None:
    """Print what each open choice does to the encoder of the first depth."""
    kept = found[found["method"] == "encoder"]
    for p in plan.ps:
        table = Table(
            "variant", box=box.ROUNDED, title=f"encoder, {plan.stages[0]} stages, p = {p}"
        )
        columns = [
            (problem, start, metric)
            for problem in ("penalty", "size")
            for start in ("zero", "l1")
            for metric in ("prediction", "support")
        ]
        for problem, start, metric in columns:
            unit = "%" if metric == "prediction" else "places"
            table.add_column(f"{problem}, {start}, {unit}", justify="right")
        for variant in plan.variants:
            rows = kept[(kept["variant"] == variant) & (kept["n"] == p)]
            table.add_row(
                variant,
                *(
                    _cell(
                        rows[
                            (rows["problem"] == problem)
                            & (rows["start"] == start)
                            & (rows["metric"] == metric)
                        ].iloc[0]
                    )
                    for problem, start, metric in columns
                ),
            )
        _print_whole(table)


def _print_data(found: pd.DataFrame, plan: Plan) -> None:
    """Say which images, and what the dictionaries and their codes are like."""
    data = found[found["method"] == "data"]
    wanted = {
        "coherence": ".3f",
        "spectral": ".1f",
        "condition": ".3g",
        "learning_steps": ".0f",
        "l1_objective_test": ".2f",
        "penalty_non-zeros": ".1f",
        "penalty_settled": ".4f",
        "size_settled": ".4f",
        "l1_gap": ".3f",
    }
    names = ("variant", "p", "coherence", "||D||²", "condition", "steps", "l1 objective")
    more = ("non-zeros, l0", "settled, l0", "settled, M", "l1 gap")
    table = Table(*names, *more, box=box.ROUNDED, title="dictionaries and optimal codes")
    for (variant, p), rows in data.groupby(["variant", "n"], sort=False):
        values = rows.set_index("metric")["estimate"]
        cells = [format(values[name], form) for name, form in wanted.items()]
        table.add_row(str(variant), str(p), *cells)
    _print_whole(table)
    diverged = found[(found["metric"] == "diverged") & (found["estimate"] > 0)]
    row: Any
    for row in diverged.itertuples():
        _out.print(
            f"diverged: {row.variant}, p = {row.n}, {row.method}, {row.problem}, "
            f"{row.stages} stages from {row.start}, in {row.estimate:.0%} of the seeds"
        )
    source = images_of(plan)
    _out.print(
        f"{source}; prediction error is 100 Σ||a - a*||² / Σ||a*||² over the test images; "
        f"± is the half-width of the 95 % interval over {len(plan.seeds)} seeds (of dictionary and "
        "training); start l1: the l1 solution is given, and its cost is not counted",
        soft_wrap=True,
    )


def images_of(plan: Plan) -> str:
    """Say which images a plan ran on."""
    if plan.images == "digits":
        return "ran on the 8 x 8 digits embedded in scikit-learn, not on MNIST (--preset paper)"
    return "ran on MNIST, 16 x 16"
