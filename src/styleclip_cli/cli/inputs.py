"""Settle what is read and what is written before any model loads."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import string
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from styleclip_cli.cli.given import at_home, like_option
from styleclip_cli.cli.given import exists as exists
from styleclip_cli.cli.options import parse_seeds
from styleclip_cli.errors import (
    BadInputError,
    OutputError,
    StyleClipError,
    UsageError,
    is_address,
    not_there,
    one_line,
)
from styleclip_cli.weights.mappers import slug as slug

if TYPE_CHECKING:
    from styleclip_cli.cli.looks import Look

_PNG, _JPEG, _TIFF = (".png", ".apng"), (".jpg", ".jpeg", ".jpe", ".jfif"), (".tif", ".tiff")
IMAGE_SUFFIXES = frozenset({*_PNG, *_JPEG, *_TIFF, ".webp", ".bmp", ".gif", ".avif", ".heic", ".heif"})
LATENT_SUFFIXES = frozenset({".npz", ".npy", ".pt"})
OUTPUT_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff"})
STREAM = "-"
"""Standard input or output, in the place of a file."""
_MAX_LIST = 64 * 2**20
_MAX_STREAM = 2**30
_LOOK = 2**16
_LONGEST = 255
"""Bytes in a file's name, on all file systems that are in use."""


@dataclass(frozen=True)
class Item:
    """One face to work on.

    Attributes:
        name: How to speak of it ("photos/me.jpg", "seed:7", "faces.npz[3]").
        stem: Start of the names of its outputs.
        path: The image or latent file, if it comes from one.
        seed: The seed, if it is a generated face.
        row: Which face of a latent file, if it comes from one.
        average: Whether it is the average face.
        error: Why it cannot be worked on, if it is known already.
        pixels: Size of the image, 0 if it is none.
        look: What it is to become, if that is its own.
    """

    name: str
    stem: str
    path: Path | None = None
    seed: int | None = None
    row: int | None = None
    average: bool = False
    error: StyleClipError | None = None
    pixels: int = 0
    look: Look | None = None


def expand(inputs: Sequence[str], max_megapixels: float = 100, recursive: bool = False) -> list[Item]:
    """Turn command-line inputs into faces, in order, each file once.

    What cannot be used becomes an item with its error, so that the others of a batch can go on.

    Args:
        inputs: As given on the command line: files, folders, patterns, seeds, @lists, - for standard input.
        max_megapixels: Larger pictures are refused.
        recursive: Look into folders inside folders, too.

    Raises:
        StyleClipError: The item's error, if the only input is a bad one; or a list that cannot be read.
        UsageError: If a seed is malformed, or standard input is named twice.
    """
    items: list[Item] = []
    texts = [text for entry in inputs for text in _listed(entry)]
    if texts.count(STREAM) + list(inputs).count(f"@{STREAM}") > 1:
        raise UsageError("standard input can be read only once", "one - among the inputs")
    for text in texts:
        items.extend(_expand_one(text, round(max_megapixels * 1e6), recursive))
    unique: dict[tuple[object, ...], Item] = {}
    for item in items:
        unique.setdefault(_identity(item), item)
    items = list(unique.values())
    if len(items) == 1 and items[0].error is not None:
        raise items[0].error
    return items


def _identity(item: Item) -> tuple[object, ...]:
    usable = item.path if item.error is None else None
    path = os.path.realpath(usable) if usable is not None else item.name
    return path, item.seed, item.row


def _listed(entry: str) -> list[str]:
    """The inputs that a file names: one a line, or with a NUL after each, as `find -print0` writes them.

    Raises:
        BadInputError: If it cannot be read.
    """
    if not entry.startswith("@") or entry == "@" or exists(entry):
        return [entry]
    name = entry[1:]
    where = "standard input" if name == STREAM else name
    try:
        text = read_list(name)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{where}: the list cannot be read ({_reason(error)})") from None
    if b"\0" in text:  # no person wrote this: nothing in it is a remark
        found = [os.fsdecode(name) for name in text.split(b"\0") if name]
    else:
        lines = text.removeprefix(b"\xef\xbb\xbf").splitlines()
        found = [os.fsdecode(line) for line in lines if line.strip() and not line.startswith(b"#")]
    if not found:
        raise BadInputError(f"{where}: the list is empty", "one input a line")
    return found


