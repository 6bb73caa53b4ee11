"""Pasting back: an edit drawn in a crop ends up where it belongs, and nowhere else."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from PIL import Image

from styleclip_cli.errors import BadInputError
from styleclip_cli.photo.align import cut
from styleclip_cli.photo.paste_back import _places, paste


def noisy(width: int = 400, height: int = 300) -> Image.Image:
    """A photo with shapes and grain."""
    y, x = np.mgrid[:height, :width]
    shapes = np.stack([np.sin(x / 37) * np.cos(y / 53), np.sin((x + 2 * y) / 61), np.cos((x - y) / 43)], -1)
    grain = np.random.default_rng(0).normal(0, 6, shapes.shape)
    return Image.fromarray(np.clip(127 + 60 * shapes + grain, 0, 255).astype(np.uint8))


def square(x: float, y: float, side: float, turn: float = 0.0) -> np.ndarray:
    """A quad around a point; `turn` in degrees."""
    a = math.radians(turn)
    across = np.array([math.cos(a), math.sin(a)]) * side / 2
    down = np.array([-across[1], across[0]])
    middle = np.array([x, y])
    return np.stack(
        [middle - across - down, middle - across + down, middle + across + down, middle + across - down]
    )


def beard(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """An edit [3, ...] in [-1, 1] units: a textured blot in the lower middle of a crop."""
    distance = ((s - 0.5) / 0.2) ** 2 + ((t - 0.55) / 0.12) ** 2
    blot = 1 / (1 + np.exp(np.clip((distance - 1) * 8, -50, 50)))
    return np.stack([0.5 * blot * (0.5 + 0.5 * np.sin(40 * s) * np.cos(30 * t)), -0.3 * blot, 0.2 * blot])


def edited(size: int, edit=beard) -> tuple[np.ndarray, np.ndarray]:
    """A crop before and after an edit."""
    s, t = np.meshgrid(*[(np.arange(size) + 0.5) / size] * 2)
    before = 0.2 * np.stack([np.sin(6 * s), np.cos(5 * t), s * t])
    return before.astype(np.float32), (before + edit(s, t)).astype(np.float32)


def crop_places(quad: np.ndarray, photo: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """s and t of a photo's pixels, from the definition of a square."""
    middle, across, down = quad.mean(axis=0), quad[3] - quad[0], quad[1] - quad[0]
    x, y = np.meshgrid(np.arange(photo.width) - middle[0], np.arange(photo.height) - middle[1])
    return tuple(0.5 + (x * axis[0] + y * axis[1]) / (axis @ axis) for axis in (across, down))


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a - b)[where] ** 2)))


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(float)


PLACES = {
    "upright": square(200, 150, 200),
    "rolled by 30": square(200, 150, 200, 30),
    "rolled by 45": square(200, 150, 200, -45),
    "partly outside": square(60, 40, 200, 20),
    "scaled down": square(200, 150, 45, 33),
    "scaled up": square(200, 150, 380, -25),
}


@pytest.mark.parametrize("quad", PLACES.values(), ids=PLACES.keys())
def test_an_edit_of_the_crop_is_the_same_edit_of_the_photo(quad: np.ndarray) -> None:
    photo = noisy()
    made, mask = paste(photo, quad, *edited(128), "residual")
    wanted = np.clip(values(photo) + 127.5 * np.moveaxis(beard(*crop_places(quad, photo)), 0, -1), 0, 255)
    assert mask.max() == 1
    assert psnr(values(made), wanted, mask > 0) > 50
    np.testing.assert_array_equal(values(made)[mask == 0], values(photo)[mask == 0])
    assert np.abs(values(made) - wanted)[mask == 0].max() < 4  # what is left out cannot be seen


@pytest.mark.parametrize("mode", ["adaptive", "residual"])
@pytest.mark.parametrize("quad", PLACES.values(), ids=PLACES.keys())
def test_nothing_changes_where_nothing_was_edited(quad: np.ndarray, mode: str) -> None:
    photo, (before, _) = noisy(), edited(64)
    made, mask = paste(photo, quad, before, torch.from_numpy(before), mode)
    assert made is not photo
    np.testing.assert_array_equal(values(made), values(photo))
    assert mask.shape == (300, 400)
    assert not mask.any()


