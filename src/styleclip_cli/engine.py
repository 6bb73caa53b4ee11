"""The engine: every stage of an edit, on one set of networks. What the commands do, Python can do here.

Example:
    >>> from styleclip_cli import Engine
    >>> engine = Engine("toy")
    >>> w_plus = engine.sample([7])
    >>> direction = engine.direction("with glasses")
    >>> pictures = engine.edit(w_plus, direction, [2.0, 4.0])  # [1, 2, 3, 128, 128] in [-1, 1]
    >>> result = engine.edit_photo("examples/face.png", direction, 4.0)
    >>> result.image.size
    (256, 256)
    >>> engine.choose(w_plus, "with glasses").alpha > 0  # as strong as it pays
    True
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from styleclip_cli import inversion
from styleclip_cli.editing import Editing
from styleclip_cli.edits.auto import Choice, candidates, choose
from styleclip_cli.edits.edit import Edit
from styleclip_cli.inversion import Inversion, files
from styleclip_cli.machine import cache
from styleclip_cli.machine.device import choose_device
from styleclip_cli.machine.profile import stage
from styleclip_cli.machine.progress import Progress, silent
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.settings import (
    DEFAULT_COMPOSITE,
    KEEP_IDENTITY,
    CompositeMode,
    InversionSettings,
    Inverter,
    LayerChoice,
    Precision,
    RelevanceMode,
)
from styleclip_cli.synthesize import styles_of, styles_of_face, synthesize
from styleclip_cli.weights.packs import find_pack, usual_name

if TYPE_CHECKING:
    from styleclip_cli.job.result import EditResult
    from styleclip_cli.job.run import Run


class Engine(Editing):
    """One model pack on one device. Networks are loaded, and measurements made, when first needed.

    Args:
        models: Name of a model pack, or a folder with one; None takes the person's usual one.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: Seed of the measurements; None takes the one the pack was measured with.
        layers: Which style layers edits may move: "fs3", "conv" or "all"; None takes the pack's choice.
        progress: Reports long steps.
        relevance: How it is found what style channels do: "exact", "preview" or "gradient"; None takes what
            the pack ships, else what has been measured exactly, else an estimate from derivatives.
        precision: What pictures are rendered in; all else is float32.

    Raises:
        WeightsError: If there is no such pack, or none is named and none is usual.
        DeviceError: If the machine has no such device.
    """

    def __init__(
        self,
        models: str | Path | None = None,
        device: str = "auto",
        seed: int | None = None,
        layers: LayerChoice | None = None,
        progress: Progress = silent,
        relevance: RelevanceMode | None = None,
        precision: Precision = "fp32",
    ) -> None:
        pack = find_pack(str(models) if models is not None else usual_name())
        super().__init__(pack, choose_device(device), seed, layers, progress, relevance)
        self.precision = precision

    def sample(self, seeds: Sequence[int], truncation_psi: float | None = None) -> Tensor:
        """Generate faces; each depends on its own seed alone, not on the others or on the device.

        Args:
            seeds: One per face; z comes from numpy's RandomState(seed), as is the custom for StyleGAN.
            truncation_psi: w = w_avg + psi (w - w_avg); None: as the statistics are measured.

        Returns:
            W+ [N, num_ws, w_dim].
        """
        psi = self.statistics_settings.truncation_psi if truncation_psi is None else truncation_psi
        size = self.generator.config.z_dim
        z = np.concatenate([np.random.RandomState(seed).randn(1, size) for seed in seeds]).astype(np.float32)
        with torch.inference_mode():
            return self.generator.w_plus(torch.from_numpy(z).to(self.device), truncation_psi=psi)

    def average(self) -> Tensor:
        """The mean latent, W+ [1, num_ws, w_dim]: a face like many."""
        return self.generator.w_avg.expand(1, self.generator.style_space.num_ws, -1).clone()

    def inversion(
        self,
        inverter: Inverter | None = None,
        steps: int | None = None,
        noise: bool | None = None,
        budget: float | None = None,
    ) -> InversionSettings:
        """The pack's settings of inversion with a person's choices laid over them.

        Args:
            inverter: Which rung of the ladder; None: the pack's, or "refine" if there are steps.
            steps: Steps of moving W+; 0 keeps the encoder's answer.
            noise: Whether the noise is moved too.
            budget: Seconds for each picture.
        """
        if inverter is None and steps is not None:
            usual = self.inversion_settings.inverter
            inverter = "encoder" if steps == 0 else "refine" if usual == "encoder" else usual
        chosen: dict[str, Any] = {"inverter": inverter, "steps": steps, "noise": noise, "budget": budget}
        return replace(
            self.inversion_settings, **{name: value for name, value in chosen.items() if value is not None}
        )

    def invert(
        self, images: Tensor, steps: int | None = None, keep: bool = True, inverter: Inverter | None = None
    ) -> Tensor:
        """Find the latents of pictures; what was found once is kept in the cache.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            steps: Refinement steps after the encoder's answer; None takes the pack's default.
            keep: Use the cache.
            inverter: How; None takes the pack's. "pivotal" gives the pivots: `find` tells the rest.

        Returns:
            W+ [N, num_ws, w_dim].
        """
        settings = self.inversion(inverter, steps)
        if settings.inverter == "encoder" and not keep:
            return inversion.encode(self.encoder, images, self.generator)
        return torch.cat([self.find(image, settings, keep).w_plus for image in images.split(1)])

    @stage("invert")
    def find(
        self,
        image: Tensor,
        settings: InversionSettings | None = None,
        keep: bool = True,
        close_up: Tensor | None = None,
        measure: bool = False,
    ) -> Inversion:
        """Find the latent of one picture, and what the generator gains for it.

        Args:
            image: [1, 3, H, W] in [-1, 1].
            settings: How; None takes the pack's.
            keep: Use the cache.
            close_up: The same picture as the encoder is to see it; None: `image`.
            measure: Also say how close the encoder's answer comes; of the others it is always said.

        Returns:
            W+ [1, num_ws, w_dim] on the device, with how close it comes.
        """
        settings = self.inversion_settings if settings is None else settings
        searched = settings.inverter != "encoder"
        judge = self.identity if (searched or measure) and self.has_identity else None
        began = time.monotonic()

        def compute() -> tuple[cache.Arrays, cache.Json]:
            with self.progress("inverting") as advance:
                found = inversion.find(
                    image,
                    image if close_up is None else close_up,
                    self.generator,
                    self.encoder,
                    self.perceptual if searched else None,
                    judge,
                    settings,
                    advance,
                )
            return found.to_arrays()

        if keep:
            key = {"image": inversion.content_hash(image), **self._inversion_key(settings)}
            if close_up is not None and close_up is not image:
                key["close_up"] = inversion.content_hash(close_up)
            arrays, details = cache.cached("inversions", key, inversion.SCHEMA, compute)
        else:
            arrays, details = compute()
        found = Inversion.from_arrays(arrays, details)
        found = replace(found, w_plus=found.w_plus.to(self.device))
        if not measure or found.quality is not None:
            return found
        seconds = time.monotonic() - began
        return inversion.measured(found, image, self.generator, self.perceptual, judge, seconds)

    def _inversion_key(self, settings: InversionSettings) -> dict[str, Any]:
        """What an inversion depends on beside the picture: the encoder's answer on nothing but networks."""
        if settings.inverter == "encoder":
            return {"inverter": "encoder", "weights": self.pack.fingerprint_of("generator", "encoder")}
        judge = "identity" if self.has_identity else "clip"
        key = {**asdict(settings), "weights": self.pack.fingerprint_of("generator", "encoder", judge)}
        return key | ({"tuning": inversion.TUNING} if settings.inverter == "pivotal" else {})

    def styles(self, w_plus: Tensor) -> Tensor:
        """Turn W+ [N, num_ws, w_dim] into styles [N, size]."""
        return styles_of(self.generator, w_plus)

    def synthesize(self, styles: Tensor, tuned: Mapping[str, Tensor] | None = None) -> Tensor:
        """Render styles [N, size] to pictures [N, 3, R, R] in nominally [-1, 1], on the CPU.

        Args:
            styles: [N, size].
            tuned: What the generator gains for the picture that the styles come from (`Inversion.tuned`).
        """
        with inversion.tuned(self.generator, tuned or {}):
            return synthesize(self._renderer, styles)

    @cached_property
    def _renderer(self) -> Generator:
        return self.generator.with_precision(self.precision)

    def show(self, face: Inversion) -> Tensor:
        """Render faces to pictures [N, 3, R, R] in nominally [-1, 1], on the CPU."""
        return self.synthesize(styles_of_face(self.generator, face), face.tuned)

    def show_each(self, faces: Sequence[Inversion]) -> Tensor:
        """Render one or more faces, together unless one has a generator of its own; as `show` does."""
        if any(face.tuned for face in faces):
            return torch.cat([self.show(face) for face in faces])
        return self.show(Inversion.joined(faces))

    def edit(self, face: Inversion | Tensor, edit: Edit, alphas: Sequence[float]) -> Tensor:
        """Edit faces, by each of some strengths, and render them.

        Args:
            face: What was found for a face; or W+ [N, num_ws, w_dim].
            edit: A direction, or another method's edit.
            alphas: Strengths.

        Returns:
            Pictures [N, len(alphas), 3, R, R] in nominally [-1, 1], on the CPU.
        """
        start = face if isinstance(face, Inversion) else Inversion(face)
        pictures = self.show_each(edit.edited(start, alphas))
        return pictures.unflatten(0, (len(alphas), -1)).transpose(0, 1)

    def edit_photo(
        self,
        photo: Image.Image | np.ndarray | str | Path,
        edit: Edit,
        alpha: float,
        *,
        which: str | int = "largest",
        align: bool = True,
        inverter: Inverter | None = None,
        mode: CompositeMode = DEFAULT_COMPOSITE,
    ) -> EditResult:
        """Edit faces of a photo, and put them back where they were: what `styleclip edit` does.

        Args:
            photo: A file; a picture of Pillow's, with its orientation, colour profile and transparency; or
                bytes [H, W, 3].
            edit: A direction, or another method's edit; several are an `edits.chain.Chain`.
            alpha: Strength.
            which: Which face: "largest", "all", or a number from left to right.
            align: Look for faces; else the middle square is taken.
            inverter: How latents are found; None takes the pack's.
            mode: How the edit is put back; see `paste_back.paste`.

        Returns:
            The picture (`image`), its recipe, the edited latents; `save` writes all that belongs to it.

        Raises:
            BadInputError: If the photo cannot be read, or there is no such face.
        """
        results = self.edit_many([photo], edit, alpha, which=which, align=align, inverter=inverter, mode=mode)
        (result,) = results
        if result.error is not None:
            raise result.error
        return result

    def edit_many(
        self,
        photos: Sequence[Image.Image | np.ndarray | str | Path],
        edit: Edit,
        alpha: float,
        *,
        which: str | int = "largest",
        align: bool = True,
        inverter: Inverter | None = None,
        mode: CompositeMode = DEFAULT_COMPOSITE,
    ) -> Run:
        """Edit faces of photos as `edit_photo` does: the next ones are read while some are computed.

        Args:
            photos: As in `edit_photo`.
            edit: As in `edit_photo`.
            alpha: As in `edit_photo`.
            which: As in `edit_photo`.
            align: As in `edit_photo`.
            inverter: As in `edit_photo`.
            mode: As in `edit_photo`.

        Returns:
            A result for each photo, in order, made while they are asked for; its length is known. A photo
            that cannot be edited says why in its result's `error`.
        """
        from styleclip_cli.job.edits import GivenEdit, request_of
        from styleclip_cli.job.plan import Plan
        from styleclip_cli.job.run import run

        request = replace(
            request_of(edit, alpha), face=str(which), align=align, inverter=inverter, composite=mode
        )
        return run(Plan.of_pictures(request, photos), self, edits=GivenEdit(edit, alpha))

    def choose(
        self,
        face: Inversion | Tensor,
        prompt: str,
        neutral: str = "face",
        keep_identity: float = KEEP_IDENTITY,
        *,
        literal: bool = False,
    ) -> Choice:
        """Choose strength and threshold for one face: what `styleclip edit --auto` does.

        Args:
            face: What was found for a face; or its W+ [1, num_ws, w_dim].
            prompt: What the face should become, or only what changes.
            neutral: What it is now.
            keep_identity: Least cosine of the face embeddings before and after.
            literal: Take the prompt as it stands.

        Raises:
            UsageError: As `direction`.
        """
        start = face if isinstance(face, Inversion) else Inversion(face)
        edits = [self.direction(prompt, neutral, channels=n, literal=literal) for n in candidates(self)]
        return choose(self, [start], edits, self.default_alpha, keep_identity)[0]

    def save_latents(self, path: Path, w_plus: Tensor, sources: Sequence[str]) -> None:
        """Write W+ latents [N, num_ws, w_dim] with where they come from, one source per face.

        Raises:
            OutputError: If the file cannot be written.
        """
        self.save_inversions(path, [Inversion(w_plus)], sources)

    def save_inversions(self, path: Path, found: Sequence[Inversion], sources: Sequence[str]) -> None:
        """Write latents, with what belongs to each, and where they come from.

        Raises:
            OutputError: If the file cannot be written.
        """
        files.save(path, found, sources, self)

    def load_latents(self, path: Path) -> Tensor:
        """Read W+ latents [N, num_ws, w_dim] and make sure that they are this generator's.

        Raises:
            BadInputError: If the file cannot be used, or belongs to another generator.
        """
        return torch.cat([found.w_plus for found in self.load_inversions(path)])

    def load_inversions(self, path: Path) -> list[Inversion]:
        """Read latents and what belongs to each, and make sure that they are this generator's.

        Raises:
            BadInputError: If the file cannot be used, or belongs to another generator.
        """
        return files.load(path, self)
