"""Pictures: curves that are told apart, whole ticks, plain words, and no style but ours."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from sparsebench.report import diagrams, figures, multiples, picture, style

FIGURES = Path(__file__).parent.parent / "figures"
NOISELESS = json.dumps({"amplitudes": "uniform", "snr": float("inf")})
# Machado, Oliveira and Fernandes 2009, doi:10.1109/TVCG.2009.113, at full severity.
SEEN_BY = {
    "all cones": np.eye(3),
    "no long cones": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no medium cones": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
) / np.array([[0.9505], [1.0], [1.089]])


def closest(colours, eye="all cones"):
    """The least CIE 1976 difference of two colours, as an eye sees them."""
    places = []
    for colour in colours:
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        xyz = TO_XYZ @ np.clip(SEEN_BY[eye] @ linear, 0, 1)
        x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
        places.append(np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)]))
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(places, 2))


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, open, by name; none is written."""
    found = {}

    def keep(figure, folder, name):
        found[name] = figure
        return []

    monkeypatch.setattr(style, "save", keep)
    return found


def curves(axes):
    """The colours of the curves that a panel's legend names."""
    handles, texts = axes.get_legend_handles_labels()
    return {
        text: handle.get_color()
        for handle, text in zip(handles, texts, strict=True)
        if isinstance(handle, plt.Line2D) and "Donoho" not in text and text != "counts as zero"
    }


def thresholds(algorithms, family="greedy", told="k", ms=(20, 50, 80), options=NOISELESS):
    """Rows of a diagram."""
    return pd.DataFrame(
        [
            {
                "algorithm": name, "family": family, "told": told, "m": m, "n": 100, "level": 0.95,
                "estimate": (0.1 + 0.02 * place) * m, "lower": (0.05 + 0.02 * place) * m,
                "upper": (0.15 + 0.02 * place) * m, "problem_options": options,
            }
            for place, name in enumerate(algorithms)
            for m in ms
        ]
    )  # fmt: skip


def test_eight_curves_have_eight_colours_that_the_colour_blind_tell_apart():
    names = "omp,iht,niht,htp,nhtp,sea,omp+sea,homotopy".split(",")
    (axes,) = diagrams.phase_transition(thresholds(names), 0.95, "").axes
    colours = list(curves(axes).values())
    assert len(colours) == 8
    for eye in SEEN_BY:
        assert closest(colours, eye) > 15, eye
    markers = [line.get_marker() for line in axes.lines if not line.get_label().startswith("ℓ1")]
    assert len(set(markers)) == 8


@pytest.mark.parametrize(
    ("options", "success", "has"),
    [
        ({}, "", True),
        ({"snr": float("inf")}, "", True),
        ({"snr": 30.0}, "", False),
        ({"snr": float("inf"), "amplitudes": "compressible"}, "", False),
        ({}, "relative_error<0.001", True),
        ({"snr": 60.0}, "relative_error<0.001", False),
        ({}, "relative_error<=2.0*noise", False),
        ({}, "f1>=0.9", False),
    ],
)
def test_the_limit_of_l1_is_drawn_of_exact_recovery_without_noise(options, success, has):
    rows = thresholds(["omp", "bp"], options=json.dumps(options))
    rows = rows.assign(success=success) if success else rows
    (axes,) = diagrams.phase_transition(rows, 0.95, "").axes
    assert any("Donoho" in line.get_label() for line in axes.lines) == has


def test_a_large_family_has_several_panels():
    names = [f"sea[max_iter={budget}]" for budget in range(1, 21)]
    rows = pd.concat([thresholds(names, "exploration"), thresholds(["omp"])])
    figure = diagrams.phase_transition(rows, 0.95, "")
    panels = {axes.get_title(): curves(axes) for axes in figure.axes}
    assert [len(panel) for panel in panels.values()] == [1, 8, 8, 4]
    assert set().union(*panels.values()) == {*names, "omp"}
    assert list(panels)[1:] == [f"exploration and restarts ({i} of 3)" for i in (1, 2, 3)]
    for panel in list(panels.values())[1:]:
        assert closest(panel.values()) > 20


