"""Parity with the official implementations.

The fixtures hold small random networks in the official layouts and what the official code computes with
them, in float32 on a CPU. Right code reproduces them to rounding: the bar is 1e-5 relative.
"""

from __future__ import annotations

import json
import math
import runpy
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from checkpoints import (
    E4E_OPTIONS,
    GOLDEN,
    arrays,
    clip_model,
    clip_script,
    encoder_checkpoint,
    golden_generator,
    mapper_checkpoint,
    mapper_state,
    nvlabs_generator,
    nvlabs_pickle,
    random_mapper,
    save,
    state,
    tensorflow_pickle,
    tensorflow_variables,
    tensors,
    trained_checkpoint,
)
from networks import encoder_state, generator_state
from styleclip_cli.edits.directions import find_direction
from styleclip_cli.inversion import encode
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.measure.statistics import StyleStatistics
from styleclip_cli.nets import ops
from styleclip_cli.nets.clip import MEAN, STD, Clip, preprocess, tokenize
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import ArcFace, stages
from styleclip_cli.nets.mapper import STRENGTH, LatentMapper
from styleclip_cli.nets.stylegan2 import Generator, ModulatedConv
from styleclip_cli.nets.stylespace import StyleSpace
from styleclip_cli.weights.readers import Part, read_parts


def same(ours: Tensor, theirs: np.ndarray | Tensor) -> None:
    wanted = torch.from_numpy(np.asarray(theirs, dtype=np.float32))
    assert ours.shape == wanted.shape
    assert float((ours - wanted).abs().max() / wanted.abs().max()) < 1e-5


def part(path: Path, name: str, class_index: int = 0) -> Part:
    (found,) = [part for part in read_parts(path, class_index) if part.name == name]
    return found


def generator_of(path: Path, class_index: int = 0) -> Generator:
    made = Generator.from_state_dict(tensors(part(path, "generator", class_index).state))
    return made.eval().requires_grad_(False)


