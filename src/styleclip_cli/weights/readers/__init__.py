"""Readers of other projects' files: foreign file to arrays of our own layout, without running anything in it.

The form is recognised from the content, never from the name: `archives` opens the container, and each
format's module says whether the content is its own.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from styleclip_cli.errors import WeightsError
from styleclip_cli.weights.readers import archives, measurements, networks, nvlabs, others, tensorflow
from styleclip_cli.weights.readers.archives import BROKEN, Content, fields, tensors
from styleclip_cli.weights.readers.inert import Damaged, Name, Record, Refused, printable
from styleclip_cli.weights.readers.parts import PARTS, Part

__all__ = ["Part", "read_latents", "read_parts"]

_MAX_STATES = 100
_MAX_DEPTH = 3
_LAST = frozenset(["d", "D"])  # discriminators
_UNKNOWN = (
    "StyleGAN2 generators (rosinality, NVlabs PyTorch and TensorFlow), e4e, pSp and ReStyle encoders, "
    "ArcFace IR-SE, OpenAI CLIP, parsers of faces, StyleCLIP mappers, fs3.npy and S_mean_std can be read"
)


_DIVERGED = "a training that went astray writes such files: take an earlier one, or download it again"
_NOT_WHOLE = "it is no whole network of this kind: check which file this is"


def read_parts(path: Path, class_index: int = 0) -> list[Part]:
    """Read the parts of a model pack that a file holds.

    Args:
        path: A checkpoint of any supported kind.
        class_index: Which class a conditional generator is to draw.

    Returns:
        At least one part; their arrays may be views of the file.

    Raises:
        WeightsError: If it is missing, damaged, refused as unsafe, or of no known kind.
    """
    content = archives.read(path)
    beside = f"; {content.doubt}" if content.doubt else ""
    try:
        with np.errstate(all="ignore"):  # what overflows is not finite, and found by the check
            parts = _parts(content, class_index)
        if not parts:
            raise _nothing(path, content, beside)
        for part in parts:
            _check(part, path.stat().st_size)
    except Refused as error:
        raise WeightsError(f"{path}: refused: {error}{beside}", error.hint or _UNKNOWN) from None
    except Damaged as error:
        raise WeightsError(f"{path}: not usable ({error}){beside}", error.hint or _NOT_WHOLE) from None
    except BROKEN:
        raise WeightsError(
            f"{path}: not usable (its tensors do not fit each other){beside}", _NOT_WHOLE
        ) from None
    return parts


def read_latents(path: Path) -> np.ndarray:
    """Read W or W+ latents of StyleCLIP's own files: w_plus.npy, W.npy, latents.pt, train_faces.pt.

    Returns:
        [N, num_ws, w_dim], float32; num_ws is 1 where each face has a single w.

    Raises:
        WeightsError: If it cannot be read, or holds no latents.
    """
    value = archives.read(path).value
    with np.errstate(all="ignore"):
        found = measurements.latents(value)
    if found is None:
        raise WeightsError(f"{path}: holds no W+ latents", "[N, num_ws, w_dim] in a .npy, .pt or .npz file")
    if not np.isfinite(found).all():
        raise WeightsError(
            f"{path}: not usable (its latents hold values that are not finite)", "encode the pictures again"
        )
    return np.array(found)  # the file's own bytes are read-only


def _parts(content: Content, class_index: int) -> list[Part]:
    value = content.value
    if content.container == "safetensors" and "part" in content.notes:
        return _own(content)
    if content.container == "torchscript":
        state = archives.module_tensors(value)
        return [networks.clip(state)] if "text_projection" in state else []
    pickled = nvlabs.find(value)
    if pickled is not None:
        where, generator = pickled
        return [_noted(nvlabs.convert(generator, class_index), "" if where == "G_ema" else where, "")]
    if tensorflow.recognise(value):
        return [tensorflow.convert(value, class_index)]
    measured = measurements.relevance(value) or measurements.statistics(value)
    if measured:
        return [measured]
    found: dict[str, Part] = {}
    for where, state in _states(value).items():
        for prefix, part in networks.parts_of(state, fields(value), class_index, found):
            found[part.name] = _noted(part, where, prefix)
    return list(found.values())


def _states(value: Any) -> dict[str, dict[str, np.ndarray]]:
    """The state dicts in a file, by where they are: those of averaged networks (ema) first."""
    found = {"": archives.module_tensors(value) if archives.is_module(value) else tensors(value)}
    named = sorted(fields(value).items(), key=lambda item: _rank(item[0]))
    waiting = deque((name, entry, 1) for name, entry in named)
    seen = set()  # what is there under several names is looked at once
    while waiting and len(found) < _MAX_STATES:
        name, entry, depth = waiting.popleft()
        if id(entry) in seen:
            continue
        seen.add(id(entry))
        if archives.is_module(entry):
            found[name] = archives.module_tensors(entry)
        elif isinstance(entry, dict | Record):
            found[name] = tensors(entry)
            if depth < _MAX_DEPTH and not found[name]:
                waiting += [(f"{name}.{key}", inner, depth + 1) for key, inner in fields(entry).items()]
    states = {name: state for name, state in found.items() if state}
    return dict(sorted(states.items(), key=lambda item: _rank(item[0])))


def _rank(name: str) -> tuple[bool, bool]:
    """Where a state dict of this name comes: averaged networks (ema) first, discriminators last."""
    return name in _LAST, "ema" not in name.lower()


def _noted(part: Part, where: str, prefix: str) -> Part:
    """A part with a note of where in its file it was, unless it was where it usually is."""
    usual = {"g_ema": ("",), "state_dict": ("encoder.", "decoder.", "mapper.", ""), "": ("",)}
    if prefix in usual.get(where, ()):
        return part
    pieces = [piece for piece in (where, f"{prefix}*" if prefix else "") if piece]
    taken = printable(" / ".join(pieces), 80)
    plain = any(re.fullmatch(r"(.*\.)?(net)?g(enerator)?(\.\*)?", piece, re.IGNORECASE) for piece in pieces)
    if part.name == "generator" and plain and "ema" not in taken.lower():
        taken += "; an averaged generator (g_ema), which would draw better, is not in the file"
    return replace(part, notes={**part.notes, "taken": taken})


def _own(content: Content) -> list[Part]:
    """A part that was converted before."""
    name = content.notes.get("part", "")
    if name not in PARTS:
        return []
    layout = printable(content.notes.get("layout", "converted"), 200)
    return [Part(name, layout, content.value, content.notes)]  # type: ignore[arg-type]


def _nothing(path: Path, content: Content, beside: str) -> WeightsError:
    """What is said of a file that holds no part."""
    other = others.described(content.value, _states(content.value))
    if other is not None:
        return WeightsError(f"{path}: holds {other[0]}, which is not supported{beside}", other[1])
    if measurements.latents(content.value) is not None:
        return WeightsError(
            f"{path}: holds latents, which are no part of a model pack",
            f"edit them: styleclip edit {path.name} --prompt ...",
        )
    return WeightsError(f"{path}: holds {_summary(content)}; of no known kind{beside}", _UNKNOWN)


def _check(part: Part, size: int) -> None:
    """Refuse numbers that are not finite, and tensors that together hold far more than the file.

    A file can name one storage as many tensors; converted, each has numbers of its own. Half precision
    may double, and nothing else grows.
    """
    if archives.total_bytes(part.state) > 2 * size + 2**20:
        raise Refused(f"its {part.name} would take more than twice the file's size")
    for name, array in part.state.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Damaged(f"the tensor {printable(name)} holds values that are not finite", _DIVERGED)


def _summary(content: Content) -> str:
    value: Any = content.value
    if isinstance(value, dict):
        names = [name for name in value if isinstance(name, str)][:3]
        clean = ", ".join(printable(name, 40) for name in names)
        return f"a dictionary of {len(value)} entries ({clean}, ...)" if names else "an empty dictionary"
    if isinstance(value, Record | Name):
        return f"an object ({printable(value.name)})"
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)} of {value.dtype}"
    return f"a {type(value).__name__}"
