"""Parse the options of commands into an `EditRequest`. Imports nothing heavy."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from styleclip_cli.errors import BadInputError, UsageError, one_line, shortened
from styleclip_cli.job import values
from styleclip_cli.job.inputs import STREAM
from styleclip_cli.job.outputs import check_picture, is_file_name
from styleclip_cli.job.recipes import load, with_recipe
from styleclip_cli.job.region import Region
from styleclip_cli.job.request import (
    EditRequest,
    OptimizeOptions,
    Options,
    RowDefaults,
    TransferOptions,
    refuse,
    words,
    words_of_method,
)
from styleclip_cli.machine.shards import Shard, processes, rank
from styleclip_cli.recipe import MAX_ALPHAS, MethodName, Step
from styleclip_cli.settings import DEFAULT_COMPOSITE, KEEP_IDENTITY, LayerChoice

_log = logging.getLogger(__name__)


def transfer_request(options: Mapping[str, Any]) -> EditRequest:
    """Parse options of `styleclip transfer`; the others are as `edit_request` takes them.

    Raises:
        UsageError: If they do not go together, or make no sense.
    """
    given = _by_present_names(options)
    prompt, layers = given["prompt"], given["layers"]
    if (prompt is None) == (layers is None):
        raise UsageError(
            "say what to take, by either --prompt or --layers",
            'styleclip transfer me.jpg --from friend.jpg --prompt "hair"',
        )
    values.parse_w_layers(layers)
    refuse(words(given) | ({"whole layers"} if layers is not None else set()))
    values.check_beta(given["beta"])
    if values.check_face(given["from_face"]) == "all":
        raise UsageError("--from-face takes one face", "--from-face 2, counted from the left")
    common = _common_options(given) | _photo_options(given)
    alphas = tuple(values.parse_alphas(given["alpha"])) or (1.0,)
    if common["face"] == "all" and len(alphas) > 1:
        raise UsageError("--face all takes one --alpha: a strip shows one face", "--face 1 --alpha 0.5,1")
    named = {name: given[name] for name in ("prompt", "neutral", "beta", "channels")}
    transfer = TransferOptions(
        given["reference"], given["from_face"], literal=bool(given["literal"]), **named
    )
    own = {name: given[name] for name in ("layers", "models", "seed", "manifest")}
    own["boxes"] = given["preview"]
    return EditRequest(method="transfer", alphas=alphas, transfer=transfer, **own, **common)


def invert_request(options: Mapping[str, Any]) -> EditRequest:
    """Parse options of `styleclip invert`; the others are as `edit_request` takes them.

    Raises:
        UsageError: If they do not go together, or make no sense.
    """
    given = _by_present_names(options)
    alone = is_file_name(given["out"])
    if alone and given["out"].suffix.lower() != ".npz":
        raise UsageError(f"{given['out']}: latents are written as .npz", "--out latents.npz")
    refuse(words(given) | ({"one file of latents"} if alone else set()))
    own = {name: given[name] for name in ("models", "seed", "manifest", "preview")} | {
        "boxes": given["faces"]
    }
    common = _common_options(given, pictures=False) | _photo_options(given)
    if alone:  # each of torchrun's processes has all latents
        common["shard"] = Shard()
    return EditRequest(method="invert", **own, **common)


def edit_request(options: Mapping[str, Any]) -> EditRequest:
    """Parse options of `styleclip edit`.

    Args:
        options: Values by the names of the parameters; missing ones were not given.

    Raises:
        UsageError: If they do not go together, or make no sense.
        BadInputError: If the recipe cannot be used.
    """
    given = _by_present_names({"literal": False} | dict(options))
    refuse(words(given))
    ways = [bool(given["prompt"] or given["direction"]), bool(given["mapper"])]
    if sum(ways) > 1 or not any([*ways, given["recipe"], given["manifest"]]):
        raise UsageError(
            "say what to change, by one of --prompt, --direction, --mapper, --recipe or --manifest",
            'styleclip edit face.png --prompt "smiling"',
        )
    common = _common_options(given)
    keep = _keep_identity(bool(given["auto"]), given["keep_identity"])
    given["alpha"] = tuple(values.parse_alphas(given["alpha"]))
    given["beta"] = tuple(values.parse_betas(given["beta"] or ()))
    recipe = None
    if given["recipe"] is not None:
        recipe = load(given["recipe"])
        given = with_recipe(given, recipe, given["recipe"])
    method = _method(given)
    refuse(words_of_method(given, method, repeated=recipe is not None))
    optimize = OptimizeOptions()
    if method == "global":
        values.check_choice("layers", given["layers"], LayerChoice)
    elif method == "optimize":
        optimize = _optimize_options(given)
        given["literal"] |= optimize.official  # the paper's code takes texts as they are
    request = EditRequest(
        **{
            **common,
            "keep_identity": keep,
            "layers": given["layers"],
            "optimize": optimize,
            "recipe": recipe,
            "rows": _row_defaults(given),
            **{name: given[name] for name in ("manifest", "models", "seed", "sheet", "slider")},
            **{name: bool(given[name]) for name in ("scores", "diff", "strict", "same")},
            "boxes": given["preview"],
            "animation": None if given["animation"] is None else Path(given["animation"]),
            **_photo_options(given),
        }
    )
    if given["edits"] is not None:
        return request.of_steps(given["edits"], given["alpha"])
    return _with_edit(request, given, method)


def _with_edit(request: EditRequest, given: Mapping[str, Any], method: MethodName) -> EditRequest:
    """The request with the edit that the options describe.

    Raises:
        UsageError: If they do not go together.
    """
    if given["prompt"] or given["direction"]:
        steps, alphas, betas = _steps(given)
        request = replace(request, steps=steps, method=method, alphas=alphas, betas=betas)
    elif given["mapper"] is not None:
        step = _step(mapper=given["mapper"])
        request = replace(request, steps=(step,), method=method, alphas=given["alpha"])
    else:
        return replace(request, method=method)
    if request.face == "all" and not request.is_one_picture:
        raise UsageError("--face all takes one --alpha: a strip shows one face", "--face 1 --alpha 2,4")
    if request.auto and len(request.betas) > 1:
        raise UsageError("--auto chooses the threshold itself", "leave out --beta, or give one")
    return request


def _by_present_names(options: Mapping[str, Any]) -> Options:
    """Options, with the present name of one that an earlier version called --steps.

    Raises:
        UsageError: If it is meant for --method optimize.
    """
    given = Options(options)
    if given["steps"] is None:
        return given
    if given["method"] == "optimize":
        raise UsageError(
            "--method optimize takes --iterations, not --steps",
            f"--iterations {given['steps']}, or --inversion-steps {given['steps']} for the photo's inversion",
        )
    _log.warning("--steps is now --inversion-steps; the old name will be removed")
    steps = given["steps"] if given["inversion_steps"] is None else given["inversion_steps"]
    return Options(given | {"steps": None, "inversion_steps": steps})


def _common_options(given: Mapping[str, Any], pictures: bool = True) -> dict[str, Any]:
    """The options for inputs, inversions and results that `edit` and `transfer` share.

    Args:
        given: Options, by the names of the parameters.
        pictures: Whether results are images.

    Raises:
        UsageError: If one makes no sense.
    """
    budget = values.parse_budget(given["budget"])
    out = given["out"]
    if pictures and out is not None and is_file_name(out) and given["format"] is None and str(out) != STREAM:
        check_picture(out)
    shard = Shard.parse(given["shard"]).divided(rank(), processes())
    plain = ("fail_fast", "recursive", "crop", "keep_exif", "save_latent", "overwrite", "skip_existing")
    found: dict[str, Any] = {name: bool(given[name]) for name in plain}
    found |= {name: given[name] for name in ("out", "name", "format", "compression")}
    found |= {name: given[name] for name in ("max_megapixels", "quality") if given[name] is not None}
    found |= {"budget": budget, "metadata": not given["no_metadata"], "shard": shard}
    return found | {"inputs": tuple(given["inputs"] or ())}


def _photo_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options for photos, which a recipe may contain too."""
    return {
        "relevance": given["relevance"],
        "inverter": "pivotal" if given["same_person"] else given["inverter"],
        "same_person": bool(given["same_person"]),
        "inversion_steps": given["inversion_steps"],
        "noise": bool(given["noise"]),
        "face": values.check_face(given["face"] or "largest"),
        "face_named": given["face"] is not None,
        "align": not given["no_align"],
        "composite": given["composite"] or DEFAULT_COMPOSITE,
        "region": Region(values.parse_parts(given["only"]), given["mask"]),
    }


