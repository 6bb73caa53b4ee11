"""Pictures -> W+ latents: the encoder's answer, refined by optimisation when asked.

The refinement is the usual one of the StyleGAN literature (Image2StyleGAN, Abdal et al. 2019; the start
from an encoder and the pull back to it as in e4e, Tov et al. 2021): Adam on W+ alone, against pixels, a
perceptual distance and the distance to the encoder's code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from styleclip_cli.errors import WeightsError
from styleclip_cli.nets.clip import Clip
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.settings import InversionSettings


def encode(encoder: Encoder, images: Tensor, generator: Generator | None = None, batch: int = 8) -> Tensor:
    """Ask the encoder.

    Args:
        encoder: Image -> W+.
        images: [N, 3, H, W] in [-1, 1]; scaled to what the encoder reads.
        generator: Draws what a ReStyle encoder compares the picture with; others do without.
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
            chunk = _resized(chunk.to(device), encoder.input_resolution).clamp(-1.0, 1.0)
            codes.append(encoder(chunk) if encoder.iterations == 1 else _restyle(encoder, chunk, generator))
    return torch.cat(codes)


def _restyle(encoder: Encoder, images: Tensor, generator: Generator | None) -> Tensor:
    """Correct the latent again and again by what its picture lacks (restyle-encoder, inference_utils)."""
    if generator is None:
        raise WeightsError("a ReStyle encoder needs its generator")
    w_plus = encoder.latent_avg.expand(len(images), -1, -1)
    for _ in range(encoder.iterations):
        shown = F.adaptive_avg_pool2d(generator(w_plus), encoder.input_resolution)
        w_plus = w_plus + encoder.codes(torch.cat([images, shown], dim=1))
    return w_plus


def _resized(images: Tensor, side: int) -> Tensor:
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False)


def refine(
    generator: Generator,
    codes: Tensor,
    images: Tensor,
    settings: InversionSettings,
    clip: Clip | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Move W+ codes until the generator shows the pictures.

    The loss is lambda_pixel (L1 + L2) + lambda_clip (1 - cosine of CLIP's image features) +
    lambda_code (squared distance to the start). Step size and distance are in units of how far the codes
    lie from the mean latent, so that one setting suits generators of any scale.

    Args:
        generator: The generator to match.
        codes: Start, W+ [N, num_ws, w_dim].
        images: What to match, [N, 3, H, W] in [-1, 1].
        settings: Steps, step size and weights.
        clip: Judge of perceptual distance; without it that term is left out.
        progress: Called with (done, total) steps.

    Returns:
        W+ [N, num_ws, w_dim] with the lowest loss seen for each picture, on the generator's device.
    """
    device = next(generator.parameters()).device
    side = generator.config.resolution
    # Copies made outside inference mode: autograd refuses tensors that were made inside it.
    start = codes.detach().to(device).clone()
    target = _resized(images.detach().to(device).clone(), side)
    distance = start - generator.w_avg.to(device)
    scale = distance.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp_min(1e-6)
    offset = torch.zeros_like(start, requires_grad=True)  # in units of `scale`
    optimizer = torch.optim.Adam([offset], lr=settings.learning_rate)
    with torch.no_grad():
        features = clip.encode_image(target) if clip is not None and settings.lambda_clip > 0 else None
    best = start.clone()
    lowest = torch.full((len(start),), float("inf"), device=device)
    frozen = [p for p in generator.parameters() if p.requires_grad]
    for parameter in frozen:  # gradients of the weights would cost a third of each step and be thrown away
        parameter.requires_grad_(False)
    try:
        for step in range(settings.steps + 1):
            w_plus = start + offset * scale
            picture = generator(w_plus)
            error = picture - target
            loss = settings.lambda_pixel * (error.abs() + error.square()).mean(dim=(1, 2, 3))
            loss = loss + settings.lambda_code * offset.square().mean(dim=(1, 2))
            if clip is not None and features is not None:
                cosine = (clip.encode_image(picture) * features).sum(dim=1)
                loss = loss + settings.lambda_clip * (1.0 - cosine)
            better = loss.detach() < lowest
            lowest = torch.where(better, loss.detach(), lowest)
            best[better] = w_plus.detach()[better]
            if step == settings.steps:
                break
            optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()
            optimizer.step()
            if progress is not None:
                progress(step + 1, settings.steps)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    return best


def content_hash(image: Tensor) -> str:
    """SHA-256 of a picture's 8-bit pixels and shape, in hex: what its inversion is cached by."""
    pixels = ((image.detach().float().cpu() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
    digest.update(pixels.contiguous().numpy().tobytes())
    return digest.hexdigest()
