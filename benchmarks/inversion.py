"""The inverters on held-out toy photos: `python benchmarks/inversion.py [photos] [prompts]`.

How close each comes (PSNR, perceptual distance, identity, seconds), and whether edits after it still do what
they say: success, leak and identity of edits by an independent judge, on the same faces.
"""

from __future__ import annotations

import statistics
import sys

import torch

from styleclip_cli.engine import Engine
from styleclip_cli.machine.memory import disable_malloc_trim
from styleclip_cli.settings import Inverter
from styleclip_cli.toyworld.attributes import COUNT, attributes_of_normals
from styleclip_cli.toyworld.renderer import render_all
from styleclip_cli.truth.cases import SPLITS
from styleclip_cli.truth.evaluate import evaluate

INVERTERS: tuple[Inverter, ...] = ("encoder", "refine", "features", "pivotal")
PROMPTS = ("with glasses", "smiling", "with a beard", "with red hair", "with a hat", "without makeup")


def photos(count: int) -> torch.Tensor:
    """Held-out faces as eight-bit pictures [N, 3, 128, 128]."""
    rng = torch.Generator().manual_seed(SPLITS["defaults"].faces - 1)
    pictures = render_all(attributes_of_normals(torch.randn(count, COUNT, generator=rng)))
    return ((pictures + 1) * 127.5).round() / 127.5 - 1


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    prompts = PROMPTS[: int(sys.argv[2])] if len(sys.argv) > 2 else PROMPTS
    disable_malloc_trim()  # as the commands do
    engine = Engine("toy")
    pictures = photos(count)
    print(f"{count} photos   PSNR dB  lowest  perceptual  identity  seconds  edits: success  leak  identity")
    for inverter in INVERTERS:
        settings = engine.settings_for_inversion(inverter)
        found = [
            engine.invert(picture, settings, keep=False, measure=True).quality
            for picture in pictures.split(1)
        ]
        known = [quality for quality in found if quality is not None]
        outcome = evaluate(engine, 40, prompts, inverter=inverter, limit=1, split="defaults")
        mean = {name: outcome.mean[name] or 0.0 for name in ("success", "leak_default", "identity")}
        decibels = [quality.psnr for quality in known]
        print(
            f"{inverter:10s}  {statistics.mean(decibels):8.2f}  {min(decibels):6.2f}  "
            f"{statistics.mean(q.perceptual for q in known):10.4f}  "
            f"{statistics.mean(q.identity or 0 for q in known):8.4f}  "
            f"{statistics.mean(q.seconds for q in known):7.2f}  {mean['success']:14.3f}  "
            f"{mean['leak_default']:.3f}  {mean['identity']:8.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
