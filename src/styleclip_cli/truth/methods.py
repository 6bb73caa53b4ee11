"""The edits that are evaluated: each method with its defaults, and the published rule beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from styleclip_cli.edits.auto import candidates, choose
from styleclip_cli.edits.directions import Direction, find_direction
from styleclip_cli.edits.edit import edited_each
from styleclip_cli.edits.prompts import resolve_prompt, text_direction
from styleclip_cli.edits.templates import IMAGENET_TEMPLATES, MANY
from styleclip_cli.nets.stylespace import indices_of
from styleclip_cli.recipe import WORDS, MethodName
from styleclip_cli.weights.mappers import listed, slug

if TYPE_CHECKING:
    from styleclip_cli.edits.edit import Edit
    from styleclip_cli.engine import Engine
    from styleclip_cli.inversion import FaceLatent
    from styleclip_cli.truth.cases import Case

AUTO, OFFICIAL = "auto", "official-global"
METHODS: tuple[str, ...] = (*get_args(MethodName), AUTO, OFFICIAL)
TITLES: Mapping[str, str] = {
    **{str(name): words for name, words in WORDS.items()},
    AUTO: "global directions, strength chosen for each face",
    OFFICIAL: "global directions by the official rule",
}
OFFICIAL_ALPHA = 3.0
"""Where the official interface's slider stands at first."""


@dataclass(frozen=True)
class Editor:
    """A case's edit by a method.

    Attributes:
        edited: Takes faces and strengths, in parts of the default; gives each face at each strength.
        alpha: The default strength; None if it is chosen for each face.
        entries: What a recipe would say of it.
    """

    edited: Callable[[Sequence[FaceLatent], Sequence[float]], list[list[FaceLatent]]]
    alpha: float | None
    entries: Mapping[str, Any]


def editor_of(engine: Engine, case: Case, method: str) -> Editor:
    """A case's edit by one of `METHODS`, with its defaults.

    Args:
        engine: Edits.
        case: What is asked.
        method: How.

    Returns:
        The editor.
    """
    if method == AUTO:
        return Editor(partial(_chosen, engine, case), None, {})
    edit, alpha = edit_of(engine, case, method), default_alpha(engine, method)

    def edited(faces: Sequence[FaceLatent], factors: Sequence[float]) -> list[list[FaceLatent]]:
        moved = edited_each(edit, faces, [factor * alpha for factor in factors]) if faces else []
        return [each for each in moved if each is not None]

    return Editor(edited, alpha, edit.entries())


def edit_of(engine: Engine, case: Case, method: str) -> Edit:
    """A case's edit by a method that has the same for all faces, with its defaults."""
    if method == "optimize":
        return engine.optimization(case.prompt, case.neutral)
    if method == "mapper":
        return engine.mapper(slug(case.prompt))
    if method == OFFICIAL:
        return official(engine, case.prompt, case.neutral)
    return engine.direction(case.prompt, case.neutral)


def default_alpha(engine: Engine, method: str) -> float:
    """A method's default strength."""
    return {"global": engine.default_alpha, OFFICIAL: OFFICIAL_ALPHA}.get(method, 1.0)


def has_mapper(engine: Engine, case: Case) -> bool:
    """Whether a mapper was trained for a case, under its prompt's name."""
    return any(one.name == slug(case.prompt) and one.path for one in listed(engine.pack))


def official(engine: Engine, prompt: str, neutral: str) -> Direction:
    """The direction of the official code: its 79 templates, the interface's beta, no toRGB layers.

    Args:
        engine: Has measured the channels.
        prompt: The target text, taken as it is.
        neutral: The neutral text.

    Returns:
        The direction; its strength in the interface is `OFFICIAL_ALPHA` at first.
    """
    target, neutral = resolve_prompt(prompt, neutral, literal=True)
    templates = [template for template in IMAGENET_TEMPLATES if template != MANY]
    relevance = engine.relevance()
    convolutions = indices_of(engine.generator.style_space.editable("conv"))
    return find_direction(
        relevance.select(convolutions) or relevance,
        engine.statistics(),
        text_direction(engine.networks.clip, target, neutral, templates),
        rule="gui",
        gui_threshold=engine.direction_settings.gui_threshold,
        target=target,
        neutral=neutral,
    )


def _chosen(
    engine: Engine, case: Case, faces: Sequence[FaceLatent], factors: Sequence[float]
) -> list[list[FaceLatent]]:
    """As `edit --auto` does; parts are of each face's own strength."""
    counts = candidates(engine.direction_settings.channels)
    edits = [engine.direction(case.prompt, case.neutral, channels=count) for count in counts]
    choices = choose(engine.renderer, engine.judge, faces, edits, engine.default_alpha) if faces else []
    return [
        choice.edit.edited(face, [factor * choice.alpha for factor in factors])
        for face, choice in zip(faces, choices, strict=True)
    ]
