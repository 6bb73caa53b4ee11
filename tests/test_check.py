"""Checks of packs: the toy pack passes, packs with one part swapped fail where they should."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image

from benchmarks.check_packs import MEASURED, NETWORKS, swapped
from styleclip_cli.check import regions
from styleclip_cli.check.report import Check, Report, Value, suspects
from styleclip_cli.check.run import ITEMS, Item, check_pack
from styleclip_cli.check.samples import Amounts, NotApplicableError
from styleclip_cli.cli import main
from styleclip_cli.engine import Engine
from styleclip_cli.errors import DeviceError, WeightsError
from styleclip_cli.photo.align import Face
from styleclip_cli.weights import packs
from tiny_pack import make_pack

FEW = Amounts(samples=8, inverted=4, refined=1, steps=20, edited=4, pieces=1, pushed=6, styles=4000)
BY_NAME = {item.name: item for item in ITEMS}
READS, AGREE = "CLIP reads sentences as it should", "CLIP's words agree with what is seen"
FACES, PLACES, ALIGNED = (
    "samples are faces",
    "landmarks are where faces have them",
    "aligning leaves samples where they are",
)
RELEVANT, STATISTICS = "relevance is the generator's", "statistics are the generator's"
FAILS = {
    "identity: random": ["identity tells faces apart"],
    "CLIP: random text encoder": [READS, AGREE],
    "CLIP: random image encoder": [AGREE],
    "CLIP: another tokenizer": [READS, AGREE],
    "CLIP: the other activation": [READS],
    "encoder: random": ["the encoder finds faces again"],
    "landmarks: random": [FACES, PLACES, ALIGNED],
    "detector: random": [FACES],
    "generator: a little noise": [STATISTICS, "mappers work"],
    "generator: random": [FACES, STATISTICS, RELEVANT],
    "relevance: rows in another order": [RELEVANT, "edits change the right place"],
    "relevance: rows of a layer in another order": [RELEVANT],
    "statistics: x 1.5": [STATISTICS],
}
"""What fails at least; the quickest, where other checks tell the same."""


def checked(pack: Path, *names: str, amounts: Amounts = FEW) -> dict[str, Check]:
    """Some checks of a pack by name, on few samples."""
    report = check_pack(pack, amounts=amounts, items=[BY_NAME[name] for name in names])
    return {check.name: check for check in report.checks}


def tiny(folder: Path, **expected: object) -> Path:
    """A tiny random pack with expectations."""
    folder.mkdir()
    path = make_pack(folder) / packs.PACK_FILE
    content = tomllib.loads(path.read_text())
    path.write_text(tomli_w.dumps({**content, "expected": expected}))
    return folder


@pytest.fixture(scope="module")
def toy() -> Report:
    """All checks of the toy pack."""
    return check_pack(packs.TOY, amounts=FEW)


@pytest.mark.slow
def test_the_toy_pack_passes(toy: Report) -> None:
    assert {check.name: check.status for check in toy.checks if check.status != "passed"} == {
        "CLIP sees what the pack draws": "not applicable"
    }
    assert toy.counts.startswith("14 passed, 0 failed, 1 not applicable; ")
    assert toy.suspects == []
    assert toy.sheet is not None
    assert toy.sheet.width > 8 * 160


@pytest.mark.slow
def test_a_report_is_json(toy: Report) -> None:
    found = json.loads(json.dumps(toy.entries(), allow_nan=False))
    assert found["schema"] == "styleclip.check/1"
    assert found["counts"] == {"passed": 14, "failed": 0, "not applicable": 1}
    assert found["fingerprint"] == packs.find_pack(packs.TOY).fingerprint
    assert set(found["weights"]) > {"generator", "clip", "relevance"}
    assert found["machine"]["torch"] == torch.__version__
    first = found["checks"][0]["values"][0]
    bar = packs.find_pack(packs.TOY).expected.bars["faces"]
    assert first == {
        "name": "share with a face",
        "measured": 1.0,
        "bar": bar,
        "at_most": False,
        "good": True,
    }


@pytest.mark.parametrize("swap", [*NETWORKS, *MEASURED])
def test_a_swapped_part_fails_its_checks(tmp_path: Path, swap: str) -> None:
    # A random detector sees faces everywhere, and each place is looked at.
    amounts = replace(FEW, samples=1) if swap == "detector: random" else FEW
    found = checked(swapped(tmp_path / "pack", swap), *FAILS[swap], amounts=amounts)
    assert {check.name: check.status for check in found.values()} == dict.fromkeys(FAILS[swap], "failed")
    assert all(check.probably and check.hint for check in found.values())


def test_the_other_activation_of_an_image_encoder_is_found(tmp_path: Path) -> None:
    engine = Engine(tiny(tmp_path / "measured"), relevance="exact")
    engine.measure()
    engine.publish(tmp_path)
    expected = {"relevance": -1.0, "activation": 0.0, "subjects": ["a face", "a car", "a horse"]}
    for activation, status in ((None, "passed"), ("gelu", "failed")):
        folder = tmp_path / str(activation)
        folder.mkdir()
        _with_measurements(folder, tmp_path, activation, expected)
        (check,) = checked(folder, RELEVANT, amounts=replace(FEW, pushed=2)).values()
        assert (check.status, len(check.values)) == (status, 2), check


def _with_measurements(folder: Path, data: Path, activation: str | None, expected: dict) -> None:
    """A tiny pack with measurements that were made with CLIP's own activation."""
    from styleclip_cli.measure.relevance import Relevance
    from styleclip_cli.measure.statistics import StyleStatistics
    from styleclip_cli.weights.files import load_weights, save_weights
    from styleclip_cli.weights.store import sha256_of

    make_pack(folder)
    if activation:
        state, notes = load_weights(folder / "clip.safetensors")
        save_weights(folder / "clip.safetensors", {**state, activation: torch.ones(1)}, notes, half=False)
    path = folder / packs.PACK_FILE
    content = tomllib.loads(path.read_text()) | {"expected": expected}
    content["components"]["clip"]["sha256"] = sha256_of(folder / "clip.safetensors")
    path.write_text(tomli_w.dumps(content))
    pack = packs.find_pack(str(folder))
    relevance, found = Relevance.load(data / "relevance.npz"), StyleStatistics.load(data / "statistics.npz")
    relevance.save(folder / "relevance.npz", pack.fingerprint_of("generator", "clip"))
    found.save(folder / "statistics.npz", pack.fingerprint_of("generator"))
    for name in packs.DATA:
        file = f"{name}.npz"
        content["data"][name] = {"file": file, "sha256": sha256_of(folder / file)}
    path.write_text(tomli_w.dumps(content))


