"""What one page of the studio holds: pictures with their faces, the edits on them, and what comes of it.

Nothing here knows of the web. What was found once is kept, so that a move of a slider costs no more than
adding a direction to styles, rendering them, and putting the face back into its photo.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from styleclip_cli import recipe as recipes
from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.directions import Direction
from styleclip_cli.edits.edit import Edit
from styleclip_cli.engine import Engine
from styleclip_cli.errors import BadInputError, StyleClipError, UsageError, one_line, shortened
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.job.edits import GivenEdit
from styleclip_cli.job.inputs import Item
from styleclip_cli.job.plan import Plan, Planned
from styleclip_cli.job.request import EditRequest
from styleclip_cli.job.result import EditResult
from styleclip_cli.job.run import run
from styleclip_cli.photo.portrait import InvertedFace, find_faces, put_back
from styleclip_cli.photo.read import Photo, read_photo
from styleclip_cli.save import picture_of, to_image
from styleclip_cli.settings import Inverter
from styleclip_cli.studio.look import History, Look, Method, Wish, command_line, recipe_text
from styleclip_cli.weights import mappers

MAX_PICTURES = 12
MAX_PIXELS = 200_000_000
"""Of all pictures of a page together."""
_PREVIEW = 1024  # longest side of what a page shows, in pixels
_LONGEST = 500  # letters of a text
_INVERTER: Inverter = "encoder"  # quick enough to be waited for


class Edits:
    """The edits that wishes are, each found once. All pages share them.

    Args:
        engine: Whose they are.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.mappers = [one.name for one in mappers.listed(engine.pack) if one.path is not None]
        self._direction = lru_cache(1024)(engine.direction)
        self._mapper = lru_cache(16)(engine.mapper)

    def of(self, wish: Wish) -> Edit:
        """Find one.

        Raises:
            StyleClipError: If it makes no sense.
        """
        if not math.isfinite(wish.alpha):
            raise UsageError("alpha must be a number")
        if wish.method == "mapper":
            if wish.mapper not in self.mappers:  # a page may not name any file of this machine
                raise BadInputError(f"no mapper {shortened(wish.mapper, 60)!r}", "one of the list")
            return self._mapper(wish.mapper)
        if max(len(wish.prompt), len(wish.neutral)) > _LONGEST:
            raise BadInputError("the text is too long", "a few words")
        return self._direction(wish.prompt, wish.neutral, beta=wish.beta)


@dataclass(frozen=True, eq=False)
class Resolved:
    """A look whose edits were found.

    Attributes:
        steps: What is shown: a wish that makes no sense is left out.
        edits: Their edits.
        wish: The edit of the wish on top; None if there is none, or it makes no sense.
        problem: What is wrong with it; empty for nothing.
    """

    steps: tuple[Wish, ...]
    edits: tuple[Edit, ...]
    wish: Edit | None = None
    problem: str = ""

    @property
    def chain(self) -> Chain:
        """All of them as one edit."""
        return Chain(tuple((edit, step.alpha) for edit, step in zip(self.edits, self.steps, strict=True)))

    @property
    def strongest(self) -> float:
        """The largest beta that leaves a channel of the wish's direction; 0 for other methods."""
        return float(self.wish.relevance.abs().max()) if isinstance(self.wish, Direction) else 0.0


