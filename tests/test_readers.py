"""Foreign files one by one: what is read off them, and what is said of those that cannot be used."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import checkpoints
from checkpoints import (
    E4E_OPTIONS,
    GOLDEN,
    clip_model,
    clip_script,
    encoder_checkpoint,
    inside,
    mapper_checkpoint,
    module,
    nvlabs_generator,
    nvlabs_pickle,
    random_mapper,
    rosinality_state,
    save,
    tensorflow_pickle,
    tensorflow_variables,
    tensors,
    trained_checkpoint,
)
from networks import arcface_state, encoder_state
from styleclip_cli.errors import WeightsError
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import stages
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.weights.readers import read_latents, read_parts

AVERAGE = torch.linspace(-1, 1, 6)


def refusal(path: Path, read: Callable[[Path], Any] = read_parts) -> str:
    """What is said of a file: one line that begins with its name."""
    with pytest.raises(WeightsError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert caught.value.hint.isprintable()
    return message


def generator_file(
    path: Path, state: dict[str, Any] | None = None, average: Any = AVERAGE, **more: Any
) -> Path:
    g = rosinality_state() if state is None else state
    return save(path, {"g_ema": g, "latent_avg": average, **more})


def changed(**tensors: Any) -> dict[str, Any]:
    """A generator's state dict with other tensors; None takes one away. `__` stands for a dot."""
    g: dict[str, Any] = dict(rosinality_state())
    for name, tensor in tensors.items():
        g[name.replace("__", ".")] = tensor
        if tensor is None:
            del g[name.replace("__", ".")]
    return g


def nvlabs_file(path: Path, change: Callable[[Any], None] | None = None, **how: Any) -> Path:
    generator = nvlabs_generator(rosinality_state(), AVERAGE, **how)
    if change is not None:
        change(generator)
    path.write_bytes(nvlabs_pickle(generator))
    return path


def tensorflow_file(path: Path, change: Callable[[Any], None] | None = None, **settings: Any) -> Path:
    variables = tensorflow_variables(rosinality_state(), AVERAGE)
    if change is not None:
        change(variables)
    path.write_bytes(tensorflow_pickle(variables, **settings))
    return path


def encoder_file(path: Path, state: dict[str, Tensor] | None = None, **options: Any) -> Path:
    found = encoder_state() if state is None else state
    return save(path, encoder_checkpoint(found, torch.zeros(8, 16), E4E_OPTIONS | options))


class Lie:
    """A tensor in a checkpoint that says something else of its shape than its storage bears out."""

    def __init__(self, tensor: Tensor, size: Any, stride: Any, offset: Any = 0) -> None:
        self.args = (tensor._typed_storage(), offset, size, stride, False, OrderedDict())

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_tensor_v2, self.args


def lie(size: Any, stride: Any, offset: Any = 0) -> dict[str, Any]:
    return changed(style__1__bias=Lie(torch.zeros(6), size, stride, offset))


