"""Our theorem on support exploration: its proof step by step, its study, and what breaks it."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from pages import ROOT, blocks, check_columns
from test_cli import sparsebench as run_command

import sparsebench
from sparsebench.experiments import isometry
from sparsebench.experiments import studies as catalogue
from sparsebench.experiments.isometry import (
    ATOMS,
    IsometryStudy,
    contradictions,
    first_iterations,
    instances,
    largest_noise,
)
from sparsebench.theory import exploration_bound, restricted_isometry


@pytest.fixture
def command(monkeypatch, capsys):
    return lambda *words: run_command(*words, monkeypatch=monkeypatch, capsys=capsys)


def unit(A):
    return A / np.linalg.norm(A, axis=0)


def cases(seed, count, k, n=9):
    """Yield A with unit columns, x* with at most k non-zeros and noise, from easy to hard."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        size = 10 ** rng.uniform(-2.5, 0)
        A = unit(np.eye(n) + size * rng.standard_normal((n, n)))
        x = np.zeros(n)
        non_zeros = k - (i % 5 == 4 and k > 1)
        x[rng.choice(n, non_zeros, replace=False)] = rng.uniform(1, 1 + i % 3, non_zeros)
        x *= rng.choice([-1, 1], n)
        e = rng.standard_normal(n) * 10 ** rng.uniform(-4, -0.5) * (i % 2)
        yield A, x, e


@pytest.mark.parametrize("k", [1, 2, 3])
def test_every_step_of_the_proof(k):
    """On any support: the gradient, the Schur complement's eigenvalues, and what indices gain."""
    rng, tight = np.random.default_rng(k), 0.0
    for A, x, e in cases(10 + k, 60, k):
        n = A.shape[1]
        delta, y = restricted_isometry(A, 2 * k + 1), A @ x + e
        epsilon = largest_noise(A, e[np.newaxis], k)[0]
        assert epsilon <= np.linalg.norm(e) + 1e-12
        for _ in range(20):
            S = rng.choice(n, k, replace=False)
            z = np.linalg.lstsq(A[:, S], y, rcond=None)[0]
            gradient = A.T @ (y - A[:, S] @ z)
            np.testing.assert_allclose(gradient[S], 0, atol=1e-10)
            outside = np.setdiff1d(np.arange(n), S)
            absent = np.intersect1d(outside, np.flatnonzero(x))
            false = np.setdiff1d(outside, absent)
            P = np.eye(len(A)) - A[:, S] @ np.linalg.pinv(A[:, S])
            for i in outside[:2]:
                U = np.union1d(absent, [i])
                eigenvalues = np.linalg.eigvalsh(A[:, U].T @ P @ A[:, U])
                assert np.abs(eigenvalues - 1).max() <= delta + 1e-10
            error = delta * np.linalg.norm(x[absent]) + epsilon
            gaps = np.abs(gradient - x)
            assert gaps[outside].max() <= error + 1e-10  # x is zero at a false index
            assert error <= delta * np.linalg.norm(x) + epsilon + 1e-12
            if absent.size:
                smallest = np.abs(x[x != 0]).min()
                gains = np.sign(x[absent]) * gradient[absent]
                assert gains.min() >= smallest - error - 1e-10
                tight = max(tight, gaps[outside].max() / error)
            if false.size:
                assert np.abs(gradient[false]).max() <= error + 1e-10
    assert tight > 0.5  # the step says something


