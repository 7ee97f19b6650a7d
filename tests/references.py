"""The published loops in plain NumPy with `lstsq`: slow, short, and independent of the package."""

import numpy as np


def largest(v, k):
    """Sorted indices of the k largest |v|; ties to the lowest index."""
    return np.sort(np.argsort(-np.abs(v), kind="stable")[:k])


def on_support(A, y, support):
    x = np.zeros(A.shape[1])
    x[support] = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    return x


def unit_step(A):
    return 1 / np.mean(np.sum(A**2, axis=0))


def spectral_step(A):
    return 1 / np.linalg.norm(A, 2) ** 2


def sea(A, y, k, eta=1.0, max_iter=1000, tol=1e-10):
    X = np.zeros(A.shape[1])
    best, best_x = np.inf, None
    for _ in range(max_iter):
        x = on_support(A, y, largest(X, k))
        residual = np.linalg.norm(y - A @ x)
        if residual < best:
            best, best_x = residual, x
        if residual <= tol * np.linalg.norm(y):
            break
        X = X - eta * unit_step(A) * A.T @ (A @ x - y)
    return best_x


def htp(A, y, k, step, max_iter=1000):
    """A `step` of None asks for NHTP's."""
    x = np.zeros(A.shape[1])
    seen, best, best_x = [], np.inf, None
    for _ in range(max_iter):
        g = A.T @ (y - A @ x)
        mu = step
        if mu is None:
            T = largest(g, k)
            mu = np.sum(g[T] ** 2) / np.sum((A[:, T] @ g[T]) ** 2)
        S = tuple(largest(x + mu * g, k))
        if S in seen:
            break
        seen.append(S)
        x = on_support(A, y, list(S))
        residual = np.linalg.norm(y - A @ x)
        if residual < best:
            best, best_x = residual, x
        if residual <= 1e-10 * np.linalg.norm(y):
            break
    return best_x


def iht(A, y, k, step, max_iter=1000):
    x = np.zeros(A.shape[1])
    for _ in range(max_iter):
        u = x + step * A.T @ (y - A @ x)
        new = np.zeros_like(x)
        S = largest(u, k)
        new[S] = u[S]
        same = np.array_equal(new != 0, x != 0)
        change = np.linalg.norm(new - x) / np.linalg.norm(new)
        x = new
        small = np.linalg.norm(y - A @ x) <= 1e-10 * np.linalg.norm(y)
        if small or (same and change <= 1e-8):
            break
    return on_support(A, y, np.flatnonzero(x))


def niht(A, y, k, max_iter=1000, c=0.01, kappa=2.0):
    x = np.zeros(A.shape[1])
    S = largest(A.T @ y, k)
    for _ in range(max_iter):
        g = A.T @ (y - A @ x)
        bottom = np.sum((A[:, S] @ g[S]) ** 2)
        if bottom == 0:
            break
        mu = np.sum(g[S] ** 2) / bottom
        while True:
            u = x + mu * g
            T = largest(u, k)
            new = np.zeros_like(x)
            new[T] = u[T]
            if np.array_equal(T, S):
                break
            d = new - x
            if mu * np.sum((A @ d) ** 2) <= (1 - c) * np.sum(d**2):
                break
            mu /= kappa * (1 - c)
        same = np.array_equal(T, S)
        change = np.linalg.norm(new - x) / np.linalg.norm(new)
        x, S = new, T
        small = np.linalg.norm(y - A @ x) <= 1e-10 * np.linalg.norm(y)
        if small or (same and change <= 1e-8):
            break
    return on_support(A, y, S)


def amp(A, y, k, alpha, max_iter=1000, tol=1e-5):
    norms = np.linalg.norm(A, axis=0)
    A = A / norms
    m = y.size
    x, z = np.zeros(A.shape[1]), y
    for _ in range(max_iter):
        tau = np.linalg.norm(z) / np.sqrt(m)
        if np.linalg.norm(z) <= tol * np.linalg.norm(y):
            break
        u = x + A.T @ z
        new = np.sign(u) * np.maximum(np.abs(u) - alpha * tau, 0)
        change = np.linalg.norm((new - x) / norms) / np.linalg.norm(new / norms)
        x = new
        if change <= tol:
            break
        z = y - A @ x + z * np.count_nonzero(x) / m
    return on_support(A * norms, y, largest(x / norms, k))


def sbl(A, y, iterations):
    """gamma, the posterior mean and the noise variance after so many EM steps, nothing pruned."""
    m, n = A.shape
    power = np.mean(y**2)
    gamma, noise = np.full(n, y @ y / np.sum(A**2)), 1e-4 * power
    for _ in range(iterations):
        covariance = np.linalg.inv(A.T @ A / noise + np.diag(1 / gamma))
        mean = covariance @ A.T @ y / noise
        degrees = np.sum(1 - np.diag(covariance) / gamma)
        gamma = mean**2 + np.diag(covariance)
        noise = max((np.sum((y - A @ mean) ** 2) + noise * degrees) / m, 1e-10 * power)
    return gamma, mean, noise
