"""What depends on the operating system: time limits, being asked to end, and worker processes.

What a system lacks, and what then happens:

- No `setitimer` (Windows), or a thread that is not the main one: a solve that used more than its
  time limit is a time-out when it returns.
- No `resource` (Windows): a solve within compiled code is ended when that returns, in a worker too.
- No `SIGHUP` (Windows): a terminal that closes ends the process without a word. Finished blocks
  are stored.
- No `pthread_sigmask` (Windows): a worker that is interrupted while it starts prints a traceback.
- No `prctl` (all but Linux): a worker whose parent was killed ends when compiled code returns, not
  at once.
- No safe copies of a process (all but Linux): a worker is a fresh interpreter, which loads for
  itself what on Linux is loaded once for all.
- No `/proc` (all but Linux): what a plug-in has started in a worker is not ended with the worker,
  and a run's record names the kind of its processor only. Memory and quotas are unknown
  (`resources`): batches are cut to 2 GiB, and the number of workers is not cut.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal.getsignal takes 6 µs
import atexit
import ctypes
import math
import multiprocessing
import os
import platform
import signal
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from sparsebench.resources import core_quota

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

# A solve that waits is given up after so many ticks in a row in which it computed next to nothing.
# A tick is as long as its time limit, but at least a second: that long a process that computes may
# not get its turn on a busy machine.
_WAITING_TICKS, _TICK, _IDLE = 10, 1.0, 0.01
# Seconds of CPU time after which an interruption comes again that something has swallowed.
_AGAIN = 1.0
# The exit code of a process that `end_after` ended.
OVERDUE = -getattr(signal, "SIGXCPU", 0) or None


class TimeOut(BaseException):
    """Raised inside a solve that runs too long; no `except Exception` can swallow it."""


class _Limit:
    """What one solve has used of its time limit, and whether that was too much."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.tick = max(seconds, _TICK)
        self.idle = 0
        self.message = ""
        self.begin = self.seen = time.process_time()

    def look(self) -> None:
        """End the solve if it has used up its CPU time."""
        left = self.begin + self.seconds - time.process_time()
        if left > 0:  # the timer counts by the ticks of the system's clock, and may be early
            signal.setitimer(signal.ITIMER_PROF, max(left, 0.001), _AGAIN)
        else:
            self.message = f"stopped after {self.seconds:g} s of CPU time"
            raise TimeOut

    def wait(self) -> None:
        """Count a tick of the clock on the wall, and end the solve if it only waits.

        Ticks are counted as they arrive: a process that is stopped, or sleeps with its machine,
        sees one at most.
        """
        used = time.process_time()
        self.idle = self.idle + 1 if used - self.seen < _IDLE * self.tick else 0
        self.seen = used
        if self.idle >= _WAITING_TICKS:
            self.message = (
                f"stopped after {_WAITING_TICKS * self.tick:g} s in which it computed nothing"
            )
            raise TimeOut


# The limit in force; a signal that arrives after its end finds none.
_limit: _Limit | None = None


def _on_cpu_time(*_: Any) -> None:
    if _limit is not None:
        _limit.look()


def _on_tick(*_: Any) -> None:
    if _limit is not None:
        _limit.wait()


@contextmanager
def time_limited(seconds: float) -> Iterator[None]:
    """End the body when it has used `seconds` of CPU time, all threads of this process together.

    What else the machine does is not counted. A body that waits instead of computing is ended after
    ten times as long, at least ten seconds. The interruption arrives between Python instructions,
    and where a compiled loop looks for it (`kernels.interruption`): another call into compiled code
    is ended when it returns, or with its worker (`pool.note`). Where the system or the thread has
    no such timer, the body is judged by its CPU time when it returns. Limits do not nest.

    Raises
    ------
    TimeOut
        Whatever the body made of the interruption.
    """
    global _limit
    alone = threading.current_thread() is threading.main_thread()
    if not hasattr(signal, "setitimer") or not alone:
        clock = time.process_time if alone else time.thread_time
        begin = clock()
        yield
        if clock() - begin > seconds:
            raise TimeOut(f"took more than {seconds:g} s of CPU time")
        return
    # They stay installed: a signal may arrive late, and its default would end the process.
    if _signal.getsignal(_signal.SIGPROF) is not _on_cpu_time:
        signal.signal(signal.SIGPROF, _on_cpu_time)
    if _signal.getsignal(_signal.SIGALRM) is not _on_tick:
        signal.signal(signal.SIGALRM, _on_tick)
    limit = _limit = _Limit(seconds)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, limit.tick, limit.tick)
            signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN)
            yield
        finally:
            _limit = None
    except BaseException as error:
        first = interruption(error)
        if limit.message and isinstance(first, TimeOut | Exception | SystemExit):
            raise TimeOut(limit.message) from None
        if first is not error:
            raise first  # noqa: B904
        raise
    finally:
        _limit = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    if limit.message:
        raise TimeOut(limit.message)


def end_after(seconds: float) -> None:
    """Have the system kill this process once it has used so many more seconds of CPU time.

    It then ends with the exit code `OVERDUE`. Nothing happens where there is no such limit.
    """
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    end = most
    if seconds < float("inf"):
        end = math.ceil(time.process_time() + seconds)
        end = end if most == resource.RLIM_INFINITY else min(end, most)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    resource.setrlimit(resource.RLIMIT_CPU, (end, most))


def interruption(error: BaseException) -> BaseException:
    """Return the interruption that compiled code turned into a SystemError, or the error itself.

    One that arrives while a compiled function returns its result is the cause of such an error.
    """
    cause: BaseException | None = error
    while isinstance(cause, SystemError):
        cause = cause.__cause__ or cause.__context__
    return error if cause is None or isinstance(cause, Exception) else cause


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
    if sys.platform == "linux" and hasattr(os, "fork"):
        from multiprocessing import forkserver

        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["sparsebench.run.template"])
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
    pids = {process.pid for process in ours}
    if hasattr(signal, "SIGSTOP"):  # so that none starts another process that nobody knows of
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + 0.2
        while any(pid in pids and state not in "TtZX" for pid, (state, _) in _processes().items()):
            if time.monotonic() > until:
                break
    below = _descendants(pids)
    for process in ours:
        process.kill()
    for pid in below:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    _workers.clear()


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


def processor() -> str:
    """Return the name of the processor, or of its kind where the system does not tell."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def default_workers() -> int:
    """Return the number of usable cores; a quota of a part of one counts as a whole."""
    import joblib

    return max(min(int(joblib.cpu_count()), math.ceil(min(core_quota(), 1e6))), 1)
