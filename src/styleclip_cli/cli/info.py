"""`styleclip info`: what a file is, and how an image was made."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from styleclip_cli.cli import report
from styleclip_cli.errors import (
    BadInputError,
    PartialFailure,
    StyleClipError,
    WeightsError,
    one_line,
    shortened,
)

if TYPE_CHECKING:
    from PIL import Image

_WEIGHTS = frozenset({".npz", ".npy", ".pt", ".pth", ".pkl", ".bin", ".safetensors"})
_MARKS = {"compositeWithTrainedAlgorithmicMedia": "edited by AI", "trainedAlgorithmicMedia": "made by AI"}
_OURS = {
    "styleclip.w-plus": "latents",
    "styleclip.inversion": "inversion",
    "styleclip.direction": "direction",
    "styleclip.statistics": "statistics",
    "styleclip.text-direction": "direction of a sentence",
    "styleclip.null-directions": "directions of texts without meaning",
    "styleclip.relevance": "relevance",
}
_MEANINGS = {
    "alphas": "strength",
    "beta": "least relevance of a shifted channel",
    "channels": "style channels that were shifted",
    "confidence": "how surely the pack understood the prompt, 0 to 1",
    "layers": "style layers that might change",
    "only": "parts of the face that might change",
    "mask": "of where the image might change",
    "fingerprint": "hash of the pack's weights",
    "seed": "of the measurements",
    "sample": "seed of the generated face",
    "steps": "of the inversion",
    "literal": "whether the prompt was used as it is",
    "identity": "kept at least, cosine",
}
"""What entries of a recipe are, where their names do not say it."""
_MAX_HEADER = 2**22


def info(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Images, latents, directions, weight files.", show_default=False),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per file, each on one line.")
    ] = False,
) -> None:
    """Identify files; for an image, show whether styleclip made it, and how.

    Example: styleclip info edited.png
    """
    failures: list[StyleClipError] = []
    for name in files:
        try:
            found = {"file": name, **_describe(Path(name))}
        except (BadInputError, WeightsError) as error:
            failures.append(error)
            if as_json:
                report.data(json.dumps({"file": name, "error": error.message}))
            if len(files) > 1:
                report.error(error.message, error.hint)
        else:
            for line in [json.dumps(found)] if as_json else _lines(found):
                report.data(line)
    if not failures:
        return
    if len(files) == 1:
        raise BadInputError(failures[0].message, failures[0].hint)
    message = f"{len(failures)} of {len(files)} could not be read"
    raise BadInputError(message) if len(failures) == len(files) else PartialFailure(message)


def _describe(path: Path) -> dict[str, Any]:
    from styleclip_cli.photo.read import UnknownFormatError, opened

    if path.suffix.lower() not in _WEIGHTS:
        try:
            with opened(path) as image:
                return _picture(path, image)
        except UnknownFormatError as error:
            try:  # S_mean_std, for one, has no suffix
                return _weights(path)
            except WeightsError:
                raise error from None
    header = _header(path)
    return _own(path, header) if header is not None else _weights(path)


def _picture(path: Path, image: Image.Image) -> dict[str, Any]:
    from styleclip_cli.recipe import SCHEMA
    from styleclip_cli.save import mark_of, metadata_of

    width, height = image.size
    found: dict[str, Any] = {
        "kind": "picture",
        "format": "JPEG" if image.format == "MPO" else image.format,
        "width": width,
        "height": height,
        "ai": mark_of(image),
        "made_by": None,
        "recipe": None,
        **_taken(image),
    }
    made = metadata_of(image)
    if made is not None:
        entries = {key: value for key, value in made.items() if key not in ("schema", "version")}
        found["made_by"] = _program(made)
        found["recipe"] = _checked(path, made) if made["schema"] == SCHEMA else entries
    return found


def _checked(path: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    from styleclip_cli.recipe import Recipe

    entries = Recipe.from_mapping(made, path).entries()
    return {key: value for key, value in entries.items() if key != "version"}


def _taken(image: Image.Image) -> dict[str, str | None]:
    """When and with what a photo was taken."""
    from PIL import Image
    from PIL.ExifTags import IFD, Base

    from styleclip_cli.photo.exif import exif_of

    here = "exif" in image.info or image.format == "TIFF"  # else a PNG would be decoded, looking for them
    about = exif_of(image, []) if here else Image.Exif()
    details = about.get_ifd(IFD.Exif)
    camera = " ".join(word for word in (_word(about.get(tag)) for tag in (Base.Make, Base.Model)) if word)
    return {
        "date": _word(details.get(Base.DateTimeOriginal)) or _word(about.get(Base.DateTime)),
        "camera": camera or None,
        "lens": _word(details.get(Base.LensModel)),
    }


def _program(made: Mapping[str, Any]) -> str:
    return shortened(f"styleclip {made.get('version', '')}".strip(), 60)


def _word(value: object) -> str | None:
    return one_line(value.replace("\0", " "), 100) if isinstance(value, str) and value.strip("\0 ") else None


def _header(path: Path) -> dict[str, Any] | None:
    """The header of a file that `cache.save_npz` wrote; None if it is something else."""
    import zipfile

    import numpy as np

    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            sizes = {member.filename: member.file_size for member in members}
            # Ours are not compressed; what claims more than the file's own size is not ours, or a bomb.
            if sum(sizes.values()) > path.stat().st_size or not 0 < sizes.get("header.npy", 0) < _MAX_HEADER:
                return None
            with archive.open("header.npy") as file:
                header = json.loads(str(np.lib.format.read_array(file, allow_pickle=False)[()]))
    except Exception:  # a strange archive raises anything; whoever reads it next says what is wrong
        return None
    return header if isinstance(header, dict) and isinstance(header.get("schema"), str) else None


def _own(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    from styleclip_cli.machine.cache import load_npz

    arrays, meta = load_npz(path, schema=header["schema"])  # reads it all, and checks it
    return {
        "kind": _OURS.get(header["schema"].partition("/")[0], header["schema"]),
        "made_by": _program(header),
        "arrays": {name: list(array.shape) for name, array in arrays.items()},
        "details": meta,
    }


def _weights(path: Path) -> dict[str, Any]:
    from styleclip_cli.weights.readers import archives, read_latents, read_parts

    try:
        parts = [_part(p.name, p.layout, p.state, p.notes) for p in read_parts(path)]
    except WeightsError as error:
        with suppress(WeightsError):
            return {"kind": "latents", "arrays": {"w_plus": list(read_latents(path).shape)}}
        content = archives.read(path)  # a pack's own file may not say which part it is: its pack.toml does
        if content.container != "safetensors" or "part" in content.notes:
            raise error from None
        parts = [_part("tensors", "safetensors", content.value, content.notes)]
    return {"kind": "weights", "parts": parts, "use": _use(path, parts)}


def _use(path: Path, parts: Sequence[Mapping[str, Any]]) -> str | None:
    """The command that takes a file in; None for one that is a pack's already."""
    held = {part["part"] for part in parts if "part" not in part["notes"]}
    file = shlex.quote(str(path))
    if "mapper" in held:
        return f"styleclip edit PHOTO --mapper {file}"
    if "generator" in held:
        return f"styleclip models add NAME --generator {file}"
    for part in ("encoder", "clip", "identity", "relevance", "statistics"):
        if part in held:
            return f"styleclip models add NAME --generator GENERATOR --{part} {file}"
    return f"styleclip models import {file} --pack ffhq" if held & {"landmarks", "detector"} else None


