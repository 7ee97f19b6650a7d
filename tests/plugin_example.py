"""A plug-in as a user would write it, and some that go wrong."""

import time

import numpy as np

import sparsebench


def matched_filter(A, y, k):
    """Least squares on the k atoms of largest |cosine| with y."""
    scores = np.abs(A.T @ y) / np.linalg.norm(A, axis=0)
    support = np.argsort(-scores)[:k]
    x = np.zeros(A.shape[1])
    x[support] = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    return x


@sparsebench.algorithm("raises", source="none")
def _raises(A, y, k):
    raise RuntimeError("the [moon] is\n full")


def nan(A, y, k):
    return np.full(A.shape[1], np.nan)


def dense(A, y, k):
    return np.ones(A.shape[1])


def writes(A, y, k):
    y[:] = 0.0  # its own copy
    A[:] = 0.0  # refused: the dictionary is shared
    return np.zeros(A.shape[1])


def exits(A, y, k):
    raise SystemExit(3)


def sleeps(A, y, k):
    time.sleep(30)


def helper(values):
    """Not an algorithm: other parameters."""
    return values
