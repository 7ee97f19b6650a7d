"""The command line starts at once: for a help or a mistake nothing is loaded but what says it."""

import os
import shlex
import subprocess
import sys

import pytest
from typer.main import get_command

from sparsebench.cli.application import app

# scipy itself is light: it loads a part when that is first used.
SCIPY = {"scipy.linalg", "scipy.optimize", "scipy.special", "scipy.stats"}
HEAVY = {"joblib", "matplotlib", "numba", "pandas", "sklearn", "torch"} | SCIPY
NUMBERS = HEAVY | {"numpy"}
COMMANDS = sorted(get_command(app).commands)


def run(words, folder):
    """Run the command line in a folder; return status, output, errors and the modules it loads."""
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sparsebench", *shlex.split(words)],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    lines = ended.stderr.splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    said = "\n".join(line for line in lines if not line.startswith("import time:"))
    assert "sparsebench.cli.application" in loaded
    return ended.returncode, ended.stdout, said, loaded


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_a_help_loads_nothing_heavy(command, tmp_path):
    code, out, err, loaded = run(f"{command} --help", tmp_path)
    assert (code, err) == (0, "")
    assert f"sparsebench {command}".strip() in out and "--help" in out
    assert loaded & NUMBERS == set()


def test_the_version_loads_nothing_heavy(tmp_path):
    code, out, _, loaded = run("--version", tmp_path)
    assert code == 0 and out.startswith("sparsebench ")
    assert loaded & NUMBERS == set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nosuch", "No such command 'nosuch'"),
        ("--nosuch", "No such option: --nosuch"),
        ("phase-transition --nosuch", "No such option: --nosuch"),
        ("phase-transition --n five", "Invalid value for '--n'"),
        ("study", "Missing argument"),
        ("compare omp", "Missing argument"),
        ("phase-transition --preset nosuch", "unknown preset 'nosuch'"),
        ("phase-transition --level 1", "--level is a success rate between 0 and 1"),
        ("phase-transition --success f2", "unknown measure 'f2'"),
        ("phase-transition --success 'f1>=2'", "f1 is from 0 to 1"),
        ("phase-transition -j 1 --success 'relative_error<noise'", "relative_error is at least 0"),
        ("phase-transition -j 1 --success 'relative_error<2*noise'", "gaussian has none"),
        ("phase-transition --grid -1", "--grid is a number of trials"),
        ("phase-transition --ratios abc", "not 'abc'"),
        ("phase-transition --half-width 0", "--half-width must be positive"),
        ("phase-transition --max-trials 0", "--max-trials must be at least 1"),
        ("phase-transition --time-limit 0", "--time-limit must be a positive"),
        ("phase-transition --seed 99999999999999999999", "seed must be at most"),
        ("phase-transition -j 0", "--jobs must be at least 1"),
        ("phase-transition -j 1 --retry nosuch", "--retry takes"),
        ("phase-transition -j 1 --shard 3/2", "--shard takes I/N"),
        ("phase-transition -j 1 --device nosuch", "unknown device 'nosuch'"),
        ("phase-transition -j 1 --precision nosuch", "the precision is"),
        ("phase-transition -j 1 --plugin nosuch.py", "no plug-in file"),
        ("phase-transition -j 1 -p nosuch", "unknown problem 'nosuch'"),
        ("support-distance --ks abc", "not 'abc'"),
        ("support-distance --trials 0", "--trials must be at least 1"),
        ("support-distance -j 1 --ks 0", "k must be at least 1"),
        ("support-distance -j 1 --ks 900", "k = 900 exceeds"),
        ("instance --k 0", "k must be at least 1"),
        ("instance --trial -1", "--trial must be at least 0"),
        ("instance --window 0", "--window must be at least 1"),
        ("exploration --trials 0", "--trials must be at least 1"),
        ("timing --workload nosuch", "unknown workload 'nosuch'"),
        ("timing --repeats 0", "--repeats must be at least 1"),
        ("timing --budget 0", "--budget must be a positive"),
        ("list nosuch", "unknown list 'nosuch'"),
        ("export rows.xls", "end its name in .csv"),
        ("study nosuch", "unknown study 'nosuch'"),
        ("study noise --preset nosuch", "unknown preset 'nosuch'"),
        ("study noise --seed 99999999999999999999", "seed must be at most"),
        ("compare omp sea --by nosuch", "unknown --by 'nosuch'"),
        ("compare omp sea --time-limit 0", "--time-limit must be a positive"),
        ("encoders --preset nosuch", "unknown preset 'nosuch'"),
        ("encoders --images nosuch", "unknown image set 'nosuch'"),
        ("encoders --p 1", "--p must be at least 2"),
        ("encoders --size 0", "--size must be at least 1"),
        ("encoders --seeds 1", "--seeds must be at least 2"),
        ("classification --preset nosuch", "unknown preset 'nosuch'"),
        ("classification --data coil20", "unknown data set 'coil20'"),
        ("clustering --p 1", "--p must be at least 2"),
        ("clustering --seeds 1", "--seeds must be at least 2"),
        ("clustering --stages 0", "--stages must be at least 1"),
        ("train lista --preset nosuch", "unknown preset 'nosuch'"),
        ("train lista --steps 0", "--steps must be at least 1"),
        ("unrolling --problem nosuch", "unknown problem 'nosuch'"),
        ("unrolling --m 0", "--m must be at least 1"),
    ],
)
def test_a_mistake_loads_nothing_heavy(words, said, tmp_path):
    code, out, err, loaded = run(words, tmp_path)
    assert code == 2 and out == ""
    assert said in err
    assert loaded & HEAVY == set()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("list presets", set()),
        ("list problems", set()),
        ("list algorithms", {"numba"}),
        ("status", {"pandas"}),
        ("figures", {"pandas", "matplotlib"}),
    ],
)
def test_what_solves_nothing_loads_what_it_needs(words, needed, tmp_path):
    loaded = run(words, tmp_path)[-1]
    assert loaded & HEAVY == needed


def test_the_shell_completes_commands_and_options(tmp_path):
    for words, place, expected in (
        ("sparsebench ph", "1", ["phase-transition"]),
        ("sparsebench phase-transition --pre", "2", ["--preset", "--precision"]),
    ):
        asked = {"_SPARSEBENCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": place}
        code = (
            "import sys; sys.argv[0] = 'sparsebench'; from sparsebench.__main__ import main; main()"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True
        )
        assert ended.stdout.split() == expected, ended.stderr
