"""What an algorithm is told: k, the noise level, or nothing of either."""

import numpy as np
import pytest
from rich.console import Console

import sparsebench
from sparsebench import registry
from sparsebench.experiments.support_distance import SupportDistance
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.run.engine import run
from sparsebench.run.store import Store
from sparsebench.types import Dictionary, InputError, Result, Status

A = np.random.default_rng(0).standard_normal((20, 30))
Y = A[:, 3] - 2 * A[:, 8]


@pytest.fixture
def registered():
    """Names registered inside are gone afterwards."""
    before = dict(registry.ALGORITHMS)
    yield
    registry.ALGORITHMS.clear()
    registry.ALGORITHMS.update(before)


def handed(noise=False):
    """Register an algorithm that tells what it was handed, as a function of A or a dictionary."""
    seen = []
    if noise:

        @sparsebench.algorithm("told-plain")
        def plain(A, y, *, noise):
            seen.append((y.copy(), noise))
            return np.ones(A.shape[1])

        @sparsebench.algorithm("told-own")
        def own(dictionary, y, *, noise):
            seen.append((y.copy(), noise))
            return Result(np.ones(dictionary.shape[1]), 1, Status.CONVERGED)

    else:

        @sparsebench.algorithm("untold")
        def untold(A, y):
            seen.append(())
            return np.ones(A.shape[1])

    return seen


def test_what_is_told_is_read_off_the_parameters(registered):
    handed()
    handed(noise=True)
    entries = registry.ALGORITHMS
    assert entries["untold"].told == ()
    assert entries["told-plain"].told == entries["told-own"].told == ("noise",)
    assert entries["omp"].told == ("k",)
    assert entries["oracle"].told == ("support",)


@pytest.mark.parametrize(
    ("function", "told", "words"),
    [
        (lambda A, y, k: 0, (), "takes k and is not told it"),
        (lambda A, y, k, *, noise: 0, ("k",), "takes noise and is not told it"),
        (lambda A, y: 0, ("k",), "is told k and has no parameter 'k'"),
        (lambda A, y, k: 0, ("k", "noise"), "is told noise and has no parameter"),
        (lambda A, y, sparsity: 0, None, "without k where it is not told k"),
        (lambda A, y, *, k: 0, None, "option 'k' of <lambda> needs a default"),
        (lambda A, y, k, *, noise=0.1: 0, None, "'noise' of misfit is a parameter of solve"),
    ],
)
def test_a_statement_that_the_parameters_contradict_is_refused(function, told, words, registered):
    with pytest.raises(InputError) as caught:
        sparsebench.algorithm("misfit", told=told)(function)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_k_is_kept_from_what_is_not_told_it_and_limits_nothing(registered):
    seen = handed()
    for k in ((), (2,), (20,)):
        assert np.count_nonzero(sparsebench.solve("untold", A, Y, *k).x) == 30
    assert seen == [()] * 3
    together = sparsebench.solve("untold", A, np.stack([Y, -Y], axis=1))
    assert together.x.shape == (30, 2)
    with pytest.raises(InputError, match="k must lie in"):
        sparsebench.solve("untold", A, Y, 21)
    with pytest.raises(InputError, match="omp must be told k"):
        sparsebench.solve("omp", A, Y)
    with pytest.raises(InputError, match="untold stands in no chain"):
        registry.choose_algorithm("untold+sea")


@pytest.mark.parametrize("scale_y", [1.0, 1e-3, 1e150, 1e-200])
@pytest.mark.parametrize("scale_a", [1.0, 1e140])
def test_the_noise_level_is_in_the_units_of_the_y_that_is_handed_on(scale_a, scale_y, registered):
    seen = handed(noise=True)
    for name in ("told-plain", "told-own"):
        sparsebench.solve(name, scale_a * A, scale_y * Y, noise=0.25 * scale_y)
    for y, noise in seen:
        np.testing.assert_allclose(y / noise, Y / 0.25, rtol=1e-14)
    np.testing.assert_array_equal(seen[0][0], scale_y * Y)  # the plain one sees y as it is


