"""Step sizes of gradient methods, written as in the papers."""

from __future__ import annotations

import re
from functools import cache

from sparsebench.types import Dictionary, InputError


def step_size(rule: str, dictionary: Dictionary) -> float:
    """Return the step that `rule` means on this dictionary.

    Parameters
    ----------
    rule : str
        ``"c/L"`` is c / ||A||²; ``"c"`` is c over the mean squared column norm, which is the step
        c itself on unit-norm columns. Both leave an algorithm unchanged when A and y are scaled.
    dictionary : Dictionary

    Raises
    ------
    InputError
        If the rule cannot be read or the step is not positive.
    """
    factor, over_norm = _read(rule)
    norm = dictionary.squared_spectral_norm if over_norm else dictionary.mean_squared_norm
    return factor / norm


def safe_step(step: float, dictionary: Dictionary) -> float:
    """Return what to take where `step` would raise a residual: 1/||A||², which cannot.

    Only for a step below 2/||A||², with which iterations on one support stay bounded; a longer one
    is what was asked for, and may diverge.
    """
    shortest = step_size("1/L", dictionary)
    return min(step, shortest) if step < 2 * shortest else step


@cache
def _read(rule: str) -> tuple[float, bool]:
    """Return c of a rule ``c`` or ``c/L``, and whether it is the second."""
    number = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
    match = re.fullmatch(rf"\s*({number})\s*(/\s*L)?\s*", rule)
    factor = float(match[1]) if match else 0.0
    if match is None or not 0 < factor < float("inf"):
        raise InputError(f"cannot read the step {rule!r}; write a number, or one over L as 1.8/L")
    return factor, match[2] is not None
