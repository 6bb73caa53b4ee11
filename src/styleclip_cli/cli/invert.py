"""`styleclip invert`: pictures to latents."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styleclip_cli.cli import inputs as io
from styleclip_cli.cli import options
from styleclip_cli.cli.batch import run_batch
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import PartialFailure, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from styleclip_cli.inversion import Inversion


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
    faces: Annotated[
        Path | None,
        typer.Option(
            "--faces",
            metavar="FOLDER",
            help="Also write each photo with its faces numbered, as --face counts them.",
            show_default=False,
            rich_help_panel="Output",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    face: options.Face = "largest",
    no_align: options.NoAlign = False,
    max_megapixels: options.MaxMegapixels = 100,
    inverter: options.Inverter = None,
    steps: options.Steps = None,
    noise: options.Noise = False,
    budget: options.Budget = None,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    seed: options.Seed = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Find the latents of faces, to edit them again and again without a new search.

    Says how close each comes: mean squared error, perceptual distance, identity (cosine), and the time.

    Example: styleclip invert photos/ --inverter pivotal --out faces.npz --preview faces.png
    """
    reporter = Reporter(quiet)
    if out.suffix.lower() != ".npz":
        raise UsageError(f"{out}: latents are written as .npz", "--out latents.npz")
    options.check_device(device)
    options.check_face(face)
    chosen_inverter = options.check_inverter(inverter)
    seconds = options.parse_budget(budget)
    options.check_inversion(chosen_inverter, steps, noise)
    items = io.expand(inputs, max_megapixels)
    if preview is not None:
        io.check_picture(preview)
    names_of = io.distinct(f"{item.stem}_faces" for item in items)
    numbered = (
        {} if faces is None else {i.name: faces / f"{n}.png" for i, n in zip(items, names_of, strict=True)}
    )
    io.check_outputs(
        [out, *([preview] if preview is not None else []), *numbered.values()], overwrite=overwrite
    )

    models = choose(models, reporter, offline)

    from styleclip_cli.cli.faces import latent_of, open_photo, quality_line, source_name
    from styleclip_cli.engine import Engine
    from styleclip_cli.photos.portrait import numbered as with_numbers
    from styleclip_cli.photos.portrait import portraits
    from styleclip_cli.pictures.sheets import contact_sheet
    from styleclip_cli.save import save_image

    engine = Engine(models, device=device, seed=seed, progress=reporter.progress)
    settings = engine.inversion(chosen_inverter, steps, noise or None, seconds)
    found: list[Inversion] = []
    names: list[str] = []
    rows: list[list[Tensor]] = []

    def add(name: str, one: Inversion, source: Tensor | None = None) -> None:
        found.append(one)
        names.append(source_name(name))
        if preview is not None:
            shown = engine.synthesize(engine.styles(one.w_plus), one.tuned)[0]
            rows.append([shown if source is None else source, shown])

    def job(item: io.Item, path: Path) -> None:
        began = time.monotonic()
        photo = open_photo(item, reporter, max_megapixels)
        if photo is None:
            add(item.name, latent_of(engine, item))
            reporter.result(f"{item.name}  {time.monotonic() - began:.1f} s")
            return
        engine.check_photos(align=not no_align)
        if item.name in numbered:
            boxed = with_numbers(photo.image, engine.landmarker.find(photo.image))
            save_image(numbered[item.name], boxed)
            reporter.result(str(numbered[item.name]))
        for number, portrait in enumerate(portraits(engine, photo.image, face, not no_align), start=1):
            one = engine.find(portrait.image, settings, close_up=portrait.close_up, measure=True)
            name = f"{item.name}#{number}" if face == "all" else item.name
            add(name, one, portrait.image[0])
            reporter.result(f"{name}  {quality_line(one)}")

    failure: PartialFailure | None = None
    try:
        run_batch([(item, out) for item in items], job)
    except PartialFailure as error:  # the others' latents are worth keeping
        failure = error
    if not found and failure is not None:
        raise failure
    engine.save_inversions(out, found, names)
    if preview is not None:
        save_image(preview, contact_sheet(rows, column_labels=["input", "latent"]))
        reporter.result(str(preview))
    reporter.result(f"{out}  {len(found)} latents")
    if failure is not None:
        raise failure
