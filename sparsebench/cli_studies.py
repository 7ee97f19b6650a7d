"""The commands that run a study, compare two algorithms, and redraw figures."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich import box
from rich.table import Table

from sparsebench.cli import (
    Out,
    Plugins,
    Precision,
    Quiet,
    Retry,
    Seed,
    TimeLimit,
    Workers,
    _load_plugins,
    _out,
    _positive,
    _print_report,
    _print_whole,
    _run,
    _traced,
    _write_csv,
    app,
)
from sparsebench.experiments import presets, studies
from sparsebench.experiments.comparison import compare
from sparsebench.problems import check_seed
from sparsebench.registry import choose_algorithms, nearest_name
from sparsebench.run.store import Store
from sparsebench.statistics import APPROXIMATE
from sparsebench.types import InputError

# A difference is called clear below this p-value.
_CLEAR = 0.01


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
    retry: Retry = None,
    quiet: Quiet = False,
) -> None:
    """Run a study through the store, write its CSV, and draw it."""
    experiments = studies.experiments(name, preset, seed, _positive("--time-limit", time_limit))
    for experiment in experiments:  # what the last one cannot have is said before any runs
        check_seed(experiment.seed)
    reports = [_run(experiment, out, jobs, None, retry=retry) for experiment in experiments]
    data = out / f"{name}.csv"
    recipes = [experiment.recipe() for experiment in experiments]
    recipe = recipes[0] if len(recipes) == 1 else recipes
    _write_csv(_traced(studies.estimates(name, experiments), recipe), data)
    from sparsebench.report import figures

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
    from sparsebench.report import figures

    for source in figures.sources(names, data):
        written = figures.draw(source, data)
        _out.print(f"{source}: wrote " + ", ".join(path.name for path in written), soft_wrap=True)


@app.command(
    "compare",
    epilog="""
**Examples**

`python -m sparsebench compare els+sea omp,htp,sp`

`python -m sparsebench compare sea els,homotopy --by distance`
""",
)
def compare_algorithms(
    first: Annotated[str, typer.Argument(help="An algorithm, with options in brackets.")],
    others: Annotated[str, typer.Argument(help="Those it is compared with, as in -a.")],
    by: Annotated[
        str, typer.Option("--by", help="threshold (of a diagram), or distance (at each k).")
    ] = "threshold",
    out: Out = Path("results"),
    plugin: Plugins = None,
    device: Annotated[
        str, typer.Option("--device", help="Whose rows: cpu, torch-cpu or cuda.")
    ] = "cpu",
    precision: Precision = "float64",
    time_limit: Annotated[
        float, typer.Option("--time-limit", help="Whose rows: those of runs with this limit.")
    ] = presets.TIME_LIMIT,
) -> None:
    """Compare algorithms on the instances that a folder of results holds: paired differences."""
    if by not in ("threshold", "distance"):
        raise InputError(nearest_name(by, ("threshold", "distance"), "--by"))
    _load_plugins(plugin)
    one = [one.on(device, precision) for one in choose_algorithms(first)]
    if len(one) != 1:
        raise InputError(f"name one algorithm first, not the {len(one)} that {first!r} selects")
    rest = [one.on(device, precision) for one in choose_algorithms(others)]
    rest = [other for other in rest if other != one[0]]
    if not rest:
        raise InputError(f"name an algorithm to compare {one[0].label} with")
    with Store(out, writable=False) as store:
        found = compare(store.frame(), one[0], rest, by, _positive("--time-limit", time_limit))
    _write_csv(found, out / f"comparison-{by}.csv")
    groups = ["other", "problem", "problem_version", "seed", "n"]
    for _, rows in found.groupby([*groups, "level" if by == "threshold" else "m"], sort=False):
        _print_differences(rows, by)
    _out.print(f"wrote {out / f'comparison-{by}.csv'}", soft_wrap=True)


def _print_differences(rows: pd.DataFrame, by: str) -> None:
    """Print the differences from one other algorithm, and where each of the two is ahead."""
    made = rows.iloc[0]
    first, other = made["first"], made["other"]
    sizes = f"{made['problem']}, version {made['problem_version']}, n = {made['n']}"
    if by == "threshold":
        at, form, what = "m", ".1f", f"k at {made['level']:.0%}"
    else:
        at, form, what, sizes = "k", ".3f", "support distance", f"{sizes}, m = {made['m']}"
    table = Table(
        *(at, first, other, "difference", "interval", "p", "alone", "p (McNemar)"),
        title=f"{what}: {first} less {other} ({sizes}, seed {made['seed']})",
        box=box.ROUNDED,
    )
    row: Any
    for row in rows.itertuples():
        one, two = (
            "none"
            if value != value
            else "< 1"
            if by == "threshold" and value < 1
            else f"{value:{form}}"
            for value in (row.first_estimate, row.other_estimate)
        )
        none = row.difference != row.difference
        table.add_row(
            str(getattr(row, at)),
            one,
            two,
            "" if none else f"{row.difference:+{form}}",
            "" if none else f"[{row.lower:+{form}}, {row.upper:+{form}}]",
            "" if none else f"{row.p_value:.1g}",
            f"{row.only_first} : {row.only_other} of {row.shared}",
            f"{row.p_mcnemar:.1g}",
        )
    _print_whole(table)
    if by == "threshold":
        about = rows.loc[rows["coverage"] == APPROXIMATE, "m"]
        if len(about):
            _out.print(f"approximate, of few trials: at m = {', '.join(map(str, about))}")
        for name, column in ((first, "first_without"), (other, "other_without")):
            for why, part in rows[rows[column] != ""].groupby(column):
                ms = ", ".join(map(str, part["m"]))
                _out.print(f"none: {name} at m = {ms}: {why}", soft_wrap=True)
    ahead = rows["difference"] > 0 if by == "threshold" else rows["difference"] < 0
    clear = rows["p_value"] < _CLEAR
    for name, part in ((first, rows[ahead & clear]), (other, rows[~ahead & clear])):
        values = _ranges(set(part[at]), sorted(rows[at].unique()))
        _out.print(
            f"{name} is ahead with p < {_CLEAR:g} at {len(part)} of {len(rows)} values of {at}"
            + (f": {values} (largest p {part['p_value'].max():.1g})" if values else ""),
            soft_wrap=True,
        )


def _ranges(some: set[int], every: list[int]) -> str:
    """Write those values of a sorted list that are in a set, neighbours together: 3 to 9, 12."""
    runs = [list(run) for inside, run in groupby(every, some.__contains__) if inside]
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs)
