"""`styleclip invert`: pictures to latents."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from styleclip_cli.cli import inputs as io
from styleclip_cli.cli import options
from styleclip_cli.cli.batch import run_batch
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import PartialFailure, UsageError


def invert(
    inputs: options.Inputs,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Latent file to write (.npz); holds all inputs.", rich_help_panel="Output"
        ),
    ] = Path("latents.npz"),
    preview: Annotated[
        Path | None,
        typer.Option(
            "--preview",
            metavar="PICTURE",
            help="Also write a picture of the inputs beside what the latents show.",
            show_default=False,
            rich_help_panel="Output",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    steps: options.Steps = None,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    seed: options.Seed = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the latents of faces, to edit them again and again without a new search.

    Example: styleclip invert photos/ --out faces.npz --preview faces.png
    """
    reporter = Reporter(quiet)
    if out.suffix.lower() != ".npz":
        raise UsageError(f"{out}: latents are written as .npz", "--out latents.npz")
    options.check_device(device)
    items = io.expand(inputs)
    if preview is not None:
        io.check_picture(preview)
    io.check_outputs([out] if preview is None else [out, preview], overwrite=overwrite)

    models = choose(models, reporter, offline)

    import torch

    from styleclip_cli.cli.faces import note_alignment, open_face, w_plus_of
    from styleclip_cli.engine import Engine
    from styleclip_cli.save import contact_sheet, save_image

    engine = Engine(models, device=device, seed=seed, progress=reporter.progress)
    note_alignment(engine, items, reporter)
    found: list[torch.Tensor] = []
    names: list[str] = []
    rows = []

    def job(item: io.Item, path: Path) -> None:
        began = time.monotonic()
        face = open_face(item, engine.pack.resolution)
        w_plus = w_plus_of(engine, item, face, steps)
        found.append(w_plus)
        names.append(item.name)
        if preview is not None:
            shown = engine.synthesize(engine.styles(w_plus))[0]
            rows.append([shown if face is None else face[0], shown])
        reporter.result(f"{item.name}  {time.monotonic() - began:.1f} s")

    failure: PartialFailure | None = None
    try:
        run_batch([(item, out) for item in items], job)
    except PartialFailure as error:  # the others' latents are worth keeping
        failure = error
    engine.save_latents(out, torch.cat(found), names)
    if preview is not None:
        save_image(preview, contact_sheet(rows, column_labels=["input", "latent"]))
        reporter.result(str(preview))
    reporter.result(f"{out}  {len(found)} latents")
    if failure is not None:
        raise failure
