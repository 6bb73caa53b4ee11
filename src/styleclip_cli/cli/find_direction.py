"""`styleclip find-direction`: a direction to keep and use again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from styleclip_cli.cli import options
from styleclip_cli.cli.failures import each
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.edits.channels import parse_channels
from styleclip_cli.errors import PartialFailure, UsageError, shortened
from styleclip_cli.job import values
from styleclip_cli.job.inputs import Item, expand
from styleclip_cli.job.outputs import check_outputs
from styleclip_cli.job.request import Options, refuse, words
from styleclip_cli.machine.shards import own_device, processes, rank
from styleclip_cli.settings import DEFAULT_NEUTRAL, LayerChoice
from styleclip_cli.weights.mappers import slug

if TYPE_CHECKING:
    from torch import Tensor

    from styleclip_cli.edits.directions import Direction
    from styleclip_cli.engine import Engine

_of_pictures_instead_of_a_prompt = partial(typer.Option, rich_help_panel="Images instead of a prompt")
_of_published = partial(typer.Option, rich_help_panel="Published directions instead of a prompt")
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
    published: Annotated[
        Path | None,
        _of_published(
            "--from",
            metavar="FILE",
            help="InterFaceGAN's boundary in W (.npy, .pt), GANSpace's components (.npz, .pt), or a list of "
            "StyleSpace channels (.json, .toml, .csv).",
            show_default=False,
        ),
    ] = None,
    component: Annotated[
        int | None,
        _of_published(
            "--component", min=0, help="Which of GANSpace's components, from 0.", show_default=False
        ),
    ] = None,
    sefa: Annotated[
        int | None,
        _of_published(
            "--sefa",
            metavar="N",
            min=0,
            help="The Nth direction, from 0, that closed-form factorization (SeFa) finds in the weights.",
            show_default=False,
        ),
    ] = None,
    stylespace: Annotated[
        list[str] | None,
        _of_published(
            "--stylespace",
            metavar="LAYER_CHANNEL[:WEIGHT],...",
            help="Style channels, such as 9_409,15_45:-1. Layers are counted from 0, with toRGB. Alpha "
            "counts the standard deviations of each.",
            show_default=False,
        ),
    ] = None,
    no_align: options.NoAlign = False,
    max_megapixels: options.MaxMegapixels = 100,
    beta: options.Beta = None,
    channels: options.Channels = None,
    literal: options.Literal = False,
    layers: Annotated[
        str | None,
        options.of_edit(
            "--layers",
            metavar="fs3|conv|all, coarse,medium,fine",
            help="Layers that may change. For a prompt or images, style layers: fs3 (no toRGB, up to 128 "
            "pixels), conv (no toRGB) or all; for --from and --sefa, W+ layers: coarse, medium, fine, or "
            "their numbers from 0 (7 or 0-5).",
            show_default="the pack's; all W+ layers",
        ),
    ] = None,
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
    alpha: Annotated[
        float | None,
        options.of_output(
            "--alpha",
            "-a",
            help="Strength that the file recommends: that of an edit without --alpha.",
            show_default="the pack's; 3 for W+ layers, 5 for channels",
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
    """Find the StyleSpace direction of a prompt, between two sets of images, or a published one, and save it.

    If the style channels have to be measured first, several processes can share that work: torchrun
    --nproc-per-node 2 -m styleclip_cli find-direction --relevance exact ...

    Example: styleclip find-direction --prompt "with glasses" --out glasses.npz

    Example: styleclip find-direction --sefa 0 --layers 0-5 --out sefa.npz --report sefa.html
    """
    presents = rank() == 0
    reporter = Reporter(quiet or not presents)
    _check(Options(locals()))
    sides = [expand(texts, max_megapixels) for texts in (before or [], after or [])]
    names = [_named(texts) for texts in (before or [], after or [])]
    chosen = Published(published, component, sefa, stylespace, layers)
    target = prompt if prompt is not None else chosen.words or names[1]
    path = out if out is not None else Path(f"{slug(target)}.npz")
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
        layers=None if chosen.words else cast("LayerChoice | None", layers),
        progress=reporter.progress,
        relevance=relevance,
    )
    if processes() > 1 and not chosen.words:
        measure(engine)
    if not presents:
        return
    failure: PartialFailure | None = None
    if prompt is not None:
        start = DEFAULT_NEUTRAL if neutral is None else neutral
        direction = engine.direction(prompt, start, beta=beta, channels=channels, literal=literal)
    elif chosen.words:
        direction = chosen.direction(engine, "" if out is None else out.stem)
    else:
        (first, second), failure = _pictures(engine, sides, not no_align, max_megapixels, reporter)
        direction = engine.direction_between(
            first, second, beta=beta, channels=channels, target=names[1], neutral=names[0]
        )
    direction = direction if alpha is None else replace(direction, alpha=alpha)
    reporter.note(_summary(direction))
    direction.save(path)
    if top:
        _print_top(engine, direction, top, reporter)
    if report is not None:
        _report(engine, direction, report, top, reporter)
    reporter.result(f"{path}  {direction.summary()}")
    if failure is not None:
        raise failure


@dataclass(frozen=True)
class Published:
    """Which published direction is asked for."""

    file: Path | None
    component: int | None
    sefa: int | None
    stylespace: list[str] | None
    layers: str | None

    @property
    def words(self) -> str:
        """What to call it; empty if none is asked for."""
        if self.file is not None:
            return self.file.stem if self.component is None else f"{self.file.stem} {self.component}"
        return f"sefa {self.sefa}" if self.sefa is not None else " ".join(self.stylespace or ())

    def direction(self, engine: Engine, target: str) -> Direction:
        """Read or compute it."""
        layers = values.parse_w_layers(self.layers, engine.generator.style_space.num_ws)
        if self.file is not None:
            return engine.published_direction(self.file, self.component, layers, target)
        if self.sefa is not None:
            return engine.sefa_direction(self.sefa, layers, target)
        return engine.channel_direction(parse_channels(self.stylespace or ()), target)


def _check(given: Options) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: If there are some.
    """
    images = given["before"] is not None, given["after"] is not None
    published = [name for name in ("published", "sefa", "stylespace") if given[name] is not None]
    if (given["prompt"] is not None) + any(images) + len(published) != 1 or any(images) != all(images):
        raise UsageError(
            "say where to, by one of --prompt, --before and --after, --from, --sefa, --stylespace",
            'styleclip find-direction --prompt "with glasses"',
        )
    if given["prompt"] is None and (given["neutral"] is not None or given["literal"]):
        raise UsageError("--neutral and --literal are for --prompt", "leave them out")
    if published and (set(words(given)) & {"--beta", "--channels", "--relevance"}):
        raise UsageError("--beta, --channels and --relevance are for --prompt and images", "leave them out")
    if given["component"] is not None and given["published"] is None:
        raise UsageError("--component is for --from", "leave it out")
    if given["layers"] is not None and given["stylespace"] is not None:
        raise UsageError("--stylespace names layers itself", "leave out --layers")
    if given["stylespace"] is not None:
        parse_channels(given["stylespace"])
    if published:
        values.parse_w_layers(given["layers"])
    else:
        values.check_choice("layers", given["layers"], LayerChoice)
    refuse(words(Options(beta=given["beta"], channels=given["channels"])))
    values.check_beta(given["beta"])
    values.check_finite("--alpha", given["alpha"])
    values.check_device(given["device"])


def _summary(direction: Direction) -> str:
    if direction.source:
        return f"{direction.source}; alpha counts {direction.unit}"
    return f'target "{direction.target}", neutral "{direction.neutral}"'


def _report(engine: Engine, direction: Direction, path: Path, top: int, reporter: Reporter) -> None:
    from styleclip_cli.pictures.report import SEEDS, direction_report, save_report

    found = direction_report(
        engine.renderer,
        direction,
        engine.statistics(),
        [engine.sample([seed]) for seed in SEEDS],
        alpha=engine.default_alpha if direction.alpha is None else direction.alpha,
        models=engine.pack.name,
        top=top or _REPORTED,
        progress=reporter.progress,
    )
    save_report(path, found)
    reporter.result(str(path))


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
    cosine = "cosine" if direction.source else "relevance"
    reporter.table(("layer", "channel", "pixels", cosine, "step at alpha 1"), rows)