def test_the_noise_term_is_the_largest_over_all_supports():
    for k in (1, 2):
        for A, _, e in list(cases(20, 6, k, n=6))[1::2]:
            expected = 0.0
            for S in combinations(range(6), k):
                left = e - A[:, S] @ np.linalg.lstsq(A[:, S], e, rcond=None)[0]
                expected = max(expected, np.abs(np.delete(A, S, axis=1).T @ left).max())
            found = largest_noise(A, np.array([e, -2 * e]), k)
            np.testing.assert_allclose(found, [expected, 2 * expected], rtol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_theorem_holds_for_the_solver(k):
    """Of `sea` itself: without noise it ends in time, with noise it returns the true support."""
    held, noisy, latest = 0, 0, 0.0
    for A, x, e in cases(30 + k, 400, k):
        true, y = np.flatnonzero(x), A @ x + e
        smallest = np.abs(x[true]).min()
        gains = restricted_isometry(A, 2 * k + 1) * np.linalg.norm(x) + np.linalg.norm(e)
        bound = exploration_bound(gains / smallest, k)
        if not np.isfinite(bound):
            continue
        held += 1
        result = sparsebench.solve("sea", A, y, k, max_iter=int(bound))
        assert set(true) <= set(result.support)
        if not e.any():
            assert result.n_iter <= bound
            assert result.status == "converged"
            latest = max(latest, result.n_iter / bound)
        noisy += e.any()
    assert held >= 80
    assert noisy >= 20
    assert latest > 0.6


def test_the_bound_is_attained_on_an_orthonormal_basis():
    """Ties keep the lowest indices: {0, 1}, then {0, 5}, then {1, 5}; and {0}, then {5}."""
    y = np.zeros(8)
    for true in ([5], [1, 5]):
        y[true] = 1.0
        result = sparsebench.solve("sea", np.eye(8), y, len(true))
        assert list(result.support) == true
        assert result.n_iter == exploration_bound(0.0, len(true)) == len(true) + 1


@pytest.mark.parametrize("snr", ["inf", "30"])
def test_the_first_iterations_are_those_of_the_solver(snr):
    """It cannot return a support before that, and does then, unless one before fits better."""
    A = unit(np.random.default_rng(40).standard_normal((10, 20)))
    rng, k = np.random.default_rng(41), 2
    x = np.zeros((60, 20))
    for row in x:
        row[rng.choice(20, k, replace=False)] = rng.uniform(1, 2, k) * rng.choice([-1, 1], k)
    y = isometry.add_noise(x @ A.T, float(snr), rng)
    first = first_iterations(A, y, x != 0, k, 200)
    assert np.isfinite(first).sum() >= 40
    assert first[np.isfinite(first)].max() > 5
    agree = 0
    for one, signal, iteration in zip(x, y, first, strict=True):
        true = list(np.flatnonzero(one))
        if np.isinf(iteration):
            assert list(sparsebench.solve("sea", A, signal, k, max_iter=200).support) != true
            continue
        at = sparsebench.solve("sea", A, signal, k, max_iter=int(iteration))
        agree += list(at.support) == true
        if snr == "inf":
            assert at.n_iter == iteration
            assert list(at.support) == true
        if iteration > 1:
            before = sparsebench.solve("sea", A, signal, k, max_iter=int(iteration) - 1)
            assert list(before.support) != true
    assert agree >= 0.9 * np.isfinite(first).sum()


def test_a_support_may_hold_more_than_the_true_one():
    x = np.zeros(8)
    x[6] = -2.0
    assert first_iterations(np.eye(8), x[np.newaxis], x[np.newaxis] != 0, 3, 10)[0] == 2


def test_the_bound_is_broken_where_the_premise_is_planted_false(monkeypatch):
    """Coherent atoms: SEA takes longer than any bound that small constants would give."""
    A = sparsebench.draw("deconvolution[width=3]", m=20, n=20, k=2).A
    x = np.zeros(20)
    x[[8, 10]] = 1.0, -1.0
    delta, size = restricted_isometry(A, 5), np.linalg.norm(x)
    first = first_iterations(A, (A @ x)[np.newaxis], x[np.newaxis] != 0, 2, 1000)[0]
    assert exploration_bound(delta * size, 2) == np.inf
    planted = exploration_bound(0.1 * size, 2)
    assert first > planted == 3
    rows = IsometryStudy("rip", (1, 2), 2, 4, 0)
    rows.run(1)
    honest = rows.estimates()
    assert honest["broken"].sum() == 0
    monkeypatch.setattr(isometry, "restricted_isometry", lambda A, order: 0.0)
    rows.run(1)
    false = rows.estimates()
    assert false["broken"].sum() > 10
    assert set(false[false["broken"] > 0]["curve"]) >= {"shifted filters, m = 20"}
    assert (false["slack_least"] < 1).any()


def test_guarantees_that_are_not_kept_are_counted():
    rows = pd.DataFrame(
        {
            "by_coherence": [False, False, True],
            "by_babel": [False, False, True],
            "by_babel_htp": [True, False, True],
            "by_support": [True, False, True],
            "omp": [False, False, True],
            "bp": [True, False, True],
            "htp": [False, False, True],
        }
    )
    assert list(contradictions(rows)) == [2, 0, 0]


def test_atoms_are_what_they_are_called():
    rng = np.random.default_rng(50)
    for name, kind in ATOMS.items():
        A = unit(kind.draw(rng, kind.m, 20, kind.lowest))
        assert A.shape == (kind.m, 20), name
    basis = unit(ATOMS["near a basis, m = 20"].draw(rng, 20, 20, 0.0))
    np.testing.assert_allclose(basis.T @ basis, np.eye(20), atol=1e-12)
    simplex = unit(ATOMS["near a simplex, m = 19"].draw(rng, 19, 20, 0.0))
    np.testing.assert_allclose(simplex.T @ simplex, 20 / 19 * np.eye(20) - 1 / 19, atol=1e-12)


def test_the_study_is_that_of_its_instances(command, tmp_path, monkeypatch):
    size = {"ks": (1, 2), "dictionaries": 2, "signals": 4}
    monkeypatch.setitem(catalogue.STUDIES["rip"].sizes, "quick", size)
    code, out, err = command("study", "rip", "--preset", "quick", "-j", 1, "--out", tmp_path)
    assert code == 0, err
    assert "the bound is broken by 0 of" in out.replace("\n", " ")
    assert {path.name for path in tmp_path.iterdir()} == {"rip.csv", "rip.png", "rip.pdf"}
    check_columns(tmp_path / "rip.csv")
    rows = pd.read_csv(tmp_path / "rip.csv")
    assert rows["trials"].sum() == len(ATOMS) * 2 * 4 * 3 * 2
    one = [instances((1, 2), 4, 0, "Gaussian, m = 6", i) for i in range(2)]
    plain = pd.concat(one)
    plain = plain[(plain["k"] == 2) & (plain["snr"] == 20)]
    own = rows[(rows["curve"] == "Gaussian, m = 6") & (rows["panel"] == "k = 2, 20 dB")]
    met = np.isfinite(plain["first"]).sum()
    assert (own["estimate"] * own["trials"]).sum() == pytest.approx(met, abs=1e-3)
    assert own["trials"].sum() == len(plain) == 8
    for x, trials in zip(own["x"], own["trials"], strict=True):
        edges = x * 10 ** np.array([-0.125, 0.125])
        assert plain["x"].between(*edges).sum() == trials
    first = (tmp_path / "rip.png").read_bytes()
    (tmp_path / "rip.png").unlink()
    assert command("figures", "rip", "--data", tmp_path)[0] == 0
    assert (tmp_path / "rip.png").read_bytes() == first


def test_two_processes_find_the_same():
    one, two = (IsometryStudy("rip", (1,), 1, 2, 5) for _ in range(2))
    one.run(1)
    two.run(2)
    pd.testing.assert_frame_equal(one.estimates(), two.estimates())
    assert one.recipe() == two.recipe()


def test_the_committed_study_breaks_no_bound_and_contradicts_no_guarantee():
    rows = pd.read_csv(ROOT / "figures" / "rip.csv")
    assert rows["trials"].sum() >= 20_000
    assert (rows["premise"] * rows["trials"]).sum() >= 10_000
    assert (rows["broken"] == 0).all()
    assert (rows["contradicted"] == 0).all()


def test_the_python_of_the_page_runs():
    """And gives what its comments say."""
    guarantees, exploration = blocks(ROOT / "docs" / "recovery.md", "python")
    names = {}
    exec(guarantees, names)
    A = names["A"]
    expected = [0, 0.235, 0.422, 0.572, 0.722]
    np.testing.assert_allclose(names["babel"](A)[:5], expected, atol=5e-4)
    assert names["guaranteed_sparsity"](A) == {"omp": 3, "bp": 3, "htp": 1}
    coefficient = names["exact_recovery_coefficient"]
    assert coefficient(A, [10, 250, 480]) == pytest.approx(0.33, abs=5e-3)
    assert coefficient(A, range(20)) == pytest.approx(1.27, abs=5e-3)
    exec(exploration, names)
    assert names["bound"] == 3
    assert names["found"]
