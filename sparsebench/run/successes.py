"""Which outcomes count as successes, and what is said of rows that do not tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sparsebench.registry import ProblemChoice
from sparsebench.run.rows import Outcome
from sparsebench.statistics.measures import EXACT, MEASURES, Success, values_of
from sparsebench.types import FloatArray, InputError, Status


def noise_ratio(options: Mapping[str, Any]) -> float:
    """Return ||noise|| / ||A x|| of a problem with these options; 0 where it states no noise."""
    return 10 ** (-float(options.get("snr", math.inf)) / 20)


def check_success(success: Success, problem: ProblemChoice) -> None:
    """Refuse a level in units of a noise that is not there.

    Raises
    ------
    InputError
        With what to say instead.
    """
    if success.by_noise and not noise_ratio(dict(problem.options)):
        raise InputError(
            f"{success.text} is in units of the noise, and {problem.label} has none: "
            f"say its snr in dB, as -p '{problem.name}[snr=30]'"
        )


def successes(
    success: Success, problem: ProblemChoice, solved: Sequence[tuple[int, Outcome]]
) -> list[bool]:
    """Return which of some outcomes, each with its k, are successes.

    Raises
    ------
    InputError
        If some rows do not tell.
    """
    if success == EXACT:
        return [outcome.exact for _, outcome in solved]
    noise = noise_ratio(dict(problem.options))
    won = success.of(*_columns(success.columns, solved), noise)
    refuse_unknown(success, int((won != won).sum()), problem.label)
    return [bool(one) for one in won]


def measured(
    measure: str, problem: ProblemChoice, solved: Sequence[tuple[int, Outcome]]
) -> FloatArray:
    """Return a measure of some outcomes, each with its k.

    Raises
    ------
    InputError
        If some rows do not tell.
    """
    values = values_of(measure, *_columns(MEASURES[measure].columns, solved))
    refuse_unknown(Success(measure), int((values != values).sum()), problem.label)
    return values


def _columns(
    names: Sequence[str], solved: Sequence[tuple[int, Outcome]]
) -> tuple[dict[str, Any], list[bool]]:
    """Return columns of outcomes, NaN where one has none, and which of them failed."""
    columns: dict[str, Any] = {
        name: [getattr(outcome, name, math.nan) for _, outcome in solved] for name in names
    }
    columns["k"] = [k for k, _ in solved]
    return columns, [Status(outcome.status).failed for _, outcome in solved]


def refuse_unknown(success: Success, many: int, problem: str) -> None:
    """Refuse rows that do not tell whether they are successes, and say what to do."""
    if many and success.measure.startswith("near_"):
        raise InputError(
            f"{many:,} rows of {problem} have no {success.measure}: its atoms have no order, or "
            "the rows are older than this measure; choose another --out"
        )
    if many:
        raise InputError(
            f"{many:,} rows of {problem} were computed before what {success.text} looks at was "
            "recorded: --retry older computes such rows anew, or choose another --out"
        )
