"""Worlds: populations whose pictures can be drawn, so that the truth about each picture is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from styleclip_cli.errors import UsageError
from styleclip_cli.truth.cases import Attributes, Case, PhotoEdit
from styleclip_cli.weights.files import load_weights

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine
    from styleclip_cli.weights.packs import Pack

ROOMS = {"toy": "styleclip_cli.toyworld.truth", "people": "styleclip_cli.world.truth"}
"""Where the `WORLD` is that a pack names."""


class Render(Protocol):
    """Draws people [N, K or more], before a backdrop [N, 3, R, R] or their own: [N, 3, R, R] in [-1, 1]."""

    def __call__(self, people: Tensor, backdrop: Tensor | None = None) -> Tensor:
        """Draw."""


@dataclass(frozen=True, eq=False)
class World:
    """What an evaluation needs of a world.

    Attributes:
        attributes: What can be known of its people.
        cases: What is asked.
        photo_edits: What is asked of photos.
        bare: Attributes that no face in those photos has, unless they are edited.
        resolution: Side of its pictures.
        people: Takes a seed and a number N; gives people [N, K or more], their attributes first.
        render: Draws them.
        judge: Builds its judge from weights.
        make_scene: Thinks up a photo from a seed; see `toyworld.scenes.make_scene`.
        draw_scene: Draws it, [3, H, W].
    """

    attributes: Attributes
    cases: tuple[Case, ...]
    photo_edits: tuple[PhotoEdit, ...]
    bare: tuple[str, ...]
    resolution: int
    people: Callable[[int, int], Tensor]
    render: Render
    judge: Callable[[dict[str, Tensor]], nn.Module]
    make_scene: Callable[..., Any]
    draw_scene: Callable[..., Tensor]


def world_of(pack: Pack) -> World:
    """The world that a pack's people live in.

    Args:
        pack: Of one of the worlds of `ROOMS`.

    Returns:
        The world.

    Raises:
        UsageError: If the pack is of no world, or has no judge.
    """
    if "judge" not in pack.components or not pack.world:
        raise UsageError(
            f"the model pack {pack.name} has no judge: its faces have no known truth", "--models toy"
        )
    found = import_module(ROOMS[pack.world]).WORLD
    assert isinstance(found, World)
    return found


def load_judge(engine: Engine) -> nn.Module:
    """The judge of an engine's pack, which no edit ever sees.

    Args:
        engine: Of a world.

    Returns:
        Pictures [N, 3, H, W] in [-1, 1] -> what they show, [N, K] in [0, 1].

    Raises:
        UsageError: If the pack is of no world, or has no judge.
        WeightsError: If its weights are not a judge's.
    """
    world = world_of(engine.pack)
    return world.judge(load_weights(engine.pack.component("judge"))[0]).to(engine.device)