def read_list(name: str) -> bytes:
    """The content of a file that lists inputs, or of standard input.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is too large.
    """
    if name == STREAM:
        if sys.stdin is None:
            raise OSError("it is closed")
        data = sys.stdin.buffer.read(_MAX_LIST + 1)
    else:
        with Path(at_home(name)).open("rb") as file:
            data = file.read(_MAX_LIST + 1)
    if len(data) > _MAX_LIST:
        raise ValueError("too large for a list")
    return data


def _expand_one(text: str, max_pixels: int, recursive: bool) -> list[Item]:
    if text.startswith("seed:"):
        try:
            seeds = parse_seeds(text[len("seed:") :])
        except UsageError as error:
            raise UsageError(error.message, like_option([text]) or error.hint) from None  # in a list, too
        return [Item(f"seed:{seed}", f"seed{seed}", seed=seed) for seed in seeds]
    text = at_home(text)
    path = Path(text)
    try:
        if text == STREAM:
            path = _spooled()
            text = "standard input"
        elif is_address(text) and not exists(text):
            raise BadInputError(*not_there(text))
        elif path.is_dir():
            return _expand_folder(path, max_pixels, recursive)
        elif not path.exists():
            return _expand_pattern(text, max_pixels, recursive)
        if path.suffix.lower() in LATENT_SUFFIXES:
            return _expand_latents(path)
        from styleclip_cli.photos import photo

        width, height = photo.probe(path, max_pixels)
    except StyleClipError as error:
        if text == "standard input":
            error = type(error)(error.message.replace(str(path), text), error.hint)
        return [Item(text, path.stem, path=path, error=error)]
    except (OSError, ValueError) as error:  # an unreadable parent, a name too long, a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        return [Item(text, path.stem, path=path, error=BadInputError(f"{text}: cannot be read ({reason})"))]
    return [Item(text, path.stem, path=path, pixels=width * height)]


def _spooled() -> Path:
    """Standard input as a file, which goes when the process does.

    Raises:
        BadInputError: If there is nothing, or too much of it.
        UsageError: If a person would have to type a picture.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("no picture comes in on standard input", "styleclip edit - ... < face.jpg")
    path = scratch() / "stdin"
    with path.open("wb") as file:
        left = _MAX_STREAM
        while block := sys.stdin.buffer.read(min(2**20, left + 1)):
            left -= file.write(block)
            if left < 0:
                raise BadInputError("standard input: too large for a picture")
    if left == _MAX_STREAM:
        raise BadInputError("standard input: empty")
    return path


def scratch() -> Path:
    """A folder of this run alone, that goes when the process does."""
    folder = tempfile.mkdtemp(prefix="styleclip-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _expand_folder(folder: Path, max_pixels: int, recursive: bool) -> list[Item]:
    every = folder.rglob("*") if recursive else folder.iterdir()
    found = sorted(p for p in every if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir())
    found = [p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    if not found:
        hint = "" if recursive else "--recursive looks into its folders, too; "
        raise BadInputError(
            f"{folder}: no images in this folder", f"{hint}images end in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return [item for path in found for item in _expand_one(str(path), max_pixels, recursive)]


def _expand_pattern(text: str, max_pixels: int, recursive: bool) -> list[Item]:
    """What a pattern stands for that no shell has replaced (in quotes, in lists, on Windows)."""
    import glob

    found = sorted(glob.glob(text, recursive=True)) if any(c in text for c in "*?[") else []  # noqa: PTH207
    if not found:
        raise BadInputError(*not_there(text))
    return [item for path in found for item in _expand_one(path, max_pixels, recursive)]


def _expand_latents(path: Path) -> list[Item]:
    from styleclip_cli import latents

    count = len(latents.read(path).w_plus)
    if count == 1:
        return [Item(str(path), path.stem, path=path, row=0)]
    digits = len(str(count - 1))
    return [
        Item(f"{path}[{row}]", f"{path.stem}-{row:0{digits}d}", path=path, row=row) for row in range(count)
    ]


@dataclass(frozen=True)
class Naming:
    """How outputs in a folder are called.

    Attributes:
        template: With the fields of `FIELDS` in braces; None: "{stem}_{edit}".
        suffix: Added to names without one.
    """

    template: str | None = None
    suffix: str = ".png"

    def names(self, items: Sequence[Item], looks: Sequence[Look]) -> list[str]:
        """Names for items, all different, folders before them possible.

        Raises:
            UsageError: If the template makes no sense.
        """
        template = self.template if self.template is not None else "{stem}_{edit}"
        stems, suffixes = [], []
        for number, (item, look) in enumerate(zip(items, looks, strict=True), start=1):
            name = self._filled(template, number, item, look)
            path = Path(name)
            named = path.suffix.lower() in OUTPUT_SUFFIXES
            stems.append(str(path.with_suffix("")) if named else name)
            suffixes.append(path.suffix if named else self.suffix)
        return [stem + suffix for stem, suffix in zip(distinct(stems), suffixes, strict=True)]

    def _filled(self, template: str, number: int, item: Item, look: Look) -> str:
        alphas = look.alphas
        values: dict[str, object] = {
            "stem": item.stem if item.error is None else item.stem[:80],  # nothing is written for it
            "edit": slug(look.words),
            "prompt": slug(look.words),
            "neutral": slug(look.steps[0].neutral or "") if look.steps else "",
            "method": look.method,
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
    looks: Sequence[Look],
    out: Path | None,
    naming: Naming,
    *,
    overwrite: bool,
    given: Sequence[str | None] = (),
) -> list[Path]:
    """Choose and check the output of every item.

    Args:
        items: What will be written, in order.
        looks: What each is to become.
        out: A file (for one item), a folder, or None for the current folder.
        naming: How outputs in a folder are called.
        overwrite: Whether outputs that exist may be replaced.
        given: Names that are settled already, one per item or none at all; None where one is to be found.

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
        names = naming.names(items, looks)
        paths = [folder / (one or name) for one, name in zip(own, names, strict=True)]
        for path in paths:
            check_picture(path)
        if len({str(path).lower() for path in paths}) < len(paths):
            twice = next(p for p in paths if sum(str(p).lower() == str(q).lower() for q in paths) > 1)
            raise UsageError(f"two results would be written to {twice}", "another name for one of them")
    check_outputs(paths, overwrite=overwrite)
    return paths


