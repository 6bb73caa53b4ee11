"""The Typer app: which commands there are."""

from __future__ import annotations

from functools import cache as once
from typing import Annotated, Any

import typer

from styleclip_cli import __version__
from styleclip_cli.cli import report
from styleclip_cli.cli.bench import bench
from styleclip_cli.cli.cache import cache
from styleclip_cli.cli.demo import demo
from styleclip_cli.cli.doctor import doctor
from styleclip_cli.cli.edit import edit
from styleclip_cli.cli.evaluate import EvaluateCommand, evaluate
from styleclip_cli.cli.find_direction import find_direction
from styleclip_cli.cli.helping import Command, keep_help
from styleclip_cli.cli.info import info
from styleclip_cli.cli.invert import invert
from styleclip_cli.cli.mappers import mappers
from styleclip_cli.cli.merge import merge
from styleclip_cli.cli.models import models
from styleclip_cli.cli.precompute_stats import precompute_stats
from styleclip_cli.cli.sample import sample
from styleclip_cli.cli.studio import studio
from styleclip_cli.cli.train_mapper import train_mapper
from styleclip_cli.cli.transfer import transfer

_FACES, _KEEP, _PACKS, _HERE = "Faces", "To be used again", "Model packs", "Files and this machine"

app = typer.Typer(
    name="styleclip",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        report.data(f"styleclip {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Edit faces in photos with text prompts."""


app.command("edit", cls=Command, rich_help_panel=_FACES)(edit)
app.command("studio", cls=Command, rich_help_panel=_FACES)(studio)
app.command("transfer", cls=Command, rich_help_panel=_FACES)(transfer)
app.command("sample", cls=Command, rich_help_panel=_FACES)(sample)
app.command("demo", cls=Command, rich_help_panel=_FACES)(demo)
app.command("invert", cls=Command, rich_help_panel=_KEEP)(invert)
app.command("find-direction", cls=Command, rich_help_panel=_KEEP)(find_direction)
app.command("train-mapper", cls=Command, rich_help_panel=_KEEP)(train_mapper)
app.add_typer(mappers, name="mappers", rich_help_panel=_KEEP)
app.add_typer(models, name="models", rich_help_panel=_PACKS)
app.command("precompute-stats", cls=Command, rich_help_panel=_PACKS)(precompute_stats)
app.command("merge", cls=Command, rich_help_panel=_PACKS)(merge)
app.command("evaluate", cls=EvaluateCommand, rich_help_panel=_PACKS)(evaluate)
app.command("info", cls=Command, rich_help_panel=_HERE)(info)
app.add_typer(cache, name="cache", rich_help_panel=_HERE)
app.command("doctor", cls=Command, rich_help_panel=_HERE)(doctor)
app.command("bench", cls=Command, rich_help_panel=_HERE)(bench)
keep_help(app)


@once
def commands() -> Any:
    """All commands as Typer makes them of `app`, which takes a tenth of a second."""
    return typer.main.get_command(app)
