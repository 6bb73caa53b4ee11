"""Train the e4e encoder: picture -> W+.

By what the generator draws from its codes (the picture itself), by the w of people whose z is known, and
by e4e's small offsets (Tov et al. 2021, section 4.2).
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
from styleclip_cli.truth.judging import psnr
from styleclip_cli.world.networks import resized
from toyworld_training.common import half, run
from toyworld_training.judge import disturb
from world_training.data import Pictures
from world_training.generator import W_DIM, Truth, distance, held_out, w_plus_of

SIDE = 128
"""Side in pixels of what the encoder looks at, and of the pictures that are compared."""


def build(generator: Generator) -> Encoder:
    """The e4e encoder at a small size, whose first answer is the mean face.

    All its heads read the deepest map, of two by two (as in ReStyle's encoders, Alaluf et al. 2021): those
    of a feature pyramid would be larger than all other networks.
    """
    torch.manual_seed(9)
    shapes = stages((16, 32, 64, 96, 96, 96), (1, 2, 2, 2, 1, 1), reduction=8)
    encoder = Encoder(shapes, generator.style_space.num_ws, W_DIM, SIDE, pyramid=False)
    encoder.latent_avg.copy_(generator.w_avg.expand_as(encoder.latent_avg))
    return encoder


def train(
    data: Pictures, folder: Path, generator: Generator, steps: int = 5000, batch: int = 12
) -> dict[str, Tensor]:
    """Train with a frozen generator and return the weights."""
    generator = generator.eval().requires_grad_(False)
    encoder = channels_last(build(generator))
    truth = Truth(data)
    with torch.no_grad():
        spread = generator.map(torch.randn(10_000, data.people.z.shape[1])).std(dim=0)
    _, images_test = held_out(96, seed=14_000_000)

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        coarse, fine, pictures = truth.choose(batch, SIDE, rng)
        images = disturb(pictures, rng)
        with half():
            codes = encoder(images.contiguous(memory_format=torch.channels_last)).float()
        wanted = w_plus_of(generator, coarse, fine)
        drawn = generator(codes, "const", SIDE)
        losses = {
            "image": distance(drawn, pictures),
            "code": F.smooth_l1_loss(codes / spread, wanted / spread),
            "offsets": (codes[:, 1:] - codes[:, :1]).square().mean() / spread.square().mean(),
        }
        return {"loss": losses["image"] * 2 + losses["code"] + 0.02 * losses["offsets"]} | losses

    def report(trained: nn.Module) -> dict[str, float]:
        values = torch.cat([
            psnr(generator(trained(resized(part, SIDE))).clamp(-1, 1), part) for part in images_test.split(16)
        ])  # fmt: skip
        return {"PSNR": float(values.mean()), "worst": float(values.min())}

    state = run(
        "encoder", folder, encoder, step, steps=steps, lr=2e-3, weight_decay=5e-4, average=0.998,
        report=report,
    )  # fmt: skip
    return state | {"latent_avg": generator.w_avg.clone()}
