"""Tiny random networks of the real architectures, as state dicts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from styleclip_cli.nets.clip import VOCABULARY, clip_model_class
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import ArcFace, stages
from styleclip_cli.nets.stylegan2 import Generator, GeneratorConfig

CHANNELS = {4: 12, 8: 12, 16: 10, 32: 8}


def generator_state() -> dict[str, Tensor]:
    generator = Generator(GeneratorConfig(z_dim=16, w_dim=16, mapping_layers=2, channels=CHANNELS))
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.1)
    return generator.state_dict()


def clip_state() -> dict[str, Tensor]:
    model = clip_model_class()(
        embed_dim=24,
        image_resolution=32,
        vision_layers=1,
        vision_width=64,
        vision_patch_size=16,
        context_length=77,
        vocab_size=VOCABULARY,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=1,
    )
    return model.state_dict()


def encoder_state() -> dict[str, Tensor]:
    return Encoder(stages((4, 6, 8, 12), (1, 1, 1, 1), reduction=2), 8, 16, 32).eval().state_dict()


def arcface_state() -> dict[str, Tensor]:
    return ArcFace(stages((4, 6, 8, 12), (1, 1, 1, 1), reduction=2), 16, 112).eval().state_dict()


def layer(shape: tuple, up: bool, dtype: torch.dtype, noise: bool = True) -> dict[str, Any]:
    """What a styled convolution takes: pictures, inputs, outputs, height, width, largest result."""
    n, inputs, outputs, height, width, clamp = shape
    random = torch.Generator().manual_seed(inputs * outputs)
    side = 2 if up else 1

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    return {
        "x": normal(n, inputs, height, width),
        "weight": normal(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5,
        "styles": 1 + 0.3 * normal(n, inputs),
        "demodulation": 1 + 0.1 * normal(n, outputs),
        "bias": normal(outputs),
        "noise": normal(side * height, side * width) if noise else None,
        "up": up,
        "clamp": clamp,
    }
