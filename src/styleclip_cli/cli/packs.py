"""Choose a model pack, and get it: what is asked and announced before anything is downloaded."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from styleclip_cli.cli import report
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import PartialFailure, WeightsError

if TYPE_CHECKING:
    from styleclip_cli.weights.fetch import Network
    from styleclip_cli.weights.packs import Entry, Pack


def choose(models: str | None, reporter: Reporter, offline: bool = False) -> str:
    """The pack to use: the one named, the person's usual one, or what they say when asked.

    Only at a terminal is anything asked, or downloaded after a yes; in scripts what is missing is an error.

    Args:
        models: Name or folder, as given or from the environment; None if neither.
        reporter: Says what happens.
        offline: Do not offer a download.

    Raises:
        WeightsError: If there is no pack to use.
    """
    from styleclip_cli.weights import packs

    name = models if models is not None else packs.default_name()
    if name is None:
        if not at_terminal() or network(offline).offline:
            return packs.usual_name()  # says why there is none
        return _ask(packs.find_pack(packs.USUAL), reporter, offline)
    pack = packs.find_pack(name)
    if not pack.usable:
        if not at_terminal() or network(offline).offline:
            raise WeightsError(
                f"the model pack {name} is not installed", f"styleclip models pull {name}, or --models toy"
            )
        reporter.note(f"The model pack {name} is not installed yet.")
        download(pack, network(offline), reporter)
    return name


def at_terminal() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def network(offline: bool) -> Network:
    """How the network may be used: the environment's settings, and --offline.

    Raises:
        UsageError: If one of them makes no sense.
    """
    from dataclasses import replace

    from styleclip_cli.weights.fetch import Network

    found = Network.from_environment()
    return replace(found, offline=found.offline or offline)


def _ask(usual: Pack, reporter: Reporter, offline: bool) -> str:
    from styleclip_cli.weights import packs

    reporter.note(
        f"No model pack is installed that knows photos. {usual.name} does; it has to be downloaded once "
        f"({_size(_sizes(usual))})."
    )
    reporter.note(f"{packs.TOY} is built in and draws cartoon faces.")
    answer = typer.prompt(f"Download {usual.name} (d), use {packs.TOY} this time (t), or quit (q)?", err=True)
    if answer.strip().lower() in ("d", "download", usual.name):
        download(usual, network(offline), reporter)
        return usual.name
    if answer.strip().lower() in ("t", packs.TOY):
        return packs.TOY
    raise WeightsError("no model pack is chosen", "--models toy, or styleclip models pull ffhq")


def download(pack: Pack, network: Network, reporter: Reporter, accept_licence: bool = False) -> None:
    """Announce what is missing of a pack, have its licence accepted, and install it.

    Raises:
        PartialFailure: If some files could not be had, and edits can be made without them.
        WeightsError: If the licence restricts the use, and nobody accepted it; or edits cannot be made.
    """
    from styleclip_cli.weights import install, store

    for part in install.drop_damaged(pack):
        reporter.note(f"{pack.name}: its {part} is damaged and will be fetched again")
    pack = _again(pack)
    groups = install.wanted(pack)
    if not groups:
        reporter.note(f"{pack.name}: everything is installed already")
        return
    reporter.note(f"{pack.name}: {pack.title}")
    reporter.note(f"to be downloaded into {store.home()}, {_size(_sizes(pack))}:")
    for entries in groups:
        reporter.note(f"  {describe(entries)}")
    accept(pack, reporter, accept_licence, f"styleclip models pull {pack.name}")
    problems = install.pull(pack, network, partial(reporter.progress, in_bytes=True), reporter.result)
    pack = _again(pack)
    if not problems and pack.missing:  # another process removed it meanwhile
        raise WeightsError(f"{pack.name}: its {', '.join(pack.missing)} went missing", "pull it again")
    if not problems:
        reporter.note(f"{pack.name} is installed")
    elif pack.usable:
        for problem in problems:
            report.error(problem.message, problem.hint)
        raise PartialFailure(
            f"{pack.name} is installed, but for its {', '.join(pack.missing)}", "try again later"
        )
    else:
        for problem in problems[:-1]:
            report.error(problem.message, problem.hint)
        raise problems[-1]


def accept(pack: Pack, reporter: Reporter, accepted: bool, command: str) -> None:
    """Have a pack's licence accepted, once, if it restricts the use.

    Args:
        pack: The pack.
        reporter: Told the licence.
        accepted: Whether that was said on the command line.
        command: What to run again with --accept-licence.

    Raises:
        WeightsError: If nobody accepted it.
    """
    from styleclip_cli.weights import store

    licences = {f"{pack.name}: {pack.licence}"} if pack.restricted else set()
    if not licences - store.accepted_licences():
        return
    question = f"Licence: {report.plain(pack.licence)}\nDo you accept this?"
    if accepted or not at_terminal():
        reporter.note(f"licence: {pack.licence}")
    if not accepted and not (at_terminal() and typer.confirm(question, err=True)):
        raise WeightsError(
            f"the licence of {pack.name} restricts its use and was not accepted",
            f"{command} --accept-licence, if you accept it",
        )
    store.accept_licences(licences)


def _again(pack: Pack) -> Pack:
    """The pack as it is now."""
    from styleclip_cli.weights import packs

    return packs.find_pack(str(pack.folder) if pack.path.name == packs.PACK_FILE else pack.name)


def describe(entries: list[Entry]) -> str:
    """A file and what it is for, in a line."""
    source = entries[0].source
    assert source is not None
    hosts = [urlsplit(url).hostname or "?" for url in source.all_urls]
    parts = " and ".join(entry.part for entry in entries)
    size = f"{source.size / 1e6:.1f} MB" if source.size else "size not published"
    checked = "" if source.pinned else "; no hash is published: the first download's is kept"
    licence = f"; licence: {entries[0].licence}" if entries[0].licence else ""
    return (
        f"{parts}: {source.file}, {size}, from {hosts[0] if hosts else 'a file of yours'}{licence}{checked}"
    )


def _sizes(pack: Pack) -> tuple[int, int]:
    """Bytes still to be downloaded, and how many files have no published size."""
    from styleclip_cli.weights import install

    sources = [entries[0].source for entries in install.wanted(pack)]
    sizes = [source.size if source is not None else None for source in sources]
    return sum(size or 0 for size in sizes), sum(1 for size in sizes if not size)


def _size(sizes: tuple[int, int]) -> str:
    known, unknown = sizes
    text = f"{known / 1e9:.1f} GB" if known >= 1e9 else f"{known / 1e6:.0f} MB"
    if unknown:
        text += f" and {unknown} file{'s' if unknown > 1 else ''} of unpublished size"
    return text
