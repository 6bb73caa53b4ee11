"""Directions that were not found from a text: in W or W+, from a generator's weights, of chosen channels.

Styles are affine in W+ (s = B w + c), so a step d in W+ is the constant step B d of the styles, whatever the
face: each of them is a `Direction` like those of texts, and can be chained with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from styleclip_cli.edits.channels import Channel
from styleclip_cli.edits.directions import Direction
from styleclip_cli.errors import BadInputError, UsageError, shortened

if TYPE_CHECKING:
    from styleclip_cli.nets.stylegan2 import Generator
    from styleclip_cli.nets.stylespace import StyleSpace
    from styleclip_cli.weights.readers.directions import Vectors

_ALPHA_OF_W = 3.0  # InterFaceGAN's edit.py and SeFa's sefa.py go as far from the boundary, both ways
_ALPHA_OF_CHANNELS = 5.0  # the steps of StyleSpace's manipulate.py


def of_channels(
    channels: Sequence[Channel], space: StyleSpace, std: Tensor, fingerprint: str = "", target: str = ""
) -> Direction:
    """The direction that moves some channels, each by its standard deviation times its weight.

    Wu et al. 2021; the unit is that of the official manipulate.py.

    Args:
        channels: Which.
        space: The layers.
        std: [size], the standard deviation of each channel.
        fingerprint: Hash of the generator, kept with it.
        target: What to call it.

    Raises:
        UsageError: If the generator has no such channel, or nothing would move.
    """
    delta = torch.zeros(space.size, dtype=torch.float64)
    for layer, channel, weight in channels:
        if layer >= len(space.layers) or not 0 <= channel < space.layers[layer].width or layer < 0:
            layers = f"layers 0 to {len(space.layers) - 1}"
            known = (
                f"; layer {layer} has {space.widths[layer]} channels"
                if 0 <= layer < len(space.layers)
                else ""
            )
            raise UsageError(f"no style channel {layer}_{channel}", f"this generator has {layers}{known}")
        at = space.layers[layer].offset + channel
        delta[at] += weight * float(std[at])
    named = ", ".join(f"{layer}_{channel}" for layer, channel, _ in channels)
    source = f"StyleSpace channel{'s' if len(channels) > 1 else ''} {shortened(named, 200)}"
    unit = "standard deviations of each channel"
    return _direction(delta, space, target or named, source, unit, _ALPHA_OF_CHANNELS, fingerprint)


def of_vectors(
    vectors: Vectors,
    generator: Generator,
    where: Path,
    component: int | None = None,
    layers: Sequence[int] | None = None,
    fingerprint: str = "",
    target: str = "",
) -> Direction:
    """The direction of a boundary (Shen et al. 2020), or of a component (Härkönen et al. 2020).

    Args:
        vectors: What the file holds.
        generator: Whose W they are in.
        where: The file, for messages.
        component: Which component, from 0; None for boundaries.
        layers: Numbers of the W+ vectors that are moved; None for all.
        fingerprint: Hash of the generator, kept with it.
        target: What to call it; empty for the name of the file.

    Returns:
        Alpha is the distance in W for boundaries of unit length; for components, it counts standard
        deviations.

    Raises:
        BadInputError: If they are for another width, or another number of layers.
        UsageError: If there is no such component, or nothing would move.
    """
    count, rows, width = vectors.values.shape
    num_ws, w_dim = generator.style_space.num_ws, generator.config.w_dim
    if width != w_dim or rows not in (1, num_ws):
        takes = f"this generator takes 1x{w_dim} or {num_ws}x{w_dim}"
        raise BadInputError(
            f"{where}: vectors of {rows}x{width}, but {takes}", "the --models it was made for"
        )
    if vectors.stds is None:
        if component is not None:
            raise UsageError(f"{where}: a boundary has no components", "leave out --component")
        step = torch.from_numpy(vectors.values[0].copy()).double()
        norms = step.norm(dim=1)
        unit = "distance in W" if bool(((norms - 1).abs() < 1e-3).all()) else "its own vector"
        source = f"boundary {where.name}"
    else:
        if component is None or not 0 <= component < count:
            wrong = "which component?" if component is None else f"no component {component}"
            raise UsageError(f"{where}: {wrong}", f"find-direction --from FILE --component 0 to {count - 1}")
        step = torch.from_numpy(vectors.values[component] * vectors.stds[component]).double()
        unit, source = (
            "standard deviations of the component",
            f"GANSpace component {component} of {where.name}",
        )
    source += _said(layers)
    delta = styles_of_step(generator, step, layers)
    name = target or (where.stem if component is None else f"{where.stem} {component}")
    return _direction(delta, generator.style_space, name, source, unit, _ALPHA_OF_W, fingerprint)


def styles_of_step(generator: Generator, step: Tensor, layers: Sequence[int] | None = None) -> Tensor:
    """What a step in W+ adds to the styles of any face.

    Args:
        generator: Its affine layers.
        step: [1, w_dim] for all layers, or [num_ws, w_dim].
        layers: Numbers of the W+ vectors that are moved; None for all.

    Returns:
        [size], float64, on the CPU.
    """
    space = generator.style_space
    moved = torch.zeros(space.num_ws, generator.config.w_dim, dtype=torch.float64)
    rows = list(range(space.num_ws) if layers is None else layers)
    moved[rows] = step.double().expand(space.num_ws, -1)[rows]
    parts = [
        affine.weight.detach().cpu().double() @ moved[layer.ws_index]
        for affine, layer in zip(generator.affines, space.layers, strict=True)
    ]
    return torch.cat(parts)


def sefa(
    generator: Generator,
    component: int,
    layers: Sequence[int] | None = None,
    fingerprint: str = "",
    target: str = "",
) -> Direction:
    """A direction that closed-form factorization finds in the weights (Shen & Zhou 2021).

    Args:
        generator: Whose.
        component: Which eigenvector, from 0, the one of the largest eigenvalue first.
        layers: Numbers of the W+ vectors whose layers are factorized, and which are moved; None for all.
        fingerprint: Hash of the generator, kept with it.
        target: What to call it.

    Returns:
        Alpha is the distance in W.

    Raises:
        UsageError: If there is no such component.
    """
    width = generator.config.w_dim
    if not 0 <= component < width:
        raise UsageError(f"no component {component}", f"--sefa 0 to {width - 1}")
    step = sefa_components(generator, layers)[component][None]
    source = f"SeFa component {component}{_said(layers)}"
    delta = styles_of_step(generator, step, layers)
    name = target or f"sefa {component}"
    return _direction(delta, generator.style_space, name, source, "distance in W", _ALPHA_OF_W, fingerprint)


def sefa_components(generator: Generator, layers: Sequence[int] | None = None) -> Tensor:
    """The eigenvectors of A^T A, by falling eigenvalue, for the affine layers A of some W+ vectors.

    Of the layers that share a W+ vector, the convolution counts; toRGB only where there is no other. Each
    row of A is divided by its length (official utils.py, factorize_weight; not in the paper's formula).

    Args:
        generator: Whose.
        layers: Numbers of the W+ vectors; None for all.

    Returns:
        [w_dim, w_dim], float64: one unit vector per row. The sign, which is arbitrary, makes the entry of
        the largest absolute value positive.
    """
    space = generator.style_space
    chosen: dict[int, Tensor] = {}
    for affine, layer in zip(generator.affines, space.layers, strict=True):
        if (layers is None or layer.ws_index in layers) and (
            not layer.is_rgb or layer.ws_index == space.num_ws - 1
        ):
            chosen[layer.ws_index] = affine.weight.detach().cpu().double()
    rows = torch.nn.functional.normalize(torch.cat(list(chosen.values())), dim=1)  # [channels, w_dim]
    vectors = torch.linalg.eigh(rows.T @ rows).eigenvectors.T.flip(0)  # eigenvalues rise
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return vectors * largest.sign()


def _said(layers: Sequence[int] | None) -> str:
    """Which W+ layers, in words."""
    if layers is None:
        return ""
    parts: list[list[int]] = []
    for layer in layers:
        if parts and layer == parts[-1][-1] + 1:
            parts[-1].append(layer)
        else:
            parts.append([layer])
    named = ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)
    return f", W+ layer{'s' if len(layers) > 1 else ''} {named}"


def _direction(
    delta: Tensor, space: StyleSpace, target: str, source: str, unit: str, alpha: float, fingerprint: str
) -> Direction:
    """A direction of a step of the styles, [size].

    Raises:
        UsageError: If it moves nothing.
    """
    length = float(delta.norm())
    if not 0 < length < float("inf"):
        raise UsageError(f"{source}: moves nothing", "other layers, channels or weights")
    return Direction(
        delta=delta.float(),
        relevance=(delta / length).float(),
        beta=0.0,
        num_channels=int((delta != 0).sum()),
        target=target,
        neutral="",
        widths=space.widths,
        fingerprint=fingerprint,
        source=source,
        unit=unit,
        alpha=alpha,
    )
