"""Parsers of faces: the layouts that are read, against what their own code gives, and one vocabulary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from checkpoints import arrays, by_formula, save
from styleclip_cli.errors import WeightsError
from styleclip_cli.nets.parser import LAYOUTS, Parser, UNet
from styleclip_cli.settings import PART_WORDS, PARTS
from styleclip_cli.weights.readers import read_parts
from styleclip_cli.world.parsing import CLASSES


def published(name: str) -> dict[str, Tensor]:
    """The state dict of facexlib's network, by the formula that `golden/parsers.py` used."""
    known = arrays("parsers")
    shapes = [tuple(map(int, filter(None, text.split(",")))) for text in known[f"{name}_shapes"].tolist()]
    names = known[f"{name}_names"].tolist()
    return by_formula({key: torch.empty(shape) for key, shape in zip(names, shapes, strict=True)})


def read(path: Path, state: dict[str, Tensor]) -> Parser:
    (part,) = read_parts(save(path, state))
    assert part.name == "parser"
    return Parser.from_state_dict({key: torch.from_numpy(np.array(a)) for key, a in part.state.items()})


@pytest.mark.parametrize("name", ["bisenet", "parsenet"])
def test_what_facexlib_computes(name: str, tmp_path: Path) -> None:
    parser = read(tmp_path / "parser.pth", published(name))
    images = by_formula({"images": torch.empty(2, 3, 64, 64)})["images"]
    with torch.no_grad():
        ours = parser.network(images)[:, :, ::8, ::8]
    theirs = torch.from_numpy(arrays("parsers")[name])
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-4
    kept = parser.network.state_dict()
    assert not any(key.startswith(("conv_out16", "conv_out32", "out_img_conv")) for key in kept)


class Fixed(nn.Module):
    """Gives one class everywhere, and keeps what it was shown."""

    def __init__(self, classes: int, which: int) -> None:
        super().__init__()
        self.logits = torch.full((classes,), -20.0)
        self.logits[which] = 20.0

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return self.logits.view(1, -1, 1, 1).expand(len(images), -1, *images.shape[2:])


@pytest.mark.parametrize("kind", LAYOUTS)
def test_all_speak_of_the_same_parts(kind: str) -> None:
    layout = LAYOUTS[kind]
    for number, part in enumerate(layout.classes):
        parser = Parser(Fixed(len(layout.classes), number), layout._replace(side=8))
        found = parser(torch.zeros(1, 3, 16, 16))
        assert found.shape == (1, len(PARTS), 8, 8)
        assert float(found[:, PARTS.index(part)].min()) > 0.999
        assert torch.allclose(found.sum(dim=1), torch.ones(1, 8, 8))
    assert set(parser.parts) == set(layout.classes)


def test_pictures_are_normalised_as_each_was_trained() -> None:
    grey = torch.full((1, 3, 4, 4), 2 * 0.485 - 1)
    for kind, wanted in (("BiSeNet", 0.0), ("ParseNet", (0.485 - 0.5) / 0.5)):
        network = Fixed(19, 0)
        Parser(network, LAYOUTS[kind]._replace(side=4))(grey)
        assert float(network.seen[0, 0, 0, 0]) == pytest.approx(wanted, abs=1e-6)


def test_classes_are_those_of_celebamask() -> None:
    # face-parsing.PyTorch's README, and facexlib's inference_parsing_parsenet.py.
    order = (
        "background skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r nose mouth u_lip l_lip neck neck_l"
    )
    assert len(LAYOUTS["BiSeNet"].classes) == len([*order.split(), "cloth", "hair", "hat"]) == 19
    assert LAYOUTS["BiSeNet"].classes[6] == LAYOUTS["ParseNet"].classes[3] == "glasses"
    assert LAYOUTS["BiSeNet"].classes[17] == LAYOUTS["ParseNet"].classes[13] == "hair"
    assert sorted(LAYOUTS["BiSeNet"].classes) == sorted(LAYOUTS["ParseNet"].classes)


def test_the_drawn_worlds_classes() -> None:
    same = {"lips": "mouth"}
    assert LAYOUTS["U-Net"].classes == tuple(same.get(name, name) for name in CLASSES)


def test_words_that_people_use() -> None:
    assert set(PARTS) == {part for parts in PART_WORDS.values() for part in parts}
    assert "mouth" in PART_WORDS["face"]
    assert "hair" not in PART_WORDS["face"]


def test_a_small_network_is_read_off_its_tensors() -> None:
    net = UNet(13, (4, 6, 8)).eval()
    images = torch.rand(5, 3, 32, 32) * 2 - 1
    parser = Parser.from_state_dict(net.state_dict())
    found = parser(images)
    assert found.shape == (5, len(PARTS), 128, 128)
    assert not found[:, PARTS.index("earrings")].any()
    assert "earrings" not in parser.parts
    assert torch.allclose(found[3:4], parser(images[3:4]), atol=1e-6)


def test_other_weights_are_refused() -> None:
    state = UNet(7, (4, 6, 8)).state_dict()
    with pytest.raises(WeightsError, match="of 13 classes, but of 7"):
        Parser.from_state_dict(state)
    with pytest.raises(WeightsError, match="no known layout"):
        Parser.from_state_dict({"conv.weight": torch.zeros(1)})
    whole = UNet(13, (4, 6, 8)).state_dict()
    del whole["up.0.0.weight"]
    with pytest.raises(WeightsError, match="no known layout"):
        Parser.from_state_dict(whole)
    with pytest.raises(WeightsError, match=r"down\.0\.more\.0\.weight is missing"):
        Parser.from_state_dict(
            {k: v for k, v in UNet(13, (4, 6, 8)).state_dict().items() if k != "down.0.more.0.weight"}
        )
