"""`styleclip models`: which model packs there are, and getting, checking and removing them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from styleclip_cli.cli import options, report
from styleclip_cli.cli.check import check
from styleclip_cli.cli.helping import Command
from styleclip_cli.cli.importing import import_, readable
from styleclip_cli.cli.packs import download, network
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import OutputError, PartialFailure, StyleClipError, UsageError, WeightsError
from styleclip_cli.weights.packs import Activation, Alignment

if TYPE_CHECKING:
    from styleclip_cli.weights.packs import Entry, Pack
    from styleclip_cli.weights.readers import Part

models = typer.Typer(no_args_is_help=False, rich_markup_mode="rich")

_USUAL_CLIP = 512  # length of the vectors of ffhq's CLIP, ViT-B/32

Names = Annotated[list[str], typer.Argument(metavar="NAME", help="Names of packs.", show_default=False)]


@models.callback(invoke_without_command=True)
def overview(context: typer.Context, quiet: options.Quiet = False) -> None:
    """List, download, verify and remove model packs.

    Example: styleclip models pull ffhq
    """
    if context.invoked_subcommand is not None:
        return
    from styleclip_cli.weights import packs, store

    rows = []
    for name in packs.names():
        try:
            rows.append(_row(packs.find_pack(name)))
        except WeightsError as error:
            rows.append([name, "broken", "", error.message, "", ""])
        except OSError as error:  # a folder that may not be searched
            rows.append([name, "broken", "", f"cannot be read ({error.strerror})", "", ""])
    reporter = Reporter(quiet)
    columns = ("name", "installed", "size", "what it draws", "licence", "from")
    reporter.table(columns, rows, "model packs")
    usual = packs.default_name()
    reporter.note(f"used when --models is left out: {usual or 'none yet'}; weights lie in {store.home()}")


def _row(pack: Pack) -> list[str]:
    from styleclip_cli.weights import store

    here = [entry.file.path for entry in pack.entries.values() if entry.file is not None]
    published = [entry.source for entry in pack.entries.values() if entry.source is not None]
    to_come = [e.source for part in pack.missing if (e := pack.entries[part]).source is not None]
    sizes = []
    if here:
        sizes.append(f"{sum(path.stat().st_size for path in here if path.is_file()) / 1e6:.0f} MB")
    if to_come:
        more = "+" if any(not source.size for source in to_come) else ""
        sizes.append(f"{sum(source.size or 0 for source in to_come) / 1e6:.0f}{more} MB to download")
        begun = sum(store.begun_bytes(store.downloads_dir(source)) for source in set(to_come))
        sizes += [f"{begun / 1e6:.1f} MB of that begun"] if begun else []
    if not published:
        state = "built in"
    elif not here:
        state = "no"
    else:
        state = "yes" if not to_come else f"{len(here)} of {len(here) + len(to_come)} parts"
    hosts = [urlsplit(url).hostname or "" for url in (*(u for s in published for u in s.urls), "")]
    licence = "non-commercial use only" if pack.restricted else pack.licence
    return [pack.name, state, ", ".join(sizes), pack.title, licence, hosts[0]]


@models.command(cls=Command)
def pull(
    names: Names,
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", help="Accept a restrictive licence without being asked."),
    ] = False,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="PART",
            help="Also download an optional part: parser, which finds the parts of a face (--only); "
            "judge_clip, a larger CLIP with which styleclip evaluate judges edits. May be repeated.",
            show_default=False,
        ),
    ] = None,
    no_check: Annotated[
        bool,
        typer.Option(
            "--no-check", help="Do not check what a new pack does on this machine (styleclip models check)."
        ),
    ] = False,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Download packs; files are verified, and interrupted downloads are resumed.

    STYLECLIP_MIRROR names an address to try before the published ones; proxies are honoured.

    Example: styleclip models pull ffhq --accept-licence
    """
    from styleclip_cli.weights import packs
    from styleclip_cli.weights.reach import NoNetwork

    reporter = Reporter(quiet)
    how = network(offline)
    chosen = [packs.find_pack(name) for name in dict.fromkeys(names)]
    for pack in chosen:
        pack.missing_with(with_ or ())  # before anything is downloaded
    failures: list[StyleClipError] = []
    pulled = 0
    for pack in chosen:
        try:
            download(pack, how, reporter, accept_licence, optional=with_ or (), check=not no_check)
            pulled += 1
        except StyleClipError as error:
            if len(chosen) == 1 or (isinstance(error, NoNetwork) and not pulled):
                raise
            report.error(error.message, error.hint)
            failures.append(error)
            if isinstance(error, NoNetwork):
                break
    if failures:
        message = f"{len(chosen) - pulled} of {len(chosen)} packs could not be pulled as a whole"
        raise PartialFailure(message) if pulled else type(failures[-1])(message)


