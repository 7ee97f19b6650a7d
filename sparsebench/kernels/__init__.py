"""Compiled loops, float64, cached on disk.

numba decides by the file of a function whether its cached code is stale, and does not see that a
function it calls, in another file, has changed. So the cache is dropped whenever any source of a
compiled loop has changed since it was written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from sparsebench.system.folders import is_writable, kernel_folder
from sparsebench.types import InputError

_PACKAGE = Path(__file__).parent.parent
_FOLDERS = (_PACKAGE / "kernels", _PACKAGE / "solvers")


def _choose_cache() -> str:
    """Choose where numba keeps its cache: beside the sources only where that can be written.

    Returns
    -------
    str
        The folder, "" where it is beside the sources.

    Raises
    ------
    InputError
        If the folder that ``NUMBA_CACHE_DIR`` names cannot be written, or none can.
    """
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        if not is_writable(Path(named)):
            raise InputError(
                f"NUMBA_CACHE_DIR names {named}, which cannot be written: name another folder"
            )
        return named
    if all(is_writable(folder / "__pycache__") for folder in _FOLDERS):
        return ""
    chosen = str(kernel_folder())
    os.environ["NUMBA_CACHE_DIR"] = chosen  # for numba, and for workers
    if "numba" in sys.modules:  # it has read its variables already
        sys.modules["numba"].core.config.reload_config()
    return chosen


def _drop_stale_cache() -> None:
    sources = [path for folder in _FOLDERS for path in sorted(folder.glob("*.py"))]
    content = b"\0".join(path.read_bytes() for path in sources)
    current = hashlib.sha256(content).hexdigest()
    places = [_place(folder) for folder in _FOLDERS]
    stamp = places[0] / "sources.sha256"
    if stamp.exists() and stamp.read_text() == current:
        return
    for place in places:
        for cached in place.glob("*.nb[ic]"):
            cached.unlink(missing_ok=True)
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(current)


def _place(folder: Path) -> Path:
    """Return where numba keeps the cache of a folder of sources."""
    if not CACHE:
        return folder / "__pycache__"
    where = hashlib.sha1(os.path.abspath(folder).encode()).hexdigest()
    return Path(CACHE, f"{folder.name}_{where}")


#: The folder of compiled kernels, "" where they are beside their sources.
CACHE = _choose_cache()
with contextlib.suppress(OSError):
    _drop_stale_cache()
