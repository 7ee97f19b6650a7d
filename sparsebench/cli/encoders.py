"""The command that trains deep l0 encoders."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparsebench.cli import options, results
from sparsebench.cli.application import command
from sparsebench.errors import InputError, check_whole, nearest_name
from sparsebench.experiments import presets
from sparsebench.report import console
from sparsebench.system.stopping import when_stopped

if TYPE_CHECKING:
    import pandas as pd

    from sparsebench.experiments.learned.encoders import EncoderComparison


@command(
    "encoders",
    "sparsebench encoders",
    "sparsebench encoders --preset sensitivity",
    "SPARSEBENCH_DATA=~/data sparsebench encoders --preset paper",
    "sparsebench encoders --preset paper --p 128 --training 10000 --test 2000 --epochs 15",
)
def encoders(
    preset: Annotated[
        str, typer.Option(help="quick, paper, or sensitivity (to open choices).")
    ] = "quick",
    images: Annotated[str | None, typer.Option(help="digits (embedded) or mnist.")] = None,
    p: Annotated[str | None, typer.Option(help="Dictionary sizes, e.g. 128,256.")] = None,
    size: Annotated[int | None, typer.Option(help="M of the M-sparse problem.")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Dictionaries and trainings, at least 2.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.")] = None,
    training: Annotated[int | None, typer.Option(help="Most training images; 0 for all.")] = None,
    test: Annotated[int | None, typer.Option(help="Most test images; 0 for all.")] = None,
    jobs: options.Workers = None,
    out: options.Out = options.RESULTS,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train deep l0 encoders on images, beside the iterations they unroll: three tables."""
    chosen = options.preset_named(presets.ENCODERS, preset)
    if images is not None and images not in presets.ENCODER_SIZES:
        raise InputError(nearest_name(images, presets.ENCODER_SIZES, "image set"))
    changes: dict[str, Any] = {
        "images": images,
        "ps": _atoms(p) if p else None,
        "size": None if size is None else options.at_least_one("--size", size),
        "seeds": None if seeds is None else tuple(range(check_whole("--seeds", seeds, 2, 1000))),
        "epochs": None if epochs is None else options.at_least_one("--epochs", epochs),
        "training": None if training is None else check_whole("--training", training, 0, 10**9),
        "test": None if test is None else check_whole("--test", test, 0, 10**9),
    }
    if images is not None and images != chosen["images"] and size is None:
        changes["size"] = presets.ENCODER_SIZES[images]
    workers = options.worker_count(jobs)
    results.check_out(out)
    from sparsebench.experiments.learned.encoders import EncoderComparison, summary
    from sparsebench.report import encoder_tables

    plan = EncoderComparison(
        **chosen | {key: value for key, value in changes.items() if value is not None}
    )
    rows = _computed(plan, workers)
    stem = "encoders-sensitivity" if len(plan.variants) > 1 else "encoders"
    written = results.publish(rows, plan.recipe(), out / f"{stem}.csv")
    if as_json:
        results.say_rows(rows, plan.recipe())
    else:
        encoder_tables.print_encoders(summary(rows), plan)
    console.say_written(written)


def _atoms(text: str) -> tuple[int, ...]:
    """Read dictionary sizes."""
    return tuple(check_whole("--p", p, 2, 100_000) for p in options.read_whole_numbers("--p", text))


def _computed(plan: EncoderComparison, workers: int) -> pd.DataFrame:
    """Run a plan under a progress bar."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from sparsebench.experiments.learned.encoders import run
    from sparsebench.run.progress import Lines, moving_bar, time_left

    lines, begin = Lines(console.news), time.perf_counter()
    when_stopped("stopped; what was computed is kept, and the same command continues")
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with moving_bar(console.news, *columns, TimeElapsedColumn()) as progress:
        task = progress.add_task("images", total=1.0)

        def report(what: str, share: float) -> None:
            progress.update(task, description=what, completed=share)
            left = time_left(time.perf_counter() - begin, share, 1 - share)
            lines.say(lambda: f"encoders: {what}, {share:.0%} done{left}")

        return run(plan, workers, report)