def _method(given: Mapping[str, Any]) -> MethodName:
    """The editing method.

    Raises:
        UsageError: If it does not go with the other options.
    """
    mapper = given["mapper"]
    method: MethodName = given["method"] or ("mapper" if mapper is not None else "global")
    if (mapper is not None) != (method == "mapper"):
        hint = "--mapper NAME (see styleclip mappers)" if mapper is None else "leave out --method or --mapper"
        raise UsageError(f"--method {method} {'needs' if mapper is None else 'takes no'} --mapper", hint)
    if given["direction"] and method != "global":
        raise UsageError(f"--direction does not go with --method {method}", "give one of them")
    return method


def _optimize_options(given: Mapping[str, Any]) -> OptimizeOptions:
    """Options of optimization, checked."""
    if len(given["prompt"] or ()) > 1:
        raise UsageError("--method optimize follows one prompt", 'one that says all: "a smiling old man"')
    names = [one.name for one in fields(OptimizeOptions)]
    found = OptimizeOptions(**{name: given[name] for name in names if given[name] is not None})
    if given["optimize"] is not None:
        found = found.with_recipe(given["optimize"])
    found.check()
    values.parse_w_layers(given["layers"])
    return found


def _row_defaults(given: Mapping[str, Any]) -> RowDefaults:
    neutrals = given["neutral"] or (None,)
    entries = {"neutral": neutrals[0], "channels": given["channels"], "literal": given["literal"] or None}
    said = {name: value for name, value in entries.items() if value is not None}
    return RowDefaults(given["alpha"], given["beta"] or (None,), said)


