"""Where to compute."""

from __future__ import annotations

import torch

from styleclip_cli.errors import DeviceError


def choose_device(name: str) -> torch.device:
    """Find the device that a name means on this machine.

    Args:
        name: auto (CUDA, else Apple's, else the CPU), cpu, cuda, cuda:N or mps.

    Raises:
        DeviceError: If the name is none of these, or the machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"unknown device {name!r}", "auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        missing = (device.index or 0) >= count
        found = f"{count} CUDA device{'s' if count != 1 else ''} found"
    else:
        missing = device.type != "cpu" and not (device.type == "mps" and torch.backends.mps.is_available())
        found = "not on this machine"
    if missing:
        raise DeviceError(f"no device {name!r} ({found})", "--device auto, or --device cpu")
    return device
