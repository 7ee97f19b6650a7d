"""Folders for what is made only once, where nobody else can put files in place of ours."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from sparsebench.errors import InputError


def cache_folder() -> Path:
    """Return ``$SPARSEBENCH_CACHE``, or the user's folder for caches, or a private one."""
    named = os.environ.get("SPARSEBENCH_CACHE")
    return Path(named) if named else _default_cache()


@cache
def _default_cache() -> Path:
    users = _users_cache()
    if users and (users.is_dir() or _usable(users)):
        return users
    return _private_folder() or users or Path(".cache")


def kernel_folder() -> Path:
    """Return a folder for compiled kernels, which cannot be kept beside their sources.

    Raises
    ------
    InputError
        If none can be written.
    """
    named = os.environ.get("SPARSEBENCH_CACHE")
    if named and is_writable(Path(named, "numba")):
        return Path(named, "numba")
    users = _users_cache()
    if users and _usable(users / "numba"):
        return users / "numba"
    private = _private_folder()
    if private and is_writable(private / "numba"):
        return private / "numba"
    raise InputError(
        "no folder for compiled kernels can be written, neither "
        f"{users or 'a home'} nor one under {_temporary() or 'a temporary folder'}: "
        "set NUMBA_CACHE_DIR to one that can"
    )


def _users_cache() -> Path | None:
    """Return the user's folder for our caches, by the customs of the system, if there is a home."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local, "sparsebench", "sparsebench", "Cache") if local else None
    customary = "Library/Caches" if sys.platform == "darwin" else ".cache"
    base = _base("XDG_CACHE_HOME", customary)
    return base / "sparsebench" if base else None


def _base(variable: str, customary: str) -> Path | None:
    """Return an absolute folder that a variable names, or its customary place in the home."""
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():
        return named
    try:
        return Path.home() / customary
    except RuntimeError:  # neither HOME nor an entry for this user
        return None


@cache
def _private_folder() -> Path | None:
    """Return this user's folder under the temporary one, None where that cannot be written.

    Where somebody else has taken its name, it is a fresh one, removed at the end of the process.
    """
    temporary = _temporary()
    if temporary is None:
        return None
    try:
        folder = temporary / (f"sparsebench-{os.getuid()}" if _has_owners() else "sparsebench")
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not _has_owners() or (
            stat.S_ISDIR(found.st_mode)
            and found.st_uid == os.getuid()
            and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        ):
            return folder
    except FileExistsError:  # a file, or a link to nowhere
        pass
    except OSError:
        return None
    try:
        fresh = Path(tempfile.mkdtemp(prefix="sparsebench-"))
    except OSError:
        return None
    atexit.register(shutil.rmtree, fresh, ignore_errors=True)
    os.environ.setdefault("SPARSEBENCH_CACHE", str(fresh))  # what workers start from
    return fresh


def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return None


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if it does not exist."""
    try:
        check_writable(folder, "")
    except InputError:
        return False
    return True


def check_writable(folder: Path, remedy: str) -> None:
    """Refuse a folder in which no file can be made; it is made if it does not exist.

    Raises
    ------
    InputError
        With the remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"cannot write to {folder} ({error.strerror}): {remedy}") from None


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Lend a file beside `path` to be written, which takes its place when it is whole.

    Raises
    ------
    OSError
        If it cannot be written, on a full disk for instance; what was there before stays.
    """
    path = path.resolve()
    part = path.with_name(f"part-{os.getpid()}-{path.name}")  # what reads the ending finds it
    try:
        yield part
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if not isinstance(error, OSError | RuntimeError):  # torch's is the latter
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise OSError(f"cannot write {path}: {reason}") from error


def check_cache() -> None:
    """Refuse a cache that cannot be written, before anything is made that belongs there.

    Raises
    ------
    InputError
    """
    check_writable(cache_folder(), "set SPARSEBENCH_CACHE to another folder")


def _usable(folder: Path) -> bool:
    """Whether a folder can be written by this user and, but for the administrator, nobody else."""
    if not is_writable(folder):
        return False
    if not _has_owners():
        return True
    folder = folder.resolve()
    # In a container the administrator's files may bear another number.
    trusted = {os.getuid(), Path("/").stat().st_uid}
    for place in (folder, *folder.parents):
        found = place.stat()
        kept = place != folder and found.st_mode & stat.S_ISVTX  # others' entries stay theirs
        if found.st_uid not in trusted or (found.st_mode & stat.S_IWOTH and not kept):
            return False
    return True


def _has_owners() -> bool:
    return hasattr(os, "getuid")


def settle_matplotlib() -> None:
    """Give matplotlib a folder for its list of fonts where the user has none, without a warning."""
    if os.environ.get("MPLCONFIGDIR") or not sys.platform.startswith(("linux", "freebsd")):
        return
    usual = _base("XDG_CONFIG_HOME", ".config"), _base("XDG_CACHE_HOME", ".cache")
    if all(base is not None and is_writable(base / "matplotlib") for base in usual):
        return
    folder = cache_folder() / "matplotlib"
    if is_writable(folder):
        os.environ["MPLCONFIGDIR"] = str(folder)
