"""The networks of a model pack on one device, each loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property, wraps
from threading import RLock
from typing import Any, TypeVar, cast

import torch

from styleclip_cli.errors import UsageError, WeightsError
from styleclip_cli.inversion import Perceptual
from styleclip_cli.landmarks.load import landmarker_of
from styleclip_cli.machine.profile import stage
from styleclip_cli.nets.clip import Clip
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import ArcFace
from styleclip_cli.nets.parser import Parser
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.photo.align import OF_FACES, Landmarker
from styleclip_cli.settings import PART_WORDS
from styleclip_cli.weights.files import load_weights
from styleclip_cli.weights.packs import Pack, readable

N = TypeVar("N")


def _loaded(load: Callable[[Networks], N]) -> Callable[[Networks], N]:
    """Load once, whichever thread asks first, and outside inference mode: autograd refuses its tensors."""

    @wraps(load)
    def loaded(self: Networks) -> N:
        with self._lock:
            if load.__name__ not in self._kept:
                with torch.inference_mode(False), stage("load weights"):
                    self._kept[load.__name__] = load(self)
            return cast("N", self._kept[load.__name__])

    return loaded


class Networks:
    """A pack's networks.

    Args:
        pack: Where they are.
        device: Where they run.
    """

    def __init__(self, pack: Pack, device: torch.device) -> None:
        self.pack = pack
        self.device = device
        self._kept: dict[str, Any] = {}
        self._lock = RLock()  # reentrant, as the encoder asks for the generator

    @property
    @_loaded
    def generator(self) -> Generator:
        """The generator: W+ or styles -> images."""
        state, _ = load_weights(self.pack.component("generator"))
        generator = Generator.from_state_dict(state)
        return generator.eval().requires_grad_(False).to(self.device)

    @property
    @_loaded
    def clip(self) -> Clip:
        """CLIP: images and texts -> one space."""
        state, _ = load_weights(self.pack.component("clip"))
        return Clip.from_state_dict(state).to(self.device)

    @property
    @_loaded
    def judge_clip(self) -> Clip:
        """Another CLIP, which judges edits and makes none."""
        state, _ = load_weights(self.pack.component("judge_clip"))
        return Clip.from_state_dict(state).to(self.device)

    @property
    @_loaded
    def encoder(self) -> Encoder:
        """The encoder: images -> W+."""
        state, notes = load_weights(self.pack.component("encoder"))
        average = state.pop("latent_avg", None)
        if average is None:
            average = self.generator.w_avg.detach().cpu()
        encoder = Encoder.from_state_dict(state, average, notes)
        wanted = (self.generator.style_space.num_ws, self.generator.config.w_dim)
        if tuple(encoder.latent_avg.shape) != wanted:
            raise WeightsError(
                f"the encoder gives W+ of {tuple(encoder.latent_avg.shape)}, the generator takes {wanted}",
                "use an encoder that was trained for this generator",
            )
        return encoder.eval().requires_grad_(False).to(self.device)

    @property
    @_loaded
    def identity(self) -> ArcFace:
        """The identity network: images -> who it is."""
        state, _ = load_weights(self.pack.component("identity"))
        return ArcFace.from_state_dict(state).to(self.device)

    @property
    @_loaded
    def second_identity(self) -> ArcFace:
        """Another identity network, which judges edits and makes none."""
        state, _ = load_weights(self.pack.component("second_identity"))
        return ArcFace.from_state_dict(state).to(self.device)

    @property
    @_loaded
    def parser(self) -> Parser:
        """The parser: images -> where parts of the face are."""
        state, _ = load_weights(self.pack.component("parser"))
        return Parser.from_state_dict(state).to(self.device)

    @property
    def encoder_input(self) -> int:
        """Side of the images that the encoder reads, in pixels; the generator's where there is none."""
        return self.encoder.input_resolution if "encoder" in self.pack.components else self.pack.resolution

    @cached_property
    def landmarker(self) -> Landmarker:
        """Finds faces and their landmarks in photos.

        Raises:
            WeightsError: If the pack has no networks for it.
        """
        return landmarker_of(self.pack, self.device)

    @cached_property
    def perceptual(self) -> Perceptual:
        """Perceptual distance: the identity network's, or CLIP's where there is none."""
        return Perceptual(self.identity) if self.has_identity else Perceptual(None, self.clip)

    def check_photos(self, align: bool = True) -> None:
        """Make sure, without loading anything, that the pack has what photos need.

        Args:
            align: Whether faces are to be found in them.

        Raises:
            WeightsError: If it has no encoder, or no face finder where one is needed.
        """
        parts = ["encoder"]
        if align and self.pack.alignment in OF_FACES:
            parts += ["landmarks", "detector"]
        for part in parts:
            if part not in self.pack.entries:
                hint = "generated faces (seed:1) and latents can be edited"
                if part != "encoder":
                    hint = "--no-align, for pictures that are cropped faces"
                raise WeightsError(f"the model pack {self.pack.name} takes no photos: it has no {part}", hint)
            self.pack.fingerprint_of(part)  # says what to do if it is not installed

    def check_parts(self, words: Collection[str]) -> None:
        """Make sure that the pack can find parts of a face.

        Args:
            words: What they are called, words of `settings.PART_WORDS`.

        Raises:
            WeightsError: If it has no parser, or it is not installed.
            UsageError: If the parser does not tell them apart.
        """
        if "parser" not in self.pack.entries:
            having = ", ".join(pack.name for pack in readable() if "parser" in pack.entries)
            raise WeightsError(
                f"the model pack {self.pack.name} has no parser, which finds parts of a face",
                f"--mask FILE, or a pack that has one: {having} (styleclip models pull NAME --with parser)",
            )
        self.pack.fingerprint_of("parser")  # says what to do if it is not installed
        known = set(self.parser.parts)
        for word in words:
            if known.isdisjoint(PART_WORDS[word]):
                raise UsageError(
                    f"the parser of {self.pack.name} does not tell {word} from the rest",
                    f"--only {', '.join(self.parser.parts)}",
                )

    @property
    def has_identity(self) -> bool:
        """Whether there is an identity network; packs of other things than faces have none."""
        return "identity" in self.pack.components
