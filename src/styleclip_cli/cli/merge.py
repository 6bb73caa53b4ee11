"""`styleclip merge`: merge the measurements of several machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styleclip_cli.cli import options
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import BadInputError, PartialFailure, UsageError
from styleclip_cli.settings import RelevanceMode

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine


def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER", help="Caches of other machines (STYLECLIP_CACHE_DIR there)."),
    ],
    into: Annotated[
        Path | None,
        options.of_output(
            "--into", metavar="FOLDER", help="Cache to copy to.", show_default="this machine's"
        ),
    ] = None,
    layers: options.Layers = None,
    relevance: Annotated[
        RelevanceMode,
        options.of_edit("--relevance", help="Which relevance is looked for: exact, preview or gradient."),
    ] = "exact",
    models: options.Models = None,
    offline: options.Offline = False,
    seed: options.Seed = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Merge measurements from other caches, and report what is still missing.

    For precompute-stats --shard on machines that do not share a cache. Every file is verified before it is
    copied. With --models, also reports which measurements of that pack this machine's cache still lacks.

    Example: styleclip merge node0/ node1/ --models toy
    """
    reporter = Reporter(quiet)
    if into is not None and models is not None:
        raise UsageError("--models looks into this machine's cache, not --into", "leave out one of them")
    for folder in folders:
        if not folder.is_dir():
            raise BadInputError(f"{folder}: no such folder", "the folder of a cache; styleclip cache where")
    if models is not None:
        models = choose(models, reporter, offline)

    from styleclip_cli.machine.cache import cache_dir
    from styleclip_cli.measure.merge import merge as merged

    failed = 0
    for folder in folders:
        found = merged(folder, into or cache_dir())
        for line in found.refused:
            reporter.note(line)
        failed += len(found.refused)
        reporter.result(f"{folder}  {found.copied} copied  {found.known} were there already")
    if models is not None:
        from styleclip_cli.engine import Engine

        _tell(Engine(models, device="cpu", seed=seed, layers=layers, relevance=relevance), reporter)
    if failed:
        raise PartialFailure(f"{failed} files were not copied")


def _tell(engine: Engine, reporter: Reporter) -> None:
    """Say what is still to be measured."""
    left = engine.left()
    for kind, (missing, pieces) in left.items():
        if missing:
            reporter.result(f"{kind}: {missing} of {pieces} pieces are missing")
    if not any(missing for missing, _ in left.values()):
        reporter.result("nothing is missing")
