"""Prompts: what people type becomes two comparable texts and a unit direction."""

from __future__ import annotations

import hashlib

import pytest
import torch

from styleclip_cli.edits.prompts import resolve_prompt, text_direction, text_embedding
from styleclip_cli.edits.templates import IMAGENET_TEMPLATES, MANY
from styleclip_cli.errors import UsageError


class BagOfWords:
    """A text encoder whose answers can be worked out by hand; counts how it is asked."""

    embed_dim = 24

    def __init__(self):
        self.asked = []

    def encode_text(self, texts):
        self.asked += texts
        rows = []
        for text in texts:
            row = torch.zeros(self.embed_dim)
            for word in text.lower().strip(".").split():
                seed = int(hashlib.sha256(word.encode()).hexdigest()[:8], 16)
                row += torch.randn(self.embed_dim, generator=torch.Generator().manual_seed(seed))
            rows.append(row / row.norm())
        return torch.stack(rows)


@pytest.mark.parametrize(
    ("prompt", "target"),
    [
        ("with makeup", "face with makeup"),
        ("With makeup.", "face with makeup"),
        ("without beard", "face without beard"),
        ("wearing a hat", "face wearing a hat"),
        ("having freckles", "face having freckles"),
        ("in the style of Van Gogh", "face in the style of Van Gogh"),
        ("with a man bun", "face with a man bun"),
        ("no glasses", "face with no glasses"),
        ("not smiling", "face not smiling"),
        ("smiling", "smiling face"),
        ("bald", "bald face"),
        ("very old", "very old face"),
        ("sad and tired", "sad and tired face"),
        ("blue-eyed", "blue-eyed face"),
        ("heavily tattooed", "heavily tattooed face"),
        ("bald with glasses", "bald face with glasses"),
        ("bald and wearing sunglasses", "bald face wearing sunglasses"),
        ("glasses", "face with glasses"),
        ("blue eyes", "face with blue eyes"),
        ("a beard", "face with a beard"),
        ("eyes closed", "face with eyes closed"),
    ],
)
def test_a_prompt_that_says_only_what_changes_is_joined_to_the_neutral(prompt, target):
    assert resolve_prompt(prompt, "face") == (target, "face")
    assert resolve_prompt(prompt, "face", literal=True) == (prompt, "face")


@pytest.mark.parametrize(
    "prompt",
    [
        "a smiling face",
        "old man with a hat",
        "smiling woman",
        "portrait of a king",
        "bald head",
        "zombie",
        "Taylor Swift",
        "Jared",
        "a person with purple hair",
        "the Joker",
    ],
)
def test_a_prompt_that_stands_on_its_own_is_left_as_it_is(prompt):
    assert resolve_prompt(prompt, "face") == (prompt, "face")


@pytest.mark.parametrize(
    ("prompt", "neutral", "target"),
    [
        ("with blonde hair", "face with hair", "face with blonde hair"),
        ("with makeup", "face without makeup", "face with makeup"),
        ("with glasses", "smiling face with hat", "smiling face with hat with glasses"),
        ("smiling", "face with glasses", "smiling face with glasses"),
        ("old", "a face", "an old face"),
        ("smiling", "an old face", "a smiling old face"),
        ("fluffy", "cat", "fluffy cat"),
        ("sports car", "car", "sports car"),
        ("male face", "female face", "male face"),
        ("  with \n makeup ", " face ", "face with makeup"),
    ],
)
def test_joining_respects_what_the_neutral_says(prompt, neutral, target):
    assert resolve_prompt(prompt, neutral)[0] == target


@pytest.mark.parametrize(
    ("prompt", "neutral"),
    [("", "face"), (" . ", "face"), ("smiling", ""), ("face", "face"), ("Face ", "face")],
)
def test_nothing_to_change_is_a_usage_error(prompt, neutral):
    with pytest.raises(UsageError):
        resolve_prompt(prompt, neutral)


def test_the_bank_has_clips_80_templates():
    assert len(set(IMAGENET_TEMPLATES)) == len(IMAGENET_TEMPLATES) == 80
    assert all(template.count("{}") == 1 for template in IMAGENET_TEMPLATES)
    assert MANY in IMAGENET_TEMPLATES


def test_an_embedding_is_the_renormalised_mean_over_all_templates():
    clip = BagOfWords()
    found = text_embedding(clip, "face with {braces}")
    assert clip.asked[0] == "a bad photo of a face with {braces}."
    assert len(clip.asked) == 80
    rows = clip.encode_text([t.replace("{}", "face with {braces}") for t in IMAGENET_TEMPLATES])
    mean = rows.mean(dim=0)
    torch.testing.assert_close(found, mean / mean.norm())


def test_a_direction_is_the_unit_difference_target_minus_neutral():
    clip = BagOfWords()
    direction = text_direction(clip, "old face", "face")
    step = text_embedding(clip, "old face") - text_embedding(clip, "face")
    torch.testing.assert_close(direction, step / step.norm(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(text_direction(clip, "face", "old face"), -direction, rtol=1e-4, atol=1e-5)


def test_texts_that_clip_cannot_tell_apart_are_a_usage_error():
    with pytest.raises(UsageError, match="no difference"):
        text_direction(BagOfWords(), "FACE", "face")
