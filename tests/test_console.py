"""What is said where nobody watches: progress in lines, widths, the version, exit codes."""

import io
import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
from rich.console import Console
from test_cli import SMALL, sparsebench

from sparsebench import solvers
from sparsebench.experiments import presets
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.run import progress
from sparsebench.run.progress import Bar, Doing, Lines, time_left
from sparsebench.run.rows import Block, Outcome
from sparsebench.run.worker import Solved


@pytest.fixture
def command(monkeypatch, capsys):
    return lambda *words: sparsebench(*words, monkeypatch=monkeypatch, capsys=capsys)


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(progress.time, "perf_counter", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Ten:
    """An experiment of ten blocks of two solves, in waves of five."""

    name = "ten"

    def __init__(self):
        self.algorithms = choose_algorithms(["omp"])
        problem = choose_problem("gaussian")
        pairs = tuple((self.algorithms[0], k) for k in (1, 2))
        self.blocks = [Block(problem, 0, 8, 4, trial, pairs, 60.0) for trial in range(10)]
        self.ahead = 10

    def solves_to_go(self):
        return {(self.algorithms[0], 4): self.ahead}


def row(status, seconds):
    return Outcome(1.0, False, None, None, None, status, "", seconds)


def watched(clock, console):
    """Run ten blocks of 20 s of the clock each, half of whose solves fail."""
    experiment = Ten()
    with Bar(experiment, console) as bar:
        for wave in (experiment.blocks[:5], experiment.blocks[5:]):
            bar.start_wave(wave)
            for block in wave:
                clock.now += 20.0
                rows = [row("converged", 10.0), row("error", 10.0)]
                bar.finish(block, Solved(rows, 0.0, 0.0, 20.0))
            experiment.ahead = 0


def test_a_run_says_a_plain_line_a_minute_where_nobody_watches(clock):
    """Rows, share, time left and failures of equal solves follow from their number."""
    text = io.StringIO()
    watched(clock, Console(file=text, width=30))
    assert text.getvalue().splitlines() == [
        "ten: 2 rows, 10% done, about 3:00 left, 1 failed",
        "ten: 8 rows, 40% done, about 2:00 left, 4 failed",
        "ten: 14 rows, 70% done, about 1:00 left, 7 failed",
        "ten: 20 rows, 100% done, about 0:00 left, 10 failed",
    ]


@pytest.mark.parametrize("dumb", [False, True])
def test_colours_that_are_asked_for_make_no_terminal(clock, monkeypatch, dumb):
    """A log does not get what moves a cursor; nor does a terminal that has none."""
    monkeypatch.setenv("TERM", "dumb" if dumb else "xterm")
    text = io.StringIO()
    if dumb:
        text.isatty = lambda: True
    watched(clock, Console(file=text, width=80, force_terminal=True))
    assert len(text.getvalue().splitlines()) == 4
    assert "\x1b[2K" not in text.getvalue() and "\r" not in text.getvalue()


def test_quiet_says_no_progress(clock):
    text = io.StringIO()
    console = Console(file=text, width=80, quiet=True)
    watched(clock, console)
    with Doing(console, "a") as doing:
        clock.now += 100.0
        doing.update("b")
    assert text.getvalue() == ""


def test_lines_are_a_minute_apart(clock):
    text = io.StringIO()
    lines = Lines(Console(file=text))
    for second in range(200):
        lines.say(lambda second=second: str(second))
        clock.now += 1.0
    assert text.getvalue().split() == ["10", "70", "130", "190"]


def test_a_forecast_is_a_clock():
    assert time_left(10.0, 0.0, 1.0) == ""
    assert time_left(30.0, 0.5, 0.5) == ", about 0:30 left"
    assert time_left(3600.0, 0.5, 0.5) == ", about 1:00:00 left"
    assert time_left(59.7, 1.0, 1.0) == ", about 1:00 left"


LONG = [
    ["phase-transition", "-a", "omp", *SMALL],
    ["support-distance", "-a", "omp", "--n", "20", "--ks", "2", "--trials", "3", "-j", "1"],
    ["exploration", "-a", "sea[max_iter=5]", "--trials", "6", "-j", "1"],
    ["timing", "-w", "gaussian", "-a", "omp", "--repeats", "1", "--budget", "0.01"],
    ["instance", "-a", "omp", "--n", "40", "--k", "2"],
]


@pytest.mark.parametrize("words", LONG, ids=lambda words: words[0])
@pytest.mark.parametrize("quiet", [False, True])
def test_long_commands_say_lines_unless_they_are_to_be_quiet(
    words, quiet, command, tmp_path, monkeypatch
):
    monkeypatch.setattr(progress, "_FIRST", 0.0)
    monkeypatch.setattr(
        presets, "EXPLORATION", {**presets.EXPLORATION, "workloads": [("gaussian", 40, 20, 3)]}
    )
    code, _, err = command(*words, *(["--quiet"] if quiet else []), "--out", tmp_path)
    assert code == 0, err
    assert (err == "") == quiet, err
    if quiet:  # but says what is wrong
        (tmp_path / "file").write_text("")
        code, _, err = command(*words, "--out", tmp_path / "file" / "no", "--quiet")
        assert code in (1, 2)
        assert err.startswith("error: ")


def test_training_says_lines(command, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(progress, "_FIRST", 0.0)
    code, _, err = command(*"train lista-cp --m 8 --n 16 --depth 1 --steps 25 -j 1".split())
    assert code == 0
    line = r"training lista-cp: phase 1 of \d+, step \d+, loss .+, \d+% done\n"
    assert re.fullmatch(line, err), err


def test_the_version_is_said(command):
    assert command("--version") == (0, f"sparsebench {version('sparsebench')}\n", "")


def piped(*words, **variables):
    kept = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    return subprocess.run(
        [sys.executable, "-m", "sparsebench", *words],
        env=kept | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("columns", [None, 60])
def test_lists_fit_a_page_and_lose_nothing(columns):
    ended = piped("list", **({"COLUMNS": str(columns)} if columns else {}))
    assert (ended.returncode, ended.stderr) == (0, "")
    for line in ended.stdout.splitlines():
        assert len(line) <= (columns or 80) or " " not in line.strip(), line
    words = " ".join(ended.stdout.split())
    for entry in solvers.algorithms():
        if entry.family != "plug-in":
            assert " ".join(entry.source.split()) in words
            for key, value in entry.options.items():
                assert f"{key}={value}" in words


def test_tables_in_a_file_are_whole(tmp_path):
    """Those with many columns are cut into parts; names keep every letter."""
    label = "sea[max_iter=20,step=18/L]"
    words = ["support-distance", "-p", "gaussian", "-a", label, "--n", "40", "--m", "20", "-j", "1"]
    ended = piped(*words, "--ks", "1:12", "--trials", "2", "--out", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    drawn = [line for line in ended.stdout.splitlines() if line.startswith(("│", "╭"))]
    assert max(map(len, drawn)) <= 80
    assert len([line for line in drawn if label in line]) > 1
    assert all(f"k = {k} " in ended.stdout for k in range(1, 13))
    shown = piped("status", "--table", "--out", str(tmp_path))
    assert label in shown.stdout and "core seconds" in shown.stdout


@pytest.mark.parametrize("words", [["timing", "--help"], ["timing", "--wrong"]])
def test_a_file_gets_no_escape_codes(words):
    ended = piped(*words, NO_COLOR="1")
    assert ended.returncode == (0 if "--help" in words else 2)
    assert "--repeats" in ended.stdout or "--wrong" in ended.stderr
    assert "\x1b" not in ended.stdout + ended.stderr


def test_a_closed_standard_output_is_no_fault():
    shell = 'exec "$0" -m sparsebench list presets >&-'
    ended = subprocess.run(["sh", "-c", shell, sys.executable], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
