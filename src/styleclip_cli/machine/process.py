"""What a command decides for its whole process; a program that embeds an `Engine` decides for itself.

Imports nothing heavy.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass
class Choices:
    """What is the same for all that runs in a process.

    Attributes:
        kernels: Whether kernels are built and used.
        verbose: Whether tracebacks of errors are shown.
    """

    kernels: bool = True
    verbose: bool = False


chosen = Choices()


def without_kernels() -> bool:
    """Whether kernels are switched off (--no-kernels, or the environment)."""
    return not chosen.kernels or _is_set("STYLECLIP_NO_KERNELS")


def debugging() -> bool:
    """Whether tracebacks and warnings are wanted (--verbose, or the environment)."""
    return chosen.verbose or _is_set("STYLECLIP_DEBUG")


def _is_set(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")
