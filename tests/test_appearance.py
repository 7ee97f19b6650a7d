"""Pictures for papers and talks: sizes, styles, curves, names, logarithms, text that is text."""

import re
from pathlib import Path

import matplotlib
import pytest
from PIL import Image
from test_cli import sparsebench
from test_plots import closest, curves

from sparsebench.report import figures, style
from sparsebench.report.appearance import Appearance, read_labels
from sparsebench.types import InputError

FIGURES = Path(__file__).parent.parent / "figures"
EIGHT = ("omp", "sea", "els+sea", "htp", "niht", "sp", "homotopy", "ompr")


def drawn(monkeypatch, stem, **asked):
    """The figures of a CSV as they are asked for, by name; none is written."""
    found = {}
    monkeypatch.setattr(
        style, "save", lambda figure, _, name: found.setdefault(name, figure) and []
    )
    figures.draw(FIGURES / f"{stem}.csv", FIGURES, Appearance(**asked))
    return found


@pytest.mark.parametrize(
    ("asked", "pixels"),
    [
        ({"size": (5.0, 3.0)}, (1000, 600)),
        ({"style": "slide"}, (2800, 1576)),
        ({"style": "column"}, (1050, None)),
    ],
)
def test_a_picture_has_the_size_that_is_asked_for(asked, pixels, tmp_path):
    figures.draw(FIGURES / "thresholds.csv", tmp_path, Appearance(curves=EIGHT, **asked))
    with Image.open(tmp_path / "phase-transition.png") as picture:
        width, height = picture.size
    assert abs(width - pixels[0]) <= 1
    assert pixels[1] is None or abs(height - pixels[1]) <= 1


@pytest.mark.parametrize("asked", [{"size": (5.0, 3.5)}, {"style": "column"}, {"style": "slide"}])
def test_no_words_overlap_and_all_are_inside(asked, monkeypatch):
    (figure, _) = drawn(monkeypatch, "thresholds", curves=EIGHT, **asked).values()
    figure.canvas.draw()
    (axes,) = figure.axes
    small = figure.texts[-1].get_window_extent()
    legend = figure.legends[0].get_window_extent()
    label = axes.xaxis.label.get_window_extent()
    assert legend.y1 <= small.y0 + 1 and small.y1 <= label.y0
    for box in (small, legend):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    height = Appearance(**asked).inches[1]
    if height:
        assert legend.y0 >= figure.bbox.height - height * figure.dpi - 1


def test_a_column_has_one_panel_above_the_other(monkeypatch):
    (figure,) = drawn(monkeypatch, "noise", style="column").values()
    assert len({round(axes.get_position().x0, 6) for axes in figure.axes}) == 1
    assert figure.get_figwidth() == 3.5


@pytest.mark.parametrize("name", ["", "ggplot", "dark_background", "grayscale"])
def test_eight_curves_have_colours_of_their_own_in_every_style(name, monkeypatch):
    (figure, _) = drawn(monkeypatch, "thresholds", style=name, curves=EIGHT).values()
    (axes,) = figure.axes
    assert len(curves(axes)) == 8 and closest(curves(axes).values()) > 12
    bands = {tuple(band.get_facecolor()[0][:3]) for band in axes.collections}
    assert len(bands) == 8


def test_a_style_is_used_and_left(monkeypatch):
    before = dict(matplotlib.rcParams)
    (figure, _) = drawn(monkeypatch, "thresholds", style="ggplot").values()
    assert matplotlib.colors.to_hex(figure.axes[0].get_facecolor()) == "#e5e5e5"
    assert dict(matplotlib.rcParams) == before
    (figure, _) = drawn(monkeypatch, "thresholds").values()
    assert matplotlib.colors.to_hex(figure.axes[0].get_facecolor()) == "#ffffff"


@pytest.mark.parametrize("stem", ["thresholds", "noise"])
def test_curves_are_chosen_named_and_ordered(stem, monkeypatch):
    asked = {"curves": ("omp", "sea", "sp"), "order": ("sp",), "labels": {"sea": "SEA (ours)"}}
    figure = next(iter(drawn(monkeypatch, stem, **asked).values()))
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts() if "Donoho" not in text.get_text()]
    assert sorted(texts) == ["SEA (ours)", "omp", "sp"] and texts[0] == "sp"


def test_logarithms_show_every_point_above_zero(monkeypatch):
    (figure,) = drawn(monkeypatch, "noise", log="y", curves=("omp", "sea")).values()
    for axes in figure.axes:
        assert axes.get_yscale() == "log"
        values = [y for line in axes.lines for y in line.get_ydata() if y > 0]
        low, high = axes.get_ylim()
        assert 0 < low < min(values) and max(values) < high
    with pytest.raises(InputError, match="numbers below 0"):
        drawn(monkeypatch, "unrolling", log="y")


def test_text_is_text(tmp_path):
    sheet = tmp_path / "sheet.mplstyle"
    sheet.write_text("text.usetex: True\npdf.fonttype: 3\nsvg.fonttype: path\n")
    asked = Appearance(str(sheet), svg=True, curves=("omp", "sea"), labels={"sea": "SEA (ours)"})
    figures.draw(FIGURES / "thresholds.csv", tmp_path, asked)
    text = (tmp_path / "phase-transition.svg").read_text()
    assert re.search(r"<text[^>]*>SEA \(ours\)</text>", text)
    kinds = re.findall(rb"/Subtype /(Type3|Type42|TrueType|CIDFontType2)",
                       (tmp_path / "phase-transition.pdf").read_bytes())  # fmt: skip
    assert kinds and b"Type3" not in kinds


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--curves", "sae"], "unknown curve 'sae'; did you mean 'sea'?"),
        (["--order", "sae"], "unknown curve 'sae'; did you mean 'sea'?"),
        (["--label", "sae=x"], "unknown curve 'sae'; did you mean 'sea'?"),
        (["--label", "sea"], "--label takes CURVE=NAME, as 'sea=SEA (ours)', not 'sea'"),
        (["--label", "sea=a", "--label", "sea=b"], "--label names 'sea' twice"),
        (["--label", "sea=omp"], "two curves would be called 'omp': give them different labels"),
        (["--size", "3"], "--size takes the width and height in inches from 1 to 50, as 3.5,2.6"),
        (["--log", "z"], "--log takes x, y or xy, not 'z'"),
        (["--style", "gplot"], "unknown style 'gplot'; did you mean 'ggplot'?"),
        (["--style", "nosuch.mplstyle"], "cannot use --style nosuch.mplstyle: "),
        (
            ["--style", "font.mplstyle"],
            "the font of --style font.mplstyle is not installed: No Such",
        ),
    ],
)
def test_a_wrong_wish_is_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("font.mplstyle").write_text("font.family: No Such Font\n")
    data = ["--data", FIGURES, "--out", tmp_path / "out"]
    code, out, err = sparsebench(
        "figures", "phase-transition", *data, *words, monkeypatch=monkeypatch, capsys=capsys
    )
    assert (code, out) == (2, "")
    assert said in err and err.startswith("error: ") and err.count("\n") == 1
    assert not list((tmp_path / "out").glob("*"))


def test_options_belong_to_the_name_of_a_curve():
    found = read_labels(["iht[step=1/L]=IHT, $1/L$", "sea=a=b"])
    assert found == {"iht[step=1/L]": "IHT, $1/L$", "sea": "a=b"}