def test_many_that_are_told_more_or_less_have_a_panel_each_knowledge():
    rows = pd.concat(
        [
            thresholds(["omp", "ols", "sbl"]),
            thresholds(["homotopy"], told="k,lambda"),
            thresholds(["omp[k=noise]", "bpdn", "sbl-noise"], told="noise"),
            thresholds(["omp[k=mdl]", "sbl-learnt"], told=""),
            thresholds(["em-vamp"], told="prior family"),
            thresholds(["oracle"], told="support"),
        ]
    )
    figure = diagrams.phase_transition(rows, 0.95, "")
    panels = {axes.get_title(): list(curves(axes)) for axes in figure.axes}
    assert panels == {
        "told k": ["omp", "ols", "sbl", "homotopy (also told lambda)"],
        "told the noise level": ["omp[k=noise]", "bpdn", "sbl-noise"],
        "told neither": ["omp[k=mdl]", "sbl-learnt", "em-vamp (also told prior family)"],
        "told more": ["oracle (told support, not k)"],
    }
    few = diagrams.phase_transition(rows[rows["algorithm"].isin(["omp", "omp[k=mdl]"])], 0.95, "")
    assert list(curves(few.axes[0])) == ["omp", "omp[k=mdl] (not told k)"]


@pytest.mark.parametrize("source", figures.sources(None, FIGURES), ids=lambda path: path.stem)
def test_every_curve_of_a_committed_panel_has_its_own_colour(source, drawn, tmp_path):
    figures.draw(source, tmp_path)
    assert drawn
    for name, figure in drawn.items():
        for axes in figure.axes:
            own = curves(axes)
            if len(own) > 1:
                assert closest(own.values()) > 12, (name, axes.get_title(), own)


def test_unknown_curves_of_a_study_have_colours_of_their_own(drawn, tmp_path):
    rows = pd.read_csv(FIGURES / "noise.csv").query("panel == 'no noise'")
    more = [rows[rows["curve"] == "omp"].assign(curve=f"own {i}") for i in range(5)]
    multiples.small_multiples(pd.concat([rows, *more]), "k", "", tmp_path, "study")
    own = curves(drawn["study"].axes[0])
    assert len(own) == rows["curve"].nunique() + 5
    assert closest(own.values()) > 4


def test_an_interval_at_a_single_ratio_is_seen():
    figure = diagrams.phase_transition(thresholds(["omp"], ms=[50]), 0.95, "")
    (band,) = figure.axes[0].collections
    assert band.get_linewidth()[0] > 0
    assert band.get_edgecolor()[0, 3] > 0
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0.05, 0.15))


def shrunk(stem):
    """The rows of a committed CSV on such an x axis as tempts matplotlib to ticks at halves."""
    rows = pd.read_csv(FIGURES / f"{stem}.csv")
    return {
        "distances": lambda: rows[rows["k"] <= 13].query("algorithm in ('omp', 'sea')"),
        "instance": lambda: rows.assign(window_start=2.0, window_end=12.0),
        "full-grid": lambda: rows.query("m == 50 and not k > 18"),
        "encoders": lambda: rows.query("stages <= 2 and n == 128"),
        "unrolling": lambda: rows.query("x <= 4 and panel == 'as trained'"),
        "noise": lambda: rows.query("panel == 'no noise'").assign(x=0.4 * rows["x"]),
    }[stem]()


@pytest.mark.parametrize(
    "stem", ["distances", "instance", "full-grid", "encoders", "unrolling", "noise"]
)
def test_ticks_of_whole_numbers_are_whole(stem, drawn, tmp_path):
    shrunk(stem).to_csv(tmp_path / f"{stem}.csv", index=False)
    figures.draw(tmp_path / f"{stem}.csv", tmp_path)
    (figure,) = drawn.values()
    figure.canvas.draw()
    for axes in figure.axes:
        left, right = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if left <= tick <= right]
        assert len(shown) >= 2
        assert all(tick == round(tick) for tick in shown), (axes.get_title(), shown)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ("k", "one"),
        ("", "one (not told k)"),
        ("lambda", "one (told lambda, not k)"),
        ("k,lambda", "one (also told lambda)"),
        ("support", "one (told support, not k)"),
        ("training", "one (trained, not told k)"),
        ("k,training", "one (trained)"),
        ("k,lambda,noise level", "one (also told lambda and noise level)"),
    ],
)
def test_the_legend_says_what_an_algorithm_is_told(told, text):
    figure = diagrams.phase_transition(thresholds(["one"], told=told), 0.95, "")
    assert list(curves(figure.axes[0])) == [text]


