"""The published loops in plain NumPy with `lstsq`: slow, short, and independent of the package.

Of real or complex numbers: `square` is |v|² of each entry.
"""

import numpy as np


def square(v):
    return np.abs(v) ** 2


def largest(v, k):
    """Sorted indices of the k largest |v|; ties to the lowest index."""
    return np.sort(np.argsort(-np.abs(v), kind="stable")[:k])


def on_support(A, y, support):
    x = np.zeros(A.shape[1], A.dtype)
    x[support] = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    return x


def least_norm(A, y):
    """The solution of least norm where the rows of A are independent, without a cut-off."""
    Q, R = np.linalg.qr(A.conj().T)
    return Q @ np.linalg.solve(R.conj().T, y)


def unit_step(A):
    return 1 / np.mean(np.sum(square(A), axis=0))


def spectral_step(A):
    return 1 / np.linalg.norm(A, 2) ** 2


def sea(A, y, k, eta=1.0, max_iter=1000, tol=1e-10):
    X = np.zeros(A.shape[1], A.dtype)
    best, best_x = np.inf, None
    for _ in range(max_iter):
        x = on_support(A, y, largest(X, k))
        residual = np.linalg.norm(y - A @ x)
        if residual < best:
            best, best_x = residual, x
        if residual <= tol * np.linalg.norm(y):
            break
        X = X - eta * unit_step(A) * A.conj().T @ (A @ x - y)
    return best_x


def htp(A, y, k, step, max_iter=1000):
    """A `step` of None asks for NHTP's."""
    x = np.zeros(A.shape[1], A.dtype)
    seen, best, best_x = [], np.inf, None
    for _ in range(max_iter):
        g = A.conj().T @ (y - A @ x)
        mu = step
        if mu is None:
            T = largest(g, k)
            mu = np.sum(square(g[T])) / np.sum(square(A[:, T] @ g[T]))
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


def safe_step(A, step):
    """1/||A||² where the step is longer, but below twice that."""
    shortest = spectral_step(A)
    return min(step, shortest) if step < 2 * shortest else step


def iht(A, y, k, step, max_iter=1000, tol=1e-10):
    x, pace, safe = np.zeros(A.shape[1], A.dtype), step, safe_step(A, step)
    for _ in range(max_iter):
        u = x + pace * A.conj().T @ (y - A @ x)
        new = np.zeros_like(x)
        S = largest(u, k)
        new[S] = u[S]
        before, after = np.sum(square(y - A @ x)), np.sum(square(y - A @ new))
        if pace > safe and after - before > 1e-12 * np.sum(square(y)):
            pace = safe
            continue
        pace = step
        same = np.array_equal(new != 0, x != 0)
        change = np.linalg.norm(new - x) / np.linalg.norm(new)
        x = new
        small = np.linalg.norm(y - A @ x) <= tol * np.linalg.norm(y)
        if small or (same and change <= 1e-8):
            break
    return on_support(A, y, np.flatnonzero(x))


def niht(A, y, k, max_iter=1000, c=0.01, kappa=2.0, tol=1e-10):
    x = np.zeros(A.shape[1], A.dtype)
    S = largest(A.conj().T @ y, k)
    for _ in range(max_iter):
        g = A.conj().T @ (y - A @ x)
        bottom = np.sum(square(A[:, S] @ g[S]))
        if bottom == 0:
            break
        mu = np.sum(square(g[S])) / bottom
        while True:
            u = x + mu * g
            T = largest(u, k)
            new = np.zeros_like(x)
            new[T] = u[T]
            if np.array_equal(T, S):
                break
            d = new - x
            if mu * np.sum(square(A @ d)) <= (1 - c) * np.sum(square(d)):
                break
            mu /= kappa * (1 - c)
        same = np.array_equal(T, S)
        change = np.linalg.norm(new - x) / np.linalg.norm(new)
        x, S = new, T
        small = np.linalg.norm(y - A @ x) <= tol * np.linalg.norm(y)
        if small or (same and change <= 1e-8):
            break
    return on_support(A, y, S)


