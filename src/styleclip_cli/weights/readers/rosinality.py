"""StyleGAN2 generators in the layout of rosinality's PyTorch code, which StyleCLIP's own files have.

Facts of the layout: official StyleCLIP models/stylegan2/model.py. Equalized learning rates (1 / sqrt(fan
in), 0.01 in the mapping network) are folded into the weights.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from styleclip_cli.errors import WeightsError, one_line

_MAPPING_LR = 0.01


def read(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint without running anything in it.

    Args:
        path: A .pt file with `g_ema` and, often, `latent_avg`.

    Returns:
        State dict of `nets.stylegan2.Generator`.

    Raises:
        WeightsError: If it is missing, damaged, asks for code to be run, or is no such checkpoint.
    """
    from argparse import Namespace

    try:
        with torch.serialization.safe_globals([Namespace]):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file") from None
    except (
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
    ) as error:
        raise WeightsError(f"{path}: damaged, or refused as unsafe ({one_line(error)})") from None
    if not isinstance(content, dict) or not isinstance(content.get("g_ema"), Mapping):
        raise WeightsError(f"{path}: no StyleGAN2 generator (g_ema) in it")
    return convert(content["g_ema"], content.get("latent_avg"), str(path))


def convert(
    state: Mapping[str, Tensor], latent_avg: Tensor | None = None, name: str = "checkpoint"
) -> dict[str, Tensor]:
    """Rename and rescale the tensors of a rosinality generator.

    Args:
        state: Its state dict.
        latent_avg: Mean w, [w_dim] or [num_ws, w_dim]; zeros when the checkpoint has none.
        name: What to call it in errors.

    Returns:
        State dict of `nets.stylegan2.Generator`.

    Raises:
        WeightsError: If tensors are missing, or the low-pass filter is not StyleGAN2's.
    """
    out: dict[str, Tensor] = {}

    def conv(theirs: str, ours: str) -> None:
        weight = state[f"{theirs}.conv.weight"][0].float()
        out[f"{ours}.weight"] = weight / math.sqrt(weight[0].numel())
        affine = state[f"{theirs}.conv.modulation.weight"].float()
        out[f"{ours}.affine.weight"] = affine / math.sqrt(affine.shape[1])
        out[f"{ours}.affine.bias"] = state[f"{theirs}.conv.modulation.bias"].float()
        if ours.endswith("torgb"):
            out[f"{ours}.bias"] = state[f"{theirs}.bias"].float().flatten()
            return
        out[f"{ours}.bias"] = state[f"{theirs}.activate.bias"].float()
        out[f"{ours}.noise_strength"] = state[f"{theirs}.noise.weight"].float().reshape(())

    try:
        depth = sum(1 for key in state if re.fullmatch(r"style\.\d+\.weight", key))
        for i in range(depth):
            weight = state[f"style.{i + 1}.weight"].float()
            out[f"mapping.{i}.weight"] = weight * (_MAPPING_LR / math.sqrt(weight.shape[1]))
            out[f"mapping.{i}.bias"] = state[f"style.{i + 1}.bias"].float() * _MAPPING_LR
        out["const"] = state["input.input"][0].float()
        conv("conv1", "synthesis.b4.conv1")
        conv("to_rgb1", "synthesis.b4.torgb")
        out["synthesis.b4.conv1.noise_const"] = state["noises.noise_0"].float()[0, 0]
        for j in range(sum(1 for key in state if re.fullmatch(r"to_rgbs\.\d+\.bias", key))):
            block = f"synthesis.b{8 << j}"
            conv(f"convs.{2 * j}", f"{block}.conv0")
            conv(f"convs.{2 * j + 1}", f"{block}.conv1")
            conv(f"to_rgbs.{j}", f"{block}.torgb")
            for k in (0, 1):
                out[f"{block}.conv{k}.noise_const"] = state[f"noises.noise_{2 * j + 1 + k}"].float()[0, 0]
        for key in (key for key in state if key.endswith(".kernel")):
            taps = state[key].float().sum(dim=0)
            if not torch.allclose(taps / taps.sum() * 8, torch.tensor([1.0, 3.0, 3.0, 1.0])):
                raise WeightsError(f"{name}: its low-pass filter is not StyleGAN2's [1, 3, 3, 1]")
    except (KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"{name}: not a StyleGAN2 generator of this layout ({error})") from None
    average = torch.zeros(out["mapping.0.weight"].shape[0]) if latent_avg is None else latent_avg.float()
    out["w_avg"] = average.reshape(-1, average.shape[-1]).mean(dim=0)
    return out
