"""FAN by way of the face-alignment package, with random weights in its own file format.

A version of the package that loads or answers in another way breaks these.
"""

from __future__ import annotations

import builtins
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from styleclip_cli.errors import OutputError, WeightsError
from styleclip_cli.landmarks import fan
from styleclip_cli.landmarks.fan import FanLandmarker
from styleclip_cli.weights.readers import read_parts

try:
    fan.imported()
except WeightsError as error:
    pytest.skip(error.message, allow_module_level=True)

from face_alignment import api
from face_alignment.detection.sfd import sfd_detector
from face_alignment.detection.sfd.net_s3fd import s3fd
from face_alignment.models import FAN

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def landmarks() -> State:
    torch.manual_seed(0)
    return dict(FAN(4).state_dict())


@pytest.fixture(scope="module")
def detector() -> State:
    """A detector that fires everywhere at one scale, with boxes so large that one is left of them."""
    torch.manual_seed(0)
    state = dict(s3fd().state_dict())
    for name in [n for n in state if "mbox" in n]:
        state[name] = torch.zeros_like(state[name])
    for name in [n for n in state if n.endswith("conf.bias")]:
        sign = -1 if name.startswith("fc7") else 1
        state[name][:-1], state[name][-1] = 4.0 * sign, -4.0 * sign
    state["fc7_mbox_loc.bias"] = torch.tensor([0.0, 0.0, 10.0, 10.0])  # 128 exp(0.2 10) pixels
    return state


@pytest.fixture(scope="module")
def landmarker(landmarks: State, detector: State) -> FanLandmarker:
    return FanLandmarker(landmarks, detector, flip=False)


@pytest.fixture(autouse=True)
def _cut_off(monkeypatch, tmp_path: Path):
    """No network, and a home folder in which nothing may appear."""

    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    yield
    assert not list(home.iterdir())


def picture(width: int = 96, height: int = 96) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


class Dot(torch.nn.Module):
    """A landmark network that points at the brightest place."""

    def forward(self, crops: torch.Tensor) -> list[torch.Tensor]:
        return [torch.nn.functional.avg_pool2d(crops[:, :1], 4).repeat(1, 68, 1, 1)]


class Dots(torch.nn.Module):
    """A landmark network with an opinion of its own, the same of every face."""

    def forward(self, crops: torch.Tensor) -> list[torch.Tensor]:
        heat = torch.rand(68, 64, 64, generator=torch.Generator().manual_seed(0))
        heat[:, 24:40, 24:40] += 1
        return [heat.expand(len(crops), -1, -1, -1).clone()]


class Boxes:
    """A detector that knows where the faces are, in pixels of the whole photo."""

    reference_scale = 195

    def __init__(self, width: int, *boxes: tuple[float, ...]) -> None:
        self.width, self.boxes, self.seen = width, boxes, []

    def detect_from_image(self, pixels: np.ndarray) -> list[np.ndarray]:
        self.seen.append(pixels.shape[:2])
        scale = pixels.shape[1] / self.width
        return [np.array([*(value * scale for value in box[:4]), box[4]]) for box in self.boxes]


def test_finds_a_face_the_same_every_time(landmarker: FanLandmarker) -> None:
    (face,), (again,) = (landmarker.find(picture()) for _ in range(2))
    assert face.points.shape == (68, 2)
    assert face.points.dtype == np.float64
    assert np.isfinite(face.points).all()
    assert 0.9 < face.score <= 1
    assert face.frame is None
    np.testing.assert_array_equal(face.points, again.points)


@pytest.mark.parametrize("flip", [False, True])
def test_looks_at_the_mirrored_face_when_asked(
    landmarks: State, detector: State, monkeypatch, flip: bool
) -> None:
    landmarker, seen = FanLandmarker(landmarks, detector, flip=flip), []
    network = Dot()
    network.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    monkeypatch.setattr(landmarker._package, "face_alignment_net", network)
    landmarker.find(picture())
    assert len(seen) == 1 + flip
    torch.testing.assert_close(seen[-1], seen[0].flip(-1) if flip else seen[0])


def test_the_largest_face_comes_first(landmarker: FanLandmarker, monkeypatch) -> None:
    boxes = [(10, 10, 60, 70, 0.9), (100, 20, 220, 150, 0.6), (240, 30, 330, 120, 0.7)]
    monkeypatch.setattr(landmarker._package, "face_detector", Boxes(400, *boxes))
    monkeypatch.setattr(landmarker._package, "face_alignment_net", Dots())
    faces = landmarker.find(picture(400, 300))
    assert [face.score for face in faces] == [0.6, 0.7, 0.9]
    for face, box in zip(faces, (boxes[1], boxes[2], boxes[0]), strict=True):
        assert box[0] < face.points[:, 0].mean() < box[2]
        assert box[1] - 20 < face.points[:, 1].mean() < box[3]


