"""What an edit did, by what the judge reads off the pictures before and after."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.truth.cases import Attributes, Case

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine
    from styleclip_cli.inversion import FaceLatent
    from styleclip_cli.truth.worlds import World

MOVED = 0.25
"""An attribute that changes by more has moved."""
IN_SIGHT = 0.5
"""What is less visible, before or after, cannot be said to have moved."""
WORST = 4
"""Attributes that are named."""
_BATCH = 64
_AT_ONCE = 8
"""Drawings at once: more do not fit into a processor's caches."""
_MARGIN = 3
"""Pixels around the head and what changes that are not background: inversion moves outlines a little."""


def show_all(engine: Engine, faces: Sequence[FaceLatent]) -> Tensor:
    """Pictures [N, 3, R, R] of faces in [-1, 1]; N may be 0."""
    if not faces:
        return torch.zeros(0, 3, engine.pack.resolution, engine.pack.resolution)
    return engine.render(faces).clamp(-1, 1)


@torch.inference_mode()
def read_all(judge: nn.Module, pictures: Tensor) -> Tensor:
    """What the judge reads off pictures [N, 3, H, W]: [N, K], on the CPU."""
    device = next(judge.parameters()).device
    return torch.cat([judge(part.to(device)).cpu() for part in pictures.split(_BATCH)])


@torch.inference_mode()
def embed_all(engine: Engine, pictures: Tensor) -> Tensor:
    """Identity embeddings of pictures [N, 3, H, W]: [N, D], on the CPU."""
    identity = engine.networks.identity
    return torch.cat([identity.embed(part.to(engine.device)).cpu() for part in pictures.split(_BATCH)])


@torch.inference_mode()
def drawn(world: World, people: Tensor) -> Tensor:
    """Drawings [N, 3, H, W] in [-1, 1], in eight bits per colour, as a file would hold them.

    Args:
        world: Draws.
        people: As it has them, [N, K or more].
    """
    pictures = torch.cat([world.render(part) for part in people.split(_AT_ONCE)])
    return ((pictures + 1) * 127.5).round() / 127.5 - 1


def in_sight(attributes: Attributes, before: Tensor, after: Tensor) -> Tensor:
    """Visibility of attributes in both of two pictures, from readings [N, K]: [N, K]."""
    return torch.minimum(attributes.visibility(before), attributes.visibility(after))


def leak(case: Case, before: Tensor, after: Tensor) -> Tensor:
    """How far attributes that should stay moved on average, those in sight, from readings [N, K]: [N]."""
    return weighted((after - before).abs(), in_sight(case.attributes, before, after) * case.others())


def moved(case: Case, before: Tensor, after: Tensor, implied: bool = False) -> Tensor:
    """Which attributes in sight moved that should not have, from readings [N, K]: [N, K].

    Args:
        case: What should move.
        before: Readings before.
        after: Readings after.
        implied: Count those as well that the words bring along.
    """
    seen = (in_sight(case.attributes, before, after) > IN_SIGHT) & case.others(implied).bool()
    return ((after - before).abs() > MOVED) & seen


def clean(case: Case, before: Tensor, after: Tensor) -> Tensor:
    """Whether what was asked for is there and nothing else moved, from readings [N, K]: [N]."""
    return case.holds(after) & ~moved(case, before, after).any(dim=1)


