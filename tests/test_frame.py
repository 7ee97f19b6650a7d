"""A frame of a store holds what a cursor reads row by row, and its export what pandas writes."""

import gzip
import io
import json
import sqlite3

import numpy as np
import pandas as pd
import pytest

from sparsebench import problems, solvers  # noqa: F401 (they fill the registry)
from sparsebench.experiments.comparison import columns_for, compare
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.run import pages
from sparsebench.run.export import write_rows
from sparsebench.run.frames import COLUMNS, plain_columns
from sparsebench.run.pages import read_columns
from sparsebench.run.rows import Block, Outcome
from sparsebench.run.store import Store, algorithm_recipe
from sparsebench.statistics.measures import EXACT
from sparsebench.types import InputError

JOINED = (
    "SELECT a.name AS algorithm, a.recipe AS algorithm_recipe, p.name AS problem, "
    "p.label AS problem_label, p.recipe AS problem_recipe, p.seed AS seed, r.m, r.n, r.k, r.trial, "
    "r.support_distance, r.exact, r.relative_error, r.relative_residual, r.n_iter, r.status, "
    "r.message, r.seconds, r.stages, r.near_1, r.near_2, "
    "r.missed_indices, r.false_indices, r.prediction_error, r.run "
    "FROM rows r, algorithms a, problems p WHERE a.id = r.algorithm AND p.id = r.problem"
)
ALGORITHMS = choose_algorithms("sp,omp,htp,sea,htp[max_iter=7]")
MESSAGES = ("", 'a, "b"', "two\nlines", "x\ry", "é ✓ 𝄞", "long " * 3000, " spaced ", "nul\0 inside")
NUMBERS = (0.0, 1.0, -1.0, 3.0e15, 0.1, 1e-17, 1.5e300, float("inf"), 127.0, 128.0, 2.0**40, 1 / 3)


def outcome(rng, unlike):
    """A row of all kinds of values; `unlike` makes every text its own."""

    def number():
        return (
            None
            if rng.random() < 0.2
            else float(rng.choice(NUMBERS) * rng.choice([1, rng.random()]))
        )

    stages = json.dumps([["omp", 3, rng.random()], ["sea", 4, rng.random()]])
    return Outcome(
        support_distance=float(rng.integers(0, 5) / 4),
        exact=bool(rng.random() < 0.5),
        relative_error=number(),
        relative_residual=number(),
        n_iter=None if rng.random() < 0.3 else int(rng.integers(0, 2) * 2 ** rng.integers(0, 62)),
        status=str(rng.choice(["converged", "cycle", "error"])),
        message=str(rng.choice(MESSAGES)) if unlike else "",
        seconds=number(),
        stages=stages if unlike and rng.random() < 0.5 else "",
        near_1=number(),
        near_2=number(),
        missed_indices=None if rng.random() < 0.3 else int(rng.integers(0, 300)),
        false_indices=None if rng.random() < 0.3 else int(rng.integers(0, 70_000)),
        prediction_error=number(),
    )


def fill(store, rng, trials=25, unlike=True):
    """Several problems, seeds, sizes, time limits, algorithms and runs, in an order of no kind."""
    chosen = [choose_problem(name) for name in ("gaussian", "deconvolution", "gaussian[snr=20]")]
    for problem, seed, limit in [
        (chosen[2], 2**40, 60.0),
        (chosen[0], 1, 60.0),
        (chosen[1], 0, 60.0),
        (chosen[0], 0, 5.0),
    ]:
        run = store.start_run("test", {}, {})
        for trial in rng.permutation(trials).tolist():
            some = rng.permutation(len(ALGORITHMS))[: rng.integers(1, 6)]
            pairs = tuple((ALGORITHMS[i], k) for i in some for k in (1, 300, 2))
            block = Block(problem, seed, 70_000, 300 + trial % 2, trial, pairs, limit)
            store.add(run, block, [outcome(rng, unlike) for _ in pairs])


def row_by_row(store):
    """The rows as a plain join reads them, sorted in Python."""
    connection = sqlite3.connect(store.path)
    connection.row_factory = sqlite3.Row
    rows = [dict(row) for row in connection.execute(JOINED)]
    connection.close()
    key = ("problem_recipe", "n", "m", "algorithm_recipe", "k", "trial")
    return sorted(rows, key=lambda row: [row[name] for name in key])


def same(frame, rows):
    assert len(frame) == len(rows)
    for name in frame:
        ours = [None if pd.isna(value) else value for value in frame[name]]
        assert ours == [row[name] for row in rows], name


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        fill(opened, np.random.default_rng(0))
        yield opened


def test_a_frame_holds_what_a_join_reads_row_by_row(store):
    rows = row_by_row(store)
    frame = store.frame()
    assert list(frame) == list(rows[0]) == list(COLUMNS)
    assert len(rows) > 600
    for name in ("n_iter", "seconds", "near_1", "relative_error", "false_indices"):
        assert 0 < frame[name].isna().sum() < len(frame)
    same(frame, rows)
    assert frame.index.equals(pd.RangeIndex(len(rows)))


