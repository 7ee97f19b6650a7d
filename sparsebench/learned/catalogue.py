"""Networks by name: how each is built from a dictionary, and how it is trained by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparsebench.errors import InputError, nearest_name
from sparsebench.learned.networks import (
    AdaptiveNetwork,
    HyperNetwork,
    PairNetwork,
    ResidualNetwork,
    Unrolled,
)
from sparsebench.registry import Option


@dataclass(frozen=True)
class Blueprint:
    """A kind of network.

    Attributes
    ----------
    build : callable
        ``(A, depth, options) -> Unrolled``, untrained.
    options : dict
        Names with defaults: ``lam`` is lambda of the iteration it starts as; ``growth`` and
        ``most`` are those of support selection; ``size`` is the M of "largest".
    training : {"layer-wise", "end-to-end", "search"}
        Stage by stage; all stages at once; or its few constants by Nelder and Mead's simplex.
    rate : float
        First learning rate of Adam.
    version : str
        Changes whenever weights of an older one may not be used.
    """

    build: Callable[[Tensor, int, dict[str, Any]], Unrolled]
    options: dict[str, Option]
    training: str = "layer-wise"
    rate: float = 5e-4
    version: str = "2"


def analytic_weight(A: Tensor) -> Tensor:
    """Return W, shape (n, m), that minimises ||W A||_F with every (W A)_ii = 1.

    In closed form: row i is proportional to (A Aᵀ)⁻¹ a_i.

    Parameters
    ----------
    A : Tensor, shape (m, n)
        Of full row rank.

    References
    ----------
    Liu, Chen, Wang and Yin, ALISTA, ICLR 2019.
    """
    rows = torch.linalg.solve(A @ A.T, A).T
    return rows / (rows * A.T).sum(1, keepdim=True)


def _squared_norm(A: Tensor) -> float:
    return float(torch.linalg.matrix_norm(A, 2)) ** 2


def _pair(shrink: str, tied: bool) -> Callable[[Tensor, int, dict[str, Any]], Unrolled]:
    def build(A: Tensor, depth: int, options: dict[str, Any]) -> Unrolled:
        step = 1 / _squared_norm(A)
        lam = options.get("lam", 0.0)
        threshold = lam * step if shrink == "soft" else (2 * lam * step) ** 0.5
        size = options.get("size", 0)
        return PairNetwork(A, depth, shrink, threshold=threshold, step=step, size=size, tied=tied)

    return build


def _residual(selected: bool, analytic: bool) -> Callable[[Tensor, int, dict[str, Any]], Unrolled]:
    def build(A: Tensor, depth: int, options: dict[str, Any]) -> Unrolled:
        step = 1 / _squared_norm(A)
        return ResidualNetwork(
            A,
            depth,
            W=analytic_weight(A) if analytic else step * A.T,
            threshold=options["lam"] * (1.0 if analytic else step),
            learn_matrix=not analytic,
            selected=(options["growth"], options["most"]) if selected else (0.0, 0.0),
        )

    return build


_SELECTION: dict[str, Option] = {"growth": 0.012, "most": 0.13}

# Rate of networks with few parameters.
_FEW = 3e-3

#: The networks by name. Support selection and the rate of learnt matrices are those of Chen et al.
#: 2018; the lambdas from which training starts and the rate of few parameters are ours.
NETWORKS: dict[str, Blueprint] = {
    "lista": Blueprint(_pair("soft", False), {"lam": 0.1}),
    "lista-cp": Blueprint(_residual(False, False), {"lam": 0.1}),
    "lista-cpss": Blueprint(_residual(True, False), {"lam": 0.1, **_SELECTION}, version="2"),
    "alista": Blueprint(_residual(True, True), {"lam": 0.1, **_SELECTION}, rate=_FEW, version="2"),
    "hyperlista": Blueprint(
        lambda A, depth, options: HyperNetwork(A, depth, W=analytic_weight(A)),
        {},
        "search",
        version="2",
    ),
    "na-alista": Blueprint(
        lambda A, depth, options: AdaptiveNetwork(
            A, depth, W=analytic_weight(A), selected=(options["growth"], options["most"])
        ),
        dict(_SELECTION),
        "end-to-end",
        _FEW,
        "2",
    ),
    "liht": Blueprint(_pair("largest", False), {"size": 50}, version="2"),
    "deep-l0": Blueprint(_pair("helu", True), {"lam": 0.1}, "end-to-end"),
    "deep-m-sparse": Blueprint(_pair("largest", True), {"size": 50}, "end-to-end", version="2"),
}


def blueprint(name: str) -> Blueprint:
    """Return a network's blueprint, or raise `InputError` naming the nearest match."""
    if name not in NETWORKS:
        raise InputError(nearest_name(name, NETWORKS, "network"))
    return NETWORKS[name]
