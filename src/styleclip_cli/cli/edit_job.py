"""What `styleclip edit` does with each input: open, edit, write, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from styleclip_cli.cli.faces import latent_of, open_photo, quality_line, source_name
from styleclip_cli.cli.inputs import Item
from styleclip_cli.cli.methods import Onlooker
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import shortened

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from styleclip_cli.edits.edit import Edit
    from styleclip_cli.engine import Engine
    from styleclip_cli.inversion import Inversion
    from styleclip_cli.photo import Photo
    from styleclip_cli.portrait import Found
    from styleclip_cli.recipe import Recipe
    from styleclip_cli.settings import InversionSettings


@dataclass(frozen=True)
class Writing:
    """How pictures are written.

    Attributes:
        format: Of the picture; None goes by the name.
        quality: Of JPEG, WebP and AVIF.
        compression: Of PNG.
        metadata: Whether the recipe and the mark of an AI edit go into the picture.
        latent: Whether latents are written beside it.
    """

    format: str | None
    quality: int
    compression: int | None
    metadata: bool
    latent: bool


@dataclass
class Opened:
    """One input on its way.

    Attributes:
        item: Which.
        began: When work on it began.
        photo: Its picture; None for seeds and latents.
        found: The faces of a photo, and where they are.
        faces: The faces as they were found.
        edited: For each face, what it is at each strength.
    """

    item: Item
    began: float
    photo: Photo | None
    found: Sequence[Found]
    faces: Sequence[Inversion]
    edited: Sequence[Sequence[Inversion]] = ()


@dataclass(frozen=True)
class EditJob:
    """What is done with each input; see the options of the same names."""

    engine: Engine
    method: str
    chosen: Callable[[], Edit]
    alphas: list[float]
    settings: InversionSettings
    face: str
    align: bool
    crop: bool
    mode: Literal["residual", "replace"]
    writing: Writing
    max_megapixels: float
    keep_exif: bool
    reporter: Reporter
    extra: Mapping[str, Any] = field(default_factory=dict)
    onlooker: Onlooker | None = None

    def open(self, item: Item) -> Opened:
        """Read one input and find its faces."""
        from styleclip_cli.portrait import find_faces

        began = time.monotonic()
        photo = open_photo(item, self.reporter, self.max_megapixels, self.keep_exif)
        if photo is not None:
            self.engine.check_photos(self.align)
        self.chosen()  # only now: a file that cannot be read has failed without any model
        if photo is None:
            return Opened(item, began, None, [], [latent_of(self.engine, item)])
        which = "largest" if self.face == "all" and len(self.alphas) > 1 else self.face
        found = find_faces(self.engine, photo.image, which, self.align, self.settings)
        for one in found:
            if self.settings.inverter != "encoder":
                self.reporter.note(f"{self.settings.inverter}: {quality_line(one.face)}")
        return Opened(item, began, photo, found, [one.face for one in found])

    def edit(self, opened: Sequence[Opened]) -> None:
        """Edit the faces of some inputs, together where each has no generator of its own."""
        from styleclip_cli.edits.edit import edited_each

        faces = [face for one in opened for face in one.faces]
        if self.onlooker is None:
            results = edited_each(self.chosen(), faces, self.alphas)
        else:
            with self.onlooker as onlooker:
                results = edited_each(self.chosen(), faces, self.alphas, lambda: onlooker.stopped)
        left = iter(results)
        for one in opened:
            each = list(islice(left, len(one.faces)))
            if None not in each:  # what has not begun is left alone
                one.edited = [edited for edited in each if edited is not None]

    def finish(self, opened: Opened, path: Path) -> None:
        """Render one input's faces, put them back, write."""
        if not opened.edited:
            self.reporter.note(f"{opened.item.name}: not edited, it had not begun")
            return
        picture = self._picture(opened)
        self._write(path, opened, picture)
        if self.writing.latent:
            edited = [face for strengths in opened.edited for face in strengths]
            names = [source_name(opened.item.name)] * len(edited)
            self.engine.save_inversions(path.with_suffix(".npz"), edited, names)
        if self.onlooker is not None:
            self.onlooker.write(path)
        strengths = ", ".join(f"{alpha:g}" for alpha in self.alphas)
        self.reporter.result(
            f"{path}  alpha {strengths}  {self.chosen().summary()}  {time.monotonic() - opened.began:.1f} s"
        )

    def _picture(self, opened: Opened) -> Image.Image | Tensor:
        from styleclip_cli.portrait import put_back
        from styleclip_cli.save import contact_sheet

        if len(self.alphas) > 1:  # the face as it was found, then at each strength
            pictures = self.engine.show_each([opened.faces[0], *opened.edited[0]])
            labels = ["original", *(f"alpha {alpha:g}" for alpha in self.alphas)]
            return contact_sheet([list(pictures)], column_labels=labels)
        edited = [strengths[0] for strengths in opened.edited]
        if opened.photo is None:
            return self.engine.show(edited[0])[0]
        back = put_back(self.engine, opened.photo.image, opened.found, edited, self.mode)
        if not self.crop:
            return back.image
        crops = [crop[0] for crop in back.crops]
        return crops[0] if len(crops) == 1 else contact_sheet([crops])

    def _write(self, path: Path, opened: Opened, picture: Image.Image | Tensor) -> None:
        from PIL import Image

        from styleclip_cli.save import keeps_alpha, save_image, to_image

        photo = opened.photo
        image = picture if isinstance(picture, Image.Image) else to_image(picture)
        alpha = photo.alpha if photo is not None and photo.image.size == image.size else None
        if alpha is not None and not keeps_alpha(path, self.writing.format):
            self.reporter.note(f"{path}: JPEG has no transparency; it is laid on white")
            alpha = None
        elif alpha is None and photo is not None and photo.alpha is not None:
            self.reporter.note(f"{path}: the face alone; the photo's transparency is not kept")
        save_image(
            path,
            image,
            self._recipe(opened) if self.writing.metadata else None,
            mark=("edited" if photo is not None else "generated") if self.writing.metadata else None,
            quality=self.writing.quality,
            compression=self.writing.compression,
            format=self.writing.format,
            alpha=alpha,
            exif=photo.exif if photo is not None else None,
        )

    def _recipe(self, opened: Opened) -> Recipe:
        from styleclip_cli.recipe import Recipe

        settings, edit = self.settings, self.chosen()
        photo = opened.photo is not None
        entries: dict[str, Any] = {"layers": self.engine.relevance_settings.layers, "seed": self.engine.seed}
        entries |= {**edit.entries(), **self.extra}
        if self.onlooker is not None and self.onlooker.cut_short:
            entries["iterations"] = self.onlooker.cut_short
        return Recipe(
            method=self.method,
            prompt=shortened(edit.target, 1000),
            neutral=edit.neutral,
            alphas=tuple(self.alphas),
            models=self.engine.pack.name,
            fingerprint=self.engine.fingerprint,
            sample=opened.item.seed,
            inverter=settings.inverter if photo else None,
            steps=settings.steps if photo and settings.inverter != "encoder" else None,
            noise=settings.noise or None,
            face=self.face if photo else None,
            align=self.align if photo else None,
            composite=self.mode if photo else None,
            literal=True,
            **entries,
        )
