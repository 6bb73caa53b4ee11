"""Put the trained networks into a pack, measure them as a user would load them, and write it all down."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from styleclip_cli.engine import Engine
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.truth.judging import psnr
from styleclip_cli.weights.files import load_weights, save_weights
from styleclip_cli.weights.packs import FORMAT
from styleclip_cli.world.attributes import INDEX, NAMES, shown, visibility
from styleclip_cli.world.cases import CASES
from styleclip_cli.world.networks import Judge, resized
from toyworld_training.judge import r2
from toyworld_training.pack import entry, progress, write_pack_file
from world_training import clip, identity, parser
from world_training.data import RESOLUTION
from world_training.encoder import SIDE
from world_training.generator import held_out
from world_training.people import Z_DIM, person

log = logging.getLogger("styleclip.toyworld")
_ASKED = (
    *("freckles", "wrinkles", "hair_curl", "age"),
    *("smile", "sad", "angry", "surprised"),
)
"""Attributes that the judge must read off the generator's pictures too."""
_LEAST_FIT = 0.3  # of an attribute, from Z, W or S, for the disentanglement to speak of it


def write(folder: Path, states: Mapping[str, Mapping[str, Tensor]], training: Mapping[str, Any]) -> None:
    """Write a pack.

    Args:
        folder: Where to.
        states: State dicts by component.
        training: How they were trained, for the pack's file.
    """
    for name, state in states.items():
        save_weights(folder / f"{name}.safetensors", state, {})
    described: dict[str, Any] = {
        "format": FORMAT,
        "name": folder.name,
        "title": "Drawn people, 256 pixels",
        "resolution": RESOLUTION,
        "alignment": "ffhq",
        "licence": "MIT",
        "subject": "drawn faces",
        "world": "people",
        "words": sorted(case.prompt for case in CASES),
        "components": {name: entry(folder / f"{name}.safetensors") for name in sorted(states)},
        "data": {},
        "training": dict(training),
        "quality": {},
    }
    write_pack_file(folder, described)
    engine = Engine(folder, progress=progress)
    log.info("measuring style statistics and channel relevance")
    engine.publish(folder)
    described["data"] = {kind: entry(folder / f"{kind}.npz") for kind in ("statistics", "relevance")}
    described["quality"] = quality(Engine(folder), folder)
    write_pack_file(folder, described)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    log.info("%s: %.1f MB", folder, size / 1e6)


@torch.inference_mode()
def quality(engine: Engine, folder: Path, n: int = 512) -> dict[str, Any]:
    """Measure the pack's networks on people that none of them has seen."""
    generator, nets = engine.generator, engine.networks
    judge = Judge.from_state_dict(load_weights(folder / "judge.safetensors")[0])
    z, pictures = held_out(n, seed=20_000_000)
    truth = person(z)[0]
    seen, told = visibility(truth), shown(truth)
    in_sight = seen * (seen > 0.9)
    fit = r2(_read(judge, pictures), told, in_sight)
    drawn = torch.cat([generator(generator.w_plus(part)).clamp(-1, 1) for part in z.split(32)])
    fit_drawn = r2(_read(judge, drawn), told, in_sight)
    inverted = torch.cat([
        generator(nets.encoder(resized(part, SIDE))).clamp(-1, 1) for part in pictures.split(32)
    ])  # fmt: skip
    found: dict[str, Any] = {
        "generator_psnr_db": float(psnr(drawn, pictures).mean()),
        "encoder_psnr_db": float(psnr(inverted, pictures).mean()),
        "judge_r2": {name: float(fit[k]) for k, name in enumerate(NAMES)},
        "judge_r2_generated": {name: float(fit_drawn[INDEX[name]]) for name in _ASKED},
        "clip": clip.accuracies(nets.clip, truth, pictures),
        "identity": identity.similarities(nets.identity, *identity.same_and_other(256)),
        "disentanglement": disentanglement(generator, judge),
    }
    if "parser" in engine.pack.components:
        found["parser_iou"] = parser.overlaps(nets.parser.network, *parser.held_out(128))
    return _rounded(found)


@torch.inference_mode()
def disentanglement(generator: Generator, judge: Judge, n: int = 6000) -> dict[str, dict[str, float]]:
    """DCI disentanglement of Z, W and S (Eastwood and Williams 2018), and how well they tell attributes.

    By L1-regularised regressions to what the judge reads off the generator's pictures. FFHQ's, by another
    regression and of other attributes: Z 0.31, W 0.54, S 0.75 (Wu et al. 2021, table 2).

    Args:
        generator: Draws.
        judge: Reads.
        n: Pictures, of which three quarters are fitted to.

    Returns:
        By space: disentanglement, completeness, fit (mean R2 on held-out pictures), and single (the largest
        R2 of one attribute from one number).
    """
    from sklearn.linear_model import Lasso

    z = torch.randn(n, Z_DIM, generator=torch.Generator().manual_seed(9))
    w_plus = generator.w_plus(z)
    styles = torch.cat(generator.styles(w_plus), dim=1)
    parts = styles.split(64)
    read = [judge(generator.synthesize(generator.style_space.split(part)).clamp(-1, 1)) for part in parts]
    y = torch.cat(read).double().numpy()
    y = (y - y.mean(0)) / y.std(0).clip(1e-6)
    train, test = slice(0, n * 3 // 4), slice(n * 3 // 4, None)
    fits: dict[str, tuple[np.ndarray, np.ndarray, float]] = {}
    for name, values in (("Z", z), ("W", w_plus[:, 0]), ("S", styles)):
        x = values.double().numpy()
        x = x[:, x.std(0) > 1e-4 * x.std(0).max()]
        x = (x - x.mean(0)) / x.std(0)
        models = [Lasso(alpha=0.02, max_iter=300).fit(x[train], column) for column in y[train].T]
        left = np.stack([y[test, k] - model.predict(x[test]) for k, model in enumerate(models)], axis=1)
        explained = 1 - left.var(0) / y[test].var(0).clip(1e-9)
        single = float(np.square(x.T @ y / len(x)).max())
        fits[name] = np.abs(np.stack([model.coef_ for model in models], axis=1)), explained, single
    kept = np.max([explained for _, explained, _ in fits.values()], axis=0) >= _LEAST_FIT
    found = {}
    for name, (weights, explained, single) in fits.items():
        importance = weights[:, kept]
        of_number = importance / (importance.sum(1, keepdims=True) + 1e-12)
        of_attribute = importance / (importance.sum(0, keepdims=True) + 1e-12)
        clear = 1 + (of_number * np.log(of_number + 1e-12)).sum(1) / np.log(kept.sum())
        whole = 1 + (of_attribute * np.log(of_attribute + 1e-12)).sum(0) / np.log(len(importance))
        found[name] = {
            "disentanglement": float((importance.sum(1) / importance.sum() * clear).sum()),
            "completeness": float(whole.mean()),
            "fit": float(explained[kept].mean()),
            "single": single,
            "attributes": int(kept.sum()),
        }
    return found


def _read(judge: Judge, pictures: Tensor) -> Tensor:
    return torch.cat([judge(part) for part in pictures.split(64)])


def _rounded(found: Any) -> Any:
    if isinstance(found, Mapping):
        return {name: _rounded(value) for name, value in found.items()}
    return round(found, 4) if isinstance(found, float) else found
