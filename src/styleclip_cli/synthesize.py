"""Styles -> pictures, a few at a time so that memory stays bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from styleclip_cli.nets.stylegan2 import Generator

if TYPE_CHECKING:
    from styleclip_cli.inversion import Inversion


def synthesize(generator: Generator, styles: Tensor, batch: int = 8) -> Tensor:
    """Render flat styles.

    Args:
        generator: The generator the styles belong to.
        styles: [N, size], in StyleSpace order.
        batch: How many to render at once.

    Returns:
        Pictures [N, 3, R, R], float32 on the CPU, nominal range [-1, 1].
    """
    device = next(generator.parameters()).device
    pictures = []
    with torch.inference_mode():
        for chunk in styles.split(batch):
            parts = generator.style_space.split(chunk.to(device))
            pictures.append(generator.synthesize(parts, noise="const").float().cpu())
    return torch.cat(pictures) if pictures else torch.empty(0, 3, 0, 0)


def styles_of_face(generator: Generator, face: Inversion) -> Tensor:
    """Styles of faces [N, size], with what edits in StyleSpace added to them."""
    styles = styles_of(generator, face.w_plus)
    return styles if face.shift is None else styles + face.shift.to(styles)


def styles_of(generator: Generator, w_plus: Tensor) -> Tensor:
    """Turn W+ latents into flat styles by the generator's affine layers.

    Args:
        generator: The generator the latents belong to.
        w_plus: [N, num_ws, w_dim].

    Returns:
        Styles [N, size], float32, on the generator's device.
    """
    device = next(generator.parameters()).device
    with torch.inference_mode():
        return generator.style_space.concat(generator.styles(w_plus.to(device)))
