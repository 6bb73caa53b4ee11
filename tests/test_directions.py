"""Statistics, relevance and directions, against slow and obvious ways to compute the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from networks import clip_state, generator_state
from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.directions import (
    Direction,
    beta_for_channels,
    find_direction,
    gui_beta,
)
from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.machine import cache
from styleclip_cli.measure.exact import measure_relevance
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.measure.statistics import StyleStatistics, cached_statistics, measure_statistics
from styleclip_cli.nets.clip import Clip
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.settings import RelevanceSettings, StatisticsSettings


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    made = Generator.from_state_dict(generator_state())
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def clip() -> Clip:
    torch.manual_seed(1)
    return Clip.from_state_dict(clip_state())


@pytest.fixture(scope="module")
def statistics(generator: Generator) -> StyleStatistics:
    return measure_statistics(generator, n=500, batch=500)


def styles_of_samples(generator: Generator, n: int, seed: int, psi: float) -> Tensor:
    z = np.random.RandomState(seed).randn(n, generator.config.z_dim).astype(np.float32)
    return generator.style_space.concat(generator.styles(generator.w_plus(torch.from_numpy(z), psi)))


def test_statistics_are_mean_and_population_std_of_the_samples(
    generator: Generator, statistics: StyleStatistics
) -> None:
    styles = styles_of_samples(generator, 500, 5, 0.7).double()
    assert torch.allclose(statistics.mean.double(), styles.mean(0), atol=1e-6)
    assert torch.allclose(statistics.std.double(), styles.std(0, unbiased=False), rtol=1e-5, atol=1e-7)


def test_statistics_do_not_depend_on_the_batch(generator: Generator, statistics: StyleStatistics) -> None:
    streamed = measure_statistics(generator, n=500, batch=77)
    assert torch.allclose(streamed.mean, statistics.mean, atol=1e-6)
    assert torch.allclose(streamed.std, statistics.std, rtol=1e-5, atol=1e-7)


def test_cached_statistics_are_measured_once(generator: Generator) -> None:
    calls: list[int] = []
    settings = StatisticsSettings(n=100)

    def progress(done: int, total: int, note: str = "") -> None:
        if done == total:
            calls.append(done)

    first = cached_statistics(generator, "abc", settings, progress=progress)
    assert set(calls) == {100}
    calls.clear()
    again = cached_statistics(generator, "abc", settings, progress=progress)
    assert calls == []
    assert torch.equal(first.mean, again.mean)
    cached_statistics(generator, "other weights", settings, progress=progress)
    assert calls
    calls.clear()
    cached_statistics(generator, "abc", StatisticsSettings(n=100, seed=6), progress=progress)
    assert calls


def naive_row(generator: Generator, clip: Clip, statistics: StyleStatistics, flat: int, n: int) -> Tensor:
    """One channel's relevance the way the paper says it, one picture at a time."""
    styles = styles_of_samples(generator, n, 5, 0.7)
    total = torch.zeros(clip.embed_dim, dtype=torch.float64)
    for row in styles:
        seen = []
        for sign in (-1, 1):
            pushed = row.clone()
            pushed[flat] = statistics.mean[flat] + sign * 5 * statistics.std[flat]
            picture = generator.synthesize(generator.style_space.split(pushed[None]))
            seen.append(clip.encode_image(picture.clamp(-1, 1))[0].double())
        difference = seen[1] - seen[0]
        total += difference / difference.norm()
    return (total / total.norm()).float()


def test_relevance_is_the_papers(generator: Generator, clip: Clip, statistics: StyleStatistics) -> None:
    layers = [generator.style_space.layers[0], generator.style_space.layers[5]]
    settings = RelevanceSettings(n_images=3)
    found = measure_relevance(generator, clip, statistics, settings, layers=layers, batch=8)
    assert found.channels.tolist() == [
        *range(12),
        *range(layers[1].offset, layers[1].offset + layers[1].width),
    ]
    for row in (0, 7, 12, 15):
        expected = naive_row(generator, clip, statistics, int(found.channels[row]), 3)
        assert float((found.matrix[row] - expected).norm()) < 1e-3


def test_an_interrupted_relevance_goes_on(
    generator: Generator, clip: Clip, statistics: StyleStatistics
) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, total: int, note: str = "") -> None:
        if done > 20:
            raise Stopped

    settings = RelevanceSettings(n_images=2)
    with pytest.raises(Stopped):
        measure_relevance(generator, clip, statistics, settings, fingerprint="abc", progress=stop)
    assert len(list((cache.cache_dir() / "relevance").glob("*.npz"))) == 1
    resumed = measure_relevance(generator, clip, statistics, settings, fingerprint="abc")
    assert torch.equal(resumed.matrix, measure_relevance(generator, clip, statistics, settings).matrix)


def test_relevance_is_kept_and_refused_for_others(tmp_path: Path) -> None:
    relevance = Relevance(torch.eye(3), torch.tensor([0, 2, 5]), 8)
    relevance.save(tmp_path / "r.npz", "models a")
    found = Relevance.load(tmp_path / "r.npz", "models a", 8)
    assert torch.equal(found.matrix, relevance.matrix)
    assert torch.equal(found.channels, relevance.channels)
    with pytest.raises(BadInputError, match="another models"):
        Relevance.load(tmp_path / "r.npz", "models b")
    with pytest.raises(BadInputError, match="8 style channels"):
        Relevance.load(tmp_path / "r.npz", "models a", 9)


