"""Pillow's decoders, found without touching what all threads of a process share."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import BinaryIO

from PIL import Image


def opened(file: BinaryIO, formats: Iterable[str], head: bytes) -> Image.Image:
    """`Image.open` without its limit, which is one for all threads of a process: ours is the caller's.

    Args:
        file: The image.
        formats: What it may be, by Pillow's names.
        head: Its first bytes.

    Returns:
        The image, not decoded.

    Raises:
        UnidentifiedImageError: If it is in none of the formats.
    """
    for name in formats:
        if name not in Image.OPEN:
            Image.init()
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory is None:
            continue
        try:
            answer = accepts(head[:16]) if accepts is not None else True
            if not answer or isinstance(answer, str):  # a text says why it cannot
                continue
            file.seek(0)
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # it looked like one, and is none
            continue
    raise Image.UnidentifiedImageError


def canvas(head: bytes) -> int:
    """Pixels of a WebP, as its first bytes say: its decoder takes the memory for them when it is made.

    Args:
        head: The first bytes of a file.

    Returns:
        Width times height; 0 for other formats.
    """
    if not head.startswith(b"RIFF") or len(head) < 30:
        return 0
    form, word = head[8:16], int.from_bytes
    if form == b"WEBPVP8X":
        return (1 + word(head[24:27], "little")) * (1 + word(head[27:30], "little"))
    if form == b"WEBPVP8L":
        sides = word(head[21:25], "little")
        return (1 + (sides & 0x3FFF)) * (1 + (sides >> 14 & 0x3FFF))
    if form == b"WEBPVP8 ":
        return (word(head[26:28], "little") & 0x3FFF) * (word(head[28:30], "little") & 0x3FFF)
    return 0
