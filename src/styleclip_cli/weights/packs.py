"""Model packs: which weight files belong together, and whether they are what the manifest says.

A pack is a folder with a manifest.json and safetensors files:

    {"format": "styleclip-pack-1", "name": "toy", "resolution": 128, "alignment": "none", "licence": "MIT",
     "components": {"generator": {"file": "generator.safetensors", "sha256": "..."}, "clip": {...}, ...},
     "data": {"statistics": {"file": ..., "sha256": ...}, "relevance": {...}},
     "defaults": {"alpha": 4}, "quality": {...}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from styleclip_cli.errors import WeightsError

FORMAT = "styleclip-pack-1"
MANIFEST = "manifest.json"
_BUILT_IN = {"toy": Path(__file__).parent.parent / "toyworld" / "pack"}


@dataclass(frozen=True)
class PackFile:
    """One file of a pack: where it is, and the SHA-256 it must have."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Pack:
    """A set of networks that were made for each other.

    Attributes:
        name: Name of the pack.
        folder: Where it lies.
        resolution: Side of its pictures in pixels.
        alignment: How photos must be aligned ("none": cut out the middle square).
        licence: Licence of the weights.
        components: Weight files by part: generator, clip, encoder, identity, judge.
        data: Published measurements: statistics, relevance.
        defaults: Settings that suit it, by name (alpha, channels, steps, ...).
        quality: What was measured when it was made.
    """

    name: str
    folder: Path
    resolution: int
    alignment: str
    licence: str
    components: Mapping[str, PackFile]
    data: Mapping[str, PackFile] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all components, in hex: what results of the whole pack are keyed by."""
        return self.fingerprint_of(*self.components)

    def fingerprint_of(self, *parts: str) -> str:
        """SHA-256 over the named components, in hex.

        Raises:
            WeightsError: If the pack has no such component.
        """
        digest = hashlib.sha256()
        for part in sorted(parts):
            digest.update(f"{part}={self._entry(part).sha256}\n".encode())
        return digest.hexdigest()

    def component(self, part: str) -> Path:
        """Locate a weight file and check it against the manifest.

        Raises:
            WeightsError: If the pack has no such component, or its file is missing or differs.
        """
        entry = self._entry(part)
        _verify(entry, self.name)
        return entry.path

    def published(self, kind: str) -> Path | None:
        """Locate published measurements ("statistics", "relevance"); None if the pack has none.

        Raises:
            WeightsError: If the file is missing or differs from the manifest.
        """
        entry = self.data.get(kind)
        if entry is None:
            return None
        _verify(entry, self.name)
        return entry.path

    def _entry(self, part: str) -> PackFile:
        entry = self.components.get(part)
        if entry is None:
            raise WeightsError(
                f"the model pack {self.name} has no {part}", f"it has: {', '.join(sorted(self.components))}"
            )
        return entry


def installed() -> list[str]:
    """Names of the packs that come with the program."""
    return sorted(_BUILT_IN)


def find_pack(name: str) -> Pack:
    """Find a pack by name or folder and read its manifest.

    Raises:
        WeightsError: If there is no such pack, or its manifest cannot be used.
    """
    folder = _BUILT_IN.get(name) or Path(name)
    manifest = folder / MANIFEST
    try:
        there, is_folder = manifest.is_file(), folder.is_dir()
    except OSError as error:  # a name too long, a folder that may not be searched
        raise WeightsError(f"{name}: cannot be read ({error.strerror})") from None
    if not there:
        if name not in _BUILT_IN and not is_folder:
            raise WeightsError(
                f"no model pack {name!r}", f"--models {', '.join(installed())}, or a folder with a {MANIFEST}"
            )
        raise WeightsError(f"{folder}: no {MANIFEST} in this model pack", "install it again")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        return _parse(content, folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise WeightsError(
            f"{manifest}: not a usable manifest ({reason})", "install the pack again"
        ) from None


def _parse(content: dict[str, Any], folder: Path) -> Pack:
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}, expected {FORMAT!r}")
    resolution = content["resolution"]
    if not isinstance(resolution, int) or not 4 <= resolution <= 8192:
        raise ValueError(f"resolution {resolution!r}")
    return Pack(
        name=str(content["name"]),
        folder=folder,
        resolution=resolution,
        alignment=str(content.get("alignment", "none")),
        licence=str(content.get("licence", "")),
        components=_files(content["components"], folder),
        data=_files(content.get("data", {}), folder),
        defaults=dict(content.get("defaults", {})),
        quality=dict(content.get("quality", {})),
    )


def _files(entries: dict[str, Any], folder: Path) -> dict[str, PackFile]:
    files = {}
    for part, entry in entries.items():
        name = str(entry["file"])
        if Path(name).name != name:  # a manifest must not reach outside its folder
            raise ValueError(f"file name {name!r}")
        files[part] = PackFile(folder / name, str(entry["sha256"]).lower())
    return files


def _verify(entry: PackFile, pack: str) -> None:
    try:
        with entry.path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"{entry.path}: cannot be read ({error.strerror})", f"install the model pack {pack} again"
        ) from None
    if found != entry.sha256:
        raise WeightsError(
            f"{entry.path}: damaged or replaced (its SHA-256 is not the manifest's)",
            f"install the model pack {pack} again",
        )