def ols(A, y, k, tol=1e-10):
    """At each step every atom's residual, from its distance to the span of the chosen ones."""
    chosen, x = [], np.zeros(A.shape[1], A.dtype)
    while len(chosen) < k and np.linalg.norm(y - A @ x) > tol * np.linalg.norm(y):
        Q = np.linalg.qr(A[:, chosen])[0] if chosen else np.zeros((A.shape[0], 1))
        apart = A - Q @ (Q.conj().T @ A)
        apart -= Q @ (Q.conj().T @ apart)
        distance = np.linalg.norm(apart, axis=0)
        usable = distance > 1e-14 * np.linalg.norm(A, axis=0)
        usable[chosen] = False
        gain = np.zeros(A.shape[1], A.dtype)
        gain[usable] = np.abs(apart[:, usable].conj().T @ (y - A @ x)) / distance[usable]
        chosen.append(int(np.argmax(gain)))
        x = on_support(A, y, chosen)
    return x


def cosamp(A, y, k, max_iter=1000, x=None):
    x = np.zeros(A.shape[1], A.dtype) if x is None else x
    S = np.flatnonzero(x)
    best_x = on_support(A, y, S)
    best, merged = np.linalg.norm(y - A @ best_x), []
    for _ in range(max_iter):
        T = tuple(np.union1d(S, largest(A.conj().T @ (y - A @ x), 2 * k)))
        if T in merged or best <= 1e-10 * np.linalg.norm(y):
            break
        merged.append(T)
        b = on_support(A, y, list(T))
        S = np.array(T)[largest(b[list(T)], k)]
        x = np.zeros(A.shape[1], A.dtype)
        x[S] = b[S]
        fit = on_support(A, y, S)
        residual = np.linalg.norm(y - A @ fit)
        if residual < best:
            best, best_x = residual, fit
    return best_x


def sp(A, y, k, max_iter=1000, x=None):
    S = largest(A.conj().T @ y, k) if x is None else np.flatnonzero(x)
    x = on_support(A, y, S)
    for _ in range(max_iter):
        r = y - A @ x
        T = np.union1d(S, largest(A.conj().T @ r, k))
        new_S = T[largest(on_support(A, y, T)[T], k)]
        new = on_support(A, y, new_S)
        solved = np.linalg.norm(r) <= 1e-10 * np.linalg.norm(y)
        if solved or not np.linalg.norm(y - A @ new) < np.linalg.norm(r):
            break
        x, S = new, new_S
    return x


def cgiht(A, y, k, restart=False, max_iter=1000, x=None):
    if x is None:
        x = np.zeros(A.shape[1], A.dtype)
        T = largest(A.conj().T @ y, k)
        x[T] = unit_step(A) * (A.conj().T @ y)[T]
    T = np.flatnonzero(x)
    p, best, changed = np.zeros(A.shape[1], A.dtype), np.inf, True
    for _ in range(max_iter + 1):
        r = A.conj().T @ (y - A @ x)
        residual = np.linalg.norm(y - A @ x)
        if residual < best:
            best, best_T = residual, T
        if residual <= 1e-10 * np.linalg.norm(y):
            break
        image = A[:, T] @ p[T]
        bottom = np.sum(square(image))
        beta = -np.vdot(image, A[:, T] @ r[T]) / bottom if bottom > 0 else 0
        p = r + (0 if restart and changed else beta) * p
        bottom = np.sum(square(A[:, T] @ p[T]))
        if bottom == 0:
            break
        w = x + (np.vdot(p[T], r[T]) / bottom) * p
        changed = not np.array_equal(T, largest(w, k))
        T = largest(w, k)
        last, x = x, np.zeros_like(x)
        x[T] = w[T]
        if not changed and np.linalg.norm(x - last) <= 1e-8 * np.linalg.norm(x):
            break
    return on_support(A, y, best_T)


def iht_l0(A, y, k, lam=3e-3, step=None, max_iter=1000, x=None):
    step = 1.8 * spectral_step(A) if step is None else step
    safe = safe_step(A, step)
    top = step * np.abs(A.conj().T @ y).max() ** 2 / 2
    level = top / 2 if x is None else lam * top
    x = np.zeros(A.shape[1], A.dtype) if x is None else x
    pace = step
    for _ in range(max_iter):
        new = x + pace * A.conj().T @ (y - A @ x)
        new[np.abs(new) <= np.sqrt(2 * level * pace)] = 0
        before, after = (
            np.sum(square(y - A @ z)) / 2 + level * np.count_nonzero(z) for z in (x, new)
        )
        if pace > safe and after - before > 1e-12 * np.sum(square(y)):
            pace = safe
            continue
        pace = step
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


