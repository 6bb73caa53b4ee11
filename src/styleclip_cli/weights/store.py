"""Where installed weights lie: one folder for all packs, so that what two packs share is kept once.

    $STYLECLIP_HOME, else the platform's data folder
      weights/     converted parts (.safetensors), each with a receipt (.json)
      downloads/   what is on its way
      first-seen/  SHA-256 of published files that have none published, as first downloaded

A receipt says what a part was made from and what its file must be. The check of a large file's SHA-256 is
skipped while its size and time are those of the last check, as version control systems do. Imports nothing
heavy.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from styleclip_cli import __version__
from styleclip_cli.errors import OutputError, WeightsError
from styleclip_cli.machine.atomic import DAY, abandoned, atomic
from styleclip_cli.machine.places import chosen
from styleclip_cli.weights import header
from styleclip_cli.weights.fetch import Source

RECEIPT = "styleclip-receipt-1"
CONVERSION = 1
"""Counts up when a published file that could be read before becomes other tensors, and for nothing else."""


def home() -> Path:
    """Folder of the weights: $STYLECLIP_HOME, else the platform's data folder.

    Raises:
        OutputError: If there is none (`places.chosen`).
    """
    return chosen("STYLECLIP_HOME", "data")


def config_dir() -> Path:
    """Folder of config.toml and of people's own packs: $STYLECLIP_HOME, else the platform's config folder.

    Raises:
        OutputError: If there is none (`places.chosen`).
    """
    return chosen("STYLECLIP_HOME", "config")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class PackFile:
    """A file of a pack: where it is, and the SHA-256 it must have.

    Attributes:
        path: The file.
        sha256: SHA-256 of its content, in hex.
        checked: Its size and time (ns) when its SHA-256 was last found right; None if never.
        origin: Hash of what an installed part was made from, the same wherever it is installed; None for a
            file that lies beside the pack's, which is what it is.
    """

    path: Path
    sha256: str
    checked: tuple[int, int] | None = None
    origin: str | None = None

    @property
    def identity(self) -> str:
        """Hash of what the weights are."""
        return self.origin or self.sha256

    @property
    def earlier(self) -> tuple[str, ...]:
        """What earlier versions took for their identity: the SHA-256 of the converted file."""
        return (self.sha256,) if self.origin is None else _hashes(self.path, self.sha256)

    def verify(self, pack: str, thorough: bool = False) -> None:
        """Make sure that the file is the right one.

        Args:
            pack: Name of the pack, for messages.
            thorough: Read it, even if nothing says that it changed.

        Raises:
            WeightsError: If it is missing or another one.
        """
        again = f"install the model pack {pack} again (styleclip models pull {pack})"
        try:
            stat = self.path.stat()
            if not thorough and self.checked == (stat.st_size, stat.st_mtime_ns):
                return
            found = sha256_of(self.path)
        except OSError as error:
            raise WeightsError(f"{self.path}: cannot be read ({error.strerror})", again) from None
        if found != self.sha256:
            raise WeightsError(f"{self.path}: damaged or replaced (its SHA-256 is another one)", again)
        if self.checked is not None:  # so that it is not read again each time
            receipt = _read_receipt(self.path.with_suffix(".json"))
            if receipt is not None:
                with suppress(OutputError, OSError):
                    write_receipt(self.path, receipt)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What an installed part was made from.

    Attributes:
        part: Which part of a pack it is.
        layout: What kind of file it was read from.
        source: Name of that file.
        source_sha256: SHA-256 of that file.
        url: Where it came from; empty if it was imported.
        licence: Licence of the weights.
        file: Name of the converted file, beside the receipt.
        sha256: SHA-256 of the converted file.
        size: Bytes of the converted file.
        mtime_ns: Its time when the SHA-256 was last found right.
        version: Of the program that converted it.
        conversion: What `CONVERSION` was then.
        hashes: SHA-256 that other conversions of the same file may have, by versions that wrote notes in
            any order; empty until somebody asks.
    """

    part: str
    layout: str
    source: str
    source_sha256: str
    url: str
    licence: str
    file: str = ""
    sha256: str
    size: int = 0
    mtime_ns: int = 0
    version: str = __version__
    conversion: int = 1
    hashes: Sequence[str] = ()

    def origin(self, variant: str = "") -> str:
        """Hash of what the part was made from, by a SHA-256 that does not depend on how it is stored.

        Args:
            variant: As what the file was read (`packs.Entry.variant`).
        """
        what = f"{self.source_sha256} {self.part} {variant} {self.conversion}"
        return hashlib.sha256(what.encode()).hexdigest()


def key(source: Source, variant: str = "") -> str:
    """What a published file's parts are kept under: its name and hash, or its address if it has no hash.

    Args:
        source: The file.
        variant: As what it is read, where it can be read in several ways (`packs.Entry.variant`).
    """
    content = source.sha256 or source.git_sha1 or hashlib.sha256("\n".join(source.urls).encode()).hexdigest()
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(source.file).stem)[:60] or "weights"
    return f"{stem}-{content[:12]}" + (f"-{variant}" if variant else "")


