"""What pickled objects become when they are read as data: plain values, numpy arrays and inert records.

`ALLOWED` is the list of all names that files may use; nothing else is ever looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

MAX_KEY = 2**40
MAX_TEXT = 4096
"""Characters of a name: every time that two equal texts meet, all of both are compared."""


class Damaged(ValueError):
    """A file is cut off, altered, or not what it says."""


class Refused(ValueError):
    """A file asks for something that reading it as data does not need."""


class Record:
    """What is left of an object: the name of its class, its arguments and its state, as data.

    Attributes:
        name: Full name of the class or function, such as "torch_utils.persistence...".
        args: What it was called with.
        state: What it was filled with afterwards; None if it was not.
    """

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.args = args
        self.state: Any = None

    def fill(self, state: Any) -> None:
        """Take the state."""
        self.state = state


class Dtype:
    """A numpy number type that is still being described."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or code.lstrip("<>|=") not in _NUMBERS:
            raise Refused("it holds arrays of other things than numbers")
        self.dtype = np.dtype(code)

    def fill(self, state: Any) -> None:
        """Take the byte order, the second entry of numpy's state."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.dtype = self.dtype.newbyteorder(state[1])


class Array:
    """A numpy array that is still to be filled.

    Attributes:
        values: The array, a view of the file's bytes; None before it is filled.
    """

    __slots__ = ("values",)

    def __init__(self, *_: Any) -> None:
        self.values: np.ndarray | None = None

    def fill(self, state: Any) -> None:
        """Take numpy's state: version, shape, type, whether columns come first, bytes."""
        _, shape, kind, fortran, raw = state
        if isinstance(raw, str):  # Python 2
            raw = raw.encode("latin1")
        self.values = _array(raw, kind, shape, "F" if fortran else "C")


_NUMBERS = frozenset(["b1", "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])


def _array(raw: Any, kind: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if not isinstance(kind, Dtype) or not isinstance(raw, bytes | bytearray | memoryview):
        raise Refused("it holds arrays of other things than numbers")
    sizes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    count = checked_count(sizes)
    if count * kind.dtype.itemsize != len(raw):
        raise Damaged(f"an array of {count} numbers in {len(raw)} bytes")
    return np.frombuffer(raw, kind.dtype).reshape(sizes, order="F" if order == "F" else "C")


def checked_count(sizes: Iterable[Any]) -> int:
    """How many numbers an array of this shape holds.

    Raises:
        Damaged: If the shape is none.
    """
    count = 1
    for axis, size in enumerate(sizes):
        if axis == 64:
            raise Damaged("an array of too many axes")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**40:
            raise Damaged("an array with an impossible shape")
        count *= size
    return count


def _scalar(kind: Any, raw: Any = b"") -> Any:
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    return _array(raw, kind, ()).item()


def _dict(pairs: Any = None) -> dict[Any, Any]:
    if pairs is None:
        return {}
    if not isinstance(pairs, list):  # Python 2
        raise Damaged("a dictionary of something else than pairs")
    return {checked_key(key): value for key, value in pairs}


def _set(items: Any = ()) -> set[Any]:
    if not isinstance(items, list | tuple) or len(items) > 1000:
        raise Refused("it asks for a set of many things")
    return {checked_key(item) for item in items}


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("it asks for _codecs.encode, for something else than the bytes of an array")
    return text.encode("latin1")


def checked_key(key: Any) -> Any:
    """A key of a dictionary, or an entry of a set: a text or a number that others are quickly told from."""
    if isinstance(key, str | bytes):
        if len(key) > MAX_TEXT:
            raise Refused(f"it has keys of {len(key)} characters")
        return key
    if key is None or isinstance(key, float):
        return key
    if isinstance(key, int) and abs(key) < MAX_KEY:
        return key
    raise Refused("it has keys that are neither texts nor numbers")


def record(name: str) -> Callable[..., Record]:
    """A function for `ALLOWED` that keeps a call of this name as a `Record`."""
    return lambda *args: Record(name, args)


def _named(*names: str) -> dict[str, Callable[..., Any]]:
    return {name: record(name) for name in names}


# What files may name, and what becomes of it. `torch_files` adds the names of tensors and storages.
ALLOWED: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict,
    "dnnlib.util.EasyDict": _dict,
    "argparse.Namespace": record("argparse.Namespace"),
    "builtins.set": _set,
    "__builtin__.set": _set,
    "_codecs.encode": _encode,
    "pathlib.PosixPath": record("pathlib.PosixPath"),
    "numpy.ndarray": record("numpy.ndarray"),
    "numpy.dtype": Dtype,
    **{
        f"{module}.{name}": function
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name, function in (("_reconstruct", Array), ("scalar", _scalar))
    },
    **{f"{module}._frombuffer": _array for module in ("numpy.core.numeric", "numpy._core.numeric")},
    # Networks as objects: NVlabs' PyTorch releases and their TensorFlow ones.
    **_named("torch_utils.persistence._reconstruct_persistent_obj", "dnnlib.tflib.network.Network"),
}


def printable(name: str, limit: int = 80) -> str:
    """A text from a file as a message may hold it: short, and without control characters."""
    clean = "".join(c if c.isprintable() else "?" for c in name[: limit + 1])
    return clean if len(clean) <= limit else f"{clean[: limit - 3]}..."
