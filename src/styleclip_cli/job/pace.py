"""How long a run will take: from how long one input took here, this time or the last time."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from styleclip_cli.errors import OutputError
from styleclip_cli.machine.atomic import atomic
from styleclip_cli.machine.cache import cache_dir
from styleclip_cli.measure.pieces import duration

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine
    from styleclip_cli.job.plan import Plan
    from styleclip_cli.settings import InversionSettings

FILE = "seconds.json"
"""In the cache folder: seconds of one input by what is done to it, and with what."""
WORTH_SAYING = 60.0
"""Shorter runs are not announced; seconds."""
_MOST = 200  # entries that are kept


class Pace:
    """Tells how long a run will take, and keeps how long one input took.

    Args:
        plan: The run.
        engine: Its pack and device.
        inversion: How photos are inverted.
    """

    def __init__(self, plan: Plan, engine: Engine, inversion: InversionSettings) -> None:
        request = plan.request
        self._count = len(plan.work)
        photos = any(one.item.seed is None and one.item.row is None for one in plan.work)
        images = max(1, len(request.alphas)) * len(request.betas)
        asked = (request.auto, request.face == "all", images, len(request.steps))
        method = f"{request.method} {asked}"
        if request.method == "optimize":
            method += f" {astuple(request.optimize)}"
        self._fixed = f"{engine.fingerprint[:12]} {engine.device} {method}"
        self._encoder = f"{self._fixed} {'encoder' if photos else 'latent'}"
        self._key = self._encoder
        if photos and inversion.inverter != "encoder":
            steps = (inversion.total_steps, inversion.noise, inversion.budget)
            self._key = f"{self._fixed} {inversion.inverter} {steps}"
        self._known = _read()
        self._began = time.monotonic()
        self._took: list[float] = []
        self._inverted = 0.0

    def announcement(self) -> str:
        """How long the run will take, if that is known and worth saying; else empty."""
        return self._said(self._known.get(self._key), self._count)

    def add(self, seconds: float, inversion: float) -> str:
        """Take an input into account that is done.

        Args:
            seconds: What it took.
            inversion: How much of that its inversion took, where that is known.

        Returns:
            How long the rest will take, after the first one, if it was not known before.
        """
        if not self._took:  # what comes before is loading and measuring
            self._began = time.monotonic() - seconds
        self._took.append(seconds)
        self._inverted += inversion
        if len(self._took) > 1 or self._key in self._known:
            return ""
        self._note(seconds)
        return self._said(self._known.get(self._key), self._count - 1)

    def keep(self) -> None:
        """Keep what was measured for the next run."""
        if not self._took:
            return
        count = len(self._took)
        self._note(self._took[0] if count == 1 else (time.monotonic() - self._began) / count)
        with suppress(OutputError, OSError), atomic(cache_dir() / FILE) as part:
            kept = {key: value for key, value in _read().items() if key not in (self._key, self._encoder)}
            kept |= {key: self._known[key] for key in (self._encoder, self._key) if key in self._known}
            part.write_text(json.dumps(dict(list(kept.items())[-_MOST:]), indent=1), encoding="utf-8")

    def _note(self, seconds: float) -> None:
        """Note what one input took, and how much of that was not its inversion."""
        inverted = self._inverted / len(self._took)
        if inverted > seconds:  # inversions were in the cache
            return
        self._known.pop(self._key, None)  # the latest is the last one
        self._known[self._key] = seconds
        if self._key != self._encoder:
            self._known.setdefault(self._encoder, seconds - inverted)

    def _said(self, seconds: float | None, count: int) -> str:
        if seconds is None or seconds * count < WORTH_SAYING:
            return ""
        said = f"{count} input{'s' if count > 1 else ''}, about {duration(seconds * count)} here"
        quick = self._known.get(self._encoder)
        if self._key != self._encoder and quick is not None and quick < 0.7 * seconds:
            said += f"; --inverter encoder: about {duration(quick * count)}"
        return said


def _read() -> dict[str, float]:
    """What was kept; empty if there is nothing that can be used."""
    try:
        found: Any = json.loads((cache_dir() / FILE).read_text(encoding="utf-8"))
        return {str(key): float(value) for key, value in found.items() if 0 <= float(value) < 1e6}
    except (OutputError, OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
