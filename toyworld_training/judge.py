"""Train the judge: picture -> what it shows."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from styleclip_cli.nets.ops import channels_last
from styleclip_cli.toyworld.attributes import NAMES, attributes_of_normals, shown, visibility
from styleclip_cli.toyworld.networks import Judge
from styleclip_cli.toyworld.renderer import render_all
from toyworld_training.common import half, run
from toyworld_training.data import Pairs

HELD_OUT = 10_000_000  # seeds from here on are never trained on


def held_out(n: int, seed: int = HELD_OUT, presence_rate: float = 0.4) -> tuple[Tensor, Tensor]:
    """Faces no network has been trained on: attributes [n, 32] and pictures [n, 3, 128, 128]."""
    u = torch.randn(n, 32, generator=torch.Generator().manual_seed(seed))
    a = attributes_of_normals(u, presence_rate)
    return a, render_all(a)


def r2(predicted: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Coefficient of determination per column, weighted. Shapes [N, K] -> [K]."""
    mean = (truth * weight).sum(0) / weight.sum(0).clamp(min=1e-6)
    residual = (weight * (predicted - truth) ** 2).sum(0)
    return 1 - residual / (weight * (truth - mean) ** 2).sum(0).clamp(min=1e-6)


def disturb(images: Tensor, rng: torch.Generator) -> Tensor:
    """Small shifts of colour, blur-like noise: a generator's pictures are softer than the renderer's."""
    n = images.shape[0]
    gain = 1 + 0.06 * torch.randn(n, 1, 1, 1, generator=rng)
    images = images * gain + 0.02 * torch.randn(n, 3, 1, 1, generator=rng)
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    amount = torch.rand(n, 1, 1, 1, generator=rng) * 0.9
    return torch.lerp(images, blurred, amount) + 0.02 * torch.randn(images.shape, generator=rng)


def train(data: Pairs, folder: Path, steps: int = 3500, batch: int = 96) -> dict[str, Tensor]:
    """Train and return the judge's weights."""
    torch.manual_seed(11)
    judge = channels_last(Judge())
    attributes = data.load_attributes()
    truth_test, images_test = held_out(512)

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        index, member = data.choose(batch, rng)
        a = attributes[index, member]
        images = disturb(data.images(index, member), rng)
        with half():
            features = judge.features(images.contiguous(memory_format=torch.channels_last))
        read = judge.read(features.float())
        error = torch.nn.functional.smooth_l1_loss(read, shown(a), beta=0.1, reduction="none")
        return {"loss": (error * (0.02 + visibility(a))).mean() * 10}

    def report(module: nn.Module) -> dict[str, float]:
        values = r2(module(images_test), shown(truth_test), visibility(truth_test))
        worst = values.argsort()[:5]
        return {"R2 mean": float(values.mean())} | {NAMES[i]: float(values[i]) for i in worst}

    return run(
        "judge", folder, judge, step, steps=steps, lr=2e-3, weight_decay=1e-3, average=0.998, report=report
    )
