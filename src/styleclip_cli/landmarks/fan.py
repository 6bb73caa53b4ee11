"""Landmarks by FAN (Bulat and Tzimiropoulos 2017), faces found by S3FD (Zhang et al. 2017).

The networks are face-alignment's, and boxes and points are read off them as that package does it
(`detection/sfd`, `utils.get_preds_fromhm`); the rest of the package, which needs OpenCV, numba and
scikit-image, and fetches weights by itself, is not loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from styleclip_cli.errors import WeightsError, one_line
from styleclip_cli.nets.packages import FACE_ALIGNMENT
from styleclip_cli.photo.align import Face

DETECTION_SIDES = (640, 1024)
"""Longest sides at which faces are looked for, in pixels, until one is found; the time goes with the square.

S3FD finds faces from about 16 pixels on.
"""
_MOST = 64
"""Faces looked at in a photo."""
_LEAST = 32
"""Smallest side that S3FD takes, in pixels."""
_MEAN = (123.0, 117.0, 104.0)
"""Of S3FD's training pictures, RGB in 0 to 255; it sees BGR."""
_CANDIDATE, _CERTAIN, _OVERLAP = 0.05, 0.5, 0.3
"""Scores that are decoded, scores that count, and the overlap of two boxes from which they are one face."""

_SEEN, _UP = 2 * 200 / 195, 0.12
"""The side of what FAN sees in sides of a face's box, and how far its middle is above the box's."""
_INPUT, _HEAT = 256, 64
"""Sides of what FAN sees and of its heat maps, in pixels."""
# The points of a mirrored face, in the order of iBUG 300-W: contour, brows, nose, eyes, lips.
_MIRRORED = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
)


class FanLandmarker:
    """Finds faces and their 68 landmarks.

    Args:
        landmarks: State dict of FAN with four modules.
        detector: State dict of S3FD.
        device: Where they run.
        flip: Average the heat maps with those of the mirrored face: more exact, twice the time.

    Raises:
        WeightsError: If face-alignment is not installed, or the weights are not its networks'.
    """

    def __init__(
        self,
        landmarks: Mapping[str, Tensor],
        detector: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
        flip: bool = True,
    ) -> None:
        make_fan, make_s3fd = classes()
        with torch.device("meta"):  # nothing is computed of which nothing stays
            fan, s3fd = make_fan(4), make_s3fd()
        try:
            fan.load_state_dict(landmarks, assign=True)
            s3fd.load_state_dict(detector, assign=True)
        except RuntimeError as error:
            raise WeightsError(
                f"not the weights of face-alignment's FAN and S3FD ({one_line(error)})",
                "install the model pack again",
            ) from None
        self._device, self._flip = torch.device(device), flip
        self._fan, self._s3fd = (net.to(self._device, torch.float32).eval() for net in (fan, s3fd))

    def find(self, image: Image.Image) -> list[Face]:
        """Find the faces in a picture (mode RGB), largest first; none gives an empty list."""
        faces = [self._face(image, box) for box in self._boxes(image)[:_MOST]]
        found = [face for face in faces if face.size > 1]
        return sorted(found, key=lambda face: face.size, reverse=True)

    @torch.inference_mode()
    def _boxes(self, image: Image.Image) -> NDArray[np.float64]:
        """Boxes of the faces [N, 5]: left, top, right, bottom and score."""
        for side in DETECTION_SIDES:
            small = image.copy()
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
            # Smaller ones have no pixel left after five halvings; what is beyond a picture is black.
            seen = small.crop((0, 0, max(small.width, _LEAST), max(small.height, _LEAST)))
            pixels = torch.from_numpy(np.array(seen)).to(self._device, torch.float32) - torch.tensor(
                _MEAN, device=self._device
            )
            boxes = boxes_of(self._s3fd(pixels.permute(2, 0, 1).flip(0)[None]))  # [1, 3, H, W], BGR
            if len(boxes) or max(image.size) <= side:
                break
        across, down = image.width / small.width, image.height / small.height
        boxes = boxes * (across, down, across, down, 1)
        return boxes[np.isfinite(boxes).all(axis=1)]

    def _face(self, image: Image.Image, box: NDArray[np.float64]) -> Face:
        """Find the landmarks in a box; FAN sees about twice the box."""
        width, height = box[2:4] - box[:2]
        side = max(float(width + height) / 2 * _SEEN, 1.0)
        corner = (box[:2] + box[2:4]) / 2 - (0, _UP * height) - side / 2
        # Scaled down first, as what follows has no filter; what is beyond the picture is black.
        left, top = np.clip(np.floor(corner), 0, np.array(image.size) - 1).astype(int).tolist()
        right, bottom = np.clip(np.ceil(corner + side), (left + 1, top + 1), image.size).astype(int).tolist()
        factor = max(1, int(side / _INPUT))
        region = image.crop((left, top, right, bottom)).reduce(factor)
        start = (corner - (left, top)) / factor
        extent = (*start, *(start + side / factor))
        kind, how = Image.Transform.EXTENT, Image.Resampling.BILINEAR
        seen = region.transform((_INPUT, _INPUT), kind, extent, how)
        pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1)[None].to(self._device, torch.float32) / 255
        heat = self._heat(pixels)
        points = corner + points_of(heat[0].cpu().numpy()) * (side / _HEAT) - 0.5
        return Face(points, float(np.clip(box[4], 0.0, 1.0)))

    @torch.inference_mode()
    def _heat(self, pixels: Tensor) -> Tensor:
        """Heat maps [N, 68, 64, 64] of pictures [N, 3, 256, 256] in [0, 1]."""
        heat: Tensor = self._fan(pixels)[-1]
        if not self._flip:
            return heat
        mirrored: Tensor = self._fan(pixels.flip(-1))[-1]
        return heat + mirrored[:, list(_MIRRORED)].flip(-1)


