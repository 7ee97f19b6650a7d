"""The structured problems are the matrices that they say they are."""

import numpy as np
import pytest
from scipy.fft import dct
from scipy.linalg import hadamard

import sparsebench
from sparsebench.problems import draw
from sparsebench.problems.instruments import beams
from sparsebench.types import InputError


def matrix(name, m, n, trial=0):
    return draw(name, m=m, n=n, k=2, trial=trial).A


def test_signs_are_independent_and_equally_likely():
    signs = np.sqrt(32) * np.concatenate(
        [matrix("bernoulli", 32, 64, trial) for trial in range(20)]
    )
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 4 / np.sqrt(signs.size)
    products = (signs[:, :-1] * signs[:, 1:]).mean()
    assert abs(products) < 4 / np.sqrt(signs.size)


@pytest.mark.parametrize(
    ("name", "whole"),
    [("dct", dct(np.eye(64), norm="ortho", axis=0)), ("hadamard", hadamard(64) / 8)],
)
def test_rows_of_a_basis_are_distinct_and_any(name, whole):
    m, chosen = 24, np.zeros(64)
    for trial in range(300):
        A = matrix(name, m, 64, trial)
        np.testing.assert_allclose(A @ A.T, 64 / m * np.eye(m), atol=1e-12)
        found = np.abs(A / np.sqrt(64 / m) @ whole.T).argmax(axis=1)
        np.testing.assert_allclose(A, np.sqrt(64 / m) * whole[found], atol=1e-12)
        chosen[found] += 1
    # Each of the 64 rows is drawn with probability m / 64.
    assert np.abs(chosen / 300 - m / 64).max() < 4.5 * np.sqrt(m / 64 * (1 - m / 64) / 300)
    if name == "hadamard":
        np.testing.assert_allclose(np.linalg.norm(A, axis=0), 1)


@pytest.mark.parametrize("rho", [0.0, 0.9, -0.5])
def test_correlated_rows_have_the_stated_covariance(rho):
    rows = np.concatenate([matrix(f"toeplitz[rho={rho}]", 30, 30, trial) for trial in range(400)])
    places = np.arange(30)
    wanted = rho ** np.abs(np.subtract.outer(places, places)).astype(float)
    covariance = rows.T @ rows / len(rows)
    # The variance of an entry is (1 + wanted²) over the number of rows.
    assert np.abs(covariance - wanted).max() < 5 * np.sqrt(2 / len(rows))


def test_sparse_columns_have_so_many_ones_in_any_rows():
    counts = np.zeros(40)
    for trial in range(100):
        A = matrix("sparse-binary[ones=5]", 40, 80, trial)
        assert ((A > 0).sum(axis=0) == 5).all()
        np.testing.assert_allclose(A[A > 0], 1 / np.sqrt(5))
        counts += (A > 0).sum(axis=1)
    share, size = 5 / 40, 100 * 80
    assert np.abs(counts / size - share).max() < 4.5 * np.sqrt(share * (1 - share) / size)


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, np.pi / 2, 2.5])
def test_lengths_of_beams_are_those_of_many_points(angle):
    side, count = 7, 400_000
    A = beams(side, angle)
    direction = np.array([-np.sin(angle), np.cos(angle)])
    normal = np.array([np.cos(angle), np.sin(angle)])
    reach = np.linspace(-side, side, count)
    for i in range(side):
        points = normal * (i - (side - 1) / 2) + reach[:, None] * direction + side / 2
        inside = ((points >= 0) & (points < side)).all(axis=1)
        columns, rows = np.floor(points[inside]).astype(int).T
        lengths = np.bincount(rows * side + columns, minlength=side**2) * 2 * side / count
        # Along a line of the grid a beam may be said to be on either side.
        np.testing.assert_allclose(A[i].sum(), lengths.sum(), atol=1e-3)
        if not np.isclose(angle % (np.pi / 2), 0):
            np.testing.assert_allclose(A[i], lengths, atol=1e-3)


def test_tomography_sees_every_pixel():
    for side, directions in ((4, 1), (8, 3), (12, 6)):
        A = matrix("tomography", side * directions, side**2)
        np.testing.assert_allclose(np.linalg.norm(A, axis=0), 1)
        # The beams of direction 0 lie along the middles of the columns of pixels.
        upright = A[:side] > 0
        assert np.array_equal(upright, np.tile(np.eye(side, dtype=bool), side))


def test_spectra_follow_their_law():
    A = matrix("unmixing", 200, 60)
    assert A.min() > 0 and A.max() <= 1
    fine = matrix("unmixing", 399, 60)
    np.testing.assert_allclose(fine[::2], A)  # the same functions, on a finer grid
    # The steepest that five bands can be: .6 / .01 exp(-1/2) each.
    assert np.abs(np.diff(fine, axis=0)).max() * 398 < 5 * 60 * np.exp(-0.5)
    assert sparsebench.Dictionary(A).coherence > 0.99
    assert not np.array_equal(A, matrix("unmixing[draw=1]", 200, 60))
    assert (draw("unmixing", m=200, n=60, k=5).x >= 0).all()


@pytest.mark.parametrize(
    ("text", "sizes", "message"),
    [
        ("bernoulli", (30, 20), "m <= n"),
        ("hadamard", (10, 24), "n a power of two, as 16 or 32, not 24"),
        ("toeplitz[rho=1]", (10, 20), "correlation in"),
        ("toeplitz[rho=nan]", (10, 20), "correlation in"),
        ("sparse-binary[ones=0]", (10, 20), "at least 1"),
        ("sparse-binary", (4, 20), "needs m >= 8, not m = 4"),
        ("tomography", (8, 20), "n a square, as 16 or 25, not 20"),
        ("tomography", (9, 16), "a multiple of 4, not m = 9"),
        ("unmixing[amplitudes=none]", (9, 16), "amplitudes"),
        ("dct[snr=nan]", (9, 16), "snr"),
    ],
)
def test_what_they_cannot_be_is_one_line(text, sizes, message):
    with pytest.raises(InputError, match=message) as refused:
        matrix(text, *sizes)
    assert "\n" not in str(refused.value)
