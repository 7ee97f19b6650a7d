"""A limit counts what a solve uses: not what else the machine does, nor how long it was stopped."""

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numba import njit
from rich.console import Console

import sparsebench
from sparsebench import registry
from sparsebench.cli import options
from sparsebench.experiments.phase_transition import PhaseTransition
from sparsebench.experiments.study import Point, Study
from sparsebench.experiments.support_distance import SupportDistance
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.registry.calls import compile_kernels
from sparsebench.report import figures, multiples, picture, style
from sparsebench.run import pool, worker
from sparsebench.run.engine import run
from sparsebench.run.guard import attempt
from sparsebench.run.rows import Block
from sparsebench.run.store import Store
from sparsebench.system import limits, watching
from sparsebench.system.limits import TimeOut, time_limited
from sparsebench.types import InputError


def compute(seconds):
    """Use so many seconds of CPU time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return "done"


def wait(seconds):
    """Use none, for so long on the wall."""
    time.sleep(seconds)
    return "done"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(limits, "_TICK", 0.05)
    monkeypatch.setattr(limits, "_WAITING_TICKS", 3)


def test_time_that_a_solve_does_not_use_is_not_counted():
    assert attempt(lambda: wait(0.5), 0.1) == "done"
    assert attempt(lambda: compute(0.05), 0.5) == "done"


def test_a_solve_that_uses_more_is_a_time_out():
    begin = time.process_time()
    row = attempt(lambda: compute(30.0), 0.2)
    assert time.process_time() - begin < 3.0
    assert (row.status, row.message) == ("time-out", "stopped after 0.2 s of CPU time")


def test_what_its_threads_use_is_counted():
    over = threading.Event()

    def work():
        while not over.is_set():
            compute(0.01)

    def solve():
        thread = threading.Thread(target=work)
        thread.start()
        try:
            time.sleep(30.0)
        finally:
            over.set()
            thread.join()

    assert attempt(solve, 0.2).message == "stopped after 0.2 s of CPU time"


def test_a_solve_that_only_waits_is_given_up(impatient):
    row = attempt(lambda: wait(30.0), 0.02)
    assert row.status == "time-out"
    assert row.message == "stopped after 0.15 s in which it computed nothing"


class Clock:
    """CPU time by hand."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(limits.time, "process_time", lambda: self.now)


def test_only_ticks_in_a_row_without_work_end_a_solve(monkeypatch):
    """Whatever a tick took on the wall: a stop of an hour is one tick, a busy machine is none."""
    clock = Clock(monkeypatch)
    limit = limits._Limit(60.0)
    assert limit.tick == 60.0
    for _ in range(5):
        for _ in range(9):
            limit.wait()
        clock.now += 1.0  # a sixtieth of a core
        limit.wait()
    for _ in range(9):
        limit.wait()
    with pytest.raises(TimeOut):
        limit.wait()
    assert limit.message == "stopped after 600 s in which it computed nothing"


def test_a_timer_that_is_early_is_set_again(monkeypatch):
    clock, timers = Clock(monkeypatch), []
    monkeypatch.setattr(signal, "setitimer", lambda *timer: timers.append(timer))
    limit = limits._Limit(2.0)
    clock.now += 1.5
    limit.look()
    assert timers == [(signal.ITIMER_PROF, 0.5, limits._AGAIN)]
    clock.now += 0.5
    with pytest.raises(TimeOut):
        limit.look()


def test_a_short_limit_waits_seconds_at_least():
    assert limits._Limit(0.01).tick == 1.0


def test_the_end_of_a_limit_cannot_be_swallowed():
    def solve():
        try:
            compute(30.0)
        except BaseException:
            return "nothing happened"

    assert attempt(solve, 0.1).status == "time-out"

    def raises():
        try:
            compute(30.0)
        finally:
            raise ValueError("something else")

    assert attempt(raises, 0.1).status == "time-out"


def test_a_limit_leaves_nothing_behind():
    with time_limited(0.1):
        pass
    assert signal.getitimer(signal.ITIMER_PROF)[0] == signal.getitimer(signal.ITIMER_REAL)[0] == 0
    os.kill(os.getpid(), signal.SIGPROF)  # late
    os.kill(os.getpid(), signal.SIGALRM)
    assert compute(0.3) == "done"


