"""The engine: the Python interface to every stage of an edit, with the networks of one model pack.

Example:
    >>> from styleclip_cli import Engine
    >>> engine = Engine("toy")
    >>> w_plus = engine.sample([7])
    >>> direction = engine.direction("with glasses")
    >>> pictures = engine.edit(w_plus, direction, [2.0, 4.0])  # [1, 2, 3, 128, 128] in [-1, 1]
    >>> result = engine.edit_photo("examples/face.png", direction, 4.0)
    >>> result.image.size
    (256, 256)
    >>> engine.choose(w_plus, "with glasses").alpha > 0  # strength and threshold for this face
    True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from styleclip_cli.defaults import adjusted
from styleclip_cli.edits import channels as lists
from styleclip_cli.edits import prompts, published
from styleclip_cli.edits.auto import Choice, candidates, choose
from styleclip_cli.edits.confidence import NullRange, confidence, null_range
from styleclip_cli.edits.directions import Direction, find_direction
from styleclip_cli.edits.edit import Edit
from styleclip_cli.edits.judge import Judge
from styleclip_cli.edits.mapper import MapperEdit, TrainedMapper
from styleclip_cli.edits.optimize import Optimization, Watch
from styleclip_cli.edits.parts import phrases_of
from styleclip_cli.edits.transfer import Transfer, channels_of_layers, relevant_channels, styles_of_one
from styleclip_cli.errors import UsageError
from styleclip_cli.inversion import FaceLatent, FeatureResidual, files
from styleclip_cli.inverter import ImageInverter
from styleclip_cli.machine.device import choose_device
from styleclip_cli.machine.distributed import World
from styleclip_cli.machine.profile import stage
from styleclip_cli.machine.progress import Progress, silent
from styleclip_cli.machine.shards import Shard
from styleclip_cli.measure.measurements import Measurements
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.measure.statistics import StyleStatistics
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.networks import Networks
from styleclip_cli.photo.align import OF_FACES, Landmarker
from styleclip_cli.renderer import Renderer
from styleclip_cli.settings import (
    DEFAULT_COMPOSITE,
    KEEP_IDENTITY,
    CompositeMode,
    DirectionSettings,
    InversionSettings,
    Inverter,
    LayerChoice,
    OptimizeSettings,
    Precision,
    RelevanceMode,
    RelevanceSettings,
    StatisticsSettings,
    TrainingSettings,
)
from styleclip_cli.weights import mappers
from styleclip_cli.weights.packs import find_pack, usual_name

if TYPE_CHECKING:
    from styleclip_cli.job.result import EditResult
    from styleclip_cli.job.run import Run


class Engine:
    """One model pack on one device. Networks are loaded, and measurements made, when first needed.

    Args:
        models: Name of a model pack, or a folder with one; None takes the user's default.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: Seed of the measurements; None takes the one the pack was measured with.
        layers: Which style layers edits may change: "fs3", "conv" or "all"; None takes the pack's choice.
        progress: Reports long steps.
        relevance: How the relevance of the style channels is measured: "exact", "preview" or "gradient"; None
            takes the pack's, else the exact one if it was measured, else an estimate from derivatives.
        precision: Precision of rendering; everything else is float32.

    Attributes:
        pack: The networks' files and default settings.
        device: The device that the networks run on.
        networks: Generator, CLIP, encoder, identity network and landmarker.
        renderer: Renders faces.
        inverter: Finds the latents of images.
        judge: Embeds images by CLIP and the identity network.
        measurements: Statistics and relevance of the style channels.

    Raises:
        WeightsError: If there is no such pack, or none is named and there is no default.
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
        self.pack = find_pack(str(models) if models is not None else usual_name())
        self.device = choose_device(device)
        self.progress = progress
        self.networks = Networks(self.pack, self.device)
        self.judge = Judge(self.networks)
        self._null: NullRange | None = None
        defaults = self.pack.defaults
        self.measurements = Measurements(
            self.networks,
            adjusted(StatisticsSettings(), defaults, seed=seed),
            adjusted(RelevanceSettings(), defaults, seed=seed, layers=layers, mode=relevance),
            progress,
        )
        self.direction_settings = adjusted(DirectionSettings(), defaults)
        self.default_inversion = adjusted(InversionSettings(), defaults)
        self.optimize_settings = adjusted(OptimizeSettings(), defaults.get("optimize", {}))
        self.training_settings = adjusted(TrainingSettings(), defaults.get("training", {}))
        self.inverter = ImageInverter(self.networks, self.default_inversion, progress)
        self._precision = precision

    @cached_property
    def renderer(self) -> Renderer:
        """Renders faces."""
        return Renderer(self.generator, self._precision)

    @property
    def generator(self) -> Generator:
        """The generator: W+ or styles -> images."""
        return self.networks.generator

    @property
    def landmarker(self) -> Landmarker:
        """Finds faces and their landmarks in photos.

        Raises:
            WeightsError: If the pack has no networks for it.
        """
        return self.networks.landmarker

    @property
    def encoder_input(self) -> int:
        """Side of the images that the encoder reads, in pixels; the generator's where there is none."""
        return self.networks.encoder_input

    def check_photos(self, align: bool = True) -> None:
        """Check, without loading anything, that the pack has the networks that photos need.

        Args:
            align: Whether faces are to be detected.

        Raises:
            WeightsError: If it has no encoder, or no face detector although one is needed.
        """
        self.networks.check_photos(align)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the pack's weights, in hex."""
        return self.pack.fingerprint

    @property
    def default_alpha(self) -> float:
        """Strength of an edit when none is given."""
        return self.direction_settings.alpha

    # --- measurements; see `Measurements` -------------------------------------------------------------

    @property
    def seed(self) -> int:
        """Seed of the measurements."""
        return self.relevance_settings.seed

    @property
    def relevance_settings(self) -> RelevanceSettings:
        """How the relevance is measured."""
        return self.measurements.relevance_settings

    @property
    def relevance_mode(self) -> RelevanceMode | None:
        """How the relevance is measured; None if the pack's own is used."""
        return self.measurements.relevance_mode

    def statistics(self) -> StyleStatistics:
        """Mean and standard deviation of every style channel: from the pack, from the cache, or measured.

        Raises:
            WeightsError: If the pack's own cannot be used.
        """
        return self.measurements.statistics

    def relevance(self) -> Relevance:
        """Relevance of every style channel in CLIP space: the pack's own, from the cache, or measured now.

        Raises:
            WeightsError: If the pack's own cannot be used.
        """
        return self.measurements.relevance

    def measure(self, part: Shard | None = None, world: World | None = None) -> None:
        """Measure the statistics and relevance that the pack lacks, or a part; see `Measurements.measure`.

        Args:
            part: Which part; None for all.
            world: Processes that share the work and the cache; None for this process alone.

        Raises:
            WeightsError: If the pack's measurements cannot be used.
        """
        self.measurements.measure(part, world)

    def left(self) -> dict[str, tuple[int, int]]:
        """How much is still to be measured; see `Measurements.missing`.

        Returns:
            (missing pieces, total pieces), by kind.
        """
        return self.measurements.missing()

    def publish(self, folder: Path) -> None:
        """Write statistics.npz and relevance.npz, in the format of a pack.

        Args:
            folder: The output folder.

        Raises:
            OutputError: If they cannot be written.
        """
        self.measurements.publish(folder)

    # --- faces --------------------------------------------------------------------------------------

    def sample(self, seeds: Sequence[int], truncation_psi: float | None = None) -> Tensor:
        """Generate faces; each depends only on its own seed, not on the others or on the device.

        Args:
            seeds: One per face; z comes from numpy's RandomState(seed), as usual for StyleGAN.
            truncation_psi: w = w_avg + psi (w - w_avg); None: as the statistics are measured.

        Returns:
            W+ [N, num_ws, w_dim].
        """
        if truncation_psi is None:
            truncation_psi = self.measurements.statistics_settings.truncation_psi
        size = self.generator.config.z_dim
        z = np.concatenate([np.random.RandomState(seed).randn(1, size) for seed in seeds]).astype(np.float32)
        with torch.inference_mode():
            return self.generator.w_plus(torch.from_numpy(z).to(self.device), truncation_psi=truncation_psi)

    def average(self) -> Tensor:
        """The mean latent.

        Returns:
            W+ [1, num_ws, w_dim].
        """
        return self.generator.w_avg.expand(1, self.generator.style_space.num_ws, -1).clone()

    def settings_for_inversion(
        self,
        inverter: Inverter | None = None,
        steps: int | None = None,
        noise: bool | None = None,
        budget: float | None = None,
    ) -> InversionSettings:
        """The pack's inversion settings, with the given ones in place of its own.

        Args:
            inverter: The method; None takes the pack's, or "refine" if steps are given.
            steps: Steps of optimizing W+; 0 keeps the encoder's output.
            noise: Whether the noise is optimized too.
            budget: Time limit for each image, in seconds.

        Returns:
            The settings.
        """
        return self.inverter.settings(inverter, steps, noise, budget)

    def invert_w_plus(
        self, images: Tensor, steps: int | None = None, keep: bool = True, inverter: Inverter | None = None
    ) -> Tensor:
        """Invert images; inversions are cached.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            steps: Steps of optimizing W+ after the encoder; None takes the pack's default.
            keep: Use the cache.
            inverter: The method; None takes the pack's. For "features" and "pivotal" this is not all that
                was found: see `invert`.

        Returns:
            W+ [N, num_ws, w_dim].
        """
        return self.inverter.invert_w_plus(images, self.settings_for_inversion(inverter, steps), keep)

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
            settings: Settings of the inversion; None takes the pack's.
            keep: Use the cache.
            encoder_input: The same image, resized for the encoder; None: `image`.
            measure: Also measure the error of the encoder's inversion; that of the others is always measured.

        Returns:
            W+ [1, num_ws, w_dim] on the device, with its reconstruction error.
        """
        return self.inverter.invert(image, settings, keep, encoder_input, measure)

    def styles(self, w_plus: Tensor) -> Tensor:
        """The affine layers: W+ to styles.

        Args:
            w_plus: [N, num_ws, w_dim].

        Returns:
            [N, size].
        """
        return self.renderer.styles(w_plus)

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
        return self.renderer.synthesize(styles, weight_deltas, residual)

    def render(self, faces: Sequence[FaceLatent]) -> Tensor:
        """Render faces, in one batch unless the generator is tuned for one of them.

        Args:
            faces: At least one.

        Returns:
            [N, 3, R, R], float32 on the CPU, nominally in [-1, 1].
        """
        return self.renderer.render(faces)

    def edit(self, face: FaceLatent | Tensor, edit: Edit, alphas: Sequence[float]) -> Tensor:
        """Edit faces with each of the given strengths, and render them.

        Args:
            face: Latents of faces, or their W+ [N, num_ws, w_dim].
            edit: A direction, or another method's edit.
            alphas: Strengths.

        Returns:
            Images [N, len(alphas), 3, R, R] in nominally [-1, 1], on the CPU.
        """
        start = face if isinstance(face, FaceLatent) else FaceLatent(face)
        images = self.render(edit.edited(start, alphas))
        return images.unflatten(0, (len(alphas), -1)).transpose(0, 1)

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
        only: str | Sequence[str] = (),
        mask: Image.Image | np.ndarray | str | Path | None = None,
    ) -> EditResult:
        """Edit faces of a photo, and put them back into it, as `styleclip edit` does.

        Args:
            photo: A file; a Pillow image, whose orientation, colour profile and transparency are used; or an
                array [H, W, 3] of bytes.
            edit: A direction, or another method's edit; several are an `edits.chain.Chain`.
            alpha: Strength.
            which: Which face: "largest", "all", or a number from left to right.
            align: Detect faces; otherwise the central square is taken as the face.
            inverter: The inversion method; None takes the pack's.
            mode: How the edit is put back; see `paste_back.paste`.
            only: Parts of the face that may change, such as "hair"; none for all.
            mask: Where the photo may change: an image of its size, white (or opaque) where it may; None for
                anywhere.

        Returns:
            The image (`image`), its recipe and the edited latents; `save` writes it with its metadata.

        Raises:
            BadInputError: If the photo cannot be read, or there is no such face.
        """
        results = self.edit_many(
            [photo],
            edit,
            alpha,
            which=which,
            align=align,
            inverter=inverter,
            mode=mode,
            only=only,
            mask=mask,
        )
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
        only: str | Sequence[str] = (),
        mask: Image.Image | np.ndarray | str | Path | None = None,
    ) -> Run:
        """Edit faces of several photos as `edit_photo` does; the next ones are read in the background.

        Args:
            photos: As in `edit_photo`.
            edit: As in `edit_photo`.
            alpha: As in `edit_photo`.
            which: As in `edit_photo`.
            align: As in `edit_photo`.
            inverter: As in `edit_photo`.
            mode: As in `edit_photo`.
            only: As in `edit_photo`.
            mask: As in `edit_photo`, for all photos.

        Returns:
            An iterable over the results, in order, computed lazily; its length is known. If a photo cannot be
            edited, the `error` of its result tells why.
        """
        from styleclip_cli.job.edits import GivenEdit, request_of
        from styleclip_cli.job.plan import Plan
        from styleclip_cli.job.region import Region
        from styleclip_cli.job.run import run
        from styleclip_cli.job.values import parse_parts

        region = Region(parse_parts(only), Path(mask) if isinstance(mask, str) else mask)
        request = replace(
            request_of(edit, alpha),
            face=str(which),
            align=align,
            inverter=inverter,
            composite=mode,
            region=region,
        )
        return run(Plan.of_pictures(request, photos), self, edits=GivenEdit(edit, alpha))

    def save_latents(self, path: Path, w_plus: Tensor, sources: Sequence[str]) -> None:
        """Write W+ latents, with their sources.

        Args:
            path: File to write (.npz).
            w_plus: [N, num_ws, w_dim].
            sources: One for each face.

        Raises:
            OutputError: If the file cannot be written.
        """
        self.save_inversions(path, [FaceLatent(w_plus)], sources)

    def save_inversions(self, path: Path, found: Sequence[FaceLatent], sources: Sequence[str]) -> None:
        """Write latents with their style offsets and weight changes, and their sources.

        Args:
            path: File to write (.npz).
            found: The latents.
            sources: One for each face.

        Raises:
            OutputError: If the file cannot be written.
        """
        files.save(path, found, sources, self.pack)

    def load_inversions(self, path: Path) -> list[FaceLatent]:
        """Read latents with their style offsets and weight changes, and check that they fit this generator.

        Args:
            path: A latent file of this program or of StyleCLIP.

        Returns:
            One for each face, on the device.

        Raises:
            BadInputError: If the file cannot be used, or belongs to another generator.
        """
        return files.load(path, self.generator, self.pack)

    # --- edits ----------------------------------------------------------------------------------------

    @stage("direction")
    def direction(
        self,
        prompt: str,
        neutral: str = "face",
        *,
        beta: float | None = None,
        channels: int | None = None,
        literal: bool = False,
    ) -> Direction:
        """Find the direction in style space for a prompt.

        Args:
            prompt: What the face should become, or only what changes ("with glasses").
            neutral: What the face is now.
            beta: Smallest |relevance| of a channel that is shifted; None chooses it.
            channels: How many channels are shifted if beta is chosen; None takes the pack's default.
            literal: Use the prompt as it is.

        Returns:
            The direction, with how surely the pack understands the sentence.

        Raises:
            UsageError: If the texts say the same, or no channel is left.
            BadInputError: If a text is too long for CLIP.
        """
        target, neutral = prompts.resolve_prompt(prompt, neutral, literal)
        along = self.judge.text_direction(target, neutral)
        found = self._direction(along, target, neutral, beta, channels)
        if self.pack.alignment not in OF_FACES:  # the null texts are about faces
            return found
        return replace(found, confidence=confidence(self.relevance(), along, self._null_range()))

    def _null_range(self) -> NullRange:
        if self._null is None and self.pack.null_range is not None and self.relevance_mode is None:
            self._null = NullRange(*self.pack.null_range)
        if self._null is None:
            null = self.judge.null_directions(self.progress)
            self._null = null_range(self.relevance(), null)
        return self._null

    def direction_between(
        self,
        before: Tensor,
        after: Tensor,
        *,
        beta: float | None = None,
        channels: int | None = None,
        target: str = "after",
        neutral: str = "before",
    ) -> Direction:
        """Find the direction in style space between two sets of images.

        Args:
            before: Images [N, 3, H, W] in [-1, 1], without the attribute.
            after: Images [M, 3, H', W'] with the attribute.
            beta: As in `direction`.
            channels: As in `direction`.
            target: Name of the images after.
            neutral: Name of the images before.

        Returns:
            The direction.

        Raises:
            UsageError: If a set is empty, CLIP sees no difference, or no channel is left.
        """
        along = prompts.image_direction(self.networks.clip, before, after)
        return self._direction(along, target, neutral, beta, channels)

    def _direction(
        self, along: Tensor, target: str, neutral: str, beta: float | None, channels: int | None
    ) -> Direction:
        """The direction in style space for a direction in CLIP space, [D] of unit length."""
        settings = self.direction_settings
        return find_direction(
            self.relevance(),
            self.statistics(),
            along,
            beta=settings.beta if beta is None and channels is None else beta,
            channels=settings.channels if channels is None else channels,
            rule=settings.rule if channels is None else "channels",
            gui_threshold=settings.gui_threshold,
            target=target,
            neutral=neutral,
            fingerprint=self.pack.fingerprint_of("generator"),
        )

    def transfer(
        self,
        reference: FaceLatent,
        prompt: str,
        neutral: str = "face",
        *,
        beta: float | None = None,
        channels: int | None = None,
        literal: bool = False,
    ) -> Transfer:
        """The edit that transfers a part of another face.

        Args:
            reference: The other face.
            prompt: What to transfer: a part ("hair", see `edits.parts`), a thing ("glasses"), or several,
                separated by commas.
            neutral: A text for faces without it.
            beta: Smallest |relevance| of a channel that is taken; None chooses it.
            channels: How many channels each phrase keeps when beta is chosen; None takes `parts.CHANNELS`.
            literal: Use the prompt as it is.

        Returns:
            The edit.

        Raises:
            UsageError: If a phrase says the same as the neutral text, or no channel is left.
            BadInputError: If a text is too long for CLIP.
        """
        phrases = phrases_of(prompt, literal)
        texts = [prompts.resolve_prompt(phrase, neutral, literal) for phrase in phrases]
        directions = prompts.text_directions(self.networks.clip, [target for target, _ in texts], texts[0][1])
        weight, shared = relevant_channels(self.relevance(), directions, beta, channels)
        styles = styles_of_one(self.generator, reference)
        return Transfer(self.generator, styles, weight, prompt, texts[0][1], tuple(phrases), shared)

    def mix(self, reference: FaceLatent, layers: Sequence[int] | None = None) -> Transfer:
        """The edit that gives faces whole W+ layers of another one: style mixing.

        Args:
            reference: The other face.
            layers: Numbers of the W+ vectors; None for all.

        Returns:
            The edit.

        Raises:
            UsageError: If there are no such layers.
        """
        space = self.generator.style_space
        numbers = tuple(range(space.num_ws) if layers is None else layers)
        weight = channels_of_layers(space, numbers)
        styles = styles_of_one(self.generator, reference)
        words = f"layers {', '.join(map(str, numbers))}"
        return Transfer(self.generator, styles, weight, words, layers=numbers)

    def load_direction(self, path: Path) -> Direction:
        """Read a direction and check that it is for this generator.

        Args:
            path: A file that `Direction.save` wrote (.npz), or one that `published_direction` reads.

        Returns:
            The direction.

        Raises:
            BadInputError: If it cannot be used, or is for another one.
        """
        if path.suffix.lower() in lists.PUBLISHED:
            return self.published_direction(path)
        return Direction.load(path, self.generator.style_space.widths, self.pack.fingerprint_of("generator"))

    def published_direction(
        self, path: Path, component: int | None = None, layers: Sequence[int] | None = None, target: str = ""
    ) -> Direction:
        """Read a direction that others published: a boundary, a component, or a list of channels.

        Args:
            path: InterFaceGAN's .npy or .pt; GANSpace's .npz or .pt; a list (`channels.read_channels`).
            component: Which of GANSpace's components, from 0.
            layers: Numbers of the W+ vectors that are moved; None for all.
            target: What to call it; empty for the name of the file.

        Returns:
            The direction; its `unit` says what alpha counts.

        Raises:
            BadInputError: If it cannot be read, is refused as unsafe, or is for another generator.
            UsageError: If there is no such component or channel.
        """
        fingerprint = self.pack.fingerprint_of("generator")
        if path.suffix.lower() in lists.LISTS:
            if component is not None or layers is not None:
                raise UsageError(f"{path}: a list of channels has no components or layers", "leave them out")
            return self.channel_direction(lists.read_channels(path), target or path.stem)
        from styleclip_cli.weights.readers.directions import read_vectors

        vectors = read_vectors(path)
        return published.of_vectors(vectors, self.generator, path, component, layers, fingerprint, target)

    def sefa_direction(
        self, component: int, layers: Sequence[int] | None = None, target: str = ""
    ) -> Direction:
        """Find a direction in the generator's weights alone, by closed-form factorization (SeFa).

        Args:
            component: Which, from 0, the one that changes most first.
            layers: Numbers of the W+ vectors whose layers are factorized, and which are moved; None for all.
            target: What to call it.

        Returns:
            The direction; alpha is the distance in W.

        Raises:
            UsageError: If there is no such component.
        """
        fingerprint = self.pack.fingerprint_of("generator")
        return published.sefa(self.generator, component, layers, fingerprint, target)

    def channel_direction(self, channels: Sequence[lists.Channel], target: str = "") -> Direction:
        """The direction of some style channels, as StyleSpace's authors publish them.

        Args:
            channels: Layer, channel and weight of each.
            target: What to call it.

        Returns:
            The direction; alpha counts standard deviations of each channel.

        Raises:
            UsageError: If there is no such channel.
        """
        space, fingerprint = self.generator.style_space, self.pack.fingerprint_of("generator")
        return published.of_channels(channels, space, self.statistics().std, fingerprint, target)

    def optimization(
        self,
        prompt: str,
        neutral: str = "face",
        settings: OptimizeSettings | None = None,
        *,
        literal: bool = False,
        watch: Watch | None = None,
    ) -> Optimization:
        """The edit that optimizes the latent of each face for a prompt.

        Args:
            prompt: What the face should become, or only what changes.
            neutral: What the face is now.
            settings: Settings of the optimization; None takes the pack's.
            literal: Use the prompt as it is.
            watch: Callbacks.

        Returns:
            The edit.

        Raises:
            UsageError: If the texts say the same.
            BadInputError: If a text is too long for CLIP.
        """
        target, neutral = prompts.resolve_prompt(prompt, neutral, literal)
        settings = settings or self.optimize_settings
        networks = self.networks
        identity = networks.identity if settings.lambda_id > 0 and networks.has_identity else None
        return Optimization(
            self.generator, networks.clip, identity, target, neutral, settings, watch or Watch()
        )

    def mapper(self, name: str | Path) -> MapperEdit:
        """The edit of a trained mapper.

        Args:
            name: What `styleclip mappers` lists, a file, or the folder of a training run.

        Returns:
            The edit.

        Raises:
            BadInputError: If there is no such mapper.
            WeightsError: If it cannot be used, or is for another generator.
        """
        path = mappers.find(self.pack, str(name))
        trained = TrainedMapper.load(path)
        return trained.for_generator(self.generator, self.pack.fingerprint_of("generator"), path)

    def train_mapper(
        self,
        prompt: str,
        folder: Path,
        neutral: str = "face",
        settings: TrainingSettings | None = None,
        latents: Tensor | None = None,
        *,
        literal: bool = False,
    ) -> MapperEdit:
        """Train a mapper in this process; `styleclip train-mapper` can use several, and resume a run.

        Args:
            prompt: What faces should become, or only what changes.
            folder: Folder of the run.
            neutral: What they are now.
            settings: Settings of the training; None takes the pack's.
            latents: W+ [N, num_ws, w_dim] of the training faces; None samples them.
            literal: Use the prompt as it is.

        Returns:
            The trained mapper's edit.

        Raises:
            UsageError: If the texts say the same.
            OutputError: If the folder cannot be written.
        """
        from styleclip_cli.training.checkpoint import Task
        from styleclip_cli.training.run import prepare, train

        target, neutral = prompts.resolve_prompt(prompt, neutral, literal)
        fingerprint = self.pack.fingerprint_of("generator")
        chosen = settings or self.training_settings
        task = Task(target, neutral, self.pack.name, fingerprint, (), (), chosen)
        with self.progress("training") as advance:
            trainer = prepare(self.networks, task, World(), latents)
            train(trainer, task, folder, [], World(), advance)
        return self.mapper(folder)

    def choose(
        self,
        face: FaceLatent | Tensor,
        prompt: str,
        neutral: str = "face",
        keep_identity: float = KEEP_IDENTITY,
        *,
        literal: bool = False,
    ) -> Choice:
        """Choose strength and threshold for one face, as `styleclip edit --auto` does.

        Args:
            face: Latent of a face, or its W+ [1, num_ws, w_dim].
            prompt: What the face should become, or only what changes.
            neutral: What the face is now.
            keep_identity: Minimum cosine of the face embeddings before and after.
            literal: Use the prompt as it is.

        Returns:
            The edit and its strength, with the edited face and its scores.

        Raises:
            UsageError: As `direction`.
        """
        start = face if isinstance(face, FaceLatent) else FaceLatent(face)
        counts = candidates(self.direction_settings.channels)
        edits = [self.direction(prompt, neutral, channels=n, literal=literal) for n in counts]
        return choose(self.renderer, self.judge, [start], edits, self.default_alpha, keep_identity)[0]
