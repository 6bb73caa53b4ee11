"""A model pack of tiny random networks: everything runs, in milliseconds, and nothing is beautiful."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import tomli_w
import torch

from styleclip_cli.weights.files import save_weights

SIDE = 32
"""Side of the pack's pictures in pixels."""


def make_pack(folder: Path, seed: int = 0, data: Path | None = None) -> Path:
    """Write a pack.

    Args:
        folder: Where to.
        seed: Of the random weights; another seed is another generator.
        data: Folder of published statistics.npz and relevance.npz, to be part of it.

    Returns:
        The folder.
    """
    from networks import arcface_state, clip_state, encoder_state, generator_state

    rng_state = torch.get_rng_state()
    torch.manual_seed(seed)
    states = {
        "generator": generator_state(),
        "clip": clip_state(),
        "encoder": encoder_state(),
        "identity": arcface_state(),
    }
    torch.set_rng_state(rng_state)
    for name, state in states.items():
        save_weights(folder / f"{name}.safetensors", state, {}, half=False)
    published = {}
    if data is not None:
        for name in ("statistics", "relevance"):
            shutil.copy(data / f"{name}.npz", folder)
            published[name] = _entry(folder / f"{name}.npz")
    described = {
        "format": "styleclip-pack-1",
        "name": "tiny",
        "resolution": SIDE,
        "alignment": "none",
        "licence": "MIT",
        "components": {name: _entry(folder / f"{name}.safetensors") for name in states},
        "data": published,
        "defaults": {"alpha": 4, "channels": 10, "n": 200, "n_images": 2, "steps": 4, "pivotal_steps": 4},
        "quality": {},
    }
    (folder / "pack.toml").write_text(tomli_w.dumps(described))
    return folder


def _entry(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
