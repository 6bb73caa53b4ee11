"""Files as other projects and other machines write them: what is beside the weights, and around them."""

from __future__ import annotations

import collections
import datetime
import functools
import pathlib
import pickle
import sys
import types
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from checkpoints import (
    E4E_OPTIONS,
    GOLDEN,
    EasyDict,
    clip_model,
    encoder_checkpoint,
    mapper_checkpoint,
    module,
    nvlabs_generator,
    nvlabs_pickle,
    official_modules,
    random_mapper,
    rosinality_state,
    save,
    tensors,
)
from networks import arcface_state, encoder_state
from styleclip_cli.errors import WeightsError
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.weights.readers import Part, read_parts

AVERAGE = torch.linspace(-1, 1, 6)


def checkpoint(**beside: Any) -> dict[str, Any]:
    return {"g_ema": rosinality_state(), "latent_avg": AVERAGE, **beside}


def refused(path: Path) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        read_parts(path)
    assert str(caught.value).isprintable()
    assert caught.value.hint.isprintable()
    return caught.value


def equal(found: Part, wanted: Part) -> None:
    assert set(found.state) == set(wanted.state)
    for name, array in wanted.state.items():
        np.testing.assert_allclose(found.state[name], array, rtol=1e-6, err_msg=name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Part:
    return read_parts(save(tmp_path_factory.mktemp("plain") / "file", checkpoint()))[0]


@pytest.fixture(scope="module")
def nvlabs(tmp_path_factory: pytest.TempPathFactory) -> Part:
    """The same tensors as NVlabs' networks have them, whose convolutions are scaled otherwise."""
    path = tmp_path_factory.mktemp("nvlabs") / "file"
    path.write_bytes(nvlabs_pickle(nvlabs_generator(rosinality_state(), AVERAGE)))
    return read_parts(path)[0]


# Beside the weights


class Called:
    """Pickles as a call of a name of another system or package, which need not exist here."""

    def __init__(self, module: str, name: str, *args: Any, items: Any = None, state: Any = None) -> None:
        self.value = (class_of(module, name), args, state, None, items)

    def __reduce__(self) -> Any:
        return self.value


_before: list[tuple[Any, str, Any]] = []


def class_of(where: str, name: str, *bases: type) -> type:
    """A class that pickles under a name of another module, for as long as the test runs."""
    parts = where.split(".")
    for count in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:count]), types.ModuleType(".".join(parts[:count])))
    there = sys.modules[where]
    kind = type(name, bases, {"__module__": where, "__qualname__": name})
    _before.append((there, name, getattr(there, name, None)))
    setattr(there, name, kind)
    return kind


@pytest.fixture(autouse=True)
def _names_go_back() -> Iterator[None]:
    yield
    while _before:
        there, name, old = _before.pop()
        if old is None:
            delattr(there, name)
        else:
            setattr(there, name, old)


class Tagged(torch.Tensor):
    """A tensor with attributes of its own."""


def tagged() -> torch.Tensor:
    tensor = torch.zeros(3).as_subclass(Tagged)
    tensor.note = "x"
    return tensor


