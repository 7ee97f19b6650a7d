"""The command line: what it writes, and one clear line for whatever is wrong."""

import importlib.util
import io
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import ROOT, blocks, check_columns

from sparsebench import cli, draw, registry, solve
from sparsebench.cli import listing, options, results
from sparsebench.report import figures
from sparsebench.run.store import Store
from sparsebench.types import InputError

PLUGIN = str(Path(__file__).parent / "plugin_example.py")
SMALL = ["--n", "32", "--ratios", "0.4,0.7", "--max-trials", "20", "-j", "1"]


@pytest.fixture(autouse=True)
def no_plugins_left():
    tables = registry.ALGORITHMS, registry.PROBLEMS
    known = [set(table) for table in tables]
    yield
    for table, names in zip(tables, known, strict=True):
        for name in set(table) - names:
            del table[name]
    registry.plugins._load_plugin.cache_clear()


def sparsebench(*arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sparsebench", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


@pytest.fixture
def command(monkeypatch, capsys):
    return lambda *arguments: sparsebench(*arguments, monkeypatch=monkeypatch, capsys=capsys)


def test_phase_transition_writes_a_diagram_and_its_numbers(command, tmp_path):
    code, out, err = command(
        "phase-transition", "-a", "omp,htp[step=1.8/L]", *SMALL, "--out", tmp_path
    )
    assert code == 0, err
    assert {p.name for p in tmp_path.iterdir()} >= {
        "results.db",
        "phase-transition.png",
        "phase-transition.pdf",
        "thresholds.csv",
        "cells.csv",
        "phase-transition-50.png",
    }
    for name in ("thresholds.csv", "cells.csv"):
        check_columns(tmp_path / name)
    thresholds = pd.read_csv(tmp_path / "thresholds.csv")
    assert list(thresholds.columns[:10]) == [
        "algorithm",
        "options",
        "problem",
        "m",
        "n",
        "level",
        "estimate",
        "lower",
        "upper",
        "trials",
    ]
    assert len(thresholds) == 2 * 2 * 2
    assert (thresholds["lower"] <= thresholds["estimate"]).all()
    assert (thresholds["estimate"] <= thresholds["upper"]).all()
    assert (thresholds["lower"] < thresholds["upper"]).all()
    assert set(thresholds["algorithm"]) == {"omp", "htp[step=1.8/L]"}
    cells = pd.read_csv(tmp_path / "cells.csv")
    assert (cells["lower"] < cells["upper"]).all()
    assert cells["trials"].sum() == thresholds[thresholds["level"] == 0.5]["trials"].sum()
    assert "htp[step=1.8/L]" in out
    code, out, _ = command(
        "phase-transition", "-a", "omp,htp[step=1.8/L]", *SMALL, "--out", tmp_path
    )
    assert code == 0
    assert "nothing to compute" in out


def test_grid_agrees_with_adaptive_sampling(command, tmp_path):
    arguments = ["phase-transition", "-a", "omp", "--n", "64", "--ratios", "0.5", "-j", "1"]
    assert command(*arguments, "--half-width", "1", "--out", tmp_path / "a")[0] == 0
    assert command(*arguments, "--grid", "150", "--out", tmp_path / "b")[0] == 0
    adaptive, grid = (
        pd.read_csv(tmp_path / name / "thresholds.csv").set_index("level") for name in "ab"
    )
    for level in (0.95, 0.5):
        assert adaptive.loc[level, "lower"] <= grid.loc[level, "upper"]
        assert grid.loc[level, "lower"] <= adaptive.loc[level, "upper"]
    assert grid.loc[0.5, "trials"] > 5 * adaptive.loc[0.5, "trials"]


def test_support_distance_and_export(command, tmp_path):
    code, out, err = command(
        "support-distance",
        "-a",
        "omp,sea",
        "--n",
        "60",
        "--ks",
        "2:6:2",
        "--trials",
        "5",
        "-j",
        "1",
        "--out",
        tmp_path,
    )
    assert code == 0, err
    distances = pd.read_csv(tmp_path / "distances.csv")
    assert list(distances["k"]) == [2, 4, 6] * 2
    assert (distances["trials"] == 5).all()
    assert (distances["lower"] < distances["upper"]).all()
    assert "coherence" in out
    code, out, _ = command("export", tmp_path / "rows.csv", "--out", tmp_path)
    assert code == 0
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert len(rows) == 2 * 3 * 5
    for name in ("distances.csv", "rows.csv"):
        check_columns(tmp_path / name)
    assert rows.groupby(["algorithm", "k"])["support_distance"].mean().loc[("omp", 4)] == (
        pytest.approx(distances.set_index(["algorithm", "k"]).loc[("omp", 4), "estimate"])
    )
    code, out, _ = command("status", "--out", tmp_path)
    assert code == 0
    assert "30 rows" in out
    assert "support-distance" in out


def test_rows_of_two_time_limits_are_told_apart(command, tmp_path):
    small = "support-distance -a omp -p gaussian --n 20 --m 10 --trials 3 -j 1".split()
    for limit, ks in (("60", "2"), ("600", "2,3")):
        ran = command(*small, "--ks", ks, "--time-limit", limit, "--out", tmp_path)
        assert ran[0] == 0, ran[2]
    _, out, _ = command("status", "--table", "--out", tmp_path)
    lines = [line.split("│") for line in out.splitlines() if "│ omp" in line]
    assert {(cells[6].strip(), cells[7].strip()) for cells in lines} == {
        ("60 s", "3"),
        ("600 s", "6"),
    }
    assert command("export", tmp_path / "rows.csv", "--out", tmp_path)[0] == 0
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert rows.groupby("time_limit").size().to_dict() == {60.0: 3, 600.0: 6}
    key = ["problem", "problem_options", "problem_version", "seed", "n", "m", "trial", "k"]
    key += ["algorithm", "algorithm_options", "algorithm_version", "time_limit"]
    assert not rows.duplicated(key).any()


def test_a_function_in_a_file_appears_in_the_diagram(command, tmp_path):
    file = tmp_path / "my_algorithm.py"
    file.write_text(
        "import numpy as np\n\n\n"
        "def my_algorithm(A, y, k):\n"
        "    S = np.argsort(-np.abs(A.T @ y))[:k]\n"
        "    x = np.zeros(A.shape[1])\n"
        "    x[S] = np.linalg.lstsq(A[:, S], y)[0]\n"
        "    return x\n"
    )
    code, out, err = command(
        "phase-transition",
        "--plugin",
        file,
        "-a",
        "omp,my_algorithm",
        *SMALL,
        "--out",
        tmp_path / "r",
    )
    assert code == 0, err
    assert "my_algorithm" in out
    assert "my_algorithm" in set(pd.read_csv(tmp_path / "r" / "thresholds.csv")["algorithm"])


def test_the_algorithm_of_the_readme_recovers(tmp_path):
    (code,) = blocks(ROOT / "README.md", "python")
    (tmp_path / "my_algorithm.py").write_text(code)
    assert registry.load_plugin(tmp_path / "my_algorithm.py") == ["my_algorithm"]
    instance = draw("gaussian", m=100, n=200, k=5)
    for name in ("my_algorithm", "my_algorithm[rounds=10]"):
        x = solve(name, instance.A, instance.y, 5).x
        np.testing.assert_allclose(x, instance.x, atol=1e-10)


def test_ratios_are_rounded_to_measurements(command, tmp_path):
    code, _, err = command(
        "phase-transition",
        "-a",
        "omp",
        "--n",
        "100",
        "--ratios",
        "0.29",
        "--max-trials",
        "6",
        "-j",
        "1",
        "--out",
        tmp_path,
    )
    assert code == 0, err
    assert set(pd.read_csv(tmp_path / "thresholds.csv")["m"]) == {29}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1:0.9:0.1", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        ("0.05:0.2:0.05", [0.05, 0.1, 0.15, 0.2]),
        ("0.2:0.95:0.25", [0.2, 0.45, 0.7, 0.95]),
        ("0.2:0.94:0.25", [0.2, 0.45, 0.7]),
        ("0.5:0.5:0.1", [0.5]),
        (".5:1:5e-1", [0.5, 1.0]),
        ("0.3,0.1", [0.3, 0.1]),
    ],
)
def test_ratios_are_numbers_or_a_range_of_exact_decimals(text, values):
    assert options.read_ratios(text) == values


