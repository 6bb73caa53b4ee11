"""Train the toy ArcFace: two pictures of the same bones meet, whatever hair, glasses or light do.

Odd items of the data are such pairs. The loss is a symmetric cross-entropy over the batch (every other
person is wrong), with a head that reads the bones as a help, dropped afterwards.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.irse import ArcFace, stages
from styleclip_cli.nets.ops import channels_last
from styleclip_cli.toyworld.attributes import IDENTITY, attributes_of_normals, visibility
from styleclip_cli.toyworld.renderer import render_all
from toyworld_training.common import half, run
from toyworld_training.data import Pairs
from toyworld_training.judge import HELD_OUT, disturb

EMBED = 64


def build() -> ArcFace:
    """The IR-SE network at toy size."""
    torch.manual_seed(5)
    return ArcFace(stages((16, 32, 64, 96), (1, 1, 2, 1), reduction=8), EMBED, 112)


def train(data: Pairs, folder: Path, steps: int = 650, pairs: int = 32) -> dict[str, Tensor]:
    """Train and return the identity network's weights."""
    net = channels_last(build())
    head = nn.Linear(EMBED, len(IDENTITY))
    module = nn.ModuleDict({"net": net, "head": head})
    attributes = data.load_attributes()
    bones = list(IDENTITY)
    test = same_and_other(256)

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        index = torch.randint(data.ready // 2, (pairs,), generator=rng) * 2 + 1
        images = disturb(data.images(index), rng).contiguous(memory_format=torch.channels_last)
        with half():
            embedded = net.embed(images)
        embedded = embedded.float()
        logits = 12 * embedded[0::2] @ embedded[1::2].T
        target = torch.arange(pairs)
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        a = attributes[index].flatten(0, 1)
        error = F.smooth_l1_loss(head(embedded * 8), a[:, bones], beta=0.1, reduction="none")
        read = (error * visibility(a)[:, bones]).mean() * 10
        return {"loss": contrast + read, "contrast": contrast, "read": read}

    def report(trained: nn.Module) -> dict[str, float]:
        return similarities(trained["net"], *test)  # type: ignore[index]

    state = run(
        "identity",
        folder,
        module,
        step,
        steps=steps,
        lr=2e-3,
        weight_decay=5e-4,
        average=0.995,
        report=report,
    )
    return {k[4:]: v for k, v in state.items() if k.startswith("net.")}


def same_and_other(n: int) -> tuple[Tensor, Tensor]:
    """Held-out pictures of n people, twice each with everything but the bones drawn anew."""
    rng = torch.Generator().manual_seed(HELD_OUT + 7)
    first, second = (attributes_of_normals(torch.randn(n, 32, generator=rng), 0.25) for _ in range(2))
    second[:, list(IDENTITY)] = first[:, list(IDENTITY)]
    return tuple(render_all(a) for a in (first, second))  # type: ignore[return-value]


@torch.no_grad()
def similarities(net: ArcFace, first: Tensor, second: Tensor) -> dict[str, float]:
    """Mean cosine between pictures of the same person, of different people, and how often they rank right."""
    a, b = (torch.cat([net.embed(part) for part in x.split(32)]) for x in (first, second))
    cosines = a @ b.T
    same, n = cosines.diag(), len(a)
    other = (cosines.sum() - same.sum()) / (n * n - n)
    above = (same[:, None] > cosines).float().sum() / (n * n - n)
    return {"same": float(same.mean()), "other": float(other), "AUC": float(above)}
