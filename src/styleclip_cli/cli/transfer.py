"""`styleclip transfer`: something of a second person on the first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styleclip_cli.cli import inputs as io
from styleclip_cli.cli import methods, options
from styleclip_cli.cli.batch import run_jobs
from styleclip_cli.cli.looks import Look
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.edits.parts import CHANNELS
from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.settings import DEFAULT_COMPOSITE

if TYPE_CHECKING:
    from styleclip_cli.edits.edit import Edit
    from styleclip_cli.engine import Engine
    from styleclip_cli.inversion import Inversion
    from styleclip_cli.settings import InversionSettings

_EDIT, _PHOTOS = "Edit", "Photos"
METHOD = "transfer"
"""As recipes say it."""


def transfer(
    inputs: options.Inputs,
    reference: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="INPUT",
            help="Whom to take it from: an image, a latent file of one face, or seed:7.",
            show_default=False,
            rich_help_panel=_EDIT,
        ),
    ],
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            "-p",
            help='What to take: a part ("hair", "eye color", "mouth"), a thing ("glasses"), or what it may '
            'look like ("red hair, long hair").',
            show_default=False,
            rich_help_panel=_EDIT,
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            metavar="coarse,medium,fine",
            help="Take whole W+ layers instead: coarse (0-3), medium (4-7), fine (8-), or numbers.",
            show_default=False,
            rich_help_panel=_EDIT,
        ),
    ] = None,
    alpha: Annotated[
        list[str] | None,
        typer.Option(
            "--alpha",
            "-a",
            metavar="NUMBER[,NUMBER...]",
            help="How far: 1 is all the way, 0 nothing. Several make a strip: original, first, second ...",
            show_default="1",
            rich_help_panel=_EDIT,
        ),
    ] = None,
    neutral: options.Neutral = None,
    beta: options.Beta = None,
    channels: Annotated[
        int | None,
        typer.Option(
            "--channels",
            min=1,
            help="Choose beta so that this many style channels are taken for each phrase.",
            show_default=str(CHANNELS),
            rich_help_panel=_EDIT,
        ),
    ] = None,
    literal: options.Literal = False,
    relevance: options.Relevance = None,
    face: options.Face = "largest",
    from_face: Annotated[
        str,
        typer.Option(
            "--from-face",
            metavar="largest|N",
            help="Which face of the photo that is taken from.",
            rich_help_panel=_PHOTOS,
        ),
    ] = "largest",
    no_align: options.NoAlign = False,
    crop: options.Crop = False,
    composite: options.Composite = DEFAULT_COMPOSITE,
    max_megapixels: options.MaxMegapixels = 100,
    keep_exif: options.KeepExif = False,
    inverter: options.Inverter = None,
    steps: options.Steps = None,
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
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    seed: options.Seed = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Give faces something of another one: its hair, its glasses, its smile.

    Example: styleclip transfer me.jpg --from friend.jpg --prompt "hair"
    """
    began = time.monotonic()
    reporter = Reporter(quiet, json=json)
    if (prompt is None) == (layers is None):
        raise UsageError(
            "say what to take, by either --prompt or --layers",
            'styleclip transfer me.jpg --from friend.jpg --prompt "hair"',
        )
    if layers is not None:
        methods.parse_layers(layers)
        fine = {"--beta": beta, "--channels": channels, "--neutral": neutral, "--literal": literal or None}
        fine["--relevance"] = relevance
        given = [name for name, value in fine.items() if value is not None]
        if given:
            raise UsageError(f"{', '.join(given)}: not for --layers", "leave out one of them")
    options.check_beta(beta, channels)
    options.check_face(face)
    if options.check_face(from_face) == "all":
        raise UsageError("--from-face takes one face", "--from-face 2, counted from the left")
    chosen_composite = options.check_composite(composite)
    chosen_inverter = options.check_inverter(inverter)
    seconds = options.parse_budget(budget)
    options.check_inversion(chosen_inverter, steps, noise)
    alphas = options.parse_alphas(alpha) or [1.0]
    if face == "all" and len(alphas) > 1:
        raise UsageError("--face all takes one --alpha: a strip shows one face", "--face 1 --alpha 0.5,1")
    options.check_device(device)
    mode = options.check_relevance(relevance)
    suffix = io.suffix_of(format)
    if out is not None and io.is_file_name(out) and format is None:
        io.check_picture(out)
    source = _one(reference, max_megapixels)
    items = io.expand(inputs, max_megapixels)
    taken = f"{prompt if prompt is not None else layers} from {source.stem}"
    look = Look((), alphas=tuple(alphas), named=taken)
    naming = io.Naming(suffix=suffix)
    paths = io.plan_outputs(items, [look] * len(items), out, naming, overwrite=overwrite)
    if save_latent:
        io.check_outputs((path.with_suffix(".npz") for path in paths), overwrite=overwrite)
    if out is None:
        reporter.note(f"writing to the current folder ({Path.cwd()}); --out chooses another")

    models = choose(models, reporter, offline)

    from styleclip_cli.cli.edit_job import EditJob, Writing
    from styleclip_cli.engine import Engine

    engine = Engine(models, device=device, seed=seed, progress=reporter.progress, relevance=mode)
    settings = engine.inversion(chosen_inverter, steps, noise or None, seconds)

    def taken_over() -> Edit:
        other = _face_of(engine, source, from_face, not no_align, settings, max_megapixels, reporter)
        if prompt is None:
            return engine.mix(other, methods.parse_layers(layers, engine.generator.style_space.num_ws))
        start = options.DEFAULT_NEUTRAL if neutral is None else neutral
        found = engine.transfer(other, prompt, start, beta=beta, channels=channels, literal=literal)
        reporter.note(f'taking {", ".join(found.phrases)}; neutral "{found.neutral}"')
        return found

    job = EditJob(
        engine=engine,
        method=METHOD,
        look=look,
        edits=_Same(taken_over),
        settings=settings,
        face=face,
        align=not no_align,
        crop=crop,
        mode=chosen_composite,
        writing=Writing(format, quality, compression, not no_metadata, save_latent),
        max_megapixels=max_megapixels,
        keep_exif=keep_exif,
        reporter=reporter,
        announce=lambda edit: f"from {source.name}: {edit.target}",
    )
    run_jobs(list(zip(items, paths, strict=True)), job)
    reporter.note(f"{time.monotonic() - began:.1f} s in all")