def _part(name: str, layout: str, state: Mapping[str, Any], notes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "part": name,
        "layout": layout,
        "tensors": len(state),
        "numbers": sum(int(array.size) for array in state.values()),
        "notes": dict(notes),
    }


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """What was found, for a person: a line that says what it is, then what is known, a line each."""
    title = found["kind"]
    if "format" in found:
        title = f"{found['format']} picture, {found['width']}x{found['height']}"
    yield f"{found['file']}: {title}"
    if found["kind"] == "picture":
        yield f"  made by: {found['made_by'] or 'not by styleclip, or it does not say'}"
    elif "made_by" in found:
        yield f"  made by: {found['made_by']}"
    if found.get("ai"):
        yield f"  mark: {_MARKS.get(found['ai'], 'IPTC')} ({found['ai']})"
    for name in ("date", "camera", "lens"):
        if found.get(name):
            yield f"  {name}: {found[name]}"
    for part in found.get("parts", ()):
        yield f"  {part['part']}: {part['layout']}, {part['tensors']} tensors, {part['numbers']:,} numbers"
        about = part["notes"]
        if part["part"] != "mapper":
            from styleclip_cli.weights.readers.parts import TOLD

            about = {name: about[name] for name in TOLD if name in about}
        yield from (f"    {n}: {shortened(v, 120)}" for n, v in about.items() if n not in ("part", "layout"))
    if found.get("use"):
        yield f"  use: {found['use']}"
    for name, shape in found.get("arrays", {}).items():
        yield f"  {name}: {'x'.join(map(str, shape)) or 'a number'}"
    recipe = found.get("recipe") or {}
    for name, value in {**recipe, **found.get("details", {})}.items():
        meaning = f"  ({_MEANINGS[name]})" if name in _MEANINGS and name in recipe else ""
        yield f"  {one_line(name, 60)}: {_short(value)}{meaning}"


def _short(value: object) -> str:
    if isinstance(value, (list, tuple)):
        shown = ", ".join(_short(entry) for entry in value[:8])
        return shown if len(value) <= 8 else f"{shown}, ... ({len(value)} in all)"
    text = f"{value:.9g}" if isinstance(value, float) else str(value)
    return shortened(" ".join(text.split()), 200)