@pytest.fixture
def simple() -> tuple[Relevance, StyleStatistics, Tensor]:
    """Six channels in two layers whose cosines with the text are known."""
    cosines = torch.tensor([0.9, -0.6, 0.3, 0.1, 0.0])
    matrix = torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1)
    statistics = StyleStatistics(
        torch.zeros(6), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), (4, 2), 10, 0, 0.7
    )
    return Relevance(matrix, torch.tensor([0, 1, 2, 4, 5]), 6), statistics, torch.tensor([1.0, 0.0])


def test_a_direction_in_numbers(simple: tuple[Relevance, StyleStatistics, Tensor]) -> None:
    direction = find_direction(*simple, beta=0.2)
    assert direction.num_channels == 3
    assert torch.allclose(direction.delta, torch.tensor([1.0, -2 * 2 / 3, 3 / 3, 0, 0, 0]))
    face = FaceLatent(torch.zeros(2, 1, 1), style_offset=torch.ones(2, 6))
    moved = direction.edited(face, [3.0, -3.0])
    assert torch.allclose(moved[0].style_offset, (1 + 3 * direction.delta).expand(2, -1))
    assert torch.allclose(moved[1].style_offset, (1 - 3 * direction.delta).expand(2, -1))
    assert torch.equal(face.style_offset, torch.ones(2, 6))


def test_no_channel_left_says_the_largest_beta(simple: tuple[Relevance, StyleStatistics, Tensor]) -> None:
    with pytest.raises(UsageError, match=r"largest usable beta is 0\.899") as caught:
        find_direction(*simple, beta=0.95)
    usable = float(caught.value.hint.split()[1])
    assert find_direction(*simple, beta=usable).num_channels == 1


@pytest.mark.parametrize("beta", [float("nan"), -0.1, 1.5])
def test_senseless_betas(simple: tuple[Relevance, StyleStatistics, Tensor], beta: float) -> None:
    with pytest.raises(UsageError):
        find_direction(*simple, beta=beta)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_beta_is_chosen_to_keep_a_number_of_channels(
    simple: tuple[Relevance, StyleStatistics, Tensor], count: int
) -> None:
    direction = find_direction(*simple, channels=count)
    assert direction.num_channels == count
    assert find_direction(*simple, beta=direction.beta).num_channels == count


def test_the_official_interfaces_beta() -> None:
    strength = torch.linspace(0, 0.31, 311)
    assert gui_beta(strength, 20) == 0.29
    assert gui_beta(strength, 100) == 0.21
    assert gui_beta(strength, 1000) == 0.10
    assert beta_for_channels(strength, 10_000) <= 0.001


def test_a_saved_direction_is_the_same(
    simple: tuple[Relevance, StyleStatistics, Tensor], tmp_path: Path
) -> None:
    direction = find_direction(*simple, beta=0.2, target="face with hats", neutral="face", fingerprint="abc")
    direction.save(tmp_path / "d.npz")
    found = Direction.load(tmp_path / "d.npz", (4, 2), "abc")
    assert torch.equal(found.delta, direction.delta)
    assert (found.target, found.beta, found.num_channels) == ("face with hats", 0.2, 3)
    with pytest.raises(BadInputError):
        Direction.load(tmp_path / "d.npz", (2, 4))
    with pytest.raises(BadInputError):
        Direction.load(tmp_path / "d.npz", (4, 2), "another generator")


def test_directions_add_up(simple: tuple[Relevance, StyleStatistics, Tensor]) -> None:
    first, second = find_direction(*simple, beta=0.8), find_direction(*simple, beta=0.2)
    both = Chain(((first, 2.0), (second, -1.0)))
    face = FaceLatent(torch.zeros(3, 1, 1), style_offset=torch.randn(3, 6))
    one_by_one = face.style_offset + 2 * first.delta - second.delta
    assert torch.allclose(both.edited(face, [1.0])[0].style_offset, one_by_one, atol=1e-6)


def test_relevance_is_kept_for_the_statistics_it_was_measured_with() -> None:
    """Published statistics all say 100,000 samples, seed 5: their numbers count, not their label."""
    torch.manual_seed(3)
    generator = Generator.from_state_dict(generator_state()).eval()
    clip = Clip.from_state_dict(clip_state())
    statistics = measure_statistics(generator, n=50)
    other = replace(statistics, mean=statistics.mean + 1, std=statistics.std * 4, measured=False)
    layers = generator.style_space.editable("fs3")[:1]

    def measured(what: StyleStatistics) -> torch.Tensor:
        settings = RelevanceSettings(n_images=2)
        return measure_relevance(generator, clip, what, settings, layers=layers, fingerprint="x").matrix

    first = measured(statistics)
    assert torch.equal(measured(statistics), first)
    assert not torch.equal(measured(other), first)