BESIDE: dict[str, Callable[[], Any]] = {
    "a path of Windows": lambda: Called("pathlib", "WindowsPath", "C:\\", "data"),
    "a path of Python 3.13": lambda: Called("pathlib._local", "PosixPath", "/", "data"),
    "a path of many parts": lambda: pathlib.PurePosixPath("/".join("abcdefghijklmnopqrstuvwxyz")),
    "a defaultdict": lambda: collections.defaultdict(dict, {0: {"step": 1}}),
    "a Counter": lambda: collections.Counter("abracadabra"),
    "a deque": lambda: collections.deque([1, 2], 5),
    "an easydict": lambda: Called("easydict", "EasyDict", items=iter([("a", 1)]), state={"a": 1}),
    "settings of a class": lambda: Called("somebody.options", "Settings", state={"lr": 0.1}),
    "a slice and a range": lambda: [slice(1, 2), range(3)],
    "keys that are tuples": lambda: {("a", 1): 2, ("b", ("c", 2)): 3},
    "keys that are addresses": lambda: {140439876543210: {"step": 3}},
    "keys that are types": lambda: {nn.Linear: 1, torch.float16: 2},
    "a large set": lambda: set(range(5000)),
    "a frozen set": lambda: frozenset("ab"),
    "a complex number": lambda: 1j,
    "a time": lambda: datetime.datetime(2024, 5, 6),
    "a harmless partial": lambda: functools.partial(Namespace, eps=1e-6),
    "texts in an array": lambda: np.array(["a", "bc"]),
    "a text of numpy": lambda: np.str_("abc"),
    "objects in an array": lambda: np.array([None, "a"], dtype=object),
    "complex numbers in an array": lambda: np.zeros(2, np.complex64),
    "a random state": lambda: np.random.RandomState(0),
    "unsigned numbers": lambda: [torch.zeros(2, dtype=getattr(torch, f"uint{n}")) for n in (16, 32, 64)],
    "numbers of eight bits": lambda: torch.zeros(3, dtype=torch.float8_e4m3fn),
    "complex tensors": lambda: torch.zeros(2, dtype=torch.complex64),
    "a tensor with attributes": tagged,
    "a module": lambda: nn.Linear(2, 2),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", BESIDE)
def test_what_lies_beside_the_weights_does_not_matter(
    kind: str, legacy: bool, plain: Part, tmp_path: Path
) -> None:
    if legacy and kind == "numbers of eight bits":
        pytest.skip("torch itself writes no such file")
    value = BESIDE[kind]()
    path = save(tmp_path / "file", checkpoint(args={"value": value}, g_optim=[value]), legacy)
    (found,) = read_parts(path)
    equal(found, plain)
    assert found.notes == {}


def test_a_parameter_may_have_attributes(plain: Part, tmp_path: Path) -> None:
    g: dict[str, Any] = {name: nn.Parameter(tensor) for name, tensor in rosinality_state().items()}
    for parameter in g.values():
        parameter.lr_mul = 0.01
    equal(read_parts(save(tmp_path / "file", checkpoint(g_ema=g)))[0], plain)


def test_unsigned_numbers_are_read_as_what_they_are(tmp_path: Path) -> None:
    bias = torch.tensor([0, 1, 2, 3, 40000, 5], dtype=torch.uint16)
    (found,) = read_parts(
        save(tmp_path / "file", checkpoint(g_ema=rosinality_state() | {"style.1.bias": bias}))
    )
    np.testing.assert_allclose(
        found.state["mapping.0.bias"], np.array([0, 1, 2, 3, 40000, 5]) / 100, rtol=1e-6
    )


def test_options_of_another_dictionary_class_are_read(tmp_path: Path) -> None:
    options = Called("easydict", "EasyDict", items=iter([("encoder_type", "GradualStyleEncoder")]))
    path = save(tmp_path / "file", encoder_checkpoint(encoder_state(), torch.zeros(8, 16), options))
    assert read_parts(path)[0].notes["encoder"] == "pSp"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (b"cposix\nsystem\n(X\x04\x00\x00\x00truetR", "it asks for posix.system"),
        (b"cfunctools\npartial\n(cnt\nsystem\ntR", "it asks for functools.partial of nt.system"),
        (b"cbuiltins\ngetattr\n", "it asks for builtins.getattr"),
        (b"ctorch.hub\nload\n", "it asks for torch.hub.load"),
        (b"coperator\nattrgetter\n", "it asks for operator.attrgetter"),
    ],
)
def test_what_could_run_is_still_refused(asked: bytes, named: str, tmp_path: Path) -> None:
    raw = nvlabs_pickle(nvlabs_generator(rosinality_state(), AVERAGE), 2)
    assert raw.endswith(b"u.")  # the items of the outermost dictionary
    (tmp_path / "file").write_bytes(raw[:-2] + b"X\x01\x00\x00\x00x" + asked + b"u.")
    error = refused(tmp_path / "file")
    assert named in error.message
    assert "do not trust this file" in error.hint


