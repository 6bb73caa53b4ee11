"""Tiny random networks of the real architectures, as state dicts."""

from __future__ import annotations

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