def test_no_column_is_of_objects_and_texts_are_sorted_categories(store):
    frame = store.frame()
    kinds = frame.dtypes.astype(str).to_dict()
    texts = {"algorithm", "algorithm_recipe", "problem", "problem_label", "problem_recipe"}
    texts |= {"status", "message", "stages"}
    whole = {"seed", "m", "n", "k", "trial", "run"}
    assert kinds == {
        **dict.fromkeys(frame, "float64"),
        **dict.fromkeys(texts, "category"),
        **dict.fromkeys(whole, "int64"),
        "exact": "bool",
        **dict.fromkeys(["n_iter", "missed_indices", "false_indices"], "Int64"),
    }
    for name in texts:
        assert list(frame[name].cat.categories) == sorted(set(frame[name]))
    spelled = plain_columns(frame)
    assert not [name for name in spelled if spelled[name].dtype == object]


def test_asked_columns_and_algorithms_alone_are_read(store, monkeypatch):
    rows = row_by_row(store)
    names = ["seconds", "algorithm", "k", "message"]
    some = store.frame(names)
    assert list(some) == names
    same(some, rows)
    recipes = [algorithm_recipe(ALGORITHMS[1], 60.0), algorithm_recipe(ALGORITHMS[4], 5.0)]
    theirs = [row for row in rows if row["algorithm_recipe"] in recipes]
    assert {row["algorithm_recipe"] for row in theirs} == set(recipes)
    same(store.frame(algorithms=[*recipes, "unknown"]), theirs)
    same(store.frame(["k", "exact"], recipes), theirs)
    assert store.frame(algorithms=["unknown"]).empty
    read = {}

    def watched(*args):
        found = read_columns(*args)
        read.update({name: len(column.values) for name, column in found.items()})
        return found

    monkeypatch.setattr("sparsebench.run.frames.read_columns", watched)
    store.frame(["exact"], recipes)
    key = {"problem", "n", "m", "trial", "algorithm", "k"}
    assert read == dict.fromkeys({*key, "exact"}, len(theirs))


def test_an_empty_store_has_the_same_columns(tmp_path):
    with Store(tmp_path) as empty:
        frame = empty.frame()
        assert frame.empty
        assert list(frame) == list(COLUMNS)
        assert not [name for name in frame if frame[name].dtype == object]
        write_rows(plain_columns(frame), tmp_path / "rows.csv")
    assert pd.read_csv(tmp_path / "rows.csv").shape == (0, 28)


def test_rows_in_the_log_of_an_open_writer_are_read(tmp_path):
    with Store(tmp_path) as writer, Store(tmp_path, writable=False) as reader:
        fill(writer, np.random.default_rng(1), trials=3)
        assert (tmp_path / "results.db-wal").stat().st_size > 0
        same(reader.frame(), row_by_row(writer))
        fill(writer, np.random.default_rng(2), trials=6)
        same(reader.frame(), row_by_row(writer))
        same(writer.frame(), row_by_row(writer))


class Copied(sqlite3.Connection):
    """A library without `serialize`, or a file too large for it."""

    def serialize(self, *, name="main"):
        raise sqlite3.OperationalError("unable to serialize 'main'")


@pytest.mark.parametrize(
    ("page", "length", "factory"),
    [(512, 900, sqlite3.Connection), (4096, 9_000, Copied), (65536, 140_000, sqlite3.Connection)],
)
def test_pages_of_all_sizes_hold_what_a_cursor_reads(page, length, factory, tmp_path):
    """Integers of all lengths, reals stored as integers, NULLs, texts over several pages."""
    connection = sqlite3.connect(tmp_path / "some.db", factory=factory)
    connection.execute(f"PRAGMA page_size = {page}")
    connection.execute(
        "CREATE TABLE t (free INTEGER, word TEXT NOT NULL, b INTEGER, a INTEGER, x REAL, "
        "PRIMARY KEY (a, b)) WITHOUT ROWID"
    )
    rng = np.random.default_rng(page)
    rows = []
    for i in range(3000):
        free = None if i % 7 == 0 else int(rng.integers(-1, 2) * (2 ** rng.integers(0, 63) - i % 3))
        word = "é,x"[i % 3] * int(rng.integers(0, 30 if i % 100 else length)) + str(i % 5)
        x = None if i % 11 == 0 else float(rng.choice(NUMBERS))
        rows.append((free, word, int(rng.integers(2**40)), i % 300, x))
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
    connection.execute("ALTER TABLE t ADD COLUMN late REAL")
    connection.execute("UPDATE t SET late = 0.5 WHERE a = 3")
    connection.commit()
    names = ["a", "b", "free", "word", "x", "late"]
    for where, among in ((None, None), ("a", [3, 17])):
        found = read_columns(connection, "t", names, *([where, among] if where else []))
        ours = zip(*map(plain, found.values()), strict=True)
        condition = f" WHERE {where} IN (3, 17)" if where else ""
        theirs = connection.execute(f"SELECT {', '.join(names)} FROM t{condition}").fetchall()
        assert sorted(ours, key=lambda row: row[:2]) == sorted(theirs, key=lambda row: row[:2])
    connection.close()


