"""Which is best at what price: fronts and profiles against plain loops, and the command."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from sparsebench import cli
from sparsebench.experiments.front import profile, summary
from sparsebench.report import figures
from sparsebench.statistics import wilson

NAMES = ("omp", "sea[max_iter=10]", "sea", "htp", "weak")


def solves(seed, trials=12):
    """Rows as a run returns them, of five algorithms on two problems; one never succeeds."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "problem": problem, "problem_options": "{}", "m": 20, "n": 40, "k": k, "seed": 0,
            "algorithm": name, "name": name.partition("[")[0], "told": "k", "trial": trial,
            "won": int(name != "weak" and rng.random() < 0.7), "seconds": rng.integers(1, 9) * 1e-3,
            "flops": np.nan if name == "htp" else rng.integers(1, 9) * 1e3,
            "success": "exact", "status": "converged",
        }
        for name in NAMES
        for problem, k in (("gaussian", 4), ("dct", 5))
        for trial in range(trials)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seed", range(8))
def test_the_front_is_what_no_other_beats(seed):
    rows = solves(seed)
    points = summary(rows)
    assert len(points) == 10
    for row in points.itertuples():
        own = rows[(rows["problem"] == row.problem) & (rows["algorithm"] == row.algorithm)]
        assert row.estimate == own["won"].mean() and row.trials == 12
        np.testing.assert_allclose((row.lower, row.upper), wilson(own["won"].sum(), 12))
        ordered = np.sort(own["seconds"])
        assert row.seconds == np.median(ordered)
        rank = int(binom.ppf(0.025, 12, 0.5))
        assert (row.seconds_lower, row.seconds_upper) == (ordered[rank - 1], ordered[12 - rank])
        others = points[(points["problem"] == row.problem) & (points.index != row.Index)]
        for price in ("seconds", "flops"):
            mine = getattr(row, price)
            beaten = any(
                (other.estimate >= row.estimate and getattr(other, price) < mine)
                or (other.estimate > row.estimate and getattr(other, price) <= mine)
                for other in others.itertuples()
            )
            unknown = np.isnan(mine)
            expected = not (beaten or unknown or row.estimate == 0)
            assert getattr(row, f"{price}_front") == expected, (row.algorithm, price)
    assert points.loc[points["name"] == "htp", "flops"].isna().all()


def test_a_profile_is_the_share_solved_within_a_multiple_of_the_fastest():
    rows = solves(3)
    rows.loc[(rows["trial"] == 0) & (rows["problem"] == "dct"), "won"] = 0  # which nobody solves
    steps = profile(rows)
    assert list(steps["algorithm"].unique()) == list(NAMES)
    for name in NAMES:
        own = steps[steps["algorithm"] == name]
        assert own["ratio"].iloc[0] == 1.0 and (np.diff(own["ratio"]) > 0).all()
        for tau in (1.0, 1.5, 2.0, 4.0, np.inf):
            solved = 0
            for _, instance in rows.groupby(["problem", "trial"]):
                won = instance[instance["won"] == 1]
                mine = won.loc[won["algorithm"] == name, "seconds"]
                solved += bool(len(mine)) and float(mine.iloc[0] / won["seconds"].min()) <= tau
            found = own.loc[own["ratio"] <= tau, "estimate"].iloc[-1]
            assert found == pytest.approx(solved / 24), (name, tau)
        assert (own["estimate"].iloc[-1] == 0) == (name == "weak")
    assert (steps["trials"] == 24).all()


def test_what_tells_no_flops_of_an_instance_has_none():
    rows = solves(1)
    first = (rows["algorithm"] == "omp") & (rows["trial"] == 0) & (rows["problem"] == "dct")
    points = summary(rows.assign(flops=rows["flops"].mask(first, 0.0)))
    own = points[(points["algorithm"] == "omp")].set_index("problem")
    assert np.isnan(own.loc["dct", "flops"]) and own.loc["dct", "flops_front"] == 0
    assert own.loc["gaussian", "flops"] > 0


def test_the_command_draws_both_pictures(monkeypatch, capsys, tmp_path):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["sparsebench", "front", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.run()
        return ended.value.code or 0, capsys.readouterr()

    sizes = ("--n", "40", "--m", "20", "--k", "3", "--trials", "6", "-o", tmp_path, "-q")
    code, said = call("-a", "omp,htp,omp[k=noise]", "-p", "gaussian[snr=30]", "-p", "dct", *sizes)
    assert code == 0, said.err
    assert "gaussian[snr=30.0], m = 20, n = 40, k = 3" in said.out
    assert {path.stem for path in tmp_path.glob("*.png")} == {"front", "profile"}
    rows = figures.read(tmp_path / "front.csv")
    assert len(rows) == 2 * 3 * 6 and set(rows["won"]) <= {0, 1}
    assert rows.loc[rows["algorithm"] == "omp[k=noise]", "flops"].isna().all()
    assert (rows["seconds"] > 0).all()
    for words, wrong in (
        (["-p", "dct", "--success", "relative_error<2*noise"], "in units of the noise"),
        (["--k", "21"], "k"),
        (["--trials", "0"], "--trials"),
    ):
        code, said = call(*words, *(sizes[:4] if "--k" in words else sizes[:6]))
        assert code == 2 and wrong in said.err