NAN, INF = float("nan"), float("inf")
# What is wrong with a file -> (how to write it, what the message says).
FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    # Files
    "missing": (lambda p: None, "no such file"),
    "empty": (lambda p: p.write_bytes(b""), "empty"),
    "a folder": (lambda p: p.mkdir(), "is not a file"),
    "a pipe": (os.mkfifo, "is not a file"),
    "a web page": (lambda p: p.write_text("<!DOCTYPE html><html>Quota exceeded</html>"), "a web page"),
    "a text": (lambda p: p.write_text("weights"), "in no form that weights are published in"),
    "an .npz": (lambda p: _savez(p, matrix=np.zeros((2, 2))), "an .npz archive"),
    "a zip of something else": (lambda p: _zip(p, "readme.txt"), "a zip archive without weights"),
    # Content of no known kind
    "an unknown dictionary": (
        lambda p: save(p, {"discriminator": {}, "step": 3}),
        "holds a dictionary of 2 entries (discriminator, step, ...); of no known kind",
    ),
    "an unknown dictionary with odd names": (lambda p: save(p, {"a\nb": 1}), "(a?b, ...)"),
    "an empty dictionary": (lambda p: save(p, {}), "an empty dictionary"),
    "a list": (lambda p: save(p, [1, 2]), "holds a list"),
    "a number": (lambda p: save(p, 1), "holds a int"),
    "an array that is no relevance": (lambda p: _save_npy(p, np.ones((30, 4))), "latents"),
    "an array of whole numbers": (
        lambda p: _save_npy(p, np.ones((4, 4), np.int64)),
        "an array [4, 4] of int64",
    ),
    "latents": (lambda p: save(p, torch.zeros(2, 18, 512)), "latents, which are no part of a model pack"),
    "g_ema of something else": (lambda p: save(p, {"g_ema": {"x": torch.zeros(1)}}), "of no known kind"),
    "a TorchScript of something else": (lambda p: _script(p), "of no known kind"),
    # Tensors
    "a missing tensor": (
        lambda p: generator_file(p, changed(convs__1__activate__bias=None)),
        "convs.1.activate.bias is missing",
    ),
    "a missing noise": (
        lambda p: generator_file(p, changed(noises__noise_2=None)),
        "noises.noise_2 is missing",
    ),
    "a missing layer of the mapping": (
        lambda p: generator_file(p, changed(style__3__weight=torch.zeros(6, 6))),
        "style.2.weight is missing",
    ),
    "too few axes": (
        lambda p: generator_file(p, changed(conv1__conv__weight=torch.zeros(3, 3, 3, 3))),
        "conv1.conv.weight is [3, 3, 3, 3], expected 5 axes",
    ),
    "no axes": (
        lambda p: generator_file(p, changed(style__1__bias=torch.tensor(1.0))),
        "style.1.bias is [], expected 1 axes",
    ),
    "no numbers": (
        lambda p: generator_file(p, changed(style__1__bias=torch.zeros(0))),
        "style.1.bias is [0]",
    ),
    "NaN": (
        lambda p: generator_file(p, changed(to_rgb1__bias=torch.full((1, 3, 1, 1), NAN))),
        "synthesis.b4.torgb.bias holds values that are not finite",
    ),
    "infinity": (lambda p: generator_file(p, changed(style__1__bias=torch.full((6,), INF))), "not finite"),
    "numbers beyond single precision": (
        lambda p: generator_file(p, changed(style__1__bias=torch.full((6,), 1e300, dtype=torch.float64))),
        "not finite",
    ),
    "NaN under an odd name": (
        lambda p: save(p, arcface_state() | {"a\x1b[31m": torch.tensor([NAN])}),
        "the tensor a?[31m holds values",
    ),
    "two noise strengths": (
        lambda p: generator_file(p, changed(conv1__noise__weight=torch.zeros(2))),
        "not usable",
    ),
    "another low-pass filter": (
        lambda p: generator_file(p, changed(convs__0__conv__blur__kernel=torch.ones(4, 4))),
        "low-pass filter",
    ),
    "a low-pass filter of zeros": (
        lambda p: generator_file(p, changed(to_rgbs__0__upsample__kernel=torch.zeros(4, 4))),
        "low-pass filter",
    ),
    "a resolution gap": (
        lambda p: generator_file(p, _renamed("to_rgbs.0", "to_rgbs.1")),
        "to_rgbs.0.conv.weight is missing",
    ),
    "many layers": (
        lambda p: generator_file(p, changed(**{f"style__{i}__weight": torch.zeros(1) for i in range(100)})),
        "100 layers",
    ),
    "a mapping that does not fit": (
        lambda p: generator_file(
            p, changed(style__2__weight=torch.zeros(5, 5), style__2__bias=torch.zeros(5)), None
        ),
        "not usable",
    ),
    "a mean latent without numbers": (lambda p: generator_file(p, None, torch.zeros(0)), "latent_avg is [0]"),
    "a mean latent of no axes": (lambda p: generator_file(p, None, torch.tensor(1.0)), "latent_avg is []"),
    # Tensors that lie
    "a huge stride": (lambda p: generator_file(p, lie((6,), (10**9,))), "reaches beyond its storage"),
    "a terabyte by stride 0": (
        lambda p: generator_file(p, lie((2**38,), (0,))),
        "reaches beyond its storage",
    ),
    "a terabyte by axes": (
        lambda p: generator_file(p, lie((2**20, 2**18), (0, 0))),
        "reaches beyond its storage",
    ),
    "a shape larger than the storage": (
        lambda p: generator_file(p, lie((7,), (1,))),
        "7 numbers that reaches beyond its storage of 6",
    ),
    "an offset beyond the storage": (
        lambda p: generator_file(p, lie((6,), (1,), 1)),
        "reaches beyond its storage",
    ),
    "a negative offset": (lambda p: generator_file(p, lie((6,), (1,), -1)), "impossible shape"),
    "a negative stride": (lambda p: generator_file(p, lie((6,), (-1,), 5)), "impossible shape"),
    "a negative size": (lambda p: generator_file(p, lie((-1,), (1,))), "impossible shape"),
    "a size of many digits": (lambda p: generator_file(p, lie((10**4000,), (1,))), "impossible shape"),
    "a size of a hundred axes": (lambda p: generator_file(p, lie((1,) * 100, (1,) * 100)), "axes"),
    "a size that is a text": (lambda p: generator_file(p, lie("6", "1")), "impossible shape"),
    "a storage shorter than claimed": (
        lambda p: _replaced(generator_file(p, legacy_=True), b"K\x06t", b"K\x07t"),
        "damaged",
    ),
    "two names for one tensor": (
        lambda p: save(p, dict.fromkeys([*arcface_state(), *map(str, range(9))], torch.zeros(500_000))),
        "many times",
    ),
    # NVlabs
    "no class of that number": (lambda p: _conditional(p), "it has classes 0 to 3, there is no class 9"),
    "StyleGAN3": (
        lambda p: nvlabs_file(
            p, lambda g: inside(g, "synthesis")["_modules"].update(input=module("SynthesisInput"))
        ),
        "StyleGAN3",
    ),
    "another architecture": (
        lambda p: nvlabs_file(p, lambda g: inside(g, "synthesis", "b8").update(architecture="resnet")),
        "another architecture",
    ),
    "another activation": (
        lambda p: nvlabs_file(p, lambda g: inside(g, "mapping", "fc0").update(activation="relu")),
        "another activation",
    ),
    "a missing block": (
        lambda p: nvlabs_file(p, lambda g: inside(g, "synthesis")["_modules"].pop("b8")),
        "the layer b8 is missing",
    ),
    "a resolution that is no power of two": (
        lambda p: nvlabs_file(p, lambda g: g.meta["state"].update(img_resolution=9)),
        "pictures of 9 pixels",
    ),
    "an endless resolution": (
        lambda p: nvlabs_file(p, lambda g: g.meta["state"].update(img_resolution=10**400)),
        "not usable",
    ),
    "a resolution that is a tensor": (
        lambda p: nvlabs_file(p, lambda g: g.meta["state"].update(img_resolution=torch.zeros(2))),
        "not a number",
    ),
    "an activation that is an array": (
        lambda p: nvlabs_file(p, lambda g: inside(g, "mapping", "fc0").update(activation=torch.zeros(2))),
        "",
    ),
    "one color": (
        lambda p: nvlabs_file(p, lambda g: g.meta["state"].update(img_channels=1)),
        "1 channels",
    ),
    "another version of the pickles": (
        lambda p: nvlabs_file(p, lambda g: g.meta.update(version=7)),
        "another version than 6",
    ),
    "another filter": (
        lambda p: nvlabs_file(
            p, lambda g: inside(g, "synthesis", "b8")["_buffers"].update(resample_filter=torch.ones(4, 4))
        ),
        "low-pass filter",
    ),
    "clamped here and there": (
        lambda p: nvlabs_file(
            p, lambda g: inside(g, "synthesis", "b8", "torgb").update(conv_clamp=9.0), clamp=8.0
        ),
        "clamped in different ways",
    ),
    "a gain that is a text": (
        lambda p: nvlabs_file(p, lambda g: inside(g, "mapping", "fc0").update(weight_gain="1")),
        "weight_gain is not a number",
    ),
    "an infinite gain": (
        lambda p: nvlabs_file(p, lambda g: inside(g, "mapping", "fc0").update(weight_gain=INF)),
        "not finite",
    ),
    "no mapping network": (
        lambda p: nvlabs_file(
            p, lambda g: (inside(g, "mapping").update(num_layers=0), inside(g, "mapping")["_buffers"].clear())
        ),
        "mapping network",
    ),
    # TensorFlow
    "the first StyleGAN": (
        lambda p: tensorflow_file(
            p, lambda v: v["synthesis"].append(("ToRGB_lod0/weight", np.zeros(1, np.float32)))
        ),
        "first generation",
    ),
    "a StyleGAN2 of another kind": (
        lambda p: tensorflow_file(p, architecture="resnet"),
        "another kind (architecture)",
    ),
    "another filter of TensorFlow": (
        lambda p: tensorflow_file(p, resample_kernel=[1, 1]),
        "another kind (resample_kernel)",
    ),
    "a clamp that is none": (lambda p: tensorflow_file(p, conv_clamp="x"), "conv_clamp"),
    "a rate that is none": (lambda p: tensorflow_file(p, mapping_lrmul="x"), "mapping_lrmul"),
    "a setting that is an array": (lambda p: tensorflow_file(p, num_channels=np.zeros(2)), ""),
    "a missing variable": (lambda p: tensorflow_file(p, lambda v: v["synthesis"].pop(0)), "is missing"),
    "no variables": (
        lambda p: tensorflow_file(p, lambda v: [part.clear() for part in v.values()]),
        "mapping network is missing",
    ),
    "a missing resolution": (
        lambda p: tensorflow_file(
            p, lambda v: v.update(synthesis=[(k.replace("8x8", "16x16"), a) for k, a in v["synthesis"]])
        ),
        "is missing",
    ),
    # Encoders and mappers
    "an unknown encoder": (
        lambda p: encoder_file(p, encoder_type="HyperEncoder"),
        "its encoder is a HyperEncoder",
    ),
    "an encoder of another type than its tensors": (
        lambda p: encoder_file(p, encoder_type="BackboneEncoder"),
        "does not fit a ReStyle-pSp",
    ),
    "an encoder without styles": (
        lambda p: encoder_file(p, {k: v for k, v in encoder_state().items() if "styles" not in k}),
        "no styles",
    ),
    "an encoder without its first layer": (
        lambda p: encoder_file(p, {k: v for k, v in encoder_state().items() if k != "input_layer.0.weight"}),
        "input_layer.0.weight is missing",
    ),
    "an unknown mapper": (
        lambda p: save(p, mapper_checkpoint({"mapper.other.weight": torch.zeros(1)})),
        "of a kind that StyleCLIP does not write",
    ),
    "CLIP without tokens": (
        lambda p: save(p, {"text_projection": torch.zeros(1), "visual.proj": torch.zeros(1)}),
        "token_embedding.weight is missing",
    ),
    "a negative deviation": (
        lambda p: p.write_bytes(pickle.dumps([[np.ones(2)], [-np.ones(2)]])),
        "negative standard deviation",
    ),
}


