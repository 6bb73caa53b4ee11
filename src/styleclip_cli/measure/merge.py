"""Bring together what was measured in several caches."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from styleclip_cli.errors import BadInputError
from styleclip_cli.machine.atomic import atomic
from styleclip_cli.machine.cache import verify

KINDS = ("statistics", "relevance")
"""Folders of a cache whose files several machines can make: those of jobs in pieces."""


@dataclass(frozen=True)
class Merged:
    """What happened to the files of a cache.

    Attributes:
        copied: How many were taken.
        known: How many were there already.
        refused: Why the others were not taken, a line each.
    """

    copied: int
    known: int
    refused: tuple[str, ...]


def merge(source: Path, target: Path) -> Merged:
    """Copy the measurements of a cache that another one lacks; each is verified first.

    Args:
        source: Folder of the one cache.
        target: Folder of the other, made if missing. What is whole there is kept as it is.

    Returns:
        What happened to each file.

    Raises:
        BadInputError: If the source is no cache.
        OutputError: If the target cannot be written.
    """
    if not any((source / kind).is_dir() for kind in KINDS):
        raise BadInputError(
            f"{source}: holds no measurements", "what STYLECLIP_CACHE_DIR was there; styleclip cache where"
        )
    copied = known = 0
    refused = []
    for kind in KINDS:
        for path in sorted((source / kind).glob("*.npz")):
            try:
                verify(path)
            except BadInputError as error:
                refused.append(error.message)
                continue
            place = target / kind / path.name
            if _whole(place):
                known += 1
                continue
            with atomic(place) as part:
                shutil.copyfile(path, part)
            copied += 1
    return Merged(copied, known, tuple(refused))


def _whole(path: Path) -> bool:
    try:
        verify(path)
    except BadInputError:
        return False
    return True
