"""Which parts may not import which: arrows of the house that go one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import styleclip_cli

ROOT = Path(styleclip_cli.__file__).parent
_NO_WORLD = ("truth", "cli", "job", "check", "studio", "engine", "edits", "photo", "weights")
NEVER = [
    ("job", "styleclip_cli.cli"),
    ("studio", "styleclip_cli.cli"),
    *(("evaluation", f"styleclip_cli.{room}") for room in ("cli", "toyworld", "truth", "world", "studio")),
    *((room, "styleclip_cli.toyworld") for room in ("truth", "cli", "job", "check", "studio", "engine")),
    *(
        (room, "styleclip_cli.world")
        for room in ("truth", "toyworld", "cli", "job", "check", "studio", "engine")
    ),
    *((room, "styleclip_cli.engine") for room in ("edits", "inversion", "measure", "training", "pictures")),
    *((room, "styleclip_cli.engine") for room in ("inverter", "networks", "weights", "nets")),
    *((room, "styleclip_cli.networks") for room in ("inversion", "nets", "renderer")),
    *(("nets", f"styleclip_cli.{room}") for room in ("weights", "edits", "inversion")),
    ("photo.portrait", "styleclip_cli.engine"),
    ("recipe", "styleclip_cli.save"),
    ("job.inputs", "styleclip_cli.job.request"),
    ("", "toyworld_training"),
    ("", "world_training"),
    *((room.stem, "typer") for room in ROOT.iterdir() if room.stem not in ("cli", "__pycache__")),
]


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(module: str, room: str) -> bool:
    return room == "" or module == room or module.startswith(f"{room}.")


@pytest.mark.parametrize(
    ("room", "other"), NEVER, ids=lambda name: name.removeprefix("styleclip_cli.") or "product"
)
def test_arrows_that_are_not(room: str, other: str) -> None:
    found = set()
    for path in ROOT.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if is_in(module, room):
            found |= {(module, one) for one in imports(path) if is_in(one, other)}
    assert not found, "no such arrow"
