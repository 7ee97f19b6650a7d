"""Paired differences cover the truth, and are sharper than unpaired ones."""

import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from pages import check_columns
from scipy.special import expit
from scipy.stats import binom, ttest_rel

from sparsebench import cli
from sparsebench.experiments.comparison import compare
from sparsebench.experiments.levels import NOT_MONOTONE
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.run.rows import Block, Outcome
from sparsebench.run.store import Store
from sparsebench.seeding import canonical
from sparsebench.statistics import fit_threshold, holm, mcnemar, threshold_difference
from sparsebench.statistics.measures import read_success
from sparsebench.types import InputError

OMP, HTP = choose_algorithms("omp,htp")
PROBLEM = canonical({"name": "gaussian", "version": "1", "options": {}, "seed": 0})


def correlated(rng, thetas, scale=2.0, shared=2.0, trials=150):
    """Rows of two algorithms whose dictionaries are hard or easy for both."""
    rows = []
    for trial, shift in enumerate(shared * rng.standard_normal(trials)):
        for name, theta in enumerate(thetas):
            for k in range(round(theta) - 5, round(theta) + 6, 2):
                rows.append((name, k, trial, rng.random() < expit((theta + shift - k) / scale)))
    frame = pd.DataFrame(rows, columns=["name", "k", "trial", "exact"])
    return [
        tuple(part[column].to_numpy() for column in ("k", "trial", "exact"))
        for _, part in frame.groupby("name")
    ]


def test_paired_intervals_cover_the_difference_and_are_shorter():
    rng = np.random.default_rng(2)
    covered, paired_widths, plain_widths = 0, [], []
    for _ in range(40):
        ours, others = correlated(rng, (33.0, 30.0))
        one, two = (fit_threshold(*rows, 0.5, 100) for rows in (ours, others))
        found = threshold_difference(one, two, ours, others)
        covered += found.lower <= 3.0 <= found.upper
        paired_widths.append(found.upper - found.lower)
        plain_widths.append(2 * np.hypot(one.half_width, two.half_width))
        assert found.correlation > 0.3
    # At a true coverage of .95 fewer than 35 of 40 have probability .014; the seed is fixed.
    assert covered >= 35
    assert np.mean(paired_widths) < 0.8 * np.mean(plain_widths)


def test_an_algorithm_does_not_differ_from_itself():
    rows, _ = correlated(np.random.default_rng(3), (30.0, 30.0), trials=40)
    fitted = fit_threshold(*rows, 0.5, 100)
    found = threshold_difference(fitted, fitted, rows, rows)
    assert (found.estimate, found.p_value) == (0.0, 1.0)
    assert found.correlation == pytest.approx(1.0)


def test_without_a_common_trial_the_difference_is_unpaired():
    (k, trial, exact), others = correlated(np.random.default_rng(4), (33.0, 30.0), trials=40)
    ours = (k, trial + 1000, exact)
    one, two = (fit_threshold(*rows, 0.5, 100) for rows in (ours, others))
    found = threshold_difference(one, two, ours, others)
    assert found.correlation == 0.0
    assert found.upper - found.lower == pytest.approx(2 * np.hypot(one.half_width, two.half_width))


def test_mcnemar_is_the_binomial_tail():
    assert mcnemar(9, 1) == pytest.approx(2 * binom.cdf(1, 10, 0.5))
    assert mcnemar(5, 5) == mcnemar(0, 0) == 1.0


def stored(rng, ks=(4, 5, 6), trials=30):
    """Rows as a store returns them: omp misses a share of each support, htp a larger one."""
    rows = []
    for chosen, shift in ((OMP, 0.0), (HTP, 0.2)):
        recipe = canonical({**chosen.recipe, "time_limit": 60.0})
        for k in ks:
            for trial in range(trials):
                distance = float(np.clip(rng.random() + shift - 0.4, 0, 1))
                rows.append((recipe, PROBLEM, 0, 20, 40, k, trial, distance, distance == 0))
    columns = "algorithm_recipe problem_recipe seed m n k trial support_distance exact".split()
    return pd.DataFrame(rows, columns=columns).assign(problem_label="gaussian", status="converged")


