"""Locks between processes, which end with the process that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Whether there are such locks on this system.
LOCKS = fcntl is not None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock of a file, and hold it during the body.

    Where there can be no such file, or no lock, the body runs at once.
    """
    with ExitStack() as held:
        with suppress(OSError):
            fcntl.flock(held.enter_context(path.open("a")), fcntl.LOCK_EX)
        yield
