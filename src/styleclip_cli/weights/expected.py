"""What a pack's makers expect of it: the table [expected] of its file, by which `check` judges a pack.

    [expected]
    faces = 0.9            # least share of samples in which a face is found that fills the image
    places = [[0.38, 0.47], [0.62, 0.47], [0.5, 0.61], [0.39, 0.73], [0.61, 0.73]]
    landmarks = 0.06       # largest mean distance of eyes, nose and corners of the mouth from there
    alignment = 0.06       # largest median distance of a sample's own square from its corners
    identity = 0.3         # least difference of the cosines of the same face and of other faces
    encoder_psnr = 14      # least dB of the encoder's inversions of samples, and
    encoder_gain = 1.5     #   least dB more than the average face has, and
    encoder_identity = 0.3 #   least cosine of their face embeddings
    refine_gain = 0.3      # least dB that refining adds
    subject = 0.9          # least share of samples that CLIP takes for the first of `subjects`
    subjects = ["a photo of a car", "a photo of a cat"]
    sentences = 0.001      # largest error of the cosines of `cosines`
    words = 0.3            # least mean correlation of CLIP's scores with `readings`
    similarity = 0.05      # least directional CLIP similarity of each edit of `edits`
    kept = 0.4             # least cosine of the face embeddings before and after each
    statistics = 0.1       # largest median error of the packaged mean, in standard deviations, and of these
    relevance = 0.5        # least median cosine of packaged rows and rows that are measured again
    activation = 0.0       # least advantage in that of CLIP's own activation over the other one
    mapper = 0.01          # least mean change of an image by a mapper, of 1
    mapper_similarity = 0.1 # least directional CLIP similarity of mappers to their texts (else their names)

    [[expected.cosines]]   # of the embeddings of two texts, as the right CLIP has them
    first = "a face with glasses"
    second = "a face with a hat"
    cosine = 0.55

    [[expected.readings]]  # what landmarks or colours say: mouth (how open), skin (how light)
    of = "mouth"
    more = "with an open mouth"
    less = "with a closed mouth"

    [[expected.edits]]
    prompt = "smiling"
    neutral = "face"
    region = "mouth"       # mouth, eyes or hair
    inside = 2.0           # least mean change there, in mean changes of the image

Lengths are in parts of the image's side. Everything may be left out: the checks in question are then not
applicable. Imports nothing heavy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from styleclip_cli.errors import shortened
from styleclip_cli.settings import DEFAULT_NEUTRAL

Reading = Literal["mouth", "skin"]
Region = Literal["mouth", "eyes", "hair"]

BOUNDS: Mapping[str, tuple[float, float]] = {
    "faces": (0, 1),
    "landmarks": (0, 1),
    "alignment": (0, 1),
    "identity": (0, 2),
    "encoder_psnr": (0, 100),
    "encoder_gain": (-100, 100),
    "encoder_identity": (-1, 1),
    "refine_gain": (-100, 100),
    "subject": (0, 1),
    "sentences": (0, 2),
    "words": (-1, 1),
    "similarity": (-1, 1),
    "kept": (-1, 1),
    "statistics": (0, 10),
    "relevance": (-1, 1),
    "activation": (-2, 2),
    "mapper": (0, 1),
    "mapper_similarity": (-1, 1),
}
"""Values that each bar can have."""
PLACES = 5
_MOST = 16
"""Readings, edits or subjects in a table: a check is to take minutes."""
T = TypeVar("T")


@dataclass(frozen=True)
class ExpectedCosine:
    """How alike two texts are to CLIP.

    Attributes:
        first: A text.
        second: Another one.
        cosine: Of their embeddings.
    """

    first: str
    second: str
    cosine: float


@dataclass(frozen=True)
class ExpectedReading:
    """Two sentences whose difference follows what is read off an image without CLIP.

    Attributes:
        of: What is read.
        more: The sentence for large readings.
        less: The one for small ones.
    """

    of: Reading
    more: str
    less: str


@dataclass(frozen=True)
class ExpectedEdit:
    """An edit that is known to work.

    Attributes:
        prompt: What the face becomes.
        region: Where it changes most.
        inside: Least mean change there, in mean changes of the whole image.
        neutral: What the face is before.
    """

    prompt: str
    region: Region
    inside: float
    neutral: str = DEFAULT_NEUTRAL


@dataclass(frozen=True)
class Expected:
    """What is expected of a pack.

    Attributes:
        bars: Bars by name, as in `BOUNDS`.
        places: Where eyes, tip of the nose and corners of the mouth are on average, in parts of the side.
        subjects: Sentences; the first says what the pack draws.
        cosines: How alike texts are to CLIP.
        readings: What CLIP's scores have to agree with.
        edits: Edits that work.
    """

    bars: Mapping[str, float] = field(default_factory=dict)
    places: tuple[tuple[float, float], ...] = ()
    subjects: tuple[str, ...] = ()
    cosines: tuple[ExpectedCosine, ...] = ()
    readings: tuple[ExpectedReading, ...] = ()
    edits: tuple[ExpectedEdit, ...] = ()


def parse(values: Mapping[str, Any]) -> Expected:
    """Read the table, which a stranger may have written.

    Args:
        values: Its entries.

    Raises:
        ValueError: If an entry is unknown, or is not of its kind, or out of its bounds.
        KeyError: If an entry of a reading or an edit is missing.
        TypeError: If something is no table or no list.
    """
    others = {"places", "subjects", "cosines", "readings", "edits"}
    unknown = sorted(set(values) - set(BOUNDS) - others)
    if unknown:
        raise ValueError(f"[expected] {shortened(unknown[0], 40)}: expected one of {', '.join(BOUNDS)}")
    bars = {name: _number(values, name, *BOUNDS[name]) for name in BOUNDS if name in values}
    places = tuple(_place(one) for one in _list(values, "places", tuple))
    if places and len(places) != PLACES:
        raise ValueError(f"[expected] places: {len(places)}, expected {PLACES}")
    return Expected(
        bars,
        places,
        tuple(_list(values, "subjects", lambda text: _sentence({"subject": text}, "subject"))),
        tuple(_list(values, "cosines", _cosine)),
        tuple(_list(values, "readings", _reading)),
        tuple(_list(values, "edits", _edit)),
    )


def _list(values: Mapping[str, Any], name: str, read: Any) -> list[Any]:
    found = values.get(name, [])
    if not isinstance(found, list) or len(found) > _MOST:
        raise ValueError(f"[expected] {name}: not a list of up to {_MOST}")
    return [read(one) for one in found]


def _place(place: Sequence[Any]) -> tuple[float, float]:
    x, y = place
    return _number({"places": x}, "places", 0, 1), _number({"places": y}, "places", 0, 1)


def _cosine(values: Mapping[str, Any]) -> ExpectedCosine:
    texts = _sentence(values, "first"), _sentence(values, "second")
    return ExpectedCosine(*texts, _number(values, "cosine", -1, 1))


def _reading(values: Mapping[str, Any]) -> ExpectedReading:
    return ExpectedReading(
        _one_of(values, "of", get_args(Reading)), _sentence(values, "more"), _sentence(values, "less")
    )


def _edit(values: Mapping[str, Any]) -> ExpectedEdit:
    neutral = _sentence(values, "neutral") if "neutral" in values else DEFAULT_NEUTRAL
    region = _one_of(values, "region", get_args(Region))
    return ExpectedEdit(_sentence(values, "prompt"), region, _number(values, "inside", 0, 1000), neutral)


def _number(values: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value = values[name]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"[expected] {name} {shortened(repr(value), 40)}: expected {low:g} to {high:g}")
    return float(value)


def _one_of(values: Mapping[str, Any], name: str, known: Sequence[T]) -> T:
    value = values[name]
    if value not in known:
        choice = ", ".join(map(str, known))
        raise ValueError(f"[expected] {name} {shortened(repr(value), 40)}: expected one of {choice}")
    found: T = value
    return found


def _sentence(values: Mapping[str, Any], name: str) -> str:
    value = values[name]
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 100:
        raise ValueError(f"[expected] {name} {shortened(repr(value), 40)}: expected a sentence")
    return value
