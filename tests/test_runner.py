"""Rows: the same whatever else runs, after a crash as without one; failures kept and counted."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import sparsebench
from sparsebench import registry
from sparsebench.experiments.phase_transition import PhaseTransition
from sparsebench.experiments.study import Point, Study
from sparsebench.experiments.support_distance import SupportDistance
from sparsebench.metrics import near_distance
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.run import engine, worker
from sparsebench.run.engine import run
from sparsebench.run.rows import Block, Outcome
from sparsebench.run.store import Store
from sparsebench.system import limits
from sparsebench.types import InputError, Result

PLUGIN = str(Path(__file__).parent / "plugin_example.py")
QUIET = Console(stderr=True, quiet=True)


def diagram(names="omp,htp", ms=(10, 16), **settings):
    return PhaseTransition(
        choose_algorithms(names),
        choose_problem("gaussian"),
        n=32,
        ms=list(ms),
        **(
            {
                "half_widths": {0.95: 2.0, 0.5: 2.0},
                "max_trials": 30,
                "grid": 0,
                "seed": 0,
                "time_limit": 60.0,
            }
            | settings
        ),
    )


def distances(names, ks=(2, 3), trials=6, problem="gaussian", m=None, time_limit=60.0):
    return SupportDistance(
        choose_algorithms(names),
        choose_problem(problem),
        n=32,
        m=m or (32 if problem == "deconvolution" else 16),
        ks=list(ks),
        trials=trials,
        seed=0,
        time_limit=time_limit,
    )


def rows_of(folder):
    """Every row but what may differ between runs: its wall time, its run, and ids."""
    with Store(folder, writable=False) as store:
        frame = store.frame().drop(columns=["seconds", "stages", "run"])
    return frame.astype(str).to_csv(index=False).splitlines()


def execute(experiment, folder, workers=1, plugins=(), retry=()):
    with Store(folder) as store:
        return run(
            experiment,
            store,
            workers=workers,
            command="test",
            environment={},
            plugins=plugins,
            console=QUIET,
            retry=retry,
        )


@pytest.fixture(scope="module", autouse=True)
def plugin():
    known = set(registry.ALGORITHMS)
    registry.load_plugin(PLUGIN)
    yield
    for name in set(registry.ALGORITHMS) - known:
        del registry.ALGORITHMS[name]
    registry.plugins._load_plugin.cache_clear()


def test_two_workers_give_the_rows_of_one(tmp_path):
    one, two = diagram(), diagram()
    first = execute(one, tmp_path / "one", workers=1)
    second = execute(two, tmp_path / "two", workers=2)
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "two")
    assert one.thresholds().equals(two.thresholds())
    assert first.computed == second.computed > 0
    assert first.found == second.found == 0


def test_other_algorithms_and_cells_change_nothing(tmp_path):
    execute(diagram("omp", ms=(10,)), tmp_path / "alone")
    execute(diagram("sea,omp,iht", ms=(16, 10, 24)), tmp_path / "among")
    among = set(rows_of(tmp_path / "among"))
    alone = rows_of(tmp_path / "alone")
    assert len(alone) > 40
    assert set(alone) <= among


def test_a_finished_run_computes_nothing_again(tmp_path):
    first = execute(diagram(), tmp_path)
    again = execute(diagram(), tmp_path)
    assert (again.computed, again.found) == (0, first.computed)
    wider = execute(diagram("omp,htp,iht"), tmp_path)
    assert wider.found == first.computed
    assert 0 < wider.computed < first.computed
    with Store(tmp_path, writable=False) as store:
        assert len(store.runs()) == 2  # one row for each run that computed something


def test_every_part_of_a_recipe_is_in_the_key(tmp_path):
    base = execute(distances("htp"), tmp_path)
    assert execute(distances("htp"), tmp_path).computed == 0
    for other in (
        distances("htp[tol=1e-9]"),
        distances("htp", ks=(4,)),
        distances("htp", problem="gaussian[snr=30]"),
        distances("htp", time_limit=50.0),
    ):
        assert execute(other, tmp_path).found == 0
    more = execute(distances("htp", trials=8), tmp_path)
    assert (more.found, more.computed) == (base.computed, 4)


def test_a_chain_is_one_row_with_the_cost_of_its_stages(tmp_path):
    execute(distances("omp+sea[step=18/L,max_iter=50],omp,oracle"), tmp_path)
    with Store(tmp_path, writable=False) as store:
        rows = store.frame()
    chain = rows[rows["algorithm"] == "omp+sea"]
    assert len(chain) == 12
    for row in chain.itertuples():
        (first, before, early), (second, after, late) = json.loads(row.stages)
        assert (first, second) == ("omp", "sea")
        assert row.n_iter == before + after
        assert row.seconds == pytest.approx(early + late)
    alone = rows[rows["algorithm"] == "omp"]
    assert (alone["stages"] == "").all()
    best = chain.set_index(["k", "trial"])["relative_residual"]
    start = alone.set_index(["k", "trial"])["relative_residual"]
    assert (best <= start + 1e-12).all()
    assert rows[rows["algorithm"] == "oracle"]["exact"].all()
    options = json.loads(chain["algorithm_recipe"].iloc[0])["options"]
    assert options["sea.step"] == "18/L"
    assert options["omp.tol"] == 1e-10


@pytest.mark.parametrize("names", ["els,els+sea,els+htp+sea", "els+htp+sea,els+sea,els"])
def test_what_chains_and_entries_share_is_solved_once_an_instance(tmp_path, monkeypatch, names):
    """Rows are those of each for itself, and a stage costs what it costs alone."""
    solved = Counter()
    real = registry.Link.solve

    def counted(link, dictionary, y, k, **given):
        solved[link.algorithm.name, y.tobytes()] += 1
        return real(link, dictionary, y, k, **given)

    monkeypatch.setattr(registry.Link, "solve", counted)
    execute(distances(names), tmp_path / "together")
    assert set(solved.values()) == {1, 2}  # els and htp once, sea after each of them
    assert all(times == 1 for (name, _), times in solved.items() if name != "sea")
    for name in names.split(","):
        execute(distances(name), tmp_path / "alone")
    assert rows_of(tmp_path / "together") == rows_of(tmp_path / "alone")
    with Store(tmp_path / "together", writable=False) as store:
        rows = store.frame().set_index(["algorithm", "k", "trial"])
    for (name, *cell), row in rows.iterrows():
        if name != "els":
            stages = json.loads(row["stages"])
            assert stages[0][2] == rows.loc[("els", *cell), "seconds"]
            assert row["seconds"] == pytest.approx(sum(seconds for *_, seconds in stages))


def test_links_with_other_options_are_not_shared():
    instance = sparsebench.draw("gaussian", m=16, n=32, k=4)
    known = {}
    for chosen in choose_algorithms(
        ["iht[max_iter=1]", "iht[max_iter=2]+htp", "iht[max_iter=1]+htp"]
    ):
        with_known = chosen.solve(instance.dictionary, instance.y, 4, known=known)
        alone = chosen.solve(instance.dictionary, instance.y, 4)
        np.testing.assert_array_equal(with_known.x, alone.x)
        assert [stage.n_iter for stage in with_known.stages] == [s.n_iter for s in alone.stages]


def test_the_limit_of_a_chain_counts_what_was_known_of_it(monkeypatch):
    """And a time-out is the row of a chain that was solved from its beginning."""
    begun = []

    @registry.algorithm("slow", cost="n")
    def slow(dictionary, y, k):
        begun.append("slow")
        return Result(np.eye(1, dictionary.shape[1])[0], 1, "converged")

    @registry.algorithm("then", cost="n")
    def then(dictionary, y, k, start=None):
        begun.append("then")
        return Result(np.eye(1, dictionary.shape[1])[0], 1, "converged")

    allowed = []
    real = worker.attempt
    monkeypatch.setattr(
        worker, "attempt", lambda solve, limit, *a: allowed.append(limit) or real(solve, limit, *a)
    )
    first, chain = choose_algorithms("slow,slow+then")
    instance = sparsebench.draw("gaussian", m=16, n=32, k=2)
    known = {}
    worker._outcome(first, instance, 2, 60.0, False, known)
    (spent,) = (result[0].seconds for result in known.values())
    worker._outcome(chain, instance, 2, 60.0, False, known)
    assert allowed == [60.0, 60.0 - spent]
    assert begun == ["slow", "then"]
    # What was known took longer than the limit is now: all of it is tried.
    key = next(iter(known))
    known = {key: (replace(known[key][0], seconds=61.0),)}
    begun.clear()
    worker._outcome(chain, instance, 2, 60.0, False, known)
    assert allowed[2:] == [60.0]
    assert begun == ["slow", "then"]


def test_rows_of_ordered_atoms_have_distances_that_forgive(tmp_path):
    execute(distances("htp,raises", problem="deconvolution"), tmp_path)
    execute(distances("htp,raises"), tmp_path)
    execute(distances("htp", problem="deconvolution[boundary=circulant]", m=32), tmp_path)
    with Store(tmp_path, writable=False) as store:
        rows = store.frame()
    line = rows["problem_recipe"].str.contains('"zero"')
    assert line.sum() == 24
    assert rows.loc[~line, ["near_1", "near_2"]].isna().all(axis=None)
    failed = line & (rows["algorithm"] == "raises")
    assert (rows.loc[failed, ["near_1", "near_2"]] == 1).all(axis=None)
    for row in rows[line & ~failed].itertuples():
        instance = sparsebench.draw("deconvolution", m=32, n=32, k=row.k, trial=row.trial)
        x = sparsebench.solve("htp", instance.A, instance.y, row.k).x
        assert row.near_1 == near_distance(instance.x, x, 1)
        assert row.near_2 == near_distance(instance.x, x, 2)


def test_unknown_iterations_are_missing_in_rows_and_in_what_is_made_of_them(tmp_path):
    @registry.algorithm("silent", cost="n")
    def silent(dictionary, y, k):
        return Result(np.zeros(dictionary.shape[1]), None, "converged")

    point = Point(
        "p", 1.0, choose_problem("gaussian"), 16, 32, 2, 3,
        {name: choose_algorithms(name)[0] for name in ("silent", "silent+htp", "omp")},
    )  # fmt: skip
    for _ in range(2):  # computed, then found
        study = Study("s", [point], 0, 60.0)
        report = execute(study, tmp_path)
        made = study.estimates().set_index("curve")
        assert made.loc[["silent", "silent+htp"], ["iterations", "flops"]].isna().all(axis=None)
        assert made.loc["omp", "iterations"] == 2
    assert (report.computed, report.found) == (0, 9)
    execute(distances("raises", ks=(2,), trials=1), tmp_path)
    with Store(tmp_path, writable=False) as store:
        rows = store.frame()
    assert rows["n_iter"].dtype == "Int64"
    missing = rows["n_iter"].isna()
    assert (missing == rows["algorithm"].isin(["silent", "silent+htp", "raises"])).all()
    (stages,) = {row[:14] for row in rows.loc[rows["algorithm"] == "silent+htp", "stages"]}
    assert stages == '[["silent", nu'
    rows.to_csv(tmp_path / "rows.csv")
    assert pd.read_csv(tmp_path / "rows.csv")["n_iter"].isna().equals(missing)
    del registry.ALGORITHMS["silent"]


# The table as stores of format 3 have it; 1 and 2 lack the last columns, 4 has NULLs more.
FORMAT_3 = """
CREATE TABLE old (
    problem INTEGER NOT NULL REFERENCES problems, n INTEGER NOT NULL, m INTEGER NOT NULL,
    trial INTEGER NOT NULL, algorithm INTEGER NOT NULL REFERENCES algorithms, k INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    support_distance REAL NOT NULL, exact INTEGER NOT NULL, relative_error REAL,
    relative_residual REAL, n_iter INTEGER NOT NULL, status TEXT NOT NULL, message TEXT NOT NULL,
    seconds REAL NOT NULL, stages TEXT NOT NULL DEFAULT '',
    near_1 REAL, near_2 REAL,
    PRIMARY KEY (problem, n, m, trial, algorithm, k)
) WITHOUT ROWID;
INSERT INTO old SELECT * FROM rows;
DROP TABLE rows;
ALTER TABLE old RENAME TO rows;
"""


def age(folder, version):
    """Make a store one of an older format."""
    latest = ["missed_indices", "false_indices", "prediction_error"]
    newer = {1: ["stages", "near_1", "near_2"], 2: ["near_1", "near_2"], 3: [], 4: []}
    with closing(sqlite3.connect(folder / "results.db")) as connection, connection:
        for column in latest:
            connection.execute(f"ALTER TABLE rows DROP COLUMN {column}")
        if version < 4:
            connection.executescript(FORMAT_3)
        for column in newer[version]:
            connection.execute(f"ALTER TABLE rows DROP COLUMN {column}")
        connection.execute("UPDATE format SET version = ?", (version,))


def table_of(folder):
    with closing(sqlite3.connect(folder / "results.db")) as connection:
        rows = connection.execute("SELECT * FROM rows ORDER BY 1, 2, 3, 4, 5, 6").fetchall()
        nullable = [row[1] for row in connection.execute("PRAGMA table_info(rows)") if not row[3]]
    return rows, nullable


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_store_of_an_older_format_is_brought_up_to_date(tmp_path, version):
    first = execute(distances("htp"), tmp_path)
    age(tmp_path, version)
    old, _ = table_of(tmp_path)
    before = rows_of(tmp_path)
    rows, nullable = table_of(tmp_path)
    assert [row[: len(other)] for row, other in zip(rows, old, strict=True)] == old
    assert {"n_iter", "seconds"} <= set(nullable)
    kept = execute(distances("htp,omp+htp"), tmp_path)
    assert kept.found == first.computed == kept.computed
    assert set(before) <= set(rows_of(tmp_path))


def test_what_older_rows_tell_is_derived_and_the_rest_is_not_known(tmp_path):
    """Against the same rows as they are counted today; `few` returns fewer than k."""

    @registry.algorithm("few")
    def few(A, y, k):
        order = np.argsort(-np.abs(A.T @ y))
        if k == 4:
            raise RuntimeError("no")
        return np.isin(np.arange(A.shape[1]), order[:2]).astype(float)

    wanted = distances("omp,few", ks=(2, 3, 4))
    execute(wanted, tmp_path)
    key = ["algorithm", "k", "trial"]
    with Store(tmp_path, writable=False) as store:
        today = store.frame().set_index(key)
    age(tmp_path, 4)
    with Store(tmp_path, writable=False) as store:
        found = store.frame().set_index(key)
    failed = today["status"] == "error"
    assert failed.sum() > 0 and (failed == today["prediction_error"].isna()).all()
    assert found["missed_indices"].equals(today["missed_indices"])
    assert today["missed_indices"].isna().equals(failed)
    exact = today["exact"]
    assert exact.any() and (~exact & ~failed).any()
    assert (found.loc[exact, "false_indices"] == 0).all()
    assert found.loc[~exact, "false_indices"].isna().all()
    assert found["prediction_error"].isna().all()
    # Computed anew once, those that failed not at all.
    again = execute(distances("omp,few", ks=(2, 3, 4)), tmp_path, retry=["older"])
    assert (again.computed, again.found) == ((~failed).sum(), failed.sum())
    assert execute(distances("omp,few", ks=(2, 3, 4)), tmp_path, retry=["older"]).computed == 0
    with Store(tmp_path, writable=False) as store:
        anew = store.frame().set_index(key)
    counts = ["missed_indices", "false_indices", "prediction_error"]
    pd.testing.assert_frame_equal(anew[counts], today[counts])
    del registry.ALGORITHMS["few"]


def test_a_damaged_store_of_an_older_format_is_left_as_it_is(tmp_path):
    execute(distances("htp,omp", trials=60), tmp_path)
    age(tmp_path, 3)
    path = tmp_path / "results.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 4096 // 2 * 4096])
    damaged = path.read_bytes()
    with pytest.raises(InputError, match="is damaged or no store"):
        Store(tmp_path)
    assert path.read_bytes() == damaged


def block(names, trial=0, k=2):
    pairs = tuple((chosen, k) for chosen in choose_algorithms(names))
    return Block(choose_problem("gaussian"), 0, 32, 16, trial, pairs, 60.0)


SOUND = Outcome(0.5, False, 0.25, 0.125, 3, "converged", "", 1.5)


def test_what_is_unknown_is_stored_as_missing(tmp_path):
    unknown = replace(SOUND, n_iter=None, seconds=None)
    wanted = block("omp,htp")
    pairs = dict(zip(wanted.pairs, (unknown, SOUND), strict=True))
    with Store(tmp_path) as store:
        run_id = store.start_run("test", {}, {})
        store.add(run_id, wanted, list(pairs.values()))
        assert store.find(wanted) == pairs
        frame = store.frame().set_index("algorithm")
        assert frame["n_iter"].isna().to_dict() == {"omp": True, "htp": False}
        assert frame.loc["htp", "n_iter"] == 3
        assert frame["seconds"].isna().to_dict() == {"omp": True, "htp": False}
        summary = store.summary().set_index("algorithm")["seconds"]
        assert np.isnan(summary["omp"])
        assert summary["htp"] == 1.5


def test_two_runs_that_enter_one_recipe_at_once(tmp_path, monkeypatch):
    """The second has looked for it before the first has entered it."""
    wanted = block("omp,htp")
    with Store(tmp_path) as one, Store(tmp_path) as other:
        runs = [store.start_run("test", {}, {}) for store in (one, other)]
        usual, looked = other.id_of, []

        def late(table, recipe):
            found = usual(table, recipe)
            if not looked:
                looked.append(table)
                one.add(runs[0], wanted, [SOUND] * 2)
            return found

        monkeypatch.setattr(other, "id_of", late)
        other.add(runs[1], wanted, [SOUND] * 2)
        assert looked == ["problems"] and len(one.frame()) == 2


def test_a_row_that_cannot_be_is_an_error_and_leaves_nothing(tmp_path):
    """Nor does a recipe that was taken back with it leave its id to another."""
    nameless = replace(SOUND, status=None)
    with Store(tmp_path) as store:
        run_id = store.start_run("test", {}, {})
        for bad in (replace(SOUND, support_distance=float("nan")), nameless):
            with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
                store.add(run_id, block("omp,htp"), [SOUND, bad])
            assert store.frame().empty
        store.add(run_id, block("sea"), [SOUND])
        store.add(run_id, block("omp"), [replace(SOUND, n_iter=4)])
        assert dict(store.frame()[["algorithm", "n_iter"]].to_numpy()) == {"omp": 4, "sea": 3}
        assert not store.find(block("htp"))


def test_of_two_runs_that_solve_the_same_the_first_is_kept(tmp_path):
    with Store(tmp_path) as one, Store(tmp_path) as two:
        one.add(one.start_run("one", {}, {}), block("omp"), [SOUND])
        two.add(two.start_run("two", {}, {}), block("omp,htp"), [replace(SOUND, n_iter=4)] * 2)
        for store in (one, two):
            assert [row.n_iter for row in store.find(block("omp,htp")).values()] == [3, 4]


def test_a_peer_that_tells_no_seconds_is_solved_once(tmp_path):
    @registry.algorithm("timeless", family="peer")
    def timeless(dictionary, y, k, *, start=None):
        return Result(np.eye(dictionary.shape[1])[0], 3, "converged")

    names = "timeless,timeless+htp"
    first = execute(distances(names, trials=2), tmp_path)
    again = execute(distances(names, trials=2), tmp_path)
    assert (first.computed, again.computed, again.found) == (8, 0, 8)
    with Store(tmp_path, writable=False) as store:
        frame = store.frame()
    assert frame["seconds"].isna().all()
    assert (frame.loc[frame["algorithm"] == "timeless", "n_iter"] == 3).all()
    for stages in frame.loc[frame["stages"] != "", "stages"]:
        (name, n_iter, seconds), (_, _, known) = json.loads(stages)
        assert (name, n_iter, seconds) == ("timeless", 3, None)
        assert known > 0
    del registry.ALGORITHMS["timeless"]


@dataclass(frozen=True)
class Fragile:
    """Draws as it should, but for the third dictionary or the second signal of each."""

    how: str = ""
    fixed: bool = False

    calls: ClassVar[Counter[str]] = Counter()

    @property
    def fixed_dictionary(self):
        return self.fixed

    def dictionary(self, rng, m, n):
        self.calls["dictionary"] += 1
        A = rng.standard_normal((m, n))
        if self.calls["dictionary"] != 3:
            return A
        if self.how == "raises":
            raise RuntimeError("the [moon] is\n full")
        if self.how == "exits":
            raise SystemExit(3)
        if self.how == "sleeps":
            time.sleep(30)
        if self.how == "NaN":
            A[0, 0] = np.nan
        return {"transposed": A.T, "nothing": None, "wide": A[:, 1:]}.get(self.how, A)

    def signal(self, rng, n, k):
        self.calls["signal"] += 1
        x = 2.0 * (np.arange(n) < k)
        if self.calls["signal"] % 2 and self.how.startswith("signal"):
            if self.how == "signal raises":
                raise KeyError("lost")
            if self.how == "signal sleeps":
                time.sleep(30)
            if self.how == "signal NaN":
                x[0] = np.nan
            if self.how == "signal huge":
                x[:k] = np.finfo(float).max
            if self.how == "signal dense":
                x[k] = 1.0
            if self.how == "signal sparse":
                x[0] = 0.0
            return {"signal short": x[1:], "signal complex": 1j * x}.get(self.how, x)
        return x


@pytest.fixture
def fragile(monkeypatch):
    monkeypatch.setitem(registry.PROBLEMS, "fragile", None)
    del registry.PROBLEMS["fragile"]
    registry.problem("fragile")(Fragile)
    Fragile.calls.clear()
    monkeypatch.setattr(worker, "ALLOWED", worker.Allowed(drawing=0.5))
    monkeypatch.setattr(limits, "_TICK", 0.1)
    monkeypatch.setattr(limits, "_WAITING_TICKS", 2)


BAD_DRAWS = {
    "raises": "problem 'fragile' failed to draw a dictionary: RuntimeError: the [moon] is full",
    "exits": "problem 'fragile' failed to draw a dictionary: SystemExit: 3",
    "sleeps": "stopped after 1 s in which it computed nothing",
    "NaN": "problem 'fragile' drew a dictionary that is no use: A holds NaN or infinite entries",
    "transposed": "A has shape (32, 16), not (16, 32)",
    "wide": "A has shape (16, 31), not (16, 32)",
    "nothing": "A must be a dense array of real numbers",
    "signal raises": "problem 'fragile' failed to draw a signal: KeyError: 'lost'",
    "signal sleeps": "stopped after 1 s in which it computed nothing",
    "signal NaN": "problem 'fragile' drew a signal that is no use: x holds NaN or infinite entries",
    "signal huge": "y holds NaN or infinite entries",
    "signal dense": "x has 3 non-zeros, not k = 2",
    "signal sparse": "x has 1 non-zeros, not k = 2",
    "signal short": "x has shape (31,), not (32,)",
    "signal complex": "x must be a dense array of real numbers",
}


@pytest.mark.parametrize("how", BAD_DRAWS)
def test_a_bad_draw_is_a_failed_row_of_all_that_wanted_it(tmp_path, fragile, how):
    names, ks, trials = "omp,htp,oracle", (2, 5), 4
    experiment = distances(names, ks, trials, problem=f"fragile[how={how}]", time_limit=0.4)
    report = execute(experiment, tmp_path)
    assert report.computed == 3 * 2 * 4
    with Store(tmp_path, writable=False) as store:
        rows = store.frame()
    if how.startswith("signal"):
        bad = rows["k"] == 2
        assert report.undrawn == bad.sum() == 3 * 4
    else:
        bad = rows["trial"] == 2
        assert report.undrawn == bad.sum() == 3 * 2
    assert set(rows.loc[bad, "status"]) == {"time-out" if "sleeps" in how else "error"}
    (message,) = set(rows.loc[bad, "message"])
    assert message.startswith("no instance: ") and BAD_DRAWS[how] in message
    assert (rows.loc[bad, "support_distance"] == 1).all()
    missing = ["relative_error", "relative_residual", "n_iter", "seconds"]
    assert rows.loc[bad, missing].isna().all(axis=None)
    assert (rows.loc[~bad, "message"] == "").all()
    assert rows.loc[~bad & (rows["algorithm"] == "oracle"), "exact"].all()
    failures = experiment.distances().groupby("algorithm")["failures"].sum()
    assert (failures == bad.sum() / 3).all()
    assert report.messages["omp"] == {message: bad.sum() / 3}
    calls = Fragile.calls.copy()
    again = execute(distances(names, ks, trials, f"fragile[how={how}]", None, 0.4), tmp_path)
    assert (again.computed, again.found, again.undrawn) == (0, 24, report.undrawn)
    assert Fragile.calls == calls


@pytest.mark.parametrize("workers", [1, 2])
def test_what_no_trial_can_have_ends_the_run(tmp_path, fragile, monkeypatch, workers):
    """Sizes that a problem refuses, and a failure of the dictionary that all trials share."""
    for problem, m, words in (
        ("deconvolution", 16, "deconvolution needs m = n"),
        ("fragile[how=raises,fixed=true]", 16, "the [moon] is full"),
        ("fragile[how=sleeps,fixed=true]", 16, "has no dictionary: stopped after 1 s in which"),
    ):
        monkeypatch.setattr(worker, "ALLOWED", worker.Allowed(learning=0.5))
        monkeypatch.setitem(Fragile.calls, "dictionary", 2)
        if workers == 1 or problem == "deconvolution":
            experiment = distances("omp", trials=2, problem=problem, m=m, time_limit=0.4)
            with pytest.raises(InputError, match=re.escape(words)):
                execute(experiment, tmp_path, workers)
    with Store(tmp_path, writable=False) as store:
        assert store.frame().empty


def test_a_dictionary_drawn_for_a_device_may_be_bad(tmp_path, fragile):
    pytest.importorskip("torch")
    experiment = distances("omp,htp", trials=4, problem="fragile[how=raises]")
    experiment.algorithms, device = registry.on_device(experiment.algorithms, "torch-cpu")
    with Store(tmp_path) as store:
        report = run(
            experiment, store, workers=1, command="", environment={}, console=QUIET, device=device
        )
        rows = store.frame()
    bad = rows["trial"] == 2
    assert report.undrawn == bad.sum() == 2 * 2
    assert set(rows.loc[bad, "message"]) == {"no instance: " + BAD_DRAWS["raises"]}
    assert (rows.loc[~bad, "message"] == "").all()
    assert len(rows) == 2 * 2 * 4


def test_a_quantity_that_cannot_be_derived_fails_those_that_read_it(tmp_path, monkeypatch):
    def gram(self):
        raise np.linalg.LinAlgError("no Gram matrix")

    monkeypatch.setattr(sparsebench.Dictionary, "gram", property(gram))
    report = execute(distances("htp,matched_filter", ks=(2,), trials=2), tmp_path)
    assert dict(report.messages["htp"]) == {
        "htp cannot factor this dictionary: LAPACK says no Gram matrix": 2
    }
    assert not report.messages["matched_filter"]


SCRIPT = """
import signal, sys
# A test that runs in the background may have been told to ignore interruptions.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {tests!r})
from test_runner import diagram, execute
from pathlib import Path
execute(diagram("omp,htp,sea,fista", ms=(10, 16, 24),
                half_widths=dict.fromkeys((0.95, 0.5), 1.0), max_trials=80),
        Path({folder!r}), workers=2)
