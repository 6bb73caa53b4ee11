"""The stages of an edit: read, find faces, edit, render, write. `run` joins them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from styleclip_cli.edits.auto import Choice, choose
from styleclip_cli.edits.edit import Edit, edited_each
from styleclip_cli.edits.scores import Scores
from styleclip_cli.errors import BadInputError, DeviceError, StyleClipError, WeightsError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.job import compose
from styleclip_cli.job.doubts import doubts, on_its_side, other_faces, refuse_doubtful
from styleclip_cli.job.edits import EditMaker
from styleclip_cli.job.faces import latent_of, quality_line, read_item, source_name
from styleclip_cli.job.inputs import Item
from styleclip_cli.job.overlap import StopBatch
from styleclip_cli.job.plan import Plan, Planned
from styleclip_cli.job.request import EditRequest
from styleclip_cli.job.result import EditResult
from styleclip_cli.job.watching import Watcher
from styleclip_cli.machine.interrupt import Interruptible
from styleclip_cli.machine.profile import stage
from styleclip_cli.machine.progress import Tell
from styleclip_cli.photo import portrait
from styleclip_cli.photo.read import Photo
from styleclip_cli.recipe import Step
from styleclip_cli.save import save_image
from styleclip_cli.settings import InversionSettings

if TYPE_CHECKING:
    from PIL import Image

    from styleclip_cli.engine import Engine
    from styleclip_cli.job.gallery import Pair
    from styleclip_cli.photo.align import Face
    from styleclip_cli.photo.masks import Limits

_ANNOUNCED = 20
"""Edits that are told of; a manifest may have thousands."""


@dataclass(eq=False)
class Tools:
    """The objects that the stages use.

    Attributes:
        plan: The plan.
        engine: Networks and measurements.
        edits: Makes the edits.
        inversion: How photos are inverted.
        tell: Takes messages.
        stop: Handles Ctrl-C.
        watcher: Observes the optimization of latents; None for other methods.
        written: Files of the results that are written.
        chosen: Edit and strength that were chosen for all inputs of the same steps (--same).
    """

    plan: Plan
    engine: Engine
    edits: EditMaker
    inversion: InversionSettings
    tell: Tell
    stop: Interruptible
    watcher: Watcher | None = None
    written: list[Path] = field(default_factory=list)
    chosen: dict[tuple[Step, ...], tuple[Edit, float]] = field(default_factory=dict)
    _announced: set[str] = field(default_factory=set)
    _doubted: set[str] = field(default_factory=set)

    def edits_of(self, request: EditRequest) -> Sequence[Edit]:
        """The edits of a request; an error in those of one row concerns no other input."""
        try:
            edits = self.edits.of(request)
            if self.plan.request.strict:
                refuse_doubtful(edits, self.engine.pack)
        except (WeightsError, DeviceError) as error:
            raise StopBatch(error) from error
        except StyleClipError as error:
            if request == self.plan.request:
                raise StopBatch(error) from error
            raise BadInputError(error.message, error.hint) from None
        told = self.edits.describe(edits[0])
        if told and told not in self._announced and len(self._announced) < _ANNOUNCED:
            self._announced.add(told)
            self.tell(told)
        for doubt in doubts(edits, self.engine.pack):
            if doubt not in self._doubted:
                self._doubted.add(doubt)
                self.tell(f"warning: {doubt}")
        return edits


@dataclass(eq=False)
class WorkItem:
    """One input in progress.

    Attributes:
        planned: The input, its request, and the path of its result.
        edits: The edits, one for each threshold.
        alphas: Their strengths.
        photo: Its image; None for seeds and latents.
        found: The faces of a photo, and where they are.
        faces: The latents of the faces before the edit.
        edited: The latents of each face at each threshold and strength; empty if it was not edited.
        choices: The choice for each face, with --auto.
        limits: Where each face may change, if it is not anywhere.
        scores: The scores of each face, if they were requested.
        before: The image to compare the result with, if one is needed.
        frames: Images of the optimization, by step.
        pair: The data kept of it for a sheet or page.
        result: Its result; None before it is edited.
        warnings: Possible problems of the result, one sentence each.
        doubts: What its images tell against the edit, one sentence each.
        beside: Other files that were written for it.
        seconds: Processing time so far.
    """

    planned: Planned
    edits: Sequence[Edit] = ()
    alphas: Sequence[float] = ()
    photo: Photo | None = None
    found: Sequence[portrait.InvertedFace] = ()
    faces: Sequence[FaceLatent] = ()
    edited: Sequence[Sequence[FaceLatent]] = ()
    choices: Sequence[Choice] = ()
    limits: Sequence[Limits] = ()
    scores: Sequence[Scores] = ()
    before: Image.Image | None = None
    frames: Mapping[int, Image.Image] = field(default_factory=dict)
    pair: Pair | None = None
    result: EditResult | None = None
    warnings: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def item(self) -> Item:
        """The input."""
        return self.planned.item

    @property
    def path(self) -> Path | None:
        """Path of the result."""
        return self.planned.path

    @property
    def request(self) -> EditRequest:
        """The request for it."""
        return self.planned.request

    @property
    def is_one_picture(self) -> bool:
        """Whether it is one image of each face, not a strip or grid."""
        return bool(self.choices) or len(self.edits) * len(self.alphas) == 1

    def edit_of(self, face: int) -> Edit:
        """The edit of one of its faces."""
        return self.choices[face].edit if self.choices else self.edits[0]

    def alpha_of(self, face: int) -> float:
        """The strength of one of its faces."""
        return self.choices[face].alpha if self.choices else self.alphas[0]

    def named(self, error: StyleClipError) -> StyleClipError:
        """The error, with the name of the input in its message."""
        if self.item.name in error.message or (self.path is not None and str(self.path) in error.message):
            return error
        return type(error)(f"{self.item.name}: {error.message}", error.hint)

    @contextmanager
    def clocked(self) -> Iterator[None]:
        """Add the time of some work to this input's."""
        began = time.monotonic()
        yield
        self.seconds += time.monotonic() - began