def omp(A, y, k, tol=1e-10):
    S, x = [], np.zeros(A.shape[1], A.dtype)
    while len(S) < k and np.linalg.norm(y - A @ x) > tol * np.linalg.norm(y):
        scores = np.abs(A.conj().T @ (y - A @ x))
        scores[S] = 0.0
        S.append(int(np.argmax(scores)))
        x = on_support(A, y, S)
    return x


def outside(A, y, S):
    """(y, A) less their components in the span of A_S; what is left of the atoms in it is 0."""
    rest = np.column_stack([y, A])
    if len(S):
        Q = np.linalg.qr(A[:, S])[0]
        for _ in range(2):
            rest = rest - Q @ (Q.conj().T @ rest)
    r, P = rest[:, 0], rest[:, 1:]
    P[:, np.sum(square(P), axis=0) <= 1e-24 * np.sum(square(A), axis=0)] = 0.0
    P[:, S] = 0.0
    return r, P


def additions(A, y, S):
    """Fall of the squared residual, shape (n,), when an atom is added to S."""
    r, P = outside(A, y, S)
    d = np.sum(square(P), axis=0)
    return np.divide(square(P.conj().T @ r), d, out=np.zeros_like(d), where=d > 0)


def swaps(A, y, S):
    """Squared residual, shape (k, n), when atom S[i] leaves and atom j enters."""
    squared = np.full((len(S), A.shape[1]), np.inf)
    for i in range(len(S)):
        r, P = outside(A, y, [*S[:i], *S[i + 1 :]])
        d = np.sum(square(P), axis=0)
        new = np.sum(square(r)) - np.divide(
            square(P.conj().T @ r), d, out=np.zeros_like(d), where=d > 0
        )
        squared[i] = np.where(d > 0, new, np.inf)
    squared[:, S] = np.inf
    return squared


def all_swaps(A, y, S):
    """The same by one `lstsq` a swap."""
    squared = np.full((len(S), A.shape[1]), np.inf)
    for i in range(len(S)):
        for j in set(range(A.shape[1])) - set(S):
            T = [*S[:i], *S[i + 1 :], j]
            squared[i, j] = np.sum(square(y - A @ on_support(A, y, T)))
    return squared


def els(A, y, k, start=None, swaps=swaps):
    S = list(np.flatnonzero(omp(A, y, k) if start is None else start))
    size = np.linalg.norm(y)
    residual = np.linalg.norm(y - A @ on_support(A, y, S))
    while len(S) < k and residual > 1e-10 * size:
        S.append(int(np.argmax(additions(A, y, S))))
        residual = np.linalg.norm(y - A @ on_support(A, y, S))
    while residual > 1e-10 * size:
        squared = swaps(A, y, S)
        i, j = np.unravel_index(np.argmin(squared), squared.shape)
        T = [*S[:i], *S[i + 1 :], int(j)]
        new = np.linalg.norm(y - A @ on_support(A, y, T))
        if not new < residual - 1e-12 * size:
            break
        S, residual = T, new
    return on_support(A, y, S)


def ompr(A, y, k, step, start=None, max_iter=1000):
    x = omp(A, y, k) if start is None else start
    S = list(np.flatnonzero(x))
    seen, best, best_x = [], np.inf, None
    for _ in range(max_iter):
        x = on_support(A, y, S)
        residual = np.linalg.norm(y - A @ x)
        if residual < best:
            best, best_x = residual, x
        seen.append(sorted(S))
        z = x + step * A.conj().T @ (y - A @ x)
        z[S] = x[S]  # the gradient is zero there
        others = np.setdiff1d(np.arange(len(z)), S)
        J = np.array([*S, others[np.argmax(np.abs(z[others]))]])
        S = list(J[largest(z[J], k)]) if len(J) > k else list(J)
        if sorted(S) in seen or residual <= 1e-10 * np.linalg.norm(y):
            break
    return best_x


