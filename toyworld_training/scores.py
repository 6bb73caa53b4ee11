"""How well faces are found and measured where the truth is known: held-out scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from styleclip_cli.photo.align import Face, ffhq_quad
from styleclip_cli.save import to_image
from styleclip_cli.toyworld.scenes import PlacedFace, Scene, draw, make_scene

if TYPE_CHECKING:
    from styleclip_cli.photo.align import Landmarker

FIRST_SEED = 40_000_000  # no network was trained on scenes from here on
_HALF = 0.5  # scenes count from the corner of the first pixel, faces that were found from its middle
_NEAR = 0.25  # an answer is a face's if their middles are closer than this many frames


@dataclass(frozen=True)
class Row:
    """What came of one true face.

    Attributes:
        height: Of the head, pixels.
        roll: Degrees.
        whole: Whether its eyes and mouth are in the photo.
        found: Whether there is an answer for it.
        nme: Mean error of the 68 points, in distances between the eyes.
        frame: Largest error of the frame's corners, in sides.
        crop: Largest error of the corners of the crop that FFHQ would make, in sides.
    """

    height: float
    roll: float
    whole: bool
    found: bool
    nme: float = np.nan
    frame: float = np.nan
    crop: float = np.nan


def photo(scene: Scene) -> Image.Image:
    """A scene as an 8-bit photo."""
    return to_image(draw(scene))


def score(scene: Scene, answers: Sequence[Face]) -> tuple[list[Row], int]:
    """Compare what was found in a scene with what is there.

    Returns:
        One row for each true face, and the number of answers that are none.
    """
    rows, used = [], set[int]()
    for face in scene.faces:
        nearest = _nearest(face, answers)
        if nearest is not None:
            used.add(nearest)
        rows.append(_row(scene, face, None if nearest is None else answers[nearest]))
    return rows, len(answers) - len(used)


def quality(landmarker: Landmarker, n: int = 200) -> dict[str, float]:
    """Measure on held-out scenes, half as many again of which have no faces."""
    rows: list[Row] = []
    wrong = 0
    for seed in range(FIRST_SEED, FIRST_SEED + n + n // 2):
        scene = make_scene(seed, count=None if seed < FIRST_SEED + n else 0)
        found, others = score(scene, landmarker.find(photo(scene)))
        rows, wrong = rows + found, wrong + others
    whole = [row for row in rows if row.whole]
    nme, frame, crop = (np.array([getattr(r, k) for r in whole if r.found]) for k in ("nme", "frame", "crop"))
    values = {
        "recall": np.mean([row.found for row in whole]),
        "false_positives_per_photo": wrong / (n + n // 2),
        "nme": nme.mean(),
        "nme_95": np.percentile(nme, 95),
        "frame_corners": frame.mean(),
        "frame_corners_within_1_percent": (frame <= 0.01).mean(),
        "crop_corners": crop.mean(),
        "crop_corners_within_1_percent": (crop <= 0.01).mean(),
    }
    return {name: round(float(value), 4) for name, value in values.items()}


def _nearest(truth: PlacedFace, answers: Sequence[Face]) -> int | None:
    middle = truth.frame.mean(axis=0) - _HALF
    away = [
        np.inf if a.frame is None else float(np.linalg.norm(a.frame.mean(axis=0) - middle)) for a in answers
    ]
    return int(np.argmin(away)) if away and min(away) < _NEAR * truth.side else None


def _row(scene: Scene, truth: PlacedFace, answer: Face | None) -> Row:
    points = truth.points
    whole = bool(((points[36:] > 0) & (points[36:] < (scene.width, scene.height))).all())
    if answer is None or answer.frame is None:
        return Row(truth.height, truth.roll, whole, False)
    eyes = np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0))
    return Row(
        truth.height,
        truth.roll,
        whole,
        True,
        nme=float(np.linalg.norm(answer.points + _HALF - points, axis=1).mean() / eyes),
        frame=_off(answer.frame + _HALF, truth.frame),
        crop=_off(ffhq_quad(answer.points + _HALF), ffhq_quad(points)),
    )


def _off(corners: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Largest error of four corners, in sides."""
    return float(np.linalg.norm(corners - truth, axis=1).max() / np.linalg.norm(truth[3] - truth[0]))
