"""What another process uses, seen from outside: no signal, and no word from it, is needed."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

# Seconds between two looks, and what one adds at most: one that comes late, since this process was
# stopped or its machine slept, says nothing of the time between.
EVERY = 0.25
_MOST = 2 * EVERY
# A process that computes less than this between two looks, with all threads asleep, waits.
_IDLE = 0.02
# How many times as long a solve may take where the system does not tell what it uses.
_UNKNOWN = 10.0


class Use:
    """What a process has used since it was first looked at: CPU time, and time in which it waited.

    A process that is ready to compute and does not get its turn, or is stopped, uses nothing.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu, _ = _look(pid)
        self._seen = time.monotonic()
        self.computed = 0.0
        self.waited = 0.0

    def look(self) -> float:
        """Return the seconds that it has used, computing or waiting."""
        cpu, asleep = _look(self._pid)
        now = time.monotonic()
        passed, self._seen = min(now - self._seen, _MOST), now
        if cpu is None or self._cpu is None:
            self.waited += passed / _UNKNOWN
        else:
            used, self._cpu = cpu - self._cpu, cpu
            self.computed += used
            self.waited += passed if asleep and used < _IDLE else 0.0
        return self.computed + self.waited


def _look(pid: int) -> tuple[float | None, bool]:
    """Return the CPU seconds of a process, all threads together, and whether all of them sleep.

    None where the system does not tell.
    """
    place = Path("/proc") / str(pid)
    try:
        words = (place / "stat").read_text().rpartition(")")[2].split()
        cpu = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        states = []
        for task in (place / "task").iterdir():
            with suppress(FileNotFoundError):  # it has just ended
                states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    except (OSError, ValueError, IndexError):
        return None, False
    return cpu, set(states) == {"S"}
