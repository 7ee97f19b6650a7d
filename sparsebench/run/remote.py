"""What a dask worker does for a run elsewhere: tasks, each in a child of it; loaded in no time.

The child has a main thread, and one thread of BLAS; what takes too long in it is ended from
outside. dask carries bytes, which only that child reads.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, NamedTuple

from sparsebench import __version__
from sparsebench.run import pool
from sparsebench.run.pool import Overdue, WorkerDied


class Call(NamedTuple):
    """A function of a module, and what it is called with."""

    function: Callable[..., Any]
    given: tuple[Any, ...]


@dataclass(frozen=True)
class Files:
    """What travels: the content of files by their absolute names, and folders that are to be there.

    The first of the folders is that in which relative names are looked up.
    """

    contents: dict[str, bytes]
    folders: tuple[str, ...]

    @classmethod
    def read(cls, paths: Iterable[Path], folders: Iterable[str]) -> Files:
        """Read files as they are now."""
        contents = {os.path.abspath(path): path.read_bytes() for path in paths}
        return cls(contents, (os.getcwd(), *folders))

    @cached_property
    def digest(self) -> str:
        """The hash of all of it."""
        whole = hashlib.sha256(repr(self.folders).encode("utf-8", "surrogateescape"))
        for name, content in sorted(self.contents.items()):
            whole.update(repr(name).encode("utf-8", "surrogateescape"))
            whole.update(hashlib.sha256(content).digest())
        return whole.hexdigest()[:12]

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all files and folders."""
        return frozenset([*self.contents, *self.folders])

    def place(self, root: Path) -> None:
        """Write them below a folder, each where its absolute name says."""
        for folder in self.folders:
            _below(root, folder).mkdir(parents=True, exist_ok=True)
        for name, content in self.contents.items():
            path = _below(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _below(root: Path, name: str) -> Path:
    return root.joinpath(*Path(name).parts[1:])


class _Pickler(pickle.Pickler):
    """Writes texts that name what travels as such."""

    def __init__(self, file: io.BytesIO, names: frozenset[str]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._names = names

    def persistent_id(self, value: Any) -> str | None:
        return value if type(value) is str and value in self._names else None


def packed(call: Call, files: Files) -> bytes:
    """Return a call as bytes, in which texts that name one of these files are marked."""
    whole = io.BytesIO()
    _Pickler(whole, files.names).dump(tuple(call))
    return whole.getvalue()


class _Unpickler(pickle.Unpickler):
    """Reads them as the names that they have below a folder."""

    def __init__(self, file: io.BytesIO, root: Path) -> None:
        super().__init__(file)
        self._root = root

    def persistent_load(self, name: str) -> str:
        return str(_below(self._root, name))


@cache
def own_version() -> str:
    """Return the version of sparsebench with the hash of its sources."""
    package = Path(__file__).parent.parent
    whole = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        whole.update(path.relative_to(package).as_posix().encode() + b"\0")
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{__version__} ({whole.hexdigest()[:8]})"


# In a dask worker, by the hash of a run's files: below which folder these are, and where names are
# looked up.
_roots: dict[str, tuple[Path, Path]] = {}


def welcome(version: str, files: Files) -> str | None:
    """Make a dask worker ready for the tasks of a run; return its version if that is another."""
    from distributed import get_worker

    if own_version() != version:
        return own_version()
    if not _roots:
        # A nanny's worker is a process that may have no children, and waits at its end for those
        # that it has.
        multiprocessing.current_process().daemon = False
        Finalize(None, pool.dismiss, exitpriority=1)
    root = Path(get_worker().local_directory, f"sparsebench-{files.digest}")
    files.place(root)
    _roots[files.digest] = root, _below(root, files.folders[0])
    return None


class _Unwanted(BaseException):
    """Raised where a task has been cancelled."""


def work(call: bytes, topic: str, files: str) -> tuple[str, bytes, float]:
    """Do a task in a child of a dask worker; return what became of it, its result and the seconds.

    The same is told under a topic, which reaches the one who asked without being asked for.
    """
    from distributed import get_worker

    worker = get_worker()
    key = str(worker.get_current_task())
    start = time.perf_counter()
    kind, result = _done(worker, key, call, files)
    answer = kind, result, time.perf_counter() - start
    worker.log_event(topic, (key, answer))
    return answer


def _done(worker: Any, key: str, call: bytes, files: str) -> tuple[str, bytes]:
    if files not in _roots:
        return "strange", b""

    def check() -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state not in ("executing", "long-running"):
            raise _Unwanted

    try:
        answer = pool.alone(_unpacked, (*_roots[files], call), check)
    except WorkerDied as error:
        return "lost", str(error).encode()
    except _Unwanted:
        return "unwanted", b""
    return ("late", pickle.dumps(answer)) if isinstance(answer, Overdue) else answer


# In a child of a dask worker: below which folder the files of its run are.
_placed: Path | None = None


def _unpacked(root: Path, folder: Path, call: bytes) -> tuple[str, bytes]:
    """Do a task, in the folder of the run."""
    global _placed
    try:
        if _placed != root:
            os.chdir(folder)
            _placed = root
        function, given = _Unpickler(io.BytesIO(call), root).load()
        return "done", pickle.dumps(function(*given))
    except BaseException as error:
        return "failed", pickle.dumps(pool.told(error))
