"""Containers of tensors, opened without copying and without running anything: a file becomes plain values.

`torch.save` archives (zip, TorchScript, and the older form without zip), pickles, .npy and safetensors are
recognised by their first bytes. Tensors come out as numpy arrays that are views of the mapped file.

Layout of the torch forms: torch/serialization.py (zip: `data.pkl` and `data/N`; older: five pickles, then
the storages) and, for TorchScript, torch/csrc/jit/serialization.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np

from styleclip_cli.errors import WeightsError, one_line
from styleclip_cli.weights.readers import pickles
from styleclip_cli.weights.readers.pickles import Damaged, Record, Refused, checked_count

Container = Literal["torch", "torchscript", "pickle", "npy", "safetensors"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# A directory entry costs a hundred bytes, and a thousand when it has been read; e4e has 569.
_MAX_DIRECTORY = 2 * 2**20
_MAX_HEADER = 2 * 2**20
# Dictionaries of tensors or settings, and modules, have a few thousand entries at the most.
_MAX_ENTRIES = 20_000
# Pickles inside pickles hold one storage each: some 30 operations.
_MAX_INNER_OPERATIONS = 200

_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<?",
}
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
}


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        container: The form it was in.
        value: Plain values, arrays and records.
        notes: Texts stored beside the tensors (safetensors).
    """

    container: Container
    value: Any
    notes: dict[str, str] = field(default_factory=dict)


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
        _check_sharing(content.value, size)
        return content
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except Refused as error:
        raise WeightsError(
            f"{path}: refused: {error}", "reading weights needs nothing of the kind; do not trust this file"
        ) from None
    except Damaged as error:
        raise WeightsError(f"{path}: damaged or cut off ({error})", "download it again") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from None
    except BROKEN as error:
        raise WeightsError(f"{path}: damaged ({one_line(error, 80)})", "download it again") from None


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
    start = mapped[:16]
    if start.startswith(b"PK\x03\x04"):
        return _zip(mapped)
    if start.startswith(_LEGACY_START):
        mapped.seek(0)
        return Content("torch", _legacy(mapped, memoryview(mapped), _BARE))
    if start.startswith(b"\x93NUMPY"):
        return Content("npy", _npy(mapped))
    # Before pickles: one header length in 32 begins with a pickle's first byte.
    if len(mapped) > 8 and 2 <= int.from_bytes(start[:8], "little") <= len(mapped) - 8 and start[8:9] == b"{":
        return _safetensors(mapped)
    if start[:1] == b"\x80":
        mapped.seek(0)
        # In protocol 2, a storage is a text that becomes bytes, and then an array.
        value = pickles.load(mapped, _PICKLED, budget=2 * len(mapped))
        return Content("pickle", _unwrapped(value))
    if start.lstrip()[:1] == b"<":
        raise Damaged("a web page, not a weight file")
    raise Damaged("in no form that weights are published in")


def _check_sharing(value: Any, size: int) -> None:
    """Refuse content that refers to the same things again and again: converted, each takes place of its own.

    Two networks may share their tensors.
    """
    waiting, room, steps = [value], 2 * size + 2**20, 2 * pickles.MAX_OPERATIONS
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, pickles.Array):
            entry = entry.values
        inside: tuple[Any, ...] = ()
        if isinstance(entry, np.ndarray):
            room -= entry.size * entry.itemsize
        elif isinstance(entry, Record):
            inside = (*entry.args, entry.state)
        elif isinstance(entry, list | tuple):
            inside = tuple(entry)
        elif isinstance(entry, dict):
            inside = tuple(entry.values())
        steps -= len(inside)
        if room < 0 or steps < 0:
            raise Refused("it refers to the same things many times, and would take far more than its size")
        waiting.extend(inside)


# Tensors: storages are one-dimensional arrays, tensors are views of them.


