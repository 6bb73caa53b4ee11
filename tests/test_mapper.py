"""The latent mapper: networks as published; training that is stopped, killed, shared, and gone on with."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from checkpoints import mapper_checkpoint, random_mapper, save
from styleclip_cli.cli import main
from styleclip_cli.edits.mapper import TrainedMapper
from styleclip_cli.engine import Engine
from styleclip_cli.errors import BadInputError, WeightsError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.machine.distributed import World
from styleclip_cli.nets.mapper import LatentMapper
from styleclip_cli.save import read_metadata
from styleclip_cli.settings import OFFICIAL_TRAINING, MapperKind, TrainingSettings
from styleclip_cli.toyworld.cases import CASES
from styleclip_cli.training.checkpoint import Checkpoint, Task
from styleclip_cli.training.data import Given, Sampled
from styleclip_cli.training.journal import read as read_log
from styleclip_cli.training.optimizers import optimizer_of
from styleclip_cli.training.run import prepare
from styleclip_cli.training.trainer import Trainer
from styleclip_cli.truth.evaluate import evaluate
from styleclip_cli.truth.methods import has_mapper
from tiny_pack import make_pack


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(make_pack(tmp_path_factory.mktemp("pack")), device="cpu")


@pytest.fixture
def here(tmp_path: Path, tiny: Engine, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(tiny.pack.folder))
    return tmp_path


def new(engine: Engine, kind: MapperKind = "levels", **options: Any) -> LatentMapper:
    config = engine.generator.config
    return LatentMapper.new(kind, engine.generator.style_space, config.w_dim, **options)


def edit_of(engine: Engine, network: LatentMapper, strength: float = 0.1) -> Any:
    trained = TrainedMapper(network, "old face", "face", strength)
    return trained.for_generator(engine.generator, "any", "a test")


def trainer_of(engine: Engine, settings: TrainingSettings) -> Trainer:
    data = Sampled(engine.generator, settings.seed, settings.truncation_psi)
    return Trainer(
        engine.generator, engine.networks.clip, engine.networks.identity, "old face", "face", data, settings
    )


# Networks


def test_levels_that_are_left_out_change_nothing(tiny: Engine) -> None:
    face = FaceLatent(tiny.sample([1, 2]))
    moved = edit_of(tiny, new(tiny, levels=("medium",), zero_init=False)).edited(face, [1.0])[0]
    changed = (moved.w_plus - face.w_plus).abs().sum(dim=(0, 2)) > 0
    assert changed.nonzero().flatten().tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("kind", ["levels", "single", "styles"])
def test_alpha_scales_the_offset(tiny: Engine, kind: MapperKind) -> None:
    face = FaceLatent(tiny.sample([1, 2]))
    none, one, two = edit_of(tiny, new(tiny, kind, zero_init=False)).edited(face, [0.0, 1.0, 2.0])
    assert torch.equal(tiny.render([none]), tiny.render([face]))
    if kind == "styles":
        assert torch.equal(one.w_plus, face.w_plus)
        torch.testing.assert_close(2 * one.style_offset, two.style_offset)
        layers = tiny.generator.style_space.split(one.style_offset)
        for layer, part in zip(tiny.generator.style_space.layers, layers, strict=True):
            assert bool(part.any()) is not layer.is_rgb
    else:
        torch.testing.assert_close(2 * (one.w_plus - face.w_plus), two.w_plus - face.w_plus)


def test_a_new_mapper_starts_from_nearly_nothing_and_the_official_one_does_not(tiny: Engine) -> None:
    w_plus = tiny.sample([1, 2, 3])
    with torch.no_grad():
        zeroed, official = (new(tiny, zero_init=zero_init)(w_plus) for zero_init in (True, False))
    assert float(zeroed.abs().mean()) < 0.02 < 0.3 < float(official.abs().mean())


def test_the_axis_that_is_normalised(tiny: Engine) -> None:
    """Where all layers are the same, the published axis leaves nothing but signs; ours knows amounts."""
    w = tiny.sample([1])
    for norm in ("layers", "channels"):
        mapper = new(tiny, norm=norm, zero_init=False)
        with torch.no_grad():
            scaled = w * torch.linspace(0.5, 2, w.shape[2])
            same = torch.allclose(mapper(w), mapper(scaled), atol=1e-4)
        assert same is (norm == "layers")


@pytest.mark.parametrize("kind", ["levels", "single", "styles"])
def test_mappers_are_kept_whole(tiny: Engine, tmp_path: Path, kind: MapperKind) -> None:
    network = new(tiny, kind)
    trained = TrainedMapper(network, "old face", "face", 0.2, "abc", "tiny", {"steps": "7"})
    trained.save(tmp_path / "m.safetensors")
    read = TrainedMapper.load(tmp_path / "m.safetensors")
    assert (read.target, read.neutral, read.strength, read.fingerprint) == ("old face", "face", 0.2, "abc")
    assert (read.network.kind, read.network.norm, read.notes["steps"]) == (kind, "channels", "7")
    for name, tensor in network.tensors().items():
        assert torch.equal(tensor, read.network.tensors()[name])


def test_a_published_mapper_edits_unchanged(tiny: Engine, tmp_path: Path) -> None:
    """Its axis, its strength, its levels; the generator in its file plays no part."""
    width = tiny.generator.config.w_dim
    state = random_mapper(("course_mapping", width), ("medium_mapping", width))
    path = save(tmp_path / "mohawk.pt", mapper_checkpoint(state))
    edit = tiny.mapper(path)
    assert edit.trained.network.norm == "layers"
    assert (edit.trained.strength, edit.target) == (0.1, "a test")
    w_plus = tiny.sample([1, 2])
    moved = edit.edited(FaceLatent(w_plus), [1.2])[0].w_plus
    part = w_plus[:, :4]
    x = part / torch.sqrt((part**2).mean(dim=1, keepdim=True) + 1e-8)
    for i in range(1, 5):
        weight, bias = (state[f"mapper.course_mapping.mapping.{i}.{name}"] for name in ("weight", "bias"))
        x = x @ weight.T * (0.01 / math.sqrt(width)) + bias * 0.01
        x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    torch.testing.assert_close(moved[:, :4], part + 1.2 * 0.1 * x)
    assert torch.equal(moved[:, 8:], w_plus[:, 8:])


def test_mappers_of_other_generators_are_refused(tiny: Engine, tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", mapper_checkpoint(random_mapper(("course_mapping", 512))))
    with pytest.raises(WeightsError, match="another generator"):
        tiny.mapper(path)
    TrainedMapper(new(tiny), "x", fingerprint="0" * 64).save(tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match="another generator"):
        tiny.mapper(tmp_path / "m.safetensors")
    with pytest.raises(BadInputError, match="no mapper"):
        tiny.mapper("nobody")


# Training


def test_faces_of_a_step_are_always_the_same(tiny: Engine) -> None:
    sampled = Sampled(tiny.generator, 3, 0.7)
    assert torch.equal(sampled.batch(5, 4), Sampled(tiny.generator, 3, 0.7).batch(5, 4))
    assert not torch.equal(sampled.batch(5, 4), sampled.batch(6, 4))
    faces = torch.arange(10.0).view(10, 1, 1)
    given = Given(faces, seed=1, n_validation=2)
    assert given.validation(5).flatten().tolist() == [8, 9]
    for epoch in range(2):
        seen = torch.cat([given.batch(step, 4) for step in range(2 * epoch, 2 * epoch + 2)]).flatten()
        assert sorted(seen.tolist()) == list(range(8))
    with pytest.raises(BadInputError, match="more than one face"):
        Given(faces[:1], seed=0, n_validation=2)


def test_official_training_has_a_fixed_set_of_faces_near_the_average(tiny: Engine) -> None:
    """Where no latents are given: 5,000, truncated by 0.7 (what coach.py intends), others to validate."""
    assert (OFFICIAL_TRAINING.faces, OFFICIAL_TRAINING.truncation_psi) == (5000, 0.7)
    settings = replace(OFFICIAL_TRAINING, faces=6, n_validation=3, optimizer="adam")
    task = Task("old face", "face", "tiny", "", (), (), settings)
    data = prepare(tiny.networks, task, World())._data
    rounds = [torch.cat([data.batch(step, 2) for step in range(n, n + 3)]) for n in (0, 3)]
    first, second = ({tuple(face.flatten().tolist()) for face in faces} for faces in rounds)
    assert first == second
    assert len(first) == 6
    assert not first & {tuple(face.flatten().tolist()) for face in data.validation(3)}
    others = Sampled(tiny.generator, 0, 1.0).batch(-3, 6)
    near = tiny.generator.w_avg.lerp(others, 0.7)
    torch.testing.assert_close(rounds[0].sum(dim=0), near.sum(dim=0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["levels", "single", "styles"])
def test_a_mapper_learns(tiny: Engine, kind: MapperKind) -> None:
    settings = TrainingSettings(kind=kind, steps=40, batch=4, lambda_l2=0.01, n_validation=8)
    trainer = trainer_of(tiny, settings)
    before = trainer.validate()
    while trainer.done < settings.steps:
        terms = trainer.step()
    assert set(terms) == {"loss", "clip", "id", "l2"}
    assert trainer.validate()["loss"] < before["loss"] - 1e-4
    assert all(p.grad is None and not p.requires_grad for p in tiny.generator.parameters())


def test_the_official_loss(tiny: Engine) -> None:
    """One step's numbers, by the official formulas (coach.py, calc_loss)."""
    settings = replace(OFFICIAL_TRAINING, batch=3, optimizer="adam")
    trainer = trainer_of(tiny, settings)
    w = Sampled(tiny.generator, 0, settings.truncation_psi).batch(0, 3)
    with torch.no_grad():
        moved = w + 0.1 * trainer.mapper(w)
        x, y = tiny.generator(moved), tiny.generator(w)
        large = nn.functional.interpolate(x, scale_factor=7)
        side = large.shape[-1] // tiny.networks.clip.resolution
        seen = tiny.networks.clip.model.encode_image(nn.functional.avg_pool2d(large, side))
        seen = seen / seen.norm(dim=-1, keepdim=True)
        logits = (
            tiny.networks.clip.model.logit_scale.exp() * seen @ tiny.networks.clip.encode_text(["old face"]).T
        )
        wanted = {
            "clip": float((1 - logits / 100).mean()),
            "id": float(
                (1 - (tiny.networks.identity.embed(x) * tiny.networks.identity.embed(y)).sum(dim=1)).mean()
            ),
            "l2": float(nn.functional.mse_loss(moved, w)),
        }
    wanted["loss"] = 0.1 * wanted["id"] + 1.0 * wanted["clip"] + 0.8 * wanted["l2"]
    assert trainer.step() == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_ranger_is_the_papers(tiny: Engine) -> None:
    """RAdam, Lookahead and gradient centralisation, written down with the official constants."""
    pytest.importorskip("pytorch_optimizer")
    torch.manual_seed(0)
    weight, bias = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(4))
    ours = [weight.detach().clone(), bias.detach().clone()]
    slow, first, second = (
        [p.clone() for p in ours],
        *([torch.zeros_like(p) for p in ours] for _ in range(2)),
    )
    optimizer = optimizer_of("ranger", [weight, bias], 0.5)
    for step in range(1, 15):
        gradients = [torch.randn(4, 6), torch.randn(4)]
        weight.grad, bias.grad = (g.clone() for g in gradients)
        optimizer.step()
        gradients[0] = gradients[0] - gradients[0].mean(dim=1, keepdim=True)
        limit = 2 / (1 - 0.999) - 1
        length = limit - 2 * step * 0.999**step / (1 - 0.999**step)
        for i, g in enumerate(gradients):
            first[i] = 0.95 * first[i] + 0.05 * g
            second[i] = 0.999 * second[i] + 0.001 * g * g
            if length > 5:
                rect = (
                    (1 - 0.999**step)
                    * (length - 4)
                    / (limit - 4)
                    * (length - 2)
                    / length
                    * limit
                    / (limit - 2)
                )
                size = 0.5 * math.sqrt(rect) / (1 - 0.95**step)
                ours[i] = ours[i] - size * first[i] / (second[i].sqrt() + 1e-5)
            else:
                ours[i] = ours[i] - 0.5 / (1 - 0.95**step) * first[i]
            if step % 6 == 0:
                slow[i] = slow[i] + 0.5 * (ours[i] - slow[i])
                ours[i] = slow[i].clone()
    torch.testing.assert_close([weight.detach(), bias.detach()], ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "ranger"])
