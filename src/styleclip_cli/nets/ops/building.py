"""Build `kernels.cpp` on first use, once for each compiler, processor and version of torch."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from styleclip_cli import process
from styleclip_cli.atomic import atomic, locked
from styleclip_cli.cache import cache_dir
from styleclip_cli.errors import OutputError

_log = logging.getLogger(__name__)
_SOURCE = Path(__file__).with_name("kernels.cpp")
_HOUR = 3600
_FLAGS = ["-O3", "-march=native", "-fopenmp", "-std=c++17"]


def switched_off() -> bool:
    """Whether all kernels are (--no-kernels)."""
    return process.without_kernels()


def library() -> ctypes.CDLL | None:
    """The built kernels; None where they are switched off or cannot be built."""
    if sys.platform == "win32":  # its compiler knows no vectors of this kind
        return None
    return None if switched_off() else _built()


@cache
def _built() -> ctypes.CDLL | None:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    path = failure = None
    try:
        path = _path(compiler)
        failure = path.with_suffix(".failed")
        found = _kept(path)
        if found is None and _recent(failure):
            return None
        if found is None:
            if compiler is None:
                raise OSError("no C++ compiler is installed")
            with locked(path, "building kernels"):
                found = _kept(path)  # another process may have been quicker
                if found is None:
                    _log.warning("building kernels for this machine, once (a few seconds)")
                    _build(compiler, path)
                    found = _kept(path)
        if found is None:
            raise OSError(f"no library can be kept in {path.parent} and loaded from there")
        return found
    except (OSError, OutputError, RuntimeError, ImportError, ValueError, subprocess.SubprocessError) as error:
        without(error)
        if failure is not None:
            with suppress(OutputError), atomic(failure) as part:
                part.write_text(f"{error}\n", encoding="utf-8", errors="replace")
        return None


def without(error: Exception) -> None:
    """Say that kernels cannot be used, and why."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    _log.warning("rendering goes on without fast kernels, with the same results: %s", reason)


def _path(compiler: str | None) -> Path:
    """Where the kernels for this machine are kept: a cache may be shared by different ones, and persons."""
    version = "none"
    if compiler is not None:
        asked = [*shlex.split(compiler), "--version"]
        version = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout
    what = [_SOURCE.read_text(encoding="utf-8"), version, torch.__version__, _processor(), *_FLAGS]
    key = hashlib.sha256("\0".join([*what, str(os.geteuid())]).encode()).hexdigest()[:20]
    return cache_dir() / "kernels" / f"{key}.so"


def _kept(path: Path) -> ctypes.CDLL | None:
    """The library, if it can be loaded, and nobody but this person (or the machine's owner) wrote it."""
    try:
        found = path.stat()
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
            return None
        library = ctypes.CDLL(str(path))
        for kind in ("float", "double"):
            getattr(library, f"packed_size_{kind}").restype = ctypes.c_int64
    except (OSError, AttributeError):  # not there, damaged, or where nothing may be run
        return None
    return library


def _recent(failure: Path) -> bool:
    """Whether a build failed just now: that has been said, and is not tried again in each command."""
    with suppress(OSError):
        return time.time() - failure.stat().st_mtime < _HOUR
    return False


def _processor() -> str:
    """What the processor can do."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(
            sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
        )
    return f"{platform.machine()} {platform.processor()}"


def _build(compiler: str, path: Path) -> None:
    """Compile with ninja, by torch's own means, in a folder of this process alone."""
    from torch.utils import cpp_extension

    # Only these two, and only for a moment: other threads may be reading the environment.
    wanted = {"CXX": compiler, "PATH": os.environ.get("PATH", "")}
    with suppress(ImportError):  # else a system's ninja will do
        import ninja

        wanted["PATH"] = os.pathsep.join([ninja.BIN_DIR, wanted["PATH"]])
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        # Beside the result: where temporary files lie, nothing may be run on some machines.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            cpp_extension.load(
                "kernels",
                [str(_SOURCE)],
                extra_cflags=_FLAGS,
                extra_ldflags=["-fopenmp"],
                build_directory=folder,
                is_python_module=False,
                verbose=False,
            )
            built = next(Path(folder).glob("kernels*.so"), None)  # a process's second is kernels_v1
            if built is None:
                raise RuntimeError("the compiler left no library")
            with atomic(path) as part:
                shutil.copyfile(built, part)
                part.chmod(0o700)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
