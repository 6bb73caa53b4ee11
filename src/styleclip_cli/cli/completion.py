"""What the shell offers after an option. Imports nothing heavy: it is asked at each Tab."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import typer

from styleclip_cli.edits.channels import PUBLISHED
from styleclip_cli.errors import StyleClipError


def packs(incomplete: str) -> list[str]:
    """Names of model packs."""
    from styleclip_cli.weights.packs import names

    with suppress(StyleClipError, OSError):
        return list(_fitting(names(), incomplete))
    return []


def mappers(context: typer.Context, incomplete: str) -> list[str]:
    """Names of mappers of the pack that is named, or the usual one."""
    from styleclip_cli.weights import mappers as known
    from styleclip_cli.weights.packs import find_pack, usual_name

    with suppress(StyleClipError, OSError):
        models = context.params.get("models") or os.environ.get("STYLECLIP_MODELS") or usual_name()
        return list(_fitting((one.name for one in known.listed(find_pack(models))), incomplete))
    return []


def directions(incomplete: str) -> list[str]:
    """Files that may be directions, and folders."""
    return list(_fitting(_files(incomplete, (".npz", *PUBLISHED)), incomplete))


def parts(incomplete: str) -> list[str]:
    """Parts of a face, one after the other, with commas between them."""
    from styleclip_cli.settings import PART_WORDS

    done, comma, start = incomplete.rpartition(",")
    return [f"{done}{comma}{word}" for word in _fitting(PART_WORDS, start)]


def _fitting(names: Iterable[str], incomplete: str) -> Iterator[str]:
    """Names that begin so, but for those that would steer the terminal."""
    return (name for name in names if name.startswith(incomplete) and name.isprintable())


def _files(incomplete: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    # The shell compares letter by letter with what was typed, so "./x" stays "./x".
    typed, slash, start = incomplete.rpartition("/")
    with suppress(OSError):
        for path in sorted(Path(typed + slash or ".").iterdir()):
            if path.name.startswith(start) and (start or not path.name.startswith(".")):
                if path.is_dir():
                    yield f"{typed}{slash}{path.name}/"
                elif path.suffix in suffixes:
                    yield f"{typed}{slash}{path.name}"