def test_going_on_is_as_not_having_stopped(tiny: Engine, tmp_path: Path, optimizer: Any) -> None:
    if optimizer == "ranger":
        pytest.importorskip("pytorch_optimizer")
    settings = TrainingSettings(steps=16, batch=2, optimizer=optimizer, crops=2, compare="direction")
    straight, first, second = (trainer_of(tiny, settings) for _ in range(3))
    for _ in range(16):
        straight.step()
    for _ in range(7):
        first.step()
    tensors, values = first.state()
    second.restore({name: t.clone() for name, t in tensors.items()}, json.loads(json.dumps(values)))
    for _ in range(9):
        second.step()
    for name, tensor in straight.mapper.tensors().items():
        assert torch.equal(tensor, second.mapper.tensors()[name])


TRAIN = ("--prompt", "old", "--steps", "80", "--batch", "2", "--validate-every", "20")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "styleclip_cli", "train-mapper", *arguments]


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_a_killed_run_goes_on_bit_for_bit(here: Path) -> None:
    """80 steps straight are 40, a SIGKILL at any time after that, and the rest."""
    whole = subprocess.Popen(command(*TRAIN, "--out", "whole"), stderr=subprocess.PIPE, env=os.environ)
    killed = subprocess.Popen(command(*TRAIN, "--out", "killed"), stderr=subprocess.PIPE, env=os.environ)
    while not any(line["step"] >= 50 for line in read_log(here / "killed")):
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    saved = Checkpoint.load(here / "killed").values["step"]
    assert 40 <= saved < 80
    again = subprocess.run(command("--resume", "killed"), capture_output=True, text=True, env=os.environ)
    assert again.returncode == 0, again.stderr
    assert f"going on after {saved} steps" in again.stderr
    _, told = whole.communicate(timeout=120)
    assert whole.returncode == 0, told
    for name in ("checkpoint.safetensors", "mapper.safetensors"):
        one, other = (load_file(here / folder / name) for folder in ("whole", "killed"))
        assert set(one) == set(other)
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert read_log(here / "whole") == read_log(here / "killed")
    pictures = [sorted(p.name for p in (here / run / "images").iterdir()) for run in ("whole", "killed")]
    assert pictures[0] == pictures[1] == [f"{step:06d}.png" for step in range(0, 81, 20)]


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_an_interrupt_saves_and_says_how_to_go_on(here: Path) -> None:
    process = subprocess.Popen(
        command("--prompt", "old", "--steps", "100000", "--out", "o"),
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    while not any(line["kind"] == "train" for line in read_log(here / "o")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "--resume o" in told
    done = Checkpoint.load(here / "o").values["step"]
    assert done >= 10
    assert main(["train-mapper", "--resume", "o", "--steps", str(done + 3)]) == 0
    assert Checkpoint.load(here / "o").values["step"] == done + 3


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_two_processes_train_as_one(here: Path) -> None:
    """torchrun with two processes, gloo: the loss curve of one process with the doubled batch."""
    options = ("--prompt", "old", "--steps", "30", "--batch", "4", "--validate-every", "10")
    assert main(["train-mapper", *options, "--out", "one"]) == 0
    launched = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "--standalone",
            "-m",
            "styleclip_cli",
            "train-mapper",
            *options,
            "--out",
            "two",
            "--device",
            "cpu",
        ],
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=240,
    )
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout.count("two  30 steps") == 1  # one of them tells
    one, two = read_log(here / "one"), read_log(here / "two")
    assert [(line["step"], line["kind"]) for line in one] == [(line["step"], line["kind"]) for line in two]
    assert len(one) >= 6
    for a, b in zip(one, two, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-4)
        assert b["clip"] == pytest.approx(a["clip"], abs=1e-4)


