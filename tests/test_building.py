"""Kernels are built where nobody else can write, by any compiler, and checked before they run."""

from __future__ import annotations

import logging
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from networks import layer
from styleclip_cli.cli import main
from styleclip_cli.machine import private
from styleclip_cli.nets import ops
from styleclip_cli.nets.ops import building, compiling, reference

COMPILER = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
pytestmark = pytest.mark.skipif(COMPILER is None or sys.platform == "win32", reason="no C++ compiler here")

HOSTILE = """#include <cstdio>
#include <cstdlib>
__attribute__((constructor)) static void run() { std::fclose(std::fopen(MARK, "w")); }
extern "C" { long packed_size_float() { return 0; } long packed_size_double() { return 0; } }
"""


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Sets a compiler that runs lines of shell before the real one."""

    def make(lines: str) -> Path:
        path = tmp_path / "stub" / "c++"
        path.parent.mkdir(exist_ok=True)
        real = shlex.quote(str(COMPILER))
        path.write_text(
            f'#!/bin/sh\nif test "$*" = --version; then echo a stub; exit; fi\n{lines}\nexec {real} "$@"\n'
        )
        path.chmod(0o755)
        monkeypatch.setenv("CXX", str(path))
        return path

    return make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile without optimising, in a second."""
    flags = [flag for flag in compiling.FLAGS if flag not in ("-O3", "-march=native")]
    monkeypatch.setattr(compiling, "FLAGS", [*flags, "-O0"])


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files lie."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def again() -> object:
    """What the next process has."""
    building._built.cache_clear()
    return building.library()


def right() -> bool:
    """Whether the kernels are used, and compute what they should."""
    case = layer((2, 16, 32, 9, 13, 0.7), False, torch.float32)
    found, wanted = ops.styled_conv(**case), reference.styled_conv(**case)
    return not torch.equal(found, wanted) and torch.allclose(found, wanted, rtol=1e-4, atol=1e-4)


def give_away(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Let files be another user's."""
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, 12345, 12345)
        return
    theirs, usual = [path.stat().st_ino for path in paths], private.is_own
    monkeypatch.setattr(private, "is_own", lambda found: found.st_ino not in theirs and usual(found))


