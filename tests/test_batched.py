"""The torch twins: one text that runs each of them against its compiled kernel."""

import dataclasses
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sparsebench
from sparsebench import registry
from sparsebench.experiments.support_distance import SupportDistance
from sparsebench.registry import devices
from sparsebench.run import engine
from sparsebench.run.store import Store
from sparsebench.types import InputError, Status

torch = pytest.importorskip("torch")
from sparsebench import batched  # noqa: E402
from sparsebench.batched import problems  # noqa: E402

TWINS = [entry.name for entry in sparsebench.algorithms() if entry.twin]
NAMES = [*TWINS, "omp+sea", "els+sea"]
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
PLACES = ["torch-cpu", pytest.param("cuda", marks=CUDA)]
TRIALS = 12


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(problem, m, n, k, trials=TRIALS):
    return [sparsebench.draw(problem, m=m, n=n, k=k, trial=t, seed=3) for t in range(trials)]


GAUSSIAN = [*draw("gaussian", 40, 80, 5, 6), *draw("gaussian", 40, 80, 12, 6)]
DECONVOLUTION = [*draw("deconvolution", 48, 48, 3, 6), *draw("deconvolution", 48, 48, 6, 6)]
FOURIER = [*draw("fourier", 40, 80, 5, 6), *draw("fourier", 40, 80, 12, 6)]
STEERING = [*draw("steering", 32, 64, 3, 6), *draw("steering", 32, 64, 5, 6)]
SETS = {
    "gaussian": GAUSSIAN,
    "deconvolution": DECONVOLUTION,
    "fourier": FOURIER,
    "steering": STEERING,
}
RANDOM = ("gaussian", "fourier")


def sparsity(instance):
    return int(np.count_nonzero(instance.x))


def together(name, instances, device="torch-cpu", **options):
    shared = instances[0].dictionary is instances[-1].dictionary
    return batched.solve(
        name,
        instances[0].dictionary if shared else [i.dictionary for i in instances],
        np.stack([i.y for i in instances]),
        [sparsity(i) for i in instances],
        device=device,
        **options,
    )


def budget(name, max_iter):
    options = dict(registry.choose_algorithm(name).options)
    return {key: max_iter for key in options if key.endswith("max_iter")}


def residual(instance, x):
    return np.linalg.norm(instance.y - instance.A @ x) / np.linalg.norm(instance.y)


@pytest.mark.parametrize("device", PLACES)
@pytest.mark.parametrize("problem", SETS)
@pytest.mark.parametrize("name", NAMES)
def test_a_twin_answers_as_its_kernel(name, problem, device):
    """A dictionary each or one for all, and sparsities of two sizes; the same budget of 200."""
    options, instances = budget(name, 200), SETS[problem]
    for instance, twin in zip(instances, together(name, instances, device, **options), strict=True):
        kernel = sparsebench.solve(
            name, instance.dictionary, instance.y, sparsity(instance), **options
        )
        assert twin.status == kernel.status
        assert twin.x.dtype == instance.x.dtype
        if kernel.status == Status.DIVERGED:
            continue
        mine, theirs = residual(instance, twin.x), residual(instance, kernel.x)
        # Neighbours of a spike tie exactly: there, other supports have the same residual.
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-9)
        if problem in RANDOM:
            assert np.array_equal(twin.support, kernel.support)
            np.testing.assert_allclose(twin.x, kernel.x, rtol=1e-9, atol=1e-9)
            assert twin.n_iter == kernel.n_iter
        assert [s.name for s in twin.stages] == [s.name for s in kernel.stages]


@pytest.mark.parametrize("device", PLACES)
@pytest.mark.parametrize("problem", RANDOM)
@pytest.mark.parametrize("name", NAMES)
def test_single_precision_finds_easy_supports(name, problem, device):
    instances = SETS[problem][:6]
    for instance, twin in zip(
        instances, together(name, instances, device, precision="float32"), strict=True
    ):
        assert twin.x.dtype == instance.x.dtype
        kernel = sparsebench.solve(name, instance.dictionary, instance.y, 5)
        if np.array_equal(kernel.support, instance.support):
            assert np.array_equal(twin.support, instance.support)
            np.testing.assert_allclose(twin.x, instance.x, atol=1e-5)


