"""Intervals cover what they claim to, and theory is what was published."""

import numpy as np
import pytest
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit, xlogy
from scipy.stats import binom, binomtest, norm, quantile_test

from sparsebench.experiments.levels import LEVELS, NOT_MONOTONE
from sparsebench.experiments.sampling import GridSampler, ThresholdSampler
from sparsebench.statistics import (
    fit_threshold,
    mean_interval,
    median_interval,
    monotone_p_value,
    thresholds,
    wilson,
)
from sparsebench.theory import donoho_tanner
from sparsebench.types import InputError


@pytest.mark.parametrize(("won", "of"), [(0, 20), (20, 20), (7, 20), (950, 1000), (1, 1)])
def test_wilson_equals_scipys(won, of):
    expected = binomtest(won, of).proportion_ci(method="wilson")
    lower, upper = wilson(won, of)
    np.testing.assert_allclose([lower, upper], [expected.low, expected.high], atol=1e-12)
    assert lower < upper


def test_twenty_of_twenty_is_not_a_point():
    lower, upper = wilson(20, 20)
    assert (round(float(lower), 2), float(upper)) == (0.84, 1.0)
    assert tuple(map(float, wilson(0, 0))) == (0.0, 1.0)


@pytest.mark.parametrize("size", [6, 7, 20, 99, 100])
def test_the_interval_of_a_median_equals_scipys(size):
    values = np.random.default_rng(size).exponential(size=(size, 3))
    median, lower, upper = median_interval(values)
    for column in range(3):
        expected = quantile_test(values[:, column]).confidence_interval(0.95)
        assert (lower[column], upper[column]) == (expected.low, expected.high)
        assert median[column] == np.median(values[:, column])


def test_too_few_values_have_no_interval_of_their_median():
    assert tuple(map(float, median_interval(np.arange(5.0)))) == (2.0, -np.inf, np.inf)


def test_mean_interval_covers_bounded_means():
    rng = np.random.default_rng(0)
    for draw, truth in (
        (lambda: rng.beta(2, 5, 100), 2 / 7),
        (lambda: rng.binomial(20, 0.3, 100) / 20, 0.3),
    ):
        hits = 0
        for _ in range(1000):
            _, lower, upper = mean_interval(draw())
            hits += lower <= truth <= upper
        assert 0.93 <= hits / 1000 <= 0.97
    for constant in (0.0, 0.4, 1.0):
        mean, lower, upper = mean_interval(np.full(50, constant))
        assert mean == pytest.approx(constant)
        assert 0 <= lower < upper <= 1


def sample(sampler, rate, rng, trial_effect=0.0):
    effects = {}
    while requests := sampler.requests():
        rows = []
        for trial, k in requests:
            shift = effects.setdefault(trial, trial_effect * rng.standard_normal())
            rows.append((trial, k, bool(rng.random() < rate(k + shift))))
        sampler.record(rows)
    return sampler


def level_of(rate, level, largest, trial_effect=0.0):
    """The k at which the rate, averaged over trial effects, is the level."""
    grid = np.arange(0, largest, 0.02)
    shifts = trial_effect * norm.ppf((np.arange(201) + 0.5) / 201) if trial_effect else [0.0]
    mean = np.mean([rate(grid + shift) for shift in shifts], axis=0)
    return float(grid[np.argmin(np.abs(mean - level))])


