"""What is asked of `styleclip edit`: as it was typed, or laid over what a recipe says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from styleclip_cli.cli import inputs as io
from styleclip_cli.cli import looks as looking
from styleclip_cli.cli import methods, options
from styleclip_cli.cli.looks import Look
from styleclip_cli.errors import UsageError
from styleclip_cli.recipe import NAMES, MethodName, Recipe
from styleclip_cli.settings import KEEP_IDENTITY


@dataclass(frozen=True)
class Asked:
    """The options that a recipe can say as well; those of the same names.

    Attributes:
        optimizing: Those of the method of that name.
        edits: The several edits of a recipe, in the place of prompt and the rest.
    """

    prompts: tuple[str, ...]
    neutrals: tuple[str, ...]
    method: str | None
    mapper: str | None
    direction: Path | None
    alphas: tuple[float, ...]
    betas: tuple[str, ...]
    channels: int | None
    literal: bool
    auto: bool
    layers: str | None
    relevance: str | None
    face: str | None
    composite: str | None
    no_align: bool
    inverter: str | None
    steps: int | None
    noise: bool
    seed: int | None
    models: str | None
    optimizing: methods.Optimizing
    edits: Look | None = None

    def over(self, before: Recipe, where: Path) -> Asked:
        """These laid over what a recipe says.

        Args:
            before: The recipe.
            where: Its file.

        Raises:
            UsageError: If the recipe cannot be repeated, or says its own edits.
        """
        laid = self._over_edits(before, where) if before.edits is not None else self._over_one(before, where)
        return replace(
            laid,
            face=before.face if self.face is None else self.face,
            composite=before.composite if self.composite is None else self.composite,
            no_align=self.no_align or before.align is False,
            noise=self.noise or bool(before.noise),
            inverter=self.inverter or before.inverter,
            steps=before.steps if self.steps is None else self.steps,
            seed=before.seed if self.seed is None else self.seed,
            models=io.pack_of_recipe(self.models, before.models),
        )

    def _over_edits(self, before: Recipe, where: Path) -> Asked:
        asked: dict[str, Any] = {
            "--prompt": self.prompts,
            "--neutral": self.neutrals,
            "--mapper": self.mapper,
        }
        asked |= {"--method": self.method, "--beta": self.betas, "--channels": self.channels}
        asked |= {"--literal": self.literal, "--auto": self.auto}
        given = [option for option, value in asked.items() if value]
        if given:
            raise UsageError(f"{', '.join(given)}: {where} says its own edits", "change the recipe")
        factors = self.alphas or (() if before.alphas == (1.0,) else before.alphas or ())
        return replace(
            self,
            edits=looking.of_steps(looking.beside(before.edits or (), where), factors),
            layers=self.layers or before.layers,
            relevance=self.relevance or before.relevance,
        )

    def _over_one(self, before: Recipe, where: Path) -> Asked:
        again = NAMES.get(before.method)
        method = self.method
        if method is None and self.mapper is None and not (again == "mapper" and self.prompts):
            method = again
        same = again == (method or ("mapper" if self.mapper is not None else "global"))
        laid = replace(self, method=method)
        if not self.prompts:
            if again is None or (before.prompt is None and before.mapper is None):
                raise UsageError(
                    f"{where}: made by {before.method}, which a recipe cannot repeat",
                    "the same command again",
                )
            if method == "mapper":
                laid = replace(laid, mapper=self.mapper or before.mapper)
            else:
                literal = self.literal or bool(before.literal)
                laid = replace(laid, prompts=(before.prompt or "",), literal=literal)
            chosen = bool(self.betas) or self.channels is not None or self.auto
            if method == "global" and not chosen:
                betas = before.betas or (() if before.beta is None else (before.beta,))
                laid = replace(
                    laid, betas=tuple(map(repr, betas)), channels=None if betas else before.channels
                )
        if method != "mapper" and before.neutral is not None:
            laid = replace(laid, neutrals=self.neutrals or (before.neutral,))
        if not same:  # another method means other things by the rest
            return laid
        if method == "optimize":
            laid = replace(laid, optimizing=self.optimizing.after(before))
        return replace(
            laid,
            alphas=self.alphas or (() if self.auto else before.alphas or ()),
            layers=self.layers or (before.layers if again != "mapper" else None),
            relevance=self.relevance or before.relevance,
        )

    def checked(self, repeated: bool) -> tuple[MethodName, Asked]:
        """The method that is meant, and these with its options complete.

        Args:
            repeated: Whether a recipe was laid beneath.

        Raises:
            UsageError: If they do not go together.
        """
        how = methods.check_method(self.method, self.mapper, self.direction)
        values: dict[str, Any] = {"--prompt": self.prompts, "--neutral": self.neutrals, "--beta": self.betas}
        values |= {"--channels": self.channels, "--seed": self.seed, "--layers": self.layers}
        values |= {"--relevance": self.relevance}
        given = [option for option, value in values.items() if value not in (None, ())]
        given += ["--literal"] * self.literal
        if self.direction is not None and given:
            raise UsageError(
                f"{', '.join(given)}: fixed in a saved direction", "leave out what is not --alpha"
            )
        if how == "mapper":
            methods.refuse(how, [option for option in given if not repeated or option != "--seed"])
        if how != "optimize":
            methods.refuse(how, self.optimizing.given())
            return how, self
        unused = [option for option in given if option in ("--beta", "--channels", "--relevance")]
        methods.refuse(how, unused + ["--auto"] * self.auto)
        if len(self.prompts) > 1:
            raise UsageError("--method optimize follows one prompt", 'one that says all: "a smiling old man"')
        optimizing = replace(self.optimizing, layers=self.layers, seed=self.seed)
        optimizing.check()
        literal = self.literal or optimizing.official  # the paper's code takes texts as they are
        return how, replace(self, optimizing=optimizing, literal=literal)

    @property
    def common(self) -> looking.Common:
        """What is said of all rows of a manifest."""
        entries = {"neutral": self.neutrals[0] if self.neutrals else None, "channels": self.channels}
        entries["literal"] = self.literal or None
        said = {name: value for name, value in entries.items() if value is not None}
        betas = tuple(options.parse_betas(self.betas)) or (None,)
        return looking.Common(self.alphas, betas, said)

    def look(self, how: MethodName) -> Look | None:
        """What inputs are to become; None if only a manifest says it.

        Raises:
            UsageError: If the options do not go together.
        """
        if self.edits is not None:
            return self.edits
        if self.prompts:
            strengths = [repr(alpha) for alpha in self.alphas]
            found = looking.of_options(
                self.prompts,
                self.neutrals,
                strengths,
                self.betas,
                channels=self.channels,
                literal=self.literal,
            )
            found = replace(found, method=how)
        elif self.mapper is not None or self.direction is not None:
            saved = None if self.direction is None else str(self.direction)
            found = Look((looking.step_of(mapper=self.mapper, direction=saved),), how, self.alphas)
        else:
            return None
        if self.face == "all" and not found.is_one_picture:
            raise UsageError("--face all takes one --alpha: a strip shows one face", "--face 1 --alpha 2,4")
        if self.auto and len(found.betas) > 1:
            raise UsageError("--auto chooses the threshold itself", "leave out --beta, or give one")
        return found


def exclude(*pairs: tuple[str, bool, str, bool]) -> None:
    """Refuse options that do not go together: name and whether it is given, twice.

    Raises:
        UsageError: If both of a pair are.
    """
    for first, one, second, other in pairs:
        if one and other:
            if second.startswith("no "):
                raise UsageError(f"{first} is for {second[3:]}", f"add {second[3:]}")
            raise UsageError(f"{first} and {second} exclude each other", "give one of them")


def kept_identity(auto: bool, wanted: float | None) -> float | None:
    """What `--auto` has to keep of the person; None without it.

    Raises:
        UsageError: If it is no cosine.
    """
    if wanted is not None and not -1 <= wanted <= 1:
        raise UsageError(f"--keep-identity is a cosine, not {wanted:g}", f"--keep-identity {KEEP_IDENTITY:g}")
    return (KEEP_IDENTITY if wanted is None else wanted) if auto else None
