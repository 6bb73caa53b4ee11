"""Write files so that others see them whole or not at all, one process at a time. Imports nothing heavy."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from styleclip_cli.errors import OutputError

_log = logging.getLogger(__name__)
DAY = 86_400.0
"""Seconds after which what nobody has touched belongs to no running process."""


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
    short = path.name.encode(errors="surrogateescape")[:100].decode(errors="ignore")  # a name has 255 bytes
    temporary = path.parent / f".{short}.{secrets.token_hex(6)}.tmp"
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


def abandoned(folder: Path) -> Iterator[Path]:
    """What `atomic` left half-written in a folder when its process was killed, a day ago or more."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > DAY:
                yield path


@contextmanager
def locked(path: Path, work: str) -> Iterator[None]:
    """Hold a file's lock, so that one process at a time makes it; others wait, and say so once.

    Goes on without where no lock can be had (a read-only folder, an odd file system).

    Args:
        path: The file; the lock is a file beside it, with `.lock` added to the name.
        work: What the other process is doing, for the message: "making it".
    """
    import filelock

    lock = filelock.FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            _log.warning("%s: waiting for another process that is %s", os.path.realpath(path), work)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        _log.debug("%s: not locked (%s)", path, error)
    try:
        yield
    finally:
        lock.release()


def idle(path: Path) -> bool:
    """Whether no process holds a file's lock (see `locked`); True where no lock can be had."""
    import filelock

    try:
        with filelock.FileLock(f"{path}.lock", timeout=0):
            return True
    except filelock.Timeout:
        return False
    except (OSError, NotImplementedError):
        return True
