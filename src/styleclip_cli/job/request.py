"""All parameters of an edit, parsed once from options, a recipe, or the row of a manifest.

This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from styleclip_cli.errors import UsageError
from styleclip_cli.job import values
from styleclip_cli.job.inputs import STREAM
from styleclip_cli.job.region import Region
from styleclip_cli.machine.shards import Shard
from styleclip_cli.recipe import SAVED, WORDS, MethodName, Recipe, Step
from styleclip_cli.settings import (
    DEFAULT_COMPOSITE,
    CompositeMode,
    Inverter,
    LayerChoice,
    OptimizeSettings,
    RelevanceMode,
    Space,
)

Method = MethodName | Literal["transfer", "invert"]


@dataclass(frozen=True)
class OptimizeOptions:
    """Options of --method optimize, as given; None if an option was not given."""

    space: str | None = None
    iterations: int | None = None
    lr: float | None = None
    lambda_l2: float | None = None
    lambda_id: float | None = None
    crops: int | None = None
    batch: int | None = None
    free: bool = False
    official: bool = False
    save_steps: int = 0

    def check(self) -> None:
        """Refuse invalid options.

        Raises:
            UsageError: If it does not.
        """
        for name in ("lr", "lambda_l2", "lambda_id"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1e6:
                raise UsageError(f"{option(name)} must be a number from 0 up, not {value}")
        if self.lr == 0:
            raise UsageError("--lr 0 would move nothing", "a number above 0")

    def with_recipe(self, recipe: Recipe) -> OptimizeOptions:
        """The same options, with missing ones taken from a recipe.

        Raises:
            UsageError: If it names an unknown space.
        """
        said: dict[str, Any] = {"lr": recipe.learning_rate}
        said |= {n: getattr(recipe, n) for n in ("space", "iterations", "lambda_l2", "lambda_id", "crops")}
        left = {name: value for name, value in said.items() if getattr(self, name) is None}
        values.check_choice("space", left.get("space"), Space)
        official, free = self.official or bool(recipe.official), self.free or bool(recipe.free)
        return replace(self, **left, official=official, free=free)

    def settings(
        self, default: OptimizeSettings, layers: Sequence[int] | None, seed: int | None
    ) -> OptimizeSettings:
        """The pack's settings, or the official ones, with the given options in place of theirs.

        Args:
            default: The pack's.
            layers: Numbers of the W+ vectors that may move; None for all.
            seed: Seed of the random numbers; None for the default.
        """
        from styleclip_cli.settings import OFFICIAL_OPTIMIZE

        chosen: dict[str, Any] = {
            "space": self.space,
            "steps": self.iterations,
            "learning_rate": self.lr,
            "lambda_l2": self.lambda_l2,
            "lambda_id": self.lambda_id,
            "crops": self.crops,
            "batch": self.batch,
            "layers": layers,
            "seed": seed,
        }
        if self.free:  # the text alone counts (official free_generation)
            chosen |= {"lambda_l2": self.lambda_l2 or 0.0, "lambda_id": self.lambda_id or 0.0}
        start = OFFICIAL_OPTIMIZE if self.official else default
        return replace(start, **{name: value for name, value in chosen.items() if value is not None})


@dataclass(frozen=True)
class TransferOptions:
    """The source face of `styleclip transfer`, and what is transferred.

    Attributes:
        reference: An input of one face.
        face: Which face of its photo.
        prompt: What to transfer; None for whole layers.
        neutral: The neutral text; None for the default.
        beta: Smallest relevance of a transferred channel; None chooses it.
        channels: Number of style channels for each phrase.
        literal: Whether the prompt is used as it is.
    """

    reference: str
    face: str = "largest"
    prompt: str | None = None
    neutral: str | None = None
    beta: float | None = None
    channels: int | None = None
    literal: bool = False


@dataclass(frozen=True)
class RowDefaults:
    """Parameters from the command line for rows of a manifest that have their own prompt.

    Attributes:
        alphas: Strengths.
        betas: Thresholds.
        entries: Neutral text, channels, literal.
    """

    alphas: tuple[float, ...] = ()
    betas: tuple[float | None, ...] = (None,)
    entries: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EditRequest:
    """All parameters of an edit; see the options of the same names.

    Attributes:
        inputs: Names of files, folders, lists, seeds.
        manifest: A file with a row for each input, in their place.
        steps: Edits, applied one after another; none if only a manifest has them.
        method: The editing method.
        alphas: Strengths of a single step, or factors of the strengths of several. Several make a strip; none
            means the default.
        betas: Thresholds of a single step; None chooses it. Several make the rows of a grid.
        title: Its name in names of files; None derives it from the steps.
        keep_identity: Choose strengths that keep this much of the identity; None takes `alphas`.
        face_named: Whether somebody said which face, and so knows of the others.
        same: Choose one strength and threshold for all inputs.
        region: Where images may change.
        recipe: The recipe that is repeated.
        transfer: The source face and what is transferred, for the method of that name.
        rows: Parameters for rows of a manifest.
        inversion_steps: --inversion-steps.
        budget: Seconds for each inversion.
        same_person: Tune one generator for all photos together.
        preview: A sheet that compares images with their inversions.
        boxes: --faces: a folder for photos with their faces numbered.
    """

    inputs: tuple[str, ...] = ()
    manifest: str | None = None
    recursive: bool = False
    max_megapixels: float = 100

    steps: tuple[Step, ...] = ()
    method: Method = "global"
    alphas: tuple[float, ...] = ()
    betas: tuple[float | None, ...] = (None,)
    title: str | None = None
    keep_identity: float | None = None
    face_named: bool = False
    same: bool = False
    region: Region = field(default_factory=Region)
    layers: str | None = None
    relevance: RelevanceMode | None = None
    optimize: OptimizeOptions = OptimizeOptions()
    models: str | None = None
    seed: int | None = None
    recipe: Recipe | None = None
    transfer: TransferOptions | None = None
    rows: RowDefaults = RowDefaults()

    face: str = "largest"
    align: bool = True
    crop: bool = False
    composite: CompositeMode = DEFAULT_COMPOSITE
    keep_exif: bool = False
    inverter: Inverter | None = None
    inversion_steps: int | None = None
    noise: bool = False
    budget: float | None = None
    same_person: bool = False

    out: Path | None = None
    name: str | None = None
    format: str | None = None
    quality: int = 95
    compression: int | None = None
    metadata: bool = True
    save_latent: bool = False
    overwrite: bool = False
    skip_existing: bool = False
    fail_fast: bool = False
    shard: Shard = field(default_factory=Shard)
    scores: bool = False
    strict: bool = False
    sheet: Path | None = None
    slider: Path | None = None
    diff: bool = False
    animation: Path | None = None
    preview: Path | None = None
    boxes: Path | None = None

    @property
    def words(self) -> str:
        """Its name in names of files."""
        return self.title if self.title is not None else " ".join(step.words for step in self.steps)

    @property
    def is_one_picture(self) -> bool:
        """Whether it is one image of each face, not a strip or grid."""
        return len(self.alphas) <= 1 and len(self.betas) == 1

    @property
    def auto(self) -> bool:
        """Whether strength and threshold are chosen for each face."""
        return self.keep_identity is not None

    @property
    def stream(self) -> bool:
        """Whether the result goes to standard output."""
        return str(self.out) == STREAM

    @property
    def measures(self) -> bool:
        """Whether its edits need measurements of the style channels."""
        return self.method == "global" or (self.transfer is not None and self.transfer.prompt is not None)

    @property
    def style_layers(self) -> LayerChoice | None:
        """Which style layers may change; None for the pack's choice."""
        return cast("LayerChoice | None", self.layers) if self.method == "global" else None

    @property
    def method_in_recipe(self) -> str:
        """The method, as it is named in recipes."""
        if len(self.steps) == 1 and self.steps[0].direction is not None:
            return SAVED
        return next((words for name, words in WORDS.items() if name == self.method), self.method)

    def of_steps(self, steps: Sequence[Step], alphas: Sequence[float] = ()) -> EditRequest:
        """The same request, with steps that have their own strengths.

        Args:
            steps: One or more.
            alphas: Replaces the strength of a single step; factors of several.

        Raises:
            UsageError: If a step has an entry that its method does not have.
        """
        if not steps:
            raise UsageError("no edits are given", "at least one, with a prompt")
        for step in steps:
            if step.prompt is None and (step.beta is not None or step.channels is not None):
                raise UsageError(f"{step.words}: beta and channels are for prompts", "leave them out")
        if len(steps) > 1:
            return replace(self, steps=tuple(steps), method="global", alphas=tuple(alphas), betas=(None,))
        (step,) = steps
        return replace(
            self,
            steps=(step,),
            method="mapper" if step.mapper is not None else "global",
            alphas=tuple(alphas) or (() if step.alpha is None else (step.alpha,)),
            betas=(step.beta,),
        )

    def optimized(self) -> EditRequest:
        """The same sentence, followed by --method optimize.

        Raises:
            UsageError: If it is none, or several.
        """
        step = self.steps[0]
        if len(self.steps) > 1 or step.prompt is None or step.beta is not None or step.channels is not None:
            raise UsageError(f"{self.words}: --method optimize follows one prompt", "leave out the rest")
        return replace(self, method="optimize")


