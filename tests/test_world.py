"""World v2: who lives in it, what is drawn, and that the truth about a picture fits it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from styleclip_cli.photo.align import ffhq_quad
from styleclip_cli.world.attributes import ATTRIBUTES, COUNT, INDEX, NAMES, plain, shown, visibility
from styleclip_cli.world.landmarks import landmarks
from styleclip_cli.world.parsing import CLASSES, parse
from styleclip_cli.world.population import correlations, persons, table
from styleclip_cli.world.renderer import render
from styleclip_cli.world.scene import Part

SIDE = 112


@cache
def many() -> torch.Tensor:
    return persons(range(4000))[0].clamp(0, 1)


def of(people: torch.Tensor, name: str) -> torch.Tensor:
    return people[:, INDEX[name]]


def rate(name: str, among: torch.Tensor) -> float:
    return float((of(many(), name)[among] > 0.5).float().mean())


def change(name: str, low: float = 0.0, high: float = 1.0, **others: float) -> torch.Tensor:
    """How much each pixel changes, [SIDE, SIDE], when one attribute does."""
    pair = torch.cat([plain(**others | {name: low}), plain(**others | {name: high})])
    first, second = render(pair, SIDE)
    return (first - second).abs().amax(dim=0)


# ---- people -----------------------------------------------------------------------------------------


def test_people_are_a_function_of_their_seed() -> None:
    people, textures = persons([5, 6, 7])
    again, texture = persons(torch.tensor([6]))
    assert torch.equal(people[1:2], again)
    assert torch.equal(textures[1:2], texture)
    assert not torch.allclose(people[0], people[1])
    assert people.shape == (3, COUNT)
    assert textures.shape == (3, 8)


def test_amounts_stay_near_their_range() -> None:
    people = persons(range(500))[0]
    assert -0.11 <= float(people.min()) <= float(people.max()) <= 1.11


def test_people_depend_on_causes_as_in_photographs() -> None:
    r = correlations(many())

    def between(first: str, second: str) -> float:
        return float(r[INDEX[first], INDEX[second]])

    for first, second, low, high in (
        ("age", "wrinkles", 0.6, 0.93),
        ("age", "hair_grey", 0.4, 0.8),
        ("age", "glasses", 0.15, 0.5),
        ("age", "baldness", 0.1, 0.5),
        ("age", "eye_size", -0.5, -0.15),
        ("feminine", "hair_length", 0.6, 0.9),
        ("feminine", "makeup", 0.35, 0.7),
        ("feminine", "lipstick", 0.35, 0.7),
        ("feminine", "beard", -0.6, -0.25),
        ("feminine", "jaw", -0.7, -0.3),
        ("makeup", "lipstick", 0.4, 0.8),
        ("skin_tone", "hair_light", -0.8, -0.3),
        ("skin_tone", "eye_light", -0.8, -0.3),
        ("skin_tone", "hair_curl", 0.3, 0.8),
        ("smile", "mouth_open", 0.2, 0.6),
        ("yaw", "age", -0.05, 0.05),
        ("light", "feminine", -0.05, 0.05),
    ):
        assert low <= between(first, second) <= high, (first, second, between(first, second))


def test_rates_are_those_of_photographs() -> None:
    everyone = torch.ones(4000, dtype=torch.bool)
    women = of(many(), "feminine") > 0.5
    for name, low, high in (
        ("smile", 0.42, 0.54),  # CelebA 48.2 %
        ("fringe", 0.11, 0.21),  # 15.2 %
        ("hat", 0.04, 0.10),  # 4.9 %
        ("earrings", 0.12, 0.22),  # 18.9 %
        ("stubble", 0.06, 0.14),  # 11.1 %
        ("baldness", 0.02, 0.09),  # 2.2 %, and 8.0 % receding
    ):
        assert low <= rate(name, everyone) <= high, (name, rate(name, everyone))
    assert 0.50 < float(women.float().mean()) < 0.59  # FFHQ 54.6 %
    for name in ("beard", "moustache", "stubble", "baldness"):
        assert rate(name, women) < 0.02 < rate(name, ~women)
    children = of(many(), "age") < 0.15
    for name in ("beard", "makeup", "hair_grey", "wrinkles", "baldness"):
        assert rate(name, children) < 0.02
    feelings = torch.stack([of(many(), name) > 0.5 for name in ("smile", "sad", "angry", "surprised")])
    assert int(feelings.sum(dim=0).max()) == 1


def test_the_table_has_every_presence() -> None:
    lines = table(300).splitlines()
    assert {a.name for a in ATTRIBUTES if a.presence} <= {
        line.split(" | ")[0].strip("| ") for line in lines[2:]
    }


# ---- pictures -------------------------------------------------------------------------------------------


def test_pictures_are_in_range_and_depend_on_each_person_alone() -> None:
    people, textures = persons(range(43, 46))
    pictures = render(people, SIDE, texture=textures)
    assert pictures.shape == (3, 3, SIDE, SIDE)
    assert -1 <= float(pictures.min()) <= float(pictures.max()) <= 1
    for i in range(3):
        alone = render(people[i : i + 1], SIDE, texture=textures[i : i + 1])
        assert float((alone - pictures[i : i + 1]).abs().mean()) < 1e-3
        assert torch.equal(alone, render(people[i : i + 1], SIDE, texture=textures[i : i + 1]))


def test_attributes_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="attributes"):
        render(torch.zeros(1, 3))


@pytest.mark.parametrize("name", NAMES)
def test_every_attribute_shows(name: str) -> None:
    others = {
        "hair_hue": {"hair_dye": 1.0},
        "glasses_round": {"glasses": 1.0},
        "hat_kind": {"hat": 1.0},
        "hat_hue": {"hat": 1.0, "hat_kind": 0.0},
        "ears": {"hair_length": 0.2},
    }.get(name, {})
    assert float((change(name, **others) > 0.05).sum()) > 12  # pixels of 112 x 112


@pytest.mark.parametrize(
    ("name", "top", "bottom"),
    [
        ("eye_light", -0.2, 0.1),
        ("brow_arch", -0.5, -0.05),
        ("lashes", -0.25, 0.1),
        ("lipstick", 0.35, 0.75),
        ("glasses", -0.35, 0.3),
        ("moustache", 0.15, 0.65),
        ("mouth_open", 0.2, 1.0),
        ("hat", -1.0, 0.1),
        ("clothes_hue", 0.6, 1.0),
        ("fringe", -1.0, 0.0),
    ],
)
def test_attributes_change_what_they_name(name: str, top: float, bottom: float) -> None:
    rows = torch.linspace(-1, 1, SIDE)
    changed = change(name, hair_length=0.25) > 0.04
    outside = changed[(rows < top) | (rows > bottom)]
    assert float(outside.sum()) <= 0.02 * float(changed.sum())


@pytest.mark.parametrize(
    ("cover", "hidden"),
    [
        ({"sunglasses": 1.0}, "eye_light"),
        ({"sunglasses": 1.0}, "glasses"),
        ({"hair_grey": 1.0}, "hair_red"),
        ({"hair_dye": 1.0}, "hair_grey"),
        ({"hair_dye": 1.0}, "hair_light"),
        ({"hair_dye": 0.0}, "hair_hue"),
        ({"hat": 0.0}, "hat_hue"),
        ({"glasses": 0.0}, "glasses_round"),
        ({"clothes_light": 0.0}, "clothes_hue"),
        ({"skin_tone": 1.0}, "freckles"),
    ],
)
def test_what_is_hidden_is_hidden(cover: dict[str, float], hidden: str) -> None:
    assert (visibility(plain(**cover | {hidden: 1.0}))[:, INDEX[hidden]] < 0.05).all()
    assert float(change(hidden, **cover).mean()) < 4e-3


def test_what_is_in_sight_is_visible() -> None:
    seen = visibility(plain(hair_length=0.25))[0]
    for name in ("eye_light", "hair_light", "ears", "smile", "stubble", "brow_arch", "freckles"):
        assert seen[INDEX[name]] > 0.9, name
    assert visibility(plain(hair_length=0.8))[0, INDEX["ears"]] < 0.1
    assert visibility(plain(hair_length=0.25, yaw=1.0))[0, INDEX["ears"]] < 0.6


def test_presences_fade_in_halfway() -> None:
    values = torch.cat([plain(hat=v) for v in (0.0, 0.2, 0.5, 0.8, 1.1)])
    assert torch.allclose(shown(values)[:, INDEX["hat"]], torch.tensor([0, 0, 0.5, 1.0, 1.0]), atol=1e-6)


def test_a_picture_is_continuous() -> None:
    people, textures = persons([11])
    first = render(people, SIDE, texture=textures)
    near = render(people + 1e-3, SIDE, texture=textures + 1e-3)
    assert float((first - near).abs().mean()) < 0.01


# ---- places ------------------------------------------------------------------------------------------------


def test_a_grid_draws_the_same_elsewhere() -> None:
    people, textures = persons([3, 4])
    whole = render(people, SIDE, texture=textures)
    centres = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)[None].expand(2, -1, -1, -1)
    assert torch.allclose(render(people, grid=grid, texture=textures), whole, atol=1e-5)
    part = render(people, grid=grid[:, 20:100, 10:110], texture=textures)
    assert float((part - whole[:, :, 20:100, 10:110]).abs().mean()) < 0.01
    turned = render(people, grid=grid.flip(1, 2).transpose(1, 2), texture=textures)  # a quarter turn
    assert float((turned.transpose(2, 3).flip(2, 3) - whole).abs().mean()) < 0.01


def test_a_backdrop_shows_around_the_person() -> None:
    people, textures = persons([3])
    backdrop = torch.full((1, 3, SIDE, SIDE), 0.25)
    picture = render(people, SIDE, texture=textures, backdrop=backdrop)
    background = parse(people, SIDE, texture=textures) == Part.BACKGROUND
    inner = -torch.nn.functional.max_pool2d(-background[None].float(), 9, 1, 4)[0] > 0
    assert int(inner.sum()) > 500
    assert float((picture - 0.25).abs().amax(dim=1)[inner].mean()) < 0.01


# ---- truth -------------------------------------------------------------------------------------------------


def test_ffhq_alignment_gives_back_the_frame() -> None:
    people = persons(range(200))[0]
    for name in ("roll", "scale", "shift_x", "shift_y"):
        people[:, INDEX[name]] = 0.5
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])

    def errors() -> np.ndarray:
        """Largest distance of a corner, in sides of the picture."""
        quads = np.stack([ffhq_quad(points) for points in landmarks(people.double()).numpy()])
        return np.linalg.norm(quads - corners, axis=-1).max(axis=1) / 2

    assert np.quantile(errors(), 0.9) < 0.07  # a smile widens the mouth and lifts its corners
    for name in ("smile", "sad", "angry", "surprised", "mouth_open"):
        people[:, INDEX[name]] = 0.0
    assert np.quantile(errors(), 0.9) < 0.03


def test_landmarks_lie_on_the_parts_they_name() -> None:
    people, textures = persons(range(60))
    keep = (of(people, "sunglasses") < 0.2) & (of(people, "hat") < 0.2) & (of(people, "glasses") < 0.2)
    keep &= (of(people, "beard") < 0.2) & (of(people, "moustache") < 0.2) & (of(people, "fringe") < 0.2)
    people, textures = people[keep][:8], textures[keep][:8]
    side = 192
    parts = parse(people, side, texture=textures)
    points = landmarks(people)

    def at(place: torch.Tensor) -> torch.Tensor:
        """Labels at places [N, 2] in the frame."""
        x, y = ((place + 1) * side / 2).long().clamp(0, side - 1).unbind(-1)
        return parts[torch.arange(len(parts)), y, x]

    for eye in (slice(36, 42), slice(42, 48)):
        assert (at(points[:, eye].mean(dim=1)) == Part.EYES).all()
    lips = at((points[:, 51] + points[:, 62]) / 2)
    assert (lips == Part.LIPS).all()
    assert torch.isin(at((points[:, 62] + points[:, 66]) / 2), torch.tensor([Part.LIPS, Part.MOUTH])).all()
    assert (at(points[:, 30]) == Part.NOSE).all()
    assert (at(points[:, 19]) == Part.BROWS).float().mean() > 0.9
    jaw = points[:, 8]
    assert (at(jaw + torch.tensor([0.0, -0.05])) == Part.SKIN).all()
    assert (at(jaw + torch.tensor([0.0, 0.06])) != Part.SKIN).all()


def test_a_turned_head_moves_its_points_together() -> None:
    ahead, right = landmarks(plain(yaw=0.5))[0], landmarks(plain(yaw=1.0))[0]
    moved = right - ahead
    assert moved[30, 0] > 0.03  # the tip of the nose, which is in front
    assert moved[16, 0] < -0.05  # the sides go the other way
    assert float(moved[36:48, 0].abs().mean()) < 0.04  # the picture follows the eyes


def test_a_parsing_map_has_the_parts_that_are_there() -> None:
    found = set(parse(plain(hair_length=0.25, mouth_open=1.0), SIDE).unique().tolist())
    worn = {Part.GLASSES, Part.HAT}
    assert found == set(map(int, Part)) - set(map(int, worn))
    both = parse(plain(hat=1.0, hat_kind=0.0, sunglasses=1.0), SIDE)
    assert {int(part) for part in worn} <= set(both.unique().tolist())
    assert len(CLASSES) == len(Part)
