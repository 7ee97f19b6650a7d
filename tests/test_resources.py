"""Memory and cores as control groups of both versions state them, and what a run makes of it."""

import io
import math

import numpy as np
import pytest
from rich.console import Console

from sparsebench.problems import draw_dictionary
from sparsebench.registry import choose_algorithms, choose_problem, get_algorithm
from sparsebench.run import engine
from sparsebench.run.rows import Block
from sparsebench.run.worker import memory_needed
from sparsebench.system import resources
from sparsebench.types import Dictionary

MIB = 2**20


@pytest.fixture
def say(monkeypatch, tmp_path):
    """Write the files that Linux would show of this process."""
    monkeypatch.setattr(resources, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(resources, "_CGROUPS", tmp_path / "cgroup")

    def files(content):
        for name, text in content.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return files


MEMINFO = {"proc/meminfo": f"MemTotal: {9 << 20} kB\nMemAvailable:    {8 << 20} kB\n"}


def test_without_proc_nothing_is_known(say):
    assert resources.available_memory() is None
    assert resources.core_quota() == math.inf
    assert resources.default_workers() >= 1


def test_memory_of_a_machine_is_what_is_available(say):
    say(MEMINFO)
    assert resources.available_memory() == 8 << 30


def test_memory_of_a_group_of_version_2_is_its_limit_less_its_use(say):
    say(
        MEMINFO
        | {
            "proc/self/cgroup": "0::/slice/job\n",
            "cgroup/slice/job/memory.max": "max\n",
            "cgroup/slice/job/memory.current": "5\n",
            "cgroup/slice/memory.max": str(512 * MIB),
            "cgroup/slice/memory.current": str(200 * MIB),
            "cgroup/slice/memory.stat": f"anon 7\nfile 9\ninactive_file {50 * MIB}\n",
            "cgroup/slice/job/cpu.max": "max 100000\n",
            "cgroup/slice/cpu.max": "50000 100000\n",
        }
    )
    assert resources.available_memory() == 362 * MIB
    assert resources.core_quota() == 0.5
    assert resources.default_workers() == 1


@pytest.mark.parametrize("path", ["/job", "/of/the/host"])  # the latter without a namespace
def test_memory_of_a_group_of_version_1(say, path):
    here = "cgroup/memory/job" if path == "/job" else "cgroup/memory"
    say(
        MEMINFO
        | {
            "proc/self/cgroup": f"4:memory:{path}\n2:cpu,cpuacct:/\n0::/\n",
            f"{here}/memory.limit_in_bytes": str(300 * MIB),
            f"{here}/memory.usage_in_bytes": str(100 * MIB),
            f"{here}/memory.stat": f"cache 1\ntotal_inactive_file {10 * MIB}\n",
            "cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000",
            "cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        }
    )
    assert resources.available_memory() == 210 * MIB
    assert resources.core_quota() == 1.5
    assert resources.default_workers() <= 2


def test_a_group_without_a_limit_limits_nothing(say):
    say(
        MEMINFO
        | {
            "proc/self/cgroup": "4:memory:/\n2:cpu:/\n",
            "cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "cgroup/memory/memory.usage_in_bytes": "1",
            "cgroup/cpu/cpu.cfs_quota_us": "-1",
            "cgroup/cpu/cpu.cfs_period_us": "100000",
        }
    )
    assert resources.available_memory() == 8 << 30
    assert resources.core_quota() == math.inf


def test_the_need_of_a_worker_is_its_arrays(monkeypatch):
    """The shared quantities of a dictionary have the bytes that are counted for them."""
    m, n = 30, 70
    dictionary = Dictionary(np.random.default_rng(0).standard_normal((m, n)))
    bare = memory_needed(m, n, [])
    assert memory_needed(m, n, []) - memory_needed(0, 0, []) == 2 * dictionary.atoms.nbytes
    gram = memory_needed(m, n, [get_algorithm("omp"), get_algorithm("sea")]) - bare
    assert gram >= dictionary.gram.nbytes
    inverse = memory_needed(m, n, [get_algorithm("pinv")]) - bare
    assert inverse >= dictionary.pseudo_inverse.nbytes


@pytest.mark.parametrize(
    ("free", "wanted", "given"),
    [(None, 4, 4), (100.0, 4, 4), (2.5, 4, 2), (0.1, 4, 1), (3.5, 2, 2), (0.5, 1, 1)],
)
def test_fewer_work_at_once_where_memory_is_short(monkeypatch, free, wanted, given):
    """At n = 8,000 the Gram matrix alone is half a gigabyte."""
    monkeypatch.setattr(engine, "memory_needed", lambda m, n, entries: n << 17)
    monkeypatch.setattr(
        engine, "available_memory", lambda: None if free is None else int(free * 2**30)
    )
    (omp,) = choose_algorithms(["omp"])
    blocks = [
        Block(choose_problem("gaussian"), 0, n, n // 2, 0, ((omp, 3),), 60.0) for n in (8000, 4000)
    ]
    text = io.StringIO()
    assert engine.affordable(blocks, wanted, Console(file=text, width=20)) == given
    said = text.getvalue()
    assert said.count("\n") <= 1
    assert (f"{given} at once instead of {wanted}" in said) == (given < wanted)
    assert ("a worker needs about 1.0 GiB at m = 4000, n = 8000" in said) == (
        given < wanted or free == 0.5
    )


def test_small_problems_say_nothing_of_memory(monkeypatch):
    monkeypatch.setattr(engine, "available_memory", lambda: 2**40)
    (omp,) = choose_algorithms(["omp"])
    block = Block(choose_problem("gaussian"), 0, 500, 250, 0, ((omp, 3),), 60.0)
    text = io.StringIO()
    assert engine.affordable([block], 64, Console(file=text)) == 64
    assert engine.affordable([], 64, Console(file=text)) == 64
    assert text.getvalue() == ""


@pytest.mark.parametrize("block", [1, 5, 7, 10**6])
def test_coherence_needs_no_gram_matrix(monkeypatch, block):
    """By its definition, whatever the blocks it is found in; two equal atoms have 1."""
    monkeypatch.setattr("sparsebench.types._BLOCK", block)
    atoms = np.random.default_rng(1).standard_normal((6, 9)) * 10.0 ** np.arange(-4, 5)
    atoms[:, 3] = 0.0
    expected = max(
        abs(atoms[:, i] @ atoms[:, j])
        / math.sqrt((atoms[:, i] @ atoms[:, i]) * (atoms[:, j] @ atoms[:, j]))
        for i in range(9)
        for j in range(i)
        if 3 not in (i, j)
    )
    dictionary = Dictionary(atoms)
    assert dictionary.coherence == pytest.approx(expected, rel=1e-14)
    assert not dictionary.knows("gram")
    atoms[:, 8] = -3.0 * atoms[:, 0]
    assert Dictionary(atoms).coherence == pytest.approx(1.0, rel=1e-15)
    assert Dictionary(np.eye(5)).coherence == 0.0
    assert Dictionary(np.ones((3, 1))).coherence == 0.0
    assert Dictionary(np.zeros((3, 4))).coherence == 0.0


def test_a_coherence_takes_a_block_and_not_a_matrix():
    """At n = 4,000 the Gram matrix is 122 MiB; two blocks are 32."""
    import tracemalloc

    dictionary = draw_dictionary(choose_problem("gaussian"), 60, 4000, 0, 0)
    dictionary.squared_norms  # noqa: B018
    tracemalloc.start()
    dictionary.coherence  # noqa: B018
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * MIB