def removals(A, y, S):
    """Rise of the squared residual, shape (k,), when an atom of S leaves."""
    inverse = np.linalg.pinv(A[:, S])
    return square(inverse @ y) / np.sum(square(inverse), axis=1)


def sbr(A, y, k, start=None, max_iter=10_000):
    S = [] if start is None else list(np.flatnonzero(start))
    size = np.linalg.norm(y)
    best, best_S, penalty = np.inf, None, None
    for _ in range(max_iter):
        now = np.sum(square(y - A @ on_support(A, y, S)))
        if len(S) <= k and now < best:
            best, best_S = now, list(S)
        if now <= (1e-10 * size) ** 2:
            break
        falls = additions(A, y, S)
        j = int(np.argmax(falls))
        rises = removals(A, y, S)
        i = int(np.argmin(rises)) if S else -1
        penalty = falls[j] if penalty is None else penalty
        removal, insertion = penalty - rises[i] if S else -np.inf, falls[j] - penalty
        if max(removal, insertion) <= 1e-9 * penalty:
            if len(S) > k or falls[j] == 0:
                break
            penalty = min(penalty, falls[j])
            S.append(j)
        elif removal > insertion:
            S.pop(i)
        else:
            S.append(j)
    return on_support(A, y, best_S)


def splicing(A, y, k, start=None, c_max=None):
    norms = np.sum(square(A), axis=0)
    scores = np.abs(A.conj().T @ y) / np.sqrt(norms)
    if start is not None:
        scores[start != 0] = np.inf
    S = largest(scores, k)
    x = on_support(A, y, S)
    size = np.linalg.norm(y)
    while np.linalg.norm(y - A @ x) > 1e-10 * size:
        outsiders = np.setdiff1d(np.arange(len(x)), S)
        xi = norms[S] * square(x[S]) / 2
        zeta = square((A.conj().T @ (y - A @ x))[outsiders]) / (2 * norms[outsiders])
        leave, enter = np.argsort(xi, kind="stable"), np.argsort(-zeta, kind="stable")
        trials = []
        for C in range(1, min(c_max or k, k, len(outsiders)) + 1):
            T = np.sort(np.append(np.delete(S, leave[:C]), outsiders[enter[:C]]))
            trial = on_support(A, y, T)
            trials.append((np.linalg.norm(y - A @ trial), C, T, trial))
        best = min(trials, key=lambda t: t[:2])
        if not best[0] < np.linalg.norm(y - A @ x) - 1e-12 * size:
            break
        S, x = best[2:]
    return x


def amp(A, y, k, alpha, max_iter=1000, tol=1e-5):
    norms = np.linalg.norm(A, axis=0)
    A = A / norms
    m = y.size
    x, z = np.zeros(A.shape[1], A.dtype), y
    for _ in range(max_iter):
        tau = np.linalg.norm(z) / np.sqrt(m)
        if np.linalg.norm(z) <= tol * np.linalg.norm(y):
            break
        u = x + A.conj().T @ z
        size = np.maximum(np.abs(u), 1e-300)
        new = u / size * np.maximum(size - alpha * tau, 0)
        slope = 1 - alpha * tau / (2 * size[new != 0]) if np.iscomplexobj(u) else new != 0
        change = np.linalg.norm((new - x) / norms) / np.linalg.norm(new / norms)
        x = new
        if change <= tol:
            break
        z = y - A @ x + z * np.sum(slope) / m
    return on_support(A * norms, y, largest(x / norms, k))


def sbl(A, y, iterations):
    """gamma, the posterior mean and the noise variance after so many EM steps, nothing pruned."""
    m, n = A.shape
    power = np.mean(square(y))
    gamma, noise = np.full(n, m * power / np.sum(square(A))), 1e-4 * power
    for _ in range(iterations):
        covariance = np.linalg.inv(A.conj().T @ A / noise + np.diag(1 / gamma))
        variance = np.diag(covariance).real
        mean = covariance @ A.conj().T @ y / noise
        degrees = np.sum(1 - variance / gamma)
        gamma = square(mean) + variance
        noise = max((np.sum(square(y - A @ mean)) + noise * degrees) / m, 1e-10 * power)
    return gamma, mean, noise
