"""Train the toy landmark networks: a finder of faces in photos, and a regressor of one face's points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from styleclip_cli.nets.landmarks import (
    CORNERS,
    DETAIL,
    FINDER_SIDE,
    POINTS,
    STRIDE,
    Finder,
    Regressor,
    place,
    sample,
)
from styleclip_cli.nets.ops import channels_last
from styleclip_cli.toyworld.attributes import COUNT, attributes_of_normals
from styleclip_cli.toyworld.points import landmarks
from toyworld_training import judge
from toyworld_training.common import half, run
from toyworld_training.data import Pairs
from toyworld_training.judge import HELD_OUT, disturb
from toyworld_training.shots import PATCH_SIDE, Shots, patch, photo, similarity_of, within

_CROP_HALF = DETAIL / 2  # half a crop in pixels of a patch


def jitter(n: int, rng: torch.Generator, spread: Tensor | float) -> Tensor:
    """Crops that are about, but not quite, where they should be in patches.

    Args:
        n: How many.
        rng: Source of choices.
        spread: 1 is what a finder gets wrong, 0 nothing; shape [n] or one for all.

    Returns:
        Similarities, shape [n, 4], pixels.
    """
    shift, turn = torch.rand(n, 2, generator=rng) * 2 - 1, torch.rand(n, generator=rng) * 2 - 1
    size = _CROP_HALF * torch.exp((torch.rand(n, generator=rng) * 2 - 1) * 0.18 * spread)
    angle = turn * math.radians(18) * spread
    middle = PATCH_SIDE / 2 + shift * (0.2 * _CROP_HALF * torch.as_tensor(spread).view(-1, 1))
    return torch.stack([*middle.unbind(1), size * torch.cos(angle), size * torch.sin(angle)], dim=1)


def errors(points: Tensor, similarity: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """How far answers are off.

    Args:
        points: In the frame, shape [N, 68, 2].
        similarity: Of the frame, shape [N, 4].
        truth: The points and the frame's corners, shape [N, 72, 2], in the units of the similarity.

    Returns:
        Mean distance of the points in distances between the eyes' middles, and the largest distance of the
        corners in sides of the frame; each [N].
    """
    eyes = truth[:, 36:42].mean(dim=1) - truth[:, 42:48].mean(dim=1)
    nme = (place(points, similarity) - truth[:, :POINTS]).norm(dim=-1).mean(dim=1) / eyes.norm(dim=-1)
    corners = place(CORNERS.expand(len(truth), -1, -1), similarity)
    side = (truth[:, -1] - truth[:, -4]).norm(dim=-1)
    return nme, (corners - truth[:, POINTS:]).norm(dim=-1).amax(dim=1) / side


def train_regressor(
    data: Pairs, folder: Path, n: int = 12_000, steps: int = 3200, batch: int = 64
) -> dict[str, Tensor]:
    """Train on crops around faces, some of them as bad as a finder's, and return the weights.

    The pairs of faces, which the other networks are trained on, are not used.
    """
    shots = Shots(folder / "shots", "patches", n)
    shots.draw()
    torch.manual_seed(21)
    net = build_regressor(judge.train(data, folder))
    held = [patch(HELD_OUT + i) for i in range(256)]
    return fit_regressor(net, shots, held, folder, steps, batch)


def fit_regressor(
    net: Regressor,
    shots: Shots,
    held: Sequence[tuple[Tensor, NDArray[np.float64]]],
    folder: Path,
    steps: int,
    batch: int,
) -> dict[str, Tensor]:
    """Train a regressor on patches, measure it on the held-out ones, and return the weights."""
    channels_last(net)
    ways = torch.linalg.pinv(net.basis.flatten(1)).T
    images_test = torch.stack([image for image, _ in held])
    truth_test = torch.from_numpy(np.stack([truth for _, truth in held])).float()

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        patches, truth = shots.choose(batch, rng)
        spread = torch.where(torch.rand(batch, generator=rng) < 0.3, 1.0, 0.2)
        crop = jitter(batch, rng, spread)
        images = disturb(sample(patches, crop), rng)
        with half():
            outputs = net.features(images.contiguous(memory_format=torch.channels_last))
        points, similarity, logit = net.read(outputs.float())
        there = ~truth[:, 0, 0].isnan()
        truth = truth[there]
        corners = place(CORNERS.expand(batch, -1, -1), similarity)[there]
        shape = within(truth[:, :POINTS], similarity_of(truth[:, POINTS:]))
        losses = {
            "points": F.smooth_l1_loss(points[there], shape, beta=0.01) * 20,
            # Without this only the largest variations are learned: the others drown in their errors.
            "amounts": F.smooth_l1_loss(
                outputs[there, : len(ways)].float(), (shape - net.mean).flatten(1) @ ways.T, beta=0.1
            )
            * 2,
            "corners": F.smooth_l1_loss(corners, within(truth[:, POINTS:], crop[there]), beta=0.01) * 25,
            "face": F.binary_cross_entropy_with_logits(logit, there.float()) * 0.1,
        }
        return {"loss": torch.stack(list(losses.values())).sum()} | losses

    def report(trained: nn.Module) -> dict[str, float]:
        there = ~truth_test[:, 0, 0].isnan()
        crop = jitter(len(truth_test), torch.Generator().manual_seed(1), 0.15)
        answers = [trained(part) for part in sample(images_test, crop).split(64)]
        points, similarity, logit = (torch.cat(part) for part in zip(*answers, strict=True))
        nme, corner = errors(points[there], similarity[there], within(truth_test, crop)[there])
        return {
            "nme": float(nme.mean()),
            "nme median": float(nme.median()),
            "corners": float(corner.mean()),
            "corners median": float(corner.median()),
            "face": float(((logit > 0) == there).float().mean()),
        }

    return run(
        "landmarks",
        folder,
        net,
        step,
        steps=steps,
        lr=1.5e-3,
        weight_decay=1e-3,
        average=0.998,
        report=report,
    )


def build_regressor(seen: Mapping[str, Tensor]) -> Regressor:
    """A regressor that knows how the points of toy faces vary, and whose first answer is the mean face.

    Args:
        seen: Weights of a judge, whose eyes it starts with: those of its own would take hours to notice
            more than the outline.
    """
    normals = torch.randn(4096, COUNT, generator=torch.Generator().manual_seed(21))
    # Points depend on nine measures only, and linearly.
    net = shaped(landmarks(attributes_of_normals(normals, 0.4)), least=1e-3)
    state = net.state_dict()
    for i in range(1 + len(net.stages)):
        ours = f"stages.{i - 1}.down" if i else "stem"
        conv, norm = f"features.{3 * i}", f"features.{3 * i + 1}"
        state[f"{ours}.0.weight"] = seen[f"{conv}.weight"]
        for key in ("weight", "bias", "running_mean", "running_var"):
            state[f"{ours}.1.{key}"] = seen[f"{norm}.{key}"]
        state[f"{ours}.1.running_mean"] = seen[f"{norm}.running_mean"] - seen[f"{conv}.bias"]  # ours has none
        if i:  # what is new says little at first
            state[f"stages.{i - 1}.more.1.weight"] = torch.full_like(seen[f"{norm}.weight"], 0.2)
    net.load_state_dict(state)
    return net


def shaped(points: Tensor, least: float, **sizes: Any) -> Regressor:
    """A regressor of the ways in which points vary, whose first answer is the mean face.

    Args:
        points: Of many faces, in their frames, shape [N, 68, 2].
        least: Ways that vary by less than this share of the largest are left out.
        sizes: Of `nets.landmarks.Regressor`.
    """
    rows = points.flatten(1)
    mean = rows.mean(dim=0)
    _, spreads, ways = torch.linalg.svd(rows - mean, full_matrices=False)
    kept = spreads > spreads[0] * least
    net = Regressor(int(kept.sum()), **sizes)
    net.mean.copy_(mean.view(POINTS, 2))
    spread = spreads[kept] / math.sqrt(len(rows))
    net.basis.copy_((spread[:, None] * ways[kept]).view(-1, POINTS, 2))
    with torch.no_grad():
        net.head.weight.mul_(0.1)
        net.head.bias.zero_()
        net.head.bias[-3] = 1  # the frame is the crop
    return net


def targets(truth: Tensor) -> tuple[Tensor, Tensor]:
    """What a finder should answer.

    Args:
        truth: Similarities of the faces of each photo, shape [N, F, 4], pixels; NaN where there is none.

    Returns:
        Heat [N, 80, 80], 1 in the cells with a face's middle and falling off around, faster around small
        faces; and the similarity of the face that each cell's heat comes from, [N, 80, 80, 4].
    """
    cells = torch.arange(FINDER_SIDE // STRIDE)
    x, y, u, v = (truth[..., i, None] for i in range(4))
    sigma = (torch.sqrt(u * u + v * v) * (0.08 / STRIDE)).clamp(min=0.8)
    along = [torch.exp(-(((cells - (at / STRIDE).floor()) / sigma) ** 2) / 2).nan_to_num() for at in (x, y)]
    heat, face = (along[1][..., :, None] * along[0][..., None, :]).max(dim=1)
    index = face.flatten(1)[..., None].expand(-1, -1, 4)
    return heat, truth.nan_to_num().gather(1, index).view(*face.shape, 4)


def train_finder(
    data: Pairs, folder: Path, n: int = 5000, steps: int = 2800, batch: int = 8
) -> dict[str, Tensor]:
    """Train on whole photos, moved and scaled, and return the weights; the pairs are not used."""
    shots = Shots(folder / "shots", "photos", n)
    shots.draw()
    held = [photo(HELD_OUT + i) for i in range(96)]
    return fit_finder(shots, held, folder, steps, batch)


def fit_finder(
    shots: Shots,
    held: Sequence[tuple[Tensor, NDArray[np.float64]]],
    folder: Path,
    steps: int,
    batch: int,
) -> dict[str, Tensor]:
    """Train a finder on photos, measure it on the held-out ones, and return the weights."""
    torch.manual_seed(22)
    net = channels_last(Finder())
    first = torch.tensor([-4.0, 0, 0, 0, 0, 0])  # hardly any cell has a face
    net.head.bias = nn.Parameter(first)
    images_test = torch.stack([image for image, _ in held])
    truth_test = torch.from_numpy(np.stack([truth for _, truth in held])).float()

    def loss(images: Tensor, truth: Tensor) -> dict[str, Tensor]:
        with half():
            heat, similarity = net(images.contiguous(memory_format=torch.channels_last))
        wanted, frames = targets(truth)
        peak = wanted == 1
        p = torch.sigmoid(heat)
        found = ((1 - p) ** 2 * F.logsigmoid(heat))[peak].sum()
        rejected = ((1 - wanted) ** 4 * p**2 * F.logsigmoid(-heat))[~peak].sum()
        weight = wanted * (wanted > 0.3)
        size = frames[..., 2:].norm(dim=-1, keepdim=True).clamp(min=1)
        off = F.smooth_l1_loss(similarity / size, frames / size, beta=0.05, reduction="none").sum(-1)
        losses = {
            "heat": -(found + rejected) / peak.sum().clamp(min=1),
            "frames": (off * weight).sum() / weight.sum().clamp(min=1) * 2,
        }
        return {"loss": losses["heat"] + losses["frames"]} | losses

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        photos, truth = shots.choose(batch, rng)
        size = FINDER_SIDE / 2 * torch.exp((torch.rand(batch, generator=rng) * 2 - 1) * 0.2)
        middle = FINDER_SIDE / 2 + (torch.rand(batch, 2, generator=rng) * 2 - 1) * 32
        window = torch.cat([middle, size[:, None], torch.zeros(batch, 1)], dim=1)
        images = disturb(sample(photos, window, FINDER_SIDE), rng)
        scale = (FINDER_SIDE / 2 / size)[:, None, None]
        moved = (within(truth[..., :2], window) + 1) * (FINDER_SIDE / 2)
        outside = ((moved < 0) | (moved >= FINDER_SIDE)).any(dim=-1, keepdim=True)
        truth = torch.cat([moved, truth[..., 2:] * scale], dim=-1)
        return loss(images, truth.masked_fill(outside, math.nan))

    def report(trained: nn.Module) -> dict[str, float]:
        parts = zip(images_test.split(16), truth_test.split(16), strict=True)
        values = [loss(images, truth) for images, truth in parts]
        return {name: float(torch.stack([v[name] for v in values]).mean()) for name in values[0]}

    return run(
        "detector", folder, net, step, steps=steps, lr=2e-3, weight_decay=1e-3, average=0.998, report=report
    )
