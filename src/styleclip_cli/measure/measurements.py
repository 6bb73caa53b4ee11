"""What is measured once for a pack: its own files, from the cache, or now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import torch

from styleclip_cli.errors import BadInputError, WeightsError
from styleclip_cli.machine.progress import Progress
from styleclip_cli.measure.exact import measure_relevance, relevance_job
from styleclip_cli.measure.gradient import estimate_relevance, gradient_job
from styleclip_cli.measure.pieces import Job
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.measure.statistics import StyleStatistics, cached_statistics
from styleclip_cli.networks import Networks
from styleclip_cli.settings import RelevanceSettings, StatisticsSettings
from styleclip_cli.weights.files import load_weights

TITLES = {
    "exact": "measuring channel relevance",
    "preview": "measuring channel relevance on small pictures",
    "gradient": "estimating channel relevance",
}


def statistics_of(networks: Networks, wanted: StatisticsSettings, progress: Progress) -> StyleStatistics:
    """Mean and spread of every style channel.

    Raises:
        WeightsError: If the pack's own cannot be used.
    """
    published = published_statistics(networks, wanted)
    if published is not None:
        return published
    with progress("measuring style statistics") as advance:
        fingerprint = networks.pack.fingerprint_of("generator")
        return cached_statistics(networks.generator, fingerprint, wanted, progress=advance)


def published_statistics(networks: Networks, wanted: StatisticsSettings) -> StyleStatistics | None:
    """The pack's own, if they were measured as is wanted.

    Raises:
        WeightsError: If they cannot be used.
    """
    published = networks.pack.published("statistics")
    if published is None:
        return None
    widths = networks.generator.style_space.widths
    with _as_weights_error():
        if published.suffix == ".safetensors":
            found = StyleStatistics.from_official(load_weights(published)[0], widths)
        else:
            found = StyleStatistics.load(published, networks.pack.fingerprint_of("generator"), widths)
    same = all(getattr(found, f.name) == getattr(wanted, f.name) for f in fields(wanted))
    return found if same else None


def relevance_of(
    networks: Networks,
    wanted: RelevanceSettings,
    statistics: Callable[[], StyleStatistics],
    progress: Progress,
) -> Relevance:
    """What every style channel does in CLIP space.

    Args:
        networks: Of which pack.
        wanted: How it is measured.
        statistics: Gives the spread of the channels; asked only if it is measured now.
        progress: Reports long steps.

    Raises:
        WeightsError: If the pack's own cannot be used.
    """
    published = published_relevance(networks, wanted)
    if published is not None:
        return published
    spread = statistics()
    settings = chosen_settings(networks, wanted, spread)
    fingerprint = networks.pack.fingerprint_of("generator", "clip")
    with progress(TITLES[settings.mode or "exact"]) as advance:
        find = estimate_relevance if settings.mode == "gradient" else measure_relevance
        return find(
            networks.generator, networks.clip, spread, settings, fingerprint=fingerprint, progress=advance
        )


def published_relevance(networks: Networks, wanted: RelevanceSettings) -> Relevance | None:
    """The pack's own, if it was measured as is wanted.

    Raises:
        WeightsError: If it cannot be used.
    """
    published = networks.pack.published("relevance")
    if published is None:
        return None
    space = networks.generator.style_space
    with _as_weights_error():
        if published.suffix == ".safetensors":
            found = Relevance.from_official(load_weights(published)[0], space)
        else:
            found = Relevance.load(published, networks.pack.fingerprint_of("generator", "clip"), space.size)
    settings = _with_size(networks, wanted)
    same = all(getattr(found, n) == getattr(settings, n) for n in ("n_images", "sigma", "seed", "stop_at"))
    other = wanted.mode is not None and (wanted.mode == "gradient") != (found.mode == "gradient")
    if not same or other:
        return None
    layers = space.editable(wanted.layers)
    indices = [flat for layer in layers for flat in range(layer.offset, layer.offset + layer.width)]
    return found.select(torch.tensor(indices))


def chosen_settings(
    networks: Networks, wanted: RelevanceSettings, statistics: StyleStatistics
) -> RelevanceSettings:
    """The settings with a mode: what has been measured exactly is used, else derivatives are quicker."""
    if wanted.mode is None:
        exact = replace(wanted, mode="exact")
        left = relevance_job_of(networks, exact, statistics).left()
        return replace(wanted, mode="gradient") if left else exact
    return _with_size(networks, wanted)


def relevance_job_of(networks: Networks, settings: RelevanceSettings, statistics: StyleStatistics) -> Job:
    """The measurement of settings that have a mode, in pieces."""
    job = gradient_job if settings.mode == "gradient" else relevance_job
    fingerprint = networks.pack.fingerprint_of("generator", "clip")
    settings = _with_size(networks, settings)
    return job(networks.generator, networks.clip, statistics, settings, fingerprint=fingerprint)


def _with_size(networks: Networks, settings: RelevanceSettings) -> RelevanceSettings:
    """The settings with the size of a preview's pictures: 256 pixels, or half of a small generator's."""
    if settings.mode != "preview" or settings.stop_at is not None:
        return settings
    return replace(settings, stop_at=min(256, max(4, networks.generator.config.resolution // 2)))


@contextmanager
def _as_weights_error() -> Iterator[None]:
    """A pack's own file that cannot be used is the pack's fault, not an input's."""
    try:
        yield
    except BadInputError as error:
        raise WeightsError(error.message, "install the model pack again") from error
