"""``omp[k=ebic]``: the size of the support by a rule, against a plain loop over all k."""

import math

import numpy as np
import pytest
import references
from rich.console import Console
from sklearn.linear_model import lars_path, orthogonal_mp
from sklearn.linear_model.tests import test_omp as theirs

import sparsebench
from sparsebench import registry
from sparsebench.criteria import information
from sparsebench.experiments.support_distance import SupportDistance
from sparsebench.registry import choose_algorithm, choose_algorithms, choose_problem
from sparsebench.run.engine import run
from sparsebench.run.store import Store, algorithm_recipe
from sparsebench.types import InputError

PATHS = ("omp", "ols", "sbr")
RULES = ("aic", "bic", "ebic", "mdl", "cv", "noise", "white")
NOISY = [("gaussian", {"m": 60, "n": 128, "k": k, "trial": k, "snr": 15.0}) for k in (2, 6)] + [
    ("deconvolution", {"m": 70, "n": 70, "k": 4, "trial": 0, "width": 1.0, "snr": 30.0})
]


def by_hand(rule, squared, size, m, n, energy, gamma=1.0):
    """A criterion of one support, in terms of binomial coefficients and likelihoods."""
    code = math.log(math.comb(n, size))
    if rule == "mdl":
        nothing = m / 2 * math.log(energy / m) + math.log(m) / 2
        if size == 0:
            return nothing
        variance = squared / (m - size)
        ratio = (energy - squared) / size / variance
        length = m / 2 * math.log(variance) + size / 2 * math.log(ratio) + math.log(m)
        return code + (length if 1 - squared / energy >= size / m else nothing)
    likelihood = -m / 2 * (math.log(2 * math.pi * squared / m) + 1)
    price = {"aic": 2 * size, "bic": size * math.log(m)}.get(rule, size * math.log(m))
    return price - 2 * likelihood + (2 * gamma * code if rule == "ebic" else 0)


def residual(A, y, support):
    x = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    return float(np.linalg.norm(y - A[:, support] @ x) ** 2)


@pytest.mark.parametrize("rule", ["aic", "bic", "ebic", "mdl"])
def test_each_criterion_is_its_formula_up_to_a_constant(rule):
    rng = np.random.default_rng(0)
    m, n, energy = 40, 90, 7.0
    squared = np.sort(rng.uniform(0.01, energy, 20))[::-1]
    sizes = np.arange(20)
    for gamma in (0.0, 0.5, 1.0):
        found = information(rule, squared, sizes, m, n, energy, gamma=gamma)
        expected = [
            by_hand(rule, s, j, m, n, energy, gamma) for s, j in zip(squared, sizes, strict=True)
        ]
        np.testing.assert_allclose(found - found[0], np.subtract(expected, expected[0]), atol=1e-9)


def test_criteria_are_those_of_statsmodels():
    regression = pytest.importorskip("statsmodels.regression.linear_model")
    instance = sparsebench.draw("gaussian", m=50, n=80, k=5, snr=10.0)
    A, y = instance.A, instance.y
    fits = [regression.OLS(y, A[:, :size]).fit() for size in range(1, 9)]
    squared = np.array([fit.ssr for fit in fits])
    for rule in ("aic", "bic"):
        found = information(rule, squared, np.arange(1, 9), 50, 80, y @ y)
        expected = np.array([getattr(fit, rule) for fit in fits])
        np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=1e-9)


@pytest.mark.parametrize("name", ["omp", "ols", "els", "splicing", "htp", "iht", "sp", "ompr"])
@pytest.mark.parametrize("rule", ["aic", "bic", "ebic", "mdl", "noise", "white"])
def test_the_size_is_that_of_a_plain_loop_over_all_k(name, rule):
    for problem, recipe in NOISY:
        instance = sparsebench.draw(problem, **recipe)
        A, y, (m, n) = instance.A, instance.y, instance.A.shape
        supports = [np.empty(0, int)] + [
            np.flatnonzero(sparsebench.solve(name, A, y, k).x) for k in range(1, 21)
        ]
        squared = [residual(A, y, support) for support in supports]
        limit, told = np.sum((y - A @ instance.x) ** 2), {}
        if rule == "white":
            left = [y - A[:, s] @ np.linalg.lstsq(A[:, s], y, rcond=None)[0] for s in supports]
            heights = np.abs(np.array(left) @ A / np.linalg.norm(A, axis=0)).max(axis=1)
            white = heights <= np.sqrt(np.array(squared) * 2 * np.log(n) / m)
            reached = np.flatnonzero(white)
            best = int(reached[0]) if reached.size else int(np.argmin(squared))
        elif rule == "noise":
            reached = np.flatnonzero(np.array(squared) <= limit)
            best = int(reached[0]) if reached.size else int(np.argmin(squared))
            told = {"noise": math.sqrt(limit / m)}
        else:
            values = [
                by_hand(rule, s, support.size, m, n, y @ y)
                for s, support in zip(squared, supports, strict=True)
            ]
            best = int(np.argmin(values))
        found = sparsebench.solve(name, A, y, k=rule, max_k=20, **told)
        assert np.array_equal(np.flatnonzero(found.x), supports[best]), (problem, recipe)
        expected = np.linalg.lstsq(A[:, supports[best]], y, rcond=None)[0]
        np.testing.assert_allclose(found.x[supports[best]], expected, rtol=1e-7)
        missed = rule in ("noise", "white") and not reached.size
        assert found.status == ("not converged" if missed else "converged")


