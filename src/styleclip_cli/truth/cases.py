"""What is asked of people whose truth is known, and of whom: sentences, and what counts as their success.

Each world has its own (`toyworld/cases.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor

from styleclip_cli import toml
from styleclip_cli.errors import UsageError

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


@dataclass(frozen=True, eq=False)
class Attributes:
    """What can be known of the people of a world.

    Attributes:
        names: Of the K attributes.
        shown: What can be read off pictures of people [N, K]: [N, K] in [0, 1].
        visibility: How far each attribute can be seen in people, or readings, [N, K]: [N, K].
    """

    names: tuple[str, ...]
    shown: Callable[[Tensor], Tensor]
    visibility: Callable[[Tensor], Tensor]

    @cached_property
    def index(self) -> dict[str, int]:
        """Place of each name."""
        return {name: k for k, name in enumerate(self.names)}


@dataclass(frozen=True)
class Target:
    """A change of one attribute.

    Attributes:
        attribute: Its name.
        up: Toward 1, or toward 0.
        bar: The judge must read at least this (at most, if not up).
        at: A value between the ends that it should come to instead, by no more than `bar` off.
    """

    attribute: str
    up: bool = True
    bar: float = 0.5
    at: float | None = None

    @property
    def end(self) -> float:
        """Its value where the change is complete."""
        if self.at is not None:
            return self.at
        return 1.0 if self.up else 0.0

    def margin(self, value: Tensor) -> Tensor:
        """By how much values of the attribute are past the bar; negative before it."""
        if self.at is not None:
            return self.bar - (value - self.at).abs()
        return value - self.bar if self.up else self.bar - value

    def reached(self, value: Tensor) -> Tensor:
        """How far values of the attribute are on its side, in [0, 1]."""
        if self.at is not None:
            return (1 - (value - self.at).abs()).clamp(0, 1)
        return value if self.up else 1 - value


def less(attribute: str, bar: float = 0.5) -> Target:
    """A change toward 0."""
    return Target(attribute, up=False, bar=bar)


@dataclass(frozen=True)
class Sight:
    """In whom a change of an attribute can be seen.

    Attributes:
        visible: Its visibility is above this.
        ranges: Attributes between these values, by name.
    """

    visible: float = 0.9
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def among(self, people: Tensor, name: str, attributes: Attributes) -> Tensor:
        """Which people, [N, K], the attribute of this name can be seen in, [N]."""
        seen = attributes.visibility(people)[:, attributes.index[name]] > self.visible
        return seen & self.within(people, attributes)

    def within(self, people: Tensor, attributes: Attributes) -> Tensor:
        """Which people, [N, K], are between all values of `ranges`, [N]."""
        found = torch.ones(len(people), dtype=torch.bool)
        for other, (low, high) in self.ranges.items():
            value = people[:, attributes.index[other]]
            found &= (value > low) & (value < high)
        return found


@dataclass(frozen=True)
class Case:
    """One edit and what counts as its success; each world has a subclass, which knows its attributes.

    Attributes:
        attributes: Of the world.
        sights: Where changes can be seen that need more than to be visible, by attribute.
        prompt: What is typed.
        targets: What should change, all of it.
        neutral: What the face is before.
        implied: Attributes that the words bring along in the population: no fault if they move too.
    """

    attributes: ClassVar[Attributes]
    sights: ClassVar[Mapping[str, Sight]] = {}
    prompt: str
    targets: tuple[Target, ...]
    neutral: str = "face"
    implied: tuple[str, ...] = ()

    @classmethod
    def of(cls, prompt: str, *targets: Target | str, neutral: str = "face") -> Self:
        """An edit; names of attributes are presences that should appear."""
        return cls(prompt, tuple(Target(one) if isinstance(one, str) else one for one in targets), neutral)

    @property
    def attribute(self) -> str:
        """The first target's."""
        return self.targets[0].attribute

    @property
    def up(self) -> bool:
        """The first target's."""
        return self.targets[0].up

    def value(self, target: Target, read: Tensor) -> Tensor:
        """What readings [..., K] say of a target's attribute, [...]."""
        return read[..., self.attributes.index[target.attribute]]

    def margins(self, read: Tensor) -> Tensor:
        """By how much readings [..., K] are past each target's bar, [T, ...]."""
        return torch.stack([target.margin(self.value(target, read)) for target in self.targets])

    def margin(self, read: Tensor) -> Tensor:
        """By how much readings [..., K] are past all bars, [...]."""
        return self.margins(read).amin(dim=0)

    def holds(self, read: Tensor) -> Tensor:
        """Whether readings [..., K] show what the prompt asks for, [...]."""
        return self.margin(read) >= 0

    def lacks(self, read: Tensor) -> Tensor:
        """Whether readings [..., K] show none of what the prompt asks for, [...].

        Values between the ends do not count: they say nothing while the rest is missing.
        """
        ends = torch.tensor([target.at is None for target in self.targets])
        return self.margins(read)[ends].amax(dim=0) < 0

    def reached(self, read: Tensor) -> Tensor:
        """How far readings [..., K] are on the side of the target that is furthest back, [...]."""
        reached = [target.reached(self.value(target, read)) for target in self.targets]
        return torch.stack(reached).amin(dim=0)

    def fits(self, people: Tensor) -> Tensor:
        """Which people, [N, K], clearly lack what is asked for, where it can be seen, [N]."""
        fit = torch.ones(len(people), dtype=torch.bool)
        shown = self.attributes.shown(people)
        for target in self.targets:
            if target.at is None:
                fit &= target.reached(self.value(target, shown)) < LACKING
            sight = self.sights.get(target.attribute, Sight())
            fit &= sight.among(people, target.attribute, self.attributes)
        return fit

    def changed(self, people: Tensor) -> Tensor:
        """People [N, K or more] in whom what is asked for has changed, and nothing else."""
        changed = people.clone()
        for target in self.targets:
            changed[:, self.attributes.index[target.attribute]] = target.end
        return changed

    def others(self, implied: bool = False) -> Tensor:
        """Attributes that should stay, 1 or 0 for each, [K]; with those that are implied, if wanted."""
        others = torch.ones(len(self.attributes.names))
        for name in (*(target.attribute for target in self.targets), *(() if implied else self.implied)):
            others[self.attributes.index[name]] = 0
        return others


