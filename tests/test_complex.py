"""Complex A, y and x: every algorithm against plain complex loops, and what else meets them."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import references
import scipy.io
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from test_references import RULES, residual, stable
from typer.testing import CliRunner

import sparsebench
from sparsebench import metrics, theory
from sparsebench.cli.application import app
from sparsebench.experiments.studies.running import experiments
from sparsebench.kernels import images
from sparsebench.kernels.images import Images, images_of
from sparsebench.kernels.selection import soft_slope, soft_threshold
from sparsebench.problems import is_complex
from sparsebench.problems.files import read_matrix
from sparsebench.problems.signals import sparse_signal
from sparsebench.registry import algorithms
from sparsebench.solvers.amp import message_passing
from sparsebench.solvers.ista import lasso
from sparsebench.solvers.sbl import maximise_evidence
from sparsebench.types import Dictionary, InputError

FOURIER = [("fourier", {"m": 40, "n": 96, "k": k, "trial": t}) for k in (4, 10, 16) for t in (0, 1)]
STEERING = [("steering", {"m": 24, "n": 72, "k": k, "trial": t}) for k in (2, 4) for t in range(3)]
NOISY = [("fourier", {"m": 40, "n": 96, "k": 8, "trial": t, "snr": 20.0}) for t in range(2)] + [
    ("steering", {"m": 24, "n": 72, "k": 3, "trial": t, "snr": 20.0}) for t in range(2)
]
# scikit-learn's is for real numbers.
LOOPS = RULES | {"omp": references.omp}
ABLE = sorted(entry.name for entry in algorithms() if entry.complex_numbers and entry.takes_k)


def gaussian(m, n, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((m, n)) + 1j * rng.standard_normal((m, n))) / np.sqrt(2 * m)


def planted(A, k, seed=1):
    rng = np.random.default_rng(seed)
    x = sparse_signal(rng, A.shape[1], k, "uniform", complex_numbers=True)
    return x, A @ x


@pytest.mark.parametrize("name", LOOPS)
def test_same_support_and_residual_as_the_plain_loop(name):
    compared = 0
    for problem, recipe in FOURIER + STEERING + NOISY:
        instance = sparsebench.draw(problem, **recipe)
        k = recipe["k"]
        expected = LOOPS[name](instance.A, instance.y, k)
        found = sparsebench.solve(name, instance.A, instance.y, k).x
        assert found.dtype == np.complex128
        if np.array_equal(found != 0, expected != 0):
            np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
            compared += 1
        elif residual(instance, expected) < 1e-9 and residual(instance, found) < 1e-9:
            compared += 1  # both solved it
        else:
            assert not stable(LOOPS[name], instance, k, expected), (problem, recipe)
    assert compared >= 13


@pytest.mark.parametrize("name", ["htp", "nhtp", "iht", "sea", "sp", "cosamp", "omp", "ols", "els"])
def test_a_large_dictionary_gives_the_same(name, monkeypatch):
    """By images: the loops are then run by Python, and no Gram matrix is formed."""
    cases = FOURIER[::2] + STEERING[::2] + NOISY[::2]
    drawn = [sparsebench.draw(problem, **recipe) for problem, recipe in cases]
    small = [sparsebench.solve(name, one.A, one.y, one.support.size).x for one in drawn]
    monkeypatch.setattr(images, "FEW_ATOMS", 0)
    for one, expected in zip(drawn, small, strict=True):
        dictionary = Dictionary(one.A)
        assert isinstance(images_of(dictionary)[0], Images)
        found = sparsebench.solve(name, dictionary, one.y, one.support.size).x
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_the_images_of_a_large_dictionary_are_those_of_numpy(monkeypatch):
    monkeypatch.setattr(images, "FEW_ATOMS", 0)
    A, rng = gaussian(20, 50), np.random.default_rng(3)
    found = images_of(Dictionary(A))[0]
    v = rng.standard_normal(20) + 1j * rng.standard_normal(20)
    np.testing.assert_allclose(found.correlate(v), A.conj().T @ v)
    some, k = np.array([3, 7, 20]), 3
    out = np.empty(50, complex)
    found.correlate_on(some, k, v, out)
    np.testing.assert_allclose(out[:k], A[:, some].conj().T @ v)
    np.testing.assert_allclose(found.gram_rows(some), (A.conj().T @ A[:, some]).T)
    c = np.array([1 + 1j, -2j, 3])
    found.negative_gradient(A.conj().T @ v, some, c, k, out)
    np.testing.assert_allclose(out, A.conj().T @ (v - A[:, some] @ c), atol=1e-12)
    assert found.gram_quadratic(some, c, k) == pytest.approx(
        np.linalg.norm(A[:, some] @ c) ** 2, rel=1e-12
    )
    own, cross = found.products(found, some, c, v[:k], k, np.empty(20, complex))
    assert own == pytest.approx(np.linalg.norm(A[:, some] @ c) ** 2)
    assert cross == pytest.approx(np.vdot(A[:, some] @ c, A[:, some] @ v[:k]))


def test_derived_quantities_are_those_of_numpy():
    for A in (gaussian(20, 50), gaussian(50, 20), gaussian(20, 20)):
        dictionary = Dictionary(A)
        np.testing.assert_allclose(dictionary.gram, (A.conj().T @ A).T, atol=1e-14)
        assert np.array_equal(dictionary.gram, dictionary.gram.conj().T)
        np.testing.assert_allclose(dictionary.squared_norms, np.linalg.norm(A, axis=0) ** 2)
        assert dictionary.squared_spectral_norm == pytest.approx(np.linalg.norm(A, 2) ** 2)
        np.testing.assert_allclose(dictionary.pseudo_inverse, np.linalg.pinv(A), atol=1e-12)
        unit = A / np.linalg.norm(A, axis=0)
        cosines = np.abs(unit.conj().T @ unit) - np.eye(A.shape[1])
        assert dictionary.coherence == pytest.approx(cosines.max())
        left, values, right = dictionary.svd
        np.testing.assert_allclose(left * values @ right, A, atol=1e-13)


def test_the_certified_norm_bounds_from_above():
    from sparsebench.spectrum import largest_squared_singular_value

    for A in (gaussian(30, 80), gaussian(80, 30), np.fft.fft(np.eye(64))[:20] / 8):
        exact = np.linalg.norm(A, 2) ** 2
        assert exact <= largest_squared_singular_value(A) * (1 + 1e-12) <= 1.2 * exact * (1 + 1e-9)


@pytest.mark.parametrize("accelerate", [False, True])
def test_proximal_gradients_reach_the_complex_lasso_optimum(accelerate):
    """Sufficient conditions: A_jᴴr = level x_j / |x_j| where x_j is not 0, |A_jᴴr| <= level."""
    for problem, recipe in (FOURIER[2], STEERING[1], NOISY[0]):
        instance = sparsebench.draw(problem, **recipe)
        A, y = instance.A, instance.y
        level = 0.05 * np.abs(A.conj().T @ y).max()
        dictionary = Dictionary(A)
        step = 1 / dictionary.squared_spectral_norm
        x, _, _ = lasso(dictionary, y, level, step, accelerate, 400_000, 1e-12)
        slope = A.conj().T @ (y - A @ x)
        assert np.abs(slope).max() <= level * (1 + 1e-5)
        large = np.abs(x) > 1e-6 * np.abs(x).max()
        np.testing.assert_allclose(slope[large], level * x[large] / np.abs(x[large]), rtol=1e-3)


def test_soft_thresholding_shrinks_the_modulus():
    """Against the minimiser of ½|z - u|² + level |z| over a fine polar grid, and its derivative."""
    u, level = 1.2 - 0.5j, 0.7
    moduli, phases = np.meshgrid(np.linspace(0, 2, 801), np.linspace(-np.pi, np.pi, 1441))
    grid = moduli * np.exp(1j * phases)
    best = grid.flat[np.argmin(0.5 * np.abs(grid - u) ** 2 + level * np.abs(grid))]
    assert abs(soft_threshold(u, level) - best) < 4e-3
    assert soft_threshold(0.3 + 0.4j, level) == 0
    step = 1e-6
    slopes = [
        (soft_threshold(u + step * d, level) - soft_threshold(u - step * d, level)) / (2 * step * d)
        for d in (1, 1j)
    ]
    mean = 0.5 * (slopes[0].real + slopes[1].real)
    assert soft_slope(soft_threshold(u, level), level) == pytest.approx(mean, abs=1e-8)


def test_message_passing_is_the_plain_loop():
    for trial in range(3):
        A = gaussian(60, 120, trial)
        x, y = planted(A, 8 + 6 * trial, trial)
        k = np.count_nonzero(x)
        alpha = theory.minimax_threshold(0.5, True)
        expected = references.amp(A, y, k, alpha)
        found = sparsebench.solve("amp", A, y, k)
        np.testing.assert_allclose(found.x, expected, rtol=1e-8, atol=1e-10)


def test_sparse_bayesian_learning_is_the_plain_iteration():
    A = gaussian(20, 40)
    _, y = planted(A, 4)
    for matrix, signal in ((A, y), (gaussian(40, 20), planted(gaussian(40, 20), 3)[1])):
        for count in (1, 5):
            gamma, mean, noise = references.sbl(matrix, signal, count)
            means, variances, ours, _, _ = maximise_evidence(
                Dictionary(matrix), signal, count, 0.0, 0.0
            )
            np.testing.assert_allclose(variances, gamma, rtol=1e-6)
            np.testing.assert_allclose(means, mean, rtol=1e-6, atol=1e-9)
            assert ours == pytest.approx(noise, rel=1e-6)


def test_baselines_are_their_definitions():
    A = gaussian(20, 40)
    x, y = planted(A, 3)

    def fitted(scores):
        return references.on_support(A, y, references.largest(scores, 3))

    for name, scores in {"thresholding": A.conj().T @ y, "pinv": np.linalg.pinv(A) @ y}.items():
        np.testing.assert_allclose(sparsebench.solve(name, A, y, 3).x, fitted(scores), atol=1e-12)
    told = sparsebench.solve("oracle", A, y, 3, support=np.flatnonzero(x)).x
    np.testing.assert_allclose(told, x, atol=1e-12)
    tiny = gaussian(8, 12)
    _, signal = planted(tiny, 3)
    signal = signal + 0.3 * gaussian(8, 1).ravel()
    best = sparsebench.solve("exhaustive", tiny, signal, 3).x
    for name in set(LOOPS) & set(ABLE):
        found = sparsebench.solve(name, tiny, signal, 3).x
        left = [np.linalg.norm(signal - tiny @ v) for v in (best, found)]
        assert left[0] <= left[1] * (1 + 1e-10), name


@pytest.mark.parametrize("name", ABLE)
def test_every_estimate_is_least_squares_on_its_support(name):
    for problem, recipe in (FOURIER[1], STEERING[3], NOISY[1], NOISY[3]):
        instance = sparsebench.draw(problem, **recipe)
        k = recipe["k"]
        if name == "exhaustive":
            continue
        given = {"support": instance.support} if name == "oracle" else {}
        result = sparsebench.solve(name, instance.A, instance.y, k, **given)
        best = references.on_support(instance.A, instance.y, result.support)
        assert len(result.support) <= k
        assert residual(instance, result.x) <= residual(instance, best) + 1e-12


@pytest.mark.parametrize("name", ["htp", "omp", "iht", "sea", "amp", "fista", "sbl", "els"])
def test_phases_and_scales_do_not_matter(name):
    """Turning an atom or y turns x; extreme scales are removed; the support stays."""
    A = gaussian(40, 80)
    _, y = planted(A, 6)
    plain = sparsebench.solve(name, A, y, 6).x
    turns = np.exp(2j * np.pi * np.random.default_rng(5).random(80))
    turned = sparsebench.solve(name, A * turns, 1j * y, 6).x
    np.testing.assert_allclose(turned * turns, 1j * plain, rtol=1e-6, atol=1e-9)
    tiny = sparsebench.solve(name, 1e-190 * A, 1e-170 * y, 6).x
    np.testing.assert_allclose(tiny, 1e20 * plain, rtol=1e-9)


def test_real_numbers_in_complex_form_are_solved_alike():
    for name in ("htp", "sea", "omp", "cosamp", "els", "splicing", "niht"):
        for trial in range(4):
            one = sparsebench.draw("gaussian", m=40, n=80, k=8, trial=trial)
            real = sparsebench.solve(name, one.A, one.y, 8)
            other = sparsebench.solve(name, one.A.astype(complex), one.y, 8)
            np.testing.assert_allclose(other.x, real.x, atol=1e-10)


def test_a_real_dictionary_and_a_complex_signal():
    A = np.random.default_rng(0).standard_normal((40, 80))
    x, y = planted(A.astype(complex), 6)
    found = sparsebench.solve("htp", A, y, 6)
    np.testing.assert_allclose(found.x, x, atol=1e-12)
    dictionary = Dictionary(A)
    sparsebench.solve("omp", dictionary, y, 6)
    assert not dictionary.is_complex
    assert sparsebench.solve("omp", dictionary, y.real, 6).x.dtype == np.float64


def test_stacked_real_and_imaginary_parts_are_another_problem():
    """[[Re A, -Im A], [Im A, Re A]] finds 2k entries one by one, in pairs or not."""
    stacked_wins = complex_wins = halves = 0
    for trial in range(30):
        one = sparsebench.draw("fourier", m=20, n=64, k=8, trial=trial)
        A, y = one.A, one.y
        B = np.block([[A.real, -A.imag], [A.imag, A.real]])
        s = sparsebench.solve("htp", B, np.concatenate([y.real, y.imag]), 16).x
        pairs = np.stack([s[:64] != 0, s[64:] != 0])
        halves += (pairs[0] != pairs[1]).any()
        stacked_wins += np.array_equal(pairs.any(axis=0), one.x != 0)
        complex_wins += np.array_equal(sparsebench.solve("htp", A, y, 8).x != 0, one.x != 0)
    assert halves >= 10  # atoms of which only one part was found: no support of k at all
    assert complex_wins >= stacked_wins + 5


def test_several_signals_and_a_start():
    A = gaussian(40, 80)
    columns = [planted(A, 5, seed)[1] * 10.0 ** (80 * seed) for seed in range(3)]
    for name in ("omp", "ols", "htp"):
        several = sparsebench.solve(name, A, np.stack(columns, axis=1), 5)
        for b, y in enumerate(columns):
            alone = sparsebench.solve(name, A, y, 5).x
            np.testing.assert_allclose(several.x[:, b], alone, rtol=1e-10)
    for name in ("omp", "htp"):
        assert sparsebench.solve(name, A, np.empty((40, 0)), 5).x.dtype == np.complex128
    x, y = planted(A, 5)
    for name in ("htp", "sea", "cosamp", "els", "omp+sea"):
        given = {} if "+" in name else {"start": x}
        assert np.array_equal(sparsebench.solve(name, A, y, 5, **given).support, x.nonzero()[0])
    with pytest.raises(InputError, match="start is complex"):
        sparsebench.solve("htp", A.real, y.real, 5, start=x)


def test_dependent_atoms_fall_back_to_an_orthogonal_factorisation():
    A = gaussian(20, 30)
    A[:, 7] = A[:, 3] * 1j * (1 + 1e-13)
    A[:, 8] = A[:, 4] + 1e-8 * A[:, 5]
    _, y = planted(A, 4)
    for name in ("oracle", "els", "ols", "htp", "sbr"):
        given = {"support": [3, 4, 7, 8]} if name == "oracle" else {}
        x = sparsebench.solve(name, A, y, 4, **given).x
        best = references.on_support(A, y, np.flatnonzero(x))
        assert np.linalg.norm(y - A @ x) <= np.linalg.norm(y - A @ best) + 1e-9


@pytest.mark.parametrize("name", ["bp", "homotopy", "sklearn-omp"])
def test_what_has_no_complex_form_says_so(name):
    A = gaussian(10, 20)
    with pytest.raises(InputError, match=r"is for real numbers; for complex A or y: .*htp") as told:
        sparsebench.solve(name, A, A[:, 0], 1)
    assert "\n" not in str(told.value)


def test_a_device_that_is_chosen():
    A = gaussian(10, 20)
    auto = sparsebench.solve("htp", A, A[:, 0], 1, device="auto")
    np.testing.assert_allclose(auto.x[0], 1.0)


def test_complex_numbers_that_are_not_finite_or_fit():
    A = gaussian(10, 20)
    for bad in (np.nan, 1j * np.inf):
        with pytest.raises(InputError, match="NaN or infinite"):
            sparsebench.solve("htp", A, np.full(10, bad), 1)
    with pytest.raises(InputError, match="must have shape"):
        sparsebench.solve("htp", A, A[:9, 0], 1)
    zero = sparsebench.solve("htp", A, np.zeros(10, complex), 1)
    assert not zero.x.any() and zero.x.dtype == np.complex128


# ---- The limit of l1.


def complex_risk(z):
    """E max(|Z| - z, 0)², |Z|² exponential of mean 1."""
    return quad(lambda r: (r - z) ** 2 * 2 * r * np.exp(-r * r), z, np.inf)[0]


@pytest.mark.parametrize("delta", [0.1, 0.3, 0.6, 0.9])
def test_the_complex_l1_limit_is_the_best_over_all_thresholds(delta):
    def minus(z):
        risk = complex_risk(z)
        return -(1 - risk / delta) / (1 + z * z - risk)

    best = minimize_scalar(minus, bounds=(1e-3, 4.0), method="bounded", options={"xatol": 1e-9})
    assert theory.complex_l1_limit(delta) == pytest.approx(-best.fun, rel=1e-6)
    assert theory.minimax_threshold(delta, True) == pytest.approx(best.x, abs=1e-4)
    assert theory.complex_l1_limit(delta) > theory.donoho_tanner(delta)


def test_message_passing_succeeds_below_the_complex_limit_and_fails_above():
    """At .41, above the real limit of .386, it does, too: it is another curve."""
    solved = dict.fromkeys((0.41, 0.5), 0)
    for share in solved:
        for trial in range(6):
            dictionary = Dictionary(gaussian(400, 800, trial))
            x, y = planted(dictionary.A, round(share * 400), trial)
            found, *_ = message_passing(
                dictionary.atoms,
                y,
                1 / np.sqrt(dictionary.squared_norms),
                theory.minimax_threshold(0.5, True),
                3000,
                1e-5,
                np.empty((0, 800), complex),
            )
            solved[share] += np.linalg.norm(found - x) < 1e-3 * np.linalg.norm(x)
    assert theory.donoho_tanner(0.5) < 0.41 < theory.complex_l1_limit(0.5) < 0.5
    assert solved[0.41] >= 4
    assert solved[0.5] == 0


def test_what_a_complex_dictionary_guarantees():
    """Against the definitions, subset by subset; phases of atoms do not matter."""
    A = gaussian(8, 10)
    unit = A / np.linalg.norm(A, axis=0)
    cosines = np.abs(unit.conj().T @ unit) - np.eye(10)
    sums = np.sort(cosines, axis=1)[:, ::-1].cumsum(axis=1)
    np.testing.assert_allclose(theory.babel(A), np.r_[0, sums[:, :-1].max(axis=0)], atol=1e-12)
    turned = A * np.exp(1j * np.arange(10))
    assert theory.guaranteed_sparsity(turned) == theory.guaranteed_sparsity(A)
    support, others = [1, 4], [0, 2, 3, 5, 6, 7, 8, 9]
    largest = np.abs(np.linalg.pinv(unit[:, support]) @ unit[:, others]).sum(axis=0).max()
    assert theory.exact_recovery_coefficient(A, support) == pytest.approx(largest)
    values = [np.linalg.svd(A[:, list(S)])[1] ** 2 for S in combinations(range(10), 2)]
    constant = max(max(v[0] - 1, 1 - v[-1]) for v in values)
    assert theory.restricted_isometry(A, 2) == pytest.approx(constant)
    assert theory.restricted_isometry(turned, 2) == pytest.approx(constant)


# ---- Problems, files and commands.


def test_fourier_and_steering_are_their_definitions():
    one = sparsebench.draw("fourier", m=13, n=40, k=3)
    spectrum = np.fft.fft(np.eye(40)) / np.sqrt(13)
    rows = [int(np.argmin(np.abs(spectrum - row).sum(axis=1))) for row in one.A]
    assert rows == sorted(set(rows))
    np.testing.assert_allclose(one.A, spectrum[rows], atol=1e-13)
    array = sparsebench.draw("steering", m=10, n=50, k=3)
    sines = -1 + 2 * np.arange(50) / 50
    expected = np.exp(1j * np.pi * np.outer(np.arange(10), sines)) / np.sqrt(10)
    np.testing.assert_allclose(array.A, expected, atol=1e-13)
    kernel = np.abs(np.sum(np.exp(1j * np.pi * np.arange(10) * 2 / 50))) / 10  # of Dirichlet
    assert array.dictionary.coherence == pytest.approx(kernel)


@pytest.mark.parametrize("amplitudes", ["uniform", "signs", "normal", "decaying", "positive"])
def test_amplitudes_have_uniform_phases(amplitudes):
    rng = np.random.default_rng(0)
    values = sparse_signal(rng, 20_000, 20_000, amplitudes, complex_numbers=True)
    moduli, phases = np.abs(values), np.angle(values)
    if amplitudes == "positive":
        assert not values.imag.any() and (values.real > 0).all()
        return
    assert abs(np.exp(1j * phases).mean()) < 0.03 and abs(np.exp(2j * phases).mean()) < 0.03
    if amplitudes == "normal":
        assert np.mean(moduli**2) == pytest.approx(1, abs=0.03)
    elif amplitudes == "decaying":
        np.testing.assert_allclose(np.sort(moduli)[::-1], 1 / np.arange(1, 20_001))
    else:
        low, high = (1, 2) if amplitudes == "uniform" else (1, 1)
        assert low - 1e-12 <= moduli.min() and moduli.max() <= high + 1e-12


def test_noise_is_complex_and_met_exactly():
    one = sparsebench.draw("fourier", m=200, n=400, k=20, snr=10.0)
    noise = one.y - one.A @ one.x
    ratio = np.linalg.norm(one.A @ one.x) / np.linalg.norm(noise)
    assert 20 * np.log10(ratio) == pytest.approx(10.0)
    assert np.mean(noise.real**2) == pytest.approx(np.mean(noise.imag**2), rel=0.4)


def test_metrics_are_by_modulus():
    x, z = np.array([1j, 0, 2.0]), np.array([1.0, 0, 2.0])
    assert metrics.support_distance(x, z) == 0
    assert metrics.relative_error(x, z) == pytest.approx(np.sqrt(2 / 5))
    assert metrics.relative_residual(np.eye(3) * 1j, 1j * x, z) == pytest.approx(np.sqrt(2 / 5))


def files_of(folder, A):
    np.save(folder / "a.npy", A)
    np.savez(folder / "a.npz", A=A)
    scipy.io.mmwrite(folder / "a.mtx", A, precision=17)
    scipy.io.savemat(folder / "a.mat", {"A": A})
    return ["a.npy", "a.npz", "a.mtx", "a.mat"]


def test_a_complex_matrix_from_files_gives_the_same_instances(tmp_path):
    A = gaussian(12, 20)
    drawn = [
        sparsebench.draw("matrix", m=12, n=20, k=3, file=str(tmp_path / name))
        for name in files_of(tmp_path, A)
    ]
    assert all(np.array_equal(one.y, drawn[0].y) for one in drawn[1:])
    np.testing.assert_allclose(drawn[0].A, A)
    assert drawn[0].x[drawn[0].support].imag.all()


def test_a_complex_matrix_of_matlab_7_3(tmp_path):
    h5py = pytest.importorskip("h5py")
    A = gaussian(6, 9)
    pairs = np.empty(A.T.shape, dtype=[("real", "f8"), ("imag", "f8")])
    pairs["real"], pairs["imag"] = A.T.real, A.T.imag
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as held:
        held["A"] = pairs
    with open(tmp_path / "a.mat", "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    np.testing.assert_array_equal(read_matrix(tmp_path / "a.mat").values, A)


def test_atoms_that_differ_by_a_phase_are_one_atom(tmp_path):
    A = gaussian(6, 9)
    A[:, 5] = 1j * A[:, 2]
    np.save(tmp_path / "a.npy", A)
    with pytest.warns(UserWarning, match=r"column 5 is the same atom"):
        sparsebench.draw("matrix", m=6, n=9, k=2, file=str(tmp_path / "a.npy"))


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_commands_on_a_complex_problem(tmp_path):
    """A curve, a diagram with its own limit, an instance; what is for real numbers is refused."""
    base = ["-p", "fourier", "--n", "24", "-j", "1", "--out", str(tmp_path)]
    sizes = ["--ratios", ".5", "--half-width", "4"]
    assert run("phase-transition", *base, *sizes, "-a", "omp").exit_code == 0
    table = (tmp_path / "thresholds.csv").read_text().splitlines()
    assert table[0].split(",").count("numbers") == 1 and "complex" in table[1]
    small = ["--m", "12", "--ks", "3", "--trials", "3"]
    refused = run("support-distance", *base, *small, "-a", "omp,bp")
    assert isinstance(refused.exception, InputError)
    assert "bp is for real numbers" in str(refused.exception)
    instance = ["instance", "-p", "steering", "--n", "40", "--m", "10", "--k", "2", "-a", "omp"]
    assert run(*instance, "--out", tmp_path).exit_code == 0
    header, first = (tmp_path / "instance.csv").read_text().splitlines()[:2]
    assert "phase" in header and "j" not in first.split(",")[3]


def test_recover_believes_the_right_algorithms_on_steering(tmp_path):
    """Two close sources: one-step thresholding is not to be trusted, exploration is."""
    one = sparsebench.draw("steering", m=24, n=72, k=3, trial=1)
    np.save(tmp_path / "A.npy", one.A)
    np.save(tmp_path / "y.npy", one.y)
    given = [str(tmp_path / "A.npy"), str(tmp_path / "y.npy"), "-k", "3", "--trials", "20"]
    wanted = ["-a", "sea,thresholding", "-j", "1", "--resamples", "2", "--out", str(tmp_path)]
    assert run("recover", *given, *wanted).exit_code == 0
    rows = pd.read_csv(tmp_path / "recover.csv")
    sea, thresholding = (rows[rows["algorithm"] == name] for name in ("sea", "thresholding"))
    assert list(sea["index"]) == list(one.support)
    np.testing.assert_allclose(
        sea["value"] * np.exp(1j * sea["phase"]), one.x[one.support], rtol=1e-5
    )
    assert sea["lower"].iloc[0] > thresholding["upper"].iloc[0]
    real = tmp_path / "real.npy"
    np.save(real, one.A.real)
    refused = run("recover", real, tmp_path / "y.npy", "-k", "3", *wanted)
    assert "save A as complex numbers" in str(refused.exception)


def test_a_study_has_no_curve_of_real_numbers_in_a_complex_panel():
    (study,) = experiments("ensembles", "quick", 0, 60.0)
    kinds = {is_complex(point.problem) for point in study.points}
    assert kinds == {True, False}
    for point in study.points:
        assert ("homotopy" in point.curves) != is_complex(point.problem)
        assert "fista" in point.curves
