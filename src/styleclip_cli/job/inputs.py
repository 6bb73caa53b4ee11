"""Inputs: names, folders, lists, latents and seeds become items, before any network is loaded."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from styleclip_cli.errors import BadInputError, StyleClipError, UsageError, is_address, not_there
from styleclip_cli.job.values import parse_seeds

_PNG, _JPEG, _TIFF = (".png", ".apng"), (".jpg", ".jpeg", ".jpe", ".jfif"), (".tif", ".tiff")
IMAGE_SUFFIXES = frozenset({*_PNG, *_JPEG, *_TIFF, ".webp", ".bmp", ".gif", ".avif", ".heic", ".heif"})
LATENT_SUFFIXES = frozenset({".npz", ".npy", ".pt"})
STREAM = "-"
"""Standard input or output, in the place of a file."""
_MAX_LIST = 64 * 2**20
_MAX_STREAM = 2**30


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
        picture: An image in memory instead of a file: a `Photo`, a Pillow image, or an array.
    """

    name: str
    stem: str
    path: Path | None = None
    seed: int | None = None
    row: int | None = None
    average: bool = False
    error: StyleClipError | None = None
    pixels: int = 0
    picture: Any = None


def expand(inputs: Sequence[str], max_megapixels: float = 100, recursive: bool = False) -> list[Item]:
    """Turn command-line inputs into faces, in order, each file once.

    An unusable input becomes an item with an error, so that the rest of a batch can be processed.

    Args:
        inputs: As given on the command line: files, folders, patterns, seeds, @lists, - for standard input.
        max_megapixels: Larger images are refused.
        recursive: Search folders recursively.

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
    """The inputs listed in a file: one per line, or NUL-terminated, as `find -print0` writes them.

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
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInputError(f"{where}: the list cannot be read ({reason})") from None
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
        from styleclip_cli.photo import read as photo

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
    """Standard input as a file, which is removed when the process ends.

    Raises:
        BadInputError: If there is nothing, or too much of it.
        UsageError: If standard input is a terminal.
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
    """A temporary folder of this process, which is removed when it ends."""
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
    """The files that match a pattern which no shell has expanded (in quotes, in lists, on Windows)."""
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


def at_home(name: str) -> str:
    """A name with its ~ expanded where no shell has done so: in quotes, in lists."""
    if re.match(r"~[^/]*(/|$)", name) and not exists(name):
        with suppress(RuntimeError):  # nobody's
            return str(Path(name).expanduser())
    return name


def exists(name: str) -> bool:
    """Whether there is a file of this name; False for impossible names."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def like_option(arguments: Sequence[str]) -> str:
    """A hint if a file's name was read as an option or a seed; empty if there is no such file."""
    for word in arguments:
        if word.startswith(("-", "seed:")) and len(word) > 1 and exists(word):
            return f"./{word}, for the file of this name"
    return ""