def test_the_path_of_single_best_replacement_is_never_worse_than_its_solves():
    """A run to twenty atoms visits what a run to k does, and may come back to k atoms later."""
    for problem, recipe in NOISY:
        instance = sparsebench.draw(problem, **recipe)
        A, y = instance.A, instance.y
        for rule in ("bic", "ebic"):
            own = [np.flatnonzero(sparsebench.solve("sbr", A, y, k).x) for k in range(1, 21)] + [
                np.empty(0, int)
            ]
            m, n = A.shape
            least = min(by_hand(rule, residual(A, y, s), s.size, m, n, y @ y) for s in own)
            found = np.flatnonzero(sparsebench.solve(f"sbr[k={rule},max_k=20]", A, y).x)
            value = by_hand(rule, residual(A, y, found), found.size, m, n, y @ y)
            assert value <= least + 1e-9


def test_where_ebic_takes_too_many_atoms_the_plain_loop_does_and_mdl_does_not():
    """It is the criterion, not its path nor our form of it: the numbers of the page."""
    reached = dict.fromkeys(("ebic", "max_k", "mdl", "noise"), 0)
    m, n, k = 50, 100, 8
    for trial in range(60):
        instance = sparsebench.draw("gaussian", m=m, n=n, k=k, snr=30.0, trial=trial)
        A, y = instance.A, instance.y
        found = {
            "ebic": sparsebench.solve("omp[k=ebic]", A, y),
            "max_k": sparsebench.solve(f"omp[k=ebic,max_k={m // 4}]", A, y),
            "mdl": sparsebench.solve("omp[k=mdl]", A, y),
            "noise": sparsebench.solve("omp[k=noise]", A, y, noise=instance.noise),
        }
        supports = [np.flatnonzero(references.omp(A, y, size)) for size in range(m // 2 + 1)]
        squared = [residual(A, y, support) for support in supports]
        for rule in ("ebic", "mdl"):
            values = [by_hand(rule, s, j, m, n, y @ y) for j, s in enumerate(squared)]
            assert np.array_equal(found[rule].support, supports[int(np.argmin(values))])
        for name, result in found.items():
            hit = np.intersect1d(result.support, instance.support).size
            reached[name] += 2 * hit / (result.support.size + k) >= 0.9
    assert reached == {"ebic": 18, "max_k": 38, "mdl": 56, "noise": 56}


def test_cross_validation_is_the_plain_loop():
    for problem, recipe in NOISY:
        instance = sparsebench.draw(problem, **recipe)
        A, y, m = instance.A, instance.y, instance.y.size
        for folds in (2, 5):
            errors = np.zeros(16)
            for fold in range(folds):
                left = np.arange(m) % folds == fold
                for k in range(16):
                    x = np.zeros(A.shape[1])
                    if k:
                        x = sparsebench.solve("omp", A[~left], y[~left], k).x
                    errors[k] += np.sum((y[left] - A[left] @ x) ** 2)
            expected = np.zeros(A.shape[1])
            if errors.argmin():
                expected = sparsebench.solve("omp", A, y, int(errors.argmin())).x
            found = sparsebench.solve(f"omp[k=cv,max_k=15,folds={folds}]", A, y)
            np.testing.assert_allclose(found.x, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Orthogonal matching pursuit ended prematurely")
def test_omp_by_the_noise_is_that_of_scikit_learn_by_its_squared_residual():
    for trial in range(10):
        for snr in (5.0, 20.0, 40.0):
            instance = sparsebench.draw("gaussian", m=60, n=128, k=6, trial=trial, snr=snr)
            A, y, noise = instance.A, instance.y, instance.noise
            found = sparsebench.solve("omp[k=noise]", A, y, noise=noise)
            expected = orthogonal_mp(A, y, tol=noise**2 * 60)  # a squared norm, absolute
            np.testing.assert_allclose(found.x, expected, rtol=1e-8, atol=1e-10)
            assert np.linalg.norm(y - A @ found.x) <= noise * math.sqrt(60)


def test_the_own_tests_of_scikit_learn_pass_on_ours(monkeypatch):
    """Those of its file that call `orthogonal_mp` on X and y with a number of atoms or `tol`."""

    def ours(X, y, *, n_nonzero_coefs=None, tol=None, precompute=False):
        if n_nonzero_coefs is not None and n_nonzero_coefs > X.shape[1]:
            raise ValueError
        if tol is None:
            return sparsebench.solve("omp", X, y, n_nonzero_coefs).x
        noise = math.sqrt(tol / X.shape[0])
        return sparsebench.solve("omp[k=noise]", X, y, noise=noise).x

    monkeypatch.setattr(theirs, "orthogonal_mp", ours)
    X, Y = theirs.X, theirs.y[:, 0]
    monkeypatch.setattr(theirs, "orthogonal_mp_gram", lambda G, Xy, **given: ours(X, Y, **given))
    theirs.test_n_nonzero_coefs()
    theirs.test_tol()
    theirs.test_with_without_gram()
    theirs.test_with_without_gram_tol()
    theirs.test_perfect_signal_recovery()
    assert ours(X, theirs.y, n_nonzero_coefs=5).shape == (35, 3)


def test_omp_by_the_noise_is_that_of_pylops_by_its_sigma():
    pylops = pytest.importorskip("pylops")
    from pylops.optimization.sparsity import omp

    for trial in range(5):
        instance = sparsebench.draw("gaussian", m=60, n=100, k=5, trial=trial, snr=20.0)
        A, y = instance.A, instance.y
        sigma = instance.noise * math.sqrt(60)
        x = omp(pylops.MatrixMult(np.array(A)), y, niter_outer=60, niter_inner=200, sigma=sigma)[0]
        found = sparsebench.solve("omp[k=noise]", A, y, noise=instance.noise).x
        assert np.array_equal(found != 0, np.abs(x) > 1e-6)
        np.testing.assert_allclose(found, x, atol=1e-4)


@pytest.mark.parametrize("name", [*PATHS, "els", "htp", "iht", "sp", "ompr", "splicing"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("complex_numbers", [False, True])
def test_without_noise_every_rule_finds_the_support(name, rule, complex_numbers):
    if (name, rule) == ("iht", "cv"):
        pytest.skip("of four fifths of the rows it finds a larger support better")
    problem = "fourier" if complex_numbers else "gaussian"
    for trial in range(2):
        instance = sparsebench.draw(problem, m=50, n=80, k=3, trial=trial)
        told = {"noise": 0.0} if rule == "noise" else {}
        found = sparsebench.solve(name, instance.A, instance.y, k=rule, max_k=12, **told)
        assert np.array_equal(np.flatnonzero(found.x), instance.support)
        np.testing.assert_allclose(found.x, instance.x, atol=1e-8)
        assert found.x.dtype == instance.A.dtype


@pytest.mark.parametrize("rule", RULES)
def test_units_change_nothing_but_the_units(rule):
    instance = sparsebench.draw("gaussian", m=40, n=80, k=4, snr=20.0)
    told = {"noise": instance.noise} if rule == "noise" else {}
    plain = sparsebench.solve(f"omp[k={rule}]", instance.A, instance.y, **told).x
    for a, b in ((1.0, 1e3), (1e150, 1e-150), (2.0**-500, 2.0**400)):
        scaled = {name: b * level for name, level in told.items()}
        found = sparsebench.solve(f"omp[k={rule}]", a * instance.A, b * instance.y, **scaled).x
        np.testing.assert_allclose(found * (a / b), plain, rtol=1e-7)


@pytest.mark.parametrize("rule", RULES)
def test_small_and_odd_sizes_have_an_answer(rule):
    told = {"noise": 0.1} if rule == "noise" else {}
    rng = np.random.default_rng(3)
    for m, n in ((1, 3), (2, 5), (3, 2), (7, 4)):
        A = rng.standard_normal((m, n))
        found = sparsebench.solve(f"omp[k={rule}]", A, rng.standard_normal(m), **told)
        assert np.isfinite(found.x).all() and np.count_nonzero(found.x) <= min(m, n)
        assert rule == "noise" or np.count_nonzero(found.x) <= m // 2
        assert not sparsebench.solve(f"omp[k={rule}]", A, np.zeros(m), **told).x.any()
    A = np.repeat(rng.standard_normal((12, 5)), 2, axis=1)
    A[:, 3] = 0.0
    found = sparsebench.solve(f"ols[k={rule}]", A, A[:, 0] + A[:, 4], **told)
    assert np.isfinite(found.x).all() and found.x[3] == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("omp[k=5]", "one of aic, bic, ebic, mdl, cv, noise, white"),
        ("omp[k=eric]", "one of aic, bic"),
        ("bp[k=ebic]", "bp has no path in k; these have one: els, homotopy, htp"),
        ("oracle[k=ebic]", "has no path in k"),
        ("omp[k=ebic,folds=3]", "no option 'folds'"),
        ("omp[k=ebic,max_k=x]", "of type int"),
        ("omp[k=ebic]+sea", "omp stands in no chain"),
        ("sea+htp[k=ebic]", "htp stands in no chain"),
        ("omp[max_k=3]", "no option 'max_k'"),
    ],
)
def test_what_cannot_be_chosen_is_one_line(text, words):
    with pytest.raises(InputError) as caught:
        choose_algorithm(text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("omp[k=ebic,max_k=20]", "max_k must lie in 0 .. 19, not 20"),
        ("omp[k=cv,max_k=-1]", "max_k must lie in 0 .. 19"),
        ("omp[k=cv,folds=1]", "folds must be at least 2"),
        ("omp[k=noise]", "omp must be told the noise level"),
        ("omp[k=ebic,gamma=2]", "gamma must lie in [0, 1]"),
    ],
)
def test_what_cannot_be_solved_is_one_line(text, words):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError) as caught:
        sparsebench.solve(text, rng.standard_normal((20, 30)), rng.standard_normal(20))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_path_is_followed_once():
    calls = []

    def path(dictionary, y, most, **options):
        calls.append(most)
        yield from (np.arange(k) for k in range(1, most + 1))

    @sparsebench.algorithm("first-atoms", told=("k",), path=path)
    def first_atoms(dictionary, y, k):
        raise AssertionError("it has a path")

    try:
        A = np.random.default_rng(0).standard_normal((20, 30))
        x = sparsebench.solve("first-atoms[k=ebic]", A, A[:, 0] + A[:, 1]).x
        np.testing.assert_allclose(x[:2], 1.0)
        assert calls == [10] and not x[2:].any()
    finally:
        del registry.ALGORITHMS["first-atoms"]


def test_rows_of_a_rule_are_its_own_and_say_what_it_is_told(tmp_path):
    chosen = choose_algorithms("omp,omp[k=ebic],omp[k=noise],omp[gamma=0.5,k=ebic]")
    assert [one.told for one in chosen] == [("k",), (), ("noise",), ()]
    assert [one.label for one in chosen][1:] == [
        "omp[k=ebic]",
        "omp[k=noise]",
        "omp[gamma=0.5,k=ebic]",
    ]
    assert choose_algorithm("omp").recipe["options"] == {"tol": 1e-10}
    assert not chosen[1].has_twin and chosen[0].has_twin
    experiment = SupportDistance(
        chosen,
        choose_problem("gaussian[snr=20]"),
        n=64,
        m=40,
        ks=[3],
        trials=3,
        seed=0,
        time_limit=60.0,
    )
    with Store(tmp_path) as store:
        run(
            experiment,
            store,
            workers=2,
            command="test",
            environment={},
            console=Console(quiet=True),
        )
        rows = store.frame().set_index(["algorithm_recipe", "trial"])
    for one in chosen[1:]:
        recipe = algorithm_recipe(one, 60.0)
        for trial in range(3):
            instance = sparsebench.draw("gaussian", m=40, n=64, k=3, trial=trial, snr=20.0)
            told = {"noise": instance.noise} if "noise" in one.told else {}
            x = sparsebench.solve(one.label, instance.A, instance.y, **told).x
            error = np.linalg.norm(x - instance.x) / np.linalg.norm(instance.x)
            assert rows.loc[(recipe, trial), "relative_error"] == pytest.approx(error)


def test_the_supports_along_the_path_of_the_lasso():
    """Those of scikit-learn's path, among which the criterion is least."""
    for trial in range(3):
        instance = sparsebench.draw("gaussian", m=60, n=100, k=6, snr=15.0, trial=trial)
        A, y = instance.A, instance.y
        _, _, coefficients = lars_path(np.array(A), y, method="lasso", alpha_min=1e-3)
        supports = {tuple(np.flatnonzero(x)) for x in coefficients.T if np.count_nonzero(x) <= 30}
        values = {
            support: by_hand("ebic", residual(A, y, list(support)), len(support), 60, 100, y @ y)
            for support in supports
        }
        found = tuple(np.flatnonzero(sparsebench.solve("homotopy[k=ebic]", A, y).x))
        assert found == min(values, key=values.get)
