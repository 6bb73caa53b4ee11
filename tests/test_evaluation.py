"""The measures of `styleclip evaluate` on any pack, each against a computation of another kind."""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image
from scipy import ndimage
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from styleclip_cli import Engine, toml
from styleclip_cli.cli import main
from styleclip_cli.cli.evaluation import PackOptions, evaluate_pack
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import BadInputError, OutputError, UsageError, WeightsError
from styleclip_cli.evaluation import faces, learned, metrics, run, sentences, summary
from styleclip_cli.evaluation.report import COLUMNS, present, to_latex
from styleclip_cli.evaluation.run import INVERSION, MEASURES, PARTS, Evaluation
from styleclip_cli.evaluation.sentences import Sentence
from styleclip_cli.machine import cache
from styleclip_cli.nets.clip import Clip, clip_model_class
from styleclip_cli.pictures.plot import Panel, write_plot
from styleclip_cli.weights.files import save_weights
from styleclip_cli.weights.packs import find_pack
from tiny_pack import make_pack

BOTH = (Sentence("smiling"), Sentence("with glasses", "person"))


def pair(side: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures [2, 3, side, side] in [0, 1] that are alike: structure, and noise of different strength."""
    rng = np.random.RandomState(seed)
    smooth = ndimage.gaussian_filter(rng.rand(2, 3, side, side), (0, 0, 3, 3)) * 4 - 1.5
    noise = rng.randn(2, 3, side, side) * np.array([0.02, 0.2])[:, None, None, None]
    return tuple(torch.from_numpy(x.clip(0, 1)).float() for x in (smooth, smooth + noise))  # type: ignore[return-value]


def as_numpy(picture: torch.Tensor) -> np.ndarray:
    return picture.permute(1, 2, 0).double().numpy()


def reference_ssim(a: torch.Tensor, b: torch.Tensor) -> tuple[float, np.ndarray]:
    return structural_similarity(
        as_numpy(a),
        as_numpy(b),
        data_range=1,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )


@pytest.mark.parametrize("side", [32, 75])
def test_psnr_and_ssim_are_those_of_scikit_image(side: int) -> None:
    a, b = pair(side)
    found = metrics.ssim(metrics.ssim_map(a, b))
    decibels = metrics.psnr(metrics.mse(a, b))
    for k in range(2):
        mean, _ = reference_ssim(a[k], b[k])
        assert float(found[k]) == pytest.approx(mean, abs=2e-5)
        wanted = peak_signal_noise_ratio(as_numpy(a[k]), as_numpy(b[k]), data_range=1)
        assert float(decibels[k]) == pytest.approx(wanted, abs=1e-3)
    assert metrics.ssim(metrics.ssim_map(a, a)).tolist() == pytest.approx([1, 1])
    assert metrics.psnr(metrics.mse(a, a)).tolist() == [100, 100]


def test_measures_outside_count_the_chosen_pixels_alone() -> None:
    a, b = pair(48)
    where = torch.from_numpy(np.random.RandomState(1).rand(2, 1, 48, 48) > 0.6)
    mse, similar = metrics.mse(a, b, where), metrics.ssim(metrics.ssim_map(a, b), where)
    for k in range(2):
        chosen = where[k, 0].numpy()
        wanted = mean_squared_error(as_numpy(a[k])[chosen], as_numpy(b[k])[chosen])
        assert float(mse[k]) == pytest.approx(wanted, rel=1e-5)
        _, full = reference_ssim(a[k], b[k])
        edge = metrics.BORDER
        inside = (slice(edge, -edge), slice(edge, -edge))
        assert float(similar[k]) == pytest.approx(full[inside][chosen[inside]].mean(), abs=2e-5)


@pytest.mark.parametrize(("side", "sigma", "reach"), [(64, 1, 3), (512, 4, 10)])
def test_the_region_is_where_the_smoothed_difference_is_large(side: int, sigma: int, reach: int) -> None:
    a, b = pair(side)
    square = (..., slice(side // 4, side // 2), slice(side // 4, side // 2))
    b[square] = 1 - a[square]
    found = metrics.changed_region(a, b)
    for k in range(2):
        difference = np.abs(as_numpy(b[k]) - as_numpy(a[k])).mean(axis=2)
        if side > 256:
            difference = difference.reshape(256, side // 256, 256, side // 256).mean(axis=(1, 3))
        smooth = ndimage.gaussian_filter(difference, sigma, mode="nearest", radius=reach)
        region = smooth > 0.25 * smooth.max()
        wanted = region.repeat(side // len(region), 0).repeat(side // len(region), 1)
        assert (found[k, 0].numpy() == wanted).mean() > 0.9999  # but for rounding


def test_an_edit_of_a_square_leaves_the_rest_as_it_was() -> None:
    a, _ = pair(64)
    b = a.clone()
    b[:, :, 20:40, 20:40] = 1 - b[:, :, 20:40, 20:40].round()
    outside = ~metrics.changed_region(a, b)
    assert not outside[:, :, 25:35, 25:35].any()
    assert outside[:, :, :14].all()
    assert metrics.psnr(metrics.mse(a, b, outside)).min() > metrics.psnr(metrics.mse(a, b)).max() + 5
    assert not metrics.changed_region(a, a).any()


def eight(picture: torch.Tensor) -> torch.Tensor:
    """What a PNG holds, in [0, 1], by numpy."""
    return torch.from_numpy(np.rint((picture.numpy().clip(-1, 1) + 1) * 127.5) / 255).float()


@pytest.fixture(scope="module")
def engine(pack: Path) -> Engine:
    return Engine(pack)


@pytest.fixture
def measured(engine: Engine) -> run.Measured:
    return Evaluation(engine).run(faces.seeds("1-3"), BOTH)


def test_every_measure_is_what_it_says(engine: Engine, measured: run.Measured) -> None:
    """One edit, by scikit-image, by the networks themselves, and by numpy."""
    assert measured.values.shape == (2, 3, len(PARTS), len(MEASURES))
    direction = engine.direction("with glasses", "person")
    alpha = 1.5 * engine.default_alpha
    w_plus = engine.sample([2])
    before, after = (eight(x) for x in engine.edit(w_plus, direction, [0, alpha])[0])
    clip, identity = engine.networks.clip, engine.networks.identity
    with torch.inference_mode():
        start, end = (clip.encode_image(x[None] * 2 - 1)[0].double().numpy() for x in (before, after))
        templates = [text.replace("{}", "person with glasses") for text in run.prompts.IMAGENET_TEMPLATES]
        target = clip.encode_text(templates).double().mean(dim=0).numpy()
        templates = [text.replace("{}", "person") for text in run.prompts.IMAGENET_TEMPLATES]
        neutral = clip.encode_text(templates).double().mean(dim=0).numpy()
        sentence = clip.encode_text(["person with glasses"])[0].double().numpy()
        one, other = (identity.embed(x[None] * 2 - 1)[0].double().numpy() for x in (before, after))
    along = target / np.linalg.norm(target) - neutral / np.linalg.norm(neutral)
    along /= np.linalg.norm(along)
    similar, full = reference_ssim(before, after)
    outside = ~metrics.changed_region(before[None], after[None])[0, 0].numpy()
    pixels = (as_numpy(before), as_numpy(after))
    wanted = {
        "clip": end @ sentence,
        "similarity": (end - start) @ along / np.linalg.norm(end - start),
        "progress": (end - start) @ along,
        "identity": one @ other,
        "mse": mean_squared_error(*pixels),
        "ssim": similar,
        "mse_outside": mean_squared_error(pixels[0][outside], pixels[1][outside]),
        "ssim_outside": full[5:-5, 5:-5][outside[5:-5, 5:-5]].mean(),
        "changed": 1 - outside.mean(),
    }
    found = dict(zip(MEASURES, measured.values[1, 1, PARTS.index(1.5)].tolist(), strict=True))
    for name, value in wanted.items():
        assert found.pop(name) == pytest.approx(value, rel=1e-3, abs=2e-5), name
    assert all(np.isnan(value) for value in found.values())  # a second identity network, and LPIPS
    assert (measured.seconds > 0).all()


def test_inversions_follow_the_published_protocol(engine: Engine, measured: run.Measured) -> None:
    assert measured.inversion is not None
    w_plus = engine.sample([3])
    wanted = eight(engine.render([faces.FaceLatent(w_plus)]))
    again = engine.invert_w_plus(wanted * 2 - 1, keep=False, inverter="encoder")
    drawn = eight(engine.synthesize(engine.styles(again)))
    difference = (wanted - drawn).double().numpy() * 2  # images in [-1, 1]
    found = dict(zip(INVERSION, measured.inversion[2].tolist(), strict=True))
    assert found["mse"] == pytest.approx((difference**2).mean(), rel=1e-4)
    assert found["psnr_ganinverter"] == pytest.approx(10 * np.log10(2 / (difference**2).mean()), abs=1e-3)
    usual = peak_signal_noise_ratio(as_numpy(wanted[0]), as_numpy(drawn[0]), data_range=1)
    assert found["psnr"] == pytest.approx(usual, abs=1e-3)
    assert found["seconds"] > 0
    assert -1 <= found["identity"] <= 1


def test_means_are_over_faces_then_over_sentences(measured: run.Measured) -> None:
    rows, mean = summary.rows_of(measured, 0.01)
    usual = measured.values[:, :, run.DEFAULT]
    for row, values in zip(rows, usual, strict=True):
        assert row["clip"] == pytest.approx(values[:, 0].mean())
        assert row["psnr"] == pytest.approx(np.mean(-10 * np.log10(values[:, MEASURES.index("mse")])))
        assert row["lpips"] is None
        assert row["n"] == 3
    assert mean["similarity"] == pytest.approx(usual[:, :, 1].mean())
    assert mean["n"] == 6
    middle = rows[1]["curve"][2]
    assert middle["identity"] == pytest.approx(measured.values[1, :, 2, 3].mean())


def test_the_strength_at_an_equal_target_is_interpolated() -> None:
    alphas = (1.0, 2.0, 4.0)
    progress = np.array([0.1, 0.3, 0.2])
    values = np.zeros((3, len(MEASURES)))
    values[:, MEASURES.index("progress")] = progress
    values[:, MEASURES.index("identity")] = [0.9, 0.5, 0.1]
    for target in (0.05, 0.1, 0.15, 0.3):
        strength, *found = summary.at_target(progress.tolist(), values, alphas, target)
        assert strength == pytest.approx(np.interp(target, [0, 0.1, 0.3], [0, 1, 2]))
        wanted = np.interp(target, [0, 0.1, 0.3], [1, 0.9, 0.5])
        assert found[MEASURES.index("identity")] == pytest.approx(wanted)
        assert found[MEASURES.index("progress")] == pytest.approx(target)
    assert np.isnan(summary.at_target(progress.tolist(), values, alphas, 0.31)).all()


def test_faces_that_never_reach_the_target_are_counted(measured: run.Measured) -> None:
    values = measured.values.copy()
    values[0, :, :, MEASURES.index("progress")] = [[0.02] * 7, [0.2] * 7, [0.4] * 7]
    row = summary.rows_of(replace(measured, values=values), 0.1)[0][0]
    assert row["reached"] == pytest.approx(2 / 3)
    assert row["strength"] == pytest.approx((0.5 + 0.25) / 2 * PARTS[0])
    none = summary.rows_of(replace(measured, values=values), 1.5)[0][0]
    assert (none["reached"], none["strength"], none["at_target"]["identity"]) == (0, None, None)


# --- judges --------------------------------------------------------------------------------------------


def large_clip() -> dict[str, torch.Tensor]:
    """A tiny CLIP of the form of ViT-L/14: patches of 14 pixels, and longer vectors."""
    return clip_model_class()(40, 56, 2, 64, 14, 77, 49408, 64, 1, 1).state_dict()


def test_patches_of_14_pixels_are_read() -> None:
    torch.manual_seed(3)
    state = large_clip()
    clip = Clip.from_state_dict(state)
    assert (clip.resolution, clip.embed_dim) == (56, 40)
    assert clip.model.visual.conv1.kernel_size == (14, 14)
    pictures = torch.rand(2, 3, 70, 70) * 2 - 1
    assert clip.encode_image(pictures).norm(dim=1).tolist() == pytest.approx([1, 1])
    model = clip_model_class()(40, 56, 2, 64, 14, 77, 49408, 64, 1, 1).eval()
    model.load_state_dict(state)
    inputs = torch.rand(2, 3, 56, 56)
    assert torch.allclose(clip.model.encode_image(inputs), model.encode_image(inputs), atol=1e-5)


@pytest.fixture
def judged_pack(tmp_path: Path) -> Path:
    """A pack with a CLIP and an identity network that only judge."""
    from networks import arcface_state

    folder = make_pack(tmp_path)
    torch.manual_seed(7)
    described = toml.load(folder / "pack.toml")
    for part, state in {"judge_clip": large_clip(), "second_identity": arcface_state()}.items():
        path = folder / f"{part}.safetensors"
        save_weights(path, state, {}, half=False)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        described["components"][part] = {"file": path.name, "sha256": digest}
    (folder / "pack.toml").write_text(tomli_w.dumps(described))
    return folder


def test_another_clip_judges_where_the_pack_has_one(judged_pack: Path, engine: Engine, measured) -> None:
    evaluation = Evaluation(Engine(judged_pack))
    assert evaluation.own_judge
    found = evaluation.run(faces.seeds("1-3"), BOTH)
    columns = [MEASURES.index(name) for name in ("identity", "mse", "ssim", "ssim_outside", "changed")]
    np.testing.assert_allclose(found.values[..., columns], measured.values[..., columns], atol=1e-6)
    assert not np.allclose(found.values[..., 0], measured.values[..., 0])
    judge, second = evaluation.engine.networks.judge_clip, evaluation.engine.networks.second_identity
    edit = engine.direction("smiling")
    before, after = (eight(x)[None] * 2 - 1 for x in engine.edit(engine.sample([1]), edit, [0, 4])[0])
    with torch.inference_mode():
        wanted = judge.encode_image(after)[0] @ judge.encode_text(["smiling face"])[0]
        kept = second.embed(before)[0] @ second.embed(after)[0]
    usual = found.values[0, 0, run.DEFAULT]
    assert usual[0] == pytest.approx(float(wanted), abs=1e-5)
    assert usual[MEASURES.index("identity_2")] == pytest.approx(float(kept), abs=1e-5)


def test_judges_are_optional_and_no_part_of_what_a_pack_is(judged_pack: Path) -> None:
    pack = find_pack(str(judged_pack))
    with_judges = pack.fingerprint
    described = toml.load(judged_pack / "pack.toml")
    address = {"file": "L.pt", "urls": ["https://example.org/L.pt"], "sha256": "0" * 64}
    for part in ("judge_clip", "second_identity"):
        described["components"][part] = address
    (judged_pack / "pack.toml").write_text(tomli_w.dumps(described))
    pack = find_pack(str(judged_pack))
    assert pack.fingerprint == with_judges
    assert pack.missing == []
    assert pack.usable
    assert pack.missing_with(["judge_clip"]) == ["judge_clip"]
    with pytest.raises(WeightsError, match=r"judge_clip .* not installed") as caught:
        pack.component("judge_clip")
    assert caught.value.hint == f"styleclip models pull {judged_pack} --with judge_clip"
    assert not Evaluation(Engine(judged_pack)).own_judge


def test_ffhq_names_a_judge_by_its_published_hash() -> None:
    entry = find_pack("ffhq").entries["judge_clip"]
    assert entry.part == "clip"
    assert entry.source is not None
    assert all(entry.source.sha256 in url for url in entry.source.urls if "openaipublic" in url)


# --- LPIPS ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lpips() -> Any:
    """The package's network on a random VGG-16."""
    pytest.importorskip(
        "lpips", reason="not installed, or its torchvision is for another torch", exc_type=Exception
    )
    torch.manual_seed(0)
    return learned.untrained()


@pytest.mark.slow
def test_lpips_is_the_sum_of_weighted_differences_of_unit_features(lpips: Any) -> None:
    """Zhang et al. 2018, equation 1."""
    a, b = pair(64)
    found = learned.Lpips(lpips, torch.device("cpu"))(a, b)
    shift, scale = (torch.tensor(x).view(3, 1, 1) for x in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    wanted = torch.zeros(2)
    with torch.no_grad():
        x, y = ((picture * 2 - 1 - shift) / scale for picture in (a, b))
        for number in range(5):
            stage = getattr(lpips.net, f"slice{number + 1}")
            x, y = stage(x), stage(y)
            difference = x / x.norm(dim=1, keepdim=True) - y / y.norm(dim=1, keepdim=True)
            weight = lpips.lins[number].model[-1].weight[0]  # [C, 1, 1]
            wanted += (weight * difference.square()).sum(dim=1).mean(dim=(1, 2))
    assert found.tolist() == pytest.approx(wanted.tolist(), rel=1e-4)
    assert learned.small(torch.rand(1, 3, 512, 512)).shape[-1] == 256


@pytest.mark.slow
def test_lpips_is_a_column_where_it_is_there(lpips: Any, engine: Engine) -> None:
    distance = learned.Lpips(lpips, torch.device("cpu"))
    found = Evaluation(engine, lpips=distance).run(faces.seeds("1"), BOTH[:1])
    column = found.values[0, 0, :, MEASURES.index("lpips")]
    assert column[-1] > column[0] > 0
    pictures = engine.edit(engine.sample([1]), engine.direction("smiling"), [0, 4])[0]
    before, after = (eight(x)[None] for x in pictures)
    assert column[run.DEFAULT] == pytest.approx(float(distance(before, after)), rel=1e-4)
    assert found.inversion is not None
    assert found.inversion[0, INVERSION.index("lpips")] > 0


@pytest.mark.slow
def test_lpips_takes_the_weights_of_torchvision(lpips: Any, tmp_path: Path, monkeypatch) -> None:
    from torchvision.models import vgg16

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    learned.backbone().parent.mkdir()
    torch.manual_seed(5)
    trunk = vgg16().features.state_dict()
    torch.save({f"features.{name}": value for name, value in trunk.items()}, learned.backbone())
    assert learned.load(torch.device("cpu"))[1].endswith("is another file")
    digest = hashlib.sha256(learned.backbone().read_bytes()).hexdigest()
    monkeypatch.setattr(learned, "_VGG", f"vgg16-{digest[:8]}.pth")
    (tmp_path / "checkpoints" / "vgg16-397923af.pth").rename(learned.backbone())
    distance, why = learned.load(torch.device("cpu"))
    assert (distance is not None, why) == (True, "")
    a, b = pair(64)
    own = copy.deepcopy(lpips)
    for name, parameter in own.net.named_parameters():
        parameter.data.copy_(trunk[name.partition(".")[2]])
    with torch.no_grad():
        wanted = own(a * 2 - 1, b * 2 - 1).flatten()
    assert distance is not None
    assert distance(a, b).tolist() == pytest.approx(wanted.tolist(), rel=1e-4)


def test_without_its_weights_or_with_others_there_is_no_lpips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(learned.importlib.util, "find_spec", lambda name: None)
    assert learned.load(torch.device("cpu")) == (None, "the package lpips is not installed (extra metrics)")
    monkeypatch.setattr(learned.importlib.util, "find_spec", lambda name: object())
    assert learned.load(torch.device("cpu")) == (None, f"{learned.backbone()} is missing")
    learned.backbone().parent.mkdir()
    learned.backbone().write_bytes(b"something else")
    assert learned.load(torch.device("cpu")) == (None, f"{learned.backbone()} is another file")


# --- inputs --------------------------------------------------------------------------------------------


def test_photos_that_cannot_be_used_are_left_out(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in (1, 2):
        picture = eight(engine.render([faces.FaceLatent(engine.sample([seed]))]))[0]
        Image.fromarray((as_numpy(picture) * 255).round().astype(np.uint8)).save(folder / f"{seed}.png")
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:900])
    found = Evaluation(engine).run(faces.photos(str(folder)), BOTH[:1])
    assert {Path(name).name for name in found.failures} == {"bad.png", "cut.png"}
    rows, _ = summary.rows_of(found)
    assert rows[0]["n"] == 2
    assert summary.inversion_row(found)["n"] == 2  # type: ignore[index]

    # The same faces as latents, which is what photos are inverted to.
    pictures = torch.stack([torch.from_numpy(np.array(Image.open(folder / f"{s}.png"))) for s in (1, 2)])
    images = pictures.permute(0, 3, 1, 2) / 127.5 - 1
    torch.save(engine.invert_w_plus(images, keep=False, inverter="encoder").cpu(), tmp_path / "test_faces.pt")
    again = Evaluation(engine).run(faces.latents(tmp_path / "test_faces.pt"), BOTH[:1])
    usable = ~np.isnan(found.values[0, :, 0, 0])
    skipped = [MEASURES.index("identity_2"), MEASURES.index("lpips")]
    columns = np.delete(np.arange(len(MEASURES)), skipped)
    np.testing.assert_allclose(found.values[:, usable][..., columns], again.values[..., columns], atol=1e-4)


def test_latents_of_another_generator_are_refused(engine: Engine, tmp_path: Path) -> None:
    torch.save(torch.zeros(2, 3, 16), tmp_path / "faces.pt")
    with pytest.raises(BadInputError, match="latents of 3x16"):
        Evaluation(engine).run(faces.latents(tmp_path / "faces.pt"), BOTH)
    with pytest.raises(UsageError, match="not a latent file"):
        faces.latents(tmp_path / "faces.txt")


def test_inputs_are_known_by_their_content(tmp_path: Path) -> None:
    assert faces.seeds("1-3").sha256 == faces.seeds("1,2,3").sha256 != faces.seeds("1-4").sha256
    assert len(faces.seeds("1-200", 5).items) == 5
    for name in ("a.png", "b.png"):
        Image.new("RGB", (20, 20), (9, 9, 9)).save(tmp_path / name)
    first = faces.photos(str(tmp_path)).sha256
    shutil.move(tmp_path / "a.png", tmp_path / "aa.png")
    assert faces.photos(str(tmp_path)).sha256 == first


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "# remark\nsmiling\n\nwith glasses\tperson\n smiling \n"),
        ("p.csv", "prompt,neutral\nsmiling,\nwith glasses,person\n"),
        ("p.toml", '[[prompt]]\ntext = "smiling"\n[[prompt]]\ntext = "with glasses"\nneutral = "person"\n'),
    ],
)
def test_prompts_are_read_from_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = sentences.read_sentences(tmp_path / name)
    assert found == BOTH
    assert sentences.hash_of(found) == sentences.hash_of(BOTH) != sentences.hash_of(BOTH[::-1])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "# nothing\n"),
        ("p.txt", "a\tb\tc\td\n"),
        ("p.csv", "words\nsmiling\n"),
        ("p.csv", "prompt,alpha\nsmiling,4\n"),
        ("p.toml", "prompt = 3\n"),
        ("p.toml", "[[prompt]]\ntext = 3\n"),
        ("p.txt", "\udcff\n"),
    ],
)
def test_unusable_files_of_prompts_are_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, errors="surrogateescape")
    with pytest.raises(BadInputError, match="not usable as prompts"):
        sentences.read_sentences(tmp_path / name)


