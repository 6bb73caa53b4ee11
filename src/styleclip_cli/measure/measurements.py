"""What is measured once for a pack: its own files, from the cache, or now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from styleclip_cli.errors import BadInputError, WeightsError
from styleclip_cli.machine.distributed import World
from styleclip_cli.machine.progress import Progress, silent
from styleclip_cli.machine.shards import Shard
from styleclip_cli.measure.exact import measure_relevance, relevance_job
from styleclip_cli.measure.gradient import estimate_relevance, gradient_job
from styleclip_cli.measure.pieces import Job
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.measure.statistics import StyleStatistics, cached_statistics, statistics_job
from styleclip_cli.nets.stylespace import indices_of
from styleclip_cli.settings import RelevanceMode, RelevanceSettings, StatisticsSettings
from styleclip_cli.weights.files import load_weights

if TYPE_CHECKING:
    from styleclip_cli.networks import Networks

TITLES = {
    "exact": "measuring channel relevance",
    "preview": "measuring channel relevance on small pictures",
    "gradient": "estimating channel relevance",
}


class Measurements:
    """Statistics and relevance of a pack's style channels, found when first needed.

    Args:
        networks: Of the pack.
        statistics_settings: How statistics are measured.
        relevance_settings: How the relevance is; without a mode, by what has been measured exactly, else by
            derivatives.
        progress: Reports long steps.
    """

    def __init__(
        self,
        networks: Networks,
        statistics_settings: StatisticsSettings,
        relevance_settings: RelevanceSettings,
        progress: Progress = silent,
    ) -> None:
        self.statistics_settings = statistics_settings
        self.relevance_settings = relevance_settings
        self._networks = networks
        self._progress = progress

    @cached_property
    def statistics(self) -> StyleStatistics:
        """Mean and standard deviation of every style channel.

        Raises:
            WeightsError: If the pack's own cannot be used.
        """
        published = self._published_statistics()
        if published is not None:
            return published
        with self._progress("measuring style statistics") as advance:
            return cached_statistics(
                self._networks.generator, self._for_generator, self.statistics_settings, progress=advance
            )

    @cached_property
    def relevance(self) -> Relevance:
        """What every style channel does in CLIP space.

        Raises:
            WeightsError: If the pack's own cannot be used.
        """
        if self._published_relevance is not None:
            return self._published_relevance
        networks, settings = self._networks, self._sized(self.relevance_mode)
        with self._progress(TITLES[settings.mode or "exact"]) as advance:
            find = estimate_relevance if settings.mode == "gradient" else measure_relevance
            return find(
                networks.generator,
                networks.clip,
                self.statistics,
                settings,
                fingerprint=self._for_clip,
                progress=advance,
            )

    @cached_property
    def relevance_mode(self) -> RelevanceMode | None:
        """How the relevance is found; None where the pack's own is used."""
        if self._published_relevance is not None:
            return None
        if self.relevance_settings.mode is not None:
            return self.relevance_settings.mode
        return "gradient" if self.relevance_job("exact").missing() else "exact"

    def measure(self, part: Shard | None = None, world: World | None = None) -> None:
        """Measure a part of what edits need and the pack does not ship; it is kept in the cache.

        Statistics are quick: what other parts have not measured yet is measured here as well. The relevance
        is divided: when all parts are done, nothing is `missing`.

        Args:
            part: Which part; None for all.
            world: Processes that divide this part among them and share the cache.

        Raises:
            WeightsError: If what the pack ships cannot be used.
        """
        world = world or World()
        part = (part or Shard()).divided(world.rank, world.size)
        job = self._statistics_job()
        if job is not None and job.missing():
            with self._progress("measuring style statistics") as advance:
                job.run(part, advance)
        world.wait()
        if self._published_relevance is None:
            mode = self.relevance_mode
            with self._progress(TITLES[mode or "exact"]) as advance:
                self.relevance_job(mode).run(part, advance)
        world.wait()

    def missing(self) -> dict[str, tuple[int, int]]:
        """What is still to be measured.

        The relevance is left out while statistics are missing, which it depends on.

        Returns:
            (pieces that are missing, pieces in all), by kind.

        Raises:
            WeightsError: If what the pack ships cannot be used.
        """
        jobs = {"statistics": self._statistics_job()}
        if (not jobs["statistics"] or not jobs["statistics"].missing()) and self._published_relevance is None:
            jobs["relevance"] = self.relevance_job(self.relevance_mode)
        return {kind: (len(job.missing()), len(job.pieces)) for kind, job in jobs.items() if job is not None}

    def publish(self, folder: Path) -> None:
        """Write statistics.npz and relevance.npz, in the form that a pack ships them.

        Args:
            folder: Where to.

        Raises:
            OutputError: If they cannot be written.
        """
        self.statistics.save(folder / "statistics.npz", self._for_generator)
        self.relevance.save(folder / "relevance.npz", self._for_clip)

    def relevance_job(self, mode: RelevanceMode | None) -> Job:
        """The measurement of the relevance in pieces, whatever the pack ships.

        Args:
            mode: How it is measured; None for exactly.

        Returns:
            The job.
        """
        networks, job = self._networks, gradient_job if mode == "gradient" else relevance_job
        settings = self._sized(mode)
        return job(networks.generator, networks.clip, self.statistics, settings, fingerprint=self._for_clip)

    @property
    def _for_generator(self) -> str:
        """What statistics are kept under."""
        return self._networks.pack.fingerprint_of("generator")

    @property
    def _for_clip(self) -> str:
        """What the relevance is kept under."""
        return self._networks.pack.fingerprint_of("generator", "clip")

    def _statistics_job(self) -> Job | None:
        """The statistics in pieces; None where the pack's own are used."""
        if self._published_statistics() is not None:
            return None
        generator = self._networks.generator
        return statistics_job(generator, self.statistics_settings, fingerprint=self._for_generator)

    def _published_statistics(self) -> StyleStatistics | None:
        """The pack's own, if they were measured as is wanted."""
        published, wanted = self._networks.pack.published("statistics"), self.statistics_settings
        if published is None:
            return None
        widths = self._networks.generator.style_space.widths
        with _as_weights_error():
            if published.suffix == ".safetensors":
                found = StyleStatistics.from_official(load_weights(published)[0], widths)
            else:
                found = StyleStatistics.load(published, self._for_generator, widths)
        same = all(getattr(found, f.name) == getattr(wanted, f.name) for f in fields(wanted))
        return found if same else None

    @cached_property
    def _published_relevance(self) -> Relevance | None:
        """The pack's own, if it was measured as is wanted."""
        published, mode = self._networks.pack.published("relevance"), self.relevance_settings.mode
        if published is None:
            return None
        space = self._networks.generator.style_space
        with _as_weights_error():
            if published.suffix == ".safetensors":
                found = Relevance.from_official(load_weights(published)[0], space)
            else:
                found = Relevance.load(published, self._for_clip, space.size)
        wanted = self._sized(mode)
        same = all(getattr(found, n) == getattr(wanted, n) for n in ("n_images", "sigma", "seed", "stop_at"))
        other = mode is not None and (mode == "gradient") != (found.mode == "gradient")
        if not same or other:
            return None
        return found.select(indices_of(space.editable(wanted.layers)))

    def _sized(self, mode: RelevanceMode | None) -> RelevanceSettings:
        """Settings of a mode; a preview's images have 256 pixels a side, or half of a small generator's."""
        settings = replace(self.relevance_settings, mode=mode)
        if mode != "preview" or settings.stop_at is not None:
            return settings
        return replace(settings, stop_at=min(256, max(4, self._networks.generator.config.resolution // 2)))


@contextmanager
def _as_weights_error() -> Iterator[None]:
    """A pack's own file that cannot be used is the pack's fault, not an input's."""
    try:
        yield
    except BadInputError as error:
        raise WeightsError(error.message, "install the model pack again") from error