def test_half_precision_trains_too(tiny: Engine) -> None:
    settings = TrainingSettings(steps=4, batch=2, precision="bf16")
    trainer = trainer_of(tiny, settings)
    plain = trainer_of(tiny, replace(settings, precision="fp32"))
    for _ in range(4):
        terms, wanted = trainer.step(), plain.step()
    assert terms["loss"] == pytest.approx(wanted["loss"], abs=0.03)
    assert trainer.finite


@pytest.mark.parametrize("kind", ["levels", "styles"])
def test_half_precision_does_not_end_at_large_styles(tmp_path: Path, kind: MapperKind) -> None:
    """Styles of any size draw the same picture, as each layer is demodulated; float16 ends at 65504."""
    engine = Engine(make_pack(tmp_path), device="cpu")
    for name, tensor in engine.generator.named_parameters():
        if ".affine." in name and "torgb" not in name:
            tensor.data.mul_(1e4)
    settings = TrainingSettings(kind=kind, steps=2, batch=2, precision="fp16")
    half, full = trainer_of(engine, settings), trainer_of(engine, replace(settings, precision="fp32"))
    terms, wanted = half.step(), full.step()
    assert terms["loss"] == pytest.approx(wanted["loss"], abs=2e-3)
    assert math.isfinite(half.step()["loss"])
    assert half.finite


