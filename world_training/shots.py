"""Pictures of people in photos, on disk: whole photos, patches around faces, crops as `align` cuts them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from styleclip_cli.photo.align import cut
from styleclip_cli.photo.read import to_tensor
from styleclip_cli.save import to_image
from styleclip_cli.world import scenes
from toyworld_training.shots import Kind, Shots, kinds
from world_training.data import draw_on_all_cores
from world_training.people import Z_DIM, person

CROP_SIDE = 128
SIZES = {"patches": 10_000, "photos": 5_000, "crops": 4_096}


def crop(number: int) -> tuple[Tensor, NDArray[np.float64]]:
    """A face as an encoder sees it, cut out of a photo, [3, 128, 128], and the z that the person stands for.

    What is cut is the square that the generator draws: in the population, FFHQ's square is turned against
    it by 2 degrees (standard deviation), moved by 2 % and scaled by 5 %, as much as landmarks may be off.
    """
    rng = np.random.default_rng((number, 3))
    z = torch.randn(1, Z_DIM, generator=torch.Generator().manual_seed(1_000_003 * number + 29))
    attributes, texture = (rows[0] for rows in person(z))
    scene = scenes.make_scene(number, count=1, size=(0.1, 0.9), out_of_frame=False)
    face = dataclasses.replace(scene.faces[0], attributes=attributes, texture=texture)
    wanted = CROP_SIDE * math.exp(rng.uniform(math.log(0.6), math.log(1.4)))
    scene = dataclasses.replace(scene, faces=(face,)).scaled(min(1.0, wanted / face.side))
    frame = scene.faces[0].frame
    margin = 0.2 * scene.faces[0].side  # what `cut` looks at beside the frame
    low = np.maximum(np.floor(frame.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(frame.max(axis=0) + margin), (scene.width, scene.height)).astype(int)
    y, x = torch.meshgrid(torch.arange(low[1], high[1]), torch.arange(low[0], high[0]), indexing="ij")
    photo = to_image(scenes.draw(scene, torch.stack([x, y], dim=-1) + 0.5))
    return to_tensor(cut(photo, frame - low - 0.5, CROP_SIDE), CROP_SIDE)[0], z[0].double().numpy()


def kind_of(what: str) -> Kind:
    """How pictures of this kind are made."""
    return Kind(crop, CROP_SIDE, (Z_DIM,)) if what == "crops" else kinds(scenes)[what]


def shots_of(folder: Path | str, what: str) -> Shots:
    """Pictures on disk, of which some may not be drawn yet."""
    return Shots(Path(folder) / "shots", what, SIZES[what], kind_of(what))


def drawn(folder: Path, what: str) -> Shots:
    """Pictures on disk, drawn."""
    if shots_of(folder, what).ready < SIZES[what]:
        draw_on_all_cores("world_training.shots:shots_of", folder, what)
    return shots_of(folder, what)
