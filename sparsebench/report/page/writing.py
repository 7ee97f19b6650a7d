"""The page: one file that draws with plotly, works without a network and says what made it."""

from __future__ import annotations

import html
import json
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sparsebench import __version__
from sparsebench.errors import InputError
from sparsebench.report.page.contents import of_folders
from sparsebench.system.folders import written_whole


def write_report(folders: list[Path], path: Path) -> None:
    """Write what some folders of results hold as one HTML file.

    Parameters
    ----------
    folders : list of Path
        Each with CSVs of ``phase-transition``, ``support-distance`` or ``timing``, or a store.
    path : Path

    Raises
    ------
    InputError
        If plotly is not installed, a folder holds nothing to report, or a file is damaged.
    """
    library = _library()
    contents = of_folders(folders)
    title = "sparsebench: " + ", ".join(map(str, folders))
    with written_whole(path) as part:
        part.write_text(_page(title, contents, library), encoding="utf-8")


def _library() -> str:
    """Return plotly's own JavaScript, from its package."""
    if find_spec("plotly") is None:
        raise InputError("a report is drawn by plotly: pip install 'sparsebench[report]'")
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _page(title: str, contents: dict[str, Any], library: str) -> str:
    """Return the template with its gaps filled."""
    here = resources.files(__package__)
    gaps = {
        "title": html.escape(title),
        "made": f"Made by sparsebench {__version__}.",
        "style": (here / "page.css").read_text(encoding="utf-8"),
        "script": (here / "page.js").read_text(encoding="utf-8"),
        # Nothing in it ends the element that holds it.
        "contents": json.dumps(contents, separators=(",", ":"), allow_nan=False).replace(
            "<", "\\u003c"
        ),
        "plotly": library,
    }
    pieces = (here / "page.html").read_text(encoding="utf-8").split("@")
    return "".join(gaps.get(piece, piece) for piece in pieces)