models.command("import", cls=Command)(import_)
models.command(cls=Command)(check)


@models.command(cls=Command)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new pack.", show_default=False)],
    generator: Annotated[
        Path, typer.Option("--generator", metavar="FILE", help="StyleGAN2 (.pkl or .pt).", show_default=False)
    ],
    encoder: Annotated[
        Path | None,
        typer.Option(
            "--encoder", metavar="FILE", help="e4e, pSp or ReStyle encoder (.pt).", show_default="none"
        ),
    ] = None,
    clip: Annotated[
        Path | None,
        typer.Option("--clip", metavar="FILE", help="CLIP (.pt).", show_default="ffhq's, ViT-B/32"),
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option("--identity", metavar="FILE", help="ArcFace IR-SE (.pth).", show_default="none"),
    ] = None,
    parser: Annotated[
        Path | None,
        typer.Option(
            "--parser", metavar="FILE", help="Face parser: BiSeNet or ParseNet (.pth).", show_default="none"
        ),
    ] = None,
    relevance: Annotated[
        Path | None,
        typer.Option(
            "--relevance",
            metavar="FILE",
            help="Relevance of its style channels (fs3.npy).",
            show_default="measured when needed",
        ),
    ] = None,
    statistics: Annotated[
        Path | None,
        typer.Option(
            "--statistics",
            metavar="FILE",
            help="Statistics of its style channels (S_mean_std).",
            show_default="measured when needed",
        ),
    ] = None,
    alignment: Annotated[
        Alignment, typer.Option("--alignment", help="How photos are cropped and aligned for its encoder.")
    ] = "square",
    class_index: Annotated[
        int, typer.Option("--class", min=0, help="Class that a conditional generator is to draw.")
    ] = 0,
    clip_activation: Annotated[
        Activation | None,
        typer.Option(
            "--clip-activation",
            help="Activation of the --clip network, if its file does not state it; LAION's use gelu.",
            show_default="quickgelu, as in OpenAI's",
        ),
    ] = None,
    title: Annotated[
        str, typer.Option("--title", help="Short description of what it draws.", show_default=False)
    ] = "",
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Make a pack from your own files, such as a StyleGAN2-ADA checkpoint.

    Example: styleclip models add cats --generator network-snapshot-025000.pkl
    """
    from styleclip_cli.weights import packs

    reporter = Reporter(quiet)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}", name) or packs.is_built_in(name):
        raise UsageError(f"{name!r} cannot be the name of a pack of your own", "letters, digits, - and _")
    if clip_activation is not None and clip is None:
        raise UsageError("--clip-activation needs --clip", f"--clip FILE --clip-activation {clip_activation}")
    described = packs.own_dir() / f"{name}.toml"
    if described.exists() and not overwrite:
        raise OutputError(f"{described}: exists already", "--overwrite, or another name")

    import tomli_w

    from styleclip_cli.machine.atomic import atomic
    from styleclip_cli.weights import install
    from styleclip_cli.weights.fitting import misfits
    from styleclip_cli.weights.packs import Entry
    from styleclip_cli.weights.readers import read_parts
    from styleclip_cli.weights.readers.parts import TOLD

    given = {
        "generator": generator,
        "clip": clip,
        "encoder": encoder,
        "identity": identity,
        "parser": parser,
        "relevance": relevance,
        "statistics": statistics,
    }
    found = {part.name: part for part in read_parts(generator, class_index)}
    if "generator" not in found:
        raise WeightsError(
            f"{generator}: holds no generator, but {', '.join(p.layout for p in found.values())}"
        )
    resolution = max(
        int(key.split(".")[1][1:]) for key in found["generator"].state if key.startswith("synthesis.b")
    )
    if class_index and "class" not in found["generator"].notes:
        raise UsageError(f"{generator}: draws one kind of picture only", "leave out --class")
    if encoder is None and "encoder" in found:  # e4e's checkpoints hold both
        given["encoder"] = generator
    parts: dict[str, Part] = {}
    for part, path in given.items():  # before anything is installed
        if path is None:
            continue
        held = found if path == generator else {p.name: p for p in read_parts(path)}
        if part not in held:
            raise WeightsError(f"{path}: holds no {part}, but {', '.join(p.layout for p in held.values())}")
        parts[part] = held[part]
    for misfit in misfits(parts, clip_width=_USUAL_CLIP):
        raise WeightsError(f"{given[misfit.part]}: {misfit.problem}", misfit.hint)
    usual = packs.find_pack(packs.USUAL)
    borrowed = ("clip", *(("landmarks", "detector", "parser") if alignment == "ffhq" else ()))
    entries: dict[str, Entry] = {}
    for part, path in given.items():
        if path is not None:
            source = install.source_of(path)
            entry = Entry(
                part,
                source,
                None,
                class_index=class_index if part == "generator" else 0,
                activation=clip_activation or "" if part == "clip" else "",
            )
            install.import_file(path, source, [entry])
            entries[part] = entry
            reporter.result(f"{part}: {path}")
            for note in TOLD:
                if note in parts[part].notes and not (note == "activation" and clip_activation):
                    reporter.note(f"{part}: {note}: {parts[part].notes[note]}")
    entries |= {part: usual.entries[part] for part in borrowed if part not in entries}
    tables = {"components": packs.COMPONENTS, "data": packs.DATA}
    content = {
        "format": packs.FORMAT,
        "name": name,
        "title": title or f"{found['generator'].layout}, {resolution} pixels",
        "resolution": resolution,
        "alignment": alignment,
        **{
            table: {part: install.described(entries[part]) for part in allowed if part in entries}
            for table, allowed in tables.items()
        },
    }
    with atomic(described) as part_file:
        # Names that are no text (bytes of another encoding) are written with question marks.
        part_file.write_bytes(tomli_w.dumps(content).encode(errors="replace"))
    reporter.result(str(described))
    missing = packs.find_pack(name).missing
    if missing:
        reporter.note(f"not here yet: its {', '.join(missing)}; styleclip models pull {name}")


@models.command(cls=Command)
def words(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a pack.", show_default="toy")] = "toy",
) -> None:
    """List sentences that a pack understands, a line each.

    Example: styleclip models words toy
    """
    from styleclip_cli.weights import packs

    pack = packs.find_pack(name)
    if not pack.words:
        raise WeightsError(
            f"the model pack {pack.name} lists no sentences",
            "any sentence; styleclip edit warns of those that it hardly knows",
        )
    for sentence in pack.words:
        report.data(sentence)


@models.command(cls=Command)
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Names of packs.", show_default="all that are installed"),
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Verify every installed file: its hash, and that its network loads.

    Example: styleclip models verify ffhq
    """
    from styleclip_cli.weights import install, packs

    reporter = Reporter(quiet)
    chosen = [packs.find_pack(name) for name in names] if names else readable(reporter)
    bad = 0
    done: set[Path] = set()
    for pack in chosen:
        for entry in pack.entries.values():
            if entry.file is None or entry.file.path in done:
                continue
            done.add(entry.file.path)
            try:
                entry.file.verify(pack.name, thorough=True)
                if entry.file.path.suffix == ".safetensors":
                    install.try_out(entry.part, entry.file.path)
            except WeightsError as error:
                bad += 1
                report.error(error.message, error.hint)
            else:
                reporter.result(f"ok  {pack.name}  {entry.title}  {entry.file.path}")
        if names and pack.missing:
            reporter.note(f"{pack.name}: not installed: {', '.join(pack.missing)}")
    if bad:
        raise WeightsError(f"{bad} of {len(done)} files are damaged", "pull the pack again")