def plain(column):
    if column.texts is not None:
        return [column.texts[code] for code in column.values.tolist()]
    values = zip(column.values.tolist(), column.missing.tolist(), strict=True)
    return [None if missing else value for value, missing in values]


@pytest.mark.parametrize("unlike", [True, False])
def test_a_csv_is_what_pandas_writes_of_the_rows(unlike, tmp_path, monkeypatch):
    monkeypatch.setattr("sparsebench.run.export._ROWS", 100)
    monkeypatch.setattr("sparsebench.run.export._MOST", 20)
    with Store(tmp_path) as store:
        fill(store, np.random.default_rng(3), unlike=unlike)
        frame, rows = store.frame(), pd.DataFrame(row_by_row(store), dtype=object)
    recipes = {
        kind: rows.pop(f"{kind}_recipe").map(json.loads) for kind in ("algorithm", "problem")
    }
    for kind, found in recipes.items():
        rows[f"{kind}_options"] = [json.dumps(recipe["options"]) for recipe in found]
        rows[f"{kind}_version"] = [recipe["version"] for recipe in found]
        if kind == "algorithm":
            rows["time_limit"] = [recipe["time_limit"] for recipe in found]
    rows["exact"] = rows["exact"].astype(bool)
    write_rows(plain_columns(frame), tmp_path / "rows.csv")
    written = (tmp_path / "rows.csv").read_bytes()
    text = io.BytesIO()
    rows.to_csv(text, index=False)
    assert written == text.getvalue()
    write_rows(plain_columns(store_frame(tmp_path)), tmp_path / "rows.csv.gz")
    assert gzip.decompress((tmp_path / "rows.csv.gz").read_bytes()) == written


def store_frame(folder):
    with Store(folder, writable=False) as store:
        return store.frame()


def test_parquet_returns_the_frame(store, tmp_path):
    pytest.importorskip("pyarrow")
    frame = plain_columns(store.frame())
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "rows.parquet"), frame)


def test_a_comparison_of_its_rows_alone_is_that_of_all(tmp_path):
    omp, htp, sp = choose_algorithms("omp,htp,sp")

    def solved(exact):
        return Outcome(0.0 if exact else 0.5, exact, 0.0, 0.0, 1, "converged", "", 0.0)

    rng = np.random.default_rng(4)
    with Store(tmp_path) as store:
        run = store.start_run("test", {}, {})
        for seed in (0, 1):
            for trial in range(80):
                pairs = tuple((a, k) for a in (omp, htp, sp) for k in (4, 8, 12))
                outcomes = []
                for chosen, k in pairs:
                    exact = bool(rng.random() < 1 / (1 + np.exp(k - 8 + 2 * (chosen == htp))))
                    outcomes.append(solved(exact))
                block = Block(choose_problem("gaussian"), seed, 60, 30, trial, pairs, 60.0)
                store.add(run, block, outcomes)
        recipes = [algorithm_recipe(one, 60.0) for one in (omp, htp)]
        some, everything = store.frame(columns_for(EXACT), recipes), pd.DataFrame(row_by_row(store))
        everything["exact"] = everything["exact"].astype(bool)
        for by in ("threshold", "distance"):
            ours = compare(some, omp, [htp], by, 60.0)
            assert len(ours) > 0
            pd.testing.assert_frame_equal(ours, compare(everything, omp, [htp], by, 60.0))
        # The others are named, though none of their rows is read.
        limited = store.frame(columns_for(EXACT), [algorithm_recipe(one, 5.0) for one in (omp, sp)])
        assert limited.empty
        with pytest.raises(InputError, match="are of --time-limit 60, not 5"):
            compare(limited, omp, [sp], "threshold", 5.0)


def test_a_record_shorter_than_its_padded_header_at_the_end_of_the_file_is_read():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT) WITHOUT ROWID")
    connection.execute("INSERT INTO t VALUES (5, 'x')")
    connection.commit()
    found = read_columns(connection, "t", ["a", "b"])
    assert list(zip(*map(plain, found.values()), strict=True)) == [(5, "x")]
    connection.close()


def test_a_zero_with_a_sign_and_a_number_that_is_not_known_are_written_as_pandas_does(tmp_path):
    frame = pd.DataFrame({"x": [0.0, -0.0, np.nan, -0.0], "exact": [True, False, True, True]})
    write_rows(frame, tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_bytes() == frame.to_csv(index=False).encode()


def test_rows_that_are_not_met_are_an_error(store, monkeypatch):
    records = pages._records
    monkeypatch.setattr(pages, "_records", lambda *a: [(d, at[1:]) for d, at in records(*a)])
    with pytest.raises(sqlite3.DatabaseError, match="rows of the table rows can be read"):
        store.frame()