def test_distances_are_compared_on_the_same_instances():
    rows = stored(np.random.default_rng(5))
    found = compare(rows, OMP, [HTP], "distance", 60.0)
    assert list(found["k"]) == [4, 5, 6]
    for row in found.itertuples():
        one, two = (
            rows[(rows["k"] == row.k) & rows["algorithm_recipe"].str.contains(f'"{name}"')]
            for name in ("omp", "htp")
        )
        test = ttest_rel(one["support_distance"], two["support_distance"].to_numpy())
        interval = test.confidence_interval(0.95)
        assert row.difference == pytest.approx(
            one["support_distance"].mean() - two["support_distance"].mean()
        )
        assert (row.lower, row.upper) == pytest.approx((interval.low, interval.high))
        assert row.p_value == pytest.approx(test.pvalue)
        won = int((one["exact"].to_numpy() & ~two["exact"].to_numpy()).sum())
        assert (row.only_first, row.shared) == (won, 30)


def test_equal_distances_still_have_an_interval():
    rows = stored(np.random.default_rng(6)).assign(support_distance=0.25, exact=False)
    found = compare(rows, OMP, [HTP], "distance", 60.0)
    assert (found["difference"].abs() < 1e-12).all() and (found["p_value"] == 1.0).all()
    assert (found["lower"] < 0).all() and (found["upper"] > 0).all()


def test_what_is_not_in_the_store_is_said():
    rows = stored(np.random.default_rng(7), ks=(4,), trials=10)
    with pytest.raises(InputError, match="no rows of sea"):
        compare(rows, OMP, choose_algorithms("sea"), "distance", 60.0)
    with pytest.raises(InputError, match="no m with 40 solves each"):
        compare(rows, OMP, [HTP], "threshold", 60.0)


@pytest.mark.parametrize("text", ["f1>=.8", "relative_error<=1.5*noise", "no_missed"])
def test_any_success_at_any_level_is_compared(text):
    """As the exact support is, where the column `exact` holds what counts instead."""
    rng, success = np.random.default_rng(8), read_success(text)
    rows = stored(rng, ks=range(2, 12), trials=20)
    size = len(rows)
    noisy = {"problem_recipe": PROBLEM.replace('"options":{}', '"options":{"snr":20.0}')}
    rows = rows.assign(
        missed_indices=pd.array((rng.random(size) < rows["k"] / 14).astype(int), "Int64"),
        false_indices=pd.array(rng.integers(0, 2, size), "Int64"),
        relative_error=rows["k"] / 100 + 0.1 * rng.random(size),
        **noisy,
    )
    k, missed, false = (
        rows[name].astype(float) for name in ("k", "missed_indices", "false_indices")
    )
    won = {
        "f1>=.8": (k - missed) / (k + (false - missed) / 2) >= 0.8,
        "relative_error<=1.5*noise": rows["relative_error"] <= 0.15,
        "no_missed": missed == 0,
    }[text]
    found = compare(rows, OMP, [HTP], "threshold", 60.0, success, 0.9)
    same = compare(rows.assign(exact=won), OMP, [HTP], "threshold", 60.0, level=0.9)
    pd.testing.assert_frame_equal(found.drop(columns="success"), same)
    assert list(found["level"]) == [0.9, 0.5] and set(found["success"]) == {success.text}
    failed = rows.assign(status="error")
    alone = compare(failed, OMP, [HTP], "distance", 60.0, success)
    assert (alone[["only_first", "only_other"]] == 0).all(axis=None)


