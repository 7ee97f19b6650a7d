"""Names: registering algorithms and problems, and choosing them by pattern and options."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import fnmatch
import hashlib
import importlib.util
import inspect
import numbers
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import entry_points
from multiprocessing import parent_process
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

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

# Packages without a wheel for the newest Pythons, and the first of these, as in pyproject.toml.
_NO_WHEEL = {"celer": (3, 14)}

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
    def needs(self) -> str:
        """What it needs that is not there, and how to get it; empty if it is installed."""
        if self.installed:
            return ""
        package = f"the package {self.requires!r}"
        if self.requires in _NO_WHEEL and sys.version_info >= _NO_WHEEL[self.requires]:
            return f"{package}, which has no wheel for this Python"
        extra = {"learned": "learned", "peer": "peers"}.get(self.family)
        return package + (f": pip install 'sparsebench[{extra}]'" if extra else "")

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


@dataclass(frozen=True)
class _Plugin:
    """What a plug-in file has registered, and the version of the file."""

    version: str
    entries: tuple[Algorithm | ProblemGenerator, ...]


_ALGORITHMS: dict[str, Algorithm] = {}
_PROBLEMS: dict[str, ProblemGenerator] = {}
_PLUGINS: dict[Path, _Plugin] = {}
# What the names of the modules that plug-in files become begin with.
_PLUGIN_MODULE = "sparsebench_plugin_"
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
            )
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
        options = {f.name: f.default for f in dataclasses.fields(factory) if f.init}
        _add(
            ProblemGenerator(
                name, factory, _check_defaults(name, options), source, version or _default_version
            )
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
    links = [part.strip() for part in _text_only(name).split("+")]
    entries = [_get(_ALGORITHMS, "algorithm", link) for link in links]
    for entry in entries:
        if not entry.installed:
            raise InputError(f"{entry.name} needs {entry.needs}")
    return entries[0] if len(entries) == 1 else _chain(entries)


def algorithm_of(chosen: Choice) -> Algorithm:
    """Return the algorithm of a choice, or raise `InputError` if another has its name by now."""
    return _unchanged(get_algorithm(chosen.name), chosen)


def problem_of(chosen: Choice) -> ProblemGenerator:
    """Return the problem of a choice, or raise `InputError` if another has its name by now."""
    return _unchanged(get_problem(chosen.name), chosen)


def _unchanged(entry: Any, chosen: Choice) -> Any:
    if entry.version != chosen.version:
        raise InputError(
            f"{chosen.name} has changed since it was chosen (version {entry.version}, not "
            f"{chosen.version}): choose it again, or run the same command again"
        )
    return entry


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
    texts = [selection] if isinstance(selection, str) else _several(selection)
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
    named = _ALGORITHMS.get(_text_only(text))
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
    if _text_only(text).count("[") != text.count("]"):
        raise InputError(f"unbalanced brackets in {text!r}; write name[option=value,...]")
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def parse_links(text: str) -> tuple[str, dict[str, str]]:
    """Split ``a[p=1]+b[q=2]`` into ``a+b`` and its options, prefixed as `stage_prefixes` says."""
    parts = re.split(r"\+(?![^\[\]]*\])", _text_only(text))
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
    match = re.fullmatch(r"([^\[\]=]+)(?:\[([^\[\]]*)\])?", _text_only(text).strip())
    if match is None:
        raise InputError(f"cannot read {text!r}; write name or name[option=value,...]")
    options: dict[str, str] = {}
    for item in filter(None, (match[2] or "").split(",")):
        key, equals, value = item.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise InputError(f"cannot read {item!r} in {text!r}; write option=value")
        options[key.strip()] = value.strip()
    return match[1].strip(), options


def _text_only(text: Any) -> str:
    if not isinstance(text, str):
        raise InputError(f"a name is a text such as 'omp' or 'htp[step=1.8/L]', not {text!r}")
    return text


def _several(texts: Any) -> list[str]:
    try:
        return list(texts)
    except TypeError:
        raise InputError(f"algorithms are named by a text or several, not {texts!r}") from None


def load_plugin(path: str | Path) -> list[str]:
    """Run a user's Python file and register the algorithms and problems in it, all or none.

    Decorated functions keep the name they were given. Every other public function defined in the
    file whose first parameters are ``(A, y, k)`` is registered under its own name. The version of
    each is the hash of the file, so that an edited file is never mistaken for an older one; what
    the file reads or imports is not in it. A file that is loaded again replaces what it
    registered before.

    Returns
    -------
    list of str
        The names of the algorithms it registered.

    Raises
    ------
    InputError
        If the file does not exist, does not run, registers nothing, or a name is taken.
    """
    source = _content(path)
    file = Path(path).resolve()
    load_entry_points()  # what is installed comes first, in whichever order things are asked for
    with _all_or_nothing():
        older = _PLUGINS.get(file, _Plugin("", ()))
        _remove(older)
        plugin = _load_plugin(file, source)
        for entry in plugin.entries:
            if _table(entry).setdefault(entry.name, entry) is not entry:
                raise InputError(f"{file}: {_taken(entry.name)}")
        # What modules that the file imports have registered: they are not run again.
        imported = tuple(
            replace(entry, version=plugin.version) if entry.version == older.version else entry
            for entry in older.entries
            if not _made_by(entry).startswith(_PLUGIN_MODULE) and entry.name not in _table(entry)
        )
        for entry in imported:
            _table(entry)[entry.name] = entry
        plugin = replace(plugin, entries=plugin.entries + imported)
    _PLUGINS[file] = plugin
    return sorted(entry.name for entry in plugin.entries if isinstance(entry, Algorithm))


def forget_plugins(but: Iterable[str]) -> None:
    """Take back what all files but these have registered."""
    kept = {Path(path).resolve() for path in but}
    for file in _PLUGINS.keys() - kept:
        _remove(_PLUGINS.pop(file))


def _remove(plugin: _Plugin) -> None:
    for entry in plugin.entries:
        if _table(entry).get(entry.name) is entry:
            del _table(entry)[entry.name]


def plugin_fingerprint(path: str | Path) -> str:
    """Return the hash of a plug-in file, which is the version of what it registers.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    return _fingerprint(_content(path))


