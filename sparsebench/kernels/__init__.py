"""Compiled loops, float64, cached on disk.

numba decides by the file of a function whether its cached code is stale, and does not see that a
function it calls, in another file, has changed. So the cache is dropped whenever any source of a
compiled loop has changed since it was written.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path


def _drop_stale_cache() -> None:
    package = Path(__file__).parent.parent
    folders = [package / "kernels", package / "solvers"]
    sources = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    content = b"\0".join(path.read_bytes() for path in sources)
    current = hashlib.sha256(content).hexdigest()
    stamp = package / "kernels" / "__pycache__" / "sources.sha256"
    if stamp.exists() and stamp.read_text() == current:
        return
    for folder in folders:
        for cached in (folder / "__pycache__").glob("*.nb[ic]"):
            cached.unlink(missing_ok=True)
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(current)


# A read-only installation never changes, and numba keeps its cache elsewhere.
with contextlib.suppress(OSError):
    _drop_stale_cache()