def test_strange_names_are_told_where_the_file_holds_nothing_else(tmp_path: Path) -> None:
    error = refused(save(tmp_path / "file", Called("somebody.nets", "HyperNet", state={"x": 1})))
    assert "holds an object (somebody.nets.HyperNet); of no known kind" in error.message
    assert "do not trust" not in error.hint


# Around the weights


def nvlabs_state(**how: Any) -> dict[str, torch.Tensor]:
    """The state dict of a module of NVlabs' code."""

    def collect(found: Any, prefix: str = "") -> dict[str, torch.Tensor]:
        values = found.meta["state"]
        own = {
            f"{prefix}{k}": v.detach()
            for part in ("_parameters", "_buffers")
            for k, v in values[part].items()
        }
        for name, child in values["_modules"].items():
            own |= collect(child, f"{prefix}{name}.")
        return own

    return collect(nvlabs_generator(rosinality_state(), AVERAGE, **how))


def in_module(state: dict[str, torch.Tensor], name: str = "Generator") -> nn.Module:
    """A module as `torch.save(network)` pickles it, of classes that are not here."""
    root = class_of("models.stylegan2.model", name, nn.Module)()
    for key, tensor in state.items():
        *path, last = key.split(".")
        owner = root
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]
        owner.register_buffer(last, tensor)
    return root


def _g() -> dict[str, torch.Tensor]:
    return rosinality_state()


def _official(value: Any, zipped: bool) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        with official_modules():
            save(path, value) if zipped else path.write_bytes(pickle.dumps(value, 4))

    return write


def _flat(path: Path, prefix: str) -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in _g().items()}
    save(path, {"state_dict": state, "latent_avg": AVERAGE})


