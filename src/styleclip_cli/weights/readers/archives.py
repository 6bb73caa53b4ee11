"""Containers of tensors, opened without copying and without running anything: a file becomes plain values.

`torch.save` archives (zip, TorchScript, and the older form without zip), pickles, .npy and safetensors are
recognised by their first bytes. Tensors come out as numpy arrays that are views of the mapped file.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np

from styleclip_cli.errors import WeightsError, not_there, one_line
from styleclip_cli.weights.header import MAX_HEADER
from styleclip_cli.weights.readers import inert, pickles
from styleclip_cli.weights.readers.inert import (
    Damaged,
    InertObject,
    Name,
    Record,
    Refused,
    Unreadable,
    Untrusted,
    checked_count,
)
from styleclip_cli.weights.readers.torch_files import (
    BARE,
    LEGACY_START,
    PICKLED,
    bfloat16,
    read_legacy,
    read_zip,
    unwrapped,
)

Container = Literal["torch", "torchscript", "pickle", "npy", "safetensors"]

# Dictionaries of tensors or settings, and modules, have a few thousand entries at the most.
_MAX_ENTRIES = 20_000

_SAFETENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "<?",
    "BF16": "<u2",
}


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        container: The form it was in.
        value: Plain values, arrays and records.
        notes: Texts stored beside the tensors (safetensors).
        doubt: Of what was passed over, the first, in words; empty if nothing was.
    """

    container: Container
    value: Any
    notes: dict[str, str] = field(default_factory=dict)
    doubt: str = ""


def read(path: Path) -> Content:
    """Read a file of any of the forms, recognised by its content.

    Raises:
        WeightsError: If it is missing, in none of the forms, cut off or altered, or asks for something
            that reading it as data does not need.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe could wait for ever
            raise WeightsError(f"{path}: is not a file")
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            if size == 0:
                raise WeightsError(f"{path}: empty", "download it again")
            content = parse(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return replace(content, doubt=_doubt(content.value, size))
    except FileNotFoundError:
        raise WeightsError(*not_there(path)) from None
    except Untrusted as error:
        raise WeightsError(
            f"{path}: refused: {error}", "reading weights needs nothing of the kind; do not trust this file"
        ) from None
    except Refused as error:
        raise WeightsError(f"{path}: refused: {error}", error.hint or _SAVE_AGAIN) from None
    except Damaged as error:
        raise WeightsError(
            f"{path}: damaged or cut off ({error})", error.hint or "download it again"
        ) from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from None
    except BROKEN:
        raise WeightsError(f"{path}: damaged (its content makes no sense)", "download it again") from None


_SAVE_AGAIN = "if it is yours, save the network's tensors alone: torch.save(network.state_dict(), FILE)"

# What reading something else than was expected leads to.
BROKEN = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
    MemoryError,
    EOFError,
)


def parse(mapped: mmap.mmap) -> Content:
    """Read a mapped file (see `read`).

    Raises:
        Refused: If it asks for more than data.
        Damaged: If it is in none of the forms, or cut off or altered.
    """
    start = mapped[:32]
    if start.startswith(b"PK\x03\x04"):
        value, script = read_zip(mapped)
        return Content("torchscript" if script else "torch", value)
    if start.startswith(LEGACY_START):
        mapped.seek(0)
        return Content("torch", read_legacy(mapped, memoryview(mapped), BARE))
    if start.startswith(b"\x93NUMPY"):
        return Content("npy", _npy(mapped))
    # Before pickles: one header length in 32 begins with a pickle's first byte.
    if len(mapped) > 8 and 2 <= int.from_bytes(start[:8], "little") <= len(mapped) - 8 and start[8:9] == b"{":
        return _safetensors(mapped)
    if start[:1] == b"\x80":
        mapped.seek(0)
        # In protocol 2, a storage is a text that becomes bytes, and then an array.
        value = pickles.load(mapped, PICKLED, budget=2 * len(mapped))
        return Content("pickle", unwrapped(value))
    if start.lstrip()[:1] == b"<":
        raise Damaged("a web page, not a weight file")
    for begin, what, hint in _OTHER_FORMS:
        if start.startswith(begin) or (begin == b"ustar" and mapped[257:262] == begin):
            raise Refused(f"{what}, in no form that weights are published in", hint)
    raise Refused(
        "in no form that weights are published in", "the checkpoint itself is needed (.pt, .pth, .pkl, .npy)"
    )


_UNPACK = "unpack it, and give the file that is in it"
_OTHER_FORMS = (
    (
        b"version https://git-lfs",
        "a pointer to a file that git lfs keeps",
        "fetch the file itself: git lfs pull",
    ),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ", "an xz archive", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"ustar", "a tar archive", _UNPACK),
    (
        b"\x89HDF",
        "an HDF5 file, as Keras and TensorFlow write",
        "the network's PyTorch checkpoint, or NVlabs' .pkl",
    ),
    (b"\x89PNG", "a picture", ""),
    (b"\xff\xd8\xff", "a picture", ""),
)


_PLAIN = frozenset((type(None), bool, int, float, str, bytes))
"""Types with nothing inside, and no doubt."""


def _doubt(value: Any, size: int) -> str:
    """Look through content for what was passed over (see `Content.doubt`).

    What refers to the same things again and again is refused: converted, each takes place of its own. Two
    networks may share their tensors.
    """
    doubt = ""
    waiting, room, steps = [value], 2 * size + 2**20, 2 * pickles.MAX_OPERATIONS
    while waiting:
        entry = waiting.pop()
        if type(entry) in _PLAIN:
            continue
        if isinstance(entry, inert.Array):
            entry = entry.values
        inside: tuple[Any, ...] = ()
        if isinstance(entry, np.ndarray):
            room -= entry.size * entry.itemsize
        elif isinstance(entry, list | tuple):
            inside = tuple(entry)
        elif isinstance(entry, dict):
            inside = tuple(entry.values())
            doubt = doubt or _unreadable_key(entry)
        elif isinstance(entry, InertObject):
            inside = (*entry.args, entry.state, entry.items, entry.entries)
            doubt = doubt or _named(entry.name)
        elif isinstance(entry, Record):
            inside = (*entry.args, entry.state)
        elif not doubt:
            if isinstance(entry, Unreadable):
                doubt = entry.doubt
            elif isinstance(entry, set | frozenset):
                doubt = _unreadable_key(entry)
            elif isinstance(entry, Name) and entry.make is InertObject:
                doubt = _named(entry.name)
            elif isinstance(entry, inert.Dtype) and entry.dtype is None:
                doubt = inert.NO_NUMBERS
        steps -= len(inside)
        if room < 0 or steps < 0:
            raise Refused("it refers to the same things many times, and would take far more than its size")
        waiting.extend(inside)
    return doubt


def _unreadable_key(keys: Iterable[Any]) -> str:
    return next((key.doubt for key in keys if isinstance(key, Unreadable)), "")


def _named(name: str) -> str:
    return f"it names {inert.printable(name)}, which weights do not need"


def _npy(mapped: mmap.mmap) -> np.ndarray:
    mapped.seek(0)
    try:
        version = np.lib.format.read_magic(mapped)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        with warnings.catch_warnings():  # of a header that is odd Python
            warnings.simplefilter("ignore")
            shape, fortran, dtype = reader[version](mapped)
    except (*BROKEN, SyntaxError, TokenError):
        raise Damaged("broken .npy header") from None
    if dtype.hasobject or dtype.kind not in "fiub":
        raise Refused("it holds arrays of other things than numbers")
    count = checked_count(shape)
    raw = memoryview(mapped)[mapped.tell() :]
    if count * dtype.itemsize != len(raw):
        raise Damaged(f"an array of {count} numbers in {len(raw)} bytes")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def _safetensors(mapped: mmap.mmap) -> Content:
    """Our own files, and others' of the same form (https://github.com/huggingface/safetensors)."""
    length = int.from_bytes(mapped[:8], "little")
    if length > MAX_HEADER:
        raise Refused("it has a safetensors header of many megabytes")
    data = memoryview(mapped)[8 + length :]
    try:
        header = json.loads(mapped[8 : 8 + length])
        notes = {str(k): str(v) for k, v in dict(header.pop("__metadata__", {})).items()}
        state: dict[str, np.ndarray] = {}
        used = 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            code = _SAFETENSORS[entry["dtype"]]
            begin, end = entry["data_offsets"]
            count = checked_count(entry["shape"])
            if not used == begin <= end <= len(data) or end - begin != count * np.dtype(code).itemsize:
                raise Damaged("a tensor that is not where it should be")
            used = end
            values = np.frombuffer(data[begin:end], code).reshape(entry["shape"])
            state[name] = bfloat16(values) if entry["dtype"] == "BF16" else values
    except Damaged:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged("broken safetensors header") from None
    if used != len(data):
        raise Damaged("bytes that belong to no tensor")
    return Content("safetensors", state, notes)


