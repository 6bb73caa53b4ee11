"""Parse values of options: strengths, thresholds, seeds, times, choices. Imports nothing heavy."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, get_args

from styleclip_cli.errors import DeviceError, UsageError
from styleclip_cli.recipe import MAX_ALPHAS
from styleclip_cli.settings import LEVELS, PART_WORDS

AUTOMATIC = "auto"
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
_SEEDS = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?")
MAX_SEEDS = 10_000
MAX_SEED = 2**32 - 1


def check_device(text: str) -> str:
    """Refuse an invalid device name, before anything heavy is imported.

    Raises:
        DeviceError: If the text is not auto, cpu, cuda, cuda:N or mps.
    """
    if not _DEVICE.fullmatch(text):
        raise DeviceError(f"unknown device {text!r}", "--device auto, cpu, cuda, cuda:1 or mps")
    return text


def check_choice(option: str, text: str | None, choices: Any) -> None:
    """Refuse a word that is not among an option's choices; Typer does so for the command line.

    Args:
        option: Its name, without dashes.
        text: As given; None if it was not.
        choices: A `Literal` of the words.

    Raises:
        UsageError: If the text is none of them.
    """
    words = get_args(choices)
    if text is not None and text not in words:
        raise no_choice(option, repr(text), words)


def no_choice(option: str, text: str, words: Sequence[str]) -> UsageError:
    """Message and hint for a word that is not among an option's choices.

    Args:
        option: Its name, without dashes.
        text: The word, in quotes.
        words: The choices.
    """
    return UsageError(f"unknown --{option} {text}", f"--{option} {', '.join(words[:-1])} or {words[-1]}")


def check_beta(beta: float | None) -> None:
    """Refuse a threshold that no cosine can meet.

    Raises:
        UsageError: If it is not between 0 and 1.
    """
    if beta is not None and not 0 <= beta <= 1:
        raise UsageError(f"--beta must be between 0 and 1, not {beta:g}", "leave it out to have it chosen")


def check_face(text: str) -> str:
    """Refuse values that do not name a face of a photo.

    Raises:
        UsageError: If it is not largest, all, or a number from 1 up.
    """
    if text not in ("largest", "all") and not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise UsageError(f"which face is {text!r}?", "--face largest, all, or a number counted from the left")
    return text


def parse_budget(text: str | None) -> float | None:
    """Read a time: "30s", "2m", "45".

    Returns:
        Seconds; None if there is no limit.

    Raises:
        UsageError: If it is none.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh]?)", text.strip())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"--budget must be a time, not {text!r}", "--budget 30s, or 2m")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def check_finite(name: str, value: float | None) -> float | None:
    """Refuse nan and infinity, which parse as numbers but mean nothing as a setting.

    Raises:
        UsageError: If the value is not finite.
    """
    if value is not None and not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, not {value}")
    return value


def parse_alphas(texts: Sequence[str] | None) -> list[float]:
    """Read strengths: `--alpha 2,4,6`, `--alpha 2 --alpha 4`, or `--alpha -4:4:9`, nine from -4 to 4.

    Returns:
        The strengths in the order given; empty if none were.

    Raises:
        UsageError: If one is not a finite number, or there are too many.
    """
    return _numbers("--alpha", texts or (), "--alpha 4, --alpha 2,4,6, or --alpha -4:4:9")


def parse_betas(texts: Sequence[str]) -> list[float | None]:
    """Read thresholds, as `parse_alphas` reads strengths; "auto" chooses one.

    Raises:
        UsageError: If one is not a number from 0 to 1.
    """
    found: list[float | None] = []
    for text in texts:
        for word in text.split(","):
            if word.strip() == AUTOMATIC:
                found.append(None)
                continue
            values = _numbers("--beta", [word], "--beta 0.1, --beta auto, or --beta 0.05:0.25:5")
            for value in values:
                if not 0 <= value <= 1:
                    raise UsageError(
                        f"--beta must be between 0 and 1, not {value:g}", "leave it out to have it chosen"
                    )
            found += values
    return found


