"""Phrases for the variations of a part of a face: "hair" -> black hair, blond hair, long hair, no hair ...

A text direction needs two texts, but a part has no opposite: "face with hair" against "face" finds baldness,
not the properties of the hair. So the phrases name the ways in which the part differs between people.

The phrases are few, and each names one property that CLIP recognises visually. A word that a CLIP knows only
from other objects would select those (green eyes, if only hats were ever green).
"""

from __future__ import annotations

from collections.abc import Mapping

CHANNELS = 35
"""How many style channels each phrase keeps. Fewer than a direction moves in the toy pack: a channel goes all
the way to the other face here, and what else it does comes along in full."""
PARTS: Mapping[str, tuple[str, ...]] = {
    "hair": (
        "black hair",
        "brown hair",
        "blond hair",
        "red hair",
        "grey hair",
        "long hair",
        "short hair",
        "no hair",
        "big hair",
        "curly hair",
        "straight hair",
        "bangs",
    ),
    "hair color": ("black hair", "brown hair", "blond hair", "red hair", "grey hair"),
    "hair length": ("long hair", "short hair", "no hair"),
    "eyes": ("blue eyes", "brown eyes", "big eyes", "small eyes"),
    "eye color": ("blue eyes", "brown eyes"),
    "eyebrows": ("thick eyebrows", "thin eyebrows"),
    "nose": ("a big nose", "a small nose"),
    "mouth": (
        "an open mouth",
        "a closed mouth",
        "a smile",
        "a frown",
        "red lips",
        "a big mouth",
        "a small mouth",
    ),
    "smile": ("a smile", "a frown"),
    "expression": ("a smile", "a frown", "an open mouth"),
    "facial hair": ("a beard", "a moustache"),
    "skin": ("dark skin", "pale skin"),
    "clothes": ("red clothes", "blue clothes"),
    "background": (
        "a dark background",
        "a bright background",
        "a blue background",
        "a plain background",
        "a patterned background",
    ),
}
_OTHER_NAMES: Mapping[str, str] = {
    "hairs": "hair",
    "hairstyle": "hair",
    "haircut": "hair",
    "hairdo": "hair",
    "eye": "eyes",
    "brows": "eyebrows",
    "skin color": "skin",
    "skin tone": "skin",
    "complexion": "skin",
    "clothing": "clothes",
    "backdrop": "background",
}
_ARTICLES = ("the ", "a ", "an ")


def phrases_of(prompt: str, literal: bool = False) -> list[str]:
    """Turn a prompt into the phrases that channels are compared with.

    Args:
        prompt: A part ("hair"), a thing ("glasses"), or several of either, separated by commas.
        literal: Take the prompt as it stands, commas and all.

    Returns:
        Phrases, each once: a part's own, anything else as it is; [prompt] if it is empty.
    """
    if literal:
        return [prompt]
    phrases: list[str] = []
    for word in filter(None, (" ".join(part.split()) for part in prompt.split(","))):
        phrases += PARTS.get(_name(word), (word,))
    return list(dict.fromkeys(phrases)) or [prompt]


def _name(word: str) -> str:
    """The part that a word may name, as `PARTS` has it."""
    name = word.casefold().strip(" .").replace("colour", "color")
    for article in _ARTICLES:
        name = name.removeprefix(article)
    return _OTHER_NAMES.get(name, name)
