"""Who lives in the world: people are drawn from a seed, causes first and then what depends on them.

Where a number has a source, it stands beside it; the others are chosen. Sources:

- CelebA: shares of its 40 attributes over 202,599 photos (Liu et al. 2015; counts of list_attr_celeba.txt, as
  tabulated in github.com/yzy1996/Artificial-Intelligence, 1-Machine-Learning/8-Dataset). No table by sex and
  age was found: how a share is divided among them is chosen, so that the whole comes near the share, but for
  what famous people have more often than others (makeup), and what old people have (glasses, grey hair).
- FFHQ: 12,591 of 23,063 photos that two annotators labelled show women, 10,472 men ("What we found
  classifying 25k images of faces", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from styleclip_cli.world.attributes import INDEX, NAMES, PRESENCE, TEXTURES

DRAWS = 96
"""Even numbers that make a person, of which some are not used yet."""
IDENTITY_DRAWS = 27
"""The first of them: age, sex, ancestry and bones, which stay with a person."""


def persons(seeds: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
    """People, each a function of their seed alone.

    Args:
        seeds: N integers.

    Returns:
        Attributes, shape [N, K], mostly within [-0.05, 1.05]; textures, about normal, shape [N, 8].
    """
    rows = []
    for seed in torch.as_tensor(seeds).tolist():
        generator = torch.Generator().manual_seed(int(seed) * 2654435761 % 2**63)
        rows.append(torch.rand(DRAWS + TEXTURES, generator=generator, dtype=torch.float64))
    uniform = torch.stack(rows)
    texture = torch.special.ndtri(uniform[:, DRAWS:].clamp(1e-4, 1 - 1e-4))
    return people_of(uniform[:, :DRAWS]).float(), texture.float()


class _Draws:
    """Numbers of one batch of people, used up one after the other."""

    def __init__(self, uniform: Tensor) -> None:
        self.uniform = uniform
        self.next = 0

    def even(self) -> Tensor:
        """Spread evenly over [0, 1]."""
        self.next += 1
        return self.uniform[:, self.next - 1]

    def normal(self) -> Tensor:
        """Standard normal."""
        return torch.special.ndtri(self.even().clamp(1e-6, 1 - 1e-6))

    def amount(self, mean: Tensor | float, spread: Tensor | float = 0.2) -> Tensor:
        """About a mean, and a little past [0, 1] at most."""
        return (mean + spread * self.normal()).clamp(-0.05, 1.05)

    def present(self, rate: Tensor | float) -> Tensor:
        """Amount of a presence that is at least half there with this rate; mostly it is clear."""
        u = self.even()
        rate = torch.as_tensor(rate, dtype=u.dtype).expand_as(u).clamp(1e-6, 1 - 1e-6)
        return 0.5 + 0.55 * torch.tanh(12 * (torch.special.ndtri(rate) - torch.special.ndtri(u)))


def people_of(uniform: Tensor) -> Tensor:
    """People from even numbers in [0, 1], [N, 96] -> [N, K]: see the causes in `styleclip_cli.world`."""
    d = _Draws(uniform)
    p: dict[str, Tensor] = {}
    u = d.even()
    # Chosen: 14 % children (up to 0.28); CelebA: 77.4 % young, here 68 % (up to 0.55).
    p["age"] = torch.where(u < 0.14, u * 2.0, 0.28 + 0.77 * ((u - 0.14) / 0.86) ** 2.2)
    # FFHQ: 54.6 % women.
    woman = (d.even() < 0.546).to(uniform)
    child = ((0.30 - p["age"]) / 0.12).clamp(0, 1)
    spread = 0.10 + 0.08 * child
    p["feminine"] = (
        woman * (0.90 - 0.22 * child) + (1 - woman) * (0.10 + 0.22 * child) + spread * d.normal()
    ).clamp(-0.05, 1.05)
    grown = ((p["age"] - 0.24) / 0.10).clamp(0, 1)
    old = ((p["age"] - 0.55) / 0.40).clamp(0, 1)
    her, him = woman * grown, (1 - woman) * grown
    shares = _ancestry(d)
    _bones(d, p, shares, child, old, her, him)
    _hair(d, p, shares, child, old, woman, him)
    _worn(d, p, child, old, her, him, woman)
    _expression(d, p, child, her)
    _photo(d, p)
    return torch.stack([p[name] for name in NAMES], dim=1)


def _ancestry(d: _Draws) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shares of four ancestries (European, African, East Asian, South Asian), which add up to 1; chosen."""
    e = torch.stack([d.normal() for _ in range(4)])
    weight = torch.softmax(2.6 * e + e.new_tensor([0.9, 0.0, 0.0, -0.2])[:, None], dim=0)
    return weight[0], weight[1], weight[2], weight[3]