# How a generator may be wrapped -> (how to write it, what is said to be taken; None: as usual).
WRAPPED: dict[str, tuple[Callable[[Path], Any], str | None]] = {
    "torch.save(G), as PTI does": (_official(nvlabs_generator(_g(), AVERAGE), True), None),
    "a pickle of G_ema alone": (_official(nvlabs_generator(_g(), AVERAGE), False), None),
    "a pickle with G alone": (
        _official({"G": nvlabs_generator(_g(), AVERAGE), "D": None}, False),
        "G; an averaged generator (g_ema), which would draw better, is not in the file",
    ),
    "a pickle with options of a class": (
        _official({"G_ema": nvlabs_generator(_g(), AVERAGE), "c": EasyDict(a=1)}, False),
        None,
    ),
    "NVlabs' state dict": (lambda p: save(p, nvlabs_state()), None),
    "NVlabs' state dict as G_ema": (lambda p: save(p, {"G_ema": nvlabs_state()}), "G_ema"),
    "DataParallel": (
        lambda p: save(p, {"g_ema": {f"module.{k}": v for k, v in _g().items()}, "latent_avg": AVERAGE}),
        "g_ema / module.*",
    ),
    "g alone": (
        lambda p: save(p, {"g": _g(), "g_optim": {"state": {}, "param_groups": []}, "latent_avg": AVERAGE}),
        "g; an averaged generator (g_ema), which would draw better, is not in the file",
    ),
    "g and g_ema are the same": (
        lambda p: save(p, (lambda g: {"g": g, "g_ema": g, "latent_avg": AVERAGE})(_g())),
        None,
    ),
    "params_ema": (
        lambda p: save(
            p,
            {
                "params": {k: v + 1 for k, v in _g().items()},
                "params_ema": _g(),
                "latent_avg": AVERAGE,
            },
        ),
        "params_ema",
    ),
    "generator.": (lambda p: _flat(p, "generator."), "state_dict / generator.*; an averaged generator"),
    "the averaged one of two": (
        lambda p: save(
            p,
            {f"G.{k}": v + 1 for k, v in _g().items()}
            | {f"G_ema.{k}": v for k, v in _g().items()}
            | {"latent_avg": AVERAGE},
        ),
        "G_ema.*",
    ),
    "a flat state dict": (lambda p: save(p, _g() | {"latent_avg": AVERAGE}), None),
    "safetensors of another program": (lambda p: save_file(_g() | {"latent_avg": AVERAGE}, p), None),
    "torch.save(network)": (lambda p: save(p, in_module(_g() | {"latent_avg": AVERAGE})), None),
    "a network in a dictionary": (
        lambda p: save(p, {"model": {"g_ema": in_module(_g())}, "latent_avg": AVERAGE}),
        "model.g_ema",
    ),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_generators_are_found_in_their_wrappings(
    kind: str, plain: Part, nvlabs: Part, tmp_path: Path
) -> None:
    write, taken = WRAPPED[kind]
    write(tmp_path / "file")
    (found,) = read_parts(tmp_path / "file")
    equal(found, nvlabs if "NVlabs" in found.layout else plain)
    assert found.notes.get("taken", "").startswith(taken or "")
    assert ("taken" in found.notes) == (taken is not None)


@pytest.mark.parametrize("name", ["nvlabs_uncond", "nvlabs_cond"])
def test_a_state_dict_of_nvlabs_is_what_its_pickle_is(name: str, tmp_path: Path) -> None:
    """Gains and classes of the official code's own files, which only the pickle spells out."""
    from styleclip_cli.weights.readers import archives, nvlabs

    pickled = archives.read(GOLDEN / f"{name}.pkl").value

    def collect(found: Any, prefix: str = "") -> dict[str, np.ndarray]:
        layer = nvlabs._Module(found)
        own = {f"{prefix}{key}": array for key, array in layer.arrays.items()}
        for child, inner in archives.fields(layer.values["_modules"]).items():
            own |= collect(inner, f"{prefix}{child}.")
        return own

    path = save(tmp_path / "file", tensors(collect(nvlabs.find(pickled)[1])))
    chosen = 2 if name == "nvlabs_cond" else 0
    (found,), (wanted,) = read_parts(path, chosen), read_parts(GOLDEN / f"{name}.pkl", chosen)
    found.state.pop("conv_clamp", None)
    wanted.state.pop("conv_clamp", None)
    equal(found, wanted)
    assert found.notes == wanted.notes


def test_a_generator_without_noise_buffers_gets_the_same_noise_every_time(tmp_path: Path) -> None:
    g = {name: tensor for name, tensor in _g().items() if not name.startswith("noises.")}
    first, second = (read_parts(save(tmp_path / name, {"g_ema": g}))[0] for name in "ab")
    equal(first, second)
    assert first.notes == {"noise": "drawn from a fixed seed, as the file holds none"}
    assert first.state["synthesis.b8.conv1.noise_const"].std() > 0.5
    assert Generator.from_state_dict(tensors(first.state)).config.resolution == 8


@pytest.mark.parametrize("kind", ["rosinality", "NVlabs' state dict"])
def test_a_conditional_generator_without_its_classes_is_refused(kind: str, tmp_path: Path) -> None:
    if kind == "rosinality":
        value: Any = checkpoint(g_ema=_g() | {"style.1.weight": torch.zeros(6, 12)})
    else:
        value = nvlabs_state() | {"mapping.fc0.weight": torch.zeros(6, 12)}
    error = refused(save(tmp_path / "file", value))
    assert "a conditional generator without the embedding of its classes" in error.message
    assert ".pkl" in error.hint
    assert "--class" in error.hint


def test_a_z_shorter_than_w_is_no_missing_class(tmp_path: Path) -> None:
    path = save(tmp_path / "file", checkpoint(g_ema=_g() | {"style.1.weight": torch.zeros(6, 4)}))
    assert read_parts(path)[0].state["mapping.0.weight"].shape == (6, 4)


@pytest.mark.parametrize("prefix", ["", "mapper.", "net.mapper."])
@pytest.mark.parametrize(
    "parts", [("course_mapping", "medium_mapping", "fine_mapping"), ("fine_mapping",), ("mapping",)]
)
def test_mappers_are_known_without_their_wrapping(
    parts: tuple[str, ...], prefix: str, tmp_path: Path
) -> None:
    wanted = {k.removeprefix("mapper."): v for k, v in random_mapper(*((part, 3) for part in parts)).items()}
    path = save(tmp_path / "file", {f"{prefix}{name}": tensor for name, tensor in wanted.items()})
    (found,) = read_parts(path)
    assert found.layout == "StyleCLIP mapper"
    assert found.notes["mapper"] == ("single" if parts == ("mapping",) else "levels")
    assert set(found.state) == set(wanted)


@pytest.mark.parametrize("prefix", ["", "encoder.", "module.encoder."])
def test_encoders_are_known_without_their_wrapping(prefix: str, tmp_path: Path) -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in encoder_state().items()}
    (found,) = read_parts(save(tmp_path / "file", state))
    assert (found.layout, set(found.state)) == ("e4e encoder", set(encoder_state()))
    assert "pSp's have the same tensors" in found.notes["assumed"]
    assert found.notes["mean latent"] == "the generator's, as the file has none"


