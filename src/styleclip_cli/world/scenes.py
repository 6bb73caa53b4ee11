"""Photos with people of the world in them: up to four before a cluttered backdrop, with known ground truth.

A scene is a function of the place in the photo, so that it can be drawn at any size, and the same scene
again with something changed. Each face has a frame, the square that the renderer's usual picture shows,
which may be turned and reach beyond the photo; the body goes on below it. Pixels are in the photo, (x, y),
y down, with pixel centres at +0.5.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from styleclip_cli.truth.scenes import axes, backdrop, in_frame, square
from styleclip_cli.world.attributes import INDEX
from styleclip_cli.world.geometry import amounts, measure
from styleclip_cli.world.landmarks import landmarks
from styleclip_cli.world.population import persons
from styleclip_cli.world.renderer import render

LEAST_HEAD = 16.0
"""Pixels; smaller heads are not drawn, whatever share of the photo is asked for."""
_LARGEST = (0.9, 0.6, 0.45, 0.38)  # of the shorter side, for one face, two, ...: more do not find room
_FEATURES = slice(17, 68)  # the points inside a face, without its jaw


@dataclass(frozen=True, eq=False)
class PlacedFace:
    """A face in a photo.

    Attributes:
        attributes: Shape [K].
        texture: Shape [8].
        frame: Corners NW, SW, SE, NE of the renderer's picture, shape [4, 2], pixels.
    """

    attributes: Tensor
    texture: Tensor
    frame: NDArray[np.float64]

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """The true 68 points, shape [68, 2], pixels."""
        centre, right, down = axes(self.frame)
        x, y = np.split(landmarks(self.attributes[None].double())[0].numpy(), 2, axis=1)
        return centre + x * right + y * down

    @property
    def height(self) -> float:
        """Height of the head in pixels."""
        return _head(self.attributes) * self.side

    @property
    def side(self) -> float:
        """Side of the frame in pixels."""
        return float(np.linalg.norm(self.frame[3] - self.frame[0]))

    @property
    def roll(self) -> float:
        """How far the head is turned, in degrees, clockwise."""
        across = self.frame[3] - self.frame[0]
        return math.degrees(math.atan2(across[1], across[0]))


@dataclass(frozen=True, eq=False)
class Scene:
    """A photo to be drawn.

    Attributes:
        width: Pixels.
        height: Pixels.
        backdrop: Seed of what is behind the faces.
        faces: In the order in which they are painted, the largest last.
    """

    width: int
    height: int
    backdrop: int
    faces: tuple[PlacedFace, ...]

    def with_attribute(self, face: int, name: str, value: float) -> Scene:
        """The same scene with one attribute of one face changed."""
        attributes = self.faces[face].attributes.clone()
        attributes[INDEX[name]] = value
        changed = dataclasses.replace(self.faces[face], attributes=attributes)
        return dataclasses.replace(self, faces=(*self.faces[:face], changed, *self.faces[face + 1 :]))

    def scaled(self, factor: float) -> Scene:
        """The same scene as a photo of another size (the noise in its backdrop is another)."""
        width, height = max(2, round(self.width * factor)), max(2, round(self.height * factor))
        scale = np.array([width / self.width, height / self.height]).mean()
        faces = tuple(dataclasses.replace(face, frame=face.frame * scale) for face in self.faces)
        return Scene(width, height, self.backdrop, faces)


def make_scene(
    seed: int,
    *,
    count: int | None = None,
    size: tuple[float, float] = (0.05, 0.9),
    roll: tuple[float, float] = (-45.0, 45.0),
    out_of_frame: bool | None = None,
    sides: tuple[int, int] = (200, 900),
) -> Scene:
    """Think up a photo.

    Args:
        seed: Same seed, same scene.
        count: Number of faces, 0 to 4; None takes 1 to 4.
        size: Range of the heads' heights, in shorter sides of the photo; several faces are kept so small
            that they find room, and none is under `LEAST_HEAD` pixels.
        roll: Range of how far heads are turned, in degrees.
        out_of_frame: Whether each face is partly outside the photo (some of its 68 points, not its middle);
            None takes a quarter of them.
        sides: Range of the photo's sides in pixels; its aspect is between 2:3 and 3:2.
    """
    rng = np.random.default_rng(seed)
    long = round(math.exp(rng.uniform(*np.log(sides))))
    short = max(min(sides[0], long), round(long * rng.uniform(2 / 3, 1)))
    width, height = (long, short) if rng.random() < 0.5 else (short, long)
    count = int(rng.integers(1, 5)) if count is None else count
    faces: list[PlacedFace] = []
    shrink = 1.0
    while len(faces) < count:
        face = _place(rng, (width, height), count, size, roll, out_of_frame, shrink)
        if face is not None and not any(_hides(face, other) or _hides(other, face) for other in faces):
            faces.append(face)
        else:
            shrink *= 0.97
    faces.sort(key=lambda face: face.side)
    return Scene(width, height, int(rng.integers(2**31)), tuple(faces))


def draw(scene: Scene, where: Tensor | None = None) -> Tensor:
    """Draw a scene.

    Args:
        scene: What to draw.
        where: Which places of the photo to draw, shape [H, W, 2] in pixels, about evenly spaced; None draws
            each pixel.

    Returns:
        Shape [3, H, W], RGB in [-1, 1].
    """
    if where is None:
        y, x = torch.meshgrid(torch.arange(scene.height), torch.arange(scene.width), indexing="ij")
        where = torch.stack([x, y], dim=-1) + 0.5
    image = backdrop(scene, where)
    for face in scene.faces:
        grid = in_frame(where, face.frame)
        covered = _covers(grid)
        if not covered.any():
            continue
        rows, columns = covered.any(dim=1).nonzero(), covered.any(dim=0).nonzero()
        # Two pixels at least, from which the renderer reads their distance.
        top, left = min(int(rows[0]), len(grid) - 2), min(int(columns[0]), grid.shape[1] - 2)
        part = slice(top, max(int(rows[-1]), top + 1) + 1), slice(left, max(int(columns[-1]), left + 1) + 1)
        behind = image[:, part[0], part[1]][None]
        image[:, part[0], part[1]] = render(
            face.attributes[None], texture=face.texture[None], grid=grid[part][None], backdrop=behind
        )[0]
    return image


def _head(attributes: Tensor) -> float:
    """Height of the head in frame sides."""
    m = measure(*amounts(attributes[None], -1))
    return float(m.chin - m.top) / 2


def _covers(grid: Tensor) -> Tensor:
    """Where a face with its hair, hat and body may hide what is behind it: frame places [..., 2] -> [...]."""
    x, y = grid[..., 0].abs(), grid[..., 1]
    return ((x < 1.0) & (y > -1.05)) | ((x < 1.8) & (y > 0.7))


def _hides(front: PlacedFace, behind: PlacedFace) -> bool:
    """Whether a face, or its body, covers features of a smaller one, which is painted before it."""
    features = torch.from_numpy(behind.points[_FEATURES])
    return behind.side < front.side and bool(_covers(in_frame(features, front.frame)).any())


def _place(
    rng: np.random.Generator,
    photo: tuple[int, int],
    count: int,
    size: tuple[float, float],
    roll: tuple[float, float],
    out_of_frame: bool | None,
    shrink: float,
) -> PlacedFace | None:
    """One try at a face that is in the photo, or partly outside it, as it should be."""
    attributes, texture = (rows[0] for rows in persons([int(rng.integers(2**31))]))
    short = min(photo)
    least = max(size[0] * short, LEAST_HEAD)
    most = max(least, min(size[1], _LARGEST[count - 1]) * short * shrink)
    side = math.exp(rng.uniform(math.log(least), math.log(most))) / _head(attributes)
    outside = bool(rng.random() < 0.25) if out_of_frame is None else out_of_frame
    centre = rng.uniform((0, 0), photo)
    if outside:  # near a border
        axis = int(rng.integers(2))
        near = min(rng.uniform(0.02, 0.35) * side, photo[axis] / 2)
        centre[axis] = near if rng.random() < 0.5 else photo[axis] - near
    face = PlacedFace(attributes, texture, square(centre, side, rng.uniform(*roll)))
    inside = ((face.points > 0) & (face.points < photo)).all()
    return None if inside == outside else face
