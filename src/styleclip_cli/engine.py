"""The engine: every stage of an edit, on one set of networks. What the commands do, Python can do here.

Example:
    >>> from styleclip_cli import Engine
    >>> engine = Engine("toy")
    >>> styles = engine.styles(engine.sample([7]))
    >>> direction = engine.direction("with glasses")
    >>> pictures = engine.edit(styles, direction, [2.0, 4.0])  # [1, 2, 3, 128, 128] in [-1, 1]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from styleclip_cli import cache, latents
from styleclip_cli import invert as inversion
from styleclip_cli.edits import prompts
from styleclip_cli.edits.directions import Direction, apply, find_direction
from styleclip_cli.edits.relevance import Relevance, measure_relevance
from styleclip_cli.errors import BadInputError, DeviceError, WeightsError
from styleclip_cli.latents import Latents
from styleclip_cli.nets.clip import Clip
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import ArcFace
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.settings import (
    DirectionSettings,
    InversionSettings,
    LayerChoice,
    RelevanceSettings,
    StatisticsSettings,
)
from styleclip_cli.statistics import StyleStatistics, cached_statistics
from styleclip_cli.synthesize import styles_of, synthesize
from styleclip_cli.weights.files import load_weights
from styleclip_cli.weights.packs import find_pack, usual_name

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Reports long steps: called with a title, gives a context whose value takes (done, total)."""


@contextmanager
def silent(title: str) -> Iterator[Callable[[int, int], None]]:
    """Report nothing."""
    yield lambda done, total: None


