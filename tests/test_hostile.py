"""Files made to harm, and damaged ones: readers give a one-line error, and do nothing else.

`python tests/test_hostile.py` prints how many there are and what became of them.
"""

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_safetensors

from checkpoints import (
    CANARY,
    E4E_OPTIONS,
    GOLDEN,
    clip_model,
    clip_script,
    encoder_checkpoint,
    inside,
    mapper_checkpoint,
    nvlabs_generator,
    nvlabs_pickle,
    random_mapper,
    rosinality_state,
    save,
    tensorflow_pickle,
    tensorflow_variables,
    trained_checkpoint,
)
from styleclip_cli.errors import OutputError, WeightsError
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import ArcFace, stages
from styleclip_cli.weights.files import load_weights, save_weights
from styleclip_cli.weights.readers import Part, read_latents, read_parts
from styleclip_cli.weights.readers.parts import PARTS

MB = 2**20
FLIPS = 10_000
TRUNCATIONS = 50
PWNED = "pwned_by_pickle"


# Pickles by hand: pieces of a body, without PROTO and STOP.


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def call(module: str, name: str, *args: bytes) -> bytes:
    return named(module, name) + b"(" + b"".join(args) + b"tR"


def items(*pairs: bytes) -> bytes:
    return b"}(" + b"".join(pairs) + b"u"


LAUGHS = b")" + b"2\x86" * 40  # tuples of the one before, twice: 2^40 entries


# What a body is delivered in.


