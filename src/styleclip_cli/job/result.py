"""What becomes of one input: the picture with what belongs to it, and one line of JSON that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from styleclip_cli.errors import StyleClipError

if TYPE_CHECKING:
    from PIL import Image

    from styleclip_cli.edits.scores import Scores
    from styleclip_cli.inversion import FaceLatent
    from styleclip_cli.recipe import Recipe
    from styleclip_cli.save import Mark

SCHEMA = "styleclip.result/1"
"""A stable part of the user interface: entries may be added; none is taken away or changes its meaning."""
Status = Literal["ok", "error", "skipped", "planned"]


@dataclass(frozen=True, eq=False)
class FaceResult:
    """One edited face.

    Attributes:
        alpha: Strength; a list for a strip; None without an edit.
        beta: Smallest relevance that took part; a list for a grid; None for other methods.
        channels: How many style channels took part; None for other methods.
        scores: How the edit did, if that was asked for.
        corners: Where the face is in the photo, [x, y] of NW, SW, SE and NE; None without a photo.
    """

    alpha: float | list[float] | None
    beta: float | list[Any] | None
    channels: int | None
    scores: Scores | None
    corners: list[list[float]] | None

    def entries(self) -> dict[str, Any]:
        """As plain values."""
        return vars(self) | {"scores": None if self.scores is None else self.scores.entries()}


@dataclass(eq=False)
class EditResult:
    """What became of one input.

    Attributes:
        source: The input as it was named.
        path: Where it was written; None if it was not.
        image: The photo with the edit in it, or the generated face; None if it failed.
        recipe: What made it; None if it is not to be written (--no-metadata).
        mark: Whether a network edited or generated it; None as above.
        alpha: The photo's transparency (mode L); None if there is none.
        exif: What is kept of the photo's EXIF data, as a block.
        latents: The edited faces; of each, one for each threshold and strength.
        faces: What is said of each face.
        method: In the words of recipes.
        prompt: As it was resolved.
        neutral: As it was resolved.
        confidence: How surely the pack understands the sentence, 0 to 1; None where that is not known.
        summary: Strengths, thresholds and scores, in a few words.
        edit_warnings: What may be wrong with the edit itself, a sentence each: the same for all inputs.
        warnings: What may be wrong with this result, a sentence each.
        notes: What else a person should know of the files, a line each.
        latent_path: Where the edited latents were written; None if they were not.
        beside: What else was written.
        seconds: Work for this input alone.
        error: Why it failed; None if it did not.
    """

    source: str
    path: Path | None = None
    image: Image.Image | None = None
    recipe: Recipe | None = None
    mark: Mark | None = None
    alpha: Image.Image | None = None
    exif: bytes | None = None
    latents: Sequence[FaceLatent] = ()
    faces: Sequence[FaceResult] = ()
    method: str | None = None
    prompt: str | None = None
    neutral: str | None = None
    confidence: float | None = None
    summary: str = ""
    edit_warnings: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    latent_path: Path | None = None
    beside: Sequence[Path] = ()
    seconds: float | None = None
    error: StyleClipError | None = None

    def save(
        self,
        path: str | Path,
        *,
        format: str | None = None,
        quality: int = 95,
        compression: int | None = None,
    ) -> None:
        """Write the picture as `styleclip edit` does: with its recipe, the mark, EXIF data and transparency.

        Args:
            path: The file; missing folders are made.
            format: "png", "jpg", "webp", "avif" or "tiff"; None goes by the suffix.
            quality: Of JPEG, WebP and AVIF, up to 100.
            compression: Level of PNG, 0 to 9; None for the default.

        Raises:
            OutputError: If it cannot be written.
            UsageError: If the format is none of these.
            StyleClipError: What failed, if there is no picture.
        """
        from styleclip_cli.save import keeps_alpha, save_image

        path, alpha = Path(path), self.alpha
        if self.image is None:
            raise self.error or ValueError("there is no picture")
        if alpha is not None and not keeps_alpha(path, format):
            self.notes.append(f"{path}: JPEG has no transparency; it is laid on white")
            alpha = None
        save_image(
            path,
            self.image,
            self.recipe,
            mark=self.mark,
            quality=quality,
            compression=compression,
            format=format,
            alpha=alpha,
            exif=self.exif,
        )

    def lines(self, streamed: bool = False) -> list[str]:
        """What a person is told of it: what else was written, the file, strengths and scores, seconds."""
        where = "standard output" if streamed else self.path
        return [*map(str, self.beside), f"{where}  {self.summary}  {self.seconds or 0:.2g} s"]

    def record(self, status: Status | None = None, streamed: bool = False) -> dict[str, Any]:
        """One line of JSON.

        Args:
            status: ok, error, skipped (it was there already), or planned (--dry-run); None says whether it
                failed.
            streamed: Whether the picture goes to standard output, and is no file.

        Returns:
            Its entries. For each face alpha (a list for a strip), beta, channels, scores and corners; those
            of the first one are repeated at the top.
        """
        faces = [face.entries() for face in self.faces]
        first = faces[0] if faces else {}
        failure, output = None, None if streamed else self.path
        if self.error is not None:
            output = None
            failure = {
                "code": int(self.error.exit_code),
                "message": self.error.message,
                "hint": self.error.hint,
            }
        return {
            "schema": SCHEMA,
            "status": status or ("ok" if self.error is None else "error"),
            "input": self.source,
            "output": None if output is None else str(output),
            "latent": None if self.latent_path is None else str(self.latent_path),
            "faces": faces,
            "method": self.method,
            "prompt": self.prompt,
            "neutral": self.neutral,
            "alpha": first.get("alpha"),
            "beta": first.get("beta"),
            "channels": first.get("channels"),
            "scores": first.get("scores"),
            "seconds": None if self.seconds is None else round(self.seconds, 4),
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "warnings": [*self.edit_warnings, *self.warnings],
            "error": failure,
        }
