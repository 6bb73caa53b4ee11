"""Option types that several commands share, so that they mean and say the same everywhere."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from styleclip_cli.cli import completion
from styleclip_cli.errors import DeviceError, UsageError
from styleclip_cli.machine import process
from styleclip_cli.recipe import MAX_ALPHAS
from styleclip_cli.settings import DEFAULT_NEUTRAL as DEFAULT_NEUTRAL
from styleclip_cli.settings import CompositeMode, LayerChoice, Precision, RelevanceMode
from styleclip_cli.settings import Inverter as InverterName

_COMMON = "Common"
_PILLOWS = 178
AUTOMATIC = "auto"

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Images, folders of images, latents (.npz; StyleCLIP's .npy and .pt), or seeds of generated "
        "faces (seed:7, seed:1-5).",
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
        "--offline",
        envvar="STYLECLIP_OFFLINE",
        help="Never use the network.",
        rich_help_panel=_COMMON,
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
    bool,
    typer.Option("--noise", help="Refine the generator's noise too.", rich_help_panel="Inversion"),
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
        "--composite",
        metavar="adaptive|residual|replace",
        help=COMPOSITE_HELP,
        rich_help_panel="Photos",
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
    int,
    typer.Option("--quality", min=1, max=100, help="Of JPEG, WebP and AVIF.", rich_help_panel="Output"),
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

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
_SEEDS = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?")
MAX_SEEDS = 10_000
MAX_SEED = 2**32 - 1


def check_device(text: str) -> str:
    """Refuse a device name that no machine has, before anything heavy is imported.

    Raises:
        DeviceError: If the text is not auto, cpu, cuda, cuda:N or mps.
    """
    if not _DEVICE.fullmatch(text):
        raise DeviceError(f"unknown device {text!r}", "--device auto, cpu, cuda, cuda:1 or mps")
    return text


def check_layers(text: str | None) -> LayerChoice | None:
    """Refuse an unknown choice of layers.

    Raises:
        UsageError: If it is not fs3, conv or all.
    """
    if text is not None and text not in get_args(LayerChoice):
        raise UsageError(f"unknown layers {text!r}", "--layers fs3, conv or all")
    return cast("LayerChoice | None", text)


def check_relevance(text: str | None) -> RelevanceMode | None:
    """Refuse an unknown way to find what channels do.

    Raises:
        UsageError: If it is not exact, preview or gradient.
    """
    if text is not None and text not in get_args(RelevanceMode):
        raise UsageError(f"unknown relevance {text!r}", "--relevance exact, preview or gradient")
    return cast("RelevanceMode | None", text)


def check_precision(text: str) -> Precision:
    """Refuse an unknown precision.

    Raises:
        UsageError: If it is not fp32, bf16 or fp16.
    """
    if text not in get_args(Precision):
        raise UsageError(f"unknown precision {text!r}", "--precision fp32, bf16 or fp16")
    return cast("Precision", text)


def check_beta(beta: float | None, channels: int | None) -> None:
    """Refuse thresholds that no cosine can meet, and two ways to choose at once.

    Raises:
        UsageError: If beta is not between 0 and 1, or both are given.
    """
    if beta is not None and channels is not None:
        raise UsageError("--beta and --channels exclude each other", "give one of them")
    if beta is not None and not 0 <= beta <= 1:
        raise UsageError(f"--beta must be between 0 and 1, not {beta:g}", "leave it out to have it chosen")


def check_inverter(text: str | None) -> InverterName | None:
    """Refuse an unknown inverter.

    Raises:
        UsageError: If it is not encoder, refine or pivotal.
    """
    if text is not None and text not in get_args(InverterName):
        raise UsageError(f"unknown inverter {text!r}", "--inverter encoder, refine or pivotal")
    return cast("InverterName | None", text)


def check_inversion(inverter: InverterName | None, steps: int | None, noise: bool) -> None:
    """Refuse settings of a search where none is made.

    Raises:
        UsageError: If steps or noise are asked of the encoder alone.
    """
    if inverter == "encoder" and (steps or noise):
        raise UsageError("--steps and --noise are for --inverter refine or pivotal", "leave out --inverter")


def check_face(text: str) -> str:
    """Refuse what names no face of a photo.

    Raises:
        UsageError: If it is not largest, all, or a number from 1 up.
    """
    if text not in ("largest", "all") and not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise UsageError(f"which face is {text!r}?", "--face largest, all, or a number counted from the left")
    return text


def check_composite(text: str) -> CompositeMode:
    """Read how an edit is put back.

    Raises:
        UsageError: If it is not a known way.
    """
    if text not in get_args(CompositeMode):
        raise UsageError(f"unknown composite {text!r}", "--composite adaptive, residual or replace")
    return cast("CompositeMode", text)


def parse_budget(text: str | None) -> float | None:
    """Read a time: "30s", "2m", "45".

    Returns:
        Seconds; None if there is no limit.

    Raises:
        UsageError: If it is none.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh]?)", text.strip())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"--budget must be a time, not {text!r}", "--budget 30s, or 2m")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def check_finite(name: str, value: float | None) -> float | None:
    """Refuse nan and infinity, which parse as numbers but mean nothing as a setting.

    Raises:
        UsageError: If the value is not finite.
    """
    if value is not None and not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, not {value}")
    return value