def _savez(path: Path, **found: np.ndarray) -> None:
    with path.open("wb") as file:
        np.savez(file, **found)


def _save_npy(path: Path, array: np.ndarray) -> Path:
    with path.open("wb") as file:
        np.save(file, array)
    return path


def _zip(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "x")


def _script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(path)


def _renamed(old: str, new: str) -> dict[str, Tensor]:
    return {name.replace(old, new): tensor for name, tensor in rosinality_state().items()}


def _replaced(path: Path, old: bytes, new: bytes) -> None:
    raw = path.read_bytes()
    assert old in raw
    path.write_bytes(raw.replace(old, new))


def _conditional(path: Path) -> None:
    path.write_bytes((GOLDEN / "nvlabs_cond.pkl").read_bytes())


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_used_is_named(fault: str, tmp_path: Path) -> None:
    write, reason = FAULTS[fault]
    path = tmp_path / "file"
    write(path)
    assert reason in refusal(path, lambda path: read_parts(path, class_index=9))


def test_at_least_forty_faults() -> None:
    assert len(FAULTS) >= 40


# What can be read


def equal(found: Any, wanted: Any) -> None:
    assert set(found) == set(wanted)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def plain(folder: Path) -> Any:
    return read_parts(generator_file(folder / "plain"))[0].state


