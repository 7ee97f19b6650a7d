"""The pages of the documents: which there are, where their links lead, the columns they explain."""

import csv
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent


def pages():
    """Return every page that is released."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    folders = [ROOT / name for name in build["targets"]["sdist"]["only-include"]]
    return sorted([*ROOT.glob("*.md"), *(p for folder in folders for p in folder.rglob("*.md"))])


def links(page):
    """Return the targets of a page's links and images, but for those in other places."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not re.match(r"\w+:", target)]


def blocks(page, language):
    """Return the code of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page):
    """Return the command lines of the package that a page prints, as lists of words."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    code = [*blocks(page, "sh"), *re.findall(r"^    (.*)$", text, re.MULTILINE)]
    code += [" ".join(span.split()) for span in re.findall(r"`([^`]*)`", text)]
    lines = [line for one in code for line in re.split(r"(?<!\\)\n|&&", one)]
    found = [re.search(r"python -m sparsebench (.*)", line, re.DOTALL) for line in lines]
    return [shlex.split(line[1].replace("\\\n", " "), comments=True) for line in found if line]


def target(page, link):
    """Return the file that a link of a page leads to, and the heading, if it names one."""
    path, _, heading = link.partition("#")
    return (page.parent / path).resolve() if path else page, heading


def headings(page):
    """Return the anchors of a page's headings, as they are made by those who show it."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# Columns that files of complex problems alone have, and of another success than the exact support.
SPECIAL = {"numbers", "phase", "success"}


@cache
def columns():
    """Return what `docs/columns.md` says of each CSV: columns of its own, others, files it names.

    Those that mean the same everywhere stand under the name "".
    """
    found = {}
    shared, *sections = (ROOT / "docs" / "columns.md").read_text().split("\n## ")
    for section in [f"\n\n{shared}", *sections]:
        title, _, text = section.partition("\n\n")
        about = text.partition("\n\n")[0].partition("Also ")[2]
        cells = re.findall(r"^\| (`.*?) \| ", text, re.MULTILINE)
        own = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
        others = set(re.findall(r"`(\w+)`", about))
        named = re.findall(r"\[`([\w-]+\.csv)`\]", about)
        for name in re.findall(r"`([\w-]+\.csv)`", title) or [""]:
            found[name] = own, others, named
    return found


def differing(path):
    """Return the columns of a CSV that the page does not explain, and those it explains in vain."""
    own, others, _ = columns()[path.name]
    with path.open(newline="") as file:
        header = set(next(csv.reader(file)))
    return sorted(header - own - others), sorted((own | others) - header - SPECIAL)


def check_columns(path):
    """Fail unless the page explains the columns of a CSV, each of them and no other."""
    unexplained, absent = differing(path)
    assert not unexplained, f"docs/columns.md does not explain {unexplained} of {path.name}"
    assert not absent, f"docs/columns.md explains {absent}, which {path.name} has not"
