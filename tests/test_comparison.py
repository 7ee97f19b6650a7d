"""Paired differences cover the truth, and are sharper than unpaired ones."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import binom, ttest_rel

from sparsebench import solvers  # noqa: F401  (fills the registry)
from sparsebench.experiments.comparison import compare
from sparsebench.registry import choose_algorithms
from sparsebench.seeding import canonical
from sparsebench.statistics import fit_threshold, mcnemar, threshold_difference
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
    return pd.DataFrame(rows, columns=columns)


def test_distances_are_compared_on_the_same_instances():
    rows = stored(np.random.default_rng(5))
    found = compare(rows, OMP, [HTP], "distance")
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
    found = compare(rows, OMP, [HTP], "distance")
    assert (found["difference"].abs() < 1e-12).all() and (found["p_value"] == 1.0).all()
    assert (found["lower"] < 0).all() and (found["upper"] > 0).all()


def test_what_is_not_in_the_store_is_said():
    rows = stored(np.random.default_rng(7), ks=(4,), trials=10)
    with pytest.raises(InputError, match="no rows of sea"):
        compare(rows, OMP, choose_algorithms("sea"), "distance")
    with pytest.raises(InputError, match="no m with 40 solves each"):
        compare(rows, OMP, [HTP], "threshold")
