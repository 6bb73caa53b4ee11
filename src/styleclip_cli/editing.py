"""A pack's settings and measurements, and the edits that sentences, mappers or other faces make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from styleclip_cli.defaults import adjusted
from styleclip_cli.edits import prompts
from styleclip_cli.edits.directions import Direction, find_direction
from styleclip_cli.edits.mapper import MapperEdit, TrainedMapper
from styleclip_cli.edits.optimize import Optimization, Watch
from styleclip_cli.edits.parts import phrases_of
from styleclip_cli.edits.transfer import Transfer, channels_of_layers, relevant_channels, styles_of_one
from styleclip_cli.inversion import Inversion
from styleclip_cli.machine.distributed import World
from styleclip_cli.machine.profile import stage
from styleclip_cli.machine.progress import Progress
from styleclip_cli.machine.shards import Shard
from styleclip_cli.measure.measurements import (
    TITLES,
    chosen_settings,
    published_relevance,
    published_statistics,
    relevance_job_of,
    relevance_of,
    statistics_of,
)
from styleclip_cli.measure.pieces import Job
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.measure.statistics import StyleStatistics, statistics_job
from styleclip_cli.networks import Networks
from styleclip_cli.settings import (
    DirectionSettings,
    InversionSettings,
    LayerChoice,
    OptimizeSettings,
    RelevanceMode,
    RelevanceSettings,
    StatisticsSettings,
    TrainingSettings,
)
from styleclip_cli.weights import mappers
from styleclip_cli.weights.packs import Pack


class Editing(Networks):
    """A pack's networks, settings and measurements, and the edits that they make.

    Args:
        pack: Where the networks are, and what suits them.
        device: Where they run.
        seed: As `Engine` takes it.
        layers: As `Engine` takes it.
        progress: Reports long steps.
        relevance: As `Engine` takes it.
    """

    def __init__(
        self,
        pack: Pack,
        device: torch.device,
        seed: int | None,
        layers: LayerChoice | None,
        progress: Progress,
        relevance: RelevanceMode | None = None,
    ) -> None:
        super().__init__(pack, device)
        self.progress = progress
        defaults = self.pack.defaults
        self.statistics_settings = adjusted(StatisticsSettings(), defaults, seed=seed)
        self.relevance_settings = adjusted(
            RelevanceSettings(), defaults, seed=seed, layers=layers, mode=relevance
        )
        self.direction_settings = adjusted(DirectionSettings(), defaults)
        self.inversion_settings = adjusted(InversionSettings(), defaults)
        self.optimize_settings = adjusted(OptimizeSettings(), defaults.get("optimize", {}))
        self.training_settings = adjusted(TrainingSettings(), defaults.get("training", {}))

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

    def statistics(self) -> StyleStatistics:
        """Mean and spread of every style channel: the pack's own, from the cache, or measured now.

        Raises:
            WeightsError: If the pack's own cannot be used.
        """
        return self._statistics

    @cached_property
    def _statistics(self) -> StyleStatistics:
        return statistics_of(self, self.statistics_settings, self.progress)

    def relevance(self) -> Relevance:
        """What every style channel does in CLIP space: the pack's own, from the cache, or measured now.

        Raises:
            WeightsError: If the pack's own cannot be used.
        """
        return self._relevance

    @cached_property
    def _relevance(self) -> Relevance:
        settings = replace(self.relevance_settings, mode=self.relevance_mode)
        return relevance_of(self, settings, self.statistics, self.progress)

    @cached_property
    def relevance_mode(self) -> RelevanceMode | None:
        """How the relevance is found; None where the pack's own is used."""
        if self._relevance_is_published:
            return None
        return chosen_settings(self, self.relevance_settings, self.statistics()).mode

    @cached_property
    def _relevance_is_published(self) -> bool:
        return published_relevance(self, self.relevance_settings) is not None

    def measure(self, part: Shard | None = None, world: World | None = None) -> None:
        """Measure a part of what edits need and the pack does not ship; it is kept in the cache.

        Statistics are quick: what other parts have not measured yet is measured here as well. The relevance
        is divided: when all parts are done, `left` has nothing more to tell.

        Args:
            part: Which part; None for all.
            world: Processes that divide this part among them and share the cache.

        Raises:
            WeightsError: If what the pack ships cannot be used.
        """
        world = world or World()
        part = (part or Shard()).divided(world.rank, world.size)
        job = self._statistics_job()
        if job is not None and job.left():
            with self.progress("measuring style statistics") as advance:
                job.run(part, advance)
        world.wait()
        self.statistics()
        job = self._relevance_job()
        if job is not None:
            with self.progress(TITLES[self.relevance_mode or "exact"]) as advance:
                job.run(part, advance)
        world.wait()

    def left(self) -> dict[str, tuple[int, int]]:
        """What is still to be measured: pieces that are missing, and pieces in all, by kind.

        The relevance is not told while statistics are missing, which it depends on.

        Raises:
            WeightsError: If what the pack ships cannot be used.
        """
        jobs = {"statistics": self._statistics_job()}
        if not jobs["statistics"] or not jobs["statistics"].left():
            jobs["relevance"] = self._relevance_job()
        return {kind: (len(job.left()), len(job.pieces)) for kind, job in jobs.items() if job is not None}

    def _statistics_job(self) -> Job | None:
        """The statistics in pieces; None where the pack's own are used."""
        if published_statistics(self, self.statistics_settings) is not None:
            return None
        fingerprint = self.pack.fingerprint_of("generator")
        return statistics_job(self.generator, self.statistics_settings, fingerprint=fingerprint)

    def _relevance_job(self) -> Job | None:
        """The relevance in pieces; None where the pack's own is used."""
        if self._relevance_is_published:
            return None
        settings = replace(self.relevance_settings, mode=self.relevance_mode)
        return relevance_job_of(self, settings, self.statistics())

    def publish(self, folder: Path) -> None:
        """Write statistics.npz and relevance.npz, in the form that a pack ships them.

        Raises:
            OutputError: If they cannot be written.
        """
        self.statistics().save(folder / "statistics.npz", self.pack.fingerprint_of("generator"))
        self.relevance().save(folder / "relevance.npz", self.pack.fingerprint_of("generator", "clip"))

    def way(self, target: str, neutral: str) -> Tensor:
        """The way in CLIP space from one text to another, [D] of unit length; CLIP is asked once.

        Raises:
            UsageError: If CLIP sees no difference between the texts.
            BadInputError: If a text is too long for CLIP.
        """
        return self._ways(target, neutral)

    @cached_property
    def _ways(self) -> Callable[[str, str], Tensor]:
        return lru_cache(256)(partial(prompts.text_direction, self.clip))

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

        Raises:
            UsageError: If the texts say the same, or no channel is left.
            BadInputError: If a text is too long for CLIP.
        """
        target, neutral = prompts.resolve_prompt(prompt, neutral, literal)
        way = self.way(target, neutral)
        return self.direction_along(way, target, neutral, beta=beta, channels=channels)

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
        """Find the step in style space that leads from one set of pictures to another.

        Args:
            before: Pictures [N, 3, H, W] in [-1, 1], without what the step is to add.
            after: Pictures [M, 3, H', W'] with it.
            beta: As in `direction`.
            channels: As in `direction`.
            target: What to call the pictures after.
            neutral: What to call those before.

        Raises:
            UsageError: If a set is empty, CLIP sees no difference, or no channel is left.
        """
        way = prompts.image_direction(self.clip, before, after)
        return self.direction_along(way, target, neutral, beta=beta, channels=channels)

    def direction_along(
        self,
        way: Tensor,
        target: str = "",
        neutral: str = "",
        *,
        beta: float | None = None,
        channels: int | None = None,
    ) -> Direction:
        """Find the step in style space that follows a direction in CLIP space.

        Args:
            way: [D], unit length.
            target: What to call where it leads.
            neutral: What to call where it starts.
            beta: As in `direction`.
            channels: As in `direction`.

        Raises:
            UsageError: If no channel is left.
        """
        settings = self.direction_settings
        return find_direction(
            self.relevance(),
            self.statistics(),
            way,
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
        reference: Inversion,
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
            channels: How many channels each phrase keeps when beta is chosen; None takes the usual number.
            literal: Take the prompt as it stands.

        Raises:
            UsageError: If a phrase says the same as the neutral text, or no channel is left.
            BadInputError: If a text is too long for CLIP.
        """
        phrases = phrases_of(prompt, literal)
        texts = [prompts.resolve_prompt(phrase, neutral, literal) for phrase in phrases]
        ways = prompts.text_directions(self.clip, [target for target, _ in texts], texts[0][1])
        weight, shared = relevant_channels(self.relevance(), ways, beta, channels)
        styles = styles_of_one(self.generator, reference)
        return Transfer(self.generator, styles, weight, prompt, texts[0][1], tuple(phrases), shared)

    def mix(self, reference: Inversion, layers: Sequence[int] | None = None) -> Transfer:
        """The edit that gives faces whole W+ layers of another one: style mixing.

        Args:
            reference: The other face.
            layers: Numbers of the W+ vectors; None for all.

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
            watch: Who looks on.

        Raises:
            UsageError: If the texts say the same.
            BadInputError: If a text is too long for CLIP.
        """
        target, neutral = prompts.resolve_prompt(prompt, neutral, literal)
        settings = settings or self.optimize_settings
        judge = self.identity if settings.lambda_id > 0 and self.has_identity else None
        return Optimization(self.generator, self.clip, judge, target, neutral, settings, watch or Watch())

    def mapper(self, name: str | Path) -> MapperEdit:
        """The edit of a trained mapper.

        Args:
            name: What `styleclip mappers` lists, a file, or the folder of a training run.

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
            trainer = prepare(self, task, World(), latents)
            train(trainer, task, folder, [], World(), advance)
        return self.mapper(folder)
