"""Parity with the official implementations.

The fixtures hold small random networks in the official layouts and what the official code computes with
them, in float32 on a CPU. Right code reproduces them to rounding: the bar is 1e-5 relative.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from styleclip_cli.edits.directions import apply, find_direction
from styleclip_cli.edits.relevance import Relevance
from styleclip_cli.nets.clip import Clip, tokenize
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import ArcFace
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.nets.stylespace import StyleSpace
from styleclip_cli.statistics import StyleStatistics
from styleclip_cli.weights.readers import rosinality

GOLDEN = Path(__file__).parent / "golden"


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def state(found: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {key[6:]: torch.from_numpy(value) for key, value in found.items() if key.startswith("state/")}


def same(ours: Tensor, theirs: np.ndarray) -> None:
    wanted = torch.from_numpy(np.asarray(theirs, dtype=np.float32))
    assert ours.shape == wanted.shape
    assert float((ours - wanted).abs().max() / wanted.abs().max()) < 1e-5


@pytest.fixture(scope="module")
def generator() -> Generator:
    made = Generator.from_state_dict(rosinality.read(GOLDEN / "rosinality_generator.pt"))
    return made.eval().requires_grad_(False)


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


def test_clip_vit() -> None:
    found = arrays("clip")
    clip = Clip.from_state_dict(state(found))
    prompts = json.loads(str(found["prompts"]))
    assert (tokenize(prompts).numpy() == found["tokens"]).all()
    pixels = torch.from_numpy(found["pixels"]).float()
    with torch.inference_mode():
        image, text = clip.model.encode_image(pixels), clip.model.encode_text(tokenize(prompts))
        same(image, found["image_features"])
        same(text, found["text_features"])
        unit = image / image.norm(dim=1, keepdim=True)
        same(clip.model.logit_scale.exp() * unit @ clip.encode_text(prompts).T, found["logits_per_image"])


def test_arcface() -> None:
    found = arrays("arcface")
    net = ArcFace.from_state_dict(state(found))
    same(net(torch.from_numpy(found["image"]).float()), found["embedding"])


def test_e4e() -> None:
    found = arrays("e4e")
    tensors = state(found) | state(arrays("e4e_body"))
    net = Encoder.from_state_dict(tensors, tensors.pop("latent_avg")).eval()
    with torch.inference_mode():
        same(net.codes(torch.from_numpy(found["image"]).float()), found["codes"])
        same(net(torch.from_numpy(found["image"]).float()), found["w_plus"])


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
    same(apply(styles, direction, float(found["alpha"])), found[f"edited_{case}"])


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
        assert space.flat(layer.index, channel) == flat
    styles = torch.randn(2, space.size)
    assert torch.equal(space.concat(space.split(styles)), styles)
    with pytest.raises(IndexError):
        space.locate(space.size)