def read(one: WorkItem, tools: Tools) -> None:
    """Decode an image, in a thread concurrent with the computation.

    Raises:
        BadInputError: If it cannot be read.
    """
    if one.item.error is not None:
        raise one.item.error
    request = tools.plan.request
    with one.clocked():
        one.photo = read_item(one.item, request.max_megapixels, request.keep_exif)


def find_faces(one: WorkItem, tools: Tools) -> None:
    """Find the latents of a photo's faces; sample or load those of other inputs.

    Raises:
        BadInputError: If there is no such face.
        StopBatch: If the edit cannot be made.
    """
    engine, request, photo = tools.engine, tools.plan.request, one.photo
    with one.clocked():
        for note in () if photo is None else photo.notes:
            tools.tell(f"{one.item.name}: {note}")
        if photo is not None:
            engine.check_photos(request.align)
        # Only now: a file that cannot be read has failed without any model.
        one.edits, one.alphas = tools.edits_of(one.request), tools.edits.alphas(one.request)
        if photo is None:
            one.faces = [latent_of(engine, one.item)]
            return
        strip = not request.auto and len(one.edits) * len(one.alphas) > 1
        which = "largest" if request.face == "all" and strip else request.face
        one.found = one.planned.found or portrait.find_faces(
            engine, photo.image, which, request.align, tools.inversion, numbered_faces(one, tools)
        )
        one.faces = [found.face for found in one.found]
        if which == "largest" and not request.face_named:
            one.warnings += other_faces(one.found[0].portrait)
        one.warnings += on_its_side(one.found[0].portrait)
        for face in one.faces if tools.inversion.inverter != "encoder" else ():
            tools.tell(f"{tools.inversion.inverter}: {quality_line(face)}")


def numbered_faces(one: WorkItem, tools: Tools) -> list[Face] | None:
    """The faces of a photo, of which an image with their numbers is written; None if none was asked for."""
    box = tools.plan.boxes.get(one.item.name)
    if box is None or one.photo is None:
        return None
    faces = portrait.faces_of(tools.engine, one.photo.image)
    save_image(box, portrait.numbered(one.photo.image, faces))
    one.beside.append(box)
    return faces


