"""What is measured once for a pack: its own files, from the cache, or now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields

import torch

from styleclip_cli.edits.relevance import Relevance, measure_relevance
from styleclip_cli.errors import BadInputError, WeightsError
from styleclip_cli.networks import Networks
from styleclip_cli.progress import Progress
from styleclip_cli.settings import RelevanceSettings, StatisticsSettings
from styleclip_cli.statistics import StyleStatistics, cached_statistics
from styleclip_cli.weights.files import load_weights


def statistics_of(networks: Networks, wanted: StatisticsSettings, progress: Progress) -> StyleStatistics:
    """Mean and spread of every style channel.

    Raises:
        WeightsError: If the pack's own cannot be used.
    """
    fingerprint = networks.pack.fingerprint_of("generator")
    published = networks.pack.published("statistics")
    if published is not None:
        widths = networks.generator.style_space.widths
        with _as_weights_error():
            if published.suffix == ".safetensors":
                found = StyleStatistics.from_official(load_weights(published)[0], widths)
            else:
                found = StyleStatistics.load(published, fingerprint, widths)
        if all(getattr(found, f.name) == getattr(wanted, f.name) for f in fields(wanted)):
            return found
    with progress("measuring style statistics") as advance:
        return cached_statistics(networks.generator, fingerprint, wanted, progress=advance)


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
    fingerprint = networks.pack.fingerprint_of("generator", "clip")
    space = networks.generator.style_space
    layers = space.editable(wanted.layers)
    published = networks.pack.published("relevance")
    if published is not None:
        with _as_weights_error():
            if published.suffix == ".safetensors":
                found = Relevance.from_official(load_weights(published)[0], space)
            else:
                found = Relevance.load(published, fingerprint, space.size)
        indices = [flat for layer in layers for flat in range(layer.offset, layer.offset + layer.width)]
        chosen = found.select(torch.tensor(indices))
        same = all(getattr(found, n) == getattr(wanted, n) for n in ("n_images", "sigma", "seed", "stop_at"))
        if same and chosen is not None:
            return chosen
    spread = statistics()
    with progress("measuring channel relevance") as advance:
        return measure_relevance(
            networks.generator,
            networks.clip,
            spread,
            n_images=wanted.n_images,
            sigma=wanted.sigma,
            layers=layers,
            seed=wanted.seed,
            stop_at=wanted.stop_at,
            fingerprint=fingerprint,
            progress=advance,
        )


@contextmanager
def _as_weights_error() -> Iterator[None]:
    """A pack's own file that cannot be used is the pack's fault, not an input's."""
    try:
        yield
    except BadInputError as error:
        raise WeightsError(error.message, "install the model pack again") from error
