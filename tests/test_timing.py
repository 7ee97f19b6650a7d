"""Timing: the arithmetic of its table, on algorithms that say themselves what they took."""

import dataclasses
import sys
import time

import numpy as np
import pandas as pd
import pytest
from pages import check_columns

import sparsebench
from sparsebench import cli, registry
from sparsebench.experiments import timing, workloads
from sparsebench.experiments.workloads import Workload
from sparsebench.registry import algorithm, choose_algorithms, flops, get_algorithm
from sparsebench.report import tables
from sparsebench.types import InputError, Result, Status

TINY = Workload("tiny", "gaussian", 12, 20, 2, instances=2)
MANY = Workload("many", "gaussian[columns=unit]", 12, 20, 2, instances=1, signals=8)
RATE = 1e6


@pytest.fixture(autouse=True)
def small_and_clean(monkeypatch):
    monkeypatch.setattr(workloads, "WORKLOADS", (TINY, MANY))
    monkeypatch.setattr(timing, "dgemm_rate", lambda: RATE)
    known = set(registry.ALGORITHMS)
    yield
    for name in set(registry.ALGORITHMS) - known:
        del registry.ALGORITHMS[name]
    registry.plugins._load_plugin.cache_clear()


def fake(name, seconds, x=None, **about):
    """Register an algorithm that took what it says: peers state their own seconds."""
    stated = iter(seconds) if isinstance(seconds, list) else iter(lambda: seconds, None)
    about = {"family": "peer", "source": "doi:0"} | about

    @algorithm(name, **about)
    def solver(dictionary, y, k, *, start=None):
        found = np.zeros(dictionary.shape[1]) if x is None else x(dictionary, y, k)
        return Result(found, 3, Status.CONVERGED, next(stated))

    return solver


def table(*names, workload=TINY, **options):
    rows = timing.run(choose_algorithms(",".join(names)), [workload], **options)
    return rows.set_index("name")


def test_the_median_of_turns_its_quartiles_and_the_ratios(monkeypatch):
    monkeypatch.setattr(timing, "PEERS", {"ours": ("slow-peer", "quick-peer", "absent")})
    # The first is spent on compiling.
    fake("ours", [9.0, 1.0, 2.0, 3.0, 4.0, 5.0], cost="2*n*k + m**2/4")
    fake("quick-peer", 1.5)
    fake("slow-peer", 7.5)
    rows = table("ours", "quick-peer", "slow-peer", repeats=5, budget=1e3)
    ours = rows.loc["ours"]
    assert (ours["lower_quartile"], ours["seconds"], ours["upper_quartile"]) == (2.0, 3.0, 4.0)
    assert ours["turns"] == 5
    assert ours["peer"] == "quick-peer"
    assert ours["over_peer"] == 2.0
    floor = 3 * (2 * 20 * 2 + 12**2 / 4) / RATE
    assert ours["iterations"] == 3
    assert ours["floor"] == pytest.approx(floor)
    assert ours["over_floor"] == pytest.approx(3.0 / floor)
    assert ours["alone"] == 3.0  # it shares nothing
    peer = rows.loc["quick-peer"]
    assert np.isnan(peer["floor"])
    assert np.isnan(peer["over_peer"])
    assert peer["peer"] == ""
    assert list(rows.index) == ["quick-peer", "ours", "slow-peer"]


def test_a_peer_that_needs_no_gram_matrix_is_compared_alone(monkeypatch):
    monkeypatch.setattr(timing, "PEERS", {"ours": ("with-gram", "without")})
    fake("ours", [9.0, 1.0, 8.0], shares=("gram",))
    fake("with-gram", [9.0, 2.0, 16.0], shares=("gram",))
    fake("without", 4.0)
    ours = table("ours", "with-gram", "without", repeats=1, budget=1e3).loc["ours"]
    assert (ours["peer"], ours["over_peer"]) == ("with-gram", 0.5)
    assert (ours["alone_peer"], ours["alone_over_peer"]) == ("without", 2.0)


def test_a_turn_of_short_solves_counts_its_fastest():
    fake("short", [9.0, 5e-3, 4e-3, 1e-3, 6e-3, 7e-3, 0.5, 8e-3])
    rows = table("short", repeats=2, budget=1e3)
    # Five solves, since four stay under 20 ms; then one, which does not.
    assert rows.loc["short", "seconds"] == pytest.approx(np.median([1e-3, 0.5]))


def test_a_chain_costs_the_sum_over_its_stages():
    fake("first", 1.0, cost="10*n")
    fake("second", 0.5, cost="m")
    row = table("first+second", repeats=1, budget=1e3).iloc[0]
    assert row["seconds"] == 1.5
    assert row["iterations"] == 6
    assert row["floor"] == pytest.approx((3 * 200 + 3 * 12) / RATE)


def test_a_chain_with_a_stage_of_unknown_cost_has_no_floor():
    fake("first", 1.0, cost="10*n")
    fake("second", 0.5)
    assert np.isnan(table("first+second", repeats=1, budget=1e3).iloc[0]["floor"])


