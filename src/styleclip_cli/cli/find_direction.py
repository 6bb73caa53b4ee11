"""`styleclip find-direction`: a direction to keep and use again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styleclip_cli.cli import inputs as io
from styleclip_cli.cli import options
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import UsageError

if TYPE_CHECKING:
    from styleclip_cli.edits.directions import Direction
    from styleclip_cli.engine import Engine


def find_direction(
    prompt: options.Prompt,
    neutral: options.Neutral = None,
    beta: options.Beta = None,
    channels: options.Channels = None,
    literal: options.Literal = False,
    layers: options.Layers = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Direction file to write (.npz).",
            show_default="the prompt's words",
            rich_help_panel="Output",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", min=0, help="How many channels to list.", rich_help_panel="Output")
    ] = 10,
    overwrite: options.Overwrite = False,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    seed: options.Seed = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the style channels that a sentence moves, save them, and list the strongest.

    Example: styleclip find-direction --prompt "with glasses" --out glasses.npz
    """
    reporter = Reporter(quiet)
    options.check_beta(beta, channels)
    chosen_layers = options.check_layers(layers)
    options.check_device(device)
    path = out if out is not None else Path(f"{io.slug(prompt)}.npz")
    if path.suffix.lower() != ".npz":
        raise UsageError(f"{path}: directions are written as .npz", f"--out {path.with_suffix('.npz')}")
    io.check_outputs([path], overwrite=overwrite)

    models = choose(models, reporter, offline)

    from styleclip_cli.engine import Engine

    engine = Engine(models, device=device, seed=seed, layers=chosen_layers, progress=reporter.progress)
    before = options.DEFAULT_NEUTRAL if neutral is None else neutral
    direction = engine.direction(prompt, before, beta=beta, channels=channels, literal=literal)
    reporter.note(f'target "{direction.target}", neutral "{direction.neutral}"')
    direction.save(path)
    if top:
        _print_top(engine, direction, top, reporter)
    reporter.result(f"{path}  beta {direction.beta:.9g}  {direction.num_channels} channels")


def _print_top(engine: Engine, direction: Direction, top: int, reporter: Reporter) -> None:
    from rich.table import Table

    table = Table("layer", "channel", "pixels", "relevance", "step at alpha 1")
    for row in direction.top(top, engine.generator.style_space):
        numbers = (f"{row.relevance:+.3f}", f"{row.delta:+.3f}")
        table.add_row(row.layer.name, str(row.channel), str(row.layer.resolution), *numbers)
    reporter.table(table)
