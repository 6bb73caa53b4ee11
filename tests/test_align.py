"""Alignment: the crops that the official code makes, and what is asked of a photo and its faces."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from checkpoints import GOLDEN
from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.photo import align
from styleclip_cli.photo import read as photo
from styleclip_cli.photo.align import Face, choose, cut, ffhq_quad, left_to_right, quad_for, square_quad


def waves(width: int, height: int, phase: int = 0) -> Image.Image:
    """The picture of the golden crops."""
    y, x = np.mgrid[:height, :width]
    channels = (
        np.sin(x / 37 + phase) * np.cos(y / 53),
        np.sin((x + 2 * y) / 61),
        np.cos((x - y) / 43),
    )
    return Image.fromarray(np.clip(127 + 100 * np.stack(channels, -1), 0, 255).astype(np.uint8))


def landmarks(x: float = 100.0, y: float = 100.0, eyes: float = 40.0, turn: float = 0.0) -> np.ndarray:
    """A plain face around a point; `turn` in degrees."""
    points = np.zeros((68, 2))
    points[:17] = np.stack([np.linspace(-1, 1, 17), np.full(17, 0.5)], axis=1)
    points[36:42], points[42:48] = (-0.5, 0), (0.5, 0)
    points[48:60] = np.stack([np.linspace(-0.4, 0.4, 12), np.full(12, 1.0)], axis=1)
    points[54], points[60:] = (0.4, 1.0), (0, 1)
    a = math.radians(turn)
    rotation = np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
    return points @ rotation * eyes + (x, y)


def face(x: float = 100.0, eyes: float = 40.0, **more) -> Face:
    return Face(landmarks(x=x, eyes=eyes), 0.9, **more)


@pytest.mark.parametrize("case", range(4), ids=["inside", "rolled", "out of frame", "large"])
def test_crops_are_the_official_ones(case: int) -> None:
    with np.load(GOLDEN / "align.npz") as golden:
        width, height = golden["sizes"][case]
        points, wanted = golden["landmarks"][case], golden["aligned"][case]
    made = cut(waves(width, height, case), ffhq_quad(points), 256)
    np.testing.assert_array_equal(np.asarray(made), wanted)


def test_the_blur_is_scipys() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    values = np.random.default_rng(0).uniform(0, 255, (300, 41, 3)).astype(np.float32)
    for sigma in (0.4, 3.0, 17.3):
        wanted = ndimage.gaussian_filter(values, [sigma, sigma, 0])
        np.testing.assert_allclose(align.gaussian(values, sigma), wanted, rtol=1e-6)


def test_a_plain_face_has_an_upright_square() -> None:
    quad = ffhq_quad(landmarks())
    middle = quad.mean(axis=0)
    np.testing.assert_allclose(middle, [100.0, 104.0])  # a tenth of the way to the mouth
    np.testing.assert_allclose(quad - middle, np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * 80.0)
    assert face().size == pytest.approx(160.0)
    assert face().eyes == pytest.approx(40.0)
    assert face().box == pytest.approx((60.0, 100.0, 140.0, 140.0))


def test_the_square_turns_with_the_face() -> None:
    nw, _, _, ne = ffhq_quad(landmarks(turn=30))
    assert math.degrees(math.atan2(*(ne - nw)[::-1])) == pytest.approx(30)


@pytest.mark.parametrize("value", [50.0, math.nan])
def test_collapsed_landmarks_are_refused(value: float) -> None:
    with pytest.raises(BadInputError, match="fall together"):
        ffhq_quad(np.full((68, 2), value))


def test_a_face_outside_the_photo_is_refused() -> None:
    for x in (-400.0, 1000.0, math.nan):
        quad = ffhq_quad(landmarks()) + np.array([x, 0])
        with pytest.raises(BadInputError, match="outside the photo"):
            cut(waves(300, 200), quad, 64)


def test_a_face_far_larger_than_its_photo_is_cut() -> None:
    assert cut(waves(50, 40), ffhq_quad(landmarks(eyes=5000)), 64).size == (64, 64)


def test_without_padding_the_outside_is_black() -> None:
    quad = ffhq_quad(landmarks(x=0, y=0))
    assert cut(waves(300, 200), quad, 64, padding=False).getpixel((2, 2)) == (0, 0, 0)
    assert cut(waves(300, 200), quad, 64).getpixel((2, 2)) != (0, 0, 0)


def test_supersampling_gives_the_same_place_smoother() -> None:
    quad = ffhq_quad(landmarks(x=150, y=120, turn=20))
    plain, fine = (np.asarray(cut(waves(300, 240), quad, 64, side), float) for side in (64, 256))
    assert np.abs(plain - fine).max() < 6
    assert np.abs(plain - fine).mean() < 0.5


def test_a_cut_square_is_the_picture_itself() -> None:
    picture = waves(64, 64)
    made = cut(picture, square_quad(picture), 64, padding=False)
    np.testing.assert_array_equal(np.asarray(made), np.asarray(picture))


@pytest.mark.parametrize("size", [(90, 64), (64, 91)])
def test_the_middle_square_is_the_one_that_is_read(size: tuple[int, int]) -> None:
    picture = waves(*size)
    made = np.array(cut(picture, square_quad(picture), 64, padding=False))
    read = (photo.to_tensor(picture, 64)[0].permute(1, 2, 0) + 1) * 127.5
    np.testing.assert_array_equal(made, read.round().to(torch.uint8).numpy())


def test_a_cars_square_holds_a_landscape() -> None:
    quad = quad_for("car", waves(400, 330))
    np.testing.assert_allclose(quad + 0.5, [[0, -35], [0, 365], [400, 365], [400, -35]])
    wide = quad_for("car", waves(500, 300))
    np.testing.assert_allclose(wide + 0.5, [[50, -50], [50, 350], [450, 350], [450, -50]])


def test_quads_by_alignment() -> None:
    picture, frame = waves(300, 200), square_quad(waves(80, 80))
    np.testing.assert_array_equal(quad_for("none", picture), square_quad(picture))
    np.testing.assert_array_equal(quad_for("square", picture, face()), square_quad(picture))
    np.testing.assert_array_equal(quad_for("ffhq", picture, face()), ffhq_quad(landmarks()))
    np.testing.assert_array_equal(quad_for("frame", picture, face(frame=frame)), frame)
    with pytest.raises(BadInputError, match="no face was found"):
        quad_for("ffhq", picture)
    with pytest.raises(BadInputError, match="no frame"):
        quad_for("frame", picture, face())


def test_choosing_faces() -> None:
    middle, right, left = face(200, 30), face(400, 50), face(50, 20)
    faces = [right, middle, left]
    assert left_to_right(faces) == [left, middle, right]
    assert choose(faces) == [right]
    assert choose(faces, "all") == [left, middle, right]
    assert choose(faces, "2") == choose(faces, 2) == [middle]


@pytest.mark.parametrize("which", ["0", "4", 4])
def test_a_face_that_is_not_there(which: str | int) -> None:
    with pytest.raises(BadInputError, match=r"no face [04]: 3 faces were found"):
        choose([face(), face(), face()], which)
    with pytest.raises(BadInputError, match="1 face was found"):
        choose([face()], which)


@pytest.mark.parametrize("which", ["best", "-1", "1.5", "", "²"])
def test_a_choice_that_makes_no_sense(which: str) -> None:
    with pytest.raises(UsageError, match="which face"):
        choose([face()], which)


@pytest.mark.parametrize("which", ["largest", "all", "1"])
def test_no_face_at_all(which: str) -> None:
    with pytest.raises(BadInputError, match="no face was found"):
        choose([], which)