def _steps(given: Mapping[str, Any]) -> tuple[tuple[Step, ...], tuple[float, ...], tuple[float | None, ...]]:
    """The steps of --prompt, --direction, --neutral, --alpha and --beta, each of which may be repeated.

    Returns:
        Steps; strengths and thresholds of a single one.

    Raises:
        UsageError: If they do not go together.
    """
    edits, neutrals = _ordered(given), given["neutral"] or ()
    alphas, betas, channels = given["alpha"], given["beta"], given["channels"]
    count, prompts = len(edits), sum(name == "prompt" for name, _ in edits)
    if count > 1:
        counted = (("--neutral", neutrals, prompts), ("--alpha", alphas, count), ("--beta", betas, prompts))
        for name, each, wanted in counted:
            if len(each) not in (0, 1, wanted):
                what = "prompts" if wanted == prompts else "edits"
                raise UsageError(
                    f"{wanted} {what} and {len(each)} times {name}",
                    f"one for all, or one for each of the {what}",
                )
    elif len(neutrals) > 1:
        raise UsageError("one prompt has one --neutral", "leave out the others")
    elif len(alphas) * len(betas or (None,)) > MAX_ALPHAS:
        raise UsageError("too many strengths and thresholds", f"at most {MAX_ALPHAS} pictures in a grid")

    def at(each: Sequence[Any], number: int) -> Any:
        return None if not each else each[number if len(each) > 1 else 0]

    steps, prompt = [], 0
    for number, (name, text) in enumerate(edits):
        entries: dict[str, Any] = {"alpha": at(alphas, number) if count > 1 else None}
        if name == "prompt":
            entries |= {"neutral": at(neutrals, prompt), "beta": at(betas, prompt) if count > 1 else None}
            entries |= {"channels": channels, "literal": given["literal"] or None}
            prompt += 1
        steps.append(_step(**{name: text}, **entries))
    return (tuple(steps), (), (None,)) if count > 1 else (tuple(steps), alphas, betas or (None,))


def _ordered(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Prompts and directions as they were typed, one after the other; prompts first if that is not known."""
    left = {name: list(map(str, given[name] or ())) for name in ("prompt", "direction")}
    typed = [name for name in given["order"] or () if name in left]
    if any(typed.count(name) != len(texts) for name, texts in left.items()):
        typed = [name for name, texts in left.items() for _ in texts]
    return [(name, left[name].pop(0)) for name in typed]


def _step(**entries: Any) -> Step:
    """A step of what a person typed.

    Raises:
        BadInputError: If it makes no sense.
    """
    try:
        return Step(**entries)
    except ValueError as error:
        text = entries.get("prompt") or entries.get("mapper") or entries.get("direction") or ""
        raise BadInputError(f'"{shortened(text, 60)}": {one_line(error)}') from None


def _keep_identity(auto: bool, wanted: float | None) -> float | None:
    """What --auto has to keep of the person; None without it.

    Raises:
        UsageError: If it is no cosine.
    """
    if wanted is not None and not -1 <= wanted <= 1:
        raise UsageError(f"--keep-identity is a cosine, not {wanted:g}", f"--keep-identity {KEEP_IDENTITY:g}")
    return (KEEP_IDENTITY if wanted is None else wanted) if auto else None