def crossing(case: Case, reads: Tensor, leaks: Tensor, strengths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Strength and leak at equal target: where each face first comes to the bar, between strengths linearly.

    Args:
        case: Whose bar.
        reads: Readings at strength 0, where no face is past the bar, and at each strength, [1 + S, N, K].
        leaks: Leak at each strength, [S, N]; it is 0 at strength 0.
        strengths: Of the edit, S in ascending order.

    Returns:
        The strength [N] and the leak there [N]; NaN for faces that never come to it.
    """
    margin = case.margin(reads)  # [1 + S, N]
    past = margin[1:] >= 0
    first = past.float().argmax(dim=0, keepdim=True)  # [1, N], among the strengths
    low, high = margin.gather(0, first), margin.gather(0, first + 1)
    part = (-low / (high - low).clamp_min(1e-9)).clamp(0, 1)

    def between(values: Tensor) -> Tensor:
        whole = torch.cat([torch.zeros_like(values[:1]), values])
        start, end = whole.gather(0, first), whole.gather(0, first + 1)
        found = start + part * (end - start)
        return torch.where(past.any(dim=0), found[0], torch.nan)

    at = torch.tensor(strengths)[:, None].expand(-1, reads.shape[1])
    return between(at), between(leaks)


def shares(names: Sequence[str], flags: Tensor, count: int) -> dict[str, float]:
    """The attributes that moved in most faces, flags [N, K]: share of the faces by name, at most `count`."""
    found = flags.float().mean(dim=0).sort(descending=True, stable=True)
    pairs = zip(found.indices.tolist()[:count], found.values.tolist()[:count], strict=True)
    return {names[k]: share for k, share in pairs if share > 0}


def at_default(case: Case, before: Tensor, after: Tensor) -> dict[str, Any]:
    """What edits at the default strength did, from readings [N, K]."""
    broken = moved(case, before, after)
    change = (after - before).mean(dim=0)
    return {
        "success": average(case.holds(after).float().tolist()),
        "clean": average(clean(case, before, after).float().tolist()),
        "broken": average(broken.float().sum(dim=1).tolist()),
        "leak_default": average(leak(case, before, after).tolist()),
        "moved": shares(case.attributes.names, broken, WORST),
        "implied": {name: float(change[case.attributes.index[name]]) for name in case.implied},
    }


def over_strength(case: Case, before: Tensor, reads: Tensor, strengths: Sequence[float]) -> dict[str, Any]:
    """Leak over strength, and at equal target; readings at each strength [S, N, K]."""
    leaks = torch.stack([leak(case, before, read) for read in reads])
    strength, at_bar = crossing(case, torch.cat([before[None], reads]), leaks, strengths)
    points = zip(strengths, case.reached(reads).mean(dim=1).tolist(), leaks.mean(dim=1).tolist(), strict=True)
    return {
        "leak": average(at_bar.tolist()),
        "strength": average(strength.tolist()),
        "reached": float((~strength.isnan()).float().mean()),
        "curve": [{"strength": at, "target": target, "leak": leaked} for at, target, leaked in points],
    }


def average(values: Iterable[float | None]) -> float | None:
    """Of those that there are."""
    known = [float(value) for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else None


@torch.inference_mode()
def backdrop(world: World, people: Tensor) -> Tensor:
    """Where nothing but the backdrop is drawn, [N, 1, R, R] in {0, 1}: where it shows through fully."""
    free = []
    for part in people.split(_AT_ONCE):
        white = torch.ones(len(part), 3, world.resolution, world.resolution)
        through = world.render(part, white) - world.render(part, -white)
        free.append((through.amin(dim=1, keepdim=True) > 1.99).float())
    return torch.cat(free)


def background_change(
    free: Tensor, drawings: tuple[Tensor, Tensor], pictures: tuple[Tensor, Tensor]
) -> Tensor:
    """How far an edit changed the picture where nothing should change.

    That is where the backdrop is, less what the true change covers or uncovers, less a margin.

    Args:
        free: Where the backdrop is before, [N, 1, R, R].
        drawings: The true face before and after, [N, 3, R, R] each.
        pictures: The edited face before and after, [N, 3, R, R] each.

    Returns:
        Mean absolute change in 255ths, [N]; NaN where nothing is left of the backdrop.
    """
    change = (drawings[1] - drawings[0]).abs().amax(dim=1, keepdim=True) > 1 / 255
    taken = torch.maximum(1 - free, change.float())
    mask = 1 - F.max_pool2d(taken, 2 * _MARGIN + 1, 1, _MARGIN)
    moved = (pictures[1] - pictures[0]).abs().mean(dim=1, keepdim=True) * 127.5
    some = mask.flatten(1).any(dim=1)
    return torch.where(some, weighted(moved.flatten(1), mask.flatten(1)), torch.nan)


def weighted(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted means over the second axis, [N, K] -> [N]."""
    return (values * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-6)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1]; shapes [N, ...] -> [N]."""
    return -10 * torch.log10(((a - b) / 2).square().flatten(1).mean(1).clamp(min=1e-10))
