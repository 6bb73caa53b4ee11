"""`styleclip precompute-stats`: measure now what the first edit would otherwise measure."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from styleclip_cli.cli import inputs as io
from styleclip_cli.cli import options
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter


def precompute_stats(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Also write statistics.npz and relevance.npz here, to be published with a pack.",
            show_default=False,
            rich_help_panel="Output",
        ),
    ] = None,
    layers: options.Layers = None,
    overwrite: options.Overwrite = False,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    seed: options.Seed = None,
    quiet: options.Quiet = False,
) -> None:
    """Measure the style channels' statistics and relevance, and keep them in the cache.

    Not needed by hand: an edit measures what is missing.

    Example: styleclip precompute-stats --models toy
    """
    reporter = Reporter(quiet)
    options.check_device(device)
    chosen_layers = options.check_layers(layers)
    paths = [] if out is None else [out / "statistics.npz", out / "relevance.npz"]
    io.check_outputs(paths, overwrite=overwrite)

    models = choose(models, reporter, offline)

    from styleclip_cli.engine import Engine

    engine = Engine(models, device=device, seed=seed, layers=chosen_layers, progress=reporter.progress)
    began = time.monotonic()
    statistics = engine.statistics()
    reporter.result(f"statistics of {len(statistics.mean)} channels  {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    relevance = engine.relevance()
    reporter.result(f"relevance of {len(relevance.channels)} channels  {time.monotonic() - began:.1f} s")
    if out is not None:
        engine.publish(out)
        for path in paths:
            reporter.result(str(path))
