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


def ols(A, y, k, tol=1e-10):
    """At each step every atom's residual, from its distance to the span of the chosen ones."""
    chosen, x = [], np.zeros(A.shape[1])
    while len(chosen) < k and np.linalg.norm(y - A @ x) > tol * np.linalg.norm(y):
        Q = np.linalg.qr(A[:, chosen])[0] if chosen else np.zeros((A.shape[0], 1))
        apart = A - Q @ (Q.T @ A)
        apart -= Q @ (Q.T @ apart)
        distance = np.linalg.norm(apart, axis=0)
        usable = distance > 1e-14 * np.linalg.norm(A, axis=0)
        usable[chosen] = False
        gain = np.zeros(A.shape[1])
        gain[usable] = np.abs(apart[:, usable].T @ (y - A @ x)) / distance[usable]
        chosen.append(int(np.argmax(gain)))
        x = on_support(A, y, chosen)
    return x


def cosamp(A, y, k, max_iter=1000, x=None):
    x = np.zeros(A.shape[1]) if x is None else x
    S = np.flatnonzero(x)
    best_x = on_support(A, y, S)
    best, merged = np.linalg.norm(y - A @ best_x), []
    for _ in range(max_iter):
        T = tuple(np.union1d(S, largest(A.T @ (y - A @ x), 2 * k)))
        if T in merged or best <= 1e-10 * np.linalg.norm(y):
            break
        merged.append(T)
        b = on_support(A, y, list(T))
        S = np.array(T)[largest(b[list(T)], k)]
        x = np.zeros(A.shape[1])
        x[S] = b[S]
        fit = on_support(A, y, S)
        residual = np.linalg.norm(y - A @ fit)
        if residual < best:
            best, best_x = residual, fit
    return best_x


def sp(A, y, k, max_iter=1000, x=None):
    S = largest(A.T @ y, k) if x is None else np.flatnonzero(x)
    x = on_support(A, y, S)
    for _ in range(max_iter):
        r = y - A @ x
        T = np.union1d(S, largest(A.T @ r, k))
        new_S = T[largest(on_support(A, y, T)[T], k)]
        new = on_support(A, y, new_S)
        solved = np.linalg.norm(r) <= 1e-10 * np.linalg.norm(y)
        if solved or not np.linalg.norm(y - A @ new) < np.linalg.norm(r):
            break
        x, S = new, new_S
    return x


def cgiht(A, y, k, restart=False, max_iter=1000, x=None):
    if x is None:
        x = np.zeros(A.shape[1])
        T = largest(A.T @ y, k)
        x[T] = unit_step(A) * (A.T @ y)[T]
    T = np.flatnonzero(x)
    p, best, changed = np.zeros(A.shape[1]), np.inf, True
    for _ in range(max_iter + 1):
        r = A.T @ (y - A @ x)
        residual = np.linalg.norm(y - A @ x)
        if residual < best:
            best, best_T = residual, T
        if residual <= 1e-10 * np.linalg.norm(y):
            break
        image = A[:, T] @ p[T]
        bottom = image @ image
        beta = -(A[:, T] @ r[T]) @ image / bottom if bottom > 0 else 0
        p = r + (0 if restart and changed else beta) * p
        bottom = np.sum((A[:, T] @ p[T]) ** 2)
        if bottom == 0:
            break
        w = x + (r[T] @ p[T] / bottom) * p
        changed = not np.array_equal(T, largest(w, k))
        T = largest(w, k)
        last, x = x, np.zeros_like(x)
        x[T] = w[T]
        if not changed and np.linalg.norm(x - last) <= 1e-8 * np.linalg.norm(x):
            break
    return on_support(A, y, best_T)


def iht_l0(A, y, k, lam=3e-3, step=None, max_iter=1000, x=None):
    step = 1.8 * spectral_step(A) if step is None else step
    top = step * np.abs(A.T @ y).max() ** 2 / 2
    level = top / 2 if x is None else lam * top
    x = np.zeros(A.shape[1]) if x is None else x
    for _ in range(max_iter):
        new = x + step * A.T @ (y - A @ x)
        new[np.abs(new) <= np.sqrt(2 * level * step)] = 0
        same = np.array_equal(new != 0, x != 0)
        change = np.linalg.norm(new - x) / max(np.linalg.norm(new), 1e-300)
        x = new
        if np.linalg.norm(y - A @ x) <= 1e-10 * np.linalg.norm(y):
            break
        if same and level == lam * top and change <= 1e-8:
            break
        if same and change <= 1e-2:
            level = max(lam * top, level / 2)
    S = largest(x, k)
    return on_support(A, y, S[x[S] != 0])
