"""A picture on the page, its faces, and what was found for them.

What was found once is kept, so that a move of a slider costs no more than adding a direction to styles,
rendering them, and putting the face back into its photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.directions import Direction
from styleclip_cli.edits.edit import Edit
from styleclip_cli.edits.optimize import Optimization
from styleclip_cli.errors import UsageError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.job.doubts import on_its_side, other_faces, unlike
from styleclip_cli.job.edits import EditMaker, GivenEdit
from styleclip_cli.job.inputs import Item
from styleclip_cli.job.plan import Plan, Planned
from styleclip_cli.job.result import EditResult
from styleclip_cli.job.run import run
from styleclip_cli.photo.align import OF_FACES, Face, left_to_right
from styleclip_cli.photo.portrait import InvertedFace, faces_of, find_faces, put_back
from styleclip_cli.photo.read import Photo
from styleclip_cli.save import picture_of, to_image
from styleclip_cli.settings import Inverter
from styleclip_cli.studio.look import Look

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine

INVERTER: Inverter = "encoder"
"""Quick enough to be waited for."""
_PREVIEW = 1024  # longest side of what a page shows, in pixels
_MOST_OPTIMIZED = 20  # results that are kept for each picture
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Resolved:
    """A look whose edits were found.

    Attributes:
        look: What is shown: an edit on top that makes no sense is left out.
        edits: Its edit; several to choose from with `Look.auto`, none if nothing is wanted yet.
        problem: What is wrong with the edit on top; empty for nothing.
    """

    look: Look
    edits: Sequence[Edit] = ()
    problem: str = ""

    @property
    def top(self) -> Edit | None:
        """The edit that is being tried; None if there is none, or it makes no sense."""
        if self.problem or len(self.look.steps) == len(self.look.kept) or not self.edits:
            return None
        edit = self.edits[-1]
        return edit.steps[-1][0] if isinstance(edit, Chain) else edit

    @property
    def strongest(self) -> float:
        """The largest beta that leaves a channel of the top edit's direction; 0 for other methods."""
        return float(self.top.relevance.abs().max()) if isinstance(self.top, Direction) else 0.0


@dataclass(frozen=True, eq=False)
class Optimized:
    """What an optimization found for some faces, which any strength scales.

    Attributes:
        optimization: How it was found.
        faces: For which faces, joined.
        offset: What is added to W+, or to the styles; one row for each face.
        cut_short: After how many steps it was stopped; None if it was not.
    """

    optimization: Optimization
    faces: FaceLatent
    offset: Tensor
    cut_short: int | None = None

    @property
    def target(self) -> str:
        """The text."""
        return self.optimization.target

    @property
    def neutral(self) -> str:
        """What the faces were."""
        return self.optimization.neutral

    def edited(self, face: FaceLatent, alphas: Sequence[float]) -> list[FaceLatent]:
        """Edit some of the faces that it was made for.

        Args:
            face: One of them, or several joined.
            alphas: Factors of the offset.

        Returns:
            The face at each strength.

        Raises:
            UsageError: If it was not made for one of them.
        """
        known = self.faces.w_plus
        rows = [next((i for i, w in enumerate(known) if torch.equal(w, one)), None) for one in face.w_plus]
        if None in rows:
            raise UsageError("the optimization was made for another face", "optimize again")
        offset = self.offset[[row for row in rows if row is not None]]
        return [face.moved(**{self.optimization.moves: alpha * offset}) for alpha in alphas]

    def entries(self) -> dict[str, Any]:
        """Its entries in a recipe, with the steps that were made."""
        return self.optimization.entries() | ({"iterations": self.cut_short} if self.cut_short else {})

    def summary(self) -> str:
        """Space and steps."""
        return self.optimization.summary()


class _Shown:
    """A face, and what need not be found again from one move to the next."""

    def __init__(self, engine: Engine, face: FaceLatent) -> None:
        self.face = face
        self.plain = engine.render([face])  # as the generator draws it, without an edit
        self._engine = engine
        self._start: tuple[Chain, FaceLatent] | None = None
        self._styles: tuple[Tensor, Tensor] | None = None

    def edited(self, steps: tuple[tuple[Edit, float], ...]) -> FaceLatent:
        """All edits but the last are the same from move to move: their result is kept."""
        kept = Chain(steps[:-1])
        if self._start is None or self._start[0].steps != kept.steps:
            self._start = kept, kept.edited(self.face, [1.0])[0]
        edit, alpha = steps[-1]
        return edit.edited(self._start[1], [alpha])[0]

    def drawn(self, edited: FaceLatent) -> Tensor:
        """Render it after an edit; directions leave W+ alone, so its styles are kept."""
        if self._styles is None or self._styles[0] is not edited.w_plus:
            self._styles = edited.w_plus, self._engine.styles(edited.w_plus)
        styles, shift = self._styles[1], edited.style_offset
        styles = styles if shift is None else styles + shift.to(styles)
        return self._engine.synthesize(styles, edited.weight_deltas, edited.residual)


