"""StyleGAN2 generators as pickled by NVlabs' PyTorch code (stylegan2-ada-pytorch, stylegan3).

Such a pickle carries the source text of its classes, to be run when it is loaded. Here objects are records
(`inert.Record`) and the text is data like any other. Facts of the layout: torch_utils/persistence.py and
training/networks.py of stylegan2-ada-pytorch, training/networks_stylegan2.py of stylegan3. Gains that those
networks apply when run (1 / sqrt(fan in), and 0.01 in the mapping network) are read from the layers and
folded into the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from styleclip_cli.weights.readers.archives import fields, tensors
from styleclip_cli.weights.readers.inert import Damaged, Record, Refused
from styleclip_cli.weights.readers.parts import Part, State, class_notes, fold_class, mean_w, single, take
from styleclip_cli.weights.readers.rosinality import check_filter

LAYOUT = "StyleGAN2 generator (NVlabs, PyTorch)"
_OBJECT = "torch_utils.persistence._reconstruct_persistent_obj"
_VERSION = 6


def recognise(value: Any) -> bool:
    """Whether a pickle's content is that of NVlabs' training script."""
    return isinstance(fields(value).get("G_ema"), Record)


class _Module:
    """One pickled module.

    Attributes:
        kind: Name of its class.
        values: Its attributes.
        arrays: Its parameters and buffers by name.
    """

    def __init__(self, found: Any) -> None:
        if not isinstance(found, Record) or found.name != _OBJECT or not found.args:
            raise Damaged("a network is not what NVlabs' code writes")
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


def convert(value: Any, class_index: int = 0) -> Part:
    """Take the generator (G_ema, the averaged one) out of a pickle's content.

    Args:
        value: What `archives.read` gave.
        class_index: Which class a conditional generator is to draw; folded into its mapping network, so
            that the result is an unconditional one.

    Raises:
        Damaged: If layers are missing.
        Refused: If it is another kind of network.
    """
    generator = _Module(fields(value)["G_ema"])
    synthesis, mapping = generator.child("synthesis"), generator.child("mapping")
    if generator.kind != "Generator" or synthesis.has("input"):
        raise Refused("it holds a StyleGAN3 network, which has no StyleSpace; only StyleGAN2 can be edited")
    out: State = {}
    notes = _mapping(out, mapping, class_index)
    resolution = generator.whole("img_resolution")
    sizes = [4 << i for i in range(12) if 4 << i <= resolution]
    if not sizes or sizes[-1] != resolution or generator.whole("img_channels") != 3:
        raise Refused(
            f"it draws pictures of {resolution} pixels and {generator.whole('img_channels')} channels"
        )
    clamps = {_block(out, synthesis.child(f"b{size}"), size) for size in sizes} - {None}
    if len(clamps) > 1:
        raise Refused("its layers are clamped in different ways")
    if clamps:
        out["conv_clamp"] = np.asarray(clamps.pop(), np.float32)
    average = mapping.arrays.get("w_avg")
    out["w_avg"] = mean_w(out) if average is None else single(average).reshape(-1)
    return Part("generator", LAYOUT, out, notes)


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
        out["const"] = single(take(block.arrays, "const", 3))
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
