"""What a row counts of an estimate, and success by it."""

import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.metrics import f1_score, precision_score, recall_score

from sparsebench.experiments import sampling
from sparsebench.experiments.phase_transition import PhaseTransition
from sparsebench.metrics import (
    index_errors,
    prediction_error,
    relative_error,
    relative_residual,
    support_distance,
)
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.run.engine import run
from sparsebench.run.store import Store
from sparsebench.run.successes import check_success, noise_ratio
from sparsebench.statistics.measures import MEASURES, Success, read_success, values_of
from sparsebench.types import InputError


def test_missed_and_false_indices_are_differences_of_sets():
    rng = np.random.default_rng(0)
    for _ in range(50):
        true, found = (rng.choice([0.0, -2.0, 1.0], 30, p=[0.6, 0.2, 0.2]) for _ in range(2))
        ours, theirs = (set(np.flatnonzero(values).tolist()) for values in (true, found))
        assert index_errors(true, found) == (len(ours - theirs), len(theirs - ours))
    assert index_errors([1j, 0, 2], [0, 1, 3]) == (1, 1)
    with pytest.raises(InputError, match="one shape"):
        index_errors([1.0], [1.0, 2.0])


@pytest.mark.parametrize("dtype", [float, complex])
def test_the_prediction_error_is_that_of_the_images(dtype):
    rng = np.random.default_rng(1)
    A, true, found = (rng.standard_normal(size).astype(dtype) for size in ((4, 7), 7, 7))
    if dtype is complex:
        A = A + 1j * rng.standard_normal(A.shape)
    own = [sum(A[i, j] * (found - true)[j] for j in range(7)) for i in range(4)]
    whole = [sum(A[i, j] * true[j] for j in range(7)) for i in range(4)]
    expected = np.sqrt(sum(abs(v) ** 2 for v in own) / sum(abs(v) ** 2 for v in whole))
    assert prediction_error(A, true, found) == pytest.approx(expected, rel=1e-12)
    # Without noise y = A x.
    assert relative_residual(A, A @ true, found) == pytest.approx(expected, rel=1e-12)
    assert prediction_error(A, true, true) == 0.0
    assert prediction_error(1e200 * A, true, 3 * true) == pytest.approx(2.0)


def test_of_an_x_without_an_image_the_prediction_error_is_nothing_or_infinite():
    A = np.array([[1.0, 1.0, 0.0]])
    assert prediction_error(A, [1.0, -1.0, 0.0], [2.0, -2.0, 5.0]) == 0.0
    assert prediction_error(A, [1.0, -1.0, 0.0], [2.0, -1.0, 0.0]) == np.inf


def supports(rng, n=30):
    """Two random supports as 0 and 1, the first not empty."""
    true, found = rng.random((2, n)) < rng.random((2, 1))
    true[rng.integers(n)] = True
    return true, found


def columns_of(pairs):
    """What rows of these pairs of supports hold."""
    counts = [(t.sum(), (t & ~f).sum(), (f & ~t).sum()) for t, f in pairs]
    k, missed, false = np.array(counts, float).T
    return {"k": k, "missed_indices": missed, "false_indices": false}


@pytest.mark.parametrize(
    ("measure", "of"),
    [
        ("f1", lambda t, f: f1_score(t, f)),
        ("precision", lambda t, f: precision_score(t, f, zero_division=0)),
        ("recall", lambda t, f: recall_score(t, f)),
        ("size_error", lambda t, f: abs(int(f.sum()) - int(t.sum()))),
    ],
)
def test_measures_of_supports_are_scikit_learns(measure, of):
    rng = np.random.default_rng(2)
    pairs = [supports(rng) for _ in range(100)] + [(np.eye(3)[0] > 0, np.zeros(3, bool))]
    found = values_of(measure, columns_of(pairs), np.zeros(len(pairs), bool))
    np.testing.assert_allclose(found, [of(*pair) for pair in pairs], rtol=1e-12)


