"""Shards and their merging: the rows, and the CSV, of one run on one machine; all or none."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from test_cli import PLUGIN, command, no_plugins_left  # noqa: F401
from test_runner import QUIET, diagram, distances, execute, rows_of

from sparsebench.experiments.study import Point, Study
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.run.engine import run
from sparsebench.run.merge import merge
from sparsebench.run.shards import Shard, Share
from sparsebench.run.store import Store
from sparsebench.types import InputError

# A diagram with a plug-in, a chain and one of our own.
DIAGRAM = [
    *("phase-transition", "--preset", "quick", "-a", "omp,omp+htp,matched_filter"),
    *("--plugin", PLUGIN, "--max-trials", 30),
]


def shards(make, count, folder):
    """Compute every shard of an experiment in a folder of its own, the last one first."""
    parts = [folder / f"part-{number}" for number in range(1, count + 1)]
    for number in range(count, 0, -1):
        with Store(parts[number - 1]) as store:
            run(
                Shard(make(), Share(number, count)),
                store,
                workers=1,
                command=f"shard {number}",
                environment={"host": f"host-{number}"},
                console=QUIET,
            )
    return parts


def keys_of(folder):
    with closing(sqlite3.connect(folder / "results.db")) as connection:
        return connection.execute(
            "SELECT p.recipe, n, m, trial, a.recipe, k FROM rows r "
            "JOIN problems p ON p.id = r.problem JOIN algorithms a ON a.id = r.algorithm"
        ).fetchall()


def whole(folder):
    with closing(sqlite3.connect(folder / "results.db")) as connection:
        return list(connection.iterdump())


def test_three_shards_merged_are_one_run(command, tmp_path):  # noqa: F811
    code, _, err = command(*DIAGRAM, "-j", 1, "--out", tmp_path / "one")
    assert code == 0, err
    parts = [tmp_path / name for name in "abc"]
    for number, part in enumerate(parts, 1):
        code, out, err = command(*DIAGRAM, "--shard", f"{number}/3", "-j", number, "--out", part)
        assert code == 0, err
        assert f"shard {number}/3 is done" in out
        assert [path.name for path in part.iterdir() if path.suffix != ".db"] == []
    code, out, err = command("merge", *parts, "--out", tmp_path / "all")
    assert code == 0, err
    assert rows_of(tmp_path / "all") == rows_of(tmp_path / "one")
    assert f"{parts[0]}: {len(keys_of(parts[0])):,} rows, {len(keys_of(parts[0])):,} of" in out
    code, out, err = command(*DIAGRAM, "-j", 1, "--out", tmp_path / "all")
    assert code == 0, err
    assert "nothing to compute: all" in out
    for name in ("thresholds.csv", "cells.csv"):
        assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


DESIGNS = {
    "diagram": lambda: diagram("omp,htp,iht", ms=(10, 16)),
    "grid": lambda: diagram("omp,htp", ms=(10, 16, 20), grid=4),
    "distances": lambda: distances("omp,htp", trials=7),
    "study": lambda: Study(
        "s",
        [
            Point("p", k, choose_problem("gaussian"), 16, 32, k, 5, {"a": choose_algorithms(a)[0]})
            for k, a in ((2, "omp"), (3, "omp+htp"))
        ],
        0,
        60.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("count", [2, 4, 9])
def test_every_row_is_in_one_shard_and_keeps_its_run(tmp_path, design, count):
    """Nine shards are more than there are curves or trials: some have nothing to do."""
    make = DESIGNS[design]
    execute(make(), tmp_path / "one")
    parts = shards(make, count, tmp_path)
    owners = {key: part for part in parts for key in keys_of(part)}
    assert set(Counter(key for part in parts for key in keys_of(part)).values()) == {1}
    assert sorted(owners) == sorted(keys_of(tmp_path / "one"))
    sizes = [len(keys_of(part)) for part in parts]
    assert (0 in sizes) == (count == 9)
    merged = merge(parts, tmp_path / "all")
    assert [(one.rows, one.new) for one in merged] == [(size, size) for size in sizes]
    assert rows_of(tmp_path / "all") == rows_of(tmp_path / "one")
    with closing(sqlite3.connect(tmp_path / "all" / "results.db")) as connection:
        runs = dict(connection.execute("SELECT command, environment FROM runs"))
        found = connection.execute(
            "SELECT p.recipe, n, m, trial, a.recipe, k, runs.command FROM rows r "
            "JOIN problems p ON p.id = r.problem JOIN algorithms a ON a.id = r.algorithm "
            "JOIN runs ON runs.id = r.run"
        ).fetchall()
    for *key, asked in found:
        assert asked == f"shard {owners[tuple(key)].name[-1]}"
        assert runs[asked] == f'{{"host":"host-{asked[-1]}"}}'
    assert execute(make(), tmp_path / "all").computed == 0


def test_a_curve_is_whole_in_its_shard(tmp_path):
    """The rule that decides where to sample sees all rows of its curve."""
    parts = shards(DESIGNS["diagram"], 4, tmp_path)
    curves = [{(m, recipe) for _, _, m, _, recipe, _ in keys_of(part)} for part in parts]
    assert sorted(map(len, curves)) == [1, 1, 2, 2]
    assert len(set.union(*curves)) == 6


def test_shards_of_a_diagram_have_as_many_curves_at_each_m():
    names = "omp,htp,iht,sp"
    experiment = diagram(names, ms=(8, 10, 16, 20))
    for count in (2, 4, 8):
        for number in range(1, count + 1):
            blocks = Shard(experiment, Share(number, count)).wanted()
            cells = {(chosen.label, block.m) for block in blocks for chosen, _ in block.pairs}
            assert len(cells) == 16 // count
            assert len({m for _, m in cells}) == min(4, 16 // count)
            assert len({label for label, _ in cells}) >= min(4, 16 // count) - 2 * (count == 8)


def test_merging_again_changes_nothing_and_takes_what_is_new(tmp_path):
    make = DESIGNS["distances"]
    parts = shards(make, 3, tmp_path)
    merge(parts, tmp_path / "all")
    before = whole(tmp_path / "all")
    assert [one.new for one in merge(parts, tmp_path / "all")] == [0, 0, 0]
    assert whole(tmp_path / "all") == before
    # Later one of the machines computes more, and a folder may hold what others hold.
    execute(distances("sp", trials=2), parts[0])
    merge(parts[:2], parts[2])
    first, third = merge([parts[0], parts[2]], tmp_path / "all")
    assert (first.new, third.new) == (4, 0)
    assert len(keys_of(tmp_path / "all")) == 2 * 2 * 7 + 4


def test_a_run_that_ended_after_its_rows_were_merged_is_one_run(tmp_path):
    execute(distances("omp"), tmp_path / "a")
    ended = "SELECT finished, report FROM runs"
    with closing(sqlite3.connect(tmp_path / "a" / "results.db")) as connection, connection:
        (finished,) = connection.execute(ended).fetchall()
        connection.execute("UPDATE runs SET finished = NULL, report = NULL")
    merge([tmp_path / "a"], tmp_path / "all")
    with closing(sqlite3.connect(tmp_path / "a" / "results.db")) as connection, connection:
        connection.execute("UPDATE runs SET finished = ?, report = ?", finished)
    merge([tmp_path / "a"], tmp_path / "all")
    with closing(sqlite3.connect(tmp_path / "all" / "results.db")) as connection:
        assert connection.execute(ended).fetchall() == [finished]


def change(folder, statement):
    with closing(sqlite3.connect(folder / "results.db")) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("exact = 1 - exact", "exact "),
        ("status = 'time-out', exact = 0", "status converged and time-out"),
        ("relative_error = relative_error + .01", "relative_error "),
        ("n_iter = NULL", "n_iter 2 and None"),
    ],
)
def test_two_outcomes_of_one_solve_are_refused_with_both_named(tmp_path, changed, words):
    execute(distances("omp", ks=(2,), trials=2), tmp_path / "a")
    execute(distances("omp", ks=(2,), trials=2), tmp_path / "b")
    execute(distances("htp", ks=(2,), trials=2), tmp_path / "c")
    change(tmp_path / "b", f"UPDATE rows SET {changed} WHERE trial = 1")
    with pytest.raises(InputError) as refused:
        merge([tmp_path / name for name in "cab"], tmp_path / "all")
    said = str(refused.value)
    assert f"{tmp_path / 'a'} and {tmp_path / 'b'} have different outcomes of omp" in said
    assert "n = 32, m = 16, k = 2, trial = 1" in said and words in said and "\n" not in said
    assert keys_of(tmp_path / "all") == []
    # The other one may have been merged before, and its folder be gone.
    merge([tmp_path / name for name in "ca"], tmp_path / "all")
    before = whole(tmp_path / "all")
    with pytest.raises(InputError, match=f"{tmp_path / 'all'} and {tmp_path / 'b'} have"):
        merge([tmp_path / "b"], tmp_path / "all")
    assert whole(tmp_path / "all") == before


def test_seconds_and_rounding_are_no_other_outcome(tmp_path):
    for name in "ab":
        execute(distances("omp,omp+htp", ks=(2,), trials=2), tmp_path / name)
    change(
        tmp_path / "b",
        "UPDATE rows SET seconds = 9.5, stages = '', relative_error = relative_error * (1 + 1e-9), "
        "relative_residual = relative_residual + 1e-16",
    )
    first, second = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert (first.new, second.new) == (4, 0)
    assert rows_of(tmp_path / "all") == rows_of(tmp_path / "a")


def test_folders_that_do_not_belong_together_are_one_line(command, tmp_path):  # noqa: F811
    execute(distances("omp", ks=(2,), trials=1), tmp_path / "a")
    other = distances("omp", ks=(2,), trials=1)
    other.seed = 7
    execute(other, tmp_path / "b")
    execute(distances("omp", ks=(2,), trials=1), tmp_path / "c")
    change(tmp_path / "c", "UPDATE format SET version = 77")
    (tmp_path / "empty").mkdir()
    for folders, words in (
        ("ab", "has root seed 0 and"),
        ("ac", "c/results.db has format 77, this version of sparsebench reads"),
        (("a", "empty"), "no results in"),
        (("a", "all"), "is the folder that the others are merged into"),
    ):
        code, out, err = command(
            "merge", *(tmp_path / name for name in folders), "--out", tmp_path / "all"
        )
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("error: ") and words in err
        assert not (tmp_path / "all").exists()
    merge([tmp_path / "a"], tmp_path / "all")
    code, _, err = command("merge", tmp_path / "b", "--out", tmp_path / "all")
    assert code == 2 and "has root seed 0 and" in err and "has 7" in err


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/2", "1/2/3", "1/99999999"])
def test_a_shard_out_of_range_is_one_line(command, tmp_path, text):  # noqa: F811
    code, _, err = command("support-distance", f"--shard={text}", "-j", 1, "--out", tmp_path / "r")
    assert (code, err.count("\n")) == (2, 1)
    assert f"--shard takes I/N with 1 <= I <= N, e.g. 2/8, not {text!r}" in err
    assert not (tmp_path / "r").exists()


def test_a_shard_with_nothing_to_do_says_so(command, tmp_path):  # noqa: F811
    asked = ["support-distance", "-a", "omp", "--n", 32, "--ks", 2, "--trials", 2, "-j", 1]
    code, out, _ = command(*asked, "--shard", "3/3", "--out", tmp_path / "c")
    assert code == 0 and "shard 3/3 has nothing to do" in out
    for number in (1, 2):
        command(*asked, "--shard", f"{number}/3", "--out", tmp_path / "ab"[number - 1])
    code, out, _ = command("merge", *(tmp_path / x for x in "abc"), "--out", tmp_path / "all")
    assert code == 0 and "c: 0 rows, 0 of them new" in out


# Kills itself before the given statement that the target executes, and says how many there were.
KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from sparsebench.run import store
from sparsebench.run.merge import merge
*parts, out, last = map(Path, sys.argv[1:])
seen = []
def count(statement):
    seen.append(statement)
    if len(seen) == int(str(last)):
        os.kill(os.getpid(), signal.SIGKILL)
real = store.Store._open
def opened(self, writable):
    if writable:
        self._connection.set_trace_callback(count)
    real(self, writable)
store.Store._open = opened
merge(parts, out)
print(len(seen))
"""


