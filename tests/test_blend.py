"""The adaptive composite: what of a photo's structure an edit keeps, and what takes its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from styleclip_cli.photo.blend import SPILLED, spill
from styleclip_cli.photo.paste_back import paste

SIDE = 128
SKIN, GREY, PINK, DARK = (0.6, 0.2, 0.0), (-0.1, -0.1, 0.0), (0.5, -0.4, 0.1), (-0.8, -0.85, -0.9)


def drawn(*shapes: tuple[np.ndarray, tuple[float, float, float]], ground=GREY) -> np.ndarray:
    """Shapes [N, N] in [0, 1] painted over each other, [3, N, N] in [-1, 1]."""
    picture = np.empty((3, *shapes[0][0].shape))
    picture[:] = np.array(ground)[:, None, None]
    for shape, colour in shapes:
        picture += shape * (np.array(colour)[:, None, None] - picture)
    return picture.astype(np.float32)


def places(side: int) -> tuple[np.ndarray, ...]:
    return tuple(np.meshgrid(*[(np.arange(side) + 0.5) / side] * 2))


def ellipse(x: float, y: float, a: float, b: float, side: int = SIDE, soft: float = 1.0) -> np.ndarray:
    s, t = places(side)
    inside = (1 - np.hypot((s - x) / a, (t - y) / b)) * min(a, b) * SIDE / soft
    return np.clip(inside + 0.5, 0, 1)


def head(side: int = SIDE) -> tuple[np.ndarray, tuple[float, float, float]]:
    return ellipse(0.5, 0.55, 0.25, 0.32, side), SKIN


def mouth(y: float, side: int = SIDE, soft: float = 1.0) -> tuple[np.ndarray, tuple[float, float, float]]:
    return ellipse(0.5, y, 0.11, 0.014, side, soft), DARK


def photo_of(picture: np.ndarray, grain: float = 0.0) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, grain, picture.shape) if grain else 0
    return Image.fromarray(
        np.uint8(np.round(np.clip(np.moveaxis((picture + 1) * 127.5 + noise, 0, -1), 0, 255)))
    )


def whole(side: int) -> np.ndarray:
    return np.array([[0, 0], [0, side], [side, side], [side, 0]], float) - 0.5


def pasted(photo: Image.Image, before: np.ndarray, after: np.ndarray, mode: str = "adaptive") -> np.ndarray:
    made, mask = paste(photo, whole(photo.width), before, after, mode)
    np.testing.assert_array_equal(np.asarray(made)[mask == 0], np.asarray(photo)[mask == 0])
    return np.moveaxis(np.asarray(made, np.float64), -1, 0) / 127.5 - 1


def left(result: np.ndarray, photo: np.ndarray, true: np.ndarray, where: np.ndarray) -> float:
    """Of the fine structure that should have vanished, the share that is still there."""
    old, new, made = (x - ndimage.gaussian_filter(x, (0, 3, 3)) for x in (photo, true, result))
    gone = (old - new) * where
    return float((gone * (made - new)).sum() / (gone**2).sum())


@pytest.mark.parametrize("side", [SIDE, 2 * SIDE, 4 * SIDE])
@pytest.mark.parametrize("off", [0.0, 0.02])
def test_no_ghost_is_left_of_what_vanishes_or_moves(side: int, off: float) -> None:
    """The generator's mouth is softer than the photo's, and not quite where it is."""
    photo = drawn(head(side), mouth(0.72, side))
    before = drawn(head(), mouth(0.72 + off, soft=2.0))
    at_mouth = ellipse(0.5, 0.72, 0.16, 0.06, side) > 0.5
    for after in (drawn(head()), drawn(head(), mouth(0.78 + off, soft=2.0))):
        result = pasted(photo_of(photo), before, after)
        assert abs(left(result, photo, drawn(head(side)), at_mouth)) < 0.2
    added = pasted(photo_of(photo), before, drawn(head()), "residual")
    assert abs(left(added, photo, drawn(head(side)), at_mouth)) > 0.3 or not off


def test_what_only_appears_leaves_what_is_around_it() -> None:
    spots = sum(ellipse(x, 0.5, 0.012, 0.012) for x in np.linspace(0.32, 0.68, 9))
    frame = np.clip(ellipse(0.5, 0.6, 0.16, 0.09) - ellipse(0.5, 0.6, 0.13, 0.06), 0, 1)
    photo = drawn(head(), (spots, DARK))
    result = pasted(photo_of(photo), drawn(head()), drawn(head(), (frame, DARK)))
    beside = (spots > 0) & (ndimage.maximum_filter(frame, 7) == 0)
    assert np.abs(result - photo)[:, beside].mean() < 0.05
    assert np.abs(result - drawn(head(), (frame, DARK)))[:, frame > 0.9].mean() < 0.1


def test_what_is_recoloured_keeps_its_structure() -> None:
    s, _ = places(SIDE)
    hair = ellipse(0.5, 0.35, 0.3, 0.22)
    strands = 0.15 * np.sin(90 * s) * hair
    before, after = drawn(head(), (hair, (0.2, 0.0, -0.3))), drawn(head(), (hair, (0.7, -0.4, -0.6)))
    before, after = (x + np.float32(0.6) * strands.astype(np.float32) for x in (before, after))
    photo = drawn(head(), (hair, (0.2, 0.0, -0.3))) + strands.astype(np.float32)
    true = drawn(head(), (hair, (0.7, -0.4, -0.6))) + strands
    inner = ellipse(0.5, 0.35, 0.24, 0.17) > 0.9
    result = pasted(photo_of(photo), before, after)
    kept, wanted = ((x - ndimage.gaussian_filter(x, (0, 3, 3)))[:, inner] for x in (result, true))
    assert (kept * wanted).sum() / (wanted**2).sum() > 0.8


def test_what_comes_out_has_the_colours_of_its_own_surface() -> None:
    """Hair is cut before a background that the generator draws in grey."""
    hair = ellipse(0.5, 0.3, 0.36, 0.2), DARK
    photo = drawn(hair, head(), ground=PINK)
    result = pasted(photo_of(photo), drawn(hair, head()), drawn(head()))
    out = (hair[0] > 0.9) & (ndimage.maximum_filter(head()[0], 9) == 0)
    assert np.abs(result - drawn(head(), ground=PINK))[:, out].mean() < 0.1


def test_what_is_new_keeps_its_own_colours() -> None:
    """A green hat before a pink background, where the generator has grey."""
    hat = ellipse(0.5, 0.2, 0.3, 0.12), (-0.7, 0.3, -0.2)
    result = pasted(photo_of(drawn(head(), ground=PINK)), drawn(head()), drawn(head(), hat))
    inner = ellipse(0.5, 0.2, 0.24, 0.08) > 0.9
    assert np.abs(result - np.array(hat[1])[:, None, None])[:, inner].mean() < 0.1


def test_a_repainted_background_is_left_out_and_noticed() -> None:
    lips = ellipse(0.5, 0.72, 0.1, 0.03), (0.9, -0.9, -0.9)
    before, after = drawn(head()), drawn(head(), lips, ground=(-0.6, 0.0, 0.9))
    photo = drawn(head(), ground=(-0.2, 0.0, 0.1))
    result = pasted(photo_of(photo), before, after)
    outside = ndimage.maximum_filter(head()[0], 5) == 0
    assert np.abs(result - photo)[:, outside].mean() < 0.02
    assert np.abs(result - photo)[:, lips[0] > 0.9].mean() > 0.2
    torch_pair = torch.from_numpy(before), torch.from_numpy(after)
    assert spill(*torch_pair) > SPILLED
    assert spill(torch_pair[0], torch.from_numpy(drawn(head(), lips))) < SPILLED / 5


@pytest.mark.parametrize("grain", [0.0, 8.0])
def test_what_is_new_has_the_photos_grain(grain: float) -> None:
    side = 4 * SIDE
    before, after = drawn(head(), mouth(0.72, soft=2.0)), drawn(head())
    result = pasted(photo_of(drawn(head(side), mouth(0.72, side)), grain), before, after)
    there = ellipse(0.5, 0.72, 0.08, 0.008, side) > 0.9
    steps = np.diff(127.5 * result, axis=2)[:, there[:, 1:]]
    assert steps.std() / np.sqrt(2) == pytest.approx(grain, abs=max(0.5, 0.35 * grain))


def test_the_same_photo_is_edited_the_same_way_again() -> None:
    photo = photo_of(drawn(head(200), mouth(0.7, 200)), 5.0)
    pair = drawn(head(), mouth(0.72)), drawn(head())
    np.testing.assert_array_equal(pasted(photo, *pair), pasted(photo, *pair))


@pytest.mark.parametrize("side", [8, 32, 100, 256])
def test_pictures_of_any_size_may_be_pasted(side: int) -> None:
    rng = np.random.default_rng(1)
    before, after = rng.uniform(-1, 1, (2, 3, side, side)).astype(np.float32)
    pasted(photo_of(drawn(head(90))), before, after)


@pytest.mark.parametrize("side", [SIDE, 4 * SIDE])
def test_what_is_recoloured_gets_no_rim_of_its_old_colour(side: int) -> None:
    """Hair that is sharper and wider in the photo than the generator draws it."""
    soft = ellipse(0.5, 0.4, 0.3, 0.3, soft=4.0)
    brown, blond = (-0.5, -0.7, -0.9), (0.6, 0.4, -0.6)
    before, after = (drawn((soft, colour), head()) for colour in (brown, blond))
    shape = ellipse(0.5, 0.4, 0.32, 0.3, side)
    photo, true = (drawn((shape, colour), head(side)) for colour in (brown, blond))
    near = (ellipse(0.5, 0.4, 0.36, 0.34, side) - ellipse(0.5, 0.4, 0.28, 0.26, side)) > 0.5
    near &= head(side)[0] < 0.01
    result, added = (pasted(photo_of(photo), before, after, mode) for mode in ("adaptive", "residual"))

    def off(made: np.ndarray) -> float:
        return float(np.abs(made - true).mean(axis=0)[near].mean())

    assert off(result) < 0.75 * off(added)
