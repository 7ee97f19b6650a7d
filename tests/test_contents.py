"""What a file holds is part of the key: nothing edited is mistaken for what it was."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import sparsebench
from sparsebench import registry
from sparsebench.problems import draw
from sparsebench.registry import choose_algorithm, choose_problem
from sparsebench.registry.contents import file_hash
from sparsebench.run.store import Store
from sparsebench.types import InputError

OPTION = "file: str = 'A.npy'", "np.load(self.file)"
LITERAL = "width: int = 1", "np.load('A.npy')"
BESIDE = "width: int = 1", "np.load(Path(__file__).parent / 'A.npy')"
CLASS = """
import numpy as np, sparsebench
from pathlib import Path
from dataclasses import dataclass

@sparsebench.problem("mine")
@dataclass(frozen=True)
class Mine:
    {option}
    fixed_dictionary = True
    def dictionary(self, rng, m, n):
        return {load}
    def signal(self, rng, n, k):
        x = np.zeros(n)
        x[rng.choice(n, k, replace=False)] = rng.choice([-1.0, 1.0], k)
        return x
"""
HELPED = "from helper import value\ndef mine(A, y, k):\n    return value() * (A[0] == A[0, 0])\n"


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path):
    """Each test has a working folder of its own, and leaves nothing registered."""
    tables = registry.ALGORITHMS, registry.PROBLEMS
    before = [dict(table) for table in tables]
    monkeypatch.chdir(tmp_path)
    yield
    registry.forget_plugins(but=[])
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    registry.plugins._load_plugin.cache_clear()


def matrix(seed, name="A.npy"):
    A = np.random.default_rng(seed).standard_normal((12, 24))
    np.save(name, A + (0.9 * A.mean(1, keepdims=True) if seed else 0))


def distances(tmp_path, out, *words, cwd=None):
    """Run the command with two workers, and return its rows."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "sparsebench", "support-distance", "--plugin"),
            *(str(tmp_path / "mine.py"), "--m", "12", "--n", "24", "--ks", "2,4"),
            *("--trials", "10", "-j", "2", "-o", str(tmp_path / out), *words),
        ],
        capture_output=True,
        text=True,
        cwd=cwd,
    )
    assert ran.returncode == 0, ran.stderr
    return pd.read_csv(tmp_path / out / "distances.csv")


@pytest.mark.parametrize("form", [OPTION, LITERAL, BESIDE])
def test_another_matrix_in_the_file_gives_other_rows(tmp_path, form):
    option, load = form
    (tmp_path / "mine.py").write_text(CLASS.format(option=option, load=load))
    seen = {}
    for number, name in enumerate(("first", "second", "first")):
        matrix(0 if name == "first" else 1)
        rows = distances(tmp_path, "kept", "-p", "mine", "-a", "omp")
        fresh = distances(tmp_path, f"fresh {number}", "-p", "mine", "-a", "omp")
        for column in ("estimate", "lower", "upper", "exact"):
            np.testing.assert_array_equal(rows[column], fresh[column])
        assert seen.setdefault(name, rows["estimate"].tolist()) == rows["estimate"].tolist()
    with Store(tmp_path / "kept", writable=False) as store:
        rows = store.frame()
    assert len(rows) == 40  # two matrices, two sparsities, ten trials
    assert rows.groupby("problem_recipe", observed=True).size().tolist() == [20, 20]


def test_a_name_is_that_of_the_folder_it_is_in(tmp_path):
    """The same relative name in two working folders is two files, one file is the same in both."""
    (tmp_path / "mine.py").write_text(CLASS.format(option=OPTION[0], load=OPTION[1]))
    seen = []
    for folder, seed in (("one", 0), ("two", 1), ("three", 0)):
        (tmp_path / folder).mkdir()
        matrix(seed, tmp_path / folder / "A.npy")
        rows = distances(tmp_path, "kept", "-p", "mine", "-a", "omp", cwd=tmp_path / folder)
        seen.append((rows["estimate"].tolist(), rows["recipe"].iloc[0]))
    assert seen[0] == seen[2]
    assert seen[0][0] != seen[1][0]
    # Under another name, too: what it holds is what counts.
    os.rename(tmp_path / "two" / "A.npy", tmp_path / "B.npy")
    rows = distances(tmp_path, "kept", "-p", "mine[file=B.npy]", "-a", "omp", cwd=tmp_path)
    assert rows["estimate"].tolist() == seen[1][0]
    with Store(tmp_path / "kept", writable=False) as store:
        assert len(store.frame()) == 40  # two matrices, two sparsities, ten trials


