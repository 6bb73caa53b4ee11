"""Writing pictures: exact values, and whole files or none."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image, features
from PIL.ExifTags import IFD
from PIL.PngImagePlugin import PngInfo

from styleclip_cli import __version__, save
from styleclip_cli.errors import OutputError, UsageError
from styleclip_cli.photo import read as photo
from styleclip_cli.photo.exif import exif_block, load_exif
from styleclip_cli.recipe import Recipe


def test_values_are_rounded_not_cut() -> None:
    levels = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]).expand(3, 1, 7)
    expected = [0, 0, 64, 128, 191, 255, 255]
    assert np.asarray(save.to_image(levels))[0, :, 0].tolist() == expected


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UsageError, match="not finite"):
        save.to_image(torch.full((3, 4, 4), float("nan")))


def test_png_carries_what_made_it(tmp_path: Path) -> None:
    metadata = {"prompt": "с очками", "alpha": 4.0, "beta": None}
    save.save_image(tmp_path / "a.png", torch.zeros(3, 20, 20), metadata)
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.text["styleclip:prompt"] == "с очками"
        assert image.text["styleclip:alpha"] == "4.0"
        assert image.text["Software"] == f"styleclip {__version__}"
        assert "styleclip:beta" not in image.text


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_other_formats_by_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"a{suffix}"
    save.save_image(path, torch.zeros(3, 20, 20))
    with Image.open(path) as image:
        assert image.size == (20, 20)


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="picture format"):
        save.save_image(tmp_path / "a.xyz", torch.zeros(3, 20, 20))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with save.atomic(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        save.save_image(tmp_path / "file" / "a.png", torch.zeros(3, 20, 20))


@pytest.mark.skipif(os.name == "nt", reason="permission bits")
def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    save.save_image(tmp_path / "a.png", torch.zeros(3, 20, 20))
    (tmp_path / "b").write_text("")
    mode = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.png", "b")]
    assert mode[0] == mode[1]


# --- what is written beside the pixels ---------------------------------------------------------------------

RECIPE = Recipe(prompt='a "smiling" face & <glasses> 😎', neutral="face", alphas=(4.0,), beta=0.1, channels=9)
SUFFIXES = ["png", "jpg", "webp", "tif", *(["avif"] if features.check("avif") else [])]
NAMES = {
    "CreatorTool": "{http://ns.adobe.com/xap/1.0/}CreatorTool",
    "DigitalSourceType": "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType",
}


def picture(size: tuple[int, int] = (48, 32)) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


def camera_exif(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model 7", orientation
    exif.get_ifd(IFD.Exif)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(IFD.GPSInfo)[2] = (52.0, 31.0, 12.0)
    return exif_block(exif, b"\xff\xd8 a small picture")


def xmp_in(path: Path) -> dict[str, str | None]:
    """The XMP properties, from the bytes of the file, by a parser of XML."""
    content = path.read_bytes()
    packet = content[content.index(b"<x:xmpmeta") : content.index(b"</x:xmpmeta>") + len(b"</x:xmpmeta>")]
    root = ElementTree.fromstring(packet)
    return {name: root.findtext(f".//{full}") for name, full in NAMES.items()}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_recipe_comes_back_from_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"моё photo 😀.{suffix}"
    for _ in range(2):  # the same file twice
        save.save_image(path, picture(), RECIPE, mark="edited", exif=camera_exif())
        found = save.read_metadata(path)
        assert found is not None
        assert Recipe.from_mapping(found) == RECIPE
    with Image.open(path) as image:
        image.load()
        assert image.size == (48, 32)
        assert np.abs(np.asarray(image.convert("RGB"), float) - np.asarray(picture(), float)).mean() < 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_picture_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in "ab":
        save.save_image(tmp_path / f"{name}.{suffix}", picture(), RECIPE, mark="edited", exif=camera_exif())
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("mark", "term"),
    [
        ("edited", "compositeWithTrainedAlgorithmicMedia"),
        ("generated", "trainedAlgorithmicMedia"),
        (None, None),
    ],
)
def test_the_mark_is_xmp_in_the_file(
    tmp_path: Path, suffix: str, mark: save.Mark | None, term: str | None
) -> None:
    path = tmp_path / f"a.{suffix}"
    save.save_image(path, picture(), RECIPE, mark=mark)
    found = xmp_in(path)
    assert found["CreatorTool"] == f"styleclip {__version__}"
    uri = f"http://cv.iptc.org/newscodes/digitalsourcetype/{term}" if term is not None else None
    assert found["DigitalSourceType"] == uri
    with Image.open(path) as image:
        assert save.mark_of(image) == term


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_metadata_and_mark_nothing_tells_of_the_program(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    save.save_image(path, picture())
    assert b"styleclip" not in path.read_bytes()
    assert save.read_metadata(path) is None


def test_the_comment_says_its_encoding(tmp_path: Path) -> None:
    save.save_image(tmp_path / "a.jpg", picture(), RECIPE)
    with Image.open(tmp_path / "a.jpg") as image:
        comment = image.getexif().get_ifd(IFD.Exif)[0x9286]
    assert comment[:8] == b"ASCII\0\0\0"
    assert json.loads(comment[8:])["prompt"] == RECIPE.prompt


def test_a_comment_rewritten_as_unicode_is_read(tmp_path: Path) -> None:
    for codec in ("utf-16", "utf-16-be", "utf-16-le"):
        exif = Image.Exif()
        exif.get_ifd(IFD.Exif)[0x9286] = b"UNICODE\0" + RECIPE.to_json().encode(codec)
        picture().save(tmp_path / "a.jpg", exif=exif.tobytes())
        assert save.read_metadata(tmp_path / "a.jpg") is not None, codec


@pytest.mark.parametrize(
    "comment", [b"ASCII\0\0\0hello", b"ASCII\0\0\0[1]", b'ASCII\0\0\0{"schema":1}', b"", b"UNICODE\0\0"]
)
def test_comments_of_others_are_none_of_ours(tmp_path: Path, comment: bytes) -> None:
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[0x9286] = comment
    picture().save(tmp_path / "a.jpg", exif=exif.tobytes())
    assert save.read_metadata(tmp_path / "a.jpg") is None


@pytest.mark.parametrize(
    "text", ["{" * 60_000, '{"a":' * 20_000, "x" * 500_000, '{"schema":"styleclip.x"', "NaN"]
)
def test_hostile_texts_in_a_png_are_ignored(tmp_path: Path, text: str) -> None:
    info = PngInfo()
    info.add_itxt("styleclip", text)
    picture().save(tmp_path / "a.png", pnginfo=info)
    assert save.read_metadata(tmp_path / "a.png") is None


def test_hostile_xmp_is_never_parsed(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><x>digitalsourcetype/&b;</x>'
    picture().save(tmp_path / "a.jpg", xmp=bomb.encode())
    with Image.open(tmp_path / "a.jpg") as image:
        assert save.mark_of(image) is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exif_is_carried_over_upright(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    save.save_image(path, picture(), RECIPE, exif=camera_exif())
    with Image.open(path) as image:
        assert image.size == (48, 32)
        exif = image.getexif()
        assert exif.get(0x0112, 1) == 1
        assert (exif[0x010F], exif[0x0110]) == ("Maker", "Model 7")
        assert exif.get_ifd(IFD.Exif)[0x9003] == "2024:05:06 07:08:09"
        assert exif.get_ifd(IFD.GPSInfo)[2] == (52.0, 31.0, 12.0)  # what is handed over was meant to be kept


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_by_default_a_photo_loses_its_place_on_the_way(tmp_path: Path, suffix: str) -> None:
    picture().save(tmp_path / "photo.jpg", exif=camera_exif())
    read = photo.read_photo(tmp_path / "photo.jpg")
    save.save_image(tmp_path / f"a.{suffix}", read.image, RECIPE, exif=read.exif)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        exif = image.getexif()
        assert exif[0x0110] == "Model 7"
        assert exif.get(0x0112, 1) == 1
        assert dict(exif.get_ifd(IFD.GPSInfo)) == {}
        assert image.size == (32, 48)
    assert b"a small picture" not in (tmp_path / f"a.{suffix}").read_bytes()


def test_a_thumbnail_that_was_asked_for_is_written(tmp_path: Path) -> None:
    for suffix in ("jpg", "png", "webp"):
        save.save_image(tmp_path / f"a.{suffix}", picture(), RECIPE, exif=camera_exif())
        assert b"\xff\xd8 a small picture" in (tmp_path / f"a.{suffix}").read_bytes()


def test_exif_that_a_jpeg_cannot_hold_gives_way_to_the_recipe(tmp_path: Path) -> None:
    exif = exif_block(load_exif(camera_exif())[0], b"\xff\xd8" + bytes(66_000))
    save.save_image(tmp_path / "a.jpg", picture(), RECIPE, exif=exif)
    assert save.read_metadata(tmp_path / "a.jpg") is not None


def test_the_largest_recipe_fits_everywhere(tmp_path: Path) -> None:
    largest = Recipe(prompt="😎" * 2000, neutral="😎" * 2000, alphas=(-1.2345678901234567e-300,) * 256)
    for suffix in SUFFIXES:
        save.save_image(tmp_path / f"a.{suffix}", picture(), largest)
        found = save.read_metadata(tmp_path / f"a.{suffix}")
        assert found is not None
        assert Recipe.from_mapping(found) == largest


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_profile_is_srgb(tmp_path: Path, suffix: str) -> None:
    save.save_image(tmp_path / f"a.{suffix}", picture())
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert image.info["icc_profile"] == photo.srgb_profile()
    if suffix in ("png", "tif"):
        np.testing.assert_array_equal(
            np.asarray(photo.read_image(tmp_path / f"a.{suffix}")), np.asarray(picture())
        )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_alpha_is_restored_where_the_format_has_it(tmp_path: Path, suffix: str) -> None:
    opacity = Image.fromarray(np.tile(np.linspace(0, 255, 48), (32, 1)).astype(np.uint8))
    original = picture()
    save.save_image(tmp_path / f"a.{suffix}", original, alpha=opacity, quality=100)
    assert original.mode == "RGB"  # what was handed over is left alone
    read = photo.read_photo(tmp_path / f"a.{suffix}")
    assert save.keeps_alpha(tmp_path / f"a.{suffix}") == (suffix != "jpg")
    if suffix == "jpg":
        assert read.alpha is None
        assert np.asarray(read.image)[:, 0].min() > 245
    else:
        assert read.alpha is not None
        assert np.abs(np.asarray(read.alpha, float) - np.asarray(opacity, float)).max() <= 2


def test_what_a_picture_brought_along_is_not_written(tmp_path: Path) -> None:
    stray = picture()
    stray.info = {
        "comment": b"private",
        "transparency": (0, 0, 255),
        "dpi": (7, 7),
        "icc_profile": b"private",
    }
    for suffix in SUFFIXES:
        save.save_image(tmp_path / f"a.{suffix}", stray)
        assert b"private" not in (tmp_path / f"a.{suffix}").read_bytes()
        assert photo.read_photo(tmp_path / f"a.{suffix}").alpha is None
    assert stray.info["comment"] == b"private"


def test_the_format_can_be_named(tmp_path: Path) -> None:
    for name, kind in (("jpg", "JPEG"), ("PNG", "PNG"), (".webp", "WEBP"), ("tiff", "TIFF")):
        save.save_image(tmp_path / "a.dat", picture(), RECIPE, format=name)
        with Image.open(tmp_path / "a.dat") as image:
            assert image.format == kind
    with pytest.raises(UsageError, match="picture format"):
        save.save_image(tmp_path / "a.png", picture(), format="bmp")


def test_quality_and_compression_matter(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for suffix in ("jpg", "webp", *(["avif"] if "avif" in SUFFIXES else [])):
        for quality in (20, 95):
            save.save_image(tmp_path / f"{quality}.{suffix}", noise, quality=quality)
        assert (tmp_path / f"20.{suffix}").stat().st_size < (
            tmp_path / f"95.{suffix}"
        ).stat().st_size * 0.7, suffix
    for level in (0, 9):
        save.save_image(tmp_path / f"{level}.png", picture(), compression=level)
    assert (tmp_path / "9.png").stat().st_size < (tmp_path / "0.png").stat().st_size / 3


def test_jpeg_keeps_colours_at_full_resolution(tmp_path: Path) -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)
    save.save_image(tmp_path / "a.jpg", Image.fromarray(stripes))
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.abs(np.asarray(image, float) - stripes).mean() < 4


def test_a_picture_too_large_for_a_format_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="WEBP"):
        save.save_image(tmp_path / "a.webp", Image.new("RGB", (16_400, 16)))
    with pytest.raises(OutputError):
        save.save_image(tmp_path / "a.jpg", Image.new("RGB", (65_600, 16)))
    assert list(tmp_path.iterdir()) == []


def test_notes_are_numbers_and_texts(tmp_path: Path) -> None:
    notes = {"seed": 7, "truncation": 0.5, "strange": float("nan"), "path": Path("a"), "none": None}
    save.save_image(tmp_path / "a.jpg", picture(), notes)
    found = save.read_metadata(tmp_path / "a.jpg")
    assert found == {
        "schema": "styleclip.notes/1",
        "version": __version__,
        "seed": 7,
        "truncation": 0.5,
        "strange": "nan",
        "path": "a",
    }