class Exclusion(NamedTuple):
    """Options that do not go together.

    Attributes:
        option: One of them; with a value, if only that value excludes the others.
        others: The options that it excludes.
        message: The message, with {option}, and {others} for those that were given.
        hint: What the user can do about it.
    """

    option: str
    others: tuple[str, ...]
    message: str = "{option} and {others} exclude each other"
    hint: str = "give one of them"


_FIXED = ("--prompt", "--neutral", "--beta", "--channels", "--seed", "--layers", "--relevance", "--literal")
_OPTIMIZE = tuple(f"--{one.name.replace('_', '-')}" for one in fields(OptimizeOptions))
_NOT_FOR = "{others}: not for {option}"
EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion("--skip-existing", ("--overwrite",)),
    Exclusion("--manifest", ("INPUT",)),
    Exclusion("--manifest", ("--recipe",)),
    Exclusion("--direction", ("--recipe",)),
    Exclusion("--json", ("--out -",)),
    Exclusion("--save-latent", ("--out -",)),
    Exclusion("--diff", ("--out -",)),
    Exclusion("--keep-identity", ("no --auto",), "--keep-identity is for --auto", "add --auto"),
    Exclusion("--same", ("no --auto",), "--same is for --auto", "add --auto"),
    Exclusion("--auto", ("--alpha",)),
    Exclusion("--beta", ("--channels",)),
    Exclusion(
        "--inverter encoder",
        ("--inversion-steps", "--noise"),
        "--inversion-steps and --noise are for the other inverters",
        "leave out --inverter",
    ),
    Exclusion(
        "--same-person",
        (
            *(f"--inverter {name}" for name in get_args(Inverter) if name != "pivotal"),
            *("--noise", "--shard", "--face all"),
        ),
        "{others}: not for --same-person, which tunes one generator for one face of each photo",
        "leave one of them out",
    ),
    Exclusion(
        "a saved direction", _FIXED, "{others}: fixed in a saved direction", "leave out what is not --alpha"
    ),
    Exclusion("--method mapper", (*_FIXED, *_OPTIMIZE), _NOT_FOR, "leave them out"),
    Exclusion("--method global", _OPTIMIZE, _NOT_FOR, "leave them out"),
    Exclusion(
        "--method optimize", ("--beta", "--channels", "--relevance", "--auto"), _NOT_FOR, "leave them out"
    ),
    Exclusion(
        "whole layers",
        ("--beta", "--channels", "--neutral", "--literal", "--relevance"),
        "{others}: not for --layers",
        "leave out one of them",
    ),
    Exclusion(
        "one file of latents",
        ("--name", "--skip-existing", "--shard", "--manifest"),
        "{others}: for a folder of latents",
        "--out FOLDER",
    ),
    Exclusion(
        "a recipe of several edits",
        ("--prompt", "--neutral", "--mapper", "--method", "--beta", "--channels", "--literal", "--auto"),
        "{others}: {recipe} says its own edits",
        "change the recipe",
    ),
)


