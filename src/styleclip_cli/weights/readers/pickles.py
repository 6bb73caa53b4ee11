"""Pickles read as data: nothing in a file is ever imported, called or constructed.

A pickle is a program for a small stack machine, and Python's own machine lets it call anything. This one
runs the same opcodes (decoded by the standard library's `pickletools`) but knows no Python objects: a name
in the file is looked up in `ALLOWED`, whose functions build plain values, numpy arrays and inert records.
Every other name becomes an inert record too, or ends the reading if it could run something. So do opcodes
that real checkpoints do not use.

What a file can cost is bounded by its size: lengths are checked by reading (a string that claims 2^40 bytes
is cut off by the end of the file), the memo is a dictionary, operations are counted, only short texts and
numbers are keys (the hash of nested tuples can take for ever, and so can a dictionary of large numbers that
share their hash, or of long texts that are equal), names are short (a few bytes have one copied again), what
functions are given is counted, and nothing here or in the readers recurses without a limit.
"""

from __future__ import annotations

import io
import mmap
import pickletools
import warnings
from collections.abc import Callable, Mapping
from functools import partialmethod
from typing import Any

import numpy as np

from styleclip_cli.errors import WeightsError
from styleclip_cli.weights.readers.inert import (
    ALLOWED,
    MAX_KEY,
    MAX_TEXT,
    Array,
    Damaged,
    Dtype,
    InertObject,
    Name,
    Record,
    Refused,
    Untrusted,
    checked_key,
    could_run,
    printable,
)

# The largest published checkpoint (e4e with its optimizer) needs some 60,000; an operation makes 216 bytes
# of objects at the most.
MAX_OPERATIONS = 200_000
# Functions take seven arguments at the most; the parts of a path are many.
_MAX_ARGUMENTS = 64
# What a function may make of each character, or of an entry of a list: a set or tuple.
_BYTES: dict[Any, int] = {str: 1, bytes: 1, bytearray: 1, list: 64}
_MARK = object()


def load(
    stream: io.BytesIO | mmap.mmap,
    allowed: Mapping[str, Callable[..., Any]] = ALLOWED,
    persistent: Callable[[Any], Any] | None = None,
    classes: str | None = None,
    budget: int = 2**20,
    operations: int = MAX_OPERATIONS,
) -> Any:
    """Run one pickle as data.

    Args:
        stream: What to read; left standing behind the pickle.
        allowed: What becomes of calls, by the full names of what is called; others become inert objects.
        persistent: Turns a persistent id (a reference to something outside) into a value.
        classes: Names that begin with this become records too ("__torch__.").
        budget: How many bytes functions may be given in all; the size of the file.
        operations: How many operations it may take.

    Returns:
        Plain values, arrays and `Record`s.

    Raises:
        Untrusted: If the file names what could run something.
        Refused: If it does what no checkpoint does.
        Damaged: If it is no pickle, or is cut off.
    """
    return _Machine(allowed, persistent, classes, budget).run(stream, operations)


