"""Settle what is read and what is written before any model loads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from styleclip_cli.cli.options import parse_seeds
from styleclip_cli.errors import BadInputError, OutputError, StyleClipError, UsageError
from styleclip_cli.weights.mappers import slug as slug

_PNG, _JPEG, _TIFF = (".png", ".apng"), (".jpg", ".jpeg", ".jpe", ".jfif"), (".tif", ".tiff")
IMAGE_SUFFIXES = frozenset({*_PNG, *_JPEG, *_TIFF, ".webp", ".bmp", ".gif", ".avif", ".heic", ".heif"})
LATENT_SUFFIXES = frozenset({".npz", ".npy", ".pt"})
OUTPUT_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff"})


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
    """

    name: str
    stem: str
    path: Path | None = None
    seed: int | None = None
    row: int | None = None
    average: bool = False
    error: StyleClipError | None = None
    pixels: int = 0


def expand(inputs: Sequence[str], max_megapixels: float = 100) -> list[Item]:
    """Turn command-line inputs into faces, in order, each file once.

    What cannot be used becomes an item with its error, so that the others of a batch can go on.

    Args:
        inputs: As given on the command line.
        max_megapixels: Larger pictures are refused.

    Raises:
        StyleClipError: The item's error, if the only input is a bad one.
        UsageError: If a seed is malformed.
    """
    items: list[Item] = []
    for text in inputs:
        items.extend(_expand_one(text, round(max_megapixels * 1e6)))
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


def _expand_one(text: str, max_pixels: int) -> list[Item]:
    if text.startswith("seed:"):
        return [Item(f"seed:{seed}", f"seed{seed}", seed=seed) for seed in parse_seeds(text[len("seed:") :])]
    path = Path(text)
    try:
        if path.is_dir():
            return _expand_folder(path, max_pixels)
        if not path.exists():
            raise BadInputError(f"{text}: no such file")
        if path.suffix.lower() in LATENT_SUFFIXES:
            return _expand_latents(path)
        from styleclip_cli import photo

        width, height = photo.probe(path, max_pixels)
    except StyleClipError as error:
        return [Item(text, path.stem, path=path, error=error)]
    except (OSError, ValueError) as error:  # an unreadable parent, a name too long, a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        return [Item(text, path.stem, path=path, error=BadInputError(f"{text}: cannot be read ({reason})"))]
    return [Item(text, path.stem, path=path, pixels=width * height)]


def _expand_folder(folder: Path, max_pixels: int) -> list[Item]:
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir())
    found = [path for path in found if not path.name.startswith(".")]
    if not found:
        raise BadInputError(
            f"{folder}: no images in this folder", f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return [item for path in found for item in _expand_one(str(path), max_pixels)]


def _expand_latents(path: Path) -> list[Item]:
    from styleclip_cli import latents

    count = len(latents.read(path).w_plus)
    if count == 1:
        return [Item(str(path), path.stem, path=path, row=0)]
    digits = len(str(count - 1))
    return [
        Item(f"{path}[{row}]", f"{path.stem}-{row:0{digits}d}", path=path, row=row) for row in range(count)
    ]


def plan_outputs(
    items: Sequence[Item], out: Path | None, ending: str, *, overwrite: bool, suffix: str = ".png"
) -> list[Path]:
    """Choose and check the output of every item.

    Args:
        items: What will be written, in order.
        out: A file (for one item), a folder, or None for the current folder.
        ending: Put after each item's stem ("with-glasses").
        overwrite: Whether outputs that exist may be replaced.
        suffix: Format of outputs in a folder.

    Returns:
        One path per item, all different.

    Raises:
        OutputError: If one exists (without `overwrite`) or cannot be written.
        UsageError: If several items are to go into one file, or the format is unknown.
    """
    if out is not None and is_file_name(out):
        if len(items) > 1:
            raise UsageError(f"{len(items)} results do not fit into the file {out}", "--out FOLDER")
        check_picture(out)
        paths = [out]
    else:
        folder = out if out is not None else Path()
        paths = [folder / f"{name}{suffix}" for name in distinct(f"{i.stem}_{ending}" for i in items)]
    check_outputs(paths, overwrite=overwrite)
    return paths


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
            if path.is_dir():
                raise OutputError(f"{path}: is a folder, not a file")
            if path.exists() and not overwrite:
                raise OutputError(f"{path}: exists already", "--overwrite, or another --out")
        except (OSError, ValueError) as error:
            raise OutputError(f"{path}: cannot be written ({_reason(error)})") from None
        folders.add(path.parent)
    for folder in sorted(folders):
        _check_writable(folder)


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
