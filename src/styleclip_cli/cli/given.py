"""What was typed, before a command reads it: the person's home in names, texts that are texts."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from styleclip_cli.errors import UsageError
from styleclip_cli.job.inputs import at_home

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
