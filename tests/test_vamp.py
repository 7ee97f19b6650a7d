"""Vector AMP and Bernoulli-Gaussian AMP against their state evolution, and the posterior mean."""

import numpy as np
import pytest
from scipy.stats import norm

import sparsebench
from sparsebench.solvers.endings import CONVERGED
from sparsebench.solvers.vamp import Prior, message_passing_with, vector_message_passing
from sparsebench.types import Dictionary

RATE, VARIANCE = 0.1, 1.0
GRID = np.linspace(-12.0, 12.0, 4001)


def posterior(r, tau, rate=RATE, variance=VARIANCE):
    """Mean and variance of x given r = x + N(0, tau), by densities."""
    on = rate * norm.pdf(r, scale=np.sqrt(variance + tau))
    active = on / (on + (1 - rate) * norm.pdf(r, scale=np.sqrt(tau)))
    mean, spread = variance / (variance + tau) * r, variance * tau / (variance + tau)
    return active * mean, active * (mean**2 + spread) - (active * mean) ** 2


def error(tau):
    """The least mean squared error of x from x + N(0, tau): the posterior variance, averaged."""
    total = 0.0
    for weight, size in ((RATE, VARIANCE + tau), (1 - RATE, tau)):
        r = GRID * np.sqrt(size)
        spread = posterior(r, tau)[1]
        total += weight * np.trapezoid(norm.pdf(GRID) * spread, GRID)
    return total


def rotationally_invariant(m, n, condition, rng):
    """A, its singular values, geometric with ||A||_F² = n, and its right vectors, uniform."""
    values = np.geomspace(1.0, 1.0 / condition, m)
    values *= np.sqrt(n / np.sum(values**2))
    right = np.linalg.qr(rng.standard_normal((n, m)))[0].T
    return values[:, np.newaxis] * right, values, right


def draw(A, noise, rng):
    """x, noise and y of the moments that they have on average over many."""
    m, n = A.shape
    k = round(RATE * n)
    values = norm.ppf((np.arange(k) + 0.5) / k)
    x = np.zeros(n)
    x[rng.choice(n, k, replace=False)] = values * np.sqrt(VARIANCE / np.mean(values**2))
    errors = rng.standard_normal(m)
    return x, A @ x + errors * np.sqrt(noise / np.mean(errors**2))


class Recording(Prior):
    """A prior that keeps the estimates it has made."""

    def estimate(self, r, tau):
        """Estimate, and keep the mean."""
        found = super().estimate(r, tau)
        self.means = [*getattr(self, "means", []), found[0]]
        return found


def test_the_posterior_is_that_of_its_densities():
    r, tau = np.linspace(-4, 4, 41), 0.3
    prior = Prior(RATE, VARIANCE, 0.1)
    mean, spread, active = prior.estimate(r, tau)
    expected = posterior(r, tau)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(spread, expected[1], rtol=1e-9)
    # The slope of the mean is the variance over tau.
    width = 1e-6
    slope = (prior.estimate(r + width, tau)[0] - prior.estimate(r - width, tau)[0]) / (2 * width)
    np.testing.assert_allclose(slope, spread / tau, rtol=1e-6)
    assert ((active > 0) & (active < 1)).all()


@pytest.mark.parametrize("condition", [1.0, 10.0, 100.0])
def test_vector_amp_follows_its_state_evolution(condition):
    """Within 3 %, of the mean over 240 instances of n = 2000; its standard error is about 1 %."""
    m, n, noise, iterations = 1000, 2000, 1e-3, 6
    rng = np.random.default_rng(int(condition))
    found = np.zeros(iterations)
    for _ in range(20):
        A, values, right = rotationally_invariant(m, n, condition, rng)
        dictionary = Dictionary(A)
        dictionary.__dict__["svd"] = np.eye(m), values, right  # a second each otherwise
        for _ in range(12):
            x, y = draw(A, noise, rng)
            prior = Recording(RATE, VARIANCE, noise)
            vector_message_passing(dictionary, y, prior, False, iterations, 0.0)
            found += np.mean((np.array(prior.means) - x) ** 2, axis=1) / 240
    expected, precision = [], 1.0 / (RATE * VARIANCE)
    for _ in range(iterations):
        linear = (np.sum(1.0 / (values**2 / noise + precision)) + (n - m) / precision) / n
        precision = 1.0 / linear - precision
        expected.append(error(1.0 / precision))
        precision = 1.0 / expected[-1] - precision
    np.testing.assert_allclose(found, expected, rtol=0.03)
    assert expected[-1] < 0.2 * expected[0]


def test_it_goes_on_where_amp_fails():
    """Singular values in a ratio of 100: AMP diverges or finds nothing."""
    for trial in range(3):
        rng = np.random.default_rng(trial)
        A, _, _ = rotationally_invariant(250, 500, 100.0, rng)
        x = np.zeros(500)
        x[rng.choice(500, 20, replace=False)] = rng.choice([-1.0, 1.0], 20)
        x[x != 0] *= rng.uniform(1, 2, 20)
        y = A @ x
        assert np.array_equal(sparsebench.solve("em-vamp", A, y).support, np.flatnonzero(x))
        for other in ("em-bg-amp", "amp"):
            k = (20,) if other == "amp" else ()
            missed = sparsebench.solve(other, A, y, *k)
            assert not np.array_equal(missed.support, np.flatnonzero(x))


def test_amp_for_the_prior_follows_its_state_evolution():
    """What EM learns is near the truth, and the noise of its last step that of state evolution."""
    m, n, noise = 1000, 2000, 1e-2
    rng = np.random.default_rng(0)
    tau = noise + RATE * VARIANCE * n / m
    for _ in range(60):
        tau = noise + error(tau) * n / m
    found = []
    for _ in range(4):
        A = rng.standard_normal((m, n))
        A /= np.linalg.norm(A, axis=0)
        _, y = draw(A, noise, rng)
        prior = Prior.first(y, m, n, float(n))
        z, _, _, code = message_passing_with(Dictionary(A), y, prior, 200, 1e-6)
        assert code == CONVERGED
        found.append(float(z @ z) / m)
        assert prior.rate == pytest.approx(RATE, rel=0.25)
        assert prior.variance == pytest.approx(VARIANCE, rel=0.25)
    assert np.mean(found) == pytest.approx(tau, rel=0.03)
