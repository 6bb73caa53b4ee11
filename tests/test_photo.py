"""Reading pictures: every kind a person has, and every way in which one can be broken."""

from __future__ import annotations

import io
import os
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, features
from PIL.ExifTags import IFD

from styleclip_cli.errors import BadInputError
from styleclip_cli.photo import decoders
from styleclip_cli.photo import read as photo
from styleclip_cli.photo.exif import exif_block, load_exif


def gradient(size: tuple[int, int] = (40, 30)) -> Image.Image:
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A well-formed PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + checksum

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    body = chunk(b"IHDR", size + b"\x08\x02\x00\x00\x00") + chunk(b"IDAT", zlib.compress(b"\x00" * 100))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "gif"])
def test_reads_the_formats_people_have(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"face.{suffix}"
    gradient().save(path)
    image = photo.read_image(path)
    assert image.mode == "RGB"
    assert image.size == (40, 30)
    difference = np.abs(np.asarray(image, float) - np.asarray(gradient(), float))
    assert difference.mean() < 12  # GIF has 256 colours, JPEG and WebP lose a little


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA"])
def test_converts_every_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("face.tif" if mode in ("CMYK", "LA") else "face.png")
    gradient().convert(mode if mode != "LA" else "L").convert(mode).save(path)
    assert photo.read_image(path).mode == "RGB"


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert photo.read_image(tmp_path / "clear.png").getpixel((5, 5)) == (255, 255, 255)


def test_sixteen_bit_grey_keeps_its_shades(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 400).reshape(20, 20).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    shades = np.asarray(photo.read_image(tmp_path / "deep.png"))[..., 0]
    np.testing.assert_allclose(shades, values / 257.0, atol=0.51)


def test_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to show upright
    gradient((40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    assert photo.read_image(tmp_path / "turned.jpg").size == (30, 40)


def test_to_tensor_is_exact_at_native_size() -> None:
    image = gradient((32, 32))
    tensor = photo.to_tensor(image, 32)
    assert tensor.shape == (1, 3, 32, 32)
    back = ((tensor[0] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(back, np.asarray(image))


def test_to_tensor_takes_the_middle_square() -> None:
    image = Image.new("RGB", (90, 30), "red")
    image.paste(Image.new("RGB", (30, 30), "blue"), (30, 0))
    tensor = photo.to_tensor(image, 16)
    torch.testing.assert_close(tensor[0, 2], torch.ones(16, 16))
    torch.testing.assert_close(tensor[0, 0], -torch.ones(16, 16))


def test_to_tensor_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    tensor = photo.to_tensor(Image.fromarray(stripes), 16)
    assert tensor[..., 2:-2].abs().max() < 0.1


def broken_files(folder: Path) -> dict[str, Path]:
    """One file for each way of being unusable."""
    (folder / "text.png").write_text("this is no picture\n")
    (folder / "empty.png").write_bytes(b"")
    gradient((200, 200)).save(folder / "whole.png")
    content = (folder / "whole.png").read_bytes()
    (folder / "whole.png").unlink()
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (15, 200)).save(folder / "thin.png")
    (folder / "huge.png").write_bytes(png_header(20_000, 20_000))
    (folder / "large.png").write_bytes(png_header(10_001, 10_000))
    (folder / "hollow.png").write_bytes(png_header(300, 300))
    (folder / "code.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n")
    (folder / "folder.png").mkdir()
    return {path.stem: path for path in folder.iterdir()}


BROKEN = {
    "text": "not a picture",
    "empty": "not a picture",
    "cut": "damaged or cut off",
    "dot": "too small (1x1",
    "thin": "too small",
    "huge": "too large",
    "large": "too large",
    "hollow": "damaged or cut off",
    "code": "not a picture",
    "folder": "is a folder",
}


@pytest.mark.parametrize(("name", "words"), BROKEN.items())
def test_a_broken_file_is_one_clear_error(tmp_path: Path, name: str, words: str) -> None:
    path = broken_files(tmp_path)[name]
    with pytest.raises(BadInputError) as caught:
        photo.read_image(path)
    assert words in caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        photo.probe(tmp_path / "absent.png")


def test_size_is_refused_from_the_header(tmp_path: Path) -> None:
    (tmp_path / "huge.png").write_bytes(png_header(20_000, 20_000))
    start = time.perf_counter()
    with pytest.raises(BadInputError, match="too large"):
        photo.read_image(tmp_path / "huge.png")
    assert time.perf_counter() - start < 0.5  # decoding 400 megapixels takes seconds and a gigabyte


# --- colours -----------------------------------------------------------------------------------------------

# Primaries in the profiles' own white (D50), columns red, green, blue; from the published profiles.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
D50 = np.array([0.9642, 1.0, 0.8249])


def fixed(*values: float) -> bytes:
    return b"".join(round(value * 65536).to_bytes(4, "big", signed=True) for value in values)


def icc(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    """A profile of the second version, by hand."""
    tags = {b"desc": b"desc" + bytes(4) + b"\0\0\0\5test\0" + bytes(78), b"wtpt": xyz(D50), **tags}
    table, body = len(tags).to_bytes(4, "big"), b""
    begin = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + (begin + len(body)).to_bytes(4, "big") + len(value).to_bytes(4, "big")
        body += value
    size = (begin + len(body)).to_bytes(4, "big")
    head = size + bytes(4) + b"\x02\x40\0\0" + kind + space + pcs + bytes(12) + b"acsp" + bytes(28)
    return head + fixed(*D50) + bytes(48) + table + body


def xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + fixed(*values)


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + b"\0\0\0\1" + round(value * 256).to_bytes(2, "big")


def matrix_profile(primaries: np.ndarray, exponent: float) -> bytes:
    columns = {name: xyz(primaries[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return icc(b"RGB ", {**columns, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(exponent))})


def srgb_of(values: np.ndarray) -> np.ndarray:
    """D50 XYZ to 8-bit sRGB, from the definition."""
    linear = np.clip(values @ np.linalg.inv(SRGB).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("primaries", "exponent"), [(ADOBE, 563 / 256), (P3, 2.2)])
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_a_colour_profile_is_applied(
    tmp_path: Path, primaries: np.ndarray, exponent: float, suffix: str
) -> None:
    colours = np.random.default_rng(0).integers(40, 216, (6, 3))
    pixels = np.repeat(np.repeat(colours.reshape(2, 3, 3), 16, 0), 16, 1).astype(np.uint8)
    path = tmp_path / f"wide.{suffix}"
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    options |= {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(pixels).save(path, icc_profile=matrix_profile(primaries, exponent), **options)
    expected = srgb_of((pixels / 255.0) ** exponent @ primaries.T)
    read = photo.read_photo(path)
    assert read.notes == ()
    difference = np.abs(np.asarray(read.image, float) - expected)[8::16, 8::16]
    assert difference.max() < (5 if suffix == "jpg" else 1.6)
    assert np.abs(expected - pixels).max() > 10  # it was worth the trouble


def test_a_grey_profile_is_applied_to_grey_and_to_grey_with_alpha(tmp_path: Path) -> None:
    profile = icc(b"GRAY", {b"kTRC": gamma(1.0)})
    expected = srgb_of(128 / 255 * D50).round()
    for mode, colour in (("L", 128), ("LA", (128, 255))):
        Image.new(mode, (20, 20), colour).save(tmp_path / "grey.png", icc_profile=profile)
        read = photo.read_photo(tmp_path / "grey.png")
        assert np.abs(np.array(read.image.getpixel((3, 3))) - expected).max() <= 1
        assert read.notes == ()
    Image.new("L", (20, 20), 128).save(tmp_path / "grey.png", icc_profile=matrix_profile(ADOBE, 1.0))
    shown = np.array(photo.read_image(tmp_path / "grey.png").getpixel((3, 3)))
    assert np.abs(shown - expected).max() <= 1  # grey in a file with a profile for colours


def test_a_profile_of_inks_is_applied(tmp_path: Path) -> None:
    corners = np.zeros((16, 3), np.uint8)  # the inks' mixtures, in Lab of 8 bits, black ink changing fastest
    corners[:] = (40, 128, 128)
    corners[0] = (255, 128, 128)  # paper
    corners[8] = (158, 97, 80)  # cyan alone
    corners[15] = (0, 128, 128)
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += ramp * 4 + corners.tobytes() + ramp * 3
    profile = icc(b"CMYK", {b"A2B0": table}, b"prtr", b"Lab ")
    inks = Image.new("CMYK", (40, 20), (0, 0, 0, 0))
    inks.paste((255, 0, 0, 0), (20, 0, 40, 20))
    inks.save(tmp_path / "inks.tif", icc_profile=profile)
    read = photo.read_photo(tmp_path / "inks.tif")
    light, a, b = corners[8] * (100 / 255, 1, 1) - (0, 128, 128)
    f = np.array([(light + 16) / 116 + a / 500, (light + 16) / 116, (light + 16) / 116 - b / 200])
    cyan = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * D50
    assert read.notes == ()
    assert read.image.getpixel((5, 5)) == (255, 255, 255)
    assert np.abs(np.array(read.image.getpixel((30, 5))) - srgb_of(cyan)).max() < 3


def test_inks_without_a_profile_are_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (20, 20), (255, 0, 0, 0)).save(tmp_path / "inks.jpg", quality=100)
    assert (
        np.abs(np.array(photo.read_image(tmp_path / "inks.jpg").getpixel((5, 5))) - (0, 255, 255)).max() < 6
    )


@pytest.mark.parametrize("name", ["rubbish", "cut", "other colours", "huge"])
def test_a_broken_profile_is_ignored_with_a_note(tmp_path: Path, name: str) -> None:
    whole = matrix_profile(ADOBE, 2.2)
    profile = {
        "rubbish": b"no profile at all" * 20,
        "cut": whole[:200],
        "other colours": icc(b"GRAY", {b"kTRC": gamma(2.2)}),
        "huge": whole + bytes(9 * 2**20),
    }[name]
    gradient().save(tmp_path / "face.tif", icc_profile=profile)
    read = photo.read_photo(tmp_path / "face.tif")
    assert read.notes == ("its colour profile is broken and was ignored",)
    np.testing.assert_array_equal(np.asarray(read.image), np.asarray(gradient()))


def test_the_profile_of_srgb_does_not_tell_the_time() -> None:
    assert photo.srgb_profile()[24:36].hex() == "07d000010001000000000000"


def test_srgb_itself_changes_nothing(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=photo.srgb_profile())
    np.testing.assert_array_equal(np.asarray(photo.read_image(tmp_path / "a.png")), pixels)


def test_a_profile_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.png", icc_profile=bytes(50 * 2**20))
    with pytest.raises(BadInputError, match="too large"):
        photo.read_image(tmp_path / "a.png")


def test_float_pictures_keep_their_shades(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    strange = values.copy()
    strange[0, :3] = np.nan, np.inf, -np.inf
    for name, content in (("plain", values), ("strange", strange)):
        Image.fromarray(content).save(tmp_path / f"{name}.tif")
        shades = np.asarray(photo.read_image(tmp_path / f"{name}.tif"))[..., 0]
        np.testing.assert_allclose(shades[1:], values[1:] * 255, atol=0.51)
    assert shades[0, :3].tolist() == [0, 255, 0]


# --- transparency, orientation, animations -----------------------------------------------------------------


def soft(size: tuple[int, int] = (40, 30)) -> Image.Image:
    image = gradient(size)
    image.putalpha(
        Image.fromarray(np.linspace(0, 255, size[0] * size[1]).astype(np.uint8).reshape(size[::-1]))
    )
    return image


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_transparency_is_kept_beside(tmp_path: Path, suffix: str) -> None:
    soft().save(
        tmp_path / f"soft.{suffix}", **({"lossless": True, "exact": True} if suffix == "webp" else {})
    )
    read = photo.read_photo(tmp_path / f"soft.{suffix}")
    assert read.alpha is not None
    assert read.alpha.mode == "L"
    opacity = np.asarray(soft().getchannel("A"), float)
    np.testing.assert_array_equal(np.asarray(read.alpha), opacity)
    share = opacity[..., None] / 255
    expected = np.asarray(gradient(), float) * share + 255 * (1 - share)
    np.testing.assert_allclose(np.asarray(read.image, float), expected, atol=1)


def test_a_transparent_colour_is_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 10, 20))
    image.save(tmp_path / "a.gif", transparency=0)
    read = photo.read_photo(tmp_path / "a.gif")
    assert read.alpha is not None
    assert (read.alpha.getpixel((3, 3)), read.alpha.getpixel((15, 3))) == (0, 255)
    assert read.image.getpixel((3, 3)) == (255, 255, 255)
    assert read.image.info == {}


def png(path: Path, rows: np.ndarray, bits: int, transparent: Sequence[int]) -> None:
    """A PNG of any depth, grey or RGB, whose transparent colour is given in its own numbers."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = rows.shape[:2]
    wide = rows.reshape(height, -1, 1).astype(">u2").view(np.uint8)
    lines = np.packbits(np.unpackbits(wide, axis=2)[:, :, 16 - bits :].reshape(height, -1), axis=1)
    colours = {2: 0, 3: 2}[rows.ndim]
    head = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    key = struct.pack(f">{len(transparent)}H", *transparent)
    chunks = ((b"IHDR", head), (b"tRNS", key), (b"IDAT", data), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks))


@pytest.mark.parametrize(("bits", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_transparent_colour_is_transparency_in_pngs_of_all_depths(
    tmp_path: Path, bits: int, channels: int, share: float
) -> None:
    largest = 2**bits - 1
    key = round(largest * share)
    rows = np.full((20, 20, 3)[: 2 + channels // 3], 0 if key else largest)
    rows[:10] = key
    png(tmp_path / "a.png", rows, bits, [key] * channels)
    read = photo.read_photo(tmp_path / "a.png")
    assert read.alpha is not None
    opacity = np.asarray(read.alpha)
    assert (opacity[:10] == 0).all()
    assert (opacity[10:] == 255).all()
    assert (np.asarray(read.image)[:10] == 255).all()
    rows[:10] = rows[10:]
    png(tmp_path / "b.png", rows, bits, [key] * channels)
    assert photo.read_photo(tmp_path / "b.png").alpha is None


def test_what_the_file_said_does_not_stick_to_the_pixels(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.jpg", comment=b"private", dpi=(7, 7))
    assert photo.read_image(tmp_path / "a.jpg").info == {}


def test_an_opaque_alpha_is_none(tmp_path: Path) -> None:
    gradient().convert("RGBA").save(tmp_path / "a.png")
    assert photo.read_photo(tmp_path / "a.png").alpha is None


STORED = {  # how a camera held that way stores an upright picture
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_every_orientation_is_turned_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(soft()))))
    path = tmp_path / f"turned.{suffix}"
    stored.save(path, exif=exif, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    read = photo.read_photo(path)
    assert read.alpha is not None
    np.testing.assert_array_equal(np.asarray(read.alpha), np.asarray(soft().getchannel("A")))
    assert read.image.size == (40, 30)
    assert read.exif is not None
    assert load_exif(read.exif)[0][0x0112] == 1


@pytest.mark.parametrize("suffix", ["png", "gif", "webp", "avif"])
def test_of_an_animation_the_first_frame_is_taken_and_told(tmp_path: Path, suffix: str) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / f"moving.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    read = photo.read_photo(path)
    assert read.notes == ("the first of 3 frames is taken",)
    assert np.abs(np.array(read.image.getpixel((20, 15))) - (255, 0, 0)).max() < 8


def test_an_animation_with_a_damaged_end_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [gradient((200, 200)).rotate(angle) for angle in (0, 10, 20)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    whole = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(whole[: len(whole) // 2])
    read = photo.read_photo(tmp_path / "a.gif")
    assert read.image.size == (200, 200)
    assert "frames is taken" in read.notes[0]


def test_of_many_pages_the_first_is_taken(tmp_path: Path) -> None:
    pages = [Image.new("L", (16, 16), shade) for shade in range(200)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    read = photo.read_photo(tmp_path / "pages.tif")
    assert read.notes == ("the first of several pages is taken",)
    assert read.image.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    soft().save(tmp_path / "a.avif", quality=95)
    read = photo.read_photo(tmp_path / "a.avif")
    assert read.alpha is not None
    (tmp_path / "b.avif").write_bytes((tmp_path / "a.avif").read_bytes()[:-200])
    with pytest.raises(BadInputError):
        photo.read_photo(tmp_path / "b.avif")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def test_heic_without_its_library_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "phone.heic").write_bytes(HEIC)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BadInputError) as caught:
        photo.read_photo(tmp_path / "phone.heic")
    assert caught.value.message.endswith("HEIC needs: pip install 'styleclip-cli[heic]'")


def test_heic_is_read_where_its_library_is(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    gradient().save(tmp_path / "phone.heic", format="HEIF", quality=95, exif=exif.tobytes())
    read = photo.read_photo(tmp_path / "phone.heic")
    assert read.image.size == (30, 40)
    (tmp_path / "cut.heic").write_bytes((tmp_path / "phone.heic").read_bytes()[:-100])
    (tmp_path / "empty.heic").write_bytes(HEIC)
    for name in ("cut", "empty"):
        with pytest.raises(BadInputError):
            photo.read_photo(tmp_path / f"{name}.heic")


# --- EXIF --------------------------------------------------------------------------------------------------


def thumbnail() -> bytes:
    file = io.BytesIO()
    gradient((16, 16)).save(file, "JPEG")
    return file.getvalue()


def camera_exif() -> bytes:
    """What a phone writes."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model 7", 6
    exif[0x013C] = "Name of a person's phone"
    exif.get_ifd(IFD.Exif).update(
        {
            0x9003: "2024:05:06 07:08:09",
            0x829D: 1.8,
            0xA434: "A lens",
            0xA431: "serial number 12345",
            0x927C: b"maker's notes",
            0xA002: 4000,
        }
    )
    exif.get_ifd(IFD.GPSInfo).update({1: "N", 2: (52.0, 31.0, 12.0)})
    return exif_block(exif, thumbnail())


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_when_and_with_what_is_kept_and_where_is_not(tmp_path: Path, suffix: str) -> None:
    gradient().save(tmp_path / f"a.{suffix}", exif=camera_exif())
    block = photo.read_photo(tmp_path / f"a.{suffix}").exif
    assert block is not None
    exif, small = load_exif(block)
    details = exif.get_ifd(IFD.Exif)
    assert (exif[0x010F], exif[0x0110], exif[0x0112]) == ("Maker", "Model 7", 1)
    assert (details[0x9003], float(details[0x829D]), details[0xA434]) == (
        "2024:05:06 07:08:09",
        1.8,
        "A lens",
    )
    assert small is None
    assert dict(exif.get_ifd(IFD.GPSInfo)) == {}
    for secret in (b"person", b"serial", b"maker's notes", b"JFIF"):
        assert secret not in block


def test_all_of_it_is_kept_when_asked(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.jpg", exif=camera_exif())
    block = photo.read_photo(tmp_path / "a.jpg", keep_exif=True).exif
    assert block is not None
    exif, small = load_exif(block)
    assert exif[0x0112] == 1
    assert exif.get_ifd(IFD.GPSInfo)[2] == (52.0, 31.0, 12.0)
    assert exif.get_ifd(IFD.Exif)[0x927C] == b"maker's notes"
    assert 0xA002 not in exif.get_ifd(IFD.Exif)  # the size of the old pixels
    assert small == thumbnail()


def test_a_picture_without_exif_has_none(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.png")
    assert photo.read_photo(tmp_path / "a.png").exif is None


@pytest.mark.parametrize("seed", range(12))
def test_damaged_exif_never_stops_a_picture(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    block = bytearray(camera_exif()[: random.integers(20, 400)])
    for place in random.integers(6, len(block), 12):
        block[place] = random.integers(0, 256)
    gradient((32, 32)).save(tmp_path / "a.png", exif=bytes(block))
    assert photo.read_photo(tmp_path / "a.png", keep_exif=bool(seed % 2)).image.size == (32, 32)


def test_exif_that_cannot_be_parsed_is_noted(tmp_path: Path) -> None:
    gradient().save(tmp_path / "a.webp", exif=b"Exif\0\0no directory at all")
    read = photo.read_photo(tmp_path / "a.webp")
    assert read.notes == ("its EXIF data are damaged and were ignored",)
    assert read.exif is None


def test_a_value_that_does_not_fit_its_tag_is_left_out(tmp_path: Path) -> None:
    block = bytearray(camera_exif())
    model = block.index(b"\x01\x10\x00\x02")
    block[model + 3] = 12  # a text said to be a list of doubles
    gradient().save(tmp_path / "a.png", exif=bytes(block))
    kept = photo.read_photo(tmp_path / "a.png").exif
    assert kept is not None
    assert load_exif(kept)[0][0x010F] == "Maker"


# --- limits and strange files ------------------------------------------------------------------------------


def test_the_limit_can_be_raised_and_is_exact(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    (tmp_path / "large.png").write_bytes(png_header(20_000, 15_000))
    with pytest.raises(BadInputError, match="over 100 megapixels"):
        photo.read_photo(tmp_path / "large.png")
    with pytest.raises(BadInputError, match=r"over 299\.999 megapixels"):
        photo.probe(tmp_path / "large.png", max_pixels=299_999_000)
    assert photo.probe(tmp_path / "large.png", max_pixels=300_000_000) == (20_000, 15_000)
    assert before == Image.MAX_IMAGE_PIXELS


def test_threads_read_side_by_side_and_change_nothing_they_share(tmp_path: Path) -> None:
    gradient((600, 400)).save(tmp_path / "a.webp")
    gradient((600, 400)).save(tmp_path / "a.jpg")
    (tmp_path / "large.png").write_bytes(png_header(1000, 900))
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    seen: set[Any] = set()

    def read(number: int) -> None:
        name = ("a.webp", "a.jpg")[number % 2]
        assert photo.read_photo(tmp_path / name, max_pixels=240_000 + number).image.size == (600, 400)
        with pytest.raises(BadInputError, match=r"over 0\.24 megapixels"):
            photo.probe(tmp_path / "large.png", max_pixels=240_000)
        with photo.opened(tmp_path / "large.png", 900_000 + number):
            seen.add((Image.MAX_IMAGE_PIXELS, len(warnings.filters)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(100)))
    assert seen == {(before[0], len(before[1]))}
    assert before == (Image.MAX_IMAGE_PIXELS, list(warnings.filters))


@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_is_refused_before_its_decoder_takes_memory(tmp_path: Path, lossless: bool) -> None:
    gradient((640, 480)).save(tmp_path / "a.webp", lossless=lossless)
    head = (tmp_path / "a.webp").read_bytes()[:64]
    assert decoders.canvas(head) == 640 * 480
    with pytest.raises(BadInputError, match="too large"):
        photo.probe(tmp_path / "a.webp", max_pixels=640 * 480 - 1)
    assert photo.probe(tmp_path / "a.webp", max_pixels=640 * 480) == (640, 480)


def test_a_webp_that_claims_a_huge_canvas_takes_no_memory(tmp_path: Path) -> None:
    gradient((64, 64)).convert("RGBA").save(tmp_path / "a.webp", exif=camera_exif())  # the extended form
    content = bytearray((tmp_path / "a.webp").read_bytes())
    assert content[12:16] == b"VP8X"
    content[24:30] = (16_000).to_bytes(3, "little") * 2
    (tmp_path / "a.webp").write_bytes(content)
    with pytest.raises(BadInputError, match="too large"):
        photo.read_photo(tmp_path / "a.webp")


def test_a_file_of_no_reasonable_size_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.webp").open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBPVP8 ")
        file.truncate(10**11)  # a hole takes no disk
    with pytest.raises(BadInputError, match="too large"):
        photo.read_photo(tmp_path / "a.webp")


@pytest.mark.skipif(os.name == "nt", reason="no such files")
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name, words in (("pipe", "pipe"), ("zero", "device"), ("loop", "symbolic links")):
        with pytest.raises(BadInputError, match=words):
            photo.read_photo(tmp_path / f"{name}.png")
    for name in ("a\0b.png", "x" * 300, "absent/a.png"):
        with pytest.raises(BadInputError) as caught:
            photo.read_photo(tmp_path / name)
        assert "\n" not in caught.value.message


def test_names_and_repeats_make_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "моя photo 😀.png"
    soft().save(path)
    first, second = photo.read_photo(path), photo.read_photo(path)
    np.testing.assert_array_equal(np.asarray(first.image), np.asarray(second.image))
    assert first.exif == second.exif


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "gif"])
def test_a_cut_file_is_one_clear_error(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / f"whole.{suffix}")
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    for share in (0.02, 0.1, 0.5, 0.9):
        (tmp_path / f"cut.{suffix}").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(BadInputError) as caught:
            photo.read_photo(tmp_path / f"cut.{suffix}")
        assert "\n" not in caught.value.message
