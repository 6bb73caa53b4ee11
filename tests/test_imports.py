"""Who may import whom (docs/design.md), for types too; nothing is run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "styleclip_cli"
NEVER = [
    ("edits", "engine"),
    ("inversion", "engine"),
    ("inversion", "networks"),
    ("measure", "engine"),
    ("training", "engine"),
    ("pictures", "engine"),
    ("nets", "networks"),
    ("nets", "weights"),
    ("nets", "edits"),
    ("nets", "inversion"),
    ("renderer", "networks"),
    ("inverter", "engine"),
    ("networks", "engine"),
    ("weights", "engine"),
    ("toyworld", "toyworld_training"),
]


def imported(path: Path) -> set[str]:
    """Modules that a file imports, with dots, without the package's name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("styleclip_cli.") for name in names}


def files_of(room: str) -> list[Path]:
    folder = PACKAGE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{room}.py"]


@pytest.mark.parametrize(("room", "other"), NEVER)
def test_arrows_that_must_not_be(room: str, other: str) -> None:
    found = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files_of(room)
        for name in imported(path)
        if name == other or name.startswith(f"{other}.")
    }
    assert not found