def _numbers(option: str, texts: Sequence[str], hint: str) -> list[float]:
    found: list[float] = []
    for word in (part.strip() for text in texts for part in text.split(",")):
        parts = word.split(":")
        try:
            if len(parts) not in (1, 3):
                raise ValueError
            ends = [float(part) for part in parts[:2]]
            count = int(parts[2]) if len(parts) == 3 else 1
        except ValueError:
            raise UsageError(f"{option} must be a number or a range, not {word!r}", hint) from None
        if not all(math.isfinite(end) for end in ends):
            raise UsageError(f"{option} must be a finite number, not {word!r}", hint)
        if len(parts) == 3 and not 2 <= count <= MAX_ALPHAS:
            raise UsageError(f"{option} {word}: 2 to {MAX_ALPHAS} values are a range", hint)
        if len(parts) == 1:
            found.append(ends[0])
        else:
            steps = [number / (count - 1) for number in range(count)]
            found += [round(ends[0] * (1 - t) + ends[1] * t, 10) + 0.0 for t in steps]
    if len(found) > MAX_ALPHAS:
        raise UsageError(f"{len(found)} values of {option} are too many", f"at most {MAX_ALPHAS}")
    return found


def parse_seeds(text: str) -> list[int]:
    """Read seeds: "7", "1-5" or "1-5,9".

    Raises:
        UsageError: If the text is no such list, runs backwards, or names more than `MAX_SEEDS`.
    """
    seeds: list[int] = []
    for word in text.split(","):
        match = _SEEDS.fullmatch(word.strip())
        if match is None:
            raise UsageError(f"seeds are numbers or ranges, not {text!r}", "7, or 1-5, or 1-5,9")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise UsageError(f"the seed range {word.strip()} runs backwards", f"{last}-{first}")
        if last > MAX_SEED or len(seeds) + last - first >= MAX_SEEDS:
            raise UsageError(
                f"too many or too large seeds in {text!r}", f"{MAX_SEEDS} at a time, up to {MAX_SEED}"
            )
        seeds.extend(range(first, last + 1))
    return list(dict.fromkeys(seeds))


def parse_parts(texts: str | Sequence[str] | None) -> tuple[str, ...]:
    """Read parts of a face: `--only hair,hat`, or `--only hair --only hat`.

    Returns:
        Words of `settings.PART_WORDS`, each once; empty if none were given.

    Raises:
        UsageError: If one is none of them.
    """
    texts = [texts] if isinstance(texts, str) else texts or ()
    found = [part for word in ",".join(texts).lower().split(",") if (part := word.strip())]
    for word in found:
        if word not in PART_WORDS:
            raise no_choice("only", repr(word), tuple(PART_WORDS))
    return tuple(dict.fromkeys(found))


def parse_w_layers(text: str | None, num_ws: int | None = None) -> tuple[int, ...] | None:
    """Read W+ layers: "coarse,medium", "0,1,4-7", "all".

    Args:
        text: As given.
        num_ws: W+ vectors of the generator; None if that is not known yet.

    Returns:
        Their numbers; None for all.

    Raises:
        UsageError: If they are none, or the generator has no such layers.
    """
    if text is None or text == "all":
        return None
    found: set[int] = set()
    last = 64 if num_ws is None else num_ws
    for word in (part.strip() for part in text.split(",")):
        if word in LEVELS:
            first, end = LEVELS[word]
            found |= set(range(first, last if end is None else min(end, last)))
            continue
        match = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", word)
        if match is None:
            raise UsageError(f"unknown layers {word!r}", "--layers coarse,medium,fine, or numbers: 0,1,4-7")
        chosen = range(int(match[1]), int(match[2] or match[1]) + 1)
        if not chosen or (num_ws is not None and chosen[-1] >= num_ws):
            raise UsageError(f"no layers {word}", f"0 to {last - 1}")
        found |= set(chosen)
    return tuple(sorted(found))
