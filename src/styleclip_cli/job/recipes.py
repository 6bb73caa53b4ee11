"""Read recipes from edited images and files, as defaults of options. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

from styleclip_cli import toml
from styleclip_cli.errors import BadInputError, UsageError, not_there, one_line, shortened
from styleclip_cli.job.request import Options, refuse, words
from styleclip_cli.job.values import check_choice
from styleclip_cli.recipe import MAX_BYTES, NAMES, SCHEMA, Recipe
from styleclip_cli.settings import CompositeMode, Inverter, RelevanceMode

_TEXT_SUFFIXES = (".json", ".toml")
_CHOICES = {"composite": CompositeMode, "inverter": Inverter, "relevance": RelevanceMode}


def load(path: Path) -> Recipe:
    """Read the recipe inside an edited image, or one written as JSON or TOML.

    Raises:
        BadInputError: If the file cannot be read, or holds no recipe.
    """
    if path.suffix.lower() not in _TEXT_SUFFIXES:
        from styleclip_cli.save import read_metadata

        found = read_metadata(path)
        if found is None or found.get("schema") != SCHEMA:
            raise BadInputError(f"{path}: holds no recipe", "a picture written by styleclip edit")
        recipe = Recipe.from_mapping(found, path)
        _refuse_paths(recipe, path)
        return recipe
    text = _read(path)
    if path.suffix.lower() == ".json":
        return Recipe.from_json(text, path)
    try:
        return Recipe.from_mapping(toml.loads(text), path)
    except ValueError as error:
        raise BadInputError(f"{path}: not a usable recipe ({one_line(error, 80)})") from None


def _refuse_paths(recipe: Recipe, path: Path) -> None:
    """Refuse recipes in images that name files by their path: whoever made one could have a file opened."""
    files = [text for step in recipe.edits or () for text in (step.mapper, step.direction)]
    for text in (*files, recipe.mask):
        if text is not None and (PureWindowsPath(text).name != text or not text.strip(".")):
            raise BadInputError(
                f"{path}: its recipe names a file by its path ({shortened(one_line(text, 90), 80)})",
                "write the edits into a .toml or .json recipe of your own, if you trust them",
            )


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # opening a pipe could wait for ever
            raise BadInputError(f"{path}: is not a file")
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadInputError(*not_there(path)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise BadInputError(f"{path}: cannot be read ({reason})") from None
    if len(text) > MAX_BYTES:
        raise BadInputError(f"{path}: too large for a recipe (over {MAX_BYTES} bytes)")
    return text


def with_recipe(given: Mapping[str, Any], recipe: Recipe, where: Path) -> Options:
    """Options, with missing ones taken from a recipe.

    Args:
        given: Options as given; strengths are numbers.
        recipe: The recipe.
        where: Its file.

    Raises:
        UsageError: If the recipe cannot be repeated, has its own edits, or names an unknown choice.
    """
    laid = Options(given)
    laid |= _of_recipe(given, recipe, where) if recipe.edits is None else _of_edits(given, recipe, where)
    for name in ("face", "composite", "seed"):
        laid[name] = getattr(recipe, name) if given[name] is None else given[name]
    laid["only"] = given["only"] or ((recipe.only,) if recipe.only else ())
    if given["mask"] is None and recipe.mask is not None:
        laid["mask"] = where.parent / recipe.mask
    if given["inversion_steps"] is None:
        laid["inversion_steps"] = recipe.steps
    laid |= {
        "no_align": given["no_align"] or recipe.align is False,
        "noise": given["noise"] or bool(recipe.noise),
        "inverter": given["inverter"] or recipe.inverter,
        "models": pack_of_recipe(given["models"], recipe.models),
    }
    for name, choices in _CHOICES.items():
        check_choice(name, laid[name], choices)
    return laid


def _of_edits(given: Mapping[str, Any], recipe: Recipe, where: Path) -> dict[str, Any]:
    """Options from a recipe of several edits, or of a saved direction.

    Directions are next to it, else where their names lead from here.
    """
    refuse(words(given) | {"a recipe of several edits"}, where)
    steps = []
    for step in recipe.edits or ():
        beside = where.parent / (step.direction or "")
        here = step.direction is None or (not beside.exists() and Path(step.direction).exists())
        steps.append(step if here else replace(step, direction=str(beside)))
    return {
        "edits": steps,
        "alpha": given["alpha"] or (() if recipe.alphas == (1.0,) else recipe.alphas or ()),
        "layers": given["layers"] or recipe.layers,
        "relevance": given["relevance"] or recipe.relevance,
    }


def _of_recipe(given: Mapping[str, Any], recipe: Recipe, where: Path) -> dict[str, Any]:
    """Options from a recipe of one edit; only the texts, if it is of another method."""
    again = NAMES.get(recipe.method)
    method, prompts = given["method"], given["prompt"]
    if method is None and given["mapper"] is None and not (again == "mapper" and prompts):
        method = again
    laid: dict[str, Any] = {"method": method}
    if not prompts:
        if again is None or (recipe.prompt is None and recipe.mapper is None):
            raise UsageError(
                f"{where}: made by {recipe.method}, which a recipe cannot repeat", "the same command again"
            )
        if method == "mapper":
            laid["mapper"] = given["mapper"] or recipe.mapper
        else:
            laid |= {"prompt": (recipe.prompt or "",), "literal": given["literal"] or bool(recipe.literal)}
        chosen = given["beta"] or given["channels"] is not None or given["auto"]
        if method == "global" and not chosen:
            betas = recipe.betas or (() if recipe.beta is None else (recipe.beta,))
            laid |= {"beta": betas, "channels": None if betas else recipe.channels}
    if method != "mapper" and recipe.neutral is not None:
        laid["neutral"] = given["neutral"] or (recipe.neutral,)
    if again != (method or ("mapper" if given["mapper"] is not None else "global")):
        return laid
    if method == "optimize":
        laid["optimize"] = recipe
    return {
        **laid,
        "alpha": given["alpha"] or (() if given["auto"] else recipe.alphas or ()),
        "layers": given["layers"] or (recipe.layers if again != "mapper" else None),
        "relevance": given["relevance"] or recipe.relevance,
    }


def pack_of_recipe(models: str | None, recipe: str | None) -> str | None:
    """The pack to repeat a recipe with: one named on the command line, else the recipe's.

    A pack named by the environment counts only if it is the recipe's pack, wherever that is stored.

    Args:
        models: From the command line or the environment.
        recipe: Name of the recipe's pack.
    """
    if models is None or recipe is None or models != os.environ.get("STYLECLIP_MODELS"):
        return recipe if models is None else models
    from styleclip_cli.weights.packs import find_pack

    return models if find_pack(models).name == recipe else recipe
