"""Sparse Bayesian learning against dense EM, and its evidence."""

import numpy as np
import pytest
import references

import sparsebench
from sparsebench.solvers.sbl import maximise_evidence
from sparsebench.types import Dictionary


def small_problems():
    for trial in range(3):
        instance = sparsebench.draw("gaussian", m=20, n=40, k=5, snr=20.0, trial=trial)
        yield instance.A, instance.y, 5
        instance = sparsebench.draw(
            "deconvolution", m=30, n=30, k=4, width=1.0, snr=30.0, trial=trial
        )
        yield instance.A, instance.y, 4
        rng = np.random.default_rng(trial)
        A = rng.standard_normal((40, 15))
        yield A, A[:, :3] @ np.array([1.0, -1.5, 2.0]) + 0.1 * rng.standard_normal(40), 3


def evidence(A, y, gamma, noise):
    covariance = (A * gamma) @ A.T + noise * np.eye(y.size)
    return -0.5 * (np.linalg.slogdet(covariance)[1] + y @ np.linalg.solve(covariance, y))


def test_the_iterates_are_those_of_dense_expectation_maximisation():
    for A, y, _ in small_problems():
        for iterations in (1, 3, 20):
            means, gamma, noise, n_iter, _ = maximise_evidence(
                Dictionary(A), y, iterations, 0.0, 0.0
            )
            expected = references.sbl(A, y, iterations)
            assert n_iter == iterations
            np.testing.assert_allclose(gamma, expected[0], rtol=1e-6, atol=1e-12)
            np.testing.assert_allclose(means, expected[1], rtol=1e-6, atol=1e-9)
            assert noise == pytest.approx(expected[2], rel=1e-6)


def test_the_evidence_never_falls():
    for A, y, _ in small_problems():
        values = []
        for iterations in range(1, 60):
            _, gamma, noise, _, _ = maximise_evidence(Dictionary(A), y, iterations, 0.0, 0.0)
            values.append(evidence(A, y, gamma, noise))
        assert np.all(np.diff(values) >= -1e-9 * np.abs(values[-1]))
        assert values[-1] > values[0] + 0.5


def test_pruning_leaves_the_support_and_the_evidence():
    """Where m < n the evidence has a singular rim at noise 0, which only the full EM creeps up."""
    for A, y, k in small_problems():
        means, gamma, noise, _, code = maximise_evidence(Dictionary(A), y, 5000, 1e-7, 1e-5)
        full_gamma, full_means, full_noise = references.sbl(A, y, 5000)
        assert code == 0
        assert np.count_nonzero(means) < A.shape[1]
        if A.shape != (20, 40):
            possible = evidence(A, y, full_gamma, full_noise)
            assert evidence(A, y, gamma, noise) == pytest.approx(possible, abs=0.02)
        support = references.largest(full_means, k)
        assert np.array_equal(references.largest(means, k), support)
        found = sparsebench.solve("sbl", A, y, k, max_iter=5000, tol=1e-7)
        np.testing.assert_allclose(found.x, references.on_support(A, y, support), atol=1e-9)


def test_the_noise_is_learnt_where_the_signals_fill_a_part_of_the_space():
    """Not where m < n and all atoms differ: EM then ends far below the noise."""
    ratios = []
    for trial in range(5):
        instance = sparsebench.draw("deconvolution", m=200, n=200, k=8, snr=20.0, trial=trial)
        _, _, noise, _, _ = maximise_evidence(instance.dictionary, instance.y, 500, 1e-4, 1e-5)
        ratios.append(noise / np.mean((instance.y - instance.A @ instance.x) ** 2))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(
    "problem",
    [
        ("gaussian", {"m": 100, "n": 200, "k": 38}),  # at the threshold of l1
        ("deconvolution", {"m": 150, "n": 150, "k": 8, "width": 3.0}),
    ],
)
def test_it_recovers_more_than_l1_does(problem):
    name, recipe = problem
    won = {"sbl": 0, "homotopy": 0}
    for trial in range(15):
        instance = sparsebench.draw(name, trial=trial, **recipe)
        for solver in won:
            result = sparsebench.solve(solver, instance.dictionary, instance.y, recipe["k"])
            won[solver] += np.array_equal(result.support, instance.support)
    assert won["sbl"] >= won["homotopy"] + 3, won


def test_the_iteration_limit_is_named():
    instance = sparsebench.draw("gaussian", m=60, n=128, k=30)
    result = sparsebench.solve("sbl", instance.A, instance.y, 30, max_iter=2)
    assert (result.status, result.n_iter) == ("iteration limit", 2)
