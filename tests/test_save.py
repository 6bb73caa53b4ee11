"""Writing pictures: exact values, whole files or none, and sheets that hold what they should."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from styleclip_cli import __version__, save
from styleclip_cli.errors import OutputError, UsageError


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


def test_contact_sheet_shows_every_picture_unscaled() -> None:
    colours = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)], [(255, 0, 255)]]
    rows = [[Image.new("RGB", (64, 64), colour) for colour in row] for row in colours]
    sheet = save.contact_sheet(rows, ["one", "two", "three"], ["first", "a longer caption that needs lines"])
    pixels = np.asarray(sheet).reshape(-1, 3)
    for row in colours:
        for colour in row:
            assert (pixels == colour).all(axis=1).sum() == 64 * 64
    assert sheet.width > 2 * 64
    assert sheet.height > 3 * 64


def test_contact_sheet_scales_to_the_cell() -> None:
    sheet = save.contact_sheet([[torch.ones(3, 16, 16)]], cell=100)
    assert (np.asarray(sheet) == 255).all(axis=2).sum() >= 100 * 100