def refuse(words: Collection[str], recipe: object = "") -> None:
    """Refuse options that do not go together, by `EXCLUSIONS`.

    Args:
        words: The options that are given, as the table names them.
        recipe: The file of the recipe, for messages.

    Raises:
        UsageError: If one excludes another.
    """
    for option, others, message, hint in EXCLUSIONS:
        found = [other for other in others if other in words]
        if option in words and found:
            raise UsageError(message.format(option=option, others=", ".join(found), recipe=recipe), hint)


class Options(dict[str, Any]):
    """Options by name; missing ones were not given."""

    def __missing__(self, name: str) -> None:
        return None


def _is_given(name: str, value: Any) -> bool:
    if value is None or value is False or value in ((), []):
        return False
    if name == "beta":
        return value not in ([values.AUTOMATIC], (None,))
    return name == "seed" or value != 0


def words(given: Mapping[str, Any]) -> set[str]:
    """Options that are given, as `EXCLUSIONS` names them."""
    found = {option(name) for name, value in given.items() if _is_given(name, value)}
    found |= {"INPUT"} if given["inputs"] else set()
    found |= {"--out -"} if str(given["out"]) == STREAM else set()
    found |= {f"--inverter {given['inverter']}"} if given["inverter"] else set()
    found |= {"--face all"} if given["face"] == "all" else set()
    return found if "--auto" in found else found | {"no --auto"}


def words_of_method(given: Mapping[str, Any], method: str, repeated: bool) -> set[str]:
    """Options that define the edit, and its method; the seed of a recipe does not count as given."""
    of_edit = {*_FIXED, *_OPTIMIZE, "--auto"} - ({"--seed"} if repeated and method == "mapper" else set())
    found = (words(given) & of_edit) | {f"--method {method}"}
    return found | ({"a saved direction"} if given["direction"] and not given["prompt"] else set())


def option(name: str) -> str:
    """The option of a parameter's name."""
    return f"--{name.replace('_', '-')}"
