"""Measured numbers in the texts: their sentences are made anew from the CSVs, and must be there."""

import re
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pandas as pd
import pytest
from pages import ROOT

FIGURES = ROOT / "figures"


def read(name):
    return pd.read_csv(FIGURES / f"{name}.csv")


def short(value, digits=2):
    """A number as the texts have it: .53, 1.0."""
    exact = Decimal(f"{value:.6g}")  # the digits of the file, of which a half is rounded up
    return re.sub(r"^0(?=\.)", "", f"{exact.quantize(Decimal(10) ** -digits, ROUND_HALF_UP)}")


def at(rows, **cell):
    """The one estimate of a cell."""
    for column, value in cell.items():
        rows = rows[np.isclose(rows[column], value)] if isinstance(value, float) else (
            rows[rows[column] == value]
        )  # fmt: skip
    (found,) = rows["estimate"]
    return found


def phase_transition():
    rows = read("thresholds")
    once = rows[rows["level"] == 0.95]
    wide = rows["half_width"] > rows["level"].map({0.95: 1.0, 0.5: 2.0})
    limit = rows[wide & (rows["stopped"] == "trial limit")]
    least = re.sub("^0", "", f"{(limit['m'] / limit['n']).min():.2g}")
    yield f"(at {len(limit)} of the {len(rows)} points, all at m/n of {least} or more)"
    solves, full = once["trials"].sum(), once["grid_solves"].sum()
    yield f"{solves:,} solves in"
    yield f"would have taken {full / 1e6:.0f} million, {full / solves:.0f} times as many"
    assert once["m"].nunique() == 19
    yield "nineteen ratios m/n."
    many = rows[rows["stopped"] == "not monotone"]
    assert set(many["algorithm"].str.partition("[")[0]) == {"cosamp"}
    assert sorted(set(many["m"] / many["n"])) == [0.7, 0.75, 0.8, 0.85, 0.95]
    yield "**CoSaMP has no single point** at m/n = .7 to .85 and .95"


def support_distance():
    rows = read("distances")
    sea = rows[rows["algorithm"] == "sea"].set_index("k")

    def with_half_width(k, digits):
        own = sea.loc[k]
        half = (own["upper"] - own["lower"]) / 2
        return f"{short(own['estimate'], digits)} ± {short(half, digits)}"

    numbers = with_half_width(10, 3), with_half_width(20, 2), with_half_width(50, 2)
    yield "SEA_0 ({} at k = 10, {} at 20, {} at 50)".format(*numbers)
    lasso = [short(at(rows, algorithm="homotopy", k=k)) for k in (10, 20, 50)]
    yield "from 5 on: {} at k = 10, {} at 20, {} at 50".format(*lasso)
    trials = set(rows["trials"])
    assert len(trials) == 1
    yield f"k = 1 to {rows['k'].max()}, {trials.pop()} trials"
    for name, said in (
        ("pinv", "pseudo-inverse misses {} to {}"),
        ("ridge", "regression {} to {}"),
    ):
        own = rows[rows["algorithm"] == name]["estimate"]
        yield said.format(short(own.min()), short(own.max()))


def noise():
    rows = read("noise")
    rows = rows[(rows["metric"] == "support_distance") & (rows["k"] == 20)]
    sea = rows[rows["curve"] == "sea"]["estimate"]
    yield "(SEA_0 at k = 20: {})".format(", ".join(map(short, sea)))
    lasso = rows[rows["curve"] == "homotopy"]["estimate"]
    yield f"The Lasso leads throughout, {short(lasso.min())} to {short(lasso.max())} at k = 20"


def tolerance():
    rows = read("tolerance")
    rows = rows[(rows["k"] == 20) & (rows["panel"] == "no noise")]
    measures = "support_distance", "near_1", "near_2"

    def three(curve):
        return [short(at(rows, curve=curve, metric=metric)) for metric in measures]

    yield "SEA_0 misses {} exactly, {} within one index, {} within two".format(*three("sea"))
    yield "SEA_ELS {}, {}, {}".format(*three("els+sea"))
    yield "The Lasso {}, {}, {}".format(*three("homotopy"))


def steps():
    rows = read("steps")
    rows = rows[(rows["level"] == 0.95) & (rows["m"] == 250)]
    by = {row.curve: f"{row.estimate * row.m:.0f}" for row in rows.itertuples()}
    htp = [by[f"htp[step={step}]"] for step in ("1/L", "1.8/L", "1")]
    iht = [by[f"iht[step={step}]"] for step in ("1/L", "1.8/L", "1")]
    yield "HTP {}, {}, {} with".format(*htp)
    yield f"NHTP {by['nhtp']}; IHT {', '.join(iht)}, NIHT {by['niht']}"


def family():
    rows = read("family/thresholds")
    rows = rows[(rows["level"] == 0.95) & (rows["m"] == 250)]
    named = {
        "sparse Bayesian learning": "sbl", "AMP": "amp", "HTP restarted at SEA's iterations":
        "htp-restarts", "CGIHT": "cgiht", "splicing": "splicing", "SBR": "sbr", "OLS": "ols",
    }  # fmt: skip
    yield ", ".join(f"{name} {at(rows, algorithm=key):.0f}" for name, key in named.items())