class _Same:
    """One edit for all, made when it is first needed."""

    def __init__(self, make: Callable[[], Edit]) -> None:
        self._make = make
        self._made: list[Edit] = []

    def of(self, look: Look) -> list[Edit]:
        """The edit."""
        if not self._made:
            self._made.append(self._make())
        return self._made

    def alphas(self, look: Look) -> list[float]:
        """The look's strengths."""
        return list(look.alphas)


def _one(reference: str, max_megapixels: float) -> io.Item:
    """The face to take from, before anything heavy is loaded.

    Raises:
        StyleClipError: If it cannot be used.
        UsageError: If it is several faces.
    """
    items = io.expand([reference], max_megapixels)
    if len(items) != 1:
        raise UsageError(f"--from {reference} is {len(items)} faces", "--from one image, or seed:7")
    return items[0]


def _face_of(
    engine: Engine,
    item: io.Item,
    which: str,
    align: bool,
    settings: InversionSettings,
    max_megapixels: float,
    reporter: Reporter,
) -> Inversion:
    """Find the latent of the face to take from."""
    from styleclip_cli.cli.faces import latent_of, open_photo
    from styleclip_cli.photos.portrait import find_faces

    photo = open_photo(item, reporter, max_megapixels)
    if photo is None:
        return latent_of(engine, item)
    engine.check_photos(align)
    if settings.inverter == "pivotal":  # a generator tuned for this face would not be used
        settings = replace(settings, inverter="refine")
    try:
        return find_faces(engine, photo.image, which, align, settings)[0].face
    except BadInputError as error:
        raise BadInputError(f"{item.name}: {error.message}", error.hint) from None