# Success rate by k, the largest k, and the standard deviation (in k) of what trials share.
CURVES = {
    "steep": (lambda k: expit((60 - k) / 0.3), 250, 0.0),
    "steep, between two k": (lambda k: expit((60.5 - k) / 0.3), 250, 0.0),
    "usual": (lambda k: expit((60 - k) / 3), 250, 0.0),
    "flat": (lambda k: expit((150 - k) / 8), 400, 0.0),
    "near one": (lambda k: expit((2.5 - k) / 0.4), 25, 0.0),
    "near four": (lambda k: expit((7 - k) / 1), 50, 0.0),
    "near m": (lambda k: expit((48 - k) / 1), 50, 0.0),
    "normal": (lambda k: norm.cdf((60 - k) / 5), 250, 0.0),
    "abrupt fall": (lambda k: -np.expm1(-np.exp((60 - k) / 3)), 250, 0.0),
    "abrupt start": (lambda k: np.exp(-np.exp((k - 60) / 3)), 250, 0.0),
    "failure ceiling": (lambda k: 0.985 * expit((60 - k) / 3), 250, 0.0),
    "trial effects": (lambda k: expit((60 - k) / 3), 250, 3.0),
}


def test_threshold_intervals_cover_the_truth():
    """Adaptive sampling and estimate together, at nominal 95 %, on every curve.

    At a true coverage of 95 %, fewer than 129 of 144 intervals have probability .004; the seed is
    fixed. `tests/studies/interval_coverage.py` measures each curve alone.
    """
    hits = []
    for rate, largest, trial_effect in CURVES.values():
        rng = np.random.default_rng(7)
        truths = {level: level_of(rate, level, largest, trial_effect) for level in LEVELS}
        errors = []
        for _ in range(6):
            sampler = ThresholdSampler(largest, dict.fromkeys(LEVELS, 2.0), 1000)
            sample(sampler, rate, rng, trial_effect)
            assert sampler.stopped == "half-width"
            for level, truth in truths.items():
                found = sampler.estimate(level)
                assert found.half_width <= 2.0
                hits.append(found.lower <= truth <= found.upper)
                errors.append(found.estimate - truth)
        assert abs(np.mean(errors)) < 1.0
    assert len(hits) == 144
    assert sum(hits) >= 129


def test_intervals_cover_where_an_average_of_shapes_does_not():
    """The 95 % point of a fall between two k, which only the shape of the fall places.

    At a true coverage of 95 %, fewer than 54 of 60 have probability .03; the seeds are fixed.
    """
    rate, largest, _ = CURVES["steep, between two k"]
    truth = level_of(rate, 0.95, largest)
    hits = 0
    for run in range(60):
        sampler = ThresholdSampler(largest, dict.fromkeys(LEVELS, 1.0), 1000)
        found = sample(sampler, rate, np.random.default_rng(run)).estimate(0.95)
        hits += found.lower <= truth <= found.upper
    assert hits >= 54


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_levels_that_cannot_be_fitted_are_refused(level):
    k = np.repeat(np.arange(1, 11), 20)
    with pytest.raises(InputError, match="between 0 and 1"):
        fit_threshold(k, np.arange(k.size), k < 6, level, 20)


@pytest.mark.parametrize("level", [1e-4, 0.01, 0.98, 0.99, 0.999, 1 - 1e-6])
def test_levels_near_0_and_1_have_a_threshold(level):
    """On rows over the whole fall, of a curve whose rates are met exactly."""
    k = np.repeat(np.arange(1, 121), 100)
    truth = 60 + 3 * logit(1 - level)
    success = expit((60 - k) / 3) > (np.arange(k.size) % 100 + 0.5) / 100
    found = fit_threshold(k, np.arange(k.size), success, level, 125)
    assert found.lower <= truth <= found.upper
    assert found.upper - found.lower < 30


def test_high_levels_are_covered_too():
    """With the sampling rule; fewer than 64 of 72 have probability .01 at 95 %."""
    hits = []
    for name in ("usual", "abrupt fall", "trial effects"):
        rate, largest, trial_effect = CURVES[name]
        for level in (0.8, 0.9, 0.99):
            truth = level_of(rate, level, largest, trial_effect)
            for run in range(8):
                sampler = ThresholdSampler(largest, {level: 3.0, 0.5: 3.0}, 1000)
                found = sample(sampler, rate, np.random.default_rng(run), trial_effect)
                found = found.estimate(level)
                assert found.half_width <= 3.0
                hits.append(found.lower <= truth <= found.upper)
    assert len(hits) == 72 and sum(hits) >= 64


