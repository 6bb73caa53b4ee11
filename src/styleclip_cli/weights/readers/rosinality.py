"""StyleGAN2 generators in the layout of rosinality's PyTorch code, which StyleCLIP's own files have.

Facts of the layout: official StyleCLIP models/stylegan2/model.py. Equalized learning rates (1 / sqrt(fan
in), 0.01 in the mapping network) are folded into the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from styleclip_cli.weights.readers.inert import Damaged, Refused
from styleclip_cli.weights.readers.parts import (
    Part,
    State,
    coloured,
    count_of,
    mean_w,
    single,
    square,
    take,
    unconditional,
)

LAYOUT = "StyleGAN2 generator (rosinality, PyTorch)"
MARKS = ("conv1.conv.modulation.weight", "to_rgb1.conv.weight")
"""Tensors that tell this layout from others."""
_MAX_SIDE = 2048
_MAPPING_LR = 0.01


def convert(state: Mapping[str, np.ndarray], latent_avg: np.ndarray | None = None) -> Part:
    """Rename and rescale the tensors of a rosinality generator.

    Args:
        state: Its state dict.
        latent_avg: Mean w, [w_dim] or [num_ws, w_dim]; measured when the checkpoint has none, as those of
            rosinality's own training script.

    Raises:
        Damaged: If tensors are missing, or the low-pass filter is not StyleGAN2's.
        Refused: If it draws no square pictures in colour, or is a conditional one without its classes.
    """
    out: State = {}
    random = np.random.RandomState(0)
    # The first checkpoints of that code, its published one of 256 pixels among them, have no noise.
    noisy = any(name.startswith("noises.") for name in state)

    def noise(index: int, size: int) -> np.ndarray:
        if noisy:
            return single(take(state, f"noises.noise_{index}", 4)[0, 0])
        return random.randn(size, size).astype(np.float32)

    def conv(theirs: str, ours: str) -> None:
        weight = single(take(state, f"{theirs}.conv.weight", 5)[0])
        out[f"{ours}.weight"] = weight / math.sqrt(weight[0].size)
        affine = single(take(state, f"{theirs}.conv.modulation.weight", 2))
        out[f"{ours}.affine.weight"] = affine / math.sqrt(affine.shape[1])
        out[f"{ours}.affine.bias"] = single(take(state, f"{theirs}.conv.modulation.bias", 1))
        if ours.endswith("torgb"):
            coloured(weight)
            out[f"{ours}.bias"] = single(take(state, f"{theirs}.bias")).reshape(-1)
            return
        out[f"{ours}.bias"] = single(take(state, f"{theirs}.activate.bias", 1))
        out[f"{ours}.noise_strength"] = single(take(state, f"{theirs}.noise.weight")).reshape(())

    depth = count_of(state, r"style\.(\d+)\.weight")
    if not depth:
        raise Damaged("the mapping network (style) is missing")
    unconditional(take(state, "style.1.weight", 2))
    for i in range(depth):
        weight = single(take(state, f"style.{i + 1}.weight", 2))
        out[f"mapping.{i}.weight"] = weight * np.float32(_MAPPING_LR / math.sqrt(weight.shape[1]))
        out[f"mapping.{i}.bias"] = single(take(state, f"style.{i + 1}.bias", 1)) * np.float32(_MAPPING_LR)
    out["const"] = square(single(take(state, "input.input", 4)[0]))
    conv("conv1", "synthesis.b4.conv1")
    conv("to_rgb1", "synthesis.b4.torgb")
    out["synthesis.b4.conv1.noise_const"] = noise(0, 4)
    for j in range(count_of(state, r"to_rgbs\.(\d+)\.bias")):
        if 8 << j > _MAX_SIDE:
            raise Refused(f"it draws pictures of more than {_MAX_SIDE} pixels")
        block = f"synthesis.b{8 << j}"
        conv(f"convs.{2 * j}", f"{block}.conv0")
        conv(f"convs.{2 * j + 1}", f"{block}.conv1")
        conv(f"to_rgbs.{j}", f"{block}.torgb")
        for k in (0, 1):
            out[f"{block}.conv{k}.noise_const"] = noise(2 * j + 1 + k, 8 << j)
    for key in (key for key in state if key.endswith(".kernel")):
        check_filter(single(state[key]))
    if latent_avg is not None and (latent_avg.ndim not in (1, 2) or not latent_avg.size):
        raise Damaged(f"latent_avg is {list(latent_avg.shape)}")
    average = mean_w(out) if latent_avg is None else single(latent_avg)
    out["w_avg"] = average.reshape(-1, average.shape[-1]).mean(axis=0)
    notes = {} if noisy else {"noise": "drawn from a fixed seed, as the file holds none"}
    return Part("generator", LAYOUT, out, notes)


def check_filter(kernel: np.ndarray) -> None:
    """Refuse another low-pass filter than StyleGAN2's [1, 3, 3, 1], of any gain.

    Raises:
        Damaged: If it is another one.
    """
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    if kernel.shape != (4, 4) or not np.allclose(kernel / (kernel.sum() or 1), taps, atol=1e-6):
        raise Damaged("its low-pass filter is not StyleGAN2's [1, 3, 3, 1]")
