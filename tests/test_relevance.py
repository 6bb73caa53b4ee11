"""What style channels do: exactly, on small pictures and from derivatives; by one process and by several."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from networks import clip_state, generator_state
from styleclip_cli.cli.main import main
from styleclip_cli.engine import Engine
from styleclip_cli.errors import ExitCode, WeightsError
from styleclip_cli.machine import cache
from styleclip_cli.machine.shards import Shard
from styleclip_cli.measure import gradient, measurements
from styleclip_cli.measure.exact import measure_relevance, relevance_job
from styleclip_cli.measure.gradient import _unit_effects, estimate_relevance, main_axes
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.measure.statistics import StyleStatistics, measure_statistics, statistics_job
from styleclip_cli.nets.clip import Clip
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.settings import RelevanceSettings, StatisticsSettings
from tiny_pack import make_pack


@pytest.fixture(scope="module", params=[None, 0.5], ids=["plain", "clamped"])
def generator(request: pytest.FixtureRequest) -> Generator:
    torch.manual_seed(0)
    state = generator_state()
    if request.param is not None:
        state["conv_clamp"] = torch.tensor(request.param)
    return Generator.from_state_dict(state).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def clip() -> Clip:
    torch.manual_seed(1)
    return Clip.from_state_dict(clip_state())


@pytest.fixture(scope="module")
def statistics(generator: Generator) -> StyleStatistics:
    return measure_statistics(generator, n=200, batch=200)


def faces(generator: Generator, n: int) -> Tensor:
    z = np.random.RandomState(5).randn(n, generator.config.z_dim).astype(np.float32)
    return generator.style_space.concat(generator.styles(generator.w_plus(torch.from_numpy(z), 0.7)))


def plain_row(
    generator: Generator, clip: Clip, statistics: StyleStatistics, flat: int, n: int, side: int = 32
) -> Tensor:
    """The paper's procedure for one channel: every picture rendered whole, on its own."""
    total = torch.zeros(clip.embed_dim, dtype=torch.float64)
    for face in faces(generator, n):
        seen = []
        for sign in (-1, 1):
            pushed = face.clone()
            pushed[flat] = statistics.mean[flat] + sign * 5 * statistics.std[flat]
            picture = generator.synthesize(generator.style_space.split(pushed[None]), stop_at=side)
            seen.append(clip.encode_image(picture.clamp(-1, 1))[0].double())
        difference = seen[1] - seen[0]
        total += difference / difference.norm().clamp_min(1e-12)
    return (total / total.norm()).float()


def test_exact_is_the_plain_loop_for_every_kind_of_layer(
    generator: Generator, clip: Clip, statistics: StyleStatistics
) -> None:
    settings = RelevanceSettings(n_images=3, layers="all")
    found = measure_relevance(generator, clip, statistics, settings)
    assert len(found.matrix) == generator.style_space.size
    for layer in generator.style_space.layers:
        for flat in (layer.offset, layer.offset + layer.width - 1):
            if not found.matrix[flat].any():
                continue  # without effect: clamped away
            expected = plain_row(generator, clip, statistics, flat, 3)
            assert float(found.matrix[flat] @ expected) > 0.9999, layer.name
    assert (found.matrix.norm(dim=1) > 0.99).float().mean() > 0.9


def test_a_preview_renders_later_layers_at_their_own_size(
    generator: Generator, clip: Clip, statistics: StyleStatistics
) -> None:
    settings = RelevanceSettings(n_images=2, layers="all", stop_at=16)
    found = measure_relevance(generator, clip, statistics, settings)
    space = generator.style_space
    for name, side in (("b4.torgb", 16), ("b8.conv1", 16), ("b16.torgb", 16), ("b32.conv0", 32)):
        layer = next(layer for layer in space.layers if layer.name == name)
        expected = plain_row(generator, clip, statistics, layer.offset + 2, 2, side)
        assert float(found.matrix[layer.offset + 2] @ expected) > 0.9999