@pytest.mark.parametrize("problem", RANDOM)
@pytest.mark.parametrize("name", NAMES)
def test_solve_takes_a_device(name, problem):
    instance = SETS[problem][0]
    one = sparsebench.solve(name, instance.A, instance.y, 5, device="torch-cpu")
    kernel = sparsebench.solve(name, instance.A, instance.y, 5)
    assert np.array_equal(one.support, kernel.support)
    two = sparsebench.solve(
        name, instance.A, np.stack([instance.y, 2 * instance.y], axis=1), 5, device="torch-cpu"
    )
    np.testing.assert_allclose(two.x, np.stack([one.x, 2 * one.x], axis=1), atol=1e-9)
    assert two.status == (one.status,) * 2


@pytest.mark.parametrize("problem", RANDOM)
def test_scales_and_shapes_do_not_matter(problem):
    instances = SETS[problem]
    instance = instances[0]
    for scale in (1e-150, 1e200):
        A, y = scale * instance.A, instance.y * scale**0.5
        for precision in devices.PRECISIONS:
            x = sparsebench.solve("htp", A, y, 5, device="torch-cpu", precision=precision).x
            np.testing.assert_allclose(x * scale**0.5, instance.x, atol=1e-5)
    stacked = np.stack([i.A for i in instances[:3]])
    found = batched.solve("omp", stacked, np.stack([i.y for i in instances[:3]]), 5)
    assert [r.support.tolist() for r in found] == [i.support.tolist() for i in instances[:3]]
    assert batched.solve("omp", instance.A, np.zeros((0, 40)), 5) == []
    (zero,) = batched.solve("sea", instance.A, np.zeros((1, 40)), 5)
    assert not zero.x.any() and zero.n_iter == 0


def test_real_and_complex_numbers_go_together():
    """A complex signal, dictionary or start makes all of them complex."""
    A, y = GAUSSIAN[0].A, GAUSSIAN[0].y
    turned = sparsebench.solve("htp", A, 1j * y, 5, device="torch-cpu")
    np.testing.assert_allclose(turned.x, 1j * GAUSSIAN[0].x, atol=1e-9)
    several = sparsebench.solve("sea", A, np.stack([y, 1j * y], axis=1), 5, device="torch-cpu")
    np.testing.assert_allclose(several.x[:, 1], 1j * several.x[:, 0], atol=1e-9)
    mixed = [A, FOURIER[0].A]
    for found, one in zip(batched.solve("omp", np.stack(mixed), [y, y], 5), mixed, strict=True):
        np.testing.assert_allclose(found.x, sparsebench.solve("omp", one, y, 5).x, atol=1e-9)
    with pytest.raises(InputError, match="start is complex, and A and y are real"):
        batched.solve("sea", A, y[None], 5, start=turned.x[None])
    (again,) = batched.solve("sea", A, y[None] + 0j, 5, start=turned.x[None])
    np.testing.assert_allclose(again.x, GAUSSIAN[0].x, atol=1e-9)
    none = sparsebench.solve("sea", A, np.zeros((40, 0)) + 0j, 5, device="torch-cpu")
    assert none.x.dtype == complex and none.x.shape == (80, 0)


