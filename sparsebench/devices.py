"""Where algorithms run: device names, and the choices that say so.

A choice that runs on a device has the options ``device`` and, unless it is float64, ``precision``
beside the algorithm's own: they are part of its rows' key. Nothing here imports torch, except to
look for a device that was asked for.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from sparsebench.registry import Choice
from sparsebench.types import InputError

#: Algorithms with a twin in `sparsebench.batched`.
TWINS = (
    "amp",
    "cosamp",
    "els",
    "fista",
    "htp",
    "iht",
    "ista",
    "nhtp",
    "niht",
    "ols",
    "omp",
    "ompr",
    "sea",
    "sp",
)
PRECISIONS = ("float64", "float32")


def resolve(name: str) -> str:
    """Return ``cpu``, ``torch-cpu`` or ``cuda:i`` for what a user wrote, ``auto`` included.

    ``auto`` is ``cuda`` where there is one and ``cpu`` otherwise: on a processor the twins are
    slower than the kernels, but for some batches of 100 and more on one dictionary (AMP).

    Raises
    ------
    InputError
        If the name is unknown, torch is missing or there is no such device.
    """
    if name == "cpu":
        return name
    kind, _, index = name.partition(":")
    known = name in ("auto", "torch-cpu") or (
        kind == "cuda" and (index.isdecimal() or name == kind)
    )
    if not known:
        raise InputError(f"unknown device {name!r}; choose cpu, torch-cpu, cuda, cuda:i or auto")
    if importlib.util.find_spec("torch") is None:
        if name == "auto":
            return "cpu"
        raise InputError(f"the device {name!r} needs torch: pip install 'sparsebench[torch]'")
    if name == "torch-cpu":
        return name
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if count else "cpu"
    if int(index or 0) >= count:
        raise InputError(f"there is no device {name!r}: torch sees {count} CUDA devices")
    return f"cuda:{index or 0}"


def has_twin(name: str) -> bool:
    """Whether an algorithm, or every link of a chain, has a twin."""
    return set(name.split("+")) <= set(TWINS)


def check_twins(names: Sequence[str]) -> None:
    """Refuse algorithms without a twin.

    Raises
    ------
    InputError
        It names those that have one.
    """
    for name in names:
        if name not in TWINS:
            raise InputError(f"{name} runs on the processor only; on a device: {', '.join(TWINS)}")


def check_precision(device: str, precision: str) -> None:
    """Refuse an unknown precision, and float32 of kernels that are compiled for float64."""
    if precision not in PRECISIONS:
        raise InputError(f"the precision is float64 or float32, not {precision!r}")
    if device == "cpu" and precision != "float64":
        raise InputError("the device cpu computes in float64; float32 needs torch-cpu or cuda")


def placed(
    algorithms: Sequence[Choice], name: str, precision: str = "float64"
) -> tuple[list[Choice], str]:
    """Return the choices as they run on a device, and the device.

    With ``auto``, an algorithm without a twin stays on the processor. Two cards of one machine
    count as one device: which of them computed a row is not part of its key.

    Raises
    ------
    InputError
        If there is no such device, or an algorithm has no twin.
    """
    device = resolve(name)
    check_precision(device, precision)
    found = []
    for chosen in algorithms:
        stays = name == "auto" and not has_twin(chosen.name)
        found += [chosen] if stays else stored([chosen], device, precision)
    return found, device


def stored(algorithms: Sequence[Choice], device: str, precision: str = "float64") -> list[Choice]:
    """Return the choices as rows of a device name them; the device need not be there.

    Raises
    ------
    InputError
        If the device is none, or an algorithm has no twin.
    """
    kind = device.partition(":")[0]
    if kind not in ("cpu", "torch-cpu", "cuda"):
        raise InputError(f"rows are of the devices cpu, torch-cpu or cuda, not of {device!r}")
    check_precision(kind, precision)
    if kind == "cpu":
        return list(algorithms)
    place: dict[str, Any] = {"device": kind}
    if precision != "float64":
        place["precision"] = precision
    found = []
    for chosen in algorithms:
        check_twins(chosen.name.split("+"))
        options = tuple(sorted((dict(chosen.options) | place).items()))
        label = f"{chosen.label} on {', '.join(place.values())}"
        found.append(replace(chosen, options=options, label=label))
    return found


def own_options(chosen: Choice) -> dict[str, Any]:
    """Return the algorithm's own options: without device and precision."""
    return {key: value for key, value in chosen.options if key not in ("device", "precision")}


@cache
def place(chosen: Choice) -> tuple[str, str]:
    """Return (kind of device, precision) of a choice; ``("cpu", "float64")`` of the kernels."""
    options = dict(chosen.options)
    if "device" not in options:
        return "cpu", "float64"
    return str(options["device"]), str(options.get("precision", "float64"))


def describe(device: str) -> dict[str, Any]:
    """Return what the device is, as plain JSON data; nothing for the processor."""
    if device == "cpu":
        return {}
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "processor"
    return {"device": {"asked for": device, "name": name, "torch": torch.__version__}}
