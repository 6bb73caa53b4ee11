"""Measured numbers in a file, or as JSON in the place of a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
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

    def write(self, values: Any, reporter: Reporter, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write them, if they are wanted.

        Args:
            values: What JSON holds.
            reporter: Tells the file's name.
            rows: What a .csv file holds instead, where there are any.

        Raises:
            OutputError: If they cannot be written.
        """
        table = rows and self._out is not None and self._out.suffix.lower() == ".csv"
        text = _csv(rows) if table else json.dumps(values, indent=2)
        if self.on_stdout:
            report.data(text, lines=True)
        elif self._out is not None:
            with atomic(self._out) as temporary:
                temporary.write_text(f"{text}\n", encoding="utf-8")
            reporter.result(str(self._out))


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV: texts and numbers as they are, lists and tables as JSON."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: json.dumps(one) if isinstance(one, (list, dict)) else one for key, one in row.items()}
        )
    return text.getvalue().rstrip("\n")
