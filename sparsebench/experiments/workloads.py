"""What is timed, as data."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from sparsebench.errors import InputError, nearest_name


@dataclass(frozen=True)
class Workload:
    """What is solved: `instances` dictionaries, and on each one or several signals at a time."""

    name: str
    problem: str
    m: int
    n: int
    k: int
    instances: int = 10
    signals: int = 1


WORKLOADS = (
    Workload("gaussian", "gaussian", 250, 500, 50),
    Workload("gaussian-2000", "gaussian", 1000, 2000, 100, instances=3),
    Workload("deconvolution", "deconvolution[width=3]", 500, 500, 20),
    Workload("batch", "gaussian[columns=unit]", 256, 512, 32, instances=1, signals=1000),
)


def choose_workloads(selection: Iterable[str]) -> list[Workload]:
    """Return the workloads that names or patterns select, in the order of `WORKLOADS`.

    Raises
    ------
    InputError
        If one matches nothing.
    """
    from sparsebench.registry import split

    names = [workload.name for workload in WORKLOADS]
    wanted = [part for text in selection for part in split(text)] or ["*"]
    for part in wanted:
        if not fnmatch.filter(names, part):
            raise InputError(nearest_name(part, names, "workload"))
    return [w for w in WORKLOADS if any(fnmatch.fnmatchcase(w.name, part) for part in wanted)]
