"""Faces -> images, by one generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from styleclip_cli.inversion import FaceLatent, FeatureResidual, tuned
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.settings import Precision
from styleclip_cli.synthesize import styles_of, styles_of_face, synthesize, synthesize_confined


class Renderer:
    """Renders faces. Threads may share a renderer; they take turns.

    Args:
        generator: The generator.
        precision: Precision of rendering; styles are computed in float32.

    Raises:
        ValueError: If there is no such precision.
    """

    def __init__(self, generator: Generator, precision: Precision = "fp32") -> None:
        self.generator = generator
        self._renders = generator.with_precision(precision)

    def styles(self, w_plus: Tensor) -> Tensor:
        """The affine layers: W+ to styles.

        Args:
            w_plus: [N, num_ws, w_dim].

        Returns:
            [N, size], on the generator's device.
        """
        return styles_of(self.generator, w_plus)

    def synthesize(
        self,
        styles: Tensor,
        weight_deltas: Mapping[str, Tensor] | None = None,
        residual: FeatureResidual | None = None,
    ) -> Tensor:
        """Render styles.

        Args:
            styles: [N, size].
            weight_deltas: Temporarily added to the generator's weights (`FaceLatent.weight_deltas`).
            residual: What features gain (`FaceLatent.residual`).

        Returns:
            [N, 3, R, R], float32 on the CPU, nominally in [-1, 1].
        """
        with tuned(self.generator, weight_deltas or {}):
            return synthesize(self._renders, styles, residual=residual)

    def render(self, faces: Sequence[FaceLatent]) -> Tensor:
        """Render faces, in one batch unless one of them stands alone.

        Args:
            faces: At least one; each may be several (`FaceLatent.joined`).

        Returns:
            [N, 3, R, R], float32 on the CPU, nominally in [-1, 1].
        """
        if any(face.alone for face in faces):
            return torch.cat([
                self.synthesize(styles_of_face(self.generator, face), face.weight_deltas, face.residual)
                for face in faces
            ])  # fmt: skip
        return self.synthesize(styles_of_face(self.generator, FaceLatent.joined(faces)))

    def confined(self, before: Sequence[FaceLatent], after: Sequence[FaceLatent], masks: Tensor) -> Tensor:
        """Render edited faces within masks, coherent with the unedited ones around them.

        Args:
            before: Single faces.
            after: The same faces after an edit.
            masks: One for each, [N, 1, R, R] in [0, 1].

        Returns:
            [N, 3, R, R], as of `render`; where a mask is 0, the unedited faces.
        """
        images = []
        for old, new, mask in zip(before, after, masks.split(1), strict=True):
            with tuned(self.generator, old.weight_deltas):
                around, within = (styles_of_face(self.generator, face) for face in (old, new))
                images.append(synthesize_confined(self._renders, around, within, mask, old.residual))
        return torch.cat(images)