def full_grid():
    rows = read("full-grid")
    once = rows[rows["level"] != 0.5]
    solves = once.groupby("quantity")["trials"].sum()
    yield f"at {solves['adaptive']:,} solves against {solves['rate']:,}"
    own = once.groupby(["quantity", "algorithm", "m"])["trials"].sum()
    fewer = own["rate"] / own["adaptive"]
    total = solves["rate"] / solves["adaptive"]
    least, most = f"{fewer.min():.0f}", f"{fewer.max():.0f}"
    yield f"{least} to {most} times fewer by (algorithm, m), {total:.0f} in all"


def widths():
    rows = read("widths")
    own = rows[rows["metric"] == "support_distance"]
    one = own[(own["panel"] == "filter width 1") & (own["x"] == 50)]
    sp, sea = (short(at(one, curve=name)) for name in ("sp", "sea"))
    yield f"({sp} at k = 50; SEA_0 {sea})"
    five = own[(own["panel"] == "filter width 5") & own["curve"].isin(["pinv", "ridge"])]
    inverse = five["estimate"]
    yield f"no inverse is exact any more ({short(inverse.min())} to {short(inverse.max())})"


def eta():
    rows = read("eta")
    coherent = rows[rows["problem"].str.startswith("deconvolution")]
    yield "SEA_ELS {}".format(short(coherent[coherent["curve"] == "els+sea"]["estimate"].iloc[-1]))


def super_resolution():
    rows = read("super-resolution")
    rows = rows[rows["metric"] == "support_distance"]
    two, four = (
        rows[rows["panel"] == f"{factor} times finer, no noise"].set_index(["curve", "x"])[
            "estimate"
        ]
        for factor in (2, 4)
    )
    lasso = [short(one) for one in (two["homotopy", 10], two["homotopy", 20], four["homotopy", 5])]
    yield "(2 times finer: {} at k = 10, {} at 20; 4 times: {} at k = 5)".format(*lasso)
    others = [short(two[name, 20]) for name in ("els", "els+sea", "sea", "omp")]
    yield "({} and {} at k = 20, twice finer; SEA_0 {}, OMP {})".format(*others)


def clustering():
    rows = read("clustering")
    errors = rows[rows["metric"] == "error"].groupby(["method", "size", "stages"])["value"].mean()
    ours, two = errors["deep l0", 0, 2], errors["deep M-sparse"].xs(2, level="stages")
    yield f"the deep l0-regularised encoder has {ours:.1f} %"
    yield f"M-sparse encoders ({two.min():.1f} to {two.max():.1f} %)"
    yield f"spectral clustering on it has {errors['spectral'].item():.1f} %"
    yield f"network {errors['graph network'].item():.1f} ("
    yield f"as good in the mean ({errors['joint'].item():.1f})"


def rip():
    rows = read("rip")
    inside = (rows["premise"] * rows["trials"]).sum()
    assert rows["broken"].sum() == rows["contradicted"].sum() == 0
    yield f"**The bound is never broken**: {inside:,.0f} instances are within its premise"
    yield f"{rows['trials'].sum():,} instances."


CHECKED = {
    "phase-transition": phase_transition,
    "support-distance": support_distance,
    "noise": noise,
    "tolerance": tolerance,
    "steps": steps,
    "family": family,
    "full-grid": full_grid,
    "widths": widths,
    "eta": eta,
    "super-resolution": super_resolution,
    "clustering": clustering,
    "rip": rip,
}


def section(title):
    text = (FIGURES / "README.md").read_text()
    found = re.search(rf"^## {title}\b.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(found[0].split())


@pytest.mark.parametrize("title", CHECKED)
def test_what_is_said_is_what_the_csv_holds(title):
    text = section(title)
    missing = [sentence for sentence in CHECKED[title]() if sentence not in text]
    assert missing == []


# A measured number: a decimal fraction, or digits before a unit, %, "times" or "of".
NUMBER = r"(?<![\w.])\.\d+|\d[\d,]*\.\d+|\d[\d,]*(?= ?(?:%|times|dB|solves|minutes|of the))"


def test_how_many_numbers_are_checked():
    """Of the notes on the figures; those that are not are inputs, published, or still by hand."""
    text = (FIGURES / "README.md").read_text()
    prose = re.sub(r"^( {4}|\|).*$|`[^`]*`", "", text, flags=re.MULTILINE)
    sentences = [sentence for make in CHECKED.values() for sentence in make()]
    checked = sum(len(re.findall(NUMBER, sentence)) for sentence in sentences)
    every = len(re.findall(NUMBER, prose))
    print(f"{checked} of {every} numbers in figures/README.md are drawn from its CSVs")
    assert len(CHECKED) == 12 and 50 <= checked <= every