"""


def start(folder):
    code = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder))
    return subprocess.Popen(
        [sys.executable, "-c", code],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def stored(folder):
    path = folder / "results.db"
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("SELECT count(*) FROM rows").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert start(folder).wait(timeout=120) == 0
    return folder


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, whole, how):
    total = stored(whole)
    broken = tmp_path / "broken"
    for part in (0.1, 0.5):
        process = start(broken)
        until = time.monotonic() + 60
        while stored(broken) < part * total and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(process.pid, how)
        process.wait(timeout=60)
    kept = stored(broken)
    assert 0.1 * total <= kept < total
    assert start(broken).wait(timeout=120) == 0
    assert rows_of(broken) == rows_of(whole)


def test_failures_are_rows_with_their_message(tmp_path):
    names = "raises,nan,dense,writes,exits,omp,matched_filter"
    experiment = distances(names, trials=2)
    report = execute(experiment, tmp_path, workers=2, plugins=[PLUGIN])
    assert report.computed == 7 * 2 * 2
    frame = experiment.distances().set_index(["algorithm", "k"])
    for name in ("raises", "nan", "dense", "writes", "exits"):
        assert dict(report.statuses[name]) == {"error": 4}
        assert frame.loc[(name, 2), "estimate"] == 1.0
        assert frame.loc[(name, 2), "failures"] == frame.loc[(name, 2), "trials"] == 2
    messages = {name: next(iter(report.messages[name])) for name in report.messages}
    assert messages["raises"] == "RuntimeError: the [moon] is full"
    assert messages["nan"] == "nan returned NaN or infinite entries"
    assert messages["dense"] == "dense returned 32 non-zeros, more than k = 2"
    assert "read-only" in messages["writes"]
    assert "SystemExit" in messages["exits"]
    assert "omp" not in messages
    assert report.statuses["omp"]["converged"] == 4


def test_a_solve_that_runs_too_long_is_a_failed_row(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "ALLOWED", worker.Allowed(first_call=0.3))
    monkeypatch.setattr(limits, "_TICK", 0.3)
    monkeypatch.setattr(limits, "_WAITING_TICKS", 3)
    report = execute(distances("sleeps,omp", ks=(2,), trials=2, time_limit=0.3), tmp_path)
    assert dict(report.statuses["sleeps"]) == {"time-out": 2}
    assert report.statuses["omp"]["converged"] == 2


def test_the_first_call_of_a_plugin_is_no_time_out(tmp_path):
    """It may compile: before anything is timed, each process calls it on a tiny problem."""
    seen = []

    @registry.algorithm("compiles")
    def compiles(A, y, k):
        if not seen:
            until = time.process_time() + 1.0
            while time.process_time() < until:
                pass
            seen.append(True)
        return np.zeros(A.shape[1])

    try:
        report = execute(distances("compiles", ks=(2,), trials=2, time_limit=0.5), tmp_path)
    finally:
        del registry.ALGORITHMS["compiles"]
    assert dict(report.statuses["compiles"]) == {"converged": 2}


def test_what_an_algorithm_does_to_numpys_errors_is_not_seen_by_the_next(tmp_path):
    @registry.algorithm("strict")
    def strict(A, y, k):
        np.seterr(all="raise")
        return np.zeros(A.shape[1])

    @registry.algorithm("tiny")
    def tiny(A, y, k):
        return np.full(A.shape[1], np.float64(1e-200) * np.float64(1e-200))

    before = np.geterr()
    try:
        report = execute(distances("strict,tiny", ks=(2,), trials=3), tmp_path)
        assert np.geterr() == before
    finally:
        np.seterr(**before)
        del registry.ALGORITHMS["strict"], registry.ALGORITHMS["tiny"]
    assert dict(report.statuses["tiny"]) == {"converged": 3}


def test_a_plugin_cannot_spoil_what_others_see(tmp_path):
    """Writing to the signal or to the dictionary changes nobody else's instance."""

    @registry.algorithm("spoils")
    def spoils(dictionary, y, k, *, gram=False):
        y[:] = 0.0
        if gram:
            dictionary.gram[:] = 0.0
        return np.zeros(dictionary.shape[1])

    alone, among = tmp_path / "alone", tmp_path / "among"
    execute(distances("htp,omp"), alone)
    report = execute(distances("spoils,spoils[gram=true],htp,omp"), among)
    assert set(rows_of(alone)) <= set(rows_of(among))
    assert "read-only" in next(iter(report.messages["spoils[gram=true]"]))
    assert "spoils" not in report.messages
    del registry.ALGORITHMS["spoils"]


