"""`styleclip find-direction`: a direction to keep and use again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styleclip_cli.cli import options
from styleclip_cli.cli.failures import each
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import PartialFailure, UsageError, shortened
from styleclip_cli.job import values
from styleclip_cli.job.inputs import Item, expand
from styleclip_cli.job.outputs import check_outputs
from styleclip_cli.job.request import Options, refuse, words
from styleclip_cli.machine.shards import own_device, processes, rank
from styleclip_cli.settings import DEFAULT_NEUTRAL
from styleclip_cli.weights.mappers import slug

if TYPE_CHECKING:
    from torch import Tensor

    from styleclip_cli.edits.directions import Direction
    from styleclip_cli.engine import Engine

_of_pictures_instead_of_a_prompt = partial(typer.Option, rich_help_panel="Images instead of a prompt")
_REPORTED = 8
"""Channels in a report where none are listed."""


def find_direction(
    prompt: options.Prompt = None,
    neutral: options.Neutral = None,
    before: Annotated[
        list[str] | None,
        _of_pictures_instead_of_a_prompt(
            "--before",
            metavar="INPUT",
            help="Faces without the attribute: a folder of images, an image, latents, seeds. May be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    after: Annotated[
        list[str] | None,
        _of_pictures_instead_of_a_prompt(
            "--after",
            metavar="INPUT",
            help="Faces with the attribute; they may be other people, if there are enough.",
            show_default=False,
        ),
    ] = None,
    no_align: options.NoAlign = False,
    max_megapixels: options.MaxMegapixels = 100,
    beta: options.Beta = None,
    channels: options.Channels = None,
    literal: options.Literal = False,
    layers: options.Layers = None,
    relevance: options.Relevance = None,
    out: Annotated[
        Path | None,
        options.of_output(
            "--out",
            "-o",
            help="Direction file to write (.npz).",
            show_default="named after the prompt or the folder",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        options.of_output(
            "--report",
            metavar="FILE",
            help="Also write a report that shows the effect of the direction (.html or .png).",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, options.of_output("--top", min=0, help="How many channels to list.")] = 10,
    overwrite: options.Overwrite = False,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    seed: options.Seed = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Find the StyleSpace direction of a prompt, or between two sets of images, and save it.

    If the style channels have to be measured first, several processes can share that work: torchrun
    --nproc-per-node 2 -m styleclip_cli find-direction --relevance exact ...

    Example: styleclip find-direction --prompt "with glasses" --out glasses.npz
    """
    presents = rank() == 0
    reporter = Reporter(quiet or not presents)
    if (prompt is None) != bool(before and after) or (prompt is not None and (before or after)):
        raise UsageError(
            "say where to, by either --prompt, or --before and --after",
            'styleclip find-direction --prompt "with glasses"',
        )
    if prompt is None and (neutral is not None or literal):
        raise UsageError("--neutral and --literal are for --prompt", "leave them out")
    refuse(words(Options(beta=beta, channels=channels)))
    values.check_beta(beta)
    values.check_device(device)
    sides = [expand(texts, max_megapixels) for texts in (before or [], after or [])]
    names = [_named(texts) for texts in (before or [], after or [])]
    path = out if out is not None else Path(f"{slug(prompt if prompt is not None else names[1])}.npz")
    if path.suffix.lower() != ".npz":
        raise UsageError(f"{path}: directions are written as .npz", f"--out {path.with_suffix('.npz')}")
    if report is not None and report.suffix.lower() not in (".html", ".png"):
        raise UsageError(
            f"{report}: reports are written as .html or .png", f"--report {report.with_suffix('.html')}"
        )
    check_outputs([path, *([report] if report is not None else [])], overwrite=overwrite)

    models = choose(models, reporter, offline)

    from styleclip_cli.engine import Engine
    from styleclip_cli.job.together import measure

    engine = Engine(
        models,
        device=own_device(device),
        seed=seed,
        layers=layers,
        progress=reporter.progress,
        relevance=relevance,
    )
    if processes() > 1:
        measure(engine)
    if not presents:
        return
    failure: PartialFailure | None = None
    if prompt is not None:
        start = DEFAULT_NEUTRAL if neutral is None else neutral
        direction = engine.direction(prompt, start, beta=beta, channels=channels, literal=literal)
    else:
        (first, second), failure = _pictures(engine, sides, not no_align, max_megapixels, reporter)
        direction = engine.direction_between(
            first, second, beta=beta, channels=channels, target=names[1], neutral=names[0]
        )
    reporter.note(f'target "{direction.target}", neutral "{direction.neutral}"')
    direction.save(path)
    if top:
        _print_top(engine, direction, top, reporter)
    if report is not None:
        from styleclip_cli.pictures.report import SEEDS, direction_report, save_report

        found = direction_report(
            engine.renderer,
            direction,
            engine.statistics(),
            [engine.sample([seed]) for seed in SEEDS],
            alpha=engine.default_alpha,
            models=engine.pack.name,
            top=top or _REPORTED,
            progress=reporter.progress,
        )
        save_report(report, found)
        reporter.result(str(report))
    reporter.result(f"{path}  beta {direction.beta:.9g}  {direction.num_channels} channels")
    if failure is not None:
        raise failure


def _named(texts: list[str]) -> str:
    """What to call a set of images: nothing of the folders above its own."""
    words = [text if text.startswith("seed:") else Path(text).absolute().name or "faces" for text in texts]
    return shortened(", ".join(words), 200)


def _pictures(
    engine: Engine, sides: list[list[Item]], align: bool, max_megapixels: float, reporter: Reporter
) -> tuple[list[Tensor], PartialFailure | None]:
    """Faces of both sets as the generator would draw them, each [N, 3, R, R].

    Returns:
        The sets; and the failure of some images, to be told when the others' direction is written.

    Raises:
        StyleClipError: If no image of a set can be used.
    """
    import torch

    from styleclip_cli.job.faces import latent_of, open_photo
    from styleclip_cli.photo.portrait import portraits

    found: list[list[Tensor]] = [[], []]
    failure: PartialFailure | None = None
    for items, pictures in zip(sides, found, strict=True):

        def read(item: Item, pictures: list[Tensor] = pictures) -> None:
            photo = open_photo(item, reporter.note, max_megapixels)
            if photo is None:
                pictures.append(engine.render([latent_of(engine, item)]))
                return
            engine.check_photos(align)
            pictures.append(portraits(engine, photo.image, align=align)[0].image)

        try:
            each(items, read)
        except PartialFailure:
            if not pictures:
                raise
            failure = PartialFailure("the direction was found without the pictures that failed")
    return [torch.cat(pictures) for pictures in found], failure


def _print_top(engine: Engine, direction: Direction, top: int, reporter: Reporter) -> None:
    rows = []
    for row in direction.top(top, engine.generator.style_space):
        numbers = (f"{row.relevance:+.3f}", f"{row.delta:+.3f}")
        rows.append((row.layer.name, str(row.channel), str(row.layer.resolution), *numbers))
    reporter.table(("layer", "channel", "pixels", "relevance", "step at alpha 1"), rows)