def test_a_limit_holds_after_a_solve_that_took_its_signals():
    def takes():
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)

    attempt(takes, 1.0)
    assert attempt(lambda: compute(30.0), 0.1).status == "time-out"


@pytest.mark.parametrize("where", ["no timer", "thread"])
def test_without_a_timer_a_solve_is_judged_when_it_returns(monkeypatch, where):
    def rows():
        return [attempt(lambda: compute(0.3), 0.1), attempt(lambda: wait(0.3), 0.1)]

    found = []
    if where == "thread":
        thread = threading.Thread(target=lambda: found.extend(rows()))
        thread.start()
        thread.join()
    else:
        monkeypatch.delattr(signal, "setitimer")
        found = rows()
    assert found[0].status == "time-out" and found[1] == "done"
    assert found[0].message == "took more than 0.1 s of CPU time"


STOPPED = """
import sys
sys.path.insert(0, {tests!r})
from test_limits import attempt, compute
def solve():
    compute(0.2)
    print("halfway", flush=True)
    return compute(0.2)
print(attempt(solve, 0.8))
"""


def test_a_solve_that_is_stopped_for_longer_than_its_limit_loses_nothing():
    code = STOPPED.format(tests=str(Path(__file__).parent))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "halfway\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.read() == "done\n"


@njit
def _turn(values, rounds):
    for _ in range(rounds):
        for i in range(values.size):
            values[i] = 0.5 * values[i] + 1.0
    return np.zeros(3), rounds


def test_a_limit_that_ends_within_compiled_code_is_a_time_out():
    values = np.ones(2000)
    _turn(values, 1)
    rounds, seconds = 1000, 0.0
    while seconds < 0.3:
        rounds *= 2
        begin = time.process_time()
        _turn(values, rounds)
        seconds = time.process_time() - begin
    row = attempt(lambda: _turn(values, rounds), 0.1 * seconds)
    assert row.status == "time-out"


def test_an_interruption_of_compiled_code_is_no_error():
    """A handler's exception comes out of numba as a SystemError that was caused by it."""

    def asked(*_):
        raise KeyboardInterrupt

    @registry.algorithm("turns")
    def turns(A, y, k):
        _turn(np.ones(2000), rounds)
        return np.zeros(A.shape[1])

    rounds = 1
    _turn(np.ones(2000), 1)
    rounds = 1_000_000
    before = signal.signal(signal.SIGVTALRM, asked)
    try:
        for call in (
            lambda: sparsebench.solve("turns", np.eye(3), np.ones(3), 1),
            lambda: attempt(lambda: _turn(np.ones(2000), rounds), 60.0),
        ):
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.02)
            with pytest.raises(KeyboardInterrupt):
                call()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        del registry.ALGORITHMS["turns"]


@pytest.mark.parametrize(
    ("name", "n", "k"), [("sea[max_iter=100000000]", 120, 18), ("exhaustive", 24, 9)]
)
def test_a_compiled_loop_ends_with_its_limit(name, n, k):
    """Too many atoms for any algorithm, or too many supports."""
    (chosen,) = choose_algorithms(name)
    rng = np.random.default_rng(0)
    A = rng.standard_normal((40, n))
    dictionary, y = sparsebench.Dictionary(A), A[:, :k] @ (1.0 + rng.random(k))
    y += 0.1 * rng.standard_normal(40)
    options = dict(chosen.options)
    few = options | {key: 1 for key in options if "max_iter" in key}
    compile_kernels(chosen.links[0].algorithm, few)
    begin = time.process_time()
    row = attempt(lambda: chosen.solve(dictionary, y, k), 0.2)
    assert row.status == "time-out"
    assert time.process_time() - begin < 3.0


