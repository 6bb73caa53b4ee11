"""`styleclip edit`: the main job. Faces in, edited faces out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from styleclip_cli.cli import completion, options
from styleclip_cli.cli.helping import ORDER
from styleclip_cli.cli.report import Reporter
from styleclip_cli.job import values
from styleclip_cli.machine import profile as profiling
from styleclip_cli.machine.shards import rank
from styleclip_cli.settings import DEFAULT_COMPOSITE, CompositeMode


def edit(
    context: typer.Context,
    inputs: options.Inputs = None,
    prompt: options.Prompts = None,
    neutral: options.Neutrals = None,
    method: options.Method = None,
    mapper: options.Mapper = None,
    direction: Annotated[
        list[str] | None,
        options.of_edit(
            "--direction",
            metavar="FILE",
            autocompletion=completion.directions,
            help="Use a direction saved by find-direction, or an InterFaceGAN boundary, instead of a prompt "
            "or along with others; may be repeated.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        options.of_edit(
            "--recipe",
            metavar="FILE",
            help="Repeat the edit recorded in an edited image, or described in a .json or .toml file; "
            "other options override it.",
            show_default=False,
        ),
    ] = None,
    alpha: Annotated[
        list[str] | None,
        options.of_edit(
            "--alpha",
            "-a",
            metavar="NUMBER[,NUMBER...]|FROM:TO:COUNT",
            help="Strength; a negative one reverses the edit. Several make a strip: original, first, "
            "second ...; with several prompts and directions, give one for all or one for each, in their "
            "order.",
            show_default="the pack's, or the direction's; 1 for optimize and mapper",
        ),
    ] = None,
    beta: Annotated[
        list[str] | None,
        options.of_edit(
            "--beta",
            metavar="NUMBER|auto|FROM:TO:COUNT",
            help="Threshold: shift only channels whose relevance to the prompt is at least this; a higher "
            "one changes fewer other attributes. Several make the rows of a grid.",
            show_default="chosen from --channels",
        ),
    ] = None,
    channels: options.Channels = None,
    auto: Annotated[
        bool,
        options.of_edit(
            "--auto",
            help="Choose strength and threshold for each face: raise the strength while CLIP measures "
            "progress and the identity stays above --keep-identity.",
        ),
    ] = False,
    keep_identity: Annotated[
        float | None,
        options.of_edit(
            "--keep-identity",
            metavar="0..1",
            help="With --auto: minimum cosine similarity of the face embeddings before and after the edit.",
            show_default="0.8",
        ),
    ] = None,
    same: Annotated[
        bool,
        options.of_edit(
            "--same",
            help="With --auto: choose one strength and threshold for all inputs, on the first 8, so that a "
            "series of one person looks alike.",
        ),
    ] = False,
    literal: options.Literal = False,
    layers: Annotated[
        str | None,
        options.of_edit(
            "--layers",
            metavar="fs3|conv|all, coarse,medium,fine",
            help="Layers that may change. global: style layers fs3 (no toRGB, up to 128 pixels), conv (no "
            "toRGB) or all; optimize: W+ layers coarse, medium, fine, or their numbers.",
            show_default="the pack's",
        ),
    ] = None,
    relevance: options.Relevance = None,
    iterations: options.Iterations = None,
    lr: options.LearningRate = None,
    lambda_l2: options.LambdaL2 = None,
    lambda_id: options.LambdaId = None,
    space: options.Space = None,
    free: options.Free = False,
    official: options.Official = False,
    crops: options.Crops = None,
    batch: options.Batch = None,
    save_steps: options.SaveSteps = 0,
    face: options.Face = None,
    preview: options.Preview = None,
    only: options.Only = None,
    mask: options.Mask = None,
    no_align: options.NoAlign = False,
    crop: options.Crop = False,
    composite: Annotated[
        CompositeMode | None,
        options.of_photos("--composite", help=options.COMPOSITE_HELP, show_default=DEFAULT_COMPOSITE),
    ] = None,
    max_megapixels: options.MaxMegapixels = 100,
    keep_exif: options.KeepExif = False,
    inverter: options.Inverter = None,
    inversion_steps: options.InversionSteps = None,
    steps: options.OldSteps = None,
    noise: options.Noise = False,
    budget: options.Budget = None,
    same_person: options.SamePerson = False,
    recursive: options.Recursive = False,
    manifest: options.Manifest = None,
    skip_existing: options.SkipExisting = False,
    fail_fast: options.FailFast = False,
    dry_run: Annotated[
        bool,
        options.of_batch(
            "--dry-run",
            help="Check all inputs and output names and print what would be written, without editing.",
        ),
    ] = False,
    shard: options.ShardOption = None,
    out: options.Pictures = None,
    name: options.Name = None,
    format: options.Format = None,
    quality: options.Quality = 95,
    compression: options.Compression = None,
    no_metadata: options.NoMetadata = False,
    save_latent: options.SaveLatent = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    scores: Annotated[
        bool,
        options.of_output(
            "--scores",
            help="Also report the scores of each edit: similarity and progress in CLIP space, and identity.",
        ),
    ] = False,
    strict: Annotated[
        bool,
        options.of_edit(
            "--strict", help="Refuse sentences that the model pack hardly knows; else there is a warning."
        ),
    ] = False,
    sheet: Annotated[
        Path | None,
        options.of_pictures(
            "--sheet",
            metavar="FILE",
            help="Also write a contact sheet of all originals and edits.",
            show_default=False,
        ),
    ] = None,
    slider: Annotated[
        Path | None,
        options.of_pictures(
            "--slider",
            metavar="FILE.html",
            help="Also write a self-contained HTML page with a before/after slider for each image.",
            show_default=False,
        ),
    ] = None,
    diff: Annotated[
        bool,
        options.of_pictures("--diff", help="Also write a heat map of the changes next to each image."),
    ] = False,
    animation: options.Animation = None,
    show: Annotated[
        bool,
        options.of_pictures(
            "--show", help="Show each result in the terminal, in coloured blocks (needs true colour)."
        ),
    ] = False,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "fp32",
    no_kernels: options.NoKernels = False,
    seed: Annotated[
        int | None,
        options.of_common(
            "--seed",
            min=0,
            max=2**32 - 1,
            help="Seed of the measurements of style channels, where they have to be made (default: the one "
            "the pack was measured with), and of --method optimize.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        bool, options.of_common("--profile", help="Report the time that each stage took.")
    ] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Edit faces with a text prompt, and put them back into their photos.

    Several prompts and directions, or the edits of a recipe, are applied one after another. Several processes
    can share the work: torchrun --nproc-per-node 4 -m styleclip_cli edit ..., or --shard on each machine.

    Example: styleclip edit examples/face.png --prompt "with glasses" --alpha 4

    Example: styleclip edit portraits/ --prompt smiling --prompt "with glasses" --alpha 3 --out edited/

    Example: styleclip edit portraits/ --prompt "with a beard" --auto --out bearded/ --sheet sheet.png

    Example: styleclip edit face.jpg --direction age.npz --alpha 2 --prompt "with glasses" --alpha 4

    Example: cat face.jpg | styleclip edit - --prompt smiling --out - > smiling.png
    """
    options_given = locals()  # by their names, for the one place that reads them
    options_given["order"] = options_given.pop("context").meta[ORDER]
    from styleclip_cli.cli.editing import Presentation, edit_and_present, tell_profile
    from styleclip_cli.job.parsing import edit_request

    profiled = profiling.start(time.perf_counter()) if profile else None
    values.check_device(device)
    request = edit_request(options_given)
    reporter = Reporter(quiet, notes=rank() == 0, json=json, aside=request.stream)
    how = Presentation(device, precision, offline, dry_run, show)
    edit_and_present(request, how, reporter)
    if profiled is not None:
        tell_profile(profiled, reporter)
