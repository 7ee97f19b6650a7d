"""The grammar of choices: names, options in brackets, chains, and what an option may be."""

from __future__ import annotations

import numbers
import re
from typing import Any

from sparsebench.errors import InputError, check_whole, nearest

Option = str | int | float | bool


def split(text: str) -> list[str]:
    """Split ``a,b[c=1,d=2]`` at its top-level commas."""
    if text_only(text).count("[") != text.count("]"):
        raise InputError(f"unbalanced brackets in {text!r}; write name[option=value,...]")
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def parse_links(text: str) -> list[tuple[str, dict[str, str]]]:
    """Split ``a[p=1]+b[q=2]`` into its links, each a name and its options as texts."""
    parts = re.split(r"\+(?![^\[\]]*\])", text_only(text))
    if not all(part.strip() for part in parts):
        raise InputError(f"cannot read {text!r}; write a chain as name+name")
    return [parse_choice(part) for part in parts]


def parse_choice(text: str) -> tuple[str, dict[str, str]]:
    """Split ``name[a=1,b=2]`` into its name and its options as texts."""
    match = re.fullmatch(r"([^\[\]=]+)(?:\[([^\[\]]*)\])?", text_only(text).strip())
    if match is None:
        raise InputError(f"cannot read {text!r}; write name or name[option=value,...]")
    options: dict[str, str] = {}
    for item in filter(None, (match[2] or "").split(",")):
        key, equals, value = item.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise InputError(f"cannot read {item!r} in {text!r}; write option=value")
        options[key.strip()] = value.strip()
    return match[1].strip(), options


def text_only(text: Any) -> str:
    """Return a name, refusing what is no text."""
    if not isinstance(text, str):
        raise InputError(f"a name is a text such as 'omp' or 'htp[step=1.8/L]', not {text!r}")
    return text


def filled(owner: str, defaults: dict[str, Option], given: dict[str, Any]) -> dict[str, Option]:
    """Return `defaults` with what is given over them, each checked against its default's type.

    Raises
    ------
    InputError
        If an option is unknown (the nearest match is named) or a value does not fit.
    """
    options = dict(defaults)
    for key, value in given.items():
        if key not in options:
            known = nearest(key, list(options), "options")
            raise InputError(f"{owner} has no option {key!r}; {known}")
        options[key] = _convert(owner, key, value, defaults[key])
    _check_limits(options)
    return options


def label(name: str, defaults: dict[str, Option], options: dict[str, Option]) -> str:
    """Return the short text of a choice: its name, with what differs from the defaults."""
    changed = [f"{k}={_text(v)}" for k, v in sorted(options.items()) if v != defaults[k]]
    return f"{name}[{','.join(changed)}]" if changed else name


def _convert(owner: str, key: str, value: Any, default: Option) -> Option:
    kind = type(default)
    try:
        if kind is bool:
            named = {"true": True, "false": False, "1": True, "0": False}
            return named[str(value).lower()]
        if kind is str:
            return str(value)
        if isinstance(value, str):
            return kind(value)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError
        return float(value) if kind is float else _exact_int(value)
    except (KeyError, OverflowError, TypeError, ValueError):
        raise InputError(
            f"option {key!r} of {owner} is of type {kind.__name__}, not {value!r}"
        ) from None


def _check_limits(options: dict[str, Any]) -> None:
    """Refuse values that cannot be of options which mean the same everywhere."""
    for key, value in options.items():
        name = key.rpartition(".")[2]
        if name == "max_iter" and isinstance(value, int):
            check_whole(key, value, 1, 10**8)
        if name in ("tol", "settled") and isinstance(value, float) and not 0 <= value < 1:
            raise InputError(f"{key} must be a fraction in [0, 1), not {value}")


def _exact_int(value: Any) -> int:
    if int(value) != value:
        raise ValueError
    return int(value)


def _text(value: Option) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
