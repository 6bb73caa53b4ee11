"""What one page of the studio holds: pictures, the edits on them, and what comes of it.

Nothing here knows of the web.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from styleclip_cli import recipe as recipes
from styleclip_cli.edits.channels import PUBLISHED
from styleclip_cli.edits.directions import Direction
from styleclip_cli.edits.edit import Edit
from styleclip_cli.edits.optimize import Watch
from styleclip_cli.engine import Engine
from styleclip_cli.errors import BadInputError, StyleClipError, one_line, shortened
from styleclip_cli.job.edits import RequestedEdits
from styleclip_cli.job.plan import Plan
from styleclip_cli.job.request import EditRequest, Method
from styleclip_cli.machine.progress import Advance, nothing, unheard
from styleclip_cli.photo.align import NoFaceError
from styleclip_cli.photo.read import Photo, read_photo
from styleclip_cli.recipe import Step
from styleclip_cli.save import picture_of
from styleclip_cli.settings import DEFAULT_NEUTRAL, Inverter
from styleclip_cli.studio.look import (
    History,
    Look,
    Way,
    beginning,
    command_line,
    recipe_of_result,
    recipe_text,
    title_of,
)
from styleclip_cli.studio.subject import INVERTER, Resolved, Subject
from styleclip_cli.weights import mappers

MAX_PICTURES = 12
MAX_PIXELS = 200_000_000
"""Of all pictures of a page together."""
REACH = 10.0
"""Of a strength, to both sides."""
REACH_OF_OTHERS = 3.0
"""Of a mapper's, or of an optimization's."""
DIRECTIONS = (".npz", *PUBLISHED)
"""How files of directions end."""
_MOST_DIRECTIONS = 100
_LONGEST = 500  # letters of a text
_FRAMES = 15  # of an optimization that are shown
_BREATH = 0.005  # seconds between its steps in which others may render


class Edits(RequestedEdits):
    """The edits of looks, each made once. All pages share them.

    Args:
        engine: Whose they are.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(Plan(EditRequest(), ()), engine, engine.settings_for_inversion(INVERTER), unheard)
        self.mappers = [one.name for one in mappers.listed(engine.pack) if one.path is not None]
        self.directions: dict[str, Direction] = {}

    def add(self, path: Path, name: str) -> None:
        """Read a direction, which pages may ask for by its name from now on; it replaces one of that name.

        Raises:
            StyleClipError: If it cannot be used, or there are too many.
        """
        if len(self.directions) >= _MOST_DIRECTIONS and name not in self.directions:
            raise BadInputError("too many directions", "start the studio again")
        self.directions[name] = self._engine.load_direction(path)

    def _of_step(self, method: Method, step: Step) -> Edit:
        """Directions may be replaced by others of the same name, so what they were is not kept."""
        return super()._of_step(method, step) if step.direction is None else self.directions[step.direction]

    def reach(self, step: Step) -> float:
        """How far the strength of an edit goes, both ways."""
        usual = self.directions[step.direction].alpha if step.direction in self.directions else None
        return REACH_OF_OTHERS if step.mapper is not None else max(REACH, 2 * abs(usual or 0))

    def check(self, step: Step) -> None:
        """Refuse what a page may not ask for.

        Raises:
            BadInputError: If it is a text that is too long, or any file of this machine.
        """
        if step.mapper is not None and step.mapper not in self.mappers:
            raise BadInputError(f"no mapper {shortened(step.mapper, 60)!r}", "one of the list")
        if step.direction is not None and step.direction not in self.directions:
            raise BadInputError(f"no direction {shortened(step.direction, 60)!r}", "one of the list")
        if max(len(step.prompt or ""), len(step.neutral or "")) > _LONGEST:
            raise BadInputError("the text is too long", "a few words")


