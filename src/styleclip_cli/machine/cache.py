"""Measured arrays kept as .npz files that can be trusted when they are read again.

A file holds its arrays and one JSON text: the schema (name/version), the version of the program, the key
(from what it was made), free details, and a SHA-256 over all of that. Files are written beside their final
place and renamed, so a reader sees a whole file or none; nothing is ever pickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from styleclip_cli import __version__
from styleclip_cli.errors import BadInputError, OutputError, not_there
from styleclip_cli.fingerprints import Fingerprint, same
from styleclip_cli.machine.atomic import atomic, locked
from styleclip_cli.machine.places import chosen

Arrays = dict[str, np.ndarray]
Json = dict[str, Any]

_log = logging.getLogger(__name__)
_HEADER = "header"
# What reading an archive that is cut short, altered or hostile can raise.
_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    MemoryError,
    RecursionError,
    RuntimeError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)


def cache_dir() -> Path:
    """Folder of everything measured: $STYLECLIP_CACHE_DIR, else the platform's cache folder.

    Raises:
        OutputError: If there is none (`places.chosen`).
    """
    return chosen("STYLECLIP_CACHE_DIR", "cache")


def cache_path(kind: str, key: Mapping[str, Any]) -> Path:
    """Where the measurement of this kind with this key is kept."""
    return cache_dir() / kind / f"{hashlib.sha256(_canonical(key).encode()).hexdigest()[:20]}.npz"


def places(kind: str, key: Mapping[str, Any]) -> Iterator[Path]:
    """Where it can lie: its place, then those of the names that earlier versions had for its weights."""
    yield cache_path(kind, key)
    for name, value in key.items():
        if isinstance(value, Fingerprint):
            yield from (cache_path(kind, {**key, name: each}) for each in sorted(value.earlier))


def save_npz(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
    *,
    schema: str,
    key: Mapping[str, Any] | None = None,
) -> None:
    """Write arrays with their provenance, whole or not at all.

    Args:
        path: File to write; its folder is made if missing, an older file is replaced.
        arrays: Numeric arrays by name (any name but "header").
        meta: Free details that JSON can hold.
        schema: Name and version of the layout, such as "styleclip.direction/1".
        key: What it was made from; compared by `load_npz(expect=...)`.

    Raises:
        OutputError: If the file cannot be written.
    """
    contents = {name: np.ascontiguousarray(a).reshape(np.shape(a)) for name, a in arrays.items()}
    bad = [name for name, array in contents.items() if array.dtype.hasobject or name == _HEADER]
    if bad:
        raise ValueError(f"cannot store: {', '.join(bad)}")
    header: Json = {"schema": schema, "version": __version__, "key": dict(key or {}), "meta": dict(meta)}
    header["sha256"] = _checksum(header, contents)
    payload: dict[str, Any] = {**contents, _HEADER: np.array(_canonical(header))}
    with atomic(path) as part, part.open("xb") as file:
        np.savez(file, **payload)


def load_npz(path: Path, *, schema: str, expect: Mapping[str, Any] | None = None) -> tuple[Arrays, Json]:
    """Read what `save_npz` wrote, and verify it.

    Args:
        path: File to read.
        schema: The layout it must have.
        expect: Parts of the key that must be equal.

    Returns:
        The arrays and the details (`meta`).

    Raises:
        BadInputError: If the file is missing, damaged, of another kind, or made from something else.
    """
    header, arrays = _read(path)
    if header.get("schema") != schema:
        raise BadInputError(
            f"{path}: holds {header.get('schema')!r}, not {schema!r}", "make it again with this version"
        )
    key = header.get("key")
    expected = expect or {}
    for name, wanted in json.loads(_canonical(expected)).items():
        found = key.get(name) if isinstance(key, dict) else None
        if found != wanted and not same(found, expected[name]):
            raise BadInputError(
                f"{path}: made for another {name} ({_short(found)}, here {_short(wanted)})",
                "make it again with these models and settings",
            )
    return arrays, header["meta"]


def verify(path: Path) -> None:
    """Make sure that a file of the cache is whole, and what its name says.

    Raises:
        BadInputError: If it is missing, damaged, or under another name than its key's.
    """
    header, _ = _read(path)
    key = header.get("key")
    if not isinstance(key, dict) or cache_path("", key).name != path.name:
        raise BadInputError(f"{path}: not under its contents' name", "copy it from a cache again")


def cached(
    kind: str,
    key: Mapping[str, Any],
    schema: str,
    compute: Callable[[], tuple[Mapping[str, np.ndarray], Mapping[str, Any]]],
) -> tuple[Arrays, Json]:
    """Read a measurement from the cache, or make it and keep it.

    Of several processes that want the same, one computes and the others wait for its file. A damaged or
    outdated file is made again with one logged warning; so is work that cannot be kept: it is returned all
    the same.

    Args:
        kind: Folder inside the cache, such as "statistics".
        key: Everything the result depends on, as JSON can hold it.
        schema: Layout of the arrays.
        compute: Makes (arrays, details).

    Returns:
        The arrays and the details.
    """
    path = cache_path(kind, key)
    for place in places(kind, key):
        with contextlib.suppress(BadInputError):  # said once, below, by the process that holds the lock
            return load_npz(place, schema=schema, expect=key)
    with locked(path, "making it"):
        if path.exists():
            try:
                return load_npz(path, schema=schema, expect=key)
            except BadInputError as error:
                _log.warning("%s; making it again", error.message)
        arrays, meta = compute()
        try:
            save_npz(path, arrays, meta, schema=schema, key=key)
        except OutputError as error:
            _log.warning("not kept for the next time: %s", error.message)
        return {name: np.asarray(array) for name, array in arrays.items()}, dict(meta)


def _read(path: Path) -> tuple[Json, Arrays]:
    try:
        if not path.is_file():
            raise BadInputError(*not_there(path))
        if not zipfile.is_zipfile(path):
            raise ValueError("not an .npz archive")
        with np.load(path, allow_pickle=False) as file:
            contents = {name: file[name] for name in file.files}
        header = json.loads(str(contents.pop(_HEADER)[()]))
        stated = header.pop("sha256")
        if stated != _checksum(header, contents):
            raise ValueError("its checksum does not match")
        if not isinstance(header["meta"], dict):
            raise ValueError("unexpected header")
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except _DAMAGE as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise BadInputError(
            f"{path}: damaged, or not a file of this program ({reason or type(error).__name__})",
            "make it again",
        ) from None
    return header, contents


def _checksum(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(_canonical({k: v for k, v in header.items() if k != "sha256"}).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else f"{text[:20]}..."
