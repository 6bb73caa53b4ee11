"""`styleclip transfer`: a part of one face on another."""

from __future__ import annotations

from typing import Annotated

from styleclip_cli.cli import options
from styleclip_cli.cli.report import Reporter
from styleclip_cli.edits.parts import CHANNELS
from styleclip_cli.job import values
from styleclip_cli.machine.shards import rank
from styleclip_cli.settings import DEFAULT_COMPOSITE


def transfer(
    reference: Annotated[
        str,
        options.of_edit(
            "--from",
            metavar="INPUT",
            help="Source face: an image, a latent file of one face, or seed:7.",
            show_default=False,
        ),
    ],
    inputs: options.Inputs = None,
    prompt: Annotated[
        str | None,
        options.of_edit(
            "--prompt",
            "-p",
            help='What to take: a part ("hair", "eye color", "mouth"), a thing ("glasses"), or what it may '
            'look like ("red hair, long hair").',
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        str | None,
        options.of_edit(
            "--layers",
            metavar="coarse,medium,fine",
            help="Take whole W+ layers instead: coarse (0-3), medium (4-7), fine (8-), or numbers.",
            show_default=False,
        ),
    ] = None,
    alpha: Annotated[
        list[str] | None,
        options.of_edit(
            "--alpha",
            "-a",
            metavar="NUMBER[,NUMBER...]",
            help="Strength: 1 takes over the source's style channels in full, 0 changes nothing. Several "
            "make a strip: original, first, second ...",
            show_default="1",
        ),
    ] = None,
    neutral: options.Neutral = None,
    beta: options.Beta = None,
    channels: Annotated[
        int | None,
        options.of_edit(
            "--channels",
            min=1,
            help="Choose beta so that this many style channels are taken for each phrase.",
            show_default=str(CHANNELS),
        ),
    ] = None,
    literal: options.Literal = False,
    relevance: options.Relevance = None,
    face: options.Face = None,
    preview: options.Preview = None,
    from_face: Annotated[
        str,
        options.of_photos("--from-face", metavar="largest|N", help="Which face of the --from photo."),
    ] = "largest",
    only: options.Only = None,
    mask: options.Mask = None,
    no_align: options.NoAlign = False,
    crop: options.Crop = False,
    composite: options.Composite = DEFAULT_COMPOSITE,
    max_megapixels: options.MaxMegapixels = 100,
    keep_exif: options.KeepExif = False,
    inverter: options.Inverter = None,
    inversion_steps: options.InversionSteps = None,
    steps: options.OldSteps = None,
    noise: options.Noise = False,
    budget: options.Budget = None,
    out: options.Pictures = None,
    format: options.Format = None,
    quality: options.Quality = 95,
    compression: options.Compression = None,
    no_metadata: options.NoMetadata = False,
    save_latent: options.SaveLatent = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    name: options.Name = None,
    recursive: options.Recursive = False,
    skip_existing: options.SkipExisting = False,
    fail_fast: options.FailFast = False,
    shard: options.ShardOption = None,
    manifest: options.Rows = None,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    seed: options.Seed = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Give faces a part of another face: its hair, its glasses, its smile.

    Example: styleclip transfer me.jpg --from friend.jpg --prompt "hair"
    """
    options_given = locals()  # by their names, for the one place that reads them
    from styleclip_cli.cli.editing import Presentation, edit_and_present
    from styleclip_cli.job.parsing import transfer_request

    values.check_device(device)
    request = transfer_request(options_given)
    edit_and_present(
        request, Presentation(device, offline=offline), Reporter(quiet, notes=rank() == 0, json=json)
    )