def _bones(
    d: _Draws,
    p: dict[str, Tensor],
    shares: tuple[Tensor, ...],
    child: Tensor,
    old: Tensor,
    her: Tensor,
    him: Tensor,
) -> None:
    """Skin and bones; all numbers chosen."""
    european, african, east, south = shares
    p["skin_tone"] = d.amount(0.14 * european + 0.80 * african + 0.27 * east + 0.52 * south, 0.08)
    pale = (1 - p["skin_tone"] / 0.45).clamp(0, 1)
    p["freckles"] = d.present(0.02 + 0.20 * pale * (1 - 0.7 * old))
    p["wrinkles"] = d.amount(
        0.02 + 1.0 * ((p["age"] - 0.40) / 0.55).clamp(0, 1), 0.24 * ((p["age"] - 0.2) / 0.3).clamp(0.1, 1)
    )
    p["face_width"] = d.amount(0.45 + 0.10 * him + 0.10 * child + 0.08 * east, 0.22)
    p["face_length"] = d.amount(0.48 + 0.10 * him - 0.10 * child, 0.22)
    p["jaw"] = d.amount(0.36 + 0.28 * him, 0.20)
    p["cheeks"] = d.amount(0.45 + 0.30 * child + 0.05 * her - 0.12 * old, 0.20)
    p["ears"] = d.amount(0.42 + 0.10 * him + 0.22 * old, 0.20)
    p["eye_size"] = d.amount(0.42 + 0.15 * her + 0.28 * child - 0.10 * old, 0.20)
    p["eye_spacing"] = d.amount(0.48 + 0.08 * east, 0.24)
    p["eye_tilt"] = d.amount(0.46 + 0.16 * east - 0.10 * old, 0.20)
    p["lid_fold"] = d.amount(0.14 + 0.72 * east + 0.18 * old, 0.14)
    dark = (african + east + 0.8 * south).clamp(0, 1)
    p["eye_light"] = d.amount(0.10 + 0.52 * (1 - dark) ** 1.5, 0.06 + 0.24 * (1 - dark))
    p["lashes"] = d.amount(0.34 + 0.24 * her + 0.10 * child, 0.20)
    p["brow_thickness"] = d.amount(0.40 + 0.24 * him - 0.10 * child, 0.20)  # CelebA: 14.2 % bushy
    p["brow_arch"] = d.amount(0.36 + 0.26 * her, 0.20)  # CelebA: 26.7 % arched
    p["nose_width"] = d.amount(0.28 + 0.48 * african + 0.16 * east + 0.12 * south + 0.08 * him, 0.16)
    p["nose_length"] = d.amount(0.46 + 0.08 * him + 0.16 * old, 0.20)
    p["mouth_width"] = d.amount(0.46 + 0.06 * him, 0.22)
    p["lip_fullness"] = d.amount(0.34 + 0.36 * african + 0.12 * her - 0.16 * old, 0.18)


def _hair(
    d: _Draws,
    p: dict[str, Tensor],
    shares: tuple[Tensor, ...],
    child: Tensor,
    old: Tensor,
    woman: Tensor,
    him: Tensor,
) -> None:
    """Hair of the head and of the face."""
    european, african, east, south = shares
    man = 1 - woman
    length = woman * (0.72 - 0.16 * old - 0.06 * child) + man * (0.235 + 0.02 * child)
    p["hair_length"] = d.amount(length, 0.05 + 0.13 * woman)
    long_man = (d.even() < 0.08) & (man > 0.5)  # chosen
    p["hair_length"] = torch.where(long_man, p["hair_length"] + 0.38, p["hair_length"]).clamp(-0.05, 1.05)
    # CelebA: 2.2 % bald and 8.0 % with a receding hairline; nearly all of them men, and more when older.
    p["baldness"] = d.present(him * (0.03 + 0.38 * old))
    # CelebA: 23.9 % black, 20.5 % brown, 14.8 % blond (the rest is grey, hidden or not labelled).
    dark = (african + east + 0.9 * south).clamp(0, 1)
    p["hair_light"] = d.amount(0.06 + 0.52 * (1 - dark) + 0.14 * child * (1 - dark), 0.05 + 0.22 * (1 - dark))
    p["hair_red"] = d.present(0.002 + 0.10 * european**2)
    # CelebA: 4.2 % grey, at 22.6 % not young; chosen: rising to 80 % at the end of life.
    p["hair_grey"] = d.present(0.82 * old**1.4 * (1 - 0.25 * woman))
    p["hair_dye"] = d.present((0.015 + 0.045 * woman) * (1 - 0.7 * old) * (1 - 0.8 * child))  # chosen: rare
    p["hair_hue"] = d.even()
    # CelebA: 20.8 % straight, 32.0 % wavy; by ancestry: chosen.
    p["hair_curl"] = d.amount(0.26 + 0.58 * african - 0.12 * east + 0.06 * south + 0.10 * woman, 0.22)
    p["hair_volume"] = d.amount(0.42 + 0.12 * woman - 0.14 * old + 0.16 * african, 0.20)
    p["fringe"] = d.present(0.08 + 0.15 * woman + 0.14 * child)  # CelebA: 15.2 % bangs
    # CelebA: 16.5 % have a beard, 6.3 % a goatee, 4.2 % a moustache, 11.1 % a five o'clock shadow, of whom
    # 41.7 % are men.
    p["beard"] = d.present(him * 0.24)
    moustache = d.present(him * 0.11)
    p["moustache"] = torch.maximum(
        moustache, torch.where(p["beard"] > 0.5, p["beard"] - 0.15 * d.even(), moustache)
    )
    p["stubble"] = d.present(him * 0.27)


