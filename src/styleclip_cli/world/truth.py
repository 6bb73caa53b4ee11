"""The world, as evaluations need it; its people are rows of attributes and, after them, a texture."""

from __future__ import annotations

import torch
from torch import Tensor

from styleclip_cli.truth.worlds import World
from styleclip_cli.world.attributes import COUNT
from styleclip_cli.world.cases import BARE, CASES, EDITS, Case
from styleclip_cli.world.networks import Judge
from styleclip_cli.world.population import persons
from styleclip_cli.world.renderer import render
from styleclip_cli.world.scenes import draw, make_scene

_EACH = 64  # people of one seed before they would be those of the next
RESOLUTION = 256


def people(seed: int, n: int) -> Tensor:
    """People of the population, [n, K + 8]."""
    return torch.cat(persons(torch.arange(n) + seed * _EACH), dim=1)


def render_people(people: Tensor, backdrop: Tensor | None = None) -> Tensor:
    """Pictures of people [N, K + 8]."""
    return render(people[:, :COUNT], RESOLUTION, texture=people[:, COUNT:], backdrop=backdrop)


WORLD = World(
    attributes=Case.attributes,
    cases=CASES,
    photo_edits=EDITS,
    bare=BARE,
    resolution=RESOLUTION,
    people=people,
    render=render_people,
    judge=Judge.from_state_dict,
    make_scene=make_scene,
    draw_scene=draw,
)
