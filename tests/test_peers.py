"""The peers: that each computes what its name says, judged without our own algorithms."""

import dataclasses
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
import references

import sparsebench
from sparsebench import registry
from sparsebench.solvers import peers
from sparsebench.solvers.peers import answers
from sparsebench.types import Dictionary, InputError

PEERS = [entry for entry in sparsebench.algorithms() if entry.family == "peer"]
LASSO = [entry.name for entry in PEERS if "lambda" in entry.told]
CALLS = {
    "spams-lars": peers.spams.spams_lars,
    "spams-fista": peers.spams.spams_fista,
    "celer-lasso": peers.celer.celer_lasso,
    "skglm-lasso": peers.skglm.skglm_lasso,
    "pylops-fista": peers.pylops.pylops_fista,
}
TIGHT = {
    "spams-fista": {"tol": 1e-9, "max_iter": 20_000},
    "celer-lasso": {"tol": 1e-9, "max_iter": 100},
    "skglm-lasso": {"tol": 1e-4, "max_iter": 100},
    "pylops-fista": {"tol": 1e-7, "max_iter": 20_000},
}
SILENT = {"spams-ols", "spams-lars", "abess"}  # they do not tell their iterations


def need(name):
    entry = next(entry for entry in PEERS if entry.name == name)
    if not entry.installed:
        pytest.skip(f"{entry.requires} is not installed: pip install 'sparsebench[peers]'")


def ols(A, y, k):
    """Orthogonal least squares, plainly: the atom whose addition leaves the least residual."""
    support = []
    for _ in range(k):
        rest = [j for j in range(A.shape[1]) if j not in support]
        left = [
            np.linalg.norm(y - A @ references.on_support(A, y, np.array([*support, j])))
            for j in rest
        ]
        support.append(rest[int(np.argmin(left))])
    return references.on_support(A, y, np.sort(support))


def omp(A, y, k):
    """Orthogonal matching pursuit, plainly."""
    support, residual = [], y
    for _ in range(k):
        support.append(int(np.argmax(np.abs(A.T @ residual))))
        residual = y - A @ references.on_support(A, y, np.array(support))
    return references.on_support(A, y, np.sort(support))


@pytest.mark.parametrize("columns", ["raw", "unit"])
@pytest.mark.parametrize(
    ("name", "rule"), [("sklearn-omp", omp), ("sklearn-omp-gram", omp), ("spams-ols", ols)]
)
def test_the_greedy_peers_are_what_they_are_called(name, rule, columns):
    need(name)
    for trial in range(4):
        instance = sparsebench.draw(
            "gaussian", m=30, n=60, k=10, trial=trial, columns=columns, snr=20.0
        )
        expected = rule(instance.A, instance.y, 10)
        found = sparsebench.solve(name, instance.A, instance.y, 10).x
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_spams_is_told_its_tolerance(monkeypatch):
    """Without one it compares with memory that nobody has set: now and then nothing is found."""
    need("spams-ols")
    import spams

    told = []
    pursuit = spams.omp
    monkeypatch.setattr(spams, "omp", lambda *a, **own: told.append(own) or pursuit(*a, **own))
    instance = sparsebench.draw("gaussian", m=30, n=60, k=10)
    assert sparsebench.solve("spams-ols", instance.A, instance.y, 10).status == "converged"
    assert [own["eps"] for own in told] == [0.0]


def test_the_two_greedy_rules_differ_on_these_instances():
    """Otherwise the test above could not tell OLS from OMP."""
    different = 0
    for trial in range(4):
        instance = sparsebench.draw("gaussian", m=30, n=60, k=10, trial=trial, snr=20.0)
        one, other = (rule(instance.A, instance.y, 10) for rule in (omp, ols))
        different += not np.array_equal(one != 0, other != 0)
    assert different


def handed(instance):
    """The Lasso that a peer is handed: columns of mean square 1, largest correlation 1."""
    A = instance.A / np.sqrt(np.mean(np.sum(instance.A**2, axis=0)))
    return A, instance.y / np.abs(A.T @ instance.y).max()


def objective(A, y, x, lam):
    return 0.5 * np.sum((y - A @ x) ** 2) + lam * np.abs(x).sum()


