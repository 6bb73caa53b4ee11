"""What faces are to become: from options, a recipe or a manifest, before anything heavy is imported."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from styleclip_cli.cli.given import at_home
from styleclip_cli.cli.inputs import STREAM, Item, exists, expand, read_list
from styleclip_cli.cli.options import DEFAULT_NEUTRAL, parse_alphas, parse_betas
from styleclip_cli.errors import BadInputError, StyleClipError, UsageError, not_there, one_line, shortened
from styleclip_cli.recipe import MAX_ALPHAS, MethodName, Step, parse_json

if TYPE_CHECKING:
    from styleclip_cli.edits.edit import Edit
    from styleclip_cli.edits.optimize import Watch
    from styleclip_cli.engine import Engine
    from styleclip_cli.settings import OptimizeSettings

_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_ROW = ("input", "output", *(name for name in Step.__dataclass_fields__), "edits")


@dataclass(frozen=True)
class Look:
    """What a face is to become.

    Attributes:
        steps: Edits, one after the other.
        method: How they are made.
        alphas: Strengths: of the only step, or factors of all steps' own. Several make a strip; none means
            the usual one.
        betas: Thresholds of the only step; None has it chosen. Several make the rows of a grid.
        named: What it is called in names of files; None goes by the steps.
    """

    steps: tuple[Step, ...]
    method: MethodName = "global"
    alphas: tuple[float, ...] = ()
    betas: tuple[float | None, ...] = (None,)
    named: str | None = None

    @property
    def words(self) -> str:
        """What it is called in names of files."""
        return self.named if self.named is not None else " ".join(step.words for step in self.steps)

    @property
    def is_one_picture(self) -> bool:
        """Whether it is one picture of each face, and no strip or grid."""
        return len(self.alphas) <= 1 and len(self.betas) == 1


def of_steps(steps: Sequence[Step], alphas: Sequence[float] = ()) -> Look:
    """The look of steps that say their own strengths.

    Args:
        steps: One or more.
        alphas: Laid over the strength of a single one; factors of several.

    Raises:
        UsageError: If a step says what its method does not know.
    """
    if not steps:
        raise UsageError("no edits are given", "at least one, with a prompt")
    for step in steps:
        if step.prompt is None and (step.beta is not None or step.channels is not None):
            raise UsageError(f"{step.words}: beta and channels are for prompts", "leave them out")
    if len(steps) > 1:
        return Look(tuple(steps), alphas=tuple(alphas))
    (step,) = steps
    strength = tuple(alphas) or (() if step.alpha is None else (step.alpha,))
    method: MethodName = "mapper" if step.mapper is not None else "global"
    return Look((step,), method, strength, (step.beta,))


def of_options(
    prompts: Sequence[str],
    neutrals: Sequence[str],
    alphas: Sequence[str],
    betas: Sequence[str],
    *,
    channels: int | None = None,
    literal: bool = False,
) -> Look:
    """The look of --prompt, --neutral, --alpha and --beta, each of which may be repeated.

    Args:
        prompts: One; or several, which are made one after the other.
        neutrals: One for all prompts, or one for each; none for the usual one.
        alphas: Of one prompt, any number, lists and ranges; of several, one for all or one for each.
        betas: As `alphas`; "auto" has one chosen.
        channels: Of each prompt.
        literal: Of each prompt.

    Raises:
        UsageError: If they do not go together.
    """
    strengths, thresholds = parse_alphas(alphas), parse_betas(betas)
    if channels is not None and any(beta is not None for beta in thresholds):
        raise UsageError("--beta and --channels exclude each other", "give one of them")
    count = len(prompts)
    if count > 1:
        for name, values in (("--neutral", neutrals), ("--alpha", strengths), ("--beta", thresholds)):
            if len(values) not in (0, 1, count):
                raise UsageError(
                    f"{count} prompts and {len(values)} times {name}", "one for all, or one for each prompt"
                )
    elif len(neutrals) > 1:
        raise UsageError("one prompt has one --neutral", "leave out the others")
    elif len(strengths) * len(thresholds or (None,)) > MAX_ALPHAS:
        raise UsageError("too many strengths and thresholds", f"at most {MAX_ALPHAS} pictures in a grid")

    def at(values: Sequence[Any], number: int) -> Any:
        return None if not values else values[number if len(values) == count else 0]

    steps = tuple(
        step_of(
            prompt=prompt,
            neutral=at(neutrals, number),
            alpha=at(strengths, number) if count > 1 else None,
            beta=at(thresholds, number) if count > 1 else None,
            channels=channels,
            literal=literal or None,
        )
        for number, prompt in enumerate(prompts)
    )
    if count > 1:
        return Look(steps)
    return Look(steps, alphas=tuple(strengths), betas=tuple(thresholds) or (None,))


def step_of(**entries: Any) -> Step:
    """A step of what a person typed.

    Raises:
        BadInputError: If it makes no sense.
    """
    try:
        return Step(**entries)
    except ValueError as error:
        text = entries.get("prompt") or entries.get("mapper") or entries.get("direction") or ""
        raise BadInputError(f'"{shortened(text, 60)}": {one_line(error)}') from None


def beside(steps: Sequence[Step], recipe: Path) -> list[Step]:
    """Steps with the files they name where they are seen from a recipe's folder."""
    return [
        replace(step, direction=str(recipe.parent / step.direction)) if step.direction is not None else step
        for step in steps
    ]


