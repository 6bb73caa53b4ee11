"""Lists of style channels, as they are typed or published. Imports nothing heavy."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from styleclip_cli import toml
from styleclip_cli.errors import BadInputError, UsageError, not_there, one_line, shortened
from styleclip_cli.recipe import parse_json

LISTS = (".json", ".toml", ".csv")
"""How files with lists of channels end."""
PUBLISHED = (*LISTS, ".npy", ".pt")
"""How others' files of one direction end."""
_CHANNEL = re.compile(r"(\d{1,3})_(\d{1,5})(?::(.+))?")
_HINT = "LAYER_CHANNEL or LAYER_CHANNEL:WEIGHT, such as 9_409 or 15_45:-1"


class Channel(NamedTuple):
    """One style channel of a direction.

    Attributes:
        layer: Place of its layer in StyleSpace order, toRGB layers included, from 0 (as in Wu et al. 2021).
        channel: Its place in the layer, from 0.
        weight: Standard deviations that alpha 1 moves it by; 1 or -1 in published lists.
    """

    layer: int
    channel: int
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Channel:
        """Read "9_409", or "15_45:-1".

        Raises:
            ValueError: If it is none.
        """
        match = _CHANNEL.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"no channel {shortened(one_line(text), 40)!r}")
        return cls.checked(int(match[1]), int(match[2]), 1.0 if match[3] is None else float(match[3]))

    @classmethod
    def checked(cls, layer: Any, channel: Any, weight: Any = 1.0) -> Channel:
        """Take values read elsewhere.

        Raises:
            ValueError: If they are no numbers, or not finite.
            TypeError: If they are something else altogether.
        """
        if not math.isfinite(float(weight)):
            raise ValueError(f"the weight {weight} is not finite")
        return cls(int(layer), int(channel), float(weight))


def parse_channels(texts: Sequence[str]) -> tuple[Channel, ...]:
    """Read channels as they are typed: "9_409", "9_409,15_45:-1".

    Raises:
        UsageError: If one is none, or there are none.
    """
    try:
        found = tuple(Channel.parse(word) for text in texts for word in text.split(","))
    except ValueError as error:
        raise UsageError(one_line(error), _HINT) from None
    if not found:
        raise UsageError("no channels are given", _HINT)
    return found


def read_channels(path: Path) -> tuple[Channel, ...]:
    """Read a list of channels.

    JSON and TOML have them under "channels", as texts ("15_45:-1") or as tables with layer, channel and
    weight; CSV has these three columns. The weight may be left out.

    Args:
        path: A file that ends like one of `LISTS`.

    Raises:
        BadInputError: If it cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            text = file.read(toml.MAX_BYTES + 1)
        found = tuple(map(_entry, _entries(text, path.suffix.lower())))
        if not found:
            raise ValueError("it holds no channels")
    except FileNotFoundError:
        raise BadInputError(*not_there(path)) from None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from None
    except (ValueError, TypeError, csv.Error) as error:
        raise BadInputError(f"{path}: not a list of channels ({one_line(error, 100)})", _HINT) from None
    return found


def _entries(text: bytes, suffix: str) -> Sequence[Any]:
    if len(text) > toml.MAX_BYTES:
        raise ValueError(f"over {toml.MAX_BYTES // 1024} kB")
    if suffix == ".csv":
        rows = csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline=""), strict=True)
        return [{name: cell for name, cell in row.items() if cell not in (None, "")} for row in rows]
    value = parse_json(text) if suffix == ".json" else toml.loads(text)
    entries = value.get("channels")
    if not isinstance(entries, list):
        raise ValueError('they are to be a list called "channels"')
    return entries


def _entry(entry: Any) -> Channel:
    if isinstance(entry, str):
        return Channel.parse(entry)
    if not isinstance(entry, Mapping) or not {"layer", "channel"} <= entry.keys() <= {*Channel._fields}:
        raise ValueError("a channel has layer, channel and, if it is not 1, weight")
    return Channel.checked(**entry)
