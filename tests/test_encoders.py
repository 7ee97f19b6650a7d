"""Deep l0 encoders: images, optimal codes, training, the problem `digits` and the command."""

import gzip
import itertools
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import check_columns

import sparsebench
from sparsebench.environment import need
from sparsebench.experiments.learned.encoders import EncoderComparison, summary
from sparsebench.learned.dictionary_learning import learn_dictionary
from sparsebench.learned.encoders import Data, Method, Teaching, codes, compare, errors
from sparsebench.learned.optimal_codes import (
    Rule,
    hard_codes,
    l1_codes,
    least_squares,
    shrink,
    squared_norm,
)
from sparsebench.problems import images
from sparsebench.report import figures
from sparsebench.types import InputError

MNIST = Path(os.environ.get("SPARSEBENCH_DATA", "")) / "mnist"
needs_mnist = pytest.mark.skipif(
    not (os.environ.get("SPARSEBENCH_DATA") and (MNIST / "t10k-images-idx3-ubyte.gz").exists()),
    reason="SPARSEBENCH_DATA names no folder with mnist/t10k-images-idx3-ubyte.gz",
)
TINY = Data(p=24, training=300, test=60, size=4)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of this module's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSEBENCH_CACHE", str(folder))
        codes.cache_clear()
        yield folder


@pytest.fixture(scope="module")
def problem():
    """A random dictionary with unit-norm atoms, signals of norm about 3."""
    rng = np.random.default_rng(0)
    D = rng.standard_normal((12, 20))
    D /= np.linalg.norm(D, axis=0)
    true = rng.standard_normal((40, 20)) * (rng.random((40, 20)) < 0.15) * 3
    X = true @ D.T + 0.05 * rng.standard_normal((40, 12))
    return D, X.astype(np.float32)


def test_the_embedded_digits_have_mean_0_and_variance_1():
    found = images.load("digits")
    assert found.train.shape == (1500, 64)
    assert found.test.shape == (297, 64)
    assert found.discarded == 0
    for part in (found.train, found.test):
        assert np.abs(part.mean(1)).max() < 1e-6
        assert np.abs(part.std(1) - 1).max() < 1e-5
    both = np.vstack([found.train, found.test])
    from sklearn.datasets import load_digits

    reference = load_digits().data
    reference = (reference - reference.mean(1, keepdims=True)) / reference.std(1, keepdims=True)
    # The same images in another order.
    assert np.abs(np.sort(both @ np.arange(64)) - np.sort(reference @ np.arange(64))).max() < 1e-3


def test_images_of_low_deviation_are_discarded():
    pixels = np.full((3, 4, 4), 0.5)
    pixels[1, 0, 0] = 0.6  # deviation .024
    pixels[2, :2] = 0.0
    kept = images.normalise(pixels)
    assert kept.shape == (1, 16)
    assert np.allclose(kept[0], [-1] * 8 + [1] * 8)


def test_resizing_is_by_area():
    rng = np.random.default_rng(0)
    pixels = rng.random((2, 28, 28))
    small = images.resize(pixels, 16)
    assert np.allclose(small.mean((1, 2)), pixels.mean((1, 2)))
    # 28 pixels cut into 4 each are 16 x 7: a new pixel is a mean of 7 x 7 of them.
    fine = pixels.repeat(4, axis=1).repeat(4, axis=2)
    assert np.allclose(small, fine.reshape(2, 16, 7, 16, 7).mean((2, 4)))


def l1_value(D, X, weight):
    """The mean of min ½||x - D a||² + weight ||a||₁, by scikit-learn's coordinate descent."""
    from sklearn.decomposition import sparse_encode

    a = sparse_encode(X, D.T, algorithm="lasso_cd", alpha=weight, max_iter=5000)
    return np.mean(0.5 * np.sum((X - a @ D.T) ** 2, 1) + weight * np.abs(a).sum(1))


