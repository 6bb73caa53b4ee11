"""Option types that several commands share, so that they mean and say the same everywhere."""

from __future__ import annotations

import math
import warnings
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from styleclip_cli import settings
from styleclip_cli.cli import completion
from styleclip_cli.job.outputs import output_path
from styleclip_cli.machine import process
from styleclip_cli.recipe import MethodName
from styleclip_cli.settings import DEFAULT_NEUTRAL

_PILLOWS = 178

# Options, by their panel in the help of a command.
of_edit = partial(typer.Option, rich_help_panel="Edit")
of_photos = partial(typer.Option, rich_help_panel="Photos")
of_inversion = partial(typer.Option, rich_help_panel="Inversion")
of_optimize = partial(typer.Option, rich_help_panel="Optimize")
of_batch = partial(typer.Option, rich_help_panel="Many photos")
of_machines = partial(typer.Option, rich_help_panel="Several machines")
of_output = partial(typer.Option, rich_help_panel="Output")
of_pictures = partial(typer.Option, rich_help_panel="Pictures")
of_common = partial(typer.Option, rich_help_panel="Common")

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Images, folders of images, @LIST (a file with one input per line), - (an image on "
        "standard input), latents (.npz; StyleCLIP's .npy and .pt), or seeds of generated faces "
        "(seed:7, seed:1-5).",
        show_default=False,
    ),
]
Models = Annotated[
    str | None,
    of_common(
        "--models",
        metavar="NAME|FOLDER",
        envvar="STYLECLIP_MODELS",
        autocompletion=completion.packs,
        help="Model pack: a name (see styleclip models), or a folder with a pack.toml.",
        show_default="from config.toml, else ffhq if it is installed",
    ),
]
ToyModels = Annotated[
    str,
    of_common(
        "--models",
        metavar="NAME|FOLDER",
        envvar="STYLECLIP_MODELS",
        help="Model pack of drawn faces: toy, or a folder with another one.",
    ),
]
Offline = Annotated[bool, of_common("--offline", envvar="STYLECLIP_OFFLINE", help="Never use the network.")]
Device = Annotated[
    str,
    of_common(
        "--device", metavar="auto|cpu|cuda[:N]|mps", envvar="STYLECLIP_DEVICE", help="Device to compute on."
    ),
]


def _without_kernels(wanted: bool) -> bool:
    process.chosen.kernels = not wanted
    return wanted


NoKernels = Annotated[
    bool,
    of_common(
        "--no-kernels",
        envvar="STYLECLIP_NO_KERNELS",
        callback=_without_kernels,
        help="Use PyTorch's own operations instead of kernels built for this machine: slower, same results.",
    ),
]
Seed = Annotated[
    int | None,
    of_common(
        "--seed",
        min=0,
        max=2**32 - 1,
        help="Seed of the measurements of style channels, where they have to be made (default: the "
        "one the pack was measured with).",
        show_default=False,
    ),
]
Quiet = Annotated[bool, of_common("--quiet", "-q", help="Print nothing but errors.")]


def _with_tracebacks(wanted: bool) -> bool:
    process.chosen.verbose = wanted
    if wanted:
        warnings.simplefilter("default")
    return wanted


Verbose = Annotated[
    bool,
    of_common(
        "--verbose",
        "-v",
        callback=_with_tracebacks,
        help="Show tracebacks of errors, and warnings of libraries.",
    ),
]
Overwrite = Annotated[bool, of_output("--overwrite", help="Replace outputs that exist.")]
Inverter = Annotated[
    settings.Inverter | None,
    of_inversion(
        "--inverter",
        help="How faces are inverted. encoder: by the encoder alone; refine: W+ is optimized from "
        "there; features: the features of one layer are then optimized as well; pivotal: the generator is "
        "tuned instead (PTI).",
        show_default="the pack's",
    ),
]
InversionSteps = Annotated[
    int | None,
    of_inversion(
        "--inversion-steps",
        min=0,
        max=10_000,
        help="Steps of optimizing W+; implies --inverter refine if that is not given.",
        show_default="the pack's",
    ),
]
OldSteps = Annotated[int | None, typer.Option("--steps", min=0, max=10_000, hidden=True)]
Noise = Annotated[bool, of_inversion("--noise", help="Optimize the generator's noise maps too.")]
Budget = Annotated[
    str | None,
    of_inversion(
        "--budget", metavar="TIME", help="Time limit for each inversion: 30s, 2m.", show_default="none"
    ),
]
SamePerson = Annotated[
    bool,
    of_inversion(
        "--same-person",
        help="All photos show one person: the generator is tuned once, for all of them together (implies "
        "--inverter pivotal).",
    ),
]
Face = Annotated[
    str | None,
    of_photos(
        "--face",
        metavar="largest|all|N",
        help="Which face of a photo: the largest, all of them, or the Nth from the left.",
        show_default="largest",
    ),
]
Preview = Annotated[
    Path | None,
    of_photos(
        "--preview",
        parser=output_path,
        metavar="FILE|FOLDER/",
        help="Also write the photo with its faces numbered, as --face counts them.",
        show_default=False,
    ),
]
NoAlign = Annotated[
    bool,
    of_photos(
        "--no-align", help="Do not detect faces: take the central square of the image as an aligned face."
    ),
]


