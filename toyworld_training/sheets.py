"""Sheets of drawn people: `python -m toyworld_training.sheets FOLDER` draws all of them."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from styleclip_cli.machine.atomic import atomic
from styleclip_cli.machine.memory import disable_malloc_trim
from styleclip_cli.toyworld.attributes import COUNT, attributes_of_normals
from styleclip_cli.toyworld.renderer import render as render_old
from styleclip_cli.world.attributes import INDEX, NAMES
from styleclip_cli.world.parsing import CLASSES, parse
from styleclip_cli.world.population import persons
from styleclip_cli.world.renderer import render

_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
_BATCH = 2


def tiled(pictures: Tensor, columns: int) -> Image.Image:
    """Pictures [N, 3, H, W] in [-1, 1], row by row."""
    count, _, height, width = pictures.shape
    sheet = Image.new("RGB", (columns * width, -(-count // columns) * height))
    values = ((pictures + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    for i, value in enumerate(values):
        sheet.paste(Image.fromarray(value), (i % columns * width, i // columns * height))
    return sheet


def pictures(attributes: Tensor, texture: Tensor, size: int) -> Tensor:
    """Pictures of any number of people."""
    both = zip(attributes.split(_BATCH), texture.split(_BATCH), strict=True)
    return torch.cat([render(a, size, texture=t) for a, t in both])


def new_people(count: int, size: int, first: int = 0) -> Tensor:
    """People of the world with consecutive seeds."""
    return pictures(*persons(range(first, first + count)), size)


def old_people(count: int, size: int, first: int = 0) -> Tensor:
    """Faces of the first toy world."""
    normals = torch.randn(count, COUNT, generator=torch.Generator().manual_seed(first))
    return render_old(attributes_of_normals(normals), size)


def one_attribute(name: str, size: int, seeds: tuple[int, ...]) -> Tensor:
    """The same people with one attribute at five steps: a row each."""
    a, t = persons(seeds)
    a = a.repeat_interleave(len(_STEPS), dim=0)
    a[:, INDEX[name]] = torch.tensor(_STEPS).repeat(len(seeds))
    return pictures(a, t.repeat_interleave(len(_STEPS), dim=0), size)


def maps(count: int, size: int, first: int = 0) -> Tensor:
    """Parsing maps in colours."""
    a, t = persons(range(first, first + count))
    hues = np.linspace(0, 1, len(CLASSES), endpoint=False)
    colours = np.stack([np.abs((hues * 3 + k) % 3 - 1.5) / 0.75 - 1 for k in range(3)], axis=1)
    colours[0] = -1
    return torch.from_numpy(colours).float()[parse(a, size, texture=t).long()].permute(0, 3, 1, 2)


def main() -> None:
    """Draw the sheets into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--attribute", choices=NAMES, nargs="*", default=NAMES)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    disable_malloc_trim()
    _save(tiled(new_people(64, options.size), 8), options.folder / "people.png")
    _save(tiled(old_people(64, options.size), 8), options.folder / "old.png")
    _save(tiled(maps(16, options.size), 8), options.folder / "maps.png")
    for name in options.attribute:
        pictures_of = one_attribute(name, options.size, (3, 9, 17, 24, 33, 52))
        _save(tiled(pictures_of, 2 * len(_STEPS)), options.folder / f"{name}.png")


def _save(sheet: Image.Image, path: Path) -> None:
    with atomic(path) as temporary:
        sheet.save(temporary, "PNG")


if __name__ == "__main__":
    main()
