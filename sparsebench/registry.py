"""Names: registering algorithms and problems, and choosing them by pattern and options."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import hashlib
import importlib.util
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from sparsebench.types import Dictionary, InputError, check_whole

ENTRY_POINT_GROUP = "sparsebench.plugins"

Option = str | int | float | bool
Options = tuple[tuple[str, Option], ...]
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Algorithm:
    """A registered algorithm.

    Attributes
    ----------
    name : str
        Registry name.
    function : callable
        ``(dictionary, y, k, **options) -> Result``, or a plain ``(A, y, k, **options) -> x``.
    options : dict
        Option names with their defaults, read off the function's keyword-only parameters.
    told : tuple of str
        What it is told beyond A and y: "k", "lambda", "noise level", "training".
    source : str
        Authors, title, year and DOI or arXiv number.
    shares : tuple of str
        The `Dictionary` quantities it reads, computed once a dictionary before it is timed.
    version : str
        Changes whenever its results may change; part of every row's key.
    """

    name: str
    function: Callable[..., Any]
    options: dict[str, Option]
    told: tuple[str, ...]
    source: str
    shares: tuple[str, ...]
    version: str

    @property
    def plain(self) -> bool:
        """Whether it takes the array A rather than a `Dictionary`."""
        return next(iter(inspect.signature(self.function).parameters)) == "A"

    @property
    def summary(self) -> str:
        """First line of its docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


