"""`styleclip invert`: pictures to latents."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styleclip_cli.cli import options
from styleclip_cli.cli.editing import counted, plan_and_tell
from styleclip_cli.cli.failures import Failures
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import PartialFailure
from styleclip_cli.job import values
from styleclip_cli.job.outputs import check_outputs, check_picture, distinct
from styleclip_cli.job.parsing import invert_request

if TYPE_CHECKING:
    from torch import Tensor

    from styleclip_cli.engine import Engine
    from styleclip_cli.inversion import Inversion
    from styleclip_cli.job.inverting import InversionResult


def invert(
    inputs: options.OptionalInputs = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Latent file to write (.npz), which holds all inputs; or a folder, for a file of each.",
            rich_help_panel="Output",
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
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="TEMPLATE",
            help="Names in the folder, of {stem}, {number}, {folder} and {seed}.",
            show_default="{stem}.npz",
            rich_help_panel="Output",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    recursive: options.Recursive = False,
    manifest: options.Rows = None,
    skip_existing: options.SkipExisting = False,
    fail_fast: options.FailFast = False,
    shard: options.ShardOption = None,
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
    options_given = locals()  # by their names, for the one place that reads them
    values.check_device(device)
    request = invert_request(options_given)
    reporter = Reporter(quiet, json=json)
    planned = plan_and_tell(request, reporter)
    items = [one.item for one in planned.work]
    if preview is not None:
        check_picture(preview)
    names = [f"{stem}.png" for stem in distinct(f"{item.stem}_faces" for item in items)]
    boxes = {} if faces is None else {i.name: faces / name for i, name in zip(items, names, strict=True)}
    check_outputs([*([preview] if preview is not None else []), *boxes.values()], overwrite=overwrite)
    if not planned.work:
        reporter.note("nothing to do")
        return
    models = choose(models, reporter, offline)

    from styleclip_cli.engine import Engine
    from styleclip_cli.job.faces import source_name
    from styleclip_cli.job.inverting import invert as run

    engine = Engine(models, device=device, seed=seed, progress=reporter.progress)
    failures = Failures(len(planned.work), fail_fast)
    found: list[Inversion] = []
    sources: list[str] = []
    rows: list[list[Tensor]] = []
    results = run(planned, engine, reporter.note, boxes)
    with counted(results, reporter), closing(iter(results)) as each:
        for result in each:
            if result.error is not None:
                reporter.record(result.record())
                failures.add(result.error)
                continue
            result.latent_path = result.latent_path or out
            _tell(result, reporter)
            found += result.latents
            sources += map(source_name, result.names)
            rows += _rows(engine, result) if preview is not None else []
    failure: PartialFailure | None = None
    try:
        failures.conclude()
    except PartialFailure as error:  # the others' latents are worth keeping
        failure = error
        if not found:
            raise
    if all(one.path is None for one in planned.work):
        engine.save_inversions(out, found, sources)
    if preview is not None:
        from styleclip_cli.pictures.sheets import contact_sheet
        from styleclip_cli.save import save_image

        save_image(preview, contact_sheet(rows, column_labels=["input", "latent"]))
        reporter.result(str(preview))
    reporter.result(f"{out}  {len(found)} latents")
    if failure is not None:
        raise failure


def _tell(result: InversionResult, reporter: Reporter) -> None:
    """Say what was found for one input."""
    for path in result.beside:
        reporter.result(str(path))
    for name, line in zip(result.names, result.lines, strict=True):
        reporter.result(f"{name}  {line}")
    result.path = result.latent_path
    reporter.record(result.record())


def _rows(engine: Engine, result: InversionResult) -> list[list[Tensor]]:
    """What latents were found for, beside what they show."""
    rows = []
    for face, crop in zip(result.latents, result.crops, strict=True):
        shown = engine.show(face)[0]
        rows.append([shown if crop is None else crop, shown])
    return rows
