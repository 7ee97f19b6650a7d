"""The peers: that each computes what its name says, judged without our own algorithms."""

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
from sparsebench.types import Dictionary, InputError

PEERS = [entry for entry in sparsebench.algorithms() if entry.family == "peer"]
LASSO = [entry.name for entry in PEERS if "lambda" in entry.told]
CALLS = {
    "spams-lars": peers._spams_lars,
    "spams-fista": peers._spams_fista,
    "celer-lasso": peers._celer,
    "skglm-lasso": peers._skglm,
    "pylops-fista": peers._pylops_fista,
}
TIGHT = {
    "spams-fista": {"tol": 1e-9, "max_iter": 20_000},
    "celer-lasso": {"tol": 1e-9, "max_iter": 100},
    "skglm-lasso": {"tol": 1e-4, "max_iter": 100},
    "pylops-fista": {"tol": 1e-9, "max_iter": 20_000},
}


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


def test_the_two_greedy_rules_differ_on_these_instances():
    """Otherwise the test above could not tell OLS from OMP."""
    different = 0
    for trial in range(4):
        instance = sparsebench.draw("gaussian", m=30, n=60, k=10, trial=trial, snr=20.0)
        one, other = (rule(instance.A, instance.y, 10) for rule in (omp, ols))
        different += not np.array_equal(one != 0, other != 0)
    assert different


@pytest.mark.parametrize("name", LASSO)
@pytest.mark.parametrize("columns", ["raw", "unit"])
def test_the_lasso_peers_meet_the_optimality_conditions(name, columns):
    need(name)
    instance = sparsebench.draw("gaussian", m=60, n=128, k=10, columns=columns, snr=20.0)
    dictionary = Dictionary(instance.A)
    lam = 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = CALLS[name](dictionary, instance.y[:, None], 10, lam=lam, **TIGHT.get(name, {}))
    # The problem that the peer was handed: columns of mean square 1, largest correlation 1.
    A = instance.A / np.sqrt(np.mean(np.sum(instance.A**2, axis=0)))
    y = instance.y / np.abs(A.T @ instance.y).max()
    x = answer.x[:, 0]
    correlations = A.T @ (y - A @ x)
    assert np.abs(correlations).max() <= lam * (1 + 1e-4)
    large = np.abs(x) > 1e-6
    assert 5 < large.sum() < 128
    np.testing.assert_allclose(correlations[large], lam * np.sign(x[large]), rtol=1e-3)


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
    for column, y in zip(together.x.T, Y.T, strict=True):
        one = sparsebench.solve(name, instance.dictionary, y, 5).x
        np.testing.assert_allclose(column, one, rtol=1e-8)


@pytest.mark.parametrize("name", [entry.name for entry in PEERS])
def test_a_peer_is_charged_for_its_own_call_and_what_it_was_handed(name, monkeypatch):
    need(name)
    instance = sparsebench.draw("gaussian", m=40, n=80, k=5)
    monkeypatch.setattr(peers, "_timed", lambda function, *a, **o: (function(*a, **o), 3.0))
    seconds = sparsebench.solve(name, instance.A, instance.y, 5).seconds
    handed = next(entry for entry in PEERS if entry.name == name).shares
    assert seconds == 3.0 * (1 + len(handed))


@pytest.mark.parametrize("name", [entry.name for entry in PEERS])
def test_what_is_kept_with_a_dictionary_is_not_written(name):
    need(name)
    instance = sparsebench.draw("gaussian", m=40, n=80, k=5)
    dictionary = Dictionary(instance.A)
    kept = [peers._even_atoms, peers._even_gram, peers._unit_atoms]
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
        registry._ALGORITHMS,
        "absent-peer",
        registry.dataclasses.replace(absent, name="absent-peer", requires="no_such_package"),
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