def test_small_changes_are_left_out() -> None:
    photo, (before, _) = noisy(), edited(64)
    assert not paste(photo, square(200, 150, 200), before, before + 0.02, "residual")[1].any()
    assert paste(photo, square(200, 150, 200), before, before + 0.02, "residual", threshold=0.01)[1].any()


@pytest.mark.parametrize("mode", ["residual", "replace"])
@pytest.mark.parametrize("quad", [PLACES["rolled by 30"], PLACES["partly outside"]], ids=["in", "out"])
def test_the_crops_edge_never_shows(quad: np.ndarray, mode: str) -> None:
    photo = noisy()
    before, after = edited(128, lambda s, t: np.full((3, *s.shape), 0.6))  # the whole crop, to its edge
    made, mask = paste(photo, quad, before, after, mode)
    s, t = crop_places(quad, photo)
    depth = np.minimum(np.minimum(s, 1 - s), np.minimum(t, 1 - t))
    assert not mask[depth < 0.001].any()
    assert (mask[depth > 0.08] > 0.99).all()
    np.testing.assert_array_equal(values(made)[depth < 0.001], values(photo)[depth < 0.001])
    assert mask.max() <= 1


def test_a_mask_has_no_visible_border() -> None:
    """Where the mask begins, neighbours differ no more than in the photo."""
    photo, quad = noisy(), square(200, 150, 250, 20)
    # All of the crop gets brighter, too, but too little to count as changed.
    made, mask = paste(photo, quad, *edited(128, lambda s, t: beard(s, t) + 0.025), "residual")
    border = (mask > 0) & (mask < 0.9)
    assert border.any()
    steps = [np.square(np.diff(values(p), axis=1))[border[:, 1:]].mean() for p in (photo, made)]
    assert steps[1] == pytest.approx(steps[0], rel=0.05)


def test_what_the_generator_cannot_draw_stays() -> None:
    photo = noisy()
    freckled = photo.copy()
    freckled.paste((90, 40, 20), (195, 155, 200, 160))
    quad = square(200, 150, 200)
    plain, speckled = (values(paste(p, quad, *edited(128), "residual")[0]) for p in (photo, freckled))
    np.testing.assert_allclose(
        (speckled - plain)[155:160, 195:200],
        (values(freckled) - values(photo))[155:160, 195:200],
        atol=1,
    )


@pytest.mark.parametrize("mode", ["adaptive", "residual"])
def test_two_faces_one_after_the_other(mode: str) -> None:
    photo, first, second = noisy(), square(120, 150, 150, 10), square(280, 150, 150, -10)
    pair = edited(128)
    once, mask = paste(photo, first, *pair, mode)
    twice, other = paste(once, second, *pair, mode)
    assert not (mask * other).any()
    alone, _ = paste(photo, second, *pair, mode)
    np.testing.assert_array_equal(values(twice)[mask > 0], values(once)[mask > 0])
    np.testing.assert_array_equal(values(twice)[other > 0], values(alone)[other > 0])
    neither = (mask == 0) & (other == 0)
    np.testing.assert_array_equal(values(twice)[neither], values(photo)[neither])


@pytest.mark.parametrize("turn", [0, 30])
def test_replacing_by_the_own_crop_changes_little(turn: float) -> None:
    photo, quad = (
        Image.fromarray(np.asarray(noisy().resize((40, 30)).resize((400, 300)))),
        square(200, 150, 200, turn),
    )
    own = np.moveaxis(values(cut(photo, quad, 256)), -1, 0) / 127.5 - 1
    made, mask = paste(photo, quad, own, own, "replace")
    assert psnr(values(made), values(photo), mask > 0) > 40


def test_replacing_takes_all_of_the_generators_picture() -> None:
    photo, (_, after) = noisy(), edited(200)
    made, mask = paste(photo, square(199.5, 149.5, 200), after, after, "replace")
    wanted = np.moveaxis((after + 1) * 127.5, 0, -1)
    np.testing.assert_allclose(values(made)[70:230, 120:280], wanted[20:180, 20:180], atol=0.51)
    assert (mask[70:230, 120:280] > 0.99).all()


def test_fine_detail_is_not_aliased_when_scaled_down() -> None:
    photo = Image.new("RGB", (80, 80), (100, 100, 100))
    stripes = np.zeros((3, 512, 512), np.float32)
    stripes[:, :, ::2] = 1.0
    made, mask = paste(photo, square(40, 40, 60, 20), np.zeros_like(stripes), stripes, "residual")
    shown = values(made)[mask == 1]
    assert np.abs(shown - (100 + 127.5 / 2)).max() < 2


