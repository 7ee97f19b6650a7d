"""Every public function on inputs of right and wrong kinds: a right answer, or `InputError`.

The draws are the same in every run. What packages of others do with such inputs is theirs: peers
are left out.
"""

import contextlib
import io
import math
import sys
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import sparsebench
from sparsebench import cli, metrics, registry, statistics
from sparsebench.problems import problems
from sparsebench.report import figures
from sparsebench.types import InputError, Result, Status

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def steady(examples):
    """The same draws in every run, however long one takes."""
    return settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        suppress_health_check=SLOW,
    )


def outcome(call, *given, **options):
    """What a call returns, or None where it says in one line what is wrong."""
    try:
        return call(*given, **options)
    except InputError as error:
        assert str(error) and "\n" not in str(error)
        return None


ALGORITHMS = [e for e in sparsebench.algorithms() if e.ready and e.family != "peer" and e.takes_k]
# Whole numbers that are valid stay small, since a budget is spent.
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 7, -1, 10**9, 10**30, True, np.int64(3), 2.0, 2.5, 0.5, 1e-3, 1e-10]),
    st.sampled_from([0.0, -0.0, -1.0, 1e300, 5e-324, math.inf, -math.inf, math.nan]),
    st.sampled_from([np.float32(0.5), np.array(3), np.array([1, 2]), Fraction(1, 3), 1j]),
)
TEXTS = st.one_of(
    st.sampled_from(["1", "1/L", "18/L", "1.9/L", "-1", "0", "nan", "inf/L", "1e400", "true", ""]),
    st.text(max_size=6),
)
VALUES = st.one_of(
    NUMBERS,
    TEXTS,
    st.sampled_from(
        [None, False, (), [], {}, b"1", object, Ellipsis, np.ma.masked, np.bool_(True)]
    ),
)


@st.composite
def matrices(draw, most=9):
    """Small matrices: of any rank, with repeated, zero and extremely scaled columns."""
    m, n = draw(st.integers(1, most)), draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        A = rng.standard_normal((m, n))
    else:
        A = rng.integers(-2, 3, (m, n)).astype(float)
    if draw(st.booleans()):
        A = A[:, rng.integers(0, n, n)]
    return A * 10.0 ** draw(st.sampled_from([0, 0, 0, 0, -150, 150, -8, 8]))


@st.composite
def recoveries(draw):
    """(A, y, k): of a sparse x, of noise, or zero."""
    A = draw(matrices())
    m, n = A.shape
    k = draw(st.integers(1, min(m, n)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = np.zeros(n)
    x[rng.choice(n, k, replace=False)] = rng.choice([-1.0, 0.5, 3.0], k)
    y = {"sparse": A @ x, "noise": rng.standard_normal(m), "zero": np.zeros(m)}
    y = y[draw(st.sampled_from(["sparse", "sparse", "noise", "zero"]))]
    return A, y * 10.0 ** draw(st.sampled_from([0, 0, 0, 0, -150, 100])), k


def check_solution(A, y, k, x):
    """Finite, at most k non-zeros, and least squares on its own support."""
    assert x.shape == (A.shape[1],) and x.dtype == np.float64
    assert np.isfinite(x).all() and np.count_nonzero(x) <= k
    A, x = A / max(np.abs(A).max(), 1e-300), x * max(np.abs(A).max(), 1e-300)
    if np.abs(y).max() > 0:
        y, x = y / np.abs(y).max(), x / np.abs(y).max()
    slopes = A[:, x != 0].T @ (y - A @ x)
    assert (np.abs(slopes) <= 1e-7 * (1 + np.abs(x).sum())).all()


@steady(1000)
@given(st.data())
def test_solve(data):
    entry = data.draw(st.sampled_from(ALGORITHMS))
    A, y, k = data.draw(recoveries())
    options = {"max_iter": 30} if "max_iter" in entry.options else {}
    if entry.options and data.draw(st.booleans()):
        options[data.draw(st.sampled_from(sorted(entry.options)))] = data.draw(VALUES)
    if entry.accepts("support"):
        options["support"] = np.arange(k)
    result = outcome(sparsebench.solve, entry.name, A, y, k, **options)
    if result is None:
        return
    assert isinstance(result, Result) and isinstance(result.status, Status)
    assert result.n_iter >= 0 and result.seconds >= 0
    if not result.status.failed:
        check_solution(A, y, k, result.x)


def number_arrays(most=4):
    """Arrays of many types and shapes, of numbers, texts and dates."""
    return arrays.arrays(
        dtype=st.one_of(arrays.scalar_dtypes(), st.just(np.dtype(float))),
        shape=arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=most),
    )


ANYTHING = st.recursive(
    st.one_of(VALUES, number_arrays()), lambda inner: st.lists(inner, max_size=3), max_leaves=6
)


@steady(300)
@given(ANYTHING)
def test_dictionary(A):
    dictionary = outcome(sparsebench.Dictionary, A)
    if dictionary is None:
        return
    expected = np.array(A, dtype=np.float64)
    assert np.array_equal(dictionary.A, expected) and dictionary.shape == expected.shape
    assert np.isfinite(dictionary.gram).all() and 0 <= dictionary.coherence <= 1
    assert not dictionary.A.flags.writeable


@steady(300)
@given(ANYTHING, ANYTHING, ANYTHING, st.sampled_from(["A", "y", "k", "start", "support"]))
def test_what_solve_is_given(one, other, third, which):
    A = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 2.0]])
    given = {"A": A, "y": A[:, 2], "k": 1} | {which: one}
    name = "oracle" if which == "support" else "htp"
    if which == "A":
        given["y"] = other
    if which == "y":
        given["k"] = third
    if which == "k":
        given["start"] = other
    result = outcome(
        sparsebench.solve, name, given.pop("A"), given.pop("y"), given.pop("k"), **given
    )
    if result is not None and result.x.ndim == 1 and which != "A":
        assert result.x.shape == (3,) and np.isfinite(result.x).all()