def bare(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


def zipped(body: bytes, more: dict[str, bytes] | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
        archive.writestr("archive/byteorder", b"little")
        for name, raw in (more or {}).items():
            archive.writestr(name, raw)
    return stream.getvalue()


def legacy(body: bytes, keys: bytes = b"]", storages: bytes = b"") -> bytes:
    start = [
        0x1950A86A20F9469CFC6C,
        1001,
        {"protocol_version": 1001, "little_endian": True, "type_sizes": {}},
    ]
    head = b"".join(pickle.dumps(value, 2) for value in start)
    return head + b"\x80\x02" + body + b"." + b"\x80\x02" + keys + b"." + storages


def persistent(body: bytes) -> bytes:
    meta = items(
        text("type") + text("class"),
        text("version") + b"K\x06",
        text("module_src") + text(CANARY),
        text("class_name") + text("Generator"),
        text("state") + items(text("_modules") + body),
    )
    return bare(items(text("G_ema") + call("torch_utils.persistence", "_reconstruct_persistent_obj", meta)))


def nested(body: bytes) -> bytes:
    raw = legacy(body)
    return bare(call("torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", len(raw)) + raw))


DELIVERIES: dict[str, Callable[[bytes], bytes]] = {
    "pickle": bare,
    "zip": zipped,
    "legacy": legacy,
    "persistence": persistent,
    "storage": nested,
}

SHELL = text(f"touch {PWNED}")
PYTHON = text(CANARY)
_NOTHING = b")"
# What is asked for -> a body that asks for it. The message must name it.
CALLS: dict[str, bytes] = {
    "os.system": call("os", "system", SHELL),
    "posix.system": call("posix", "system", SHELL),
    "nt.system": call("nt", "system", SHELL),
    "os.popen": call("os", "popen", SHELL),
    "os.execv": call("os", "execv", text("/bin/sh"), b"]"),
    "subprocess.Popen": call("subprocess", "Popen", b"](" + text("touch") + text(PWNED) + b"e"),
    "subprocess.check_output": call("subprocess", "check_output", b"](" + text("touch") + text(PWNED) + b"e"),
    "builtins.eval": call("builtins", "eval", PYTHON),
    "builtins.exec": call("builtins", "exec", PYTHON),
    "__builtin__.eval": call("__builtin__", "eval", PYTHON),
    "builtins.compile": call("builtins", "compile", PYTHON, text("x"), text("exec")),
    "builtins.open": call("builtins", "open", text(PWNED), text("w")),
    "builtins.__import__": call("builtins", "__import__", text("os")),
    "builtins.getattr": call("builtins", "getattr", named("os", "path"), text("os")),
    "builtins.map": call("builtins", "map", named("builtins", "exec"), b"](" + PYTHON + b"e"),
    "operator.attrgetter": call("operator", "attrgetter", text("system")),
    "operator.methodcaller": call("operator", "methodcaller", text("system"), SHELL),
    "functools.partial": call("functools", "partial", named("os", "system"), SHELL),
    "importlib.import_module": call("importlib", "import_module", text("os")),
    "pty.spawn": call("pty", "spawn", text("/bin/sh")),
    "runpy.run_path": call("runpy", "run_path", text("x.py")),
    "runpy._run_code": call("runpy", "_run_code", PYTHON, b"}"),
    "webbrowser.open": call("webbrowser", "open", text("file:///x")),
    "codecs.open": call("codecs", "open", text(PWNED), text("w")),
    "io.open": call("io", "open", text(PWNED), text("w")),
    "pathlib.Path": call("pathlib", "Path", text(PWNED)),
    "shutil.rmtree": call("shutil", "rmtree", text(".")),
    "socket.socket": call("socket", "socket"),
    "timeit.timeit": call("timeit", "timeit", PYTHON),
    "cProfile.run": call("cProfile", "run", PYTHON),
    "code.interact": call("code", "interact"),
    "distutils.spawn.spawn": call("distutils.spawn", "spawn", b"]"),
    "_posixsubprocess.fork_exec": call("_posixsubprocess", "fork_exec"),
    "pip.main": call("pip", "main", b"]"),
    "torch.load": call("torch", "load", text("x")),
    "torch.hub.load": call("torch.hub", "load", text("x"), text("y")),
    "torch.jit.load": call("torch.jit", "load", text("x")),
    "torch.serialization.load": call("torch.serialization", "load", text("x")),
    "numpy.load": call("numpy", "load", text("x"), b"\x88"),
    "numpy.f2py.crackfortran.getlincoef": call("numpy.f2py.crackfortran", "getlincoef", PYTHON, b"}"),
    "numpy.testing._private.utils.runstring": call("numpy.testing._private.utils", "runstring", PYTHON, b"}"),
    "copyreg._reconstructor": call("copyreg", "_reconstructor", named("os", "system"), SHELL, b"N"),
    "copy_reg._reconstructor": call("copy_reg", "_reconstructor", SHELL),
    "types.CodeType": call("types", "CodeType"),
    "types.FunctionType": call("types", "FunctionType"),
    "pickle.loads": call("pickle", "loads", text("x")),
    "marshal.loads": call("marshal", "loads", text("x")),
    "styleclip_cli.weights.readers.read_parts": call(
        "styleclip_cli.weights.readers", "read_parts", text("x")
    ),
    # Other ways to ask than GLOBAL and REDUCE:
    "os.system (INST)": b"(" + SHELL + b"ios\nsystem\n",
    "os.system (OBJ)": b"(" + named("os", "system") + SHELL + b"o",
    "os.system (NEWOBJ)": named("os", "system") + SHELL + b"\x85\x81",
    "os.system (NEWOBJ_EX)": named("os", "system") + SHELL + b"\x85}\x92",
    "os.system (STACK_GLOBAL)": text("os") + text("system") + b"\x93" + SHELL + b"\x85R",
    "builtins.eval.__call__ (dotted)": text("builtins") + text("eval.__call__") + b"\x93" + PYTHON + b"\x85R",
    "collections.OrderedDict.fromkeys (dotted)": text("collections")
    + text("OrderedDict.fromkeys")
    + b"\x93)R",
    "torch._utils._rebuild_tensor_v2.__globals__ (dotted)": text("torch._utils")
    + text("_rebuild_tensor_v2.__globals__")
    + b"\x93",
    "os.system (as __setstate__)": call("argparse", "Namespace")
    + items(text("__setstate__") + named("os", "system"))
    + b"b"
    + SHELL
    + b"b",
    "os.system (as __reduce__)": call("argparse", "Namespace")
    + items(text("__reduce__") + named("os", "system"))
    + b"b",
    "os.system (as a key)": items(named("os", "system") + b"N"),
}
# Bodies that are refused or broken for another reason than a name; what the message says of it.
BODIES: dict[str, tuple[bytes, str]] = {
    "EXT1": (b"\x82\x01", "EXT1"),
    "EXT4": (b"\x84\x01\x00\x00\x00", "EXT4"),
    "OBJ of a harmless class": (b"(" + named("collections", "OrderedDict") + b"o", "OBJ"),
    "PERSID": (b"Pstorage\n", "PERSID"),
    "BINPERSID": (SHELL + b"Q", ""),
    "NEXT_BUFFER": (b"\x97", "NEXT_BUFFER"),
    "text of protocol 0": (b"S'\\q'\n", "STRING"),
    "calling a text": (SHELL + _NOTHING + b"R", "calls something that is no function"),
    "calling a record": (call("argparse", "Namespace") + _NOTHING + b"R", "calls something"),
    "BUILD on a class": (
        named("argparse", "Namespace") + items(text("__init__") + b"N") + b"b",
        "attributes",
    ),
    "BUILD on a function": (named("_codecs", "encode") + items(text("__code__") + b"N") + b"b", "attributes"),
    "BUILD on a list": (b"]" + items(text("__class__") + b"N") + b"b", "attributes"),
    "items of a record": (call("argparse", "Namespace") + text("x") + b"Ns", "no dictionary"),
    "appending to a record": (call("argparse", "Namespace") + b"Na", "no list"),
    "an array of objects": (
        call("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), b"K\x00\x85", text("b"))
        + b"(K\x01K\x01\x85"
        + call("numpy", "dtype", text("O8"), b"\x89", b"\x88")
        + b"\x89]("
        + SHELL
        + b"etb",
        "other things than numbers",
    ),
    "a number type of fields": (call("numpy", "dtype", text("f4,O")), "other things than numbers"),
    "a number that is an object": (
        call("numpy.core.multiarray", "scalar", call("numpy", "dtype", text("O")), SHELL),
        "other things than numbers",
    ),
    "encoding to something else": (call("_codecs", "encode", SHELL, text("rot13")), "_codecs.encode"),
    "a tuple as a key": (items(b")N"), "keys"),
    "a tuple of tuples as a key": (items(LAUGHS + b"N"), "keys"),
    "a tuple of tuples in a set": (b"\x8f(" + LAUGHS + b"\x90", "keys"),
    "a tuple of tuples in a frozen set": (b"(" + LAUGHS + b"\x91", "keys"),
    "keys of many digits": (items(number(2**61 - 1) + b"N"), "keys"),
    "values under numbers of many digits": (b"Np2305843009213693951\n", "numbers"),
    "values under 2^31": (b"Nr\xff\xff\xff\x7f", ""),
    "values that were never kept": (b"j\xff\xff\xff\x7f", "broken"),
    "bytes that claim 2^40": (b"\x8e" + struct.pack("<Q", 2**40), "broken"),
    "bytes that claim 2^64": (b"\x8e" + struct.pack("<Q", 2**64 - 1), "broken"),
    "a text that claims 2^40": (b"\x8d" + struct.pack("<Q", 2**40), "broken"),
    "a byte array that claims 2^40": (b"\x96" + struct.pack("<Q", 2**40), "broken"),
    "a negative length": (b"T\xff\xff\xff\xff", "broken"),
    "a frame that claims 2^60": (b"\x95" + struct.pack("<Q", 2**60), ""),
    "a tensor of no storage": (
        call("torch._utils", "_rebuild_tensor_v2", b"N", b"K\x00", b")", b")", b"\x89", b"}"),
        "",
    ),
    "a size that is a list": (call("torch", "Size", b"]"), ""),
    "no function of so many arguments": (call("argparse", "Namespace", *[b"N"] * 100), "100 arguments"),
    "only a mark": (b"(", ""),
    "an empty stack": (b"0", ""),
    "values left over": (b"NN", ""),
    "an odd number of items": (b"}(Nu", "no dictionary"),
    "protocol 9": (b"\x80\x09N", "protocol 9"),
    "an operation that does not exist": (b"\xfeN", "broken"),
    "a text that is no UTF-8": (b"X\x02\x00\x00\x00\xff\xff", "broken"),
    "a line without an end": (b"cos", "broken"),
    "a number of 5000 digits": (b"I" + b"9" * 5000 + b"\n", "broken"),
    "an endless name": (named("x" * 10_000, "y"), "xxx..."),
    "a name with control characters": (text("os\n\x1b[31m") + text("system") + b"\x93", "os??[31m.system"),
}


def _refusal(path: Path, read: Callable[[Path], Any] = read_parts) -> str:
    """The message that a file leads to: an error of one line, in no time."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(WeightsError) as caught:
            read(path)
    assert time.process_time() - start < 2
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) < len(str(path)) + 300
    return message


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder, still empty afterwards."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield tmp_path
    assert list(folder.iterdir()) == []


def test_the_canary_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own pickle does what these files ask for."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(bare(CALLS["os.system (STACK_GLOBAL)"]))
    assert (tmp_path / PWNED).exists()
    (tmp_path / PWNED).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a file that is never closed
        pickle.loads(bare(CALLS["builtins.exec"]))
    assert (tmp_path / PWNED).exists()


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("asked", CALLS)
def test_a_name_that_is_asked_for_is_refused(
    asked: str, delivery: str, alone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = alone / "hostile"
    path.write_bytes(DELIVERIES[delivery](CALLS[asked]))
    message = _refusal(path)
    name = asked.partition(" ")[0]
    if not any(name.endswith(f".{inner}") and inner in message for inner in ("getattr", "map", "partial")):
        assert name in message or "os.path" in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("kind", BODIES)
def test_what_no_checkpoint_does_is_refused(
    kind: str, delivery: str, alone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    body, reason = BODIES[kind]
    path = alone / "hostile"
    path.write_bytes(DELIVERIES[delivery](body))
    assert reason in _refusal(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["nvlabs_uncond", "nvlabs_cond"])
def test_source_text_in_a_network_is_not_run(name: str, alone: Path) -> None:
    assert CANARY.encode() in (GOLDEN / f"{name}.pkl").read_bytes()
    assert [part.name for part in read_parts(GOLDEN / f"{name}.pkl")] == ["generator"]


def test_source_text_in_a_tensorflow_network_is_not_run(alone: Path) -> None:
    raw = tensorflow_pickle(tensorflow_variables(rosinality_state(), torch.zeros(6)))
    assert CANARY.encode() in raw
    (alone / "network.pkl").write_bytes(raw)
    assert [part.name for part in read_parts(alone / "network.pkl")] == ["generator"]


# Zip, .npy and safetensors containers


def _archive(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression, compresslevel=1) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, raw in members:
            archive.writestr(name, raw)
    return stream.getvalue()


def _reference(key: bytes, count: bytes = b"K\x01", kind: str = "FloatStorage") -> bytes:
    return b"(" + text("storage") + named("torch", kind) + key + text("cpu") + count + b"tQ"


def _storage_call(count: bytes, key: str = "0", kind: str = "FloatStorage", size: int = 1) -> bytes:
    identity = _reference(text(key), count, kind)
    shape = number(size) + b"\x85"
    return call("torch._utils", "_rebuild_tensor_v2", identity, b"K\x00", shape, b"K\x01\x85", b"\x89", b"}")


def _npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    raw = header.encode("latin1") + b"\n"
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", len(raw))
        + raw
        + data
    )


def _tensors_file(header: Any, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def _entry(begin: int, end: int, shape: Any = None, dtype: Any = "F32") -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [(end - begin) // 4] if shape is None else shape,
        "data_offsets": [begin, end],
    }


_F4 = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }"
_WEIGHTS = ("archive/data/0", b"\0" * 4)
_PICKLE = ("archive/data.pkl", b"\x80\x02" + _storage_call(b"K\x01") + b".")
CONTAINERS: dict[str, Callable[[], bytes]] = {
    "two members of one name": lambda: _archive(_PICKLE, _WEIGHTS, _WEIGHTS),
    "two pickles of one name": lambda: _archive(_PICKLE, _PICKLE, _WEIGHTS),
    "a path upwards": lambda: _archive(("../data.pkl", b"\x80\x02" + CALLS["os.system"] + b".")),
    "a path from the root": lambda: _archive(("/tmp/archive/data.pkl", b"\x80\x02N.")),
    "a storage by a path": lambda: _archive(
        ("archive/data.pkl", b"\x80\x02" + _storage_call(b"K\x01", "../../etc/passwd") + b"."), _WEIGHTS
    ),
    "a pickle with a zip behind it": lambda: bare(CALLS["os.system"]) + _archive(_PICKLE, _WEIGHTS),
    "a zip with a pickle before it": lambda: b"\x80\x04N." + _archive(_PICKLE, _WEIGHTS),
    "a zip behind another": lambda: _archive(_PICKLE) + _archive(("x/data.pkl", b"\x80\x02" + SHELL + b".")),
    "compressed tensors": lambda: _archive(_PICKLE, _WEIGHTS, compression=zipfile.ZIP_DEFLATED),
    "an encrypted member": lambda: _with_flags(_archive(_PICKLE, _WEIGHTS), 1),
    "no end": lambda: _archive(_PICKLE, _WEIGHTS)[:-22],
    "only an end": lambda: b"PK\x03\x04" + b"\0" * 26 + b"PK\x05\x06" + b"\0" * 18,
    "a member outside": lambda: _archive(_PICKLE, _WEIGHTS).replace(b"PK\x01\x02", b"PK\x01\x03"),
    "a storage of 2^40": lambda: zipped(_storage_call(number(2**40), size=1), {_WEIGHTS[0]: _WEIGHTS[1]}),
    "a storage of -1": lambda: zipped(_storage_call(number(-1)), {_WEIGHTS[0]: _WEIGHTS[1]}),
    "a storage of True": lambda: zipped(_storage_call(b"\x88"), {_WEIGHTS[0]: _WEIGHTS[1]}),
    "a storage of many tuples": lambda: zipped(_storage_call(LAUGHS), {_WEIGHTS[0]: _WEIGHTS[1]}),
    "an older storage of 2^64": lambda: legacy(_storage_call(number(2**64)), b"](" + text("0") + b"e"),
    "an older storage of many tuples, twice": lambda: legacy(
        b"(" + _storage_call(LAUGHS) + _storage_call(LAUGHS) + b"t", b"](" + text("0") + b"e"
    ),
    "older keys of many tuples": lambda: legacy(_storage_call(b"K\x01"), b"](" + LAUGHS + b"e"),
    "older keys that are lists": lambda: legacy(_storage_call(b"K\x01"), b"](]e"),
    "older keys twice": lambda: legacy(_storage_call(b"K\x01"), b"](" + text("0") * 2 + b"e"),
    "an older file of another number order": lambda: legacy(b"N").replace(b"little_endian", b"little_endiam"),
    ".npy of 2^60": lambda: _npy(_F4 % "(1152921504606846976,)"),
    ".npy of 2^60, by axes": lambda: _npy(_F4 % "(1048576, 1048576, 1048576)"),
    ".npy of objects": lambda: _npy(
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", bare(CALLS["os.system"])
    ),
    ".npy of records": lambda: _npy(
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", b"\0" * 4
    ),
    ".npy of texts": lambda: _npy("{'descr': '<U9', 'fortran_order': False, 'shape': (1,), }", b"\0" * 36),
    ".npy with an endless header": lambda: _npy("(" * MB, version=2),
    ".npy with a calculation": lambda: _npy(_F4 % "(9**9**9,)"),
    ".npy with a call": lambda: _npy(_F4 % "(__import__('os').system('touch pwned_by_pickle'),)"),
    ".npy with many signs": lambda: _npy("-" * 9000 + "1"),
    ".npy with many brackets": lambda: _npy("[" * 9000),
    ".npy with an odd escape": lambda: _npy("{'descr': '\\q', 'fortran_order': False, 'shape': (1,), }"),
    ".npy with a hundred axes": lambda: _npy(_F4 % f"({'0, ' * 100})"),
    ".npy with axes of many digits": lambda: _npy(_F4 % f"({'549755813888, ' * 600})"),
    ".npy with a negative axis": lambda: _npy(_F4 % "(-1,)"),
    ".npy of another version": lambda: _npy(_F4 % "(1,)").replace(b"NUMPY\x01", b"NUMPY\x09"),
    "safetensors header of 2^40": lambda: struct.pack("<Q", 2**40) + b"{}",
    "safetensors header of 2^63": lambda: struct.pack("<Q", 2**63) + b'{"a":1}',
    "safetensors at one place": lambda: _tensors_file({"a": _entry(0, 8), "b": _entry(0, 8)}, b"\0" * 16),
    "safetensors that overlap": lambda: _tensors_file({"a": _entry(0, 8), "b": _entry(4, 12)}, b"\0" * 12),
    "safetensors with a hole": lambda: _tensors_file({"a": _entry(0, 4), "b": _entry(8, 12)}, b"\0" * 12),
    "safetensors before the beginning": lambda: _tensors_file({"a": _entry(-4, 4)}, b"\0" * 8),
    "safetensors beyond the end": lambda: _tensors_file({"a": _entry(0, 2**40)}, b"\0" * 8),
    "safetensors backwards": lambda: _tensors_file({"a": _entry(8, 0)}, b"\0" * 8),
    "safetensors of another shape": lambda: _tensors_file({"a": _entry(0, 8, [3])}, b"\0" * 8),
    "safetensors of a shape of many axes": lambda: _tensors_file({"a": _entry(0, 0, [0] * 1000)}),
    "safetensors of a shape that is a text": lambda: _tensors_file({"a": _entry(0, 4, "1")}, b"\0" * 4),
    "safetensors of no type": lambda: _tensors_file({"a": _entry(0, 4, dtype=["F32"])}, b"\0" * 4),
    "safetensors that is a list": lambda: _tensors_file(b"{" + b"[" * 100_000),
    "safetensors of deep objects": lambda: _tensors_file(b'{"a":' * 100_000),
    "safetensors with a number of many digits": lambda: _tensors_file(b'{"a":' + b"9" * 10_000 + b"}"),
    "safetensors that is no UTF-8": lambda: _tensors_file(b'{"\xff":1}'),
    "safetensors of entries that are texts": lambda: _tensors_file({"a": "b"}),
    "safetensors of nothing": lambda: _tensors_file({}),
    "safetensors with odd notes": lambda: _tensors_file({"__metadata__": 5}),
    "an HTML page": lambda: b"\n <!DOCTYPE html><html>quota exceeded</html>",
    "a text": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "one byte": lambda: b"\x80",
    "zeros": lambda: b"\0" * 1000,
    "a picture": lambda: b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
}


def _with_flags(raw: bytes, flags: int) -> bytes:
    changed = bytearray(raw)
    at = changed.find(b"PK\x01\x02")
    while at >= 0:
        changed[at + 8] |= flags
        at = changed.find(b"PK\x01\x02", at + 1)
    return bytes(changed)


@pytest.mark.parametrize("read", [read_parts, read_latents])
@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers_that_lie(
    kind: str, read: Callable[[Path], Any], alone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = alone / "hostile"
    path.write_bytes(CONTAINERS[kind]())
    _refusal(path, read)
    assert capfd.readouterr() == ("", "")


# Files that cost far more than their size; read in a process of their own, one after the other in forks.


def _array_body(state: bytes) -> bytes:
    made = call("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), b"K\x00\x85", text("b"))
    return made + state + b"b"


def _arrays_of_one_text(begin: bytes, end: bytes) -> bytes:
    """A thousand arrays that share one state, a tuple or a list."""
    return bare(
        call("numpy", "dtype", text("u1"))
        + b"q\x000"
        + begin
        + b"K\x01"
        + number(_TEXT // 2)
        + b"\x85h\x00\x89"
        + _LATIN
        + end
        + b"q\x010("
        + _array_body(b"h\x01") * 1000
        + b"l"
    )


def _overlapping(entries: int, size: int) -> bytes:
    """A zip archive whose directory lists one member under many names."""
    raw = _archive(("archive/data/0", b"\0" * size))
    start = raw.find(b"PK\x01\x02")
    entry = raw[start : raw.find(b"PK\x05\x06")]
    body = (
        b"("
        + b"".join(_storage_call(number(size // 2), f"{i:05}", "BFloat16Storage") for i in range(entries))
        + b"l"
    )
    pickled = _archive(("archive/data.pkl", b"\x80\x02" + body + b"."))
    first = pickled.find(b"PK\x01\x02")
    own = bytearray(pickled[first : pickled.find(b"PK\x05\x06")])
    own[42:46] = struct.pack("<I", start)
    names = [f"archive/data/{i:05}".encode() for i in range(entries)]
    head = bytearray(entry[:46])
    head[28:30] = struct.pack("<H", len(names[0]))
    directory = bytes(own) + b"".join(bytes(head) + name for name in names)
    files = raw[:start] + pickled[:first]
    end = struct.pack(
        "<4s4H2IH", b"PK\x05\x06", 0, 0, entries + 1, entries + 1, len(directory), len(files), 0
    )
    return files + directory + end


def _directory(entries: int, zip64: bool) -> bytes:
    """A zip directory with very many entries, or one that says it is small in one of its two ends."""
    first = _archive(_PICKLE)
    start = first.find(b"PK\x01\x02")
    entry = bytearray(first[start : start + 46])
    entry[28:30] = struct.pack("<H", 7)
    directory = b"".join(bytes(entry) + b"%07d" % i for i in range(entries))
    files, count = first[:start], min(entries, 0xFFFF)
    if not zip64:
        return (
            files
            + directory
            + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
        )
    end64 = struct.pack(
        "<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, len(directory), len(files)
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 1)
    return (
        files + directory + end64 + locator + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, 60, start, 0)
    )


def _many_tensors(count: int) -> bytes:
    one = _storage_call(b"K\x01")
    function, arguments = one[: one.index(b"(")], one[one.index(b"(") : -1]
    return function + b"q\x00" + arguments + b"q\x010" + b"0(" + b"h\x00h\x01R" * count + b"l"


def _named_tensors(count: int, size: int) -> bytes:
    """An identity network, all of whose tensors are one."""
    one = _storage_call(number(size), kind="DoubleStorage", size=size)
    names = [
        "input_layer.0.weight",
        "body.0.res_layer.1.weight",
        "output_layer.3.weight",
        *map(str, range(count)),
    ]
    return one + b"q\x000" + items(*(text(name) + b"h\x00" for name in names))


def _script_cycle(entries: int) -> bytes:
    body = (
        named("__torch__.clip", "M")
        + b")\x81q\x00}("
        + b"".join(text(f"{i:04}") + b"h\x00" for i in range(entries))
        + b"ub"
    )
    return zipped(body, {"archive/constants.pkl": b"\x80\x02)."})


def _tensorflow_components(entries: int) -> bytes:
    network = named("dnnlib.tflib.network", "Network") + b")\x81"
    state = items(*(text(f"{i:06}") + b"N" for i in range(entries)))
    inner = network + state + b"bq\x00" + b"0"
    components = items(*(text(f"{i:06}") + b"h\x00" for i in range(entries)))
    return bare(inner + network + items(text("components") + components) + b"b")


def _inner_pickles(count: int) -> bytes:
    raw = legacy(b"(" + b"\x8f" * 100_000 + b"l")
    one = b"B" + struct.pack("<I", len(raw)) + raw
    return bare(b"(" + b"".join(call("torch.storage", "_load_from_bytes", one) for _ in range(count)) + b"l")


_TEXT = 10 * MB
_LATIN = text("\xe9" * (_TEXT // 2))
_LONG = text("x" * (4 * MB)) + b"q\x000" + text("x" * (4 * MB)) + b"q\x010"
_WIDE = {"style.1.weight": torch.zeros(1, 10_000_000), "style.1.bias": torch.zeros(1)}
_KEYS = [(2**61 - 1) * i for i in range(1, 95_000)]


def _saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def _deep(depth: int = 40) -> Any:
    value: Any = ()
    for _ in range(depth):
        value = (value, value)
    return value


BOMBS: dict[str, Callable[[], bytes]] = {
    "a million nested lists": lambda: bare(b"]" * 1_000_000 + b"a" * 999_999),
    "a million nested tuples": lambda: bare(b")" + b"\x85" * 1_000_000),
    "nested tuples within the limit": lambda: bare(b")" + b"\x85" * 190_000),
    "nested records within the limit": lambda: bare(
        named("argparse", "Namespace") + b"q\x000N" + b"".join([b"q\x010h\x00h\x01\x85R"] * 30_000)
    ),
    "nested lists within the limit": lambda: bare(b"]" * 95_000 + b"a" * 94_999),
    "a million dictionaries": lambda: bare(b"(" + b"}" * 1_000_000 + b"l"),
    "a million sets": lambda: bare(b"(" + b"\x8f" * 1_000_000 + b"l"),
    "sets within the limit": lambda: bare(b"(" + b"\x8f" * 199_000 + b"l"),
    "records within the limit": lambda: bare(
        named("argparse", "Namespace") + b"q\x00)q\x0100(" + b"h\x00h\x01R" * 65_000 + b"l"
    ),
    "sets of a thousand": lambda: bare(
        named("builtins", "set")
        + b"q\x00(]("
        + b"".join(number(i) for i in range(1000))
        + b"etq\x0100("
        + b"h\x00h\x01R" * 65_000
        + b"l"
    ),
    "sizes of many numbers": lambda: bare(
        named("torch", "Size")
        + b"q\x00]("
        + b"N" * 99_000
        + b"e\x85q\x0100("
        + b"h\x00h\x01R" * 60_000
        + b"l"
    ),
    "calls with many arguments": lambda: bare(
        named("argparse", "Namespace")
        + b"q\x00("
        + b"N" * 99_000
        + b"tq\x0100("
        + b"h\x00h\x01R" * 60_000
        + b"l"
    ),
    "a text encoded a thousand times": lambda: bare(
        named("_codecs", "encode")
        + b"q\x00"
        + _LATIN
        + text("latin1")
        + b"\x86q\x0100("
        + b"h\x00h\x01R" * 1000
        + b"l"
    ),
    "arrays of one text": lambda: _arrays_of_one_text(b"(", b"t"),
    "arrays of one text, by lists": lambda: _arrays_of_one_text(b"](", b"e"),
    "a shape of many axes": lambda: bare(
        call(
            "numpy.core.numeric",
            "_frombuffer",
            b"C\x01x",
            call("numpy", "dtype", text("u1")),
            b"(" + number(2**39) * 99_000 + b"t",
        )
    ),
    "one tensor 65,000 times": lambda: zipped(_many_tensors(65_000), {"archive/data/0": b"\0" * 4}),
    "an older tensor 65,000 times": lambda: legacy(
        _many_tensors(65_000), b"](" + text("0") + b"e", struct.pack("<Q", 1) + b"\0" * 4
    ),
    "a large tensor a thousand times": lambda: zipped(
        _named_tensors(1000, MB), {"archive/data/0": b"\0" * (8 * MB)}
    ),
    "keys of one hash": lambda: bare(items(*(number(key) + b"N" for key in _KEYS))),
    "a set of one hash": lambda: bare(b"\x8f(" + b"".join(number(key) for key in _KEYS) + b"\x90"),
    "memo numbers of one hash": lambda: bare(b"N" + b"".join(b"p%d\n" % key for key in _KEYS)),
    "pickles in pickles": lambda: _inner_pickles(30),
    "modules in one another": lambda: _script_cycle(15_000),
    "components in components": lambda: _tensorflow_components(19_000),
    "an encoder for many tuples": lambda: _saved(
        encoder_checkpoint(
            _encoder(), torch.zeros(4, 6), E4E_OPTIONS | {"encoder_type": _deep(), "dataset_type": _deep()}
        )
    ),
    "a dataset of many tuples": lambda: _saved(
        encoder_checkpoint(
            _encoder(), torch.full((4, 6), float("nan")), E4E_OPTIONS | {"dataset_type": _deep()}
        )
    ),
    "z of ten million numbers": lambda: _saved({"g_ema": rosinality_state() | _WIDE}),
    "many names for one member": lambda: _overlapping(20_000, 10 * MB),
    "a directory of a million members": lambda: _directory(1_000_000, zip64=False),
    "a directory of a million members, hidden": lambda: _directory(1_000_000, zip64=True),
    "a compressed pickle of 200 MB": lambda: _archive(
        ("archive/data.pkl", b"\x80\x02" + b"N0" * (100 * MB) + b"."), compression=zipfile.ZIP_DEFLATED
    ),
    "a compressed tensor of 200 MB": lambda: (
        _archive(_PICKLE)
        + _archive(_PICKLE, ("archive/data/0", b"\0" * (200 * MB)), compression=zipfile.ZIP_DEFLATED)
    ),
    "safetensors at one place, of another type": lambda: _tensors_file(
        {str(i): _entry(0, 8 * MB, [4 * MB], "BF16") for i in range(10_000)}, b"\0" * (8 * MB)
    ),
    "a message of many characters": lambda: bare(b"F" + b"x" * (8 * MB) + b"\n"),
    "a name of many characters": lambda: bare(text("x" * (20 * MB)) + text("y") + b"\x93"),
    "equal texts as keys": lambda: bare(_LONG + b"}(" + b"h\x00Nh\x01N" * 45_000 + b"u"),
    "a set of equal texts": lambda: bare(_LONG + b"\x8f(" + b"h\x00h\x01" * 90_000 + b"\x90"),
    "equal texts as names of storages": lambda: legacy(
        b"](" + _many_tensors(1) + b"e",
        _LONG + b"](" + b"h\x00h\x01" * 90_000 + b"e",
        struct.pack("<Q", 1) + b"\0" * 4,
    ),
    "references by equal texts": lambda: legacy(
        _LONG + b"(" + (_reference(b"h\x00") + _reference(b"h\x01")) * 5000 + b"l"
    ),
    "classes of a long name": lambda: zipped(
        text("__torch__." + "x" * (4 * MB))
        + b"q\x000"
        + text("M")
        + b"q\x010("
        + b"h\x00h\x01\x93" * 60_000
        + b"l",
        {"archive/constants.pkl": b"\x80\x02)."},
    ),
    "half precision, as relevance": lambda: _npy(
        "{'descr': '<f2', 'fortran_order': False, 'shape': (32768, 512), }",
        b"\0@" + b"\0\0" * (32768 * 512 - 1),
    ),
}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def measure(folder: Path) -> None:
    """Read every file of a folder in a fork, and print what it cost as JSON."""
    torch.set_num_threads(1)
    gc.freeze()  # or each fork's garbage collection would go through, and copy, all that is imported
    for path in sorted(folder.iterdir()):
        sys.stdout.flush()
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (pages + 1500 * MB, pages + 1500 * MB))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            read_parts(path)
            outcome = "read"
        except WeightsError as error:
            outcome = f"refused: {str(error)[len(str(path)) + 2 :]}"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        seconds = time.process_time() - start
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        say(json.dumps({"file": path.name, "outcome": outcome, "seconds": seconds, "growth": growth * 1024}))
        os._exit(0)


def _measured(folder: Path, kinds: dict[str, Callable[[], bytes]]) -> dict[str, dict[str, Any]]:
    numbers = {f"{i:02}": kind for i, kind in enumerate(kinds)}
    sizes = {}
    for name, kind in numbers.items():
        raw = kinds[kind]()
        (folder / name).write_bytes(raw)
        sizes[name] = len(raw)
    done = subprocess.run(
        [sys.executable, __file__, "--measure", str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    found = {}
    for line in done.stdout.splitlines():
        row = json.loads(line)
        found[numbers[row["file"]]] = row | {"size": sizes[row["file"]]}
        (folder / row["file"]).unlink()
    assert done.stderr == ""
    assert not (folder / PWNED).exists()
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return _measured(tmp_path_factory.mktemp("bombs"), BOMBS)


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory by /proc")
@pytest.mark.parametrize("kind", BOMBS)
def test_small_files_do_not_cost_much(kind: str, measured: dict[str, dict[str, Any]]) -> None:
    row = measured[kind]  # missing if the process was killed for the time it took
    assert row["outcome"].startswith("refused: ")
    assert "\n" not in row["outcome"]
    assert len(row["outcome"]) < 300
    assert row["seconds"] < 2
    assert row["growth"] < 2 * row["size"] + 64 * MB


def test_headers_of_many_megabytes_are_not_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(_tensors_file(b'{"__metadata__":{"a":"' + b"x" * (64 * MB) + b'"}}'))
    start = time.process_time()
    for reader in (load_weights, read_parts):
        with pytest.raises(WeightsError, match="many megabytes"):
            reader(path)
    assert time.process_time() - start < 0.5
    with pytest.raises(OutputError, match="too long to be read again"):
        save_weights(path, {"a": torch.ones(2)}, {"files": "x" * (3 * MB)})
    assert path.stat().st_size > 64 * MB  # what was there before stays


# Damaged files of every form, as small as can be


def _encoder() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Encoder(stages((2, 2, 3, 4), (1, 1, 1, 1), reduction=2), 4, 6, 16).state_dict()


def _identity() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return ArcFace(stages((2, 2, 3, 4), (1, 1, 1, 1), reduction=2), 3, 16).state_dict()


def _conditional() -> bytes:
    generator = nvlabs_generator(rosinality_state(), torch.zeros(6), clamp=256.0)
    mapping = inside(generator, "mapping")
    mapping["c_dim"] = 2
    template = inside(generator, "mapping", "fc0")
    wide = torch.nn.Parameter(
        torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), requires_grad=False
    )
    template["_parameters"]["weight"] = wide
    embedding = nvlabs_generator(rosinality_state(w_dim=2), None).meta["state"]["_modules"]["mapping"]
    mapping["_modules"]["embed"] = embedding.meta["state"]["_modules"]["fc0"]
    return nvlabs_pickle(generator)


def _file(write: Callable[[Path], Any], path: Path) -> bytes:
    write(path)
    return path.read_bytes()


def forms(folder: Path) -> dict[str, tuple[bytes, bool, Callable[[Path], Any]]]:
    """By name: a small file, whether it has checksums, and what reads it."""
    g, average = rosinality_state(), torch.linspace(-1, 1, 6)
    checkpoint = {"g_ema": g, "latent_avg": average}
    draw = np.random.RandomState(0)
    relevance = draw.randn(6, 8).astype(np.float32)
    relevance /= np.linalg.norm(relevance, axis=1, keepdims=True)
    halves = [[draw.rand(n).astype(np.float32) for n in (3, 3, 2)] for _ in range(2)]
    latents = draw.randn(2, 4, 6).astype(np.float32)
    opts = Namespace(**E4E_OPTIONS, rate=np.float64(0.5), device2=torch.device("cpu"))
    encoder = encoder_checkpoint(_encoder(), torch.zeros(4, 6), E4E_OPTIONS, g)
    mapper = mapper_checkpoint(random_mapper(("course_mapping", 3), ("fine_mapping", 3)))
    path = folder / "form"
    part = {"relevance.matrix": torch.from_numpy(relevance)}
    return {
        "rosinality, zip": (_saved(checkpoint), True, read_parts),
        "rosinality, legacy": (_file(lambda p: save(p, checkpoint, legacy=True), path), False, read_parts),
        "rosinality, trained, zip": (_saved(trained_checkpoint(g)), True, read_parts),
        "rosinality, trained, legacy": (
            _file(lambda p: save(p, trained_checkpoint(g), legacy=True), path),
            False,
            read_parts,
        ),
        "NVlabs, protocol 2": (nvlabs_pickle(nvlabs_generator(g, average), 2), False, read_parts),
        "NVlabs, protocol 4": (nvlabs_pickle(nvlabs_generator(g, average), 4), False, read_parts),
        "NVlabs, conditional": (_conditional(), False, read_parts),
        "TensorFlow, protocol 2": (tensorflow_pickle(tensorflow_variables(g, average), 2), False, read_parts),
        "TensorFlow, protocol 4": (tensorflow_pickle(tensorflow_variables(g, average), 4), False, read_parts),
        "TensorFlow, Python 2": (
            tensorflow_pickle(tensorflow_variables(g, None), 2, True),
            False,
            read_parts,
        ),
        "e4e, zip": (_saved(encoder), True, read_parts),
        "e4e, legacy": (
            _file(lambda p: save(p, encoder | {"opts": opts}, legacy=True), path),
            False,
            read_parts,
        ),
        "mapper, zip": (_saved(mapper), True, read_parts),
        "mapper, legacy": (_file(lambda p: save(p, mapper, legacy=True), path), False, read_parts),
        "identity, zip": (_saved(_identity()), True, read_parts),
        "identity, legacy": (_file(lambda p: save(p, _identity(), legacy=True), path), False, read_parts),
        "CLIP, TorchScript": (_file(lambda p: clip_script(p, clip_model()), path), True, read_parts),
        "CLIP, zip": (_saved(clip_model().half().state_dict()), True, read_parts),
        "fs3.npy": (_file(lambda p: _save_npy(p, relevance.astype(np.float16)), path), False, read_parts),
        "S_mean_std": (pickle.dumps(halves), False, read_parts),
        "safetensors": (save_safetensors(part, {"part": "relevance", "layout": "x"}), False, read_parts),
        "w_plus.npy": (_file(lambda p: _save_npy(p, latents), path), False, read_latents),
        "latents.pt, zip": (_saved(torch.from_numpy(latents)), True, read_latents),
        "latents.pt, legacy": (
            _file(lambda p: save(p, torch.from_numpy(latents), legacy=True), path),
            False,
            read_latents,
        ),
    }


def _save_npy(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


Arrays = dict[str, np.ndarray]


def _arrays(found: Any) -> Arrays:
    """All arrays of what a reader gave; checks that it is well-formed."""
    if isinstance(found, np.ndarray):
        assert found.ndim == 3
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        return {"latents": found}
    assert isinstance(found, list)
    assert found
    arrays: Arrays = {}
    for part in found:
        assert isinstance(part, Part)
        assert part.name in PARTS
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in part.notes.items())
        assert part.state
        for name, array in part.state.items():
            assert isinstance(name, str)
            assert isinstance(array, np.ndarray)
            assert array.dtype.kind in "fiub"
            assert array.dtype.kind != "f" or np.isfinite(array).all()
            arrays[f"{part.name}/{name}"] = array
    return arrays


def _outcome(path: Path, read: Callable[[Path], Any]) -> Arrays | None:
    """The arrays of a file, or None where it is refused as it should be."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return _arrays(read(path))
        except WeightsError as error:
            message = str(error)
    assert message.isprintable()
    assert len(message) < len(str(path)) + 300
    return None


def flip(
    folder: Path, name: str, form: tuple[bytes, bool, Callable[[Path], Any]], cases: int
) -> Counter[str]:
    """Change one byte at a time; counts of what became of it.

    Without checksums, a changed number is a changed number, and a changed header may describe another
    file that is just as right: only that what is read is well-formed can be asked for.
    """
    raw, checked, read = form
    path = folder / "flipped"
    path.write_bytes(raw)
    whole = _outcome(path, read)
    assert whole is not None, name
    whole = {key: np.array(value) for key, value in whole.items()}
    counts: Counter[str] = Counter()
    draw = np.random.RandomState(len(raw))
    with path.open("r+b", buffering=0) as file:
        for at, change in zip(draw.randint(0, len(raw), cases), draw.randint(1, 256, cases), strict=True):
            file.seek(int(at))
            file.write(bytes([raw[at] ^ int(change)]))
            found = _outcome(path, read)
            if found is None:
                counts["refused"] += 1
            elif set(found) != set(whole) or any(found[key].shape != whole[key].shape for key in whole):
                counts["read, other shapes"] += 1
                assert not checked, (name, at, change)
            elif all(np.array_equal(found[key], whole[key]) for key in whole):
                counts["read, identical"] += 1
            else:
                counts["read, other numbers"] += 1
                assert not checked, (name, at, change)
            file.seek(int(at))
            file.write(raw[at : at + 1])
    counts["cases"] = cases
    return counts


def truncate(folder: Path, name: str, form: tuple[bytes, bool, Callable[[Path], Any]]) -> int:
    """Cut a file off at places all over; each must be refused."""
    raw, _, read = form
    path = folder / "truncated"
    ends = {0, 1, len(raw) - 1, *(len(raw) * i // TRUNCATIONS for i in range(TRUNCATIONS))}
    for end in sorted(ends):
        path.write_bytes(raw[:end])
        assert _outcome(path, read) is None, (name, end)
    return len(ends)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bool, Callable[[Path], Any]]]:
    return forms(tmp_path_factory.mktemp("forms"))


FORMS = (
    *("rosinality, zip", "rosinality, legacy", "rosinality, trained, zip", "rosinality, trained, legacy"),
    *("NVlabs, protocol 2", "NVlabs, protocol 4", "NVlabs, conditional"),
    *("TensorFlow, protocol 2", "TensorFlow, protocol 4", "TensorFlow, Python 2"),
    *("e4e, zip", "e4e, legacy", "mapper, zip", "mapper, legacy", "identity, zip", "identity, legacy"),
    *("CLIP, TorchScript", "CLIP, zip", "fs3.npy", "S_mean_std", "safetensors"),
    *("w_plus.npy", "latents.pt, zip", "latents.pt, legacy"),
)


def test_every_form_is_among_the_damaged(small: dict[str, Any]) -> None:
    assert tuple(small) == FORMS


@pytest.mark.parametrize("name", FORMS)
def test_no_part_of_a_file_is_taken_for_the_whole(name: str, small: dict[str, Any], alone: Path) -> None:
    assert truncate(alone, name, small[name]) >= TRUNCATIONS


@pytest.mark.parametrize("name", ["nvlabs_cond.pkl", "rosinality_generator.pt", "fs3.npy", "S_mean_std"])
def test_no_part_of_a_golden_file_is_taken_for_the_whole(name: str, alone: Path) -> None:
    assert truncate(alone, name, ((GOLDEN / name).read_bytes(), False, read_parts)) >= TRUNCATIONS


@pytest.mark.parametrize("name", FORMS)
def test_a_changed_byte_is_noticed_or_harmless(
    name: str, small: dict[str, Any], alone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    counts = flip(alone, name, small[name], FLIPS // len(FORMS) + 1)
    assert counts["refused"] > 0
    assert capfd.readouterr() == ("", "")


def report(folder: Path) -> None:
    """Print how many files there are and what became of them."""
    os.chdir(folder)
    path = folder / "hostile"
    counts: Counter[str] = Counter()
    for kinds, deliveries in (
        (CALLS, DELIVERIES),
        ({kind: body for kind, (body, _) in BODIES.items()}, DELIVERIES),
        ({kind: make() for kind, make in CONTAINERS.items()}, {"": lambda raw: raw}),
    ):
        for body in kinds.values():
            for deliver in deliveries.values():
                path.write_bytes(deliver(body))
                counts["refused" if _outcome(path, read_parts) is None else "READ"] += 1
    say(f"hostile files: {sum(counts.values())} {dict(counts)}, executed: {int((folder / PWNED).exists())}")
    bombs = folder / "bombs"
    bombs.mkdir()
    say(f"{'cost':45s} {'file':>9s} {'memory':>9s} {'time':>7s}")
    for kind, row in _measured(bombs, BOMBS).items():
        say(
            f"{kind:45s} {row['size'] / MB:6.1f} MB {row['growth'] / MB:6.1f} MB {row['seconds']:5.2f} s  "
            f"{row['outcome'][:60]}"
        )
    say(
        f"{'damaged':30s} {'cut off':>8s} {'flips':>6s} {'refused':>8s} "
        f"{'same':>6s} {'numbers':>8s} {'shapes':>7s}"
    )
    total: Counter[str] = Counter()
    for name, form in forms(folder).items():
        found = flip(folder, name, form, FLIPS // len(FORMS) + 1)
        found["cut"] = truncate(folder, name, form)
        total += found
        _row(name, found)
    _row("all", total)


def _row(name: str, found: Counter[str]) -> None:
    say(
        f"{name:30s} {found['cut']:8d} {found['cases']:6d} {found['refused']:8d} "
        f"{found['read, identical']:6d} {found['read, other numbers']:8d} {found['read, other shapes']:7d}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
    else:
        import tempfile

        with tempfile.TemporaryDirectory() as name:
            report(Path(name))
