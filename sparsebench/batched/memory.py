"""Devices as torch sees them: which, how much memory is free, and what its errors mean."""

from __future__ import annotations

import torch

from sparsebench.registry import devices
from sparsebench.system.resources import available_memory
from sparsebench.types import InputError


def torch_device(name: str) -> torch.device:
    """Return the device that ``torch-cpu``, ``cuda`` or ``cuda:1`` means."""
    found = devices.resolve(name)
    if found == "cpu":
        raise InputError("the twins run on torch-cpu or cuda; on the cpu: sparsebench.solve")
    return torch.device("cpu" if found == "torch-cpu" else found)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the processor, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "DefaultCPUAllocator" in str(error)
    )


def lost(error: BaseException) -> bool:
    """Whether an error says that the device itself does not answer any more."""
    text = str(error)
    accelerator = getattr(torch, "AcceleratorError", ())
    return not out_of_memory(error) and (
        isinstance(error, accelerator)
        or (isinstance(error, RuntimeError) and ("CUDA error" in text or "CUDA driver" in text))
    )


def memory_at_hand(device: torch.device) -> float:
    """Return the free bytes of a device; 2 GiB where the system does not tell."""
    if device.type == "cuda":
        # What torch holds for later use is at hand too.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + idle)
    free = available_memory()
    return 2.0**31 if free is None else float(free)
