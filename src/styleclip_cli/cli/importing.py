"""`styleclip models import`: a file that a person fetched, known by its hash, or by what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from styleclip_cli.cli import options
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import WeightsError

if TYPE_CHECKING:
    from styleclip_cli.weights.fetch import Source
    from styleclip_cli.weights.packs import Entry, Pack
    from styleclip_cli.weights.readers import Part


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A published weight file.", show_default=False)
    ],
    pack: Annotated[
        str | None,
        typer.Option(
            "--pack", help="Pack that it belongs to, if its content does not show that.", show_default=False
        ),
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Install a published file that you downloaded yourself; it is recognised by its content.

    Example: styleclip models import Downloads/e4e_ffhq_encode.pt
    """
    from styleclip_cli.weights import fetch, install, packs, store

    reporter = Reporter(quiet)
    own = {install.source_of(file).sha256, fetch.git_blob(file)}
    chosen = [packs.find_pack(pack)] if pack is not None else readable(reporter)
    candidates = [
        Candidate(one, name, entry, entry.source)
        for one in chosen
        for name, entry in (*one.entries.items(), *one.mappers.items())
        if entry.source is not None
    ]
    fitting = [
        each
        for each in candidates
        if any({one.sha256, one.git_sha1} & own for one in (store.known(each.source), *each.source.others))
    ]
    if not fitting:
        from styleclip_cli.weights.readers import read_parts

        fitting = _by_content(file, read_parts(file), candidates, pack)
    for source in dict.fromkeys(each.source for each in fitting):
        wanted = {(c.entry.part, c.entry.variant): c for c in fitting if c.source == source}
        install.import_file(file, source, [each.entry for each in wanted.values()])
        uses = [each.pack.name for each in candidates if each.source == source]
        parts = " and ".join(each.title for each in wanted.values())
        reporter.result(f"{file}: {parts} of {', '.join(dict.fromkeys(uses))}")


class Candidate(NamedTuple):
    """A part of a pack that a file may be."""

    pack: Pack
    name: str
    entry: Entry
    source: Source

    @property
    def title(self) -> str:
        """What it is to a person."""
        return f"the mapper {self.name}" if self.entry.part == "mapper" else self.entry.title


def _by_content(
    file: Path, parts: list[Part], candidates: list[Candidate], pack: str | None
) -> list[Candidate]:
    """Parts without a published hash that a file may be: by what it holds, and by its name.

    Raises:
        WeightsError: If there is none, or the pack's file is known to be another.
    """
    what = ", ".join(f"{part.layout} ({part.name})" for part in parts)
    of_kind = [each for each in candidates if each.entry.part in {part.name for part in parts}]
    open_ = [each for each in of_kind if not each.source.pinned]
    named = [each for each in open_ if Path(each.source.file).stem.lower() in file.name.lower()]
    # An encoder's checkpoint holds its generator too; it is published as the encoder.
    found = [each for each in named or open_ if each.entry.part == "encoder"] or named or open_
    one = pack is not None or len({each.source for each in found}) == 1
    if found and one and (named or (pack is not None and found[0].entry.part != "mapper")):
        return [each for each in found if each.source == found[0].source]
    if pack is None:
        perhaps = list(dict.fromkeys(each.pack.name for each in named or open_))
        raise WeightsError(
            f"{file}: {what}; not a file that a pack knows by its hash",
            f"--pack {' or '.join(perhaps) or 'NAME'}, if it is that pack's; or a pack of your own: "
            "styleclip models add --help",
        )
    if open_:
        raise WeightsError(
            f"{file}: {what}, and which mapper of {pack} it is does not stand in it",
            f"give it the name it was published under, such as {open_[0].source.file}; or use it as it is: "
            f"styleclip edit --mapper {file}",
        )
    if not of_kind:
        has = ", ".join(dict.fromkeys(each.entry.part for each in candidates))
        raise WeightsError(f"{file}: {what}; {pack} takes its {has} only", "another --pack")
    source = of_kind[0].source
    raise WeightsError(
        f"{file}: {what}, but not the file of {pack}: its hash must be "
        f"{source.sha256 or f'git blob {source.git_sha1}'}",
        "use it in a pack of your own: styleclip models add NAME --generator ...",
    )


def readable(reporter: Reporter) -> list[Pack]:
    """All packs whose files can be used; the others are told of."""
    from styleclip_cli.weights import packs

    return list(packs.readable(lambda error: reporter.note(error.message)))
