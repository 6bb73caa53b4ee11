"""StyleGAN2 generators in the layout of rosinality's PyTorch code, which StyleCLIP's own files have.

Facts of the layout: official StyleCLIP models/stylegan2/model.py. Equalized learning rates (1 / sqrt(fan
in), 0.01 in the mapping network) are folded into the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from styleclip_cli.weights.readers.inert import Damaged
from styleclip_cli.weights.readers.parts import Part, State, count_of, mean_w, single, take

LAYOUT = "StyleGAN2 generator (rosinality, PyTorch)"
_MAPPING_LR = 0.01


def recognise(state: Mapping[str, np.ndarray]) -> bool:
    """Whether tensors have this layout's names."""
    return "conv1.conv.modulation.weight" in state and "style.1.weight" in state


def convert(state: Mapping[str, np.ndarray], latent_avg: np.ndarray | None = None) -> Part:
    """Rename and rescale the tensors of a rosinality generator.

    Args:
        state: Its state dict.
        latent_avg: Mean w, [w_dim] or [num_ws, w_dim]; measured when the checkpoint has none, as those of
            rosinality's own training script.

    Raises:
        Damaged: If tensors are missing, or the low-pass filter is not StyleGAN2's.
    """
    out: State = {}

    def conv(theirs: str, ours: str) -> None:
        weight = single(take(state, f"{theirs}.conv.weight", 5)[0])
        out[f"{ours}.weight"] = weight / math.sqrt(weight[0].size)
        affine = single(take(state, f"{theirs}.conv.modulation.weight", 2))
        out[f"{ours}.affine.weight"] = affine / math.sqrt(affine.shape[1])
        out[f"{ours}.affine.bias"] = single(take(state, f"{theirs}.conv.modulation.bias", 1))
        if ours.endswith("torgb"):
            out[f"{ours}.bias"] = single(take(state, f"{theirs}.bias")).reshape(-1)
            return
        out[f"{ours}.bias"] = single(take(state, f"{theirs}.activate.bias", 1))
        out[f"{ours}.noise_strength"] = single(take(state, f"{theirs}.noise.weight")).reshape(())

    depth = count_of(state, r"style\.(\d+)\.weight")
    for i in range(depth):
        weight = single(take(state, f"style.{i + 1}.weight", 2))
        out[f"mapping.{i}.weight"] = weight * np.float32(_MAPPING_LR / math.sqrt(weight.shape[1]))
        out[f"mapping.{i}.bias"] = single(take(state, f"style.{i + 1}.bias", 1)) * np.float32(_MAPPING_LR)
    out["const"] = single(take(state, "input.input", 4)[0])
    conv("conv1", "synthesis.b4.conv1")
    conv("to_rgb1", "synthesis.b4.torgb")
    out["synthesis.b4.conv1.noise_const"] = single(take(state, "noises.noise_0", 4)[0, 0])
    for j in range(count_of(state, r"to_rgbs\.(\d+)\.bias")):
        block = f"synthesis.b{8 << j}"
        conv(f"convs.{2 * j}", f"{block}.conv0")
        conv(f"convs.{2 * j + 1}", f"{block}.conv1")
        conv(f"to_rgbs.{j}", f"{block}.torgb")
        for k in (0, 1):
            noise = take(state, f"noises.noise_{2 * j + 1 + k}", 4)
            out[f"{block}.conv{k}.noise_const"] = single(noise[0, 0])
    for key in (key for key in state if key.endswith(".kernel")):
        check_filter(single(state[key]))
    if latent_avg is not None and (latent_avg.ndim not in (1, 2) or not latent_avg.size):
        raise Damaged(f"latent_avg is {list(latent_avg.shape)}")
    average = mean_w(out) if latent_avg is None else single(latent_avg)
    out["w_avg"] = average.reshape(-1, average.shape[-1]).mean(axis=0)
    return Part("generator", LAYOUT, out)


def check_filter(kernel: np.ndarray) -> None:
    """Refuse another low-pass filter than StyleGAN2's [1, 3, 3, 1], of any gain.

    Raises:
        Damaged: If it is another one.
    """
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    if kernel.shape != (4, 4) or not np.allclose(kernel / (kernel.sum() or 1), taps, atol=1e-6):
        raise Damaged("its low-pass filter is not StyleGAN2's [1, 3, 3, 1]")