def classes() -> tuple[Callable[[int], nn.Module], Callable[[], nn.Module]]:
    """FAN, of some modules, and S3FD.

    Raises:
        WeightsError: If face-alignment is not installed, or has no such networks.
    """
    fan: Callable[[int], nn.Module] = FACE_ALIGNMENT.member("models/fan", "FAN")
    s3fd: Callable[[], nn.Module] = FACE_ALIGNMENT.member("detection/sfd/net_s3fd", "s3fd")
    return fan, s3fd


def boxes_of(outputs: Sequence[Tensor]) -> NDArray[np.float64]:
    """Read boxes off what S3FD says of one picture.

    A place of stride s, at its middle, stands for a square of side 4 s; its answer moves the square by 0.1 of
    its side and scales it by exp(0.2 x) (SSD's coding of boxes; face-alignment's detection/sfd/bbox.py).

    Args:
        outputs: For strides 4, 8 ... 128 logits [1, 2, h, w] and offsets [1, 4, h, w].

    Returns:
        [N, 5], left, top, right and bottom in pixels, and the score, best first; none overlaps another much.
    """
    found = []
    for level, (logits, offsets) in enumerate(zip(outputs[::2], outputs[1::2], strict=True)):
        stride = 2 ** (level + 2)
        score = logits.softmax(dim=1)[0, 1].cpu().double().numpy()
        rows, columns = np.nonzero(score > _CANDIDATE)
        x, y, across, down = offsets[0].cpu().double().numpy()[:, rows, columns]
        square = 4 * stride
        middle = np.stack([columns, rows], axis=1) * stride + stride / 2
        middle = middle + 0.1 * square * np.stack([x, y], axis=1)
        with np.errstate(over="ignore"):
            half = square / 2 * np.exp(0.2 * np.stack([across, down], axis=1))
        found.append(np.concatenate([middle - half, middle + half, score[rows, columns, None]], axis=1))
    boxes = np.concatenate(found)
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    areas = (boxes[:, 2:4] - boxes[:, :2] + 1).prod(axis=1)
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left) and boxes[left[0], 4] > _CERTAIN:  # non-maximum suppression
        best, left = left[0], left[1:]
        kept.append(int(best))
        overlap = (
            np.minimum(boxes[left, 2:4], boxes[best, 2:4]) - np.maximum(boxes[left, :2], boxes[best, :2]) + 1
        )
        shared = overlap.clip(min=0).prod(axis=1)
        left = left[shared / (areas[left] + areas[best] - shared) <= _OVERLAP]
    return boxes[kept]


def points_of(heat: NDArray[np.float32]) -> NDArray[np.float64]:
    """Read points off heat maps: the middle of the largest value, a quarter towards its larger neighbours.

    Args:
        heat: [N, h, w].

    Returns:
        [N, 2], x and y in pixels of the heat maps, whose first pixel is from 0 to 1.
    """
    height, width = heat.shape[1:]
    number = np.arange(len(heat))
    y, x = np.divmod(heat.reshape(len(heat), -1).argmax(axis=1), width)
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    x_inside, y_inside = x.clip(1, width - 2), y.clip(1, height - 2)
    slope = np.stack(
        [
            heat[number, y_inside, x_inside + 1] - heat[number, y_inside, x_inside - 1],
            heat[number, y_inside + 1, x_inside] - heat[number, y_inside - 1, x_inside],
        ],
        axis=1,
    )
    return np.stack([x, y], axis=1) + 0.5 + 0.25 * np.sign(slope) * inside[:, None]
