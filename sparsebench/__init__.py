"""sparsebench: an honest comparison of sparse-recovery algorithms.

>>> import sparsebench
>>> instance = sparsebench.draw("gaussian", m=60, n=128, k=5, trial=0, seed=0)
>>> result = sparsebench.solve("omp", instance.A, instance.y, 5)
>>> bool((result.support == instance.support).all())
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsebench import batched as batched
    from sparsebench.errors import InputError as InputError
    from sparsebench.experiments.recovery import recover as recover
    from sparsebench.notebook import Results as Results
    from sparsebench.notebook import phase_transition as phase_transition
    from sparsebench.notebook import read as read
    from sparsebench.notebook import support_distance as support_distance
    from sparsebench.operators import Operator as Operator
    from sparsebench.operators import check_adjoint as check_adjoint
    from sparsebench.problems.drawing import draw as draw
    from sparsebench.registry.catalogue import algorithms as algorithms
    from sparsebench.registry.declaring import algorithm as algorithm
    from sparsebench.registry.declaring import problem as problem
    from sparsebench.registry.plugins import load_plugin as load_plugin
    from sparsebench.solvers.solving import solve as solve
    from sparsebench.types import Dictionary as Dictionary
    from sparsebench.types import Instance as Instance
    from sparsebench.types import Result as Result
    from sparsebench.types import Status as Status

__version__ = "0.1.0"

# Loaded when first asked for, so that `import sparsebench` costs nothing.
_HOMES = {
    "algorithm": "registry",
    "algorithms": "solvers",
    "check_adjoint": "operators",
    "Dictionary": "types",
    "draw": "problems",
    "InputError": "errors",
    "Instance": "types",
    "load_plugin": "registry",
    "Operator": "operators",
    "phase_transition": "notebook",
    "problem": "registry",
    "read": "notebook",
    "recover": "experiments.recovery",
    "Result": "types",
    "Results": "notebook",
    "solve": "solvers",
    "Status": "types",
    "support_distance": "notebook",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "batched":  # needs torch
        return import_module("sparsebench.batched")
    if name not in _HOMES:
        raise AttributeError(f"module 'sparsebench' has no attribute {name!r}")
    value = getattr(import_module(f"sparsebench.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
