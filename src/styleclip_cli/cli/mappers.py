"""`styleclip mappers`: which mappers there are, and getting published ones."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from styleclip_cli.cli import options, report
from styleclip_cli.cli.helping import Command
from styleclip_cli.cli.packs import accept, describe, network
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import (
    OutputError,
    PartialFailure,
    StyleClipError,
    UsageError,
    WeightsError,
    one_line,
    shortened,
)

if TYPE_CHECKING:
    from styleclip_cli.weights.mappers import Listed

mappers = typer.Typer(no_args_is_help=False, rich_markup_mode="rich")


@mappers.callback(invoke_without_command=True)
def overview(
    context: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per mapper, each on one line.")
    ] = False,
    models: options.Models = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the latent mappers of a model pack (trained, published, built in); download published ones.

    Example: styleclip mappers --models ffhq
    """
    if context.invoked_subcommand is not None:
        return
    from styleclip_cli.weights import packs
    from styleclip_cli.weights.mappers import listed

    pack = packs.find_pack(models if models is not None else packs.usual_name())
    found = [(one, _told(one)) for one in listed(pack)]
    if as_json:
        for one, about in found:
            report.data(json.dumps({"name": one.name, "origin": one.origin, "models": pack.name, **about}))
        return
    reporter = Reporter(quiet)
    if not found:
        reporter.note(f"{pack.name} has no mappers yet: styleclip train-mapper --prompt ...")
        return
    rows = []
    for one, about in found:
        maps = about.get("mapper", about.get("error", "not downloaded"))
        cells = (one.name, one.origin, about.get("prompt", ""), maps, about.get("steps", ""))
        rows.append([shortened(one_line(cell), 60) if cell else "" for cell in cells])
    reporter.table(("name", "origin", "prompt", "what it maps", "steps"), rows, f"mappers of {pack.name}")
    reporter.note(f'styleclip edit face.jpg --mapper {found[0][0].name} --models "{pack.name}"')


def _told(one: Listed) -> dict[str, Any]:
    """What a mapper's file says of it; only its header is read."""
    if one.path is None:
        return {}
    from safetensors import SafetensorError, safe_open

    from styleclip_cli.weights import header

    try:
        with one.path.open("rb") as start:
            header.read(start)  # a long one takes far more time and memory than its size
        with safe_open(one.path, framework="np") as file:
            notes = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return {"error": "damaged"}
    return {name: notes[name] for name in ("prompt", "neutral", "mapper", "steps", "loss") if notes.get(name)}


@mappers.command(cls=Command)
def pull(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Names of published mappers.", show_default=False)
    ],
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", help="Accept a restrictive licence without being asked."),
    ] = False,
    models: options.Models = None,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Download published mappers, without the generators that their files also contain.

    Example: styleclip mappers pull mohawk afro --models ffhq
    """
    from styleclip_cli.weights import install, packs

    reporter = Reporter(quiet)
    pack = packs.find_pack(models if models is not None else packs.usual_name())
    chosen = dict.fromkeys(names)
    unknown = [name for name in chosen if name not in pack.mappers]
    if unknown:
        known = ", ".join(pack.mappers) or "none"
        raise UsageError(f"no mapper {unknown[0]!r} is published for {pack.name}", f"one of: {known}")
    entries = [pack.mappers[name] for name in chosen]
    missing = [entry for entry in entries if entry.file is None]
    for entry in missing:
        reporter.note(f"  {describe([entry])}")
    if not missing:
        reporter.note("all of them are installed already")
        return
    if pack.licence:
        reporter.note(f"licence: {pack.licence}")
    accept(pack, accept_licence, f"styleclip mappers pull {' '.join(chosen)} --models {pack.name}")
    problems: list[StyleClipError] = install.pull_files(
        [[entry] for entry in missing],
        network(offline),
        partial(reporter.progress, in_bytes=True),
        reporter.result,
    )
    if problems:
        for problem in problems[:-1]:
            report.error(problem.message, problem.hint)
        pack = packs.find_pack(models if models is not None else packs.usual_name())
        left = [name for name in chosen if pack.mappers[name].file is None]
        if len(left) >= len(missing):
            raise problems[-1]
        report.error(problems[-1].message, problems[-1].hint)
        raise PartialFailure(f"{len(left)} of {len(missing)} mappers could not be had", "try again later")


@mappers.command(cls=Command)
def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names of mappers.", show_default=False)],
    models: options.Models = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Remove mappers that were trained or downloaded.

    Example: styleclip mappers remove with-glasses --models toy
    """
    import shutil

    from styleclip_cli.weights import packs, store
    from styleclip_cli.weights.mappers import listed

    reporter = Reporter(quiet)
    pack = packs.find_pack(models if models is not None else packs.usual_name())
    known = {one.name: one for one in listed(pack)}
    for name in dict.fromkeys(names):
        one = known.get(name)
        if one is None or one.path is None or one.origin == "built in":
            raise WeightsError(f"there is no mapper {name!r} to remove", "styleclip mappers")
    for name in dict.fromkeys(names):
        one = known[name]
        assert one.path is not None
        if one.origin == "trained":
            try:
                shutil.rmtree(one.path.parent)
            except OSError as error:
                raise OutputError(f"{one.path.parent}: cannot be removed ({error})") from None
        else:
            store.delete(one.path)
        reporter.result(f"{name} is removed")
