"""The result of one input: its image with metadata, and its line of JSON."""

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
        beta: Relevance threshold; a list for a grid; None for other methods.
        channels: Number of style channels that were shifted; None for other methods.
        scores: Scores of the edit, if they were requested.
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
    """The result of one input.

    Attributes:
        source: The input as it was named.
        path: The file it was written to; None if it was not written.
        image: The photo with the edit in it, or the generated face; None if it failed.
        recipe: The recipe; None if it is not to be embedded (--no-metadata).
        mark: Whether a network edited or generated it; None as above.
        alpha: The photo's transparency (mode L); None if there is none.
        exif: The EXIF data kept from the photo, as a block.
        latents: The edited faces; for each face, one for each threshold and strength.
        faces: The data of each face.
        method: The method, as it is named in recipes.
        prompt: The prompt as it was resolved.
        neutral: The neutral text as it was resolved.
        confidence: How surely the pack understands the sentence, 0 to 1; None if unknown.
        summary: Strengths, thresholds and scores, in short.
        edit_warnings: Possible problems of the edit itself, one sentence each, the same for all inputs.
        warnings: Possible problems of the result, one sentence each.
        notes: Other messages about the files, one per line.
        latent_path: The file of the edited latents; None if they were not written.
        beside: Other files that were written.
        seconds: Processing time of this input alone.
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
        """Write the image as `styleclip edit` does: with its recipe, the mark, EXIF data and transparency.

        Args:
            path: The file; missing folders are made.
            format: "png", "jpg", "webp", "avif" or "tiff"; None derives it from the suffix.
            quality: Quality of JPEG, WebP and AVIF, up to 100.
            compression: Compression level of PNG, 0 to 9; None for the default.

        Raises:
            OutputError: If it cannot be written.
            UsageError: If the format is none of these.
            StyleClipError: What failed, if there is no image.
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
        """Lines for the user: other files that were written, the file, strengths and scores, seconds."""
        where = "standard output" if streamed else self.path
        return [*map(str, self.beside), f"{where}  {self.summary}  {self.seconds or 0:.2g} s"]

    def record(self, status: Status | None = None, streamed: bool = False) -> dict[str, Any]:
        """One line of JSON.

        Args:
            status: ok, error, skipped (it was there already), or planned (--dry-run); None says whether it
                failed.
            streamed: Whether the image goes to standard output, and is no file.

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
