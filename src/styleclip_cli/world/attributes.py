"""What a person of the world is: named amounts in [0, 1], and what hides what in a picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Attribute:
    """One amount of a person, or of how their picture was taken.

    Attributes:
        name: Name in code and in reports.
        low: What 0 looks like.
        high: What 1 looks like.
        presence: True for things that are there or not (glasses); they fade in between 0.25 and 0.75.
        group: "cause" (age, sex), "identity" (bones and colours that make the person), "hair", "worn",
            "expression", or "photo" (pose, light, background).
    """

    name: str
    low: str
    high: str
    group: str
    presence: bool = False


def _group(group: str, *lines: str) -> tuple[Attribute, ...]:
    """Attributes from lines `name: low, high`; a presence is written with a `?`."""
    made = []
    for line in lines:
        name, ends = line.split(": ")
        low, high = ends.split(", ")
        made.append(Attribute(name.rstrip("?"), low, high, group, name.endswith("?")))
    return tuple(made)


ATTRIBUTES: tuple[Attribute, ...] = (
    *_group("cause", "age: child, old", "feminine: man, woman"),
    *_group(
        "identity",
        "skin_tone: pale, dark",
        "freckles?: none, many",
        "wrinkles?: none, deep",
        "face_width: narrow, wide",
        "face_length: short, long",
        "jaw: pointed, square",
        "cheeks: hollow, full",
        "ears: small, large",
        "eye_size: small, large",
        "eye_spacing: close, wide",
        "eye_tilt: drooping, upturned",
        "lid_fold: open crease, single lid",
        "eye_light: dark brown, light blue",
        "lashes: short, long",
        "brow_thickness: thin, bushy",
        "brow_arch: flat, arched",
        "nose_width: narrow, wide",
        "nose_length: short, long",
        "mouth_width: narrow, wide",
        "lip_fullness: thin, full",
    ),
    *_group(
        "hair",
        "hair_length: shaved, long",
        "baldness?: full hair, bald",
        "hair_light: black, blond",
        "hair_red?: not red, red",
        "hair_grey?: not grey, grey",
        "hair_dye?: natural, dyed",
        "hair_hue: pink, green",  # through purple and blue
        "hair_curl: straight, curly",
        "hair_volume: flat, full",
        "fringe?: none, fringe",
        "beard?: none, full",
        "moustache?: none, full",
        "stubble?: none, stubble",
    ),
    *_group(
        "worn",
        "makeup?: none, heavy",
        "lipstick?: none, red",
        "earrings?: none, earrings",
        "glasses?: none, glasses",
        "sunglasses?: none, dark glasses",
        "glasses_round: square, round",
        "hat?: none, hat",
        "hat_kind: knitted cap, brimmed hat",
        "hat_hue: red, purple",  # through yellow, green and blue
        "clothes_hue: red, purple",
        "clothes_light: black, white",
        "collar: round neck, shirt collar",
    ),
    *_group(
        "expression",
        "smile?: none, smiling",
        "sad?: none, sad",
        "angry?: none, angry",
        "surprised?: none, surprised",
        "mouth_open?: closed, open",
    ),
    *_group(
        "photo",
        "yaw: turned left, turned right",
        "pitch: head down, head up",
        "roll: leaning left, leaning right",
        "scale: far, near",
        "shift_x: left, right",
        "shift_y: up, down",
        "light: from the left, from the right",
        "light_height: from the side, from above",
        "light_warm: cool, warm",
        "background_warm: blue, orange",
        "background_light: dark, bright",
        "background_kind: smooth, shapes",
    ),
)
NAMES: tuple[str, ...] = tuple(attribute.name for attribute in ATTRIBUTES)
COUNT = len(ATTRIBUTES)
INDEX: dict[str, int] = {name: index for index, name in enumerate(NAMES)}
IDENTITY: tuple[int, ...] = tuple(i for i, a in enumerate(ATTRIBUTES) if a.group == "identity")
PRESENCE: tuple[bool, ...] = tuple(attribute.presence for attribute in ATTRIBUTES)
TEXTURES = 8
"""How many numbers place strands, pores, folds and lights."""


def plain(count: int = 1, **changes: float) -> Tensor:
    """A grown person with nothing worn and everything else in the middle.

    Args:
        count: How many.
        changes: Amounts by name.

    Returns:
        Shape [count, K].
    """
    values = {a.name: 0.0 if a.presence else 0.5 for a in ATTRIBUTES} | {"hair_hue": 0.3} | changes
    return torch.tensor([[values[name] for name in NAMES]]).repeat(count, 1)


def mirrored(attributes: Tensor) -> Tensor:
    """Attributes [..., K] of pictures that are mirrored; hair that is brushed to a side says nothing else."""
    sides = [INDEX[name] for name in ("yaw", "roll", "shift_x", "light")]
    flipped = attributes.clone()
    flipped[..., sides] = 1 - flipped[..., sides]
    return flipped


def faded(amount: Tensor) -> Tensor:
    """How far a presence is drawn: 0 up to 0.25, 1 from 0.75, smooth between."""
    t = ((amount - 0.25) / 0.5).clamp(0, 1)
    return t * t * (3 - 2 * t)


def shown(attributes: Tensor) -> Tensor:
    """What can be read off the picture: presences as they fade in, amounts saturated.

    Args:
        attributes: Shape [N, K], any range.

    Returns:
        Shape [N, K] in [0, 1]; this is what judges and encoders are trained to see.
    """
    a = attributes.clamp(0, 1)
    return torch.where(torch.tensor(PRESENCE, device=a.device), faded(a), a)


def visibility(attributes: Tensor) -> Tensor:
    """How far each attribute can be seen at all in the picture that the attributes give.

    A hat hides hair, dark lenses hide eyes, a turned head hides an ear, dark skin hides freckles, a beard
    hides stubble; a hidden attribute can neither be judged nor leak.

    Args:
        attributes: Shape [N, K], any range (saturated to [0, 1]).

    Returns:
        Shape [N, K], 1 = in plain sight, 0 = hidden.
    """
    a = attributes.clamp(0, 1)
    on = shown(a)
    seen = torch.ones_like(a)

    def of(name: str) -> Tensor:
        return on[:, INDEX[name]]

    def hide(names: str, amount: Tensor) -> None:
        for name in names.split():
            seen[:, INDEX[name]] *= 1 - amount.clamp(0, 1)

    length = a[:, INDEX["hair_length"]]
    shaved = ((0.16 - length) / 0.1).clamp(0, 1)
    bare = torch.maximum(of("baldness"), shaved)
    over_ears = ((length - 0.38) / 0.12).clamp(0, 1) * (1 - of("baldness"))
    under_hat = of("hat") * ((0.5 - length) / 0.1).clamp(0, 1)
    dyed = of("hair_dye")
    hide("hair_curl hair_volume fringe", bare)
    hide("hair_light hair_red hair_grey hair_dye hair_hue", torch.maximum(bare * 0.7, shaved))
    hide("hair_light hair_red hair_grey", dyed)
    hide("hair_hue", 1 - dyed)
    hide("hair_light", torch.maximum(of("hair_red"), of("hair_grey")))
    hide("hair_red", of("hair_grey"))
    hide("hair_length", of("baldness") * 0.8)
    hide("fringe baldness", of("hat"))
    hide("baldness", shaved)
    hide("mouth_open", of("surprised") * 0.8)
    hide("hair_volume", of("hat") * 0.8)
    hide("hair_light hair_red hair_grey hair_dye hair_hue hair_curl hair_length", under_hat)
    hide("ears", over_ears)
    hide("ears", of("hat") * 0.4)
    hide("ears earrings", ((a[:, INDEX["yaw"]] - 0.5).abs() * 2) ** 2 * 0.5)  # one of two is behind the head
    hide("earrings", over_ears * 0.2)
    hide("eye_size eye_light eye_tilt lid_fold lashes glasses", of("sunglasses"))
    hide("eye_spacing", of("sunglasses") * 0.8)
    hide("brow_thickness brow_arch", torch.maximum(of("fringe") * (1 - bare) * 0.8, of("hat") * 0.3))
    hide("brow_thickness brow_arch", of("sunglasses") * 0.6)
    hide("angry sad surprised", of("sunglasses") * 0.4)
    hide("glasses_round", 1 - torch.maximum(of("glasses"), of("sunglasses")))
    hide("hat_kind hat_hue", 1 - of("hat"))
    hide("stubble", torch.maximum(of("beard"), of("moustache") * 0.3))
    hide("moustache", of("beard") * 0.5)
    hide("jaw", of("beard") * 0.7)
    hide("lip_fullness", torch.maximum(of("beard"), of("moustache")) * 0.4)
    hide("freckles", ((a[:, INDEX["skin_tone"]] - 0.55) / 0.25).clamp(0, 1))
    hide("makeup", of("sunglasses") * 0.6)
    hide("clothes_hue", ((0.12 - a[:, INDEX["clothes_light"]]) / 0.08).clamp(0, 1))
    hide("clothes_hue", ((a[:, INDEX["clothes_light"]] - 0.85) / 0.08).clamp(0, 1))
    return seen