class Session:
    """One page's work.

    Args:
        engine: Networks; whoever shares them with others sees to it that they are asked one after the other.
        models: What the command line calls its pack; None for the pack's name.
        edits: Edits that were found already; None begins anew.
        max_pixels: Larger pictures are refused.

    Attributes:
        faceless: Photos in which no face was found, by name: they may still be taken as they are.
    """

    def __init__(
        self,
        engine: Engine,
        models: str | None = None,
        edits: Edits | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.engine = engine
        self.models = models or engine.pack.name
        self.edits = edits or Edits(engine)
        self.max_pixels = max_pixels
        self.subjects: list[Subject] = []
        self.faceless: dict[str, Photo] = {}
        self.history = History(Look(step=self._beginning("global")))

    @property
    def look(self) -> Look:
        """What is wanted now."""
        return self.history.look

    def add(self, path: Path, name: str) -> Subject:
        """Read a photo, and find its faces.

        Args:
            path: The file; it is not needed afterwards.
            name: What the person calls it.

        Raises:
            NoFaceError: If no face is found; the photo is kept for `take_as_it_is`.
            StyleClipError: If it cannot be used.
        """
        self._check_room()
        photo: Photo | None = None
        try:
            photo = read_photo(path, min(self.max_pixels, MAX_PIXELS))
            held = [one.pixels for one in self.subjects]
            held += [each.image.width * each.image.height for each in (*self.faceless.values(), photo)]
            if sum(held) > MAX_PIXELS:
                raise BadInputError("the pictures are too large together", "remove one of them")
            self.engine.check_photos()
            return self._added(Subject(self.engine, name, photo))
        except StyleClipError as error:  # the file's own name is one that nobody has seen
            if isinstance(error, NoFaceError) and photo is not None:
                self.faceless[name] = photo
            message = error.message.removeprefix(f"{path}: ")
            raise type(error)(f"{name}: {message}", error.hint) from None

    def add_direction(self, path: Path, name: str) -> None:
        """Read a direction, and begin an edit along it.

        Args:
            path: The file; it is not needed afterwards.
            name: What the person calls it.

        Raises:
            StyleClipError: If it cannot be used.
        """
        with TemporaryDirectory(prefix="styleclip-") as folder:
            named = Path(folder) / name  # what it is is told by the end of its name
            shutil.copy(path, named)
            try:
                self.edits.add(named, name)
            except StyleClipError as error:
                raise type(error)(error.message.replace(str(named), name), error.hint) from None
        self.change(method="direction", direction=name)

    def take_as_it_is(self, name: str) -> Subject:
        """Add a photo in which no face was found: its middle square is taken for the face.

        Raises:
            StyleClipError: If it cannot be used.
        """
        self._check_room()
        return self._added(Subject(self.engine, name, self.faceless.pop(name), align=False))

    def generate(self, seed: int) -> Subject:
        """Add a face that the generator draws by itself.

        Raises:
            BadInputError: If there are too many pictures.
        """
        self._check_room()
        return self._added(Subject(self.engine, f"seed:{seed}", seed=seed))

    def drop(self, subject: Subject) -> None:
        """Forget a picture."""
        if subject in self.subjects:
            self.subjects.remove(subject)

    def change(self, **changes: Any) -> bool:
        """Change the look; returns whether anything is different now.

        Args:
            **changes: New values by name (see `Look.changed`).

        Raises:
            UsageError: If one makes no sense.
        """
        if "method" in changes and "alpha" not in changes and changes["method"] != self.look.way:
            changes["alpha"] = self.usual_alpha(changes["method"])
        known = self.edits.directions.get(changes.get("direction", ""))
        if known is not None and known.alpha is not None:
            changes["alpha"] = known.alpha
        return self.history.change(changes)

    def accept(self, resolved: Resolved | None = None, front: Subject | None = None) -> bool:
        """Keep the edit on top and begin another one; returns whether there was one that can be kept.

        Args:
            resolved: The look's edits, if they were found already; as in the methods below.
            front: The picture whose strength and threshold are kept, if they were chosen for each face.
        """
        resolved, look = resolved or self.resolve(), self.look
        full = len(look.kept) >= recipes.MAX_EDITS - 1  # one more is tried on top of them
        if full or look.method == "optimize" or resolved.top is None:
            return False
        step = look.step
        if look.auto:
            if front is None:
                return False
            face = front.checked(resolved, self.edits).faces[0]
            beta = face.beta if isinstance(face.beta, float) else None
            alpha = face.alpha if isinstance(face.alpha, float) else step.alpha
            step = replace(step, alpha=alpha, beta=beta)
        following = replace(
            look, kept=(*look.kept, step), step=self._beginning(look.way, step.neutral), auto=False
        )
        return self.history.keep(following)

    def undo(self) -> bool:
        """Take the last change back; returns whether there was one."""
        return self.history.go(self.history.place - 1)

    def redo(self) -> bool:
        """Take the last `undo` back; returns whether there was one."""
        return self.history.go(self.history.place + 1)

    def usual_alpha(self, way: Way) -> float:
        """Strength to begin with."""
        return float(self.engine.default_alpha) if way in ("global", "direction") else 1.0

    def resolve(self, look: Look | None = None) -> Resolved:
        """Find a look's edits.

        Args:
            look: Which; None for the one that is wanted now.
        """
        look = look or self.look
        plain = replace(look, step=self._beginning("global"), method="global", auto=False)
        try:
            if look.method == "optimize":
                self.edits.check(look.step)
                # A recipe has no optimization among other edits: they are shown without it.
                return Resolved(plain, self.edits.of(plain.request())) if look.kept else Resolved(look)
            if title_of(look.step):
                self.edits.check(look.step)
                return Resolved(look, self.edits.of(look.request()))
        except StyleClipError as error:
            shown = self.edits.of(plain.request()) if look.kept else ()
            return Resolved(plain, shown, one_line(error.message))
        return Resolved(look, self.edits.of(look.request()) if look.kept else ())

    def optimize(
        self,
        subject: Subject,
        stop: Callable[[], bool] = lambda: False,
        advance: Advance = nothing,
        look: Look | None = None,
        frame: Callable[[Image.Image], None] | None = None,
    ) -> None:
        """Optimize the chosen faces of a picture for the sentence, and keep the result for the look.

        Args:
            subject: The picture.
            stop: Asked after each step whether to stop with the best result so far.
            advance: Told how far it is.
            look: The look that asks for it; None for the one that is wanted now.
            frame: Shown the picture now and then.

        Raises:
            StyleClipError: If the sentence makes no sense.
        """
        look = look or self.look
        self.edits.check(look.step)
        made: list[int] = []

        def told(done: int, total: int, note: str = "") -> None:
            made.append(done)
            advance(done, total, note)
            time.sleep(_BREATH)

        settings = look.optimize.settings(self.engine.optimize_settings, None, None)
        neutral = DEFAULT_NEUTRAL if look.step.neutral is None else look.step.neutral
        watch = Watch(told, stop)
        if frame is not None:
            every = max(1, settings.steps // _FRAMES)
            watch = replace(watch, frame=lambda step, images: frame(subject.drawn(images)), every=every)
        optimization = self.engine.optimization(look.step.prompt or "", neutral, settings, watch=watch)
        subject.optimize(optimization, look, made)

    def pictures(self) -> list[tuple[str, Image.Image, Image.Image]]:
        """Every picture's name, and what a page shows of it before and after."""
        resolved = self.resolve()
        return [(one.name, one.before, one.after(resolved, self.edits)) for one in self.subjects]

    def command_line(self, resolved: Resolved | None = None, front: Subject | None = None) -> str:
        """The command that makes the same pictures.

        Args:
            resolved: As in `accept`.
            front: The picture that it is for where others need other options; None for the first.
        """
        resolved, some = resolved or self.resolve(), self.subjects
        if len({(one.which, one.align) for one in some}) > 1:
            some = [front or some[0]]
        inputs = [one.argument for one in some] or ["PHOTO"]
        which, align = (some[0].which, some[0].align) if some else ("largest", True)
        request = resolved.look.request(self._inverter, which, align)
        return command_line(inputs, self.models, _painted(request, front))

    def recipe(self, resolved: Resolved | None = None, front: Subject | None = None) -> str | None:
        """A recipe in TOML that makes the same of other pictures.

        Args:
            resolved: As in `accept`.
            front: The picture whose strength was chosen, or that was optimized.

        Returns:
            The recipe; None if there is nothing to repeat yet.
        """
        resolved = resolved or self.resolve()
        if not resolved.look.auto and resolved.look.method != "optimize":
            return recipe_text(self.models, _painted(resolved.look.request(self._inverter), front))
        if front is None or not front.steps(resolved):
            return None
        found = front.checked(resolved, self.edits).recipe
        return None if found is None else recipe_of_result(self.models, found)

    def save(self, subject: Subject) -> tuple[str, bytes]:
        """Make the finished picture.

        Returns:
            A name for the file, and the PNG with what made it written inside, as `styleclip edit` does.

        Raises:
            StyleClipError: If it cannot be made.
        """
        resolved = self.resolve()
        result = subject.finished(resolved, self.edits)
        with TemporaryDirectory(prefix="styleclip-") as folder:  # for the owner's eyes only
            path = Path(folder) / "picture.png"
            result.save(path)
            content = path.read_bytes()
        steps = resolved.look.steps if subject.steps(resolved) else ()
        words = mappers.slug(" ".join(map(title_of, steps)))
        return f"{subject.stem}_{words}.png", content

    @property
    def _inverter(self) -> Inverter | None:
        """What `styleclip edit` has to be told, as it would do otherwise."""
        return None if self.engine.default_inversion.inverter == INVERTER else INVERTER

    def _beginning(self, way: Way, neutral: str | None = None) -> Step:
        """An edit that says nothing yet."""
        return beginning(way, self.usual_alpha(way), neutral=neutral)

    def _check_room(self) -> None:
        if len(self.subjects) >= MAX_PICTURES:
            raise BadInputError(f"at most {MAX_PICTURES} pictures at a time", "remove one of them")

    def _added(self, subject: Subject) -> Subject:
        self.subjects.append(subject)
        return subject


def _painted(request: EditRequest, front: Subject | None) -> EditRequest:
    """A request with what was painted on the picture in front."""
    if front is None or front.mask is None or not request.steps:
        return request
    return replace(request, region=replace(request.region, mask=front.mask))


def encoded(image: Image.Image) -> bytes:
    """A picture as a page gets it: quickly made, and small."""
    data = io.BytesIO()
    picture_of(image).save(data, "JPEG", quality=92, subsampling="4:4:4")
    return data.getvalue()
