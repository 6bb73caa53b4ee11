"""Files in other projects' formats: golden networks and tiny ones, written as those projects write them."""

from __future__ import annotations

import copy
import io
import json
import math
import pickle
import sys
import warnings
import zlib
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from styleclip_cli.nets.clip import clip_model_class

GOLDEN = Path(__file__).parent / "golden"
CANARY = 'open("pwned_by_pickle", "w")\n'
Arrays = dict[str, np.ndarray]
Tensors = dict[str, Tensor]


def arrays(name: str) -> Arrays:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def state(found: Mapping[str, np.ndarray]) -> Tensors:
    return {key[6:]: torch.from_numpy(value) for key, value in found.items() if key.startswith("state/")}


def tensors(found: Mapping[str, np.ndarray]) -> Tensors:
    """What a reader gave, as tensors of their own."""
    return {name: torch.from_numpy(np.array(value)) for name, value in found.items()}


def by_formula(shapes: Mapping[str, Any]) -> Tensors:
    """Weights that are a formula of their names and shapes: too many to be kept, the same everywhere.

    Args:
        shapes: Tensors by name; only their shapes are looked at.
    """
    found = {}
    for name, tensor in shapes.items():
        shape = tuple(tensor.shape)
        numbers = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        if name.endswith("num_batches_tracked"):
            values: Any = np.int64(1)
        elif name.endswith("running_var"):
            values = np.float32(0.5 + np.abs(numbers))
        else:
            fan_in = max(1, math.prod(shape[1:]))
            one = 1.0 if len(shape) == 1 and name.endswith("weight") else 0.0
            values = np.float32(one + numbers * (1.4 / math.sqrt(fan_in) if len(shape) > 1 else 0.1))
        found[name] = torch.from_numpy(np.asarray(values))
    return found


