"""Where the command line prints, and how tables are laid out there."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

if TYPE_CHECKING:
    import pandas as pd

# Names and paths are no markup. In a file or a pipe a sentence is a line, and a table that cannot
# be cut into parts is as wide as it is.
_PIPED = sys.stdout is None or not sys.stdout.isatty()  # None where it was closed
_plain = partial(Console, markup=False, emoji=False, highlight=False)
out = _plain(soft_wrap=_PIPED)
_wide = _plain(width=1000 if _PIPED else None)
err = _plain(stderr=True)
_data = _plain(soft_wrap=True)
# Progress: what --quiet leaves out.
news = _plain(stderr=True)


def say(sentence: str) -> None:
    """Print a sentence as one line, however long, so that what it names can be copied."""
    out.print(sentence, soft_wrap=True)


def say_written(paths: Iterable[Path]) -> None:
    """Say which files were written."""
    say("wrote " + ", ".join(map(str, paths)))


def say_json(data: pd.DataFrame | Any) -> None:
    """Print JSON data, or the rows of a frame as the cells of its CSV are: six digits a number."""
    _data.print(json.dumps(_jsonable(data), indent=1))


def _jsonable(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _jsonable(value) for key, value in data.items()}
    if hasattr(data, "to_dict"):
        data = data.astype(object).where(data.notna(), None).to_dict("records")
    if isinstance(data, (list, tuple)):
        return [_jsonable(value) for value in data]
    if hasattr(data, "item"):  # a number of numpy
        data = data.item()
    if isinstance(data, float):
        return float(f"{data:.6g}") if math.isfinite(data) else str(data)
    return data


def print_whole(table: Table) -> None:
    """Print a table that cannot be cut into parts: no cell loses a letter."""
    for column in table.columns:
        column.overflow = "fold"
    _wide.print(table)


def print_cells(
    title: str, rows: list[str], name: str, columns: list[Any], cells: dict[Any, str]
) -> None:
    """Print a table of (row, column) cells, in as many parts as the terminal's width asks for."""
    out.print(title)
    first = max(len("algorithm"), *(len(row) for row in rows)) + 4
    widest = max(len(cell) for cell in cells.values()) + 3
    each = max((out.width - first) // widest, 1)
    for start in range(0, len(columns), each):
        part = columns[start : start + each]
        shown = {f"{name} = {column:g}": [cells[row, column] for row in rows] for column in part}
        _print_part({"algorithm": rows} | shown)


def print_columns(columns: dict[str, list[str]]) -> None:
    """Print columns in as many tables as the terminal's width asks for, each with the first."""
    title, *rest = columns
    widths = {key: 3 + max(len(text) for text in (key, *cells)) for key, cells in columns.items()}
    while rest:
        shown, left = [title], out.width - widths[title] - 1
        while rest and (len(shown) == 1 or widths[rest[0]] <= left):
            left -= widths[rest[0]]
            shown.append(rest.pop(0))
        _print_part({key: columns[key] for key in shown})


def _print_part(columns: dict[str, list[str]]) -> None:
    """Print a table whose first column may be folded, and no other."""
    title, *others = columns
    table = Table(Column(title, overflow="fold"), box=box.ROUNDED)
    for key in others:
        table.add_column(key, justify="right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    out.print(table)
