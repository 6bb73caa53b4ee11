"""Train the toy generator: StyleGAN2 by regression, as the renderer tells what every w must look like.

W is laid out by attribute (w = 2 a - 1), so the synthesis network learns (w -> picture) alone, low
resolutions first; the mapping network (z -> w) is learned afterwards in a minute. Three things make its
StyleSpace a good place for edits:

- every style channel starts out listening to one attribute, and an L1 penalty on the affine layers keeps
  the others out unless they earn their place; toRGB layers, which edits leave alone, are kept from
  listening at all;
- an attribute that is clearly there may be pushed further without a change in the picture, on each layer
  by another amount, so that an edit that goes too far, or not as far on all layers, still shows a face;
- detail that is a few pixels wide (eyes, mouth, glasses) weighs more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.stylegan2 import Generator, GeneratorConfig, ModulatedConv
from styleclip_cli.toyworld.attributes import ATTRIBUTES, COUNT, attributes_of_normals
from styleclip_cli.truth.judging import psnr
from toyworld_training.common import half, run
from toyworld_training.data import Pairs
from toyworld_training.judge import held_out

Z_DIM = 64
CHANNELS = {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16}
# (resolution, steps, batch): most of the time goes to the last.
STAGES = ((32, 1500, 32), (64, 2000, 16), (128, 8600, 12))
SPARSITY = 5e-6
RGB_SPARSITY = 1e-4  # colours must come from the layers that edits may move


def attributes_of_z(z: Tensor) -> Tensor:
    """Attributes that a generator's input stands for.

    Args:
        z: Latents, shape [N, 64], standard normal; their length is irrelevant (StyleGAN2 normalises it).

    Returns:
        Attributes, shape [N, 32].
    """
    u = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
    return attributes_of_normals(u[:, :COUNT])


def w_of_attributes(attributes: Tensor) -> Tensor:
    """The toy generator's W is laid out by attribute: w = 2 a - 1. Shapes [..., 32] -> [..., 32]."""
    return attributes * 2 - 1


def build() -> Generator:
    """A generator whose style channels each listen to one attribute."""
    torch.manual_seed(3)
    generator = Generator(GeneratorConfig(z_dim=Z_DIM, w_dim=COUNT, mapping_layers=4, channels=CHANNELS))
    for module in generator.modules():
        if isinstance(module, ModulatedConv):
            width = module.affine.weight.shape[0]
            order = torch.cat([torch.randperm(COUNT) for _ in range(math.ceil(width / COUNT))])[:width]
            with torch.no_grad():
                module.affine.weight.normal_(std=0.02)
                sign = torch.randint(2, (width,)) * 2.0 - 1
                module.affine.weight[torch.arange(width), order] = 0.7 * sign
    return generator


def overshoot(attributes: Tensor, layers: int, rng: torch.Generator) -> Tensor:
    """Push saturated attributes further, which changes nothing in the picture.

    Args:
        attributes: [N, 32].
        layers: Number of W+ vectors.
        rng: Source of chance.

    Returns:
        W+ [N, layers, 32].
    """
    n = len(attributes)
    presence = torch.tensor([a.presence for a in ATTRIBUTES])
    a = attributes[:, None].expand(n, layers, COUNT)

    def uniform(low: float, high: float) -> Tensor:
        common = torch.rand(n, 1, COUNT, generator=rng)
        own = torch.rand(n, layers, COUNT, generator=rng)
        each = torch.rand(n, 1, COUNT, generator=rng) < 0.5
        return torch.where(each, own, common.expand_as(own)) * (high - low) + low

    pushed = torch.rand(n, 1, COUNT, generator=rng) < 0.3
    far = torch.where(presence, uniform(0.8, 2.0), uniform(1.0, 1.5))
    a = torch.where(pushed & (a > torch.where(presence, 0.8, 1.0)), far, a)
    far = torch.where(presence, uniform(-1.0, 0.2), uniform(-0.5, 0.0))
    a = torch.where(pushed & (attributes[:, None] < torch.where(presence, 0.2, 0.0)), far, a)
    return w_of_attributes(a)


@cache
def weights(resolution: int) -> Tensor:
    """How much each pixel counts, [1, 1, R, R]: the features of the face most. Mean 1."""
    at = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
    x, y = at[None, :].abs(), at[:, None]
    eyes = torch.exp(-(((x - 0.2) / 0.24) ** 2) - ((y + 0.02) / 0.2) ** 2)
    mouth = torch.exp(-((x / 0.24) ** 2) - ((y - 0.42) / 0.16) ** 2)
    ears = torch.exp(-(((x - 0.5) / 0.1) ** 2) - ((y - 0.28) / 0.14) ** 2)
    cheeks = torch.exp(-(((x - 0.2) / 0.17) ** 2) - ((y - 0.2) / 0.12) ** 2)  # freckles
    brow = torch.exp(-((x / 0.25) ** 2) - ((y + 0.3) / 0.12) ** 2)  # wrinkles
    w = 1 + 2 * eyes + 2 * mouth + 1.5 * ears + 14 * cheeks + 4 * brow
    return (w / w.mean())[None, None]


