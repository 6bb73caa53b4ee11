"""Choose a model pack, and get it: what is asked and announced before anything is downloaded."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from styleclip_cli.cli import report
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import PartialFailure, StyleClipError, WeightsError

if TYPE_CHECKING:
    from styleclip_cli.weights.fetch import Network
    from styleclip_cli.weights.packs import Entry, Pack


def choose(models: str | None, reporter: Reporter, offline: bool = False) -> str:
    """The pack to use: the one named, else the person's usual one; a missing one is offered at a terminal.

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
    pack = packs.find_pack(packs.USUAL if name is None else name)
    if name is not None and pack.usable:
        return name
    if not at_terminal() or network(offline).offline:
        if name is None:
            return packs.usual_name()  # says why there is none
        raise WeightsError(f"the model pack {name} is not installed", packs.how_to_get(pack))
    return _offer(pack, reporter, offline)


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


def _offer(pack: Pack, reporter: Reporter, offline: bool) -> str:
    """Offer to download a pack, in one question; the name of the pack to use.

    Raises:
        WeightsError: If the answer is no, or edits cannot be made.
    """
    from styleclip_cli.weights import install, packs

    reporter.note(f"The model pack {pack.name}, which edits photos, is not installed yet. One step gets it.")
    announce(pack, reporter)
    agreed = ", accept its licence," if install.unaccepted(pack) else ""
    instead = f"use {packs.TOY} (drawn faces, built in) this time (t)"
    question = f"Download it{agreed} and go on (y), {instead}, or quit (q)?"
    answer = typer.prompt(question, err=True).strip().lower()
    if answer in ("y", "yes", "d", "download", pack.name):
        download(pack, network(offline), reporter, accept_licence=True, announced=True)
        return pack.address
    if answer in ("t", packs.TOY):
        return packs.TOY
    raise WeightsError("no model pack is chosen", packs.how_to_get(pack))


def announce(pack: Pack, reporter: Reporter, optional: Collection[str] = ()) -> None:
    """Say what of a pack would be downloaded: files, sizes, place, licences, free space, time."""
    from styleclip_cli.weights import packs, store

    known, _ = packs.download_bytes(pack, optional)
    reporter.note(f"{pack.name}: {pack.title}")
    reporter.note(f"to be downloaded into {store.home()}: {packs.download_size(pack, optional)}")
    for entries in packs.wanted(pack, optional):
        reporter.note(f"  {describe(entries)}")
    fast, slow = (max(1, round(known * 8 / (megabits * 1e6) / 60)) for megabits in (100, 20))
    free = f"{_free(store.home()) / 1e9:.1f} GB are free"
    reporter.note(f"about {fast} min at 100 Mbit/s, {slow} min at 20; {free}")
    if pack.licence:
        reporter.note(f"licence: {pack.licence}")


def _free(folder: Path) -> int:
    """Free bytes of the disk that a folder is, or will be, on."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def download(
    pack: Pack,
    network: Network,
    reporter: Reporter,
    accept_licence: bool = False,
    announced: bool = False,
    optional: Collection[str] = (),
    check: bool = True,
) -> None:
    """Announce what is missing of a pack, have its licence accepted, and install it.

    Args:
        pack: The pack.
        network: How the network may be used.
        reporter: Told of it.
        accept_licence: Whether its licence is accepted.
        announced: Whether that was done already.
        optional: Optional parts to install too.
        check: Check what it does here, the first time.

    Raises:
        PartialFailure: If some files could not be had, and edits can be made without them.
        WeightsError: If the licence restricts the use, and nobody accepted it; or edits cannot be made.
    """
    from styleclip_cli.weights import install, packs
    from styleclip_cli.weights.expected import Expected

    damaged = install.drop_damaged(pack)
    for part in damaged:
        reporter.note(f"{pack.name}: its {part} is damaged and will be fetched again")
    optional = [*optional, *(part for part in damaged if part in packs.OPTIONAL)]
    pack = _again(pack)
    first = not pack.usable
    if not packs.wanted(pack, optional):
        reporter.note(f"{pack.name}: everything is installed already")
        return
    if not announced:
        announce(pack, reporter, optional)
    command = " ".join(["styleclip models pull", pack.name, *(f"--with {part}" for part in optional)])
    accept(pack, accept_licence, command)
    progress = partial(reporter.progress, in_bytes=True)
    problems = install.pull(pack, network, progress, reporter.result, optional)
    pack = _again(pack)
    missing = pack.missing_with(optional)
    if not problems and missing:  # another process removed it meanwhile
        raise WeightsError(f"{pack.name}: its {', '.join(missing)} went missing", "pull it again")
    if pack.usable and first and check and pack.expected != Expected():
        _check(pack, reporter)
    if not problems:
        reporter.note(f"{pack.name} is installed")
    elif pack.usable:
        for problem in problems:
            report.error(problem.message, problem.hint)
        raise PartialFailure(f"{pack.name} is installed, but for its {', '.join(missing)}", "try again later")
    else:
        for problem in problems[:-1]:
            report.error(problem.message, problem.hint)
        raise problems[-1]


def _check(pack: Pack, reporter: Reporter) -> None:
    """Check what a pack does on this machine, and tell of it; Ctrl-C leaves the rest out."""
    from styleclip_cli.check.run import check_pack
    from styleclip_cli.cli.check import lines
    from styleclip_cli.machine.interrupt import Stopped

    reporter.note(f"checking what {pack.name} does on this machine, a few minutes; Ctrl-C leaves that out")
    try:
        found = check_pack(pack.address, progress=reporter.progress)
    except (Stopped, KeyboardInterrupt):
        reporter.note(f"not checked; styleclip models check {pack.name} does it later")
        return
    except StyleClipError as error:
        reporter.note(f"it could not be checked: {error.message}")
        return
    for line in lines(found):
        reporter.note(line)
    if found.failed:
        reporter.note(
            f"warning: edits with {pack.name} may be wrong; styleclip models check {pack.name} --json is for "
            "a bug report"
        )


def accept(pack: Pack, accepted: bool, command: str) -> None:
    """Have a pack's licence, which was announced, accepted once, if it restricts the use.

    Args:
        pack: The pack.
        accepted: Whether that was said already.
        command: What to run again with --accept-licence.

    Raises:
        WeightsError: If nobody accepted it.
    """
    from styleclip_cli.weights import install, store

    licences = install.unaccepted(pack)
    if not licences:
        return
    if not accepted and not (at_terminal() and typer.confirm("Do you accept this licence?", err=True)):
        raise WeightsError(
            f"the licence of {pack.name} restricts its use and was not accepted",
            f"{command} --accept-licence, if you accept it",
        )
    store.accept_licences(licences)


def _again(pack: Pack) -> Pack:
    """The pack as it is now."""
    from styleclip_cli.weights import packs

    return packs.find_pack(pack.address)


def describe(entries: list[Entry]) -> str:
    """A file and what it is for, in a line."""
    source = entries[0].source
    assert source is not None
    hosts = [urlsplit(url).hostname or "?" for url in source.all_urls]
    parts = " and ".join(entry.title for entry in entries)
    size = f"{source.size / 1e6:.1f} MB" if source.size else "size not published"
    checked = "" if source.pinned else "; no hash is published: the first download's is kept"
    licence = f"; licence: {entries[0].licence}" if entries[0].licence else ""
    return (
        f"{parts}: {source.file}, {size}, from {hosts[0] if hosts else 'a file of yours'}{licence}{checked}"
    )
