"""Channelwise relevance at the published size, projected to the whole job: `python benchmarks/relevance.py`.

    python benchmarks/relevance.py [--json FILE] [--rounds 2] [--resolution 1024]

Random weights: config-f generator, CLIP ViT-B/32. The job is the published one: the 5376 channels of all
layers but toRGB up to 128 pixels, 100 faces, each pushed both ways, 1,075,200 pictures rendered and seen.

- loop: the published procedure: each picture rendered whole, four at once, by the official generator (see
  generator.py), then seen by CLIP.
- exact: ours: the same numbers, rendered from the layer that changes.
- preview: pictures of 256 pixels.

For some layers a few channels of two faces are measured by each, in turns, and multiplied up; cosines say
whether the numbers are the same. Gradients are measured for one face, and multiplied up likewise.
"""

from __future__ import annotations

import argparse
import json
import statistics as statistic
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from generator import choose
from torch import Tensor

from styleclip_cli.bench.stages import gflop, published_size
from styleclip_cli.bench.timing import machine
from styleclip_cli.measure import exact, gradient
from styleclip_cli.measure.relevance import unit_rows
from styleclip_cli.measure.statistics import StyleStatistics, measure_statistics, sample_w_plus
from styleclip_cli.nets import ops
from styleclip_cli.nets.clip import VOCABULARY, Clip, clip_model_class
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.nets.stylespace import StyleLayer
from styleclip_cli.settings import RelevanceSettings

FACES, CHANNELS, IMAGES = 2, 2, 100
LAYERS = ("b4.conv1", "b16.conv1", "b32.conv1", "b64.conv0", "b64.conv1", "b128.conv0", "b128.conv1")
# What an H200 might sustain here in half precision: an assumption, a twentieth of its data sheet's peak.
ASSUMED_TFLOPS = 50.0


def networks(resolution: int) -> tuple[Generator, Clip, StyleStatistics]:
    """Random ones, and the statistics of 200 samples."""
    torch.manual_seed(0)
    generator = published_size(torch.device("cpu"), resolution)
    model = clip_model_class()(512, 224, 12, 768, 32, 77, VOCABULARY, 512, 8, 12).eval().float()
    return generator, Clip(model, 224, 512).requires_grad_(False), measure_statistics(generator, 200, 5, 0.7)