def test_a_merge_that_is_killed_anywhere_is_completed_by_the_same_command(tmp_path):
    """Before any statement, the one that makes it all last included: nothing is there then."""
    parts = shards(DESIGNS["distances"], 3, tmp_path)
    merge(parts, tmp_path / "all")

    def killed(out, last):
        return subprocess.run(
            [sys.executable, "-c", KILLED, *map(str, [*parts, out, last])],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        )

    total = int(killed(tmp_path / "counted", 0).stdout)
    assert total > 40
    some = sorted({1, 2, 3, *range(4, total, max(total // 10, 1)), total - 1, total})
    left = []
    for last in some:
        out = tmp_path / f"out-{last}"
        assert killed(out, last).returncode == -signal.SIGKILL
        try:
            left.append(len(keys_of(out)))
        except sqlite3.OperationalError:  # before its tables were made
            left.append(0)
        merge(parts, out)
        assert rows_of(out) == rows_of(tmp_path / "all")
    assert set(left) == {0}


def test_seconds_of_two_processors_are_not_added_up(command, tmp_path):  # noqa: F811
    for number, name in ((1, "fast"), (2, "slow")):
        with Store(tmp_path / name) as store:
            run(
                Shard(distances("omp,htp"), Share(number, 2)),
                store,
                workers=1,
                command=name,
                environment={"processor": f"the {name} one"},
                console=QUIET,
            )
    command("merge", tmp_path / "fast", tmp_path / "slow", "--out", tmp_path / "both")
    _, one, _ = command("status", "--table", "--out", tmp_path / "fast")
    _, both, _ = command("status", "--table", "--out", tmp_path / "both")
    assert "the fast one" not in one
    assert "the fast one" in both and "the slow one" in both
    with Store(tmp_path / "both", writable=False) as store:
        summary = store.summary()
        (total,) = store.execute("SELECT sum(seconds) FROM rows").fetchone()
    assert summary.groupby("algorithm", observed=True).size().eq(2).all()
    assert summary["seconds"].sum() == pytest.approx(total)
