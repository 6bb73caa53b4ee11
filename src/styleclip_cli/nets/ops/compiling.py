"""Turn one C++ file into a library, with whatever compiler a person has."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from styleclip_cli.errors import one_line

FLAGS = ["-O3", "-march=native", "-std=c++17", "-fPIC", "-shared"]
_LONGEST = 600
"""Seconds after which a compiler hangs."""
_ABOUT_THREADS = re.compile(r"openmp|libg?omp|-lg?omp|\bg?omp_|_omp_|kmpc", re.IGNORECASE)
_COMPLAINT = re.compile(r"error:|fatal|cannot|undefined", re.IGNORECASE)
_PASSING = re.compile(r"no space left|killed|out of memory|memory exhausted|temporarily", re.IGNORECASE)


class CompilerError(Exception):
    """Nothing could be compiled.

    Args:
        reason: The compiler's own first words about it.
        passing: Whether it may go better the next time, with nothing changed.
        threads: Whether it is about threads (OpenMP) alone.
    """

    def __init__(self, reason: str, passing: bool = False, threads: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing
        self.threads = threads


def compiler() -> list[str] | None:
    """The command of the C++ compiler (`CXX`, else what is found on the path).

    Returns:
        The command, which may have arguments (CXX="ccache g++"); None if there is none.

    Raises:
        CompilerError: If CXX names no program.
    """
    chosen = os.environ.get("CXX", "").strip()
    if not chosen:
        found = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        return None if found is None else [found]
    try:
        words = [chosen] if Path(chosen).is_file() else shlex.split(chosen)
    except ValueError as error:
        raise CompilerError(f"CXX={chosen}: {one_line(error)}") from None
    program = shutil.which(words[0])
    if program is None:
        raise CompilerError(f"CXX={chosen}: there is no such program")
    # It is called in another folder.
    return [str(Path(program).absolute()), *words[1:]]


def version(command: list[str]) -> str:
    """What a compiler says that it is.

    Args:
        command: The compiler's.

    Returns:
        Its output.

    Raises:
        CompilerError: If it says nothing.
    """
    try:
        asked = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, errors="replace", timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "it does not answer"
        raise CompilerError(f"{command[0]}: cannot be run ({reason})", passing=True) from None
    if asked.returncode != 0:
        raise _failed(f"{asked.stderr}\n{asked.stdout}", command)
    return asked.stdout


def ways_of_threads() -> Iterator[list[str]]:
    """What makes a compiler read the pragmas of OpenMP, most usual first, and last: nothing.

    Yields:
        Options, most common first, and last: none.
    """
    yield ["-fopenmp"]
    # Apple's clang has no runtime of its own, refuses the plain option, and knows this one. The runtime is
    # the one that torch has loaded: two of them in one process end it.
    runtime = Path(torch.__file__).parent / "lib" / "libomp.dylib"
    linked = [str(runtime), f"-Wl,-rpath,{runtime.parent}"] if runtime.is_file() else []
    yield ["-Xpreprocessor", "-fopenmp", *linked]
    yield []


def compiled(command: list[str], source: Path, folder: Path, threads: list[str]) -> Path:
    """Compile a file with ninja.

    Args:
        command: The compiler.
        source: The file.
        folder: An empty folder to do it in.
        threads: Options, one of `ways_of_threads`.

    Returns:
        The library.

    Raises:
        CompilerError: If that fails.
        OSError: If the folder cannot be written.
    """
    # All names are plain ones in this folder: the command alone has to be quoted, for ninja and the shell.
    shutil.copyfile(source, folder / source.name)
    words = shlex.join([*command, *FLAGS, source.name, "-o", "built.so", *threads])
    rule = f"rule compile\n  command = {words.replace('$', '$$')} >said 2>&1\n"
    build = f"build built.so: compile {source.name}\n"
    (folder / "build.ninja").write_text(rule + build, encoding="utf-8", errors="surrogateescape")
    try:
        done = subprocess.run(
            [_ninja()],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LONGEST,
        )
    except subprocess.TimeoutExpired:
        raise CompilerError(f"{command[0]}: not done after {_LONGEST} seconds", passing=True) from None
    if done.returncode != 0:
        said = folder / "said"
        ran = said.exists()  # else it was not the compiler that failed
        raise _failed(said.read_text(encoding="utf-8", errors="replace") if ran else done.stdout, command)
    return folder / "built.so"


def _failed(said: str, command: list[str]) -> CompilerError:
    """What a compiler's words come to: the first complaint among them."""
    lines = [line for line in said.splitlines() if line.strip()]
    first = next(filter(_COMPLAINT.search, lines), lines[0] if lines else "it does not say why")
    reason = f"{command[0]}: {one_line(first)}"
    return CompilerError(
        reason, passing=bool(_PASSING.search(said)), threads=bool(_ABOUT_THREADS.search(said))
    )


def _ninja() -> str:
    """The program ninja, of the package of this name or of the system."""
    places = os.environ.get("PATH", os.defpath)
    with suppress(ImportError, AttributeError):
        import ninja

        places = os.pathsep.join([ninja.BIN_DIR, places])
    found = shutil.which("ninja", path=places)
    if found is None:
        raise CompilerError("ninja is not installed")
    return found