@pytest.fixture
def asked(monkeypatch, command):
    """The experiment that a command would run; nothing is solved."""

    def experiment(*arguments):
        found = []

        def keep(experiment, *_):
            found.append(experiment)
            raise SystemExit

        monkeypatch.setattr(results, "run_stored", keep)
        command(*arguments)
        return found[0]

    return experiment


def test_a_range_of_ratios_is_rounded_to_measurements_as_the_help_says(asked):
    words = ("phase-transition", "-a", "omp", "--ratios")
    assert asked(*words, "0.25:0.75:0.25", "--n", "20").ms == [5, 10, 15]
    # 2.5 and 7.5 lie between two: to the even one; and never below 1.
    assert asked(*words, "0.25:0.75:0.25", "--n", "10").ms == [2, 5, 8]
    assert asked(*words, "0.01:0.03:0.01", "--n", "10").ms == [1]


def test_half_widths_of_presets_follow_the_size(asked):
    def of(preset, *more):
        return asked("phase-transition", "--preset", preset, "-a", "omp", *more)

    # What the published figures were made with.
    for preset, widths in (("default", [2, 2]), ("family", [2, 2]), ("paper", [1, 2])):
        recipe = of(preset).recipe()
        assert recipe["half_widths"] == widths
        assert "half_widths_of" not in recipe
        assert of(preset, "--n", "50").recipe()["half_widths"] == [w / 10 for w in widths]
    for n in (60, 128):
        quick = of("quick", "--n", str(n))
        assert quick.recipe()["half_widths_of"] == "m"
        for m in quick.ms:
            assert quick.targets(m) == pytest.approx({0.95: 0.04 * m, 0.5: 0.04 * m})
    # In k, where it is stated.
    stated = of("quick", "--n", "60", "--half-width", "3")
    assert [stated.targets(m) for m in (12, 48)] == [{0.95: 3, 0.5: 3}] * 2
    assert "half_widths_of" not in stated.recipe()


