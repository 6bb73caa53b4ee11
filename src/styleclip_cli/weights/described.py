"""Values of a pack's file, checked: a stranger may have written them. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from styleclip_cli.errors import shortened

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def without_control(text: str) -> str:
    """A name without characters that files and terminals take for something else."""
    return _CONTROL.sub("?", text)


def is_plain(name: str) -> bool:
    """Whether a name is one of a file or folder, and neither a path nor what steers a terminal."""
    return (
        len(name) <= 255
        and without_control(name) == name
        and Path(name).name == name
        and bool(name.strip("."))
    )


def said(values: Mapping[str, Any], name: str) -> str:
    """What is said of something, for people: one line."""
    return shortened(" ".join(str(values.get(name, "")).split()), 500)


def hash_of(part: str, values: Mapping[str, Any], name: str, length: int, what: str) -> str | None:
    """A hash in hex; None if there is none.

    Args:
        part: Whose, for messages.
        values: Entries by name.
        name: Of the entry.
        length: Its digits.
        what: What it is, for messages.

    Raises:
        ValueError: If it is something else.
    """
    value = values.get(name)
    if value is None:
        return None
    text = str(value).lower()
    if not re.fullmatch(f"[0-9a-f]{{{length}}}", text):
        raise ValueError(f"{part}: {shortened(str(value), 80)!r} is no {what}")
    return text


def whole(part: str, values: Mapping[str, Any], name: str, least: int) -> int | None:
    """A whole number; None if there is none.

    Raises:
        ValueError: If it is something else, or below the least.
    """
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**53:
        raise ValueError(f"{part}: {name} {shortened(str(value), 40)!r}")
    return value


def one_of(part: str, values: Mapping[str, Any], name: str, known: Sequence[str]) -> str:
    """One of several words; the first if nothing is said.

    Raises:
        ValueError: If it is another one.
    """
    value = values.get(name, known[0])
    if value not in known:
        choice = " or ".join(filter(None, known))
        raise ValueError(f"{part}: {name} {shortened(str(value), 40)!r}, expected {choice}")
    return str(value)


def address(part: str, url: Any) -> str:
    """An address that can be taken apart; whether it may be used is asked when it is.

    Raises:
        ValueError: If it cannot.
    """
    text = str(url)
    try:
        found = urlsplit(text)
        fine = without_control(text) == text and bool(found.hostname) and found.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ValueError(f"{part}: {shortened(text, 80)!r} is no address")
    return text