PROBLEMS = [generator for generator in problems() if generator.name != "digits"]
SIZES = st.one_of(st.integers(-1, 12), st.sampled_from([2.0, None, "3", True, np.int64(4), 10**30]))
SEEDS = st.one_of(
    st.integers(-2, 3),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), 2**64, 10**40, 1.0, None, "0", np.uint64(2**63)]),
)


@steady(400)
@given(st.data())
def test_draw(data):
    generator = data.draw(st.sampled_from(PROBLEMS))
    n = data.draw(SIZES)
    m = data.draw(st.one_of(st.just(n), SIZES))
    k = data.draw(st.one_of(st.integers(1, 3), SIZES))
    options = {}
    if data.draw(st.booleans()):
        options[data.draw(st.sampled_from(sorted(generator.options)))] = data.draw(VALUES)
    drawn = outcome(
        sparsebench.draw,
        generator.name,
        m=m,
        n=n,
        k=k,
        trial=data.draw(SEEDS),
        seed=data.draw(SEEDS),
        **options,
    )
    if drawn is None:
        return
    assert drawn.A.shape == (m, n) and drawn.x.shape == (n,) and drawn.y.shape == (m,)
    assert np.isfinite(drawn.A).all() and np.isfinite(drawn.y).all()
    assert drawn.support.size == k
    if "snr" not in options:
        np.testing.assert_allclose(drawn.A @ drawn.x, drawn.y, atol=1e-12)


@steady(150)
@given(st.data())
def test_batched_shapes(data):
    batched = pytest.importorskip("sparsebench.batched")
    side = st.integers(0, 3)
    shape = data.draw(st.lists(side, min_size=1, max_size=4))
    A = np.random.default_rng(0).standard_normal(shape)
    y = np.random.default_rng(1).standard_normal(data.draw(st.lists(side, max_size=3)))
    k = data.draw(st.one_of(st.just(1), VALUES, st.lists(st.integers(0, 3), max_size=3)))
    start = data.draw(
        st.one_of(st.none(), st.just(np.zeros((len(y) if y.ndim else 1, A.shape[-1]))))
    )
    found = outcome(
        batched.solve, data.draw(st.sampled_from(["omp", "htp", "sp"])), A, y, k, start=start
    )
    if found is not None:
        assert len(found) == len(y)
        for i, (result, signal) in enumerate(zip(found, y, strict=True)):
            matrix = A if A.ndim == 2 else A[i if len(A) > 1 else 0]
            check_solution(matrix, signal, np.broadcast_to(k, len(y))[i], result.x)


WORDS = st.sampled_from(
    [
        *("omp", "htp", "sea*", "*", "gaussian", "lista", "step", "max_iter", "width", "weights"),
        *(
            "[",
            "]",
            "=",
            ",",
            "+",
            "?",
            "[!a]",
            " ",
            "\n",
            "\0",
            "é",
            "18/L",
            "1",
            "inf",
            "10" * 40,
        ),
    ]
)
GRAMMAR = st.one_of(st.lists(WORDS, max_size=8).map("".join), st.text(max_size=12), VALUES)


