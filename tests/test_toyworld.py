"""The procedural face world: what it draws, what it says, and that both agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from styleclip_cli.toyworld.attributes import (
    ATTRIBUTES,
    COUNT,
    INDEX,
    NAMES,
    attributes_of_normals,
    shown,
    visibility,
)
from styleclip_cli.toyworld.renderer import render
from toyworld_training import captions
from toyworld_training.data import draw_pairs
from toyworld_training.generator import Z_DIM, attributes_of_z, w_of_attributes


def bare(**changes: float) -> torch.Tensor:
    """A plain face, [1, 32]: nothing worn, everything else in the middle."""
    a = torch.tensor([[0.0 if attribute.presence else 0.5 for attribute in ATTRIBUTES]])
    for name, value in changes.items():
        a[0, INDEX[name]] = value
    return a


def test_pictures_are_in_range_and_depend_on_each_face_alone() -> None:
    a = attributes_of_normals(torch.randn(4, COUNT, generator=torch.Generator().manual_seed(0)))
    pictures = render(a, 64)
    assert pictures.shape == (4, 3, 64, 64)
    assert -1 <= float(pictures.min()) <= float(pictures.max()) <= 1
    assert torch.allclose(pictures[2:3], render(a[2:3], 64), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_attribute_shows(name: str) -> None:
    low, high = render(torch.cat([bare(**{name: 0.0}), bare(**{name: 1.0})]))
    assert float((low - high).abs().amax(dim=0).gt(0.05).float().sum()) > 20  # pixels


def test_attributes_saturate() -> None:
    a = torch.cat([bare(glasses=1.0, smile=1.0), bare(glasses=3.0, smile=1.4)])
    first, second = render(a, 64)
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("cover", "hidden"),
    [
        ("sunglasses", "eye_blue"),
        ("sunglasses", "glasses"),
        ("hair_grey", "hair_light"),
        ("hair_grey", "hair_red"),
    ],
)
def test_what_is_hidden_is_hidden(cover: str, hidden: str) -> None:
    pair = torch.cat([bare(**{cover: 1.0, hidden: 0.0}), bare(**{cover: 1.0, hidden: 1.0})])
    assert (visibility(pair)[:, INDEX[hidden]] < 0.05).all()
    first, second = render(pair, 64)
    assert float((first - second).abs().mean()) < 2e-3


def test_a_bald_head_has_no_hair_colour() -> None:
    assert visibility(bare(hair_length=0.0))[0, INDEX["hair_light"]] == 0
    assert visibility(bare())[0, INDEX["hair_light"]] == 1


def test_presences_fade_in_halfway() -> None:
    values = torch.cat([bare(hat=v) for v in (0.0, 0.2, 0.5, 0.8, 1.1)])
    assert torch.allclose(shown(values)[:, INDEX["hat"]], torch.tensor([0, 0, 0.5, 1.0, 1.0]), atol=1e-6)


def test_w_is_laid_out_by_attribute() -> None:
    a = attributes_of_z(torch.randn(100, Z_DIM, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(((w_of_attributes(a) + 1) / 2).clamp(0, 1), a.clamp(0, 1), atol=1e-6)
    assert torch.equal(attributes_of_z(3 * torch.ones(1, Z_DIM)), attributes_of_z(torch.ones(1, Z_DIM)))


def test_presences_are_as_frequent_as_asked() -> None:
    u = torch.randn(20_000, COUNT, generator=torch.Generator().manual_seed(0))
    rate = (attributes_of_normals(u, 0.25)[:, INDEX["hat"]] > 0.5).float().mean()
    assert abs(float(rate) - 0.25) < 0.01


def test_pairs_differ_as_promised() -> None:
    pairs = draw_pairs(3, 20)
    differing = (pairs[:, 0] != pairs[:, 1]).sum(dim=1)
    assert (differing[0::2] == 1).all()
    bones = [i for i, attribute in enumerate(ATTRIBUTES) if attribute.identity]
    assert torch.equal(pairs[1::2, 0][:, bones], pairs[1::2, 1][:, bones])


def test_a_caption_says_what_is_there() -> None:
    face = bare(glasses=1.0, beard=1.0, smile=1.0)
    seen = visibility(face)[0].numpy()
    told = captions.facts(captions.to_numpy(face)[0], seen)
    assert "glasses" in told["glasses"].nouns
    assert "smiling" in told["smile"].adjectives
    assert "no a hat" in told["hat"].nouns
    assert "eye_blue" not in told  # between two names
    text = captions.compose([told["glasses"], told["beard"], told["hat"]], np.random.default_rng(0))
    assert any(word in text for word in ("glasses", "spectacles", "bespectacled"))
    assert "beard" in text
    assert "without" in text or "with no" in text


def test_captions_do_not_speak_of_what_is_hidden() -> None:
    face = bare(sunglasses=1.0, glasses=1.0, eye_blue=1.0)
    told = captions.facts(captions.to_numpy(face)[0], visibility(face)[0].numpy())
    assert "sunglasses" in told
    assert not {"glasses", "eye_blue"} & set(told)


def test_random_captions_use_only_known_words() -> None:
    known = set(" ".join(captions.vocabulary()).replace(",", " ").split())
    rng = np.random.default_rng(1)
    faces = attributes_of_normals(torch.randn(50, COUNT, generator=torch.Generator().manual_seed(5)))
    for face, seen in zip(captions.to_numpy(faces), visibility(faces).numpy(), strict=True):
        _, text = captions.choose(captions.facts(face, seen), face, rng)
        assert set(text.replace(",", " ").split()) <= known