class Subject:
    """A picture with one face in it, and what is known of it.

    Args:
        engine: Networks.
        name: What the command line calls it.
        face: Its face.
        photo: The photo it is in; None for a generated one.
        found: Where it is in the photo.
        seed: Of a generated one.

    Attributes:
        before: What a page shows of it unedited.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        face: FaceLatent,
        photo: Photo | None = None,
        found: InvertedFace | None = None,
        seed: int | None = None,
    ) -> None:
        self.name, self.face, self.photo, self.found, self.seed = name, face, photo, found, seed
        self._engine = engine
        self._plain = engine.render([face])  # the face as the generator draws it, without an edit
        self._start: tuple[Chain, FaceLatent] | None = None
        self._styles: tuple[Tensor, Tensor] | None = None
        self.before = to_image(self._plain)
        if photo is not None and found is not None:
            self.before = photo.image.copy()
            self.before.thumbnail((_PREVIEW, _PREVIEW), Image.Resampling.LANCZOS, reducing_gap=3.0)
            scale = self.before.width / photo.image.width
            quad = (found.portrait.quad + 0.5) * scale - 0.5  # pixels are counted from their centres
            self._small = replace(found, portrait=replace(found.portrait, quad=quad))

    @property
    def argument(self) -> str:
        """What the command line takes it by: no file may be taken for an option, a list or a seed."""
        special = self.photo is not None and self.name.startswith(("-", "@", "seed:"))
        return f"./{self.name}" if special else self.name

    @property
    def stem(self) -> str:
        """Start of the names of files."""
        return Path(self.name).stem if self.photo is not None else self.name.replace(":", "")

    @property
    def pixels(self) -> int:
        """Of the whole picture."""
        image = self.before if self.photo is None else self.photo.image
        return image.width * image.height

    def after(self, resolved: Resolved) -> Image.Image:
        """What a page shows of it edited: from what is kept, and no larger than a page is."""
        if not resolved.steps:
            return self.before
        edited = self._edited(resolved)
        shift = edited.style_offset
        styles = self._styles_of(edited.w_plus)
        picture = self._engine.synthesize(
            styles if shift is None else styles + shift.to(styles), edited.weight_deltas
        )
        if self.found is None:
            return to_image(picture)
        pictures = picture if self.found.portrait.aligned else torch.cat([picture, self._plain])
        return picture_of(
            put_back(self._engine, self.before, [self._small], [edited], pictures=pictures).image
        )

    def finished(self, resolved: Resolved) -> EditResult:
        """The edited picture in full, as `styleclip edit` makes it.

        Raises:
            StyleClipError: If it cannot be made.
        """
        steps, alone = resolved.steps, len(resolved.steps) == 1
        request = EditRequest(
            steps=tuple(map(_step, resolved.edits, steps)),
            method=steps[0].method if alone else "global",
            alphas=(steps[0].alpha,) if alone else (1.0,),
            inverter=_INVERTER,
            metadata=bool(steps),
        )
        edit: Edit = resolved.edits[0] if alone else resolved.chain
        item = Item(self.name, self.stem, seed=self.seed, picture=self.photo)
        found = () if self.found is None else (self.found,)
        plan = Plan(request, [Planned(item, None, request, found)])
        (result,) = run(plan, self._engine, edits=GivenEdit(edit, request.alphas[0]))
        if result.error is not None:
            raise result.error
        result.mark = "generated" if self.photo is None else "edited"
        return result

    def _edited(self, resolved: Resolved) -> FaceLatent:
        """All edits but the last are the same from move to move: their result is kept."""
        steps = resolved.chain.steps
        kept = Chain(steps[:-1])
        if self._start is None or self._start[0].steps != kept.steps:
            self._start = kept, kept.edited(self.face, [1.0])[0]
        edit, alpha = steps[-1]
        return edit.edited(self._start[1], [alpha])[0]

    def _styles_of(self, w_plus: Tensor) -> Tensor:
        """Directions leave W+ alone: its styles are kept."""
        if self._styles is None or self._styles[0] is not w_plus:
            self._styles = w_plus, self._engine.styles(w_plus)
        return self._styles[1]


class Session:
    """One page's work.

    Args:
        engine: Networks; whoever shares them with others sees to it that they are asked one after the other.
        models: What the command line calls its pack; None for the pack's name.
        edits: Edits that were found already; None begins anew.
        max_pixels: Larger pictures are refused.
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
        self.history = History(Look(wish=self._wish()))

    @property
    def look(self) -> Look:
        """What is wanted now."""
        return self.history.look

    def add(self, path: Path, name: str) -> Subject:
        """Read a photo, and find its largest face.

        Args:
            path: The file; it is not needed afterwards.
            name: What the person calls it.

        Raises:
            StyleClipError: If it cannot be used.
        """
        self._check_room()
        try:
            photo = read_photo(path, min(self.max_pixels, MAX_PIXELS))
            if sum(one.pixels for one in self.subjects) + photo.image.width * photo.image.height > MAX_PIXELS:
                raise BadInputError("the pictures are too large together", "remove one of them")
            self.engine.check_photos()
            settings = self.engine.settings_for_inversion(_INVERTER)
            (found,) = find_faces(self.engine, photo.image, settings=settings)
        except StyleClipError as error:  # the file's own name is one that nobody has seen
            message = error.message.removeprefix(f"{path}: ")
            raise type(error)(f"{name}: {message}", error.hint) from None
        return self._added(Subject(self.engine, name, found.face, photo, found))

    def generate(self, seed: int) -> Subject:
        """Add a face that the generator draws by itself.

        Raises:
            BadInputError: If there are too many pictures.
        """
        self._check_room()
        face = FaceLatent(self.engine.sample([seed]))
        return self._added(Subject(self.engine, f"seed:{seed}", face, seed=seed))

    def drop(self, subject: Subject) -> None:
        """Forget a picture."""
        if subject in self.subjects:
            self.subjects.remove(subject)

    def change(self, **changes: Any) -> bool:
        """Change the wish; returns whether anything is different now.

        Args:
            **changes: New values by name (see `Wish`).
        """
        if "method" in changes and "alpha" not in changes and changes["method"] != self.look.wish.method:
            changes["alpha"] = self.usual_alpha(changes["method"])
        return self.history.change(changes)

    def accept(self, resolved: Resolved | None = None) -> bool:
        """Keep the wish and begin another one; returns whether there was one that makes sense.

        Args:
            resolved: The look's edits, if they were found already; as in the methods below.
        """
        wish = self.look.wish
        full = len(self.look.kept) >= recipes.MAX_EDITS - 1  # one more is tried on top of them
        if full or (resolved or self.resolve()).wish is None:
            return False
        return self.history.keep(self._wish(wish.method, wish.neutral))

    def undo(self) -> bool:
        """Take the last change back; returns whether there was one."""
        return self.history.go(self.history.place - 1)

    def redo(self) -> bool:
        """Take the last `undo` back; returns whether there was one."""
        return self.history.go(self.history.place + 1)

    def usual_alpha(self, method: Method) -> float:
        """Strength to begin with."""
        return 1.0 if method == "mapper" else float(self.engine.default_alpha)

    def resolve(self, look: Look | None = None) -> Resolved:
        """Find a look's edits.

        Args:
            look: Which; None for the one that is wanted now.
        """
        look = look or self.look
        kept = tuple(self.edits.of(step) for step in look.kept)
        if not look.wish.title:
            return Resolved(look.kept, kept)
        try:
            edit = self.edits.of(look.wish)
        except StyleClipError as error:
            problem = one_line(error.message)
            return Resolved(look.kept, kept, problem=problem)
        return Resolved(look.steps, (*kept, edit), edit)

    def pictures(self) -> list[tuple[str, Image.Image, Image.Image]]:
        """Every picture's name, and what a page shows of it before and after."""
        resolved = self.resolve()
        return [(one.name, one.before, one.after(resolved)) for one in self.subjects]

    def command_line(self, resolved: Resolved | None = None) -> str:
        """The command that makes the same pictures."""
        inputs = [one.argument for one in self.subjects] or ["PHOTO"]
        return command_line(inputs, self.models, (resolved or self.resolve()).steps, self._more())

    def recipe(self, resolved: Resolved | None = None) -> str:
        """A recipe in TOML that makes the same of other pictures."""
        return recipe_text(self.models, (resolved or self.resolve()).steps, self._more())

    def save(self, subject: Subject) -> tuple[str, bytes]:
        """Make the finished picture.

        Returns:
            A name for the file, and the PNG with what made it written inside, as `styleclip edit` does.

        Raises:
            StyleClipError: If it cannot be made.
        """
        resolved = self.resolve()
        result = subject.finished(resolved)
        with TemporaryDirectory(prefix="styleclip-") as folder:  # for the owner's eyes only
            path = Path(folder) / "picture.png"
            result.save(path)
            content = path.read_bytes()
        words = mappers.slug(" ".join(step.title for step in resolved.steps))
        return f"{subject.stem}_{words}.png", content

    def _more(self) -> dict[str, str]:
        """What `styleclip edit` would do otherwise."""
        return {} if self.engine.default_inversion.inverter == _INVERTER else {"inverter": _INVERTER}

    def _wish(self, method: Method = "global", neutral: str | None = None) -> Wish:
        start = Wish(method=method, alpha=self.usual_alpha(method))
        return start if neutral is None else replace(start, neutral=neutral)

    def _check_room(self) -> None:
        if len(self.subjects) >= MAX_PICTURES:
            raise BadInputError(f"at most {MAX_PICTURES} pictures at a time", "remove one of them")

    def _added(self, subject: Subject) -> Subject:
        self.subjects.append(subject)
        return subject


def encoded(image: Image.Image) -> bytes:
    """A picture as a page gets it: quickly made, and small."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=92, subsampling="4:4:4")
    return data.getvalue()


def _step(edit: Edit, step: Wish) -> recipes.Step:
    """What a recipe says of one of several edits."""
    if not isinstance(edit, Direction):
        return recipes.Step(mapper=step.mapper, alpha=step.alpha)
    return recipes.Step(
        prompt=edit.target, neutral=edit.neutral, alpha=step.alpha, beta=edit.beta, literal=True
    )
