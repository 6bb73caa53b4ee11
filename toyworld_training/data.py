"""Training pictures: pairs of toy faces, drawn once and kept on disk for all the networks.

Each item holds two faces. In even items the second differs from the first in exactly one attribute
(a hard negative for CLIP); in odd items it is the same person - the same bone structure - with
everything else drawn anew (a positive for the identity net).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from styleclip_cli.toyworld.attributes import ATTRIBUTES, COUNT, IDENTITY, attributes_of_normals
from styleclip_cli.toyworld.networks import RESOLUTION
from styleclip_cli.toyworld.renderer import render

BLOCK = 32  # items drawn at once; each block has its own seed, so any number of workers gives the same data


def draw_pairs(seed: int, n: int) -> Tensor:
    """Attributes of n pairs, shape [n, 2, 32]; presences are there in 40% of the faces."""
    rng = torch.Generator().manual_seed(seed)
    pairs = attributes_of_normals(torch.randn(n * 2, COUNT, generator=rng), presence_rate=0.4).view(
        n, 2, COUNT
    )
    for i in range(n):
        if i % 2 == 0:
            flipped = int(torch.randint(COUNT, (1,), generator=rng))
            value = float(pairs[i, 0, flipped])
            pairs[i, 1] = pairs[i, 0]
            if ATTRIBUTES[flipped].presence:
                pairs[i, 1, flipped] = 0.0 if value > 0.5 else 1.0
            else:  # at least half of the range away
                shift = 0.5 + 0.5 * float(torch.rand(1, generator=rng))
                pairs[i, 1, flipped] = value - shift if value > 0.5 else value + shift
        else:
            pairs[i, 1, list(IDENTITY)] = pairs[i, 0, list(IDENTITY)]
    return pairs


class Pairs:
    """The pictures on disk: `attributes` [N, 2, 32] float32 and `images` [N, 2, 3, 128, 128] uint8."""

    def __init__(self, folder: Path, n: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.n = folder, n
        shape = (n, 2, 3, RESOLUTION, RESOLUTION)
        path = folder / "images.u8"
        if not path.exists() or path.stat().st_size != int(np.prod(shape)):
            with path.open("ab") as file:
                file.truncate(int(np.prod(shape)))
        self._images = np.memmap(path, dtype=np.uint8, mode="r+", shape=shape)
        done = folder / "done.u8"
        if not done.exists():
            done.write_bytes(bytes(n // BLOCK))
        self._done = np.memmap(done, dtype=np.uint8, mode="r+", shape=(n // BLOCK,))

    def draw(self, worker: int = 0, workers: int = 1) -> None:
        """Draw the blocks of this worker that are not there yet."""
        for block in range(worker, self.n // BLOCK, workers):
            if not self._done[block]:
                with torch.no_grad():
                    images = render(draw_pairs(block, BLOCK).flatten(0, 1), RESOLUTION)
                pixels = ((images + 1) * 127.5).round().to(torch.uint8).numpy()
                self._images[block * BLOCK : (block + 1) * BLOCK] = pixels.reshape(
                    BLOCK, 2, 3, RESOLUTION, RESOLUTION
                )
                self._done[block] = 1

    @property
    def ready(self) -> int:
        """Number of items, from the start, that have been drawn."""
        missing = np.flatnonzero(self._done == 0)
        return (int(missing[0]) if len(missing) else len(self._done)) * BLOCK

    def load_attributes(self) -> Tensor:
        """All attributes, shape [N, 2, 32] (computed, not stored)."""
        return torch.cat([draw_pairs(block, BLOCK) for block in range(self.n // BLOCK)])

    def choose(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Item and member of n single pictures, drawn from all that are ready: two of [n]."""
        return torch.randint(self.ready, (n,), generator=rng), torch.randint(2, (n,), generator=rng)

    def images(self, index: Tensor, member: Tensor | int | None = None) -> Tensor:
        """Pictures in [-1, 1]: [B, 3, R, R] for one member of the pairs, [2 B, 3, R, R] for both."""
        rows = (
            self._images[index.numpy()] if member is None else self._images[index.numpy(), np.asarray(member)]
        )
        return (
            torch.from_numpy(np.ascontiguousarray(rows)).view(-1, 3, RESOLUTION, RESOLUTION).float() / 127.5
            - 1
        )