def fields(value: Any) -> dict[str, Any]:
    """The entries of a dictionary, or of an `argparse.Namespace` or the like read as a record."""
    if isinstance(value, InertObject) and value.items:  # a dictionary of another class
        value = value.items
    elif isinstance(value, Record) and isinstance(value.state, dict):
        value = value.state
    if not isinstance(value, dict):
        return {}
    if len(value) > _MAX_ENTRIES:
        raise Damaged(f"a dictionary of {len(value)} entries")
    return {key: entry for key, entry in value.items() if isinstance(key, str)}


def tensors(value: Any) -> dict[str, np.ndarray]:
    """The arrays among the entries of a dictionary, by name."""
    found = {}
    for key, entry in fields(value).items():
        if isinstance(entry, inert.Array):
            entry = entry.values
        if isinstance(entry, np.ndarray) and entry.dtype.kind in "fiub":
            found[key] = entry
    return found


def is_module(value: Any) -> bool:
    """Whether a record is one of a PyTorch module that was pickled as a whole."""
    return isinstance(value, Record) and "_modules" in fields(value)


def module_tensors(value: Any) -> dict[str, np.ndarray]:
    """The tensors of a module, of TorchScript or pickled as a whole, named as its state dict names them.

    Raises:
        Damaged: If modules hold one another without end.
    """
    found: dict[str, np.ndarray] = {}
    waiting: list[tuple[str, Any]] = [("", value)]
    for _ in range(_MAX_ENTRIES):
        if not waiting:
            return found
        prefix, entry = waiting.pop()
        if isinstance(entry, np.ndarray):
            found[prefix[:-1]] = entry
            continue
        named = fields(entry)
        if "_modules" in named:
            named = {
                k: v
                for part in ("_parameters", "_buffers", "_modules")
                for k, v in fields(named.get(part)).items()
            }
        children = {key: child for key, child in named.items() if isinstance(child, np.ndarray | Record)}
        if len(waiting) + len(children) > _MAX_ENTRIES or any(
            len(prefix) + len(key) > 300 for key in children
        ):
            break
        waiting += [(f"{prefix}{key}.", child) for key, child in children.items()]
    raise Damaged("modules without end")


def total_bytes(state: dict[str, np.ndarray]) -> int:
    """Bytes that the arrays take once each has numbers of its own."""
    return sum(math.prod(array.shape) * array.itemsize for array in state.values())