@pytest.mark.parametrize("name", ["network.pkl", "network.npy", "network", "network.safetensors"])
def test_the_name_of_a_file_does_not_matter(name: str, tmp_path: Path) -> None:
    equal(read_parts(generator_file(tmp_path / name))[0].state, plain(tmp_path))


def test_a_pickle_may_be_called_pt(tmp_path: Path) -> None:
    assert (
        read_parts(nvlabs_file(tmp_path / "network.pt"))[0].layout == "StyleGAN2 generator (NVlabs, PyTorch)"
    )


def test_tensors_that_a_generator_does_not_need_are_ignored(tmp_path: Path) -> None:
    more = changed(extra=torch.ones(3), truncation__latent=torch.ones(6))
    path = generator_file(tmp_path / "file", more, g_optim={"state": {0: {"step": 3}}}, step=5)
    equal(read_parts(path)[0].state, plain(tmp_path))


def test_tensors_of_other_networks_are_kept(tmp_path: Path) -> None:
    """Whether they fit is for the network to say."""
    path = save(tmp_path / "file", arcface_state() | {"extra": torch.ones(1)})
    assert "extra" in read_parts(path)[0].state


@pytest.mark.parametrize("kind", [torch.float16, torch.float64, torch.bfloat16])
def test_other_precisions_become_single(kind: torch.dtype, tmp_path: Path) -> None:
    g = {name: tensor.to(kind) for name, tensor in rosinality_state().items()}
    found = read_parts(generator_file(tmp_path / "file", g, AVERAGE.to(kind)))[0].state
    wanted = read_parts(
        generator_file(tmp_path / "single", {k: t.float() for k, t in g.items()}, AVERAGE.to(kind).float())
    )
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    equal(found, wanted[0].state)