def test_rows_that_do_not_tell_are_not_compared():
    rows = stored(np.random.default_rng(9)).assign(
        missed_indices=1, false_indices=pd.array([None] * 180, "Int64")
    )
    with pytest.raises(InputError, match="computed before what no_false looks at"):
        compare(rows, OMP, [HTP], "distance", 60.0, read_success("no_false"))
    with pytest.raises(InputError, match="in units of the noise, and gaussian has none"):
        compare(
            rows.assign(relative_error=0.1),
            *(OMP, [HTP], "distance", 60.0, read_success("relative_error<2*noise")),
        )


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["sparsebench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.run()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call


def fill(folder, solved, *, problem="gaussian", ks=(4,), trials=45, limit=60.0, seed=0, **change):
    """Rows of omp and htp at m = 20, n = 40, exact where `solved(name, trial, k)`."""
    pairs = [(replace(chosen, **change), k) for chosen in (OMP, HTP) for k in ks]
    with Store(folder) as store:
        run = store.start_run("", {}, {})
        for trial in range(trials):
            exact = [bool(solved(chosen.name, trial, k)) for chosen, k in pairs]
            chosen_problem = choose_problem(problem)
            store.add(
                run,
                Block(chosen_problem, seed, 40, 20, trial, tuple(pairs), limit),
                [Outcome(1.0 - e, e, None, None, 1, "converged", "", 0.1) for e in exact],
            )


def omp_misses_two_and_htp_fifteen(name, trial, k):
    """Of 45: omp fails on 2 that htp solves, htp on 15 that omp solves, both on 3."""
    if name == "omp":
        return trial >= 5
    return not (trial < 3 or trial >= 30)


@pytest.mark.parametrize("by", ["distance", "threshold"])
def test_an_instance_counts_once(command, tmp_path, by):
    """McNemar's table by hand, though the folder holds the same instances under other keys."""
    fill(tmp_path, omp_misses_two_and_htp_fifteen)
    fill(tmp_path, omp_misses_two_and_htp_fifteen, limit=600.0)
    fill(tmp_path, omp_misses_two_and_htp_fifteen, version="an older one")
    code, _, err = command("compare", "omp", "htp", "--by", by, "--out", tmp_path)
    assert code == 0, err
    check_columns(tmp_path / f"comparison-{by}.csv")
    found = pd.read_csv(tmp_path / f"comparison-{by}.csv")
    assert (found["shared"] == 45).all()
    assert (found["only_first"] == 15).all() and (found["only_other"] == 2).all()
    expected = 2 * binom.cdf(2, 17, 0.5)
    np.testing.assert_allclose(found["p_mcnemar"], expected, rtol=1e-4)


def test_rows_of_another_limit_are_asked_for(command, tmp_path):
    fill(tmp_path, omp_misses_two_and_htp_fifteen, limit=600.0)
    fill(tmp_path, lambda name, trial, k: True, limit=30.0)
    compared = ("compare", "omp", "htp", "--by", "distance", "--out", tmp_path)
    code, _, err = command(*compared)
    assert code == 2 and "--time-limit 30, 600, not 60" in err and len(err.splitlines()) == 1
    assert command(*compared, "--time-limit", "600")[0] == 0
    found = pd.read_csv(tmp_path / "comparison-distance.csv").iloc[0]
    assert (found["only_first"], found["only_other"], found["shared"]) == (15, 2, 45)


def test_rows_of_an_older_version_are_not_compared(command, tmp_path):
    fill(tmp_path, omp_misses_two_and_htp_fifteen, version="0")
    code, _, err = command("compare", "omp", "htp", "--out", tmp_path)
    assert code == 2 and "of version 0, it has version" in err


def test_problems_are_named_with_their_options_and_seed(command, tmp_path):
    for problem, seed in (("gaussian", 0), ("gaussian[snr=20]", 0), ("gaussian", 1)):
        fill(tmp_path, omp_misses_two_and_htp_fifteen, problem=problem, seed=seed)
    code, out, _ = command("compare", "omp", "htp", "--by", "distance", "--out", tmp_path)
    assert code == 0
    assert set(pd.read_csv(tmp_path / "comparison-distance.csv")["problem"]) == {
        "gaussian",
        "gaussian[snr=20.0]",
    }
    titles = [line for line in out.splitlines() if "support distance: omp less htp" in line]
    assert len(titles) == len(set(titles)) == 3


def test_no_threshold_is_stated_where_there_is_none(command, tmp_path):
    """omp falls at 4, returns at 7 and falls at 10; htp falls once, at 7."""

    def solved(name, trial, k):
        return (k < 4 or 6 < k < 10) if name == "omp" else k < 7

    fill(tmp_path, solved, ks=range(1, 13))
    code, out, _ = command("compare", "omp", "htp", "--out", tmp_path)
    assert code == 0
    found = pd.read_csv(tmp_path / "comparison-threshold.csv")
    assert (found["first_without"] == NOT_MONOTONE).all()
    assert (
        found[["first_estimate", "difference", "lower", "upper", "p_value"]].isna().all(axis=None)
    )
    assert found["other_estimate"].between(5.9, 7.1).all() and found["other_without"].isna().all()
    assert f"none: omp at m = 20: {NOT_MONOTONE}" in out
    # The instances at k = 4, 5 and 6 are htp's alone, those at 7, 8 and 9 omp's.
    assert set(found["only_first"]) == set(found["only_other"]) == {3 * 45}


def test_no_threshold_is_stated_beyond_the_rows(command, tmp_path):
    """omp recovers all up to the last k; htp four in five from k = 1 on, as far as k = 3."""

    def solved(name, trial, k):
        return name == "omp" or (trial % 5 > 0 and k < 4)

    fill(tmp_path, solved, ks=range(1, 7))
    code, out, _ = command("compare", "omp", "htp", "--out", tmp_path)
    assert code == 0
    found = pd.read_csv(tmp_path / "comparison-threshold.csv").set_index("level")
    assert set(found["first_without"]) == {"beyond its rows, k = 1 to 6"}
    assert found["difference"].isna().all() and found["first_estimate"].isna().all()
    assert found["other_without"].isna().all() and "< 1" in out
    assert found.loc[0.95, "other_estimate"] < 1
    assert 2.5 < found.loc[0.5, "other_estimate"] < 4


def test_holm_is_the_closed_test_of_bonferroni():
    """Of every set of hypotheses that holds it, the largest Bonferroni p-value; NaN is no test."""
    rng = np.random.default_rng(8)
    for size in range(1, 7):
        given = rng.random(size) ** 3
        expected = [
            max(
                min(1.0, len(some) * min(given[list(some)]))
                for count in range(1, size + 1)
                for some in combinations(range(size), count)
                if i in some
            )
            for i in range(size)
        ]
        np.testing.assert_allclose(holm(given), expected, rtol=1e-12)
    found = holm([0.01, np.nan, 0.04])
    assert found[[0, 2]] == pytest.approx([0.02, 0.04]) and np.isnan(found[1])
    assert holm([]).size == 0


def test_one_verdict_is_adjusted_for_all_points(command, tmp_path):
    fill(tmp_path, omp_misses_two_and_htp_fifteen, ks=(4, 5, 6))
    compared = ("compare", "omp", "htp", "--by", "distance", "--out", tmp_path)
    code, out, err = command(*compared)
    assert code == 0, err
    found = pd.read_csv(tmp_path / "comparison-distance.csv")
    # Three equal tests: each is adjusted by three.
    np.testing.assert_allclose(found["p_holm"], 3 * found["p_value"], rtol=1e-5)
    expected = ttest_rel([0] * 15 + [1] * 5 + [0] * 25, [1] * 15 + [1] * 3 + [0] * 27).pvalue
    np.testing.assert_allclose(found["p_value"], expected, rtol=1e-5)
    assert "verdict over all 3 points: omp is ahead at 3, htp at 0" in out
    assert "by Holm for 3 tests" in out


def test_success_and_level_are_options(command, tmp_path):
    fill(tmp_path, lambda name, trial, k: k < (8 if name == "omp" else 7), ks=range(1, 13))
    compared = ("compare", "omp", "htp", "--out", tmp_path)
    code, out, err = command(*compared, "--success", "support_distance<.5", "--level", ".9")
    assert code == 0, err
    assert "k at 90%, support_distance<0.5: omp less htp" in out
    found = pd.read_csv(tmp_path / "comparison-threshold.csv")
    assert list(found["level"]) == [0.9, 0.5] and (found["only_first"] == 45).all()
    for words, said in (
        (["--success", "no_missed"], "were computed before what no_missed looks at"),
        (["--success", "f2>=.9"], "unknown measure"),
        (["--level", "1"], "between 0 and 1"),
        (["--level", ".9", "--by", "distance"], "leave out --by distance"),
    ):
        code, _, err = command(*compared, *words)
        assert code == 2 and said in err, err


def test_differences_are_printed_to_be_copied(command, tmp_path):
    """omp falls, returns and falls: it has no single point, which is no number."""

    def solved(name, trial, k):
        return (k < 4 or 6 < k < 10) if name == "omp" else k < 7

    fill(tmp_path, solved, problem="gaussian[snr=20]", ks=range(1, 13))
    compared = ("compare", "omp", "htp", "--out", tmp_path)
    code, out, err = command(*compared, "--markdown")
    assert code == 0, err
    header, rule, *rows = out.splitlines()
    assert header.startswith("| comparison | problem | m | n | level |")
    assert rule == "|" + "---|" * 8
    assert [row.split(" | ")[:6] for row in rows] == [
        ["| omp less htp", "gaussian[snr=20.0]", "20", "40", level, "no single point: not monotone"]
        for level in ("0.95", "0.5")
    ]
    code, out, err = command(*compared, "--latex")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == r"\begin{tabular}{llllllll}" and lines[-1] == r"\end{tabular}"
    assert lines[2].count("&") == lines[4].count("&") == 7 and lines[4].endswith(r"\\")
    assert r"95 \% interval" in lines[2]
    code, _, err = command(*compared, "--latex", "--markdown")
    assert code == 2 and "say one of" in err
    code, out, _ = command(*compared)
    assert "no single point, or one beyond the rows, at 2" in out
