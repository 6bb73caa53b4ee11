"""Where time goes: named stages, each without what stages inside it take. Imports nothing heavy.

Nothing is measured until `start` is called, and then a stage costs a few microseconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Stage:
    """What one stage took.

    Attributes:
        seconds: In all threads together.
        count: How often it was entered.
    """

    seconds: float = 0.0
    count: int = 0


@dataclass
class Profile:
    """All stages of a command.

    Attributes:
        began: When it began, by time.perf_counter.
        stages: By name, in the order in which they were first left.
    """

    began: float = field(default_factory=time.perf_counter)
    stages: dict[str, Stage] = field(default_factory=dict)

    @property
    def wall(self) -> float:
        """Seconds since it began; stages that overlap take more than that together."""
        return time.perf_counter() - self.began

    def add(self, name: str, seconds: float, count: int = 0) -> None:
        """Add to a stage."""
        with _lock:
            stage = self.stages.setdefault(name, Stage())
            stage.seconds += seconds
            stage.count += count


_lock = threading.Lock()
_inside = threading.local()  # .stack: (name, since when it is being counted)
_active: Profile | None = None


def start(began: float | None = None) -> Profile:
    """Measure from now on.

    Args:
        began: When the command began, by time.perf_counter; None for now.
    """
    global _active
    _active = Profile() if began is None else Profile(began)
    return _active


def stop() -> None:
    """Measure no longer."""
    global _active
    _active = None


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count what happens inside as this stage, in this thread."""
    profile = _active
    if profile is None:
        yield
        return
    stack: list[tuple[str, float]] = _inside.__dict__.setdefault("stack", [])
    now = time.perf_counter()
    if stack:
        outer, since = stack[-1]
        profile.add(outer, now - since)
    stack.append((name, now))
    try:
        yield
    finally:
        now = time.perf_counter()
        _, since = stack.pop()
        profile.add(name, now - since, 1)
        if stack:
            stack[-1] = stack[-1][0], now
