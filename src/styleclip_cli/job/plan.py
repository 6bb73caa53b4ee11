"""The plan of a run: inputs and the paths of their results, checked before any network is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from styleclip_cli.errors import BadInputError, OutputError, UsageError, not_there
from styleclip_cli.job.gallery import Gallery
from styleclip_cli.job.inputs import Item, exists, expand, scratch
from styleclip_cli.job.manifest import Row, read_manifest
from styleclip_cli.job.outputs import (
    Naming,
    check_beside,
    check_outputs,
    check_picture,
    check_results,
    distinct,
    is_file_name,
    plan_outputs,
    suffix_of,
    without_results,
)
from styleclip_cli.job.request import EditRequest
from styleclip_cli.job.watching import Film, plan_film

if TYPE_CHECKING:
    from styleclip_cli.photo.portrait import InvertedFace


CHOSEN_ON = 8
"""Inputs on which one strength for all of them is chosen."""


@dataclass(frozen=True)
class Planned:
    """One input, its request, and the path of its result.

    Attributes:
        item: The input.
        path: The file that is written; None for none.
        request: The request for it.
        found: The faces of its photo, if they are known already.
    """

    item: Item
    path: Path | None
    request: EditRequest
    found: Sequence[InvertedFace] = ()


@dataclass(frozen=True)
class Plan:
    """What `run` will do.

    Attributes:
        request: The request; rows of a manifest have their own.
        work: Inputs of this shard whose results are still to be made.
        skipped: Inputs whose results exist already (--skip-existing).
        gallery: Images that are made in addition to the results.
        film: Which steps of an optimization are saved; None for none.
        remarks: Messages for the user, one per line.
        reference: The source face of a transfer.
        boxes: Paths of the photos with numbered faces, by the names of inputs.
        first: The first inputs of all shards, done or not, on which one strength for all is chosen (--same).
    """

    request: EditRequest
    work: Sequence[Planned]
    skipped: Sequence[Planned] = ()
    gallery: Gallery = field(default_factory=Gallery)
    film: Film | None = None
    remarks: Sequence[str] = ()
    reference: Item | None = None
    boxes: Mapping[str, Path] = field(default_factory=dict)
    first: Sequence[Planned] = ()

    @property
    def mappers(self) -> set[str]:
        """Names of the mappers that are used."""
        requests = [self.request, *(one.request for one in (*self.work, *self.skipped))]
        return {step.mapper for each in requests for step in each.steps if step.mapper is not None}

    @classmethod
    def of_pictures(cls, request: EditRequest, pictures: Sequence[Any]) -> Plan:
        """A plan that writes no files.

        Args:
            request: The request.
            pictures: Files, Pillow images, or arrays [H, W, 3] of bytes.
        """
        items = []
        for number, one in enumerate(pictures, start=1):
            if isinstance(one, (str, Path)):
                items.append(Item(str(one), Path(one).stem, path=Path(one)))
            else:
                items.append(Item(f"picture {number}", f"picture-{number}", picture=one))
        return cls(request, [Planned(item, None, request) for item in items])


def plan(request: EditRequest) -> Plan:
    """Determine what is read and written, and check that this is possible.

    Every shard assigns names to all inputs; it checks existing files only for its own.

    Raises:
        StyleClipError: If the only input cannot be used.
        UsageError: If the request does not fit the inputs.
        OutputError: If a result cannot be written.
    """
    remarks: list[str] = []
    reference = _reference(request)
    if reference is not None and request.transfer is not None:
        what = request.layers if request.transfer.prompt is None else request.transfer.prompt
        request = replace(request, title=f"{what} from {reference.stem}")
    rows = _rows(request)
    _check_rows(request, rows)
    for mask in dict.fromkeys(row.request.region.mask for row in rows):
        if mask is not None and not exists(str(mask)):
            raise BadInputError(*not_there(mask))
    gallery = Gallery(request.sheet, request.slider, request.diff, _morph(request, rows))
    pairs = _named(request, rows, gallery, remarks)
    work = [one for number, one in enumerate(pairs) if request.shard.takes(number)]
    _check_comparisons(request, pairs)
    paths = [one.path for one in work if one.path is not None]
    beside = gallery.files(paths)
    latents = [path.with_suffix(".npz") for path in paths] if request.save_latent else []
    if len(set(latents)) < len(latents):
        raise UsageError(
            "two results would have the same file of latents", "names that differ before the dot"
        )
    items = [one.item for one in pairs]
    check_results([(one.item, one.path) for one in pairs if one.path is not None])
    replaced = request.overwrite or request.skip_existing
    check_outputs(paths, overwrite=replaced or request.stream)
    check_beside([*beside, *latents], items, overwrite=request.overwrite, again=request.skip_existing)
    skipped = [one for one in work if request.skip_existing and _is_there(one, gallery)]
    for one in skipped:
        assert one.path is not None
        gallery.found(one.item, one.path)
    if request.skip_existing:
        remarks.append(f"{len(skipped)} of {len(work)} results are there already")
    work = [one for one in work if one not in skipped]
    boxes = _boxes(request, [one.item for one in work], items, [*paths, *beside, *latents])
    film = None
    if request.method == "optimize":
        film = plan_film(request, [one.path for one in work if one.path is not None], replaced)
    first = _first(pairs) if request.same else ()
    return Plan(request, work, skipped, gallery, film, remarks, reference, boxes, first)


def _reference(request: EditRequest) -> Item | None:
    """The source face of a transfer.

    Raises:
        StyleClipError: If it cannot be used.
        UsageError: If it is several faces.
    """
    if request.transfer is None:
        return None
    items = expand([request.transfer.reference], request.max_megapixels)
    if len(items) != 1:
        raise UsageError(
            f"--from {request.transfer.reference} is {len(items)} faces", "--from one image, or seed:7"
        )
    return items[0]


def _boxes(
    request: EditRequest, work: Sequence[Item], items: Sequence[Item], taken: Sequence[Path]
) -> dict[str, Path]:
    """Paths of the photos with numbered faces; the path of a preview is checked with them.

    Args:
        request: The request.
        work: The inputs that are worked on.
        items: All inputs, which are never written over.
        taken: Other files that will be written.

    Raises:
        UsageError: If there is no photo to number faces in, or several photos would be one file.
        OutputError: If one cannot be written.
    """
    if request.preview is not None:
        check_picture(request.preview)
        check_beside([request.preview], items, overwrite=request.overwrite, again=False)
    if request.boxes is None:
        return {}
    photos = [item for item in work if item.seed is None and item.row is None and not item.average]
    if work and not photos:
        raise UsageError("faces are numbered in photos only", "leave out --preview, or --faces")
    if not request.align:
        raise UsageError("with --no-align no faces are looked for", "leave out --preview, or --faces")
    if is_file_name(request.boxes):
        check_picture(request.boxes)
        if len(photos) > 1:
            raise UsageError(
                f"--preview {request.boxes} shows one photo, not {len(photos)}", "--preview FOLDER/"
            )
        found = {item.name: request.boxes for item in photos}
    else:
        stems = distinct(f"{item.stem}_faces" for item in photos)
        found = {item.name: request.boxes / f"{stem}.png" for item, stem in zip(photos, stems, strict=True)}
    again = request.overwrite or request.skip_existing
    check_beside(found.values(), items, overwrite=again, again=False)
    for path in found.values():
        if path in taken:
            raise OutputError(f"{path}: is to be a result, too", "another name for --preview")
    return found


def _first(pairs: Sequence[Planned]) -> list[Planned]:
    """The first inputs of each edit."""
    found: dict[object, list[Planned]] = {}
    for one in pairs:
        found.setdefault(one.request.steps, []).append(one)
    return [one for some in found.values() for one in some[:CHOSEN_ON]]


def _rows(request: EditRequest) -> list[Row]:
    """Inputs, their requests, and the names of results that are given."""
    if request.manifest is not None:
        rows = read_manifest(request.manifest, request)
        if request.method == "optimize":
            rows = [row._replace(request=row.request.optimized()) for row in rows]
        return rows
    if request.inputs:
        items = expand(request.inputs, request.max_megapixels, request.recursive)
    elif request.optimize.free:
        items = [Item("average", "average", average=True)]
    else:
        raise UsageError("no INPUT is given", 'styleclip edit face.png --prompt "smiling"')
    return [Row(item, request) for item in items]


def _check_rows(request: EditRequest, rows: Sequence[Row]) -> None:
    if request.auto and any(not row.request.is_one_picture for row in rows):
        raise UsageError("--auto makes one picture of each face", "leave out --alpha and --beta")


def _morph(request: EditRequest, rows: Sequence[Row]) -> Path | None:
    """Path of the morph; None if there is none, or if the animation shows an optimization.

    Raises:
        UsageError: If it would show more than one result.
    """
    if request.animation is None or request.method == "optimize":
        return None
    if len(rows) > 1:
        raise UsageError(f"--animation shows one input, not {len(rows)}", "one at a time")
    if any(len(row.request.betas) > 1 for row in rows):
        raise UsageError("--animation shows one threshold", "--beta 0.1")
    return request.animation


def _named(request: EditRequest, rows: list[Row], gallery: Gallery, remarks: list[str]) -> list[Planned]:
    """Every input with its result; results of other inputs are not inputs."""
    naming = Naming(request.name, suffix_of(request.format))
    if request.method == "invert":
        if request.out is not None and is_file_name(request.out):  # one file for all
            check_outputs([request.out], overwrite=request.overwrite)
            return [Planned(row.item, None, row.request) for row in rows]
        naming = Naming(request.name, ".npz", frozenset({".npz"}), "{stem}")
    if request.stream:
        if len(rows) > 1:
            raise UsageError(f"{len(rows)} results do not fit into standard output", "--out FOLDER")
        return [Planned(rows[0].item, scratch() / f"picture{naming.suffix}", rows[0].request)]

    def names(rows: Sequence[Row]) -> list[Path]:
        items, requests = [row.item for row in rows], [row.request for row in rows]
        given = [row.output for row in rows]
        return plan_outputs(items, requests, request.out, naming, overwrite=True, given=given)

    paths = names(rows)
    if request.manifest is None:
        left = without_results([row.item for row in rows], paths, gallery.planned(paths))
        if len(left) < len(rows):
            remarks.append(f"{len(rows) - len(left)} of {len(rows)} inputs are results of others: left out")
            rows = [Row(item, request) for item in left]
            paths = names(rows)
    return [Planned(row.item, path, row.request) for row, path in zip(rows, paths, strict=True)]


def _check_comparisons(request: EditRequest, pairs: Sequence[Planned]) -> None:
    """Refuse comparisons that make no sense.

    Raises:
        UsageError: If a sheet would show a part, or a strip would be compared with one image.
    """
    if (request.sheet or request.slider) and request.shard.count > 1:
        raise UsageError(
            "--sheet and --slider show all results", "afterwards, in one process: --skip-existing"
        )
    compared = ["--sheet"] * bool(request.sheet) + ["--slider"] * bool(request.slider)
    compared += ["--diff"] * request.diff
    if compared and any(not one.request.is_one_picture for one in pairs):
        raise UsageError(f"{', '.join(compared)}: compare one picture with its original", "one --alpha")


def _is_there(one: Planned, gallery: Gallery) -> bool:
    """Whether a result and all of its additional files exist already."""
    assert one.path is not None
    latent = [one.path.with_suffix(".npz")] if one.request.save_latent else []
    return all(path.exists() for path in [one.path, *latent, *gallery.of_one(one.path)])