def test_what_was_found_is_compared_with_what_was_planted():
    def half(dictionary, y, k):
        x = sparsebench.solve("omp", dictionary, y, k).x
        support = np.flatnonzero(x)
        empty = np.flatnonzero(x == 0)[0]
        x[support[0]], x[empty] = 0.0, 1e-3
        return x

    fake("nothing", 1e-4)
    fake("half", 1e-4, x=half)
    easy = Workload("easy", "gaussian", 40, 50, 2, instances=2)
    rows = table("omp", "nothing", "half", workload=easy, repeats=2, budget=1e3)
    assert tuple(rows.loc["omp", ["exact", "distance"]]) == (1.0, 0.0)
    assert rows.loc["omp", "residual"] < 1e-12
    assert tuple(rows.loc["nothing", ["exact", "distance", "residual"]]) == (0.0, 1.0, 1.0)
    assert tuple(rows.loc["half", ["exact", "distance"]]) == (0.0, 0.5)
    assert 0.01 < rows.loc["half", "residual"] < 1


def test_the_gram_matrix_is_at_hand_or_counts():
    seen = []

    def look(dictionary, y, k):
        seen.append("gram" in vars(dictionary))
        return np.zeros(20)

    fake("reader", [9.0, 1.0, 4.0], x=look, shares=("gram",))
    row = table("reader", repeats=1, budget=1e3).iloc[0]
    assert seen[1:] == [True, False]
    assert (row["seconds"], row["alone"]) == (1.0, 4.0)


def test_every_algorithm_has_a_turn_in_every_round_in_an_order_of_the_seed():
    order = []

    def note(name):
        def x(dictionary, y, k):
            order.append((name, float(y[0])))
            return np.zeros(20)

        return x

    for name in "abcdef":
        fake(name, 1.0, x=note(name))
    orders = []
    for seed in (1, 1, 2):
        order.clear()
        table(*"abcdef", repeats=3, budget=1e3, seed=seed)
        rounds = [order[6 + 6 * r : 12 + 6 * r] for r in range(3)]
        assert [{name for name, _ in one} for one in rounds] == [set("abcdef")] * 3
        assert [len({y for _, y in one}) for one in rounds] == [1, 1, 1]
        assert rounds[0][0][1] == rounds[2][0][1] != rounds[1][0][1]
        orders.append([name for one in rounds for name, _ in one])
    assert orders[0] == orders[1] != orders[2]


def test_errors_are_rows_with_their_message():
    def fail(dictionary, y, k):
        raise ZeroDivisionError("no luck\ntoday")

    fake("broken", 1.0, x=fail)
    rows = table("broken", "omp", repeats=2)
    broken = rows.loc["broken"]
    assert broken["errors"] == 2
    assert broken["message"] == "ZeroDivisionError: no luck today"
    assert (broken["turns"], broken["exact"], broken["distance"]) == (0, 0.0, 1.0)
    assert np.isnan(broken["seconds"])
    assert rows.loc["omp", "turns"] == 2
    assert rows.index[-1] == "broken"


def test_a_diverged_solve_found_nothing():
    @algorithm("wild", family="thresholding", source="doi:0")
    def wild(dictionary, y, k):
        return Result(np.full(20, np.nan), 4, Status.DIVERGED)

    row = table("wild", repeats=2).iloc[0]
    assert (row["exact"], row["distance"], row["errors"]) == (0.0, 1.0, 0)
    assert np.isnan(row["residual"])


def test_a_slow_algorithm_has_fewer_turns_and_an_endless_one_is_stopped():
    def compute(seconds):
        def x(dictionary, y, k):
            until = time.process_time() + seconds
            while time.process_time() < until:
                pass
            return np.zeros(20)

        return x

    fake("slow", 0.4, x=compute(0.4))
    fake("endless", 3.0, x=compute(3.0))
    rows = table("slow", "endless", "omp", repeats=5, budget=1.0)
    assert 1 <= rows.loc["slow", "turns"] <= 3
    assert rows.loc["omp", "turns"] == 5
    assert rows.loc["endless", "turns"] == 0
    assert rows.loc["endless", "message"] == "stopped after 1 s of CPU time"
    assert rows.loc["endless", "errors"] == 1


def test_many_signals_are_timed_each_and_only_as_many_as_the_budget_allows():
    fake("quick", 0.5)
    fake("slow", 2.0)
    rows = table("quick", "slow", "omp", workload=MANY, repeats=1, budget=10.0)
    assert tuple(rows.loc["quick", ["signals", "seconds"]]) == (8, 0.5)
    assert tuple(rows.loc["slow", ["signals", "seconds"]]) == (2, 2.0)
    assert rows.loc["omp", "signals"] == 8
    assert rows.loc["omp", "distance"] < 0.5


