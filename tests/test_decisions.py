"""What a run decided is kept, and used again with every row it rests on, or not at all."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from sparsebench.experiments import sampling
from sparsebench.experiments.phase_transition import PhaseTransition
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.run import decisions
from sparsebench.run.engine import run
from sparsebench.run.store import Store

SETTINGS = {
    "half_widths": {0.95: 2.0, 0.5: 2.0},
    "max_trials": 30,
    "grid": 0,
    "seed": 0,
    "time_limit": 60.0,
}


def diagram(names="omp,htp", ms=(10, 16), **settings):
    chosen, problem = choose_algorithms(names), choose_problem("gaussian")
    return PhaseTransition(chosen, problem, n=32, ms=list(ms), **(SETTINGS | settings))


def execute(folder, experiment=None, retry=()):
    """Run a diagram; return it and its report."""
    experiment = experiment or diagram()
    console = Console(stderr=True, quiet=True)
    with Store(folder) as store:
        report = run(
            *(experiment, store),
            workers=1,
            command="test",
            environment={},
            console=console,
            retry=retry,
        )
    return experiment, report


def rows_of(folder):
    with Store(folder, writable=False) as store:
        return store.frame().drop(columns=["seconds", "stages", "run"])


def kept_in(folder):
    with closing(sqlite3.connect(folder / "results.db")) as connection:
        return sorted(connection.execute("SELECT * FROM decisions").fetchall())


def change(folder, *statements):
    with closing(sqlite3.connect(folder / "results.db")) as connection, connection:
        return [connection.execute(text).rowcount for text in statements]


def assert_same(one, other):
    pd.testing.assert_frame_equal(one.thresholds(), other.thresholds())
    pd.testing.assert_frame_equal(one.cells(), other.cells())


@pytest.fixture
def fits(monkeypatch):
    """Count the fits."""
    seen = []
    fit = sampling.fit_threshold
    monkeypatch.setattr(sampling, "fit_threshold", lambda *a: seen.append(a) or fit(*a))
    return seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, *execute(folder)


@pytest.mark.parametrize("grid", [0, 6])
def test_a_finished_run_fits_nothing_again(tmp_path, fits, grid):
    first, computed = execute(tmp_path, diagram(grid=grid))
    assert fits
    fits.clear()
    again, found = execute(tmp_path, diagram(grid=grid))
    assert not fits
    assert found.found == computed.computed
    assert found.statuses == computed.statuses
    assert_same(first, again)


def test_other_algorithms_and_sizes_take_up_what_they_share(tmp_path, fits):
    execute(tmp_path, diagram())
    fits.clear()
    more, report = execute(tmp_path, diagram("omp,htp,sp", ms=(10, 16, 20)))
    known = [sampler for cell, sampler in more._samplers.items() if known_before(cell)]
    assert report.found == sum(len(sampler.k) for sampler in known)
    alone, _ = execute(tmp_path / "alone", diagram("omp,htp,sp", ms=(10, 16, 20)))
    assert_same(more, alone)
    assert {largest for *_, largest in fits} == {10, 16, 20}  # sp at 10 and 16, all at 20


def known_before(cell):
    chosen, m = cell
    return chosen.name != "sp" and m != 20


class Stop(Exception):
    """Stands for the end of a run at any moment."""


@pytest.mark.parametrize("wave", [1, 2, 5])
@pytest.mark.parametrize(
    ("owner", "name", "calls"), [(PhaseTransition, "decided", 1), (decisions, "canonical", 4)]
)
def test_a_run_that_ended_anywhere_goes_on_to_the_same(
    tmp_path, whole, fits, monkeypatch, wave, owner, name, calls
):
    """It ends with the rows of a wave stored, and none of its four decisions or some of them."""
    left = iter(range(calls * wave - calls // 2 - 1))
    original = getattr(owner, name)

    def ended(*args):
        if next(left, None) is None:
            raise Stop
        return original(*args)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(owner, name, ended)
        execute(tmp_path)
    fits.clear()
    resumed, _ = execute(tmp_path)
    folder, experiment, _ = whole
    assert_same(resumed, experiment)
    pd.testing.assert_frame_equal(rows_of(tmp_path), rows_of(folder))
    assert kept_in(tmp_path) == kept_in(folder)
    waves = max(sampler.wave for sampler in experiment._samplers.values())
    assert len(fits) <= 2 * 4 * (waves - wave + 1)  # those of earlier waves were kept


KILLED = """
import os, sqlite3, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_decisions
from sparsebench.run import store

class Connection(sqlite3.Connection):
    left = int(sys.argv[2])

    def executemany(self, text, values):
        if "INTO decisions" not in text:
            return super().executemany(text, values)
        for value in values:
            super().execute(text, value)
            Connection.left -= 1
            if not Connection.left:
                os._exit(9)