class PhotoEdit(NamedTuple):
    """A change of a photo whose truth can be drawn.

    Attributes:
        prompt: What is typed.
        neutral: What the face is before.
        attribute: What changes.
        before: Its value in the photo.
        after: Its value in the truth.
        vanishes: Whether structure vanishes or moves, so that there can be ghosts.
    """

    prompt: str
    neutral: str
    attribute: str
    before: float
    after: float
    vanishes: bool = True


def implied_shifts(case: Case, people: Tensor, threshold: float = SHIFT) -> dict[str, float]:
    """Attributes that a case's words bring along in a population.

    For each, the mean of what is shown, over persons in whom it is in sight, is compared between those for
    whom the words hold and the others; those in whom a target is hidden are left out.

    Args:
        case: The words, and what they ask for.
        people: The population, [N, K].
        threshold: How far apart the means have to be.

    Returns:
        How far the mean of each is above that of the others, by name.
    """
    seen, value = case.attributes.visibility(people), case.attributes.shown(people)
    ends = [target for target in case.targets if target.at is None]  # the others may hang on them
    told = torch.stack([case.value(target, seen) > 0.5 for target in ends]).all(dim=0)
    value, seen, holds = value[told], seen[told], case.holds(value[told])

    def mean(which: Tensor) -> Tensor:
        weight = seen[which].sum(dim=0)
        return torch.where(weight > _SEEN * which.sum(), (value * seen)[which].sum(dim=0) / weight, torch.nan)

    shift = ((mean(holds) - mean(~holds)) * case.others(implied=True)).nan_to_num()
    return {
        name: float(shift[k]) for name, k in case.attributes.index.items() if abs(float(shift[k])) > threshold
    }


def with_implied(cases: Sequence[Case], path: Path) -> tuple[Case, ...]:
    """The cases, with what a file says that their words imply."""
    table = toml.load(path)["implied"]
    return tuple(replace(case, implied=tuple(table.get(case.prompt, {}))) for case in cases)


def chosen_cases(cases: Sequence[Case], prompts: Sequence[str] | None) -> list[Case]:
    """The cases of some prompts, or all.

    Raises:
        UsageError: If a prompt is not among them.
    """
    if prompts is None:
        return list(cases)
    known = {case.prompt: case for case in cases}
    for prompt in prompts:
        if prompt not in known:
            raise UsageError(f'no truth is known for "{prompt}"', f"one of: {', '.join(known)}")
    return [known[prompt] for prompt in dict.fromkeys(prompts)]