def answer_of(name, instance, lam, **options):
    chosen = {**registry.get_algorithm(name).options, "lam": lam, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CALLS[name](Dictionary(instance.A), instance.y[:, None], 10, **chosen)


@pytest.mark.parametrize("name", LASSO)
@pytest.mark.parametrize("columns", ["raw", "unit"])
def test_the_lasso_peers_meet_the_optimality_conditions(name, columns):
    need(name)
    instance = sparsebench.draw("gaussian", m=60, n=128, k=10, columns=columns, snr=20.0)
    lam = 0.05
    x = answer_of(name, instance, lam, **TIGHT.get(name, {})).x[:, 0]
    A, y = handed(instance)
    correlations = A.T @ (y - A @ x)
    assert np.abs(correlations).max() <= lam * (1 + 1e-4)
    large = np.abs(x) > 1e-6
    assert 5 < large.sum() < 128
    np.testing.assert_allclose(correlations[large], lam * np.sign(x[large]), rtol=1e-3)


@pytest.mark.parametrize("lam", [1e-1, 1e-3, 1e-4])
@pytest.mark.parametrize("name", LASSO)
def test_a_lasso_peer_is_converged_only_near_the_optimum(name, lam):
    """On pulses that overlap, where tolerances that ignore lambda are met far from the optimum."""
    need(name)
    need("spams-lars")
    instance = sparsebench.draw("deconvolution", m=80, n=80, k=8)
    A, y = handed(instance)
    # An upper bound of the optimum, whoever computed it.
    optimum = objective(A, y, answer_of("spams-lars", instance, lam).x[:, 0], lam)
    few = {} if name == "spams-lars" else {"max_iter": 2}
    for options in ({}, few):
        answer = answer_of(name, instance, lam, **options)
        found = objective(A, y, answer.x[:, 0], lam)
        if answer.status == ("converged",):
            assert found <= optimum / (1 - 3e-3)
        if answer.status == ("not converged",):
            assert answer.n_iter is None or answer.n_iter[0] < options.get("max_iter", 10_000)
    if few:
        assert answer.status == ("iteration limit",)


@pytest.mark.parametrize("name", LASSO)
def test_a_lasso_peer_is_converged_where_the_gap_is_closed(name):
    need(name)
    for snr, lam in ((float("inf"), 1e-3), (20.0, 1e-2)):
        instance = sparsebench.draw("gaussian", m=60, n=128, k=10, snr=snr)
        A, y = handed(instance)
        answer = answer_of(name, instance, lam)
        x, residual = answer.x[:, 0], y - A @ answer.x[:, 0]
        dual = residual * min(1.0, lam / np.abs(A.T @ residual).max())
        below = dual @ y - 0.5 * dual @ dual
        found = objective(A, y, x, lam)
        closed = found - below <= 3e-3 * found
        assert answer.status == ("converged" if closed else "not converged",)
        # The norm of an update is small too where the momentum turns.
        assert closed or name == "pylops-fista"


def test_the_gap_is_that_of_the_lasso():
    """Against a solved case: an orthonormal A, where the optimum is soft thresholding."""
    rng = np.random.default_rng(3)
    A = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    y, lam = rng.standard_normal(12), 0.4
    c = A.T @ y
    best = np.sign(c) * np.maximum(np.abs(c) - lam, 0)
    lowest = objective(A, y, best, lam)
    assert abs(answers.gap(A, y, best, lam)) < 1e-14
    for x in (np.zeros(12), best + 0.1, c):
        above = (objective(A, y, x, lam) - lowest) / objective(A, y, x, lam)
        assert answers.gap(A, y, x, lam) >= above
        # With the optimal dual point, or any multiple of it, there is nothing between them.
        assert answers.gap(A, y, x, lam, 7 * (y - A @ best)) == pytest.approx(above, abs=1e-14)
    assert answers.gap(A, np.zeros(12), np.zeros(12), lam) == 0


def test_the_iterations_of_spams_fista_are_its_steps():
    need("spams-fista")
    instance = sparsebench.draw("gaussian", m=40, n=80, k=5)
    A, y = handed(instance)
    norm = np.linalg.norm(A, 2) ** 2

    def steps(count, lam=1e-2):
        x = point = np.zeros(80)
        momentum = 1.0
        for _ in range(count):
            new = point + A.T @ (y - A @ point) / norm
            new = np.sign(new) * np.maximum(np.abs(new) - lam / norm, 0)
            following = 0.5 * (1 + np.sqrt(1 + 4 * momentum**2))
            x, point = new, new + (momentum - 1) / following * (new - x)
            momentum = following
        return x

    for options, status in (({}, "converged"), ({"max_iter": 7}, "iteration limit")):
        answer = answer_of("spams-fista", instance, 1e-2, **options)
        assert answer.status == (status,)
        count = int(answer.n_iter[0])
        np.testing.assert_allclose(answer.x[:, 0], steps(count), atol=1e-12)
        assert np.abs(answer.x[:, 0] - steps(count + 1)).max() > 1e-8
    assert count == 7


@pytest.mark.parametrize("name", [entry.name for entry in PEERS])
def test_iterations_that_a_peer_does_not_tell_are_missing(name):
    need(name)
    instance = sparsebench.draw("gaussian", m=40, n=80, k=5)
    one = sparsebench.solve(name, instance.dictionary, instance.y, 5)
    two = sparsebench.solve(name, instance.dictionary, np.stack([instance.y] * 2, axis=1), 5)
    chain = sparsebench.solve(f"{name}+htp", instance.dictionary, instance.y, 5)
    if name in SILENT:
        assert one.n_iter is two.n_iter is chain.n_iter is chain.stages[0].n_iter is None
        assert chain.stages[1].n_iter >= 0
    else:
        assert one.n_iter > 0
        assert two.n_iter.tolist() == [one.n_iter] * 2
        assert chain.n_iter == one.n_iter + chain.stages[1].n_iter


@pytest.mark.parametrize("name", ["sklearn-omp", "sklearn-omp-gram", "spams-ols"])
def test_a_greedy_peer_is_converged_at_k_atoms_or_with_nothing_left(name):
    need(name)
    A = np.random.default_rng(0).standard_normal((20, 30))
    for y, k in ((A[:, 3] - A[:, 8], 9), (A @ np.ones(30), 6)):
        result = sparsebench.solve(name, A, y, k)
        assert result.status == "converged"
    # Too few atoms, or coefficients that are no least squares.
    y, x = A @ np.ones(30), np.zeros((30, 1))
    for chosen, k in (([1, 2], 3), ([1, 2, 3], 3)):
        x[:] = 0
        x[chosen, 0] = np.linalg.lstsq(A[:, chosen], y)[0]
        full = len(chosen) == k
        assert answers.pursued(A, y[:, None], x, k) == ("converged" if full else "not converged",)
        assert answers.pursued(A, y[:, None], 1.001 * x, k) == ("not converged",)


def test_an_atom_orthogonal_to_y_ends_omp_of_scikit_learn_and_it_shows():
    """The second atom is orthogonal to y, and the residual is not orthogonal to it."""
    need("sklearn-omp")
    A, y = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 0.0])
    np.testing.assert_allclose(omp(A, y, 2), [1.0, -1.0])
    np.testing.assert_allclose(sparsebench.solve("omp", A, y, 2).x, [1.0, -1.0])
    short = sparsebench.solve("sklearn-omp", A, y, 2)
    assert (short.status, short.n_iter, np.count_nonzero(short.x)) == ("not converged", 1, 1)
    whole = sparsebench.solve("sklearn-omp-gram", A, y, 2)
    assert (whole.status, whole.n_iter) == ("converged", 2)
    np.testing.assert_allclose(whole.x, [1.0, -1.0])


