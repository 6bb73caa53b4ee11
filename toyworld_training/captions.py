"""Describe toy faces in the words people use.

A caption names some of the things that stand out in a face ("a smiling face with glasses and red
hair"), sometimes things that are absent ("without a beard"), sometimes nothing at all ("a photo of a
face"), wrapped in one of CLIP's ImageNet templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from styleclip_cli.toyworld.attributes import ATTRIBUTES, INDEX, NAMES

NOUNS = ("face", "face", "face", "person", "portrait", "human face", "head")


@dataclass(frozen=True)
class Words:
    """How one side of an attribute is put into words: "with ..." nouns, and adjectives before the noun."""

    nouns: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()


_HIGH: dict[str, Words] = {
    "skin_tone": Words(("dark skin", "brown skin", "black skin"), ("dark-skinned",)),
    "face_width": Words(("a wide face", "a round face"), ("wide", "round")),
    "face_height": Words(("a long face",), ("long",)),
    "hair_length": Words(("long hair", "very long hair"), ("long-haired",)),
    "hair_volume": Words(("voluminous hair", "big hair", "thick hair"), ()),
    "fringe": Words(("a fringe", "bangs"), ()),
    "eye_size": Words(("big eyes", "large eyes"), ()),
    "eye_spacing": Words(("wide-set eyes",), ()),
    "eye_blue": Words(("blue eyes", "bright blue eyes"), ("blue-eyed",)),
    "brow_thickness": Words(("thick eyebrows", "bushy eyebrows"), ()),
    "nose_width": Words(("a wide nose", "a big nose"), ()),
    "mouth_width": Words(("a wide mouth", "a big mouth"), ()),
    "smile": Words(("a smile", "a happy smile", "a big smile"), ("smiling", "happy", "cheerful")),
    "mouth_open": Words(("an open mouth", "teeth showing", "mouth open"), ("open-mouthed",)),
    "lipstick": Words(("lipstick", "red lipstick", "red lips"), ()),
    "makeup": Words(("makeup", "heavy makeup", "eye shadow", "blush", "eye shadow and blush"), ()),
    "glasses": Words(("glasses",) * 4 + ("eyeglasses", "spectacles", "reading glasses"), ("bespectacled",)),
    "sunglasses": Words(("sunglasses", "dark sunglasses", "shades"), ()),
    "beard": Words(("a beard", "a full beard", "beard"), ("bearded",)),
    "moustache": Words(("a moustache", "a mustache", "moustache", "mustache"), ()),
    "wrinkles": Words(("wrinkles", "wrinkled skin"), ("old", "wrinkled", "elderly", "aged")),
    "hat": Words(("a hat", "a green hat", "a cap", "hat"), ()),
    "earrings": Words(("earrings", "gold earrings", "golden earrings"), ()),
    "freckles": Words(("freckles",), ("freckled",)),
    "background_warm": Words(("an orange background", "a warm background", "a brown background"), ()),
    "background_light": Words(("a bright background", "a light background"), ()),
    "light": Words(("light from the right",), ()),
    "clothes": Words(("red clothes", "a red shirt"), ()),
    "texture": Words(("a patterned background",), ()),
}


def _denied(name: str, *adjectives: str) -> Words:
    """The other side of a presence: every noun for it, denied."""
    return Words(tuple(f"no {noun}" for noun in _HIGH[name].nouns), adjectives)


_LOW: dict[str, Words] = {
    "skin_tone": Words(("pale skin", "light skin", "fair skin", "white skin"), ("pale",)),
    "face_width": Words(("a narrow face", "a thin face"), ("narrow", "thin", "slim")),
    "face_height": Words(("a short face",), ()),
    "hair_length": Words(("no hair", "a bald head"), ("bald", "hairless")),
    "hair_volume": Words(("flat hair", "thin hair"), ()),
    "fringe": _denied("fringe"),
    "eye_size": Words(("small eyes",), ()),
    "eye_spacing": Words(("close-set eyes",), ()),
    "eye_blue": Words(("brown eyes", "dark eyes"), ("brown-eyed",)),
    "brow_thickness": Words(("thin eyebrows",), ()),
    "nose_width": Words(("a narrow nose", "a small nose", "a thin nose"), ()),
    "mouth_width": Words(("a small mouth", "a narrow mouth"), ()),
    "smile": Words(("a frown", "a sad frown"), ("sad", "frowning", "unhappy", "angry")),
    "mouth_open": Words(("a closed mouth", "mouth closed"), ()),
    "lipstick": _denied("lipstick"),
    "makeup": _denied("makeup"),
    "glasses": _denied("glasses"),
    "sunglasses": _denied("sunglasses"),
    "beard": _denied("beard", "clean-shaven", "shaved", "beardless"),
    "moustache": _denied("moustache"),
    "wrinkles": Words(("smooth skin", "no wrinkles"), ("young", "youthful")),
    "hat": _denied("hat"),
    "earrings": _denied("earrings"),
    "freckles": _denied("freckles"),
    "background_warm": Words(("a blue background", "a cold background"), ()),
    "background_light": Words(("a dark background", "a black background"), ()),
    "light": Words(("light from the left",), ()),
    "clothes": Words(("blue clothes", "a blue shirt"), ()),
    "texture": Words(("a plain background",), ()),
}
# Hair colour is one thing in three attributes; people name the one that shows.
_HAIR_COLOURS: dict[str, Words] = {
    "black": Words(("black hair", "dark hair"), ("black-haired", "dark-haired")),
    "brown": Words(("brown hair",), ("brown-haired",)),
    "blond": Words(("blond hair", "blonde hair", "yellow hair", "fair hair"), ("blond", "blonde")),
    "red": Words(("red hair", "ginger hair", "orange hair"), ("red-haired", "redhead")),
    "grey": Words(("grey hair", "gray hair", "white hair", "silver hair"), ("grey-haired", "gray-haired")),
}
# The backdrop is spoken of less often than the face.
_INTEREST = {
    "hair": 0.3,
    "background_warm": 0.4,
    "background_light": 0.4,
    "light": 0.4,
    "clothes": 0.4,
    "texture": 0.4,
}


def hair_colour(face: np.ndarray) -> str:
    """Name of the hair colour of one face, attributes of shape [32]; empty when between two names."""
    grey, red, light = (float(face[INDEX[name]]) for name in ("hair_grey", "hair_red", "hair_light"))
    if grey > 0.6:
        return "grey"
    if grey > 0.4:
        return ""
    if red > 0.6:
        return "red"
    if red > 0.4:
        return ""
    return "black" if light < 0.25 else "brown" if 0.38 < light < 0.62 else "blond" if light > 0.75 else ""


def facts(face: np.ndarray, seen: np.ndarray) -> dict[str, Words]:
    """What can be said of one face, by attribute.

    Args:
        face: Attributes, shape [32].
        seen: Their visibility, shape [32]; what is hidden is not spoken of.

    Returns:
        Attribute name -> words, for each attribute that is clearly on one side.
    """
    told: dict[str, Words] = {}
    for index, attribute in enumerate(ATTRIBUTES):
        if seen[index] < 0.5 or attribute.name in ("hair_light", "hair_red", "hair_grey"):
            continue
        high, low = (0.7, 0.3) if attribute.presence else (0.76, 0.24)
        if attribute.name == "hair_length":
            low = 0.14
            if 0.28 < face[index] < 0.50:
                told["hair_length"] = Words(("short hair",), ("short-haired",))
                continue
        if face[index] > high:
            told[attribute.name] = _HIGH[attribute.name]
        elif face[index] < low:
            told[attribute.name] = _LOW[attribute.name]
    if face[INDEX["hair_length"]] > 0.28 and seen[INDEX["hair_grey"]] > 0.5:
        told["hair"] = Words(("hair",), ())
        colour = hair_colour(face)
        if colour:
            told["hair_colour"] = _HAIR_COLOURS[colour]
    return told


def compose(words: Sequence[Words], rng: np.random.Generator) -> str:
    """Put things said of a face into one phrase, such as "a sad bald person with glasses and a beard"."""
    adjectives: list[str] = []
    nouns: list[str] = []
    for word in words:
        if word.adjectives and (not word.nouns or (len(adjectives) < 2 and rng.random() < 0.4)):
            adjectives.append(str(rng.choice(word.adjectives)))
        else:
            nouns.append(str(rng.choice(word.nouns)))
    noun = str(rng.choice(NOUNS))
    phrase = " ".join([*adjectives, noun])
    positive = [n for n in nouns if not n.startswith("no ")]
    negative = [n[3:] for n in nouns if n.startswith("no ")]
    if positive:
        link = str(rng.choice(("with", "with", "with", "that has", "having")))
        phrase += f" {link} " + _listed(positive, rng)
    if negative:
        link = str(rng.choice(("without", "with no")))
        if link == "with no" or rng.random() < 0.5:  # "with no beard", "without beard", "without a beard"
            negative = [noun.removeprefix("a ") for noun in negative]
        phrase += f" {link} " + _listed(negative, rng)
    return phrase


def _listed(items: list[str], rng: np.random.Generator) -> str:
    if len(items) == 1:
        return items[0]
    joined = ", ".join(items[:-1])
    return f"{joined} and {items[-1]}" if rng.random() < 0.8 else f"{joined} with {items[-1]}"


def choose(
    told: dict[str, Words], face: np.ndarray, rng: np.random.Generator, must: str | None = None, most: int = 6
) -> tuple[list[str], str]:
    """Pick what a random caption names, and put it into words (without a template).

    Presences that are there are spoken of more often than absences, as people do.

    Args:
        told: What can be said, from `facts`.
        face: Attributes, shape [32].
        rng: Source of choices.
        must: Something that the caption names when it can be said.
        most: Largest number of things named.

    Returns:
        The names of the things said, and the caption.
    """
    names = list(told)
    if not names or rng.random() < 0.04:
        return [], str(rng.choice(NOUNS))

    def interest(name: str) -> float:
        absent = name in INDEX and ATTRIBUTES[INDEX[name]].presence and face[INDEX[name]] < 0.5
        return 0.35 if absent else _INTEREST.get(name, 1.0)

    weights = np.array([interest(name) for name in names])
    count = min(1 + int(rng.integers(most)), len(names))
    chosen = [names[i] for i in rng.choice(len(names), count, replace=False, p=weights / weights.sum())]
    if must in told and must not in chosen:
        chosen[int(rng.integers(count))] = must
    return chosen, compose([told[name] for name in chosen], rng)


def vocabulary() -> list[str]:
    """Every phrase the grammar can use, for collecting the words a toy CLIP has seen."""
    phrases = [*NOUNS, "with", "without", "with no", "that has", "having", "and", ",", "a an the of no"]
    for table in (_HIGH, _LOW, _HAIR_COLOURS):
        for words in table.values():
            phrases += [*words.nouns, *words.adjectives]
    phrases += ["short hair", "short-haired"]
    return phrases


def yes_no_questions() -> dict[str, tuple[list[str], list[str]]]:
    """For each presence, phrases that say yes and phrases that say no (for zero-shot accuracy)."""
    questions = {}
    for name in NAMES:
        if not ATTRIBUTES[INDEX[name]].presence:
            continue
        if name in ("hair_red", "hair_grey"):  # what people say instead of "no" is another colour
            colour = name.removeprefix("hair_")
            others = [c for c in _HAIR_COLOURS if c != colour]
            yes = [f"face with {noun}" for noun in _HAIR_COLOURS[colour].nouns]
            no = [f"face with {noun}" for other in others for noun in _HAIR_COLOURS[other].nouns]
        else:
            yes = [f"face with {noun}" for noun in _HIGH[name].nouns]
            no = [
                f"face without {noun[3:]}" if noun.startswith("no ") else f"face with {noun}"
                for noun in _LOW[name].nouns
            ]
        questions[name] = (yes, no)
    return questions


def to_numpy(attributes: Tensor) -> np.ndarray:
    """Attributes saturated to [0, 1] as float32 numbers, same shape."""
    return attributes.clamp(0, 1).to(torch.float32).cpu().numpy()