def test_every_compiled_loop_of_an_algorithm_looks_for_interruptions():
    """Those that go on until `max_iter`, and those that choose atoms or supports one by one."""
    package, others = (
        Path(sparsebench.__file__).parent,
        ["_search", "_select", "select_orthogonal"],
    )
    looking = {}
    for path in [*(package / "solvers").glob("*.py"), *(package / "kernels").glob("*.py")]:
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and any(
                ast.unparse(decorator).startswith(("njit", "imaged"))
                for decorator in function.decorator_list
            ):
                names = {argument.arg for argument in function.args.args}
                if "max_iter" in names or function.name in others:
                    looking[function.name] = "interrupted()" in ast.unparse(function)
    assert {"_sea", "lasso_path", *others} <= set(looking)
    assert all(looking.values()), looking


def test_a_message_has_no_address():
    """Messages are counted by equality."""

    def fails():
        raise RuntimeError(f"no use for {object()}, nor for 0xff")

    messages = {attempt(fails, 60.0).message for _ in range(3)}
    assert messages == {"RuntimeError: no use for <object object at 0x...>, nor for 0xff"}


def brittle(folder, statuses, retry=(), stop=None, trials=4):
    """Run omp and an algorithm whose rows have the given statuses; return those that were called.

    `stop` interrupts the run when so many rows of it have been computed.
    """
    calls = []

    @registry.algorithm("brittle")
    def brittle(A, y, k):
        if A.shape[1] != 32:  # the first call
            return np.zeros(A.shape[1])
        calls.append(1)
        if stop is not None and len(calls) > stop:
            raise KeyboardInterrupt
        status = statuses[len(calls) - 1]
        if status == "time-out":
            raise TimeOut("slow")
        if status == "error":
            raise RuntimeError("broken")
        return np.zeros(32)

    experiment = SupportDistance(
        [*choose_algorithms("brittle"), *choose_algorithms("omp")],
        choose_problem("gaussian"),
        n=32,
        m=16,
        ks=[2],
        trials=trials,
        seed=0,
        time_limit=60.0,
    )
    # A version of its own would tell the rows of one call from those of the next.
    experiment.algorithms = [replace(chosen, version="1") for chosen in experiment.algorithms]
    quiet = Console(stderr=True, quiet=True)
    try:
        with Store(folder) as store:
            run(
                experiment, store, workers=1, command="", environment={}, console=quiet, retry=retry
            )
    except KeyboardInterrupt:
        assert stop is not None
        calls.pop()
    finally:
        del registry.ALGORITHMS["brittle"]
    with Store(folder, writable=False) as store:
        rows = store.frame()
    found = rows[rows["algorithm"] == "brittle"].sort_values("trial")
    assert (rows[rows["algorithm"] == "omp"]["run"] == 1).all()
    return len(calls), list(found["status"]), experiment


def test_rows_of_a_status_are_computed_anew_and_no_others(tmp_path):
    first = ["time-out", "converged", "error", "time-out"]
    calls, statuses, experiment = brittle(tmp_path, first)
    assert (calls, statuses) == (4, first)
    assert list(experiment.distances().set_index("algorithm")["time_outs"]) == [2, 0]
    assert brittle(tmp_path, [])[:2] == (0, first)
    calls, statuses, _ = brittle(tmp_path, ["converged", "time-out"], ["time-out"])
    assert (calls, statuses) == (2, ["converged", "converged", "error", "time-out"])
    calls, statuses, _ = brittle(tmp_path, ["converged"] * 2, ["time-out", "error"])
    assert (calls, statuses) == (2, ["converged"] * 4)
    assert brittle(tmp_path, [], ["time-out", "error"])[0] == 0


def test_a_retry_that_is_stopped_goes_on_and_comes_to_its_end(tmp_path):
    """A row that is a time-out again is not computed once more by the run that continues."""
    brittle(tmp_path, ["time-out"] * 6, trials=6)
    slow = ["time-out"] * 6
    assert brittle(tmp_path, slow, ["time-out"], stop=2, trials=6)[0] == 2
    assert brittle(tmp_path, slow, ["time-out"], stop=1, trials=6)[0] == 1
    assert brittle(tmp_path, slow, ["time-out"], trials=6)[0] == 3
    # That one ended: the next one is a new attempt at all of them.
    assert brittle(tmp_path, slow, ["time-out"], stop=6, trials=6)[0] == 6
    calls, statuses, _ = brittle(tmp_path, ["converged"] * 6, ["time-out"], trials=6)
    assert (calls, statuses) == (6, ["converged"] * 6)


