"""StyleCLIP on the command line: edit photos of faces from a sentence."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["Engine", "__version__"]


def __getattr__(name: str) -> Any:
    """Resolve heavy public names on first use, so that importing the package does not import torch."""
    if name == "Engine":
        from styleclip_cli.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