@steady(600)
@given(GRAMMAR)
def test_names_and_options(text):
    for chosen in outcome(registry.choose_algorithms, text) or ():
        links = [link.algorithm for link in chosen.links]
        assert len(dict(chosen.options)) == sum(len(entry.options) for entry in links)
        if all(entry.ready for entry in links):  # its label names it again
            assert registry.choose_algorithms(chosen.label) == [chosen]
    chosen = outcome(registry.choose_problem, text)
    if chosen is not None:
        assert registry.choose_problem(chosen.label) == chosen
    found = outcome(registry.choose_algorithm, text, {})
    if found is not None:
        assert found.links and found in registry.choose_algorithms(text)
    outcome(registry.get_algorithm, text)
    outcome(registry.get_problem, text)
    outcome(registry.parse_links, text)


VECTORS = st.one_of(
    arrays.arrays(float, st.integers(0, 6), elements=st.sampled_from([0.0, 0.0, 1.0, -2.0, 1e170])),
    ANYTHING,
)


@steady(400)
@given(VECTORS, VECTORS, st.one_of(st.integers(-1, 3), NUMBERS), st.booleans())
def test_metrics(x_true, x, tolerance, alike):
    if alike and isinstance(x_true, np.ndarray) and x_true.ndim == 1:
        x = np.roll(x_true, 1)
    distance = outcome(metrics.support_distance, x_true, x)
    near = outcome(metrics.near_distance, x_true, x, tolerance)
    exact = outcome(metrics.exact_recovery, x_true, x)
    if distance is not None:
        true, found = set(np.flatnonzero(x_true)), set(np.flatnonzero(x))
        most = max(len(true), len(found))
        assert distance == (most - len(true & found)) / most
        assert exact == (true == found)
        assert near is None or near <= distance
    error = outcome(metrics.relative_error, x_true, x)
    wide = [[float(v) for v in np.ravel(x)] for x in (x_true, x)] if error is not None else []
    if error is not None and np.isfinite(wide).all():
        gap = math.hypot(*(a - b for a, b in zip(*wide, strict=True)))
        np.testing.assert_allclose(error, gap / math.hypot(*wide[0]), rtol=1e-6, atol=1e-15)
    outcome(metrics.relative_residual, np.eye(3), x_true, x)
    outcome(metrics.relative_residual, x_true, x, x)


RATES = st.one_of(st.sampled_from([0.95, 0.5, 0.1]), NUMBERS)
COUNTS = st.lists(st.integers(-1, 30), max_size=8)


@steady(200)
@given(st.one_of(st.lists(st.floats(0, 1), max_size=8), COUNTS, ANYTHING), ANYTHING, COUNTS, RATES)
def test_intervals(sample, other, counts, confidence):
    for interval in (
        outcome(statistics.mean_interval, sample, confidence),
        outcome(statistics.median_interval, sample, confidence),
    ):
        if interval is not None:
            middle, lower, upper = map(np.asarray, interval)
            assert ((lower <= middle + 1e-12) & (middle <= upper + 1e-12)).all()
    for trials in (other, counts):
        proportion = outcome(statistics.wilson, sample, trials, confidence)
        if proportion is not None:
            assert ((proportion[0] >= 0) & (proportion[1] <= 1)).all()
            assert (proportion[0] <= proportion[1]).all()
        for ratio in outcome(statistics.decibel_intervals, sample, trials, confidence) or ():
            assert ratio[1] <= ratio[0] <= ratio[2]
    p_value = outcome(statistics.mcnemar, other, confidence)
    assert p_value is None or 0 <= p_value <= 1


@steady(40)
@given(st.data())
def test_thresholds(data):
    ks = data.draw(st.one_of(st.lists(st.integers(1, 12), min_size=3, max_size=20), COUNTS))
    wins = data.draw(st.one_of(st.just([k < 6 for k in ks]), ANYTHING))
    trials = data.draw(st.one_of(st.just(list(range(len(ks)))), ANYTHING))
    largest = data.draw(st.one_of(st.just(12), NUMBERS))
    level, confidence = data.draw(RATES), data.draw(RATES)
    found = outcome(statistics.fit_threshold, ks, trials, wins, level, largest, confidence)
    if found is not None:
        assert 0 <= found.lower <= found.upper <= largest
        # A mean may lie outside of a short interval around the median.
        assert confidence < 0.5 or found.lower <= found.estimate <= found.upper
        rows = (ks, trials, wins)
        alike = statistics.threshold_difference(found, found, rows, rows)
        assert alike.estimate == 0 and alike.p_value == 1.0
    p_value = outcome(statistics.monotone_p_value, ks, wins)
    assert p_value is None or 0 <= p_value <= 1