def test_usual_prompts_are_the_packs_or_the_papers(pack: Path) -> None:
    assert [one.prompt for one in sentences.usual_sentences(find_pack("toy"))] == list(find_pack("toy").words)
    ffhq = sentences.usual_sentences(find_pack("ffhq"))
    assert len(ffhq) == 12
    assert {one.mapper for one in ffhq if one.mapper} <= set(find_pack("ffhq").mappers)
    with pytest.raises(UsageError, match="lists no sentences"):
        sentences.usual_sentences(find_pack(str(pack)))
    mapped = sentences.with_mapper(find_pack("toy"), sentences.usual_sentences(find_pack("toy")))
    assert len(mapped) == len(find_pack("toy").mappers)
    with pytest.raises(UsageError, match="no mapper for these prompts"):
        sentences.with_mapper(find_pack("ffhq"), ffhq)  # not installed


# --- going on, and the command -------------------------------------------------------------------------


def test_a_run_that_was_stopped_goes_on(engine: Engine, monkeypatch, tmp_path: Path, measured) -> None:
    monkeypatch.setattr(faces, "PIECE", 1)
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path))
    done = []
    real = Evaluation._edited

    def edited(self, piece, sentence, edit):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(sentence.prompt)
        return real(self, piece, sentence, edit)

    monkeypatch.setattr(Evaluation, "_edited", edited)
    with pytest.raises(KeyboardInterrupt):
        Evaluation(engine).run(faces.seeds("1-3"), BOTH)
    kept = len(list((tmp_path / "evaluations").glob("*.npz")))
    assert kept == 3 + 2  # three edits, and the inversions of two faces
    monkeypatch.setattr(Evaluation, "_edited", lambda *a: done.append("more") or real(*a))
    steps: list[tuple[object, ...]] = []
    again = Evaluation(engine).run(faces.seeds("1-3"), BOTH, lambda *far: steps.append(far))
    assert len(done) == 6
    assert steps[0] == (0, 11)  # two sentences, and nine pieces
    assert steps[-1] == (11, 11)
    np.testing.assert_allclose(again.values, measured.values, atol=1e-5)  # eight at once, or one by one
    Evaluation(engine).run(faces.seeds("1-4"), BOTH)  # one more face: only that is measured
    assert len(done) == 8


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_a_killed_run_goes_on(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path))
    script = (
        "import sys\nfrom styleclip_cli.evaluation import faces\nfaces.PIECE = 1\n"
        "from styleclip_cli.cli.evaluation import PackOptions, evaluate_pack\n"
        "from styleclip_cli.cli.report import Reporter\n"
        "evaluate_pack(PackOptions(models=sys.argv[1], seed='1-9', prompt=('smiling',)), Reporter(True))\n"
    )
    running = subprocess.Popen([sys.executable, "-c", script, str(pack)], env=dict(os.environ))
    kept: list[Path] = []
    while running.poll() is None and len(kept) < 3:
        time.sleep(0.02)
        kept = list((tmp_path / "evaluations").glob("*.npz"))
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    times = {path: path.stat().st_mtime_ns for path in kept}
    monkeypatch.setattr(faces, "PIECE", 1)
    evaluate_pack(PackOptions(models=str(pack), seed="1-9", prompt=("smiling",)), Reporter(True))
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    assert len(list((tmp_path / "evaluations").glob("*.npz"))) == 18


