"""StyleGAN2 generators as pickled by NVlabs' TensorFlow code (stylegan2, stylegan2-ada).

Such a pickle holds three `dnnlib.tflib.network.Network` objects, each with the source text of its graph,
which the original runs, and a list of variables, which is all that is read here. Facts of the layout:
dnnlib/tflib/network.py and training/networks_stylegan2.py; names of the variables as in legacy.py of
stylegan2-ada-pytorch. TensorFlow keeps kernels as [height, width, in, out] and matrices as [in, out];
kernels of upsampling layers are stored turned by 180 degrees; `mod_bias` lacks the 1 that is added at run
time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from styleclip_cli.weights.readers.archives import fields
from styleclip_cli.weights.readers.inert import Array, Damaged, Record, Refused
from styleclip_cli.weights.readers.parts import (
    ONLY,
    Part,
    State,
    class_notes,
    count_of,
    fold_class,
    mean_w,
    single,
    square,
    take,
)

LAYOUT = "StyleGAN2 generator (NVlabs, TensorFlow)"
_OBJECT = "dnnlib.tflib.network.Network"
# Settings of the published generators; another value means another network.
_FIXED = {
    "architecture": "skip",
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "num_channels": 3,
    "normalize_latents": True,
    "resample_kernel": [1, 3, 3, 1],
}


def recognise(value: Any) -> bool:
    """Whether a pickle's content is a TensorFlow network, or several."""
    return bool(_networks(value))


def _networks(value: Any) -> list[Record]:
    return [one for one in (value if isinstance(value, tuple | list) else (value,)) if _is_network(one)]


def _is_network(entry: Any) -> bool:
    return isinstance(entry, Record) and entry.name == _OBJECT


def convert(value: Any, class_index: int = 0) -> Part:
    """Take the averaged generator (Gs, the last network) out of a pickle's content.

    Args:
        value: What `archives.read` gave.
        class_index: Which class a conditional generator is to draw.

    Raises:
        Damaged: If variables are missing.
        Refused: If it is another kind of network.
    """
    network = _networks(value)[-1]
    found, settings = _variables(network), _settings(network)
    if any("ToRGB_lod" in name for name in found):
        old = any(name.startswith("mapping/") for name in found)
        kind = "StyleGAN of the first generation" if old else "progressive GAN (ProGAN), older than StyleGAN"
        raise Refused(f"it is a {kind}; only StyleGAN2 has a StyleSpace", ONLY)
    if not any(name.startswith("synthesis/") for name in found) and "lod" in found:
        raise Refused("it is no StyleGAN2 generator (its networks have no synthesis part)", ONLY)
    for name, wanted in _FIXED.items():
        if settings.get(name, wanted) not in (wanted, None):
            raise Refused(f"it is a StyleGAN2 of another kind ({name})")
    rate = settings.get("mapping_lrmul", 0.01)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
        raise Damaged("mapping_lrmul is not a rate")
    clamp = settings.get("conv_clamp")
    if (
        isinstance(clamp, bool)
        or not isinstance(clamp, int | float | None)
        or (clamp is not None and not clamp > 0)
    ):
        raise Damaged("conv_clamp is not a number")
    out: State = {}
    notes = _mapping(out, found, rate, class_index)
    sizes = [4 << i for i in range(12) if f"synthesis/{4 << i}x{4 << i}/ToRGB/weight" in found]
    for size in sizes:
        _block(out, found, size)
    if not sizes or sizes != [4 << i for i in range(len(sizes))]:
        raise Damaged("a resolution is missing")
    if clamp is not None:
        out["conv_clamp"] = np.asarray(clamp, np.float32)
    average = found.get("dlatent_avg")
    out["w_avg"] = mean_w(out) if average is None else single(average).reshape(-1)
    return Part("generator", LAYOUT, out, notes)


