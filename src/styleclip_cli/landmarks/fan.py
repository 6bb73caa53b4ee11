"""Landmarks by the face-alignment package: FAN (Bulat and Tzimiropoulos 2017), faces found by S3FD.

The package takes its weights from addresses of its own and keeps them in the person's cache, unchecked.
Here both networks come from a model pack, and the package is kept from fetching anything.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from styleclip_cli.errors import OutputError, WeightsError, one_line
from styleclip_cli.photos.align import Face

DETECTION_SIDES = (640, 1024)
"""Longest sides at which faces are looked for, in pixels, until one is found; the time goes with the square.

S3FD finds faces from about 16 pixels on.
"""
BOX_SIDE = 250
"""Faces' boxes are scaled to this: FAN sees twice a box at 256 pixels, and the package's points are whole."""
_MARGIN = 0.8
"""What FAN sees beyond a box, in sides of the box, and some more."""

_LEAST = 32
"""Smallest side that S3FD takes, in pixels."""

_NETWORK = "2DFAN-4"
_patching = threading.Lock()


class FanLandmarker:
    """Finds faces and their 68 landmarks.

    Args:
        landmarks: State dict of FAN with four modules.
        detector: State dict of S3FD.
        device: Where they run.
        flip: Average the landmarks with those of the mirrored face: more exact, twice the time.

    Raises:
        WeightsError: If the package is not installed or cannot be loaded, or the weights are not its own.
    """

    def __init__(
        self,
        landmarks: Mapping[str, Tensor],
        detector: Mapping[str, Tensor],
        device: torch.device | str = "cpu",
        flip: bool = True,
    ) -> None:
        self._package = _built(landmarks, detector, str(device), flip)

    def find(self, image: Image.Image) -> list[Face]:
        """Find the faces in a picture (mode RGB), largest first; none gives an empty list."""
        with _usual_convolutions():
            faces = [self._face(image, box) for box in self._boxes(image)]
        found = [face for face in faces if face.size > 1]
        return sorted(found, key=lambda face: face.size, reverse=True)

    def _boxes(self, image: Image.Image) -> list[NDArray[np.float64]]:
        """Boxes of the faces, each left, top, right, bottom and score."""
        for side in DETECTION_SIDES:
            small = image.copy()
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
            stretch = np.array([image.width / small.width, image.height / small.height, 1.0])
            # Smaller ones have no pixel left after five halvings; what is beyond a picture is black.
            seen = small.crop((0, 0, max(small.width, _LEAST), max(small.height, _LEAST)))
            found = self._package.face_detector.detect_from_image(np.asarray(seen))
            boxes = [np.asarray(box, np.float64) * stretch[[0, 1, 0, 1, 2]] for box in found]
            if boxes or max(image.size) <= side:
                break
        return [box for box in boxes if np.isfinite(box).all()]

    def _face(self, image: Image.Image, box: NDArray[np.float64]) -> Face:
        """Find the landmarks in a box.

        They are looked for in a copy of its surroundings, scaled so that the box has the size that suits
        FAN: the package itself scales without a filter, and rounds to whole pixels.
        """
        side = max(float(box[2] - box[0] + box[3] - box[1]) / 2, 1.0)
        left, top = np.maximum(np.floor(box[:2] - _MARGIN * side), 0).astype(int).tolist()
        right, bottom = np.minimum(np.ceil(box[2:4] + _MARGIN * side), image.size).astype(int).tolist()
        region = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
        size = [max(round(extent * BOX_SIDE / side), 1) for extent in region.size]
        scaled = region.resize((size[0], size[1]), Image.Resampling.LANCZOS)
        stretch = np.array([scaled.width / region.width, scaled.height / region.height])
        inside = (box - (left, top, left, top, 0)) * np.append(np.tile(stretch, 2), 1)
        points = self._package.get_landmarks_from_image(np.asarray(scaled), detected_faces=[inside])[0]
        # Whole numbers are pixels' middles, before and after.
        moved = (np.asarray(points, np.float64) + 0.5) / stretch - 0.5 + (left, top)
        return Face(moved, float(np.clip(box[4], 0.0, 1.0)))


def _built(landmarks: Mapping[str, Tensor], detector: Mapping[str, Tensor], device: str, flip: bool) -> Any:
    """The package's own object, from weights that it is given as files, which is the only way."""
    package = imported()
    with tempfile.TemporaryDirectory(prefix="styleclip-") as folder:
        fan = _written(Path(folder) / "landmarks.pt", landmarks)
        s3fd = _written(Path(folder) / "detector.pt", detector)
        try:
            with _patching, _no_downloads(fan), _usual_convolutions():
                return package.FaceAlignment(
                    package.LandmarksType.TWO_D,
                    device=device,
                    flip_input=flip,
                    compile=False,  # half a minute, and files in the person's cache
                    face_detector="sfd",
                    face_detector_kwargs={"path_to_detector": str(s3fd)},
                )
        except (AttributeError, ImportError, KeyError, TypeError) as error:
            raise WeightsError(
                f"this version of face-alignment cannot be used ({one_line(error)})",
                "pip install 'styleclip-cli[photos]'",
            ) from None
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise WeightsError(
                f"not the weights of face-alignment's FAN and S3FD ({one_line(error)})",
                "install the model pack again",
            ) from None