def test_a_result_with_unusable_fields_is_a_failed_row(tmp_path):
    @registry.algorithm("odd")
    def odd(dictionary, y, k, *, status="converged"):
        return Result(np.zeros(dictionary.shape[1]), 1.5 if status == "converged" else 1, status)

    report = execute(distances("odd,odd[status=fine],omp", ks=(2,), trials=1), tmp_path)
    assert dict(report.statuses["odd"]) == dict(report.statuses["odd[status=fine]"]) == {"error": 1}
    assert report.statuses["omp"]["converged"] == 1
    del registry.ALGORITHMS["odd"]


def test_a_short_time_limit_does_not_count_the_loading_of_kernels(tmp_path):
    report = execute(distances("omp,htp", time_limit=0.05), tmp_path, workers=2)
    assert all("time-out" not in statuses for statuses in report.statuses.values())


def test_two_first_runs_in_one_folder_share_the_store(tmp_path):
    stores = [Store(tmp_path), Store(tmp_path)]
    for store in stores:
        with store:
            assert len(store.runs()) == 0


def test_a_store_in_use_is_not_called_damaged(tmp_path, monkeypatch):
    execute(distances("omp", ks=(2,), trials=1), tmp_path)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.1))
    with closing(connect(tmp_path / "results.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match=r"cannot write to .*locked"):
            Store(tmp_path)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    process = start(tmp_path)
    until = time.monotonic() + 60
    while not stored(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    group = process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("workers outlive their parent")


def test_an_edited_plugin_is_another_algorithm(tmp_path):
    source = "import numpy as np\ndef mine(A, y, k):\n    return np.zeros(A.shape[1])\n"
    versions = []
    for text in (source, source + "# edited\n"):
        file = tmp_path / "mine.py"
        file.write_text(text)
        registry.load_plugin(file)
        versions.append(choose_algorithms("mine")[0].version)
    assert versions[0] != versions[1]


def test_a_plugin_edited_during_a_run_stops_it(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text("import numpy as np\ndef mine2(A, y, k):\n    return np.zeros(A.shape[1])\n")
    registry.load_plugin(file)
    versions = iter(["as it was", "as it is"])
    for module in (engine, worker):
        monkeypatch.setattr(module, "plugin_fingerprint", lambda path: next(versions))
    with pytest.raises(InputError, match="changed during the run"):
        execute(distances("mine2", trials=1), tmp_path / "r", plugins=[str(file)])


def test_the_bar_is_quiet_when_nobody_looks(tmp_path, capfd):
    execute(diagram(), tmp_path)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
