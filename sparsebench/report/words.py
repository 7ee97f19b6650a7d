"""Words for success rates, which tables and pictures share."""

from __future__ import annotations


def percent(level: float) -> str:
    """Write a rate in per cent, as many digits as it has."""
    return f"{100 * level:.10g}%"


def rate_of(level: float, success: str) -> str:
    """Say what a success rate is one of."""
    if success == "exact":
        return f"{percent(level)} of supports are recovered"
    return f"{percent(level)} of solves have {success}"
