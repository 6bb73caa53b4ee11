"""The numbers of a training run: a line of JSON each time, and TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from styleclip_cli.errors import OutputError
from styleclip_cli.machine.atomic import atomic

FILE, BOARD = "log.jsonl", "tensorboard"


class Journal:
    """Appends numbers to a folder's log.

    Args:
        folder: Of the run.
        since: Lines from this step on are dropped: a run that was killed had gone further than what it saved.

    Raises:
        OutputError: If it cannot be written.
    """

    def __init__(self, folder: Path, since: int) -> None:
        self._path = folder / FILE
        kept = [line for line in read(folder) if line["step"] <= since]
        with atomic(self._path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._board = _board(folder / BOARD, since)

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Add one line.

        Args:
            step: How many steps were done.
            kind: "train" or "validation".
            values: The numbers by name.

        Raises:
            OutputError: If it cannot be written.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror})") from None
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Let go of what is open."""
        if self._board is not None:
            self._board.close()


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log that are whole; none if there is no log."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:  # the last one, cut short
            continue
        if isinstance(values, dict) and isinstance(values.get("step"), int):
            lines.append(values)
    return lines


def _board(folder: Path, since: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except Exception:  # not installed, or not for this NumPy
        return None
    return SummaryWriter(str(folder), purge_step=since + 1)