def parse_alphas(texts: Sequence[str] | None) -> list[float]:
    """Read strengths: `--alpha 2,4,6`, `--alpha 2 --alpha 4`, or `--alpha -4:4:9`, nine from -4 to 4.

    Returns:
        The strengths in the order given; empty if none were.

    Raises:
        UsageError: If one is not a finite number, or there are too many.
    """
    return _numbers("--alpha", texts or (), "--alpha 4, --alpha 2,4,6, or --alpha -4:4:9")


def parse_betas(texts: Sequence[str]) -> list[float | None]:
    """Read thresholds, as `parse_alphas` does strengths; "auto" has one chosen.

    Raises:
        UsageError: If one is not a number from 0 to 1.
    """
    found: list[float | None] = []
    for text in texts:
        for word in text.split(","):
            if word.strip() == AUTOMATIC:
                found.append(None)
                continue
            values = _numbers("--beta", [word], "--beta 0.1, --beta auto, or --beta 0.05:0.25:5")
            for value in values:
                if not 0 <= value <= 1:
                    raise UsageError(
                        f"--beta must be between 0 and 1, not {value:g}", "leave it out to have it chosen"
                    )
            found += values
    return found


def _numbers(option: str, texts: Sequence[str], hint: str) -> list[float]:
    found: list[float] = []
    for word in (part.strip() for text in texts for part in text.split(",")):
        parts = word.split(":")
        try:
            if len(parts) not in (1, 3):
                raise ValueError
            ends = [float(part) for part in parts[:2]]
            count = int(parts[2]) if len(parts) == 3 else 1
        except ValueError:
            raise UsageError(f"{option} must be a number or a range, not {word!r}", hint) from None
        if not all(math.isfinite(end) for end in ends):
            raise UsageError(f"{option} must be a finite number, not {word!r}", hint)
        if len(parts) == 3 and not 2 <= count <= MAX_ALPHAS:
            raise UsageError(f"{option} {word}: 2 to {MAX_ALPHAS} values are a range", hint)
        if len(parts) == 1:
            found.append(ends[0])
        else:
            steps = [number / (count - 1) for number in range(count)]
            found += [round(ends[0] * (1 - t) + ends[1] * t, 10) + 0.0 for t in steps]
    if len(found) > MAX_ALPHAS:
        raise UsageError(f"{len(found)} values of {option} are too many", f"at most {MAX_ALPHAS}")
    return found


def parse_seeds(text: str) -> list[int]:
    """Read seeds: "7", "1-5" or "1-5,9".

    Raises:
        UsageError: If the text is no such list, runs backwards, or names more than `MAX_SEEDS`.
    """
    seeds: list[int] = []
    for word in text.split(","):
        match = _SEEDS.fullmatch(word.strip())
        if match is None:
            raise UsageError(f"seeds are numbers or ranges, not {text!r}", "7, or 1-5, or 1-5,9")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise UsageError(f"the seed range {word.strip()} runs backwards", f"{last}-{first}")
        if last > MAX_SEED or len(seeds) + last - first >= MAX_SEEDS:
            raise UsageError(
                f"too many or too large seeds in {text!r}", f"{MAX_SEEDS} at a time, up to {MAX_SEED}"
            )
        seeds.extend(range(first, last + 1))
    return list(dict.fromkeys(seeds))
