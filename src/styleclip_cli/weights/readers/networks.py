"""The other networks of StyleCLIP and its surroundings: names are kept, what is not theirs is left out.

Layouts: encoder4editing, pixel2style2pixel and restyle-encoder (`encoder.*`, `decoder.*`, `latent_avg`,
`opts`); TreB1eN's InsightFace (model_ir_se50.pth); OpenAI's CLIP; StyleCLIP's mapper/styleclip_mapper.py;
face-alignment's FAN and S3FD; facexlib's parsers of faces, BiSeNet (face-parsing.PyTorch) and ParseNet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from styleclip_cli.weights.readers import nvlabs, rosinality
from styleclip_cli.weights.readers.archives import fields, tensors
from styleclip_cli.weights.readers.inert import Damaged, Refused, printable
from styleclip_cli.weights.readers.parts import (
    Part,
    PartName,
    State,
    count_of,
    prefix_of,
    single,
    take,
    within,
)

# TorchScript archives of CLIP hold these beside the tensors.
_CLIP_SETTINGS = ("input_resolution", "context_length", "vocab_size")
_UNDECIDED = "taken for quickgelu, OpenAI's; the file does not say, and LAION's have gelu: --clip-activation"
_ENCODER = re.compile(r"(input_layer|body|styles|latlayer\d)\.")
_MAPPER_PARTS = r"((course|medium|fine)_mapping|mapping|mapper_\d{1,3})\.mapping\."
_MAPPER_MARK = re.compile(rf"(.*\.)?{_MAPPER_PARTS}1\.weight", re.DOTALL)
# Networks of one form: part, layout, tensors that tell them from others.
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
    (
        "parser",
        "face parser (BiSeNet)",
        ("cp.resnet.conv1.weight", "ffm.convblk.conv.weight", "conv_out.conv_out.weight"),
    ),
    (
        "parser",
        "face parser (ParseNet)",
        ("encoder.0.conv2d.weight", "body.0.conv1.conv2d.weight", "out_mask_conv.conv2d.weight"),
    ),
)
# Of parsers: heads that only helped training, and a picture that nobody asked for.
_UNUSED = re.compile(r"conv_out(16|32)\.|out_img_conv\.")


def parts_of(
    state: Mapping[str, np.ndarray],
    checkpoint: Mapping[str, Any],
    class_index: int = 0,
    known: Container[str] = (),
) -> list[tuple[str, Part]]:
    """The networks whose tensors are in a state dict, each with what stands before their names.

    Args:
        state: Tensors by name.
        checkpoint: What lies beside the state dict: `opts`, `latent_avg`.
        class_index: As in `read_parts`.
        known: Parts that are not looked for.

    Raises:
        Damaged: If tensors are missing.
        Refused: If it is a network of another kind.
    """
    options = fields(checkpoint.get("opts"))
    average = _latent_avg(checkpoint.get("latent_avg"), state)
    found: list[tuple[str, Part]] = []

    def add(name: PartName, prefix: str | None, convert: Callable[[State], Part]) -> bool:
        if prefix is not None and name not in known:
            found.append((prefix, convert(within(state, prefix))))
        return prefix is not None

    encoder = prefix_of(state, "styles.0.linear.weight", "input_layer.0.weight")
    if encoder is None and "opts" in checkpoint and any(name.startswith("encoder.") for name in state):
        encoder = "encoder."
    add("encoder", encoder, lambda inside: _encoder(inside, average, options))
    mapper = min((m[1] or "" for name in state if (m := _MAPPER_MARK.fullmatch(name))), key=len, default=None)
    if mapper is None and any(name.startswith("mapper.") for name in state):
        mapper = "mapper."
    add("mapper", mapper, lambda inside: _mapper(inside, options))
    add(
        "generator", prefix_of(state, *rosinality.MARKS), lambda inside: rosinality.convert(inside, average)
    ) or add(
        "generator", prefix_of(state, *nvlabs.MARKS), lambda inside: nvlabs.convert_flat(inside, class_index)
    )
    for tower in ("visual.proj", "visual.attnpool.positional_embedding"):
        add("clip", prefix_of(state, "text_projection", tower), lambda inside: clip(inside, _UNDECIDED))
    for name, layout, keys in _FLAT:
        add(name, prefix_of(state, *keys), lambda inside: _flat(name, layout, inside))  # noqa: B023
    return found


def _flat(name: PartName, layout: str, state: State) -> Part:
    """A network whose names and tensors are kept."""
    if name == "parser":
        state = {key: array for key, array in state.items() if not _UNUSED.match(key)}
    return Part(name, layout, _finite_types(state))


def clip(state: Mapping[str, np.ndarray], activation: str = "quickgelu") -> Part:
    """OpenAI's CLIP, ViT or ResNet; half precision is kept where the file has it.

    Args:
        state: Its tensors.
        activation: What is known of its activation.
    """
    kept = {name: array for name, array in state.items() if name not in _CLIP_SETTINGS}
    kind = "ViT" if "visual.proj" in state else "ResNet"
    take(kept, "token_embedding.weight", 2)
    return Part("clip", f"CLIP ({kind})", _finite_types(kept), {"activation": activation})


def with_gelu(part: Part) -> Part:
    """A CLIP that was trained with GELU; a tensor says so, so that its weights are others."""
    state = {**part.state, "gelu": np.ones((), np.float32)}
    return replace(part, state=state, notes={**part.notes, "activation": "gelu"})


def _latent_avg(found: Any, state: Mapping[str, np.ndarray]) -> np.ndarray | None:
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
    if "styles.0.linear.weight" in state:  # other networks may be beside it
        state = {name: state[name] for name in state if _ENCODER.match(name)}
    named = options.get("encoder_type")
    channels = take(state, "input_layer.0.weight", 4).shape[1]
    pyramid = "latlayer1.weight" in state
    if channels not in (3, 6):
        raise Refused(f"its encoder reads {channels} channels (sketches, label maps, ages), not photos")
    kind = "Encoder4Editing" if pyramid else "ProgressiveBackboneEncoder"
    kind = named if isinstance(named, str) else kind
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
        raise Refused(
            f"its encoder is a {printable(kind, 60)}, which is not supported",
            "encoders of e4e (Encoder4Editing), pSp (GradualStyleEncoder) and ReStyle are",
        )
    if pyramid == name.startswith("ReStyle") or channels != (6 if name.startswith("ReStyle") else 3):
        raise Refused(f"its encoder reads {channels} channels, which does not fit a {name}")
    count = count_of(state, r"styles\.(\d+)\.linear\.weight")
    if not count:
        raise Damaged("the encoder has no styles")
    out = _finite_types(state)
    if average is not None:
        if average.ndim == 2 and len(average) != count:
            # One mean w, repeated as often as the largest generator would need it.
            if not (average == average[:1]).all():
                raise Refused(f"its latent_avg has {len(average)} rows, its encoder gives {count} vectors")
            average = average[0]
        # e4e and pSp networks may be trained without it, although the file holds it.
        unused = channels == 3 and options.get("start_from_latent_avg") is False
        out["latent_avg"] = np.zeros(average.shape, np.float32) if unused else single(average)
    notes = {"encoder": name, "offsets": str(int(offsets)), "iterations": "5" if channels == 6 else "1"}
    if not options:
        notes["assumed"] = f"that it is {name}'s: the file does not say, and pSp's have the same tensors"
    if "latent_avg" not in out:
        notes["mean latent"] = "the generator's, as the file has none"
    dataset = options.get("dataset_type")
    if isinstance(dataset, str) and dataset.startswith("cars"):
        notes["rows"] = "32:224"  # e4e and ReStyle see cars without the bars above and below
    return Part("encoder", f"{name} encoder", out, notes)


def _mapper(state: State, options: Mapping[str, Any]) -> Part:
    """A StyleCLIP mapper: which levels it has is read off its tensors, nothing needs to be repeated."""
    if any("modulation_module_list." in name for name in state):
        raise Refused(
            "it is a HairCLIP mapper, which reads a text or a picture beside the latent",
            "StyleCLIP's mappers are read; or train one: styleclip train-mapper --prompt ...",
        )
    own = {name: state[name] for name in state if re.match(_MAPPER_PARTS, name)}
    state = own or state  # other networks may be beside it
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
