"""Plug-ins: registered whole or not at all; a row's version is that of the code that made it."""

import inspect
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import sparsebench
from sparsebench import registry
from sparsebench.experiments.support_distance import SupportDistance
from sparsebench.problems import draw
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.run.engine import run
from sparsebench.run.store import Store
from sparsebench.solvers import solve
from sparsebench.types import InputError

A, Y = np.eye(4), np.arange(1.0, 5.0)
PLAIN = "import numpy as np\ndef {name}(A, y, k):\n    return {value} * np.eye(A.shape[1])[0]\n"
PROBLEM = """
import numpy as np, sparsebench
from dataclasses import dataclass

@sparsebench.problem("{name}")
@dataclass(frozen=True)
class Mine:
    def dictionary(self, rng, m, n):
        return {value} * np.eye(m, n)
    def signal(self, rng, n, k):
        return np.arange(n) < k
"""


@pytest.fixture(autouse=True)
def restored(monkeypatch, tmp_path):
    tables = registry.ALGORITHMS, registry.PROBLEMS
    before = [dict(table) for table in tables]
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    registry.plugins._load_plugin.cache_clear()


def registered():
    return dict(registry.ALGORITHMS), dict(registry.PROBLEMS), set(sys.modules)


def first_entry(name):
    return sparsebench.solve(name, A, Y, 1).x[0]


def write(path, text, stamp=None):
    path.write_text(text)
    if stamp is not None:
        os.utime(path, (stamp, stamp))
    return path


def test_an_edit_that_is_undone_is_the_first_version_again(tmp_path):
    file = tmp_path / "mine.py"
    seen = []
    for value in (1, 2, 1, 2, 2):
        write(file, PLAIN.format(name="mine", value=value) + PROBLEM.format(name="p", value=value))
        assert sparsebench.load_plugin(file) == ["mine"]
        assert first_entry("mine") == value
        assert draw("p", m=2, n=3, k=1).A[0, 0] == value
        seen.append((choose_algorithms("mine")[0].version, choose_problem("p").version))
    assert seen[0] == seen[2] != seen[1] == seen[3] == seen[4]


def test_an_edit_of_the_same_size_in_the_same_second_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for value in (1, 2):
        file = write(tmp_path / "mine.py", PLAIN.format(name="mine", value=value), stamp=1e9)
        sparsebench.load_plugin(file)
        assert first_entry("mine") == value


def test_names_that_an_edit_removes_are_gone(tmp_path):
    file = write(tmp_path / "mine.py", PLAIN.format(name="before", value=1))
    sparsebench.load_plugin(file)
    write(file, PLAIN.format(name="after", value=1))
    assert sparsebench.load_plugin(file) == ["after"]
    assert "before" not in registry.ALGORITHMS


BROKEN = PROBLEM.format(name="p", value=1) + (
    "@sparsebench.algorithm('first')\ndef first(A, y, k):\n    return np.eye(A.shape[1])[0]\n"
)


@pytest.mark.parametrize(
    "end",
    [
        "raise RuntimeError('half way')",
        "raise SystemExit(1)",
        "raise sparsebench.InputError('half way')",
        "@sparsebench.algorithm('omp')\ndef second(A, y, k): pass",
    ],
)
def test_a_file_that_fails_half_way_registers_nothing(tmp_path, end):
    file = write(tmp_path / "mine.py", BROKEN + end)
    sparsebench.solve("omp", A, Y, 1)
    before = registered()
    with pytest.raises(InputError, match=r"mine\.py"):
        sparsebench.load_plugin(file)
    assert registered() == before
    assert sparsebench.load_plugin(write(file, BROKEN)) == ["first"]
    assert first_entry("first") == 1
    assert draw("p", m=2, n=3, k=1).A[0, 0] == 1


def test_a_bad_function_does_not_hide_the_good_ones(tmp_path):
    """It is named with its line; alone it is an error."""
    bad = "def third(A, y, k, step): pass\n"
    file = write(tmp_path / "mine.py", BROKEN + bad)
    line = 1 + BROKEN.count("\n")
    told = f"mine.py: line {line}: option 'step' of third needs a default value"
    with pytest.warns(UserWarning, match=told):
        assert sparsebench.load_plugin(file) == ["first"]
    assert first_entry("first") == 1
    with pytest.raises(InputError, match=r"alone\.py: line 1: option 'step' of third"):
        sparsebench.load_plugin(write(tmp_path / "alone.py", bad))