def weights_path(source: Source, part: str, variant: str = "") -> Path:
    """Where the converted part of a published file lies, or would lie."""
    return home() / "weights" / f"{key(source, variant)}.{part}.safetensors"


def downloads_dir(source: Source) -> Path:
    """Where a published file is put while it is downloaded."""
    return home() / "downloads" / key(source)


def begun_downloads() -> list[Path]:
    """Folders of downloads that nobody has touched for a day."""
    return [path for path in (home() / "downloads").glob("*/") if _age(path) > DAY]


def begun_bytes(folder: Path) -> int:
    """Bytes of a download that has begun and not ended."""
    with suppress(OSError):
        return sum(path.stat().st_size for path in folder.iterdir())
    return 0


def find(source: Source, part: str, variant: str = "") -> Receipt | None:
    """The receipt of an installed part; None if it is not installed."""
    path = weights_path(source, part, variant)
    receipt = _read_receipt(path.with_suffix(".json"))
    return receipt if receipt is not None and path.is_file() else None


def installed_file(source: Source, part: str, variant: str = "") -> PackFile | None:
    """An installed part as a pack's file; None if it is not installed."""
    receipt = find(source, part, variant)
    if receipt is None:
        return None
    path = weights_path(source, part, variant)
    return PackFile(path, receipt.sha256, (receipt.size, receipt.mtime_ns), receipt.origin(variant))


@lru_cache
def _hashes(path: Path, sha256: str) -> tuple[str, ...]:
    """SHA-256 that an installed part has or could have; found once, and kept in its receipt."""
    receipt = _read_receipt(path.with_suffix(".json"))
    if receipt is not None and receipt.sha256 == sha256 and receipt.hashes:
        return tuple(map(str, receipt.hashes))
    with suppress(OSError, ValueError, AttributeError):
        found = header.hashes(path)
        if receipt is not None and found[:1] == [sha256]:  # it is whole, too
            with suppress(OutputError):
                write_receipt(path, replace(receipt, hashes=found))
            return tuple(found)
    return (sha256,)


def write_receipt(path: Path, receipt: Receipt) -> None:
    """Write the receipt of a converted file, which makes it an installed one.

    Args:
        path: The converted file.
        receipt: What it was made from; size and time are taken from the file.

    Raises:
        OutputError: If it cannot be written.
    """
    stat = path.stat()
    content = asdict(replace(receipt, file=path.name, size=stat.st_size, mtime_ns=stat.st_mtime_ns))
    _write_json(path.with_suffix(".json"), {"format": RECEIPT, **content})


def leftovers(used: set[Path]) -> Iterator[Path]:
    """Installed parts that no pack names, and what killed processes left half-written a day ago or more."""
    folder = home() / "weights"
    names = [*folder.glob("*.safetensors")]
    yield from (path for path in names if path not in used and _age(path) > DAY)
    yield from abandoned(folder)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def delete(path: Path) -> int:
    """Remove an installed part; returns how many bytes that freed.

    Raises:
        OutputError: If it cannot be removed.
    """
    try:
        size = path.stat().st_size
        path.with_suffix(".json").unlink(missing_ok=True)  # first: without a receipt it counts as absent
        path.unlink(missing_ok=True)
    except FileNotFoundError:  # another process was faster
        return 0
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed ({error.strerror})") from None
    return size


def known(source: Source) -> Source:
    """The source, held to the SHA-256 it had when it was first downloaded if none is published."""
    if source.pinned:
        return source
    found = _read_json(_first_seen(source)).get("sha256")
    return replace(source, sha256=found) if isinstance(found, str) and len(found) == 64 else source


def remember(source: Source, sha256: str, url: str) -> None:
    """Record the SHA-256 of a file that has none published; later downloads are held to it.

    Raises:
        OutputError: If it cannot be written.
    """
    if not source.pinned:
        _write_json(_first_seen(source), {"file": source.file, "sha256": sha256, "url": url})


def _first_seen(source: Source) -> Path:
    return home() / "first-seen" / f"{key(source)}.json"


def forget(source: Source) -> None:
    """No longer hold a file without a published hash to the first download's.

    Raises:
        OutputError: If the record cannot be removed.
    """
    try:
        _first_seen(source).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{_first_seen(source)}: cannot be removed ({error.strerror})") from None


def accepted_licences() -> set[str]:
    """Licences that were accepted on this machine."""
    found = _read_json(home() / "licences.json").get("accepted")
    return {entry for entry in found if isinstance(entry, str)} if isinstance(found, list) else set()


def accept_licences(licences: set[str]) -> None:
    """Record that licences were accepted.

    Raises:
        OutputError: If it cannot be written.
    """
    if not licences <= accepted_licences():
        _write_json(home() / "licences.json", {"accepted": sorted(accepted_licences() | licences)})


def _read_receipt(path: Path) -> Receipt | None:
    content = _read_json(path)
    if content.pop("format", None) != RECEIPT:
        return None
    try:
        return Receipt(**content)
    except TypeError:  # of another version, or altered
        return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
