"""Train the world's generator: StyleGAN2 at 256 pixels, by regression, as the renderer knows the truth.

First the mapping network learns, with a linear layer that is dropped, what kind of person each z stands
for; then the synthesis network learns to draw them, low resolutions first. The mapping network stays as it
is meanwhile: what low resolutions do not show, earrings or freckles, it would forget. Everything starts from
StyleGAN2's own initialisation; nothing ties a number of W or a style channel to an attribute. In one of 16
pictures the layers of 64 pixels and more get another w, whose colours the truth has (`people.mixed`).
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.stylegan2 import Generator, GeneratorConfig
from styleclip_cli.truth.judging import psnr
from styleclip_cli.world.attributes import COUNT, TEXTURES, plain, shown
from styleclip_cli.world.landmarks import landmarks
from styleclip_cli.world.renderer import render_all
from toyworld_training import generator as toy
from toyworld_training.common import run
from world_training.data import Pictures
from world_training.people import MIXED, TURNS, Z_DIM, person

W_DIM = 128
MAPPING_LAYERS = 4
CHANNELS = {4: 128, 8: 128, 16: 128, 32: 128, 64: 64, 128: 32, 256: 16}
FINE_RESOLUTION = 64
# (resolution, steps, batch)
STAGES = ((32, 3000, 32), (64, 5000, 16), (128, 3500, 10), (256, 3000, 5))
# Weight of w's covariance being far from the identity. Without it the largest variance of w is 100,000 times
# the smallest, and what tells people apart lies in small ones, which the affine layers learn last.
CORRELATION = 0.002
HELD_OUT = 10_000_000  # none of the seeds of held-out people is one of `people.draw_pairs`


def build() -> Generator:
    """An untrained generator."""
    torch.manual_seed(3)
    generator = Generator(GeneratorConfig(Z_DIM, W_DIM, MAPPING_LAYERS, CHANNELS))
    for layer in generator.mapping:
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features))
        nn.init.zeros_(layer.bias)
    return generator


@cache
def weights(resolution: int) -> Tensor:
    """How much each pixel counts, [1, 1, R, R]: what is small and tells faces apart more. Mean 1."""
    points = landmarks(plain())[0]
    at = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
    y, x = torch.meshgrid(at, at, indexing="ij")
    w = torch.ones(resolution, resolution)
    for part, size, more in (
        (slice(36, 42), 0.12, 3), (slice(42, 48), 0.12, 3), (slice(48, 68), 0.15, 2.5),
        (slice(17, 22), 0.12, 1), (slice(22, 27), 0.12, 1), (slice(27, 36), 0.12, 1),
    ):  # fmt: skip
        middle = points[part].mean(dim=0)
        w = w + more * torch.exp(-(((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / (2 * size**2)))
    return (w / w.mean())[None, None]


def distance(picture: Tensor, truth: Tensor) -> Tensor:
    """As for the toy generator, with these weights."""
    return toy.distance(picture, truth, weights)


def train_mapping(generator: Generator, folder: Path, steps: int = 8000) -> None:
    """Teach the mapping network what people z stand for, as far as a linear layer reads it off w."""
    head = nn.Linear(W_DIM, COUNT + TEXTURES)
    module = nn.ModuleDict({"mapping": generator.mapping, "head": head})
    truth = shown(person(torch.randn(8192, Z_DIM, generator=torch.Generator().manual_seed(5)))[0])
    mean, spread = truth.mean(dim=0), truth.std(dim=0)

    def wanted(z: Tensor) -> Tensor:
        attributes, texture = person(z)
        return torch.cat([(shown(attributes) - mean) / spread, texture], dim=1)

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        z = torch.randn(512, Z_DIM, generator=rng)
        w = generator.map(z)
        far = torch.cov(w.T) - torch.eye(W_DIM)
        losses = {"fit": (head(w) - wanted(z)).square().mean(), "far": far.square().sum() / W_DIM}
        return {"loss": losses["fit"] + CORRELATION * losses["far"]} | losses

    def report(_: nn.Module) -> dict[str, float]:
        z = torch.randn(4096, Z_DIM, generator=torch.Generator().manual_seed(1))
        fit = 1 - (head(generator.map(z)) - wanted(z)).square().mean(dim=0)
        return {"R2": float(fit.mean()), "lowest": float(fit.min())}

    state = run("mapping", folder, module, step, steps=steps, lr=2e-2, average=0.998, report=report)
    module.load_state_dict(state)


class Truth:
    """Which pictures show what the generator should draw: those whose people stand for a z."""

    def __init__(self, data: Pictures) -> None:
        self.data = data

    def choose(self, n: int, resolution: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Some z for the coarse layers and for the fine ones, [n, Z_DIM], and the pictures."""
        items = torch.randint(self.data.ready, (n,), generator=rng)
        z, fine = self.data.people.z[items], self.data.people.fine[items]
        second = (torch.rand(n, generator=rng) < 0.5) & fine[:, 0].isfinite()
        mixed = items % TURNS == MIXED
        coarse = torch.where((second & ~mixed)[:, None], fine, z)
        fine, member = torch.where(second[:, None], fine, z), second.long()
        return coarse, fine, self.data.images(items, member, resolution)


