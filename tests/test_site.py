"""The site: all that is public is on it, its links lead somewhere, and it asks for nothing."""

import functools
import http.server
import importlib.util
import re
import shutil
import subprocess
import sys
import threading

import pytest
from pages import ROOT
from typer.main import get_command

import sparsebench
from sparsebench.cli.application import app
from sparsebench.experiments.studies import STUDIES

spec = importlib.util.spec_from_file_location("make", ROOT / "docs" / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def headings(text):
    return re.findall(r"^## (.*)$", text, re.MULTILINE)


def test_every_public_name_is_documented():
    text = make.api()
    assert set(sparsebench.__all__) <= set(headings(text))
    for name in sparsebench.__all__:
        about = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert len(about.split("```")[2].strip()) > 30, name
    assert "theory.donoho_tanner_curve" in headings(text)


def test_a_public_name_without_documentation_is_an_error(monkeypatch):
    monkeypatch.setattr(sparsebench, "bare", lambda: None, raising=False)
    monkeypatch.setattr(sparsebench, "__all__", [*sparsebench.__all__, "bare"])
    with pytest.raises(SystemExit, match="bare has no documentation"):
        make.api()


def test_every_command_and_option_is_there():
    text = make.commands()
    known = get_command(app).commands
    assert headings(text) == list(known)
    for name, one in known.items():
        about = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for parameter in one.params:
            if parameter.param_type_name == "option":
                assert all(f"`{option}`" in about for option in parameter.opts), (name, parameter)


def test_every_algorithm_has_its_loop_source_and_curve():
    text = make.algorithms()
    ours = [one for one in sparsebench.algorithms() if one.family != "plug-in"]
    assert sorted(headings(text)) == sorted(one.name for one in ours)
    for one in ours:
        about = text.split(f"\n## {one.name}\n")[1].split("\n## ")[0]
        assert "Source: " in about and "<pre><code>" in about, one.name
    omp = text.split("\n## omp\n")[1].split("\n## ")[0]
    assert "while " in omp or "for " in omp
    assert '<polyline points="' in omp
    points = re.search(r'<polyline points="([^"]*)"', omp)[1].split()
    rows = [
        line.split(",") for line in (ROOT / "figures" / "thresholds.csv").read_text().splitlines()
    ]
    assert len(points) == len([r for r in rows if r[0] == "omp" and "0.95" in r])


def test_every_problem_study_finding_and_figure_is_there():
    text = make.every_problem()
    assert {one.name for one in sparsebench.problems.problems()} < set(headings(text))
    assert all(f"| `{name}` |" in text for name in STUDIES)
    assert headings(make.findings()) == sorted(p.stem for p in (ROOT / "findings").glob("*.sh"))
    shown = set(re.findall(r"\]\(\.\./figures/([\w-]+)\.png\)", make.gallery()))
    assert shown == {path.stem for path in (ROOT / "figures").glob("*.png")}
    version = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)[1]
    pytest.importorskip("yaml")
    assert f"version = {{{version}}}" in make.cite()


def test_the_history_is_that_of_the_csv():
    text = make.history()
    line = next(
        row
        for row in (ROOT / "figures" / "history.csv").read_text().splitlines()
        if ",htp," in row and row.startswith("4e254faa")
    )
    seconds = float(re.search(r",0,([\d.]+),", line)[1])
    assert f"{1e3 * seconds:.3g} (" in text and "`4e254faa`" in text


@pytest.fixture(scope="module")
def built():
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    ended = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make.py")], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")
    return ROOT / "build" / "site"


def test_a_broken_link_fails(built, tmp_path):
    """A page beside the others, with a heading that is not there."""
    pages = ROOT / "build" / "pages"
    page = pages / "generated" / "cite.md"
    whole = page.read_text()
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path), "-f"]
    try:
        page.write_text(whole + "\n[gone](../docs/estimator.md#no-such-heading)\n")
        ended = subprocess.run(
            [*words, str(ROOT / "docs" / "mkdocs.yml")], capture_output=True, text=True
        )
    finally:
        page.write_text(whole)
    assert ended.returncode != 0 and "no-such-heading" in ended.stderr


def test_no_file_names_a_script_font_or_style_of_another_place(built):
    for path in built.rglob("*.html"):
        asked = re.findall(r"<(?:script|img|iframe)[^>]*src=.?https?:[^>]*", path.read_text())
        asked += re.findall(r"<link[^>]*rel=.?(?:stylesheet|preconnect)[^>]*http[^>]*",
                            path.read_text())  # fmt: skip
        assert asked == [], path.name


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_browser_asks_for_nothing_outside(built):
    api = pytest.importorskip("playwright.sync_api")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(built))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    start = f"http://127.0.0.1:{server.server_port}/"
    asked, said = [], []
    try:
        with api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 390, "height": 900})
            page.set_default_timeout(60_000)
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            for name in ("index", "generated/gallery", "generated/algorithms", "docs/columns"):
                page.goto(f"{start}{name}.html")
                page.wait_for_selector("h1")
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
    assert len(asked) > 4
    assert [url for url in asked if not url.startswith((start, "data:", "blob:"))] == []
    assert said == []