def mapper_state() -> Tensors:
    """The golden mapper; its numbers take five values a tensor and are stored three to a byte."""
    found = arrays("mapper_state")
    codes = found["codes"]
    digits = np.stack([codes // 25, codes // 5 % 5, codes % 5], axis=1).ravel()
    made, at = {}, 0
    for name, shape, values in zip(found["names"], found["shapes"], found["values"], strict=True):
        sizes = tuple(int(size) for size in shape if size)
        count = math.prod(sizes)
        made[str(name)] = torch.from_numpy(values[digits[at : at + count]].reshape(sizes))
        at += count
    return made


def save(path: Path, value: Any, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


# Generators


def golden_generator() -> tuple[Tensors, Tensor]:
    """State dict and latent_avg of the golden generator, as torch itself reads them."""
    found = torch.load(GOLDEN / "rosinality_generator.pt", weights_only=True)
    return found["g_ema"], found["latent_avg"]


def rosinality_state(
    channels: Mapping[int, int] | None = None, w_dim: int = 6, depth: int = 1, seed: int = 0
) -> Tensors:
    """A tiny random generator in rosinality's layout."""
    channels = channels or {4: 3, 8: 2}
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    made: Tensors = OrderedDict()

    def conv(name: str, inputs: int, outputs: int, rgb: bool = False) -> None:
        made[f"{name}.conv.weight"] = random(1, outputs, inputs, *((1, 1) if rgb else (3, 3)))
        made[f"{name}.conv.modulation.weight"] = random(inputs, w_dim)
        made[f"{name}.conv.modulation.bias"] = torch.ones(inputs)
        if rgb:
            made[f"{name}.bias"] = random(1, 3, 1, 1)
        else:
            made[f"{name}.noise.weight"] = random(1)
            made[f"{name}.activate.bias"] = random(outputs)

    for i in range(depth):
        made[f"style.{i + 1}.weight"] = random(w_dim, w_dim) * 100
        made[f"style.{i + 1}.bias"] = random(w_dim)
    made["input.input"] = random(1, channels[4], 4, 4)
    conv("conv1", channels[4], channels[4])
    conv("to_rgb1", channels[4], 3, rgb=True)
    made["noises.noise_0"] = random(1, 1, 4, 4)
    for j, size in enumerate(sorted(channels)[1:]):
        conv(f"convs.{2 * j}", channels[size // 2], channels[size])
        made[f"convs.{2 * j}.conv.blur.kernel"] = torch.outer(taps, taps) / 16
        conv(f"convs.{2 * j + 1}", channels[size], channels[size])
        conv(f"to_rgbs.{j}", channels[size], 3, rgb=True)
        made[f"to_rgbs.{j}.upsample.kernel"] = torch.outer(taps, taps) / 16
        for k in (1, 2):
            made[f"noises.noise_{2 * j + k}"] = random(1, 1, size, size)
    return made


def _layers(g: Tensors) -> Iterator[tuple[int, dict[str, tuple[str, int]]]]:
    """Resolutions of a rosinality generator, with its convolutions and their noise by NVlabs' names."""
    yield 4, {"conv1": ("conv1", 0)}
    for j in range(sum(1 for name in g if name.startswith("to_rgbs.") and name.endswith(".conv.weight"))):
        convs = {"conv0": (f"convs.{2 * j}", 2 * j + 1), "conv1": (f"convs.{2 * j + 1}", 2 * j + 2)}
        yield 8 << j, convs


def _depth(g: Tensors) -> int:
    return sum(1 for name in g if name.startswith("style.") and name.endswith(".weight"))


@contextmanager
def official_modules() -> Iterator[dict[str, ModuleType]]:
    """Modules of the names that NVlabs' pickles refer to, for as long as one is written."""
    names = [
        "torch_utils",
        "torch_utils.persistence",
        "dnnlib",
        "dnnlib.util",
        "dnnlib.tflib",
        "dnnlib.tflib.network",
    ]
    before = {name: sys.modules.get(name) for name in names}
    made = {name: ModuleType(name) for name in names}
    made["dnnlib.tflib.network"].Network = Network  # type: ignore[attr-defined]
    made["dnnlib.util"].EasyDict = EasyDict  # type: ignore[attr-defined]
    rebuild = made["torch_utils.persistence"]
    rebuild._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    sys.modules.update(made)
    try:
        yield made
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _reconstruct_persistent_obj(meta: Any) -> None:
    raise AssertionError("a reader called it")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class EasyDict(dict):  # type: ignore[type-arg]
    """NVlabs' dictionary class."""


EasyDict.__module__ = "dnnlib.util"


class Network:
    """NVlabs' TensorFlow network class, as its pickles see it."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __getstate__(self) -> dict[str, Any]:
        return self.state

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("a reader called it")


Network.__module__ = "dnnlib.tflib.network"


class Persistent:
    """A module decorated with NVlabs' `persistent_class`, as its pickles see it."""

    def __init__(self, kind: str, values: dict[str, Any], source: str = CANARY) -> None:
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": kind, "state": values}

    def __reduce__(self) -> Any:
        return _reconstruct_persistent_obj, (self.meta,), None


def module(
    kind: str,
    values: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Tensor] | None = None,
    buffers: Mapping[str, Tensor] | None = None,
    modules: Mapping[str, Persistent] | None = None,
) -> Persistent:
    own = {name: nn.Parameter(tensor, requires_grad=False) for name, tensor in (parameters or {}).items()}
    return Persistent(
        kind,
        {
            "training": False,
            "_parameters": OrderedDict(own),
            "_buffers": OrderedDict(buffers or {}),
            "_non_persistent_buffers_set": set(),
            "_forward_hooks": OrderedDict(),
            "_modules": OrderedDict(modules or {}),
            **(values or {}),
        },
    )


def _fully_connected(weight: Tensor, bias: Tensor, rate: float = 1.0, kind: str = "linear") -> Persistent:
    gains = {
        "weight_gain": rate / np.sqrt(np.float64(weight.shape[1])),
        "bias_gain": rate,
        "activation": kind,
    }
    return module("FullyConnectedLayer", gains, {"weight": weight, "bias": bias})


def nvlabs_generator(
    g: Tensors, average: Tensor | None, clamp: float | None = None, **values: Any
) -> Persistent:
    """A rosinality generator as a module of NVlabs' PyTorch code."""
    blocks = {}
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    for size, convs in _layers(g):
        layers = {}
        for name, (theirs, noise) in convs.items():
            affine = _fully_connected(
                g[f"{theirs}.conv.modulation.weight"], g[f"{theirs}.conv.modulation.bias"]
            )
            layers[name] = module(
                "SynthesisLayer",
                {"activation": "lrelu", "use_noise": True, "conv_clamp": clamp},
                {
                    "weight": g[f"{theirs}.conv.weight"][0],
                    "noise_strength": g[f"{theirs}.noise.weight"].reshape(()),
                    "bias": g[f"{theirs}.activate.bias"],
                },
                {"noise_const": g[f"noises.noise_{noise}"][0, 0]},
                {"affine": affine},
            )
        rgb = "to_rgb1" if size == 4 else f"to_rgbs.{int(math.log2(size)) - 3}"
        weight = g[f"{rgb}.conv.weight"][0]
        layers["torgb"] = module(
            "ToRGBLayer",
            {"conv_clamp": clamp, "weight_gain": 1 / np.sqrt(np.float64(weight.shape[1]))},
            {"weight": weight, "bias": g[f"{rgb}.bias"].reshape(-1)},
            modules={
                "affine": _fully_connected(
                    g[f"{rgb}.conv.modulation.weight"], g[f"{rgb}.conv.modulation.bias"]
                )
            },
        )
        blocks[f"b{size}"] = module(
            "SynthesisBlock",
            {"resolution": size, "architecture": "skip"},
            {"const": g["input.input"][0]} if size == 4 else None,
            {"resample_filter": torch.outer(taps, taps) / 64},
            layers,
        )
    depth = _depth(g)
    dense = {
        f"fc{i}": _fully_connected(g[f"style.{i + 1}.weight"], g[f"style.{i + 1}.bias"], 0.01, "lrelu")
        for i in range(depth)
    }
    mapping = module(
        "MappingNetwork",
        {"num_layers": depth, "c_dim": 0},
        buffers={} if average is None else {"w_avg": average},
        modules=dense,
    )
    size = max(size for size, _ in _layers(g))
    return module(
        "Generator",
        {"c_dim": 0, "img_resolution": size, "img_channels": 3, **values},
        modules={"synthesis": module("SynthesisNetwork", modules=blocks), "mapping": mapping},
    )


def inside(found: Persistent, *names: str) -> dict[str, Any]:
    """The attributes of a module in a module, to be changed."""
    for name in names:
        found = found.meta["state"]["_modules"][name]
    return found.meta["state"]


def nvlabs_pickle(generator: Persistent, protocol: int = 4) -> bytes:
    with official_modules():
        options = EasyDict(path="x")
        value = {
            "G": None,
            "D": None,
            "G_ema": generator,
            "training_set_kwargs": options,
            "augment_pipe": None,
        }
        return pickle.dumps(value, protocol)


def tensorflow_variables(g: Tensors, average: Tensor | None) -> dict[str, list[tuple[str, np.ndarray]]]:
    """A rosinality generator as the variables of NVlabs' TensorFlow code, by component."""
    synthesis: list[tuple[str, np.ndarray]] = []

    def conv(theirs: str, name: str, turned: bool = False) -> None:
        kernel = g[f"{theirs}.conv.weight"][0].numpy().transpose(2, 3, 1, 0)
        synthesis.append((f"{name}/weight", np.ascontiguousarray(kernel[::-1, ::-1] if turned else kernel)))
        synthesis.append(
            (f"{name}/mod_weight", np.ascontiguousarray(g[f"{theirs}.conv.modulation.weight"].numpy().T))
        )
        synthesis.append((f"{name}/mod_bias", g[f"{theirs}.conv.modulation.bias"].numpy() - 1))
        bias = g[f"{theirs}.bias" if name.endswith("ToRGB") else f"{theirs}.activate.bias"]
        synthesis.append((f"{name}/bias", bias.numpy().reshape(-1)))

    official = {"conv0": "Conv0_up", "conv1": "Conv1"}
    for size, convs in _layers(g):
        for name, (theirs, noise) in convs.items():
            long = f"{size}x{size}/{'Conv' if size == 4 else official[name]}"
            conv(theirs, long, turned=name == "conv0")
            synthesis.append((f"{long}/noise_strength", g[f"{theirs}.noise.weight"].numpy().reshape(())))
            synthesis.append((f"noise{noise}", g[f"noises.noise_{noise}"].numpy()))
        conv("to_rgb1" if size == 4 else f"to_rgbs.{int(math.log2(size)) - 3}", f"{size}x{size}/ToRGB")
    synthesis.append(("4x4/Const/const", g["input.input"].numpy()))
    mapping = []
    for i in range(_depth(g)):
        mapping.append((f"Dense{i}/weight", np.ascontiguousarray(g[f"style.{i + 1}.weight"].numpy().T)))
        mapping.append((f"Dense{i}/bias", g[f"style.{i + 1}.bias"].numpy()))
    top = [("lod", np.float32(0).reshape(()))]
    if average is not None:
        top.append(("dlatent_avg", average.numpy()))
    return {"": top, "mapping": mapping, "synthesis": synthesis}


def tensorflow_pickle(
    variables: Mapping[str, list[tuple[str, np.ndarray]]],
    protocol: int = 2,
    python2: bool = False,
    **settings: Any,
) -> bytes:
    def network(name: str, components: dict[str, Network]) -> Network:
        return Network(
            {
                "version": 4,
                "name": name,
                "static_kwargs": EasyDict(settings if name == "synthesis" else {"resolution": 32}),
                "components": EasyDict(components),
                "build_module_src": CANARY,
                "build_func_name": "G_main",
                "variables": variables[name],
            }
        )

    with official_modules():
        generator = network("", {name: network(name, {}) for name in ("synthesis", "mapping")})
        value = (None, None, generator)
        if not python2:
            return pickle.dumps(value, protocol)
        stream = io.BytesIO()
        _Python2(stream, 2).dump(value)
        return stream.getvalue().replace(b"numpy._core.", b"numpy.core.")


class _Python2(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Writes texts and bytes as Python 2 did: as byte strings."""

    dispatch = copy.copy(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def _save_string(self, value: str | bytes) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        short = len(raw) < 256
        self.write((b"U" + bytes([len(raw)]) if short else b"T" + len(raw).to_bytes(4, "little")) + raw)
        self.memoize(value)

    dispatch[str] = _save_string
    dispatch[bytes] = _save_string


# The other networks


def clip_model(**shape: Any) -> nn.Module:
    """A tiny random CLIP."""
    torch.manual_seed(0)
    sizes = dict(
        embed_dim=4,
        image_resolution=8,
        vision_layers=1,
        vision_width=64,
        vision_patch_size=8,
        context_length=5,
        vocab_size=9,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=1,
    )
    return clip_model_class()(**(sizes | shape)).eval()


def clip_script(path: Path, model: nn.Module) -> Path:
    """A CLIP as OpenAI publishes it: a TorchScript archive."""
    side, length = int(model.visual.input_resolution), int(model.context_length)
    example = (torch.zeros(1, 3, side, side), torch.zeros(1, length, dtype=torch.long))
    model = copy.deepcopy(model)
    del model.context_length, model.vocab_size
    settings = {"input_resolution": side, "context_length": length, "vocab_size": 9}
    for name, value in settings.items():  # theirs are in the archive as tensors
        model.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.trace(model, example, check_trace=False).save(path)
    return path


def encoder_checkpoint(
    encoder: Tensors, average: Any, opts: Any, decoder: Tensors | None = None
) -> dict[str, Any]:
    """Of encoder4editing, pixel2style2pixel or restyle-encoder."""
    found = {f"encoder.{name}": tensor for name, tensor in encoder.items()}
    found |= {f"decoder.{name}": tensor for name, tensor in (decoder or {}).items()}
    return {"state_dict": found, "latent_avg": average, "opts": opts}


E4E_OPTIONS = {"encoder_type": "Encoder4Editing", "stylegan_size": 32, "device": "cuda:0", "input_nc": 3}


def mapper_checkpoint(mapper: Tensors, decoder: Tensors | None = None, **opts: Any) -> dict[str, Any]:
    found = dict(mapper) | {f"decoder.{name}": tensor for name, tensor in (decoder or {}).items()}
    return {"state_dict": found, "opts": {"mapper_type": "LevelsMapper", "description": "a test", **opts}}


def random_mapper(*parts: tuple[str, int], seed: int = 0) -> Tensors:
    """Mapper tensors: (part, width) such as ("medium_mapping", 4)."""
    draw = torch.Generator().manual_seed(seed)
    made = {}
    for part, width in parts:
        for i in range(1, 5):
            made[f"mapper.{part}.mapping.{i}.weight"] = torch.randn(width, width, generator=draw) * 100
            made[f"mapper.{part}.mapping.{i}.bias"] = torch.randn(width, generator=draw)
    return made


def channels_of(found: Mapping[str, np.ndarray]) -> dict[int, int]:
    return {int(size): count for size, count in json.loads(str(found["channels"])).items()}


def trained_checkpoint(g: Tensors) -> dict[str, Any]:
    """Of rosinality's training script: no latent_avg, arguments as a Namespace."""
    return {"g": g, "g_ema": g, "args": Namespace(size=8, path="x", r1=10.0), "ada_aug_p": 0.0}
