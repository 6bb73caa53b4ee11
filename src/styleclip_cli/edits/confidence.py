"""How surely a model pack understands a sentence.

Every text has a direction in CLIP space, and some style channel always answers to it a little: a text that
means nothing to CLIP, or to the generator, ends as an edit all the same. So the largest |relevance| that a
sentence reaches is held against a null distribution: what texts reach that say nothing about a face.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from torch import Tensor

from styleclip_cli.measure.relevance import Relevance

UNSURE = 0.5
"""A confidence under this one is doubted."""
_RANDOM = 100
"""Null texts of random letters."""
_NOUNS = [
    "acid",
    "acre",
    "aisle",
    "alloy",
    "anvil",
    "apricot",
    "asphalt",
    "atlas",
    "axle",
    "bamboo",
    "banner",
    "barge",
    "barley",
    "basin",
    "beacon",
    "boulder",
    "brick",
    "bronze",
    "bucket",
    "buoy",
    "cabin",
    "cable",
    "canal",
    "canoe",
    "cargo",
    "cathedral",
    "cellar",
    "chalk",
    "chapel",
    "cliff",
    "clutch",
    "coal",
    "comet",
    "compass",
    "concrete",
    "copper",
    "corridor",
    "crane",
    "crate",
    "creek",
    "dam",
    "delta",
    "desk",
    "diesel",
    "dock",
    "drain",
    "dune",
    "factory",
    "fence",
    "ferry",
    "fjord",
    "forge",
    "foundry",
    "fuse",
    "garage",
    "garden",
    "gear",
    "granite",
    "gravel",
    "grid",
    "gutter",
    "hangar",
    "harvest",
    "hinge",
    "hotel",
    "inlet",
    "iron",
    "kayak",
    "keel",
    "kiosk",
    "lagoon",
    "lawn",
    "lever",
    "library",
    "lighthouse",
    "lime",
    "lock",
    "loom",
    "lumber",
    "marsh",
    "mast",
    "meadow",
    "meteor",
    "mill",
    "mine",
    "moat",
    "motor",
    "nickel",
    "oasis",
    "orchard",
    "orbit",
    "pasture",
    "pebble",
    "pier",
    "pipeline",
    "piston",
    "planet",
    "plaza",
    "plough",
    "pond",
    "prairie",
    "pulley",
    "pump",
    "quarry",
    "quay",
    "radar",
    "raft",
    "rail",
    "rake",
    "reef",
    "rope",
    "rudder",
    "runway",
    "sail",
    "sand",
    "satellite",
    "sewer",
    "shed",
    "shelf",
    "silo",
    "slate",
    "socket",
    "soil",
    "spade",
    "stable",
    "steam",
    "steel",
    "stove",
    "street",
    "swamp",
    "tar",
    "tile",
    "timber",
    "tin",
    "tower",
    "trailer",
    "trench",
    "tunnel",
    "turbine",
    "valve",
    "vault",
    "vineyard",
    "volcano",
    "wagon",
    "warehouse",
    "well",
    "wharf",
    "wheat",
    "winch",
    "yard",
    "zinc",
]


def null_texts() -> list[str]:
    """Texts that say nothing about a face: random letters, and nouns of things that no portrait shows.

    Returns:
        The same ones every time.
    """
    rng = random.Random(0)
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 9))) for _ in range(3 * _RANDOM)]
    strings = [" ".join(words[3 * n : 3 * n + rng.randint(1, 3)]) for n in range(_RANDOM)]
    return [*strings, *(f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}" for noun in _NOUNS)]


class NullRange(NamedTuple):
    """The largest |relevance| of null texts: its median and its 99th percentile."""

    median: float
    high: float


def null_range(relevance: Relevance, null: Tensor) -> NullRange:
    """What texts reach that mean nothing.

    Args:
        relevance: What each channel does in CLIP space.
        null: Directions of the null texts, [N, D], rows of unit length.
    """
    reached = (relevance.matrix.float() @ null.float().T).abs().amax(dim=0)
    return NullRange(float(reached.median()), float(reached.quantile(0.99)))


def confidence(relevance: Relevance, text_direction: Tensor, null: NullRange) -> float:
    """How far a text's largest |relevance| is above what texts reach that mean nothing.

    With m the median and q the 99th percentile of the null texts' largest |relevance|, a text that reaches r
    has (r - m) / 2 (q - m): 0 at the median, 0.5 where one null text in a hundred is, 1 as far again above.

    Args:
        relevance: What each channel does in CLIP space.
        text_direction: [D], unit length.
        null: What texts reach that mean nothing.

    Returns:
        From 0 to 1; under `UNSURE` the pack may not know the text.
    """
    reached = float((relevance.matrix.float() @ text_direction.detach().cpu().float()).abs().max())
    return min(max((reached - null.median) / (2 * max(null.high - null.median, 1e-6)), 0.0), 1.0)


def similar_sentence(target: str, neutral: str, words: Sequence[str]) -> str | None:
    """What a sentence may have meant, of those that a pack says it knows.

    Args:
        target: As it was resolved.
        neutral: The text it starts from, which may be part of it.
        words: The pack's.

    Returns:
        The closest; None if none is close.
    """
    bare = " ".join(target.casefold().replace(neutral.casefold(), " ").split())
    found = get_close_matches(bare, words, n=1, cutoff=0.75)
    if not found:  # "glases": only the noun was typed
        shorter = {word.split(" ", 1)[-1]: word for word in reversed(words)}
        found = [shorter[word] for word in get_close_matches(bare, shorter, n=1, cutoff=0.75)]
    return next((word for word in found if word != bare), None)