def test_abess_is_converged_where_it_would_stay():
    """Started from its own answer, it makes a further exchange where it was not converged."""
    need("abess")
    from abess import LinearRegression

    statuses = []
    for trial in range(20):
        instance = sparsebench.draw("gaussian", m=100, n=200, k=40, trial=trial, columns="unit")
        A, y = instance.A, instance.y * (1e7 / np.linalg.norm(instance.y))
        result = sparsebench.solve("abess", A, y, 40)
        again = LinearRegression(
            support_size=40,
            fit_intercept=False,
            thread=1,
            ic_type="loss",
            important_search=0,
            A_init=result.support,
        ).fit(A, y, is_normal=False)
        stays = np.array_equal(np.flatnonzero(again.coef_), result.support)
        assert result.status == ("converged" if stays else "not converged")
        statuses.append(str(result.status))
    assert set(statuses) == {"converged", "not converged"}


def test_abess_is_at_a_local_minimum_of_single_swaps():
    need("abess")
    reached = 0
    for trial in range(5):
        instance = sparsebench.draw("gaussian", m=30, n=50, k=5, trial=trial, snr=10.0)
        A, y = instance.A, instance.y
        x = sparsebench.solve("abess", A, y, 5).x
        support = np.flatnonzero(x)
        found = np.linalg.norm(y - A @ x)
        best = min(
            np.linalg.norm(y - A @ references.on_support(A, y, np.append(kept, j)))
            for kept in (np.delete(support, i) for i in range(5))
            for j in range(50)
            if j not in kept
        )
        reached += found <= best * (1 + 1e-10)
    # Its exchanges try the atoms in the order of their sacrifices, not every pair.
    assert reached >= 3


@pytest.mark.parametrize("name", sorted(peers.TOGETHER))
def test_many_signals_at_once_are_many_signals(name):
    need(name)
    rng = np.random.default_rng(1)
    instance = sparsebench.draw("gaussian", m=40, n=80, k=5, columns="unit")
    x = np.zeros((80, 7))
    for column in x.T:
        column[rng.choice(80, 5, replace=False)] = rng.uniform(1, 2, 5) * 10.0 ** rng.integers(
            -3, 4
        )
    Y = instance.A @ x
    together = peers.solve_together(name, instance.dictionary, Y, 5)
    assert together.x.shape == (80, 7)
    assert together.seconds > 0
    alone = [sparsebench.solve(name, instance.dictionary, y, 5) for y in Y.T]
    np.testing.assert_allclose(together.x, np.stack([one.x for one in alone], axis=1), rtol=1e-8)
    assert together.status == tuple(one.status for one in alone)
    if name in SILENT:
        assert together.n_iter is None
    else:
        assert together.n_iter.tolist() == [one.n_iter for one in alone]
    for scale in (1e-8, 1e8, 2.0**-600):
        scaled = peers.solve_together(name, instance.dictionary, scale * Y, 5)
        np.testing.assert_allclose(scaled.x, scale * together.x, rtol=1e-8)
        assert scaled.status == together.status


