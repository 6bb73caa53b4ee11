"""Latent optimization: the official trajectory, what ours adds, and what a person sees of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from checkpoints import arrays, state
from styleclip_cli import latents
from styleclip_cli.cli import main
from styleclip_cli.edits.losses import IdentityLoss, TextLoss, cropped
from styleclip_cli.edits.optimize import Optimization, Watch, learning_rate_at
from styleclip_cli.engine import Engine
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.nets.clip import Clip
from styleclip_cli.save import read_metadata
from styleclip_cli.settings import OFFICIAL_OPTIMIZE, OptimizeSettings
from styleclip_cli.toyworld.attributes import INDEX
from styleclip_cli.truth.judging import read_all
from styleclip_cli.truth.worlds import load_judge
from tiny_pack import SIDE, make_pack

TARGET = "face with glasses"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(make_pack(tmp_path_factory.mktemp("pack")), device="cpu")


@pytest.fixture
def here(tmp_path: Path, tiny: Engine, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(tiny.pack.folder))
    return tmp_path


def optimization(engine: Engine, settings: OptimizeSettings, watch: Watch | None = None) -> Optimization:
    return engine.optimization(TARGET, "face", settings, literal=True, watch=watch)


@pytest.mark.parametrize(
    ("steps", "values"),
    [
        (300, {0: 0.0, 1: 0.00667, 2: 0.01333, 15: 0.1, 225: 0.1, 270: 0.03455, 299: 4e-5}),
        (40, {0: 0.0, 1: 0.05, 2: 0.1, 30: 0.1, 39: 0.00245}),
    ],
)
def test_the_official_step_sizes(steps: int, values: dict[int, float]) -> None:
    for step, value in values.items():
        assert learning_rate_at(step, steps, 0.1) == pytest.approx(value, rel=0.02, abs=5e-6)


def official(engine: Engine, w_plus: Tensor, steps: int, in_s: bool, lambda_id: float = 0.0) -> Tensor:
    """The official loop, written down as it is published (but for its devices)."""
    generator, clip = engine.generator, engine.networks.clip
    parts = [s.clone() for s in generator.styles(w_plus)]
    variables = [
        s.requires_grad_(not layer.is_rgb)
        for s, layer in zip(parts, generator.style_space.layers, strict=True)
    ]
    latent = w_plus.clone().requires_grad_(True)
    free = [s for s in variables if s.requires_grad] if in_s else [latent]
    start = [s.detach().clone() for s in parts] if in_s else [w_plus.clone()]
    optimizer = torch.optim.Adam(free, lr=0.1)
    original = generator(w_plus).detach()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, steps, 0.1)
        image = generator.synthesize(variables) if in_s else generator(latent)
        large = F.interpolate(image, scale_factor=7)
        seen = F.normalize(clip.model.encode_image(F.avg_pool2d(large, SIDE * 7 // clip.resolution)), dim=-1)
        logits = clip.model.logit_scale.exp() * seen @ clip.encode_text([TARGET]).T
        now = variables if in_s else [latent]
        loss = (1 - logits / 100).sum() + 0.008 * sum(
            ((a - b) ** 2).sum() for a, b in zip(start, now, strict=True)
        )
        if lambda_id:
            a, b = (engine.networks.identity.embed(x)[0] for x in (image, original))
            loss = loss + lambda_id * (1 - a @ b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if in_s:
        return torch.cat([a.detach() - b for a, b in zip(variables, start, strict=True)], dim=-1)
    return latent.detach() - w_plus


@pytest.mark.parametrize("lambda_id", [0.0, 0.2])
@pytest.mark.parametrize("space", ["w+", "s"])
def test_the_official_trajectory(tiny: Engine, space: str, lambda_id: float) -> None:
    w_plus = tiny.sample([3]).clone()
    settings = replace(OFFICIAL_OPTIMIZE, space=space, steps=20, lambda_id=lambda_id)
    found = optimization(tiny, settings).edited(FaceLatent(w_plus), [1.0])[0]
    offset = found.style_offset if space == "s" else found.w_plus - w_plus
    wanted = official(tiny, w_plus, 20, space == "s", lambda_id)
    assert float(wanted.abs().max()) > 0.1
    torch.testing.assert_close(offset, wanted, rtol=1e-3, atol=1e-4)


def test_the_official_clip_loss() -> None:
    """1 - logits / 100, with the numbers of the official implementation."""
    found = arrays("clip")
    clip = Clip.from_state_dict(state(found))
    wanted = 1 - torch.from_numpy(found["logits_per_image"]) / 100
    for k, prompt in enumerate(json.loads(str(found["prompts"]))):
        # At the size that CLIP reads, the official x7 and average change nothing, and nothing is normalised.
        loss = TextLoss(clip, prompt, "", "text", "styleclip")(torch.from_numpy(found["pixels"]).float())
        torch.testing.assert_close(loss, wanted[:, k], rtol=1e-4, atol=1e-6)


def test_the_identity_loss(tiny: Engine) -> None:
    one, other = (tiny.synthesize(tiny.styles(tiny.sample([seed]))) for seed in (1, 2))
    loss = IdentityLoss(tiny.networks.identity)
    assert float(loss(one, loss.person(one))) == pytest.approx(0, abs=1e-5)
    cosine = float((tiny.networks.identity.embed(one) * tiny.networks.identity.embed(other)).sum())
    assert float(loss(other, loss.person(one))) == pytest.approx(1 - cosine, abs=1e-5)


def test_crops_zoom_in(tiny: Engine) -> None:
    picture = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    whole = cropped(picture, torch.tensor([[1.0, 0.5, 0.5]]))
    torch.testing.assert_close(whole, picture, atol=1e-5, rtol=0)
    left, right = (cropped(picture, torch.tensor([[0.0, x, 0.5]])) for x in (0.0, 1.0))
    assert float(left.max()) < 0.6 < float(right.max())
    assert float(right.min()) > -0.6 > float(left.min())


def loss_of(engine: Engine, face: FaceLatent, start: FaceLatent, settings: OptimizeSettings) -> Tensor:
    text = TextLoss(engine.networks.clip, TARGET, "face", settings.compare, settings.preprocessing)
    l2 = (face.w_plus - start.w_plus).square().flatten(1).sum(dim=1)
    return text(engine.render([face])) + settings.lambda_l2 * l2


@pytest.mark.parametrize("radius", [0.0, 1.0])
def test_the_best_latent_is_kept(tiny: Engine, radius: float) -> None:
    """With steps far too large the last one is bad; what is returned is not, and it is what is shown."""
    start = FaceLatent(tiny.sample([1, 2, 3]))
    settings = OptimizeSettings(
        steps=12, learning_rate=3.0, neighbourhood_radius=radius, preprocessing="styleclip"
    )
    best = optimization(tiny, settings).edited(start, [1.0])[0]
    last = optimization(tiny, replace(settings, keep="last")).edited(start, [1.0])[0]
    assert (loss_of(tiny, best, start, settings) <= loss_of(tiny, last, start, settings) + 1e-5).all()
    if not radius:
        assert (loss_of(tiny, best, start, settings) <= loss_of(tiny, start, start, settings) + 1e-5).all()


def test_no_network_keeps_gradients(tiny: Engine) -> None:
    optimization(tiny, OptimizeSettings(steps=3, lambda_id=0.1)).edited(FaceLatent(tiny.sample([1])), [1.0])
    for network in (tiny.generator, tiny.networks.clip, tiny.networks.identity):
        assert all(p.grad is None and not p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("radius", [0.0, 1.0])
@pytest.mark.parametrize("space", ["w+", "s"])
def test_only_the_chosen_layers_move(tiny: Engine, space: str, radius: float) -> None:
    start = FaceLatent(tiny.sample([5]))
    settings = OptimizeSettings(steps=6, space=space, layers=(2, 3), neighbourhood_radius=radius, keep="last")
    found = optimization(tiny, settings).edited(start, [1.0])[0]
    if space == "w+":
        moved = (found.w_plus - start.w_plus).abs().sum(dim=2)[0] > 0
        assert moved.nonzero().flatten().tolist() == [2, 3]
    else:
        assert torch.equal(found.w_plus, start.w_plus)
        channels = found.style_offset[0].nonzero().flatten().tolist()
        moved = {tiny.generator.style_space.locate(i)[0] for i in channels}
        assert {layer.ws_index for layer in moved} == {2, 3}
        assert not any(layer.is_rgb for layer in moved)


@pytest.mark.parametrize("radius", [0.0, 1.0])
def test_several_faces_at_once_are_as_each_alone(tiny: Engine, radius: float) -> None:
    faces = FaceLatent(tiny.sample([1, 2, 3])).split()
    settings = OptimizeSettings(steps=24, learning_rate=0.01, lambda_l2=1e-4, batch=2)
    edit = optimization(tiny, replace(settings, neighbourhood_radius=radius, patience=2, crops=1))
    together = edit.edited(FaceLatent.joined(faces), [1.0])[0].split()
    for face, found in zip(faces, together, strict=True):
        torch.testing.assert_close(edit.edited(face, [1.0])[0].w_plus, found.w_plus, rtol=1e-3, atol=1e-3)


def test_alpha_scales_the_way(tiny: Engine) -> None:
    start = FaceLatent(tiny.sample([1]))
    none, half, whole = optimization(tiny, OptimizeSettings(steps=5)).edited(start, [0.0, 0.5, 1.0])
    assert torch.equal(none.w_plus, start.w_plus)
    torch.testing.assert_close(half.w_plus - start.w_plus, (whole.w_plus - start.w_plus) / 2)


def test_edits_follow_each_other(tiny: Engine) -> None:
    """What one edit added to the styles is still there after the next."""
    added = torch.randn(1, tiny.generator.style_space.size)
    twice = FaceLatent(tiny.sample([1])).moved(style_offset=added).moved(style_offset=2 * added)
    torch.testing.assert_close(twice.style_offset, 3 * added)
    start = FaceLatent(tiny.sample([1]), style_offset=torch.randn(1, tiny.generator.style_space.size))
    in_w, in_s = (
        optimization(tiny, OptimizeSettings(steps=4, space=space)).edited(start, [0.0])[0]  # type: ignore[arg-type]
        for space in ("w+", "s")
    )
    shown = tiny.render([start])
    assert torch.equal(tiny.render([in_w]), shown)
    assert torch.equal(tiny.render([in_s]), shown)
    assert not torch.equal(tiny.render([FaceLatent(start.w_plus)]), shown)


def test_it_can_be_stopped_and_watched(tiny: Engine) -> None:
    told: list[tuple[int, int, str]] = []
    frames: list[tuple[int, Tensor]] = []
    watch = Watch(
        advance=lambda done, total, note="": told.append((done, total, note)),
        stop=lambda: len(told) >= 7,
        frame=lambda step, pictures: frames.append((step, pictures)),
        every=2,
    )
    settings = OptimizeSettings(
        steps=20, learning_rate=0.01, neighbourhood_radius=0.0, lambda_l2=1e-4, lambda_id=1e-3
    )
    found = optimization(tiny, settings, watch).edited(FaceLatent(tiny.sample([1, 2])), [1.0])[0]
    assert [done for done, _, _ in told] == list(range(1, 8))
    assert all(name in told[0][2] for name in ("clip", "l2", "id"))
    assert [step for step, _ in frames] == [2, 4, 6, 7]
    assert torch.equal(frames[-1][1], tiny.render([found]))  # the last one is the result
    assert frames[0][1].shape == (2, 3, SIDE, SIDE)
    assert not torch.equal(found.w_plus, tiny.sample([1, 2]))


def test_a_plateau_ends_it(tiny: Engine) -> None:
    told: list[int] = []
    settings = OptimizeSettings(steps=60, neighbourhood_radius=0.0, learning_rate=1e-6, patience=5)
    watch = Watch(advance=lambda done, total, note="": told.append(done))
    optimization(tiny, settings, watch).edited(FaceLatent(tiny.sample([1])), [1.0])
    assert 5 <= len(told) < 12


@pytest.mark.slow
def test_it_makes_a_drawn_face_smile() -> None:
    """Judged by a network that is not the CLIP that was optimized."""
    engine = Engine("toy", device="cpu")
    judge, k = load_judge(engine), INDEX["smile"]
    start = FaceLatent(engine.sample([41, 44]))
    found = engine.optimization("smiling").edited(start, [1.0])[0]
    before, after = (read_all(judge, engine.render([face]).clamp(-1, 1)) for face in (start, found))
    assert (after[:, k] > before[:, k].clamp(min=0.6)).all()
    others = [i for i in range(after.shape[1]) if i != k]
    assert float((after - before)[:, others].abs().mean()) < 0.12


def run(here: Path, *arguments: str) -> int:
    return main(["edit", *arguments, "--method", "optimize", "--iterations", "6"])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_the_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--prompt", "with glasses", "--save-latent", "--save-steps", "2", "--animation", "a.gif")
    assert run(here, "seed:3", *arguments, "--out", "o.png") == 0
    captured = capsys.readouterr()
    assert 'target "face with glasses"' in captured.err
    assert "w+ 6 steps" in captured.out
    assert sorted(p.name for p in (here / "o_steps").iterdir()) == ["00002.png", "00004.png", "00006.png"]
    with Image.open(here / "a.gif") as film:
        assert film.n_frames >= 3
    kept = read_metadata(here / "o.png")
    assert kept is not None
    assert (kept["method"], kept["iterations"], kept["space"]) == ("latent optimization", 6, "w+")
    # The picture belongs to the saved latent.
    assert main(["edit", "o.npz", "--prompt", "old", "--alpha", "0", "--out", "again.png"]) == 0
    assert np.array_equal(pixels(here / "again.png"), pixels(here / "o.png"))
    # And its recipe makes the same picture again.
    assert main(["edit", "seed:3", "--recipe", "o.png", "--out", "repeated.png"]) == 0
    assert np.array_equal(pixels(here / "repeated.png"), pixels(here / "o.png"))


def test_several_inputs_are_optimized_together(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(here, "seed:1-3", "--prompt", "old", "--out", "all", "--batch", "3") == 0
    assert len(list((here / "all").iterdir())) == 3
    assert capsys.readouterr().out.count("\n") == 3


def test_free_needs_no_face(here: Path) -> None:
    assert run(here, "--free", "--prompt", "old", "--literal", "--save-latent", "--out", "o.png") == 0
    assert latents.read(here / "o.npz").provenance["sources"] == ["average"]
    assert read_metadata(here / "o.png")["lambda_l2"] == 0


def test_the_official_settings_are_a_switch(here: Path) -> None:
    assert run(here, "seed:1", "--prompt", "old", "--official", "--space", "s", "--out", "o.png") == 0
    kept = read_metadata(here / "o.png")
    assert (kept["space"], kept["lambda_l2"], kept["lambda_id"]) == ("s", 0.008, 0)
    assert kept["prompt"] == "old"  # not "old face": the paper's code takes texts as they stand
    assert main(["edit", "seed:1", "--recipe", "o.png", "--out", "again.png"]) == 0
    assert read_metadata(here / "again.png")["prompt"] == "old"


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_an_interrupt_keeps_the_best_so_far(here: Path) -> None:
    command = [sys.executable, "-m", "styleclip_cli", "edit", "seed:1", "seed:2", "--method", "optimize"]
    command += ["--prompt", "old", "--iterations", "100000", "--batch", "1", "--out", "o"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("optimizing"):
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "what was found so far is kept" in told
    assert read_metadata(here / "o" / "seed1_old.png")["iterations"] < 100_000
    assert [p.name for p in (here / "o").iterdir()] == ["seed1_old.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--space", "z"], "unknown --space"),
        (["--lr", "0"], "--lr"),
        (["--lambda-l2", "-1"], "--lambda-l2"),
        (["--layers", "fs3"], "unknown layers"),
        (["--layers", "70"], "no layers 70"),
        (["--beta", "0.1"], "--beta"),
        (["--direction", "d.npz"], "--direction does not go with --method optimize"),
        (["--mapper", "m"], "one of --prompt"),
        (["--animation", "a.avi"], "a.avi"),
        (["--face", "all", "--save-steps", "2"], "one face"),
        (["--method", "magic"], "unknown --method"),
    ],
)
def test_a_mistake_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], words: str
) -> None:
    start = ["edit", "seed:1", "--prompt", "old", "--out", "o.png"]
    if "--method" not in arguments:
        start += ["--method", "optimize"]
    assert main([*start, *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("error:") == 1
    assert not list(here.iterdir())


def test_options_of_optimization_are_for_it_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", "seed:1", "--prompt", "old", "--iterations", "3"]) == 2
    assert "--iterations: not for --method global" in capsys.readouterr().err


def test_animations(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    av = pytest.importorskip("av")
    assert run(here, "seed:1", "--prompt", "old", "--out", "a.png", "--animation", "a.mp4") == 0
    with av.open(str(here / "a.mp4")) as film:
        pictures = list(film.decode(video=0))
    assert len(pictures) > 6
    assert (pictures[0].width, pictures[0].height) == (SIDE, SIDE)
    assert run(here, "seed:1", "--prompt", "old", "--out", "b.png", "--animation", "b.webp") == 0
    with Image.open(here / "b.webp") as moving:
        assert moving.n_frames >= 3  # equal ones are joined
    assert run(here, "seed:1-2", "--prompt", "old", "--out", "o", "--animation", "c.gif") == 2
    assert "one input" in capsys.readouterr().err
    assert run(here, "seed:1", "--prompt", "old", "--out", "c.png", "--animation", "b.webp") == 5


def test_recipes_repeat_their_own_method(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Official and free optimizations are repeated; another method takes the words, not the numbers."""
    assert run(here, "seed:1", "--prompt", "old", "--official", "--seed", "3", "--out", "o.png") == 0
    assert main(["edit", "seed:1", "--recipe", "o.png", "--out", "p.png"]) == 0
    assert np.array_equal(pixels(here / "o.png"), pixels(here / "p.png"))
    assert run(here, "--free", "--prompt", "old", "--out", "free.png") == 0
    assert main(["edit", "--recipe", "free.png", "--out", "free2.png"]) == 0
    assert np.array_equal(pixels(here / "free.png"), pixels(here / "free2.png"))
    assert main(["edit", "seed:1", "--recipe", "o.png", "--method", "global", "--out", "g.png"]) == 0
    assert read_metadata(here / "g.png")["alphas"] == [4]  # the pack's, not the optimization's
    assert main(["edit", "seed:1", "--prompt", "sad", "--layers", "fs3", "--out", "f.png"]) == 0
    again = ["edit", "seed:1", "--recipe", "f.png", "--method", "optimize", "--iterations", "3"]
    assert main([*again, "--out", "h.png"]) == 0
    assert read_metadata(here / "h.png")["alphas"] == [1]


def test_a_film_does_not_overwrite_the_result(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(here, "seed:1", "--prompt", "old", "--out", "x.webp", "--animation", "x.webp") == 2
    assert not list(here.iterdir())
    assert run(here, "seed:1", "--prompt", "old", "--out", "o.png", "--save-steps", "2") == 0
    assert run(here, "seed:1", "--prompt", "old", "--out", "o.png", "--save-steps", "4", "--overwrite") == 0
    assert sorted(p.name for p in (here / "o_steps").iterdir()) == ["00004.png", "00006.png"]
    long = "x" * 300
    assert run(here, "seed:1", "--prompt", "old", "--out", f"{long}.png", "--save-steps", "2") == 5