def test_what_is_not_expected_is_not_applicable(tmp_path: Path) -> None:
    report = check_pack(tiny(tmp_path / "tiny"), amounts=FEW)
    assert {check.status for check in report.checks} == {"not applicable"}
    told = {check.name: check.told for check in report.checks}
    assert told["samples are faces"] == "the pack has no detector"
    assert told["identity tells faces apart"] == "the pack states no expectation (identity)"
    assert told["mappers work"] == "the pack has no mapper"
    assert report.sheet is None


def _item(measure: Callable[..., list[Value]]) -> Item:
    return Item("a check", measure, (), ("clip",), "the part")


@pytest.mark.parametrize(
    ("error", "status", "told", "hint"),
    [
        (WeightsError("a file: damaged", "pull it"), "failed", "a file: damaged", "pull it"),
        (RuntimeError("shapes\ndiffer"), "failed", "RuntimeError: shapes differ", "styleclip models verify"),
        (NotApplicableError("no face was found"), "not applicable", "no face was found", ""),
    ],
)
def test_a_check_that_cannot_be_made_stops_no_other(
    pack: Path, error: Exception, status: str, told: str, hint: str
) -> None:
    def broken(samples: object) -> list[Value]:
        raise error

    first, second = check_pack(pack, items=[_item(broken), _item(lambda samples: [])]).checks
    assert (first.status, first.told) == (status, told)
    assert first.hint.startswith(hint)
    assert second.status == "passed"


def test_a_lack_of_memory_is_no_fault_of_the_pack(pack: Path) -> None:
    def broken(samples: object) -> list[Value]:
        raise DeviceError("out of memory")

    with pytest.raises(DeviceError):
        check_pack(pack, items=[_item(broken)])


