"""`styleclip models check`: whether a pack does on this machine what its makers expect of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styleclip_cli.cli import options, report
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import PartialFailure
from styleclip_cli.job import values
from styleclip_cli.job.outputs import check_outputs, check_picture

if TYPE_CHECKING:
    from styleclip_cli.check.report import Check, Report

_MARKS = {"passed": "passed", "failed": "FAILED", "not applicable": "-"}


def check(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a pack, or a folder with one.", show_default=False)
    ],
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object (schema styleclip.check/1), as a bug report needs it."
        ),
    ] = False,
    sheet: Annotated[
        Path | None,
        options.of_output(
            "--sheet", metavar="FILE", help="Save a sheet of what was looked at.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Seed of the first sample.")] = 0,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Check what a pack does on this machine: its networks agree with each other, and edits work.

    Samples of the generator are found as faces, inverted, edited and measured, and held against what the
    pack's file expects; what it says nothing of is not applicable. Takes a minute for the toy pack, a few
    for 1024 pixels. The exit code is 7 if a check fails.

    Example: styleclip models check ffhq --sheet check.png
    """
    reporter = Reporter(quiet, json=as_json)
    values.check_device(device)
    if sheet is not None:
        check_picture(sheet)
        check_outputs([sheet], overwrite=overwrite)

    from styleclip_cli.check.run import check_pack
    from styleclip_cli.save import save_image

    found = check_pack(name, seed=seed, progress=reporter.progress, device=device)
    if as_json:
        report.data(json.dumps(found.entries(), allow_nan=False))
    if sheet is not None and found.sheet is not None:
        save_image(sheet, found.sheet)
    present(found, reporter)
    if sheet is not None and found.sheet is not None:
        reporter.note(f"what was looked at: {sheet}")
    fail_if_needed(found)


def present(found: Report, reporter: Reporter) -> None:
    """Tell what the checks of a pack found: a table, what is probably wrong, and a line that counts."""
    if reporter.json:
        return
    rows = [(one.name, _MARKS[one.status], _measured(one), f"{one.seconds:.1f}") for one in found.checks]
    reporter.table(("check", "", "measured", "s"), rows, found.pack, numbers=1)
    for line in _conclusion(found):
        reporter.result(line)


def lines(found: Report) -> list[str]:
    """The same as lines, for the middle of another command."""
    return [
        *(f"  {_MARKS[one.status]:6s} {one.name}: {_measured(one)}" for one in found.checks),
        *_conclusion(found),
    ]


def _conclusion(found: Report) -> Iterator[str]:
    """What is probably wrong, and how many checks passed."""
    for one in found.failed:
        yield f"{one.name}: probably {one.probably}"
        yield f"  try: {one.hint}"
    yield found.counts
    if found.suspects:
        yield f"probably wrong: its {' or its '.join(found.suspects)}"


def fail_if_needed(found: Report) -> None:
    """End with an error if a check failed.

    Raises:
        PartialFailure: If one did.
    """
    if found.failed:
        raise PartialFailure(
            f"{len(found.failed)} of {len(found.checks)} checks of the model pack {found.pack} failed",
            f"styleclip models verify {found.pack}, then report it with styleclip models check --json",
        )


def _measured(one: Check) -> str:
    return one.told or "; ".join(map(str, one.values))
