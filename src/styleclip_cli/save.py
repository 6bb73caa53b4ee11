"""Write images: whole or not at all, with what made them written inside, and read that back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, PngImagePlugin, features
from PIL.ExifTags import IFD, Base

from styleclip_cli import __version__
from styleclip_cli.errors import OutputError, UsageError, one_line
from styleclip_cli.machine.atomic import atomic
from styleclip_cli.machine.profile import stage
from styleclip_cli.photo.exif import exif_block, exif_of, load_exif
from styleclip_cli.photo.read import MAX_PIXELS, opened, srgb_profile
from styleclip_cli.recipe import Recipe, parse_json, to_json

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
PROGRAM = f"styleclip {__version__}"
Mark = Literal["edited", "generated"]
"""What was done by a network: a photo was edited, or the whole image generated."""

_NOTES = "styleclip.notes/1"
_KEYWORD = "styleclip"
_ASCII, _UNICODE = b"ASCII\0\0\0", b"UNICODE\0"
_XMP_TAG = 700  # in TIFF files
_MAX_JPEG_EXIF = 65_533
_MAX_XMP = 2**20
_SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SOURCE_TYPES: dict[Mark, str] = {
    "edited": "compositeWithTrainedAlgorithmicMedia",
    "generated": "trainedAlgorithmicMedia",
}
# Only constants of this program go in, so nothing needs escaping.
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <xmp:CreatorTool>{program}</xmp:CreatorTool>{source}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
_XMP_SOURCE = """
   <Iptc4xmpExt:DigitalSourceType>{uri}</Iptc4xmpExt:DigitalSourceType>"""


def to_image(tensor: Tensor) -> Image.Image:
    """Turn a generator's image into 8-bit RGB, by round((x + 1) * 127.5).

    Args:
        tensor: [3, H, W] or [1, 3, H, W], nominal range [-1, 1]; what lies outside is clipped.

    Raises:
        UsageError: If it is not finite, which a strength far out of range leads to.
    """
    import torch

    if tensor.ndim == 4:
        if len(tensor) != 1:
            raise ValueError(f"one picture expected, got {len(tensor)}")
        tensor = tensor[0]
    if not bool(torch.isfinite(tensor).all()):
        raise UsageError(
            "the picture has values that are not finite", "a strength or truncation nearer to zero"
        )
    pixels = ((tensor.detach().float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy()))


def picture_of(image: Image.Image | Tensor) -> Image.Image:
    """An image, or what `to_image` makes of a tensor."""
    return image if isinstance(image, Image.Image) else to_image(image)


def format_of(path: Path, format: str | None = None) -> str:
    """Pillow's name of the format to write: the one named ("jpg", "PNG" ...), else that of the suffix.

    Raises:
        UsageError: If it cannot be written.
    """
    kind = FORMATS.get(path.suffix.lower() if format is None else f".{format.lower().removeprefix('.')}")
    if kind is None:
        what = f"{path}" if format is None else f"{format!r}"
        raise UsageError(f"{what}: cannot write this picture format", f"one of {', '.join(FORMATS)}")
    if kind == "AVIF" and not features.check("avif"):
        raise UsageError(f"{path}: this Pillow cannot write AVIF", "another format, or a newer Pillow")
    return kind


def keeps_alpha(path: Path, format: str | None = None) -> bool:
    """Whether an image's transparency can be written (in JPEG it is laid on white)."""
    return format_of(path, format) != "JPEG"


def save_image(
    path: Path,
    image: Image.Image | Tensor,
    metadata: Recipe | Mapping[str, object] | None = None,
    *,
    mark: Mark | None = None,
    quality: int = 95,
    compression: int | None = None,
    format: str | None = None,
    alpha: Image.Image | None = None,
    exif: bytes | None = None,
) -> None:
    """Write an sRGB image, atomically, with the profile of sRGB.

    Args:
        path: The file; missing folders are made.
        image: An image, or a tensor as `to_image` takes.
        metadata: What made it: a recipe, or notes by name (into PNG files they go as texts too).
        mark: Whether a network edited or generated it; written as IPTC's DigitalSourceType.
        quality: Of JPEG, WebP and AVIF, up to 100.
        compression: Level of PNG, 0 to 9 (None: 2, a fifth of the time of 6 for a sixth more bytes).
        format: "png", "jpg", "webp", "avif" or "tiff"; None goes by the suffix.
        alpha: Transparency (mode L) of the same size.
        exif: EXIF data to carry over, as `photo.read_photo` gives them.

    Raises:
        OutputError: If it cannot be written.
        UsageError: If the format is none of these, or the tensor is not finite.
    """
    picture = picture_of(image).convert("RGB")
    kind = format_of(path, format)
    if alpha is not None:
        picture = _with_alpha(picture, alpha, kind)
    picture.info.clear()  # Pillow would write some of what it finds there
    options = {"icc_profile": srgb_profile(), **_settings(kind, quality, compression)}
    options |= _inside(kind, metadata, mark, exif)
    with stage("write"), atomic(path) as temporary:
        try:
            with stage("encode"):
                picture.save(temporary, format=kind, **options)
        except ValueError as error:  # WebP's largest side, for one
            raise OutputError(
                f"{path}: cannot be written as {kind} ({one_line(error)})", "another format, such as .png"
            ) from None


