"""A pack's default settings, and a person's choices, laid over the program's. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar, get_args, get_type_hints

from styleclip_cli.errors import WeightsError, shortened
from styleclip_cli.settings import (
    DirectionSettings,
    InversionSettings,
    OptimizeSettings,
    RelevanceSettings,
    StatisticsSettings,
    TrainingSettings,
    key_of,
)

S = TypeVar(
    "S",
    StatisticsSettings,
    RelevanceSettings,
    DirectionSettings,
    InversionSettings,
    OptimizeSettings,
    TrainingSettings,
)


def adjusted(settings: S, defaults: Mapping[str, Any], **chosen: Any) -> S:
    """Lay a pack's defaults, then the person's choices, over the program's."""
    changes: dict[str, Any] = {}
    for f in fields(settings):
        key = key_of(f)
        if key in defaults:
            value = defaults[key]
            if not _suits(value, getattr(settings, f.name), get_type_hints(type(settings))[f.name]):
                raise WeightsError(
                    f"the model pack's default {key} is {shortened(repr(value), 40)}",
                    "correct its pack.toml",
                )
            changes[f.name] = value
    return replace(settings, **changes | {name: value for name, value in chosen.items() if value is not None})


def _suits(value: Any, usual: Any, kind: Any) -> bool:
    """Whether a pack's value may take the usual one's place: the same kind of number, or a known word."""
    if isinstance(usual, str):
        return value in get_args(kind)
    if isinstance(usual, bool) or isinstance(value, bool):
        return isinstance(usual, bool) and isinstance(value, bool)
    whole = isinstance(usual, int) or (usual is None and int in get_args(kind))
    if isinstance(value, int):
        return abs(value) < 2**63
    return not whole and isinstance(value, float) and math.isfinite(value)
