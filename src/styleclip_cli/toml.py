"""TOML files that strangers may have written, read in a time in proportion. Imports nothing heavy."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

MAX_BYTES = 2**18
"""Of a pack or of settings; the largest that are published have a fortieth of it."""
_MAX_STEPS = 10**7


def load(path: Path) -> dict[str, Any]:
    """Read a file.

    Raises:
        OSError: If it cannot be read.
        ValueError: As `loads`.
    """
    with path.open("rb") as file:
        return loads(file.read(MAX_BYTES + 1))


def loads(raw: bytes) -> dict[str, Any]:
    """Read a text.

    Raises:
        ValueError: If it is no TOML, is too large, or would take for ever.
    """
    if len(raw) > MAX_BYTES:
        raise ValueError(f"over {MAX_BYTES // 1024} kB")
    # The parser looks at the first part of a key, then at the first two, and so on.
    if sum(line.count(b".") ** 2 for line in raw.split(b"\n")) > _MAX_STEPS:
        raise ValueError("keys of too many parts")
    try:
        return tomllib.loads(raw.decode())
    except RecursionError:
        raise ValueError("nested too deep") from None
