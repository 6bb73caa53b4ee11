"""One result as one line of JSON: `styleclip.result/1`, a stable part of the user interface.

Entries may be added to it; none is taken away or changes its meaning without another number in the schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from styleclip_cli.errors import StyleClipError

SCHEMA = "styleclip.result/1"
Status = Literal["ok", "error", "skipped", "planned"]


def record(
    status: Status,
    source: str,
    output: Path | None,
    *,
    latent: Path | None = None,
    faces: Sequence[dict[str, Any]] = (),
    method: str | None = None,
    prompt: str | None = None,
    neutral: str | None = None,
    seconds: float | None = None,
    warnings: Sequence[str] = (),
    error: StyleClipError | None = None,
) -> dict[str, Any]:
    """What became of one input.

    Args:
        status: ok, error, skipped (it was there already), or planned (--dry-run).
        source: The input as it was named.
        output: Where the result is; None if there is none, or it went to standard output.
        latent: Where the edited latents are, if they were asked for.
        faces: For each edited face alpha (a list for a strip), beta, channels, scores and corners in the
            photo. Those of the first one are repeated at the top.
        method: In the words of recipes.
        prompt: As it was resolved.
        neutral: As it was resolved.
        seconds: Work for this input alone.
        warnings: What may be wrong with the result, a sentence each.
        error: What went wrong.
    """
    first = faces[0] if faces else {}
    failure = None
    if error is not None:
        failure = {"code": int(error.exit_code), "message": error.message, "hint": error.hint}
    return {
        "schema": SCHEMA,
        "status": status,
        "input": source,
        "output": None if output is None else str(output),
        "latent": None if latent is None else str(latent),
        "faces": list(faces),
        "method": method,
        "prompt": prompt,
        "neutral": neutral,
        "alpha": first.get("alpha"),
        "beta": first.get("beta"),
        "channels": first.get("channels"),
        "scores": first.get("scores"),
        "seconds": None if seconds is None else round(seconds, 4),
        "warnings": list(warnings),
        "error": failure,
    }
