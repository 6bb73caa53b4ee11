"""Train the e4e encoder: picture -> W+.

By what the generator draws from its codes (the picture itself, and who is seen in it), by the w of people
whose z is known, and by e4e's small offsets (Tov et al. 2021, section 4.2). Half of what it sees are the
generator's kind of pictures, half are faces cut out of photos.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import ArcFace, stages
from styleclip_cli.nets.ops import channels_last
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.truth.judging import psnr
from styleclip_cli.world.networks import resized
from toyworld_training.common import half, run
from toyworld_training.judge import disturb
from world_training.data import Pictures
from world_training.generator import HELD_OUT, W_DIM, Truth, distance, held_out, w_plus_of
from world_training.people import Z_DIM
from world_training.shots import CROP_SIDE, crop, drawn

SIDE = CROP_SIDE
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
    data: Pictures,
    folder: Path,
    generator: Generator,
    identity: Mapping[str, Tensor],
    steps: int = 5000,
    batch: int = 12,
) -> dict[str, Tensor]:
    """Train on as many of the pictures as of crops of photos, and return the weights.

    Args:
        data: The pictures.
        folder: Data and checkpoints.
        generator: What draws from the codes; it is frozen.
        identity: Weights of the identity network.
        steps: Of training.
        batch: An even number.
    """
    generator = generator.eval().requires_grad_(False)
    same = ArcFace.from_state_dict(identity)
    encoder = channels_last(build(generator))
    truth, crops = Truth(data), drawn(folder, "crops")
    with torch.no_grad():
        z = torch.randn(10_000, Z_DIM, generator=torch.Generator().manual_seed(6))
        spread = generator.map(z).std(dim=0)
    held = {"plain": resized(held_out(96, seed=14_000_000)[1], SIDE)}
    held["crops"] = torch.stack([crop(HELD_OUT + i)[0] for i in range(96)])

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        coarse, fine, pictures = truth.choose(batch // 2, SIDE, rng)
        cut, z = crops.choose(batch // 2, rng)
        pictures, coarse, fine = torch.cat([pictures, cut]), torch.cat([coarse, z]), torch.cat([fine, z])
        images = disturb(pictures, rng)
        with half():
            codes = encoder(images.contiguous(memory_format=torch.channels_last)).float()
        wanted = w_plus_of(generator, coarse, fine)
        drawing = generator(codes, "const", SIDE)
        with torch.no_grad():
            who = same.embed(pictures)
        losses = {
            "image": distance(drawing, pictures),
            "code": F.smooth_l1_loss(codes / spread, wanted / spread),
            "identity": 1 - (same.embed(drawing) * who).sum(dim=1).mean(),
            "offsets": (codes[:, 1:] - codes[:, :1]).square().mean() / spread.square().mean(),
        }
        total = losses["image"] * 2 + losses["code"] + 0.2 * losses["identity"] + 0.02 * losses["offsets"]
        return {"loss": total} | losses

    def report(trained: nn.Module) -> dict[str, float]:
        found = {}
        for name, pictures in held.items():
            drawing = torch.cat([generator(trained(part)).clamp(-1, 1) for part in pictures.split(16)])
            drawing = resized(drawing, SIDE)
            found[f"PSNR {name}"] = float(psnr(drawing, pictures).mean())
            found[f"identity {name}"] = float((same.embed(drawing) * same.embed(pictures)).sum(1).mean())
        return found

    state = run(
        "encoder", folder, encoder, step, steps=steps, lr=2e-3, weight_decay=5e-4, average=0.998,
        report=report,
    )  # fmt: skip
    return state | {"latent_avg": generator.w_avg.clone()}
