"""The encoder's answer: images -> W+ in one pass (or several, for ReStyle)."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

from styleclip_cli.errors import WeightsError
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.stylegan2 import Generator


def encode(encoder: Encoder, images: Tensor, generator: Generator | None = None, batch: int = 8) -> Tensor:
    """Ask the encoder.

    Args:
        encoder: Image -> W+.
        images: [N, 3, H, W] in [-1, 1]; scaled to what the encoder reads.
        generator: Draws what a ReStyle encoder compares the image with; others do without.
        batch: How many at once.

    Returns:
        W+ [N, num_ws, w_dim], float32, on the encoder's device.

    Raises:
        WeightsError: If the encoder is a ReStyle one and no generator is given.
    """
    device = next(encoder.parameters()).device
    codes = []
    with torch.inference_mode():
        for chunk in images.split(batch):
            chunk = resized(chunk.to(device), encoder.input_resolution)
            codes.append(encoder(chunk) if encoder.iterations == 1 else _restyle(encoder, chunk, generator))
    return torch.cat(codes)


def _restyle(encoder: Encoder, images: Tensor, generator: Generator | None) -> Tensor:
    """Correct the latent again and again by what its image lacks (restyle-encoder, inference_utils)."""
    if generator is None:
        raise WeightsError("a ReStyle encoder needs its generator")
    w_plus = encoder.latent_avg.expand(len(images), -1, -1)  # [N, num_ws, w_dim]
    for _ in range(encoder.iterations):
        shown = F.adaptive_avg_pool2d(generator(w_plus), encoder.input_resolution)
        w_plus = w_plus + encoder.codes(torch.cat([images, shown], dim=1))  # of [N, 6, R, R]
    return w_plus


def resized(images: Tensor, side: int) -> Tensor:
    """Scale images, antialiased.

    Args:
        images: [N, 3, H, W] in [-1, 1].
        side: In pixels.

    Returns:
        [N, 3, side, side] in [-1, 1].
    """
    if images.shape[-2:] != (side, side):
        images = F.interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False)
    return images.clamp(-1.0, 1.0)  # bicubic interpolation overshoots; Pillow cuts that off


def content_hash(image: Tensor) -> str:
    """SHA-256 of an image's 8-bit pixels and shape: what its inversion is cached by.

    Args:
        image: [N, 3, H, W] in [-1, 1].

    Returns:
        In hex.
    """
    pixels = ((image.detach().float().cpu() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
    digest.update(pixels.contiguous().numpy().tobytes())
    return digest.hexdigest()
