"""Plug-ins: users' files and installed packages that register algorithms and problems."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from multiprocessing import parent_process
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

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
    """What a plug-in file has registered, and the version of the file."""

    version: str
    entries: tuple[Algorithm | ProblemGenerator, ...]


_PLUGINS: dict[Path, _Plugin] = {}


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


def forget_plugins(but: Iterable[str]) -> None:
    """Take back what all files but these have registered."""
    kept = {Path(path).resolve() for path in but}
    for file in _PLUGINS.keys() - kept:
        _remove(_PLUGINS.pop(file))


def _remove(plugin: _Plugin) -> None:
    for entry in plugin.entries:
        if table_of(entry).get(entry.name) is entry:
            del table_of(entry)[entry.name]


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
    version, place = _fingerprint(source), _fingerprint(os.fsencode(file))
    module_name = f"{_PLUGIN_MODULE}{version}_{place}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    before = {id(entry) for entry in _entries()}
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
    return _Plugin(version, tuple(entry for entry in added if id(entry) not in others))


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
    """Register public functions (A, y, k); name those (A, y) that lack k, in a warning or error."""
    decorated = {entry.function for entry in ALGORITHMS.values() if id(entry) not in before}
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
