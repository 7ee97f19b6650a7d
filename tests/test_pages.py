"""The documents: links lead somewhere, every page is reached, every column is explained."""

import csv
import linecache
import re
from pathlib import Path

import numpy as np
import pages
import pytest
from typer.main import get_command

import sparsebench
from sparsebench.cli.application import app
from sparsebench.experiments import provenance
from sparsebench.experiments.studies import STUDIES
from sparsebench.registry import choose_algorithms, choose_problem, forget_plugins
from sparsebench.run.rows import Block, Outcome
from sparsebench.run.store import Store

FIGURES = pages.ROOT / "figures"
# Columns that the committed figures, of an earlier version, have not.
LATER = {"time_outs", "coverage", "stopped", "validation", "steps", "processor"}


def broken(page):
    """Return the links of a page that lead nowhere."""
    found = []
    for link in pages.links(page):
        path, heading = pages.target(page, link)
        if not path.exists() or (heading and heading not in pages.headings(path)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_links_lead_somewhere(page):
    assert broken(page) == []


def test_a_broken_link_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A title, `code` and A/B\n[1](other.md) ![2](no.png) [3](#a-title-code-and-ab) [4](#b)\n"
        "`[5](no)` [6](https://no)\n```\n[7](no)\n# c\n```\n[8](page.md#c) [9](other.md#d)"
    )
    (tmp_path / "other.md").write_text("## D\n")
    assert broken(page) == ["no.png", "#b", "page.md#c"]


def test_every_page_is_reached_from_the_readme():
    every, reached, left = set(pages.pages()), set(), [pages.ROOT / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        left += {pages.target(page, link)[0] for link in pages.links(page)} & every - reached
    assert reached == every


def test_every_csv_has_a_section():
    """Those that are committed, those of every study, and those whose names the code states."""
    code = "".join(path.read_text() for path in (pages.ROOT / "sparsebench").rglob("*.py"))
    stated = set(re.findall(r"/ \"([\w-]+\.csv)\"", code))
    assert {"thresholds.csv", "cells.csv", "learning.csv"} <= stated
    studies = {f"{name}.csv" for name in STUDIES}
    committed = {path.name for path in FIGURES.rglob("*.csv")}
    assert stated | studies | committed <= set(pages.columns())


@pytest.mark.parametrize("path", sorted(FIGURES.glob("*.csv")), ids=lambda path: path.name)
def test_the_columns_of_the_committed_figures_are_explained(path):
    unexplained, absent = pages.differing(path)
    assert unexplained == []
    assert set(absent) <= LATER


def test_the_columns_of_the_figures_in_folders_are_explained():
    for path in sorted(FIGURES.glob("*/*.csv")):
        assert pages.differing(path)[0] == []


def test_every_column_that_is_named_is_explained():
    """On the page itself: under the same file, among the common ones, or where the text points."""
    found = pages.columns()
    for name, (_, others, named) in found.items():
        common = found[""][0].union(*(found[other][0] for other in named))
        assert others <= common, (name, others - common)


def test_a_column_that_is_not_explained_is_seen(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text((FIGURES / "optimum.csv").read_text())
    assert pages.differing(path)[0] == ["atoms", "reached"]
    with pytest.raises(AssertionError, match="does not explain"):
        pages.check_columns(path)
    own, others, _ = pages.columns()["cells.csv"]
    header = sorted(own | others)
    path.write_text(",".join(header[1:]) + "\n")
    with pytest.raises(AssertionError, match=re.escape(f"explains {header[:1]}, which")):
        pages.check_columns(path)
    path.write_text(",".join(header) + "\n")
    pages.check_columns(path)


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_the_commands_that_are_printed_exist(page):
    """With the options they are printed with; they are read, not run."""
    known = get_command(app).commands
    for name, *words in pages.commands(page):
        known[name].make_context(name, words)


def test_the_commands_of_the_readme_are_read():
    found = pages.commands(pages.ROOT / "README.md")
    assert ["phase-transition"] in found
    plugin = ["phase-transition", "--plugin", "my_algorithm.py", "-a", "omp,htp,my_algorithm"]
    assert plugin in found


def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    solving, drawing, recovering, reading = pages.blocks(
        pages.ROOT / "docs" / "python.md", "python"
    )
    names = {}
    exec(solving, names)
    assert np.array_equal(np.flatnonzero(names["result"].x), names["instance"].support)
    one = sparsebench.draw("gaussian", m=60, n=120, k=20, trial=0)
    names |= {"A": one.A, "y": one.y}
    exec(recovering.replace('fista")', 'fista", trials=2, resamples=1)'), names)
    assert set(names["rows"]["algorithm"]) == {"omp", "sea", "fista"}
    monkeypatch.chdir(tmp_path)
    text = "def mine(A, y, k):\n    return A.T @ y * (abs(A.T @ y) >= sorted(abs(A.T @ y))[-k])\n"
    linecache.cache["<mine>"] = (len(text), None, text.splitlines(keepends=True), "<mine>")
    names["__name__"] = "__main__"
    exec(compile(text, "<mine>", "exec"), names)
    small = "n=24, ratios=[0.5], max_trials=60, jobs=1, out='drawn'"
    drawing = drawing.replace("n=200, ratios=[0.3, 0.5, 0.7]", small)
    drawing = drawing.replace("ks=[5, 10, 20]", "ks=[5], trials=2, jobs=1, out='drawn'")
    exec(drawing.replace('read("results")', 'read("drawn")'), names)
    assert set(names["diagram"].points["algorithm"]) == {"omp", "htp", "mine"}
    assert names["curve"].points["k"].tolist() == [5, 5]
    forget_plugins(but=[])
    problem, pairs = choose_problem("gaussian"), [(one, 3) for one in choose_algorithms("omp,sp")]
    with Store(Path("results")) as store:
        outcomes = [Outcome(0.0, exact, 0.0, 0.0, 1, "", "", 0.0) for exact in (True, False)]
        store.add(
            store.start_run("", {}, {}), Block(problem, 0, 9, 5, 0, tuple(pairs), 1.0), outcomes
        )
    exec(reading, names)
    found = names["few"].groupby(["algorithm", "k"], observed=True)["exact"].mean()
    assert found.to_dict() == {("omp", 3): 1.0, ("sp", 3): 0.0}
    assert len(names["rows"]) == 2


@pytest.mark.parametrize("name", ["soak", "cluster-scale", "cluster-overhead"])
def test_the_tables_of_machines_are_those_of_the_csvs(name):
    lines = (pages.ROOT / "docs" / "machines.md").read_text().splitlines()
    with (FIGURES / f"{name}.csv").open(newline="") as file:
        own = [row[: -len(provenance.COLUMNS)] for row in csv.reader(file)]
        rows = ["| " + " | ".join(row) + " |" for row in own]
    start = lines.index(rows[0])
    end = lines.index("", start) if "" in lines[start:] else len(lines)
    assert lines[start + 2 : end] == rows[1:]


def test_no_fault_of_the_soak_cost_a_row():
    with (FIGURES / "soak.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["faults"]) for row in rows) >= 300
    for row in rows:
        assert {row[name] for name in ("broken", "lost", "different", "hangs", "failed")} == {"0"}
