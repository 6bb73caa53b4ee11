"""FAN and S3FD with random weights in their own file formats; the package's own answers beside ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from styleclip_cli.errors import WeightsError
from styleclip_cli.landmarks import fan
from styleclip_cli.landmarks.fan import FanLandmarker, boxes_of, points_of
from styleclip_cli.nets.packages import FACE_ALIGNMENT
from styleclip_cli.weights.readers import read_parts

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def landmarks() -> State:
    torch.manual_seed(0)
    return dict(fan.classes()[0](4).state_dict())


@pytest.fixture(scope="module")
def detector() -> State:
    """A detector that fires everywhere at one scale, with boxes so large that one is left of them."""
    torch.manual_seed(0)
    state = dict(fan.classes()[1]().state_dict())
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


def seen_by(landmarker: FanLandmarker, monkeypatch: pytest.MonkeyPatch, width: int, *boxes) -> list:
    """Have the detector say where the faces are, in pixels of the whole photo; returns the sizes it sees."""
    seen = []

    def known(outputs: torch.Tensor) -> np.ndarray:
        seen.append(tuple(outputs.shape[2:]))
        scale = outputs.shape[3] / width
        return np.array([[*(x * scale for x in box[:4]), box[4]] for box in boxes]).reshape(-1, 5)

    monkeypatch.setattr(landmarker, "_s3fd", lambda pixels: pixels)
    monkeypatch.setattr(fan, "boxes_of", known)
    return seen


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
    monkeypatch.setattr(landmarker, "_fan", network)
    landmarker.find(picture())
    assert len(seen) == 1 + flip
    torch.testing.assert_close(seen[-1], seen[0].flip(-1) if flip else seen[0])


def test_the_largest_face_comes_first(landmarker: FanLandmarker, monkeypatch) -> None:
    boxes = [(10, 10, 60, 70, 0.9), (100, 20, 220, 150, 0.6), (240, 30, 330, 120, 0.7)]
    seen_by(landmarker, monkeypatch, 400, *boxes)
    monkeypatch.setattr(landmarker, "_fan", Dots())
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
    box = (170 * scale, 50 * scale, 270 * scale, 170 * scale, 0.8)
    seen = seen_by(landmarker, monkeypatch, width, box)
    monkeypatch.setattr(landmarker, "_fan", Dot())
    points = landmarker._face(photo, np.array(box)).points
    assert np.abs(points - middle).max() < 1.2 * scale  # a fortieth of the distance of the eyes
    assert landmarker.find(photo) == []  # all points are one: no face
    assert max(seen[0]) <= 640


def test_looks_closer_if_nothing_is_found(landmarker: FanLandmarker, monkeypatch) -> None:
    seen = seen_by(landmarker, monkeypatch, 1500)
    assert landmarker.find(Image.new("RGB", (1500, 750))) == []
    assert seen == [(320, 640), (512, 1024)]
    assert landmarker.find(Image.new("RGB", (150, 75))) == []
    assert seen[2:] == [(75, 150)]


def test_boxes_may_be_anywhere(landmarker: FanLandmarker, monkeypatch) -> None:
    boxes = [(-80, -60, 40, 50, 0.9), (380, 280, 520, 400, 0.7), (10, 10, 11, 11, 0.6)]
    broken = (np.inf, 0, 1, np.nan, 0.9)
    seen_by(landmarker, monkeypatch, 400, *boxes, broken)
    assert all(np.isfinite(face.points).all() for face in landmarker.find(picture(400, 300)))


def test_the_published_files_hold_these_networks(tmp_path: Path, landmarks: State, detector: State) -> None:
    for part, state, name in (("landmarks", landmarks, "fan.pth.tar"), ("detector", detector, "s3fd.pth")):
        torch.save(state, tmp_path / name)
        (read,) = read_parts(tmp_path / name)
        assert read.name == part
        assert read.state.keys() == state.keys()


def test_other_weights_are_refused(detector: State) -> None:
    with pytest.raises(WeightsError, match="not the weights of face-alignment"):
        FanLandmarker({"conv1.weight": torch.zeros(1)}, detector)


@pytest.mark.subprocess(warm="torch")
def test_the_package_itself_is_not_loaded(tmp_path: Path) -> None:
    """OpenCV's usual build needs a desktop's libraries, and numba half a gigabyte."""
    program = """
