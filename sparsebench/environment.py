"""What a run ran on: versions, BLAS, processor, commit. Recorded once a run."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sparsebench import __version__
from sparsebench.errors import InputError
from sparsebench.system.resources import processor

_PACKAGES = ("numpy", "scipy", "numba", "joblib", "pandas")


def need(module: str, package: str, extra: str = "learned") -> Any:
    """Return a module of an extra, or raise `InputError` saying how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            f"this needs {package}, which is not installed: pip install 'sparsebench[{extra}]'"
        ) from None


def describe() -> dict[str, Any]:
    """Return the environment as plain JSON data."""
    from threadpoolctl import threadpool_info

    return {
        "sparsebench": __version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "packages": {name: version(name) for name in _PACKAGES},
        "blas": [
            {key: pool.get(key) for key in ("internal_api", "version", "architecture")}
            for pool in threadpool_info()
            if pool.get("user_api") == "blas"
        ],
        "host": platform.node(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
    }


def _commit() -> str | None:
    """Return the commit of the checkout this file lies in, with "+" if it has changes."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