def _written(path: Path, state: Mapping[str, Tensor]) -> Path:
    try:
        torch.save(dict(state), path)
    except (OSError, RuntimeError) as error:  # PyTorch's own writer raises the latter when a disk is full
        raise OutputError(
            f"{path.parent.parent}: no place for a temporary file ({one_line(error, 120)})",
            "make room, or set TMPDIR to another folder",
        ) from None
    return path


def imported() -> ModuleType:
    """The package face-alignment.

    Raises:
        WeightsError: If it is not installed, or cannot be loaded.
    """
    try:
        with _uncompiled():
            import face_alignment
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"finding faces in photos needs more packages (no {error.name})",
            "pip install 'styleclip-cli[photos]'",
        ) from None
    except (ImportError, OSError) as error:
        # OpenCV's usual build draws windows, and needs a desktop's libraries even where none is drawn.
        raise WeightsError(
            f"face-alignment cannot be loaded ({one_line(error, 120)})",
            "pip uninstall opencv-python, then pip install --force-reinstall opencv-python-headless",
        ) from None
    return face_alignment


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Have numba leave functions as they are: the package's take seconds to compile, and a moment to run."""
    import numba

    before = numba.config.DISABLE_JIT
    numba.config.DISABLE_JIT = True
    try:
        yield
    finally:
        numba.config.DISABLE_JIT = before


@contextmanager
def _no_downloads(landmarks: Path) -> Iterator[None]:
    """Have the package read FAN from a file, and fail where it would fetch anything.

    AttributeError if it has none of these functions: then nothing is known of how it loads its weights.
    """
    from face_alignment import api
    from face_alignment.detection.sfd import sfd_detector

    def local(url: str, *_: Any, **__: Any) -> str:
        return str(landmarks) if url == api.models_urls[_NETWORK] else refused(url)

    def refused(url: str, *_: Any, **__: Any) -> str:
        raise WeightsError(f"face-alignment asks for {url}", "pip install 'styleclip-cli[photos]'")

    replaced: tuple[tuple[Any, str, Callable[..., str]], ...] = (
        (api, "load_file_from_url", local),
        (sfd_detector, "load_state_dict_from_url", refused),
        (torch.hub, "download_url_to_file", refused),
    )
    with ExitStack() as stack:
        for owner, name, value in replaced:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


@contextmanager
def _usual_convolutions() -> Iterator[None]:
    """Take back what the package sets for the whole program on a GPU: it times kernels to choose them."""
    before = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