@dataclass(frozen=True)
class ProblemGenerator:
    """A registered problem: a frozen dataclass whose fields are its options.

    Attributes
    ----------
    name : str
        Registry name.
    factory : type
        Called with the options; offers ``dictionary(rng, m, n)`` and ``signal(rng, n, k)``.
    options : dict
        Option names with their defaults.
    source : str
        Where the problem comes from.
    version : str
        Changes whenever its instances change; part of every row's key.
    """

    name: str
    factory: type
    options: dict[str, Option]
    source: str
    version: str

    @property
    def summary(self) -> str:
        """First line of its docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]


@dataclass(frozen=True, order=True)
class Choice:
    """A registered name with all of its options: plain data that travels to workers and stores.

    Attributes
    ----------
    name, version : str
        Which algorithm or problem.
    options : tuple of (str, value)
        Every option, defaults included, sorted by name.
    label : str
        The short text: the name, with those options that differ from their defaults.
    """

    name: str
    options: Options
    version: str
    label: str = field(compare=False)

    @property
    def recipe(self) -> dict[str, Any]:
        """What determines it, as JSON data."""
        return {"name": self.name, "version": self.version, "options": dict(self.options)}


_ALGORITHMS: dict[str, Algorithm] = {}
_PROBLEMS: dict[str, ProblemGenerator] = {}
# What each plug-in file registered.
_PLUGIN_NAMES: dict[Path, list[tuple[dict[str, Any], str]]] = {}
# The version of whatever registers itself without one: set while a plug-in file is loaded.
_default_version = "1"


def algorithm(
    name: str | Callable[..., Any] | None = None,
    *,
    told: Sequence[str] = ("k",),
    source: str = "",
    shares: Sequence[str] = (),
    version: str | None = None,
) -> Any:
    """Register a function as an algorithm; use as ``@algorithm`` or ``@algorithm("name", ...)``.

    The function's first parameters are ``(A, y, k)`` and it returns ``x`` of shape (n,), or they
    are ``(dictionary, y, k)`` and it returns a `Result`. Keyword-only parameters with a default
    of type str, int, float or bool are its options.

    Raises
    ------
    InputError
        If the name is taken or the signature does not fit.
    """

    def register(function: _Function) -> _Function:
        unknown = [quantity for quantity in shares if not hasattr(Dictionary, quantity)]
        if unknown:
            raise InputError(f"a Dictionary has no quantity {unknown[0]!r} to share")
        _add(
            _ALGORITHMS,
            Algorithm(
                name=name if isinstance(name, str) else function.__name__,
                function=function,
                options=_options_of_function(function),
                told=tuple(told),
                source=source,
                shares=tuple(shares),
                version=version or _default_version,
            ),
        )
        return function

    return register(name) if callable(name) else register


def problem(name: str, *, source: str = "", version: str | None = None) -> Any:
    """Register a frozen dataclass as a problem generator.

    Its fields, each with a default of type str, int, float or bool, are the problem's options.
    It offers ``dictionary(rng, m, n) -> A`` and ``signal(rng, n, k) -> x``; the class attribute
    ``fixed_dictionary = True`` says that A does not depend on ``rng``; an attribute or property
    ``snr`` (dB) asks for noise.

    Raises
    ------
    InputError
        If the name is taken or the class does not fit.
    """

    def register(factory: type) -> type:
        if not dataclasses.is_dataclass(factory):
            raise InputError(f"problem {name!r} must be a dataclass whose fields are its options")
        for method in ("dictionary", "signal"):
            if not callable(getattr(factory, method, None)):
                raise InputError(f"problem {name!r} needs a method {method!r}")
        options = {f.name: f.default for f in dataclasses.fields(factory)}
        _add(
            _PROBLEMS,
            ProblemGenerator(
                name, factory, _check_defaults(name, options), source, version or _default_version
            ),
        )
        return factory

    return register


def algorithms() -> list[Algorithm]:
    """Return every registered algorithm, sorted by name."""
    load_entry_points()
    return [_ALGORITHMS[name] for name in sorted(_ALGORITHMS)]


def problems() -> list[ProblemGenerator]:
    """Return every registered problem generator, sorted by name."""
    load_entry_points()
    return [_PROBLEMS[name] for name in sorted(_PROBLEMS)]


def get_algorithm(name: str) -> Algorithm:
    """Return one algorithm by its exact name, or raise `InputError` naming the nearest match."""
    return _get(_ALGORITHMS, "algorithm", name)


def get_problem(name: str) -> ProblemGenerator:
    """Return one problem by its exact name, or raise `InputError` naming the nearest match."""
    return _get(_PROBLEMS, "problem", name)


def choose_algorithms(selection: str | Iterable[str]) -> list[Choice]:
    """Return the algorithms that patterns such as ``omp,sea*,iht[step=1/L]`` select.

    Parameters
    ----------
    selection : str or iterable of str
        Names or patterns (``*``, ``?``), each with options in brackets, separated by commas.

    Returns
    -------
    list of Choice
        In the order named, without repetition.

    Raises
    ------
    InputError
        If a pattern matches nothing, an option is unknown or a value does not fit its type.
    """
    texts = [selection] if isinstance(selection, str) else list(selection)
    chosen: dict[Choice, None] = {}
    for pattern, options in (parse_choice(part) for text in texts for part in split(text)):
        load_entry_points()
        matches = fnmatch.filter(sorted(_ALGORITHMS), pattern)
        for entry in [_ALGORITHMS[m] for m in matches] or [get_algorithm(pattern)]:
            chosen[choice(entry, options)] = None
    if not chosen:
        raise InputError("no algorithm was chosen; 'sparsebench list' shows them all")
    return list(chosen)


def choose_problem(text: str) -> Choice:
    """Return the problem that a text such as ``deconvolution[width=3]`` names."""
    parts = split(text)
    if len(parts) != 1:
        raise InputError(f"one problem at a time, not {text!r}")
    name, options = parse_choice(parts[0])
    return choice(get_problem(name), options)


def choice(entry: Algorithm | ProblemGenerator, options: dict[str, Any]) -> Choice:
    """Return `entry` with `options` over its defaults, each checked against its default's type.

    Raises
    ------
    InputError
        If an option is unknown (the nearest match is named) or a value does not fit.
    """
    filled = dict(entry.options)
    for key, value in options.items():
        if key not in filled:
            raise InputError(
                f"{entry.name} has no option {key!r}; {_nearest(key, list(filled), 'options')}"
            )
        filled[key] = _convert(entry.name, key, value, entry.options[key])
    _check_limits(filled)
    changed = [f"{k}={_text(v)}" for k, v in sorted(filled.items()) if v != entry.options[k]]
    label = f"{entry.name}[{','.join(changed)}]" if changed else entry.name
    return Choice(entry.name, tuple(sorted(filled.items())), entry.version, label)


def split(text: str) -> list[str]:
    """Split ``a,b[c=1,d=2]`` at its top-level commas."""
    if text.count("[") != text.count("]"):
        raise InputError(f"unbalanced brackets in {text!r}; write name[option=value,...]")
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def parse_choice(text: str) -> tuple[str, dict[str, str]]:
    """Split ``name[a=1,b=2]`` into its name and its options as texts."""
    match = re.fullmatch(r"([^\[\]=]+)(?:\[([^\[\]]*)\])?", text.strip())
    if match is None:
        raise InputError(f"cannot read {text!r}; write name or name[option=value,...]")
    options: dict[str, str] = {}
    for item in filter(None, (match[2] or "").split(",")):
        key, equals, value = item.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise InputError(f"cannot read {item!r} in {text!r}; write option=value")
        options[key.strip()] = value.strip()
    return match[1].strip(), options


def load_plugin(path: str | Path) -> list[str]:
    """Run a user's Python file and register the algorithms and problems in it.

    Decorated functions keep the name they were given. Every other public function defined in the
    file whose first parameters are ``(A, y, k)`` is registered under its own name. The version of
    each is the hash of the file, so that an edited file is never mistaken for an older one.

    Returns
    -------
    list of str
        The names of the algorithms it registered.

    Raises
    ------
    InputError
        If the file does not exist, does not run, or registers nothing.
    """
    file = Path(path).resolve()
    return list(_load_plugin(file, plugin_fingerprint(file)))


def plugin_fingerprint(path: str | Path) -> str:
    """Return the hash of a plug-in file, which is the version of what it registers.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
    except OSError:
        raise InputError(f"no plug-in file {path}") from None