def test_a_failure_counts_as_an_estimate_of_zero_and_never_as_a_success():
    zero = np.zeros(9)
    true = np.arange(9.0) % 3
    nan = np.nan
    columns = {
        "k": [6.0],
        "exact": [0.0],
        **{name: [nan] for name in ("missed_indices", "false_indices", "near_1", "near_2")},
        **{name: [nan] for name in ("relative_error", "prediction_error", "support_distance")},
    }
    estimate = columns_of([(true != 0, zero != 0)]) | {
        "exact": [0.0],
        **{name: [relative_error(true, zero)] for name in ("relative_error", "prediction_error")},
        **{
            name: [support_distance(true, zero)]
            for name in ("support_distance", "near_1", "near_2")
        },
    }
    for name, measure in MEASURES.items():
        lost, empty = (values_of(name, given, [given is columns]) for given in (columns, estimate))
        assert lost == empty, name
        for compared in ("<", ">") if measure.values else ("",):
            assert Success(name, compared, 1e9).of(columns, [True]) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exact", Success()),
        (" f1>=.9", Success("f1", ">=", 0.9)),
        ("relative_error < 1e-3", Success("relative_error", "<", 1e-3)),
        ("relative_error<=2*noise", Success("relative_error", "<=", 2.0, True)),
        ("nmse<-40", Success("nmse", "<", -40.0)),
        ("false<=2", Success("false", "<=", 2.0)),
    ],
)
def test_an_expression_is_read_and_written(text, expected):
    assert read_success(text) == expected
    assert read_success(expected.text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is a measure and its level"),
        ("f1>=.9 and exact", "is a measure and its level"),
        ("__import__('os')", "is a measure and its level"),
        ("f2>=.9", "unknown measure 'f2'.*'f1'"),
        ("f1", "f1 takes a level, as f1>=.9"),
        ("f1>=1.5", "f1 is from 0 to 1"),
        ("f1>=nan", "f1 is from 0 to 1"),
        ("f1>=x", "f1 is from 0 to 1"),
        ("relative_error<-1", "relative_error is at least 0"),
        ("relative_error<inf", "relative_error is at least 0"),
        ("nmse<inf", "nmse is a number of dB"),
        ("exact>=1", "exact is met or not"),
        ("f1>=.5*noise", "not in units of the noise"),
        ("f1==.9", "is a measure and its level"),
    ],
)
def test_an_expression_that_says_nothing_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        read_success(text)


def test_levels_are_in_units_of_the_noise():
    columns = {"relative_error": [0.19, 0.2, 0.21]}
    met = read_success("relative_error<=2*noise")
    ratio = noise_ratio({"snr": 20.0})
    assert ratio == pytest.approx(0.1)
    assert met.of(columns, [False] * 3, ratio).tolist() == [1, 1, 0]
    check_success(met, choose_problem("gaussian[snr=20]"))
    with pytest.raises(InputError, match=r"gaussian has none.*-p 'gaussian\[snr=30\]'"):
        check_success(met, choose_problem("gaussian"))


@pytest.mark.parametrize(
    "text", ["f1>=.9", "f1<.5", "precision>=.8", "false<=1", "size_error<=1", "no_false", "exact"]
)
def test_older_rows_are_told_where_no_count_of_false_indices_matters(text):
    """Against every number of them that a row may have had: at most as many as it missed."""
    met = read_success(text)
    k, missed = (part.ravel() for part in np.meshgrid(np.arange(1, 13), np.arange(13)))
    k, missed = k[missed <= k], missed[missed <= k]
    kept = {"k": k, "missed_indices": missed, "exact": missed == 0}
    found = met.of(kept | {"false_indices": np.full(k.size, np.nan)}, np.zeros(k.size, bool))
    told = 0
    for own, lost, one in zip(k, missed, found, strict=True):
        false = np.arange(lost + 1)
        columns = {
            name: np.full(false.size, value)
            for name, value in (("k", own), ("missed_indices", lost), ("exact", lost == 0))
        }
        every = met.of(columns | {"false_indices": false}, np.zeros(false.size, bool))
        assert one == every[0] if len(set(every)) == 1 else np.isnan(one)
        told += one == one
    assert 0 < told and (told < k.size or text == "exact")


