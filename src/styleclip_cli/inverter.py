"""Images -> latents, by a pack's networks; inversions are cached."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from styleclip_cli import inversion
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.machine import cache
from styleclip_cli.machine.profile import stage
from styleclip_cli.machine.progress import Progress, silent
from styleclip_cli.networks import Networks
from styleclip_cli.settings import InversionSettings, Inverter


class ImageInverter:
    """Finds the latents of images.

    Args:
        networks: Of the pack.
        default: The default settings.
        progress: Reports long steps.
    """

    def __init__(self, networks: Networks, default: InversionSettings, progress: Progress = silent) -> None:
        self.default = default
        self._networks = networks
        self._progress = progress
        self._together: dict[tuple[str, InversionSettings], FaceLatent] = {}

    def settings(
        self,
        inverter: Inverter | None = None,
        steps: int | None = None,
        noise: bool | None = None,
        budget: float | None = None,
    ) -> InversionSettings:
        """The default settings with some replaced; see `Engine.settings_for_inversion`."""
        if inverter is None and steps is not None:
            usual = self.default.inverter
            inverter = "encoder" if steps == 0 else "refine" if usual == "encoder" else usual
        chosen: dict[str, Any] = {"inverter": inverter, "steps": steps, "noise": noise, "budget": budget}
        return replace(self.default, **{name: value for name, value in chosen.items() if value is not None})

    def invert_w_plus(self, images: Tensor, settings: InversionSettings, keep: bool = True) -> Tensor:
        """Find the latents of images.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            settings: Settings of the inversion.
            keep: Use the cache.

        Returns:
            W+ [N, num_ws, w_dim].
        """
        if settings.inverter == "encoder" and not keep:
            return inversion.encode(self._networks.encoder, images, self._networks.generator)
        return torch.cat([self.invert(image, settings, keep).w_plus for image in images.split(1)])

    @stage("invert")
    def invert(
        self,
        image: Tensor,
        settings: InversionSettings | None = None,
        keep: bool = True,
        encoder_input: Tensor | None = None,
        measure: bool = False,
    ) -> FaceLatent:
        """Invert one image: its latent, and what features or the generator's weights gain for it.

        Args:
            image: [1, 3, H, W] in [-1, 1].
            settings: Settings of the inversion; None takes the default.
            keep: Use the cache.
            encoder_input: The same image, resized for the encoder; None: `image`.
            measure: Also measure the error of the encoder's inversion; that of the others is always measured.

        Returns:
            W+ [1, num_ws, w_dim] on the device, with its reconstruction error.
        """
        settings = self.default if settings is None else settings
        if self._together and (shared := self._together.get((inversion.content_hash(image), settings))):
            return shared
        networks = self._networks
        searched = settings.inverter != "encoder"
        identity = networks.identity if (searched or measure) and networks.has_identity else None
        began = time.monotonic()

        def compute() -> tuple[cache.Arrays, cache.Json]:
            with self._progress("inverting") as advance:
                found = inversion.invert(
                    image,
                    image if encoder_input is None else encoder_input,
                    networks.generator,
                    networks.encoder,
                    networks.perceptual if searched else None,
                    identity,
                    settings,
                    advance,
                )
            return found.to_arrays()

        if keep:
            key = {"image": inversion.content_hash(image), **self._key(settings)}
            if encoder_input is not None and encoder_input is not image:
                key["close_up"] = inversion.content_hash(encoder_input)
            arrays, details = cache.cached("inversions", key, inversion.SCHEMA, compute)
        else:
            arrays, details = compute()
        found = FaceLatent.from_arrays(arrays, details)
        found = replace(found, w_plus=found.w_plus.to(networks.device))
        if not measure or found.quality is not None:
            return found
        seconds = time.monotonic() - began
        return inversion.measured(found, image, networks.generator, networks.perceptual, identity, seconds)

    def invert_together(
        self, images: Sequence[Tensor], encoder_inputs: Sequence[Tensor], settings: InversionSettings
    ) -> list[FaceLatent]:
        """Invert several images of one person by pivotal tuning, with one tuned generator for all of them.

        `invert` then gives these for the same images and settings.

        Args:
            images: [1, 3, H, W] in [-1, 1] each.
            encoder_inputs: The same images, resized for the encoder.
            settings: Settings of the inversion.

        Returns:
            One for each image.
        """
        networks = self._networks
        hashes = [inversion.content_hash(image) for image in images]

        def compute() -> tuple[cache.Arrays, cache.Json]:
            with self._progress("inverting") as advance:
                faces = inversion.invert_together(
                    torch.cat(list(images)),
                    torch.cat(list(encoder_inputs)),
                    networks.generator,
                    networks.encoder,
                    networks.perceptual,
                    networks.identity if networks.has_identity else None,
                    settings,
                    advance,
                )
            kept = [face.to_arrays() for face in faces]
            arrays = {**kept[0][0], "w_plus": np.concatenate([each["w_plus"] for each, _ in kept])}
            return arrays, {"quality": [details for _, details in kept]}

        key = {"images": hashes, "together": True, **self._key(settings)}
        arrays, details = cache.cached("inversions", key, inversion.SCHEMA, compute)
        shared = FaceLatent.from_arrays(arrays, {})
        found = [
            replace(shared, w_plus=w_plus.to(networks.device), quality=inversion.Quality(**quality))
            for w_plus, quality in zip(shared.w_plus.split(1), details["quality"], strict=True)
        ]
        self._together |= {(name, settings): face for name, face in zip(hashes, found, strict=True)}
        return found

    def _key(self, settings: InversionSettings) -> dict[str, Any]:
        """What an inversion depends on beside the image: the encoder's answer on nothing but networks."""
        pack = self._networks.pack
        if settings.inverter == "encoder":
            return {"inverter": "encoder", "weights": pack.fingerprint_of("generator", "encoder")}
        judge = "identity" if self._networks.has_identity else "clip"
        key = {**asdict(settings), "weights": pack.fingerprint_of("generator", "encoder", judge)}
        if settings.inverter != "features":  # keys of the others are what they were before there was this one
            key = {name: value for name, value in key.items() if "feature" not in name}
        return key | ({"tuning": inversion.TUNING} if settings.inverter == "pivotal" else {})
