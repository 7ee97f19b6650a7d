"""What depends on the operating system: time limits, and workers whose parent is gone."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import joblib


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


@cache
def die_with(parent: int) -> None:
    """End this worker when its parent is gone, killed perhaps."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def default_workers() -> int:
    """Return the number of usable cores."""
    return int(joblib.cpu_count())
