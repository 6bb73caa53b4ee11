"""Training pictures for the toy landmark networks: photos with faces, and single faces cut out of them.

Drawn once and kept on disk, each from the scene whose seed is its number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from styleclip_cli.nets.landmarks import DETAIL, FINDER_SIDE, POINTS
from styleclip_cli.toyworld import scenes as toy_scenes
from styleclip_cli.toyworld.scenes import square

PATCH_SIDE = 192
_PATCH_MARGIN = PATCH_SIDE / DETAIL  # in frames; crops are taken anywhere inside
_EMPTY = 0.12  # share of patches without a face, and of photos
_MOST = 4  # faces in a photo


def within(points: Tensor, similarity: Tensor) -> Tensor:
    """Inverse of `nets.landmarks.place`: points as seen in frames.

    Args:
        points: [N, K, 2].
        similarity: [N, 4].

    Returns:
        [N, K, 2].
    """
    x, y, u, v = similarity[:, None].unbind(-1)  # [N, 1] each
    dx, dy = points[..., 0] - x, points[..., 1] - y
    square = u * u + v * v
    return torch.stack([(dx * u + dy * v) / square, (dy * u - dx * v) / square], dim=-1)  # [N, K, 2]


def similarity_of(corners: Tensor) -> Tensor:
    """The similarity that puts a frame where its corners are.

    Args:
        corners: [N, 4, 2]: NW, SW, SE, NE.

    Returns:
        [N, 4].
    """
    return torch.cat([corners.mean(dim=1), (corners[:, 3] - corners[:, 0]) / 2], dim=1)


def photo(number: int, scenes: Any = toy_scenes) -> tuple[Tensor, NDArray[np.float64]]:
    """A photo as a finder sees it, [3, 320, 320], and its faces' similarities, [4, 4], NaN where fewer."""
    rng = np.random.default_rng((number, 1))
    scene = scenes.make_scene(number, count=0) if rng.random() < _EMPTY else scenes.make_scene(number)
    factor = FINDER_SIDE / max(scene.width, scene.height)
    scene = scene.scaled(factor) if factor < 1 else scene
    image = scenes.draw(scene)
    if factor > 1:
        image = F.interpolate(image[None], scale_factor=factor, mode="bilinear", align_corners=False)[0]
        image = image[:, :FINDER_SIDE, :FINDER_SIDE]
    whole = torch.zeros(3, FINDER_SIDE, FINDER_SIDE)
    whole[:, : image.shape[1], : image.shape[2]] = image
    truth = np.full((_MOST, 4), np.nan)
    for i, face in enumerate(scene.faces):
        truth[i] = _similarity(face.frame) * max(factor, 1)
    return whole, truth


def patch(number: int, scenes: Any = toy_scenes) -> tuple[Tensor, NDArray[np.float64]]:
    """Surroundings of a face, upright, and its truth.

    Returns:
        Shape [3, 192, 192], as sharp as the photo shows it, grey outside the photo; and the 68 points and
        4 corners of the frame, [72, 2], pixels, NaN if there is no face.
    """
    rng = np.random.default_rng((number, 2))
    scene = scenes.make_scene(number)
    truth = np.full((POINTS + 4, 2), np.nan)
    if rng.random() < _EMPTY:
        corners = _elsewhere(scene, rng)
    else:
        face = scene.faces[int(rng.integers(len(scene.faces)))]
        corners = square(face.frame.mean(axis=0), face.side * _PATCH_MARGIN, face.roll)
        truth = np.concatenate([face.points, face.frame])
    x, y, u, v = _similarity(corners)
    half = math.hypot(u, v)
    side = max(8, min(PATCH_SIDE, round(2 * half)))  # never finer than the photo
    steps = (torch.arange(side) + 0.5) / side * 2 - 1
    b, a = torch.meshgrid(steps, steps, indexing="ij")
    where = torch.stack([x + a * u - b * v, y + a * v + b * u], dim=-1)
    image = scenes.draw(scene, where)
    size = torch.tensor([scene.width, scene.height])
    image = image * ((where > 0) & (where < size)).all(dim=-1)
    if side != PATCH_SIDE:
        image = F.interpolate(image[None], (PATCH_SIDE, PATCH_SIDE), mode="bilinear", align_corners=False)[0]
    turn = np.array([[u, -v], [v, u]]) / half**2
    return image, ((truth - (x, y)) @ turn + 1) * (PATCH_SIDE / 2)


def _similarity(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners of a square [4, 2] -> similarity [4]."""
    return similarity_of(torch.from_numpy(corners)[None])[0].numpy()


def _elsewhere(scene: Any, rng: np.random.Generator) -> NDArray[np.float64]:
    """Corners of a patch around no face: far from all of them, or of quite another size."""
    while True:
        side = math.exp(rng.uniform(math.log(30), math.log(max(60, scene.width))))
        centre = rng.uniform((0, 0), (scene.width, scene.height))
        away = [float(np.linalg.norm(face.frame.mean(axis=0) - centre)) / side for face in scene.faces]
        ratio = [face.side / side for face in scene.faces]
        if all(d > 0.5 or not 0.4 < r < 2.5 for d, r in zip(away, ratio, strict=True)):
            return square(centre, side * _PATCH_MARGIN, rng.uniform(-45, 45))


class Kind(NamedTuple):
    """A kind of pictures: how one is made from its number, with what is in it, and the shapes of both."""

    make: Callable[[int], tuple[Tensor, NDArray[np.float64]]]
    side: int
    truth: tuple[int, ...]


def kinds(scenes: Any = toy_scenes) -> dict[str, Kind]:
    """Photos and patches of a world."""
    return {
        "photos": Kind(partial(photo, scenes=scenes), FINDER_SIDE, (_MOST, 4)),
        "patches": Kind(partial(patch, scenes=scenes), PATCH_SIDE, (POINTS + 4, 2)),
    }


class Shots:
    """Pictures on disk: `images` [N, 3, S, S] uint8 and what is in them, `truth` [N, ...] float32."""

    def __init__(self, folder: Path, what: str, n: int, kind: Kind | None = None) -> None:
        kind = kind or kinds()[what]
        self.make = kind.make
        folder.mkdir(parents=True, exist_ok=True)
        self.n = n
        self._images = _mapped(folder / f"{what}.u8", np.uint8, (n, 3, kind.side, kind.side))
        self.truth = _mapped(folder / f"{what}.f32", np.float32, (n, *kind.truth))
        self._done = _mapped(folder / f"{what}.done", np.uint8, (n,))

    def draw(self, worker: int = 0, workers: int = 1) -> None:
        """Draw this worker's pictures that are not there yet."""
        for number in range(worker, self.n, workers):
            if not self._done[number]:
                image, self.truth[number] = self.make(number)
                self._images[number] = ((image + 1) * 127.5).round().to(torch.uint8).numpy()
                self._done[number] = 1

    @property
    def ready(self) -> int:
        """Number of pictures, from the start, that have been drawn."""
        missing = np.flatnonzero(self._done == 0)
        return int(missing[0]) if len(missing) else self.n

    def choose(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Some pictures in [-1, 1], [n, 3, S, S], of those that are ready, and what is in them."""
        index = torch.randint(self.ready, (n,), generator=rng).numpy()
        images = torch.from_numpy(self._images[index]).float() / 127.5 - 1
        return images, torch.from_numpy(self.truth[index])


def _mapped(path: Path, kind: type, shape: tuple[int, ...]) -> NDArray:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if not path.exists() or path.stat().st_size != size:
        with path.open("ab") as file:
            file.truncate(size)
    return np.memmap(path, dtype=kind, mode="r+", shape=shape)
