"""The edits of requests, each made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Protocol

from styleclip_cli.edits.auto import candidates
from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.directions import Direction
from styleclip_cli.edits.edit import Edit
from styleclip_cli.edits.mapper import MapperEdit
from styleclip_cli.edits.optimize import Optimization
from styleclip_cli.edits.transfer import Transfer
from styleclip_cli.errors import BadInputError, shortened
from styleclip_cli.job.faces import latent_of, open_photo
from styleclip_cli.job.inputs import Item, at_home
from styleclip_cli.job.request import EditRequest, Method, TransferOptions
from styleclip_cli.job.values import parse_w_layers
from styleclip_cli.machine.progress import Tell
from styleclip_cli.photo.portrait import find_faces
from styleclip_cli.recipe import SAVED, Step
from styleclip_cli.settings import DEFAULT_NEUTRAL, InversionSettings

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine
    from styleclip_cli.inversion import FaceLatent
    from styleclip_cli.job.plan import Plan
    from styleclip_cli.job.watching import Watcher

_MOST = 1024
"""Edits that are kept; the page makes one for every place of its sliders."""


class EditMaker(Protocol):
    """Makes the edits of requests."""

    def of(self, request: EditRequest) -> Sequence[Edit]:
        """The edits of a request, one for each threshold."""

    def alphas(self, request: EditRequest) -> Sequence[float]:
        """The strengths of a request."""

    def describe(self, edit: Edit) -> str:
        """A short description of an edit, for a message; empty for none."""


class GivenEdit:
    """One existing edit for all inputs.

    Args:
        edit: The edit.
        alpha: Its strength.
    """

    def __init__(self, edit: Edit, alpha: float) -> None:
        self._edit, self._alpha = edit, alpha

    def of(self, request: EditRequest) -> Sequence[Edit]:
        """The edit."""
        return [self._edit]

    def alphas(self, request: EditRequest) -> Sequence[float]:
        """Its strength."""
        return [self._alpha]

    def describe(self, edit: Edit) -> str:
        """Nothing: the caller knows the edit."""
        return ""


class RequestedEdits:
    """The edits that a plan's requests ask for.

    Args:
        plan: The plan.
        engine: Networks and measurements.
        inversion: How the source face of a transfer is inverted.
        tell: Takes messages.
        watcher: Observes the optimization of latents; None for other methods.

    Raises:
        UsageError: If the generator has no such layers.
    """

    def __init__(
        self,
        plan: Plan,
        engine: Engine,
        inversion: InversionSettings,
        tell: Tell,
        watcher: Watcher | None = None,
    ) -> None:
        self._plan, self._engine, self._inversion, self._tell = plan, engine, inversion, tell
        self._made: dict[object, Edit] = {}
        request = plan.request
        if watcher is not None:
            layers = parse_w_layers(request.layers, engine.generator.style_space.num_ws)
            self._optimize = request.optimize.settings(engine.optimize_settings, layers, request.seed)
            self._watch = watcher.watch(self._optimize.steps)

    def of(self, request: EditRequest) -> Sequence[Edit]:
        """The edits of a request, one for each threshold; with --auto several to choose from.

        Raises:
            StyleClipError: If one cannot be made.
        """
        if request.transfer is not None:
            return [self._once(request.transfer, request.transfer)]
        if len(request.steps) == 1:
            (step,) = request.steps
            if request.auto and step.prompt is not None and request.betas == (None,):
                usual = self._engine.direction_settings.channels
                counts = candidates(usual) if step.channels is None else [step.channels]
                return [self._of_step("global", replace(step, channels=count)) for count in counts]
            return [self._of_step(request.method, replace(step, beta=beta)) for beta in request.betas]
        parts = []
        for step in request.steps:
            method: Method = "mapper" if step.mapper is not None else "global"
            edit = self._of_step(method, step)
            parts.append((edit, self._usual(method, edit) if step.alpha is None else step.alpha))
        return [Chain(tuple(parts))]

    def alphas(self, request: EditRequest) -> Sequence[float]:
        """The strengths of a request."""
        if request.alphas or len(request.steps) > 1:
            return list(request.alphas) or [1.0]
        saved = self.of(request)[0] if request.method_in_recipe == SAVED else None
        return [self._usual(request.method, saved)]

    def describe(self, edit: Edit) -> str:
        """The target and the neutral text of an edit."""
        if self._plan.reference is not None:
            return f"from {self._plan.reference.name}: {edit.target}"
        return f'target "{edit.target}"' + (f', neutral "{edit.neutral}"' if edit.neutral else "")

    def _usual(self, method: Method, edit: Edit | None) -> float:
        """Strength of an edit where none is given."""
        if isinstance(edit, Direction) and edit.alpha is not None:
            return edit.alpha
        return float(self._engine.default_alpha) if method == "global" else 1.0

    def _of_step(self, method: Method, step: Step) -> Edit:
        return self._once((method, replace(step, alpha=None)), step, method)

    def _once(self, key: object, asked: Step | TransferOptions, method: Method = "transfer") -> Edit:
        if key not in self._made:
            made = self._step(method, asked) if isinstance(asked, Step) else self._transfer(asked)
            self._made[key] = made
            if len(self._made) > _MOST:
                del self._made[next(iter(self._made))]
        return self._made[key]

    def _step(self, method: Method, step: Step) -> Edit:
        engine, literal = self._engine, bool(step.literal)
        neutral = DEFAULT_NEUTRAL if step.neutral is None else step.neutral
        if step.direction is not None:
            return engine.load_direction(Path(at_home(step.direction)))
        if step.mapper is not None:
            return engine.mapper(at_home(step.mapper))
        assert step.prompt is not None
        if method == "optimize":
            return engine.optimization(
                step.prompt, neutral, self._optimize, literal=literal, watch=self._watch
            )
        channels = None if step.beta is not None else step.channels
        return engine.direction(step.prompt, neutral, beta=step.beta, channels=channels, literal=literal)

    def _transfer(self, asked: TransferOptions) -> Edit:
        engine, reference = self._engine, self._plan.reference
        assert reference is not None
        other = self._face_of(reference, asked.face)
        if asked.prompt is None:
            num_ws = engine.generator.style_space.num_ws
            return engine.mix(other, parse_w_layers(self._plan.request.layers, num_ws))
        found = engine.transfer(
            other,
            asked.prompt,
            DEFAULT_NEUTRAL if asked.neutral is None else asked.neutral,
            beta=asked.beta,
            channels=asked.channels,
            literal=asked.literal,
        )
        self._tell(f'taking {", ".join(found.phrases)}; neutral "{found.neutral}"')
        return found

    def _face_of(self, item: Item, which: str) -> FaceLatent:
        """The latent of the source face of a transfer."""
        request, settings = self._plan.request, self._inversion
        photo = open_photo(item, self._tell, request.max_megapixels)
        if photo is None:
            return latent_of(self._engine, item)
        self._engine.check_photos(request.align)
        if settings.inverter in ("features", "pivotal"):  # what is this face's own would not be used
            settings = replace(settings, inverter="refine")
        try:
            return find_faces(self._engine, photo.image, which, request.align, settings)[0].face
        except BadInputError as error:
            raise BadInputError(f"{item.name}: {error.message}", error.hint) from None


def request_of(edit: Edit, alpha: float) -> EditRequest:
    """The request that corresponds to an existing edit.

    Args:
        edit: The edit.
        alpha: Its strength.
    """
    if isinstance(edit, Transfer):
        return EditRequest(method="transfer", alphas=(alpha,), title=edit.target)
    parts = edit.steps if isinstance(edit, Chain) else ((edit, None),)
    steps = tuple(step_of(part, strength) for part, strength in parts)
    if isinstance(edit, Optimization):
        return EditRequest(steps=steps, method="optimize", alphas=(alpha,))
    method: Method = "mapper" if isinstance(edit, MapperEdit) else "global"
    return EditRequest(steps=steps, method=method, alphas=(alpha,))


def step_of(edit: Edit, alpha: float | None = None, mapper: str | None = None) -> Step:
    """The entry of one of several edits in a recipe.

    Args:
        edit: The edit.
        alpha: Its strength.
        mapper: The name of its mapper, if it is one.
    """
    if isinstance(edit, MapperEdit):
        return Step(mapper=mapper or shortened(edit.target, 200), alpha=alpha)
    if isinstance(edit, Direction) and edit.source:  # no text leads there again: its file has to
        return Step(direction=f"{PureWindowsPath(shortened(edit.target, 200)).name}.npz", alpha=alpha)
    beta = edit.beta if isinstance(edit, Direction) else None
    target, neutral = shortened(edit.target, 2000), shortened(edit.neutral, 2000)
    return Step(prompt=target, neutral=neutral, alpha=alpha, beta=beta, literal=True)
