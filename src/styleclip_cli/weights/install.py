"""Published file -> installed part: fetch it, read it safely, convert it, try it, keep it.

Conversion writes safetensors in the layout of our networks, so that an edit maps the file into memory and
starts. Every part is loaded once by the network it is for before it counts as installed.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from styleclip_cli.errors import OutputError, StyleClipError, WeightsError, not_there, one_line
from styleclip_cli.machine.atomic import atomic, locked
from styleclip_cli.machine.progress import Progress
from styleclip_cli.weights import packs, store
from styleclip_cli.weights.described import without_control
from styleclip_cli.weights.fetch import Fetched, Network, Source, check, fetch
from styleclip_cli.weights.packs import Entry, Pack
from styleclip_cli.weights.reach import NoNetwork, require_network
from styleclip_cli.weights.store import Receipt

if TYPE_CHECKING:
    from styleclip_cli.weights.readers import Part


def drop_damaged(pack: Pack) -> list[str]:
    """Read what is installed of a pack, and remove what is not what it was, so that it is wanted again.

    Returns:
        The parts that were removed.

    Raises:
        OutputError: If one cannot be removed.
    """
    dropped = []
    for part, entry in pack.entries.items():
        if entry.source is not None and entry.file is not None:
            try:
                entry.file.verify(pack.name, thorough=True)
            except WeightsError:
                store.delete(entry.file.path)
                dropped.append(part)
    return dropped


def unaccepted(pack: Pack) -> set[str]:
    """What `store.accept_licences` has to be told before a pack may be downloaded; empty for nothing."""
    return ({f"{pack.name}: {pack.licence}"} if pack.restricted else set()) - store.accepted_licences()


def pull(
    pack: Pack,
    network: Network,
    progress: Progress,
    told: Callable[[str], None] | None = None,
    optional: Collection[str] = (),
) -> list[StyleClipError]:
    """Download and install what is missing of a pack; what cannot be had does not stop the rest.

    Args:
        pack: The pack.
        network: How the network may be used.
        progress: Reports downloads, in bytes.
        told: Called with a line for each part that was installed.
        optional: Optional parts to install too.

    Returns:
        What went wrong, one error per file.
    """
    return pull_files(packs.wanted(pack, optional), network, progress, told)


def pull_files(
    groups: Sequence[Sequence[Entry]],
    network: Network,
    progress: Progress,
    told: Callable[[str], None] | None = None,
) -> list[StyleClipError]:
    """Download and install published files.

    Several processes may do this at once: each file is fetched by one of them.

    Args:
        groups: For each file the parts of a pack that it holds.
        network: As in `pull`.
        progress: As in `pull`.
        told: As in `pull`.

    Returns:
        What went wrong, one error per file; that there is no network once for all.
    """
    problems: list[StyleClipError] = []
    asked = -1  # after how many problems the network was last looked at
    for number, entries in enumerate(groups):
        source = entries[0].source
        assert source is not None
        folder = store.downloads_dir(source)
        try:
            if asked < len(problems) and not (network.offline or (folder / source.file).exists()):
                asked = len(problems)
                left_urls = [url for e in groups[number:] if e[0].source for url in e[0].source.all_urls]
                require_network([*filter(None, [network.mirror]), *left_urls], network.connect_timeout)
            with locked(folder, "downloading it"):
                left = [e for e in entries if store.find(source, e.part, e.variant) is None]
                if left:
                    with progress(f"downloading {source.file}") as advance:
                        held = store.known(source)
                        fetched = fetch(held, folder, network, advance)
                    try:
                        install(fetched, source, left)
                    except OutputError:  # worth another try with more room, without another download
                        raise
                    except StyleClipError:
                        shutil.rmtree(folder, ignore_errors=True)
                        raise
                    shutil.rmtree(folder, ignore_errors=True)
        except StyleClipError as error:
            problems.append(error)
            if isinstance(error, NoNetwork):  # true of all that follow
                break
        else:
            for entry in entries:
                if told is not None:
                    told(f"{entry.title}  {source.file}")
    return problems


def install(fetched: Fetched, source: Source, entries: Sequence[Entry]) -> None:
    """Convert parts of a file that is here, and keep them.

    Args:
        fetched: The file; its hash is checked already.
        source: What it was published as, or another file of the same weights.
        entries: The parts of a pack that it is for.

    Raises:
        WeightsError: If it does not hold them, or they cannot be used.
        OutputError: If they cannot be written.
    """
    from styleclip_cli.weights.readers import read_parts
    from styleclip_cli.weights.readers.networks import with_gelu

    of_class: dict[int, dict[str, Part]] = {}
    for entry in entries:
        if entry.class_index not in of_class:
            parts = read_parts(fetched.path, entry.class_index)
            of_class[entry.class_index] = {part.name: part for part in parts}
        found = of_class[entry.class_index]
        part = found.get(entry.part)
        if part is None:
            raise WeightsError(
                f"{fetched.path.name}: holds {', '.join(p.layout for p in found.values())}, no {entry.part}"
            )
        if entry.activation == "gelu":
            part = with_gelu(part)
        path = store.weights_path(source, entry.part, entry.variant)
        notes = {**part.notes, "part": part.name, "layout": part.layout}
        _write(path, part.state, notes)
        try:
            try_out(entry.part, path)
            receipt = Receipt(
                part=part.name,
                layout=part.layout,
                source=source.file,
                source_sha256=fetched.sha256,
                url=fetched.url,
                licence=entry.licence,
                sha256=store.sha256_of(path),
                conversion=store.CONVERSION,
            )
            store.write_receipt(path, receipt)
        except BaseException as error:
            with contextlib.suppress(OSError):
                path.unlink()
            if isinstance(error, WeightsError):
                raise WeightsError(f"{fetched.path}: {error.message}", error.hint) from None
            if isinstance(error, OSError):
                raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
            raise
    if not any(fetched.is_(other) for other in source.others):
        store.remember(source, fetched.sha256, fetched.url)


def import_file(path: Path, source: Source, entries: Sequence[Entry]) -> None:
    """Install parts from a file that a person has.

    Args:
        path: The file.
        source: What it is taken for.
        entries: The parts of a pack that it is for.

    Raises:
        WeightsError: If it is not that file (its size or hash is another), or cannot be used.
        OutputError: If the parts cannot be written.
    """
    sha256 = check(store.known(source), path)
    folder = store.downloads_dir(source)
    with locked(folder, "downloading it"):
        install(Fetched(path, "", sha256, path.stat().st_size), source, entries)
        if not path.resolve().is_relative_to(folder.resolve()):
            shutil.rmtree(folder, ignore_errors=True)  # a download that was begun has nothing more to bring


def source_of(path: Path) -> Source:
    """A file of a person's own, known by its content.

    Raises:
        WeightsError: If it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe could wait for ever
            raise WeightsError(f"{path}: is not a file")
        return Source(file=without_control(path.name), sha256=store.sha256_of(path), size=path.stat().st_size)
    except FileNotFoundError:
        raise WeightsError(*not_there(path)) from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None