def _worn(
    d: _Draws,
    p: dict[str, Tensor],
    child: Tensor,
    old: Tensor,
    her: Tensor,
    him: Tensor,
    woman: Tensor,
) -> None:
    """What people put on."""
    # CelebA: 38.7 % heavy makeup, 47.2 % lipstick, 18.9 % earrings, at 58.3 % women; they are famous, so
    # that there are fewer here.
    p["makeup"] = d.present(her * (0.50 - 0.22 * old))
    made_up = (p["makeup"] > 0.5).to(her)
    p["lipstick"] = d.present(her * (0.22 + 0.52 * made_up))
    p["earrings"] = d.present(0.01 + 0.015 * him + her * 0.32 + 0.05 * child * woman)
    # CelebA: 6.5 % glasses; by age chosen.
    p["glasses"] = d.present((0.06 + 0.34 * old) * (1 - 0.6 * child))
    p["sunglasses"] = d.present(0.035 * (1 - 0.5 * child))
    p["glasses_round"] = d.amount(0.42 + 0.18 * woman, 0.28)
    p["hat"] = d.present(0.065 + 0.02 * him)  # CelebA: 4.9 %
    u = d.even()
    p["hat_kind"] = torch.where(u < 0.55, u * 0.4, 0.65 + (u - 0.55) * 0.85)
    p["hat_hue"] = d.even()
    p["clothes_hue"] = d.amount(0.55 - 0.10 * woman, 0.34)
    p["clothes_light"] = d.amount(0.40 + 0.14 * woman + 0.08 * child, 0.26)
    u = d.even()
    shirt = 0.12 + 0.38 * him + 0.08 * her
    p["collar"] = torch.where(u < shirt, 0.66 + 0.36 * u / shirt.clamp(min=1e-6), 0.02 + 0.34 * u)


def _expression(d: _Draws, p: dict[str, Tensor], child: Tensor, her: Tensor) -> None:
    """At most one emotion; CelebA: 48.2 % smile, 48.3 % have an open mouth. The other rates are chosen."""
    u, strength = d.even(), d.even()
    smiling = 0.40 + 0.12 * her + 0.06 * child  # CelebA has more women among those who smile
    rest = (u - smiling) / (1 - smiling)
    felt = {
        "smile": u < smiling,
        "sad": (rest >= 0) & (rest < 0.14),
        "angry": (rest >= 0.14) & (rest < 0.28),
        "surprised": (rest >= 0.28) & (rest < 0.42),
    }
    for name, yes in felt.items():
        p[name] = torch.where(yes, 0.62 + 0.43 * strength, -0.05 + 0.22 * strength)
    surprised = felt["surprised"].to(u)
    p["mouth_open"] = d.present(0.14 + 0.46 * felt["smile"].to(u) + 0.55 * surprised)


def _photo(d: _Draws, p: dict[str, Tensor]) -> None:
    """Pose, light and background; all chosen, and independent of the person."""
    p["yaw"] = d.amount(0.5, 0.21)
    p["pitch"] = d.amount(0.5, 0.16)
    for name in ("roll", "scale", "shift_x", "shift_y"):
        p[name] = d.amount(0.5, 0.16)
    p["light"] = d.amount(0.5, 0.27)
    p["light_height"] = d.amount(0.5, 0.24)
    p["light_warm"] = d.amount(0.55, 0.24)
    p["background_warm"] = d.even()
    p["background_light"] = d.amount(0.5, 0.28)
    p["background_kind"] = d.even()


def correlations(attributes: Tensor) -> Tensor:
    """Correlation of each two attributes, shape [K, K]; 0 where one is the same for all."""
    centred = attributes - attributes.mean(dim=0)
    scaled = centred / centred.norm(dim=0).clamp(min=1e-9)
    return scaled.T @ scaled


CAUSES = ("age", "feminine", "skin_tone")


def table(people: int = 4000, least: float = 0.12) -> str:
    """Rates and correlations in Markdown, measured on people with seeds from 0.

    Args:
        people: How many.
        least: Smallest correlation with a cause that is worth a row.

    Returns:
        A line for each attribute that depends on a cause: mean, rate (presences), correlations with causes.
    """
    a = persons(range(people))[0].clamp(0, 1)
    r = correlations(a)
    lines = ["| attribute | mean | at least half there | " + " | ".join(CAUSES) + " |", "|---" * 6 + "|"]
    for i, name in enumerate(NAMES):
        values = [float(r[i, INDEX[cause]]) for cause in CAUSES]
        if name in CAUSES or not (PRESENCE[i] or max(map(abs, values)) >= least):
            continue
        rate = f"{float((a[:, i] > 0.5).float().mean()):.1%}" if PRESENCE[i] else ""
        lines.append(
            f"| {name} | {float(a[:, i].mean()):.2f} | {rate} | "
            + " | ".join(f"{v:+.2f}" for v in values)
            + " |"
        )
    return "\n".join(lines)
