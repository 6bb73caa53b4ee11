"""What pickled objects become when they are read as data: plain values, numpy arrays and inert records.

`ALLOWED` says what becomes of the names that weights need. Every other name becomes an `InertObject`, a
record that nothing calls: what lies beside the weights (settings, an optimizer) does not decide whether they
are read. Only names that could run something end the reading (`could_run`): not that they would run here, but
a file that asks for them is not to be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

# Optimizers of old are keyed by addresses in memory, which have 47 bits.
MAX_KEY = 2**48
MAX_TEXT = 4096
"""Characters of a name: every time that two equal texts meet, all of both are compared."""
NO_NUMBERS = "it holds arrays of other things than numbers"


class _Unusable(ValueError):
    """A file cannot be used.

    Args:
        problem: What is wrong with it.
        hint: What to do about it; empty where whoever catches this knows better.
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


class Damaged(_Unusable):
    """A file is cut off, altered, or not what it says."""


class Refused(_Unusable):
    """A file is of a kind that is not read, or asks for what reading it as data does not need."""


class Untrusted(Refused):
    """A file asks for something that could run."""


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


class InertObject(Record):
    """A record of a name that weights do not need. It may be of any kind: a dictionary or a list too.

    Attributes:
        items: What it was given by key.
        entries: What was appended to it.
    """

    __slots__ = ("entries", "items")

    def __init__(self, name: str, args: tuple[Any, ...] = ()) -> None:
        super().__init__(name, args)
        self.items: dict[Any, Any] = {}
        self.entries: list[Any] = []


class Name:
    """A looked-up name that was not called.

    Attributes:
        name: The name in full.
        make: What a call becomes, as in `ALLOWED`; None for an `InertObject`.
        works: Whether a call does anything with its arguments but keep them.
    """

    __slots__ = ("make", "name", "works")

    def __init__(self, name: str, make: Callable[..., Any] | None) -> None:
        self.name, self.make = name, make or InertObject
        self.works = self.make not in (Record, InertObject)

    def __call__(self, args: tuple[Any, ...]) -> Any:
        """What is left of a call."""
        return self.make(*args) if self.works else self.make(self.name, args)


class Unreadable:
    """Something that is kept only to be passed over; nothing is equal to it but itself.

    Attributes:
        doubt: What is said of it if the file turns out to hold nothing else.
        value: What it was.
    """

    __slots__ = ("doubt", "value")

    def __init__(self, doubt: str, value: Any = None) -> None:
        self.doubt, self.value = doubt, value


class Dtype:
    """A numpy number type that is still being described.

    Attributes:
        dtype: The type; None if it is one of other things than numbers.
    """

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any) -> None:
        known = isinstance(code, str) and code.lstrip("<>|=") in _NUMBERS
        self.dtype = np.dtype(code) if known else None  # texts, objects, dates, complex numbers

    def fill(self, state: Any) -> None:
        """Take the byte order, the second entry of numpy's state."""
        if (
            self.dtype is not None
            and isinstance(state, tuple)
            and len(state) > 1
            and state[1] in ("<", ">", "|", "=")
        ):
            self.dtype = self.dtype.newbyteorder(state[1])


class Array:
    """A numpy array that is still to be filled.

    Attributes:
        values: The array, a view of the file's bytes; None before it is filled, `Unreadable` if it is one of
            other things than numbers.
    """

    __slots__ = ("values",)

    def __init__(self, *_: Any) -> None:
        self.values: np.ndarray | Unreadable | None = None

    def fill(self, state: Any) -> None:
        """Take numpy's state: version, shape, type, whether columns come first, bytes."""
        _, shape, kind, fortran, raw = state
        if isinstance(raw, str):  # Python 2
            raw = raw.encode("latin1")
        self.values = _array(raw, kind, shape, "F" if fortran else "C")


