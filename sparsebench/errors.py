"""What a caller passed and cannot be used, and one line that says so; loaded in no time."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable, Sequence

# A store keeps whole numbers in 64 bits; larger dictionaries than this do not fit into memory.
LARGEST_INTEGER = 2**63 - 1
_MOST_ATOMS = 1_000_000


class InputError(ValueError):
    """What a caller passed cannot be used; the message is one line that says what to do."""

    def __init__(self, message: str) -> None:
        # What it quotes may have several.
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


def check_whole(name: str, value: object, low: int, high: int) -> int:
    """Return `value` as an int, refusing what is not a whole number in low .. high."""
    if isinstance(value, bool) or not isinstance(value, (int, numbers.Integral)):
        raise InputError(f"{name} must be a whole number, not {value!r}")
    number = int(value)
    if not low <= number <= high:
        limit = f"at least {low}" if number < low else f"at most {high:,}"
        raise InputError(f"{name} must be {limit}, not {number}")
    return number


def check_sizes(m: int, n: int, k: int, *, most: int = _MOST_ATOMS) -> None:
    """Refuse sizes that no instance can have.

    Raises
    ------
    InputError
        Unless m, n, k are whole numbers with n >= 1 and 1 <= k <= min(m, n).
    """
    for name, value in (("m", m), ("n", n), ("k", k)):
        check_whole(name, value, 1, most)
    if k > min(m, n):
        raise InputError(f"k = {k} exceeds min(m, n) = {min(m, n)}")


def check_seed(seed: int) -> None:
    """Refuse a root seed that is not a whole number of 64 bits."""
    check_whole("seed", seed, -LARGEST_INTEGER, LARGEST_INTEGER)


def nearest(name: str, known: Sequence[str], kind: str) -> str:
    """Return the end of an error message about an unknown name: the nearest, or all there are."""
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"the {kind} are {', '.join(known)}" if known else f"there are no {kind}"


def nearest_name(name: str, known: Iterable[str], kind: str) -> str:
    """Return the line "unknown <kind> ...; did you mean ...?" for an error message."""
    return f"unknown {kind} {name!r}; {nearest(name, sorted(known), kind + 's')}"