def test_no_noise_is_noise_at_the_size_of_rounding(registered):
    seen = handed(noise=True)
    for noise in (0, 0.0, 1e-30):
        for name in ("told-plain", "told-own"):
            sparsebench.solve(name, A, Y, noise=noise)
    sparsebench.solve("told-own", A, 1e-200 * Y, noise=1e308)
    assert len({noise for _, noise in seen[:-1]}) == 1
    assert seen[0][1] == pytest.approx(1e-10 * np.sqrt(np.mean(Y**2)))
    assert np.isfinite(seen[-1][1] ** 2) and seen[-1][1] > 1e30


def test_a_noise_level_that_is_missing_or_none_is_refused_in_one_line(registered):
    handed(noise=True)
    with pytest.raises(InputError, match="told-own must be told the noise level: noise="):
        sparsebench.solve("told-own", A, Y)
    with pytest.raises(InputError, match=r"omp takes no noise; these do: .*told-own"):
        sparsebench.solve("omp", A, Y, 2, noise=0.1)
    for wrong in (-1.0, np.nan, np.inf, True, "1", None, 1j, np.ones(2), 10**400):
        with pytest.raises(InputError, match=r"noise") as caught:
            sparsebench.solve("told-own", A, Y, noise=wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "problem",
    [
        "gaussian[snr=20]",
        "gaussian[snr=-3]",
        "gaussian",
        "deconvolution[snr=40]",
        "fourier[snr=20]",
        "gaussian[amplitudes=compressible,snr=30]",
    ],
)
def test_an_instance_knows_the_level_that_was_drawn(problem):
    """Exactly the root mean square of the noise: its ratio to A x is met exactly."""
    m, n = (40, 40) if problem.startswith("deconvolution") else (30, 60)
    instance = sparsebench.draw(problem, m=m, n=n, k=4, trial=2)
    expected = np.linalg.norm(instance.y - instance.A @ instance.x) / np.sqrt(m)
    if "compressible" in problem:  # what is no noise stands in y, too
        snr = choose_problem(problem).options
        assert dict(snr)["snr"] == 30
        clean = instance.noise * 10**1.5 * np.sqrt(m)
        assert clean == pytest.approx(np.linalg.norm(instance.y), rel=0.15)
        assert instance.noise < expected
    else:
        assert instance.noise == pytest.approx(expected, rel=1e-9, abs=1e-14)
    assert sparsebench.Instance(Dictionary(A), np.eye(30)[0], Y).noise is None


PLUGIN = """
import numpy as np, sparsebench

@sparsebench.algorithm
def told_noise(A, y, *, noise):
    x = np.zeros(A.shape[1])
    x[:2] = noise, 1.0
    return x

@sparsebench.algorithm(told=())
def told_nothing(A, y):
    return np.ones(A.shape[1])
"""


def test_a_run_tells_the_level_of_each_instance_and_counts_what_is_extra(tmp_path, registered):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    sparsebench.load_plugin(file)
    experiment = SupportDistance(
        choose_algorithms("told_noise,told_nothing"),
        choose_problem("gaussian[snr=20]"),
        n=30,
        m=20,
        ks=[1, 3],
        trials=3,
        seed=0,
        time_limit=60.0,
    )
    with Store(tmp_path / "rows") as store:
        run(
            experiment,
            store,
            workers=1,
            command="test",
            environment={},
            plugins=[str(file)],
            console=Console(quiet=True),
        )
        rows = store.frame()
    assert set(rows["status"]) == {"converged"}
    rows = rows.set_index(["algorithm", "k", "trial"])
    for k in (1, 3):
        for trial in range(3):
            instance = sparsebench.draw("gaussian", m=20, n=30, k=k, trial=trial, snr=20.0)
            x = np.zeros(30)
            x[:2] = instance.noise, 1.0
            error = np.linalg.norm(x - instance.x) / np.linalg.norm(instance.x)
            row = rows.loc[("told_noise", k, trial)]
            assert row["relative_error"] == pytest.approx(error, rel=1e-12)
            assert rows.loc[("told_nothing", k, trial), "support_distance"] == (30 - k) / 30


def test_signals_of_a_users_own_have_no_known_level(registered):
    handed(noise=True)
    with pytest.raises(InputError, match="nobody knows of these signals"):
        sparsebench.recover(A, Y, 2, algorithms="omp,told-own")
