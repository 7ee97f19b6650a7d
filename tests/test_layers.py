"""Imports point one way, file by file: from commands and pictures down to types."""

import ast
from pathlib import Path

import pytest

import sparsebench

ROOT = Path(sparsebench.__file__).parent
LAYERS = [
    {
        "errors",
        "spectrum",
        "types",
        "metrics",
        "criteria",
        "theory",
        "seeding",
        "environment",
        "system",
    }
    | {"operators", "transforms"},
    {"registry", "kernels", "statistics"},
    {"problems", "solvers", "batched", "learned"},
    {"run"},
    {"experiments"},
    {"report"},
    {"cli"},
    {"notebook"},
    {"__main__"},
]
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}


def files(root):
    """Return the files by their names as modules: ``registry``, ``registry.choices``."""
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path, known):
    """Yield (module, name) of all that a file imports from the package, wherever it does it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == ROOT.name:
            module = ".".join(node.module.split(".")[1:])
            for alias in node.names:
                inner = f"{module}.{alias.name}".lstrip(".")
                yield (inner, "") if inner in known else (module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith(f"{ROOT.name}."):
                    yield alias.name.partition(".")[2], ""


def faults(root):
    """Return what is wrong in a tree: imports that point up, of private names, and circles."""
    known = files(root)
    wrong, graph = [], {}
    for here, path in known.items():
        if not here:  # the package itself: it loads what it exports when that is asked for
            continue
        room = here.partition(".")[0]
        if room not in RANK:
            wrong.append(f"{here} belongs to no layer")
            continue
        graph[here] = set()
        for target, name in imported(path, known):
            if not target:
                if name != "__version__":
                    wrong.append(f"{here} imports {name} from the package itself")
                continue
            graph[here].add(target)
            other = target.partition(".")[0]
            if RANK.get(other, 99) > RANK[room]:
                wrong.append(f"{here} imports {target}, which is above it")
            if name.startswith("_") and other != room:
                wrong.append(f"{here} imports {name}, which is private to {other}")
    while True:  # what imports nothing that is left is in no circle
        free = {here for here, targets in graph.items() if not targets & graph.keys() - {here}}
        if not free:
            break
        graph = {here: targets for here, targets in graph.items() if here not in free}
    return wrong + [f"{here} is in a circle or above one" for here in sorted(graph)]


def test_imports_point_one_way_and_nothing_private_is_taken():
    assert faults(ROOT) == []


def test_pictures_are_drawn_from_a_csv_alone():
    for path in (ROOT / "report").glob("*.py"):
        if path.stem not in ("__init__", "figures", "tables", "encoder_tables", "task_tables"):
            rooms = {target.partition(".")[0] for target, _ in imported(path, files(ROOT))}
            # Of statistics what a CSV's column says in words: which measure is a success.
            assert rooms <= {"report", "statistics", "system", "theory", "types"}, path.name


A, B = "from sparsebench.run.a import x", "from sparsebench.run.b import x"
CIRCLE = ["run.a is in a circle or above one", "run.b is in a circle or above one"]


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ({"run/a.py": B, "run/b.py": A}, CIRCLE),
        ({"run/a.py": f"def f():\n    {B}", "run/b.py": "import sparsebench.run.a"}, CIRCLE),
        (
            {"run/__init__.py": A, "run/a.py": "from sparsebench.run import y"},
            ["run is in a circle or above one", CIRCLE[0]],
        ),
        ({"run/a.py": B, "run/b.py": ""}, []),
        ({"run/a.py": B.replace("x", "_x"), "run/b.py": ""}, []),
        (
            {"report/c.py": B.replace("x", "_x"), "run/b.py": ""},
            ["report.c imports _x, which is private to run"],
        ),
        ({"kernels/c.py": B, "run/b.py": ""}, ["kernels.c imports run.b, which is above it"]),
        ({"attic.py": ""}, ["attic belongs to no layer"]),
    ],
)
def test_what_is_planted_is_found(planted, found, tmp_path):
    for name, text in planted.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert sorted(faults(tmp_path)) == found