def test_a_row_that_another_run_computed_meanwhile_is_kept(tmp_path):
    brittle(tmp_path, ["time-out", "converged"], trials=2)
    with Store(tmp_path) as store:
        block = Block(
            choose_problem("gaussian"),
            0,
            32,
            16,
            1,
            tuple((replace(c, version="1"), 2) for c in choose_algorithms("omp")),
            60.0,
        )
        (before,) = store.find(block).values()
        assert before.status == "converged"
        store.add(1, block, [replace(before, status="error", exact=False)], ["time-out"])
        assert list(store.find(block).values()) == [before]


def test_retry_takes_statuses_that_a_machine_may_be_to_blame_for():
    assert options.read_statuses(None) == []
    assert options.read_statuses("time-out,error") == ["time-out", "error"]
    assert options.read_statuses("older") == ["older"]
    for wrong in ("diverged", "converged", "", "time-out,"):
        with pytest.raises(InputError, match="--retry takes time-out, error, older or several"):
            options.read_statuses(wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda chosen: SupportDistance(
            chosen, choose_problem("gaussian"), 32, 16, [2, 3], 4, seed=0, time_limit=60.0
        ),
        lambda chosen: PhaseTransition(
            chosen,
            choose_problem("gaussian"),
            n=32,
            ms=[16],
            half_widths={0.95: 2.0, 0.5: 2.0},
            max_trials=4,
            grid=4,
            seed=0,
            time_limit=60.0,
        ),
        lambda chosen: Study(
            "noise",
            [
                Point(
                    "", k, choose_problem("gaussian"), 16, 32, k, 4, {"late": chosen[0]}, ("exact",)
                )
                for k in (2, 3)
            ],
            seed=0,
            time_limit=60.0,
        ),
    ],
)
def test_a_figure_says_how_many_time_outs_are_in_it(tmp_path, make):
    """A third of the solves at every k; counted once whatever the levels and metrics."""
    calls = []

    @registry.algorithm("late")
    def late(A, y, k):
        if A.shape[1] == 32:
            calls.append(1)
            if len(calls) % 3 == 0:
                raise TimeOut("slow")
        return np.zeros(A.shape[1])

    try:
        experiment = make(choose_algorithms("late"))
        with Store(tmp_path) as store:
            run(
                experiment,
                store,
                workers=1,
                command="",
                environment={},
                console=Console(stderr=True, quiet=True),
            )
        if isinstance(experiment, SupportDistance):
            frame = experiment.distances()
        elif isinstance(experiment, Study):
            frame = experiment.estimates()
        else:
            frame = experiment.thresholds()
            cells = experiment.cells()
            assert cells["time_outs"].sum() == len(calls) // 3
            frame = frame[frame["level"] == 0.95]
    finally:
        del registry.ALGORITHMS["late"]
    assert frame["time_outs"].sum() == len(calls) // 3 > 0
    assert f"{len(calls) // 3} time-outs, counted as failures" in picture.counted(frame)
    assert len(picture.counted(frame.assign(time_outs=0))) == 2
    assert len(picture.counted(frame.drop(columns="time_outs"))) == 2


@pytest.mark.parametrize("name", ["thresholds", "distances", "noise", "full-grid"])
def test_the_small_print_of_a_picture_has_the_time_outs(tmp_path, monkeypatch, name):
    """Of the committed figures, with one time-out at the place of the first row of each."""
    frame = pd.read_csv(Path(__file__).parent.parent / "figures" / f"{name}.csv")
    frame["time_outs"] = 0
    place = ["algorithm", "m"]  # with a row for each level
    first = (frame[place] == frame[place].iloc[0]).all(axis=1) if name == "thresholds" else [0]
    frame.loc[first, "time_outs"] = 1
    frame.to_csv(tmp_path / f"{name}.csv", index=False)
    said = []
    monkeypatch.setattr(
        style,
        "save",
        lambda figure, *_: said.append(str([t.get_text() for t in figure.texts])) or [],
    )
    for kind, drawing in ((multiples, "small_multiples"), (multiples, "full_grid")):
        monkeypatch.setattr(kind, drawing, lambda *parts, **_: said.append(str(parts)) or [])
    figures.draw(tmp_path / f"{name}.csv", tmp_path)
    assert said and all("1 time-out, counted as failures" in text for text in said)
    frame["time_outs"] = "many"
    frame.to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(InputError, match="is damaged"):
        figures.draw(tmp_path / f"{name}.csv", tmp_path)


