"""Describe people of the world in the words that people use.

What can be said of a picture is a set of facts, each a topic and a value: ("hair colour", "blond"). A
caption states some of them ("an old man with a grey beard, smiling"), sometimes what is absent ("without
glasses"), sometimes nothing ("a photo of a face"). What a hat or dark lenses hide is not spoken of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from styleclip_cli.world.attributes import ATTRIBUTES, INDEX, PRESENCE

NOUNS = ("face", "face", "face", "person", "portrait", "human face", "head", "someone")


@dataclass(frozen=True)
class Words:
    """How a fact is put into words.

    Attributes:
        nouns: What comes after "with".
        adjectives: What comes before the noun.
        heads: Nouns for the person, which say it themselves.
        clauses: What comes at the end, as it is ("looking to the left").
        nots: What comes after "without" or "with no".
    """

    nouns: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()
    nots: tuple[str, ...] = ()


Fact = tuple[str, str]
_KINDS = {"": "nouns", "a": "adjectives", "h": "heads", "c": "clauses", "n": "nots"}


def _table(text: str) -> dict[Fact, Words]:
    """Facts from lines `topic: value: noun, noun; a: adjective, ...; h: ...; c: ...; n: ...`.

    Lines of one fact add up.
    """
    table: dict[Fact, Words] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        topic, value, words = (part.strip() for part in line.split(":", 2))
        kinds: dict[str, tuple[str, ...]] = {}
        for part in words.split(";"):
            mark, _, rest = part.strip().partition(": ") if part.strip()[1:2] == ":" else ("", "", part)
            kinds[_KINDS[mark]] = tuple(word.strip() for word in rest.split(",") if word.strip())
        table[topic, value] = replace(table.get((topic, value), Words()), **kinds)
    return table


WORDS: dict[Fact, Words] = _table((Path(__file__).parent / "words.txt").read_text(encoding="utf-8"))
TOPICS: tuple[str, ...] = tuple(dict.fromkeys(topic for topic, _ in WORDS))
# What surrounds a face is spoken of less often than the face.
_SURROUNDINGS = (
    *("clothes", "collar", "yaw", "pitch", "roll", "scale", "light", "light_warm"),
    *("background_warm", "background_light", "background"),
)
_INTEREST = {"hair": 0.3, "hair_dye": 0.6} | dict.fromkeys(_SURROUNDINGS, 0.4)
_CLOTH = (
    ("red", -1, 0.12), ("yellow", 0.2, 0.34), ("green", 0.4, 0.6), ("blue", 0.66, 0.82), ("purple", 0.9, 2)
)  # fmt: skip
_SPANS: dict[str, tuple[str, tuple[tuple[str, float, float], ...]]] = {
    "age": ("age", (("child", -1, 0.22), ("young", 0.28, 0.44), ("middle", 0.52, 0.66), ("old", 0.74, 2))),
    "eyes": ("eye_light", (("brown", -1, 0.28), ("green", 0.40, 0.60), ("blue", 0.72, 2))),
    "hair_curl": ("hair_curl", (("straight", -1, 0.24), ("wavy", 0.36, 0.56), ("curly", 0.68, 2))),
    "hat colour": ("hat_hue", _CLOTH),
    "background": ("background_kind", (("plain", -1, 0.28), ("lights", 0.47, 0.63), ("shapes", 0.8, 2))),
}
_HUES = (
    ("pink", -1, 0.12), ("purple", 0.18, 0.36), ("dyed blue", 0.44, 0.60), ("turquoise", 0.68, 0.82),
    ("green", 0.90, 2),
)  # fmt: skip
_RARE_IF_ABSENT = 0.35


def _between(value: float, spans: Sequence[tuple[str, float, float]]) -> str:
    return next((name for name, low, high in spans if low < value < high), "")


def _hair_colour(a: Mapping[str, float], seen: Mapping[str, float]) -> str:
    if a["hair_dye"] > 0.65:
        return _between(a["hair_hue"], _HUES) if seen["hair_hue"] > 0.5 else ""
    if a["hair_dye"] > 0.35 or 0.4 < a["hair_grey"] < 0.6:
        return ""
    if a["hair_grey"] > 0.6:
        return "grey" if seen["hair_grey"] > 0.4 else ""
    if a["hair_red"] > 0.4 or seen["hair_light"] < 0.5:
        return "red" if a["hair_red"] > 0.6 and seen["hair_red"] > 0.5 else ""
    return _between(a["hair_light"], (("black", -1, 0.2), ("brown", 0.3, 0.55), ("blond", 0.68, 2)))


def _who(a: Mapping[str, float]) -> str:
    if 0.35 < a["feminine"] < 0.65 or 0.22 < a["age"] < 0.28:
        return ""
    names = ("boy", "girl") if a["age"] < 0.25 else ("man", "woman")
    return names[a["feminine"] > 0.5]


def _facial_hair(a: Mapping[str, float]) -> str:
    most = max(a["beard"], a["moustache"], a["stubble"])
    return "-" if most < 0.28 else "+" if max(a["beard"], a["moustache"]) > 0.7 else ""


def _hair_length(a: Mapping[str, float], seen: Mapping[str, float]) -> str:
    if a["baldness"] > 0.7 and seen["baldness"] > 0.5:
        return "bald"
    if a["baldness"] > 0.3 or seen["hair_length"] < 0.5:
        return ""
    spans = (("shaved", -1, 0.12), ("short", 0.17, 0.40), ("medium", 0.46, 0.58), ("long", 0.66, 2))
    return _between(a["hair_length"], spans)


def _expression(a: Mapping[str, float], seen: Mapping[str, float]) -> str:
    amounts = {name: a[name] for name in ("smile", "sad", "angry", "surprised")}
    strong = [name for name, amount in amounts.items() if amount > 0.65]
    if max(amounts.values()) < 0.28 and a["mouth_open"] < 0.4:
        return "neutral"
    return strong[0] if len(strong) == 1 and seen[strong[0]] > 0.5 else ""


def _clothes(a: Mapping[str, float]) -> str:
    light = a["clothes_light"]
    if light < 0.06:
        return "black"
    if light > 0.92:
        return "white"
    return _between(a["clothes_hue"], _CLOTH) if 0.15 < light < 0.8 else ""


def facts(face: np.ndarray, visible: np.ndarray) -> dict[str, str]:
    """What can be said of one picture.

    Args:
        face: Attributes, shape [K].
        visible: Their visibility, shape [K]; what is hidden is not spoken of.

    Returns:
        Topic -> value, for each topic that is clear.
    """
    a = {attribute.name: float(value) for attribute, value in zip(ATTRIBUTES, face, strict=True)}
    seen = {attribute.name: float(value) for attribute, value in zip(ATTRIBUTES, visible, strict=True)}
    special: dict[str, Callable[[], str]] = {
        "who": lambda: _who(a),
        "sex": lambda: "male" if a["feminine"] < 0.3 else "female" if a["feminine"] > 0.7 else "",
        "facial hair": lambda: _facial_hair(a),
        "smile": lambda: "-" if a["smile"] < 0.28 else "",
        "hair colour": lambda: _hair_colour(a, seen),
        "hair length": lambda: _hair_length(a, seen),
        "hair": lambda: (
            "+" if a["baldness"] < 0.3 and a["hair_length"] > 0.17 and seen["hair_length"] > 0.5 else ""
        ),
        "expression": lambda: _expression(a, seen),
        "clothes": lambda: _clothes(a),
        "hair_dye": lambda: "+" if a["hair_dye"] > 0.7 and seen["hair_dye"] > 0.5 else "",
    }
    told: dict[str, str] = {}
    for topic in TOPICS:
        if topic in special:
            value = special[topic]()
        elif topic in _SPANS:
            name, spans = _SPANS[topic]
            value = _between(a[name], spans) if seen[name] > 0.5 else ""
        else:
            value = _side(topic, a[topic]) if seen[topic] > 0.5 else ""
        if (topic, value) in WORDS:
            told[topic] = value
    return told


def _side(name: str, amount: float) -> str:
    high, low = (0.7, 0.3) if PRESENCE[INDEX[name]] or name == "wrinkles" else (0.72, 0.28)
    return "+" if amount > high else "-" if amount < low else ""


def is_absence(fact: Fact) -> bool:
    """Whether a fact says that something is not there."""
    return fact[1] == "-" and bool(WORDS[fact].nots)


def compose(stated: Sequence[Fact], rng: np.random.Generator) -> str:
    """Put facts into one phrase, such as "old man with glasses and a beard, looking to the left"."""
    adjectives: list[str] = []
    parts: dict[str, list[str]] = {"nouns": [], "clauses": [], "nots": []}
    head = ""
    for fact in sorted(stated, key=lambda fact: fact[0] != "who"):  # other facts can do without the noun
        words = WORDS[fact]
        kinds = [kind for kind in ("nouns", "clauses", "nots") if getattr(words, kind)]
        if words.heads and not head and (not (kinds or words.adjectives) or rng.random() < 0.85):
            head = str(rng.choice(words.heads))
        elif words.adjectives and (not kinds or (len(adjectives) < 2 and rng.random() < 0.4)):
            adjectives.append(str(rng.choice(words.adjectives)))
        elif kinds:
            kind = str(rng.choice(kinds, p=_shares(kinds)))
            parts[kind].append(str(rng.choice(getattr(words, kind))))
    phrase = " ".join([*adjectives, head or str(rng.choice(NOUNS))])
    if parts["nouns"]:
        phrase += (
            f" {rng.choice(('with', 'with', 'with', 'that has', 'having'))} {_listed(parts['nouns'], rng)}"
        )
    if parts["nots"]:
        link = str(rng.choice(("without", "with no")))
        absent = parts["nots"]
        if link == "with no" or rng.random() < 0.5:  # "with no beard", "without beard", "without a beard"
            absent = [noun.removeprefix("a ") for noun in absent]
        phrase += f" {link} {_listed(absent, rng)}"
    if parts["clauses"]:
        phrase += f"{rng.choice(('', ','))} {_listed(parts['clauses'], rng)}"
    return phrase


def _shares(kinds: Sequence[str]) -> np.ndarray:
    weights = np.array([{"nouns": 1.0, "clauses": 0.4, "nots": 1.0}[kind] for kind in kinds])
    return weights / weights.sum()


def _listed(items: Sequence[str], rng: np.random.Generator) -> str:
    if len(items) == 1:
        return items[0]
    joined = ", ".join(items[:-1])
    return f"{joined} and {items[-1]}" if rng.random() < 0.8 else f"{joined} with {items[-1]}"


def choose(
    told: Mapping[str, str], rng: np.random.Generator, must: str | None = None, most: int = 6
) -> list[Fact]:
    """Pick what a random caption states; what is there is spoken of more often than what is not.

    Args:
        told: What can be said, from `facts`.
        rng: Source of choices.
        must: A topic that the caption speaks of when it can.
        most: Largest number of facts.

    Returns:
        The facts.
    """
    topics = list(told)
    if not topics or rng.random() < 0.04:
        return []

    def interest(topic: str) -> float:
        absent = is_absence((topic, told[topic]))
        return 3.0 if topic in ("who", "age") else _RARE_IF_ABSENT if absent else _INTEREST.get(topic, 1.0)

    weights = np.array([interest(topic) for topic in topics])
    count = min(1 + int(rng.integers(most)), len(topics))
    chosen = [topics[i] for i in rng.choice(len(topics), count, replace=False, p=weights / weights.sum())]
    if must in told and must not in chosen:
        chosen[int(rng.integers(count))] = must
    return [(topic, told[topic]) for topic in chosen]


def vocabulary() -> list[str]:
    """Every phrase the grammar can use, for collecting the words that a small CLIP has seen."""
    phrases = [*NOUNS, "with", "without", "with no", "that has", "having", "and", ",", "a an the of no"]
    for words in WORDS.values():
        for kind in _KINDS.values():
            phrases += getattr(words, kind)
    return phrases


def phrases_of(fact: Fact) -> list[str]:
    """Each way to state one fact alone."""
    words = WORDS[fact]
    return [
        *(f"face with {noun}" for noun in words.nouns),
        *(f"{adjective} face" for adjective in words.adjectives),
        *words.heads,
        *(f"face {clause}" for clause in words.clauses),
        *(f"face without {noun}" for noun in words.nots),
    ]


def questions() -> dict[str, tuple[list[str], list[str]]]:
    """For each presence and each expression, phrases that say yes and phrases that say no."""
    asked: dict[str, tuple[list[str], list[str]]] = {}
    for attribute in ATTRIBUTES:
        name = attribute.name
        if not attribute.presence:
            continue
        if (name, "+") in WORDS and (name, "-") in WORDS:  # lipstick does not count as makeup
            asked[name] = phrases_of((name, "+")), phrases_of((name, "-"))
            continue
        fact = {
            "hair_red": ("hair colour", "red"), "hair_grey": ("hair colour", "grey"),
            "baldness": ("hair length", "bald"), "hair_dye": ("hair_dye", "+"),
        }.get(name, ("expression", name))  # fmt: skip
        others = [f for f in WORDS if f[0] == fact[0] and f != fact]
        if name == "hair_dye":
            others = [("hair colour", colour) for colour in ("black", "brown", "blond", "grey")]
        asked[name] = phrases_of(fact), [phrase for other in others for phrase in phrases_of(other)]
    return asked


def to_numpy(attributes: Tensor) -> np.ndarray:
    """Attributes saturated to [0, 1] as float32 numbers, same shape."""
    return attributes.clamp(0, 1).to(torch.float32).cpu().numpy()