_NUMBERS = frozenset(["b1", "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])


def _array(raw: Any, kind: Any, shape: Any, order: Any = "C") -> np.ndarray | Unreadable:
    if (
        not isinstance(kind, Dtype)
        or kind.dtype is None
        or not isinstance(raw, bytes | bytearray | memoryview)
    ):
        return Unreadable(NO_NUMBERS, raw)
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
    found = _array(raw, kind, ())
    return found if isinstance(found, Unreadable) else found.item()


def _dict(pairs: Any = None) -> dict[Any, Any]:
    if pairs is None:
        return {}
    if not isinstance(pairs, list):  # Python 2
        raise Damaged("a dictionary of something else than pairs")
    return {checked_key(key): value for key, value in pairs}


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("it asks for _codecs.encode, for something else than the bytes of an array")
    return text.encode("latin1")


def checked_key(key: Any) -> Any:
    """A key of a dictionary, or an entry of a set: a short text, or a number told from others quickly.

    The hash of anything else (tuples, numbers of many digits) may take for ever, or be that of many others,
    and so may telling a long text from its equal.
    """
    if isinstance(key, str | bytes):
        return key if len(key) <= MAX_TEXT else Unreadable(f"it has keys of {len(key)} characters", key)
    if key is None or isinstance(key, float):
        return key
    if isinstance(key, int) and abs(key) < MAX_KEY:
        return key
    return Unreadable("it has keys that are neither texts nor numbers", key)


# What files may name, and what a call becomes: what the function makes of its arguments, or a `Record` of it.
# `torch_files` adds the names of tensors and storages.
ALLOWED: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict,
    "dnnlib.util.EasyDict": _dict,
    "_codecs.encode": _encode,
    **dict.fromkeys(("argparse.Namespace", "builtins.set", "__builtin__.set", "numpy.ndarray"), Record),
    "numpy.dtype": Dtype,
    **{
        f"{module}.{name}": function
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name, function in (("_reconstruct", Array), ("scalar", _scalar))
    },
    **{f"{module}._frombuffer": _array for module in ("numpy.core.numeric", "numpy._core.numeric")},
    # Networks as objects: NVlabs' PyTorch releases and their TensorFlow ones.
    "torch_utils.persistence._reconstruct_persistent_obj": Record,
    "dnnlib.tflib.network.Network": Record,
}


# Modules whose functions run, open, load or reach for things, and such functions of other modules.
_ACTING = frozenset((
    "os", "posix", "nt", "subprocess", "_posixsubprocess", "sys", "runpy", "importlib", "imp", "zipimport",
    "pkgutil", "shutil", "pty", "tempfile", "fileinput", "socket", "ssl", "urllib", "http", "ftplib",
    "smtplib", "telnetlib", "requests", "webbrowser", "antigravity", "ctypes", "_ctypes", "cffi", "mmap",
    "operator", "_operator", "codeop", "cProfile", "pdb", "bdb", "timeit", "doctest", "pydoc", "idlelib",
    "distutils", "setuptools", "pip", "ensurepip", "atexit", "multiprocessing", "asyncio", "pickle",
    "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "styleclip_cli",
    "code.interact", "code.InteractiveInterpreter", "code.InteractiveConsole", "commands.getoutput",
    "profile.run", "profile.Profile", "trace.Trace", "platform.popen", "logging.config", "io.open",
    "io.open_code", "io.FileIO", "codecs.open", "inspect.getattr_static", "types.CodeType",
    "types.FunctionType", "types.LambdaType", "types.MethodType", "torch.load", "torch.hub",
    "torch.jit.load", "torch.package", "torch.serialization.load", "torch.storage._load_from_bytes",
    "torch.utils.cpp_extension", "torch._inductor", "torch._dynamo", "numpy.load", "numpy.memmap",
    "numpy.fromfile", "numpy.f2py", "numpy.testing", "numpy.distutils",
    *(
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in (
            "eval", "exec", "execfile", "compile", "open", "file", "input", "raw_input", "__import__", "map",
            "getattr", "setattr", "delattr", "globals", "locals", "vars", "filter", "apply", "reload",
            "breakpoint",
        )
    ),
))  # fmt: skip


def could_run(name: str) -> bool:
    """Whether a name, called by Python itself, could run something."""
    parts = name[:200].split(".")
    return any(".".join(parts[:count]) in _ACTING for count in range(1, min(len(parts), 5) + 1))


def printable(name: str, limit: int = 80) -> str:
    """A text from a file as a message may hold it: short, and without control characters."""
    clean = "".join(c if c.isprintable() else "?" for c in name[: limit + 1])
    return clean if len(clean) <= limit else f"{clean[: limit - 3]}..."
