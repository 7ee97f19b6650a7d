"""What must not depend on the versions of Python and of the packages: rows, and errors.

Where results are meant to change, `python tests/test_versions.py` writes their hashes anew.
"""

import hashlib
import itertools
import json
import tempfile
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from rich.console import Console

from sparsebench import registry
from sparsebench.experiments import presets
from sparsebench.experiments.phase_transition import PhaseTransition
from sparsebench.run.engine import run
from sparsebench.run.store import Store

QUICK = presets.PHASE_TRANSITION["quick"]
MS = [round(ratio * QUICK["n"]) for ratio in QUICK["ratios"]]
HASHES = Path(__file__).parent / "quick_rows.json"
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


COLUMNS = ["algorithm", "m", "k", "trial", "support_distance", "exact", "n_iter"]


def hashes(frame):
    """Of each algorithm and m: support distance, exact and iterations of every k and trial."""
    rows = sorted(zip(*(frame[column].tolist() for column in COLUMNS), strict=True))
    return {
        f"{name} {m}": hashlib.sha256(repr([row[2:] for row in cell]).encode()).hexdigest()[:16]
        for (name, m), cell in itertools.groupby(rows, key=lambda row: row[:2])
    }


def hashes_at(m, folder):
    """Of the rows that the quick diagram has at m, computed here."""
    experiment = PhaseTransition(
        algorithms=registry.choose_algorithms(QUICK["algorithms"]),
        problem=registry.choose_problem(QUICK["problem"]),
        n=QUICK["n"],
        ms=[m],
        half_widths=QUICK["half_widths"],
        max_trials=QUICK["max_trials"],
        grid=0,
        seed=0,
        time_limit=presets.TIME_LIMIT,
        share_of_m=QUICK["share_of_m"],
    )
    console = Console(stderr=True, quiet=True)
    with Store(folder) as store:
        run(experiment, store, workers=1, command="", environment={}, console=console)
        return hashes(store.frame())


@pytest.mark.parametrize("m", MS)
def test_the_rows_of_the_quick_diagram_are_those_of_every_version(m, tmp_path):
    committed = json.loads(HASHES.read_text())
    found = hashes_at(m, tmp_path)
    assert found == {cell: rows for cell, rows in committed.items() if cell.split()[1] == str(m)}
    assert len(found) == len(QUICK["algorithms"].split(","))


def test_a_package_without_a_wheel_has_its_marker():
    """What `list` says of a missing package is what pip was told."""
    markers = {}
    for text in PROJECT["optional-dependencies"]["peers"]:
        requirement = Requirement(text)
        if requirement.marker:
            markers[requirement.name] = str(requirement.marker)
    assert markers == {
        name: f'python_version < "{first[0]}.{first[1]}"'
        for name, first in registry.records._NO_WHEEL.items()
    }


def test_no_version_has_a_cap():
    """A cap holds everyone back: it stands only beside the case that fails without it."""
    texts = itertools.chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    assert PROJECT["requires-python"] == ">=3.11"
    caps = [text for text in texts if any(s.operator != ">=" for s in Requirement(text).specifier)]
    assert caps == []


CODE = """
def warn(level): warnings.warn('old', DeprecationWarning, stacklevel=level)
def call(function, level): function(level)
"""


def module_of(name):
    """The names of a module that warns, or calls what does."""
    names = {"__name__": name, "warnings": warnings}
    exec(CODE, names)
    return names


OURS = [
    "sparsebench",
    "sparsebench.kernels.gram",
    *sorted(p.stem for p in HASHES.parent.glob("*.py")),
]
THEIRS = ["matplotlib._mathtext", "click.utils", "torch", "numpy.linalg", "typer"]


@pytest.mark.parametrize("name", [*OURS, *THEIRS])
def test_our_own_warnings_are_errors_and_those_of_others_are_not(name):
    """Also where what is called names its caller, as a function that is deprecated does."""
    module, other = module_of(name), module_of("somepackage")
    for function, level in ((module["warn"], 1), (other["warn"], 2)):
        with warnings.catch_warnings(record=True) as caught:
            if name in OURS:
                with pytest.raises(DeprecationWarning, match="old"):
                    module["call"](function, level)
            else:
                module["call"](function, level)
        assert len(caught) == (name in THEIRS)
    with warnings.catch_warnings(record=True) as caught:
        module["call"](other["warn"], 1)  # it warns of itself
    assert len(caught) == 1


def test_what_numpy_says_of_our_numbers_is_an_error():
    with pytest.raises(RuntimeWarning, match="Mean of empty slice"):
        np.mean([])
    with pytest.raises(RuntimeWarning, match="divide by zero"):
        np.log(np.zeros(1))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        cells = [hashes_at(m, Path(folder, str(m))) for m in MS]
    HASHES.write_text(
        json.dumps({c: h for at_m in cells for c, h in at_m.items()}, indent=1) + "\n"
    )