def test_a_peer_that_takes_a_matrix_is_given_one(monkeypatch):
    shapes = []

    def together(name, dictionary, signals, k, **options):
        shapes.append((name, signals.shape))
        return Result(
            np.zeros((20, signals.shape[1])),
            np.ones(signals.shape[1], dtype=int),
            (Status.CONVERGED,) * signals.shape[1],
            0.25,
        )

    fake("matrix", 1.0)
    monkeypatch.setattr(timing, "TOGETHER", {"matrix"})
    monkeypatch.setattr(timing, "solve_together", together)
    row = table("matrix", workload=MANY, repeats=1, budget=10.0).iloc[0]
    assert shapes == [("matrix", (12, 1)), ("matrix", (12, 8))]
    assert row["seconds"] == 0.25 / 8


@pytest.mark.parametrize("count", [None, 0])
def test_iterations_that_are_not_told_are_missing_and_none_are_none(count):
    @algorithm("counted", family="peer", source="doi:0", cost="n")
    def counted(dictionary, y, k):
        return Result(np.zeros(20), count, Status.CONVERGED, 1.0)

    row = table("counted", repeats=1).iloc[0]
    assert np.isnan(row["floor"])
    assert np.isnan(row["iterations"]) if count is None else row["iterations"] == 0


def test_costs_are_arithmetic_and_nothing_else():
    def entry(cost):
        return dataclasses.replace(get_algorithm("omp"), cost=cost)

    assert flops(entry("2*n*k + k**3/3 - (m + 1)"), 5, 7, 3) == 42 + 9 - 6
    assert np.isnan(flops(entry(""), 5, 7, 3))
    for cost in ("q*n", "print(1)", "n.real", "2*", "'a'", "(lambda: 1)()", "[n]", "n/(m-m)"):
        with pytest.raises(InputError, match="arithmetic"):
            flops(entry(cost), 5, 7, 3)
    for known in sparsebench.algorithms():
        assert not flops(known, 250, 500, 50) <= 0


def test_the_rate_of_matrix_products_is_that_of_this_machine(monkeypatch):
    monkeypatch.undo()
    assert 1e7 < timing.dgemm_rate() < 1e13


def test_the_usual_algorithms_need_nothing_but_A_y_and_k():
    fake("told", 1.0)

    @algorithm("needs-the-truth", source="doi:0")
    def oracle(dictionary, y, k, *, support=None):
        return Result(np.zeros(20), 1, Status.CONVERGED)

    usual = timing.usual_algorithms()
    assert {"omp", "htp", "sea", "fista"} <= set(usual)
    assert not {"told", "needs-the-truth", "oracle", "exhaustive"} & set(usual)
    for name in usual:
        assert get_algorithm(name).installed


def test_every_peer_that_is_named_exists():
    known = {entry.name for entry in sparsebench.algorithms() if entry.family == "peer"}
    assert {peer for peers in timing.PEERS.values() for peer in peers} == known


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["sparsebench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.run()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call


def test_the_command_writes_a_csv_and_prints_a_table_a_workload(command, tmp_path):
    fake("broken", 1.0, x=lambda *_: np.zeros(3))
    code, out, err = command(
        *("timing", "-a", "omp,htp[step=1.8/L],broken", "--repeats", 2, "--out", tmp_path / "new")
    )
    assert code == 0, err
    check_columns(tmp_path / "new" / "timing.csv")
    rows = pd.read_csv(tmp_path / "new" / "timing.csv")
    assert len(rows) == 2 * 3
    assert set(rows["algorithm"]) == {"omp", "htp[step=1.8/L]", "broken"}
    assert (rows[rows["name"] == "omp"]["seconds"] > 0).all()
    for text in ("tiny: gaussian, m = 12", "many: gaussian[columns=unit]", "htp[step=1.8/L]"):
        assert text in out
    assert "broken: 2 failed: broken returned shape (3,), not an array of shape (20,)" in out
    assert "nan" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-w", "tinny"], "unknown workload 'tinny'; did you mean 'tiny'?"),
        (["-w", "x*"], "unknown workload 'x*'"),
        (["-a", "omg"], "did you mean 'omp'?"),
        (["--repeats", "0"], "--repeats"),
        (["--budget", "0"], "--budget"),
        (["--plugin", "none.py"], "no plug-in file"),
    ],
)
def test_what_cannot_be_done_is_one_line(command, arguments, message, tmp_path):
    code, out, err = command("timing", *arguments, "--out", tmp_path)
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") <= 2
    assert not out
    assert not list(tmp_path.iterdir())


def test_durations_have_three_digits_and_a_unit():
    shown = [
        tables.duration(s) for s in (4.12e-7, 41.2e-6, 999.4e-6, 999.9e-6, 3.084e-3, 12.0, 250)
    ]
    assert shown == ["0.41 µs", "41.2 µs", "999 µs", "1.00 ms", "3.08 ms", "12.0 s", "250 s"]
    assert tables.duration(float("nan")) == ""
