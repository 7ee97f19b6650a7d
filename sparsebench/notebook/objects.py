"""Functions and matrices of a session as files: what they hold is the key of their rows."""

from __future__ import annotations

import ast
import builtins
import inspect
import io
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from sparsebench.errors import InputError
from sparsebench.registry.contents import hash_of
from sparsebench.system.folders import written_whole
from sparsebench.types import as_numbers


def matrix_file(values: Any, folder: Path) -> Path:
    """Return a ``.npy`` file in a folder that holds a matrix, named by its content.

    Parameters
    ----------
    values : array_like, shape (m, n)
    folder : Path
        Created if it does not exist.

    Raises
    ------
    InputError
        If it is no matrix of finite numbers.
    """
    matrix = as_numbers(values, "the matrix")
    if matrix.ndim != 2:
        raise InputError(f"a dictionary has two dimensions, not {matrix.ndim}")
    return _kept(_bytes_of(matrix), folder, "matrix", ".npy")


def function_file(function: Callable[..., Any], folder: Path) -> Path:
    """Return a Python file in a folder that holds a function and all that it uses.

    Its source, and what that names: modules that are installed, other functions of the session,
    numbers, texts and collections of such, and arrays, which become files beside it.

    Parameters
    ----------
    function : callable
        ``(A, y, k, **options) -> x``.
    folder : Path
        Created if it does not exist.

    Raises
    ------
    InputError
        If it has no source, or uses what cannot be part of a key: the message says what and why.
    """
    parts: dict[str, str] = {}
    _write(function, function.__name__, parts, folder)
    text = '"""A function of a session, and what it uses."""\n\n' + "\n\n".join(parts.values())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{function.__name__}.py"
    content = f"{text}\n".encode()
    if not path.is_file() or path.read_bytes() != content:
        with written_whole(path) as part:
            part.write_bytes(content)
    return path


def _write(function: Any, name: str, parts: dict[str, str], folder: Path) -> None:
    """Add a function to `parts`, after what it uses."""
    source = _source(function, name)
    variables = inspect.getclosurevars(function)
    known = {**function.__globals__, **variables.nonlocals}
    parts.setdefault(name, "")  # a function may call itself
    for used in _names(source):
        if used not in parts and used in known and used != name:
            parts[used] = _definition(used, known[used], name, parts, folder)
    del parts[name]
    parts[name] = source


def _source(function: Any, name: str) -> str:
    if not isinstance(function, FunctionType):
        raise InputError(f"{name} is no function that is defined in Python: write one with def")
    if function.__name__ == "<lambda>":
        raise InputError("a lambda has no source of its own: write a function with def")
    try:
        source = textwrap.dedent(inspect.getsource(function))
        definition = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        definition = None
    # Python 3.13 may find another text: that of `python -c`, for what `exec` has defined.
    own = function.__code__.co_name
    if not isinstance(definition, ast.FunctionDef) or definition.name != own:
        raise InputError(f"the source of {name} cannot be found: define it in a file or a cell")
    if definition.name != name:
        raise InputError(f"{name} is {own} under another name: call it by its own")
    if definition.decorator_list:
        raise InputError(f"{name} has a decorator: pass a plain function (A, y, k)")
    return source.rstrip()


def _names(source: str) -> list[str]:
    """Return the names that a source reads, in their order, without those of Python itself."""
    read = [
        node.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    ]
    return [name for name in dict.fromkeys(read) if not hasattr(builtins, name)]


def _definition(name: str, value: Any, user: str, parts: dict[str, str], folder: Path) -> str:
    """Return the lines that give a name its value again."""
    if isinstance(value, ModuleType):
        _check_installed(value.__name__, name, user)
        return f"import {value.__name__} as {name}"
    home = getattr(value, "__module__", None)
    if isinstance(value, FunctionType) and home == "__main__":
        _write(value, name, parts, folder)
        return parts[name]
    if callable(value) and home in sys.modules and home != "__main__":
        own = getattr(value, "__qualname__", getattr(value, "__name__", ""))
        if getattr(sys.modules[home], own, None) is value:
            _check_installed(home, name, user)
            return f"from {home} import {own} as {name}"
    if isinstance(value, np.ndarray):
        path = _kept(_bytes_of(value), folder, "array", ".npy")
        place = f"pathlib.Path(__file__).parent / {path.name!r}"
        return f"import numpy, pathlib\n\n{name} = numpy.load({place})"
    try:
        if ast.literal_eval(repr(value)) == value:
            return f"{name} = {value!r}"
    except (ValueError, SyntaxError, TypeError):
        pass
    raise InputError(
        f"{user} uses {name}, a {type(value).__name__}, whose content cannot be part of the key of "
        "its rows: use numbers, texts, arrays and functions, or write a plug-in file"
    )


def _check_installed(module: str, name: str, user: str) -> None:
    """Refuse a module of the session's own folder: that it has changed would not be seen."""
    file = getattr(sys.modules[module.partition(".")[0]], "__file__", None)
    if file is None or module.partition(".")[0] in sys.stdlib_module_names:
        return
    if "site-packages" not in Path(file).parts and "dist-packages" not in Path(file).parts:
        own = Path(__file__).resolve().parent.parent
        if not Path(file).resolve().is_relative_to(own):
            raise InputError(
                f"{user} uses {name} of {file}, whose content would not be part of the key of its "
                "rows: write the function into a plug-in file beside it"
            )


def _bytes_of(array: Any) -> bytes:
    held = io.BytesIO()
    np.save(held, np.ascontiguousarray(array), allow_pickle=False)
    return held.getvalue()


def _kept(content: bytes, folder: Path, kind: str, ending: str) -> Path:
    """Write bytes to a file that is named by them, unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}-{hash_of(content)}{ending}"
    if not path.is_file():
        with written_whole(path) as part:
            part.write_bytes(content)
    return path