def test_a_problem_without_a_signal_has_the_usual_one(tmp_path):
    text = PROBLEM.format(name="short", value=1).partition("    def signal")[0]
    sparsebench.load_plugin(write(tmp_path / "short.py", text))
    for trial in range(20):
        x = draw("short", m=6, n=9, k=3, trial=trial).x
        assert np.count_nonzero(x) == 3
        assert ((np.abs(x[x != 0]) >= 1) & (np.abs(x[x != 0]) <= 2)).all()


def test_a_failed_edit_leaves_the_version_before(tmp_path):
    file = write(tmp_path / "mine.py", PLAIN.format(name="mine", value=1))
    sparsebench.load_plugin(file)
    before = registered()
    write(file, PLAIN.format(name="mine", value=2) + "raise RuntimeError")
    with pytest.raises(InputError, match="RuntimeError"):
        sparsebench.load_plugin(file)
    assert registered() == before
    assert first_entry("mine") == 1


def test_two_files_cannot_share_a_name(tmp_path):
    for text in (PLAIN, PROBLEM):
        one = write(tmp_path / "one.py", text.format(name="mine", value=1))
        two = write(
            tmp_path / "two.py", PLAIN.format(name="a", value=2) + text.format(name="mine", value=2)
        )
        sparsebench.load_plugin(one)
        before = registered()
        with pytest.raises(InputError, match=r"two\.py: the name 'mine' is taken"):
            sparsebench.load_plugin(two)
        assert registered() == before
    # Nor by an edit of a file that had another name before, nor by an undone one.
    write(two, PLAIN.format(name="mine2", value=2))
    sparsebench.load_plugin(two)
    sparsebench.load_plugin(write(one, PLAIN.format(name="mine3", value=1)))
    sparsebench.load_plugin(write(two, PLAIN.format(name="mine", value=2)))
    with pytest.raises(InputError, match=r"one\.py: the name 'mine' is taken"):
        sparsebench.load_plugin(write(one, PLAIN.format(name="mine", value=1)))
    assert first_entry("mine") == 2
    assert first_entry("mine3") == 1


def test_a_link_is_the_file(tmp_path):
    file = write(tmp_path / "mine.py", PLAIN.format(name="mine", value=1))
    (tmp_path / "link.py").symlink_to(file)
    for path in (file, tmp_path / "link.py", tmp_path / "." / "mine.py"):
        assert sparsebench.load_plugin(path) == ["mine"]
    write(file, PLAIN.format(name="mine", value=2))
    sparsebench.load_plugin(tmp_path / "link.py")
    assert first_entry("mine") == 2


HELPED = "import {helper}, sparsebench\n"
HELPER = (
    "import numpy as np, sparsebench\n@sparsebench.algorithm('helped')\n"
    "def helped(A, y, k):\n    return np.eye(A.shape[1])[0]\n"
)


def test_what_an_imported_module_registers_outlives_an_edit(tmp_path):
    write(tmp_path / "helper_one.py", HELPER)
    start = HELPED.format(helper="helper_one")
    versions = []
    for value in (1, 2, 1):
        file = write(tmp_path / "mine.py", start + PLAIN.format(name="mine", value=value))
        assert sparsebench.load_plugin(file) == ["helped", "mine"]
        assert first_entry("helped") == 1
        one, two = choose_algorithms("helped,mine")
        assert one.version == two.version
        versions.append(one.version)
    assert versions[0] == versions[2] != versions[1]


def test_what_an_imported_module_registers_is_there_after_a_failure(tmp_path):
    write(tmp_path / "helper_two.py", HELPER)
    file = write(tmp_path / "mine.py", HELPED.format(helper="helper_two") + "raise RuntimeError")
    with pytest.raises(InputError, match="RuntimeError"):
        sparsebench.load_plugin(file)
    assert "helped" not in registry.ALGORITHMS
    assert sparsebench.load_plugin(write(file, HELPED.format(helper="helper_two"))) == ["helped"]