def _variables(network: Record) -> State:
    """Arrays by name, those of the components below the component's name."""
    found: State = {}
    state = fields(network.state)
    for prefix, owner in (("", state), *((f"{name}/", part) for name, part in _components(state))):
        variables = owner.get("variables")
        for entry in variables if isinstance(variables, list | tuple) else ():
            if not isinstance(entry, tuple | list) or len(entry) != 2 or not isinstance(entry[0], str):
                raise Damaged("variables without names")
            if len(entry[0]) > 200:
                raise Damaged("variables with endless names")
            if isinstance(entry[1], Array) and isinstance(entry[1].values, np.ndarray):
                found[prefix + entry[0]] = entry[1].values
    return found


def _components(state: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The two networks inside, by name; a generator has no others."""
    inside = fields(state.get("components"))
    return [
        (name, fields(inside[name].state))
        for name in ("mapping", "synthesis")
        if _is_network(inside.get(name))
    ]


def _settings(network: Record) -> dict[str, Any]:
    """What the network and its components were built with."""
    state = fields(network.state)
    settings = dict(fields(state.get("static_kwargs")))
    for _, part in _components(state):
        settings |= fields(part.get("static_kwargs"))
    return settings


def _mapping(out: State, found: State, rate: float, class_index: int) -> dict[str, str]:
    depth = count_of(found, r"mapping/Dense(\d+)/weight")
    for i in range(depth):
        weight = _matrix(found, f"mapping/Dense{i}/weight")
        out[f"mapping.{i}.weight"] = weight * np.float32(rate / math.sqrt(weight.shape[1]))
        bias = single(take(found, f"mapping/Dense{i}/bias", 1))
        out[f"mapping.{i}.bias"] = bias * np.float32(rate)
    if not depth:
        raise Damaged("the mapping network is missing")
    if "mapping/LabelConcat/weight" in found:
        raise Refused("it is a conditional StyleGAN2 of the first TensorFlow release")
    if "mapping/LabelEmbed/weight" not in found:
        return {}
    embed = _matrix(found, "mapping/LabelEmbed/weight")
    classes = embed.shape[1]
    notes = class_notes(class_index, classes)
    bias = single(take(found, "mapping/LabelEmbed/bias", 1))
    embedded = embed[:, class_index] / np.float32(math.sqrt(classes)) + bias
    out["mapping.0.weight"], out["mapping.0.bias"] = fold_class(
        out["mapping.0.weight"], out["mapping.0.bias"], embedded
    )
    return notes


def _block(out: State, found: State, size: int) -> None:
    theirs, ours = f"synthesis/{size}x{size}", f"synthesis.b{size}"
    level = int(math.log2(size))
    if size == 4:
        out["const"] = square(single(take(found, f"{theirs}/Const/const", 4)[0]))
        layers = {"Conv": ("conv1", 0)}
    else:
        layers = {"Conv0_up": ("conv0", 2 * level - 5), "Conv1": ("conv1", 2 * level - 4)}
    for name, (conv, noise) in layers.items():
        _conv(out, found, f"{theirs}/{name}", f"{ours}.{conv}", turned=name == "Conv0_up")
        out[f"{ours}.{conv}.noise_strength"] = single(take(found, f"{theirs}/{name}/noise_strength")).reshape(
            ()
        )
        out[f"{ours}.{conv}.noise_const"] = single(take(found, f"synthesis/noise{noise}", 4)[0, 0])
    _conv(out, found, f"{theirs}/ToRGB", f"{ours}.torgb")


def _conv(out: State, found: State, theirs: str, ours: str, turned: bool = False) -> None:
    kernel = single(take(found, f"{theirs}/weight", 4))  # [height, width, in, out]
    if turned:
        kernel = kernel[::-1, ::-1]
    weight = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    out[f"{ours}.weight"] = weight / np.float32(math.sqrt(weight[0].size))
    affine = _matrix(found, f"{theirs}/mod_weight")
    out[f"{ours}.affine.weight"] = affine / np.float32(math.sqrt(affine.shape[1]))
    out[f"{ours}.affine.bias"] = single(take(found, f"{theirs}/mod_bias", 1)) + 1
    out[f"{ours}.bias"] = single(take(found, f"{theirs}/bias", 1))


def _matrix(found: State, name: str) -> np.ndarray:
    return np.ascontiguousarray(single(take(found, name, 2)).T)