def test_features_that_do_not_fit_are_rendered_again(
    generator: Generator, clip: Clip, statistics: StyleStatistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RelevanceSettings(n_images=3)
    layers = [generator.style_space.layers[k] for k in (1, 3, 9)]
    kept = measure_relevance(generator, clip, statistics, settings, layers=layers, batch=2)
    monkeypatch.setattr("styleclip_cli.measure.exact._KEPT", 20_000)
    again = measure_relevance(generator, clip, statistics, settings, layers=layers, batch=2)
    assert torch.equal(kept.matrix, again.matrix)


def test_a_channel_that_never_varies_has_no_relevance(
    generator: Generator, clip: Clip, statistics: StyleStatistics
) -> None:
    std = statistics.std.clone()
    std[3] = 0
    still = replace(statistics, std=std)
    settings = RelevanceSettings(n_images=2)
    for found in (
        measure_relevance(generator, clip, still, settings, layers=generator.style_space.layers[:1]),
        estimate_relevance(generator, clip, still, settings),
    ):
        assert not found.matrix[3].any()
        assert found.matrix[2].any()


def test_effects_are_those_of_small_pushes(generator: Generator, clip: Clip) -> None:
    """Derivatives against differences."""
    space, styles = generator.style_space, faces(generator, 2)
    layers = space.editable("all")
    axes = torch.eye(clip.embed_dim)
    found = _unit_effects(
        generator, clip, styles, layers, torch.ones(space.size), axes, 32, lambda part: None
    )
    seen = 0

    def see(flat: int, step: float) -> Tensor:
        moved = styles.clone()
        moved[:, flat] += step
        return clip.encode_image(generator.synthesize(space.split(moved)).clamp(-1, 1)).double()

    for flat in range(0, space.size, 9):
        difference = see(flat, 0.02) - see(flat, -0.02)
        for k, row in enumerate(difference):
            if float(row.norm()) > 1e-4:  # else rounding is too large a part of it
                assert float(found[k, flat] @ (row / row.norm())) > 0.98
                seen += 1
    assert seen > 8


def test_axes_hold_what_embeddings_differ_in() -> None:
    rng = torch.Generator().manual_seed(0)
    plane = torch.linalg.qr(torch.randn(20, 3, generator=rng)).Q
    points = torch.randn(40, 3, generator=rng) @ plane.T + 5
    axes = main_axes(points)
    assert axes.shape == (3, 20)
    assert torch.allclose(axes @ axes.T, torch.eye(3), atol=1e-5)
    centred = points - points.mean(0)
    assert torch.allclose(centred @ axes.T @ axes, centred, atol=1e-4)


def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """More pieces than such small networks are worth."""
    monkeypatch.setattr("styleclip_cli.measure.exact._PIECE", 5)
    monkeypatch.setattr("styleclip_cli.measure.gradient._PIECE", 1)


@pytest.mark.parametrize("mode", ["exact", "gradient"])
def test_shards_make_the_same_numbers(
    generator: Generator,
    clip: Clip,
    statistics: StyleStatistics,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from styleclip_cli.measure.gradient import gradient_job

    smaller(monkeypatch)
    settings = RelevanceSettings(n_images=4)
    job_of, measure = (
        (relevance_job, measure_relevance) if mode == "exact" else (gradient_job, estimate_relevance)
    )
    job = job_of(generator, clip, statistics, settings, fingerprint="shared")
    for index in (2, 0, 1):
        assert job.missing()
        job.run(Shard(index, 3))
    assert not job.missing()
    monkeypatch.setattr(Generator, "synthesize", None)  # nothing more is rendered
    whole = measure(generator, clip, statistics, settings, fingerprint="shared")
    monkeypatch.undo()
    smaller(monkeypatch)
    assert torch.equal(whole.matrix, measure(generator, clip, statistics, settings).matrix)


def test_statistics_in_shards_are_the_same_bits(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("styleclip_cli.measure.statistics._PIECE", 70)
    job = statistics_job(generator, StatisticsSettings(n=300), batch=50, fingerprint="shared")
    assert len(job.pieces) == 5
    job.run(Shard(1, 2))
    assert job.missing() == [0, 2, 4]
    job.run(Shard(0, 2))
    assert not job.missing()
    together = measure_statistics(generator, n=300, batch=50, fingerprint="shared")
    alone = measure_statistics(generator, n=300, batch=50)
    assert torch.equal(together.mean, alone.mean)
    assert torch.equal(together.std, alone.std)


def test_a_shard_of_a_shard_is_a_shard() -> None:
    parts = [Shard(i, 3).divided(rank, 2) for i in range(3) for rank in range(2)]
    for piece in range(20):
        assert sum(part.takes(piece) for part in parts) == 1
        assert sum(Shard(1, 3).divided(rank, 2).takes(piece) for rank in range(2)) == Shard(1, 3).takes(piece)


# Commands.


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pack whose relevance takes a second or two."""
    folder = make_pack(tmp_path / "pack")
    described = (folder / "pack.toml").read_text()
    (folder / "pack.toml").write_text(described.replace("n_images = 2", "n_images = 24"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(folder))
    return folder


def pieces(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "relevance").glob("*.npz")}


def relevance_of(folder: Path) -> Tensor:
    return Relevance.load(folder / "relevance.npz").matrix


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_processes_share_the_work_and_a_killed_one_loses_only_its_piece(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["precompute-stats", "--out", "alone", "--quiet"]) == 0
    shared = tmp_path / "shared"
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(shared))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "styleclip_cli", "precompute-stats", "--out", "together", "--device", "cpu"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not pieces(shared) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[1]), signal.SIGKILL)
    first.communicate(timeout=120)
    assert first.returncode != 0
    done = pieces(shared)
    assert 0 < len(done) < 7
    again = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("relevance of") == 1  # one of them tells
    assert {name: pieces(shared)[name] for name in done} == done  # not measured again
    assert torch.equal(relevance_of(tmp_path / "together"), relevance_of(tmp_path / "alone"))


@pytest.mark.slow
def test_machines_without_a_common_cache_merge_theirs(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["precompute-stats", "--out", "alone", "--quiet"]) == 0
    capsys.readouterr()
    for index in range(2):
        monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path / f"node{index}"))
        assert main(["precompute-stats", "--shard", f"{index}/2"]) == 0
        assert f"shard {index}/2 is done" in capsys.readouterr().out
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path / "home"))
    assert main(["merge", "node0", "--models", str(pack)]) == 0
    assert "3 of 7 pieces are missing" in capsys.readouterr().out
    broken = sorted((tmp_path / "node1" / "relevance").glob("*.npz"))[0]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-20])
    assert main(["merge", "node1", "--models", str(pack)]) == ExitCode.PARTIAL
    out, err = capsys.readouterr()
    assert broken.name in err
    assert "1 of 7 pieces are missing" in out
    broken.write_bytes(whole)
    assert main(["merge", "node0", "node1", "--models", str(pack)]) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert main(["precompute-stats", "--out", "merged", "--quiet"]) == 0
    assert torch.equal(relevance_of(tmp_path / "merged"), relevance_of(tmp_path / "alone"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["exact", "gradient"])
def test_machines_that_round_otherwise_merge_theirs(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    """Other instructions give statistics with other last bits; nothing is measured again for that."""
    usual = measurements.cached_statistics

    def rounded(*args: object, **kwargs: object) -> StyleStatistics:
        found = usual(*args, **kwargs)  # type: ignore[arg-type]
        up = torch.tensor(torch.inf)
        std = torch.where(found.std > 0, found.std.nextafter(up), found.std)
        return replace(found, mean=found.mean.nextafter(up), std=std)

    assert main(["precompute-stats", "--relevance", mode, "--out", "alone", "--quiet"]) == 0
    for index in range(2):
        monkeypatch.setattr(measurements, "cached_statistics", rounded if index else usual)
        monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path / f"node{index}"))
        assert main(["precompute-stats", "--relevance", mode, "--shard", f"{index}/2", "--quiet"]) == 0
    monkeypatch.setattr(measurements, "cached_statistics", usual)
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path / "home"))
    capsys.readouterr()
    assert main(["merge", "node0", "node1", "--models", str(pack), "--relevance", mode]) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert main(["precompute-stats", "--relevance", mode, "--out", "merged", "--quiet"]) == 0
    cosines = (relevance_of(tmp_path / "merged") * relevance_of(tmp_path / "alone")).sum(dim=1)
    assert float(cosines[cosines != 0].min()) > 0.999


def test_counting_what_is_missing_renders_nothing(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["precompute-stats", "--relevance", "gradient", "--shard", "0/2", "--quiet"]) == 0
    monkeypatch.setattr(gradient, "_see", None)
    monkeypatch.setattr(gradient, "sample_styles", None)
    (tmp_path / "other" / "relevance").mkdir(parents=True)
    capsys.readouterr()
    assert main(["merge", "other", "--models", str(pack), "--relevance", "gradient"]) == 0
    assert "pieces are missing" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["exact", "gradient"])
def test_what_is_not_finite_is_not_kept(pack: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    usual = Clip.encode_image
    monkeypatch.setattr(Clip, "encode_image", lambda self, pictures: usual(self, pictures) * torch.nan)
    with pytest.raises(WeightsError, match="not finite"):
        Engine(pack, relevance=mode).relevance()  # type: ignore[arg-type]
    assert not list((cache.cache_dir() / "relevance").glob("*.npz"))


def test_the_quick_way_is_taken_where_nothing_was_measured(pack: Path) -> None:
    assert Engine(pack).relevance_mode == "gradient"
    assert Engine(pack, relevance="preview").relevance().stop_at == 16
    exact = Engine(pack, relevance="exact").relevance()
    later = Engine(pack)
    assert later.relevance_mode == "exact"
    assert torch.equal(later.relevance().matrix, exact.matrix)


def test_a_recipe_says_how_the_relevance_was_found(pack: Path, tmp_path: Path) -> None:
    from styleclip_cli.job.recipes import load

    edit = ["edit", "seed:1", "-p", "smiling", "--quiet"]
    assert main([*edit, "--relevance", "preview", "-o", "a.png"]) == 0
    assert load(tmp_path / "a.png").relevance == "preview"
    assert main(["edit", "seed:1", "--recipe", "a.png", "-o", "b.png", "--quiet"]) == 0
    assert load(tmp_path / "b.png").relevance == "preview"


@pytest.mark.parametrize(
    "arguments",
    [
        ["find-direction", "-p", "x", "--relevance", "fast"],
        ["edit", "seed:1", "-p", "x", "--relevance", "fast"],
        ["edit", "seed:1", "-p", "x", "--method", "optimize", "--relevance", "exact"],
        ["precompute-stats", "--shard", "4/4"],
        ["precompute-stats", "--shard", "half"],
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == ExitCode.USAGE
    assert "try:" in capsys.readouterr().err


def test_what_is_no_cache_is_not_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", str(tmp_path)]) == ExitCode.BAD_INPUT
    assert "holds no measurements" in capsys.readouterr().err
    assert not list(cache.cache_dir().glob("relevance/*"))