def test_levels_between_are_covered_too():
    """On grids of rows over the whole fall; fewer than 86 of 96 have probability .01 at 95 %."""
    rng = np.random.default_rng(10)
    k = np.repeat(np.arange(40, 81, 2), 40)
    hits = []
    for name in ("usual", "abrupt fall", "abrupt start", "failure ceiling"):
        rate, largest, _ = CURVES[name]
        for level in (0.1, 0.3, 0.8, 0.9):
            truth = level_of(rate, level, largest)
            for _ in range(6):
                found = fit_threshold(
                    k, np.arange(k.size), rng.random(k.size) < rate(k), level, largest
                )
                hits.append(found.lower <= truth <= found.upper)
    assert len(hits) == 96 and sum(hits) >= 86


def test_a_steep_fall_is_placed_between_whole_k_and_says_so():
    """All succeed at 30 and all fail at 31: nothing is known in between."""
    k = np.repeat(np.arange(25, 36), 40)
    steep = fit_threshold(k, np.arange(k.size), k <= 30, 0.5, 100)
    assert (steep.lower, steep.upper, steep.coverage) == (30.0, 31.0, "at least")
    flat = expit((30 - k) / 3) > (np.arange(k.size) % 40 + 0.5) / 40
    assert fit_threshold(k, np.arange(k.size), flat, 0.5, 100).coverage == "nominal"


def test_few_trials_of_several_rows_are_called_approximate():
    """Rows of 20 trials at six k each: what they share cannot be seen; of 40 it can."""
    rng = np.random.default_rng(12)
    for trials, coverage in ((20, "approximate"), (40, "nominal")):
        trial, k = (part.ravel() for part in np.meshgrid(np.arange(trials), np.arange(26, 38, 2)))
        success = rng.random(k.size) < expit((32 - k) / 3)
        assert fit_threshold(k, trial, success, 0.5, 100).coverage == coverage


def by_brute_force(k, success, level, largest):
    """Mean and interval of theta by a dense grid over the prior, narrowed once to its mass.

    The interval is that of all shapes together, below the level .8 the widest of it and those of
    each shape of a tenth of the posterior or more, rounded outwards to whole k where the scale is
    below one half.
    """
    values = np.unique(k)
    won = np.array([success[k == value].sum() for value in values])
    total = np.array([np.sum(k == value) for value in values])
    capped = 1 - min(0.02, 0.4 * (1 - level))
    shapes = (
        (expit, logit(level)),
        (lambda z: np.exp(-np.exp(-z)), -np.log(-np.log(level))),
        (lambda z: -np.expm1(-np.exp(z)), np.log(-np.log(1 - level))),
        (lambda z: capped * expit(z), logit(level / capped)),
    )
    box = [(0.0, largest), (np.log(0.1), np.log(largest / 3))]
    for _ in range(2):
        axes = [np.linspace(*edges, size) for edges, size in zip(box, (400, 60), strict=True)]
        z = (axes[0][:, None, None] - values) * np.exp(-axes[1])[:, None]
        with np.errstate(over="ignore"):
            joint = np.array(
                [binom.logpmf(won, total, rate(z + shift)).sum(axis=2) for rate, shift in shapes]
            )
        shapes_density = np.exp(joint - joint.max())
        density = shapes_density.sum(axis=0)
        for axis in (0, 1):
            kept = np.flatnonzero(density.max(axis=1 - axis) > 1e-7)
            box[axis] = tuple(
                axes[axis][[max(kept[0] - 1, 0), min(kept[-1] + 1, axes[axis].size - 1)]]
            )
    by_shape = shapes_density.sum(axis=2) / density.sum()
    likely = [mass / mass.sum() for mass in by_shape if mass.sum() >= 0.1]
    mass = by_shape.sum(axis=0)
    several = (mass, *likely) if level < 0.8 else (mass,)
    ends = [np.interp([0.025, 0.975], np.cumsum(m) - m / 2, axes[0]) for m in several]
    lower, upper = np.min(ends, axis=0)[0], np.max(ends, axis=0)[1]
    if np.exp(density.sum(axis=0) @ axes[1] / density.sum()) < 0.5:
        lower, upper = np.floor(lower), np.ceil(upper)
    return mass @ axes[0], lower, upper


