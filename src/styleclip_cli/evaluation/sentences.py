"""The sentences that are evaluated: from a file, or the usual ones of a pack. Imports nothing heavy."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from styleclip_cli import toml
from styleclip_cli.errors import BadInputError, UsageError, not_there, one_line
from styleclip_cli.settings import DEFAULT_NEUTRAL
from styleclip_cli.weights.mappers import listed, slug
from styleclip_cli.weights.packs import Pack

_COLUMNS = ("prompt", "neutral", "mapper")
_MAX_BYTES = 2**20
_MOST = 1000


@dataclass(frozen=True)
class Sentence:
    """One edit to be evaluated.

    Attributes:
        prompt: What the face should become.
        neutral: What it is now.
        mapper: Name of the mapper, for the method of that name; empty for the prompt's (`mappers.slug`).
    """

    prompt: str
    neutral: str = DEFAULT_NEUTRAL
    mapper: str = ""


OF_THE_PAPER = (
    # The examples of the official README for global directions ...
    Sentence("smiling face"),
    Sentence("face with blonde hair", "face with hair"),
    Sentence("face with Hi-top fade hair", "face with hair"),
    Sentence("face with blue eyes", "face with eyes"),
    Sentence("face with grey hair", "face with hair"),
    # ... and the mappers that the authors published, but for those of persons.
    Sentence("face with mohawk hairstyle", "face with hair", "mohawk"),
    Sentence("face with afro hairstyle", "face with hair", "afro"),
    Sentence("face with bob-cut hairstyle", "face with hair", "bobcut"),
    Sentence("face with curly hair", "face with hair", "curly_hair"),
    Sentence("face with purple hair", "face with hair", "purple_hair"),
    Sentence("surprised face", mapper="surprised"),
    Sentence("angry face", mapper="angry"),
)
"""Twelve sentences of StyleCLIP's authors, for generators of real faces."""


def usual_sentences(pack: Pack) -> tuple[Sentence, ...]:
    """The sentences to evaluate where none are given: those that a pack lists, or the paper's for faces.

    Raises:
        UsageError: If there are none.
    """
    if pack.words:
        return tuple(Sentence(words) for words in pack.words)
    if pack.alignment == "ffhq":
        return OF_THE_PAPER
    raise UsageError(
        f"the model pack {pack.name} lists no sentences", "--prompts FILE, with one sentence a line"
    )


def with_mapper(pack: Pack, sentences: Sequence[Sentence]) -> tuple[Sentence, ...]:
    """Those sentences for which a mapper is installed.

    Raises:
        UsageError: If there is none.
    """
    known = {one.name for one in listed(pack) if one.path is not None}
    found = tuple(one for one in sentences if (one.mapper or slug(one.prompt)) in known)
    if not found:
        raise UsageError(
            f"the model pack {pack.name} has no mapper for these prompts",
            f"styleclip mappers --models {pack.name}",
        )
    return found


def read_sentences(path: Path) -> tuple[Sentence, ...]:
    """Read sentences from a file.

    - .csv: columns prompt, and optionally neutral and mapper;
    - .toml: tables [[prompt]] with text, and optionally neutral and mapper;
    - else a sentence a line, with the neutral text after a tab; lines that begin with # are remarks.

    Args:
        path: The file.

    Returns:
        At least one, each once.

    Raises:
        BadInputError: If it cannot be read, or holds none.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise ValueError("too large")
        rows = _rows(path.suffix.lower(), raw)
        found = tuple(dict.fromkeys(_sentence(row) for row in rows))
        if not 1 <= len(found) <= _MOST:
            raise ValueError("no sentence" if not found else f"over {_MOST} sentences")
        return found
    except FileNotFoundError:
        raise BadInputError(*not_there(path)) from None
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or one_line(error, 120)
        raise BadInputError(
            f"{path}: not usable as prompts ({reason})", "one sentence a line, its neutral text after a tab"
        ) from None


def hash_of(sentences: Sequence[Sentence]) -> str:
    """SHA-256 of sentences, in hex, whatever file they come from."""
    lines = "".join(f"{one.prompt}\t{one.neutral}\t{one.mapper}\n" for one in sentences)
    return hashlib.sha256(lines.encode()).hexdigest()


def _rows(suffix: str, raw: bytes) -> list[dict[str, str]]:
    if suffix == ".toml":
        content = toml.loads(raw)
        tables = content.get("prompt")
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ValueError("no tables [[prompt]]")
        return [{("prompt" if name == "text" else name): v for name, v in t.items()} for t in tables]
    text = raw.decode("utf-8-sig")
    if suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if reader.fieldnames is None or "prompt" not in reader.fieldnames:
            raise ValueError("no column is called prompt")
        return [{name: cell for name, cell in row.items() if cell} for row in reader]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    cells = [[cell.strip() for cell in line.split("\t")] for line in lines]
    if any(len(row) > len(_COLUMNS) for row in cells):
        raise ValueError("a line has too many tabs")
    return [{name: cell for name, cell in zip(_COLUMNS, row, strict=False) if cell} for row in cells]


def _sentence(row: dict[str, str]) -> Sentence:
    unknown = [name for name in row if name not in _COLUMNS]
    if unknown:
        raise ValueError(f"unknown {one_line(unknown[0], 40)!r}; known are {', '.join(_COLUMNS)}")
    if not all(isinstance(text, str) for text in row.values()) or not row.get("prompt", "").strip():
        raise ValueError("a prompt is missing, or is no text")
    return Sentence(**{name: " ".join(text.split()) for name, text in row.items()})
