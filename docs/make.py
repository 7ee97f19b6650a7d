"""The site: the pages as they are, and those generated from the registry, the application and CSVs.

    pip install -e '.[docs]' && python docs/make.py

builds it in `build/site`, with warnings as errors; `index.html` can be opened from there.
"""

from __future__ import annotations

import csv
import html
import inspect
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import sparsebench
from sparsebench import problems
from sparsebench.experiments.studies import STUDIES
from sparsebench.registry import FAMILIES

PAGES = ROOT / "build" / "pages"
COPIED = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE")


def stage() -> None:
    """Copy the pages, in the places where their links expect each other, and add the generated."""
    shutil.rmtree(PAGES, ignore_errors=True)
    (PAGES / "generated").mkdir(parents=True)
    for name in COPIED:
        shutil.copy(ROOT / name, PAGES)
    for folder, endings in (("docs", (".md", ".ipynb")), ("figures", (".md", ".png", ".csv"))):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in endings:
                (PAGES / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, PAGES / path.relative_to(ROOT))
    for name, page in GENERATED.items():
        (PAGES / "generated" / f"{name}.md").write_text(page())


def commands() -> str:
    """Return every command with its options, from the application."""
    from typer.main import get_command

    from sparsebench.cli.application import app

    parts = ["# Every command", "`python -m sparsebench COMMAND`, or `sparsebench COMMAND`."]
    group: Any = get_command(app)
    for name, one in group.commands.items():
        parts += [f"## {name}", inspect.cleandoc(one.help or "")]
        rows = [_option(parameter) for parameter in one.params]
        parts += ["| | | default |\n|---|---|---|\n" + "\n".join(rows)] if rows else []
        parts += [one.epilog or ""]
    return _page(parts)


