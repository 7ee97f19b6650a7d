"""What `status` says of a folder: ten lines, what is missing, and whether a run goes on."""

import os
import signal
import subprocess
import sys
import time

import pytest
from test_cli import sparsebench

from sparsebench.run.holdings import holdings
from sparsebench.run.store import Store
from sparsebench.system.processes import identity, is_alive

RUN = "-a omp,htp -p gaussian --n 30 --m 15 --ks 2,3 --trials 6 -j 1".split()


@pytest.fixture
def command(monkeypatch, capsys):
    return lambda *words: sparsebench(*words, monkeypatch=monkeypatch, capsys=capsys)


def held(folder):
    with Store(folder, writable=False) as store:
        return holdings(store)


def change(folder, *statements):
    with Store(folder) as store, store.transaction() as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_finished_run_has_all_rows(command, tmp_path):
    assert command("support-distance", *RUN, "--out", tmp_path)[0] == 0
    code, out, _ = command("status", "--out", tmp_path)
    assert code == 0 and len(out.splitlines()) <= 10
    assert "24 rows" in out and "all rows are there" in out and "support-distance: finished" in out
    assert "--retry" not in out
    (one,) = held(tmp_path)["experiments"]
    assert (one["rows"], one["wanted"], one["missing"]) == (24, 24, 0)
    # More trials: the first run has what it wanted, the second what it added.
    more = [*RUN[:-3], "9", *RUN[-2:]]
    assert command("support-distance", *more, "--out", tmp_path)[0] == 0
    last, first = held(tmp_path)["experiments"]
    assert (last["rows"], last["wanted"], last["missing"]) == (12, 36, 0)
    assert (first["rows"], first["wanted"], first["missing"]) == (24, 24, 0)


def test_what_a_stopped_run_lacks_is_counted(command, tmp_path):
    assert command("support-distance", *RUN, "--out", tmp_path)[0] == 0
    lost = "DELETE FROM rows WHERE trial = 4 OR (trial = 5 AND k = 3)"
    failed = "UPDATE rows SET status = 'time-out' WHERE trial = 0"
    change(tmp_path, lost, failed, "UPDATE runs SET finished = NULL, environment = '{}'")
    _, out, _ = command("status", "--out", tmp_path)
    assert "support-distance: stopped, began" in out and "6 of 24 rows are missing" in out
    assert "time-out 4" in out and "--retry time-out" in out


@pytest.mark.parametrize("name", ["noise", "steps"])
def test_a_study_knows_what_it_lacks_if_its_design_is_fixed(name, command, tmp_path, monkeypatch):
    if name == "noise":
        words = "-p gaussian --n 30 --m 20 --k 2 --x snr --xs 10,20 --trials 4 -a omp,htp -j 1"
        assert command("support-distance", *words.split(), "--out", tmp_path)[0] == 0
        (one,) = held(tmp_path)["experiments"]
        assert (one["wanted"], one["missing"]) == (16, 0)
        change(tmp_path, "DELETE FROM rows WHERE trial = 2")
        (one,) = held(tmp_path)["experiments"]
        assert (one["experiment"], one["wanted"], one["missing"]) == ("study", 16, 4)
        return
    words = "--n 32 --ratios .5 --max-trials 20 -a omp -j 1".split()
    assert command("phase-transition", *words, "--out", tmp_path)[0] == 0
    change(tmp_path, "UPDATE runs SET finished = NULL, environment = '{}'")
    _, out, _ = command("status", "--out", tmp_path)
    assert "stopped" in out and "is not known before it ends" in out


def test_many_experiments_are_ten_lines(command, tmp_path):
    for trials in range(1, 9):
        words = [*RUN[:-3], str(trials), *RUN[-2:]]
        assert command("support-distance", *words, "--out", tmp_path)[0] == 0
    change(tmp_path, "UPDATE rows SET status = 'error' WHERE trial = 0")
    _, out, _ = command("status", "--out", tmp_path)
    assert len(out.splitlines()) == 10
    assert "and 4 earlier ones: --json has them" in out


def test_this_process_is_alive_and_no_other_is_taken_for_it():
    own = identity()
    if not own:
        pytest.skip("the system does not tell")
    assert is_alive(own)
    number, began, boot = own.split()
    assert not is_alive(f"{number} {int(began) + 1} {boot}")  # a later one of the same number
    assert not is_alive(f"{number} {began} another-machine")
    assert not is_alive("")
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    of_child = f"{child.pid} {began} {boot}"
    child.wait()
    assert not is_alive(of_child)


@pytest.mark.skipif(not identity(), reason="the system does not tell")
def test_a_run_goes_on_until_it_is_killed(command, tmp_path):
    words = "-a omp -p gaussian --n 200 --m 100 --ks 5:40 --trials 20000 -j 1 -q".split()
    run = subprocess.Popen(
        [sys.executable, "-m", "sparsebench", "support-distance", *words, "-o", str(tmp_path)],
        env=os.environ | {"NO_COLOR": "1"},
    )
    try:
        while not (tmp_path / "results.db").exists() or not any(
            one["rows"] for one in held(tmp_path)["experiments"]
        ):
            assert run.poll() is None
            time.sleep(0.1)
        _, out, _ = command("status", "--out", tmp_path)
        assert "support-distance: running since" in out and "rows are missing" in out
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    _, out, _ = command("status", "--out", tmp_path)
    assert "support-distance: stopped" in out