def try_out(part: str, path: Path) -> None:
    """Build the network that a converted part is for.

    Raises:
        WeightsError: If it does not fit.
    """
    from styleclip_cli.nets import clip, e4e, irse, mapper, parser, stylegan2
    from styleclip_cli.weights.files import load_weights

    state, notes = load_weights(path)
    if part == "encoder":
        average = state.pop("latent_avg", None)
        if average is None:  # its generator's will do
            average = next(iter(state.values())).new_zeros(1)
        e4e.Encoder.from_state_dict(state, average, notes)
    elif part == "generator":
        stylegan2.Generator.from_state_dict(state)
    elif part == "clip":
        clip.Clip.from_state_dict(state)
    elif part == "identity":
        irse.ArcFace.from_state_dict(state)
    elif part == "parser":
        parser.Parser.from_state_dict(state)
    elif part == "mapper":
        mapper.LatentMapper.from_state_dict(state)


def clean(pack: Pack) -> tuple[int, int]:
    """Remove a pack's installed parts and begun downloads, but for what another installed pack uses.

    What is left of packs that are gone, and of processes that were killed a day ago, goes with it.

    Returns:
        How many files were removed, and how many bytes that freed.

    Raises:
        OutputError: If one cannot be removed.
    """
    others = [other for other in packs.readable() if other.name != pack.name]
    needed = _files_of(other for other in others if other.usable)
    removed = freed = 0
    for entry in pack.all_entries:
        if entry.source is None:
            continue
        with locked(store.downloads_dir(entry.source), "downloading it"):
            shutil.rmtree(store.downloads_dir(entry.source), ignore_errors=True)
            path = store.weights_path(entry.source, entry.part, entry.variant)
            if path.is_file() and path not in needed:  # it may have come while this waited
                freed += store.delete(path)
                removed += 1
    for path in store.leftovers(_files_of(others)):
        freed += store.delete(path)
        removed += 1
    named = {store.downloads_dir(e.source) for p in (pack, *others) for e in p.all_entries if e.source}
    for folder in store.begun_downloads():
        if folder not in named:
            freed += store.begun_bytes(folder)
            removed += 1
            shutil.rmtree(folder, ignore_errors=True)
    return removed, freed


def _files_of(some: Iterable[Pack]) -> set[Path]:
    """Installed parts of some packs."""
    return {entry.file.path for pack in some for entry in pack.all_entries if entry.file is not None}


def _write(path: Path, state: Mapping[str, Any], notes: Mapping[str, str]) -> None:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    from styleclip_cli.weights import header

    ordered = {name: np.require(state[name], requirements=["C", "A"]) for name in sorted(state)}
    with atomic(path) as part:
        try:
            save_file(ordered, part, dict(notes))
            header.settle(part)
        except SafetensorError as error:  # a full disk, in its words
            raise OutputError(f"{path}: cannot be written ({one_line(error)})", "make room first") from None
        except ValueError:
            raise WeightsError(f"{path.name}: not usable (its tensors have too many names)") from None


def described(entry: Entry) -> dict[str, Any]:
    """An entry as a pack's file has it."""
    assert entry.source is not None
    fields = {
        "file": entry.source.file,
        "urls": list(entry.source.urls),
        "sha256": entry.source.sha256,
        "git_sha1": entry.source.git_sha1,
        "size": entry.source.size,
        "licence": entry.licence,
        "class": entry.class_index or None,
        "activation": entry.activation or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
