"""Styles -> images, a few at a time so that memory stays bounded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from styleclip_cli.machine.memory import is_out_of_memory
from styleclip_cli.machine.profile import stage
from styleclip_cli.nets.graphs import render
from styleclip_cli.nets.stylegan2 import Generator

if TYPE_CHECKING:
    from styleclip_cli.inversion import FaceLatent, FeatureResidual


# Pixels rendered at once. On a CPU more do not pay, they only need memory; GPUs are filled by more.
_PIXELS = {"cpu": 2**21, "cuda": 2**24}
_MOST = 64
_log = logging.getLogger(__name__)
# What has turned out to fit, for generators whose usual number did not.
_fitting: WeakKeyDictionary[Generator, int] = WeakKeyDictionary()


def fitting(resolution: int, device: torch.device) -> int:
    """How many images to render at once.

    Args:
        resolution: Their side in pixels.
        device: Where they are rendered.

    Returns:
        At least 1.
    """
    return max(1, min(_MOST, _PIXELS.get(device.type, _PIXELS["cpu"]) // resolution**2))


def synthesize(
    generator: Generator,
    styles: Tensor,
    batch: int | None = None,
    residual: FeatureResidual | None = None,
) -> Tensor:
    """Render flat styles, fewer at once if memory runs out.

    Args:
        generator: The generator the styles belong to.
        styles: [N, size], in StyleSpace order.
        batch: How many to render at once; None for what suits the device.
        residual: What features gain (`FaceLatent.residual`).

    Returns:
        Images [N, 3, R, R], float32 on the CPU, nominal range [-1, 1].
    """

    def draw(chunk: Tensor) -> Tensor:
        if residual is None:
            return render(generator, chunk)
        return residual.synthesize(generator, generator.style_space.split(chunk))

    return _in_pieces(generator, draw, [styles], batch)


def synthesize_confined(
    generator: Generator,
    before: Tensor,
    after: Tensor,
    masks: Tensor,
    residual: FeatureResidual | None = None,
) -> Tensor:
    """Render flat styles within masks, coherent with others around them.

    Args:
        generator: The generator the styles belong to.
        before: Styles around the masks, [N, size].
        after: Styles within them, [N, size].
        masks: [N, 1, R, R] in [0, 1].
        residual: As in `synthesize`.

    Returns:
        Images [N, 3, R, R] as of `synthesize`; where a mask is 0, those of `before`.
    """
    change = None if residual is None else (residual.layer, partial(residual.added, generator))
    return _in_pieces(generator, partial(generator.confined, change=change), [before, after, masks])


def _in_pieces(
    generator: Generator,
    draw: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    batch: int | None = None,
) -> Tensor:
    """Draw a few images at once, and fewer if memory runs out.

    Args:
        generator: Draws.
        draw: Takes rows of all inputs.
        inputs: Of as many rows as images are wanted.
        batch: How many to draw at once; None for what suits the device.
    """
    device = next(generator.parameters()).device
    count = batch or _fitting.get(generator) or fitting(generator.config.resolution, device)
    total = len(inputs[0])
    images: list[Tensor] = []
    done = 0
    with torch.inference_mode(), stage("synthesize"):
        while done < total:
            try:
                chunks = [each[done : done + count].to(device) for each in inputs]
                images.append(draw(*chunks).float().cpu())
                done += len(chunks[0])
                continue
            except Exception as error:
                tried = min(count, total - done)
                if tried == 1 or not is_out_of_memory(error):
                    raise
            # Only here is what the failed attempt held on to let go.
            if device.type == "cuda":
                torch.cuda.empty_cache()
            count = tried // 2
            _fitting[generator] = count
            _log.warning("memory is short: rendering %d at once from here on", count)
    return torch.cat(images) if images else torch.empty(0, 3, 0, 0)


def styles_of_face(generator: Generator, face: FaceLatent) -> Tensor:
    """Styles of faces, with what edits in StyleSpace added to them.

    Args:
        generator: The generator that the faces belong to.
        face: One face, or several joined.

    Returns:
        [N, size].
    """
    styles = styles_of(generator, face.w_plus)
    return styles if face.style_offset is None else styles + face.style_offset.to(styles)


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
