"""StyleGAN2 generators as pickled by NVlabs' PyTorch code (stylegan2-ada-pytorch, stylegan3).

Such a pickle carries the source text of its classes, to be run when it is loaded. Here objects are records
(`inert.Record`) and the text is data like any other. Facts of the layout: torch_utils/persistence.py and
training/networks.py of stylegan2-ada-pytorch, training/networks_stylegan2.py of stylegan3. Gains that those
networks apply when run (1 / sqrt(fan in), and 0.01 in the mapping network) are read from the layers and
folded into the weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from styleclip_cli.weights.readers.archives import fields, is_module, tensors
from styleclip_cli.weights.readers.inert import Damaged, Record, Refused, printable
from styleclip_cli.weights.readers.parts import (
    ONLY,
    ORIGINAL,
    Part,
    State,
    class_notes,
    coloured,
    count_of,
    fold_class,
    mean_w,
    single,
    square,
    take,
    unconditional,
    within,
)
from styleclip_cli.weights.readers.rosinality import check_filter

LAYOUT = "StyleGAN2 generator (NVlabs, PyTorch)"
FLAT = "StyleGAN2 generator (NVlabs, PyTorch, tensors only)"
MARKS = ("synthesis.b4.const",)
"""Tensors that tell a state dict of such a generator from others."""
_OBJECT = "torch_utils.persistence._reconstruct_persistent_obj"
_VERSION = 6
# What other projects pickle in the same way, by the class of the part that draws.
_OTHERS = {
    "FastganSynthesis": "FastGAN, of projected-gan",
    "FastganSynthesisCond": "FastGAN, of projected-gan",
    "SuperresGenerator": "StyleGAN-XL",
    "TriPlaneGenerator": "EG3D",
    "Discriminator": "discriminator",
}


def find(value: Any) -> tuple[str, Record] | None:
    """The pickled generator in a file's content, and where it is.

    Training scripts write a dictionary with the averaged generator as "G_ema"; others save that alone.
    """
    if _is_generator(value):
        return "", value
    found = {name: entry for name, entry in fields(value).items() if _is_generator(entry)}
    names = ["G_ema", *(name for name in found if "ema" in name.lower()), "G", *found]
    return next(((name, found[name]) for name in names if name in found), None)


def _is_persistent(value: Any) -> bool:
    # Projects that have NVlabs' code in a folder of theirs name it after that.
    return isinstance(value, Record) and f".{value.name}".endswith(f".{_OBJECT}")


def _is_generator(value: Any) -> bool:
    """Whether an object is one that NVlabs' code pickles, or one of its classes pickled in the usual way."""
    modules = fields(fields(value).get("_modules")) if is_module(value) else {}
    return _is_persistent(value) or {"synthesis", "mapping"} <= modules.keys()


class _Module:
    """One pickled module.

    Attributes:
        kind: Name of its class.
        values: Its attributes.
        arrays: Its parameters and buffers by name.
    """

    def __init__(self, found: Any) -> None:
        if is_module(found):
            described = {"class_name": found.name.rpartition(".")[2], "state": found}
        elif not _is_persistent(found) or not found.args:
            raise Damaged("a network is not what NVlabs' code writes")
        else:
            described = fields(found.args[0])
            if described.get("version") != _VERSION or described.get("type") != "class":
                raise Refused(f"its networks are pickled in another version than {_VERSION}")
        self.kind = described.get("class_name")
        self.values = fields(described.get("state"))
        self.arrays = tensors(self.values.get("_parameters")) | tensors(self.values.get("_buffers"))

    def child(self, name: str) -> _Module:
        """A module inside.

        Raises:
            Damaged: If there is none of that name.
        """
        found = fields(self.values.get("_modules")).get(name)
        if found is None:
            raise Damaged(f"the layer {name} is missing")
        return _Module(found)

    def has(self, name: str) -> bool:
        return name in fields(self.values.get("_modules"))

    def number(self, name: str) -> float:
        """A numeric attribute."""
        found = self.values.get(name)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise Damaged(f"{name} is not a number")
        return float(found)

    def whole(self, name: str) -> int:
        """A whole number that counts something."""
        found = self.number(name)
        if not 0 <= found <= 2**16 or found != int(found):
            raise Damaged(f"{name} is {found}")
        return int(found)


