"""Checks of inversions: samples go through the encoder, and some are refined."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from styleclip_cli.check.report import Value
from styleclip_cli.check.samples import Samples
from styleclip_cli.inversion import FaceLatent, Quality
from styleclip_cli.settings import Inverter


def encoder(samples: Samples) -> list[Value]:
    """How close the encoder's inversions of samples come to them."""
    found = _inverted(samples, "encoder", samples.amounts.inverted)
    samples.show("inverted", samples.render(FaceLatent.joined(found)))
    bars = samples.expected.bars
    qualities = [_quality(face) for face in found]
    values = [Value("dB", statistics.median(one.psnr for one in qualities), bars["encoder_psnr"])]
    if "encoder_gain" in bars:
        gain = values[0].measured - _of_average(samples)
        values.append(Value("more than the average face has", gain, bars["encoder_gain"]))
    identities = [one.identity for one in qualities if one.identity is not None]
    if identities:
        bar = bars.get("encoder_identity")
        values.append(Value("identity kept", statistics.median(identities), bar))
    return values


def refine(samples: Samples) -> list[Value]:
    """How much closer refining comes than the encoder."""
    count = samples.amounts.refined
    before, after = (
        [_quality(face) for face in _inverted(samples, inverter, count)] for inverter in ("encoder", "refine")
    )
    gain = statistics.mean(b.psnr - a.psnr for a, b in zip(before, after, strict=True))
    values = [Value("dB more than the encoder", gain, samples.expected.bars["refine_gain"])]
    kept = [(a.identity, b.identity) for a, b in zip(before, after, strict=True)]
    more = [b - a for a, b in kept if a is not None and b is not None]
    return [*values, *([Value("identity more", statistics.mean(more))] if more else [])]


def _of_average(samples: Samples) -> float:
    """What an encoder reaches that answers the average face to everything, in dB."""
    engine = samples.engine
    (average,) = engine.render([FaceLatent(engine.average())]).clamp(-1, 1)
    errors = ((samples.images[: samples.amounts.inverted] - average) / 2).square().mean(dim=(1, 2, 3))
    return statistics.median((-10 * errors.clamp_min(1e-10).log10()).tolist())


def _inverted(samples: Samples, inverter: Inverter, count: int) -> Sequence[FaceLatent]:
    """The first samples, inverted from their pixels, and how close that comes."""
    settings = samples.engine.settings_for_inversion(inverter)
    if inverter != "encoder":
        settings = replace(settings, steps=samples.amounts.steps)
    found = []
    for number, image in enumerate(samples.images[:count].split(1)):
        found.append(samples.engine.invert(image, settings, keep=False, measure=True))
        samples.advance(number + 1, count, "inverting")
    if inverter != "encoder":
        samples.show("refined", samples.render(FaceLatent.joined([FaceLatent(f.w_plus) for f in found])))
    return found


def _quality(face: FaceLatent) -> Quality:
    assert face.quality is not None
    return face.quality