def test_whole_numbers_become_single(tmp_path: Path) -> None:
    found = read_parts(generator_file(tmp_path / "file", changed(style__1__bias=torch.arange(6))))[0].state
    np.testing.assert_allclose(found["mapping.0.bias"], np.arange(6) / 100, rtol=1e-6)


def test_tensors_that_are_views_of_others_have_their_own_numbers(tmp_path: Path) -> None:
    """Transposed, strided and overlapping tensors of one storage, as `torch.save` keeps them."""
    whole = torch.arange(100.0)
    g = changed(
        style__1__weight=whole[:72].view(6, 12)[:, ::2].T,
        style__1__bias=whole[90:96],
        input__input=whole[:48].view(1, 3, 4, 4),
    )
    found = read_parts(generator_file(tmp_path / "file", g))[0].state
    np.testing.assert_allclose(
        found["mapping.0.weight"], g["style.1.weight"].numpy() * 0.01 / 6**0.5, rtol=1e-6
    )
    np.testing.assert_allclose(found["mapping.0.bias"], np.arange(90, 96) / 100, rtol=1e-6)
    np.testing.assert_array_equal(found["const"], np.arange(48).reshape(3, 4, 4))


def test_two_networks_may_share_their_tensors(tmp_path: Path) -> None:
    path = save(tmp_path / "550000.pt", trained_checkpoint(rosinality_state()))
    assert [part.name for part in read_parts(path)] == ["generator"]


@pytest.mark.parametrize("legacy", [False, True])
def test_options_may_be_a_namespace_with_numpy_scalars(legacy: bool, tmp_path: Path) -> None:
    options = Namespace(
        **E4E_OPTIONS,
        lr=np.float64(0.1),
        step=np.int64(3),
        gpu=torch.device("cuda:0"),
        path=Path("x"),
        best=None,
    )
    path = save(tmp_path / "file", encoder_checkpoint(encoder_state(), torch.zeros(8, 16), options), legacy)
    assert read_parts(path)[0].notes == {"encoder": "e4e", "offsets": "1", "iterations": "1"}


@pytest.mark.parametrize("type_", ["cars_encode", "ffhq_encode"])
def test_cars_are_encoded_without_bars(type_: str, tmp_path: Path) -> None:
    notes = read_parts(encoder_file(tmp_path / "file", dataset_type=type_))[0].notes
    assert ("rows" in notes) == (type_ == "cars_encode")


def test_a_restyle_encoder_is_applied_five_times(tmp_path: Path) -> None:
    net = Encoder(stages((4, 6, 8, 12), (1, 1, 1, 1), reduction=2), 8, 16, 32, pyramid=False, inputs=6)
    path = encoder_file(tmp_path / "file", net.state_dict(), encoder_type="ProgressiveBackboneEncoder")
    assert read_parts(path)[0].notes == {"encoder": "ReStyle-e4e", "offsets": "1", "iterations": "5"}


def test_a_training_checkpoint_has_its_generator_too(tmp_path: Path) -> None:
    checkpoint = encoder_checkpoint(encoder_state(), torch.zeros(8, 6), E4E_OPTIONS, rosinality_state())
    parts = read_parts(save(tmp_path / "file", checkpoint))
    assert [part.name for part in parts] == ["encoder", "generator"]
    assert not parts[1].state["w_avg"].any()