def edit_faces(some: Sequence[WorkItem], tools: Tools) -> None:
    """Edit the faces of some inputs and make their images, in one batch where no face has its own generator.

    Raises:
        BadInputError: If an image cannot be made.
    """
    began = time.monotonic()
    groups: dict[object, list[WorkItem]] = {}
    for one in some:
        groups.setdefault((*map(id, one.edits), *one.alphas), []).append(one)
    with stage("edit"), tools.watcher or nullcontext():
        for group in groups.values():
            if tools.plan.request.same:
                _choose_same(group, tools)
            elif tools.plan.request.auto:
                _choose(group, tools)
            else:
                _edit(group, tools.stop)
    done = [one for one in some if one.edited]
    compose.render(done, tools)
    for one in done:  # they were worked on together: each gets its share
        one.seconds += (time.monotonic() - began) / len(done)


def _edit(group: Sequence[WorkItem], stopped: Callable[[], bool]) -> None:
    """Edit faces with the same edits and strengths; faces not yet started when it is stopped are left out."""
    faces = [face for one in group for face in one.faces]
    rows = [edited_each(edit, faces, group[0].alphas, stopped) for edit in group[0].edits]
    results = zip(*rows, strict=True)
    for one in group:
        each = list(islice(results, len(one.faces)))
        if not any(None in row for row in each):
            one.edited = [[face for strengths in row for face in strengths or ()] for row in each]


def _choose(group: Sequence[WorkItem], tools: Tools) -> None:
    """Edit each face with the edit and the strength that are chosen for it."""
    left = iter(_chosen([face for one in group for face in one.faces], group[0], tools))
    for one in group:
        one.choices = list(islice(left, len(one.faces)))
        one.edited = [[choice.edited] for choice in one.choices]


def _choose_same(group: Sequence[WorkItem], tools: Tools) -> None:
    """Edit faces with the edit and the strength that were chosen on the first inputs of the plan."""
    first = group[0]
    key = first.request.steps
    if key not in tools.chosen:
        faces = [
            face
            for one in tools.plan.first
            if one.request.steps == key
            for face in _faces_of(one, group, tools)
        ]
        choice = _chosen(faces or first.faces, first, tools, same=True)[0]
        tools.chosen[key] = choice.edit, choice.alpha
        tools.tell(f"the same for all: alpha {choice.alpha:g}  {choice.edit.summary()}")
    edit, alpha = tools.chosen[key]
    for one in group:
        one.edits, one.alphas = [edit], [alpha]
    _edit(group, tools.stop)


def _chosen(faces: Sequence[FaceLatent], one: WorkItem, tools: Tools, same: bool = False) -> list[Choice]:
    keep, engine = tools.plan.request.keep_identity, tools.engine
    assert keep is not None
    with engine.progress("choosing strengths") as advance:
        usual = float(one.alphas[0])
        return choose(engine.renderer, engine.judge, faces, one.edits, usual, keep, advance, same)


def _faces_of(planned: Planned, group: Sequence[WorkItem], tools: Tools) -> Sequence[FaceLatent]:
    """The latents of an input's faces: those at hand, else found now; none if it cannot be used."""
    for one in group:
        if one.planned == planned:
            return one.faces
    request, engine = tools.plan.request, tools.engine
    try:
        photo = read_item(planned.item, request.max_megapixels)
        if photo is None:
            return [latent_of(engine, planned.item)]
        found = portrait.find_faces(engine, photo.image, request.face, request.align, tools.inversion)
    except BadInputError:  # it is told of when its turn comes
        return []
    return [each.face for each in found]


def write(one: WorkItem, tools: Tools) -> None:
    """Write a result and its additional files, in a thread concurrent with the computation.

    Raises:
        OutputError: If something cannot be written.
    """
    result, path, request, gallery = one.result, one.path, tools.plan.request, tools.plan.gallery
    if result is None or result.image is None:
        return
    with one.clocked():
        if path is not None:
            result.save(path, format=request.format, quality=request.quality, compression=request.compression)
            if request.save_latent:
                result.latent_path = path.with_suffix(".npz")
                names = [source_name(one.item.name)] * len(result.latents)
                tools.engine.save_inversions(result.latent_path, result.latents, names)
            if tools.watcher is not None:
                one.beside += tools.watcher.write(path, one.frames)
            caption, photo = source_name(one.item.name), one.photo is not None
            one.pair = gallery.draw(caption, one.before, result.image, path, one.frames, photo)
            tools.written.append(path)
    result.beside, result.seconds = one.beside, one.seconds
