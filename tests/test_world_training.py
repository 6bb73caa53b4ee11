"""What the networks of the world are trained on: people of a z, pairs, captions; and the judge."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from styleclip_cli.errors import WeightsError
from styleclip_cli.nets.parser import PARSER_SIDE, UNet
from styleclip_cli.world.attributes import COUNT, INDEX, NAMES, plain, shown, visibility
from styleclip_cli.world.networks import Judge
from styleclip_cli.world.parsing import CLASSES
from styleclip_cli.world.population import persons
from styleclip_cli.world.scenes import draw, make_scene
from world_training import captions, data, parser, people
from world_training.captions import WORDS, choose, compose, facts, phrases_of
from world_training.data import Pictures
from world_training.generator import build, w_plus_of
from world_training.people import FLIPPED, MIXED, OTHER, SAME, TURNS, Pairs, draw_pairs, person


@cache
def pairs() -> Pairs:
    return draw_pairs(0, 64)


def said(attributes: torch.Tensor) -> dict[str, str]:
    return facts(captions.to_numpy(attributes)[0], visibility(attributes)[0].numpy())


def turn(*which: int) -> torch.Tensor:
    return torch.tensor([i for i in range(64) if i % TURNS in which])


# ---- people of z ------------------------------------------------------------------------------------


def test_no_number_of_z_is_an_attribute() -> None:
    z = torch.randn(4000, people.Z_DIM, generator=torch.Generator().manual_seed(3))
    a = shown(person(z)[0])
    a = (a - a.mean(0)) / a.std(0)
    z = (z - z.mean(0)) / z.std(0)
    assert float((z.T @ a / len(z)).square().max()) < 0.3


def test_people_of_z_are_the_population() -> None:
    z = torch.randn(4000, people.Z_DIM, generator=torch.Generator().manual_seed(4))
    ours, texture = person(z)
    theirs = persons(range(4000))[0]
    assert torch.allclose(ours.mean(0), theirs.mean(0), atol=0.03)
    assert torch.allclose(ours.std(0), theirs.std(0), atol=0.04)
    assert float(texture.std()) == pytest.approx(1, abs=0.05)
    assert torch.allclose(person(z[:3] * 7)[0], ours[:3], atol=1e-4)  # its length says nothing


def test_the_same_person_at_another_time_has_a_z_too() -> None:
    items = turn(*SAME)
    z = pairs().fine[items]
    found = z[:, 0].isfinite()
    assert 0.7 < found.float().mean() <= 1
    attributes, texture = person(z[found])
    assert torch.allclose(attributes, pairs().attributes[items, 1][found], atol=1e-4)
    assert torch.allclose(texture, pairs().textures[items, 1][found], atol=1e-4)
    assert pairs().fine[turn(*FLIPPED)].isnan().all()


def test_kinds_of_pairs() -> None:
    first, second = pairs().attributes.unbind(1)
    differ = (first != second).sum(dim=1)
    flipped = turn(*FLIPPED)
    assert bool((differ[flipped] <= 2).all())  # a hue brings its dye
    assert bool((differ[flipped] >= 1).all())
    assert torch.equal(pairs().textures[flipped, 0], pairs().textures[flipped, 1])
    bones = [INDEX[name] for name in ("age", "feminine", "skin_tone", "jaw", "nose_width", "eye_light")]
    assert torch.equal(first[turn(*SAME)][:, bones], second[turn(*SAME)][:, bones])
    assert bool((differ[turn(*SAME)] > 15).all())
    colours = torch.tensor([name in people.COLOURS for name in NAMES])
    mixed, of_fine = turn(MIXED), person(pairs().fine)[0]
    assert torch.equal(second[mixed][:, ~colours], first[mixed][:, ~colours])
    assert torch.equal(second[mixed][:, colours], of_fine[mixed][:, colours])
    assert torch.equal(second[turn(OTHER)], of_fine[turn(OTHER)])


def test_style_mixing_gives_the_fine_layers_another_w() -> None:
    generator = build()
    coarse, fine = torch.randn(2, people.Z_DIM), torch.randn(2, people.Z_DIM)
    w_plus = w_plus_of(generator, coarse, fine)
    layers = [layer for layer in generator.style_space.layers if not layer.is_rgb]
    for layer in layers:
        wanted = generator.map(fine if layer.resolution >= 64 else coarse)
        assert torch.allclose(w_plus[:, layer.ws_index], wanted, atol=1e-4)


def test_pictures_are_drawn_once_by_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "BLOCK", 8)
    monkeypatch.setattr(data, "RESOLUTION", 32)
    monkeypatch.setattr(data, "PARTS", 16)
    one, two = Pictures(tmp_path / "one", 16), Pictures(tmp_path / "two", 16)
    one.draw()
    two.draw(worker=1, workers=2)
    assert two.ready == 0
    two.draw(worker=0, workers=2)
    assert one.ready == two.ready == 16
    items, members = torch.tensor([0, 11]), torch.tensor([1, 0])
    assert torch.equal(one.images(items, members, 32), two.images(items, members, 32))
    assert one.images(items, members, 16).shape == (2, 3, 16, 16)
    assert one.parts(items, members).unique().numel() > 3


# ---- captions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "topic", "value"),
    [
        ({"age": 0.1, "feminine": 0.9}, "who", "girl"),
        ({"age": 0.9, "feminine": 0.1}, "age", "old"),
        ({"smile": 1.0}, "expression", "smile"),
        ({"surprised": 1.0}, "expression", "surprised"),
        ({}, "expression", "neutral"),
        ({"hair_curl": 1.0}, "hair_curl", "curly"),
        ({"hair_dye": 1.0, "hair_hue": 0.27}, "hair colour", "purple"),
        ({"hair_grey": 1.0}, "hair colour", "grey"),
        ({"hair_light": 0.9}, "hair colour", "blond"),
        ({"baldness": 1.0}, "hair length", "bald"),
        ({"hat": 1.0}, "hat", "+"),
        ({"glasses": 0.0}, "glasses", "-"),
        ({"eye_light": 0.9}, "eyes", "blue"),
        ({}, "facial hair", "-"),
        ({"hat": 1.0, "hat_hue": 0.95}, "hat colour", "purple"),
        ({"background_kind": 0.55}, "background", "lights"),
    ],
)
def test_what_is_there_can_be_said(changes: dict[str, float], topic: str, value: str) -> None:
    assert said(plain(**changes))[topic] == value


@pytest.mark.parametrize(
    ("changes", "topic"),
    [
        ({"sunglasses": 1.0, "eye_light": 0.9}, "eyes"),  # hidden
        ({"hat": 1.0, "baldness": 1.0}, "hair length"),
        ({"glasses": 0.5}, "glasses"),  # neither
        ({"feminine": 0.5}, "who"),
        ({"smile": 1.0, "angry": 1.0}, "expression"),
        ({"hair_dye": 0.5}, "hair colour"),
        ({"beard": 1.0, "stubble": 0.5}, "sex"),
        ({"stubble": 1.0}, "facial hair"),  # not clean-shaven
        ({"moustache": 0.5}, "facial hair"),
    ],
)
def test_what_is_not_clear_is_not_said(changes: dict[str, float], topic: str) -> None:
    assert topic not in said(plain(**changes))


def test_captions_state_the_facts_they_were_given() -> None:
    rng = np.random.default_rng(0)
    caption = compose([("who", "woman"), ("glasses", "+"), ("beard", "-"), ("yaw", "+")], rng)
    assert any(word in caption for word in ("woman", "lady", "female", "feminine"))
    assert "glasses" in caption or "spectacle" in caption
    assert any(word in caption for word in ("without", "with no", "clean-shaven", "beardless"))
    assert caption.endswith("to the right")
    told = said(plain(smile=1.0, hat=1.0))
    for _ in range(20):
        stated = choose(told, rng, must="hat")
        assert all(told[topic] == value for topic, value in stated)
        assert not stated or ("hat", "+") in stated
    old_man = compose([("age", "old"), ("who", "man")], rng)
    assert old_man.split()[-1] in ("man", "guy", "gentleman")
    assert captions.is_absence(("beard", "-"))
    assert not captions.is_absence(("hair length", "bald"))
    assert len({phrase for fact in WORDS for phrase in phrases_of(fact)}) >= 150


def test_each_presence_has_a_question() -> None:
    asked = captions.questions()
    assert {"smile", "sad", "angry", "surprised", "beard", "glasses", "hat", "hair_dye"} <= set(asked)
    for yes, no in asked.values():
        assert yes
        assert no
        assert not set(yes) & set(no)


# ---- networks and scenes ----------------------------------------------------------------------------


def test_the_judge_is_what_its_weights_say() -> None:
    judge = Judge(COUNT, (4, 8, 8, 8, 8))
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    again = Judge.from_state_dict(judge.state_dict())
    assert torch.equal(again(images), judge.eval()(images))
    assert again(images).shape == (2, COUNT)
    with pytest.raises(WeightsError, match="not the weights of a"):
        Judge.from_state_dict({"a": torch.ones(2)})


def test_the_parser_is_measured_on_pictures_of_any_size() -> None:
    images, truth = parser.held_out(2)
    assert truth.shape == (2, PARSER_SIDE, PARSER_SIDE)
    assert images.shape[-1] != PARSER_SIDE
    found = parser.overlaps(UNet(len(CLASSES), (2, 2)).eval(), images, truth)
    assert set(found) <= {"mean", *CLASSES}
    assert 0 <= found["mean"] < 0.5


def test_scenes_hold_people_with_their_points() -> None:
    scene = make_scene(3, count=1, size=(0.5, 0.6), roll=(20.0, 20.0), out_of_frame=False, sides=(120, 120))
    image = draw(scene)
    assert image.shape == (3, scene.height, scene.width)
    face = scene.faces[0]
    assert face.roll == pytest.approx(20)
    assert (face.points > 0).all()
    assert (face.points < (scene.width, scene.height)).all()
    assert face.height == pytest.approx(np.ptp(face.points[:, 1]) * 1.3, rel=0.35)
    changed = draw(scene.with_attribute(0, "sunglasses", 1.0)) - image
    _, y = face.points[36:48].mean(axis=0).astype(int)
    assert float(changed[:, y - 2 : y + 3].abs().max()) > 0.2
