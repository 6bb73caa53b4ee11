"""Train the identity network: two pictures of the same person meet, whatever hair, glasses or light do.

The loss is a symmetric cross-entropy over the batch (every other person is wrong), with a head that reads
the bones as a help, dropped afterwards.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.irse import ArcFace, stages
from styleclip_cli.nets.ops import channels_last
from styleclip_cli.world.attributes import IDENTITY, INDEX, visibility
from styleclip_cli.world.networks import resized
from styleclip_cli.world.renderer import render_all
from toyworld_training.common import half, run
from toyworld_training.identity import similarities
from toyworld_training.judge import disturb
from world_training.data import Pictures, turned
from world_training.generator import HELD_OUT
from world_training.people import SAME, TURNS, Z_DIM, person, same_person

EMBED = 64
SIDE = 112


def build() -> ArcFace:
    """The IR-SE network at a small size."""
    torch.manual_seed(5)
    return ArcFace(stages((16, 32, 64, 96), (1, 1, 2, 1), reduction=8), EMBED, SIDE)


def train(data: Pictures, folder: Path, steps: int = 1800, pairs: int = 32) -> dict[str, Tensor]:
    """Train and return the identity network's weights."""
    net = channels_last(build())
    bones = [INDEX["age"], INDEX["feminine"], *IDENTITY]
    head = nn.Linear(EMBED, len(bones))
    module = nn.ModuleDict({"net": net, "head": head})
    attributes = data.people.attributes
    test = same_and_other(256)

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        items = torch.randint(data.ready // TURNS, (pairs,), generator=rng) * TURNS
        items = items + torch.randint(SAME.start, SAME.stop, (pairs,), generator=rng)
        items, members = items.repeat_interleave(2), torch.arange(2).repeat(pairs)
        (images,) = turned(
            torch.rand(2 * pairs, generator=rng) < 0.5, resized(data.images(items, members), SIDE)
        )
        images = disturb(images, rng)
        with half():
            embedded = net.embed(images.contiguous(memory_format=torch.channels_last))
        embedded = embedded.float()
        logits = 12 * embedded[0::2] @ embedded[1::2].T
        target = torch.arange(pairs)
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        a = attributes[items, members]
        error = F.smooth_l1_loss(head(embedded * 8), a[:, bones], beta=0.1, reduction="none")
        read = (error * visibility(a)[:, bones]).mean() * 10
        return {"loss": contrast + read, "contrast": contrast, "read": read}

    def report(trained: nn.Module) -> dict[str, float]:
        return similarities(trained["net"], *test)  # type: ignore[index]

    state = run(
        "identity", folder, module, step, steps=steps, lr=2e-3, weight_decay=5e-4, average=0.995,
        report=report,
    )  # fmt: skip
    return {k[4:]: v for k, v in state.items() if k.startswith("net.")}


def same_and_other(n: int) -> tuple[Tensor, Tensor]:
    """Held-out pictures of n people, twice each, at two times."""
    rng = torch.Generator().manual_seed(HELD_OUT + 7)
    z = torch.randn(n, Z_DIM, generator=rng)
    return render_all(*person(z)), render_all(*same_person(z, rng)[:2])
