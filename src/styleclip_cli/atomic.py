"""Write files so that others see them whole or not at all. Imports nothing heavy."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from styleclip_cli.errors import OutputError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write a file so that others see it whole or not at all.

    Args:
        path: The file to come; missing folders are made.

    Yields:
        The name of a temporary file in the same folder: moved to `path` when all went well, else removed.

    Raises:
        OutputError: If the file cannot be written.
    """
    # Not tempfile: its 0600 would hide a shared cache from the group that the umask lets read it.
    temporary = path.parent / f".{path.name[:100]}.{secrets.token_hex(6)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error})", "choose a folder you may write to"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