def times_of(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.parametrize(
    "words",
    [
        ["phase-transition", *SMALL],
        ["support-distance", "-p", "gaussian", "--n", "32", "--ks", "2,3", "--trials", "6"],
    ],
)
def test_files_that_would_be_the_same_are_left_alone(command, tmp_path, words):
    words = [*words, "-a", "omp,htp", "-j", "1", "--out", tmp_path]
    assert command(*words)[0] == 0
    before = times_of(tmp_path)
    drawn = {name for name in before if name.endswith((".png", ".pdf"))}
    data = {name for name in before if name.endswith(".csv")}
    _, out, _ = command(*words)
    assert "as they were" in out
    assert "wrote" not in out
    after = times_of(tmp_path)
    assert {name: after[name] for name in drawn | data} == {
        name: before[name] for name in drawn | data
    }
    # One that is gone, or older than its CSV, is drawn again, and so are all after another CSV.
    for name in sorted(drawn):
        (tmp_path / name).unlink()
        _, out, _ = command(*words)
        assert f"{tmp_path / name}" in out
        assert (tmp_path / name).is_file()
        os.utime(tmp_path / name, (0, 0))
        command(*words)
        assert times_of(tmp_path)[name] > before[name]
    before = times_of(tmp_path)
    command(*words, "--seed", "1")
    after = times_of(tmp_path)
    assert all(after[name] > before[name] for name in drawn | data)


def test_no_interval_of_the_quick_preset_is_meaningless_at_a_small_size(command, tmp_path):
    code, out, err = command(
        *("phase-transition", "--preset", "quick", "--n", "60", "-a", "omp,homotopy"),
        *("-j", "1", "--out", tmp_path),
    )
    assert code == 0, err
    rows = pd.read_csv(tmp_path / "thresholds.csv")
    assert set(rows["m"]) == {12, 21, 30, 39, 48}
    reached = rows[rows["stopped"] == "half-width"]
    assert len(reached) >= 12  # where a steep fall lies between two whole k, it cannot be
    assert (reached["half_width"] <= 0.04 * reached["m"] * (1 + 1e-5)).all()
    assert (rows["upper"] - rows["lower"] <= (0.16 * rows["m"]).clip(lower=2)).all()
    if len(reached) < len(rows):
        assert "(half-width 0.04 m at 95%, 0.04 m at 50%)" in out


def test_as_many_nonzeros_as_measurements_are_not_recovered(command, tmp_path):
    """Every support of size m fits y; success is judged by supports, not by residuals."""
    code, _, err = command(
        "support-distance",
        "-p",
        "gaussian",
        "--n",
        "30",
        "--m",
        "12",
        "--ks",
        "12",
        "--trials",
        "20",
        "-j",
        "1",
        "--out",
        tmp_path,
    )
    assert code == 0, err
    assert pd.read_csv(tmp_path / "distances.csv")["exact"].max() == 0


def test_the_help_has_examples(command):
    for name in ("phase-transition", "support-distance"):
        code, out, _ = command(name, "--help")
        assert code == 0
        assert "--preset quick" in out
        assert "--out" in out


def test_names_and_paths_are_no_markup(command, tmp_path):
    file = tmp_path / "plug.py"
    file.write_text(
        "import numba\nimport numpy as np\n\n\n@numba.njit\ndef compiled(A, y, k):\n"
        "    'Minimises [/x] in [bold]every[/bold] case.'\n    return np.zeros(A.shape[1])\n"
    )
    out_folder = tmp_path / "a[bold]b[/x]"
    code, out, err = command(
        "support-distance",
        "--plugin",
        file,
        "-a",
        "compiled",
        "--n",
        "30",
        "--ks",
        "2",
        "--trials",
        "2",
        "-j",
        "1",
        "--out",
        out_folder,
    )
    assert code == 0, err
    assert str(out_folder) in out
    assert command("export", tmp_path / "x[bold].csv", "--out", out_folder)[0] == 0
    assert "[/x] in [bold]every[/bold]" in command("list", "--plugin", file)[1]


def test_failures_are_shown(command, tmp_path):
    code, out, _ = command(
        "support-distance",
        "--plugin",
        PLUGIN,
        "-a",
        "raises,omp",
        "--n",
        "40",
        "--ks",
        "3",
        "--trials",
        "4",
        "-j",
        "1",
        "--out",
        tmp_path,
    )
    assert code == 0
    assert "raises: 4 error of 4 solves, counted as failures" in out
    assert "RuntimeError: the [moon] is full" in out


FRAGILE = """
import numpy as np, sparsebench
from dataclasses import dataclass

@sparsebench.problem("fragile")
@dataclass(frozen=True)
class Fragile:
    share: float = 1.0
    fixed_dictionary = {fixed}
    def dictionary(self, rng, m, n):
        if rng.random() < self.share:
            raise RuntimeError("no such luck")
        return rng.standard_normal((m, n))
    def signal(self, rng, n, k):
        return 1.0 * (np.arange(n) < k)
    def measurements(self, n):
        return {measurements}
"""


def fragile(folder, fixed=False, measurements="n // 2"):
    file = folder / "fragile.py"
    file.write_text(FRAGILE.format(fixed=fixed, measurements=measurements))
    return ["--plugin", file, "-p", "fragile", "-a", "omp,htp", "--n", "20"]


SHORT = ["--ks", "1,2", "--trials", "10", "-j", "1"]


def test_a_run_without_a_single_instance_says_so(command, tmp_path):
    arguments = ["support-distance", *fragile(tmp_path), *SHORT, "--out", tmp_path / "r"]
    for _ in range(2):  # the rows that were there say it again
        code, out, err = command(*arguments)
        assert code == 0, err
        assert "no instance could be drawn at all: the failures of all 40 rows" in out
        assert "20 times: no instance: problem 'fragile' failed to draw a dictionary" in out
        assert "first dictionary: not drawn" in out
    assert "nothing to compute" in out
    assert set(pd.read_csv(tmp_path / "r" / "distances.csv")["failures"]) == {10}
    code, out, err = command("status", "--out", tmp_path / "r")
    assert code == 0, err
    assert "40 rows" in out
    code, out, err = command("phase-transition", *fragile(tmp_path), *SMALL[2:], "-o", tmp_path)
    assert code == 0, err
    assert "no instance could be drawn at all" in out
    assert "first dictionaries: not drawn, not drawn" in out


def test_rows_without_an_instance_are_counted(command, tmp_path):
    arguments = fragile(tmp_path)
    arguments[3] = "fragile[share=.5]"
    code, out, err = command("support-distance", *arguments, *SHORT, "--out", tmp_path / "r")
    assert code == 0, err
    distances = pd.read_csv(tmp_path / "r" / "distances.csv")
    (failures,) = set(distances["failures"])
    assert 0 < failures < 10
    words = f"{4 * failures} of 40 rows are failures because the problem could not draw"
    assert words in out


@pytest.mark.parametrize("name", ["support-distance", "instance"])
def test_a_problem_that_never_can_is_one_line(command, tmp_path, name):
    where = ["--out", tmp_path / "r"]
    for plugin in (fragile(tmp_path, fixed=True), fragile(tmp_path, measurements="1 // 0")):
        code, out, err = command(name, *plugin, *where)
        assert code == 2
        assert "problem 'fragile' failed to" in err
        assert err.count("\n") == 1
        assert not out


def test_what_a_peer_does_not_tell_is_empty(command, tmp_path):
    file = tmp_path / "peer.py"
    file.write_text(
        "import numpy as np\nfrom sparsebench import Result, algorithm\n"
        "@algorithm('timeless', family='peer')\ndef f(dictionary, y, k):\n"
        "    return Result(np.eye(dictionary.shape[1])[0], 2, 'converged')\n"
    )
    run = ["support-distance", "-p", "gaussian", "--plugin", file, "--n", "20", *SHORT, "-o"]
    assert command(*run, tmp_path, "-a", "timeless,omp")[0] == 0
    code, out, err = command(*run, tmp_path, "-a", "timeless,omp")
    assert code == 0, err
    assert "nothing to compute: all 40 rows" in out
    code, out, err = command("status", "--table", "--out", tmp_path)
    assert code == 0, err
    cells = {
        line.split("│")[4].strip(): line.split("│") for line in out.splitlines() if "│" in line
    }
    assert cells["timeless"][7].strip() == "20"
    assert [cells["timeless"][i].strip() for i in (10, 11)] == ["0", ""]
    assert float(cells["omp"][10]) >= 0
    assert command("export", tmp_path / "rows.csv", "--out", tmp_path)[0] == 0
    rows = pd.read_csv(tmp_path / "rows.csv").set_index("algorithm")
    assert rows.loc["timeless", "seconds"].isna().all()
    assert (rows.loc["omp", "seconds"] > 0).all()
    assert (rows.loc["timeless", "n_iter"] == 2).all()


def test_list_shows_everything(command):
    code, out, _ = command("list")
    assert code == 0
    for word in ("omp", "sea", "gaussian", "deconvolution", "quick", "paper", "lambda"):
        assert word in out
    code, out, _ = command("list", "--plugin", PLUGIN)
    assert "matched_filter" in out
    assert "helper" not in out


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ((99,), "celer-lasso: needs the package 'celer': pip install 'sparsebench[peers]'"),
        ((3, 11), "celer-lasso: needs the package 'celer', which has no wheel for this Python"),
    ],
)
def test_list_says_what_is_not_installed_and_why(command, monkeypatch, first, words):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "celer" else find(n))
    monkeypatch.setattr(registry.records, "_NO_WHEEL", {"celer": first})
    line = f"not installed: {words}"
    assert line in " ".join(command("list", "algorithms")[1].split())
    assert "celer-lasso (needs celer)" in command("list")[1]
    code, _, err = command("phase-transition", "-a", "celer-lasso")
    assert (code, err.strip()) == (2, f"error: {words.replace(':', '', 1)}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["phase-transition", "--preset", "papr"], "unknown preset 'papr'; did you mean 'paper'?"),
        (["phase-transition", "-a", "sae"], "unknown algorithm 'sae'; did you mean 'sea'?"),
        (["phase-transition", "-a", "htp[stp=1]"], "did you mean 'step'?"),
        (["phase-transition", "-a", "htp[max_iter=x]"], "type int"),
        (["phase-transition", "-p", "gausian"], "did you mean 'gaussian'?"),
        (["phase-transition", "-p", "gaussian[colums=unit]"], "did you mean 'columns'?"),
        (["phase-transition", "-p", "gaussian,deconvolution"], "one problem at a time"),
        (["phase-transition", "-p", "deconvolution"], "deconvolution needs m = n"),
        (["phase-transition", "--ratios", "0.5,1.5"], "--ratios are m/n in (0, 1]"),
        (["phase-transition", "--ratios", "a"], "0.1,0.5,0.9 or first:last:step, not 'a'"),
        (["phase-transition", "--ratios", ""], "first:last:step"),
        (["phase-transition", "--ratios", "nan"], "first:last:step"),
        (["phase-transition", "--ratios", "0.1:0.9"], "first:last:step"),
        (["phase-transition", "--ratios", "0.9:0.1:0.1"], "first:last:step"),
        (["phase-transition", "--ratios", "0.1:0.9:0"], "first:last:step"),
        (["phase-transition", "--ratios", "0.9:0.1:-0.1"], "first:last:step"),
        (["phase-transition", "--ratios", "0:1:0.1"], "first:last:step"),
        (["phase-transition", "--ratios", "0.1:2:0.1"], "first:last:step"),
        (["phase-transition", "--ratios", "0.1:0.9:1e-9"], "first:last:step"),
        (["phase-transition", "--ratios", "0.1:nan:0.1"], "first:last:step"),
        (["phase-transition", "--ratios", "0.1:0.2:inf:3"], "first:last:step"),
        (["phase-transition", "--ratios", "0.1,0.2:0.4:0.1"], "first:last:step"),
        (["phase-transition", "--half-width", "0"], "--half-width must be positive"),
        (["phase-transition", "--max-trials", "0"], "--max-trials must be at least 1"),
        (["phase-transition", "--n", "0"], "--n must be at least 1"),
        (["phase-transition", "-j", "0"], "--jobs must be at least 1"),
        (["phase-transition", "--time-limit", "0"], "--time-limit must be a positive"),
        (["phase-transition", "--grid", "-1"], "--grid is a number of trials"),
        (["phase-transition", "--seed", "9" * 20], "seed must be at most"),
        (["phase-transition", "--n", "9" * 8], "--n must be at most 1,000,000"),
        (["phase-transition", "--time-limit", "1e20"], "up to 1e6"),
        (["phase-transition", "-p", "gaussian[snr=-1e6]"], "dB"),
        (["phase-transition", "--plugin", "missing.py"], "no plug-in file"),
        (["support-distance", "--ks", "0"], "k must be at least 1"),
        (["support-distance", "--n", "20", "--ks", "30"], "k = 30 exceeds min(m, n) = 20"),
        (["support-distance", "-p", "gaussian", "--n", "20", "--m", "30", "--ks", "3"], "m <= n"),
        (["support-distance", "--ks", "5:1"], "first:last:step"),
        (["support-distance", "--ks", "5:1:-1"], "first:last:step"),
        (["support-distance", "--ks", f"1:{10**12}"], "first:last:step"),
        (["support-distance", "--ks", "1:99999999999999999999"], "first:last:step"),
        (["phase-transition", "--grid", "9" * 20], "--grid is a number of trials up to"),
        (["phase-transition", "-a", "htp[max_iter=inf]"], "type int"),
        (["study", "full-grid", "--seed", str(2**63 - 1)], "seed must be at most"),
        (["support-distance", "--trials", "0"], "--trials must be at least 1"),
        (["support-distance", "-p", "deconvolution[width=-1]"], "positive"),
        (["support-distance", "-p", "super-resolution[factor=3]"], "needs n = 3 m"),
        (["list", "algoritms"], "did you mean 'algorithms'?"),
        (["status", "--out", "nowhere"], "nowhere/results.db does not exist"),
        (["export", "rows.csv", "--out", "nowhere"], "nowhere/results.db does not exist"),
    ],
)
def test_bad_input_is_one_line(command, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*arguments)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert not out
    assert not list(tmp_path.iterdir()), "something was written before the input was checked"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f(x): pass", "defines no function (A, y, k)"),
        ("def f(A, y): pass", "bad.py: line 1: f takes (A, y), not (A, y, k)"),
        ("def f(A, y, s=3): pass", "f takes (A, y, s), not (A, y, k)"),
        ("def f(A, y, *, k): pass", "f takes (A, y), not (A, y, k)"),
        ("this is no python", "failed to load: SyntaxError"),
        ("raise OSError('no\\nluck')", "failed to load: OSError: no luck"),
        ("def omp(A, y, k): pass", "'omp' is taken"),
        ("def f(A, y, k, extra): pass", "needs a default value"),
        ("raise SystemExit(0)", "failed to load: SystemExit"),
        (
            "import sparsebench as s\n@s.algorithm('f', shares=['gramm'])\ndef f(A, y, k): pass",
            "no quantity 'gramm'",
        ),
    ],
)
def test_bad_plugins_are_one_line(command, text, words, tmp_path):
    file = tmp_path / "bad.py"
    file.write_text(text)
    code, _, err = command("phase-transition", "--plugin", file, "--out", tmp_path / "r")
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_function_without_k_beside_an_algorithm_is_said_once(tmp_path):
    file = tmp_path / "two.py"
    file.write_text(
        "import numpy as np\n\n\n"
        "def zero(A, y, k):\n    return np.zeros(A.shape[1])\n\n\n"
        "def forgot(A, y):\n    return np.zeros(A.shape[1])\n\n\n"
        "def _helper(A, y):\n    return A.T @ y\n"
    )
    words = f"support-distance --plugin {file} -a omp,zero -p gaussian --n 20 --m 10 --ks 2"
    ended = subprocess.run(  # with the workers' standard error
        [sys.executable, "-m", "sparsebench", *words.split(), "--trials", "4", "-j", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "zero" in ended.stdout
    assert ended.stderr.count("(A, y") == 2
    assert (
        f"warning: {file}: line 8: forgot takes (A, y), not (A, y, k); "
        "add k, or begin its name with '_', or decorate what is not told k\n"
    ) in ended.stderr


def test_a_problem_with_a_function_without_k_is_loaded(command, tmp_path):
    file = tmp_path / "problem.py"
    file.write_text(
        "import dataclasses\nimport sparsebench\n\n\n"
        "@sparsebench.problem('mine')\n@dataclasses.dataclass(frozen=True)\nclass Mine:\n"
        "    def dictionary(self, rng, m, n):\n        return rng.standard_normal((m, n))\n\n"
        "    def signal(self, rng, n, k):\n        return rng.standard_normal(n)\n\n\n"
        "def correlations(A, y):\n    return A.T @ y\n"
    )
    try:
        code, out, err = command("list", "problems", "--plugin", file)
    finally:
        registry.PROBLEMS.pop("mine", None)
    assert code == 0
    assert "mine" in out
    assert err.count("\n") == 1
    assert err.startswith("warning: ")


def make_store(command, folder):
    assert (
        command(
            "support-distance",
            "-a",
            "omp",
            "--n",
            "40",
            "--ks",
            "2,3,4",
            "--trials",
            "60",
            "-j",
            "1",
            "--out",
            folder,
        )[0]
        == 0
    )


def test_a_csv_that_is_none_of_ours_is_refused(tmp_path):
    (tmp_path / "threshold.csv").write_text("a,b\n1,2\n")
    for name, words in (("threshold.csv", "did you mean 'thresholds'"), ("x.csv", "the CSVs are")):
        with pytest.raises(InputError, match=words):
            figures.draw(tmp_path / name, tmp_path)


def test_a_damaged_store_is_refused_before_any_work(command, tmp_path):
    make_store(command, tmp_path)
    path = tmp_path / "results.db"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    code, _, err = command("support-distance", "--preset", "quick", "--out", tmp_path)
    assert code == 2
    assert "is damaged or no store" in err
    assert err.count("\n") == 1
    path.write_text("these are my notes, not a database, and they are long enough\n" * 40)
    code, _, err = command("status", "--out", tmp_path)
    assert code == 2
    assert "is damaged or no store" in err


def test_another_database_or_version_is_refused(command, tmp_path):
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection:
        connection.execute("CREATE TABLE mine (a)")
    code, _, err = command("support-distance", "--preset", "quick", "--out", tmp_path)
    assert code == 2
    assert "no store of sparsebench" in err
    shutil.rmtree(tmp_path)
    make_store(command, tmp_path)
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection, connection:
        connection.execute("UPDATE format SET version = 99")
    code, _, err = command("support-distance", "--preset", "quick", "--out", tmp_path)
    assert code == 2
    assert "has format 99" in err


def test_an_unwritable_folder_is_refused_before_any_work(command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = command("phase-transition", "--preset", "quick", "--out", tmp_path / "file")
    assert code == 2
    assert "cannot write to" in err
    assert err.count("\n") == 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc")
def test_a_folder_that_nobody_may_write(command):
    code, _, err = command("phase-transition", "--preset", "quick", "--out", "/proc/sparsebench")
    assert code == 2
    assert "cannot write to" in err


def test_chains_are_chosen_by_name_and_drawn(command, tmp_path):
    code, out, err = command(
        "support-distance",
        "-a",
        "omp,omp+sea[step=18/L,max_iter=20]",
        *("--n", "40", "--ks", "2,4", "--trials", "3", "--out", tmp_path),
    )
    assert code == 0, err
    assert "omp+sea[max_iter=20,step=18/L]" in out
    points = pd.read_csv(tmp_path / "distances.csv")
    assert set(points["family"]) == {"greedy", "exploration"}
    for wrong, message in (
        ("omp+se", "did you mean 'sea'?"),
        ("sea+omp", "omp cannot continue another algorithm; these can: "),
        ("omp+sea[stp=1]", "omp+sea has no option 'sea.stp'; did you mean 'sea.step'?"),
        ("omp+sea[max_iter=0]", "sea.max_iter must be at least 1"),
        ("+sea", "cannot read '+sea'; write a chain as name+name"),
    ):
        code, _, err = command("support-distance", "-a", wrong, "--out", tmp_path)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1


def test_the_page_has_the_table_of_the_registry():
    page = (ROOT / "docs" / "algorithms.md").read_text()
    table = page.partition("<!-- algorithms -->\n")[2].partition("\n<!-- end")[0]
    assert table == listing.algorithm_table(), (
        "python -m sparsebench list --markdown prints it anew"
    )


def test_measurements_of_a_finer_grid_need_not_be_stated(command, tmp_path):
    code, _, err = command(
        "support-distance", "-p", "super-resolution[factor=2]", "-a", "omp,pinv", "--preset",
        "quick", "--ks", "3", "--trials", "3", "-j", "1", "--out", tmp_path,
    )  # fmt: skip
    assert code == 0, err
    rows = pd.read_csv(tmp_path / "distances.csv")
    assert set(rows["m"]) == {100}
    assert set(rows["n"]) == {200}


def test_export_names_the_formats_it_knows(command, tmp_path):
    make_store(command, tmp_path)
    code, _, err = command("export", tmp_path / "rows.txt", "--out", tmp_path)
    assert code == 2
    assert ".csv, .csv.gz or .parquet" in err
    code, _, err = command("export", tmp_path / "no" / "rows.csv", "--out", tmp_path)
    assert code == 2
    assert "cannot write" in err
    assert command("export", tmp_path / "rows.csv.gz", "--out", tmp_path)[0] == 0
    assert len(pd.read_csv(tmp_path / "rows.csv.gz")) == 180


def test_the_l1_curve_is_where_theory_puts_it(command, tmp_path):
    """FISTA's 50 % point at n = 500 lies within .02 of Donoho and Tanner's limit."""
    from sparsebench.theory import donoho_tanner

    code, _, err = command(
        "phase-transition",
        "-a",
        "fista",
        "--ratios",
        "0.3,0.5,0.7",
        "--out",
        tmp_path,
        "--max-trials",
        "150",
    )
    assert code == 0, err
    points = pd.read_csv(tmp_path / "thresholds.csv").query("level == 0.5")
    found = (points["estimate"] / points["m"]).to_numpy()
    np.testing.assert_allclose(found, [donoho_tanner(d) for d in (0.3, 0.5, 0.7)], atol=0.02)


def test_a_csv_says_which_command_made_it_wherever_it_was_written(command, tmp_path):
    diagram = ["phase-transition", "-a", "omp", "-q", *SMALL, f"--out={tmp_path}"]
    assert command(*diagram)[0] == 0
    made = pd.read_csv(tmp_path / "thresholds.csv")["command"].unique()
    expected = "sparsebench phase-transition -a omp --n 32 --ratios 0.4,0.7 --max-trials 20"
    assert list(made) == [expected]


def test_a_terminal_without_unicode_shows_the_tables(monkeypatch, tmp_path):
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    words = ["support-distance", "-p", "gaussian", "-a", "omp", "--n", "16", "--m", "8", "-j", "1"]
    words += ["--ks", "1", "--trials", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["sparsebench", *words])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    shown.flush()
    text = shown.buffer.getvalue().decode("ascii")
    assert not ended.value.code
    assert "mean support distance, ? half-width" in text
    assert "support-distance.pdf" in text


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_path_that_is_no_text_is_no_obstacle(command, tmp_path):
    plugin = tmp_path / os.fsdecode(b"plug\xff.py")
    shutil.copy(PLUGIN, plugin)
    code, _, err = command(
        *("support-distance", "-p", "gaussian", "--n", "16", "--m", "8", "--ks", "1"),
        *("--trials", "2", "-j", "1", "-a", "omp", "--plugin", plugin, "--out", tmp_path / "o"),
    )
    assert (code, err) == (0, "")
    made = pd.read_csv(tmp_path / "o" / "distances.csv")["command"].unique()
    assert len(made) == 1
    assert "plug?.py" in made[0]


def test_results_stay_where_they_were_wanted_when_a_plugin_changes_folder(
    command, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    plugin = tmp_path / "moves.py"
    plugin.write_text(
        "import os\nimport numpy as np\nos.chdir('elsewhere')\n"
        "def zero(A, y, k):\n    os.chdir('/')\n    return np.zeros(A.shape[1])\n"
    )
    monkeypatch.chdir(tmp_path)
    code, _, err = command(
        *("support-distance", "-p", "gaussian", "--n", "16", "--m", "8", "--ks", "1"),
        *("--trials", "2", "-j", "1", "-a", "zero", "--plugin", "moves.py", "--out", "here"),
    )
    assert (code, err) == (0, "")
    written = {path.name for path in (tmp_path / "here").iterdir()}
    assert {"results.db", "distances.csv", "support-distance.png"} <= written
    assert not list((tmp_path / "elsewhere").iterdir())


def test_compare_reads_what_a_run_has_stored(command, tmp_path):
    diagram = ["phase-transition", "-a", "omp,htp", *SMALL, "--out", tmp_path]
    assert command(*diagram)[0] == 0
    code, out, err = command("compare", "omp", "htp", "--out", tmp_path)
    assert code == 0, err
    assert "omp is ahead with p < 0.01 (Holm) at" in out
    table = pd.read_csv(tmp_path / "comparison-threshold.csv")
    thresholds = pd.read_csv(tmp_path / "thresholds.csv")
    estimates = thresholds.set_index(["algorithm", "m", "level"])["estimate"]
    for row in table.itertuples():
        difference = estimates["omp", row.m, row.level] - estimates["htp", row.m, row.level]
        assert row.difference == pytest.approx(difference, abs=2e-5)
    for wrong, words in (
        (("omp", "omp"), "name an algorithm to compare omp with"),
        (("omp,htp", "sea"), "name one algorithm first"),
        (("omp", "se"), "did you mean"),
        (("omp", "htp", "--by", "distanc"), "distance"),
        (("omp", "sea"), "there are no rows of sea"),
    ):
        code, _, err = command("compare", *wrong, "--out", tmp_path)
        assert code == 2 and words in err and len(err.splitlines()) == 1


def test_another_success_and_level_have_their_own_diagram(command, tmp_path):
    arguments = ("phase-transition", "-a", "omp,htp", *SMALL, "-p", "gaussian[snr=30]")
    code, out, err = command(*arguments, "--out", tmp_path, "--level", "0.99")
    assert code == 0, err
    assert "k at which 99% of supports are recovered" in out
    assert set(pd.read_csv(tmp_path / "thresholds.csv")["level"]) == {0.99, 0.5}
    assert (tmp_path / "phase-transition-99.png").exists()
    exact = pd.read_csv(tmp_path / "thresholds.csv")
    code, out, err = command(*arguments, "--out", tmp_path, "--success", "recall>=.5")
    assert code == 0, err
    assert "k at which 95% of solves have recall>=0.5" in out
    for name in ("thresholds.csv", "cells.csv"):
        check_columns(tmp_path / name)
        assert set(pd.read_csv(tmp_path / name)["success"]) == {"recall>=0.5"}
    code, _, err = command("figures", "phase-surface", "--data", tmp_path)
    assert code == 0, err
    assert (tmp_path / "phase-surface.png").stat().st_size > 1000
    other = pd.read_csv(tmp_path / "cells.csv").assign(algorithm="sea")
    (tmp_path / "other").mkdir()
    other.to_csv(tmp_path / "other" / "cells.csv", index=False)
    shutil.copy(tmp_path / "thresholds.csv", tmp_path / "other")
    code, _, err = command("figures", "phase-surface", "--data", tmp_path / "other")
    assert code == 2 and "of another run than those of thresholds.csv" in err
    half = pd.read_csv(tmp_path / "thresholds.csv").query("level == 0.5")["estimate"].to_numpy()
    assert (half > exact.query("level == 0.5")["estimate"].to_numpy()).all()
    code, _, err = command(*arguments, "--out", tmp_path, "--success", "near_1<=.5")
    assert code == 2 and "have no near_1: its atoms have no order" in err


def test_success_and_error_are_drawn_over_any_axis(command, tmp_path):
    """Against the rows of the store, by hand."""
    arguments = ("support-distance", "-a", "omp,oracle", "-p", "gaussian", "--n", "32", "-j", "1")
    arguments += ("--trials", "9", "--out", tmp_path, "--success", "f1>=.9")
    for axis, xs, rest in (
        ("snr", "10:30:10", ("--m", 16, "--k", 4)),
        ("m", "12,20", ("--k", 3)),
        ("k", "2,5", ("--m", 16)),
    ):
        code, _, err = command(*arguments, "--x", axis, "--xs", xs, *rest)
        assert code == 0, err
        check_columns(tmp_path / "curves.csv")
        found = pd.read_csv(tmp_path / "curves.csv")
        for name in ("success", "nmse"):
            assert (tmp_path / f"curves-{name}.png").stat().st_size > 1000
        with Store(tmp_path, writable=False) as store:
            rows = store.frame()
        f1 = 2 * (rows["k"] - rows["missed_indices"])
        f1 = f1 / (2 * rows["k"] - rows["missed_indices"] + rows["false_indices"])
        rows = rows.assign(won=(f1 >= 0.9).astype(bool))
        for row in found.itertuples():
            own = rows[(rows["algorithm"] == row.algorithm) & (rows["m"] == row.m)]
            own = own[(own["k"] == row.k) & (own["problem_label"] == row.problem)]
            assert len(own) == 9
            nmse = 10 * np.log10(np.mean(own["relative_error"].astype(float) ** 2))
            nmse = max(nmse, -300.0)  # no less is told apart from none
            expected = nmse if row.metric == "nmse" else own["won"].mean()
            assert row.estimate == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for wrong, said in (
        (("--x", "p"), "unknown --x"),
        (("--x", "snr", "--xs", "abc", "--k", "2"), "--xs takes"),
        (("--x", "snr", "--k", "2"), "say the values of snr in --xs"),
        (("--x", "m", "--xs", "9"), "say the sparsity in --k"),
        (("--x", "m", "--xs", "2", "--k", "3"), "k = 3 exceeds"),
        ((), "--success goes with --x"),
    ):
        code, _, err = command(*arguments, *wrong)
        assert code == 2 and said in err and len(err.splitlines()) == 1, err