def test_values_and_their_bars() -> None:
    assert Value("x", 1.0).good
    assert Value("x", 1.0, 1.0).good
    assert not Value("x", 0.9, 1.0).good
    assert Value("x", 0.9, 1.0, at_most=True).good
    assert not Value("x", float("nan"), 1.0).good
    assert not Value("x", float("nan"), 1.0, at_most=True).good
    assert str(Value("dB", 16.66, 14.0)) == "dB 16.7 (at least 14)"
    entries = Check("a", "failed", (Value("x", float("nan"), 1.0),)).entries()
    assert entries["values"][0]["measured"] == "nan"


def test_the_part_that_most_failures_share_is_suspected() -> None:
    def one(status: str, *parts: str) -> Check:
        return Check("a", status, parts=parts)  # type: ignore[arg-type]

    assert suspects([one("passed", "a"), one("not applicable", "b")]) == []
    assert suspects([one("failed", "a", "b"), one("failed", "b", "c"), one("passed", "b")]) == ["b"]
    assert suspects([one("failed", "a", "b"), one("passed", "a")]) == ["b"]
    assert suspects([one("failed", "a", "b")]) == ["a", "b"]


def _face() -> Face:
    """A face of 100 pixels: brows at 40, eyes at 45, nose to 60, mouth at 70, jaw to 90."""
    points = np.zeros((68, 2))
    points[:17] = np.stack([np.linspace(20, 80, 17), np.linspace(45, 90, 17)], axis=1)
    points[17:27] = np.stack([np.linspace(30, 70, 10), np.full(10, 40.0)], axis=1)
    points[27:36] = np.stack([np.linspace(45, 55, 9), np.linspace(45, 60, 9)], axis=1)
    points[36:42], points[42:48] = (38, 45), (62, 45)
    points[48:68] = np.stack([np.linspace(40, 60, 20), np.full(20, 70.0)], axis=1)
    return Face(points, 1.0)


def test_regions_are_where_landmarks_are() -> None:
    face = _face()
    mouth, eyes, hair = (regions.mask(region, face, 100) for region in ("mouth", "eyes", "hair"))
    assert mouth[70, 50]
    assert not mouth[45, 38]
    assert eyes[45, 38]
    assert not eyes[70, 50]
    assert hair[:40].all()
    assert not hair[40:].any()
    before, after = torch.zeros(3, 100, 100), torch.zeros(3, 100, 100)
    after[:, mouth] = 1
    assert regions.concentration(before, after, mouth) == pytest.approx(1 / float(mouth.float().mean()))
    assert regions.concentration(before, after, hair) == 0
    assert regions.concentration(before, before, mouth) == 0


def test_readings_follow_mouths_and_colours() -> None:
    face, image = _face(), torch.zeros(3, 100, 100)
    assert regions.read("mouth", image, face) < 0.3
    open_mouth = face.points.copy()
    open_mouth[65:68, 1] += 12
    assert regions.read("mouth", image, Face(open_mouth, 1.0)) > 0.4
    image[:, 45:61, 45:56] = -1  # nose
    assert regions.read("skin", image, face) < -0.5


def test_the_command_tells_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack, sheet = tiny(tmp_path / "tiny", identity=0.5, encoder_psnr=1.0, refine_gain=-50), tmp_path / "s.png"
    assert main(["models", "check", str(pack), "--sheet", str(sheet)]) == 7
    said = capsys.readouterr()
    assert "1 failed, 12 not applicable; " in said.out
    assert "identity tells faces apart: probably the identity network" in said.out
    assert "probably wrong: its identity" in said.out
    assert "error: 1 of 15 checks of the model pack tiny failed" in said.err
    with Image.open(sheet) as saved:
        assert saved.width > 160
    assert main(["models", "check", str(pack), "--sheet", str(sheet)]) == 5  # it exists


def test_the_command_tells_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = tiny(tmp_path / "tiny", encoder_psnr=1.0)
    assert main(["models", "check", str(pack), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"passed": 1, "failed": 0, "not applicable": 14}
    assert main(["models", "check", "absent"]) == 4
    assert main(["models", "check", "ffhq"]) == 4
    assert "styleclip models pull ffhq" in capsys.readouterr().err
