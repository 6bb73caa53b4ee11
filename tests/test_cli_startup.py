"""Help, version and argument errors come in a blink: nothing heavy is imported for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.subprocess(warm="cli")
HEAVY = ("torch", "numpy", "PIL", "safetensors", "clip", "torchvision")
PROBE = f"""
import sys
from styleclip_cli.cli import main
code = main(sys.argv[1:])
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print(f"code={{code}} heavy={{heavy}}", file=sys.stderr)
"""


def probe(*arguments: str) -> tuple[subprocess.CompletedProcess[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True
    )
    return done, done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["-h"], 0),
        (["--version"], 0),
        ([], 2),
        (["edit", "--help"], 0),
        (["invert", "--help"], 0),
        (["sample", "--help"], 0),
        (["find-direction", "--help"], 0),
        (["precompute-stats", "--help"], 0),
        (["transfer", "--help"], 0),
        (["train-mapper", "--help"], 0),
        (["mappers", "--help"], 0),
        (["demo", "--help"], 0),
        (["evaluate", "--help"], 0),
        (["info", "--help"], 0),
        (["models", "--help"], 0),
        (["models", "pull", "--help"], 0),
        (["models", "check", "--help"], 0),
        (["models", "check", "toy", "--sheet", "sheet.xyz"], 2),
        (["models", "check", "toy", "--device", "tpu"], 6),
        (["cache", "--help"], 0),
        (["studio", "--help"], 0),
        (["doctor", "--help"], 0),
        (["studio", "--device", "tpu"], 6),
        (["edit", "seed:1", "--prompt", "x", "--dry-run"], 0),
        (["edit", "seed:1", "--prompt", "x", "--name", "{bad}"], 2),
        (["edit", "--manifest", "absent.csv"], 3),
        (["edti"], 2),
        (["edit"], 2),
        (["edit", "seed:1"], 2),
        (["edit", "seed:1", "--prompt", "smiling", "--alpha", "abc"], 2),
        (["edit", "seed:1", "--prompt", "smiling", "--device", "tpu"], 6),
        (["edit", "absent.png", "--prompt", "smiling"], 3),
        (["edit", "seed:1", "--method", "optimize", "--prompt", "x", "--space", "z"], 2),
        (["edit", "seed:1", "--prompt", "x", "--mapper", "y"], 2),
        (["edit", "seed:1", "--prompt", "x", "--composite", "z"], 2),
        (["edit", "seed:1", "--mapper", "absent", "--models", "toy"], 3),
        (["train-mapper", "--prompt", "x", "--levels", "bad"], 2),
        (["train-mapper", "--prompt", "x", "--latents", "absent.pt"], 3),
        (["transfer", "seed:1", "--from", "seed:2"], 2),
    ],
)
def test_nothing_heavy_is_imported(arguments: list[str], code: int) -> None:
    _, last = probe(*arguments)
    assert last == f"code={code} heavy=[]"


def test_version_is_one_line() -> None:
    from styleclip_cli import __version__

    done, _ = probe("--version")
    assert done.stdout == f"styleclip {__version__}\n"


def test_bare_command_shows_the_commands() -> None:
    done, _ = probe()
    assert "find-direction" in done.stdout
    assert "error" not in done.stderr


@pytest.mark.subprocess
def test_importing_the_package_is_light() -> None:
    code = f"import styleclip_cli, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_closed_pipe_is_silent() -> None:
    command = f"{sys.executable} -m styleclip_cli edit --help | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
