"""What is asked of toy faces, and on whom: the data of the evaluation.

Sentences with what counts as their success, what must be in sight for them, which attributes their words
bring along in the population (`implied.toml`), and which persons are for what.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from styleclip_cli import toml
from styleclip_cli.errors import UsageError
from styleclip_cli.toyworld.attributes import COUNT, INDEX, shown, visibility

IMPLIED = Path(__file__).parent / "implied.toml"
"""What words bring along, computed by `python -m toyworld_training.implied` before any method was run."""
SHIFT = 0.15
"""An attribute is implied if its mean is further apart between persons for whom the words hold and others."""
_SEEN = 0.01
"""Share of persons who must show an attribute for its mean to say anything."""
LACKING = 0.45
"""Persons that a change is asked of show less of it than this."""
SplitName = Literal["defaults", "dev", "test"]


@dataclass(frozen=True)
class Split:
    """Persons, by the seeds that they are drawn from; no two splits share one.

    Attributes:
        faces: First seed of the faces; 64 are drawn from each.
        photos: First seed of the photos; one is drawn from each.
    """

    faces: int
    photos: int


# No network was trained on any of these. Constants (the pack's strength, the shares of `--auto`, the
# composite) were chosen on the first range alone; what the documents print is of the last.
SPLITS: dict[SplitName, Split] = {
    "defaults": Split(faces=30_000_000, photos=73_000_000),
    "dev": Split(faces=47_000_000, photos=75_000_000),
    "test": Split(faces=60_000_000, photos=76_000_000),
}


@dataclass(frozen=True)
class Target:
    """A change of one attribute.

    Attributes:
        attribute: Its name.
        up: Toward 1, or toward 0.
        bar: The judge must read at least this (at most, if not up).
    """

    attribute: str
    up: bool = True
    bar: float = 0.5

    @property
    def index(self) -> int:
        """Its place among the attributes."""
        return INDEX[self.attribute]

    @property
    def end(self) -> float:
        """Its value where the change is complete."""
        return 1.0 if self.up else 0.0

    def margin(self, read: Tensor) -> Tensor:
        """By how much readings [..., 32] are past the bar, [...]; negative before it."""
        value = read[..., self.index]
        return value - self.bar if self.up else self.bar - value

    def reached(self, read: Tensor) -> Tensor:
        """How far readings [..., 32] are on its side, [...] in [0, 1]."""
        value = read[..., self.index]
        return value if self.up else 1 - value


@dataclass(frozen=True)
class Sight:
    """In whom a change of an attribute can be seen.

    Attributes:
        visible: Its visibility is above this.
        ranges: Attributes between these values, by name.
    """

    visible: float = 0.9
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, attributes: Tensor, index: int) -> Tensor:
        """Which persons, attributes [N, 32], it can be seen in, [N]."""
        seen = visibility(attributes)[:, index] > self.visible
        for name, (low, high) in self.ranges.items():
            value = attributes[:, INDEX[name]]
            seen &= (value > low) & (value < high)
        return seen


_HAIR = {"hair_length": (0.35, math.inf), "hat": (-math.inf, 0.25)}
_NOT_GREY = {"hair_grey": (-math.inf, 0.25)}
SIGHTS: dict[str, Sight] = {
    "hair_length": Sight(visible=0.0, ranges={"hat": (-math.inf, 0.25)}),
    "hair_volume": Sight(ranges=_HAIR),
    "hair_grey": Sight(ranges=_HAIR),
    "hair_red": Sight(ranges=_HAIR | _NOT_GREY),
    "hair_light": Sight(ranges=_HAIR | _NOT_GREY | {"hair_red": (-math.inf, 0.25)}),
}
"""For attributes that need more than to be visible."""


@dataclass(frozen=True)
class Case:
    """One edit and what counts as its success.

    Attributes:
        prompt: What is typed.
        targets: What should change, all of it.
        neutral: What the face is before.
        implied: Attributes that the words bring along in the population: no fault if they move too.
    """

    prompt: str
    targets: tuple[Target, ...]
    neutral: str = "face"
    implied: tuple[str, ...] = ()

    @property
    def attribute(self) -> str:
        """The first target's."""
        return self.targets[0].attribute

    @property
    def up(self) -> bool:
        """The first target's."""
        return self.targets[0].up

    def margin(self, read: Tensor) -> Tensor:
        """By how much readings [..., 32] are past all bars, [...]."""
        return torch.stack([target.margin(read) for target in self.targets]).amin(dim=0)

    def holds(self, read: Tensor) -> Tensor:
        """Whether readings [..., 32] show what the prompt asks for, [...]."""
        return self.margin(read) >= 0

    def lacks(self, read: Tensor) -> Tensor:
        """Whether readings [..., 32] show none of what the prompt asks for, [...]."""
        return torch.stack([target.margin(read) for target in self.targets]).amax(dim=0) < 0

    def reached(self, read: Tensor) -> Tensor:
        """How far readings [..., 32] are on the side of the target that is furthest back, [...]."""
        return torch.stack([target.reached(read) for target in self.targets]).amin(dim=0)

    def fits(self, attributes: Tensor) -> Tensor:
        """Which persons, attributes [N, 32], clearly lack what is asked for, where it can be seen, [N]."""
        fit = torch.ones(len(attributes), dtype=torch.bool)
        for target in self.targets:
            fit &= target.reached(shown(attributes)) < LACKING
            fit &= SIGHTS.get(target.attribute, Sight())(attributes, target.index)
        return fit

    def changed(self, attributes: Tensor) -> Tensor:
        """Persons [N, 32] in whom what is asked for has changed, and nothing else."""
        changed = attributes.clone()
        for target in self.targets:
            changed[:, target.index] = target.end
        return changed

    def others(self, implied: bool = False) -> Tensor:
        """Attributes that should stay, 1 or 0 for each, [32]; with those that are implied, if wanted."""
        others = torch.ones(COUNT)
        for name in (*(target.attribute for target in self.targets), *(() if implied else self.implied)):
            others[INDEX[name]] = 0
        return others


