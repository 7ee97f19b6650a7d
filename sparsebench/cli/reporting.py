"""The command that makes a page of folders of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench.cli import options
from sparsebench.cli.application import command
from sparsebench.report import console


@command(
    "report",
    "sparsebench report",
    "sparsebench report figures -o figures",
    "sparsebench report results/monday results/friday -o results",
)
def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of results, side by side; by default that of --out."),
    ] = None,
    out: options.Out = options.RESULTS,
) -> None:
    """Write `report.html`: curves, points, comparisons and failures as one page for a browser.

    The page is one file that loads nothing: it can be mailed, and read without a network.
    """
    from sparsebench.cli.results import check_out
    from sparsebench.report.page.writing import write_report

    check_out(out)
    path = out / "report.html"
    write_report(folders or [out], path)
    console.say_written([path])
