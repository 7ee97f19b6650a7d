"""The scripts of `tests/studies` run; what they measure at full size stands in the notes."""

import subprocess
import sys
from pathlib import Path

import pytest

STUDIES = Path(__file__).parent / "studies"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("optimum.py --draws 2", "ended above their start"),
        ("agreement.py --gaussian 2 --spikes 1 -j 1 -a omp", "gaussian"),
        ("structured.py --trials 1", "thresholding"),
        ("batched.py agreement --gaussian 2 --spikes 2 -a omp", "deconvolution"),
        ("batched.py speed --seconds 0.01 --most 2 -a omp", "kernel"),
        ("encoder_cost.py --epochs 1 --size 8 --p 64", "encoder"),
        ("unrolling_order.py --m 10 --n 20 --depth 2 --steps 9 --rounds 1 --tests 99", "not conv"),
    ],
)
def test_a_study_runs(command, said, tmp_path, monkeypatch):
    name, *options = command.split()
    if name == "unrolling_order.py":
        monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    if name in ("batched.py", "encoder_cost.py", "structured.py", "unrolling_order.py"):
        pytest.importorskip("torch")
    given = [sys.executable, str(STUDIES / name), *options]
    found = subprocess.run(given, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert said in found.stdout
