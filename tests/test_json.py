"""`--json` of every command that prints a table: the rows of the CSV, and nothing else."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from test_cli import SMALL, no_plugins_left, sparsebench  # noqa: F401  (a fixture)
from typer.main import get_command

from sparsebench.cli.application import app
from sparsebench.experiments.studies import STUDIES

DRAWN = "-a omp,htp --n 32 -j 1".split()
SHORT = ["--ks", "2,3", "--trials", "3"]
TASK = "--p 24 --size 4 --seeds 2 --epochs 1 -j 1".split()
# Of each command: its words, and the CSV whose rows it prints.
RUNS = {
    "phase-transition": (["-a", "omp,htp", *SMALL], "thresholds.csv"),
    "support-distance": ([*DRAWN, *SHORT], "distances.csv"),
    "recover": (["A.npy", "y.npy", "-k", "2", "-a", "omp", "--trials", "2", "-j", "1"], None),
    "instance": (["--n", "32", "--k", "3", "-a", "omp,sea"], "instance.csv"),
    "exploration": (["-a", "sea[max_iter=5]", "--trials", "6", "-j", "1"], "exploration.csv"),
    "study": (["rip", "--preset", "quick", "-j", "1"], "rip.csv"),
    "timing": (["-w", "gaussian", "-a", "omp", "--repeats", "1", "--budget", ".1"], "timing.csv"),
    "compare": (["omp", "htp", "--by", "distance"], "comparison-distance.csv"),
    "encoders": ([*TASK, "--training", "200", "--test", "50"], "encoders.csv"),
    "classification": ([*TASK, "--training", "200", "--test", "50"], "classification.csv"),
    "clustering": (TASK, "clustering.csv"),
    "unrolling": (
        "--networks lista-cp --m 8 --n 16 --depth 1 --steps 25 -j 1".split(),
        "unrolling.csv",
    ),
}
TRAINED = {"encoders", "classification", "clustering", "unrolling"}
# Those that print lines alone.
NO_TABLE = {"export", "figures", "merge", "report", "train"}


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *words: sparsebench(*words, monkeypatch=monkeypatch, capsys=capsys)


def printed(found):
    """The one JSON value that a command has printed."""
    code, out, err = found
    assert code == 0, err
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def cell(value):
    """A value as pandas writes it with six digits."""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def test_every_command_prints_json_or_no_table():
    commands = get_command(app).commands
    able = {
        name
        for name, one in commands.items()
        if any("--json" in parameter.opts for parameter in one.params)
    }
    assert able == {*RUNS, "list", "status"}
    assert able | NO_TABLE == set(commands)


@pytest.mark.parametrize("name", RUNS)
def test_the_rows_are_those_of_the_csv(name, command, tmp_path, monkeypatch):
    words, file = RUNS[name]
    if name in TRAINED:
        pytest.importorskip("torch")
        monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    if name == "study":
        size = {"ks": (1, 2), "dictionaries": 2, "signals": 4}
        monkeypatch.setitem(STUDIES["rip"].sizes, "quick", size)
    if name == "recover":
        rng = np.random.default_rng(0)
        np.save("A.npy", A := rng.standard_normal((12, 20)))
        np.save("y.npy", A[:, 3] - 2 * A[:, 7])
    if name == "compare":
        assert command("support-distance", *DRAWN, *SHORT)[0] == 0
    rows = printed(command(name, *words, "--json"))
    with (tmp_path / "results" / (file or "recover.csv")).open(newline="") as opened:
        kept = list(csv.DictReader(opened))
    assert [{key: cell(value) for key, value in row.items()} for row in rows] == kept
    assert len(kept) > 0 and "--json" not in kept[0]["command"]
    # Without it, a table, and the same file.
    before = (tmp_path / "results" / (file or "recover.csv")).read_bytes()
    if name not in ("recover", "timing", *TRAINED):  # in which there are seconds
        code, out, err = command(name, *words)
        assert code == 0, err
        assert out and not out.startswith("[")
        assert (tmp_path / "results" / (file or "recover.csv")).read_bytes() == before


def test_curves_over_an_axis_are_printed(command, tmp_path):
    words = "-p gaussian --n 30 --m 20 --k 2 --x snr --xs 10,inf --trials 3 -a omp -j 1".split()
    rows = printed(command("support-distance", *words, "--json"))
    assert set(rows[0]) == set(pd.read_csv(tmp_path / "results" / "curves.csv"))
    assert {row["x"] for row in rows} == {10.0, "inf"}


def test_lists_and_folders_are_printed(command):
    found = printed(command("list", "--json"))
    assert set(found) == {"algorithms", "problems", "presets"}
    omp = next(one for one in found["algorithms"] if one["algorithm"] == "omp")
    assert omp["told"] == "k" and omp["options"] == {"tol": 1e-10}
    assert (
        next(p for p in found["problems"] if p["problem"] == "gaussian")["options"]["snr"] == "inf"
    )
    assert set(printed(command("list", "presets", "--json"))) == {"presets"}
    assert command("support-distance", *DRAWN, *SHORT)[0] == 0
    held = printed(command("status", "--json"))
    assert held["rows"] == 12 and held["algorithms"] == {"htp": 6, "omp": 6}
    assert sum(row["rows"] for row in held["table"]) == sum(held["statuses"].values()) == 12


def test_one_form_is_asked_for(command):
    code, out, err = command("compare", "omp", "htp", "--json", "--latex")
    assert (code, out) == (2, "")
    assert err == "error: say one of --markdown, --latex and --json\n"
