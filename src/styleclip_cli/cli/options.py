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
        help="Images, folders of images, @LIST (a file with one input a line), - (a picture on standard "
        "input), latents (.npz; StyleCLIP's .npy and .pt), or seeds of generated faces (seed:7, "
        "seed:1-5).",
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
        show_default="config.toml's, else ffhq if it is installed",
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
        "--device", metavar="auto|cpu|cuda[:N]|mps", envvar="STYLECLIP_DEVICE", help="Where to compute."
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
        help="Seed of what has to be measured (default: the one the pack was measured with).",
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
        help="How latents are found: by the encoder; refined in W+; with the generator tuned as well.",
        show_default="the pack's",
    ),
]
Steps = Annotated[
    int | None,
    of_inversion(
        "--steps",
        min=0,
        max=10_000,
        help="Steps of refining W+; alone it means --inverter refine.",
        show_default="the pack's",
    ),
]
Noise = Annotated[bool, of_inversion("--noise", help="Refine the generator's noise too.")]
Budget = Annotated[
    str | None,
    of_inversion("--budget", metavar="TIME", help="Time for each inversion: 30s, 2m.", show_default="none"),
]
Face = Annotated[
    str,
    of_photos(
        "--face",
        metavar="largest|all|N",
        help="Which face of a photo: the largest, all of them, or the Nth from the left.",
    ),
]
NoAlign = Annotated[
    bool, of_photos("--no-align", help="Look for no face: the middle square is the face already.")
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
        help="Refuse larger pictures before they are decoded.",
    ),
]
Crop = Annotated[bool, of_photos("--crop", help="Write the edited face alone, not the whole photo.")]
COMPOSITE_HELP = (
    "How the edit returns to the photo: the photo's structure stays where the edit leaves it standing "
    "(adaptive); what changed is added (residual); or the crop is pasted (replace)."
)
Composite = Annotated[settings.CompositeMode, of_photos("--composite", help=COMPOSITE_HELP)]
KeepExif = Annotated[
    bool,
    of_photos(
        "--keep-exif", help="Keep all EXIF data, with the place and the thumbnail; else date and camera only."
    ),
]
Pictures = Annotated[
    Path | None,
    of_output(
        "--out",
        "-o",
        parser=output_path,
        metavar="PATH",
        help="A file for one input (.png, .jpg, .webp, .avif, .tif), a folder for several.",
        show_default="the current folder",
    ),
]
Format = Annotated[
    settings.PictureFormat | None,
    of_output(
        "--format",
        case_sensitive=False,
        help="Picture format, whatever the name says.",
        show_default="the name's, else png",
    ),
]
Quality = Annotated[int, of_output("--quality", min=1, max=100, help="Of JPEG, WebP and AVIF.")]
Compression = Annotated[
    int | None, of_output("--compression", min=0, max=9, help="Of PNG.", show_default="2")
]
NoMetadata = Annotated[
    bool,
    of_output("--no-metadata", help="Do not write the recipe and the mark of an AI edit into the picture."),
]
SaveLatent = Annotated[
    bool,
    of_output(
        "--save-latent", help="Also write the edited faces' latents (.npz) beside it, to be edited again."
    ),
]
Json = Annotated[bool, of_output("--json", help="Tell of results as JSON lines (styleclip.result/1).")]
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
    of_edit("--neutral", help="What the face is now, in the same words.", show_default=DEFAULT_NEUTRAL),
]
Prompts = Annotated[
    list[str] | None,
    of_edit(
        "--prompt",
        "-p",
        metavar="TEXT",
        help='What the face should become: "a smiling face", or only what changes: "with glasses". Several '
        "are edits one after the other.",
        show_default=False,
    ),
]
Neutrals = Annotated[
    list[str] | None,
    of_edit(
        "--neutral",
        metavar="TEXT",
        help="What the face is now, in the same words; one for all prompts, or one for each.",
        show_default=DEFAULT_NEUTRAL,
    ),
]
Beta = Annotated[
    float | None,
    of_edit(
        "--beta",
        help="Keep channels whose relevance is at least this; higher changes less else.",
        show_default="chosen to keep --channels",
    ),
]
Channels = Annotated[
    int | None,
    of_edit(
        "--channels",
        min=1,
        help="Choose beta so that this many style channels change.",
        show_default="the pack's",
    ),
]
Literal = Annotated[
    bool,
    of_edit(
        "--literal", help='Take the prompt as it stands: do not join "with glasses" to the neutral text.'
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
        help="How it is found what style channels do: as published (hours, once); on smaller pictures; or "
        "estimated from derivatives.",
        show_default="the pack's, or what was measured, or gradient",
    ),
]
PrecisionOption = Annotated[
    settings.Precision,
    of_common(
        "--precision",
        help="What pictures are rendered in: half precision is quicker on GPUs, and slower on most CPUs.",
    ),
]
ShardOption = Annotated[
    str | None,
    of_machines(
        "--shard",
        metavar="I/N",
        help="Do only this part of the work: 0/4, 1/4, 2/4 and 3/4 are all of it.",
        show_default="all",
    ),
]
Method = Annotated[
    MethodName | None,
    of_edit(
        "--method",
        help="global: one direction for all faces; optimize: each face by gradient descent; mapper: networks "
        "trained for one sentence (--mapper).",
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
        "--free", help="Optimize without holding on to a face: from the average one, if no INPUT is given."
    ),
]
Official = Annotated[
    bool,
    of_optimize(
        "--official",
        help="Optimize exactly as the paper's code by default: 300 steps, no identity loss, the prompt as it "
        "stands.",
    ),
]
Space = Annotated[
    settings.Space | None,
    of_optimize("--space", help="What is optimized: W+, or the style channels.", show_default="w+"),
]
Iterations = Annotated[
    int | None,
    of_optimize("--iterations", min=1, max=100_000, help="Steps of optimization.", show_default="the pack's"),
]
LearningRate = Annotated[float | None, of_optimize("--lr", help="Step size.", show_default="the pack's")]
LambdaL2 = Annotated[
    float | None,
    of_optimize(
        "--lambda-l2",
        help="How much the latent is held to where it was; less changes more.",
        show_default="the pack's",
    ),
]
LambdaId = Annotated[
    float | None,
    of_optimize(
        "--lambda-id", help="How much the face must stay the same person.", show_default="the pack's"
    ),
]
Crops = Annotated[
    int | None,
    of_optimize(
        "--crops",
        min=0,
        max=64,
        help="Show CLIP so many random crops of each picture in the place of the whole.",
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
        help="Write the picture of every Kth step, into a folder beside the result.",
        show_default="none",
    ),
]
Animation = Annotated[
    str | None,
    of_pictures(
        "--animation",
        metavar="FILE",
        help="Also write the way there and back as .gif, .webp or .mp4, for one input; of an optimization "
        "the way it took.",
        show_default=False,
    ),
]
Recursive = Annotated[bool, of_batch("--recursive", "-r", help="Look into folders inside folders.")]
Manifest = Annotated[
    str | None,
    of_batch(
        "--manifest",
        metavar="FILE|-",
        help="Rows of inputs, each with its own edit: CSV with the columns input, output, prompt, "
        "neutral, alpha, beta, channels, mapper, direction (what is empty is the command's), or JSON "
        "lines.",
        show_default=False,
    ),
]
SkipExisting = Annotated[
    bool,
    of_batch(
        "--skip-existing",
        help="Leave out inputs whose results are there already: go on with a job that was stopped.",
    ),
]
FailFast = Annotated[bool, of_batch("--fail-fast", help="Stop at the first input that fails.")]
Name = Annotated[
    str | None,
    of_output(
        "--name",
        metavar="TEMPLATE",
        help="Names in the folder, of {stem}, {edit}, {prompt}, {neutral}, {method}, {alpha}, {number}, "
        "{folder} and {seed}.",
        show_default="{stem}_{edit}.png",
    ),
]
Rows = Annotated[
    str | None,
    of_batch(
        "--manifest",
        metavar="FILE|-",
        help="Rows of inputs: CSV with the columns input and output, or JSON lines.",
        show_default=False,
    ),
]