def written(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


@pytest.fixture(scope="module")
def generator() -> Generator:
    return generator_of(GOLDEN / "rosinality_generator.pt")


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return arrays("rosinality_generator")


def test_the_generator_is_read_off_its_file(generator: Generator, expected: dict[str, np.ndarray]) -> None:
    assert generator.config.resolution == int(expected["size"]) == 32
    assert generator.config.w_dim == int(expected["style_dim"])
    assert list(generator.style_space.widths) == expected["style_widths"].tolist()


def test_z_to_picture(generator: Generator, expected: dict[str, np.ndarray]) -> None:
    z = torch.from_numpy(expected["z"])
    same(generator.map(z), expected["w"])
    same(generator(generator.w_plus(z)), expected["image_w"])
    same(generator(generator.w_plus(z, truncation_psi=0.7)), expected["image_truncation_0_7"])


def test_w_plus_to_styles_to_picture(generator: Generator, expected: dict[str, np.ndarray]) -> None:
    w_plus = torch.from_numpy(expected["w_plus"])
    styles = generator.styles(w_plus)
    same(generator.style_space.concat(styles), expected["styles_w_plus"])
    same(generator(w_plus), expected["image_w_plus"])
    same(generator.synthesize(styles), expected["image_w_plus"])


def test_edited_styles_to_picture(generator: Generator, expected: dict[str, np.ndarray]) -> None:
    flat = torch.from_numpy(expected["edited_styles"])
    same(generator.synthesize(generator.style_space.split(flat)), expected["image_edited_styles"])


def test_without_noise_the_picture_is_another(generator: Generator, expected: dict[str, np.ndarray]) -> None:
    w_plus = torch.from_numpy(expected["w_plus"])
    assert float((generator(w_plus, noise="none") - generator(w_plus)).abs().max()) > 1e-3


FORMS: dict[str, Callable[[Path], Path]] = {
    "zip": lambda path: save(path, _generator_checkpoint()),
    "legacy": lambda path: save(path, _generator_checkpoint(), legacy=True),
    "with arguments": lambda path: save(path, _generator_checkpoint(args=Namespace(size=32))),
    "legacy with arguments": lambda path: save(
        path, _generator_checkpoint(args=Namespace(size=32)), legacy=True
    ),
    "of an encoder": lambda path: save(
        path,
        {"state_dict": _prefixed("decoder.", golden_generator()[0]), "latent_avg": golden_generator()[1]},
    ),
    "TensorFlow, protocol 2": lambda path: written(path, _tensorflow(2)),
    "TensorFlow, protocol 3": lambda path: written(path, _tensorflow(3)),
    "TensorFlow, protocol 4": lambda path: written(path, _tensorflow(4)),
    "TensorFlow, Python 2": lambda path: written(path, _tensorflow(2, python2=True)),
}


def _prefixed(prefix: str, found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in found.items()}


def _generator_checkpoint(**more: object) -> dict[str, object]:
    found, average = golden_generator()
    return {"g_ema": found, "latent_avg": average, **more}


def _tensorflow(protocol: int, python2: bool = False) -> bytes:
    return tensorflow_pickle(tensorflow_variables(*golden_generator()), protocol, python2)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_generator_gives_the_same_arrays(form: str, tmp_path: Path) -> None:
    found = part(FORMS[form](tmp_path / "file"), "generator").state
    wanted = part(GOLDEN / "rosinality_generator.pt", "generator").state
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("form", ["legacy", "TensorFlow, protocol 4", "TensorFlow, Python 2"])
def test_pictures_of_other_forms(form: str, expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    made = generator_of(FORMS[form](tmp_path / "file"))
    same(made(torch.from_numpy(expected["w_plus"])), expected["image_w_plus"])
    z = torch.from_numpy(expected["z"])
    same(made(made.w_plus(z, truncation_psi=0.7)), expected["image_truncation_0_7"])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pictures_of_the_same_generator_as_nvlabs_writes_it(
    protocol: int, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    raw = nvlabs_pickle(nvlabs_generator(*golden_generator()), protocol)
    made = generator_of(written(tmp_path / "network.pkl", raw))
    same(made(torch.from_numpy(expected["w_plus"])), expected["image_w_plus"])
    z = torch.from_numpy(expected["z"])
    same(made(made.w_plus(z, truncation_psi=0.7)), expected["image_truncation_0_7"])


@pytest.mark.parametrize("legacy", [False, True])
def test_the_mean_latent_is_measured_where_a_file_has_none(
    legacy: bool, generator: Generator, tmp_path: Path
) -> None:
    path = save(tmp_path / "550000.pt", trained_checkpoint(golden_generator()[0]), legacy)
    made = generator_of(path)
    z = torch.from_numpy(np.random.RandomState(0).randn(10_000, 64).astype(np.float32))
    same(made.w_avg, generator.map(z).double().mean(dim=0).float())


@pytest.mark.parametrize("name", ["nvlabs_uncond", "nvlabs_cond"])
def test_nvlabs_generators(name: str) -> None:
    found = arrays(name)
    for i in range(3):
        one = slice(i, i + 1)
        chosen = int(found["c"][i].argmax()) if found["c"].size else 0
        made = generator_of(GOLDEN / f"{name}.pkl", chosen)
        z = torch.from_numpy(found["z"][one])
        w_plus, truncated = made.w_plus(z), made.w_plus(z, truncation_psi=0.6)
        same(w_plus, np.repeat(found["w_plus"][one], 8, axis=1))
        same(truncated, np.repeat(found["w_plus_truncation_0_6"][one], 8, axis=1))
        same(made(w_plus), found["image"][one])
        same(made(truncated), found["image_truncation_0_6"][one])
        same(made(torch.from_numpy(found["mixed_w_plus"][one])), found["image_mixed"][one])


def test_another_class_is_another_picture() -> None:
    z = torch.from_numpy(arrays("nvlabs_cond")["z"])
    first, second = (generator_of(GOLDEN / "nvlabs_cond.pkl", chosen).map(z) for chosen in (0, 1))
    assert float((first - second).abs().max()) > 1e-2


@pytest.mark.parametrize("layer", range(12))
def test_a_rendering_goes_on_from_any_layer(
    generator: Generator, expected: dict[str, np.ndarray], layer: int
) -> None:
    """Bit for bit; the styles of the layers before are not looked at."""
    styles = generator.styles(torch.from_numpy(expected["w_plus"]))
    whole = generator.synthesize(styles)
    half = generator.features(styles, layer // 2)
    start = generator.features(
        [torch.full_like(s, math.nan) for s in styles[: layer // 2]] + styles[layer // 2 :], layer, start=half
    )
    assert start.layer == layer
    if layer < len(styles):
        lost = [torch.full_like(s, math.nan) for s in styles[:layer]] + styles[layer:]
        assert torch.equal(generator.synthesize(lost, start=start), whole)
        rows = torch.tensor([1, 0, 1])
        again = generator.synthesize([s[rows] for s in lost], start=start.pick(rows))
        same(again, whole[rows])
    assert layer == 0 or start.image is None or start.image.shape[0] == len(whole)


@pytest.fixture(scope="module")
def clamped(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    raw = nvlabs_pickle(nvlabs_generator(*golden_generator(), clamp=0.75))
    return generator_of(written(tmp_path_factory.mktemp("clamped") / "network.pkl", raw))


def test_a_clamp_limits_what_each_layer_gives(clamped: Generator, expected: dict[str, np.ndarray]) -> None:
    assert clamped.config.conv_clamp == 0.75
    largest = []
    for layer in _convs(clamped):
        if not layer.is_rgb:
            layer.register_forward_hook(lambda *call: largest.append(float(call[2].abs().max())))
    clamped(torch.from_numpy(expected["w_plus"]))
    assert len(largest) == 7
    assert max(largest) == 0.75


def test_a_clamp_is_that_of_the_layers_alone(
    clamped: Generator,
    generator: Generator,
    expected: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same as clamping what each layer of the unclamped generator gives, and not the same as without."""
    w_plus = torch.from_numpy(expected["w_plus"])
    without = generator(w_plus)

    def coloured(layer: ModulatedConv, x: Tensor, styles: Tensor, image: Tensor | None) -> Tensor:
        colour = plain(layer, x, styles, None).clamp(-0.75, 0.75)
        return colour if image is None else ops.upsample_rgb(image) + colour

    plain = ModulatedConv.colour
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, found: found.clamp(-0.75, 0.75))
        for layer in _convs(generator)
    ]
    with monkeypatch.context() as patch:
        patch.setattr(ModulatedConv, "colour", coloured)
        by_hand = generator(w_plus)
    for hook in hooks:
        hook.remove()
    same(clamped(w_plus), by_hand)
    assert float((clamped(w_plus) - without).abs().max()) > 0.1


def _convs(generator: Generator) -> list[ModulatedConv]:
    return [layer for layer in generator.modules() if isinstance(layer, ModulatedConv)]


CLIP_FORMS: dict[str, Callable[[Path], Path]] = {
    "state dict": lambda path: save(path, state(arrays("clip"))),
    "legacy state dict": lambda path: save(path, state(arrays("clip")), legacy=True),
    "TorchScript": lambda path: clip_script(path, Clip.from_state_dict(state(arrays("clip"))).model),
}


@pytest.mark.parametrize("form", CLIP_FORMS)
def test_clip_vit(form: str, tmp_path: Path) -> None:
    found = arrays("clip")
    clip = Clip.from_state_dict(tensors(part(CLIP_FORMS[form](tmp_path / "file"), "clip").state))
    prompts = json.loads(str(found["prompts"]))
    assert (tokenize(prompts).numpy() == found["tokens"]).all()
    pixels = torch.from_numpy(found["pixels"]).float()
    with torch.inference_mode():
        image, text = clip.model.encode_image(pixels), clip.model.encode_text(tokenize(prompts))
        same(image, found["image_features"])
        same(text, found["text_features"])
        unit = image / image.norm(dim=1, keepdim=True)
        same(clip.model.logit_scale.exp() * unit @ clip.encode_text(prompts).T, found["logits_per_image"])


def test_torchscript_and_state_dict_are_the_same_bit_for_bit(tmp_path: Path) -> None:
    model = clip_model().half()
    for name, parameter in model.named_parameters():
        if "ln_" in name:
            parameter.data = parameter.data.float()
    script = part(clip_script(tmp_path / "script", model), "clip").state
    plain = part(save(tmp_path / "plain", model.state_dict()), "clip").state
    assert set(script) == set(plain) == set(model.state_dict())
    for name, array in plain.items():
        assert array.dtype == script[name].dtype
        np.testing.assert_array_equal(array, script[name], err_msg=name)
        np.testing.assert_array_equal(array, model.state_dict()[name].numpy(), err_msg=name)


@pytest.mark.parametrize("seed", range(12))
def test_clips_cut_of_pictures_that_are_not_square(seed: int) -> None:
    """torchvision's Resize(n) cuts the longer side's fraction, its CenterCrop(n) rounds halves to even."""
    rng = np.random.RandomState(seed)
    width, height = (int(side) for side in rng.randint(33, 160, 2))
    # Smooth but for steps: a crop that lies a pixel aside is seen at once.
    rows, columns = np.mgrid[:height, :width]
    channels = [(rows // 9 + columns // 7) % 2 * 200 + 20, columns * 255 // width, rows * 255 // height]
    picture = Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))
    side, shorter = 32, min(width, height)
    size = (int(side * width / shorter), int(side * height / shorter))
    left, top = (round((length - side) / 2.0) for length in size)
    wanted = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))[top : top + side, left : left + side]
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1
    seen = preprocess(pixels, side)[0] * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    assert seen.shape == (3, side, side)
    error = seen.mul(255).clamp(0, 255).permute(1, 2, 0).numpy() - wanted
    assert abs(error).max() < 1.1, (width, height)


def test_clip_resnet(tmp_path: Path) -> None:
    model = clip_model(
        vision_layers=(1, 1, 1, 1), vision_width=8, image_resolution=64, vocab_size=49408, context_length=77
    )
    found = part(save(tmp_path / "RN.pt", model.state_dict()), "clip")
    assert found.layout == "CLIP (ResNet)"
    clip = Clip.from_state_dict(tensors(found.state))
    pixels = torch.from_numpy(arrays("clip")["pixels"]).float()
    with torch.inference_mode():
        same(clip.model.encode_image(pixels), model.encode_image(pixels))
        same(clip.model.encode_text(tokenize(["a face"])), model.encode_text(tokenize(["a face"])))


@pytest.mark.parametrize("legacy", [False, True])
def test_arcface(legacy: bool, tmp_path: Path) -> None:
    found = arrays("arcface")
    path = save(tmp_path / "model_ir_se50.pth", state(found), legacy)
    net = ArcFace.from_state_dict(tensors(part(path, "identity").state))
    same(net(torch.from_numpy(found["image"]).float()), found["embedding"])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "options", [E4E_OPTIONS, Namespace(**E4E_OPTIONS), {}], ids=["dict", "Namespace", "none"]
)
def test_e4e(legacy: bool, options: object, tmp_path: Path) -> None:
    found = arrays("e4e")
    encoder = state(found) | state(arrays("e4e_body"))
    average = encoder.pop("latent_avg")
    checkpoint = encoder_checkpoint(encoder, average, options, golden_generator()[0])
    path = save(tmp_path / "e4e.pt", checkpoint, legacy)
    read = part(path, "encoder")
    weights = tensors(read.state)
    net = Encoder.from_state_dict(weights, weights.pop("latent_avg"), read.notes).eval()
    with torch.inference_mode():
        same(net.codes(torch.from_numpy(found["image"]).float()), found["codes"])
        same(net(torch.from_numpy(found["image"]).float()), found["w_plus"])
        same(encode(net, torch.from_numpy(found["image"]).float()), found["w_plus"])
    np.testing.assert_array_equal(part(path, "generator").state["w_avg"], average.mean(dim=0).numpy())


# Encoders and mappers without official numbers: against the same computation written down directly.


def plain_encoder(w: dict[str, Tensor], x: Tensor, *, offsets: bool, pyramid: bool) -> Tensor:
    """Codes of an IR-SE encoder of four stages with one block each."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        x = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
        return x * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]

    def prelu(x: Tensor, name: str) -> Tensor:
        return torch.where(x > 0, x, x * w[name][:, None, None])

    x = prelu(
        norm(F.conv2d(x, w["input_layer.0.weight"], padding=1), "input_layer.1"), "input_layer.2.weight"
    )
    maps = []
    for i in range(4):
        block = f"body.{i}"
        short = x[:, :, ::2, ::2]
        if f"{block}.shortcut_layer.0.weight" in w:
            conv = F.conv2d(x, w[f"{block}.shortcut_layer.0.weight"], stride=2)
            short = norm(conv, f"{block}.shortcut_layer.1")
        y = F.conv2d(norm(x, f"{block}.res_layer.0"), w[f"{block}.res_layer.1.weight"], padding=1)
        y = F.conv2d(
            prelu(y, f"{block}.res_layer.2.weight"), w[f"{block}.res_layer.3.weight"], stride=2, padding=1
        )
        y = norm(y, f"{block}.res_layer.4")
        squeezed = y.mean(dim=(2, 3), keepdim=True)
        squeezed = F.conv2d(squeezed, w[f"{block}.res_layer.5.fc1.weight"]).clamp(min=0)
        x = short + y / (1 + torch.exp(-F.conv2d(squeezed, w[f"{block}.res_layer.5.fc2.weight"])))
        maps.append(x)

    def head(i: int, x: Tensor) -> Tensor:
        k = 0
        while f"styles.{i}.convs.{k}.weight" in w:
            x = F.conv2d(x, w[f"styles.{i}.convs.{k}.weight"], w[f"styles.{i}.convs.{k}.bias"], 2, 1)
            x = torch.where(x > 0, x, 0.01 * x)
            k += 2
        weight = w[f"styles.{i}.linear.weight"]
        return x[:, :, 0, 0] @ weight.T / math.sqrt(weight.shape[1]) + w[f"styles.{i}.linear.bias"]

    deep = maps[3]
    levels = [deep] * 8
    if pyramid:
        for first, name, shallow in ((3, "latlayer1", maps[2]), (7, "latlayer2", maps[1])):
            side = F.conv2d(shallow, w[f"{name}.weight"], w[f"{name}.bias"])
            deep = F.interpolate(deep, side.shape[2:], mode="bilinear", align_corners=True) + side
            levels[first:] = [deep] * (8 - first)
    codes = [head(i, levels[i]) for i in range(8)]
    if offsets:
        codes = [codes[0]] + [codes[0] + code for code in codes[1:]]
    return torch.stack(codes, dim=1)


KINDS = {
    "GradualStyleEncoder": ("pSp", False, True),
    "Encoder4Editing": ("e4e", True, True),
    "BackboneEncoder": ("ReStyle-pSp", False, False),
    "ProgressiveBackboneEncoder": ("ReStyle-e4e", True, False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_to_latents_with_every_kind_of_encoder(kind: str, tmp_path: Path) -> None:
    name, offsets, pyramid = KINDS[kind]
    torch.manual_seed(1)
    shapes = stages((4, 6, 8, 12), (1, 1, 1, 1), reduction=2)
    random = encoder_state() if pyramid else Encoder(shapes, 8, 16, 32, pyramid=False, inputs=6).state_dict()
    for key, tensor in random.items():
        if key.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    average, images = torch.randn(8, 16), torch.rand(2, 3, 32, 32) * 2 - 1
    path = save(tmp_path / "encoder.pt", encoder_checkpoint(random, average, {"encoder_type": kind}))
    read = part(path, "encoder")
    assert read.notes["encoder"] == name
    weights = tensors(read.state)
    net = Encoder.from_state_dict(weights, weights.pop("latent_avg"), read.notes).eval()
    generator = Generator.from_state_dict(generator_state()).eval().requires_grad_(False)
    with torch.inference_mode():
        if pyramid:
            wanted = plain_encoder(random, images, offsets=offsets, pyramid=True) + average
        else:
            wanted = average.expand(2, 8, 16)
            for _ in range(5):
                shown = generator(wanted)
                seen = torch.cat([images, shown], dim=1)
                wanted = wanted + plain_encoder(random, seen, offsets=offsets, pyramid=False)
        same(encode(net, images, None if pyramid else generator), wanted)


def test_a_mapper_of_levels(tmp_path: Path) -> None:
    found = arrays("mapper")
    read = part(save(tmp_path / "mapper.pt", mapper_checkpoint(mapper_state())), "mapper")
    assert read.notes == {"mapper": "levels", "prompt": "a test"}
    mapper = LatentMapper.from_state_dict(tensors(read.state))
    w_plus = torch.from_numpy(found["w_plus"])
    with torch.inference_mode():
        offset = mapper(w_plus)
    same(offset[:, 4:8], found["offset"])
    assert not offset[:, :4].any()
    assert not offset[:, 8:].any()
    same((w_plus + STRENGTH * offset)[:, 4:8], found["edited"])


def plain_mapper(w: dict[str, Tensor], part: str, x: Tensor) -> Tensor:
    """The official Mapper: normalisation of axis 1, four layers with a learning rate of a hundredth."""
    x = x / torch.sqrt((x**2).mean(dim=1, keepdim=True) + 1e-8)
    for i in range(1, 5):
        weight, bias = w[f"mapper.{part}.mapping.{i}.weight"], w[f"mapper.{part}.mapping.{i}.bias"]
        x = x @ weight.T * (0.01 / math.sqrt(weight.shape[1])) + bias * 0.01
        x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    return x


def test_a_mapper_of_all_layers_at_once(tmp_path: Path) -> None:
    random = random_mapper(("mapping", 16))
    # The official SingleMapper keeps its Mapper in `mapping`.
    read = part(save(tmp_path / "mapper.pt", mapper_checkpoint(random)), "mapper")
    assert read.notes["mapper"] == "single"
    w_plus = torch.randn(3, 8, 16)
    with torch.inference_mode():
        same(
            LatentMapper.from_state_dict(tensors(read.state))(w_plus), plain_mapper(random, "mapping", w_plus)
        )


def test_a_mapper_of_three_levels(tmp_path: Path) -> None:
    names = {"course_mapping": slice(0, 4), "medium_mapping": slice(4, 8), "fine_mapping": slice(8, 12)}
    random = random_mapper(*((name, 16) for name in names))
    read = part(save(tmp_path / "mapper.pt", mapper_checkpoint(random)), "mapper")
    w_plus = torch.randn(3, 12, 16)
    with torch.inference_mode():
        offset = LatentMapper.from_state_dict(tensors(read.state))(w_plus)
    for name, layers in names.items():
        same(offset[:, layers], plain_mapper(random, name, w_plus[:, layers]))


def test_a_mapper_of_style_layers(tmp_path: Path) -> None:
    """The official ones take [N, 1, C, 1, 1], and may leave out toRGB layers (here layer 1)."""
    random = random_mapper(("mapper_0", 12), ("mapper_2", 10))
    read = part(save(tmp_path / "mapper.pt", mapper_checkpoint(random, work_in_stylespace=True)), "mapper")
    assert read.notes["mapper"] == "styles"
    styles = [torch.randn(3, width) for width in (12, 12, 10)]
    with torch.inference_mode():
        offsets = LatentMapper.from_state_dict(tensors(read.state)).offsets(styles)
    same(offsets[0], plain_mapper(random, "mapper_0", styles[0]))
    assert not offsets[1].any()
    same(offsets[2], plain_mapper(random, "mapper_2", styles[2]))


def test_the_official_relevance_file() -> None:
    read = part(GOLDEN / "fs3.npy", "relevance")
    found = arrays("boundary")["fs3"]
    assert read.state["matrix"].dtype == np.float32
    np.testing.assert_allclose(
        read.state["matrix"], found, rtol=1e-3, atol=1e-7
    )  # the file is in half precision


def test_the_official_statistics_file() -> None:
    read, found = part(GOLDEN / "S_mean_std", "statistics").state, arrays("boundary")
    np.testing.assert_array_equal(read["widths"], found["widths"])
    np.testing.assert_array_equal(read["mean"], found["mean"])
    np.testing.assert_array_equal(read["std"], found["std"])


@pytest.mark.parametrize("case", [0, 1])
def test_boundary(case: int) -> None:
    """The official MapTS.GetBoundary: threshold, division by the maximum, standard deviations."""
    found = arrays("boundary")
    widths, rgb = found["widths"].tolist(), found["is_to_rgb"].tolist()
    offsets = np.cumsum([0, *widths])
    channels = [
        flat for i, width in enumerate(widths) if not rgb[i] for flat in range(offsets[i], offsets[i] + width)
    ]
    relevance = Relevance(torch.from_numpy(found["fs3"]), torch.tensor(channels), sum(widths))
    statistics = StyleStatistics(
        torch.from_numpy(found["mean"]), torch.from_numpy(found["std"]), tuple(widths), 100_000, 5, 0.7
    )
    text = torch.from_numpy(found["text_direction"])
    direction = find_direction(relevance, statistics, text, beta=float(found[f"beta_{case}"]))
    assert direction.num_channels == int(found[f"num_channels_{case}"])
    same(direction.delta, found[f"boundary_{case}"])
    styles = torch.from_numpy(found["styles"])
    same(styles + float(found["alpha"]) * direction.delta, found[f"edited_{case}"])


def test_style_space_of_the_published_generators() -> None:
    """Widths and sums of the 1024-pixel FFHQ generator, and of its half-width variant."""
    full = {4 << i: min(512, 32768 // (4 << i)) for i in range(9)}
    space = StyleSpace(full)
    assert space.num_ws == 18
    assert list(space.widths) == [512] * 15 + [256] * 3 + [128] * 3 + [64] * 3 + [32] * 2
    assert space.size == 9088
    assert sum(layer.width for layer in space.editable("conv")) == 6048
    assert sum(layer.width for layer in space.editable("fs3")) == 5376
    assert [layer.index for layer in space.layers if layer.is_rgb] == [1, 4, 7, 10, 13, 16, 19, 22, 25]
    assert [layer.ws_index for layer in space.layers][:6] == [0, 1, 1, 2, 3, 3]
    half = StyleSpace({4 << i: min(512, 16384 // (4 << i)) for i in range(9)})
    assert (half.size, sum(layer.width for layer in half.editable("conv"))) == (7616, 5072)


def test_flat_indices_and_layers_agree() -> None:
    space = StyleSpace({4: 6, 8: 5, 16: 3})
    for flat in range(space.size):
        layer, channel = space.locate(flat)
        assert space.layers[layer.index].offset + channel == flat
    styles = torch.randn(2, space.size)
    assert torch.equal(space.concat(space.split(styles)), styles)
    with pytest.raises(IndexError):
        space.locate(space.size)


@pytest.mark.slow
def test_parity_is_measured_whatever_the_files_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """benchmarks/parity.py knows files by what they hold, and tells of numbers that are wrong."""
    main = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "parity.py"))["main"]
    monkeypatch.setattr(sys, "argv", ["parity.py", str(tmp_path)])
    for number, path in enumerate(sorted(GOLDEN.iterdir())):
        shutil.copy(path, tmp_path / f"{number}{'.npz' if path.suffix == '.npz' else ''}")
    assert main() == 0
    told = capsys.readouterr().out
    for quantity in (
        *("truncation 0.7 -> picture", "mixed W+ -> picture", "picture -> codes", "picture -> embedding"),
        *("similarity", "W+ -> offset", "direction_1", "crop 3", "relevance", "standard deviations"),
    ):
        assert quantity in told
    assert "no numbers fit" not in told
    # The same again, with numbers that are wrong by a hundredth.
    for path in tmp_path.iterdir():
        if path.suffix == ".npz" and "mixed_w_plus" not in np.load(path).files:
            path.unlink()
        elif path.suffix == ".npz":
            with np.load(path) as found:
                off = {name: found[name] + (0.0 if name in ("z", "c") else 0.01) for name in found.files}
            np.savez(path, **off)
    assert main() == 1
    told = capsys.readouterr().out
    assert told.count("TOO FAR") == 10
    assert "no numbers fit" in told
