"""Photos of the toy world: true points lie where the features are drawn, and the networks find them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from styleclip_cli.landmarks.load import landmarker_of
from styleclip_cli.landmarks.small import SmallLandmarker
from styleclip_cli.nets.landmarks import Finder, Regressor, compose, place
from styleclip_cli.toyworld.attributes import ATTRIBUTES, COUNT, INDEX, attributes_of_normals
from styleclip_cli.toyworld.points import landmarks
from styleclip_cli.toyworld.renderer import render
from styleclip_cli.toyworld.scenes import PlacedFace, Scene, draw, make_scene, square
from styleclip_cli.weights.packs import find_pack
from toyworld_training.shots import within

SEED = 20_000_000  # no network was trained on scenes from here on


def photo(scene: Scene) -> Image.Image:
    return Image.fromarray(((draw(scene).permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy())


def bare(**changes: float) -> torch.Tensor:
    """A plain face, [32]."""
    a = torch.tensor([0.0 if attribute.presence else 0.5 for attribute in ATTRIBUTES])
    for name, value in changes.items():
        a[INDEX[name]] = value
    return a


def portrait(roll: float = 0.0, side: float = 300.0, **changes: float) -> Scene:
    """One plain face in the middle of a photo of 400 x 400 pixels."""
    frame = square(np.array([200.0, 200.0]), side, roll)
    return Scene(400, 400, 7, (PlacedFace(bare(**changes), frame),))


def at(picture: torch.Tensor, point: np.ndarray) -> torch.Tensor:
    """Colour of the pixel at a place."""
    x, y = (int(v) for v in point)
    return picture[:, y, x]


def test_scenes_are_deterministic_and_as_asked() -> None:
    assert torch.equal(draw(make_scene(8)), draw(make_scene(8)))
    for scene in map(make_scene, range(6)):
        assert 200 <= min(scene.width, scene.height) <= max(scene.width, scene.height) <= 900
        assert 2 / 3 - 0.01 < scene.width / scene.height < 3 / 2 + 0.01
        for face in scene.faces:
            assert abs(face.roll) <= 45
            assert face.height >= 15.9
            assert face.height <= 0.9 * min(scene.width, scene.height) * 1.001
    for count in range(5):
        assert len(make_scene(3, count=count).faces) == count
    scene = make_scene(1, count=2, size=(0.2, 0.3), roll=(10, 20), out_of_frame=False)
    for face in scene.faces:
        assert 10 <= face.roll <= 20
        assert 0.199 < face.height / min(scene.width, scene.height) < 0.301
        assert ((face.points > 0) & (face.points < (scene.width, scene.height))).all()
    (cut,) = make_scene(1, count=1, out_of_frame=True).faces
    assert not ((cut.points > 0) & (cut.points < (scene.width, scene.height))).all()


def test_a_picture_is_a_scene_that_is_all_frame() -> None:
    """The renderer draws on a grid what it draws without; only the backdrop is another."""
    scene = Scene(128, 128, 0, (PlacedFace(bare(), square(np.array([64.0, 64.0]), 128, 0)),))
    usual, drawn = render(bare()[None])[0], draw(scene)
    middle = slice(40, 84), slice(40, 88)
    assert torch.allclose(usual[:, *middle], drawn[:, *middle], atol=2e-3)


def test_points_lie_where_the_eyes_are() -> None:
    brown, blue = portrait(20, eye_blue=0.0), portrait(20, eye_blue=1.0)
    changed = (draw(brown) - draw(blue)).abs().amax(dim=0) > 0.02
    points = brown.faces[0].points
    places = torch.nonzero(changed).flip(1).double().numpy() + 0.5
    near = np.stack([np.linalg.norm(places - points[e : e + 6].mean(axis=0), axis=1) for e in (36, 42)])
    width = np.linalg.norm(points[39] - points[36])
    assert changed.sum() > 100
    assert (near.min(axis=0) < width / 2).all()


def test_points_lie_on_lips_brows_nose_and_outline() -> None:
    plain, other = portrait(lipstick=1.0), portrait(lipstick=1.0, skin_tone=1.0)
    picture, points = draw(plain), plain.faces[0].points
    painted = (picture - draw(portrait(lipstick=0.0))).abs().amax(dim=0) > 0.15
    lips = torch.nonzero(painted).flip(1).double().numpy() + 0.5
    for extreme, point in ((lips[lips[:, 0].argmin()], 48), (lips[lips[:, 0].argmax()], 54)):
        assert np.linalg.norm(extreme - points[point]) < 3
    assert abs(lips[:, 1].max() - points[57, 1]) < 2
    skin_changed = (picture - draw(other)).abs().amax(dim=0) > 0.1
    middle = points.mean(axis=0)
    for jaw in points[2:15]:
        inside, outside = jaw * 0.97 + middle * 0.03, jaw * 1.03 - middle * 0.03
        assert bool(skin_changed[int(inside[1]), int(inside[0])])
        if outside[1] - points[8][1] >= 4 or abs(outside[0] - middle[0]) > 65:  # beside the neck
            assert not bool(skin_changed[int(outside[1]), int(outside[0])])
    thin, thick = draw(portrait(brow_thickness=0.0)), draw(portrait(brow_thickness=1.0))
    changed = (thin - thick).abs().amax(dim=0)
    for brow in points[18:21]:
        x, y = (int(v) for v in brow)
        assert float(changed[y - 8 : y + 8, x].max()) > 0.3
    changed = (draw(portrait(nose_width=0.2)) - draw(portrait(nose_width=1.0))).abs().amax(dim=0) > 0.05
    places = torch.nonzero(changed).flip(1).double().numpy() + 0.5
    assert np.linalg.norm(places.mean(axis=0) - points[30:36].mean(axis=0)) < 8


def test_points_follow_the_mouth() -> None:
    closed, opened = landmarks(torch.stack([bare(), bare(mouth_open=1.0)]))
    assert float(opened[66, 1] - opened[62, 1]) > 0.08
    assert float((closed[66] - closed[62]).abs().max()) < 1e-6
    frown, smile = landmarks(torch.stack([bare(smile=0.0), bare(smile=1.0)]))
    assert float(smile[48, 1] - smile[51, 1]) < 0 < float(frown[48, 1] - frown[51, 1])


def test_turning_a_scene_turns_its_points() -> None:
    upright, turned = portrait().faces[0].points - 200, portrait(30).faces[0].points - 200
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    assert np.allclose(upright @ np.array([[cos, sin], [-sin, cos]]), turned)
    scene = make_scene(5)
    half = scene.scaled(0.5)
    assert np.allclose(half.faces[0].points, scene.faces[0].points / 2, rtol=5e-3)


def test_a_changed_attribute_shows_in_that_face_alone() -> None:
    scene = make_scene(SEED + 2, count=3, out_of_frame=False)
    changed = scene.with_attribute(1, "beard", 1.0).with_attribute(1, "smile", 1.0)
    picture, other = draw(scene), draw(changed)
    places = torch.nonzero((picture - other).abs().amax(dim=0) > 0).flip(1).double().numpy() + 0.5
    assert len(places) > 20
    face = scene.faces[1]
    assert (np.linalg.norm(places - face.frame.mean(axis=0), axis=1) < face.side * 0.7).all()
    assert not np.array_equal(changed.faces[1].points, face.points)
    assert np.array_equal(changed.faces[0].points, scene.faces[0].points)
    assert torch.equal(draw(replace(scene)), picture)


def test_similarities_compose_and_invert() -> None:
    rng = torch.Generator().manual_seed(0)
    inner, outer = torch.randn(2, 3, 4, generator=rng)
    points = torch.randn(3, 5, 2, generator=rng)
    assert torch.allclose(place(place(points, inner), outer), place(points, compose(inner, outer)), atol=1e-5)
    assert torch.allclose(within(place(points, outer), outer), points, atol=1e-4)


def test_networks_are_built_from_their_weights() -> None:
    finder = Finder((8, 16, 16, 24), 8)
    regressor = Regressor(5, (8, 16, 16, 16, 16), 8, 24)
    assert [p.shape for p in Finder.from_state_dict(finder.state_dict()).parameters()] == [
        p.shape for p in finder.parameters()
    ]
    again = Regressor.from_state_dict(regressor.state_dict())
    crops = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(crops)[0], regressor.eval()(crops)[0])


# ---- the pack's networks ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def landmarker() -> SmallLandmarker:
    found = landmarker_of(find_pack("toy"), torch.device("cpu"))
    assert isinstance(found, SmallLandmarker)
    return found


def compared(landmarker: SmallLandmarker, scene: Scene) -> list[tuple[float, float]]:
    """For each face of a scene, all of which are found: mean error of its points, and of its corners."""
    # Scenes count from the corner of the first pixel, faces that were found from its middle.
    answers = [replace(a, points=a.points + 0.5, frame=a.frame + 0.5) for a in landmarker.find(photo(scene))]
    result = []
    assert len(answers) == len(scene.faces)
    sides = [np.linalg.norm(a.frame[3] - a.frame[0]) for a in answers]
    assert sides == sorted(sides, reverse=True)
    for face in scene.faces:
        best = min(answers, key=lambda a: np.linalg.norm(a.frame.mean(axis=0) - face.frame.mean(axis=0)))
        eyes = np.linalg.norm(face.points[36:42].mean(axis=0) - face.points[42:48].mean(axis=0))
        result.append(
            (
                float(np.linalg.norm(best.points - face.points, axis=1).mean() / eyes),
                float(np.linalg.norm(best.frame - face.frame, axis=1).max() / face.side),
            )
        )
    return result


@pytest.mark.slow
def test_faces_are_found_and_measured(landmarker: SmallLandmarker) -> None:
    found = [
        compared(landmarker, make_scene(SEED + i, count=1 + i % 4, size=(0.1, 0.9), out_of_frame=False))
        for i in range(12)
    ]
    errors = np.array([error for scene in found for error in scene])
    assert errors[:, 0].mean() < 0.03
    assert errors[:, 1].mean() < 0.01


def test_nothing_is_found_in_clutter(landmarker: SmallLandmarker) -> None:
    for seed in range(SEED, SEED + 8):
        assert landmarker.find(photo(make_scene(seed, count=0))) == []


@pytest.mark.parametrize("roll", [-30.0, 30.0])
def test_turned_faces_are_found(landmarker: SmallLandmarker, roll: float) -> None:
    (error,) = compared(landmarker, portrait(roll, 200))
    assert error < (0.03, 0.01)


def test_a_small_face_is_found(landmarker: SmallLandmarker) -> None:
    scene = Scene(600, 500, 3, (PlacedFace(bare(), square(np.array([400.0, 200.0]), 60, 5)),))
    assert 35 < scene.faces[0].height < 45
    ((points, corners),) = compared(landmarker, scene)
    assert points < 0.04
    assert corners < 0.02


def test_a_face_partly_outside_is_found(landmarker: SmallLandmarker) -> None:
    scene = Scene(300, 400, 3, (PlacedFace(bare(), square(np.array([60.0, 200.0]), 240, 0)),))
    ((points, corners),) = compared(landmarker, scene)
    assert points < 0.04
    assert corners < 0.02


@pytest.mark.parametrize("longer", [64, 4000])
def test_photos_of_any_size(landmarker: SmallLandmarker, longer: int) -> None:
    scene = portrait()
    scale = longer / 400
    (face,) = landmarker.find(photo(scene).resize((longer, longer), Image.Resampling.BICUBIC))
    assert np.linalg.norm((face.frame + 0.5) / scale - scene.faces[0].frame, axis=1).max() < 0.03 * 300


def test_points_are_where_every_face_has_them() -> None:
    a = attributes_of_normals(torch.randn(200, COUNT, generator=torch.Generator().manual_seed(0)))
    points = landmarks(a)
    assert points.shape == (200, 68, 2)
    mirrored = points * torch.tensor([-1.0, 1.0])
    assert torch.allclose(mirrored[:, :17].flip(1), points[:, :17], atol=1e-6)  # the jaw is symmetrical
    assert torch.allclose(mirrored[:, 36], points[:, 45], atol=1e-6)
    assert bool((points[:, 8, 1] > points[:, 57, 1]).all())  # the chin is below the mouth
    assert bool((points[:, 30, 1] < points[:, 51, 1]).all())  # and the nose above it


def test_no_pixel_is_undefined() -> None:
    """Far below the chin a face's width passed through zero, and once met a pixel there."""
    assert bool(draw(make_scene(40_000_035)).isfinite().all())