class Subject:
    """A picture with a face or several in it.

    Args:
        engine: Networks.
        name: What the command line calls it.
        photo: The photo; None for a generated face.
        align: Whether faces are looked for in the photo.
        seed: Of a generated face.

    Attributes:
        before: What a page shows of it unedited.
        faces: The faces of the photo, from left to right; none where none was looked for.
        which: Which of them is edited: "largest", "all" or a number from the left.
        warnings: What may be wrong with the photo.
        optimized: Results of optimizations, by what was asked for.
        mask: Where it may change, of the size of `before`, mode L; None for anywhere.

    Raises:
        BadInputError: If no face is found where one was looked for.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        photo: Photo | None = None,
        align: bool = True,
        seed: int | None = None,
    ) -> None:
        self.name, self.photo, self.align, self.seed = name, photo, align, seed
        self._engine = engine
        self.which = "largest"
        self.faces: list[Face] = []
        self.warnings: list[str] = []
        self.optimized: dict[object, Optimized] = {}
        self.mask: Image.Image | None = None
        self._found: list[InvertedFace] = []
        self._checked: tuple[object, EditResult] | None = None
        if photo is None:
            assert seed is not None
            self._shown = [_Shown(engine, FaceLatent(engine.sample([seed])))]
            self.before = to_image(self._shown[0].plain)
            return
        if align and engine.pack.alignment in OF_FACES:
            self.faces = left_to_right(faces_of(engine, photo.image))
        self.before = photo.image.copy()
        self.before.thumbnail((_PREVIEW, _PREVIEW), Image.Resampling.LANCZOS, reducing_gap=3.0)
        self.choose(self.which)

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

    @property
    def numbers(self) -> list[int]:
        """Which of the faces are edited, counted from the left; none where there is no choice."""
        return [one.portrait.number for one in self._found if one.portrait.count > 1]

    @property
    def boxes(self) -> list[Box]:
        """Where each face is: left, top, width and height, in parts of the photo."""
        assert self.photo is not None
        width, height = self.photo.image.size
        boxes = map(_box, self.faces)
        return [(x / width, y / height, (r - x) / width, (b - y) / height) for x, y, r, b in boxes]

    def choose(self, which: str) -> None:
        """Choose the face to edit.

        Args:
            which: "largest", "all" or a number from the left.

        Raises:
            BadInputError: If there is no such face.
        """
        assert self.photo is not None
        settings = self._engine.settings_for_inversion(INVERTER)
        found = find_faces(
            self._engine, self.photo.image, which, self.align, settings, self.faces if self.align else None
        )
        self._found, self.which = found, which
        scale = self.before.width / self.photo.image.width
        self._small = [  # pixels are counted from their centres
            replace(one, portrait=replace(one.portrait, quad=(one.portrait.quad + 0.5) * scale - 0.5))
            for one in found
        ]
        self._shown = [_Shown(self._engine, one.face) for one in found]
        first, drawn = found[0].portrait, self._shown[0].plain
        self.warnings = on_its_side(first) if first.count else []
        self.warnings += unlike(first.image[0], drawn[0], self._engine.pack)
        self._checked = None

    def steps(self, resolved: Resolved) -> tuple[tuple[Edit, float], ...]:
        """What is shown of it: edits with their strengths."""
        look = resolved.look
        if look.method == "optimize":
            found = self.optimized.get(self.key(look))
            return () if found is None else ((found, _alpha(look)),)
        if not resolved.edits:
            return ()
        edit = resolved.edits[0]
        return edit.steps if isinstance(edit, Chain) else ((edit, _alpha(look)),)

    def key(self, look: Look) -> object:
        """What an optimization depends on."""
        return look.step.prompt, look.step.neutral, look.optimize, self.which

    def after(self, resolved: Resolved, maker: EditMaker) -> Image.Image:
        """What a page shows of it edited: from what is kept, and no larger than a page is.

        Args:
            resolved: The edits.
            maker: Whose they are.
        """
        steps = self.steps(resolved)
        if not steps:
            return self.before
        if resolved.look.auto or resolved.look.only or self.mask is not None:
            return picture_of(self.checked(resolved, maker).image or self.before)
        edited = [one.edited(steps) for one in self._shown]
        return self.drawn(torch.cat([one.drawn(face) for one, face in zip(self._shown, edited, strict=True)]))

    def drawn(self, images: Tensor) -> Image.Image:
        """What a page shows of it with images in the place of its chosen faces.

        Args:
            images: One for each face, [N, 3, R, R] in nominally [-1, 1].
        """
        if self.photo is None:
            return to_image(images[0])
        pairs: list[Tensor] = []
        for found, one, image in zip(self._small, self._shown, images.detach().cpu().split(1), strict=True):
            pairs += [image] if found.portrait.aligned else [image, one.plain]
        faces = [one.face for one in self._shown]
        return picture_of(
            put_back(self._engine, self.before, self._small, faces, pictures=torch.cat(pairs)).image
        )

    def checked(self, resolved: Resolved, maker: EditMaker) -> EditResult:
        """What the job makes of what the page shows: with what it chose, and what it warns of.

        Raises:
            StyleClipError: If it cannot be made.
        """
        key = resolved.look, self.which, self.optimized.get(self.key(resolved.look)), self.mask
        if self._checked is None or self._checked[0] != key:
            small = None if self.photo is None else replace(self.photo, image=self.before, alpha=None)
            self._checked = key, self._run(resolved, maker, small, self._small if small is not None else ())
        return self._checked[1]

    def doubts(self, result: EditResult) -> list[str]:
        """What may be wrong with the photo or a result; which of several faces is edited can be seen."""
        seen = other_faces(self._found[0].portrait) if self._found else []
        return [*self.warnings, *(one for one in result.warnings if one not in seen)]

    def finished(self, resolved: Resolved, maker: EditMaker) -> EditResult:
        """The edited picture in full, as `styleclip edit` makes it.

        Raises:
            StyleClipError: If it cannot be made.
        """
        return self._run(resolved, maker, self.photo, self._found)

    def _run(
        self, resolved: Resolved, maker: EditMaker, photo: Photo | None, found: Sequence[InvertedFace]
    ) -> EditResult:
        look, steps = resolved.look, self.steps(resolved)
        request = (look if steps else Look()).request(INVERTER, self.which, self.align)
        if steps and self.mask is not None:
            request = replace(request, region=replace(request.region, mask=self.whole_mask(photo)))
        item = Item(self.name, self.stem, seed=self.seed, picture=photo)
        if not steps:
            maker = GivenEdit(Chain(()), 1.0)
        elif look.method == "optimize":
            maker = GivenEdit(*steps[0])
        (result,) = run(Plan(request, [Planned(item, None, request, found)]), self._engine, edits=maker)
        if result.error is not None:
            raise result.error
        result.mark = "generated" if self.photo is None else "edited"
        return result

    def whole_mask(self, photo: Photo | None = None) -> Image.Image:
        """What was painted, in the size of a photo; None for that of the whole picture."""
        assert self.mask is not None
        photo = photo or self.photo
        size = self.before.size if photo is None else photo.image.size
        return self.mask if self.mask.size == size else self.mask.resize(size, Image.Resampling.BILINEAR)

    def optimize(self, optimization: Optimization, look: Look, steps_made: Sequence[int]) -> None:
        """Run an optimization for the chosen faces, and keep what it finds.

        Args:
            optimization: The edit; its callbacks may stop it.
            look: Which asked for it.
            steps_made: Told by its callbacks: the last entry is how many steps were made.
        """
        key, faces = self.key(look), FaceLatent.joined([one.face for one in self._shown])
        offset = optimization.offset(faces)
        made = steps_made[-1] if steps_made else 0
        cut = made if optimization.watch.stop() and made < optimization.settings.steps else None
        self.optimized[key] = Optimized(optimization, faces, offset, cut)
        if len(self.optimized) > _MOST_OPTIMIZED:
            del self.optimized[next(iter(self.optimized))]


def _alpha(look: Look) -> float:
    """The strength of the last edit."""
    alpha = look.steps[-1].alpha
    return 1.0 if alpha is None else alpha


def _box(face: Face) -> Box:
    """A face with its forehead and chin, which the landmarks leave out: left, top, right and bottom."""
    left, top, right, bottom = face.box
    wide, high = right - left, bottom - top
    return left - 0.1 * wide, top - 0.35 * high, right + 0.1 * wide, bottom + 0.05 * high