@steady(60)
@given(st.one_of(st.text(max_size=8), VALUES))
def test_paths(tmp_path_factory, path):
    folder = tmp_path_factory.getbasetemp()
    outcome(registry.load_plugin, path)
    if isinstance(path, str):
        outcome(registry.load_plugin, str(folder) + "/" + path)
        outcome(figures.draw, folder / f"{path}.csv", folder)
        outcome(figures.sources, [path], folder)


SMALL = ["--n", "8", "-a", "omp", "-j", "1"]
TRAINING = ["--m", "4", "--n", "8", "--depth", "1", "--steps", "1", "-j", "1"]
COMMANDS = {
    ("phase-transition", *SMALL, "--max-trials", "1"): (
        *("--preset", "--n", "--ratios", "--half-width", "--max-trials", "--grid", "--seed"),
        *("--jobs", "--plugin", "--time-limit", "--device", "--precision", "-a", "-p"),
    ),
    ("support-distance", *SMALL, "-p", "gaussian", "--ks", "1", "--trials", "1"): (
        *("--preset", "--n", "--m", "--ks", "--trials", "--seed", "--jobs", "--plugin"),
        *("--time-limit", "--device", "--precision", "-a", "-p"),
    ),
    ("instance", "--n", "8", "--k", "1", "--window", "2", "-a", "omp"): (
        *("--n", "--m", "--k", "--trial", "--window", "--seed", "--plugin", "-a", "-p"),
    ),
    ("exploration", "--trials", "6", "-j", "1"): ("--trials", "--seed", "--jobs", "--plugin", "-a"),
    ("timing", "-w", "gaussian", "-a", "omp"): (
        *("-w", "--repeats", "--budget", "--seed", "--plugin", "-a"),
    ),
    ("encoders",): (
        *("--preset", "--images", "--p", "--size", "--seeds", "--epochs", "--training", "--test"),
        "--jobs",
    ),
    ("classification",): (
        *("--preset", "--data", "--p", "--size", "--stages", "--seeds", "--epochs", "--training"),
        *("--test", "--jobs"),
    ),
    ("clustering",): (
        *("--preset", "--data", "--p", "--size", "--stages", "--seeds", "--epochs", "--jobs"),
    ),
    ("study", "noise", "--preset", "quick", "-j", "1"): ("--preset", "--seed", "--time-limit"),
    ("compare", "omp", "htp"): ("--by", "--device", "--precision", "--plugin"),
    ("unrolling", *TRAINING, "--networks", "alista"): (
        *("--preset", "--networks", "-p", "--m", "--n", "--depth", "--steps", "--patience"),
        "--seed",
    ),
}
ARGUMENTS = st.one_of(
    st.sampled_from(["0", "-1", "1", "2", "1.5", "nan", "inf", "-inf", "1e400", "10" * 20, ""]),
    st.sampled_from(
        ["gaussian", "omp", "omp[tol=2]", "quick", "1:2:3", "1:0", "1:9:0", "[", "a,b"]
    ),
    st.sampled_from(["5:99999999999999999999", "cuda:9", "cpu", "float32", ",", "/", "~", "*"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
)


def command(folder, *arguments):
    """The exit status of a command line, and what it said on standard error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["sparsebench", *arguments]),
        mock.patch.dict("os.environ", {"SPARSEBENCH_CACHE": str(folder / "cache")}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.run()
    return ended.value.code, err.getvalue()


@steady(150)
@given(st.data())
def test_command_lines(tmp_path_factory, data):
    """Results go below a file, so that nothing is computed where all options are right."""
    barrier = tmp_path_factory.getbasetemp() / "barrier"
    barrier.touch()
    base, options = data.draw(st.sampled_from(list(COMMANDS.items())))
    option = data.draw(st.sampled_from(options))
    value = data.draw(ARGUMENTS)
    code, said = command(barrier.parent, *base, option, value, "--out", str(barrier / "results"))
    assert code in (1, 2), said
    assert "Traceback" not in said
    if not said.startswith("Usage:"):  # of the parser
        assert said.startswith("error: ") and said.count("\n") == 1


@steady(60)
@given(st.sampled_from(["list", "export", "figures", "study", "train", "status", ""]), ARGUMENTS)
def test_arguments_of_commands(tmp_path_factory, name, argument):
    folder = tmp_path_factory.getbasetemp()
    options = {"figures": "--data", "list": None, "train": None}.get(name, "--out")
    where = [options, str(folder / "none")] if options else []
    code, said = command(folder, name, argument, *where)
    assert code in (0, 1, 2) and "Traceback" not in said
    assert not code or said.startswith("Usage:") or said.count("\n") == 1
