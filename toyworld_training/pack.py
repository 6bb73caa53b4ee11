"""Put the trained networks into a pack, measure them as a user would load them, and write it all down."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w
import torch
from torch import Tensor

from styleclip_cli.engine import Engine
from styleclip_cli.machine.atomic import atomic
from styleclip_cli.machine.progress import Advance
from styleclip_cli.toyworld.attributes import ATTRIBUTES, NAMES, shown, visibility
from styleclip_cli.toyworld.cases import CASES
from styleclip_cli.toyworld.networks import RESOLUTION
from styleclip_cli.truth.judging import psnr, read_all
from styleclip_cli.truth.worlds import load_judge
from styleclip_cli.weights.files import save_weights
from styleclip_cli.weights.packs import FORMAT, PACK_FILE
from toyworld_training import clip, identity, scores
from toyworld_training.encoder import reconstruction
from toyworld_training.generator import w_of_attributes
from toyworld_training.judge import held_out, r2

# What suits these networks, found with `styleclip evaluate`.
DEFAULTS: dict[str, Any] = {
    "alpha": 4.0,
    "channels": 100,
    "layers": "all",
    "steps": 60,
    "pivotal_steps": 50,
    "optimize": {"lambda_l2": 0.0004, "lambda_id": 0.1},
    "training": {"lambda_l2": 0.2, "learning_rate": 1.0, "steps": 400, "validate_every": 100},
}
_BACKDROP = ("background_warm", "background_light", "light", "clothes", "texture")
log = logging.getLogger("styleclip.toyworld")


def write(folder: Path, states: Mapping[str, Mapping[str, Tensor]], training: Mapping[str, Any]) -> None:
    """Write a pack.

    Args:
        folder: Where to.
        states: State dicts of generator, clip, encoder, identity, judge, landmarks and detector.
        training: How they were trained, for the pack's file.
    """
    for name, state in states.items():
        save_weights(folder / f"{name}.safetensors", state, {})
    described: dict[str, Any] = {
        "format": FORMAT,
        "name": "toy",
        "title": "Drawn faces, 128 pixels: built in, for trying things out",
        "resolution": RESOLUTION,
        "alignment": "frame",
        "licence": "MIT",
        "subject": "drawn faces",
        "world": "toy",
        "floor": 0.3,
        "words": sorted({case.prompt for case in CASES}),
        "components": {name: entry(folder / f"{name}.safetensors") for name in sorted(states)},
        "data": {},
        "defaults": DEFAULTS,
        "training": dict(training),
        "quality": {},
    }
    write_pack_file(folder, described)
    engine = Engine(folder, progress=progress)
    log.info("measuring style statistics and channel relevance")
    engine.publish(folder)
    described["data"] = {kind: entry(folder / f"{kind}.npz") for kind in ("statistics", "relevance")}
    described["quality"] = quality(Engine(folder))
    write_pack_file(folder, described)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    log.info("%s: %.1f MB", folder, size / 1e6)


@torch.inference_mode()
def quality(engine: Engine, n: int = 512) -> dict[str, Any]:
    """Measure the pack's networks on held-out faces."""
    judge, generator = load_judge(engine), engine.generator
    truth, pictures = held_out(n)
    in_sight = (visibility(truth) > 0.9).float()
    fit = r2(read_all(judge, pictures), shown(truth), in_sight)
    face = [i for i, attribute in enumerate(ATTRIBUTES) if attribute.name not in _BACKDROP]
    zero_shot = clip.accuracies(engine.networks.clip, truth, pictures)
    usual, usual_pictures = held_out(256, presence_rate=0.25)
    w_plus = w_of_attributes(usual)[:, None].expand(-1, generator.style_space.num_ws, -1)
    drawn = torch.cat([generator(w).clamp(-1, 1) for w in w_plus.split(32)])
    return {
        "generator_psnr_db": round(float(psnr(drawn, usual_pictures).mean()), 2),
        "judge_r2_lowest": round(float(fit[face].min()), 4),
        "judge_r2": {NAMES[i]: round(float(fit[i]), 4) for i in range(len(NAMES))},
        "clip_zero_shot_mean": round(zero_shot["mean"], 4),
        "clip_zero_shot": {name: round(value, 4) for name, value in zero_shot.items() if name != "mean"},
        "encoder_psnr_db": round(reconstruction(engine.networks.encoder, generator, usual_pictures), 2),
        "identity": {
            name: round(value, 4)
            for name, value in identity.similarities(
                engine.networks.identity, *identity.same_and_other(256)
            ).items()
        },
        "landmarks": scores.quality(engine.landmarker),
    }


def entry(path: Path) -> dict[str, str]:
    """A file as a pack names it."""
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def write_pack_file(folder: Path, described: Mapping[str, Any]) -> None:
    """Write `pack.toml`."""
    with atomic(folder / PACK_FILE) as part:
        part.write_text(tomli_w.dumps(described), encoding="utf-8")


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """Progress into the log."""
    reported = -1

    def advance(done: int, total: int, note: str = "") -> None:
        nonlocal reported
        percent = done * 100 // max(total, 1)
        if percent // 5 > reported:
            reported = percent // 5
            log.info("%s: %d of %d", title, done, total)

    yield advance