def plain_loop(
    generator: Generator, clip: Clip, spread: StyleStatistics, layer: StyleLayer, channels: range
) -> Tensor:
    """The published procedure for some channels (flat indices): rows [len(channels), D]."""
    space = generator.style_space
    rows = []
    with torch.inference_mode():
        (w_plus,) = sample_w_plus(generator, FACES, 5, 0.7, FACES)
        styles = space.concat(generator.styles(w_plus))
        for flat in channels:
            reach = 5.0 * spread.std[flat]
            pushed = styles.repeat(2, 1)
            pushed[:FACES, flat], pushed[FACES:, flat] = spread.mean[flat] - reach, spread.mean[flat] + reach
            pictures = generator.synthesize(space.split(pushed)).clamp(-1.0, 1.0)
            seen = clip.encode_image(pictures).double()
            rows.append(unit_rows(seen[FACES:] - seen[:FACES]).mean(dim=0))
    return unit_rows(torch.stack(rows)).float()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of some work, and what it gives."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def whole_job(generator: Generator, seconds: dict[str, float]) -> float:
    """Seconds of the whole job, by those of a channel and a face in the layers that were measured."""
    total = 0.0
    for layer in generator.style_space.editable("fs3"):
        known = seconds.get(layer.name)
        if (
            known is None
        ):  # a layer like this one: of the same resolution, or the next lower one that is known
            like = [name for name in seconds if int(name[1:].partition(".")[0]) <= layer.resolution]
            known = seconds[like[-1]]
        total += known * layer.width * IMAGES
    return total


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    generator, clip, spread = networks(arguments.resolution)
    layers = {x.name: x for x in generator.style_space.layers if x.name in LAYERS}
    usual = ops.styled_conv, ops.to_rgb
    choose("kernels")
    settings = {
        "exact": RelevanceSettings(n_images=FACES, mode="exact"),
        "preview": RelevanceSettings(n_images=FACES, mode="preview", stop_at=256),
    }
    probes = {name: exact._Probe(generator, clip, spread, chosen, None) for name, chosen in settings.items()}
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in ("loop", *probes)}
    cosines = []
    for _ in range(arguments.rounds):
        for name, layer in layers.items():
            channels = range(layer.offset, layer.offset + CHANNELS)
            rows = {}
            for variant, probe in probes.items():
                probe.measure(layer, channels[:1], lambda part: None)  # features before the layer are kept
                took, rows[variant] = timed(
                    lambda p=probe, x=layer, c=channels: p.measure(x, c, lambda part: None)
                )
                seconds[variant].setdefault(name, []).append(took / (CHANNELS * FACES))
            if name == LAYERS[0] or len(cosines) < 2:  # the loop takes as long for every layer
                choose("official")
                took, plain = timed(lambda x=layer, c=channels: plain_loop(generator, clip, spread, x, c))
                ops.styled_conv, ops.to_rgb = usual
                seconds["loop"].setdefault(LAYERS[0], []).append(took / (CHANNELS * FACES))
                cosines.append(float((rows["exact"] * plain).sum(dim=1).min()))
    rows = []
    medians = {
        variant: {name: statistic.median(values) for name, values in found.items()}
        for variant, found in seconds.items()
    }
    loop = whole_job(generator, medians["loop"])
    for variant, found in medians.items():
        job = whole_job(generator, found)
        rows.append({"mode": variant, "hours": job / 3600, "faster": loop / job, "layers": found})
        print(f"{variant:8s} {job / 3600:8.1f} h on this machine  {loop / job:6.1f}x", flush=True)
    print(f"lowest cosine of exact to the loop: {min(cosines):.6f}")
    rows.append(gradients(generator, clip, spread, loop))
    pictures = 2 * IMAGES * sum(x.width for x in generator.style_space.editable("fs3"))
    h200 = pictures * (gflop(generator) + 9) / (ASSUMED_TFLOPS * 1e3) / 60  # ViT-B/32: 9 GFLOP a picture
    print(f"an H200 at an assumed {ASSUMED_TFLOPS:.0f} TFLOP/s: {h200:.0f} min for exact, not measured")
    if arguments.json:
        content = {
            "machine": machine(),
            "resolution": arguments.resolution,
            "rows": rows,
            "cosine": min(cosines),
            "h200_minutes": h200,
            "h200_assumed_tflops": ASSUMED_TFLOPS,
        }
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def gradients(generator: Generator, clip: Clip, spread: StyleStatistics, loop: float) -> dict[str, Any]:
    """What an estimate from derivatives takes: seconds of one face, and of the whole job."""
    settings = RelevanceSettings(n_images=IMAGES, mode="gradient")
    layers = generator.style_space.editable("fs3")
    side = gradient._side(generator, clip, layers, None)
    (w_plus,) = sample_w_plus(generator, 1, 5, 0.7, 1)
    styles = generator.style_space.concat(generator.styles(w_plus.clone())).detach()
    axes = torch.linalg.qr(torch.randn(clip.embed_dim, 8))[0].T

    def face(count: int) -> float:
        return timed(
            lambda: gradient._unit_effects(
                generator, clip, styles, layers, spread.std, axes[:count], side, lambda part: None
            )
        )[0]

    face(1)
    few, more = (statistic.median(face(count) for _ in range(3)) for count in (1, 5))
    backward = (more - few) / 4
    found: dict[str, Any] = {"mode": "gradient", "forward_and_one_s": few, "backward_s": backward}
    for axes_count in (16, 32, 64):
        found[f"minutes_{axes_count}_axes"] = settings.n_images * (few + (axes_count - 1) * backward) / 60
    found |= {"hours": found["minutes_32_axes"] / 60}
    found["faster"] = loop / 3600 / found["hours"]
    least, most = found["minutes_16_axes"], found["minutes_64_axes"]
    print(
        f"gradient: {few:.2f} s for a face and an axis at {side} pixels, {backward:.2f} s for each more: "
        f"{IMAGES} faces in {least:.0f} to {most:.0f} min (16 to 64 axes), once for all prompts"
    )
    return found


if __name__ == "__main__":
    main()
