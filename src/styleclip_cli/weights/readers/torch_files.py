"""Files of `torch.save`, opened without copying and without running anything: tensors are views of the file.

Layout: torch/serialization.py (a zip archive with `data.pkl` and `data/N`; the older form: five pickles, then
the storages) and, for TorchScript, torch/csrc/jit/serialization.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from styleclip_cli.weights.readers import inert, pickles
from styleclip_cli.weights.readers.inert import MAX_TEXT, Damaged, Refused, checked_count

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# A directory entry costs a hundred bytes, and a thousand when it has been read; e4e has 569.
_MAX_DIRECTORY = 2 * 2**20
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
    "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
    "QInt8Storage": "<i1",
    "QUInt8Storage": "<u1",
    "QInt32Storage": "<i4",
    "UntypedStorage": "<u1",
    "BFloat16Storage": "<u2",
}
# Types that have no kind of storage; their tensors view one of bytes.
_TYPES = {"torch.uint16": "<u2", "torch.uint32": "<u4", "torch.uint64": "<u8"}


def _rebuild(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray | inert.Unreadable:
    """`torch._utils._rebuild_tensor_v2`: a tensor from a storage."""
    if not isinstance(storage, np.ndarray) or storage.ndim != 1:
        if isinstance(storage, inert.Unreadable):
            return storage
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


def _rebuild_typed(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, kind: Any, *_: Any
) -> Any:
    """`torch._utils._rebuild_tensor_v3`: a tensor of a type that has no storage of its own."""
    code = _TYPES.get(getattr(kind, "name", ""))
    if code is None:
        return inert.InertObject("torch._utils._rebuild_tensor_v3")  # of eight bits: no weights that are read
    if not isinstance(storage, np.ndarray) or storage.nbytes % np.dtype(code).itemsize:
        raise Damaged("a tensor without a storage")
    return _rebuild(storage.view(code), offset, size, stride)


def _rebuild_from_type(function: Any, kind: Any, args: Any, *_: Any) -> Any:
    """`torch._tensor._rebuild_from_type_v2`: a tensor of another class, or with attributes."""
    if isinstance(function, inert.Name) and function.name in _TENSORS and isinstance(args, tuple):
        return function(args)
    return inert.InertObject("torch._tensor._rebuild_from_type_v2")


def _size(sizes: Any = ()) -> tuple[Any, ...]:
    if not isinstance(sizes, tuple):
        raise Damaged("a size that is no tuple")
    return sizes


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def bfloat16(raw: np.ndarray) -> np.ndarray:
    """Numpy has no bfloat16: the same numbers as float32."""
    return np.left_shift(raw, 16, dtype=np.uint32).view(np.float32)


def _storage(kind: Any, count: Any, raw: memoryview) -> np.ndarray | inert.Unreadable:
    """The numbers of a storage, as a view of its bytes; `Unreadable` if numpy has no such numbers."""
    if not isinstance(kind, str) or isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise Damaged("a storage of no known kind")
    code = _STORAGES.get(kind)
    if code is None:
        return inert.Unreadable(f"it holds numbers of another kind ({inert.printable(kind, 40)})")
    dtype = np.dtype(code)
    if count * dtype.itemsize > len(raw):
        raise Damaged(f"a storage of {count} numbers in {len(raw)} bytes")
    values = np.frombuffer(raw, dtype, count)
    return bfloat16(values) if kind == "BFloat16Storage" else values


def _nothing(*_: Any) -> None:
    return None


# What makes tensors of storages.
_TENSORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v3": _rebuild_typed,
}
# Names that torch.save writes, beside those of `inert.ALLOWED`.
_TORCH: dict[str, Callable[..., Any]] = {
    **_TENSORS,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Size": _size,
    "torch.device": _nothing,
    "torch.serialization._get_layout": _nothing,
}


def _storage_kind(kind: Any) -> Any:
    """Name of a storage class that stands on the stack uncalled."""
    return getattr(kind, "name", "").rpartition(".")[2]


def read_zip(mapped: mmap.mmap) -> tuple[Any, bool]:
    """A zip archive of `torch.save` or TorchScript: its content, and whether it is TorchScript."""
    members = _members(mapped)
    prefix = next((name[: -len("data.pkl")] for name in members if name.endswith("/data.pkl")), None)
    if prefix is None or prefix.count("/") != 1:
        if any(name.endswith(".npy") for name in members):
            raise Refused(
                "an .npz archive, which holds latents or measurements, not a network",
                "the network's checkpoint is needed (.pt, .pth or .pkl)",
            )
        raise Refused("a zip archive without weights", "unpack it, and give the weight file that is in it")
    if f"{prefix}byteorder" in members and bytes(members[f"{prefix}byteorder"]()) != b"little":
        raise Refused("it holds big-endian numbers")
    script = f"{prefix}constants.pkl" in members

    def persistent(identity: Any) -> Any:
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

    storages: dict[tuple[str, str], Any] = {}
    pickle = bytes(members[f"{prefix}data.pkl"]())
    value = pickles.load(
        io.BytesIO(pickle),
        _TORCH | inert.ALLOWED,
        persistent,
        classes="__torch__." if script else None,
        budget=len(pickle),
    )
    return unwrapped(value), script


def _members(mapped: mmap.mmap) -> dict[str, Callable[[], memoryview]]:
    """Members of a zip archive by name: functions that check the sum of one and give its bytes.

    Compressed members are refused when they are opened, so that nothing can be larger than the file.
    """
    _check_directory(mapped)
    found: dict[str, Callable[[], memoryview]] = {}
    try:
        infos = zipfile.ZipFile(mapped).infolist()  # type: ignore[call-overload]
    except (
        zipfile.BadZipFile,
        ValueError,
        OSError,
        struct.error,
        NotImplementedError,
        UnicodeError,
    ):
        raise Damaged("broken zip archive") from None
    if sum(info.compress_size for info in infos) > len(mapped):
        raise Refused("it has zip members that overlap")
    for info in infos:
        if info.filename in found:
            raise Refused("it has two zip members of one name")
        found[info.filename] = lambda info=info: _member(mapped, info)  # type: ignore[misc]
    return found


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


def read_legacy(
    stream: io.BytesIO | mmap.mmap,
    view: memoryview,
    allowed: dict[str, Callable[..., Any]],
    operations: int = pickles.MAX_OPERATIONS,
) -> Any:
    """The older form: magic number, version, machine, object, keys of the storages; then their bytes.

    The object comes before its storages, so it is read twice: for their kinds, then with their bytes.
    """
    kinds: dict[str, tuple[Any, int]] = {}

    def collect(identity: Any) -> Any:
        if _is_class(identity):
            return identity[1]
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise Damaged("an unknown reference")
        _, kind, key, _, count, *rest = identity
        if rest and rest[0] is not None:
            raise Refused("it has storages that are views of others")
        if not isinstance(key, str) or not isinstance(count, int) or len(key) > MAX_TEXT:
            raise Damaged("an unknown reference")
        checked_count((count,))
        if kinds.setdefault(key, (_storage_kind(kind), count))[1] != count:
            raise Damaged("a storage of two sizes")
        return _Absent()

    if any(pickles.load(stream, operations=9) != wanted for wanted in (_LEGACY_MAGIC, 1001)):
        raise Damaged("another form of torch.save")
    machine = pickles.load(stream, operations=200)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Refused("it holds big-endian numbers")
    start = stream.tell()
    shapes = dict.fromkeys(_TENSORS, _nothing)
    pickles.load(stream, allowed | shapes, collect, budget=len(view), operations=operations)
    keys = pickles.load(stream, operations=operations)
    if not isinstance(keys, list) or not all(isinstance(key, str) and len(key) <= MAX_TEXT for key in keys):
        raise Damaged("storages without names")
    if sorted(keys) != sorted(kinds):
        raise Damaged("storages are missing")
    at = stream.tell()
    storages: dict[str, Any] = {}
    for key in keys:
        kind, count = kinds[key]
        if view[at : at + 8].tobytes() != count.to_bytes(8, "little"):
            raise Damaged("a storage is cut off, or of another size")
        storages[key] = _storage(kind, count, view[at + 8 :])
        at += 8 + count * _item_bytes(kind)
    if at != len(view):
        raise Damaged("bytes behind the last storage")
    stream.seek(start)
    return unwrapped(
        pickles.load(
            stream,
            allowed,
            lambda identity: identity[1] if _is_class(identity) else storages[identity[2]],
            budget=len(view),
            operations=operations,
        )
    )


def _is_class(identity: Any) -> bool:
    """Whether a reference is to the class of a module, with its source text, which is left alone."""
    return isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module"


class _Absent:
    """Stands for a storage in the first reading."""


def _item_bytes(kind: str) -> int:
    if kind not in _STORAGES:
        raise Refused(f"it holds numbers of another kind ({inert.printable(kind, 40)})")
    return np.dtype(_STORAGES[kind]).itemsize


def _storage_from_bytes(raw: Any) -> Any:
    """`torch.storage._load_from_bytes`: a whole file of the older form, holding one storage."""
    if not isinstance(raw, bytes | bytearray):
        raise Damaged("a storage without bytes")
    # Its own pickles may not hold a file in turn.
    return read_legacy(io.BytesIO(raw), memoryview(raw), BARE, _MAX_INNER_OPERATIONS)


BARE = inert.ALLOWED | _TORCH


PICKLED = BARE | {"torch.storage._load_from_bytes": _storage_from_bytes}


def unwrapped(value: Any) -> Any:
    """An array at the top of a pickle, out of the object that it was read in."""
    return value.values if isinstance(value, inert.Array) else value