class _Tensors(_Module):
    """A module of which only tensors were saved; what else it had is as usual, or follows from their shapes.

    Args:
        state: Its tensors.
        name: Its name.
    """

    def __init__(self, state: Mapping[str, np.ndarray], name: str) -> None:
        self.state = state
        self.arrays = {key: array for key, array in state.items() if "." not in key}
        self.values = {"activation": "lrelu", "use_noise": "noise_strength" in state}
        if "skip.weight" in state:
            self.values["architecture"] = "resnet"
        if "weight" in self.arrays:
            rate = 0.01 if name.startswith("fc") else 1.0  # the mapping network's
            inputs = math.prod(self.arrays["weight"].shape[1:]) or 1
            self.values |= {"weight_gain": rate / math.sqrt(inputs), "bias_gain": rate}
        if name == "mapping":
            self.values["num_layers"] = count_of(state, r"fc(\d+)\.weight")
            self.values["c_dim"] = take(state, "embed.weight", 2).shape[1] if self.has("embed") else 0

    def child(self, name: str) -> _Module:
        if not self.has(name):
            raise Damaged(f"the layer {name} is missing")
        return _Tensors(within(self.state, f"{name}."), name)

    def has(self, name: str) -> bool:
        return any(key.startswith(f"{name}.") for key in self.state)


def convert(found: Record, class_index: int = 0) -> Part:
    """Convert a pickled generator.

    Args:
        found: What `find` gave.
        class_index: Which class a conditional generator is to draw; folded into its mapping network, so
            that the result is an unconditional one.

    Raises:
        Damaged: If layers are missing.
        Refused: If it is another kind of network.
    """
    generator = _Module(found)
    kinds = [generator.kind, *(generator.child(name).kind for name in ("synthesis",) if generator.has(name))]
    for kind in kinds:
        if isinstance(kind, str) and kind in _OTHERS:
            raise Refused(f"it is a {_OTHERS[kind]}; only StyleGAN2 can be edited", ONLY)
    synthesis = generator.child("synthesis") if generator.has("synthesis") else generator
    if synthesis.has("input"):
        raise Refused(
            "it is a StyleGAN3 (or StyleGAN-XL), which has no StyleSpace; only StyleGAN2 can be edited", ONLY
        )
    if not synthesis.has("b4"):
        names = " with ".join(printable(kind, 60) for kind in kinds if isinstance(kind, str))
        raise Refused(f"it holds another kind of network ({names}); only StyleGAN2 can be edited", ONLY)
    resolution = generator.whole("img_resolution")
    channels = generator.whole("img_channels")
    if channels != 3:
        raise Refused(f"it draws pictures of {channels} channels; only coloured ones (3) can be edited", ONLY)
    return _generator(LAYOUT, synthesis, generator.child("mapping"), resolution, class_index)


def convert_flat(state: Mapping[str, np.ndarray], class_index: int = 0) -> Part:
    """Convert the state dict of such a generator.

    It lacks what layers are multiplied by and clamped to. The factors are the same in all published ones;
    the clamp hardly any number reaches.

    Raises:
        Damaged: If layers are missing.
        Refused: If it is another kind of network.
    """
    generator = _Tensors(state, "")
    try:
        coloured(take(state, "synthesis.b4.torgb.weight", 4))
        synthesis, mapping = generator.child("synthesis"), generator.child("mapping")
        if not mapping.has("embed"):
            unconditional(take(state, "mapping.fc0.weight", 2))
        sizes = [int(match[1]) for name in state if (match := re.match(r"synthesis\.b(\d{1,4})\.", name))]
        return _generator(FLAT, synthesis, mapping, max(sizes), class_index)
    except Damaged as error:
        raise Damaged(str(error), ORIGINAL) from None