NEVER = """
import ctypes
import threading
from collections import deque
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import sparsebench


def spins(A, y, k):  # and swallows whatever a signal raises
    while k == 2 and A.shape[1] == 32:
        try:
            while True:
                pass
        except BaseException:
            pass
    return np.zeros(A.shape[1])


def deaf(A, y, k):
    if k == 2 and A.shape[1] == 32:
        deque(repeat(0), maxlen=0)
    return np.zeros(A.shape[1])


def waits(A, y, k):
    if k == 2 and A.shape[1] == 32:
        threading.Event().wait()
    return np.zeros(A.shape[1])


def sleeps_on(A, y, k):
    if k == 2 and A.shape[1] == 32:
        left = 10_000
        while left:  # in C, which goes on sleeping whatever signal comes
            left = ctypes.PyDLL(None).sleep(left)
    return np.zeros(A.shape[1])


@sparsebench.problem("stuck")
@dataclass(frozen=True)
class Stuck:
    \"\"\"One whose drawing may never end.\"\"\"

    at: str = ""

    fixed_dictionary = False
    ordered = False

    def dictionary(self, rng, m, n):
        if self.at == "dictionary" and rng.random() < 0.5:
            threading.Event().wait()
        return np.random.default_rng(0).standard_normal((m, n))

    def signal(self, rng, n, k):
        if self.at == "signal" and k == 2:
            threading.Event().wait()
        x = np.zeros(n)
        x[:k] = 1.0
        return x
"""


@pytest.fixture
def never(tmp_path):
    file = tmp_path / "never.py"
    file.write_text(NEVER)
    names = registry.load_plugin(file)
    yield str(file)
    for name in names:
        del registry.ALGORITHMS[name]
    del registry.PROBLEMS["stuck"]
    registry.plugins._load_plugin.cache_clear()


def solved(folder, names, plugin, workers, problem="gaussian", trials=1):
    """Run in a thread that is not the main one where there are no workers stated."""
    experiment = SupportDistance(
        choose_algorithms(names),
        choose_problem(problem),
        n=32,
        m=16,
        ks=[2, 3],
        trials=trials,
        seed=0,
        time_limit=0.3,
    )

    def work():
        with Store(folder) as store:
            run(
                experiment,
                store,
                workers=workers or 1,
                command="",
                environment={},
                plugins=[plugin],
                console=Console(stderr=True, quiet=True),
            )

    if workers:
        work()
    else:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    with Store(folder, writable=False) as store:
        return store.frame()


@pytest.mark.parametrize("workers", [1, 2, 0])
def test_what_never_ends_costs_its_own_row_and_no_other(tmp_path, never, workers):
    names = "omp,spins,deaf,waits,sleeps_on,htp"
    rows = solved(tmp_path / "r", names, never, workers)
    late = rows[rows["status"] == "time-out"].set_index("algorithm")
    assert len(rows) == 6 * 2
    assert set(late.index) == {"spins", "deaf", "waits", "sleeps_on"}
    assert (late["k"] == 2).all()
    assert (rows["status"] != "error").all()
    said = "ended with its process after more than 0.3 s "
    for name, what in (
        ("spins", "of CPU time"),
        ("deaf", "of CPU time"),
        ("waits", "in which it computed nothing"),
        ("sleeps_on", "in which it computed nothing"),
    ):
        assert late.loc[name, "message"] == said + what
    rest = solved(tmp_path / "alone", "omp,htp", never, 1)
    columns = ["algorithm", "k", "trial", "status", "exact", "relative_error", "n_iter"]
    ours = rows[rows["algorithm"].isin(["omp", "htp"])][columns].astype(str)
    assert ours.values.tolist() == rest[columns].astype(str).values.tolist()