def test_torch_waits_until_a_device_is_asked_for():
    code = (
        "import sys, numpy as np, sparsebench, sparsebench.cli; "
        "A = np.eye(4); sparsebench.solve('omp', A, A[0], 1); "
        "assert 'torch' not in sys.modules; "
        "assert sparsebench.batched.solve('omp', A, A[:2], 1)[1].support == [1]; "
        "assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_start_is_continued():
    instance = GAUSSIAN[0]
    start = sparsebench.solve("omp", instance.A, instance.y, 5).x
    kernel = sparsebench.solve("sea", instance.A, instance.y, 5, start=start)
    twin = sparsebench.solve("sea", instance.A, instance.y, 5, start=start, device="torch-cpu")
    assert (twin.n_iter, twin.support.tolist()) == (kernel.n_iter, kernel.support.tolist())


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_that_is_not_finite_fails_alone(name):
    signals = np.stack([i.y for i in GAUSSIAN[:3]])
    signals[1, 7] = np.nan
    found = problems.solve_problems(
        registry.choose_algorithm(name),
        [i.dictionary for i in GAUSSIAN[:3]],
        np.arange(3),
        signals,
        np.full(3, 5),
        "torch-cpu",
    )
    alone = together(name, GAUSSIAN[:3])
    assert found[1].status == Status.ERROR
    for row in (0, 2):
        assert np.array_equal(found[row].x, alone[row].x)


def test_finished_problems_leave_the_batch(monkeypatch):
    """HTP on easy and hard problems: the easy ones are no part of later iterations."""
    from sparsebench.batched import htp

    sizes = []
    inner = htp.least_squares

    def counted(batch, support):
        sizes.append(len(batch))
        return inner(batch, support)

    monkeypatch.setattr(htp, "least_squares", counted)
    found = together("htp[max_iter=50]", draw("gaussian", 40, 80, 11, 20))
    n_iter = [int(result.n_iter) for result in found]
    assert sizes[0] == 20 and sizes[-1] < 20
    # A support that repeats is found out in the iteration after, when it is fitted once more.
    assert len(sizes) == max(n_iter)
    assert sizes == [sum(n >= i for n in n_iter) for i in range(1, max(n_iter) + 1)]


def test_out_of_memory_halves_the_batch_and_goes_on(monkeypatch):
    sizes = []
    inner = problems._solve

    def small(chosen, stack, owner, *rest):
        sizes.append(len(owner))
        if len(owner) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(chosen, stack, owner, *rest)

    expected = [r.support.tolist() for r in together("omp", GAUSSIAN)]
    monkeypatch.setattr(problems, "_solve", small)
    assert [r.support.tolist() for r in together("omp", GAUSSIAN)] == expected
    assert max(sizes) > 2 and sizes.count(2) >= 2

    def none(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(problems, "_solve", none)
    with pytest.raises(MemoryError, match="does not fit"):
        together("omp", GAUSSIAN[:1])


def test_batches_are_cut_to_the_memory_at_hand(monkeypatch):
    expected = [r.support.tolist() for r in together("htp", GAUSSIAN)]
    sizes = []
    inner = problems._solve
    monkeypatch.setattr(
        problems, "_solve", lambda *given: sizes.append(len(given[2])) or inner(*given)
    )
    monkeypatch.setattr(problems, "memory_at_hand", lambda device: 3e5)
    assert [r.support.tolist() for r in together("htp", GAUSSIAN)] == expected
    assert len(sizes) > 3 and sum(sizes) == len(GAUSSIAN)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("bp", {"device": "torch-cpu"}, "on a device: amp, cosamp"),
        ("omp+sbr", {"device": "torch-cpu"}, "sbr runs on the processor only"),
        ("omp", {"device": "gpu"}, "unknown device 'gpu'"),
        ("omp", {"device": "cuda:99"}, "no device 'cuda:99'"),
        ("omp", {"device": "torch-cpu", "precision": "half"}, "float64 or float32"),
        ("omp", {"precision": "float32"}, "needs torch-cpu or cuda"),
        ("sea", {"device": "torch-cpu", "history": True}, "on the device cpu only"),
        ("niht", {"device": "torch-cpu", "c": 0.5}, "kappa > 1 / (1 - c)"),
        ("fista", {"device": "torch-cpu", "lam": 2.0}, "fraction"),
    ],
)
def test_bad_input_is_one_clear_line(name, options, words):
    with pytest.raises(InputError) as caught:
        sparsebench.solve(name, GAUSSIAN[0].A, GAUSSIAN[0].y, 5, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("A", "y", "k", "words"),
    [
        (np.zeros((0, 4, 5)), np.zeros((0, 4)), 1, "with B >= 1"),
        ([], np.zeros((1, 4)), 1, "A must have shape"),
        (np.zeros((1, 0, 5)), np.zeros((1, 0)), 1, "A must have shape"),
        ([np.eye(4), np.eye(3)], np.zeros((2, 4)), 1, "inhomogeneous"),
        (np.ma.array(np.ones((1, 4, 5)), mask=True), np.ones((1, 4)), 1, "masked entries"),
        (np.ones((2, 4, 5)), np.ones((1, 4)), 1, "one or B dictionaries"),
        (np.ones((4, 5)), np.ones(4), 1, "y must have shape (B, 4)"),
        (np.ones((4, 5)), np.ones((2, 4)), [1, [2]], "inhomogeneous"),
        (np.ones((4, 5)), np.ones((2, 4)), np.ma.array([1, 2], mask=[0, 1]), "masked entries"),
        (np.ones((4, 5)), np.ones((2, 4)), [1, 5], "k must lie in"),
    ],
)
def test_shapes_that_do_not_fit_are_one_clear_line(A, y, k, words):
    with pytest.raises(InputError) as caught:
        batched.solve("omp", A, y, k)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_twin_has_a_name_and_auto_runs_everything():
    rooms = ("amp", "htp", "iht", "ista", "local_search", "omp", "pursuit", "sea")
    written = {
        getattr(module, name)
        for module in (import_module(f"sparsebench.batched.{room}") for room in rooms)
        for name in dir(module)
        if name in registry.ALGORITHMS
    }
    assert {problems.load_twin(registry.get_algorithm(name)) for name in TWINS} == written
    expected = "cuda:0" if torch.cuda.is_available() else "cpu"
    assert devices.resolve("auto") == expected
    for name in ("omp", "bp"):
        assert sparsebench.solve(name, GAUSSIAN[0].A, GAUSSIAN[0].y, 5, device="auto").x.any()


