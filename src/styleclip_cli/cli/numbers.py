"""Measured numbers as JSON: into a file, or in the place of a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from styleclip_cli.cli import report
from styleclip_cli.cli.report import Reporter
from styleclip_cli.job.inputs import STREAM
from styleclip_cli.job.outputs import check_outputs
from styleclip_cli.machine.atomic import atomic


class Numbers:
    """Where a command's numbers go.

    Args:
        out: A file; "-" for standard output; None for nowhere.
        overwrite: Whether the file may exist.

    Attributes:
        on_stdout: Whether they take the place of tables.

    Raises:
        OutputError: If the file cannot be written.
    """

    def __init__(self, out: Path | None, overwrite: bool) -> None:
        self._out = out
        self.on_stdout = out is not None and str(out) == STREAM
        if out is not None and not self.on_stdout:
            check_outputs([out], overwrite=overwrite)

    def write(self, values: Any, reporter: Reporter) -> None:
        """Write them, if they are wanted.

        Raises:
            OutputError: If they cannot be written.
        """
        text = json.dumps(values, indent=2)
        if self.on_stdout:
            report.data(text, lines=True)
        elif self._out is not None:
            with atomic(self._out) as temporary:
                temporary.write_text(f"{text}\n", encoding="utf-8")
            reporter.result(str(self._out))
