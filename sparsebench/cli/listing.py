"""The commands that say what there is: names, what a folder of results holds, and its rows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparsebench.cli import options
from sparsebench.cli.application import command
from sparsebench.errors import InputError, nearest_name
from sparsebench.experiments import presets
from sparsebench.report import console
from sparsebench.system.folders import written_whole

if TYPE_CHECKING:
    from sparsebench.registry import Algorithm

# Names, each with what is said about it.
_Entries = Iterator[tuple[str, ...]]
_PRESETS = {
    "phase-transition": presets.PHASE_TRANSITION,
    "support-distance": presets.SUPPORT_DISTANCE,
}


@command("list")
def list_names(
    what: Annotated[str, typer.Argument(help="algorithms, problems, presets or all.")] = "all",
    plugin: options.Plugins = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the README's table of algorithms.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object of lists.")] = False,
) -> None:
    """List algorithms, problems and presets, with their options and what they are told."""
    kinds = {"algorithms": _algorithms, "problems": _problems, "presets": _presets}
    data = {"algorithms": _algorithm_data, "problems": _problem_data, "presets": _preset_data}
    if what not in ("all", *kinds):
        raise InputError(nearest_name(what, ("all", *kinds), "list"))
    options.load_files(plugin)
    if markdown:
        console.say(algorithm_table())
        return
    shown = list(kinds) if what == "all" else [what]
    if as_json:
        console.say_json({kind: list(data[kind]()) for kind in shown})
        return
    for kind in shown:
        _print_entries(kind, kinds[kind]())
        if kind == "algorithms":
            _print_lacking()


def _all_algorithms() -> list[Algorithm]:
    from sparsebench import solvers  # numba takes longer than all else

    return solvers.algorithms()


def _algorithms() -> _Entries:
    for entry in _all_algorithms():
        about = f"{entry.family}; told {', '.join(entry.told) or 'nothing'}"
        if entry.complex_numbers:
            about += "; complex numbers too"
        about += "; takes operators" if entry.matrix_free else ""
        if entry.options:
            about += f"; options {_options_text(entry.options)}"
        lacks = "" if entry.installed else f" (needs {entry.requires})"
        yield entry.name + lacks, about, entry.summary, entry.source


def _problems() -> _Entries:
    from sparsebench import problems

    for entry in problems.problems():
        yield entry.name, f"options {_options_text(entry.options)}", entry.summary, entry.source


def _presets() -> _Entries:
    from sparsebench.registry import split

    for main_figure, known in _PRESETS.items():
        for name, settings in known.items():
            others = {key: value for key, value in settings.items() if key != "algorithms"}
            algorithms = ", ".join(split(settings["algorithms"]))
            title = f"{main_figure} --preset {name}"
            yield title, f"algorithms {algorithms}", _options_text(others)


def _algorithm_data() -> Iterator[dict[str, Any]]:
    for entry in _all_algorithms():
        yield {
            "algorithm": entry.name,
            "family": entry.family,
            "told": ",".join(entry.told),
            "options": entry.options,
            "complex_numbers": entry.complex_numbers,
            "operators": entry.matrix_free,
            "summary": entry.summary,
            "cost": entry.cost,
            "source": entry.source,
            "version": entry.version,
            "needs": entry.needs,
        }


def _problem_data() -> Iterator[dict[str, Any]]:
    from sparsebench import problems

    for entry in problems.problems():
        yield {
            "problem": entry.name,
            "options": entry.options,
            "summary": entry.summary,
            "source": entry.source,
            "version": entry.version,
        }


def _preset_data() -> Iterator[dict[str, Any]]:
    for main_figure, known in _PRESETS.items():
        for name, settings in known.items():
            yield {"command": main_figure, "preset": name} | settings


def _print_lacking() -> None:
    """Say which algorithms need what is not installed."""
    lacking = [entry for entry in _all_algorithms() if entry.needs]
    for needs in dict.fromkeys(entry.needs for entry in lacking):
        names = ", ".join(entry.name for entry in lacking if entry.needs == needs)
        console.say(_filled(f"not installed: {names}: needs {needs}", "", "  "))


def _filled(text: str, first: str, next_ones: str) -> str:
    """Break a text into lines of the page, between words alone."""
    return textwrap.fill(
        text,
        width=console.out.width,
        initial_indent=first,
        subsequent_indent=next_ones,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _print_entries(title: str, entries: _Entries) -> None:
    """Print names, each with indented lines about it, wrapped between words."""
    console.out.print(f"{title}:")
    for name, *about in entries:
        console.say(f"\n{name}")
        for text in filter(None, about):
            console.say(_filled(text, "    ", "      "))
    console.out.print()


def algorithm_table() -> str:
    """Return the Markdown table of the package's algorithms."""
    from sparsebench.registry import FAMILIES

    lines = [
        "| algorithm | what it is | told | may continue another | complex numbers | operators "
        "| flops an iteration | source |",
        "|---|---|---|---|---|---|---|---|",
    ]
    entries = [e for e in _all_algorithms() if e.family != "plug-in"]
    for entry in sorted(entries, key=lambda e: FAMILIES.index(e.family)):
        cost = entry.cost.replace("**3", "³").replace("**2", "²").replace("*", "")
        what = entry.summary.rstrip(".").replace("|", "\\|")
        lines.append(
            f"| `{entry.name}` | {what} | {', '.join(entry.told) or 'nothing'} "
            f"| {'yes' if entry.accepts('start') else ''} "
            f"| {'yes' if entry.complex_numbers else ''} "
            f"| {'yes' if entry.matrix_free else ''} | {cost} | {entry.source} |"
        )
    return "\n".join(lines)


@command("status", "sparsebench status", "sparsebench status --table", "sparsebench status --json")
def status(
    out: options.Out = options.RESULTS,
    table: Annotated[
        bool,
        typer.Option(
            "--table", help="Print a table of problems, algorithms, versions and time limits."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Say in a few lines what a folder of results holds, lacks, and whether a run goes on.

    A run whose instances are fixed beforehand says how many of its rows are missing; one that
    samples where the information is knows that only when it ends.
    """
    from sparsebench.report import tables
    from sparsebench.run.holdings import holdings
    from sparsebench.run.store import Store

    with Store(out, writable=False) as store:
        if as_json:
            console.say_json(holdings(store) | {"table": store.summary()})
        elif table:
            tables.print_stored(store.summary())
        else:
            tables.print_status(holdings(store))


@command("export")
def export(
    file: Annotated[Path, typer.Argument(help="Where to: .csv, .csv.gz or .parquet.")],
    out: options.Out = options.RESULTS,
) -> None:
    """Write every trial row of a folder of results to one file."""
    if not file.name.endswith((".csv", ".csv.gz", ".parquet")):
        raise InputError(f"cannot write {file.name}: end its name in .csv, .csv.gz or .parquet")
    from sparsebench.run.export import write_rows
    from sparsebench.run.frames import plain_columns
    from sparsebench.run.store import Store

    with Store(out, writable=False) as store:
        rows = plain_columns(store.frame())
    try:
        with written_whole(file) as part:
            if file.suffix == ".parquet":
                rows.to_parquet(part, index=False)
            else:
                write_rows(rows, part)
    except ImportError:
        raise InputError("parquet needs pyarrow: pip install pyarrow, or write .csv") from None
    except OSError as error:
        raise InputError(str(error)) from None
    console.out.print(f"{file}: {len(rows):,} rows")


def _options_text(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())