connect = sqlite3.connect
sqlite3.connect = lambda *a, **k: connect(*a, factory=Connection, **k)
test_decisions.execute(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("written", [2, 7])
def test_killed_while_decisions_are_written(tmp_path, whole, written):
    script = KILLED.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, str(tmp_path), str(written)]
    assert subprocess.run(command, env=os.environ, check=False).returncode == 9
    assert len(kept_in(tmp_path)) == 4 * (written > 4)  # a wave's are there, or none
    resumed, _ = execute(tmp_path)
    folder, experiment, _ = whole
    assert_same(resumed, experiment)
    pd.testing.assert_frame_equal(rows_of(tmp_path), rows_of(folder))
    assert kept_in(tmp_path) == kept_in(folder)


def test_a_decision_whose_row_is_gone_is_not_taken_up(tmp_path, whole):
    _, experiment, _ = whole
    execute(tmp_path)
    gone = change(tmp_path, "DELETE FROM rows WHERE m = 10 AND trial = 1 AND k = 4")
    assert gone[0] > 0
    again, report = execute(tmp_path)
    assert report.computed == gone[0]
    assert_same(again, experiment)


@pytest.mark.parametrize("column", ["exact = 1 - exact", "status = 'time-out'"])
def test_a_decision_whose_row_has_changed_is_not_taken_up(tmp_path, column):
    """What is decided then is what a store without decisions gives."""
    execute(tmp_path)
    changed = change(tmp_path, f"UPDATE rows SET {column} WHERE m = 16 AND trial = 3")
    assert changed[0] > 0
    again, _ = execute(tmp_path)
    change(tmp_path, "DELETE FROM decisions")
    from_rows, _ = execute(tmp_path)
    assert_same(again, from_rows)


def test_a_retried_row_is_no_ground_for_a_decision(tmp_path):
    execute(tmp_path)
    late = change(tmp_path, "UPDATE rows SET status = 'time-out', exact = 0 WHERE trial = 0")[0]
    before, _ = execute(tmp_path)
    assert before.thresholds()["time_outs"].sum() == 2 * late
    after, report = execute(tmp_path, retry=["time-out"])
    assert report.computed >= late
    assert after.thresholds()["time_outs"].sum() == 0


@pytest.mark.parametrize(
    "other", [{"max_trials": 20}, {"half_widths": {0.95: 2.5, 0.5: 2.0}}, {"share_of_m": True}]
)
def test_another_rule_decides_for_itself(tmp_path, fits, other):
    execute(tmp_path)
    fits.clear()
    own, _ = execute(tmp_path, diagram(**other))
    assert fits
    alone, _ = execute(tmp_path / "alone", diagram(**other))
    assert_same(own, alone)


def test_other_code_decides_for_itself(tmp_path, fits, monkeypatch):
    execute(tmp_path)
    fits.clear()
    monkeypatch.setattr(
        "sparsebench.experiments.phase_transition.code_digest", lambda: "other code"
    )
    execute(tmp_path)
    assert fits


def test_the_digest_is_of_the_code_that_decides(monkeypatch):
    seen = []
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda p, *a: seen.append(p.name) or read(p, *a))
    sampling.code_digest.cache_clear()
    before = sampling.code_digest()
    assert sorted(seen) == [
        *("intervals.py", "levels.py", "posterior.py", "sampling.py", "thresholds.py")
    ]
    monkeypatch.setattr(Path, "read_text", lambda p, *a: read(p, *a) + "#")
    sampling.code_digest.cache_clear()
    assert sampling.code_digest() != before
    sampling.code_digest.cache_clear()


def test_a_state_goes_through_json_unchanged():
    rng = np.random.default_rng(0)
    sampler = sampling.ThresholdSampler(32, dict.fromkeys(sampling.LEVELS, 1.0), 100)
    for _ in range(6):
        asked = sampler.requests()
        sampler.record([(trial, k, bool(rng.random() < 0.9 - k / 30)) for trial, k in asked])
    rows = list(zip(sampler.trial, sampler.k, sampler.success, strict=True))
    other = sampling.ThresholdSampler(32, dict.fromkeys(sampling.LEVELS, 1.0), 100)
    other.restore(rows, json.loads(json.dumps(sampler.state())))
    assert other == sampler
    assert other.requests() == sampler.requests()


@pytest.mark.parametrize("message", ["", "it's said, with 'quotes'", "another"])
def test_statuses_and_messages_of_taken_up_rows_are_counted(tmp_path, message):
    """As where every row is looked at one by one."""
    _, computed = execute(tmp_path)
    status = "error" if message else "cycle"
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection, connection:
        connection.execute(
            "UPDATE rows SET status = ?, message = ? WHERE exact = 0 AND trial < 2",
            (status, message),
        )
    change(tmp_path, "DELETE FROM decisions")
    _, one_by_one = execute(tmp_path)
    _, together = execute(tmp_path)
    assert one_by_one.statuses != computed.statuses
    assert together.statuses == one_by_one.statuses
    assert together.messages == one_by_one.messages
    assert together.found == one_by_one.found
