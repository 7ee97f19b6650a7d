"""Plug-ins: users' files and installed packages that register algorithms and problems."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from importlib.metadata import entry_points
from multiprocessing import parent_process
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np

from sparsebench.registry.contents import Closure, Modules, closure, hash_of
from sparsebench.registry.declaring import (
    ALGORITHMS,
    PROBLEMS,
    algorithm,
    default_version,
    made_by,
    own_parameters,
    table_of,
    taken,
)
from sparsebench.registry.records import Algorithm, ProblemGenerator
from sparsebench.types import InputError

ENTRY_POINT_GROUP = "sparsebench.plugins"
# What the names of the modules that plug-in files become begin with.
_PLUGIN_MODULE = "sparsebench_plugin_"


@dataclass(frozen=True)
class _Plugin:
    """What a plug-in file has registered, its version, and the modules of its folder it imports.

    `folder` was the working directory when it was run: it may have changed that.
    """

    version: str
    entries: tuple[Algorithm | ProblemGenerator, ...]
    modules: Modules = ()
    folder: str = ""


_PLUGINS: dict[Path, _Plugin] = {}
# What the plug-ins of installed packages have registered.
_INSTALLED: list[Algorithm | ProblemGenerator] = []


def load_plugin(path: str | Path) -> list[str]:
    """Run a user's Python file and register the algorithms and problems in it, all or none.

    Decorated functions keep the name they were given. Every other public function defined in the
    file whose first parameters are ``(A, y, k)`` is registered under its own name. The version of
    each is the hash of the file, of the modules that it imports from its own folder (they are
    found there, wherever it is loaded) and of the files that a text in any of them names, so that
    nothing edited is mistaken for what it was. A file that is loaded again replaces what it
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
    made_of = closure(file, source)
    load_entry_points()  # what is installed comes first, in whichever order things are asked for
    with _all_or_nothing():
        older = _PLUGINS.get(file, _Plugin("", ()))
        _remove(older)
        if made_of.version == older.version:
            plugin = _load_plugin(file, source, made_of)
        else:
            with _imported_anew(file, made_of.modules):
                plugin = _load_plugin(file, source, made_of)
        for entry in plugin.entries:
            if table_of(entry).setdefault(entry.name, entry) is not entry:
                raise InputError(f"{file}: {taken(entry.name)}")
        # What modules that the file imports have registered: they are not run again.
        imported = tuple(
            replace(entry, version=plugin.version) if entry.version == older.version else entry
            for entry in older.entries
            if not made_by(entry).startswith(_PLUGIN_MODULE) and entry.name not in table_of(entry)
        )
        for entry in imported:
            table_of(entry)[entry.name] = entry
        plugin = replace(plugin, entries=plugin.entries + imported)
    _PLUGINS[file] = plugin
    return sorted(entry.name for entry in plugin.entries if isinstance(entry, Algorithm))


def plugin_folder(path: str | Path) -> str:
    """Return the working directory in which a plug-in file was run, "" if it was not."""
    return _PLUGINS.get(Path(path).resolve(), _Plugin("", ())).folder


def plugin_files(path: str | Path) -> tuple[Path, ...]:
    """Return all files that a plug-in file is made of, itself first."""
    return closure(Path(path).resolve(), _content(path)).files


def is_ours(entry: Algorithm | ProblemGenerator) -> bool:
    """Whether it runs our code alone, whose loops look for interruptions, and start no thread."""
    others = isinstance(entry, Algorithm) and entry.family in ("learned", "peer")
    return made_by(entry).startswith("sparsebench.") and not others


def is_found_anew(entry: Algorithm | ProblemGenerator, files: Iterable[str]) -> bool:
    """Whether another process that loads some plug-in files has it, too."""
    loaded = (_PLUGINS.get(Path(path).resolve()) for path in files)
    others = [*_INSTALLED, *(one for plugin in loaded if plugin for one in plugin.entries)]
    return made_by(entry).startswith("sparsebench.") or any(entry is one for one in others)


def forget_plugins(but: Iterable[str]) -> None:
    """Take back what all files but these have registered."""
    kept = {Path(path).resolve() for path in but}
    for file in _PLUGINS.keys() - kept:
        _remove(_PLUGINS.pop(file))
    used = {name for plugin in _PLUGINS.values() for name, _ in plugin.modules}
    for name in _FINDER.places.keys() - used:
        del _FINDER.places[name]


def _remove(plugin: _Plugin) -> None:
    for entry in plugin.entries:
        if table_of(entry).get(entry.name) is entry:
            del table_of(entry)[entry.name]


