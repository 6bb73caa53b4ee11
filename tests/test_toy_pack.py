"""What the embedded pack promises: edits do what they say, by judges that no edit is made with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from styleclip_cli.cli import main
from styleclip_cli.engine import Engine
from styleclip_cli.errors import UsageError
from styleclip_cli.toyworld.attributes import INDEX, attributes_of_normals, shown, visibility
from styleclip_cli.toyworld.cases import CASES
from styleclip_cli.toyworld.renderer import render
from styleclip_cli.truth.evaluate import evaluate
from styleclip_cli.truth.judging import psnr, read_all
from styleclip_cli.truth.worlds import load_judge
from styleclip_cli.weights.packs import find_pack
from toyworld_training.judge import r2

N = 24


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("toy", device="cpu")


@pytest.fixture(scope="module")
def faces() -> tuple[torch.Tensor, torch.Tensor]:
    u = torch.randn(96, 32, generator=torch.Generator().manual_seed(77_000_000))
    a = attributes_of_normals(u)
    return a, torch.cat([render(part) for part in a.split(32)])


def test_the_pack_is_small_and_whole() -> None:
    pack = find_pack("toy")
    assert sum(path.stat().st_size for path in pack.folder.iterdir()) < 16_000_000
    for part in pack.components:
        assert pack.component(part).is_file()


def test_the_judge_reads_faces(engine: Engine, faces: tuple[torch.Tensor, torch.Tensor]) -> None:
    truth, pictures = faces
    fit = r2(read_all(load_judge(engine), pictures), shown(truth), (visibility(truth) > 0.9).float())
    assert float(fit.mean()) > 0.95


def test_pictures_survive_inversion(engine: Engine, faces: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, pictures = faces
    inverted = engine.synthesize(engine.styles(engine.invert_w_plus(pictures[:N], steps=0))).clamp(-1, 1)
    assert float(psnr(inverted, pictures[:N]).mean()) > 22


@pytest.mark.slow
def test_refining_an_inversion_brings_it_closer(
    engine: Engine, faces: tuple[torch.Tensor, torch.Tensor]
) -> None:
    picture = faces[1][:1]
    errors = [
        float(
            psnr(
                engine.synthesize(engine.styles(engine.invert_w_plus(picture, steps=steps))).clamp(-1, 1),
                picture,
            )
        )
        for steps in (0, 30)
    ]
    assert errors[1] > errors[0]


PROMPTS = ("with glasses", "with a beard", "smiling", "without a hat", "with red hair")


@pytest.fixture(scope="module")
def rows(engine: Engine) -> dict[str, dict[str, Any]]:
    """What is measured of each prompt, on persons that are drawn and inverted once."""
    return {row["prompt"]: row for row in evaluate(engine, N, PROMPTS).rows}


@pytest.mark.slow
@pytest.mark.parametrize("prompt", PROMPTS)
def test_an_edit_does_what_it_says_and_little_else(rows: dict[str, dict[str, Any]], prompt: str) -> None:
    row = rows[prompt]
    assert row["n"] == N
    assert row["success"] >= 0.7
    assert row["leak_default"] <= 0.12
    assert row["identity"] >= 0.8


def test_a_negative_strength_goes_the_other_way(engine: Engine) -> None:
    judge, k = load_judge(engine), INDEX["smile"]
    w_plus = engine.sample(range(40, 48))
    down, up = engine.edit(w_plus, engine.direction("smiling"), [-4.0, 4.0]).clamp(-1, 1).unbind(1)
    assert (read_all(judge, up)[:, k] > read_all(judge, down)[:, k] + 0.2).float().mean() > 0.8


def test_strength_zero_changes_nothing(engine: Engine) -> None:
    w_plus = engine.sample([1])
    picture = engine.edit(w_plus, engine.direction("with glasses"), [0.0])[:, 0]
    assert torch.equal(picture, engine.synthesize(engine.styles(w_plus)))


def test_published_measurements_belong_to_the_pack(engine: Engine) -> None:
    assert engine.pack.published("relevance") is not None
    assert len(engine.relevance().channels) == sum(
        layer.width for layer in engine.generator.style_space.editable("all")
    )
    assert engine.statistics().n == 100_000


def test_evaluate_refuses_what_it_cannot_judge(engine: Engine) -> None:
    with pytest.raises(UsageError, match="no truth is known"):
        evaluate(engine, 4, ["with a monocle"])
    assert len({case.attribute for case in CASES}) >= 14


def test_evaluate_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "e.json"
    assert main(["evaluate", "--n", "4", "-p", "with glasses", "-p", "a bald head", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert [row["attribute"] for row in found["rows"]] == ["hair_length", "glasses"]
    assert {"success", "clean", "leak", "identity"} <= found["mean"].keys()
    assert "with glasses" in capsys.readouterr().out


def test_the_readmes_edit(tmp_path: Path, engine: Engine) -> None:
    source = Path(__file__).parent.parent / "examples" / "face.png"
    out = tmp_path / "edited.png"
    arguments = ["edit", str(source), "--prompt", "with glasses", "--neutral", "face", "--alpha", "4"]
    arguments += ["--models", "toy"]
    assert main([*arguments, "--out", str(out)]) == 0
    before, after = (
        torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None] / 127.5 - 1
        for path in (source, out)
    )
    judge, k = load_judge(engine), INDEX["glasses"]
    assert float(read_all(judge, before)[0, k]) < 0.2
    assert float(read_all(judge, after)[0, k]) > 0.8
