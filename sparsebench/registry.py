"""Names: registering algorithms and problems, and choosing them by pattern and options."""

from __future__ import annotations

import ast
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
from functools import cache, cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from sparsebench.types import Dictionary, InputError, check_whole

ENTRY_POINT_GROUP = "sparsebench.plugins"
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
GIVEN = ("start", "support", "history")

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
    family : str
        The heading it stands under: one of `FAMILIES`, or "plug-in".
    cost : str
        Flops of one iteration, a Python expression in m, n and k; empty if not known.
    requires : str
        The package that must be installed for it; empty if none beyond our own.
    several : callable, optional
        ``(dictionary, signals, k, **options) -> (estimates, iterations)``: the same algorithm for
        signals of shape (B, m) at once, with estimates of shape (B, n).
    stages : tuple of Algorithm
        The links of a chain such as ``els+sea``, each started from the estimate before it.
    """

    name: str
    function: Callable[..., Any]
    options: dict[str, Option]
    told: tuple[str, ...]
    source: str
    shares: tuple[str, ...]
    version: str
    family: str = "plug-in"
    cost: str = ""
    requires: str = ""
    several: Callable[..., Any] | None = None
    stages: tuple[Algorithm, ...] = ()

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of its function's parameters."""
        return tuple(inspect.signature(self.function).parameters)

    @property
    def plain(self) -> bool:
        """Whether it takes the array A rather than a `Dictionary`."""
        return self.parameters[0] == "A"

    def accepts(self, given: str) -> bool:
        """Whether it takes one of `GIVEN`: a start, the true support, or a wish for a history."""
        first = self.stages[0] if self.stages else self
        return given in first.parameters

    @property
    def installed(self) -> bool:
        """Whether the package it requires is there."""
        return not self.requires or importlib.util.find_spec(self.requires) is not None

    @property
    def ready(self) -> bool:
        """Whether it runs with its default options: it is installed and needs no weights named."""
        return self.installed and self.options.get("weights") != ""

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
    family: str = "plug-in",
    cost: str = "",
    requires: str = "",
    several: Callable[..., Any] | None = None,
) -> Any:
    """Register a function as an algorithm; use as ``@algorithm`` or ``@algorithm("name", ...)``.

    The function's first parameters are ``(A, y, k)`` and it returns ``x`` of shape (n,), or they
    are ``(dictionary, y, k)`` and it returns a `Result`. Keyword-only parameters with a default
    of type str, int, float or bool are its options. A keyword-only ``start=None`` says that it
    can continue from an estimate, shape (n,), so that it may stand after the + of a chain;
    ``support=None`` that it is told the true support.

    Raises
    ------
    InputError
        If the name is taken or the signature does not fit.
    """

    def register(function: _Function) -> _Function:
        if family not in (*FAMILIES, "plug-in"):
            raise InputError(f"unknown family {family!r}; {_nearest(family, FAMILIES, 'families')}")
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
                family=family,
                cost=cost,
                requires=requires,
                several=several,
            ),
        )
        return function

    return register(name) if callable(name) else register


