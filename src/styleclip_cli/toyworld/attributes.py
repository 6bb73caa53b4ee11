"""What a toy face is: 32 named amounts in [0, 1], how they are distributed, and what hides what."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Attribute:
    """One independent amount of a toy face.

    Attributes:
        name: Name in code and in reports.
        presence: True for things that are there or not (glasses); they fade in over a short range.
        identity: True for the bone structure that makes the person; an edit should leave it alone.
    """

    name: str
    presence: bool = False
    identity: bool = False


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("skin_tone"),  # pale .. dark
    Attribute("face_width", identity=True),
    Attribute("face_height", identity=True),
    Attribute("hair_light"),  # black .. brown .. blond
    Attribute("hair_red", presence=True),
    Attribute("hair_grey", presence=True),
    Attribute("hair_length"),  # bald .. short .. long
    Attribute("hair_volume"),
    Attribute("fringe", presence=True),
    Attribute("eye_size", identity=True),
    Attribute("eye_spacing", identity=True),
    Attribute("eye_blue"),  # brown .. blue
    Attribute("brow_thickness", identity=True),
    Attribute("nose_width", identity=True),
    Attribute("mouth_width", identity=True),
    Attribute("smile"),  # frown .. smile
    Attribute("mouth_open", presence=True),  # closed .. open, with teeth
    Attribute("lipstick", presence=True),
    Attribute("makeup", presence=True),  # eye shadow and blush
    Attribute("glasses", presence=True),
    Attribute("sunglasses", presence=True),
    Attribute("beard", presence=True),
    Attribute("moustache", presence=True),
    Attribute("wrinkles", presence=True),
    Attribute("hat", presence=True),
    Attribute("earrings", presence=True),
    Attribute("freckles", presence=True),
    Attribute("background_warm"),  # blue .. orange
    Attribute("background_light"),  # dark .. bright
    Attribute("light"),  # lit from the left .. from the right
    Attribute("clothes"),  # blue .. red
    Attribute("texture"),  # pattern of the backdrop; nothing else depends on it
)
NAMES: tuple[str, ...] = tuple(attribute.name for attribute in ATTRIBUTES)
COUNT = len(ATTRIBUTES)
INDEX: dict[str, int] = {name: index for index, name in enumerate(NAMES)}
IDENTITY: tuple[int, ...] = tuple(i for i, attribute in enumerate(ATTRIBUTES) if attribute.identity)

_PRESENCE = torch.tensor([attribute.presence for attribute in ATTRIBUTES])


def attributes_of_normals(u: Tensor, presence_rate: float = 0.25) -> Tensor:
    """Map standard normal numbers to attributes.

    Amounts are spread evenly; presences are mostly clearly absent or clearly present. Both reach a
    little past [0, 1], where the renderer saturates, so that a generator learns to saturate too.

    Args:
        u: Normal numbers, shape [N, 32].
        presence_rate: Probability that a presence is at least half there.

    Returns:
        Attributes, shape [N, 32], within [-0.1, 1.1].
    """
    even = torch.special.ndtr(u) * 1.2 - 0.1
    threshold = -torch.special.ndtri(torch.tensor(presence_rate, dtype=u.dtype))
    sharp = 0.5 + 0.6 * torch.tanh(2.5 * (u - threshold))
    return torch.where(_PRESENCE.to(u.device), sharp, even)


def visibility(attributes: Tensor) -> Tensor:
    """How far each attribute can be seen at all in the picture that the attributes give.

    Sunglasses hide eyes, a bald head has no hair colour, a hat hides fringe and hair volume,
    fringe, brim and dark lenses cover the brows; a hidden attribute can neither be judged nor leak.

    Args:
        attributes: Shape [N, 32], any range (saturated to [0, 1]).

    Returns:
        Shape [N, 32], 1 = in plain sight, 0 = hidden.
    """
    a = attributes.clamp(0, 1)
    seen = torch.ones_like(a)

    def of(name: str) -> Tensor:
        return a[:, INDEX[name]]

    def hide(names: str, amount: Tensor) -> None:
        for name in names.split():
            seen[:, INDEX[name]] *= 1 - amount.clamp(0, 1)

    bald = ((0.30 - of("hair_length")) / 0.15).clamp(0, 1)
    hide("hair_light hair_red hair_grey hair_volume fringe", bald)
    hide("hair_light", torch.maximum(of("hair_red"), of("hair_grey")))
    hide("hair_red", of("hair_grey"))
    hide("hair_volume fringe", of("hat") * 2)
    hide("hair_light hair_red hair_grey", of("hat") * ((0.5 - of("hair_length")) / 0.1).clamp(0, 1))
    hide("hair_length", of("hat") * 0.9)
    hide("eye_size eye_blue glasses", of("sunglasses") * 2)
    hide("eye_spacing", of("sunglasses"))
    hide("brow_thickness", of("fringe") * (1 - bald))
    hide("brow_thickness", of("hat"))
    hide("brow_thickness", of("sunglasses"))
    return seen


def shown(attributes: Tensor) -> Tensor:
    """What can be read off the picture: presences as they fade in (between 0.25 and 0.75), amounts saturated.

    Args:
        attributes: Shape [N, 32], any range.

    Returns:
        Shape [N, 32] in [0, 1]; this is what judges and encoders are trained to see.
    """
    a = attributes.clamp(0, 1)
    faded = ((a - 0.25) / 0.5).clamp(0, 1)
    return torch.where(_PRESENCE.to(a.device), faded * faded * (3 - 2 * faded), a)