@pytest.mark.parametrize("name", [entry.name for entry in PEERS])
def test_a_peer_is_charged_for_its_own_call_and_what_it_was_handed(name, monkeypatch):
    need(name)
    instance = sparsebench.draw("gaussian", m=40, n=80, k=5)
    entry = next(entry for entry in PEERS if entry.name == name)
    called = sys.modules[entry.function.__module__]
    monkeypatch.setattr(called, "timed", lambda function, *a, **o: (function(*a, **o), 3.0))
    seconds = sparsebench.solve(name, instance.A, instance.y, 5).seconds
    assert seconds == 3.0 * (1 + len(entry.shares))


@pytest.mark.parametrize("name", [entry.name for entry in PEERS])
def test_what_is_kept_with_a_dictionary_is_not_written(name):
    need(name)
    instance = sparsebench.draw("gaussian", m=40, n=80, k=5)
    dictionary = Dictionary(instance.A)
    kept = [answers.even_atoms, answers.even_gram, answers.unit_atoms]
    before = [make(dictionary).copy() for make in kept]
    sparsebench.solve(name, dictionary, instance.y, 5)
    for make, copy in zip(kept, before, strict=True):
        assert np.array_equal(make(dictionary), copy)


@pytest.mark.parametrize("name", ["spams-fista", "pylops-fista", "celer-lasso", "skglm-lasso"])
def test_a_peer_that_ran_out_of_iterations_says_so(name):
    need(name)
    instance = sparsebench.draw("gaussian", m=40, n=80, k=5)
    result = sparsebench.solve(name, instance.A, instance.y, 5, max_iter=1, tol=1e-15)
    assert result.status == "iteration limit"


@pytest.mark.parametrize("name", LASSO)
def test_a_lambda_that_means_nothing_is_refused(name):
    need(name)
    with pytest.raises(InputError, match="fraction"):
        sparsebench.solve(name, np.eye(4), np.ones(4), 1, lam=1.5)


def test_no_warning_of_a_peer_reaches_the_user():
    """scikit-learn warns when it stops before k atoms; here warnings are errors."""
    need("sklearn-omp")
    A = np.random.default_rng(0).standard_normal((20, 30))
    for name in ("sklearn-omp", "sklearn-omp-gram"):
        x = sparsebench.solve(name, A, A[:, 3] - A[:, 8], 9).x
        np.testing.assert_allclose(A @ x, A[:, 3] - A[:, 8], atol=1e-9)


def test_a_missing_package_is_one_line_or_passed_over(monkeypatch):
    absent = registry.get_algorithm("omp")
    monkeypatch.setitem(
        registry.ALGORITHMS,
        "absent-peer",
        dataclasses.replace(absent, name="absent-peer", requires="no_such_package"),
    )
    with pytest.raises(InputError, match=r"needs the package 'no_such_package'"):
        sparsebench.solve("absent-peer", np.eye(3), np.ones(3), 1)
    assert "absent-peer" not in {c.name for c in registry.choose_algorithms("*p*")}
    with pytest.raises(InputError, match=r"absent-peer needs the package"):
        registry.choose_algorithms("absent*")


def test_importing_the_package_imports_no_peer():
    code = (
        "import sys, sparsebench; sparsebench.algorithms(); "
        "print(*{'spams', 'celer', 'skglm', 'abess', 'pylops', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == ""


def test_the_extra_names_what_the_peers_require():
    root = Path(sparsebench.__file__).parent.parent
    if not (root / "pyproject.toml").exists():
        pytest.skip("installed without its pyproject.toml")
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    named = {part.split(">")[0] for part in project["optional-dependencies"]["peers"]}
    packages = {"sklearn": "scikit-learn", "spams": "spams-bin"}
    assert named == {packages.get(e.requires, e.requires) for e in PEERS}


@pytest.mark.parametrize(("m", "n"), [(2, 4), (3, 1), (1, 1)])
def test_abess_is_not_asked_for_what_it_cannot_do(m, n):
    need("abess")
    with pytest.raises(InputError, match="abess needs three measurements and two atoms"):
        sparsebench.solve("abess", np.ones((m, n)), np.arange(1.0, m + 1), 1)
