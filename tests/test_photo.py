"""Reading pictures: every kind a person has, and every way in which one can be broken."""

from __future__ import annotations

import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from styleclip_cli import photo
from styleclip_cli.errors import BadInputError


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