def _option(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.metavar or parameter.name).upper()}`"
    default = parameter.default
    shown = "" if default in (None, False, "", ()) or callable(default) else f"`{default}`"
    return f"| {names} | {_cell(parameter.help or '')} | {shown} |"


def algorithms() -> str:
    """Return every algorithm of the package: what it is, its cost, source, loop and curve."""
    curves = _curves()
    parts = [
        "# Every algorithm",
        "Below the name, its 95 % points on Gaussian dictionaries with n = 500: k/m up to .7 "
        "against m/n, where [the figures](../figures/README.md) have them.",
    ]
    entries = [one for one in sparsebench.algorithms() if one.family != "plug-in"]
    for one in sorted(entries, key=lambda e: (FAMILIES.index(e.family), e.name)):
        options = ", ".join(f"`{key}={value}`" for key, value in one.options.items()) or "none"
        parts += [
            f"## {one.name}",
            curves.get(one.name, ""),
            _docstring(one.function),
            f"Family {one.family}; told {', '.join(one.told) or 'nothing'}; options {options}.",
            f"Flops an iteration: `{one.cost}`." if one.cost else "",
            f"Source: {html.escape(one.source)}.",
            "".join(_loop(one.function)),
        ]
    return _page(parts)


def _curves() -> dict[str, str]:
    """Return small pictures of the 95 % points, a polygon of the band and a line."""
    points: dict[str, list[list[float]]] = {}
    for name in ("family/thresholds.csv", "thresholds.csv"):  # the later one counts
        own: dict[str, list[list[float]]] = {}
        with (ROOT / "figures" / name).open(newline="") as file:
            for row in csv.DictReader(file):
                if row["level"] == "0.95" and row["stopped"] != "not monotone":
                    m, n = float(row["m"]), float(row["n"])
                    ends = (float(row[key]) / m for key in ("estimate", "lower", "upper"))
                    own.setdefault(row["algorithm"].partition("[")[0], []).append([m / n, *ends])
        points |= own

    def place(x: float, y: float) -> str:
        return f"{200 * x:.1f},{80 - 80 * min(y, 0.7) / 0.7:.1f}"

    pictures = {}
    for name, rows in points.items():
        rows.sort()
        band = [place(x, low) for x, _, low, _ in rows]
        band += [place(x, high) for x, _, _, high in reversed(rows)]
        line = [place(x, y) for x, y, _, _ in rows]
        pictures[name] = (
            f'<svg width="200" height="80" role="img" aria-label="95 % points of {name}" '
            'style="border-left:1px solid;border-bottom:1px solid">'
            f'<polygon points="{" ".join(band)}" fill="#0072B2" opacity=".2"/>'
            f'<polyline points="{" ".join(line)}" fill="none" stroke="#0072B2"/></svg>'
        )
    return pictures


def _loop(function: Any) -> Iterator[str]:
    """Yield the source of a function and of those of its file that it calls, compiled or not."""
    inner = inspect.unwrap(function)
    module = sys.modules.get(inner.__module__)
    found, ahead = [], [inner]
    while ahead:
        one = ahead.pop(0)
        one = inspect.unwrap(getattr(one, "py_func", one))
        if not inspect.isfunction(one) or one in found:
            continue
        found.append(one)
        if one.__module__ == inner.__module__:
            names = one.__code__.co_names
            ahead += [vars(module)[name] for name in names if name in vars(module)]
    own = [one for one in found if one.__module__ == inner.__module__]
    try:
        code = "\n\n".join(inspect.getsource(one) for one in own)
    except (OSError, TypeError):
        return
    yield f"<details><summary>Its loop, {inner.__module__}</summary>\n"
    yield f"<pre><code>{html.escape(code)}</code></pre>\n</details>"


def every_problem() -> str:
    """Return every problem and study."""
    parts = ["# Every problem and study"]
    for one in problems.problems():
        options = ", ".join(f"`{key}={value}`" for key, value in one.options.items()) or "none"
        parts += [
            f"## {one.name}",
            _docstring(one.factory),
            f"Options {options}. Source: {html.escape(one.source)}.",
        ]
    parts += ["## Studies", "| study | what changes |\n|---|---|"]
    parts[-1] += "".join(f"\n| `{name}` | {_cell(one.what)} |" for name, one in STUDIES.items())
    return _page(parts)


def api() -> str:
    """Return every public name with its signature and documentation."""
    parts = ["# The public names", "All of `sparsebench`, and `sparsebench.theory`."]
    theory = [
        f"theory.{name}"
        for name, one in vars(sparsebench.theory).items()
        if inspect.isfunction(one)
        and one.__module__ == "sparsebench.theory"
        and not name.startswith("_")
    ]
    for name in (*sparsebench.__all__, *theory):
        one: Any = sparsebench
        for step in name.split("."):
            one = getattr(one, step)
        kept = inspect.getdoc(one)
        if not kept:
            raise SystemExit(f"error: {name} has no documentation")
        parts += [f"## {name}", f"```python\n{name}{_signature(one)}\n```", _docstring(one)]
        if inspect.isclass(one):
            for method, own in vars(one).items():
                about = inspect.getdoc(own)
                if not method.startswith("_") and about and not isinstance(own, (str, int)):
                    parts.append(f"**`{method}`**: {html.escape(about.splitlines()[0])}")
    return _page(parts)


def _signature(one: Any) -> str:
    try:
        return re.sub(r"(?<!\w)(\w+\.)+(?=\w)", "", str(inspect.signature(one)))
    except (TypeError, ValueError):
        return ""


def _docstring(one: Any) -> str:
    """Return a numpydoc docstring as Markdown: sections in bold, parameters as a list."""
    text = html.escape(inspect.getdoc(one) or "", quote=False)
    text = re.sub(r"^([A-Z][\w ]+)\n-+$", r"\n**\1**\n", text, flags=re.MULTILINE)
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    lines = []
    for line, below in zip(text.split("\n"), [*text.split("\n")[1:], ""], strict=True):
        name = line and not line.startswith((" ", "*", "|", "`", "-"))
        heads = name and (below.startswith("    ") or re.match(r"[\w, *]+ : ", line))
        lines.append(f"- **{line}**" if heads and not line.endswith(".") else line)
    return "\n".join(lines)


