"""Folders for what is run: nobody but their owner can put anything there. Imports nothing heavy."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from styleclip_cli.errors import OutputError


def folders(kind: str) -> Iterator[Path]:
    """Where a person may keep what is run, best first; which of them will do shows when they are `opened`.

    Args:
        kind: What is kept, as in the cache.

    Yields:
        The folder of the cache; where that is another person's, one beside it; where nothing can be written
        there, one among temporary files.
    """
    from styleclip_cli.machine.cache import cache_dir

    with suppress(OutputError):  # nobody has said where the cache is
        yield cache_dir() / kind
        yield cache_dir() / f"{kind}-{_user()}"
    yield Path(tempfile.gettempdir()) / f"styleclip-{kind}-{_user()}"


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Hold a folder that nobody but this person (or the machine's owner) can change.

    Args:
        path: The folder; it is made if it is missing.

    Yields:
        The folder under a name that stays its own, whatever becomes of `path` in the meantime: who may write
        to the folder above can put another in its place. Where a system has no such names, `path`.

    Raises:
        OSError: If it cannot be made or opened, is or may be changed by another person, or is on a file
            system from which nothing may be run.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not belongs(path):
        raise PermissionError(errno.EPERM, "it is another user's", str(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not is_own(os.fstat(descriptor)):
            raise PermissionError(errno.EPERM, "other users may write there", str(path))
        if os.fstatvfs(descriptor).f_flag & getattr(os, "ST_NOEXEC", 0):
            raise PermissionError(errno.EPERM, "nothing may be run from there", str(path))
        yield by_descriptor(descriptor) or path
    finally:
        os.close(descriptor)


def belongs(path: Path) -> bool:
    """Whether a folder is there, and this person's (or the machine's owner's), as is a link to it."""
    try:
        return {path.lstat().st_uid, path.stat().st_uid} <= _trusted()
    except OSError:
        return False


def is_own(found: os.stat_result) -> bool:
    """Whether nobody but this person, or the machine's owner, could change a file or folder."""
    return found.st_uid in _trusted() and not found.st_mode & 0o022


def _trusted() -> set[int]:
    return {0, _user()}


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def by_descriptor(descriptor: int) -> Path | None:
    """A name of what a process has opened, which is that very thing; None where a system has none."""
    path = Path(f"/proc/self/fd/{descriptor}")
    return path if path.exists() else None