class _Machine:
    def __init__(
        self,
        allowed: Mapping[str, Callable[..., Any]],
        persistent: Callable[[Any], Any] | None,
        classes: str | None,
        budget: int,
    ) -> None:
        self.allowed, self.persistent, self.classes = allowed, persistent, classes
        self.budget = budget
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: io.BytesIO | mmap.mmap, operations: int) -> Any:
        try:
            return self._run(stream, operations)
        except (Refused, Damaged, WeightsError):
            raise
        # What pickletools, an empty stack or operands of another type lead to.
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError):
            raise Damaged("broken pickle") from None
        except (RecursionError, EOFError):
            raise Damaged("broken pickle (cut off, or nested too deeply)") from None

    def _run(self, stream: io.BytesIO | mmap.mmap, operations: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of texts with odd escapes
            for number, (opcode, arg, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
                if number >= operations:
                    raise Refused(f"it takes more than {operations} operations")
                step = _STEPS.get(opcode.name)
                if step is None:
                    what = f" of {printable(arg.replace(' ', '.', 1))}" if isinstance(arg, str) else ""
                    raise Refused(f"it asks for the pickle operation {opcode.name}{what}")
                step(self, arg)
        result = self.stack.pop()
        if self.stack:
            raise Damaged("broken pickle (values left over)")
        return result

    def _marked(self) -> list[Any]:
        """Pop everything down to the last mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise Damaged("broken pickle (no mark)")

    # Opcodes, by pickletools' names.

    def _proto(self, arg: int) -> None:
        if arg > 5:
            raise Refused(f"it asks for pickle protocol {arg}")

    def _pop(self, arg: None) -> None:
        self.stack.pop()

    def _pop_mark(self, arg: None) -> None:
        self._marked()

    def _dup(self, arg: None) -> None:
        self.stack.append(self.stack[-1])

    def _list(self, arg: None) -> None:
        self.stack.append(self._marked())

    def _append(self, arg: None) -> None:
        value = self.stack.pop()
        self._list_on_top().append(value)

    def _appends(self, arg: None) -> None:
        values = self._marked()
        self._list_on_top().extend(values)

    def _list_on_top(self) -> list[Any]:
        found = self.stack[-1]
        if isinstance(found, InertObject):
            return found.entries
        if not isinstance(found, list):
            raise Refused("it appends to something that is no list")
        return found

    def _tuple(self, arg: None) -> None:
        self.stack.append(tuple(self._marked()))

    def _last(self, count: int, arg: None) -> None:
        if len(self.stack) < count:
            raise Damaged("broken pickle (empty stack)")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    _tuple1 = partialmethod(_last, 1)
    _tuple2 = partialmethod(_last, 2)
    _tuple3 = partialmethod(_last, 3)

    def _dict(self, arg: None) -> None:
        items = self._marked()
        self.stack.append({})
        self._set(items)

    def _setitem(self, arg: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self, arg: None) -> None:
        self._set(self._marked())

    def _set(self, items: list[Any]) -> None:
        found = self.stack[-1]
        if isinstance(found, InertObject):
            found = found.items
        if not isinstance(found, dict) or len(items) % 2:
            raise Refused("it sets items of something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            found[checked_key(key)] = value

    def _additems(self, arg: None) -> None:
        items = self._marked()
        found = self.stack[-1]
        if not isinstance(found, set):
            raise Refused("it adds to something that is no set")
        found.update(checked_key(item) for item in items)

    def _frozenset(self, arg: None) -> None:
        self.stack.append(frozenset(checked_key(item) for item in self._marked()))

    def _put(self, arg: int) -> None:
        if arg >= MAX_KEY:
            raise Refused("it keeps values under numbers that no checkpoint uses")
        self.memo[arg] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, arg: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, arg: int) -> None:
        self.stack.append(self.memo[arg])

    _binget = _long_binget = _get

    def _global(self, arg: str) -> None:
        self._find(*arg.split(" ", 1))

    def _stack_global(self, arg: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Refused("it asks for a name that is no text")
        self._find(module, name)

    def _find(self, *names: str) -> None:
        if sum(map(len, names)) > MAX_TEXT:
            raise Refused(f"it asks for {printable(names[0])}, a name without end")
        name = ".".join(names)
        make = self.allowed.get(name)
        if make is None and self.classes is not None and name.startswith(self.classes):
            make = Record
        if make is None and could_run(name):
            raise Untrusted(f"it asks for {self._caller()}{printable(name)}")
        self.stack.append(Name(name, make))

    def _caller(self) -> str:
        """What a name is an argument of, in words: "functools.partial of "."""
        above = [value for value in self.stack[-2:] if value is not _MARK]
        return f"{printable(above[-1].name)} of " if above and isinstance(above[-1], Name) else ""

    def _reduce(self, arg: None) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(args, tuple):
            raise Refused("it calls something that is no function")
        if len(args) > _MAX_ARGUMENTS:
            raise Refused(f"it calls {printable(function.name)} with {len(args)} arguments")
        for given in args if function.works else ():
            if each := _BYTES.get(type(given)):
                self._spend(len(given) * each)
        self.stack.append(function(args))

    def _spend(self, count: int) -> None:
        """Count what functions work on: a file may have them turn the same bytes over again and again."""
        self.budget -= count
        if self.budget < 0:
            raise Refused("it uses the same bytes many times over")

    _newobj = _reduce

    def _build(self, arg: None) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Record | Dtype | Array):
            if isinstance(target, Array):
                if not isinstance(state, tuple) or len(state) != 5:
                    raise Damaged("an array without its numbers")
                self._spend(len(state[4]) if isinstance(state[4], str) else 0)
            target.fill(state)
        elif not isinstance(target, dict | np.ndarray):
            # Attributes of dictionaries (`_metadata` of state dicts) and of tensors say nothing of use.
            raise Refused("it sets attributes of something that has none")

    def _binpersid(self, arg: None) -> None:
        if self.persistent is None:
            raise Refused("it refers to something outside the file")
        identity = self.stack.pop()
        if isinstance(identity, tuple) and len(identity) > _MAX_ARGUMENTS:
            raise Refused(f"it refers to something by {len(identity)} values")
        self.stack.append(self.persistent(identity))


# Opcodes that push the value pickletools has decoded; not STRING, which only text pickles have.
_PUSHED = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE",
    "BINUNICODE", "BINUNICODE8",
)  # fmt: skip
_CONSTANTS = {"MARK": _MARK, "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_PASSED_OVER = ("FRAME", "STOP")
_Step = Callable[[_Machine, Any], None]


def _constant(value: Any) -> _Step:
    return lambda machine, _: machine.stack.append(value)


def _made(make: Callable[[], Any]) -> _Step:
    return lambda machine, _: machine.stack.append(make())


# By opcode: what becomes of it and of its argument. All others are refused.
_STEPS: dict[str, _Step] = {
    opcode.name: getattr(_Machine, f"_{opcode.name.lower()}")
    for opcode in pickletools.opcodes
    if hasattr(_Machine, f"_{opcode.name.lower()}")
}
_STEPS |= dict.fromkeys(_PUSHED, lambda machine, arg: machine.stack.append(arg))
_STEPS |= {name: _constant(value) for name, value in _CONSTANTS.items()}
_STEPS |= {name: _made(make) for name, make in _EMPTY.items()}
_STEPS |= dict.fromkeys(_PASSED_OVER, lambda machine, _: None)
