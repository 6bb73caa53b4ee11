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
from styleclip_cli.edits import prompts
from styleclip_cli.edits.auto import Choice, candidates, choose
from styleclip_cli.edits.confidence import confidence
from styleclip_cli.edits.directions import Direction, find_direction
from styleclip_cli.edits.edit import Edit
from styleclip_cli.edits.judge import Judge
from styleclip_cli.edits.mapper import MapperEdit, TrainedMapper
from styleclip_cli.edits.optimize import Optimization, Watch
from styleclip_cli.edits.parts import phrases_of
from styleclip_cli.edits.transfer import Transfer, channels_of_layers, relevant_channels, styles_of_one
from styleclip_cli.inversion import FaceLatent, files
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
from styleclip_cli.photo.align import Landmarker
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
        models: Name of a model pack, or a folder with one; None takes the person's default.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: Seed of the measurements; None takes the one the pack was measured with.
        layers: Which style layers edits may move: "fs3", "conv" or "all"; None takes the pack's choice.
        progress: Reports long steps.
        relevance: How it is found what style channels do: "exact", "preview" or "gradient"; None takes what
            the pack ships, else what has been measured exactly, else an estimate from derivatives.
        precision: What images are rendered in; all else is float32.

    Attributes:
        pack: Where the networks are, and what suits them.
        device: Where they run.
        networks: Generator, CLIP, encoder, identity network and landmarker.
        renderer: Renders faces.
        inverter: Finds the latents of images.
        judge: Looks at images by CLIP and the identity network.
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
        """Make sure, without loading anything, that the pack has what photos need.

        Args:
            align: Whether faces are to be found in them.

        Raises:
            WeightsError: If it has no encoder, or no face finder where one is needed.
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

    # --- what is measured; see `Measurements` ---------------------------------------------------------

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
        """How the relevance is found; None where the pack's own is used."""
        return self.measurements.relevance_mode

    def statistics(self) -> StyleStatistics:
        """Mean and spread of every style channel: the pack's own, from the cache, or measured now.

        Raises:
            WeightsError: If the pack's own cannot be used.
        """
        return self.measurements.statistics

    def relevance(self) -> Relevance:
        """What every style channel does in CLIP space: the pack's own, from the cache, or measured now.

        Raises:
            WeightsError: If the pack's own cannot be used.
        """
        return self.measurements.relevance

    def measure(self, part: Shard | None = None, world: World | None = None) -> None:
        """Measure what edits need and the pack does not ship, or a part of it; see `Measurements.measure`.

        Args:
            part: Which part; None for all.
            world: Processes that divide it among them and share the cache; None for this one alone.

        Raises:
            WeightsError: If what the pack ships cannot be used.
        """
        self.measurements.measure(part, world)

    def left(self) -> dict[str, tuple[int, int]]:
        """What is still to be measured; see `Measurements.missing`.

        Returns:
            (pieces that are missing, pieces in all), by kind.
        """
        return self.measurements.missing()

    def publish(self, folder: Path) -> None:
        """Write statistics.npz and relevance.npz, in the form that a pack ships them.

        Args:
            folder: Where to.

        Raises:
            OutputError: If they cannot be written.
        """
        self.measurements.publish(folder)

    # --- faces --------------------------------------------------------------------------------------

    def sample(self, seeds: Sequence[int], truncation_psi: float | None = None) -> Tensor:
        """Generate faces; each depends on its own seed alone, not on the others or on the device.

        Args:
            seeds: One per face; z comes from numpy's RandomState(seed), as is the custom for StyleGAN.
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
        """The mean latent: a face like many.

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
        """The pack's settings of inversion with a person's choices laid over them.

        Args:
            inverter: Which method; None: the pack's, or "refine" if there are steps.
            steps: Steps of moving W+; 0 keeps the encoder's answer.
            noise: Whether the noise is moved too.
            budget: Seconds for each image.

        Returns:
            The settings.
        """
        return self.inverter.settings(inverter, steps, noise, budget)

    def invert_w_plus(
        self, images: Tensor, steps: int | None = None, keep: bool = True, inverter: Inverter | None = None
    ) -> Tensor:
        """Find the latents of images; what was found once is kept in the cache.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            steps: Refinement steps after the encoder's answer; None takes the pack's default.
            keep: Use the cache.
            inverter: How; None takes the pack's. "pivotal" gives the pivots: `invert` gives the rest.

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
        """Find the latent of one image, and what the generator gains for it.

        Args:
            image: [1, 3, H, W] in [-1, 1].
            settings: How; None takes the pack's.
            keep: Use the cache.
            encoder_input: The same image as the encoder is to see it; None: `image`.
            measure: Also measure how close the encoder's answer comes; of the others it is always measured.

        Returns:
            W+ [1, num_ws, w_dim] on the device, with how close it comes.
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

    def synthesize(self, styles: Tensor, weight_deltas: Mapping[str, Tensor] | None = None) -> Tensor:
        """Render styles.

        Args:
            styles: [N, size].
            weight_deltas: What is added to the generator's tensors meanwhile (`FaceLatent.weight_deltas`).

        Returns:
            [N, 3, R, R], float32 on the CPU, nominally in [-1, 1].
        """
        return self.renderer.synthesize(styles, weight_deltas)

    def render(self, faces: Sequence[FaceLatent]) -> Tensor:
        """Render faces, at once unless the generator is tuned for one of them.

        Args:
            faces: At least one.

        Returns:
            [N, 3, R, R], float32 on the CPU, nominally in [-1, 1].
        """
        return self.renderer.render(faces)

    def edit(self, face: FaceLatent | Tensor, edit: Edit, alphas: Sequence[float]) -> Tensor:
        """Edit faces, by each of some strengths, and render them.

        Args:
            face: What was found for a face; or W+ [N, num_ws, w_dim].
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

    def save_latents(self, path: Path, w_plus: Tensor, sources: Sequence[str]) -> None:
        """Write W+ latents, with where they come from.

        Args:
            path: File to write (.npz).
            w_plus: [N, num_ws, w_dim].
            sources: One for each face.

        Raises:
            OutputError: If the file cannot be written.
        """
        self.save_inversions(path, [FaceLatent(w_plus)], sources)

    def save_inversions(self, path: Path, found: Sequence[FaceLatent], sources: Sequence[str]) -> None:
        """Write latents, with what belongs to each, and where they come from.

        Args:
            path: File to write (.npz).
            found: One after the other.
            sources: One for each face.

        Raises:
            OutputError: If the file cannot be written.
        """
        files.save(path, found, sources, self.pack)

    def load_inversions(self, path: Path) -> list[FaceLatent]:
        """Read latents and what belongs to each, and make sure that they are this generator's.

        Args:
            path: A latent file, ours or StyleCLIP's.

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
        """Find the step in style space that a sentence describes.

        Args:
            prompt: What the face should become, or only what changes ("with glasses").
            neutral: What it is now.
            beta: Smallest |relevance| of a channel that takes part; None chooses it.
            channels: How many channels take part when beta is chosen; None takes the pack's default.
            literal: Take the prompt as it stands.

        Returns:
            The direction, with how surely the pack understands the sentence.

        Raises:
            UsageError: If the texts say the same, or no channel is left.
            BadInputError: If a text is too long for CLIP.
        """
        target, neutral = prompts.resolve_prompt(prompt, neutral, literal)
        along = self.judge.text_direction(target, neutral)
        found = self._direction(along, target, neutral, beta, channels)
        null = self.judge.null_directions(self.progress)
        return replace(found, confidence=confidence(self.relevance(), along, null))

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
        """Find the step in style space that leads from one set of images to another.

        Args:
            before: Images [N, 3, H, W] in [-1, 1], without what the step is to add.
            after: Images [M, 3, H', W'] with it.
            beta: As in `direction`.
            channels: As in `direction`.
            target: What to call the images after.
            neutral: What to call those before.

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
        """The step in style space that follows a direction in CLIP space, [D] of unit length."""
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
        """The edit that gives faces something of another one.

        Args:
            reference: The other face.
            prompt: What of it: a part ("hair", see `edits.parts`), a thing ("glasses"), or several, separated
                by commas.
            neutral: What faces are in words without it.
            beta: Smallest |relevance| of a channel that is taken; None chooses it.
            channels: How many channels each phrase keeps when beta is chosen; None takes `parts.CHANNELS`.
            literal: Take the prompt as it stands.

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
        """Read a direction and make sure that it is for this generator.

        Args:
            path: A file that `Direction.save` wrote.

        Returns:
            The direction.

        Raises:
            BadInputError: If it cannot be used, or is for another one.
        """
        return Direction.load(path, self.generator.style_space.widths, self.pack.fingerprint_of("generator"))

    def optimization(
        self,
        prompt: str,
        neutral: str = "face",
        settings: OptimizeSettings | None = None,
        *,
        literal: bool = False,
        watch: Watch | None = None,
    ) -> Optimization:
        """The edit that looks for each face's latent anew, by gradient descent toward a sentence.

        Args:
            prompt: What the face should become, or only what changes.
            neutral: What it is now.
            settings: How; None takes the pack's.
            literal: Take the prompt as it stands.
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
        """Train a mapper in this process; `styleclip train-mapper` can do it in several, and go on later.

        Args:
            prompt: What faces should become, or only what changes.
            folder: Where the run is kept.
            neutral: What they are now.
            settings: How; None takes the pack's.
            latents: W+ [N, num_ws, w_dim] of faces to learn from; None samples them.
            literal: Take the prompt as it stands.

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
        """Choose strength and threshold for one face: what `styleclip edit --auto` does.

        Args:
            face: What was found for a face; or its W+ [1, num_ws, w_dim].
            prompt: What the face should become, or only what changes.
            neutral: What it is now.
            keep_identity: Least cosine of the face embeddings before and after.
            literal: Take the prompt as it stands.

        Returns:
            The edit and its strength, with the face after it and its scores.

        Raises:
            UsageError: As `direction`.
        """
        start = face if isinstance(face, FaceLatent) else FaceLatent(face)
        counts = candidates(self.direction_settings.channels)
        edits = [self.direction(prompt, neutral, channels=n, literal=literal) for n in counts]
        return choose(self.renderer, self.judge, [start], edits, self.default_alpha, keep_identity)[0]