def _case(prompt: str, *targets: Target | str, neutral: str = "face") -> Case:
    """Names of attributes are presences that should appear."""
    return Case(prompt, tuple(Target(one) if isinstance(one, str) else one for one in targets), neutral)


def _less(attribute: str, bar: float = 0.5) -> Target:
    return Target(attribute, up=False, bar=bar)


# A presence is there from one half on; an amount has arrived two thirds of the way. The neutral text says
# what the face is before, as far as the edit is about it. Freckles and wrinkles are not asked for: the
# renderer draws them, but the toy generator has not learned to.
_CASES = (
    _case("with glasses", "glasses"),
    _case("without glasses", _less("glasses"), neutral="face with glasses"),
    _case("with sunglasses", "sunglasses"),
    _case("without sunglasses", _less("sunglasses"), neutral="face with sunglasses"),
    _case("with a beard", "beard"),
    _case("clean-shaven", _less("beard")),
    _case("with a moustache", "moustache"),
    _case("without a moustache", _less("moustache"), neutral="face with a moustache"),
    _case("with a hat", "hat"),
    _case("without a hat", _less("hat"), neutral="face with a hat"),
    _case("with earrings", "earrings"),
    _case("without earrings", _less("earrings"), neutral="face with earrings"),
    _case("with makeup", "makeup"),
    _case("without makeup", _less("makeup"), neutral="face with makeup"),
    _case("with red lipstick", "lipstick"),
    _case("without lipstick", _less("lipstick"), neutral="face with lipstick"),
    _case("with an open mouth", "mouth_open"),
    _case("with a closed mouth", _less("mouth_open"), neutral="face with an open mouth"),
    _case("with bangs", "fringe"),
    _case("without bangs", _less("fringe"), neutral="face with bangs"),
    _case("with red hair", "hair_red"),
    _case("with grey hair", "hair_grey"),
    _case("with blond hair", Target("hair_light", bar=0.67), neutral="face with black hair"),
    _case("with black hair", _less("hair_light", 0.33), neutral="face with blond hair"),
    _case("with long hair", Target("hair_length", bar=0.67)),
    _case("a bald head", _less("hair_length", 0.2), neutral="a head with hair"),
    _case("with voluminous hair", Target("hair_volume", bar=0.67)),
    _case("smiling", Target("smile", bar=0.67)),
    _case("sad", _less("smile", 0.33)),
    _case("with dark skin", Target("skin_tone", bar=0.67)),
    _case("with pale skin", _less("skin_tone", 0.33)),
    _case("with blue eyes", Target("eye_blue", bar=0.67)),
    _case("with brown eyes", _less("eye_blue", 0.33)),
    _case("with big eyes", Target("eye_size", bar=0.67)),
    _case("with small eyes", _less("eye_size", 0.33)),
    _case("with thick eyebrows", Target("brow_thickness", bar=0.67)),
    _case("with thin eyebrows", _less("brow_thickness", 0.33)),
    _case("with a wide nose", Target("nose_width", bar=0.67)),
    _case("with a narrow nose", _less("nose_width", 0.33)),
    _case("with a wide mouth", Target("mouth_width", bar=0.67)),
    _case("with glasses and a hat", "glasses", "hat"),
    _case("with a beard and a moustache", "beard", "moustache"),
    _case("with makeup and earrings", "makeup", "earrings"),
    _case("smiling with an open mouth", Target("smile", bar=0.67), "mouth_open"),
    _case("with red hair and blue eyes", "hair_red", Target("eye_blue", bar=0.67)),
)


def implied_shifts(case: Case, attributes: Tensor, threshold: float = SHIFT) -> dict[str, float]:
    """Attributes that a case's words bring along in a population.

    For each, the mean of what is shown, over persons in whom it is in sight, is compared between those for
    whom the words hold and the others; those in whom a target is hidden are left out.

    Args:
        case: The words, and what they ask for.
        attributes: The population, [N, 32].
        threshold: How far apart the means have to be.

    Returns:
        How far the mean of each is above that of the others, by name.
    """
    seen, value = visibility(attributes), shown(attributes)
    told = torch.stack([seen[:, target.index] > 0.5 for target in case.targets]).all(dim=0)
    value, seen, holds = value[told], seen[told], case.holds(value[told])

    def mean(which: Tensor) -> Tensor:
        weight = seen[which].sum(dim=0)
        return torch.where(weight > _SEEN * which.sum(), (value * seen)[which].sum(dim=0) / weight, torch.nan)

    shift = ((mean(holds) - mean(~holds)) * case.others(implied=True)).nan_to_num()
    return {name: float(shift[k]) for name, k in INDEX.items() if abs(float(shift[k])) > threshold}


def _told() -> tuple[Case, ...]:
    """The cases, with what their words imply."""
    table = toml.load(IMPLIED)["implied"]
    return tuple(replace(case, implied=tuple(table.get(case.prompt, {}))) for case in _CASES)


CASES = _told()


def chosen_cases(prompts: Sequence[str] | None) -> list[Case]:
    """The cases of some prompts, or all.

    Raises:
        UsageError: If a prompt is not among them.
    """
    if prompts is None:
        return list(CASES)
    known = {case.prompt: case for case in CASES}
    for prompt in prompts:
        if prompt not in known:
            raise UsageError(f'no truth is known for "{prompt}"', f"one of: {', '.join(known)}")
    return [known[prompt] for prompt in dict.fromkeys(prompts)]