def gallery() -> str:
    """Return the pictures, each with the first sentences of what is said about it."""
    parts = ["# The figures", "What each shows, and does not: [in full](../figures/README.md)."]
    sections = (ROOT / "figures" / "README.md").read_text().split("\n## ")[1:]
    for section in sections:
        title, _, text = section.partition("\n")
        paragraphs = [p for p in re.split(r"\n\s*\n", text) if p.strip()]
        prose = [p for p in paragraphs if not p.startswith(("    ", "|"))]
        lesson = " ".join(prose[0].split()) if prose else ""
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        pictures = [name for name in title.split(", ") if (ROOT / f"figures/{name}.png").exists()]
        if pictures:
            parts += [f"## [{title}](../figures/README.md#{anchor})"]
            parts += [f"![{name}](../figures/{name}.png)" for name in pictures]
            parts += [re.sub(r"\]\((?!\.\./)", "](../figures/", lesson)]
    return _page(parts)


def history() -> str:
    """Return the time of a solve by commit, a table a problem, of `figures/history.csv`."""
    parts = [
        "# Speed over the commits",
        "The median time of a solve in milliseconds, with the 99 % interval of asv, from "
        "[history.csv](../figures/history.csv).",
    ]
    with (ROOT / "figures" / "history.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["date"])
    for panel in dict.fromkeys(row["panel"] for row in rows):
        own = [row for row in rows if row["panel"] == panel]
        names = sorted({row["algorithm"] for row in own})
        lines = [f"| commit | day | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
        for commit in dict.fromkeys(row["commit"] for row in own):
            by = {row["algorithm"]: row for row in own if row["commit"] == commit}
            cells = [_milliseconds(by[name]) if name in by else "" for name in names]
            day = next(iter(by.values()))["date"][:10]
            lines.append(f"| `{commit}` | {day} | {' | '.join(cells)} |")
        parts += [f"## {panel}", f"![{panel}](../figures/history-{panel}.png)", "\n".join(lines)]
    return _page(parts)


def _milliseconds(row: dict[str, str]) -> str:
    middle, low, high = (1e3 * float(row[key]) for key in ("estimate", "lower", "upper"))
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def findings() -> str:
    """Return what surprised us in other packages, from the heads of the scripts."""
    parts = ["# Findings", "What surprised us in other packages: a script each shows it."]
    for path in sorted((ROOT / "findings").glob("*.sh")):
        lines = path.read_text().splitlines()[1:]
        head = []
        for line in lines:
            if not line.startswith("#"):
                break
            head.append(html.escape(line.lstrip("# "), quote=False))
        parts += [f"## {path.stem}", "\n".join(head), f"`bash findings/{path.name}`"]
    return _page(parts)


def cite() -> str:
    """Return how to cite, from `CITATION.cff`."""
    import yaml

    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    names = " and ".join(f"{{{one['name']}}}" for one in about["authors"])
    entry = (
        f"@software{{sparsebench,\n  title = {{{about['title']}}},\n  author = {{{names}}},\n"
        f"  version = {{{about['version']}}},\n  date = {{{about['date-released']}}},\n}}"
    )
    words = "[CITATION.cff](../CITATION.cff)"
    return _page(["# How to cite", about["message"], f"```bibtex\n{entry}\n```", words])


def _cell(text: str) -> str:
    return " ".join(html.escape(text, quote=False).replace("|", "\\|").split())


def _page(parts: list[str]) -> str:
    return "\n\n".join(filter(None, parts)) + "\n"


GENERATED: dict[str, Callable[[], str]] = {
    "commands": commands,
    "algorithms": algorithms,
    "problems": every_problem,
    "api": api,
    "gallery": gallery,
    "history": history,
    "findings": findings,
    "cite": cite,
}


def main() -> None:
    """Stage the pages and build the site."""
    from mkdocs.__main__ import cli

    stage()
    cli(["build", "--strict", "--quiet", "--config-file", str(ROOT / "docs" / "mkdocs.yml")])


if __name__ == "__main__":
    main()