def test_columns_that_depend_on_each_other():
    """A repeated atom, a zero atom and more candidates than measurements: finite answers."""
    rng = np.random.default_rng(1)
    A = rng.standard_normal((12, 24))
    A[:, 5], A[:, 9] = A[:, 4], 0.0
    y = A[:, [1, 4, 7, 11, 12, 16]].sum(axis=1)
    for name in NAMES:
        options = budget(name, 60)
        kernel = sparsebench.solve(name, A, y, 6, **options)
        twin = sparsebench.solve(name, A, y, 6, device="torch-cpu", **options)
        assert np.isfinite(twin.x).all() and np.count_nonzero(twin.x) <= 6
        mine, theirs = (np.linalg.norm(y - A @ r.x) / np.linalg.norm(y) for r in (twin, kernel))
        assert mine <= theirs + 1e-6 or name in ("cosamp", "iht", "ista", "fista", "amp")


def endings(normal):
    """Problems (A, y, k) whose ending no rounding decides, of numbers that `normal` draws."""
    A = normal((20, 40))
    rank_6 = normal((20, 6)) @ normal((6, 40))
    repeated = A.copy()
    repeated[:, 5], repeated[:, 9], repeated[:, 21] = A[:, 4], 0.0, A[:, 20]
    half = np.vstack([A[:10], np.zeros((10, 40))])
    tall = normal((40, 20))
    return {
        "solved": (A, A[:, 3] - 2 * A[:, 8], 2),
        "unsolved": (A, A[:, [1, 4, 7, 11, 12, 16, 20, 25, 30, 35]].sum(axis=1), 10),
        "noise": (A, normal(20), 5),
        "all rows": (A, normal(20), 20),
        "rank 6": (rank_6, rank_6[:, 3] - 2 * rank_6[:, 8] + rank_6[:, 20], 3),
        "more atoms than the rank": (rank_6, rank_6[:, :10].sum(axis=1), 10),
        "zero": (A, np.zeros(20), 4),
        "orthogonal": (half, np.eye(20)[15], 4),
        "half outside": (half, normal(20), 12),
        "repeated": (repeated, repeated[:, 4] - 2 * repeated[:, 8], 2),
        "repeated, unsolved": (repeated, normal(20), 12),
        "tall": (tall, normal(40), 20),
    }


def drawing(field):
    """Return a function that draws standard normal numbers of a shape, real or complex."""
    rng = np.random.default_rng(0)
    if field == "real":
        return rng.standard_normal
    return lambda shape: rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize("field", ["real", "complex"])
@pytest.mark.parametrize("name", TWINS)
def test_a_twin_and_several_signals_end_as_the_kernel_does(name, field):
    options = budget(name, 100)
    for problem, (A, y, k) in endings(drawing(field)).items():
        kernel = sparsebench.solve(name, A, y, k, **options)
        twin = sparsebench.solve(name, A, y, k, device="torch-cpu", **options)
        several = sparsebench.solve(name, A, np.stack([y, -y], axis=1), k, **options)
        assert twin.status == several.status[0] == several.status[1] == kernel.status, problem
        if problem in ("zero", "orthogonal"):
            assert kernel.status == Status.CONVERGED
            assert not twin.x.any() and not several.x.any()
        if kernel.status != Status.DIVERGED:
            left = np.linalg.norm(y - A @ kernel.x)
            for x in (twin.x, several.x[:, 0], -several.x[:, 1]):
                np.testing.assert_allclose(np.linalg.norm(y - A @ x), left, atol=1e-6)


