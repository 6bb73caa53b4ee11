"""`styleclip edit`: the main job. Faces in, edited faces out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styleclip_cli.cli import inputs as io
from styleclip_cli.cli import options
from styleclip_cli.cli.batch import StopBatch, run_batch
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import StyleClipError, UsageError

if TYPE_CHECKING:
    from styleclip_cli.edits.directions import Direction
    from styleclip_cli.engine import Engine


def edit(
    inputs: options.Inputs,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            "-p",
            help='What the face should become: "a smiling face", or only what changes: "with glasses".',
            show_default=False,
            rich_help_panel="Edit",
        ),
    ] = None,
    neutral: options.Neutral = None,
    direction: Annotated[
        Path | None,
        typer.Option(
            "--direction",
            metavar="FILE",
            help="Use a direction saved by find-direction instead of a prompt.",
            show_default=False,
            rich_help_panel="Edit",
        ),
    ] = None,
    alpha: Annotated[
        list[str] | None,
        typer.Option(
            "--alpha",
            "-a",
            metavar="NUMBER[,NUMBER...]",
            help="Strength; negative for the opposite. Several make a strip: original, first, second ...",
            show_default="the pack's",
            rich_help_panel="Edit",
        ),
    ] = None,
    beta: options.Beta = None,
    channels: options.Channels = None,
    literal: options.Literal = False,
    layers: options.Layers = None,
    steps: options.Steps = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="A file for one input (.png, .jpg, .webp), a folder for several.",
            show_default="the current folder",
            rich_help_panel="Output",
        ),
    ] = None,
    save_latent: Annotated[
        bool,
        typer.Option(
            "--save-latent", help="Also write each face's latent (.npz) beside it.", rich_help_panel="Output"
        ),
    ] = False,
    overwrite: options.Overwrite = False,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    seed: options.Seed = None,
    quiet: options.Quiet = False,
) -> None:
    """Edit faces by a sentence.

    Example: styleclip edit examples/face.png --prompt "with glasses" --alpha 4
    """
    began = time.monotonic()
    reporter = Reporter(quiet)
    if (prompt is None) == (direction is None):
        raise UsageError(
            "say what to change, by either --prompt or --direction",
            'styleclip edit face.png --prompt "smiling"',
        )
    fixed = {"--beta": beta, "--channels": channels, "--layers": layers, "--seed": seed, "--neutral": neutral}
    given = [name for name, value in fixed.items() if value is not None] + ["--literal"] * literal
    if direction is not None and given:
        raise UsageError(f"{', '.join(given)}: fixed in a saved direction", "leave out what is not --alpha")
    options.check_beta(beta, channels)
    chosen_layers = options.check_layers(layers)
    alphas = options.parse_alphas(alpha)
    options.check_device(device)

    items = io.expand(inputs)
    ending = io.slug(prompt if prompt is not None else Path(direction or "edit").stem)
    paths = io.plan_outputs(items, out, ending, overwrite=overwrite)
    if save_latent:
        io.check_outputs((_latent_path(path) for path in paths), overwrite=overwrite)
    if out is None:
        reporter.note(f"writing to the current folder ({Path.cwd()}); --out chooses another")

    models = choose(models, reporter, offline)

    from styleclip_cli.cli.faces import note_alignment
    from styleclip_cli.engine import Engine

    engine = Engine(models, device=device, seed=seed, layers=chosen_layers, progress=reporter.progress)
    note_alignment(engine, items, reporter)

    @cache
    def chosen() -> Direction:
        try:
            before = options.DEFAULT_NEUTRAL if neutral is None else neutral
            found = _choose_direction(engine, prompt, before, direction, beta, channels, literal)
        except StyleClipError as error:
            raise StopBatch(error) from error
        reporter.note(f'target "{found.target}", neutral "{found.neutral}"')
        return found

    job = _Job(engine, chosen, alphas or [float(engine.default_alpha)], steps, save_latent, reporter)
    run_batch(list(zip(items, paths, strict=True)), job)
    reporter.note(f"{time.monotonic() - began:.1f} s in all")


def _choose_direction(
    engine: Engine,
    prompt: str | None,
    neutral: str,
    file: Path | None,
    beta: float | None,
    channels: int | None,
    literal: bool,
) -> Direction:
    if file is not None:
        return engine.load_direction(file)
    assert prompt is not None
    return engine.direction(prompt, neutral, beta=beta, channels=channels, literal=literal)


@dataclass(frozen=True)
class _Job:
    """What is done with each face."""

    engine: Engine
    direction: Callable[[], Direction]
    alphas: list[float]
    steps: int | None
    save_latent: bool
    reporter: Reporter

    def __call__(self, item: io.Item, path: Path) -> None:
        from styleclip_cli.cli.faces import open_face, w_plus_of
        from styleclip_cli.save import contact_sheet, save_image, to_image

        began = time.monotonic()
        face = open_face(item, self.engine.pack.resolution)
        direction = self.direction()  # only now: a file that cannot be read has failed without any model
        w_plus = w_plus_of(self.engine, item, face, self.steps)
        styles = self.engine.styles(w_plus)
        pictures = self.engine.edit(styles, direction, self.alphas)[0]
        if len(self.alphas) == 1:
            picture = to_image(pictures[0])
        else:
            original = self.engine.synthesize(styles)[0]
            labels = ["original", *(f"alpha {alpha:g}" for alpha in self.alphas)]
            picture = contact_sheet([[original, *pictures]], column_labels=labels)
        strengths = ", ".join(f"{alpha:g}" for alpha in self.alphas)
        save_image(
            path,
            picture,
            {
                "method": "global directions",
                "prompt": direction.target,
                "neutral": direction.neutral,
                "alpha": strengths,
                "beta": f"{direction.beta:.9g}",
                "channels": direction.num_channels,
                "measurement-seed": self.engine.seed,
                "models": self.engine.pack.name,
                "fingerprint": self.engine.fingerprint,
            },
        )
        if self.save_latent:
            self.engine.save_latents(_latent_path(path), w_plus, [item.name])
        self.reporter.result(
            f"{path}  alpha {strengths}  beta {direction.beta:.9g}  {direction.num_channels} channels  "
            f"{time.monotonic() - began:.1f} s"
        )


def _latent_path(path: Path) -> Path:
    return path.with_suffix(".npz")
