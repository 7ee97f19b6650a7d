"""The commands that compare encoders at classification and at clustering."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparsebench.cli import options, results
from sparsebench.cli.application import command
from sparsebench.errors import InputError, check_whole, nearest_name
from sparsebench.experiments import presets
from sparsebench.report import console
from sparsebench.system.stopping import when_stopped

if TYPE_CHECKING:
    from sparsebench.experiments.learned.tasks import Found, TaskComparison

_Preset = Annotated[str, typer.Option(help="quick, paper, or sensitivity (to open choices).")]
_Atoms = Annotated[str | None, typer.Option(help="Dictionary sizes, e.g. 128,256.")]
_Sizes = Annotated[str | None, typer.Option(help="M of the M-sparse encoders, e.g. 10,20,30.")]
_Stages = Annotated[
    str | None, typer.Option(help="Stages K; of two encoders also those after the first.")
]
_Seeds = Annotated[int | None, typer.Option(help="Dictionaries, splits and trainings, at least 2.")]
_Epochs = Annotated[int | None, typer.Option(help="Passes over the samples, of every data set.")]


@command(
    "classification",
    "sparsebench classification",
    "sparsebench classification --preset sensitivity",
    "SPARSEBENCH_DATA=~/data sparsebench classification --preset paper",
    "sparsebench classification --preset paper --data indian-pines --p 128 --seeds 5",
)
def classification(
    preset: _Preset = "quick",
    data: Annotated[
        str | None, typer.Option(help="digits (embedded), mnist, indian-pines; or several.")
    ] = None,
    p: _Atoms = None,
    size: _Sizes = None,
    stages: _Stages = None,
    seeds: _Seeds = None,
    epochs: _Epochs = None,
    training: Annotated[
        int | None, typer.Option(help="Most samples to train and validate on; 0 for all.")
    ] = None,
    test: Annotated[int | None, typer.Option(help="Most test samples; 0 for all.")] = None,
    jobs: options.Workers = None,
    out: options.Out = options.RESULTS,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train encoders to classify, beside task-driven dictionary learning and controls."""
    changes = {
        "training": None if training is None else check_whole("--training", training, 0, 10**9),
        "test": None if test is None else check_whole("--test", test, 0, 10**9),
    }
    settings = _settings("classification", preset, data, p, size, stages, seeds, epochs)
    _compare("classification", settings | _stated(changes), jobs, out, as_json)


@command(
    "clustering",
    "sparsebench clustering",
    "sparsebench clustering --preset sensitivity",
    "SPARSEBENCH_DATA=~/data sparsebench clustering --preset paper",
    "sparsebench clustering --preset paper --data coil20 --p 128",
)
def clustering(
    preset: _Preset = "quick",
    data: Annotated[
        str | None, typer.Option(help="digits (embedded), coil20, pie; or several.")
    ] = None,
    p: _Atoms = None,
    size: _Sizes = None,
    stages: _Stages = None,
    seeds: _Seeds = None,
    epochs: _Epochs = None,
    jobs: options.Workers = None,
    out: options.Out = options.RESULTS,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train encoders to cluster, beside joint sparse coding, a graph network and controls."""
    settings = _settings("clustering", preset, data, p, size, stages, seeds, epochs)
    _compare("clustering", settings, jobs, out, as_json)


def _settings(
    task: str,
    preset: str,
    data: str | None,
    p: str | None,
    size: str | None,
    stages: str | None,
    seeds: int | None,
    epochs: int | None,
) -> dict[str, Any]:
    """Return the settings of a preset with what was stated on the command line, checked."""
    known = presets.CLASSIFICATION if task == "classification" else presets.CLUSTERING
    chosen = dict(options.preset_named(known, preset))
    counts = dict(chosen.pop("seeds"))
    if data is not None:
        available = [name for name, one in presets.TASK_DATA.items() if task in one]
        names = [name.strip() for name in data.split(",") if name.strip()]
        for name in names or [data]:
            if name not in available:
                raise InputError(nearest_name(name, available, "data set"))
        counts = {name: counts.get(name, max(counts.values())) for name in names}
    if seeds is not None:
        counts = dict.fromkeys(counts, check_whole("--seeds", seeds, 2, 1000))
    changes = {
        "ps": _numbers("--p", p, 2, 100_000),
        "sizes": _numbers("--size", size, 1, 100_000),
        "stages": _numbers("--stages", stages, 1, 100),
        "epochs": None if epochs is None else check_whole("--epochs", epochs, 1, 100_000),
    }
    return chosen | _stated(changes) | {"seeds": tuple(counts.items())}


def _stated(changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in changes.items() if value is not None}


def _numbers(option: str, text: str | None, low: int, high: int) -> tuple[int, ...] | None:
    """Read whole numbers, if some are stated."""
    if text is None:
        return None
    found = options.read_whole_numbers(option, text)
    return tuple(check_whole(option, one, low, high) for one in found)


def _compare(
    task: str, settings: dict[str, Any], jobs: int | None, out: Path, as_json: bool
) -> None:
    """Run a comparison, write its CSVs and its picture, and print its tables."""
    workers = options.worker_count(jobs)
    results.check_out(out)
    from sparsebench.experiments.learned.tasks import TaskComparison
    from sparsebench.report import task_tables

    plan = TaskComparison(task, **settings)
    found = _computed(plan, workers)
    stem = f"{task}-sensitivity" if len(plan.variants) > 1 else task
    written = results.publish(found.rows, plan.recipe(), out / f"{stem}.csv")
    for frame, name in ((found.pairs, "pairs"), (found.curves, "learning")):
        path = out / f"{stem}-{name}.csv"
        results.write_csv(frame, plan.recipe(), path)
        written.append(path)
    if as_json:
        results.say_rows(found.rows, plan.recipe())
    else:
        task_tables.print_tasks(found, plan)
    console.say_written(written)


def _computed(plan: TaskComparison, workers: int) -> Found:
    """Run a plan under a progress bar."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from sparsebench.experiments.learned.tasks import run
    from sparsebench.run.progress import Lines, moving_bar, time_left

    lines, begin = Lines(console.news), time.perf_counter()
    when_stopped("stopped; what was computed is kept, and the same command continues")
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with moving_bar(console.news, *columns, TimeElapsedColumn()) as progress:
        bar = progress.add_task("samples", total=1.0)

        def report(what: str, share: float) -> None:
            progress.update(bar, description=what, completed=share)
            left = time_left(time.perf_counter() - begin, share, 1 - share)
            lines.say(lambda: f"{plan.task}: {what}, {share:.0%} done{left}")

        return run(plan, workers, report)