def problem(name: str, *, source: str = "", version: str | None = None) -> Any:
    """Register a frozen dataclass as a problem generator.

    Its fields, each with a default of type str, int, float or bool, are the problem's options.
    It offers ``dictionary(rng, m, n) -> A`` and ``signal(rng, n, k) -> x``; the class attribute
    ``fixed_dictionary = True`` says that A does not depend on ``rng``, ``ordered = True`` that
    neighbouring atoms are neighbours along a line; an attribute or property ``snr`` (dB) asks for
    noise; a method ``measurements(n)`` gives the m of n atoms where none is stated.

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
    """Return one algorithm, or a chain ``a+b``, by its exact name.

    Raises
    ------
    InputError
        If a name is unknown (the nearest match is named), its package is not installed, or a later
        link of a chain cannot start from an estimate.
    """
    links = [part.strip() for part in name.split("+")]
    entries = [_get(_ALGORITHMS, "algorithm", link) for link in links]
    for entry in entries:
        if not entry.installed:
            raise InputError(
                f"{entry.name} needs the package {entry.requires!r}: pip install "
                f"'sparsebench[{'learned' if entry.family == 'learned' else 'peers'}]'"
            )
    return entries[0] if len(entries) == 1 else _chain(entries)


def _chain(stages: Sequence[Algorithm]) -> Algorithm:
    """Return the algorithm that runs `stages` in turn, each from the estimate before it."""
    for stage in stages[1:]:
        if not stage.accepts("start"):
            able = ", ".join(e.name for e in algorithms() if e.accepts("start"))
            raise InputError(f"{stage.name} cannot continue another algorithm; these can: {able}")
    prefixes = stage_prefixes(stages)
    return Algorithm(
        name="+".join(stage.name for stage in stages),
        function=stages[0].function,
        options={
            prefix + key: value
            for prefix, stage in zip(prefixes, stages, strict=True)
            for key, value in stage.options.items()
        },
        told=tuple(dict.fromkeys(item for stage in stages for item in stage.told)),
        source=", then ".join(dict.fromkeys(stage.source for stage in stages)),
        shares=tuple(dict.fromkeys(item for stage in stages for item in stage.shares)),
        version="+".join(stage.version for stage in stages),
        family=stages[-1].family,
        stages=tuple(stages),
    )


def stage_prefixes(stages: Sequence[Algorithm]) -> list[str]:
    """Return what each stage's options are prefixed with in a chain: ``els.``, ``sea.``.

    A name that comes again is numbered: ``htp+els+htp`` has ``htp.``, ``els.`` and ``htp2.``.
    """
    names = [stage.name for stage in stages]
    counts = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return [
        f"{name}{count if count > 1 else ''}." for name, count in zip(names, counts, strict=True)
    ]


def flops(entry: Algorithm, m: int, n: int, k: int) -> float:
    """Return the stated flops of one iteration of an algorithm, NaN where none are stated.

    Raises
    ------
    InputError
        If the cost is anything but arithmetic in m, n, k and numbers.
    """
    if not entry.cost:
        return float("nan")
    sizes = {"m": m, "n": n, "k": k}
    arithmetic = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Load)
    try:
        tree = ast.parse(entry.cost, mode="eval")
        for node in ast.walk(tree):
            number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
            size = isinstance(node, ast.Name) and node.id in sizes
            if not (number or size or isinstance(node, arithmetic)):
                raise SyntaxError
        return float(eval(compile(tree, entry.name, "eval"), {"__builtins__": {}}, sizes))
    except (SyntaxError, ArithmeticError):
        raise InputError(
            f"the cost {entry.cost!r} of {entry.name} is no arithmetic in m, n and k"
        ) from None


def get_problem(name: str) -> ProblemGenerator:
    """Return one problem by its exact name, or raise `InputError` naming the nearest match."""
    return _get(_PROBLEMS, "problem", name)


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
    texts = [selection] if isinstance(selection, str) else list(selection)
    chosen: dict[Choice, None] = {}
    for part in (part for text in texts for part in split(text)):
        load_entry_points()
        name, options = parse_links(part)
        matches = [m for m in fnmatch.filter(sorted(_ALGORITHMS), name) if m != name]
        entries = [_ALGORITHMS[m] for m in matches if _ALGORITHMS[m].ready]
        for entry in entries or [get_algorithm(matches[0] if matches else name)]:
            chosen[choice(entry, options)] = None
    if not chosen:
        raise InputError("no algorithm was chosen; 'sparsebench list' shows them all")
    return list(chosen)


def choose_algorithm(text: str, options: dict[str, Any]) -> tuple[Algorithm, dict[str, Any]]:
    """Return the algorithm that a text such as ``htp[step=1.8/L]`` names, and all its options.

    Raises
    ------
    InputError
        As `get_algorithm`, `parse_links` and `choice` do.
    """
    named = _ALGORITHMS.get(text)
    if named is not None and named.ready and not options:  # a solve can be as short as the rest
        return named, dict(named.options)
    base, inline = parse_links(text)
    entry = get_algorithm(base)
    return entry, dict(choice(entry, {**inline, **options}).options)


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
    if filled.get("weights") == "":
        raise InputError(
            f"{entry.name} must be trained first: 'python -m sparsebench train {entry.name}' "
            f"prints the name of its weights, as in {entry.name}[weights=...]"
        )
    return Choice(entry.name, tuple(sorted(filled.items())), entry.version, _label(entry, filled))


def stage_options(entry: Algorithm, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the options of each stage of a chain, without their prefixes."""
    return [
        {
            key.removeprefix(prefix): value
            for key, value in options.items()
            if key.startswith(prefix)
        }
        for prefix in stage_prefixes(entry.stages)
    ]


def _label(entry: Algorithm | ProblemGenerator, options: dict[str, Any]) -> str:
    if isinstance(entry, Algorithm) and entry.stages:
        each = zip(entry.stages, stage_options(entry, options), strict=True)
        return "+".join(_label(stage, own) for stage, own in each)
    changed = [f"{k}={_text(v)}" for k, v in sorted(options.items()) if v != entry.options[k]]
    return f"{entry.name}[{','.join(changed)}]" if changed else entry.name


def split(text: str) -> list[str]:
    """Split ``a,b[c=1,d=2]`` at its top-level commas."""
    if text.count("[") != text.count("]"):
        raise InputError(f"unbalanced brackets in {text!r}; write name[option=value,...]")
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def parse_links(text: str) -> tuple[str, dict[str, str]]:
    """Split ``a[p=1]+b[q=2]`` into ``a+b`` and its options, prefixed as `stage_prefixes` says."""
    parts = re.split(r"\+(?![^\[\]]*\])", text)
    if not all(part.strip() for part in parts):
        raise InputError(f"cannot read {text!r}; write a chain as name+name")
    links = [parse_choice(part) for part in parts]
    if len(links) == 1:
        return links[0]
    name = "+".join(link for link, _ in links)
    prefixes = stage_prefixes(get_algorithm(name).stages)
    return name, {
        prefix + key: value
        for prefix, (_, options) in zip(prefixes, links, strict=True)
        for key, value in options.items()
    }


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
    rest = [p for p in parameters[3:] if p.name not in GIVEN]
    unusable = [p.name for p in rest if p.default is p.empty]
    if unusable:
        raise InputError(f"option {unusable[0]!r} of {name} needs a default value")
    return _check_defaults(name, {p.name: p.default for p in rest})


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
    """Refuse values that cannot be of options which mean the same everywhere."""
    for key, value in options.items():
        name = key.rpartition(".")[2]
        if name == "max_iter" and isinstance(value, int):
            check_whole(key, value, 1, 10**8)
        if name in ("tol", "settled") and isinstance(value, float) and not 0 <= value < 1:
            raise InputError(f"{key} must be a fraction in [0, 1), not {value}")


def _exact_int(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise ValueError
    return int(value)


def _text(value: Option) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
