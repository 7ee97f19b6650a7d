"""The end of a solve that runs too long, by timers of its own process."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal.getsignal takes 6 µs
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# A solve that waits is given up after so many ticks in a row in which it computed next to nothing.
# A tick is as long as its time limit, but at least a second: that long a process that computes may
# not get its turn on a busy machine.
_WAITING_TICKS, _TICK, _IDLE = 10, 1.0, 0.01
# Seconds of CPU time after which an interruption comes again that something has swallowed.
_AGAIN = 1.0


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


def _on_timer(number: int, frame: object) -> None:
    if _limit is not None:
        (_limit.look if number == signal.SIGPROF else _limit.wait)()


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
    for number in (_signal.SIGPROF, _signal.SIGALRM):
        if _signal.getsignal(number) is not _on_timer:
            signal.signal(number, _on_timer)
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


def interruption(error: BaseException) -> BaseException:
    """Return the interruption that compiled code turned into a SystemError, or the error itself.

    One that arrives while a compiled function returns its result is the cause of such an error.
    """
    cause: BaseException | None = error
    while isinstance(cause, SystemError):
        cause = cause.__cause__ or cause.__context__
    return error if cause is None or isinstance(cause, Exception) else cause