def plugin_fingerprint(path: str | Path) -> str:
    """Return the version of what a plug-in file registers: the hash of all that it is made of.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    return closure(Path(path).resolve(), _content(path)).version


def _content(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, TypeError, ValueError):  # a path with a NUL byte is a ValueError
        raise InputError(f"no plug-in file {path}") from None


@cache
def _load_plugin(file: Path, source: bytes, made_of: Closure) -> _Plugin:
    """Run a file for the first time in this version, and return what it registered."""
    version, place = made_of.version, hash_of(os.fsencode(file))
    module_name = f"{_PLUGIN_MODULE}{version}_{place}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    before = {id(entry) for entry in _entries()}
    folder = os.getcwd()
    sys.modules[module_name] = module
    try:
        # Not by the loader: its cache takes an edit of the same second and size for no edit.
        with default_version(version), np.errstate():  # which some packages change on import
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
    entries = tuple(entry for entry in added if id(entry) not in others)
    return _Plugin(version, entries, made_of.modules, folder)


class _FromSource(SourceFileLoader):
    """Compiles what the file holds now: a cache takes an edit of the same second for no edit."""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.get_data(self.path), self.path, "exec", dont_inherit=True)


class _OfPlugins:
    """Finds the modules that plug-ins import from their own folders, whenever they do."""

    def __init__(self) -> None:
        self.places: dict[str, Path] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        place = self.places.get(name.partition(".")[0])
        if place is None:
            return None
        folder = path[0] if path else str(place.parent)
        return FileFinder(folder, (_FromSource, [".py"])).find_spec(name)


_FINDER = _OfPlugins()


@contextmanager
def _imported_anew(file: Path, modules: Modules) -> Iterator[None]:
    """Have the modules that a plug-in imports from its folder imported as they are now.

    Raises
    ------
    InputError
        If another module has the name of one of them.
    """
    before, places = dict(sys.modules), _FINDER.places
    taken = {
        name: (place, path)
        for path, plugin in _PLUGINS.items()
        if path != file
        for name, place in plugin.modules
    }
    for name, place in modules:
        if name in taken and taken[name][0] != place:
            raise InputError(
                f"{file} imports {name!r} from its folder, as {taken[name][1]} does from its own: "
                "rename one of the two"
            )
        loaded = sys.modules.get(name)
        if loaded is None or isinstance(loaded.__loader__, _FromSource):
            continue
        own = place if place.suffix else place / "__init__.py"
        theirs = getattr(loaded, "__file__", None) or "built in"
        if Path(theirs).resolve() != own.resolve():
            raise InputError(f"{own} has the name of a module of others, {theirs}: rename it")
    _FINDER.places = {name: place for name, (place, _) in taken.items()} | dict(modules)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    dropped = [name for name in before if name.partition(".")[0] in dict(modules)]
    for name in dropped:
        del sys.modules[name]
    try:
        yield
    except BaseException:
        _FINDER.places = places
        sys.modules.update({name: before[name] for name in dropped})
        raise


@contextmanager
def _all_or_nothing() -> Iterator[None]:
    """Take back what is registered inside if an error ends it, with the modules that did it."""
    own_parameters()
    tables = (ALGORITHMS, dict(ALGORITHMS)), (PROBLEMS, dict(PROBLEMS))
    modules = set(sys.modules)
    try:
        yield
    except BaseException:
        for table, before in tables:
            for name, entry in table.items():
                if before.get(name) is not entry and made_by(entry) not in modules:
                    sys.modules.pop(made_by(entry), None)  # so that an import runs it again
            table.clear()
            table.update(before)  # type: ignore[arg-type]
        raise


def _entries() -> list[Algorithm | ProblemGenerator]:
    return [*ALGORITHMS.values(), *PROBLEMS.values()]


def _register_plain_functions(module: ModuleType, before: set[int]) -> None:
    """Register public functions (A, y, k); name those that nearly are, in a warning or error."""
    decorated = {entry.function for entry in ALGORITHMS.values() if id(entry) not in before}
    passed_over = []
    for name, function in inspect.getmembers(module, _is_function):
        own = function.__module__ == module.__name__ and not name.startswith("_")
        if own and function not in decorated:
            parameters = inspect.signature(function).parameters.values()
            first = [p.name for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD][:3]
            where = f"line {getattr(function, 'py_func', function).__code__.co_firstlineno}"
            try:
                if first == ["A", "y", "k"]:
                    algorithm(name)(function)
                elif first[:2] == ["A", "y"]:
                    raise InputError(
                        f"{name} takes ({', '.join(first)}), not (A, y, k); add k, or begin its "
                        "name with '_', or decorate what is not told k"
                    )
            except InputError as error:
                if "is taken" in str(error):
                    raise
                passed_over.append(f"{where}: {error}")
    if passed_over:
        line = "; ".join(passed_over)
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
                before = {id(one) for one in _entries()}
                entry.load()
                _INSTALLED.extend(one for one in _entries() if id(one) not in before)
        except (Exception, SystemExit) as error:
            warnings.warn(
                f"plug-in {entry.name!r} failed to load: {_one_line(error)}", stacklevel=2
            )


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
