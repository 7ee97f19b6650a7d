"""Worker processes: how they start, and how they end with all that they have started."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

# Set before numpy is imported: parallelism is across processes.
THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLIS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
_PR_SET_PDEATHSIG = 1
_workers: list[Any] = []


def stop_signals() -> list[int]:
    """Return those signals that ask a process to end, on this system, and are not ignored."""
    known = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    return [n for n in known if n is not None and signal.getsignal(n) != signal.SIG_IGN]


def start_worker(target: Callable[..., None], *given: Any) -> Any:
    """Start a process that ends with this one, and return it.

    It has one thread of BLAS, and leaves it to its parent to be asked to end, so that a Ctrl-C in a
    terminal prints nothing from it. On Linux it is a copy of `template`, which shares the memory of
    what that has loaded; elsewhere, or where a template cannot be started, a fresh interpreter.
    """
    masks = hasattr(signal, "pthread_sigmask")
    if masks:
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # it would let the signals through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # or it is run anew, if it has no guard
    try:
        process = _way_to_start().Process(target=_work, args=(dict(os.environ), target, *given))
        _workers.append(process)  # first: another thread may take the signal and end it at once
        process.start()
    finally:
        sys.modules["__main__"] = script
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def _way_to_start() -> Any:
    if sys.platform == "linux" and hasattr(os, "fork"):
        from multiprocessing import forkserver

        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["sparsebench.run.template"])
        with suppress(OSError):  # there is no folder for its socket
            forkserver.ensure_running()
            return context
    return multiprocessing.get_context("spawn")


def _work(environment: dict[str, str], target: Callable[..., None], *given: Any) -> None:
    for number in stop_signals():  # no SIG_IGN, which what a plug-in starts would inherit
        signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals())
    end_with_parent()
    threading.Thread(target=_end_after_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment | THREADS)
    target(*given)


def identity() -> str:
    """Return what tells this process from all others of all machines, "" where that is unknown."""
    return _identity(os.getpid())


def is_alive(identity: str) -> bool:
    """Whether a process of this machine goes on, as far as the system tells."""
    pid = identity.partition(" ")[0]
    return pid.isdigit() and _identity(int(pid)) == identity


def _identity(pid: int) -> str:
    """Return the number of a process, when it began, and since which start of the machine."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return f"{pid} {words[19]} {boot}" if words[0] != "Z" else ""


def end_with_parent() -> None:
    """Have this process killed by the system when the one that started it is gone."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_after_parent() -> None:
    """End this worker when its parent is gone, killed perhaps."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def end_workers() -> None:
    """Kill the workers, and what these have started where the system tells."""
    _end(_workers)
    _workers.clear()


def end_worker(process: Any, still: Callable[[], bool]) -> bool:
    """Kill one worker, and what it has started, if something still holds once it is stopped."""
    _stop({process.pid})
    if not still():
        if hasattr(signal, "SIGCONT"):
            os.kill(process.pid, signal.SIGCONT)
        return False
    _end([process])
    process.join()
    _workers.remove(process)
    return True


def _end(processes: Iterable[Any]) -> None:
    ours = [process for process in processes if process.is_alive()]
    pids = {process.pid for process in ours}
    _stop(pids)  # so that none starts another process that nobody knows of
    below = _descendants(pids)
    for process in ours:
        process.kill()
    for pid in below:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _stop(pids: set[int]) -> None:
    """Have processes stop, where the system can, and wait until they do."""
    if not hasattr(signal, "SIGSTOP"):
        return
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + 0.2
    while any(pid in pids and state not in "TtZX" for pid, (state, _) in _processes().items()):
        if time.monotonic() > until:
            break


def _processes() -> dict[int, tuple[str, int]]:
    """Return the state and the parent of every process, of none where the system does not tell."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # it has just ended
            # They come after its name, in parentheses.
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            found[int(folder.name)] = state, int(parent)
    return found


def _descendants(pids: Iterable[int]) -> list[int]:
    """Return the processes that some have started, those these have started, and so on."""
    children = defaultdict(list)
    for pid, (_, parent) in _processes().items():
        children[parent].append(pid)
    found, ahead = [], list(pids)
    while ahead:
        below = children.pop(ahead.pop(), [])
        found += below
        ahead += below
    return found
