"""`styleclip sample`: generated faces, with their latents."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from styleclip_cli.cli import options
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.job import values
from styleclip_cli.job.outputs import check_outputs, check_picture

_of_sample = partial(typer.Option, rich_help_panel="Sample")


def sample(
    seed: Annotated[
        str, _of_sample("--seed", metavar="SEEDS", help="Seeds of the faces: 7, or 1-8, or 1-8,20.")
    ] = "1-8",
    truncation: Annotated[
        float | None,
        _of_sample(
            "--truncation",
            help="Truncation psi: scales the distance from the mean latent (1: no truncation).",
            show_default="the pack's",
        ),
    ] = None,
    out: Annotated[Path, options.of_output("--out", "-o", help="Folder to write to.")] = Path(
        "styleclip-samples"
    ),
    sheet: Annotated[
        Path | None,
        options.of_output(
            "--sheet", metavar="FILE", help="Also write a contact sheet of all faces.", show_default=False
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Generate faces from seeds; each is written as an image and a latent.

    Example: styleclip sample --seed 1-8 --out faces --sheet faces.png
    """
    reporter = Reporter(quiet)
    seeds = values.parse_seeds(seed)
    values.check_finite("--truncation", truncation)
    values.check_device(device)
    pictures = [out / f"seed{number}.png" for number in seeds]
    latents = [path.with_suffix(".npz") for path in pictures]
    if sheet is not None:
        check_picture(sheet)
    check_outputs([*pictures, *latents, *([sheet] if sheet is not None else [])], overwrite=overwrite)

    models = choose(models, reporter, offline)

    from styleclip_cli.engine import Engine
    from styleclip_cli.pictures.sheets import contact_sheet
    from styleclip_cli.save import save_image

    engine = Engine(models, device=device, progress=reporter.progress)
    made = []
    for number, path, latent in zip(seeds, pictures, latents, strict=True):
        w_plus = engine.sample([number], truncation)
        picture = engine.synthesize(engine.styles(w_plus))[0]
        if sheet is not None:
            made.append(picture)
        metadata = {"seed": number, "models": engine.pack.name, "fingerprint": engine.fingerprint}
        save_image(path, picture, metadata, mark="generated")
        engine.save_latents(latent, w_plus, [f"seed:{number}"])
        reporter.result(str(path))
    if sheet is not None:
        rows = [made[start : start + 8] for start in range(0, len(made), 8)]
        save_image(sheet, contact_sheet(rows), mark="generated")
        reporter.result(str(sheet))
