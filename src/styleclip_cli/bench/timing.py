"""Measuring speed the same way everywhere: what machine this is, medians after a warm-up, its best rates."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

RUNS = 5
_CPU = torch.device("cpu")


def machine(device: torch.device = _CPU) -> dict[str, Any]:
    """What numbers were measured on: processor, cores, threads, versions, device."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(device),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        text = info.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            if line.startswith("model name"):
                vectors = [name for name in ("avx512f", "avx2", "avx") if f" {name}" in text][:1]
                return " ".join([line.partition(":")[2].strip(), *vectors])
    return platform.processor() or platform.machine()


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_megabytes(device: torch.device = _CPU) -> float:
    """The most memory this process has held: on a GPU what torch had of it, else of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def median_seconds(work: Callable[[], Any], runs: int | None = None, device: torch.device = _CPU) -> float:
    """Median wall-clock time of some work, after doing it once untimed.

    Args:
        work: What to do.
        runs: How often it is timed; None for `RUNS`.
        device: Where it is done.
    """
    times = []
    for run in range((RUNS if runs is None else runs) + 1):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        if run:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def peaks(device: torch.device = _CPU) -> dict[str, float]:
    """What the machine reaches at best, in GFLOP/s: a matrix product and 3x3 convolutions of many shapes."""
    side = 2048 if device.type == "cpu" else 8192
    with torch.inference_mode():
        a, b = (torch.randn(side, side, device=device) for _ in range(2))
        found = {"matrix product": 2 * side**3 / median_seconds(lambda: a @ b, device=device) / 1e9}
        for depth, pixels in ((512, 64), (128, 256), (32, 1024)):
            x = torch.randn(1, depth, pixels, pixels, device=device)
            w = torch.randn(depth, depth, 3, 3, device=device)
            x, w = (t.contiguous(memory_format=torch.channels_last) for t in (x, w))
            work = 2 * 9 * depth**2 * pixels**2 / 1e9
            seconds = median_seconds(
                lambda x=x, w=w: torch.nn.functional.conv2d(x, w, padding=1),  # type: ignore[misc]
                device=device,
            )
            found[f"convolution {depth} x {pixels}^2"] = work / seconds
    return found