def test_a_dictionary_is_learnt_until_the_images_held_out_have_settled():
    """The scikit-learn learner ends in its first epochs, with images not learnt from above ours."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    found = images.load("digits")
    learnt = learn_dictionary(found.train, 48, 0, 0.5)
    assert np.allclose(np.linalg.norm(learnt.D, axis=0), 1.0)
    falls = 1 - np.array(learnt.objectives[1:]) / np.array(learnt.objectives[:-1])
    assert learnt.steps == 200 * len(falls)  # of 256 of 1,350 images: 38 epochs a look
    assert np.all(falls[:-1] >= 2e-3)
    assert falls[-1] < 2e-3
    short = MiniBatchDictionaryLearning(
        48, alpha=0.5, batch_size=256, max_iter=10, fit_algorithm="cd", random_state=0
    ).fit(found.train.astype(float))
    assert short.n_steps_ < 60  # of ten epochs
    early = short.components_.T / np.linalg.norm(short.components_, axis=1)
    test = found.test.astype(float)
    first = l1_value(early, test, 0.5)
    assert l1_value(learnt.D, test, 0.5) < 0.99 * first
    # It has settled: as many steps again by another learner gain nothing to speak of.
    again = MiniBatchDictionaryLearning(
        48, alpha=0.5, batch_size=256, max_iter=40, fit_algorithm="cd", random_state=0,
        dict_init=learnt.D.T, tol=0, max_no_improvement=None,
    ).fit(found.train.astype(float))  # fmt: skip
    later = again.components_.T / np.linalg.norm(again.components_, axis=1)
    assert l1_value(later, test, 0.5) > 0.99 * l1_value(learnt.D, test, 0.5)


def test_a_dictionary_of_sparse_signals_is_found_again():
    """Three of sixteen atoms a signal, planted; unused atoms are replaced."""
    rng = np.random.default_rng(0)
    D = rng.standard_normal((20, 16))
    D /= np.linalg.norm(D, axis=0)
    codes = np.zeros((3000, 16))
    places = np.array([rng.choice(16, 3, replace=False) for _ in codes])
    np.put_along_axis(codes, places, rng.choice([-1.0, 1.0], places.shape), 1)
    learnt = learn_dictionary((codes @ D.T).astype(np.float32), 16, 0, 0.05)
    assert np.sum(np.abs(learnt.D.T @ D).max(0) > 0.99) >= 14
    again = learn_dictionary((codes @ D.T).astype(np.float32), 16, 0, 0.05)
    assert np.array_equal(again.D, learnt.D)


def write_idx(path, array, kind=8):
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_an_idx_file_is_read_and_a_damaged_one_refused(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "images.gz"
    write_idx(path, array)
    assert np.array_equal(images.read_idx(path), array)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"is damaged .* get it again from https"):
        images.read_idx(path)
    path.write_bytes(b"not a gzip file")
    with pytest.raises(InputError, match="is damaged"):
        images.read_idx(path)
    path.write_bytes(gzip.compress(gzip.decompress(content)[:-5]))
    with pytest.raises(InputError, match="is truncated"):
        images.read_idx(path)
    write_idx(path, array, kind=13)
    with pytest.raises(InputError, match="no idx file of unsigned bytes"):
        images.read_idx(path)
    with pytest.raises(InputError, match=r"no file .* put it into \$SPARSEBENCH_DATA/mnist/"):
        images.read_idx(tmp_path / "absent.gz")


def test_a_file_of_mnist_with_a_wrong_checksum_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mnist").mkdir()
    write_idx(tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz", np.zeros((2, 28, 28), np.uint8))
    monkeypatch.setenv("SPARSEBENCH_DATA", str(tmp_path))
    with pytest.raises(InputError, match="wrong checksum"):
        images.mnist_file("t10k-images-idx3-ubyte.gz")


@pytest.mark.parametrize("trouble", [OSError("no route to host"), ValueError("hash differs")])
def test_without_a_network_the_error_says_where_to_get_the_file(tmp_path, monkeypatch, trouble):
    import pooch

    def retrieve(*_):
        raise trouble

    monkeypatch.delenv("SPARSEBENCH_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(InputError, match=r"cannot download .* put it into \$SPARSEBENCH_DATA"):
        images.mnist_file("train-images-idx3-ubyte.gz")


def test_what_is_not_installed_is_one_line():
    with pytest.raises(InputError, match=r"pip install 'sparsebench\[learned\]'"):
        need("a_module_that_is_not_there", "this package")
    with pytest.raises(InputError, match="did you mean 'mnist'"):
        images.load("minst")


def test_the_cache_keeps_arrays_and_makes_damaged_ones_again(cache):
    made = []

    def make():
        made.append(1)
        return {"a": np.arange(5)}

    for _ in range(2):
        assert np.array_equal(images.cached({"test": 1}, make)["a"], np.arange(5))
    assert len(made) == 1
    newest = max(cache.glob("*.npz"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:50])
    assert np.array_equal(images.cached({"test": 1}, make)["a"], np.arange(5))
    assert len(made) == 2
    assert not list(cache.glob("*.part"))


def test_l1_codes_agree_with_another_solver(problem):
    from sklearn.linear_model import Lasso

    D, X = problem
    found, gap = l1_codes(D, X, 0.3, tol=1e-6, most=5000)
    lasso = Lasso(alpha=0.3 / 12, fit_intercept=False, tol=1e-10, max_iter=100_000)
    reference = np.array([lasso.fit(D, x).coef_ for x in X.astype(float)])
    assert gap < 1e-3
    assert np.abs(found - reference).max() < 1e-3


def slow_iterations(D, x, rule, step, a, count):
    """Hard thresholding of one signal in float64, and its objectives."""
    values = []
    for _ in range(count):
        u = a + step * D.T @ (x - D @ a)
        if rule.size:
            a = np.zeros_like(u)
            order = np.argsort(-np.abs(u))[: rule.size]
            a[order] = u[order]
            price = 0.0
        else:
            a = u * (np.abs(u) >= np.sqrt(2 * rule.penalty * step))
            price = rule.penalty * np.count_nonzero(a)
        values.append(0.5 * np.sum((x - D @ a) ** 2) + price)
    return a, values


@pytest.mark.parametrize("rule", [Rule(penalty=0.2), Rule(size=3)])
def test_optimal_codes_are_fixed_points_that_descended(problem, rule):
    D, X = problem
    step = 0.98 / squared_norm(D)
    start, _ = l1_codes(D, X, 0.2)
    end = hard_codes(D, X, rule, step, start)
    assert end.settled == 1.0
    assert end.rise < 1e-6
    for x, a, first in zip(X.astype(float), end.codes.astype(float), start, strict=True):
        support = np.flatnonzero(a)
        # Least squares on the support,
        reference = np.linalg.lstsq(D[:, support], x, rcond=None)[0] if support.size else []
        assert np.abs(a[support] - reference).max(initial=0.0) < 1e-5
        # from which 1,000 iterations do not move,
        later, values = slow_iterations(D, x, rule, step, a, 1000)
        assert np.abs(later - a).max() < 1e-5
        # and not above where an independent iteration from the same start gets in a few.
        _, few = slow_iterations(D, x, rule, step, first.astype(float), 5)
        assert np.all(np.diff(few) <= 1e-12)
        assert values[-1] <= few[-1] + 1e-6


@pytest.mark.parametrize("rule", [Rule(penalty=0.2), Rule(size=2)])
def test_optimal_codes_are_near_the_global_optimum(rule):
    """Against all supports of at most three (exactly two) of eight atoms."""
    rng = np.random.default_rng(1)
    D = rng.standard_normal((10, 8))
    D /= np.linalg.norm(D, axis=0)
    places = np.array([rng.choice(8, 2, replace=False) for _ in range(30)])
    true = np.zeros((30, 8))
    np.put_along_axis(true, places, rng.choice([-2.0, 2.0], (30, 2)), 1)
    X = (true @ D.T + 0.02 * rng.standard_normal((30, 10))).astype(np.float32)
    start, _ = l1_codes(D, X, 0.1)
    end = hard_codes(D, X, rule, 0.98 / squared_norm(D), start)
    sizes = (2,) if rule.size else (0, 1, 2, 3)
    optimal = 0
    for x, a in zip(X.astype(float), end.codes, strict=True):
        best = np.inf
        for support in itertools.chain(*(itertools.combinations(range(8), s) for s in sizes)):
            part = D[:, list(support)]
            rest = x - part @ np.linalg.lstsq(part, x, rcond=None)[0] if support else x
            best = min(best, 0.5 * rest @ rest + rule.penalty * len(support))
        value = 0.5 * np.sum((x - D @ a) ** 2) + rule.penalty * np.count_nonzero(a)
        assert value >= best - 1e-5
        optimal += value <= best + 1e-5
    assert optimal >= 24


def test_a_step_that_is_too_long_is_refused(problem):
    D, X = problem
    with pytest.raises(InputError, match="must not exceed 1/"):
        hard_codes(D, X, Rule(size=5), 4 / squared_norm(D), np.zeros((40, 20), np.float32))


def test_the_threshold_rules():
    assert Rule(penalty=0.5).threshold(1.0) == pytest.approx(1.0)
    assert Rule(penalty=0.5, proximal=False).threshold(1.0) == pytest.approx(0.5**0.5)
    u = np.array([[0.5, -2.0, 1.0]], np.float32)
    assert shrink(u, Rule(penalty=0.5), 1.0).tolist() == [[0.0, -2.0, 1.0]]
    assert shrink(u, Rule(size=1), 1.0).tolist() == [[0.0, -2.0, 0.0]]
    # Of equal magnitudes the lowest index, in rows with ties only.
    tied = np.tile([1.0, -1.0], 100)[None]
    assert np.flatnonzero(shrink(tied, Rule(size=10), 1.0)).tolist() == list(range(10))
    u = np.array([[1.0, -2.0, 2.0, 2.0], [4.0, 3.0, 2.0, 1.0]])
    assert shrink(u, Rule(size=2), 1.0).tolist() == [[0, -2.0, 2.0, 0], [4.0, 3.0, 0, 0]]


def test_least_squares_on_supports_of_several_sizes_and_with_equal_atoms(problem):
    D, X = problem
    X = X[:4].astype(float)
    support = np.zeros((4, 20), bool)
    support[1, :1] = support[2, 3:9] = support[3, 1:3] = True
    found = least_squares(D.T @ D, X @ D, support)
    for x, a, own in zip(X, found, support, strict=True):
        reference = np.linalg.lstsq(D[:, own], x, rcond=None)[0]
        assert np.abs(a[own] - reference).max(initial=0.0) < 1e-10
        assert not a[~own].any()
    twice = np.hstack([D[:, :1], D[:, :1], D[:, 1:3]])
    found = least_squares(twice.T @ twice, X @ twice, np.ones((4, 4), bool))
    rest = X - found @ twice.T
    assert np.abs(rest @ twice).max() < 1e-8


def test_errors_of_codes():
    target = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    found = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    measured = errors(found, target)
    assert measured["prediction"] == pytest.approx(100 * 5 / 14)
    assert measured["prediction_mean"] == pytest.approx(100 * (5 / 5 + 0) / 2)
    assert measured["support"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("scaling", ["unit", "spectral"])
def test_an_iterative_row_is_the_iteration(scaling):
    data = Data(p=24, training=300, test=60, size=4, scaling=scaling)
    found = codes(data)
    D, step = found["D"], float(found["step"])
    test = images.load("digits").test[:60].astype(float)
    if scaling == "spectral":
        assert np.linalg.norm(D, 2) < 1
        assert step == pytest.approx(1.0)
    for problem, start in itertools.product(("penalty", "size"), ("zero", "l1")):
        first = found["l1_test"] if start == "l1" else np.zeros((60, 24))
        reference = np.array(
            [
                slow_iterations(D, x, data.rule(problem), step, a, 5)[0]
                for x, a in zip(test, first.astype(float), strict=True)
            ]
        )
        expected = errors(reference, found[f"{problem}_test"])
        row = compare(data, Method("iterative", problem, 5, start), Teaching())
        assert row["prediction"] == pytest.approx(expected["prediction"], rel=1e-2)
        assert row["support"] == pytest.approx(expected["support"], abs=0.1)


def test_scaling_changes_the_codes_by_a_factor_only():
    unit, spectral = codes(TINY), codes(Data(**{**vars(TINY), "scaling": "spectral"}))
    factor = np.linalg.norm(unit["D"], 2) / np.linalg.norm(spectral["D"], 2)
    assert np.abs(unit["size_test"] * factor - spectral["size_test"]).max() < 1e-4
    assert np.allclose(np.linalg.norm(unit["D"], axis=0), 1.0)


@pytest.mark.parametrize("problem", ["penalty", "size"])
def test_a_trained_encoder_beats_the_iteration_it_unrolls(problem):
    """By half of the error at equal depth, below five times the depth, and below the baseline."""
    data = Data(p=48)
    two, ten = (compare(data, Method("iterative", problem, c), Teaching()) for c in (2, 10))
    trained = compare(data, Method("encoder", problem, 2), Teaching(epochs=25))
    baseline = compare(data, Method("baseline", problem), Teaching(epochs=25))
    assert not trained["diverged"]
    assert trained["prediction"] < 0.6 * two["prediction"]
    assert trained["prediction"] < 0.8 * ten["prediction"]
    assert trained["prediction"] < 0.8 * baseline["prediction"]
    assert trained["support"] < ten["support"] - 0.3


def test_an_encoder_from_the_l1_start_starts_there():
    untrained = compare(TINY, Method("iterative", "size", 2, "l1"), Teaching())
    trained = compare(TINY, Method("encoder", "size", 2, "l1"), Teaching(epochs=3, rate=1e-4))
    zero = compare(TINY, Method("iterative", "size", 2), Teaching())
    assert trained["prediction"] < untrained["prediction"] * 1.3
    assert trained["prediction"] < zero["prediction"] / 2


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="dictionary is one of learnt, patches, gaussian"):
        Data(dictionary="wavelets")
    with pytest.raises(InputError, match="M must be at most 24"):
        Data(p=24, size=25)
    with pytest.raises(InputError, match="1,350 images to learn from, p is 2000"):
        codes(Data(p=2000))


def test_the_problem_digits():
    one = sparsebench.draw("digits", m=64, n=30, k=4, trial=1)
    again = sparsebench.draw("digits", m=64, n=30, k=4, trial=1)
    other = sparsebench.draw("digits", m=64, n=30, k=4, trial=2)
    assert np.array_equal(one.x, again.x)
    assert np.array_equal(one.A, other.A)
    assert not np.array_equal(one.x, other.x)
    assert np.count_nonzero(one.x) == 4
    assert np.array_equal(one.y, one.A @ one.x)
    assert np.allclose(np.linalg.norm(one.A, axis=0), 1.0)
    # The image itself is near: its code is no random vector.
    test = images.load("digits").test
    assert (np.linalg.norm(test - one.y, axis=1) / np.linalg.norm(one.y)).min() < 0.8
    noisy = sparsebench.draw("digits[snr=20]", m=64, n=30, k=4, trial=1)
    clean = noisy.A @ noisy.x
    noise = np.linalg.norm(noisy.y - clean) / np.linalg.norm(clean)
    assert noise == pytest.approx(0.1)
    with pytest.raises(InputError, match="needs m = 64, not m = 32"):
        sparsebench.draw("digits", m=32, n=64, k=4)
    with pytest.raises(InputError, match="one of digits, mnist"):
        sparsebench.draw("digits[images=letters]", m=64, n=64, k=4)


def command(*words, folder, cache):
    return subprocess.run(
        [sys.executable, "-m", "sparsebench", "encoders", *words, "-o", str(folder)],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "SPARSEBENCH_CACHE": str(cache)},
    )


def test_the_command(tmp_path, cache):
    words = "--p 24 --size 4 --seeds 2 --epochs 2 --training 300 --test 60 -j 1".split()
    ran = command(*words, folder=tmp_path, cache=cache)
    assert ran.returncode == 0, ran.stderr
    assert "ran on the 8 x 8 digits embedded in scikit-learn" in ran.stdout
    for text in ("Table 1", "Table 2", "Table 3", "encoder, 2 stages", "10 iterations", "baseline"):
        assert text in ran.stdout
    assert "paper" not in ran.stdout.split("dictionaries and optimal codes")[0].replace(
        "(not in the paper)", ""
    )
    check_columns(tmp_path / "encoders.csv")
    first = pd.read_csv(tmp_path / "encoders.csv")
    facts = first[first["method"] == "data"].set_index(["metric", "seed"])["value"]
    assert facts["learning_steps"].min() >= 200
    D = images.learnt_dictionary(images.load("digits"), 24, 1, 0.5)["D"]
    reference = l1_value(D, images.load("digits").test[:60].astype(float), 0.5)
    assert facts["l1_objective_test", 1] == pytest.approx(reference, rel=1e-3)
    assert {"recipe", "version", "command", "value"} <= set(first)
    assert set(first["seed"]) == {0, 1}
    assert (tmp_path / "encoders.png").stat().st_size > 10_000
    drawn = figures.draw(tmp_path / "encoders.csv", tmp_path)
    assert [path.name for path in drawn] == ["encoders.png", "encoders.pdf"]
    (tmp_path / "damaged").mkdir()
    first.drop(columns="value").to_csv(tmp_path / "damaged" / "encoders.csv", index=False)
    with pytest.raises(InputError, match="has no column 'value'"):
        figures.draw(tmp_path / "damaged" / "encoders.csv", tmp_path)
    # Again: everything is kept, so that even the seconds are the same.
    ran = command(*words, folder=tmp_path, cache=cache)
    assert pd.read_csv(tmp_path / "encoders.csv").equals(first)
    ran = command("--seeds", "1", folder=tmp_path, cache=cache)
    assert (ran.returncode, "--seeds must be at least 2" in ran.stderr) == (2, True)


def test_intervals_over_seeds_are_students():
    from scipy.stats import ttest_1samp

    values = [3.0, 5.0, 4.5]
    rows = pd.DataFrame({"seed": range(3), "value": values})
    fixed = {"images": "digits", "m": 64, "n": 8, "variant": "default", "problem": "size"}
    fixed |= {"start": "zero", "method": "encoder", "stages": 2, "metric": "prediction"}
    found = summary(rows.assign(**fixed)).iloc[0]
    reference = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found["lower"] == pytest.approx(reference.low)
    assert found["upper"] == pytest.approx(reference.high)
    assert found["trials"] == 3


def test_a_plan_says_what_it_cannot_do():
    plan = EncoderComparison(
        "digits", (8,), 2, 0.5, (0, 1), (2,), 4, variants=("sigma / 10 an epoch",)
    )
    sigmas = [phase[2] for phase in plan.teaching("sigma / 10 an epoch").phases]
    assert sigmas == pytest.approx([0.2, 0.02, 0.002, 0.0002])
    with pytest.raises(InputError, match="at least 2 seeds"):
        EncoderComparison("digits", (8,), 2, 0.5, (0,), (2,), 4)
    with pytest.raises(InputError, match="unknown variant"):
        EncoderComparison("digits", (8,), 2, 0.5, (0, 1), (2,), 4, variants=("sgd .01",))


@needs_mnist
def test_mnist_is_preprocessed():
    found = images.load("mnist")
    assert found.train.shape == (60000 - found.discarded, 256)
    assert found.test.shape == (10000, 256)
    assert np.abs(found.test.mean(1)).max() < 1e-5
    assert np.abs(found.test.std(1) - 1).max() < 1e-4


@needs_mnist
def test_a_labels_file_of_mnist():
    labels = images.read_idx(images.mnist_file("t10k-labels-idx1-ubyte.gz"))
    assert labels.shape == (10000,)
    assert np.bincount(labels).tolist()[:3] == [980, 1135, 1032]