def test_an_edit_of_an_imported_module_gives_other_rows(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine.py").write_text(HELPED)
    helper = tmp_path / "helper.py"
    versions = []
    for value in (1, 2, 1):
        helper.write_text(f"def value():\n    return {value}\n")
        os.utime(helper, (1e9, 1e9))  # of the same second and size
        versions.append(registry.plugin_fingerprint(tmp_path / "mine.py"))
        distances(tmp_path, "kept", "-p", "gaussian", "-a", "mine", cwd=tmp_path / "elsewhere")
    assert versions[0] == versions[2] != versions[1]
    with Store(tmp_path / "kept", writable=False) as store:
        rows = store.frame()
    assert len(rows) == 40  # two versions, two sparsities, ten trials
    for row in rows.itertuples():
        instance = draw("gaussian", m=12, n=24, k=row.k, trial=row.trial)
        value = 1 + versions.index(json.loads(row.algorithm_recipe)["version"])
        error = np.linalg.norm(value * np.eye(24)[0] - instance.x) / np.linalg.norm(instance.x)
        assert row.relative_error == pytest.approx(error)


def loaded(tmp_path, name="mine.py"):
    sparsebench.load_plugin(tmp_path / name)
    return choose_algorithm(name.removesuffix(".py"))


def first(name="mine"):
    return sparsebench.solve(name, np.eye(4), np.arange(1.0, 5.0), 1).x[0]


def test_modules_of_modules_and_packages_count(tmp_path):
    (tmp_path / "mine.py").write_text(HELPED)
    (tmp_path / "helper.py").write_text("from parts.inner import value\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    versions = []
    for value in (1, 2, 1):
        (tmp_path / "parts" / "inner.py").write_text(f"def value():\n    return {value}\n")
        versions.append(loaded(tmp_path).version)
        assert first() == value
    assert versions[0] == versions[2] != versions[1]
    (tmp_path / "unrelated.py").write_text("value = 3")
    assert loaded(tmp_path).version == versions[0]


def test_what_is_imported_when_it_runs_is_that_of_its_version(tmp_path):
    late = "def mine(A, y, k):\n    from helper import value\n    return value() * A[0]\n"
    (tmp_path / "mine.py").write_text(late)
    for value in (1, 2, 1):
        (tmp_path / "helper.py").write_text(f"def value():\n    return {value}\n")
        loaded(tmp_path)
        assert first() == value


def test_a_failed_edit_of_a_module_leaves_the_one_before(tmp_path):
    (tmp_path / "mine.py").write_text(HELPED)
    helper = tmp_path / "helper.py"
    helper.write_text("def value():\n    return 1\n")
    version = loaded(tmp_path).version
    helper.write_text("raise RuntimeError('half way')\n")
    with pytest.raises(InputError, match=r"mine\.py failed to load: RuntimeError: half way"):
        sparsebench.load_plugin(tmp_path / "mine.py")
    assert choose_algorithm("mine").version == version
    assert first() == 1


def test_two_modules_of_one_name_are_refused_not_mixed(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helper.py").write_text("def value():\n    return 1\n")
        (tmp_path / folder / f"{folder}.py").write_text(HELPED.replace("mine", folder))
    sparsebench.load_plugin(tmp_path / "one" / "one.py")
    with pytest.raises(InputError, match=r"two\.py imports 'helper' .* as .*one\.py .* rename"):
        sparsebench.load_plugin(tmp_path / "two" / "two.py")
    assert first("one") == 1
    registry.forget_plugins(but=[])
    assert sparsebench.load_plugin(tmp_path / "two" / "two.py") == ["two"]
    (tmp_path / "numpy.py").write_text("")
    (tmp_path / "mine.py").write_text("import numpy\ndef mine(A, y, k):\n    return A[0]\n")
    with pytest.raises(InputError, match=r"numpy\.py has the name of a module of others.*rename"):
        sparsebench.load_plugin(tmp_path / "mine.py")


def test_a_file_of_its_own_is_the_version_it_was(tmp_path):
    """What neither imports nor names a file has the hash of its text for a version."""
    import hashlib

    text = "def mine(A, y, k):\n    '''See notes.txt.'''\n    return A[0]\n"
    (tmp_path / "mine.py").write_text(text)
    assert loaded(tmp_path).version == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_a_file_that_changes_while_it_is_used_is_one_line(tmp_path):
    (tmp_path / "mine.py").write_text(CLASS.format(option=OPTION[0], load=OPTION[1]))
    matrix(0)
    sparsebench.load_plugin(tmp_path / "mine.py")
    chosen = choose_problem("mine")
    assert json.dumps(chosen.recipe["options"]) == json.dumps({"file": file_hash("A.npy")})
    before = draw("mine", m=12, n=24, k=2)
    matrix(1)
    with pytest.raises(InputError, match="a file of mine has changed since it was read"):
        sparsebench.problems.draw_dictionary(chosen, 12, 24, 0, 0)
    after = draw("mine", m=12, n=24, k=2)
    np.testing.assert_array_equal(after.A, np.load("A.npy"))
    assert not np.array_equal(before.A, after.A)


def test_an_algorithm_that_names_a_file_has_its_content_in_the_key(tmp_path):
    text = "import numpy as np\ndef mine(A, y, k, *, start='x.npy'):\n    return A[0]\n"
    (tmp_path / "mine.py").write_text(text.replace("start", "guess"))
    keys = []
    for seed in (0, 1, 0):
        matrix(seed, "x.npy")
        sparsebench.load_plugin(tmp_path / "mine.py")
        keys.append(choose_algorithm("mine").recipe["options"]["guess"])
    assert keys[0] == keys[2] != keys[1]


def test_a_hash_is_of_what_a_file_holds_now(tmp_path):
    file = tmp_path / "a.bin"
    seen = set()
    for value in range(50):  # faster than the clock of a file system
        file.write_bytes(bytes([value]))
        os.utime(file, (1e9, 1e9))
        seen.add(file_hash(file))
    assert len(seen) == 50


def test_what_a_plugin_writes_is_not_what_it_is_made_of(tmp_path):
    """A file without the ending of data, and one that is not there yet."""
    text = (
        "def mine(A, y, k):\n"
        f"    open({str(tmp_path / 'trace')!r}, 'a').write('.')\n"
        "    open('solves.log', 'a').write('.')\n"
        "    return A[0]\n"
    )
    (tmp_path / "mine.py").write_text(text)
    for _ in range(2):
        distances(tmp_path, "kept", "-p", "gaussian", "-a", "mine")
    assert (tmp_path / "trace").stat().st_size == (tmp_path / "solves.log").stat().st_size
    with Store(tmp_path / "kept", writable=False) as store:
        assert len(store.frame()) == 20
