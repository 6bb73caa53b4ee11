"""The EXIF data of photos: what is read, what is kept, and how a block of it is put together."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

# What EXIF is kept: when and how a photo was taken, and whose it is. Not where, not the numbers of the
# camera and the lens, not the maker's notes, which nobody but the maker can read.
_ABOUT = (Base.Make, Base.Model, Base.DateTime, Base.Artist, Base.Copyright)
_TAKEN = (
    *(Base.ExposureTime, Base.FNumber, Base.ExposureProgram, Base.ISOSpeedRatings, Base.SensitivityType),
    *(Base.DateTimeOriginal, Base.DateTimeDigitized, Base.OffsetTime, Base.OffsetTimeOriginal),
    *(Base.OffsetTimeDigitized, Base.SubsecTime, Base.SubsecTimeOriginal, Base.SubsecTimeDigitized),
    *(Base.ShutterSpeedValue, Base.ApertureValue, Base.BrightnessValue, Base.ExposureBiasValue),
    *(Base.MaxApertureValue, Base.SubjectDistance, Base.MeteringMode, Base.LightSource, Base.Flash),
    *(Base.FocalLength, Base.FocalLengthIn35mmFilm, Base.ExposureMode, Base.WhiteBalance),
    *(Base.DigitalZoomRatio, Base.SceneCaptureType, Base.LensSpecification, Base.LensMake, Base.LensModel),
)
# True of the old pixels only, or pointers into the old block.
_STALE = {Base.ExifImageWidth, Base.ExifImageHeight, Base.ColorSpace, Base.ExifInteroperabilityOffset}


def exif_of(image: Image.Image, notes: list[str]) -> Image.Exif:
    """The EXIF data of an image; empty, and noted, where they are damaged.

    A PNG whose header has none is decoded, because they may come after the pixels.

    Args:
        image: The image.
        notes: Takes a sentence on what is damaged.

    Returns:
        The data.
    """
    try:
        exif = image.getexif()
        hash(exif.get(Base.Orientation))  # damaged ones may hold anything
        for directory in (IFD.Exif, IFD.GPSInfo, IFD.IFD1):
            exif.get_ifd(directory)
        return exif
    except Exception:  # as in read_photo
        notes.append("its EXIF data are damaged and were ignored")
        return Image.Exif()


def load_exif(block: bytes) -> tuple[Image.Exif, bytes | None]:
    """Take a block of EXIF data apart into its directories and its thumbnail.

    Args:
        block: As it is in a file.

    Returns:
        The directories, and the thumbnail's bytes if there is one.
    """
    exif = Image.Exif()
    exif.load(block)
    return exif, _thumbnail(exif, block)


def exif_block(exif: Image.Exif, thumbnail: bytes | None = None) -> bytes:
    """Put a block of EXIF data together; Pillow's own leaves the thumbnail out.

    Args:
        exif: The directories.
        thumbnail: A JPEG's bytes; None for none.

    Returns:
        As it is in a file.
    """
    block = exif.tobytes()
    if thumbnail is None:
        return block
    tiff = bytearray(block[6:])
    tiff += b"\0" * (len(tiff) % 2)
    order = "<" if tiff[:2] == b"II" else ">"
    (count,) = struct.unpack_from(f"{order}H", tiff, 8)
    struct.pack_into(f"{order}I", tiff, 10 + 12 * count, len(tiff))  # the first directory names the second
    begin = len(tiff) + 2 + 3 * 12 + 4
    tiff += struct.pack(f"{order}H", 3)
    tiff += struct.pack(f"{order}HHIHH", Base.Compression, 3, 1, 6, 0)  # a JPEG
    tiff += struct.pack(f"{order}HHII", Base.JpegIFOffset, 4, 1, begin)
    tiff += struct.pack(f"{order}HHIII", Base.JpegIFByteCount, 4, 1, len(thumbnail), 0)
    return block[:6] + bytes(tiff) + thumbnail


def kept_exif(exif: Image.Exif, block: bytes | None, everything: bool) -> bytes | None:
    """What of a photo's EXIF data goes with what is made of it.

    Args:
        exif: The photo's.
        block: The same as it is in the file, if it is known.
        everything: Also where it was taken, the numbers of the camera, and the thumbnail.

    Returns:
        A block for a new file; None if the photo has no data.
    """
    kept = Image.Exif()
    taken = exif.get_ifd(IFD.Exif)
    _copy(exif, kept, None, _ABOUT)
    _copy(taken, kept, IFD.Exif, set(taken) - _STALE if everything else _TAKEN)
    if everything:
        place = exif.get_ifd(IFD.GPSInfo)
        _copy(place, kept, IFD.GPSInfo, place)
    thumbnail = _thumbnail(exif, block) if everything and block else None
    kept[Base.Orientation] = 1
    return exif_block(kept, thumbnail) if exif else None


def _copy(source: Mapping[int, Any], target: Image.Exif, directory: int | None, tags: Iterable[int]) -> None:
    for tag in tags:
        if tag in source and _can_be_written(directory, tag, source[tag]):
            (target if directory is None else target.get_ifd(directory))[tag] = source[tag]


def _can_be_written(directory: int | None, tag: int, value: Any) -> bool:
    """Whether a value of a strange file fits its tag; one that does not would spoil the whole block."""
    trial = Image.Exif()
    (trial if directory is None else trial.get_ifd(directory))[tag] = value
    try:
        return bool(trial.tobytes())
    except Exception:
        return False


def _thumbnail(exif: Image.Exif, block: bytes) -> bytes | None:
    found = exif.get_ifd(IFD.IFD1)
    begin, count = found.get(Base.JpegIFOffset), found.get(Base.JpegIFByteCount)
    if not isinstance(begin, int) or not isinstance(count, int) or begin < 0 or count <= 0:
        return None
    tiff = block.removeprefix(b"Exif\0\0")
    data = tiff[begin : begin + count]
    return data if data.startswith(b"\xff\xd8") else None
