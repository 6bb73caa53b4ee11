"""The toy world, as evaluations need it."""

from __future__ import annotations

import torch
from torch import Tensor

from styleclip_cli.toyworld.attributes import COUNT, attributes_of_normals
from styleclip_cli.toyworld.cases import BARE, CASES, EDITS, Case
from styleclip_cli.toyworld.networks import RESOLUTION, Judge
from styleclip_cli.toyworld.renderer import render
from styleclip_cli.toyworld.scenes import draw, make_scene
from styleclip_cli.truth.worlds import World


def people(seed: int, n: int) -> Tensor:
    """Faces of the population, [n, 32]."""
    return attributes_of_normals(torch.randn(n, COUNT, generator=torch.Generator().manual_seed(seed)))


WORLD = World(
    attributes=Case.attributes,
    cases=CASES,
    photo_edits=EDITS,
    bare=BARE,
    resolution=RESOLUTION,
    people=people,
    render=lambda people, backdrop=None: render(people, backdrop=backdrop),
    judge=Judge.from_state_dict,
    make_scene=make_scene,
    draw_scene=draw,
)