# Commands


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def train(*arguments: str) -> int:
    return main(["train-mapper", "--prompt", "old", "--steps", "4", "--batch", "2", *arguments])


def test_train_and_edit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--validate-every", "2") == 0
    captured = capsys.readouterr()
    assert "4 steps  loss" in captured.out
    assert main(["mappers", "--json"]) == 0
    (listed,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (listed["name"], listed["origin"], listed["prompt"]) == ("old", "trained", "old face")
    edit = ["edit", "seed:3", "--mapper", "old"]
    assert main([*edit, "--alpha", "1.2", "--out", "o.png", "--save-latent"]) == 0
    assert main([*edit, "--alpha", "0", "--out", "same.png"]) == 0
    assert not np.array_equal(pixels(here / "o.png"), pixels(here / "same.png"))
    kept = read_metadata(here / "o.png")
    assert kept is not None
    assert (kept["method"], kept["mapper"], kept["prompt"]) == ("latent mapper", "old", "old face")
    assert main(["edit", "seed:3", "--recipe", "o.png", "--out", "again.png"]) == 0
    assert np.array_equal(pixels(here / "again.png"), pixels(here / "o.png"))
    assert main(["edit", "o.npz", "--prompt", "sad", "--alpha", "0", "--out", "latent.png"]) == 0
    assert np.array_equal(pixels(here / "latent.png"), pixels(here / "o.png"))
    assert main([*edit, "seed:4-5", "--out", "all"]) == 0
    assert len(list((here / "all").iterdir())) == 3
    assert main(["mappers", "remove", "old"]) == 0
    assert main([*edit, "--out", "p.png"]) == 3


def test_faces_to_learn_from_can_be_given(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "--seed", "1-4", "--out", "faces"]) == 0
    torch.save(torch.randn(5, 8, 16), here / "train_faces.pt")
    given = ["--latents", "faces", "--latents", "faces/seed1.npz", "--latents", "seed:7"]
    assert train(*given, "--out", "a") == 0
    assert train("--latents", "train_faces.pt", "--validation", "seed:1-2", "--out", "b") == 0
    assert len(Checkpoint.load(here / "a").task.latents) == 3
    assert main(["train-mapper", "--resume", "a", "--steps", "6"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--levels", "coarse,top"], "unknown level", 2),
        (["--kind", "other"], "unknown --kind", 2),
        (["--kind", "styles", "--levels", "fine"], "does not go with", 2),
        (["--lr", "-1"], "--lr", 2),
        (["--optimizer", "sgd"], "unknown --optimizer", 2),
        (["--latents", "nothing.pt"], "no such file", 3),
        (["--validation", "seed:1"], "needs --latents", 2),
        (["--latents", "seed:1"], "more than one face", 3),
        (["--resume", "x"], "either --prompt or --resume", 2),
        (["--device", "abacus"], "unknown device", 6),
    ],
)
def test_a_mistake_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], words: str, code: int
) -> None:
    assert train("--out", "o", *arguments) == code
    told = capsys.readouterr().err
    assert words in told
    assert told.count("error:") == 1
    assert not (here / "o").exists()


