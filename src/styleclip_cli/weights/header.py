"""The header of a safetensors file (https://github.com/huggingface/safetensors). Imports nothing heavy.

Eight bytes say how long it is; then it tells in JSON the file's notes, and of each tensor where it lies.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

MAX_HEADER = 2 * 2**20
_NOTES = "__metadata__"
_MAX_ORDERS = 6
_LATER = frozenset(["activation"])
"""Notes that earlier versions did not write of the same files."""


def read(file: BinaryIO) -> bytes:
    """Read the header of an open file, which is not looked into.

    Raises:
        ValueError: If it is longer than that of any weights.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        raise ValueError("it has a safetensors header of many megabytes")
    return file.read(length)


def settle(path: Path) -> None:
    """Put the notes of a file just written into order; the library writes them in another one each time.

    Raises:
        ValueError: If the header is too long to be read again.
    """
    with path.open("r+b") as file:
        header = read(file)
        content = json.loads(header)
        file.seek(8)
        written = _written(content, dict(sorted(content.get(_NOTES, {}).items())))
        if len(written) > len(header):
            raise ValueError("its header is written in another way")
        file.write(written.ljust(len(header)))


def hashes(path: Path) -> list[str]:
    """SHA-256 that a file has, and would have with the notes of earlier versions, in any order.

    Returns:
        The file's own first; nothing if the orders are too many to try.

    Raises:
        OSError, ValueError, AttributeError: If it cannot be read.
    """
    with path.open("rb") as file:
        header = read(file)
        content = json.loads(header)
        notes = content.get(_NOTES, {})
        if math.factorial(len(notes)) > _MAX_ORDERS:
            return []
        before = [(name, text) for name, text in notes.items() if name not in _LATER]
        orders = [*itertools.permutations(notes.items()), *itertools.permutations(before)]
        written = [_written(content, dict(order)) for order in dict.fromkeys(orders)]
        digests = [hashlib.sha256(len(each).to_bytes(8, "little") + each) for each in written]
        while block := file.read(2**20):
            for digest in digests:
                digest.update(block)
    return [digest.hexdigest() for digest in digests]


def _written(content: Mapping[str, Any], notes: Mapping[str, str]) -> bytes:
    """A header with these notes, as the library writes it."""
    ordered = {**content, _NOTES: notes} if _NOTES in content else content
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)
