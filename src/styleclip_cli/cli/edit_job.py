"""What `styleclip edit` does with each input: open, edit, write, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from styleclip_cli.cli.batch import StopBatch
from styleclip_cli.cli.faces import latent_of, quality_line, read_item, source_name, tell_notes
from styleclip_cli.cli.inputs import Item
from styleclip_cli.cli.looks import Look
from styleclip_cli.cli.methods import Onlooker
from styleclip_cli.cli.records import record
from styleclip_cli.cli.report import Reporter, binary
from styleclip_cli.errors import BadInputError, DeviceError, StyleClipError, WeightsError, shortened
from styleclip_cli.machine.profile import stage
from styleclip_cli.recipe import SAVED, WORDS

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from styleclip_cli.cli.gallery import Gallery, Pair
    from styleclip_cli.edits.auto import Choice
    from styleclip_cli.edits.edit import Edit
    from styleclip_cli.edits.scores import Scores
    from styleclip_cli.engine import Engine
    from styleclip_cli.inversion import Inversion
    from styleclip_cli.photos.photo import Photo
    from styleclip_cli.photos.portrait import Found
    from styleclip_cli.recipe import Recipe
    from styleclip_cli.settings import CompositeMode, InversionSettings


class Edits(Protocol):
    """Makes the edits of looks."""

    def of(self, look: Look) -> Sequence[Edit]:
        """The edits of a look, one for each threshold."""

    def alphas(self, look: Look) -> Sequence[float]:
        """The strengths of a look."""


@dataclass(frozen=True)
class Writing:
    """How pictures are written.

    Attributes:
        format: Of the picture; None goes by the name.
        quality: Of JPEG, WebP and AVIF.
        compression: Of PNG.
        metadata: Whether the recipe and the mark of an AI edit go into the picture.
        latent: Whether latents are written beside it.
        stream: Whether the picture goes on to standard output.
    """

    format: str | None
    quality: int
    compression: int | None
    metadata: bool
    latent: bool
    stream: bool = False


@dataclass
class Opened:
    """One input on its way.

    Attributes:
        item: Which.
        look: What it is to become.
        edits: How, one for each threshold.
        alphas: At which strengths.
        photo: Its picture; None for seeds and latents.
        found: The faces of a photo, and where they are.
        faces: The faces as they were found.
        seconds: Work for it so far.
        edited: For each face, what it is at each threshold and strength; empty if it is left undone.
        choices: For each face, what was chosen for it, if that was asked for.
        scores: For each face, how the edit did, if that was asked for.
        before: The picture to compare the result with, if one is needed.
        picture: The result.
        recipe: What made it.
        frames: Pictures of the way there, by step.
        pair: What is kept of it for a sheet or page.
        notes: What there is to say when it is written.
        warnings: What may be wrong with the result.
    """

    item: Item
    look: Look
    edits: Sequence[Edit]
    alphas: Sequence[float]
    photo: Photo | None
    found: Sequence[Found]
    faces: Sequence[Inversion]
    seconds: float
    edited: Sequence[Sequence[Inversion]] = ()
    choices: Sequence[Choice] = ()
    scores: Sequence[Scores] = ()
    before: Image.Image | None = None
    picture: Image.Image | None = None
    recipe: Recipe | None = None
    frames: Mapping[int, Image.Image] = field(default_factory=dict)
    pair: Pair | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_one_picture(self) -> bool:
        """Whether it is one picture of each face, and no strip or grid."""
        return bool(self.choices) or len(self.edits) * len(self.alphas) == 1

    def edit_of(self, face: int) -> Edit:
        """The edit of one of its faces."""
        return self.choices[face].edit if self.choices else self.edits[0]

    def alpha_of(self, face: int) -> float:
        """The strength of one of its faces."""
        return self.choices[face].alpha if self.choices else self.alphas[0]

    @contextmanager
    def clocked(self) -> Iterator[None]:
        """Count the time of some work as this input's."""
        began = time.monotonic()
        yield
        self.seconds += time.monotonic() - began