FALLS = [
    *((60, 3, 3, 250), (60, 3, 300, 250), (150, 8, 1000, 400)),
    *((60, 0.3, 30, 250), (2, 0.5, 10, 25)),
]


# Where most rows are, in scales, so that the window of the level holds all of them.
@pytest.mark.parametrize(
    ("centre", "scale", "runs", "largest", "level", "at"),
    [
        *((*fall, *at) for fall in FALLS for at in ((0.7, 0), (0.8, 0))),
        *((*fall, *at) for fall in FALLS[:3] for at in ((0.9, -0.5), (0.99, -4))),
    ],
)
def test_the_posterior_is_that_of_a_dense_grid(centre, scale, runs, largest, level, at):
    """Few rows and many, steep curves and flat, near one: within an eighth of the half-width."""
    rng = np.random.default_rng(runs)
    spread = max(scale, 1.0)
    k = np.repeat(np.maximum(np.round(centre + spread * (at + np.arange(-4, 3))), 1), runs)
    success = rng.random(k.size) < expit((centre - k) / scale)
    # With one dictionary a row.
    found = fit_threshold(k, np.arange(k.size), success, level, largest)
    mean, lower, upper = by_brute_force(k, success, level, largest)
    close = (upper - lower) / 16
    assert found.estimate == pytest.approx(mean, abs=close)
    assert found.lower == pytest.approx(lower if lower >= 1 else 0.0, abs=close)
    assert found.upper == pytest.approx(upper, abs=close)


def test_rows_of_one_trial_are_not_independent():
    """With strong trial effects, ignoring them would halve the interval it should have."""
    rng = np.random.default_rng(1)
    rows = [
        (t, k, bool(rng.random() < expit((50 - k + shift) / 1.0)))
        for t, shift in enumerate(6 * rng.standard_normal(150))
        for k in range(42, 58)
    ]
    trial, k, success = map(np.array, zip(*rows, strict=True))
    clustered = fit_threshold(k, trial, success, 0.5, 100)
    apart = fit_threshold(k, np.arange(trial.size), success, 0.5, 100)
    assert clustered.design_effect > 3
    assert apart.design_effect == 1
    assert clustered.half_width > 1.7 * apart.half_width


def test_a_uniform_grid_with_a_failure_ceiling_is_fitted_where_it_matters():
    def rate(k):
        return 0.985 * expit((60 - k) / 3)

    sampler = sample(GridSampler(120, 200), rate, np.random.default_rng(2))
    found = sampler.estimate(0.95)
    assert abs(found.estimate - level_of(rate, 0.95, 120)) < 1.0
    assert sampler.stopped == "grid"


def test_nothing_is_claimed_below_one():
    """An algorithm that fails at k = 1 already has no 95 % point."""
    sampler = sample(
        ThresholdSampler(25, dict.fromkeys(LEVELS, 2.0), 100),
        lambda k: 0.3 * (k < 4),
        np.random.default_rng(3),
    )
    found = sampler.estimate(0.95)
    assert found.estimate < 1
    assert found.lower == 0


def test_the_trial_limit_is_kept_and_said():
    sampler = sample(
        ThresholdSampler(400, dict.fromkeys(LEVELS, 0.5), 70),
        lambda k: expit((150 - k) / 8),
        np.random.default_rng(4),
    )
    assert sampler.stopped == "trial limit"
    assert len(set(sampler.trial)) == 70
    assert max(np.unique(sampler.k, return_counts=True)[1]) <= 70
    assert len(sampler.k) <= 6 * 70 + 4 * 16  # and a last look below the point
    assert sampler.estimate(0.95).half_width > 0.5
    assert sampler.solves_to_go() == 0


