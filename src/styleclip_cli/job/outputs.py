"""Outputs: names of results, and whether they can be written, before any network is loaded."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from styleclip_cli.errors import OutputError, UsageError, one_line
from styleclip_cli.job.inputs import Item
from styleclip_cli.settings import PictureFormat
from styleclip_cli.weights.mappers import slug

if TYPE_CHECKING:
    from styleclip_cli.job.request import EditRequest

OUTPUT_SUFFIXES = frozenset(f".{word}" for word in get_args(PictureFormat))
_LOOK = 2**16
_LONGEST = 255
"""Bytes in a file's name, on all file systems that are in use."""


@dataclass(frozen=True)
class Naming:
    """How outputs in a folder are named.

    Attributes:
        template: With the fields of `_filled` in braces; None for the default.
        suffix: Added to names without one.
        suffixes: Those that a name may have.
        default: The template where none is given.
    """

    template: str | None = None
    suffix: str = ".png"
    suffixes: frozenset[str] = OUTPUT_SUFFIXES
    default: str = "{stem}_{edit}"

    def names(self, items: Sequence[Item], requests: Sequence[EditRequest]) -> list[str]:
        """Distinct names for items, possibly with folders.

        Raises:
            UsageError: If the template makes no sense.
        """
        template = self.template if self.template is not None else self.default
        stems, suffixes = [], []
        for number, (item, request) in enumerate(zip(items, requests, strict=True), start=1):
            name = self._filled(template, number, item, request)
            path = Path(name)
            named = path.suffix.lower() in self.suffixes
            stems.append(str(path.with_suffix("")) if named else name)
            suffixes.append(path.suffix if named else self.suffix)
        return [stem + suffix for stem, suffix in zip(distinct(stems), suffixes, strict=True)]

    def _filled(self, template: str, number: int, item: Item, request: EditRequest) -> str:
        alphas = request.alphas
        values: dict[str, object] = {
            "stem": item.stem if item.error is None else item.stem[:80],  # nothing is written for it
            "edit": slug(request.words),
            "prompt": slug(request.words),
            "neutral": slug(request.steps[0].neutral or "") if request.steps else "",
            "method": request.method,
            "alpha": alphas[0] if len(alphas) == 1 else "",
            "number": number,
            "folder": item.path.parent.name if item.path is not None and item.row is None else "",
            "seed": "" if item.seed is None else item.seed,
        }
        try:
            for _, name, spec, conversion in string.Formatter().parse(template):
                if name is not None and (name not in values or conversion):
                    raise ValueError(f"no {{{name}}} is known, only {', '.join(values)}")
                if spec is not None and (len(spec) > 8 or re.search(r"\d{3}", spec)):
                    raise ValueError(f"{spec[:20]!r} makes names too long")
            if Path(template).is_absolute():
                raise ValueError("names are inside the folder; --out chooses another")
            filled = template.format_map(values).strip().lstrip("/")  # an empty field is no folder
        except (ValueError, KeyError, IndexError) as error:
            raise UsageError(
                f"--name {template!r}: {one_line(error)}", '--name "{stem}_{edit}.png"'
            ) from None
        path = Path(filled)
        if not filled or path.is_absolute() or ".." in path.parts or not path.name or filled.endswith("/"):
            raise UsageError(f"--name {template!r} makes {filled!r}, which is no name inside the folder")
        return filled


def plan_outputs(
    items: Sequence[Item],
    requests: Sequence[EditRequest],
    out: Path | None,
    naming: Naming,
    *,
    overwrite: bool,
    given: Sequence[str | None] = (),
) -> list[Path]:
    """Choose and check the output of every item.

    Args:
        items: The inputs, in order.
        requests: The request for each.
        out: A file (for one item), a folder, or None for the current folder.
        naming: How outputs in a folder are named.
        overwrite: Whether outputs that exist may be replaced.
        given: Names that are fixed already, one per item or none at all; None where one is to be chosen.

    Returns:
        One path per item, all different.

    Raises:
        OutputError: If one exists (without `overwrite`) or cannot be written.
        UsageError: If several items are to go into one file, or the format is unknown.
    """
    if out is not None and is_file_name(out):
        if len(items) > 1:
            raise UsageError(f"{len(items)} results do not fit into the file {out}", "--out FOLDER")
        if naming.template is not None:
            raise UsageError("--name is for results in a folder", f"--out {out.parent}")
        check_picture(out)
        paths = [out]
    else:
        folder = out if out is not None else Path()
        own = list(given) or [None] * len(items)
        names = naming.names(items, requests)
        paths = [folder / (one or name) for one, name in zip(own, names, strict=True)]
        for path in paths:
            check_picture(path, naming.suffixes)
        if len({str(path).lower() for path in paths}) < len(paths):
            twice = next(p for p in paths if sum(str(p).lower() == str(q).lower() for q in paths) > 1)
            raise UsageError(f"two results would be written to {twice}", "another name for one of them")
    check_outputs(paths, overwrite=overwrite)
    return paths


def without_results(items: Sequence[Item], paths: Sequence[Path], beside: Iterable[Path] = ()) -> list[Item]:
    """Items that are not results of an earlier run, written into the folder of the inputs.

    Args:
        items: In order.
        paths: The result of each.
        beside: Other files that are written.
    """
    made = {os.path.realpath(path): -1 for path in beside}
    made |= {os.path.realpath(path): number for number, path in enumerate(paths)}
    return [
        item
        for number, item in enumerate(items)
        if item.path is None
        or made.get(os.path.realpath(item.path), number) == number
        or not _is_ours(item.path)
    ]