def optimized(look: Look) -> Look:
    """The same sentence, followed by --method optimize.

    Raises:
        UsageError: If it is none, or several.
    """
    step = look.steps[0]
    if len(look.steps) > 1 or step.prompt is None or step.beta is not None or step.channels is not None:
        raise UsageError(f"{look.words}: --method optimize follows one prompt", "leave out the rest")
    return replace(look, method="optimize")


@dataclass(frozen=True)
class Common:
    """What a command says of all rows of a manifest.

    Attributes:
        alphas: Strengths.
        betas: Thresholds.
        entries: What else of a step of theirs.
    """

    alphas: tuple[float, ...] = ()
    betas: tuple[float | None, ...] = (None,)
    entries: Mapping[str, Any] = field(default_factory=dict)


def read_manifest(
    path: str,
    usual: Look | None,
    common: Common,
    max_megapixels: float = 100,
    recursive: bool = False,
) -> tuple[list[Item], list[str | None]]:
    """Read rows of inputs, each with what it is to become, from CSV or JSON lines.

    Args:
        path: The file; - for standard input. JSON lines begin with a brace.
        usual: What rows become that do not say it.
        common: What is said of all rows.
        max_megapixels: As `expand` takes it.
        recursive: As `expand` takes it.

    Returns:
        Items, each with its look; and their outputs, as far as rows say them.

    Raises:
        BadInputError: If the manifest cannot be read, or a row makes no sense: nothing has begun then.
    """
    where = "standard input" if path == STREAM else path
    items: list[Item] = []
    outputs: list[str | None] = []
    for number, row in _rows(path, where):
        try:
            source, output, look = _row(row, usual, common)
        except UsageError as error:
            raise BadInputError(f"{where}: row {number}: {error.message}", error.hint) from None
        except (ValueError, TypeError) as error:
            raise BadInputError(f"{where}: row {number}: {one_line(error)}") from None
        try:
            found = expand([_beside(source, path) or source], max_megapixels, recursive)
        except StyleClipError as error:  # one bad input does not stop the others
            bad = BadInputError(error.message, error.hint)
            found = [Item(source, Path(source).stem, error=bad)]
        if output is not None and len(found) > 1:
            raise BadInputError(f"{where}: row {number}: {len(found)} faces do not fit into {output}")
        items += [replace(item, look=look) for item in found]
        outputs += [output] * len(found)
    if not items:
        raise BadInputError(f"{where}: the manifest has no rows", "a header with input and prompt, then rows")
    return items, outputs


def _beside(name: str, manifest: str) -> str:
    """A bare name that lies beside the manifest, and not in the current folder; empty if it does not."""
    if manifest == STREAM or exists(name):
        return ""
    path = str(Path(manifest).parent / name)
    return path if exists(path) else ""


def _row(row: Mapping[str, Any], usual: Look | None, common: Common) -> tuple[str, str | None, Look]:
    """One row's input, output and look.

    Raises:
        ValueError: If it makes no sense.
        UsageError: If its numbers do not go together.
    """
    for name in row:
        if name not in _ROW:
            raise ValueError(f"unknown column {one_line(name, 40)!r}; known are {', '.join(_ROW)}")
    source = row.get("input")
    if not isinstance(source, str) or not source:
        raise ValueError("no input is given")
    output = row.get("output")
    if output is not None and not isinstance(output, str):
        raise ValueError("output must be a name")
    if output is not None and (not output or "\0" in output):
        raise ValueError("output is no name")
    output = None if output is None else at_home(output)
    own = {name: row[name] for name in row if name not in ("input", "output", "edits")}
    if "edits" in row:
        edits = row["edits"]
        if own or not isinstance(edits, list) or not all(isinstance(one, Mapping) for one in edits):
            raise ValueError("edits is a list of edits, in the place of prompt and the rest")
        return source, output, of_steps([Step.from_mapping(one) for one in edits])
    says = {"prompt", "mapper", "direction"} & own.keys()
    if not says and usual is None:
        raise ValueError("says no prompt, and there is no --prompt for all")
    if not says and usual is not None and len(usual.steps) > 1:
        if own:
            raise ValueError(f"{', '.join(own)}: the command's prompts are several")
        return source, output, usual
    # What a row leaves out is the command's.
    start: Mapping[str, Any] = {}
    if not says and usual is not None:
        start = usual.steps[0].entries()
    elif "prompt" in says:
        start = common.entries
    look = of_steps([Step(**{**start, **own})])
    if "alpha" not in own:
        look = replace(look, alphas=common.alphas)
    if look.steps[0].prompt is not None and not {"beta", "channels"} & own.keys():
        look = replace(look, betas=common.betas)
    return source, output, look


