"""Train the landmark networks: a finder of faces in photos, and a regressor of one face's points."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from styleclip_cli.world import scenes
from styleclip_cli.world.landmarks import landmarks
from styleclip_cli.world.population import persons
from toyworld_training.landmarks import fit_finder, fit_regressor, shaped
from toyworld_training.shots import patch, photo
from world_training.data import Pictures
from world_training.generator import HELD_OUT
from world_training.shots import drawn

_WIDTHS = (16, 32, 64, 96, 128)  # the judge's


def train_regressor(
    _: Pictures, folder: Path, judge: dict[str, Tensor], steps: int = 3200, batch: int = 48
) -> dict[str, Tensor]:
    """Train on crops around faces and return the weights.

    Args:
        _: The pairs of pictures, which are not used.
        folder: Data and checkpoints.
        judge: Weights of the judge, whose eyes it starts with: its own would take hours to see more than
            the outline.
        steps: Of training.
        batch: Crops in one.
    """
    shots = drawn(folder, "patches")
    torch.manual_seed(21)
    net = shaped(landmarks(persons(range(4096))[0]), least=2e-2, widths=_WIDTHS)
    net.load_state_dict({k: v for k, v in judge.items() if k.startswith(("stem.", "stages."))}, strict=False)
    held = [patch(HELD_OUT + i, scenes) for i in range(256)]
    return fit_regressor(net, shots, held, folder, steps, batch)


def train_finder(_: Pictures, folder: Path, steps: int = 2800, batch: int = 8) -> dict[str, Tensor]:
    """Train on whole photos and return the weights; the pairs of pictures are not used."""
    shots = drawn(folder, "photos")
    held = [photo(HELD_OUT + i, scenes) for i in range(96)]
    return fit_finder(shots, held, folder, steps, batch)
