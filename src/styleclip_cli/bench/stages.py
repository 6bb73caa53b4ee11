"""How fast this machine is: the stages of an edit, and what the generator reaches of the machine's best."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from styleclip_cli.bench.timing import median_seconds
from styleclip_cli.nets.stylegan2 import Generator, GeneratorConfig
from styleclip_cli.synthesize import synthesize

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine

BATCHES = (1, 4, 8)


@dataclass(frozen=True)
class Timing:
    """One measured stage.

    Attributes:
        stage: What was done.
        seconds: Of one picture, a median.
        gflops: What the generator reached, in GFLOP/s of direct convolutions; None for other stages.
    """

    stage: str
    seconds: float
    gflops: float | None = None


def gflop(generator: Generator) -> float:
    """10^9 multiplications and additions that a picture's convolutions take, done directly."""
    return 2 * sum(map(generator.config.multiplications, generator.style_space.layers)) / 1e9


def published_size(device: torch.device, resolution: int = 1024) -> Generator:
    """A generator of the published size with random weights.

    Its feature channels are config-f's (StyleGAN2's training/networks_stylegan2.py).
    """
    sides = [4 << i for i in range(9) if 4 << i <= resolution]
    config = GeneratorConfig(channels={side: min(512, 32768 // side) for side in sides})
    return Generator(config).eval().requires_grad_(False).to(device)


def rendering(generator: Generator) -> Iterator[Timing]:
    """Time rendering some pictures at once."""
    device = next(generator.parameters()).device
    work = gflop(generator)
    for batch in BATCHES:
        z = torch.randn(batch, generator.config.z_dim, device=device)
        with torch.inference_mode():
            styles = generator.style_space.concat(generator.styles(generator.w_plus(z)))
        seconds = median_seconds(partial(synthesize, generator, styles, batch), device=device) / batch
        yield Timing(f"synthesize, {batch} at once", seconds, work / seconds)


def editing(engine: Engine) -> Iterator[Timing]:
    """Time the stages of editing one photo: a picture of a generated face."""
    from PIL import Image

    from styleclip_cli.photo.portrait import find_faces
    from styleclip_cli.photo.read import read_photo
    from styleclip_cli.save import save_image, to_image

    picture = to_image(engine.synthesize(engine.styles(engine.sample([0])))[0])
    engine.relevance()

    def timed(stage: str, work: Callable[[], Any]) -> Timing:
        return Timing(stage, median_seconds(work, device=engine.device))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "face.png"
        yield timed("encode and write PNG", partial(save_image, path, picture))
        yield timed("decode", partial(read_photo, path))
        yield timed("direction of a prompt", partial(engine.direction, "smiling"))
        engine.check_photos(align=False)
        found = find_faces(engine, picture, align=False)
        face = found[0].portrait.image
        yield timed("invert (encoder)", partial(engine.invert_w_plus, face, steps=0, keep=False))
        direction = engine.direction("smiling")
        photo = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.BICUBIC)
        again = partial(engine.edit_photo, photo, direction, 4.0, align=False)
        yield timed("edit a photo, found again", again)