def _generator(layout: str, synthesis: _Module, mapping: _Module, resolution: int, class_index: int) -> Part:
    out: State = {}
    notes = _mapping(out, mapping, class_index)
    sizes = [4 << i for i in range(12) if 4 << i <= resolution]
    if not sizes or sizes[-1] != resolution:
        raise Refused(f"it draws pictures of {resolution} pixels")
    clamps = {_block(out, synthesis.child(f"b{size}"), size) for size in sizes} - {None}
    if len(clamps) > 1:
        raise Refused("its layers are clamped in different ways")
    if clamps:
        out["conv_clamp"] = np.asarray(clamps.pop(), np.float32)
    average = mapping.arrays.get("w_avg")
    out["w_avg"] = mean_w(out) if average is None else single(average).reshape(-1)
    return Part("generator", layout, out, notes)


def _mapping(out: State, mapping: _Module, class_index: int) -> dict[str, str]:
    """Convert the mapping network; returns what is to be said of its classes."""
    for i in range(min(mapping.whole("num_layers"), 64)):
        layer = mapping.child(f"fc{i}")
        if layer.values.get("activation") != "lrelu":
            raise Refused("its mapping network has another activation than leaky ReLU")
        out[f"mapping.{i}.weight"], out[f"mapping.{i}.bias"] = _linear(layer)
    classes = mapping.whole("c_dim")
    if not classes:
        return {}
    notes = class_notes(class_index, classes)
    weight, bias = _linear(mapping.child("embed"))
    first = "mapping.0.weight"
    out[first], out["mapping.0.bias"] = fold_class(
        out[first], out["mapping.0.bias"], weight[:, class_index] + bias
    )
    return notes


def _block(out: State, block: _Module, size: int) -> float | None:
    """Convert one resolution; returns what its layers are clamped to."""
    name = f"synthesis.b{size}"
    if block.values.get("architecture", "skip") != "skip":
        raise Refused("it is a StyleGAN2 of another architecture than skip")
    if size == 4:
        out["const"] = square(single(take(block.arrays, "const", 3)))
    if "resample_filter" in block.arrays:
        check_filter(single(block.arrays["resample_filter"]))
    for conv in ("conv1",) if size == 4 else ("conv0", "conv1"):
        layer = block.child(conv)
        if layer.values.get("activation", "lrelu") != "lrelu":
            raise Refused("its layers have another activation than leaky ReLU")
        _affine(out, layer, f"{name}.{conv}")
        out[f"{name}.{conv}.weight"] = single(take(layer.arrays, "weight", 4))
        noise = layer.values.get("use_noise", True)
        strength = take(layer.arrays, "noise_strength") if noise else np.zeros(())
        const = take(layer.arrays, "noise_const", 2) if noise else np.zeros((size, size))
        out[f"{name}.{conv}.noise_strength"] = single(strength).reshape(())
        out[f"{name}.{conv}.noise_const"] = single(const)
    torgb = block.child("torgb")
    _affine(out, torgb, f"{name}.torgb")
    weight = single(take(torgb.arrays, "weight", 4))
    out[f"{name}.torgb.weight"] = weight * np.float32(torgb.number("weight_gain"))
    clamp = torgb.values.get("conv_clamp")
    return None if clamp is None else torgb.number("conv_clamp")


def _affine(out: State, layer: _Module, name: str) -> None:
    out[f"{name}.affine.weight"], out[f"{name}.affine.bias"] = _linear(layer.child("affine"))
    out[f"{name}.bias"] = single(take(layer.arrays, "bias", 1))


def _linear(layer: _Module) -> tuple[np.ndarray, np.ndarray]:
    weight = single(take(layer.arrays, "weight", 2)) * np.float32(layer.number("weight_gain"))
    return weight, single(take(layer.arrays, "bias", 1)) * np.float32(layer.number("bias_gain"))
