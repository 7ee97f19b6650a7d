"""A process that is asked to end, by Ctrl-C perhaps: soon, with a line and a status that say so."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sparsebench.system.processes import end_workers, stop_signals

# Seconds that the main thread has to end in an orderly way once it was asked to.
_GRACE = 1.5


class Stopped(BaseException):
    """Raised in the main thread when the process is asked to end; no `except` swallows it."""


# The signal that has asked this process to end, if one has, and what is said of it.
_asked: list[int] = []
_message = "stopped"
_said = threading.Lock()


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
    for number in stop_signals():
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


def _raise_stopped(number: int, frame: object) -> None:
    if not _asked:
        _asked.append(number)
    raise Stopped


def _wait_for_signals(reader: socket.socket, writer: socket.socket) -> None:
    """Kill the workers when a signal asks for the end, and the process where it does not end."""
    asking = stop_signals()
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
