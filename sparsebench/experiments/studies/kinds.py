"""The kinds of studies around the two main figures, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sparsebench.errors import InputError, nearest_name

# Of a picture: the label of its x axis, and what `report.multiples` is told of it beside.
Axis = tuple[str, dict[str, Any]]
#: What is studied, by name; each file of this room adds its own.
STUDIES: dict[str, Sweep | Thresholds | FullGrid | Isometry] = {}


@dataclass(frozen=True)
class Panel:
    """One panel of a sweep.

    ``{x}`` in the problem stands for the value on the x axis and ``{snr}`` for -20 log10 of it;
    ``{k}`` in the title for the sparsity.

    Attributes
    ----------
    title, problem : str
    m : float
        Measurements, in units of n.
    k : float
        Non-zeros, in units of n; 0: the value on the x axis is k.
    metrics : tuple of str
    """

    title: str
    problem: str
    m: float = 1.0
    k: float = 0.0
    metrics: tuple[str, ...] = ("support_distance",)


@dataclass(frozen=True)
class Sweep:
    """Curves over values of x in several panels, a stated number of trials at each point.

    Attributes
    ----------
    what : str
        One line.
    panels : tuple of Panel
    curves : dict of str to str
        Label and algorithm; ``{x}`` in the algorithm stands for the value on the x axis. What is
        for real numbers has no curve where a panel's problem is complex.
    sizes : dict of str to dict
        ``n``, ``x`` (values on the x axis) and ``trials``, by preset.
    axes : dict of str to Axis
        The pictures, by name.
    """

    what: str
    panels: tuple[Panel, ...]
    curves: dict[str, str]
    sizes: dict[str, dict[str, Any]]
    axes: dict[str, Axis]


@dataclass(frozen=True)
class Thresholds:
    """Sparsity ratios k/m at which 95 % and 50 % of supports are recovered, with i.i.d. atoms.

    Attributes
    ----------
    what : str
        One line.
    x : str
        On the x axis: "n", with a panel a ratio and level, or "m/n", with one a group and level.
    groups : dict of str to dict
        The curves, label and algorithm, by the panel they belong to.
    sizes : dict of str to dict
        ``ns``, ``ratios`` (m/n), ``half_width`` in units of n and ``max_trials``, by preset.
    axes : dict of str to Axis
        The pictures, by name.
    """

    what: str
    x: str
    groups: dict[str, dict[str, str]]
    sizes: dict[str, dict[str, Any]]
    axes: dict[str, Axis]


@dataclass(frozen=True)
class FullGrid:
    """Thresholds by adaptive sampling, and by a full grid of other instances.

    Attributes
    ----------
    what : str
        One line.
    algorithms : str
    sizes : dict of str to dict
        ``n``, ``ratios`` (m/n), ``half_widths`` by level, ``max_trials`` and ``grid`` (trials at
        every k), by preset.
    """

    what: str
    algorithms: str
    sizes: dict[str, dict[str, Any]]
    axes: ClassVar[dict[str, Axis]] = {}  # a picture of its own


@dataclass(frozen=True)
class Isometry:
    """Restricted isometry constants by enumeration, beside what support exploration does.

    Attributes
    ----------
    what : str
        One line.
    sizes : dict of str to dict
        ``ks``, ``dictionaries`` of each kind of atoms and ``signals`` of each of these, k and noise
        level, by preset.
    """

    what: str
    sizes: dict[str, dict[str, Any]]
    axes: ClassVar[dict[str, Axis]] = {}  # a picture of its own


def named(names: str) -> dict[str, str]:
    """Return curves that are labelled with the name of their algorithm."""
    return {name: name for name in names.split(",")}


def size_named(name: str, preset: str) -> dict[str, Any]:
    """Return the sizes of a study by the name of a preset.

    Raises
    ------
    InputError
        If there is no such study or preset (the nearest match is named).
    """
    if name not in STUDIES:
        raise InputError(nearest_name(name, STUDIES, "study"))
    if preset not in STUDIES[name].sizes:
        raise InputError(nearest_name(preset, STUDIES[name].sizes, "preset"))
    return STUDIES[name].sizes[preset]
