"""Names of devices and precisions; nothing here imports torch, but to look for a device."""

from __future__ import annotations

import importlib.util
from typing import Any

from sparsebench.types import InputError

#: Kinds of devices: what a row's key says of where it was computed.
KINDS = ("cpu", "torch-cpu", "cuda")
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


def check_precision(device: str, precision: str) -> None:
    """Refuse an unknown precision, and float32 of kernels that are compiled for float64."""
    if precision not in PRECISIONS:
        raise InputError(f"the precision is float64 or float32, not {precision!r}")
    if device == "cpu" and precision != "float64":
        raise InputError("the device cpu computes in float64; float32 needs torch-cpu or cuda")


def describe(device: str) -> dict[str, Any]:
    """Return what the device is, as plain JSON data; nothing for the processor."""
    if device == "cpu":
        return {}
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "processor"
    return {"device": {"asked for": device, "name": name, "torch": torch.__version__}}
