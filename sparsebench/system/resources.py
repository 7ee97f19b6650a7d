"""Cores, their kind and memory that this process may use, by what Linux says of them."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from pathlib import Path

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def core_quota() -> float:
    """Return the cores' worth of time that the control groups allow, infinite without a quota."""
    quota = math.inf
    for group in _control_groups("cpu"):
        for words in (
            _text(group / "cpu.max").split(),
            [_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")],
        ):
            if len(words) == 2 and all(word.isdigit() for word in words):
                quota = min(quota, int(words[0]) / int(words[1]))
    return quota


def available_memory() -> int | None:
    """Return the bytes that can be had without swapping, by the system and its control groups.

    None where nothing says it, as without Linux's ``/proc``.
    """
    found = []
    for line in _text(_PROC / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            found.append(1024 * int(line.split()[1]))
    for group in _control_groups("memory"):
        for limit, usage, files in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, used = _text(group / limit), _text(group / usage)
            if most.isdigit() and used.isdigit():
                given_back = 0  # what it holds of files is dropped when memory is short
                for line in _text(group / "memory.stat").splitlines():
                    name, _, value = line.partition(" ")
                    given_back += int(value) if name == files else 0
                found.append(max(int(most) - int(used) + given_back, 0))
    return min(found, default=None)


def processor() -> str:
    """Return the name of the processor, or of its kind where the system does not tell."""
    for line in _text(_PROC / "cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def default_workers() -> int:
    """Return the number of usable cores; a quota of a part of one counts as a whole."""
    import joblib

    return max(min(int(joblib.cpu_count()), math.ceil(min(core_quota(), 1e6))), 1)


def _control_groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, of both versions, up to the root."""
    for line in _text(_PROC / "self" / "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        # Of version 1 a folder bears the name of one of its controllers, or of all.
        for root in {_CGROUPS / names, _CGROUPS / controller} if names else {_CGROUPS}:
            place = root / path.lstrip("/")
            yield from (one for one in (place, *place.parents) if one.is_relative_to(root))


def _text(path: Path) -> str:
    """Return what a file of the system says, "" where there is none."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