def test_a_plugin_that_loads_another_keeps_its_own_version(tmp_path):
    inner = write(tmp_path / "inner.py", PLAIN.format(name="inner", value=1))
    text = f"import sparsebench\nsparsebench.load_plugin({str(inner)!r})\n"
    outer = write(tmp_path / "outer.py", text + PLAIN.format(name="outer", value=1))
    assert sparsebench.load_plugin(outer) == ["outer"]
    one, two = choose_algorithms("inner,outer")
    assert one.version == registry.plugin_fingerprint(inner)
    assert two.version == registry.plugin_fingerprint(outer)
    sparsebench.load_plugin(write(inner, PLAIN.format(name="inner", value=2)))
    assert sparsebench.load_plugin(outer) == ["outer"]
    assert first_entry("inner") == 2


NAMESAKES = {
    "a file": "sparsebench.load_plugin({file!r})",
    "a decorator": "sparsebench.algorithm('omp')(lambda A, y, k: 0 * A[0])",
    "a problem": (
        "import dataclasses; sparsebench.problem('gaussian')(dataclasses.make_dataclass('P', [], "
        "namespace=dict(dictionary=print, signal=print)))"
    ),
    "an installed package": "sparsebench.draw('gaussian', m=2, n=3, k=1)",
}


@pytest.mark.parametrize("way", NAMESAKES)
def test_our_names_come_first_whatever_is_loaded_first(tmp_path, way):
    file = write(tmp_path / "namesake.py", PLAIN.format(name="omp", value=1))
    if way == "an installed package":
        write(file, "import sparsebench\n@sparsebench.algorithm\ndef omp(A, y, k): pass\n")
        info = tmp_path / "somepackage-1.0.dist-info"
        info.mkdir()
        write(info / "METADATA", "Metadata-Version: 2.1\nName: somepackage\nVersion: 1.0\n")
        write(info / "entry_points.txt", "[sparsebench.plugins]\nnamesake = namesake\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import warnings, sparsebench\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    try:\n"
        f"        {NAMESAKES[way].format(file=str(file))}\n"
        "        refused = ''.join(str(warning.message) for warning in caught)\n"
        "    except sparsebench.InputError as error:\n"
        "        refused = str(error)\n"
        "assert 'is taken' in refused, refused\n"
        "instance = sparsebench.draw('gaussian', m=60, n=128, k=5)\n"
        "result = sparsebench.solve('omp', instance.A, instance.y, 5)\n"
        "assert (result.support == instance.support).all()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def distances(names, trials, ks=(1,)):
    return SupportDistance(
        choose_algorithms(names) if isinstance(names, str) else names,
        choose_problem("gaussian"),
        n=8,
        m=6,
        ks=list(ks),
        trials=trials,
        seed=0,
        time_limit=60.0,
    )


def execute(experiment, folder, file, workers=1):
    with Store(folder) as store:
        return run(
            experiment,
            store,
            workers=workers,
            command="test",
            environment={},
            plugins=[str(file)],
            console=Console(quiet=True),
        )


def values_of(folder):
    """Return, by version, the values that its rows were made with: x = value * e_0."""
    with Store(folder, writable=False) as store:
        rows = store.frame()
    found = {}
    for row in rows.itertuples():
        x = draw("gaussian", m=6, n=8, k=row.k, trial=row.trial).x
        errors = [np.linalg.norm(value * np.eye(8)[0] - x) / np.linalg.norm(x) for value in (1, 2)]
        assert abs(errors[0] - errors[1]) > 1e-6
        value = 1 + int(np.argmin(np.abs(np.array(errors) - row.relative_error)))
        found.setdefault(json.loads(row.algorithm_recipe)["version"], []).append(value)
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_live_on_run_the_version_of_the_row(tmp_path, workers):
    file = tmp_path / "mine.py"
    versions = []
    for value, trials in ((1, 4), (2, 4), (1, 8)):
        write(file, PLAIN.format(name="mine", value=value))
        versions.append(registry.plugin_fingerprint(file))
        sparsebench.load_plugin(file)
        execute(distances("mine", trials), tmp_path / "r", file, workers)
    assert values_of(tmp_path / "r") == {versions[0]: [1] * 8, versions[1]: [2] * 4}


def test_workers_forget_the_plugins_of_an_earlier_run(tmp_path):
    one = write(tmp_path / "one.py", PLAIN.format(name="mine", value=1))
    two = write(tmp_path / "two.py", PLAIN.format(name="mine", value=2))
    versions = [registry.plugin_fingerprint(file) for file in (one, two)]
    sparsebench.load_plugin(one)
    execute(distances("mine", 2), tmp_path / "r", one, workers=2)
    sparsebench.load_plugin(write(one, PLAIN.format(name="renamed", value=1)))
    sparsebench.load_plugin(two)
    execute(distances("mine", 4), tmp_path / "r", two, workers=2)
    assert values_of(tmp_path / "r") == {versions[0]: [1] * 2, versions[1]: [2] * 4}


@pytest.mark.parametrize("kind", ["algorithm", "problem"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_choice_whose_code_has_changed_makes_no_row(tmp_path, kind, workers):
    text = PLAIN if kind == "algorithm" else PROBLEM
    file = write(tmp_path / "mine.py", text.format(name="mine", value=1))
    sparsebench.load_plugin(file)
    experiment = distances("mine" if kind == "algorithm" else "omp", trials=2)
    if kind == "problem":
        experiment.problem = choose_problem("mine")
    write(file, text.format(name="mine", value=2))
    with pytest.raises(InputError, match="mine has changed since it was chosen"):
        execute(experiment, tmp_path / "r", file, workers)
    with Store(tmp_path / "r", writable=False) as store:
        assert store.frame().empty


SOLVE = [name for name in inspect.signature(solve).parameters if name != "options"]
DRAW = [name for name in inspect.signature(draw).parameters if name != "options"]


@pytest.mark.parametrize("name", sorted({*SOLVE, "A"} - {"y", "k"}))
def test_an_option_that_solve_would_keep_is_refused(name):
    """`solve(..., option=value)` could never reach the algorithm."""
    space = {}
    exec(f"def f(dictionary, y, k, *, {name}='x'): pass", space)
    before = registered()
    with pytest.raises(InputError, match=f"option '{name}' of f is a parameter of solve") as error:
        sparsebench.algorithm(space["f"])
    assert all(reserved in str(error.value) for reserved in SOLVE)
    assert registered() == before


@pytest.mark.parametrize("name", DRAW)
def test_an_option_that_draw_would_keep_is_refused(name):
    space = {"dataclass": dataclass}
    exec(
        f"@dataclass(frozen=True)\nclass P:\n    {name}: int = 1\n"
        "    def dictionary(self, rng, m, n): pass\n    def signal(self, rng, n, k): pass\n",
        space,
    )
    with pytest.raises(InputError, match=f"option '{name}' of p is a parameter of draw") as error:
        sparsebench.problem("p")(space["P"])
    assert all(reserved in str(error.value) for reserved in DRAW)


def test_what_a_call_gives_is_no_option():
    @sparsebench.algorithm("given")
    def given(dictionary, y, k, *, start=None, support=None, history=False, step="1"):
        pass

    (chosen,) = choose_algorithms("given")
    assert dict(chosen.options) == {"step": "1"}


def test_no_option_of_ours_is_kept_by_the_call():
    for entry in sparsebench.algorithms():
        assert not set(entry.options) & set(SOLVE), entry.name
    for entry in registry.problems():
        assert not set(entry.options) & set(DRAW), entry.name


def test_a_field_that_is_no_argument_is_no_option():
    from dataclasses import field

    @sparsebench.problem("derived")
    @dataclass(frozen=True)
    class Derived:
        width: float = 3.0
        kept: float = field(default=0.0, init=False)

        def dictionary(self, rng, m, n):
            return np.eye(m, n)

        def signal(self, rng, n, k):
            return np.arange(n) < k

    assert draw("derived", m=2, n=3, k=1, width=2.0).x.tolist() == [1, 0, 0]
    assert dict(choose_problem("derived").options) == {"width": 3.0}


def test_the_help_says_what_the_key_holds(monkeypatch, capsys):
    from sparsebench import cli

    monkeypatch.setenv("COLUMNS", "200")
    for command in ("phase-transition", "support-distance", "list", "compare"):
        monkeypatch.setattr(sys, "argv", ["sparsebench", command, "--help"])
        with pytest.raises(SystemExit):
            cli.run()
        words = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert "the modules that it imports from its folder and the files that a text" in words
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    assert "modules that it imports from its folder and the files" in " ".join(readme.split())
