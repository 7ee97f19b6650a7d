"""What a file holds, as part of the key of the rows that rest on it."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparsebench.errors import InputError

# What a file is called that a plug-in reads: others that it names may be what it writes.
_DATA = frozenset(
    ".bin .csv .dat .fits .gz .h5 .hdf5 .jpg .json .mat .mtx .npy .npz .parquet .pickle .pkl .png "
    ".pt .pth .tif .tiff .toml .tsv .txt .wav .yaml .yml .zip".split()
)
# Seconds after which a file that was written again has another time of change, on any file system.
_SETTLED = 3.0
# What the bytes of files were when they were last hashed, by the file and what its system says.
_HASHES: dict[tuple[str, int, int, int, int], str] = {}


def hash_of(data: bytes) -> str:
    """Return what stands for these bytes in a key."""
    return hashlib.sha256(data).hexdigest()[:12]


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return the hash of a file's bytes, read once unless it has changed.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        state = os.stat(path)
        key = (
            os.path.abspath(path),
            state.st_ino,
            state.st_size,
            state.st_mtime_ns,
            state.st_ctime_ns,
        )
        if key not in _HASHES:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()[:12]
            if time.time() - max(state.st_mtime, state.st_ctime) < _SETTLED:
                return found  # a change that follows at once may leave all of these as they are
            _HASHES[key] = found
        return _HASHES[key]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {reason}") from None


def named_file(text: object, *folders: Path) -> Path | None:
    """Return the file that a text names, if it looks like the name of one and there is one.

    Parameters
    ----------
    text : object
        Anything but a text on one line with a suffix or a folder names none.
    *folders : Path
        Where a relative name is looked for after the working folder.
    """
    if not isinstance(text, str) or len(text) > 1000 or not text.isprintable():
        return None
    name = Path(text)
    if not (name.suffix or len(name.parts) > 1):
        return None
    for folder in (Path(), *folders):
        try:
            if (folder / name).is_file():
                return folder / name
        except (OSError, ValueError):
            return None
    return None


# Modules by their names, or the folders of packages.
Modules = tuple[tuple[str, Path], ...]


@dataclass(frozen=True)
class Closure:
    """What a plug-in file is made of: its version changes when any of it does.

    Attributes
    ----------
    modules : tuple of (str, Path)
        Modules of its own folder that it imports, and that those import.
    files : tuple of Path
        All files that it is made of, itself first.
    version : str
        The hash of the file, of these modules, and of the files of data that a text in any of them
        names.
    """

    modules: Modules
    files: tuple[Path, ...]
    version: str


def closure(file: Path, source: bytes) -> Closure:
    """Return what a plug-in file with this text is made of.

    Imports, and texts that name a file of the working folder or the plug-in's, are read off the
    sources; names that are put together while it runs are not seen.
    """
    folder, modules = file.parent, dict[str, Path]()
    parts, files, waiting = dict[str, str](), [file], [source]
    while waiting:
        for name, literal in _names(waiting.pop()):
            found = named_file(literal, folder)
            if found and found.suffix.lower() in _DATA and found.resolve() != file:
                parts[f"file {literal}"] = file_hash(found)
                files.append(found)
            module = _module(folder, name)
            if module is None or name in modules or module.resolve() == file:
                continue
            modules[name] = module
            for inner in [module] if module.is_file() else sorted(module.rglob("*.py")):
                content = _read(inner)
                parts[f"module {inner.relative_to(folder).as_posix()}"] = hash_of(content)
                files.append(inner)
                waiting.append(content)
    own = hash_of(source)
    if not parts:
        return Closure((), tuple(files), own)
    lines = [own, *(f"{part} {parts[part]}" for part in sorted(parts))]
    version = hash_of("\n".join(lines).encode())
    return Closure(tuple(sorted(modules.items())), tuple(files), version)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _names(source: bytes) -> Iterator[tuple[str, str]]:
    """Yield (first name of an imported module, "") and ("", a text) of a source, if it is one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are given when it is compiled to be run
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    options = {id(default) for node in ast.walk(tree) for default in _defaults(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], ""
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in options:
                yield "", node.value


def _defaults(node: ast.AST) -> Iterator[ast.expr | None]:
    """Yield the defaults of options: what a file among them holds is in the recipe already."""
    if isinstance(node, ast.ClassDef) and any(
        isinstance(part, ast.Name | ast.Attribute)
        and getattr(part, "id", getattr(part, "attr", "")) == "problem"
        for decorator in node.decorator_list
        for part in ast.walk(decorator)
    ):
        yield from (field.value for field in node.body if isinstance(field, ast.AnnAssign))
    if isinstance(node, ast.FunctionDef):
        first = [argument.arg for argument in node.args.args[:3]]
        if first in (["A", "y", "k"], ["dictionary", "y", "k"]):
            yield from (*node.args.defaults, *node.args.kw_defaults)


def _module(folder: Path, name: str) -> Path | None:
    """Return the module or package of a folder that has a name; none of the standard library's."""
    if not name or name in sys.stdlib_module_names:
        return None
    if (folder / name / "__init__.py").is_file():
        return folder / name
    module = folder / f"{name}.py"
    return module if module.is_file() else None
