"""The page of a report in a real browser: Chromium of the system, without a head or a network."""

import csv
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from sparsebench.report.page.writing import write_report

pytest.importorskip("plotly")
api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
FIGURES = Path(__file__).resolve().parent.parent / "figures"
WIDTHS = (1280, 390)
EVIL = "<img src=x onerror=alert(1)>"

# Boxes of all text that can be seen, cut to what scrolls: what a reader has before them.
BOXES = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    const unseen = "script, style, option, noscript, .hoverlayer, .modebar";
    if (!node.data.trim() || parent.closest(unseen)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      let {left, top, right, bottom} = box;
      for (let up = parent; up; up = up.parentElement) {
        if (!["auto", "scroll", "hidden"].includes(getComputedStyle(up).overflowY)) continue;
        const clip = up.getBoundingClientRect();
        left = Math.max(left, clip.left); right = Math.min(right, clip.right);
        top = Math.max(top, clip.top); bottom = Math.min(bottom, clip.bottom);
        const head = up.querySelector("thead");
        if (head && !head.contains(parent)) {
          top = Math.max(top, head.getBoundingClientRect().bottom);
        }
      }
      if (right - left > 1 && bottom - top > 1) {
        let ground = "", up = parent;
        for (; up && !ground; up = up.parentElement) {
          const colour = getComputedStyle(up).backgroundColor;
          if (!/, 0\\)$/.test(colour)) ground = colour;
        }
        const style = getComputedStyle(parent);
        const text = parent.namespaceURI.endsWith("svg") ? style.fill : style.color;
        found.push({text: node.data.trim(), box: [left, top, right, bottom], colour: text, ground});
      }
    }
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page of the published figures, one of whose algorithms has a name that is HTML."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("thresholds", "distances", "timing"):
        text = (FIGURES / f"{name}.csv").read_text()
        (folder / f"{name}.csv").write_text(re.sub(r"^niht,", f"{EVIL},", text, flags=re.M))
    write_report([folder], folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def opened(browser):
    """A function that opens a page; the test fails for what the page says or asks for."""
    pages, trouble = [], []

    def open_page(path, width=1280, view=""):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(60_000)
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(dialog.message))
        page.on("request", lambda request: trouble.append(request.url))
        page.goto(f"{path.as_uri()}{view}")
        page.wait_for_function("document.querySelectorAll('.chart .main-svg').length > 2")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    asked = [line for line in trouble if not line.startswith(("data:", "blob:"))]
    assert [line for line in asked if not line.startswith("file:")] == []
    assert len(asked) == len(pages)  # the pages themselves


def shown(page):
    """Return the labels of the curves that the first chart draws."""
    names = page.evaluate(
        "document.querySelector('.chart').data.filter((t) => t.text).map((t) => t.name)"
    )
    return {name.replace("&lt;", "<").replace("&gt;", ">") for name in names}


def hovered(page, chart, trace, point):
    """Return the text of the label that appears over a point."""
    page.locator(".chart").nth(chart).scroll_into_view_if_needed()
    spot = page.evaluate(
        """([chart, name, point]) => {
            const node = document.querySelectorAll('.chart')[chart];
            const trace = node.data.findIndex((one) => one.name === name);
            const {xaxis, yaxis} = node._fullLayout;
            const box = node.querySelector('.nsewdrag').getBoundingClientRect();
            const at = node.data[trace];
            return [box.left + xaxis.d2p(at.x[point]), box.top + yaxis.d2p(at.y[point])];
        }""",
        [chart, trace, point],
    )
    page.mouse.move(spot[0] - 40, spot[1] - 40)
    page.mouse.move(*spot)
    label = page.locator(".hoverlayer .hovertext").first
    label.wait_for()
    return label.text_content()


def wrong_numbers(page, data):
    """Return the rows of thresholds.csv at 95 % whose numbers no label over the chart shows."""
    found = page.evaluate(
        """() => document.querySelector('.chart').data.filter((trace) => trace.text)
            .map((trace) => [trace.name, trace.text])"""
    )
    labels = {
        name.replace("&lt;", "<").replace("&gt;", ">"): "\n".join(text) for name, text in found
    }
    wrong = []
    with data.open() as file:
        for row in csv.DictReader(file):
            if row["level"] == "0.95" and row["stopped"] != "not monotone":
                numbers = f"k = {row['estimate']} [{row['lower']}, {row['upper']}]"
                where = f"(m = {row['m']})<br>{numbers}<br>"
                if where not in labels.get(row["algorithm"], ""):
                    wrong.append((row["algorithm"], row["m"]))
    return wrong


