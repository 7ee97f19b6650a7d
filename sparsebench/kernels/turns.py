"""Several processes that compile at once: each kernel once, by the first that needs it.

numba's cache by itself lets two processes compile the same function, and give two versions of it
the same file, where they save them at the same moment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from numba.core import caching, dispatcher

from sparsebench.kernels.imaged import Imaged
from sparsebench.system.locks import locked


class _InTurns(caching.FunctionCache):
    """A function's cache that one process at a time adds to; the others wait, and find it there."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        name = f"{function.__module__}.{function.__qualname__}.lock"
        self._lock = Path(self.cache_path, name)
        self.turn = ExitStack()
        self._mine = False

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = super().load_overload(sig, target_context)
        if found is None and not self._mine:
            self.turn.enter_context(locked(self._lock))
            self._mine = True
            found = super().load_overload(sig, target_context)
            if found is not None:
                self.end_turn()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        super().save_overload(sig, data)
        self.end_turn()

    def end_turn(self) -> None:
        self.turn.close()
        self._mine = False


def _is_cached(value: object) -> bool:
    cache = getattr(value, "_cache", None)
    return isinstance(value, dispatcher.Dispatcher) and isinstance(cache, caching.FunctionCache)


@contextmanager
def in_turns() -> Iterator[None]:
    """Compile none of our kernels in the body that another process compiles, but wait for it.

    No kernel calls itself, so that no two wait for each other.
    """
    modules = [module for name, module in sys.modules.items() if name.startswith("sparsebench.")]
    found = [value for module in modules for value in vars(module).values()]
    found = [value.compiled if isinstance(value, Imaged) else value for value in found]
    kernels = {id(value): value for value in found if _is_cached(value)}
    usual = {name: kernel._cache for name, kernel in kernels.items()}
    turns = {name: _InTurns(kernel.py_func) for name, kernel in kernels.items()}
    try:
        for name, kernel in kernels.items():
            kernel._cache = turns[name]
        yield
    finally:
        for name, kernel in kernels.items():
            kernel._cache = usual[name]
            turns[name].end_turn()  # where compiling has failed