def hostile_folder(folder: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's folder, with a library under the name of ours that leaves a mark where it is loaded."""
    folder.mkdir(parents=True)
    source = folder / "hostile.cpp"
    source.write_text(HOSTILE)
    library = folder / f"{building._key(compiling.compiler())}.so"
    subprocess.run(
        [str(COMPILER), "-shared", "-fPIC", f'-DMARK="{mark}"', str(source), "-o", str(library)], check=True
    )
    checksum = building._checksum(library)
    checksum.write_text(building._sha256(library.read_bytes()))
    give_away(monkeypatch, folder, library, checksum)


@pytest.mark.usefixtures("quick")
def test_the_folder_of_another_user_is_left_alone(
    nothing_built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a cache in /tmp, where others may make the folder first."""
    nothing_built.parent.chmod(0o1777)
    mark = tmp_path / "mark"
    hostile_folder(nothing_built, mark, monkeypatch)
    before = sorted(nothing_built.iterdir())
    assert right()
    assert not mark.exists()
    assert sorted(nothing_built.iterdir()) == before
    own = nothing_built.with_name(f"kernels-{os.geteuid()}")
    assert own.stat().st_mode & 0o777 == 0o700
    assert len(list(own.glob("*.so"))) == 1


@pytest.mark.usefixtures("quick")
def test_a_folder_that_a_group_may_write_to_is_not_used(nothing_built: Path) -> None:
    nothing_built.mkdir()
    nothing_built.chmod(0o2775)
    assert right()
    assert not list(nothing_built.iterdir())


@pytest.mark.usefixtures("quick")
def test_a_folder_swapped_while_kernels_are_built_does_not_matter(
    nothing_built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stub: Callable[[str], Path]
) -> None:
    """As in a cache that a group may write to."""
    if private.by_descriptor(0) is None:
        pytest.skip("no names of open files here")
    nothing_built.parent.chmod(0o2775)
    mark, theirs, moved = tmp_path / "mark", tmp_path / "theirs", tmp_path / "moved"
    stub(f"mv {nothing_built} {moved}; mv {theirs} {nothing_built}")
    hostile_folder(theirs, mark, monkeypatch)
    inside = {path.name for path in theirs.iterdir()}
    assert right()
    assert {path.name for path in nothing_built.iterdir()} == inside, "theirs was written to"
    assert len(list(moved.glob("*.so"))) == 1
    stub("")
    assert again() is not None
    assert right()
    assert not mark.exists()


@pytest.mark.usefixtures("quick")
def test_a_link_in_the_place_of_the_library_is_not_followed(nothing_built: Path, tmp_path: Path) -> None:
    assert building.library() is not None
    (path,) = nothing_built.glob("*.so")
    path.rename(tmp_path / "elsewhere.so")
    path.symlink_to(tmp_path / "elsewhere.so")
    assert again() is not None
    assert not path.is_symlink()


def test_a_library_is_loaded_from_a_copy_where_open_files_have_no_names(
    nothing_built: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    monkeypatch.setattr(private, "by_descriptor", lambda descriptor: None)
    assert right()
    assert not list(temporary.iterdir())


@pytest.mark.usefixtures("quick")
def test_a_damaged_library_is_built_again_and_never_loaded(
    nothing_built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the process that loads it, a truncated one would end it, and a flipped bit give other pictures."""
    assert building.library() is not None
    (path,) = nothing_built.glob("*.so")
    whole = path.read_bytes()
    built = []

    def copied(command: list[str], source: Path, folder: Path, threads: list[str]) -> Path:
        built.append(threads)
        (folder / "built.so").write_bytes(whole)
        return folder / "built.so"

    monkeypatch.setattr(compiling, "compiled", copied)
    chance = random.Random(0)
    for number in range(40):
        damaged = bytearray(whole)
        if number % 2:
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        else:
            del damaged[chance.randrange(len(whole)) :]
        path.write_bytes(damaged)
        assert again() is not None
        assert path.read_bytes() == whole
        assert right()
    assert len(built) == 40
    assert again() is not None
    assert len(built) == 40
    building._checksum(path).write_text("0" * 64)
    assert again() is not None
    assert len(built) == 41


@pytest.mark.subprocess(warm="torch")
@pytest.mark.usefixtures("nothing_built")
def test_a_library_overwritten_in_place_does_not_end_the_process_that_has_it() -> None:
    """What is mapped from a file changes with it."""
    program = """
from pathlib import Path
import os, sys
from styleclip_cli.nets.ops import building, compiling
compiling.FLAGS = [flag for flag in compiling.FLAGS if flag != "-O3"]
assert building.library() is not None
(path,) = (Path(os.environ["STYLECLIP_CACHE_DIR"]) / "kernels").glob("*.so")
path.write_bytes(bytes(path.stat().st_size))
assert building.library().packed_size_float(3, 3) is not None
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", ["with space", "a$b", "it's", "ümlaut", "a;b & c"])
@pytest.mark.usefixtures("quick")
def test_folders_and_compilers_may_have_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_built: Path
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "c++").symlink_to(str(COMPILER))
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(folder / "cache"))
    monkeypatch.setenv("CXX", str(folder / "c++"))
    assert building.library() is not None
    assert list((folder / "cache" / "kernels").glob("*.so"))


@pytest.mark.subprocess
def test_torchs_own_builder_and_its_remarks_about_cuda_are_left_out() -> None:
    program = "import sys, styleclip_cli.nets.ops.building; print('torch.utils.cpp_extension' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (ended.stdout.strip(), ended.stderr) == ("False", "")


@pytest.mark.usefixtures("nothing_built", "quick")
def test_a_compiler_may_have_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", f"env {COMPILER} -fno-strict-aliasing")
    assert right()


@pytest.mark.parametrize("cxx", ["no-such-compiler", "'unclosed"])
@pytest.mark.usefixtures("nothing_built")
def test_a_compiler_that_is_not_there_is_named(
    cxx: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", cxx)
    assert building.library() is None
    assert f"CXX={cxx}: " in caplog.text


APPLE = """last=; for word in "$@"; do
if test "$word" = -fopenmp && test "$last" != -Xpreprocessor; then
echo "clang: error: unsupported option '-fopenmp'" >&2; exit 1
fi; last=$word; done
"""


@pytest.mark.usefixtures("nothing_built", "quick")
def test_a_compiler_that_refuses_the_plain_option_of_openmp_builds_with_threads(
    stub: Callable[[str], Path],
) -> None:
    stub(APPLE)
    assert building.library() is not None
    torch.set_num_threads(3)
    assert right()


@pytest.mark.usefixtures("quick")
def test_a_compiler_without_openmp_builds_without_threads(
    nothing_built: Path, stub: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    stub('case "$*" in *-fopenmp*) echo "ld: library \'-lomp\' not found" >&2; exit 1;; esac')
    torch.set_num_threads(3)
    assert right()
    (path,) = nothing_built.glob("*.so")
    assert b"GOMP" not in path.read_bytes()
    assert "without fast kernels" not in caplog.text


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("cc1plus: fatal: this is a stub", "cc1plus: fatal: this is a stub"),
        ("In file included from x:1:\nx:2:3: error: no type\nx:9: error: later", "x:2:3: error: no type"),
        ("", "it does not say why"),
    ],
)
def test_a_failed_build_says_what_the_compiler_said(
    said: str, told: str, nothing_built: Path, stub: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    compiler = stub(f"test -z '{said}' || echo '{said}' >&2; exit 1")
    assert building.library() is None
    assert caplog.messages[-1].endswith(f"the same results: {compiler}: {told}")
    assert [path.suffix for path in nothing_built.iterdir()].count(".failed") == 1


@pytest.mark.usefixtures("quick")
def test_what_passes_by_itself_is_not_recorded(
    nothing_built: Path, stub: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    stub("echo 'g++: fatal error: Killed signal terminated program cc1plus' >&2; exit 1")
    assert building.library() is None
    assert "Killed" in caplog.text
    assert not list(nothing_built.glob("*.failed"))
    stub("")
    assert again() is not None


@pytest.mark.usefixtures("quick")
def test_a_failure_dated_in_the_future_or_an_hour_ago_is_not_heeded(nothing_built: Path) -> None:
    assert building.library() is not None
    (path,) = nothing_built.glob("*.so")
    failure = path.with_suffix(".failed")
    for ago, heeded in ((60, True), (3700, False), (-7 * 86_400, False)):
        path.unlink(missing_ok=True)
        failure.touch()
        os.utime(failure, (time.time() - ago,) * 2)
        assert (again() is None) == heeded


@pytest.mark.usefixtures("quick")
def test_a_library_that_cannot_be_loaded_is_not_built_by_every_command(
    nothing_built: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(descriptor: int, content: bytes) -> None:
        raise OSError("failed to map segment from shared object")

    monkeypatch.setattr(building, "_loaded", refused)
    assert building.library() is None
    assert f"cannot be loaded from {nothing_built}" in caplog.text
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    assert again() is None
    assert not caplog.records


@pytest.mark.usefixtures("quick")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs names of open files")
def test_kernels_are_kept_among_temporary_files_where_nothing_may_be_run_from_the_cache(
    nothing_built: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(descriptor: int) -> object:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        return os.statvfs_result([4096, 4096, *[1] * 6, 8 * (path.parent == nothing_built.parent), 255])

    monkeypatch.setattr(os, "ST_NOEXEC", 8, raising=False)
    monkeypatch.setattr(os, "fstatvfs", of)
    assert building.library() is not None
    assert not list(nothing_built.glob("*.so"))
    assert list(temporary.glob(f"styleclip-kernels-{os.geteuid()}/*.so"))


def test_where_nothing_can_be_kept_it_says_why(
    nothing_built: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in (nothing_built, nothing_built.with_name(f"kernels-{os.geteuid()}")):
        folder.touch()
    shutil.rmtree(temporary)
    temporary.touch()
    assert building.library() is None
    assert f"{nothing_built}: nothing can be kept there (File exists)" in caplog.text
    assert "/proc/" not in caplog.text


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
@pytest.mark.usefixtures("quick", "temporary")
def test_what_a_killed_build_leaves_goes_with_the_next_one_or_when_the_cache_is_pruned(
    nothing_built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stub: Callable[[str], Path]
) -> None:
    def left() -> list[Path]:
        return [path for path in nothing_built.iterdir() if path.is_dir()]

    started = tmp_path / "started"
    stub(f"touch {started}; exec sleep 60")
    code = "from styleclip_cli.nets.ops.building import library; library()"
    for end in ("prune", "build"):
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, process_group=0)
        while not started.exists():
            time.sleep(0.02)
        assert main(["cache", "prune"]) == 0
        assert left(), "it is at work"
        os.killpg(process.pid, 9)
        process.wait()
        started.unlink()
        assert left()
        if end == "prune":
            assert main(["cache", "prune"]) == 0
        else:
            stub("echo no >&2; exit 1")
            monkeypatch.setattr(building, "_key", lambda command: left()[0].name.partition(".")[0])
            assert again() is None
        assert not left()
