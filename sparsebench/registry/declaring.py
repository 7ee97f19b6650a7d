"""The decorators that register algorithms and problems, and the tables they fill."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from sparsebench.errors import InputError, nearest
from sparsebench.registry.grammar import Option
from sparsebench.registry.records import Algorithm, ProblemGenerator
from sparsebench.types import Dictionary

FAMILIES = (
    "greedy",
    "thresholding",
    "local search",
    "exploration",
    "convex",
    "message passing",
    "Bayesian",
    "learned",
    "baseline",
    "peer",
)
#: Keyword parameters of an algorithm that are no options: they belong to a call, not to a recipe.
GIVEN = ("start", "support", "history", "noise")

_Function = TypeVar("_Function", bound=Callable[..., Any])

#: What is registered, by name.
ALGORITHMS: dict[str, Algorithm] = {}
PROBLEMS: dict[str, ProblemGenerator] = {}
# The version of whatever registers itself without one.
_default_version = "1"


@contextmanager
def default_version(version: str) -> Iterator[None]:
    """Give this version to whatever registers itself without one inside."""
    global _default_version
    outer, _default_version = _default_version, version
    try:
        yield
    finally:
        _default_version = outer


def algorithm(
    name: str | Callable[..., Any] | None = None,
    *,
    told: Sequence[str] | None = None,
    source: str = "",
    shares: Sequence[str] = (),
    version: str | None = None,
    family: str = "plug-in",
    cost: str = "",
    requires: str = "",
    several: Callable[..., Any] | None = None,
    twin: str = "",
    complex_numbers: bool = False,
    matrix_free: bool = False,
    path: Callable[..., Any] | str = "",
    revised: Callable[[dict[str, Option]], bool] | None = None,
) -> Any:
    """Register a function as an algorithm; use as ``@algorithm`` or ``@algorithm("name", ...)``.

    The function's first parameters are ``(A, y, k)`` and it returns ``x`` of shape (n,), or they
    are ``(dictionary, y, k)`` and it returns a `Result`. One without ``k`` is not told k, and may
    return any number of non-zeros. Keyword-only parameters with a default of type str, int, float
    or bool are its options. A keyword-only ``start=None`` says that it can continue from an
    estimate, shape (n,), so that it may stand after the + of a chain; ``support=None`` that it is
    told the true support; ``noise`` that it is told the noise level, the standard deviation of an
    entry of the noise in y's units, of complex numbers that of its modulus. `told` names what it is
    told beyond A and y; by default that is what its parameters say. ``complex_numbers=True`` says
    that A, y and x may be complex; otherwise it is not called with such. ``path`` says how a rule
    such as ``k=ebic`` finds k, ``revised`` at which options its results have changed (`Algorithm`).

    Raises
    ------
    InputError
        If the name is taken or the signature does not fit.
    """

    def register(function: _Function) -> _Function:
        if family not in (*FAMILIES, "plug-in"):
            raise InputError(f"unknown family {family!r}; {nearest(family, FAMILIES, 'families')}")
        unknown = [quantity for quantity in shares if not hasattr(Dictionary, quantity)]
        if unknown:
            raise InputError(f"a Dictionary has no quantity {unknown[0]!r} to share")
        _add(
            Algorithm(
                name=name if isinstance(name, str) else function.__name__,
                function=function,
                options=_options_of_function(function),
                told=_told_of_function(function, told),
                source=source,
                shares=tuple(shares),
                version=version or _default_version,
                family=family,
                cost=cost,
                requires=requires,
                several=several,
                twin=twin,
                complex_numbers=complex_numbers,
                matrix_free=matrix_free,
                path=path,
                revised=revised,
            )
        )
        return function

    return register(name) if callable(name) else register


def problem(name: str, *, source: str = "", version: str | None = None) -> Any:
    """Register a frozen dataclass as a problem generator.

    Its fields, each with a default of type str, int, float or bool, are the problem's options.
    It offers ``dictionary(rng, m, n) -> A``, and ``signal(rng, n, k) -> x`` unless x is to be that
    of `gaussian`; the class attribute ``fixed_dictionary = True`` says that A does not depend on
    ``rng``, ``ordered = True`` that neighbouring atoms are neighbours along a line; an attribute or
    property ``snr`` (dB) asks for noise; a method ``measurements(n)`` gives the m of n atoms where
    none is stated, an attribute or property ``atoms`` the n; ``complex_numbers`` says whether A is
    complex.

    Raises
    ------
    InputError
        If the name is taken or the class does not fit.
    """

    def register(factory: type) -> type:
        if not dataclasses.is_dataclass(factory):
            raise InputError(f"problem {name!r} must be a dataclass whose fields are its options")
        if not callable(getattr(factory, "dictionary", None)):
            raise InputError(f"problem {name!r} needs a method 'dictionary'")
        if not callable(getattr(factory, "signal", callable)):
            raise InputError(f"the signal of problem {name!r} is no method")
        options = {f.name: f.default for f in dataclasses.fields(factory) if f.init}
        _add(
            ProblemGenerator(
                name, factory, _check_defaults(name, options), source, version or _default_version
            )
        )
        return factory

    return register


def table_of(entry: Algorithm | ProblemGenerator) -> dict[str, Any]:
    """Return the table that an entry belongs to."""
    return ALGORITHMS if isinstance(entry, Algorithm) else PROBLEMS


def made_by(entry: Algorithm | ProblemGenerator) -> str:
    """Return the name of the module that an entry comes from."""
    maker = entry.function if isinstance(entry, Algorithm) else entry.factory
    return str(getattr(maker, "__module__", ""))


@cache
def own_parameters() -> tuple[frozenset[str], frozenset[str]]:
    """Return what `solve` and `draw` call their own parameters: no option of those names arrives.

    Importing them registers everything of ours, so that no plug-in can take its names first.
    """
    calls = (import_module("sparsebench.solvers").solve, import_module("sparsebench.problems").draw)
    solve, draw = (
        frozenset(
            p.name for p in inspect.signature(call).parameters.values() if p.kind != p.VAR_KEYWORD
        )
        for call in calls
    )
    return solve, draw


def _add(entry: Algorithm | ProblemGenerator) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", entry.name):
        raise InputError(
            f"{entry.name!r} is no name: use letters, digits, '_', '-' and '.', and begin with a "
            "letter or a digit"
        )
    if not made_by(entry).startswith("sparsebench."):
        _check_reserved(entry)
    table = table_of(entry)
    if entry.name in table:
        raise InputError(taken(entry.name))
    table[entry.name] = entry


def taken(name: str) -> str:
    """Say that a name is no longer free."""
    return f"the name {name!r} is taken already; choose another"


def _check_reserved(entry: Algorithm | ProblemGenerator) -> None:
    """Refuse options that the call they are passed to would keep for itself."""
    solve, draw = own_parameters()
    call, reserved = ("solve", solve) if isinstance(entry, Algorithm) else ("draw", draw)
    options = set(entry.options)
    if isinstance(entry, Algorithm):
        # One of `GIVEN` whose default says more than that nothing is given.
        parameters = inspect.signature(entry.function).parameters
        options |= {
            name
            for name in GIVEN
            if name in parameters
            and not any(
                parameters[name].default is none for none in (None, False, inspect.Parameter.empty)
            )
        }
    for option in sorted(options & reserved):
        raise InputError(
            f"option {option!r} of {entry.name} is a parameter of {call} itself; "
            f"choose another name than {', '.join(sorted(reserved))}"
        )


def _options_of_function(function: Callable[..., Any]) -> dict[str, Option]:
    name = getattr(function, "__name__", "function")
    parameters = list(inspect.signature(function).parameters.values())
    first = [p.name for p in parameters[:3] if p.kind != p.KEYWORD_ONLY]
    if first[:2] not in (["A", "y"], ["dictionary", "y"]) or first[2:] not in ([], ["k"]):
        raise InputError(
            f"{name} must take (A, y, k) or (dictionary, y, k), without k where it is not told k, "
            f"not {first}"
        )
    rest = [p for p in parameters[len(first) :] if p.name not in GIVEN]
    unusable = [p.name for p in rest if p.default is p.empty]
    if unusable:
        raise InputError(f"option {unusable[0]!r} of {name} needs a default value")
    return _check_defaults(name, {p.name: p.default for p in rest})


def _told_of_function(
    function: Callable[..., Any], stated: Sequence[str] | None
) -> tuple[str, ...]:
    """Return what a function is told, refusing a statement that its parameters contradict."""
    name = getattr(function, "__name__", "function")
    parameters = inspect.signature(function).parameters
    handed = [item for item in ("k", "support", "noise") if item in parameters]
    if stated is None:
        return tuple(item for item in handed if item != "k" or "support" not in handed)
    for item in handed:
        if item not in stated and not (item == "k" and "support" in stated):
            raise InputError(
                f"{name} takes {item} and is not told it: name {item!r} in told=(...), or leave "
                "the parameter out"
            )
    for item in ("k", "support", "noise"):
        if item in stated and item not in handed:
            raise InputError(f"{name} is told {item} and has no parameter {item!r} to take it")
    return tuple(stated)


def _check_defaults(name: str, options: dict[str, Any]) -> dict[str, Option]:
    for key, default in options.items():
        if not isinstance(default, str | int | float | bool):
            raise InputError(
                f"option {key!r} of {name} needs a default of type str, int, float or bool"
            )
    return options