def test_no_face_is_an_empty_list(landmarks: State, detector: State) -> None:
    blind = {**detector, "fc7_mbox_conf.bias": torch.tensor([4.0, -4.0])}
    assert FanLandmarker(landmarks, blind).find(picture(16, 40)) == []


@pytest.mark.parametrize("scale", [0.5, 1.0, 8.0])
def test_points_are_the_photos(landmarker: FanLandmarker, monkeypatch, scale: float) -> None:
    width, height, radius = int(400 * scale), int(300 * scale), 6 * scale
    middle = np.array([230.25, 120.5]) * scale
    y, x = np.mgrid[:height, :width]
    spot = 255 * np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / (2 * radius**2))
    photo = Image.fromarray(np.repeat(spot[..., None], 3, axis=2).astype(np.uint8))
    detector = Boxes(width, *[(170 * scale, 50 * scale, 270 * scale, 170 * scale, 0.8)])
    monkeypatch.setattr(landmarker._package, "face_detector", detector)
    monkeypatch.setattr(landmarker._package, "face_alignment_net", Dot())
    points = landmarker._face(photo, np.array([*detector.boxes[0]])).points
    assert np.abs(points - middle).max() < 1.2 * scale  # a fortieth of the distance of the eyes
    assert landmarker.find(photo) == []  # all points are one: no face
    assert max(detector.seen[0]) <= 640


def test_looks_closer_if_nothing_is_found(landmarker: FanLandmarker, monkeypatch) -> None:
    detector = Boxes(1500)
    monkeypatch.setattr(landmarker._package, "face_detector", detector)
    assert landmarker.find(Image.new("RGB", (1500, 750))) == []
    assert detector.seen == [(320, 640), (512, 1024)]
    assert landmarker.find(Image.new("RGB", (150, 75))) == []
    assert detector.seen[2:] == [(75, 150)]


def test_boxes_may_be_anywhere(landmarker: FanLandmarker, monkeypatch) -> None:
    boxes = [(-80, -60, 40, 50, 0.9), (380, 280, 520, 400, 0.7), (10, 10, 11, 11, 0.6)]
    broken = (np.inf, 0, 1, np.nan, 0.9)
    monkeypatch.setattr(landmarker._package, "face_detector", Boxes(400, *boxes, broken))
    assert all(np.isfinite(face.points).all() for face in landmarker.find(picture(400, 300)))


def test_the_published_files_hold_these_networks(tmp_path: Path, landmarks: State, detector: State) -> None:
    for part, state, name in (("landmarks", landmarks, "fan.pth.tar"), ("detector", detector, "s3fd.pth")):
        torch.save(state, tmp_path / name)
        (read,) = read_parts(tmp_path / name)
        assert read.name == part
        assert read.state.keys() == state.keys()


def test_the_package_is_left_as_it_was(landmarks: State, detector: State) -> None:
    names = ((api, "load_file_from_url"), (sfd_detector, "load_state_dict_from_url"))
    names += ((torch.hub, "download_url_to_file"),)
    before = [getattr(owner, name) for owner, name in names]
    hub, benchmark = torch.hub.get_dir(), torch.backends.cudnn.benchmark
    with pytest.raises(WeightsError, match="not the weights"):
        FanLandmarker({"conv1.weight": torch.zeros(1)}, detector)
    assert [getattr(owner, name) for owner, name in names] == before
    assert torch.hub.get_dir() == hub
    assert torch.backends.cudnn.benchmark is benchmark


def test_no_place_for_the_temporary_files(monkeypatch, landmarks: State, detector: State) -> None:
    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        FanLandmarker(landmarks, detector)


def test_a_version_that_asks_for_another_file_is_refused(
    monkeypatch, landmarks: State, detector: State
) -> None:
    monkeypatch.setattr(api.FaceAlignment, "_load_native", lambda *_: api.load_file_from_url("https://x.y/z"))
    with pytest.raises(WeightsError, match="asks for https"):
        FanLandmarker(landmarks, detector)


def test_a_version_with_another_inside_is_refused(monkeypatch, landmarks: State, detector: State) -> None:
    monkeypatch.delattr(api, "load_file_from_url")
    with pytest.raises(WeightsError, match="this version"):
        FanLandmarker(landmarks, detector)


@pytest.mark.parametrize(
    ("error", "words", "hint"),
    [
        (
            ModuleNotFoundError("No module named 'numba'", name="numba"),
            "no numba",
            "styleclip-cli[photos]",
        ),
        (ImportError("libGL.so.1: cannot open shared object file"), "libGL", "opencv-python-headless"),
    ],
)
def test_a_package_that_cannot_be_loaded(monkeypatch, error: ImportError, words: str, hint: str) -> None:
    usual = builtins.__import__

    def importing(name: str, *rest, **more):
        if name == "face_alignment":
            raise error
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(WeightsError, match=words) as caught:
        FanLandmarker({}, {})
    assert hint in caught.value.hint
