"""The records of algorithms and problems."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sparsebench.registry.grammar import Option
from sparsebench.types import InputError

# Packages without a wheel for the newest Pythons, and the first of these, as in pyproject.toml.
_NO_WHEEL = {"celer": (3, 14)}


@dataclass(frozen=True)
class Algorithm:
    """A registered algorithm.

    Attributes
    ----------
    name : str
        Registry name.
    function : callable
        ``(dictionary, y, k, **options) -> Result``, or a plain ``(A, y, k, **options) -> x``;
        without k where it is not told it.
    options : dict
        Option names with their defaults, read off the function's keyword-only parameters.
    told : tuple of str
        What it is told beyond A and y: "k", "lambda", "noise", "support", "training", "prior
        family"; nothing where it is empty.
    source : str
        Authors, title, year and DOI or arXiv number.
    shares : tuple of str
        The `Dictionary` quantities it reads, computed once a dictionary before it is timed.
    version : str
        Changes whenever its results may change; part of every row's key.
    revised : callable, optional
        Whether, at these options, results have changed since that version: it ends on "b" there.
    family : str
        The heading it stands under: one of `declaring.FAMILIES`, or "plug-in".
    cost : str
        Flops of one iteration, a Python expression in m, n and k; empty if not known.
    requires : str
        The package that must be installed for it; empty if none beyond our own.
    several : callable, optional
        ``(dictionary, signals, k, **options) -> (estimates, iterations)``: the same algorithm for
        signals of shape (B, m) at once, with estimates of shape (B, n).
    twin : str
        Where its torch twin is, as ``module:function``; empty if it has none.
    complex_numbers : bool
        Whether A, y and x may be complex.
    matrix_free : bool
        Whether it needs products with A and its adjoint alone, so that it takes an `Operator`.
    path : callable or str
        How a rule such as ``k=ebic`` finds k: ``(dictionary, y, most, **options)`` yields the
        supports of one run, of growing sizes up to `most`; "each" says that it is cheap enough to
        be solved for each k; empty, that it takes no such rule.
    """

    name: str
    function: Callable[..., Any]
    options: dict[str, Option]
    told: tuple[str, ...]
    source: str
    shares: tuple[str, ...]
    version: str
    family: str = "plug-in"
    cost: str = ""
    requires: str = ""
    several: Callable[..., Any] | None = None
    twin: str = ""
    complex_numbers: bool = False
    matrix_free: bool = False
    path: Callable[..., Any] | str = ""
    revised: Callable[[dict[str, Option]], bool] | None = None

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of its function's parameters."""
        return tuple(inspect.signature(self.function).parameters)

    @property
    def plain(self) -> bool:
        """Whether it takes the array A rather than a `Dictionary`."""
        return self.parameters[0] == "A"

    @cached_property
    def takes_k(self) -> bool:
        """Whether it is handed k; what is not told k, nor the support, has no such parameter."""
        return self.parameters[2:3] == ("k",)

    @cached_property
    def takes_noise(self) -> bool:
        """Whether it is handed the noise level."""
        return "noise" in self.parameters

    def accepts(self, given: str) -> bool:
        """Whether it takes a start, the true support, the noise level, or a wish for a history."""
        return given in self.parameters

    def version_at(self, options: dict[str, Option]) -> str:
        """Return the version of its results at these options."""
        return self.version + ("b" if self.revised and self.revised(options) else "")

    @property
    def installed(self) -> bool:
        """Whether the package it requires is there."""
        return not self.requires or importlib.util.find_spec(self.requires) is not None

    @property
    def needs(self) -> str:
        """What it needs that is not there, and how to get it; empty if it is installed."""
        if self.installed:
            return ""
        package = f"the package {self.requires!r}"
        if self.requires in _NO_WHEEL and sys.version_info >= _NO_WHEEL[self.requires]:
            return f"{package}, which has no wheel for this Python"
        extra = {"learned": "learned", "peer": "peers"}.get(self.family)
        return package + (f": pip install 'sparsebench[{extra}]'" if extra else "")

    @property
    def ready(self) -> bool:
        """Whether it runs with its default options: it is installed and needs no weights named."""
        return self.installed and self.options.get("weights") != ""

    @property
    def summary(self) -> str:
        """First line of its docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


@dataclass(frozen=True)
class ProblemGenerator:
    """A registered problem: a frozen dataclass whose fields are its options.

    Attributes
    ----------
    name : str
        Registry name.
    factory : type
        Called with the options; offers ``dictionary(rng, m, n)`` and ``signal(rng, n, k)``.
    options : dict
        Option names with their defaults.
    source : str
        Where the problem comes from.
    version : str
        Changes whenever its instances change; part of every row's key.
    """

    name: str
    factory: type
    options: dict[str, Option]
    source: str
    version: str

    @property
    def summary(self) -> str:
        """First line of its docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]


def flops(entry: Algorithm, m: int, n: int, k: int) -> float:
    """Return the stated flops of one iteration of an algorithm, NaN where none are stated.

    Raises
    ------
    InputError
        If the cost is anything but arithmetic in m, n, k and numbers.
    """
    if not entry.cost:
        return float("nan")
    sizes = {"m": m, "n": n, "k": k}
    arithmetic = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Load)
    try:
        tree = ast.parse(entry.cost, mode="eval")
        for node in ast.walk(tree):
            number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
            size = isinstance(node, ast.Name) and node.id in sizes
            if not (number or size or isinstance(node, arithmetic)):
                raise SyntaxError
        return float(eval(compile(tree, entry.name, "eval"), {"__builtins__": {}}, sizes))
    except (SyntaxError, ArithmeticError):
        raise InputError(
            f"the cost {entry.cost!r} of {entry.name} is no arithmetic in m, n and k"
        ) from None
