"""Option types that several commands share, so that they mean and say the same everywhere."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Annotated

import typer

from styleclip_cli.cli import completion
from styleclip_cli.machine import process
from styleclip_cli.settings import DEFAULT_NEUTRAL

_COMMON = "Common"
_OPTIMIZE = "Optimize"
_OUTPUT, _BATCH = "Output", "Many photos"
_PILLOWS = 178

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Images, folders of images, latents (.npz; StyleCLIP's .npy and .pt), or seeds of generated "
        "faces (seed:7, seed:1-5).",
        show_default=False,
    ),
]
OptionalInputs = Annotated[
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
    typer.Option(
        "--models",
        metavar="NAME|FOLDER",
        envvar="STYLECLIP_MODELS",
        autocompletion=completion.packs,
        help="Model pack: a name (see styleclip models), or a folder with a pack.toml.",
        show_default="config.toml's, else ffhq if it is installed",
        rich_help_panel=_COMMON,
    ),
]
ToyModels = Annotated[
    str,
    typer.Option(
        "--models",
        metavar="NAME|FOLDER",
        envvar="STYLECLIP_MODELS",
        help="Model pack of drawn faces: toy, or a folder with another one.",
        rich_help_panel=_COMMON,
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline", envvar="STYLECLIP_OFFLINE", help="Never use the network.", rich_help_panel=_COMMON
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]|mps",
        envvar="STYLECLIP_DEVICE",
        help="Where to compute.",
        rich_help_panel=_COMMON,
    ),
]


def _without_kernels(wanted: bool) -> bool:
    process.chosen.kernels = not wanted
    return wanted


NoKernels = Annotated[
    bool,
    typer.Option(
        "--no-kernels",
        envvar="STYLECLIP_NO_KERNELS",
        callback=_without_kernels,
        help="Use PyTorch's own operations instead of kernels built for this machine: slower, same results.",
        rich_help_panel=_COMMON,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        max=2**32 - 1,
        help="Seed of what has to be measured (default: the one the pack was measured with).",
        show_default=False,
        rich_help_panel=_COMMON,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but errors.", rich_help_panel=_COMMON)
]


def _with_tracebacks(wanted: bool) -> bool:
    process.chosen.verbose = wanted
    if wanted:
        warnings.simplefilter("default")
    return wanted


Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_with_tracebacks,
        help="Show tracebacks of errors, and warnings of libraries.",
        rich_help_panel=_COMMON,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace outputs that exist.", rich_help_panel="Output")
]
Inverter = Annotated[
    str | None,
    typer.Option(
        "--inverter",
        metavar="encoder|refine|pivotal",
        help="How latents are found: by the encoder; refined in W+; with the generator tuned as well.",
        show_default="the pack's",
        rich_help_panel="Inversion",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        min=0,
        max=10_000,
        help="Steps of refining W+; alone it means --inverter refine.",
        show_default="the pack's",
        rich_help_panel="Inversion",
    ),
]
Noise = Annotated[
    bool, typer.Option("--noise", help="Refine the generator's noise too.", rich_help_panel="Inversion")
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="Time for each inversion: 30s, 2m.",
        show_default="none",
        rich_help_panel="Inversion",
    ),
]
Face = Annotated[
    str,
    typer.Option(
        "--face",
        metavar="largest|all|N",
        help="Which face of a photo: the largest, all of them, or the Nth from the left.",
        rich_help_panel="Photos",
    ),
]
NoAlign = Annotated[
    bool,
    typer.Option(
        "--no-align",
        help="Look for no face: the middle square is the face already.",
        rich_help_panel="Photos",
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
    typer.Option(
        "--max-megapixels",
        callback=_large,
        min=0.001,
        max=10_000,
        help="Refuse larger pictures before they are decoded.",
        rich_help_panel="Photos",
    ),
]
Crop = Annotated[
    bool,
    typer.Option(
        "--crop", help="Write the edited face alone, not the whole photo.", rich_help_panel="Photos"
    ),
]
COMPOSITE_HELP = (
    "How the edit returns to the photo: the photo's structure stays where the edit leaves it standing "
    "(adaptive); what changed is added (residual); or the crop is pasted (replace)."
)
Composite = Annotated[
    str,
    typer.Option(
        "--composite", metavar="adaptive|residual|replace", help=COMPOSITE_HELP, rich_help_panel="Photos"
    ),
]
KeepExif = Annotated[
    bool,
    typer.Option(
        "--keep-exif",
        help="Keep all EXIF data, with the place and the thumbnail; else date and camera only.",
        rich_help_panel="Photos",
    ),
]
Pictures = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="A file for one input (.png, .jpg, .webp, .avif, .tif), a folder for several.",
        show_default="the current folder",
        rich_help_panel="Output",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="png|jpg|webp|avif|tiff",
        help="Picture format, whatever the name says.",
        show_default="the name's, else png",
        rich_help_panel="Output",
    ),
]
Quality = Annotated[
    int, typer.Option("--quality", min=1, max=100, help="Of JPEG, WebP and AVIF.", rich_help_panel="Output")
]
Compression = Annotated[
    int | None,
    typer.Option("--compression", min=0, max=9, help="Of PNG.", show_default="2", rich_help_panel="Output"),
]
NoMetadata = Annotated[
    bool,
    typer.Option(
        "--no-metadata",
        help="Do not write the recipe and the mark of an AI edit into the picture.",
        rich_help_panel="Output",
    ),
]
SaveLatent = Annotated[
    bool,
    typer.Option(
        "--save-latent",
        help="Also write the edited faces' latents (.npz) beside it, to be edited again.",
        rich_help_panel="Output",
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Tell of results as JSON lines (styleclip.result/1).", rich_help_panel="Output"
    ),
]
NumbersOut = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        help="Write the numbers as JSON; - for standard output, without the table.",
        show_default=False,
        rich_help_panel="Output",
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        "-p",
        help='What the face should become: "a smiling face", or only what changes: "with glasses".',
        show_default=False,
        rich_help_panel="Edit",
    ),
]
Neutral = Annotated[
    str | None,
    typer.Option(
        "--neutral",
        help="What the face is now, in the same words.",
        show_default=DEFAULT_NEUTRAL,
        rich_help_panel="Edit",
    ),
]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        "-p",
        metavar="TEXT",
        help='What the face should become: "a smiling face", or only what changes: "with glasses". Several '
        "are edits one after the other.",
        show_default=False,
        rich_help_panel="Edit",
    ),
]
Neutrals = Annotated[
    list[str] | None,
    typer.Option(
        "--neutral",
        metavar="TEXT",
        help="What the face is now, in the same words; one for all prompts, or one for each.",
        show_default=DEFAULT_NEUTRAL,
        rich_help_panel="Edit",
    ),
]
Beta = Annotated[
    float | None,
    typer.Option(
        "--beta",
        help="Keep channels whose relevance is at least this; higher changes less else.",
        show_default="chosen to keep --channels",
        rich_help_panel="Edit",
    ),
]
Channels = Annotated[
    int | None,
    typer.Option(
        "--channels",
        min=1,
        help="Choose beta so that this many style channels change.",
        show_default="the pack's",
        rich_help_panel="Edit",
    ),
]
Literal = Annotated[
    bool,
    typer.Option(
        "--literal",
        help='Take the prompt as it stands: do not join "with glasses" to the neutral text.',
        rich_help_panel="Edit",
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        "--layers",
        metavar="fs3|conv|all",
        help="Style layers that may change: fs3 (no toRGB, up to 128 pixels), conv (no toRGB), or all.",
        show_default="the pack's",
        rich_help_panel="Edit",
    ),
]

Relevance = Annotated[
    str | None,
    typer.Option(
        "--relevance",
        metavar="exact|preview|gradient",
        help="How it is found what style channels do: as published (hours, once); on smaller pictures; or "
        "estimated from derivatives.",
        show_default="the pack's, or what was measured, or gradient",
        rich_help_panel="Edit",
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="fp32|bf16|fp16",
        help="What pictures are rendered in: half precision is quicker on GPUs, and slower on most CPUs.",
        rich_help_panel=_COMMON,
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do only this part of the work: 0/4, 1/4, 2/4 and 3/4 are all of it.",
        show_default="all",
        rich_help_panel="Several machines",
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="global|optimize|mapper",
        help="global: one direction for all faces; optimize: each face by gradient descent; mapper: networks "
        "trained for one sentence (--mapper).",
        show_default="global",
        rich_help_panel="Edit",
    ),
]
Mapper = Annotated[
    str | None,
    typer.Option(
        "--mapper",
        metavar="NAME|FILE",
        autocompletion=completion.mappers,
        help="A mapper from train-mapper, or a published one (see styleclip mappers).",
        show_default=False,
        rich_help_panel="Edit",
    ),
]
Free = Annotated[
    bool,
    typer.Option(
        "--free",
        help="Optimize without holding on to a face: from the average one, if no INPUT is given.",
        rich_help_panel=_OPTIMIZE,
    ),
]
Official = Annotated[
    bool,
    typer.Option(
        "--official",
        help="Optimize exactly as the paper's code by default: 300 steps, no identity loss, the prompt as it "
        "stands.",
        rich_help_panel=_OPTIMIZE,
    ),
]
Space = Annotated[
    str | None,
    typer.Option(
        "--space",
        metavar="w+|s",
        help="What is optimized: W+, or the style channels.",
        show_default="w+",
        rich_help_panel=_OPTIMIZE,
    ),
]
Iterations = Annotated[
    int | None,
    typer.Option(
        "--iterations",
        min=1,
        max=100_000,
        help="Steps of optimization.",
        show_default="the pack's",
        rich_help_panel=_OPTIMIZE,
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option("--lr", help="Step size.", show_default="the pack's", rich_help_panel=_OPTIMIZE),
]
LambdaL2 = Annotated[
    float | None,
    typer.Option(
        "--lambda-l2",
        help="How much the latent is held to where it was; less changes more.",
        show_default="the pack's",
        rich_help_panel=_OPTIMIZE,
    ),
]
LambdaId = Annotated[
    float | None,
    typer.Option(
        "--lambda-id",
        help="How much the face must stay the same person.",
        show_default="the pack's",
        rich_help_panel=_OPTIMIZE,
    ),
]
Crops = Annotated[
    int | None,
    typer.Option(
        "--crops",
        min=0,
        max=64,
        help="Show CLIP so many random crops of each picture in the place of the whole.",
        show_default="the pack's",
        rich_help_panel=_OPTIMIZE,
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch",
        min=1,
        max=1024,
        help="Faces optimized at once.",
        show_default="the pack's",
        rich_help_panel=_OPTIMIZE,
    ),
]
SaveSteps = Annotated[
    int,
    typer.Option(
        "--save-steps",
        metavar="K",
        min=0,
        help="Write the picture of every Kth step, into a folder beside the result.",
        show_default="none",
        rich_help_panel=_OPTIMIZE,
    ),
]
Animation = Annotated[
    str | None,
    typer.Option(
        "--animation",
        metavar="FILE",
        help="Also write the way there and back as .gif, .webp or .mp4, for one input; of an optimization "
        "the way it took.",
        show_default=False,
        rich_help_panel="Pictures",
    ),
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Look into folders inside folders.", rich_help_panel=_BATCH)
]
Manifest = Annotated[
    str | None,
    typer.Option(
        "--manifest",
        metavar="FILE|-",
        help="Rows of inputs, each with its own edit: CSV with the columns input, output, prompt, "
        "neutral, alpha, beta, channels, mapper, direction (what is empty is the command's), or JSON "
        "lines.",
        show_default=False,
        rich_help_panel=_BATCH,
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Leave out inputs whose results are there already: go on with a job that was stopped.",
        rich_help_panel=_BATCH,
    ),
]
FailFast = Annotated[
    bool, typer.Option("--fail-fast", help="Stop at the first input that fails.", rich_help_panel=_BATCH)
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="TEMPLATE",
        help="Names in the folder, of {stem}, {edit}, {prompt}, {neutral}, {method}, {alpha}, {number}, "
        "{folder} and {seed}.",
        show_default="{stem}_{edit}.png",
        rich_help_panel=_OUTPUT,
    ),
]
Rows = Annotated[
    str | None,
    typer.Option(
        "--manifest",
        metavar="FILE|-",
        help="Rows of inputs: CSV with the columns input and output, or JSON lines.",
        show_default=False,
        rich_help_panel=_BATCH,
    ),
]
