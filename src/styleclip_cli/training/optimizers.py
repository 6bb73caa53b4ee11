"""Optimizers of the mapper: PyTorch's own, and Ranger, which the official training uses."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from styleclip_cli.errors import UsageError
from styleclip_cli.settings import OptimizerName


def optimizer_of(
    name: OptimizerName, parameters: Iterable[nn.Parameter], learning_rate: float
) -> torch.optim.Optimizer:
    """Make an optimizer.

    Args:
        name: "adam", "adamw", or "ranger": RAdam, Lookahead and gradient centralisation with the constants of
            the official mapper/training/ranger.py (alpha 0.5, k 6, betas 0.95 and 0.999, eps 1e-5, threshold
            5), from the package pytorch-optimizer.
        parameters: What it moves.
        learning_rate: Step size.

    Raises:
        UsageError: If the package is missing.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=learning_rate)
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=1e-4)
    try:
        from pytorch_optimizer import Ranger
    except ImportError:
        raise UsageError(
            "the optimizer ranger needs the package pytorch-optimizer",
            'pip install "styleclip-cli[train]", or --optimizer adam',
        ) from None
    ranger: torch.optim.Optimizer = Ranger(
        parameters,
        lr=learning_rate,
        betas=(0.95, 0.999),
        alpha=0.5,
        k=6,
        n_sma_threshold=5,
        eps=1e-5,
        weight_decay=0.0,
        degenerated_to_sgd=True,
        use_gc=True,
        gc_conv_only=False,
    )
    return ranger
