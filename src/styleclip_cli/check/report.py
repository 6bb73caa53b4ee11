"""What a check of a pack found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from styleclip_cli.measure.pieces import duration

if TYPE_CHECKING:
    from PIL import Image

SCHEMA = "styleclip.check/1"
Status = Literal["passed", "failed", "not applicable"]
STATUSES: tuple[Status, ...] = ("passed", "failed", "not applicable")


@dataclass(frozen=True)
class Value:
    """One measured number.

    Attributes:
        name: What it is.
        measured: The number; may be not finite.
        bar: What it has to reach; None if it is only told.
        at_most: Whether it must not be above the bar, rather than not below it.
    """

    name: str
    measured: float
    bar: float | None = None
    at_most: bool = False

    @property
    def good(self) -> bool:
        """Whether it reaches its bar; what is not a number does not."""
        if self.bar is None:
            return True
        return self.measured <= self.bar if self.at_most else self.measured >= self.bar

    def __str__(self) -> str:
        told = f"{self.name} {self.measured:.3g}"
        if self.bar is None:
            return told
        return f"{told} ({'at most' if self.at_most else 'at least'} {self.bar:.3g})"


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: What should hold, in a few words.
        status: passed, failed or not applicable.
        values: What was measured.
        parts: The pack's parts that it depends on.
        told: Why it is not applicable, or could not be made; else empty.
        probably: If it failed: what is probably wrong.
        hint: If it failed: what to do about it.
        seconds: What it took.
    """

    name: str
    status: Status
    values: tuple[Value, ...] = ()
    parts: tuple[str, ...] = ()
    told: str = ""
    probably: str = ""
    hint: str = ""
    seconds: float = 0.0

    def entries(self) -> dict[str, Any]:
        """As JSON can hold it; numbers that are not finite become texts."""
        values = [
            {
                "name": one.name,
                "measured": _number(one.measured),
                "bar": one.bar,
                "at_most": one.at_most,
                "good": one.good,
            }
            for one in self.values
        ]
        told = {"told": self.told, "probably": self.probably, "hint": self.hint}
        return {
            "name": self.name,
            "status": self.status,
            "values": values,
            "parts": list(self.parts),
            **told,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class Report:
    """What the checks of a pack found.

    Attributes:
        pack: Its name.
        checks: In the order in which they were made.
        seed: Of the samples.
        about: The program, the machine and the weights, as JSON can hold it.
        sheet: What was looked at; None if nothing could be rendered.
    """

    pack: str
    checks: tuple[Check, ...]
    seed: int
    about: Mapping[str, Any] = field(default_factory=dict)
    sheet: Image.Image | None = None

    @property
    def failed(self) -> list[Check]:
        """Those that failed."""
        return [check for check in self.checks if check.status == "failed"]

    @property
    def counts(self) -> str:
        """How many passed, failed and were not applicable, and the time of all."""
        found = Counter(check.status for check in self.checks)
        told = ", ".join(f"{found[status]} {status}" for status in STATUSES)
        return f"{told}; {duration(sum(check.seconds for check in self.checks))}"

    @property
    def suspects(self) -> list[str]:
        """Parts of the pack that are probably wrong, if checks failed."""
        return suspects(self.checks)

    def entries(self) -> dict[str, Any]:
        """As JSON can hold it (schema styleclip.check/1)."""
        counts = Counter(check.status for check in self.checks)
        return {
            "schema": SCHEMA,
            "pack": self.pack,
            "seed": self.seed,
            "counts": {status: counts[status] for status in STATUSES},
            "suspects": self.suspects,
            "checks": [check.entries() for check in self.checks],
            **self.about,
        }


def suspects(checks: Sequence[Check]) -> list[str]:
    """The parts of a pack that are probably wrong.

    Args:
        checks: What was found.

    Returns:
        The part that most failed checks depend on; of several such parts, the one that the fewest passed
        checks depend on; several, if these cannot be told apart either.
    """
    failed, passed = (
        Counter(part for check in checks if check.status == status for part in check.parts)
        for status in ("failed", "passed")
    )
    best = max(((failed[part], -passed[part]) for part in failed), default=None)
    return [part for part in failed if (failed[part], -passed[part]) == best]


def _number(value: float) -> float | str:
    return round(value, 6) if abs(value) < float("inf") else str(value)
