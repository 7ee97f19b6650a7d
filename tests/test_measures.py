"""What a row counts of an estimate, and success by it."""

import numpy as np
import pytest

from sparsebench.metrics import index_errors, prediction_error, relative_residual
from sparsebench.types import InputError


def test_missed_and_false_indices_are_differences_of_sets():
    rng = np.random.default_rng(0)
    for _ in range(50):
        true, found = (rng.choice([0.0, -2.0, 1.0], 30, p=[0.6, 0.2, 0.2]) for _ in range(2))
        ours, theirs = (set(np.flatnonzero(values).tolist()) for values in (true, found))
        assert index_errors(true, found) == (len(ours - theirs), len(theirs - ours))
    assert index_errors([1j, 0, 2], [0, 1, 3]) == (1, 1)
    with pytest.raises(InputError, match="one shape"):
        index_errors([1.0], [1.0, 2.0])


@pytest.mark.parametrize("dtype", [float, complex])
def test_the_prediction_error_is_that_of_the_images(dtype):
    rng = np.random.default_rng(1)
    A, true, found = (rng.standard_normal(size).astype(dtype) for size in ((4, 7), 7, 7))
    if dtype is complex:
        A = A + 1j * rng.standard_normal(A.shape)
    own = [sum(A[i, j] * (found - true)[j] for j in range(7)) for i in range(4)]
    whole = [sum(A[i, j] * true[j] for j in range(7)) for i in range(4)]
    expected = np.sqrt(sum(abs(v) ** 2 for v in own) / sum(abs(v) ** 2 for v in whole))
    assert prediction_error(A, true, found) == pytest.approx(expected, rel=1e-12)
    # Without noise y = A x.
    assert relative_residual(A, A @ true, found) == pytest.approx(expected, rel=1e-12)
    assert prediction_error(A, true, true) == 0.0
    assert prediction_error(1e200 * A, true, 3 * true) == pytest.approx(2.0)


def test_of_an_x_without_an_image_the_prediction_error_is_nothing_or_infinite():
    A = np.array([[1.0, 1.0, 0.0]])
    assert prediction_error(A, [1.0, -1.0, 0.0], [2.0, -2.0, 5.0]) == 0.0
    assert prediction_error(A, [1.0, -1.0, 0.0], [2.0, -1.0, 0.0]) == np.inf