SETTINGS = {"max_trials": 30, "grid": 0, "seed": 0, "time_limit": 60.0}


def diagram(success="exact", levels=(0.95, 0.5), **settings):
    return PhaseTransition(
        choose_algorithms("omp,htp"),
        choose_problem("gaussian[snr=30]"),
        n=32,
        ms=[10, 16],
        half_widths=dict.fromkeys(levels, 2.0),
        success=read_success(success),
        **(SETTINGS | settings),
    )


def execute(folder, experiment, retry=()):
    quiet = Console(stderr=True, quiet=True)
    with Store(folder) as store:
        how = {"workers": 1, "command": "", "environment": {}, "console": quiet, "retry": retry}
        return experiment, run(experiment, store, **how)


def rates(folder, met):
    """Success by (algorithm, m, k) from the frame of a store, by hand."""
    with Store(folder, writable=False) as store:
        rows = store.frame()
    return rows.assign(won=met(rows)).groupby(["algorithm", "m", "k"], observed=True)["won"].mean()


@pytest.mark.parametrize(
    ("text", "by_hand"),
    [
        ("f1>=.75", lambda r: 2 * (r.k - r.missed_indices) / (2 * r.k - r.missed_indices
                                                             + r.false_indices) >= 0.75),
        ("relative_error<1.5*noise", lambda r: r.relative_error < 1.5 * 10**-1.5),
        ("exact", lambda r: r.exact),
    ],
)  # fmt: skip
@pytest.mark.parametrize("grid", [0, 5])
def test_a_diagram_counts_the_successes_it_is_asked_for(tmp_path, text, by_hand, grid):
    experiment, _ = execute(tmp_path, diagram(text, grid=grid))
    cells = experiment.cells().set_index(["algorithm", "m", "k"])["estimate"]
    expected = rates(tmp_path, by_hand)
    assert 0 < expected.mean() < 1
    for key, rate in cells.items():
        assert rate == pytest.approx(expected[key])
    assert ("success" in experiment.thresholds()) == (text != "exact")


def test_decisions_are_kept_by_what_counts_as_success(tmp_path, monkeypatch):
    first, _ = execute(tmp_path, diagram())
    other, _ = execute(tmp_path, diagram("f1>=.75"))
    assert not first.cells()["estimate"].equals(other.cells()["estimate"])
    fits = []
    fit = sampling.fit_threshold
    monkeypatch.setattr(sampling, "fit_threshold", lambda *a: fits.append(a) or fit(*a))
    for experiment, text in ((first, "exact"), (other, "f1>=.75")):
        again, found = execute(tmp_path, diagram(text))
        pd.testing.assert_frame_equal(again.thresholds(), experiment.thresholds())
        assert found.computed == 0
    assert not fits
    execute(tmp_path, diagram(levels=(0.9, 0.5)))
    assert fits
    # A row that counts otherwise now: its decision is not taken up.
    fits.clear()
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection, connection:
        connection.execute("UPDATE rows SET false_indices = 30 WHERE m = 16 AND missed_indices = 0")
    execute(tmp_path, diagram())
    assert not fits
    execute(tmp_path, diagram("f1>=.75"))
    assert fits


def test_a_store_without_the_counts_answers_what_it_can(tmp_path):
    """What recall is made of is derived; few rows tell whether an index is false; it is said."""
    _, first = execute(tmp_path, diagram("recall>=.75"))
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection, connection:
        connection.executescript(
            "ALTER TABLE rows DROP COLUMN missed_indices;"
            "ALTER TABLE rows DROP COLUMN false_indices;"
            "ALTER TABLE rows DROP COLUMN prediction_error; UPDATE format SET version = 4"
        )
    _, again = execute(tmp_path, diagram("recall>=.75"))
    assert (again.computed, again.found) == (0, first.computed)
    with pytest.raises(InputError, match=r"\d+ rows of gaussian\[snr=30.0\] were.*--retry older"):
        execute(tmp_path, diagram("no_false"))
    _, anew = execute(tmp_path, diagram("no_false"), retry=["older"])
    assert anew.computed > 0
    execute(tmp_path, diagram("no_false"))
