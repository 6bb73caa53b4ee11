"""LPIPS, where the package `lpips` and the weights of its network are installed; nothing is downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.errors import one_line

_VGG = "vgg16-397923af.pth"
"""torchvision's name for its VGG-16; the end of the name is the beginning of its SHA-256."""
SIDE = 256
"""Side at which images are compared, as papers on inversion do, in pixels."""
_BATCH = 8


def backbone() -> Path:
    """Where torchvision keeps the VGG-16 that LPIPS compares."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _VGG


def load(device: torch.device) -> tuple[Lpips | None, str]:
    """Load LPIPS, if everything for it is on this machine.

    Args:
        device: Where it is to run.

    Returns:
        The distance, or None; and why there is none, in a few words.
    """
    path = backbone()
    if importlib.util.find_spec("lpips") is None:
        return None, "the package lpips is not installed (extra metrics)"
    if not path.is_file():
        return None, f"{path} is missing"
    with path.open("rb") as file:
        if not hashlib.file_digest(file, "sha256").hexdigest().startswith(path.stem.split("-")[1]):
            return None, f"{path} is another file"
    try:
        network = untrained()
    except (ImportError, RuntimeError) as error:  # a torchvision for another torch
        return None, f"the package lpips cannot be used ({one_line(error, 80)})"
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, parameter in network.net.named_parameters():  # slice1.0.weight is features.0.weight
        parameter.data.copy_(state[f"features.{name.partition('.')[2]}"])
    return Lpips(network, device), ""


class Lpips:
    """LPIPS 0.1 with VGG-16 (Zhang et al. 2018), by the package of its authors.

    Args:
        network: An `lpips.LPIPS`.
        device: Where it runs.
    """

    def __init__(self, network: Any, device: torch.device) -> None:
        self._network, self._device = network.to(device).eval().requires_grad_(False), device

    @torch.inference_mode()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances of images, averaged to `SIDE` if they are larger.

        Args:
            a: [N, 3, H, W] in [0, 1].
            b: [N, 3, H, W] in [0, 1].

        Returns:
            [N], 0 for the same, on the CPU.
        """
        found = []
        for some, others in zip(a.split(_BATCH), b.split(_BATCH), strict=True):
            one, other = (small(x.to(self._device)) * 2 - 1 for x in (some, others))
            found.append(self._network(one, other).flatten().cpu())
        return torch.cat(found)


def small(images: Tensor) -> Tensor:
    """Images at the size at which papers on inversion compare them.

    Args:
        images: [N, C, H, W].

    Returns:
        [N, C, 256, 256], or as they are if they are no larger.
    """
    if images.shape[-1] <= SIDE:
        return images
    size = (SIDE, SIDE)
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def untrained() -> Any:
    """The package's network with its trained weights of channels, on a random VGG-16."""
    import lpips

    with warnings.catch_warnings():  # of the package's use of torchvision
        warnings.simplefilter("ignore")
        return lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
