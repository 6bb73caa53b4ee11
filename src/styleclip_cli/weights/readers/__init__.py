"""Readers of other projects' files: foreign file to arrays of our own layout, without running anything in it.

The form is recognised from the content, never from the name: `archives` opens the container, and each
format's module says whether the content is its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from styleclip_cli.errors import WeightsError, one_line
from styleclip_cli.weights.readers import archives, measurements, networks, nvlabs, rosinality, tensorflow
from styleclip_cli.weights.readers.archives import BROKEN, Content, fields, tensors
from styleclip_cli.weights.readers.inert import Damaged, Refused, printable
from styleclip_cli.weights.readers.parts import PARTS, Part, State

__all__ = ["Part", "read_latents", "read_parts"]

_UNKNOWN = (
    "StyleGAN2 generators (rosinality, NVlabs PyTorch and TensorFlow), e4e, pSp and ReStyle encoders, "
    "ArcFace IR-SE, OpenAI CLIP, StyleCLIP mappers, fs3.npy and S_mean_std can be read"
)


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
    try:
        with np.errstate(all="ignore"):  # what overflows is not finite, and found by the check
            parts = _parts(content, class_index)
        if not parts:
            if measurements.latents(content.value) is not None:
                raise WeightsError(
                    f"{path}: holds latents, which are no part of a model pack",
                    f"edit them: styleclip edit {path.name} --prompt ...",
                )
            raise WeightsError(f"{path}: holds {_summary(content)}; of no known kind", _UNKNOWN)
        for part in parts:
            _check(part, path.stat().st_size)
    except Refused as error:
        raise WeightsError(f"{path}: refused: {error}", _UNKNOWN) from None
    except Damaged as error:
        raise WeightsError(f"{path}: not usable ({error})", "download it again") from None
    except BROKEN as error:
        raise WeightsError(f"{path}: not usable ({one_line(error, 80)})", "download it again") from None
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
            f"{path}: not usable (its latents hold values that are not finite)", "download it again"
        )
    return np.array(found)  # the file's own bytes are read-only


def _parts(content: Content, class_index: int) -> list[Part]:
    value = content.value
    if content.container == "safetensors":
        return _own(content)
    if content.container == "torchscript":
        state = archives.script_tensors(value)
        return [networks.clip(state)] if "text_projection" in state else []
    if nvlabs.recognise(value):
        return [nvlabs.convert(value, class_index)]
    if tensorflow.recognise(value):
        return [tensorflow.convert(value, class_index)]
    named = fields(value)
    if "g_ema" in named:
        average = tensors({"latent_avg": named.get("latent_avg")}).get("latent_avg")
        state = tensors(named["g_ema"])
        return [rosinality.convert(state, average)] if rosinality.recognise(state) else []
    if "state_dict" in named:
        return networks.from_training(value)
    state = tensors(value)
    if rosinality.recognise(state):
        return [rosinality.convert(state)]
    measured = measurements.relevance(value) or measurements.statistics(value)
    found = measured or (networks.from_flat(state) if state else None)
    return [found] if found else []


def _own(content: Content) -> list[Part]:
    """A part that was converted before."""
    name = content.notes.get("part", "")
    if name not in PARTS:
        return []
    layout = printable(content.notes.get("layout", "converted"), 200)
    return [Part(name, layout, content.value, content.notes)]  # type: ignore[arg-type]


def _check(part: Part, size: int) -> None:
    """Refuse numbers that are not finite, and tensors that together hold far more than the file.

    A file can name one storage as many tensors; converted, each has numbers of its own. Half precision
    may double, and nothing else grows.
    """
    if archives.total_bytes(part.state) > 2 * size + 2**20:
        raise Refused(f"its {part.name} would take more than twice the file's size")
    for name, array in part.state.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Damaged(f"the tensor {printable(name)} holds values that are not finite")


def _summary(content: Content) -> str:
    value: Any = content.value
    if isinstance(value, dict):
        names = [name for name in value if isinstance(name, str)][:3]
        clean = ", ".join(printable(name, 40) for name in names)
        return f"a dictionary of {len(value)} entries ({clean}, ...)" if names else "an empty dictionary"
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)} of {value.dtype}"
    return f"a {type(value).__name__}"


def state_of(path: Path, name: str) -> State:
    """The arrays of one part of a file (see `read_parts`).

    Raises:
        WeightsError: If the file has no such part.
    """
    for part in read_parts(path):
        if part.name == name:
            return part.state
    raise WeightsError(f"{path}: holds no {name}")