@models.command(cls=Command)
def remove(
    names: Names,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Also forget the recorded hashes of files that have no published one, so that a changed "
            "file is accepted.",
        ),
    ] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Remove packs from this machine; files that another installed pack uses stay.

    Example: styleclip models remove ffhq
    """
    from styleclip_cli.weights import install, packs, store

    reporter = Reporter(quiet)
    for name in names:
        own = packs.own_dir() / f"{name}.toml"
        try:
            pack = packs.find_pack(name)
        except WeightsError:
            if not own.is_file():
                raise
            own.unlink(missing_ok=True)
            reporter.result(f"{name}: its file could not be used and is gone")
            continue
        count, freed = install.clean(pack)
        if forget:
            for entry in pack.entries.values():
                if entry.source is not None:
                    store.forget(entry.source)
        if pack.path == own:
            own.unlink(missing_ok=True)
        if not count and pack.path != own:
            reporter.note(f"{pack.name}: nothing of it is installed that could be removed")
        else:
            reporter.result(f"{pack.name}: {count} files, {freed / 1e6:.0f} MB freed")


@models.command(cls=Command)
def where(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A pack.", show_default="the folders")
    ] = None,
) -> None:
    """Print the folders of the weights, or the files of a pack: part, tab, path.

    Example: styleclip models where ffhq
    """
    from styleclip_cli.weights import packs, store

    if name is None:
        report.data(f"weights\t{store.home()}")
        report.data(f"packs\t{packs.own_dir()}")
        report.data(f"config\t{store.config_dir() / 'config.toml'}")
        return
    pack = packs.find_pack(name)
    report.data(f"pack\t{pack.path}")
    for part, entry in pack.entries.items():
        report.data(f"{part}\t{entry.file.path if entry.file is not None else 'not installed'}")
