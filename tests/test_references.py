"""Every algorithm against an independent reference, on Gaussian and on coherent instances."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import references
from sklearn.linear_model import Lasso, orthogonal_mp

import sparsebench
from sparsebench.solvers.ista import lasso
from sparsebench.types import Dictionary

GAUSSIAN = [
    ("gaussian", {"m": 60, "n": 128, "k": k, "trial": t}) for k in (4, 12, 20) for t in range(6)
]
UNIT = [
    ("gaussian", {"m": 100, "n": 200, "k": k, "trial": t, "columns": "unit"})
    for k in (10, 30)
    for t in range(4)
]
SPIKES = [
    ("deconvolution", {"m": 120, "n": 120, "k": k, "trial": t, "width": w})
    for w in (1.0, 3.0)
    for k in (3, 8)
    for t in range(4)
]
NOISY = [("gaussian", {"m": 60, "n": 128, "k": 8, "trial": t, "snr": 20.0}) for t in range(4)] + [
    ("deconvolution", {"m": 120, "n": 120, "k": 6, "trial": t, "snr": 30.0}) for t in range(4)
]

RULES = {
    "iht": lambda A, y, k: references.iht(A, y, k, 1.8 * references.spectral_step(A)),
    "iht[step=1/L]": lambda A, y, k: references.iht(A, y, k, references.spectral_step(A)),
    "niht": references.niht,
    "htp": lambda A, y, k: references.htp(A, y, k, references.unit_step(A)),
    "htp[step=1.8/L]": lambda A, y, k: references.htp(A, y, k, 1.8 * references.spectral_step(A)),
    "nhtp": lambda A, y, k: references.htp(A, y, k, None),
    "sea": lambda A, y, k: references.sea(A, y, k, max_iter=1000),
    "ols": references.ols,
    "els": references.els,
    "ompr": lambda A, y, k: references.ompr(A, y, k, 2 * references.unit_step(A)),
    "ompr[step=0.5]": lambda A, y, k: references.ompr(A, y, k, 0.5 * references.unit_step(A)),
    "sbr": references.sbr,
    "splicing": lambda A, y, k: references.splicing(A, y, k, c_max=5),
    "splicing[c_max=0]": references.splicing,
    "omp": lambda A, y, k: references.on_support(
        A, y, np.flatnonzero(orthogonal_mp(A, y, n_nonzero_coefs=k))
    ),
    "sp": references.sp,
    "cosamp": references.cosamp,
    "cgiht": references.cgiht,
    "cgiht[restart=true]": lambda A, y, k: references.cgiht(A, y, k, restart=True),
    "iht-l0": references.iht_l0,
}


def residual(instance, x):
    return np.linalg.norm(instance.y - instance.A @ x) / np.linalg.norm(instance.y)


def stable(rule, instance, k, x, shakes=2):
    """Whether the reference keeps its support when y moves by 1e-13 and the rows are rotated.

    Where it does not, some comparison inside is a tie, decided by rounding: neighbours of an
    isolated spike tie exactly. No two correct codes need agree there.
    """
    rng = np.random.default_rng(0)
    m = instance.y.size
    for _ in range(shakes):
        rotation = np.linalg.qr(rng.standard_normal((m, m)))[0]
        shaken = instance.y * (1 + 1e-13 * rng.standard_normal(m))
        other = rule(rotation @ instance.A, rotation @ shaken, k)
        if not np.array_equal(other != 0, x != 0):
            return False
    return True


@pytest.mark.filterwarnings("ignore:Orthogonal matching pursuit ended prematurely")
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("family", ["gaussian", "unit", "spikes", "noisy"])
def test_same_support_and_residual_as_the_plain_loop(name, family):
    cases = {"gaussian": GAUSSIAN, "unit": UNIT, "spikes": SPIKES, "noisy": NOISY}[family]
    compared = 0
    for problem, recipe in cases:
        instance = sparsebench.draw(problem, **recipe)
        k = recipe["k"]
        expected = RULES[name](instance.A, instance.y, k)
        found = sparsebench.solve(name, instance.A, instance.y, k).x
        if np.array_equal(found != 0, expected != 0):
            np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
            compared += 1
        elif residual(instance, expected) < 1e-9 and residual(instance, found) < 1e-9:
            compared += 1  # both solved it
        else:
            assert not stable(RULES[name], instance, k, expected), (problem, recipe)
    assert compared >= 0.6 * len(cases)


@pytest.mark.parametrize("name", [*sorted(RULES), "ista", "fista"])
def test_the_estimate_is_the_least_squares_solution_on_its_support(name):
    for problem, recipe in NOISY + SPIKES[:8]:
        instance = sparsebench.draw(problem, **recipe)
        x = sparsebench.solve(name, instance.A, instance.y, recipe["k"]).x
        best = references.on_support(instance.A, instance.y, np.flatnonzero(x))
        assert residual(instance, x) <= residual(instance, best) + 1e-12


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize(
    "problem",
    [
        ("gaussian", {"m": 60, "n": 128, "k": 10, "columns": "unit"}),
        ("gaussian", {"m": 60, "n": 128, "k": 10, "snr": 10.0}),
        ("deconvolution", {"m": 100, "n": 100, "k": 8, "width": 1.0, "snr": 20.0}),
    ],
)
def test_proximal_gradients_reach_the_lasso_optimum(problem, accelerate):
    name, recipe = problem
    instance = sparsebench.draw(name, **recipe)
    A, y = instance.A, instance.y
    level = 0.05 * np.abs(A.T @ y).max()
    peer = (
        Lasso(alpha=level / y.size, fit_intercept=False, tol=1e-14, max_iter=1_000_000)
        .fit(A, y)
        .coef_
    )

    def objective(x):
        return 0.5 * np.sum((y - A @ x) ** 2) + level * np.abs(x).sum()

    dictionary = Dictionary(A)
    step = 1 / dictionary.squared_spectral_norm
    x, _, _ = lasso(dictionary, y, level, step, accelerate, 200_000, 1e-12)
    assert objective(x) <= objective(peer) * (1 + 1e-8)
    # The optimality conditions, which need no peer.
    gradient = A.T @ (y - A @ x)
    assert np.abs(gradient).max() <= level * (1 + 1e-5)
    np.testing.assert_allclose(gradient[x != 0], level * np.sign(x[x != 0]), rtol=1e-4)


def test_the_duality_gap_alone_stops_at_the_same_optimum():
    """On duplicate atoms no solution has a positive definite Gram block: the gap must do."""
    rng = np.random.default_rng(3)
    A = rng.standard_normal((30, 20))
    A = np.hstack([A, A])
    y = rng.standard_normal(30)
    level = 0.1 * np.abs(A.T @ y).max()
    dictionary = Dictionary(A)
    step = 1 / dictionary.squared_spectral_norm
    x, _, _ = lasso(dictionary, y, level, step, True, 200_000, 1e-12)
    peer = (
        Lasso(alpha=level / 30, fit_intercept=False, tol=1e-14, max_iter=1_000_000)
        .fit(A[:, :20], y)
        .coef_
    )
    np.testing.assert_allclose(x[:20] + x[20:], peer, atol=1e-6)


@pytest.mark.parametrize("coherent", [False, True])
def test_brute_force_on_tiny_problems(coherent):
    """No algorithm beats the global optimum, and each reaches it in a fair share of draws."""
    n, m, k = 12, 8, 3
    reached = dict.fromkeys(RULES, 0)
    draws = 40
    for trial in range(draws):
        rng = np.random.default_rng(trial)
        A = rng.standard_normal((m, n))
        if coherent:
            A += 1.5 * rng.standard_normal((m, 1))
        y = A[:, rng.choice(n, k, replace=False)] @ rng.uniform(1, 2, k)
        y = y + 0.1 * rng.standard_normal(m)
        best = min(
            np.linalg.norm(y - A @ references.on_support(A, y, list(S)))
            for S in combinations(range(n), k)
        )
        for name in RULES:
            x = sparsebench.solve(name, A, y, k).x
            found = np.linalg.norm(y - A @ x)
            assert found >= best * (1 - 1e-10)
            reached[name] += found <= best * (1 + 1e-9)
    others = ("iht", "niht", "htp", "nhtp", "omp")
    assert reached["sea"] >= max(reached[name] for name in others), reached
    assert reached["sea"] >= 0.6 * draws, reached
    assert min(reached.values()) >= 0.05 * draws, reached


def test_sea_from_zero_is_invariant_to_its_step():
    for problem, recipe in GAUSSIAN[:12]:
        instance = sparsebench.draw(problem, **recipe)
        runs = [
            sparsebench.solve("sea", instance.A, instance.y, recipe["k"], step=step)
            for step in ("1", "0.25", "1.8/L", "64")
        ]
        for other in runs[1:]:
            assert np.array_equal(other.support, runs[0].support)
            assert other.n_iter == runs[0].n_iter


def test_sea_returns_the_best_of_its_history():
    """With a larger budget the residual never grows, and it is that of the best iterate."""
    instance = sparsebench.draw("deconvolution", m=100, n=100, k=12, trial=3)
    residuals = [
        residual(instance, sparsebench.solve("sea", instance.A, instance.y, 12, max_iter=i).x)
        for i in (1, 2, 5, 20, 100, 400)
    ]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(residuals))


def test_htp_terminates_on_cycles_and_says_so():
    statuses = set()
    for trial in range(40):
        instance = sparsebench.draw("deconvolution", m=200, n=200, k=10, trial=trial)
        statuses.add(sparsebench.solve("htp", instance.A, instance.y, 10).status)
    assert statuses <= {"converged", "cycle"}
    assert "cycle" in statuses


def test_iht_has_a_monotone_residual_at_one_over_L():
    instance = sparsebench.draw("gaussian", m=60, n=128, k=25, trial=1)
    step = references.spectral_step(instance.A)
    x, residuals = np.zeros(128), []
    for _ in range(50):
        u = x + step * instance.A.T @ (instance.y - instance.A @ x)
        x = np.zeros(128)
        support = references.largest(u, 25)
        x[support] = u[support]
        residuals.append(np.linalg.norm(instance.y - instance.A @ x))
    assert np.all(np.diff(residuals) <= 1e-12)
    # The compiled loop is at the same point after 50 iterations.
    found = sparsebench.solve("iht", instance.A, instance.y, 25, step="1/L", max_iter=50)
    assert np.array_equal(found.support, np.flatnonzero(x))


def test_the_step_decides_how_far_htp_reaches():
    """The published 1.8/L costs HTP a large part of its range; scaling A changes nothing."""
    won = {"htp": 0, "htp[step=1.8/L]": 0}
    for trial in range(20):
        instance = sparsebench.draw("gaussian", m=125, n=250, k=30, trial=trial)
        for name in won:
            won[name] += np.array_equal(
                sparsebench.solve(name, instance.A, instance.y, 30).support, instance.support
            )
            assert np.array_equal(
                sparsebench.solve(name, 10 * instance.A, 10 * instance.y, 30).support,
                sparsebench.solve(name, instance.A, instance.y, 30).support,
            )
    assert won["htp"] >= won["htp[step=1.8/L]"] + 8


def test_nhtp_does_not_depend_on_the_scale_of_y_or_on_rounding():
    for trial in range(10):
        instance = sparsebench.draw("gaussian", m=60, n=128, k=10, trial=trial)
        expected = sparsebench.solve("nhtp", instance.A, instance.y, 10).support
        for y in (1000 * instance.y, instance.y * (1 + 1e-13)):
            assert np.array_equal(sparsebench.solve("nhtp", instance.A, y, 10).support, expected)