def test_other_quads_than_squares() -> None:
    """The inverse leads every point back."""
    quad = np.array([[30.0, 20.0], [10.0, 150.0], [190.0, 170.0], [160.0, 40.0]])
    s, t = 0.3, 0.8
    nw, sw, se, ne = quad
    x, y = (1 - s) * (1 - t) * nw + (1 - s) * t * sw + s * t * se + s * (1 - t) * ne
    found = (_places(quad, np.array([x]), np.array([y]))[0, 0] + 1) / 2
    torch.testing.assert_close(found, torch.tensor([s, t]))
    made, mask = paste(noisy(), quad, *edited(64))
    assert mask.max() == 1
    assert not np.array_equal(values(made), values(noisy()))


@pytest.mark.parametrize("mode", ["adaptive", "residual", "replace"])
def test_a_quad_outside_the_photo_changes_nothing(mode: str) -> None:
    made, mask = paste(noisy(), square(-300, 900, 200), *edited(64), mode)
    np.testing.assert_array_equal(values(made), values(noisy()))
    assert not mask.any()


def test_a_quad_without_an_inside_is_refused() -> None:
    for quad in (np.zeros((4, 2)), np.full((4, 2), math.nan), np.array([[0, 0], [1, 1], [3, 3], [2, 2]])):
        with pytest.raises(BadInputError, match="no inside"):
            paste(noisy(), quad, *edited(64))


def test_a_picture_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        paste(noisy(), square(200, 150, 200), np.zeros((64, 64)), np.zeros((64, 64)))


def test_a_large_photo_takes_a_moment() -> None:
    photo, pair = Image.new("RGB", (6000, 4000), (120, 100, 90)), edited(1024)
    took = []
    for _ in range(3):
        start = time.process_time()
        paste(photo, square(3000, 2000, 1500, 20), *pair)
        took.append(time.process_time() - start)
    assert min(took) < 1.0


def stripes(size: int, shift: float) -> np.ndarray:
    """A picture [3, R, R] with a pattern where the eyes would be, at a place that the generator may miss."""
    s, t = np.meshgrid(*[(np.arange(size) + 0.5) / size] * 2)
    near = np.exp(-(((s - 0.5) / 0.15) ** 2) - ((t - 0.5) / 0.15) ** 2)
    return np.broadcast_to(0.4 * near * np.sin(80 * (s - shift)), (3, size, size)).astype(np.float32)


def disc(size: int) -> np.ndarray:
    s, t = np.meshgrid(*[(np.arange(size) + 0.5) / size] * 2)
    return (np.hypot(s - 0.5, t - 0.5) < 0.25).astype(np.float32)


def test_what_an_edit_covers_does_not_show_through() -> None:
    """Dark glasses: the generator's eyes are not quite the photo's, whose would shine through the sum."""
    before, true = stripes(256, 0.0), stripes(256, 0.02)
    inside = disc(256) > 0
    after = np.where(inside, -0.8, before).astype(np.float32)
    photo = Image.fromarray(np.uint8(np.round((true.transpose(1, 2, 0) + 1) * 127.5)))
    result, _ = paste(photo, square(127.5, 127.5, 256), before, after, "residual")
    shown = np.asarray(result, np.float64)[96:160, 96:160] / 127.5 - 1
    added = np.clip(true + after - before, -1, 1)[:, 96:160, 96:160]  # what adding alone would give
    assert np.abs(shown + 0.8).mean() < 0.25 * np.abs(added + 0.8).mean()


def test_what_an_edit_recolours_keeps_its_detail() -> None:
    rng = np.random.default_rng(0)
    before = stripes(256, 0.0)
    grain = rng.normal(0, 0.05, before.shape).astype(np.float32)
    tint = np.array([0.3, -0.3, 0.0], np.float32)[:, None, None] * disc(256)
    photo = Image.fromarray(
        np.uint8(np.clip(np.round((before + grain + 1).transpose(1, 2, 0) * 127.5), 0, 255))
    )
    result, _ = paste(photo, square(127.5, 127.5, 256), before, before + tint, "residual")
    kept = (np.asarray(result, np.float64) - np.asarray(photo, np.float64))[96:160, 96:160]
    assert np.abs(kept - 127.5 * np.array([0.3, -0.3, 0.0])).mean() < 3.0  # the grain is 6 of 255
