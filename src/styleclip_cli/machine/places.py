"""Where things are kept that nobody has named a place for. Imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from styleclip_cli.errors import OutputError


def chosen(variable: str, kind: Literal["cache", "config", "data"]) -> Path:
    """A folder of this program: the one that the environment names, else the platform's.

    Args:
        variable: Name of the environment variable.
        kind: Which of the platform's folders.

    Raises:
        OutputError: If the environment names none and the person has no home, or it names nobody's.
    """
    named = os.environ.get(variable)
    try:
        path = Path(named).expanduser() if named else _usual(kind)
    except (RuntimeError, KeyError) as error:  # ~nobody; or a user that the system does not know
        if named:
            raise OutputError(f"{variable}={named}: {error}") from None
        raise _homeless(variable, kind) from None
    if not named and not path.is_absolute():  # ~ has stayed as it was
        raise _homeless(variable, kind)
    return path


def _usual(kind: str) -> Path:
    import platformdirs

    path: Path = getattr(platformdirs, f"user_{kind}_path")("styleclip")
    return path


def _homeless(variable: str, kind: str) -> OutputError:
    return OutputError(
        f"there is no place for the {kind} folder: neither {variable} nor HOME is set",
        "set STYLECLIP_HOME and STYLECLIP_CACHE_DIR to folders you may write to",
    )