Only = Annotated[
    list[str] | None,
    of_photos(
        "--only",
        metavar="PART[,PART...]",
        autocompletion=completion.parts,
        help="Let only these parts of the face change: " + ", ".join(settings.PART_WORDS) + ". Needs a pack "
        "with a parser.",
        show_default="all",
    ),
]
Mask = Annotated[
    Path | None,
    of_photos(
        "--mask",
        metavar="FILE",
        help="Let only this part of the photo change: an image of the photo's size, white (or opaque, if it "
        "has transparency) where it may. With --only, where both let it.",
        show_default=False,
    ),
]


def _large(megapixels: float) -> float:
    """Raise Pillow's own limit, which is its process's, where a person raises ours above it."""
    if megapixels > _PILLOWS:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = math.ceil(megapixels * 1e6 / 2)  # it refuses what has twice as many
    return megapixels


MaxMegapixels = Annotated[
    float,
    of_photos(
        "--max-megapixels",
        callback=_large,
        min=0.001,
        max=10_000,
        help="Refuse larger images before decoding them.",
    ),
]
Crop = Annotated[bool, of_photos("--crop", help="Write only the edited face crop, not the whole photo.")]
COMPOSITE_HELP = (
    "How the edited face is put back. adaptive: keep the photo's own structure wherever the "
    "edit leaves it in place; residual: add the difference that the edit made; replace: "
    "paste the whole crop."
)
Composite = Annotated[settings.CompositeMode, of_photos("--composite", help=COMPOSITE_HELP)]
KeepExif = Annotated[
    bool,
    of_photos(
        "--keep-exif",
        help="Keep all EXIF data, including location and thumbnail; otherwise only date, camera, "
        "exposure, author and copyright are kept.",
    ),
]
Pictures = Annotated[
    Path | None,
    of_output(
        "--out",
        "-o",
        parser=output_path,
        metavar="PATH",
        help="Output file for one input (.png, .jpg, .webp, .avif, .tif), or a folder for several.",
        show_default="the current folder",
    ),
]
Format = Annotated[
    settings.PictureFormat | None,
    of_output(
        "--format",
        case_sensitive=False,
        help="Image format, whatever the file name says.",
        show_default="from the file name, else png",
    ),
]
Quality = Annotated[int, of_output("--quality", min=1, max=100, help="Quality of JPEG, WebP and AVIF.")]
Compression = Annotated[
    int | None, of_output("--compression", min=0, max=9, help="Compression level of PNG.", show_default="2")
]
NoMetadata = Annotated[
    bool,
    of_output("--no-metadata", help="Do not embed the recipe and the AI-edit mark in the image."),
]
SaveLatent = Annotated[
    bool,
    of_output(
        "--save-latent",
        help="Also save the latents of the edited faces (.npz) next to the image, for further edits.",
    ),
]
Json = Annotated[bool, of_output("--json", help="Print results as JSON lines (schema styleclip.result/1).")]
NumbersOut = Annotated[
    Path | None,
    of_output(
        "--json",
        metavar="FILE|-",
        help="Write the numbers as JSON; - for standard output, without the table.",
        show_default=False,
    ),
]
Prompt = Annotated[
    str | None,
    of_edit(
        "--prompt",
        "-p",
        help='What the face should become: "a smiling face", or only what changes: "with glasses".',
        show_default=False,
    ),
]
Neutral = Annotated[
    str | None,
    of_edit(
        "--neutral",
        help="Text that describes the face as it is now, in the same words as the prompt.",
        show_default=DEFAULT_NEUTRAL,
    ),
]
Prompts = Annotated[
    list[str] | None,
    of_edit(
        "--prompt",
        "-p",
        metavar="TEXT",
        help='What the face should become: "a smiling face", or only what changes: "with glasses". '
        "Repeat it to apply several edits, one after another.",
        show_default=False,
    ),
]
Neutrals = Annotated[
    list[str] | None,
    of_edit(
        "--neutral",
        metavar="TEXT",
        help="Text that describes the face as it is now, in the same words as the prompt; one for all "
        "prompts, or one for each.",
        show_default=DEFAULT_NEUTRAL,
    ),
]
Beta = Annotated[
    float | None,
    of_edit(
        "--beta",
        help="Threshold: shift only channels whose relevance to the prompt is at least this; a higher "
        "one changes fewer other attributes.",
        show_default="chosen from --channels",
    ),
]
Channels = Annotated[
    int | None,
    of_edit(
        "--channels",
        min=1,
        help="Choose beta so that this many style channels are shifted.",
        show_default="the pack's",
    ),
]
Literal = Annotated[
    bool,
    of_edit(
        "--literal", help='Use the prompt as it is; otherwise "with glasses" becomes "face with glasses".'
    ),
]
Layers = Annotated[
    settings.LayerChoice | None,
    of_edit(
        "--layers",
        help="Style layers that may change: fs3 (no toRGB, up to 128 pixels), conv (no toRGB), or all.",
        show_default="the pack's",
    ),
]
Relevance = Annotated[
    settings.RelevanceMode | None,
    of_edit(
        "--relevance",
        help="How the relevance of the style channels is measured. exact: as in the paper (hours, "
        "once); preview: on smaller images; gradient: estimated from derivatives.",
        show_default="the pack's, else exact if it was measured, else gradient",
    ),
]
PrecisionOption = Annotated[
    settings.Precision,
    of_common(
        "--precision",
        help="Precision of rendering; half precision is faster on GPUs and slower on most CPUs.",
    ),
]
ShardOption = Annotated[
    str | None,
    of_machines(
        "--shard",
        metavar="I/N",
        help="Do only part I of N of the work; 0/4, 1/4, 2/4 and 3/4 together are all of it.",
        show_default="all",
    ),
]
Method = Annotated[
    MethodName | None,
    of_edit(
        "--method",
        help="global: one direction for all faces; optimize: optimization of each face's latent; "
        "mapper: a network trained for one prompt (--mapper).",
        show_default="global",
    ),
]
Mapper = Annotated[
    str | None,
    of_edit(
        "--mapper",
        metavar="NAME|FILE",
        autocompletion=completion.mappers,
        help="A mapper from train-mapper, or a published one (see styleclip mappers).",
        show_default=False,
    ),
]
Free = Annotated[
    bool,
    of_optimize(
        "--free",
        help="Let both weights, --lambda-l2 and --lambda-id, default to 0; without an INPUT, start "
        "from the average face.",
    ),
]
Official = Annotated[
    bool,
    of_optimize(
        "--official",
        help="Use the defaults of the official code: 300 steps, no identity loss, the prompt as it is.",
    ),
]
Space = Annotated[
    settings.Space | None,
    of_optimize(
        "--space",
        help="Latent space to optimize in: W+, or the style channels (StyleSpace).",
        show_default="w+",
    ),
]
Iterations = Annotated[
    int | None,
    of_optimize("--iterations", min=1, max=100_000, help="Optimization steps.", show_default="the pack's"),
]
LearningRate = Annotated[float | None, of_optimize("--lr", help="Learning rate.", show_default="the pack's")]
LambdaL2 = Annotated[
    float | None,
    of_optimize(
        "--lambda-l2",
        help="Weight of the squared distance from the initial latent; a lower weight allows larger changes.",
        show_default="the pack's",
    ),
]
LambdaId = Annotated[
    float | None,
    of_optimize("--lambda-id", help="Weight of the identity loss.", show_default="the pack's"),
]
Crops = Annotated[
    int | None,
    of_optimize(
        "--crops",
        min=0,
        max=64,
        help="Number of random crops of each image that CLIP sees instead of the whole image; 0 for "
        "the whole.",
        show_default="the pack's",
    ),
]
Batch = Annotated[
    int | None,
    of_optimize("--batch", min=1, max=1024, help="Faces optimized at once.", show_default="the pack's"),
]
SaveSteps = Annotated[
    int,
    of_optimize(
        "--save-steps",
        metavar="K",
        min=0,
        help="Save the image of every Kth step, in a folder next to the result.",
        show_default="none",
    ),
]
Animation = Annotated[
    str | None,
    of_pictures(
        "--animation",
        metavar="FILE",
        help="Also write an animation of the edit, forward and back (.gif, .webp or .mp4; one input "
        "only); for --method optimize, of its steps.",
        show_default=False,
    ),
]
Recursive = Annotated[bool, of_batch("--recursive", "-r", help="Search folders recursively.")]
Manifest = Annotated[
    str | None,
    of_batch(
        "--manifest",
        metavar="FILE|-",
        help="Table of inputs, each with its own edit: CSV with the columns input, output, prompt, "
        "neutral, alpha, beta, channels, mapper, direction, only, mask (an empty cell takes the value from "
        "the command line), or JSON lines.",
        show_default=False,
    ),
]
SkipExisting = Annotated[
    bool,
    of_batch(
        "--skip-existing",
        help="Skip inputs whose results exist already, to resume a batch that was stopped.",
    ),
]
FailFast = Annotated[bool, of_batch("--fail-fast", help="Stop at the first input that fails.")]
Name = Annotated[
    str | None,
    of_output(
        "--name",
        metavar="TEMPLATE",
        help="Template of the file names in the folder, with {stem}, {edit}, {prompt}, {neutral}, "
        "{method}, {alpha}, {number}, {folder} and {seed}.",
        show_default="{stem}_{edit}.png",
    ),
]
Rows = Annotated[
    str | None,
    of_batch(
        "--manifest",
        metavar="FILE|-",
        help="Table of inputs: CSV with the columns input and output (transfer: also only and mask), or "
        "JSON lines.",
        show_default=False,
    ),
]