@pytest.mark.parametrize("precision", devices.PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_an_estimate_beyond_double_precision_is_refused(name, precision):
    """Entries of x would be near 1e450; those near 1e300 are returned."""
    A, y = GAUSSIAN[0].A, GAUSSIAN[0].y
    place = {"device": "torch-cpu", "precision": precision}
    for signals in (y, np.stack([y, y], axis=1)):
        with pytest.raises(InputError, match="A is too small for this y"):
            sparsebench.solve(name, 1e-300 * A, 1e150 * signals, 5, **place)
    x = sparsebench.solve(name, 1e-200 * A, 1e100 * y, 5, **place).x
    np.testing.assert_allclose(x / 1e300, sparsebench.solve(name, A, y, 5, **place).x, rtol=1e-3)


def test_an_estimate_beyond_double_precision_fails_alone():
    A, y = 1e-300 * GAUSSIAN[0].A, GAUSSIAN[0].y
    found = batched.solve("omp", A, np.stack([1e150 * y, 1e-150 * y]), 5)
    assert [r.status for r in found] == [Status.ERROR, Status.CONVERGED]
    assert "A is too small for this y" in found[0].message and not found[0].x.any()
    np.testing.assert_allclose(found[1].x / 1e150, GAUSSIAN[0].x, atol=1e-9)


@pytest.mark.parametrize("device", ["cpu", "torch-cpu"])
def test_a_start_whose_square_overflows_is_refused(device):
    A, y = GAUSSIAN[0].A, GAUSSIAN[0].y
    for start, signal in ((1e200 * GAUSSIAN[0].x, y), (1e100 * GAUSSIAN[0].x, 1e-300 * y)):
        with pytest.raises(InputError, match="start is too large"):
            sparsebench.solve("htp", A, signal, 5, start=start, device=device)


@pytest.mark.parametrize("field", ["real", "complex"])
def test_least_squares_of_every_rank_deficient_problem_of_a_batch(field):
    """By singular values: the default driver of torch's own `lstsq` is wrong from the second on."""
    from sparsebench.batched.batch import Batch, Stack
    from sparsebench.batched.least_squares import least_squares, refined

    normal = drawing(field)
    matrices = [normal((12, 3)) @ normal((3, 9)) for _ in range(4)]
    signals = normal((4, 12))
    dtype = torch.float64 if field == "real" else torch.complex128
    stack = Stack([sparsebench.Dictionary(A) for A in matrices], torch.device("cpu"), dtype)
    batch = Batch.start(
        stack, torch.arange(4), torch.from_numpy(signals), torch.full((4,), 9, dtype=torch.int64)
    )
    for solver in (least_squares, refined):
        found = solver(batch, torch.arange(9).expand(4, 9).clone()).numpy()
        for x, A, y, exponent in zip(found, matrices, signals, stack.exponents, strict=True):
            expected = np.linalg.pinv(A, rcond=1e-12) @ y
            np.testing.assert_allclose(x, 2.0**exponent * expected, atol=1e-10)
    package = Path(sparsebench.__file__).parent
    assert not [
        path
        for path in package.rglob("*.py")
        if "import torch" in path.read_text() and "lstsq" in path.read_text()
    ]


def experiment(algorithms, trials=4, problem="gaussian"):
    return SupportDistance(
        algorithms=algorithms,
        problem=registry.choose_problem(problem),
        n=40,
        m=20,
        ks=[2, 4],
        trials=trials,
        seed=0,
        time_limit=60.0,
    )


def run(folder, algorithms, problem="gaussian", **options):
    wanted = experiment(algorithms, problem=problem)
    with Store(folder) as store:
        report = engine.run(wanted, store, workers=1, command="", environment={}, **options)
        return report, store.frame()


@pytest.mark.parametrize("twin", ["nowhere:omp", "sparsebench.batched.omp:none", "omp", ":omp"])
def test_a_twin_that_is_not_there_is_one_clear_line(twin):
    entry = dataclasses.replace(registry.get_algorithm("omp"), name="elsewhere", twin=twin)
    registry.ALGORITHMS["elsewhere"] = entry
    try:
        with pytest.raises(InputError, match=r"^the twin '.*' of elsewhere is not there") as caught:
            sparsebench.solve("elsewhere", GAUSSIAN[0].A, GAUSSIAN[0].y, 5, device="torch-cpu")
    finally:
        del registry.ALGORITHMS["elsewhere"]
    assert "\n" not in str(caught.value)


def test_a_choice_on_a_device_is_not_solved_on_the_processor_unsaid():
    instance = GAUSSIAN[0]
    chosen = registry.choose_algorithm("omp")
    assert chosen.solve(instance.dictionary, instance.y, 5).x.any()
    with pytest.raises(InputError, match="omp on torch-cpu: on a device, solve"):
        chosen.on("torch-cpu").solve(instance.dictionary, instance.y, 5)


def test_the_store_keeps_devices_apart(tmp_path):
    chosen = registry.choose_algorithms("omp,sea")
    twins, device = registry.on_device(chosen, "torch-cpu")
    singles, _ = registry.on_device(chosen, "torch-cpu", "float32")
    assert [c.label for c in twins] == ["omp on torch-cpu", "sea on torch-cpu"]
    assert registry.on_device(chosen, "cpu")[0] == chosen
    assert run(tmp_path, chosen)[0].computed == 16
    report, _ = run(tmp_path, [*twins, *singles], device=device)
    assert (report.computed, report.found) == (32, 0)
    report, rows = run(tmp_path, [*chosen, *twins, *singles], device=device)
    assert (report.computed, report.found) == (0, 48)
    assert rows["algorithm_recipe"].nunique() == 6
    exact = rows.groupby(["algorithm_recipe", "algorithm"], observed=True)["exact"].sum()
    assert exact.groupby("algorithm", observed=True).nunique().max() == 1


@pytest.mark.parametrize("problem", RANDOM)
def test_one_run_mixes_workers_and_a_device(tmp_path, problem):
    chosen = registry.choose_algorithms("omp")
    twins, device = registry.on_device(chosen, "torch-cpu")
    report, rows = run(tmp_path, [*chosen, *twins], problem, device=device)
    assert report.computed == len(rows) == 16
    totals = rows.groupby("algorithm_recipe", observed=True)["support_distance"].sum()
    assert totals.nunique() == 1


def test_trouble_on_a_device_is_rows_or_one_line(tmp_path, monkeypatch):
    twins, device = registry.on_device(registry.choose_algorithms("omp"), "torch-cpu")
    bad, _ = registry.on_device(registry.choose_algorithms("niht[c=0.9]"), "torch-cpu")
    _, rows = run(tmp_path / "options", bad, device=device)
    assert (rows["status"] == "error").all() and rows["message"].str.contains("kappa").all()

    inner = problems._solve

    def poisoned(chosen, stack, owner, signals, *rest):
        signals = signals.copy()
        signals[0] = np.nan
        return inner(chosen, stack, owner, signals, *rest)

    monkeypatch.setattr(problems, "_solve", poisoned)
    _, rows = run(tmp_path / "nan", twins, device=device)
    assert (rows["status"] == "error").sum() == 1
    assert set(rows["message"]) == {"", "NaN or infinite entries on torch-cpu"}

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(problems, "_solve", full)
    _, rows = run(tmp_path / "memory", twins, device=device)
    assert (rows["message"] == "out of memory on torch-cpu").all()

    def gone(*_):
        raise RuntimeError("CUDA error: the launch timed out\nmore")

    monkeypatch.setattr(problems, "_solve", gone)
    with pytest.raises(OSError, match=r"does not answer any more \(CUDA error: the launch timed"):
        run(tmp_path / "gone", twins, device=device)
    monkeypatch.setattr(problems, "_solve", inner)
    assert run(tmp_path / "gone", twins, device=device)[0].computed == 8


def test_the_command_line_takes_a_device(tmp_path):
    from typer.testing import CliRunner

    from sparsebench.cli.application import app

    given = [
        "phase-transition",
        "-a",
        "omp,htp",
        "--n",
        "30",
        "--ratios",
        "0.5",
        "--max-trials",
        "6",
    ]
    given += ["-j", "1", "--device", "torch-cpu", "-o", str(tmp_path)]
    found = CliRunner().invoke(app, given)
    assert found.exit_code == 0, found.output
    assert "omp on torch-cpu" in (tmp_path / "thresholds.csv").read_text()
    again = CliRunner().invoke(app, given)
    assert "nothing to compute" in again.output
    refused = CliRunner().invoke(app, [*given, "-a", "bp"])
    assert isinstance(refused.exception, InputError)
    assert "bp runs on the processor only" in str(refused.exception)
    asked = ["compare", "omp", "htp", "--by", "distance", "-o", str(tmp_path)]
    compared = CliRunner().invoke(app, [*asked, "--device", "torch-cpu"])
    assert compared.exit_code == 0, compared.output
    table = pd.read_csv(tmp_path / "comparison-distance.csv")
    assert set(table["other"]) == {"htp on torch-cpu"}
    absent = CliRunner().invoke(app, asked)  # the kernels have solved nothing here
    assert isinstance(absent.exception, InputError)
    for device, said in (("cuda:0", "omp on cuda"), ("gpu", "not of 'gpu'")):
        refused = CliRunner().invoke(app, [*asked, "--device", device])
        assert isinstance(refused.exception, InputError) and said in str(refused.exception)
