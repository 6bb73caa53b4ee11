"""Which latent mappers there are for a pack: trained here, published, or built in. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from styleclip_cli.errors import BadInputError, WeightsError
from styleclip_cli.weights import store
from styleclip_cli.weights.packs import Entry, Pack

FILE = "mapper.safetensors"


@dataclass(frozen=True)
class Listed:
    """One mapper.

    Attributes:
        name: What `--mapper` calls it.
        origin: "trained", "published" or "built in".
        path: Where it is; None if it has to be fetched first.
        entry: How it is published.
    """

    name: str
    origin: str
    path: Path | None
    entry: Entry | None = None


def slug(text: str, limit: int = 40) -> str:
    """Turn a text into a part of a file name, and a mapper's name: "With glasses!" -> "with-glasses"."""
    words = re.sub(r"[^\w]+", "-", text.lower(), flags=re.UNICODE).strip("-")
    if len(words) > limit:
        words = words[:limit].rsplit("-", 1)[0] or words[:limit]
    return words or "edit"


def folder_of(pack: Pack, name: str) -> Path:
    """Where a mapper that is trained for a pack is kept, unless another folder is named."""
    return store.home() / "mappers" / pack.name / name


def listed(pack: Pack) -> list[Listed]:
    """The mappers of a pack by name: trained ones hide published ones of the same name."""
    found = {
        name: Listed(
            name,
            "built in" if entry.source is None else "published",
            None if entry.file is None else entry.file.path,
            entry,
        )
        for name, entry in pack.mappers.items()
    }
    for path in sorted(folder_of(pack, "").glob(f"*/{FILE}")):
        found[path.parent.name] = Listed(path.parent.name, "trained", path)
    return [found[name] for name in sorted(found)]


def find(pack: Pack, text: str) -> Path:
    """The file of a mapper that a person names: a file, the folder of a training run, or a name.

    Raises:
        BadInputError: If there is none.
        WeightsError: If it has to be fetched first, or its file is another one.
    """
    known = {one.name: one for one in listed(pack)}
    if text in known:
        one = known[text]
        if one.path is None:
            raise WeightsError(
                f"the mapper {text} is not installed", f"styleclip mappers pull {text} --models {pack.name}"
            )
        if one.entry is not None and one.entry.file is not None:
            one.entry.file.verify(pack.name)
        return one.path
    try:
        path = Path(text)
        path = path / FILE if path.is_dir() else path
        if path.is_file():
            return path
    except (OSError, ValueError):  # a name too long, a NUL in it
        pass
    names = ", ".join(known) or "none yet"
    raise BadInputError(
        f"no mapper {text!r} (a file, or one of: {names})", "styleclip train-mapper --prompt ..."
    )
