"""Train the toy e4e encoder: picture -> W+.

Against the true codes, which the world knows; what is hidden hardly counts.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import stages
from styleclip_cli.nets.ops import channels_last
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.toyworld.attributes import COUNT, shown, visibility
from styleclip_cli.toyworld.networks import RESOLUTION
from styleclip_cli.truth.judging import psnr
from toyworld_training.common import half, run
from toyworld_training.data import Pairs
from toyworld_training.judge import disturb, held_out


def build(num_ws: int) -> Encoder:
    """The e4e encoder at toy size."""
    torch.manual_seed(9)
    shapes = stages((8, 32, 64, 96), (1, 2, 3, 2), reduction=8)
    return Encoder(shapes, num_ws, COUNT, RESOLUTION)


def codes_of(attributes: Tensor) -> Tensor:
    """The w [N, 32] an encoder can know: what is shown, at full strength or none, not how far beyond."""
    return shown(attributes) * 2 - 1


def train(
    data: Pairs, folder: Path, num_ws: int = 12, steps: int = 2200, batch: int = 32
) -> dict[str, Tensor]:
    """Train against the true codes and return the weights."""
    encoder = channels_last(build(num_ws))
    attributes = data.load_attributes()
    truth_test, images_test = held_out(256, presence_rate=0.25)

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        index, member = data.choose(batch, rng)
        a = attributes[index, member]
        images = disturb(data.images(index, member), rng)
        with half():
            codes = encoder(images.contiguous(memory_format=torch.channels_last))
        error = F.smooth_l1_loss(
            codes.float(), codes_of(a)[:, None].expand_as(codes), beta=0.1, reduction="none"
        )
        loss = (error * (0.05 + visibility(a))[:, None]).mean() * 10
        return {"loss": loss}

    def report(trained: nn.Module) -> dict[str, float]:
        codes = torch.cat([trained(part) for part in images_test.split(32)])
        error = (codes - codes_of(truth_test)[:, None]).abs() / 2 * visibility(truth_test)[:, None]
        return {"error": float(error.mean()), "spread": float(codes.std(dim=1).mean())}

    state = run(
        "encoder",
        folder,
        encoder,
        step,
        steps=steps,
        lr=2e-3,
        weight_decay=5e-4,
        average=0.998,
        report=report,
    )
    # The codes are absolute here; the file must say so, or a reader takes the generator's mean.
    return state | {"latent_avg": torch.zeros(COUNT)}


@torch.no_grad()
def reconstruction(encoder: nn.Module, generator: Generator, images: Tensor) -> float:
    """Mean PSNR in dB of image -> W+ -> image."""
    values = [psnr(generator(encoder(part)).clamp(-1, 1), part) for part in images.split(32)]
    return float(torch.cat(values).mean())
