"""Every test has its own cache, one thread and the same random numbers, and none reads the person's settings.

They pass in any order: each run has another one, whose seed is its first line. `--randomly-seed=SEED` repeats
it, `--randomly-dont-reorganize` takes the order of the files.
"""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import warm

# For the processes that tests start, from folders of their own:
os.environ["OMP_NUM_THREADS"] = "1"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script; it would be inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Kernels for GPUs are interpreted, whichever test imports Triton first.
os.environ["TRITON_INTERPRET"] = "1"
# Nor is anything of face-alignment's compiled: that takes longer than all it does.
os.environ["NUMBA_DISABLE_JIT"] = "1"
if "PYTHONPATH" in os.environ:
    os.environ["PYTHONPATH"] = os.pathsep.join(
        str(Path(entry).absolute()) for entry in os.environ["PYTHONPATH"].split(os.pathsep)
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say the seed of the order: with -q pytest leaves out the header that has it."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    seed = session.config.getoption("randomly_seed", None)
    if reporter is not None and seed is not None and session.config.get_verbosity() < 0:
        reporter.write_line(f"order of the tests: --randomly-seed={seed}")


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """What several tests share is the same, whichever of them comes first, and leaves no trace in it."""
    if fixturedef.scope == "function":
        return (yield)
    import torch

    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return (yield)


class _NoPython(subprocess.Popen):
    """Starts no Python."""

    def __init__(self, args: Any, *others: Any, **named: Any) -> None:
        assert sys.executable not in str(args), "a test that starts Python has the marker `subprocess`"
        super().__init__(args, *others, **named)


@pytest.fixture(scope="session")
def _kernels(tmp_path_factory):
    """Where kernels are built: once for all tests and the processes they start, in parallel or not."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "kernels"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder.parent / "texts").mkdir(exist_ok=True)  # beside them: what CLIPs say of texts that mean nothing
    return folder


@pytest.fixture(scope="session")
def _homes(tmp_path_factory, _kernels) -> Iterator[Path]:
    """Folders for one test each; pytest would look through all that there are before it makes one."""
    base = tmp_path_factory.mktemp("homes")

    def made() -> Iterator[Path]:
        for number in itertools.count():
            folder = base / str(number)
            for name in ("cache", "home", "temporary"):
                (folder / name).mkdir(parents=True)
            (folder / "cache" / "kernels").symlink_to(_kernels)
            (folder / "cache" / "texts").symlink_to(_kernels.parent / "texts")
            yield folder

    return made()


def _at_home(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """A cache and a home of its own, for a test or what several share."""
    for name in [n for n in os.environ if n.startswith("STYLECLIP_")]:
        patch.delenv(name)
    patch.delenv("COLUMNS", raising=False)
    patch.setenv("STYLECLIP_CACHE_DIR", str(folder / "cache"))
    patch.setenv("STYLECLIP_HOME", str(folder / "home"))


@pytest.fixture(scope="session", autouse=True)
def _nobody(_homes) -> Iterator[None]:
    """What several tests share is made before any test has a home."""
    with pytest.MonkeyPatch.context() as patch:
        _at_home(patch, next(_homes))
        yield


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    """A pack of tiny random networks; who changes one makes their own."""
    from tiny_pack import make_pack

    return make_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture(autouse=True)
def _alone(request, monkeypatch, _homes):
    import torch

    from styleclip_cli.machine import process

    torch.set_num_threads(1)
    torch.manual_seed(0)
    starts = request.node.get_closest_marker("subprocess")
    if starts is None:
        monkeypatch.setattr(subprocess, "Popen", _NoPython)
    elif starts.kwargs:
        monkeypatch.setattr(subprocess, "Popen", warm.popen(**starts.kwargs))
    folder = next(_homes)
    _at_home(monkeypatch, folder)
    # Where nothing can be kept in the cache, kernels lie there, and `cache prune` removes them.
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    monkeypatch.setattr(process, "chosen", process.Choices())
    # Commands keep warnings from people; here they are errors.
    command = importlib.import_module("styleclip_cli.cli.main")
    monkeypatch.setattr(command, "warnings", SimpleNamespace(simplefilter=lambda action: None))
    logger = logging.getLogger("styleclip_cli")  # --quiet, in a test before this one, left it silent
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def nothing_built(monkeypatch, tmp_path):
    """Where kernels will be kept: an empty cache, in a process that has built nothing yet."""
    from styleclip_cli.nets.ops import building

    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(building, "_built", building.cache(building._built.__wrapped__))
    return tmp_path / "kernels"
