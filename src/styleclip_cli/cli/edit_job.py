"""What `styleclip edit` does with each input: open, edit, write, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from styleclip_cli.cli.faces import latent_of, quality_line, read_item, source_name, tell_notes
from styleclip_cli.cli.inputs import Item
from styleclip_cli.cli.methods import WORDS, Onlooker
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import shortened
from styleclip_cli.profile import stage

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
        edited: For each face, what it is at each strength; empty if it is left undone.
        picture: The result.
        recipe: What made it.
        frames: Pictures of the way there, by step.
        notes: What there is to say when it is written.
    """

    item: Item
    began: float
    photo: Photo | None
    found: Sequence[Found]
    faces: Sequence[Inversion]
    edited: Sequence[Sequence[Inversion]] = ()
    picture: Image.Image | None = None
    recipe: Recipe | None = None
    frames: Mapping[int, Image.Image] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


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

    def read(self, item: Item) -> tuple[float, Photo | None]:
        """Decode one input."""
        return time.monotonic(), read_item(item, self.max_megapixels, self.keep_exif)

    def open(self, item: Item, read: tuple[float, Photo | None]) -> Opened:
        """Find one input's faces."""
        from styleclip_cli.portrait import find_faces

        began, photo = read
        tell_notes(item, photo, self.reporter)
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
        """Edit the faces of some inputs, and render them, together where each has no generator of its own."""
        from styleclip_cli.edits.edit import edited_each

        faces = [face for one in opened for face in one.faces]
        with stage("edit"):
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
        self._render([one for one in opened if one.edited])

    def _render(self, opened: Sequence[Opened]) -> None:
        """Make the pictures of some inputs."""
        from PIL import Image

        from styleclip_cli.save import to_image

        if not opened:
            return
        wanted = [self._shown(one) for one in opened]
        pictures = self.engine.show_each([face for faces in wanted for face in faces])
        for one, own in zip(opened, pictures.split([len(faces) for faces in wanted]), strict=True):
            picture = self._picture(one, own)
            one.picture = picture if isinstance(picture, Image.Image) else to_image(picture)
            one.recipe = self._recipe(one) if self.writing.metadata else None
            if self.onlooker is not None:
                one.frames = self.onlooker.frames()

    def _shown(self, opened: Opened) -> list[Inversion]:
        """What has to be rendered for one input."""
        from styleclip_cli.portrait import shown

        if len(self.alphas) > 1:  # the face as it was found, then at each strength
            return [opened.faces[0], *opened.edited[0]]
        edited = [strengths[0] for strengths in opened.edited]
        return edited if opened.photo is None else shown(opened.found, edited)

    def _picture(self, opened: Opened, pictures: Tensor) -> Image.Image | Tensor:
        from styleclip_cli.portrait import put_back
        from styleclip_cli.save import contact_sheet

        if len(self.alphas) > 1:
            labels = ["original", *(f"alpha {alpha:g}" for alpha in self.alphas)]
            return contact_sheet([list(pictures)], column_labels=labels)
        if opened.photo is None:
            return pictures[0]
        edited = [strengths[0] for strengths in opened.edited]
        back = put_back(self.engine, opened.photo.image, opened.found, edited, self.mode, pictures)
        if not self.crop:
            return back.image
        crops = [crop[0] for crop in back.crops]
        return crops[0] if len(crops) == 1 else contact_sheet([crops])

    def write(self, opened: Opened, path: Path) -> None:
        """Write one input's result, and what belongs to it."""
        from styleclip_cli.save import keeps_alpha, save_image

        image, photo = opened.picture, opened.photo
        if image is None:
            return
        alpha = photo.alpha if photo is not None and photo.image.size == image.size else None
        if alpha is not None and not keeps_alpha(path, self.writing.format):
            opened.notes.append(f"{path}: JPEG has no transparency; it is laid on white")
            alpha = None
        elif alpha is None and photo is not None and photo.alpha is not None:
            opened.notes.append(f"{path}: the face alone; the photo's transparency is not kept")
        save_image(
            path,
            image,
            opened.recipe,
            mark=("edited" if photo is not None else "generated") if self.writing.metadata else None,
            quality=self.writing.quality,
            compression=self.writing.compression,
            format=self.writing.format,
            alpha=alpha,
            exif=photo.exif if photo is not None else None,
        )
        if self.writing.latent:
            edited = [face for strengths in opened.edited for face in strengths]
            names = [source_name(opened.item.name)] * len(edited)
            self.engine.save_inversions(path.with_suffix(".npz"), edited, names)
        if self.onlooker is not None:
            self.onlooker.write(path, opened.frames)

    def tell(self, opened: Opened, path: Path) -> None:
        """Say that one is written."""
        if opened.picture is None:
            self.reporter.note(f"{opened.item.name}: not edited, it had not begun")
            return
        for note in opened.notes:
            self.reporter.note(note)
        strengths = ", ".join(f"{alpha:g}" for alpha in self.alphas)
        self.reporter.result(
            f"{path}  alpha {strengths}  {self.chosen().summary()}  {time.monotonic() - opened.began:.1f} s"
        )

    def _recipe(self, opened: Opened) -> Recipe:
        from styleclip_cli.recipe import Recipe

        settings, edit = self.settings, self.chosen()
        photo = opened.photo is not None
        entries: dict[str, Any] = {"layers": self.engine.relevance_settings.layers, "seed": self.engine.seed}
        if self.method == WORDS["global"]:
            entries["relevance"] = self.engine.relevance_mode
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
