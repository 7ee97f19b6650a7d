"""The application, to which the files of commands add them, and how it is run and stopped."""

from __future__ import annotations

import io
import sqlite3
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from sparsebench import __version__
from sparsebench.errors import InputError
from sparsebench.report import console
from sparsebench.run.pool import WorkerDied
from sparsebench.system.folders import settle_matplotlib

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="An honest comparison of sparse-recovery algorithms. "
    "Results go to a folder (`--out`, by default `results/`); the same command continues a run "
    "that was stopped, and computes nothing twice.",
)


def run() -> None:
    """Run the command line; every expected trouble is one line on standard error."""
    settle_matplotlib()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal or file that cannot show "±"
        sys.stdout.reconfigure(errors="replace")
    try:
        app(standalone_mode=True)
    except InputError as error:
        stop(f"error: {error}", 2)
    except MemoryError as error:
        stop(f"error: out of memory: {error}", 1)
    except WorkerDied as error:
        stop(f"error: {error}; with -j 1 there are none", 1)
    except sqlite3.Error as error:
        stop(f"error: the store failed: {error}; finished blocks are kept", 1)
    except OSError as error:
        stop(f"error: {error}", 1)


def stop(message: str, code: int) -> NoReturn:
    """End the process with a line on standard error."""
    console.err.print(message, soft_wrap=True)
    raise SystemExit(code)


def command(name: str, *examples: str, **about: Any) -> Callable[..., Any]:
    """Add a function to the application as a command, with examples of its use."""
    lines = (line.replace("sparsebench", "python -m sparsebench", 1) for line in examples)
    shown = ["**Examples**", *(f"`{line}`" for line in lines)] if examples else []
    return app.command(name, epilog="\n\n".join(shown) or None, **about)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.out.print(f"sparsebench {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""
    console.out.stderr = False
