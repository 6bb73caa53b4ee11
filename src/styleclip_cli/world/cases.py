"""What is asked of the people of the world: sentences, and photo edits, with what counts as their success."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from styleclip_cli.truth import cases
from styleclip_cli.truth.cases import Attributes, PhotoEdit, Sight, Target, less, with_implied
from styleclip_cli.world.attributes import NAMES, shown, visibility

IMPLIED = Path(__file__).parent / "implied.toml"
"""What words bring along, computed by `python -m world_training.implied people` before any method was run."""
_BARE_HEAD = {"hat": (-math.inf, 0.25)}
_HAIR = _BARE_HEAD | {"hair_length": (0.2, math.inf), "baldness": (-math.inf, 0.25)}
_NATURAL = _HAIR | {"hair_dye": (-math.inf, 0.25), "hair_grey": (-math.inf, 0.25)}
_GROWN = {"age": (0.3, math.inf)}
_MEN = _GROWN | {"feminine": (-math.inf, 0.35)}


class Case(cases.Case):
    """An edit of the world's people."""

    attributes = Attributes(NAMES, shown, visibility)
    sights: ClassVar[Mapping[str, Sight]] = {
        "hair_length": Sight(ranges=_BARE_HEAD),
        "baldness": Sight(ranges=_HAIR | _GROWN),
        "hair_curl": Sight(ranges=_HAIR),
        "hair_grey": Sight(ranges=_HAIR | {"hair_dye": (-math.inf, 0.25)}),
        "hair_red": Sight(ranges=_NATURAL),
        "hair_light": Sight(ranges=_NATURAL | {"hair_red": (-math.inf, 0.25)}),
        "hair_dye": Sight(ranges=_HAIR),
        "hair_hue": Sight(visible=-1),  # seen once the hair is dyed
        "beard": Sight(ranges=_MEN),
        "moustache": Sight(ranges=_MEN),
        "makeup": Sight(ranges=_GROWN),
        "lipstick": Sight(ranges=_GROWN),
    }


# A presence is there from one half on; an amount has arrived two thirds of the way. The neutral text says
# what the face is before, as far as the edit is about it.
_CASES = (
    Case.of("with glasses", "glasses"),
    Case.of("without glasses", less("glasses"), neutral="face with glasses"),
    Case.of("with sunglasses", "sunglasses"),
    Case.of("with a beard", "beard"),
    Case.of("clean-shaven", less("beard"), neutral="face with a beard"),
    Case.of("with a moustache", "moustache"),
    Case.of("with a hat", "hat"),
    Case.of("without a hat", less("hat"), neutral="face with a hat"),
    Case.of("with earrings", "earrings"),
    Case.of("with makeup", "makeup"),
    Case.of("without makeup", less("makeup"), neutral="face with makeup"),
    Case.of("with red lipstick", "lipstick"),
    Case.of("with an open mouth", "mouth_open"),
    Case.of("with bangs", "fringe"),
    Case.of("with red hair", "hair_red"),
    Case.of("with grey hair", "hair_grey"),
    Case.of("with blond hair", Target("hair_light", bar=0.67), neutral="face with black hair"),
    Case.of("with black hair", less("hair_light", 0.25), neutral="face with blond hair"),
    Case.of("with purple hair", "hair_dye", Target("hair_hue", at=0.27, bar=0.16)),
    Case.of("with long hair", Target("hair_length", bar=0.6)),
    Case.of("a bald head", "baldness", neutral="a head with hair"),
    Case.of("with curly hair", Target("hair_curl", bar=0.67)),
    Case.of("with straight hair", less("hair_curl", 0.27), neutral="face with curly hair"),
    Case.of("smiling", "smile"),
    Case.of("sad", "sad"),
    Case.of("angry", "angry"),
    Case.of("surprised", "surprised"),
    Case.of("an old person", Target("age", bar=0.72), neutral="a person"),
    Case.of("a young person", less("age", 0.4), neutral="an old person"),
    Case.of("a child", less("age", 0.2), neutral="a person"),
    Case.of("a woman", Target("feminine", bar=0.67), neutral="a man"),
    Case.of("a man", less("feminine", 0.33), neutral="a woman"),
    Case.of("with wrinkles", "wrinkles"),
    Case.of("with freckles", "freckles"),
    Case.of("with dark skin", Target("skin_tone", bar=0.67)),
    Case.of("with blue eyes", Target("eye_light", bar=0.67)),
    Case.of("with big eyes", Target("eye_size", bar=0.67)),
    Case.of("with thick eyebrows", Target("brow_thickness", bar=0.67)),
    Case.of("with full lips", Target("lip_fullness", bar=0.67)),
    Case.of("with a wide nose", Target("nose_width", bar=0.67)),
    Case.of("with glasses and a hat", "glasses", "hat"),
    Case.of("with a beard and a moustache", "beard", "moustache"),
    Case.of("with makeup and earrings", "makeup", "earrings"),
    Case.of("smiling with an open mouth", "smile", "mouth_open"),
    Case.of("an old person with glasses", Target("age", bar=0.72), "glasses", neutral="a person"),
)


CASES = with_implied(_CASES, IMPLIED)
EDITS = (
    PhotoEdit("smiling", "face", "smile", 0.0, 1.0),
    PhotoEdit("sad", "face", "sad", 0.0, 1.0),
    PhotoEdit("a bald head", "a head with hair", "baldness", 0.0, 1.0),
    PhotoEdit("with bangs", "face", "fringe", 0.0, 1.0),
    PhotoEdit("with long hair", "face", "hair_length", 0.3, 0.9),
    PhotoEdit("without glasses", "face with glasses", "glasses", 1.0, 0.0),
    PhotoEdit("with a hat", "face", "hat", 0.0, 1.0),
    PhotoEdit("with a beard", "face", "beard", 0.0, 1.0),
    PhotoEdit("with an open mouth", "face", "mouth_open", 0.0, 1.0),
    PhotoEdit("with glasses", "face", "glasses", 0.0, 1.0, vanishes=False),
    PhotoEdit("with red lipstick", "face", "lipstick", 0.0, 1.0, vanishes=False),
    PhotoEdit("with red hair", "face", "hair_red", 0.0, 1.0, vanishes=False),
)
BARE = (
    *("sunglasses", "glasses", "hat", "beard", "moustache", "stubble", "baldness"),
    *("smile", "sad", "angry", "surprised", "mouth_open", "fringe", "hair_grey", "hair_red", "hair_dye"),
)
"""What no face in a photo has that is not edited."""