def distance(picture: Tensor, truth: Tensor, weighting: Callable[[int], Tensor] = weights) -> Tensor:
    """L1 at three scales and L1 of the gradients, weighted toward the face's features."""
    error = picture - truth
    w = weighting(picture.shape[-1])
    total = (error.abs() * w).mean()
    total = total + ((error[..., 1:, :] - error[..., :-1, :]).abs() * w[..., 1:, :]).mean() * 0.5
    total = total + ((error[..., 1:] - error[..., :-1]).abs() * w[..., 1:]).mean() * 0.5
    for scale in (2, 4):
        total = total + F.avg_pool2d(error, scale).abs().mean() * 0.5
    return total


def train(data: Pairs, folder: Path) -> dict[str, Tensor]:
    """Train and return the generator's weights."""
    generator = build()
    attributes = data.load_attributes()
    truth_test, images_test = held_out(192, presence_rate=0.25)
    w_test = w_of_attributes(truth_test)[:, None].expand(-1, generator.style_space.num_ws, -1)
    generator.mapping.requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.requires_grad_(False)
    convs = [m for m in generator.modules() if isinstance(m, ModulatedConv)]

    for resolution, steps, batch in STAGES:

        def step(
            number: int, rng: torch.Generator, resolution: int = resolution, batch: int = batch
        ) -> dict[str, Tensor]:
            index, member = data.choose(batch, rng)
            truth = F.adaptive_avg_pool2d(data.images(index, member), resolution)
            w_plus = overshoot(attributes[index, member], generator.style_space.num_ws, rng)
            with half():
                picture = generator(w_plus, noise="none", stop_at=resolution)
            loss = distance(picture.float(), truth)
            sparsity = torch.zeros(())
            for conv in convs:
                sparsity = sparsity + conv.affine.weight.abs().sum() * (
                    RGB_SPARSITY if conv.is_rgb else SPARSITY
                )
            return {"loss": loss + sparsity, "image": loss, "sparsity": sparsity}

        def report(trained: nn.Module, resolution: int = resolution) -> dict[str, float]:
            values = []
            for w, truth in zip(w_test.split(32), images_test.split(32), strict=True):
                truth = F.adaptive_avg_pool2d(truth, resolution)
                values.append(psnr(trained(w, "none", resolution).clamp(-1, 1), truth))
            return {"PSNR": float(torch.cat(values).mean()), "worst": float(torch.cat(values).min())}

        last = resolution == STAGES[-1][0]
        state = run(
            "generator", folder, generator, step, steps=steps, lr=3e-3, weight_decay=0.0,
            average=0.998 if last else 0.99, report=report, report_every=500, stage=f"-{resolution}",
        )  # fmt: skip
        generator.load_state_dict(state)
    generator.requires_grad_(True)
    prune(generator)
    return train_mapping(generator, folder)


@torch.no_grad()
def prune(generator: Generator, least: float = 0.03) -> None:
    """Forget what the penalty left of weights that carry nothing.

    Costs 0.3 dB. A style channel that listens to nothing then has no spread at all, so it takes no part in
    any direction; before, its direction was noise.
    """
    for module in generator.modules():
        if isinstance(module, ModulatedConv):
            weight = module.affine.weight
            weight[weight.abs() < least] = 0


def train_mapping(generator: Generator, folder: Path, steps: int = 3000) -> dict[str, Tensor]:
    """Teach the mapping network which attributes a z stands for, and set w_avg."""
    mapping = generator.mapping
    # Each attribute is a bent line of one number of z. A chain of single units, flipped from layer to
    # layer, can bend it twice; a random start never finds that in 32 units.
    with torch.no_grad():
        for i, layer in enumerate(mapping):
            assert isinstance(layer, nn.Linear)
            layer.weight.copy_(torch.eye(*layer.weight.shape) * (1.0 if i == 0 else -1.0))
            layer.weight.add_(
                torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(i)) * 0.01
            )
            layer.bias.zero_()

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        z = torch.randn(512, Z_DIM, generator=rng)
        return {"loss": (generator.map(z) - w_of_attributes(attributes_of_z(z))).square().mean()}

    def report(_: nn.Module) -> dict[str, float]:
        z = torch.randn(4096, Z_DIM, generator=torch.Generator().manual_seed(1))
        w, truth = generator.map(z), w_of_attributes(attributes_of_z(z))
        return {"error": float((w - truth).abs().mean()), "spread": float((w.std(0) / truth.std(0)).min())}

    state = run(
        "mapping",
        folder,
        mapping,
        step,
        steps=steps,
        lr=3e-3,
        average=0.998,
        report=report,
        report_every=1000,
    )
    mapping.load_state_dict(state)
    with torch.no_grad():
        z = torch.randn(50_000, Z_DIM, generator=torch.Generator().manual_seed(2))
        generator.w_avg.copy_(generator.map(z).mean(dim=0))
    return {k: v.detach().clone() for k, v in generator.state_dict().items()}
