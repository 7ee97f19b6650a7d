"""Sixteen structured dictionaries that nobody draws at random and everybody has."""

import numpy as np
from scipy.fft import dct
from scipy.linalg import circulant, hadamard, toeplitz

COSINES = dct(np.eye(64), norm="ortho")


def orthonormal(rng):
    return np.linalg.qr(rng.standard_normal((64, 64)))[0]


def equiangular(prime=61):
    """Paley's equiangular tight frame, shape (31, 62): every |cosine| is 1 / sqrt(61)."""
    squares = {i * i % prime for i in range(1, prime)}
    residues = np.array([0] + [1 if i in squares else -1 for i in range(1, prime)])
    conference = np.ones((prime + 1, prime + 1))
    conference[0, 0] = 0.0
    places = np.arange(prime)
    conference[1:, 1:] = residues[(places[:, None] - places) % prime]
    values, vectors = np.linalg.eigh(conference)
    frame = vectors[:, values > 0].T
    return frame / np.linalg.norm(frame, axis=0)


def expander(rng):
    """Eight ones in every column, shape (64, 128)."""
    A = np.zeros((64, 128))
    for column in A.T:
        column[rng.choice(64, 8, replace=False)] = 1.0
    return A


def pulses(width=2.0):
    """Sampled Gaussian pulses along a line, shape (64, 64): a symmetric Toeplitz matrix."""
    return toeplitz(np.exp(-0.5 * (np.arange(64) / width) ** 2))


DICTIONARIES = {
    "identity": lambda rng: np.eye(64),
    "cosines": lambda rng: COSINES,
    "hadamard": lambda rng: hadamard(64).astype(float),
    "orthonormal": orthonormal,
    "two bases": lambda rng: np.hstack([np.eye(64), COSINES]),
    "three bases": lambda rng: np.hstack([np.eye(64), COSINES, hadamard(64) / 8.0]),
    "partial cosines": lambda rng: dct(np.eye(96), norm="ortho")[
        np.sort(rng.choice(96, 48, replace=False))
    ],
    "equiangular": lambda rng: equiangular(),
    "partial circulant": lambda rng: circulant(rng.choice([-1.0, 1.0], 96))[
        np.sort(rng.choice(96, 48, replace=False))
    ],
    "pulses": lambda rng: pulses(),
    "repeated": lambda rng: np.repeat(rng.standard_normal((48, 40)), 2, axis=1),
    "scaled": lambda rng: rng.standard_normal((48, 96)) * 10.0 ** rng.uniform(-6, 6, 96),
    "non-negative": lambda rng: rng.uniform(size=(64, 128)),
    "sparse binary": expander,
    "tall": lambda rng: rng.standard_normal((128, 32)),
    "rank deficient": lambda rng: rng.standard_normal((48, 24)) @ rng.standard_normal((24, 64)),
}


def draw(name, trial, k=3):
    """Return (A, x, y) with k non-zeros, uniform in ±[1, 2], each a pure function of its name."""
    rng = np.random.default_rng([trial, *name.encode()])
    A = DICTIONARIES[name](rng)
    x = np.zeros(A.shape[1])
    x[rng.choice(A.shape[1], k, replace=False)] = rng.uniform(1, 2, k) * rng.choice([-1, 1], k)
    return A, x, A @ x
