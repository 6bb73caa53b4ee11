"""What files hold that cannot be used here, told by names: a whole file of another kind is no damaged one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np

from styleclip_cli.weights.readers.archives import fields
from styleclip_cli.weights.readers.inert import Record

_ONLY = "only StyleGAN2 generators can be edited"
_GENERATOR = "NVlabs' .pkl or rosinality's .pt of the same generator is read"
_CLIP = "OpenAI's ViT-B-32.pt is read, or another state dict of that layout, such as open_clip's"
# By the name of a class, or of tensors: what it is, and what to do.
_CLASSES = (
    (r"Fastgan.*", "a FastGAN (of projected-gan)", _ONLY),
    (r"SuperresGenerator", "a StyleGAN-XL", _ONLY),
    (r".*Discriminator.*", "a discriminator", _GENERATOR),
)
_TENSORS = (
    (
        r"synthesis\.input\.(freqs|phases|weight|affine\..*)|synthesis\.L\d+_\d+_\d+\..*",
        "a StyleGAN3 (or StyleGAN-XL)",
        _ONLY,
    ),
    (r"(synthesis\.)?init\.init\.\d.*|(synthesis\.)?feat_\d+\.\d+\..*", "a FastGAN", _ONLY),
    (
        r"model\.diffusion_model\..*|(unet\.)?(down|up)_blocks\.\d+\..*|(.*\.)?time_embed(ding)?\..*",
        "a diffusion model (Stable Diffusion or the like)",
        _ONLY,
    ),
    (r"lora_(unet|te\d?)_.*|.*\.lora_(up|down|A|B)\..*", "a LoRA of a diffusion model", _ONLY),
    (
        r"(first_stage_model\.|vae\.)?(encoder|decoder)\.(conv_in|mid)\..*",
        "an autoencoder of a diffusion model",
        _ONLY,
    ),
    (
        r"g_(synthesis|mapping)\..*|(generator\.)?progression\.\d+\..*|(.*\.)?style_mod\..*",
        "a StyleGAN of the first generation",
        _ONLY,
    ),
    (r"scaleLayers\..*|formatLayer\..*|toRGBLayers\..*", "a progressive GAN (ProGAN)", _ONLY),
    (
        r"(blocks\.\d+\.\d+|generator\.layers\.\d+)\.(bn_?\d|conv_?\d)\..*|gen_z\.weight|shared\.weight",
        "a BigGAN",
        _ONLY,
    ),
    (
        r"(stylegan_decoder\.)?style_convs\.\d+\.modulated_conv\..*",
        "a StyleGAN2 in BasicSR's layout (as in GFPGAN)",
        _GENERATOR,
    ),
    (r"(generator(_ema)?\.)?style_mapping\..*", "a StyleGAN2 in OpenMMLab's layout", _GENERATOR),
    (r"hypernet\..*", "a HyperStyle network", "an e4e, pSp or ReStyle encoder is read"),
    (r"pretrained_encoder\..*", "a SAM (ages of faces)", "an e4e, pSp or ReStyle encoder is read"),
    (r"(vision_model|text_model)\..*", "a CLIP in Hugging Face's layout", _CLIP),
    (
        r"visual\.trunk\..*|text\.transformer\..*|(visual\.|text_)?(eva|siglip).*",
        "a CLIP of another kind",
        _CLIP,
    ),
    (r"(.*\.)?modulation_module_list\..*", "a HairCLIP mapper", "StyleCLIP's mappers are read"),
    (r"final_conv\.0\.weight|final_linear\.\d\.weight|b4\.mbstd\..*", "a discriminator", _GENERATOR),
    (r"lin\d\.model\.1\.weight", "the perceptual distance LPIPS", "nothing here needs it"),
    (
        r"(repeat_\d|block8|mixed_\d\w)\..*|layer\d\.\d+\.bn\d\..*|last_linear\.weight",
        "an identity network of another kind",
        "ArcFace IR-SE is read: model_ir_se50.pth",
    ),
)
_MAX_NAMES = 5000


def described(value: Any, states: Mapping[str, Mapping[str, np.ndarray]]) -> tuple[str, str] | None:
    """What a file holds that no reader knows, in words, and what to do; None if that is unknown too.

    Args:
        value: Its content.
        states: The state dicts in it.
    """
    named = fields(value)
    records = [entry for entry in (value, *named.values()) if isinstance(entry, Record)]
    records += [
        entry
        for record in records
        for entry in fields(fields(record).get("_modules")).values()
        if isinstance(entry, Record)
    ]
    for record in records[:100]:
        for pattern, what, hint in _CLASSES:
            if re.fullmatch(pattern, record.name[:200].rpartition(".")[2]):
                return what, hint
    left = _MAX_NAMES
    for state in states.values():
        names = [name.removeprefix("module.")[:200] for name in islice(state, left)]
        left -= len(names)
        for pattern, what, hint in _TENSORS:
            if any(re.fullmatch(pattern, name) for name in names):
                return what, hint
    if {"state", "param_groups"} <= named.keys():
        return (
            "the state of an optimizer, without the network that it trained",
            "the checkpoint of the network is needed",
        )
    return None
