"""Build `kernels.cpp` on first use, once for each compiler, processor and version of torch.

A library is code that runs with all rights of the person, so it is kept and built where nobody else can write
(`private`), checked by its SHA-256 before it is loaded, and loaded from the very bytes that were checked.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from styleclip_cli.errors import OutputError, one_line
from styleclip_cli.machine import private, process
from styleclip_cli.machine.atomic import atomic, locked
from styleclip_cli.nets.ops import compiling
from styleclip_cli.nets.ops.compiling import CompilerError

_log = logging.getLogger(__name__)
_SOURCE = Path(__file__).with_name("kernels.cpp")
_HOUR = 3600


def switched_off() -> bool:
    """Whether all kernels are switched off (--no-kernels, or the environment).

    Returns:
        True if they are.
    """
    return process.without_kernels()


def library() -> ctypes.CDLL | None:
    """The kernels, built when first needed.

    Returns:
        The library; None where kernels are switched off or cannot be built.
    """
    return None if why_not() else _built()[0]


def why_not() -> str:
    """Why there are no kernels.

    Returns:
        On one line; empty if there are.
    """
    if sys.platform == "win32":
        return "compilers of Windows know no vectors of their kind"
    return "switched off" if switched_off() else _built()[1]


@cache
def _built() -> tuple[ctypes.CDLL | None, str]:
    """The library, or why there is none."""
    problem: Exception | None = None
    try:
        command = compiling.compiler()
        name = f"{_key(command)}.so"
    except (CompilerError, OSError) as error:
        return None, without(error)
    for folder in private.folders("kernels"):
        try:
            with private.opened(folder) as held:
                found = _kept(held / name)
                failed = "" if found else _recent(held / name)
                return (None, failed) if failed else (found or _made(command, held / name), "")
        except CompilerError as error:
            return None, without(error)
        except (OSError, OutputError) as error:  # not this person's, not to be written to, or full
            cause = error.__cause__ or error
            reason = getattr(cause, "strerror", None) or one_line(cause)
            problem = problem or OSError(f"{folder}: nothing can be kept there ({reason})")
    return None, without(problem or OSError("there is no folder for them"))


def without(error: Exception) -> str:
    """Say that kernels cannot be used, and why.

    Args:
        error: What went wrong.

    Returns:
        What was said, on one line.
    """
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    _log.warning("rendering goes on without fast kernels, with the same results: %s", reason)
    return reason


def _key(command: list[str] | None) -> str:
    """What this machine's kernels are kept under: a cache may be shared by different ones, and persons."""
    version = "none" if command is None else compiling.version(command)
    what = [_SOURCE.read_text(encoding="utf-8"), version, torch.__version__, _processor()]
    what += [*compiling.FLAGS, *(command or [])[1:], str(os.geteuid())]
    return hashlib.sha256("\0".join(what).encode(errors="surrogateescape")).hexdigest()[:20]


def _kept(path: Path) -> ctypes.CDLL | None:
    """The library, if it can be loaded, is whole, and nobody else wrote it."""
    with suppress(OSError, AttributeError):  # not there, or where nothing may be run
        # A pipe would be waited for; a link may lead to what somebody changes between check and use.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read() if stat.S_ISREG(found.st_mode) and private.is_own(found) else b""
            if content and _checksum(path).read_text(encoding="ascii", errors="replace") == _sha256(content):
                return _loaded(descriptor, content)
        finally:
            os.close(descriptor)
    return None


def _loaded(descriptor: int, content: bytes) -> ctypes.CDLL:
    """Load a library from a copy in memory; else from the file that is open, or a copy of it.

    What is mapped must not change: whoever writes into the file in place would crash this process.
    """
    library = _in_memory(content)
    if library is None and private.by_descriptor(descriptor) is not None:
        # The copy is never closed: a second library of the first one's name would be taken for the first.
        library = ctypes.CDLL(str(private.by_descriptor(os.dup(descriptor))))
    if library is None:
        with tempfile.TemporaryDirectory(prefix="styleclip-") as folder:
            copy = Path(folder) / "kernels.so"
            copy.write_bytes(content)
            library = ctypes.CDLL(str(copy))
    for kind in ("float", "double"):
        getattr(library, f"packed_size_{kind}").restype = ctypes.c_int64
    return library


def _in_memory(content: bytes) -> ctypes.CDLL | None:
    """The library from a file in memory; None where a system has none, or runs nothing from one."""
    if not hasattr(os, "memfd_create"):
        return None
    descriptor = os.memfd_create("kernels")  # never closed, as above
    with suppress(OSError):
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        name = private.by_descriptor(descriptor)
        if name is not None:
            return ctypes.CDLL(str(name))
    os.close(descriptor)
    return None


def _checksum(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _made(command: list[str] | None, path: Path) -> ctypes.CDLL:
    """Build the library.

    Raises:
        CompilerError: If it cannot be built; what does not pass by itself is recorded.
        OSError, OutputError: If nothing can be kept in this folder.
    """
    try:
        if command is None:
            raise CompilerError("no C++ compiler is installed")
        with locked(path, "building kernels"):
            return _kept(path) or _build(command, path)  # another process may have been quicker
    except CompilerError as error:
        if not error.passing:
            with suppress(OutputError), atomic(_failure(path)) as part:
                part.write_text(f"{error}\n", encoding="utf-8", errors="replace")
        raise


def _failure(path: Path) -> Path:
    return path.with_suffix(".failed")


def _recent(path: Path) -> str:
    """Why a build failed just now: that has been said, and is not tried again in each command."""
    with suppress(OSError):
        if 0 <= time.time() - _failure(path).stat().st_mtime < _HOUR:
            told = _failure(path).read_text(encoding="utf-8", errors="replace").strip()
            return told or "it failed just now"
    return ""


def _build(command: list[str], path: Path) -> ctypes.CDLL:
    # Left by a process that was killed: this one has the lock.
    for left in path.parent.glob(f"{path.stem}.build-*"):
        shutil.rmtree(left, ignore_errors=True)
    _log.warning("building kernels for this machine, once (a few seconds)")
    problem = CompilerError(f"what was built cannot be loaded from {os.path.realpath(path.parent)}")
    for threads in compiling.ways_of_threads():
        # Beside the result: where temporary files lie, nothing may be run on some machines.
        with tempfile.TemporaryDirectory(prefix=f"{path.stem}.build-", dir=path.parent) as folder:
            try:
                content = compiling.compiled(command, _SOURCE, Path(folder), threads).read_bytes()
            except CompilerError as error:
                if not error.threads:
                    raise
                problem = error
                continue
        for kept, data, mode in ((path, content, 0o700), (_checksum(path), _sha256(content).encode(), 0o600)):
            with atomic(kept) as part:
                part.write_bytes(data)
                part.chmod(mode)
        found = _kept(path)
        if found is not None:
            return found
    raise problem


def _processor() -> str:
    """What the processor can do."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(
            sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
        )
    return f"{platform.machine()} {platform.processor()}"