def read_metadata(path: Path, max_pixels: int = MAX_PIXELS) -> dict[str, Any] | None:
    """What `save_image` wrote into an image about its making.

    Returns:
        The entries of a recipe or the notes, unchecked but for their size, with their "schema"; None if
        there are none.

    Raises:
        BadInputError: If the image cannot be opened.
    """
    with opened(path, max_pixels) as image:
        return metadata_of(image)


def metadata_of(image: Image.Image) -> dict[str, Any] | None:
    """As `read_metadata`, of an opened image."""
    for text in _texts(image):
        try:
            values = parse_json(text)
        except ValueError:  # another program's comment
            continue
        if str(values.get("schema")).startswith("styleclip."):
            return values
    return None


def mark_of(image: Image.Image) -> str | None:
    """The DigitalSourceType in an opened image's XMP ("trainedAlgorithmicMedia"), whoever wrote it."""
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    text = (xmp.encode(errors="replace") if isinstance(xmp, str) else bytes(xmp))[:_MAX_XMP]
    found = re.search(rb"digitalsourcetype/([A-Za-z]{1,60})", text)  # never parsed: it may be anything
    return found[1].decode() if found else None


def xmp_packet(mark: Mark | None) -> str:
    """XMP that names this program and, as IPTC's DigitalSourceType, what a network did."""
    source = _XMP_SOURCE.format(uri=_SOURCES + _SOURCE_TYPES[mark]) if mark is not None else ""
    return _XMP.format(program=PROGRAM, source=source)


def _with_alpha(picture: Image.Image, alpha: Image.Image, kind: str) -> Image.Image:
    if kind == "JPEG":
        return Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha)
    picture = picture.copy()
    picture.putalpha(alpha)
    return picture


def _settings(kind: str, quality: int, compression: int | None) -> dict[str, Any]:
    """How to encode. TIFF stays as it is: libtiff, which compresses, cannot write EXIF data."""
    if kind == "PNG":
        return {"compress_level": 2 if compression is None else compression}
    if kind in ("JPEG", "AVIF"):
        return {"quality": quality, "subsampling": "4:4:4"}
    return {"quality": quality} if kind == "WEBP" else {}


def _inside(
    kind: str, metadata: Recipe | Mapping[str, object] | None, mark: Mark | None, exif: bytes | None
) -> dict[str, Any]:
    """What is written beside the pixels, as options for Pillow."""
    text = _to_text(metadata) if metadata is not None else None
    xmp = xmp_packet(mark) if text is not None or mark is not None else None
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        if xmp is not None:
            info.add_itxt("Software", PROGRAM)
            info.add_itxt("XML:com.adobe.xmp", xmp)
        if text is not None:
            info.add_itxt(_KEYWORD, text)
        if isinstance(metadata, Mapping):
            for key, value in _given(metadata).items():
                info.add_itxt(f"styleclip:{key}", str(value))
        return {"pnginfo": info, "exif": exif and _exif(exif, None, xmp is not None)}
    options: dict[str, Any] = {"exif": _exif(exif, text, xmp is not None) or b""}
    if kind == "JPEG" and len(options["exif"]) > _MAX_JPEG_EXIF:
        options["exif"] = _exif(None, text, xmp is not None)  # a recipe alone always fits
    if kind == "TIFF":
        tags, _ = load_exif(options["exif"])
        if xmp is not None:
            tags[_XMP_TAG] = xmp.encode()
        return {"exif": tags}
    return {**options, "xmp": xmp.encode()} if xmp is not None else options


def _to_text(metadata: Recipe | Mapping[str, object]) -> str:
    if isinstance(metadata, Recipe):
        return metadata.to_json()
    plain = {key: _plain(value) for key, value in _given(metadata).items()}
    return to_json({**plain, "version": __version__}, _NOTES)


def _given(metadata: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in metadata.items() if value is not None}


def _plain(value: object) -> object:
    finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value if finite else str(value)


def _exif(block: bytes | None, text: str | None, ours: bool) -> bytes | None:
    """The EXIF block to write: what is carried over, upright, and the text as the user's comment."""
    if block is None and not ours:
        return None
    exif, thumbnail = load_exif(block or b"")
    exif[Base.Orientation] = 1
    if ours:
        exif[Base.Software] = PROGRAM
    if text is not None:
        exif.get_ifd(IFD.Exif)[Base.UserComment] = _ASCII + text.encode("ascii")
    return exif_block(exif, thumbnail)


def _texts(image: Image.Image) -> list[str | bytes]:
    """Where `save_image` would have put its text."""
    texts: list[str | bytes] = []
    if image.format == "PNG" and isinstance(image.info.get(_KEYWORD), str):
        texts.append(image.info[_KEYWORD])
    if "exif" in image.info or image.format == "TIFF":
        comment = exif_of(image, []).get_ifd(IFD.Exif).get(Base.UserComment)
        if isinstance(comment, bytes) and comment.startswith(_ASCII):
            texts.append(comment.removeprefix(_ASCII).rstrip(b"\0 "))
        elif isinstance(comment, bytes) and comment.startswith(_UNICODE):  # rewritten by another program
            text = comment.removeprefix(_UNICODE)
            texts += [text.decode(codec, "replace") for codec in ("utf-16", "utf-16-be", "utf-16-le")]
    return texts
