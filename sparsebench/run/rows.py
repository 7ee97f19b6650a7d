"""What is asked of a run and what it gives: blocks, their rows, and the experiments that choose."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsebench.registry import Choice, ProblemChoice
from sparsebench.run.pool import Each
from sparsebench.statistics.measures import EXACT, Success
from sparsebench.types import Status

#: Beside statuses: rows computed before all of their columns were recorded.
OLDER = "older"


@dataclass(frozen=True)
class Outcome:
    """The raw metrics of one solve; what a row holds beside its key.

    A failed solve (an exception, NaN, a wrong shape, a time-out, divergence) has support distance
    1 and no relative error or residual; it counts as not recovered. `n_iter` and `seconds` are None
    where they are unknown. `stages` is empty, or for a chain a JSON list of
    [name, iterations, seconds], one item a link. `near_1` and `near_2` are the support distances
    that forgive one and two indices, where atoms are ordered along a line; None where they are not,
    and in rows older than these columns. `missed_indices` and `false_indices` count the non-zeros
    of x that the estimate lacks and those of the estimate that x lacks; they and
    `prediction_error`, ||A(x - x*)|| / ||A x*||, are None of a failure, and the last two of rows
    older than these columns.
    """

    support_distance: float
    exact: bool
    relative_error: float | None
    relative_residual: float | None
    n_iter: int | None
    status: str
    message: str
    seconds: float | None
    stages: str = ""
    near_1: float | None = None
    near_2: float | None = None
    missed_indices: int | None = None
    false_indices: int | None = None
    prediction_error: float | None = None

    def is_of(self, kinds: Collection[str]) -> bool:
        """Whether the row has one of these statuses, or is `OLDER` and that is among them."""
        older = self.prediction_error is None and not Status(self.status).failed
        return self.status in kinds or (older and OLDER in kinds)


@dataclass(frozen=True)
class Block:
    """The unit of work: the (algorithm, k) pairs wanted on one dictionary draw."""

    problem: ProblemChoice
    seed: int
    n: int
    m: int
    trial: int
    pairs: tuple[tuple[Choice, int], ...]
    time_limit: float


Outcomes = dict[tuple[Choice, int], Outcome]
# Rows of one wave: a block and its outcomes by (algorithm, k).
Wave = list[tuple[Block, Outcomes]]


@dataclass(frozen=True)
class Curve:
    """What is decided about: one algorithm at one size; `rule` names all that decides but rows.

    What counts as a success is part of the rule, too.
    """

    problem: ProblemChoice
    seed: int
    n: int
    m: int
    algorithm: Choice
    time_limit: float
    rule: str
    success: Success = EXACT


@dataclass(frozen=True)
class Decision:
    """What has been decided about a curve, as JSON data, and the rows that it rests on.

    `rows` is an array of shape (rows, 3), in the order they were looked at: the trial, k, and
    1 for a success plus 2 for a time-out.
    """

    rows: NDArray[np.int32]
    state: Any


class Kept(Protocol):
    """The decisions that a store keeps."""

    def find(self, curves: Iterable[Curve]) -> dict[Curve, Decision]:
        """Return the kept decisions of curves, if every row they rest on is there unchanged."""
        ...


class Experiment(Protocol):
    """Decides which rows are worth having; knows algorithms by name only."""

    name: str
    algorithms: list[Choice]

    def wanted(self) -> list[Block]:
        """Return the blocks of the next wave, none when enough is known: by the rows alone."""
        ...

    def take(self, rows: Wave, each: Each) -> None:
        """Take the rows of a wave; `each` spreads what has to be worked out over the workers."""
        ...

    def take_up(self, kept: Kept) -> None:
        """Go on, before the first wave, from those decisions that are kept; none by default."""
        return

    def decided(self) -> dict[Curve, Decision]:
        """Return what the last wave decided; none by default."""
        return {}

    def solves_to_go(self) -> dict[tuple[Choice, int], int]:
        """Forecast the solves beyond the wave in progress, by (algorithm, m); none by default."""
        return {}

    def places(self, block: Block) -> list[int]:
        """Return, for each pair of a block, the place of what is never divided among shards."""
        return [block.trial] * len(block.pairs)

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON data."""
        ...