def _rebuild(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`: a tensor from a storage."""
    if not isinstance(storage, np.ndarray) or storage.ndim != 1:
        raise Damaged("a tensor without a storage")
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride):
        raise Damaged("a tensor with an impossible shape")
    count = checked_count(size)
    checked_count((offset, *stride))
    if len(size) > 32:
        raise Damaged("a tensor with an impossible shape")
    if count == 0:
        return np.empty(size, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # The second condition refuses views that repeat their numbers: a few bytes could claim a terabyte.
    if last >= len(storage) or count > len(storage):
        raise Damaged(f"a tensor of {count} numbers that reaches beyond its storage of {len(storage)}")
    step = storage.itemsize
    return np.ndarray(size, storage.dtype, storage, offset * step, tuple(s * step for s in stride))


def _size(sizes: Any = ()) -> tuple[Any, ...]:
    if not isinstance(sizes, tuple):
        raise Damaged("a size that is no tuple")
    return sizes


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _bfloat16(raw: np.ndarray) -> np.ndarray:
    """Numpy has no bfloat16: the same numbers as float32."""
    return np.left_shift(raw, 16, dtype=np.uint32).view(np.float32)


def _storage(kind: Any, count: Any, raw: memoryview) -> np.ndarray:
    """The numbers of a storage, as a view of its bytes."""
    if not isinstance(kind, str) or isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise Damaged("a storage of no known kind")
    code = "<u2" if kind == "BFloat16Storage" else _STORAGES.get(kind)
    if code is None:
        raise Refused(f"it asks for a storage of kind {kind[:40]}")
    dtype = np.dtype(code)
    if count * dtype.itemsize > len(raw):
        raise Damaged(f"a storage of {count} numbers in {len(raw)} bytes")
    values = np.frombuffer(raw, dtype, count)
    return _bfloat16(values) if kind == "BFloat16Storage" else values


def _nothing(*_: Any) -> None:
    return None


# Names that torch.save writes, beside those of `pickles.ALLOWED`.
_TORCH: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "torch.device": _nothing,
    "torch.serialization._get_layout": _nothing,
    **{
        f"torch.{name}": _nothing
        for name in [
            "float32",
            "float16",
            "bfloat16",
            "float64",
            "int64",
            "int32",
            "int16",
            "int8",
            "uint8",
            "bool",
            "strided",
        ]
    },
    **{f"torch.{name}": pickles.record(name) for name in (*_STORAGES, "BFloat16Storage")},
}


def _storage_kind(kind: Any) -> Any:
    """Name of a storage class that stands on the stack uncalled."""
    return getattr(kind, "name", "").rpartition(".")[2]


def _zip(mapped: mmap.mmap) -> Content:
    members = _members(mapped)
    prefix = next((name[: -len("data.pkl")] for name in members if name.endswith("/data.pkl")), None)
    if prefix is None or prefix.count("/") != 1:
        if any(name.endswith(".npy") for name in members):
            raise Damaged("an .npz archive, which holds latents or measurements, not a network")
        raise Damaged("a zip archive without weights")
    if f"{prefix}byteorder" in members and bytes(members[f"{prefix}byteorder"]()) != b"little":
        raise Refused("it holds big-endian numbers")
    script = f"{prefix}constants.pkl" in members

    def persistent(identity: Any) -> np.ndarray:
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise Damaged("an unknown reference")
        _, kind, key, _, count, *_ = identity
        member = members.get(f"{prefix}data/{key}") if isinstance(key, str) else None
        if member is None:
            raise Damaged("a storage is missing")
        name = (prefix, key)
        if name not in storages:
            storages[name] = _storage(_storage_kind(kind), count, member())
        return storages[name]

    storages: dict[tuple[str, str], np.ndarray] = {}
    pickle = bytes(members[f"{prefix}data.pkl"]())
    value = pickles.load(
        io.BytesIO(pickle),
        _TORCH | pickles.ALLOWED,
        persistent,
        classes="__torch__." if script else None,
        budget=len(pickle),
    )
    return Content("torchscript" if script else "torch", _unwrapped(value))


def _members(mapped: mmap.mmap) -> dict[str, Callable[[], memoryview]]:
    """Members of a zip archive by name: functions that check the sum of one and give its bytes.

    Compressed members are refused when they are opened, so that nothing can be larger than the file.
    """
    _check_directory(mapped)
    found: dict[str, Callable[[], memoryview]] = {}
    try:
        infos = zipfile.ZipFile(io.BufferedReader(_Raw(mapped))).infolist()
    except (
        zipfile.BadZipFile,
        ValueError,
        OSError,
        struct.error,
        NotImplementedError,
        UnicodeError,
    ) as error:
        raise Damaged(f"broken zip archive: {one_line(error)}") from None
    if sum(info.compress_size for info in infos) > len(mapped):
        raise Refused("it has zip members that overlap")
    for info in infos:
        if info.filename in found:
            raise Refused("it has two zip members of one name")
        found[info.filename] = lambda info=info: _member(mapped, info)  # type: ignore[misc]
    return found


class _Raw(io.RawIOBase):
    """A mapped file as a stream of its own, whose position nobody else moves."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self.view, self.at = memoryview(mapped), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: len(self.view)}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self.at = base + offset
        return self.at

    def readinto(self, buffer: Any) -> int:
        part = self.view[self.at : self.at + len(buffer)]
        buffer[: len(part)] = part
        self.at += len(part)
        return len(part)


def _check_directory(mapped: mmap.mmap) -> None:
    """Refuse a zip directory that would be huge once read; see the zip specification, 4.3.14 and 4.3.16."""
    end = mapped.rfind(b"PK\x05\x06", max(0, len(mapped) - 65557))
    if end < 0 or end + 22 > len(mapped):
        raise Damaged("a zip archive without an end")
    sizes = [int.from_bytes(mapped[end + 12 : end + 16], "little")]
    locator = end - 20
    if locator >= 0 and mapped[locator : locator + 4] == b"PK\x06\x07":
        # zipfile goes by the record right before the locator, others by the one that it points to.
        pointed = int.from_bytes(mapped[locator + 8 : locator + 16], "little")
        sizes = [
            int.from_bytes(mapped[at + 40 : at + 48], "little") for at in (locator - 56, pointed) if at >= 0
        ]
    if max(sizes, default=0) > _MAX_DIRECTORY:
        raise Refused("it has a zip directory of many megabytes")


def _member(mapped: mmap.mmap, info: zipfile.ZipInfo) -> memoryview:
    head = mapped[info.header_offset : info.header_offset + 30]
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise Damaged("broken zip archive: a member is not where it should be")
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
        raise Refused("it holds compressed or encrypted tensors")
    names, extra = struct.unpack("<HH", head[26:30])
    start = info.header_offset + 30 + names + extra
    view = memoryview(mapped)[start : start + info.file_size]
    if len(view) != info.file_size or zlib.crc32(view) != info.CRC:
        raise Damaged("broken zip archive: the checksum of a member does not match")
    return view


def _legacy(
    stream: pickles.Stream,
    view: memoryview,
    allowed: dict[str, Callable[..., Any]],
    operations: int = pickles.MAX_OPERATIONS,
) -> Any:
    """The older form: magic number, version, machine, object, keys of the storages; then their bytes.

    The object comes before its storages, so it is read twice: for their kinds, then with their bytes.
    """
    kinds: dict[str, tuple[Any, int]] = {}

    def collect(identity: Any) -> np.ndarray:
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise Damaged("an unknown reference")
        _, kind, key, _, count, *rest = identity
        if rest and rest[0] is not None:
            raise Refused("it has storages that are views of others")
        if not isinstance(key, str) or not isinstance(count, int):
            raise Damaged("an unknown reference")
        checked_count((count,))
        if kinds.setdefault(key, (_storage_kind(kind), count))[1] != count:
            raise Damaged("a storage of two sizes")
        return _Absent()  # type: ignore[return-value]

    if any(pickles.load(stream, operations=9) != wanted for wanted in (_LEGACY_MAGIC, 1001)):
        raise Damaged("another form of torch.save")
    machine = pickles.load(stream, operations=200)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Refused("it holds big-endian numbers")
    start = stream.tell()
    shapes = {name: _nothing for name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")}
    pickles.load(stream, allowed | shapes, collect, budget=len(view), operations=operations)
    keys = pickles.load(stream, operations=operations)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Damaged("storages without names")
    if sorted(keys) != sorted(kinds):
        raise Damaged("storages are missing")
    at = stream.tell()
    storages: dict[str, np.ndarray] = {}
    for key in keys:
        kind, count = kinds[key]
        if view[at : at + 8].tobytes() != count.to_bytes(8, "little"):
            raise Damaged("a storage is cut off, or of another size")
        storages[key] = _storage(kind, count, view[at + 8 :])
        at += 8 + count * _item_bytes(kind)
    if at != len(view):
        raise Damaged("bytes behind the last storage")
    stream.seek(start)
    return _unwrapped(
        pickles.load(
            stream,
            allowed,
            lambda identity: storages[identity[2]],
            budget=len(view),
            operations=operations,
        )
    )


class _Absent:
    """Stands for a storage in the first reading."""


def _item_bytes(kind: str) -> int:
    return 2 if kind == "BFloat16Storage" else np.dtype(_STORAGES[kind]).itemsize


def _storage_from_bytes(raw: Any) -> Any:
    """`torch.storage._load_from_bytes`: a whole file of the older form, holding one storage."""
    if not isinstance(raw, bytes | bytearray):
        raise Damaged("a storage without bytes")
    # Its own pickles may not hold a file in turn.
    found = _legacy(io.BytesIO(raw), memoryview(raw), _BARE, _MAX_INNER_OPERATIONS)
    if not isinstance(found, np.ndarray):
        raise Damaged("a storage without numbers")
    return found


_BARE = pickles.ALLOWED | _TORCH
_PICKLED = _BARE | {"torch.storage._load_from_bytes": _storage_from_bytes}


def _npy(mapped: mmap.mmap) -> np.ndarray:
    stream = io.BufferedReader(_Raw(mapped))
    try:
        version = np.lib.format.read_magic(stream)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        with warnings.catch_warnings():  # of a header that is odd Python
            warnings.simplefilter("ignore")
            shape, fortran, dtype = reader[version](stream)
    except (*BROKEN, SyntaxError, TokenError) as error:
        raise Damaged(f"broken .npy: {one_line(error, 60)}") from None
    if dtype.hasobject or dtype.kind not in "fiub":
        raise Refused("it holds arrays of other things than numbers")
    count = checked_count(shape)
    raw = memoryview(mapped)[stream.tell() :]
    if count * dtype.itemsize != len(raw):
        raise Damaged(f"an array of {count} numbers in {len(raw)} bytes")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def _safetensors(mapped: mmap.mmap) -> Content:
    """Our own files, and others' of the same form (https://github.com/huggingface/safetensors)."""
    length = int.from_bytes(mapped[:8], "little")
    if length > _MAX_HEADER:
        raise Refused("it has a safetensors header of many megabytes")
    data = memoryview(mapped)[8 + length :]
    try:
        header = json.loads(mapped[8 : 8 + length])
        notes = {str(k): str(v) for k, v in dict(header.pop("__metadata__", {})).items()}
        state: dict[str, np.ndarray] = {}
        used = 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            code = "<u2" if entry["dtype"] == "BF16" else _SAFETENSORS[entry["dtype"]]
            begin, end = entry["data_offsets"]
            count = checked_count(entry["shape"])
            if not used == begin <= end <= len(data) or end - begin != count * np.dtype(code).itemsize:
                raise Damaged("a tensor that is not where it should be")
            used = end
            values = np.frombuffer(data[begin:end], code).reshape(entry["shape"])
            state[name] = _bfloat16(values) if entry["dtype"] == "BF16" else values
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"broken safetensors: {one_line(error, 60)}") from None
    if used != len(data):
        raise Damaged("bytes that belong to no tensor")
    return Content("safetensors", state, notes)


def _unwrapped(value: Any) -> Any:
    """An array at the top of a pickle, out of the object that it was read in."""
    return value.values if isinstance(value, pickles.Array) else value


def fields(value: Any) -> dict[str, Any]:
    """The entries of a dictionary, or of an `argparse.Namespace` or the like read as a record."""
    if isinstance(value, Record) and isinstance(value.state, dict):
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
        if isinstance(entry, pickles.Array):
            entry = entry.values
        if isinstance(entry, np.ndarray):
            found[key] = entry
    return found


def script_tensors(value: Any) -> dict[str, np.ndarray]:
    """The tensors of a TorchScript module, named as its state dict names them.

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
        children = {
            key: child for key, child in fields(entry).items() if isinstance(child, np.ndarray | Record)
        }
        if len(waiting) + len(children) > _MAX_ENTRIES or any(
            len(prefix) + len(key) > 300 for key in children
        ):
            break
        waiting += [(f"{prefix}{key}.", child) for key, child in children.items()]
    raise Damaged("modules without end")


def total_bytes(state: dict[str, np.ndarray]) -> int:
    """Bytes that the arrays take once each has numbers of its own."""
    return sum(math.prod(array.shape) * array.itemsize for array in state.values())
