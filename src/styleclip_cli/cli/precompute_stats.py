"""`styleclip precompute-stats`: measure now what the first edit would otherwise measure."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from styleclip_cli.cli import options
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.job import values
from styleclip_cli.job.outputs import check_outputs
from styleclip_cli.machine.shards import Shard, own_device, rank
from styleclip_cli.settings import RelevanceMode


def precompute_stats(
    out: Annotated[
        Path | None,
        options.of_output(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Also write statistics.npz and relevance.npz here, to be published with a pack.",
            show_default=False,
        ),
    ] = None,
    layers: options.Layers = None,
    relevance: Annotated[
        RelevanceMode,
        options.of_edit(
            "--relevance",
            help="How the relevance of the style channels is measured. exact: as in the paper (hours at "
            "1024 pixels); preview: on smaller images; gradient: estimated from derivatives.",
        ),
    ] = "exact",
    shard: options.ShardOption = None,
    overwrite: options.Overwrite = False,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    seed: options.Seed = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure the statistics and relevance of the style channels, and cache them.

    It can be stopped and restarted at any time: finished work is kept. With several processes that share the
    cache: torchrun --nproc-per-node 2 -m styleclip_cli precompute-stats ... On machines that do not share
    it, use --shard on each and then styleclip merge.

    Example: styleclip precompute-stats --models toy
    """
    presents = rank() == 0
    reporter = Reporter(quiet or not presents)
    values.check_device(device)
    part = Shard.parse(shard)
    paths = [] if out is None else [out / "statistics.npz", out / "relevance.npz"]
    check_outputs(paths, overwrite=overwrite)

    models = choose(models, reporter, offline)

    from styleclip_cli.engine import Engine
    from styleclip_cli.job.together import measure

    engine = Engine(
        models,
        device=own_device(device),
        seed=seed,
        layers=layers,
        progress=reporter.progress,
        relevance=relevance,
    )
    began = time.monotonic()
    measure(engine, part)
    if not presents:
        return
    missing, pieces = engine.left().get("relevance", (0, 0)) if part.count > 1 else (0, 0)
    if missing:
        reporter.result(
            f"shard {part.index}/{part.count} is done, {missing} of {pieces} pieces of the relevance are not "
            f"measured yet  {time.monotonic() - began:.1f} s"
        )
        return
    statistics = engine.statistics()
    reporter.result(f"statistics of {len(statistics.mean)} channels  {time.monotonic() - began:.1f} s")
    found = engine.relevance()
    reporter.result(f"relevance of {len(found.channels)} channels  {time.monotonic() - began:.1f} s")
    if out is not None:
        engine.publish(out)
        for path in paths:
            reporter.result(str(path))
