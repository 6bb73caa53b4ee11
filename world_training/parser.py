"""Train the parser of faces: picture -> which part of a person each pixel shows."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.ops import channels_last
from styleclip_cli.nets.parser import PARSER_SIDE, UNet
from styleclip_cli.world.networks import resized
from styleclip_cli.world.parsing import CLASSES, parse
from styleclip_cli.world.renderer import render_all
from toyworld_training.common import half, run
from toyworld_training.judge import disturb
from world_training.data import Backdrops, Pictures, turned
from world_training.generator import HELD_OUT
from world_training.people import Z_DIM, person

_RARE = 0.3  # exponent of how much more the rare parts count


def train(data: Pictures, folder: Path, steps: int = 1600, batch: int = 10) -> dict[str, Tensor]:
    """Train and return the parser's weights."""
    torch.manual_seed(31)
    net = channels_last(UNet(len(CLASSES)))
    test, backdrops = held_out(128), Backdrops(512, PARSER_SIDE)
    some = data.parts(torch.arange(min(256, data.ready)), torch.zeros(min(256, data.ready), dtype=torch.long))
    share = torch.bincount(some.flatten().long(), minlength=len(CLASSES)) / some.numel()
    weight = share.clamp(min=1e-4) ** -_RARE
    weight = weight / (weight * share).sum()

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        items = torch.randint(data.ready, (batch,), generator=rng)
        members = torch.randint(2, (batch,), generator=rng)
        flip = torch.rand(batch, generator=rng) < 0.5
        pictures = resized(data.images(items, members), PARSER_SIDE)
        pictures, parts = turned(flip, pictures, data.parts(items, members))
        images = disturb(backdrops.behind(pictures, parts, rng), rng)
        with half():
            logits = net(images.contiguous(memory_format=torch.channels_last))
        return {"loss": F.cross_entropy(logits.float(), parts.long(), weight)}

    def report(trained: nn.Module) -> dict[str, float]:
        pictures, parts = test
        photos = backdrops.behind(resized(pictures, PARSER_SIDE), parts, torch.Generator().manual_seed(1))
        return overlaps(trained, *test) | {"in photos": overlaps(trained, photos, parts)["mean"]}

    return run(
        "parser", folder, net, step, steps=steps, lr=2e-3, weight_decay=1e-3, average=0.998, report=report
    )


def held_out(n: int) -> tuple[Tensor, Tensor]:
    """Pictures of people no network has seen, and their parsing maps [n, 128, 128]."""
    z = torch.randn(n, Z_DIM, generator=torch.Generator().manual_seed(HELD_OUT + 31))
    a, texture = person(z)
    parts = zip(a.split(8), texture.split(8), strict=True)
    maps = [parse(people, texture=numbers) for people, numbers in parts]
    return render_all(a, texture), torch.cat(maps)[:, ::2, ::2]


@torch.no_grad()
def overlaps(net: nn.Module, images: Tensor, truth: Tensor) -> dict[str, float]:
    """Intersection over union of each part; the mean, then worst first."""
    found = torch.cat([net(resized(part, PARSER_SIDE)).argmax(dim=1) for part in images.split(32)])
    scores = {}
    for i, name in enumerate(CLASSES):
        either = ((found == i) | (truth == i)).sum()
        if either:
            scores[name] = float(((found == i) & (truth == i)).sum() / either)
    worst = sorted(scores, key=lambda n: scores[n])
    return {"mean": sum(scores.values()) / len(scores)} | {n: scores[n] for n in worst}
