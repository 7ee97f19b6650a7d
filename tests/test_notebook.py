"""Runs from Python: functions and matrices as objects, results that a notebook shows."""

import builtins
import inspect
import json
import linecache
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import sparsebench
from sparsebench import registry
from sparsebench.cli.application import app
from sparsebench.notebook.objects import function_file, matrix_file
from sparsebench.registry import plugin_fingerprint
from sparsebench.types import InputError

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"n": 24, "ratios": [0.5], "max_trials": 6, "jobs": 1}


@pytest.fixture(autouse=True)
def nothing_stays():
    yield
    registry.forget_plugins(but=[])


def session(source, name="cell"):
    """Run a source as a cell of a session, and return what it defines."""
    file = f"<{name} {abs(hash(source))}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space = {"__name__": "__main__"}
    exec(compile(source, file, "exec"), space)
    return space


MINE = """
import math

import numpy as np

scale = 2.0
weights = np.arange(3.0)


def order(v):
    return np.argsort(-np.abs(v))


def mine(A, y, k, *, rounds=1):
    x = np.zeros(A.shape[1])
    S = order(A.T @ y * scale * math.pi + weights[0])[:k]
    x[S] = np.linalg.lstsq(A[:, S], y, rcond=None)[0]
    return x
"""


def test_a_function_brings_all_that_it_uses(tmp_path):
    space = session(MINE)
    path = function_file(space["mine"], tmp_path)
    assert registry.load_plugin(path) == ["mine"]
    rng = np.random.default_rng(0)
    A, y = rng.standard_normal((10, 20)), rng.standard_normal(10)
    found = sparsebench.solve("mine", A, y, 3)
    np.testing.assert_array_equal(found.x, space["mine"](A, y, 3))
    assert registry.get_algorithm("mine").options == {"rounds": 1}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rounds=1", "rounds=2"),
        ("scale = 2.0", "scale = 3.0"),
        ("np.arange(3.0)", "np.arange(4.0)"),
        ("argsort(-np", "argsort(+np"),
        ("import math", "import cmath as math"),
    ],
)
def test_a_change_of_anything_that_it_uses_is_another_version(tmp_path, old, new):
    versions = []
    for source in (MINE, MINE.replace(old, new), MINE):
        path = function_file(session(source)["mine"], tmp_path)
        versions.append(plugin_fingerprint(path))
    assert versions[0] == versions[2] != versions[1]


def test_a_closure_is_content(tmp_path):
    source = "def make(c):\n    def inner(A, y, k):\n        return c * A[0]\n    return inner\n"
    make = session(source)["make"]
    one, other = (plugin_fingerprint(function_file(make(c), tmp_path)) for c in (1, 2))
    assert one != other
    assert "c = 2" in (tmp_path / "inner.py").read_text()


class Thing:
    """What has no content that a key could hold."""


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("mine = lambda A, y, k: 0", "a lambda has no source"),
        ("mine = __import__('functools').partial(print)\nmine.__name__ = 'mine'", "no function"),
        ("def other(A, y, k):\n    return 0\nmine = other\nmine.__name__ = 'mine'", "by its own"),
        ("import functools\n@functools.cache\ndef mine(A, y, k):\n    return 0", "no function"),
        ("def keep(f):\n    return f\n@keep\ndef mine(A, y, k):\n    return 0", "has a decorator"),
        ("state = object()\ndef mine(A, y, k):\n    return state", "uses state, a object, whose"),
        ("import test_notebook\ndef mine(A, y, k):\n    test_notebook", "would not be part of"),
        ("from test_notebook import Thing\ndef mine(A, y, k):\n    Thing()", "would not be part"),
    ],
)  # fmt: skip
def test_what_cannot_be_keyed_is_refused_with_the_reason(tmp_path, source, words):
    mine = session(source)["mine"]
    with pytest.raises(InputError, match=words) as told:
        function_file(mine, tmp_path)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_a_function_without_a_source_is_refused(tmp_path):
    space = {"__name__": "__main__"}
    exec("def mine(A, y, k):\n    return 0", space)
    with pytest.raises(InputError, match="the source of mine cannot be found"):
        function_file(space["mine"], tmp_path)


def test_another_source_is_none(monkeypatch, tmp_path):
    """Python 3.13 finds the text of `python -c` for what `exec` has defined."""
    monkeypatch.setattr(inspect, "getsource", lambda _: "import sys\n")
    with pytest.raises(InputError, match="the source of mine cannot be found"):
        function_file(session(MINE)["mine"], tmp_path)


def test_a_matrix_is_its_content(tmp_path):
    A = np.random.default_rng(0).standard_normal((4, 9))
    assert matrix_file(A, tmp_path) == matrix_file(A.tolist(), tmp_path)
    assert matrix_file(pd.DataFrame(A), tmp_path) == matrix_file(A, tmp_path)
    assert matrix_file(A + 1, tmp_path) != matrix_file(A, tmp_path)
    np.testing.assert_array_equal(np.load(matrix_file(A, tmp_path)), A)
    for bad, words in (
        (A[0], "two dimensions, not 1"),
        (np.full((2, 2), np.nan), "NaN or infinite"),
        ([["a", "b"]], "numbers"),
    ):
        with pytest.raises(InputError, match=words):
            matrix_file(bad, tmp_path)