def without_results(items: Sequence[Item], paths: Sequence[Path], beside: Iterable[Path] = ()) -> list[Item]:
    """Items that are no other item's result: those of an earlier run, in the folder that they were made of.

    Args:
        items: In order.
        paths: The result of each.
        beside: What else is written.
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


def check_results(items: Sequence[Item], paths: Sequence[Path]) -> None:
    """Make sure that no result is written over the input of another one.

    Raises:
        OutputError: If one would be.
    """
    sources = {os.path.realpath(item.path): item for item in items if item.path is not None}
    for item, path in zip(items, paths, strict=True):
        other = sources.get(os.path.realpath(path))
        if other is not None and other.path != item.path:
            raise OutputError(f"{path}: is an input", "another --out, or --name")


def pack_of_recipe(models: str | None, recipe: str | None) -> str | None:
    """The pack to repeat a recipe with: one named on the command line, else the recipe's.

    The environment's counts as named only if it is the recipe's pack, wherever that lies.

    Args:
        models: From the command line or the environment.
        recipe: Name of the recipe's pack.
    """
    if models is None or recipe is None or models != os.environ.get("STYLECLIP_MODELS"):
        return recipe if models is None else models
    from styleclip_cli.weights.packs import find_pack

    return models if find_pack(models).name == recipe else recipe


def suffix_of(format: str | None) -> str:
    """Ending of the names of pictures in this format; .png if none is named.

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


def check_picture(path: Path) -> None:
    """Refuse a picture format that cannot be written.

    Raises:
        UsageError: If the suffix is not one of `OUTPUT_SUFFIXES`.
    """
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise UsageError(
            f"{path}: cannot write this picture format", f"one of {', '.join(sorted(OUTPUT_SUFFIXES))}"
        )


def check_outputs(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Make sure that all of these can be written, leaving nothing behind.

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
    """Make sure that what goes beside results can be written, and is nobody's.

    Args:
        paths: What will be written.
        items: The inputs, which are never written over.
        overwrite: Whether files that exist may be replaced.
        again: Whether a job goes on: what it wrote itself may be replaced.

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
    """Whether this program wrote a file: all of its formats say so near one of their ends."""
    try:
        with path.open("rb") as file:
            head = file.read(_LOOK)
            file.seek(max(0, path.stat().st_size - _LOOK))
            ends = head + file.read(_LOOK)
            # Texts in .npz files are of four bytes a letter.
            return any("styleclip".encode(coding) in ends for coding in ("ascii", "utf-32-le"))
    except (OSError, ValueError):
        return False


def is_file_name(out: Path) -> bool:
    """Whether an output names a file and not a folder."""
    try:
        return bool(out.suffix) and not out.is_dir()
    except OSError:  # a name too long: told when the output is checked
        return bool(out.suffix)


def distinct(names: Iterable[str]) -> list[str]:
    """Number the repeats: a/face.png and b/face.png become face and face-2 (also where case is ignored)."""
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
