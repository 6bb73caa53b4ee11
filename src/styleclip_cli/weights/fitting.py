"""Whether parts were made for each other, by the shapes of their tensors; found when a pack is made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from styleclip_cli.weights.readers import Part


class Misfit(NamedTuple):
    """A part that was made for another one than the pack's.

    Attributes:
        part: Which.
        problem: What does not fit.
        hint: What to do.
    """

    part: str
    problem: str
    hint: str


def misfits(parts: Mapping[str, Part], clip_width: int) -> list[Misfit]:
    """Compare the parts of a pack.

    Args:
        parts: A generator, and what goes with it.
        clip_width: Length of the vectors of the pack's CLIP, if it is not among the parts.

    Raises:
        WeightsError: If one is not what its file says.
    """
    from styleclip_cli.nets.building import weights_of

    with weights_of("a pack's parts"):
        return list(_misfits(parts, clip_width))


def _misfits(parts: Mapping[str, Part], clip_width: int) -> Iterator[Misfit]:
    from styleclip_cli.nets.stylespace import StyleSpace

    state = parts["generator"].state
    blocks = {name: re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", name) for name in state}
    space = StyleSpace({int(match[1]): state[name].shape[0] for name, match in blocks.items() if match})
    w_dim = state["synthesis.b4.conv1.affine.weight"].shape[1]
    side = space.layers[-1].resolution
    if state["w_avg"].shape != (w_dim,):
        yield Misfit("generator", f"its mean latent has {state['w_avg'].size} numbers, its w {w_dim}", "")
    if "encoder" in parts:
        encoder = parts["encoder"].state
        gives = len({name.split(".")[1] for name in encoder if name.startswith("styles.")})
        widths = {
            encoder["styles.0.linear.weight"].shape[0],
            encoder.get("latent_avg", state["w_avg"]).shape[-1],
        }
        if gives != space.num_ws or widths != {w_dim}:
            yield Misfit(
                "encoder",
                f"its encoder gives {gives} vectors of {' and '.join(map(str, sorted(widths)))} numbers, the "
                f"generator ({side} pixels) takes {space.num_ws} of {w_dim}",
                "an encoder that was trained for this generator, or none",
            )
    if "clip" in parts:
        clip_width = parts["clip"].state["text_projection"].shape[1]
    if "relevance" in parts:
        rows, width = parts["relevance"].state["matrix"].shape
        fitting = [sum(layer.width for layer in space.editable(choice)) for choice in ("fs3", "conv")]
        if rows not in fitting or width != clip_width:
            wanted = " or ".join(map(str, sorted(set(fitting))))
            yield Misfit(
                "relevance",
                f"its relevance has {rows} rows of {width} numbers; this generator and CLIP need {wanted} of "
                f"{clip_width}",
                "leave it out, and it is measured when it is needed",
            )
    if "statistics" in parts:
        widths_of = parts["statistics"].state["widths"].tolist()
        if widths_of != list(space.widths):
            yield Misfit(
                "statistics",
                f"its statistics are of {sum(widths_of)} channels in {len(widths_of)} layers, the generator "
                f"has {space.size} in {len(space.widths)}",
                "leave them out, and they are measured when they are needed",
            )
