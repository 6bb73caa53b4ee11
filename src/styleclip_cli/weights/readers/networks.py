"""The other networks of StyleCLIP and its surroundings: names are kept, what is not theirs is left out.

Layouts: encoder4editing, pixel2style2pixel and restyle-encoder (`encoder.*`, `decoder.*`, `latent_avg`,
`opts`); TreB1eN's InsightFace (model_ir_se50.pth); OpenAI's CLIP; StyleCLIP's mapper/styleclip_mapper.py;
face-alignment's FAN and S3FD.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from styleclip_cli.weights.readers import rosinality
from styleclip_cli.weights.readers.archives import fields, tensors
from styleclip_cli.weights.readers.inert import Damaged, Refused, printable
from styleclip_cli.weights.readers.parts import Part, PartName, State, count_of, single, take, within

# TorchScript archives of CLIP hold these beside the tensors.
_CLIP_SETTINGS = ("input_resolution", "context_length", "vocab_size")
# Networks whose state dict is the whole file: part, layout, tensors that tell it from others.
_FLAT: tuple[tuple[PartName, str, tuple[str, ...]], ...] = (
    (
        "identity",
        "ArcFace identity network (IR-SE)",
        ("input_layer.0.weight", "body.0.res_layer.1.weight", "output_layer.3.weight"),
    ),
    (
        "landmarks",
        "landmark network (face-alignment's FAN)",
        ("conv1.weight", "m0.b1_4.conv1.weight", "conv_last0.weight", "l0.weight"),
    ),
    (
        "detector",
        "face detector (S3FD)",
        ("conv1_1.weight", "conv3_3_norm.weight", "fc7.weight", "conv3_3_norm_mbox_conf.weight"),
    ),
)


def from_flat(state: Mapping[str, np.ndarray]) -> Part | None:
    """A network whose state dict is the whole file; None if it is not one of these."""
    if "text_projection" in state and not {"visual.proj", "visual.attnpool.positional_embedding"}.isdisjoint(
        state
    ):
        return clip(state)
    for name, layout, keys in _FLAT:
        if all(key in state for key in keys):
            return Part(name, layout, _finite_types(state))
    # A mapper without its generator, as other programs keep it.
    if all(re.fullmatch(r"(course|medium|fine)_mapping\.mapping\.\d\.(weight|bias)", name) for name in state):
        return _mapper(dict(state), {})
    return None


def clip(state: Mapping[str, np.ndarray]) -> Part:
    """OpenAI's CLIP, ViT or ResNet; half precision is kept where the file has it."""
    kept = {name: array for name, array in state.items() if name not in _CLIP_SETTINGS}
    kind = "ViT" if "visual.proj" in state else "ResNet"
    take(kept, "token_embedding.weight", 2)
    return Part("clip", f"CLIP ({kind})", _finite_types(kept))


def from_training(value: Any) -> list[Part]:
    """The networks in a checkpoint with `state_dict` and `opts`: an encoder or a mapper, and a generator."""
    checkpoint = fields(value)
    state, options = tensors(checkpoint.get("state_dict")), fields(checkpoint.get("opts"))
    parts: list[Part] = []
    average = _latent_avg(checkpoint.get("latent_avg"), state)
    if any(name.startswith("encoder.") for name in state):
        parts.append(_encoder(within(state, "encoder."), average, options))
    if any(name.startswith("mapper.") for name in state):
        parts.append(_mapper(within(state, "mapper."), options))
    decoder = within(state, "decoder.")
    if rosinality.recognise(decoder):
        parts.append(rosinality.convert(decoder, average))
    return parts


def _latent_avg(found: Any, state: State) -> np.ndarray | None:
    array = tensors({"latent_avg": found}).get("latent_avg", state.get("latent_avg"))
    if array is not None and (array.ndim not in (1, 2) or not array.size):
        raise Damaged(f"latent_avg is {list(array.shape)}")
    return array


def _encoder(state: State, average: np.ndarray | None, options: Mapping[str, Any]) -> Part:
    """An encoder; e4e's, pSp's and ReStyle's have the same names and differ in what is done with them.

    Their options say which it is: in e4e the codes after the first are offsets from it; in pSp each stands
    alone; ReStyle's read the picture and the last reconstruction (six channels) and are applied again and
    again.
    """
    named = options.get("encoder_type")
    kind = named if isinstance(named, str) else "Encoder4Editing"
    channels = take(state, "input_layer.0.weight", 4).shape[1]
    pyramid = "latlayer1.weight" in state
    known = {
        "Encoder4Editing": ("e4e", True),
        "GradualStyleEncoder": ("pSp", False),
        "ProgressiveBackboneEncoder": ("ReStyle-e4e", True),
        "BackboneEncoder": ("ReStyle-pSp", False),
        "ResNetProgressiveBackboneEncoder": ("", True),
        "ResNetBackboneEncoder": ("", False),
    }
    name, offsets = known.get(kind, ("", False))
    if not name:
        raise Refused(f"its encoder is a {printable(kind, 60)}, which is not supported")
    if pyramid == name.startswith("ReStyle") or channels != (6 if name.startswith("ReStyle") else 3):
        raise Refused(f"its encoder reads {channels} channels, which does not fit a {name}")
    if not count_of(state, r"styles\.(\d+)\.linear\.weight"):
        raise Damaged("the encoder has no styles")
    out = _finite_types(state)
    if average is not None:
        # e4e and pSp networks may be trained without it, although the file holds it.
        unused = channels == 3 and options.get("start_from_latent_avg") is False
        out["latent_avg"] = np.zeros(average.shape, np.float32) if unused else single(average)
    notes = {"encoder": name, "offsets": str(int(offsets)), "iterations": "5" if channels == 6 else "1"}
    dataset = options.get("dataset_type")
    if isinstance(dataset, str) and dataset.startswith("cars"):
        notes["rows"] = "32:224"  # e4e and ReStyle see cars without the bars above and below
    return Part("encoder", f"{name} encoder", out, notes)


def _mapper(state: State, options: Mapping[str, Any]) -> Part:
    """A StyleCLIP mapper: which levels it has is read off its tensors, nothing needs to be repeated."""
    if any(name.startswith("mapper_") for name in state):
        kind = "styles"
    elif any(name.startswith("mapping.") for name in state):
        kind = "single"
    elif any(name.startswith(("course_mapping.", "medium_mapping.", "fine_mapping.")) for name in state):
        kind = "levels"
    else:
        raise Refused("its mapper is of a kind that StyleCLIP does not write")
    notes = {"mapper": kind}
    description = options.get("description")
    if isinstance(description, str):
        notes["prompt"] = printable(description, 200)
    return Part("mapper", "StyleCLIP mapper", _finite_types(state), notes)


def _finite_types(state: Mapping[str, np.ndarray]) -> State:
    """The same arrays in types that all our readers know: double precision becomes single."""
    return {
        name: single(array) if array.dtype == np.float64 else np.asarray(array)
        for name, array in state.items()
    }
