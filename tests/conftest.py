"""Every test has its own cache and one thread, and none reads the person's settings."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from pathlib import Path

import pytest

# For the processes that tests start, from folders of their own:
os.environ["OMP_NUM_THREADS"] = "1"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script; it would be inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Kernels for GPUs are interpreted, whichever test imports Triton first.
os.environ["TRITON_INTERPRET"] = "1"
if "PYTHONPATH" in os.environ:
    os.environ["PYTHONPATH"] = os.pathsep.join(
        str(Path(entry).absolute()) for entry in os.environ["PYTHONPATH"].split(os.pathsep)
    )


@pytest.fixture(scope="session")
def _kernels(tmp_path_factory):
    """Where kernels are built: once for all tests and the processes they start, in parallel or not."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "kernels"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    """A pack of tiny random networks; who changes one makes their own."""
    from tiny_pack import make_pack

    return make_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture(autouse=True)
def _alone(tmp_path_factory, monkeypatch, _kernels):
    import torch

    from styleclip_cli.machine import process

    torch.set_num_threads(1)
    for name in [n for n in os.environ if n.startswith("STYLECLIP_")]:
        monkeypatch.delenv(name)
    # Where nothing can be kept in the cache, kernels lie there, and `cache prune` removes them.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
    monkeypatch.setattr(process, "chosen", process.Choices())
    logger = logging.getLogger("styleclip_cli")  # --quiet, in a test before this one, left it silent
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    logger.setLevel(logging.NOTSET)
    cache = tmp_path_factory.mktemp("cache")
    (cache / "kernels").symlink_to(_kernels)
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(cache))
    monkeypatch.setenv("STYLECLIP_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def nothing_built(monkeypatch, tmp_path):
    """Where kernels will be kept: an empty cache, in a process that has built nothing yet."""
    from styleclip_cli.nets.ops import building

    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(building, "_built", building.cache(building._built.__wrapped__))
    return tmp_path / "kernels"
