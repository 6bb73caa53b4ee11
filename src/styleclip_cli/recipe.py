"""What makes an edit replayable: a few texts and numbers, written into the image and read back.

A recipe comes out of files from strangers, so everything in it is checked. This module imports nothing heavy.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import PureWindowsPath
from typing import Any, Literal

from styleclip_cli import __version__
from styleclip_cli.errors import BadInputError, one_line

SCHEMA = "styleclip.recipe/1"
MAX_BYTES = 2**16
"""Of the JSON; the EXIF data of a JPEG cannot hold more."""
MAX_WARNINGS = 20
MAX_ALPHAS = 256
MAX_EDITS = 32
MethodName = Literal["global", "optimize", "mapper"]
SAVED = "saved direction"
WORDS: Mapping[MethodName, str] = {
    "global": "global directions",
    "optimize": "latent optimization",
    "mapper": "latent mapper",
}
"""How recipes call the methods."""
NAMES = {words: name for name, words in WORDS.items()}
_LARGE = sys.float_info.max

Check = Callable[[Any], Any]
"""Returns a value in its proper form.

Raises:
    ValueError: What it should have been.
"""


def _text(limit: int) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > limit:
            raise ValueError(f"must be a text of at most {limit} characters")
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a character could not be printed
            raise ValueError("is no text: it has bytes that are not UTF-8") from None
        return value

    return check


def _name(value: Any) -> str:
    """A pack's name; of a folder, only what it is called: where it lies is nobody's business."""
    return PureWindowsPath(_text(200)(value)).name


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return float(value)

    return check


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return check


def _alphas(value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if not 0 < len(values) <= MAX_ALPHAS:
        raise ValueError(f"must be 1 to {MAX_ALPHAS} numbers")
    return tuple(_number(-_LARGE, _LARGE)(alpha) for alpha in values)


def _betas(value: Any) -> tuple[float, ...]:
    if not isinstance(value, (list, tuple)) or not 0 < len(value) <= MAX_ALPHAS:
        raise ValueError(f"must be 1 to {MAX_ALPHAS} numbers")
    return tuple(_number(0, 1)(beta) for beta in value)


def _warnings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > MAX_WARNINGS:
        raise ValueError(f"must be at most {MAX_WARNINGS} texts")
    return tuple(map(_text(1000), value))


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _entry(check: Check, default: Any = None) -> Any:
    return field(default=default, metadata={"check": check})


class _Checked:
    """A dataclass of entries that have a check each. What does not apply is None."""

    def __post_init__(self) -> None:
        for entry in fields(self):  # type: ignore[arg-type]
            value = getattr(self, entry.name)
            if value is None and entry.default is None:
                continue
            try:
                object.__setattr__(self, entry.name, entry.metadata["check"](value))
            except (ValueError, OverflowError) as error:
                raise ValueError(f"{entry.name} {one_line(error)}") from None

    def entries(self) -> dict[str, Any]:
        """What applies, by name."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Step(_Checked):
    """One of several edits that are made one after the other, or a row's own.

    Attributes:
        prompt: Where it leads to.
        neutral: Where it starts from.
        alpha: Strength; None for the usual one.
        beta: Smallest relevance that takes part; None chooses it.
        channels: How many style channels take part when beta is chosen.
        mapper: Name of a mapper, in the place of a prompt.
        direction: A file with a direction, in the place of a prompt.
        literal: Whether the prompt is a whole text already.

    Raises:
        ValueError: As `Recipe`; or it says not exactly one of prompt, mapper and direction.
    """

    prompt: str | None = _entry(_text(2000))
    neutral: str | None = _entry(_text(2000))
    alpha: float | None = _entry(_number(-_LARGE, _LARGE))
    beta: float | None = _entry(_number(0, 1))
    channels: int | None = _entry(_whole(0, 10**7))
    mapper: str | None = _entry(_text(2000))
    direction: str | None = _entry(_text(2000))
    literal: bool | None = _entry(_truth)

    def __post_init__(self) -> None:
        super().__post_init__()
        ways = [name for name in ("prompt", "mapper", "direction") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise ValueError(f"needs one of prompt, mapper and direction, not {' and '.join(ways) or 'none'}")

    @property
    def words(self) -> str:
        """What it is about, for names of files."""
        if self.prompt is not None:
            return self.prompt
        return PureWindowsPath(self.mapper or self.direction or "").stem

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Step:
        """Check values read elsewhere.

        Raises:
            ValueError: If one is unknown, or makes no sense.
        """
        known = [entry.name for entry in fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(
                    f"has the unknown entry {one_line(name, 40)!r}; known are {', '.join(known)}"
                )
        return cls(**values)


def _edits(value: Any) -> tuple[Step, ...]:
    if not isinstance(value, (list, tuple)) or not 0 < len(value) <= MAX_EDITS:
        raise ValueError(f"must be 1 to {MAX_EDITS} edits")
    found = []
    for number, one in enumerate(value, start=1):
        try:
            if not isinstance(one, (Step, Mapping)):
                raise ValueError("is none")
            found.append(one if isinstance(one, Step) else Step.from_mapping(one))
        except (ValueError, TypeError) as error:
            raise ValueError(f"(the {number}. edit) {one_line(error)}") from None
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Recipe(_Checked):
    """How an image was made. What does not apply is None.

    A later method adds its own entries here, each with its check; older versions skip what they do not know.

    Attributes:
        method: Which method, in words.
        prompt: The text it leads to, as it was resolved.
        neutral: The text it starts from.
        alphas: Strengths; several for a strip.
        beta: Smallest relevance that took part.
        channels: How many style channels took part.
        confidence: How surely the pack understood the prompt.
        warnings: What was doubted of the edit, one sentence each.
        layers: Which style layers might change.
        relevance: How it was found what channels do, if the pack did not say it.
        models: Name of the model pack.
        fingerprint: Hash of its weights.
        seed: Seed of what had to be measured.
        sample: Seed of the face, if it was generated.
        steps: Refinement steps of the inversion.
        space: What was optimized: w+ or s.
        iterations: Steps of optimization.
        learning_rate: Its step size.
        lambda_l2: Weight of its distance to the start.
        lambda_id: Weight of its identity loss.
        crops: Random crops that CLIP saw in the place of the whole.
        official: Whether it was optimized with the published settings.
        free: Whether it was optimized without holding on to a face.
        mapper: Name of the mapper.
        inverter: How the photo was inverted.
        noise: Whether the noise was moved too.
        face: Which face of a photo: largest, all, or a number from the left.
        align: Whether faces were looked for.
        composite: How the edit was put back into the photo.
        only: Parts of the face that might change; None for all.
        mask: Name of the file that says where the image might change.
        literal: Whether the prompt is a whole text already, not to be joined to the neutral one.
        edits: Several edits, made one after the other, in the place of prompt to channels.
        betas: Thresholds of a grid, in the place of beta.
        identity: What a strength that was chosen had to keep of the identity, if it was.
        version: Of this program.

    Raises:
        ValueError: If an entry is of another type, too long, out of range or not finite.
    """

    method: str = _entry(_text(100), "global directions")
    prompt: str | None = _entry(_text(2000))
    neutral: str | None = _entry(_text(2000))
    alphas: tuple[float, ...] | None = _entry(_alphas)
    beta: float | None = _entry(_number(0, 1))
    channels: int | None = _entry(_whole(0, 10**7))
    confidence: float | None = _entry(_number(0, 1))
    warnings: tuple[str, ...] | None = _entry(_warnings)
    layers: str | None = _entry(_text(100))
    relevance: str | None = _entry(_text(20))
    models: str | None = _entry(_name)
    fingerprint: str | None = _entry(_text(200))
    seed: int | None = _entry(_whole(0, 2**32 - 1))
    sample: int | None = _entry(_whole(0, 2**32 - 1))
    steps: int | None = _entry(_whole(0, 10_000))
    space: str | None = _entry(_text(20))
    iterations: int | None = _entry(_whole(1, 10**6))
    learning_rate: float | None = _entry(_number(0, 1e6))
    lambda_l2: float | None = _entry(_number(0, 1e6))
    lambda_id: float | None = _entry(_number(0, 1e6))
    crops: int | None = _entry(_whole(0, 1000))
    official: bool | None = _entry(_truth)
    free: bool | None = _entry(_truth)
    mapper: str | None = _entry(_name)
    inverter: str | None = _entry(_text(100))
    noise: bool | None = _entry(_truth)
    face: str | None = _entry(_text(20))
    align: bool | None = _entry(_truth)
    composite: str | None = _entry(_text(20))
    only: str | None = _entry(_text(500))
    mask: str | None = _entry(_text(2000))
    literal: bool | None = _entry(_truth)
    edits: tuple[Step, ...] | None = _entry(_edits)
    betas: tuple[float, ...] | None = _entry(_betas)
    identity: float | None = _entry(_number(-1, 1))
    version: str = _entry(_text(100), __version__)

    def entries(self) -> dict[str, Any]:
        """What applies, by name, in plain values."""
        values = super().entries()
        if self.edits is not None:
            values["edits"] = [step.entries() for step in self.edits]
        return values

    def to_json(self) -> str:
        """Write it down, in ASCII, the same text every time."""
        return to_json(self.entries(), SCHEMA)

    @classmethod
    def from_json(cls, text: str | bytes, where: object = "recipe") -> Recipe:
        """Read what `to_json` wrote, or what a stranger did.

        Args:
            text: JSON.
            where: What it is from, for messages.

        Raises:
            BadInputError: If it is no recipe, or one that makes no sense.
        """
        try:
            values = parse_json(text)
        except ValueError as error:
            raise BadInputError(f"{where}: not a usable recipe ({one_line(error, 80)})") from None
        return cls.from_mapping(values, where)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: object = "recipe") -> Recipe:
        """Check values read elsewhere, such as those of a TOML file; entries of unknown names are skipped.

        Raises:
            BadInputError: As `from_json`.
        """
        if values.get("schema", SCHEMA) != SCHEMA:
            raise BadInputError(
                f"{where}: not a recipe of this version ({one_line(values['schema'], 40)!r})",
                "a newer version of this program may know it",
            )
        known = {entry.name for entry in fields(cls)}
        # As people write them: a single strength; tables [[edit]].
        given = {name: values[one] for one, name in (("alpha", "alphas"), ("edit", "edits")) if one in values}
        given |= {name: value for name, value in values.items() if name in known and value is not None}
        try:
            return cls(**given)
        except ValueError as error:
            raise BadInputError(f"{where}: not a usable recipe ({error})") from None


def to_json(values: Mapping[str, Any], schema: str) -> str:
    """Write notes down as one JSON object in ASCII, with the name of their schema."""
    return json.dumps({"schema": schema, **values}, separators=(",", ":"), allow_nan=False)


def parse_json(text: str | bytes) -> dict[str, Any]:
    """Read a JSON object of limited size with finite numbers.

    Raises:
        ValueError: If it is anything else.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"over {MAX_BYTES} bytes")
    try:
        values = json.loads(text, parse_constant=_refused, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return values


def _refused(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word[:20]} is out of range")
    return value