def test_a_run_is_not_overwritten_by_accident(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--out", "o") == 0
    (here / "o" / "notes.txt").write_text("mine")
    before = (here / "o" / "mapper.safetensors").read_bytes()
    assert train("--out", "o") == 5
    assert "--resume o" in capsys.readouterr().err
    assert (here / "o" / "mapper.safetensors").read_bytes() == before
    assert train("--out", "o", "--overwrite", "--seed", "3") == 0
    assert (here / "o" / "mapper.safetensors").read_bytes() != before
    assert (here / "o" / "notes.txt").read_text() == "mine"


def test_checkpoints_of_strangers_are_checked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--out", "o") == 0
    path = here / "o" / "checkpoint.safetensors"
    whole = path.read_bytes()
    for wrong in (b'"batch": "two"', b'"batch": [12]', b'"batchx": 12  '):
        path.write_bytes(whole.replace(rb"\"batch\": 2,", wrong.replace(b'"', rb"\"")[:12] + b",", 1))
        assert main(["train-mapper", "--resume", "o"]) == 3
        assert capsys.readouterr().err.count("error:") == 1
    path.write_bytes(whole[:-100])
    assert main(["train-mapper", "--resume", "o"]) == 3
    assert main(["train-mapper", "--resume", "nowhere"]) == 3


def test_published_mappers_are_listed_and_cannot_be_had_offline(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mappers", "--models", "ffhq", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(listed) == 14
    assert {one["origin"] for one in listed} == {"published"}
    assert main(["mappers", "pull", "mohawk", "--models", "ffhq", "--offline", "--accept-licence"]) == 4
    assert main(["mappers", "pull", "nobody", "--models", "ffhq"]) == 2


# What the toy pack's own mappers do, by a judge that is not the CLIP they were trained with


@pytest.fixture(scope="module")
def toy() -> Engine:
    return Engine("toy", device="cpu")


@pytest.mark.slow
def test_built_in_mappers_do_what_they_say(toy: Engine) -> None:
    cases = [case for case in CASES if has_mapper(toy, case)]
    assert len(cases) >= 6
    found = evaluate(toy, 12, [case.prompt for case in cases[:3]], method="mapper", limit=10)
    for row in found.rows:
        assert row["success"] >= 0.8
        assert row["leak_default"] <= 0.1
        assert row["identity"] >= 0.8


def test_a_bad_run_still_leaves_a_mapper(here: Path) -> None:
    """The validation before the first step does not count."""
    assert train("--lr", "300", "--out", "o") == 0
    assert (here / "o" / "mapper.safetensors").is_file()


@pytest.mark.slow
def test_the_official_switch_takes_the_prompt_as_it_stands(here: Path) -> None:
    assert train("--out", "ours") == 0
    assert train("--out", "theirs", "--official", "--optimizer", "adam") == 0
    assert Checkpoint.load(here / "ours").task.target == "old face"
    task = Checkpoint.load(here / "theirs").task
    assert (task.target, task.settings.faces, task.settings.truncation_psi) == ("old", 5000, 0.7)


def test_one_run_for_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import filelock

    (here / "o").mkdir()
    with filelock.FileLock(here / "o" / ".lock"):
        assert train("--out", "o", "--overwrite") == 5
    assert "another run" in capsys.readouterr().err


@pytest.mark.subprocess
def test_odd_words_are_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train-mapper", "--literal", "--steps", "1", "--batch", "2", "--prompt", "[/b] face"]
    assert main(command) == 0
    assert main(["mappers"]) == 0
    assert "[/b] face" in capsys.readouterr().out
    assert train("--out", "x" * 300) == 5
    assert main(["train-mapper", "--resume", "x" * 300]) == 3


def test_edited_latents_are_no_faces_to_learn_from(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", "seed:1", "-p", "sad", "--save-latent", "--out", "s.png"]) == 0
    assert train("--latents", "s.npz", "--latents", "seed:1-3", "--out", "o") == 3
    assert "edited in StyleSpace" in capsys.readouterr().err
