"""What was typed, before a command reads it: the person's home in names, texts that are texts."""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from styleclip_cli.errors import UsageError

_TEXTS = ("prompt", "neutral", "title")
"""Parameters that hold sentences; all other texts may be names of files."""


def settle(values: MutableMapping[str, Any]) -> None:
    """Put parameters into the form in which commands read them.

    Args:
        values: By the names of parameters; changed.

    Raises:
        UsageError: If a sentence is no text.
    """
    for name, value in values.items():
        change = _checked if name in _TEXTS else _at_home
        many = isinstance(value, (list, tuple))
        values[name] = type(value)(change(name, one) for one in value) if many else change(name, value)


def _checked(name: str, value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"--{name} {value!r} is no text: it has bytes that are not UTF-8", "type it again"
            ) from None
    return value


def _at_home(name: str, value: Any) -> Any:
    return type(value)(at_home(str(value))) if isinstance(value, (str, Path)) else value


def at_home(name: str) -> str:
    """A name with the person's home in the place of a ~ that no shell has replaced: in quotes, in lists."""
    if re.match(r"~[^/]*(/|$)", name) and not exists(name):
        with suppress(RuntimeError):  # nobody's
            return str(Path(name).expanduser())
    return name


def exists(name: str) -> bool:
    """Whether there is a file of this name; one that cannot be a name is none."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def like_option(arguments: Sequence[str]) -> str:
    """What to do where a file's name was read as an option, or a seed; empty where there is no such file."""
    for word in arguments:
        if word.startswith(("-", "seed:")) and len(word) > 1 and exists(word):
            return f"./{word}, for the file of this name"
    return ""
