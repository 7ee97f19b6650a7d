"""From a text such as ``els+sea[step=18/L]`` to the choice that it names."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

from sparsebench.registry import devices
from sparsebench.registry.catalogue import get_algorithm, get_problem
from sparsebench.registry.choices import Choice, ProblemChoice, bind, prefixes, problem_contents
from sparsebench.registry.declaring import ALGORITHMS
from sparsebench.registry.grammar import filled, label, parse_choice, parse_links, split, text_only
from sparsebench.registry.plugins import load_entry_points
from sparsebench.registry.records import Algorithm
from sparsebench.types import InputError


def choose_algorithms(selection: str | Iterable[str]) -> list[Choice]:
    """Return the algorithms that patterns such as ``omp,sea*,iht[step=1/L]`` select.

    Parameters
    ----------
    selection : str or iterable of str
        Names or patterns (``*``, ``?``), each with options in brackets, separated by commas; or
        chains of names, ``els+sea[step=18/L]``. A pattern passes over what is not installed
        or needs trained weights.

    Returns
    -------
    list of Choice
        In the order named, without repetition.

    Raises
    ------
    InputError
        If a pattern matches nothing, an option is unknown or a value does not fit its type.
    """
    try:
        texts = [selection] if isinstance(selection, str) else list(selection)
    except TypeError:
        raise InputError(f"algorithms are named by a text or several, not {selection!r}") from None
    chosen: dict[Choice, None] = {}
    for part in (part for text in texts for part in split(text)):
        load_entry_points()
        links = parse_links(part)
        name, options = links[0]
        matches = [m for m in fnmatch.filter(sorted(ALGORITHMS), name) if m != name]
        if len(links) > 1 or not matches:
            chosen[choose_algorithm(part)] = None
            continue
        entries = [ALGORITHMS[m] for m in matches if ALGORITHMS[m].ready]
        for entry in entries or [get_algorithm(matches[0])]:
            chosen[bind([entry], options)] = None
    if not chosen:
        raise InputError("no algorithm was chosen; 'sparsebench list' shows them all")
    return list(chosen)


# Those of a name alone, with the record each was made of.
_DEFAULTS: dict[str, tuple[Algorithm, Choice]] = {}


def choose_algorithm(text: str, options: dict[str, Any] | None = None) -> Choice:
    """Return the algorithm or chain that a text such as ``htp[step=1.8/L]`` names.

    Raises
    ------
    InputError
        If a name or an option is unknown, a value does not fit, a package is not installed, or a
        later link of a chain cannot start from an estimate.
    """
    known = _DEFAULTS.get(text_only(text))
    if known and known[0] is ALGORITHMS.get(text) and known[0].ready and not options:
        return known[1]  # a solve can be as short as all the rest
    links = parse_links(text)
    entries = [get_algorithm(name) for name, _ in links]
    inline = {
        prefix + key: value
        for prefix, (_, own) in zip(prefixes(entries), links, strict=True)
        for key, value in own.items()
    }
    chosen = bind(entries, {**inline, **(options or {})})
    if text == entries[0].name and not options and not chosen.contents:
        _DEFAULTS[text] = entries[0], chosen
    return chosen


def choose_problem(text: str, options: dict[str, Any] | None = None) -> ProblemChoice:
    """Return the problem that a text such as ``deconvolution[width=3]`` names.

    Raises
    ------
    InputError
        If the name or an option is unknown, or a value does not fit.
    """
    parts = split(text)
    if len(parts) != 1:
        raise InputError(f"one problem at a time, not {text!r}")
    name, inline = parse_choice(parts[0])
    found = get_problem(name)
    every = filled(found.name, found.options, {**inline, **(options or {})})
    short = label(found.name, found.options, every)
    values = tuple(sorted(every.items()))
    return ProblemChoice(found.name, values, found.version, short, problem_contents(found, every))


def on_device(
    chosen: Sequence[Choice], name: str, precision: str = "float64"
) -> tuple[list[Choice], str]:
    """Return the choices as they run on the device that a user named, and the device.

    With ``auto``, an algorithm without a twin stays on the processor.

    Raises
    ------
    InputError
        If there is no such device, or an algorithm has no twin.
    """
    device = devices.resolve(name)
    devices.check_precision(device, precision)
    stays = [name == "auto" and not one.has_twin for one in chosen]
    return [
        one if stay else one.on(device, precision) for one, stay in zip(chosen, stays, strict=True)
    ], device