def _content(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, TypeError, ValueError):  # a path with a NUL byte is a ValueError
        raise InputError(f"no plug-in file {path}") from None


def _fingerprint(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()[:12]


@cache
def _load_plugin(file: Path, source: bytes) -> _Plugin:
    """Run a file for the first time with this content, and return what it registered."""
    global _default_version
    version, place = _fingerprint(source), _fingerprint(os.fsencode(file))
    module_name = f"{_PLUGIN_MODULE}{version}_{place}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    before = {id(entry) for entry in _entries()}
    outer, _default_version = _default_version, version
    sys.modules[module_name] = module
    try:
        # Not by the loader: its cache takes an edit of the same second and size for no edit.
        with np.errstate():  # which some packages change when they are imported
            exec(compile(source, str(file), "exec", dont_inherit=True), module.__dict__)
        _register_plain_functions(module, before)
        added = [entry for entry in _entries() if id(entry) not in before]
        others = {id(entry) for plugin in _PLUGINS.values() for entry in plugin.entries}
        if not added:
            raise InputError("it defines no function (A, y, k) -> x and registers nothing")
    except BaseException as error:
        del sys.modules[module_name]
        if isinstance(error, InputError):
            raise InputError(f"{file}: {error}") from error
        if isinstance(error, Exception | SystemExit):
            raise InputError(f"{file} failed to load: {_one_line(error)}") from error
        raise
    finally:
        _default_version = outer
    return _Plugin(version, tuple(entry for entry in added if id(entry) not in others))


@contextmanager
def _all_or_nothing() -> Iterator[None]:
    """Take back what is registered inside if an error ends it, with the modules that did it."""
    _own_parameters()
    tables = (_ALGORITHMS, dict(_ALGORITHMS)), (_PROBLEMS, dict(_PROBLEMS))
    modules = set(sys.modules)
    try:
        yield
    except BaseException:
        for table, before in tables:
            for name, entry in table.items():
                if before.get(name) is not entry and _made_by(entry) not in modules:
                    sys.modules.pop(_made_by(entry), None)  # so that an import runs it again
            table.clear()
            table.update(before)  # type: ignore[arg-type]
        raise


def _entries() -> list[Algorithm | ProblemGenerator]:
    return [*_ALGORITHMS.values(), *_PROBLEMS.values()]


def _table(entry: Algorithm | ProblemGenerator) -> dict[str, Any]:
    return _ALGORITHMS if isinstance(entry, Algorithm) else _PROBLEMS


def _made_by(entry: Algorithm | ProblemGenerator) -> str:
    """Return the name of the module that an entry comes from."""
    maker = entry.function if isinstance(entry, Algorithm) else entry.factory
    return str(getattr(maker, "__module__", ""))


def _register_plain_functions(module: ModuleType, before: set[int]) -> None:
    """Register public functions (A, y, k); name those (A, y) that lack k, in a warning or error."""
    decorated = {entry.function for entry in _ALGORITHMS.values() if id(entry) not in before}
    passed_over = []
    for name, function in inspect.getmembers(module, _is_function):
        own = function.__module__ == module.__name__ and not name.startswith("_")
        if own and function not in decorated:
            parameters = inspect.signature(function).parameters.values()
            first = [p.name for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD][:3]
            if first == ["A", "y", "k"]:
                algorithm(name)(function)
            elif first[:2] == ["A", "y"]:
                passed_over.append(f"{name} takes ({', '.join(first)}), not (A, y, k)")
    if passed_over:
        line = f"{'; '.join(passed_over)}; add k, or begin its name with '_'"
        if all(id(entry) in before for entry in _entries()):
            raise InputError(line)
        if parent_process() is None:  # said once, not by every worker
            warnings.warn(f"{module.__file__}: {line}", stacklevel=4)


def _is_function(member: Any) -> bool:
    """Whether it is a function, or one that numba compiles."""
    return inspect.isfunction(member) or inspect.isfunction(getattr(member, "py_func", None))


@cache
def load_entry_points() -> None:
    """Import the plug-ins of installed packages; a broken one is a warning, not a crash."""
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            with _all_or_nothing():
                entry.load()
        except (Exception, SystemExit) as error:
            warnings.warn(
                f"plug-in {entry.name!r} failed to load: {_one_line(error)}", stacklevel=2
            )


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


@cache
def _own_parameters() -> tuple[frozenset[str], frozenset[str]]:
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
    if not _made_by(entry).startswith("sparsebench."):
        _check_reserved(entry)
    table = _table(entry)
    if entry.name in table:
        raise InputError(_taken(entry.name))
    table[entry.name] = entry


def _taken(name: str) -> str:
    return f"the name {name!r} is taken already; choose another"


def _check_reserved(entry: Algorithm | ProblemGenerator) -> None:
    """Refuse options that the call they are passed to would keep for itself."""
    solve, draw = _own_parameters()
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


def _get(table: dict[str, Any], kind: str, name: str) -> Any:
    load_entry_points()
    if _text_only(name) not in table:
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
