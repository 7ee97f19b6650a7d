"""Imports point one way: from pictures and commands down to types."""

import ast
from pathlib import Path

import sparsebench

ROOT = Path(sparsebench.__file__).parent
LAYERS = [
    {"types", "metrics", "theory", "seeding", "environment", "folders", "resources", "system"},
    {"registry", "devices", "kernels", "statistics"},
    {"problems", "solvers", "batched", "learned"},
    {"run"},
    {"experiments"},
    {"report"},
    {"cli", "cli_encoders", "cli_studies", "cli_unrolling"},
    {"__init__", "__main__"},
]
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}


def room(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sparsebench"):
            parts = node.module.split(".")
            names = [alias.name for alias in node.names if alias.name != "__version__"]
            yield from [parts[1]] if len(parts) > 1 else names
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("sparsebench."):
                    yield alias.name.split(".")[1]


def test_every_file_has_a_layer_and_imports_point_down():
    for path in ROOT.rglob("*.py"):
        here = room(path)
        assert here in RANK, f"{path} belongs to no layer"
        for target in imported(path):
            assert RANK[target] <= RANK[here], f"{path.name} imports {target}"
        if here in ("solvers", "batched"):
            assert "problems" not in set(imported(path)), f"{path.name} imports problems"
        if path.name == "plots.py":
            assert set(imported(path)) <= {"folders", "theory"}
