"""What `styleclip edit` does with each input: open, edit, write, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from styleclip_cli.cli.faces import latent_of, open_photo, quality_line, source_name
from styleclip_cli.cli.inputs import Item
from styleclip_cli.cli.report import Reporter

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from styleclip_cli.edits.directions import Direction
    from styleclip_cli.engine import Engine
    from styleclip_cli.inversion import Inversion
    from styleclip_cli.photo import Photo
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


@dataclass(frozen=True)
class EditJob:
    """What is done with each input; see the options of the same names."""

    engine: Engine
    method: str
    direction: Callable[[], Direction]
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

    def __call__(self, item: Item, path: Path) -> None:
        """Edit one input into one file."""
        began = time.monotonic()
        photo = open_photo(item, self.reporter, self.max_megapixels, self.keep_exif)
        if photo is not None:
            self.engine.check_photos(self.align)
        direction = self.direction()  # only now: a file that cannot be read has failed without any model
        picture, found = self._edited(item, photo, direction)
        self._write(path, item, photo, picture, direction)
        if self.writing.latent:
            names = [source_name(item.name)] * len(found)
            self.engine.save_inversions(path.with_suffix(".npz"), found, names)
        strengths = ", ".join(f"{alpha:g}" for alpha in self.alphas)
        self.reporter.result(
            f"{path}  alpha {strengths}  beta {direction.beta:.9g}  {direction.num_channels} channels  "
            f"{time.monotonic() - began:.1f} s"
        )

    def _edited(
        self, item: Item, photo: Photo | None, direction: Direction
    ) -> tuple[Image.Image | Tensor, Sequence[Inversion]]:
        from styleclip_cli.portrait import edit_photo
        from styleclip_cli.save import contact_sheet

        if photo is None:
            found = latent_of(self.engine, item)
            if len(self.alphas) > 1:
                return self._strip(found, direction), [found]
            styles = self.engine.styles(found.w_plus)
            return self.engine.edit(styles, direction, self.alphas, found.tuned)[0, 0], [found]
        if len(self.alphas) > 1:
            found = self._first(photo)
            return self._strip(found, direction), [found]
        edited = edit_photo(
            self.engine,
            photo.image,
            direction,
            self.alphas[0],
            which=self.face,
            align=self.align,
            settings=self.settings,
            mode=self.mode,
        )
        for inversion in edited.inversions:
            self._tell(inversion)
        if not self.crop:
            return edited.image, edited.inversions
        crops = [crop[0] for crop in edited.crops]
        return (crops[0] if len(crops) == 1 else contact_sheet([crops])), edited.inversions

    def _first(self, photo: Photo) -> Inversion:
        from styleclip_cli.portrait import portraits

        which = "largest" if self.face == "all" else self.face
        portrait = portraits(self.engine, photo.image, which, self.align)[0]
        found = self.engine.find(portrait.image, self.settings, close_up=portrait.close_up)
        self._tell(found)
        return found

    def _strip(self, found: Inversion, direction: Direction) -> Image.Image:
        """The face as it is found, then at each strength."""
        from styleclip_cli.save import contact_sheet

        styles = self.engine.styles(found.w_plus)
        pictures = self.engine.edit(styles, direction, self.alphas, found.tuned)[0]
        original = self.engine.synthesize(styles, found.tuned)[0]
        labels = ["original", *(f"alpha {alpha:g}" for alpha in self.alphas)]
        return contact_sheet([[original, *pictures]], column_labels=labels)

    def _tell(self, found: Inversion) -> None:
        if self.settings.inverter != "encoder":
            self.reporter.note(f"{self.settings.inverter}: {quality_line(found)}")

    def _write(
        self,
        path: Path,
        item: Item,
        photo: Photo | None,
        picture: Image.Image | Tensor,
        direction: Direction,
    ) -> None:
        from PIL import Image

        from styleclip_cli.save import keeps_alpha, save_image, to_image

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
            self._recipe(item, photo, direction) if self.writing.metadata else None,
            mark=("edited" if photo is not None else "generated") if self.writing.metadata else None,
            quality=self.writing.quality,
            compression=self.writing.compression,
            format=self.writing.format,
            alpha=alpha,
            exif=photo.exif if photo is not None else None,
        )

    def _recipe(self, item: Item, photo: Photo | None, direction: Direction) -> Recipe:
        from styleclip_cli.recipe import Recipe

        settings = self.settings
        return Recipe(
            method=self.method,
            prompt=direction.target,
            neutral=direction.neutral,
            alphas=tuple(self.alphas),
            beta=direction.beta,
            channels=direction.num_channels,
            layers=self.engine.relevance_settings.layers,
            models=self.engine.pack.name,
            fingerprint=self.engine.fingerprint,
            seed=self.engine.seed,
            sample=item.seed,
            inverter=settings.inverter if photo is not None else None,
            steps=settings.steps if photo is not None and settings.inverter != "encoder" else None,
            noise=settings.noise or None,
            face=self.face if photo is not None else None,
            align=self.align if photo is not None else None,
            composite=self.mode if photo is not None else None,
            literal=True,
        )
