"""What is registered, by name: ours, and that of plug-ins."""

from __future__ import annotations

from typing import Any

from sparsebench.errors import InputError, nearest
from sparsebench.registry.declaring import ALGORITHMS, PROBLEMS
from sparsebench.registry.grammar import text_only
from sparsebench.registry.plugins import load_entry_points
from sparsebench.registry.records import Algorithm, ProblemGenerator


def algorithms() -> list[Algorithm]:
    """Return every registered algorithm, sorted by name."""
    load_entry_points()
    return [ALGORITHMS[name] for name in sorted(ALGORITHMS)]


def problems() -> list[ProblemGenerator]:
    """Return every registered problem generator, sorted by name."""
    load_entry_points()
    return [PROBLEMS[name] for name in sorted(PROBLEMS)]


def get_algorithm(name: str) -> Algorithm:
    """Return one algorithm by its exact name.

    Raises
    ------
    InputError
        If the name is unknown (the nearest match is named), or its package is not installed.
    """
    entry: Algorithm = _get(ALGORITHMS, "algorithm", name)
    if not entry.installed:
        raise InputError(f"{entry.name} needs {entry.needs}")
    return entry


def get_problem(name: str) -> ProblemGenerator:
    """Return one problem by its exact name, or raise `InputError` naming the nearest match."""
    found: ProblemGenerator = _get(PROBLEMS, "problem", name)
    return found


def _get(table: dict[str, Any], kind: str, name: str) -> Any:
    load_entry_points()
    if text_only(name) not in table:
        raise InputError(f"unknown {kind} {name!r}; {nearest(name, sorted(table), kind + 's')}")
    return table[name]
