"""What depends on the operating system: time limits, being asked to end, and worker processes.

What a system lacks, and what then happens:

- No `setitimer` (Windows), or a thread that is not the main one: a solve has no time limit.
- No `SIGHUP` (Windows): a terminal that closes ends the process without a word. Finished blocks
  are stored.
- No `pthread_sigmask` (Windows): a worker that is interrupted while it starts prints a traceback.
- No `prctl` (all but Linux): a worker whose parent was killed ends when compiled code returns, not
  at once.
- No safe copies of a process (all but Linux): a worker is a fresh interpreter, which loads for
  itself what on Linux is loaded once for all.
- No `/proc` (all but Linux): what a plug-in has started in a worker is not ended with the worker,
  and a run's record names the kind of its processor only.
- No `sysconf` of free pages (macOS, Windows): batches are cut to 2 GiB.
"""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import platform
import signal
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

# Set to 1 before numpy is imported: parallelism is across processes.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
# Seconds that the main thread has to end in an orderly way once it was asked to.
_GRACE = 1.5
_PR_SET_PDEATHSIG = 1


class TimeOut(BaseException):
    """Raised inside a solve that runs too long; no `except Exception` can swallow it."""


@contextmanager
def time_limited(seconds: float) -> Iterator[None]:
    """Interrupt the body after `seconds`, where the system and the thread allow it.

    The interruption arrives between Python instructions: a single long call into compiled code
    is interrupted when it returns.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not (
        threading.main_thread()
    ):
        with nullcontext():
            yield
        return

    def expire(*_: Any) -> None:
        raise TimeOut

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


class Stopped(BaseException):
    """Raised in the main thread when the process is asked to end; no `except` swallows it."""


# The signals that have asked this process to end, in their order, and what is said of it.
_asked: list[int] = []
_message = "stopped"
_said = threading.Lock()
_workers: list[Any] = []


def check_stopped() -> None:
    """Raise `Stopped` if the process was asked to end, whoever swallowed the first exception."""
    if _asked:
        raise Stopped


def when_stopped(message: str) -> None:
    """Choose the line that is printed if the process is asked to end from now on."""
    global _message
    _message = message


@contextmanager
def stoppable() -> Iterator[None]:
    """End the process soon, with status 128 + n, when signal n asks for it during the body.

    SIGINT, SIGTERM and SIGHUP ask, unless they were ignored from the start (`nohup`). Workers are
    killed at once, by a thread that waits for the signal. The main thread gets `Stopped`; where it
    does not end within 1.5 s, because it is inside compiled code or somebody swallowed that, or is
    asked a second time, the thread ends the process as it is.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in _asking():
        signal.signal(number, _raise_stopped)
    watching = threading.Thread(target=_wait_for_signals, args=(reader, writer), daemon=True)
    watching.start()
    try:
        yield
    except BaseException:
        if not _asked:
            raise
    if _asked:  # and what went wrong after that is of no interest
        end_workers()
        _say()
        # Modules and threads need not be taken down one by one: that takes longer than the rest.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the terminal is gone
                stream.flush()
        os._exit(128 + _asked[0])


def _asking() -> list[int]:
    """Return those signals that ask a process to end, on this system, and are not ignored."""
    known = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    return [n for n in known if n is not None and signal.getsignal(n) != signal.SIG_IGN]


def _raise_stopped(number: int, frame: object) -> None:
    if not _asked:
        _asked.append(number)
    if threading.current_thread() is threading.main_thread():
        raise Stopped


def _wait_for_signals(reader: socket.socket, writer: socket.socket) -> None:
    """Kill the workers when a signal asks for the end, and the process where it does not end."""
    asking = _asking()
    while (number := reader.recv(1)[0]) not in asking:
        pass
    if not _asked:
        _asked.append(number)
    end_workers()
    until = time.monotonic() + _GRACE
    with suppress(TimeoutError):
        while (left := until - time.monotonic()) > 0:
            reader.settimeout(left)
            if reader.recv(1)[0] in asking:
                break
    end_workers()
    _say()
    os._exit(128 + _asked[0])


def _say() -> None:
    """Print the line of a stop, once, past whatever holds the console."""
    if _said.acquire(blocking=False):
        clear = "\r\x1b[2K\x1b[?25h" if os.isatty(2) else ""  # a bar, and a cursor it hid
        with suppress(OSError):
            os.write(2, f"{clear}{_message}\n".encode(errors="replace"))


def start_worker(target: Callable[..., None], *given: Any) -> Any:
    """Start a process that ends with this one, and return it.

    It has one thread of BLAS, and leaves it to its parent to be asked to end, so that a Ctrl-C in a
    terminal prints nothing from it. On Linux it is a copy of `template`, which shares the memory of
    what that has loaded; elsewhere, or where a template cannot be started, a fresh interpreter.
    """
    check_stopped()
    given = (dict(os.environ), target, *given)
    if hasattr(signal, "pthread_sigmask"):
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # it would let the signals through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _asking())
        try:
            process = _started(given)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    else:
        process = _started(given)
    _workers.append(process)
    return process


def _started(given: tuple[Any, ...]) -> Any:
    """Start a process that does not run the script of its parent anew, guarded or not."""
    process = _way_to_start().Process(target=_work, args=given)
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = script
    return process


def _way_to_start() -> Any:
    if sys.platform == "linux":
        from multiprocessing import forkserver

        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["sparsebench.template"])
        with suppress(OSError):  # there is no folder for its socket
            forkserver.ensure_running()
            return context
    return multiprocessing.get_context("spawn")


def _work(environment: dict[str, str], target: Callable[..., None], *given: Any) -> None:
    for number in _asking():  # no SIG_IGN, which what a plug-in starts would inherit
        signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _asking())
    _die_with_parent()
    os.environ.clear()
    os.environ.update(environment | dict.fromkeys(THREADS, "1"))
    target(*given)


def end_with_parent() -> None:
    """Have this process killed by the system when the one that started it is gone."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _die_with_parent() -> None:
    """End this worker when its parent is gone, killed perhaps."""
    end_with_parent()

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def end_workers() -> None:
    """Kill the workers, and what these have started where the system tells."""
    ours = [process for process in _workers if process.is_alive()]
    below = _descendants([process.pid for process in ours])
    for process in ours:
        process.kill()
    for pid in below:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    _workers.clear()


def _descendants(pids: list[int]) -> list[int]:
    """Return the processes that some have started, those these have started, and so on."""
    children = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # it has just ended
            # After its name, in parentheses, come its state and its parent.
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            children[int(parent)].append(int(folder.name))
    found, ahead = [], list(pids)
    while ahead:
        below = children.pop(ahead.pop(), [])
        found += below
        ahead += below
    return found


def free_memory() -> float:
    """Return the bytes of memory that are free; 2 GiB where the system does not tell."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return 2.0**31


def processor() -> str:
    """Return the name of the processor, or of its kind where the system does not tell."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def default_workers() -> int:
    """Return the number of usable cores."""
    import joblib

    return int(joblib.cpu_count())
