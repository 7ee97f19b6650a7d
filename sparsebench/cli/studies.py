"""The commands that run a study, compare two algorithms, and redraw figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsebench.cli import options, results
from sparsebench.cli.application import command
from sparsebench.errors import InputError, check_seed, nearest_name
from sparsebench.experiments import presets, studies
from sparsebench.report import console
from sparsebench.system.stopping import when_stopped

if TYPE_CHECKING:
    from sparsebench.experiments.isometry import IsometryStudy


@command(
    "study",
    help="Run one of the studies around the two main figures, and draw it.\n\n"
    + "\n\n".join(f"`{name}`: {study.what}" for name, study in studies.STUDIES.items()),
)
def study(
    name: Annotated[str, typer.Argument(help="Which study.")],
    preset: Annotated[str, typer.Option(help="quick or paper.")] = "paper",
    seed: options.Seed = 0,
    jobs: options.Workers = None,
    out: options.Out = options.RESULTS,
    time_limit: options.TimeLimit = presets.TIME_LIMIT,
    retry: options.Retry = None,
    shard: options.ShardOf = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Run a study through the store, write its CSV, and draw it."""
    studies.size_named(name, preset)  # refuses what there is not
    time_limit = options.positive_seconds("--time-limit", time_limit)
    check_seed(seed)
    workers, statuses = options.worker_count(jobs), options.read_statuses(retry)
    share = options.read_share(shard)
    if share and isinstance(studies.STUDIES[name], studies.Isometry):
        raise InputError(f"the study {name} keeps no rows, and has no shards")
    from sparsebench.experiments.studies import running
    from sparsebench.report import tables

    experiments = running.experiments(name, preset, seed, time_limit)
    if isinstance(studies.STUDIES[name], studies.Isometry):
        _run_isometry(experiments[0], workers, out, as_json)
        return
    for experiment in experiments:  # what the last one cannot have is said before any runs
        check_seed(experiment.seed)
    reports = [
        results.run_stored(one, out, workers, None, retry=statuses, share=share)
        for one in experiments
    ]
    if share:
        results.say_shard(reports, share, out)
        return
    recipes = [experiment.recipe() for experiment in experiments]
    recipe = recipes[0] if len(recipes) == 1 else recipes
    found = running.estimates(name, experiments)
    written = results.publish(found, recipe, out / f"{name}.csv")
    if as_json:
        results.say_rows(found, recipe)
    for report in reports[:-1]:
        tables.print_report(report, None, out)
    tables.print_report(reports[-1], written, out)


def _run_isometry(experiment: IsometryStudy, workers: int, out: Path, as_json: bool) -> None:
    """Run the study of restricted isometry, which keeps no rows, and draw it."""
    from sparsebench.experiments.isometry import ALGORITHMS
    from sparsebench.registry import choose_algorithms
    from sparsebench.report import tables
    from sparsebench.run.engine import compile_all
    from sparsebench.run.progress import Doing

    results.check_out(out)
    when_stopped("stopped; the same command begins anew")
    compile_all(choose_algorithms(list(ALGORITHMS)), workers, (), console.news)
    with Doing(console.news, "drawing dictionaries") as doing:
        experiment.run(
            workers, lambda done, total: doing.update(f"{done} of {total} dictionaries done")
        )
    found = experiment.estimates()
    written = results.publish(found, experiment.recipe(), out / f"{experiment.name}.csv")
    if as_json:
        results.say_rows(found, experiment.recipe())
    else:
        tables.print_isometry(found)
    console.say_written(written)


@command("figures")
def redraw(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAMES]", help="Which figures; by default all there is data for."),
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder of the CSVs, and of the figures.")] = Path(
        "figures"
    ),
) -> None:
    """Redraw figures from the CSVs in a folder alone: nothing is solved."""
    from sparsebench.report import figures

    for source in figures.sources(names, data):
        written = figures.draw(source, data)
        console.say(f"{source}: wrote " + ", ".join(path.name for path in written))


@command(
    "compare",
    "sparsebench compare els+sea omp,htp,sp",
    "sparsebench compare sea els,homotopy --by distance",
    "sparsebench compare omp 'omp[k=ebic],omp[k=mdl]' --success 'f1>=.95'",
)
def compare_algorithms(
    first: Annotated[str, typer.Argument(help="An algorithm, with options in brackets.")],
    others: Annotated[str, typer.Argument(help="Those it is compared with, as in -a.")],
    by: Annotated[
        str, typer.Option(help="threshold (of a diagram), or distance (at each k).")
    ] = "threshold",
    success: options.SuccessText = None,
    level: options.Level = None,
    out: options.Out = options.RESULTS,
    plugin: options.Plugins = None,
    device: Annotated[str, typer.Option(help="Whose rows: cpu, torch-cpu or cuda.")] = "cpu",
    precision: options.Precision = "float64",
    time_limit: Annotated[
        float, typer.Option(help="Whose rows: those of runs with this limit.")
    ] = presets.TIME_LIMIT,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print one Markdown table.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print one LaTeX table.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare algorithms on the instances that a folder of results holds: paired differences."""
    if by not in ("threshold", "distance"):
        raise InputError(nearest_name(by, ("threshold", "distance"), "--by"))
    if level is not None and by != "threshold":
        raise InputError("--level is the success rate of a threshold: leave out --by distance")
    met, level = options.success_named(success), options.success_rate(level)
    if markdown + latex + as_json > 1:
        raise InputError("say one of --markdown, --latex and --json")
    time_limit = options.positive_seconds("--time-limit", time_limit)
    options.load_files(plugin)
    one = [chosen.on(device, precision) for chosen in options.algorithms_named(first)]
    if len(one) != 1:
        raise InputError(f"name one algorithm first, not the {len(one)} that {first!r} selects")
    rest = [chosen.on(device, precision) for chosen in options.algorithms_named(others)]
    rest = [other for other in rest if other != one[0]]
    if not rest:
        raise InputError(f"name an algorithm to compare {one[0].label} with")
    from sparsebench.experiments.comparison import columns_for, compare
    from sparsebench.report import tables
    from sparsebench.run.store import Store, algorithm_recipe

    recipes = [algorithm_recipe(chosen, time_limit) for chosen in (*one, *rest)]
    with Store(out, writable=False) as store:
        rows = store.frame(columns_for(met), recipes)
        found = compare(rows, one[0], rest, by, time_limit, met, level)
    data = out / f"comparison-{by}.csv"
    recipe = {
        "experiment": "comparison",
        "by": by,
        "success": met.text,
        "level": level,
        "algorithms": [json.loads(one) for one in recipes],
    }
    results.write_csv(found, recipe, data)
    if as_json:
        results.say_rows(found, recipe)
        return
    if markdown or latex:
        tables.print_plain_differences(found, latex)
        return
    groups = ["other", "problem", "problem_version", "seed", "n"]
    for _, rows in found.groupby([*groups, "level" if by == "threshold" else "m"], sort=False):
        tables.print_differences(rows, by)
    tables.print_verdict(found, by)
    console.say_written([data])