@dataclass(eq=False)
class EditJob:
    """What is done with each input; see the options of the same names.

    Attributes:
        done: How many are written.
    """

    engine: Engine
    look: Look | None
    edits: Edits
    settings: InversionSettings
    face: str
    align: bool
    crop: bool
    mode: CompositeMode
    writing: Writing
    max_megapixels: float
    keep_exif: bool
    reporter: Reporter
    method: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    onlooker: Onlooker | None = None
    scored: bool = False
    keep_identity: float | None = None
    gallery: Gallery | None = None
    show: bool = False
    announce: Callable[[Edit], str] = lambda edit: (
        f'target "{edit.target}"' + (f', neutral "{edit.neutral}"' if edit.neutral else "")
    )
    done: int = 0
    _announced: set[int] = field(default_factory=set)

    def read(self, item: Item) -> tuple[float, Photo | None]:
        """Decode one input; and how long that took."""
        began = time.monotonic()
        photo = read_item(item, self.max_megapixels, self.keep_exif)
        return time.monotonic() - began, photo

    def open(self, item: Item, read: tuple[float, Photo | None]) -> Opened:
        """Find one input's faces."""
        from styleclip_cli.photos.portrait import find_faces

        began = time.monotonic()
        seconds, photo = read
        tell_notes(item, photo, self.reporter)
        if photo is not None:
            self.engine.check_photos(self.align)
        # Only now: a file that cannot be read has failed without any model.
        look = self.look if item.look is None else item.look
        assert look is not None
        edits, alphas = self._edits_of(look), self.edits.alphas(look)
        one = Opened(item, look, edits, alphas, photo, [], [], seconds)
        if photo is None:
            one.faces = [latent_of(self.engine, item)]
        else:
            strip = self.keep_identity is None and len(edits) * len(alphas) > 1
            which = "largest" if self.face == "all" and strip else self.face
            one.found = find_faces(self.engine, photo.image, which, self.align, self.settings)
            one.faces = [found.face for found in one.found]
        for face in one.faces if photo is not None and self.settings.inverter != "encoder" else ():
            self.reporter.note(f"{self.settings.inverter}: {quality_line(face)}")
        one.seconds += time.monotonic() - began
        return one

    def _edits_of(self, look: Look) -> Sequence[Edit]:
        """The edits of a look; what is wrong with one's own look concerns no other input."""
        try:
            edits = self.edits.of(look)
        except (WeightsError, DeviceError) as error:
            raise StopBatch(error) from error
        except StyleClipError as error:
            if look == self.look:
                raise StopBatch(error) from error
            raise BadInputError(error.message, error.hint) from None
        if id(edits[0]) not in self._announced and len(self._announced) < _ANNOUNCED:
            self._announced.add(id(edits[0]))
            self.reporter.note(self.announce(edits[0]))
        return edits

    def edit(self, opened: Sequence[Opened]) -> None:
        """Edit the faces of some inputs, and render them, together where each has no generator of its own."""
        began = time.monotonic()
        with stage("edit"):
            if self.onlooker is None:
                self._edit(opened)
            else:
                with self.onlooker as onlooker:
                    self._edit(opened, lambda: onlooker.stopped)
        done = [one for one in opened if one.edited]
        self._render(done)
        for one in done:  # they were worked on together: each gets its share
            one.seconds += (time.monotonic() - began) / len(done)

    def _edit(self, opened: Sequence[Opened], stopped: Callable[[], bool] = lambda: False) -> None:
        """Edit all faces, those with the same edits and strengths at once."""
        from styleclip_cli.edits.auto import choose
        from styleclip_cli.edits.edit import edited_each

        groups: dict[object, list[Opened]] = {}
        for one in opened:
            groups.setdefault((*map(id, one.edits), *one.alphas), []).append(one)
        for group in groups.values():
            faces = [face for one in group for face in one.faces]
            if self.keep_identity is not None:
                usual = float(group[0].alphas[0])
                with self.reporter.progress("choosing strengths") as advance:
                    renderer, judge, edits = self.engine.renderer, self.engine.judge, group[0].edits
                    choices = choose(renderer, judge, faces, edits, usual, self.keep_identity, advance)
                results: list[list[Inversion] | None] = [[choice.edited] for choice in choices]
            else:
                choices = []
                rows = [edited_each(edit, faces, group[0].alphas, stopped) for edit in group[0].edits]
                results = [
                    None if None in each else [face for row in each for face in row or ()]
                    for each in zip(*rows, strict=True)
                ]
            left, chosen = iter(results), iter(choices)
            for one in group:
                each = list(islice(left, len(one.faces)))
                one.choices = list(islice(chosen, len(one.faces)))
                if None not in each:  # what has not begun is left alone
                    one.edited = [edited for edited in each if edited is not None]

    def _render(self, opened: Sequence[Opened]) -> None:
        """Make the pictures of some inputs."""
        from styleclip_cli.save import picture_of

        if not opened:
            return
        wanted = [self._shown(one) for one in opened]
        pictures = self.engine.show_each([face for faces in wanted for face in faces])
        for one, own in zip(opened, pictures.split([len(faces) for faces in wanted]), strict=True):
            if self._draws_originals(one):
                own, originals = own.split([len(own) - len(one.faces), len(one.faces)])
                self._compare(one, own, originals)
            one.picture = picture_of(self._picture(one, own))
            one.recipe = self._recipe(one) if self.writing.metadata else None
            if self.gallery is not None and one.photo is not None and one.is_one_picture and not self.crop:
                one.before = one.photo.image
            if self.onlooker is not None:
                one.frames = self.onlooker.frames()
            elif self.gallery is not None and self.gallery.animation is not None:
                one.frames = dict(enumerate(self._morph(one)))

    def _draws_originals(self, one: Opened) -> bool:
        """Whether the faces as they were are rendered too, to be compared."""
        if not one.is_one_picture:
            return False
        return self.scored or self._needs_original(one)

    def _needs_original(self, one: Opened) -> bool:
        """Whether there is no picture to compare the result with, until it is drawn."""
        if self.gallery is None or not self.gallery.compares or len(one.faces) > 1:
            return False
        return one.photo is None or self.crop

    def _shown(self, one: Opened) -> list[Inversion]:
        """What has to be rendered for one input."""
        if not one.is_one_picture:  # the face as it was found, then at each threshold and strength
            return [one.faces[0], *one.edited[0]]
        faces = self._edited_shown(one)
        return [*faces, *one.faces] if self._draws_originals(one) else faces

    def _compare(self, one: Opened, pictures: Tensor, originals: Tensor) -> None:
        """Score the edit, and keep the picture before it."""
        import torch

        from styleclip_cli.edits.scores import clip_direction, scores
        from styleclip_cli.save import to_image

        if self._needs_original(one):
            one.before = to_image(originals[0])
        if not self.scored:
            return
        if one.choices:
            one.scores = [choice.scores for choice in one.choices]
            return
        after, at = [], 0
        for number in range(len(one.faces)):  # `shown` puts the face before behind it, where it needs it
            after.append(pictures[at])
            at += 2 if one.photo is not None and not one.found[number].portrait.aligned else 1
        edit = one.edits[0]
        way = None if self._method(one) == SAVED else clip_direction(self.engine.judge, edit)
        one.scores = scores(self.engine.judge, originals, torch.stack(after), way, one.alphas[0])

    def _picture(self, one: Opened, pictures: Tensor) -> Image.Image | Tensor:
        from styleclip_cli.photos.portrait import put_back
        from styleclip_cli.pictures.sheets import contact_sheet, grid

        if len(one.edits) > 1 and not one.choices:
            original, rows = pictures[0], pictures[1:].unflatten(0, (len(one.edits), len(one.alphas)))
            betas = [float(edit.entries()["beta"]) for edit in one.edits]
            pictured = [list(row) for row in rows]
            return grid(
                pictured,
                x_name="alpha",
                x_values=list(one.alphas),
                y_name="beta",
                y_values=betas,
                original=original,
            )
        if not one.is_one_picture:
            labels = ["original", *(f"alpha {alpha:g}" for alpha in one.alphas)]
            return contact_sheet([list(pictures)], column_labels=labels)
        if one.photo is None:
            return pictures[0]
        edited = [strengths[0] for strengths in one.edited]
        back = put_back(self.engine, one.photo.image, one.found, edited, self.mode, pictures)
        if back.spilled and SPILL not in one.warnings:
            one.warnings.append(SPILL)
        if not self.crop:
            return back.image
        crops = [crop[0] for crop in back.crops]
        return crops[0] if len(crops) == 1 else contact_sheet([crops])

    def _morph(self, one: Opened) -> Iterator[Image.Image]:
        """Pictures of the way from nothing to the whole edit."""
        from styleclip_cli.pictures.animate import eased
        from styleclip_cli.save import picture_of

        parts = eased(1.0)
        full = [one.alpha_of(n) if one.choices else max(one.alphas, key=abs) for n in range(len(one.faces))]
        with self.reporter.progress("drawing the animation") as advance:
            for done, part in enumerate(parts):
                moved = [one.edit_of(n).edited(face, [part * full[n]])[0] for n, face in enumerate(one.faces)]
                step = replace(one, edited=[[face] for face in moved], alphas=[part], edits=one.edits[:1])
                yield picture_of(self._picture(step, self.engine.show_each(self._edited_shown(step))))
                advance(done + 1, len(parts))

    def _edited_shown(self, one: Opened) -> list[Inversion]:
        """What one picture of each face needs rendered."""
        from styleclip_cli.photos.portrait import shown

        edited = [strengths[0] for strengths in one.edited]
        return edited if one.photo is None else shown(one.found, edited)

    def write(self, opened: Opened, path: Path) -> None:
        """Write one input's result, and what belongs to it."""
        with opened.clocked():
            self._write(opened, path)

    def _write(self, opened: Opened, path: Path) -> None:
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
        if self.gallery is not None:
            caption = source_name(opened.item.name)
            opened.pair = self.gallery.draw(
                caption, opened.before, image, path, opened.frames, photo is not None
            )

    def tell(self, opened: Opened, path: Path) -> None:
        """Say that one is written."""
        name = opened.item.name
        if opened.picture is None:
            self.reporter.note(f"{name}: not edited, it had not begun")
            return
        self.done += 1
        for note in [*opened.notes, *(f"{name}: {warning}" for warning in opened.warnings)]:
            self.reporter.note(note)
        if self.writing.stream:
            binary(path.read_bytes())
        shown = "standard output" if self.writing.stream else path
        self.reporter.result(f"{shown}  {self._told(opened)}  {opened.seconds:.2g} s")
        self.reporter.record(
            record(
                "ok",
                name,
                None if self.writing.stream else path,
                latent=path.with_suffix(".npz") if self.writing.latent else None,
                faces=[self._face_entries(opened, number) for number in range(len(opened.faces))],
                method=self._method(opened),
                prompt=opened.edits[0].target,
                neutral=opened.edits[0].neutral or None,
                seconds=opened.seconds,
                warnings=opened.warnings,
            )
        )
        if self.show:
            self.reporter.picture(opened.picture)
        if self.gallery is not None:
            self.gallery.keep(opened.pair, path)
        opened.picture = opened.before = opened.pair = None  # a long batch keeps the words, not the pictures
        opened.frames = {}

    def failed(self, item: Item, path: Path, error: StyleClipError) -> None:
        """Say that one could not be done."""
        self.reporter.record(record("error", item.name, None, error=error))

    def _told(self, one: Opened) -> str:
        """Strengths, and what was chosen."""
        parts = []
        for number in range(len(one.faces) if one.choices else 1):
            alphas = [one.alpha_of(number)] if one.choices else one.alphas
            words = f"alpha {', '.join(f'{alpha:g}' for alpha in alphas)}"
            parts.append(f"{words}  {one.edit_of(number).summary()}")
        told = "  |  ".join(parts)
        scores = [f"similarity {s.similarity:.2f}" for s in one.scores[:1] if s.similarity is not None]
        scores += [f"identity {s.identity:.2f}" for s in one.scores[:1] if s.identity is not None]
        return "  ".join([told, *scores])

    def _face_entries(self, one: Opened, number: int) -> dict[str, Any]:
        """What a record says of one face."""
        said = one.edit_of(number).entries()
        betas = [edit.entries().get("beta") for edit in one.edits]
        strip = list(one.alphas) if not one.choices else []
        corners = None
        if one.photo is not None:
            corners = [[round(float(x), 1) for x in corner] for corner in one.found[number].portrait.quad]
        return {
            "alpha": strip if len(strip) > 1 else one.alpha_of(number),
            "beta": betas if len(betas) > 1 and not one.choices else said.get("beta"),
            "channels": said.get("channels"),
            "scores": one.scores[number].entries() if one.scores else None,
            "corners": corners,
        }

    def _method(self, one: Opened) -> str:
        """The method of an input, in the words of recipes."""
        if self.method is not None:
            return self.method
        steps = one.look.steps
        if len(steps) == 1 and steps[0].direction is not None:
            return SAVED
        return WORDS[one.look.method]

    def _recipe(self, opened: Opened) -> Recipe:
        from styleclip_cli.edits.chain import Chain
        from styleclip_cli.recipe import Recipe, Step

        settings, edit = self.settings, opened.edit_of(0)
        method = self._method(opened)
        photo = opened.photo is not None
        entries: dict[str, Any] = {"layers": self.engine.relevance_settings.layers, "seed": self.engine.seed}
        if method == WORDS["global"]:
            entries["relevance"] = self.engine.relevance_mode
        entries |= {**edit.entries(), **self.extra}
        if opened.look.method == "mapper" and opened.look.steps[0].mapper is not None:
            entries["mapper"] = Path(opened.look.steps[0].mapper).name
        if self.onlooker is not None and self.onlooker.cut_short:
            entries["iterations"] = self.onlooker.cut_short
        if isinstance(edit, Chain):
            entries["edits"] = tuple(
                Step(
                    prompt=None if step.prompt is None else part.target,
                    neutral=None if step.prompt is None else part.neutral,
                    mapper=None if step.mapper is None else Path(step.mapper).name,
                    direction=None if step.direction is None else Path(step.direction).name,
                    alpha=alpha,
                    beta=None if step.prompt is None else part.entries().get("beta"),
                    literal=True if step.prompt is not None else None,
                )
                for step, (part, alpha) in zip(opened.look.steps, edit.steps, strict=True)
            )
        if len(opened.edits) > 1 and not opened.choices:
            entries |= {"beta": None, "channels": None}
            entries["betas"] = tuple(float(each.entries()["beta"]) for each in opened.edits)
        chosen = opened.choices
        return Recipe(
            method=method,
            prompt=shortened(edit.target, 1000),
            neutral=edit.neutral,
            alphas=(chosen[0].alpha,) if chosen else tuple(opened.alphas),
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


SPILL = "the edit changes the background too; what reaches the border of the face's crop is left out"
_ANNOUNCED = 20
"""Edits that are told of; a manifest may have thousands."""
