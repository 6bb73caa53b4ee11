"""Who the generator draws: each z stands for one person, through a fixed random rotation.

A person of the population is a row of even numbers (`population.people_of`) and a texture. Here they come
from z, turned at random: no number of z stands for anything by itself, as in a generator that was trained
on photos (disentanglement of FFHQ's Z: 0.31; Wu et al. 2021, table 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.world.attributes import COUNT, INDEX, NAMES, PRESENCE, TEXTURES
from styleclip_cli.world.population import DRAWS, IDENTITY_DRAWS, people_of

Z_DIM = 128
# What the layers of 64 pixels and more decide: colours, light, and what is finer than shapes. In generators
# that were trained on photos this parting comes with style mixing (Karras et al. 2019, section 3.1).
COLOURS = (
    *("skin_tone", "freckles", "eye_light", "hair_light", "hair_red", "hair_grey", "hair_dye", "hair_hue"),
    *("stubble", "makeup", "lipstick", "hat_hue", "clothes_hue", "clothes_light"),
    *("light_warm", "background_warm", "background_light"),
)


@cache
def _rotation() -> Tensor:
    return torch.linalg.qr(torch.randn(Z_DIM, Z_DIM, generator=torch.Generator().manual_seed(1)))[0]


def _numbers(z: Tensor) -> tuple[Tensor, Tensor]:
    """Even numbers [N, DRAWS] and textures [N, 8] of z [N, Z_DIM], whose length is irrelevant."""
    normals = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8) @ _rotation().T
    return torch.special.ndtr(normals[:, :DRAWS].double()), normals[:, DRAWS : DRAWS + TEXTURES]


def person(z: Tensor) -> tuple[Tensor, Tensor]:
    """Attributes [N, K] and textures [N, 8] of the people that z stands for.

    Args:
        z: Shape [N, Z_DIM], standard normal; its length is irrelevant (StyleGAN2 normalises it).
    """
    even, texture = _numbers(z)
    return people_of(even).float(), texture.clamp(-3, 3)


def mixed(coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
    """People with the shapes of one z and the colours of another, as `person`."""
    a, texture = person(coarse)
    colours = [INDEX[name] for name in COLOURS]
    a[:, colours] = person(fine)[0][:, colours]
    return a, texture


def same_person(z: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """The same people (age, sex, bones, skin) at another time.

    Args:
        z: Of them at one time, shape [N, Z_DIM].
        rng: Source of choices.

    Returns:
        Attributes and textures, as `person` gives them, and their z, NaN for the few that have none.
    """
    even, texture = _numbers(z)
    later = torch.rand(even.shape, generator=rng, dtype=torch.float64)
    later[:, :IDENTITY_DRAWS] = even[:, :IDENTITY_DRAWS]
    texture = torch.randn(texture.shape, generator=rng)
    normals = torch.cat([torch.special.ndtri(later).float(), texture], dim=1)
    # The numbers that nothing depends on make up for the length, which `_numbers` takes to be that of z.
    rest = F.normalize((z @ _rotation().T)[:, normals.shape[1] :])
    length = (Z_DIM - normals.square().sum(dim=1, keepdim=True)).sqrt()
    there = torch.cat([normals, rest * length], dim=1) @ _rotation()
    return people_of(later).float(), texture.clamp(-3, 3), there


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of people, of five kinds that take turns (see `draw_pairs`).

    Attributes:
        z: Of the first, [N, Z_DIM].
        fine: Of the second; of a mixed one, what gives its colours; NaN where no z stands for the second,
            [N, Z_DIM].
        attributes: [N, 2, K].
        textures: [N, 2, 8].
    """

    z: Tensor
    fine: Tensor
    attributes: Tensor
    textures: Tensor


TURNS = 8
FLIPPED, SAME, OTHER, MIXED = range(4), range(4, 6), 6, 7
"""Which items, modulo 8, are pairs of what kind."""


def draw_pairs(seed: int, n: int) -> Pairs:
    """Pairs of people: what the networks are trained on.

    The first stands for a z. The second is, of eight: four times the first with one attribute changed, at
    least half of the range away; twice the same person at another time; once another person; once a mix.

    Args:
        seed: Of this block.
        n: A multiple of 8.

    Returns:
        The pairs.
    """
    rng = torch.Generator().manual_seed(1_000_003 * seed + 17)
    z, fine = torch.randn(n, Z_DIM, generator=rng), torch.randn(n, Z_DIM, generator=rng)
    first, second = person(z), person(fine)
    *same, at_another_time = same_person(z, rng)
    mix = mixed(z, fine)
    for i in range(n):
        turn = i % TURNS
        if turn in FLIPPED:
            second[0][i], second[1][i] = _flipped(first[0][i], rng), first[1][i]
            fine[i] = torch.nan
        elif turn in SAME:
            second[0][i], second[1][i], fine[i] = same[0][i], same[1][i], at_another_time[i]
        elif turn == MIXED:
            second[0][i], second[1][i] = mix[0][i], mix[1][i]
    return Pairs(z, fine, *(torch.stack(pair, dim=1) for pair in zip(first, second, strict=True)))


def _flipped(a: Tensor, rng: torch.Generator) -> Tensor:
    """The same attributes [K] but for one (and a hue, which brings its dye)."""
    a = a.clone()
    k = int(torch.randint(COUNT, (1,), generator=rng))
    if PRESENCE[k]:
        a[k] = 0.0 if a[k] > 0.5 else 1.0
    else:
        shift = 0.5 + 0.5 * float(torch.rand(1, generator=rng))
        a[k] = a[k] - shift if a[k] > 0.5 else a[k] + shift
    if NAMES[k] == "hair_hue" and a[INDEX["hair_dye"]] < 0.5:  # else nobody sees it
        a[INDEX["hair_dye"]] = 1.0
    return a.clamp(-0.05, 1.05)
