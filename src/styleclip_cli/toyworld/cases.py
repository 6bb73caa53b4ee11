"""What is asked of toy faces: sentences, and photo edits, with what counts as their success."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from styleclip_cli.toyworld.attributes import NAMES, shown, visibility
from styleclip_cli.truth import cases
from styleclip_cli.truth.cases import Attributes, PhotoEdit, Sight, Target, less, with_implied

IMPLIED = Path(__file__).parent / "implied.toml"
"""What words bring along, computed by `python -m world_training.implied toy` before any method was run."""
_HAIR = {"hair_length": (0.35, math.inf), "hat": (-math.inf, 0.25)}
_NOT_GREY = {"hair_grey": (-math.inf, 0.25)}


class Case(cases.Case):
    """An edit of toy faces."""

    attributes = Attributes(NAMES, shown, visibility)
    sights: ClassVar[Mapping[str, Sight]] = {
        "hair_length": Sight(visible=0.0, ranges={"hat": (-math.inf, 0.25)}),
        "hair_volume": Sight(ranges=_HAIR),
        "hair_grey": Sight(ranges=_HAIR),
        "hair_red": Sight(ranges=_HAIR | _NOT_GREY),
        "hair_light": Sight(ranges=_HAIR | _NOT_GREY | {"hair_red": (-math.inf, 0.25)}),
    }


# A presence is there from one half on; an amount has arrived two thirds of the way. The neutral text says
# what the face is before, as far as the edit is about it. Freckles and wrinkles are not asked for: the
# renderer draws them, but the toy generator has not learned to.
_CASES = (
    Case.of("with glasses", "glasses"),
    Case.of("without glasses", less("glasses"), neutral="face with glasses"),
    Case.of("with sunglasses", "sunglasses"),
    Case.of("without sunglasses", less("sunglasses"), neutral="face with sunglasses"),
    Case.of("with a beard", "beard"),
    Case.of("clean-shaven", less("beard")),
    Case.of("with a moustache", "moustache"),
    Case.of("without a moustache", less("moustache"), neutral="face with a moustache"),
    Case.of("with a hat", "hat"),
    Case.of("without a hat", less("hat"), neutral="face with a hat"),
    Case.of("with earrings", "earrings"),
    Case.of("without earrings", less("earrings"), neutral="face with earrings"),
    Case.of("with makeup", "makeup"),
    Case.of("without makeup", less("makeup"), neutral="face with makeup"),
    Case.of("with red lipstick", "lipstick"),
    Case.of("without lipstick", less("lipstick"), neutral="face with lipstick"),
    Case.of("with an open mouth", "mouth_open"),
    Case.of("with a closed mouth", less("mouth_open"), neutral="face with an open mouth"),
    Case.of("with bangs", "fringe"),
    Case.of("without bangs", less("fringe"), neutral="face with bangs"),
    Case.of("with red hair", "hair_red"),
    Case.of("with grey hair", "hair_grey"),
    Case.of("with blond hair", Target("hair_light", bar=0.67), neutral="face with black hair"),
    Case.of("with black hair", less("hair_light", 0.33), neutral="face with blond hair"),
    Case.of("with long hair", Target("hair_length", bar=0.67)),
    Case.of("a bald head", less("hair_length", 0.2), neutral="a head with hair"),
    Case.of("with voluminous hair", Target("hair_volume", bar=0.67)),
    Case.of("smiling", Target("smile", bar=0.67)),
    Case.of("sad", less("smile", 0.33)),
    Case.of("with dark skin", Target("skin_tone", bar=0.67)),
    Case.of("with pale skin", less("skin_tone", 0.33)),
    Case.of("with blue eyes", Target("eye_blue", bar=0.67)),
    Case.of("with brown eyes", less("eye_blue", 0.33)),
    Case.of("with big eyes", Target("eye_size", bar=0.67)),
    Case.of("with small eyes", less("eye_size", 0.33)),
    Case.of("with thick eyebrows", Target("brow_thickness", bar=0.67)),
    Case.of("with thin eyebrows", less("brow_thickness", 0.33)),
    Case.of("with a wide nose", Target("nose_width", bar=0.67)),
    Case.of("with a narrow nose", less("nose_width", 0.33)),
    Case.of("with a wide mouth", Target("mouth_width", bar=0.67)),
    Case.of("with glasses and a hat", "glasses", "hat"),
    Case.of("with a beard and a moustache", "beard", "moustache"),
    Case.of("with makeup and earrings", "makeup", "earrings"),
    Case.of("smiling with an open mouth", Target("smile", bar=0.67), "mouth_open"),
    Case.of("with red hair and blue eyes", "hair_red", Target("eye_blue", bar=0.67)),
)


CASES = with_implied(_CASES, IMPLIED)
EDITS = (
    PhotoEdit("smiling", "face", "smile", 0.25, 1.0),
    PhotoEdit("sad", "face", "smile", 0.75, 0.0),
    PhotoEdit("a bald head", "a head with hair", "hair_length", 0.45, 0.0),
    PhotoEdit("with bangs", "face", "fringe", 0.0, 1.0),
    PhotoEdit("with long hair", "face", "hair_length", 0.4, 1.0),
    PhotoEdit("without glasses", "face with glasses", "glasses", 1.0, 0.0),
    PhotoEdit("with a hat", "face", "hat", 0.0, 1.0),
    PhotoEdit("with a beard", "face", "beard", 0.0, 1.0),
    PhotoEdit("with an open mouth", "face", "mouth_open", 0.0, 1.0),
    PhotoEdit("with glasses", "face", "glasses", 0.0, 1.0, vanishes=False),
    PhotoEdit("with red lipstick", "face", "lipstick", 0.0, 1.0, vanishes=False),
    PhotoEdit("with red hair", "face", "hair_red", 0.0, 1.0, vanishes=False),
)
BARE = (
    *("sunglasses", "glasses", "hat", "beard", "moustache"),
    *("mouth_open", "fringe", "hair_grey", "hair_red"),
)
"""What no face has that is not edited."""