def test_a_mean_latent_repeated_too_often_is_one(tmp_path: Path) -> None:
    average = torch.arange(16.0).repeat(18, 1)
    path = save(tmp_path / "file", encoder_checkpoint(encoder_state(), average, E4E_OPTIONS))
    np.testing.assert_array_equal(read_parts(path)[0].state["latent_avg"], np.arange(16))
    average[3, 4] += 1
    path = save(tmp_path / "file", encoder_checkpoint(encoder_state(), average, E4E_OPTIONS))
    assert "latent_avg has 18 rows, its encoder gives 8 vectors" in refused(path).message


@pytest.mark.parametrize(
    "wrapped", [lambda s: s, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}]
)
def test_of_clips_in_state_dicts_nobody_knows_the_activation(wrapped: Any, tmp_path: Path) -> None:
    (found,) = read_parts(save(tmp_path / "file", wrapped(clip_model().state_dict())))
    assert set(found.state) == set(clip_model().state_dict())
    assert "the file does not say" in found.notes["activation"]


def test_other_networks_are_found_below_a_prefix(tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in arcface_state().items()}
    (found,) = read_parts(save(tmp_path / "file", state))
    assert (found.name, set(found.state)) == ("identity", set(arcface_state()))


# What is something else


def names(*found: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2, 2) for name in found}


def _grey() -> dict[str, torch.Tensor]:
    rgb = {k: v[:, :1].clone() for k, v in _g().items() if k.startswith("to_rgb") and v.ndim == 5}
    return _g() | rgb


def _fastgan(path: Path) -> None:
    drawing = module("FastganSynthesis", modules={"init": module("InitLayer")})
    values = {"c_dim": 0, "img_resolution": 8, "img_channels": 3}
    path.write_bytes(
        nvlabs_pickle(module("Generator", values, modules={"synthesis": drawing, "mapping": module("X")}))
    )


def _superres(path: Path) -> None:
    path.write_bytes(nvlabs_pickle(module("SuperresGenerator", {})))


OTHERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "FastGAN": (_fastgan, "FastGAN"),
    "FastGAN of plain classes": (
        lambda p: save(p, {"G_ema": in_module(names("init.x"), "FastganSynthesis")}),
        "FastGAN",
    ),
    "FastGAN's tensors": (
        lambda p: save(p, {"g": names("init.init.0.weight_orig", "feat_8.0.x")}),
        "FastGAN",
    ),
    "StyleGAN-XL": (_superres, "StyleGAN-XL"),
    "StyleGAN3": (
        lambda p: save(p, names("synthesis.input.freqs", "synthesis.L0_36_512.weight")),
        "StyleGAN3",
    ),
    "StyleGAN": (
        lambda p: save(p, {"generator": names("progression.0.conv1.conv.weight")}),
        "first generation",
    ),
    "ProGAN": (
        lambda p: save(p, names("scaleLayers.0.0.module.weight", "formatLayer.module.bias")),
        "ProGAN",
    ),
    "BigGAN": (lambda p: save(p, names("shared.weight", "blocks.0.0.bn1.gain.weight")), "BigGAN"),
    "Stable Diffusion": (
        lambda p: save(p, {"state_dict": names("model.diffusion_model.input_blocks.0.0.weight")}),
        "diffusion model",
    ),
    "a LoRA": (lambda p: save_file(names("lora_unet_x.lora_up.weight"), p), "LoRA"),
    "BasicSR": (lambda p: save(p, {"params_ema": names("style_convs.0.modulated_conv.weight")}), "BasicSR"),
    "OpenMMLab": (
        lambda p: save(p, {"state_dict": names("generator_ema.style_mapping.1.weight")}),
        "OpenMMLab",
    ),
    "HyperStyle": (lambda p: save(p, {"state_dict": names("hypernet.input_layer.0.weight")}), "HyperStyle"),
    "CLIP of Hugging Face": (lambda p: save_file(names("vision_model.x", "text_model.y"), p), "Hugging Face"),
    "HairCLIP": (
        lambda p: save(
            p, mapper_checkpoint(names("mapper.course_mapping.modulation_module_list.0.fc.weight"))
        ),
        "HairCLIP",
    ),
    "HairCLIP, bare": (
        lambda p: save(p, names("course_mapping.modulation_module_list.0.fc.weight")),
        "HairCLIP",
    ),
    "an encoder of pSp to one w": (
        lambda p: save(
            p,
            encoder_checkpoint(
                encoder_state(),
                torch.zeros(8, 16),
                E4E_OPTIONS | {"encoder_type": "BackboneEncoderUsingLastLayerIntoW"},
            ),
        ),
        "BackboneEncoderUsingLastLayerIntoW, which is not supported",
    ),
    "an encoder of sketches": (
        lambda p: save(
            p, {"state_dict": {f"encoder.{k}": v for k, v in _one_channel().items()}, "opts": E4E_OPTIONS}
        ),
        "reads 1 channels (sketches",
    ),
    "a generator of one channel": (lambda p: save(p, checkpoint(g_ema=_grey())), "in grey (one channel)"),
    "a grey generator of NVlabs": (
        lambda p: save(p, nvlabs_state() | {"synthesis.b4.torgb.weight": torch.zeros(1, 3, 1, 1)}),
        "in grey (one channel)",
    ),
    "pictures that are no squares": (
        lambda p: save(p, checkpoint(g_ema=_g() | {"input.input": torch.zeros(1, 3, 4, 6)})),
        "a constant of 4x6, not 4x4",
    ),
    "no squares, of NVlabs": (
        lambda p: save(p, nvlabs_state() | {"synthesis.b4.const": torch.zeros(3, 4, 6)}),
        "a constant of 4x6, not 4x4",
    ),
    "an optimizer": (lambda p: save(p, {"state": {}, "param_groups": []}), "the state of an optimizer"),
    "a discriminator": (
        lambda p: save(p, {"d": names("final_linear.0.weight", "convs.0.0.weight")}),
        "discriminator",
    ),
    "part of NVlabs' state dict": (
        lambda p: save(p, {k: v for k, v in nvlabs_state().items() if "torgb" not in k}),
        "synthesis.b4.torgb.weight is missing",
    ),
    "a gzip archive": (lambda p: p.write_bytes(b"\x1f\x8b" + bytes(30)), "a gzip archive"),
    "a pointer of git lfs": (
        lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "a pointer to a file that git lfs keeps",
    ),
    "a Keras file": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(30)), "an HDF5 file"),
}


def _one_channel() -> dict[str, torch.Tensor]:
    state = encoder_state()
    return state | {"input_layer.0.weight": state["input_layer.0.weight"][:, :1].clone()}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_whole_file_of_another_kind_is_named_and_not_called_damaged(kind: str, tmp_path: Path) -> None:
    write, said = OTHERS[kind]
    write(tmp_path / "file")
    error = refused(tmp_path / "file")
    assert said in error.message
    assert error.hint
    for word in ("damaged", "cut off", "do not trust", "download it again", "state_dict:", "torch.Size"):
        assert word not in f"{error.message} {error.hint}"


def test_an_nvlabs_class_under_another_name_is_read(nvlabs: Part, tmp_path: Path) -> None:
    generator = nvlabs_generator(_g(), AVERAGE)
    generator.meta["class_name"] = "MyGenerator"
    (tmp_path / "file").write_bytes(nvlabs_pickle(generator))
    equal(read_parts(tmp_path / "file")[0], nvlabs)