def w_plus_of(generator: Generator, coarse: Tensor, fine: Tensor) -> Tensor:
    """W+ of style mixing, [N, num_ws, W_DIM]: the layers of 64 pixels and more take the second z."""
    layers = generator.style_space.layers
    first = min(
        layer.ws_index for layer in layers if layer.resolution >= FINE_RESOLUTION and not layer.is_rgb
    )
    w = generator.map(torch.cat([coarse, fine]))
    count = generator.style_space.num_ws
    of_coarse, of_fine = (part[:, None].expand(-1, count, -1) for part in w.chunk(2))
    return torch.where((torch.arange(count) < first)[:, None], of_coarse, of_fine)


def held_out(n: int, resolution: int = 256, seed: int = HELD_OUT) -> tuple[Tensor, Tensor]:
    """People that no network has seen: z [n, Z_DIM], and their pictures [n, 3, R, R]."""
    z = torch.randn(n, Z_DIM, generator=torch.Generator().manual_seed(seed))
    pictures = render_all(*person(z))
    return z, pictures if resolution == 256 else F.avg_pool2d(pictures, 256 // resolution)


def train(data: Pictures, folder: Path) -> dict[str, Tensor]:
    """Train and return the generator's weights."""
    generator = build()
    train_mapping(generator, folder)
    truth = Truth(data)
    z_test, images_test = held_out(96)
    for name, parameter in generator.named_parameters():
        if name.startswith("mapping.") or name.endswith("noise_strength"):
            parameter.requires_grad_(False)

    for resolution, steps, batch in STAGES:

        def step(
            number: int, rng: torch.Generator, resolution: int = resolution, batch: int = batch
        ) -> dict[str, Tensor]:
            coarse, fine, pictures = truth.choose(batch, resolution, rng)
            drawn = generator(w_plus_of(generator, coarse, fine), "none", resolution)
            return {"loss": distance(drawn, pictures)}

        def report(trained: nn.Module, resolution: int = resolution) -> dict[str, float]:
            values = []
            for z, picture in zip(z_test.split(16), images_test.split(16), strict=True):
                drawn = generator(generator.w_plus(z), "none", resolution).clamp(-1, 1)
                values.append(psnr(drawn, F.avg_pool2d(picture, 256 // resolution)))
            return {"PSNR": float(torch.cat(values).mean()), "worst": float(torch.cat(values).min())}

        last = resolution == STAGES[-1][0]
        state = run(
            "generator", folder, generator, step, steps=steps, lr=2e-3,
            average=0.998 if last else 0.99, report=report, report_every=500, stage=f"-{resolution}",
        )  # fmt: skip
        generator.load_state_dict(state)
    with torch.no_grad():
        z = torch.randn(50_000, Z_DIM, generator=torch.Generator().manual_seed(2))
        generator.w_avg.copy_(generator.map(z).mean(dim=0))
    return {k: v.detach().clone() for k, v in generator.state_dict().items()}