def _rows(path: str, where: str) -> list[tuple[int, dict[str, Any]]]:
    """Rows with their numbers; empty cells are left out.

    Raises:
        BadInputError: If it cannot be read.
    """
    try:
        text = read_list(path).decode("utf-8-sig")
        if text.lstrip().startswith("{"):
            lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
            return [(n, _plain(parse_json(line))) for n, line in lines]
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if reader.fieldnames is None or "input" not in reader.fieldnames:
            raise ValueError("no column is called input")
        rows = []
        for row in reader:
            if None in row:
                raise ValueError(f"row {reader.line_num} has more cells than the header")
            rows.append((reader.line_num, _typed({k: v for k, v in row.items() if v not in (None, "")})))
        return rows
    except FileNotFoundError:
        raise BadInputError(*not_there(where)) from None
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or one_line(error, 120)
        raise BadInputError(f"{where}: not a usable manifest ({reason})") from None


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _typed(row: dict[str, str]) -> dict[str, Any]:
    """Cells as what their columns hold."""
    found: dict[str, Any] = dict(row)
    for name in ("alpha", "beta"):
        if name in row:
            found[name] = float(row[name])
    if "channels" in row:
        found["channels"] = int(row["channels"])
    if "literal" in row:
        word = row["literal"].strip().lower()
        if word not in _TRUTHS:
            raise ValueError(f"literal must be true or false, not {word!r}")
        found["literal"] = _TRUTHS[word]
    if "edits" in row:
        found["edits"] = json.loads(row["edits"])
    return found


class Edits:
    """Makes the edits of looks, each one once.

    Args:
        engine: Networks and measurements.
        optimize: For the method of that name: its settings.
        watch: Who looks on.
        automatic: Make several edits of each sentence, from few style channels to many, to choose from.
    """

    def __init__(
        self,
        engine: Engine,
        optimize: OptimizeSettings | None = None,
        watch: Watch | None = None,
        automatic: bool = False,
    ) -> None:
        self._engine, self._optimize, self._watch = engine, optimize, watch
        self._automatic = automatic
        self._made: dict[object, Edit] = {}

    def of(self, look: Look) -> list[Edit]:
        """The edits of a look, one for each threshold.

        Raises:
            StyleClipError: If one cannot be made.
        """
        if len(look.steps) == 1:
            if self._automatic and look.steps[0].prompt is not None and look.betas == (None,):
                return self._candidates(look.steps[0])
            return [self._of_step(look.method, replace(look.steps[0], beta=beta)) for beta in look.betas]
        from styleclip_cli.edits.chain import Chain

        parts = []
        for step in look.steps:
            method: MethodName = "mapper" if step.mapper is not None else "global"
            alpha = self.usual_alpha(method) if step.alpha is None else step.alpha
            parts.append((self._of_step(method, step), alpha))
        return [Chain(tuple(parts))]

    def _candidates(self, step: Step) -> list[Edit]:
        """Directions of a sentence, from few channels to many."""
        from styleclip_cli.edits.auto import candidates

        counts = (
            candidates(self._engine.direction_settings.channels) if step.channels is None else [step.channels]
        )
        return [self._of_step("global", replace(step, channels=count)) for count in counts]

    def alphas(self, look: Look) -> list[float]:
        """The strengths of a look."""
        usual = 1.0 if len(look.steps) > 1 else self.usual_alpha(look.method)
        return list(look.alphas) or [usual]

    def usual_alpha(self, method: MethodName) -> float:
        """Strength where none is named."""
        return float(self._engine.default_alpha) if method == "global" else 1.0

    def _of_step(self, method: MethodName, step: Step) -> Edit:
        key = (method, replace(step, alpha=None))
        if key not in self._made:
            self._made[key] = self._make(method, step)
        return self._made[key]

    def _make(self, method: MethodName, step: Step) -> Edit:
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