def test_sampling_concentrates_where_the_information_is():
    sampler = sample(
        ThresholdSampler(250, dict.fromkeys(LEVELS, 1.0), 1000),
        lambda k: expit((60 - k) / 3),
        np.random.default_rng(5),
    )
    k = np.array(sampler.k)
    assert np.mean((k >= 40) & (k <= 70)) > 0.9
    # A grid of 1000 runs at each k over the fall would have taken 30,000.
    assert k.size < 2500


@pytest.mark.parametrize(
    ("delta", "rho"),
    [
        (0.1, 0.1894),
        (0.2, 0.2433),
        (0.3, 0.2908),
        (0.4, 0.3373),
        (0.5, 0.3857),
        (0.6, 0.4384),
        (0.7, 0.4988),
        (0.8, 0.5733),
        (0.9, 0.6782),
    ],
)
def test_donoho_tanner_is_the_published_signed_curve(delta, rho):
    assert donoho_tanner(delta) == pytest.approx(rho, abs=1e-4)


def test_donoho_tanner_refuses_other_ratios():
    for delta in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(InputError):
            donoho_tanner(delta)


def dip(k):
    """Falls at 30, returns at 40, and falls for good at 60."""
    return 0.999 * ((k < 30) | ((k > 40) & (k < 60)))


def test_a_success_rate_that_rises_again_has_no_point():
    rng = np.random.default_rng(8)
    sampler = sample(ThresholdSampler(120, dict.fromkeys(LEVELS, 2.0), 100), dip, rng)
    assert sampler.stopped == NOT_MONOTONE


def test_falling_rates_are_seldom_called_rising():
    """Among 400 falling curves, sampled where rates are near 0, 1 and between, few p < .05."""
    rng = np.random.default_rng(9)
    k = np.repeat(np.arange(20, 60, 4), 12)
    small = 0
    for _ in range(400):
        success = rng.random(k.size) < expit((40 - k) / 4)
        small += monotone_p_value(k, success) < 0.05
    # At exactly .05 more than 32 of 400 have probability .005; the test is conservative.
    assert small <= 32


def test_the_isotonic_likelihood_is_that_of_pooled_neighbours():
    """One rise, 5 of 10 and then 9 of 10: both pooled, 14 of 20; exact by enumeration."""
    k = np.repeat([1, 2], 10)
    success = np.r_[np.arange(10) < 5, np.arange(10) < 9]
    won = np.arange(11)
    rates = won / 10
    probability = np.outer(*[binom.pmf(won, 10, 0.7)] * 2)

    def log_likelihood(wins, total, rate):
        return xlogy(wins, rate) + xlogy(total - wins, 1 - rate)

    first, second = np.meshgrid(won, won, indexing="ij")
    pooled = log_likelihood(first + second, 20, (first + second) / 20)
    apart = log_likelihood(first, 10, rates[first]) + log_likelihood(second, 10, rates[second])
    rise = np.where(second > first, apart - pooled, 0.0)
    exact = probability[rise >= rise[5, 9] - 1e-9].sum()
    assert monotone_p_value(k, success) == pytest.approx(exact, rel=0.7)  # 20 draws above it


def test_falling_rates_are_the_isotonic_fit():
    rng = np.random.default_rng(11)
    for _ in range(200):
        total = rng.integers(1, 30, rng.integers(1, 40))
        won = rng.binomial(total, rng.choice([0.0, 0.3, 0.8, 1.0], total.size))
        reference = isotonic_regression(won / total, weights=total, increasing=False).x
        np.testing.assert_allclose(thresholds._falling(won, total), reference, atol=1e-12)
