"""The page of a report holds what the CSVs and the rows of a folder say."""

import csv
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from sparsebench import registry
from sparsebench.experiments.comparison import compare
from sparsebench.report.page import writing
from sparsebench.report.page.contents import of_folders
from sparsebench.report.page.writing import write_report
from sparsebench.run.store import Store
from sparsebench.types import InputError

pytest.importorskip("plotly")
FIGURES = Path(__file__).resolve().parent.parent / "figures"


def embedded(path):
    """Return what a page holds, read as a browser would."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="contents">(.*?)</script>', text, re.S)
    return json.loads(found[1])


def points(page, kind, *names):
    """Return the points of a page's curves: by label and other columns, its numbers."""
    (folder,) = page["folders"]
    columns = folder[kind]["columns"]
    labels = [page["algorithms"][place]["label"] for place in columns["algorithm"]]
    keys = zip(labels, *(columns[name] for name in names), strict=True)
    numbers = zip(*(columns[name] for name in ("estimate", "lower", "upper")), strict=True)
    return dict(zip(keys, numbers, strict=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a diagram, a distance curve and their rows, of three algorithms."""
    from typer.testing import CliRunner

    from sparsebench.cli.application import app

    folder = tmp_path_factory.mktemp("finished")
    plugin = folder / "weak.py"
    plugin.write_text(
        "import numpy as np\nimport sparsebench\n\n"
        "@sparsebench.algorithm('weak', told=('k',), cost='m*n')\n"
        "def weak(dictionary, y, k):\n"
        '    """Fails where y begins with a negative number."""\n'
        "    if y[0] < 0:\n        raise ValueError('<b>not</b> for </script> negative y')\n"
        "    x = np.zeros(dictionary.shape[1])\n    x[0] = 1.0\n    return x\n"
    )
    both = ["-a", "omp,htp,weak", "--plugin", str(plugin), "-o", str(folder), "-j", "1"]
    diagram = ["phase-transition", "--n", "24", "--ratios", "0.4,0.6", "--max-trials", "8", *both]
    curve = ["support-distance", "-p", "gaussian", "--n", "24", "--m", "12", "--ks", "2,4"]
    for words in (diagram, [*curve, "--trials", "9", *both]):
        ended = CliRunner().invoke(app, words)
        assert ended.exit_code == 0, ended.output
    registry.forget_plugins(but=[])
    return folder


def test_a_page_holds_the_points_of_the_csvs(finished, tmp_path):
    write_report([finished], tmp_path / "report.html")
    page = embedded(tmp_path / "report.html")
    for kind, names in (("thresholds", ("level", "m")), ("distances", ("k",))):
        found = points(page, kind, *names)
        with (finished / f"{kind}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(found) == len(rows) > 3
        for row in rows:
            key = (row["algorithm"], *(float(row[name]) for name in names))
            if row.get("stopped") == "not monotone":
                assert found[key] == (None, None, None)
            else:
                numbers = (float(row[name]) for name in ("estimate", "lower", "upper"))
                assert found[key] == tuple(numbers)


@pytest.mark.parametrize(("snr", "has"), [("Infinity", True), ("20.0", False)])
def test_the_limit_of_l1_is_on_the_page_where_there_is_no_noise(finished, tmp_path, snr, has):
    text = (finished / "thresholds.csv").read_text()
    assert '""snr"": Infinity' in text
    (tmp_path / "thresholds.csv").write_text(text.replace('""snr"": Infinity', f'""snr"": {snr}'))
    (folder,) = of_folders([tmp_path])["folders"]
    assert ("limit" in folder["thresholds"]) == has


def test_the_published_run_fits_into_six_megabytes(tmp_path):
    write_report([FIGURES], tmp_path / "report.html")
    page = embedded(tmp_path / "report.html")
    frame = pd.read_csv(FIGURES / "thresholds.csv")
    assert len(points(page, "thresholds", "level", "m")) == len(frame)
    assert (tmp_path / "report.html").stat().st_size < 6e6
    assert {"thresholds", "distances", "times"} <= set(page["folders"][0])


def test_nothing_is_loaded_from_elsewhere(finished, tmp_path):
    write_report([finished], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    ours = text.replace(writing._library(), "")
    assert len(ours) < 0.1 * len(text)
    assert "default-src 'none'" in ours
    assert not re.search(r"(src|href)\s*=|@import|url\(", ours)


def test_pairs_are_those_of_a_plain_loop(finished):
    contents = of_folders([finished])
    labels = [one["label"] for one in contents["algorithms"]]
    with Store(finished, writable=False) as store:
        rows = store.frame()
    cells = [c for c in contents["folders"][0]["pairs"]]
    assert {(c["m"], c["k"]) for c in cells} >= {(10, None), (14, None), (12, 2), (12, 4)}
    for cell in cells:
        names = [labels[place] for place in cell["algorithms"]]
        here = rows[(rows["m"] == cell["m"]) & (rows["n"] == cell["n"])]
        if cell["k"]:
            here = here[here["k"] == cell["k"]]
        for place, (first, other) in enumerate(itertools.combinations(names, 2)):
            mine, theirs = (
                {
                    (row.k, row.trial): (row.exact, row.support_distance)
                    for row in here[here["algorithm"] == name].itertuples()
                }
                for name in (first, other)
            )
            shared = sorted(mine.keys() & theirs.keys())
            alone = sum(mine[key][0] and not theirs[key][0] for key in shared)
            beside = sum(theirs[key][0] and not mine[key][0] for key in shared)
            assert cell["shared"][place] == len(shared)
            assert (cell["only_first"][place], cell["only_other"][place]) == (alone, beside)
            p = binomtest(alone, alone + beside).pvalue if alone + beside else 1.0
            np.testing.assert_allclose(cell["p_mcnemar"][place], p, rtol=1e-3)
            if cell["k"]:
                mean = np.mean([mine[key][1] - theirs[key][1] for key in shared])
                np.testing.assert_allclose(cell["difference"][place], mean, rtol=1e-3, atol=1e-9)
                assert cell["lower"][place] <= mean + 1e-3 and mean - 1e-3 <= cell["upper"][place]


def test_differences_are_those_of_compare(finished):
    contents = of_folders([finished])
    labels = [one["label"] for one in contents["algorithms"]]
    omp, htp = registry.choose_algorithms("omp,htp")
    with Store(finished, writable=False) as store:
        table = compare(store.frame(), htp, [omp], "distance", 60.0)
    table = table[table["m"] == 12].set_index("k")
    for cell in contents["folders"][0]["pairs"]:
        if cell["k"]:
            names = [labels[place] for place in cell["algorithms"]]
            place = list(itertools.combinations(names, 2)).index(("htp", "omp"))
            for name in ("difference", "lower", "upper"):
                expected = table.loc[cell["k"], name]
                np.testing.assert_allclose(cell[name][place], expected, rtol=1e-3, atol=1e-9)


def test_failures_are_counted_and_shown_as_text(finished, tmp_path):
    contents = of_folders([finished])
    (failures,) = [folder["failures"] for folder in contents["folders"]]
    with Store(finished, writable=False) as store:
        rows = store.frame()
    weak = rows[rows["algorithm"] == "weak"]
    failed = (weak["status"] == "error").sum()
    assert failed > 2
    assert [contents["algorithms"][p]["label"] for p in failures["algorithm"]] == ["weak"]
    assert (failures["count"], failures["of"]) == ([failed], [len(weak)])
    assert "</script>" in failures["message"][0]
    write_report([finished], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "</script> negative y" not in text
    assert embedded(tmp_path / "report.html")["folders"][0]["failures"] == failures


def test_folders_stand_side_by_side(finished, tmp_path):
    write_report([finished, FIGURES], tmp_path / "report.html")
    page = embedded(tmp_path / "report.html")
    assert [folder["name"] for folder in page["folders"]] == [str(finished), str(FIGURES)]
    labels = [one["label"] for one in page["algorithms"]]
    assert len(labels) == len(set(labels)) and {"weak", "sea"} <= set(labels)
    assert [one["place"] for one in page["algorithms"]] == list(range(len(labels)))


def test_a_run_that_was_stopped_shows_what_there_is(finished, tmp_path):
    shutil.copy(finished / "results.db", tmp_path)
    page = of_folders([tmp_path])
    assert set(page["folders"][0]) == {"name", "runs", "failures", "pairs"}


def test_rows_of_two_limits_have_two_names(finished, tmp_path):
    shutil.copy(finished / "results.db", tmp_path)
    with Store(tmp_path) as store:
        ((recipe,),) = store.execute("SELECT recipe FROM algorithms WHERE name = 'omp'")
        other = recipe.replace('"time_limit":60', '"time_limit":30')
        assert other != recipe
        store.execute(
            "INSERT INTO algorithms (recipe, name, label) VALUES (?, 'omp', 'omp')", [other]
        )
        store.execute(
            "UPDATE rows SET algorithm = (SELECT max(id) FROM algorithms) WHERE trial = 0 AND "
            "algorithm = (SELECT id FROM algorithms WHERE recipe = ?)",
            [recipe],
        )
        store._connection.commit()
    labels = {one["label"] for one in of_folders([tmp_path])["algorithms"]}
    version = registry.get_algorithm("omp").version
    assert {label for label in labels if label.startswith("omp")} == {
        f"omp (version {version}, limit {limit} s)" for limit in (30, 60)
    }


def test_bad_folders_are_one_clear_line(finished, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"nothing to report in .*: phase-transition"):
        write_report([tmp_path], tmp_path / "report.html")
    lines = (finished / "distances.csv").read_text().splitlines(keepends=True)
    (tmp_path / "distances.csv").write_text("".join([*lines, lines[1]]))
    with pytest.raises(InputError, match="two points of omp at one place") as told:
        of_folders([tmp_path])
    assert "\n" not in str(told.value)
    (tmp_path / "distances.csv").write_text("algorithm,k\n1,2\n")
    with pytest.raises(InputError, match="is damaged"):
        of_folders([tmp_path])
    assert not (tmp_path / "report.html").exists()
    monkeypatch.setattr(writing, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=re.escape("pip install 'sparsebench[report]'")):
        write_report([finished], tmp_path / "report.html")


def test_seconds_of_two_processors_are_not_drawn_together(tmp_path):
    times = pd.read_csv(FIGURES / "timing.csv").assign(processor="A")
    times.to_csv(tmp_path / "timing.csv", index=False)
    assert of_folders([tmp_path])["folders"][0]["times"]["columns"]["seconds"]
    times.loc[0, "processor"] = "B"
    times.to_csv(tmp_path / "timing.csv", index=False)
    with pytest.raises(InputError, match=r"timing.csv has seconds of several processors \(A, B\)"):
        of_folders([tmp_path])