def test_a_run_is_that_of_the_command(tmp_path, capsys):
    before = list(sys.argv)
    mine = session(MINE)["mine"]
    found = sparsebench.phase_transition(["omp", mine], **SMALL, out=tmp_path)
    assert sys.argv == before and capsys.readouterr().out == ""
    rows = len(found.frame)
    assert set(found.points["algorithm"]) == set(found.frame["algorithm"]) == {"omp", "mine"}
    words = "phase-transition -a omp -a mine --n 24 --ratios 0.5 --max-trials 6 -j 1".split()
    plugin = ["--plugin", str(tmp_path / "functions" / "mine.py")]
    again = CliRunner().invoke(app, [*words, *plugin, "-o", str(tmp_path)])
    assert again.exit_code == 0, again.output
    assert f"nothing to compute: all {rows} rows were in" in again.output
    # The same text in another session: nothing is solved again; another text: all of it.
    sparsebench.phase_transition(["omp", session(MINE)["mine"]], **SMALL, out=tmp_path)
    assert len(found.frame) == rows
    changed = session(MINE.replace("scale = 2.0", "scale = -2.0"))["mine"]
    sparsebench.phase_transition(["omp", changed], **SMALL, out=tmp_path)
    assert len(found.frame) > rows
    assert (
        found.frame.groupby("algorithm", observed=True)["algorithm_version"].nunique()["mine"] == 2
    )


def test_a_matrix_of_ones_own(tmp_path):
    A = np.random.default_rng(1).standard_normal((12, 24))
    found = sparsebench.support_distance("omp,htp", A, ks=[2, 4], trials=5, jobs=1, out=tmp_path)
    assert found.points["k"].tolist() == [2, 4] * 2
    assert set(found.points["m"]) == {12} and len(found.frame) == 20
    row = found.frame.iloc[0]
    solved = sparsebench.draw(
        "matrix", m=12, n=24, k=int(row["k"]), trial=int(row["trial"]),
        file=str(next((tmp_path / "matrices").iterdir())),
    )  # fmt: skip
    np.testing.assert_array_equal(solved.A, A)
    drawn = sparsebench.phase_transition(
        "omp", A, ratios="0.25", max_trials=6, jobs=1, out=tmp_path
    )
    assert set(drawn.points["m"]) == {6}


def test_results_are_read_drawn_and_compared(tmp_path):
    run = sparsebench.phase_transition("omp,htp", **SMALL | {"max_trials": 60}, out=tmp_path)
    found = sparsebench.read(tmp_path)
    assert found == run and found.figure == "phase-transition"
    assert found.plot().axes[0].get_xlabel() == "undersampling ratio m/n"
    assert "50%" in found.plot(0.5).axes[0].get_title()
    with pytest.raises(InputError, match=r"there are points at 0\.95, 0\.5, not at 0\.9"):
        found.plot(0.9)
    shown = found._repr_html_()
    assert shown.startswith("<figure>") and "data:image/png;base64,iVBORw0KGgo" in shown
    table = found.compare("omp", "htp")
    words = ["compare", "omp", "htp", "-o", str(tmp_path)]
    assert CliRunner().invoke(app, words).exit_code == 0
    written = pd.read_csv(tmp_path / "comparison-threshold.csv")
    np.testing.assert_allclose(table["difference"], written["difference"], rtol=1e-5)
    with pytest.raises(InputError, match="no points of support-distance in"):
        sparsebench.read(tmp_path, "support-distance")
    with pytest.raises(InputError, match="no points of phase-transition or support-distance"):
        sparsebench.read(tmp_path / "none")
    with pytest.raises(InputError, match="figure is phase-transition or support-distance"):
        sparsebench.read(tmp_path, "nosuch")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"algorithms": "nosuch"}, "unknown algorithm 'nosuch'"),
        ({"algorithms": [3]}, "an algorithm is a name or a function, not int"),
        ({"problem": np.ones(3)}, "two dimensions"),
        ({"ratios": [2.0]}, "--ratios are m/n in"),
        ({"n": "five"}, "valid int"),
        ({"level": 2.0}, "success rate between 0 and 1"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, given, words):
    with pytest.raises(InputError, match=words) as told:
        sparsebench.phase_transition(**{**SMALL, "out": tmp_path, **given})
    assert "\n" not in str(told.value)


def test_a_folder_whose_name_a_problem_cannot_hold(tmp_path):
    with pytest.raises(InputError, match="choose another"):
        sparsebench.support_distance("omp", np.eye(4), out=tmp_path / "a,b")


def test_the_figures_of_others_are_left_alone(tmp_path):
    code = (
        "import matplotlib; matplotlib.use('svg'); import matplotlib.pyplot as plt; plt.figure(); "
        "import sparsebench as sb; "
        f"r = sb.phase_transition('omp', n=24, max_trials=4, jobs=1, out={str(tmp_path)!r}); "
        "r.plot(); r._repr_html_(); "
        "assert matplotlib.get_backend() == 'svg', matplotlib.get_backend(); "
        "assert plt.get_fignums() == [1], plt.get_fignums()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_notebook_of_the_docs_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """Its cells, in the same session, in an empty folder; the last values are shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtins, "display", lambda _: None, raising=False)
    notebook = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert len(cells) >= 5
    space = {"__name__": "__main__"}
    for place, source in enumerate(cells):
        file = f"<cell {place} of the notebook>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        exec(compile(source, file, "exec"), space)
    diagram = space["diagram"]
    assert "mine" in set(diagram.points["algorithm"])
    assert "data:image/png" in diagram._repr_html_()
    assert math.isfinite(diagram.points["estimate"].max())