@cache
def _load_plugin(file: Path, fingerprint: str) -> tuple[str, ...]:
    global _default_version
    for table, name in _PLUGIN_NAMES.pop(file, []):  # an older version of the same file
        table.pop(name, None)
    module_name = f"sparsebench_plugin_{fingerprint}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    before = {id(table): set(table) for table in (_ALGORITHMS, _PROBLEMS)}
    _default_version = fingerprint
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
        _register_plain_functions(module, before[id(_ALGORITHMS)])
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{file} failed to load: {_one_line(error)}") from error
    finally:
        _default_version = "1"
    added = sorted(set(_ALGORITHMS) - before[id(_ALGORITHMS)])
    added_problems = sorted(set(_PROBLEMS) - before[id(_PROBLEMS)])
    if not added and not added_problems:
        raise InputError(f"{file} defines no function (A, y, k) -> x and registers nothing")
    _PLUGIN_NAMES[file] = [
        *((_ALGORITHMS, name) for name in added),
        *((_PROBLEMS, name) for name in added_problems),
    ]
    return tuple(added)


def _register_plain_functions(module: ModuleType, before: set[str]) -> None:
    decorated = {_ALGORITHMS[name].function for name in set(_ALGORITHMS) - before}
    for name, function in inspect.getmembers(module, _is_function):
        own = function.__module__ == module.__name__ and not name.startswith("_")
        if own and function not in decorated:
            if list(inspect.signature(function).parameters)[:3] == ["A", "y", "k"]:
                algorithm(name)(function)


def _is_function(member: Any) -> bool:
    """Whether it is a function, or one that numba compiles."""
    return inspect.isfunction(member) or inspect.isfunction(getattr(member, "py_func", None))


@cache
def load_entry_points() -> None:
    """Import the plug-ins of installed packages; a broken one is a warning, not a crash."""
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry.load()
        except Exception as error:
            warnings.warn(
                f"plug-in {entry.name!r} failed to load: {_one_line(error)}", stacklevel=2
            )


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _add(table: dict[str, Any], entry: Any) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", entry.name):
        raise InputError(f"{entry.name!r} is no name: use letters, digits, '_', '-' and '.'")
    if entry.name in table:
        raise InputError(f"the name {entry.name!r} is taken already; choose another")
    table[entry.name] = entry


def _get(table: dict[str, Any], kind: str, name: str) -> Any:
    load_entry_points()
    if name not in table:
        raise InputError(f"unknown {kind} {name!r}; {_nearest(name, sorted(table), kind + 's')}")
    return table[name]


def _nearest(name: str, known: Sequence[str], kind: str) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"the {kind} are {', '.join(known)}" if known else f"there are no {kind}"


def nearest_name(name: str, known: Iterable[str], kind: str) -> str:
    """Return the line "unknown <kind> ...; did you mean ...?" for an error message."""
    return f"unknown {kind} {name!r}; {_nearest(name, sorted(known), kind + 's')}"


def _options_of_function(function: Callable[..., Any]) -> dict[str, Option]:
    name = getattr(function, "__name__", "function")
    parameters = list(inspect.signature(function).parameters.values())
    first = [p.name for p in parameters[:3]]
    if first not in (["A", "y", "k"], ["dictionary", "y", "k"]):
        raise InputError(f"{name} must take (A, y, k) or (dictionary, y, k), not {first}")
    unusable = [p.name for p in parameters[3:] if p.default is p.empty]
    if unusable:
        raise InputError(f"option {unusable[0]!r} of {name} needs a default value")
    return _check_defaults(name, {p.name: p.default for p in parameters[3:]})


def _check_defaults(name: str, options: dict[str, Any]) -> dict[str, Option]:
    for key, default in options.items():
        if not isinstance(default, str | int | float | bool):
            raise InputError(
                f"option {key!r} of {name} needs a default of type str, int, float or bool"
            )
    return options


def _convert(owner: str, key: str, value: Any, default: Option) -> Option:
    kind = type(default)
    try:
        if kind is bool:
            named = {"true": True, "false": False, "1": True, "0": False}
            return named[str(value).lower()]
        if kind is int:
            return int(str(value)) if isinstance(value, str) else _exact_int(value)
        return kind(value)
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"option {key!r} of {owner} is of type {kind.__name__}, not {value!r}"
        ) from None


def _check_limits(options: dict[str, Any]) -> None:
    """Refuse values of `max_iter` and `tol`, which mean the same everywhere, that cannot be."""
    if isinstance(options.get("max_iter"), int):
        check_whole("max_iter", options["max_iter"], 1, 10**8)
    if isinstance(options.get("tol"), float) and not 0 <= options["tol"] < 1:
        raise InputError(f"tol must be a fraction in [0, 1), not {options['tol']}")


def _exact_int(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise ValueError
    return int(value)


def _text(value: Option) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
