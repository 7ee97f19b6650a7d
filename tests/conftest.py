"""What the processes of one test run share."""

import os

import pytest

from sparsebench.system.processes import THREADS

for _name in THREADS:  # the processes of `pytest -n` share the cores
    os.environ.setdefault(_name, "1")

import sparsebench.problems  # noqa: E402  # registers them, as `solvers` the algorithms
import sparsebench.solvers  # noqa: E402
from sparsebench.registry.calls import compile_kernels  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def kernels_are_compiled_once(tmp_path_factory):
    """Of the processes of `pytest -n`, each compiles algorithms that no other has begun with.

    All find them in numba's cache on disk from then on. A process alone compiles what it meets.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    claims = tmp_path_factory.getbasetemp().parent / "claims"  # the folder of the whole run
    claims.mkdir(exist_ok=True)
    for entry in sparsebench.algorithms():
        if entry.family == "peer" or not entry.ready:
            continue
        try:
            os.close(os.open(claims / entry.name, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        compile_kernels(entry, entry.options)