def test_the_small_print_is_in_words(drawn, tmp_path):
    figures.draw(FIGURES / "unrolling.csv", tmp_path)
    figure = drawn["unrolling"]
    small = "\n".join(text.get_text() for text in figure.texts)
    assert "condition" not in small
    assert "lista: singular values as drawn, " in small
    figures.draw(FIGURES / "thresholds.csv", tmp_path)
    small = "\n".join(text.get_text() for text in drawn["phase-transition"].texts)
    assert "gaussian: amplitudes uniform, columns raw, no noise\n" in small
    stated = '{"condition": 15.0, "width": 3.0, "snr": 20}'
    frame = pd.DataFrame({"problem": ["lista"], "problem_options": [stated], "seed": [0]})
    assert picture.footer(frame).startswith("lista: condition 15, width 3, snr 20\n")


def test_the_small_print_counts_the_intervals_that_are_not_nominal(drawn, tmp_path):
    rows = pd.read_csv(FIGURES / "steps.csv").head(6)
    kinds = ["approximate", "nominal", "at least", np.nan, "at least", "nominal"]
    rows.assign(coverage=kinds).to_csv(tmp_path / "steps.csv", index=False)
    figures.draw(tmp_path / "steps.csv", tmp_path)
    small = "\n".join(text.get_text() for text in drawn["steps"].texts)
    assert "95 % intervals · 2 at least · 1 approximate · seed 0" in small


def test_the_oracle_is_a_level_without_ends_and_the_legend_fits(drawn, tmp_path):
    figures.draw(FIGURES / "unrolling.csv", tmp_path)
    figure = drawn["unrolling"]
    for axes in figure.axes:
        (line,) = (line for line in axes.lines if line.get_label().startswith("oracle"))
        assert line.get_marker() in ("", "None")
        assert len(line.get_xdata()) == 2
    width = figure.legends[0].get_window_extent(figure.canvas.get_renderer()).width
    assert width <= figure.bbox.width


HOSTILE = """
agg.path.chunksize: 100
axes.autolimit_mode: round_numbers
axes.axisbelow: False
axes.edgecolor: red
axes.facecolor: black
axes.formatter.limits: -1, 1
axes.formatter.use_mathtext: True
axes.grid.which: both
axes.labelcolor: green
axes.labelpad: 20
axes.labelweight: bold
axes.linewidth: 4
axes.titlecolor: red
axes.titlelocation: right
axes.titlepad: 20
axes.titleweight: bold
axes.unicode_minus: False
axes.xmargin: .3
axes.ymargin: .3
errorbar.capsize: 6
figure.autolayout: True
figure.edgecolor: red
figure.facecolor: yellow
figure.titlesize: 30
figure.titleweight: bold
font.family: serif
font.style: italic
grid.color: red
grid.linestyle: --
legend.edgecolor: red
legend.facecolor: yellow
legend.handleheight: 3
legend.markerscale: 4
legend.numpoints: 3
legend.shadow: True
lines.antialiased: False
lines.dash_capstyle: round
lines.dashed_pattern: 9, 9
lines.linewidth: 5
lines.markeredgecolor: red
lines.markeredgewidth: 3
lines.markersize: 12
lines.scale_dashes: False
lines.solid_capstyle: round
markers.fillstyle: top
mathtext.fontset: cm
patch.antialiased: False
patch.edgecolor: red
patch.force_edgecolor: True
patch.linewidth: 4
path.simplify: False
path.sketch: 3, 100, 2
savefig.facecolor: yellow
savefig.pad_inches: 1
savefig.transparent: True
text.antialiased: False
text.color: red
text.hinting: none
xtick.color: red
xtick.direction: in
xtick.minor.visible: True
xtick.top: True
ytick.labelcolor: red
ytick.major.size: 20
ytick.minor.visible: True
"""
EVERY_KIND = (
    "thresholds,distances,instance,exploration,full-grid,encoders,encoders-sensitivity,"
    "classification,clustering,history,noise-level,budget,unrolling"
)
DRAW = """
import sys
from pathlib import Path
from matplotlib.figure import Figure
from sparsebench.report import figures
save = Figure.savefig
Figure.savefig = lambda self, path, **how: (
    save(self, path, **how) if path.suffix == ".png" else path.touch()
)
for stem in sys.argv[3].split(","):
    figures.draw(Path(sys.argv[1]) / f"{stem}.csv", Path(sys.argv[2]))
"""