@pytest.mark.parametrize("at", ["dictionary", "signal"])
def test_a_drawing_that_never_ends_costs_what_wanted_it(tmp_path, never, monkeypatch, at):
    monkeypatch.setattr(worker, "ALLOWED", worker.Allowed(drawing=0.3))
    rows = solved(tmp_path / "r", "omp,htp", never, 1, f"stuck[at={at}]", trials=4)
    late = rows[rows["status"] == "time-out"]
    assert len(rows) == 2 * 2 * 4
    (message,) = set(late["message"])
    assert message.startswith("no instance: ended with its process after more than ")
    whole = late.groupby("trial", observed=True).size()
    if at == "signal":
        assert set(late["k"]) == {2} and (whole == 2).all() and len(whole) == 4
    else:
        assert (whole == 4).all() and 0 < len(whole) < 4
    assert (rows["status"] != "error").all()


def test_a_first_call_that_never_ends_is_made_once(tmp_path, monkeypatch):
    """Each solve has its own limit then."""
    file, calls = tmp_path / "first.py", tmp_path / "calls.log"
    file.write_text(
        "import threading\ndef first(A, y, k):\n"
        f"    open({str(calls)!r}, 'a').write(f'{{A.shape[1]}} ')\n"
        "    threading.Event().wait()\n"
    )
    monkeypatch.setattr(worker, "ALLOWED", worker.Allowed(first_call=0.4))
    registry.load_plugin(file)
    try:
        rows = solved(tmp_path / "r", "first,omp", str(file), 1)
    finally:
        del registry.ALGORITHMS["first"]
        registry.plugins._load_plugin.cache_clear()
    assert (rows.set_index("algorithm")["status"] == "time-out").to_dict() == {
        "first": True,
        "omp": False,
    }
    sizes = calls.read_text().split()
    assert sizes.count("32") == 2
    assert len(sizes) == 3 and sizes[0] != "32"


def started(code):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def used(code, seconds):
    """Return what watching says of a process while it says that it has begun."""
    with started(f"import os, time, threading\nprint('begun', flush=True)\n{code}") as process:
        assert process.stdout.readline() == "begun\n"
        use = watching.Use(process.pid)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.05)
            use.look()
        process.kill()
    return use


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_what_a_process_uses_is_seen_from_outside():
    """Of computing the CPU time, of waiting the time; of a stop, and of a long absence, nothing."""
    use = used("while True: pass", 1.0)
    assert use.waited < 0.3 and 0.05 < use.computed <= 1.5
    use = used("threading.Event().wait()", 1.0)
    assert use.computed < 0.1 and 0.5 < use.waited < 2.0
    use = used("time.sleep(100)", 1.0)
    assert use.computed < 0.1 and 0.5 < use.waited < 2.0
    with started("import time; print(flush=True); time.sleep(100)") as process:
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        use = watching.Use(process.pid)
        for _ in range(5):
            time.sleep(0.1)
            use.look()
        assert use.computed + use.waited < 0.05
        process.send_signal(signal.SIGCONT)
        use = watching.Use(process.pid)
        time.sleep(1.5)  # we were away, not it
        assert use.look() <= 0.6
        process.kill()


def test_where_the_system_does_not_tell_a_solve_has_ten_times_as_long(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(watching, "_look", lambda pid: (None, False))
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    use = watching.Use(1)
    for _ in range(40):
        now[0] += 0.25
        last = use.look()
    assert last == pytest.approx(1.0)


def test_a_worker_is_ended_within_its_step_alone(monkeypatch):
    """A step that came to its end meanwhile, or is changing, is none to end it for."""
    ended = []
    monkeypatch.setattr(pool, "end_worker", lambda process, still: still() and not ended.append(1))
    step = [3.0, 3.0, 1.0, 0.5]
    late = pool._Worker(None, None, step, 3.0, SimpleNamespace(waited=2.0, computed=0.1))
    assert late.end() == pool.Overdue("solve", 1, True)
    step[0] = 4.0
    assert late.end() is None
    step[:2] = [3.0, -1.0]
    assert late.end() is None
    assert len(ended) == 1
