"""`recover`: what is found in a user's signals, and which algorithm is to be believed there."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.io
from pages import check_columns
from typer.testing import CliRunner

import sparsebench
from sparsebench import registry
from sparsebench.cli.application import app
from sparsebench.experiments import recovery
from sparsebench.problems.files import read_signals
from sparsebench.registry import choose_algorithms
from sparsebench.report import figures
from sparsebench.types import Dictionary, InputError

M, N, K = 60, 120, 4
A = np.random.default_rng(3).standard_normal((M, N))
SUPPORT = [7, 30, 31, 100]
X = np.zeros(N)
X[SUPPORT] = [3.0, -2.0, 1.5, 1.0]


def noisy(clean, snr, seed=0):
    e = np.random.default_rng(seed).standard_normal(clean.shape)
    return clean + e * np.linalg.norm(clean) / np.linalg.norm(e) * 10 ** (-snr / 20)


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """Each test has a working folder of its own, and leaves nothing registered."""
    monkeypatch.chdir(tmp_path)
    yield
    registry.forget_plugins(but=[])


def run(*words):
    words = ("recover", *map(str, words), "-j", "1", "--trials", "40", "-o", "r")
    result = CliRunner().invoke(app, list(words))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return " ".join(result.output.split())


def test_the_right_support_and_the_right_algorithms_are_named(tmp_path):
    np.save("A.npy", A)
    np.save("y.npy", noisy(A @ X, 25))
    told = run("A.npy", "y.npy", "-k", K, "-a", "omp,sea,homotopy,thresholding")
    believed = told.partition("to believe: ")[2].partition(", whose")[0].split(", ")
    assert believed == ["omp", "sea", "homotopy"]
    check_columns(tmp_path / "r" / "recover.csv")
    rows = pd.read_csv(tmp_path / "r" / "recover.csv")
    for name in believed:
        part = rows[rows["algorithm"] == name]
        assert part["index"].tolist() == SUPPORT
        x = np.linalg.lstsq(A[:, SUPPORT], np.load("y.npy"), rcond=None)[0]
        if name != "homotopy":  # whose values are those of the Lasso
            np.testing.assert_allclose(part["value"], x, rtol=1e-5)
        assert (part["votes"] >= 3).all()
        assert (part["stability"] == 1).all()
    assert rows[rows["algorithm"] == "thresholding"]["estimate"].max() < 0.5
    assert (tmp_path / "r" / "recover.png").stat().st_size > 10_000
    assert "nothing to compute" in run("A.npy", "y.npy", "-k", K, "-a", "omp,sea,homotopy")


def test_where_no_one_is_right_it_says_so():
    """Two atoms a tenth of a degree apart, and noise far above their difference."""
    B = np.repeat(A[:, :30], 2, axis=1)
    B[:, ::2] += 1e-3 * np.random.default_rng(1).standard_normal((M, 30))
    np.save("A.npy", B)
    x = np.zeros(60)
    x[[0, 11, 40]] = 1.0
    np.save("y.npy", noisy(B @ x, 10))
    told = run("A.npy", "y.npy", "-k", 3, "-a", "omp,sea")
    assert "to believe: none; the best" in told


def test_what_is_planted_is_like_what_was_measured():
    dictionary = Dictionary(A)
    omp = choose_algorithms("omp")
    levels = []
    for seed in range(40):
        y = noisy(A @ X, 20, seed)[:, None]
        options = {"resamples": 0, "seed": 0, "time_limit": 60.0}
        found = recovery.find(dictionary, y, K, omp, **options)
        assert found[0].support.tolist() == SUPPORT
        like = recovery.planted_options(found, dictionary, K)
        sizes = [float(size) for size in like["amplitudes"].split(";")]
        assert sizes == pytest.approx([3, 2, 1.5, 1], abs=0.35)
        levels.append(like["snr"])
    # The k dimensions that a fit takes of the noise are given back: without, it is .3 dB high.
    assert np.mean(levels) == pytest.approx(20, abs=0.12)
    exact = recovery.find(dictionary, (A @ X)[:, None], K, omp, **options)
    assert recovery.planted_options(exact, dictionary, K)["snr"] == np.inf


def test_stability_is_what_other_noise_does():
    """By thresholding on an orthonormal basis: the share of the two largest found again."""
    n, k = 40, 2
    x = np.zeros(n)
    x[[3, 20]] = 1.0, 0.35
    y = noisy(x, 4, seed=5)
    (found,) = recovery.find(
        Dictionary(np.eye(n)),
        y[:, None],
        k,
        choose_algorithms("thresholding"),
        resamples=400,
        seed=0,
        time_limit=60.0,
    )
    support = np.sort(np.argsort(-np.abs(y))[:k])
    assert found.support.tolist() == support.tolist()
    kept, clean = y[support], np.zeros(n)
    clean[support] = kept
    rng, shares = np.random.default_rng(9), []
    for _ in range(20000):
        e = rng.standard_normal(n)
        e *= np.linalg.norm(y - clean) / np.linalg.norm(e)
        shares.append(np.isin(np.argsort(-np.abs(clean + e))[:k], support).mean())
    own = found.kept[:, support].mean(axis=1)
    assert own.mean() == pytest.approx(np.mean(shares), abs=4 * np.std(shares) / 20)
    assert 0.4 < own.mean() < 0.95


def test_several_signals_and_archives(tmp_path):
    Y = np.stack([noisy(A @ X, 30, seed) for seed in range(3)], axis=1)
    scipy.io.savemat("data.mat", {"A": A, "y": Y})
    told = run("data.mat", "data.mat", "-k", K, "-a", "omp,ols", "--variable", "A")
    assert "means over 3 signals" in told
    rows = pd.read_csv(tmp_path / "r" / "recover.csv")
    assert rows.groupby(["algorithm", "signal"])["index"].agg(list).tolist() == [SUPPORT] * 6
    assert json.loads(rows["problem_options"].iloc[0])["amplitudes"].count(";") == K - 1
    (tmp_path / "redrawn").mkdir()
    drawn = figures.draw(tmp_path / "r" / "recover.csv", tmp_path / "redrawn")
    assert drawn[0].read_bytes() == (tmp_path / "r" / "recover.png").read_bytes()


def test_a_failure_is_shown_and_counted(tmp_path):
    (tmp_path / "mine.py").write_text("def mine(A, y, k):\n    raise ValueError('no')\n")
    np.save("A.npy", A)
    np.save("y.npy", A @ X)
    run("A.npy", "y.npy", "-k", K, "-a", "omp,mine", "--plugin", "mine.py")
    rows = pd.read_csv(tmp_path / "r" / "recover.csv").set_index("algorithm")
    assert rows.loc["mine", "status"] == "error"
    assert rows.loc["mine", "message"] == "ValueError: no"
    assert rows.loc["mine", "estimate"] == 0
    with pytest.raises(InputError, match="no algorithm found 4 atoms"):
        run("A.npy", "y.npy", "-k", K, "-a", "mine", "--plugin", "mine.py")


@pytest.mark.parametrize(
    ("signal", "k", "message"),
    [
        (np.ones(M - 1), 3, r"has shape \(59, 1\): a signal must have as many rows as A, 60"),
        (np.ones((3, M)), 3, r"has shape \(3, 60\): a signal must have as many rows as A"),
        (np.zeros(M), 3, "signal 0 is zero"),
        (np.full(M, np.nan), 3, "NaN or infinite"),
        (np.ones(M) * 1j, 3, "A.npy is real: save A as complex numbers"),
        (np.ones(M), M + 1, "k"),
        (np.ones(M), 0, "k"),
    ],
)
def test_bad_signals_are_one_line(signal, k, message):
    np.save("A.npy", A)
    np.save("y.npy", signal)
    with pytest.raises(InputError, match=message) as refused:
        run("A.npy", "y.npy", "-k", k, "-a", "omp")
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=r"nowhere\.npy: no such file"):
        run("A.npy", "nowhere.npy", "-k", 2)


def test_a_vector_lies_along_either_axis():
    y = A @ X
    for shape in ((M,), (M, 1), (1, M)):
        np.save("y.npy", y.reshape(shape))
        np.testing.assert_array_equal(read_signals("y.npy", M)[:, 0], y)


def test_python_returns_what_the_command_writes(tmp_path):
    y = noisy(A @ X, 25)
    names = [f"atom {j}" for j in range(N)]
    frame = pd.DataFrame(A, columns=names)
    frame.to_csv("A.csv", index=False, float_format="%.17g")
    np.save("y.npy", y)
    run("A.csv", "y.npy", "-k", K, "-a", "omp,sea", "--resamples", 3)
    written = pd.read_csv(tmp_path / "r" / "recover.csv")
    rows = sparsebench.recover(frame, y, K, algorithms="omp,sea", resamples=3, trials=40)
    assert list(rows["index"]) == list(written["index"])
    assert list(rows["label"]) == list(written["label"]) == 2 * [names[j] for j in SUPPORT]
    for name in ("value", "kept", "relative_residual", "stability", "estimate", "lower", "upper"):
        np.testing.assert_allclose(rows[name].astype(float), written[name], rtol=1e-5)
    held = json.loads((tmp_path / "r" / "recover.json").read_text())
    assert (held["m"], held["n"], held["k"], held["seed"]) == (M, N, K, 0)
    assert held["problem_options"]["snr"] == pytest.approx(25, abs=3)
    (signal,) = held["signals"]
    for found, (name, part) in zip(signal["algorithms"], rows.groupby("algorithm"), strict=True):
        assert found["algorithm"] == name
        assert found["estimate"] == part["estimate"].iloc[0]
        assert [atom["index"] for atom in found["atoms"]] == SUPPORT
        np.testing.assert_allclose([atom["value"] for atom in found["atoms"]], part["value"])


def test_python_refuses_what_the_command_refuses():
    y = A @ X
    for wrong, message in (
        ({"y": y[:-1]}, "y must have shape"),
        ({"y": 0 * y}, "a signal is zero"),
        ({"k": M + 1}, "k"),
        ({"labels": ["a"]}, "1 labels for 120 columns"),
        ({"algorithms": "nothing"}, "nothing"),
        ({"trials": 0}, "trials must be at least 1"),
        ({"A": A * 1j, "algorithms": "bp"}, "bp is for real numbers"),
    ):
        with pytest.raises(InputError, match=message):
            sparsebench.recover(**({"A": A, "y": y, "k": K} | wrong))


def test_what_is_not_known_is_null():
    """An algorithm that finds nothing has no atom, and JSON no NaN."""
    found = sparsebench.recover(A, A @ X, K, algorithms="omp,sea", trials=2, resamples=1)
    found.loc[:, "agreement"] = np.nan
    data = recovery.as_json(found)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["signals"][0]["algorithms"][0]["agreement"] is None