def test_a_damaged_piece_is_measured_again(engine: Engine, measured, caplog) -> None:
    path = next((cache.cache_dir() / "evaluations").glob("*.npz"))
    path.write_bytes(path.read_bytes()[:-50])
    again = Evaluation(engine).run(faces.seeds("1-3"), BOTH)
    np.testing.assert_allclose(again.values, measured.values, atol=1e-6)
    assert "making it again" in caplog.text


@pytest.fixture
def written(pack: Path, tmp_path: Path, monkeypatch, capsys) -> tuple[Path, dict, str]:
    """What the command writes and prints for two sentences, one of them hostile."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("smiling\n<b>50% & more_{x}~^\\ </b>\n")
    outputs = [tmp_path / f"r{suffix}" for suffix in (".json", ".csv", ".tex", ".png", ".svg")]
    options = PackOptions(
        models=str(pack), seed="1-2", prompts="p.txt", target=0.01, out=outputs[:3], plot=outputs[3:]
    )
    report = evaluate_pack(options, Reporter())
    return tmp_path, report, capsys.readouterr().out


def test_tables_say_what_they_were_measured_on(written: tuple[Path, dict, str]) -> None:
    folder, report, told = written
    assert json.loads((folder / "r.json").read_text()) == report
    assert report["judge"] == {"clip": "clip", "edits": True}
    assert report["weights"].keys() == {"clip", "generator", "identity"}
    for text in (told, (folder / "r.tex").read_text()):
        assert "favour edits that follow it" in text
        assert "only loosely" in text
    rows = list(csv.DictReader(io.StringIO((folder / "r.csv").read_text())))
    assert [row["prompt"] for row in rows] == ["smiling", "<b>50% & more_{x}~^\\ </b>", "mean"]
    for row, wanted in zip(rows, [*report["rows"], report["mean"]], strict=True):
        assert float(row["identity"]) == wanted["identity"]
        assert row["inputs_sha256"] == report["inputs"]["sha256"]
        assert row["pack"] == report["pack"]
    assert "lpips" not in rows[0]


def test_latex_is_whole_and_escaped(written: tuple[Path, dict, str]) -> None:
    folder, report, _ = written
    text = (folder / "r.tex").read_text()
    assert text == to_latex(report)
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    assert r"<b>50\% \& more\_\{x\}\textasciitilde{}\textasciicircum{}\textbackslash{} </b>" in text
    for environment in ("table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 2
    columns = present(COLUMNS, report["rows"])
    first = lines[: lines.index(r"\end{table}")]
    rows = [line for line in first if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns)}
    assert len(rows) == 1 + 2 + 1
    assert report["pack"] in text
    assert f"% {rows[-1].replace('mean', 'tiny, global')}" in text.splitlines()


def test_curves_are_drawn(written: tuple[Path, dict, str]) -> None:
    folder, report, _ = written
    with Image.open(folder / "r.png") as image:
        assert image.width == 2 * 2 * 440
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or ()}
    assert (176, 92, 60) in colours
    root = ElementTree.parse(folder / "r.svg").getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert "mean" in {text.text for text in root.iter(f"{name}text")}
    assert len(root.findall(f"{name}circle")) == 2 * 3  # the default strength of each line
    width, height = (float(root.attrib[side]) for side in ("width", "height"))
    texts = [line.attrib["points"].split() for line in root.iter(f"{name}polyline")]
    lines = [[tuple(map(float, point.split(","))) for point in text] for text in texts]
    assert sorted(len(line) for line in lines)[-6:] == [1 + len(PARTS)] * 6
    assert all(0 <= x <= width and 0 <= y <= height for line in lines for x, y in line)
    points = summary.curves(report["rows"], "identity")["smiling"]
    curve = report["rows"][0]["curve"]
    assert points[0] == (0, 0)
    assert points[3] == (curve[2]["progress"], pytest.approx(1 - curve[2]["identity"]))


def test_a_plot_of_a_single_point_and_of_none_that_counts(tmp_path: Path) -> None:
    write_plot(tmp_path / "a.svg", [Panel("<y>", {"only": [(0.0, 0.0)]}, 0)], "<title>", "x")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert root.find("{http://www.w3.org/2000/svg}title").text == "<title>"  # type: ignore[union-attr]


def test_options_that_do_not_go_together_are_refused(pack: Path, tmp_path: Path) -> None:
    base = PackOptions(models=str(pack), seed="1", prompt=("smiling",))
    (tmp_path / "there.csv").touch()
    for changes, error, match in (
        ({"seed": None}, UsageError, "one of --photos"),
        ({"photos": "x"}, UsageError, "one of --photos"),
        ({"target": 0.0}, UsageError, "--target"),
        ({"prompts": "x"}, UsageError, "exclude each other"),
        ({"out": [tmp_path / "a.xls"]}, UsageError, "cannot write this format"),
        ({"out": [tmp_path / "there.csv"]}, OutputError, "exists already"),
        ({"prompt": ()}, UsageError, "lists no sentences"),
        ({"seed": "x"}, UsageError, "seeds are numbers"),
        ({"photos": str(tmp_path / "none"), "seed": None}, BadInputError, "no such file"),
    ):
        with pytest.raises(error, match=match):
            evaluate_pack(replace(base, **changes), Reporter(True))


def test_json_takes_the_place_of_the_table(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--models", str(pack), "--seed", "1", "--prompt", "smiling", "--json", "-q"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["prompt"] == "smiling"
    for more in (["--ghosts", "1"], ["--split", "test"], ["--method", "all"]):
        assert main([*command, *more]) == 2
    assert main(["evaluate", "--plot", "a.png"]) == 2, "of which faces?"
    assert main(["evaluate", "--target", "0"]) == 2


def test_optimization_and_mappers_are_measured_too(pack: Path) -> None:
    engine = Engine(pack)
    engine.optimize_settings = replace(engine.optimize_settings, steps=2, lambda_id=0.0)
    found = Evaluation(engine, "optimize").run(faces.seeds("1"), BOTH[:1])
    assert found.alphas == PARTS
    assert not np.isnan(found.values[..., MEASURES.index("clip")]).any()
    toy = Engine("toy")
    found = Evaluation(toy, "mapper").run(faces.seeds("1"), (Sentence("smiling"),))
    assert found.values[0, 0, run.DEFAULT, MEASURES.index("progress")] > 0.05
    with pytest.raises(BadInputError, match="no mapper 'with-a-monocle'"):
        Evaluation(toy, "mapper").run(faces.seeds("1"), (Sentence("with a monocle"),))