def test_labels_show_what_the_csv_holds(opened, page_file):
    page = opened(page_file)
    assert wrong_numbers(page, page_file.with_name("thresholds.csv")) == []
    with page_file.with_name("thresholds.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["level"] == "0.95" and r["algorithm"] == "sea"]
    page.get_by_role("button", name="only sea", exact=True).click()
    for point in (0, len(rows) // 2, len(rows) - 1):
        text = hovered(page, 0, "sea", point)
        assert "sea" in text and f"k = {rows[point]['estimate']} [" in text


def test_a_number_that_is_altered_by_hand_is_found(opened, page_file, tmp_path):
    text = page_file.read_text(encoding="utf-8")
    held = re.search(r'"estimate":\[([\d.]+),', text)
    altered = text[: held.start(1)] + "1.2345" + text[held.end(1) :]
    (tmp_path / "altered.html").write_text(altered, encoding="utf-8")
    wrong = wrong_numbers(opened(tmp_path / "altered.html"), page_file.with_name("thresholds.csv"))
    # The points of both levels are in the page, those at 50 % first.
    page = opened(tmp_path / "altered.html", view="#level=0.5")
    drawn = page.evaluate("JSON.stringify(document.querySelector('.chart').data)")
    assert wrong or "k = 1.2345 [" in drawn
    levels = json.loads(re.search(r'"level":(\[[^]]*\])', text)[1])
    assert bool(wrong) == (levels[0] == 0.95)


def test_names_hide_and_isolate(opened, page_file):
    page = opened(page_file)
    everyone = shown(page)
    assert {"omp", "sea", EVIL} <= everyone
    page.locator("[data-label='omp'] .name").click()
    assert shown(page) == everyone - {"omp"}
    page.get_by_role("button", name="only sea", exact=True).click()
    assert shown(page) == {"sea"}
    page.get_by_role("button", name="only sea", exact=True).click()
    assert shown(page) == everyone
    page.locator("[data-label='omp'] .name").press("Enter")  # without a mouse
    assert shown(page) == everyone - {"omp"}
    page.get_by_role("button", name="show all").click()
    assert shown(page) == everyone
    page.get_by_label("grouped by").select_option("told")
    titles = page.locator(".keys h3").all_inner_texts()
    assert {"told k", "told k, lambda"} <= set(titles)


def test_the_table_sorts(opened, page_file):
    page = opened(page_file)
    header = page.locator("th[data-name='estimate']")

    def column(name):
        place = [*page.locator("table").first.locator("th").all_inner_texts()].index(name)
        return page.evaluate(
            "(place) => [...document.querySelector('table tbody').rows].map("
            "(row) => row.cells[place].textContent)",
            place,
        )

    header.get_by_role("button").click()
    numbers = [float(text) for text in column("estimate") if text]
    assert len(numbers) > 300 and all(a <= b for a, b in pairwise(numbers))
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").click()
    numbers = [float(text) for text in column("estimate") if text]
    assert all(a >= b for a, b in pairwise(numbers))
    page.locator("th[data-name='algorithm']").get_by_role("button").click()
    assert column("algorithm")[0] == EVIL and column("algorithm")[-1] == "thresholding"


def test_a_link_restores_the_view(opened, page_file):
    page = opened(page_file)
    page.get_by_role("button", name="only sea", exact=True).click()
    page.locator("[data-label='htp'] .name").click()
    page.get_by_label("success rate").select_option("0.5")
    page.get_by_role("button", name="dark", exact=True).click()
    page.locator("th[data-name='m']").get_by_role("button").click()
    link = page.locator("#link").get_attribute("href")
    rows = page.locator("table tbody").first.inner_text()
    other = opened(page_file, view="#" + link.partition("#")[2])
    assert shown(other) == {"sea", "htp"}
    assert other.locator("table tbody").first.inner_text() == rows
    assert "k at 50 %" in rows
    assert other.evaluate("document.documentElement.dataset.theme") == "dark"


def luminance(colour):
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    """WCAG 2.1's ratio."""
    low, high = sorted(map(luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_as_defined():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(118, 118, 118)", "rgb(255, 255, 255)") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_text_is_readable_and_does_not_overlap(opened, page_file, width, theme):
    page = opened(page_file, width, f"#theme={theme}")
    found = page.evaluate(BOXES)
    assert len(found) > 200
    faint = {
        (one["text"], one["colour"], one["ground"])
        for one in found
        if contrast(one["colour"], one["ground"]) < 4.5
    }
    assert faint == set()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found.sort(key=lambda one: one["box"][1])
    overlapping = []
    for i, one in enumerate(found):
        left, top, right, bottom = one["box"]
        for other in found[i + 1 :]:
            if other["box"][1] >= bottom - 1:
                break
            across = min(right, other["box"][2]) - max(left, other["box"][0])
            down = min(bottom, other["box"][3]) - max(top, other["box"][1])
            if across > 1.5 and down > 2.5:
                overlapping.append((one["text"], other["text"], across, down))
    assert overlapping == []


@pytest.mark.parametrize("width", WIDTHS)
def test_every_control_has_a_name(opened, page_file, width):
    page = opened(page_file, width)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, select, a, [role]")].filter((node) =>
            !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length))
            .map((node) => node.outerHTML)"""
    )
    assert nameless == []
    assert page.locator(".chart[role=img][aria-label]").count() == page.locator(".chart").count()