def check_results(pairs: Sequence[tuple[Item, Path]]) -> None:
    """Check that no result overwrites the input of another one.

    Raises:
        OutputError: If one would be.
    """
    sources = {os.path.realpath(item.path): item for item, _ in pairs if item.path is not None}
    for item, path in pairs:
        other = sources.get(os.path.realpath(path))
        if other is not None and other.path != item.path:
            raise OutputError(f"{path}: is an input", "another --out, or --name")


def suffix_of(format: str | None) -> str:
    """Ending of the names of images in this format; .png if none is named.

    Raises:
        UsageError: If it cannot be written.
    """
    if format is None:
        return ".png"
    suffix = f".{format.lower().removeprefix('.')}"
    if suffix not in OUTPUT_SUFFIXES:
        raise UsageError(
            f"cannot write the picture format {format!r}", f"one of {', '.join(sorted(OUTPUT_SUFFIXES))}"
        )
    return suffix


def check_picture(path: Path, suffixes: frozenset[str] = OUTPUT_SUFFIXES) -> None:
    """Refuse a format that cannot be written.

    Raises:
        UsageError: If the suffix is not one of these.
    """
    if path.suffix.lower() not in suffixes:
        kind = "picture format" if suffixes == OUTPUT_SUFFIXES else "format"
        raise UsageError(f"{path}: cannot write this {kind}", f"one of {', '.join(sorted(suffixes))}")


def check_outputs(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Check that all of these can be written, leaving nothing behind.

    Raises:
        OutputError: If one is a folder, exists (without `overwrite`), or cannot be written.
    """
    folders: set[Path] = set()
    for path in paths:
        try:
            if max(len(os.fsencode(part)) for part in path.parts or (".",)) > _LONGEST:
                raise OutputError(f"{path}: the name is too long", f"at most {_LONGEST} bytes")
            if path.is_dir():
                raise OutputError(f"{path}: is a folder, not a file")
            if path.exists() and not overwrite:
                raise OutputError(f"{path}: exists already", "--overwrite, or another --out")
        except (OSError, ValueError) as error:
            raise OutputError(f"{path}: cannot be written ({_reason(error)})") from None
        folders.add(path.parent)
    for folder in sorted(folders):
        _check_writable(folder)


def check_beside(paths: Iterable[Path], items: Sequence[Item], *, overwrite: bool, again: bool) -> None:
    """Check that the files in addition to results can be written, and overwrite no input.

    Args:
        paths: What will be written.
        items: The inputs, which are never written over.
        overwrite: Whether files that exist may be replaced.
        again: Whether a batch is resumed: files that it wrote itself may be replaced.

    Raises:
        OutputError: If one is an input, exists, or cannot be written.
    """
    paths = list(paths)
    sources = {os.path.realpath(item.path) for item in items if item.path is not None}
    for path in paths:
        if os.path.realpath(path) in sources:
            raise OutputError(f"{path}: is an input", "another name")
        if path.is_file() and not overwrite and not (again and _is_ours(path)):
            raise OutputError(f"{path}: exists already", "--overwrite, or another name")
    check_outputs(paths, overwrite=True)


def _is_ours(path: Path) -> bool:
    """Whether this program wrote a file: all of its formats have a mark near one of their ends."""
    try:
        with path.open("rb") as file:
            head = file.read(_LOOK)
            file.seek(max(0, path.stat().st_size - _LOOK))
            ends = head + file.read(_LOOK)
            # Texts in .npz files are of four bytes a letter.
            return any("styleclip".encode(coding) in ends for coding in ("ascii", "utf-32-le"))
    except (OSError, ValueError):
        return False


class Folder(type(Path())):  # type: ignore[misc]
    """A path that was typed as a folder's, with a slash at its end."""


def output_path(typed: str | Path) -> Path:
    """A path as it was typed; a `Folder` where it ends in a slash."""
    return Folder(typed) if str(typed).endswith(("/", os.sep)) else Path(typed)


def is_file_name(out: Path) -> bool:
    """Whether an output names a file and not a folder: it has a suffix; a number is none (2024.06.01)."""
    named = not isinstance(out, Folder) and out.suffix.lstrip(".")[:1].isalpha()
    try:
        return named and not out.is_dir()
    except OSError:  # a name too long: told when the output is checked
        return named


def distinct(names: Iterable[str]) -> list[str]:
    """Number repeated names, ignoring case: a/face.png and b/face.png become face and face-2."""
    taken: set[str] = set()
    distinct = []
    for name in names:
        candidate, number = name, 1
        while candidate.lower() in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate.lower())
        distinct.append(candidate)
    return distinct


def _check_writable(folder: Path) -> None:
    """Write and remove a file in the folder, or in the nearest one above that exists.

    Permission bits do not tell: root passes them all, and some file systems refuse all the same.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputError(f"{folder}: cannot be a folder, because {existing} is a file", "another --out")
    trial = existing / f".styleclip-{os.getpid()}.tmp"
    try:
        trial.open("xb").close()
        trial.unlink()
    except OSError as error:
        raise OutputError(f"{existing}: cannot be written to ({_reason(error)})", "another --out") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