class Engine:
    """One model pack on one device. Networks are loaded, and measurements made, when first needed.

    Args:
        models: Name of a model pack, or a folder with one; None takes the person's usual one.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: Seed of the measurements; None takes the one the pack was measured with.
        layers: Which style layers edits may move: "fs3", "conv" or "all"; None takes the pack's choice.
        progress: Reports long steps.

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
    ) -> None:
        self.pack = find_pack(str(models) if models is not None else usual_name())
        self.device = choose_device(device)
        self.progress = progress
        defaults = self.pack.defaults
        self.statistics_settings = _adjusted(StatisticsSettings(), defaults, seed=seed)
        self.relevance_settings = _adjusted(RelevanceSettings(), defaults, seed=seed, layers=layers)
        self.direction_settings = _adjusted(DirectionSettings(), defaults)
        self.inversion_settings = _adjusted(InversionSettings(), defaults)

    @property
    def seed(self) -> int:
        """Seed of the measurements."""
        return self.relevance_settings.seed

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the pack's weights, in hex."""
        return self.pack.fingerprint

    @property
    def default_alpha(self) -> float:
        """Strength of an edit when none is given."""
        return self.direction_settings.alpha

    @cached_property
    def generator(self) -> Generator:
        """The generator: W+ or styles -> pictures."""
        state, _ = load_weights(self.pack.component("generator"))
        generator = Generator.from_state_dict(state)
        return generator.eval().requires_grad_(False).to(self.device)

    @cached_property
    def clip(self) -> Clip:
        """CLIP: pictures and texts -> one space."""
        state, _ = load_weights(self.pack.component("clip"))
        return Clip.from_state_dict(state).to(self.device)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder: pictures -> W+."""
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

    @cached_property
    def identity(self) -> ArcFace:
        """The identity network: pictures -> who it is."""
        state, _ = load_weights(self.pack.component("identity"))
        return ArcFace.from_state_dict(state).to(self.device)

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

    def invert(self, images: Tensor, steps: int | None = None, keep: bool = True) -> Tensor:
        """Find the latents of pictures; what was found once is kept in the cache.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            steps: Refinement steps after the encoder's answer; None takes the pack's default.
            keep: Use the cache.

        Returns:
            W+ [N, num_ws, w_dim].
        """
        settings = self.inversion_settings if steps is None else replace(self.inversion_settings, steps=steps)
        if not keep:
            return self._found(images, settings)
        return torch.cat([self._invert_one(image, settings) for image in images.split(1)])

    def _found(self, images: Tensor, settings: InversionSettings) -> Tensor:
        codes = inversion.encode(self.encoder, images, self.generator)
        if settings.steps:
            with self.progress("refining the inversion") as advance:
                codes = inversion.refine(self.generator, codes, images, settings, self.clip, advance)
        return codes

    def _invert_one(self, image: Tensor, settings: InversionSettings) -> Tensor:
        parts = ["generator", "encoder"] + (["clip"] if settings.steps else [])
        key = {"image": inversion.content_hash(image), "weights": self.pack.fingerprint_of(*parts)}
        # Steps 0 does not depend on how steps would be made.
        key |= {
            f.name: getattr(settings, f.name) for f in fields(settings) if settings.steps or f.name == "steps"
        }

        def compute() -> tuple[cache.Arrays, cache.Json]:
            return {"w_plus": self._found(image, settings).cpu().numpy()}, {}

        arrays, _ = cache.cached("inversions", key, latents.SCHEMA, compute)
        return torch.from_numpy(arrays["w_plus"]).to(self.device)

    def styles(self, w_plus: Tensor) -> Tensor:
        """Turn W+ [N, num_ws, w_dim] into styles [N, size]."""
        return styles_of(self.generator, w_plus)

    def synthesize(self, styles: Tensor) -> Tensor:
        """Render styles [N, size] to pictures [N, 3, R, R] in nominally [-1, 1], on the CPU."""
        return synthesize(self.generator, styles)

    def statistics(self) -> StyleStatistics:
        """Mean and spread of every style channel: the pack's own, from the cache, or measured now.

        Raises:
            WeightsError: If the pack's own cannot be used.
        """
        return self._statistics

    @cached_property
    def _statistics(self) -> StyleStatistics:
        wanted = self.statistics_settings
        fingerprint = self.pack.fingerprint_of("generator")
        published = self.pack.published("statistics")
        if published is not None:
            widths = self.generator.style_space.widths
            with _as_weights_error():
                if published.suffix == ".safetensors":
                    found = StyleStatistics.from_official(load_weights(published)[0], widths)
                else:
                    found = StyleStatistics.load(published, fingerprint, widths)
            if all(getattr(found, f.name) == getattr(wanted, f.name) for f in fields(wanted)):
                return found
        with self.progress("measuring style statistics") as advance:
            return cached_statistics(self.generator, fingerprint, wanted, progress=advance)

    def relevance(self) -> Relevance:
        """What every style channel does in CLIP space: the pack's own, from the cache, or measured now.

        Raises:
            WeightsError: If the pack's own cannot be used.
        """
        return self._relevance

    @cached_property
    def _relevance(self) -> Relevance:
        wanted = self.relevance_settings
        fingerprint = self.pack.fingerprint_of("generator", "clip")
        space = self.generator.style_space
        layers = space.editable(wanted.layers)
        published = self.pack.published("relevance")
        if published is not None:
            with _as_weights_error():
                if published.suffix == ".safetensors":
                    found = Relevance.from_official(load_weights(published)[0], space)
                else:
                    found = Relevance.load(published, fingerprint, space.size)
            indices = [flat for layer in layers for flat in range(layer.offset, layer.offset + layer.width)]
            chosen = found.select(torch.tensor(indices))
            same = all(
                getattr(found, n) == getattr(wanted, n) for n in ("n_images", "sigma", "seed", "stop_at")
            )
            if same and chosen is not None:
                return chosen
        statistics = self.statistics()
        with self.progress("measuring channel relevance") as advance:
            return measure_relevance(
                self.generator,
                self.clip,
                statistics,
                n_images=wanted.n_images,
                sigma=wanted.sigma,
                layers=layers,
                seed=wanted.seed,
                stop_at=wanted.stop_at,
                fingerprint=fingerprint,
                progress=advance,
            )

    def publish(self, folder: Path) -> None:
        """Write statistics.npz and relevance.npz, in the form that a pack ships them.

        Raises:
            OutputError: If they cannot be written.
        """
        self.statistics().save(folder / "statistics.npz", self.pack.fingerprint_of("generator"))
        self.relevance().save(folder / "relevance.npz", self.pack.fingerprint_of("generator", "clip"))

    def direction(
        self,
        prompt: str,
        neutral: str = "face",
        *,
        beta: float | None = None,
        channels: int | None = None,
        literal: bool = False,
    ) -> Direction:
        """Find the step in style space that a sentence describes.

        Args:
            prompt: What the face should become, or only what changes ("with glasses").
            neutral: What it is now.
            beta: Smallest |relevance| of a channel that takes part; None chooses it.
            channels: How many channels take part when beta is chosen; None takes the pack's default.
            literal: Take the prompt as it stands.

        Raises:
            UsageError: If the texts say the same, or no channel is left.
            BadInputError: If a text is too long for CLIP.
        """
        target, neutral = prompts.resolve_prompt(prompt, neutral, literal)
        settings = self.direction_settings
        text_direction = prompts.text_direction(self.clip, target, neutral)
        return find_direction(
            self.relevance(),
            self.statistics(),
            text_direction,
            beta=settings.beta if beta is None and channels is None else beta,
            channels=settings.channels if channels is None else channels,
            rule=settings.rule if channels is None else "channels",
            gui_threshold=settings.gui_threshold,
            target=target,
            neutral=neutral,
            fingerprint=self.pack.fingerprint_of("generator"),
        )

    def load_direction(self, path: Path) -> Direction:
        """Read a direction and make sure that it is for this generator.

        Raises:
            BadInputError: If it cannot be used, or is for another one.
        """
        return Direction.load(path, self.generator.style_space.widths, self.pack.fingerprint_of("generator"))

    def edit(self, styles: Tensor, direction: Direction, alphas: Sequence[float]) -> Tensor:
        """Move faces along a direction, by each of some strengths, and render them.

        Args:
            styles: [N, size].
            direction: Where to.
            alphas: Strengths; the strongest channel moves by alpha standard deviations.

        Returns:
            Pictures [N, len(alphas), 3, R, R] in nominally [-1, 1], on the CPU.
        """
        moved = torch.stack([apply(styles, direction, alpha) for alpha in alphas], dim=1)
        return self.synthesize(moved.flatten(0, 1)).unflatten(0, (len(styles), len(alphas)))

    def save_latents(self, path: Path, w_plus: Tensor, sources: Sequence[str]) -> None:
        """Write W+ latents [N, num_ws, w_dim] with where they come from, one source per face.

        Raises:
            OutputError: If the file cannot be written.
        """
        provenance = latents.provenance(self.pack.fingerprint_of("generator"), self.pack.name, sources)
        latents.write(path, Latents(w_plus.detach().cpu().numpy(), provenance))

    def load_latents(self, path: Path) -> Tensor:
        """Read W+ latents [N, num_ws, w_dim] and make sure that they are this generator's.

        Raises:
            BadInputError: If the file cannot be used, or belongs to another generator.
        """
        found = latents.read(path)
        generator = self.generator
        latents.check_generator(
            found,
            generator.style_space.num_ws,
            generator.config.w_dim,
            self.pack.fingerprint_of("generator"),
            self.pack.name,
            path,
        )
        w_plus = torch.from_numpy(found.w_plus).to(self.device)
        return w_plus.expand(-1, generator.style_space.num_ws, -1)


def choose_device(name: str) -> torch.device:
    """Find the device that a name means on this machine.

    Args:
        name: auto (CUDA, else Apple's, else the CPU), cpu, cuda, cuda:N or mps.

    Raises:
        DeviceError: If the name is none of these, or the machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"unknown device {name!r}", "auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        missing = (device.index or 0) >= count
        found = f"{count} CUDA device{'s' if count != 1 else ''} found"
    else:
        missing = device.type != "cpu" and not (device.type == "mps" and torch.backends.mps.is_available())
        found = "not on this machine"
    if missing:
        raise DeviceError(f"no device {name!r} ({found})", "--device auto, or --device cpu")
    return device


S = TypeVar("S", StatisticsSettings, RelevanceSettings, DirectionSettings, InversionSettings)


def _adjusted(settings: S, defaults: Mapping[str, Any], **chosen: Any) -> S:
    """Lay a pack's defaults, then the person's choices, over the program's."""
    changes: dict[str, Any] = {}
    for f in fields(settings):
        if f.name in defaults:
            value, usual = defaults[f.name], getattr(settings, f.name)
            numbers = isinstance(usual, int | float) and isinstance(value, int | float)
            if not numbers and usual is not None and not isinstance(value, type(usual)):
                raise WeightsError(f"the model pack's default {f.name} is {value!r}", "install it again")
            changes[f.name] = value
    return replace(settings, **changes | {name: value for name, value in chosen.items() if value is not None})


@contextmanager
def _as_weights_error() -> Iterator[None]:
    """A pack's own file that cannot be used is the pack's fault, not an input's."""
    try:
        yield
    except BadInputError as error:
        raise WeightsError(error.message, "install the model pack again") from error
