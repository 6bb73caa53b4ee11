"""Train the judge: picture -> what it shows."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.ops import channels_last
from styleclip_cli.world.attributes import COUNT, NAMES, mirrored, shown, visibility
from styleclip_cli.world.networks import Judge
from toyworld_training.common import half, run
from toyworld_training.judge import disturb, r2
from world_training.data import Pictures, turned
from world_training.generator import held_out
from world_training.people import person


def train(data: Pictures, folder: Path, steps: int = 4000, batch: int = 64) -> dict[str, Tensor]:
    """Train and return the judge's weights."""
    torch.manual_seed(11)
    judge = channels_last(Judge(COUNT))
    attributes = data.people.attributes
    z, images_test = held_out(512, seed=12_000_000)
    truth_test = person(z)[0]

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        items = torch.randint(data.ready, (batch,), generator=rng)
        members = torch.randint(2, (batch,), generator=rng)
        flip = torch.rand(batch, generator=rng) < 0.5
        a = attributes[items, members]
        a = torch.where(flip[:, None], mirrored(a), a)
        (images,) = turned(flip, judge.sized(data.images(items, members)))
        images = disturb(images, rng)
        with half():
            features = judge.features(images.contiguous(memory_format=torch.channels_last))
        error = F.smooth_l1_loss(judge.read(features.float()), shown(a), beta=0.1, reduction="none")
        return {"loss": (error * (0.02 + visibility(a))).mean() * 10}

    def report(module: nn.Module) -> dict[str, float]:
        read = torch.cat([module(part) for part in images_test.split(64)])
        seen = visibility(truth_test)
        values = r2(read, shown(truth_test), (seen > 0.9) * seen)
        worst = values.argsort()[:8]
        return {"R2 mean": float(values.mean())} | {NAMES[i]: float(values[i]) for i in worst}

    return run(
        "judge", folder, judge, step, steps=steps, lr=2e-3, weight_decay=1e-3, average=0.998, report=report
    )