def test_a_mapper_checkpoint_has_its_generator_too(tmp_path: Path) -> None:
    checkpoint = mapper_checkpoint(random_mapper(("mapping", 4)), rosinality_state(), description="a\x07 b")
    parts = read_parts(save(tmp_path / "file", checkpoint))
    assert [part.name for part in parts] == ["mapper", "generator"]
    assert parts[0].notes == {"mapper": "single", "prompt": "a? b"}


def test_settings_of_torchscript_are_no_weights(tmp_path: Path) -> None:
    state = clip_model().state_dict() | {
        "input_resolution": torch.tensor(8),
        "context_length": torch.tensor(5),
        "vocab_size": torch.tensor(9),
    }
    found = read_parts(save(tmp_path / "file", state))[0]
    assert found.layout == "CLIP (ViT)"
    assert set(found.state) == set(clip_model().state_dict())


def test_torchscript_of_clip_is_read_without_its_code(tmp_path: Path) -> None:
    (found,) = read_parts(clip_script(tmp_path / "file", clip_model()))
    equal(found.state, {name: tensor.numpy() for name, tensor in clip_model().state_dict().items()})


def test_the_class_is_folded_into_the_mapping(tmp_path: Path) -> None:
    found = [read_parts(GOLDEN / "nvlabs_cond.pkl", chosen)[0] for chosen in (0, 3)]
    assert [part.notes["class"] for part in found] == ["0 of 4", "3 of 4"]
    assert not np.array_equal(found[0].state["mapping.0.bias"], found[1].state["mapping.0.bias"])
    equal({"w": found[0].state["mapping.0.weight"]}, {"w": found[1].state["mapping.0.weight"]})


def test_a_clamp_is_kept(tmp_path: Path) -> None:
    state = tensors(read_parts(nvlabs_file(tmp_path / "file", clamp=256.0))[0].state)
    assert Generator.from_state_dict(state).config.conv_clamp == 256


def test_a_generator_without_noise_has_none(tmp_path: Path) -> None:
    path = nvlabs_file(
        tmp_path / "file", lambda g: inside(g, "synthesis", "b8", "conv0").update(use_noise=False)
    )
    state = read_parts(path)[0].state
    assert not state["synthesis.b8.conv0.noise_strength"]
    assert state["synthesis.b8.conv0.noise_const"].shape == (8, 8)


def test_the_rate_of_a_tensorflow_mapping_is_read(tmp_path: Path) -> None:
    usual = read_parts(tensorflow_file(tmp_path / "usual"))[0].state
    other = read_parts(tensorflow_file(tmp_path / "other", mapping_lrmul=0.02))[0].state
    np.testing.assert_allclose(other["mapping.0.weight"], usual["mapping.0.weight"] * 2, rtol=1e-6)


def test_a_clamp_of_tensorflow_is_kept(tmp_path: Path) -> None:
    state = tensors(
        read_parts(tensorflow_file(tmp_path / "file", conv_clamp=256, resample_kernel=[1, 3, 3, 1]))[0].state
    )
    assert Generator.from_state_dict(state).config.conv_clamp == 256
    assert "conv_clamp" not in read_parts(tensorflow_file(tmp_path / "none", conv_clamp=None))[0].state


@pytest.mark.parametrize("used", [True, False])
def test_an_encoder_trained_without_the_mean_latent_gives_codes_alone(used: bool, tmp_path: Path) -> None:
    checkpoint = encoder_checkpoint(
        encoder_state(), torch.ones(8, 16), E4E_OPTIONS | {"start_from_latent_avg": used}
    )
    average = read_parts(save(tmp_path / "file", checkpoint))[0].state["latent_avg"]
    np.testing.assert_array_equal(average, np.full((8, 16), float(used)))


def test_control_characters_of_a_converted_part_stay_in_its_file(tmp_path: Path) -> None:
    save_file({"matrix": torch.ones(2, 2)}, tmp_path / "file", {"part": "relevance", "layout": "a\x1b[31m"})
    assert read_parts(tmp_path / "file")[0].layout == "a?[31m"


def test_names_of_numpy_1_are_those_of_numpy_2(tmp_path: Path) -> None:
    path = tmp_path / "file"
    raw = tensorflow_pickle(tensorflow_variables(rosinality_state(), AVERAGE), 2)
    assert b"numpy._core." in raw
    path.write_bytes(raw.replace(b"numpy._core.", b"numpy.core."))
    equal(read_parts(path)[0].state, plain(tmp_path))


