"""The latent mapper: networks trained for one prompt predict the offset of a face's latent.

Paper section 5; official mapper/. The edited latent is w + alpha * strength * M(w); in the official code,
strength is a literal 0.1 and there is no alpha. This module reads and applies trained mappers, ours or
published ones; training is in `training/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from styleclip_cli.errors import WeightsError, one_line, shortened
from styleclip_cli.fingerprints import same
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.nets.mapper import STRENGTH, LatentMapper
from styleclip_cli.settings import MapperNorm
from styleclip_cli.synthesize import styles_of_face
from styleclip_cli.weights.files import save_weights

if TYPE_CHECKING:
    from styleclip_cli.nets.stylegan2 import Generator


@dataclass(frozen=True, eq=False)
class TrainedMapper:
    """A mapper with its metadata.

    Attributes:
        network: Frozen.
        target: The text it was trained for ("" if that is not known).
        neutral: The text that it starts from ("" for none, as officially).
        strength: Factor between the network's output and the offset.
        fingerprint: Hash of the generator it was trained with; "" if that is not known.
        models: Name of that generator's pack.
        notes: Other metadata of its file, by name (steps, losses).
    """

    network: LatentMapper
    target: str
    neutral: str = ""
    strength: float = STRENGTH
    fingerprint: str = ""
    models: str = ""
    notes: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path, half: bool = False) -> None:
        """Write it as .safetensors.

        Args:
            path: File to write.
            half: In half precision.

        Raises:
            OutputError: If it cannot be written.
        """
        notes = {
            **self.notes,
            "part": "mapper",
            "layout": "styleclip mapper",
            "mapper": self.network.kind,
            "norm": self.network.norm,
            "prompt": self.target,
            "neutral": self.neutral,
            "strength": repr(self.strength),
            "generator": self.fingerprint,
            "models": self.models,
        }
        save_weights(path, self.network.tensors(), notes, half)

    @classmethod
    def load(cls, path: Path) -> TrainedMapper:
        """Read a mapper: ours, or a published checkpoint of StyleCLIP's (whose generator is ignored).

        Args:
            path: A file of ours, or a published checkpoint.

        Returns:
            The mapper.

        Raises:
            WeightsError: If the file cannot be read, or holds no mapper.
        """
        from styleclip_cli.weights.readers import read_parts

        part = next((part for part in read_parts(path) if part.name == "mapper"), None)
        if part is None:
            raise WeightsError(f"{path}: holds no mapper", "a file written by styleclip train-mapper")
        notes = {name: shortened(one_line(text, 2000), 500) for name, text in part.notes.items() if text}
        norm = notes.pop("norm", "layers")
        try:
            strength = float(notes.pop("strength", STRENGTH))
        except ValueError:
            strength = float("nan")
        if norm not in get_args(MapperNorm) or not abs(strength) < 1e6:
            raise WeightsError(f"{path}: not a usable mapper (its notes make no sense)", "train it again")
        state = {name: torch.from_numpy(array.copy()) for name, array in part.state.items()}
        network = LatentMapper.from_state_dict(state, norm)  # type: ignore[arg-type]
        return cls(
            network.requires_grad_(False),
            notes.pop("prompt", ""),
            notes.pop("neutral", ""),
            strength,
            notes.pop("generator", ""),
            notes.pop("models", ""),
            notes,
        )

    def for_generator(self, generator: Generator, fingerprint: str, where: object) -> MapperEdit:
        """The edit by this mapper on a generator.

        Args:
            generator: Whose latents it maps.
            fingerprint: Hash of its weights.
            where: The file it was read from, for messages.

        Returns:
            The edit.

        Raises:
            WeightsError: If it was trained with another one.
        """
        device = next(generator.parameters()).device
        fits = self.network.fits(generator.style_space, generator.config.w_dim)
        if not fits or (self.fingerprint and not same(self.fingerprint, fingerprint)):
            theirs = f" ({self.models})" if self.models else ""
            raise WeightsError(
                f"{where}: trained with another generator{theirs}", "the --models it was trained with"
            )
        self.network.to(device)
        return MapperEdit(self, generator)


@dataclass(frozen=True, eq=False)
class MapperEdit:
    """A trained mapper on a generator."""

    trained: TrainedMapper
    generator: Generator

    @property
    def target(self) -> str:
        """The text it was trained for; a placeholder if it is not known."""
        return self.trained.target or "mapper"

    @property
    def neutral(self) -> str:
        """The text that it starts from."""
        return self.trained.neutral

    def offset(self, face: FaceLatent) -> Tensor:
        """The offset at alpha = 1.

        Args:
            face: One face, or several joined.

        Returns:
            Of W+ [N, num_ws, w_dim], or of the styles [N, size].
        """
        mapper, space = self.trained.network, self.generator.style_space
        device = next(self.generator.parameters()).device
        w_plus = face.w_plus.to(device)
        with torch.no_grad():
            if mapper.kind != "styles":
                return self.trained.strength * mapper(w_plus)
            styles = styles_of_face(self.generator, face)
            return self.trained.strength * space.concat(mapper.offsets(space.split(styles)))

    def edited(self, face: FaceLatent, alphas: Sequence[float]) -> list[FaceLatent]:
        """Edit faces, with one forward pass for all strengths.

        Args:
            face: One face, or several joined.
            alphas: Strengths.

        Returns:
            The face at each strength.
        """
        offset = self.offset(face)
        which = "style_offset" if self.trained.network.kind == "styles" else "w_plus"
        return [face.moved(**{which: alpha * offset}) for alpha in alphas]

    def entries(self) -> dict[str, Any]:
        """Its entries in a recipe."""
        return {"layers": ",".join(self.trained.network.levels)}

    def summary(self) -> str:
        """What it maps."""
        network = self.trained.network
        return "style mapper" if network.kind == "styles" else f"mapper of {', '.join(network.levels)}"