import sys
for name in ("cv2", "numba", "skimage"):
    sys.modules[name] = None
import torch
from PIL import Image
from styleclip_cli.landmarks import fan
make_fan, make_s3fd = fan.classes()
with torch.device("meta"):
    states = [net.state_dict() for net in (make_fan(4), make_s3fd())]
states = [{name: torch.zeros(x.shape, dtype=x.dtype) for name, x in state.items()} for state in states]
fan.FanLandmarker(*states, flip=False).find(Image.new("RGB", (64, 64)))
assert "face_alignment" not in sys.modules
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FACE_ALIGNMENT, "name", "face-alignment-that-nobody-has")
    monkeypatch.setattr(FACE_ALIGNMENT, "_modules", {})
    with pytest.raises(WeightsError, match="that-nobody-has is not installed"):
        FanLandmarker({}, {})


# ---- beside the package's own code, where it can be loaded ----


@pytest.fixture(scope="module")
def package():
    return pytest.importorskip("face_alignment", exc_type=ImportError)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_the_packages(package, seed: int) -> None:
    from face_alignment.detection.sfd.bbox import nms
    from face_alignment.detection.sfd.detect import get_predictions

    chance = torch.Generator().manual_seed(seed)
    outputs = []
    for level in range(6):
        side = max(160 // 2**level, 1)
        logits = (
            torch.randn(1, 2, side, side, generator=chance) * 2 + torch.tensor([3.0, -3.0])[:, None, None]
        )
        outputs += [logits, torch.randn(1, 4, side, side, generator=chance)]
    own = [x.softmax(dim=1).numpy() if n % 2 == 0 else x.numpy() for n, x in enumerate(outputs)]
    wanted = get_predictions(own, 1)[0]
    wanted = np.array([box for box in wanted[nms(wanted, 0.3)] if box[-1] > 0.5])
    assert len(wanted) > 5
    np.testing.assert_allclose(boxes_of(outputs), wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_points_are_the_packages(package) -> None:
    from face_alignment.utils import get_preds_fromhm

    heat = np.random.default_rng(0).random((1, 500, 64, 64), dtype=np.float32)
    heat[0, :4, [0, 0, 63, 63], [0, 63, 0, 63]] = 2  # in the corners nothing is beyond
    np.testing.assert_allclose(points_of(heat[0]), get_preds_fromhm(heat.copy())[0][0], atol=1e-6)


def test_a_mirrored_face_has_its_points_where_the_package_says(package) -> None:
    from face_alignment.utils import shuffle_lr

    np.testing.assert_array_equal(shuffle_lr(torch.arange(68)[:, None, None])[:, 0, 0], fan._MIRRORED)


@pytest.mark.slow
def test_whole_answers_are_the_packages(
    package, landmarks: State, detector: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It crops to whole pixels, scales without a filter and cuts its points to whole numbers."""
    from face_alignment import api

    torch.save(landmarks, tmp_path / "fan.pt")
    torch.save(detector, tmp_path / "s3fd.pt")
    monkeypatch.setattr(api, "load_file_from_url", lambda url: tmp_path / "fan.pt")
    own = package.FaceAlignment(
        package.LandmarksType.TWO_D,
        device="cpu",
        flip_input=True,
        compile=False,
        face_detector_kwargs={"path_to_detector": str(tmp_path / "s3fd.pt")},
    )
    photo = Image.fromarray(np.uint8(np.random.default_rng(0).integers(0, 256, (8, 8, 3)))).resize((500, 500))
    box = np.array([140.0, 150.0, 390.0, 400.0, 0.9])
    (wanted,) = own.get_landmarks_from_image(np.array(photo), detected_faces=[box])
    found = FanLandmarker(landmarks, detector)._face(photo, box).points
    # With random weights a heat map's largest value may be anywhere: most points agree to the pixel.
    assert np.median(np.abs(found - wanted).max(axis=1)) < 2.5
    own.flip_input = False
    own.face_alignment_net = Dot()
    monkeypatch.setattr(own, "face_alignment_net", Dot())
    (wanted,) = own.get_landmarks_from_image(np.array(photo), detected_faces=[box])
    landmarker = FanLandmarker(landmarks, detector, flip=False)
    monkeypatch.setattr(landmarker, "_fan", Dot())
    assert np.abs(landmarker._face(photo, box).points - wanted).max() < 2.5
