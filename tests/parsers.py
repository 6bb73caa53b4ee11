"""A pack with a parser of faces, which calls hair whatever is red."""

from __future__ import annotations

import hashlib
from pathlib import Path

import tomli_w
import torch
from torch import Tensor

from styleclip_cli import toml
from styleclip_cli.nets.parser import LAYOUTS, UNet
from styleclip_cli.weights.files import save_weights
from styleclip_cli.weights.packs import find_pack


def red_parser() -> dict[str, Tensor]:
    """Weights of a U-Net that takes for hair what has a red over 0.3, in [-1, 1], else for background."""
    classes = LAYOUTS["U-Net"].classes
    net = UNet(len(classes), (2, 2))
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                torch.nn.init.constant_(layer.bias, -30.0)
    net.stem[0].weight.data[0, 0, 1, 1] = 1
    net.up[0][0].weight.data[0, 0, 1, 1] = 1
    net.head.weight.data[classes.index("hair"), 0] = 100
    net.head.bias.data[classes.index("hair")] = -30
    net.head.bias.data[classes.index("background")] = 0
    return net.state_dict()


def with_parser(pack: str, folder: Path) -> Path:
    """Write a pack that is another one with such a parser.

    Args:
        pack: Its name, or its folder.
        folder: Where to.

    Returns:
        The folder.
    """
    found = find_pack(pack)
    folder.mkdir(parents=True, exist_ok=True)
    for path in found.folder.iterdir():
        (folder / path.name).symlink_to(path) if path.name != found.path.name else None
    save_weights(folder / "parser.safetensors", red_parser(), {}, half=False)
    described = toml.load(found.path)
    sha256 = hashlib.sha256((folder / "parser.safetensors").read_bytes()).hexdigest()
    described["components"]["parser"] = {"file": "parser.safetensors", "sha256": sha256}
    (folder / "pack.toml").write_text(tomli_w.dumps(described))
    return folder
