"""The pictures on disk: pairs of people and what is where in them, drawn once for all networks."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.truth.scenes import backdrop
from styleclip_cli.world.renderer import draw
from styleclip_cli.world.scene import Part
from world_training.people import Pairs, draw_pairs

RESOLUTION = 256
PARTS = 128
"""Side of the parsing maps."""
BLOCK = 64  # pairs with a seed of their own, so that any number of workers draws the same
_AT_ONCE = 4  # more do not fit into a processor's caches


class Pictures:
    """Files in a folder, mapped.

    `images.u8`, [N, 2, 3, 256, 256]; `parts.u8`, the parsing maps, [N, 2, 128, 128]; `done.u8`, which blocks
    are there.
    """

    def __init__(self, folder: Path | str, n: int | str) -> None:
        folder, n = Path(folder), int(n)
        folder.mkdir(parents=True, exist_ok=True)
        self.n = n
        self._images = _mapped(folder / "images.u8", (n, 2, 3, RESOLUTION, RESOLUTION))
        self._parts = _mapped(folder / "parts.u8", (n, 2, PARTS, PARTS))
        self._done = _mapped(folder / "done.u8", (n // BLOCK,))

    def draw(self, worker: int = 0, workers: int = 1) -> None:
        """Draw the blocks of this worker that are not there yet."""
        for block in range(worker, self.n // BLOCK, workers):
            if self._done[block]:
                continue
            pairs = draw_pairs(block, BLOCK)
            attributes, textures = pairs.attributes.flatten(0, 1), pairs.textures.flatten(0, 1)
            parts = zip(attributes.split(_AT_ONCE), textures.split(_AT_ONCE), strict=True)
            first = block * BLOCK
            for i, (a, t) in enumerate(parts):
                with torch.inference_mode():
                    images, labels = draw(a, RESOLUTION, t, None, None, labels=True)
                assert labels is not None
                step = RESOLUTION // PARTS
                rows = slice(first + i * _AT_ONCE // 2, first + (i + 1) * _AT_ONCE // 2)
                self._images[rows] = eight_bits(images).unflatten(0, (-1, 2)).numpy()
                self._parts[rows] = labels[:, ::step, ::step].unflatten(0, (-1, 2)).numpy()
            self._done[block] = 1

    @property
    def ready(self) -> int:
        """Number of pairs, from the start, that have been drawn."""
        missing = np.flatnonzero(self._done == 0)
        return (int(missing[0]) if len(missing) else len(self._done)) * BLOCK

    @cached_property
    def people(self) -> Pairs:
        """Who is in the pictures."""
        blocks = [draw_pairs(block, BLOCK) for block in range(self.n // BLOCK)]
        parts = ("z", "fine", "attributes", "textures")
        return Pairs(*(torch.cat([getattr(block, part) for block in blocks]) for part in parts))

    def images(self, items: Tensor, members: Tensor | int, resolution: int = RESOLUTION) -> Tensor:
        """Pictures in [-1, 1], [B, 3, R, R], one member of each item."""
        rows = self._images[items.numpy(), np.asarray(members)]
        images = torch.from_numpy(np.ascontiguousarray(rows)).float() / 127.5 - 1
        return images if resolution == RESOLUTION else F.avg_pool2d(images, RESOLUTION // resolution)

    def parts(self, items: Tensor, members: Tensor) -> Tensor:
        """Parsing maps of pictures, [B, 128, 128], numbers of `parsing.CLASSES`."""
        return torch.from_numpy(self._parts[items.numpy(), members.numpy()])


def draw_on_all_cores(made: str, *arguments: object) -> None:
    """Have what takes its turn at drawing do so, with one process per core.

    Args:
        made: What makes it, as `module:name`; it has a method `draw(worker, workers)`.
        arguments: Of that, as text.

    Raises:
        SystemExit: If a process failed.
    """
    module, name = made.split(":")
    code = (
        f"import sys, torch; from {module} import {name}; torch.set_num_threads(1); "
        f"torch.set_grad_enabled(False); {name}(*sys.argv[3:]).draw(*map(int, sys.argv[1:3]))"
    )
    workers = os.cpu_count() or 1
    commands = [
        [sys.executable, "-c", code, str(worker), str(workers), *map(str, arguments)]
        for worker in range(workers)
    ]
    running = [subprocess.Popen(command) for command in commands]
    if any([process.wait() for process in running]):  # all of them end
        raise SystemExit("drawing the pictures failed")


class Backdrops:
    """Puts people before cluttered backdrops, as photos have them, for networks that look at photos.

    Args:
        n: How many backdrops.
        side: Of the pictures, in pixels.
    """

    def __init__(self, n: int, side: int) -> None:
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        where = torch.stack([x, y], dim=-1) + 0.5
        self._images = torch.stack([backdrop(_Photo(side, side, seed), where) for seed in range(n)])

    def behind(self, pictures: Tensor, parts: Tensor, rng: torch.Generator) -> Tensor:
        """Half of the pictures with another background.

        Args:
            pictures: Shape [B, 3, S, S].
            parts: Their parsing maps, shape [B, S, S].
            rng: Source of choices.
        """
        count = len(pictures)
        images = self._images[torch.randint(len(self._images), (count,), generator=rng)]
        chosen = torch.rand(count, 1, 1, 1, generator=rng) < 0.5
        mask = F.pad(((parts == Part.BACKGROUND)[:, None] & chosen).float(), (1, 1, 1, 1), mode="replicate")
        return torch.lerp(pictures, images, F.avg_pool2d(mask, 3, 1))


class _Photo(NamedTuple):
    width: int
    height: int
    backdrop: int


def turned(which: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
    """Pictures or parsing maps [B, ..., H, W], of which those are mirrored that [B] says."""
    return tuple(torch.where(which.view(-1, *[1] * (m.ndim - 1)), m.flip(-1), m) for m in maps)


def eight_bits(images: Tensor) -> Tensor:
    """Pictures in [-1, 1] as files hold them, uint8."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap:
    size = int(np.prod(shape))
    if not path.exists() or path.stat().st_size != size:
        with path.open("ab") as file:
            file.truncate(size)
    return np.memmap(path, dtype=np.uint8, mode="r+", shape=shape)
