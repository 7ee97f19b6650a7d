"""The commands that train networks and compare them with the iterations they unroll."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparsebench.cli import options, results
from sparsebench.cli.application import command
from sparsebench.errors import check_seed, check_sizes
from sparsebench.experiments import presets
from sparsebench.report import console
from sparsebench.system.stopping import when_stopped

if TYPE_CHECKING:
    from sparsebench.learned.weights import Recipe, Trained

_PRESETS = "quick, default or paper."
Networks = Annotated[str | None, typer.Option(help="Which networks, separated by commas.")]
TrainingProblem = Annotated[
    str | None, typer.Option("-p", "--problem", help="What to train on, e.g. 'lista[snr=20]'.")
]
Measurements = Annotated[int | None, typer.Option(help="Measurements.")]
Atoms = Annotated[int | None, typer.Option(help="Atoms.")]
Depth = Annotated[int | None, typer.Option(help="Stages K.")]
Steps = Annotated[int | None, typer.Option(help="Most steps of a phase of training.")]
Patience = Annotated[
    int | None, typer.Option(help="Checks of the loss without gain that end a phase.")
]
Threads = Annotated[
    int | None, typer.Option("-j", "--jobs", help="Threads; by default one a core.")
]


@command(
    "train",
    "sparsebench train alista",
    "sparsebench train lista-cpss --problem 'lista[snr=20]' --preset paper",
)
def train(
    network: Annotated[str, typer.Argument(help="Which network; `list` shows them all.")],
    preset: Annotated[str, typer.Option(help=_PRESETS)] = "default",
    problem: TrainingProblem = None,
    m: Measurements = None,
    n: Atoms = None,
    depth: Depth = None,
    steps: Steps = None,
    patience: Patience = None,
    seed: options.Seed = 0,
    jobs: Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a network, keep its weights in the cache, and print the name they have there."""
    settings = _settings(presets.UNROLLING, preset, problem, m, n, depth, steps, patience, seed)
    weights = _learned(jobs)
    plan = weights.Plan(**settings["plan"])
    sizes = (settings["m"], settings["n"], settings["depth"])
    recipe = weights.default_recipe(network, settings["problem"], *sizes, plan, seed)
    _fit(weights, recipe)
    label = settings["problem"].label
    console.say(
        f"use it as {network}[weights={recipe.name}] on {label} with --m {sizes[0]} --n {sizes[1]}"
    )


@command(
    "unrolling",
    "sparsebench unrolling --preset quick",
    "sparsebench unrolling --problem 'lista[snr=20]' --networks alista,na-alista",
)
def unrolling(
    preset: Annotated[str, typer.Option(help=_PRESETS)] = "default",
    networks: Networks = None,
    problem: TrainingProblem = None,
    m: Measurements = None,
    n: Atoms = None,
    depth: Depth = None,
    steps: Steps = None,
    patience: Patience = None,
    seed: options.Seed = 0,
    jobs: Threads = None,
    out: options.Out = options.RESULTS,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Train networks, and draw their error and that of iterative algorithms against products."""
    settings = _settings(presets.UNROLLING, preset, problem, m, n, depth, steps, patience, seed)
    weights = _learned(jobs)
    from sparsebench.experiments.learned.unrolling import Shift, Unrolling, learning_curves
    from sparsebench.run.progress import Doing

    names = [name.strip() for name in (networks or settings["networks"]).split(",") if name.strip()]
    experiment = Unrolling(
        list(dict.fromkeys(names)),
        settings["problem"],
        settings["m"],
        settings["n"],
        settings["depth"],
        weights.Plan(**settings["plan"]),
        [Shift(*shift) for shift in settings["shifts"]],
        settings["tests"],
        seed,
    )
    results.check_out(out)
    trained = {recipe.network: _fit(weights, recipe) for recipe in experiment.recipes()}
    with Doing(console.news, "testing") as doing:
        rows = experiment.run(
            trained, lambda title, method: doing.update(f"testing: {title}, {method}")
        )
    curves = out / "learning.csv"
    recipe = experiment.recipe()
    results.write_csv(learning_curves(trained.values()), recipe, curves)
    written = results.publish(rows, recipe, out / "unrolling.csv")
    if as_json:
        results.say_rows(rows, recipe)
    last = rows[rows["panel"] == rows["panel"].iloc[0]].groupby("curve", sort=False).last()
    for label, row in last.iterrows():
        console.out.print(
            f"{label}: {row['estimate']:.1f} dB [{row['lower']:.1f}, {row['upper']:.1f}] after "
            f"{row['x']:.0f} products; mean of dB {row['mean']:.1f}"
        )
    console.say_written([*written, curves])


def _learned(threads: int | None) -> Any:
    """Return the module of training, or say what must be installed for it."""
    from sparsebench.environment import need

    torch = need("torch", "torch")
    from sparsebench.learned import weights

    torch.set_num_threads(options.worker_count(threads, "-j"))
    return weights


def _settings(
    known: dict[str, dict[str, Any]],
    preset: str,
    problem: str | None,
    m: int | None,
    n: int | None,
    depth: int | None,
    steps: int | None,
    patience: int | None,
    seed: int,
) -> dict[str, Any]:
    """Return the settings of a preset with what was stated on the command line, checked."""
    settings = dict(options.preset_named(known, preset))
    settings["problem"] = options.problem_named(problem or settings["problem"])
    for name, value in (("m", m), ("n", n), ("depth", depth)):
        if value is not None:
            settings[name] = options.at_least_one(f"--{name}", value)
    for name, value in (("steps", steps), ("patience", patience)):
        if value is not None:
            settings["plan"] = settings["plan"] | {name: options.at_least_one(f"--{name}", value)}
    check_sizes(settings["m"], settings["n"], 1)
    check_seed(seed)
    return settings


def _fit(weights: Any, recipe: Recipe) -> Trained:
    """Train a network under a progress bar, or take it from the cache; say what was done."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    from sparsebench.run.progress import Lines, moving_bar, time_left

    begin, lines = time.perf_counter(), Lines(console.news)
    when_stopped("stopped; the last checkpoint is kept, and the same command continues")
    what, state_now = TextColumn("training {task.description}"), TextColumn("{task.fields[state]}")
    columns = what, BarColumn(), state_now, TimeElapsedColumn()
    with moving_bar(console.news, *columns) as progress:
        task = progress.add_task(recipe.network, total=None, state="")

        def report(phase: int, phases: int, step: int, loss: float, done: float) -> None:
            spent = time.perf_counter() - begin
            left = time_left(spent, done, 1 - done) if done > 0.02 else ""
            state = f"phase {phase + 1} of {phases}, step {step}, loss {loss:.3g}{left}"
            progress.update(task, completed=done, total=1.0, state=state)
            lines.say(lambda: f"training {recipe.network}: {state}, {done:.0%} done")

        trained: Trained = weights.fit(recipe, report)
    record = trained.record
    console.say(
        f"{recipe.network}: weights {recipe.name}, {record['steps']:,} steps in "
        f"{record['seconds']:.0f} s, {record['nmse']:.2f} dB on the validation set"
        f"{'' if record['converged'] else ', not converged'}"
    )
    if record["diverged"]:
        console.err.print(f"warning: the training of {recipe.network} {record['diverged']}")
    return trained
