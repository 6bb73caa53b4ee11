"""`styleclip invert`: images to latents."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from styleclip_cli.cli import options
from styleclip_cli.cli.report import Reporter
from styleclip_cli.job import values
from styleclip_cli.machine.shards import rank

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine
    from styleclip_cli.job.plan import Plan
    from styleclip_cli.job.result import EditResult


def invert(
    inputs: options.Inputs = None,
    out: Annotated[
        Path,
        options.of_output(
            "--out",
            "-o",
            parser=options.output_path,
            metavar="PATH",
            help="Latent file for all inputs (.npz), or a folder for one file per input.",
        ),
    ] = Path("latents.npz"),
    preview: Annotated[
        Path | None,
        options.of_output(
            "--preview",
            metavar="FILE",
            help="Also write an image that compares each input with its inversion.",
            show_default=False,
        ),
    ] = None,
    faces: Annotated[
        Path | None,
        options.of_output(
            "--faces",
            metavar="FOLDER",
            help="Also write each photo with its faces numbered, as --face counts them.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        options.of_output(
            "--name",
            metavar="TEMPLATE",
            help="Template of the file names in the folder, with {stem}, {number}, {folder} and {seed}.",
            show_default="{stem}.npz",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    recursive: options.Recursive = False,
    manifest: options.Rows = None,
    skip_existing: options.SkipExisting = False,
    fail_fast: options.FailFast = False,
    shard: options.ShardOption = None,
    face: options.Face = None,
    no_align: options.NoAlign = False,
    max_megapixels: options.MaxMegapixels = 100,
    inverter: options.Inverter = None,
    inversion_steps: options.InversionSteps = None,
    steps: options.OldSteps = None,
    noise: options.Noise = False,
    budget: options.Budget = None,
    same_person: options.SamePerson = False,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    seed: options.Seed = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Invert faces, and save their latents to edit them many times.

    Reports the mean squared error, perceptual distance, identity (cosine) and time of each inversion.

    Example: styleclip invert photos/ --inverter pivotal --out faces.npz --preview faces.png
    """
    options_given = locals()  # by their names, for the one place that reads them
    from styleclip_cli.cli.editing import Presentation, edit_and_present
    from styleclip_cli.job.parsing import invert_request

    values.check_device(device)
    request = invert_request(options_given)
    reporter = Reporter(quiet, notes=rank() == 0, json=json)
    results: list[EditResult] = []
    finish = partial(_finish, results, reporter)
    edit_and_present(request, Presentation(device, offline=offline), reporter, results.append, finish)


def _finish(results: list[EditResult], reporter: Reporter, planned: Plan, engine: Engine | None) -> None:
    """Write the file of all latents, if there is one, and the preview."""
    from styleclip_cli.job.faces import source_name
    from styleclip_cli.job.inverting import InversionResult

    found = [result for result in results if isinstance(result, InversionResult)]
    if engine is None or not found:
        return
    faces = [face for result in found for face in result.latents]
    names = [source_name(name) for result in found for name in result.names]
    out, preview = planned.request.out, planned.request.preview
    assert out is not None
    if all(one.path is None for one in planned.work):
        engine.save_inversions(out, faces, names)
    if preview is not None:
        from styleclip_cli.pictures.sheets import contact_sheet
        from styleclip_cli.save import save_image

        shown = [engine.render([face])[0] for face in faces]
        crops = [crop for result in found for crop in result.crops]
        rows = [[one if crop is None else crop, one] for crop, one in zip(crops, shown, strict=True)]
        save_image(preview, contact_sheet(rows, column_labels=["input", "latent"]))
        reporter.result(str(preview))
    reporter.result(f"{out}  {len(faces)} latents")