def test_a_state_dict_as_python_2_wrote_it(tmp_path: Path) -> None:
    """Its texts are bytes, and its OrderedDict is called with a list of pairs."""

    class Pickler(checkpoints._Python2):
        def reducer_override(self, value: Any) -> Any:
            pairs = type(value) is OrderedDict and value
            return (OrderedDict, ([list(pair) for pair in value.items()],)) if pairs else NotImplemented

    writer = ModuleType("writer")
    writer.Pickler = Pickler  # type: ignore[attr-defined]
    writer.dump = lambda value, file, protocol: Pickler(file, protocol).dump(value)  # type: ignore[attr-defined]
    path = tmp_path / "file"
    state = OrderedDict(arcface_state())
    torch.save(state, path, pickle_module=writer, _use_new_zipfile_serialization=False)
    assert b"X" + len("body").to_bytes(4, "little") not in path.read_bytes()
    equal(read_parts(path)[0].state, {name: tensor.numpy() for name, tensor in state.items()})


@pytest.mark.parametrize("padding", range(0, 512, 8))
def test_a_converted_part_is_read_whatever_the_length_of_its_header(padding: int, tmp_path: Path) -> None:
    """The first byte is the lowest of that length, and may be that of a pickle."""
    path = tmp_path / "file"
    save_file({"matrix": torch.ones(2, 2)}, path, {"part": "relevance", "more": "x" * padding})
    (found,) = read_parts(path)
    assert (found.name, found.notes["more"]) == ("relevance", "x" * padding)
    equal(found.state, {"matrix": np.ones((2, 2), np.float32)})


def test_a_converted_part_of_an_unknown_name_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 2), "b": torch.ones(2)}, tmp_path / "file", {"part": "other"})
    assert "of no known kind" in refusal(tmp_path / "file")


# Latents


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((18, 512), (1, 18, 512)),
        ((100, 512), (100, 1, 512)),
        ((3, 18, 512), (3, 18, 512)),
        ((1, 14, 8), (1, 14, 8)),
    ],
)
@pytest.mark.parametrize("form", ["npy", "zip", "legacy", "pickle"])
def test_latents(form: str, shape: tuple[int, ...], wanted: tuple[int, ...], tmp_path: Path) -> None:
    """A few rows are the layers of one face, many are one w of a face each."""
    latents, path = np.random.RandomState(0).randn(*shape).astype(np.float32), tmp_path / "file"
    if form == "npy":
        _save_npy(path, latents)
    elif form == "pickle":
        path.write_bytes(pickle.dumps(latents))
    else:
        save(path, torch.from_numpy(latents), form == "legacy")
    np.testing.assert_array_equal(read_latents(path), latents.reshape(wanted))


def test_latents_in_columns_first(tmp_path: Path) -> None:
    latents = np.random.RandomState(0).randn(3, 4, 5).astype(np.float32)
    _save_npy(tmp_path / "file", np.asfortranarray(latents))
    np.testing.assert_array_equal(read_latents(tmp_path / "file"), latents)


def test_latents_in_a_dictionary(tmp_path: Path) -> None:
    latents = torch.randn(2, 4, 5)
    np.testing.assert_array_equal(
        read_latents(save(tmp_path / "file", {"latents": latents})), latents.numpy()
    )


@pytest.mark.parametrize("value", [NAN, INF])
def test_latents_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    path = save(tmp_path / "file", torch.full((2, 4, 5), value))
    assert "not finite" in refusal(path, read_latents)


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(2),
        torch.zeros(2, 2, 2, 2),
        torch.zeros(2, 3, 4, dtype=torch.long),
        {},
        torch.zeros(0, 4, 5),
    ],
)
def test_what_is_no_latent_is_refused(value: Any, tmp_path: Path) -> None:
    assert "holds no W+ latents" in refusal(save(tmp_path / "file", value), read_latents)


def test_styles_of_the_official_scripts(tmp_path: Path) -> None:
    """GetCode.py pickles names and one array a layer; the mapper's latents are a list of [N, 1, C, 1, 1]."""
    layers = [
        np.random.RandomState(i).randn(3, width).astype(np.float32) for i, width in enumerate((4, 4, 2))
    ]
    (tmp_path / "S").write_bytes(pickle.dumps([["a", "b", "c"], layers]))
    listed = save(tmp_path / "list.pt", [torch.from_numpy(layer)[:, None, :, None, None] for layer in layers])
    for path in (tmp_path / "S", listed):
        assert "of no known kind" in refusal(path)