def test_a_matplotlibrc_changes_no_pixel(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for stem in EVERY_KIND.split(","):
        rows = pd.read_csv(FIGURES / f"{stem}.csv")
        if stem == "distances":  # few algorithms: one panel
            rows = rows.query("algorithm in ('omp', 'sea', 'homotopy')")
        rows.to_csv(data / f"{stem}.csv", index=False)
    (tmp_path / "matplotlibrc").write_text(HOSTILE)
    known = {line.partition(":")[0] for line in HOSTILE.split("\n") if line}
    assert known <= set(matplotlib.rcParams)
    empty = tmp_path / "empty"
    empty.write_text("")
    pictures = []
    for name in ("empty", "matplotlibrc"):
        folder = tmp_path / f"under {name}"
        folder.mkdir()
        environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path / name)}
        words = [sys.executable, "-c", DRAW, str(data), str(folder), EVERY_KIND]
        subprocess.run(words, check=True, env=environment)
        pictures.append({path.name: path.read_bytes() for path in folder.glob("*.png")})
    plain, hostile = pictures
    assert len(plain) == 16
    assert [name for name in plain if plain[name] != hostile[name]] == []


def test_the_style_of_the_user_is_left_as_it_was():
    with matplotlib.rc_context({"font.size": 31, "lines.linewidth": 7}):
        before = dict(matplotlib.rcParams)
        diagrams.phase_transition(thresholds(["omp"]), 0.95, "")
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("label", ["a[rule=$\\frac{$]", "a[rule=b$c_d$]", "a[rule=$^$]"])
def test_a_dollar_is_a_dollar(label):
    figure = diagrams.phase_transition(thresholds(["omp", label]), 0.95, label)
    figure.canvas.draw()
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    texts += [text.get_text() for text in figure.texts]
    assert sum("$" in text for text in texts) == 2
    assert not any("$" in text.replace(r"\$", "") for text in texts)


@pytest.mark.parametrize("label", ["007", "1e3", "true", "0.50"])
def test_a_name_that_looks_like_a_number_is_a_name(label, drawn, tmp_path):
    rows = pd.read_csv(FIGURES / "distances.csv")
    rows = rows[rows["algorithm"] == "omp"].assign(algorithm=label)
    rows.to_csv(tmp_path / "distances.csv", index=False)
    figures.draw(tmp_path / "distances.csv", tmp_path)
    (figure,) = drawn.values()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [label]


def test_the_surface_has_the_colour_of_the_nearest_cell(tmp_path):
    """Two m, of which cells at k = 2 and 6, and 4 alone, are known."""
    from matplotlib import pyplot as plt

    from sparsebench.report import surface

    figure, axes = plt.subplots()
    rates = pd.DataFrame({"m": [10, 10, 20], "n": 40, "k": [2, 6, 4], "estimate": [1.0, 0.25, 0.5]})
    surface._draw_cells(axes, rates)
    sides = [(b.get_x(), b.get_y(), b.get_width(), b.get_height()) for b in axes.patches]
    boxes = {tuple(round(float(side), 9) for side in box) for box in sides}
    # Half the way to the next m and k, and as far beyond the last; in m/n and k/m.
    assert boxes == {(0.125, 0.0, 0.25, 0.4), (0.125, 0.4, 0.25, 0.4), (0.375, 0.175, 0.25, 0.05)}
    colours = plt.get_cmap("cividis")
    by_place = {b.get_y(): b.get_facecolor() for b in axes.patches}
    assert by_place == {0.0: colours(1.0), 0.4: colours(0.25), 0.175: colours(0.5)}
    plt.close(figure)
