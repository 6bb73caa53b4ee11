"""Rows of inputs, each with its own edit: CSV, or JSON lines. This module imports nothing heavy."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from styleclip_cli.errors import BadInputError, StyleClipError, UsageError, not_there, one_line
from styleclip_cli.job.inputs import STREAM, Item, at_home, exists, expand, read_list
from styleclip_cli.job.request import EditRequest
from styleclip_cli.job.values import parse_parts
from styleclip_cli.recipe import Step, parse_json

_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_COLUMNS: dict[str, tuple[Callable[[str], Any], str]] = {
    "alpha": (float, "a number"),
    "beta": (float, "a number"),
    "channels": (int, "a whole number"),
    "literal": (lambda text: _TRUTHS[text.lower()], "true or false"),
    "edits": (json.loads, "a list in JSON"),
}
"""What cells hold that is no text."""
_REGION = ("only", "mask")
_ROW = ("input", "output", *(name for name in Step.__dataclass_fields__), "edits", *_REGION)


class Row(NamedTuple):
    """One input.

    Attributes:
        item: The input.
        request: The request for it.
        output: The name of its result, if it is given.
    """

    item: Item
    request: EditRequest
    output: str | None = None


def read_manifest(path: str, request: EditRequest) -> list[Row]:
    """Read rows of inputs, each with its request, from CSV or JSON lines.

    Args:
        path: The file; - for standard input. JSON lines begin with a brace.
        request: The request of the command line, for everything that rows leave out.

    Returns:
        Items, each with its request, and with its output if the row names one.

    Raises:
        BadInputError: If the manifest cannot be read, or a row is invalid; nothing has been started then.
    """
    where = "standard input" if path == STREAM else path
    found: list[Row] = []
    for number, row in _rows(path, where):
        try:
            source, output, own = _row(row, _with_region(row, request, path))
        except UsageError as error:
            raise BadInputError(f"{where}: row {number}: {error.message}", error.hint) from None
        except (ValueError, TypeError) as error:
            raise BadInputError(f"{where}: row {number}: {one_line(error)}") from None
        try:
            items = expand([_beside(source, path) or source], request.max_megapixels, request.recursive)
        except StyleClipError as error:  # one bad input does not stop the others
            bad = BadInputError(error.message, error.hint)
            items = [Item(source, Path(source).stem, error=bad)]
        if output is not None and len(items) > 1:
            raise BadInputError(f"{where}: row {number}: {len(items)} faces do not fit into {output}")
        found += [Row(item, own, output) for item in items]
    if not found:
        raise BadInputError(f"{where}: the manifest has no rows", "a header with input and prompt, then rows")
    return found


def _beside(name: str, manifest: str) -> str:
    """The path of a bare name next to the manifest but not in the current folder; empty if there is none."""
    if manifest == STREAM or exists(name):
        return ""
    path = str(Path(manifest).parent / name)
    return path if exists(path) else ""


def _with_region(row: Mapping[str, Any], request: EditRequest, manifest: str) -> EditRequest:
    """The request with the region of a row, where it names one.

    Raises:
        ValueError: If it is no text.
        UsageError: If there is no such part.
    """
    own = {name: row[name] for name in _REGION if name in row}
    if not all(isinstance(text, str) for text in own.values()):
        raise ValueError("only and mask are texts")
    if own and request.method == "invert":
        raise ValueError(f"{', '.join(own)}: not for styleclip invert")
    region = request.region
    if "only" in own:
        region = replace(region, only=parse_parts(own["only"]))
    if "mask" in own:
        region = replace(region, mask=Path(_beside(own["mask"], manifest) or at_home(own["mask"])))
    return replace(request, region=region)


def _row(row: Mapping[str, Any], request: EditRequest) -> tuple[str, str | None, EditRequest]:
    """The input, output and request of one row.

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
    own = {name: row[name] for name in row if name not in ("input", "output", "edits", *_REGION)}
    if request.method in ("transfer", "invert"):  # the command says what is done
        if unknown := own.keys() - ({"alpha"} if request.method == "transfer" else set()):
            raise ValueError(f"{', '.join(sorted(unknown))}: not for styleclip {request.method}")
        alphas = (float(own["alpha"]),) if "alpha" in own else request.alphas
        return source, output, replace(request, alphas=alphas)
    if "edits" in row:
        edits = row["edits"]
        if own or not isinstance(edits, list) or not all(isinstance(one, Mapping) for one in edits):
            raise ValueError("edits is a list of edits, in the place of prompt and the rest")
        return source, output, request.of_steps([Step.from_mapping(one) for one in edits])
    says = {"prompt", "mapper", "direction"} & own.keys()
    if not says and not request.steps:
        raise ValueError("says no prompt, and there is no --prompt for all")
    if not says and len(request.steps) > 1:
        if own:
            raise ValueError(f"{', '.join(own)}: the command's prompts are several")
        return source, output, request
    # What a row leaves out is the command's.
    start: Mapping[str, Any] = {}
    if not says:
        start = request.steps[0].entries()
    elif "prompt" in says:
        start = request.rows.entries
    found = request.of_steps([Step(**{**start, **own})])
    if "alpha" not in own:
        found = replace(found, alphas=request.rows.alphas)
    if found.steps[0].prompt is not None and not {"beta", "channels"} & own.keys():
        found = replace(found, betas=request.rows.betas)
    return source, output, found


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
        header = text.partition("\n")[0]
        delimiter = max(",;\t", key=header.count)  # Excel writes semicolons where the comma is in numbers
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        if reader.fieldnames is None or "input" not in reader.fieldnames:
            raise ValueError("no column is called input")
        rows = []
        for row in reader:
            if None in row:
                raise ValueError(f"row {reader.line_num} has more cells than the header")
            cells = {k: v for k, v in row.items() if v not in (None, "")}
            rows.append((reader.line_num, _typed(cells, reader.line_num, delimiter != ",")))
        return rows
    except FileNotFoundError:
        raise BadInputError(*not_there(where)) from None
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or one_line(error, 120)
        raise BadInputError(f"{where}: not a usable manifest ({reason})") from None


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _typed(row: dict[str, str], number: int, commas: bool) -> dict[str, Any]:
    """Cells converted to the types of their columns; with decimal commas where commas separate no cells.

    Raises:
        ValueError: If a cell cannot be converted.
    """
    found: dict[str, Any] = dict(row)
    for name, (read, wanted) in _COLUMNS.items():
        if name in row:
            text = row[name].strip()
            try:
                found[name] = read(text.replace(",", ".") if commas and read is float else text)
            except (KeyError, ValueError):
                raise ValueError(f"row {number}, {name}: {one_line(text, 40)!r} is not {wanted}") from None
    return found
