"""The latent of one input of any kind."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from styleclip_cli.job.inputs import Item
from styleclip_cli.machine.profile import stage
from styleclip_cli.machine.progress import Tell

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine
    from styleclip_cli.inversion import FaceLatent
    from styleclip_cli.photo.read import Photo


def read_item(item: Item, max_megapixels: float = 100, keep_exif: bool = False) -> Photo | None:
    """Decode an item's image, before any network is loaded.

    Args:
        item: A seed, a row of a latent file, or an image.
        max_megapixels: Larger images are refused.
        keep_exif: Keep all EXIF data.

    Returns:
        The photo; None if the item is no image.

    Raises:
        BadInputError: If the file cannot be used.
    """
    if item.picture is None and (item.path is None or item.row is not None):
        return None
    from styleclip_cli.photo.read import Photo, photo_of, read_photo

    with stage("decode"):
        if isinstance(item.picture, Photo):
            return item.picture
        if item.path is None:
            return photo_of(item.picture, item.name, keep_exif)
        return read_photo(item.path, round(max_megapixels * 1e6), keep_exif)


def open_photo(item: Item, tell: Tell, max_megapixels: float = 100) -> Photo | None:
    """As `read_item`; also report peculiarities of the photo."""
    photo = read_item(item, max_megapixels)
    for note in () if photo is None else photo.notes:
        tell(f"{item.name}: {note}")
    return photo


def latent_of(engine: Engine, item: Item) -> FaceLatent:
    """Sample or read the face of an item that is no image.

    Args:
        engine: The engine to do it with.
        item: A seed, a row of a latent file, or the average face.

    Raises:
        BadInputError: If a latent file does not fit the generator.
    """
    from styleclip_cli.inversion import FaceLatent

    if item.average:
        return FaceLatent(engine.average())
    if item.seed is not None:
        return FaceLatent(engine.sample([item.seed]))
    assert item.path is not None
    assert item.row is not None
    return _all_of(engine, item.path)[item.row]


@lru_cache(maxsize=1)
def _all_of(engine: Engine, path: Path) -> list[FaceLatent]:
    """Read a file once for all of its faces, which are used one after another."""
    return engine.load_inversions(path)


def quality_line(found: FaceLatent) -> str:
    """A short description of an inversion's error; empty if it is not known."""
    quality = found.quality
    if quality is None:
        return ""
    identity = "" if quality.identity is None else f"  identity {quality.identity:.3f}"
    return (
        f"MSE {quality.mse:.5f} ({quality.psnr:.1f} dB)  perceptual {quality.perceptual:.4f}{identity}  "
        f"{quality.seconds:.1f} s"
    )


def source_name(name: str) -> str:
    """The source of a latent for a latent file, without folders that were not named."""
    return Path(name).name if Path(name).is_absolute() else name
