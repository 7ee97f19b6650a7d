"""The commands that run a study and redraw figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench.cli import (
    Out,
    Seed,
    TimeLimit,
    Workers,
    _out,
    _positive,
    _print_report,
    _run,
    _traced,
    _write_csv,
    app,
)
from sparsebench.experiments import presets, studies


@app.command(
    "study",
    help="Run one of the studies around the two main figures, and draw it.\n\n"
    + "\n\n".join(f"`{name}`: {study.what}" for name, study in studies.STUDIES.items()),
)
def study(
    name: Annotated[str, typer.Argument(help="Which study.")],
    preset: Annotated[str, typer.Option("--preset", help="quick or paper.")] = "paper",
    seed: Seed = 0,
    jobs: Workers = None,
    out: Out = Path("results"),
    time_limit: TimeLimit = presets.TIME_LIMIT,
) -> None:
    """Run a study through the store, write its CSV, and draw it."""
    experiments = studies.experiments(name, preset, seed, _positive("--time-limit", time_limit))
    reports = [_run(experiment, out, jobs, None) for experiment in experiments]
    data = out / f"{name}.csv"
    recipes = [experiment.recipe() for experiment in experiments]
    recipe = recipes[0] if len(recipes) == 1 else recipes
    _write_csv(_traced(studies.estimates(name, experiments), recipe), data)
    from sparsebench import figures

    written = figures.draw(data, out)
    for report in reports[:-1]:
        _print_report(report, [], out)
    _print_report(reports[-1], [*written, data], out)


@app.command("figures")
def redraw(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAMES]", help="Which figures; by default all there is data for."),
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", help="Folder of the CSVs, and of the figures.")
    ] = Path("figures"),
) -> None:
    """Redraw figures from the CSVs in a folder alone: nothing is solved."""
    from sparsebench import figures

    for source in figures.sources(names, data):
        written = figures.draw(source, data)
        _out.print(f"{source}: wrote " + ", ".join(path.name for path in written), soft_wrap=True)
